"""An east-west gateway on python3-h2: terminates the outer tunnel, and passes each CONNECT's bytes on to a proxy of its own network."""
import socket
import threading
import time

import h2.events

from tests.lab.process import PATIENCE


class Gateway:
    """A handler for hbone.Server. `targets`: {authority: (namespace, address)} of who serves what, or a status to refuse with."""

    def __init__(self, targets):
        self.targets = targets
        self.authorities = []
        self.sockets = {}
        self.passed = bytearray()  # what came out of outer streams: the inner tunnels' bytes

    def __call__(self, connection, stream_id, headers):
        authority = headers[":authority"]
        self.authorities.append(authority)
        target = self.targets.get(authority, "404")
        if isinstance(target, str):
            connection.h2.send_headers(stream_id, [(":status", target)], end_stream=True)
            connection.flush()
            return
        namespace, address = target
        upstream = namespace.inside(lambda: socket.create_connection(address, 10 * PATIENCE))
        self.sockets[connection, stream_id] = upstream
        connection.h2.send_headers(stream_id, [(":status", "200")])
        connection.flush()
        threading.Thread(target=self._back, args=(connection, stream_id, upstream), daemon=True).start()

    def on_event(self, connection, event):
        upstream = self.sockets.get((connection, getattr(event, "stream_id", 0)))
        if upstream is None:
            return
        try:
            if isinstance(event, h2.events.DataReceived):
                self.passed += event.data
                upstream.sendall(event.data)
            elif isinstance(event, h2.events.StreamEnded):
                upstream.shutdown(socket.SHUT_WR)
            elif isinstance(event, h2.events.StreamReset):
                upstream.close()
        except OSError:
            pass

    @staticmethod
    def _send(connection, stream_id, data):
        view = memoryview(data)
        while len(view):
            with connection.lock:
                room = min(connection.h2.local_flow_control_window(stream_id), connection.h2.max_outbound_frame_size, len(view))
                if room > 0:
                    connection.h2.send_data(stream_id, bytes(view[:room]))
                    view = view[room:]
                    connection.flush()
                    continue
            time.sleep(0.002)  # the tunnel's own thread reads the WINDOW_UPDATE

    def _back(self, connection, stream_id, upstream):
        try:
            while True:
                data = upstream.recv(1 << 16)
                if not data:
                    break
                self._send(connection, stream_id, data)
            with connection.lock:
                connection.h2.end_stream(stream_id)
                connection.flush()
        except Exception:  # the stream or the tunnel has gone: so does this direction
            pass
