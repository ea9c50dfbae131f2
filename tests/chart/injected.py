"""Runs the injector as the chart starts it, calls it as an API server would, and looks at what a pod gets.

Called by the names, the path and the authority of the webhook configuration: a certificate for another name would not do.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess

from cell import free_ports, wait_for
from helm import find

WEBHOOK = "0-sidelock-injector.locks"
VALUES = {
    "by default": {},
    "without tokens": {"tokens": {"enabled": False}},
    "in plaintext": {"tls": {"enabled": False}, "tokens": {"enabled": False}},
}
POD = {"metadata": {"labels": {"sidelock.dev/inject": "true"}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
REQUEST = {
    "uid": "one", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
    "namespace": "shop", "operation": "CREATE", "object": POD,
}


class Injector:
    """A process with the container's arguments as rendered, but for where files and ports are."""

    def __init__(self, sidelock, home, objects):
        os.makedirs(home)
        self.client = find(objects, "MutatingWebhookConfiguration", WEBHOOK)["webhooks"][0]["clientConfig"]
        for secret, files in {"sidelock-injector-tls": ("tls.crt", "tls.key"), "sidelock-core-tls": ("ca.crt",)}.items():
            data = (find(objects, "Secret", secret) or {"data": {}})["data"]
            for name in set(files) & set(data):
                with open(f"{home}/{name}", "wb") as file:
                    file.write(base64.b64decode(data[name]))
        self.port = free_ports(1)[0]
        container = find(objects, "Deployment", "sidelock-injector")["spec"]["template"]["spec"]["containers"][0]
        moved = {"/etc/sidelock/tls": home, "/etc/sidelock/ca": home, "[::]:8443": f"127.0.0.1:{self.port}"}
        arguments = list(container["args"])
        for there, here in moved.items():
            arguments = [it.replace(there, here) for it in arguments]
        # There is no API server to ask for its version.
        command = [sidelock, *arguments, "--kubernetes-version=1.33"]
        with open(f"{home}/log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

    def reviewed(self):
        """The response to the review of a pod; nothing while it is not up."""
        service = self.client["service"]
        name = f"{service['name']}.{service['namespace']}.svc"
        trust = ssl.create_default_context(cadata=base64.b64decode(self.client["caBundle"]).decode())
        connection = http.client.HTTPConnection(name, timeout=10)
        try:
            connection.sock = trust.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 10), server_hostname=name)
            body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": REQUEST})
            connection.request("POST", service["path"], body, {"content-type": "application/json"})
            return json.loads(connection.getresponse().read())["response"]
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()

    def patch(self):
        """What changes in the pod: {path: value}."""
        response = wait_for("the injector", self.reviewed, 20)
        return {it["path"]: it["value"] for it in json.loads(base64.b64decode(response["patch"]))}

    def end(self):
        self.process.kill()
        self.process.wait()


def check(world):
    if not world.sidelock:
        world.report.ignore("pods of a real injector", "no path of sidelock was given")
        return
    for number, (how, values) in enumerate(VALUES.items()):
        injector = Injector(world.sidelock, os.path.join(world.work, f"injected-{number}"), world.helm.objects("default", values))
        try:
            patch = injector.patch()
        finally:
            injector.end()
        judge(world.report, how, patch)


def judge(report, how, patch):
    """Who the sidecar says it is, and what meshes are told before they read it."""
    container, volumes = patch["/spec/initContainers"][0], patch["/spec/volumes"]
    sources = [source for volume in volumes for source in volume.get("projected", {}).get("sources", [])]
    audiences = [source["serviceAccountToken"]["audience"] for source in sources if "serviceAccountToken" in source]
    wanted = ["sidelock"] if how == "by default" else []
    report.ok(f"{how}: the token is for {wanted or 'nobody'}", audiences == wanted, str(sources))
    report.ok(f"{how}: and shown if there is one", ("--token-file" in container["args"]) == bool(wanted), str(container["args"]))
    secured = how != "in plaintext"
    report.ok(f"{how}: the authority comes with TLS", ("--tls-ca" in container["args"]) == secured == bool(sources), str(container["args"]))
    lists = {path: value for path, value in patch.items() if path.endswith(("excludeOutboundPorts", "skip-outbound-ports"))}
    report.ok(f"{how}: meshes are told of the core's port at the first call", list(lists.values()) == ["5626", "5626"], str(lists))
