"""Who closes how, and what the other end sees of it: the same with the mesh between them as without, cell by cell."""
import contextlib
import socket
import struct
import time

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

PORT = 7000
MUCH = 3 << 20  # more than the sockets of one end hold
PATIENT_S = 20 * PATIENCE


def reset(end):
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def read_all(end, timeout=PATIENT_S):
    """(bytes that came, how it ended)"""
    end.settimeout(timeout)
    count = 0
    try:
        while True:
            piece = end.recv(1 << 16)
            if not piece:
                return count, "fin"
            count += len(piece)
    except ConnectionResetError:
        return count, "rst"
    except socket.timeout:
        return count, "silence"


def write_until_refused(end, timeout=PATIENT_S):
    """How an end learns that nobody reads any more."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            end.send(b"x")
        except (ConnectionResetError, BrokenPipeError):
            return "refused"
        time.sleep(0.02)
    return "accepted"


def fill(end):
    """Writes until nothing more is taken for a moment; how much was taken."""
    end.settimeout(0.5)
    count = 0
    with contextlib.suppress(socket.timeout):
        while count < MUCH * 8:
            count += end.send(b"z" * (1 << 16))
    return count


# Each gets the end that closes and the other, connected and in agreement, and returns what was seen.


def fin(closer, other):
    closer.close()
    return read_all(other)


def fin_after_bytes(closer, other):
    closer.sendall(b"last words")
    closer.close()
    return read_all(other)


def half(closer, other):
    closer.sendall(b"question")
    closer.shutdown(socket.SHUT_WR)
    seen = read_all(other)
    other.sendall(b"late answer")
    other.close()
    return seen, read_all(closer)


def both_halves(closer, other):
    closer.shutdown(socket.SHUT_WR)
    other.shutdown(socket.SHUT_WR)
    return read_all(closer), read_all(other)


def half_then_reset(closer, other):
    closer.shutdown(socket.SHUT_WR)
    seen = read_all(other)
    reset(closer)
    return seen, write_until_refused(other)


def rst(closer, other):
    reset(closer)
    return read_all(other)


def rst_after_bytes_were_read(closer, other):
    closer.sendall(b"read before")
    other.settimeout(PATIENT_S)
    assert other.recv(100)
    reset(closer)
    return read_all(other)


def close_with_unread_data(closer, other):
    """The kernel of an end that closes on bytes nobody has read resets: the sender must learn that they were lost."""
    other.sendall(b"never read")
    wait_until(lambda: pending(closer), 10, "the bytes to arrive")
    closer.close()
    return read_all(other)


def pending(end):
    end.settimeout(PATIENT_S)
    return end.recv(1, socket.MSG_PEEK)


def close_with_unacknowledged_data(closer, other):
    """What was written before a close arrives, however slowly the other reads, and ends by FIN."""
    sent = fill(closer)
    closer.close()
    time.sleep(0.3)
    count, ending = read_all(other)
    return count == sent, ending


def write_after_the_other_has_closed(closer, other):
    closer.close()
    seen = read_all(other)
    return seen, write_until_refused(other)


def close_while_the_other_writes(closer, other):
    """A flood into an end that closes is stopped by a reset."""
    other.sendall(b"w" * 100000)
    pending(closer)
    closer.close()
    return write_until_refused(other)


CELLS = {
    fin: (0, "fin"),
    fin_after_bytes: (10, "fin"),
    half: ((8, "fin"), (11, "fin")),
    both_halves: ((0, "fin"), (0, "fin")),
    half_then_reset: ((0, "fin"), "refused"),
    rst: (0, "rst"),
    rst_after_bytes_were_read: (0, "rst"),
    close_with_unread_data: (0, "rst"),
    close_with_unacknowledged_data: (True, "fin"),
    write_after_the_other_has_closed: ((0, "fin"), "refused"),
    close_while_the_other_writes: "refused",
}


class Place:
    """Two pods on two nodes, meshed or not; plaintext on the server's side when only it is meshed."""

    def __init__(self, kind):
        self.kind = kind
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20")
        self.ztunnels = []
        if kind != "direct":
            authority = Authority()
            meshed = [self.client, self.server] if kind == "meshed" else [self.server]
            model = {"workloads": [workload(self.client, protocol="HBONE" if kind == "meshed" else "TCP"), workload(self.server)],
                     "services": [], "policies": []}
            self.ztunnels = [Ztunnel(pod, model, authority.leaf(spiffe(pod.label))) for pod in meshed]
        self.listener = self.server.inside(lambda: socket.create_server(("10.77.2.20", PORT), backlog=64))

    @contextlib.contextmanager
    def connection(self):
        client = self.client.inside(lambda: socket.create_connection(("10.77.2.20", PORT), PATIENT_S))
        self.listener.settimeout(PATIENT_S)
        server, _ = self.listener.accept()
        server.settimeout(PATIENT_S)
        client.sendall(b"!")
        assert server.recv(1) == b"!"
        server.sendall(b"!")
        assert client.recv(1) == b"!"
        try:
            yield client, server
        finally:
            client.close()
            server.close()

    def stop(self):
        self.listener.close()
        for ztunnel in self.ztunnels:
            ztunnel.stop()
        self.topology.remove()


@pytest.fixture(scope="module", params=["direct", "meshed", "plaintext"])
def place(request):
    place = Place(request.param)
    yield place
    place.stop()


@pytest.mark.parametrize("closer", ["client", "server"])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_the_other_end_sees_what_was_done(place, cell, closer):
    with place.connection() as (client, server):
        ends = (client, server) if closer == "client" else (server, client)
        assert cell(*ends) == CELLS[cell]


def test_a_dead_path_is_silence_without_the_mesh_and_a_reset_with_it(place):
    """TCP alone waits a quarter of an hour; the tunnel's own liveness cuts both ends within seconds."""
    with place.connection() as (client, server):
        place.topology.link.ip("link", "set", "p2", "down")
        try:
            client.sendall(b"into the void")
            server.sendall(b"into the void")
            seen = (read_all(client, 3 if place.kind != "meshed" else 10 * PATIENT_S), read_all(server, 3 if place.kind != "meshed" else 10 * PATIENT_S))
        finally:
            place.topology.link.ip("link", "set", "p2", "up")
    expected = (0, "rst") if place.kind == "meshed" else (0, "silence")
    assert seen == (expected, expected)
