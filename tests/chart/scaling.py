"""Plays the chart's keeper on a real cell: it grows, shrinks and grows again, by Helm and by `kubectl scale`.

Nodes are real processes with the chart's files, certificates and rules; only kubectl is played (kubectl), which also
writes down what each call would ask of an API server. The keeper's role must allow all of that, and nothing else. It is
played with certificates, and a short part of it in plaintext.
"""

import contextlib
import json
import os
import signal
import subprocess

from cell import NAME, StatefulSet, wait_for
from helm import CHART, find

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(CHART, "files", "keeper.sh")
HOOK_SECONDS = 90
PLAINTEXT = {"tls": {"enabled": False}, "tokens": {"enabled": False}}
LOG_LINES = 40


class Broken(Exception):
    """A scene went wrong: those after it would too, each after a long wait."""


class Keeper:
    """The keeper's script, with the variables that the chart gives it."""

    def __init__(self, objects, sidelock, home):
        self.log = f"{home}/keeper.log"
        container = find(objects, "Deployment", "sidelock-keeper")["spec"]["template"]["spec"]["containers"][0]
        given = {it["name"]: it["value"] for it in container["env"] if it["name"] != "HOME"}
        bin_folder = f"{home}/bin"
        os.makedirs(bin_folder)
        os.symlink(os.path.join(HERE, "kubectl"), f"{bin_folder}/kubectl")
        path = os.pathsep.join([bin_folder, os.environ["PATH"]])
        self.environment = os.environ | given | {"PATH": path, "STANDIN": home, "SIDELOCK": sidelock, "PERIOD": "1"}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["sh", SCRIPT, "settle"], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self):
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def once(self, *arguments, seconds=HOOK_SECONDS):
        """(exit code, what it said); no exit code if it was ended after so many seconds."""
        process = subprocess.Popen(
            ["sh", SCRIPT, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return None, said


def allowed(rules, call):
    """Whether a role lets through one call, as an API server decides."""
    verb, resource, name = call
    for rule in rules:
        named = "resourceNames" not in rule or name in rule["resourceNames"]
        if verb in rule["verbs"] and resource in rule["resources"] and named:
            return True
    return False


def check(world):
    if not world.sidelock:
        world.report.ignore("the keeper on a real cell", "no path of sidelock was given")
        return
    stage(world, "TLS", {}, play)
    stage(world, "plaintext", PLAINTEXT, play_shortly)


def stage(world, name, values, scenes):
    """A cell, a keeper, and what is done to them; the logs if something fails."""
    home = os.path.join(world.work, f"cell-{name}")
    os.makedirs(home)
    objects = {replicas: world.helm.objects("default", values | {"core": {"replicas": replicas}}) for replicas in (1, 3, 5)}
    pods, keeper, failed = StatefulSet(world.sidelock, home, objects[3]), Keeper(objects[3], world.sidelock, home), world.report.failed

    def ok(what, holds, detail=""):
        if not world.report.ok(f"{name}: {what}", holds, detail):
            raise Broken

    try:
        scenes(ok, pods, keeper, objects)
        told_only_what_it_may(ok, home, find(objects[3], "Role", "sidelock-keeper")["rules"], scenes is play)
    except Broken:
        print("        the scenes after it are left out", flush=True)
    finally:
        keeper.stop()
        pods.end()
        if world.report.failed > failed:
            for log in (keeper.log, f"{home}/nodes.log"):
                with contextlib.suppress(FileNotFoundError), open(log) as file:
                    print(f"        the end of {os.path.basename(log)}:", "".join(file.readlines()[-LOG_LINES:]), sep="\n")


def play(ok, pods, keeper, objects):
    code, said = keeper.once("shrink", "3")
    ok("before the first install there is nothing to remove", code == 0 and "no nodes" in said, said)
    code, said = keeper.once("tokens")
    with open(os.path.join(pods.home, "sidelock-tokens.json")) as file:
        fetched = json.load(file)
    ok("keys of tokens are fetched", code == 0 and fetched == {"issuer": "https://issuer.example", "jwks.json": '{"keys":[{"kid":"1"}]}'}, f"{said} {fetched}")

    pods.scale(3)
    ok("three new nodes form a cell by themselves", pods.voters(1, 2, 3))
    keeper.start()

    # kubectl scale: the config map is still that of three nodes.
    pods.scale(5)
    ok("two more join and vote", pods.voters(1, 2, 3, 4, 5))
    pods.scale(3)
    ok("two that are stopped are removed afterwards", pods.voters(1, 2, 3))
    ok("their volumes are deleted", wait_for("no volumes of nodes 4 and 5", lambda: not pods.has_claim(3) and not pods.has_claim(4)))
    ok("the others' volumes are not", all(pods.has_claim(ordinal) for ordinal in range(3)))

    # helm upgrade: first the config map, then the StatefulSet.
    pods.configure(objects[5])
    pods.scale(5)
    ok("an upgrade adds two new ones, although all name each other as peers", pods.voters(1, 2, 3, 4, 5))
    incarnations = {node: incarnation for node, (_, incarnation) in pods.members().items()}
    ok("with new disks in the old places", incarnations == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2}, str(incarnations))

    # A restart is no change.
    pods.stop(1)
    pods.start(1)
    pods.tell()
    ok("a node that restarts is the one it was", wait_for("node 2", lambda: pods.members().get(2) == ("voter", 1)))

    code, said = keeper.once("shrink", "5")
    ok("an upgrade of the same size removes nobody", code == 0 and "nothing to remove" in said and pods.voters(1, 2, 3, 4, 5), said)
    code, said = keeper.once("shrink", "1")
    ok("before an upgrade that shrinks, nodes are removed while they run", code == 0 and pods.voters(1), said)
    pods.configure(objects[1])
    pods.scale(1)
    ok("then they are stopped, and one goes on alone", pods.voters(1))
    ok("the volumes of four nodes are deleted", wait_for("one volume", lambda: not any(pods.has_claim(ordinal) for ordinal in range(1, 5))))

    pods.scale(0)
    pods.scale(1)
    ok("scaled to nothing and back, it is the same cell", pods.voters(1) and pods.has_claim(0))
    pods.configure(objects[3])
    pods.scale(3)
    ok("one node becomes three", pods.voters(1, 2, 3))

    # Two of three are gone: nothing can be removed, and nothing may be.
    keeper.stop()
    pods.stop(1)
    pods.stop(2)
    pods.tell()
    code, said = keeper.once("shrink", "1", seconds=15)
    ok("without a quorum the hook does not say that nodes are removed", code != 0, said)
    ok("and no volume is deleted", all(pods.has_claim(ordinal) for ordinal in range(3)))


def play_shortly(ok, pods, keeper, objects):
    pods.scale(3)
    ok("three new nodes form a cell by themselves", pods.voters(1, 2, 3))
    keeper.start()
    pods.configure(objects[5])
    pods.scale(5)
    ok("two more are added", pods.voters(1, 2, 3, 4, 5))
    code, said = keeper.once("shrink", "3")
    ok("two are removed while they run", code == 0 and pods.voters(1, 2, 3), said)


def told_only_what_it_may(ok, home, rules, whole):
    with open(f"{home}/calls.jsonl") as file:
        calls = {tuple(json.loads(line)) for line in file}
    forbidden = sorted(call for call in calls if not allowed(rules, call))
    ok("the keeper's role allows all that it does", not forbidden, str(forbidden))
    ok("it ran commands in nodes only", {call[2].rsplit("-", 1)[0] for call in calls if call[1] == "pods/exec"} == {NAME})
    if not whole:
        return
    # Commands over a WebSocket are a GET, which the stand-in has not; what is applied is a patch, or to old servers an update.
    beyond = [(["pods/exec"], "get"), (["configmaps"], "get"), (["configmaps"], "update")]
    unused = [
        (rule["resources"], verb) for rule in rules for verb in rule["verbs"]
        if (rule["resources"], verb) not in beyond and not any(call[0] == verb and call[1] in rule["resources"] for call in calls)
    ]
    ok("and nothing that it never does", not unused, str(unused))
