"""The ways from a client to a server that the benchmarks compare, each between two pods of its own on the same two nodes."""
import atexit
import json
import os
import subprocess

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import BUILD, Program, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, capture, workload

TOOLS = os.path.join(os.path.dirname(BUILD), "bench")
PORT = 9000
# One machine plays all parts: without these the host's congestion control and the ports in TIME_WAIT would be measured.
SETTINGS = {"net.ipv4.tcp_congestion_control": "cubic", "net.ipv4.tcp_tw_reuse": "1", "net.ipv4.ip_local_port_range": "16000 65000"}


def cpu_seconds(pids):
    """User and system time of processes and their threads so far, from the scheduler."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total / 1e9


def allow_cubic():
    """A namespace may only choose what the host allows everybody: without this a bbr host would pace the tunnels and not the relay, whose
    sockets ask for cubic themselves. Undone at exit."""
    path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
    with open(path) as file:
        allowed = file.read().split()
    if "cubic" in allowed:
        return

    def set_allowed(names):
        with open(path, "w") as file:
            file.write(" ".join(names))

    set_allowed([*allowed, "cubic"])
    atexit.register(set_allowed, allowed)


class Path:
    """One way from client to server, and the processes in between."""

    def __init__(self, name, client, server, programs):
        self.name, self.client, self.server = name, client, server
        self.host = server.address
        self.programs = programs

    @property
    def pids(self):
        return [p.pid for p in self.programs] + [child for p in self.programs for child in p.children()]

    def load(self, mode, streams, seconds, size=1):
        """The load, running; its first line has been read when it measures."""
        command = self.client.command(os.path.join(TOOLS, "load"), mode, self.host, PORT, streams, seconds, size)
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while True:
            line = load.stdout.readline()
            if line.startswith("measuring"):
                return load
            if not line:
                raise RuntimeError(f"{self.name} {mode}: {load.stderr.read()}")

    def finish(self, load, timeout):
        """What a load reports at its end."""
        output, error = load.communicate(timeout=timeout)
        if load.returncode != 0:
            raise RuntimeError(f"{self.name}: {error}")
        return json.loads(output)

    def measure(self, mode, streams, seconds, size=1):
        load = self.load(mode, streams, seconds, size)
        before = cpu_seconds(self.pids)
        report = self.finish(load, 60 + seconds)
        report["cpu"] = cpu_seconds(self.pids) - before
        return report


class Street:
    """Two nodes joined by veth, and the paths between their pods."""

    def __init__(self):
        allow_cubic()
        self.topology = Topology(2)
        for namespace in self.topology.namespaces:
            self.tune(namespace)
        self.paths = {}
        self.ztunnels = {}

    @staticmethod
    def tune(namespace):
        for key, value in SETTINGS.items():
            namespace.run("sysctl", "-qw", f"{key}={value}")

    def pods(self, suffix, number):
        client = self.topology.add_pod("n1", f"client-{suffix}", f"10.77.1.{number}")
        server = self.topology.add_pod("n2", f"server-{suffix}", f"10.77.2.{number}")
        for pod in (client, server):
            self.tune(pod)
        Program(f"load-{suffix}", [os.path.join(TOOLS, "load"), "server", PORT], namespace=server).wait_line("listening")
        return client, server

    def add_direct(self):
        client, server = self.pods("direct", 10)
        self.paths["direct"] = Path("direct", client, server, [])

    def add_relay(self):
        client, server = self.pods("relay", 20)
        relay = os.path.join(TOOLS, "relay")
        far = Program("relay-far", [relay, 15009, "fixed", server.address, PORT], namespace=server)
        near = Program("relay-near", [relay, 15001, "captured", server.address, 15009], namespace=client)
        far.wait_line("listening")
        near.wait_line("listening")
        capture(client)
        self.paths["relay"] = Path("relay", client, server, [near, far])

    def add_mesh(self, name, number, executable=None, environment=None):
        """Two ztunnels, ours or another program that takes the same environment."""
        client, server = self.pods(name, number)
        authority = Authority()
        model = {"workloads": [workload(client), workload(server)], "services": [], "policies": []}
        options = {"environment": {"RUST_LOG": "error", **(environment or {})}, "wait": False, "executable": executable}
        near = Ztunnel(client, model, authority.leaf(spiffe(client.label)), **options)
        far = Ztunnel(server, model, authority.leaf(spiffe(server.label)), **options)
        for ztunnel in (near, far):
            wait_until(lambda z=ztunnel: z.pod.run("curl", "-s", "-m", "1", "http://127.0.0.1:15021/healthz/ready", check=False) == "ready\n", 10, "ready")
        self.ztunnels[name] = (near, far)
        self.paths[name] = Path(name, client, server, [near.program, far.program])
