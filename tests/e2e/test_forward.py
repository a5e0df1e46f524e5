"""forward: byte-exact both ways in every order of closing, and what breaks on one side breaks on the
other."""

import os
import signal
import socket
import subprocess
import sys
import time
import unittest

import peer
from harness import BINARY, ENGINE, ENGINE6, HOST, HOST6, SLOWNESS, Lab, LabCase, wait_until
from peer import MIB, Server, Talk, octets, reset

HOST_PORT, ENGINE_PORT, LIMITED, NOBODY, HOLE, IDLE, IDLE_ENGINE, SIX, NAMED, HOLE_ENGINE = range(
    7000, 7010)
TARGET, HOLE_TARGET, LOCAL_TARGET = 9000, 9001, 9002

SERVICES = [
    {"kind": "forward", "port": HOST_PORT, "to": f"{HOST}:{TARGET}"},
    {"kind": "forward", "port": ENGINE_PORT, "to": f"{HOST}:{TARGET}", "via": "engine"},
    {"kind": "forward", "port": LIMITED, "to": f"{HOST}:{TARGET}", "max_connections": 3},
    {"kind": "forward", "port": NOBODY, "to": f"{HOST}:1"},
    {"kind": "forward", "port": HOLE, "to": f"{HOST}:{HOLE_TARGET}", "connect_timeout_s": 1},
    {"kind": "forward", "port": IDLE, "to": f"{HOST}:{TARGET}", "idle_timeout_s": 1},
    {"kind": "forward", "port": IDLE_ENGINE, "to": f"{HOST}:{TARGET}", "idle_timeout_s": 1,
     "via": "engine"},
    {"kind": "forward", "port": SIX, "to": f"[{HOST6}]:{TARGET}"},
    {"kind": "forward", "port": NAMED, "to": f"localhost:{LOCAL_TARGET}",
     "allow": ["127.0.0.1", "::1"]},
    {"kind": "forward", "port": HOLE_ENGINE, "to": f"{HOST}:{HOLE_TARGET}", "via": "engine",
     "connect_timeout_s": 1},
]
BOTH = (HOST_PORT, ENGINE_PORT)
SIZE = 32 * MIB // (1 if SLOWNESS == 1 else 8)

# (name, what the client does, what the server does). Data in both directions unless it says less.
UP, DOWN = octets("up", SIZE), octets("down", SIZE + 12_345)
ORDERS = {
    "both at once": (dict(data=UP), dict(data=DOWN)),
    "client's FIN first": (dict(data=UP), dict(data=DOWN, after_fin=True)),
    "server's FIN first": (dict(data=UP, after_fin=True), dict(data=DOWN)),
    "client only": (dict(data=UP), dict()),
    "server only": (dict(), dict(data=DOWN)),
    "server silent until the end": (dict(data=UP), dict(after_fin=True)),
    "client silent until the end": (dict(after_fin=True), dict(data=DOWN)),
    "nothing at all": (dict(), dict()),
    # The client has got all FINs while most of its data still waits for the server.
    "server stalls after its FIN": (dict(data=UP), dict(stall_s=1.0)),
    "server stalls": (dict(data=UP), dict(data=DOWN, stall_s=1.0)),
    "client stalls": (dict(data=UP, stall_s=1.0), dict(data=DOWN)),
    "both stall": (dict(data=UP, stall_s=1.0), dict(data=DOWN, stall_s=1.0)),
}


def exchange(lab, port, client, server, address=ENGINE, target=HOST):
    """Each end is a Talk; checks that what one sent is what the other got."""
    with Server(lab, server, target, TARGET) as s:
        with lab.connect(port, address, timeout=60) as c:
            client(c)
        s.join()
        if s.errors:
            raise s.errors[0]
    server.check(client.data)
    client.check(server.data)


def is_reset(sock, data=b""):
    """Sends `data`, reads to the end; true when that is a RST."""
    try:
        sock.sendall(data)
        while sock.recv(MIB):
            pass
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


