"""Start, drain and end of ztunnel (ztunnel-management §2, dataplane §19.1), hand-over to a successor, and what its processes may do."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from tests.lab.inpod import Node
from tests.lab.messages import ADDRESS, AUTHORIZATION
from tests.lab.process import IS_SANITIZED, binary, wait_until
from tests.lab.topology import run_directory
from tests.lab.victim import Bystander, Victim

CAPABILITIES = "-all,+net_admin,+sys_admin,+net_raw"


@pytest.fixture
def node():
    node = Node().start()
    yield node
    node.stop()


class Load:
    """Bursts of short connections on several threads, so that at any moment some are made and not yet accepted; counts what failed."""

    BURST = 16

    def __init__(self, node, threads=4):
        self.node = node
        self.done = 0
        self.failures = []
        self.is_stopping = False
        self.threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        def body():
            while not self.is_stopping:
                connections = [self._try(lambda: socket.create_connection((self.node.server.address, 8080), 10)) for _ in range(self.BURST)]
                for connection in connections:
                    if connection is not None:
                        self._try(lambda: self._exchange(connection))
        self.node.client.inside(body)

    def _try(self, action):
        try:
            return action()
        except OSError as error:
            self.failures.append((time.monotonic(), repr(error)))

    def _exchange(self, connection):
        with connection:
            connection.sendall(b"x" * 100)
            received = b""
            while len(received) < 100:
                piece = connection.recv(100)
                if not piece:
                    raise ConnectionError(f"closed after {len(received)} bytes")
                received += piece
        self.done += 1

    def stop(self):
        self.is_stopping = True
        for thread in self.threads:
            thread.join()


@pytest.mark.threaded
def test_a_successor_takes_over_under_load_and_no_connection_fails(node):
    node.snapshot()
    successor_place = node.topology.add_host("successor", "10.78.0.50")
    stream = node.client.inside(lambda: socket.create_connection((node.server.address, 8080), 10))
    stream.sendall(b"before")
    assert stream.recv(10) == b"before"
    load = Load(node)
    first, second = node.ztunnel, None
    try:
        wait_until(lambda: load.done > 100, message="load")
        second = node.start_ztunnel("successor", namespace=successor_place)
        node.agent.accept()
        for pod in (node.client, node.server):
            assert node.agent.add(f"uid-{pod.label}", pod) == ""
        node.agent.finish_snapshot()
        wait_until(lambda: node.is_ready(successor_place), message="the successor to be ready")
        first.process.send_signal(signal.SIGTERM)
        first.wait_line("received signal SIGTERM, starting shutdown")
        so_far = load.done
        wait_until(lambda: load.done > so_far + 200, message="load on the successor")
        stream.sendall(b"after")  # an open stream goes on in the one that drains
        assert stream.recv(10) == b"after"
        assert first.is_running()
        stream.close()
        wait_until(lambda: not first.is_running(), 10, "the first to end")
        so_far = load.done
        wait_until(lambda: load.done > so_far + 50, message="load on the successor alone")
    finally:
        load.stop()
        stream.close()
    first.assert_clean()
    assert "shutdown complete" in first.text()
    assert "drain duration expired" not in first.text()
    assert load.failures == []
    second.assert_clean()
    node.ztunnel = None


def test_a_drain_waits_for_streams_until_its_deadline(node):
    node.ztunnel.stop()
    node.agent.hang_up()
    node.ztunnel = node.start_ztunnel("short", CONNECTION_TERMINATION_DEADLINE="1s")
    node.agent.accept()
    node.snapshot()
    with node.client.inside(lambda: socket.create_connection((node.server.address, 8080), 10)) as stream:
        stream.sendall(b"one")
        assert stream.recv(10) == b"one"
        node.ztunnel.process.send_signal(signal.SIGTERM)
        node.ztunnel.wait_line("starting shutdown")
        wait_until(lambda: node.get(15021, "/healthz/ready") == "", message="readiness to be closed")
        node.ztunnel.process.send_signal(signal.SIGTERM)  # once is enough
        stream.settimeout(20)
        try:
            assert stream.recv(10) == b""
        except ConnectionResetError:
            pass
    assert node.ztunnel.stop() == 0
    assert "drain duration expired with pending connections, forcefully shutting down" in node.ztunnel.text()
    assert node.ztunnel.lines("\taccess\t", "connection closed due to connection drain")
    assert "shutdown complete" in node.ztunnel.text()
    node.ztunnel = None


def test_nothing_is_taken_before_the_control_plane_has_spoken(node):
    """The gate: the node agent is not even dialled, and our own listener does not exist, until the first state is there."""
    node.ztunnel.stop()
    node.agent.hang_up()
    node.ca.auto_answer = False
    node.ztunnel = node.start_ztunnel("gated", XDS_ADDRESS=node.environment["CA_ADDRESS"], XDS_ROOT_CA=node.environment["CA_ROOT_CA"], LOCAL_XDS="",
                                      POD_NAME="ztunnel-1", POD_NAMESPACE="istio-system", SERVICE_ACCOUNT="ztunnel")
    node.ca.wait(lambda plane: len([r for s in plane.streams for r in s.requests]) >= 2)
    assert node.get(15021, "/healthz/ready") == "not ready, pending: dns proxy, proxy, state manager, workload proxy manager\n"
    assert node.get(15021, "/other") == "" and node.node.run("curl", "-s", "-I", "http://127.0.0.1:15021/healthz/ready").startswith("HTTP/1.1 405")
    node.agent.listener.settimeout(0.5)
    with pytest.raises(TimeoutError):
        node.agent.listener.accept()
    assert "inbound" not in "".join(node.ztunnel.lines("listener established"))
    node.agent.listener.settimeout(20)
    for kind in (ADDRESS, AUTHORIZATION):
        node.ca.streams[-1].send(node.ca.response(kind, {}))
    node.agent.accept()
    node.ztunnel.wait_line("listener established", "inbound")  # our own identity's
    node.agent.finish_snapshot()
    wait_until(node.is_ready, message="ready")


def test_start_up_is_told_task_by_task(node):
    assert node.get(15021, "/healthz/ready") == "not ready, pending: workload proxy manager\n"
    node.snapshot()
    text = node.ztunnel.text()
    assert "set file descriptor limits from" in text
    for component, port in ("readiness", 15021), ("admin", 15000), ("stats", 15020):
        assert node.ztunnel.lines("listener established", f':{port} component="{component}"'), component
    lines = node.ztunnel.lines("Task '", "complete (")
    assert "still awaiting" in lines[0] and "marking server ready" in lines[-1]
    assert any("Task 'workload proxy manager' complete" in line for line in lines)


def test_quitquitquit_drains_and_ends(node):
    node.snapshot()
    assert node.node.run("curl", "-s", "-X", "POST", "http://127.0.0.1:15000/quitquitquit") == "shutdown now\n"
    wait_until(lambda: not node.ztunnel.is_running(), 15, "the end")
    assert node.ztunnel.stop() == 0
    assert node.ztunnel.text().count("received explicit shutdown signal") == 1
    node.ztunnel = None


def test_a_second_interrupt_ends_at_once(node):
    node.snapshot()
    with node.client.inside(lambda: socket.create_connection((node.server.address, 8080), 10)) as stream:
        stream.sendall(b"one")
        assert stream.recv(10) == b"one"
        node.ztunnel.process.send_signal(signal.SIGINT)
        node.ztunnel.wait_line("received signal SIGINT, starting shutdown")
        assert node.ztunnel.is_running()
        node.ztunnel.process.send_signal(signal.SIGINT)
        wait_until(lambda: not node.ztunnel.is_running(), 10, "the end")
    assert node.ztunnel.process.wait() == 0
    assert "Double Ctrl+C, exit immediately" in node.ztunnel.text()
    node.ztunnel.stop()
    node.ztunnel = None


def status(pid):
    return dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines())


def assert_main_is_confined(pid, uid=0, capabilities=0):
    for task in os.listdir(f"/proc/{pid}/task"):
        main = status(f"{pid}/task/{task}")
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(main[name], 16) == (capabilities if name in ("CapPrm", "CapEff") else 0), (name, main[name])
        assert main["NoNewPrivs"] == "1"
        assert main["Uid"].split()[0] == str(uid)
        if not IS_SANITIZED:
            assert main["Seccomp"] == "2"
    if uid != 0 and not IS_SANITIZED:
        assert os.stat(f"/proc/{pid}/environ").st_uid == 0  # not dumpable


def test_the_process_with_keys_holds_no_capability_and_few_system_calls(node):
    node.snapshot()
    assert node.exchange() == b"ping"
    assert_main_is_confined(node.ztunnel.pid)
    broker, = node.ztunnel.children()
    assert status(broker)["Name"] == "socket-broker"
    assert int(status(broker)["CapEff"], 16) == 1 << 12 | 1 << 21  # NET_ADMIN, SYS_ADMIN
    assert status(broker)["Seccomp"] == "2"


def test_it_runs_as_another_user_with_the_documented_capabilities(node):
    """uid 1337 with three ambient capabilities and no more in the bounding set, as the chart's securityContext can be."""
    node.ztunnel.stop()
    node.agent.hang_up()
    os.chmod(run_directory(), 0o755)
    os.chmod(node.authority.directory, 0o755)
    os.chmod(node.agent.path, 0o777)
    node.ztunnel = node.start_ztunnel("nobody", command=[
        "setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES,
        "--bounding-set", CAPABILITIES, binary("ztunnel")])
    node.agent.accept()
    node.snapshot()
    assert node.exchange() == b"ping"
    assert_main_is_confined(node.ztunnel.pid, uid=1337)


def test_without_the_capabilities_the_start_says_which_are_missing(node):
    node.ztunnel.stop()
    node.agent.hang_up()
    refused = subprocess.run(
        node.node.command("setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all", binary("ztunnel")),
        env={"PATH": os.environ["PATH"], **node.environment}, capture_output=True, text=True, timeout=60)
    node.ztunnel = None
    assert refused.returncode == 1
    assert "in-pod mode needs CAP_SYS_ADMIN and CAP_NET_ADMIN" in refused.stderr


@pytest.mark.parametrize("keeps_source, capabilities", [("true", 1 << 12), ("false", 0)])
def test_in_dedicated_mode_only_what_sockets_need_is_kept(keeps_source, capabilities):
    victim = Victim(ENABLE_ORIG_SRC=keeps_source, PACKET_MARK="0")
    Bystander(victim).speak()
    assert_main_is_confined(victim.ztunnel.program.pid, capabilities=capabilities)
    victim.stop()
