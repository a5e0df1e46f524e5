"""Reports beside the original's: the same members in the same order, the same lines."""

import json
import re
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import harness
from harness import BINARY, ENGINE, HOST, LabCase, wait_until

VERSION = harness.sh("iperf3", "--version", check=False).split("\n")[0].split(" (")[0]
TEXT, JSON = 5201, 5202  # ports of servers with a report of that form
OTHER = 5203             # the same as TEXT, for the second of two at once
# Of versions after 3.12.
NEWER = {"/start/test_start/bidir"}


def members(value, at=""):
    """The paths of all members in their order; of a list of intervals those of the first one."""
    if isinstance(value, list):
        few = value[:1] if at.endswith("/intervals") else value
        return [path for i, inner in enumerate(few) for path in members(inner, f"{at}[{i}]")]
    if not isinstance(value, dict):
        return []
    return [path for name, inner in value.items()
            for path in [f"{at}/{name}", *members(inner, f"{at}/{name}")]]


def shape(text):
    """Lines without what differs from one test to the next: numbers, units, addresses, names."""
    text = re.sub(r"Cookie: \w+", "Cookie: C", text)
    text = re.sub(r"Time: .* GMT", "Time: T", text)
    text = re.sub(r"_tcp_congestion \w+", "_tcp_congestion C", text)
    text = re.sub(r"^(iperf|pollux) [\d.]+$", "NAME", text, flags=re.MULTILINE)
    text = re.sub(r"[KMGT]?(Bytes|bits)\b", r"\1", text)
    text = re.sub(r"\d[\d.]*(e-\d+)?", "N", text)
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


@unittest.skipUnless(VERSION == "iperf 3.12", f"the forms are those of 3.12, not of {VERSION}")
class Forms(LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}
    services = [{"kind": "iperf3", "port": TEXT},
                {"kind": "iperf3", "port": JSON, "server_output": "json"}]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.servers = [cls.lab.start("iperf3", "-s", "-B", HOST, "-p", port, *options,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                       for port, options in ((TEXT, []), (OTHER, []), (JSON, ["-J"]))]
        for port in (TEXT, OTHER, JSON):
            wait_until(lambda: f"{HOST}:{port}" in cls.lab.run("ss", "-Hltn"), what="iperf3 -s")

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.terminate()
            server.wait()
        super().tearDownClass()

    def run_client(self, options, address, port, own=False):
        command = ([BINARY, "iperf3", "--control", self.lab.control] if own else ["iperf3"])
        for _ in range(50):  # the original has one test at a time, and a moment after each
            out = self.lab.run(*command, "-c", address, "-p", port, *options.split(), check=False,
                               timeout=60 * harness.SLOWNESS)
            if "busy running a test" not in out:
                return out
            time.sleep(0.1)
        raise AssertionError(f"the server stays busy: {out}")

    @staticmethod
    def both(run, *places):
        """What `run` gives in each place, at once: most of it is waiting."""
        with ThreadPoolExecutor() as pool:
            return pool.map(lambda place: run(*place), places)

    def clients(self, options):
        """What the original prints, and what pollux does."""
        return self.both(lambda *where: self.run_client(options, HOST, *where),
                         (TEXT, False), (OTHER, True))

    def test_a_clients_json(self):
        for options in ("-t 1", "-t 1 -R", "-t 1 --bidir", "-u -t 1", "-u -t 1 -R",
                        "-u -t 1 --bidir", "-n 1M -P 2 -M 1000 -w 128K",
                        "-t 1 -T lab --extra-data more --get-server-output"):
            with self.subTest(options=options):
                theirs, mine = (members(json.loads(out)) for out in self.clients(options + " -J"))
                self.assertEqual(theirs, [path for path in mine if path not in NEWER], options)

    def test_a_clients_json_where_nobody_listens(self):
        theirs, mine = self.both(lambda own: self.run_client("-J", HOST, 5999, own),
                                 (False,), (True,))
        theirs = json.loads(theirs)
        self.assertEqual(members(theirs["start"]), members(json.loads(mine)["start"]))

    def test_a_servers_json(self):
        for options in ("-t 1", "-t 1 -R", "-t 1 --bidir", "-u -t 1", "-u -t 1 -R"):
            with self.subTest(options=options):
                options += " -J --get-server-output"
                outs = self.both(lambda *where: self.run_client(options, *where),
                                 (HOST, JSON), (ENGINE, JSON))
                theirs, mine = (json.loads(out)["server_output_json"] for out in outs)
                # The order of `start` is another one there for each protocol.
                theirs, mine = ({part: members(report[part], f"/{part}") for part in report}
                                for report in (theirs, mine))
                theirs["start"].sort()
                mine["start"] = sorted(set(mine["start"]) - NEWER)
                self.assertEqual(theirs, mine, options)

    def test_a_clients_text(self):
        for options in ("-t 1", "-t 1 -V", "-t 1 -P 2", "-t 2 -R -P 2", "-t 1 --bidir",
                        "-u -t 1 -l 1000 -V", "-u -t 1 -l 1000 -R -P 2", "-u -t 1 -l 1000 --bidir",
                        "-t 1 -V -M 1000 -b 100M -w 128K", "-n 1M -V", "-k 8 -V",
                        "-t 1 --timestamps", "-t 1 -T lab --timestamps=%d:%H"):
            with self.subTest(options=options):
                theirs, mine = map(shape, self.clients(options))
                self.assertEqual(theirs, mine, options)


if __name__ == "__main__":
    unittest.main()
