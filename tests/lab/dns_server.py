"""A scripted name server: UDP and TCP, answers from a zone, and names whose first label says how to misbehave.

  dns_server.py ADDRESS [ADDRESS...] --zone '{"a.example.com": {"A": ["1.2.3.4"], "ttl": 60}, ...}'

silent.*         no answer                     servfail.*   SERVFAIL              garbage.*    bytes that are no message
wrong-id.*       an answer with another id, then the right one
wrong-question.* an answer to another question, then the right one
truncated.*      over UDP an empty answer with TC, over TCP the real one
tcp-only.*       nothing over UDP              slow.*       the answer after 1 s  cut.*        over TCP half a message, then the end
Each query is one line on standard output: `query udp NAME TYPE id=.. port=.. bytes=..`, with hexadecimal bytes.
"""
import argparse
import ipaddress
import json
import socket
import struct
import sys
import threading
import time

TYPES = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS", 255: "ANY"}
NUMBERS = {name: number for number, name in TYPES.items()}


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".") if label) + b"\0"


def parse(query):
    """(id, flags, name as asked, type, the question's bytes, what follows)"""
    identifier, flags, questions = struct.unpack("!HHH", query[:6])
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    return identifier, flags, ".".join(labels), kind, query[12:at + 5], query[at + 5:]


def data_of(kind, text):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(text).packed
    if kind == "MX":
        priority, host = text.split()
        return struct.pack("!H", int(priority)) + encode_name(host)
    if kind == "TXT":
        return bytes([len(text)]) + text.encode()
    return encode_name(text)


def answer(zone, query, code=None, truncated=False):
    identifier, flags, name, kind, question, rest = parse(query)
    entry = zone.get(name.lower())
    records = []
    if entry:
        owner, ttl = name, entry.get("ttl", 60)
        if "CNAME" in entry and TYPES.get(kind) != "CNAME":
            records.append((owner, "CNAME", ttl, entry["CNAME"][0]))
            owner = entry["CNAME"][0]
            entry = zone.get(owner, {})
        records += [(owner, TYPES[kind], entry.get("ttl", ttl), text) for text in entry.get(TYPES.get(kind), [])]
    code = code if code is not None else (0 if entry is not None else 3)
    if truncated:
        records = []
    body = b""
    for owner, record, ttl, text in records:
        data = data_of(record, text)
        body += encode_name(owner) + struct.pack("!HHIH", NUMBERS[record], 1, ttl, len(data)) + data
    # An OPT of the query comes back as it is: what was asked verbatim is seen verbatim.
    additional = 1 if rest else 0
    header = struct.pack("!HHHHHH", identifier, 0x8180 | (flags & 0x0110) | (0x0200 if truncated else 0) | code, 1, len(records), 0, additional)
    return header + question + body + rest


def respond(zone, query, transport):
    """The messages to send, in order, and how long to wait before."""
    identifier, flags, name, kind, question, rest = parse(query)
    behaviour = name.split(".")[0].lower()
    if behaviour == "silent" or (behaviour == "tcp-only" and transport == "udp"):
        return [], 0
    if behaviour == "servfail":
        return [answer(zone, query, code=2)], 0
    if behaviour == "garbage":
        return [b"\xff" * 7], 0
    right = answer(zone, query)
    if behaviour == "wrong-id":
        return [struct.pack("!H", identifier ^ 0x5555) + right[2:], right], 0
    if behaviour == "wrong-question":
        other = struct.pack("!H", identifier) + answer(zone, query[:12] + encode_name("evil.example.com") + struct.pack("!HH", kind, 1))[2:]
        return [other, right], 0
    if behaviour == "truncated" and transport == "udp":
        return [answer(zone, query, truncated=True)], 0
    return [right], 1 if behaviour == "slow" else 0


def log(transport, query, peer):
    try:
        identifier, _, name, kind, _, _ = parse(query)
        print(f"query {transport} {name} {TYPES.get(kind, kind)} id={identifier} port={peer[1]} from={peer[0]} bytes={query.hex()}", flush=True)
        return True
    except (IndexError, struct.error):
        print(f"query {transport} unreadable bytes={query.hex()}", flush=True)
        return False


def send_datagrams(sock, peer, messages, delay):
    time.sleep(delay)
    for message in messages:
        sock.sendto(message, peer)


def serve_udp(sock, zone):
    while True:
        query, peer = sock.recvfrom(65535)
        if not log("udp", query, peer):
            continue
        threading.Thread(target=send_datagrams, args=(sock, peer, *respond(zone, query, "udp")), daemon=True).start()


def serve_connection(connection, peer, zone):
    with connection:
        stream = connection.makefile("rb")
        while True:
            length = stream.read(2)
            if len(length) < 2:
                return
            query = stream.read(struct.unpack("!H", length)[0])
            if not log("tcp", query, peer):
                return
            if parse(query)[2].split(".")[0].lower() == "cut":
                connection.sendall(b"\x00\x50half")
                return
            messages, delay = respond(zone, query, "tcp")
            time.sleep(delay)
            for message in messages:
                connection.sendall(struct.pack("!H", len(message)) + message)


def serve_tcp(sock, zone):
    while True:
        connection, peer = sock.accept()
        threading.Thread(target=serve_connection, args=(connection, peer, zone), daemon=True).start()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("addresses", nargs="+")
    options.add_argument("--zone", default="{}")
    options.add_argument("--udp-only", action="store_true")
    options = options.parse_args()
    zone = json.loads(options.zone)
    for address in options.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((address, 53))
        threading.Thread(target=serve_udp, args=(udp, zone), daemon=True).start()
        if not options.udp_only:
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((address, 53))
            tcp.listen(64)
            threading.Thread(target=serve_tcp, args=(tcp, zone), daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
