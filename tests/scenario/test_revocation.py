"""CRL_PATH: revoked peers are refused and live tunnels cut, in both roles, without a restart."""
import os
import socket
import ssl
import tempfile

import h2.events
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.tcp_peer import read_to_end
from tests.lab.topology import Topology, run_directory
from tests.lab.ztunnel import Ztunnel, workload

CLIENT, PEER, SERVER = "10.77.1.10", "10.77.1.11", "10.77.2.20"
ECHO = 8080
REASON = "connection closed: peer certificate revoked by CRL"


class Mesh:
    """A captured pod, a pod with a python3-h2 peer, a pod whose ztunnel serves; both ztunnels watch one list that is not there yet."""

    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", CLIENT)
        self.outside = self.topology.add_pod("n1", "outside", PEER)
        self.server = self.topology.add_pod("n2", "server", SERVER)
        self.authority = Authority()
        self.list = os.path.join(tempfile.mkdtemp(dir=run_directory()), "ca-crl.pem")
        model = {"workloads": [workload(self.client), workload(self.outside), workload(self.server)]}
        self.server_certificate = self.authority.leaf(spiffe("server"))
        self.model = model
        self.environment = environment = {"CRL_PATH": self.list, "ENABLE_ORIG_SRC": "false", "ZTUNNEL_WORKER_THREADS": "1"}
        self.out = Ztunnel(self.client, model, self.authority.leaf(spiffe("client")), environment=environment)
        self.into = Ztunnel(self.server, model, self.server_certificate, captured=False, environment=environment)
        self.application = Program("application", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", ECHO, "echo"],
                                   namespace=self.server)
        self.application.wait_line("listening")
        self.good = self.authority.leaf(spiffe("outside"))
        self.bad = self.authority.leaf(spiffe("outside"))

    def tunnel(self, certificates):
        return self.outside.inside(lambda: hbone.Client((SERVER, 15008), certificates))

    def stop(self):
        try:
            self.out.stop()
            self.into.stop()
        finally:
            self.topology.remove()


@pytest.fixture
def mesh():
    mesh = Mesh()
    yield mesh
    mesh.stop()


def count(ztunnel, family, *labels):
    total = 0
    for line in ztunnel.metrics().splitlines():
        if line.startswith(family) and all(label in line for label in labels):
            total += float(line.rsplit(" ", 1)[1])
    return total


def echo_through(tunnel):
    stream_id = tunnel.open(f"{SERVER}:{ECHO}")
    tunnel.send_data(stream_id, b"hello")
    tunnel.wait_for(lambda e: isinstance(e, h2.events.DataReceived) and e.stream_id == stream_id)
    return stream_id


def test_a_revoked_client_is_cut_and_refused_and_others_go_on(mesh):
    mesh.into.program.wait_line("crl file not found, will retry on first validation")
    bad, good = mesh.tunnel(mesh.bad), mesh.tunnel(mesh.good)
    echo_through(bad)
    kept = echo_through(good)
    mesh.authority.revocations(mesh.bad[0], path=mesh.list)
    goaway = bad.wait_for(lambda e: isinstance(e, h2.events.ConnectionTerminated), 20 * PATIENCE)
    assert goaway.error_code == 0
    mesh.into.access(f'error="{REASON}"')
    good.send_data(kept, b"still here")
    good.wait_for(lambda e: isinstance(e, h2.events.DataReceived) and e.data == b"still here")
    assert count(mesh.into, "istio_crl_policy_rejections_total", 'reporter="destination"') == 1
    assert count(mesh.into, "istio_tcp_connections_closed_total", 'response_flags="CERT_REVOKED"') == 1

    refused = mesh.outside.inside(lambda: hbone.connect_tls((SERVER, 15008), mesh.bad))
    with pytest.raises(ssl.SSLError, match="(?i)certificate.revoked"):
        refused.recv(1)
    mesh.into.program.wait_line("tls handshake error: invalid peer certificate: Revoked")
    assert count(mesh.into, "istio_crl_policy_rejections_total", 'reporter="destination"') == 2
    echo_through(mesh.tunnel(mesh.good))

    # A list that cannot be read changes nothing.
    with open(mesh.list + ".new", "w") as file:
        file.write("nonsense")
    os.rename(mesh.list + ".new", mesh.list)
    mesh.into.program.wait_line("failed to reload crl", timeout=20 * PATIENCE)
    refused = mesh.outside.inside(lambda: hbone.connect_tls((SERVER, 15008), mesh.bad))
    with pytest.raises(ssl.SSLError, match="(?i)certificate.revoked"):
        refused.recv(1)


def test_a_revoked_server_is_left_by_its_clients(mesh):
    with mesh.client.inside(lambda: socket.create_connection((SERVER, ECHO), 20 * PATIENCE)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        mesh.authority.revocations(mesh.server_certificate[0], path=mesh.list)
        assert read_to_end(connection, 20 * PATIENCE)[1] == "rst"
    mesh.out.access(f'error="{REASON}"')
    assert count(mesh.out, "istio_crl_policy_rejections_total", 'reporter="source"') == 1
    with mesh.client.inside(lambda: socket.create_connection((SERVER, ECHO), 20 * PATIENCE)) as connection:
        assert read_to_end(connection, 20 * PATIENCE)[0] == b""
    mesh.out.access("invalid peer certificate: Revoked")
    assert wait_until(lambda: count(mesh.out, "istio_crl_policy_rejections_total", 'reporter="source"') >= 2)


def test_a_malformed_list_at_the_start_switches_revocation_off(mesh):
    with open(mesh.list, "w") as file:
        file.write("nonsense")
    mesh.into.stop()
    again = Ztunnel(mesh.server, mesh.model, mesh.server_certificate, name="ztunnel-again", captured=False, environment=mesh.environment)
    again.program.wait_line("failed to initialize crl manager")
    echo_through(mesh.tunnel(mesh.bad))
    mesh.into = again
