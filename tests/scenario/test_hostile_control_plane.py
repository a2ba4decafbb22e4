"""Control planes that lie, stall, flood or talk nonsense: refused by name, bounded, and the rest of ztunnel does not notice."""
import json
import select
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.events
import pytest

from tests.lab.certificates import Authority
from tests.lab.control_plane import ControlPlane, make_policy, make_workload
from tests.lab.messages import ADDRESS, AUTHORIZATION, discovery
from tests.lab.process import IS_SANITIZED, PATIENCE, Program, binary, wait_until
from tests.lab.topology import Namespace


def framed(message):
    return b"\0" + struct.pack(">I", len(message)) + message


def empty_response(nonce):
    return discovery.DeltaDiscoveryResponse(type_url=ADDRESS, nonce=nonce).SerializeToString()


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


class RawControlPlane:
    """An HTTP/2 server below gRPC's level: every stream of requests is answered by the bytes that `script` sends."""

    def __init__(self, certificate, key, script, reads=True):
        self.script, self.reads = script, reads
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.streams = 0
        self.is_stopped = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.is_stopped:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(raw,), daemon=True).start()

    def serve(self, raw):
        try:
            self.sock = self.context.wrap_socket(raw, server_side=True)
            self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
            self.h2.initiate_connection()
            self.flush()
            self.pump_until(h2.events.RequestReceived)
            self.streams += 1
            self.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
            self.flush()
            self.script(self)
        except (OSError, ssl.SSLError, h2.exceptions.ProtocolError):
            pass

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.sock.sendall(data)

    def pump(self, timeout=0.05):
        if not self.sock.pending() and not select.select([self.sock], [], [], timeout)[0]:
            return []
        data = self.sock.recv(1 << 16)
        if not data:
            raise OSError("closed")
        events = self.h2.receive_data(data)
        self.flush()
        return events

    def pump_until(self, kind):
        while not any(isinstance(event, kind) for event in self.pump(1)):
            pass

    def send(self, data):
        """As DATA, as the client's window allows; without `reads` our own window for it stays as it was."""
        while data:
            room = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size, len(data))
            if room == 0:
                self.pump()
                continue
            self.h2.send_data(1, data[:room])
            data = data[room:]
            self.flush()

    def stop(self):
        self.is_stopped = True
        self.listener.close()


class Place:
    def __init__(self):
        self.namespace = Namespace("hostile")
        authority = Authority("hostile")
        self.root = authority.root
        self.certificate, self.key, _ = authority.leaf("DNS:localhost", "IP:127.0.0.1", usage="serverAuth")
        self.count = 0

    def good(self):
        return self.namespace.inside(lambda: ControlPlane(certificate=self.certificate, key=self.key))

    def raw(self, script):
        return self.namespace.inside(lambda: RawControlPlane(self.certificate, self.key, script))

    def ztunnel(self, plane):
        self.count += 1
        address = f"https://localhost:{plane.port}"
        return Program(f"zt-hostile-{self.count}", [binary("ztunnel")], namespace=self.namespace, environment={
            "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "istio-system/zt/zt", "XDS_ADDRESS": address, "CA_ADDRESS": address,
            "XDS_ROOT_CA": self.root, "CA_ROOT_CA": self.root, "ZTUNNEL_WORKER_THREADS": "1"})

    def get(self, path, port=15000):
        return self.namespace.run("curl", "-s", "-m", "5", f"http://127.0.0.1:{port}{path}")

    def names(self):
        return [w["name"] for w in json.loads(self.get("/config_dump"))["workloads"]]


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.namespace.remove()


@pytest.fixture(autouse=True)
def one_at_a_time():
    yield
    for program in Program.everything:
        if program.returncode is None:
            program.kill()


def nack_of(plane, type_url):
    plane.wait(lambda p: any(a.HasField("error_detail") for a in p.answers(type_url)), timeout=60)
    return [a for a in plane.answers(type_url) if a.HasField("error_detail")][-1].error_detail.message


