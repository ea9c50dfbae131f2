"""Checks of docker/compose.tls.yaml: the same cell with mutual TLS, with certificates that the image makes."""

import ledger
from cell import CORES
from cell_checks import start
from engine import Ignored
from image import health
from ledger import Ledger

# Calls a core's gRPC port without TLS, and with TLS but no certificate. Who is taken gets the server's HTTP/2 settings,
# a frame of type 4.
STRANGER = """
import socket, ssl
def taken(wrap):
    try:
        with wrap(socket.create_connection(("core-1.cell", 5626), 5)) as stream:
            stream.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            # With TLS 1.3 a refusal comes with the first read.
            return stream.recv(9)[3:4] == b"\\4"
    except (ssl.SSLError, ConnectionError):
        return False
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["h2"])
print(taken(lambda stream: stream), taken(context.wrap_socket))
"""


def takes_strangers(world, cell):
    said = world.docker("exec", cell.ids["app-1"], "python3", "-c", STRANGER)
    return [word == "True" for word in said.split()]


def the_stranger_is_no_fool(world):
    """without TLS the first of the two calls is taken, so the refusal below is one"""
    assert takes_strangers(world, world.cell) == [True, False]


def grants_over_tls(world):
    """certificates, claims of both apps, health checks and scrapes over TLS; strangers are refused"""
    if world.docker.tried("run", "--rm", world.image, "certs", "--help").returncode != 0:
        raise Ignored("this binary has no `certs`")
    cell, followed = world.tls_cell, Ledger()
    # They have the same ports of this machine.
    world.cell.down()
    try:
        cell.compose("run", "--rm", "certs")
        took = start(world, cell, followed)
        world.say(f"over TLS both apps hold in turn {took:.1f} s after `compose up`; {cell.leader()} leads")
        for core in CORES:
            world.wait_for(f"{core} to be healthy", lambda it=cell.ids[core]: health(world.docker, it) == "healthy")
        world.wait_for("five scraped targets", lambda: cell.query('sum(up{job=~"sidelock-.*"})') == 5)
        assert takes_strangers(world, cell) == [False, False]
        wrong = ledger.judge(followed.holds())
        assert not wrong, wrong[0]
    except Exception:
        for service in cell.ids:
            world.say(f"the end of the log of {service}:\n{cell.logs(service)}")
        raise
    finally:
        followed.stop()
        cell.down()
