"""ECN (RFC 3168) with the kernel's TCP: agreed on, echoed, answered, and no octet the worse for it."""

import socket
import time
import unittest

from harness import ECHO, Lab, echo_exact
from wire import ACK, CWR, ECE, SYN, Wire

NOT_CAPABLE, ECT0, CE = 0, 2, 3
SIZE = 8 << 20
TCPI_OPT_ECN = 8

# Every tenth: at random there may be none, or the last packet alone.
MARK_SOME = """
    table ip pollux_mark {
      chain out {
        type filter hook output priority 0;
        oifname "pollux0" ip ecn ect0 tcp dport 7 numgen inc mod 10 == 0 ip ecn set ce
      }
      chain in {
        type filter hook input priority 0;
        iifname "pollux0" ip ecn ect0 tcp sport 7 numgen inc mod 10 == 0 ip ecn set ce
      }
    }"""


class Ecn(unittest.TestCase):
    def lab(self, asks, **settings):
        lab = Lab(settings)
        lab.run("sysctl", "-qw", f"net.ipv4.tcp_ecn={asks}")
        return lab

    def test_both_ways_with_marks(self):
        with self.lab(1) as lab:
            lab.nft(MARK_SOME)
            with Wire(lab) as wire:
                echo_exact(lab, SIZE)
                time.sleep(0.3)  # the capture reads what is left
            syn_ack = next(s for s in wire.received if s.has(SYN))
            self.assertTrue(syn_ack.has(SYN | ACK | ECE), syn_ack)
            self.assertFalse(syn_ack.has(CWR), syn_ack)
            self.assertEqual(NOT_CAPABLE, syn_ack.tos & 3)
            data = [s for s in wire.received if s.payload]
            bare = [s for s in wire.received if not s.payload]
            self.assertTrue(all(s.tos & 3 in (ECT0, NOT_CAPABLE) for s in data))
            capable = sum(s.tos & 3 == ECT0 for s in data)
            self.assertGreater(capable, len(data) * 0.9, "only retransmissions are not capable")
            self.assertTrue(all(s.tos & 3 == NOT_CAPABLE for s in bare))
            # The kernel's marks are echoed, and its CWR ends the echo.
            self.assertTrue(any(s.tos & 3 == CE for s in wire.sent), "nothing was marked")
            self.assertTrue(any(s.has(ECE) for s in wire.received if not s.has(SYN)))
            cwr = next((s for s in wire.sent if s.has(CWR) and not s.has(SYN)), None)
            self.assertIsNotNone(cwr, "the kernel saw no echo")
            self.assertTrue(any(not s.has(ECE) for s in wire.received if s.at > cwr.at))
            # And the other way around.
            self.assertTrue(any(s.has(ECE) for s in wire.sent if not s.has(SYN)))
            self.assertTrue(any(s.has(CWR) for s in wire.received if not s.has(SYN)))
            self.assertEqual(0, lab.totals()["checksum_errors"])

    def check_agreed(self, asks, agreed, **settings):
        with self.lab(asks, **settings) as lab:
            with lab.connect(ECHO) as client:
                client.sendall(b"x" * 1000)
                self.assertEqual(1000, len(client.recv(1000, socket.MSG_WAITALL)))
                options = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5]
                self.assertEqual(agreed, options & TCPI_OPT_ECN != 0, options)
            lab.wait_closed()

    def test_agreed_as_the_kernel_sees_it(self):
        self.check_agreed(1, True)

    def test_not_agreed_unless_asked(self):
        self.check_agreed(0, False)

    def test_agreed_over_a_cookie(self):
        self.check_agreed(1, True, **{"tcp.syn_cookies": "always"})


if __name__ == "__main__":
    unittest.main()
