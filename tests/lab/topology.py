"""Networks made of namespaces: nodes joined by a link, pods behind nodes. Needs root.

Every namespace of a run is named ambar-<pid>-<name>, so that runs do not meet and what a crashed run left behind is found and removed.
"""
import atexit
import ctypes
import glob
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import sys
import threading

PREFIX = "ambar"
CLONE_NEWNET = 0x40000000


def run(*command, check=True, input=None, timeout=60):
    """A command's output; raises with what it said when it fails."""
    result = subprocess.run([str(c) for c in command], input=input, capture_output=True, text=True, timeout=timeout)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def run_directory():
    """Where this run keeps its files; removed with the run, or by the next one."""
    path = f"/tmp/{PREFIX}-{os.getpid()}"
    os.makedirs(path, exist_ok=True)
    return path


def remove_directory(path):
    """With whatever is still mounted inside."""
    with open("/proc/self/mounts") as mounts:
        inside = [line.split()[1] for line in mounts if line.split()[1].startswith(path + "/")]
    for mount in reversed(inside):
        run("umount", "-l", mount, check=False)
    shutil.rmtree(path, ignore_errors=True)


def remove_leftovers():
    """Namespaces and files of runs whose process is gone."""
    for path in glob.glob(f"/tmp/{PREFIX}-*"):
        match = re.fullmatch(rf"/tmp/{PREFIX}-(\d+)", path)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            remove_directory(path)
    for line in run("ip", "netns", "list", check=False).splitlines():
        match = re.match(rf"({PREFIX}-(\d+)-\S+)", line)
        if match and not os.path.exists(f"/proc/{match.group(2)}"):
            kill_inside(match.group(1))
            run("ip", "netns", "del", match.group(1), check=False)
            shutil.rmtree(f"/etc/netns/{match.group(1)}", ignore_errors=True)


