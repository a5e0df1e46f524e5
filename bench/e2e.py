"""End to end: the daemon beside what its device allows (stubs) and beside the kernel over veth.

Rounds are interleaved and every ratio is of one round; the daemon against itself says how much
noise there is.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from typing import Callable

import bed as beds
import harness
import stats
from stats import Goal

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "bench" / "e2e.json"
FLOWS = (1, 8, 64)
WARM_UP = 0.3
IDLE_QUICK, IDLE, IDLE_FULL = 2_000, 10_000, 100_000
# A measurement with the CPUs apart is repeated so often; all of them together not more than this.
REPEATS, REPEATS_ALL = 2, 40


# ---- what is measured ----------------------------------------------------------------------------

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


def server_of(bed, options, variant, role):
    """The server for a role: sink, source or echo."""
    settings = dict(word.split("=", 1) for word in options.set)
    if variant == "stub":
        return beds.stub(bed, role)
    if variant == "stub, lazy":
        return beds.stub(bed, role, "--ack-batches")
    if variant == "kernel":
        return beds.kernel(bed, poll=role == "echo")
    if variant == "kernel, blocking":
        return beds.kernel(bed, poll=False)
    return beds.engine(bed, "dedicated" if variant == "dedicated" else "inline", settings)


def with_client(variant, role, words, threads=False):
    """A cell's run: this client against that server."""
    def run(bed, options):
        many = threads and options.client_threads > 1
        more = ["--threads", options.client_threads] if many else []
        times = ["--seconds", options.seconds, "--warm-up", min(WARM_UP, options.seconds)]
        with server_of(bed, options, variant, role) as server:
            return beds.guarded(bed, server, lambda: beds.client(
                bed, server, *words, *more, *times, unpinned=many or variant == "dedicated"))
    return run


def with_wrk(variant):
    def run(bed, options):
        server = beds.nginx(bed) if variant == "nginx" else server_of(bed, options, variant, "http")
        with server as s:
            return beds.guarded(bed, s, lambda: beds.wrk(bed, s, options.seconds))
    return run


def bulk_cells():
    for way, role in (("in", "sink"), ("out", "source")):
        for flows in FLOWS:
            group = f"bulk {way}, {flows} flow{'s' * (flows > 1)}"
            words = [f"bulk-{way}", "--flows", flows]
            lazy = ("stub, lazy",) if way == "in" else ()
            for variant in ("engine", "dedicated", "stub", *lazy, "kernel"):
                yield Cell(group, variant, with_client(variant, role, words, threads=True),
                           "gbit_s", "Gbit/s")


def round_trip_cells():
    for kind, words in (("spinning client", ["--spin"]), ("blocking client", [])):
        for variant in ("engine", "stub", "kernel"):
            yield Cell(f"round trip, {kind}", variant, with_client(variant, "echo", ["rr", *words]),
                       "p50_us", "us")


def connect_cells():
    for count in (1, 16):
        words = ["crr", "--connections", count, "--addresses", beds.ADDRESSES]
        for variant in ("engine", "stub", "kernel, blocking"):
            yield Cell(f"connections, {count} at a time", variant,
                       with_client(variant, "echo", words), "per_second", "/s")


def http_cells():
    for variant in ("engine", "nginx"):
        yield Cell("http keep-alive", variant, with_wrk(variant), "per_second", "/s")


def all_cells():
    cells = [*bulk_cells(), *round_trip_cells(), *connect_cells()]
    return cells + list(http_cells() if beds.has_nginx() else [])


def goals():
    """What the figures should be, in the order of the table."""
    for way, role in (("in", "sink"), ("out", "source")):
        one = f"bulk {way}, 1 flow"
        yield Goal(f"{one} / stub {role}", f"{one}: engine", f"{one}: stub", "gbit_s", ">=", 0.90)
        yield Goal(f"{one} / kernel", f"{one}: engine", f"{one}: kernel", "gbit_s", ">=", 1.15)
        for flows in FLOWS[1:]:
            many = f"bulk {way}, {flows} flows"
            yield Goal(f"{many} / 1 flow", f"{many}: engine", f"{one}: engine", "gbit_s", ">=", 0.9)
        many = f"bulk {way}, 8 flows"
        yield Goal(f"{many} / kernel", f"{many}: engine", f"{many}: kernel", "gbit_s", ">=", 0.95)
        yield Goal(f"{one}, dedicated / inline", f"{one}: dedicated", f"{one}: engine", "gbit_s",
                   ">=", 0.75)
        yield Goal(f"{one}, CPU s/GB / stub", f"{one}: engine", f"{one}: stub", "cpu_s_per_gb",
                   "<=", 1.3)
    for kind in ("spinning client", "blocking client"):
        trip = f"round trip, {kind}"
        yield Goal(f"{trip}, p50 / stub", f"{trip}: engine", f"{trip}: stub", "p50_us", "<=", 1.10)
        yield Goal(f"{trip}, p99 / stub", f"{trip}: engine", f"{trip}: stub", "p99_us", "<=", 1.25)
        yield Goal(f"{trip}, p50 / polling kernel", f"{trip}: engine", f"{trip}: kernel", "p50_us",
                   "<=", 0.85)
    for count in (1, 16):
        life = f"connections, {count} at a time"
        yield Goal(f"{life} / kernel", f"{life}: engine", f"{life}: kernel, blocking",
                   "per_second", ">=", 1.3)
    yield Goal("http keep-alive / nginx", "http keep-alive: engine", "http keep-alive: nginx",
               "per_second", ">=", 1.5)
    yield Goal("octets per idle connection", "idle connections: engine", "",
               "octets_per_connection", "<=", 1024)


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
        except (AssertionError, OSError, ValueError, subprocess.TimeoutExpired) as error:
            figures = None
            self.failures.append({"cell": cell.name, "why": str(error)[-2000:]})
        self.samples.setdefault(name or cell.name, []).append(figures)
        return figures

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

    def idle(self, count):
        """Memory of connections that are open and silent."""
        settings = {"tcp.memory_limit": "4GiB"}
        progress(f"{count} idle connections ...")
        try:
            with beds.engine(self.bed, "inline", settings) as server:
                figures = idle_figures(self.bed, server, count)
        except (AssertionError, OSError, ValueError) as error:
            figures = None
            self.failures.append({"cell": "idle connections: engine", "why": str(error)[-2000:]})
        self.samples["idle connections: engine"] = [figures]
        progress("")
        if figures:
            print(f"  {count} idle connections: {figures['octets_per_connection']:.0f} octets each")


