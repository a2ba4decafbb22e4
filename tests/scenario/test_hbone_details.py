"""HBONE frame by frame: refusals, limits, drains, versions of TLS, and what the less usual request headers are used for."""
import contextlib
import socket
import ssl
import threading
import time

import h2.events
import h2.settings
import hpack
import hyperframe.frame as frames
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, wait_until
from tests.lab.tcp_peer import read_to_end
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

SERVER4, SERVER6, CLIENT, PEER, OUTSIDE = "10.77.2.20", "fd77:2::20", "10.77.1.10", "10.77.2.30", "10.77.1.11"
ECHO, NAMED = 8080, "web.default.svc.cluster.local"
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM = 0, 1, 7
DRAIN_PING = bytes.fromhex("0b7ba2f08b9bfe54")


class RawTunnel:
    """Frames as they come, none answered but SETTINGS and, when asked, PINGs."""

    def __init__(self, sock):
        self.sock = sock
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer = b""
        self.next_stream = 1
        self.sock.settimeout(20 * PATIENCE)
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize())

    def send(self, frame):
        self.sock.sendall(frame.serialize())

    def request(self, *headers, end=False):
        stream = self.next_stream
        self.next_stream += 2
        flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
        self.send(frames.HeadersFrame(stream, data=self.encoder.encode(headers), flags=flags))
        return stream

    def connect(self, authority, *headers):
        return self.request((":method", "CONNECT"), (":authority", authority), *headers)

    def next(self):
        while True:
            if len(self.buffer) >= 9:
                frame, length = frames.Frame.parse_frame_header(memoryview(self.buffer)[:9])
                if len(self.buffer) >= 9 + length:
                    frame.parse_body(memoryview(self.buffer)[9:9 + length])
                    self.buffer = self.buffer[9 + length:]
                    return frame
            data = self.sock.recv(65536)
            if not data:
                return None
            self.buffer += data

    def frames_of(self, stream, count):
        """The next `count` frames of one stream (or of the connection's own kinds, for 0)."""
        found = []
        while len(found) < count:
            frame = self.next()
            assert frame is not None, found
            if isinstance(frame, frames.SettingsFrame):
                if "ACK" not in frame.flags:
                    self.encoder.header_table_size = frame.settings.get(frames.SettingsFrame.HEADER_TABLE_SIZE, 4096)
                    self.send(frames.SettingsFrame(0, flags=["ACK"]))
            elif frame.stream_id == stream and not isinstance(frame, frames.WindowUpdateFrame):
                found.append(frame)
        return found

    def headers_in(self, frame):
        return self.decoder.decode(frame.data)


class World:
    def __init__(self):
        topology = self.topology = Topology(2)
        self.server = topology.add_pod("n2", "server", SERVER4, SERVER6)
        self.outside = topology.add_pod("n1", "outside", OUTSIDE, "fd77:1::11")
        self.client = topology.add_pod("n1", "client", CLIENT)
        self.peer = topology.add_pod("n2", "peer", PEER)
        self.authority = Authority()
        self.leaf = self.authority.leaf(spiffe("outside"))
        self.model = {
            "workloads": [workload(self.server, {f"default/{NAMED}": {80: ECHO, 81: 15001}}, workloadType="deployment"), workload(self.client),
                          workload(self.peer), workload(self.outside)],
            "services": [{"name": "web", "namespace": "default", "hostname": NAMED, "vips": ["/10.96.77.33"], "ports": {80: 0, 81: 0, 82: 0, 83: ECHO}}]}
        self.into = self.serving()
        self.has_called = False
        self.serve()

    def serving(self, name="into", **environment):
        return Ztunnel(self.server, self.model, self.authority.leaf(spiffe("server")), name=name, captured=name == "into", environment={
            "NETWORK": "", "ZTUNNEL_WORKER_THREADS": "1", **environment})

    def serve(self):
        listener = self.server.inside(lambda: socket.create_server(("", ECHO), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512))

        def echo(connection):
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except ConnectionError:
                pass  # its tunnel was closed by a test that had seen enough
            connection.close()

        def accept():
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def raw(self, address=SERVER4):
        return RawTunnel(self.outside.inside(lambda: hbone.connect_tls((address, 15008), self.leaf)))

    def tunnel(self, address=SERVER4):
        return self.outside.inside(lambda: hbone.Client((address, 15008), self.leaf))

    @contextlib.contextmanager
    def calling(self, handler, name, settings=None, **environment):
        """A server on python3-h2 and a ztunnel whose client dials it: (ztunnel, dial)."""
        listener = self.peer.inside(lambda: socket.create_server((PEER, 15008), backlog=64))
        server = hbone.Server(None, self.authority.leaf(spiffe("peer")), handler, listener=listener, settings=settings)
        out = Ztunnel(self.client, self.model, self.authority.leaf(spiffe("client")), name=f"out-{name}", captured=not self.has_called,
                      environment={"ZTUNNEL_WORKER_THREADS": "1", **environment})
        self.has_called = True

        def dial():
            connection = self.client.inside(lambda: socket.create_connection((PEER, 80), 20 * PATIENCE))
            connection.settimeout(20 * PATIENCE)
            return connection

        try:
            yield out, dial
        finally:
            server.stop()
            out.stop()

    def stop(self):
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


