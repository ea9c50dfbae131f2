#!/usr/bin/env python3
"""Whether the document breaks what the last release promised, and whether that would be noticed.

    tests/openapi/breaking.py PATH_OF_OASDIFF

openapi/released.json is the document of the last release. openapi/oasdiff.txt makes breaks of what oasdiff takes for
none: fields that may be absent are as good as others to who reads them, and names of operations and schemas are names in
generated clients. Besides, the released document is broken here in one way after the other, which must be found, and
changed in ways that break nothing, which must not.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RELEASED, PRESENT, LEVELS = (f"{ROOT}/openapi/{name}" for name in ("released.json", "sidelock.json", "oasdiff.txt"))


def fields(of, schema):
    return of["components"]["schemas"][schema]["properties"]


def without_a_field(of):
    del fields(of, "Claim")["token"]


def with_another_type_of_a_field(of):
    fields(of, "Claim")["token"] = {"type": "string"}


def without_an_operation(of):
    del of["paths"]["/v1/claims/{claim_id}"]["delete"]


def with_a_new_required_field_of_a_request(of):
    fields(of, "ClaimRequest")["reason"] = {"type": "string"}
    of["components"]["schemas"]["ClaimRequest"].setdefault("required", []).append("reason")


def without_a_field_of_a_request(of):
    del fields(of, "ClaimRequest")["wait_ms"]


def with_a_lower_bound(of):
    fields(of, "ClaimRequest")["ttl_ms"]["maximum"] = 60_000


def without_a_word_of_a_parameter(of):
    of["components"]["schemas"]["LockMode"]["enum"].remove("semaphore")


def with_a_field_that_may_be_absent(of):
    of["components"]["schemas"]["Claim"]["required"].remove("state")


def without_a_good_answer(of):
    responses = of["paths"]["/v1/claims/{claim_id}"]["put"]["responses"]
    del responses["201"]


def with_another_name_of_an_operation(of):
    of["paths"]["/v1/mode"]["get"]["operationId"] = "readMode"


def without_a_header(of):
    del of["paths"]["/v1/mode"]["get"]["responses"]["200"]["headers"]["Sidelock-Mode"]


BROKEN = [
    without_a_field, with_another_type_of_a_field, without_an_operation, with_a_new_required_field_of_a_request,
    without_a_field_of_a_request, with_a_lower_bound, without_a_word_of_a_parameter, with_a_field_that_may_be_absent,
    without_a_good_answer, with_another_name_of_an_operation, without_a_header,
]


def with_another_field(of):
    fields(of, "Claim")["comment"] = {"type": "string"}


def with_another_optional_field_of_a_request(of):
    fields(of, "ClaimRequest")["comment"] = {"type": "string"}


def with_another_operation(of):
    of["paths"]["/v1/other"] = {"get": {**copy.deepcopy(of["paths"]["/v1/mode"]["get"]), "operationId": "getOther"}}


def with_other_words(of):
    of["info"]["description"] = "Something else."


FINE = [with_another_field, with_another_optional_field_of_a_request, with_another_operation, with_other_words]


def breaking(oasdiff, old, new):
    """What breaks, in oasdiff's words; empty if nothing does."""
    done = subprocess.run(
        [oasdiff, "breaking", "--fail-on", "WARN", "--severity-levels", LEVELS, "--format", "singleline", old, new],
        capture_output=True, text=True,
    )
    if done.returncode not in (0, 1) or (done.returncode == 1 and not done.stdout.strip()):
        raise SystemExit(f"oasdiff exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip() if done.returncode else ""


def main():
    oasdiff = sys.argv[1]
    with open(RELEASED) as file:
        released = json.load(file)
    results = [("the document breaks what was released", breaking(oasdiff, RELEASED, PRESENT))]
    with tempfile.TemporaryDirectory(prefix="sidelock-breaking-") as directory:
        for change in (*BROKEN, *FINE):
            changed = copy.deepcopy(released)
            change(changed)
            with open(f"{directory}/changed.json", "w") as file:
                json.dump(changed, file)
            found = breaking(oasdiff, RELEASED, file.name)
            if change in BROKEN:
                results.append((change.__name__, "" if found else "is not found"))
            else:
                results.append((change.__name__, found))
    failed = [(name, wrong) for name, wrong in results if wrong]
    for name, wrong in failed:
        print(f"{name}: {wrong}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed, 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
