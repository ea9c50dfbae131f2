"""Pods made by a real kubectl, and what a real API server has after it has asked the webhook.

In: an injector that runs behind its service. Out: checks. Never: a pod that runs; that is for another part.
"""

import json

import yaml

from accepted import RESTRICTED
from controllers import account, make_namespace, pod_of
from kubectl import Refused, merged
from mesh import ADDED, PROXY, Mesh

LABEL = "sidelock.dev/inject"
SIDECAR, URL = "sidelock", "http://127.0.0.1:5625"
SHOP, STRICT = "shop", "strict"
# As `kubectl run` would make it, with an init container that may want a lock.
APP = {
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "namespace": SHOP},
    "spec": {
        "serviceAccountName": "cart",
        "initContainers": [{"name": "migrate", "image": "registry.example/shop:1"}],
        "containers": [
            {"name": "app", "image": "registry.example/shop:1"},
            {"name": "exporter", "image": "registry.example/exporter:1", "env": [{"name": "A", "value": "b"}]},
        ],
    },
}


def pod(name, more=None, **labels):
    """The app under another name, with something more."""
    return merged(merged(APP, {"metadata": {"name": name, "labels": labels}}), more or {})


def asked(name, more=None):
    return merged(pod(name, more), {"metadata": {"labels": {LABEL: "true"}}})


def sidecars(made):
    """(place, container) of every sidecar that a pod has."""
    return [(place, it) for place, it in enumerate(made["spec"].get("initContainers", [])) if it["name"] == SIDECAR]


def variable(container, name):
    return next((it.get("value") for it in container.get("env", []) if it["name"] == name), None)


def check(world):
    make_namespace(world.kubectl, SHOP, world.plane.papers.ca)
    world.kubectl.apply([account("cart", SHOP)])
    given(world)
    again(world)
    told(world)
    meshes(world)
    hosts(world)
    narrow(world)
    workloads(world)


