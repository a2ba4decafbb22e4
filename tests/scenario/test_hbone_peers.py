"""HBONE against python3-h2 in both roles: what ztunnel sends, what it accepts, what it refuses and how."""
import re
import socket
import ssl
import threading

import h2.events
import h2.settings
import pytest
from hyperframe.frame import GoAwayFrame

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.tcp_peer import exchange, read_to_end, stream
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

VIP = "10.96.77.30"
CLIENT, PEER, SERVER = "10.77.1.10", "10.77.2.30", "10.77.2.20"
ECHO, REFUSES, RESETS, BREAKS = 8080, 8503, 8001, 8002
CANCEL, PROTOCOL_ERROR, INTERNAL_ERROR = 8, 1, 2
BAGGAGE = "k8s.cluster.name=Kubernetes,k8s.namespace.name=default,k8s.deployment.name={0},service.name={0},service.version=latest"
SETTING = h2.settings.SettingCodes
EARLY_BYTES = 0xF0A1  # our own (http/hbone_frame.h); tests/scenario/test_early_data.py


class Handler:
    """Echoes, refuses or resets, as the port of the authority says."""

    def __init__(self):
        self.pending = {}
        self.ended = set()
        self.resetting = {}

    def __call__(self, connection, stream_id, headers):
        port = int(headers[":authority"].rsplit(":", 1)[1])
        status = "503" if port == REFUSES else "200"
        connection.h2.send_headers(stream_id, [(":status", status)], end_stream=port == REFUSES)
        connection.flush()
        if port in (RESETS, BREAKS):
            self.resetting[connection, stream_id] = CANCEL if port == RESETS else INTERNAL_ERROR
        elif port == ECHO:
            self.pending[connection, stream_id] = bytearray()

    def on_event(self, connection, event):
        key = (connection, getattr(event, "stream_id", 0))
        if isinstance(event, h2.events.DataReceived) and key in self.resetting:
            connection.h2.reset_stream(event.stream_id, self.resetting[key])
        elif isinstance(event, h2.events.DataReceived) and key in self.pending:
            self.pending[key] += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(key)
        elif isinstance(event, h2.events.StreamReset):
            self.pending.pop(key, None)
        for owner, stream_id in list(self.pending):
            if owner is connection:
                self.send(connection, stream_id)
        connection.flush()

    def send(self, connection, stream_id):
        waiting = self.pending[connection, stream_id]
        while waiting:
            room = min(connection.h2.local_flow_control_window(stream_id), connection.h2.max_outbound_frame_size, len(waiting))
            if room <= 0:
                return
            connection.h2.send_data(stream_id, bytes(waiting[:room]))
            del waiting[:room]
        if (connection, stream_id) in self.ended:
            connection.h2.end_stream(stream_id)
            del self.pending[connection, stream_id]


class Peers:
    """A captured pod with a ztunnel, a pod whose HBONE end is python3-h2, and a pod with a ztunnel that serves."""

    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", CLIENT)
        self.outside = self.topology.add_pod("n1", "outside", "10.77.1.11")
        self.peer = self.topology.add_pod("n2", "peer", PEER)
        self.server = self.topology.add_pod("n2", "server", SERVER)
        self.authority = Authority()
        ports = {80: ECHO}
        model = {
            "workloads": [self.describe(self.client), self.describe(self.outside), self.describe(self.server),
                          self.describe(self.peer, {"default/web.default.svc.cluster.local": ports})],
            "services": [service("web", VIP, ports)],
            "policies": [{"name": "no-9000", "namespace": "default", "scope": "Namespace", "action": "Deny", "dryRun": False,
                          "rules": [[[{"destinationPorts": [9000]}]]]}],
        }
        listener = self.peer.inside(lambda: socket.create_server((PEER, 15008), backlog=64))
        self.h2 = hbone.Server(None, self.authority.leaf(spiffe("peer")), Handler(), listener=listener)
        # One worker: tunnels are of a worker, and the tests say which tunnel a connection takes.
        self.out = Ztunnel(self.client, model, self.authority.leaf(spiffe("client")), environment={"ZTUNNEL_WORKER_THREADS": "1"})
        self.into = Ztunnel(self.server, model, self.authority.leaf(spiffe("server")), captured=False,
                            environment={"ENABLE_ORIG_SRC": "false"})
        self.application = Program("application", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", ECHO, "echo"],
                                   namespace=self.server)
        self.application.wait_line("listening")
        self.identity = self.authority.leaf(spiffe("outside"))

    @staticmethod
    def describe(pod, services=None):
        return workload(pod, services, workloadType="deployment")

    def dial(self, port, host=PEER):
        return self.client.inside(lambda: socket.create_connection((host, port), 20 * PATIENCE))

    def tunnel(self, certificates=None):
        return self.outside.inside(lambda: hbone.Client((SERVER, 15008), certificates or self.identity))

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


@pytest.fixture
def tunnel(peers):
    tunnel = peers.tunnel()
    yield tunnel
    tunnel.close()


