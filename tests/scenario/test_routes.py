"""Where connections go: other networks through east-west gateways, waypoints, application tunnels; peers on python3-h2."""
import os
import socket
import tempfile
import threading

import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.east_west import Gateway
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.tcp_peer import exchange, read_to_end, stream
from tests.lab.topology import Topology, run_directory
from tests.lab.ztunnel import Ztunnel, workload

CLIENT, OUTSIDE, UNWANTED = "10.77.1.10", "10.77.1.11", "10.77.1.12"
GATEWAY, FAR, FAR_PEER, WAYPOINT, CANARY, TUNNELLED = (f"10.77.2.{n}" for n in (40, 41, 42, 43, 44, 45))
VIPS = {name: f"10.96.77.{n}" for n, name in enumerate(
    ["far", "far-peer", "by-host", "wrong", "nameless", "refusing", "guarded", "split", "passing", "far-guarded", "sandwiched"], 50)}
SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")


def host(name):
    return f"{name}.default.svc.cluster.local"


def key(name):
    return f"default/{host(name)}"


def service(name, ports, **fields):
    vips = [f"net1/{VIPS[name]}"] if name in VIPS else []
    return {"name": name, "namespace": "default", "hostname": host(name), "vips": vips, "ports": ports, **fields}


def split_horizon(name, gateway, port=15008, **fields):
    """An endpoint of service `name` on net2, known only by its gateway."""
    return {"uid": f"net2/SplitHorizonWorkload/{name}", "name": name, "namespace": "default", "serviceAccount": "", "trustDomain": "cluster.local",
            "workloadIps": [], "protocol": "HBONE", "network": "net2", "services": {key(name): {80: 8080}},
            "networkGateway": {"destination": gateway, "hboneMtlsPort": port}, **fields}


class Waypoint(hbone.EchoHandler):
    """Echoes, and remembers what it was asked for."""

    def __init__(self):
        self.requests = []

    def __call__(self, connection, stream_id, headers):
        self.requests.append(headers)
        super().__call__(connection, stream_id, headers)


