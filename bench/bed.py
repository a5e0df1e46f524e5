"""The bed of the end-to-end benchmarks: namespaces, servers, one guarded measurement.

 namespace of the Lab (clients)                          namespace `far`
   kernel ── pollux0 ── daemon, or a stub in its place
   198.18.0.1     198.18.0.2 ..
   kernel ── near0 ──────── veth ──────── far0 ── kernel, or nginx
             198.18.1.1                   198.18.1.2 ..
"""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

import harness  # noqa: E402
from harness import ENGINE, Lab, Netns, sh  # noqa: E402

TOOLS = ROOT / "build" / harness.PRESET / "bench"
NEAR, FAR = "198.18.1.1", "198.18.1.2"
FORWARDED = {"in": 9009, "out": 9019}  # ports that lead on to discard and chargen of the host
ADDRESSES = 4  # of a server, for those who need more ports than one has
SERVER_CPU, CLIENT_CPU = 0, 1
APART_NS = 150  # a cache line there and back; more says that the CPUs share no cache
STEAL_MAX = 0.01
PAGE = "<!doctype html><title>bench</title><p>" + "x" * 76

SYSCTLS = {
    "net.ipv4.ip_local_port_range": "1024 65535",
    "net.ipv4.tcp_tw_reuse": 1,
    "net.ipv4.tcp_no_metrics_save": 1,
    "net.core.somaxconn": 4096,
}

NGINX = """
worker_processes 1; worker_rlimit_nofile 65536; daemon off; pid nginx.pid; error_log error.log;
events { worker_connections 16384; multi_accept on; }
http {
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; types { }
  default_type text/html; open_file_cache max=10; server_tokens off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server { listen 80 backlog=4096; root www; }
}
"""


def following(address, count):
    head, last = address.rsplit(".", 1)
    return [f"{head}.{int(last) + i}" for i in range(count)]


class Process:
    """A program that goes away with the benchmark, however that ends."""

    def __init__(self, words, **kw):
        self.words = [str(w) for w in words]
        self._popen = subprocess.Popen(self.words, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, **kw)
        harness.own(self)

    @property
    def pid(self):
        return self._popen.pid

    def wait_ready(self, timeout=10):
        """Its first line."""
        if not select.select([self._popen.stdout], [], [], timeout)[0]:
            raise AssertionError(f"{self.words}: says nothing")
        line = self._popen.stdout.readline()
        if not line:
            raise AssertionError(f"{self.words}: {self._popen.stderr.read()}")
        return line

    def output(self, timeout):
        """Waits for its end; what it printed."""
        out, error = self._popen.communicate(timeout=timeout)
        harness.disown(self)
        if self._popen.returncode != 0:
            raise AssertionError(f"{' '.join(self.words)}: exit {self._popen.returncode}\n{error}")
        return out

    def stop(self, number=signal.SIGTERM):
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        return self.output(10)

    def destroy(self):
        harness.disown(self)
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(3)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()


def cpu_seconds(pid):
    """CPU time of all threads, and of the processes that it started (nginx's worker)."""
    total = 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            total += sum(map(cpu_seconds, (task / "children").read_text().split()))
    return total


def steal():
    """(stolen, all) ticks of the machine's CPUs so far."""
    ticks = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return ticks[7], sum(ticks[:8])


def retransmitted(netns):
    lines = [l.split() for l in netns.run("cat", "/proc/net/snmp").splitlines()
             if l.startswith("Tcp:")]
    return int(lines[1][lines[0].index("RetransSegs")])


def dropped(netns):
    """Packets that devices of a namespace had to drop for want of room."""
    links = json.loads(netns.run("ip", "-j", "-s", "link", "show"))
    return sum(link.get("stats64", {}).get("tx", {}).get("dropped", 0) for link in links)


def to_port(way):
    return {"in": 9, "out": 19}[way]


