#!/usr/bin/env python3
"""Sends every example of the OpenAPI document to a real server and judges each answer by the document.

    tests/openapi/run.py PATH_OF_SIDELOCK [SCENE...]

Each scene has a `sidelock dev` of its own, since a claim id is used up. What the document must be in itself is in
judge.py, what is sent in scenes.py. A SCENE is part of its name.
"""

import concurrent.futures
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True

import judge
import scenes
from document import PROBLEM, Document
from server import Server

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AT_ONCE = 4  # servers
DRAINED_MAX = 30  # seconds


class Replay:
    def __init__(self, document, binary, directory):
        self.document, self.binary, self.directory = document, binary, directory
        self.seen, self.codes = set(), set()

    def server(self):
        return Server(self.binary, tempfile.mkdtemp(dir=self.directory))

    def send(self, server, step):
        """The answer, and what is wrong with it."""
        operation = self.document.operations[step.operation]
        request = operation.request(step.example, step.given, step.optional)
        answer = server.send(request.method, request.path, request.headers | step.headers, request.body)
        self.seen.add((step.operation, str(answer.status)))
        wrong = operation.wrong(answer)
        return answer, wrong and f"{request}: {wrong}"

    def play(self, scene):
        """What is wrong with the answers of a scene."""
        try:
            return self._play(scene)
        except Exception as failure:  # the other scenes go on
            return repr(failure)

    def _play(self, scene):
        with self.server() as server:
            for step in scene.before:
                answer, wrong = self.send(server, step)
                if wrong or answer.status >= 300:
                    return wrong or f"before it, {step.operation} got {answer.status}: {answer.text}"
            answer, wrong = self.send(server, scene.step)
            if answer.status != scene.status if scene.status else answer.status >= 300:
                return f"{answer.status}, not {scene.status or 'one that says that it went well'}: {answer.text}"
            if scene.step.operation == "drain" and server.process.wait(DRAINED_MAX):
                return f"the server drained and exited with {server.process.returncode}"
            return wrong

    def refuse(self, server, refused):
        """What is wrong with a refusal."""
        answer = server.send(refused.method, refused.path, refused.headers, refused.body)
        wrong = self.document.operations[refused.operation].wrong(answer)
        if wrong or answer.status != refused.status or answer.headers.get_content_type() != PROBLEM:
            return wrong or f"{answer.status} {answer.text}"
        if f'"{refused.code}"' not in answer.text or refused.code not in self.document.codes():
            return f"another code: {answer.text}"
        return None

    def not_seen(self):
        """Own answers of operations that no scene had, but those that cannot be had here."""
        documented = {(operation.id, status) for operation in self.document.operations.values() for status in operation.own}
        missing = documented - self.seen
        yield from (f"{operation}: no scene is answered with {status}" for operation, status in missing - scenes.NOT_HERE.keys())
        yield from (f"{operation}: {status} is not missing" for operation, status in scenes.NOT_HERE.keys() - missing)


def main():
    binary, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    document, files = Document(f"{ROOT}/openapi/sidelock.json"), {}
    for name in ("openapi/examples.json", "docs/problems.md"):
        with open(f"{ROOT}/{name}") as file:
            files[name] = file.read()
    directory = tempfile.mkdtemp(prefix="sidelock-openapi-")
    results = []
    try:
        replay = Replay(document, binary, directory)
        played = [scene for scene in (*scenes.automatic(document), *scenes.OTHERWISE)
                  if not wanted or any(part in str(scene) for part in wanted)]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
            results += zip(map(str, played), threads.map(replay.play, played))
        if not wanted:
            with replay.server() as server:
                results += [(f"{each.code}: {each.method} {each.path}", replay.refuse(server, each)) for each in scenes.REFUSED]
            for sentence in judge.SENTENCES:
                results.append((sentence.__name__, "\n    ".join(sentence(document, files))))
            results.append(("every documented answer was had", "\n    ".join(replay.not_seen())))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    failed = [(name, wrong) for name, wrong in results if wrong]
    for name, wrong in failed:
        print(f"{name}: {wrong}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed, 0 ignored")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
