"""Bulk: byte-exact both ways, files over http, iperf, and the windows that must not only shrink."""

import hashlib
import os
import re
import socket
import threading
import time
import unittest

from harness import (CHARGEN, DISCARD, ECHO, ENGINE, ENGINE6, HTTP, SERVICES, SLOWNESS, Lab, LabCase,
                     echo_exact, read_all)
from wire import Wire

MIB = 1 << 20


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(MIB):
            h.update(piece)
    return h.hexdigest()


def random_file(path, size):
    with open(path, "wb") as f:
        for _ in range(size // 100_000):
            f.write(os.urandom(100_000))
    return digest(path)


class Echo(LabCase):
    def test_socat_64_mib_both_directions_at_once(self):
        sent, back = self.lab.dir / "sent", self.lab.dir / "back"
        want = random_file(sent, 64 * MIB // 100_000 * 100_000)
        script = f"socat -t 60 - TCP4:{ENGINE}:{ECHO} <{sent} >{back}"
        self.lab.run("bash", "-c", script, timeout=120 * SLOWNESS)
        self.assertEqual(os.path.getsize(sent), os.path.getsize(back))
        self.assertEqual(want, digest(back))

    def test_8_mib_v6(self):
        echo_exact(self.lab, 8 * MIB, ENGINE6)

    def test_sizes_around_the_edges(self):
        for size in (1, 1459, 1460, 1461, 65_535, 65_536, 65_537, 131_073, 999_999):
            with self.subTest(size=size):
                echo_exact(self.lab, size)

    def test_a_reader_that_stops_closes_the_window_and_reopens_it(self):
        data = os.urandom(8 * MIB)
        with self.lab.connect(ECHO, timeout=60) as s:
            sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
            sender.start()
            time.sleep(1.5)  # buffers fill both ways, the windows close
            back = read_all(s)
            sender.join()
        self.assertEqual(hashlib.sha256(data).digest(), hashlib.sha256(back).digest())

    def test_many_small_writes(self):
        data = os.urandom(3000)
        with self.lab.connect(ECHO) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(data)):
                s.send(data[i:i + 1])
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(data, read_all(s))


class Files(unittest.TestCase):
    """Files of a folder over http."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(start=False)
        cls.root = cls.lab.dir / "root"
        cls.root.mkdir()
        cls.want = random_file(cls.root / "big", 100_000_000)
        (cls.root / "small").write_text("small file\n")
        (cls.root / "empty").write_text("")
        (cls.lab.dir / "secret").write_text("not to be served\n")
        cls.lab.configure([{**s, "root": str(cls.root)} if s["kind"] == "http" else s
                           for s in SERVICES])
        try:
            cls.lab.start_daemon()
        except BaseException:
            cls.lab.destroy()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.lab.close()

    def curl(self, *words, **kw):
        return self.lab.run("curl", "-sS", "-m", 60 * SLOWNESS, *words, timeout=90 * SLOWNESS, **kw)

    def test_100_mb_has_the_same_digest(self):
        out = self.lab.dir / "got"
        self.curl("-o", out, f"http://{ENGINE}/big")
        self.assertEqual(self.want, digest(out))

    def test_head_of_a_file(self):
        out = self.curl("-I", f"http://{ENGINE}/big").lower()
        self.assertIn("content-length: 100000000", out)

    def test_small_and_empty(self):
        self.assertEqual("small file\n", self.curl(f"http://{ENGINE}/small"))
        code = self.curl("-w", "%{http_code} %{size_download}", f"http://{ENGINE}/empty")
        self.assertEqual("200 0", code)

    def test_nothing_outside_the_folder(self):
        for path in ("/../secret", "/%2e%2e/secret", "/x/../../secret", "//../secret"):
            with self.subTest(path=path):
                out = self.curl("--path-as-is", f"http://{ENGINE}{path}")
                self.assertNotIn("not to be served", out)

    def test_a_link_that_leads_outside_is_not_followed(self):
        link = self.root / "link"
        link.symlink_to(self.lab.dir / "secret")
        self.addCleanup(link.unlink)
        self.assertNotIn("not to be served", self.curl(f"http://{ENGINE}/link"))

    def test_100_requests_on_one_connection(self):
        out = self.curl("-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n",
                        f"http://{ENGINE}/small?[1-100]").split()
        self.assertEqual(["200"] * 100, out[0::2])
        self.assertEqual(1, sum(int(n) for n in out[1::2]))

    def test_pipelined_requests_are_answered_in_order(self):
        with self.lab.connect(HTTP) as s:
            one = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
            s.sendall(one * 49 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            self.assertEqual(50, read_all(s).count(b"small file\n"))

    def test_a_client_that_leaves_half_way(self):
        for _ in range(20):
            with self.lab.connect(HTTP) as s:
                s.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
                s.recv(100_000)
        self.lab.wait_closed()


class Bulk(LabCase):
    def test_iperf_to_discard(self):
        out = self.lab.run("iperf", "-c", ENGINE, "-p", DISCARD, "-t", 2, "-Z", "cubic", "-f", "m")
        rates = re.findall(r"([\d.]+) Mbits/sec", out)
        self.assertTrue(rates, out)
        # Kernel TCP over veth does tens of Gbit/s here; a hundredth of that is a mistake.
        self.assertGreater(float(rates[-1]), 300 / SLOWNESS, out)

    def test_iperf_four_flows(self):
        out = self.lab.run("iperf", "-c", ENGINE, "-p", DISCARD, "-t", 1, "-P", 4, "-Z", "cubic")
        self.assertIn("[SUM]", out)

    def test_1_gib_through_discard(self):
        """A receive window that only ever shrinks stops this after some octets."""
        size = 1024 * MIB // SLOWNESS
        block = os.urandom(MIB)
        with self.lab.connect(DISCARD, timeout=60) as s:
            for _ in range(size // MIB):
                s.sendall(block)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(b"", read_all(s))
        self.lab.wait_closed()

    def test_256_mib_from_chargen_without_a_hole(self):
        cycle = 95 * 74
        printable = bytes(range(0x20, 0x7F))
        lines = [(printable * 2)[i:i + 72] + b"\r\n" for i in range(95)]
        want, got, size = b"", 0, 256 * MIB // SLOWNESS
        with self.lab.connect(CHARGEN, timeout=60) as s:
            while got < size:
                piece = s.recv(MIB)
                self.assertTrue(piece, "chargen ended by itself")
                if not want:
                    start = printable.index(piece[:1])
                    want = b"".join(lines[start:] + lines[:start]) * (MIB // cycle + 2)
                at = got % cycle
                if want[at:at + len(piece)] != piece:
                    self.fail(f"pattern broken between octets {got} and {got + len(piece)}")
                got += len(piece)

    def test_super_packets_both_ways(self):
        """With offload the packets on the interface are far larger than the MTU."""
        with Wire(self.lab) as wire:
            echo_exact(self.lab, 16 * MIB)
        for way, packets in (("in", wire.sent), ("out", wire.received)):
            self.assertGreater(max(len(p.payload) for p in packets), 20_000, f"{way} of the engine")


class Hostile(LabCase):
    def test_syn_scan(self):
        """Many SYNs to open and closed ports, never completed; the daemon still serves."""
        self.lab.run("hping3", "-S", "-p", "++1", "-i", "u500", "-c", 2000, "-q", ENGINE,
                     check=False, timeout=60)
        self.lab.run("hping3", "-S", "-p", ECHO, "-i", "u500", "-c", 2000, "-q", ENGINE,
                     check=False, timeout=60)
        echo_exact(self.lab, 100_000)
        totals = self.lab.totals()
        self.assertGreater(totals["resets_sent"], 0)
        self.lab.wait_closed()

    def test_flags_of_every_kind(self):
        for flags in ("", "F", "R", "P", "A", "U", "SF", "SR", "SA", "FPU", "SFRPAU", "X", "Y"):
            words = [f"-{flags}"] if flags else []
            self.lab.run("hping3", *words, "-p", ECHO, "-i", "u1000", "-c", 50, "-q", ENGINE,
                         check=False, timeout=30)
        echo_exact(self.lab, 100_000)

    def test_junk_after_the_ip_header(self):
        with self.lab.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            for size in range(0, 64):
                raw.sendto(os.urandom(size), (ENGINE, 0))
        echo_exact(self.lab, 100_000)
        drops = self.lab.totals()["drops"]
        self.assertGreater(drops.get("tcp_malformed", 0) + drops.get("tcp_checksum", 0), 0, drops)
