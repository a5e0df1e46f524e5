"""Floods, from addresses that do not exist and over connections that do, and a client that must not notice."""

import os
import random
import resource
import socket
import struct
import threading
import time
import unittest

import wire
from harness import CHARGEN, DISCARD, ECHO, ENGINE, Lab, SLOWNESS, echo_exact, wait_until

SYNS = 1_000_000 if os.environ.get("POLLUX_LONG") == "1" else 300_000
PER_SECOND = 100_000
HOLDERS = 10_000 if os.environ.get("POLLUX_LONG") == "1" else 1000
COMBS = 8


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~((total & 0xffff) + (total >> 16)) & 0xffff


class Flood:
    """Sends segments of one kind to the echo port from random sources, at a bounded rate."""

    def __init__(self, lab, count, flags):
        self.count = count
        self.flags = flags
        self.sent = 0
        self.random = random.Random(1)
        self.socket = lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        # What the packets have in common is summed up once.
        self.ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0x4000, 64,
                                        socket.IPPROTO_TCP, 0, bytes(4), socket.inet_aton(ENGINE)))
        tcp = struct.pack("!HHIIBBHHH", 0, ECHO, 0, 0, 0x50, flags, 65535, 0, 0)
        self.tcp = bytearray(tcp)
        pseudo = bytes(4) + socket.inet_aton(ENGINE) + struct.pack("!BBH", 0, 6, 20)
        self.sum = 0xffff - checksum(pseudo + tcp)
        self.packet = self.ip + self.tcp
        self.thread = threading.Thread(target=self.run, daemon=True)

    def one(self):
        r = self.random.getrandbits(96)
        words = (r & 0xffff, r >> 16 & 0xffff, r >> 32 & 0xffff, r >> 48 & 0xffff)
        # 10.x.y.z, a source port, a sequence number: no address that this machine has.
        high = 0x0a00 | words[0] & 0xff
        port = words[1] | 1
        total = self.sum + high + words[2] + port + words[3]
        total = (total & 0xffff) + (total >> 16)
        total = ~((total & 0xffff) + (total >> 16)) & 0xffff
        struct.pack_into("!HH", self.packet, 12, high, words[2])
        struct.pack_into("!HHI", self.packet, 20, port, ECHO, words[3])
        struct.pack_into("!H", self.packet, 36, total)
        return self.packet

    def run(self):
        start = time.monotonic()
        while self.sent < self.count:
            for _ in range(100):
                try:
                    self.socket.sendto(self.one(), (ENGINE, 0))
                except OSError:
                    pass  # the queue of the interface is full: that is a flood
                self.sent += 1
            ahead = self.sent / PER_SECOND - (time.monotonic() - start)
            if ahead > 0.002:
                time.sleep(ahead)


def talk(lab, text):
    with lab.connect(ECHO, timeout=10) as s:
        s.sendall(text)
        back = b""
        while len(back) < len(text):
            piece = s.recv(4096)
            if not piece:
                break
            back += piece
    return back == text


