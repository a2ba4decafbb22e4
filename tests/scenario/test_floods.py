"""What a peer may make ztunnel do for nothing is bounded: floods of frames, streams and handshakes, slow speakers on every port,
certificates and names that are too much. Each attack costs its own connection; a bystander's stream goes on all along."""
import os
import select
import socket
import ssl
import struct
import time

import hpack
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, wait_until
from tests.lab.victim import ADDRESS, Bystander, Victim, metric

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENHANCE_YOUR_CALM = 0xb
ATTACKER = "127.0.0.66"  # another source address than the bystander's


def frame(kind, flags, stream_id, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream_id) + payload


class Tunnel:
    """A TLS connection to 15008 on which a test writes frames by hand."""

    def __init__(self, victim):
        self.socket = victim.pod.inside(lambda: hbone.connect_tls((ADDRESS, 15008), victim.certificates, source=(ATTACKER, 0)))
        self.socket.settimeout(20 * PATIENCE)
        self.encoder = hpack.Encoder()
        self.encoder.header_table_size = 0  # what the proxy announces
        self.error = None
        self.said = b""
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data):
        """False once the proxy has ended the connection."""
        try:
            self.socket.sendall(data)
            return True
        except OSError as error:
            self.error = error
            return False

    def request(self, stream_id, authority=f"{ADDRESS}:8080", extra=()):
        block = self.encoder.encode([(":method", "CONNECT"), (":authority", authority), *extra], huffman=False)
        return frame(HEADERS, END_HEADERS, stream_id, block)

    def goaway(self, timeout=20):
        """The error code of the GOAWAY that ends the connection, or None if it just ended."""
        deadline = time.monotonic() + timeout * PATIENCE
        self.socket.settimeout(1)
        while time.monotonic() < deadline:
            code = self._find_goaway()
            if code is not None:
                return code
            try:
                data = self.socket.recv(1 << 16)
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            except OSError:
                return self._find_goaway()
            if not data:
                return self._find_goaway()
            self.said += data
        raise AssertionError(f"the connection goes on: {self.said[-100:]}")

    def _find_goaway(self):
        at = 0
        while at + 9 <= len(self.said):
            length = int.from_bytes(self.said[at:at + 3], "big")
            if self.said[at + 3] == GOAWAY and at + 9 + 8 <= len(self.said):
                return int.from_bytes(self.said[at + 13:at + 17], "big")
            at += 9 + length
        return None

    def close(self):
        self.socket.close()


@pytest.fixture(scope="module")
def victim():
    victim = Victim(RUST_LOG="info", ZTUNNEL_WORKER_THREADS="1", UNSTABLE_ENABLE_SOCKS5="true")
    yield victim
    victim.stop()


@pytest.fixture
def bystander(victim):
    bystander = Bystander(victim)
    bystander.speak()
    yield bystander
    bystander.speak()
    bystander.tunnel.close()
    assert victim.ztunnel.program.is_running()


