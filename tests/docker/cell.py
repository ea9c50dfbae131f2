"""The containers of docker/compose.yaml, and what can be done to them."""

import json

from engine import Failed, run

CORES = ("core-1", "core-2", "core-3")
SIDECARS = ("sidecar-1", "sidecar-2")
APPS = ("app-1", "app-2")
LAG_MAX = 100  # entries that a node may be behind and still count as back, under load
# Asks the sidecar from within an app's container: arguments are a JSON list of method, path and body.
ASK = """
import http.client, json, sys
method, path, *body = json.loads(sys.argv[1])
connection = http.client.HTTPConnection("localhost", 5625, timeout=10)
text = json.dumps(body[0]) if body else None
connection.request(method, path, text, {"content-type": "application/json"} if body else {})
print(connection.getresponse().read().decode())
"""


class Cell:
    """One project of the compose files. `images` names the images, `scheme` is that of the cores' own HTTP."""

    def __init__(self, docker, project, files, images, scheme="http"):
        self.docker, self.project, self.scheme = docker, project, scheme
        self.environment = docker.environment | images
        # As a plugin (version 2) or as a program of its own (Debian 12 has version 1).
        plugin = docker.tried("compose", "version").returncode == 0
        self.command = ["docker", "compose"] if plugin else ["docker-compose"]
        self.command += ["--project-name", project, *(word for file in files for word in ("--file", file))]
        self.ids = {}

    def compose(self, *arguments):
        command = [*self.command, *arguments]
        done = run(command, self.environment)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()[-3000:]}")
        return done.stdout

    def up(self):
        self.compose("up", "--detach", "--no-build")
        for service in (*CORES, *SIDECARS, *APPS, "pod-1", "pod-2", "prometheus"):
            found = self.compose("ps", "--quiet", service).split()
            if len(found) != 1:
                raise Failed(f"{service}: {len(found)} containers")
            self.ids[service] = found[0]

    def status(self, core):
        """What a core says of the cell; None if it says nothing."""
        url = f"{self.scheme}://127.0.0.1:5627"
        said = self.docker.tried("exec", self.ids[core], "/sidelock", "cluster", "status", "--json", "--core-url", url)
        return json.loads(said.stdout) if said.returncode == 0 else None

    def leader(self, among=CORES):
        """The core that says that it leads, if one does."""
        for core in among:
            status = self.status(core)
            if status and status.get("node") == status.get("leader") == int(core[-1]):
                return core
        return None

    def whole(self):
        """Whether a leader reaches all the others, and they are not behind."""
        leader = self.leader()
        members = (self.status(leader) or {}).get("members", []) if leader else []
        return len(members) == 3 and all(it.get("reachable") and it.get("lag", 0) <= LAG_MAX for it in members)

    def misses(self, core, among):
        """Whether a leader among these says that it does not reach the core."""
        leader = self.leader(among)
        members = (self.status(leader) or {}).get("members", []) if leader else []
        return any(it["node"] == int(core[-1]) and not it.get("reachable") for it in members)

    def cut(self, core):
        self.docker("network", "disconnect", f"{self.project}_cell", self.ids[core])

    def mend(self, core):
        self.docker("network", "connect", "--alias", f"{core}.cell", "--alias", core, f"{self.project}_cell", self.ids[core])

    def ask(self, app, method, path, *body):
        """The JSON of what the sidecar answers to the app; nothing if nobody answers."""
        request = json.dumps([method, path, *body])
        said = self.docker.tried("exec", self.ids[app], "python3", "-c", ASK, request)
        return json.loads(said.stdout.strip() or "{}") if said.returncode == 0 else {}

    def query(self, promql):
        """The number that Prometheus answers; None if it has none."""
        command = ["promtool", "query", "instant", "http://127.0.0.1:9090", promql]
        said = self.docker.tried("exec", self.ids["prometheus"], *command)
        # `{} => 5 @[1700000000]`
        _, arrow, number = said.stdout.strip().partition("=> ")
        return float(number.split(" @")[0]) if arrow else None

    def logs(self, service):
        said = self.docker.tried("logs", "--tail", "15", self.ids[service])
        return said.stdout + said.stderr

    def down(self):
        self.compose("down", "--volumes")
