"""Kinds that other operators bring, so that an API server takes objects of them.

In: objects. Out: definitions of those kinds that it does not know, which take any fields: these are judged by tests/chart.
Never: a kind of Kubernetes itself.
"""

# Where the chart's own kinds of other operators come from.
GROUPS = {"cert-manager.io", "monitoring.coreos.com"}


def definition(group, version, kind):
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def teach(kubectl, objects):
    """Defines what is not known yet, and waits until it counts."""
    wanted = {(*it["apiVersion"].partition("/")[::2], it["kind"]) for it in objects}
    made = [definition(*it) for it in sorted(wanted) if it[0] in GROUPS]
    if made:
        kubectl.apply(made)
        kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{it['metadata']['name']}" for it in made))
