"""The mesh under fault: two nodes, the shop's pods with applications that check every byte, and what counts bytes that escape."""
import json
import os
import re

from tests.lab.mesh import Mesh
from tests.lab.process import ROOT, Program

APPLICATION = os.path.join(ROOT, "tests/faults/application.py")
SERVERS = {"catalogue-1": ("n2", "10.77.2.20"), "catalogue-2": ("n1", "10.77.1.20")}
CATALOGUE = "10.96.77.20"
POD = """apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: {account}}}}}
spec: {{nodeName: {node}, serviceAccountName: {account}, containers: [{{name: x, image: x}}]}}
status: {{phase: Running, podIP: {address}, podIPs: [{{ip: {address}}}], conditions: [{{type: Ready, status: "True"}}]}}
"""

# Between nodes, whatever a pod of the mesh sends or gets that is not a tunnel.
ESCAPES = """table inet escapes {
 set meshed { type ipv4_addr; elements = { 10.77.1.10, 10.77.2.11, 10.77.1.20, 10.77.2.20, 10.77.2.30 } }
 counter escaped { }
 chain forward { type filter hook forward priority 0;
  tcp dport 15008 accept
  tcp sport 15008 accept
  oifname "eth0" ip saddr @meshed ip daddr @meshed counter name escaped
 }
}
"""


class Client:
    """A pod that asks the catalogue all the time."""

    def __init__(self, rig, name, may_ask):
        self.name = name
        self.may_ask = may_ask
        self.rig = rig
        self.read = 0
        self.program = None

    def start(self, workers, seed):
        self.read = 0
        self.program = Program(f"ask-{self.name}", ["/usr/bin/python3", "-u", APPLICATION, "ask", CATALOGUE, "80", workers, f"{seed}-{self.name}",
                                                   self.rig.marker], namespace=self.rig.mesh.topology.pods[self.name])

    def refresh(self):
        """Records of connections that have ended since the last call."""
        with open(self.program.log) as file:
            file.seek(self.read)
            lines = file.readlines()
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
        self.read += sum(len(line) for line in lines)
        return [json.loads(line) for line in lines if line.startswith("{")]


class Rig:
    def __init__(self, seed, environment=None):
        self.marker = f"<<{seed}-marker>>"
        self.mesh = Mesh(os.path.join(ROOT, "examples/shop"), environment={
            "POOL_UNUSED_RELEASE_TIMEOUT": "2s", "SECRET_TTL": "1h", "RUST_LOG": "info", **(environment or {})})
        topology = self.mesh.topology
        topology.add_pod("n1", "web-1", "10.77.1.10")
        topology.add_pod("n2", "web-2", "10.77.2.11")
        topology.add_pod("n2", "redis-1", "10.77.2.30")
        topology.add_pod("n1", "outsider", "10.77.1.90")
        for name, (node, address) in SERVERS.items():
            topology.add_pod(node, name, address)
        self.servers = {}
        self.clients = [Client(self, "web-1", True), Client(self, "web-2", True), Client(self, "redis-1", False), Client(self, "outsider", False)]

    def start(self):
        self.mesh.write("web-2.yaml", POD.format(name="web-2", account="web", node="n2", address="10.77.2.11"))
        for node in self.mesh.topology.nodes.values():
            node.run("nft", "-f", "-", input=ESCAPES)
        for name in SERVERS:
            self.start_server(name)
        self.mesh.start()
        for name, pod in self.mesh.topology.pods.items():
            if name != "outsider":
                self.mesh.enroll(pod, "shop", name.rsplit("-", 1)[0])
        self.mesh.wait_enrolled()

    def start_server(self, name):
        self.servers[name] = Program(f"serve-{name}", ["/usr/bin/python3", "-u", APPLICATION, "serve", "8080", name],
                                     namespace=self.mesh.topology.pods[name])
        self.servers[name].wait_line("listening")

    def start_load(self, workers, seed):
        for client in self.clients:
            client.start(workers if client.may_ask else 1, seed)

    def stop_load(self):
        for client in self.clients:
            client.program.kill()

    def escaped_packets(self):
        total = 0
        for node in self.mesh.topology.nodes.values():
            text = node.run("nft", "list", "counter", "inet", "escapes", "escaped")
            total += int(re.search(r"packets (\d+)", text).group(1))
        return total

    def link(self, port, state):
        """The cable of a node (p1, p2) or of the control plane's machine."""
        self.mesh.topology.link.ip("link", "set", port, state)

    def control_port(self):
        for line in self.mesh.topology.link.ip("-o", "link").splitlines():
            match = re.search(r": (h\d+)@", line)
            if match:
                return match.group(1)
        raise AssertionError("the control plane has no cable")

    def stop(self):
        problems = self.mesh.stop()
        for program in self.servers.values():
            program.kill()
        return problems


def access_lines(mesh):
    """Access-log lines of all ztunnels of the run, those of killed ones too: their log files are appended to each other."""
    for name in os.listdir(mesh.directory):
        if name.startswith("ztunnel-") and ".log" in name:
            with open(os.path.join(mesh.directory, name), errors="replace") as file:
                yield from (line for line in file if "\taccess\t" in line)
