#!/usr/bin/python3
"""`make demo`: a mesh of two nodes on this machine, real programs, real captured traffic, and what happens to it - step by step.

Every step says what it does, what it expects and what it saw, and checks itself: any surprise makes the exit status non-zero.
KEEP=1 leaves the mesh up until Ctrl-C.
"""
import os
import re
import secrets
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.lab.capture import Capture, contains  # noqa: E402
from tests.lab.certificates import Authority, spiffe  # noqa: E402
from tests.lab.mesh import Mesh  # noqa: E402
from tests.lab.process import ROOT, Program, stop_everything, wait_until  # noqa: E402
from tests.lab.topology import end_on_signals, remove_directory, run_directory  # noqa: E402

CATALOGUE = "10.96.77.20"
REDIS = "10.96.77.30"
COLOURS = sys.stdout.isatty() and os.environ.get("NO_COLOR") is None

NGINX = """daemon off; pid {directory}/{name}.pid; error_log stderr; worker_processes 1;
events {{ worker_connections 1024; }}
http {{ access_log {directory}/{name}.access; client_body_temp_path {directory}; proxy_temp_path {directory};
 fastcgi_temp_path {directory}; uwsgi_temp_path {directory}; scgi_temp_path {directory};
 keepalive_requests 100000;
 server {{ listen 8080; listen [::]:8080; location / {{ default_type text/plain;
  return 200 "hello from {name}, you are $remote_addr and asked for $request_uri\\n"; }} }} }}
"""

# Asks the catalogue again and again over one connection, and says when that connection ends.
LONG_LIVED = r"""
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80), 5)
print("connected", flush=True)
try:
    while True:
        s.sendall(b"GET /long HTTP/1.1\r\nHost: catalogue\r\n\r\n")
        if not s.recv(4096):
            print("ended: closed", flush=True)
            break
        print("answered", flush=True)
        time.sleep(0.1)
except OSError as error:
    print("ended:", error, flush=True)
"""

DENY_WEB = """# Dropped into the folder while everything runs.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: deny-web
  namespace: shop
spec:
  selector:
    matchLabels:
      app: catalogue
  action: DENY
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/shop/sa/web"]
"""

# A server that claims to be a catalogue pod and holds somebody else's certificate.
IMPOSTOR = """apiVersion: v1
kind: Pod
metadata:
  name: impostor
  namespace: shop
  labels: {app: impostor}
  annotations: {ambient.istio.io/redirection: enabled}
spec:
  nodeName: n2
  serviceAccountName: catalogue
  containers: [{name: x, image: x}]
status:
  phase: Running
  podIP: 10.77.2.99
  podIPs: [{ip: 10.77.2.99}]
  conditions: [{type: Ready, status: "True"}]
"""


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


class Story:
    """The terminal: steps, what they do, expect and saw."""

    def __init__(self):
        self.count = 0
        self.surprises = []
        self.started = time.monotonic()

    def title(self, text):
        print(f"\n{paint('1', text)}\n")

    def step(self, title, does, expects):
        self.count += 1
        self.current = title
        print(paint("1;36", f"{self.count}. {title}"))
        print(f"   does     {does}")
        print(f"   expects  {expects}")
        sys.stdout.flush()

    def saw(self, is_right, text, detail=None):
        mark = paint("1;32", "ok") if is_right else paint("1;31", "SURPRISE")
        print(f"   saw      {text}  [{mark}]")
        for line in (detail or []):
            print(paint("2", f"            {line}"))
        if not is_right:
            self.surprises.append(f"{self.count}. {self.current}: {text}")
        sys.stdout.flush()

    def end(self):
        print()
        sys.stdout.flush()


def fields_of(line, *names):
    """Selected fields of a log line, short enough for a terminal."""
    found = []
    for name in names:
        match = re.search(rf'(?:^|[\s]){re.escape(name)}=("(?:[^"\\]|\\.)*"|\S+)', line)
        if match:
            found.append(f"{name}={match.group(1)}")
    return "  ".join(found)


