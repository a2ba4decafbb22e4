"""The DNS proxy: names of the mesh asked for by dig, getent and curl inside a captured pod; everything else, and every failure, against
a scripted name server."""
import json
import os
import socket
import struct
import time

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.dns_server import encode_name, parse
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, capture, service, workload

DNS_SERVER = os.path.join(ROOT, "tests/lab/dns_server.py")
SERVER = "10.77.2.53"
ZONE = {
    "www.example.com": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"], "MX": ["10 mail.example.com"], "TXT": ["hello there"], "ttl": 77},
    "truncated.example.com": {"A": [f"192.0.2.{i}" for i in range(1, 60)]},
    "wrong-id.example.com": {"A": ["192.0.2.5"]},
    "wrong-question.example.com": {"A": ["192.0.2.6"]},
    "tcp-only.example.com": {"A": ["192.0.2.7"]},
    "slow.example.com": {"A": ["192.0.2.8"]},
    "pod.headless.default.svc.cluster.local": {"A": ["192.0.2.9"]},
}
QUERY = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)


def question(name, kind=1, header=QUERY, tail=b""):
    return header + encode_name(name) + struct.pack("!HH", kind, 1) + tail


class World:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        self.names = self.topology.add_pod("n2", "names", SERVER)
        self.dns = Program("dns", ["/usr/bin/python3", "-u", DNS_SERVER, SERVER, "--zone", json.dumps(ZONE)], namespace=self.names)
        self.dns.wait_line("listening")
        self.http = Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=self.server)
        self.client.resolve_with(f"nameserver {SERVER}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
        self.authority = Authority()
        self.model = model(self)
        capture(self.client, dns=True)
        self.ztunnel = self.start()

    def start(self, name=None, **environment):
        return Ztunnel(self.client, self.model, self.authority.leaf(spiffe("client")), name=name, captured=False, environment=environment)

    def dig(self, *arguments, check=False):
        return self.client.run("dig", "+nocookie", "+timeout=9", "+tries=1", *arguments, check=check, timeout=40)

    def short(self, *arguments):
        return self.dig("+short", *arguments).split()

    def ask(self, message, timeout=9):
        """The answer to a datagram, or None."""
        def exchange():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(timeout * PATIENCE)
                sock.sendto(message, (SERVER, 53))
                try:
                    return sock.recv(65535)
                except socket.timeout:
                    return None
        return self.client.inside(exchange)

    def seen(self, *needles):
        return self.dns.lines("query ", *needles)

    def stop(self):
        if self.ztunnel:
            self.ztunnel.stop()
        self.topology.remove()


def model(world):
    dual = service("dual", "10.96.0.10", {80: 8080})
    dual["vips"].append("/fd96::10")
    headless = {**service("headless", "10.96.0.11", {80: 8080}), "vips": []}
    away = {**service("away", "10.96.0.12", {80: 8080}), "vips": ["elsewhere/10.96.0.12"]}
    four = {**service("four", "10.96.0.13", {80: 8080}), "ipFamilies": "IPv4"}
    entries = [{"name": "google", "namespace": "default", "hostname": "www.google.com", "vips": ["/10.96.1.1"], "ports": {80: 80}},
               {"name": "wide", "namespace": "default", "hostname": "*.wildcard", "vips": ["/10.96.1.2"], "ports": {80: 80}},
               {"name": "narrow", "namespace": "default", "hostname": "*.b.wildcard", "vips": ["/10.96.1.3"], "ports": {80: 80}},
               {"name": "bare", "namespace": "default", "hostname": "bare.example.com", "vips": [], "ports": {80: 80}}]
    endpoints = {f"default/{name}.default.svc.cluster.local": {80: 8080} for name in ("dual", "headless", "four")}
    return {"workloads": [workload(world.client), workload(world.server, endpoints, protocol="TCP")],
            "services": [dual, headless, away, four, *entries], "policies": []}


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


@pytest.mark.threaded
@pytest.mark.parametrize("name, kind, expected", [
    ("dual.default.svc.cluster.local", "A", ["10.96.0.10"]),
    ("dual.default.svc.cluster.local", "AAAA", ["fd96::10"]),
    ("dual", "A", ["10.96.0.10"]),
    ("dual.default", "A", ["10.96.0.10"]),
    ("dual.default.svc", "A", ["10.96.0.10"]),
    ("headless.default.svc.cluster.local", "A", ["10.77.2.20"]),
    ("headless.default.svc.cluster.local", "AAAA", ["fd77:2::20"]),
    ("www.google.com", "A", ["10.96.1.1"]),
    ("a.b.wildcard", "A", ["10.96.1.3"]),
    ("a.c.wildcard", "A", ["10.96.1.2"]),
    ("www.google.com.default.svc.cluster.local", "A", ["www.google.com.", "10.96.1.1"]),
    ("away.default.svc.cluster.local", "A", []),
    ("four.default.svc.cluster.local", "AAAA", []),
])
def test_names_of_the_mesh_are_answered_without_upstream(world, name, kind, expected):
    before = len(world.seen())
    answer = world.dig("+noall", "+comments", "+answer", name + ".", kind)
    assert "status: NOERROR" in answer and " aa " in answer.replace(";", " ")
    assert world.short(name + ".", kind) == expected
    for line in answer.splitlines():
        if line and not line.startswith(";"):
            assert line.split()[1] == "30"
    assert len(world.seen()) == before


def test_an_ordinary_program_reaches_a_service_by_its_short_name(world):
    wait_until(lambda: world.server.run("curl", "-s", "-m", "1", "http://127.0.0.1:8080/etc/hostname", check=False), 10, "http")
    assert world.client.run("curl", "-sS", "-m", "10", "http://dual/etc/hostname") == open("/etc/hostname").read()
    assert "10.96.0.10" in world.client.run("getent", "ahostsv4", "dual.default")
    # An answer to a question in mixed case: question as it was, owner in lower case.
    lines = world.dig("+noall", "+question", "+answer", "DUAL.Default.svc.cluster.local.").splitlines()
    assert any("DUAL.Default.svc" in line for line in lines) and any(line.startswith("dual.default.svc") and "10.96.0.10" in line for line in lines)


@pytest.mark.parametrize("transport, kind, expected", [
    ("+notcp", "A", ["192.0.2.1", "192.0.2.2"]), ("+tcp", "A", ["192.0.2.1", "192.0.2.2"]), ("+notcp", "AAAA", ["2001:db8::1"]),
    ("+notcp", "MX", ["10", "mail.example.com."]), ("+tcp", "TXT", ['"hello', 'there"']), ("+notcp", "HTTPS", []),
])
def test_other_names_and_types_are_answered_by_upstream_over_the_same_transport(world, transport, kind, expected):
    protocol = "tcp" if transport == "+tcp" else "udp"
    before = len(world.seen(protocol, "www.example.com", kind))
    assert world.short(transport, "www.example.com.", kind) == expected
    assert len(world.seen(protocol, "www.example.com", kind)) == before + 1


def test_other_types_of_a_mesh_name_are_upstreams_business(world):
    assert "status: NXDOMAIN" in world.dig("dual.default.svc.cluster.local.", "TXT")
    assert world.seen("dual.default.svc.cluster.local TXT")


def test_a_name_is_unknown_only_when_upstream_says_so(world):
    assert "status: NXDOMAIN" in world.dig("absent.example.com.")
    assert world.short("pod.headless.default.svc.cluster.local.") == ["192.0.2.9"]  # hostnames of pods are not ours
    assert "status: NXDOMAIN" in world.dig("bare.example.com.")  # no address, and no service of the cluster


def test_queries_pass_byte_for_byte_but_for_the_id(world):
    """Flags, an EDNS option nobody knows, DO, a type nobody knows: upstream sees them, and its answer comes back the same way."""
    edns = b"\0" + struct.pack("!HHIH", 41, 1400, 0x8000, 8) + struct.pack("!HH", 65001, 4) + b"abcd"
    header = struct.pack("!HHHHHH", 0xbeef, 0x0130, 1, 0, 0, 1)  # RD, AD, CD
    query = question("Www.Example.COM", 0xfeed, header, edns)
    answer = world.ask(query)
    upstream = bytes.fromhex(world.seen("udp Www.Example.COM")[-1].split("bytes=")[1])
    assert upstream[2:] == query[2:] and upstream[:2] != query[:2]
    assert answer[:2] == b"\xbe\xef" and answer[-len(edns):] == edns


def test_ids_and_ports_towards_upstream_are_never_the_clients_nor_the_same(world):
    for _ in range(12):
        assert world.ask(question("www.example.com", 16))
    fields = [line.split() for line in world.seen("www.example.com TXT")[-12:]]
    ids = {field[4] for field in fields}
    ports = {field[5] for field in fields}
    assert len(ids) >= 11 and len(ports) >= 11 and "id=4660" not in ids


def test_a_truncated_answer_makes_the_client_come_back_over_tcp(world):
    answer = world.dig("+ignore", "truncated.example.com.")
    assert " tc " in answer.replace(";", " ")
    assert len(world.short("truncated.example.com.")) == 59
    assert world.seen("udp truncated.example.com") and world.seen("tcp truncated.example.com")


@pytest.mark.parametrize("name, address", [("wrong-id.example.com", "192.0.2.5"), ("wrong-question.example.com", "192.0.2.6")])
def test_answers_that_do_not_fit_the_question_are_not_taken(world, name, address):
    assert world.short(name + ".") == [address]


@pytest.mark.parametrize("arguments, result", [
    (["silent.example.com."], "forwarding failed (no name server has answered in time)"),
    (["garbage.example.com."], "forwarding failed (no name server has answered in time)"),
    (["+tcp", "cut.example.com."], "forwarding failed (no answer from name server 10.77.2.53:53"),
    (["servfail.example.com."], "forwarded"),
])
def test_a_failure_upstream_is_servfail_before_the_client_gives_up(world, arguments, result):
    start = time.monotonic()
    assert "status: SERVFAIL" in world.dig("+timeout=5", *arguments)
    assert time.monotonic() - start < 4.9 * PATIENCE
    world.ztunnel.program.wait_line("\tdns\t", f'domain="{arguments[-1]}', f'result="{result}')


@pytest.mark.parametrize("message, code", [
    (question("dual", header=struct.pack("!HHHHHH", 1, 0x1000, 1, 0, 0, 0)), 4),            # operation STATUS
    (question("dual", header=struct.pack("!HHHHHH", 1, 0, 2, 0, 0, 0), tail=encode_name("dual") + b"\0\1\0\1"), 2),  # two questions
    (struct.pack("!HHHHHH", 1, 0, 0, 0, 0, 0), 2),                                         # none
    (question("dual")[:-3], 1),                                                            # cut
    (QUERY + b"\xc0\x0c\0\1\0\1", 1),                                                      # a name that points to itself
    (QUERY + b"\x3f" + b"x" * 20, 1),
    (question("dual", tail=b"x" * 5000), 1),
])
def test_what_is_no_query_is_answered_with_its_error(world, message, code):
    answer = world.ask(message)
    assert answer[:2] == message[:2] and answer[2] & 0x80 and answer[3] & 0xf == code and not answer[2] & 4 and not answer[3] & 0x80


@pytest.mark.parametrize("message", [b"", b"x", b"\0" * 11, question("dual", header=struct.pack("!HHHHHH", 1, 0x8000, 1, 0, 0, 0))])
def test_what_is_no_message_or_an_answer_is_ignored(world, message):
    assert world.ask(message, timeout=0.3) is None
    assert world.short("dual.default.svc.cluster.local.") == ["10.96.0.10"]


def tcp(world, body):
    def exchange():
        with socket.create_connection((SERVER, 53), timeout=15 * PATIENCE) as sock:
            return body(sock)
    return world.client.inside(exchange)


def receive(sock):
    stream = sock.makefile("rb")
    length = stream.read(2)
    return stream.read(struct.unpack("!H", length)[0]) if len(length) == 2 else None


def test_a_tcp_connection_serves_one_query_after_the_other_and_ends_when_idle(world):
    def body(sock):
        for name in ("dual.default.svc.cluster.local", "www.example.com", "dual.default.svc.cluster.local"):
            query = question(name)
            framed = struct.pack("!H", len(query)) + query
            sock.sendall(framed[:5])
            time.sleep(0.02)
            sock.sendall(framed[5:])
            answer = receive(sock)
            assert parse(answer)[2] == name and answer[7] >= 1
        sock.sendall(b"\0")  # half a length is no query
        start = time.monotonic()
        assert sock.recv(1) == b""
        return time.monotonic() - start
    assert 3 < tcp(world, body) < 12 * PATIENCE


def test_metrics_count_queries_by_type_transport_and_client(world):
    labels = 'request_query_type="a",request_protocol="tcp",source_canonical_service="client",source_canonical_revision="latest"'

    def value(family, text):
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(family + "{") and labels in line)
    before = world.ztunnel.metrics()
    world.short("+tcp", "dual.default.svc.cluster.local.")
    world.short("+tcp", "www.example.com.")
    world.dig("+tcp", "cut.example.com.")
    after = world.ztunnel.metrics()
    for family, more in (("istio_dns_requests_total", 3), ("istio_dns_upstream_requests_total", 2), ("istio_dns_upstream_failures_total", 1),
                         ("istio_dns_upstream_request_duration_seconds_count", 2)):
        assert value(family, after) == value(family, before) + more, family
    world.ztunnel.program.wait_line("\tdns\t", 'src.workload="client" src.namespace="default" query="A" domain="dual.default.svc.cluster.local." result="success"')


