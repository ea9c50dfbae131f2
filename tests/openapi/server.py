"""A `sidelock dev` on a free port, and requests to it.

In: the binary, a directory. Out: answers, read to their end, or a stream's to its first event. Never: a process or data
left behind.
"""

import dataclasses
import http.client
import json
import os
import re
import subprocess

TIMEOUT = 30  # seconds, for any one answer


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    text: str

    def event(self):
        """The data of the first event of a stream."""
        return json.loads(re.search(r"^data: ?(.*)$", self.text, re.MULTILINE).group(1))


class Server:
    def __init__(self, binary, directory):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SIDELOCK_", "OTEL_"))}
        self.log = open(f"{directory}/log", "ab")
        self.process = subprocess.Popen(
            [binary, "dev", "--http", "127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=environment | {"TMPDIR": directory}, start_new_session=True,
        )
        self.port = None

    def __enter__(self):
        # It tells where it is once it can be asked.
        for line in self.process.stdout:
            if found := re.search(r"http://(?:localhost|127\.0\.0\.1):([0-9]+)", line):
                self.port = int(found.group(1))
                return self
        raise RuntimeError("sidelock dev has ended before it said where it listens")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def send(self, method, path, headers, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                return Answer(answer.status, answer.headers, self._first_event(answer))
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()

    @staticmethod
    def _first_event(answer):
        lines = []
        for line in answer:
            lines.append(line.decode())
            if line == b"\n" and any(each.startswith("data:") for each in lines):
                break
        return "".join(lines)
