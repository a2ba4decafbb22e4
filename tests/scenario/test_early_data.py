"""The first bytes of an application travel behind its CONNECT when the peer announces that it keeps them (http/hbone_early.c)."""
import socket
import struct
import time

import h2.errors
import h2.events
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.tcp_peer import exchange
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

CLIENT, PEER, SERVER = "10.77.1.10", "10.77.2.30", "10.77.2.20"
EARLY_BYTES, ANNOUNCED = 0xF0A1, 1000
ANSWERS, WAITS, REFUSES, LOSES, DENIES = 8080, 8081, 8082, 8083, 8503


class Handler:
    """Answers at once, when bytes have come, when the test says so, or never; what came is kept for each request."""

    def __init__(self):
        self.streams = []  # [connection, stream id, port, bytes, has ended], in order of arrival
        self.refuses = 0

    def __call__(self, connection, stream_id, headers):
        port = int(headers[":authority"].rsplit(":", 1)[1])
        if port == REFUSES and self.refuses > 0:
            self.refuses -= 1
            self.streams.append([connection, stream_id, port, b"", False])
            return
        self.streams.append([connection, stream_id, port, b"", False])
        if port in (ANSWERS, REFUSES):
            self.answer(-1)

    def answer(self, index):
        connection, stream_id = self.streams[index][:2]
        connection.h2.send_headers(stream_id, [(":status", "200")])
        connection.h2.send_data(stream_id, b"hello")
        connection.flush()

    def on_event(self, connection, event):
        for stream in self.streams:
            if stream[0] is connection and stream[1] == getattr(event, "stream_id", 0):
                if isinstance(event, h2.events.DataReceived):
                    stream[3] += event.data
                    if stream[2] == REFUSES and stream is self.streams[0]:
                        connection.h2.reset_stream(stream[1], h2.errors.ErrorCodes.REFUSED_STREAM)
                        connection.flush()
                    elif stream[2] == DENIES:
                        connection.h2.send_headers(stream[1], [(":status", "503")], end_stream=True)
                        connection.flush()
                elif isinstance(event, h2.events.StreamEnded):
                    stream[4] = True


class Peers:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", CLIENT)
        self.outside = self.topology.add_pod("n1", "outside", "10.77.1.11")
        self.peer = self.topology.add_pod("n2", "peer", PEER)
        self.server = self.topology.add_pod("n2", "server", SERVER)
        self.authority = Authority()
        model = {"workloads": [workload(pod) for pod in (self.client, self.outside, self.peer, self.server)], "services": [], "policies": []}
        listener = self.peer.inside(lambda: socket.create_server((PEER, 15008), backlog=64))
        self.h2 = hbone.Server(None, self.authority.leaf(spiffe("peer")), Handler(), listener=listener, settings={EARLY_BYTES: ANNOUNCED})
        self.out = Ztunnel(self.client, model, self.authority.leaf(spiffe("client")), environment={"ZTUNNEL_WORKER_THREADS": "1"})
        self.into = Ztunnel(self.server, model, self.authority.leaf(spiffe("server")), captured=False, environment={"ENABLE_ORIG_SRC": "false"})
        for port, mode in ((8080, "echo"), (8081, "silent")):
            Program(mode, ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", port, mode],
                    namespace=self.server).wait_line("listening")
        self.identity = self.authority.leaf(spiffe("outside"))

    def dial(self, port):
        return self.client.inside(lambda: socket.create_connection((PEER, port), 20 * PATIENCE))

    def warm(self):
        """A tunnel whose SETTINGS are known and that was heard of just now; nothing is remembered of it."""
        with self.dial(ANSWERS) as connection:
            connection.sendall(b"x")
            assert connection.recv(5) == b"hello"
        self.h2.handler.streams.clear()

    def arrival(self, index=0):
        wait_until(lambda: len(self.h2.handler.streams) > index, 10, "the CONNECT")
        return self.h2.handler.streams[index]

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.h2.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def peers():
    peers = Peers()
    yield peers
    peers.stop()


def read_or_reset(connection):
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return "reset"


