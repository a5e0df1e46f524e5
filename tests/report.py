"""Runs unittest suites with one line per test, details of failures, and `N passed, N failed` at the end."""

import sys
import time
import unittest


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed = 0
        self.bad = []  # (name, traceback)

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()

    def _line(self, word, test, note=""):
        took = time.monotonic() - getattr(self, "_started", time.monotonic())
        print(f"{word:4} {test.id()} ({took:.1f} s){note}", flush=True)

    def _failure(self, test, err):
        self.bad.append((test.id(), self._exc_info_to_string(err, test)))
        self._line("FAIL", test)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self._line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failure(test, err)

    def addError(self, test, err):  # also what setUpClass and tearDownClass raise
        super().addError(test, err)
        self._failure(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failure(subtest, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("skip", test, f": {reason}")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.bad.append((test.id(), "succeeded, but was expected to fail\n"))
        self._line("FAIL", test)


def run(suite) -> int:
    """Runs, reports, and returns the exit code."""
    result = Result()
    try:
        suite.run(result)
    except KeyboardInterrupt:
        result.bad.append(("interrupted", "KeyboardInterrupt\n"))
    for name, traceback in result.bad:
        print(f"\n---- {name}\n{traceback}", end="")
    print(f"{result.passed} passed, {len(result.bad)} failed")
    sys.stdout.flush()
    return 0 if result.passed and not result.bad else 1
