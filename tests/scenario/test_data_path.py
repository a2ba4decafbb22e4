"""Real traffic through two ztunnels in captured pods: bytes, closes, many connections, slow readers, resources."""
import os
import re
import subprocess
import time

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import IS_SANITIZED, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

PEER = os.path.join(ROOT, "tests/lab/tcp_peer.py")
VIP = "10.96.77.20"
HOSTS = ["10.77.2.20", "fd77:2::20"]


class Pair:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        self.authority = Authority()
        model = {"workloads": [workload(self.client), workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080}})],
                 "services": [service("web", VIP, {80: 8080})], "policies": []}
        self.out = Ztunnel(self.client, model, self.authority.leaf(spiffe("client")))
        self.into = Ztunnel(self.server, model, self.authority.leaf(spiffe("server")))
        self.ports = 8100

    def serve(self, mode, port=None):
        self.ports += 1
        port = port or self.ports
        program = Program(f"serve-{port}", ["/usr/bin/python3", "-u", PEER, "serve", port, mode], namespace=self.server)
        program.wait_line("listening")
        return port, program

    def peer(self, *arguments, timeout=120):
        return self.client.run("/usr/bin/python3", "-u", PEER, *arguments, timeout=timeout).strip()

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
@pytest.mark.parametrize("host", HOSTS + [VIP])
def test_a_request_reaches_the_server_with_the_clients_own_address(pair, host):
    port = 8080
    if not getattr(pair, "http", None):
        pair.http = Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=pair.server)
        wait_until(lambda: pair.server.run("curl", "-s", "-m", "1", "http://127.0.0.1:8080/etc/hostname", check=False), 10, "http")
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{80 if host == VIP else port}/"
    assert pair.client.run("curl", "-sS", "-m", "10", url + "etc/hostname") == open("/etc/hostname").read()
    source = "fd77:1::10" if ":" in host else "10.77.1.10"
    pair.http.wait_line(source, "GET /etc/hostname")
    line = pair.into.access('direction="inbound"', source, "connection complete")[-1]
    assert 'src.identity="spiffe://cluster.local/ns/default/sa/client"' in line
    line = pair.out.access('direction="outbound"', "connection complete", "dst.hbone_addr=")[-1]
    assert 'dst.identity="spiffe://cluster.local/ns/default/sa/server"' in line


CLOSES = [  # server, client, what the client sees
    ("fin", "fin", "answer fin"),
    ("rst", "fin", "answer rst"),
    ("late", "half", "late:question fin"),
    ("echo", "half", "question fin"),
]


@pytest.mark.threaded
@pytest.mark.parametrize("server, client, seen", CLOSES)
@pytest.mark.parametrize("host", HOSTS)
def test_every_way_of_closing_is_seen_as_it_was_done(pair, host, server, client, seen):
    port, _ = pair.serve(server)
    assert pair.peer("close", host, port, client) == seen


@pytest.mark.parametrize("host", HOSTS)
def test_a_reset_client_is_a_reset_at_the_server(pair, host):
    port, server = pair.serve("sink")
    pair.peer("close", host, port, "rst")
    server.wait_line("got b'question' rst", timeout=10)


@pytest.mark.parametrize("host", HOSTS)
def test_half_closed_by_the_server_first(pair, host):
    port, server = pair.serve("half")
    assert pair.peer("close", host, port, "fin-after") == "answer fin"
    server.wait_line("got b'question' fin", timeout=10)


def test_a_refused_application_is_a_closed_connection_and_a_log_line(pair):
    result = subprocess.run(pair.client.command("curl", "-sS", "-m", "10", "http://10.77.2.20:9/"), capture_output=True, text=True)
    assert result.returncode != 0
    assert "Connection refused (os error 111)" in pair.into.access("10.77.2.20:9", "connection failed: ")[-1]
    assert 'error="http status: 503 Service Unavailable"' in pair.out.access("dst.hbone_addr=10.77.2.20:9 ", "error=")[-1]


def test_large_transfers_in_both_directions_at_once_are_intact(pair):
    total = (64 << 20) if IS_SANITIZED else (1 << 30)
    port, _ = pair.serve("checksum")
    assert pair.peer("transfer", "10.77.2.20", port, total, timeout=300) == "down True up True"


@pytest.mark.threaded
def test_a_thousand_connections_at_once(pair):
    count = 200 if IS_SANITIZED else 1000
    port, _ = pair.serve("echo")
    program = Program("many", ["/usr/bin/python3", "-u", PEER, "many", "10.77.2.20", port, count], namespace=pair.client,
                      stdin=subprocess.PIPE)
    program.wait_line(f"good {count}", timeout=90)
    workers = {name for name in threads(pair.out.program) if name.startswith("ztunnel-")}
    assert len(workers) >= 2
    program.process.stdin.write(b"\n")
    program.process.stdin.close()
    program.process.wait(30)


