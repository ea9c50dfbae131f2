"""A second webhook, which changes pods after ours as a service mesh does: its proxy goes first, and it adds an app container.

In: reviews of pods with the label `mesh: "true"`. Out: a patch, once for each pod. Never: anything that a real mesh does besides.
"""

import base64
import http.server
import json
import ssl
import threading

import replies

PROXY, ADDED = "istio-proxy", "added-later"
IMAGE = "registry.example/mesh:1"
# As Istio names it: API servers ask in the order of these names.
NAME = "istio-sidecar-injector"
# The list by which it lets ports alone. It is read when the pod is changed, and not again.
SKIPPED = "traffic.sidecar.istio.io/excludeOutboundPorts"


def patch(pod):
    if any(it["name"] == PROXY for it in pod["spec"].get("initContainers", [])):
        return []
    proxy = {"name": PROXY, "image": IMAGE, "restartPolicy": "Always"}
    first = [] if pod["spec"].get("initContainers") else [{"op": "add", "path": "/spec/initContainers", "value": []}]
    added = {"op": "add", "path": "/spec/containers/-", "value": {"name": ADDED, "image": IMAGE}}
    return [*first, {"op": "add", "path": "/spec/initContainers/0", "value": proxy}, added]


class Handler(replies.Handler):
    """Answers one review."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = review["request"]
        self.server.lists.append(asked["object"]["metadata"].get("annotations", {}).get(SKIPPED))
        changes = base64.b64encode(json.dumps(patch(asked["object"])).encode()).decode()
        response = {"uid": asked["uid"], "allowed": True, "patchType": "JSONPatch", "patch": changes}
        self.reply(200, {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})


class Mesh:
    """The webhook on its port, and its registration. `lists` has what each review said of ports to let alone."""

    def __init__(self, kubectl, papers, address):
        self.kubectl, self.papers = kubectl, papers
        certificate, key = papers.leaf("mesh", "mesh", addresses=[address])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.http.lists = self.lists = []
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://{address}:{self.http.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        with open(self.papers.ca, "rb") as file:
            authority = base64.b64encode(file.read()).decode()
        webhook = {
            "name": "mesh.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 5,
            "failurePolicy": "Fail", "clientConfig": {"url": self.url, "caBundle": authority}, "objectSelector": {"matchLabels": {"mesh": "true"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        }
        self.kubectl.apply([{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": NAME}, "webhooks": [webhook]}])
        return self

    def __exit__(self, *_):
        self.kubectl("delete", "mutatingwebhookconfiguration", NAME)
        self.http.shutdown()
        self.http.server_close()
