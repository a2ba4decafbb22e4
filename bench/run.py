#!/usr/bin/python3
"""`make bench`: what the mesh costs, as ratios from one interleaved run: direct TCP, a plain two-hop relay, ours with either record engine.

Two pods a path on two nodes joined by veth, everything on this machine's processors, cubic everywhere. In each round every path carries the same
load once, in random order; figures are medians over the rounds, ratios are made within a round. docs/benchmarks.md explains the method.

  ROUNDS=5 SECONDS=1    how often, and how long each load is measured
  LOADS=up1,ping        only some of the loads, and none of the other figures; "profile" among them is the split of the processor time
  BENCH_PEER=PATH       another program that takes ztunnel's environment, measured in the same rounds; BENCH_PEER_ENVIRONMENT: a JSON object on top

Writes build/bench/report.json and report.txt, and docs/benchmarks/{ratios.svg,report.txt} when nothing was left out.
"""
import collections
import io
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import chart, fairness, idle_tunnels, profile, report, special, workers  # noqa: E402
from bench.paths import TOOLS, Street  # noqa: E402
from tests.lab.process import ROOT, stop_everything  # noqa: E402
from tests.lab.topology import end_on_signals, remove_directory, run_directory  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "1"))
PARTIAL = os.environ.get("LOADS", "")

Load = collections.namedtuple("Load", "key title mode streams size")
LOADS = [
    Load("up1", "bulk up, 1 stream", "up", 1, 1), Load("up16", "bulk up, 16 streams", "up", 16, 1), Load("up64", "bulk up, 64 streams", "up", 64, 1),
    Load("down1", "bulk down, 1 stream", "down", 1, 1), Load("down16", "bulk down, 16 streams", "down", 16, 1),
    Load("down64", "bulk down, 64 streams", "down", 64, 1),
    Load("ping", "ping-pong, 1 byte", "ping", 1, 1), Load("ping64", "64 clients, 1 KiB", "ping", 64, 1024),
    Load("connect", "new connections, 1 at a time", "connect", 1, 1), Load("connect16", "new connections, 16 at once", "connect", 16, 1),
    Load("leave16", "client closes first, 16 at once", "leave", 16, 1),
]
CHART = [("up1", "throughput"), ("up16", "throughput"), ("down1", "throughput"), ("down16", "throughput"), ("up16", "cpu_gb"), ("ping", "p50"),
         ("ping64", "rate"), ("ping64", "cpu"), ("connect", "p50"), ("connect16", "cpu")]
PROFILED = [] if PARTIAL and "profile" not in PARTIAL.split(",") else [load for load in LOADS if load.key in ("up16", "down16")]
TITLES = {load.key: load.title for load in LOADS}
LOADS = [load for load in LOADS if not PARTIAL or load.key in PARTIAL.split(",")]


def build_street():
    street = Street()
    street.add_direct()
    street.add_relay()
    street.add_mesh("native", 30, environment={"TLS_ENGINE": "native"})
    street.add_mesh("openssl", 40, environment={"TLS_ENGINE": "openssl"})
    street.add_mesh("aes-128", 45, environment={"TLS_ENGINE": "native", "TLS_CIPHER_PREFERENCE": "aes-128"})
    if os.environ.get("BENCH_PEER"):
        street.add_mesh("peer", 50, os.environ["BENCH_PEER"], json.loads(os.environ.get("BENCH_PEER_ENVIRONMENT", "{}")))
    return street


def run_rounds(street):
    results = {load.key: {name: [] for name in street.paths} for load in LOADS}
    for number in range(ROUNDS):
        for load in LOADS:
            names = list(street.paths)
            random.shuffle(names)
            for name in names:
                results[load.key][name].append(street.paths[name].measure(load.mode, load.streams, SECONDS, load.size))
        print(f"  round {number + 1} of {ROUNDS}", file=sys.stderr)
    return results


