#!/usr/bin/env python3
"""A demo app: takes the lock `demo` from the sidecar beside it, works for a moment, releases it, and begins again.

Prints a line for each hold, with its fencing token and from when until when it held (seconds of CLOCK_BOOTTIME, which is
one clock for all containers of a machine), and one for each claim that was not granted. Standard library only.
"""

import http.client
import json
import os
import signal
import time
import uuid

LOCK = os.environ.get("LOCK", "demo")
WORK = 0.01  # seconds that it holds
PAUSE = 0.02  # seconds until it wants the lock again
RETRY = 0.2  # seconds after a refusal that does not say when to come back


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ask(method, path, body=None):
    """One request; (0, {}) when nobody answers."""
    connection = http.client.HTTPConnection("localhost", 5625, timeout=20)
    try:
        headers = {"content-type": "application/json"} if body else {}
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def take(claim):
    """The claim once granted, and until when it is safe; or the refusal and None."""
    sent = now()
    status, answer = ask("PUT", claim, {"lock": LOCK, "ttl_ms": 5000, "wait_ms": 5000})
    if status in (200, 201) and answer.get("waited_ms"):
        # After a wait the figures count from the grant, which is some time ago. Asked anew, they count from now.
        sent = now()
        status, answer = ask("POST", claim + "/renew")
    if status not in (200, 201):
        return answer, None
    return answer, sent + answer["safe_for_ms"] / 1000


def turn():
    # A claim id is the holder: a new one for each attempt.
    claim = "/v1/claims/" + str(uuid.uuid4())
    answer, safe_until = take(claim)
    began = now()
    if safe_until is None or began + WORK > safe_until:
        print("refused", answer.get("code", "no-answer" if safe_until is None else "too-late"), flush=True)
        ask("DELETE", claim)  # the refusal may be of an answer that was lost
        time.sleep(answer.get("retry_after_ms", RETRY * 1000) / 1000)
        return
    # Here a real app writes, and shows the token to what it writes to.
    time.sleep(WORK)
    ended = min(now(), safe_until)
    ask("DELETE", claim)
    print(f"held token={answer['token']} from={began:.6f} until={ended:.6f}", flush=True)


def main():
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    while not stopping:
        turn()
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
