"""Scripted loss and reordering between the daemon and the kernel, each of them as the sender.

Content is compared octet by octet every time. Times never fail a test by themselves: that a loss
was made good sooner than any retransmission timeout could is shown by one run of a few.
"""

import os
import socket
import time
import unittest

from harness import ECHO, ENGINE, HTTP, SERVICES, Lab, read_all, send_in_background, wait_until
from path import AB, BA, Path, set_sysctls, use_congestion_control

SIZE = 600_000
RTT = ("--delay", "5ms")
RTO_MIN_US = 200_000  # of the daemon and of the kernel: a resend before that was no timeout
ATTEMPTS = 4
TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK = 1, 2


def head_of(response):
    return response.index(b"\r\n\r\n") + 4


class Recovery(unittest.TestCase):
    """The daemon, the path, and content to carry."""

    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(cls.settings, start=False)
        cls.path = None
        try:
            root = cls.lab.dir / "root"
            root.mkdir()
            cls.content = os.urandom(SIZE)
            (root / "content").write_bytes(cls.content)
            cls.lab.configure([{**s, "root": str(root)} if s["kind"] == "http" else s
                               for s in SERVICES])
            cls.lab.start_daemon()
            cls.path = Path(cls.lab)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        if cls.path is not None:
            cls.path.destroy()
        if cls.lab.process is not None and cls.path is not None:
            cls.lab.close()
        else:
            cls.lab.destroy()

    def connect(self, port):
        sock = self.path.far.socket()
        use_congestion_control(sock)
        sock.settimeout(30)
        sock.connect((ENGINE, port))
        self.agreed = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5]  # tcpi_options
        return sock

    def same(self, want, got):
        if want != got:
            at = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b),
                      min(len(want), len(got)))
            self.fail(f"{len(got)} octets of {len(want)}, the same up to {at}")

    def with_sysctls(self, **values):
        """Settings of the kernel at the far end, for this test."""
        for key, value in values.items():
            name = f"net.ipv4.{key}"
            before = self.path.far.run("sysctl", "-n", name).strip()
            self.addCleanup(set_sysctls, self.path.far, {name: before})
            set_sysctls(self.path.far, {name: value})


