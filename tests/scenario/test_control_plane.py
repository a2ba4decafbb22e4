"""ztunnel as the client of a control plane and a CA scripted on grpcio: what it asks, what it answers, what it does with it."""
import json
import subprocess

import pytest

from tests.lab.certificates import Authority, openssl, spiffe
from tests.lab.control_plane import ADDRESS, AUTHORIZATION, ControlPlane, ca, make_policy, make_workload
from tests.lab.process import Program, binary, wait_until
from tests.lab.topology import Topology


class Lab:
    def __init__(self, path):
        self.topology = Topology(1)
        self.pod = self.topology.add_pod("n1", "server", "10.77.1.20")
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10")
        self.authority = Authority()
        self.serving = self.authority.leaf("DNS:localhost", "IP:127.0.0.1")
        self.token = path / "token"
        self.token.write_text("secret-token")
        self.plane = self.start_plane(0)
        self.plane.resources[ADDRESS].update([make_workload("server", "10.77.1.20"), make_workload("client", "10.77.1.10")])

    def issue(self, request, _context):
        return ca.IstioCertificateResponse(cert_chain=self.authority.sign_request(request.csr, spiffe("server")))

    def start_plane(self, port):
        return self.pod.inside(lambda: ControlPlane(port, self.serving[0], self.serving[1], self.issue))

    def start_ztunnel(self):
        address = f"https://localhost:{self.plane.port}"
        self.ztunnel = Program("ztunnel", [binary("ztunnel")], namespace=self.pod, environment={
            "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "default/server/server", "XDS_ADDRESS": address, "CA_ADDRESS": address,
            "XDS_ROOT_CA": self.serving[2], "CA_ROOT_CA": self.serving[2], "AUTH_TOKEN": str(self.token), "NODE_NAME": "n1", "POD_NAME": "zt",
            "POD_NAMESPACE": "istio-system", "INSTANCE_IP": "10.77.1.20", "ENABLE_ORIG_SRC": "false", "ISTIO_META_FLAVOUR": "mild",
        })

    def dump(self):
        return json.loads(self.pod.run("curl", "-s", "-m", "5", "http://127.0.0.1:15000/config_dump"))

    def names(self):
        return {w["name"] for w in self.dump()["workloads"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("control"))
    lab.start_ztunnel()
    lab.ztunnel.wait_line("marking server ready")
    yield lab
    lab.ztunnel.assert_clean()
    lab.plane.stop()
    lab.topology.remove()


def test_it_subscribes_to_addresses_then_policies_and_says_who_it_is(lab):
    stream = lab.plane.streams[0]
    first = [r for r in stream.requests if not r.response_nonce]
    assert [r.type_url for r in first] == [ADDRESS, AUTHORIZATION]
    assert all(not r.resource_names_subscribe and not r.resource_names_unsubscribe and not r.initial_resource_versions for r in first)
    node = first[0].node
    assert node.id == "ztunnel~10.77.1.20~zt.istio-system~istio-system.svc.cluster.local"
    metadata = {f.key: f.value.string_value for f in node.metadata.fields}
    assert metadata["NAME"] == "zt" and metadata["NAMESPACE"] == "istio-system" and metadata["NODE_NAME"] == "n1"
    assert metadata["INSTANCE_IPS"] == "10.77.1.20" and metadata["FLAVOUR"] == "mild"
    assert stream.metadata["authorization"] == "Bearer secret-token" and stream.metadata["clusterid"] == "Kubernetes"


def test_each_response_is_acknowledged_once(lab):
    for type_url in (ADDRESS, AUTHORIZATION):
        lab.plane.wait(lambda p: p.answers(type_url))
        answers = lab.plane.answers(type_url)
        assert len(answers) == 1 and not answers[0].HasField("error_detail") and not answers[0].HasField("node")


def test_a_bad_resource_is_refused_by_name_and_the_rest_applied(lab):
    before = len(lab.plane.answers(ADDRESS))
    bad, message = make_workload("bad", "10.0.0.9")
    message.workload.addresses[:] = [b"\x01\x02\x03"]
    lab.plane.set(ADDRESS, make_workload("good", "10.0.0.8"), (bad, message))
    lab.plane.wait(lambda p: len(p.answers(ADDRESS)) > before)
    detail = lab.plane.answers(ADDRESS)[-1].error_detail
    assert detail.code == 0 and detail.message == f"{bad}: failed to parse address, had 3 bytes"
    assert "good" in lab.names() and "bad" not in lab.names()
    lab.plane.resources[ADDRESS].pop(bad)


def test_a_removed_workload_is_gone(lab):
    lab.plane.set(ADDRESS, make_workload("brief", "10.0.0.7"))
    wait_until(lambda: "brief" in lab.names(), 10)
    lab.plane.remove(ADDRESS, "Kubernetes//Pod/default/brief")
    wait_until(lambda: "brief" not in lab.names(), 10)


def test_the_request_for_a_certificate_and_the_cut_by_a_policy(lab):
    echo = Program("echo", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "0.0.0.0"], namespace=lab.pod)
    wait_until(lambda: lab.pod.run("curl", "-s", "-m", "1", "http://127.0.0.1:8080/etc/hostname", check=False), 10)
    certificates = lab.authority.leaf(spiffe("client"))
    script = ("import sys,time;sys.path.insert(0,%r)\nfrom tests.lab.hbone import *\n"
              "c=Client(('10.77.1.20',15008),%r)\ns=c.open('10.77.1.20:8080')\nprint('open',flush=True)\n"
              "e=c.wait_for(lambda e:isinstance(e,h2.events.StreamReset),40)\nprint('reset',int(e.error_code),flush=True)\n"
              % (__file__.rsplit("/tests/", 1)[0], certificates))
    holder = Program("holder", ["/usr/bin/python3", "-u", "-c", script], namespace=lab.client)
    holder.wait_line("open")
    request, metadata = lab.plane.certificate_requests[0]
    assert metadata["authorization"] == "Bearer secret-token" and request.validity_duration == 86400
    text = openssl("req", "-noout", "-text", "-verify", input=request.csr.encode()).decode()
    assert "Subject: \n" in text and "prime256v1" in text
    assert "X509v3 Subject Alternative Name: critical\n                    URI:spiffe://cluster.local/ns/default/sa/server" in text
    lab.plane.set(AUTHORIZATION, make_policy("stop", matches=[{"principals": ["cluster.local/ns/default/sa/client"]}]))
    holder.wait_line("reset 8", timeout=20)
    lab.ztunnel.wait_line("access", 'error="connection closed due to policy change"')
    lab.plane.remove(AUTHORIZATION, "default/stop")
    echo.kill()


