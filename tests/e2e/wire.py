"""What is on pollux0: a capture of TCP over IPv4, and segments written by hand."""

import dataclasses
import socket
import struct
import threading
import time

from harness import ENGINE, HOST, wait_until

ETH_P_ALL = 3
PACKET_OUTGOING = 4
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
MOD = 1 << 32
INJECTED = 7  # firewall mark of what an Injector sends


@dataclasses.dataclass(frozen=True)
class Segment:
    """One TCP segment as it was seen (a super-packet is one segment)."""

    at: float
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes
    tos: int = 0

    def has(self, flags):
        return self.flags & flags == flags

    def __str__(self):
        letters = "".join(c for i, c in enumerate("FSRPAUEC") if self.flags & 1 << i)
        return (f"{self.at:.3f} {self.sport}>{self.dport} {letters} seq {self.seq} ack {self.ack} "
                f"win {self.window} len {len(self.payload)} {self.payload[:24]!r}")


def parse(packet, at):
    """A Segment, or None for what is not TCP over IPv4."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
        return None
    ip_length = (packet[0] & 15) * 4
    total = struct.unpack_from("!H", packet, 2)[0] or len(packet)
    tcp = packet[ip_length:total]
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", tcp)
    return Segment(at, sport, dport, seq, ack, flags, window, bytes(tcp[(offset >> 4) * 4:]),
                   packet[1])


class Wire:
    """Captures while it is open: `sent` is what the host sent, `received` what the engine did."""

    def __init__(self, lab, interface="pollux0"):
        self.sent, self.received = [], []
        self._socket = lab.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.settimeout(0.1)
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while True:
            try:
                packet, where = self._socket.recvfrom(70_000)
            except TimeoutError:
                if self._stop:
                    return
                continue
            segment = parse(packet, time.monotonic())
            if segment is not None:
                (self.sent if where[2] == PACKET_OUTGOING else self.received).append(segment)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._thread.join()
        self._socket.close()

    def await_received(self, condition, timeout=10, what="segment"):
        """The first segment of the engine that meets the condition, waiting for it."""
        try:
            return wait_until(lambda: next((s for s in list(self.received) if condition(s)), None),
                              timeout, what)
        except AssertionError as error:
            seen = "\n".join(map(str, self.received[-30:]))
            raise AssertionError(f"{error}; the engine sent:\n{seen}") from None


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_packet(sport, dport, seq, ack, flags, payload=b"", window=0xFFFF, options=b""):
    """An IPv4 packet from the host to the engine, checksums right."""
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq % MOD, ack % MOD, offset, flags, window, 0, 0)
    tcp += options + payload
    source, target = socket.inet_aton(HOST), socket.inet_aton(ENGINE)
    pseudo = source + target + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, socket.IPPROTO_TCP, 0,
                     source, target)
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


class Injector:
    """Writes segments as they are, past the kernel's TCP."""

    def __init__(self, lab):
        self._socket = lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, INJECTED)

    def send(self, *args, **kw):
        self._socket.sendto(tcp_packet(*args, **kw), (ENGINE, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()


def drop_kernel_resets(lab):
    """The kernel knows nothing of what an Injector sent; its RSTs must not end the connection."""
    lab.nft(f"""
        table ip pollux_test {{
          chain out {{
            type filter hook output priority 0;
            oifname "pollux0" meta mark != {INJECTED} tcp flags & rst == rst drop
          }}
        }}""")


def silence_kernel(lab):
    """From now on only an Injector reaches the engine."""
    lab.nft(f"""
        table ip pollux_silence {{
          chain out {{
            type filter hook output priority 0;
            oifname "pollux0" meta mark != {INJECTED} drop
          }}
        }}""")