def test_a_flood_of_hanging_queries_leaves_names_of_the_mesh_answered(world):
    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(9 * PATIENCE)
            for number in range(1200):
                sock.sendto(question("silent.example.com", header=struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0)), (SERVER, 53))
                if number % 50 == 0:
                    time.sleep(0.01)
            # Those over the bound fail at once, the others when their time is over.
            assert sock.recv(512)[3] & 0xf == 2
            answers[:] = [world.ask(question("dual.default.svc.cluster.local"), timeout=2) for _ in range(3)]
    answers = []
    world.client.inside(flood)
    assert any(answer and answer[7] == 1 for answer in answers)
    wait_until(lambda: world.short("dual.default.svc.cluster.local.") == ["10.96.0.10"], 10, "calm")


def test_the_next_server_is_asked_when_one_is_dead_or_refuses(world):
    world.ztunnel.stop()
    world.client.resolve_with(f"nameserver 10.77.2.20\nnameserver {SERVER}\n")  # the first has no name server
    world.ztunnel = world.start("ztunnel-two-servers")
    start = time.monotonic()
    assert world.short("www.example.com.") == ["192.0.2.1", "192.0.2.2"]
    assert time.monotonic() - start < 2 * PATIENCE


def test_a_query_under_way_is_answered_while_draining(world):
    world.client.resolve_with(f"nameserver {SERVER}\n")
    world.ztunnel.stop()
    world.ztunnel = world.start("ztunnel-drained")
    query = Program("dig-slow", ["dig", "+short", "+tries=1", "slow.example.com."], namespace=world.client)
    wait_until(lambda: world.seen("slow.example.com"), 10, "the query to have reached upstream")
    world.ztunnel.stop()
    query.wait_line("192.0.2.8")


