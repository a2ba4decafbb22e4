"""A burst of handshakes on a worker does not hold up what is established on it; peers that say nothing cost nothing."""
import select
import socket
import ssl
import statistics
import time

import h2.events
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import IS_SANITIZED, PATIENCE, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

HOST = "10.77.2.20"
BURST = 60 if IS_SANITIZED else 250


class Server:
    def __init__(self):
        self.topology = Topology(2)
        self.pod = self.topology.add_pod("n2", "server", HOST)
        self.stranger = self.topology.add_pod("n1", "stranger", "10.77.1.11")
        authority = Authority()
        self.certificates = authority.leaf(spiffe("stranger"))
        model = {"workloads": [workload(self.pod)], "services": [], "policies": []}
        self.ztunnel = Ztunnel(self.pod, model, authority.leaf(spiffe("server")), captured=False,
                               environment={"ZTUNNEL_WORKER_THREADS": "1", "RUST_LOG": "info", "ENABLE_ORIG_SRC": "false"})
        self.echo = Program("echo", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", 8080, "echo"], namespace=self.pod)
        self.echo.wait_line("listening")

    def connect(self):
        return self.stranger.inside(lambda: socket.create_connection((HOST, 15008), 10 * PATIENCE))

    def first_flight(self):
        """A ClientHello."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = hbone.tls_context("client", *self.certificates).wrap_bio(incoming, outgoing)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        return outgoing.read()

    def pending(self):
        line = next(each for each in self.ztunnel.metrics().splitlines() if each.startswith('ambar_tls_handshakes_pending{role="server"}'))
        return int(line.split()[-1])


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.ztunnel.stop()
    server.topology.remove()


def ping(client, stream):
    """Seconds for one byte there and back."""
    heard = len(client.received(stream))
    began = time.monotonic()
    client.send_data(stream, b"p")
    while len(client.received(stream)) == heard:
        assert time.monotonic() - began < 20 * PATIENCE, client.error
        client.pump(1)
    return time.monotonic() - began


def test_pings_go_on_through_a_burst_of_handshakes(server):
    client = server.stranger.inside(lambda: hbone.Client((HOST, 15008), server.certificates))
    stream = client.open(f"{HOST}:8080")
    for _ in range(20):
        ping(client, stream)
    hello = server.first_flight()
    burst = [server.connect() for _ in range(BURST)]
    began = time.monotonic()
    for connection in burst:
        connection.sendall(hello)
    pings, unanswered = [], set(burst)
    while unanswered and time.monotonic() - began < 60 * PATIENCE:
        pings.append(ping(client, stream))
        unanswered -= set(select.select(list(unanswered), [], [], 0)[0])
    seconds = time.monotonic() - began
    assert not unanswered
    print(f"{BURST} handshakes in {seconds * 1e3:.0f} ms; {len(pings)} pings, median {statistics.median(pings) * 1e3:.2f} ms, worst {max(pings) * 1e3:.1f} ms")
    assert statistics.median(pings) < seconds / 5
    for connection in burst:
        connection.close()
    client.wait_for(lambda e: isinstance(e, h2.events.DataReceived))
    wait_until(lambda: server.pending() == 0, 20 * PATIENCE, "the handshakes to be gone")
    client.close()


def test_a_silent_peer_is_pending_and_holds_no_tls_state(server):
    time.sleep(0.2)
    before = server.ztunnel.program.resident_kib()
    silent = [server.connect() for _ in range(BURST)]
    wait_until(lambda: server.pending() == BURST, 20 * PATIENCE, "the peers to be accepted")
    if not IS_SANITIZED:
        assert server.ztunnel.program.resident_kib() - before < BURST * 8  # libssl's state would be 25 each
    for connection in silent:
        connection.close()
    wait_until(lambda: server.pending() == 0, 20 * PATIENCE, "the peers to be forgotten")
