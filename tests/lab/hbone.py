"""HBONE peers written on python3-h2 and the ssl module: a client and a server that are not ours.

Both are blocking and run one connection per thread; they keep every frame's effect visible to a test (events, windows, resets).
"""
import select
import socket
import ssl
import struct
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

READ_BYTES = 1 << 18


def tls_context(role, certificate, key, roots, minimum=ssl.TLSVersion.TLSv1_3):
    """A mutual TLS context as a mesh peer has it: ALPN h2, no host names, the chain checked against `roots`."""
    purpose = ssl.PROTOCOL_TLS_SERVER if role == "server" else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = minimum
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(certificate, key)
    if roots:
        context.load_verify_locations(roots)
        context.verify_mode = ssl.CERT_REQUIRED
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


class Connection:
    """One HTTP/2 connection over a connected (TLS) socket: sends what h2 queues, collects events per stream."""

    def __init__(self, sock, is_client):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=is_client, header_encoding="utf-8", validate_inbound_headers=False,
                                      validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self.lock = threading.RLock()
        self.events = []
        self.is_closed = False
        self.error = None
        self.auto_credit = True  # give the peer its window back as bytes arrive

    def start(self, settings=None):
        with self.lock:
            known = {code: value for code, value in (settings or {}).items() if code < 256}
            if known:
                self.h2.local_settings = h2.settings.Settings(client=self.h2.config.client_side, initial_values=known)
            self.h2.initiate_connection()
            self.flush()
            for code in set(settings or {}) - set(known):  # hyperframe writes identifiers of one byte only
                self.sock.sendall(struct.pack("!BHBBLHL", 0, 6, 4, 0, 0, code, settings[code]))
        return self

    def flush(self):
        with self.lock:
            data = self.h2.data_to_send()
            while data:
                try:
                    sent = self.sock.send(data)
                    data = data[sent:]
                except (ssl.SSLWantWriteError, BlockingIOError):
                    select.select([], [self.sock], [], 5)
                except OSError as error:
                    self.is_closed, self.error = True, error
                    return

    def pump(self, timeout):
        """Reads once (or gives up after `timeout` seconds); returns the new events."""
        if self.is_closed:
            return []
        if not (hasattr(self.sock, "pending") and self.sock.pending()):
            readable, _, _ = select.select([self.sock], [], [], timeout)
            if not readable:
                return []
        try:
            data = self.sock.recv(READ_BYTES)
        except (ssl.SSLWantReadError, BlockingIOError):
            return []
        except OSError as error:
            self.is_closed, self.error = True, error
            return []
        if not data:
            self.is_closed = True
            return []
        with self.lock:
            new = self.h2.receive_data(data)
            if self.auto_credit:
                for event in new:
                    if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                        try:
                            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        except h2.exceptions.StreamClosedError:
                            pass
            self.events += new
            self.flush()
        return new

    def wait_for(self, predicate, timeout=20):
        """Pumps until an event satisfies `predicate`; returns it. Looks at earlier events first."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            for event in self.events[seen:]:
                if predicate(event):
                    return event
            seen = len(self.events)
            left = deadline - time.monotonic()
            if self.is_closed or left <= 0:
                raise AssertionError(f"no such event; closed={self.is_closed} error={self.error} events={self.events[-10:]}")
            self.pump(min(left, 0.5))

    def send_data(self, stream_id, data, end=False, timeout=60):
        """Sends all of `data` as the windows allow."""
        deadline = time.monotonic() + timeout
        view = memoryview(data)
        while len(view):
            with self.lock:
                room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, 1 << 14)
                if room > 0:
                    self.h2.send_data(stream_id, bytes(view[:room]))
                    view = view[room:]
                    self.flush()
                    continue
            assert time.monotonic() < deadline, "the window never opened"
            self.pump(0.5)
        if end:
            with self.lock:
                self.h2.end_stream(stream_id)
                self.flush()

    def received(self, stream_id):
        return b"".join(e.data for e in self.events if isinstance(e, h2.events.DataReceived) and e.stream_id == stream_id)

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


def connect_tls(address, certificates, source=None, timeout=10, alpn=True):
    """A TLS connection to `address` with `certificates` = (certificate, key, roots)."""
    raw = socket.create_connection(address, timeout=timeout, source_address=source)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = tls_context("client", *certificates)
    if not alpn:
        context.set_alpn_protocols([])
    return context.wrap_socket(raw)


class Client(Connection):
    """An HBONE client."""

    def __init__(self, address, certificates, settings=None, source=None):
        super().__init__(connect_tls(address, certificates, source), is_client=True)
        self.start(settings)

    def connect(self, authority, headers=(), method="CONNECT", extra=()):
        """Sends CONNECT; returns the stream id. Does not wait."""
        with self.lock:
            stream_id = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream_id, [(":method", method), (":authority", authority), *extra, *headers])
            self.flush()
        return stream_id

    def response(self, stream_id, timeout=20):
        event = self.wait_for(
            lambda e: isinstance(e, (h2.events.ResponseReceived, h2.events.StreamReset)) and e.stream_id == stream_id, timeout)
        if isinstance(event, h2.events.StreamReset):
            raise ConnectionResetError(f"stream reset with {event.error_code}")
        return dict(event.headers)

    def open(self, authority, headers=(), timeout=20):
        """CONNECT and the 200; returns the stream id."""
        stream_id = self.connect(authority, headers)
        answer = self.response(stream_id, timeout)
        assert answer[":status"] == "200", answer
        return stream_id

    def read_until_end(self, stream_id, timeout=60):
        self.wait_for(lambda e: isinstance(e, (h2.events.StreamEnded, h2.events.StreamReset)) and e.stream_id == stream_id, timeout)
        return self.received(stream_id)


class Server:
    """An HBONE server: accepts tunnels and hands each request to `handler(connection, stream_id, headers)` in the tunnel's thread."""

    def __init__(self, address, certificates, handler, family=socket.AF_INET, settings=None, listener=None):
        self.handler = handler
        self.settings = settings
        self.context = tls_context("server", *certificates)
        self.requests = []
        self.connections = []
        self.failures = []
        self.is_stopping = False
        self.is_mute = False  # after the TLS handshake it closes instead of speaking HTTP/2
        if listener is None:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(128)
        self.listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.is_stopping:
            try:
                raw, peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw, peer), daemon=True).start()

    def _serve(self, raw, peer):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock = self.context.wrap_socket(raw, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self.failures.append(error)
            raw.close()
            return
        if self.is_mute:
            sock.close()
            return
        connection = Connection(sock, is_client=False)
        connection.peer = peer
        connection.peer_certificate = sock.getpeercert(binary_form=True)
        self.connections.append(connection)
        connection.start(self.settings)
        try:
            while not connection.is_closed and not self.is_stopping:
                for event in connection.pump(0.5):
                    if isinstance(event, h2.events.RequestReceived):
                        headers = dict(event.headers)
                        self.requests.append(headers)
                        self.handler(connection, event.stream_id, headers)
                    else:
                        on_event = getattr(self.handler, "on_event", None)
                        if on_event:
                            on_event(connection, event)
        except Exception as error:  # a test looks at it
            self.failures.append(error)
        connection.close()

    def stop(self):
        self.is_stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts, which would keep the port taken
        except OSError:
            pass
        self.listener.close()
        for connection in self.connections:
            connection.close()


class EchoHandler:
    """Answers 200 and echoes, half-closing when the peer does."""

    def __call__(self, connection, stream_id, headers):
        connection.h2.send_headers(stream_id, [(":status", "200")])
        connection.flush()

    def on_event(self, connection, event):
        if isinstance(event, h2.events.DataReceived):
            connection.send_data(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            connection.h2.end_stream(event.stream_id)
            connection.flush()
