"""Readers that stand still: what they make the proxies hold is bounded, and they hold up nobody else on their tunnel."""
import re
import time

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import IS_SANITIZED, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

PEER = f"{ROOT}/tests/lab/tcp_peer.py"
HOST = "10.77.2.20"
READERS = 16 if IS_SANITIZED else 64
FIRST = (2 << 20) if IS_SANITIZED else (8 << 20)


class Pair:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10")
        self.server = self.topology.add_pod("n2", "server", HOST)
        authority = Authority()
        model = {"workloads": [workload(self.client), workload(self.server)], "services": [], "policies": []}
        # One worker: every connection shares one tunnel.
        options = {"environment": {"ZTUNNEL_WORKER_THREADS": "1", "RUST_LOG": "info"}}
        self.out = Ztunnel(self.client, model, authority.leaf(spiffe("client")), **options)
        self.into = Ztunnel(self.server, model, authority.leaf(spiffe("server")), **options)
        self.ports = 8200

    def serve(self, mode):
        self.ports += 1
        program = Program(f"serve-{self.ports}", ["/usr/bin/python3", "-u", PEER, "serve", self.ports, mode], namespace=self.server)
        program.wait_line("listening")
        return self.ports, program

    def start(self, *arguments):
        name = f"load-{self.ports}"
        program = Program(name, ["/usr/bin/python3", "-u", PEER, *arguments], namespace=self.client)
        program.wait_line("open", timeout=60)
        return program

    def transfer_seconds(self, port, total=32 << 20):
        began = time.monotonic()
        assert self.client.run("/usr/bin/python3", "-u", PEER, "transfer", HOST, port, total, timeout=120).strip() == "down True up True"
        return time.monotonic() - began


@pytest.fixture(scope="module")
def pair():
    pair = Pair()
    yield pair
    pair.out.stop()
    pair.into.stop()
    pair.topology.remove()


def value(ztunnel, name):
    return int(re.search(rf"^{name} (\d+)$", ztunnel.metrics(), re.M).group(1))


def settle(ztunnel):
    """The bytes held, once they change no more."""
    last = [-1]

    def is_settled():
        now = value(ztunnel, "ambar_pinned_bytes")
        is_same, last[0] = now > 0 and now == last[0], now
        return is_same

    wait_until(is_settled, 40, "readers to stand still", interval=0.5)
    return last[0]


LOADS = [  # whose proxy holds the bytes, server's mode, client's command; then what was read before the reader stopped
    ("out", f"source:{64 << 20}", "unread", 0),
    ("out", f"source:{64 << 20}", "unread", FIRST),
    ("into", "stops:0", "push", 0),
    ("into", f"stops:{FIRST}", "push", FIRST),
]


@pytest.mark.parametrize("side, mode, command, first", LOADS, ids=["never-read", "read-fast-before", "never-read-upload", "read-fast-before-upload"])
def test_a_reader_that_stops_pins_less_than_a_mebibyte(pair, side, mode, command, first):
    ztunnel = getattr(pair, side)
    (port, server), (good, _) = pair.serve(mode), pair.serve("checksum")
    alone = min(pair.transfer_seconds(good) for _ in range(2))
    readers = pair.start(command, HOST, port, READERS, 120, *([first] if command == "unread" else []))
    held = settle(ztunnel)
    assert 0 < held < READERS << 20, f"{held} bytes for {READERS} readers"
    assert value(ztunnel, "ambar_pinned_largest_bytes") < 1 << 20
    beside = min(pair.transfer_seconds(good) for _ in range(2))
    print(f"{held >> 10} KiB held for {READERS} readers; a transfer beside them at {alone / beside:.2f} of its speed alone")
    assert beside < alone * 3  # 0.9 of the speed is the aim and what `make bench` shows; machines of tests are noisy
    readers.kill()
    server.kill()
    wait_until(lambda: value(ztunnel, "ambar_pinned_bytes") == 0, 20, "what was held to be let go")
