"""Programs of a test: started in a namespace, their output in a file, waited for by what they say or serve, ended for sure."""
import atexit
import os
import signal
import subprocess
import time

from tests.lab.topology import run_directory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("AMBAR_BUILD", "build/bin"))
IS_SANITIZED = os.environ.get("AMBAR_SANITIZED") == "1"
PATIENCE = 6 if IS_SANITIZED else 2  # deadlines are for hangs, never a measure of speed


def binary(name):
    return os.path.join(BUILD, name)


def wait_until(condition, timeout=30, message="condition", interval=0.02):
    """Returns the first true value of `condition()`."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out waiting for {message}")
        time.sleep(interval)


class Program:
    """One running program."""

    everything = []

    def __init__(self, name, command, namespace=None, environment=None, directory=None, log=None, stdin=None):
        self.name = name
        self.log = log or os.path.join(run_directory(), f"{name}.log")
        self.command = namespace.command(*command) if namespace else [str(c) for c in command]
        variables = {"PATH": os.environ["PATH"], "HOME": "/root", **(environment or {})}
        for key in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "TLS_ENGINE"):
            if key in os.environ:
                variables[key] = os.environ[key]
        self.output = open(self.log, "wb")
        self.process = subprocess.Popen(self.command, stdout=self.output, stderr=subprocess.STDOUT, stdin=stdin or subprocess.DEVNULL,
                                        env=variables, cwd=directory or "/", start_new_session=True)
        self.returncode = None
        Program.everything.append(self)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def lines(self, *needles):
        """Lines that contain every needle."""
        return [line for line in self.text().splitlines() if all(n in line for n in needles)]

    def wait_line(self, *needles, timeout=30, count=1):
        def found():
            lines = self.lines(*needles)
            if len(lines) >= count:
                return lines
            if self.process.poll() is not None and len(self.lines(*needles)) < count:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.text()[-4000:]}")
            return None
        try:
            return found() or wait_until(found, timeout, f"{needles} from {self.name}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- {self.name}\n{self.text()[-4000:]}") from None

    def is_running(self):
        return self.process.poll() is None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self):
        path = f"/proc/{self.pid}/task/{self.pid}/children"
        return [int(p) for p in open(path).read().split()]

    def resident_kib(self, pid=None):
        for line in open(f"/proc/{pid or self.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def stop(self, timeout=20, number=signal.SIGTERM):
        """Ends it and returns its exit status; a program that does not end is killed and reported."""
        if self.returncode is None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            try:
                self.returncode = self.process.wait(timeout * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"{self.name} did not end on signal {number}:\n{self.text()[-3000:]}") from None
            self.output.close()
        return self.returncode

    def kill(self):
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.returncode = self.process.wait()

    def assert_clean(self):
        """Ended with 0 and no sanitizer found anything."""
        status = self.stop()
        text = self.text()
        for sign in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "WARNING: ThreadSanitizer"):
            assert sign not in text, f"{self.name}:\n{text[text.index(sign) - 200:][:6000]}"
        assert status == 0, f"{self.name} ended with {status}:\n{text[-3000:]}"


def stop_everything():
    for program in reversed(Program.everything):
        if program.returncode is None and program.process.poll() is None:
            program.kill()
    Program.everything.clear()


atexit.register(stop_everything)
