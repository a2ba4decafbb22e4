"""What breaks, in a random order that a seed fixes, and how soon all is well again afterwards."""
import os
import random
import signal
import time

from tests.faults.rig import SERVERS


class Fault:
    """`begin` breaks, `end` mends; `heals_within_s` from `end` on new connections of every client must come through."""

    def __init__(self, title, begin, end, held_s, heals_within_s, kills_server=None):
        self.title = title
        self.begin = begin
        self.end = end
        self.held_s = held_s
        self.heals_within_s = heals_within_s
        self.kills_server = kills_server


def kill_group(program, number=signal.SIGKILL):
    os.killpg(program.pid, number)
    if number == signal.SIGKILL:
        program.kill()


def keep_log(program):
    """The log of a killed program stays beside that of its successor."""
    os.rename(program.log, f"{program.log}.{time.time_ns()}")


def restart_ztunnel(rig, name, how):
    def begin():
        program = rig.mesh.ztunnels[name]
        if how == "killed":
            kill_group(program)
        else:
            program.assert_clean()
        keep_log(program)

    def end():
        rig.mesh.start_ztunnel(name)
        rig.mesh.wait_ready(name)

    return begin, end


def restart_agent(rig, name):
    def begin():
        kill_group(rig.mesh.agents[name])
        os.unlink(rig.mesh.file(f"agent-{name}.sock"))

    return begin, lambda: rig.mesh.start_agent(name)


def restart_ambard(rig):
    return lambda: kill_group(rig.mesh.ambard), rig.mesh.start_ambard


def restart_server(rig, name):
    return lambda: kill_group(rig.servers[name]), lambda: rig.start_server(name)


def pause(program_of):
    return lambda: kill_group(program_of(), signal.SIGSTOP), lambda: kill_group(program_of(), signal.SIGCONT)


def unplug(rig, port):
    return lambda: rig.link(port, "down"), lambda: rig.link(port, "up")


def every_fault(rig, random_, is_steady):
    """One of each kind, with random durations. `is_steady`: the ztunnels live on, so that their growth can be measured."""
    mesh = rig.mesh
    held = lambda low, high: random_.uniform(low, high)  # noqa: E731
    faults = [
        Fault("ambard killed", *restart_ambard(rig), held(0, 3), 5),
        Fault("ambard paused", *pause(lambda: mesh.ambard), held(1, 8), 5),
        Fault("the control plane's cable pulled", *unplug(rig, rig.control_port()), held(1, 8), 5),
    ]
    for node in ("n1", "n2"):
        faults += [
            Fault(f"agent of {node} killed", *restart_agent(rig, node), held(0, 3), 5),
            Fault(f"agent of {node} paused", *pause(lambda node=node: mesh.agents[node]), held(1, 5), 5),
            Fault(f"ztunnel of {node} paused", *pause(lambda node=node: mesh.ztunnels[node]), held(1, 8), 8),
        ]
        if not is_steady:
            faults += [Fault(f"ztunnel of {node} {how}", *restart_ztunnel(rig, node, how), held(0, 2), 8) for how in ("killed", "stopped")]
    faults.append(Fault("the cable between the nodes pulled", *unplug(rig, "p1"), held(1, 10), 10))
    for name in SERVERS:
        faults.append(Fault(f"application {name} killed", *restart_server(rig, name), held(0, 2), 5, kills_server=name))
        faults.append(Fault(f"application {name} paused", *pause(lambda name=name: rig.servers[name]), held(1, 5), 5))
    random_.shuffle(faults)
    return faults


def faults_until(rig, seed, seconds, is_steady):
    """Endless by construction: rounds of every kind, each round in another order, until the time is over."""
    random_ = random.Random(seed)
    deadline = time.monotonic() + seconds
    while True:
        for fault in every_fault(rig, random_, is_steady):
            if time.monotonic() > deadline:
                return
            yield fault
