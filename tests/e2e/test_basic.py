"""What a user tries first: every service with the usual client, `show`, exit codes, a clean end."""

import json
import os
import signal
import socket
import subprocess
import time
import unittest

from harness import (BINARY, CHARGEN, DISCARD, ECHO, ENGINE, ENGINE6, HTTP, Lab, LabCase, read_all,
                     wait_until)

COUNTERS = """rx_packets rx_bytes tx_packets tx_bytes rx_drops tx_drops ring_full_drops
connections_open connections_opened connections_closed retransmitted_segments out_of_order_segments
checksum_errors resets_sent resets_received syn_cookies_sent syn_cookies_validated memory_bytes
busy_ratio drops""".split()

CONNECTION_FIELDS = """local remote state worker service congestion_control mss rto_ms srtt_us
rttvar_us cwnd_bytes ssthresh_bytes send_window receive_window bytes_in_flight bytes_sent
bytes_received retransmits out_of_order_bytes send_queue_bytes receive_queue_bytes age_s""".split()


class Ping(LabCase):
    def test_v4(self):
        out = self.lab.run("ping", "-c", 3, "-i", 0.1, "-W", 2, ENGINE)
        self.assertIn(" 0% packet loss", out)

    def test_v6(self):
        out = self.lab.run("ping", "-6", "-c", 3, "-i", 0.1, "-W", 2, ENGINE6)
        self.assertIn(" 0% packet loss", out)

    def test_large(self):
        out = self.lab.run("ping", "-c", 2, "-i", 0.1, "-W", 2, "-M", "do", "-s", 1472, ENGINE)
        self.assertIn(" 0% packet loss", out)

    def test_odd_sizes(self):
        for size in (0, 1, 17, 55):
            with self.subTest(size=size):
                out = self.lab.run("ping", "-c", 1, "-W", 2, "-s", size, ENGINE)
                self.assertIn(" 0% packet loss", out)


class Http(LabCase):
    def curl(self, *words, **kw):
        return self.lab.run("curl", "-sS", "-m", 20, *words, **kw)

    def test_page(self):
        page = self.curl(f"http://{ENGINE}/")
        self.assertIn("pollux", page.lower())

    def test_page_v6(self):
        self.assertIn("pollux", self.curl(f"http://[{ENGINE6}]/").lower())

    def test_head_has_the_length_but_no_body(self):
        out = self.curl("-I", f"http://{ENGINE}/")
        self.assertIn("200", out.splitlines()[0])
        page = self.curl(f"http://{ENGINE}/")
        self.assertIn(f"content-length: {len(page.encode())}", out.lower())

    def test_not_found(self):
        code = self.curl("-o", "/dev/null", "-w", "%{http_code}", f"http://{ENGINE}/no/such/page")
        self.assertEqual("404", code)

    def test_keep_alive_takes_one_connection(self):
        out = self.curl("-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null",
                        f"http://{ENGINE}/", f"http://{ENGINE}/")
        self.assertEqual("1 0", out.strip())

    def test_request_in_pieces(self):
        with self.lab.connect(HTTP) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in (b"GE", b"T / HTTP/1.1\r\nHo", b"st: x\r\nConnection: close\r\n\r", b"\n"):
                s.sendall(piece)
                time.sleep(0.02)
            self.assertTrue(read_all(s).startswith(b"HTTP/1.1 200"))

    def test_nonsense_is_answered_and_closed(self):
        with self.lab.connect(HTTP) as s:
            s.sendall(b"no such verb\r\n\r\n")
            self.assertTrue(read_all(s).startswith(b"HTTP/1.1 400"))


