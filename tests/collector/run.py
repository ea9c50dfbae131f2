#!/usr/bin/env python3
"""A contended lock, as the OpenTelemetry Collector sees it: app, sidecars and core are processes of their own.

    tests/collector/run.py PATH_OF_SIDELOCK PATH_OF_COLLECTOR

Twice, with OTLP over gRPC and over HTTP: a core and two sidecars send what they tell to a collector, and so does this
app, which claims under spans of its own. Then the files of the collector are judged.
"""

import concurrent.futures
import contextlib
import glob
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../ui")

from cell import call, demo, expect  # its processes and ports serve here too
import judge
import received

WAIT_MS = 20_000  # how long the second may wait for the first
PATIENCE = 60.0  # seconds, for anything waited for
LOG_END = 12_000  # characters of each log that are shown if something goes wrong
CONFIG = """\
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
processors:
  batch: {{timeout: 100ms}}
exporters:
  file/traces: {{path: {directory}/traces.json, flush_interval: 100ms}}
  file/metrics: {{path: {directory}/metrics.json, flush_interval: 100ms}}
service:
  telemetry:
    metrics: {{level: none}}
    logs: {{encoding: json}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [file/traces]}}
    metrics: {{receivers: [otlp], processors: [batch], exporters: [file/metrics]}}
"""


def ask(address, method, path, body=None, headers=()):
    return call(address, method, path, body, headers, timeout=PATIENCE)


def changed(address, path, condition):
    """What is at this path, once it is so; asks again whenever it has changed."""
    until, query = time.monotonic() + PATIENCE, ""
    while time.monotonic() < until:
        body = expect(200, ask(address, "GET", path + query))
        if condition(body):
            return body
        query = f"?wait_revision={body['revision']}&wait_ms=5000"
    raise demo.Failed(f"{path} did not become as expected: {body}")


class Collector(demo.Part):
    """The collector, on ports of its own."""

    def __init__(self, program, directory):
        self.grpc, self.http = demo.free_ports(2)
        self.traces, self.metrics = f"{directory}/traces.json", f"{directory}/metrics.json"
        with open(f"{directory}/collector.yaml", "w") as file:
            file.write(CONFIG.format(grpc=self.grpc, http=self.http, directory=directory))
        super().__init__("collector", [program, "--config", f"{directory}/collector.yaml"], f"{directory}/collector.log")

    def told(self):
        with open(self.log) as log:
            return [json.loads(line) for line in log if line.startswith("{") and line.endswith("}\n")]

    def ready(self):
        if self.process.poll() is not None:
            with open(self.log) as log:
                raise demo.Failed(f"the collector has ended: {log.read()}")
        return any(line["msg"].startswith("Everything is ready") for line in self.told())

    def complaints(self):
        return [json.dumps(line) for line in self.told() if line["level"] not in ("debug", "info")]


class App:
    """Claims under spans of its own, which it sends to the collector as OTLP's JSON."""

    def __init__(self, collector):
        self.collector = collector

    def claim(self, address, claim_id, lock, trace, sampled=True):
        span, began = os.urandom(8).hex(), time.time_ns()
        traceparent = {"traceparent": f"00-{trace}-{span}-{'01' if sampled else '00'}"}
        body = {"lock": lock, "wait_ms": WAIT_MS, "ttl_ms": 60_000}
        claim = expect(201, ask(address, "PUT", f"/v1/claims/{claim_id}", body, traceparent.items()))
        if sampled:
            self.tell(trace, span, began)
        return claim

    def tell(self, trace, span, began):
        kind_client = 3
        name = {"key": "service.name", "value": {"stringValue": judge.APP}}
        told = {
            "traceId": trace, "spanId": span, "name": "work", "kind": kind_client,
            "startTimeUnixNano": str(began), "endTimeUnixNano": str(time.time_ns()),
        }
        body = {"resourceSpans": [{"resource": {"attributes": [name]}, "scopeSpans": [{"spans": [told]}]}]}
        answer = expect(200, ask(f"127.0.0.1:{self.collector.http}", "POST", "/v1/traces", body))
        if answer.get("partialSuccess"):
            raise demo.Failed(f"the collector did not take the app's span: {answer}")

    def release(self, address, claim_id):
        expect(204, ask(address, "DELETE", f"/v1/claims/{claim_id}"))


