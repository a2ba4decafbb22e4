"""Tunnels between proxies with different record engines, and what a proxy says of a tunnel whose records are bad."""
import os

import h2.events
import pytest

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import IS_SANITIZED, PATIENCE, ROOT, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, capture, workload

PEER = f"{ROOT}/tests/lab/tcp_peer.py"
HOST = "10.77.2.20"
TOTAL = (2 if IS_SANITIZED else 32) << 20


@pytest.fixture(scope="module")
def pods():
    topology = Topology(2)
    client = topology.add_pod("n1", "client", "10.77.1.10")
    server = topology.add_pod("n2", "server", HOST)
    checksum = Program("checksum", ["/usr/bin/python3", "-u", PEER, "serve", 8201, "checksum"], namespace=server)
    checksum.wait_line("listening")
    capture(client)
    capture(server)
    yield client, server, topology.add_pod("n1", "stranger", "10.77.1.11"), Authority()
    topology.remove()


def start(pods, engines):
    client, server, _, authority = pods
    model = {"workloads": [workload(client), workload(server)], "services": [], "policies": []}
    return [Ztunnel(pod, model, authority.leaf(spiffe(pod.label)), name=f"ztunnel-{pod.label}-{engine}", captured=False,
                    environment={"TLS_ENGINE": engine}) for pod, engine in zip((client, server), engines)]


@pytest.mark.parametrize("engines", [("native", "openssl"), ("openssl", "native"), ("native", "native")], ids="-to-".join)
def test_proxies_with_any_engines_understand_each_other(pods, engines):
    client = pods[0]
    ztunnels = start(pods, engines)
    assert client.run("/usr/bin/python3", "-u", PEER, "transfer", HOST, 8201, TOTAL, timeout=60 * PATIENCE).strip() == "down True up True"
    for ztunnel, engine in zip(ztunnels, engines):
        assert ztunnel.config_dump()["config"]["tlsEngine"] == engine
        assert f'ambar_tls_engine_info{{engine="{engine}",cipher="' in ztunnel.metrics()
    for ztunnel in ztunnels:
        ztunnel.stop()


@pytest.mark.parametrize("preference, suite", [("aes-256", "TLS_AES_256_GCM_SHA384"), ("aes-128", "TLS_AES_128_GCM_SHA256")])
def test_the_preferred_cipher_is_taken_where_the_peer_has_both(pods, preference, suite):
    client, server, stranger, authority = pods
    model = {"workloads": [workload(client), workload(server)], "services": [], "policies": []}
    environment = {"TLS_CIPHER_PREFERENCE": preference}
    ztunnels = [Ztunnel(pod, model, authority.leaf(spiffe(pod.label)), name=f"ztunnel-{pod.label}-{preference}", captured=False, environment=environment)
                for pod in (client, server)]
    certificate, key, root = authority.leaf(spiffe("client"))
    seen = stranger.run("sh", "-c", f"openssl s_client -connect {HOST}:15008 -cert {certificate} -key {key} -CAfile {root} -alpn h2 </dev/null 2>&1 | "
                              "grep -a -o 'Cipher is [A-Z0-9_]*'")  # what the server says in HTTP/2 is printed, too
    assert seen.strip() == f"Cipher is {suite}"
    assert client.run("/usr/bin/python3", "-u", PEER, "transfer", HOST, 8201, TOTAL, timeout=60 * PATIENCE).strip() == "down True up True"
    for ztunnel in ztunnels:
        ztunnel.stop()


@pytest.mark.parametrize("engine", ["native", "openssl"])
def test_a_forged_record_ends_its_tunnel_alone_and_is_counted(pods, engine):
    _, _, stranger, authority = pods
    ztunnels = start(pods, (engine, engine))
    certificates = authority.leaf(spiffe("client"))
    victim, bystander = (stranger.inside(lambda: hbone.Client((HOST, 15008), certificates)) for _ in range(2))
    stream = bystander.open(f"{HOST}:8201")
    victim.open(f"{HOST}:8201")
    os.write(victim.sock.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
    counted = 'ambar_tls_record_problems_total{role="server",reason="bad_record_mac"} 1'
    wait_until(lambda: counted in ztunnels[1].metrics(), 10 * PATIENCE, "the forged record to be counted")
    wait_until(lambda: victim.pump(0.1) or victim.is_closed, 10 * PATIENCE, "the end of the tunnel")
    assert "BAD_RECORD_MAC" in str(victim.error).upper().replace(" ", "_")
    bystander.send_data(stream, (0).to_bytes(8, "big"), end=True)
    bystander.wait_for(lambda e: isinstance(e, h2.events.StreamEnded) and e.stream_id == stream)
    for ztunnel in ztunnels:
        ztunnel.stop()