class Streams(LabCase):
    def test_nc_echo_with_half_close(self):
        text = "first line\nsecond line\n"
        out = self.lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input=text)
        self.assertEqual(text, out)

    def test_nc_echo_v6(self):
        out = self.lab.run("nc", "-N", "-w", 10, ENGINE6, ECHO, input="hello\n")
        self.assertEqual("hello\n", out)

    def test_echo_of_nothing(self):
        self.assertEqual("", self.lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input=""))

    def test_echo_after_half_close_still_sends_what_it_owes(self):
        data = os.urandom(200_000)
        with self.lab.connect(ECHO) as s:
            s.sendall(data[:100])
            self.assertEqual(data[:100], s.recv(100, socket.MSG_WAITALL))
            s.sendall(data[100:])
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(data[100:], read_all(s))

    def test_discard_says_nothing_and_closes(self):
        with self.lab.connect(DISCARD) as s:
            s.sendall(b"x" * 300_000)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(b"", read_all(s))

    def test_chargen_pattern(self):
        with self.lab.connect(CHARGEN) as s:
            lines = read_all(s, 95 * 74 * 3)[:95 * 74 * 3].split(b"\r\n")[:-1]
        printable = bytes(range(0x20, 0x7F))
        self.assertEqual(95 * 3, len(lines))
        start = printable.index(lines[0][:1])
        for i, line in enumerate(lines):
            at = (start + i) % 95
            self.assertEqual((printable + printable)[at:at + 72], line)

    def test_chargen_ends_when_the_peer_closes(self):
        with self.lab.connect(CHARGEN) as s:
            read_all(s, 100_000)
        self.lab.wait_closed()

    def test_closed_port_refuses(self):
        with self.assertRaises(ConnectionRefusedError):
            self.lab.connect(4242)

    def test_reset_by_the_peer_closes(self):
        s = self.lab.connect(ECHO)
        s.sendall(b"x")
        s.recv(1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        s.close()
        self.lab.wait_closed(5)


class Show(LabCase):
    def test_stats(self):
        self.lab.run("ping", "-c", 1, "-W", 2, ENGINE)
        stats = self.lab.show("stats")
        self.assertTrue(stats["version"])
        self.assertGreaterEqual(stats["uptime_s"], 0)
        self.assertIsInstance(stats["workers"], list)
        for holder in (*stats["workers"], stats["totals"]):
            self.assertEqual([], [c for c in COUNTERS if c not in holder])
        self.assertGreater(stats["totals"]["rx_packets"], 0)
        self.assertGreater(stats["totals"]["tx_packets"], 0)

    def test_connections(self):
        with self.lab.connect(ECHO) as s:
            s.sendall(b"12345")
            self.assertEqual(b"12345", s.recv(5, socket.MSG_WAITALL))
            host, port = s.getsockname()
            mine = [c for c in self.lab.show("connections") if c["remote"] == f"{host}:{port}"]
            self.assertEqual(1, len(mine))
            self.assertEqual([], [f for f in CONNECTION_FIELDS if f not in mine[0]])
            self.assertEqual((5, 5), (mine[0]["bytes_sent"], mine[0]["bytes_received"]))
            self.assertEqual(f"{ENGINE}:{ECHO}", mine[0]["local"])
            self.assertEqual("echo", mine[0]["service"])
            self.assertEqual("ESTABLISHED", mine[0]["state"].upper())

    def test_the_others_answer(self):
        for what in ("workers", "queues", "config"):
            with self.subTest(what=what):
                self.assertTrue(self.lab.show(what))

    def test_workers_say_where_their_time_goes(self):
        with self.lab.connect(ECHO) as s:
            self.lab.show("workers")
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                s.sendall(b"x")
                s.recv(1)
            workers = self.lab.show("workers")
        for w in workers:
            with self.subTest(worker=w["worker"]):
                shares = [stage["share"] for stage in w["stages"].values()]
                if None not in shares:  # a worker that had nothing to do in a sampled turn
                    self.assertAlmostEqual(1, sum(shares), 6)
        busiest = max(workers, key=lambda w: w["sampled_turns"])
        self.assertGreater(busiest["sampled_turns"], 0)
        for stage in ("parse", "lookup", "tcp_in", "tcp_out", "write"):
            self.assertGreater(busiest["stages"][stage]["ns_per_packet"], 0)

    def test_without_json_it_is_text(self):
        for what in ("stats", "connections", "workers", "queues", "config"):
            with self.subTest(what=what):
                out = self.lab.run(BINARY, "show", what, "--control", self.lab.control)
                self.assertTrue(out.strip())
                with self.assertRaises(ValueError):
                    json.loads(out)

    def test_no_daemon_is_a_failure_in_one_line(self):
        done = subprocess.run([BINARY, "show", "stats", "--control", "/nonexistent/sock"],
                              capture_output=True, text=True, check=False, timeout=20)
        self.assertEqual(1, done.returncode)
        self.assertEqual(1, len(done.stderr.strip().splitlines()), done.stderr)


class ExitCodes(unittest.TestCase):
    def daemon(self, lab, *words, prefix=()):
        return subprocess.run([*prefix, BINARY, "run", "-c", str(lab.config), *words],
                              capture_output=True, text=True, check=False, timeout=60)

    def test_check_accepts_a_good_configuration(self):
        with Lab(start=False) as lab:
            done = self.daemon(lab, "--check")
            self.assertEqual(0, done.returncode, done.stderr)

    def test_bad_configuration_is_2_with_one_line_per_mistake(self):
        with Lab(start=False) as lab:
            lab.config.write_text("[engine]\nworkers = 0\nnonsense = 1\n[tcp]\nreceive_buffer = 7.5\n")
            done = self.daemon(lab)
            self.assertEqual(2, done.returncode, done.stderr)
            lines = done.stderr.strip().splitlines()
            self.assertEqual(3, len(lines), done.stderr)
            for line, (where, key) in zip(sorted(lines), [(2, "workers"), (3, "nonsense"),
                                                          (5, "receive_buffer")]):
                self.assertIn(f"{lab.config}:{where}:", line)
                self.assertIn(key, line)

    def test_bad_set_and_bad_usage_are_2(self):
        with Lab(start=False) as lab:
            self.assertEqual(2, self.daemon(lab, "--set", "engine.workers=no").returncode)
            self.assertEqual(2, self.daemon(lab, "--set", "engine.wrokers=1").returncode)
            self.assertEqual(2, self.daemon(lab, "--no-such-option").returncode)
        self.assertEqual(2, subprocess.run([BINARY, "bogus"], capture_output=True,
                                           check=False).returncode)

    def test_missing_configuration_is_2(self):
        done = subprocess.run([BINARY, "run", "-c", "/nonexistent.toml"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(2, done.returncode, done.stderr)
        self.assertIn("/nonexistent.toml", done.stderr)

    def test_no_permission_is_1_and_says_how_to_mend_it(self):
        with Lab(start=False) as lab:
            os.chmod(lab.dir, 0o777)
            os.chmod(lab.config, 0o644)
            # Still root, so that files stay reachable, but without the capability it is about.
            prefix = lab.command("setpriv", "--bounding-set=-net_admin",
                                 "--inh-caps=-net_admin", "--ambient-caps=-net_admin")
            done = self.daemon(lab, prefix=prefix)
            self.assertEqual(1, done.returncode, done.stderr)
            last = done.stderr.strip().splitlines()[-1].lower()
            self.assertIn("not permitted", last)
            self.assertIn("cap_net_admin", last)

    def test_name_taken_is_1(self):
        with Lab() as lab:
            second = subprocess.run(
                lab.command(BINARY, "run", "-c", lab.config, "--set", "control.socket="),
                capture_output=True, text=True, check=False, timeout=30)
            self.assertEqual(1, second.returncode, second.stderr)
            self.assertIn("pollux0", second.stderr)
            self.assertIn(" 0% packet loss", lab.run("ping", "-c", 1, "-W", 2, ENGINE))

    def test_version_and_help(self):
        for word in ("version", "help"):
            done = subprocess.run([BINARY, word], capture_output=True, text=True, check=False)
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn("pollux", done.stdout)


class Ends(unittest.TestCase):
    def test_sigterm_drains(self):
        """Data that was owed at SIGTERM still arrives, then FIN; new connections are refused."""
        with Lab({"engine.drain_s": 5}) as lab:
            with lab.connect(ECHO) as s:
                s.sendall(b"before")
                self.assertEqual(b"before", s.recv(6, socket.MSG_WAITALL))
                lab.process.send_signal(signal.SIGTERM)
                self.assertEqual(b"", read_all(s))  # FIN, not RST
                with self.assertRaises(OSError):
                    lab.connect(ECHO, timeout=3).close()
            self.assertEqual(0, lab.process.wait(15))
            lab.process = None

    def test_drain_is_bounded(self):
        with Lab({"engine.drain_s": 1}) as lab:
            with lab.connect(ECHO) as s:
                s.sendall(b"x")
                s.recv(1)
                begin = time.monotonic()
                lab.process.send_signal(signal.SIGTERM)
                self.assertEqual(0, lab.process.wait(30))
                self.assertLess(time.monotonic() - begin, 20)
                lab.process = None

    def test_second_signal_ends_at_once(self):
        with Lab({"engine.drain_s": 60}) as lab:
            with lab.connect(ECHO) as s:
                s.sendall(b"x")
                s.recv(1)
                lab.process.send_signal(signal.SIGINT)
                time.sleep(0.3)
                self.assertIsNone(lab.process.poll(), "drained although a connection is open")
                lab.process.send_signal(signal.SIGINT)
                self.assertEqual(0, lab.process.wait(10))
                lab.process = None

    def test_sigint_is_a_clean_end(self):
        with Lab() as lab:
            lab.process.send_signal(signal.SIGINT)
            self.assertEqual(0, lab.process.wait(20))
            lab.process = None
            self.assertNotIn("pollux0", lab.run("ip", "-br", "link"))

    def test_restart_works_at_once_after_sigkill(self):
        with Lab() as lab:
            with lab.connect(ECHO) as s:
                s.sendall(b"x")
                s.recv(1)
                lab.process.kill()
                lab.process.wait()
                lab.start_daemon()
            self.assertEqual("again", lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input="again"))


class Idle(unittest.TestCase):
    def test_adaptive_uses_no_cpu_to_speak_of(self):
        """The limit is 1 % of a core over ten seconds; 3 % leaves room for a noisy machine."""
        with Lab({"engine.idle": "adaptive"}) as lab:
            lab.run("curl", "-sS", "-m", 10, "-o", "/dev/null", f"http://{ENGINE}/")
            time.sleep(1)
            before = lab.cpu_seconds()
            time.sleep(10)
            self.assertLess(lab.cpu_seconds() - before, 0.3)

    def test_every_idle_mode_answers(self):
        for idle in ("poll", "adaptive", "block"):
            with self.subTest(idle=idle), Lab({"engine.idle": idle}) as lab:
                time.sleep(0.2)  # long enough to have gone to sleep
                self.assertIn(" 0% packet loss", lab.run("ping", "-c", 2, "-i", 0.2, "-W", 2, ENGINE))


class Settings(unittest.TestCase):
    def test_interface_is_as_configured(self):
        with Lab({"tun.mtu": 1400, "tun.txqueuelen": 321}) as lab:
            link = lab.run("ip", "link", "show", "pollux0")
            self.assertIn("mtu 1400", link)
            self.assertIn("qlen 321", link)
            self.assertIn("198.18.0.1/32", lab.run("ip", "-4", "addr", "show", "pollux0"))
            self.assertIn(ENGINE, lab.run("ip", "route", "show", "dev", "pollux0"))

    def test_interface_that_exists_is_left_as_it_is(self):
        with Lab({"tun.manage": False}, start=False) as lab:
            lab.run("ip", "tuntap", "add", "pollux0", "mode", "tun", "multi_queue", "vnet_hdr")
            lab.run("ip", "addr", "add", "198.18.0.1/24", "dev", "pollux0")
            lab.run("ip", "link", "set", "pollux0", "up", "mtu", "1300")
            lab.start_daemon()
            self.assertEqual("hi", lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input="hi"))
            self.assertIn("mtu 1300", lab.run("ip", "link", "show", "pollux0"))
            lab.process.send_signal(signal.SIGTERM)
            self.assertEqual(0, lab.process.wait(20))
            lab.process = None
            self.assertIn("pollux0", lab.run("ip", "-br", "link"))

    def test_a_prefix_owns_every_address_in_it(self):
        with Lab({"tun.address": '["198.18.0.0/16"]', "tun.host_address": '["198.18.0.1/32"]'}) as lab:
            for address in ("198.18.0.9", "198.18.200.77"):
                self.assertEqual("x", lab.run("nc", "-N", "-w", 10, address, ECHO, input="x"))

    def test_a_service_on_another_port(self):
        with Lab(services=[{"kind": "echo", "port": 7777}]) as lab:
            self.assertEqual("x", lab.run("nc", "-N", "-w", 10, ENGINE, 7777, input="x"))
            with self.assertRaises(ConnectionRefusedError):
                lab.connect(ECHO)


class Debug(unittest.TestCase):
    def test_debug_log_shows_segments(self):
        with Lab({"log.level": "debug"}) as lab:
            before = len(lab.log().splitlines())
            lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input="hello\n")
            lab.wait_closed()
            wait_until(lambda: len(lab.log().splitlines()) > before + 6, what="segments in the log")
            self.assertIn("SYN", lab.log())

    def test_info_log_is_quiet(self):
        with Lab() as lab:
            before = len(lab.log().splitlines())
            lab.run("nc", "-N", "-w", 10, ENGINE, ECHO, input="hello\n")
            lab.wait_closed()
            self.assertLessEqual(len(lab.log().splitlines()) - before, 2)
