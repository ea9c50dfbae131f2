"""Pods that nobody wants to have a sidecar, and those that their namespace wants to have one.

In: an injector that runs behind its service. Out: checks. Never: a check that would also pass without a webhook: the first shows it works.
"""

from controllers import account, make_namespace
from helm import NAMESPACE
from injection import LABEL, SHOP, merged, pod, sidecars

ASKING = "asking"


def check(world):
    kubectl, ok = world.kubectl, world.report.ok
    make_namespace(kubectl, ASKING, world.plane.papers.ca, {LABEL: "true"})
    kubectl.apply([account("cart", namespace) for namespace in (ASKING, "kube-system", "kube-public")])

    def made(name, namespace, labels):
        return kubectl.create(merged(pod(name), {"metadata": {"namespace": namespace, "labels": labels}}))

    for name, namespace, labels, count in (
        ("silent", ASKING, {}, 1), ("both", ASKING, {LABEL: "true"}, 1), ("odd", ASKING, {LABEL: "yes"}, 1), ("unwilling", ASKING, {LABEL: "false"}, 0),
        ("silent", SHOP, {}, 0), ("unwilling", SHOP, {LABEL: "false"}, 0), ("odd", SHOP, {LABEL: "yes"}, 0),
        ("asking", "kube-system", {LABEL: "true"}, 0), ("asking", "kube-public", {LABEL: "true"}, 0),
    ):
        it, warnings = made(name, namespace, labels)
        says = f"label {labels[LABEL]!r}" if labels else "no label"
        ok(f"in {namespace}, {says}: {count or 'no'} sidecar", len(sidecars(it)) == count, str(it["spec"].get("initContainers")))
        if (name, namespace) == ("odd", ASKING):
            ok("kubectl warns of a label that says neither", any("neither" in line for line in warnings), str(warnings))
        if (name, namespace) == ("silent", SHOP):
            ok("what is left alone has nothing of ours", "sidelock" not in str(it["spec"]) and "annotations" not in it["metadata"], str(it))
    injector = kubectl.get("pod", "sidelock-injector-1", "--namespace", NAMESPACE)
    ok("the injector's own pods have none", not sidecars(injector))
    for namespace in ("kube-system", NAMESPACE):
        kubectl("label", "namespace", namespace, f"{LABEL}=true")
    it, _ = made("silent", "kube-system", {})
    ok("a label on kube-system changes nothing", not sidecars(it))
    ok("a label on the release's own namespace changes nothing", not sidecars(restricted(kubectl)))
    for namespace in ("kube-system", NAMESPACE):
        kubectl("label", "namespace", namespace, f"{LABEL}-")


def restricted(kubectl):
    """A pod that the release's namespace lets in."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "app", "image": "a:1", "securityContext": security}],
    }
    made, _ = kubectl.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own", "namespace": NAMESPACE}, "spec": spec})
    return made
