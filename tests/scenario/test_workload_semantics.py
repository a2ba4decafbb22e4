"""What the fields of workloads and services mean for a connection: a control plane on grpcio tells them, peers on python3-h2 see the result."""
import ipaddress
import json
import socket
import threading

import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.control_plane import ControlPlane, ip_bytes, make_service, make_workload
from tests.lab.messages import ADDRESS, AUTHORIZATION, discovery, workload
from tests.lab.process import PATIENCE, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel

CLIENT4, CLIENT6 = "10.77.1.10", "fd77:1::10"
ONE, TWO, THREE, PLAIN = "10.77.2.31", "10.77.2.32", "10.77.2.33", "10.77.2.34"
SIX = "fd77:2::31"
ADDRESSES = [ONE, TWO, THREE, PLAIN, SIX]
VIP, VIP6, OTHER_VIP = "10.96.77.80", "fd96::80", "10.96.77.81"
WEB = "default/web.default.svc.cluster.local"
LOAD_BALANCING = {"STRICT": 1, "FAILOVER": 2, "PASSTHROUGH": 3}
SCOPES = {"REGION": 1, "ZONE": 2, "SUBZONE": 3, "NODE": 4, "CLUSTER": 5, "NETWORK": 6}


class Sightings:
    """Who was reached: (address, "hbone", authority) or (address, "tcp", port)."""

    def __init__(self):
        self.seen = []
        self.headers = []

    def __call__(self, connection, stream_id, headers):
        self.seen.append((connection.sock.getsockname()[0], "hbone", headers[":authority"]))
        self.headers.append(headers)
        connection.h2.send_headers(stream_id, [(":status", "200")])
        connection.h2.send_data(stream_id, b"hello", end_stream=True)
        connection.flush()


class World:
    def __init__(self):
        topology = self.topology = Topology(2)
        self.client = topology.add_pod("n1", "client", CLIENT4, CLIENT6)
        self.server = topology.add_pod("n2", "server", *ADDRESSES)
        self.plane = self.client.inside(ControlPlane)
        authority = Authority()
        self.sightings = Sightings()
        listener = self.server.inside(lambda: self.listen(15008))
        names = [spiffe(name) for name in ("one", "two", "three", "plain", "six", "waypoint")]
        self.h2 = hbone.Server(None, authority.leaf(*names), self.sightings, listener=listener)
        for port in (80, 8080):
            self.serve(port)
        self.plane.resources[ADDRESS] = dict([self.own()])
        self.ztunnel = Ztunnel(self.client, {}, authority.leaf(spiffe("client")), environment={
            "LOCAL_XDS": "", "XDS_ADDRESS": f"http://127.0.0.1:{self.plane.port}", "XDS_ROOT_CA": authority.root,
            "ZTUNNEL_WORKER_THREADS": "1", "NODE_NAME": "n1"})
        self.plane.wait(lambda p: p.answers(ADDRESS) and p.answers(AUTHORIZATION))

    @staticmethod
    def own():
        name, message = make_workload("client", [CLIENT4, CLIENT6])
        message.workload.locality.region, message.workload.locality.zone = "r1", "z1"
        return name, message

    @staticmethod
    def listen(port):
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)

    def serve(self, port):
        listener = self.server.inside(lambda: self.listen(port))

        def answer():
            while True:
                connection, _ = listener.accept()
                self.sightings.seen.append((connection.getsockname()[0], "tcp", port))
                connection.sendall(b"hello")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()

    def push(self, updates, removed=(), type_url=ADDRESS):
        answered = len(self.plane.answers(type_url))
        stream = next(s for s in self.plane.streams if s.is_open)
        stream.send(self.plane.response(type_url, updates, removed))
        self.plane.wait(lambda p: len(p.answers(type_url)) > answered)
        return self.plane.answers(type_url)[-1]

    def apply(self, *resources):
        """These besides the client itself, and no others."""
        wanted = dict([*resources])
        gone = [name for name in self.plane.resources[ADDRESS] if name not in wanted]
        self.plane.resources[ADDRESS] = wanted
        return self.push({**wanted, **dict([self.own()])}, [name for name in gone if name != self.own()[0]])

    def reached(self, address, port=80):
        """(where, how, what) of one connection; None when it is refused."""
        before = len(self.sightings.seen)
        try:
            with self.client.inside(lambda: socket.create_connection((address, port), 20 * PATIENCE)) as connection:
                connection.settimeout(20 * PATIENCE)
                data = connection.recv(100)
        except OSError:
            return None
        if not data:
            return None
        where, how, what = self.sightings.seen[before]
        return str(getattr(ipaddress.ip_address(where), "ipv4_mapped", None) or where), how, what

    def everybody(self, address, port=80, tries=24):
        return {r and r[0] for r in (self.reached(address, port) for _ in range(tries))}

    def dump(self):
        return self.ztunnel.config_dump()

    def stop(self):
        self.h2.stop()
        self.ztunnel.stop()
        self.plane.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