def hold_idle(bed, server, count, processes):
    """Opens connections from as many clients as their descriptors take; returns how many."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 64
    opened = 0
    while opened < count:
        processes.append(beds.Process(bed.lab.command(
            beds.TOOLS / "pollux_client", "idle", "--connections", min(most, count - opened),
            "--address", server[0], "--addresses", beds.ADDRESSES), stdin=subprocess.PIPE))
        opened += json.loads(processes[-1].wait_ready(120))["open"]
    return opened


def idle_figures(bed, server, count):
    before = bed.lab.rss_kib()
    processes = []
    try:
        opened = hold_idle(bed, server, count, processes)
        harness.wait_until(lambda: bed.lab.totals()["connections_open"] >= opened, 10,
                           f"{opened} open connections")
        grown = (bed.lab.rss_kib() - before) * 1024
    finally:
        for process in processes:
            process.destroy()
    # So many FINs at once overrun the device's queue; the daemon's end need not wait for them.
    return {"connections": opened, "octets_per_connection": grown / opened}


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


def print_goals(judged):
    print(f"\n{'goal':46}{'':>8}{'median':>9}{'spread':>18}")
    for g in judged:
        if "median" not in g:
            print(f"{g['name']:46}{g['goal']:>8}{'not measured':>22}")
            continue
        form = ".0f" if g["median"] >= 100 else ".2f"
        spread = f"{g['low']:{form}} .. {g['high']:{form}}"
        print(f"{g['name']:46}{g['goal']:>8}{g['median']:9{form}}{spread:>18}  {g['verdict']}")


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


# ---- all of it -----------------------------------------------------------------------------------

def parse(arguments):
    p = argparse.ArgumentParser(prog="run.sh bench e2e", description=__doc__.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="one round of short measurements")
    p.add_argument("--full", action="store_true", help=f"{IDLE_FULL:,} idle connections")
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


def wanted_cells(options):
    cells = [c for c in all_cells() if not options.only or any(w in c.name for w in options.only)]
    aa = [c for c in cells if c.variant == "engine" and
          c.group in ("bulk in, 1 flow", "bulk out, 1 flow", "round trip, spinning client")]
    return cells, aa


def run_suite(suite, options):
    cells, aa = wanted_cells(options)
    print("noise: the daemon against itself, the most that two runs of one round differed")
    noise = suite.noise(aa)
    suite.rounds(cells)
    if not options.only or any(w in "idle connections: engine" for w in options.only):
        suite.idle(IDLE_FULL if options.full else IDLE_QUICK if options.quick else IDLE)
    return cells, noise


def write_results(suite, options, facts, noise, judged):
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({
        "machine": facts, "options": vars(options), "noise": noise, "goals": judged,
        "samples": suite.samples, "failed": suite.failures,
        "measured": suite.count, "apart": suite.apart, "repeated": suite.repeats}, indent=1))
    print(f"bench: e2e, results in {RESULTS.relative_to(ROOT)}")


def conclude(suite, options, facts, cells, noise):
    judged = [g.judge(suite.samples) for g in goals()]
    if options.only:
        judged = [g for g in judged if g["verdict"] != "not measured"]
    print_cells(cell_rows(cells, suite.samples))
    print_goals(judged)
    print(f"\n{suite.count} measurements; CPUs apart (over {beds.APART_NS} ns) in {suite.apart}, "
          f"{suite.repeats} of them repeated")
    for kind, times in sorted(doubts(suite.samples).items()):
        print(f"doubtful: {kind}: {times} samples")
    for failure in suite.failures:
        print(f"FAILED {failure['cell']}: {failure['why'].strip().splitlines()[0]}")
    write_results(suite, options, facts, noise, judged)


def main(arguments):
    options = parse(arguments)
    harness.clean_up_on_exit()
    facts = machine()
    print(f"bench: e2e, {options.rounds} round(s) of {options.seconds:g} s each, "
          f"{facts['cpus']} CPUs, load {facts['load']:.1f}; * is a doubtful sample")
    if not beds.has_nginx():
        print("http: skipped, wants wrk and nginx (./run.sh setup)")
    bed = beds.Bed(pinned=not options.unpinned)
    suite = Suite(bed, options)
    began = time.monotonic()
    try:
        cells, noise = run_suite(suite, options)
    finally:
        bed.destroy()
    conclude(suite, options, facts, cells, noise)
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if suite.failures else 0
