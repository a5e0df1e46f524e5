"""The short form for a daemon built with sanitizers: each path once. A finding ends the daemon."""

import unittest

import test_connect
import test_forward
import test_loss
import test_transfers
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
