#!/usr/bin/env python3
"""A worker in Python, with the standard library only.

    worker.py SIDECAR_URL DIRECTORY NAME fenced|unfenced

In a loop until DIRECTORY/stop exists: take the lock `counter`, read the number, sleep a little, write
it back plus one. A fenced worker shows its token with every statement.
"""

import http.client
import json
import os
import sqlite3
import sys
import time
import urllib.parse
import uuid

URL, DIRECTORY, NAME, CHECK = sys.argv[1:5]
HOST = urllib.parse.urlsplit(URL).netloc
FENCED = CHECK == "fenced"
LOG = open(os.path.join(DIRECTORY, NAME + ".log"), "a", buffering=1)
DB = sqlite3.connect(os.path.join(DIRECTORY, "counter.db"), timeout=5, isolation_level=None)


def path(name):
    return os.path.join(DIRECTORY, name)


def ask(method, target, body=None):
    """One request; (0, {}) when nobody answers."""
    connection = http.client.HTTPConnection(HOST, timeout=20)
    try:
        headers = {"content-type": "application/json"} if body else {}
        connection.request(method, target, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else {}
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def read(token):
    """The number; None if the resource has seen a greater token."""
    if not FENCED:
        return DB.execute("select value from counter").fetchone()[0]
    # The resource keeps the greatest token that it has seen and refuses smaller ones, on reads too:
    # a holder that has read must be safe from the writes of those before it.
    DB.execute("begin immediate")
    DB.execute("update counter set token = ?1 where token < ?1", (token,))
    row = DB.execute("select value from counter where token = ?", (token,)).fetchone()
    DB.execute("commit")
    return row[0] if row else None


def write(token, value):
    """Whether the resource took it."""
    if FENCED:
        done = DB.execute("update counter set value = ? where token <= ?", (value, token))
    else:
        done = DB.execute("update counter set value = ?", (value,))
    return done.rowcount == 1


def hold(token):
    value = read(token)
    if value is None:
        print(f"refused token={token} on-read", file=LOG)
        return
    print(f"holding token={token} value={value}", file=LOG)
    if os.path.exists(path("slow." + NAME)):
        os.remove(path("slow." + NAME))
        time.sleep(2)
    else:
        time.sleep(0.01)
    if write(token, value + 1):
        print(f"ack token={token} value={value + 1}", file=LOG)
    else:
        print(f"refused token={token}", file=LOG)


while not os.path.exists(path("stop")):
    # A claim id is the holder: a new one for each attempt.
    claim = "/v1/claims/" + str(uuid.uuid4())
    status, answer = ask("PUT", claim, {"lock": "counter", "ttl_ms": 3000, "wait_ms": 5000})
    if status not in (200, 201):
        print(f"not-granted {answer.get('code', 'no-answer')}", file=LOG)
        time.sleep(0.2)
        continue
    hold(answer["token"])
    ask("DELETE", claim)
