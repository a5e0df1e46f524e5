"""pollux connect: a connection from the engine on standard input and output, as nc would."""

import hashlib
import os
import signal
import subprocess
import time
import unittest

import peer
from harness import BINARY, ENGINE, HOST, HOST6, SLOWNESS, Lab, LabCase, wait_until
from peer import MIB, Server, Talk, octets, reset

TARGET = 9000
SIZE = 32 * MIB // (1 if SLOWNESS == 1 else 8)


def words(lab, target, *more):
    return lab.command(BINARY, "connect", target, "--control", lab.control, *more)


def connect(lab, target, data=b"", *more):
    """(exit code, standard output, standard error)."""
    done = subprocess.run(words(lab, target, *more), input=data, capture_output=True,
                          timeout=120 * SLOWNESS, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def start(lab, target, *more):
    return subprocess.Popen(words(lab, target, *more), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


class Connect(LabCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.descriptors = cls.count_descriptors()

    @classmethod
    def count_descriptors(cls):
        return len(os.listdir(f"/proc/{cls.lab.pid}/fd"))

    def tearDown(self):
        super().tearDown()
        self.lab.wait_closed()
        wait_until(lambda: self.count_descriptors() == self.descriptors,
                   what=f"{self.descriptors} descriptors (are {self.count_descriptors()})")

    def server(self, serve, address=HOST):
        return Server(self.lab, serve, address, TARGET)

    def test_echo(self):
        with self.server(peer.echo):
            self.assertEqual((0, b"hello", ""), connect(self.lab, f"{HOST}:{TARGET}", b"hello"))

    def test_v6(self):
        with self.server(peer.echo, HOST6):
            self.assertEqual((0, b"six", ""), connect(self.lab, f"[{HOST6}]:{TARGET}", b"six"))

    def test_answer_after_the_end_of_input(self):
        def count(s):
            total = 0
            while piece := s.recv(MIB):
                total += len(piece)
            s.sendall(b"%d" % total)

        with self.server(count):
            self.assertEqual((0, b"300000", ""),
                             connect(self.lab, f"{HOST}:{TARGET}", bytes(300_000)))

    def test_input_after_the_servers_end(self):
        """The server's FIN first; what is typed afterwards still arrives."""
        talk = Talk(b"bye")
        with self.server(talk) as server:
            p = start(self.lab, f"{HOST}:{TARGET}")
            self.assertEqual(b"bye", p.stdout.read(3))
            out, err = p.communicate(b"late words", timeout=60 * SLOWNESS)
            server.join()
        self.assertEqual((0, b"", b""), (p.returncode, out, err))
        talk.check(b"late words")

    def test_large_both_ways_while_either_stalls(self):
        for name, stall in (("nobody", 0), ("server", 1.0)):
            with self.subTest(stalls=name):
                up, down = octets("up", SIZE), octets("down", SIZE)
                talk = Talk(down, stall_s=stall)
                with self.server(talk) as server:
                    code, out, err = connect(self.lab, f"{HOST}:{TARGET}", up)
                    server.join()
                self.assertEqual((0, ""), (code, err))
                self.assertEqual(hashlib.sha256(down).digest(), hashlib.sha256(out).digest())
                talk.check(up)

    def test_a_reader_that_stalls(self):
        down = octets("down", SIZE)
        with self.server(Talk(down)):
            p = start(self.lab, f"{HOST}:{TARGET}")
            p.stdin.close()
            time.sleep(1)
            self.assertEqual(hashlib.sha256(down).digest(), hashlib.sha256(p.stdout.read()).digest())
            self.assertEqual(0, p.wait(60 * SLOWNESS))
            p.stdout.close()
            p.stderr.close()

    def test_refused(self):
        code, out, err = connect(self.lab, f"{HOST}:1")
        self.assertEqual((1, b""), (code, out))
        self.assertEqual(f"pollux: cannot connect to {HOST}:1: refused\n", err)

    def test_reset(self):
        for before in (b"", b"some words"):
            with self.server(lambda s, b=before: (s.sendall(b), s.recv(1), reset(s))):
                code, out, err = connect(self.lab, f"{HOST}:{TARGET}", b"x")
            self.assertEqual(1, code)
            self.assertTrue(before.startswith(out), out)
            self.assertEqual(f"pollux: connection to {HOST}:{TARGET} ended: reset\n", err)

    def test_time_limit_of_opening(self):
        begin = time.monotonic()
        code, _, err = connect(self.lab, "198.18.0.77:1", b"", "-w", "1")
        self.assertEqual((1, "pollux: cannot connect to 198.18.0.77:1: timeout\n"), (code, err))
        self.assertGreater(time.monotonic() - begin, 0.8)

    def test_why_it_timed_out(self):
        with Lab() as lab:
            lab.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
            lab.run("ip", "route", "add", "unreachable", "198.18.0.77")
            code, _, err = connect(lab, "198.18.0.77:1", b"", "-w", "1")
        self.assertEqual((1, "pollux: cannot connect to 198.18.0.77:1: timeout (ICMP says: "
                          "unreachable)\n"), (code, err))

    def test_where_it_cannot_go(self):
        code, _, err = connect(self.lab, "127.0.0.1:1")
        self.assertEqual(1, code)
        self.assertIn("cannot connect to 127.0.0.1:1", err)
        begin = time.monotonic()
        code, _, err = connect(self.lab, f"{ENGINE}:7")
        self.assertEqual((1, f"pollux: cannot connect to {ENGINE}:7: the engine opens no connection "
                          "to itself\n"), (code, err))
        self.assertLess(time.monotonic() - begin, 5)

    def test_usage(self):
        for target in ("198.18.0.1", "host:80", "2001:2::1:80", "198.18.0.1:0", "198.18.0.1:70000"):
            with self.subTest(target=target):
                self.assertEqual(2, connect(self.lab, target)[0])
        self.assertEqual(2, connect(self.lab, f"{HOST}:1", b"", "-w", "0")[0])

    def test_nobody_at_the_control_socket(self):
        done = subprocess.run([BINARY, "connect", f"{HOST}:1", "--control", self.lab.dir / "none"],
                              capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("no daemon answers", done.stderr)

    def test_ctrl_c_ends_the_connection(self):
        for number in (signal.SIGINT, signal.SIGKILL):
            with self.subTest(signal=number):
                talk = Talk(after_fin=True)
                with self.server(talk) as server:
                    p = start(self.lab, f"{HOST}:{TARGET}")
                    p.stdin.write(b"typed before")
                    p.stdin.flush()
                    wait_until(lambda: talk.received, what="the first words")
                    self.assertEqual(["connect"],
                                     [c["service"] for c in self.lab.show("connections")
                                      if c["state"] == "ESTABLISHED"])
                    p.send_signal(number)
                    self.assertEqual(-number, p.wait(20))
                    p.communicate()
                    server.join()
                talk.check(b"typed before")

    def test_ctrl_c_while_opening(self):
        p = start(self.lab, "198.18.0.77:1")
        wait_until(lambda: self.lab.show("connections"), what="a connection that is being opened")
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=20)
        wait_until(lambda: not self.lab.show("connections"), what="its end")

    def test_many_at_once(self):
        """Up to the limit of sessions; the next one is told so."""
        with self.server(peer.echo):
            calls = [start(self.lab, f"{HOST}:{TARGET}") for _ in range(64)]
            try:
                for i, p in enumerate(calls):
                    p.stdin.write(b"%3d" % i)
                    p.stdin.flush()
                    self.assertEqual(b"%3d" % i, p.stdout.read(3))
                code, _, err = connect(self.lab, f"{HOST}:{TARGET}")
                self.assertEqual(1, code)
                self.assertIn("64 sessions", err)
                self.assertTrue(self.lab.totals())  # requests are still answered
            finally:
                for p in calls:
                    p.communicate(timeout=60 * SLOWNESS)
            self.assertEqual({0}, {p.returncode for p in calls})


class Cells(unittest.TestCase):
    def test_modes(self):
        up = octets("up", SIZE)
        for workers, rx in ((1, "inline"), (2, "dedicated"), (4, "inline"), (4, "dedicated")):
            settings = {"engine.workers": workers, "engine.rx": rx}
            with self.subTest(**settings), Lab(settings) as lab, \
                    Server(lab, peer.echo, HOST, TARGET):
                for _ in range(workers + 1):  # each worker has its turn
                    code, out, err = connect(lab, f"{HOST}:{TARGET}", up[:MIB])
                    self.assertEqual((0, up[:MIB], ""), (code, out, err))

    def test_the_end_of_the_daemon_ends_it(self):
        with Lab() as lab, Server(lab, peer.echo, HOST, TARGET):
            p = start(lab, f"{HOST}:{TARGET}")
            p.stdin.write(b"x")
            p.stdin.flush()
            self.assertEqual(b"x", p.stdout.read(1))
            lab.process.send_signal(signal.SIGTERM)
            self.assertEqual(0, lab.process.wait(20 * SLOWNESS))
            lab.process = None
            p.communicate(timeout=20)
            self.assertEqual(0, p.returncode)
