"""UDP through the engine: echo, discard and chargen, super-datagrams, refusals, ICMP errors."""

import os
import re
import socket
import struct
import time
import unittest

import harness
from harness import CHARGEN, DISCARD, ECHO, ENGINE, ENGINE6, HTTP

FORGER = "198.18.0.66"
UDP_SEGMENT, UDP_GRO = 103, 104  # linux/udp.h


def udp(lab, port, address=ENGINE, source_port=0):
    """A UDP socket in the lab, connected to the engine, so that ICMP errors reach it."""
    s = lab.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10 * harness.SLOWNESS)
    if source_port:
        s.bind(("", source_port))
    s.connect((address, port))
    return s


def fragment(number, offset, payload, more):
    """A piece of a UDP datagram to the engine, from an address of its own: its numbers are not to
    meet those of other tests. The kernel fills in the checksum."""
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number,
                       offset >> 3 | more << 13, 64, socket.IPPROTO_UDP, 0,
                       socket.inet_aton(FORGER), socket.inet_aton(ENGINE)) + payload


def is_echoed(s, data):
    """Asks again where the queue of the device was too full for it."""
    s.settimeout(1)
    for _ in range(10):
        s.send(data)
        try:
            return s.recv(65536) == data
        except TimeoutError:
            continue
    return False


class Datagrams:
    """What holds in every mode."""

    def test_echo_of_every_size(self):
        for address in (ENGINE, ENGINE6):
            largest = 1500 - 8 - (40 if ":" in address else 20)
            # Beyond that in fragments, both ways.
            sizes = (0, 1, 2, 17, 576, 1023, largest - 1, largest, largest + 1, 2 * largest, 9000,
                     65507)
            with udp(self.lab, ECHO, address) as s:
                for size in sizes:
                    data = os.urandom(size)
                    s.send(data)
                    self.assertEqual(s.recv(65536), data, f"{size} octets to {address}")

    def test_many_flows_reach_their_workers(self):
        flows = [udp(self.lab, ECHO) for _ in range(64)]
        try:
            for i, s in enumerate(flows):
                s.send(b"flow %d" % i)
            for i, s in enumerate(flows):
                self.assertEqual(s.recv(100), b"flow %d" % i)
        finally:
            for s in flows:
                s.close()

    def test_fragments_of_many_flows_reach_their_workers(self):
        """Pieces go by their addresses, the whole by its ports."""
        before = self.lab.totals()
        flows = [udp(self.lab, ECHO) for _ in range(32)]
        sent = [os.urandom(3000 + i) for i in range(len(flows))]
        try:
            for s, data in zip(flows, sent):
                s.send(data)
            for s, data in zip(flows, sent):
                self.assertEqual(s.recv(65536), data)
        finally:
            for s in flows:
                s.close()
        after = self.lab.totals()
        for packets in ("packets_reassembled", "packets_fragmented"):
            self.assertEqual(after[packets] - before[packets], len(flows), packets)

    def test_long_pings(self):
        for address in (ENGINE, ENGINE6):
            for size in (1473, 8000, 65507 if address == ENGINE else 65527):
                out = self.lab.run("ping", "-c", 2, "-i", 0.1, "-W", 5, "-s", size, address)
                self.assertIn("2 received", out)

    def test_a_flood_of_pieces_leaves_room_for_others(self):
        """Memory is bounded, and who floods throws out his own."""
        before = self.lab.totals()["drops"]["ip_incomplete"]

        def thrown_out():
            return self.lab.totals()["drops"]["ip_incomplete"] - before

        with self.lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw, \
                udp(self.lab, ECHO) as s:
            # How many of them come through depends on who has the CPUs: on and on, until it shows.
            deadline = time.monotonic() + 30 * harness.SLOWNESS
            rounds = 0
            while rounds < 20 or thrown_out() <= 1000:
                self.assertLess(time.monotonic(), deadline, f"{rounds} rounds, {thrown_out()}")
                for i in range(1000):
                    number = (1000 * rounds + i) & 0xffff
                    raw.sendto(fragment(number, 0, b"x" * 1000, more=True), (ENGINE, 0))
                self.assertTrue(is_echoed(s, os.urandom(5000)))
                rounds += 1
        self.assertLess(self.lab.totals()["memory_bytes"], 6 << 20)

    def test_pieces_that_overlap_are_nothing(self):
        before = self.lab.totals()
        with self.lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for n, (offset, size) in enumerate(((8, 16), (16, 64), (16, 8), (0, 96))):
                number = 0x8000 + n
                raw.sendto(fragment(number, 16, b"x" * 32, more=True), (ENGINE, 0))
                raw.sendto(fragment(number, offset, b"x" * size, more=True), (ENGINE, 0))
                raw.sendto(fragment(number, 0, b"x" * 16, more=True), (ENGINE, 0))
                raw.sendto(fragment(number, 48, b"x" * 16, more=False), (ENGINE, 0))
        harness.wait_until(
            lambda: self.lab.totals()["drops"]["ip_fragment"] - before["drops"]["ip_fragment"] == 16,
            what="all of them to be dropped")
        self.assertEqual(self.lab.totals()["packets_reassembled"], before["packets_reassembled"])

    def test_super_datagrams_come_back_whole(self):
        """A sender with UDP_SEGMENT hands over many datagrams at once."""
        for address in (ENGINE, ENGINE6):
            with udp(self.lab, ECHO, address) as s:
                s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
                data = os.urandom(20_500)
                s.send(data)
                pieces = [s.recv(65536) for _ in range(21)]
                self.assertEqual([len(p) for p in pieces], [1000] * 20 + [500])
                self.assertEqual(b"".join(pieces), data)

    def test_discard_counts_and_is_silent(self):
        before = self.lab.totals()["datagrams_received"]
        with udp(self.lab, DISCARD) as s:
            for _ in range(50):
                s.send(b"x" * 100)
            harness.wait_until(lambda: self.lab.totals()["datagrams_received"] - before == 50,
                               what="50 datagrams more")
            s.settimeout(0.2)
            self.assertRaises(TimeoutError, s.recv, 100)

    def test_chargen_never_answers_more_than_was_asked(self):
        with udp(self.lab, CHARGEN) as s:
            for size, answer in ((0, 0), (1, 1), (74, 74), (512, 512), (1400, 512)):
                s.send(b"x" * size)
                got = s.recv(65536)
                self.assertEqual(len(got), answer)
                self.assertTrue(all(c in b"\r\n" or 32 <= c < 127 for c in got), got)

    def test_ports_of_services_get_no_answer(self):
        """Two services that answer each other would do so for ever."""
        for source in (7, 19, 53, 1023):
            before = self.lab.totals()["drops"]["udp_reflection"]
            with udp(self.lab, ECHO, source_port=source) as s:
                s.send(b"hello")
                harness.wait_until(
                    lambda: self.lab.totals()["drops"]["udp_reflection"] == before + 1,
                    what="the withheld answer")
                s.settimeout(0.1)
                self.assertRaises(TimeoutError, s.recv, 100)

    def test_a_port_that_nobody_has_is_unreachable(self):
        before = self.lab.totals()["drops"]["udp_no_listener"]
        for address in (ENGINE, ENGINE6):
            for port in (9999, HTTP):  # http is for TCP only
                with udp(self.lab, port, address) as s:
                    s.send(b"anybody?" * 100)
                    self.assertRaises(ConnectionRefusedError, s.recv, 100)
        self.assertEqual(self.lab.totals()["drops"]["udp_no_listener"], before + 4)

    def test_tcp_services_are_still_there(self):
        harness.echo_exact(self.lab, 100_000)