def test_first_bytes_come_before_the_answer(peers):
    peers.warm()
    with peers.dial(WAITS) as connection:
        connection.sendall(b"question")
        stream = peers.arrival()
        wait_until(lambda: stream[3] == b"question", 10, "the bytes")
        connection.sendall(b", and more")
        wait_until(lambda: stream[3] == b"question, and more", 10, "more bytes")
        peers.h2.handler.answer(0)
        assert connection.recv(5) == b"hello"
        connection.sendall(b" later")
        wait_until(lambda: stream[3] == b"question, and more later", 10, "the bytes after the answer")


def test_no_more_comes_early_than_was_announced_and_nothing_is_lost(peers):
    peers.warm()
    sent = bytes(range(256)) * 20
    with peers.dial(WAITS) as connection:
        connection.sendall(sent)
        stream = peers.arrival()
        wait_until(lambda: len(stream[3]) == ANNOUNCED, 10, "what was announced")
        time.sleep(0.1)
        assert len(stream[3]) == ANNOUNCED
        peers.h2.handler.answer(0)
        wait_until(lambda: stream[3] == sent, 10, "all bytes, in order")


def test_a_half_close_comes_before_the_answer(peers):
    peers.warm()
    with peers.dial(WAITS) as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        stream = peers.arrival()
        wait_until(lambda: stream[3:] == [b"question", True], 10, "the bytes and their end")
        peers.h2.handler.answer(0)
        assert connection.recv(5) == b"hello"


def test_a_refused_connect_is_made_again_with_its_bytes_and_their_end(peers):
    peers.warm()
    peers.h2.handler.refuses = 1
    with peers.dial(REFUSES) as connection:
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
        again = peers.arrival(1)
        assert connection.recv(5) == b"hello"
        wait_until(lambda: again[3:] == [b"question", True], 10, "the bytes and their end")
        assert again[0] is not peers.h2.handler.streams[0][0]
        assert len(peers.h2.handler.streams) == 2


def test_bytes_that_may_have_arrived_are_not_sent_twice(peers):
    peers.warm()
    with peers.dial(LOSES) as connection:
        connection.sendall(b"question")
        stream = peers.arrival()
        wait_until(lambda: stream[3] == b"question", 10, "the bytes")
        stream[0].sock.close()
        assert read_or_reset(connection) == "reset"
        assert len(peers.h2.handler.streams) == 1


def test_a_denied_application_that_has_spoken_sees_a_reset(peers):
    peers.warm()
    with peers.dial(DENIES) as connection:
        connection.sendall(b"question")
        assert read_or_reset(connection) == "reset"


def test_an_application_that_resets_before_the_answer_cancels_its_stream(peers):
    peers.warm()
    connection = peers.dial(WAITS)
    connection.sendall(b"question")
    stream = peers.arrival()
    wait_until(lambda: stream[3] == b"question", 10, "the bytes")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    wait_until(lambda: any(isinstance(e, h2.events.StreamReset) and e.stream_id == stream[1] for e in stream[0].events), 10, "the reset")


@pytest.fixture
def tunnel(peers):
    tunnel = peers.outside.inside(lambda: hbone.Client((SERVER, 15008), peers.identity, settings={EARLY_BYTES: 4096}))
    yield tunnel
    tunnel.close()


def test_bytes_behind_a_connect_reach_the_application(tunnel):
    stream_id = tunnel.connect(f"{SERVER}:8080")
    tunnel.send_data(stream_id, b"question", end=True)
    assert tunnel.response(stream_id)[":status"] == "200"
    assert tunnel.read_until_end(stream_id) == b"question"


def test_the_answer_comes_although_the_application_says_nothing(tunnel):
    tunnel.open(f"{SERVER}:8081")


def test_a_long_upload_is_not_held_up(peers):
    server = peers.server
    with peers.client.inside(lambda: socket.create_connection((server.address, 8080), 20 * PATIENCE)) as connection:
        exchange(connection, b"warm")
    for size in (1, 4095, 4096, 4097, 100000):
        with peers.client.inside(lambda: socket.create_connection((server.address, 8080), 20 * PATIENCE)) as connection:
            assert exchange(connection, b"z" * size) == b"z" * size
