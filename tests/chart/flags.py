"""Every command, flag and variable that the chart gives to the binary is one that the binary has."""

import re
import subprocess

from helm import PROFILES, pod_templates
from schemas import VARIANTS

FLAG = re.compile(r"^--[a-z][a-z-]*")
# Read by the logs and by OpenTelemetry, not by a command.
NO_FLAG = {"SIDELOCK_LOG"}
IMAGE = "/sidelock"


class Help:
    """What `--help` of each command lists."""

    def __init__(self, sidelock):
        self.sidelock, self.kept = sidelock, {}

    def of(self, command):
        """(flags, variables) of a command; nothing if there is no such command."""
        if command not in self.kept:
            done = subprocess.run([self.sidelock, command, "--help"], capture_output=True, text=True, timeout=30)
            text = done.stdout if done.returncode == 0 else ""
            self.kept[command] = set(re.findall(r"--[a-z][a-z-]*", text)), set(re.findall(r"\[env: (\w+)=", text))
        return self.kept[command]


def commands(container):
    """(command, flags, variables) that a container runs; a command inside of it sees the same variables."""
    variables = {it["name"] for it in container.get("env", []) if it["name"].startswith("SIDELOCK_")} - NO_FLAG
    arguments = container["args"]
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    yield arguments[0], {FLAG.match(it)[0] for it in own if FLAG.match(it)}, variables
    inside = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
    if inside:
        yield inside[1], set(), variables


def check(world):
    if not world.sidelock:
        world.report.ignore("flags of the binary", "no path of sidelock was given")
        return
    asked = Help(world.sidelock)
    rendered = {profile: world.helm.objects(profile) for profile in PROFILES}
    rendered |= {variant: world.helm.objects("default", values) for variant, values in VARIANTS.items()}
    seen = set()
    for name, objects in rendered.items():
        wrong = []
        for pod, spec, _ in pod_templates(objects):
            for container in [*spec.get("initContainers", []), *spec["containers"]]:
                if IMAGE not in container["image"]:
                    continue
                variables, known = set(), set()
                for command, flags, variables in commands(container):
                    seen.add(command)
                    has_flags, has_variables = asked.of(command)
                    known |= has_variables
                    wrong += [f"{pod}: sidelock {command} has no {flag}" for flag in sorted(flags - has_flags)]
                    wrong += [] if has_flags else [f"{pod}: there is no command {command}"]
                wrong += [f"{pod}: nobody reads {variable}" for variable in sorted(variables - known)]
        world.report.ok(f"{name} uses flags and variables that there are", not wrong, "; ".join(wrong))
    world.report.ok("all kinds of commands were looked at", seen == {"core", "cluster", "injector", "sidecar", "run"}, str(seen))
