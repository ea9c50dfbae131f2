"""What is asked of Prometheus: the queries of the dashboard, and the selectors of the alerts."""

import re
from typing import NamedTuple

# What Grafana fills in; scrapes come every second here, so ten of them.
VARIABLES = {"$__rate_interval": "10s", "$cell": ".*"}

# Told only by those who have a certificate.
ABSENT = {"sidelock_certificate_valid_seconds"}

SELECTOR = re.compile(r"\b(?:up|sidelock[a-z0-9_:]*)(?:\{[^}]*\})?")


class Question(NamedTuple):
    where: str
    query: str


def of_dashboard(dashboard):
    """The query of each target."""
    asked = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            asked.append(Question(f"panel {panel['title']!r}", query))
    return asked


def of_alerts(alerts):
    """Each selector once. Whether an alert fires depends on numbers, but there must be some.

    A counter whose labels name a trouble must be there, with 0, before it happens: its first step is not seen
    otherwise."""
    asked = {}
    for alert in alerts:
        for selector in SELECTOR.findall(alert["query"]):
            if selector not in ABSENT:
                asked.setdefault(selector, f"alert {alert['name']}")
    return [Question(where, selector) for selector, where in asked.items()]
