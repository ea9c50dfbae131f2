"""The nodes of the cell: pods of the chart's StatefulSet, started and stopped one by one.

In: the StatefulSet as the API server has it. Out: pods that run, and what the cell says through `kubectl exec`.
Never: a change of the cell; that is the keeper's.
"""

import json

from controllers import claims_of, pod_of
from helm import NAMESPACE

NAME = "sidelock-core"
# All that a cluster's DNS will ever be asked for.
MOST = 5


class Nodes:
    """Pods by ordinal."""

    def __init__(self, world, workload):
        self.world, self.workload, self.pods = world, workload, {}
        domain = f"{NAMESPACE}.svc.cluster.local"
        self.addresses = [world.network.reserve() for _ in range(MOST)]
        hosts = {f"{NAME}-{ordinal}.{workload['spec']['serviceName']}.{domain}": address for ordinal, address in enumerate(self.addresses)}
        # The service leads to any node that is ready.
        world.kubelet.hosts |= hosts | {f"{NAME}.{domain}": self.addresses[0]}

    def begin(self, ordinal):
        name = f"{NAME}-{ordinal}"
        self.world.kubectl.apply(claims_of(self.workload, name))
        pod, _ = self.world.kubectl.create(pod_of(self.workload, name))
        self.pods[ordinal] = self.world.kubelet.begin(pod, self.addresses[ordinal])

    def end(self, ordinal):
        self.pods.pop(ordinal).stop()
        # Nobody is asked whether it is gone: the kubelet that would say so is the test's.
        self.world.kubectl("delete", "pod", f"{NAME}-{ordinal}", "--namespace", NAMESPACE, "--force", "--grace-period=0")

    def scale(self, replicas):
        self.world.kubectl("scale", "statefulset", NAME, f"--replicas={replicas}", "--namespace", NAMESPACE)

    def voters(self):
        """The numbers of the nodes that vote, as the first node has it."""
        done = self.world.kubectl.tried("exec", f"{NAME}-0", "--namespace", NAMESPACE, "--container=core", "--", "/sidelock", "cluster", "status", "--json")
        return {it["node"] for it in json.loads(done.stdout)["members"] if it["role"] == "voter"} if done.returncode == 0 else set()

    def claims(self):
        """The ordinals whose volume claims are there to stay."""
        found = self.world.kubectl.get("persistentvolumeclaims", "--namespace", NAMESPACE)["items"]
        return {int(it["metadata"]["name"].rpartition("-")[2]) for it in found if "deletionTimestamp" not in it["metadata"]}
