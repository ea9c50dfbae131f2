"""Checks the pods that the webhook makes (pods/*.out.yaml) against Kubernetes' own schemas, strictly: an unknown
field is an error, in every version of Kubernetes that the webhook serves and the schemas know.

    python validate.py [FOLDER]
"""

import sys
from pathlib import Path

import kubernetes_validate
import yaml
from kubernetes_validate.utils import all_versions

# The first with native sidecars, and the first in which a pod has resources of its own.
NATIVE_SIDECARS = (1, 29)
POD_RESOURCES = (1, 32)


def versions():
    """Those known that the webhook serves, oldest first."""
    known = {tuple(map(int, version.split(".")[:2])) for version in all_versions()}
    return sorted(version for version in known if version >= NATIVE_SIDECARS)


def problem(pod, version):
    """What a version has against a pod, if anything."""
    try:
        kubernetes_validate.validate(pod, ".".join(map(str, version)), strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
    return None


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "pods")
    pods = {path.name: yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.out.yaml"))}
    served = versions()
    if len(pods) < 8 or len(served) < 4:
        sys.exit(f"only {len(pods)} pods and {len(served)} versions")
    # A check that cannot fail is none.
    broken = yaml.safe_load((folder / "web.out.yaml").read_text())
    broken["spec"]["initContainers"][0]["restartPolice"] = "Always"
    if problem(broken, served[-1]) is None:
        sys.exit("the schemas take an unknown field")
    passed, failed = 0, 0
    for name, pod in pods.items():
        for version in served:
            if "resources" in pod["spec"] and version < POD_RESOURCES:
                continue
            found = problem(pod, version)
            if found is None:
                passed += 1
            else:
                failed += 1
                print(f"{name}, Kubernetes {version[0]}.{version[1]}: {found}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
