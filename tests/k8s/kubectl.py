"""The real kubectl, as whoever the test says.

In: arguments, objects. Out: what it printed; objects; the warnings that a person would have seen.
Never: a configuration or a cluster of the person who runs the test.
"""

import json
import os
import subprocess

BOUND_SECONDS = 60


class Refused(Exception):
    """kubectl failed; the text is what it said."""


class Kubectl:
    """One program, one configuration."""

    def __init__(self, binary, kubeconfig, home):
        self.binary, self.kubeconfig = binary, kubeconfig
        self.environment = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": kubeconfig}

    def tried(self, *arguments, objects=None, given=None):
        """The process that has ended. Objects go in as a list, as in one file; or one thing as it is given."""
        if objects is not None:
            given = {"apiVersion": "v1", "kind": "List", "items": objects}
        return subprocess.run(
            [self.binary, *arguments], env=self.environment, input="" if given is None else json.dumps(given),
            capture_output=True, text=True, timeout=BOUND_SECONDS,
        )

    def __call__(self, *arguments, objects=None, given=None):
        """What it printed."""
        done = self.tried(*arguments, objects=objects, given=given)
        if done.returncode != 0:
            raise Refused(f"kubectl {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def version(self):
        """The API server's."""
        return json.loads(self("version", "--output=json"))["serverVersion"]["gitVersion"]

    def get(self, *arguments):
        return json.loads(self("get", *arguments, "--output=json"))

    def there(self, *arguments):
        return self.tried("get", *arguments).returncode == 0

    def apply(self, objects, *arguments):
        return self("apply", "--validate=strict", "--filename=-", *arguments, objects=objects)

    def create(self, it, *arguments):
        """(the object as the API server has it, the lines that a person saw besides)."""
        done = self.tried("create", "--validate=strict", "--filename=-", "--output=json", *arguments, objects=[it])
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return json.loads(done.stdout), done.stderr.splitlines()

    def review(self, token, audience):
        """What the API server says of a token."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [audience]}}
        made, _ = self.create(asked)
        return made["status"]


def merged(base, more):
    """A copy of the object with more in it; lists and values take the place of what was there."""
    out = dict(base)
    for key, value in more.items():
        out[key] = merged(out.get(key) or {}, value) if isinstance(value, dict) else value
    return out
