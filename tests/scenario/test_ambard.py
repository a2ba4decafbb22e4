"""ambard against clients written by others: grpcio for the workload API and the CA, openssl for what the CA issues."""
import os
import select
import shutil
import socket
import ssl
import subprocess
import time

import grpc
import pytest

from tests.lab.certificates import openssl
from tests.lab.control_plane import ADDRESS, AUTHORIZATION, DeltaClient, request_certificate
from tests.lab.process import PATIENCE, ROOT, Program, binary, wait_until

POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: extra, namespace: shop}
spec:
  action: DENY
  rules: [{from: [{source: {namespaces: [elsewhere]}}]}]
"""
# By address: a name is resolved, and then dialled, on a thread of grpc's own, which is in another network namespace when a test before made it there.
SECURE = "127.0.0.1:15012"


class Ambard:
    def __init__(self, directory):
        self.config = os.path.join(directory, "config")
        self.overlay = os.path.join(directory, "overlay")
        self.state = os.path.join(directory, "state")
        shutil.copytree(os.path.join(ROOT, "examples/shop"), self.config)
        os.makedirs(self.overlay)
        self.start()

    def start(self):
        self.program = Program("ambard", [binary("ambard"), "--config-dir", self.config, "--overlay-dir", self.overlay, "--state-dir",
                                          self.state, "--listen", "127.0.0.1"])
        self.program.wait_line("serving")

    @property
    def root(self):
        return os.path.join(self.state, "root-cert.pem")

    def token(self, node="n1", account="istio-system/ztunnel", *more):
        return subprocess.run([binary("ambard"), "token", "--node", node, "--service-account", account, "--state-dir", self.state, *more],
                              check=True, capture_output=True, text=True).stdout

    def client(self, **options):
        return DeltaClient("127.0.0.1:15010", **options)

    def write(self, name, text):
        path = os.path.join(self.config, name)
        with open(path + ".tmp", "w") as file:
            file.write(text)
        os.rename(path + ".tmp", path)

    def get(self, port, path):
        return subprocess.run(["curl", "-s", "-m", "5", f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True).stdout


@pytest.fixture
def ambard(tmp_path):
    ambard = Ambard(str(tmp_path))
    yield ambard
    ambard.program.assert_clean()


def new_request():
    key = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
    return openssl("req", "-new", "-key", "/dev/stdin", "-subj", "/", input=key).decode()


def names(response):
    return [r.name for r in response.resources]


def test_a_wildcard_client_gets_everything_then_only_what_changed(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    first = client.next()
    assert "shop/catalogue.shop.svc.cluster.local" in names(first) and "Kubernetes//Pod/shop/web-1" in names(first)
    assert len(names(first)) == 7
    client.ack(first)
    client.subscribe(AUTHORIZATION, with_node=False)
    policies = client.next()
    assert names(policies) == ["istio-system/istio_converted_static_strict", "shop/catalogue-from-web", "shop/redis-from-catalogue"]
    client.ack(policies)

    ambard.write("extra.yaml", POLICY)
    pushed = client.next()
    assert pushed.type_url == AUTHORIZATION and names(pushed) == ["shop/extra"]
    client.ack(pushed)
    os.unlink(os.path.join(ambard.config, "extra.yaml"))
    removed = client.next()
    assert names(removed) == [] and list(removed.removed_resources) == ["shop/extra"]
    client.close()


def test_a_change_is_applied_within_a_second(ambard):
    client = ambard.client()
    client.subscribe(AUTHORIZATION)
    client.ack(client.next())
    began = time.monotonic()
    ambard.write("extra.yaml", POLICY)
    client.next()
    assert time.monotonic() - began < 10, "ten times the second that is promised"
    client.close()


def test_a_changed_service_sends_its_workloads_again(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    client.ack(client.next())
    path = os.path.join(ambard.config, "catalogue.yaml")
    text = open(path).read()
    ambard.write("catalogue.yaml", text.replace("  ipFamilies: [IPv4]\n", "  ipFamilies: [IPv4]\n  internalTrafficPolicy: Local\n"))
    assert sorted(names(client.next())) == ["Kubernetes//Pod/shop/catalogue-1", "Kubernetes//Pod/shop/catalogue-2",
                                            "shop/catalogue.shop.svc.cluster.local"]
    client.close()


def test_a_reconnect_gets_only_what_it_does_not_have(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    first = client.next()
    versions = {r.name: r.version for r in first.resources}
    client.close()
    again = ambard.client()
    versions["Kubernetes//Pod/shop/web-1"] = "old"
    versions["Kubernetes//Pod/shop/gone"] = "1"
    again.subscribe(ADDRESS, versions=versions)
    response = again.next()
    assert names(response) == ["Kubernetes//Pod/shop/web-1"]
    assert list(response.removed_resources) == ["Kubernetes//Pod/shop/gone"]
    again.close()


def test_on_demand_brings_what_was_asked_for_and_the_nodes_own(ambard):
    client = ambard.client(metadata={"NAMESPACE": "istio-system", "NODE_NAME": "n2"})
    client.subscribe(ADDRESS, subscribe=["*"], unsubscribe=["*"])
    first = client.next()
    assert sorted(names(first)) == ["Kubernetes//Pod/shop/catalogue-1", "Kubernetes//Pod/shop/redis-1"]
    client.ack(first)
    client.subscribe(ADDRESS, subscribe=["/10.77.1.10", "/10.9.9.9"], with_node=False)
    answer = client.next()
    assert names(answer) == ["Kubernetes//Pod/shop/web-1"] and list(answer.removed_resources) == ["/10.9.9.9"]
    assert "/10.77.1.10" in answer.resources[0].aliases
    client.ack(answer)
    client.subscribe(ADDRESS, subscribe=["shop/catalogue.shop.svc.cluster.local"], with_node=False)
    assert {"shop/catalogue.shop.svc.cluster.local", "Kubernetes//Pod/shop/catalogue-2"} <= set(names(client.next()))
    client.close()


def test_a_refused_response_is_counted_and_not_answered(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    client.ack(client.next(), error="name: reason")
    ambard.program.wait_line("client refused a response", "name: reason")
    ambard.write("extra.yaml", POLICY)  # nothing for addresses: no answer was owed
    client.subscribe(AUTHORIZATION, with_node=False)
    assert client.next().type_url == AUTHORIZATION
    assert 'pilot_total_xds_rejects_total{type="wds"} 1' in ambard.get(15014, "/metrics")
    client.close()


@pytest.mark.parametrize("node, sentence", [
    ("ztunnel~10.0.0.1~zt.istio-system", "missing parts in the service node"), ("ingress~10.0.0.1~a.b~b.svc.cluster.local", "invalid node type"),
    ("ztunnel~nowhere~a.b~b.svc.cluster.local", "no valid IP address in the service node id or metadata")])
def test_a_node_that_is_none_is_refused_by_name(ambard, node, sentence):
    client = ambard.client(node=node)
    client.subscribe(ADDRESS)
    assert client.next() is None
    assert client.status[0] == grpc.StatusCode.INVALID_ARGUMENT, client.status
    assert client.status[1].startswith(sentence)
    client.close()


def test_only_known_callers_may_watch_on_the_encrypted_port(ambard):
    good = DeltaClient(SECURE, root=ambard.root, token=ambard.token())
    good.subscribe(ADDRESS)
    assert good.next() is not None
    good.close()
    for token in (None, "nonsense", ambard.token()[:-4] + "AAAA"):
        client = DeltaClient(SECURE, root=ambard.root, token=token)
        client.subscribe(ADDRESS)
        assert client.next() is None
        assert client.status == (grpc.StatusCode.UNAUTHENTICATED, "authentication failure")
        client.close()
    other = DeltaClient(SECURE, root=ambard.root, token=ambard.token(account="shop/web"))
    other.subscribe(ADDRESS)
    assert other.next() is None and other.status[0] == grpc.StatusCode.PERMISSION_DENIED


def test_certificates_are_for_the_workloads_of_the_callers_node(ambard, tmp_path):
    token, csr = ambard.token(), new_request()
    chain = request_certificate(SECURE, ambard.root, token, csr, "spiffe://cluster.local/ns/shop/sa/web")
    assert len(chain) == 2 and chain[1] == open(ambard.root).read()
    leaf = tmp_path / "leaf.pem"
    leaf.write_text(chain[0])
    openssl("verify", "-CAfile", ambard.root, "-purpose", "sslclient", leaf)
    text = openssl("x509", "-in", leaf, "-noout", "-text").decode()
    assert "X509v3 Subject Alternative Name: critical\n                URI:spiffe://cluster.local/ns/shop/sa/web" in text
    assert "CA:FALSE" in text and "Digital Signature, Key Encipherment" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    for identity in ("spiffe://cluster.local/ns/shop/sa/redis", "spiffe://other/ns/shop/sa/web", "web", "spiffe://cluster.local/ns/shop/sa/web/x"):
        with pytest.raises(grpc.RpcError) as refused:
            request_certificate(SECURE, ambard.root, token, csr, identity)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert refused.value.details() == "request impersonation authentication failure"
    assert "citadel_server_id_extraction_err_count_total 4" in ambard.get(15014, "/metrics")


def test_an_account_that_is_not_trusted_gets_its_own_identity_only(ambard):
    token, csr = ambard.token(account="shop/web"), new_request()
    chain = request_certificate(SECURE, ambard.root, token, csr)
    assert "spiffe://cluster.local/ns/shop/sa/web" in openssl("x509", "-noout", "-ext", "subjectAltName", input=chain[0].encode()).decode()
    with pytest.raises(grpc.RpcError) as refused:
        request_certificate(SECURE, ambard.root, token, csr, "spiffe://cluster.local/ns/shop/sa/catalogue")
    assert refused.value.details() == "request impersonation authentication failure"


def test_bad_requests_are_refused_by_name(ambard):
    token = ambard.token()
    for csr, ttl in (("nonsense", 3600), (new_request(), 3600 * 24 * 400)):
        with pytest.raises(grpc.RpcError) as refused:
            request_certificate(SECURE, ambard.root, token, csr, "spiffe://cluster.local/ns/shop/sa/web", ttl=ttl)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and refused.value.details().startswith("CSR signing error (")
    for bad in (None, "x.y.z"):
        with pytest.raises(grpc.RpcError) as refused:
            request_certificate(SECURE, ambard.root, bad, new_request())
        assert refused.value.details() == "request authenticate failure"


def test_removing_the_node_revokes_its_token_at_the_next_call(ambard):
    token, csr = ambard.token(), new_request()
    request_certificate(SECURE, ambard.root, token, csr, "spiffe://cluster.local/ns/shop/sa/web")
    path = os.path.join(ambard.config, "00-nodes.yaml")
    ambard.write("00-nodes.yaml", open(path).read().replace("name: n1", "name: other"))
    ambard.program.wait_line("configuration applied")
    with pytest.raises(grpc.RpcError) as refused:
        request_certificate(SECURE, ambard.root, token, csr, "spiffe://cluster.local/ns/shop/sa/web")
    assert refused.value.details() == "request authenticate failure"
    ambard.program.wait_line("node n1 of token", "does not exist")


def test_root_and_tokens_survive_a_restart(ambard):
    root, token = open(ambard.root).read(), ambard.token()
    assert oct(os.stat(os.path.join(ambard.state, "ca-key.pem")).st_mode & 0o777) == "0o600"
    assert oct(os.stat(os.path.join(ambard.state, "token-key.pem")).st_mode & 0o777) == "0o600"
    ambard.program.assert_clean()
    ambard.start()
    assert open(ambard.root).read() == root
    client = DeltaClient(SECURE, root=ambard.root, token=token)
    client.subscribe(ADDRESS)
    assert client.next() is not None
    client.close()


def test_a_mistake_is_named_and_the_last_good_state_stays(ambard):
    client = ambard.client()
    client.subscribe(AUTHORIZATION)
    client.ack(client.next())
    path = os.path.join(ambard.config, "policies.yaml")
    good = open(path).read()
    ambard.write("policies.yaml", good.replace("  action: ALLOW\n", "  actoin: ALLOW\n", 1))
    ambard.program.wait_line("policies.yaml:", "spec.actoin", "unknown field")
    ambard.write("broken.yaml", "a: [1\nb: }")
    ambard.program.wait_line("broken.yaml")
    ambard.write("policies.yaml", good + POLICY.replace("apiVersion", "---\napiVersion", 1))
    assert names(client.next()) == ["shop/extra"], "nothing was withdrawn by the mistakes"
    client.close()


def test_ambard_refuses_to_start_without_a_good_state(tmp_path):
    (tmp_path / "bad.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: eighty}]}\n")
    started = subprocess.run([binary("ambard"), "--config-dir", tmp_path, "--state-dir", tmp_path / "state"], capture_output=True, text=True, timeout=60)
    assert started.returncode == 1 and "bad.yaml:4" in started.stderr
    checked = subprocess.run([binary("ambard"), "check", tmp_path], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1 and "bad.yaml:4" in checked.stdout


def test_the_overlay_marks_pods_as_captured(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    client.ack(client.next())
    with open(os.path.join(ambard.overlay, "shop_web-1.yaml"), "w") as file:
        file.write("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-1\n  namespace: shop\n  annotations:\n    ambient.istio.io/redirection: enabled\n")
    from tests.lab.messages import workload
    pushed = client.next()
    assert names(pushed) == ["Kubernetes//Pod/shop/web-1"]
    address = workload.Address.FromString(pushed.resources[0].resource.value)
    assert address.workload.tunnel_protocol == workload.HBONE
    client.close()


def test_debug_pages_and_readiness(ambard):
    client = ambard.client()
    client.subscribe(ADDRESS)
    client.ack(client.next())
    assert ambard.get(8080, "/ready") == "ready\n"
    assert "ztunnel~10.0.0.1" in ambard.get(8080, "/debug/syncz")
    assert '"totalClients": 1' in ambard.get(8080, "/debug/connections")
    assert "shop/catalogue.shop.svc.cluster.local" in ambard.get(8080, "/debug/ambientz")
    wait_until(lambda: "pilot_xds 1" in ambard.get(15014, "/metrics"), 5)
    client.close()


def test_arbitrary_bytes_end_their_connection_only(ambard):
    import socket
    client = ambard.client()
    client.subscribe(ADDRESS)
    client.ack(client.next())
    for port in (15010, 15012, 15014, 8080):
        for payload in (b"\x00" * 4096, os.urandom(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(512), b"GET " + b"a" * 20000):
            with socket.create_connection(("127.0.0.1", port), 5) as peer:
                try:
                    peer.sendall(payload)
                    peer.shutdown(socket.SHUT_WR)
                    peer.settimeout(10)
                    while peer.recv(65536):
                        pass
                except OSError:
                    pass
    ambard.write("extra.yaml", POLICY)
    client.subscribe(AUTHORIZATION, with_node=False)
    assert client.next() is not None
    client.close()


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The preface and SETTINGS, then the head of a request that never ends.
REQUEST = PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\x10\0\1\4\0\0\0\1"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200
HEAD = b"GET /ready HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100


def dial(port, over_tls=False):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    if not over_tls:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connection)


class Speaker:
    def __init__(self, port, said=b"", at_once=b"", over_tls=False):
        self.port, self.said, self.over_tls = port, said, over_tls
        self.connection = dial(port, over_tls)
        self.connection.sendall(at_once)
        self.position = 0

    def has_ended(self):
        """Says one byte more."""
        try:
            if self.position < len(self.said):
                self.connection.send(self.said[self.position:self.position + 1])
                self.position += 1
            while select.select([self.connection], [], [], 0)[0]:
                if self.connection.recv(4096) == b"":
                    return True
            return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True


def test_slow_speakers_are_ended_on_every_port_and_an_idle_client_is_not(ambard):
    client = ambard.client()
    client.subscribe(AUTHORIZATION)
    client.ack(client.next())
    speakers = [Speaker(15012), Speaker(15012, HELLO)]
    for port, over_tls in ((15010, False), (15012, True)):
        speakers += [Speaker(port, over_tls=over_tls), Speaker(port, PREFACE, over_tls=over_tls), Speaker(port, b"a" * 100, REQUEST, over_tls)]
    for port in (8080, 15014):
        speakers += [Speaker(port), Speaker(port, HEAD)]
    deadline = time.monotonic() + 16 * PATIENCE
    while speakers and time.monotonic() < deadline:
        speakers = [speaker for speaker in speakers if not speaker.has_ended()]
        time.sleep(0.25)
    assert not speakers, [(s.port, s.over_tls, s.said[:8]) for s in speakers]
    ambard.program.wait_line("grpc connection failed", "no call within 10000 ms")
    ambard.write("extra.yaml", POLICY)
    assert names(client.next()) == ["shop/extra"]
    client.close()
