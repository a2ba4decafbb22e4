"""Pods share a worker by turns: what one pod does with many connections costs another no more than the same load from many pods."""
import json
import os
import subprocess

import pytest

from tests.lab.inpod import Node
from tests.lab.process import BUILD, Program
from tests.lab.ztunnel import capture, workload

LOAD = os.path.join(os.path.dirname(BUILD), "bench", "load")
PORT = 9000
POOR = 8  # pods among which the attacker's load is shared out
STREAMS = 64
SECONDS = 1.5

pytestmark = pytest.mark.skipif(not os.path.exists(LOAD) or "AMBAR_SANITIZED" in os.environ, reason="compares times; needs `make bench-binaries`")


class Crowd(Node):
    """One worker; an attacker, a victim, and as many equal pods as make the attacker's load."""

    def __init__(self):
        super().__init__()
        self.victim = self.topology.add_pod("n1", "victim", "10.77.1.12")
        self.victim_server = self.topology.add_pod("n1", "victim-server", "10.77.1.13")
        self.poor = [self.topology.add_pod("n1", f"poor-{i}", f"10.77.1.{20 + i}") for i in range(POOR)]
        others = [self.victim, self.victim_server, *self.poor]
        for pod in others:
            capture(pod)
        self.model["workloads"] += [workload(pod) for pod in others]
        self.environment |= {"LOCAL_XDS": json.dumps(self.model), "ZTUNNEL_WORKER_THREADS": "1", "RUST_LOG": "error"}
        for pod in (self.server, self.victim_server):
            Program(f"load-{pod.label}", [LOAD, "server", PORT], namespace=pod).wait_line("listening")
        self.start()
        for pod in others:
            assert self.agent.add(f"uid-{pod.label}", pod) == ""
        self.snapshot()

    def load(self, pod, server, mode, streams, seconds, size=1):
        return subprocess.Popen(pod.command(LOAD, mode, server.address, PORT, streams, seconds, size), stdout=subprocess.PIPE, text=True)

    def victim_latency(self):
        """(p50, p99) of the victim's small requests in microseconds."""
        output, _ = self.load(self.victim, self.victim_server, "ping", 1, SECONDS).communicate(timeout=60)
        report = json.loads(output.splitlines()[-1])
        return report["p50_us"], report["p99_us"]

    def beside(self, pods, mode):
        """The victim's latency while `pods` together hold STREAMS streams."""
        loads = [self.load(pod, self.server, mode, STREAMS // len(pods), 2 * SECONDS) for pod in pods]
        try:
            return self.victim_latency()
        finally:
            for load in loads:
                load.kill()
                load.wait()


@pytest.fixture(scope="module")
def crowd():
    crowd = Crowd()
    yield crowd
    crowd.stop()


@pytest.mark.parametrize("mode", ["ping", "up"])
def test_one_pod_with_many_connections_is_no_worse_a_neighbour_than_many_pods(crowd, mode):
    crowd.victim_latency()  # its tunnel is there
    ratios = []
    for _ in range(3):
        one, many = crowd.beside([crowd.client], mode), crowd.beside(crowd.poor, mode)
        print(f"{mode}: p50 {one[0]:.0f} us, p99 {one[1]:.0f} us beside one pod; {many[0]:.0f} us, {many[1]:.0f} us beside {POOR}")
        ratios.append(one[1] / many[1])
        if min(ratios) <= 2:
            return
    raise AssertionError(f"p99 beside one pod of that beside {POOR}: {ratios}")
