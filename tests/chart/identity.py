"""Plays the pod of `helm test` on a real node: Helm's certificates, a token as Kubernetes projects it, rules of one's own.

The token is signed by a key made here, whose public half goes through the chart's values to the node.
"""

import base64
import http.client
import json
import os
import subprocess
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cell import StatefulSet, free_ports, wait_for
from helm import find

ISSUER = "https://kubernetes.default.svc.cluster.local"
TEST = "system:serviceaccount:locks:sidelock-test"
RUN_SECONDS = 60


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Signer:
    """Issues tokens as an API server does."""

    def __init__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwks(self):
        public = self.key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one", "n": number(public.n), "e": number(public.e)}
        return json.dumps({"keys": [key]})

    def token(self, subject):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": ["sidelock"], "sub": subject, "iat": now, "nbf": now, "exp": now + 600}
        parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one"}, claims)]
        signature = self.key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, encoded(signature)])


class Sidecar:
    """The test pod's sidecar, with its arguments as rendered; it also says where it listens."""

    def __init__(self, nodes, pod, token, name):
        api, admin = free_ports(2)
        self.address, self.home = f"127.0.0.1:{api}", f"{nodes.home}/{name}"
        os.makedirs(self.home)
        with open(f"{self.home}/token", "w") as file:
            file.write(token)
        container = pod["spec"]["initContainers"][0]
        arguments = [nodes.resolved(it).replace("--admin=[::]:5628", f"--admin=127.0.0.1:{admin}") for it in container["args"]]
        files = {"SIDELOCK_TLS_CA": f"{nodes.home}/ca.crt", "SIDELOCK_TOKEN_FILE": f"{self.home}/token"}
        variables = {it["name"]: files[it["name"]] for it in container["env"]}
        self.process = subprocess.Popen(
            [nodes.sidelock, *arguments, f"--http={self.address}"], env=os.environ | variables, stdin=subprocess.DEVNULL,
            stdout=nodes.log, stderr=nodes.log, start_new_session=True,
        )

    def claim(self, lock):
        """(status, code of the problem or state of the claim) of a claim that is given back at once; nothing while it is not up."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            body = json.dumps({"lock": lock, "wait_ms": 5000, "ttl_ms": 2000})
            connection.request("POST", "/v1/claims", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            said = json.loads(answer.read())
            if answer.status == 201:
                connection.request("DELETE", f"/v1/claims/{said['claim_id']}")
                connection.getresponse().read()
            return answer.status, said.get("code") or said.get("state")
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def decided(self, lock):
        """The first answer that is a decision, not that there is no core yet."""
        return wait_for(f"a decision on {lock}", lambda: (it := self.claim(lock)) and it[0] != 503 and it, 30)

    def end(self):
        self.process.kill()
        self.process.wait()


def check(world):
    if not world.sidelock:
        world.report.ignore("identities on a real node", "no path of sidelock was given")
        return
    ok, signer = world.report.ok, Signer()
    values = {
        "core": {"replicas": 1},
        "tokens": {"source": "values", "issuer": ISSUER, "jwks": signer.jwks()},
        "rules": [{"identities": ["system:serviceaccount:shop:*"], "prefixes": ["shop/"], "may": ["read", "claim"]}],
    }
    objects = world.helm.objects("default", values)
    home = os.path.join(world.work, "identity")
    os.makedirs(home)
    nodes, running = StatefulSet(world.sidelock, home, objects), []
    pod = find(objects, "Pod", "sidelock-test")
    try:
        nodes.scale(1)
        if not ok("the node sees its cell by its own certificate", nodes.voters(1)):
            return
        callers = {"test": signer.token(TEST), "shop": signer.token("system:serviceaccount:shop:till"), "forged": Signer().token(TEST)}
        sidecars = {name: Sidecar(nodes, pod, token, name) for name, token in callers.items()}
        running += sidecars.values()
        for name, lock, wanted in (
            ("test", "sidelock-test/it", (201, "granted")), ("test", "shop/1", (403, "forbidden")),
            ("shop", "shop/1", (201, "granted")), ("shop", "sidelock-test/it", (403, "forbidden")),
        ):
            said = sidecars[name].decided(lock)
            ok(f"{name} asks for {lock}: {wanted[1]}", said == wanted, str(said))
        # It may not be listening yet. Once it is, it waits for a core for some seconds before it says that there is none.
        said = wait_for("an answer", lambda: sidecars["forged"].claim("sidelock-test/it"), 30)
        ok("a token of somebody else's key gets nothing", said is not None and said[0] == 503, str(said))
        arguments = [nodes.sidelock if it == "/sidelock" else it for it in pod["spec"]["containers"][0]["args"]]
        ran = subprocess.run(
            [nodes.sidelock, *arguments], env=os.environ | {"SIDELOCK_URL": f"http://{sidecars['test'].address}"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_SECONDS,
        )
        ok("the test's command runs under its lock", ran.returncode == 0 and "sidelock" in ran.stdout, ran.stdout + ran.stderr[:600])
    finally:
        for sidecar in running:
            sidecar.end()
        nodes.end()
