"""A `sidelock dev` on a free port, and its API as the scenarios ask it."""

import http.client
import json
import os
import re
import signal
import time
import urllib.parse

from copies import Copy, Wrong, environment

READY_MAX = 60.0  # seconds


class Sidecar(Copy):
    """A core and a sidecar in one process, with nothing in it yet."""

    def __init__(self, binary, directory):
        command = [binary, "dev", "--http", "127.0.0.1:0", "--data-dir", f"{directory}/data"]
        super().__init__("sidelock-dev", command, directory, environment())
        self.url = self.line(r"http://127\.0\.0\.1:\d+", READY_MAX)[0]

    def ask(self, method, path, body=None):
        """The JSON of a good answer."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=20)
        try:
            headers = {"content-type": "application/json"} if body else {}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Wrong(f"{method} {path}: {answer.status} {text}")
        return json.loads(text)

    def lock(self, name):
        return self.ask("GET", "/v1/locks/" + urllib.parse.quote(name, safe=""))

    def until(self, name, condition, what):
        """Waits until a lock is as wanted; the sidecar tells when to look again."""
        until, now = time.monotonic() + READY_MAX, self.lock(name)
        while not condition(now):
            if time.monotonic() > until:
                raise Wrong(f"{name}: {what} did not happen; {now}")
            path = urllib.parse.quote(name, safe="")
            now = self.ask("GET", f"/v1/locks/{path}?wait_revision={now['revision']}&wait_ms=2000")
        return now

    def take_away(self, name):
        """As an operator does."""
        self.ask("POST", f"/v1/locks/{urllib.parse.quote(name, safe='')}/break", {"reason": "the guide's test"})

    def stop(self):
        # Who interrupts does not wait for holders.
        self.kill(signal.SIGINT)
