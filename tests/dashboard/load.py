"""Apps that do what apps do: contend, wait in vain, lock each other out, die, and come in the wrong order."""

import http.client
import itertools
import json
import threading

WAIT_MS = 2000
HOLD_SECONDS = 0.01


class App:
    """One sequential app, with one connection to its sidecar."""

    def __init__(self, address, stopped):
        self.connection = http.client.HTTPConnection(address, timeout=30)
        self.stopped = stopped

    def _ask(self, method, path, body=None):
        headers = {"content-type": "application/json"} if body else {}
        try:
            self.connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = self.connection.getresponse()
            text = answer.read()
            return json.loads(text) if text else {}
        except (OSError, http.client.HTTPException):
            # Commands of the runbooks move the leader meanwhile; the next request connects again.
            self.connection.close()
            return {}

    def take(self, lock, wait_ms=WAIT_MS, **more):
        """The claim's id, or None if it was not granted."""
        claim = self._ask("POST", "/v1/claims", {"lock": lock, "ttl_ms": 10_000, "wait_ms": wait_ms, **more})
        return claim["claim_id"] if claim.get("state") == "granted" else None

    def give(self, claim):
        if claim:
            self._ask("DELETE", f"/v1/claims/{claim}")

    def hold(self):
        self.stopped.wait(HOLD_SECONDS)


def contend(app):
    """Few locks and many who want them, in both pods."""
    for number in itertools.count():
        claim = app.take(f"orders/{42 + number % 2}")
        app.hold()
        app.give(claim)
        yield


def share(app):
    """A lock that only this pod wants: it is kept here, and handed over here."""
    while True:
        claim = app.take("cache/1")
        app.hold()
        app.give(claim)
        yield


def try_in_vain(app):
    """Asks for what is held most of the time, and does not wait."""
    while True:
        app.give(app.take("orders/42", wait_ms=0))
        app.hold()
        yield


def misjudge(app):
    """Another limit of a semaphore that is in use."""
    while True:
        claim = app.take("pool", limit=2)
        app.give(app.take("pool", wait_ms=0, limit=3))
        app.give(claim)
        app.hold()
        yield


def die(app):
    """Takes a lock and is never heard of again, until its lease is over."""
    while True:
        app.take("reports/1", ttl_ms=500)
        app.stopped.wait(1.0)
        yield


def cross(app, owner, first, second, meet):
    """Two of these, with the locks in opposite orders, wait for each other in a circle: one of them is refused."""
    while True:
        held = app.take(first, owner=owner)
        meet.wait()
        app.give(app.take(second, owner=owner))
        app.give(held)
        meet.wait()
        yield


class Load:
    """All of them, each in a thread, while in its context."""

    def __init__(self, sidecars):
        self.stopped = threading.Event()
        self.meet = threading.Barrier(2)
        self.threads = []
        for sidecar in sidecars:
            for life in [contend, contend, contend, try_in_vain]:
                self._add(life, sidecar)
        for life in [share, share, misjudge, die]:
            self._add(life, sidecars[0])
        # One in each pod; of two classes, so that the order of classes is inverted as well.
        self._add(cross, sidecars[0], "left", "stock/1", "carts/1", self.meet)
        self._add(cross, sidecars[1], "right", "carts/1", "stock/1", self.meet)

    def _add(self, life, sidecar, *more):
        self.threads.append(threading.Thread(target=self._live, args=(life, sidecar, more)))

    def _live(self, life, sidecar, more):
        try:
            for _ in life(App(sidecar, self.stopped), *more):
                if self.stopped.is_set():
                    return
        except threading.BrokenBarrierError:
            pass  # the other one has stopped

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.meet.abort()
        for thread in self.threads:
            thread.join()
