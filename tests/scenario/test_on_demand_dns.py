"""Workloads that are known by their name only (ServiceEntry with DNS endpoints): resolved when somebody connects."""
import json
import os

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

DNS_SERVER = os.path.join(ROOT, "tests/lab/dns_server.py")
HOSTS = {  # service -> the name of its only endpoint, and what the name server knows of it
    "four": ("four.example.com", {"A": ["10.77.2.20"], "ttl": 60}),
    "six": ("six.example.com", {"AAAA": ["fd77:2::20"], "ttl": 60}),
    "both": ("both.example.com", {"A": ["10.77.2.20"], "AAAA": ["fd77:2::20"], "ttl": 1}),
    "alias": ("alias.example.com", {"CNAME": ["four.example.com"], "ttl": 60}),
    "absent": ("absent.example.com", None),
    "empty": ("empty.example.com", {"MX": ["10 mail.example.com"]}),
    "silent": ("silent.example.com", None),
}


class World:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        self.names = self.topology.add_pod("n2", "names", "10.77.2.53")
        zone = {name: entry for name, entry in HOSTS.values() if entry}
        self.dns = Program("dns", ["/usr/bin/python3", "-u", DNS_SERVER, "10.77.2.53", "--zone", json.dumps(zone)], namespace=self.names)
        self.http = Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=self.server)
        self.dns.wait_line("listening")
        wait_until(lambda: self.server.run("curl", "-s", "-m", "1", "http://127.0.0.1:8080/etc/hostname", check=False), 10, "http")
        self.client.resolve_with("nameserver 10.77.2.53\n")
        workloads, services = [workload(self.client)], []
        for index, (label, (hostname, _)) in enumerate(HOSTS.items()):
            vip = f"10.96.5.{index + 1}"
            services.append(service(label, vip, {80: 8080}))
            endpoint = workload(self.server, {f"default/{label}.default.svc.cluster.local": {80: 8080}}, protocol="TCP")
            workloads.append({**endpoint, "uid": f"Kubernetes//ServiceEntry/default/{label}", "name": label, "workloadIps": [], "hostname": hostname})
        self.vips = {label: f"10.96.5.{index + 1}" for index, label in enumerate(HOSTS)}
        model = {"workloads": workloads, "services": services, "policies": []}
        self.ztunnel = Ztunnel(self.client, model, Authority().leaf(spiffe("client")), environment={"ZTUNNEL_WORKER_THREADS": "1"})

    def get(self, label, timeout=10):
        return self.client.run("curl", "-sS", "-m", timeout, f"http://{self.vips[label]}/etc/hostname", check=False, timeout=timeout + 10)

    def queries(self, name):
        return self.dns.lines(f" {name} ")

    def stop(self):
        self.ztunnel.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


@pytest.mark.threaded
@pytest.mark.parametrize("label", ["four", "six", "both", "alias"])
def test_a_name_is_resolved_and_the_connection_arrives(world, label):
    assert world.get(label) == open("/etc/hostname").read()
    # Both families were asked for, whatever the family of the address that was dialled.
    name = HOSTS[label][0]
    assert any(f" {name} A " in line for line in world.queries(name))
    assert any(f" {name} AAAA " in line for line in world.queries(name))


def test_an_answer_is_used_for_its_time_to_live_and_each_connection_counted(world):
    world.get("four")
    before = len(world.queries("four.example.com"))
    counted = connections(world, "four.example.com")
    for _ in range(3):
        assert world.get("four")
    assert len(world.queries("four.example.com")) == before
    assert connections(world, "four.example.com") == counted + 3
    before = len(world.queries("both.example.com"))
    wait_until(lambda: world.get("both") and len(world.queries("both.example.com")) > before, 10, "an answer to have expired", interval=0.3)


def connections(world, name):
    lines = [line for line in world.ztunnel.metrics().splitlines() if line.startswith("istio_on_demand_dns_total{") and f'hostname="{name}"' in line]
    assert len(lines) <= 1
    if lines:
        assert 'source_workload="client"' in lines[0] and 'source_workload_namespace="default"' in lines[0]
    return int(lines[0].rsplit(" ", 1)[1]) if lines else 0


@pytest.mark.parametrize("label, error", [
    ("absent", "no ip addresses were resolved for workload: Kubernetes//ServiceEntry/default/absent"),
    ("empty", "ip addresses were resolved for workload Kubernetes//ServiceEntry/default/empty, but valid dns response had no A/AAAA records"),
    ("silent", "no ip addresses were resolved for workload: Kubernetes//ServiceEntry/default/silent"),
])
def test_a_name_without_addresses_ends_the_connection_and_says_so(world, label, error):
    assert world.get(label) == ""
    world.ztunnel.access(f'error="{error}"')
    if error.startswith("no ip addresses"):
        world.ztunnel.program.wait_line("dns lookup failed", f'hostname="{HOSTS[label][0]}"')
    # And nothing else suffers.
    assert world.get("four") == open("/etc/hostname").read()
