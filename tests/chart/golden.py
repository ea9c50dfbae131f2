"""Compares what each profile renders with golden/PROFILE.yaml. Keys and certificates made by Helm are masked, and so is
what is a file of the chart as it is (documents.py sees that it is).

A change that is meant is written with --rewrite, and then seen in the review.
"""

import difflib
import os
import re

from helm import CHART, KUBE_VERSION, PROFILES

FOLDER = os.path.join(os.path.dirname(__file__), "golden")
DIFFERENT_LINES_MAX = 40
# Only what is new each time: PEM blocks in base64, and the end of their validity.
PEM = re.compile(r"\b(tls\.crt|tls\.key|ca\.crt|ca\.key|caBundle): LS0t[A-Za-z0-9+/=]+")
NEW = [(PEM, r"\1: <made by Helm>"), (re.compile(r'(sidelock\.dev/(?:valid-until|certificate-id)): "\w+"'), r'\1: "<made by Helm>"')]


def files():
    """(name, text) of the files that templates take over."""
    for name in sorted(os.listdir(os.path.join(CHART, "files"))):
        with open(os.path.join(CHART, "files", name)) as file:
            yield name, file.read()


def masked(text):
    for pattern, instead in NEW:
        text = pattern.sub(instead, text)
    for name, content in files():
        for margin in ("    ", "  "):
            block = margin + content.rstrip("\n").replace("\n", "\n" + margin)
            text = text.replace(block, f"{margin}<files/{name}>")
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def check(world):
    for profile in PROFILES:
        path = os.path.join(FOLDER, f"{profile}.yaml")
        rendered = masked(world.helm.text(profile, more=("--kube-version", KUBE_VERSION)))
        if world.rewrite:
            os.makedirs(FOLDER, exist_ok=True)
            with open(path, "w") as file:
                file.write(rendered)
        stored = ""
        if os.path.exists(path):
            with open(path) as file:
                stored = file.read()
        difference = list(difflib.unified_diff(stored.splitlines(), rendered.splitlines(), path, "rendered", lineterm=""))
        world.report.ok(f"{profile} is as stored", not difference, "\n".join(difference[:DIFFERENT_LINES_MAX]))
        world.report.ok(f"{profile} shows no key", "LS0t" not in stored, "a golden file has a PEM block in it")
    stray = set(os.listdir(FOLDER)) - {f"{profile}.yaml" for profile in PROFILES}
    world.report.ok("there is no golden file without a profile", not stray, str(stray))
