"""Two nodes in in-pod mode, one worker each: a victim pod, an attacker, and as many equal pods as make the attacker's load together."""
import json
import os
import ssl
import subprocess
import time

from tests.lab import hbone
from tests.lab.certificates import spiffe
from tests.lab.inpod import Node
from tests.lab.node_agent import NodeAgent
from tests.lab.process import BUILD, PATIENCE, Program, binary, wait_until
from tests.lab.topology import run_directory
from tests.lab.ztunnel import capture, workload

LOAD = os.path.join(os.path.dirname(BUILD), "bench", "load")
PORT = 9000
SETTLE_S = 0.5
SETTLED_DESCRIPTORS = 1000
URGENT = ["nice", "-n", "-10"]


def client_hello(certificates):
    """A file with the first flight of a tunnel's handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        hbone.tls_context("client", *certificates).wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        pass
    path = os.path.join(run_directory(), "client-hello")
    with open(path, "wb") as file:
        file.write(outgoing.read())
    return path


class Attack:
    """What all attacking pods do together."""

    def __init__(self, held=0, flood=0, bulk=0, ping=0):
        """Connections held open; handshakes begun at a time at the victim's server and never finished; streams of bulk and of small requests."""
        self.held, self.flood, self.bulk, self.ping = held, flood, bulk, ping


class Crowd(Node):
    """The victim and whoever attacks live on n1, the servers on n2. The proxies and the victim go before the attackers' programs: what these
    take from each other by being one or many is the system's affair, not the proxy's."""

    def __init__(self, equals, **environment):
        super().__init__(nodes=2)
        add = self.topology.add_pod
        self.victim = add("n1", "victim", "10.77.1.12")
        self.equals = [add("n1", f"equal-{i}", f"10.77.1.{20 + i}") for i in range(equals)]
        self.sink = add("n2", "sink", "10.77.2.11")
        self.victim_server = add("n2", "victim-server", "10.77.2.12")
        near = [self.victim, *self.equals]
        far = [self.sink, self.victim_server]
        for pod in [self.client, *near, *far]:
            # Else the clients' own kernel, looking for ports among those of the round before, is what is measured.
            pod.sysctl(net__ipv4__tcp_tw_reuse=1, net__ipv4__ip_local_port_range="16000 65000")
        for pod in near + far:
            capture(pod)
        self.model["workloads"] += [workload(pod) for pod in near + far]
        self.environment |= {"LOCAL_XDS": json.dumps(self.model), "ZTUNNEL_WORKER_THREADS": "1", "RUST_LOG": "info", **environment}
        for pod in far:
            Program(f"load-{pod.label}", [*URGENT, LOAD, "server", PORT], namespace=pod).wait_line("listening")
        self.ztunnel = self.start_ztunnel("inpod-ztunnel", command=[*URGENT, binary("ztunnel")])
        self.agent.accept()
        for pod in near:
            assert self.agent.add(f"uid-{pod.label}", pod) == ""
        self.snapshot()
        self._start_far(far)
        self.hello = client_hello(self.authority.leaf(spiffe("client")))

    def _start_far(self, pods):
        self.far_node = self.topology.nodes["n2"]
        self.far_agent = NodeAgent(os.path.join(run_directory(), "zds-far.sock"))
        self.far = self.start_ztunnel("inpod-ztunnel-far", self.far_node, [*URGENT, binary("ztunnel")], INPOD_UDS=self.far_agent.path)
        self.far_agent.accept()
        for pod in pods:
            assert self.far_agent.add(f"uid-{pod.label}", pod) == ""
        self.far_agent.finish_snapshot()
        wait_until(lambda: self.is_ready(self.far_node), message="ready")

    def load(self, pod, server, port, mode, streams, seconds, argument=1):
        command = pod.command(*(URGENT if pod is self.victim else []), LOAD, mode, server.address, port, streams, seconds, argument)
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def victim_latency(self, seconds):
        """(p50, p99) of the victim's requests of 1 KiB, in microseconds."""
        output, _ = self.load(self.victim, self.victim_server, PORT, "ping", 1, seconds, 1024).communicate(timeout=60 * PATIENCE)
        report = json.loads(output.splitlines()[-1])
        return report["p50_us"], report["p99_us"]

    def beside(self, pods, attack, seconds):
        """The victim's latency while `pods` share the attack evenly."""
        loads = []
        lasts = seconds + 60
        try:
            for mode, total, server, port, argument in (("hold", attack.held, self.sink, PORT, 1), ("flood", attack.flood, self.victim_server, 15008, self.hello),
                                                        ("up", attack.bulk, self.sink, PORT, 1), ("ping", attack.ping, self.sink, PORT, 1)):
                shares = [total // len(pods) + (i < total % len(pods)) for i in range(len(pods))]
                started = [self.load(pod, server, port, mode, share, lasts, argument) for pod, share in zip(pods, shares) if share > 0]
                loads += started
                for load in started:
                    assert load.stdout.readline().startswith("measuring"), f"{mode} ended"
            latency = self.victim_latency(seconds)
            assert all(load.poll() is None for load in loads), "the attack has ended early"
            return latency
        finally:
            for load in loads:
                load.kill()
            for load in loads:
                load.wait()
            wait_until(lambda: all(z.descriptors() < SETTLED_DESCRIPTORS for z in (self.ztunnel, self.far)), message="connections to be gone", interval=0.1)
            time.sleep(SETTLE_S)

    def stop(self):
        self.far.assert_clean()
        self.far_agent.stop()
        super().stop()
