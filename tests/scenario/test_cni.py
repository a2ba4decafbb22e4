"""ambar-cni with real namespaces and rules, and a proxy written from the protocol's reference."""
import glob
import json
import os
import re
import socket
import stat
import subprocess
import time

import pytest

from tests.lab.fake_ztunnel import FakeZtunnel
from tests.lab.process import PATIENCE, Program, binary, wait_until
from tests.lab.topology import Topology, run_directory

ADDRESSES = ["10.77.1.30", "fd77:1::30"]

# cni §7.6, as nft prints it: per chain, in order. Nothing else may be there.
RULES = {
    "istio-ambient-nat": {
        "prerouting": ["type nat hook prerouting priority dstnat; policy accept;", "jump istio-prerouting"],
        "output": ["type nat hook output priority -100; policy accept;", "jump istio-output"],
        "istio-prerouting": [
            "meta l4proto tcp ip saddr 169.254.7.127 counter accept",
            "meta l4proto tcp ip6 saddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept",
            "ip daddr != 127.0.0.1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006",
            "ip6 daddr != ::1 tcp dport != 15008 meta mark & 0x00000fff != 0x00000539 counter redirect to :15006",
        ],
        "istio-output": [
            "meta l4proto tcp ip daddr 169.254.7.127 counter accept",
            "meta l4proto tcp ip6 daddr fd16:9254:7127:1337:ffff:ffff:ffff:ffff counter accept",
            'oifname != "lo" meta mark & 0x00000fff != 0x00000539 udp dport 53 counter redirect to :15053',
            "ip daddr != 127.0.0.1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053",
            "ip6 daddr != ::1 tcp dport 53 meta mark & 0x00000fff != 0x00000539 counter redirect to :15053",
            "meta l4proto tcp meta mark & 0x00000fff == 0x00000111 counter accept",
            'oifname "lo" ip daddr != 127.0.0.1 counter accept',
            'oifname "lo" ip6 daddr != ::1 counter accept',
            "meta l4proto tcp ip daddr != 127.0.0.1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001",
            "meta l4proto tcp ip6 daddr != ::1 meta mark & 0x00000fff != 0x00000539 counter redirect to :15001",
        ],
    },
    "istio-ambient-mangle": {
        "prerouting": ["type filter hook prerouting priority mangle; policy accept;", "jump istio-prerouting"],
        "output": ["type route hook output priority mangle; policy accept;", "jump istio-output"],
        "istio-prerouting": [r"meta mark & 0x00000fff == 0x00000539 counter ct mark set ct mark & 0xfffff... | 0x00000111"],
        "istio-output": ["ct mark & 0x00000fff == 0x00000111 counter meta mark set ct mark"],
    },
    "istio-ambient-raw": {
        "prerouting": ["type filter hook prerouting priority raw; policy accept;", "jump istio-prerouting"],
        "output": ["type filter hook output priority raw; policy accept;", "jump istio-output"],
        "istio-prerouting": ["udp sport 53 meta mark & 0x00000fff != 0x00000539 counter ct zone set 1"],
        "istio-output": ["udp dport 53 meta mark & 0x00000fff == 0x00000539 counter ct zone set 1"],
    },
}

LISTENER = """
import socket, struct, sys
server = socket.create_server(("::", 15001), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, peer = server.accept()
    try:
        raw = connection.getsockopt(socket.SOL_IP, 80, 16)
        port, address = struct.unpack("!2xH4s8x", raw)
        text = socket.inet_ntop(socket.AF_INET, address)
    except OSError:
        raw = connection.getsockopt(41, 80, 28)
        port, = struct.unpack("!H", raw[2:4])
        text = socket.inet_ntop(socket.AF_INET6, raw[8:24])
    connection.sendall(f"{text} {port}".encode())
    connection.close()
"""

CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    print(connection.recv(200).decode())
"""


class World:
    """One node with one pod and an agent; each test has its own."""

    def __init__(self):
        self.topology = Topology(1)
        self.node = self.topology.nodes["n1"]
        self.pod = self.topology.add_pod("n1", "web-1", *ADDRESSES)
        self.directory = os.path.join(run_directory(), "cni")
        os.makedirs(self.directory)
        self.proxies = []
        self.starts = 0
        self.agent = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def start_agent(self, *options):
        self.starts += 1
        # nsenter, not `ip netns exec`: mounts made by the agent outlive it, as on a real node.
        self.agent = Program("agent", [
            "nsenter", f"--net={self.node.path}", binary("ambar-cni"), "agent", "--ztunnel-uds-address", self.path("zds.sock"),
            "--socket", self.path("agent.sock"), "--state-dir", self.path("state"), "--overlay-dir", self.path("overlay"),
            "--netns-dir", self.path("netns"), *options,
        ], log=self.path(f"agent-{self.starts}.log"))
        self.agent.wait_line("agent is ready")

    def restart_agent(self, *options):
        self.agent.assert_clean()
        self.start_agent(*options)

    def proxy(self, decide=lambda request: "", **options):
        proxy = FakeZtunnel(self.path("zds.sock"), decide, **options)
        self.proxies.append(proxy)
        return proxy

    def ready_proxy(self, decide=lambda request: ""):
        proxy = self.proxy(decide)
        proxy.wait("snapshot_sent")
        return proxy

    def cni(self, *arguments, code=0):
        result = subprocess.run([binary("ambar-cni"), *arguments, "--socket", self.path("agent.sock")], capture_output=True, text=True,
                                timeout=60 * PATIENCE)
        assert result.returncode == code, f"{arguments}: {result.stdout}{result.stderr}{self.agent.text()[-3000:]}"
        return result.stdout + result.stderr

    def enroll(self, *extra, name="web-1", pod=None, addresses=None, code=0, netns=None):
        pod = pod or self.pod
        arguments = ["enroll", "--netns", netns or pod.path, "--namespace", "shop", "--name", name, "--service-account", "web", *extra]
        for address in addresses or pod.addresses:
            arguments += ["--address", address]
        return self.cni(*arguments, code=code)

    def remove(self, code=0):
        return self.cni("remove", "--namespace", "shop", "--name", "web-1", code=code)

    def list(self):
        return json.loads(self.cni("list", "--json"))

    def tables(self, pod=None):
        return (pod or self.pod).run("nft", "-s", "list", "ruleset")

    def assert_untouched(self, pod=None):
        pod = pod or self.pod
        assert self.tables(pod) == ""
        for family in ("-4", "-6"):
            assert "0x111" not in pod.ip(family, "rule")
            # An IPv6 table that was never used does not exist.
            assert "local" not in pod.run("sh", "-c", f"ip {family} route show table 100 2>&1", check=False)

    def assert_nothing_kept(self):
        assert glob.glob(self.path("overlay/*")) == []
        assert glob.glob(self.path("state/*.json")) == []
        assert glob.glob(self.path("netns/*")) == []
        assert self.path("netns/") not in open("/proc/self/mounts").read()
        assert self.list()["enrolments"] == []

    def close(self):
        for proxy in self.proxies:
            proxy.close()
        try:
            if self.agent is not None:
                self.agent.assert_clean()
        finally:
            for path in glob.glob(self.path("netns/*")):
                subprocess.run(["umount", "-l", path], capture_output=True)
            subprocess.run(["rm", "-rf", self.directory])
            self.topology.remove()


@pytest.fixture
def world():
    world = World()
    try:
        world.start_agent()
        yield world
    finally:
        world.close()


def chains(listing):
    """Table -> chain -> lines."""
    found, table, chain = {}, None, None
    for line in listing.splitlines():
        if match := re.match(r"table inet (\S+) {", line):
            table = found.setdefault(match[1], {})
        elif match := re.match(r"\tchain (\S+) {", line):
            chain = table.setdefault(match[1], [])
        elif line.strip() not in ("", "}"):
            chain.append(line.strip())
    return found


def assert_rules(listing):
    found = chains(listing)
    assert found.keys() == RULES.keys()
    for table, expected in RULES.items():
        assert found[table].keys() == expected.keys(), table
        for chain, lines in expected.items():
            assert len(found[table][chain]) == len(lines), f"{table} {chain}: {found[table][chain]}"
            for line, wanted in zip(found[table][chain], lines):
                pattern = re.escape(wanted).replace(re.escape("0xfffff..."), "0xfffff[01]{3}")
                assert re.fullmatch(pattern, line), f"{table} {chain}: {line!r} is not {wanted!r}"


def test_enrolling_applies_the_rules_hands_over_and_tells_the_control_plane(world):
    proxy = world.ready_proxy()
    said = world.enroll()
    assert "shop/web-1 is enrolled as web" in said
    add = proxy.wait("add")
    assert (add.name, add.namespace, add.service_account) == ("web-1", "shop", "web")
    assert add.inodes == [os.stat(world.pod.path).st_ino]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", add.uid)
    assert_rules(world.tables())
    for family in ("-4", "-6"):
        assert re.search(r"32764:\s+from all fwmark 0x111/0xfff lookup 100", world.pod.ip(family, "rule"))
        assert re.search(r"^local default dev lo ", world.pod.ip(family, "route", "show", "table", "100"))
    overlay = world.path("overlay/shop_web-1.yaml")
    text = open(overlay).read()
    assert 'name: "web-1"' in text and 'namespace: "shop"' in text and "kind: Pod" in text and "apiVersion: v1" in text
    assert "ambient.istio.io/redirection: enabled" in text
    assert [os.path.basename(p) for p in os.listdir(world.path("overlay"))] == ["shop_web-1.yaml"]
    assert stat.S_IMODE(os.stat(world.path("state/shop_web-1.json")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(world.path("agent.sock")).st_mode) == 0o600
    enrolment, = world.list()["enrolments"]
    assert enrolment["uid"] == add.uid and enrolment["found"] is True and enrolment["addresses"] == ADDRESSES


def test_a_captured_connection_reaches_15001_and_knows_where_it_wanted_to_go(world):
    world.ready_proxy()
    world.enroll()
    listener = Program("listener", ["/usr/bin/python3", "-u", "-c", LISTENER], namespace=world.pod)
    listener.wait_line("listening")
    for address, port in (("10.99.0.1", 9000), ("fd99::1", 9001)):
        said = world.pod.run("/usr/bin/python3", "-c", CLIENT, address, port)
        assert said.split() == [address, str(port)]
    listener.kill()


def test_removing_undoes_everything(world):
    proxy = world.ready_proxy()
    world.enroll("--uid", "uid-1")
    assert "removed" in world.remove()
    assert proxy.wait("del").uid == "uid-1"
    world.assert_untouched()
    world.assert_nothing_kept()
    assert "not enrolled" in world.remove(code=1)


def test_a_namespace_that_does_not_own_every_address_is_refused(world):
    proxy = world.ready_proxy()
    said = world.enroll(addresses=[ADDRESSES[0], "10.77.1.31"], code=1)
    assert "checking the addresses" in said and "does not own address 10.77.1.31" in said
    world.assert_untouched()
    world.assert_nothing_kept()
    assert proxy.of_kind("add") == []


def test_the_agents_own_namespace_and_what_is_no_namespace_are_refused(world):
    world.ready_proxy()
    assert "the agent's own" in world.enroll(netns=world.node.path, addresses=["10.78.0.1"], code=1)
    assert "--netns" in world.enroll(netns="/dev/null", code=1)
    assert world.node.run("nft", "list", "ruleset") == ""


def test_a_refusal_of_the_proxy_rolls_everything_back(world):
    proxy = world.ready_proxy(lambda request: "failure to start proxy : port busy" if request.kind == "add" else "")
    said = world.enroll(code=1)
    assert "handing over to ztunnel" in said and "failure to start proxy : port busy" in said
    # The proxy would go on trying by itself.
    assert proxy.wait("del").uid == proxy.wait("add").uid
    world.assert_untouched()
    world.assert_nothing_kept()


def test_without_a_proxy_nothing_is_enrolled(world):
    assert "no ztunnel connection" in world.enroll(code=1)
    world.assert_untouched()
    world.assert_nothing_kept()


def test_a_proxy_that_does_not_answer_is_left_after_five_seconds(world):
    proxy = world.ready_proxy(lambda request: None if request.kind == "add" else "")
    started = time.monotonic()
    assert "connection closed before response received" in world.enroll(code=1)
    assert 4.5 < time.monotonic() - started < 20 * PATIENCE
    assert proxy.is_closed.wait(5)
    world.assert_untouched()
    world.assert_nothing_kept()


def test_a_failing_nft_is_named_and_leaves_nothing(world):
    broken = world.path("nft")
    with open(broken, "w") as file:
        file.write('#!/bin/sh\n[ "$1" = -f ] && grep -q add.rule && echo "no such luck" && exit 1\nexec /usr/sbin/nft "$@"\n')
    os.chmod(broken, 0o755)
    world.agent.assert_clean()
    world.start_agent("--nft", broken)
    proxy = world.ready_proxy()
    said = world.enroll(code=1)
    assert "capturing the traffic" in said and "exited with 1: no such luck" in said
    assert proxy.of_kind("add") == []
    world.assert_nothing_kept()


def test_a_proxy_that_comes_back_gets_a_snapshot(world):
    first = world.ready_proxy()
    world.enroll("--uid", "uid-1")
    first.close()
    second = world.ready_proxy()
    assert [repr(r) for r in second.requests] == ["add uid-1 shop/web-1", "snapshot_sent  /"]


def test_new_pods_go_to_the_newest_proxy_and_removals_to_all(world):
    older, newer = world.ready_proxy(), world.ready_proxy()
    world.enroll("--uid", "uid-1")
    assert newer.wait("add").uid == "uid-1"
    assert older.of_kind("add") == []
    world.remove()
    assert older.wait("del").uid == newer.wait("del").uid == "uid-1"


def test_when_the_newest_proxy_goes_the_older_one_is_asked(world):
    older = world.ready_proxy()
    world.ready_proxy().close()
    wait_until(lambda: world.list()["ztunnelConnections"] == 1)
    world.enroll("--uid", "uid-1")
    assert older.wait("add").uid == "uid-1"


def test_a_proxy_that_talks_unasked_is_disconnected(world):
    proxy = world.ready_proxy()
    proxy.socket.send(b"\x0a\x00")
    assert proxy.is_closed.wait(10)
    world.agent.wait_line("ztunnel disconnected", "nobody asked for")


def test_a_peer_that_does_not_greet_is_disconnected(world):
    silent = world.proxy(hello=b"")
    garbage = world.proxy(hello=b"\xff\xff\xff")
    assert garbage.is_closed.wait(10)
    assert silent.is_closed.wait(20)
    assert silent.requests == garbage.requests == []


def test_a_descriptor_from_the_proxy_is_refused(world):
    proxy = world.ready_proxy()
    before = world.agent.descriptors()
    socket.send_fds(proxy.socket, [b"\x0a\x00"], [0])
    assert proxy.is_closed.wait(10)
    wait_until(lambda: world.agent.descriptors() == before - 1)


def test_connections_are_taken_at_most_five_a_second(world):
    started = time.monotonic()
    proxies = [world.proxy() for _ in range(4)]
    for proxy in proxies:
        proxy.wait("snapshot_sent")
    assert time.monotonic() - started >= 0.55


def test_enrolments_survive_a_restart_of_the_agent(world):
    world.ready_proxy()
    world.enroll("--uid", "uid-1")
    world.restart_agent()
    assert_rules(world.tables())
    proxy = world.ready_proxy()
    add = proxy.wait("add")
    assert add.uid == "uid-1" and add.inodes == [os.stat(world.pod.path).st_ino]
    world.remove()
    world.assert_untouched()
    world.assert_nothing_kept()


def test_a_pod_enrolled_by_its_process_is_found_after_that_process_ended(world):
    world.ready_proxy()
    process = Program("sleeper", ["sleep", "1000"], namespace=world.pod)
    inode = os.stat(world.pod.path).st_ino
    wait_until(lambda: os.stat(f"/proc/{process.pid}/ns/net").st_ino == inode)
    world.enroll("--uid", "uid-1", netns=f"/proc/{process.pid}/ns/net")
    process.kill()
    world.restart_agent()
    assert world.ready_proxy().wait("add").inodes == [inode]


def test_a_restarted_agent_repairs_rules_that_were_tampered_with(world):
    world.ready_proxy()
    world.enroll()
    world.pod.run("nft", "flush", "chain", "inet", "istio-ambient-nat", "istio-output")
    world.pod.ip("rule", "del", "pref", "32764")
    os.unlink(world.path("overlay/shop_web-1.yaml"))
    world.restart_agent()
    world.agent.wait_line("capture is applied again")
    assert_rules(world.tables())
    assert "0x111" in world.pod.ip("rule")
    assert os.path.exists(world.path("overlay/shop_web-1.yaml"))


def test_a_pod_whose_namespace_is_gone_is_kept_for_the_proxy_and_can_be_removed(world):
    world.ready_proxy()
    world.enroll("--uid", "uid-1")
    world.agent.assert_clean()
    subprocess.run(["umount", world.path("netns/uid-1")], check=True)
    world.topology.remove_pod("web-1")
    world.start_agent()
    world.agent.wait_line("is gone")
    proxy = world.ready_proxy()
    assert [r.kind for r in proxy.requests] == ["keep", "snapshot_sent"]
    assert world.list()["enrolments"][0]["found"] is False
    assert "gone" in world.cni("list")
    world.remove()
    assert proxy.wait("del").uid == "uid-1"
    world.assert_nothing_kept()


def test_dns_is_not_captured_where_the_agent_is_told_so(world):
    world.ready_proxy()
    world.restart_agent("--dns-capture=false")
    world.ready_proxy()
    world.enroll()
    listing = world.tables()
    assert ":15001" in listing and "15053" not in listing and "istio-ambient-raw" not in listing
    # With the next start it is, for pods enrolled before too.
    world.restart_agent()
    world.agent.wait_line("capture is applied again")
    assert_rules(world.tables())


def test_enrolling_again_changes_nothing_and_keeps_the_uid(world):
    proxy = world.ready_proxy()
    first = world.enroll()
    assert world.enroll() == first
    assert proxy.wait("add", 2).uid == proxy.wait("add", 1).uid
    assert_rules(world.tables())
    assert world.pod.ip("rule").count("0x111") == 1
    assert len(world.list()["enrolments"]) == 1


def test_a_failure_to_enrol_again_leaves_the_enrolment(world):
    refusals = []
    proxy = world.ready_proxy(lambda request: refusals.pop() if request.kind == "add" and refusals else "")
    world.enroll("--uid", "uid-1")
    refusals.append("failure to start proxy : busy")
    assert "busy" in world.enroll(code=1)
    assert_rules(world.tables())
    assert [e["uid"] for e in world.list()["enrolments"]] == ["uid-1"]
    assert proxy.wait("add", 3).uid == "uid-1"


def test_a_pod_in_a_new_sandbox_moves_there(world):
    proxy = world.ready_proxy()
    world.enroll("--uid", "uid-1")
    sandbox = world.topology.add_pod("n1", "web-1b", "10.77.1.40")
    world.enroll(pod=sandbox)
    assert proxy.wait("add", 2).uid == "uid-1"
    assert proxy.wait("add", 2).inodes == [os.stat(sandbox.path).st_ino]
    world.assert_untouched(world.pod)
    assert_rules(world.tables(sandbox))


def test_one_namespace_or_uid_is_one_pod(world):
    world.ready_proxy()
    world.enroll("--uid", "uid-1")
    assert "is enrolled as pod shop/web-1 already" in world.enroll(name="other", code=1)
    second = world.topology.add_pod("n1", "web-2", "10.77.1.41")
    assert "uid uid-1 is that of pod shop/web-1" in world.enroll("--uid", "uid-1", name="web-2", pod=second, code=1)
    assert_rules(world.tables())
    world.assert_untouched(second)


def test_a_second_agent_on_the_same_state_refuses_to_start(world):
    second = subprocess.run([binary("ambar-cni"), "agent", "--ztunnel-uds-address", world.path("other.sock"), "--socket",
                             world.path("other-agent.sock"), "--state-dir", world.path("state"), "--netns-dir", world.path("netns")],
                            capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "another agent uses this state directory" in second.stderr


def test_a_broken_state_file_is_passed_over_and_left(world):
    world.ready_proxy()
    world.enroll("--uid", "uid-1")
    world.agent.assert_clean()
    with open(world.path("state/shop_bad.json"), "w") as file:
        file.write('{"namespace": "shop", "name": ')
    world.start_agent()
    world.agent.wait_line("state file is passed over", "shop_bad.json")
    assert [e["name"] for e in world.list()["enrolments"]] == ["web-1"]
    assert os.path.exists(world.path("state/shop_bad.json"))
    os.unlink(world.path("state/shop_bad.json"))


def ask(world, data):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20 * PATIENCE)
        connection.connect(world.path("agent.sock"))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_the_control_socket_survives_bad_requests(world):
    for data, needle in ((b"", "reading the request"), (b"\xff\x00garbage", "reading the request"), (b"[]", "operation"),
                         (b'{"operation":"enroll"}', "no network namespace"), (b'{"operation":"fly"}', "not one of"),
                         (b"[" * 60000, "reading the request"), (b'{"operation":"remove"}', "is not enrolled")):
        answered = json.loads(ask(world, data))
        assert answered["ok"] is False and needle in json.dumps(answered), (data[:20], answered)
    assert ask(world, b"x" * 1000000) == b""
    idle = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for connection in idle:
        connection.connect(world.path("agent.sock"))
    assert world.list()["ok"] is True
    for connection in idle:
        connection.close()


def test_only_root_may_ask(world):
    os.chmod(world.path("agent.sock"), 0o666)
    os.chmod(run_directory(), 0o755)
    os.chmod(world.directory, 0o755)
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({world.path('agent.sock')!r}); s.send(b'{{}}'); print(s.recv(9))"
    result = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code], capture_output=True, text=True,
                            timeout=60)
    assert result.stdout.strip() in ("b''", "")
    world.agent.wait_line("caller refused", "uid=65534")
    assert world.list()["ok"] is True


def test_the_command_line_says_what_is_wrong(world):
    assert "--netns: missing" in world.cni("enroll", code=1)
    assert "lower-case" in world.enroll(name="Web", code=1)
    assert "not an IP address" in world.enroll(addresses=["10.77.1.300"], code=1)
    assert "given twice" in world.enroll(addresses=[ADDRESSES[0]] * 2, code=1)
    assert "uid" in world.enroll("--uid", "../x", code=1)
    assert "nmae" in world.cni("enroll", "--nmae", "x", code=2)
    for command in ("agent", "enroll", "remove", "list"):
        result = subprocess.run([binary("ambar-cni"), command, "--help"], capture_output=True, text=True, timeout=60)
        assert result.returncode == 0 and "Usage: ambar-cni " + command in result.stdout


def test_many_enrolments_leave_no_descriptors_behind(world):
    world.ready_proxy()
    world.enroll()
    world.remove()
    before = world.agent.descriptors()
    for _ in range(5):
        world.enroll()
        world.enroll(addresses=["10.77.1.99"], code=1)
        world.remove()
    wait_until(lambda: world.agent.descriptors() <= before, message="descriptors to be closed")
