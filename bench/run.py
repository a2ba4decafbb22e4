#!/usr/bin/python3
"""`make bench`: what the mesh costs, as ratios from one interleaved run: direct TCP, a plain two-hop relay, ours.

Two pods on two nodes joined by veth, everything on this machine's processors, cubic everywhere. In each round every kind of path carries the
same load once, in random order; figures are medians over the rounds, ratios are made within a round. ROUNDS=5 SECONDS=2 are the defaults.
Writes build/bench/report.json beside the table. BENCH_PEER=/path/to/another/ztunnel measures that program in the same rounds (with the variables of
BENCH_PEER_ENVIRONMENT, a JSON object, on top); LOADS=up1,ping picks some of the loads.
"""
import json
import os
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.lab.certificates import Authority, spiffe  # noqa: E402
from tests.lab.process import BUILD, ROOT, Program, stop_everything, wait_until  # noqa: E402
from tests.lab.topology import Topology, end_on_signals, remove_directory, run_directory  # noqa: E402
from tests.lab.ztunnel import Ztunnel, capture, workload  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "2"))
TOOLS = os.path.join(os.path.dirname(BUILD), "bench")
PORT = 9000

LOADS = [  # key, title, mode, streams, bytes, is bulk
    ("up1", "bulk up, 1 stream", "up", 1, 1),
    ("up16", "bulk up, 16 streams", "up", 16, 1),
    ("down1", "bulk down, 1 stream", "down", 1, 1),
    ("down16", "bulk down, 16 streams", "down", 16, 1),
    ("ping", "ping-pong, 1 byte", "ping", 1, 1),
    ("ping64", "64 clients, 1 KiB", "ping", 64, 1024),
    ("connect", "new connections, 1 at a time", "connect", 1, 1),
    ("connect16", "new connections, 16 at a time", "connect", 16, 1),
]

LOADS = [load for load in LOADS if not os.environ.get("LOADS") or load[0] in os.environ["LOADS"].split(",")]

TARGETS = [  # what issue 3 asks for with the libssl engine: key, figure, description, limit, is the limit a minimum
    ("up1", "throughput", "bulk up, 1 stream, of the relay", 0.50, True),
    ("down1", "throughput", "bulk down, 1 stream, of the relay", 0.50, True),
    ("up16", "throughput", "bulk up, 16 streams, of the relay", 0.65, True),
    ("down16", "throughput", "bulk down, 16 streams, of the relay", 0.65, True),
    ("ping", "p50", "ping-pong p50, of the relay", 1.15, False),
    ("connect", "cpu", "CPU of a new connection on a warm tunnel, of the relay", 1.00, False),
]


