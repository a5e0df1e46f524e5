"""The short form for a daemon built with sanitizers: each path once. A finding ends the daemon."""

import unittest

import test_connect
import test_forward
import test_iperf2
import test_iperf3
import test_iperf3_client
import test_loss
import test_ping
import test_sockperf
import test_transfers
import test_udp
import test_walkthrough
from harness import Lab
from test_modes import exercise


class Sanitized(unittest.TestCase):
    def both(self, settings):
        for rx in ("dedicated", "inline"):
            with self.subTest(rx=rx), Lab({"engine.rx": rx, "engine.workers": 2, **settings}) as lab:
                exercise(self, lab)
                for what in ("stats", "connections", "workers", "queues", "config"):
                    lab.show(what)

    def test_offload(self):
        self.both({"tun.offload": True})

    def test_plain(self):
        self.both({"tun.offload": False})

    def test_debug_log(self):
        self.both({"log.level": "debug"})


class Hostile(test_transfers.Hostile):
    pass


class Blind(test_walkthrough.Blind):
    pass


class Loss(test_loss.Loss):
    test_five_percent = None


class Forward(test_forward.Forward):
    pass


class Connect(test_connect.Connect):
    pass


class Datagrams(test_udp.DedicatedOffload):
    pass


class Iperf3(test_iperf3.Matrix):
    cells = ["-n 1M -P 3", "-n 1M -R", "-t 1 --bidir -P 2", "-u -t 1 -b 2M --bidir"]


class Iperf3Wrong(test_iperf3.Wrong):
    test_a_thousand_silent_clients_beside_a_test = None


class Iperf3Client(test_iperf3_client.Dedicated):
    pass


class Iperf2(test_iperf2.DedicatedOffload):
    pass


class PingPong(test_sockperf.DedicatedOffload):
    pass


class Ping(test_ping.InlineOffload):
    pass