class Routes:
    def __init__(self):
        topology = self.topology = Topology(2)
        add = topology.add_pod
        self.client, self.outside = add("n1", "client", CLIENT), add("n1", "outside", OUTSIDE, UNWANTED)
        self.gateway, self.far, self.far_peer = add("n2", "gateway", GATEWAY), add("n2", "far", FAR), add("n2", "farpeer", FAR_PEER)
        self.waypoint, self.canary = add("n2", "waypoint", WAYPOINT), add("n2", "canary", CANARY)
        self.tunnelled = add("n2", "tunnelled", TUNNELLED)
        self.authority = Authority()
        self.revocations = os.path.join(tempfile.mkdtemp(dir=run_directory()), "crl.pem")
        self.certificates = {}
        self._start_peers()
        self.out = Ztunnel(self.client, self.model_of_net1(), self.leaf("client"), environment={
            "ZTUNNEL_WORKER_THREADS": "1", "NETWORK": "net1", "CRL_PATH": self.revocations})
        self.far_proxy = Ztunnel(self.far, self.model_of_net2(), self.leaf("far"), captured=False, environment={"NETWORK": "net2"})
        self.tunnel_proxy = Ztunnel(self.tunnelled, self.model_of_tunnel(), self.leaf("tunnelled"), captured=True,
                                    environment={"NETWORK": "net1", "ENABLE_RESPONSE_BAGGAGE": "false"})
        self.application = Program("far-application", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", 8080, "echo"],
                                   namespace=self.far)
        self.application.wait_line("listening")

    def leaf(self, account):
        return self.authority.leaf(spiffe(account))

    def serve(self, pod, account, handler):
        listener = pod.inside(lambda: socket.create_server((pod.address, 15008), backlog=64))
        leaf = self.leaf(account)
        self.certificates[account] = leaf[0]
        return hbone.Server(None, leaf, handler, listener=listener)

    def _start_peers(self):
        far, far_peer = (self.far, (FAR, 15008)), (self.far_peer, (FAR_PEER, 15008))
        self.east_west = Gateway({f"{host('far')}:80": far, f"{host('by-host')}:80": far, f"{host('far-peer')}:80": far_peer,
                                  f"{host('wrong')}:80": far_peer, f"{host('nameless')}:80": far_peer,
                                  f"{host('far-guarded')}:80": far_peer, f"{host('refusing')}:80": "503"})
        self.inner, self.proxy, self.other = Waypoint(), Waypoint(), Waypoint()
        self.servers = [self.serve(self.gateway, "gateway", self.east_west), self.serve(self.far_peer, "far-peer", self.inner),
                        self.serve(self.waypoint, "waypoint", self.proxy), self.serve(self.canary, "canary", self.other)]

    def model_of_net1(self):
        by_address, by_host = f"net2/{GATEWAY}", key("east-west")
        waypoint = {"destination": f"net1/{WAYPOINT}", "hboneMtlsPort": 15008}
        weighted = [{"destination": waypoint, "weight": 1},
                    {"destination": {"destination": f"net1/{CANARY}", "hboneMtlsPort": 15008}, "weight": 1}]
        far_names = {"subjectAltNames": [spiffe("far")]}
        peer_names = {"subjectAltNames": [spiffe("far-peer")]}
        on = {"network": "net1"}
        return {
            "workloads": [
                workload(self.client, **on), workload(self.outside, **on), workload(self.tunnelled, **on, waypoint=waypoint),
                workload(self.waypoint, {key("waypoints"): {15008: 15008}}, **on), workload(self.canary, **on),
                workload(self.gateway, {key("east-west"): {15009: 15008}}, network="net2"),
                split_horizon("far", by_address), split_horizon("by-host", by_host, 15009), split_horizon("far-peer", by_address),
                split_horizon("wrong", by_address), split_horizon("nameless", by_address), split_horizon("refusing", by_address),
                split_horizon("far-waypoints", by_address, services={key("far-waypoints"): {15008: 15008}}),
            ],
            "services": [
                service("far", {80: 8080}, **far_names), service("by-host", {80: 8080}, **far_names),
                service("far-peer", {80: 8080}, **peer_names), service("wrong", {80: 8080}, **far_names), service("nameless", {80: 8080}),
                service("refusing", {80: 8080}, **far_names), service("east-west", {15009: 15008}),
                service("guarded", {80: 8080}, waypoint={"destination": key("waypoints"), "hboneMtlsPort": 15008}),
                service("waypoints", {15008: 15008}),
                service("split", {80: 8080}, weightedWaypoints=weighted),
                service("far-waypoints", {15008: 15008}, **peer_names),
                service("far-guarded", {80: 8080}, waypoint={"destination": key("far-waypoints"), "hboneMtlsPort": 15008}),
            ],
        }

    def model_of_net2(self):
        return {"workloads": [workload(self.far, {key("far"): {80: 8080}, key("by-host"): {80: 8080}}, network="net2",
                                       workloadType="deployment", locality={"region": "r2", "zone": "z2", "subzone": ""})],
                "services": [service("far", {80: 8080}), service("by-host", {80: 8080})]}

    def model_of_tunnel(self):
        tunnel = {"protocol": "PROXY", "port": 15088}
        denied = {"name": "not-the-tunnel", "namespace": "default", "scope": "Namespace", "action": "Deny", "dryRun": False,
                  "rules": [[[{"sourceIps": [f"{UNWANTED}/32"]}], [{"destinationPorts": [15088]}]]]}
        return {"workloads": [workload(self.outside, network="net1"),
                              workload(self.tunnelled, {key("sandwiched"): {80: 8080}}, network="net1", applicationTunnel=tunnel)],
                "services": [service("sandwiched", {80: 8080})], "policies": [denied]}

    def dial(self, name, port=80):
        address = VIPS.get(name, name)
        return self.client.inside(lambda: socket.create_connection((address, port), 20 * PATIENCE))

    def stop(self):
        for program in (self.out, self.far_proxy, self.tunnel_proxy):
            program.stop()
        for server in self.servers:
            server.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def routes():
    routes = Routes()
    yield routes
    routes.stop()


def refused(connection):
    connection.settimeout(20 * PATIENCE)
    data, end = read_to_end(connection, 20 * PATIENCE)
    return data == b"" and end in ("fin", "rst")


# other networks


@pytest.mark.parametrize("name", ["far", "by-host"])
def test_another_network_is_reached_through_its_gateway_and_the_proxy_behind_it(routes, name):
    with routes.dial(name) as connection:
        assert exchange(connection, b"hello over there") == b"hello over there"
        port = connection.getsockname()[1]
    assert routes.east_west.authorities[-1] == f"{host(name)}:80"
    line = routes.out.access(f"src.addr={CLIENT}:{port} ", "connection complete")[-1]
    assert f"dst.addr={GATEWAY}:15008 dst.hbone_addr={host(name)}:80 " in line
    assert f'dst.service="{host(name)}"' in line and 'dst.workload="far" dst.namespace="default"' in line
    assert f'dst.identity="{spiffe("far")}"' in line and " error=" not in line
    inner = routes.far_proxy.access('direction="inbound"', f'src.identity="{spiffe("client")}"', f'dst.service="{host(name)}"')[-1]
    assert 'src.workload="client"' in inner, "from the baggage: the address is the gateway's"


