"""Every RX mode x number of workers x offload does the same things right."""

import itertools
import os
import unittest

from harness import DISCARD, ENGINE, ENGINE6, Lab, echo_exact, read_all


def exercise(test, lab):
    """Enough connections to reach every worker: echo, a page, discard, both families."""
    for _ in range(8):
        echo_exact(lab, 50_000)
    echo_exact(lab, 2 << 20)
    echo_exact(lab, 300_000, ENGINE6)
    page = lab.run("curl", "-sS", "-m", 10, f"http://{ENGINE}/")
    test.assertIn("pollux", page.lower())
    test.assertIn(" 0% packet loss", lab.run("ping", "-c", 2, "-i", 0.1, "-W", 2, ENGINE))
    test.assertIn(" 0% packet loss", lab.run("ping", "-6", "-c", 1, "-W", 2, ENGINE6))
    with lab.connect(DISCARD, timeout=30) as s:
        block = os.urandom(1 << 20)
        for _ in range(16):
            s.sendall(block)
        s.shutdown(1)
        test.assertEqual(b"", read_all(s))
    lab.wait_closed()


class Modes(unittest.TestCase):
    """Filled below with one test per combination."""


def add(rx, workers, offload):
    def body(self):
        settings = {"engine.rx": rx, "engine.workers": workers, "tun.offload": offload}
        with Lab(settings) as lab:
            exercise(self, lab)
            stats = lab.show("stats")
            self.assertEqual(workers, len(stats["workers"]))
            self.assertEqual(0, stats["totals"]["checksum_errors"])
            opened = [w["connections_opened"] for w in stats["workers"]]
            self.assertEqual(sum(opened), stats["totals"]["connections_opened"])
            if workers == 2:  # 12 flows on one of two: by chance once in 1000 runs
                self.assertNotIn(0, opened, "a worker without a connection")

    name = f"test_{rx}_{workers}_{'offload' if offload else 'plain'}"
    body.__name__ = name
    setattr(Modes, name, body)


for combination in itertools.product(("dedicated", "inline"), (1, 2, 4), (True, False)):
    add(*combination)


class Checksums(unittest.TestCase):
    def test_always_verified_and_computed_in_software(self):
        with Lab({"tun.verify_checksums": "always"}) as lab:
            exercise(self, lab)
            self.assertEqual(0, lab.totals()["checksum_errors"])


class Mtu(unittest.TestCase):
    def test_other_sizes(self):
        for mtu, offload in ((1280, True), (1280, False), (9000, True), (9000, False), (65_535, True)):
            with self.subTest(mtu=mtu, offload=offload):
                with Lab({"tun.mtu": mtu, "tun.offload": offload}) as lab:
                    echo_exact(lab, 2 << 20)
                    echo_exact(lab, 300_000, ENGINE6)
