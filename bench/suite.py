"""What suites of cells have in common: cells, samples in interleaved rounds, what is printed of them."""

import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys
from typing import Callable

import bed as beds
import stats

ROOT = pathlib.Path(__file__).resolve().parent.parent
WARM_UP = 0.3
# A measurement with the CPUs apart is repeated so often; all of them together not more than this.
REPEATS, REPEATS_ALL = 2, 40
# What a cell may end with; anything else is a mistake of ours.
FAILURES = (AssertionError, OSError, ValueError, subprocess.TimeoutExpired)
NOISY = ("bulk in, 1 flow", "bulk out, 1 flow", "round trip, spinning client")


@dataclasses.dataclass(frozen=True)
class Cell:
    group: str  # what is done, e.g. "bulk in, 8 flows"
    variant: str  # who serves
    run: Callable  # (bed, options) -> figures
    key: str  # the figure that counts
    unit: str

    @property
    def name(self):
        return f"{self.group}: {self.variant}"


def with_client(serve, words, threads=False, unpinned=False):
    """A cell's run: this client against what serve(bed, options) yields."""
    def run(bed, options):
        many = threads and options.client_threads > 1
        more = ["--threads", options.client_threads] if many else []
        times = ["--seconds", options.seconds, "--warm-up", min(WARM_UP, options.seconds)]
        with serve(bed, options) as server:
            return beds.guarded(bed, server, lambda: beds.client(
                bed, server, *words, *more, *times, unpinned=many or unpinned))
    return run


def with_wrk(serve):
    def run(bed, options):
        with serve(bed, options) as server:
            return beds.guarded(bed, server, lambda: beds.wrk(bed, server, options.seconds))
    return run


# ---- measuring -----------------------------------------------------------------------------------

class Suite:
    """Runs cells and keeps their samples: one for each round, None for one that failed."""

    def __init__(self, bed, options):
        self.bed = bed
        self.options = options
        self.samples = {}
        self.failures = []
        self.repeats = 0
        self.apart = 0
        self.count = 0

    def measure(self, cell):
        """One sample, measured again while the CPUs are apart."""
        progress(f"{cell.name} ...")
        for attempt in range(REPEATS + 1):
            figures = cell.run(self.bed, self.options)
            self.count += 1
            self.apart += figures["apart"]
            if not figures["apart"] or attempt == REPEATS or self.repeats >= REPEATS_ALL:
                return figures
            self.repeats += 1

    def sample(self, cell, name=None):
        try:
            figures = self.measure(cell)
            figures["marks"] = beds.marks(figures)
        except FAILURES as error:
            figures = None
            self.failed(cell.name, error)
        self.samples.setdefault(name or cell.name, []).append(figures)
        return figures

    def failed(self, name, error):
        self.failures.append({"cell": name, "why": str(error)[-2000:]})

    def group(self, cells, backwards):
        """The variants of one thing, each once; the order turns from round to round."""
        found = {}
        for cell in reversed(cells) if backwards else cells:
            found[cell.variant] = self.sample(cell)
        progress("")
        words = [f"{c.variant} {value_text(found[c.variant], c)}" for c in cells]
        print(f"  {cells[0].group:32}{'; '.join(words)}  {cells[0].unit}", flush=True)

    def rounds(self, cells):
        groups = {}
        for cell in cells:
            groups.setdefault(cell.group, []).append(cell)
        for number in range(self.options.rounds):
            print(f"round {number + 1} of {self.options.rounds}", flush=True)
            for of_group in groups.values():
                self.group(of_group, backwards=number % 2 == 1)

    def noise(self, cells):
        """The daemon against itself; {group: ratios}."""
        print("noise: the daemon against itself, the most that two runs of one round differed")
        out = {}
        for cell in cells:
            for _ in range(self.options.rounds):
                for run in "AB":
                    self.sample(cell, f"A/A {run} {cell.name}")
            a, b = (self.samples.pop(f"A/A {run} {cell.name}") for run in "AB")
            out[cell.group] = stats.paired(a, b, cell.key)
            progress("")
            floor = stats.noise_floor(out[cell.group])
            words = "not measured" if floor is None else f"{floor:.1%}"
            print(f"  {cell.group:32}{words}", flush=True)
        return out

    def print_conditions(self):
        print(f"\n{self.count} measurements; CPUs apart (over {beds.APART_NS} ns) in {self.apart}, "
              f"{self.repeats} of them repeated")
        for kind, times in sorted(doubts(self.samples).items()):
            print(f"doubtful: {kind}: {times} samples")
        for failure in self.failures:
            print(f"FAILED {failure['cell']}: {failure['why'].strip().splitlines()[0]}")

    def write(self, path, facts, noise, more):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({
            "machine": facts, "options": vars(self.options), "noise": noise, **more,
            "samples": self.samples, "failed": self.failures,
            "measured": self.count, "apart": self.apart, "repeated": self.repeats}, indent=1))
        print(f"bench: results in {path.relative_to(ROOT)}")