def test_the_gateway_sees_only_ciphertext(routes):
    with routes.dial("far") as connection:
        exchange(connection, b"a secret between two pods")
    assert b"a secret between two pods" not in routes.east_west.passed and len(routes.east_west.passed) > 1000


def test_megabytes_and_half_close_cross_the_inner_tunnel(routes):
    data = b"".join(stream(4 << 20))
    with routes.dial("far") as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        answer, end = read_to_end(connection, 60 * PATIENCE)
        sender.join()
    assert end == "fin" and answer == data


def test_only_the_inner_connect_names_our_network(routes):
    with routes.dial("far-peer") as connection:
        exchange(connection, b"hello")
    outer, inner = routes.servers[0].requests[-1], routes.inner.requests[-1]
    assert list(outer) == [":method", ":authority", "baggage", "forwarded", "traceparent"]
    assert list(inner) == [*outer, "x-forwarded-network"]
    assert inner["x-forwarded-network"] == "net1" and inner[":authority"] == outer[":authority"]
    assert inner["traceparent"] == outer["traceparent"]


def test_the_gateway_tunnel_is_shared_and_the_inner_one_is_not(routes):
    outer, inner = len(routes.servers[0].connections), len(routes.servers[1].connections)
    with routes.dial("far-peer") as first, routes.dial("far-peer") as second:
        exchange(first, b"one")
        exchange(second, b"two")
        assert len(routes.servers[1].connections) == inner + 2
    assert len(routes.servers[0].connections) <= outer + 1


@pytest.mark.parametrize("name, error", [
    ("wrong", f"io error: identity verification error: peer did not present the expected SAN ({spiffe('far')}), got {spiffe('far-peer')}"),
    ("nameless", "io error: identity verification error: peer did not present the expected SAN (), got "),
    ("refusing", "http status: 503 Service Unavailable"),
])
def test_what_fails_behind_the_gateway_is_told_and_counted(routes, name, error):
    with routes.dial(name) as connection:
        assert refused(connection)
        port = connection.getsockname()[1]
    routes.out.access(f"src.addr={CLIENT}:{port} ", "connection complete", f"dst.hbone_addr={host(name)}:80 ", error)


def test_metrics_of_another_network_come_from_its_baggage(routes):
    with routes.dial("far") as connection:
        exchange(connection, b"hello")
    def found():
        return [line for line in routes.out.metrics().splitlines() if line.startswith("istio_tcp_connections_opened_total")
                and f'destination_service="{host("far")}"' in line and 'destination_workload="far"' in line]
    line = wait_until(found, 10, "the series")[0]
    for label in ('destination_canonical_service="far"', 'destination_app="far"', 'destination_cluster="Kubernetes"',
                  'destination_region="r2"', 'connection_security_policy="mutual_tls"', f'destination_principal="{spiffe("far")}"'):
        assert label in line


def test_a_waypoint_of_another_network_is_met_behind_the_gateway(routes):
    with routes.dial("far-guarded") as connection:
        assert exchange(connection, b"hello") == b"hello"
    assert routes.inner.requests[-1][":authority"] == f"{host('far-guarded')}:80"


def test_descriptors_of_inner_tunnels_come_back(routes):
    def settled():
        return routes.out.program.descriptors() <= before
    for _ in range(3):
        routes.dial("far").close()
    before = routes.out.program.descriptors() + 4
    for _ in range(20):
        with routes.dial("far") as connection:
            exchange(connection, b"hello")
    wait_until(settled, 20, f"at most {before} descriptors")


# waypoints


def test_a_host_named_waypoint_gets_the_untranslated_target(routes):
    with routes.dial("guarded") as connection:
        assert exchange(connection, b"hello") == b"hello"
        port = connection.getsockname()[1]
    request = routes.proxy.requests[-1]
    assert request[":authority"] == f"{VIPS['guarded']}:80"
    assert request["forwarded"] == f'for="{CLIENT}:{port}";host={host("guarded")}'
    line = routes.out.access(f"src.addr={CLIENT}:{port} ", "connection complete")[-1]
    assert f"dst.addr={WAYPOINT}:15008" in line and f'dst.service="{host("guarded")}"' in line and 'dst.workload="waypoint"' in line


def test_a_workload_addressed_connection_takes_the_workloads_waypoint(routes):
    with routes.dial(TUNNELLED, 8080) as connection:
        exchange(connection, b"hello")
    assert routes.proxy.requests[-1][":authority"] == f"{TUNNELLED}:8080"


