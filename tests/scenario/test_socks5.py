"""SOCKS5 on 127.0.0.1:15080 of a pod: curl through it, by address and by name, and clients that break the rules."""
import json
import os
import socket

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

DNS_SERVER = os.path.join(ROOT, "tests/lab/dns_server.py")
VIP = "10.96.0.20"


class World:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        self.names = self.topology.add_pod("n2", "names", "10.77.2.53")
        zone = {"outside.example.com": {"CNAME": ["host.example.com"]}, "host.example.com": {"A": ["10.77.2.53"]}}
        self.dns = Program("dns", ["/usr/bin/python3", "-u", DNS_SERVER, "10.77.2.53", "--zone", json.dumps(zone)], namespace=self.names)
        self.dns.wait_line("listening")
        self.web = [Program(f"http-{pod.label}", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=pod)
                    for pod in (self.server, self.names)]
        self.client.resolve_with("nameserver 10.77.2.53\n")
        authority = Authority()
        web = service("web", VIP, {80: 8080})
        model = {"workloads": [workload(self.client), workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080}})],
                 "services": [web], "policies": []}
        self.into = Ztunnel(self.server, model, authority.leaf(spiffe("server")))
        # Without any redirection: what goes through the mesh goes by SOCKS.
        self.out = Ztunnel(self.client, model, authority.leaf(spiffe("client")), captured=False, environment={"UNSTABLE_ENABLE_SOCKS5": "true"})
        for pod in (self.server, self.names):
            wait_until(lambda pod=pod: pod.run("curl", "-s", "-m", "1", "http://127.0.0.1:8080/etc/hostname", check=False), 10, "http")

    def curl(self, *arguments, check=True):
        return self.client.run("curl", "-sS", "-m", "10", *arguments, check=check)

    def talk(self, *steps):
        """Sends each, and returns all that came back until the end."""
        def body():
            with socket.create_connection(("127.0.0.1", 15080), timeout=10 * PATIENCE) as sock:
                for step in steps:
                    sock.sendall(step)
                received = b""
                try:
                    while data := sock.recv(4096):
                        received += data
                except ConnectionResetError:
                    pass
                return received
        return self.client.inside(body)

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def world():
    world = World()
    yield world
    world.stop()


@pytest.mark.threaded
@pytest.mark.parametrize("proxy, url", [
    ("--socks5", f"http://{VIP}/etc/hostname"),
    ("--socks5", "http://10.77.2.20:8080/etc/hostname"),
    ("--socks5", "http://[fd77:2::20]:8080/etc/hostname"),
    ("--socks5-hostname", "http://web/etc/hostname"),
    ("--socks5-hostname", "http://WEB.default.svc.cluster.local/etc/hostname"),
])
def test_curl_reaches_the_mesh_by_address_and_by_name(world, proxy, url):
    assert world.curl(proxy, "127.0.0.1:15080", url) == open("/etc/hostname").read()
    line = world.out.access('direction="outbound"', "dst.hbone_addr=", "connection complete")[-1]
    assert 'dst.identity="spiffe://cluster.local/ns/default/sa/server"' in line


def test_a_name_outside_the_mesh_is_resolved_by_upstream(world):
    assert world.curl("--socks5-hostname", "127.0.0.1:15080", "http://outside.example.com:8080/etc/hostname") == open("/etc/hostname").read()
    assert world.dns.lines("query udp outside.example.com A")


GREETING = b"\x05\x01\x00"


def request(address, command=1, version=5):
    return bytes([version, command, 0]) + address + b"\x1f\x90"


@pytest.mark.parametrize("steps, reply", [
    ([b"\x04\x01\x1f\x90"], b"\x05\x07\x00\x01" + bytes(6)),                                             # SOCKS4
    ([b"\x05\x01\x02"], b"\x05\x07\x00\x01" + bytes(6)),                                                 # only with a password
    ([b"\x05\x00"], b"\x05\x07\x00\x01" + bytes(6)),                                                     # no method
    ([GREETING, request(b"\x01\x7f\0\0\1", command=2)], b"\x05\x00\x05\x07\x00\x01" + bytes(6)),         # BIND
    ([GREETING, request(b"\x02\x7f\0\0\1")], b"\x05\x00\x05\x07\x00\x01" + bytes(6)),                    # no such kind of address
    ([GREETING, request(b"\x03\x00")], b"\x05\x00\x05\x07\x00\x01" + bytes(6)),                          # an empty name
    ([GREETING, request(b"\x03\x12absent.example.com")], b"\x05\x00\x05\x04\x00\x01" + bytes(6)),        # an unknown one
    ([GREETING, request(b"\x03\x05a..bc")], b"\x05\x00\x05\x04\x00\x01" + bytes(6)),                     # no name
])
def test_what_breaks_the_rules_gets_its_status_and_the_end(world, steps, reply):
    assert world.talk(*steps) == reply
    assert world.talk(b"".join(steps)) == reply


def test_the_proxys_own_ports_are_refused(world):
    assert world.talk(GREETING, request(b"\x01\x7f\0\0\1")[:-2] + (15080).to_bytes(2, "big")) == b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)
    world.out.access("connection failed", "attempted recursive call to ourselves")


def test_bytes_sent_right_behind_the_request_are_not_lost(world):
    get = b"GET /etc/hostname HTTP/1.0\r\n\r\n"
    answer = world.talk(GREETING + request(b"\x01\x0a\x4d\x02\x14") + get)
    assert answer.startswith(b"\x05\x00\x05\x00\x00\x01" + bytes(6) + b"HTTP/1.0 200") and open("/etc/hostname").read().encode() in answer
