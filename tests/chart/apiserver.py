"""Just enough of an API server for Helm's `lookup`: its version, what kinds there are, and secrets to be found."""

import http.server
import json
import threading

import replies

VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0", "platform": "linux/amd64"}
# By group and version: the kinds that the chart renders, since Helm looks up each.
KINDS = {
    "v1": ["Secret", "ConfigMap", "Service", "ServiceAccount", "Pod"],
    "apps/v1": ["StatefulSet", "Deployment"],
    "batch/v1": ["Job"],
    "policy/v1": ["PodDisruptionBudget"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "rbac.authorization.k8s.io/v1": ["Role", "RoleBinding"],
    "admissionregistration.k8s.io/v1": ["MutatingWebhookConfiguration"],
}


def plural(kind):
    return kind.lower()[:-1] + "ies" if kind.endswith("y") else kind.lower() + "s"


def resources(version):
    """What discovery says of one group and version."""
    kinds = [
        {"name": plural(kind), "singularName": kind.lower(), "namespaced": not kind.startswith("Mutating"), "kind": kind, "verbs": ["get", "list"]}
        for kind in KINDS[version]
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds}


def groups():
    names = [version.split("/")[0] for version in KINDS if "/" in version]
    found = [{"groupVersion": f"{name}/v1", "version": "v1"} for name in names]
    return [{"name": name, "versions": [version], "preferredVersion": version} for name, version in zip(names, found)]


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason}


class ApiServer:
    """Serves on a free port of this machine while the `with` lasts. `secrets` is by name; `asked` what was looked up."""

    def __init__(self):
        self.secrets, self.asked = {}, []
        server = self

        class Handler(replies.Handler):
            def do_GET(self):
                self.reply(*server.answer(self.path.partition("?")[0]))

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, path):
        if path == "/version":
            return 200, VERSION
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version in KINDS:
            return 200, resources(version)
        parts = path.strip("/").split("/")
        if parts[:3] == ["api", "v1", "namespaces"] and len(parts) == 6 and parts[4] == "secrets":
            self.asked.append(parts[5])
            if parts[5] in self.secrets:
                return 200, self.secrets[parts[5]]
        return 404, status(404, "NotFound")

    def kubeconfig(self, path):
        """Writes a configuration that leads here."""
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{self.http.server_port}"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "users": [{"name": "it", "user": {}}],
        }
        with open(path, "w") as file:
            json.dump(config, file)

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
