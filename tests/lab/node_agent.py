"""The node agent's half of ZDS, scripted by a test: listens, names pods by descriptor, reads the proxy's answers."""
import array
import os
import socket

from tests.lab.fake_ztunnel import fields
from tests.lab.process import PATIENCE


def varint(number):
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def add(uid, name="web-1", namespace="default", account="web", with_info=True):
    info = field(1, name) + field(2, namespace) + field(3, account)
    return field(1, field(1, uid) + (field(2, info) if with_info else b""))


def delete(uid):
    return field(2, field(2, uid))


def keep(uid):
    return field(5, field(1, uid))


SNAPSHOT_SENT = field(3, b"")


class NodeAgent:
    """Owns the socket at `path`; `connection` is the newest one of the proxy."""

    def __init__(self, path):
        self.path = path
        self.connection = None
        self.listener = None
        self.listen()

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.listener.settimeout(20 * PATIENCE)

    def accept(self):
        """The proxy's next connection, greeted."""
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(20 * PATIENCE)
        hello = self.connection.recv(64)
        assert hello == b"\x08\x01", hello
        return self

    def send(self, data, descriptors=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.connection.sendmsg([data], rights)

    def answer(self):
        """The error text of the next answer; "" for done."""
        data = self.connection.recv(2048)
        assert data, "the proxy hung up"
        return fields(fields(data)[1]).get(1, b"").decode()

    def ask(self, data, descriptors=()):
        self.send(data, descriptors)
        return self.answer()

    def add(self, uid, pod, **information):
        """Names a pod of the topology; its name and account are the pod's label unless given."""
        descriptor = os.open(pod.path, os.O_RDONLY)
        try:
            return self.ask(add(uid, **{"name": pod.label, "account": pod.label, **information}), [descriptor])
        finally:
            os.close(descriptor)

    def finish_snapshot(self):
        assert self.ask(SNAPSHOT_SENT) == ""

    def assert_hung_up(self):
        assert self.connection.recv(64) == b""
        self.connection.close()

    def hang_up(self):
        self.connection.close()

    def stop(self):
        if self.connection is not None:
            self.connection.close()
        self.listener.close()
