"""Metrics on 15020: names, types, labels and help of the contract (ztunnel-management §8), content types, gzip, expiry, load."""
import gzip
import subprocess
import time

import pytest

from tests.lab import openmetrics
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

VIP = "10.96.78.20"
OPENMETRICS = "application/openmetrics-text;charset=utf-8;version=1.0.0"
PLAIN = "text/plain; charset=utf-8"

TRAFFIC = ["reporter", "source_workload", "source_canonical_service", "source_canonical_revision", "source_workload_namespace",
           "source_principal", "source_app", "source_version", "source_cluster", "destination_service",
           "destination_service_namespace", "destination_service_name", "destination_workload", "destination_canonical_service",
           "destination_canonical_revision", "destination_workload_namespace", "destination_principal", "destination_app",
           "destination_version", "destination_cluster", "request_protocol", "response_flags", "connection_security_policy",
           "source_region", "source_zone", "destination_region", "destination_zone"]

# What must be there after traffic that went well and traffic that failed: name, type, help, labels.
CONTRACT = [
    ("process_open_fds", "gauge", "Number of open file descriptors", []),
    ("process_max_fds", "gauge", "Maximum number of file descriptors", []),
    ("istio_build", "gauge", "Istio component build info.", ["component", "tag"]),
    ("istio_tcp_connections_opened", "counter", "The total number of TCP connections opened.", TRAFFIC),
    ("istio_tcp_connections_closed", "counter", "The total number of TCP connections closed.", TRAFFIC),
    ("istio_tcp_received_bytes", "counter",
     "The size of total bytes received during request in case of a TCP connection.", TRAFFIC),
    ("istio_tcp_sent_bytes", "counter", "The size of total bytes sent during response in case of a TCP connection.", TRAFFIC),
    ("istio_tcp_connections_failed", "counter", None, TRAFFIC),
    ("istio_tcp_sockets_open", "gauge", None, ["reporter"]),
    ("workload_manager_active_proxy_count", "gauge", None, []),
    ("workload_manager_pending_proxy_count", "gauge", None, []),
    ("workload_manager_proxies_started", "counter", None, []),
    ("workload_manager_proxies_stopped", "counter", None, []),
]


class Pair:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        authority = Authority()
        deny = {"name": "no-9999", "namespace": "default", "scope": "WorkloadSelector", "action": "Deny", "dryRun": False,
                "rules": [[[{"destinationPorts": [9999]}]]]}
        backend = workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080}}, authorizationPolicies=["default/no-9999"])
        model = {"workloads": [workload(self.client), backend], "services": [service("web", VIP, {80: 8080})], "policies": [deny]}
        self.out = Ztunnel(self.client, model, authority.leaf(spiffe("client")))
        self.into = Ztunnel(self.server, model, authority.leaf(spiffe("server")))
        self.http = Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=self.server)
        wait_until(lambda: self.get("http://10.77.2.20:8080/etc/hostname").returncode == 0, 20, "the server")
        self.get(f"http://{VIP}/etc/hostname")
        self.get("http://10.77.2.20:9/")
        self.get("http://10.77.2.20:9999/")
        wait_until(lambda: len(self.into.program.lines("\taccess\t", "connection complete")) >= 4, 10, "four connections")

    def get(self, url):
        return subprocess.run(self.client.command("curl", "-sS", "-m", "10", url), capture_output=True, text=True)

    def scrape(self, pod, *options, path="/metrics"):
        """Headers (lower-case names) and body."""
        output = subprocess.run(pod.command("curl", "-s", "-i", "-m", "20", *options, f"http://127.0.0.1:15020{path}"),
                                capture_output=True, check=True).stdout
        head, _, body = output.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        return lines[0], dict(line.lower().split(": ", 1) for line in lines[1:]), body

    def families(self, pod):
        return openmetrics.parse(self.scrape(pod)[2].decode())

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def pair():
    pair = Pair()
    yield pair
    pair.stop()


@pytest.mark.threaded
def test_every_family_has_its_type_help_and_labels_in_order(pair):
    families = pair.families(pair.client)
    names = list(families)
    assert names[:3] == ["process_open_fds", "process_max_fds", "istio_build"]
    positions = [names.index(name) for name, _, _, _ in CONTRACT if name in names]
    assert positions == sorted(positions)
    for name, kind, help_text, labels in CONTRACT:
        family = families[name]
        assert family.type == kind, name
        assert help_text is None or family.help == help_text
        assert family.help.endswith(" (unstable).") == (help_text is None), name
        for _, pairs, _ in family.samples:
            assert [label for label, _ in pairs] == labels, name


def test_a_family_with_labels_and_no_series_is_left_out(pair):
    families = pair.families(pair.client)
    for name in ("istio_dns_requests", "istio_on_demand_dns", "istio_xds_message", "istio_crl_policy_rejections"):
        assert name not in families
    assert all(family.samples or family.type == "histogram" for family in families.values())


def test_the_build_is_the_configured_istio_version(pair):
    assert openmetrics.value(pair.families(pair.client), "istio_build", component="ztunnel") == 1


