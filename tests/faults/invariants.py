"""What must hold all along, whatever breaks."""
import re
import time

from tests.faults.rig import SERVERS, access_lines
from tests.lab.process import PATIENCE

STOCKED_SOCKETS = 96  # three kinds, up to 32 of each, given up after a minute without use (net/socket_stock)
EXCUSE_S = 6  # a killed application's kernel may end its connections by FIN: for so long nobody is to blame for a short answer


class Violation(AssertionError):
    pass


class Watch:
    """Reads what the clients saw. `kills` is [(server, time)] of applications killed on purpose."""

    def __init__(self, rig):
        self.rig = rig
        self.kills = []
        self.counts = {}

    def is_excused(self, record):
        return any(record["opened"] <= at + EXCUSE_S and record["ended"] >= at and record["name"] in ("", name) for name, at in self.kills)

    def check_record(self, client, record):
        ending = record["ending"]
        key = (client.name, ending)
        self.counts[key] = self.counts.get(key, 0) + 1
        if ending == "wrong":
            raise Violation(f"{client.name} got wrong bytes: {record}")
        if record["name"] and not client.may_ask:
            raise Violation(f"{client.name} may not ask the catalogue and was answered: {record}")
        if record["name"] and record["name"] not in SERVERS:
            raise Violation(f"{client.name} was answered by somebody else: {record}")
        if ending == "short" and record["name"] and client.may_ask and not self.is_excused(record):
            raise Violation(f"{client.name} saw a clean end where bytes were missing: {record}")

    def check(self):
        for client in self.rig.clients:
            for record in client.refresh():
                self.check_record(client, record)
        escaped = self.rig.escaped_packets()
        if escaped:
            raise Violation(f"{escaped} packets of meshed pods crossed between the nodes outside a tunnel")

    def wait_healed(self, fault, since):
        """Every client that may ask completes a connection it has opened since."""
        waiting = {client.name for client in self.rig.clients if client.may_ask}
        deadline = time.monotonic() + 10 * fault.heals_within_s * PATIENCE
        while waiting:
            for client in self.rig.clients:
                for record in client.refresh():
                    self.check_record(client, record)
                    if record["ending"] == "clean" and record["opened"] >= since:
                        waiting.discard(client.name)
            if time.monotonic() > deadline:
                raise Violation(f"{', '.join(sorted(waiting))} not well again {10 * fault.heals_within_s * PATIENCE} s after: {fault.title}")
            time.sleep(0.05)
        return time.time() - since

    def summary(self):
        return {f"{name} {ending}": count for (name, ending), count in sorted(self.counts.items())}


def check_identities(mesh):
    """The server's side never took anybody for somebody else. Returns how many lines it looked at."""
    owners = {"10.77.1.10": "web", "10.77.2.11": "web", "10.77.2.30": "redis"}
    seen = 0
    for line in access_lines(mesh):
        match = re.search(r'src\.addr=([\d.]+):.*direction="inbound"', line)
        identity = re.search(r'src\.identity="([^"]*)"', line)
        if not match or not identity or match.group(1) not in owners:
            continue
        seen += 1
        wanted = f"spiffe://cluster.local/ns/shop/sa/{owners[match.group(1)]}"
        if identity.group(1) != wanted:
            raise Violation(f"{match.group(1)} was taken for {identity.group(1)}: {line}")
    return seen


class Levels:
    """Descriptors and memory of the ztunnels that have lived since `note`."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.start = {}

    def note(self):
        self.start = {name: (program.pid, *self.measure(program)) for name, program in self.mesh.ztunnels.items()}

    @staticmethod
    def measure(program):
        return program.descriptors(), program.resident_kib()

    def check_back(self, memory_slack_kib=8 * 1024, timeout_s=30):
        # Ready sockets are kept for each pod: how many of them were there before is chance.
        descriptors_slack = 16 + STOCKED_SOCKETS * len(self.mesh.enrolled)
        deadline = time.monotonic() + timeout_s * PATIENCE
        for name, program in self.mesh.ztunnels.items():
            pid, descriptors, memory = self.start.get(name, (0, 0, 0))
            if program.pid != pid:
                continue  # another process: it was restarted on purpose
            while True:
                now = self.measure(program)
                is_back = now[0] <= descriptors + descriptors_slack and now[1] <= memory + memory_slack_kib * PATIENCE
                if is_back:
                    break
                if time.monotonic() > deadline:
                    raise Violation(f"ztunnel of {name}: {descriptors} descriptors and {memory} KiB before the load, {now[0]} and {now[1]} after")
                time.sleep(0.2)
