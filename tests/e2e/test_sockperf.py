"""sockperf's clients against the pingpong service, and peers that are no sockperf."""

import os
import re
import socket
import struct
import unittest

import harness
from harness import ENGINE, ENGINE6

PORT = 11111
SERVICES = [{"kind": "pingpong", "port": PORT}]
CLIENT, PONG, WARMUP = 1, 2, 4
MAX_MESSAGE = (1 << 20) - 1


def message(size, flags=CLIENT | PONG, sequence=1, length=None):
    """A message of `size` octets that says it has `length`."""
    head = struct.pack(">QHI", sequence, flags, size if length is None else length)
    return head + os.urandom(size - len(head))


def answer(sent):
    """What comes back: the same without the client's mark."""
    flags = struct.unpack(">H", sent[8:10])[0] & ~CLIENT
    return sent[:8] + struct.pack(">H", flags) + sent[10:]


def version():
    return harness.sh("sockperf", "--version").split("\n", 1)[0]


class PingPong:
    """What holds in every mode."""

    services = SERVICES
    # A run of the client takes three seconds, of which it measures one.
    ping_pongs = [([], 1400), (["--tcp"], 64)]
    transports = [["--tcp"]]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = version()

    def sockperf(self, mode, *words):
        out = self.lab.run("sockperf", mode, "-i", ENGINE, "-p", PORT, "-t", 1, *words,
                           timeout=60 * harness.SLOWNESS)
        return f"{self.client}: sockperf {mode} {' '.join(map(str, words))}\n{out}"

    def number(self, out, pattern):
        found = re.search(pattern, out)
        self.assertIsNotNone(found, f"no {pattern} in {out}")
        return float(found.group(1))

    def assert_nothing_lost(self, out):
        for what in ("dropped", "duplicated", "out-of-order"):
            self.assertEqual(self.number(out, rf"# {what} messages = (\d+)"), 0, out)
        self.assertNotIn("data integrity test failed", out.lower(), out)
        self.assertGreater(self.number(out, r"avg-latency=([\d.]+)"), 0, out)

    def test_ping_pong(self):
        for words, size in self.ping_pongs:
            with self.subTest(words=words, size=size):
                out = self.sockperf("ping-pong", "-m", size, "--data-integrity", *words)
                self.assert_nothing_lost(out)
                sent = self.number(out, r"SentMessages=(\d+); Rec")
                received = self.number(out, r"ReceivedMessages=(\d+)")
                self.assertGreater(sent, 10, out)
                self.assertLessEqual(sent - received, 1, out)  # the end cuts one off

    def test_under_load(self):
        for words in self.transports:
            with self.subTest(words=words):
                out = self.sockperf("under-load", "-m", 64, "--mps", 500, "--reply-every", 5, *words)
                self.assert_nothing_lost(out)
                sent = self.number(out, r"SentMessages=(\d+); Rec")
                received = self.number(out, r"ReceivedMessages=(\d+)")
                self.assertGreater(received, 10, out)
                self.assertLessEqual(abs(sent / 5 - received), 5, out)

    def test_throughput_gets_no_answers(self):
        before = self.lab.totals()["datagrams_sent"]
        for words in self.transports:
            with self.subTest(words=words):
                out = self.sockperf("throughput", "-m", 1400, *words)
                self.assertGreater(self.number(out, r"Message Rate is (\d+)"), 100, out)
        # The first message of a client is a greeting that asks for an answer.
        self.assertLess(self.lab.totals()["datagrams_sent"] - before, 100)

    def test_ipv6(self):
        """Debian's client has none."""
        data = message(1000)
        with self.lab.connect(PORT, ENGINE6) as s:
            s.sendall(data * 3)
            self.assertEqual(harness.read_all(s, 3000), answer(data) * 3)
        with self.udp(ENGINE6) as s:
            s.send(data)
            self.assertEqual(s.recv(2000), answer(data))

    def udp(self, address=ENGINE):
        s = self.lab.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                            socket.SOCK_DGRAM)
        s.settimeout(10 * harness.SLOWNESS)
        s.connect((address, PORT))
        return s

    def test_largest_message_in_any_pieces(self):
        """Longer than the window, and cut anywhere, the head too."""
        data = message(MAX_MESSAGE)
        with self.lab.connect(PORT, timeout=60) as s:
            for piece in (data[:5], data[5:13], data[13:20]):
                s.send(piece)
            sender = harness.send_in_background(s, data[20:] + message(14, WARMUP | CLIENT | PONG))
            self.assertEqual(harness.read_all(s), answer(data))
            sender.join()

    def test_only_what_asks_is_answered(self):
        last = message(20, sequence=9)
        with self.lab.connect(PORT) as s:
            for flags in (0, PONG, CLIENT, CLIENT | PONG | WARMUP):
                s.sendall(message(100, flags))
            s.sendall(last)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(harness.read_all(s), answer(last))

    def test_super_datagrams(self):
        """Those that ask for it are answered, those that do not leave no gap."""
        asks = [message(500, sequence=i) for i in range(10)]
        silent = message(500, CLIENT)
        with self.udp() as s:
            s.setsockopt(socket.SOL_UDP, 103, 500)  # UDP_SEGMENT
            s.send(b"".join(silent + m for m in asks))
            self.assertEqual([s.recv(2000) for _ in asks], [answer(m) for m in asks])

    # -- peers that are no sockperf

    def assert_aborted(self, *sent):
        with self.lab.connect(PORT) as s:
            for piece in sent:
                s.send(piece)
            self.assertRaises(ConnectionResetError, s.recv, 1)

    def test_nonsense_ends_the_connection(self):
        before = self.lab.totals()["resets_sent"]
        for length in (0, 13, MAX_MESSAGE + 1, 0xffffffff):
            self.assert_aborted(message(14, length=length))
        self.assert_aborted(message(14) + b"\xff" * 100)
        self.assertGreaterEqual(self.lab.totals()["resets_sent"] - before, 5)

    def test_nonsense_in_datagrams_is_a_counted_drop(self):
        ignored = lambda: self.lab.totals()["drops"]["udp_ignored"]  # noqa: E731
        before = ignored()
        wrong = [b"", b"x" * 13, message(100, length=99), message(100, length=101),
                 b"\xff" * 1400]
        with self.udp() as s:
            for datagram in wrong:
                s.send(datagram)
            harness.wait_until(lambda: ignored() - before == len(wrong), what="the drops")
            s.send(message(14))
            self.assertEqual(len(s.recv(100)), 14)

    def test_half_messages_and_clients_that_never_read_cost_little(self):
        before = self.lab.totals()["memory_bytes"]
        half = [self.lab.connect(PORT) for _ in range(200)]
        greedy = [self.lab.connect(PORT) for _ in range(4)]
        try:
            for s in half:
                s.send(message(1000, length=MAX_MESSAGE))
            messages = message(60000) * 10
            for s in greedy:
                s.setblocking(False)
                at = 0  # what send() took may end within a message
                try:
                    while True:
                        at = (at + s.send(messages[at:])) % len(messages)
                except BlockingIOError:
                    pass
            data = message(1000)
            with self.lab.connect(PORT) as s:  # and disturb nobody
                s.sendall(data)
                self.assertEqual(harness.read_all(s, 1000), answer(data))
            used = self.lab.totals()["memory_bytes"] - before
            self.assertLess(used, 200 * 16384 + 4 * (16 << 20))
        finally:
            for s in half + greedy:
                s.close()
        self.lab.wait_closed()


class InlineOffload(PingPong, harness.LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}
    ping_pongs = [([], 14), ([], 1472), ([], 9000), (["--tcp"], 14), (["--tcp"], 1400), (["--tcp"], 60000)]
    transports = [[], ["--tcp"]]


class DedicatedOffload(PingPong, harness.LabCase):
    settings = {"engine.workers": 1, "engine.rx": "dedicated"}


class DedicatedPlain(PingPong, harness.LabCase):
    settings = {"engine.workers": 4, "engine.rx": "dedicated", "tun.offload": False}


if __name__ == "__main__":
    unittest.main()
