"""The proxy's half of ZDS, written from wire-protocols §4: connects, greets, answers, remembers what it was told. No generated code."""
import array
import os
import socket
import threading
import time

KINDS = {1: "add", 2: "del", 3: "snapshot_sent", 5: "keep"}


def fields(data):
    """Number -> last value of a protobuf message whose fields are varints and byte strings."""
    found = {}
    position = 0

    def varint():
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        tag = varint()
        if tag & 7 == 0:
            found[tag >> 3] = varint()
        else:
            assert tag & 7 == 2, f"wire type {tag & 7}"
            length = varint()
            found[tag >> 3] = data[position:position + length]
            position += length
    return found


def text(message, number):
    return message.get(number, b"").decode()


class Request:
    def __init__(self, data, descriptors):
        (number, payload), = fields(data).items()
        message = fields(payload)
        self.kind = KINDS[number]
        self.uid = text(message, 2 if self.kind == "del" else 1)
        info = fields(message.get(2, b"")) if self.kind == "add" else {}
        self.name, self.namespace, self.service_account = (text(info, n) for n in (1, 2, 3))
        self.inodes = [os.fstat(d).st_ino for d in descriptors]

    def __repr__(self):
        return f"{self.kind} {self.uid} {self.namespace}/{self.name}"


def answer(error=""):
    ack = b"\x0a" + bytes([len(error)]) + error.encode() if error else b""
    return b"\x0a" + bytes([len(ack)]) + ack


class FakeZtunnel:
    """`decide(request)` gives the error text to answer ("": done), or None to stay silent."""

    def __init__(self, path, decide=lambda request: "", hello=b"\x08\x01"):
        self.requests = []
        self.decide = decide
        self.is_closed = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        if hello:
            self.socket.send(hello)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        try:
            while self._turn():
                pass
        except OSError:
            pass
        self.is_closed.set()

    def _turn(self):
        data, ancillary, flags, _ = self.socket.recvmsg(1024, 4096)
        if not data:
            return False
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            descriptors.frombytes(content)
        request = Request(data, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        self.requests.append(request)
        error = self.decide(request)
        if error is not None:
            self.socket.send(answer(error))
        return True

    def of_kind(self, kind):
        return [r for r in self.requests if r.kind == kind]

    def wait(self, kind, count=1, timeout=20):
        deadline = time.monotonic() + timeout
        while len(self.of_kind(kind)) < count:
            assert time.monotonic() < deadline, f"no {kind} in {self.requests}"
            assert not self.is_closed.is_set(), f"closed by the agent after {self.requests}"
            time.sleep(0.01)
        return self.of_kind(kind)[count - 1]

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.thread.join(5)
        self.socket.close()
