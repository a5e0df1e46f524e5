"""Instructions per packet by the number of workers: valgrind counts what the engine executes while a
fixed trace goes through it. No time is measured, so the figures are the same on every run."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOL = ROOT / "build" / "release" / "bench" / "pollux_scaling"
MEASURED = "pollux_scaling_measured"  # the function within which instructions count
WORKERS = (1, 2, 4, 8)
SPREAD_MAX = 0.05


def instructions(output):
    """The total that callgrind prints at its end."""
    return int(re.search(r"Collected : (\d+)", output)[1])


def count(workers, *, flows, rounds):
    """One run of the trace, as a dictionary."""
    with tempfile.TemporaryDirectory(prefix="pollux-b-") as scratch:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch}/out",
             f"--toggle-collect={MEASURED}", TOOL, "--workers", str(workers), "--flows", str(flows),
             "--rounds", str(rounds)],
            capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(f"pollux_scaling --workers {workers} under valgrind: exit "
                           f"{done.returncode}\n{done.stdout}{done.stderr[-2000:]}")
    run = json.loads(done.stdout)
    run["instructions"] = instructions(done.stderr)
    run["per_packet"] = run["instructions"] / run["packets"]
    return run


def spread(runs):
    """How much more the dearest costs than the cheapest, as a share."""
    costs = [run["per_packet"] for run in runs]
    return max(costs) / min(costs) - 1


def main(options) -> int:
    parser = argparse.ArgumentParser(prog="bench scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a shorter trace")
    parser.add_argument("--flows", type=int, default=512)
    args = parser.parse_args(options)
    rounds = 4 if args.quick else 20
    print("bench: scaling, instructions per packet", flush=True)
    runs = []
    for workers in WORKERS:
        runs.append(count(workers, flows=args.flows, rounds=rounds))
        print(f"  {workers} workers: {runs[-1]['per_packet']:.1f}", flush=True)
    result = {"runs": runs, "spread": spread(runs), "spread_max": SPREAD_MAX}
    out = ROOT / "build" / "bench" / "scaling.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    met = result["spread"] <= SPREAD_MAX
    print(f"  spread {result['spread']:.2%}, at most {SPREAD_MAX:.0%}: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
