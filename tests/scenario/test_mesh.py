"""The whole mesh in shared mode: ambard, two ztunnels, two agents, real pods. The demo walks through the same with a story."""
import json
import os

import pytest

from tests.lab.mesh import Mesh
from tests.lab.process import ROOT, Program, wait_until

CATALOGUE = "http://10.96.77.20/"


@pytest.fixture(scope="module")
def mesh():
    mesh = Mesh(os.path.join(ROOT, "examples/shop"))
    topology = mesh.topology
    pods = {
        "web-1": topology.add_pod("n1", "web-1", "10.77.1.10", "fd77:1::10"),
        "catalogue-1": topology.add_pod("n2", "catalogue-1", "10.77.2.20", "fd77:2::20"),
        "catalogue-2": topology.add_pod("n1", "catalogue-2", "10.77.1.20"),
    }
    for name in ("catalogue-1", "catalogue-2"):
        Program(f"http-{name}", ["/usr/bin/python3", "-u", "-m", "http.server", "8080", "--bind", "::"], namespace=pods[name])
    mesh.start()
    for name, pod in pods.items():
        mesh.enroll(pod, "shop", name.split("-")[0])
    mesh.wait_enrolled()
    yield mesh
    problems = mesh.stop()
    assert not problems, problems


def get(mesh, url=CATALOGUE, pod="web-1"):
    return mesh.topology.pods[pod].run("curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url, check=False).strip()


def test_enrolled_pods_talk_through_the_mesh(mesh):
    assert [get(mesh) for _ in range(6)] == ["200"] * 6
    assert get(mesh, "http://[fd77:2::20]:8080/") == "200"


def test_nobody_but_web_may_ask_the_catalogue(mesh):
    assert get(mesh, "http://10.77.1.20:8080/", pod="catalogue-1") == "000"
    mesh.ztunnels["n1"].wait_line("access", "sa/catalogue", "allow policies exist, but none allowed")


def test_the_process_with_keys_has_no_capability_and_the_broker_has_two(mesh):
    def capabilities(pid):
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
        raise AssertionError("no CapEff")

    ztunnel = mesh.ztunnels["n1"]
    assert capabilities(ztunnel.pid) == 0
    assert [capabilities(pid) for pid in ztunnel.children()] == [1 << 12 | 1 << 21], "CAP_NET_ADMIN and CAP_SYS_ADMIN"


def test_config_dump_shows_the_pods_of_the_node(mesh):
    text = mesh.topology.nodes["n1"].run("curl", "-s", "-m", "10", "http://127.0.0.1:15000/config_dump")
    states = {s["info"]["name"]: s["state"] for s in json.loads(text)["workloadState"].values()}
    assert states == {"web-1": "Up", "catalogue-2": "Up"}


def test_traffic_goes_on_while_the_control_plane_is_away(mesh):
    mesh.ambard.assert_clean()
    assert get(mesh) == "200"
    mesh.start_ambard()
    wait_until(lambda: mesh.control.run("curl", "-s", "http://127.0.0.1:8080/debug/connections", check=False).count("ztunnel~") == 2, 60,
               "both ztunnels to come back")
    assert get(mesh) == "200"


def test_an_agent_that_restarts_changes_nothing_for_its_pods(mesh):
    mesh.agents["n1"].assert_clean()
    assert get(mesh) == "200"
    mesh.start_agent("n1")
    mesh.wait_ready("n1", timeout=60)
    assert get(mesh) == "200"


def test_a_removed_pod_is_out_of_the_mesh(mesh):
    pod = mesh.topology.add_pod("n2", "late", "10.77.2.40")
    mesh.write("late.yaml", """apiVersion: v1
kind: Pod
metadata: {name: late, namespace: shop, labels: {app: late}}
spec: {nodeName: n2, serviceAccountName: web, containers: [{name: x, image: x}]}
status: {phase: Running, podIP: 10.77.2.40, podIPs: [{ip: 10.77.2.40}], conditions: [{type: Ready, status: "True"}]}
""")
    mesh.enroll(pod, "shop", "web")
    mesh.wait_enrolled()
    assert get(mesh, pod="late") == "200"
    mesh.cni("n2", "remove", "--namespace", "shop", "--name", "late")
    del mesh.enrolled["late"]
    assert "istio" not in pod.run("nft", "list", "ruleset")
    wait_until(lambda: get(mesh, pod="late") != "200", 20, "the pod to be outside")
    mesh.delete("late.yaml")
