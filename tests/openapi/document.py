"""The OpenAPI document as a replay needs it: operations, their examples, and what an answer must be.

In: openapi/sidelock.json. Out: requests to send, and what is wrong with an answer. Never: room for a field that is not
documented, but in a Problem, whose further members depend on its code.
"""

import dataclasses
import json
import urllib.parse

import jsonschema

JSON, PROBLEM, STREAM = "application/json", "application/problem+json", "text/event-stream"
OPEN = {"#/components/schemas/Problem"}
# What the data of events is.
EVENTS = {"claims": {"$ref": "#/components/schemas/Claim"}, "locks": {"$ref": "#/components/schemas/Lock"}}
# Headers of some answers of a kind: where it is known when to come again; of a claim on one lock that is held.
SOMETIMES = {"Retry-After", "Sidelock-Token"}
BOUNDS = {"int32": 1 << 31, "int64": 1 << 63}

FORMATS = jsonschema.FormatChecker(formats=())
for _name, _bound in BOUNDS.items():
    FORMATS.checks(_name)(lambda value, bound=_bound: not isinstance(value, int) or -bound <= value < bound)


def closed(schema, within=False):
    """The schema without room for more fields; a part of an `allOf` leaves that to the whole."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: closed(field) for name, field in schema["properties"].items()}
    for word in ("items", "additionalProperties"):
        if word in schema:
            schema[word] = closed(schema[word])
    if "allOf" in schema:
        schema["allOf"] = [closed(part, within=True) for part in schema["allOf"]]
    if not within and schema.get("$ref") not in OPEN and {"properties", "allOf", "$ref"} & schema.keys():
        schema.setdefault("unevaluatedProperties", False)
    return schema


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict
    body: str | None

    def __str__(self):
        return f"{self.method} {self.path} {self.body or ''}".strip()


class Operation:
    """One method of one path."""

    def __init__(self, document, path, method, said):
        self.document, self.path, self.method, self.id = document, path, method.upper(), said["operationId"]
        self.parameters = said.get("parameters", [])
        content = said.get("requestBody", {}).get("content", {}).get(JSON, {})
        self.body_schema = content.get("schema")
        self.body_required = said.get("requestBody", {}).get("required", False)
        self.bodies = {name: example["value"] for name, example in content.get("examples", {}).items()}
        # Those of its own, by status; what all operations may answer is elsewhere.
        self.own = {status: answer for status, answer in said["responses"].items() if "$ref" not in answer}
        self.responses = {status: document.at(answer) for status, answer in said["responses"].items()}

    def request(self, example=None, given=None, optional=False):
        """As documented, but for what is given; with all parameters, or only with those that are required."""
        given, path, query, headers = given or {}, self.path, {}, {"Accept": f"{JSON}, {STREAM};q=0.5"}
        for parameter in self.parameters:
            name = parameter["name"]
            if not (parameter["required"] or optional or name in given):
                continue
            value = given.get(name, parameter.get("example"))
            text = json.dumps(value) if isinstance(value, bool) else str(value)
            match parameter["in"]:
                case "path":
                    path = path.replace(f"{{{name}}}", urllib.parse.quote(text, safe=""))
                case "query":
                    query[name] = text
                case "header":
                    headers[name] = text
        body = None if example is None else json.dumps(self.bodies[example])
        if body is not None:
            headers["Content-Type"] = JSON
        return Request(self.method, path + ("?" + urllib.parse.urlencode(query) if query else ""), headers, body)

    def wrong(self, answer):
        """What is wrong with an answer."""
        said = self.responses.get(str(answer.status))
        if said is None:
            return f"status {answer.status} is not documented: {answer.text}"
        missing = [name for name in said.get("headers", {}) if name not in SOMETIMES and name not in answer.headers]
        if missing:
            return f"without the headers {missing}"
        content = said.get("content", {})
        if not content:
            return f"a body where none is documented: {answer.text}" if answer.text else None
        kind = answer.headers.get("Content-Type", "").split(";")[0]
        if kind not in content:
            return f"the media type {kind!r} is not documented"
        if kind == STREAM:
            return self.document.complaint(EVENTS[self.path.split("/")[2]], answer.event())
        value = json.loads(answer.text) if kind.endswith("json") else answer.text
        if "Sidelock-Token" in said.get("headers", {}) and answer.headers.get("Sidelock-Token") != text_of(value.get("token")):
            return f"the header and the body tell different tokens: {answer.headers.get('Sidelock-Token')}, {value.get('token')}"
        return self.document.complaint(content[kind]["schema"], value)


def text_of(value):
    return None if value is None else str(value)


class Document:
    def __init__(self, path):
        with open(path) as file:
            self.all = json.load(file)
        self.schemas = {name: closed(schema, within=True) for name, schema in self.all["components"]["schemas"].items()}
        self.operations = {
            said["operationId"]: Operation(self, path, method, said)
            for path, item in self.all["paths"].items()
            for method, said in item.items()
        }

    def at(self, said):
        """What a reference leads to."""
        while "$ref" in said:
            found = self.all
            for part in said["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            said = found
        return said

    def complaint(self, schema, value):
        """Where and why a value does not fit a schema."""
        whole = {**closed(schema), "components": {"schemas": self.schemas}}
        errors = jsonschema.Draft202012Validator(whole, format_checker=FORMATS).iter_errors(value)
        return "; ".join(f"{error.json_path}: {error.message}" for error in errors) or None

    def codes(self):
        """The codes of problems that are enumerated."""
        return self.all["components"]["schemas"]["Problem"]["properties"]["code"]["x-extensible-enum"]
