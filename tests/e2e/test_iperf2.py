"""iperf2's clients against the iperf2 service, and peers that are no iperf."""

import contextlib
import os
import re
import socket
import struct
import subprocess
import time
import unittest

import harness
from harness import ENGINE, ENGINE6, HOST

PORT = 5001
REPORT = 128  # octets of the server's report
FLOWS = 64
SERVICES = [
    {"kind": "iperf2", "port": PORT, "max_flows": FLOWS, "max_senders": 4, "max_duration_s": 3},
    {"kind": "iperf2", "port": PORT + 1, "udp_reverse": True},
]
HAS_LENGTH, VERSION2, VERSION1, EXTEND = 0x00010000, 0x04000000, 0x80000000, 0x40000000
REVERSE, FULL_DUPLEX = 0x0400, 0x0800


def test_head(flags=0, upper=0, amount=-100, back_port=0):
    """The 60 octets with which a test begins."""
    return struct.pack(">IIIIIiIIHH", flags | EXTEND | HAS_LENGTH | 60 << 1, 1, back_port, 0, 0,
                       amount, 0, 0, upper, 0) + bytes(24)


def datagram(number, size=1470, head=b""):
    octets = struct.pack(">IIII", number & 0xffffffff, int(time.time()), 0, 0) + head
    return octets.ljust(size, b"\0")


class Report:
    """What the server tells at the end of a UDP test."""

    def __init__(self, octets):
        words = struct.unpack(">32I", octets)
        self.octets = words[5] << 32 | words[6]
        self.lost, self.out_of_order, self.datagrams = words[9:12]
        self.jitter_s = words[12] + words[13] / 1e6


