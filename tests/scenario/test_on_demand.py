"""XDS_ON_DEMAND: ztunnel asks for an address when a connection needs it, and the connection waits for the answer."""
import socket

import grpc
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.control_plane import ControlPlane, ip_bytes, make_service, make_workload
from tests.lab.messages import ADDRESS
from tests.lab.process import PATIENCE, ROOT, Program
from tests.lab.tcp_peer import read_to_end
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel

CLIENT, SERVER, UNKNOWN = "10.77.1.10", "10.77.2.20", "10.77.2.21"
VIP, SILENT_VIP, SANDWICHED_VIP = "10.96.77.9", "10.96.77.10", "10.96.77.11"
ECHO = 8080
pytestmark = pytest.mark.threaded


class Mesh:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", CLIENT)
        self.server = self.topology.add_pod("n2", "server", SERVER)
        self.application = Program("application", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", ECHO, "echo"],
                                   namespace=self.server)
        self.application.wait_line("listening")
        self.unknown = self.topology.add_pod("n2", "unknown", UNKNOWN)
        Program("other", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", ECHO, "echo"],
                namespace=self.unknown).wait_line("listening")
        self.asked = []
        authority = Authority("control-plane")
        certificate, key, _ = authority.leaf("DNS:localhost", "IP:127.0.0.1", usage="serverAuth")
        self.plane = self.client.inside(lambda: ControlPlane(certificate=certificate, key=key))
        self.plane.on_demand = self.answer
        self.mesh_authority = Authority()
        self.ztunnel = Ztunnel(self.client, {}, self.mesh_authority.leaf(spiffe("client")), environment={
            "XDS_ADDRESS": f"https://localhost:{self.plane.port}", "XDS_ROOT_CA": authority.root, "LOCAL_XDS": "",
            "XDS_ON_DEMAND": "true", "ISTIO_META_DNS_CAPTURE": "false", "NODE_NAME": "n1"})

    def answer(self, request):
        """As istiod does: the workloads of the node at first, then what is asked for, under its own name with the address as alias."""
        if list(request.resource_names_subscribe) == ["*"]:
            assert list(request.resource_names_unsubscribe) == ["*"]
            return dict([make_workload("client", CLIENT)]), ()
        name, = request.resource_names_subscribe
        self.asked.append(name)
        if name == f"/{VIP}":
            key, web = make_service("web", VIP, {80: ECHO})
            backend = make_workload("server", SERVER, hbone=False, node="n2", services={key: {80: ECHO}})
            return {key: web, backend[0]: backend[1]}, (), {key: [name]}
        if name == f"/{SANDWICHED_VIP}":
            key, sandwiched = make_service("sandwiched", SANDWICHED_VIP, {80: ECHO})
            sandwiched.service.waypoint.address.address = ip_bytes(CLIENT)
            sandwiched.service.waypoint.hbone_mtls_port = 15008
            return {key: sandwiched}, (), {key: [name]}
        if name == f"/{SILENT_VIP}":
            return None
        return {}, [name]

    def dial(self, host, port):
        return self.client.inside(lambda: socket.create_connection((host, port), 20 * PATIENCE))

    def stop(self):
        try:
            self.ztunnel.stop()
        finally:
            self.plane.stop()
            self.topology.remove()


@pytest.fixture(scope="module")
def mesh():
    mesh = Mesh()
    yield mesh
    mesh.stop()


def echo(connection):
    connection.sendall(b"hello")
    return connection.recv(5)


def test_a_service_is_asked_for_when_it_is_first_dialled_and_only_then(mesh):
    assert [w["name"] for w in mesh.ztunnel.config_dump()["workloads"]] == ["client"]
    with mesh.dial(VIP, 80) as connection:
        assert echo(connection) == b"hello"
    with mesh.dial(VIP, 80) as connection:
        assert echo(connection) == b"hello"
    assert mesh.asked.count(f"/{VIP}") == 1
    mesh.ztunnel.access(f"dst.addr={SERVER}:{ECHO} ", 'dst.service="web.default.svc.cluster.local"')


def test_what_the_control_plane_does_not_know_passes_through(mesh):
    with mesh.dial(UNKNOWN, ECHO) as connection:
        assert echo(connection) == b"hello"
    assert f"/{UNKNOWN}" in mesh.asked


def test_a_waypoint_is_recognised_by_what_it_has_to_ask_for(mesh):
    application = Program("waypoint", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", ECHO, "echo"], namespace=mesh.client)
    application.wait_line("listening")
    tunnel = mesh.unknown.inside(lambda: hbone.Client((CLIENT, 15008), mesh.mesh_authority.leaf(spiffe("someone"))))
    stream_id = tunnel.open(f"{SANDWICHED_VIP}:{ECHO}")
    tunnel.send_data(stream_id, b"hello", end=True)
    assert tunnel.read_until_end(stream_id) == b"hello"
    assert tunnel.response(tunnel.connect("10.96.77.99:80"))[":status"] == "400"
    assert "/10.96.77.99" in mesh.asked
    tunnel.close()


def test_nobody_waits_for_a_silent_control_plane_for_ever(mesh):
    with mesh.dial(SILENT_VIP, 80) as connection:
        data, _ = read_to_end(connection, 20 * PATIENCE)
        assert data == b""
    mesh.ztunnel.program.wait_line(f"timed out waiting for '/{SILENT_VIP}' from xds")


def test_a_reconnect_stays_on_demand_and_claims_what_it_has(mesh):
    mesh.plane.streams[-1].send(grpc.StatusCode.UNKNOWN)
    mesh.plane.wait(lambda p: len(p.streams) > 1 and p.streams[-1].requests)
    first = mesh.plane.streams[-1].requests[0]
    assert first.type_url == ADDRESS and list(first.resource_names_unsubscribe) == ["*"]
    versions = {entry.key: entry.value for entry in first.initial_resource_versions}
    assert versions["default/web.default.svc.cluster.local"] and versions["Kubernetes//Pod/default/server"]
