"""Runs the cases of cases/*.yaml: what is rendered, which object, what must hold there.

A case has a `name`, and optionally a `profile` and `values`. Then either `refused: REGEX`, or `notes: REGEX`, or
`none: KIND/NAME`, or `of: KIND/NAME` and checks at a path `at`: `is`, `has` (an element, or part of a text), `lacks`,
`matches`, `count`, `absent: true`. A path is keys joined by dots, "quoted" where they have dots themselves, with [0] for
an element of a list and [name=core] for the one that has it.
"""

import glob
import os
import re

import yaml

from helm import RenderError, find

STEP = re.compile(r'"(?P<quoted>[^"]+)"|\[(?P<key>\w+)=(?P<value>[^\]]+)\]|\[(?P<index>\d+)\]|(?P<plain>[^.\[\]"]+)')
KNOWN = {"name", "profile", "values", "refused", "notes", "none", "of", "at", "is", "has", "lacks", "matches", "count", "absent"}
CHECKS = ("is", "has", "lacks", "matches", "count", "absent")


class Missing(Exception):
    """There is nothing at the path."""


def at(value, path):
    """What is at a path."""
    for step in STEP.finditer(path):
        if step["index"]:
            if not isinstance(value, list) or int(step["index"]) >= len(value):
                raise Missing(step[0])
            value = value[int(step["index"])]
        elif step["key"]:
            found = [it for it in value or [] if str(it.get(step["key"])) == step["value"]]
            if len(found) != 1:
                raise Missing(f"{step[0]} ({len(found)} found)")
            value = found[0]
        else:
            key = step["quoted"] or step["plain"]
            if not isinstance(value, dict) or key not in value:
                raise Missing(key)
            value = value[key]
    return value


def complaint(case, value):
    """What is wrong with the value, or None."""
    if "is" in case and (value != case["is"] or type(value) is not type(case["is"])):
        return f"is {value!r}, not {case['is']!r}"
    if "has" in case and case["has"] not in value:
        return f"{value!r} has no {case['has']!r}"
    if "lacks" in case and case["lacks"] in value:
        return f"{value!r} has {case['lacks']!r}"
    if "matches" in case and not re.search(case["matches"], value, re.MULTILINE):
        return f"{value!r} does not match {case['matches']!r}"
    if "count" in case and len(value) != case["count"]:
        return f"has {len(value)}, not {case['count']}: {value!r}"
    return None


def judge(helm, case):
    """What is wrong, or None."""
    profile, values = case.get("profile", "default"), case.get("values")
    if "refused" in case:
        try:
            helm.objects(profile, values)
        except RenderError as error:
            return None if re.search(case["refused"], str(error)) else f"refused for another reason: {error}"
        return "it is not refused"
    if "notes" in case:
        notes = helm.notes(profile, values)
        return None if re.search(case["notes"], notes) else f"the notes do not say it:\n{notes}"
    objects = helm.objects(profile, values)
    kind, name = case.get("of", case.get("none")).split("/", 1)
    it = find(objects, kind, name)
    if "none" in case:
        return None if it is None else "it is there"
    if it is None:
        return f"there is no {kind}/{name}"
    try:
        value = at(it, case["at"])
    except Missing as missing:
        return None if case.get("absent") else f"nothing at {missing} of {case['at']}"
    return "it is there" if case.get("absent") else complaint(case, value)


def check(world):
    for path in sorted(glob.glob(os.path.join(os.path.dirname(__file__), "cases", "*.yaml"))):
        with open(path) as file:
            cases = yaml.safe_load(file)
        for case in cases:
            name = f"{os.path.basename(path)[:-5]}: {case['name']}"
            unknown = set(case) - KNOWN
            whole = any(key in case for key in ("refused", "notes", "none")) or any(key in case for key in CHECKS) and "of" in case
            if unknown or not whole:
                world.report.ok(name, False, f"not a case: {sorted(unknown) or 'it checks nothing'}")
                continue
            try:
                wrong = judge(world.helm, case)
            except RenderError as error:
                wrong = f"does not render: {error}"
            world.report.ok(name, wrong is None, wrong or "")
