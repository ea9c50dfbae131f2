#!/usr/bin/env python3
"""The table of values in the chart's README, made from the comments in values.yaml.

    tests/chart/values_table.py      writes it anew

A comment that starts with `# -- ` stands for the key right below it. Every leaf must have one, its own or one of a key
that it is part of, and the README must hold the current table.
"""

import json
import os
import re
import sys

import yaml

CHART = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "helm", "sidelock"))
VALUES, README, SCHEMA = (os.path.join(CHART, name) for name in ("values.yaml", "README.md", "values.schema.json"))
START, END = "<!-- values:start -->", "<!-- values:end -->"
KEY = re.compile(r"^( *)([A-Za-z][\w-]*):")


def described(text):
    """{path: comment}, of all keys with a comment."""
    found, path, comment = {}, [], None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# -- "):
            comment = stripped[5:]
        elif match := KEY.match(line):
            depth = len(match[1]) // 2
            path = path[:depth] + [match[2]]
            if comment:
                found[".".join(path)] = comment
            comment = None
    return found


def leaves(values, path=()):
    """(path, value) of all that is no map, or an empty one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def look_up(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def table():
    with open(VALUES) as file:
        text = file.read()
    values = yaml.safe_load(text)
    rows = ["| Value | Default | What it is |", "|---|---|---|"]
    for path, comment in described(text).items():
        default = json.dumps(look_up(values, path), ensure_ascii=False)
        rows.append(f"| `{path}` | `{default}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def split():
    """The README before, in and after the table."""
    with open(README) as file:
        before, _, rest = file.read().partition(START)
    inside, _, after = rest.partition(END)
    return before, inside.strip(), after


def rewrite():
    before, _, after = split()
    with open(README, "w") as file:
        file.write(f"{before}{START}\n{table()}\n{END}{after}")


def closed(schema, path="values"):
    """Objects of the schema that would take any key."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties", True) is True:
            yield path
        for key, value in schema.items():
            yield from closed(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from closed(value, f"{path}[{number}]")


def in_schema(schema, path):
    """Whether the schema names this value."""
    for key in path.split("."):
        if "$ref" in schema:
            return True
        if key not in schema.get("properties", {}):
            return "additionalProperties" in schema and schema["additionalProperties"] is not False
        schema = schema["properties"][key]
    return True


def check(world):
    if world.rewrite:
        rewrite()
    ok = world.report.ok
    ok("the table in the README is current", split()[1] == table(), "run tests/chart/values_table.py")
    with open(VALUES) as file:
        text = file.read()
    with open(SCHEMA) as file:
        schema = json.load(file)
    comments = described(text)
    for path, _ in leaves(yaml.safe_load(text)):
        parts = path.split(".")
        told = any(".".join(parts[:end]) in comments for end in range(1, len(parts) + 1))
        ok(f"{path} is described", told, "it has no comment that starts with `# -- `")
        ok(f"{path} is in the schema", in_schema(schema, path), "values.schema.json does not name it")
    open_objects = list(closed(schema))
    ok("every object of the schema is closed", not open_objects, str(open_objects))
    for profile in ("dev", "ha", "openshift"):
        with open(os.path.join(CHART, f"values-{profile}.yaml")) as file:
            unknown = [path for path, _ in leaves(yaml.safe_load(file)) if not in_schema(schema, path)]
        ok(f"values-{profile}.yaml has known keys only", not unknown, str(unknown))


if __name__ == "__main__":
    sys.exit(rewrite())
