"""Renders and lints the chart with a real Helm; what was rendered once is remembered."""

import json
import os
import subprocess

import yaml

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CHART = os.path.join(ROOT, "helm", "sidelock")
RELEASE, NAMESPACE = "sidelock", "locks"
PROFILES = {
    "default": [],
    "dev": ["values-dev.yaml"],
    "ha": ["values-ha.yaml"],
    "openshift": ["values-openshift.yaml"],
}
# The kind of Kubernetes that is rendered for where a case does not say.
KUBE_VERSION = "1.33.0"
BOUND_SECONDS = 60


class RenderError(Exception):
    """Helm refused; the text is what it said."""


class Helm:
    """One Helm, with its own empty home."""

    def __init__(self, binary, work):
        self.binary, self.work, self.kept, self.count = binary, work, {}, 0
        homes = {f"HELM_{kind}_HOME": os.path.join(work, kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        # No cluster is asked unless a check brings one.
        self.environment = os.environ | homes | {"KUBECONFIG": os.path.join(work, "no-kubeconfig")}

    def run(self, *arguments, environment=None):
        return subprocess.run(
            [self.binary, *arguments], env=environment or self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=BOUND_SECONDS,
        )

    def version(self):
        return "helm " + self.run("version", "--short").stdout.strip()

    def arguments(self, profile, values):
        """Files of a profile, and of more values, as Helm wants them."""
        arguments = [part for file in PROFILES[profile] for part in ("--values", os.path.join(CHART, file))]
        if values:
            self.count += 1
            path = os.path.join(self.work, f"values-{self.count}.yaml")
            with open(path, "w") as file:
                yaml.safe_dump(values, file)
            arguments += ["--values", path]
        return arguments

    def text(self, profile="default", values=None, release=RELEASE, namespace=NAMESPACE, more=(), environment=None):
        """All that is rendered, as text."""
        done = self.run(
            "template", release, CHART, "--namespace", namespace, *self.arguments(profile, values), *more, environment=environment
        )
        if done.returncode != 0:
            raise RenderError(done.stderr.strip())
        return done.stdout

    def objects(self, profile="default", values=None, **where):
        """All objects that are rendered."""
        key = json.dumps([profile, values, where], sort_keys=True, default=str)
        if key not in self.kept:
            text = self.text(profile, values, more=("--kube-version", KUBE_VERSION), **where)
            self.kept[key] = [document for document in yaml.safe_load_all(text) if document]
        return self.kept[key]

    def notes(self, profile="default", values=None):
        """What NOTES.txt says to the one who installs."""
        done = self.run(
            "install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client",
            *self.arguments(profile, values),
        )
        if done.returncode != 0:
            raise RenderError(done.stderr.strip())
        _, _, notes = done.stdout.partition("NOTES:\n")
        return notes

    def lint(self, report):
        """`helm lint --strict` in every profile."""
        for profile in PROFILES:
            done = self.run("lint", CHART, "--strict", "--namespace", NAMESPACE, *self.arguments(profile, None))
            report.ok(f"strict, {profile}", done.returncode == 0, done.stdout + done.stderr)


def find(objects, kind, name):
    """The object of this kind and name, or None."""
    for it in objects:
        if it["kind"] == kind and it["metadata"]["name"] == name:
            return it
    return None


def pod_templates(objects):
    """(name, pod spec, pod metadata) of all that makes pods."""
    for it in objects:
        name = f"{it['kind']}/{it['metadata']['name']}"
        if it["kind"] == "Pod":
            yield name, it["spec"], it["metadata"]
        elif it["kind"] in ("Deployment", "StatefulSet", "Job", "DaemonSet"):
            template = it["spec"]["template"]
            yield name, template["spec"], template["metadata"]