class Floods(unittest.TestCase):
    def flood(self, lab, flags, count):
        """A flood, and a client beside it: how often it was served."""
        flood = Flood(lab, count, flags)
        flood.thread.start()
        served = 0
        while flood.thread.is_alive():
            self.assertTrue(talk(lab, os.urandom(500)), f"after {served} connections")
            served += 1
        flood.thread.join()
        self.assertGreater(served, 0)
        return served

    def test_syn_flood(self):
        with Lab() as lab:
            self.assertTrue(talk(lab, b"before"))
            before = lab.rss_kib()
            served = self.flood(lab, 0x02, SYNS)
            totals = lab.totals()
            self.assertGreater(totals["syn_cookies_sent"], 0)
            self.assertGreater(totals["syn_cookies_validated"], 0)
            self.assertLessEqual(lab.rss_kib() - before, 16 * 1024)
            self.assertLess(totals["memory_bytes"], 2 << 20)
            states = [c["state"] for c in lab.show("connections")]
            self.assertIn("SYN-RECEIVED", states)
            self.assertLessEqual(states.count("SYN-RECEIVED"), 4096 * len(lab.show("workers")))
            self.assertTrue(talk(lab, b"after"), f"after {served} connections in the flood")

    def test_ack_flood_while_cookies_are_out(self):
        with Lab({"tcp.syn_cookies": "always"}) as lab:
            self.assertTrue(talk(lab, b"before"))
            before = lab.totals()
            self.assertEqual(before["syn_cookies_sent"], before["syn_cookies_validated"])
            served = self.flood(lab, 0x10, SYNS // 6)
            after = lab.totals()
            self.assertGreater(after["drops"]["tcp_no_listener"], SYNS // 100)
            self.assertEqual(after["syn_cookies_validated"] - before["syn_cookies_validated"],
                             served)
            self.assertEqual(after["connections_opened"] - before["connections_opened"], served)

    def test_time_wait_is_listed_and_ends(self):
        """chargen aborts nothing and http closes first: TIME-WAIT is ours."""
        with Lab() as lab:
            with lab.connect(80) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                while s.recv(65536):
                    pass
            states = wait_until(lambda: [c["state"] for c in lab.show("connections")], 1)
            self.assertEqual(states, ["TIME-WAIT"])
            wait_until(lambda: lab.show("connections") == [], 10, "the end of TIME-WAIT")
            self.assertEqual(lab.totals()["memory_bytes"], 0)

    def open_by_hand(self, injector, seen, port):
        """A connection of the injector's from `port`; returns (our next, its next) sequence number."""
        injector.send(port, DISCARD, 1000, 0, wire.SYN, options=b"\2\4\5\xb4\1\1\4\2")
        answer = seen.await_received(lambda g: g.dport == port and g.has(wire.SYN | wire.ACK))
        injector.send(port, DISCARD, 1001, answer.seq + 1, wire.ACK)
        return 1001, answer.seq + 1

    def test_combs_of_single_octets(self):
        """Every second octet of a window on many connections: little memory, and it comes back."""
        with Lab() as lab, wire.Injector(lab) as injector:
            wire.drop_kernel_resets(lab)
            echo_exact(lab, 4 << 20)
            lab.wait_closed()
            rss = lab.rss_kib()
            with wire.Wire(lab) as seen:
                lines = {20_000 + i: self.open_by_hand(injector, seen, 20_000 + i)
                         for i in range(COMBS)}
            innocent = threading.Thread(target=self.innocent, args=(lab,))
            innocent.start()
            for i in range(5000):
                for port, (seq, ack) in lines.items():
                    injector.send(port, DISCARD, seq + 1 + 2 * i, ack, wire.ACK, b"x")
            innocent.join()
            self.assertEqual([], self.broken)
            wait_until(lambda: lab.totals()["connections_open"] == COMBS, what="the innocent's end")
            totals = lab.totals()
            self.assertGreater(totals["out_of_order_segments"], COMBS * 500)
            self.assertGreater(totals["drops"]["tcp_ooo_limit"], 0)
            # 4096 pieces a connection, of some 40 octets each; single slots would take 8 MiB.
            self.assertLess(totals["memory_bytes"], COMBS * 256 * 1024, totals)
            for port, (seq, _) in lines.items():
                injector.send(port, DISCARD, seq, 0, wire.RST)
            lab.wait_closed()
            wait_until(lambda: lab.totals()["memory_bytes"] < 1024, what="memory given back")
            if SLOWNESS == 1:
                self.assertLess(lab.rss_kib() - rss, 16 * 1024)

    def innocent(self, lab):
        self.broken = []
        try:
            for _ in range(5):
                echo_exact(lab, 4 << 20)
        except (AssertionError, OSError) as error:
            self.broken.append(error)

    def test_zero_window_holders(self):
        """They ask for chargen and never read; an echo beside them is served to the last octet."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, HOLDERS + 1000)), hard))
        with Lab() as lab:
            echo_exact(lab, 4 << 20)
            lab.wait_closed()
            rss = lab.rss_kib()

            def hold():
                sockets = []
                for _ in range(HOLDERS):
                    s = socket.socket()
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    s.settimeout(20 * SLOWNESS)
                    s.connect((ENGINE, CHARGEN))
                    sockets.append(s)
                return sockets

            holders = lab.inside(hold)
            try:
                self.innocent(lab)
                self.assertEqual([], self.broken)
                wait_until(lambda: lab.totals()["connections_open"] == HOLDERS,
                           what="the innocent's end")
                totals = lab.totals()
                self.assertLess(totals["memory_bytes"], HOLDERS * 16 * 1024, totals)
                if SLOWNESS == 1:
                    self.assertLess(lab.rss_kib() - rss, HOLDERS * 24)
            finally:
                for s in holders:
                    s.close()
            lab.wait_closed(60)
            self.assertTrue(talk(lab, b"after"))
            lab.wait_closed()
            wait_until(lambda: lab.totals()["memory_bytes"] < 1024, what="memory given back")


if __name__ == "__main__":
    unittest.main()