def kill_inside(namespace):
    for pid in run("ip", "netns", "pids", namespace, check=False).split():
        try:
            with open(f"/proc/{pid}/comm") as name:
                # A socket broker only visits, for a moment; one that lives here ends with its ztunnel.
                if name.read() != "socket-broker\n":
                    os.kill(int(pid), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


class Namespace:
    """One network namespace, with lo up."""

    def __init__(self, name):
        self.label = name
        self.name = f"{PREFIX}-{os.getpid()}-{name}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        # Without the wait for duplicates of link-local addresses, during which neighbours are not answered.
        self.sysctl(net__ipv6__conf__default__accept_dad=0)

    @property
    def path(self):
        return f"/run/netns/{self.name}"

    def command(self, *command):
        """`command` as it runs inside."""
        return ["ip", "netns", "exec", self.name, *map(str, command)]

    def run(self, *command, **options):
        return run(*self.command(*command), **options)

    def inside(self, function):
        """function() on a thread of this process that is inside: the sockets it makes belong here for good."""
        outcome = {}

        def body():
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {self.path}")
                outcome["value"] = function()
            except BaseException as error:
                outcome["error"] = error
            finally:
                os.close(descriptor)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def ip(self, *arguments):
        return run("ip", "-n", self.name, *arguments)

    def sysctl(self, **values):
        for key, value in values.items():
            self.run("sysctl", "-qw", f"{key.replace('__', '.')}={value}")

    def resolve_with(self, text):
        """/etc/resolv.conf of every program started inside from now on."""
        os.makedirs(f"/etc/netns/{self.name}", exist_ok=True)
        with open(f"/etc/netns/{self.name}/resolv.conf", "w") as file:
            file.write(text)

    def remove(self):
        kill_inside(self.name)
        run("ip", "netns", "del", self.name, check=False)
        shutil.rmtree(f"/etc/netns/{self.name}", ignore_errors=True)


class Pod(Namespace):
    """A pod behind a node: eth0 with its addresses, everything else through the node."""

    def __init__(self, node, name, addresses):
        super().__init__(name)
        self.node = node
        self.addresses = addresses
        node.count += 1
        outer = f"v{os.getpid() % 100000}p{node.index}{node.count}"
        run("ip", "link", "add", outer, "netns", node.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        # IPv6 neighbours answer only for addresses of the very interface: the gateway is a link-local one.
        node.ip("addr", "add", "fe80::1/64", "dev", outer, "nodad")
        node.ip("link", "set", outer, "up")
        self.ip("link", "set", "eth0", "up")
        for text in addresses:
            address = ipaddress.ip_address(text)
            bits = address.max_prefixlen
            family = "-4" if address.version == 4 else "-6"
            nodad = [] if address.version == 4 else ["nodad"]
            self.ip("addr", "add", f"{text}/{bits}", "dev", "eth0", *nodad)
            if address.version == 4:
                first = next(a for a in addresses if "." in a)
                self.ip("route", "replace", node.gateway, "dev", "eth0")
                self.ip("route", "replace", "default", "via", node.gateway, "dev", "eth0", "src", first)
            else:
                self.ip("-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0")
            node.ip(family, "route", "add", f"{text}/{bits}", "dev", outer)
        self.outer = outer

    @property
    def address(self):
        return self.addresses[0]


class Node(Namespace):
    """A node: a router for its pods, joined to the other nodes by the topology's link."""

    def __init__(self, index):
        super().__init__(f"n{index}")
        self.index = index
        self.count = 0
        self.address = f"10.78.0.{index}"
        self.pod_networks = [f"10.77.{index}.0/24", f"fd77:{index}::/64"]
        self.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        # An address of its own in the pod network, which pods use as their gateway.
        self.gateway = f"10.77.{index}.1"
        self.ip("addr", "add", f"{self.gateway}/32", "dev", "lo")


class Topology:
    """Nodes n1, n2, ... on one link (a bridge in a namespace of its own), and their pods."""

    def __init__(self, nodes=2):
        if os.geteuid() != 0:
            raise PermissionError("network namespaces need root")
        remove_leftovers()
        self.namespaces = []
        self.pods = {}
        self.nodes = {}
        atexit.register(self.remove)
        try:
            self._build(nodes)
        except BaseException:
            self.remove()
            raise

    def _build(self, count):
        self.link = self._keep(Namespace("link"))
        self.link.ip("link", "add", "br0", "type", "bridge")
        self.link.ip("link", "set", "br0", "up")
        for index in range(1, count + 1):
            node = self._keep(Node(index))
            self.nodes[node.label] = node
            port = f"p{index}"
            run("ip", "link", "add", port, "netns", self.link.name, "type", "veth", "peer", "name", "eth0", "netns", node.name)
            self.link.ip("link", "set", port, "master", "br0", "up")
            node.ip("addr", "add", f"{node.address}/24", "dev", "eth0")
            node.ip("addr", "add", f"fd78::{index}/64", "dev", "eth0", "nodad")
            node.ip("link", "set", "eth0", "up")
        for node in self.nodes.values():
            for other in self.nodes.values():
                if other is not node:
                    node.ip("route", "add", other.pod_networks[0], "via", other.address)
                    node.ip("-6", "route", "add", other.pod_networks[1], "via", f"fd78::{other.index}")

    def _keep(self, namespace):
        self.namespaces.append(namespace)
        return namespace

    def add_host(self, name, address):
        """A machine on the link that is no node: the control plane's."""
        host = self._keep(Namespace(name))
        port = f"h{len(self.namespaces)}"
        run("ip", "link", "add", port, "netns", self.link.name, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        self.link.ip("link", "set", port, "master", "br0", "up")
        host.ip("addr", "add", f"{address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        return host

    def add_pod(self, node, name, *addresses):
        pod = self._keep(Pod(self.nodes[node], name, list(addresses)))
        self.pods[name] = pod
        return pod

    def remove_pod(self, name):
        pod = self.pods.pop(name)
        self.namespaces.remove(pod)
        pod.remove()

    def remove(self):
        for namespace in reversed(self.namespaces):
            namespace.remove()
        self.namespaces = []
        self.pods = {}


def end_on_signals():
    """Ctrl-C and SIGTERM end the program through its exit handlers, so that namespaces go away."""
    def stop(number, _frame):
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
