"""One ztunnel in dedicated mode with an echo server behind it, for tests that attack it."""
import socket

from tests.lab import hbone
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import PATIENCE, ROOT, Program
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, workload

ADDRESS = "10.77.1.20"


class Victim:
    def __init__(self, executable=None, **environment):
        self.topology = Topology(1)
        self.pod = self.topology.add_pod("n1", "victim", ADDRESS)
        self.authority = Authority()
        self.certificates = self.authority.leaf(spiffe("victim"))
        model = {"workloads": [workload(self.pod)], "services": [], "policies": []}
        # Uncaptured, 15001 is dialled for its own address: that opens a tunnel to ourselves, which the pool is to let go soon.
        self.ztunnel = Ztunnel(self.pod, model, self.certificates, captured=False, executable=executable,
                               environment={"ENABLE_ORIG_SRC": "false", "POOL_UNUSED_RELEASE_TIMEOUT": "1s", **environment})
        self.echo = Program("victim-echo", ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", 8080, "echo"],
                            namespace=self.pod)
        self.echo.wait_line("listening")

    def dial(self, port):
        host = "127.0.0.1" if port == 15000 else ADDRESS
        return self.pod.inside(lambda: socket.create_connection((host, port), 10 * PATIENCE))

    def tunnel(self):
        return self.pod.inside(lambda: hbone.Client((ADDRESS, 15008), self.certificates))

    def stop(self):
        self.ztunnel.stop()
        self.topology.remove()


class Bystander:
    """A stream that echoes before, during and after."""

    def __init__(self, victim):
        self.tunnel = victim.tunnel()
        self.stream_id = self.tunnel.open(f"{ADDRESS}:8080")
        self.sent = b""

    def speak(self):
        word = b"word%d " % len(self.sent)
        self.sent += word
        self.tunnel.send_data(self.stream_id, word)
        self.tunnel.wait_for(lambda _: self.tunnel.received(self.stream_id) == self.sent)


def metric(victim, name, labels=""):
    for line in victim.ztunnel.metrics().splitlines():
        if line.startswith(name) and labels in line:
            return float(line.rsplit(" ", 1)[1])
    return 0
