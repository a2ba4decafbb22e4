"""A pod whose home worker is saturated is served by a further worker too, with tunnels of its own, and leaves both when it goes."""
import os
import re
import socket
import subprocess

import pytest

from tests.lab import node_agent
from tests.lab.inpod import Node
from tests.lab.process import BUILD, Program, wait_until

LOAD = os.path.join(os.path.dirname(BUILD), "bench", "load")
PORT = 9000

pytestmark = pytest.mark.skipif(not os.path.exists(LOAD), reason="needs `make bench-binaries`")


@pytest.fixture
def node():
    """Three workers: one has the client, one the server, one nothing; a tenth of a processor counts as saturated."""
    node = Node()
    node.environment |= {"ZTUNNEL_WORKER_THREADS": "3", "WORKER_SATURATED_PERCENT": "10"}
    Program("load-server", [LOAD, "server", PORT], namespace=node.server).wait_line("listening")
    node.start()
    node.snapshot()
    yield node
    node.stop()


def handed_over(node):
    return int(re.search(r"^ambar_connections_handed_over_total (\d+)$", node.get(15020, "/metrics"), re.M)[1])


def open_handed_over(node):
    """A connection of the client that is certainly on a further worker: none was handed over besides."""
    before = handed_over(node)
    connection = node.client.inside(lambda: socket.create_connection((node.server.address, 8080), 10))
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    if handed_over(node) > before:
        return connection
    connection.close()
    return None


@pytest.mark.threaded
def test_a_saturated_pods_connections_are_served_by_a_further_worker_and_end_with_it(node):
    bulk = subprocess.Popen(node.client.command(LOAD, "up", node.server.address, PORT, 4, 30, 1), stdout=subprocess.DEVNULL)
    try:
        connection = wait_until(lambda: open_handed_over(node), timeout=25, message="a connection handed over")
    finally:
        bulk.kill()
        bulk.wait()
    connection.sendall(b"quiet again")
    assert connection.recv(11) == b"quiet again"
    source = "{}:{}".format(*connection.getsockname()[:2])
    assert source in node.get(15000, "/debug/connections")
    assert node.exchange() == b"ping"  # the home worker serves too
    assert node.agent.ask(node_agent.delete("uid-client")) == ""
    connection.settimeout(10)
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass
    wait_until(lambda: set(node.pods()) == {"uid-server"}, message="the pod gone from both workers")
    assert node.agent.add("uid-client", node.client) == ""
    assert node.exchange() == b"ping"
