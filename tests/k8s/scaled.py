"""The cell grows and shrinks: the keeper's own pod does it, with its own account, by a real kubectl.

In: a cell of three nodes and a keeper that run. Out: checks; the cell as it was. Never: an upgrade by Helm, which would wait for the
hook's Job; the hook's pod is run instead, before the nodes are stopped.
"""

from cell import wait_for
from installed import hook_pod


def check(world):
    ok, nodes = world.report.ok, world.nodes
    nodes.scale(5)
    for ordinal in (3, 4):
        nodes.begin(ordinal)
    grown = wait_for("five voters", lambda: nodes.voters() == {1, 2, 3, 4, 5})
    if not ok("the keeper adds the nodes of a StatefulSet that was scaled", grown, world.keeper.log("keeper")):
        return
    hook = hook_pod(world, "sidelock-hook-2")
    ok("the hook removes the nodes above three while they run", hook.ended("keeper") == 0 and nodes.voters() == {1, 2, 3}, hook.log("keeper"))
    nodes.scale(3)
    for ordinal in (4, 3):
        nodes.end(ordinal)
    gone = wait_for("two volumes fewer", lambda: nodes.claims() == {0, 1, 2})
    ok("the keeper deletes the volumes of the nodes that are gone, and no other", gone, f"{nodes.claims()}; {world.keeper.log('keeper')}")
