"""ztunnel as a client of xDS and of the CA, against a control plane on grpcio that the test scripts."""
import ctypes
import json
import os
import time

import grpc
import pytest

from tests.lab.certificates import Authority, openssl, spiffe
from tests.lab.control_plane import ControlPlane, make_policy, make_service, make_workload
from tests.lab.messages import ADDRESS, AUTHORIZATION, ca
from tests.lab.process import Program, binary, wait_until
from tests.lab.topology import Namespace, remove_leftovers, run_directory

IDENTITY = spiffe("zt", "istio-system")
OWN_WORKLOAD = make_workload("zt", "127.0.0.1", namespace="istio-system")


class inside:
    """The calling thread in a namespace: sockets made here are born there."""

    def __init__(self, namespace):
        self.path = namespace.path

    def __enter__(self):
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._enter(os.open(self.path, os.O_RDONLY))

    def __exit__(self, *_):
        self._enter(self.home)

    @staticmethod
    def _enter(descriptor):
        assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0
        os.close(descriptor)


class Place:
    """A namespace with the control plane's certificate, a token file, and one ztunnel at a time."""

    def __init__(self):
        remove_leftovers()
        self.namespace = Namespace("cp")
        self.authority = Authority("control-plane")
        self.serving = self.authority.leaf("DNS:localhost", "IP:127.0.0.1", usage="serverAuth")
        self.mesh = Authority("mesh")
        self.token = os.path.join(run_directory(), "token")
        self.write_token("secret-token\n")
        self.count = 0

    def write_token(self, text):
        with open(self.token, "w") as file:
            file.write(text)

    def control_plane(self, port=0, **options):
        with inside(self.namespace):
            plane = ControlPlane(port, certificate=self.serving[0], key=self.serving[1], **options)
        plane.ca_handler = plane.ca_handler or self.issue
        return plane

    def issue(self, request, context):
        """What a CA does: the request's key with the asked identity."""
        base = os.path.join(self.mesh.directory, f"issued-{time.monotonic_ns()}")
        with open(base + ".csr", "w") as file:
            file.write(request.csr)
        names = openssl("req", "-in", base + ".csr", "-noout", "-text").decode()
        uri = names[names.index("URI:"):].split()[0]
        config = self.mesh._config(uri, "serverAuth,clientAuth")
        openssl("x509", "-req", "-in", base + ".csr", "-CA", self.mesh.root, "-CAkey", self.mesh.key, "-CAcreateserial", "-days", "1",
                "-sha256", "-extfile", config, "-extensions", "leaf", "-out", base + ".pem")
        return ca.IstioCertificateResponse(cert_chain=[open(base + ".pem").read(), open(self.mesh.root).read()])

    def ztunnel(self, plane, **environment):
        self.count += 1
        address = f"https://localhost:{plane.port}"
        return Program(f"zt-{self.count}", [binary("ztunnel")], namespace=self.namespace, environment={
            "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "istio-system/zt/zt", "XDS_ADDRESS": address, "CA_ADDRESS": address,
            "XDS_ROOT_CA": self.authority.root, "CA_ROOT_CA": self.authority.root, "AUTH_TOKEN": self.token, "CLUSTER_ID": "c1",
            "POD_NAME": "zt", "POD_NAMESPACE": "istio-system", "INSTANCE_IP": "10.0.0.1", "NODE_NAME": "n1",
            "ISTIO_META_ISTIO_VERSION": "1.30", "ISTIO_METAJSON_LABELS": '{"app":"zt"}', "XDS_HEADER_X_EXTRA": "yes",
            "PACKET_MARK": "1337", "ZTUNNEL_WORKER_THREADS": "1", "RUST_LOG": "debug", **environment})

    def dump(self):
        return json.loads(self.namespace.run("curl", "-s", "-m", "10", "http://127.0.0.1:15000/config_dump"))

    def need_certificate(self):
        """A tunnel from nobody: answering its handshake takes a certificate."""
        self.namespace.run("curl", "-sk", "-m", "5", "https://127.0.0.1:15008/", check=False)

    def ready(self):
        return self.namespace.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:15021/healthz/ready", check=False)


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.namespace.remove()


@pytest.fixture(autouse=True)
def one_ztunnel_at_a_time(place):
    yield
    for program in Program.everything:
        if program.returncode is None:
            program.kill()


@pytest.fixture
def session(place):
    """A ztunnel that has connected, and its control plane."""
    plane = place.control_plane()
    plane.resources[ADDRESS] = dict([make_workload("web", "10.0.0.5"), make_service("web", "10.96.0.9", {80: 8080})])
    plane.resources[AUTHORIZATION] = dict([make_policy("deny")])
    program = place.ztunnel(plane)
    plane.wait(lambda p: p.answers(ADDRESS) and p.answers(AUTHORIZATION))
    yield plane, program
    program.assert_clean()
    plane.stop()


