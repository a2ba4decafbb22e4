"""A wall clock that jumps: what certificates say is judged by the clock of the moment, everything else goes on by the steady one."""
import os
import struct
import subprocess

import pytest

from tests.lab.process import IS_SANITIZED, ROOT
from tests.lab.topology import run_directory
from tests.lab.victim import ADDRESS, Victim

DAY_S = 86400


@pytest.fixture
def clock():
    if IS_SANITIZED:
        pytest.skip("sanitizers want to be loaded first")
    library, path = (os.path.join(run_directory(), name) for name in ("shifted_clock.so", "offset"))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, f"{ROOT}/tests/lab/shifted_clock.c"], check=True)

    def jump(seconds):
        with open(path, "r+b" if os.path.exists(path) else "wb") as file:
            file.write(struct.pack("q", seconds))

    jump(0)
    jump.environment = {"LD_PRELOAD": library, "SHIFTED_CLOCK": path}
    return jump


def is_served(victim):
    try:
        tunnel = victim.tunnel()
        tunnel.response(tunnel.connect(f"{ADDRESS}:8080"))
        tunnel.close()
        return True
    except (OSError, AssertionError):
        return False


def test_jumps_of_the_clock_refuse_what_is_then_invalid_and_disturb_nothing_else(clock):
    victim = Victim(**clock.environment)
    tunnel = victim.tunnel()
    stream_id = tunnel.open(f"{ADDRESS}:8080")
    said = b""
    for seconds, served in ((0, True), (3 * DAY_S, False), (0, True), (-400 * DAY_S, False), (30, True), (0, True)):
        clock(seconds)
        assert is_served(victim) == served, f"at {seconds} s"
        said += b"word "
        tunnel.send_data(stream_id, b"word ")
        tunnel.wait_for(lambda _: tunnel.received(stream_id) == said)  # what was proven when it was valid goes on
    assert victim.ztunnel.program.lines("certificate expired") or victim.ztunnel.program.lines("expired")
    tunnel.close()
    victim.stop()
