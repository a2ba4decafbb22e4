"""Peers of ambard's ports that say nothing, or say it byte by byte, are ended; a client that has called goes on and may be idle."""
import select
import socket
import ssl
import time

import pytest

from tests.lab.control_plane import AUTHORIZATION
from tests.lab.process import PATIENCE
from tests.scenario.test_ambard import POLICY, Ambard, names

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# The preface and SETTINGS, then the head of a request that never ends.
REQUEST = PREFACE + b"\0\0\0\4\0\0\0\0\0" + b"\0\x10\0\1\4\0\0\0\1"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200
HEAD = b"GET /ready HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100


@pytest.fixture
def ambard(tmp_path):
    ambard = Ambard(str(tmp_path))
    yield ambard
    ambard.program.assert_clean()


def dial(port, over_tls=False):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    if not over_tls:
        return connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(connection)


class Speaker:
    def __init__(self, port, said=b"", at_once=b"", over_tls=False):
        self.port, self.said, self.over_tls = port, said, over_tls
        self.connection = dial(port, over_tls)
        self.connection.sendall(at_once)
        self.position = 0

    def has_ended(self):
        """Says one byte more."""
        try:
            if self.position < len(self.said):
                self.connection.send(self.said[self.position:self.position + 1])
                self.position += 1
            while select.select([self.connection], [], [], 0)[0]:
                if self.connection.recv(4096) == b"":
                    return True
            return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True


def test_slow_speakers_are_ended_on_every_port_and_an_idle_client_is_not(ambard):
    client = ambard.client()
    client.subscribe(AUTHORIZATION)
    client.ack(client.next())
    speakers = [Speaker(15012), Speaker(15012, HELLO)]
    for port, over_tls in ((15010, False), (15012, True)):
        speakers += [Speaker(port, over_tls=over_tls), Speaker(port, PREFACE, over_tls=over_tls), Speaker(port, b"a" * 100, REQUEST, over_tls)]
    for port in (8080, 15014):
        speakers += [Speaker(port), Speaker(port, HEAD)]
    deadline = time.monotonic() + 16 * PATIENCE
    while speakers and time.monotonic() < deadline:
        speakers = [speaker for speaker in speakers if not speaker.has_ended()]
        time.sleep(0.25)
    assert not speakers, [(s.port, s.over_tls, s.said[:8]) for s in speakers]
    ambard.program.wait_line("grpc connection failed", "no call within 10000 ms")
    ambard.write("extra.yaml", POLICY)
    assert names(client.next()) == ["shop/extra"]
    client.close()