def given(world):
    ok = world.report.ok
    made, warnings = world.kubectl.create(asked("app"))
    world.app = made
    found = sidecars(made)
    if not ok("a pod that asks gets one sidecar, before all other containers", [place for place, _ in found] == [0], str(made["spec"].get("initContainers"))):
        return
    sidecar, volumes = found[0][1], {it["name"]: it for it in made["spec"]["volumes"]}
    ok("nobody is warned of anything", not warnings, str(warnings))
    ok("it is a native sidecar", sidecar["restartPolicy"] == "Always")
    ok("its image is the chart's", sidecar["image"] == world.injector.pod["spec"]["containers"][0]["image"], sidecar["image"])
    others = [*made["spec"]["initContainers"][1:], *made["spec"]["containers"]]
    ok("all other containers are told where it is", len(others) == 3 and all(variable(it, "SIDELOCK_URL") == URL for it in others), str(others))
    ok("what they had before stays", variable(made["spec"]["containers"][1], "A") == "b")
    arguments = " ".join(sidecar["args"])
    ok("it is told of all nodes", all(f"sidelock-core-{it}.sidelock-nodes.locks.svc.cluster.local:5626" in arguments for it in range(3)), arguments)
    ok("its names begin with the namespace", f"--name-prefix {SHOP}/" in arguments, arguments)
    names = [it["name"] for it in sidecar["env"]]
    ok("it is told the pod's name before it says who it is", names[:2] == ["POD_NAME", "SIDELOCK_IDENTITY"], str(names))
    mounted = {it["name"]: it for it in sidecar["volumeMounts"]}
    ok("its state is in memory", volumes["sidelock-state"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Mi"} and "sidelock-state" in mounted)
    sources = volumes["sidelock-identity"]["projected"]["sources"]
    tokens = [it["serviceAccountToken"] for it in sources if "serviceAccountToken" in it]
    ok("its token is for the core, for an hour", [(it["audience"], it["expirationSeconds"]) for it in tokens] == [("sidelock", 3600)], str(sources))
    ok("its token and authorities cannot be written to", mounted["sidelock-identity"].get("readOnly") is True)
    api = "/var/run/secrets/kubernetes.io/serviceaccount"
    given = {it["mountPath"]: it["name"] for it in sidecar["volumeMounts"]}
    apps = {it["mountPath"]: it["name"] for it in made["spec"]["containers"][0]["volumeMounts"]}
    ok("the app has the pod's token for the API server", apps.get(api, "").startswith("kube-api-access-"), str(apps))
    ok("the sidecar has it not", given.get(api) == "sidelock-state" and not any(it.startswith("kube-api-access-") for it in given.values()), str(given))
    annotations = made["metadata"]["annotations"]
    ok("it travels with the authorities of the core", annotations["sidelock.dev/ca"].startswith("-----BEGIN CERTIFICATE-----"))
    ok("its probes and port are taken as they are", sidecar["startupProbe"]["httpGet"]["port"] == 5628 and sidecar["ports"][0]["containerPort"] == 5628)
    wanted = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
    ok("it says what it needs", sidecar["resources"] == wanted, str(sidecar["resources"]))


def again(world):
    """What comes twice changes once."""
    kubectl, ok = world.kubectl, world.report.ok
    copied = yaml.safe_load(kubectl("get", "pod", "app", "--namespace", SHOP, "--output=yaml"))
    kept = {key: value for key, value in copied["metadata"].items() if key in ("namespace", "labels", "annotations")}
    made, _ = kubectl.create(copied | {"metadata": kept | {"name": "copy"}})
    ok("a copy of what was injected has one sidecar, at its place", [place for place, _ in sidecars(made)] == [0])
    ok("a copy is the same in all that is ours", ours(made) == ours(world.app), str(ours(made)))
    tried, _ = kubectl.create(asked("dry"), "--dry-run=server")
    ok("a server's dry run shows the sidecar", len(sidecars(tried)) == 1)
    ok("a server's dry run leaves nothing", not kubectl.there("pod", "dry", "--namespace", SHOP))
    kept = []
    for _ in range(2):
        kubectl.apply([asked("applied")])
        kept.append(kubectl.get("pod", "applied", "--namespace", SHOP))
    ok("a pod's file that is applied again changes nothing", kept[0] == kept[1] and len(sidecars(kept[1])) == 1)
    for _ in range(2):
        done = kubectl.tried("apply", "--server-side", "--filename=-", objects=[asked("merged")])
    ok("nor if the server applies it", done.returncode == 0 and len(sidecars(kubectl.get("pod", "merged", "--namespace", SHOP))) == 1, done.stderr)
    kubectl("annotate", "pod", "app", "--namespace", SHOP, "a=b")
    ok("a change of a pod asks nobody", kubectl.get("pod", "app", "--namespace", SHOP)["spec"] == world.app["spec"])


def ours(made):
    volumes = [it for it in made["spec"]["volumes"] if it["name"].startswith("sidelock")]
    annotations = {key: value for key, value in made["metadata"]["annotations"].items() if "kubectl" not in key}
    return sidecars(made), volumes, annotations, [it["env"] for it in made["spec"]["containers"]]


def told(world):
    """Whoever makes a pod by hand sees what was wrong with it, and has it all the same."""
    create, ok = world.kubectl.create, world.report.ok
    wrong = {"metadata": {"annotations": {"sidelock.dev/ttl": "soon", "sidelock.dev/sockets": "true"}}}
    made, warnings = create(asked("broken", wrong))
    ok("a pod with broken annotations gets its sidecar", len(sidecars(made)) == 1)
    for word in ("sidelock.dev/ttl", "sidelock.dev/sockets"):
        ok(f"kubectl warns of {word}", any(it.startswith("Warning: sidelock: ") and word in it for it in warnings), str(warnings))
    wishes = {"ttl": "30s", "socket": "true", "log-level": "debug", "memory-limit": "256Mi", "cpu-request": "20m"}
    made, warnings = create(asked("wishes", {"metadata": {"annotations": {f"sidelock.dev/{key}": value for key, value in wishes.items()}}}))
    sidecar = sidecars(made)[0][1]
    arguments = " ".join(sidecar["args"])
    ok("good annotations are heard", not warnings and "--session-ttl 30s" in arguments and sidecar["resources"]["limits"]["memory"] == "256Mi", str(warnings) + arguments)
    apps = made["spec"]["containers"]
    ok("a socket is mounted in all containers", all("/run/sidelock" in [it["mountPath"] for it in app["volumeMounts"]] for app in apps), str(apps))
    made, warnings = create(asked("taken", {"spec": {"containers": [{"name": "app", "image": "a:1", "ports": [{"containerPort": 5625}]}]}}))
    ok("a pod that uses our port goes without, and kubectl says so", not sidecars(made) and any("5625" in it for it in warnings), str(warnings))


def meshes(world):
    ok = world.report.ok
    first = {"spec": {"initContainers": [{"name": "istio-init", "image": "registry.example/mesh:1"}, {"name": "migrate", "image": "a:1"}]}}
    made, _ = world.kubectl.create(asked("meshed", first))
    ok("a mesh's init container stays before it", [it["name"] for it in made["spec"]["initContainers"]] == ["istio-init", SIDECAR, "migrate"])
    with Mesh(world.kubectl, world.plane.papers, world.address) as mesh:
        made, _ = world.kubectl.create(asked("later", {"metadata": {"labels": {"mesh": "true"}}}))
    ok("a mesh's webhook is asked once, after ours, and reads which port to let alone", mesh.lists == ["5626"], str(mesh.lists))
    order = [it["name"] for it in made["spec"]["initContainers"]]
    ok("a mesh's proxy that comes later goes before it", order == [PROXY, SIDECAR, "migrate"], str(order))
    added = [it for it in made["spec"]["containers"] if it["name"] == ADDED]
    ok("asked again, it tells a container that came later where it is", [variable(it, "SIDELOCK_URL") for it in added] == [URL], str(added))


def hosts(world):
    create, ok = world.kubectl.create, world.report.ok
    made, warnings = create(asked("host", {"spec": {"hostNetwork": True}}))
    ok("a pod with hostNetwork goes without, and kubectl says why", not sidecars(made) and any("hostNetwork" in it for it in warnings), str(warnings))
    more = {"metadata": {"annotations": {"sidelock.dev/socket": "true"}}, "spec": {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}}
    made, warnings = create(asked("host-socket", more))
    ports = [port for _, it in sidecars(made) for port in it.get("ports", [])]
    ok("with a socket it gets one, which opens no port of the machine", len(sidecars(made)) == 1 and not ports and not warnings, str(warnings))


def narrow(world):
    """Pods that leave little room: what comes in must be let in by everything that judges pods after us."""
    kubectl, ok = world.kubectl, world.report.ok
    make_namespace(kubectl, STRICT, world.plane.papers.ca, RESTRICTED)
    kubectl.apply([account("cart", STRICT)])
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, "initContainers": [],
        "containers": [{"name": "app", "image": "a:1", "securityContext": locked}],
    }
    made, warnings = kubectl.create(asked("locked", {"metadata": {"namespace": STRICT}, "spec": spec}))
    ok("the restricted standard lets an injected pod in", len(sidecars(made)) == 1 and not warnings, str(warnings))
    made, _ = kubectl.create(asked("root", {"spec": {"securityContext": {"runAsUser": 0}}}))
    ok("in a pod that is root it is not", [it["securityContext"].get("runAsUser") for _, it in sidecars(made)] == [65532])
    bounds = {"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"cpu": "20m", "memory": "48Mi"}}
    made, _ = kubectl.create(asked("bounded", {"spec": {"resources": bounds}}))
    ok("a pod with little room for all its containers has room for it", len(sidecars(made)) == 1 and made["spec"]["resources"] == bounds)
    quota(world, spec)


def quota(world, spec):
    """Where all containers must have a limit, the sidecar must too: its author has to name one."""
    kubectl, ok, room = world.kubectl, world.report.ok, {"limits.cpu": "2"}
    metadata = {"name": "room", "namespace": STRICT}
    kubectl.apply([{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": room}}])
    # As its controller would have counted.
    counted = json.dumps({"status": {"hard": room, "used": {"limits.cpu": "0"}}})
    kubectl("patch", "resourcequota", "room", "--namespace", STRICT, "--subresource=status", "--type=merge", "--patch", counted)
    limited = spec | {"containers": [it | {"resources": {"limits": {"cpu": "100m"}}} for it in spec["containers"]]}
    wishes = {"annotations": {"sidelock.dev/cpu-limit": "200m"}}
    made, _ = kubectl.create(asked("limited", {"metadata": {"namespace": STRICT} | wishes, "spec": limited}))
    ok("under a quota of limits an annotation lets it in", len(sidecars(made)) == 1)
    try:
        kubectl.create(asked("unlimited", {"metadata": {"namespace": STRICT}, "spec": limited}))
        said = "it was taken"
    except Refused as refused:
        said = str(refused)
    ok("without it the API server says which container is meant", "limits.cpu for: sidelock" in said, said)


def workloads(world):
    """The template of a Deployment is its author's; its pods are what changes."""
    kubectl, ok = world.kubectl, world.report.ok
    template = {"metadata": {"labels": {"app": "cart", LABEL: "true"}}, "spec": APP["spec"]}
    spec = {"selector": {"matchLabels": {"app": "cart"}}, "template": template}
    kubectl.apply([{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cart", "namespace": SHOP}, "spec": spec}])
    kept = kubectl.get("deployment", "cart", "--namespace", SHOP)
    ok("a Deployment's template is not touched", not sidecars(kept["spec"]["template"]) and len(kept["spec"]["template"]["spec"]["initContainers"]) == 1)
    made, _ = kubectl.create(pod_of(kept, "cart-1"))
    ok("its pods get one", len(sidecars(made)) == 1)
