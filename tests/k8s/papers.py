"""What an API server starts with: an authority, certificates below it, and the key that signs service account tokens.

In: names. Out: PEM files in one folder. Never: anything that outlives the test; all of it is valid for a day.
"""

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = datetime.timedelta(days=1)
# Clocks differ, if only by a second.
EARLIER = datetime.timedelta(minutes=5)


class Papers:
    """One authority and what it has signed, as files."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = named("sidelock-test-ca")
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = self.begun(self.name, self.key.public_key()).add_extension(usage, True)
        self.certificate = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), True).sign(self.key, hashes.SHA256())
        self.ca = self.write("ca.crt", self.certificate.public_bytes(serialization.Encoding.PEM))

    def begun(self, subject, key):
        now = datetime.datetime.now(datetime.timezone.utc)
        begun = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key)
        return begun.serial_number(x509.random_serial_number()).not_valid_before(now - EARLIER).not_valid_after(now + VALID)

    def leaf(self, file, common_name, groups=(), names=(), addresses=()):
        """A certificate for both ends of TLS: the paths of certificate and key. Groups are how Kubernetes reads `O`."""
        key = ec.generate_private_key(ec.SECP256R1())
        others = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(it)) for it in addresses)]
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        made = self.begun(named(common_name, groups), key.public_key()).add_extension(usages, False)
        if others:
            made = made.add_extension(x509.SubjectAlternativeName(others), False)
        certificate = made.sign(self.key, hashes.SHA256())
        return self.write(f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM)), self.write(f"{file}.key", private(key))

    def signer(self, file):
        """The key of tokens, as kubeadm makes it: RSA of 2048 bits."""
        return self.write(f"{file}.key", private(rsa.generate_private_key(public_exponent=65537, key_size=2048)))

    def write(self, name, data):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path


def named(common_name, groups=()):
    parts = [*((NameOID.ORGANIZATION_NAME, it) for it in groups), (NameOID.COMMON_NAME, common_name)]
    return x509.Name([x509.NameAttribute(*part) for part in parts])


def private(key):
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())
