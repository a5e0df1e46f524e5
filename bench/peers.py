"""The daemon beside other TCP stacks of user space on the same device, and beside the kernel.

Nothing here is a goal: what comes out are ratios of the daemon to each peer, of one round each.
"""

import argparse
import dataclasses
import os
import shutil
import subprocess
import time

import bed as beds
import harness
import stats
import suite as suites
from harness import sh
from suite import ROOT, Cell

RESULTS = ROOT / "build" / "bench" / "peers.json"
SOURCES = ROOT / "bench" / "peers"
PROGRAMS = beds.TOOLS / "peers"
GO_PATH = "/usr/share/gocode"  # where Debian has the sources of Go libraries
PACKAGES = ("golang-gvisor-gvisor-dev", "golang-go", "liblwip-dev", "iperf3", "nginx")
FLOWS = (1, 8)
HTTP = "http keep-alive"

ON_TUN = {"gvisor": ("gvisor",), "gvisor, GSO": ("gvisor", "--gso"), "lwip": ("lwip",)}
# The programs without which a variant is left out.
NEEDS = {**{variant: words[0] for variant, words in ON_TUN.items()},
         "iperf3": "iperf3", "nginx": "nginx"}


# ---- the programs --------------------------------------------------------------------------------

def build_gvisor(target):
    settings = {"GO111MODULE": "off", "GOPATH": GO_PATH, "GOPROXY": "off", "GOFLAGS": "",
                "GOCACHE": str(ROOT / "build" / "go-cache")}
    sh("go", "build", "-o", target, ".", cwd=SOURCES / "gvisor", env={**os.environ, **settings},
       timeout=900)


def build_lwip(target):
    flags = sh("pkg-config", "--cflags", "--libs", "lwip").split()
    sh("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", target,
       *sorted((SOURCES / "lwip").glob("*.c")), *flags, timeout=120)


def why_not(build, target):
    """Builds a program; why that was not possible, or nothing."""
    try:
        build(target)
    except FileNotFoundError as error:
        return f"there is no {error.filename}"
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        return reason(str(error))
    return ""


def reason(text):
    """The line that tells most of what a compiler said; the first is the command."""
    lines = [line.strip() for line in text.strip().splitlines() if not line.startswith("#")]
    return next((line for line in lines if "error:" in line), (lines[1:] or lines)[0])


def missing():
    """{program: why it is not there}, empty for those that are."""
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    found = {name: why_not(build, PROGRAMS / name)
             for name, build in (("gvisor", build_gvisor), ("lwip", build_lwip))}
    for tool in ("iperf3", "nginx", "wrk"):
        found[tool] = "" if shutil.which(tool) else f"there is no {tool}"
    return found


def skipped(reasons):
    return [f"{name}: skipped, {why}" for name, why in reasons.items() if why]


