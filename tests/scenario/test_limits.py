"""What happens at a limit of the process: idle pooled tunnels go, new work is refused by name, what is established goes on."""
import os
import socket

from tests.lab.process import binary, wait_until
from tests.lab.topology import run_directory
from tests.lab.victim import ADDRESS, Bystander, Victim, metric


def test_at_the_limit_of_descriptors_idle_tunnels_go_then_new_connections_are_refused_and_old_ones_go_on():
    wrapper = os.path.join(run_directory(), "few-descriptors")
    with open(wrapper, "w") as file:
        file.write(f"#!/bin/sh\nexec prlimit --nofile=700:700 {binary('ztunnel')} \"$@\"\n")
    os.chmod(wrapper, 0o755)
    victim = Victim(executable=wrapper, ZTUNNEL_WORKER_THREADS="1", POOL_UNUSED_RELEASE_TIMEOUT="600s")
    maximum = 700 - 256
    assert metric(victim, "ambar_limit", 'limit="process_descriptors"') == maximum
    bystander = Bystander(victim)
    bystander.speak()
    # Dialled for its own address, 15001 opens a tunnel to ourselves, which stays pooled.
    victim.dial(15001).close()
    wait_until(lambda: metric(victim, "ambar_tunnels_open{", 'role="client"') == 1, message="a pooled tunnel")
    held = victim.pod.inside(lambda: [socket.create_connection((ADDRESS, 15008), 10) for _ in range(maximum)])
    wait_until(lambda: metric(victim, "ambar_limit_refusals_total", 'limit="process_descriptors"') > 0, message="refusals")
    assert victim.ztunnel.program.lines("connection failed", f"the limit process_descriptors={maximum} is reached")
    wait_until(lambda: metric(victim, "ambar_tunnels_open{", 'role="client"') == 0, message="the idle tunnel to go")
    bystander.speak()
    assert victim.ztunnel.program.descriptors() <= maximum + 32
    for connection in held:
        connection.close()
    wait_until(lambda: victim.ztunnel.program.descriptors() < maximum / 2, message="descriptors to go back")
    other = victim.tunnel()
    assert other.open(f"{ADDRESS}:8080")
    other.close()
    bystander.speak()
    bystander.tunnel.close()
    victim.stop()
