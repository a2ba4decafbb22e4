"""Small TCP programs for tests, run inside pods: servers that close in every way, clients that say what they saw.

    tcp_peer.py serve PORT MODE           MODE: echo, fin, rst, half, sink, source:N, stops:N, silent, checksum
    tcp_peer.py close HOST PORT MODE      MODE: fin, rst, half; prints what came back and how it ended
    tcp_peer.py transfer HOST PORT BYTES  sends and receives BYTES of a pseudo-random stream, prints both checksums
    tcp_peer.py many HOST PORT COUNT      COUNT connections at once, each echoes a token and is checked
    tcp_peer.py unread HOST PORT COUNT S [N]  COUNT connections to a source, of which N bytes (none) are read at once and then no more, held for S seconds
    tcp_peer.py push HOST PORT COUNT S    COUNT connections that send as much as is taken, held for S seconds
"""
import hashlib
import selectors
import socket
import struct
import sys
import threading
import time

CHUNK = 1 << 16


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def stream(total):
    """A reproducible stream of `total` bytes."""
    block = hashlib.shake_128(b"ambar").digest(1 << 20)
    sent = 0
    while sent < total:
        part = block[: min(len(block), total - sent)]
        yield part
        sent += len(part)


def exchange(connection, question):
    """Of an echo: the answer, as long as the question."""
    connection.sendall(question)
    answer = b""
    while len(answer) < len(question):
        piece = connection.recv(CHUNK)
        assert piece, "ended early"
        answer += piece
    return answer


def read_to_end(connection, timeout=30):
    """(bytes, "fin" or "rst" or "timeout")"""
    connection.settimeout(timeout)
    data = b""
    try:
        while True:
            piece = connection.recv(CHUNK)
            if not piece:
                return data, "fin"
            data += piece
    except ConnectionResetError:
        return data, "rst"
    except socket.timeout:
        return data, "timeout"


def echo(connection):
    while True:
        data = connection.recv(CHUNK)
        if not data:
            connection.close()
            return
        connection.sendall(data)


def serve_one(connection, mode):
    try:
        if mode == "echo":
            echo(connection)
        elif mode == "fin":  # answers and closes
            connection.recv(CHUNK)
            connection.sendall(b"answer")
            connection.close()
        elif mode == "rst":  # answers, then resets
            connection.recv(CHUNK)
            connection.sendall(b"answer")
            time.sleep(0.3)
            reset(connection)
        elif mode == "half":  # ends its direction first, then reads on and says what it got
            connection.sendall(b"answer")
            connection.shutdown(socket.SHUT_WR)
            print("got", *read_to_end(connection), flush=True)
        elif mode == "late":  # reads to the end, then answers
            data, end = read_to_end(connection)
            print("got", data, end, flush=True)
            connection.sendall(b"late:" + data)
            connection.close()
        elif mode == "sink":
            print("got", *read_to_end(connection), flush=True)
        elif mode.startswith("source:"):
            for piece in stream(int(mode[7:])):
                connection.sendall(piece)
            connection.close()
        elif mode.startswith("stops:"):  # reads so much as fast as it can, then never again
            left = int(mode[6:])
            while left > 0:
                left -= len(connection.recv(min(CHUNK * 4, left)))
            time.sleep(3600)
        elif mode == "silent":
            time.sleep(3600)
        elif mode == "checksum":  # reads a length, then that many bytes, while sending as many
            total = struct.unpack(">Q", connection.recv(8, socket.MSG_WAITALL))[0]
            sender = threading.Thread(target=lambda: [connection.sendall(p) for p in stream(total)])
            sender.start()
            digest, left = hashlib.sha256(), total
            while left:
                piece = connection.recv(min(CHUNK * 4, left))
                if not piece:
                    break
                digest.update(piece)
                left -= len(piece)
            sender.join()
            connection.sendall(digest.digest())
            connection.close()
    except OSError as error:
        print("server:", error, flush=True)


def serve(port, mode):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection, mode), daemon=True).start()


def connect(host, port):
    return socket.create_connection((host, port), 30)


def close(host, port, mode):
    connection = connect(host, port)
    if mode == "rst":
        connection.sendall(b"question")
        time.sleep(0.3)
        reset(connection)
        return
    if mode == "half":
        connection.sendall(b"question")
        connection.shutdown(socket.SHUT_WR)
    else:
        connection.sendall(b"question")
    data, end = read_to_end(connection)
    print(f"{data.decode(errors='replace')} {end}")
    if mode == "fin-after":
        connection.close()


def transfer(host, port, total):
    connection = connect(host, port)
    connection.sendall(struct.pack(">Q", total))
    sender = threading.Thread(target=lambda: [connection.sendall(p) for p in stream(total)])
    sender.start()
    digest, left = hashlib.sha256(), total
    while left:
        piece = connection.recv(min(CHUNK * 4, left))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    sender.join()
    theirs = b""
    while len(theirs) < 32:
        piece = connection.recv(32 - len(theirs))
        if not piece:
            break
        theirs += piece
    wanted = hashlib.sha256()
    for piece in stream(total):
        wanted.update(piece)
    print("down", digest.digest() == wanted.digest(), "up", theirs == wanted.digest())


def many(host, port, count):
    selector = selectors.DefaultSelector()
    state = {}
    for index in range(count):
        connection = connect(host, port)
        token = f"token-{index}-".encode() * 8
        state[connection] = [token, b""]
        selector.register(connection, selectors.EVENT_READ)
    for connection, (token, _) in state.items():
        connection.sendall(token)
    print("open", len(state), flush=True)
    good, deadline = 0, time.monotonic() + 60
    while good < count and time.monotonic() < deadline:
        for key, _ in selector.select(1):
            connection = key.fileobj
            token, got = state[connection]
            data = connection.recv(CHUNK)
            state[connection][1] = got + data
            if not data or state[connection][1] == token:
                good += state[connection][1] == token
                selector.unregister(connection)
    print("good", good, flush=True)
    sys.stdin.readline()
    for connection in state:
        connection.close()


def unread(host, port, count, seconds, first=0):
    connections = [connect(host, port) for _ in range(count)]
    for connection in connections:
        left = first
        while left > 0:
            left -= len(connection.recv(min(CHUNK * 4, left)))
    print("open", len(connections), flush=True)
    time.sleep(seconds)


def push(host, port, count, seconds):
    def send(connection):
        for piece in stream(1 << 40):
            connection.sendall(piece)

    connections = [connect(host, port) for _ in range(count)]
    for connection in connections:
        threading.Thread(target=send, args=(connection,), daemon=True).start()
    print("open", len(connections), flush=True)
    time.sleep(seconds)


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "serve":
        serve(int(arguments[0]), arguments[1])
    elif command == "close":
        close(arguments[0], int(arguments[1]), arguments[2])
    elif command == "transfer":
        transfer(arguments[0], int(arguments[1]), int(arguments[2]))
    elif command == "many":
        many(arguments[0], int(arguments[1]), int(arguments[2]))
    elif command == "unread":
        unread(arguments[0], int(arguments[1]), int(arguments[2]), float(arguments[3]), *map(int, arguments[4:]))
    elif command == "push":
        push(arguments[0], int(arguments[1]), int(arguments[2]), float(arguments[3]))
