"""The applications under fault: a server that says its name and echoes, a client that checks every byte of the answer.

    application.py serve PORT NAME
    application.py ask HOST PORT WORKERS SEED MARKER     one line of JSON for each connection that ended

A connection: the server sends its name and a newline, echoes what it reads, and after the client's FIN sends END and closes. How a
connection ended, seen by the client: `clean` (END, then FIN), `cut` (reset, refused, timed out), `short` (a FIN before END) or
`wrong` (a byte that was never sent, or sent in another order).
"""
import json
import random
import socket
import sys
import threading
import time

END = b"\n--end--\n"
PATIENCE_S = 20


def serve_one(connection, name):
    try:
        connection.sendall(name.encode() + b"\n")
        while True:
            data = connection.recv(1 << 16)
            if not data:
                break
            connection.sendall(data)
        connection.sendall(END)
        connection.close()
    except OSError:
        connection.close()


def serve(port, name):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_one, args=(connection, name), daemon=True).start()


class Conversation:
    """One connection: some messages answered one by one, then a burst whose answer is read after the half-close."""

    def __init__(self, random_, marker):
        self.random = random_
        self.marker = marker
        self.name = ""
        self.opened = time.time()
        self.sent = 0
        self.ending = "cut"
        self.reason = ""

    def payload(self, maximum):
        size = self.random.choice([1, 20, 500, 5000, 60000])
        filler = self.random.randbytes(min(size, maximum))
        return self.marker + b"%016x" % self.random.getrandbits(64) + filler

    def expect(self, connection, wanted):
        got = b""
        while len(got) < len(wanted):
            piece = connection.recv(len(wanted) - len(got))
            if not piece:
                self.ending, self.reason = "short", f"FIN after {self.sent + len(got)} bytes"
                return False
            got += piece
        if got != wanted:
            self.ending, self.reason = "wrong", f"other bytes than sent, after {self.sent}"
            return False
        self.sent += len(wanted)
        return True

    def read_name(self, connection):
        line = b""
        while not line.endswith(b"\n") and len(line) < 64:
            piece = connection.recv(1)
            if not piece:
                self.ending, self.reason = "short", "FIN before the server's name"
                return False
            line += piece
        self.name = line.strip().decode(errors="replace")
        return True

    def hold(self, connection):
        if not self.read_name(connection):
            return
        for _ in range(self.random.randint(1, 12)):
            message = self.payload(60000)
            connection.sendall(message)
            if not self.expect(connection, message):
                return
            time.sleep(self.random.choice([0, 0, 0.01, 0.2]))
        burst = self.payload(60000)
        connection.sendall(burst)
        connection.shutdown(socket.SHUT_WR)
        if self.expect(connection, burst + END):
            if connection.recv(1):
                self.ending, self.reason = "wrong", "bytes after the end"
            else:
                self.ending = "clean"


def ask_once(host, port, random_, marker):
    conversation = Conversation(random_, marker)
    try:
        with socket.create_connection((host, port), PATIENCE_S) as connection:
            connection.settimeout(PATIENCE_S)
            conversation.hold(connection)
    except OSError as error:
        conversation.reason = conversation.reason or str(error)
    return conversation


def ask(host, port, workers, seed, marker):
    lock = threading.Lock()

    def work(index):
        random_ = random.Random(f"{seed}-{index}")
        while True:
            conversation = ask_once(host, port, random_, marker)
            with lock:
                print(json.dumps({"opened": conversation.opened, "ended": time.time(), "name": conversation.name, "bytes": conversation.sent,
                                  "ending": conversation.ending, "reason": conversation.reason}), flush=True)
            if conversation.ending != "clean":
                time.sleep(0.1)

    for index in range(workers):
        threading.Thread(target=work, args=(index,), daemon=True).start()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        ask(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6].encode())
