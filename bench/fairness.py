#!/usr/bin/python3
"""What one pod can do to another: the victim's small requests beside one attacker, of the same beside many pods that make the same load.

Alone, for this figure only: /usr/bin/python3 bench/fairness.py (prints JSON: a list of rounds, each [p50, p99] in us alone, beside the
attacker, beside the equal pods)."""
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.lab.crowd import Attack, Crowd  # noqa: E402

EQUALS = 20
ATTACK = Attack(held=10_000, flood=32, bulk=64)
ROUNDS = 3
SECONDS = 2
DEADLINE_S = 300


def measure():
    crowd = Crowd(EQUALS)
    try:
        crowd.victim_latency(0.2)  # its tunnel is there
        return [[crowd.victim_latency(SECONDS), crowd.beside([crowd.client], ATTACK, SECONDS), crowd.beside(crowd.equals, ATTACK, SECONDS)]
                for _ in range(ROUNDS)]
    finally:
        crowd.stop()


def rows():
    """[(title, seen, goal)], measured by a process of its own, whose namespaces have names of their own."""
    rounds = json.loads(subprocess.run([sys.executable, os.path.abspath(__file__)], check=True, stdout=subprocess.PIPE, timeout=DEADLINE_S).stdout)
    ratio = statistics.median(one[1] / many[1] for _, one, many in rounds)
    result = [(f"p99 beside an attacker, of beside {EQUALS} equal pods", f"{ratio:.2f}", "<= 2")]
    for place, title in enumerate(("   p50 / p99 ms alone", "   beside the attacker", "   beside the equal pods")):
        p50, p99 = (statistics.median(each[place][i] for each in rounds) / 1e3 for i in (0, 1))
        result.append((title, f"{p50:.2f} / {p99:.2f}", ""))
    return result


if __name__ == "__main__":
    print(json.dumps(measure()))
