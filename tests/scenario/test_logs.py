"""The log of ztunnel-management §9: access lines field by field in plain text and JSON, spans, filters, refusals with their texts."""
import json
import os
import re
import subprocess
import time

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import Program, binary, wait_until
from tests.lab.topology import Topology
from tests.lab.ztunnel import Ztunnel, service, workload

VIP = "10.96.79.20"
ORDER = ["src.addr", "src.workload", "src.namespace", "src.identity", "src.cluster", "dst.addr", "dst.hbone_addr", "dst.service",
         "dst.workload", "dst.namespace", "dst.identity", "dst.cluster", "direction", "bytes_sent", "bytes_recv", "duration", "error"]
OURS = ["stage", "stage_times"]  # behind those of the contract, where something failed
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
CLIENT = "spiffe://cluster.local/ns/default/sa/client"
SERVER = "spiffe://cluster.local/ns/default/sa/server"


def parse_plain(line):
    """Time, level, scope, message, fields in order; every byte of the line is accounted for."""
    head = re.fullmatch(rf"({TIME})\t(error|warn|info|debug|trace)\t([^\t]+)\t(?:([^\t]*)\t)?(.*)", line)
    assert head, line
    fields, rest = [], head[5]
    while rest:
        found = re.match(r'([a-zA-Z_.]+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)', rest)
        assert found, f"{rest!r} of {line}"
        value = found[2]
        fields.append((found[1], value, value.startswith('"')))
        rest = rest[found.end():]
    return head[1], head[2], head[3], head[4], fields


def check_order(names):
    """The contract's fields in its order, ours only behind them."""
    known = [name for name in names if name not in OURS + ["dropped"]]
    assert known == [name for name in ORDER if name in known] and names[:len(known)] == known, names


class Pair:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10", "fd77:1::10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20", "fd77:2::20")
        self.authority = Authority()
        deny = {"name": "no-9999", "namespace": "default", "scope": "WorkloadSelector", "action": "Deny", "dryRun": False,
                "rules": [[[{"destinationPorts": [9999]}]]]}
        backend = workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080}},
                           authorizationPolicies=["default/no-9999", "default/not-there"])
        model = {"workloads": [workload(self.client), backend], "services": [service("web", VIP, {80: 8080})], "policies": [deny]}
        self.out = Ztunnel(self.client, model, self.authority.leaf(spiffe("client")))
        self.into = Ztunnel(self.server, model, self.authority.leaf(spiffe("server")), wait=False, environment={"LOG_FORMAT": "json"})
        self.into.program.wait_line("marking server ready")
        self.http = Program("http", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=self.server)
        wait_until(lambda: self.get("http://10.77.2.20:8080/etc/hostname").returncode == 0, 20, "the server")

    def get(self, url):
        return subprocess.run(self.client.command("curl", "-sS", "-m", "10", url), capture_output=True, text=True)

    def json_lines(self, **fields):
        lines = [json.loads(line) for line in self.into.program.text().splitlines() if line.startswith("{")]
        return [line for line in lines if fields.items() <= line.items()]

    def wait_json(self, **fields):
        return wait_until(lambda: self.json_lines(**fields), 10, f"{fields}")[-1]

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def pair():
    pair = Pair()
    yield pair
    pair.stop()


def test_a_listener_is_told_once_however_many_workers_share_it(pair):
    lines = [parse_plain(line) for line in pair.out.program.lines("listener established")]
    told = sorted((fields[0][1], fields[1][1]) for _, _, _, _, fields in lines)
    assert told == sorted([("[::]:15021", '"readiness"'), ("127.0.0.1:15000", '"admin"'), ("[::1]:15000", '"admin"'), ("[::]:15020", '"stats"'),
                           ("[::]:15008", '"inbound"'), ("[::]:15006", '"inbound plaintext"'), ("[::]:15001", '"outbound"'),
                           ("127.0.0.1:15053", '"dns"'), ("[::1]:15053", '"dns"')])
    spans = {scope for _, _, scope, _, _ in lines}
    assert {"proxy:proxy{wl=default/client}", "dns:dns_proxy{wl=default/client}"} < spans