def test_the_first_stream_introduces_itself_as_the_reference_does(place, session):
    plane, program = session
    stream = plane.streams[0]
    assert stream.metadata["authorization"] == "Bearer secret-token"
    assert stream.metadata["clusterid"] == "c1"
    assert stream.metadata["x_extra"] == "yes"  # its name in lower case, nothing else changed
    assert set(stream.metadata) == {"authorization", "clusterid", "x_extra"}, stream.metadata  # no user-agent, no grpc-timeout
    first, second = [r for r in stream.requests if not r.response_nonce][:2]
    assert (first.type_url, second.type_url) == (ADDRESS, AUTHORIZATION)
    assert first.node.id == "ztunnel~10.0.0.1~zt.istio-system~istio-system.svc.cluster.local"
    fields = {f.key: f.value for f in first.node.metadata.fields}
    assert fields["NAME"].string_value == "zt" and fields["NODE_NAME"].string_value == "n1"
    assert fields["ISTIO_VERSION"].string_value == "1.30"
    assert fields["LABELS"].struct_value.fields[0].value.string_value == "zt"
    assert not first.resource_names_subscribe and not first.initial_resource_versions
    program.wait_line("Stream established")


def test_metadata_of_every_kind_goes_into_the_node_and_what_is_no_json_is_said(place):
    plane = place.control_plane()
    program = place.ztunnel(plane, ISTIO_METAJSON_NOTHING="null", ISTIO_METAJSON_YES="true", ISTIO_METAJSON_HALF="0.5", ISTIO_METAJSON_TEXT='"t"',
                            ISTIO_METAJSON_LIST='[1,"x",{"k":false}]', ISTIO_METAJSON_BROKEN="{broken", ISTIO_META_NAME="another", POD_NAME="zt",
                            ISTIO_META_DNS_CAPTURE="true")
    plane.wait(lambda p: p.streams and len(p.streams[0].requests) >= 2)
    fields = {f.key: f.value for f in plane.streams[0].requests[0].node.metadata.fields}
    assert fields["NOTHING"].WhichOneof("kind") == "null_value" and fields["YES"].bool_value and fields["HALF"].number_value == 0.5
    assert fields["TEXT"].string_value == "t" and fields["NAME"].string_value == "another" and fields["DNS_CAPTURE"].string_value == "true"
    values = fields["LIST"].list_value.values
    assert values[0].number_value == 1 and values[1].string_value == "x" and not values[2].struct_value.fields[0].value.bool_value
    assert "BROKEN" not in fields
    program.wait_line("failed to parse BROKEN={broken")
    program.assert_clean()
    plane.stop()


@pytest.mark.parametrize("environment, name, namespace", [({"INSTANCE_IP": ""}, "zt", "istio-system"), ({"POD_NAME": "", "POD_NAMESPACE": ""}, "", "")])
def test_what_is_unset_leaves_its_place_in_the_id(place, environment, name, namespace):
    plane = place.control_plane()
    program = place.ztunnel(plane, **environment)
    plane.wait(lambda p: p.streams and p.streams[0].requests)
    ip = "1.1.1.1" if "INSTANCE_IP" in environment else "10.0.0.1"
    assert plane.streams[0].requests[0].node.id == f"ztunnel~{ip}~{name}.{namespace}~{namespace}.svc.cluster.local"
    program.assert_clean()
    plane.stop()


def test_resources_are_applied_and_acknowledged(place, session):
    plane, program = session
    assert [w["name"] for w in place.dump()["workloads"]] == ["web"]
    assert not any(a.HasField("error_detail") for a in plane.answers(ADDRESS))
    assert wait_until(lambda: place.ready() == "200")
    before = len(plane.answers(ADDRESS))
    plane.set(ADDRESS, make_workload("api", "10.0.0.6"))
    plane.remove(ADDRESS, "Kubernetes//Pod/default/web")
    plane.wait(lambda p: len(p.answers(ADDRESS)) >= before + 2)
    assert [w["name"] for w in place.dump()["workloads"]] == ["api"]


def test_messages_and_the_bytes_of_their_resources_are_counted(place, session):
    plane, program = session
    size = sum(len(message.SerializeToString()) for message in plane.resources[ADDRESS].values())
    metrics = place.namespace.run("curl", "-s", "-m", "5", "http://127.0.0.1:15020/metrics")
    assert f'istio_xds_message_total{{url="{ADDRESS}"}} 1' in metrics
    assert f'istio_xds_message_bytes_total{{url="{ADDRESS}"}} {size}' in metrics
    assert "ambar_xds_connected 1" in metrics