# ---- what is shown -------------------------------------------------------------------------------

def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def value_text(figures, cell):
    if figures is None:
        return "failed"
    return number(figures[cell.key]) + ("*" if figures["marks"] else "")


def cell_rows(cells, samples):
    """[(cell, summary, share of the samples that are marked)]"""
    rows = []
    for cell in cells:
        good = [s for s in samples.get(cell.name, []) if s]
        found = stats.summary(s[cell.key] for s in good)
        if found:
            rows.append((cell, found, sum(bool(s["marks"]) for s in good)))
    return rows


def print_cells(rows):
    print(f"\n{'':32}{'':18}{'median':>10}{'lowest':>10}{'highest':>10}")
    group = ""
    for cell, s, marked in rows:
        head = cell.group if cell.group != group else ""
        group = cell.group
        note = f"  {marked} of {s.count} doubtful" if marked else ""
        print(f"{head:32}{cell.variant:18}{number(s.median):>10}{number(s.low):>10}"
              f"{number(s.high):>10}  {cell.unit}{note}")


def machine():
    cpu = next((l.split(":", 1)[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text()
                .splitlines() if l.startswith("model name")), "unknown")
    return {"cpu": cpu, "cpus": os.cpu_count(), "kernel": os.uname().release,
            "load": os.getloadavg()[0],
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}


def doubts(samples):
    """How often each kind of mark was set, numbers left out."""
    out = {}
    for of_cell in samples.values():
        for figures in filter(None, of_cell):
            for mark in figures.get("marks", []):
                kind = " ".join(w for w in mark.split(" (")[0].split() if not w[0].isdigit())
                out[kind] = out.get(kind, 0) + 1
    return out


# ---- the command line ----------------------------------------------------------------------------

def parse(p, arguments):
    """Adds the options that all suites of cells have to a parser, and parses."""
    p.add_argument("--quick", action="store_true", help="one round of short measurements")
    p.add_argument("--rounds", type=int, help="default 5")
    p.add_argument("--seconds", type=float, help="of each measurement; default 2")
    p.add_argument("--only", action="append", default=[], metavar="TEXT",
                   help="cells with this in their name, e.g. 'bulk in' or ': engine'")
    p.add_argument("--unpinned", action="store_true",
                   help="servers and clients run on any CPU; the default is one CPU for each")
    p.add_argument("--client-threads", type=int, default=1, metavar="N",
                   help="of the bulk client, which then runs on any CPU; the default is one thread")
    p.add_argument("--set", action="append", default=[], metavar="section.key=VALUE",
                   help="more configuration for the daemon")
    o = p.parse_args(arguments)
    o.rounds = o.rounds or (1 if o.quick else 5)
    o.seconds = o.seconds or (0.4 if o.quick else 2)
    return o


def is_wanted(name, options):
    return not options.only or any(words in name for words in options.only)


def wanted(cells, options, others=()):
    """Those that --only leaves; `others`: names that a suite measures in its own way."""
    left = [c for c in cells if is_wanted(c.name, options)]
    if not left and not any(is_wanted(name, options) for name in others):
        sys.exit(f"bench: nothing has {' or '.join(map(repr, options.only))} in its name, but "
                 f"{', '.join(sorted({c.group for c in cells}))}")
    return left


def noisy(cells):
    """Those that the daemon runs against itself in."""
    return [c for c in cells if c.variant == "engine" and c.group in NOISY]


def print_start(name, options, facts):
    print(f"bench: {name}, {options.rounds} round(s) of {options.seconds:g} s each, "
          f"{facts['cpus']} CPUs, load {facts['load']:.1f}; * is a doubtful sample")
