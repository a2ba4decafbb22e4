"""In-pod mode against a scripted node agent: the whole of ZDS with real namespaces, and the proof of enrolment."""
import json
import os
import socket

import pytest

from tests.lab import hbone, node_agent
from tests.lab.inpod import Node
from tests.lab.process import wait_until
from tests.lab.topology import run
from tests.lab.ztunnel import RULES, capture

@pytest.fixture(scope="module")
def node():
    node = Node().start()
    yield node
    node.stop()


@pytest.mark.threaded
def test_a_snapshot_makes_it_ready_and_the_pods_talk(node):
    assert node.get(15021, "/healthz/ready") == "not ready, pending: workload proxy manager\n"
    node.snapshot()
    assert node.exchange() == b"ping"
    pods = node.pods()
    assert {uid: (p["state"], p["info"]["name"]) for uid, p in pods.items()} == {
        "uid-client": ("Up", "client"), "uid-server": ("Up", "server")}
    assert "workload_manager_active_proxy_count 2" in node.get(15020, "/metrics")


@pytest.mark.threaded
def test_enrolment_is_proven_without_trace_in_traffic_metrics_and_access_log(node):
    for uid in ("uid-client", "uid-server"):
        proof = node.wait_enrolment(uid, "Proven")
        assert proof["checked"].endswith("Z")
    assert node.ztunnel.lines("enrolment checked", "uid-client", "Proven")
    metrics = node.get(15020, "/metrics")
    assert 'ambar_unenrolled_pods{reason="capture"} 0' in metrics
    assert "192.0.2." not in "\n".join(node.ztunnel.lines("\taccess\t"))
    assert "127.0.2." not in node.ztunnel.text()


def loopback_limit(pod):
    return json.loads(pod.run("ip", "-d", "-j", "link", "show", "lo"))[0]["gso_max_size"]


def test_the_segments_of_a_pods_lo_are_large_until_it_leaves_or_the_proxy_ends(node):
    pod = node.topology.add_pod("n1", "large", "10.77.1.14")
    before = loopback_limit(pod)
    if [int(part) for part in os.uname().release.split(".")[:2]] < [6, 3]:
        pytest.skip("this kernel has no BIG TCP for IPv4")
    assert node.agent.add("uid-large", pod, name="server", account="server") == ""
    assert loopback_limit(pod) == 400000
    assert loopback_limit(node.client) == 400000
    assert node.agent.ask(node_agent.delete("uid-large")) == ""
    wait_until(lambda: loopback_limit(pod) == before, message="the limit undone")
    node.topology.remove_pod("large")
    node.restart(BIG_TCP_ENABLED="false")
    assert loopback_limit(node.client) == before
    assert node.exchange() == b"ping"
    node.restart()
    assert loopback_limit(node.client) == 400000


@pytest.mark.threaded
def test_a_reconnect_of_the_agent_keeps_what_it_names_and_cuts_the_rest(node):
    with node.client.inside(lambda: socket.create_connection((node.server.address, 8080), 10)) as connection:
        connection.sendall(b"one")
        assert connection.recv(10) == b"one"
        node.agent.hang_up()
        wait_until(lambda: not node.is_ready(), message="not ready")
        connection.sendall(b"two")  # what runs goes on without the agent
        assert connection.recv(10) == b"two"
        node.agent.accept()
        assert node.agent.ask(node_agent.keep("uid-client")) == ""
        assert node.agent.add("uid-server", node.server) == ""
        node.agent.finish_snapshot()
        connection.sendall(b"three")
        assert connection.recv(10) == b"three"
        node.agent.hang_up()
        node.agent.accept()
        assert node.agent.ask(node_agent.keep("uid-server")) == ""
        node.agent.finish_snapshot()  # names the client no more
        connection.settimeout(10)
        try:
            assert connection.recv(10) == b""
        except ConnectionResetError:
            pass
    wait_until(lambda: set(node.pods()) == {"uid-server"}, message="only the server")
    assert node.agent.add("uid-client", node.client) == ""
    assert node.exchange() == b"ping"