def cpu_seconds(pids):
    """User and system time of processes and their threads so far, from the scheduler."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
    return total / 1e9


class Path:
    """One way from client to server, and the processes in between."""

    def __init__(self, name, client, target, programs):
        self.name, self.client, self.target = name, client, target
        self.pids = [p.pid for p in programs]
        self.programs = programs

    def measure(self, mode, streams, size):
        command = self.client.command(os.path.join(TOOLS, "load"), mode, self.target[0], self.target[1], streams, SECONDS, size)
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while True:
            line = load.stdout.readline()
            if line.startswith("measuring"):
                break
            if not line:
                raise RuntimeError(f"{self.name} {mode}: {load.stderr.read()}")
        before = cpu_seconds(self.pids)
        output, error = load.communicate(timeout=60)
        if load.returncode != 0:
            raise RuntimeError(f"{self.name} {mode}: {error}")
        report = json.loads(output)
        report["cpu"] = cpu_seconds(self.pids) - before
        return report


class Bench:
    def __init__(self):
        self.topology = Topology(2)
        for namespace in self.topology.namespaces:
            namespace.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic", check=False)
        self.paths = {}

    def pods(self, suffix, number):
        client = self.topology.add_pod("n1", f"client-{suffix}", f"10.77.1.{number}")
        server = self.topology.add_pod("n2", f"server-{suffix}", f"10.77.2.{number}")
        for pod in (client, server):
            pod.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic", check=False)
        Program(f"load-{suffix}", [os.path.join(TOOLS, "load"), "server", PORT], namespace=server).wait_line("listening")
        return client, server

    def direct(self):
        client, server = self.pods("direct", 10)
        self.paths["direct"] = Path("direct", client, (server.address, PORT), [])

    def relay(self):
        client, server = self.pods("relay", 20)
        relay = os.path.join(TOOLS, "relay")
        far = Program("relay-far", [relay, 15009, "fixed", server.address, PORT], namespace=server)
        near = Program("relay-near", [relay, 15001, "captured", server.address, 15009], namespace=client)
        far.wait_line("listening")
        near.wait_line("listening")
        capture(client)
        self.paths["relay"] = Path("relay", client, (server.address, PORT), [near, far])

    def mesh(self, name, number, executable=None, environment=None):
        """Two ztunnels, ours or another program that takes the same environment."""
        client, server = self.pods(name, number)
        authority = Authority()
        model = {"workloads": [workload(client), workload(server)], "services": [], "policies": []}
        options = {"environment": {"RUST_LOG": "error", **(environment or {})}, "wait": False, "executable": executable}
        near = Ztunnel(client, model, authority.leaf(spiffe(client.label)), **options)
        far = Ztunnel(server, model, authority.leaf(spiffe(server.label)), **options)
        for ztunnel in (near, far):
            wait_until(lambda z=ztunnel: z.pod.run("curl", "-s", "-m", "1", "http://127.0.0.1:15021/healthz/ready", check=False) == "ready\n", 10, "ready")
        self.paths[name] = Path(name, client, (server.address, PORT), [near.program, far.program])
        return near, far

    def ours(self):
        self.ztunnels = self.mesh("ours", 30)
        self.idle_kib = self.ztunnels[0].program.resident_kib()

    def peer(self, executable):
        self.mesh("peer", 50, executable, json.loads(os.environ.get("BENCH_PEER_ENVIRONMENT", "{}")))

    def memory(self):
        """KiB a side of an idle connection, from 2,000 of them."""
        near, far = (z.program for z in self.ztunnels)
        path = self.paths["ours"]
        path.measure("ping", 16, 1)  # tunnels and buffers are warm
        time.sleep(0.5)
        before = (near.resident_kib(), far.resident_kib())
        peer = os.path.join(ROOT, "tests/lab/tcp_peer.py")
        echo = Program("echo", ["/usr/bin/python3", "-u", peer, "serve", 9100, "echo"], namespace=self.topology.pods["server-ours"])
        echo.wait_line("listening")
        count = 2000
        many = Program("many", ["/usr/bin/python3", "-u", peer, "many", path.target[0], 9100, count], namespace=path.client, stdin=subprocess.PIPE)
        many.wait_line(f"good {count}", timeout=120)
        time.sleep(1)
        after = (near.resident_kib(), far.resident_kib())
        many.process.stdin.close()
        many.process.wait(60)
        return [(a - b) / count for a, b in zip(after, before)]

    def ready_ms(self):
        """From exec to the first `ready`, with an empty local file."""
        pod = self.topology.add_pod("n1", "empty", "10.77.1.40")
        certificates = Authority().leaf(spiffe("empty"))
        times = []
        for _ in range(5):
            began = time.monotonic()
            ztunnel = Ztunnel(pod, {}, certificates, name="ztunnel-empty", captured=False, wait=False, environment={"RUST_LOG": "info"})
            wait_until(lambda z=ztunnel: z.program.lines("marking server ready"), 10, "ready", interval=0.001)
            times.append((time.monotonic() - began) * 1e3)
            ztunnel.program.stop()
        return statistics.median(times)

    def rounds(self):
        results = {key: {name: [] for name in self.paths} for key, *_ in LOADS}
        for number in range(ROUNDS):
            for key, title, mode, streams, size in LOADS:
                names = list(self.paths)
                random.shuffle(names)
                for name in names:
                    results[key][name].append(self.paths[name].measure(mode, streams, size))
            print(f"  round {number + 1} of {ROUNDS}", file=sys.stderr)
        return results


def figure(report, kind):
    if kind == "throughput":
        return report["bytes"] / report["seconds"] / 1e9
    if kind == "rate":
        return report["operations"] / report["seconds"]
    if kind == "p50":
        return report["p50_us"]
    if kind == "p99":
        return report["p99_us"]
    if kind == "cpu":  # s/GB, or us an operation
        return report["cpu"] / (report["bytes"] / 1e9) if report["bytes"] else report["cpu"] / max(report["operations"], 1) * 1e6
    raise KeyError(kind)


def median(reports, kind):
    return statistics.median(figure(r, kind) for r in reports)


def ratios(results, key, kind, base="relay"):
    """Ours of another path, within each round."""
    return [figure(a, kind) / figure(b, kind) for a, b in zip(results[key]["ours"], results[key][base])]


def paired(results, key, kind, base):
    """Median and spread of the ratios."""
    pairs = ratios(results, key, kind, base)
    return f"{statistics.median(pairs):>12.2f}{f'{min(pairs):.2f}-{max(pairs):.2f}':>12}"


def print_extra(extra):
    print(f"\n{'idle process, RSS MiB':44}{extra['idle_kib'] / 1024:.1f}  (at most 8)")
    print(f"{'idle connection, KiB a side (client, server)':44}{extra['idle_connection_kib'][0]:.2f}, {extra['idle_connection_kib'][1]:.2f}  (at most 2)")
    print(f"{'ready from exec, empty local file, ms':44}{extra['ready_ms']:.0f}  (at most 50)")


def print_tables(results, extra):
    print(f"\nMedians of {ROUNDS} interleaved rounds of {SECONDS:g} s; {os.cpu_count()} processors; TLS by libssl, AES-256-GCM\n")
    names = [name for name in ("direct", "relay", "peer", "ours") if name in results[LOADS[0][0]]]
    bases = [name for name in ("relay", "peer") if name in names]
    print(f"{'':32}" + "".join(f"{name:>12}" for name in names) + "".join(f"{'ours/' + base:>12}{'spread':>12}" for base in bases))
    for key, title, mode, *_ in LOADS:
        kinds = [("throughput", "GB/s"), ("cpu", "CPU s/GB")] if mode in ("up", "down") else [("rate", "a second"), ("p50", "p50 us"), ("p99", "p99 us"), ("cpu", "CPU us each")]
        for index, (kind, unit) in enumerate(kinds):
            values = [median(results[key][name], kind) if kind != "cpu" or name != "direct" else None for name in names]
            cells = "".join(f"{'-' if v is None else f'{v:,.2f}' if v < 100 else f'{v:,.0f}':>12}" for v in values)
            label = title if index == 0 else ""
            print(f"{label + ', ' + unit if index == 0 else '   ' + unit:32.32}{cells}" + "".join(paired(results, key, kind, base) for base in bases))
    if extra:
        print_extra(extra)
    print("\nTargets with the libssl engine (reported, never asserted):")
    for key, kind, title, limit, is_minimum in TARGETS:
        if key not in results:
            continue
        value = statistics.median(ratios(results, key, kind))
        met = value >= limit if is_minimum else value <= limit
        print(f"  {'met   ' if met else 'missed'}  {title:56}{value:.2f}  ({'>=' if is_minimum else '<='} {limit:.2f})")


def main():
    if os.geteuid() != 0:
        print("make bench builds network namespaces and needs root", file=sys.stderr)
        return 2
    end_on_signals()
    bench = Bench()
    bench.direct()
    bench.relay()
    bench.ours()
    if os.environ.get("BENCH_PEER"):
        bench.peer(os.environ["BENCH_PEER"])
    results = bench.rounds()
    is_partial = bool(os.environ.get("LOADS"))
    extra = {} if is_partial else {"idle_kib": bench.idle_kib, "idle_connection_kib": bench.memory(), "ready_ms": bench.ready_ms()}
    print_tables(results, extra)
    with open(os.path.join(TOOLS, "report.json"), "w") as file:
        json.dump({"rounds": results, **extra}, file, indent=1)
    print(f"\nreport: {os.path.join(TOOLS, 'report.json')}")
    stop_everything()
    bench.topology.remove()
    remove_directory(run_directory())
    return 0


if __name__ == "__main__":
    sys.exit(main())