def shared_name(namespace, address):
    return {"name": "shared", "namespace": namespace, "hostname": "shared.example.com", "vips": [f"/{address}"], "ports": {80: 80}}


@pytest.mark.parametrize("environment, question, expected", [
    ({}, ("shared.example.com.", "A"), ["10.96.2.1"]),
    ({"PREFERED_SERVICE_NAMESPACE": "b"}, ("shared.example.com.", "A"), ["10.96.2.2"]),
    ({"IPV6_ENABLED": "false"}, ("dual.default.svc.cluster.local.", "AAAA"), []),
    ({"CLUSTER_DOMAIN": "mesh.test"}, ("plain.", "A"), ["10.96.2.3"]),
    ({"ISTIO_META_DNS_PROXY_ADDR": "127.0.0.1:15999"}, ("@127.0.0.1", "-p", "15999", "dual.", "A"), ["10.96.0.10"]),
])
def test_switches_change_what_is_answered(world, environment, question, expected):
    plain = {**service("plain", "10.96.2.3", {80: 80}), "hostname": "plain.default.svc.mesh.test"}
    here = {**world.model, "services": [*world.model["services"], shared_name("a", "10.96.2.1"), shared_name("b", "10.96.2.2"), plain]}
    name = "ztunnel-" + ("-".join(environment) or "plain")
    world.ztunnel = world.start(name, LOCAL_XDS=json.dumps(here), **environment)
    before = len(world.seen())
    assert world.short(*question) == expected
    assert len(world.seen()) == before
    world.ztunnel.stop()


