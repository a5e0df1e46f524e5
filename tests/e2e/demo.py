#!/usr/bin/python3
"""A private namespace, a daemon, the kernel's ordinary clients, and one table of what they saw."""

import os
import re
import socket
import statistics
import sys
import time

import harness
from harness import CHARGEN, DISCARD, ECHO, ENGINE, ENGINE6

SECONDS = 2.0


def step(text):
    print(f"    {text} ...", flush=True)


def ping(lab, *words):
    out = lab.run("ping", *words, "-c", 20, "-i", 0.02, "-W", 2)
    received = re.search(r"(\d+) received", out).group(1)
    low, mean, high = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", out).groups()
    return f"{received} of 20 answered", f"min {low}, mean {mean}, max {high} ms"


def curl(lab):
    out = lab.run("curl", "-sS", "-m", 10, "-o", "/dev/null", "-w",
                  "%{http_code} %{size_download} %{time_total}", f"http://{ENGINE}/").split()
    return f"status {out[0]}, {out[1]} octets", f"{float(out[2]) * 1000:.1f} ms"


def bulk_in(lab, flows):
    out = lab.run("iperf", "-c", ENGINE, "-p", DISCARD, "-t", SECONDS, "-P", flows, "-Z", "cubic",
                  "-f", "g", "-i", 0)
    rate = re.findall(r"([\d.]+) Gbits/sec", out)[-1]
    return f"{float(rate):.1f} Gbit/s", f"iperf -c -P {flows}, {SECONDS:g} s"


def bulk_out(lab):
    buffer = bytearray(1 << 20)
    with lab.connect(CHARGEN) as s:
        s.settimeout(None)
        begin, octets = time.monotonic(), 0
        while time.monotonic() - begin < SECONDS:
            octets += s.recv_into(buffer)
        took = time.monotonic() - begin
    return f"{octets * 8 / took / 1e9:.1f} Gbit/s", f"reading socket, {took:.1f} s"


def round_trips(lab, count=5000):
    word, times = b"x" * 64, []
    with lab.connect(ECHO) as s:
        s.settimeout(None)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            begin = time.perf_counter_ns()
            s.sendall(word)
            s.recv(64, socket.MSG_WAITALL)
            times.append((time.perf_counter_ns() - begin) / 1000)
    cuts = statistics.quantiles(times[count // 10:], n=1000)
    p50, p90, p99, p999 = (cuts[i] for i in (499, 899, 989, 998))
    return (f"p50 {p50:.0f} us", f"p90 {p90:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} us; 64 octets, "
            f"{count} times")


def churn(lab, count=1000):
    def body():
        begin = time.monotonic()
        for _ in range(count):
            with socket.create_connection((ENGINE, ECHO), 10) as s:
                s.sendall(b"hello")
                s.recv(5, socket.MSG_WAITALL)
        return count / (time.monotonic() - begin)

    return f"{lab.inside(body):,.0f} per second", f"connect, echo, close; {count} in sequence"


def table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    rule = "-" * (sum(widths) + 4 + max(len(row[2]) for row in rows))
    print(rule)
    for what, value, note in rows:
        print(f"{what:<{widths[0]}}  {value:<{widths[1]}}  {note}")
    print(rule)


STEPS = [
    ("ping", lambda lab: ping(lab, ENGINE)),
    ("ping, IPv6", lambda lab: ping(lab, "-6", ENGINE6)),
    ("curl", curl),
    ("bulk in, 1 flow", lambda lab: bulk_in(lab, 1)),
    ("bulk in, 4 flows", lambda lab: bulk_in(lab, 4)),
    ("bulk out, 1 flow", bulk_out),
    ("round trip", round_trips),
    ("connections", churn),
]


def main() -> int:
    if os.geteuid() != 0:
        print("the demo makes a network namespace: run it as root", file=sys.stderr)
        return 1
    harness.clean_up_on_exit()
    rows = []
    with harness.Lab() as lab:
        for name, run in STEPS:
            step(name)
            rows.append((name, *run(lab)))
        totals = lab.totals()
        rows.append(("segments", f"{totals['rx_packets']:,} in, {totals['tx_packets']:,} out",
                     f"{totals['retransmitted_segments']} retransmitted, "
                     f"{totals['rx_drops']} dropped"))
    table(rows)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except AssertionError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