class InlineOffload(Datagrams, harness.LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}

    def test_super_datagrams_are_one_packet_each_way(self):
        with udp(self.lab, ECHO) as s:
            s.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 1000)
            before = self.lab.totals()
            s.send(os.urandom(30_000))
            for _ in range(30):
                s.recv(65536)
            after = self.lab.totals()
        for packets in ("rx_packets", "tx_packets"):
            self.assertLess(after[packets] - before[packets], 5, packets)
        for datagrams in ("datagrams_received", "datagrams_sent"):
            self.assertEqual(after[datagrams] - before[datagrams], 30, datagrams)


class DedicatedOffload(Datagrams, harness.LabCase):
    settings = {"engine.workers": 2, "engine.rx": "dedicated"}


class InlinePlain(Datagrams, harness.LabCase):
    settings = {"engine.workers": 1, "engine.rx": "inline", "tun.offload": False}


class DedicatedPlain(Datagrams, harness.LabCase):
    settings = {"engine.workers": 4, "engine.rx": "dedicated", "tun.offload": False}


class BeyondTheHost(harness.LabCase):
    """A peer behind another link: the host sends on what the engine gave it."""

    settings = {"engine.workers": 2, "engine.rx": "inline"}
    here, there, here6, there6 = "198.19.1.1", "198.19.1.2", "2001:2:0:1::1", "2001:2:0:1::2"

    def setUp(self):
        self.far = harness.Netns()
        self.addCleanup(self.far.destroy)
        self.lab.run("ip", "link", "add", "far0", "type", "veth", "peer", "name", "near0", "netns",
                     self.far.name)
        self.addCleanup(self.lab.run, "ip", "link", "del", "far0", check=False)
        for side, device, mine, other in ((self.lab, "far0", (self.here, self.here6), None),
                                          (self.far, "near0", (self.there, self.there6),
                                           (self.here, self.here6))):
            side.run("ip", "link", "set", device, "up")
            for address in mine:
                length = "/64" if ":" in address else "/30"
                flags = ["nodad"] if ":" in address else []
                side.run("ip", "addr", "add", address + length, "dev", device, *flags)
            for gateway in other or ():
                side.run("ip", "route", "add", "default", "via", gateway)
        self.lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def reassembled(self):
        text = self.far.run("nstat", "-asz", "IpReasmOKs", "Ip6ReasmOKs")
        return [int(re.search(rf"^{name} +(\d+)", text, re.MULTILINE)[1])
                for name in ("IpReasmOKs", "Ip6ReasmOKs")]

    def test_long_datagrams_arrive_in_pieces_of_its_link(self):
        self.assertTrue(self.lab.show("queues")["datagram_fragmentation_offload"], self.lab.log())
        before = self.reassembled()
        sent_before = self.lab.totals()["tx_packets"]
        for address in (ENGINE, ENGINE6):
            with udp(self.far, ECHO, address) as s:
                for size in (1000, 1473, 9000, 65507):
                    data = os.urandom(size)
                    s.send(data)
                    self.assertEqual(s.recv(65536), data, f"{size} octets to {address}")
        # 1,473 octets and more are too long for IPv4, and for IPv6 anyway.
        self.assertEqual([b - a for a, b in zip(before, self.reassembled())], [3, 3])
        self.assertEqual(self.lab.totals()["tx_packets"] - sent_before, 8, "one for each datagram")


if __name__ == "__main__":
    unittest.main()
