"""Which requests are replayed, after which others, and what they must be answered with.

In: the document. Out: scenes, each for a server of its own. Never: an example of the document that is left out.
"""

import dataclasses
import json


@dataclasses.dataclass
class Step:
    """One request, as the document has it."""

    operation: str
    example: str | None = None
    given: dict = dataclasses.field(default_factory=dict)  # parameters with other values than the document's
    optional: bool = False  # with all parameters
    headers: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Scene:
    step: Step
    before: list
    status: int | None = None  # any that says that it went well, if none is named

    def __str__(self):
        step = self.step
        return f"{step.operation} {step.example or ''}{' with all parameters' if step.optional else ''}".strip()


OWN = Step("putClaim", "try")
OTHERS = Step("putClaim", "try", {"claim_id": "c-51bb"})
WAITING = Step("putClaim", "queue")
RELEASED = Step("releaseClaim")
BROKEN = Step("breakLock", "force")

# What must have been done before an operation can do well.
BEFORE = {
    "getClaim": [OWN], "renewClaim": [OWN], "releaseClaim": [OWN], "listClaims": [OWN], "streamClaimEvents": [OWN],
    "listLocks": [OWN], "getLock": [OWN], "streamLockEvents": [OWN], "getLockHistory": [OWN], "explainLock": [OTHERS, WAITING],
    "verifyToken": [OWN], "breakLock": [OWN], "getWaits": [OTHERS, WAITING], "listSessions": [OWN], "getContention": [OTHERS, WAITING],
}

# How they do otherwise.
OTHERWISE = [
    Scene(OWN, [OWN], 200),
    Scene(WAITING, [OTHERS], 202),
    Scene(OWN, [OTHERS], 409),
    Scene(OWN, [OWN, RELEASED], 410),
    Scene(Step("createClaim", "queue"), [OTHERS], 202),
    Scene(Step("createClaim", "try"), [OTHERS], 409),
    Scene(Step("createClaim", "wait", headers={"Accept": "text/event-stream"}), [], 200),
    Scene(Step("getClaim"), [], 404),
    Scene(Step("renewClaim", "lease"), [], 404),
    Scene(Step("renewClaim", "lease"), [OWN, RELEASED], 410),
    Scene(RELEASED, [OWN, RELEASED], 204),
    Scene(RELEASED, [OWN, BROKEN], 410),
    Scene(Step("streamClaimEvents"), [], 404),
    Scene(Step("streamClaimEvents", given={"Last-Event-ID": 3}), [OWN, RELEASED], 204),
    Scene(Step("streamClaimEvents", given={"bind": True}), [OWN, RELEASED], 410),
    Scene(Step("breakLock", "ask"), [], 200),
    Scene(Step("getReadiness"), [OWN, Step("drain")], 503),
    Scene(OWN, [OTHERS, Step("drain")], 503),
]

# Answers of operations that cannot be had of one healthy server, and what shows them instead.
NOT_HERE = {
    ("releaseClaim", "202"): "the core must be away: tests/pods",
    ("createClaim", "410"): "the claim must end between two steps of one request: tests/it",
}


def automatic(document):
    """Each example of each body, and each operation with and without the parameters that it can do without."""
    for operation in document.operations.values():
        before = BEFORE.get(operation.id, [])
        for example in operation.bodies:
            yield Scene(Step(operation.id, example), before)
        if not operation.bodies or not operation.body_required:
            yield Scene(Step(operation.id), before)
        if any(not parameter["required"] for parameter in operation.parameters):
            yield Scene(Step(operation.id, next(iter(operation.bodies), None), optional=True), before)


@dataclasses.dataclass
class Refused:
    """A request that no operation takes."""

    code: str
    status: int
    operation: str
    method: str
    path: str
    headers: dict = dataclasses.field(default_factory=dict)
    body: str | None = None


_JSON = {"Content-Type": "application/json"}
REFUSED = [
    Refused("invalid-request", 400, "createClaim", "POST", "/v1/claims", _JSON, '{"lock": "a", "surprise": 1}'),
    Refused("invalid-request", 400, "putClaim", "PUT", "/v1/claims/a%20b", _JSON, '{"lock": "a"}'),
    Refused("invalid-request", 400, "listLocks", "GET", "/v1/locks?limit=0"),
    Refused("forbidden", 403, "getMode", "GET", "/v1/mode", {"Host": "sidelock.example"}),
    Refused("not-acceptable", 406, "getMode", "GET", "/v1/mode", {"Accept": "image/png"}),
    Refused("too-large", 413, "createClaim", "POST", "/v1/claims", _JSON, json.dumps({"lock": "a", "value": "x" * 70_000})),
    Refused("unsupported-media-type", 415, "createClaim", "POST", "/v1/claims", {"Content-Type": "text/plain"}, '{"lock": "a"}'),
    Refused("headers-too-large", 431, "getMode", "GET", "/v1/mode", {"X-Long": "x" * 20_000}),
]
