"""Certificates made by Helm: what is in them, and that an upgrade keeps them until there is a reason not to."""

import base64
import os
import time

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from apiserver import ApiServer
from helm import find

DAY = 86_400
NAMES = ("sidelock-ca", "sidelock-core-tls", "sidelock-injector-tls")


def secrets(objects):
    return {name: find(objects, "Secret", name) for name in NAMES}


def pem(secret, key):
    return base64.b64decode(secret["data"][key])


def certificate(secret, key="tls.crt"):
    return x509.load_pem_x509_certificate(pem(secret, key))


def signed_by(leaf, authority):
    """Whether the authority has signed it; raises if not."""
    authority.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, padding.PKCS1v15(), leaf.signature_hash_algorithm)
    return leaf.issuer == authority.subject


def contents(world):
    """What is in a certificate, as a client would look at it."""
    ok = world.report.ok
    made = secrets(world.helm.objects())
    authority = certificate(made["sidelock-ca"], "ca.crt")
    ok("the authority is one", authority.extensions.get_extension_for_oid(ExtensionOID.BASIC_CONSTRAINTS).value.ca)
    for name in NAMES[1:]:
        leaf = certificate(made[name])
        ok(f"{name} is signed by the authority", signed_by(leaf, authority))
        ok(f"{name} carries the authority", pem(made[name], "ca.crt") == pem(made["sidelock-ca"], "ca.crt"))
        ok(f"{name} does not carry the authority's key", "ca.key" not in made[name]["data"])
        key = load_pem_private_key(pem(made[name], "tls.key"), None)
        ok(f"the key of {name} is its own", key.public_key().public_numbers() == leaf.public_key().public_numbers())
        days = (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days
        ok(f"{name} is valid for as long as the values say", days == 1095, str(days))
        told = int(made[name]["metadata"]["annotations"]["sidelock.dev/valid-until"])
        ok(f"{name} says its own end", abs(told - leaf.not_valid_after_utc.timestamp()) < 60, str(told))
        uses = set(leaf.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE).value)
        ok(f"{name} serves, and calls", {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH} <= uses, str(uses))
    core = certificate(made["sidelock-core-tls"]).extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    names = set(core.get_values_for_type(x509.DNSName))
    for name in ("sidelock-core.locks.svc", "*.sidelock-nodes.locks.svc.cluster.local", "sidelock-core.locks.svc.cluster.local", "localhost"):
        ok(f"the nodes answer for {name}", name in names, str(names))
    addresses = {str(it) for it in core.get_values_for_type(x509.IPAddress)}
    ok("the nodes answer for this machine, for commands in the pod", {"127.0.0.1", "::1"} <= addresses, str(addresses))
    common = certificate(made["sidelock-core-tls"]).subject.rfc4514_string()
    ok("the nodes' identity is their common name", common == "CN=sidelock-core", common)
    injector = certificate(made["sidelock-injector-tls"]).extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    names = injector.get_values_for_type(x509.DNSName)
    ok("the injector answers for what API servers call", "sidelock-injector.locks.svc" in names, str(names))
    webhook = find(world.helm.objects(), "MutatingWebhookConfiguration", "0-sidelock-injector.locks")
    bundles = {it["clientConfig"]["caBundle"] for it in webhook["webhooks"]}
    ok("API servers know the authority", bundles == {made["sidelock-ca"]["data"]["ca.crt"]})


class Upgrades:
    """Renders as an upgrade does: with a cluster that has what earlier releases left."""

    def __init__(self, world, server):
        self.world, self.server = world, server
        path = os.path.join(world.work, "kubeconfig")
        server.kubeconfig(path)
        self.environment = world.helm.environment | {"KUBECONFIG": path}

    def render(self, values=None):
        text = self.world.helm.text("default", values, more=("--dry-run=server", "--is-upgrade", "--disable-openapi-validation"), environment=self.environment)
        return text, [document for document in yaml.safe_load_all(text) if document]

    def upgrade(self, values=None):
        """Renders, and leaves the secrets in the cluster."""
        text, objects = self.render(values)
        self.server.secrets.update({name: secret for name, secret in secrets(objects).items() if secret})
        return text, objects


def check(world):
    contents(world)
    with ApiServer() as server:
        upgrades, ok = Upgrades(world, server), world.report.ok
        first, _ = upgrades.upgrade()
        ok("an install looks for earlier certificates", set(NAMES) <= set(server.asked), str(server.asked))
        second, objects = upgrades.upgrade()
        ok("an upgrade changes not a byte", first == second)

        before = dict(server.secrets)
        _, objects = upgrades.upgrade({"core": {"replicas": 5}})
        ok("growing needs no new certificate", secrets(objects) == before)

        _, objects = upgrades.render({"clusterDomain": "other.local"})
        after = secrets(objects)
        ok("other names need a new certificate", after["sidelock-core-tls"]["data"]["tls.crt"] != before["sidelock-core-tls"]["data"]["tls.crt"])
        ok("of the same authority", after["sidelock-ca"]["data"] == before["sidelock-ca"]["data"])
        ok("and it is signed by it", signed_by(certificate(after["sidelock-core-tls"]), certificate(before["sidelock-ca"], "ca.crt")))

        kept = server.secrets["sidelock-core-tls"]["metadata"]["annotations"]
        kept["sidelock.dev/valid-until"] = str(int(time.time()) + 364 * DAY)
        _, objects = upgrades.render()
        after = secrets(objects)
        ok("one that ends within a year is renewed", after["sidelock-core-tls"]["data"]["tls.crt"] != before["sidelock-core-tls"]["data"]["tls.crt"])
        ok("one that does not is kept", after["sidelock-injector-tls"] == before["sidelock-injector-tls"])
        kept["sidelock.dev/valid-until"] = str(int(time.time()) + 366 * DAY)
        _, objects = upgrades.render()
        ok("a day more, and it is kept", secrets(objects)["sidelock-core-tls"]["data"] == before["sidelock-core-tls"]["data"])
