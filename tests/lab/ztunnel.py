"""One ztunnel in dedicated mode in a pod of the topology, with redirection rules around it: the smallest mesh there is."""
import json

from tests.lab.process import Program, binary
from tests.lab.topology import run

# The capture rules of a pod (cni §7.6), for tests that run without ambar-cni.
RULES = """
table inet test-nat {
  chain prerouting {
    type nat hook prerouting priority -100;
    ip daddr != 127.0.0.1/32 tcp dport != 15008 mark and 0xfff != 0x539 redirect to :15006
    ip6 daddr != ::1/128 tcp dport != 15008 mark and 0xfff != 0x539 redirect to :15006
  }
  chain output {
    type nat hook output priority -100;
    meta l4proto tcp mark and 0xfff == 0x111 accept
    oifname lo ip daddr != 127.0.0.1/32 accept
    oifname lo ip6 daddr != ::1/128 accept
    meta l4proto tcp ip daddr != 127.0.0.1/32 mark and 0xfff != 0x539 redirect to :15001
    meta l4proto tcp ip6 daddr != ::1/128 mark and 0xfff != 0x539 redirect to :15001
  }
}
table inet test-mangle {
  chain prerouting {
    type filter hook prerouting priority -150;
    meta mark & 0xfff == 0x539 ct mark set ct mark & 0xfffff000 | 0x111
  }
  chain output {
    type route hook output priority -150;
    ct mark and 0xfff == 0x111 meta mark set ct mark
  }
}
"""


# And with DNS: over TCP before the exemption of the loopback interface.
DNS_RULES = """
table inet test-dns {
  chain output {
    type nat hook output priority -110;
    oifname != lo mark and 0xfff != 0x539 udp dport 53 redirect to :15053
    ip daddr != 127.0.0.1/32 tcp dport 53 mark and 0xfff != 0x539 redirect to :15053
    ip6 daddr != ::1/128 tcp dport 53 mark and 0xfff != 0x539 redirect to :15053
  }
}
table inet test-raw {
  chain prerouting {
    type filter hook prerouting priority -300;
    udp sport 53 meta mark and 0xfff != 0x539 ct zone set 1
  }
  chain output {
    type filter hook output priority -300;
    udp dport 53 meta mark and 0xfff == 0x539 ct zone set 1
  }
}
"""


def capture(pod, dns=False):
    """Redirects the pod's traffic to the ports of a ztunnel inside it."""
    run("ip", "netns", "exec", pod.name, "nft", "-f", "-", input=(DNS_RULES if dns else "") + RULES)
    for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        pod.ip(family, "rule", "add", "fwmark", "0x111/0xfff", "pref", "32764", "lookup", "100")
        pod.ip(family, "route", "replace", "local", everything, "dev", "lo", "table", "100")


def workload(pod, services=None, protocol="HBONE", account=None, **fields):
    """A workload of the local file for a pod of the topology. `services`: {"default/host": {80: 8080}}."""
    return {"uid": f"Kubernetes//Pod/default/{pod.label}", "name": pod.label, "namespace": "default", "serviceAccount": account or pod.label,
            "trustDomain": "cluster.local", "workloadIps": pod.addresses, "protocol": protocol, "services": services or {},
            "workloadName": pod.label, "canonicalName": pod.label, "canonicalRevision": "latest", "clusterId": "Kubernetes", **fields}


def service(name, vip, ports):
    return {"name": name, "namespace": "default", "hostname": f"{name}.default.svc.cluster.local", "vips": [f"/{vip}"], "ports": ports}


class Ztunnel:
    """A running one. `model` is the local file as a dict (JSON is YAML)."""

    def __init__(self, pod, model, certificates, name=None, captured=True, environment=None, wait=True, executable=None):
        if captured:
            capture(pod)
        certificate, key, roots = certificates
        self.pod = pod
        self.program = Program(name or f"ztunnel-{pod.label}", [executable or binary("ztunnel")], namespace=pod, environment={
            "PROXY_MODE": "dedicated", "PROXY_WORKLOAD_INFO": f"default/{pod.label}/{pod.label}", "XDS_ADDRESS": "", "CA_ADDRESS": "",
            "LOCAL_XDS": json.dumps(model), "TLS_CERTIFICATE_FILE": certificate, "TLS_KEY_FILE": key, "TLS_ROOT_FILE": roots,
            "PACKET_MARK": "1337", "ZTUNNEL_WORKER_THREADS": "2", "RUST_LOG": "debug", **(environment or {}),
        })
        if wait:
            self.program.wait_line("marking server ready")

    def access(self, *needles, **options):
        return self.program.wait_line("\taccess\t", *needles, **options)

    def metrics(self):
        return self.pod.run("curl", "-s", "-m", "5", "http://127.0.0.1:15020/metrics")

    def config_dump(self):
        return json.loads(self.pod.run("curl", "-s", "-m", "10", "http://127.0.0.1:15000/config_dump"))

    def stop(self):
        self.program.assert_clean()