class Bed:
    """The namespaces, empty of servers."""

    def __init__(self, pinned=True):
        self.pinned = pinned
        self.root = None
        self.lab = Lab({"tun.address": following(ENGINE, ADDRESSES)}, start=False)
        self.far = None
        try:
            self.far = Netns()
            self._connect()
            self._make_page()
        except BaseException:
            self.destroy()
            raise

    def _connect(self):
        near, far = self.lab.name, self.far.name
        sh("ip", "-n", near, "link", "add", "near0", "type", "veth", "peer", "name", "far0",
           "netns", far)
        sh("ip", "-n", near, "addr", "add", f"{NEAR}/24", "dev", "near0")
        for address in following(FAR, ADDRESSES):
            sh("ip", "-n", far, "addr", "add", f"{address}/24", "dev", "far0")
        sh("ip", "-n", near, "link", "set", "near0", "up")
        sh("ip", "-n", far, "link", "set", "far0", "up")
        for netns in (self.lab, self.far):
            for key, value in SYSCTLS.items():
                netns.run("sysctl", "-qw", f"{key}={value}", check=False)

    def _make_page(self):
        self.root = self.lab.dir / "nginx"
        (self.root / "www").mkdir(parents=True)
        self.lab.dir.chmod(0o755)  # nginx's worker is nobody
        (self.root / "www" / "index.html").write_text(PAGE)
        (self.root / "nginx.conf").write_text(NGINX)
        services = [dict(s) for s in harness.SERVICES]
        services[-1]["root"] = str(self.root / "www")
        services.append({"kind": "iperf3", "port": 5201})
        services += [{"kind": "forward", "port": port, "to": f"{harness.HOST}:{to_port(way)}"}
                     for way, port in FORWARDED.items()]
        self.lab.configure(services)

    def destroy(self):
        self.lab.destroy()
        if self.far is not None:
            self.far.destroy()

    def counters(self):
        spaces = (self.lab, self.far)
        return {"dropped": sum(map(dropped, spaces)),
                "retransmitted": sum(map(retransmitted, spaces))}


# ---- servers: each a context that yields (address, pid) ------------------------------------------

def _pin(bed, cpu):
    return ["taskset", "-c", str(cpu)] if bed.pinned else []


@contextlib.contextmanager
def engine(bed, rx, settings):
    """The daemon. A dedicated RX thread and a worker are left to the scheduler on two CPUs."""
    base = dict(bed.lab.settings)
    bed.lab.settings.update({"engine.rx": rx, "engine.workers": 1, **settings})
    if rx == "inline" and bed.pinned:
        bed.lab.settings["engine.cores"] = [SERVER_CPU]
    try:
        bed.lab.start_daemon()
        yield ENGINE, bed.lab.pid
        bed.lab.stop()
    finally:
        bed.lab.settings = base
        if bed.lab.process is not None and bed.lab.process.poll() is None:
            bed.lab.process.kill()
            bed.lab.process.wait()


@contextlib.contextmanager
def serving(address, process, number=signal.SIGTERM):
    try:
        yield address, process.pid
        process.stop(number)
    finally:
        process.destroy()


@contextlib.contextmanager
def stub(bed, kind, *words):
    process = Process(bed.lab.command(
        *_pin(bed, SERVER_CPU), TOOLS / f"pollux_stub_{kind}",
        *(w for a in following(ENGINE, ADDRESSES) for w in ("--address", a)), *words))
    with serving(ENGINE, process) as server:
        process.wait_ready()
        yield server


@contextlib.contextmanager
def kernel(bed, poll):
    with _kernel_server(bed, bed.far, FAR, SERVER_CPU, ["--poll"] if poll else []) as server:
        yield server


@contextlib.contextmanager
def _kernel_server(bed, netns, address, cpu, words=()):
    process = Process(netns.command(*_pin(bed, cpu), TOOLS / "pollux_kernel_server", *words))
    with serving(address, process) as server:
        process.wait_ready()
        yield server


@contextlib.contextmanager
def forwarding(bed, settings):
    """The daemon in front of a server of its own host, which shares the client's CPU."""
    with engine(bed, "inline", settings) as server:
        with _kernel_server(bed, bed.lab, harness.HOST, CLIENT_CPU):
            yield server


@contextlib.contextmanager
def socat(bed, way):
    """The same by a program that copies between two sockets of the kernel."""
    with _kernel_server(bed, bed.far, FAR, CLIENT_CPU):
        process = Process(bed.far.command(
            *_pin(bed, SERVER_CPU), "socat", "-b", 131072,
            f"TCP-LISTEN:{FORWARDED[way]},bind={FAR},reuseaddr,fork",
            f"TCP:{FAR}:{to_port(way)}"))
        try:
            harness.wait_until(lambda: bed.far.run("ss", "-Hltn", f"sport = :{FORWARDED[way]}")
                               .strip(), 5, "socat")
            yield FAR, process.pid
        finally:
            process.destroy()


@contextlib.contextmanager
def nginx(bed):
    process = Process(bed.far.command(*_pin(bed, SERVER_CPU), shutil.which("nginx"), "-p",
                                      bed.root, "-c", bed.root / "nginx.conf", "-e", "stderr"))
    with serving(FAR, process) as server:
        harness.wait_until(lambda: bed.far.run("ss", "-Hltn", "sport = :80").strip(), 5, "nginx")
        yield server


