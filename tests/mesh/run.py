#!/usr/bin/env python3
"""Envoy between sidecar and cores, as the proxy of a service mesh stands there.

    tests/mesh/run.py PATH_OF_SIDELOCK PATH_OF_ENVOY

Each core is reached through a listener of one Envoy. Twice: as bytes (what a mesh does with a port that it is told to
leave opaque, and with TLS inside), and as HTTP/2 (what a mesh makes of plain gRPC when it sniffs the protocol). Claims
go through, a wait is ended by its grant, Envoy's death turns the sidecar read-only and its return mends that, and
nothing is granted twice. What is not tried here is a real mesh: its injection, its certificates, its defaults.
"""

import contextlib
import json
import os
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../ui")

from cell import call, demo, expect

SILENT_S = 20.0  # longer than Envoy's default timeout of a route, 15 s, which ends streams where a mesh leaves it on
PATIENCE_S = 60.0


def cluster(name, port, http2):
    made = {
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
    }
    if http2:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        made["typed_extension_protocol_options"] = {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return made


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def chain(name, http2):
    filters = "envoy.extensions.filters.network"
    if not http2:
        typed = {"@type": f"type.googleapis.com/{filters}.tcp_proxy.v3.TcpProxy", "stat_prefix": name, "cluster": name}
        return {"name": "envoy.filters.network.tcp_proxy", "typed_config": typed}
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    # As Istio has it: no timeout of the route, five minutes for an idle stream.
    route = {"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}
    typed = {
        "@type": f"type.googleapis.com/{filters}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        "route_config": {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}


def envoy(program, directory, fronts, http2):
    """A process with a listener before each core; `fronts` are pairs of ports."""
    config = {"static_resources": {"listeners": [], "clusters": []}}
    for number, (front, core) in enumerate(fronts, 1):
        name = f"core-{number}"
        config["static_resources"]["clusters"].append(cluster(name, core, http2))
        listener = {"name": name, "address": address(front), "filter_chains": [{"filters": [chain(name, http2)]}]}
        config["static_resources"]["listeners"].append(listener)
    path = f"{directory}/envoy.json"
    with open(path, "w") as file:
        json.dump(config, file)
    command = [program, "-c", path, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning"]
    return demo.Part("envoy", command, f"{directory}/envoy.log")


def mode(sidecar):
    status, body = call(sidecar, "GET", "/v1/mode")
    return body["mode"] if status == 200 else None


def claim(sidecar, lock, wait_ms=0, ttl_ms=60_000):
    return call(sidecar, "POST", "/v1/claims", {"lock": lock, "wait_ms": wait_ms, "ttl_ms": ttl_ms})


def release(sidecar, held):
    expect(204, call(sidecar, "DELETE", f"/v1/claims/{held['claim_id']}"))


def checks(program, binary, directory, http2):
    """Each a name; raises where one does not hold."""
    cell = demo.Cell(binary, directory, demo.Screen())
    ports = [int(cell.cores[n].command[cell.cores[n].command.index("--grpc") + 1].rsplit(":", 1)[1]) for n in (1, 2, 3)]
    fronts = list(zip(demo.free_ports(3), ports))
    for sidecar in cell.sidecars:
        place = sidecar.command.index("--core") + 1
        sidecar.command[place] = ",".join(f"127.0.0.1:{front}" for front, _ in fronts)
    proxy = envoy(program, directory, fronts, http2)
    with contextlib.ExitStack() as stack:
        stack.callback(demo.stop_all, [*cell.sidecars, proxy, *cell.cores.values()], patience=5.0)
        proxy.start()
        cell.start()
        one, other = cell.sidecars_http
        held = expect(201, claim(one, "mesh/a"))
        yield "a lock is taken through it"
        expect(409, claim(other, "mesh/a"))
        yield "and nobody else gets it"
        waited = []
        waiter = threading.Thread(target=lambda: waited.append(claim(other, "mesh/a", wait_ms=30_000)))
        waiter.start()
        demo.wait_for("somebody in line", lambda: call(one, "GET", "/v1/locks/mesh%2Fa")[1].get("queue"))
        release(one, held)
        waiter.join()
        second = expect(201, waited[0])
        if second["token"] <= held["token"]:
            raise demo.Failed(f"token {second['token']} after {held['token']}")
        yield "a waiter is granted by the release"
        session = call(one, "GET", "/v1/mode")[1]["sessions"][0]["session"]
        silent_until = time.monotonic() + SILENT_S
        while time.monotonic() < silent_until:
            if mode(one) != "normal":
                raise demo.Failed(f"the mode became {mode(one)}")
            time.sleep(0.5)  # nothing is to happen: there is no event to await
        if call(one, "GET", "/v1/mode")[1]["sessions"][0]["session"] != session:
            raise demo.Failed("the session was opened anew")
        yield f"an idle stream stands for {SILENT_S:.0f} s"
        release(other, second)
        kept = expect(201, claim(one, "mesh/kept"))
        proxy.kill()
        demo.wait_for("read-only", lambda: mode(one) == "read-only")
        expect(503, claim(one, "mesh/b"))
        yield "without it nothing is granted"
        proxy.start()
        demo.wait_for("normal", lambda: mode(one) == "normal" and mode(other) == "normal")
        state = expect(200, call(one, "GET", f"/v1/claims/{kept['claim_id']}"))["state"]
        if state != "granted":
            raise demo.Failed(f"the claim that was held is {state}")
        expect(409, claim(other, "mesh/kept"))
        yield "what was held is held when it is back"
        release(one, kept)
        expect(201, claim(other, "mesh/kept"))
        yield "and is given back"


def main():
    binary, program = (os.path.abspath(path) for path in sys.argv[1:3])
    passed = failed = 0
    for http2 in (False, True):
        name = "as HTTP/2" if http2 else "as bytes"
        with tempfile.TemporaryDirectory() as directory:
            try:
                for check in checks(program, binary, directory, http2):
                    passed += 1
                    print(f"ok: {name}: {check}", flush=True)
            except (demo.Failed, OSError, KeyError, AssertionError) as error:
                failed += 1
                print(f"FAILED: {name}: {type(error).__name__}: {error}", flush=True)
                with open(f"{directory}/envoy.log") as log:
                    print(log.read()[-2000:])
    print(f"{passed} passed, {failed} failed, 0 ignored")
    sys.exit(failed != 0)


main()
