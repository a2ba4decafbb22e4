"""Figures that are no throughput of a path: memory, start, new tunnels, slow readers, small requests beside bulk."""
import os
import random
import socket
import statistics
import subprocess
import time

from bench.paths import PORT, TOOLS, Path, cpu_seconds
from tests.lab.certificates import Authority, spiffe
from tests.lab.process import ROOT, Program, wait_until
from tests.lab.ztunnel import Ztunnel, workload

PEER = os.path.join(ROOT, "tests/lab/tcp_peer.py")
TUNNELS = 70
IDLE = 2000


def resident(path):
    return [program.resident_kib() for program in path.programs]


def many(path, port, count):
    """`count` connections that were used once and are idle now; ends with its standard input."""
    program = Program(f"many-{path.name}", ["/usr/bin/python3", "-u", PEER, "many", path.host, port, count], namespace=path.client,
                      stdin=subprocess.PIPE)
    program.wait_line(f"good {count}", timeout=120)
    return program


def end(program):
    program.process.stdin.close()
    program.process.wait(60)


def serve(path, port, mode):
    program = Program(f"{mode.split(':')[0]}-{path.name}-{port}", ["/usr/bin/python3", "-u", PEER, "serve", port, mode], namespace=path.server)
    program.wait_line("listening")
    return program


def idle_connection_kib(path):
    """A side (client, server), from many of them."""
    serve(path, 9100, "echo")
    path.measure("ping", 16, 0.5)  # tunnels and buffers are warm
    end(many(path, 9100, 200))
    time.sleep(1)
    before = resident(path)
    program = many(path, 9100, IDLE)
    time.sleep(1)
    after = resident(path)
    end(program)
    return [(a - b) / IDLE for a, b in zip(after, before)]


def held_connection_kib(path, count=15000):
    """The same from so many that nothing of the start is left in the figure."""
    before = resident(path)
    load = path.load("hold", count, 2)
    time.sleep(1)
    after = resident(path)
    load.communicate()
    time.sleep(2)
    return [(a - b) / count for a, b in zip(after, before)]


def memory_after_connections_mib(path, idle_kib, rounds=5):
    """Above idle, ten seconds after 10,000 connections were held in turns; the larger side."""
    for _ in range(rounds):
        end(many(path, 9100, IDLE))
    time.sleep(10)
    return max(now - before for now, before in zip(resident(path), idle_kib)) / 1024


def peak_at_bulk_mib(path, streams=64):
    load = path.load("up", streams, 3)
    peak = 0
    while load.poll() is None:
        peak = max(peak, *resident(path))
        time.sleep(0.05)
    load.communicate()
    return peak / 1024


def small_beside_bulk(paths, rounds=5, seconds=1):
    """Of each path, p50 and p99 in ms of 1 KiB requests beside ten bulk streams of the same pods: {name: (p50, p99)}, medians of interleaved rounds."""
    seen = {path.name: [] for path in paths}
    for _ in range(rounds):
        for path in random.sample(paths, len(paths)):
            load = path.load("up", 10, seconds + 1)
            report = path.measure("ping", 1, seconds, 1024)
            load.communicate()
            seen[path.name].append((report["p50_us"] / 1e3, report["p99_us"] / 1e3))
    return {name: tuple(statistics.median(column) for column in zip(*figures)) for name, figures in seen.items()}


def slow_readers(path, count, rounds=5, seconds=0.5):
    """Operations of a ping-pong beside `count` readers that read no more, of its value alone (median of pairs); KiB pinned by each of them."""
    port = 9200 + count
    serve(path, port, f"source:{1 << 40}")
    pairs, pinned = [], []
    for number in range(rounds):
        alone = path.measure("ping", 1, seconds)["operations"]
        before = resident(path)
        command = ["/usr/bin/python3", "-u", PEER, "unread", path.host, port, count, 60]
        readers = Program(f"unread-{path.name}-{count}-{number}", command, namespace=path.client)
        readers.wait_line(f"open {count}", timeout=30)
        time.sleep(2)
        pinned.append(sum(now - b for now, b in zip(resident(path), before)) / count)
        pairs.append(path.measure("ping", 1, seconds)["operations"] / alone)
        readers.kill()
        time.sleep(0.5)
    return statistics.median(pairs), pinned[0] / 1024


def new_tunnels(street, name, number, first, environment):
    """CPU us a side of a new tunnel with its first byte, and KiB of resident memory a tunnel and side, from many of them."""
    topology = street.topology
    client = topology.add_pod("n1", f"client-{name}", f"10.77.1.{number}")
    server = topology.add_pod("n2", f"server-{name}", *[f"10.77.2.{first + i}" for i in range(TUNNELS)])
    Program(f"load-{name}", [os.path.join(TOOLS, "load"), "server", PORT], namespace=server).wait_line("listening")
    authority = Authority()
    targets = [{**workload(server), "uid": f"Kubernetes//Pod/default/{server.label}-{i}", "workloadIps": [address]} for i, address in enumerate(server.addresses)]
    options = {"environment": {"RUST_LOG": "info,access=off", "ZTUNNEL_WORKER_THREADS": "1", **environment}}
    near = Ztunnel(client, {"workloads": [workload(client), *targets], "services": [], "policies": []}, authority.leaf(spiffe(client.label)), **options)
    far = Ztunnel(server, {"workloads": [workload(client), *targets], "services": [], "policies": []}, authority.leaf(spiffe(server.label)), **options)
    path = Path(name, client, server, [near.program, far.program])
    touch(path, server.addresses[:20])
    before, memory = cpu_seconds(path.pids), resident(path)
    touch(path, server.addresses[20:])
    fresh = TUNNELS - 20
    cpu_us = (cpu_seconds(path.pids) - before) / fresh / 2 * 1e6
    kib = [(now - b) / fresh for now, b in zip(resident(path), memory)]
    near.stop()
    far.stop()
    return cpu_us, kib


def touch(path, hosts):
    def each():
        for host in hosts:
            with socket.create_connection((host, PORT), 10) as connection:
                connection.sendall(b"L")
                connection.recv(1)

    path.client.inside(each)


def ready_ms(street):
    """From exec to `ready`, with an empty local file."""
    pod = street.topology.add_pod("n1", "empty", "10.77.1.90")
    certificates = Authority().leaf(spiffe("empty"))
    times = []
    for _ in range(5):
        began = time.monotonic()
        ztunnel = Ztunnel(pod, {}, certificates, name="ztunnel-empty", captured=False, wait=False, environment={"RUST_LOG": "info"})
        wait_until(lambda z=ztunnel: z.program.lines("marking server ready"), 10, "ready", interval=0.001)
        times.append((time.monotonic() - began) * 1e3)
        ztunnel.program.stop()
    return statistics.median(times)
