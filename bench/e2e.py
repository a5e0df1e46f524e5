"""End to end: the daemon beside what its device allows (stubs) and beside the kernel over veth.

Rounds are interleaved and every ratio is of one round; the daemon against itself says how much
noise there is.
"""

import argparse
import json
import resource
import subprocess
import time

import bed as beds
import harness
import suite as suites
from stats import Goal
from suite import Cell, progress

RESULTS = suites.ROOT / "build" / "bench" / "e2e.json"
FLOWS = (1, 8, 64)
DATAGRAMS = (64, 1448, 8192)  # octets; the last do not fit a packet
IDLE_QUICK, IDLE = 2_000, 100_000
IDLE_OF_ADDRESS = 25_000  # of 64,511 ports: past half of them connect() searches long
IDLE_REST = 2  # seconds: services give some memory back after a while
IDLE_CELLS = {"idle connections: engine": (), "idle connections, http: engine": ("--http",)}


# ---- what is measured ----------------------------------------------------------------------------

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


def serving(variant, role):
    return lambda bed, options: server_of(bed, options, variant, role)


def with_client(variant, role, words, threads=False):
    return suites.with_client(serving(variant, role), words, threads, variant == "dedicated")


def with_wrk(variant):
    if variant == "nginx":
        return suites.with_wrk(lambda bed, _: beds.nginx(bed))
    return suites.with_wrk(serving(variant, "http"))


def bulk_cells():
    for way, role in (("in", "sink"), ("out", "source")):
        for flows in FLOWS:
            group = f"bulk {way}, {flows} flow{'s' * (flows > 1)}"
            words = [f"bulk-{way}", "--flows", flows]
            lazy = ("stub, lazy",) if way == "in" else ()
            for variant in ("engine", "dedicated", "stub", *lazy, "kernel"):
                yield Cell(group, variant, with_client(variant, role, words, threads=True),
                           "gbit_s", "Gbit/s")


def iperf3_cells():
    """The service with its own client, and with the client of the plain services in that role."""
    def own_client(way):
        def run(bed, options):
            with serving("engine", "")(bed, options) as server:
                return beds.guarded(bed, server, lambda: beds.iperf3(bed, server, way, 1,
                                                                     options.seconds))
        return run

    for way in ("in", "out"):
        group = f"bulk {way}, 1 flow"
        yield Cell(group, "iperf3 service", with_client("engine", "", [f"bulk-{way}", "--iperf3"]),
                   "gbit_s", "Gbit/s")
        yield Cell(group, "iperf3 and its client", own_client(way), "gbit_s", "Gbit/s")


def datagram_cells():
    """As many as the sender can, so most are lost: what counts is what arrives."""
    def run_with(serve, way, size):
        def run(bed, options):
            with serve(bed, options) as server:
                figures = beds.guarded(bed, server, lambda: beds.iperf3(bed, server, way, 1,
                                                                        options.seconds, size))
            return figures | {"dropped": 0}  # that devices drop them is meant
        return run

    for way in ("in", "out"):
        for size in DATAGRAMS:
            for variant, serve in (("engine", serving("engine", "")),
                                   ("kernel", lambda bed, _: beds.iperf3_server(bed))):
                yield Cell(f"datagrams of {size} {way}", variant, run_with(serve, way, size),
                           "gbit_s", "Gbit/s")


