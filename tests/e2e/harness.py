"""A private network namespace with a pollux daemon in it, and ways to run clients there."""

import atexit
import ctypes
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRESET = os.environ.get("POLLUX_PRESET", "release")
BINARY = os.environ.get("POLLUX_BIN", str(ROOT / "build" / PRESET / "pollux"))
# Sanitizers make everything several times slower.
SLOWNESS = 1 if PRESET in ("release", "debug") else 5
HOST, ENGINE = "198.18.0.1", "198.18.0.2"
HOST6, ENGINE6 = "2001:2::1", "2001:2::2"
ECHO, DISCARD, CHARGEN, HTTP = 7, 9, 19, 80

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_number = itertools.count(1)
_live = set()  # namespaces, and what else has a destroy(), to remove at exit


def own(thing):
    """`thing.destroy()` is called should the program end before it is disowned."""
    _live.add(thing)


def disown(thing):
    _live.discard(thing)


def sh(*words, check=True, timeout=30, **kw):
    """Runs a command, returns its output as text; its words and output are in the error."""
    kw.setdefault("stdout", subprocess.PIPE)
    kw.setdefault("stderr", subprocess.STDOUT)
    kw.setdefault("text", True)
    done = subprocess.run([str(w) for w in words], timeout=timeout, check=False, **kw)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def wait_until(condition, timeout=10.0, what="condition"):
    """Polls until `condition()` is true and returns its value."""
    end = time.monotonic() + timeout * SLOWNESS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.02)


def toml(value):
    """A TOML value; JSON's notation fits for what configurations hold."""
    return json.dumps(value)


SERVICES = [
    {"kind": "echo", "port": ECHO},
    {"kind": "discard", "port": DISCARD},
    {"kind": "chargen", "port": CHARGEN},
    {"kind": "http", "port": HTTP},
]


def config_text(sections, services):
    """The text of a configuration from {"section": {"key": value}} and a list of services."""
    out = []
    for section, keys in sections.items():
        out.append(f"[{section}]")
        out += [f"{key} = {toml(value)}" for key, value in keys.items()]
    for service in services:
        out.append("[[service]]")
        out += [f"{key} = {toml(value)}" for key, value in service.items()]
    return "\n".join(out) + "\n"


class Netns:
    """A network namespace that goes away with its owner."""

    def __init__(self):
        self.name = f"pollux-t-{os.getpid()}-{next(_number)}"
        _live.add(self)
        sh("ip", "netns", "add", self.name)
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        # The kernel of the test machine may default to BBR; the tests mean cubic. Where a
        # namespace may not choose, the clients' own options decide.
        self.run("sysctl", "-qw", "net.ipv4.tcp_congestion_control=cubic", check=False)

    def command(self, *words):
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def run(self, *words, **kw):
        return sh(*self.command(*words), **kw)

    def start(self, *words, **kw):
        return subprocess.Popen(self.command(*words), **kw)

    def inside(self, function, *args):
        """Calls `function` in a thread that lives in the namespace; sockets made there stay in it."""
        result = {}

        def body():
            try:
                with open(f"/run/netns/{self.name}", "rb") as ns:
                    if _libc.setns(ns.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result["value"] = function(*args)
            except BaseException as error:  # handed to the caller
                result["error"] = error

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if "error" in result:
            raise result["error"]
        return result["value"]

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
        return self.inside(socket.socket, family, kind, protocol)

    def connect(self, port, address=ENGINE, timeout=20):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        s = self.socket(family)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        s.settimeout(timeout * SLOWNESS)
        try:
            s.connect((address, port))
        except BaseException:
            s.close()
            raise
        return s

    def nft(self, rules):
        self.run("nft", "-f", "-", input=rules)

    def destroy(self):
        _live.discard(self)
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL, check=False)


