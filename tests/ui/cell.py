"""The cell behind the page: three cores and two sidecars as the demo starts them, and a client of their API.

The first sidecar serves operators' routes, the second does not.
"""

import http.client
import importlib.machinery
import importlib.util
import json
import os
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _load_demo():
    # A program, so it has no `.py`.
    loader = importlib.machinery.SourceFileLoader("demo", f"{ROOT}/demo/run")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("demo", loader))
    loader.exec_module(module)
    return module


demo = _load_demo()


def started(binary, directory):
    """A running cell."""
    cell = demo.Cell(binary, directory, demo.Screen())
    cell.sidecars[0].command.append("--operator-routes")
    try:
        cell.start()
    except BaseException:
        cell.stop()
        raise
    return cell


def call(address, method, path, body=None, headers=(), timeout=30):
    """The status and the JSON of an answer."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        text = None if body is None else json.dumps(body)
        own = {} if body is None else {"content-type": "application/json"}
        connection.request(method, path, text, {**own, **dict(headers)})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else None
    finally:
        connection.close()


def expect(wanted, answer):
    """The JSON of an answer that must have this status."""
    status, body = answer
    if status != wanted:
        raise demo.Failed(f"expected {wanted}, got {status}: {body}")
    return body


def read(address, path):
    """The JSON of a GET that must succeed."""
    status, body = call(address, "GET", path)
    assert status == 200, f"GET {path} at {address}: {status} {body}"
    return body


def headers(address, path):
    """The status and the headers of a GET, by lower-case name."""
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def lock_path(name):
    return "/v1/locks/" + urllib.parse.quote(name, safe="")
