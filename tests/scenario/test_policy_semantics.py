"""What authorization policies mean, told by a control plane and seen by clients: every field and its negation, families, empty shapes, the
order of DENY, ALLOW and dry runs, for HBONE and plaintext, new connections and old ones."""
import contextlib
import ipaddress
import socket
import threading

import h2.events
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.control_plane import ControlPlane, make_workload
from tests.lab.messages import ADDRESS, AUTHORIZATION, authorization
from tests.lab.process import PATIENCE, wait_until
from tests.lab.tcp_peer import read_to_end
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel

SERVER4, SERVER6 = "10.77.2.20", "fd77:2::20"
CLIENT4, CLIENT6, OTHER = "10.77.1.10", "fd77:1::10", "10.77.1.11"
WEB, ADMIN = 8080, 9090
CANCEL = 8


def policy(name, action, *rules, namespace="default", scope="NAMESPACE", dry_run=False):
    """`rules`: lists of clauses, which are lists of matches {field: values}; text values are ("exact", "x"), addresses "10.0.0.0/8"."""
    message = authorization.Authorization(name=name, namespace=namespace, dry_run=dry_run)
    message.action = {"ALLOW": 0, "DENY": 1}[action]
    message.scope = {"GLOBAL": 0, "NAMESPACE": 1, "WORKLOAD_SELECTOR": 2}[scope]
    for rule in rules:
        group = message.groups.add()
        for clause in rule:
            matches = group.rules.add().matches
            for fields in clause:
                fill(matches.add(), fields)
    return f"{namespace}/{name}", message


def fill(match, fields):
    for field, values in fields.items():
        items = getattr(match, field)
        for value in values:
            if field.endswith("_ports"):
                items.append(value)
            elif field.endswith("_ips"):
                network = ipaddress.ip_network(value)
                items.add(address=network.network_address.packed, length=network.prefixlen)
            elif field.endswith("service_accounts"):
                items.add(namespace=value[0], service_account=value[1])
            elif value[0] == "presence":
                items.add().presence.SetInParent()
            else:
                setattr(items.add(), *value)


def one(**fields):
    """A rule of one clause of one match."""
    return [[fields]]


class World:
    def __init__(self):
        topology = self.topology = Topology(2)
        self.client = topology.add_pod("n1", "client", CLIENT4, CLIENT6)
        self.other = topology.add_pod("n1", "other", OTHER)
        self.server = topology.add_pod("n2", "server", SERVER4, SERVER6)
        self.plane = self.server.inside(ControlPlane)
        self.plane.resources[ADDRESS] = dict([
            make_workload("server", [SERVER4, SERVER6], authorization_policies=["default/selected", "default/unheard-of"]),
            make_workload("client", [CLIENT4, CLIENT6]), make_workload("other", OTHER, namespace="elsewhere")])
        authority = Authority()
        self.ztunnel = Ztunnel(self.server, {}, authority.leaf(spiffe("server")), environment={
            "LOCAL_XDS": "", "XDS_ADDRESS": f"http://127.0.0.1:{self.plane.port}", "XDS_ROOT_CA": authority.root,
            "AUTHZ_POLICY_INFO_LOGGING": "true"})
        self.plane.wait(lambda p: p.answers(AUTHORIZATION))
        for port in (WEB, ADMIN):
            self.serve(port)
        mine, elsewhere = authority.leaf(spiffe("client")), authority.leaf(spiffe("other", "elsewhere"))
        self.tunnels = {
            "client": (self.tunnel(self.client, SERVER4, mine), SERVER4), "client6": (self.tunnel(self.client, SERVER6, mine), f"[{SERVER6}]"),
            "other": (self.tunnel(self.other, SERVER4, elsewhere), SERVER4)}
        self.plaintext = {"plain": (self.client, SERVER4), "plain6": (self.client, SERVER6), "plain-other": (self.other, SERVER4)}

    def tunnel(self, pod, address, leaf):
        return pod.inside(lambda: hbone.Client((address, 15008), leaf))

    def serve(self, port):
        listener = self.server.inside(lambda: socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64))

        def converse(connection):
            with contextlib.suppress(OSError):  # who is refused may be gone already
                connection.sendall(b"hello")
                connection.recv(100)
            connection.close()

        def answer():
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

        threading.Thread(target=answer, daemon=True).start()

    def apply(self, *policies):
        """These policies and no others."""
        wanted = dict(policies)
        known = self.plane.resources[AUTHORIZATION]
        gone = [name for name in known if name not in wanted]
        self.plane.resources[AUTHORIZATION] = wanted
        answered = len(self.plane.answers(AUTHORIZATION))
        stream = next(s for s in self.plane.streams if s.is_open)
        stream.send(self.plane.response(AUTHORIZATION, wanted, gone))
        self.plane.wait(lambda p: len(p.answers(AUTHORIZATION)) > answered)
        return self.plane.answers(AUTHORIZATION)[-1]

    def is_allowed(self, who, port=WEB):
        if who in self.plaintext:
            pod, address = self.plaintext[who]
            with pod.inside(lambda: socket.create_connection((address, port), 20 * PATIENCE)) as connection:
                connection.settimeout(20 * PATIENCE)
                try:
                    return connection.recv(100) == b"hello"
                except ConnectionResetError:
                    return False
        tunnel, address = self.tunnels[who]
        stream = tunnel.connect(f"{address}:{port}")
        status = tunnel.response(stream)[":status"]
        assert status in ("200", "401")
        if status == "200":
            tunnel.h2.end_stream(stream)
            tunnel.flush()
        return status == "200"

    def allowed(self, *ports):
        """Everybody who gets through to the port."""
        everybody = [*self.tunnels, *self.plaintext]
        return {who if port == WEB else f"{who}:{port}" for port in ports or (WEB,) for who in everybody if self.is_allowed(who, port)}

    def stop(self):
        for tunnel, _ in self.tunnels.values():
            tunnel.close()
        self.ztunnel.stop()
        self.plane.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


