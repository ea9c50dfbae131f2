"""Processes of a scenario: copies of a program, each in a group of its own, and what they print as it comes."""

import os
import queue
import re
import signal
import subprocess
import threading
import time

FINISH_MAX = 60.0  # seconds for a copy to end, or to say what is waited for
living = set()  # what is to be killed if this process ends early
_starting, _over = threading.Lock(), threading.Event()  # over: nothing starts any more


class Wrong(Exception):
    """Something was not as the guide says."""


def environment(**more):
    """That of a clean shell: no proxy stands before this machine, and no variable of ours decides anything."""
    kept = {
        name: value for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("SIDELOCK_", "OTEL_"))
    }
    return kept | more


class Copy:
    """One running copy. `name` is for people."""

    def __init__(self, name, command, directory, env):
        self.name, self.said = name, []
        self._errors = open(f"{directory}/{name}.err", "w+b")
        with _starting:
            if _over.is_set():
                raise Wrong(f"{name} was not started: all of this is over")
            self._process = subprocess.Popen(
                command, cwd=directory, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
                text=True, start_new_session=True,
            )
            living.add(self)
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, name=name, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, pattern, most=FINISH_MAX):
        """The match of the first line from here on that has one."""
        until = time.monotonic() + most
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise self.wrong(f"did not say {pattern!r} within {most:.0f} s") from None
            if line is None:
                raise self.wrong(f"ended and never said {pattern!r}")
            self.said.append(line)
            if found := re.search(pattern, line):
                return found

    def finish(self):
        """What it said, once it has ended with 0."""
        until = time.monotonic() + FINISH_MAX
        try:
            while (line := self._lines.get(timeout=max(0.0, until - time.monotonic()))) is not None:
                self.said.append(line)
            code = self._process.wait(max(0.1, until - time.monotonic()))
        except (queue.Empty, subprocess.TimeoutExpired):
            raise self.wrong("does not end") from None
        living.discard(self)
        if code != 0:
            raise self.wrong(f"exit code {code}")
        return self.said

    @property
    def ended(self):
        return self._process.poll() is not None

    def kill(self, number=signal.SIGKILL):
        """Signals its whole group, and waits for its end."""
        if not self.ended:
            os.killpg(self._process.pid, number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        living.discard(self)

    def wrong(self, what):
        self._errors.seek(0)
        told = self._errors.read().decode(errors="replace").strip()
        return Wrong(f"{self.name} {what}; it said {self.said}; {told}")


def kill_all():
    """What is left of all scenarios; nothing starts after it."""
    with _starting:
        _over.set()
    for one in list(living):
        one.kill()
