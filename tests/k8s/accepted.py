"""All profiles of the chart, shown to a real API server: it takes every object, and the restricted standard every pod.

In: the rendered chart. Out: checks. Never: a webhook that stays and is asked about pods of other parts.
"""

import crds
from controllers import make_namespace, pods_of
from helm import PROFILES
from kubectl import Refused, merged

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


def check(world):
    planted(world)
    for profile in PROFILES:
        taken(world, profile)


def webhooks(objects):
    """The one configuration that the chart has, as kubectl names it."""
    return [f"{it['kind'].lower()}/{it['metadata']['name']}" for it in objects if it["kind"] == "MutatingWebhookConfiguration"]


def planted(world):
    """What is wrong must be refused here, or the checks below prove nothing."""
    make_namespace(world.kubectl, "planted", world.plane.papers.ca, RESTRICTED)
    good = next(it for it in pods_of(world.helm.objects("default", namespace="planted")) if "injector" in it["metadata"]["name"])
    good["spec"]["serviceAccountName"] = "default"
    wrongs = {
        "an unknown field": ("prots", merged(good, {"spec": {"prots": []}})),
        "a pod with hostNetwork": ("restricted", merged(good, {"spec": {"hostNetwork": True}})),
        "a wrong name of a label": ("Invalid", merged(good, {"metadata": {"labels": {"a/b/c": "d"}}})),
    }
    for what, (word, pod) in wrongs.items():
        try:
            world.kubectl.create(pod)
            said = "it was taken"
        except Refused as refused:
            said = str(refused)
        world.report.ok(f"{what} would be refused", word in said, said)


def taken(world, profile):
    kubectl, ok, namespace = world.kubectl, world.report.ok, f"try-{profile}"
    objects = world.helm.objects(profile, namespace=namespace)
    make_namespace(kubectl, namespace, world.plane.papers.ca, RESTRICTED)
    crds.teach(kubectl, objects)
    # Pods are refused without their account, and a dry run makes none.
    kubectl.apply([it for it in objects if it["kind"] == "ServiceAccount"])
    for how, arguments in (("would take", ["--dry-run=server"]), ("takes", [])):
        done = kubectl.tried("apply", "--validate=strict", "--filename=-", *arguments, objects=objects)
        lines = [it for it in done.stdout.splitlines() if it.split()[1] in ("created", "unchanged")]
        whole = done.returncode == 0 and len(lines) == len(objects) and not done.stderr
        ok(f"{profile}: {how} all {len(objects)} objects, without a warning", whole, done.stderr or done.stdout)
    kubectl("delete", *webhooks(objects))
    for pod in pods_of(objects):
        try:
            _, warnings = kubectl.create(pod)
        except Refused as refused:
            warnings = [str(refused)]
        ok(f"{profile}: the restricted standard lets {pod['metadata']['name']} in", not warnings, "\n".join(warnings))
