#!/usr/bin/python3
"""`make faults`: breaks one part of a mesh after the other under load, and checks all along that nothing worse follows than it must.

SEED=N replays an order of faults; without it a new one is drawn and printed. SECONDS=N is how long to go on.
"""
import argparse
import os
import secrets
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from tests.faults.invariants import Levels, Violation, Watch, check_identities  # noqa: E402
from tests.faults.plan import faults_until  # noqa: E402
from tests.faults.rig import Rig  # noqa: E402
from tests.faults.slope import Samples  # noqa: E402
from tests.lab.process import stop_everything  # noqa: E402
from tests.lab.topology import end_on_signals  # noqa: E402

REST_S = 1  # of undisturbed load between two faults


def say(text):
    print(text, flush=True)


def one_fault(rig, watch, fault):
    if fault.kills_server:
        watch.kills.append((fault.kills_server, time.time()))  # before it dies: its connections end while the killer still waits for it
    fault.begin()
    held_until = time.monotonic() + fault.held_s
    while time.monotonic() < held_until:
        watch.check()
        time.sleep(0.1)
    fault.end()
    took = watch.wait_healed(fault, time.time())
    say(f"  {fault.title:44s} held {fault.held_s:4.1f} s   well again after {took:5.2f} s")


def rest(watch, samples):
    rested_until = time.monotonic() + REST_S
    while time.monotonic() < rested_until:
        watch.check()
        samples.take()
        time.sleep(0.1)


def go(rig, arguments):
    watch, levels, samples = Watch(rig), Levels(rig.mesh), Samples(rig.mesh)
    rig.start()
    rig.start_load(arguments.workers, arguments.seed)
    time.sleep(3)
    rig.stop_load()
    watch.check()
    time.sleep(3)  # unused tunnels go after two seconds
    levels.note()
    rig.start_load(arguments.workers, arguments.seed)
    for fault in faults_until(rig, arguments.seed, arguments.seconds, arguments.steady):
        try:
            one_fault(rig, watch, fault)
            rest(watch, samples)
        except Exception as error:
            raise Violation(f"{fault.title}, held {fault.held_s:.1f} s: {error}") from error
    rig.stop_load()
    watch.check()
    levels.check_back()
    say(f"  {check_identities(rig.mesh)} inbound connections carried the identity of who made them")
    say("  " + ", ".join(f"{key}: {count}" for key, count in watch.summary().items()))
    if arguments.steady:
        samples.check(say)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default=os.environ.get("SEED") or str(secrets.randbelow(10**6)))
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 60))
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--steady", action="store_true", help="leave the ztunnels alive and check that they do not grow")
    arguments = parser.parse_args()
    end_on_signals()
    say(f"Faults under load for {arguments.seconds:.0f} s, seed {arguments.seed}")
    rig = Rig(arguments.seed)
    try:
        go(rig, arguments)
        problems = rig.stop()
        if problems:
            raise Violation("\n".join(problems))
    except Exception as error:
        say(f"FAILED: {type(error).__name__}: {error}\nThe same again: make faults SEED={arguments.seed} SECONDS={arguments.seconds:.0f}; logs in {rig.mesh.directory}")
        stop_everything()
        rig.mesh.topology.remove()
        return 1
    say("Every fault healed; nothing was lost, mistaken or seen.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