def settings_of(connection):
    event = connection.wait_for(lambda e: isinstance(e, h2.events.RemoteSettingsChanged))
    return {code: change.new_value for code, change in event.changed_settings.items()}


# ztunnel as the client


def test_connect_has_the_documented_headers_in_their_order(peers):
    with peers.dial(80, VIP) as connection:
        assert exchange(connection, b"hello") == b"hello"
        port = connection.getsockname()[1]
    headers = peers.h2.requests[-1]
    assert list(headers) == [":method", ":authority", "baggage", "forwarded", "traceparent"]
    assert headers[":method"] == "CONNECT" and headers[":authority"] == f"{PEER}:{ECHO}"
    assert headers["baggage"] == BAGGAGE.format("client")
    assert headers["forwarded"] == f'for="{CLIENT}:{port}";host=web.default.svc.cluster.local'
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers["traceparent"])


def test_without_a_service_forwarded_has_no_host(peers):
    with peers.dial(ECHO) as connection:
        exchange(connection, b"hello")
        port = connection.getsockname()[1]
    assert peers.h2.requests[-1]["forwarded"] == f'for="{CLIENT}:{port}"'


def test_the_clients_settings_and_window(peers):
    with peers.dial(ECHO) as connection:
        exchange(connection, b"hello")
        tunnel = peers.h2.connections[-1]
        assert settings_of(tunnel) == {SETTING.HEADER_TABLE_SIZE: 0, SETTING.INITIAL_WINDOW_SIZE: 262144, SETTING.MAX_FRAME_SIZE: 1048576,
                                       SETTING.MAX_HEADER_LIST_SIZE: 16384, SETTING.ENABLE_PUSH: 0, EARLY_BYTES: 4096}
        update = tunnel.wait_for(lambda e: isinstance(e, h2.events.WindowUpdated) and e.stream_id == 0)
        assert 65535 + update.delta == 16 << 20


def test_a_refusal_closes_the_application_connection_and_is_logged(peers):
    with peers.dial(REFUSES) as connection:
        data, end = read_to_end(connection)
        assert data == b"" and end in ("fin", "rst")
    peers.out.access(f"dst.hbone_addr={PEER}:{REFUSES} ", 'error="http status: 503 Service Unavailable"')


def test_a_reset_stream_is_a_reset_at_the_application(peers):
    with peers.dial(RESETS) as connection:
        connection.sendall(b"question")
        assert read_to_end(connection) == (b"", "rst")
    assert "error=" not in peers.out.access("connection complete", f"dst.hbone_addr={PEER}:{RESETS}")[0]


def test_a_stream_that_breaks_is_an_error_in_the_log(peers):
    with peers.dial(BREAKS) as connection:
        connection.sendall(b"question")
        assert read_to_end(connection) == (b"", "rst")
    peers.out.access("\terror\t", "connection complete", f"dst.hbone_addr={PEER}:{BREAKS}",
                     'error="receive: io error: stream reset: INTERNAL_ERROR"')


def test_after_goaway_new_connections_use_a_new_tunnel_and_the_old_stream_goes_on(peers):
    with peers.dial(ECHO) as old:
        exchange(old, b"before")
        tunnel = peers.h2.connections[-1]
        stream_id = tunnel.h2.highest_inbound_stream_id
        before = len(peers.h2.connections)
        with tunnel.lock:
            tunnel.sock.sendall(GoAwayFrame(0, last_stream_id=stream_id, error_code=0).serialize())
        assert exchange(old, b"after") == b"after"
        with peers.dial(ECHO) as new:
            assert exchange(new, b"new") == b"new"
            assert len(peers.h2.connections) == before + 1
            assert exchange(old, b"still") == b"still"


def test_megabytes_come_back_intact(peers):
    total = 8 << 20
    data = b"".join(stream(total))
    with peers.dial(ECHO) as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        answer, end = read_to_end(connection, 60 * PATIENCE)
        sender.join()
    assert end == "fin" and answer == data
    assert not peers.h2.failures


# ztunnel as the server


def test_an_accepted_connect_answers_with_baggage_and_echoes(peers, tunnel):
    stream_id = tunnel.connect(f"{SERVER}:{ECHO}")
    answer = tunnel.response(stream_id)
    assert answer == {":status": "200", "baggage": BAGGAGE.format("server")}
    data = b"".join(stream(1 << 20))
    tunnel.send_data(stream_id, data, end=True)
    assert tunnel.read_until_end(stream_id) == data


def test_what_a_closed_application_sent_waits_for_the_window(peers, tunnel):
    data = b"".join(stream(200_000))
    tunnel.auto_credit = False
    stream_id = tunnel.open(f"{SERVER}:{ECHO}")
    tunnel.send_data(stream_id, data, end=True)
    tunnel.wait_for(lambda e: len(tunnel.received(stream_id)) == 65535)
    wait_until(lambda: not peers.server.run("ss", "-tnH", "state", "established", "sport", "=", f":{ECHO}"), 20, "the application's close")
    tunnel.auto_credit = True
    tunnel.h2.increment_flow_control_window(1 << 20)
    tunnel.h2.increment_flow_control_window(1 << 20, stream_id)
    tunnel.flush()
    assert tunnel.read_until_end(stream_id) == data


