"""The chart uninstalled by Helm: what is left.

In: a release. Out: checks. Never: a word on pods and volumes, which are the controllers' that are not here.
"""

from helm import NAMESPACE, RELEASE
from injection import asked, sidecars
from installed import helm

KINDS = [
    "configmaps", "deployments", "mutatingwebhookconfigurations", "networkpolicies", "poddisruptionbudgets", "rolebindings", "roles", "secrets",
    "serviceaccounts", "services", "statefulsets",
]
# What is not part of the release: the keeper's keys of tokens; what hooks need, which Helm deletes only where it runs them.
BESIDE = {"sidelock-tokens", "sidelock-hook", "sidelock-test"}


def check(world):
    kubectl, ok = world.kubectl, world.report.ok
    done = helm(world, "uninstall")
    ok("Helm uninstalls it", done.returncode == 0, done.stdout + done.stderr)
    left = kubectl("get", ",".join(KINDS), "--namespace", NAMESPACE, "--selector", f"app.kubernetes.io/instance={RELEASE}", "--output=name").split()
    ok("nothing of it is left", {it.partition("/")[2] for it in left} <= BESIDE, str(left))
    made, warnings = kubectl.create(asked("after"))
    ok("pods that still ask start as they are", not sidecars(made) and not warnings, str(warnings))
