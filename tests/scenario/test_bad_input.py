"""Arbitrary bytes on every port end their own connection only; bad settings stop the start with a sentence."""
import os
import socket
import ssl
import subprocess

import pytest

from tests.lab import hbone
from tests.lab.process import PATIENCE, binary, wait_until
from tests.lab.victim import ADDRESS, Victim

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PAYLOADS = [
    b"", b"\x00", b"\x16\x03", b"\x16\x03\x01\xff\xff" + b"a" * 4096, PREFACE[:10], PREFACE + b"\x00\x00", PREFACE + b"\xff" * 9,
    PREFACE + b"\xff\xff\xff\x04\x00\x00\x00\x00\x00", b"GET " + b"a" * 100_000, b"POST /x HTTP/1.1\r\nContent-Length: 9999999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, os.urandom(70_000),
]
PORTS = [15000, 15001, 15006, 15008, 15020, 15021]


@pytest.fixture(scope="module")
def victim():
    victim = Victim()
    yield victim
    victim.stop()


def send(connection, payload):
    """Everything, then FIN; whatever comes back is read until the other side is done."""
    with connection:
        try:
            connection.sendall(payload)
            if isinstance(connection, ssl.SSLSocket):
                connection.unwrap()
            else:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        except OSError:  # refused, reset, gone: its own affair
            pass


def assert_unharmed(victim, attack):
    program = victim.ztunnel.program
    tunnel = victim.tunnel()
    stream_id = tunnel.open(f"{ADDRESS}:8080")
    tunnel.send_data(stream_id, b"before")
    tunnel.wait_for(lambda e: tunnel.received(stream_id) == b"before")
    for payload in PAYLOADS:  # what each worker opens once, on first use, is no leak
        attack(payload)
    before = program.descriptors()
    for payload in PAYLOADS * 2:
        attack(payload)
    tunnel.send_data(stream_id, b" after", end=True)
    assert tunnel.read_until_end(stream_id) == b"before after"
    wait_until(lambda: program.descriptors() <= before, 20, "descriptors to be as before")
    tunnel.close()
    assert program.is_running()


@pytest.mark.parametrize("port", PORTS)
def test_garbage_ends_its_own_connection_only(victim, port):
    assert_unharmed(victim, lambda payload: send(victim.dial(port), payload))


def test_garbage_inside_tls_ends_its_own_tunnel_only(victim):
    context = hbone.tls_context("client", *victim.certificates)

    def attack(payload):
        send(context.wrap_socket(victim.dial(15008)), payload)

    assert_unharmed(victim, attack)


BAD_SETTINGS = [
    ({"PROXY_MODE": "sidecar"}, "PROXY_MODE"),
    ({"HTTP2_FRAME_SIZE": "100"}, "HTTP2_FRAME_SIZE"),
    ({"KEEPALIVE_TIME": "soon"}, "KEEPALIVE_TIME"),
    ({"ZTUNNEL_WORKER_THREADS": "many"}, "ZTUNNEL_WORKER_THREADS"),
    ({"PROXY_WORKLOAD_INFO": ""}, "PROXY_WORKLOAD_INFO"),
    ({"LOCAL_XDS_PATH": "/nowhere"}, "LOCAL_XDS_PATH"),
    ({"UNSTABLE_ENABLE_SOCKS5": "yes"}, "UNSTABLE_ENABLE_SOCKS5"),
    ({"ISTIO_META_DNS_PROXY_ADDR": "nowhere"}, "DNS_PROXY_ADDR"),
    ({"TLS_CERTIFICATE_FILE": "/nowhere/certificate.pem"}, "/nowhere/certificate.pem"),
    ({"XDS_ADDRESS": "https://localhost:15012", "XDS_ROOT_CA": "/nowhere/root.pem"}, "XDS_ROOT_CA"),
]


@pytest.mark.parametrize("change, name", BAD_SETTINGS, ids=[name for _, name in BAD_SETTINGS])
def test_a_bad_setting_stops_the_start_by_name(victim, change, name):
    certificate, key, roots = victim.certificates
    environment = {"PATH": os.environ["PATH"], "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "default/victim/victim",
                   "XDS_ADDRESS": "", "CA_ADDRESS": "", "LOCAL_XDS": "{}", "TLS_CERTIFICATE_FILE": certificate, "TLS_KEY_FILE": key,
                   "TLS_ROOT_FILE": roots, **change}
    started = subprocess.run([binary("ztunnel")], env=environment, capture_output=True, text=True, timeout=20 * PATIENCE)
    assert started.returncode not in (0, None) and started.returncode > 0
    said = [line for line in (started.stdout + started.stderr).splitlines() if name in line]
    assert len(said) == 1, started.stdout + started.stderr
