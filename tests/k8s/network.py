"""A network of pods: one bridge, and for each pod a network of its own behind it.

In: nothing; it is called in a network namespace that is the test's own. Out: addresses, and whom to follow into a pod's network.
Never: a change to the machine's own network.
"""

import itertools
import os
import subprocess
import time

GATEWAY, PREFIX = "10.7.0.1", 16
WITHIN = 10.0


def ip(*words, inside=()):
    # Debian keeps it where only root looks.
    subprocess.run([*inside, "ip", *words], env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}, stdin=subprocess.DEVNULL, check=True)


class Network:
    """Gives out addresses and networks."""

    def __init__(self):
        self.numbers = itertools.count(1)
        ip("link", "set", "lo", "up")
        ip("link", "add", "pods", "type", "bridge")
        ip("address", "add", f"{GATEWAY}/{PREFIX}", "dev", "pods")
        ip("link", "set", "pods", "up")

    def reserve(self):
        """An address that nobody else gets."""
        return f"10.7.1.{next(self.numbers)}"

    def join(self, address):
        """The process that keeps a new network alive, as a pod's pause container does; it has this address there."""
        pause = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        until, ours = time.monotonic() + WITHIN, os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pause.pid}/ns/net") == ours:
            if time.monotonic() > until:
                raise TimeoutError("no network of its own for a pod")
            time.sleep(0.01)
        outside = f"pod{address.rsplit('.', 1)[1]}"
        ip("link", "add", outside, "master", "pods", "type", "veth", "peer", "name", "eth0", "netns", str(pause.pid))
        ip("link", "set", outside, "up")
        inside = ["nsenter", f"--net=/proc/{pause.pid}/ns/net"]
        ip("link", "set", "lo", "up", inside=inside)
        ip("address", "add", f"{address}/{PREFIX}", "dev", "eth0", inside=inside)
        ip("link", "set", "eth0", "up", inside=inside)
        return pause
