#!/usr/bin/python3
"""Runs end-to-end tests: all of them, or those named as MODULE[.Class[.test]] (without `test_`)."""

import os
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import harness  # noqa: E402
import report  # noqa: E402

# `sanitized` is the short form for slow builds: it holds no tests that the others lack.
NOT_BY_DEFAULT = {"sanitized"}


def modules():
    names = sorted(p.stem.removeprefix("test_") for p in HERE.glob("test_*.py"))
    return [n for n in names if n not in NOT_BY_DEFAULT]


def main() -> int:
    if os.geteuid() != 0:
        print("end-to-end tests make network namespaces: run as root", file=sys.stderr)
        return 1
    if not os.access(harness.BINARY, os.X_OK):
        print(f"no {harness.BINARY}: ./run.sh build first", file=sys.stderr)
        return 1
    harness.clean_up_on_exit()
    names = [f"test_{n}" for n in sys.argv[1:] or modules()]
    return report.run(unittest.defaultTestLoader.loadTestsFromNames(names))


if __name__ == "__main__":
    sys.exit(main())
