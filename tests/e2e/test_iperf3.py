"""The iperf3 service against unmodified clients: a matrix of their options, many at once, bad ones."""

import json
import os
import random
import resource
import socket
import struct
import subprocess
import time
import unittest

import harness
from harness import DISCARD, ENGINE, ENGINE6, LabCase, wait_until

PORT = 5201
SERVICES = [{"kind": "iperf3", "port": PORT}, {"kind": "discard", "port": DISCARD},
            {"kind": "iperf3", "port": 5202, "server_output": "json", "max_tests": 2,
             "max_parallel": 4, "max_duration_s": 5},
            {"kind": "iperf3", "port": 5203, "max_tests_per_client": 2}]
VERSION = harness.sh("iperf3", "--version", check=False).split("\n")[0].split(" (")[0]

PARAM_EXCHANGE, CREATE_STREAMS, TEST_START, TEST_RUNNING, TEST_END = 9, 10, 1, 2, 4
CLIENT_TERMINATE, EXCHANGE_RESULTS, SERVER_TERMINATE = 12, 13, 11
ACCESS_DENIED, SERVER_ERROR = 0xFF, 0xFE


def start(lab, options, port=PORT, address=ENGINE):
    return lab.start("iperf3", "-J", "-c", address, "-p", port, *options.split(),
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report_of(process, timeout=60):
    out, _ = process.communicate(timeout=timeout * harness.SLOWNESS)
    return json.loads(out[max(out.find("{"), 0):])  # behind its warnings


def run(lab, options, **where):
    return report_of(start(lab, options, **where))


class Checks(LabCase):
    """What a client's own report must say."""

    services = SERVICES

    def check(self, report, what):
        self.assertNotIn("error", report, f"{VERSION}: iperf3 {what}: {report.get('error')}")
        test = report["start"]["test_start"]
        if test["protocol"] == "UDP":
            return self.check_udp(report, what)
        return self.check_tcp(report, what)

    def check_tcp(self, report, what):
        end = report["end"]
        both = report["start"]["test_start"].get("bidir")
        for suffix in ("", "_bidir_reverse") if both else ("",):
            sent, received = end["sum_sent" + suffix], end["sum_received" + suffix]
            with self.subTest(client=VERSION, options=what, direction=suffix or "only"):
                self.assertGreater(received["bytes"], 0)
                # What is under way and in queues at the end is the difference. Omitted time ends
                # at each end by itself, and so may its octets.
                under_way = (64 << 20) * report["start"]["test_start"]["num_streams"]
                ahead = under_way if "-O" in what else 0
                self.assertLessEqual(received["bytes"], sent["bytes"] + ahead)
                self.assertGreaterEqual(received["bytes"], sent["bytes"] - under_way)
                self.assertIn("retransmits", sent)
                self.assertGreater(received["bits_per_second"], 0)

    def check_udp(self, report, what):
        for stream in report["end"]["streams"]:
            udp = stream["udp"]
            with self.subTest(client=VERSION, options=what, socket=udp["socket"]):
                self.assertGreater(udp["packets"], 0)
                self.assertLess(udp["lost_packets"], udp["packets"])
                self.assertGreaterEqual(udp["jitter_ms"], 0)
                self.assertLess(udp["jitter_ms"], 1000)


class Matrix(Checks):
    settings = {"engine.workers": 2, "engine.rx": "inline"}
    cells = ["-t 1", "-t 1 -R", "-t 1 --bidir", "-t 1 -P 4", "-t 1 -P 4 -R", "-t 1 --bidir -P 3",
             "-t 1 -P 128 -b 1M", "-k 30", "-k 30 -R", "-t 1 -l 4K", "-t 1 -l 1M -R", "-t 1 -N",
             "-t 1 -M 700", "-t 1 -w 64K", "-t 1 -w 64K -R", "-t 1 -C reno", "-t 1 -C bbr -R",
             "-t 1 -S 0x20 -R", "-t 1 -b 20M", "-t 1 -b 20M -R", "-t 1 -b 20M/8 -R", "-t 1 -O 1",
             "-t 1 -O 1 -R", "-t 1 -i 0.2", "-t 1 -Z", "-t 1 --fq-rate 50M -R", "-t 1 -6",
             "-u -t 1 -b 20M", "-u -t 1 -b 20M -R", "-u -t 1 -b 20M --bidir",
             "-u -t 1 -b 5M -P 4", "-u -t 1 -b 5M -P 4 -R", "-u -t 1 -b 20M -l 400",
             "-u -t 1 -b 20M --udp-counters-64bit", "-u -t 1 -b 20M -R --udp-counters-64bit",
             "-u -t 1 -O 1 -b 20M", "-u -t 1 -b 20M -6", "-u -n 300K", "-u -n 300K -R", "-u -t 1 -b 0 -R",
             "-u -t 1 -b 50M -l 8K", "-u -t 1 -b 50M -l 8K -R", "-u -t 1 -b 50M -l 65507 --bidir",
             "-u -t 1 -b 50M -l 8K -P 2 -R -6"]

    def test_every_cell(self):
        for options in self.cells:
            address = ENGINE6 if "-6" in options else ENGINE
            self.check(run(self.lab, options, address=address), options)
        wait_until(lambda: self.lab.log().count("ended after") == len(self.cells),
                   what="a line of the log for each test")
        self.lab.wait_closed()


class Dedicated(Matrix):
    settings = {"engine.workers": 2, "engine.rx": "dedicated"}
    cells = ["-t 1", "-t 1 -R", "-t 1 --bidir -P 2", "-u -t 1 -b 20M --bidir", "-n 2M", "-n 2M -R"]


class Plain(Matrix):
    settings = {"engine.workers": 1, "tun.offload": False}
    cells = Dedicated.cells


class Four(Matrix):
    settings = {"engine.workers": 4, "engine.rx": "dedicated"}
    cells = ["-t 1 -P 8", "-t 1 -P 8 -R", "-t 1 --bidir -P 4", "-u -t 1 -b 5M -P 8 --bidir"]


class Agreement(Checks):
    """What both ends count of the same test."""

    settings = {"engine.workers": 2}

    def test_octets_are_the_same_when_their_number_ends_the_test(self):
        for options in ("-n 1M", "-n 8M -P 2", "-k 10 -l 64K"):
            end = run(self.lab, options)["end"]
            self.assertEqual(end["sum_received"]["bytes"], end["sum_sent"]["bytes"], options)

    def test_the_service_sends_no_more_than_was_asked_for(self):
        for options, octets in (("-n 1M -R", 1 << 20), ("-n 8M -P 2 -R", 8 << 20)):
            end = run(self.lab, options)["end"]
            self.assertEqual(end["sum_sent"]["bytes"], octets, options)
            self.assertEqual(end["sum_received"]["bytes"], octets, options)
        # A client takes each read for a block, and may end before.
        sent = run(self.lab, "-k 10 -R")["end"]["sum_sent"]["bytes"]
        self.assertLessEqual(sent, 10 * 131072)

    def test_a_burst_goes_in_one_piece(self):
        intervals = run(self.lab, "-R -t 2 -i 0.2 -b 10M/20")["intervals"]
        least = min(i["sum"]["bytes"] for i in intervals)
        self.assertLess(least, 20_000, "between two bursts of 20 blocks nothing goes")

    def test_a_rate_is_kept_in_both_directions(self):
        for options in ("-b 20M", "-b 20M -R", "-u -b 20M", "-u -b 20M -R"):
            end = run(self.lab, f"{options} -t 2")["end"]
            rate = end["sum"]["bits_per_second"] if "-u" in options else \
                end["sum_received"]["bits_per_second"]
            self.assertGreater(rate, 10e6, options)
            self.assertLess(rate, 24e6, options)

    def test_without_a_rate_datagrams_go_as_fast_as_they_can(self):
        for options in ("-u -b 0", "-u -b 0 -R", "-u -b 0 -R -l 8K"):
            end = run(self.lab, f"{options} -t 1")["end"]
            self.assertGreater(end["sum_sent"]["bits_per_second"], 20e6, options)
            self.assertGreater(end["sum_received"]["bits_per_second"], 10e6, options)

    def test_dscp_of_a_test_is_on_its_segments(self):
        capture = self.lab.start("tcpdump", "-ni", "pollux0", "-c", 20, "-v", "src", ENGINE, "and",
                                 "port", PORT, "and", "ip[1] = 0x88", stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        time.sleep(0.5)
        self.check(run(self.lab, "-t 1 -R -S 0x88"), "-S 0x88")
        out, _ = capture.communicate(timeout=20)
        self.assertIn("tos 0x88", out)

    def test_datagrams_of_both_ends(self):
        end = run(self.lab, "-u -b 10M -t 1")["end"]["sum"]
        before = self.lab.totals()["datagrams_received"]
        again = run(self.lab, "-u -b 10M -t 1 --udp-counters-64bit")["end"]["sum"]
        came = self.lab.totals()["datagrams_received"] - before
        self.assertEqual(came, again["packets"] - again["lost_packets"] + 1)  # and the greeting
        self.assertGreater(end["packets"], 0)

    def test_server_output_as_text_and_as_json(self):
        report = run(self.lab, "-t 1 -P 2 --get-server-output")
        text = report["server_output_text"]
        for word in ("Accepted connection from", "[SUM]", "receiver", "Interval"):
            self.assertIn(word, text)
        report = run(self.lab, "-t 1 -R --get-server-output", port=5202)
        output = report["server_output_json"]
        self.assertEqual(len(output["intervals"]), 1)
        self.assertEqual(output["start"]["test_start"]["protocol"], "TCP")
        self.assertEqual(output["end"]["streams"][0]["sender"]["bytes"],
                         report["end"]["sum_sent"]["bytes"])

    def test_a_window_bounds_the_engines_buffers_too(self):
        report = run(self.lab, "-t 1 -w 64K --get-server-output", port=5202)
        for interval in report["intervals"]:
            self.assertLessEqual(interval["streams"][0]["snd_wnd"], 65536)
        start = report["server_output_json"]["start"]
        self.assertEqual([start[name] for name in ("sock_bufsize", "sndbuf_actual",
                                                   "rcvbuf_actual")], [65536] * 3)

    def test_a_window_smaller_than_a_segment_does_not_stall(self):
        for mtu, window in ((9000, "4K"), (65535, "16K")):
            with harness.Lab({"engine.workers": 1, "engine.rx": "inline", "tun.mtu": mtu},
                             SERVICES) as lab:
                for options in ("", "-R"):
                    # Without room for a segment it is one in 200 ms: minutes.
                    what = f"-n 16M -w {window} {options}"
                    report = run(lab, what)
                    self.check(report, what)
                    self.assertLess(report["end"]["sum_received"]["seconds"],
                                    15 * harness.SLOWNESS, f"{what}, MTU {mtu}")

    def test_eight_clients_at_once_have_reports_of_their_own(self):
        sizes = [f"{n}M" for n in range(1, 9)]
        clients = [start(self.lab, f"-n {size} -b 40M") for size in sizes]
        for size, client in zip(sizes, clients):
            report = report_of(client)
            self.check(report, f"-n {size}")
            wanted = int(size[:-1]) << 20
            self.assertEqual(report["end"]["sum_received"]["bytes"],
                             report["end"]["sum_sent"]["bytes"])
            self.assertGreaterEqual(report["end"]["sum_received"]["bytes"], wanted)
            self.assertLess(report["end"]["sum_received"]["bytes"], wanted + (128 << 10))

    def test_eight_kinds_of_clients_at_once(self):
        kinds = ["-t 2", "-t 2 -R", "-t 2 --bidir", "-t 2 -P 4", "-u -t 2 -b 10M",
                 "-u -t 2 -b 10M -R", "-u -t 2 -b 10M --bidir", "-t 2 -P 2 -R"]
        clients = [start(self.lab, k) for k in kinds]
        for kind, client in zip(kinds, clients):
            self.check(report_of(client), kind)
        self.lab.wait_closed()


def cookie():
    return bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz234567", k=36)) + b"\0"


class Client:
    """One that is written here, to do wrong."""

    def __init__(self, lab, port=PORT, params=None):
        self.lab, self.port, self.cookie = lab, port, cookie()
        self.s = lab.connect(port)
        if params is not None:
            self.s.sendall(self.cookie)
            assert self.state() == PARAM_EXCHANGE
            self.message(json.dumps(params).encode())

    def state(self):
        octet = self.s.recv(1)
        return octet[0] if octet else None

    def message(self, text):
        self.s.sendall(struct.pack(">I", len(text)) + text)

    def error(self):
        """The code of a refusal."""
        data = self.s.recv(9, socket.MSG_WAITALL)
        assert data[0] == SERVER_ERROR, data
        return struct.unpack(">i", data[1:5])[0]

    def stream(self, octets=b""):
        s = self.lab.connect(self.port)
        s.sendall(self.cookie + octets)
        return s

    def close(self):
        self.s.close()

    __enter__ = lambda self: self  # noqa: E731

    def __exit__(self, *_):
        self.close()


TCP = {"tcp": True, "time": 1, "parallel": 1, "len": 131072}


class Wrong(Checks):
    settings = {"engine.workers": 2}

    def still_well(self):
        self.check(run(self.lab, "-n 1M"), "-n 1M after it")
        self.lab.wait_closed()

    def test_no_cookie_is_denied(self):
        for octets in (os.urandom(37), b"GET / HTTP/1.1\r\nHost: pollux\r\n\r\n" + b"x" * 20,
                       b"A" * 36 + b"\0", b"a" * 37):
            with Client(self.lab) as c:
                c.s.sendall(octets)
                self.assertEqual(c.state(), ACCESS_DENIED)
                self.assertIsNone(c.state())
        self.still_well()

    def test_bad_parameters_have_their_codes(self):
        cases = [(b"", 114), (b"nonsense", 114), (b"[" * 4000, 114), (b'"text"', 114),
                 (json.dumps(dict(TCP, parallel=129)).encode(), 6),
                 (json.dumps(dict(TCP, parallel=0)).encode(), 6),
                 (json.dumps(dict(TCP, parallel="many")).encode(), 6),
                 (json.dumps(dict(TCP, len=1 << 21)).encode(), 7),
                 (json.dumps(dict(TCP, len=-1)).encode(), 7),
                 (json.dumps(dict(TCP, time=1e30)).encode(), 5),
                 (json.dumps(dict(TCP, omit=601)).encode(), 12),
                 (json.dumps({"sctp": True}).encode(), 18),
                 (json.dumps({"udp": True, "len": 8}).encode(), 20),
                 (json.dumps({"udp": True, "len": 65508}).encode(), 20),
                 (json.dumps(dict(TCP, TOS=256)).encode(), 21)]
        for text, code in cases:
            with self.subTest(parameters=text[:60]), Client(self.lab) as c:
                c.s.sendall(c.cookie)
                self.assertEqual(c.state(), PARAM_EXCHANGE)
                c.message(text)
                self.assertEqual(c.error(), code)
                self.assertIsNone(c.state())
        self.still_well()

    def test_a_long_message_is_refused_before_it_comes(self):
        for length in (8193, 1 << 31, 0xFFFFFFFF):
            with Client(self.lab) as c:
                c.s.sendall(c.cookie)
                self.assertEqual(c.state(), PARAM_EXCHANGE)
                c.s.sendall(struct.pack(">I", length))
                self.assertEqual(c.error(), 114)
        self.still_well()

    def test_parameters_in_pieces(self):
        with Client(self.lab) as c:
            text = json.dumps(TCP).encode()
            for octet in c.cookie:
                c.s.sendall(bytes([octet]))
            self.assertEqual(c.state(), PARAM_EXCHANGE)
            for octet in struct.pack(">I", len(text)) + text:
                c.s.sendall(bytes([octet]))
            self.assertEqual(c.state(), CREATE_STREAMS)
        self.still_well()

    def test_a_stream_too_many_is_denied(self):
        with Client(self.lab, params=TCP) as c:
            self.assertEqual(c.state(), CREATE_STREAMS)
            first = c.stream()
            self.assertEqual((c.state(), c.state()), (TEST_START, TEST_RUNNING))
            second = c.stream()
            self.assertEqual(second.recv(1), b"\xff")
            first.close()
            second.close()
        self.still_well()

    def test_a_stream_from_another_address_is_denied(self):
        with Client(self.lab, params=TCP) as c:
            self.assertEqual(c.state(), CREATE_STREAMS)
            for _ in range(3):  # each counted once, or nobody could connect any more
                with self.lab.connect(PORT, ENGINE6) as s:
                    s.sendall(c.cookie)
                    self.assertEqual(s.recv(1), b"\xff")
                    self.assertEqual(s.recv(1), b"")
        self.still_well()

    def test_a_cookie_that_is_used_again_at_once(self):
        for _ in range(20):
            with Client(self.lab, params=TCP) as one:
                self.assertEqual(one.state(), CREATE_STREAMS)
                two = self.lab.connect(PORT)
                stream = self.lab.connect(PORT)
                stream.sendall(one.cookie)
                one.s.sendall(bytes([CLIENT_TERMINATE]))
                text = json.dumps(dict(TCP, parallel=128)).encode()
                two.sendall(one.cookie + struct.pack(">I", len(text)) + text)
                two.close()
                stream.close()
        self.still_well()

    def test_streams_are_numbered_as_they_connect(self):
        with Client(self.lab, params=dict(TCP, parallel=6)) as c:
            self.assertEqual(c.state(), CREATE_STREAMS)
            # Connected in order, their cookies in another: the numbers follow the connects.
            streams = [self.lab.connect(PORT) for _ in range(6)]
            for s in reversed(streams):
                s.sendall(c.cookie)
                time.sleep(0.02)
            self.assertEqual((c.state(), c.state()), (TEST_START, TEST_RUNNING))
            for i, s in enumerate(streams):
                s.sendall(b"x" * (1000 * (i + 1)))
            time.sleep(0.3)
            c.s.sendall(bytes([TEST_END]))
            self.assertEqual(c.state(), EXCHANGE_RESULTS)
            c.message(json.dumps({"streams": []}).encode())
            length = struct.unpack(">I", c.s.recv(4, socket.MSG_WAITALL))[0]
            results = json.loads(c.s.recv(length, socket.MSG_WAITALL))
            self.assertEqual([(s["id"], s["bytes"]) for s in results["streams"]],
                             [(1, 1000), (3, 2000), (4, 3000), (5, 4000), (6, 5000), (7, 6000)])
            for s in streams:
                s.close()
        self.still_well()

    def test_limits_of_the_service(self):
        with Client(self.lab, port=5202, params=dict(TCP, parallel=5)) as c:
            self.assertEqual(c.error(), 6)
        with Client(self.lab, port=5202, params=dict(TCP, time=6)) as c:
            self.assertEqual(c.error(), 5)
        with Client(self.lab, port=5202, params=TCP) as one, \
                Client(self.lab, port=5202, params=TCP) as two:
            self.assertEqual((one.state(), two.state()), (CREATE_STREAMS, CREATE_STREAMS))
            with Client(self.lab, port=5202) as three:
                three.s.sendall(three.cookie)
                self.assertEqual(three.state(), ACCESS_DENIED)
        self.still_well()
        report = run(self.lab, "-n 1M", port=5202)
        self.check(report, "-n 1M on the limited port")

    def test_results_that_cannot_be_read(self):
        for text in (b"nonsense", b"[]", b'{"streams": 5}', b'{"streams": [1]}', b"[" * 100_000):
            with Client(self.lab, params=TCP) as c:
                self.assertEqual(c.state(), CREATE_STREAMS)
                with c.stream(b"x" * 1000):
                    self.assertEqual((c.state(), c.state()), (TEST_START, TEST_RUNNING))
                    c.s.sendall(bytes([TEST_END]))
                    self.assertEqual(c.state(), EXCHANGE_RESULTS)
                    c.message(text)
                    self.assertEqual(c.error(), 117)
        self.still_well()

    def test_interruptions(self):
        def gathering(c):
            self.assertEqual(c.state(), CREATE_STREAMS)

        def running(c):
            gathering(c)
            c.kept = c.stream(b"x" * 100_000)
            self.assertEqual((c.state(), c.state()), (TEST_START, TEST_RUNNING))

        for reverse in (False, True):
            for reach in (gathering, running):
                for leave in (lambda c: c.s.sendall(bytes([CLIENT_TERMINATE])),
                              lambda c: c.s.shutdown(socket.SHUT_WR),
                              lambda c: c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                       struct.pack("ii", 1, 0)),
                              lambda c: c.s.sendall(b"\x63")):
                    with Client(self.lab, params=dict(TCP, reverse=reverse)) as c:
                        reach(c)
                        leave(c)
        self.still_well()

    def test_a_real_client_that_is_interrupted(self):
        for options in ("-t 20", "-t 20 -R", "-u -t 20 -b 10M -R"):
            process = start(self.lab, options)
            count = self.lab.log().count("iperf3: test from")
            wait_until(lambda: self.lab.log().count("iperf3: test from") > count or
                       process.poll() is not None, what="the test's begin")
            time.sleep(0.3)
            pid = harness.sh("pgrep", "-P", process.pid, "iperf3", check=False).strip()
            os.kill(int(pid) if pid else process.pid, 2)
            process.communicate(timeout=20)
        wait_until(lambda: "ended its test early" in self.lab.log(), what="a line of the log")
        self.still_well()

    def test_a_thousand_silent_clients_beside_a_test(self):
        before = self.lab.rss_kib()
        silent = [self.lab.connect(PORT) for _ in range(1000)]
        try:
            self.check(run(self.lab, "-t 2"), "-t 2 beside a thousand silent clients")
            grown = self.lab.rss_kib() - before
            self.assertLess(grown, 64 << 10, "KiB for a thousand silent clients and a test")
            # They are told to go after ten seconds.
            wait_until(lambda: self.lab.totals()["connections_open"] < 10, 40,
                       "the end of the silent ones")
        finally:
            for s in silent:
                s.close()
        # One complaint would do for all; a few are let through, not a thousand.
        self.assertLess(self.lab.log().count("said nothing"), 200)
        self.still_well()

    def beside_five_thousand(self, say):
        """The oldest of those without a test make room, so that one who has something to say is served."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
        others = []
        try:
            for _ in range(5000):
                others.append(self.lab.connect(PORT))
                say(others[-1])
            self.assertLess(self.lab.totals()["connections_open"], 2 * 1024 + 100)
            self.check(run(self.lab, "-t 1"), "-t 1 beside five thousand")
        finally:
            for s in others:
                s.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.lab.wait_closed()
        self.still_well()

    def test_more_silent_clients_than_are_kept(self):
        self.beside_five_thousand(lambda s: None)

    def test_more_clients_that_do_not_go_than_are_kept(self):
        """Denied or refused, and they do not close: as many as those that say nothing."""
        bad = b"A" * 37
        long = struct.pack(">I", 1 << 20)
        with self.subTest("no cookie"):
            self.beside_five_thousand(lambda s: s.sendall(bad))
        with self.subTest("parameters too long"):
            self.beside_five_thousand(lambda s: s.sendall(cookie() + long))

    def test_a_client_has_a_share(self):
        clients = [Client(self.lab, port=5203, params=TCP) for _ in range(2)]
        try:
            for c in clients:
                self.assertEqual(c.state(), CREATE_STREAMS)
            with Client(self.lab, port=5203) as one_more:
                one_more.s.sendall(one_more.cookie)
                self.assertEqual(one_more.state(), ACCESS_DENIED)
            self.check(run(self.lab, "-n 1M", port=5203, address=ENGINE6), "from another address")
        finally:
            for c in clients:
                c.s.close()

    def test_datagrams_of_nobody(self):
        before = self.lab.totals()["drops"]["udp_ignored"]
        with self.lab.socket(kind=socket.SOCK_DGRAM) as s:
            s.connect((ENGINE, PORT))
            s.settimeout(0.3)
            for octets in (b"9876", b"", b"x" * 1000):
                s.send(octets)
                self.assertRaises(TimeoutError, s.recv, 100)
        self.assertEqual(self.lab.totals()["drops"]["udp_ignored"], before + 3)


class Draining(unittest.TestCase):
    def test_clients_are_told(self):
        for options in ("-t 30", "-t 30 -R", "-u -t 30 -R"):
            lab = harness.Lab({"engine.workers": 2}, SERVICES)
            try:
                process = start(lab, options)
                wait_until(lambda: "iperf3: test from" in lab.log(), what="the test's begin")
                lab.stop()
                self.assertIn("server has terminated", report_of(process)["error"], options)
            finally:
                lab.destroy()


if __name__ == "__main__":
    unittest.main()
