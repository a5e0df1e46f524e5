"""Loss recovery over an impaired path: the daemon's TCP against the kernel's, in turns.

out: kernel -> kernel against pollux -> kernel.   in: kernel -> kernel against kernel -> pollux.
"""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import harness  # noqa: E402
import path as paths  # noqa: E402
from harness import CHARGEN, DISCARD, ENGINE, Lab  # noqa: E402
from path import AB, BA, PEER, Path, tcp_info, use_congestion_control  # noqa: E402

MIB = 1 << 20
BLOCK = bytes(MIB)
QUEUE_MIN = 256 << 10
LATE_SHARE_MAX = 0.05  # of the packets, sent on more than 1 ms after their time
RESULTS = ROOT / "build" / "bench" / "recovery.json"


# ---- one transfer --------------------------------------------------------------------------------

class KernelServer:
    """The kernel in place of the daemon: sends without end (out), or reads to the end (in)."""

    def __init__(self, netns, algorithm, sends):
        self._listener = netns.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        use_congestion_control(self._listener, algorithm)
        self._listener.bind((PEER, 0))
        self._listener.listen(1)
        self._listener.settimeout(10)
        self.port = self._listener.getsockname()[1]
        self.connection = None
        self._thread = threading.Thread(target=self._serve, args=(sends,), daemon=True)
        self._thread.start()

    def _serve(self, sends):
        with contextlib.suppress(OSError):
            self.connection, _ = self._listener.accept()
            self.connection.settimeout(30)
            if sends:
                while True:
                    self.connection.sendall(BLOCK)
            buffer = bytearray(MIB)
            while self.connection.recv_into(buffer):
                pass
            self.connection.shutdown(socket.SHUT_WR)

    def close(self):
        self._listener.close()
        if self.connection is not None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        if self.connection is not None:
            self.connection.close()


def receive(sock, size, deadline):
    """Reads `size` octets or until the deadline; returns how many."""
    buffer, got = bytearray(MIB), 0
    while got < size and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            n = sock.recv_into(buffer, min(MIB, size - got))
        except TimeoutError:
            break
        if n == 0:
            raise AssertionError(f"the sender ended after {got} octets")
        got += n
    return got


