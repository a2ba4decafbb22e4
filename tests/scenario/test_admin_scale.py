"""A dump of a large mesh: complete, in order, and without memory that grows with it. The model comes from a scripted control plane."""
import json
import os

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.control_plane import ADDRESS, ControlPlane, ca, make_service, make_workload
from tests.lab.process import Program, binary
from tests.lab.topology import Topology, run_directory

COUNT = 100000
SERVICE = "ns-0/everything.ns-0.svc.cluster.local"


class Large:
    def __init__(self):
        self.topology = Topology(1)
        self.pod = self.topology.add_pod("n1", "large", "10.77.1.10")
        self.authority = Authority()
        certificate, key, root = self.authority.leaf("DNS:localhost", "IP:127.0.0.1")
        self.plane = self.pod.inside(lambda: ControlPlane(0, certificate, key, self.issue))
        resources = self.plane.resources[ADDRESS]
        resources.update([make_service("everything", "10.96.0.1", {80: 8080}, "ns-0"), make_workload("large", "10.77.1.10")])
        for i in range(COUNT):
            resources.update([make_workload(f"pod-{i}", f"10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}", f"ns-{i % 100}", services={SERVICE: {80: 8080}})])
        address = f"https://localhost:{self.plane.port}"
        self.ztunnel = Program("ztunnel-large", [binary("ztunnel")], namespace=self.pod, environment={
            "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "default/large/large", "XDS_ADDRESS": address, "CA_ADDRESS": address,
            "XDS_ROOT_CA": root, "CA_ROOT_CA": root, "NODE_NAME": "n1", "RUST_LOG": "info"})
        self.ztunnel.wait_line("marking server ready", timeout=60)

    def issue(self, request, _context):
        return ca.IstioCertificateResponse(cert_chain=self.authority.sign_request(request.csr, spiffe("large")))

    def memory_kib(self, name):
        with open(f"/proc/{self.ztunnel.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name))

    def stop(self):
        self.ztunnel.assert_clean()
        self.plane.stop()
        self.topology.remove()


@pytest.mark.slow
def test_a_dump_of_100000_workloads_streams_in_bounded_memory():
    large = Large()
    with open(f"/proc/{large.ztunnel.pid}/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from what is resident now
    before = large.memory_kib("VmRSS")
    path = os.path.join(run_directory(), "large-dump.json")
    large.pod.run("curl", "-s", "-m", "60", "-o", path, "http://127.0.0.1:15000/config_dump", timeout=90)
    more = large.memory_kib("VmHWM") - before
    with open(path) as file:
        dump = json.load(file)
    uids = [w["uid"] for w in dump["workloads"]]
    assert len(uids) == COUNT + 1 and uids == sorted(uids)
    assert len(dump["services"][0]["endpoints"]) == COUNT
    assert more <= 4 * 1024, f"{more} KiB more"
    large.stop()