def status_of(raw, frame):
    return dict(raw.headers_in(frame))[":status"]


@pytest.mark.parametrize("authority, status", [("bad", "400"), ("10.9.9.9:80", "400"), (f"{SERVER4}:15006", "503"), (f"{SERVER4}:9", "503"),
                                               ("nowhere.example:80", "503"), (f"{NAMED}:81", "503"), (f"{NAMED}:82", "503"), (f"{NAMED}:84", "503"),
                                               (f"[::ffff:{SERVER4}]:{ECHO}", "400"), (SERVER4, "400"), (f"{SERVER4}:99999", "400"), (":80", "400")])
def test_a_refusal_is_one_headers_frame_and_a_reset_without_error(world, authority, status):
    raw = world.raw()
    answer, reset = raw.frames_of(raw.connect(authority), 2)
    assert isinstance(answer, frames.HeadersFrame) and "END_STREAM" in answer.flags
    assert raw.headers_in(answer) == [(":status", status)]
    assert isinstance(reset, frames.RstStreamFrame) and reset.error_code == NO_ERROR
    raw.sock.close()


@pytest.mark.parametrize("address, authority", [(SERVER4, f"{SERVER4}:{ECHO}"), (SERVER6, f"[{SERVER6}]:{ECHO}"), (SERVER4, f"{NAMED}:80"),
                                                (SERVER6, f"{NAMED}:83")])
def test_a_200_bears_baggage_and_nothing_else(world, address, authority):
    raw = world.raw(address)
    stream = raw.connect(authority)
    (answer,) = raw.frames_of(stream, 1)
    assert raw.headers_in(answer) == [(":status", "200"), ("baggage", "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,"
                                       "k8s.deployment.name=server,service.name=server,service.version=latest")]
    assert "END_STREAM" not in answer.flags
    raw.send(frames.DataFrame(stream, data=b"hi", flags=["END_STREAM"]))
    data = raw.frames_of(stream, 1)[0]
    assert data.data == b"hi"
    last = data if "END_STREAM" in data.flags else raw.frames_of(stream, 1)[0]
    assert isinstance(last, frames.DataFrame) and "END_STREAM" in last.flags
    raw.sock.close()


def test_a_connect_that_ends_at_once_is_a_connection_that_ends(world):
    raw = world.raw()
    stream = raw.request((":method", "CONNECT"), (":authority", f"{SERVER4}:{ECHO}"), end=True)
    answer = raw.frames_of(stream, 1)[0]
    assert status_of(raw, answer) == "200"
    last = answer if "END_STREAM" in answer.flags else raw.frames_of(stream, 1)[0]
    assert isinstance(last, (frames.DataFrame, frames.HeadersFrame)) and "END_STREAM" in last.flags
    raw.sock.close()


@pytest.mark.parametrize("headers", [
    [(":method", "CONNECT"), (":protocol", "bytestream"), (":authority", f"{SERVER4}:{ECHO}")],
    [(":method", "CONNECT"), (":protocol", "connect-tcp"), (":scheme", "https"), (":path", "/"), (":authority", f"{SERVER4}:{ECHO}")],
    [(":method", "CONNECT"), (":authority", f"{SERVER4}:{ECHO}"), ("connection", "close")],
    [(":method", "CONNECT"), (":authority", f"{SERVER4}:{ECHO}"), ("te", "gzip")],
    [(":method", "CONNECT"), (":authority", f"{SERVER4}:{ECHO}"), ("Upper", "case")],
    [(":authority", f"{SERVER4}:{ECHO}")]])
def test_what_is_malformed_is_reset_and_its_tunnel_lives(world, headers):
    raw = world.raw()
    (reset,) = raw.frames_of(raw.request(*headers), 1)
    assert isinstance(reset, frames.RstStreamFrame) and reset.error_code == PROTOCOL_ERROR
    assert status_of(raw, raw.frames_of(raw.connect(f"{SERVER4}:{ECHO}"), 1)[0]) == "200"
    raw.sock.close()