def test_client_and_server_count_the_same_connection_with_the_same_labels(pair):
    labels = dict(source_workload="client", source_principal="spiffe://cluster.local/ns/default/sa/client", source_app="client",
                  source_workload_namespace="default", source_cluster="Kubernetes", destination_workload="server",
                  destination_principal="spiffe://cluster.local/ns/default/sa/server", destination_service="web.default.svc.cluster.local",
                  destination_service_namespace="default", destination_service_name="web", request_protocol="tcp",
                  connection_security_policy="mutual_tls", source_region="unknown", destination_zone="unknown")
    for pod, reporter in ((pair.client, "source"), (pair.server, "destination")):
        families = pair.families(pod)
        count = {name: openmetrics.value(families, f"istio_tcp_{name}_total", reporter=reporter, **labels)
                 for name in ("connections_opened", "connections_closed", "received_bytes", "sent_bytes")}
        assert count["connections_opened"] == count["connections_closed"] > 0
        assert count["received_bytes"] > 50 and count["sent_bytes"] > 100  # a request, an answer: not flipped on either side


def test_a_failure_is_opened_without_a_flag_and_closed_with_it(pair):
    families = pair.families(pair.server)
    for name, count in (("closed", 1), ("failed", 1), ("opened", None)):
        assert openmetrics.value(families, f"istio_tcp_connections_{name}_total", reporter="destination", response_flags="DENY") == count
    client = pair.families(pair.client)
    assert openmetrics.value(client, "istio_tcp_connections_failed_total", reporter="source", response_flags="CONNECT") >= 2
    assert openmetrics.value(client, "istio_tcp_connections_failed_total", response_flags="-") is None


@pytest.mark.parametrize("accept, content_type", [
    (None, PLAIN), ("text/plain", PLAIN), ("*/*", PLAIN), ("application/openmetrics-text", OPENMETRICS),
    ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1", OPENMETRICS),
    ("text/plain , application/openmetrics-text; version=0.0.1", OPENMETRICS), ("application/openmetrics-text-not", PLAIN)])
def test_only_the_content_type_follows_accept(pair, accept, content_type):
    status, headers, body = pair.scrape(pair.client, *(["-H", f"Accept: {accept}"] if accept else ["-H", "Accept:"]))
    assert status == "HTTP/1.1 200 OK" and headers["content-type"] == content_type
    assert body.endswith(b"# EOF\n")


def test_both_paths_any_method_and_nothing_else(pair):
    for options, path in (([], "/stats/prometheus"), (["-X", "POST"], "/metrics"), (["-X", "PUT", "-d", "x"], "/metrics"), ([], "/metrics?a=b")):
        assert pair.scrape(pair.client, *options, path=path)[2].endswith(b"# EOF\n")
    assert pair.scrape(pair.client, "-I")[0] == "HTTP/1.1 200 OK"
    assert pair.scrape(pair.client, path="/metric")[0] == "HTTP/1.1 404 Not Found"


def test_gzip_is_used_when_it_is_accepted(pair):
    _, headers, body = pair.scrape(pair.client, "-H", "Accept-Encoding: gzip, deflate")
    assert headers["content-encoding"] == "gzip"
    openmetrics.parse(gzip.decompress(body).decode())
    assert "content-encoding" not in pair.scrape(pair.client, "-H", "Accept-Encoding: gzip;q=0")[1]


def test_gauges_are_of_the_moment_of_the_scrape(pair):
    before = pair.families(pair.server)
    assert openmetrics.value(before, "ambar_connections_live", reporter="destination") == 0
    port = 8180
    Program("hold", ["/usr/bin/python3", "-u", "-c", f"""
import socket, time
s = socket.create_server(('0.0.0.0', {port})); print('listening'); c, _ = s.accept(); print('accepted'); c.recv(10)"""],
            namespace=pair.server).wait_line("listening")
    client = Program("holding", ["/usr/bin/python3", "-u", "-c", f"""
import socket
s = socket.create_connection(('10.77.2.20', {port})); print('connected'); input()"""], namespace=pair.client, stdin=subprocess.PIPE)
    client.wait_line("connected")
    wait_until(lambda: openmetrics.value(pair.families(pair.server), "ambar_connections_live", reporter="destination") == 1, 10, "a connection")
    during = pair.families(pair.server)
    assert openmetrics.value(during, "ambar_tunnels_open", role="server") >= 1
    assert openmetrics.value(during, "ambar_streams_open", role="server") == 1
    assert openmetrics.value(during, "istio_tcp_sockets_open", reporter="destination") >= 1
    assert openmetrics.value(pair.families(pair.client), "ambar_streams_open", role="client") == 1
    client.kill()
    wait_until(lambda: openmetrics.value(pair.families(pair.server), "ambar_connections_live", reporter="destination") == 0, 10, "its end")


def test_handshakes_and_limits_are_told(pair):
    families = pair.families(pair.server)
    handshakes = openmetrics.value(families, "ambar_tls_handshakes_total", role="server")
    assert handshakes >= 1
    assert openmetrics.value(families, "ambar_tls_handshake_duration_seconds_count", role="server") == handshakes
    assert openmetrics.value(families, "ambar_limit", limit="tunnel_streams") == 100
    assert openmetrics.value(families, "ambar_model_resources", kind="workload") == 2


def test_a_scraper_that_does_not_read_holds_nothing_up(pair):
    silent = [subprocess.Popen(pair.client.command(
        "/usr/bin/python3", "-c", "import socket, time\n"
        "s = socket.create_connection(('127.0.0.1', 15020)); s.sendall(b'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' * 20); time.sleep(20)"))
        for _ in range(4)]
    try:
        time.sleep(0.5)
        assert pair.families(pair.client)
        assert pair.get("http://10.77.2.20:8080/etc/hostname").returncode == 0
    finally:
        for each in silent:
            each.kill()
            each.wait()
