"""One node and one sidecar with the certificates that docs/operators.md makes, and its rules."""

import pages
from cell import demo


class Secure:
    """In a directory where `tls` has the certificates. `core_url` and `sidecar_url` are where they listen."""

    def __init__(self, binary, directory):
        grpc, http, api = demo.free_ports(3)
        with open(f"{directory}/rules.yaml", "w") as file:
            file.write(pages.rules(f"{pages.ROOT}/docs/operators.md"))
        tls = lambda name: [
            "--tls-cert", f"{directory}/tls/{name}.pem", "--tls-key", f"{directory}/tls/{name}-key.pem",
            "--tls-ca", f"{directory}/tls/ca.pem",
        ]
        core = [
            binary, "core", "--node-id", "1", "--data-dir", f"{directory}/secure", "--grpc", f"127.0.0.1:{grpc}",
            "--http", f"127.0.0.1:{http}", "--peers", f"1=127.0.0.1:{grpc}", "--rules", f"{directory}/rules.yaml", *tls("core"),
        ]
        sidecar = [binary, "sidecar", "--core", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{api}", *tls("cart")]
        self.parts = [
            demo.Part("a core with TLS", core, f"{directory}/secure-core.log"),
            demo.Part("a sidecar with TLS", sidecar, f"{directory}/secure-sidecar.log"),
        ]
        self.core_url, self.sidecar_url = f"https://127.0.0.1:{http}", f"http://127.0.0.1:{api}"

    def start(self):
        for part in self.parts:
            part.start()
        address = self.sidecar_url.removeprefix("http://")
        # Only the core can answer that.
        path = "/v1/locks/shop%2Fready?consistency=linearizable"
        demo.wait_for("the sidecar with TLS", lambda: demo.get(address, path))

    def stop(self):
        demo.stop_all(reversed(self.parts), patience=5.0)
