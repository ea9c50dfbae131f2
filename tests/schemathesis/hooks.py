"""Bounds what schemathesis would do for hours: waits, and streams that have no end.

In: each generated case. Out: the same case, with a wait of at most 50 ms. Never: a case made valid.
"""

import schemathesis

WAIT_MS_MAX = 50


def bound(holder):
    if isinstance(holder, dict):
        wait = holder.get("wait_ms")
        text = isinstance(wait, str) and wait.isdigit()
        number = isinstance(wait, (int, float)) and not isinstance(wait, bool)
        if (text or number) and WAIT_MS_MAX < float(wait) <= 3_600_000:
            holder["wait_ms"] = str(WAIT_MS_MAX) if text else WAIT_MS_MAX
        if "wait_revision" in holder and "wait_ms" not in holder:
            holder["wait_ms"] = WAIT_MS_MAX


@schemathesis.hook
def before_call(context, case, **kwargs):
    bound(case.query)
    if isinstance(case.body, dict) and "wait_revision" not in case.body:
        bound(case.body)
    # Asked to stream, a claim's answer would last as long as the connection.
    if case.headers and "event-stream" in str(case.headers.get("Accept", "")):
        case.headers["Accept"] = "application/json"
