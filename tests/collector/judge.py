"""What must be true of the traces and metrics of two contentions, a function for each sentence.

In: a Story. Out: None, or what is wrong. Never: a check that passes because there is nothing to look at: PLANTED spoils
a story that is in order, one thing at a time, and names the check that must notice.
"""

import copy
import dataclasses

APP, SIDECAR, CORE = "app", "sidelock-sidecar", "sidelock-core"


@dataclasses.dataclass
class Story:
    """What was done, and what the collector got of it."""

    spans: list
    metrics: dict  # by (service, name)
    waits: tuple  # how many, and the traces of their examples
    complaints: list  # of the collector itself
    queue: tuple  # traces of holder and waiter where the waiter stood in the core's queue
    recall: tuple  # the same where the core asked the holder's sidecar for the lock
    silent: str  # the trace that the app did not want to be sampled

    def trace(self, of):
        return [span for span in self.spans if span["trace"] == of]

    def one(self, of, service, name):
        """The one such span of a trace."""
        found = [span for span in self.trace(of) if (span["service"], span["name"]) == (service, name)]
        if len(found) != 1:
            had = sorted({(span["service"], span["name"]) for span in self.trace(of)})
            raise Missing(f"{len(found)} spans {name} of {service} in the trace {of}, which has {had}")
        return found[0]

    def operation(self, of):
        """The first that the core was asked in a trace; one that was asked again has more."""
        found = [span for span in self.trace(of) if (span["service"], span["name"]) == (CORE, "lock.operation")]
        if not found:
            raise Missing(f"no operation in the trace {of}")
        return min(found, key=lambda span: span["from"])

    def waiters(self):
        return self.queue[1], self.recall[1]


class Missing(Exception):
    """A span that must be there, once."""


def links(of, to):
    return (to["trace"], to["id"]) in of["links"]


def a_waiters_trace_has_spans_of_app_sidecar_and_core(story):
    for trace in (*story.waiters(), story.queue[0]):
        services = {span["service"] for span in story.trace(trace)}
        if services != {APP, SIDECAR, CORE}:
            return f"{trace} has spans of {services}"
    return None


def each_trace_is_one_tree_below_the_apps_span(story):
    for trace in (*story.queue, *story.recall):
        known = {span["id"]: span for span in story.trace(trace)}
        roots = [span for span in known.values() if span["parent"] not in known]
        if [(root["service"], root["parent"]) for root in roots] != [(APP, "")]:
            return f"{trace} begins with {[(root['service'], root['name'], root['parent']) for root in roots]}"
    return None


def app_sidecar_and_core_are_one_below_the_other(story):
    for trace in story.waiters():
        chain = [
            story.one(trace, APP, "work"), story.one(trace, SIDECAR, "PUT /v1/claims/{claim_id}"),
            story.one(trace, SIDECAR, "lock.acquire"), story.operation(trace),
        ]
        for above, below in zip(chain, chain[1:]):
            if below["parent"] != above["id"]:
                return f"{below['name']} of {trace} is not below {above['name']}"
    return None


def who_waits_links_to_who_holds(story):
    holder, waiter = story.queue
    hold = story.one(holder, SIDECAR, "lock.hold")
    for service, name in ((SIDECAR, "lock.acquire"), (CORE, "lock.wait")):
        span = story.one(waiter, service, name)
        if not links(span, hold):
            return f"{name} links to {span['links']}, not to the hold {hold['trace'], hold['id']}"
    return None


def who_holds_links_to_whom_it_is_asked_back_for(story):
    holder, waiter = story.recall
    hold, acquire = story.one(holder, SIDECAR, "lock.hold"), story.one(waiter, SIDECAR, "lock.acquire")
    if hold["attributes"].get("lock.recall") is not True:
        return f"the hold does not say that it was asked for: {hold['attributes']}"
    return None if links(hold, acquire) else f"the hold links to {hold['links']}, not to {acquire['trace'], acquire['id']}"


def the_wait_says_what_it_was(story):
    span = story.one(story.queue[1], SIDECAR, "lock.acquire")
    expected = {
        "lock.name": "orders/42", "lock.mode": "exclusive", "lock.outcome": "granted", "lock.contended": True,
        "lock.cached": False, "lock.queue.position": "0", "lock.holder.claim.id": "queue-holds",
        "lock.holder.identity": "pod-1",
    }
    wrong = {name: span["attributes"].get(name) for name, value in expected.items() if span["attributes"].get(name) != value}
    if wrong:
        return f"expected {expected}, differs in {wrong}"
    lasted = (span["to"] - span["from"]) / 1e9
    waited = span["attributes"]["lock.wait.duration"]
    return None if 0 < waited <= lasted + 0.1 else f"waited {waited} s in a span of {lasted} s"