def threads(program):
    base = f"/proc/{program.pid}/task"
    return {open(f"{base}/{t}/comm").read().strip(): int(t) for t in os.listdir(base)}


@pytest.mark.slow
def test_readers_that_never_read_stop_nobody_and_pin_little(pair):
    port, _ = pair.serve(f"source:{64 << 20}")
    good, _ = pair.serve("checksum")
    before = pair.out.program.resident_kib()
    readers = Program("unread", ["/usr/bin/python3", "-u", PEER, "unread", "10.77.2.20", port, 64, 60], namespace=pair.client)
    readers.wait_line("open 64")
    time.sleep(3)
    assert pair.peer("transfer", "10.77.2.20", good, 32 << 20) == "down True up True"
    grown = pair.out.program.resident_kib() - before
    assert grown < 64 * 1024, f"{grown} KiB for 64 readers"
    readers.kill()


@pytest.mark.slow
def test_workers_need_no_futex_in_steady_state(pair):
    port, _ = pair.serve("echo", 8090)
    Program("iperf", ["iperf3", "-s"], namespace=pair.server)
    wait_until(lambda: "5201" in pair.server.run("ss", "-ltn"), 10, "iperf3")
    load = Program("load", ["iperf3", "-c", "10.77.2.20", "-t", "4", "-P", "4"], namespace=pair.client)
    time.sleep(1)
    output = "/tmp/ambar-futex.txt"
    workers = [tid for name, tid in threads(pair.out.program).items() if re.fullmatch(r"ztunnel-\d", name)]
    command = ["strace", "-f", "-c", "-e", "trace=futex", "-o", output]
    for tid in workers:
        command += ["-p", str(tid)]
    trace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    trace.terminate()
    trace.wait(10)
    load.process.wait(20)
    text = open(output).read()
    assert "futex" not in text, text
    del port


def test_descriptors_go_with_their_connections(pair):
    port, _ = pair.serve("echo")

    def hundred():
        program = Program("hundred", ["/usr/bin/python3", "-u", PEER, "many", "10.77.2.20", port, 100], namespace=pair.client, stdin=subprocess.PIPE)
        program.wait_line("good 100", timeout=60)
        program.process.stdin.close()
        program.process.wait(30)

    hundred()
    time.sleep(1)
    before = (pair.out.program.descriptors(), pair.into.program.descriptors())
    hundred()
    hundred()
    # Ready sockets in stock come and go (at most 32 of a kind); 200 connections would show.
    wait_until(lambda: pair.out.program.descriptors() <= before[0] + 64 and pair.into.program.descriptors() <= before[1] + 64, 20,
               f"descriptors to return to {before}")


def test_metrics_count_both_reporters(pair):
    def value(text, name, *labels):
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{") and all(label in line for label in labels))

    pair.client.run("curl", "-sS", "-m", "10", f"http://{VIP}/etc/hostname", check=False)
    out, into = pair.out.metrics(), pair.into.metrics()
    for text, reporter in ((out, "source"), (into, "destination")):
        labels = (f'reporter="{reporter}"', 'source_workload="client"', 'destination_workload="server"', 'connection_security_policy="mutual_tls"',
                  'source_principal="spiffe://cluster.local/ns/default/sa/client"')
        assert value(text, "istio_tcp_connections_opened_total", *labels) > 0
        assert value(text, "istio_tcp_received_bytes_total", *labels) > 0
        assert text.endswith("# EOF\n")
    assert value(out, "istio_tcp_connections_opened_total", 'destination_service_name="web"') > 0


def test_config_dump_has_the_documented_shape(pair):
    port, _ = pair.serve("fin")  # a connection needs the certificate that is looked for below
    pair.peer("close", HOSTS[0], port, "fin")
    dump = pair.out.config_dump()
    assert {"workloads", "services", "policies", "certificates", "config", "version", "stagedServices"} <= set(dump)
    server = next(w for w in dump["workloads"] if w["name"] == "server")
    assert server["protocol"] == "HBONE" and server["workloadIps"] == ["10.77.2.20", "fd77:2::20"]
    web = dump["services"][0]
    assert web["vips"] == [f"/{VIP}"] and web["ports"] == {"80": 8080}
    assert list(web["endpoints"].values())[0]["workloadUid"] == "Kubernetes//Pod/default/server"
    certificate = dump["certificates"][0]
    assert certificate["state"] == "Available" and certificate["certChain"][0]["serialNumber"].isdigit()
