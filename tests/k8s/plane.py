"""A control plane without controllers: etcd and kube-apiserver, and where the API server finds a kubelet for `kubectl exec`.

In: the programs, the address that pods reach it at. Out: an API server that is ready, and who is its administrator.
Never: a process of it that outlives the test; the run is the first process of its own PID namespace.
"""

import json
import os
import ssl
import subprocess
import time
import urllib.request

from papers import Papers

PORT, KUBELET = 6443, 10250
ISSUER = "https://kubernetes.default.svc.cluster.local"
READY_WITHIN = 90.0
LOOK_EVERY = 0.1
SERVICES = "10.96.0.0/16"
# The first address of the services is the API server's own.
NAMES = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
ADDRESSES = ["10.96.0.1", "127.0.0.1"]


class NotReady(Exception):
    """It did not come up; the text is the end of its log."""


class Plane:
    """The programs, their papers and logs."""

    def __init__(self, programs, folder, address):
        self.programs, self.folder, self.address = programs, folder, address
        self.papers = Papers(os.path.join(folder, "papers"))
        self.admin = self.papers.leaf("admin", "admin", groups=["system:masters"])
        self.processes = {}

    def start(self, pods):
        """One after the other; gives the seconds that it took. `pods` is the kubelet's folder."""
        began = time.monotonic()
        self.run(
            "etcd", f"--data-dir={self.folder}/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn",
        )
        self.wait("etcd", "http://127.0.0.1:2379/readyz")
        certificate, key = self.papers.leaf("apiserver", "kube-apiserver", names=NAMES, addresses=[*ADDRESSES, self.address])
        signer = self.papers.signer("accounts")
        self.run(
            "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--secure-port={PORT}", f"--advertise-address={self.address}",
            f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}", f"--client-ca-file={self.papers.ca}",
            f"--service-account-issuer={ISSUER}", f"--service-account-signing-key-file={signer}", f"--service-account-key-file={signer}",
            f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=RBAC", "--profiling=false",
            f"--kubelet-client-certificate={self.admin[0]}", f"--kubelet-client-key={self.admin[1]}", f"--kubelet-certificate-authority={self.papers.ca}",
            # Without a kube-proxy no service's address leads anywhere: a webhook is called where its endpoints are.
            "--enable-aggregator-routing=true",
        )
        papers = self.papers.leaf("kubelet", "kubelet", addresses=[self.address])
        self.run("kubelet-exec", f"{self.address}:{KUBELET}", *papers, self.papers.ca, pods)
        self.wait("kube-apiserver", f"https://127.0.0.1:{PORT}/readyz")
        return time.monotonic() - began

    def run(self, name, *arguments):
        with open(f"{self.folder}/{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [os.path.join(self.programs, name), *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def wait(self, name, url):
        context = ssl.create_default_context(cafile=self.papers.ca)
        context.load_cert_chain(*self.admin)
        until = time.monotonic() + READY_WITHIN
        while time.monotonic() < until and self.processes[name].poll() is None:
            try:
                with urllib.request.urlopen(url, timeout=5, context=context if url.startswith("https") else None):
                    return
            except OSError:
                time.sleep(LOOK_EVERY)
        raise NotReady(f"{name} is not ready:\n{self.log(name)}")

    def log(self, name):
        with open(f"{self.folder}/{name}.log", errors="replace") as log:
            return "".join(log.readlines()[-30:])

    def kubeconfig(self):
        """The administrator's configuration, as a file."""
        certificate, key = self.admin
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"https://127.0.0.1:{PORT}", "certificate-authority": self.papers.ca}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "admin"}}],
            "users": [{"name": "admin", "user": {"client-certificate": certificate, "client-key": key}}],
        }
        return self.papers.write("kubeconfig", json.dumps(config).encode())

    def kill(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
