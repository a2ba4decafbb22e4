"""The admin port as an operator and istioctl use it: curl for the wire, python's json for the documents."""
import base64
import json
import os
import re
import subprocess

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import BUILD, ROOT, Program, wait_until
from tests.lab.topology import Topology, run_directory
from tests.lab.ztunnel import Ztunnel, service, workload

PEER = os.path.join(ROOT, "tests/lab/tcp_peer.py")
VIP = "10.96.77.40"
SCRIPT = "<script>alert(1)</script>"
DENY = {"name": "no-9999", "namespace": "default", "scope": "Namespace", "action": "Deny", "dryRun": False, "rules": [[[{"destinationPorts": [9999]}]]]}
HOSTILE = {"name": SCRIPT, "namespace": "default", "scope": "Namespace", "action": "Allow", "dryRun": True, "rules": [[[{"destinationPorts": [1]}]]]}


class Mesh:
    def __init__(self):
        self.topology = Topology(2)
        self.client = self.topology.add_pod("n1", "client", "10.77.1.10")
        self.server = self.topology.add_pod("n2", "server", "10.77.2.20")
        authority = Authority()
        model = {"workloads": [workload(self.client), workload(self.server, {"default/web.default.svc.cluster.local": {80: 8080, 443: 8443}}),
                               workload(self.server, uid="x", name=SCRIPT, workloadIps=["10.77.2.99"])],
                 "services": [service("web", VIP, {80: 8080, 443: 8443})], "policies": [DENY, HOSTILE]}
        self.out = Ztunnel(self.client, model, authority.leaf(spiffe("client")))
        self.into = Ztunnel(self.server, model, authority.leaf(spiffe("server")))
        self.echo = Program("echo", ["/usr/bin/python3", "-u", PEER, "serve", 8080, "echo"], namespace=self.server)
        self.echo.wait_line("listening")

    def curl(self, path, *options, pod=None):
        """(status, body)"""
        text = (pod or self.client).run("curl", "-s", "-m", "20", "-w", "\n%{http_code}", *options, f"http://127.0.0.1:15000{path}")
        body, status = text.rsplit("\n", 1)
        return int(status), body

    def json(self, path, pod=None):
        status, body = self.curl(path, pod=pod)
        assert status == 200, body
        return json.loads(body)

    def stop(self):
        self.out.stop()
        self.into.stop()
        self.topology.remove()


@pytest.fixture(scope="module")
def mesh():
    mesh = Mesh()
    yield mesh
    mesh.stop()


@pytest.fixture
def held(mesh):
    """Three connections that stay open, and one that policy refuses."""
    body = """
import socket, sys
held = [socket.create_connection(("%s", 80)) for _ in range(3)]
for one in held:
    one.sendall(b"hello")
    assert one.recv(10) == b"hello"
try:
    refused = socket.create_connection(("10.77.2.20", 9999))
    refused.settimeout(5)
    refused.recv(1)
except OSError:
    pass
print("held", flush=True)
sys.stdin.read()
""" % VIP
    read, write = os.pipe()
    program = Program("held", ["/usr/bin/python3", "-c", body], namespace=mesh.client, stdin=read)
    program.wait_line("held")
    yield program
    os.close(write)
    os.close(read)
    program.stop()


def keys_are_sorted(value):
    if isinstance(value, dict):
        assert list(value) == sorted(value)
        for member in value.values():
            keys_are_sorted(member)
    elif isinstance(value, list):
        for member in value:
            keys_are_sorted(member)


