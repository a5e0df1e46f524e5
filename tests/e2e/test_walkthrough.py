"""The classic walk-through on the wire: a gap, its repair, and a close against a silent peer."""

import socket
import time
import unittest

from harness import ECHO, Lab, wait_until
from wire import ACK, FIN, MOD, PSH, RST, SYN, Injector, Wire, drop_kernel_resets, silence_kernel

FIRST, SECOND, THIRD = b"first\n", b" second", b" third"


def plain_options(lab):
    """Hand-made segments carry no timestamps, and RFC 7323 drops those once they were agreed on."""
    lab.run("sysctl", "-qw", "net.ipv4.tcp_timestamps=0", "net.ipv4.tcp_sack=0")


class Walkthrough(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.destroy)
        plain_options(self.lab)
        drop_kernel_resets(self.lab)

    def test_gap_repair_and_close_with_back_off(self):
        with Wire(self.lab) as wire, Injector(self.lab) as inject:
            client = self.lab.connect(ECHO)
            self.addCleanup(client.close)
            port = client.getsockname()[1]
            client.sendall(FIRST)
            self.assertEqual(FIRST, client.recv(len(FIRST)))
            syn_ack = wire.await_received(lambda s: s.has(SYN | ACK), what="SYN-ACK")
            self.assertEqual((ECHO, port), (syn_ack.sport, syn_ack.dport))
            # Our next octet, and the engine's: one echo of `first\n` after its SYN.
            seq = (syn_ack.ack + len(FIRST)) % MOD
            peer = (syn_ack.seq + 1 + len(FIRST)) % MOD

            def send(at, flags, payload=b"", ack=peer):
                inject.send(port, ECHO, at, ack, flags, payload)

            def seen(after, **want):
                return [s for s in wire.received[after:]
                        if all(getattr(s, k) == v for k, v in want.items())]

            # The kernel's own ACK of the echo may be delayed; let it pass first.
            wait_until(lambda: any(s.ack == peer for s in list(wire.sent)), what="the kernel's ACK")

            # ` third` comes before ` second`: a duplicate ACK asks for the gap.
            mark = len(wire.received)
            send(seq + len(SECOND), ACK | PSH, THIRD)
            duplicate = wire.await_received(lambda s: s in wire.received[mark:], what="duplicate ACK")
            self.assertEqual((seq, peer, b""), (duplicate.ack, duplicate.seq, duplicate.payload))
            self.assertEqual(ACK, duplicate.flags & (ACK | FIN | RST | SYN))

            # ` second` fills it: the next acknowledgement covers both, and the echo has the order.
            mark = len(wire.received)
            send(seq, ACK | PSH, SECOND)
            end = (seq + len(SECOND) + len(THIRD)) % MOD
            wire.await_received(lambda s: s.ack == end, what="ACK of everything")
            self.assertNotIn((seq + len(SECOND)) % MOD, [s.ack for s in wire.received[mark:]],
                             "acknowledged in two steps")

            def echoed():
                octets = {}
                for s in list(wire.received):
                    for i, octet in enumerate(s.payload):
                        octets[(s.seq + i - syn_ack.seq - 1) % MOD] = octet
                return bytes(octets[i] for i in range(len(octets)) if i in octets)

            wait_until(lambda: echoed() == FIRST + SECOND + THIRD,
                       what=f"echo in order, got {echoed()!r}")
            peer_end = (peer + len(SECOND) + len(THIRD)) % MOD
            send(end, ACK, ack=peer_end)

            # A FIN is answered by FIN-ACK, again and again with back-off, until it is acknowledged.
            send(end, FIN | ACK, ack=peer_end)
            fins = wait_until(
                lambda: (f := [s for s in list(wire.received) if s.has(FIN | ACK)])[3:] and f,
                timeout=30, what="three retransmissions of the FIN")
            for fin in fins:
                self.assertEqual((peer_end, (end + 1) % MOD), (fin.seq, fin.ack))
            gaps = [b.at - a.at for a, b in zip(fins, fins[1:])]
            for shorter, longer in zip(gaps, gaps[1:]):
                self.assertGreater(longer, shorter * 1.5, gaps)
            self.assertEqual(1, self.lab.totals()["connections_open"])

            send(end + 1, ACK, ack=peer_end + 1)
            self.lab.wait_closed()
            count = len([s for s in wire.received if s.has(FIN)])
            self.assertEqual([], seen(0, flags=RST))
            wait_until(lambda: len([s for s in wire.received if s.has(FIN)]) == count,
                       what="no more FINs")
        self.lab.stop()


class Silent(unittest.TestCase):
    def test_a_peer_that_never_answers_is_given_up(self):
        with Lab({"tcp.user_timeout_s": 3}) as lab:
            plain_options(lab)
            with Wire(lab) as wire, Injector(lab) as inject, lab.connect(ECHO) as client:
                synack = wire.await_received(lambda s: s.has(SYN | ACK))
                silence_kernel(lab)
                port = client.getsockname()[1]
                inject.send(port, ECHO, synack.ack, synack.seq + 1, ACK | PSH, b"anyone?")
                wait_until(lambda: len([s for s in list(wire.received) if s.payload]) >= 2,
                           what="a retransmission")
                self.assertEqual(1, lab.totals()["connections_open"])
                lab.wait_closed(20)


class Blind(unittest.TestCase):
    """RFC 5961: what an off-path attacker could send does not end a connection."""

    def test_spoofed_rst_and_syn(self):
        with Lab() as lab:
            plain_options(lab)
            drop_kernel_resets(lab)
            with Wire(lab) as wire, Injector(lab) as inject, lab.connect(ECHO) as client:
                port = client.getsockname()[1]
                client.sendall(b"x")
                client.recv(1)
                synack = wire.await_received(lambda s: s.has(SYN | ACK))
                first = (synack.ack + 1) % MOD
                time.sleep(0.2)  # the kernel's delayed ACK is out of the way
                mark = len(wire.received)
                inject.send(port, ECHO, first + 5000, 0, RST)
                challenge = wire.await_received(lambda s: s in wire.received[mark:],
                                                what="challenge ACK")
                self.assertEqual((ACK, first, b""),
                                 (challenge.flags, challenge.ack, challenge.payload))
                for flags, seq in ((SYN, first + 5000), (SYN, first), (SYN, synack.ack - 1),
                                   (RST, first - 70_000), (RST | ACK, first + 1)):
                    inject.send(port, ECHO, seq, 0, flags)
                client.sendall(b"still here")
                self.assertEqual(b"still here", client.recv(10, socket.MSG_WAITALL))
                drops = lab.totals()["drops"]
                self.assertEqual((2, 3, 1), (drops["tcp_blind_rst"], drops["tcp_blind_syn"],
                                             drops["tcp_out_of_window"]), drops)
            lab.wait_closed()
