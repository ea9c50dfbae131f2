"""A Docker engine of our own (tests/docker/engine), and its command line."""

import contextlib
import glob
import json
import os
import signal
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
START_MAX = 60.0  # seconds until the engine answers
STOP_MAX = 30.0  # seconds until it has ended its containers and itself
COMMAND_MAX = 300.0  # seconds for any one command


class Failed(Exception):
    """Something did not do what it must."""


class NoEngine(Exception):
    """No engine can start on this machine; the text says why."""


class Ignored(Exception):
    """A check does not apply here; the text says why."""


class Docker:
    """`tools` is a folder with Debian's packages unpacked, `directory` one for everything the engine writes."""

    def __init__(self, directory, tools):
        self.directory = directory
        self.group = f"sidelock-{os.getpid()}"
        self.socket = f"{directory}/docker.sock"
        folders = [f"{tools}/usr/sbin", f"{tools}/usr/bin", os.environ["PATH"], "/usr/sbin", "/sbin"]
        self.environment = {
            "PATH": os.pathsep.join(folders),
            "HOME": directory,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": f"{directory}/client",
            "DOCKER_BUILDKIT": "1",
        }
        self.log = f"{directory}/engine.log"
        self.process = None

    def start(self):
        """Returns the engine's version."""
        # Should this process be killed, the kernel ends the engine, and with it its namespaces.
        command = ["setpriv", "--pdeathsig", "KILL", f"{HERE}/engine", self.directory, self.group]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )
        until = time.monotonic() + START_MAX
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise NoEngine(self._last_words())
            if os.path.exists(self.socket):
                with contextlib.suppress(Failed):
                    return self("version", "--format", "{{.Server.Version}}")
            time.sleep(0.1)
        raise NoEngine(f"it did not answer within {START_MAX:.0f} s; {self._last_words()}")

    def _last_words(self):
        with open(self.log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
        told = [line for line in lines if "level=fatal" in line or "failed to start daemon" in line] or lines
        return told[-1][:500] if told else "it said nothing"

    def inner(self):
        """The number that this machine gives the engine's process 1."""
        outer = self.process.pid
        with open(f"/proc/{outer}/task/{outer}/children") as children:
            return int(children.read().split()[0])

    def stop(self):
        if not self.process:
            return
        if self.process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self.inner(), signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_MAX)
            self.process.kill()
            self.process.wait()
        # Control groups outlive the namespaces. Those of others have other names.
        for group in glob.glob(f"/sys/fs/cgroup/{self.group}") + glob.glob(f"/sys/fs/cgroup/*/{self.group}"):
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)

    def __call__(self, *arguments, patience=COMMAND_MAX):
        """Runs `docker ...`; what it prints."""
        done = self.tried(*arguments, patience=patience)
        if done.returncode != 0:
            raise Failed(f"docker {' '.join(arguments)}: {done.stderr.strip()[-3000:]}")
        return done.stdout.strip()

    def tried(self, *arguments, patience=COMMAND_MAX):
        """Runs `docker ...`, whatever comes of it."""
        return run(["docker", *arguments], self.environment, patience)

    def inspect(self, name):
        """The one object of this name, as JSON has it."""
        return json.loads(self("inspect", name))[0]

    def status(self, container):
        """The kernel's view of a container's first process: the lines of its /proc/PID/status."""
        pid = self.inspect(container)["State"]["Pid"]
        command = ["nsenter", "--target", str(self.inner()), "--mount", "--pid", "cat", f"/proc/{pid}/status"]
        done = run(command, self.environment)
        if done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")
        return dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)


def run(command, environment, patience=COMMAND_MAX):
    """Runs a command with a bound, whatever comes of it."""
    try:
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)}: longer than {patience:.0f} s") from None