def test_config_dump_has_every_key_of_the_contract_in_order(mesh, held):
    status, text = mesh.curl("/config_dump", pod=mesh.server)
    dump = json.loads(text)
    keys_are_sorted(dump)
    assert set(dump) == {"certificates", "config", "policies", "services", "stagedServices", "staticConfig", "version", "workloads"}
    assert text.startswith('{\n  "certificates": [\n    {\n      "certChain": [')
    server = next(w for w in dump["workloads"] if w["uid"].endswith("/server"))
    assert {"workloadIps", "protocol", "networkMode", "name", "namespace", "status", "clusterId", "capacity"} <= set(server)
    web = dump["services"][0]
    assert {"name", "namespace", "hostname", "vips", "ports", "endpoints", "subjectAltNames", "canonical", "visibility"} == set(web)
    assert list(web["ports"].items()) == [("443", 8443), ("80", 8080)]
    assert web["endpoints"] == {server["uid"]: {"port": {"443": 8443, "80": 8080}, "status": "Healthy", "workloadUid": server["uid"]}}
    assert {"name", "namespace", "scope", "action", "rules", "dryRun"} == set(dump["policies"][0])
    assert set(dump["version"]) == {"version", "gitRevision", "rustVersion", "buildProfile", "buildStatus", "istioVersion", "cryptoProvider"}
    assert set(dump["staticConfig"]) == {"policies", "services", "workloads"}
    static = next(w for w in dump["staticConfig"]["workloads"] if w["uid"] == server["uid"])
    assert static["services"] == {"default/web.default.svc.cluster.local": {"443": 8443, "80": 8080}}
    certificate = dump["certificates"][0]
    assert set(certificate) == {"certChain", "identity", "rootCerts", "state"} and certificate["state"] == "Available"
    leaf = certificate["certChain"][0]
    assert set(leaf) == {"expirationTime", "pem", "serialNumber", "validFrom"} and leaf["serialNumber"].isdigit()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", leaf["validFrom"])
    lines = base64.b64decode(leaf["pem"]).decode().splitlines()
    assert lines[0] == "-----BEGIN CERTIFICATE-----" and lines[-1] == "-----END CERTIFICATE-----" and len(lines[1]) == 60
    serial = subprocess.run(["openssl", "x509", "-noout", "-serial"], input=base64.b64decode(leaf["pem"]), capture_output=True, check=True).stdout
    assert int(serial.decode().strip().split("=")[1], 16) == int(leaf["serialNumber"])


@pytest.mark.threaded
def test_the_page_shows_what_lives_and_no_name_becomes_markup(mesh, held):
    status, page = mesh.curl("/", pod=mesh.server)
    assert status == 200
    for section in ("refusals", "connections", "tunnels", "certificates", "pods", "policies", "links"):
        assert f'id="{section}"' in page
    for link in ("config_dump", "logging", "quitquitquit", "debug/pprof/profile", "debug/pprof/heap"):
        assert link in page
    assert "explicitly denied by: default/no-9999" in page and spiffe("server") in page and "established" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and SCRIPT not in page
    assert page.count("<script") == 1 and "http" not in page.split("</head>")[0].replace("http-equiv", "")
    assert "src=" not in page.replace("data-src", "") and page.rstrip().endswith("</html>")


def test_the_page_lets_only_its_own_script_run(mesh):
    heads = [mesh.client.run("curl", "-s", "-D", "-", "http://127.0.0.1:15000/") for _ in range(2)]
    nonces = []
    for head in heads:
        policy = next(line for line in head.splitlines() if line.lower().startswith("content-security-policy:"))
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        nonces.append(re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy).group(1))
        assert f'<script nonce="{nonces[-1]}">' in head and f'<style nonce="{nonces[-1]}">' in head
    assert nonces[0] != nonces[1]
    assert '<meta http-equiv="refresh" content="7">' in mesh.curl("/?refresh=7")[1]
    assert "http-equiv" not in mesh.curl("/?refresh=%22%3E%3Cscript%3E")[1]


def test_config_dump_is_compressed_on_request(mesh):
    raw = mesh.client.run("curl", "-s", "-D", "-", "-o", "/dev/null", "-H", "accept-encoding: gzip", "http://127.0.0.1:15000/config_dump")
    assert "content-encoding: gzip" in raw.lower()
    status, text = mesh.curl("/config_dump", "--compressed")
    assert status == 200 and "workloads" in json.loads(text)