def test_te_trailers_and_the_headers_of_go_are_no_harm(world):
    raw = world.raw()
    stream = raw.connect(f"{SERVER4}:{ECHO}", ("te", "trailers"), ("user-agent", "Go-http-client/2.0"), ("accept-encoding", "gzip"))
    assert status_of(raw, raw.frames_of(stream, 1)[0]) == "200"
    raw.sock.close()


def test_the_201st_stream_is_refused_and_the_next_taken_when_one_ends(world):
    tunnel = world.tunnel()
    tunnel.wait_for(lambda e: isinstance(e, h2.events.RemoteSettingsChanged))
    streams = [tunnel.open(f"{SERVER4}:{ECHO}") for _ in range(200)]
    tunnel.h2.remote_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = 1000
    tunnel.h2.remote_settings.acknowledge()
    with pytest.raises(ConnectionResetError, match=str(REFUSED_STREAM)):
        tunnel.response(tunnel.connect(f"{SERVER4}:{ECHO}"))
    tunnel.send_data(streams[0], b"", end=True)
    tunnel.read_until_end(streams[0])
    tunnel.open(f"{SERVER4}:{ECHO}")
    tunnel.close()


TRACES = {
    "a good one": ("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01", True), "too short": ("00-0123456789abcdef0123456789abcdef-0123456789abcdef-1", False),
    "no hex": ("00-0123456789abcdefg123456789abcdef-0123456789abcdef-01", False), "no dashes": ("0" * 55, False), "nothing": ("", False)}


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_id_is_taken_from_a_sound_traceparent_only(world, name):
    value, is_taken = TRACES[name]
    raw = world.raw()
    port = raw.sock.getsockname()[1]
    assert status_of(raw, raw.frames_of(raw.connect(f"{SERVER4}:{ECHO}", ("traceparent", value)), 1)[0]) == "200"
    line = world.into.program.wait_line("received CONNECT", f"peer={OUTSIDE}:{port}")[-1]
    assert ("inbound{id=0123456789abcdef0123456789abcdef " in line) == is_taken
    raw.sock.close()


def labels_after(world, *headers, port=ECHO):
    raw = world.raw()
    source = raw.sock.getsockname()[1]
    stream = raw.connect(f"{SERVER4}:{port}", *headers)
    raw.frames_of(stream, 1)
    raw.send(frames.DataFrame(stream, flags=["END_STREAM"]))
    raw.frames_of(stream, 1)
    line = world.into.access("connection complete", f"src.addr={OUTSIDE}:{source} ")[-1]
    raw.sock.close()
    return line


GATEWAY_BAGGAGE = ("baggage", "k8s.cluster.name=c2,k8s.namespace.name=far,k8s.job.name=batch,service.name=crunch,service.version=v7,"
                              "cloud.region=r9,cloud.availability_zone=z9")


def test_a_source_behind_a_gateway_is_what_its_baggage_says(world):
    line = labels_after(world, GATEWAY_BAGGAGE, ("x-forwarded-network", "net-2"))
    assert 'src.workload="crunch" src.namespace="far"' in line and 'src.cluster="c2"' in line
    sample = next(l for l in world.into.metrics().splitlines() if l.startswith("istio_tcp_connections_opened_total") and 'source_workload="batch"' in l)
    for label in ('source_canonical_service="crunch"', 'source_canonical_revision="v7"', 'source_workload_namespace="far"', f'source_principal="{spiffe("outside")}"',
                  'source_app="batch"', 'source_version="v7"', 'source_cluster="c2"', 'source_region="r9"', 'source_zone="z9"'):
        assert label in sample, (label, sample)


def test_a_known_source_is_what_xds_says_whatever_its_baggage(world):
    line = labels_after(world, GATEWAY_BAGGAGE)
    assert 'src.workload="outside" src.namespace="default"' in line
    assert 'source_workload="outside"' in world.into.metrics()


@pytest.mark.parametrize("forwarded", ['for="1.2.3.4:5";host=web.default.svc.cluster.local', 'for="1.2.3.4:5"; host="web.default.svc.cluster.local"',
                                       "host=web.default.svc.cluster.local"])
def test_the_forwarded_host_names_the_service(world, forwarded):
    assert f'dst.service="{NAMED}"' in labels_after(world, ("forwarded", forwarded))


