"""What the collector wrote down: spans and metrics, with the name of the service that sent them.

In: the files of its file exporter, a line of OTLP's JSON for each batch. Out: spans as dicts, metrics by name.
Never: a line that is not written to its end.
"""

import contextlib
import json


def lines(path):
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def said(of):
    """Attributes as a dict; whole numbers come as text, as in all JSON of protobuf."""
    return {each["key"]: next(iter(each["value"].values())) for each in of.get("attributes", [])}


def service(of):
    return said(of.get("resource", {})).get("service.name")


def spans(path):
    """Each span, with its `service`; `attributes` by name, `links` as pairs of trace and span."""
    return [
        {
            "service": service(resource), "name": span["name"], "trace": span["traceId"], "id": span["spanId"],
            "parent": span.get("parentSpanId", ""), "attributes": said(span),
            "links": [(link["traceId"], link["spanId"]) for link in span.get("links", [])],
            "from": int(span["startTimeUnixNano"]), "to": int(span["endTimeUnixNano"]),
        }
        for line in lines(path)
        for resource in line.get("resourceSpans", [])
        for scope in resource.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]


def metrics(path):
    """All that each service sent of each metric, by (service, name), oldest first."""
    found = {}
    for line in lines(path):
        for resource in line.get("resourceMetrics", []):
            for scope in resource.get("scopeMetrics", []):
                for metric in scope.get("metrics", []):
                    found.setdefault((service(resource), metric["name"]), []).append(metric)
    return found


def waits(found):
    """How many waits the sidecars have counted, by the newest of each histogram, and the traces of its examples."""
    most, traces = 0, set()
    for metric in found.get(("sidelock-sidecar", "sidelock_wait_seconds"), []):
        for point in metric["histogram"]["dataPoints"]:
            most = max(most, int(point.get("count", 0)))
            traces |= {example.get("traceId") for example in point.get("exemplars", [])}
    return most, traces