def test_our_own_identity_answers_hbone_in_our_own_namespace(node):
    """dataplane §2.4: ztunnel's own ports are reached through its own 15008, under its own name; nobody else gets the namespace."""
    own = {"uid": "Kubernetes//Pod/istio-system/ztunnel-1", "name": "ztunnel-1", "namespace": "istio-system", "serviceAccount": "ztunnel",
           "workloadIps": [node.node.address], "protocol": "HBONE", "trustDomain": "cluster.local", "clusterId": "Kubernetes", "services": {}}
    node.restart(POD_NAME="ztunnel-1", POD_NAMESPACE="istio-system", SERVICE_ACCOUNT="ztunnel",
                 LOCAL_XDS=json.dumps({**node.model, "workloads": [*node.model["workloads"], own]}))
    certificates = node.authority.leaf("spiffe://cluster.local/ns/default/sa/prometheus")
    tunnel = wait_until(lambda: connect(node, certificates), message="our own 15008")
    names = [value for kind, value in tunnel.sock.getpeercert()["subjectAltName"] if kind == "URI"]
    assert names == ["spiffe://cluster.local/ns/istio-system/sa/ztunnel"]
    stream_id = tunnel.open(f"{node.node.address}:15020")
    tunnel.send_data(stream_id, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"workload_manager_active_proxy_count" in tunnel.read_until_end(stream_id)
    tunnel.close()
    assert node.agent.add("uid-own", node.node) == "failure to start proxy : the network namespace is ztunnel's own"
    node.restart()


def connect(node, certificates):
    try:
        return node.node.inside(lambda: hbone.Client((node.node.address, 15008), certificates))
    except OSError:
        return None


@pytest.mark.threaded
def test_a_namespace_has_one_identity_only(node):
    assert node.agent.add("uid-usurper", node.client) == ""
    wait_until(lambda: set(node.pods()) == {"uid-usurper", "uid-server"}, message="the first holder to be gone")
    assert node.exchange() == b"ping"
    assert node.agent.add("uid-client", node.client) == ""
    wait_until(lambda: set(node.pods()) == {"uid-client", "uid-server"}, message="the usurper to be gone")


@pytest.mark.parametrize("message, text", [
    (node_agent.keep("uid-client"), 'failure to process message : ProtocolError("pod keep received after snapshot")'),
    (node_agent.SNAPSHOT_SENT, 'failure to process message : ProtocolError("pod snapshot received already")'),
    (b"\xff" * 40, "failure to read message : WorkloadRequest: malformed field"),
    (b"\x22\x00", "failure to read message : no payload"),
    (node_agent.add("uid-x"), "failure to read message : No control message"),
    (node_agent.keep("x" * 1100), "failure to read message : message truncated: more than 1024 bytes"),
], ids=["keep", "snapshot", "garbage", "no payload", "no descriptor", "too long"])
def test_a_violation_is_answered_and_ends_the_connection_only(node, message, text):
    assert node.agent.ask(message) == text
    node.agent.assert_hung_up()
    node.agent.accept()
    node.snapshot()
    assert node.exchange() == b"ping"


def passed_descriptors(pid):
    """Descriptors of the kinds that an agent passes; sockets come and go with stocks and tunnels."""
    names = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            pass
    return sorted(n for n in names if not n.startswith(("socket:", "anon_inode:")))


def test_a_hostile_agent_costs_no_descriptor(node):
    null = os.open("/dev/null", os.O_RDONLY)
    client = os.open(node.client.path, os.O_RDONLY)
    if not node.pods():
        node.snapshot()
    assert node.exchange() == b"ping"
    try:
        before = passed_descriptors(node.ztunnel.pid)
        assert "is not a network namespace" in node.agent.ask(node_agent.add("uid-x"), [null])
        for descriptors in ([client] * 2, [client] * 253):
            assert node.agent.ask(node_agent.add("uid-x"), descriptors) == f"failure to read message : Expected 1 FD, got {len(descriptors)}"
            node.agent.assert_hung_up()
            node.agent.accept()
        node.agent.send(node_agent.add("uid-x", with_info=False), [client])
        assert "workload_info is required but not present" in node.agent.answer()
        node.agent.assert_hung_up()
        node.agent.accept()
        assert node.agent.ask(node_agent.keep("uid-client"), [client]) == "failure to read message : Unexpected control message"
        node.agent.assert_hung_up()
        node.agent.accept()
        node.agent.connection.setblocking(False)
        flood = 0
        try:
            for flood in range(100_000):  # and never read an answer
                node.agent.send(node_agent.keep("uid-client"))
        except (BlockingIOError, ConnectionError):  # the pipe full, or the proxy gone, with or without data unread
            pass
        node.agent.hang_up()
        node.agent.accept()
        node.snapshot()
        assert node.exchange() == b"ping"
        wait_until(lambda: passed_descriptors(node.ztunnel.pid) == before, message=f"descriptors to be {before}")
    finally:
        os.close(null)
        os.close(client)


def test_a_port_that_is_taken_is_said_and_tried_again(node):
    def listen():
        squatter = socket.socket(socket.AF_INET6)
        squatter.bind(("::", 15006))
        squatter.listen()
        return squatter
    pod = node.topology.add_pod("n1", "squatted", "10.77.1.12")
    squatter = pod.inside(listen)
    answer = node.agent.add("uid-squatted", pod)
    assert answer.startswith("failure to start proxy : failed to bind to address"), answer
    assert not node.is_ready()
    assert node.pods()["uid-squatted"]["state"] == "Pending"
    assert "workload_manager_pending_proxy_count 1" in node.get(15020, "/metrics")
    squatter.close()
    node.ztunnel.wait_line("retrying workload uid-squatted", timeout=20)
    wait_until(node.is_ready, 20, "ready after the retry")
    assert node.agent.ask(node_agent.delete("uid-squatted")) == ""
    node.topology.remove_pod("squatted")


def test_an_escaping_pod_is_reported(node):
    """Rules gone: what the pod sends is no longer ours. An address gone: it is not who it says."""
    node.server.run("nft", "delete", "table", "inet", "test-nat")
    # The check at enrolment: the pod is named anew.
    assert node.agent.ask(node_agent.delete("uid-server")) == ""
    assert node.agent.add("uid-server", node.server) == ""
    proof = node.wait_enrolment("uid-server", "Failed")
    assert "192.0.2.192:9 was not captured" in proof["reason"]
    node.ztunnel.wait_line("enrolment failed: traffic of this pod may escape the mesh", "uid-server")
    assert 'ambar_unenrolled_pods{reason="capture"} 1' in node.get(15020, "/metrics")
    run("ip", "netns", "exec", node.server.name, "nft", "-f", "-", input=RULES)
    node.wait_enrolment("uid-server", "Proven")


def test_a_pod_without_its_address_is_reported(node):
    pod = node.topology.add_pod("n1", "server2", "10.77.1.13")
    capture(pod)
    # It claims to be the server, whose address it has not.
    assert node.agent.add("uid-liar", pod, name="server", account="server") == ""
    proof = node.wait_enrolment("uid-liar", "Failed")
    assert proof["reason"] == "the network namespace does not own the workload's address 10.77.1.11"
    assert 'ambar_unenrolled_pods{reason="address"} 1' in node.get(15020, "/metrics")
    assert node.agent.ask(node_agent.delete("uid-liar")) == ""
    node.topology.remove_pod("server2")


def test_a_restarted_agent_and_a_restarted_proxy_meet_again(node):
    node.agent.stop()
    os.unlink(node.agent.path)
    node.ztunnel.wait_line("failed to connect to the Istio CNI node agent over")
    node.ztunnel.kill()
    node.ztunnel = node.start_ztunnel("inpod-ztunnel-2")
    node.ztunnel.wait_line("failed to connect to the Istio CNI node agent over")
    node.agent.listen()
    node.agent.accept()
    node.snapshot()
    assert node.exchange() == b"ping"