def test_refusals_before_the_policies_are_no_connections(world):
    def opened():
        return [l for l in world.into.metrics().splitlines() if l.startswith(("istio_tcp_connections_opened_total", "istio_tcp_connections_failed_total"))]

    before = opened()
    raw = world.raw()
    for authority in ("bad", "10.9.9.9:80", f"{SERVER4}:15006", "nowhere.example:80"):
        raw.frames_of(raw.connect(authority), 2)
    assert opened() == before
    raw.sock.close()


def test_a_peer_of_tls_1_2_or_without_h2_is_turned_away(world):
    old = hbone.tls_context("client", *world.leaf, minimum=ssl.TLSVersion.TLSv1_2)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        old.wrap_socket(world.outside.inside(lambda: socket.create_connection((SERVER4, 15008), 20)))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        bare.load_cert_chain(*world.leaf[:2])
        bare.load_verify_locations(world.leaf[2])
        bare.set_alpn_protocols(["http/1.1"])
        secured = bare.wrap_socket(world.outside.inside(lambda: socket.create_connection((SERVER4, 15008), 20)))
        if secured.recv(1) == b"":
            raise ConnectionError("closed")


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_tls_1_2_when_it_is_wanted(world, cipher):
    world.into.stop()
    world.into = world.serving(f"tls12-{cipher[-6:]}", TLS12_ENABLED="true")
    old = hbone.tls_context("client", *world.leaf, minimum=ssl.TLSVersion.TLSv1_2)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers(cipher)
    secured = old.wrap_socket(world.outside.inside(lambda: socket.create_connection((SERVER4, 15008), 20)))
    assert secured.version() == "TLSv1.2" and secured.selected_alpn_protocol() == "h2" and secured.cipher()[0] == cipher
    raw = RawTunnel(secured)
    assert status_of(raw, raw.frames_of(raw.connect(f"{SERVER4}:{ECHO}"), 1)[0]) == "200"
    raw.sock.close()


def test_a_drain_says_goodbye_twice_and_streams_finish(world):
    world.into.stop()
    world.into = world.serving("drained", TERMINATION_GRACE_PERIOD_SECONDS="30")
    raw = world.raw()
    stream = raw.connect(f"{SERVER4}:{ECHO}")
    raw.frames_of(stream, 1)
    ended = threading.Thread(target=world.into.program.stop, kwargs={"timeout": 30 * PATIENCE})
    ended.start()
    first, ping = raw.frames_of(0, 2)
    assert isinstance(first, frames.GoAwayFrame) and (first.last_stream_id, first.error_code) == ((1 << 31) - 1, NO_ERROR)
    assert isinstance(ping, frames.PingFrame) and ping.opaque_data == DRAIN_PING
    raw.send(frames.PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]))
    (second,) = raw.frames_of(0, 1)
    assert isinstance(second, frames.GoAwayFrame) and (second.last_stream_id, second.error_code) == (stream, NO_ERROR)
    raw.send(frames.DataFrame(stream, data=b"still here", flags=["END_STREAM"]))
    assert raw.frames_of(stream, 1)[0].data == b"still here"
    while (frame := raw.next()) is not None:
        assert not isinstance(frame, frames.RstStreamFrame)
    ended.join(30 * PATIENCE)
    world.into.program.wait_line("shutdown complete")
    world.into = world.serving("again")


# the client


class Farewells(hbone.EchoHandler):
    def __init__(self):
        self.farewells = []

    def on_event(self, connection, event):
        if isinstance(event, h2.events.ConnectionTerminated):
            self.farewells.append(event)
        super().on_event(connection, event)


def test_an_idle_tunnel_is_taken_leave_of(world):
    handler = Farewells()
    with world.calling(handler, "idle", POOL_UNUSED_RELEASE_TIMEOUT="1s") as (_, dial):
        connection = dial()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        time.sleep(1.5)
        assert not handler.farewells  # a tunnel with a stream is not idle
        connection.close()
        wait_until(lambda: handler.farewells, 20, "GOAWAY")
        assert handler.farewells[0].error_code == NO_ERROR
        with dial() as second:
            second.sendall(b"y")
            assert second.recv(1) == b"y"


