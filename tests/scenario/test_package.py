"""The image's root filesystem, run as a container would run it, and the manifests of docs/try-one-node.md."""
import os
import subprocess

import pytest
import yaml

from tests.lab.inpod import Node
from tests.lab.process import IS_SANITIZED, ROOT, binary
from tests.lab.topology import run_directory

SIZE_MAXIMUM = 30 << 20
NEEDED_CAPABILITIES = "-all,+net_admin,+sys_admin,+net_raw"


@pytest.fixture(scope="module")
def image():
    if IS_SANITIZED:
        pytest.skip("the image is of the ordinary build")
    path = os.path.join(run_directory(), "image")
    subprocess.run([f"{ROOT}/deploy/image_root.sh", binary("ztunnel"), binary("ambarctl"), path], check=True, capture_output=True)
    return path


def test_the_image_is_small_and_holds_ztunnel_and_ambarctl(image):
    files = [os.path.join(folder, name) for folder, _, names in os.walk(image) for name in names]
    assert sum(os.lstat(f).st_size for f in files) < SIZE_MAXIMUM
    programs = [f[len(image):] for f in files if os.access(f, os.X_OK) and ".so" not in f and "ld-linux" not in f]
    assert sorted(programs) == ["/usr/local/bin/ambarctl", "/usr/local/bin/ztunnel"]
    assert os.path.getsize(f"{image}/etc/ssl/certs/ca-certificates.crt") > 10_000
    version = subprocess.run(["chroot", image, "/usr/local/bin/ztunnel", "version"], capture_output=True, text=True, check=True).stdout
    assert version.startswith("version.BuildInfo{")


def test_it_serves_pods_from_a_read_only_root_with_the_charts_security_context(image):
    node = Node()
    shared = run_directory()
    os.makedirs(image + shared, exist_ok=True)
    script = (f"mount --bind {image} {image} && mount -o remount,bind,ro {image} && mount -t proc proc {image}/proc && "
              f"mount --bind {shared} {image}{shared} && exec \"$@\"")
    node.ztunnel = node.start_ztunnel("image", command=[
        "unshare", "--mount", "sh", "-c", script, "sh", "setpriv", "--regid", "1337", "--clear-groups", "--bounding-set",
        NEEDED_CAPABILITIES + ",+sys_chroot", "chroot", image, "/usr/local/bin/ztunnel"])
    node.agent.accept()
    node.snapshot()
    assert node.exchange() == b"ping"
    node.stop()


def manifest(name):
    return yaml.safe_load(open(f"{ROOT}/deploy/{name}"))


def test_the_daemonset_is_the_charts_but_for_its_name_and_nodes():
    daemonset = manifest("try-one-node.yaml")
    spec = daemonset["spec"]["template"]["spec"]
    container, = spec["containers"]
    assert (container["name"], container["args"]) == ("istio-proxy", ["proxy", "ztunnel"])
    security = container["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN", "NET_RAW"]}
    assert (security["runAsUser"], security["runAsGroup"], security["readOnlyRootFilesystem"], security["privileged"]) == (0, 1337, True, False)
    assert container["readinessProbe"]["httpGet"] == {"port": 15021, "path": "/healthz/ready"}
    assert {m["mountPath"] for m in container["volumeMounts"]} == {
        "/var/run/secrets/istio", "/var/run/secrets/tokens", "/var/run/ztunnel", "/tmp"}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in spec["volumes"]}
    token = next(v for v in spec["volumes"] if v["name"] == "istio-token")["projected"]["sources"][0]["serviceAccountToken"]
    assert token == {"path": "istio-token", "expirationSeconds": 43200, "audience": "istio-ca"}
    names = {e["name"] for e in container["env"]}
    assert {"CA_ADDRESS", "XDS_ADDRESS", "RUST_LOG", "ISTIO_META_CLUSTER_ID", "INPOD_ENABLED", "TERMINATION_GRACE_PERIOD_SECONDS", "POD_NAME",
            "POD_NAMESPACE", "NODE_NAME", "INSTANCE_IP", "SERVICE_ACCOUNT", "ISTIO_META_ENABLE_HBONE"} <= names
    assert spec["serviceAccountName"] == "ztunnel" and "hostNetwork" not in spec
    assert spec["nodeSelector"]["ambar.io/ztunnel"] == "true"
    labels = daemonset["spec"]["template"]["metadata"]["labels"]
    assert labels["app"] == "ztunnel" and labels["istio.io/dataplane-mode"] == "none"
    assert daemonset["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert daemonset["spec"]["updateStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_patches_touch_node_affinity_and_update_strategy_only():
    off, back = manifest("keep-original-off.yaml"), manifest("let-original-back.yaml")
    assert set(off["spec"]) == set(back["spec"]) == {"updateStrategy", "template"}
    assert set(off["spec"]["template"]["spec"]) == set(back["spec"]["template"]["spec"]) == {"affinity"}
    assert off["spec"]["updateStrategy"]["type"] == "OnDelete"
    assert back["spec"]["template"]["spec"]["affinity"] is None