def pod(name, ip, services=({WEB: {80: 8080}}), locality=None, capacity=None, **fields):
    uid, message = make_workload(name, ip, services=services, **fields)
    for scope, value in (locality or {}).items():
        setattr(message.workload.locality, scope, value)
    if capacity is not None:
        message.workload.capacity.SetInParent()
        message.workload.capacity.value = capacity
    return uid, message


def web(vip=VIP, ports=None, mode=None, preferences=(), allow_all=False, name="web", **fields):
    key, message = make_service(name, vip, ports or {80: 8080})
    service = message.service
    if mode or preferences or allow_all:
        service.load_balancing.mode = LOAD_BALANCING.get(mode, 0)
        service.load_balancing.routing_preference.extend(SCOPES[p] for p in preferences)
        service.load_balancing.health_policy = int(allow_all)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(service, field).extend(value)
        else:
            setattr(service, field, value)
    return f"{service.namespace}/{service.hostname}", message


def waypoint(message, kind, address, port=15008):
    target = getattr(message, kind).waypoint
    if "/" in address:
        target.hostname.namespace, target.hostname.hostname = address.split("/", 1)
    else:
        target.address.address = ip_bytes(address)
    target.hbone_mtls_port = port
    return message


NEAR, SAME_REGION, FAR = {"region": "r1", "zone": "z1"}, {"region": "r1", "zone": "z2"}, {"region": "r2", "zone": "z1"}
BALANCED = {
    "all healthy endpoints alike": ([web(), pod("one", ONE), pod("two", TWO)], {ONE, TWO}),
    "no weight, no traffic": ([web(), pod("one", ONE, capacity=0), pod("two", TWO)], {TWO}),
    "no weight anywhere": ([web(), pod("one", ONE, capacity=0)], {None}),
    "unhealthy": ([web(), pod("one", ONE, status=1), pod("two", TWO)], {TWO}),
    "nobody healthy": ([web(), pod("one", ONE, status=1)], {None}),
    "unhealthy wanted": ([web(allow_all=True), pod("one", ONE, status=1), pod("two", TWO)], {ONE, TWO}),
    "FAILOVER takes the nearest": (
        [web(mode="FAILOVER", preferences=["REGION", "ZONE"]), pod("one", ONE, locality=NEAR), pod("two", TWO, locality=SAME_REGION),
         pod("three", THREE, locality=FAR)], {ONE}),
    "FAILOVER goes further": (
        [web(mode="FAILOVER", preferences=["REGION", "ZONE"]), pod("one", ONE, status=1, locality=NEAR), pod("two", TWO, locality=SAME_REGION),
         pod("three", THREE, locality=FAR)], {TWO}),
    "FAILOVER does not skip": (
        [web(mode="FAILOVER", preferences=["REGION", "ZONE"]), pod("two", TWO, locality=FAR), pod("three", THREE)], {TWO, THREE}),
    "FAILOVER by node": ([web(mode="FAILOVER", preferences=["NODE"]), pod("one", ONE), pod("two", TWO, node="n2")], {ONE}),
    "FAILOVER by cluster": ([web(mode="FAILOVER", preferences=["CLUSTER"]), pod("one", ONE, cluster_id="c2"), pod("two", TWO)], {TWO}),
    "FAILOVER without weight where it is nearest": (
        [web(mode="FAILOVER", preferences=["REGION"]), pod("one", ONE, locality=NEAR, capacity=0), pod("two", TWO)], {None}),
    "STRICT": ([web(mode="STRICT", preferences=["NODE"]), pod("one", ONE, node="n2"), pod("two", TWO)], {TWO}),
    "STRICT with nobody near": ([web(mode="STRICT", preferences=["NODE"]), pod("one", ONE, node="n2")], {None}),
    "STRICT without preferences": ([web(mode="STRICT"), pod("one", ONE, node="n2")], {ONE}),
    "preferences without a mode": ([web(preferences=["NODE"]), pod("one", ONE, node="n2"), pod("two", TWO)], {ONE, TWO}),
}


