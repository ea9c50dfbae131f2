"""The chart installed by Helm into a real API server, and its pods run: three nodes, an injector, the hook before them.

In: the chart as it is. Out: checks; what the parts after it need is up. Never: a hook run by Helm itself, which would wait for a
controller of Jobs; the hook's pod is run first instead, as Helm has it.
"""

import json

import nodes
from cell import wait_for
from controllers import endpoints, make_namespace, pod_of, selects
from helm import NAMESPACE, RELEASE, CHART, find
from accepted import RESTRICTED, webhooks
from plane import ISSUER

HOOK = "sidelock-hook"
# Whom the part with claims asks for; and a keeper that looks often.
VALUES = ["--set-json", 'rules=[{"identities": ["system:serviceaccount:shop:cart"], "prefixes": ["shop/"], "may": ["read", "claim"]}]']
VALUES += ["--set", "keeper.periodSeconds=1"]


def check(world):
    make_namespace(world.kubectl, NAMESPACE, world.plane.papers.ca, RESTRICTED)
    hook(world)
    install(world)
    rights(world)
    keeper(world)
    cell(world)
    world.injector = injector(world)


def hook(world):
    """The keys of tokens, fetched by the hook's own pod: its script, its account, its rights, a real kubectl."""
    kubectl, ok = world.kubectl, world.report.ok
    objects = [it for it in world.helm.objects() if "pre-install" in it["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    kubectl.apply([it for it in objects if it["kind"] != "Job"])
    running = hook_pod(world, "sidelock-hook-1")
    ok("the hook's pod ends well, with no cell to see", running.ended("keeper") == 0, running.log("keeper"))
    told = kubectl.get("configmap", "sidelock-tokens", "--namespace", NAMESPACE)["data"]
    ok("it has fetched the issuer of tokens", told.get("issuer") == ISSUER, str(told))
    keys = json.loads(kubectl("get", "--raw", "/openid/v1/jwks"))
    ok("it has fetched the API server's keys", json.loads(told.get("jwks.json", "{}")) == keys and len(keys["keys"]) == 1, str(told))


def hook_pod(world, name):
    """A pod of the hook's Job, as rendered for three nodes; it runs."""
    pod, _ = world.kubectl.create(pod_of(find(world.helm.objects(), "Job", HOOK), name))
    return world.kubelet.run(pod)


def helm(world, verb, *arguments):
    where = world.helm.environment | {"KUBECONFIG": world.kubectl.kubeconfig}
    chart = [] if verb == "uninstall" else [CHART]
    return world.helm.run(verb, RELEASE, *chart, "--namespace", NAMESPACE, "--no-hooks", *arguments, environment=where)


def made(world):
    """What Helm makes anew when it cannot see what was there: certificates, and the webhook's authority."""
    secrets = [world.kubectl.get("secret", f"sidelock-{it}", "--namespace", NAMESPACE)["data"] for it in ("ca", "core-tls", "injector-tls")]
    webhook = world.kubectl.get(*webhooks(world.helm.objects()))
    return secrets, [it["clientConfig"]["caBundle"] for it in webhook["webhooks"]]


def install(world):
    done = helm(world, "install", *VALUES)
    world.report.ok("Helm installs it", done.returncode == 0 and "STATUS: deployed" in done.stdout, done.stdout + done.stderr)
    before = made(world)
    done = helm(world, "upgrade", *VALUES)
    world.report.ok("Helm upgrades it", done.returncode == 0 and "REVISION: 2" in done.stdout, done.stdout + done.stderr)
    world.report.ok("an upgrade keeps certificates and authority", made(world) == before)


def rights(world):
    """The keeper's, as the API server decides them."""
    account = f"system:serviceaccount:{NAMESPACE}:sidelock-keeper"
    for wanted, verb, thing in (
        ("yes", "get", "statefulset/sidelock-core"), ("yes", "list", "pods"), ("yes", "create", "pods/sidelock-core-0 --subresource=exec"),
        ("yes", "delete", "persistentvolumeclaim/data-sidelock-core-1"), ("yes", "patch", "configmap/sidelock-tokens"),
        ("no", "delete", "persistentvolumeclaim/data-sidelock-core-0"), ("no", "create", "pods/another --subresource=exec"),
        ("no", "get", "secret/sidelock-core-tls"), ("no", "patch", "configmap/sidelock-rules"), ("no", "create", "pods"),
    ):
        done = world.kubectl.tried("auth", "can-i", verb, *thing.split(), "--namespace", NAMESPACE, "--as", account)
        may = "may" if wanted == "yes" else "may not"
        world.report.ok(f"the keeper {may} {verb} {thing}", done.stdout.strip() == wanted, done.stdout + done.stderr)


def keeper(world):
    workload = world.kubectl.get("deployment", "sidelock-keeper", "--namespace", NAMESPACE)
    pod, _ = world.kubectl.create(pod_of(workload, "sidelock-keeper-1"))
    world.keeper = world.kubelet.run(pod)
    told = wait_for("the keeper's first words", lambda: world.keeper.log("keeper"), 30) or ""
    world.report.ok("the keeper keeps the keys current", f"the keys of tokens of {ISSUER} are current" in told, told)


def cell(world):
    """All nodes at once, since they form the cell when all are there."""
    workload = world.kubectl.get("statefulset", nodes.NAME, "--namespace", NAMESPACE)
    world.nodes = nodes.Nodes(world, workload)
    for ordinal in range(workload["spec"]["replicas"]):
        world.nodes.begin(ordinal)
    for pod in world.nodes.pods.values():
        pod.wait()
    world.report.ok("three nodes are ready, by their own probes", len(world.nodes.pods) == 3)
    world.report.ok("an operator's command in a node's pod tells of the cell", world.nodes.voters() == {1, 2, 3})


def injector(world):
    kubectl, ok = world.kubectl, world.report.ok
    pod, _ = kubectl.create(pod_of(kubectl.get("deployment", "sidelock-injector", "--namespace", NAMESPACE), "sidelock-injector-1"))
    running = world.kubelet.run(pod)
    version = json.loads(kubectl("get", "--raw", "/version"))
    log = running.log("injector")
    ok("the injector has learnt the version from the API server", f'"kubernetes":"{version["major"]}.{version["minor"]}"' in log, log)
    service = kubectl.get("service", "sidelock-injector", "--namespace", NAMESPACE)
    ok("the webhook's service selects it", selects(service, pod), str(service["spec"]))
    kubectl.apply([endpoints(service, pod, [running.address])])
    return running
