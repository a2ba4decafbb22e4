"""DNS in shared mode: ambar-cni's rules bring the queries of enrolled pods to the node proxy, which answers and asks from inside the pod."""
import json
import os

import pytest

from tests.lab.mesh import Mesh
from tests.lab.process import ROOT, Program, wait_until

DNS_SERVER = os.path.join(ROOT, "tests/lab/dns_server.py")
SERVER = "10.77.2.53"
ZONE = {"www.example.com": {"A": ["192.0.2.1"], "TXT": ["hello"]}}


class World:
    def __init__(self):
        self.mesh = Mesh(os.path.join(ROOT, "examples/shop"))
        topology = self.mesh.topology
        self.web = topology.add_pod("n1", "web-1", "10.77.1.10", "fd77:1::10")
        self.catalogue = topology.add_pod("n2", "catalogue-1", "10.77.2.20", "fd77:2::20")
        self.four = topology.add_pod("n1", "catalogue-2", "10.77.1.20")
        self.four.sysctl(net__ipv6__conf__lo__disable_ipv6=1)
        self.names = topology.add_pod("n2", "names", SERVER)
        self.dns = Program("dns", ["/usr/bin/python3", "-u", DNS_SERVER, SERVER, "--zone", json.dumps(ZONE)], namespace=self.names)
        Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=self.catalogue)
        self.dns.wait_line("listening")
        for pod in (self.web, self.four):
            pod.resolve_with(f"nameserver {SERVER}\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n")
        for node in topology.nodes.values():
            node.resolve_with(f"nameserver {SERVER}\n")
        self.mesh.environment["RUST_LOG"] = "info,dns=debug"
        self.mesh.start()
        for pod in (self.web, self.catalogue, self.four):
            self.mesh.enroll(pod, "shop", pod.label.split("-")[0])
        self.mesh.wait_enrolled()

    def dig(self, pod, *arguments):
        return pod.run("dig", "+nocookie", "+timeout=9", "+tries=1", *arguments, check=False, timeout=40)

    def seen(self, *needles):
        return self.dns.lines("query ", *needles)


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    problems = world.mesh.stop()
    assert not problems, problems


def test_a_program_in_a_pod_reaches_a_service_by_name(world):
    wait_until(lambda: world.web.run("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "http://catalogue/", check=False) == "200", 20,
               "the catalogue to answer")
    assert not world.seen("catalogue")
    world.mesh.ztunnels["n1"].wait_line("\tdns\t", 'src.workload="web-1" src.namespace="shop"', 'domain="catalogue.shop.svc.cluster.local."', '"success"')


@pytest.mark.parametrize("transport, protocol", [("+notcp", "udp"), ("+tcp", "tcp")])
def test_other_names_are_asked_for_from_the_pods_own_address(world, transport, protocol):
    assert world.dig(world.web, "+short", transport, "www.example.com.").split() == ["192.0.2.1"]
    lines = world.seen(protocol, "www.example.com A")
    assert lines and all("from=10.77.1.10" in line for line in lines)


def test_a_pod_without_ipv6_loopback_is_served_at_127_0_0_1(world):
    assert world.dig(world.four, "+short", "catalogue.shop.svc.cluster.local.").split() == ["10.96.77.20"]
    listening = [line.split()[3] for line in world.four.run("ss", "-Hlnu").splitlines()]
    assert listening == ["127.0.0.1:15053"]
    assert sorted(line.split()[3] for line in world.web.run("ss", "-Hlnu").splitlines()) == ["127.0.0.1:15053", "[::1]:15053"]


def test_a_query_to_the_pods_own_resolver_on_127_0_0_1_is_left_alone(world):
    local = Program("local-dns", ["/usr/bin/python3", "-u", DNS_SERVER, "127.0.0.1", "--zone", '{"local.example.com": {"A": ["192.0.2.77"]}}'],
                    namespace=world.web)
    local.wait_line("listening")
    for transport in ("+notcp", "+tcp"):
        assert world.dig(world.web, "+short", transport, "@127.0.0.1", "local.example.com.").split() == ["192.0.2.77"]
    local.stop()


def test_a_pod_that_leaves_the_mesh_asks_its_resolver_itself(world):
    world.mesh.cni("n1", "remove", "--namespace", "shop", "--name", "catalogue-2")
    before = len(world.seen("catalogue.shop.svc.cluster.local"))
    assert "status: NXDOMAIN" in world.dig(world.four, "catalogue.shop.svc.cluster.local.")
    assert len(world.seen("catalogue.shop.svc.cluster.local")) == before + 1
    wait_until(lambda: ":15053" not in world.four.run("ss", "-Hlnu"), 10, "the DNS proxy of the pod to have gone")
    # And comes back.
    world.mesh.enroll(world.four, "shop", "catalogue")
    wait_until(lambda: world.dig(world.four, "+short", "catalogue.shop.svc.cluster.local.").split() == ["10.96.77.20"], 20, "the mesh's answer")