def send(sock, size, deadline):
    """Sends `size` octets and waits for the reader's end, or until the deadline."""
    block, sent = memoryview(BLOCK), 0
    try:
        while sent < size and (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            sent += sock.send(block[:min(256 << 10, size - sent)])
        if sent == size:
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            if sock.recv(1) == b"":
                return size
    except TimeoutError:
        pass
    return min(tcp_info(sock)["bytes_acked"], size)


@dataclasses.dataclass
class Cell:
    algorithm: str
    direction: str  # of the data, seen from the daemon
    rtt_ms: float
    loss: float  # percent

    def __str__(self):
        return f"{self.algorithm} {self.direction} rtt {self.rtt_ms:g} ms loss {self.loss:g} %"


def queue_octets(options, cell):
    bdp = options.rate * 1e6 / 8 * cell.rtt_ms / 1e3
    return options.queue * 1024 if options.queue else max(int(bdp), QUEUE_MIN)


def hop_options(options, cell, seed):
    way = "ab" if cell.direction == "out" else "ba"
    words = ["--seed", seed, "--delay", f"{cell.rtt_ms / 2:g}ms", "--spare-handshake",
             f"--{way}-rate", f"{options.rate:g}M", f"--{way}-queue", queue_octets(options, cell),
             f"--{way}-loss", f"{cell.loss:g}"]
    return words + [word.replace("--data-", f"--{way}-") for word in options.hop]


def transfer(far, address, port, cell, options):
    """One transfer from or to the far kernel. Returns (octets, seconds, the far socket's info)."""
    with far.socket() as sock:
        use_congestion_control(sock, cell.algorithm)
        start = time.monotonic()
        deadline = start + options.seconds
        sock.settimeout(options.seconds)
        sock.connect((address, port))
        move = receive if cell.direction == "out" else send
        octets = move(sock, options.size * MIB, deadline)
        return octets, time.monotonic() - start, tcp_info(sock)


def one_run(bed, stack, cell, options, seed):
    """Measures one stack in one cell; everything that it found, and what makes it void."""
    lab, path = bed
    server = KernelServer(path.peer, cell.algorithm, cell.direction == "out") \
        if stack == "kernel" else None
    port = server.port if server else CHARGEN if cell.direction == "out" else DISCARD
    with path.hop(*hop_options(options, cell, seed)) as hop:
        before, drops = lab.totals(), path.device_drops()
        octets, seconds, info = transfer(path.far, PEER if server else ENGINE, port, cell, options)
        wire = hop.counters()[AB if cell.direction == "out" else BA]
        after = lab.totals()
        if server and cell.direction == "out" and server.connection:
            info = tcp_info(server.connection)
        lost = {k: v - drops[k] for k, v in path.device_drops().items() if v != drops[k]}
        if server:
            server.close()
        settle(lab, cell)
    run = {"octets": octets, "seconds": seconds, "mbit_s": octets * 8 / seconds / 1e6,
           "wire": wire, "seed": seed}
    if stack == "pollux" and cell.direction == "out":
        run["retransmitted_segments"] = \
            after["retransmitted_segments"] - before["retransmitted_segments"]
    else:
        run["tcp_info"] = info
    run["void"] = void_because(wire, lost, octets)
    return run


def settle(lab, cell):
    """The connection's end still passes the hop, or the daemon would go on with a dead one."""
    time.sleep(2 * cell.rtt_ms / 1e3 + 0.05)
    end = time.monotonic() + 3
    while lab.totals()["connections_open"] > 0 and time.monotonic() < end:
        time.sleep(0.05)


def void_because(wire, lost, octets):
    if lost:
        return f"a device dropped packets: {lost}"
    if wire["dropped"]["overflow"] or wire["dropped"]["refused"]:
        return f"the hop could not keep up: {wire['dropped']}"
    if wire["late_packets"] > LATE_SHARE_MAX * wire["packets"]:
        return f"the hop was late with {wire['late_packets']} of {wire['packets']} packets"
    return "" if octets else "nothing arrived"


# ---- cells ---------------------------------------------------------------------------------------

def resent_percent(run):
    """Octets sent again, of all octets of data that the hop saw."""
    return 100 * run["wire"]["retransmitted_octets"] / max(run["wire"]["data_octets"], 1)


def ratio(a, b):
    return a / b if b else None


def summarise(cell, runs, options):
    out = {**dataclasses.asdict(cell), "rate_mbit_s": options.rate,
           "queue_octets": queue_octets(options, cell), "runs": runs}
    for stack, of_stack in runs.items():
        out[stack] = {
            "mbit_s": statistics.median(r["mbit_s"] for r in of_stack),
            "resent_packets": statistics.median(
                r["wire"]["retransmitted_packets"] for r in of_stack),
            "spurious_packets": statistics.median(r["wire"]["spurious_packets"] for r in of_stack),
            "resent_percent": statistics.median(resent_percent(r) for r in of_stack),
        }
    out["goodput_ratio"] = ratio(out["pollux"]["mbit_s"], out["kernel"]["mbit_s"])
    out["resent_ratio"] = ratio(out["pollux"]["resent_percent"], out["kernel"]["resent_percent"])
    out["void"] = next((r["void"] for s in runs.values() for r in s if r["void"]), "")
    return out


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def run_cell(bed, cell, options, label):
    runs = {"kernel": [], "pollux": []}
    for repeat in range(options.repeat):
        order = ("kernel", "pollux") if repeat % 2 == 0 else ("pollux", "kernel")
        for stack in order:
            progress(f"{label} {cell}: {stack} {repeat + 1}/{options.repeat}")
            runs[stack].append(one_run(bed, stack, cell, options, options.seed + repeat))
    progress("")
    return summarise(cell, runs, options)


HEADER = (f"{'cc':6}{'dir':4}{'rtt ms':>7}{'loss %':>7} | {'kernel':>8}{'pollux':>8}{'ratio':>7}"
          f" | {'resent k':>9}{'p':>7}{'k %':>7}{'p %':>7}{'ratio':>7} | {'spurious k':>10}{'p':>6}")


def number(value, form):
    return "-" if value is None else f"{value:{form}}"


def row(c):
    k, p = c["kernel"], c["pollux"]
    text = (f"{c['algorithm']:6}{c['direction']:4}{c['rtt_ms']:7g}{c['loss']:7g} | "
            f"{k['mbit_s']:8.1f}{p['mbit_s']:8.1f}{number(c['goodput_ratio'], '.2f'):>7} | "
            f"{k['resent_packets']:9.0f}{p['resent_packets']:7.0f}"
            f"{k['resent_percent']:7.2f}{p['resent_percent']:7.2f}"
            f"{number(c['resent_ratio'], '.2f'):>7} | "
            f"{k['spurious_packets']:10.0f}{p['spurious_packets']:6.0f}")
    return text + (f"  VOID: {c['void']}" if c["void"] else "")


def failed_row(cell, why):
    return (f"{cell.algorithm:6}{cell.direction:4}{cell.rtt_ms:7g}{cell.loss:7g} | "
            f"FAILED: {why}")


def summary(cells, failed):
    valid = [c for c in cells if not c["void"]]
    words = [f"{len(valid)} cells of {len(cells) + failed} valid"]
    if valid:
        goodput = [c["goodput_ratio"] for c in valid]
        words.append(f"ratio >= 1.0 in {sum(r >= 1 for r in goodput)} of {len(valid)}")
        words.append(f"minimum {min(goodput):.2f}, median {statistics.median(goodput):.2f}")
    resent = {s: sum(r["wire"]["retransmitted_octets"] for c in valid for r in c["runs"][s])
              for s in ("kernel", "pollux")}
    sent = {s: sum(r["wire"]["data_octets"] for c in valid for r in c["runs"][s])
            for s in ("kernel", "pollux")}
    if resent["kernel"]:
        shares = {s: resent[s] / sent[s] for s in resent}
        words.append(f"resent share, pollux to kernel: {shares['pollux'] / shares['kernel']:.2f}")
    return "; ".join(words)


# ---- all of it -----------------------------------------------------------------------------------

def numbers(text):
    return [float(word) for word in text.split(",")]


def words(*allowed):
    def parse(text):
        for word in text.split(","):
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"'{word}' is none of {', '.join(allowed)}")
        return text.split(",")
    return parse


