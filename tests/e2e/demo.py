#!/usr/bin/python3
"""A private namespace, a daemon, the kernel's ordinary clients, and one table of what they saw."""

import json
import os
import re
import socket
import sys
import time

import harness
from harness import ECHO, ENGINE, ENGINE6

SECONDS = 2
IPERF3, PINGPONG = 5201, 11111
SERVICES = [*harness.SERVICES, {"kind": "iperf3", "port": IPERF3},
            {"kind": "pingpong", "port": PINGPONG}]


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


def bulk(lab, *options):
    """What the receiver got, from iperf3's own report."""
    out = lab.run("iperf3", "-J", "-c", ENGINE, "-t", SECONDS, "-C", "cubic", *options)
    report = json.loads(out)
    if "error" in report:
        raise AssertionError(f"iperf3: {report['error']}")
    rate = report["end"]["sum_received"]["bits_per_second"] / 1e9
    return f"{rate:.1f} Gbit/s", f"iperf3 {' '.join(options)}".rstrip() + f", {SECONDS} s"


def round_trips(lab):
    out = lab.run("sockperf", "ping-pong", "-i", ENGINE, "-p", PINGPONG, "--tcp", "-m", 64, "-t",
                  SECONDS)
    times = {name: 2 * float(half) for name, half in
             re.findall(r"percentile ([\d.]+) =\s+([\d.]+)", out)}  # it prints halves
    p50, p90, p99, p999 = (times[name] for name in ("50.000", "90.000", "99.000", "99.900"))
    return (f"p50 {p50:.0f} us",
            f"p90 {p90:.0f}, p99 {p99:.0f}, p99.9 {p999:.0f} us; sockperf, 64 octets")


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
    ("bulk in, 1 flow", bulk),
    ("bulk in, 4 flows", lambda lab: bulk(lab, "-P", "4")),
    ("bulk out, 1 flow", lambda lab: bulk(lab, "-R")),
    ("round trip", round_trips),
    ("connections", churn),
]


def main() -> int:
    if os.geteuid() != 0:
        print("the demo makes a network namespace: run it as root", file=sys.stderr)
        return 1
    harness.clean_up_on_exit()
    rows = []
    with harness.Lab(services=SERVICES) as lab:
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