class Clients:
    """What holds in every mode."""

    services = SERVICES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = harness.sh("iperf", "-v", check=False).strip()

    def iperf(self, words, address=ENGINE, port=PORT):
        """Runs a client; returns its lines of CSV as [(id, octets, rest)], and all of it as text."""
        command = ["iperf", "-c", address, "-p", port, "-y", "C", *words.split()]
        if ":" in address:
            command.insert(1, "-V")
        out = self.lab.run(*command, timeout=60 * harness.SLOWNESS)
        self.last = f"{self.client}: iperf {words}\n{out}"
        self.assertNotRegex(out, "(?i)error|warning|did not receive", self.last)
        lines = [line.split(",") for line in out.splitlines() if line.count(",") >= 8]
        return [(line[5], int(line[7]), line[9:]) for line in lines]

    def iperf_text(self, words, address=ENGINE, port=PORT):
        """Runs a client; returns what it prints for people."""
        command = ["iperf", "-c", address, "-p", port, *words.split()]
        if ":" in address:
            command.insert(1, "-V")
        out = self.lab.run(*command, timeout=60 * harness.SLOWNESS)
        self.last = f"{self.client}: iperf {words}\n{out}"
        self.assertNotRegex(out, "(?i)error|warning|did not receive", self.last)
        return out

    def assert_lost_on_the_way(self, lost):
        """Nothing is, unless the machine is busy; and then the host's side says so."""
        if lost:
            self.assertLessEqual(lost, self.lab.kernel_losses(), self.last)

    def counted(self, name, since):
        return self.lab.totals()[name] - since[name]

    @contextlib.contextmanager
    def daemon_counts(self, name, octets):
        """The daemon's counter rises by `octets()` of payload and a bit of headers."""
        before = self.lab.totals()
        yield
        self.lab.wait_closed()
        counted = self.counted(name, before)
        self.assertGreaterEqual(counted, octets(), self.last)
        self.assertLess(counted, octets() * 1.2 + 100_000, self.last)

    def test_tcp(self):
        for address in (ENGINE, ENGINE6):
            with self.subTest(address=address):
                sent = []
                with self.daemon_counts("rx_bytes", lambda: sum(sent)):
                    sent += [octets for _, octets, _ in self.iperf("-t 1", address)]
                self.assertEqual(len(sent), 1, self.last)
                self.assertGreater(sent[0], 1_000_000, self.last)

    def test_tcp_reverse(self):
        received = []
        with self.daemon_counts("tx_bytes", lambda: sum(received)):
            received += [octets for _, octets, _ in self.iperf("-t 1 -R")]
        self.assertEqual(len(received), 1, self.last)
        self.assertGreater(received[0], 1_000_000, self.last)

    def test_tcp_reverse_of_so_many_octets(self):
        for size in (1, 100_000, 30_000_000):
            [(_, octets, _)] = self.iperf(f"-n {size} -R")
            self.assertEqual(octets, size, self.last)

    def test_tcp_reverse_at_a_rate(self):
        [(_, octets, _)] = self.iperf("-t 1 -R -b 40M")
        self.assertLess(octets, 7_000_000, self.last)
        self.assertGreater(octets, 1_000_000, self.last)

    def test_full_duplex(self):
        lines = self.iperf("-t 1 --full-duplex")
        self.assertGreaterEqual(len(lines), 2, self.last)
        for _, octets, _ in lines:
            self.assertGreater(octets, 100_000, self.last)

    def test_parallel(self):
        sent = []
        with self.daemon_counts("rx_bytes", lambda: sum(sent)):
            lines = self.iperf("-n 2M -P 8")
            sent += [octets for number, octets, _ in lines if number != "-1"]
        self.assertEqual(len(sent), 8, self.last)
        for octets in sent:
            self.assertEqual(octets, 2 << 20, self.last)

    def test_dual_and_tradeoff(self):
        """The engine opens a connection to the client."""
        for words in ("-t 1 -d", "-t 1 -r"):
            before = self.lab.totals()
            out = self.iperf_text(f"{words} -f k")
            text = self.last
            rates = [int(n) for n in re.findall(r"(\d+) Kbits/sec", out)]
            self.assertEqual(len(rates), 2, text)
            self.assertGreater(min(rates), 1000, text)
            self.lab.wait_closed()
            self.assertEqual(self.counted("connections_opened", before), 2, text)

    def test_peer_detection(self):
        """-X waits for an answer; with --trip-times for a longer one, with clocks in it."""
        self.assertGreater(self.iperf("-t 1 -X")[0][1], 1_000_000, self.last)
        out = self.iperf_text("-t 1 -X --trip-times")
        self.assertRegex(out, r"Clock sync check .*RTT/Half", self.last)

    def test_bounceback(self):
        for size in (100, 50_000):
            out = self.iperf_text(f"--bounceback -l {size} -t 1")
            found = re.search(r"(\d+)=([\d.]+)/[\d.]+/[\d.]+/[\d.]+ ms .* (\d+) rps", out)
            self.assertIsNotNone(found, self.last)
            self.assertGreaterEqual(int(found.group(1)), 9, out)
            self.assertLess(float(found.group(2)), 1000, out)

    def received(self, out, behind=""):
        """What the lines of a UDP receiver behind `behind` say: [(octets, jitter, lost, total)].
        Octets have three digits."""
        line = r"([\d.]+) (K|M)Bytes +[\d.]+ \S+ +([\d.]+) ms +(\d+)/ *(\d+) \("
        return [(float(octets) * {"K": 1 << 10, "M": 1 << 20}[unit], float(jitter), int(lost),
                 int(total))
                for octets, unit, jitter, lost, total in
                re.findall(line, out[out.index(behind):])]

    def test_udp(self):
        for address in (ENGINE, ENGINE6):
            with self.subTest(address=address):
                before = self.lab.totals()
                out = self.iperf_text("-u -t 1 -b 5M", address)
                [(octets, jitter_ms, lost, total)] = self.received(out, "Server Report:")
                self.assert_lost_on_the_way(lost)
                self.assertGreater(total, 400, self.last)
                self.assertAlmostEqual(octets / (total - lost), 1450 if ":" in address else 1470,
                                       delta=15, msg=self.last)
                self.assertLess(jitter_ms, 1000, self.last)
                self.assertEqual(self.counted("datagrams_received", before), total - lost, self.last)
                sent = int(re.search(r"Sent (\d+) datagrams", out).group(1))
                self.assertEqual(sent, total + 1, self.last)  # it counts one that it does not send

    def test_udp_of_small_datagrams(self):
        """The report is longer than each of them."""
        out = self.iperf_text("-u -t 1 -b 500K -l 40")
        [(octets, _, lost, total)] = self.received(out, "Server Report:")
        self.assert_lost_on_the_way(lost)
        self.assertGreater(total, 500, self.last)
        self.assertAlmostEqual(octets / (total - lost), 40, delta=1, msg=self.last)

    def test_udp_of_datagrams_longer_than_a_packet(self):
        out = self.iperf_text("-u -t 1 -b 20M -l 8K")
        [(octets, _, lost, total)] = self.received(out, "Server Report:")
        self.assert_lost_on_the_way(lost)
        self.assertGreater(total, 200, self.last)
        self.assertAlmostEqual(octets / (total - lost), 8192, delta=90, msg=self.last)
        for words in ("-u -t 1 -b 20M -l 8K -R", "-u -t 1 -b 20M -l 8K --full-duplex"):
            for octets, _, lost, total in self.received(self.iperf_text(words, port=PORT + 1)):
                self.assert_lost_on_the_way(lost)
                self.assertAlmostEqual(octets / (total - lost), 8192, delta=90, msg=self.last)

    def test_udp_parallel(self):
        out = self.iperf_text("-u -t 1 -b 1M -P 4")
        reports = self.received(out)
        self.assertEqual(out.count("Server Report:"), 4, self.last)
        self.assertEqual(len(reports), 4, self.last)
        for _, _, lost, total in reports:
            self.assert_lost_on_the_way(lost)
            self.assertGreater(total, 50, self.last)

    def test_udp_reverse(self):
        # So few, that a first one with a wrong clock would still be in the mean.
        for words, least in (("-u -t 1 -R", 50), ("-u -t 1 -b 5M -R", 300),
                             ("-u -t 1 -b 5M --full-duplex", 300)):
            with self.subTest(words=words):
                out = self.iperf_text(words, port=PORT + 1)
                _, jitter_ms, lost, total = self.received(out)[0]
                self.assert_lost_on_the_way(lost)
                self.assertGreater(total, least, self.last)
                self.assertLess(jitter_ms, 1000, self.last)

    def test_trip_times_of_what_the_engine_sends(self):
        for words in ("-t 1 -R", "-t 1 -R -l 10000", "-n 1M -R", "-t 1 -R -X", "-t 1 --full-duplex"):
            with self.subTest(words=words):
                out = self.iperf_text(f"{words} --trip-times")
                self.assertNotIn("WARN", out, self.last)
                found = re.search(r"\[ \*1\].* ([\d.]+)/([\d.]+)/([\d.]+)/[\d.]+ ms \((\d+)/", out)
                self.assertIsNotNone(found, self.last)
                average, low, high, bursts = map(float, found.groups())
                self.assertTrue(0 <= low <= average <= high < 20_000, self.last)
                self.assertGreater(bursts, 0, self.last)
        out = self.iperf_text("-u -t 1 -R --trip-times", port=PORT + 1)
        self.assertNotIn("WARN", out, self.last)
        found = re.search(r"\[ \*1\] 0.0000-([\d.]+) sec .* ([\d.]+)/[\d.]+/[\d.]+/[\d.]+ ms", out)
        self.assertIsNotNone(found, self.last)
        self.assertLess(float(found[1]), 100, self.last)
        self.assertLess(float(found[2]), 20_000, self.last)

    def test_a_pace_is_kept(self):
        [(_, octets, _)] = self.iperf("-t 1 -R --fq-rate 5M")
        self.assertGreater(octets, 1_000_000, self.last)
        self.assertLess(octets, 7_000_000, self.last)

    def test_type_of_service_of_what_the_engine_sends(self):
        for words, port in (("-t 1 -b 5M -R", PORT), ("-t 1 -b 5M -r -L 5099", PORT),
                            ("--bounceback -t 1", PORT), ("-u -t 1 -b 1M -R", PORT + 1)):
            with self.subTest(words=words):
                capture = self.lab.start("tcpdump", "-ni", "pollux0", "-c", 5, "-v", "src", ENGINE,
                                         "and", "greater", 100, "and", "ip[1] = 0x20",
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                capture.stderr.readline()  # it listens
                self.iperf_text(f"{words} -S 0x20", port=port)
                out, _ = capture.communicate(timeout=20)
                self.assertIn("tos 0x20", out, self.last)

    # -- peers that are no iperf

    def udp(self, port=PORT, address=ENGINE):
        s = self.lab.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                            socket.SOCK_DGRAM)
        s.settimeout(5 * harness.SLOWNESS)
        s.connect((address, port))
        return s

    def test_report_counts_loss_and_order(self):
        with self.udp() as s:
            for number in (1, 2, 5, 4, 6, 10):
                s.send(datagram(number))
            for _ in range(3):  # asked again, told again
                s.send(datagram(-11))
                report = Report(s.recv(2000))
                self.assertEqual((report.datagrams, report.lost, report.out_of_order), (11, 4, 1))
                self.assertEqual(report.octets, 7 * 1470)

    def test_udp_reverse_is_refused_by_custom(self):
        for upper in (REVERSE, FULL_DUPLEX):
            with self.udp() as s:
                s.send(datagram(1, head=test_head(VERSION2, upper)))
                s.settimeout(0.3)
                self.assertRaises(TimeoutError, s.recv, 2000)

    def test_udp_sender_stops_when_nobody_is_there(self):
        s = self.udp(PORT + 1)
        s.send(datagram(1, head=test_head(VERSION2, REVERSE, amount=-6000)))
        s.recv(2000)
        s.close()

        def silent():
            before = self.lab.totals()["datagrams_sent"]
            time.sleep(0.1)
            return self.lab.totals()["datagrams_sent"] == before

        harness.wait_until(silent, what="the end of the stream")

    def test_an_answer_is_never_longer_than_what_came(self):
        withheld = lambda: self.lab.totals()["drops"]["udp_reflection"]  # noqa: E731
        before = withheld()
        with self.udp() as s:
            for _ in range(REPORT // 16 - 1):
                s.send(datagram(-1, size=16))
            harness.wait_until(lambda: withheld() - before == REPORT // 16 - 1,
                               what="withheld reports")
            s.send(datagram(-1, size=16))
            self.assertEqual(len(s.recv(2000)), REPORT)

    def test_nonsense_in_datagrams_is_a_counted_drop(self):
        ignored = lambda: self.lab.totals()["drops"]["udp_ignored"]  # noqa: E731
        before = ignored()
        with self.udp() as s:
            for size in range(16):
                s.send(b"\xff" * size)
            harness.wait_until(lambda: ignored() - before == 16, what="the drops")
            for _ in range(200):
                s.send(os.urandom(16 + os.urandom(1)[0]))

    def test_thousands_of_flows_are_not_all_remembered(self):
        """The one that has been silent for longest makes room."""
        with self.udp() as old, self.udp() as busy:
            for s in (old, busy):
                s.send(datagram(1))
            for round in range(10):
                with contextlib.ExitStack() as sockets:
                    for _ in range(300):
                        sockets.enter_context(self.udp()).send(datagram(1))
                        busy.send(datagram(2 + round))
            for s, octets in ((old, 1470), (busy, 3002 * 1470)):
                s.send(datagram(-12))
                self.assertEqual(Report(s.recv(2000)).octets, octets)

    def test_the_number_of_senders_is_bounded(self):
        """Four for each worker; the next one is reset, and a place comes back."""
        workers = self.settings["engine.workers"]
        head = test_head(VERSION2, REVERSE, amount=-10_000)
        with contextlib.ExitStack() as sockets:
            refused = 0
            for _ in range(4 * workers + 16):
                s = sockets.enter_context(self.lab.connect(PORT))
                s.sendall(head)
                try:
                    self.assertTrue(s.recv(1))
                except ConnectionResetError:
                    refused += 1
            self.assertGreaterEqual(refused, 16)
        self.lab.wait_closed()
        self.assertEqual(self.iperf("-n 1000 -R")[0][1], 1000, self.last)

    def test_a_sender_has_its_longest_time(self):
        """Three seconds here, whatever the client says."""
        with self.lab.connect(PORT, timeout=60) as s:
            s.sendall(test_head(VERSION2, REVERSE, amount=-2**31))
            begin = time.monotonic()
            harness.read_all(s)
            self.assertGreater(time.monotonic() - begin, 2)

    def test_connects_back_to_no_port_of_services(self):
        listener = self.lab.inside(lambda: socket.create_server((HOST, 1023)))
        with listener, self.lab.connect(PORT) as s:
            s.sendall(test_head(VERSION1 | 1, back_port=1023))
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(harness.read_all(s), b"")
            listener.settimeout(0.3)
            self.assertRaises(TimeoutError, listener.accept)

    def test_who_names_closed_ports_keeps_nobody_from_a_test(self):
        with contextlib.ExitStack() as sockets:
            for port in range(60_000, 60_040):
                s = sockets.enter_context(self.lab.connect(PORT))
                s.sendall(test_head(VERSION1 | 1, back_port=port))
            self.assertEqual(self.iperf("-n 1000 -R")[0][1], 1000, self.last)

    def test_random_octets_are_a_sink_or_an_end(self):
        for _ in range(100):
            with self.lab.connect(PORT) as s:
                with contextlib.suppress(OSError):
                    s.sendall(os.urandom(200))
                    s.shutdown(socket.SHUT_WR)
                    s.settimeout(0.05)
                    while s.recv(1 << 16):
                        pass
        self.lab.wait_closed(30)


class InlineOffload(Clients, harness.LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}


class DedicatedOffload(Clients, harness.LabCase):
    settings = {"engine.workers": 1, "engine.rx": "dedicated"}


class DedicatedPlain(Clients, harness.LabCase):
    settings = {"engine.workers": 4, "engine.rx": "dedicated", "tun.offload": False}


if __name__ == "__main__":
    unittest.main()
