"""ambarctl against a server that tries to play tricks on the terminal of whoever asks."""
import http.server
import json
import subprocess
import threading

import pytest

from tests.lab.process import binary

TRICK = "\x1b[2J\x9b31m\x7f\x07"
SHOWN = "?[2J?31m??"


class Hostile(http.server.BaseHTTPRequestHandler):
    def answer(self):
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def ctl():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def run(status, body, *arguments):
        server.answer = status, body if isinstance(body, bytes) else body.encode()
        admin = f"127.0.0.1:{server.server_address[1]}"
        done = subprocess.run([binary("ambarctl"), "--admin", admin, *arguments], capture_output=True, timeout=30)
        text = (done.stdout + done.stderr).decode()
        assert not [c for c in text if c != "\n" and c != "\t" and (c < " " or "\x7f" <= c <= "\x9f")], repr(text)
        return done.returncode, text
    yield run
    server.shutdown()
    server.server_close()


def test_the_answer_to_log_level_is_shown_without_control_characters(ctl):
    assert ctl(200, f"current log level is {TRICK}\n", "log-level") == (0, f"current log level is {SHOWN}\n")
    assert ctl(400, f"Invalid {TRICK}\nusage:\tPOST\n", "log-level", "x=debug") == (1, f"ambarctl: Invalid {SHOWN}\nusage:\tPOST\n")
    assert ctl(200, b"not UTF-8 \xff\x9b\n", "log-level") == (0, "not UTF-8 ??\n")


def test_what_is_no_json_is_named_without_control_characters(ctl):
    status, text = ctl(200, f'{{"a": \u00e9{TRICK}', "connections")
    assert status == 1 and text.startswith("ambarctl: the answer is not the expected JSON: ")
    status, text = ctl(200, "[1]", "connections")
    assert (status, text) == (1, "ambarctl: the answer is not the expected JSON: it is no object\n")
    assert ctl(400, TRICK, "pods") == (1, f"ambarctl: {SHOWN}\n")


def test_explain_shows_hostile_members_without_control_characters(ctl):
    policy = {"policy": f"a/b{TRICK}", "action": TRICK, "scope": TRICK, "rules": [{"rule": 1, "because": TRICK}]}
    document = {"source": {"address": TRICK}, "destination": {"address": TRICK, "service": TRICK}, "endpoints": [{"uid": TRICK, "verdict": TRICK}],
                "endpointsTotal": 2, "loadBalancing": TRICK, "policies": [policy], "verdict": TRICK, "reason": TRICK, "missing": [TRICK]}
    status, text = ctl(200, json.dumps(document, ensure_ascii=False), "explain", "a", "b:80")
    assert status == 0 and f"load balancing {SHOWN}\n" in text and f"no match {SHOWN} a/b{SHOWN}  ({SHOWN})\n" in text


def test_explain_says_what_the_answer_left_out(ctl):
    status, text = ctl(200, json.dumps({"endpoints": [], "policies": [{}], "missing": [7], "tunnel": {}, "tunnels": [{}]}), "explain", "a", "b:80")
    assert status == 0 and "load balancing (unknown)\n" in text and "no match (unknown) (unknown)  ((unknown))\n" in text
    assert "(null)" not in text


def test_lists_show_a_dash_for_what_the_answer_left_out(ctl):
    for command in ("connections", "tunnels", "refusals", "workloads", "policies", "certificates", "pods"):
        status, text = ctl(200, json.dumps({command: [{}], "identities": [{}]}), command)
        assert status == 0 and "(null)" not in text, command
