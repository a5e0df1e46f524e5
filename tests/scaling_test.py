#!/usr/bin/python3
"""A packet costs the same number of instructions however many workers there are."""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]

import report  # noqa: E402
import scaling  # noqa: E402


class Instructions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.runs = [scaling.count(n, flows=512, rounds=4) for n in (1, 8)]

    def test_are_counted_in_the_engine_and_nowhere_else(self):
        for run in self.runs:
            self.assertTrue(run["complete"])
            self.assertEqual(2 * 512 * 4, run["packets"])
            self.assertTrue(500 < run["per_packet"] < 20000, run)

    def test_are_the_same_with_8_workers_as_with_1(self):
        self.assertLessEqual(scaling.spread(self.runs), scaling.SPREAD_MAX, self.runs)

    def test_are_the_same_in_each_run(self):
        again = scaling.count(1, flows=512, rounds=4)
        self.assertAlmostEqual(1, again["per_packet"] / self.runs[0]["per_packet"], 2)


class Spread(unittest.TestCase):
    def test_is_that_of_the_dearest_over_the_cheapest(self):
        self.assertAlmostEqual(0.1, scaling.spread([{"per_packet": n} for n in (105, 100, 110)]))

    def test_of_one_is_none(self):
        self.assertEqual(0, scaling.spread([{"per_packet": 7}]))


if __name__ == "__main__":
    sys.exit(report.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
