#!/usr/bin/python3
"""What the benchmarks make of their samples: statistics, goals, the page."""

import json
import pathlib
import re
import sys
import unittest
import unittest.mock
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench"), str(HERE / "e2e")]

import bed  # noqa: E402
import e2e  # noqa: E402
import micro  # noqa: E402
import page  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import stats  # noqa: E402
import suite  # noqa: E402
from stats import Goal  # noqa: E402


def samples(*values, apart=False):
    return [{"x": v, "apart": apart} for v in values]


class Statistics(unittest.TestCase):
    def test_a_summary_has_the_middle_and_the_ends(self):
        self.assertEqual(stats.Summary(2, 1, 9, 3), stats.summary([9, 1, 2]))
        self.assertIsNone(stats.summary([]))

    def test_ratios_are_of_one_round(self):
        self.assertEqual([2, 0.5], stats.paired(samples(4, 3), samples(2, 6), "x"))

    def test_what_failed_leaves_its_pair_out(self):
        self.assertEqual([0.5], stats.paired([None, *samples(3)], samples(2, 6), "x"))
        self.assertEqual([], stats.paired(samples(1), [None], "x"))

    def test_only_pairs_with_the_cpus_alike_count(self):
        a, b = samples(8, 4), samples(4) + samples(1, apart=True)
        self.assertEqual([2], stats.paired(a, b, "x"))
        self.assertEqual([4], stats.paired(a[1:], b[1:], "x"))  # unless there is no other

    def test_the_noise_floor_counts_both_ways(self):
        self.assertAlmostEqual(0.25, stats.noise_floor([1.1, 0.8]))
        self.assertIsNone(stats.noise_floor([]))


class Goals(unittest.TestCase):
    def judge(self, sense, bound, **of_cell):
        goal = Goal("g", "a", "b" if "b" in of_cell else "", "x", sense, bound)
        return goal.judge(of_cell)

    def test_the_median_decides(self):
        more = {"a": samples(1, 2, 3), "b": samples(1, 1, 1)}
        self.assertEqual("met", self.judge(">=", 2, **more)["verdict"])
        self.assertEqual("missed", self.judge(">=", 2.1, **more)["verdict"])
        self.assertEqual("met", self.judge("<=", 2, **more)["verdict"])
        self.assertEqual("missed", self.judge("<=", 1.9, **more)["verdict"])

    def test_a_value_needs_no_denominator(self):
        found = self.judge("<=", 1024, a=samples(1000))
        self.assertEqual(("met", 1000), (found["verdict"], found["median"]))

    def test_nothing_is_not_measured(self):
        self.assertEqual("not measured", self.judge(">=", 1, a=[None], b=samples(1))["verdict"])

    def test_each_is_about_cells_that_exist(self):
        cells = {c.name for c in [*e2e.all_cells(), *e2e.http_cells()]} | set(e2e.IDLE_CELLS)
        for goal in e2e.goals():
            self.assertIn(goal.numerator, cells)
            self.assertIn(goal.denominator, cells | {""})


WRK = """Running 2s test @ http://198.18.0.2/
  Latency Distribution
     50%  612.00us
     75%  700.00us
     90%    1.20ms
     99%    2.50ms
  120000 requests in 2.00s, 30.00MB read
Requests/sec:  59000.50
"""


class Tools(unittest.TestCase):
    def test_wrk(self):
        self.assertEqual({"per_second": 59000.5, "p50_us": 612, "p90_us": 1200, "p99_us": 2500},
                         bed.parse_wrk(WRK))

    def test_errors_of_wrk_are_failures(self):
        with self.assertRaises(AssertionError):
            bed.parse_wrk(WRK + "  Non-2xx or 3xx responses: 3\n")

    def test_marks(self):
        clean = {"dropped": 0, "retransmitted": 0, "steal": 0.0, "apart": False,
                 "probe_ns": [55, 60]}
        self.assertEqual([], bed.marks(clean))
        for key, value in (("dropped", 1), ("retransmitted", 2), ("steal", 0.02), ("apart", True)):
            self.assertEqual(1, len(bed.marks({**clean, key: value})), key)

    def test_kinds_of_marks_are_counted(self):
        found = suite.doubts({"a": [{"marks": ["3 packets dropped by a device"]}, None],
                              "b": [{"marks": ["9 packets dropped by a device"]}]})
        self.assertEqual({"packets dropped by a device": 2}, found)


def figures(*values, key="gbit_s"):
    return [v and {key: v, "apart": False} for v in values]