def the_log_entry_has_a_trace_of_its_own_that_links_back(story):
    operation = story.operation(story.queue[1])
    entries = [span for span in story.spans if span["name"] == "raft.entry" and links(span, operation)]
    if not entries or entries[0]["trace"] == operation["trace"]:
        return f"{len(entries)} entries link to the operation of the waiter"
    below = {span["name"] for span in story.spans if span["parent"] == entries[0]["id"]}
    return None if {"raft.commit", "lock.apply"} <= below else f"below the entry there is only {below}"


def what_the_app_does_not_want_is_not_sampled(story):
    found = story.trace(story.silent)
    return f"{len(found)} spans of a trace that was not sampled" if found else None


def waits_are_counted_with_a_trace_of_one(story):
    count, traces = story.waits
    if count < 1:
        return "no wait was counted"
    return None if traces & set(story.waiters()) else f"the examples are of {traces}"


def both_sides_sent_their_metrics(story):
    for name in ((SIDECAR, "sidelock_grants"), (CORE, "sidelock_log_syncs"), (CORE, "sidelock_operations")):
        newest = story.metrics.get(name, [{}])[-1].get("sum", {})
        if not newest.get("isMonotonic") or not sum(point.get("asDouble", 0) for point in newest["dataPoints"]) > 0:
            return f"of {name} there is {newest or 'nothing'}"
    return None


def the_collector_took_it_all_without_complaint(story):
    return "; ".join(story.complaints) or None


CHECKS = [
    a_waiters_trace_has_spans_of_app_sidecar_and_core, each_trace_is_one_tree_below_the_apps_span,
    app_sidecar_and_core_are_one_below_the_other, who_waits_links_to_who_holds,
    who_holds_links_to_whom_it_is_asked_back_for, the_wait_says_what_it_was,
    the_log_entry_has_a_trace_of_its_own_that_links_back, what_the_app_does_not_want_is_not_sampled,
    waits_are_counted_with_a_trace_of_one, both_sides_sent_their_metrics, the_collector_took_it_all_without_complaint,
]


def complaint(check, story):
    try:
        return check(story)
    except Missing as missing:
        return str(missing)


def _drop(service, name):
    def spoil(story):
        story.spans = [span for span in story.spans if (span["service"], span["name"]) != (service, name)]
    return spoil


def _drop_all(service):
    def spoil(story):
        story.spans = [span for span in story.spans if span["service"] != service]
    return spoil


def _set(service, name, /, **fields):
    def spoil(story):
        for span in story.spans:
            if (span["service"], span["name"]) == (service, name):
                span.update(fields)
    return spoil


def _silent_is_sampled(story):
    story.silent = story.queue[0]


def _no_metrics(story):
    story.metrics = {}


def _no_examples(story):
    story.waits = (story.waits[0], set())


PLANTED = [
    (a_waiters_trace_has_spans_of_app_sidecar_and_core, _drop_all(CORE)),
    (a_waiters_trace_has_spans_of_app_sidecar_and_core, _set(APP, "work", service="other")),
    (each_trace_is_one_tree_below_the_apps_span, _set(SIDECAR, "lock.acquire", parent="0123456789abcdef")),
    (each_trace_is_one_tree_below_the_apps_span, _drop(APP, "work")),
    (app_sidecar_and_core_are_one_below_the_other, _drop(SIDECAR, "PUT /v1/claims/{claim_id}")),
    (who_waits_links_to_who_holds, _set(SIDECAR, "lock.acquire", links=[])),
    (who_waits_links_to_who_holds, _set(CORE, "lock.wait", links=[])),
    (who_holds_links_to_whom_it_is_asked_back_for, _set(SIDECAR, "lock.hold", links=[])),
    (the_wait_says_what_it_was, _set(SIDECAR, "lock.acquire", attributes={})),
    (the_log_entry_has_a_trace_of_its_own_that_links_back, _set(CORE, "raft.entry", links=[])),
    (what_the_app_does_not_want_is_not_sampled, _silent_is_sampled),
    (waits_are_counted_with_a_trace_of_one, _no_examples),
    (both_sides_sent_their_metrics, _no_metrics),
    (the_collector_took_it_all_without_complaint, lambda story: story.complaints.append("refused")),
]


def unnoticed(story):
    """What is spoilt in a story without its check noticing."""
    missed = []
    for number, (check, spoil) in enumerate(PLANTED, 1):
        spoilt = copy.deepcopy(story)
        spoil(spoilt)
        if complaint(check, spoilt) is None:
            missed.append(f"mistake {number} of {len(PLANTED)} is not noticed by {check.__name__}")
    return missed
