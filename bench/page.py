"""build/bench/report.html: one page with everything that the suites left in build/bench."""

import html
import json
import math
import pathlib
import statistics

COLOURS = {"engine": "#1c6dd0", "dedicated": "#7fb2ec", "stub": "#9a9a9a",
           "stub, lazy": "#c4c4c4", "nginx": "#d9822b", "gvisor": "#9d7fd1",
           "gvisor, GSO": "#6a45b0", "lwip": "#3a9a78", "iperf3": "#e8b27a"}
KERNEL_COLOUR = "#d9822b"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15em .8em; text-align: right; border-bottom: 1px solid #eee; }
th:first-child, td:first-child { text-align: left; }
.met { color: #18794e; } .missed { color: #c62a2f; font-weight: 600; } .note { color: #666; }
svg { display: block; margin: 1em 0; max-width: 100%; } svg text { font: 12px system-ui, sans-serif; }
"""


def escape(value):
    return html.escape(str(value))


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def table(head, rows):
    """Cells are text, or (text, class)."""
    def cell(value):
        text, kind = value if isinstance(value, tuple) else (value, "")
        return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"
    lines = ["<tr>" + "".join(f"<th>{escape(h)}</th>" for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def colour(variant):
    return COLOURS.get(variant, KERNEL_COLOUR if variant.startswith("kernel") else "#555")


# ---- drawings ------------------------------------------------------------------------------------

def bars(rows, unit):
    """[(label, median, low, high)] as horizontal bars with their spread."""
    left, width, step = 150, 600, 24
    top = max((high for _, _, _, high in rows), default=0) or 1
    out = [f'<svg width="{left + width + 130}" height="{step * len(rows) + 6}" role="img">']
    for i, (label, median, low, high) in enumerate(rows):
        y = i * step + 4
        x = [left + width * value / top for value in (median, low, high)]
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
                   f'<rect x="{left}" y="{y}" width="{x[0] - left:.1f}" height="17" '
                   f'fill="{colour(label)}"/>'
                   f'<path d="M{x[1]:.1f} {y + 8.5}H{x[2]:.1f}" stroke="#222" stroke-width="1.5"/>'
                   f'<text x="{x[2] + 6:.1f}" y="{y + 13}">{number(median)} {escape(unit)}</text>')
    return "".join(out) + "</svg>"


def cumulative(buckets):
    """[(ns, share of all that is above)] from [[ns, count], ...]."""
    total, above, out = sum(n for _, n in buckets), sum(n for _, n in buckets), []
    for ns, count in buckets:
        above -= count
        out.append((ns, above / total))
    return out


def merged(histograms):
    counts = {}
    for buckets in histograms:
        for ns, count in buckets:
            counts[ns] = counts.get(ns, 0) + count
    return sorted(counts.items())


class Axes:
    """Latency to the right, the share that took longer downwards; both logarithmic."""
    width, height, left, top = 760, 300, 60, 10
    rarest = 1e-5

    def __init__(self, low_ns, high_ns):
        self.low, self.high = math.log10(low_ns), math.log10(max(high_ns, low_ns * 2))

    def x(self, ns):
        share = (math.log10(ns) - self.low) / (self.high - self.low)
        return self.left + self.width * min(max(share, 0), 1)

    def y(self, above):
        share = -math.log10(max(above, self.rarest)) / -math.log10(self.rarest)
        return self.top + self.height * share

    def grid(self):
        out = []
        for share, label in ((0.5, "p50"), (0.1, "p90"), (0.01, "p99"), (1e-3, "p99.9"),
                             (1e-4, "p99.99")):
            y = self.y(share)
            out.append(f'<path d="M{self.left} {y:.1f}h{self.width}" stroke="#ddd"/>'
                       f'<text x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        for ns in (m * 10 ** p for p in range(2, 10) for m in (1, 2, 5)):
            if self.low <= math.log10(ns) <= self.high:
                x, foot = self.x(ns), self.top + self.height
                out.append(f'<path d="M{x:.1f} {self.top}V{foot}" stroke="#eee"/>'
                           f'<text x="{x:.1f}" y="{foot + 16}" text-anchor="middle">'
                           f'{number(ns / 1000)} us</text>')
        return "".join(out)


def latency(curves):
    """{name: [[ns, count], ...]} as the share of round trips that took longer."""
    curves = {name: buckets for name, buckets in curves.items() if buckets}
    if not curves:
        return ""
    axes = Axes(max(min(b[0][0] for b in curves.values()), 1) * 0.9,
                max(b[-1][0] for b in curves.values()) * 1.1)
    out = [f'<svg width="{axes.left + axes.width + 20}" height="{axes.height + 60}" role="img">',
           axes.grid()]
    for i, (name, buckets) in enumerate(curves.items()):
        points = " ".join(f"{axes.x(ns):.1f},{axes.y(above):.1f}"
                          for ns, above in cumulative(buckets))
        x = axes.left + 150 * i
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour(name)}" '
                   f'stroke-width="2"/><rect x="{x}" y="{axes.height + 40}" width="12" height="12" '
                   f'fill="{colour(name)}"/><text x="{x + 18}" y="{axes.height + 51}">'
                   f'{escape(name)}</text>')
    return "".join(out) + "</svg>"


# ---- the suites ----------------------------------------------------------------------------------

FIGURES = (("gbit_s", "Gbit/s"), ("p50_us", "us, p50"), ("per_second", "per second"),
           ("octets_per_connection", "octets each"))


def figure_of(group, sample):
    """Which figure counts: round trips have a rate too, but their time is what is meant."""
    for key, unit in FIGURES:
        if key in sample and (key != "p50_us" or group.startswith("round trip")):
            return key, unit
    return None


def grouped(samples):
    """{group: {variant: samples that are there}}, in order."""
    out = {}
    for name, of_cell in samples.items():
        group, variant = name.split(": ", 1)
        good = [s for s in of_cell if s]
        if good:
            out.setdefault(group, {})[variant] = good
    return out


ORDER = ("engine", "dedicated", "stub", "stub, lazy", "gvisor", "gvisor, GSO", "lwip")


def group_section(group, variants):
    key, unit = figure_of(group, next(iter(variants.values()))[0])
    rows = []
    for name in sorted(variants, key=lambda v: ORDER.index(v) if v in ORDER else len(ORDER)):
        values = [s[key] for s in variants[name]]
        rows.append((name, statistics.median(values), min(values), max(values)))
    text = f"<h3>{escape(group)}</h3>" + bars(rows, unit)
    curves = {name: merged(s["histogram_ns"] for s in good if "histogram_ns" in s)
              for name, good in variants.items()}
    return text + latency(curves)


def goals_table(goals, what="ratio of one round"):
    rows = []
    for g in goals:
        spread = f"{number(g['low'])} .. {number(g['high'])}" if "median" in g else "-"
        kind = g["verdict"] if g["verdict"] in ("met", "missed") else "note"
        rows.append((g["name"], g["goal"], number(g.get("median")), spread, (g["verdict"], kind)))
    return table((what, "goal", "median", "lowest .. highest", ""), rows)


def noise_line(noise):
    floors = [f"{escape(group)} {max(max(r, 1 / r) - 1 for r in ratios):.1%}"
              for group, ratios in noise.items() if ratios]
    return "Noise floor, the daemon against itself: " + (", ".join(floors) or "not measured") + "."


def head_of(data):
    m, o = data["machine"], data["options"]
    return (f'<p>{escape(m["date"])}; {m["cpus"]} CPUs, {escape(m["cpu"])}, Linux '
            f'{escape(m["kernel"])}; {o["rounds"]} rounds of {o["seconds"]:g} s.<br>'
            f'{noise_line(data["noise"])}<br>CPUs in different cache clusters in {data["apart"]} '
            f'of {data["measured"]} measurements, {data["repeated"]} measured again.</p>')


def e2e_section(data):
    parts = ["<h2>End to end</h2>", goals_table(data["goals"])]
    parts += [group_section(g, v) for g, v in grouped(data["samples"]).items()]
    parts.append('<p class="note">Bars: the median; lines: lowest to highest round. A stub answers '
                 "without a TCP behind it: what the device allows.</p>")
    for failure in data["failed"]:
        parts.append(f'<p class="missed">failed: {escape(failure["cell"])}</p>')
    return "\n".join(parts)


def ratios_table(ratios):
    rows = [(r["group"], r["peer"], r["key"], number(r["median"]),
             f"{number(r['low'])} .. {number(r['high'])}", r["better"]) for r in ratios]
    return table(("engine / peer, of one round", "peer", "figure", "median", "lowest .. highest",
                  "better"), rows)


def peers_section(data):
    parts = ["<h2>Beside other stacks</h2>", head_of(data)]
    parts += [group_section(g, v) for g, v in grouped(data["samples"]).items()]
    parts.append(ratios_table(data["ratios"]))
    parts.append('<p class="note">Versions: ' + escape(", ".join(
        f"{name} {version}" for name, version in data["versions"].items())) + ".</p>")
    parts += [f'<p class="note">{escape(line)}</p>' for line in data["skipped"]]
    parts += [f'<p class="missed">failed: {escape(f["cell"])}</p>' for f in data["failed"]]
    return "\n".join(parts)


def recovery_section(data):
    rows = [(c["algorithm"], c["direction"], f"{c['rtt_ms']:g}", f"{c['loss']:g}",
             number(c["kernel"]["mbit_s"]), number(c["pollux"]["mbit_s"]),
             number(c["goodput_ratio"]), number(c["kernel"]["resent_percent"]),
             number(c["pollux"]["resent_percent"]), c["void"]) for c in data["cells"]]
    head = ("congestion control", "data", "RTT ms", "loss %", "kernel Mbit/s", "pollux Mbit/s",
            "ratio", "kernel resent %", "pollux resent %", "")
    return "<h2>Recovery from loss</h2>" + table(head, rows)


def checksum_bars(figures):
    """GB/s of each routine, for each size and place."""
    parts = []
    for place, what in (("hot", "hot"), ("odd", "hot, from an odd address"), ("cold", "cold")):
        for size in (20, 64, 1460, 65535):
            rows = []
            for name, of_name in figures.items():
                words = name.split("/")
                if words[0] == "checksum" and words[1::2] == [place, str(size)]:
                    rows.append((words[2], *of_name["gb_s"]))
            if rows:
                parts.append(f"<h3>Checksum of {size:,} octets, {what}</h3>" + bars(rows, "GB/s"))
    return "".join(parts)


def segment_bars(figures):
    """What a segment costs against the number of connections."""
    rows = []
    for name, of_name in figures.items():
        if name.startswith("segment/connections_batch/"):
            connections, batch = map(int, name.split("/")[2:])
            label = f"{connections:,}, turns of {batch}"
            rows.append((batch, connections, label, *of_name["ns_per_segment"]))
    rows = [row[2:] for row in sorted(rows)]
    return "<h3>A segment, by connections</h3>" + bars(rows, "ns") if rows else ""


def micro_rows(figures):
    for name, of_name in figures.items():
        rate = of_name.get("gb_s")
        more = [f"{key} {number(value[0])}" for key, value in of_name.items()
                if key not in ("ns", "gb_s")]
        if rate:
            more.append(f"{rate[0]:.1f} GB/s")
        yield name, *map(number, of_name["ns"]), ", ".join(more)


def micro_section(data):
    figures = data["figures"]
    head = ("benchmark", "ns", "lowest", "highest", "")
    return "".join(("<h2>Parts of the code</h2>", goals_table(data["goals"], "what"),
                    segment_bars(figures), checksum_bars(figures),
                    "<details><summary>All figures</summary>",
                    table(head, micro_rows(figures)), "</details>"))


def other_section(name, data):
    text = json.dumps(data, indent=1)[:20_000]
    return f"<h2>{escape(name)}</h2><details><summary>JSON</summary><pre>{escape(text)}</pre></details>"


def scaling_section(data):
    rows = [(run["workers"], number(run["per_packet"]), number(run["packets"]))
            for run in data["runs"]]
    met = data["spread"] <= data["spread_max"]
    goal = [("dearest over cheapest", f"{data['spread']:.2%}", f"<= {data['spread_max']:.0%}",
             ("met", "met") if met else ("missed", "missed"))]
    return ("<h2>scaling</h2>" + table(["workers", "instructions per packet", "packets"], rows) +
            table(["goal", "value", "bound", ""], goal))


SECTIONS = {"e2e": e2e_section, "peers": peers_section, "recovery": recovery_section, "scaling": scaling_section,
            "micro": micro_section}


def page(results):
    """HTML from {suite: its JSON}."""
    body = ["<h1>pollux: benchmarks</h1>"]
    if "e2e" in results:
        body.append(head_of(results["e2e"]))
    for name in [*SECTIONS, *(n for n in sorted(results) if n not in SECTIONS)]:
        if name in results:
            make = SECTIONS.get(name)
            body.append(make(results[name]) if make else other_section(name, results[name]))
    return ("<!doctype html><html lang=en><head><meta charset=utf-8><title>pollux: benchmarks"
            f"</title><style>{STYLE}</style></head><body>" + "\n".join(body) + "</body></html>\n")


def write(folder: pathlib.Path):
    """The page of all results in a folder; None when there are none."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            results[path.stem] = json.loads(path.read_text())
        except ValueError:
            print(f"bench: {path.name} is not whole and left out")
    if not results:
        return None
    target = folder / "report.html"
    target.write_text(page(results))
    return target