@pytest.mark.parametrize("name", BALANCED)
def test_load_balancing(world, name):
    resources, expected = BALANCED[name]
    world.apply(*resources)
    assert world.everybody(VIP) == expected


def test_no_endpoint_is_an_error_and_a_line(world):
    world.apply(web(), pod("one", ONE, status=1))
    assert world.reached(VIP) is None
    line = world.ztunnel.access("\twarn\t", "connection failed", f'dst.addr={VIP}:80 direction="outbound" error="no healthy upstream: {VIP}:80"')
    assert "src.workload" not in line[0]


WAYS = {
    "HBONE": ([web(), pod("one", ONE)], (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "no tunnel": ([web(), pod("plain", PLAIN, hbone=False)], (VIP, 80), (PLAIN, "tcp", 8080)),
    "IPv6 to a pod of both families": ([web(vip=VIP6), pod("one", [ONE, SIX])], (VIP6, 80), (SIX, "hbone", f"[{SIX}]:8080")),
    "IPv6 to a pod of IPv4": ([web(vip=VIP6), pod("one", ONE)], (VIP6, 80), (ONE, "hbone", f"{ONE}:8080")),
    "IPv6 to a service of IPv4 only": ([web(vip=VIP6, ip_families=1), pod("one", [SIX, ONE])], (VIP6, 80), (ONE, "hbone", f"{ONE}:8080")),
    "IPv4 to a service of IPv6 only": ([web(ip_families=2), pod("one", [ONE, SIX])], (VIP, 80), (SIX, "hbone", f"[{SIX}]:8080")),
    "an address of the pod itself": ([pod("one", [ONE, TWO], services={})], (TWO, 9999), (TWO, "hbone", f"{TWO}:9999")),
    "the endpoint's own port": ([web(), pod("one", ONE, services={WEB: {80: 7070}})], (VIP, 80), (ONE, "hbone", f"{ONE}:7070")),
    "a named port": ([web(ports={80: 0}), pod("one", ONE, services={WEB: {80: 7071}})], (VIP, 80), (ONE, "hbone", f"{ONE}:7071")),
    "a named port the endpoint has not": ([web(ports={80: 0}), pod("one", ONE, services={WEB: {}})], (VIP, 80), None),
    "a port the service has not": ([web(), pod("one", ONE)], (VIP, 81), None),
    "host network behind a service": ([web(), pod("one", ONE, network_mode=1)], (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "host network dialled directly": ([pod("one", ONE, services={}, network_mode=1)], (ONE, 8080), (ONE, "tcp", 8080)),
    "PASSTHROUGH": ([web(vip=PLAIN, ports={8080: 1}, mode="PASSTHROUGH"), pod("one", ONE)], (PLAIN, 8080), (PLAIN, "tcp", 8080)),
    "private to our namespace": ([web(visibility=1), pod("one", ONE)], (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "private to another": (
        [web(vip=PLAIN, ports={8080: 1}, visibility=1, namespace="elsewhere", hostname="x.elsewhere")], (PLAIN, 8080), (PLAIN, "tcp", 8080)),
    "an unknown visibility is public": ([web(visibility=9, namespace="elsewhere"), pod("one", ONE, services={"elsewhere/web.default.svc.cluster.local": {80: 8080}})],
                                        (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "names of the service are accepted": (
        [web(subject_alt_names=["no name", spiffe("two")]), pod("one", ONE, service_account="stranger")], (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "names of the service say nothing of a pod": ([web(subject_alt_names=[spiffe("two")]), pod("one", ONE, service_account="stranger")], (ONE, 80), None),
    "another trust domain is another name": ([pod("one", ONE, trust_domain="td2")], (ONE, 80), None),
}


@pytest.mark.parametrize("name", WAYS)
def test_how_a_target_is_reached(world, name):
    resources, (address, port), expected = WAYS[name]
    world.apply(*resources)
    assert world.reached(address, port) == expected


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_on_one_address_pods_then_hbone_win(world, order):
    entry = pod("vm", ONE, services={}, hbone=True)
    entry[1].workload.uid = "Kubernetes/networking.istio.io/WorkloadEntry/default/vm"
    pair = [("Kubernetes/networking.istio.io/WorkloadEntry/default/vm", entry[1]), pod("plain", ONE, services={}, hbone=False)]
    world.apply(*pair[::order])
    assert world.reached(ONE, 8080) == (ONE, "tcp", 8080)
    pair = [pod("plain", ONE, services={}, hbone=False), pod("one", ONE, services={})]
    world.apply(*pair[::order])
    assert world.reached(ONE, 8080) == (ONE, "hbone", f"{ONE}:8080")


def block(name, network, length, namespace="default", canonical=True):
    key, message = web(name=name, vip=network, canonical=canonical)
    message.service.namespace = namespace
    message.service.addresses[0].length = length
    return f"{namespace}/{message.service.hostname}", message


def test_blocks_of_addresses_the_closest_wins_and_one_address_before_any(world):
    def of(name, ip, namespace="default"):
        return pod(name, ip, services={f"{namespace}/{name}s.default.svc.cluster.local": {80: 8080}})

    world.apply(block("ones", "10.96.0.0", 16), block("twos", "10.96.77.0", 24), web(name="threes", vip=OTHER_VIP),
                of("one", ONE), of("two", TWO), of("three", THREE))
    assert world.reached("10.96.1.1")[0] == ONE
    assert world.reached("10.96.77.1")[0] == TWO
    assert world.reached(OTHER_VIP)[0] == THREE
    world.apply(block("ones", "10.96.0.0", 16), block("twos", "10.96.77.0", 24, namespace="elsewhere"), of("one", ONE), of("two", TWO, "elsewhere"))
    assert world.reached("10.96.77.1")[0] == ONE  # our own namespace before the closer block
    services = {service["name"]: service for service in world.dump()["services"]}
    assert services["ones"]["cidrVips"] == [{"network": "", "cidr": "10.96.0.0/16"}] and services["ones"]["vips"] == []


def test_of_two_services_on_one_address_our_namespace_then_the_canonical(world):
    def on_vip(name, namespace, canonical):
        key, message = web(name=name, canonical=canonical)
        message.service.namespace = namespace
        return f"{namespace}/{message.service.hostname}", message

    def of(name, ip, namespace):
        return pod(name, ip, services={f"{namespace}/{name}s.default.svc.cluster.local": {80: 8080}})

    world.apply(on_vip("ones", "default", False), on_vip("twos", "b", True), of("one", ONE, "default"), of("two", TWO, "b"))
    assert world.reached(VIP)[0] == ONE
    world.apply(on_vip("ones", "a", False), on_vip("twos", "b", True), of("one", ONE, "a"), of("two", TWO, "b"))
    assert world.reached(VIP)[0] == TWO


WAYPOINTS = "default/waypoints.default.svc.cluster.local"


def guarded(address):
    key, message = web()
    return key, waypoint(message, "service", address)


def guarded_pod(name, ip, address, **fields):
    uid, message = pod(name, ip, **fields)
    return uid, waypoint(message, "workload", address)


WAYPOINTED = {
    "a service's, by name": ([guarded(WAYPOINTS), web(name="waypoints", vip=OTHER_VIP, ports={15008: 15008}), pod("one", ONE),
                              pod("waypoint", TWO, services={WAYPOINTS: {15008: 15008}})], (VIP, 80), (TWO, "hbone", f"{VIP}:80")),
    "a service's, by a service's address": ([guarded(OTHER_VIP), web(name="waypoints", vip=OTHER_VIP, ports={15008: 15008}), pod("one", ONE),
                                             pod("waypoint", TWO, services={WAYPOINTS: {15008: 15008}})], (VIP, 80), (TWO, "hbone", f"{VIP}:80")),
    "a service's, by a pod's address": ([guarded(TWO), pod("one", ONE), pod("waypoint", TWO, services={})], (VIP, 80), (TWO, "hbone", f"{VIP}:80")),
    "a pod's is not for its service": ([web(), guarded_pod("one", ONE, TWO), pod("waypoint", TWO, services={})], (VIP, 80), (ONE, "hbone", f"{ONE}:8080")),
    "a pod's is for its address": ([web(), guarded_pod("one", ONE, TWO), pod("waypoint", TWO, services={})], (ONE, 7), (TWO, "hbone", f"{ONE}:7")),
    "a pod's, without a tunnel": ([guarded_pod("plain", PLAIN, TWO, hbone=False), pod("waypoint", TWO, services={})], (PLAIN, 7), (TWO, "hbone", f"{PLAIN}:7")),
    "of a PASSTHROUGH service": (
        [(web()[0], waypoint(web(mode="PASSTHROUGH")[1], "service", TWO)), pod("waypoint", TWO, services={})], (VIP, 80), (TWO, "hbone", f"{VIP}:80")),
    "by the name of a workload": ([guarded("default/waypoint.example"), pod("one", ONE), pod("waypoint", TWO, services={}, hostname="waypoint.example")],
                                  (VIP, 80), (TWO, "hbone", f"{VIP}:80")),
    "unknown by name": ([guarded("default/nowhere.example"), pod("one", ONE)], (VIP, 80), "unknown waypoint: waypoint nowhere.example not found"),
    "unknown by address": ([guarded(THREE), pod("one", ONE)], (VIP, 80), "unknown waypoint: waypoint "),
}


@pytest.mark.parametrize("name", WAYPOINTED)
def test_waypoints(world, name):
    resources, (address, port), expected = WAYPOINTED[name]
    world.apply(*resources)
    if isinstance(expected, str):
        assert world.reached(address, port) is None
        assert world.ztunnel.access("\twarn\t", "connection failed", f'error="{expected}')
    else:
        assert world.reached(address, port) == expected


NODE = "10.78.0.2"  # nothing listens there
FAILURES = {
    "another name": ([pod("stranger", ONE, services={})], (ONE, 80),
                     f"io error: identity verification error: peer did not present the expected SAN ({spiffe('stranger')}), got {spiffe('one')}"),
    "no HBONE there": ([pod("node", NODE, services={})], (NODE, 80), "io error: Connection refused (os error 111)"),
    "no server there": ([pod("node", NODE, services={}, hbone=False)], (NODE, 81), "io error: Connection refused (os error 111)"),
    "no server, nobody's workload": ([], (NODE, 82), "io error: Connection refused (os error 111)"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_fails_on_the_way_is_named(world, name):
    resources, (address, port), error = FAILURES[name]
    world.apply(*resources)
    assert world.reached(address, port) is None
    world.ztunnel.access("\terror\t", "connection complete", f'error="{error}')
    failed = [line for line in world.ztunnel.metrics().splitlines() if line.startswith("istio_tcp_connections_failed_total")]
    assert any('response_flags="CONNECT"' in line and f'destination_workload="{resources[0][0].rsplit("/", 1)[1] if resources else "unknown"}"' in line
               for line in failed)


def test_silence_is_a_timeout_that_names_the_usual_cause(world):
    world.server.run("nft", "add table inet hole; add chain inet hole in { type filter hook input priority 0; };"
                            "add rule inet hole in tcp dport { 15008, 83 } drop")
    world.apply(pod("three", THREE, services={}), pod("plain", PLAIN, services={}, hbone=False))
    with world.client.inside(lambda: socket.create_connection((THREE, 80), 30 * PATIENCE)) as tunnelled, \
            world.client.inside(lambda: socket.create_connection((PLAIN, 83), 30 * PATIENCE)) as plain:
        for connection in (tunnelled, plain):
            connection.settimeout(30 * PATIENCE)
            assert connection.recv(1) == b""
    line = world.ztunnel.access("\terror\t", 'error="connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: deadline has elapsed"')[0]
    assert f"dst.addr={THREE}:15008 dst.hbone_addr={THREE}:80" in line
    assert f"dst.addr={PLAIN}:83" in world.ztunnel.access("\terror\t", 'error="io error: deadline has elapsed"')[0]
    failed = [line for line in world.ztunnel.metrics().splitlines() if line.startswith("istio_tcp_connections_failed_total")]
    assert any('destination_workload="three"' in line and 'response_flags="NETWORK_POLICY"' in line for line in failed)
    assert any('destination_workload="plain"' in line and 'response_flags="CONNECT"' in line for line in failed)
    world.server.run("nft", "delete table inet hole")


# the state behind it


def test_workloads_wait_for_their_service_and_a_service_keeps_its_endpoints(world):
    world.apply(pod("one", ONE), pod("two", TWO, status=1))
    dump = world.dump()
    assert dump["stagedServices"][WEB] == {
        "Kubernetes//Pod/default/one": {"workloadUid": "Kubernetes//Pod/default/one", "port": {"80": 8080}, "status": "Healthy"},
        "Kubernetes//Pod/default/two": {"workloadUid": "Kubernetes//Pod/default/two", "port": {"80": 8080}, "status": "Unhealthy"}}
    world.push(dict([web()]))
    dump = world.dump()
    assert not dump["stagedServices"] and list(dump["services"][0]["endpoints"]) == ["Kubernetes//Pod/default/one"]
    world.push(dict([web(ports={80: 8080, 81: 8081})]))
    assert world.reached(VIP) == (ONE, "hbone", f"{ONE}:8080") and world.reached(VIP, 81) == (ONE, "hbone", f"{ONE}:8081")
    world.push({}, ["Kubernetes//Pod/default/one"])
    assert world.reached(VIP) is None


def test_removals_of_what_is_not_there_are_said_and_change_nothing(world):
    world.apply(web(), pod("one", ONE))
    answer = world.push({}, ["default/nobody.example", "no-slash", "Kubernetes//Pod/default/ghost"])
    assert not answer.HasField("error_detail")
    world.ztunnel.program.wait_line("\twarn\t", "tried to remove service, but it was not found")
    world.ztunnel.program.wait_line("\twarn\t", "no-slash")
    assert world.reached(VIP) == (ONE, "hbone", f"{ONE}:8080")


REJECTED = {
    "a key that is no name": (pod("broken", THREE, services={"noslash": {80: 80}}), "failed to parse namespaced hostname: noslash"),
    "an address of five bytes": (pod("broken", None, addresses=[b"12345"]), "failed to parse address, had 5 bytes"),
    "a gateway without a destination": (pod("broken", THREE), "nonempty gateway address is missing address"),
    "the old tunnel": (pod("broken", THREE, tunnel_protocol=2), "unknown enum: unsupported tunnel protocol: legacy istio mtls"),
    "a status": (pod("broken", THREE, status=7), "decode error: "),
    "a mode of the network": (pod("broken", THREE, network_mode=7), "decode error: "),
    "a preference of nothing": (web(name="broken", mode="STRICT"), "unknown enum: invalid target"),
    "a block too wide": (block("broken", "10.0.0.0", 33), "invalid cidr: "),
    "neither workload nor service": (("Kubernetes//Pod/default/broken", workload.Address()), "unknown address type"),
    "no protobuf": (("Kubernetes//Pod/default/broken", b"\x0a\xff"), "decode: "),
}
REJECTED["a gateway without a destination"][0][1].workload.waypoint.hbone_mtls_port = 15008
REJECTED["a preference of nothing"][0][1].service.load_balancing.routing_preference.append(0)


@pytest.mark.parametrize("name", REJECTED)
def test_what_is_rejected_is_named_with_the_reason_and_the_rest_applied(world, name):
    (key, message), reason = REJECTED[name]
    answer = world.apply(web(), pod("one", ONE), (key, message))
    assert answer.error_detail.code == 0 and answer.error_detail.message.startswith(f"{key}: {reason}"), answer
    assert world.reached(VIP) == (ONE, "hbone", f"{ONE}:8080")
    assert "broken" not in json.dumps(world.dump()["workloads"])
    world.ztunnel.program.wait_line("\terror\t", "sending response", "type=NACK", key)


def test_several_rejections_are_joined_and_an_empty_payload_has_its_own(world):
    first = REJECTED["a status"][0]
    response = world.plane.response(ADDRESS, dict([first]))
    response.resources.add(name="empty", version="1")
    answered = len(world.plane.answers(ADDRESS))
    next(s for s in world.plane.streams if s.is_open).send(response)
    world.plane.wait(lambda p: len(p.answers(ADDRESS)) > answered)
    message = world.plane.answers(ADDRESS)[-1].error_detail.message
    assert message.startswith(f"{first[0]}: decode error: ") and message.endswith("; empty: XDS payload without resource")


def test_an_unknown_type_is_said_and_acknowledged(world):
    stream = next(s for s in world.plane.streams if s.is_open)
    stream.send(discovery.DeltaDiscoveryResponse(type_url="type.googleapis.com/no.such.Type", nonce="odd"))
    wait_until(lambda: any(r.response_nonce == "odd" for r in stream.requests))
    answer = next(r for r in stream.requests if r.response_nonce == "odd")
    assert not answer.HasField("error_detail") and not answer.HasField("node")
    world.ztunnel.program.wait_line("unknown type")


def test_rare_fields_are_dumped_as_documented(world):
    uid, message = pod("rare", None, locality={"region": "r", "zone": "z"}, capacity=3, status=1, network_mode=1, native_tunnel=True,
                       network="net2", hostname="rare.example", workload_type=3, services={"d/s": {80: 0}})
    message.workload.network_gateway.address.network = "net2"
    message.workload.network_gateway.address.address = ip_bytes("192.168.0.1")
    message.workload.network_gateway.hbone_mtls_port = 15008
    message.workload.application_tunnel.protocol, message.workload.application_tunnel.port = 1, 15088
    plain_uid, plain = pod("tunnel", THREE, services={})
    plain.workload.application_tunnel.SetInParent()
    key, service = web(mode="FAILOVER", preferences=["NETWORK", "REGION", "ZONE"], allow_all=True, ip_families=3, visibility=1)
    weighted = service.service.weighted_waypoints.add(weight=10)
    weighted.destination.hostname.namespace, weighted.destination.hostname.hostname = "ns", "wp.example"
    weighted.destination.hbone_mtls_port = 15008
    world.apply((uid, message), (plain_uid, plain), (key, service))
    dump = world.dump()
    workloads = {w["uid"]: w for w in dump["workloads"]}
    assert workloads[uid] == {
        "workloadIps": [], "protocol": "HBONE", "networkMode": "HostNetwork", "name": "rare", "namespace": "default", "status": "Unhealthy",
        "clusterId": "Kubernetes", "capacity": 3, "uid": uid, "trustDomain": "cluster.local", "serviceAccount": "rare", "network": "net2",
        "workloadName": "rare", "workloadType": "job", "canonicalName": "rare", "canonicalRevision": "latest", "hostname": "rare.example",
        "node": "n1", "nativeTunnel": True, "applicationTunnel": {"protocol": "PROXY", "port": 15088},
        "networkGateway": {"destination": "net2/192.168.0.1", "hboneMtlsPort": 15008},
        "locality": {"region": "r", "zone": "z", "subzone": ""}, "services": ["d/s"]}
    assert workloads[plain_uid]["applicationTunnel"] == {"protocol": "NONE", "port": None}
    shown = dump["services"][0]
    assert shown["loadBalancer"] == {"routingPreferences": ["Network", "Region", "Zone"], "mode": "Failover", "healthPolicy": "AllowAll"}
    assert shown["ipFamilies"] == "Dual" and shown["visibility"] == "Namespace"
    assert shown["weightedWaypoints"] == [{"destination": {"destination": "ns/wp.example", "hboneMtlsPort": 15008}, "weight": 10}]