def test_a_complete_connection_in_plain_text(pair):
    assert pair.get(f"http://{VIP}/etc/hostname").returncode == 0
    line = pair.out.access("connection complete", "dst.service=", 'direction="outbound"')[-1]
    _, level, scope, message, fields = parse_plain(line)
    assert (level, scope, message) == ("info", "access", "connection complete")
    assert [name for name, _, _ in fields] == ORDER[:-1]
    values = {name: value for name, value, _ in fields}
    assert re.fullmatch(r"10\.77\.1\.10:\d+", values["src.addr"])
    assert values["dst.addr"] == "10.77.2.20:15008" and values["dst.hbone_addr"] == "10.77.2.20:8080"
    assert values["src.identity"] == f'"{CLIENT}"' and values["dst.identity"] == f'"{SERVER}"'
    assert values["dst.service"] == '"web.default.svc.cluster.local"' and values["src.cluster"] == '"Kubernetes"'
    assert int(values["bytes_sent"]) > 50 and int(values["bytes_recv"]) > 100 and re.fullmatch(r'"\d+ms"', values["duration"])
    bare = {name for name, _, is_quoted in fields if not is_quoted}
    assert bare == {"src.addr", "dst.addr", "dst.hbone_addr", "bytes_sent", "bytes_recv"}


def test_the_same_connection_in_json_with_bytes_as_the_server_sees_them(pair):
    outbound = parse_plain(pair.out.access("connection complete", "dst.service=", 'direction="outbound"')[-1])[4]
    count = len(pair.out.program.lines("connection complete", "dst.hbone_addr=10.77.2.20:8080"))
    wait_until(lambda: len(pair.json_lines(message="connection complete")) >= count, 10, "as many lines")
    line = pair.wait_json(message="connection complete", direction="inbound", level="info")
    assert list(line)[:4] == ["level", "time", "scope", "message"]
    assert (line["level"], line["scope"]) == ("info", "access") and re.fullmatch(TIME, line["time"])
    check_order(list(line)[4:])
    assert line["direction"] == "inbound" and line["dst.addr"] == "10.77.2.20:15008" and line["dst.hbone_addr"] == "10.77.2.20:8080"
    values = dict((n, v) for n, v, _ in outbound)
    assert line["bytes_sent"] == int(values["bytes_recv"]) and line["bytes_recv"] == int(values["bytes_sent"])
    assert isinstance(line["bytes_sent"], int) and line["src.identity"] == CLIENT and "error" not in line


def test_begin_lines_have_the_fields_up_to_the_direction(pair):
    _, level, scope, _, fields = parse_plain(pair.out.access("connection opened")[-1])
    names = [name for name, _, _ in fields]
    assert (level, scope) == ("debug", "access") and names[-1] == "direction"
    check_order(names)
    line = pair.wait_json(message="connection opened")
    assert list(line)[-1] == "direction"


def test_a_denied_connection_tells_the_policy_on_one_side_and_the_status_on_the_other(pair):
    assert pair.get("http://10.77.2.20:9999/").returncode != 0
    line = pair.wait_json(message="connection complete", level="error",
                          error="connection closed due to policy rejection: explicitly denied by: default/no-9999")
    check_order(list(line)[4:])
    assert line["bytes_sent"] == line["bytes_recv"] == 0 and line["src.identity"] == CLIENT and line["dst.identity"] == SERVER
    assert line["stage"] == "policy" and re.fullmatch(r"workload_known=\d+\.\dms routed=\d+\.\dms closed=\d+\.\dms", line["stage_times"])
    refused = parse_plain(pair.out.access("dst.hbone_addr=10.77.2.20:9999", "connection complete")[-1])
    values = {name: value for name, value, _ in refused[4]}
    assert refused[1] == "error" and values["error"] == '"http status: 401 Unauthorized"'
    assert [n for n, _, _ in refused[4]] == ORDER[:7] + [n for n in ORDER[7:] if n in values] + OURS
    assert values["stage"] == '"relay"' and "connect_answered=" in values["stage_times"]


def test_an_application_that_refuses(pair):
    assert pair.get("http://10.77.2.20:9/").returncode != 0
    line = pair.wait_json(error="connection failed: Connection refused (os error 111)")
    assert line["stage"] == "dial" and line["level"] == "error"
    pair.out.access('error="http status: 503 Service Unavailable"')