def test_the_servers_settings(peers, tunnel):
    settings = settings_of(tunnel)
    assert settings[SETTING.MAX_CONCURRENT_STREAMS] == 200
    assert settings[SETTING.MAX_HEADER_LIST_SIZE] == 65536
    assert settings[SETTING.HEADER_TABLE_SIZE] == 0


REFUSALS = [  # method, authority, status, error
    ("CONNECT", "no authority", "400", "no valid authority pseudo header"),
    ("CONNECT", "10.99.9.9:8080", "400", "ip mismatch: "),
    ("CONNECT", f"{SERVER}:9", "503", "connection failed: Connection refused (os error 111)"),
    ("CONNECT", f"{SERVER}:9000", "401", "connection closed due to policy rejection: explicitly denied by: default/no-9000"),
]


@pytest.mark.parametrize("method, authority, status, error", REFUSALS)
def test_what_is_refused_has_its_status_and_its_line(peers, tunnel, method, authority, status, error):
    port = tunnel.sock.getsockname()[1]
    assert tunnel.response(tunnel.connect(authority, method=method))[":status"] == status
    peers.into.access('direction="inbound"', f"src.addr=10.77.1.11:{port} ", error)


def test_only_connect_is_a_method(peers, tunnel):
    port = tunnel.sock.getsockname()[1]
    stream_id = tunnel.connect(f"{SERVER}:{ECHO}", method="GET", extra=[(":scheme", "https"), (":path", "/")])
    assert tunnel.response(stream_id)[":status"] == "400"
    peers.into.access(f"src.addr=10.77.1.11:{port} ", "expected method CONNECT, got GET")


def test_oversize_headers_end_their_stream_only(peers, tunnel):
    good = tunnel.open(f"{SERVER}:{ECHO}")
    large = tunnel.connect(f"{SERVER}:{ECHO}", headers=[(f"x-{n}", "a" * 4000) for n in range(20)])
    assert tunnel.response(large)[":status"] == "431"
    tunnel.send_data(good, b"unharmed", end=True)
    assert tunnel.read_until_end(good) == b"unharmed"


def test_connect_with_a_scheme_or_a_path_is_malformed(peers, tunnel):
    for extra in ((":scheme", "https"), (":path", "/")):
        stream_id = tunnel.connect(f"{SERVER}:{ECHO}", extra=[extra])
        reset = tunnel.wait_for(lambda e, s=stream_id: isinstance(e, h2.events.StreamReset) and e.stream_id == s)
        assert reset.error_code == PROTOCOL_ERROR
    tunnel.open(f"{SERVER}:{ECHO}")


def test_forged_baggage_changes_no_identity(peers, tunnel):
    port = tunnel.sock.getsockname()[1]
    forged = [("baggage", BAGGAGE.format("admin")), ("forwarded", 'for="1.2.3.4:5"')]
    stream_id = tunnel.open(f"{SERVER}:{ECHO}", headers=forged)
    tunnel.send_data(stream_id, b"", end=True)
    tunnel.read_until_end(stream_id)
    line = peers.into.access('direction="inbound"', f"src.addr=10.77.1.11:{port} ", "connection complete")[-1]
    assert f'src.identity="{spiffe("outside")}"' in line and 'src.workload="outside"' in line
    assert "admin" not in line


def strangers(peers):
    foreign = Authority("foreign")
    certificate, key, _ = foreign.leaf(spiffe("outside"))
    yield "foreign root", (certificate, key, peers.authority.root)
    yield "other trust domain", peers.authority.leaf(spiffe("outside", trust_domain="elsewhere"))
    yield "expired", peers.authority.leaf(spiffe("outside"), start="20200101000000Z", end="20200201000000Z")
    yield "no certificate", (None, None, peers.authority.root)


@pytest.mark.parametrize("name", ["foreign root", "other trust domain", "expired", "no certificate"])
def test_who_is_not_of_the_mesh_gets_no_tunnel(peers, name):
    certificates = dict(strangers(peers))[name]
    raw = peers.outside.inside(lambda: socket.create_connection((SERVER, 15008), 20 * PATIENCE))
    port = raw.getsockname()[1]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with hbone.tls_context("client", *certificates).wrap_socket(raw) as secured:
            if not secured.recv(1):
                raise ConnectionError("closed")
    peers.into.access(f"src.addr=10.77.1.11:{port} ", "tls handshake error: ")
    wait_until(peers.into.program.is_running, 1)


def test_a_peer_that_never_speaks_http2_is_named_in_the_access_log(peers):
    peers.h2.is_mute = True
    try:
        for connection in peers.h2.connections:
            connection.close()
        with peers.dial(ECHO) as connection:
            assert connection.recv(1) == b""
        peers.out.access(f'dst.addr={PEER}:15008 ', 'error="http2 handshake failed: ')
        labels = 'response_flags="H2_HANDSHAKE_FAILURE"'
        wait_until(lambda: labels in peers.out.metrics(), 10, "the flag")
    finally:
        peers.h2.is_mute = False