class Forward(LabCase):
    services = SERVICES

    def wait_logged(self, text):
        """The log is written by a thread of its own."""
        wait_until(lambda: text in self.lab.log(), what=f"'{text}' in the log")

    def is_refused(self, port):
        """Whether a connection is reset, which the client may learn from connect() already."""
        try:
            with self.lab.connect(port) as c:
                return is_reset(c)
        except ConnectionResetError:
            return True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.lab.nft(f"table inet t {{\n chain i {{\n type filter hook input priority 0\n"
                    f"tcp dport {HOLE_TARGET} drop\n}}\n}}\n")
        cls.descriptors = cls.count_descriptors()

    @classmethod
    def count_descriptors(cls):
        return len(os.listdir(f"/proc/{cls.lab.pid}/fd"))

    def tearDown(self):
        super().tearDown()
        self.lab.wait_closed()
        wait_until(lambda: self.count_descriptors() == self.descriptors,
                   what=f"{self.descriptors} descriptors (are {self.count_descriptors()})")

    def test_every_order_of_closing(self):
        for port in BOTH:
            for name, (client, server) in ORDERS.items():
                with self.subTest(port=port, order=name):
                    exchange(self.lab, port, Talk(**client), Talk(**server))

    def test_v6_and_names(self):
        exchange(self.lab, SIX, Talk(UP), Talk(DOWN), ENGINE6, HOST6)
        # localhost is ::1 first: nobody is there, the next address answers.
        with Server(self.lab, peer.echo, "127.0.0.1", LOCAL_TARGET):
            with self.lab.connect(NAMED) as c:
                c.sendall(b"by name")
                self.assertEqual(b"by name", c.recv(100))

    def test_data_before_the_target_answers_waits(self):
        with Server(self.lab, peer.echo, HOST, TARGET):
            for port in BOTH:
                with self.lab.socket() as c:
                    c.settimeout(20 * SLOWNESS)
                    c.connect((ENGINE, port))
                    c.sendall(b"at once")
                    c.shutdown(socket.SHUT_WR)
                    self.assertEqual(b"at once", c.recv(100, socket.MSG_WAITALL))

    def test_a_reset_is_passed_on(self):
        for port in BOTH:
            for amount in (0, 4 * MIB):
                with self.subTest(port=port, by="server", amount=amount):
                    with Server(self.lab, lambda s: (s.recv(1), reset(s)), HOST, TARGET):
                        with self.lab.connect(port) as c:
                            self.assertTrue(is_reset(c, b"x" + bytes(amount)))
                with self.subTest(port=port, by="client", amount=amount):
                    seen = []
                    with Server(self.lab, lambda s: (s.send(b"x"), seen.append(is_reset(s))), HOST,
                                TARGET) as server:
                        c = self.lab.connect(port)
                        c.recv(1)
                        c.sendall(bytes(amount))
                        reset(c)
                        server.join()
                    self.assertEqual([True], seen)

    def test_a_killed_server_ends_the_connection(self):
        script = ("import socket;s=socket.create_server(('%s',%d));print('up',flush=True);"
                  "c,_=s.accept();c.recv(1);c.sendall(bytes(1<<30))" % (HOST, TARGET))
        for port in BOTH:
            with self.subTest(port=port):
                server = self.lab.start(sys.executable, "-c", script, stdout=subprocess.PIPE)
                try:
                    server.stdout.readline()
                    with self.lab.connect(port) as c:
                        c.sendall(b"x" * 100_000)  # unread there: the kernel resets
                        c.recv(1_000_000)
                        server.send_signal(signal.SIGKILL)
                        self.assertTrue(is_reset(c))
                finally:
                    server.kill()
                    server.wait()
                    server.stdout.close()

    def test_a_vanished_client_is_given_up(self):
        """The server talks to nobody: the idle limit ends both."""
        for port in (IDLE, IDLE_ENGINE):
            with self.subTest(port=port):
                seen = []
                with Server(self.lab, lambda s: seen.append(is_reset(s)), HOST, TARGET) as server:
                    with self.lab.connect(port) as c:
                        c.sendall(b"x")
                        server_end = wait_until(lambda: server.accepted, what="the second connection")
                        self.assertEqual(1, server_end)
                        start = time.monotonic()
                        self.assertTrue(is_reset(c))
                        self.assertGreater(time.monotonic() - start, 0.5)
                    server.join()
                self.assertEqual([True], seen)

    def test_what_moves_is_not_idle(self):
        for port in (IDLE, IDLE_ENGINE):
            with self.subTest(port=port), Server(self.lab, peer.echo, HOST, TARGET):
                with self.lab.connect(port) as c:
                    for _ in range(8):
                        c.sendall(b"x")
                        self.assertEqual(b"x", c.recv(1))
                        time.sleep(0.4)

    def test_nobody_there(self):
        before = self.lab.log().count(f"forward on port {NOBODY}")
        for _ in range(30):
            self.assertTrue(self.is_refused(NOBODY))
        self.wait_logged("Connection refused")
        lines = self.lab.log().count(f"forward on port {NOBODY}") - before
        self.assertLess(lines, 15)

    def test_a_target_that_does_not_answer(self):
        for port in (HOLE, HOLE_ENGINE):
            with self.subTest(port=port), self.lab.connect(port) as c:
                c.sendall(b"are you there?")
                start = time.monotonic()
                self.assertTrue(is_reset(c))
                self.assertGreater(time.monotonic() - start, 0.8)
        self.wait_logged("did not answer within 1 s")

    def test_a_client_that_leaves_while_the_target_is_dialled(self):
        for port in (HOLE, HOLE_ENGINE):
            c = self.lab.connect(port)
            c.sendall(b"x")
            time.sleep(0.1)
            reset(c)
            with self.lab.connect(port) as c:
                c.shutdown(socket.SHUT_WR)
                self.assertTrue(is_reset(c))

    def test_the_limit_of_connections(self):
        with Server(self.lab, peer.echo, HOST, TARGET):
            held = [self.lab.connect(LIMITED) for _ in range(3)]
            for c in held:
                c.sendall(b"in")
                self.assertEqual(b"in", c.recv(2))
            self.assertTrue(self.is_refused(LIMITED))
            self.wait_logged("3 connections already")
            held.pop().close()

            def again():
                try:
                    with self.lab.connect(LIMITED) as c:
                        c.sendall(b"in")
                        return c.recv(2) == b"in"
                except OSError:
                    return False

            wait_until(again, what="room for another connection")
            for c in held:
                c.close()

    def test_500_short_connections(self):
        def body(port):
            clients = []
            for i in range(250):
                c = socket.create_connection((ENGINE, port), 20 * SLOWNESS)
                c.sendall(b"%d" % i)
                c.shutdown(socket.SHUT_WR)
                clients.append(c)
            for i, c in enumerate(clients):
                out = b""
                while piece := c.recv(100):
                    out += piece
                self.assertEqual(b"%d" % i, out)
                c.close()

        with Server(self.lab, peer.echo, HOST, TARGET) as server:
            for port in BOTH:
                self.lab.inside(body, port)
            self.assertEqual(500, server.accepted)

    def test_an_idle_relay_burns_no_cpu(self):
        with Server(self.lab, peer.echo, HOST, TARGET):
            with self.lab.connect(HOST_PORT) as c:
                c.sendall(b"x")
                c.recv(1)
                before = self.lab.cpu_seconds()
                time.sleep(1)
                self.assertLess(self.lab.cpu_seconds() - before, 0.3 * SLOWNESS)
                c.sendall(b"y")
                self.assertEqual(b"y", c.recv(1))