def test_it_comes_back_with_what_it_holds(lab):
    port = lab.plane.port
    old = lab.plane
    old.stop()
    held = {name: message for name, message in old.resources[ADDRESS].items()}
    lab.plane = lab.start_plane(port)
    lab.plane.resources[ADDRESS].update(held)
    lab.plane.wait(lambda p: any(s.requests for s in p.streams), timeout=60)
    lab.plane.wait(lambda p: len([r for s in p.streams for r in s.requests if not r.response_nonce]) >= 2, timeout=30)
    first = next(r for s in lab.plane.streams for r in s.requests if r.type_url == ADDRESS and not r.response_nonce)
    versions = {v.key for v in first.initial_resource_versions}
    assert {"Kubernetes//Pod/default/server", "Kubernetes//Pod/default/good"} <= versions
    assert "Kubernetes//Pod/default/bad" not in versions


def test_it_is_not_ready_before_both_types_were_answered(lab):
    pod = lab.topology.add_pod("n1", "waiting", "10.77.1.30")
    plane = pod.inside(lambda: ControlPlane(0, lab.serving[0], lab.serving[1], lab.issue))
    plane.auto_answer = False
    address = f"https://localhost:{plane.port}"
    ztunnel = Program("waiting", [binary("ztunnel")], namespace=pod, environment={
        "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "default/waiting/waiting", "XDS_ADDRESS": address, "CA_ADDRESS": address,
        "XDS_ROOT_CA": lab.serving[2], "CA_ROOT_CA": lab.serving[2], "AUTH_TOKEN": "literal"})

    def ready():
        return subprocess.run(pod.command("curl", "-s", "-m", "2", "http://127.0.0.1:15021/healthz/ready"), capture_output=True, text=True).stdout

    plane.wait(lambda p: any(len(s.requests) >= 2 for s in p.streams))
    assert plane.streams[0].metadata["authorization"] == "Bearer literal"
    assert ready() == "not ready, pending: dns proxy, proxy, state manager\n"
    plane.streams[0].send(plane.response(ADDRESS, {}))
    plane.wait(lambda p: len(p.answers(ADDRESS)) == 1)
    assert ready() == "not ready, pending: dns proxy, proxy, state manager\n"
    plane.streams[0].send(plane.response(AUTHORIZATION, {}))
    wait_until(lambda: ready() == "ready\n", 20, "readiness")
    ztunnel.assert_clean()
    plane.stop()
