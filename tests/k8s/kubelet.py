"""Stands in for a kubelet: containers are processes of this machine in namespaces of their own.

In: pods as the API server has them. Out: their containers run, each with its arguments, variables, volumes, user and network as
the pod says, those that start first before the others. Never: an image; the programs are this machine's, and ours.
"""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time

from volumes import Volumes, expanded, variables

HERE = os.path.dirname(os.path.abspath(__file__))
# What the image says of itself.
ENTRY_POINT, USER = "/sidelock", 65532
NODE = "machine"
LOOK_EVERY = 0.1
WITHIN = 90.0
STOP_WITHIN = 20.0


class NotUp(Exception):
    """A container did not start; the text is the end of its log."""


class Kubelet:
    """Runs pods on one network. `hosts` are the names that a cluster's DNS would know."""

    def __init__(self, kubectl, network, folder, programs, api):
        self.kubectl, self.network, self.folder, self.programs, self.api = kubectl, network, folder, programs, api
        self.hosts, self.running = {}, []

    def begin(self, pod, address=None):
        """Starts what the API server has as a pod, and says so there: that it is on this machine, as a scheduler does, and that it runs."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": namespace}, "target": target}
        self.kubectl("create", "--filename=-", f"--raw=/api/v1/namespaces/{namespace}/pods/{name}/binding", given=binding)
        running = Pod(self, pod, address or self.network.reserve())
        self.running.append(running)
        running.start()
        status = {"status": {"phase": "Running", "podIP": running.address, "podIPs": [{"ip": running.address}]}}
        self.kubectl("patch", "pod", name, "--namespace", namespace, "--subresource=status", "--type=merge", "--patch", json.dumps(status))
        return running

    def run(self, pod):
        """The same, and waits until it is ready."""
        running = self.begin(pod)
        running.wait()
        return running

    def kill(self):
        for pod in self.running:
            pod.kill()


class Pod:
    """One that runs."""

    def __init__(self, kubelet, pod, address):
        self.kubelet, self.pod, self.address = kubelet, pod, address
        metadata = pod["metadata"]
        self.folder = os.path.join(kubelet.folder, f"{metadata['namespace']}.{metadata['name']}")
        self.processes, self.pause = {}, None

    def start(self):
        os.makedirs(self.folder)
        self.pause = self.kubelet.network.join(self.address)
        self.volumes = Volumes(self.kubelet.kubectl, self.pod, os.path.join(self.folder, "volumes")).lay()
        spec = self.pod["spec"]
        for container in spec.get("initContainers", []):
            self.launch(container)
            if container.get("restartPolicy") == "Always":
                self.probe(container, "startupProbe")
            elif self.ended(container["name"]) != 0:
                raise NotUp(f"{container['name']}: {self.log(container['name'])}")
        for container in spec["containers"]:
            self.launch(container)

    def wait(self):
        """Until all of its containers are ready; those without probes are from the beginning."""
        for container in self.pod["spec"]["containers"]:
            for kind in ("startupProbe", "readinessProbe"):
                self.probe(container, kind)

    def source(self, mount):
        """What is mounted: a volume, or a folder of it, which is made."""
        path = os.path.join(self.volumes[mount["name"]], mount.get("subPath", ""))
        os.makedirs(path, exist_ok=True)
        return path

    def launch(self, container):
        """One container's process."""
        name = container["name"]
        security = self.pod["spec"].get("securityContext", {}) | container.get("securityContext", {})
        mounts = [
            {"source": self.source(it), "target": it["mountPath"], "readOnly": it.get("readOnly", False)}
            for it in container.get("volumeMounts", [])
        ]
        mounts += [{"source": source, "target": f"/{program}", "readOnly": True} for program, source in self.kubelet.programs.items()]
        known = variables(self.kubelet.kubectl, self.pod, container)
        command = container.get("command", [ENTRY_POINT]) + container.get("args", [])
        group = security.get("fsGroup")
        spec = {
            "hostname": self.pod["spec"].get("hostname", self.pod["metadata"]["name"]),
            "root": os.path.join(self.folder, name), "mounts": [*mounts, *self.etc(name)], "writable": not security.get("readOnlyRootFilesystem", False),
            "user": security.get("runAsUser", USER), "group": security.get("runAsGroup", USER), "groups": [] if group is None else [group],
            "variables": self.kubelet.api | {"PATH": "/:/usr/bin:/bin"} | known, "command": [expanded(it, known) for it in command],
        }
        path = os.path.join(self.folder, f"{name}.json")
        with open(path, "w") as file:
            json.dump(spec, file)
        with open(os.path.join(self.folder, f"{name}.log"), "wb") as log:
            self.processes[name] = subprocess.Popen(
                [*self.inside(), "unshare", "--mount", "--uts", sys.executable, "-B", os.path.join(HERE, "container.py"), path],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )

        self.open(name, spec)

    def open(self, name, spec):
        """Says how `kubectl exec` gets into a container (apiserver/exec), since it runs."""
        ids = [f"--setuid={spec['user']}", f"--setgid={spec['group']}"]
        command = ["nsenter", f"--target={self.processes[name].pid}", "--mount", "--net", "--uts", "--root", "--wd=/", *ids, "--"]
        entrance = {"command": command, "variables": [f"{key}={value}" for key, value in spec["variables"].items()]}
        with open(os.path.join(self.folder, f"{name}.exec.json"), "w") as file:
            json.dump(entrance, file)

    def etc(self, name):
        """Names that the container can resolve."""
        files = {"hosts": "127.0.0.1 localhost\n::1 localhost\n", "nsswitch.conf": "hosts: files\n"}
        files["hosts"] += "".join(f"{address} {host}\n" for host, address in self.kubelet.hosts.items())
        for file, text in files.items():
            path = os.path.join(self.folder, f"{name}.{file}")
            with open(path, "w") as out:
                out.write(text)
            yield {"source": path, "target": f"/etc/{file}", "readOnly": True}

    def inside(self):
        """What a command begins with to run in the pod's network."""
        return ["nsenter", f"--net=/proc/{self.pause.pid}/ns/net"]

    def ask(self, method, path, body=None):
        """(status, JSON) of what the sidecar answers to an app of the pod; nothing if nobody answers."""
        asked = [*self.inside(), sys.executable, "-B", os.path.join(HERE, "ask.py"), method, path, json.dumps(body)]
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        return tuple(json.loads(done.stdout)) if done.returncode == 0 else None

    def probe(self, container, kind):
        """Waits until the probe succeeds, as often as it may fail and no longer than a test can wait."""
        if kind not in container:
            return
        get, until = container[kind]["httpGet"], time.monotonic() + WITHIN
        ports = {it["name"]: it["containerPort"] for it in container.get("ports", [])}
        port = ports.get(get["port"], get["port"])
        while time.monotonic() < until and self.processes[container["name"]].poll() is None:
            if succeeds(get.get("scheme", "HTTP"), self.address, port, get["path"]):
                return
            time.sleep(LOOK_EVERY)
        raise NotUp(f"{container['name']}, {kind}: {self.log(container['name'])}")

    def ended(self, name):
        """The exit code of a container that ends by itself."""
        return self.processes[name].wait(WITHIN)

    def log(self, name):
        with open(os.path.join(self.folder, f"{name}.log"), errors="replace") as log:
            return "".join(log.readlines()[-20:])

    def stop(self):
        """As a kubelet does when a pod is deleted: asked first, those that came last before the others."""
        for process in reversed(self.processes.values()):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WITHIN)
        self.kill()

    def kill(self):
        for process in filter(None, (*self.processes.values(), self.pause)):
            process.kill()
            process.wait()


def succeeds(scheme, address, port, path):
    """A kubelet's question: it does not look at certificates."""
    if scheme == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(address, port, timeout=3, context=context)
    else:
        connection = http.client.HTTPConnection(address, port, timeout=3)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