HBONE = {"client", "client6", "other"}
PLAINTEXT = {"plain", "plain6", "plain-other"}
EVERYBODY = HBONE | PLAINTEXT
FIELDS = {
    "namespaces": ({"namespaces": [("exact", "elsewhere")]}, {"other"}),
    "namespaces of several": ({"namespaces": [("prefix", "else"), ("suffix", "fault")]}, HBONE),
    "namespaces present": ({"namespaces": [("presence",)]}, HBONE),
    "not_namespaces": ({"not_namespaces": [("exact", "default")]}, {"other"} | PLAINTEXT),
    "principals": ({"principals": [("exact", "cluster.local/ns/default/sa/client")]}, {"client", "client6"}),
    "principals with the scheme": ({"principals": [("exact", "spiffe://cluster.local/ns/default/sa/client")]}, set()),
    "principals by prefix": ({"principals": [("prefix", "cluster.local/ns/elsewhere/")]}, {"other"}),
    "principals by suffix": ({"principals": [("suffix", "/sa/other")]}, {"other"}),
    "principals present": ({"principals": [("presence",)]}, HBONE),
    "an empty prefix is for identities only": ({"principals": [("prefix", "")]}, HBONE),
    "an empty namespace is for plaintext": ({"namespaces": [("exact", "")]}, PLAINTEXT),
    "not_principals": ({"not_principals": [("suffix", "/sa/other")]}, EVERYBODY - {"other"}),
    "not_principals present": ({"not_principals": [("presence",)]}, PLAINTEXT),
    "service_accounts": ({"service_accounts": [("elsewhere", "other"), ("default", "nobody")]}, {"other"}),
    "service_accounts of the wrong namespace": ({"service_accounts": [("default", "other")]}, set()),
    "not_service_accounts": ({"not_service_accounts": [("elsewhere", "other")]}, EVERYBODY - {"other"}),
    "source_ips": ({"source_ips": [f"{OTHER}/32"]}, {"other", "plain-other"}),
    "source_ips by block": ({"source_ips": ["10.77.1.0/28"]}, EVERYBODY - {"client6", "plain6"}),
    "source_ips of IPv6": ({"source_ips": ["fd77:1::/64"]}, {"client6", "plain6"}),
    "all of IPv4": ({"source_ips": ["0.0.0.0/0"]}, EVERYBODY - {"client6", "plain6"}),
    "all of IPv6": ({"source_ips": ["::/0"]}, {"client6", "plain6"}),
    "not_source_ips": ({"not_source_ips": ["10.0.0.0/8"]}, {"client6", "plain6"}),
    "destination_ips": ({"destination_ips": [f"{SERVER6}/128"]}, {"client6", "plain6"}),
    "not_destination_ips": ({"not_destination_ips": [f"{SERVER6}/128"]}, EVERYBODY - {"client6", "plain6"}),
    "fields of a match all have to hold": (
        {"source_ips": ["0.0.0.0/0"], "not_source_ips": [f"{OTHER}/32"], "principals": [("presence",)], "destination_ports": [WEB]}, {"client"}),
    "a match without fields is met by nobody": ({}, set()),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_decides_who_is_meant(world, name):
    fields, meant = FIELDS[name]
    world.apply(policy("p", "ALLOW", one(**fields)))
    assert world.allowed() == meant
    world.apply(policy("p", "DENY", one(**fields)))
    assert world.allowed() == EVERYBODY - meant


STRICT = {"not_principals": [("presence",)]}
SHAPES = {
    "no policy": ([], EVERYBODY),
    "ALLOW without rules": ([policy("p", "ALLOW")], set()),
    "DENY without rules": ([policy("p", "DENY")], EVERYBODY),
    "a rule without clauses": ([policy("p", "DENY", [])], set()),
    "a clause without matches": ([policy("p", "DENY", [[]])], set()),
    "a match without fields beside one that holds": ([policy("p", "ALLOW", [[{}, {"namespaces": [("exact", "elsewhere")]}]])], {"other"}),
    "clauses all have to hold": (
        [policy("p", "ALLOW", [[{"principals": [("presence",)]}], [{"source_ips": ["::/0"]}]])], {"client6"}),
    "matches and rules are alternatives": (
        [policy("p", "ALLOW", [[{"source_ips": ["::/0"]}, {"namespaces": [("exact", "elsewhere")]}]], one(namespaces=[("exact", "")]))],
        {"client6", "other"} | PLAINTEXT),
    "DENY wins over ALLOW": ([policy("a", "ALLOW", []), policy("d", "DENY", one(source_ips=[f"{OTHER}/32"]))], EVERYBODY - {"other", "plain-other"}),
    "one ALLOW of several is enough": (
        [policy("a", "ALLOW", one(namespaces=[("exact", "elsewhere")])), policy("b", "ALLOW", one(namespaces=[("exact", "")]))],
        {"other"} | PLAINTEXT),
    "a dry DENY denies nobody": ([policy("p", "DENY", [], dry_run=True)], EVERYBODY),
    "a dry ALLOW shuts nobody out": ([policy("p", "ALLOW", dry_run=True)], EVERYBODY),
    "a dry ALLOW lets nobody in": ([policy("p", "ALLOW", [], dry_run=True), policy("q", "ALLOW", one(namespaces=[("exact", "elsewhere")]))], {"other"}),
    "of another namespace": ([policy("p", "DENY", [], namespace="elsewhere")], EVERYBODY),
    "global": ([policy("p", "DENY", one(**STRICT), namespace="istio-system", scope="GLOBAL")], HBONE),
    "selected by name": ([policy("selected", "DENY", one(**STRICT), scope="WORKLOAD_SELECTOR")], HBONE),
    "selected for others": ([policy("unselected", "DENY", [], scope="WORKLOAD_SELECTOR")], EVERYBODY),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_precedence(world, name):
    policies, allowed = SHAPES[name]
    world.apply(*policies)
    assert world.allowed() == allowed


def test_a_port_exception_to_strict_opens_that_port_only(world):
    world.apply(policy("p", "DENY", [[STRICT], [{"not_destination_ports": [ADMIN]}]]))
    assert world.allowed(WEB, ADMIN) == HBONE | {f"{who}:{ADMIN}" for who in EVERYBODY}


@pytest.mark.parametrize("port", [15001, 15006])
def test_plaintext_to_the_proxys_own_ports_ends_before_any_policy(world, port):
    world.apply()
    assert not world.is_allowed("plain", port)
    line = world.ztunnel.access("\twarn\t", "connection failed", f'dst.addr={SERVER4}:{port} direction="inbound"')[-1]
    assert line.endswith('error="attempted recursive call to ourselves"')


def test_the_reasons_are_said(world):
    world.apply(policy("d", "DENY", one(namespaces=[("exact", "elsewhere")])), policy("a", "ALLOW", one(destination_ports=[ADMIN])))
    assert not world.is_allowed("other") and not world.is_allowed("client")
    prefix = 'error="connection closed due to policy rejection: '
    assert world.ztunnel.access(prefix + 'explicitly denied by: default/d"', 'direction="inbound"', "bytes_sent=0 bytes_recv=0")
    assert world.ztunnel.access(prefix + 'allow policies exist, but none allowed"', f"dst.hbone_addr={SERVER4}:{WEB}")
    log = world.ztunnel.program
    log.wait_line("\twarn\t", "skipping unknown policy")
    for text in ("deny policy match", "no allow policies matched"):
        log.wait_line("\tinfo\t", text)  # not debug: AUTHZ_POLICY_INFO_LOGGING


def test_dry_runs_are_said(world):
    world.apply(policy("d", "DENY", [], dry_run=True), policy("a", "ALLOW", one(destination_ports=[WEB]), dry_run=True))
    assert world.is_allowed("client") and world.is_allowed("client", ADMIN)
    for text in ("dry-run: deny policy match\tpolicy=\"default/d\"", "dry-run: allow policy match\tpolicy=\"default/a\"", "dry-run: no allow policies match",
                 "no allow policies, allow"):
        world.ztunnel.program.wait_line("\tinfo\t", text)
    world.apply()
    for name in "d", "a":
        world.ztunnel.program.wait_line("\tinfo\t", f"handling RBAC update default/{name}")
        world.ztunnel.program.wait_line("\tinfo\t", f"handling RBAC delete default/{name}")


def test_what_lives_is_cut_when_a_policy_comes_and_its_neighbours_go_on(world):
    world.apply()
    tunnel, address = world.tunnels["client"]
    cut, kept = tunnel.open(f"{address}:{WEB}"), tunnel.open(f"{address}:{ADMIN}")
    plain = world.client.inside(lambda: socket.create_connection((SERVER4, WEB), 20 * PATIENCE))
    assert plain.recv(100) == b"hello"
    world.apply(policy("late", "DENY", one(destination_ports=[WEB])))
    reset = tunnel.wait_for(lambda e: isinstance(e, h2.events.StreamReset) and e.stream_id == cut)
    assert reset.error_code == CANCEL
    assert read_to_end(plain, 20 * PATIENCE)[0] == b""
    wait_until(lambda: len(world.ztunnel.program.lines('error="connection closed due to policy change"')) >= 2)
    world.ztunnel.program.wait_line("closed because it's no longer allowed after a policy update")
    tunnel.send_data(kept, b"more", end=True)
    tunnel.wait_for(lambda e: isinstance(e, h2.events.StreamEnded) and e.stream_id == kept)
    metrics = world.ztunnel.metrics()
    assert 'response_flags="DENY",connection_security_policy="mutual_tls"' in metrics
    assert 'response_flags="DENY",connection_security_policy="unknown"' in metrics


@pytest.mark.parametrize("broken, allow, deny", [
    ("prefix beyond the address", set(), EVERYBODY - {"other"}), ("address of seven bytes", set(), EVERYBODY - {"other"}),
    ("text without a kind", set(), EVERYBODY - {"other"})])
def test_what_cannot_be_read_only_denies_more(world, broken, allow, deny):
    """Our own rule: in ALLOW such a match holds for nobody, in DENY its readable part decides."""
    for action, expected in (("ALLOW", allow), ("DENY", deny)):
        name, message = policy("p", action, one(not_namespaces=[("exact", "default"), ("exact", "")]))
        match = message.groups[0].rules[0].matches[0]
        if broken == "text without a kind":
            match.principals.add()
        else:
            match.source_ips.add(address=bytes(4 if "prefix" in broken else 7), length=33)
        assert not world.apply((name, message)).HasField("error_detail")
        assert world.allowed() == expected
