"""Where the processor time of the proxies goes: perf's cpu-clock samples of both sides, split by what the innermost known function does.

The split says why a ratio is what it is; it is no measurement of its own. Sampling costs a few percent, and what an interrupt does while
a proxy runs (somebody else's packets too) is counted for that proxy, as the scheduler does.
"""
import collections
import os
import re
import shutil
import signal
import subprocess

from bench.paths import cpu_seconds
from tests.lab.topology import run_directory

SAMPLES_A_SECOND = 2000
GROUPS = ["copies", "crypto", "framing", "TCP/IP", "netfilter", "wake-ups", "memory", "other"]

# Libraries that do nothing but cryptography in these programs.
CRYPTO = re.compile(r"libIPSec_MB|libcrypto")
# Kernel functions by name, in the order they are asked; the first frame, from the innermost on, that any of them knows decides.
KERNEL = [(group, re.compile(pattern)) for group, pattern in [
    ("copies", r"_?copy_(to|from)_iter$|rep_movs|copy_user|(__pi_)?mem(cpy|move)"),
    ("memory", r"_*(alloc|free)_(frozen_)?pages|__alloc_skb|_*k?mem_?cache|_*kmalloc|_*kfree|skb_release_data|(skb_)?page_frag|skb_attempt_defer"
               r"|(asm_)?exc_page_fault|clear_page|get_page_from_freelist|___slab_alloc"),
    ("netfilter", r"_*nf_|nft_|ipt_|ip6t_"),
    ("wake-ups", r"_*wake_up|sock_def_|ep_|_*ep_poll|try_to_wake_up|_*schedule|do_epoll|sk_stream_write_space"),
    ("TCP/IP", r"_*tcp_|_*ip6?_|_*inet6?_|net_rx_|_*netif_|_*dev_|veth_|loopback_|br_|process_backlog|_*napi_|handle_softirqs|_*skb_|sock_|sk_|fib_"),
]]


def unavailable():
    """Why there is no profile on this machine; None when there is one."""
    if shutil.which("perf") is None:
        return "perf is not installed (Debian: linux-perf)"
    attempt = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-o", os.path.join(run_directory(), "perf.probe"), "--", "true"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    return None if attempt.returncode == 0 else f"perf cannot record here: {' '.join(attempt.stderr.split())[:120]}"


def group_of(frames):
    """`frames`: (function, file), the innermost first."""
    for function, file in frames:
        if not file.startswith("[kernel"):
            return "crypto" if CRYPTO.search(file) else "copies" if re.search(r"mem(cpy|move)", function) else "framing"
        for group, pattern in KERNEL:
            if pattern.match(function):
                return group
    return "other"


def samples(script):
    """Yields (process id, group) of what `perf script` printed: a line with the process, then its frames, then an empty line."""
    frame = re.compile(r"\s+[0-9a-f]+ (.*) \((.*)\)$")
    for block in script.split("\n\n"):
        lines = block.strip("\n").split("\n")
        frames = [(match.group(1).split("+")[0], match.group(2)) for match in map(frame.match, lines[1:]) if match]
        if frames:
            yield int(lines[0].split()[0]), group_of(frames)


def side_pids(program):
    return [program.pid, *program.children()]


def split(path, mode, streams, seconds):
    """[{group: CPU ms per GB} for the client's and the server's proxy] under one load."""
    data = os.path.join(run_directory(), f"perf.{path.name}.data")
    recorder = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(SAMPLES_A_SECOND), "-g", "-o", data,
                                 "-p", ",".join(map(str, path.pids))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # It has begun by the end of the load's own warm-up, and samples nothing while the proxies sleep.
    load = path.load(mode, streams, seconds)
    before = [cpu_seconds(side_pids(program)) for program in path.programs]
    report = path.finish(load, 60 + seconds)
    cpu_ms = [(cpu_seconds(side_pids(program)) - start) * 1000 for program, start in zip(path.programs, before)]
    recorder.send_signal(signal.SIGINT)
    recorder.wait(timeout=60)
    script = subprocess.run(["perf", "script", "-i", data, "-F", "pid,ip,sym,dso"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True, errors="replace", check=True).stdout
    os.remove(data)
    counts = [collections.Counter() for _ in path.programs]
    side_of = {pid: side for side, program in enumerate(path.programs) for pid in side_pids(program)}
    for pid, group in samples(script):
        if pid in side_of:
            counts[side_of[pid]][group] += 1
    gigabytes = report["bytes"] / 1e9
    return [{group: count[group] / max(sum(count.values()), 1) * ms / gigabytes for group in GROUPS} for count, ms in zip(counts, cpu_ms)]


def measure(street, loads, names, seconds):
    """{load's key: {path's name: [client side, server side]}}"""
    return {load.key: {name: split(street.paths[name], load.mode, load.streams, seconds) for name in names if name in street.paths} for load in loads}


def print_profile(profile, titles, out):
    for key, paths in profile.items():
        print(f"\n{titles[key] + ', CPU ms/GB by perf':36}" + "".join(f"{name + ' c':>11}{'s':>6}" for name in paths), file=out)
        for group in [*GROUPS, "all"]:
            cells = ""
            for sides in paths.values():
                client, server = (sum(side.values()) if group == "all" else side[group] for side in sides)
                cells += f"{client:>11.0f}{server:>6.0f}"
            print(f"   {group:33}{cells}", file=out)
