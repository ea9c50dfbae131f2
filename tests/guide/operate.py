"""Runs the commands of docs/operators.md and docs/coming-from.md, as their reader would paste them, one block after the other."""

import contextlib
import os
import shutil
import signal
import sys

import pages
from copies import Copy, Wrong, environment, living
from sidecar import Sidecar

sys.path.insert(0, f"{pages.ROOT}/tests/ui")

from cell import call, demo  # the cell of the demo, as the tests of the page use it
from secure import Secure

NEW, LOST = 4, 2  # the node that the guide adds, and the one that it replaces
HELD = "orders/42"  # the lock that it looks at and takes away
OF_TLS = ("SIDELOCK_TLS_CERT", "bank/42")  # what the blocks say that are for a cell with certificates


def play(binary, work, document):
    directory = f"{work}/{document}"
    os.mkdir(directory)
    {"operators": operators, "coming-from": coming_from}[document](binary, directory)


def paste(document, directory, prepare):
    """Runs each block; `prepare` makes ready for it, and says where its core and its sidecar are."""
    blocks = pages.commands(f"{pages.ROOT}/docs/{document}.md")
    if not blocks:
        raise Wrong("no commands were found")
    path = f"{os.path.dirname(directory)}/bin:{os.environ['PATH']}"
    for number, block in enumerate(blocks, 1):
        env = environment(PATH=path, **prepare(block))
        try:
            Copy(f"block-{number}", ["bash", "-euo", "pipefail", "-c", block], directory, env).finish()
        except Wrong as wrong:
            raise Wrong(f"\n{block}{wrong}") from None


def coming_from(binary, directory):
    with contextlib.ExitStack() as stack:
        sidecar = Sidecar(binary, directory)
        stack.callback(sidecar.stop)
        paste("coming-from", directory, lambda _: {"SIDELOCK_URL": sidecar.url})


class Cell(demo.Cell):
    """A cell that grows and loses a disk, as the guide wants it."""

    def __init__(self, binary, directory):
        super().__init__(binary, directory, demo.Screen())
        self.binary, self.directory = binary, directory
        self.sidecars[0].command.append("--operator-routes")
        self.secure = None

    def kill(self):
        """All of it, at once."""
        for part in [*self.cores.values(), *self.sidecars, *(self.secure.parts if self.secure else [])]:
            part.signal(signal.SIGKILL)

    def lead(self):
        return demo.wait_for("a leader", lambda: self.leader([*self.cores]))

    def status(self):
        """The cell as its leader sees it."""
        return demo.get(self.core_http[self.lead()], "/v1/cluster") or {}

    def disks(self):
        return {it["node"]: it["disk"] for it in self.status().get("members", [])}

    def enter(self, node):
        """Starts a node with an empty directory, and waits until the leader has heard of it."""
        grpc, http = demo.free_ports(2)
        self.core_http[node] = f"127.0.0.1:{http}"
        data, first = f"{self.directory}/core-{node}", self.cores[1].command
        shutil.rmtree(data, ignore_errors=True)
        command = [
            self.binary, "core", "--node-id", str(node), "--data-dir", data, "--grpc", f"127.0.0.1:{grpc}",
            "--http", self.core_http[node], "--join", first[first.index("--grpc") + 1],
        ]
        self.cores[node] = demo.Part(f"core {node}", command, f"{self.directory}/core-{node}.log")
        self.cores[node].start()
        waits = lambda: any(it["node"] == node for it in self.status().get("applicants", []))
        demo.wait_for(f"node {node} to ask for admission", waits)

    def prepare(self, block):
        """What a reader has done before a block, and where he runs it: on the leader's machine."""
        if f"cluster add {NEW}" in block:
            self.enter(NEW)
        if f"cluster replace {LOST}" in block:
            self.cores[LOST].kill()
            self.enter(LOST)
        if any(mark in block for mark in OF_TLS):
            if not self.secure:
                self.secure = Secure(self.binary, self.directory)
                self.secure.start()
            return {"SIDELOCK_CORE_URL": self.secure.core_url, "SIDELOCK_URL": self.secure.sidecar_url}
        leader = f"http://{self.core_http[self.lead()]}"
        return {"SIDELOCK_CORE_URL": leader, "SIDELOCK_URL": f"http://{self.sidecars_http[0]}"}


def operators(binary, directory):
    """In the end the cell has its three nodes, one of them with another disk, and the lock was taken away."""
    cell = Cell(binary, directory)
    living.add(cell)
    try:
        cell.start()
        sidecar = cell.sidecars_http[0]
        status, answer = call(sidecar, "PUT", "/v1/claims/held", {"lock": HELD, "ttl_ms": 600_000})
        if status != 201:
            raise Wrong(f"no hold to look at: {status} {answer}")
        before = cell.disks()
        paste("operators", directory, cell.prepare)
        demo.wait_for("the hold to be broken", lambda: call(sidecar, "GET", "/v1/claims/held")[1]["state"] == "revoked")
        after, members = cell.disks(), cell.status()["members"]
        changed = [node for node in after if before.get(node) != after[node]]
        if sorted(after) != [1, 2, 3] or changed != [LOST] or any(it["role"] != "voter" for it in members):
            raise Wrong(f"in the end the cell is {members}; in the beginning its disks were {before}")
    finally:
        if cell.secure:
            cell.secure.stop()
        cell.stop()
        living.discard(cell)