class Cell:
    """A core and two sidecars that send to a collector."""

    def __init__(self, binary, directory, collector, protocol):
        grpc, self.core_http, *sidecars = [f"127.0.0.1:{port}" for port in demo.free_ports(4)]
        port = collector.grpc if protocol == "grpc" else collector.http
        # Nothing that was set outside counts.
        unset = [word for name in os.environ if name.startswith("OTEL_") for word in ("-u", name)]
        start = [
            "env", *unset, f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}", f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}",
            "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=200", binary,
        ]
        self.core = demo.Part("core", [
            *start, "core", "--node-id", "1", "--data-dir", f"{directory}/core", "--grpc", grpc, "--http", self.core_http,
            "--peers", f"1={grpc}",
        ], f"{directory}/core.log")
        self.one, self.two = sidecars
        self.sidecars = [
            demo.Part(identity, [*start, "sidecar", "--core", grpc, "--http", address, "--identity", identity],
                      f"{directory}/{identity}.log")
            for identity, address in (("pod-1", self.one), ("pod-2", self.two))
        ]

    def start(self):
        for part in (self.core, *self.sidecars):
            part.start()
        for address in (self.one, self.two):
            demo.wait_for("a session", lambda address=address: any(
                session.get("session") for session in (demo.get(address, "/v1/mode") or {}).get("sessions", [])))

    def finish(self):
        """In good order, so that each sends what is left: sidecars end their sessions with the core."""
        for part in (*self.sidecars, self.core):
            part.signal(signal.SIGTERM)
            part.process.wait(PATIENCE)

    def stop(self):
        demo.stop_all([*self.sidecars, self.core], patience=5.0)


def queue(app, cell, waiting):
    """The second stands in the core's queue until the first releases; gives the traces of both."""
    holder, waiter = os.urandom(16).hex(), os.urandom(16).hex()
    app.claim(cell.one, "queue-holds", "orders/42", holder)
    second = waiting.submit(app.claim, cell.two, "queue-waits", "orders/42", waiter)
    changed(cell.one, "/v1/locks/" + urllib.parse.quote("orders/42", safe=""), lambda lock: lock["queue_length"] == 1)
    app.release(cell.one, "queue-holds")
    second.result(PATIENCE)
    app.release(cell.two, "queue-waits")
    return holder, waiter


def recall(app, cell, waiting, silent):
    """The first holds a lock that its sidecar keeps, so the core must ask for it; gives the traces of both."""
    holder, waiter = os.urandom(16).hex(), os.urandom(16).hex()
    for turn in range(3):
        app.claim(cell.one, f"warm-{turn}", "kept", silent, sampled=False)
        app.release(cell.one, f"warm-{turn}")
    claim = app.claim(cell.one, "recall-holds", "kept", holder)
    if not claim["local"]:
        raise demo.Failed(f"the sidecar does not keep the lock: {claim}")
    second = waiting.submit(app.claim, cell.two, "recall-waits", "kept", waiter)
    # That it is asked for is a change of the claim.
    changed(cell.one, "/v1/claims/recall-holds", lambda now: now["revision"] > claim["revision"])
    app.release(cell.one, "recall-holds")
    second.result(PATIENCE)
    app.release(cell.two, "recall-waits")
    return holder, waiter


def play(binary, program, directory, protocol):
    """Both contentions; gives what the collector has of them."""
    os.mkdir(directory)
    collector = Collector(program, directory)
    cell = Cell(binary, directory, collector, protocol)
    silent = os.urandom(16).hex()
    with contextlib.ExitStack() as running:
        running.callback(demo.stop_all, [collector], patience=5.0)
        collector.start()
        demo.wait_for("the collector", collector.ready)
        running.callback(cell.stop)
        cell.start()
        app = App(collector)
        with concurrent.futures.ThreadPoolExecutor() as waiting:
            queued = queue(app, cell, waiting)
            recalled = recall(app, cell, waiting, silent)
        demo.wait_for("both waits in the metrics", lambda: received.waits(received.metrics(collector.metrics))[0] >= 2)
        cell.finish()
        # It writes down what it has before it ends.
        collector.signal(signal.SIGTERM)
        collector.process.wait(PATIENCE)
    metrics = received.metrics(collector.metrics)
    return judge.Story(
        spans=received.spans(collector.traces), metrics=metrics, waits=received.waits(metrics),
        complaints=collector.complaints(), queue=queued, recall=recalled, silent=silent,
    )


def main():
    binary, program = (os.path.abspath(path) for path in sys.argv[1:3])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="sidelock-collector-")
    screen, passed, wrong = demo.Screen(), 0, []
    try:
        for protocol in ("grpc", "http/protobuf"):
            story = play(binary, program, f"{directory}/{protocol.replace('/', '-')}", protocol)
            found = [(check.__name__, judge.complaint(check, story)) for check in judge.CHECKS]
            wrong += [f"{protocol}: {name}: {complaint}" for name, complaint in found if complaint]
            passed += sum(complaint is None for _, complaint in found)
            screen.say(f"{protocol}: {len(story.spans)} spans, {len(story.metrics)} metrics")
        # The judge is tried on the last story, spoilt in one way after the other.
        missed = judge.unnoticed(story)
        passed += len(judge.PLANTED) - len(missed)
        wrong += missed
    except (demo.Failed, OSError) as failure:
        wrong.append(repr(failure))
        for log in sorted(glob.glob(f"{directory}/*/*.log")):
            with open(log) as file:
                print(f"--- the end of {log}\n{file.read()[-LOG_END:]}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for complaint in wrong:
        screen.say(complaint)
    print(f"{passed} passed, {len(wrong)} failed, 0 ignored")
    return 1 if wrong or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