class Demo:
    def __init__(self):
        self.story = Story()
        self.mesh = None

    # The stage: two nodes, five pods, one outsider.
    def set_up(self):
        story = self.story
        story.title("Ambar: two nodes, real programs, and a mesh they know nothing of")
        mesh = self.mesh = Mesh(os.path.join(ROOT, "examples/shop"))
        topology = mesh.topology
        self.web = topology.add_pod("n1", "web-1", "10.77.1.10", "fd77:1::10")
        self.catalogue_1 = topology.add_pod("n2", "catalogue-1", "10.77.2.20", "fd77:2::20")
        self.catalogue_2 = topology.add_pod("n1", "catalogue-2", "10.77.1.20")
        self.redis = topology.add_pod("n2", "redis-1", "10.77.2.30")
        self.outsider = topology.add_pod("n1", "outsider", "10.77.1.90")
        self.nginx = {pod.label: self.start_nginx(pod) for pod in (self.catalogue_1, self.catalogue_2)}
        Program("redis", ["redis-server", "--port", "6379", "--bind", "0.0.0.0", "--save", "", "--protected-mode", "no", "--dir", mesh.directory],
                namespace=self.redis).wait_line("Ready to accept connections")
        mesh.start()
        for pod, account in ((self.web, "web"), (self.catalogue_1, "catalogue"), (self.catalogue_2, "catalogue"), (self.redis, "redis")):
            mesh.enroll(pod, "shop", account)
        mesh.wait_enrolled()
        print("   ambard serves examples/shop; each node runs one ztunnel and one ambar-cni agent;")
        print("   web, catalogue (twice) and redis are enrolled, the outsider is not. curl, nginx and redis are Debian's.\n")

    def start_nginx(self, pod):
        # nginx gives its temporary folder to its own user.
        directory = self.mesh.file(f"nginx-{pod.label}")
        os.makedirs(directory)
        path = os.path.join(directory, "nginx.conf")
        with open(path, "w") as file:
            file.write(NGINX.format(directory=directory, name=pod.label))
        program = Program(f"nginx-{pod.label}", ["nginx", "-p", directory, "-c", path], namespace=pod)
        wait_until(lambda: pod.run("curl", "-s", "-m", "1", f"http://{pod.address}:8080/", check=False), message=f"nginx of {pod.label}")
        return program

    def curl(self, pod, url, *options):
        """(answer, curl's error): one of them is empty."""
        text = pod.run("curl", "-sS", "-m", "5", "-w", "\n%{errormsg}", *options, url, check=False)
        answer, _, error = text.rpartition("\n")
        return answer.strip(), error.strip()

    def access_lines(self, node, *needles, timeout=5):
        program = self.mesh.ztunnels[node]
        try:
            return program.wait_line("access", *needles, timeout=timeout)
        except AssertionError:
            return []

    # The steps.
    def a_request(self):
        story = self.story
        story.step("A request through the mesh", f"web: curl http://{CATALOGUE}/ (the catalogue's service address)",
                   "an answer from one of the two catalogue pods, which sees web's own address")
        answer, error = self.curl(self.web, f"http://{CATALOGUE}/hello")
        story.saw("hello from catalogue-" in answer and "you are 10.77.1.10" in answer, answer or error)
        story.end()

    def on_the_wire(self):
        story, mesh = self.story, self.mesh
        token = secrets.token_hex(16)
        story.step("What is on the wire", f"web asks 12 times with the random token {token[:8]}..., tcpdump in both pods and between the nodes",
                   "the token inside both pods, nowhere between the nodes, and every packet of these pods there is to or from 15008")
        captures = {
            "web": Capture(self.web, "lo", mesh.file("web.pcap")),
            "catalogue": Capture(self.catalogue_1, "lo", mesh.file("catalogue.pcap")),
            "between": Capture(mesh.topology.nodes["n1"], "eth0", mesh.file("between.pcap")),
        }
        answers = [self.curl(self.web, f"http://{CATALOGUE}/{token}")[0] for _ in range(12)]
        packets = {name: capture.stop() for name, capture in captures.items()}
        pods = {a for pod in (self.web, self.catalogue_1, self.redis) for a in pod.addresses}
        meshed = [p for p in packets["between"] if p.source in pods or p.destination in pods]
        strays = [p for p in meshed if 15008 not in (p.source_port, p.destination_port)]
        story.saw(all(token in a for a in answers), f"{sum(token in a for a in answers)} of 12 answers carry the token")
        story.saw(contains(packets["web"], token.encode()), "the token in web's pod, where curl spoke plain HTTP")
        story.saw(contains(packets["catalogue"], token.encode()), "the token in catalogue's pod, where nginx heard plain HTTP")
        story.saw(len(meshed) > 20 and not contains(packets["between"], token.encode()), f"no token in {len(meshed)} packets between the nodes")
        story.saw(len(meshed) > 20 and not strays, f"all of them to or from port 15008 ({len(strays)} others)")
        story.end()

    def who_was_it(self):
        story = self.story
        story.step("Who the server's side says it was", "web asks again and forges `baggage: k8s.namespace.name=admin,service.name=root`",
                   "catalogue's ztunnel names the identity that TLS has proven: web's")
        path = "/" + secrets.token_hex(4)
        served = {"n1": len(self.mesh.ztunnels["n1"].lines("access", 'direction="inbound"')),
                  "n2": len(self.mesh.ztunnels["n2"].lines("access", 'direction="inbound"'))}
        answer, error = self.curl(self.web, f"http://{CATALOGUE}{path}", "-H", "baggage: k8s.namespace.name=admin,service.name=root")
        node = "n2" if "catalogue-1" in answer else "n1"

        def new_line():
            lines = self.mesh.ztunnels[node].lines("access", 'direction="inbound"')
            return lines[-1] if len(lines) > served[node] else None

        line = wait_until(new_line, 5, "the access log line")
        expected = 'src.identity="spiffe://cluster.local/ns/shop/sa/web"'
        story.saw(expected in line and "admin" not in line and "root" not in line, answer or error,
                  [fields_of(line, "src.addr", "src.identity"), fields_of(line, "dst.workload", "dst.identity", "bytes_recv", "bytes_sent")])
        story.end()

    def not_http(self):
        story = self.story
        story.step("Bytes are bytes", f"catalogue: redis-cli -h {REDIS} set/get; web tries the same", "the catalogue gets its value back; web is refused")
        value = secrets.token_hex(8)
        self.catalogue_1.run("redis-cli", "-h", REDIS, "set", "demo", value, timeout=10)
        got = self.catalogue_1.run("redis-cli", "-h", REDIS, "get", "demo", timeout=10).strip()
        story.saw(got == value, f"catalogue got {got}")
        refused = self.web.run("sh", "-c", f"redis-cli -h {REDIS} get demo 2>&1", check=False, timeout=10).strip()
        lines = self.access_lines("n2", 'sa/web"', "policy rejection", 'dst.workload="redis-1"')
        story.saw(value not in refused and bool(lines), f"web got: {refused}", [fields_of(lines[-1], "src.identity", "error")] if lines else None)
        story.end()

    def deny(self):
        story = self.story
        story.step("A policy stops it", "while web holds a connection to the catalogue: a DENY policy is dropped into the folder",
                   "the old connection is cut and new ones are refused; with the file gone everything works again")
        holder = Program("holder", ["/usr/bin/python3", "-u", "-c", LONG_LIVED, CATALOGUE], namespace=self.web)
        holder.wait_line("answered", count=3)
        began = time.monotonic()
        self.mesh.write("zz-deny.yaml", DENY_WEB)
        try:
            ended = holder.wait_line("ended", timeout=10)[-1]
        except AssertionError:
            ended = ""
        story.saw(bool(ended), f"the held connection {ended or 'went on'}, {time.monotonic() - began:.1f} s after the file appeared")
        answer, error = self.curl(self.web, f"http://{CATALOGUE}/denied")
        story.saw(answer == "" and error != "", f"a new one: {answer or error}")
        lines = [line for node in ("n1", "n2") for line in self.mesh.ztunnels[node].lines("access", "explicitly denied by: shop/deny-web")]
        cut = [line for node in ("n1", "n2") for line in self.mesh.ztunnels[node].lines("access", "closed due to policy change")]
        story.saw(bool(lines) and bool(cut), "ztunnel's own words", [fields_of(line, "error") for line in (cut[-1:] + lines[-1:])])
        self.mesh.delete("zz-deny.yaml")
        try:
            wait_until(lambda: "hello" in self.curl(self.web, f"http://{CATALOGUE}/again")[0], 10, "traffic after the policy")
            story.saw(True, "the file is gone and web is answered again")
        except AssertionError:
            story.saw(False, "the file is gone, but web is still refused")
        story.end()

    def outsider_is_refused(self):
        story = self.story
        story.step("Without an identity", "the outsider, not enrolled: curl http://10.77.2.20:8080/", "refused: the shop is STRICT")
        answer, error = self.curl(self.outsider, "http://10.77.2.20:8080/")
        lines = self.access_lines("n2", "10.77.1.90", "policy rejection")
        story.saw(answer == "" and bool(lines), answer or error, [fields_of(lines[-1], "src.addr", "dst.workload", "error")] if lines else None)
        story.end()

    def shake_hands(self, certificates):
        """What the pod's ztunnel says to a client certificate: "" or the alert. Runs in the outsider's namespace."""
        script = (
            "import socket,ssl,sys\n"
            "c=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT);c.check_hostname=False;c.verify_mode=ssl.CERT_NONE\n"
            "c.set_alpn_protocols(['h2']);c.load_cert_chain(sys.argv[1],sys.argv[2])\n"
            "try:\n"
            " s=c.wrap_socket(socket.create_connection(('10.77.2.20',15008),5))\n"
            " s.settimeout(5)\n"
            " s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'+bytes(9)[:3]+b'\\x04'+bytes(5))\n"
            " print('accepted' if s.recv(9) else 'closed')\n"
            "except OSError as e:\n"
            " print(getattr(e,'reason',None) or e)\n")
        return self.outsider.run("/usr/bin/python3", "-c", script, certificates[0], certificates[1], timeout=20).strip()

    def bad_certificates(self):
        story, mesh = self.story, self.mesh
        story.step("Bad certificates", "the outsider knocks on 15008 of catalogue-1 with certificates that it should not get away with",
                   "each is refused with the alert that the RFC names; a good one would be let in")
        ours = Authority("mesh", existing=(os.path.join(mesh.state, "root-cert.pem"), os.path.join(mesh.state, "ca-key.pem")))
        foreign = Authority("foreign")
        good = spiffe("web", "shop")
        cases = [
            ("from a foreign root", foreign.leaf(good), "UNKNOWN_CA"),
            ("of another trust domain", ours.leaf(spiffe("web", "shop", "evil.example")), "CERTIFICATE_UNKNOWN"),
            ("with a DNS name instead of an identity", ours.leaf("DNS:web.shop.example"), "CERTIFICATE_UNKNOWN"),
            ("that has expired", ours.leaf(good, end="20210101000000Z"), "CERTIFICATE_EXPIRED"),
        ]
        for what, certificates, alert in cases:
            said = self.shake_hands(certificates)
            story.saw(alert in said.upper().replace(" ", "_"), f"{what}: {said}")
        said = self.shake_hands(ours.leaf(good))
        story.saw(said == "accepted", f"a good one, to be sure that the test is one: {said}")
        self.impostor(ours)
        story.end()

    def impostor(self, ours):
        """The other direction: a server with a good certificate that is not its own."""
        pod = self.mesh.topology.add_pod("n2", "impostor", "10.77.2.99")
        certificate, key, root = ours.leaf(spiffe("web", "shop"))
        script = (f"import sys,time;sys.path.insert(0,{ROOT!r})\n"
                  "from tests.lab.hbone import Server,EchoHandler\n"
                  f"Server(('10.77.2.99',15008),({certificate!r},{key!r},{root!r}),EchoHandler())\n"
                  "print('listening',flush=True)\ntime.sleep(60)\n")
        Program("impostor", ["/usr/bin/python3", "-c", script], namespace=pod).wait_line("listening")
        self.mesh.write("zz-impostor.yaml", IMPOSTOR)
        node = self.mesh.topology.nodes["n1"]
        wait_until(lambda: "10.77.2.99" in node.run("curl", "-s", "http://127.0.0.1:15000/config_dump", check=False), 10, "the impostor to be known")
        answer, error = self.curl(self.web, "http://10.77.2.99:8080/")
        lines = self.access_lines("n1", "10.77.2.99", "did not present the expected SAN")
        self.story.saw(answer == "" and bool(lines), f"a server with another's certificate: {answer or error}",
                       [fields_of(lines[-1], "error")] if lines else None)
        self.mesh.delete("zz-impostor.yaml")

    def telemetry(self):
        story = self.story
        story.step("Numbers of these very connections", "reads /metrics of both ztunnels", "opened connections from web to catalogue by identity, and denials")
        text = self.mesh.metrics("n1") + self.mesh.metrics("n2")
        opened = [line for line in text.splitlines() if line.startswith("istio_tcp_connections_opened_total") and 'source_workload="web-1"' in line
                  and 'destination_service_name="catalogue"' in line and 'connection_security_policy="mutual_tls"' in line]
        denied = [line for line in text.splitlines() if line.startswith("istio_tcp_connections_failed_total") and 'response_flags="DENY"' in line]
        total = sum(int(line.rsplit(" ", 1)[1]) for line in opened if 'reporter="source"' in line)
        story.saw(total >= 14, f"{total} connections opened by web to catalogue over mutual TLS",
                  [re.sub(r'.*(reporter="\w+").*(source_principal="[^"]+").*(destination_principal="[^"]+").* (\d+)$', r"\1 \2 \3 -> \4", line)
                   for line in opened[:2]])
        story.saw(bool(denied), f"{sum(int(line.rsplit(' ', 1)[1]) for line in denied)} connections counted with response_flags=\"DENY\"")
        story.end()

    def failover(self):
        story = self.story
        story.step("A server dies", "nginx of catalogue-1 is killed and the pod marked not ready in the folder", "all traffic moves to catalogue-2")
        self.nginx["catalogue-1"].kill()
        text = open(os.path.join(self.mesh.configuration, "catalogue.yaml")).read()
        first, second = text.split("name: catalogue-2", 1)
        self.mesh.write("catalogue.yaml", first.replace('status: "True"', 'status: "False"') + "name: catalogue-2" + second)

        def moved():
            return all("catalogue-2" in self.curl(self.web, f"http://{CATALOGUE}/after")[0] for _ in range(5))

        try:
            wait_until(moved, 10, "traffic to move")
            answers = [self.curl(self.web, f"http://{CATALOGUE}/after")[0] for _ in range(20)]
            story.saw(all("catalogue-2" in a for a in answers), "20 of 20 requests answered by catalogue-2")
        except AssertionError:
            story.saw(False, "requests still fail")
        story.end()

    def picture(self):
        print(paint("1", "What you saw\n"))
        print(r"""   node n1                                                  node n2
 ┌─────────────────────────────┐                          ┌─────────────────────────────┐
 │ web-1            10.77.1.10 │                          │ catalogue-1      10.77.2.20 │
 │   curl ──▶ 10.96.77.20:80   │                          │          ┌──▶ nginx :8080   │
 │     captured │ 15001        │                          │          │ plain, from      │
 │              ▼              │    HTTP/2 CONNECT over   │          │ 10.77.1.10       │
 │   ┌──────────────────────┐  │    mutual TLS 1.3        │  ┌───────┴──────────────┐   │
 │   │ ztunnel              │══╪══════════════════════════╪═▶│ ztunnel        15008 │   │
 │   │ endpoint, identity   │  │  spiffe: sa/web ⇄        │  │ identity, policy     │   │
 │   └──────────────────────┘  │  sa/catalogue            │  └──────────────────────┘   │
 │ catalogue-2      10.77.1.20 │                          │ redis-1          10.77.2.30 │
 │ outsider ✗       10.77.1.90 │── plain, refused ───────▶│ (STRICT: needs an identity) │
 └──────────────▲──────────────┘                          └──────────────▲──────────────┘
                │  workloads, services, policies, certificates           │
                └─────────────────────── ambard ─────────────────────────┘
                                  from examples/shop/*.yaml
""")

    def keep(self):
        mesh = self.mesh
        web, n1 = self.web.name, mesh.topology.nodes["n1"].name
        print(paint("1", "The mesh stays up until you press Ctrl-C here. In another terminal, as root, try:\n"))
        for what, command in [
            ("ask the catalogue", f"ip netns exec {web} curl -s http://{CATALOGUE}/"),
            ("watch the access log", f"tail -f {mesh.file('ztunnel-n1.log')}"),
            ("everything ztunnel knows", f"ip netns exec {n1} curl -s http://127.0.0.1:15000/config_dump | less"),
            ("its metrics", f"ip netns exec {n1} curl -s http://127.0.0.1:15020/metrics"),
            ("change the mesh", f"edit a file in {mesh.configuration} (in force within a second)"),
            ("check your change", f"{ROOT}/build/bin/ambard check {mesh.configuration}"),
        ]:
            print(f"   {what:26}{command}")
        print()
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except (KeyboardInterrupt, SystemExit):
            print("\ncleaning up")

    def run(self):
        story = self.story
        try:
            self.set_up()
            for step in (self.a_request, self.on_the_wire, self.who_was_it, self.not_http, self.deny, self.outsider_is_refused,
                         self.bad_certificates, self.telemetry, self.failover):
                step()
            self.picture()
            if os.environ.get("KEEP") == "1":
                self.keep()
        finally:
            problems = self.mesh.stop() if self.mesh else []
            stop_everything()
        for problem in problems:
            story.surprises.append(problem)
        took = time.monotonic() - story.started
        if story.surprises:
            print(paint("1;31", f"{len(story.surprises)} surprise{'s' if len(story.surprises) > 1 else ''}:"))
            for surprise in story.surprises:
                print(f"   {surprise}")
            print(f"   what the programs said is in {self.mesh.directory}")
            return 1
        remove_directory(run_directory())
        print(paint("1;32", f"Everything went as expected, in {took:.0f} s.") +
              "  Next: make demo KEEP=1, docs/quickstart.md, docs/architecture.md")
        return 0


def main():
    if os.geteuid() != 0:
        print("make demo builds network namespaces and needs root: sudo make demo", file=sys.stderr)
        return 2
    end_on_signals()
    try:
        return Demo().run()
    except SystemExit:
        print("\nstopped; everything was cleaned up", file=sys.stderr)
        raise


if __name__ == "__main__":
    sys.exit(main())
