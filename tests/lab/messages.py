"""The mesh's protobuf messages for Python, generated on first use from proto/ into the build folder."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENERATED = os.path.join(ROOT, os.environ.get("AMBAR_GENERATED", "build/generated/python"))


def _generate():
    source = os.path.join(ROOT, "proto")
    names = sorted(n for n in os.listdir(source) if n.endswith(".proto"))
    newest = max(os.path.getmtime(os.path.join(source, n)) for n in names)
    stamp = os.path.join(GENERATED, ".stamp")
    if not os.path.exists(stamp) or os.path.getmtime(stamp) < newest:
        os.makedirs(GENERATED, exist_ok=True)
        subprocess.run(["protoc", f"--python_out={GENERATED}", f"-I{source}", *names], cwd=source, check=True)
        open(stamp, "w").close()
    if GENERATED not in sys.path:
        sys.path.insert(0, GENERATED)


_generate()
import authorization_pb2 as authorization  # noqa: E402
import ca_pb2 as ca  # noqa: E402
import discovery_pb2 as discovery  # noqa: E402
import workload_pb2 as workload  # noqa: E402

ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
CREATE_CERTIFICATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
