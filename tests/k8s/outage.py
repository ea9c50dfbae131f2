"""No injector answers: what the API server does then, and how long that takes.

In: an injector that runs behind its service. Out: checks. Never: a wait that is longer than the webhook's own.
"""

import contextlib
import socket
import time

from controllers import endpoints, pod_of
from helm import NAMESPACE
from injection import asked, pod, sidecars
from installed import VALUES, helm
from kubectl import Refused

# As the webhook has it (injector.timeoutSeconds), and what a slow machine takes besides.
PATIENCE, SLACK = 5.0, 3.0
PORT = 8443
TRIES, PAUSE = 50, 0.1


def check(world):
    world.injector.stop()
    gone(world)
    silent(world)
    failing(world)
    back(world)


def timed(world, it):
    began = time.monotonic()
    made, _ = world.kubectl.create(it)
    return made, time.monotonic() - began


def lead(world, *addresses):
    """Where the service leads to from now on."""
    service = world.kubectl.get("service", "sidelock-injector", "--namespace", NAMESPACE)
    world.kubectl.apply([endpoints(service, world.injector.pod, addresses)])


def gone(world):
    """Its machine does not answer any more; then, its address is gone from the service."""
    made, seconds = timed(world, asked("gone"))
    in_time = seconds < PATIENCE + SLACK
    world.report.ok(f"no injector: the pod is there without a sidecar, within the webhook's time ({seconds:.1f} s)", not sidecars(made) and in_time)
    lead(world)
    made, seconds = until(world, lambda seconds: seconds < 1.0)
    world.report.ok(f"no endpoints: the pod is there without a sidecar, at once ({seconds:.1f} s)", not sidecars(made) and seconds < 1.0)


def silent(world):
    """Somebody who takes the connection and says nothing."""
    with contextlib.closing(socket.create_server((world.address, PORT))):
        lead(world, world.address)
        made, seconds = until(world, lambda seconds: seconds > 1.0)
    in_time = PATIENCE <= seconds < PATIENCE + SLACK
    world.report.ok(f"a silent injector: the pod is there when the webhook's time is over ({seconds:.1f} s)", not sidecars(made) and in_time)


def until(world, holds):
    """Makes pods until the API server has heard of other endpoints, which takes it a moment."""
    for _ in range(TRIES):
        made, seconds = timed(world, asked(f"try-{time.monotonic_ns()}"))
        if holds(seconds):
            break
        time.sleep(PAUSE)
    return made, seconds


def failing(world):
    """With failurePolicy Fail, pods that ask do not start without their sidecar, and all others do."""
    ok = world.report.ok
    lead(world)
    done = helm(world, "upgrade", *VALUES, "--set", "injector.failurePolicy=Fail")
    ok("Helm makes it Fail", done.returncode == 0, done.stderr)
    said = ""
    for count in range(TRIES):
        try:
            world.kubectl.create(asked(f"fail-{count}"))
            time.sleep(PAUSE)
        except Refused as refused:
            said = str(refused)
            break
    ok("a pod that asks is refused, and told by whom", "pods.inject.sidelock.dev" in said, said)
    for what, it in {"that does not ask": pod("plain"), "in kube-system": asked("system", {"metadata": {"namespace": "kube-system"}})}.items():
        made, _ = world.kubectl.create(it)
        ok(f"a pod {what} is there all the same", not sidecars(made))


def back(world):
    kubectl = world.kubectl
    made, _ = kubectl.create(pod_of(kubectl.get("deployment", "sidelock-injector", "--namespace", NAMESPACE), "sidelock-injector-2"))
    world.injector = world.kubelet.run(made)
    lead(world, world.injector.address)
    said = "nobody answered"
    for count in range(TRIES):
        try:
            made, _ = kubectl.create(asked(f"back-{count}"))
            said = str(made["spec"].get("initContainers"))
            break
        except Refused as refused:
            said = str(refused)
            time.sleep(PAUSE)
    world.report.ok("once an injector is back, pods get their sidecars again", len(sidecars(made)) == 1, said)
