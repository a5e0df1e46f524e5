#!/usr/bin/python3
"""Runs the benchmarks that are there: `micro` (Google Benchmark), results in build/bench/micro.json."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUITES = ("micro",)


def micro(quick: bool) -> int:
    out = ROOT / "build" / "bench" / "micro.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(ROOT / "build" / "release" / "bench" / "pollux_micro"),
        f"--benchmark_out={out}",
        "--benchmark_out_format=json",
        f"--benchmark_min_time={0.02 if quick else 0.5}",
    ]
    if not quick:
        command += ["--benchmark_repetitions=5", "--benchmark_report_aggregates_only=true"]
    print(f"bench: micro, results in {out.relative_to(ROOT)}", flush=True)
    return subprocess.run(command, check=False).returncode


def main() -> int:
    words = sys.argv[1:]
    suites = [w for w in words if w != "--quick"] or list(SUITES)
    unknown = [s for s in suites if s not in SUITES]
    if unknown:
        print(f"bench: no suite '{unknown[0]}'; there is: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    return max(micro("--quick" in words) for _ in suites)


if __name__ == "__main__":
    sys.exit(main())