def test_windows_frames_and_keepalive_are_as_configured(world):
    seen = {}

    class Settings(hbone.EchoHandler):
        def on_event(self, connection, event):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                seen.update({code: change.new_value for code, change in event.changed_settings.items()})
            super().on_event(connection, event)

    with world.calling(Settings(), "configured", HTTP2_FRAME_SIZE="32768", HTTP2_STREAM_WINDOW_SIZE="131072", KEEPALIVE_TIME="77s",
                       USER_TIMEOUT_ENABLED="true", KEEPALIVE_INTERVAL="3s", KEEPALIVE_RETRIES="2") as (_, dial):
        connection = dial()
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert seen[h2.settings.SettingCodes.MAX_FRAME_SIZE] == 32768
        assert seen[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] <= 131072
        sockets = world.client.run("ss", "-tnoH", "state", "established", "sport", "=", ":15001")
        assert "timer:(keepalive,1min1" in sockets, sockets
        connection.close()


KINDS = ["RSA-2048", "P-384", "P-521", "Ed25519"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_a_mesh_may_have_shakes_hands_in_both_roles(world, kind):
    """istiod's own root and the keys of Envoy waypoints are RSA; plugged-in authorities are anything, with intermediates."""
    root = Authority(f"root-{kind}", kind=kind)
    peers, ours = root.intermediate(kind), root.intermediate("P-256")
    listener = world.peer.inside(lambda: socket.create_server((PEER, 15008), backlog=64))
    server = hbone.Server(None, peers.leaf(spiffe("peer")), Peer(), listener=listener)
    both = Ztunnel(world.client, world.model, ours.leaf(spiffe("client")), name=f"keys-{kind}", captured=not world.has_called,
                   environment={"ZTUNNEL_WORKER_THREADS": "1"})
    world.has_called = True
    try:
        with world.client.inside(lambda: socket.create_connection((PEER, 80), 20 * PATIENCE)) as connection:
            assert connection.recv(5) == b"hello", server.failures
        tunnel = world.outside.inside(lambda: hbone.Client((CLIENT, 15008), peers.leaf(spiffe("outside"))))
        assert tunnel.response(tunnel.connect(f"{CLIENT}:9"))[":status"] == "503"
        tunnel.close()
    finally:
        server.stop()
        both.stop()


class Peer:
    def __init__(self):
        self.streams = []

    def __call__(self, connection, stream_id, headers):
        self.streams.append((connection, stream_id))
        connection.h2.send_headers(stream_id, [(":status", "200")])
        connection.h2.send_data(stream_id, b"hello")
        connection.flush()


@pytest.mark.parametrize("environment, settings, expected", [
    ({"POOL_MAX_STREAMS_PER_CONNECTION": "2"}, {}, [2, 2, 1]), ({}, {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 3}, [3, 2])])
def test_streams_of_a_tunnel_are_as_many_as_both_sides_want(world, environment, settings, expected):
    peer = Peer()
    with world.calling(peer, f"streams-{len(environment)}", settings, **environment) as (_, dial):
        connections = []
        for _ in range(5):
            connections.append(dial())
            assert connections[-1].recv(5) == b"hello"
        counts = {}
        for connection, _ in peer.streams:
            counts[connection] = counts.get(connection, 0) + 1
        assert list(counts.values()) == expected
        for connection in connections:
            connection.close()


def test_a_200_that_ends_the_stream_is_a_connection_that_ends(world):
    def end(connection, stream_id, headers):
        connection.h2.send_headers(stream_id, [(":status", "200")], end_stream=True)
        connection.flush()

    with world.calling(end, "ended") as (out, dial):
        assert read_to_end(dial(), 20 * PATIENCE) == (b"", "fin")
        assert "error=" not in out.access("connection complete", f"dst.hbone_addr={PEER}:80")[0]


def test_informational_answers_are_no_answers(world):
    def hint(connection, stream_id, headers):
        connection.h2.send_headers(stream_id, [(":status", "103"), ("link", "x")])
        Peer()(connection, stream_id, headers)

    with world.calling(hint, "hinted") as (_, dial):
        assert dial().recv(5) == b"hello"


@pytest.mark.parametrize("status", ["204", "401", "503"])
def test_only_200_is_success_and_others_are_named(world, status):
    def refuse(connection, stream_id, headers):
        connection.h2.send_headers(stream_id, [(":status", status)], end_stream=True)
        connection.flush()

    text = {"204": "204 No Content", "401": "401 Unauthorized", "503": "503 Service Unavailable"}[status]
    with world.calling(refuse, status) as (out, dial):
        assert read_to_end(dial(), 20 * PATIENCE)[0] == b""
        line = out.access("\terror\t", "connection complete", f'error="http status: {text}"')
        assert f"dst.addr={PEER}:15008 dst.hbone_addr={PEER}:80" in line[0]
        assert 'response_flags="CONNECT"' in out.metrics()
