"""ztunnel's command line, its refusals at the start and the lines a run begins with (ztunnel-management §1.5)."""
import json
import os
import re
import subprocess
import tempfile

import pytest

from tests.lab.certificates import Authority, spiffe
from tests.lab.process import Program, binary
from tests.lab.topology import Namespace, run_directory

VERSION = (r'version\.BuildInfo\{Version:"[^"]+", GitRevision:"[^"]+", RustVersion:"[^"]+", BuildProfile:"[^"]+", BuildStatus:"[^"]+", '
           r'IstioVersion:"[^"]+", CryptoProvider:"[^"]+"\}')


def ztunnel(*arguments, directory=None, **environment):
    return subprocess.run([binary("ztunnel"), *arguments], capture_output=True, text=True, timeout=30, cwd=directory,
                          env={"PATH": os.environ["PATH"], **environment})


@pytest.mark.parametrize("command", ["version", "--version"])
def test_version_is_one_line_in_the_references_form(command):
    result = ztunnel(command, ISTIO_META_ISTIO_VERSION="1.30")
    assert result.returncode == 0 and re.fullmatch(VERSION + "\n", result.stdout)
    assert 'IstioVersion:"1.30"' in result.stdout


@pytest.mark.parametrize("command", ["help", "--help"])
def test_help_names_every_setting(command):
    result = ztunnel(command)
    assert result.returncode == 0
    for name in ("XDS_ADDRESS", "ISTIO_META_DNS_CAPTURE", "XDS_HEADER_<K>", "CRL_PATH", "PROXY_CONFIG", "RUST_LOG", "COMPLIANCE_POLICY"):
        assert f"  {name}=" in result.stdout, name


def test_an_unknown_command_is_said_and_helped():
    result = ztunnel("dance")
    assert result.returncode == 1 and result.stderr == "unknown command: dance\n"
    assert "Usage:" in result.stdout


@pytest.mark.parametrize("environment, sentence", [
    ({"PROXY_MODE": "both"}, "invalid env var PROXY_MODE=both (PROXY_MODE must be one of dedicated, shared)"),
    ({"PROXY_MODE": "dedicated"}, "invalid env var PROXY_WORKLOAD_INFO= ("),
    ({"PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "a/b"},
     "invalid env var PROXY_WORKLOAD_INFO=a/b (expected namespace/name/service-account)"),
    ({"SECRET_TTL": "soon"}, "invalid env var SECRET_TTL=soon ("),
    ({"IPV6_ENABLED": "TRUE"}, "invalid env var IPV6_ENABLED=TRUE ("),
    ({"LOCAL_XDS": "a", "LOCAL_XDS_PATH": "b"}, "only one of LOCAL_XDS_PATH or LOCAL_XDS may be set"),
    ({"XDS_ON_DEMAND": "true"}, "DNS proxy does not currently support on-demand mode"),
    ({"ENABLE_PROXY": "false", "ISTIO_META_DNS_CAPTURE": "false"}, "ztunnel run without any servers enabled"),
    ({"CA_ADDRESS": ""}, "invalid env var CA_ADDRESS= ("),
    ({"FAKE_CA": "true"}, "invalid env var FAKE_CA=true ("),
    ({"XDS_ADDRESS": "", "XDS_HEADER_A B": "x"}, "invalid env var XDS_HEADER_A B=x (`a b` cannot be the name of a header)"),
    ({"PROXY_CONFIG": "statsPort: 1"}, "failed parsing proxy config env: "),
    ({"TLS_CERTIFICATE_FILE": "/missing", "TLS_KEY_FILE": "/missing", "TLS_ROOT_FILE": "/missing"},
     "invalid env var TLS_CERTIFICATE_FILE=/missing (cannot be read)"),
    ({"ISTIO_META_DNS_PROXY_ADDR": "here"}, "invalid env var DNS_PROXY_ADDR=here ("),
])
def test_a_bad_setting_ends_the_start_by_name(environment, sentence):
    result = ztunnel(**environment)
    assert result.returncode == 1
    assert result.stderr.startswith("Error: " + sentence), result.stderr


def test_a_start_that_fails_late_is_undone_in_order():
    directory = tempfile.mkdtemp(dir=run_directory())
    path = f"{directory}/empty.pem"
    open(path, "w").close()
    result = ztunnel(PROXY_MODE="dedicated", PROXY_WORKLOAD_INFO="default/zt/zt", XDS_ADDRESS="", CA_ADDRESS="",
                     TLS_CERTIFICATE_FILE=path, TLS_KEY_FILE=path, TLS_ROOT_FILE=path)
    assert result.returncode == 1 and path in result.stderr, (result.returncode, result.stderr)


def test_a_bad_mesh_file_ends_the_start_by_name():
    directory = tempfile.mkdtemp(dir=run_directory())
    os.makedirs(f"{directory}/etc/istio/config")
    with open(f"{directory}/etc/istio/config/mesh", "w") as file:
        file.write("defaultConfig: {concurrency: many, proxyMetadata: {}}")
    result = ztunnel(directory=directory)
    assert result.stderr.startswith("Error: failed parsing mesh config file ./etc/istio/config/mesh: "), result.stderr


def test_a_run_begins_with_version_limits_and_configuration():
    namespace = Namespace("start")
    certificate, key, root = Authority("start").leaf(spiffe("zt"))
    program = Program("zt-start", [binary("ztunnel"), "proxy", "ztunnel"], namespace=namespace, environment={
        "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": "default/zt/zt", "XDS_ADDRESS": "", "CA_ADDRESS": "", "AUTH_TOKEN": "very-secret",
        "TLS_CERTIFICATE_FILE": certificate, "TLS_KEY_FILE": key, "TLS_ROOT_FILE": root, "ISTIO_META_A": "b",
        "PROXY_CONFIG": "{concurrency: 1, proxyMetadata: {ISTIO_META_C: d}}"})
    program.wait_line("marking server ready")
    text = program.text()
    assert re.search(r"\tinfo\tztunnel\tversion: " + VERSION, text)
    assert re.search(r"\tset file descriptor limits from \d+ to \d+\t", text)
    assert "\trunning with config: \n" in text
    assert '\nproxyMetadata:\n  A: "b"\n  C: "d"\n' in text and "\nnumWorkerThreads: 1\n" in text
    assert "very-secret" not in text
    config = json.loads(namespace.run("curl", "-s", "http://127.0.0.1:15000/config_dump"))["config"]
    assert config["proxyArgs"] == "proxy ztunnel" and config["proxyMetadata"] == {"A": "b", "C": "d"}
    program.assert_clean()
    namespace.remove()
