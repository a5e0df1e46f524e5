"""pollux ping against the kernel, beside the ping of iputils."""

import json
import re
import signal
import subprocess
import time
import unittest

import harness
from harness import BINARY, ENGINE, ENGINE6, HOST, HOST6


class Ping:
    """What holds in every mode."""

    def ping(self, *words):
        """Exit code, standard output, standard error."""
        done = subprocess.run(
            self.lab.command(BINARY, "ping", *words, "--control", self.lab.control),
            capture_output=True, text=True, timeout=60 * harness.SLOWNESS, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_prints_what_ping_prints(self):
        for host, engine in ((HOST, ENGINE), (HOST6, ENGINE6)):
            with self.subTest(host=host):
                code, out, err = self.ping("-c", 3, "-i", 0.05, host)
                self.assertEqual((code, err), (0, ""), out)
                mine = out.splitlines()
                theirs = self.lab.run("ping", "-c", 3, "-i", 0.2, "-I", host, engine).splitlines()
                self.assertEqual(len(mine), len(theirs), f"{out}\n{theirs}")

                def shape(line):
                    line = line.replace(host, "A").replace(engine, "A")
                    return re.sub(r"[\d.]+", "N", line)

                self.assertEqual([shape(line) for line in mine[1:]],
                                 [shape(line) for line in theirs[1:]])
                self.assertTrue(mine[0].startswith(f"PING {host}"), mine[0])
                for number in (1, 2, 3):
                    self.assertRegex(mine[number], rf"^64 bytes from {host}: icmp_seq={number} ttl=64 ")

    def test_json(self):
        code, out, _ = self.ping("-c", 5, "-i", 0.01, "-s", 10_000, "--json", HOST)
        self.assertEqual(code, 0, out)
        report = json.loads(out)
        self.assertEqual((report["transmitted"], report["received"], report["loss_percent"]),
                         (5, 5, 0))
        self.assertEqual(report["local"], ENGINE)
        self.assertEqual([r["icmp_seq"] for r in report["replies"]], [1, 2, 3, 4, 5])
        self.assertEqual({r["bytes"] for r in report["replies"]}, {10_008})
        times = [r["time_ms"] for r in report["replies"]]
        rtt = report["rtt_ms"]
        self.assertAlmostEqual(rtt["min"], min(times))
        self.assertAlmostEqual(rtt["max"], max(times))
        self.assertAlmostEqual(rtt["avg"], sum(times) / 5)
        self.assertGreater(rtt["min"], 0)

    def test_every_worker_can_own_one(self):
        """Answers go by their addresses, so each address has a worker."""
        for last in range(2, 10):
            self.lab.run("ip", "addr", "add", f"198.19.0.{last}/32", "dev", "lo")
            code, out, err = self.ping("-c", 1, f"198.19.0.{last}")
            self.assertEqual((code, err), (0, ""), out)

    def test_errors_of_others_are_printed(self):
        def forwarding(on):
            self.lab.run("sysctl", "-qw", f"net.ipv4.ip_forward={on}",
                         f"net.ipv6.conf.all.forwarding={on}")

        forwarding(1)
        self.addCleanup(forwarding, 0)
        # Not icmp_ratelimit=0: with it an error that a tick of the clock divides empties the bucket
        # of tokens that the kernel's unreachable routes pay from, and the next one is not sent.
        self.lab.run("sysctl", "-qw", "net.ipv4.icmp_ratemask=0", "net.ipv6.icmp.ratelimit=0")
        for host, nobody, text in (
                (HOST, "198.18.0.99", "Destination Host Unreachable"),
                (HOST6, "2001:2::99", "Destination unreachable: No route")):
            self.lab.run("ip", "route", "replace", "unreachable", nobody)
            code, out, err = self.ping("-c", 2, "-i", 0.01, nobody)
            self.assertEqual((code, err), (1, ""), out)
            for number in (1, 2):
                self.assertIn(f"From {host} icmp_seq={number} {text}\n", out)
            self.assertIn("2 packets transmitted, 0 received, +2 errors, 100% packet loss", out)
            report = json.loads(self.ping("-c", 1, "--json", nobody)[1])
            self.assertEqual([(e["icmp_seq"], e["from"], e["text"]) for e in report["errors"]],
                             [(1, host, text)])

    def test_exit_codes(self):
        code, out, _ = self.ping("-c", 2, "-i", 0.01, "-W", 0.2, "198.18.0.77")
        self.assertEqual(code, 1, out)
        self.assertIn("2 packets transmitted, 0 received, 100% packet loss", out)
        code, _, err = self.ping("-c", 1, "224.0.0.1")
        self.assertEqual(code, 2, err)
        self.assertRegex(err, r"^pollux: cannot ping .*\n$")
        code, _, err = self.ping("-c", 1, ENGINE)
        self.assertEqual((code, err), (2, f"pollux: cannot ping {ENGINE}: that is the engine itself\n"))
        for words in (["localhost"], ["-s", 65508, HOST], ["-c", 0, HOST], ["-i", 0, HOST], []):
            self.assertEqual(self.ping(*words)[0], 2)
        code = subprocess.run(self.lab.command(BINARY, "ping", HOST, "--control", "/nonexistent"),
                              capture_output=True, check=False).returncode
        self.assertEqual(code, 2)

    def start(self):
        return self.lab.start(BINARY, "ping", "-i", 0.02, HOST, "--control", self.lab.control,
                              stdout=subprocess.PIPE, text=True)

    def assert_silent(self):
        """No ping is under way in the engine."""

        def quiet():
            before = self.lab.totals()["tx_packets"]
            time.sleep(0.1)
            return self.lab.totals()["tx_packets"] == before

        harness.wait_until(quiet, what="the end of the requests")

    def test_ctrl_c_prints_the_statistics(self):
        process = self.start()
        process.stdout.readline()
        process.stdout.readline()
        # `ip netns exec` has become the command.
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20 * harness.SLOWNESS)
        self.assertEqual(process.returncode, 0, out)
        self.assertRegex(out, r"\d+ packets transmitted, \d+ received, ")
        self.assert_silent()

    def test_a_client_that_dies_ends_its_requests(self):
        process = self.start()
        process.stdout.readline()
        process.kill()
        process.communicate()
        self.assert_silent()


class InlineOffload(Ping, harness.LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}


class DedicatedPlain(Ping, harness.LabCase):
    settings = {"engine.workers": 4, "engine.rx": "dedicated", "tun.offload": False}


if __name__ == "__main__":
    unittest.main()