def versions():
    out = {}
    for package in PACKAGES:
        words = sh("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package, check=False)
        if words.startswith("installed "):
            out[package] = words.split()[1]
    return out


# ---- what is measured ----------------------------------------------------------------------------

def with_server(variant, role, make):
    """A cell's run; make(serve) is what the client does."""
    if variant in ON_TUN:
        return with_peer(*ON_TUN[variant], make=make)
    return make(lambda bed, options: other_server(bed, options, variant, role))


def other_server(bed, options, variant, role):
    if variant == "nginx":
        return beds.nginx(bed)
    if variant == "kernel":
        return beds.kernel(bed, poll=role == "echo, polled")
    return beds.engine(bed, "inline", dict(word.split("=", 1) for word in options.set))


def with_peer(kind, *words, make):
    def run(bed, options):
        report = {}
        figures = make(lambda b, _: beds.peer(b, kind, words, report))(bed, options)
        figures["server"] = report
        return figures
    return run


def with_iperf3(way, flows):
    def run(bed, options):
        with beds.iperf3_server(bed) as server:
            return beds.guarded(bed, server, lambda: beds.iperf3(bed, server, way, flows,
                                                                 options.seconds))
    return run


def cell(group, variant, role, words, key, unit, **kw):
    run = with_server(variant, role, lambda serve: suites.with_client(serve, words, **kw))
    return Cell(group, variant, run, key, unit)


def bulk_cells():
    for way in ("in", "out"):
        for flows in FLOWS:
            group = f"bulk {way}, {flows} flow{'s' * (flows > 1)}"
            words = [f"bulk-{way}", "--flows", flows]
            for variant in ("engine", *ON_TUN, "kernel"):
                yield cell(group, variant, "bulk", words, "gbit_s", "Gbit/s", threads=True)
            yield Cell(group, "iperf3", with_iperf3(way, flows), "gbit_s", "Gbit/s")


def echo_cells():
    for kind, words in (("spinning client", ["--spin"]), ("blocking client", [])):
        for variant in ("engine", *ON_TUN, "kernel"):
            yield cell(f"round trip, {kind}", variant, "echo, polled", ["rr", *words], "p50_us",
                       "us")
    words = ["crr", "--connections", 1, "--addresses", beds.ADDRESSES]
    for variant in ("engine", *ON_TUN, "kernel"):
        yield cell("connections, 1 at a time", variant, "echo", words, "per_second", "/s")


def http_cells():
    for variant in ("engine", *ON_TUN, "nginx"):
        yield Cell(HTTP, variant, with_server(variant, "http", suites.with_wrk), "per_second", "/s")


def all_cells():
    return [*bulk_cells(), *echo_cells(), *http_cells()]


def available(cells, reasons):
    """Those for which nothing is missing."""
    def there(c):
        needed = [NEEDS.get(c.variant)] + ["wrk"] * (c.group == HTTP)
        return not any(reasons.get(program) for program in needed)
    return [c for c in cells if there(c)]


# ---- what comes out ------------------------------------------------------------------------------

def ratios(cells, samples):
    """The daemon to each peer that was measured, in the order of the cells."""
    out = []
    for c in cells:
        if c.variant == "engine":
            continue
        ours, theirs = samples.get(f"{c.group}: engine", []), samples.get(c.name, [])
        for key in ("p50_us", "p99_us") if c.key == "p50_us" else (c.key,):
            found = stats.summary(stats.paired(ours, theirs, key))
            if found:
                out.append({"group": c.group, "peer": c.variant, "key": key,
                            "better": "less" if key.endswith("_us") else "more",
                            **dataclasses.asdict(found)})
    return out


def print_ratios(found):
    print(f"\n{'engine / peer':32}{'':26}{'median':>9}{'spread':>18}")
    group = ""
    for r in found:
        head = r["group"] if r["group"] != group else ""
        group = r["group"]
        what = f"{r['peer']}, {r['key'][:3]}" if r["better"] == "less" else r["peer"]
        print(f"{head:32}{what:26}{r['median']:9.2f}{r['low']:9.2f} .. {r['high']:.2f}"
              f"  {r['better']} is better")


def check(bed, variant):
    """A peer has to give the right octets before its speed means anything."""
    kind, *words = ON_TUN[variant]
    with beds.peer(bed, kind, words, {}):
        harness.echo_exact(bed.lab, 1_000_000)
        url = f"http://{harness.ENGINE}/"
        if bed.lab.run("curl", "-sS", "-m", "10", url, url) != 2 * beds.PAGE:
            raise AssertionError("the page is not the one asked for")


def check_all(suite, cells):
    """The cells without those of peers that fail."""
    wrong = set()
    for variant in [v for v in ON_TUN if any(c.variant == v for c in cells)]:
        suites.progress(f"checking {variant} ...")
        try:
            check(suite.bed, variant)
        except suites.FAILURES as error:
            suite.failed(f"check: {variant}", error)
            wrong.add(variant)
    suites.progress("")
    return [c for c in cells if c.variant not in wrong]


def run_suite(options, reasons):
    harness.clean_up_on_exit()
    cells = suites.wanted(available(all_cells(), reasons), options)
    bed = beds.Bed(pinned=not options.unpinned)
    suite = suites.Suite(bed, options)
    try:
        cells = check_all(suite, cells)
        noise = suite.noise(suites.noisy(cells))
        suite.rounds(cells)
    finally:
        bed.destroy()
    return suite, cells, noise


def main(arguments):
    p = argparse.ArgumentParser(prog="run.sh bench peers", description=__doc__.split("\n")[0])
    options = suites.parse(p, arguments)
    began = time.monotonic()
    reasons, facts, found = missing(), suites.machine(), versions()
    suites.print_start("peers", options, facts)
    print("versions: " + ", ".join(f"{name} {version}" for name, version in found.items()))
    print(*skipped(reasons), sep="\n", end="\n" if any(reasons.values()) else "")
    suite, cells, noise = run_suite(options, reasons)
    of_peers = ratios(cells, suite.samples)
    suites.print_cells(suites.cell_rows(cells, suite.samples))
    print_ratios(of_peers)
    suite.print_conditions()
    suite.write(RESULTS, facts, noise, {"ratios": of_peers, "versions": found,
                                        "skipped": skipped(reasons)})
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if suite.failures else 0
