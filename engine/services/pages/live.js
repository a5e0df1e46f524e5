// The live page: counters of all workers come as server-sent events; rates are what is between two
// of them. The last minute is kept, drawn on canvases, and nothing is fetched from elsewhere.
"use strict";

const SPAN_S = 60; // of the plots
const RECONNECT_MS = 1000;

const element = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- numbers ------------------------------------------------------------------------------

function scaled(value, units, base = 1000) {
  let unit = 0;
  while (value >= base * 0.9995 && unit + 1 < units.length) {
    value /= base;
    ++unit;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return [value.toFixed(digits), units[unit]];
}

const bits = (perSecond) => scaled(perSecond, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
const count = (n) => scaled(n, ["", " k", " M", " G"]).join("");
const time = (us) => (us < 1000 ? [us.toFixed(0), "µs"] : scaled(us / 1000, ["ms", "s"]));
const percent = (ratio) => (100 * ratio).toFixed(0) + " %";

// ---- plots --------------------------------------------------------------------------------

// The least of 1, 2, 5 times a power of ten that is not below `value`.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((top) => top >= value * 0.9999);
}

class Plot {
  // series: [{name, colour: a CSS variable}]; text: of a value on the axis; least: the axis goes up
  // to that at least. log: a logarithmic axis, which begins at `least`.
  constructor(parent, title, series, text, least, log = false) {
    this.series = series.map((s) => ({ ...s, values: [] }));
    this.text = text;
    this.least = least;
    this.log = log;
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.append(Object.assign(document.createElement("strong"), { textContent: title }));
    for (const s of series) {
      const key = Object.assign(document.createElement("span"), { className: "key", textContent: s.name });
      key.style.setProperty("--colour", `var(${s.colour})`);
      caption.append(key);
    }
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${title}, the last ${SPAN_S} seconds`);
    this.figure.append(caption, this.canvas);
    parent.append(this.figure);
  }

  // A value of null is a gap.
  push(t, ...values) {
    this.series.forEach((s, i) => {
      s.values.push({ t, v: values[i] });
      while (s.values[0].t < t - SPAN_S - 1) s.values.shift();
    });
    this.now = t;
  }

  max() {
    return Math.max(0, ...this.series.flatMap((s) => s.values.map((p) => p.v || 0)));
  }

  // `max`: plots that are to be compared have one axis.
  draw(max = this.max()) {
    this.axisMax = max;
    if (this.now === undefined) return;
    const ratio = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    const height = this.canvas.clientHeight;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    const g = this.canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    const area = { left: 0, right: width, top: 14, bottom: height - 15 };
    this.axes(g, area);
    for (const s of this.series) this.line(g, area, s);
  }

  // The marks of the axis, as [value, share of the height].
  marks() {
    if (!this.log) {
      const top = roundUp(Math.max(this.least, this.axisMax));
      return [[0, 0], [top / 2, 0.5], [top, 1]];
    }
    const decades = Math.max(2, Math.ceil(Math.log10(Math.max(this.axisMax, 1) / this.least)));
    return Array.from({ length: decades + 1 }, (_, i) => [this.least * 10 ** i, i / decades]);
  }

  axes(g, area) {
    g.font = "11px system-ui, sans-serif";
    g.strokeStyle = colour("--line");
    g.fillStyle = colour("--faint");
    g.lineWidth = 1;
    for (const [value, share] of this.marks()) {
      const y = Math.round(area.bottom - share * (area.bottom - area.top)) + 0.5;
      g.beginPath();
      g.moveTo(area.left, y);
      g.lineTo(area.right, y);
      g.stroke();
      if (share > 0) g.fillText(this.text(value), area.left, y - 3);
    }
    g.fillText(`${SPAN_S} s ago`, area.left, area.bottom + 12);
    g.textAlign = "right";
    g.fillText("now", area.right, area.bottom + 12);
    g.textAlign = "left";
  }

  line(g, area, s) {
    const [top] = this.marks().at(-1);
    const share = (v) => (this.log ? Math.max(0, Math.log(v / this.least) / Math.log(top / this.least)) : v / top);
    const x = (t) => area.right - ((this.now - t) / SPAN_S) * (area.right - area.left);
    const y = (v) => area.bottom - share(v) * (area.bottom - area.top);
    g.strokeStyle = g.fillStyle = colour(s.colour);
    g.lineWidth = 1.75;
    g.lineJoin = "round";
    let run = [];
    const end = () => {
      if (run.length > 1) {
        g.beginPath();
        run.forEach((p) => g.lineTo(x(p.t), y(p.v)));
        g.stroke();
        if (!this.log) {
          g.lineTo(x(run[run.length - 1].t), area.bottom);
          g.lineTo(x(run[0].t), area.bottom);
          g.globalAlpha = 0.1;
          g.fill();
          g.globalAlpha = 1;
        }
      }
      run = [];
    };
    g.save();
    g.beginPath();
    g.rect(area.left, 0, area.right - area.left, area.bottom + 1);
    g.clip();
    for (const p of s.values) {
      if (p.v === null) end();
      else run.push(p);
    }
    end();
    g.restore();
  }
}

const inAndOut = [{ name: "in", colour: "--in" }, { name: "out", colour: "--out" }];
const bitsText = (v) => bits(v).join(" ");

class WorkerPlot extends Plot {
  constructor(parent, i) {
    super(parent, `Worker ${i}`, inAndOut, bitsText, 1000);
    this.figure.dataset.worker = i;
    this.list = document.createElement("dl");
    this.figure.append(this.list);
    this.cells = {};
    for (const name of ["in", "out", "busy", "connections", "retrans/s", "drops/s"]) {
      const row = document.createElement("div");
      const value = document.createElement("dd");
      row.append(Object.assign(document.createElement("dt"), { textContent: name }), value);
      this.list.append(row);
      this.cells[name] = { row, value };
    }
  }

  show(w) {
    const set = (name, text) => (this.cells[name].value.textContent = text);
    set("in", bitsText(w.in));
    set("out", bitsText(w.out));
    set("busy", percent(w.busy));
    set("connections", count(w.connections));
    for (const [name, value] of [["retrans/s", w.retransmits], ["drops/s", w.drops]]) {
      set(name, count(value));
      this.cells[name].row.className = value >= 1 ? "bad" : "";
    }
  }
}

// ---- from counters to what is shown -------------------------------------------------------

function ratesOf(before, now) {
  const seconds = (now.t_ms - before.t_ms) / 1000;
  return now.workers.map((w, i) => {
    const old = before.workers[i];
    const rate = (name) => Math.max(0, w[name] - old[name]) / seconds;
    const busy = w.busy_ns - old.busy_ns;
    const idle = w.idle_ns - old.idle_ns;
    return {
      in: 8 * rate("rx_bytes"),
      out: 8 * rate("tx_bytes"),
      inPackets: rate("rx_packets"),
      outPackets: rate("tx_packets"),
      opened: rate("connections_opened"),
      drops: rate("drops"),
      retransmits: rate("retransmits"),
      busy: busy + idle > 0 ? busy / (busy + idle) : 0,
      connections: w.connections_open,
    };
  });
}

// The median of the workers' medians, each counted as often as it has connections.
function medianRtt(workers) {
  const known = workers.filter((w) => w.rtt_connections > 0).sort((a, b) => a.rtt_us - b.rtt_us);
  let half = known.reduce((sum, w) => sum + w.rtt_connections, 0) / 2;
  for (const w of known) {
    half -= w.rtt_connections;
    if (half <= 0) return w.rtt_us;
  }
  return null;
}

function showTotals(rates, rtt, rttMax) {
  const sum = (name) => rates.reduce((total, w) => total + w[name], 0);
  [element("in").textContent, element("in-unit").textContent] = bits(sum("in"));
  [element("out").textContent, element("out-unit").textContent] = bits(sum("out"));
  element("in-packets").textContent = count(sum("inPackets"));
  element("out-packets").textContent = count(sum("outPackets"));
  element("connections").textContent = count(sum("connections"));
  element("opened").textContent = count(sum("opened"));
  element("retransmits").textContent = count(sum("retransmits"));
  element("drops").textContent = count(sum("drops"));
  [element("rtt").textContent, element("rtt-unit").textContent] = rtt === null ? ["–", ""] : time(rtt);
  element("rtt-max").textContent = rttMax === null ? "–" : time(rttMax).join(" ");
}

class Page {
  constructor() {
    const plots = element("plots");
    this.throughput = new Plot(plots, "Throughput", inAndOut, bitsText, 1000);
    this.rtt = new Plot(plots, "Round trip", [{ name: "median", colour: "--third" }, { name: "longest", colour: "--busy" }],
      (us) => time(us).join(" "), 10, true);
    this.connections = new Plot(plots, "Connections", [{ name: "open", colour: "--in" }], count, 2);
    this.workers = [];
  }

  draw() {
    for (const plot of [this.throughput, this.rtt, this.connections]) plot.draw();
    const max = Math.max(...this.workers.map((w) => w.max()));
    for (const plot of this.workers) plot.draw(max);
  }

  show(now) {
    const before = this.before;
    this.before = now;
    if (!before || before.workers.length !== now.workers.length || now.t_ms <= before.t_ms) return;
    const t = now.t_ms / 1000;
    const rates = ratesOf(before, now);
    const sum = (name) => rates.reduce((total, w) => total + w[name], 0);
    const rtt = medianRtt(now.workers);
    const rttMax = rtt === null ? null : Math.max(...now.workers.map((w) => w.rtt_max_us));
    showTotals(rates, rtt, rttMax);
    this.throughput.push(t, sum("in"), sum("out"));
    this.rtt.push(t, rtt, rttMax);
    this.connections.push(t, sum("connections"));
    rates.forEach((w, i) => {
      if (!this.workers[i]) this.workers[i] = new WorkerPlot(element("workers"), i);
      this.workers[i].push(t, w.in, w.out);
      this.workers[i].show(w);
    });
    this.draw();
  }

  // A daemon that began anew counts from zero: what was is no longer of use.
  forget() {
    this.before = undefined;
  }
}

// ---- the connection -----------------------------------------------------------------------

const page = new Page();
let source = null;
let timer = 0;

function state(name, text) {
  element("state").className = name;
  element("state").textContent = text;
}

function disconnect() {
  clearTimeout(timer);
  if (source) source.close();
  source = null;
  page.forget();
}

function connect() {
  disconnect();
  source = new EventSource("events");
  source.onopen = () => state("live", "live");
  source.onmessage = (event) => page.show(JSON.parse(event.data));
  source.onerror = () => {
    disconnect();
    state("lost", "lost the engine, trying again");
    timer = setTimeout(connect, RECONNECT_MS);
  };
}

// Nobody looks at a hidden page: it costs nothing then.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) return connect();
  disconnect();
  state("waiting", "paused");
});
window.addEventListener("resize", () => page.draw());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.draw());
connect();