@contextlib.contextmanager
def peer(bed, kind, words, report):
    """Another stack in the daemon's place; `report` gets what it counted, at its end."""
    process = Process(bed.lab.command(
        *_pin(bed, SERVER_CPU), TOOLS / "peers" / kind, "--page", bed.root / "www" / "index.html",
        *(w for a in following(ENGINE, ADDRESSES) for w in ("--address", a)), *words))
    try:
        process.wait_ready()
        yield ENGINE, process.pid
        report.update(json.loads(process.stop()))
    finally:
        process.destroy()


@contextlib.contextmanager
def iperf3_server(bed):
    """Serves one client and ends."""
    process = Process(bed.far.command(*_pin(bed, SERVER_CPU), "iperf3", "-s", "-1"))
    with serving(FAR, process) as server:
        harness.wait_until(lambda: bed.far.run("ss", "-Hltn", "sport = :5201").strip(), 5, "iperf3")
        yield server


def has_nginx():
    return shutil.which("nginx") is not None and shutil.which("wrk") is not None


# ---- clients: each returns its figures -----------------------------------------------------------

def client(bed, server, *words, unpinned=False):
    """A run of pollux_client against a server."""
    cpu = ["--cpu", CLIENT_CPU] if bed.pinned and not unpinned else []
    process = Process(bed.lab.command(TOOLS / "pollux_client", *words, "--address", server[0],
                                      *cpu))
    try:
        return json.loads(process.output(120))
    finally:
        process.destroy()


def wrk(bed, server, seconds, connections=64):
    process = Process(bed.lab.command(*_pin(bed, CLIENT_CPU), "wrk", "-t1", f"-c{connections}",
                                      f"-d{max(1, round(seconds))}s", "--latency",
                                      f"http://{server[0]}/"))
    try:
        return parse_wrk(process.output(120))
    finally:
        process.destroy()


def iperf3(bed, server, way, flows, seconds, datagrams=None):
    """`way` is that of the data, as the server sees it: in or out. `datagrams`: octets of each."""
    words = ["-u", "-b", "0", "-l", datagrams] if datagrams else ["-C", "cubic"]
    process = Process(bed.lab.command(
        *_pin(bed, CLIENT_CPU), "iperf3", "-c", server[0], *words, "-J", "-P", flows,
        "-t", max(1, round(seconds)), *(["-R"] if way == "out" else [])))
    try:
        return parse_iperf3(process.output(120))
    finally:
        process.destroy()


def parse_iperf3(text):
    """What the receiver got, from iperf3's JSON."""
    data = json.loads(text)
    if "error" in data:
        raise AssertionError(f"iperf3: {data['error']}")
    total = data["end"]["sum_received"]
    return {"gbit_s": total["bits_per_second"] / 1e9, "octets": total["bytes"],
            "octets_all": total["bytes"], "seconds": total["seconds"]}


UNITS = {"us": 1, "ms": 1e3, "s": 1e6}


def parse_wrk(text):
    """Requests per second and percentiles of what wrk prints."""
    found = {"per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))}
    for percent, value, unit in re.findall(r"^\s+(50|90|99)%\s+([\d.]+)(us|ms|s)$", text, re.M):
        found[f"p{percent}_us"] = float(value) * UNITS[unit]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: (.+)", text)
    if bad or errors:
        raise AssertionError(f"wrk: {(bad or errors).group(0)}")
    return found


# ---- one measurement -----------------------------------------------------------------------------

def probe():
    return float(sh(TOOLS / "pollux_probe", "--cpus", f"{SERVER_CPU},{CLIENT_CPU}"))


def guarded(bed, server, run):
    """Runs a client and notes what could have spoilt it."""
    near = probe()
    before, ticks, cpu = bed.counters(), steal(), cpu_seconds(server[1])
    figures = run()
    figures["server_cpu_seconds"] = cpu_seconds(server[1]) - cpu
    stolen, passed = (b - a for a, b in zip(ticks, steal()))
    for key, value in bed.counters().items():
        figures[key] = value - before[key]
    figures["steal"] = stolen / max(passed, 1)
    figures["probe_ns"] = [near, probe()]
    figures["apart"] = max(figures["probe_ns"]) > APART_NS
    if "octets_all" in figures:
        figures["cpu_s_per_gb"] = figures["server_cpu_seconds"] / (figures["octets_all"] / 1e9)
    return figures


def marks(figures):
    """Words for what makes a sample doubtful."""
    out = []
    if figures["dropped"]:
        out.append(f"{figures['dropped']} packets dropped by a device")
    if figures["retransmitted"]:
        out.append(f"{figures['retransmitted']} segments retransmitted")
    if figures["steal"] > STEAL_MAX:
        out.append(f"{figures['steal']:.0%} of the time stolen")
    if figures["apart"]:
        out.append(f"CPUs apart ({max(figures['probe_ns']):.0f} ns)")
    return out