def test_weighted_waypoints_share_the_connections(routes):
    first, second = len(routes.proxy.requests), len(routes.other.requests)
    for _ in range(24):
        with routes.dial("split") as connection:
            exchange(connection, b"hello")
    first, second = len(routes.proxy.requests) - first, len(routes.other.requests) - second
    assert first + second == 24 and first > 0 and second > 0


# application tunnels


class Application:
    """Accepts one connection at a time on a port of the tunnelled pod and reads what comes first."""

    def __init__(self, pod, address):
        self.listener = pod.inside(lambda: socket.create_server(address))
        self.listener.settimeout(20 * PATIENCE)

    def accept(self, length):
        connection, peer = self.listener.accept()
        connection.settimeout(20 * PATIENCE)
        data = b""
        while len(data) < length:
            data += connection.recv(length - len(data))
        return connection, peer, data


@pytest.fixture(scope="module")
def application(routes):
    application = Application(routes.tunnelled, ("127.0.0.1", 15088))
    yield application
    application.listener.close()


def proxy_header(source, destination, identity):
    body = b"".join(socket.inet_aton(a[0]) for a in (source, destination)) + b"".join(a[1].to_bytes(2, "big") for a in (source, destination))
    body += b"\xd0" + len(identity).to_bytes(2, "big") + identity.encode()
    return SIGNATURE + b"\x21\x11" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("authority, destination", [
    ("10.10.0.1:80", ("10.10.0.1", 80)),  # whatever address: the tunnel is for it
    (f"{host('sandwiched')}:80", (VIPS["sandwiched"], 80)),
])
def test_an_application_tunnel_begins_with_the_proxy_header(routes, application, authority, destination):
    tunnel = routes.outside.inside(lambda: hbone.Client((TUNNELLED, 15008), routes.leaf("outside")))
    expected = proxy_header(tunnel.sock.getsockname(), destination, spiffe("outside"))
    stream_id = tunnel.open(authority)
    tunnel.send_data(stream_id, b"payload")
    connection, peer, data = application.accept(len(expected) + 7)
    assert data == expected + b"payload" and peer[0] == "127.0.0.1"
    connection.sendall(b"answer")
    connection.close()
    assert tunnel.read_until_end(stream_id) == b"answer"
    tunnel.close()


def test_policies_see_the_tunnels_port(routes):
    tunnel = routes.outside.inside(lambda: hbone.Client((TUNNELLED, 15008), routes.leaf("outside"), source=(UNWANTED, 0)))
    assert tunnel.response(tunnel.connect("10.10.0.1:80"))[":status"] == "401"
    tunnel.close()


@pytest.mark.parametrize("authority", ["10.10.0.1:80", f"{host('sandwiched')}:80"])
def test_the_log_has_the_authority_as_it_was_and_no_baggage_is_sent_when_switched_off(routes, application, authority):
    tunnel = routes.outside.inside(lambda: hbone.Client((TUNNELLED, 15008), routes.leaf("outside")))
    port = tunnel.sock.getsockname()[1]
    stream_id = tunnel.connect(authority)
    assert tunnel.response(stream_id) == {":status": "200"}
    connection, _, _ = application.accept(16)
    connection.close()
    tunnel.send_data(stream_id, b"", end=True)
    line = routes.tunnel_proxy.access(f"src.addr={OUTSIDE}:{port} ", "connection complete")[-1]
    assert f"dst.addr={TUNNELLED}:15008 dst.hbone_addr={authority} " in line
    tunnel.close()


def test_a_bad_authority_is_refused_before_anything_else(routes):
    tunnel = routes.outside.inside(lambda: hbone.Client((TUNNELLED, 15008), routes.leaf("outside")))
    assert tunnel.response(tunnel.connect("no-port"))[":status"] == "400"
    tunnel.close()


# revocation


def test_both_tunnels_are_watched_for_revoked_certificates(routes):
    """The last test: the proxy behind the gateway is not accepted afterwards."""
    with routes.dial("far-peer") as connection:
        exchange(connection, b"hello")
        routes.authority.revocations(routes.certificates["far-peer"], path=routes.revocations)
        assert read_to_end(connection, 30 * PATIENCE) == (b"", "rst")
        port = connection.getsockname()[1]
    routes.out.access(f"src.addr={CLIENT}:{port} ", "connection closed: peer certificate revoked by CRL")
    with routes.dial("far-peer") as connection:
        assert refused(connection)
    with routes.dial("far") as connection:
        assert exchange(connection, b"hello") == b"hello"
