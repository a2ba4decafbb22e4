"""One node in in-pod mode: ztunnel, two captured pods, a CA on grpcio, and the node agent played by the test."""
import json
import os
import socket
import threading

from tests.lab.certificates import Authority
from tests.lab.control_plane import ControlPlane
from tests.lab.messages import ca
from tests.lab.node_agent import NodeAgent
from tests.lab.process import ROOT, Program, binary, wait_until
from tests.lab.topology import Topology, run_directory
from tests.lab.ztunnel import capture, workload

SERVER = ["/usr/bin/python3", "-u", f"{ROOT}/tests/lab/tcp_peer.py", "serve", 8080, "echo"]


class Node:
    """One node with two captured pods, a ztunnel in shared mode, and the agent played by the test."""

    def __init__(self, nodes=1):
        self.topology = Topology(nodes)
        self.node = self.topology.nodes["n1"]
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n1", "server", "10.77.1.11")
        for pod in (self.client, self.server):
            capture(pod)
        self.agent = NodeAgent(os.path.join(run_directory(), "zds.sock"))
        self.authority = Authority()
        self.signing = threading.Lock()  # the authority's files are for one at a time
        certificate, key, roots = self.authority.leaf(f"IP:{self.node.address}")
        self.ca = self.node.inside(lambda: ControlPlane(certificate=certificate, key=key, ca_handler=self.issue, host="0.0.0.0"))
        token = os.path.join(run_directory(), "token")
        with open(token, "w") as file:
            file.write("token")
        self.model = {"workloads": [workload(self.client), workload(self.server)], "services": [], "policies": []}
        self.environment = {
            "INPOD_ENABLED": "true", "INPOD_UDS": self.agent.path, "XDS_ADDRESS": "", "LOCAL_XDS": json.dumps(self.model),
            "CA_ADDRESS": f"https://{self.node.address}:{self.ca.port}", "CA_ROOT_CA": roots, "AUTH_TOKEN": token, "ZTUNNEL_WORKER_THREADS": "2",
            "RUST_LOG": "info", "TERMINATION_GRACE_PERIOD_SECONDS": "10",
        }
        self.echo = Program("inpod-echo", SERVER, namespace=self.server)
        self.echo.wait_line("listening")
        self.ztunnel = None

    def start(self):
        """With a proxy that the agent has not told anything yet."""
        self.ztunnel = self.start_ztunnel("inpod-ztunnel")
        self.agent.accept()
        return self

    def issue(self, request, _context):
        identity = next(f.value.string_value for f in request.metadata.fields if f.key == "ImpersonatedIdentity")
        with self.signing:
            return ca.IstioCertificateResponse(cert_chain=self.authority.sign_request(request.csr, identity))

    def start_ztunnel(self, name, namespace=None, command=(), **environment):
        """`command`: what to start it with instead of itself; `namespace`: where, instead of the node's."""
        return Program(name, [*(command or [binary("ztunnel")]), "proxy", "ztunnel"], namespace=namespace or self.node,
                       environment={**self.environment, **environment})

    def restart(self, **environment):
        """A new proxy in place of the present one, told about both pods."""
        self.ztunnel.assert_clean()
        self.agent.hang_up()
        self.ztunnel = self.start_ztunnel(f"{self.ztunnel.name}-again", **environment)
        self.agent.accept()
        self.snapshot()

    def snapshot(self):
        """The agent's part of a start: both pods, and ready."""
        for pod in (self.client, self.server):
            assert self.agent.add(f"uid-{pod.label}", pod) == ""
        self.agent.finish_snapshot()
        wait_until(self.is_ready, message="ready")

    def get(self, port, path, namespace=None):
        return (namespace or self.node).run("curl", "-s", "-m", "5", f"http://127.0.0.1:{port}{path}", check=False)

    def is_ready(self, namespace=None):
        return self.get(15021, "/healthz/ready", namespace) == "ready\n"

    def pods(self):
        return json.loads(self.get(15000, "/config_dump"))["workloadState"]

    def wait_enrolment(self, uid, state):
        def found():
            enrolment = self.pods().get(uid, {}).get("enrolment", {})
            return enrolment if enrolment.get("state") == state else None
        try:
            return wait_until(found, 40, f"{uid} to be {state}", interval=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.pods()}") from None

    def exchange(self, payload=b"ping"):
        """A word through client's capture to server and back."""
        with self.client.inside(lambda: socket.create_connection((self.server.address, 8080), 10)) as connection:
            connection.sendall(payload)
            return connection.recv(100)

    def stop(self):
        if self.ztunnel is not None:
            self.ztunnel.assert_clean()
        self.agent.stop()
        self.ca.stop()
        self.topology.remove()
