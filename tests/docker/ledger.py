"""What the apps saw: each hold, from their logs, and whether all of them together keep the promise.

A hold is told from just after it was granted until just before it was given back, on one clock for all containers: if two
overlap, there were two holders.
"""

import collections
import itertools
import re
import subprocess
import threading
import time
import typing

HELD = re.compile(r"held token=(\d+) from=([\d.]+) until=([\d.]+)$")


def now():
    """The clock of the apps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Hold(typing.NamedTuple):
    start: float
    end: float
    token: int
    app: str


def judge(holds):
    """What is wrong with them, in words."""
    wrong = []
    for one, next_one in itertools.pairwise(sorted(holds)):
        if next_one.token <= one.token:
            wrong.append(f"the token did not rise: {one} and then {next_one}")
        if next_one.start < one.end:
            wrong.append(f"two held at once: {one} and {next_one}")
    return wrong


def handovers(holds, since):
    """The times at which the lock came to another app, of the holds that began after `since`."""
    later = sorted(hold for hold in holds if hold.start > since)
    return [after.start for before, after in itertools.pairwise(later) if after.app != before.app]


class Ledger:
    """Follows the logs of apps while they run."""

    def __init__(self):
        self._changed = threading.Condition()
        self._holds = []
        self._refusals = collections.Counter()
        self._followers = []

    def follow(self, app, command, environment):
        """Reads what the command prints: `docker logs --follow`."""
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        thread = threading.Thread(target=self._read, args=(app, process.stdout), daemon=True)
        thread.start()
        self._followers.append((process, thread))

    def _read(self, app, lines):
        for line in lines:
            found = HELD.match(line.strip())
            with self._changed:
                if found:
                    token, start, end = found.groups()
                    self._holds.append(Hold(float(start), float(end), int(token), app))
                else:
                    self._refusals[line.strip()] += 1
                self._changed.notify_all()

    def wait_handovers(self, since, count, patience):
        """Seconds from `since` until the lock had come to another app so many times; None if it takes longer."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: len(handovers(self._holds, since)) >= count, max(0.0, since + patience - now())
            )
            return handovers(self._holds, since)[count - 1] - since if found else None

    def longest_pause(self, since):
        """The longest time between two hand-overs from then on, in seconds."""
        with self._changed:
            times = [since, *handovers(self._holds, since)]
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)

    def holds(self):
        with self._changed:
            return list(self._holds)

    def refusals(self):
        """How often each refusal, or anything else, was printed."""
        with self._changed:
            return dict(self._refusals)

    def ended(self):
        """Waits until all that was printed has been read; the apps have ended."""
        for process, thread in self._followers:
            process.wait(30)
            thread.join(30)

    def stop(self):
        for process, _ in self._followers:
            process.kill()
            process.wait()