def test_an_early_denial_has_four_fields_only(pair):
    pair.client.run("/usr/bin/python3", "-c", "import socket\n"
                    "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x539)\n"
                    "s.connect(('10.77.2.20', 15008)); s.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n' * 10); s.recv(100)", check=False)
    line = pair.wait_json(message="connection failed", level="warn")
    assert list(line) == ["level", "time", "scope", "message", "src.addr", "dst.addr", "direction", "error"]
    assert line["scope"] == "access" and line["dst.addr"] == "10.77.2.20:15008" and line["direction"] == "inbound"
    assert line["error"].startswith("tls handshake error: ")


def test_a_policy_line_stands_in_the_spans_of_its_connection(pair):
    _, level, scope, message, fields = parse_plain(pair.out.program.wait_line("sending CONNECT")[-1])
    assert level == "debug" and message == "sending CONNECT"
    spans = re.fullmatch(r"proxy::outbound:proxy\{wl=default/client\}:outbound\{id=([0-9a-f]{32})\}", scope)
    assert spans, scope
    received = pair.wait_json(message="received CONNECT")
    assert list(received)[-2:] == ["proxy", "inbound"] and received["scope"] == "ztunnel::proxy::inbound"
    assert received["proxy"] == {"wl": "default/server"}
    assert re.fullmatch("[0-9a-f]{32}", received["inbound"]["id"]) and received["inbound"]["peer"].startswith("10.77.1.10:")
    trace = dict((n, v) for n, v, _ in fields)["traceparent"]
    assert trace.split("-")[1] == spans[1]
    assert pair.wait_json(message="received CONNECT", inbound={**pair.json_lines(message="received CONNECT")[-1]["inbound"]})
    matched = pair.wait_json(message="deny policy match", policy="default/no-9999")
    assert matched["inbound"]["peer"].startswith("10.77.1.10:")


def test_an_unknown_policy_is_warned_about_a_few_times_a_second_only(pair):
    for _ in range(3):
        pair.client.run("/usr/bin/python3", "-c", "import socket\n"
                        "for i in range(20):\n    s = socket.create_connection(('10.77.2.20', 8080)); s.close()")
    lines = pair.json_lines(message="skipping unknown policy default/not-there", level="warn")
    opened = pair.json_lines(message="connection opened")
    assert 0 < len(lines) < len(opened)
    time.sleep(1.1)
    pair.get("http://10.77.2.20:8080/")
    wait_until(lambda: any("dropped" in line for line in pair.json_lines(message="skipping unknown policy default/not-there")), 10, "a count")


def test_every_line_of_both_programs_keeps_to_the_format(pair):
    for line in pair.out.program.text().splitlines():
        if re.match(TIME, line) and "running with config" not in line:  # whose YAML has lines of its own
            parse_plain(line)
    for line in pair.into.program.text().splitlines():
        assert list(json.loads(line))[:3] == ["level", "time", "scope"], line


@pytest.mark.parametrize("value", ["loud", "access=loud", "=info", "access:debug", "info,,access=x"])
def test_a_filter_that_is_none_ends_the_start_by_name(pair, value):
    certificate, key, roots = pair.authority.leaf(spiffe("client"))
    variables = {"PATH": os.environ["PATH"], "RUST_LOG": value, "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "a/b/c",
                 "XDS_ADDRESS": "", "CA_ADDRESS": "", "LOCAL_XDS": "{}", "TLS_CERTIFICATE_FILE": certificate,
                 "TLS_KEY_FILE": key, "TLS_ROOT_FILE": roots}
    result = subprocess.run([binary("ztunnel")], env=variables, capture_output=True, text=True, timeout=20)
    assert result.returncode != 0 and value.split(",")[-1] in result.stderr + result.stdout


def test_levels_change_while_running(pair):
    def logging(query):
        return pair.client.run("curl", "-s", "-X", "POST", f"http://127.0.0.1:15000/logging{query}")
    assert logging("") == "current log level is hickory_server::server=off,debug\n"
    assert logging("?level=access=off,info") == "current log level is hickory_server::server=off,access=off,info\n"
    count = len(pair.out.program.lines("\taccess\t"))
    pair.get("http://10.77.2.20:8080/etc/hostname")
    time.sleep(0.3)
    assert len(pair.out.program.lines("\taccess\t")) == count
    assert logging("?reset") == "current log level is hickory_server::server=off,debug\n"
    pair.get("http://10.77.2.20:8080/etc/hostname")
    wait_until(lambda: len(pair.out.program.lines("\taccess\t")) > count, 10, "access lines again")
