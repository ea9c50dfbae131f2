#!/usr/bin/env python3
"""The dashboard, the alerts and the runbooks, against a real cell under load and a real Prometheus.

    tests/dashboard/run.py PATH_OF_SIDELOCK

Three core nodes and two sidecars run on this machine, and a Prometheus that scrapes them every second with the rules
of helm/. The load goes on until every query of the dashboard and every selector of the alerts has an answer that is a
number; those that have none after PATIENCE are listed. Then each command of the runbooks is tried.
"""

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import load
import questions
import runbooks
from prometheus import Prometheus

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
FILES = os.path.join(ROOT, "helm", "sidelock", "files")
PATIENCE = 60.0  # seconds; a rate needs two scrapes after something rare has happened


def demo():
    """The demo's cell serves here too; its program has no .py in its name."""
    loader = importlib.machinery.SourceFileLoader("demo", os.path.join(ROOT, "demo", "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("demo", loader))
    loader.exec_module(module)
    return module


def ask(prometheus, screen):
    """Asks for everything until all of it is there; (how much was asked, how much failed)."""
    with open(os.path.join(FILES, "dashboard.json")) as file:
        asked = questions.of_dashboard(json.load(file))
    asked += questions.of_alerts(prometheus.alerts())
    missing = dict.fromkeys(asked)
    until = time.monotonic() + PATIENCE
    while missing and time.monotonic() < until:
        prometheus.wait_for_scrape()
        answers = {question: prometheus.why_empty(question.query) for question in missing}
        missing = {question: why for question, why in answers.items() if why}
        screen.progress(f"{len(asked) - len(missing)} of {len(asked)} queries have an answer")
    for question, why in missing.items():
        screen.say(f"{question.where}: {why}: {question.query}")
    broken = [alert for alert in prometheus.alerts() if alert["health"] != "ok"]
    for alert in broken:
        screen.say(f"{alert['name']} cannot be evaluated: {alert.get('lastError')}")
    screen.say(f"{len(asked) - len(missing)} of {len(asked)} queries have an answer")
    return len(asked), len(missing) + len(broken)


def follow_runbooks(cell, environment, parts, screen):
    """Tries each command; (how many blocks there are, how many failed)."""
    blocks = runbooks.blocks(os.path.join(ROOT, "docs", "runbooks"))
    failed = 0
    for where, block in blocks:
        # Some of them let another node lead.
        leader = cell.core_http[parts.wait_for("a leader", cell.leader)]
        complaint = runbooks.attempt(block, environment | {"SIDELOCK_CORE_URL": f"http://{leader}"})
        if complaint:
            failed += 1
            screen.say(f"{where}: {complaint}\n{block}")
    screen.say(f"{len(blocks) - failed} of {len(blocks)} blocks of commands in the runbooks did well")
    return len(blocks), failed


def check(binary, directory, parts, screen):
    """(how much was tried, how much failed)"""
    with contextlib.ExitStack() as running:
        cell = parts.Cell(binary, directory, screen)
        running.callback(cell.stop)
        cell.start()
        jobs = {"sidelock-core": cell.core_http.values(), "sidelock-sidecar": cell.sidecars_http}
        prometheus = Prometheus(directory, parts, os.path.join(FILES, "rules.yaml"), jobs)
        running.callback(prometheus.stop)
        prometheus.start()
        screen.say(f"three cores, two sidecars and Prometheus at {prometheus.address} are up; {directory}")
        running.enter_context(load.Load(cell.sidecars_http))
        environment = {
            "PATH": os.pathsep.join([os.path.dirname(binary), os.environ["PATH"]]),
            "SIDELOCK_URL": "http://" + cell.sidecars_http[0],
            "SIDELOCK_DATA_DIR": f"{directory}/core-1",
            "PROMETHEUS_URL": "http://" + prometheus.address,
        }
        results = ask(prometheus, screen), follow_runbooks(cell, environment, parts, screen)
        return [sum(column) for column in zip(*results)]


def main():
    parts = demo()
    binary = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "bin/sidelock")
    directory = tempfile.mkdtemp(prefix="sidelock-dashboard-")
    screen = parts.Screen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        tried, failed = check(binary, directory, parts, screen)
    except parts.Failed as failure:
        screen.say(f"FAILED: {failure}")
        tried = failed = 1
    if failed:
        print(f"Logs are kept in {directory}")
    else:
        shutil.rmtree(directory)
    print(f"{tried - failed} passed, {failed} failed, of queries and commands", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