FLOODS = {
    "PING": lambda n: frame(PING, 0, 0, struct.pack("!Q", n)),
    "SETTINGS": lambda n: frame(SETTINGS, 0, 0, struct.pack("!HI", 0x3, n)),
    "empty SETTINGS": lambda n: frame(SETTINGS, 0, 0),
    "PRIORITY": lambda n: frame(PRIORITY, 0, 2 * n + 1, struct.pack("!IB", 0, 1)),
    "unknown frames": lambda n: frame(0xfa, 0, 0, b"x"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_is_told_to_calm_down(victim, bystander, name):
    tunnel = Tunnel(victim)
    for batch in range(100):
        if batch % 25 == 0:
            bystander.speak()
        tunnel.send(b"".join(FLOODS[name](batch * 100 + n) for n in range(100)))
    assert tunnel.goaway() == ENHANCE_YOUR_CALM
    tunnel.close()


def test_empty_data_frames_are_told_to_calm_down(victim, bystander):
    tunnel = Tunnel(victim)
    tunnel.send(tunnel.request(1))
    for _ in range(100):
        tunnel.send(frame(DATA, 0, 1) * 100)
    assert tunnel.goaway() == ENHANCE_YOUR_CALM
    tunnel.close()


def test_a_continuation_flood_is_bounded(victim, bystander):
    tunnel = Tunnel(victim)
    tunnel.send(frame(HEADERS, 0, 1, b""))
    for _ in range(100):
        tunnel.send(frame(CONTINUATION, 0, 1) * 100)
    assert tunnel.goaway() == ENHANCE_YOUR_CALM
    tunnel.close()


def test_a_header_bomb_is_refused_and_costs_no_memory(victim, bystander):
    """One big field put into the table, then named over and over: 16 KiB on the wire would be 60 MB of fields."""
    tunnel = Tunnel(victim)
    before = victim.ztunnel.program.resident_kib()
    bomb = b"\x40\x01a\x7f" + b"\x81\x1e" + b"b" * (127 + 0x81 - 0x80 + 0x1e * 128)
    block = bytes.fromhex("0207434f4e4e454354") + b"\x01\x0d" + b"10.77.1.20:80" + bomb + b"\xbe" * 12_000
    tunnel.send(frame(HEADERS, END_HEADERS, 1, block))
    # Refused as a request (431) or as a connection; never taken.
    try:
        tunnel.socket.settimeout(3)
        tunnel.said += tunnel.socket.recv(1 << 16)
    except (OSError, TimeoutError):
        pass
    assert victim.ztunnel.program.resident_kib() < before + 8 * 1024
    tunnel.close()


def test_rapid_resets_end_their_tunnel(victim, bystander):
    tunnel = Tunnel(victim)
    stream_id = 1
    for batch in range(100):
        data = b""
        for _ in range(50):
            data += tunnel.request(stream_id) + frame(RST_STREAM, 0, stream_id, struct.pack("!I", 8))
            stream_id += 2
        tunnel.send(data)
    assert tunnel.goaway() == ENHANCE_YOUR_CALM
    tunnel.close()


def test_rapid_resets_are_counted_by_source_over_all_its_tunnels(victim, bystander):
    """Each tunnel stays within its own bound; together they do not, and their source is barred for a moment. Others are not."""
    refused = 0
    tunnels = []
    for _ in range(12):
        try:
            tunnel = Tunnel(victim)
        except OSError:
            refused += 1
            break
        tunnels.append(tunnel)
        for stream_id in range(1, 1600, 100):
            if not tunnel.send(b"".join(tunnel.request(i) + frame(RST_STREAM, 0, i, struct.pack("!I", 8)) for i in range(stream_id, stream_id + 100, 2))):
                break
        # All has been read when the PING is answered.
        tunnel.send(frame(PING, 0, 0, b"complete"))
        try:
            while b"complete" not in tunnel.said and (data := tunnel.socket.recv(1 << 16)):
                tunnel.said += data
        except OSError:
            pass
        bystander.speak()
    assert metric(victim, "ambar_limit_refusals_total", 'limit="source_resets"') > 0
    assert any(t._find_goaway() == ENHANCE_YOUR_CALM for t in tunnels)
    for tunnel in tunnels:
        tunnel.close()
    time.sleep(3)  # barred for 2 s
    Tunnel(victim).close()


def test_more_streams_than_announced_are_refused_one_by_one(victim, bystander):
    tunnel = Tunnel(victim)
    tunnel.send(b"".join(tunnel.request(i, "10.77.1.20:9") for i in range(1, 1001, 2)))
    tunnel.send(frame(PING, 0, 0, b"complete"))
    while b"complete" not in tunnel.said:
        tunnel.said += tunnel.socket.recv(1 << 16)
    assert tunnel._find_goaway() is None
    tunnel.close()


def test_handshakes_that_never_end_are_bounded_by_source(victim, bystander):
    """600 connections that say nothing: the 513th of one source is refused at once, another source is served."""
    sockets = victim.pod.inside(lambda: [socket.create_connection((ADDRESS, 15008), 10, (ATTACKER, 0)) for _ in range(600)])
    try:
        wait_until(lambda: bystander.tunnel.pump(0) or metric(victim, "ambar_limit_refusals_total", 'limit="source_handshakes"') >= 80, message="refusals")
        bystander.speak()
        other = victim.tunnel()
        assert other.open(f"{ADDRESS}:8080")
        other.close()
        assert victim.ztunnel.program.lines("connection failed", "the limit source_handshakes=512 is reached")
    finally:
        for each in sockets:
            each.close()


def test_connections_that_never_speak_or_speak_slowly_are_ended_on_every_port(victim, bystander):
    """A byte every half second. On 15001 and 15006 such connections are applications' own affair."""
    def slow(port, said=b"", host=ADDRESS):
        connection = victim.pod.inside(lambda: socket.create_connection((host, port), 10))
        return port, connection, said

    connections = [slow(15008), slow(15008, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200)]
    for port, host in ((15000, "127.0.0.1"), (15020, ADDRESS), (15021, ADDRESS)):
        connections += [slow(port, b"", host), slow(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", host)]
    for port, said in ((15053, b"\0\x64" + b"a" * 98), (15080, b"\x05\x64" + b"\x01" * 98)):
        connections += [slow(port, b"", "127.0.0.1"), slow(port, said, "127.0.0.1")]
    tls = victim.pod.inside(lambda: hbone.connect_tls((ADDRESS, 15008), victim.certificates))
    connections.append((15008, tls, PREFACE))  # a handshake, then no SETTINGS
    begun = time.monotonic()
    ended = {}
    position = 0
    while len(ended) < len(connections) and time.monotonic() < begun + 16 * PATIENCE:
        for index, (port, connection, said) in enumerate(connections):
            if index in ended:
                continue
            try:
                if position < len(said):
                    connection.send(said[position:position + 1])
                if select.select([connection], [], [], 0)[0] and connection.recv(4096) == b"":
                    ended[index] = time.monotonic() - begun
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
            except OSError:
                ended[index] = time.monotonic() - begun
        position += 1
        bystander.tunnel.pump(0.25)
    assert len(ended) == len(connections), f"still open: {[connections[i][0] for i in range(len(connections)) if i not in ended]}"
    bystander.speak()


def refused_handshake(victim, certificate, key, chain=()):
    """Whether a tunnel with this certificate is refused; a TLS 1.3 client learns it with its first read."""
    path = certificate
    if chain:
        path = certificate + ".chain"
        with open(path, "w") as file:
            file.write("".join(open(each).read() for each in (certificate, *chain)))
    try:
        connection = victim.pod.inside(lambda: hbone.connect_tls((ADDRESS, 15008), (path, key, victim.authority.root)))
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
        connection.settimeout(10 * PATIENCE)
        return connection.recv(100) == b""
    except OSError:
        return True


NAMES = {
    "empty service account": "spiffe://cluster.local/ns/default/sa/",
    "empty namespace": "spiffe://cluster.local/ns//sa/x",
    "empty trust domain": "spiffe:///ns/default/sa/x",
    "query": "spiffe://cluster.local/ns/default/sa/x?a=b",
    "fragment": "spiffe://cluster.local/ns/default/sa/x\\#a",
    "another scheme": "URI:https://cluster.local/ns/default/sa/x",
    "more parts": "spiffe://cluster.local/ns/default/sa/x/y",
    "another trust domain": "spiffe://elsewhere.local/ns/default/sa/x",
    "port": "spiffe://cluster.local:80/ns/default/sa/x",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_identity_of_this_mesh_is_refused(victim, bystander, name):
    certificate, key, _ = victim.authority.leaf(NAMES[name])
    assert refused_handshake(victim, certificate, key)


def test_a_name_of_this_mesh_does_not_vouch_for_one_of_another(victim, bystander):
    certificate, key, _ = victim.authority.leaf("spiffe://elsewhere.local/ns/default/sa/admin", spiffe("x"))
    assert refused_handshake(victim, certificate, key)


def test_oversized_certificates_and_chains_are_refused(victim, bystander):
    names = [spiffe("x")] + [f"DNS:{'a' * 60}{i}.example" for i in range(1500)]
    certificate, key, _ = victim.authority.leaf(*names)
    assert os.path.getsize(certificate) > 100_000
    assert refused_handshake(victim, certificate, key)
    certificate, key, root = victim.authority.leaf(spiffe("x"))
    assert refused_handshake(victim, certificate, key, chain=[Authority(f"filler{i}").root for i in range(30)])
    assert not refused_handshake(victim, certificate, key, chain=[root])


def test_older_protocols_are_refused(victim, bystander):
    context = hbone.tls_context("client", *victim.certificates, minimum=ssl.TLSVersion.TLSv1_2)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(victim.dial(15008))


def test_plain_http2_is_answered_by_no_http2(victim, bystander):
    connection = victim.dial(15008)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0))
    connection.settimeout(15 * PATIENCE)
    said = b""
    try:
        while data := connection.recv(4096):
            said += data
    except ConnectionResetError:
        pass
    assert said == b"" or said[:1] == b"\x15"  # a TLS alert at most


def test_the_limits_in_force_are_shown(victim):
    text = victim.ztunnel.metrics()
    for name in ("process_descriptors", "process_bytes", "pod_bytes", "pod_connections", "pod_streams", "pod_handshakes", "source_handshakes", "source_resets"):
        assert f'ambar_limit{{limit="{name}"}} ' in text