def test_a_bad_resource_is_refused_by_name_and_the_rest_applied(place, session):
    plane, program = session
    bad_name, bad = make_workload("bad")
    bad.workload.addresses.append(b"123")
    garbage = b"\x0a\xff"
    plane.set(ADDRESS, make_workload("good", "10.0.0.7"), (bad_name, bad), ("Kubernetes//Pod/default/garbage", garbage))
    plane.wait(lambda p: any(a.HasField("error_detail") for a in p.answers(ADDRESS)))
    nack = [a for a in plane.answers(ADDRESS) if a.HasField("error_detail")][0]
    assert nack.error_detail.code == 0
    reasons = sorted(nack.error_detail.message.split("; "))
    assert reasons[0] == "Kubernetes//Pod/default/bad: failed to parse address, had 3 bytes"
    assert reasons[1].startswith("Kubernetes//Pod/default/garbage: decode: ")
    assert "good" in [w["name"] for w in place.dump()["workloads"]]
    program.wait_line("sending response", "NACK")


def test_an_oversized_resource_is_refused_by_name_and_the_stream_goes_on(place, session):
    plane, program = session
    name, huge = make_workload("huge", canonical_name="x" * (5 << 20))
    plane.set(ADDRESS, (name, huge), make_workload("after", "10.0.0.8"))
    plane.wait(lambda p: any(a.HasField("error_detail") for a in p.answers(ADDRESS)))
    assert f"{name}: " in plane.answers(ADDRESS)[-1].error_detail.message
    assert "after" in [w["name"] for w in place.dump()["workloads"]]


def test_a_reconnect_claims_what_was_accepted(place, session):
    plane, program = session
    plane.streams[0].send(grpc.StatusCode.UNKNOWN)
    plane.wait(lambda p: len(p.streams) > 1 and len([r for r in p.streams[-1].requests if not r.response_nonce]) >= 2)
    requests = [r for r in plane.streams[-1].requests if not r.response_nonce]
    versions = {e.key: e.value for e in requests[0].initial_resource_versions}
    assert set(versions) == set(plane.resources[ADDRESS]) and all(versions.values())
    assert {e.key: e.value for e in requests[1].initial_resource_versions} == {"default/deny": ""}


def test_the_token_is_read_again_for_each_stream(place, session):
    plane, program = session
    place.write_token("another-token")
    plane.streams[0].send(grpc.StatusCode.UNKNOWN)
    plane.wait(lambda p: len(p.streams) > 1)
    assert plane.streams[-1].metadata["authorization"] == "Bearer another-token"
    place.write_token("secret-token\n")


def test_errors_lengthen_the_wait_and_name_the_status(place, session):
    plane, program = session
    plane.streams[0].send(grpc.StatusCode.INVALID_ARGUMENT)
    program.wait_line("XDS client error: gRPC error status: InvalidArgument", "retrying in 20ms")


@pytest.mark.parametrize("status, line, reason", [
    (grpc.StatusCode.UNKNOWN, "\tXDS client terminated: gRPC error status: Unknown, message: \"scripted\"", "Reconnect"),
    (grpc.StatusCode.CANCELLED, "\tXDS client terminated: gRPC error status: Cancelled", "Reconnect"),
    (grpc.StatusCode.DEADLINE_EXCEEDED, "\tXDS client terminated: gRPC error status: DeadlineExceeded", "Reconnect"),
    (grpc.StatusCode.UNAVAILABLE, "\tXDS client error: gRPC error status: Unavailable", "Error"),
    (grpc.StatusCode.PERMISSION_DENIED, "\tXDS client error: gRPC error status: PermissionDenied", "Error"),
    (None, "\tXDS client complete", "Complete"),
])
def test_the_end_of_a_stream_is_said_and_counted_by_its_reason(place, session, status, line, reason):
    plane, program = session
    plane.streams[0].send(status)
    plane.wait(lambda p: len(p.streams) > 1)
    program.wait_line(line)
    metrics = place.namespace.run("curl", "-s", "-m", "5", "http://127.0.0.1:15020/metrics")
    assert f'istio_xds_connection_terminations_total{{reason="{reason}"}} 1' in metrics


def test_a_control_plane_that_refuses_at_once_counts_as_a_failed_connection(place):
    plane = place.control_plane()
    plane.refusal = (grpc.StatusCode.UNAUTHENTICATED, "authentication failure")
    program = place.ztunnel(plane)
    program.wait_line("XDS client connection error: gRPC connection error connecting to https://localhost:", "status: Unauthenticated",
                      'message: "authentication failure" (hint: check the control plane logs for more information)', "retrying in 20ms")
    program.wait_line("retrying in 40ms")
    metrics = place.namespace.run("curl", "-s", "-m", "5", "http://127.0.0.1:15020/metrics")
    assert 'istio_xds_connection_terminations_total{reason="ConnectionError"}' in metrics
    plane.refusal = None
    plane.wait(lambda p: p.answers(ADDRESS))
    program.assert_clean()
    plane.stop()