def test_wrong_methods_and_unknown_paths_get_the_references_answers(mesh):
    assert mesh.curl("/quitquitquit") == (405, "")
    assert mesh.curl("/nothing") == (404, "")
    status, body = mesh.curl("/logging")
    assert status == 405 and body.startswith("Invalid HTTP method\n \nusage: POST /logging\t")
    assert mesh.curl("/config_dump", "-X", "POST")[0] == 200
    assert mesh.curl("/debug/pprof/heap") == (500, "jemalloc not enabled")
    assert mesh.curl("/debug/connections?limit=x") == (400, "invalid limit value; expected 1-1000000\n")


def test_log_levels_are_changed_on_top_of_what_is_and_reset(mesh):
    def post(query):
        return mesh.curl("/logging" + query, "-X", "POST", pod=mesh.server)
    before = post("")
    assert before[0] == 200 and before[1].startswith("current log level is ") and before[1].endswith("debug\n")
    assert "access=trace" in post("?level=access=trace")[1]
    assert "access=trace" in post("?level=ztunnel::xds=warn")[1]
    status, body = post("?level=access:debug")
    assert status == 400 and body.startswith("Invalid level provided: access:debug\n")
    assert "access=trace" in post("")[1]
    for query, shown in (("a%1b%5b2Jb=debug", "a\\u{1b}[2Jb"), ("info,x=info,a%c2%9bb=debug", "a\\u{9b}b"), ("a%20b=trace", "a b"), ("%22=off", '"')):
        status, body = post(f"?level={query}")
        assert status == 400 and body.startswith(f"Invalid level provided: {shown}\n\nusage: POST /logging\t"), body
    assert post("?level=lo%1bud")[1].startswith("Invalid level provided: lo\\u{1b}ud\n")
    assert "a-b.c::D_9=debug" in post("?level=%20a-b.c::D_9%20=%20debug")[1]
    assert "access=trace" in post("")[1]
    status, body = post(f"?level={'x' * 4100}=debug")
    assert status == 400 and body.startswith("Cannot change the level: a log filter is at most 4096 bytes long\n")
    assert post("?reset") == before
    assert post("?level=info&reset")[1].endswith("info\n")
    assert post("?reset=") == before


@pytest.mark.threaded
def test_connections_show_both_ends_stages_and_bytes(mesh, held):
    live = mesh.json("/debug/connections")
    mine = [c for c in live["connections"] if c["destination"] == f"{VIP}:80"]
    assert len(mine) == 3 and not live["isTruncated"]
    one = mine[0]
    assert one["sourceIdentity"] == spiffe("client") and one["destinationIdentity"] == spiffe("server")
    assert (one["bytesReceived"], one["bytesSent"], one["state"], one["tunnel"]) == (5, 5, "established", "10.77.2.20:15008")
    stages = one["stages"]
    assert list(stages) == ["accepted", "workload_known", "routed", "tunnel_ready", "connect_answered", "first_byte"]
    assert list(stages.values()) == sorted(stages.values())
    assert "connect_sent:" in one["events"] and "status:200+" in one["events"]
    inbound = [c for c in mesh.json("/debug/connections", pod=mesh.server)["connections"] if c["direction"] == "inbound"]
    assert len(inbound) == 3 and all(c["sourceIdentity"] == spiffe("client") for c in inbound)
    limited = mesh.json("/debug/connections?limit=2")
    assert len(limited["connections"]) == limited["shown"] == 2 and limited["isTruncated"]


@pytest.mark.threaded
def test_tunnels_and_refusals_are_shown_with_their_reasons(mesh, held):
    tunnels = mesh.json("/debug/tunnels")["tunnels"]
    assert sum(t["streams"] for t in tunnels) == 3
    assert {t["peer"] for t in tunnels} == {"10.77.2.20:15008"} and {t["sourceIdentity"] for t in tunnels} == {spiffe("client")}
    refused = mesh.json("/debug/refusals", pod=mesh.server)["refusals"][0]
    assert refused["reason"] == "connection closed due to policy rejection: explicitly denied by: default/no-9999"
    assert refused["flag"] == "DENY" and "denied+" in refused["events"] and refused["sourceIdentity"] == spiffe("client")
    mesh.into.program.wait_line("events of a failed connection", "denied+", "explicitly denied by: default/no-9999")


