"""Injected pods that run: who they are is decided by tokens that the API server has issued, with the keys that the hook has fetched.

In: a cell and an injector that run. Out: checks. Never: a token that the test has made itself.
"""

from controllers import account, make_namespace
from helm import NAMESPACE, find
from injection import SHOP, asked

BANK = "bank"
ASLEEP = [{"name": "app", "image": "registry.example/app:1", "command": ["/bin/sleep", "infinity"]}]
AUDIENCE = "another"


def check(world):
    make_namespace(world.kubectl, BANK, world.plane.papers.ca)
    world.kubectl.apply([account("till", SHOP), account("cart", BANK)])
    mine = started(world, "mine", SHOP, "cart")
    granted(world, mine)
    refused(world)
    commands(world)


def started(world, name, namespace, account_name, audience=None):
    """A pod of this account that runs; with the audience of its token changed after the injector has seen it."""
    spec = {"serviceAccountName": account_name, "initContainers": [], "containers": ASLEEP}
    pod = asked(name, {"metadata": {"namespace": namespace}, "spec": spec})
    if audience:
        pod, _ = world.kubectl.create(pod, "--dry-run=server")
        for volume in pod["spec"]["volumes"]:
            for source in volume.get("projected", {}).get("sources", []):
                if source.get("serviceAccountToken", {}).get("audience"):
                    source["serviceAccountToken"]["audience"] = audience
        kept = {key: value for key, value in pod["metadata"].items() if key in ("name", "namespace", "labels", "annotations")}
        pod = pod | {"metadata": kept}
    made, _ = world.kubectl.create(pod)
    return world.kubelet.run(made)


def claim(pod, lock):
    """(status, code or state) of a claim on which the core has decided."""
    said = pod.ask("PUT", f"/v1/claims/{lock.replace('/', '-')}", {"lock": lock, "wait_ms": 10_000, "ttl_ms": 5_000})
    return (said[0], said[1].get("code") or said[1].get("state")) if said else None


def granted(world, pod):
    ok = world.report.ok
    said = claim(pod, "orders/1")
    ok("a token of the API server is good for a claim", said == (201, "granted"), f"{said}; {pod.log('sidelock')}")
    status, lock = pod.ask("GET", "/v1/locks/orders%2F1")
    ok("the holder is the pod, by its name", status == 200 and f"{SHOP}/mine" in str(lock), str(lock))
    files = pod.volumes["sidelock-identity"]
    with open(f"{files}/token") as file:
        token = file.read()
    reviewed = world.kubectl.review(token, "sidelock")
    ok("the API server says the same of this token", reviewed["user"]["username"] == f"system:serviceaccount:{SHOP}:cart", str(reviewed))


def refused(world):
    ok = world.report.ok
    for what, name, namespace, account_name in (("another account", "till", SHOP, "till"), ("an account of this name elsewhere", "elsewhere", BANK, "cart")):
        said = claim(started(world, name, namespace, account_name), "orders/2")
        ok(f"{what} is known, and may not", said == (403, "forbidden"), str(said))
    pod = started(world, "audience", SHOP, "cart", AUDIENCE)
    said = claim(pod, "orders/3")
    ok("a token for somebody else is nobody's", said is not None and said[0] == 503, f"{said}; {pod.log('sidelock')}")


def commands(world):
    """What ends by itself: an app that runs under its lock, and the pod of `helm test`."""
    ok, kubectl = world.report.ok, world.kubectl
    command = ["/sidelock", "run", "--wait=30", "orders/4", "--", "/sidelock", "version"]
    spec = {"serviceAccountName": "cart", "initContainers": [], "containers": [{"name": "app", "image": "registry.example/app:1", "command": command}]}
    made, _ = kubectl.create(asked("job", {"spec": spec}))
    pod = world.kubelet.begin(made)
    ok("`sidelock run` finds the sidecar by what the injector has told it", pod.ended("app") == 0, pod.log("app"))
    objects = [it for it in world.helm.objects() if it["metadata"]["name"] == "sidelock-test" and it["kind"] != "NetworkPolicy"]
    kubectl.apply([it for it in objects if it["kind"] != "Pod"])
    made, _ = kubectl.create(find(objects, "Pod", "sidelock-test"))
    pod = world.kubelet.begin(made)
    ok(f"the pod of `helm test` in {NAMESPACE} ends well", pod.ended("app") == 0, pod.log("app") + pod.log("sidelock"))