class Lab(Netns):
    """A namespace with a daemon. `settings` are {"section.key": value}, given as --set."""

    def __init__(self, settings=None, services=None, start=True):
        self.process = None
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pollux-t-"))
        super().__init__()
        self.control = self.dir / "control.sock"
        self.log_path = self.dir / "log"
        self.config = self.dir / "pollux.toml"
        self.settings = dict(settings or {})
        self.configure(SERVICES if services is None else services)
        if start:
            try:
                self.start_daemon()
            except BaseException:
                self.destroy()
                raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.destroy()

    def configure(self, services):
        sections = {"engine": {"drain_s": 2}, "control": {"socket": str(self.control)},
                    "tcp": {"time_wait_s": 1}}
        self.config.write_text(config_text(sections, services))

    def arguments(self):
        words = ["run", "-c", str(self.config)]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value if isinstance(value, str) else toml(value)}"]
        return words

    def start_daemon(self):
        with open(self.log_path, "wb") as log:
            self.process = self.start(BINARY, *self.arguments(), stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: "ready" in self.log() or self.process.poll() is not None,
                   what="the daemon's ready line")
        if self.process.poll() is not None:
            raise AssertionError(f"daemon ended with {self.process.returncode}:\n{self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def last_words(self):
        """The end of the log, after a sanitizer's first report: what ran later hides it."""
        log = self.log()
        at = re.search(r"WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|runtime error:", log)
        report = log[at.start():at.start() + 8000] + "\n[...]\n" if at else ""
        return report + log[-4000:]

    def show(self, what):
        return json.loads(self.run(BINARY, "show", what, "--json", "--control", self.control))

    def totals(self):
        return self.show("stats")["totals"]

    def kernel_losses(self):
        """Packets and datagrams that the host's side lost so far: the device's queue, the backlog,
        a reassembly or a client's receive buffer was full. A datagram may count as several."""
        text = self.run("cat", "/proc/net/snmp", "/proc/net/snmp6")
        names = {}
        rows = [line.split() for line in text.splitlines()]
        for head, values in zip(rows, rows[1:]):
            if head[0].endswith(":") and head[0] == values[0] and values[1].lstrip("-").isdigit():
                names.update({head[0][:-1] + n: int(v) for n, v in zip(head[1:], values[1:])})
        names.update({row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()})
        lost = sum(names[n] for n in ("UdpRcvbufErrors", "UdpMemErrors", "Udp6RcvbufErrors",
                                      "Udp6MemErrors", "IpReasmFails", "Ip6ReasmFails"))
        [link] = json.loads(self.run("ip", "-s", "-j", "link", "show", "pollux0"))
        return lost + sum(link["stats64"][way]["dropped"] for way in ("rx", "tx"))

    def wait_closed(self, timeout=20):
        """Waits until no connection is open."""
        self.wait_for_connections(0, timeout)

    def wait_for_connections(self, n, timeout=20):
        wait_until(lambda: self.totals()["connections_open"] == n, timeout,
                   f"connections_open == {n} (is {self.totals()['connections_open']})")

    @property
    def pid(self):
        return self.process.pid

    def cpu_seconds(self):
        """User and system time of the daemon so far."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def stop(self, timeout=10):
        """SIGTERM, and the promises about a clean end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after SIGTERM:\n{self.last_words()}") from None
        if code != 0:
            raise AssertionError(f"exit {code} after SIGTERM:\n{self.last_words()}")
        links = self.run("ip", "-br", "link")
        if "pollux0" in links:
            raise AssertionError(f"interface left behind:\n{links}")
        if self.control.exists():
            raise AssertionError("control socket left behind")

    def close(self):
        """Stops the daemon if it runs, checks its end, removes everything."""
        try:
            if self.process is not None:
                if self.process.poll() is not None:
                    raise AssertionError(
                        f"daemon died with {self.process.returncode}:\n{self.last_words()}")
                self.stop()
        finally:
            self.destroy()

    def destroy(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        super().destroy()
        shutil.rmtree(self.dir, ignore_errors=True)


class LabCase(unittest.TestCase):
    """Tests that share one daemon; it must still be well after the last of them."""

    settings = {}
    services = None
    lab: Lab

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(cls.settings, cls.services)

    @classmethod
    def tearDownClass(cls):
        cls.lab.close()

    def tearDown(self):
        if self.lab.process.poll() is not None:
            self.fail(f"daemon died with {self.lab.process.returncode}:\n{self.lab.last_words()}")


def read_all(sock, limit=None):
    """Everything until the peer's FIN (or `limit` octets)."""
    out = bytearray()
    while limit is None or len(out) < limit:
        piece = sock.recv(1 << 20)
        if not piece:
            break
        out += piece
    return bytes(out)


def send_in_background(sock, data, shut=True):
    """Sends from a thread, so that the caller can read at the same time."""

    def body():
        try:
            sock.sendall(data)
            if shut:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the reader sees what is missing

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def echo_exact(lab, size, address=ENGINE, port=ECHO):
    """Sends random octets and reads them at the same time; raises unless they are the same."""
    data = os.urandom(size)
    with lab.connect(port, address, timeout=60) as s:
        sender = send_in_background(s, data)
        back = read_all(s)
        sender.join()
    if back != data:
        same = next((i for i, (a, b) in enumerate(zip(back, data)) if a != b),
                    min(len(back), len(data)))
        raise AssertionError(f"echo of {size}: {len(back)} came back, same up to {same}")


def _destroy_all():
    for lab in list(_live):
        lab.destroy()


def _on_signal(number, _frame):
    _destroy_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def clean_up_on_exit():
    """Removes daemons and namespaces however the program ends. SIGKILL is beyond help."""
    atexit.register(_destroy_all)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
