"""Parts of the code alone: runs pollux_micro and judges its figures.

All benchmarks come in random order, once for each repetition, so that a ratio is of two samples of
one repetition.
"""

import argparse
import datetime
import json
import pathlib
import re
import subprocess

import stats
from stats import Goal

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "release" / "bench" / "pollux_micro"
RESULTS = ROOT / "build" / "bench" / "micro.json"
REPETITIONS, REPETITIONS_QUICK = 7, 3
UNITS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
PATTERNS = ("every_second_missing", "reverse", "random_octets", "random_octets_in_1000_holes",
            "overlapping_1000_holes")


def goals():
    """What the figures should be, in the order of the table."""
    best = "checksum/{}/best/{}"
    yield Goal("checksum, 64 KB hot, GB/s", best.format("hot", 65535), "", "gb_s", ">=", 50)
    for place, size in (("hot", 65535), ("hot", 1460), ("odd", 1460)):
        for other in ("plain", "adc"):
            yield Goal(f"checksum, {size} {place} / {other} loop", best.format(place, size),
                       f"checksum/{place}/{other}/{size}", "gb_s", ">=", 1)
    for other, bound in (("read", 0.9), ("adc", 1)):
        yield Goal(f"checksum, 64 KB cold / {other}", best.format("cold", 65535),
                   f"checksum/cold/{other}/65535", "gb_s", ">=", bound)
    yield Goal("reassembly in order, ns", "reassembly/in_order", "", "ns_per_insert", "<=", 10)
    for pattern in PATTERNS:
        name = f"reassembly/{pattern}"
        yield Goal(f"reassembly {pattern}, ns", name, "", "ns_per_insert", "<=", 150)
    segment = "segment/connections_batch/{}/{}"
    for few in (1, 100):
        yield Goal(f"segment, 100,000 connections / {few}", segment.format(100000, 64),
                   segment.format(few, 64), "ns_per_segment", "<=", 1.5)
    for batch in (8, 64):
        yield Goal(f"ring, batches of {batch}: ours / hand-written", f"ring/through/boost/{batch}",
                   f"ring/through/own/{batch}", "ns", "<=", 1.2)


def samples(benchmarks):
    """{name: [figures of each repetition]} from Google Benchmark's list."""
    out = {}
    for b in benchmarks:
        if b.get("run_type") == "aggregate":
            continue
        name = re.sub("/(min_time|iterations):[0-9.]+", "", b.get("run_name", b["name"]))
        for tail in ("/manual_time", "/real_time"):
            name, timed = name.removesuffix(tail), name.endswith(tail)
            if timed:
                break
        figures = {k: v for k, v in b.items() if k.startswith(("ns_", "worst_"))}
        figures["ns"] = b["real_time" if timed else "cpu_time"] * UNITS[b["time_unit"]]
        if "bytes_per_second" in b:
            figures["gb_s"] = b["bytes_per_second"] / 1e9
        out.setdefault(name, []).append(figures)
    return out


def summary_of(found):
    """{name: {key: [median, lowest, highest]}}."""
    out = {}
    for name, of_name in sorted(found.items()):
        out[name] = {}
        for key in of_name[0]:
            s = stats.summary(f[key] for f in of_name if key in f)
            out[name][key] = [s.median, s.low, s.high]
    return out


def verdict_line(goal):
    if "median" not in goal:
        return f"  {goal['name']:52}{goal['goal']:>8}  {goal['verdict']}"
    spread = f"{goal['median']:.4g} [{goal['low']:.4g} .. {goal['high']:.4g}]"
    return f"  {goal['name']:52}{goal['goal']:>8}  {spread:32}{goal['verdict']}"


def command(options):
    words = [str(PROGRAM), f"--benchmark_out={RESULTS}", "--benchmark_out_format=json",
             f"--benchmark_min_time={0.005 if options.quick else 0.05}",
             f"--benchmark_repetitions={REPETITIONS_QUICK if options.quick else REPETITIONS}",
             "--benchmark_enable_random_interleaving=true",
             "--benchmark_display_aggregates_only=true"]
    return words + ([f"--benchmark_filter={options.only}"] if options.only else [])


def main(words) -> int:
    parser = argparse.ArgumentParser(prog="bench micro", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute, for a look")
    parser.add_argument("--only", metavar="REGEX", help="benchmarks with such a name")
    options = parser.parse_args(words)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    print(f"bench: micro, results in {RESULTS.relative_to(ROOT)}", flush=True)
    status = subprocess.run(command(options), stdout=subprocess.DEVNULL, check=False).returncode
    if status != 0:
        return status
    data = json.loads(RESULTS.read_text())
    found = samples(data.pop("benchmarks"))
    data["date"] = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    data["figures"] = summary_of(found)
    data["goals"] = [g.judge(found) for g in goals()]
    RESULTS.write_text(json.dumps(data, indent=1))
    for goal in data["goals"]:
        if not options.only or "median" in goal:
            print(verdict_line(goal))
    return 0