def test_switched_off_it_listens_to_nothing(world):
    world.ztunnel = world.start("ztunnel-no-dns", ISTIO_META_DNS_CAPTURE="false")
    assert ":15053" not in world.client.run("ss", "-lntu")
    world.ztunnel.stop()


def test_alone_it_serves_names_and_no_traffic(world):
    world.ztunnel = world.start("ztunnel-only-dns", ENABLE_PROXY="false")
    assert world.short("dual.default.svc.cluster.local.") == ["10.96.0.10"]
    listening = world.client.run("ss", "-lntu")
    assert ":15053" in listening and ":15001" not in listening
    world.ztunnel.stop()


def test_a_port_that_is_taken_stops_the_start_with_one_sentence(world):
    holder = Program("holder", ["/usr/bin/python3", "-u", "-c", "import socket,time; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);"
                                "s.bind(('127.0.0.1',15053)); print('bound'); time.sleep(60)"], namespace=world.client)
    holder.wait_line("bound")
    refused = Ztunnel(world.client, world.model, world.authority.leaf(spiffe("client")), name="ztunnel-taken", captured=False, wait=False)
    wait_until(lambda: refused.program.process.poll() is not None, 15, "the end")
    assert refused.program.process.returncode == 1
    assert "DNS proxy: failed to bind to address 127.0.0.1:15053: Address already in use" in refused.program.text()
    holder.stop()
    world.ztunnel = None
