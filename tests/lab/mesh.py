"""A whole mesh on one machine: ambard in a namespace of its own, one ztunnel and one ambar-cni agent a node, pods enrolled."""
import os
import shutil
import subprocess
import tempfile

from tests.lab.process import PATIENCE, Program, binary, wait_until
from tests.lab.topology import Topology, remove_directory, run_directory

CONTROL_ADDRESS = "10.78.0.100"


class Mesh:
    """Starts in the order of a real installation and stops in reverse. `directory` keeps everything that the run writes."""

    def __init__(self, configuration, nodes=2, ztunnel=None, environment=None):
        self.directory = tempfile.mkdtemp(prefix="mesh-", dir=run_directory())
        self.configuration = os.path.join(self.directory, "config")
        self.overlay = os.path.join(self.directory, "overlay")
        self.state = os.path.join(self.directory, "state")
        shutil.copytree(configuration, self.configuration)
        os.makedirs(self.overlay)
        self.topology = Topology(nodes)
        self.control = self.topology.add_host("control", CONTROL_ADDRESS)
        self.ztunnel_binary = ztunnel or binary("ztunnel")
        self.environment = environment or {}
        self.ambard = None
        self.agents = {}
        self.ztunnels = {}
        self.enrolled = {}

    def file(self, name):
        return os.path.join(self.directory, name)

    def start_ambard(self):
        self.ambard = Program("ambard", [
            binary("ambard"), "--config-dir", self.configuration, "--overlay-dir", self.overlay, "--state-dir", self.state,
            "--serving-name", CONTROL_ADDRESS, "--log", "info,ambard::discovery=debug",
        ], namespace=self.control, log=self.file("ambard.log"))
        self.ambard.wait_line("serving")

    def token(self, node, account="istio-system/ztunnel", ttl="12h"):
        return subprocess.run([binary("ambard"), "token", "--node", node, "--service-account", account, "--ttl", ttl, "--state-dir",
                               self.state], check=True, capture_output=True, text=True).stdout

    def start_agent(self, name):
        node = self.topology.nodes[name]
        self.agents[name] = Program(f"agent-{name}", [
            binary("ambar-cni"), "agent", "--ztunnel-uds-address", self.file(f"zds-{name}.sock"), "--socket", self.file(f"agent-{name}.sock"),
            "--state-dir", self.file(f"agent-{name}"), "--overlay-dir", self.overlay, "--netns-dir", self.file(f"netns-{name}"),
        ], namespace=node, log=self.file(f"agent-{name}.log"))
        wait_until(lambda: os.path.exists(self.file(f"agent-{name}.sock")), message=f"the agent of {name}")

    def start_ztunnel(self, name, **extra):
        node = self.topology.nodes[name]
        with open(self.file(f"{name}.token"), "w") as file:
            file.write(self.token(name))
        root = os.path.join(self.state, "root-cert.pem")
        self.ztunnels[name] = Program(f"ztunnel-{name}", [self.ztunnel_binary, "proxy", "ztunnel"], namespace=node, environment={
            "XDS_ADDRESS": f"https://{CONTROL_ADDRESS}:15012", "CA_ADDRESS": f"https://{CONTROL_ADDRESS}:15012",
            "XDS_ROOT_CA": root, "CA_ROOT_CA": root, "AUTH_TOKEN": self.file(f"{name}.token"), "NODE_NAME": name,
            "POD_NAME": f"ztunnel-{name}", "POD_NAMESPACE": "istio-system", "SERVICE_ACCOUNT": "ztunnel", "INPOD_UDS": self.file(f"zds-{name}.sock"),
            "ZTUNNEL_WORKER_THREADS": "2", "RUST_LOG": "info,ztunnel::state=debug", **self.environment, **extra,
        }, log=self.file(f"ztunnel-{name}.log"))

    def start(self):
        self.start_ambard()
        for name in self.topology.nodes:
            self.start_agent(name)
            self.start_ztunnel(name)
        for name in self.topology.nodes:
            self.wait_ready(name)
        return self

    def wait_ready(self, name, timeout=30):
        node = self.topology.nodes[name]
        wait_until(lambda: node.run("curl", "-s", "-m", "2", "http://127.0.0.1:15021/healthz/ready", check=False).startswith("ready"), timeout,
                   f"ztunnel of {name} to be ready:\n{self.ztunnels[name].text()[-2000:]}")

    def cni(self, node, *arguments, check=True):
        command = [binary("ambar-cni"), *arguments, "--socket", self.file(f"agent-{node}.sock")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60 * PATIENCE)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {result.stdout}{result.stderr}\n{self.agents[node].text()[-2000:]}")
        return result

    def enroll(self, pod, namespace, account):
        """Enrols a pod of the topology; its traffic is the mesh's when this returns and ambard has seen it."""
        arguments = ["enroll", "--netns", pod.path, "--namespace", namespace, "--name", pod.label, "--service-account", account]
        for address in pod.addresses:
            arguments += ["--address", address]
        self.cni(pod.node.label, *arguments)
        self.enrolled[pod.label] = (pod, namespace)

    def wait_enrolled(self, timeout=20):
        """Until every ztunnel knows every enrolled pod as an HBONE workload."""
        import json
        wanted = set(self.enrolled)

        def known():
            for name, node in self.topology.nodes.items():
                text = node.run("curl", "-s", "-m", "5", "http://127.0.0.1:15000/config_dump", check=False)
                try:
                    dump = json.loads(text)
                except ValueError:
                    return False
                if not wanted <= {w["name"] for w in dump["workloads"] if w["protocol"] == "HBONE"}:
                    return False
            return True

        wait_until(known, timeout, "enrolled pods to be known everywhere", interval=0.1)

    def write(self, name, text):
        """A file of the configuration folder, replaced at once."""
        path = os.path.join(self.configuration, name)
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def edit(self, name, old, new, count=1):
        path = os.path.join(self.configuration, name)
        text = open(path).read()
        assert old in text, f"{name} has no {old!r}"
        self.write(name, text.replace(old, new, count))

    def delete(self, name):
        os.unlink(os.path.join(self.configuration, name))

    def metrics(self, node):
        return self.topology.nodes[node].run("curl", "-s", "-m", "5", "http://127.0.0.1:15020/metrics")

    def stop(self):
        for name, (pod, namespace) in list(self.enrolled.items()):
            if name in self.topology.pods and pod.node.label in self.agents and self.agents[pod.node.label].is_running():
                self.cni(pod.node.label, "remove", "--namespace", namespace, "--name", name, check=False)
        problems = []
        for program in [*self.ztunnels.values(), *self.agents.values(), self.ambard]:
            if program is not None:
                try:
                    program.assert_clean()
                except AssertionError as error:
                    problems.append(str(error))
        self.topology.remove()
        if not problems:
            remove_directory(self.directory)
        return problems
