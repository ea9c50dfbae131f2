"""A StatefulSet played by processes: real nodes with the chart's own files, pods started and stopped as Kubernetes would."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import yaml

from helm import find

NAME = "sidelock-core"
NODES_MAX = 5
PATIENCE = 90.0
LOOK_EVERY = 0.2


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for it in sockets:
        it.bind(("127.0.0.1", 0))
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


def wait_for(what, look, patience=PATIENCE):
    """What `look` gives once it gives something; nothing when patience is over."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(LOOK_EVERY)
    print(f"        gave up waiting for {what}", flush=True)
    return None


class StatefulSet:
    """Pods by ordinal. The files of a rendered chart are used as they are, but for where the names lead."""

    def __init__(self, sidelock, home, objects):
        self.sidelock, self.home, self.processes, self.replicas = sidelock, home, {}, None
        self.log = open(f"{home}/nodes.log", "ab")
        ports = free_ports(2 * NODES_MAX)
        self.grpc = [f"127.0.0.1:{port}" for port in ports[:NODES_MAX]]
        self.http = [f"127.0.0.1:{port}" for port in ports[NODES_MAX:]]
        self.secret = find(objects, "Secret", "sidelock-core-tls")
        self.arguments, self.variables = self.identity(objects)
        self.configure(objects)
        self.tell()

    def identity(self, objects):
        """Certificates and rules as Helm has made them, where a node finds them."""
        if not self.secret:
            return [], {}
        for name, text in self.secret["data"].items():
            with open(f"{self.home}/{name}", "wb") as file:
                file.write(base64.b64decode(text))
        with open(f"{self.home}/rules.yaml", "w") as file:
            file.write(find(objects, "ConfigMap", "sidelock-rules")["data"]["rules.yaml"])
        files = {"CERT": "tls.crt", "KEY": "tls.key", "CA": "ca.crt"}
        variables = {f"SIDELOCK_TLS_{what}": f"{self.home}/{name}" for what, name in files.items()}
        arguments = ["--rules", f"{self.home}/rules.yaml"]
        if tokens := find(objects, "ConfigMap", "sidelock-tokens"):
            with open(f"{self.home}/jwks.json", "w") as file:
                file.write(tokens["data"]["jwks.json"])
            arguments += ["--token-jwks", f"{self.home}/jwks.json", "--token-issuer", tokens["data"]["issuer"]]
        return arguments, variables

    def environment(self, ordinal):
        """The variables of a node's container."""
        scheme = "https" if self.secret else "http"
        return self.variables | {"SIDELOCK_CORE_URL": f"{scheme}://{self.http[ordinal]}"}

    def tell(self):
        """What kubectl's stand-in sees, written whole or not at all."""
        pods = {f"{NAME}-{ordinal}": self.environment(ordinal) for ordinal in sorted(self.processes)}
        with open(f"{self.home}/cluster.new", "w") as file:
            json.dump({"replicas": self.replicas, "pods": pods}, file)
        os.rename(f"{self.home}/cluster.new", f"{self.home}/cluster.json")

    def configure(self, objects):
        """The nodes' files of a rendered chart, as pods that start from now on read them."""
        self.files = find(objects, "ConfigMap", "sidelock-nodes")["data"]

    def resolved(self, text):
        """A text of the chart, with the names of nodes led to where they are."""
        for other in range(NODES_MAX):
            text = text.replace(f"{NAME}-{other}.sidelock-nodes.locks.svc.cluster.local:5626", self.grpc[other])
        # The service leads to any ready node.
        text = text.replace("sidelock-core.locks.svc.cluster.local:5626", self.grpc[0])
        assert "cluster.local" not in text, text
        return text

    def config(self, ordinal):
        path = f"{self.home}/{NAME}-{ordinal}.yaml"
        text = self.resolved(self.files[f"{NAME}-{ordinal}.yaml"])
        assert yaml.safe_load(text), text
        with open(path, "w") as file:
            file.write(text)
        return path

    def start(self, ordinal):
        """Makes the pod, and its volume if it has none."""
        os.makedirs(self.claim(ordinal), exist_ok=True)
        command = [
            self.sidelock, "core", "--node-id", str(ordinal + 1), "--data-dir", self.claim(ordinal), "--grpc", self.grpc[ordinal],
            "--http", self.http[ordinal], "--advertise", self.grpc[ordinal], "--config", self.config(ordinal), *self.arguments,
        ]
        self.processes[ordinal] = subprocess.Popen(
            command, env=os.environ | self.environment(ordinal), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True
        )

    def stop(self, ordinal):
        process = self.processes.pop(ordinal)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def scale(self, replicas):
        """As the controller does with podManagementPolicy Parallel: all at once, the last ones go."""
        self.replicas = replicas
        self.tell()
        for ordinal in sorted(set(self.processes) - set(range(replicas)), reverse=True):
            self.stop(ordinal)
        for ordinal in sorted(set(range(replicas)) - set(self.processes)):
            self.start(ordinal)
        self.tell()

    def claim(self, ordinal):
        return f"{self.home}/data-{NAME}-{ordinal}"

    def has_claim(self, ordinal):
        return os.path.isdir(self.claim(ordinal))

    def status(self, ordinal):
        """What a node says of the cell, or nothing."""
        asked = subprocess.run(
            [self.sidelock, "cluster", "status", "--json"], env=os.environ | self.environment(ordinal),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )
        return json.loads(asked.stdout) if asked.returncode == 0 else {}

    def members(self):
        """{node: (role, incarnation)} as the leader has it; nothing if none leads."""
        for ordinal in list(self.processes):
            status = self.status(ordinal)
            if status.get("leader") == ordinal + 1:
                return {it["node"]: (it["role"], it["incarnation"]) for it in status["members"]}
        return {}

    def voters(self, *nodes):
        """Waits until exactly these nodes are members, all of them voters."""
        wanted = set(nodes)
        return wait_for(
            f"voters {sorted(wanted)}",
            lambda: set(members := self.members()) == wanted and all(role == "voter" for role, _ in members.values()),
        )

    def end(self):
        for ordinal in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                self.processes[ordinal].kill()
            self.processes.pop(ordinal).wait()
        self.log.close()