def test_the_state_is_kept_while_the_control_plane_is_away(place, session):
    plane, program = session
    plane.stop()
    program.wait_line("XDS client connection error: gRPC connection error connecting to https://localhost:", "retrying in")
    assert [w["name"] for w in place.dump()["workloads"]] == ["web"]
    again = place.control_plane(plane.port)
    again.wait(lambda p: p.streams and p.streams[-1].requests, timeout=60)
    assert again.streams[-1].requests[0].initial_resource_versions
    again.stop()


def test_a_large_first_response_arrives_whole(place):
    plane = place.control_plane()
    plane.resources[ADDRESS] = dict(make_workload(f"w{i}", f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}") for i in range(65536, 85536))
    program = place.ztunnel(plane)
    plane.wait(lambda p: p.answers(ADDRESS), timeout=90)
    assert not plane.answers(ADDRESS)[0].HasField("error_detail")
    assert len(place.dump()["workloads"]) == 20000
    program.assert_clean()
    plane.stop()


def test_a_certificate_is_requested_and_used(place, session):
    plane, program = session
    plane.set(ADDRESS, OWN_WORKLOAD)
    place.need_certificate()
    wait_until(lambda: [c for c in place.dump()["certificates"] if c["state"] == "Available"], message="a certificate")
    request, metadata = plane.certificate_requests[0]
    assert metadata["authorization"] == "Bearer secret-token" and metadata["clusterid"] == "c1"
    assert request.validity_duration == 86400 and not request.metadata.fields
    text = openssl("req", "-noout", "-text", "-verify", input=request.csr.encode()).decode()
    assert f"URI:{IDENTITY}" in text and "ASN1 OID: prime256v1" in text and "critical" in text


def test_a_refused_certificate_is_asked_for_again(place):
    calls = []

    def refuse_once(request, context):
        calls.append(time.monotonic())
        if len(calls) == 1:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure")
        return place.issue(request, context)

    plane = place.control_plane(ca_handler=refuse_once)
    plane.resources[ADDRESS] = dict([OWN_WORKLOAD])
    program = place.ztunnel(plane)
    program.wait_line("marking server ready")
    place.need_certificate()
    program.wait_line("signing gRPC error (The request does not have valid authentication credentials): request authenticate failure")
    wait_until(lambda: len(calls) > 1, message="a second request")
    assert calls[1] - calls[0] > 0.7
    program.assert_clean()
    plane.stop()


def trust_inline(place, port):
    with open(place.authority.root) as file:
        return {"XDS_ROOT_CA": file.read()}


def trust_system(place, port):
    return {"XDS_ROOT_CA": "SYSTEM", "SSL_CERT_FILE": place.authority.root}


def trust_another_name(place, port):
    return {"XDS_ADDRESS": f"127.0.0.2:{port}", "ALT_XDS_HOSTNAME": "localhost"}


@pytest.mark.parametrize("trust", [trust_inline, trust_system, trust_another_name])
def test_every_form_of_trust_reaches_the_control_plane(place, trust):
    plane = place.control_plane(host="0.0.0.0")
    program = place.ztunnel(plane, **trust(place, plane.port))
    program.wait_line("Stream established")
    program.assert_clean()
    plane.stop()


def test_a_name_that_the_certificate_does_not_bear_is_not_trusted(place):
    plane = place.control_plane(host="0.0.0.0")
    program = place.ztunnel(plane, XDS_ADDRESS=f"127.0.0.2:{plane.port}")
    program.wait_line("XDS client connection error", "NotValidForName")
    program.assert_clean()
    plane.stop()


@pytest.mark.parametrize("token, sentence", [("", "token file exists, but was empty"), ("two\nlines\n", "cannot be in a token")])
def test_a_token_that_cannot_be_sent_is_named_and_read_again(place, token, sentence):
    place.write_token(token)
    plane = place.control_plane()
    program = place.ztunnel(plane)
    program.wait_line("XDS client connection error", "Unauthenticated", sentence)
    place.write_token("secret-token")
    plane.wait(lambda p: p.streams)
    assert plane.streams[0].metadata["authorization"] == "Bearer secret-token"
    program.assert_clean()
    plane.stop()


def test_a_foreign_control_plane_is_not_trusted(place):
    foreign = Authority("foreign")
    plane = place.control_plane()
    program = place.ztunnel(plane, XDS_ROOT_CA=foreign.root)
    program.wait_line("XDS client connection error", "invalid peer certificate")
    assert not plane.streams
    program.assert_clean()
    plane.stop()
