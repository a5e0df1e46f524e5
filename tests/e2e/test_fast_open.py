"""TCP Fast Open (RFC 7413) with the kernel's TCP as the client."""

import os
import socket
import struct
import unittest

import wire
from harness import ECHO, ENGINE, SERVICES, SLOWNESS, Lab, read_all


def counter(lab, name):
    """One of the kernel's TcpExt counters in the namespace."""
    lines = [line.split() for line in lab.run("cat", "/proc/net/netstat").splitlines()]
    return dict(zip(*(line for line in lines if line[0] == "TcpExt:")))[name]


class FastOpen(unittest.TestCase):
    def lab(self, services=None):
        lab = Lab(services=services)
        lab.run("sysctl", "-qw", "net.ipv4.tcp_fastopen=1")
        return lab

    def talk(self, lab, text):
        """Sends `text` with the SYN, as far as there is a cookie, and expects it back."""
        with lab.socket() as s:
            # Without a cookie this blocks for the handshake, which a time-out of Python's forbids.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 20 * SLOWNESS, 0))
            sent = s.sendto(text, socket.MSG_FASTOPEN, (ENGINE, ECHO))
            s.settimeout(20 * SLOWNESS)
            s.sendall(text[sent:])
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(text, read_all(s))

    def test_first_a_cookie_then_data_in_the_syn(self):
        with self.lab() as lab:
            with wire.Wire(lab) as seen:
                self.talk(lab, b"first")
                self.assertEqual("0", counter(lab, "TCPFastOpenActive"))
                for i in range(1, 6):
                    text = os.urandom(700 * i)
                    self.talk(lab, text)
                    self.assertEqual(str(i), counter(lab, "TCPFastOpenActive"))
                lab.wait_closed()
            syns = [g for g in seen.sent if g.has(wire.SYN)]
            answers = [g for g in seen.received if g.has(wire.SYN)]
            self.assertEqual([0, 700, 1400], [len(g.payload) for g in syns[:3]])
            for ask, answer in zip(syns, answers):
                self.assertEqual((ask.seq + 1 + len(ask.payload)) % wire.MOD, answer.ack)
            self.assertEqual("0", counter(lab, "TCPFastOpenActiveFail"))
            self.assertEqual(6, lab.totals()["connections_opened"])

    def test_a_service_without_it_gives_no_cookie(self):
        services = [dict(s, fast_open=False) for s in SERVICES]
        with self.lab(services) as lab:
            for _ in range(3):
                self.talk(lab, b"hello")
            self.assertEqual("0", counter(lab, "TCPFastOpenActive"))

    def test_a_cookie_of_an_earlier_life_is_replaced(self):
        """The daemon starts anew with another secret: the data comes again, and all is well."""
        with self.lab() as lab:
            self.talk(lab, b"first")
            lab.stop()
            lab.start_daemon()
            self.talk(lab, b"second")
            self.assertEqual("0", counter(lab, "TCPFastOpenActive"))
            self.talk(lab, b"third")
            self.assertEqual("1", counter(lab, "TCPFastOpenActive"))


if __name__ == "__main__":
    unittest.main()
