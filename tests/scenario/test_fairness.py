"""Pods share a worker by turns: what one pod does with many connections costs another no more than the same load from many pods.

The figure itself, with 10,000 connections and 20 pods, is bench/fairness.py's."""
import os

import pytest

from tests.lab.crowd import LOAD, Attack, Crowd

EQUALS = 8  # pods among which the attacker's load is shared out
SECONDS = 1

pytestmark = pytest.mark.skipif(not os.path.exists(LOAD) or "AMBAR_SANITIZED" in os.environ, reason="compares times; needs `make bench-binaries`")

ATTACKS = {
    "requests": Attack(ping=64),
    "bulk": Attack(bulk=64),
    "handshakes": Attack(flood=32),
    "everything": Attack(held=1000, flood=32, bulk=64),
}


@pytest.fixture(scope="module")
def crowd():
    crowd = Crowd(EQUALS, RUST_LOG="error")
    yield crowd
    crowd.stop()


@pytest.mark.parametrize("name", ATTACKS)
def test_one_pod_that_attacks_is_no_worse_a_neighbour_than_many_pods(crowd, name):
    crowd.victim_latency(0.2)  # its tunnel is there
    ratios = []
    for _ in range(4):
        one = crowd.beside([crowd.client], ATTACKS[name], SECONDS)
        many = crowd.beside(crowd.equals, ATTACKS[name], SECONDS)
        print(f"{name}: p50 {one[0]:.0f} us, p99 {one[1]:.0f} us beside one pod; {many[0]:.0f} us, {many[1]:.0f} us beside {EQUALS}")
        ratios.append(one[1] / many[1])
        if min(ratios) <= 2:
            return
    raise AssertionError(f"p99 beside one pod of that beside {EQUALS}: {ratios}")
