"""ambarctl against a running ztunnel: what it explains is what then happens."""
import json
import subprocess

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import ROOT, Program, binary
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

PEER = f"{ROOT}/tests/lab/tcp_peer.py"
VIP = "10.96.77.50"
SERVER = "10.77.2.20"
DENY = {"name": "no-9999", "namespace": "default", "scope": "Namespace", "action": "Deny", "dryRun": False, "rules": [[[{"destinationPorts": [9999]}]]]}


class Mesh:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10")
        self.server = self.topology.add_pod("n2", "server", SERVER)
        authority = Authority()
        model = {"workloads": [workload(self.client, node="n1"), workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080}}, node="n2")],
                 "services": [service("web", VIP, {80: 8080})], "policies": [DENY]}
        self.out = Ztunnel(self.client, model, authority.leaf(spiffe("client")), environment={"NODE_NAME": "n1"})
        self.into = Ztunnel(self.server, model, authority.leaf(spiffe("server")), environment={"NODE_NAME": "n2"})
        self.echo = Program("explain-echo", ["/usr/bin/python3", "-u", PEER, "serve", 8080, "echo"], namespace=self.server)
        self.echo.wait_line("listening")

    def ctl(self, *arguments, status=0, pod=None):
        done = subprocess.run((pod or self.client).command(binary("ambarctl"), *arguments), capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def try_connection(self, host, port):
        return self.client.run("/usr/bin/python3", "-u", PEER, "close", host, port, "half", check=False).strip()

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def mesh():
    mesh = Mesh()
    yield mesh
    mesh.stop()


def test_an_allowed_connection_is_explained_as_it_happens(mesh):
    text = mesh.ctl("explain", "client", "web:80")
    assert f"HBONE to {SERVER}:15008, CONNECT {SERVER}:8080" in text and "1 of 1 can be used" in text
    assert "accepts" in text and spiffe("server") in text and spiffe("client") in text
    assert "destinationPorts [9999] does not match 8080" in text and "Verdict        allowed" in text
    assert mesh.try_connection(VIP, 80) == "question fin"
    line = mesh.out.access("connection complete", f"dst.hbone_addr={SERVER}:8080")[-1]
    assert f"dst.addr={SERVER}:15008" in line
    text = mesh.ctl("explain", "client", "web:80")
    assert "certificate" in text and "Available" in text and "Open now       worker " in text


def test_a_denial_has_the_sentence_of_the_log(mesh):
    text = mesh.ctl("explain", "client", f"{SERVER}:9999", status=3)
    reason = "connection closed due to policy rejection: explicitly denied by: default/no-9999"
    assert "Verdict        denied" in text and reason in text and "MATCH    Deny  default/no-9999" in text
    mesh.try_connection(SERVER, 9999)
    mesh.into.access("connection complete", f'error="{reason}"')


def test_a_refusal_before_the_tunnel_has_the_sentence_of_the_log(mesh):
    text = mesh.ctl("explain", "client", "web:81", status=3)
    assert f"no healthy upstream: {VIP}:81" in text and "has no port 81" in text
    mesh.try_connection(VIP, 81)
    mesh.out.access(f'error="no healthy upstream: {VIP}:81"')


def test_what_is_missing_is_said(mesh):
    text = mesh.ctl("explain", "10.99.0.1", f"{SERVER}:8080")
    assert "no workload has the address 10.99.0.1" in text
    text = mesh.ctl("explain", "server", "client:80")
    assert "the source runs on node n2, this ztunnel on n1" in text
    assert "no workload is called nobody" in mesh.ctl("explain", "nobody", "web:80", status=1)
    assert "expected HOST:PORT" in mesh.ctl("explain", "client", "web", status=1)


def test_explain_as_json_is_one_document(mesh):
    document = json.loads(mesh.ctl("--json", "explain", "client", "web:80"))
    assert {"source", "destination", "route", "endpoints", "tunnel", "policies", "verdict", "reason", "missing"} <= set(document)


def test_the_lists_are_aligned_tables(mesh):
    lines = mesh.ctl("workloads").splitlines()
    column = lines[0].index("IDENTITY")
    assert [line[column:] for line in lines[1:]] == [spiffe("client"), spiffe("server")]
    assert "no-9999" in mesh.ctl("policies") and "(no pods)" in mesh.ctl("pods")
    for command in ("connections", "tunnels", "refusals", "certificates"):
        mesh.ctl(command)
    assert "(no workloads)" in mesh.ctl("workloads", "-n", "nowhere")
    assert "and more" in mesh.ctl("--limit", "1", "workloads")


def test_log_level_and_config_dump_pass_through(mesh):
    assert "current log level is" in mesh.ctl("log-level")
    assert "access=trace" in mesh.ctl("log-level", "access=trace")
    assert "access=trace" not in mesh.ctl("log-level", "--reset")
    assert "Invalid level provided" in mesh.ctl("log-level", "access:trace", status=1)
    assert "workloads" in json.loads(mesh.ctl("config-dump"))


def test_mistakes_are_one_sentence(mesh):
    assert "nothing answers at 127.0.0.1:1" in mesh.ctl("--admin", "127.0.0.1:1", "pods", status=1)
    assert "expected HOST:PORT" in mesh.ctl("--admin", "here", "pods", status=1)
    assert "unknown command: bogus" in mesh.ctl("bogus", status=2)
    assert "usage: ambarctl explain SRC DST:PORT" in mesh.ctl("explain", "client", status=2)
    assert "Usage: ambarctl" in mesh.ctl("--help")