def special_figures(street, idle):
    """[(title, seen, goal)], in the order of the design's table."""
    path = street.paths["native"]
    rows = [("idle process, RSS MiB", f"{max(idle['native']) / 1024:.1f}", "<= 6")]
    client, server = special.idle_connection_kib(path)
    rows.append(("idle connection, KiB a side (client, server)", f"{client:.2f}, {server:.2f}", "<= 1.5"))
    client, server = special.held_connection_kib(path)
    rows.append(("15,000 idle connections held, KiB each a side", f"{client:.2f}, {server:.2f}", "<= 1.5"))
    rows.append(("after 10,000 connections, MiB above idle", f"{special.memory_after_connections_mib(path, idle['native']):.1f}", "<= 2"))
    for name, number, first in (("native", 60, 100), ("openssl", 65, 180)):
        cpu_us, kib = special.new_tunnels(street, f"new-{name}", number, first, {"TLS_ENGINE": name})
        rows.append((f"new tunnel with its first byte ({name}), CPU us a side", f"{cpu_us:.0f}", "<= 545"))
        rows.append((f"   KiB a tunnel (client, server)", f"{kib[0]:.1f}, {kib[1]:.1f}", "<= 6" if name == "native" else "<= 45"))
    rows.append(("peak at 64 bulk streams, RSS MiB", f"{special.peak_at_bulk_mib(path):.1f}", "<= 40"))
    small = special.small_beside_bulk([street.paths[name] for name in ("native", "relay", "direct")])
    rows.append(("1 KiB requests beside 10 bulk streams, p50 / p99 ms", "{:.2f} / {:.2f}".format(*small["native"]), "<= 0.5 / 2.5"))
    rows.append(("   the same with the relay, a connection each", "{:.2f} / {:.2f}".format(*small["relay"]), ""))
    rows.append(("   the same direct", "{:.2f} / {:.2f}".format(*small["direct"]), ""))
    for count in (6, 20):
        share, pinned = special.slow_readers(path, count)
        rows.append((f"ping-pong beside {count} readers that read no more, of alone", f"{share:.2f}", ">= 0.9"))
        rows.append(("   MiB pinned by each, both proxies", f"{pinned:.2f}", "<= 1"))
    rows += workers.figures(workers.add_ways(street), ROUNDS, SECONDS)
    rows += idle_tunnels.rows() + fairness.rows()
    rows.append(("ready from exec, empty local file, ms", f"{special.ready_ms(street):.0f}", "<= 20"))
    return rows


def processor_time_split(street):
    """{} with a line that says why when it cannot be had."""
    reason = profile.unavailable() if PROFILED else None
    if reason is not None:
        print(f"  no split of the processor time: {reason}", file=sys.stderr)
    if reason is not None or not PROFILED:
        return {}
    return profile.measure(street, PROFILED, ("relay", "native", "openssl", "aes-128", "peer"), max(SECONDS, 1))


def print_everything(street, results, others, splits):
    out = io.StringIO()
    print(f"Medians of {ROUNDS} interleaved rounds of {SECONDS:g} s; {os.cpu_count()} processors; AES-256-GCM but where named\n", file=out)
    meshes = [name for name in ("native", "openssl", "aes-128", "peer") if name in street.paths]
    rows = report.ratio_table(results, LOADS, meshes)
    report.print_ratios(rows, meshes, out)
    report.print_absolutes(results, LOADS, list(street.paths), out)
    report.print_goals("Goals with our own records", report.goals(results, "native", report.GOALS), TITLES, out)
    report.print_goals("Goals with libssl's records", report.goals(results, "openssl", report.LIBSSL_GOALS), TITLES, out)
    profile.print_profile(splits, TITLES, out)
    if others:
        report.print_special(others, out)
    print(out.getvalue())
    return out.getvalue(), rows, meshes


def write_files(results, text, others, splits, rows, meshes):
    with open(os.path.join(TOOLS, "report.json"), "w") as file:
        json.dump({"rounds": results, "special": others, "profile": splits}, file, indent=1)
    with open(os.path.join(TOOLS, "report.txt"), "w") as file:
        file.write(text)
    if PARTIAL:
        return
    bars = [(f"{load.title}, {report.UNITS[kind]}", kind in ("throughput", "rate"), cells) for load, kind, cells in rows if (load.key, kind) in CHART]
    os.makedirs(os.path.join(ROOT, "docs/benchmarks"), exist_ok=True)
    with open(os.path.join(ROOT, "docs/benchmarks/report.txt"), "w") as file:
        file.write(text)
    with open(os.path.join(ROOT, "docs/benchmarks/ratios.svg"), "w") as file:
        file.write(chart.draw(bars, meshes, f"medians and spread of {ROUNDS} interleaved rounds, {os.cpu_count()} processors; ↑ more is better, ↓ less is better"))


def main():
    if os.geteuid() != 0:
        print("make bench builds network namespaces and needs root", file=sys.stderr)
        return 2
    end_on_signals()
    street = build_street()
    idle = {name: [z.program.resident_kib() for z in pair] for name, pair in street.ztunnels.items()}
    results = run_rounds(street)
    splits = processor_time_split(street)
    others = [] if PARTIAL else special_figures(street, idle)
    text, rows, meshes = print_everything(street, results, others, splits)
    write_files(results, text, others, splits, rows, meshes)
    print(f"report: {os.path.join(TOOLS, 'report.json')}")
    stop_everything()
    street.topology.remove()
    remove_directory(run_directory())
    return 0


if __name__ == "__main__":
    sys.exit(main())