class Peers(unittest.TestCase):
    def variants(self, **reasons):
        return {c.variant for c in peers.available(peers.all_cells(), reasons)}

    def test_all_are_measured_when_nothing_is_missing(self):
        self.assertEqual({"engine", "gvisor", "gvisor, GSO", "lwip", "kernel", "iperf3", "nginx"},
                         self.variants(gvisor="", lwip="", wrk=""))

    def test_what_is_missing_is_left_out_and_named(self):
        self.assertEqual({"engine", "lwip", "kernel", "iperf3", "nginx"}, self.variants(gvisor="x"))
        self.assertNotIn("iperf3", self.variants(iperf3="x"))
        self.assertEqual(["gvisor: skipped, there is no go"],
                         peers.skipped({"gvisor": "there is no go", "lwip": ""}))

    def test_without_wrk_there_is_no_http(self):
        groups = {c.group for c in peers.available(peers.all_cells(), {"wrk": "x"})}
        self.assertNotIn(peers.HTTP, groups)
        self.assertIn("bulk in, 1 flow", groups)

    def test_why_a_program_is_not_there(self):
        def fails(error):
            def build(_):
                raise error
            return peers.why_not(build, "target")
        self.assertEqual("", peers.why_not(lambda _: None, "target"))
        self.assertEqual("there is no go", fails(FileNotFoundError(2, "no such file", "go")))
        go = "go build: exit 1\n# of all\nmain.go: no package in:\n\t/usr (from $GOPATH)\n"
        self.assertEqual("main.go: no package in:", fails(AssertionError(go)))
        gcc = "gcc: exit 1\nm.c: In function 'main':\nm.c:3: fatal error: no x.h\nterminated.\n"
        self.assertEqual("m.c:3: fatal error: no x.h", fails(AssertionError(gcc)))
        self.assertIn("exited", fails(ChildProcessError("go exited")))

    def test_a_peer_that_gives_wrong_octets_is_a_failure_and_not_measured(self):
        def check(_, variant):
            if variant == "lwip":
                raise AssertionError("wrong")
        of_all = suite.Suite(None, None)
        with unittest.mock.patch("peers.check", check):
            cells = peers.check_all(of_all, peers.all_cells())
        self.assertEqual({"gvisor", "gvisor, GSO"}, {c.variant for c in cells} & {*peers.ON_TUN})
        self.assertEqual([{"cell": "check: lwip", "why": "wrong"}], of_all.failures)

    def test_ratios_are_of_one_round_and_of_what_was_measured(self):
        cells = [c for c in peers.all_cells() if c.group == "bulk in, 1 flow"]
        found = peers.ratios(cells, {"bulk in, 1 flow: engine": figures(30, 20, 10),
                                     "bulk in, 1 flow: lwip": figures(10, None, 5),
                                     "bulk in, 1 flow: kernel": figures(None, None, None)})
        self.assertEqual([("lwip", "more", 2, 2.5, 3, 2)],
                         [(r["peer"], r["better"], r["low"], r["median"], r["high"], r["count"])
                          for r in found])

    def test_round_trips_have_two_ratios(self):
        cells = [c for c in peers.all_cells() if c.group == "round trip, blocking client"]
        sample = [{"p50_us": 4.0, "p99_us": 9.0}]
        found = peers.ratios(cells, {f"{cells[0].group}: engine": [{"p50_us": 2.0, "p99_us": 3.0}],
                                     f"{cells[0].group}: kernel": sample})
        self.assertEqual([("p50_us", 0.5, "less"), ("p99_us", 1 / 3, "less")],
                         [(r["key"], r["median"], r["better"]) for r in found])

    def test_iperf3(self):
        total = {"bits_per_second": 2e10, "bytes": 5_000_000_000, "seconds": 2.0}
        found = bed.parse_iperf3(json.dumps({"end": {"sum_received": total}}))
        self.assertEqual((20, 5_000_000_000), (found["gbit_s"], found["octets_all"]))
        with self.assertRaises(AssertionError):
            bed.parse_iperf3('{"error": "unable to connect"}')


E2E = {
    "machine": {"cpu": "A <B> & C", "cpus": 2, "kernel": "6.18", "load": 0.1, "date": "today"},
    "options": {"rounds": 2, "seconds": 1.0}, "noise": {"bulk": [1.01, 0.96]},
    "measured": 4, "apart": 1, "repeated": 1, "failed": [{"cell": "x: y", "why": "z"}],
    "goals": [{"name": "met one", "goal": ">= 1", "median": 2.0, "low": 1.0, "high": 3.0,
               "verdict": "met"}, {"name": "no one", "goal": ">= 1", "verdict": "not measured"}],
    "samples": {"bulk: engine": [{"gbit_s": 30.0}, None], "bulk: kernel": [{"gbit_s": 20.0}],
                "round trip: engine": [{"p50_us": 7.0, "per_second": 1.0,
                                        "histogram_ns": [[7000, 90], [9000, 10]]}]},
}
PEERS = {**E2E, "versions": {"lib<x>": "1"}, "skipped": ["lwip: skipped, no cc"], "goals": [],
         "samples": {"bulk: engine": [{"gbit_s": 30.0}], "bulk: gvisor, GSO": [{"gbit_s": 15.0}]},
         "ratios": [{"group": "bulk", "peer": "gvisor, GSO", "key": "gbit_s", "better": "more",
                     "median": 2.0, "low": 2.0, "high": 2.0, "count": 1}]}
