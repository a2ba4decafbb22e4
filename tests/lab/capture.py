"""What went over a wire: tcpdump in a namespace, and a small reader of its file."""
import collections
import os
import struct
import subprocess
import time

Packet = collections.namedtuple("Packet", "source source_port destination destination_port protocol payload")


def _address(raw):
    import ipaddress
    return str(ipaddress.ip_address(raw))


def _parse(frame):
    """Ethernet or raw IP; TCP and UDP; None for anything else."""
    if len(frame) < 14:
        return None
    kind = struct.unpack(">H", frame[12:14])[0]
    at = 14
    if kind == 0x0800:
        header = (frame[at] & 15) * 4
        protocol, source, destination = frame[at + 9], frame[at + 12:at + 16], frame[at + 16:at + 20]
        total = struct.unpack(">H", frame[at + 2:at + 4])[0]
        end = at + total if total else len(frame)
        at += header
    elif kind == 0x86DD:
        protocol, source, destination = frame[at + 6], frame[at + 8:at + 24], frame[at + 24:at + 40]
        length = struct.unpack(">H", frame[at + 4:at + 6])[0]
        at += 40
        end = at + length if length else len(frame)
    else:
        return None
    if protocol not in (6, 17) or len(frame) < at + 8:
        return None
    ports = struct.unpack(">HH", frame[at:at + 4])
    skip = (frame[at + 12] >> 4) * 4 if protocol == 6 else 8
    return Packet(_address(source), ports[0], _address(destination), ports[1], "tcp" if protocol == 6 else "udp", frame[at + skip:end])


class Capture:
    """All packets of an interface from start to stop."""

    def __init__(self, namespace, interface, path, expression=""):
        self.path = path
        command = ["tcpdump", "-i", interface, "-U", "--immediate-mode", "-n", "-s", "0", "-B", "8192", "-Z", "root", "-w", path] + expression.split()
        self.process = subprocess.Popen(namespace.command(*command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        line = b""
        deadline = time.monotonic() + 20
        while b"listening on" not in line and time.monotonic() < deadline:
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError("tcpdump did not start")

    def stop(self):
        time.sleep(0.3)  # what is in flight reaches the file
        self.process.terminate()
        self.process.wait(20)
        self.process.stderr.close()
        return self.packets()

    def packets(self):
        packets = []
        with open(self.path, "rb") as file:
            data = file.read()
        order = "<" if data[:4] == b"\xd4\xc3\xb2\xa1" else ">"
        at = 24
        while at + 16 <= len(data):
            length = struct.unpack(order + "I", data[at + 8:at + 12])[0]
            packet = _parse(data[at + 16:at + 16 + length])
            if packet:
                packets.append(packet)
            at += 16 + length
        return packets

    def remove(self):
        if os.path.exists(self.path):
            os.unlink(self.path)


def contains(packets, token):
    """Whether some packet's payload has the token."""
    return any(token in p.payload for p in packets)
