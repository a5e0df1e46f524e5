"""The daemon, a kernel beside it, and a kernel at the far end of an impaired path.

 namespace `peer`          namespace of the Lab (router)                       namespace `far`
   kernel ── up0 ── veth ── down0     pollux0 ── daemon
   198.18.1.1               └───── forwarding ────┴──── hopa ══ pollux_hop ══ hopb ── kernel
                                                    198.18.2.1             198.18.2.2

`a>b` of the hop is from the daemon (or the peer) to the far end.
"""

import json
import os
import select
import signal
import socket
import struct
import subprocess

from harness import PRESET, ROOT, Netns, sh

HOP = os.environ.get("POLLUX_HOP", str(ROOT / "build" / PRESET / "bench" / "pollux_hop"))
PEER, PEER_ROUTER = "198.18.1.1", "198.18.1.2"
FAR, FAR_ROUTER = "198.18.2.2", "198.18.2.1"
AB, BA = "a>b", "b>a"
QUEUE = 20_000  # packets in the devices: the limit of the path is the hop's own queue
BUFFERS = 6 << 20  # octets: what the daemon's configuration allows by default

ROUTER_SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.ip_forward": 1,
}
END_SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0,
    "net.ipv4.conf.default.rp_filter": 0,
    "net.ipv4.tcp_rmem": f"4096 131072 {BUFFERS}",
    "net.ipv4.tcp_wmem": f"4096 16384 {BUFFERS}",
    # Each connection starts from nothing, not from what the one before it learnt.
    "net.ipv4.tcp_no_metrics_save": 1,
}


def set_sysctls(netns, values):
    netns.run("sysctl", "-qw", *(f"{key}={value}" for key, value in values.items()))


class Hop:
    """A running hop. `counters()` are those so far; `stop()` ends it and returns the last ones."""

    def __init__(self, a, b, *options):
        self._process = subprocess.Popen(
            [HOP, "--a", a, "--b", b, "--txqueuelen", str(QUEUE), "--realtime",
             *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._rest = b""
        if self._line() != "ready":
            self._process.wait(5)
            raise AssertionError(f"pollux_hop: {self._process.stderr.read().decode()}")

    def _line(self, timeout=10):
        while b"\n" not in self._rest:
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                raise AssertionError("pollux_hop says nothing")
            piece = os.read(self._process.stdout.fileno(), 65_536)
            if not piece:
                return ""
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()

    def counters(self):
        self._process.send_signal(signal.SIGUSR1)
        return json.loads(self._line())

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        counters = json.loads(self._line())
        code = self._process.wait(10)
        self.close()
        if code != 0:
            raise AssertionError(f"pollux_hop: exit {code}")
        return counters

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Path:
    """Namespaces and devices; a hop between them for each run."""

    def __init__(self, lab):
        self.lab = lab
        self.peer, self.far = Netns(), Netns()
        try:
            self._connect()
        except BaseException:
            self.destroy()
            raise

    def _connect(self):
        set_sysctls(self.lab, ROUTER_SYSCTLS)
        for end in (self.peer, self.far):
            set_sysctls(end, END_SYSCTLS)
        sh("ip", "-n", self.lab.name, "link", "add", "down0", "type", "veth", "peer", "name", "up0",
           "netns", self.peer.name)
        for netns, device in ((self.lab, "hopa"), (self.far, "hopb")):
            sh("ip", "-n", netns.name, "tuntap", "add", "dev", device, "mode", "tun")
        for netns, device, address in (
                (self.lab, "down0", PEER_ROUTER), (self.peer, "up0", PEER),
                (self.lab, "hopa", FAR_ROUTER), (self.far, "hopb", FAR)):
            sh("ip", "-n", netns.name, "address", "add", f"{address}/30", "dev", device)
            sh("ip", "-n", netns.name, "link", "set", device, "txqueuelen", QUEUE, "up")
        sh("ip", "-n", self.peer.name, "route", "add", "default", "via", PEER_ROUTER)
        sh("ip", "-n", self.far.name, "route", "add", "default", "via", FAR_ROUTER)

    def hop(self, *options):
        return Hop(f"hopa@{self.lab.name}", f"hopb@{self.far.name}", *options)

    def device_drops(self):
        """Packets that a device had no room for: there the path was not the hop's."""
        drops = {}
        for netns, device in ((self.lab, "hopa"), (self.far, "hopb"), (self.lab, "pollux0")):
            out = json.loads(sh("ip", "-n", netns.name, "-s", "-j", "link", "show", "dev", device))
            drops[device] = out[0]["stats64"]["tx"]["dropped"]
        return drops

    def destroy(self):
        self.peer.destroy()
        self.far.destroy()


def use_congestion_control(sock, algorithm="cubic"):
    """The kernel's default may be another; the clients say what they mean."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())


# Offsets in struct tcp_info (linux/tcp.h).
_TCP_INFO = {"rtt_us": ("I", 68), "cwnd": ("I", 80), "retransmits": ("I", 100),
             "bytes_acked": ("Q", 120), "data_segs_out": ("I", 156), "bytes_retrans": ("Q", 208)}


def tcp_info(sock):
    raw = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return {name: struct.unpack_from("=" + kind, raw, at)[0]
            for name, (kind, at) in _TCP_INFO.items() if at + 8 <= len(raw)}
