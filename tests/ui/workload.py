"""Real contention, by claims of both sidecars.

Some stands still, so that figures can be compared; some does not.
"""

import itertools
import threading
import time

from cell import call, demo

LONG_MS = 600_000
NIGHTLY = "jobs/nightly"
POOL = "pool"
# What a careless page would take for markup, or cut at the wrong place.
ODD = "config/<b>&\"'é %2F+#?"
STILL = [NIGHTLY, POOL, ODD, "ledger/eu", "ledger/us"]


def claim(address, claim_id, expected, **body):
    """PUTs a claim, which must be answered with one of `expected`."""
    status, answer = call(address, "PUT", f"/v1/claims/{claim_id}", {"ttl_ms": LONG_MS, **body})
    assert status in expected, f"claim {claim_id}: {status} {answer}"
    return answer


def hold(address, claim_id, lock, **body):
    return claim(address, claim_id, (200, 201), lock=lock, **body)


def wait(address, claim_id, lock, **body):
    return claim(address, claim_id, (202,), lock=lock, wait_ms=LONG_MS, queue=True, **body)


def release(address, *claim_ids):
    for claim_id in claim_ids:
        call(address, "DELETE", f"/v1/claims/{claim_id}")


def stand_still(one, two):
    """Holders and waiters of all kinds, which stay as they are."""
    hold(one, "nightly-1", NIGHTLY, metadata={"host": "batch-7"}, value="<i>2026</i>")
    wait(one, "nightly-2", NIGHTLY)
    wait(two, "nightly-3", NIGHTLY)
    wait(two, "nightly-4", NIGHTLY, priority=1)
    hold(one, "pool-1", POOL, limit=2)
    hold(two, "pool-2", POOL, limit=2)
    wait(two, "pool-3", POOL, limit=2)
    hold(one, "reader-1", ODD, mode="shared")
    hold(two, "reader-2", ODD, mode="shared")
    wait(two, "writer-1", ODD)
    wait(one, "reader-3", ODD, mode="shared")
    hold(one, "eu-1", "ledger/eu", owner="transfer")
    hold(two, "us-1", "ledger/us")
    wait(one, "us-2", "ledger/us", owner="transfer")
    wait(two, "eu-2", "ledger/eu")


def deadlock(one, two):
    """Two owners who wait for each other; one of them is refused. Its code."""
    hold(one, "left-a", "dead/a", owner="left")
    hold(two, "right-b", "dead/b", owner="right")
    wait(one, "left-b", "dead/b", owner="left")
    refused = claim(two, "right-a", (409,), lock="dead/a", owner="right", wait_ms=10_000)
    release(one, "left-b", "left-a")
    release(two, "right-b")
    return refused["code"]


def invert_order(one, two):
    """Orders before stock, and the other way round."""
    hold(one, "there-1", "orders/1", owner="there")
    hold(one, "there-2", "stock/1", owner="there")
    release(one, "there-2", "there-1")
    hold(two, "back-1", "stock/2", owner="back")
    hold(two, "back-2", "orders/2", owner="back")
    release(two, "back-2", "back-1")


class Churn:
    """Workers that take and release locks, more of them at some than at others, until told to stop."""

    numbers = itertools.count(1)  # of claims; an id is used up by its hold
    LOCKS = {"orders/17": 6, "stock/3": 4, "mail/outbox": 2, "jobs/hourly": 2}

    def __init__(self, addresses):
        self.over = threading.Event()
        self.failures = []
        places = [(lock, worker) for lock, workers in self.LOCKS.items() for worker in range(workers)]
        self.threads = [
            threading.Thread(target=self.work, args=(addresses[worker % 2], lock, worker), daemon=True)
            for lock, worker in places
        ]
        for thread in self.threads:
            thread.start()

    def work(self, address, lock, worker):
        try:
            while not self.over.is_set():
                number = next(self.numbers)
                claim_id = f"{lock.replace('/', '-')}-{number}"
                hold(address, claim_id, lock, wait_ms=30_000)
                time.sleep(0.03 * (1 + worker + number % 5))
                release(address, claim_id)
        except Exception as failure:  # told by `stop`
            self.failures.append(failure)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(demo.READY_MAX)
        assert not self.failures, self.failures[0]
