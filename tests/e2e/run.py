#!/usr/bin/python3
"""Runs end-to-end tests: all of them, or those named as MODULE[.Class[.test]] (without `test_`).

With --jobs N as many classes run at once, each in a process of its own."""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import harness  # noqa: E402
import report  # noqa: E402

# `sanitized` is the short form for slow builds: it holds no tests that the others lack.
NOT_BY_DEFAULT = {"sanitized"}
# Its classes build in one folder: one after the other.
ONE_PROCESS = {"run_sh"}


def modules():
    names = sorted(p.stem.removeprefix("test_") for p in HERE.glob("test_*.py"))
    return [n for n in names if n not in NOT_BY_DEFAULT]


def tests_of(name):
    def flat(suite):
        for test in suite:
            if isinstance(test, unittest.TestSuite):
                yield from flat(test)
            else:
                yield test

    return list(flat(unittest.defaultTestLoader.loadTestsFromName(f"test_{name}")))


class AtOnce:
    """Classes of tests, each in a process of its own, as many at once as there are `jobs`."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.running = set()
        self.lock = threading.Lock()
        self.stopping = False
        self.passed = self.failed = 0
        self.details = []

    def run_class(self, names):
        """Output of the tests of one class."""
        with self.lock:
            if self.stopping:
                return ""
            process = subprocess.Popen([sys.executable, __file__, *names], text=True,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.running.add(process)
        with process:
            out, _ = process.communicate()
        with self.lock:
            self.running.discard(process)
        return out

    def take(self, out):
        """Prints the lines of tests, keeps the rest for the end."""
        count = re.search(r"^(\d+) passed, (\d+) failed\n\Z", out, re.MULTILINE)
        if count is None:
            self.failed += 1
            self.details.append(f"\n---- a process of tests died\n{out}")
            return
        self.passed += int(count[1])
        self.failed += int(count[2])
        lines, mark, details = out[:count.start()].partition("\n---- ")
        print(lines.rstrip(), flush=True)
        self.details.append(mark + details)

    def run(self, classes):
        """Those with many tests first, for they take long; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.pass_on)
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            runs = [pool.submit(self.run_class, names)
                    for names in sorted(classes, key=len, reverse=True)]
            for run in concurrent.futures.as_completed(runs):
                self.take(run.result())
        print("".join(self.details), end="")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 0 if self.passed and not self.failed else 1

    def pass_on(self, number, _frame):
        """The processes clean up; then this one ends, too."""
        with self.lock:  # the main thread, which this interrupts, never holds it
            self.stopping = True
            left = list(self.running)
        for process in left:
            process.send_signal(number)
        for process in left:
            process.wait()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def classes_of(names):
    """Lists of tests' names, one for each process."""
    classes = collections.defaultdict(list)
    for name in names:
        for test in tests_of(name):
            if test.id().startswith("unittest."):  # there is no such module: its process says so
                classes[name].append(name)
                continue
            test_name = test.id().removeprefix("test_")
            module = test_name.split(".", 1)[0]
            group = module if module in ONE_PROCESS else test_name.rsplit(".", 1)[0]
            classes[group].append(test_name)
    return classes.values()


def main() -> int:
    p = argparse.ArgumentParser(prog="run.py", description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--jobs", type=int, default=1, metavar="N", help="classes that run at once")
    p.add_argument("names", nargs="*", metavar="MODULE[.Class[.test]]")
    o = p.parse_args()
    if os.geteuid() != 0:
        print("end-to-end tests make network namespaces: run as root", file=sys.stderr)
        return 1
    if not os.access(harness.BINARY, os.X_OK):
        print(f"no {harness.BINARY}: ./run.sh build first", file=sys.stderr)
        return 1
    names = o.names or modules()
    if o.jobs > 1:
        return AtOnce(o.jobs).run(classes_of(names))
    harness.clean_up_on_exit()
    return report.run(unittest.defaultTestLoader.loadTestsFromNames([f"test_{n}" for n in names]))


if __name__ == "__main__":
    sys.exit(main())
