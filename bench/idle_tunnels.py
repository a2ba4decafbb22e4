#!/usr/bin/python3
"""10,000 tunnels that carry nothing: what each costs in memory and descriptors, and whether all are there after a round of PINGs.

Twenty pods of one node (in-pod mode), each with a tunnel to each of 500 addresses of one server (dedicated mode).
Alone, for this figure only: /usr/bin/python3 bench/idle_tunnels.py (prints JSON)."""
import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.lab.certificates import spiffe  # noqa: E402
from tests.lab.inpod import Node  # noqa: E402
from tests.lab.process import BUILD, Program, wait_until  # noqa: E402
from tests.lab.ztunnel import Ztunnel, capture, workload  # noqa: E402

LOAD = os.path.join(os.path.dirname(BUILD), "bench", "load")
PORT = 9000
CLIENTS = 20
ADDRESSES = 500  # the pool of one pod keeps as many tunnels
AT_ONCE = 4
WARM = 10  # addresses touched before anything is measured
HELD_S = 13  # every tunnel has answered a PING by then
DEADLINE_S = 300
ENVIRONMENT = {"RUST_LOG": "info,access=off", "POOL_UNUSED_RELEASE_TIMEOUT": "600s"}


def open_tunnels(metrics, role):
    return sum(float(line.rsplit(" ", 1)[1]) for line in metrics.splitlines() if line.startswith(f'ambar_tunnels_open{{role="{role}"'))


class Street:
    def __init__(self):
        self.node = Node(nodes=2)
        topology = self.node.topology
        self.clients = [topology.add_pod("n1", f"tunneller-{i}", f"10.77.1.{20 + i}") for i in range(CLIENTS)]
        self.server = topology.add_pod("n2", "tunnelled", *[f"10.77.2.{2 + i}" if i < 250 else f"10.77.12.{i - 248}" for i in range(ADDRESSES)])
        topology.nodes["n1"].ip("route", "add", "10.77.12.0/24", "via", topology.nodes["n2"].address)
        for pod in self.clients:
            capture(pod)
        model = {"workloads": [workload(pod) for pod in [*self.clients, self.server]], "services": [], "policies": []}
        Program("load-tunnelled", [LOAD, "server", PORT], namespace=self.server).wait_line("listening")
        self.node.environment |= {"LOCAL_XDS": json.dumps(model), "ZTUNNEL_WORKER_THREADS": "1", **ENVIRONMENT}
        self.node.start()
        for pod in self.clients:
            assert self.node.agent.add(f"uid-{pod.label}", pod) == ""
        self.node.snapshot()
        self.far = Ztunnel(self.server, model, self.node.authority.leaf(spiffe(self.server.label)), environment=ENVIRONMENT)
        self.programs = [self.node.ztunnel, self.far.program]

    def touch(self, addresses):
        """A byte to each of the addresses and back, from each client."""
        def each():
            for address in addresses:
                with socket.create_connection((address, PORT), 20) as connection:
                    connection.sendall(b"L")
                    assert connection.recv(1) == b"L"

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(client.inside, each) for client in self.clients]:
                done.result()

    def tunnels(self):
        return [open_tunnels(self.node.get(15020, "/metrics"), "client"), open_tunnels(self.far.metrics(), "server")]

    def usage(self):
        return [(program.resident_kib(), program.descriptors()) for program in self.programs]

    def stop(self):
        self.far.stop()
        self.node.stop()


def measure():
    street = Street()
    try:
        street.touch(street.server.addresses[:WARM])
        time.sleep(1)
        before = street.usage()
        street.touch(street.server.addresses[WARM:])
        total = CLIENTS * ADDRESSES
        wait_until(lambda: street.tunnels() == [total, total], 10, f"{total} tunnels, not {street.tunnels()}")
        time.sleep(HELD_S)
        after, fresh = street.usage(), CLIENTS * (ADDRESSES - WARM)
        return {"total": total, "left": min(street.tunnels()), "kib": [(a[0] - b[0]) / fresh for a, b in zip(after, before)],
                "descriptors": [(a[1] - b[1]) / fresh for a, b in zip(after, before)]}
    finally:
        street.stop()


def rows():
    """[(title, seen, goal)], measured by a process of its own, whose namespaces have names of their own."""
    seen = json.loads(subprocess.run([sys.executable, os.path.abspath(__file__)], check=True, stdout=subprocess.PIPE, timeout=DEADLINE_S).stdout)
    return [(f"{seen['total']:,} idle tunnels held, KiB each (client, server)", "{:.1f}, {:.1f}".format(*seen["kib"]), "<= 6"),
            ("   descriptors each (client, server)", "{:.2f}, {:.2f}".format(*seen["descriptors"]), "1"),
            ("   there after a round of PINGs", f"{seen['left']:,.0f}", f"{seen['total']:,}")]


if __name__ == "__main__":
    print(json.dumps(measure()))