class Cells(unittest.TestCase):
    """Other workers, RX modes and devices, one exchange each way through both."""

    def cell(self, **settings):
        settings = {key.replace("__", "."): value for key, value in settings.items()}
        with Lab(settings, SERVICES) as lab:
            for port in BOTH:
                for order in ("both at once", "client's FIN first", "server stalls after its FIN"):
                    with self.subTest(port=port, order=order, **settings):
                        client, server = ORDERS[order]
                        exchange(lab, port, Talk(**client), Talk(**server))
            lab.wait_closed()

    def test_one_worker_inline(self):
        self.cell(engine__workers=1, engine__rx="inline")

    def test_two_workers_dedicated_without_offload(self):
        self.cell(engine__workers=2, engine__rx="dedicated", tun__offload=False)

    def test_two_workers_inline_without_offload(self):
        self.cell(engine__workers=2, engine__rx="inline", tun__offload=False)

    def test_four_workers_dedicated(self):
        self.cell(engine__workers=4, engine__rx="dedicated")

    def test_four_workers_inline_that_sleep_at_once(self):
        self.cell(engine__workers=4, engine__rx="inline", engine__idle="block")


class Start(unittest.TestCase):
    """What the configuration refuses, and the end of the daemon."""

    def run_daemon(self, *arguments, **service):
        lab = Lab(start=False, services=[{"kind": "forward", "port": 7000, **service}])
        try:
            words = [BINARY, *lab.arguments(), *arguments]
            done = subprocess.run(lab.command(*words), capture_output=True, text=True,
                                  timeout=60, check=False)
            return done.returncode, done.stdout + done.stderr
        finally:
            lab.destroy()

    def test_targets_on_this_host_must_be_named(self):
        for to in ("127.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[fe80::1]:80", "0.0.0.0:80",
                   "[::ffff:127.0.0.1]:80"):
            with self.subTest(to=to):
                code, out = self.run_daemon("--check", to=to)
                self.assertEqual(2, code, out)
                self.assertIn("allow = [", out)
        code, out = self.run_daemon("--check", to="127.0.0.1:80", allow=["127.0.0.1"])
        self.assertEqual(0, code, out)
        code, out = self.run_daemon("--check", to="10.0.0.1:80", allow=["127.0.0.1"])
        self.assertEqual(2, code, out)

    def test_a_name_is_judged_by_its_addresses(self):
        code, out = self.run_daemon(to="localhost:80")
        self.assertEqual(1, code, out)
        self.assertIn("allow", out)

    def test_a_name_that_nobody_knows(self):
        code, out = self.run_daemon(to="no-such-host.invalid:80")
        self.assertEqual(1, code, out)
        self.assertIn('cannot resolve "no-such-host.invalid"', out)

    def test_a_drain_ends_both_legs(self):
        with Lab(services=SERVICES) as lab:
            ends = []

            def serve(s):
                s.sendall(b"x")
                ends.append(s.recv(1))

            with Server(lab, serve, HOST, TARGET) as server:
                clients = [lab.connect(port) for port in BOTH]
                for c in clients:
                    self.assertEqual(b"x", c.recv(1))
                lab.process.send_signal(signal.SIGTERM)
                for c in clients:
                    self.assertEqual(b"", c.recv(1))  # a FIN
                    c.close()
                server.join()
                self.assertEqual([b"", b""], ends)
                self.assertEqual([], server.errors)
                self.assertEqual(0, lab.process.wait(20 * SLOWNESS))
            lab.process = None

    def test_a_drain_that_nobody_heeds_resets_both_legs(self):
        with Lab(services=SERVICES) as lab:
            seen = []

            def serve(s):
                s.sendall(b"x")
                seen.append(is_reset(s))

            with Server(lab, serve, HOST, TARGET) as server:
                with lab.connect(HOST_PORT) as c:
                    self.assertEqual(b"x", c.recv(1))
                    lab.process.send_signal(signal.SIGTERM)
                    self.assertEqual(0, lab.process.wait(20 * SLOWNESS))
                    server.join()
                self.assertEqual([True], seen)
            lab.process = None