class Scenarios:
    """What holds for either sender. `way` is the direction of the data, `back` of its ACKs."""

    way: str
    back: str

    def carry(self, *rules, options=RTT):
        """One transfer under these rules, octet-exact; what the hop saw of the data."""
        words = list(options)
        for rule in rules:
            words += ["--rule", rule]
        with self.path.hop(*words) as hop:
            self.transfer()
            self.lab.wait_closed()
            counters = hop.stop()
        self.stripped = counters[AB]["stripped"] + counters[BA]["stripped"]
        return counters[self.way]

    def carry_without_timeout(self, *rules, options=RTT, lost=None):
        """One of a few runs makes every loss good before any timeout could, with no more resent
        than was lost. A slow machine may spoil some, a sender that waits for its timeout all."""
        lost = len(rules) if lost is None else lost
        for _ in range(ATTEMPTS):
            wire = self.carry(*rules, options=options)
            self.assertEqual(lost, wire["dropped"]["script"], wire)
            self.assertGreaterEqual(wire["retransmitted_packets"], lost, wire)
            if wire["resend_lag_us_max"] < RTO_MIN_US and wire["retransmitted_packets"] == lost:
                return wire
        self.fail(f"late, or more resent than lost, in {ATTEMPTS} runs; the last: {wire}")

    def test_nothing_lost_nothing_resent(self):
        self.carry_without_timeout()

    def test_a_single_loss(self):
        self.carry_without_timeout(f"{self.way} drop packet 60")

    def test_two_holes_in_one_window(self):
        self.carry_without_timeout(f"{self.way} drop packet 60", f"{self.way} drop packet 64")

    def test_three_packets_in_a_row(self):
        self.carry_without_timeout(f"{self.way} drop packet 60..62", lost=3)

    def test_two_holes_without_sack(self):
        """Partial ACKs (RFC 6582); both SYNs lose their SACK-permitted on the way."""
        wire = self.carry(f"{self.way} drop packet 60", f"{self.way} drop packet 64",
                          "both strip sack-permitted")
        self.assertGreater(self.stripped, 0)
        self.assertEqual(2, wire["dropped"]["script"])
        self.assertGreaterEqual(wire["retransmitted_packets"], 2)
        self.assertEqual(0, self.agreed & TCPI_OPT_SACK)

    def test_a_single_loss_without_sack_at_the_far_end(self):
        self.with_sysctls(tcp_sack=0)
        wire = self.carry(f"{self.way} drop packet 60")
        self.assertEqual(1, wire["dropped"]["script"])
        self.assertEqual(0, self.agreed & TCPI_OPT_SACK)

    def test_a_single_loss_without_timestamps_at_the_far_end(self):
        self.with_sysctls(tcp_timestamps=0)
        self.carry_without_timeout(f"{self.way} drop packet 60")
        self.assertEqual(0, self.agreed & TCPI_OPT_TIMESTAMPS)

    def test_a_single_loss_with_timestamps_stripped(self):
        self.carry_without_timeout(f"{self.way} drop packet 60", "both strip timestamps", lost=1)
        self.assertEqual(0, self.agreed & TCPI_OPT_TIMESTAMPS)

    def test_the_retransmission_is_lost_too(self):
        wire = self.carry(f"{self.way} drop packet 60 nth 1..2")
        self.assertEqual(2, wire["dropped"]["script"])
        self.assertGreaterEqual(wire["retransmitted_packets"], 2)

    def test_the_same_packet_is_lost_four_times(self):
        wire = self.carry(f"{self.way} drop packet 60 nth 1..4")
        self.assertEqual(4, wire["dropped"]["script"])

    def test_the_last_packet_is_lost(self):
        end = self.stream_octets()
        wire = self.carry(f"{self.way} drop seq {end - 1}..{end}")
        self.assertEqual(1, wire["dropped"]["script"])
        self.assertGreaterEqual(wire["retransmitted_packets"], 1)

    def test_the_whole_tail_is_lost(self):
        end = self.stream_octets()
        wire = self.carry(f"{self.way} drop seq {end - 12_000}..{end}")
        self.assertGreaterEqual(wire["dropped"]["script"], 8)

    def test_the_first_packet_is_lost(self):
        wire = self.carry(f"{self.way} drop packet 1")
        self.assertEqual(1, wire["dropped"]["script"])

    def test_syn_and_fin_are_lost(self):
        wire = self.carry("both drop syn", "both drop fin")
        self.assertEqual(2, wire["dropped"]["script"])

    def test_lost_acks_cost_nothing(self):
        rules = [f"{self.back} drop ack {n}" for n in (16, 18, 20, 22)]
        self.carry_without_timeout(*rules, lost=0)

    def test_duplicates_cost_nothing(self):
        self.carry_without_timeout(f"{self.way} duplicate packet 60..70",
                                   f"{self.back} duplicate ack 20..30", lost=0)

    def test_overtaken_by_two_packets(self):
        """Two duplicate ACKs are reordering, not loss (RFC 5681 3.2). At 20 Mbit/s a packet
        takes 0.6 ms: 1.5 ms later, at most two are in front of it."""
        wire = self.carry_without_timeout(f"{self.way} delay 1.5ms packet 60", lost=0,
                                          options=("--delay", "5ms", "--rate", "20M"))
        self.assertEqual(1, wire["reordered"])

    def check_reordering_again_and_again(self):
        """The first time may look like a loss; by the last a sender knows that this path reorders
        (RFC 8985 6.2: the reordering window is a quarter of the RTT then)."""
        rules = [f"{self.way} delay 3ms packet {n}" for n in range(60, 360, 50)]
        options = ("--delay", "20ms", "--rate", "20M")
        for _ in range(ATTEMPTS):
            wire = self.carry(*rules, options=options)
            if wire["retransmitted_packets"] <= 2:
                return
        self.fail(f"resent in each of {ATTEMPTS} runs; the last: {wire}")

    def test_loss_reordering_and_duplication_at_random(self):
        wire = self.carry(options=("--delay", "1ms", "--jitter", "500us", "--loss", "2",
                                   "--reorder", "2,3ms", "--duplicate", "2", "--burst", "0.5,30"))
        self.assertGreater(wire["dropped"]["loss"], 0)
        self.assertGreater(wire["reordered"], 0)


class DaemonSends(Recovery, Scenarios):
    way, back = AB, BA

    def fetch(self):
        with self.connect(HTTP) as sock:
            sock.sendall(b"GET /content HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return read_all(sock)

    def transfer(self):
        response = self.fetch()
        self.same(self.content, response[head_of(response):])

    def stream_octets(self):
        with self.path.hop():
            return len(self.fetch())


class KernelSends(Recovery, Scenarios):
    way, back = BA, AB

    def transfer(self):
        with self.connect(ECHO) as sock:
            sender = send_in_background(sock, self.content)
            echo = read_all(sock)
            sender.join()
        self.same(self.content, echo)

    def stream_octets(self):
        return SIZE

    def test_reordering_again_and_again(self):
        """The kernel can only know from the daemon's SACK and D-SACK (RFC 2883)."""
        self.check_reordering_again_and_again()


class ZeroWindow(Recovery):
    """A reader stops and reads again, while probes and updates of the window are lost at random."""

    settings = {"tcp.send_buffer": "256KiB", "tcp.receive_buffer": "256KiB"}
    options = ("--delay", "1ms", "--loss", "3", "--spare-handshake")

    def pass_through_echo(self, closed, what):
        """Sends and does not read until the connection says that a window is closed."""
        self.with_sysctls(tcp_rmem="4096 131072 131072", tcp_wmem="4096 131072 131072")
        content = self.content * 2
        with self.path.hop(*self.options), self.connect(ECHO) as sock:
            sender = send_in_background(sock, content)
            wait_until(lambda: any(closed(c) for c in self.lab.show("connections")), 20, what)
            time.sleep(0.5)  # some probes
            echo = read_all(sock)
            sender.join()
            self.lab.wait_closed()
        self.same(content, echo)

    def test_the_reader_of_what_the_daemon_sends(self):
        self.pass_through_echo(lambda c: c["send_window"] < c["mss"] and c["send_queue_bytes"],
                               "the kernel's window to close")

    def test_the_daemon_itself(self):
        self.pass_through_echo(lambda c: c["receive_window"] < c["mss"],
                               "the daemon's window to close")


if __name__ == "__main__":
    unittest.main()