def test_every_kind_of_bad_resource_is_named_and_the_good_one_stays(place):
    plane = place.good()
    program = place.ztunnel(plane)
    plane.wait(lambda p: p.answers(ADDRESS) and p.answers(AUTHORIZATION))
    whole = make_workload("deep", "10.0.0.9")[1]
    groups = b"\x0b" * 1000 + b"\x0c" * 1000  # a thousand, one inside the other
    inside = b""
    for _ in range(1000):  # messages inside messages, in a field nobody knows: skipped
        inside = b"\xfa\x07" + varint(len(inside)) + inside
    deep = whole.workload.SerializeToString() + inside
    plane.set(ADDRESS, make_workload("good", "10.0.0.7"), ("groups", groups), ("cut", whole.SerializeToString()[:-3]),
              ("deep", b"\x0a" + varint(len(deep)) + deep), ("text", b"\x0a\x04\x0a\x02\xff\xff"),
              make_workload("enum", "10.0.0.10", tunnel_protocol=99))
    reasons = nack_of(plane, ADDRESS).split("; ")
    assert [reason.split(": ")[0] for reason in reasons] == ["groups", "cut", "text", "Kubernetes//Pod/default/enum"], reasons
    assert set(place.names()) == {"good", "deep"}
    assert 'istio_xds_message_total{url="type.googleapis.com/istio.workload.Address"}' in place.get("/metrics", 15020)
    program.assert_clean()
    plane.stop()


def test_a_resource_of_64_mebibytes_is_refused_without_being_held(place):
    plane = place.good()
    program = place.ztunnel(plane)
    plane.wait(lambda p: p.answers(ADDRESS) and p.answers(AUTHORIZATION))
    before = program.resident_kib()
    name, huge = make_workload("huge", canonical_name="x" * (64 << 20))
    plane.set(ADDRESS, (name, huge), make_workload("after", "10.0.0.8"))
    assert nack_of(plane, ADDRESS).startswith(f"{name}: ")
    assert "after" in place.names()
    assert IS_SANITIZED or program.resident_kib() < before + 24 * 1024
    program.assert_clean()
    plane.stop()


def test_a_policy_with_unknown_enums_is_refused_by_name(place):
    plane = place.good()
    program = place.ztunnel(plane)
    plane.wait(lambda p: p.answers(ADDRESS) and p.answers(AUTHORIZATION))
    name, policy = make_policy("odd")
    plane.set(AUTHORIZATION, (name, policy.SerializeToString() + bytes([3 << 3, 77])), make_policy("fine"))
    assert nack_of(plane, AUTHORIZATION).startswith(f"{name}: ")
    program.assert_clean()
    plane.stop()


def test_half_a_message_and_then_silence_holds_nothing_up(place):
    plane = place.raw(lambda raw: (raw.send(framed(empty_response("n") * 1000)[:3000]), time.sleep(30)))
    program = place.ztunnel(plane)
    program.wait_line("Stream established")
    begin = time.monotonic()
    assert place.get("/healthz/ready", 15021).startswith("not ready")
    place.get("/config_dump")
    assert time.monotonic() - begin < 5 * PATIENCE
    program.assert_clean()
    plane.stop()


def test_half_a_message_and_a_cut_is_no_response(place):
    plane = place.raw(lambda raw: (raw.send(framed(empty_response("n"))[:-2]), raw.sock.close()))
    program = place.ztunnel(plane)
    wait_until(lambda: plane.streams >= 2, message="a second stream")
    assert "marking server ready" not in program.text()
    program.assert_clean()
    plane.stop()


def test_a_message_of_a_gibibyte_is_refused_at_its_head(place):
    plane = place.raw(lambda raw: (raw.send(b"\0" + struct.pack(">I", 1 << 30) + b"x" * 1000), time.sleep(5)))
    program = place.ztunnel(plane)
    program.wait_line("decoded message length too large: found 1073741824 bytes, the limit is: 209715200 bytes")
    program.assert_clean()
    plane.stop()


def test_nonsense_instead_of_a_response_ends_the_stream(place):
    plane = place.raw(lambda raw: (raw.send(framed(b"\xff" * 64)), time.sleep(5)))
    program = place.ztunnel(plane)
    program.wait_line("XDS client error: gRPC error status: Internal", "failed to decode Protobuf message")
    program.assert_clean()
    plane.stop()


def test_a_flood_from_a_control_plane_that_does_not_read_is_bounded(place):
    def flood(raw):
        piece = b"".join(framed(empty_response("n" * 2000)) for _ in range(500))
        for _ in range(100):
            raw.send(piece)

    plane = place.raw(flood)
    program = place.ztunnel(plane)
    program.wait_line("the control plane does not read what it is answered", timeout=60 * PATIENCE)
    assert IS_SANITIZED or program.resident_kib() < 64 * 1024
    place.get("/config_dump")
    program.assert_clean()
    plane.stop()