def parse(arguments):
    p = argparse.ArgumentParser(prog="run.sh bench recovery", description=__doc__.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="few cells, 8 MiB, 4 s at most")
    p.add_argument("--loss", type=numbers, metavar="PERCENT,...", help="default 0,0.1,1,5")
    p.add_argument("--rtt", type=numbers, metavar="MS,...", help="default 1,20,100")
    p.add_argument("--cc", type=words("cubic", "bbr", "reno"), default=["cubic", "bbr"],
                   metavar="NAME,...", help="default cubic,bbr; reno is the third")
    p.add_argument("--direction", type=words("out", "in"), default=["out", "in"],
                   metavar="WAY,...", help="of the data: default out,in")
    p.add_argument("--repeat", type=int, default=1, help="runs of each cell; the median counts")
    p.add_argument("--size", type=int, metavar="MIB", help="default 32")
    p.add_argument("--seconds", type=float, help="a transfer is over after this; default 10")
    p.add_argument("--rate", type=float, default=200, metavar="MBIT/S", help="of the bottleneck")
    p.add_argument("--queue", type=int, metavar="KIB", help="default one BDP, at least 256")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--hop", action="append", default=[], metavar="--OPTION=VALUE",
                   help="more for pollux_hop, e.g. --hop=--data-reorder=1,5ms; --data- stands for "
                        "the direction of the data")
    p.add_argument("--set", action="append", default=[], metavar="section.key=VALUE",
                   help="more configuration for the daemon")
    o = p.parse_args(arguments)
    o.loss = o.loss or ([0, 1] if o.quick else [0, 0.1, 1, 5])
    o.rtt = o.rtt or ([20] if o.quick else [1, 20, 100])
    o.size = o.size or (8 if o.quick else 32)
    o.seconds = o.seconds or (4 if o.quick else 10)
    return o


def knows(algorithm):
    """Whether the daemon takes this congestion control; its own words when not."""
    done = subprocess.run(
        [harness.BINARY, "run", "-c", str(ROOT / "conf" / "pollux.toml"), "--check", "--set",
         f"tcp.congestion_control={algorithm}"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"


@contextlib.contextmanager
def test_bed(algorithm, options):
    settings = {"tcp.congestion_control": algorithm, "tun.txqueuelen": paths.QUEUE}
    settings.update(word.split("=", 1) for word in options.set)
    lab = Lab(settings, start=False)
    path = None
    try:
        lab.start_daemon()
        path = Path(lab)
        yield lab, path
    finally:
        if path is not None:
            path.destroy()
        lab.destroy()


def run_algorithm(algorithm, options, cells, failures):
    wanted = [Cell(algorithm, d, rtt, loss)
              for d in options.direction for rtt in options.rtt for loss in options.loss]
    with test_bed(algorithm, options) as bed:
        for i, cell in enumerate(wanted, 1):
            try:
                cells.append(run_cell(bed, cell, options, f"[{i}/{len(wanted)}]"))
                print(row(cells[-1]), flush=True)
            except (AssertionError, OSError) as error:
                failures.append({**dataclasses.asdict(cell), "why": str(error)})
                print(failed_row(cell, str(error).splitlines()[0]), flush=True)
            if bed[0].process.poll() is not None:
                raise AssertionError(f"the daemon died:\n{bed[0].log()[-4000:]}")


def write_results(options, cells, failures, skipped):
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"options": vars(options), "cells": cells, "failed": failures,
                                   "skipped": skipped}, indent=1))
    print(f"bench: recovery, results in {RESULTS.relative_to(ROOT)}")


def main(arguments):
    options = parse(arguments)
    harness.clean_up_on_exit()
    print(f"bench: recovery, {options.size} MiB or {options.seconds:g} s each, bottleneck "
          f"{options.rate:g} Mbit/s, queue {options.queue or 'one BDP, at least 256'} KiB, "
          f"seed {options.seed}, {options.repeat} run(s) of each")
    print("goodput in Mbit/s at the receiver, connecting included; resent: packets on the wire "
          "with octets sent before;\nspurious: resent though the first had got through\n" + HEADER)
    cells, failures, skipped = [], [], []
    try:
        for algorithm in options.cc:
            if why := knows(algorithm):
                skipped.append({"algorithm": algorithm, "why": why})
                print(f"{algorithm:6}skipped: {why}")
            else:
                run_algorithm(algorithm, options, cells, failures)
    finally:
        write_results(options, cells, failures, skipped)
    print(summary(cells, len(failures)))
    return 1 if failures or any(c["void"] for c in cells) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