RECOVERY = {"cells": [{
    "algorithm": "cubic", "direction": "out", "rtt_ms": 20.0, "loss": 1.0, "goodput_ratio": None,
    "kernel": {"mbit_s": 100.0, "resent_percent": 1.0}, "void": "",
    "pollux": {"mbit_s": 110.0, "resent_percent": 1.1}}]}
GOOGLE = [
    {"name": "checksum/hot/best/64", "run_type": "iteration", "cpu_time": 2.0, "real_time": 9.0,
     "time_unit": "us", "bytes_per_second": 5e9},
    {"name": "checksum/hot/best/64", "run_type": "iteration", "cpu_time": 4.0, "real_time": 9.0,
     "time_unit": "us", "bytes_per_second": 3e9},
    {"name": "checksum/hot/best/64_mean", "run_name": "checksum/hot/best/64",
     "run_type": "aggregate", "cpu_time": 3.0, "real_time": 9.0, "time_unit": "us"},
    {"name": "segment/connections_batch/100/64/min_time:0.100/manual_time", "run_type": "iteration",
     "cpu_time": 1.0, "real_time": 7.0, "time_unit": "ns", "ns_per_segment": 0.1, "iterations": 3},
    {"name": "ring/through/own/8/real_time", "run_type": "iteration", "cpu_time": 1.0,
     "real_time": 8.0, "time_unit": "ns"},
]


class Micro(unittest.TestCase):
    found = micro.samples(GOOGLE)

    def test_repetitions_are_samples_and_aggregates_are_not(self):
        self.assertEqual([{"ns": 2000.0, "gb_s": 5.0}, {"ns": 4000.0, "gb_s": 3.0}],
                         self.found["checksum/hot/best/64"])

    def test_what_names_its_clock_is_read_from_it(self):
        self.assertEqual([{"ns": 7.0, "ns_per_segment": 0.1}],
                         self.found["segment/connections_batch/100/64"])
        self.assertEqual([{"ns": 8.0}], self.found["ring/through/own/8"])

    def test_summaries_have_the_ends(self):
        self.assertEqual([4.0, 3.0, 5.0],
                         micro.summary_of(self.found)["checksum/hot/best/64"]["gb_s"])

    def test_goals_have_names_of_their_own(self):
        names = [g.name for g in micro.goals()]
        self.assertEqual(len(names), len(set(names)))


MICRO = {"figures": micro.summary_of(micro.samples(GOOGLE)),
         "goals": [{"name": "sum", "goal": ">= 1", "verdict": "not measured"}]}


class Page(unittest.TestCase):
    def test_holds_every_suite(self):
        text = page.page({"e2e": E2E, "recovery": RECOVERY, "micro": MICRO, "other": {"a": 1}})
        for word in ("End to end", "Recovery from loss", "Parts of the code", "other", "4.2%",
                     "today", "failed: x: y", "not measured", "100, turns of 64",
                     "Checksum of 64 octets, hot"):
            self.assertIn(word, text)

    def test_names_are_escaped_and_nothing_is_loaded(self):
        text = page.page({"e2e": E2E})
        self.assertIn("A &lt;B&gt; &amp; C", text)
        self.assertIsNone(re.search(r"https?://|<script|<link|src=", text))

    def test_peers_have_bars_and_ratios(self):
        text = page.page({"peers": PEERS})
        for word in ("Beside other stacks", "gvisor, GSO</text>", "15.0 Gbit/s", "2 .. 2",
                     "lib&lt;x&gt; 1", "lwip: skipped, no cc", "failed: x: y", "4.2%"):
            self.assertIn(word, text)

    def test_drawings_are_well_formed(self):
        ElementTree.fromstring(page.bars([("a<b", 2, 1, 3), ("c", 0, 0, 0)], "Gbit/s"))
        ElementTree.fromstring(page.latency({"engine": [[7000, 90], [9000, 10]]}))
        self.assertEqual("", page.latency({"engine": []}))

    def test_shares_are_of_what_took_longer(self):
        self.assertEqual([(7, 0.25), (9, 0.0)], page.cumulative([(7, 3), (9, 1)]))

    def test_histograms_add_up(self):
        self.assertEqual([(1, 5), (2, 2)], page.merged([[[1, 2]], [[1, 3], [2, 2]]]))


if __name__ == "__main__":
    sys.exit(report.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