def test_workloads_policies_and_certificates_are_lists(mesh):
    workloads = mesh.json("/debug/workloads")
    assert workloads["total"] == 3 and [w["uid"] for w in workloads["workloads"]] == sorted(w["uid"] for w in workloads["workloads"])
    assert mesh.json("/debug/workloads?namespace=nowhere")["workloads"] == []
    assert mesh.json("/debug/workloads?limit=1") | {"workloads": None} == {"workloads": None, "isTruncated": True, "total": 3}
    assert [p["name"] for p in mesh.json("/debug/policies")["policies"]] == [SCRIPT, "no-9999"]
    certificate = mesh.json("/debug/certificates")["certificates"][0]
    assert certificate["identity"] == spiffe("client") and certificate["leftSeconds"] > 0 and certificate["ageSeconds"] >= 0


def fields_of(data):
    """A protobuf message as [(number, value)]."""
    def varint(at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at
    at, fields = 0, []
    while at < len(data):
        key, at = varint(at)
        value, at = varint(at)
        if key & 7 == 2:
            value, at = data[at:at + value], at + value
        fields.append((key >> 3, value))
    return fields


def test_a_cpu_profile_is_pprof_with_names_of_functions(mesh):
    load = Program("load", ["/usr/bin/python3", "-c", f"""
import socket
one = socket.create_connection(("{VIP}", 80))
while True:
    one.sendall(b"x" * 1000)
    one.recv(1000)
"""], namespace=mesh.client)
    path = os.path.join(run_directory(), "profile.pb")
    status = mesh.client.run("curl", "-s", "-m", "60", "-o", path, "-w", "%{http_code}", "http://127.0.0.1:15000/debug/pprof/profile?seconds=2&frequency=1000")
    load.kill()
    assert status == "200"
    with open(path, "rb") as file:
        profile = fields_of(file.read())
    texts = [value.decode() for number, value in profile if number == 6]
    assert texts[0] == "" and {"cpu", "nanoseconds", "samples", "count", "loop_run"} <= set(texts)
    assert any(text.endswith("/ztunnel") for text in texts)
    samples = [fields_of(value) for number, value in profile if number == 2]
    locations = {dict(fields_of(value))[1] for number, value in profile if number == 4}
    assert samples and all(len(dict(sample)[1]) > 0 for sample in samples)
    assert len(locations) == max(locations) and dict(profile)[12] == 1000000
    assert mesh.curl("/debug/pprof/profile?seconds=301") == (400, "invalid seconds value; expected 1-300\n")
    assert mesh.curl("/debug/pprof/profile?frequency=0") == (400, "invalid frequency value; expected 1-1000\n")


def test_the_trace_points_are_in_the_binary():
    notes = subprocess.run(["readelf", "-n", os.path.join(BUILD, "ztunnel")], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"Provider: ambar\s+Name: (\w+)", notes))
    assert names == {f"connection_{point}" for point in ("accept", "policy", "dial", "connect", "first_byte", "close")}


@pytest.mark.threaded
def test_a_dump_is_not_kept_by_a_client_that_goes_away(mesh, held):
    before = mesh.out.program.descriptors()
    for _ in range(20):
        mesh.client.run("timeout", "0.02", "curl", "-s", "-o", "/dev/null", "http://127.0.0.1:15000/config_dump", check=False)
        mesh.client.run("timeout", "0.02", "curl", "-s", "-o", "/dev/null", "http://127.0.0.1:15000/debug/connections", check=False)
    wait_until(lambda: mesh.out.program.descriptors() <= before, 20, "descriptors to return")
    assert len(mesh.json("/debug/connections")["connections"]) == 3
