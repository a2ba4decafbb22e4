"""A dump of a large mesh: complete, in order, and without memory that grows with it."""
import json
import os

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.topology import Topology, run_directory
from tests.lab.ztunnel import Ztunnel, workload


class Large:
    """A ztunnel with a model from a local file."""

    def __init__(self, count):
        self.topology = Topology(1)
        self.pod = self.topology.add_pod("n1", "large", "10.77.1.10")
        path = os.path.join(run_directory(), "large.json")
        workloads = [{"uid": f"Kubernetes//Pod/ns-{i % 100}/pod-{i}", "name": f"pod-{i}", "namespace": f"ns-{i % 100}", "serviceAccount": "default",
                      "trustDomain": "cluster.local", "workloadIps": [f"10.{100 + i // 65536}.{i // 256 % 256}.{i % 256}"], "protocol": "HBONE",
                      "services": {"ns-0/everything.example": {80: 8080}}} for i in range(count)]
        with open(path, "w") as file:
            json.dump({"workloads": workloads + [workload(self.pod)], "policies": [],
                       "services": [{"name": "everything", "namespace": "ns-0", "hostname": "everything.example", "vips": ["/10.96.0.1"], "ports": {80: 8080}}]}, file)
        self.ztunnel = Ztunnel(self.pod, {}, Authority().leaf(spiffe("large")), environment={"LOCAL_XDS": "", "LOCAL_XDS_PATH": path, "RUST_LOG": "info"})

    def memory_kib(self, name):
        with open(f"/proc/{self.ztunnel.program.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name))


@pytest.mark.slow
def test_a_dump_of_100000_workloads_streams_in_bounded_memory():
    count = 100000
    large = Large(count)
    with open(f"/proc/{large.ztunnel.program.pid}/clear_refs", "w") as file:
        file.write("5")  # the peak starts again from what is resident now
    before = large.memory_kib("VmRSS")
    path = os.path.join(run_directory(), "large-dump.json")
    large.pod.run("curl", "-s", "-m", "60", "-o", path, "http://127.0.0.1:15000/config_dump", timeout=90)
    more = large.memory_kib("VmHWM") - before
    with open(path) as file:
        dump = json.load(file)
    uids = [w["uid"] for w in dump["workloads"]]
    assert len(uids) == count + 1 and uids == sorted(uids)
    assert len(dump["services"][0]["endpoints"]) == count
    assert more <= 4 * 1024, f"{more} KiB more"
    large.ztunnel.stop()
    large.topology.remove()