def forward_cells():
    def forwarding(bed, options):
        return beds.forwarding(bed, dict(word.split("=", 1) for word in options.set))

    for way in ("in", "out"):
        words = [f"bulk-{way}", "--port", beds.FORWARDED[way]]
        for variant, serve in (("engine", forwarding),
                               ("socat", lambda bed, _, way=way: beds.socat(bed, way))):
            yield Cell(f"forward {way}, 1 flow", variant, suites.with_client(serve, words),
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
    cells = [*bulk_cells(), *iperf3_cells(), *datagram_cells(), *forward_cells(),
             *round_trip_cells(), *connect_cells()]
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
        for variant in ("iperf3 service", "iperf3 and its client"):
            yield Goal(f"{one}, {variant} / {'discard' if way == 'in' else 'chargen'}",
                       f"{one}: {variant}", f"{one}: engine", "gbit_s", ">=", 0.95)
        many = f"bulk {way}, 8 flows"
        yield Goal(f"{many} / kernel", f"{many}: engine", f"{many}: kernel", "gbit_s", ">=", 0.95)
        yield Goal(f"{one}, dedicated / inline", f"{one}: dedicated", f"{one}: engine", "gbit_s",
                   ">=", 0.75)
        yield Goal(f"{one}, CPU s/GB / stub", f"{one}: engine", f"{one}: stub", "cpu_s_per_gb",
                   "<=", 1.3)
        for size in DATAGRAMS:
            many = f"datagrams of {size} {way}"
            yield Goal(f"{many} / kernel", f"{many}: engine", f"{many}: kernel", "gbit_s", ">=", 1)
        many = f"forward {way}, 1 flow"
        yield Goal(f"{many} / socat", f"{many}: engine", f"{many}: socat", "gbit_s", ">=", 1)
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
    for cell, bound in zip(IDLE_CELLS, (1024, 1536)):
        yield Goal(f"octets of {cell.removesuffix(': engine')}", cell, "",
                   "octets_per_connection", "<=", bound)


# ---- idle connections ----------------------------------------------------------------------------

def addresses_for(connections):
    return max(beds.ADDRESSES, -(-connections // IDLE_OF_ADDRESS))


def hold_idle(bed, server, count, words, processes):
    """Opens connections from as many clients as their descriptors take; returns how many."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 64
    opened = 0
    while opened < count:
        processes.append(beds.Process(bed.lab.command(
            beds.TOOLS / "pollux_client", "idle", *words, "--connections", min(most, count - opened),
            "--address", server[0], "--addresses", addresses_for(count)), stdin=subprocess.PIPE))
        opened += json.loads(processes[-1].wait_ready(120))["open"]
        progress(f"{opened:,} of {count:,} idle connections ...")
    return opened


def idle_figures(bed, server, count, words):
    before = bed.lab.rss_kib()
    processes = []
    try:
        opened = hold_idle(bed, server, count, words, processes)
        harness.wait_until(lambda: bed.lab.totals()["connections_open"] >= opened, 10,
                           f"{opened} open connections")
        time.sleep(IDLE_REST)
        grown = (bed.lab.rss_kib() - before) * 1024
    finally:
        for process in processes:
            process.destroy()
    # So many FINs at once overrun the device's queue; the daemon's end need not wait for them.
    return {"connections": opened, "octets_per_connection": grown / opened}


def measure_idle(suite, cell, count):
    """Memory of connections that are open and silent."""
    progress(f"{count} {cell} ...")
    try:
        settings = {"tcp.memory_limit": "4GiB",
                    "tun.address": beds.following(beds.ENGINE, addresses_for(count))}
        with beds.engine(suite.bed, "inline", settings) as server:
            figures = idle_figures(suite.bed, server, count, IDLE_CELLS[cell])
    except suites.FAILURES as error:
        figures = None
        suite.failed(cell, error)
    suite.samples[cell] = [figures]
    progress("")
    if figures:
        print(f"  {count} {cell}: {figures['octets_per_connection']:.0f} octets each")


# ---- all of it -----------------------------------------------------------------------------------

def print_goals(judged):
    print(f"\n{'goal':46}{'':>8}{'median':>9}{'spread':>18}")
    for g in judged:
        if "median" not in g:
            print(f"{g['name']:46}{g['goal']:>8}{'not measured':>22}")
            continue
        form = ".0f" if g["median"] >= 100 else ".2f"
        spread = f"{g['low']:{form}} .. {g['high']:{form}}"
        print(f"{g['name']:46}{g['goal']:>8}{g['median']:9{form}}{spread:>18}  {g['verdict']}")


def parse(arguments):
    p = argparse.ArgumentParser(prog="run.sh bench e2e", description=__doc__.split("\n")[0])
    p.add_argument("--idle", type=int, metavar="N",
                   help=f"idle connections; default {IDLE:,}, with --quick {IDLE_QUICK:,}")
    return suites.parse(p, arguments)


def run_suite(suite, options):
    cells = suites.wanted(all_cells(), options, IDLE_CELLS)
    noise = suite.noise(suites.noisy(cells))
    suite.rounds(cells)
    for cell in IDLE_CELLS:
        if suites.is_wanted(cell, options):
            count = options.idle or (IDLE_QUICK if options.quick else IDLE)
            # One after the other takes time, and http's first ones would be closed as idle.
            measure_idle(suite, cell, min(count, IDLE) if IDLE_CELLS[cell] else count)
    return cells, noise


def conclude(suite, options, facts, cells, noise):
    judged = [g.judge(suite.samples) for g in goals()]
    if options.only:
        judged = [g for g in judged if g["verdict"] != "not measured"]
    suites.print_cells(suites.cell_rows(cells, suite.samples))
    print_goals(judged)
    suite.print_conditions()
    suite.write(RESULTS, facts, noise, {"goals": judged})


def main(arguments):
    options = parse(arguments)
    harness.clean_up_on_exit()
    facts = suites.machine()
    suites.print_start("e2e", options, facts)
    if not beds.has_nginx():
        print("http: skipped, wants wrk and nginx (./run.sh setup)")
    bed = beds.Bed(pinned=not options.unpinned)
    suite = suites.Suite(bed, options)
    began = time.monotonic()
    try:
        cells, noise = run_suite(suite, options)
    finally:
        bed.destroy()
    conclude(suite, options, facts, cells, noise)
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if suite.failures else 0
