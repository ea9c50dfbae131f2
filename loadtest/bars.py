#!/usr/bin/env python3
"""The sidecar beside the limits it is measured by, on one machine in one run: a bare echo, the same cell
without delegations, and fairness, hand-over, overload, memory and idle load.

In: bin/sidelock, the examples `pairs` and `echo`. Out: a line for each bar, and all as JSON.
Ends only what it started.
"""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from compare import Sidelock, call, free_port, rss_mb, wait_for

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


class Bars:
    def __init__(self, args, folder):
        self.args, self.folder, self.report = args, folder, {}
        self.cell = Sidelock(os.path.abspath(args.sidelock), folder, [])
        self.others = []
        port = free_port()
        self.echo = f"http://127.0.0.1:{port}"
        self.echo_process = subprocess.Popen([args.echo, f"127.0.0.1:{port}"])
        self.others.append(self.echo_process)

    def pod(self, *arguments):
        """One more sidecar of the same cell."""
        url = f"http://127.0.0.1:{free_port()}"
        cores = ",".join(f"127.0.0.1:{p}" for p in self.cell.grpc.values())
        process = self.cell.spawn(f"pod{len(self.others)}", "sidecar", "--core", cores, "--http", url[7:], *arguments)
        self.others.append(process)
        wait_for("a session", lambda: call("GET", url + "/v1/mode")[1]["sessions"][0]["safe_for_ms"] > 0)
        return url, process

    def run(self, peer, urls, workers, *more, seconds=None):
        seconds = seconds or self.args.seconds
        command = [self.args.pairs, "--peer", peer, "--url", ",".join(urls), "--workers", str(workers),
                   "--seconds", str(seconds), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 90)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr}")
        return json.loads(done.stdout)

    def median(self, key, *run):
        """Of several runs, so that one bad moment decides nothing."""
        return statistics.median(self.run(*run)[key] for _ in range(self.args.rounds))

    def tell(self, bar, **figures):
        self.report[bar] = figures
        print(json.dumps({bar: figures}), flush=True)

    def kept(self):
        """Pairs under a kept delegation, beside two requests to the echo."""
        for workers in (1, 16, 64):
            ours = [self.run("sidelock", [self.cell.url], workers) for _ in range(self.args.rounds)]
            echo = [self.run("echo", [self.echo], workers) for _ in range(self.args.rounds)]
            rate = [statistics.median(r["pairs_per_s"] for r in runs) for runs in (ours, echo)]
            p50 = [statistics.median(r["acquire_p50_ms"] for r in runs) for runs in (ours, echo)]
            self.tell(f"kept_{workers}", pairs_per_s=rate[0], echo_pairs_per_s=rate[1], ratio=rate[0] / rate[1],
                      p50_ms=p50[0], echo_p50_ms=p50[1], above_ms=p50[0] - p50[1])

    def locality(self):
        """Two pods whose workers take another's lock once in twenty times."""
        two = [self.pod()[0], self.pod()[0]]
        plain = [self.pod("--no-delegations")[0], self.pod("--no-delegations")[0]]
        rate = self.median("pairs_per_s", "sidelock", two, 64, "--locality", "95")
        without = self.median("pairs_per_s", "sidelock", plain, 64, "--locality", "95")
        echo = self.median("pairs_per_s", "echo", [self.echo], 64)
        self.tell("locality_95", pairs_per_s=rate, uncached=without, times_uncached=rate / without, share_of_echo=rate / echo)
        ping = self.median("pairs_per_s", "sidelock", two, 2, "--lock", "ping-pong")
        ping_without = self.median("pairs_per_s", "sidelock", plain, 2, "--lock", "ping-pong-2")
        self.tell("ping_pong", pairs_per_s=ping, uncached=ping_without, ratio=ping / ping_without)

    def fairness(self):
        """Eight pods on one lock, one of them with eight workers."""
        pods = [self.pod()[0] for _ in range(8)]
        urls = [pods[0]] * 8 + pods[1:]
        result = self.run("sidelock", urls, len(urls), "--lock", "fair", "--hold-ms", "5")
        shares = [result["pairs_by_url"].get(url, 0) for url in pods]
        jain = sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares))
        self.tell("fairness", jain=jain, grants=shares, longest_wait_ms=result["acquire_max_ms"])

    def hand_over(self):
        """A lock that is kept and idle at one pod, taken by another."""
        (one, _), (other, _) = self.pod(), self.pod()
        took = []
        for number in range(30):
            for _ in range(3):
                claim = call("POST", one + "/v1/claims", {"lock": f"idle/{number}"})[1]
                call("DELETE", f"{one}/v1/claims/{claim['claim_id']}")
            began = time.monotonic()
            claim = call("POST", other + "/v1/claims", {"lock": f"idle/{number}", "wait_ms": 5000})[1]
            took.append((time.monotonic() - began) * 1000)
            call("DELETE", f"{other}/v1/claims/{claim['claim_id']}")
        plain = self.pod("--no-delegations")[0]
        trips = []
        for number in range(30):
            began = time.monotonic()
            claim = call("POST", plain + "/v1/claims", {"lock": f"trip/{number}"})[1]
            trips.append((time.monotonic() - began) * 1000)
            call("DELETE", f"{plain}/v1/claims/{claim['claim_id']}")
        self.tell("idle_hand_over", median_ms=statistics.median(took), max_ms=max(took), core_round_trip_ms=statistics.median(trips))

    def overload(self):
        """Three times what the cell can do, at a rate that does not wait for answers."""
        url, process = self.pod("--no-delegations")
        peak = self.median("pairs_per_s", "sidelock", [url], 256)
        over = self.run("sidelock", [url], 8192, "--rate", str(3 * peak))
        self.tell("overload", peak_pairs_per_s=peak, goodput=over["pairs_per_s"], ratio=over["pairs_per_s"] / peak,
                  refused_per_s=over["refused_per_s"], refused_p50_ms=over["refused_p50_ms"], refused_p99_ms=over["refused_p99_ms"],
                  p99_ms=over["acquire_p99_ms"], sidecar_mb=rss_mb(process.pid))

    def weight(self):
        """Memory with 10,000 kept locks, and the share of a core at 1,000 requests a second."""
        url, process = self.pod()
        subprocess.run([self.args.pairs, "--peer", "sidelock", "--url", url, "--workers", "64", "--keep", "10000"], check=True,
                       stdout=subprocess.DEVNULL)
        shares = {}
        for name, peer, where, pid in (("sidecar", "sidelock", url, process.pid), ("echo", "echo", self.echo, self.echo_process.pid)):
            before, began = cpu_seconds(pid), time.monotonic()
            self.run(peer, [where], 8, "--rate", "500")
            shares[name] = (cpu_seconds(pid) - before) / (time.monotonic() - began)
        self.tell("weight", resident_mb=rss_mb(process.pid), core_share=shares["sidecar"], echo_core_share=shares["echo"],
                  ratio=shares["sidecar"] / shares["echo"])
        idle = self.pod()[0]
        subprocess.run([self.args.pairs, "--peer", "sidelock", "--url", idle, "--workers", "64", "--hold", "10000"], check=True,
                       stdout=subprocess.DEVNULL)
        before = self.renewals(idle)
        time.sleep(30)
        self.tell("idle_messages", per_3_s=(self.renewals(idle) - before) / 10)

    def expiry(self):
        """Acquires of one pod while 100,000 claims of another, which was killed, expire at once."""
        url = self.pod("--no-delegations")[0]
        dying, process = self.pod("--no-delegations", "--session-ttl", "5s")
        steady = ("sidelock", [url], 8, "--rate", "300")
        idle = [self.run(*steady) for _ in range(self.args.rounds)]
        subprocess.run([self.args.pairs, "--peer", "sidelock", "--url", dying, "--workers", "64", "--hold", "100000"], check=True,
                       stdout=subprocess.DEVNULL)
        held = call("GET", url + "/v1/locks?limit=1")[1]
        process.kill()
        during = self.run(*steady, seconds=9)
        left = call("GET", url + "/v1/locks?limit=1")[1]
        p99 = statistics.median(run["acquire_p99_ms"] for run in idle)
        self.tell("mass_expiry", held_before=len(held["items"]), held_after=len(left["items"]), idle_p99_ms=p99,
                  p99_ms=during["acquire_p99_ms"], longest_ms=during["acquire_max_ms"], ratio=during["acquire_p99_ms"] / p99)

    def renewals(self, url):
        """Frames that a sidecar has sent."""
        with urllib.request.urlopen(url + "/metrics") as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(r"^sidelock_core_frames_sent_total(?:\{.*\})? (\S+)$", text, re.M))

    def stop(self):
        for process in self.others:
            process.kill()
        self.cell.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sidelock", default="bin/sidelock")
    parser.add_argument("--pairs", required=True, help="the built example `pairs`")
    parser.add_argument("--echo", required=True, help="the built example `echo`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=["kept", "locality", "fairness", "hand_over", "overload", "weight", "expiry"])
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="sidelock-bars-")
    bars = Bars(args, folder)
    try:
        for bar in args.only:
            getattr(bars, bar)()
    finally:
        bars.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(bars.report))


if __name__ == "__main__":
    main()
