"""`pollux iperf3 -c`: from the engine to the kernel's own iperf3 server."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import BINARY, ENGINE, HOST, HOST6, LabCase, wait_until

VERSION = harness.sh("iperf3", "--version", check=False).split("\n")[0].split(" (")[0]


class ToTheKernel(LabCase):
    settings = {"engine.workers": 2, "engine.rx": "inline"}
    services = []
    cells = ["-n 8M", "-n 8M -R", "-t 1", "-t 1 -R", "-t 1 --bidir", "-n 8M -P 4", "-t 1 -P 4 -R",
             "-k 20", "-t 1 -l 4K", "-t 1 -N -S 0x20", "-t 1 -C reno", "-t 1 -b 20M",
             "-t 1 -O 1", "-t 1 -i 0.25", "-u -t 1 -b 20M", "-u -t 1 -b 20M -R",
             "-u -t 1 -b 10M --bidir", "-u -t 1 -b 5M -P 3", "-u -t 1 -b 20M -l 500",
             "-u -t 1 -b 20M --udp-counters-64bit", "-u -n 400K", "-u -t 1 -b 50M -l 8K --bidir",
             "-u -t 1 -b 50M -l 65507", "-u -t 1 -b 50M -l 65507 -R", "-n 4M -M 1000 -4",
             "-n 4M -M 1000 -R", "-u -t 1 -b 20M/10", "-t 1 --fq-rate 20M --dscp ef"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.lab.start("iperf3", "-s", "-J", stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        wait_until(lambda: ":5201" in cls.lab.run("ss", "-Hltn"), what="iperf3 -s")

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait()
        super().tearDownClass()

    def client(self, options, address=HOST, check=False):
        return self.lab.run(BINARY, "iperf3", "--control", self.lab.control, "-c", address,
                            *options.split(), check=check, timeout=60 * harness.SLOWNESS)

    def run_when_free(self, options, address=HOST):
        """The kernel's server has one test at a time, and a moment after each."""
        for _ in range(50):
            out = self.client(options, address)
            if "busy running a test" not in out:
                return out
            time.sleep(0.1)
        raise AssertionError(f"the server stays busy: {out}")

    def report(self, options, address=HOST):
        report = json.loads(self.run_when_free(options + " -J", address))
        self.assertNotIn("error", report, f"{VERSION}: {options}")
        return report

    def test_every_cell(self):
        for options in self.cells:
            end = self.report(options)["end"]
            with self.subTest(server=VERSION, options=options):
                if "-u" in options:
                    for stream in end["streams"]:
                        self.assertGreater(stream["udp"]["packets"], 0)
                        self.assertLess(stream["udp"]["lost_packets"], stream["udp"]["packets"])
                        self.assertLess(stream["udp"]["jitter_ms"], 200)
                    continue
                for name in ("sum_sent", "sum_received"):
                    self.assertGreater(end[name]["bytes"], 0)
                self.assertIn("retransmits", end["sum_sent"])
        self.lab.wait_closed()

    def test_v6(self):
        self.report("-n 4M", HOST6)
        self.report("-u -t 1 -b 5M", HOST6)

    def test_all_that_was_to_be_sent_was_sent(self):
        end = self.report("-n 3M")["end"]
        self.assertEqual(end["sum_sent"]["bytes"], 3 << 20)

    def test_streams_are_on_all_workers(self):
        def opened():
            return [w["connections_opened"] for w in self.lab.show("stats")["workers"]]

        before = opened()
        self.report("-n 1M -P 6")
        self.assertTrue(all(b - a >= 3 for a, b in zip(before, opened())), (before, opened()))

    def test_what_was_omitted_is_in_no_count(self):
        for options in ("-u -t 1 -b 5M -O 1", "-u -t 1 -b 5M -O 1 -R"):
            end = self.report(options)["end"]
            sent, received = end["sum_sent"]["packets"], end["sum_received"]["packets"]
            self.assertLess(sent, 700, f"{VERSION}: {options}")
            self.assertLess(abs(received - sent), sent * 0.3, f"{VERSION}: {options}")
            self.assertEqual(end["sum_sent"]["lost_packets"], 0, f"{VERSION}: {options}")
            self.assertEqual(end["sum"]["bytes"], end["sum_sent"]["bytes"])

    def test_text(self):
        out = self.run_when_free("-t 1 -P 2 -T lab")
        for line in ("lab:  Connecting to host 198.18.0.1, port 5201", "[ ID] Interval", "[SUM]",
                     "sender", "receiver", "lab:  iperf Done."):
            self.assertIn(line, out)

    def test_a_title_need_not_be_utf8(self):
        title = os.fsdecode(b"caf\xe9")
        for _ in range(50):
            out = subprocess.run(
                self.lab.command(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-n",
                                 "1M", "-J", "-T", title),
                stdout=subprocess.PIPE, check=False, timeout=60 * harness.SLOWNESS).stdout.decode()
            if "busy running a test" not in out:
                break
            time.sleep(0.1)
        report = json.loads(out)
        self.assertNotIn("error", report)
        self.assertEqual(report["title"], "caf\ufffd")

    def test_a_rates_unit(self):
        out = self.run_when_free("-t 1 -b 8M -f k")
        rates = [float(r) for r in re.findall(r"([\d.]+) Kbits/sec", out)]
        self.assertGreaterEqual(len(rates), 3, out)
        self.assertTrue(all(5000 < r < 12_000 for r in rates), out)

    def test_limits_of_the_rate_and_of_segments_hold(self):
        for options in ("-t 1 -b 1G --fq-rate 20M", "-t 1 -b 20M/10 -l 8K -M 500"):
            end = self.report(options)["end"]
            self.assertLess(end["sum_received"]["bits_per_second"], 40e6)
            self.assertGreater(end["sum_received"]["bits_per_second"], 10e6)
        capture = self.lab.start("tcpdump", "-ni", "pollux0", "-c", 5, "-v", "src", ENGINE, "and",
                                 "greater", 200, "and", "ip[1] = 0xb8", stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        capture.stderr.readline()  # it listens
        self.report("-n 2M -M 500 --dscp ef")
        out, _ = capture.communicate(timeout=20)
        sizes = [int(n) for n in re.findall(r", length (\d+)$", out, re.MULTILINE)]
        self.assertIn("tos 0xb8", out)
        self.assertTrue(any(n % 488 == 0 for n in sizes), out)  # 500 less the timestamps

    def test_a_log_file_gets_it_all(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log")
            self.assertEqual(self.run_when_free(f"-n 1M --forceflush --logfile {path}"), "")
            self.client(f"-p 5999 --logfile {path}")
            with open(path) as log:
                text = log.read()
        self.assertIn("iperf Done.", text)
        self.assertIn("iperf3: error - unable to connect", text)
        self.assertIn("cannot write", self.client("-n 1M --logfile /nonesuch/log"))

    def test_what_was_omitted_is_not_of_the_octets_to_send(self):
        for options in ("-n 2M -b 20M -P 2 -O 1", "-u -n 400K -b 5M -l 1000 -O 1"):
            end = self.report(options)["end"]
            wanted = 400 << 10 if "-u" in options else 2 << 20
            self.assertGreaterEqual(end["sum_sent"]["bytes"], wanted, options)
            # Blocks are whole, and what a stream of TCP had queued goes out, too.
            self.assertLess(end["sum_sent"]["bytes"], wanted * 1.5, options)

    def test_a_window(self):
        report = self.report("-n 4M -w 64K")
        start = report["start"]
        self.assertEqual([start[name] for name in ("sock_bufsize", "sndbuf_actual",
                                                   "rcvbuf_actual")], [65536] * 3)
        # The kernel's server sends, and tells the window that it was offered.
        report = self.report("-t 1 -R -w 64K --get-server-output")
        for interval in report["server_output_json"]["intervals"]:
            self.assertLessEqual(interval["streams"][0]["snd_wnd"], 65536)
        wide = self.report("-t 1 -R --get-server-output")["server_output_json"]["intervals"]
        self.assertGreater(wide[0]["streams"][0]["snd_wnd"], 65536)

    def test_from_an_address_and_port(self):
        address = HOST
        for options in ("-n 1M -P 3", "-n 1M -R -P 3", "-u -t 1 -P 3"):
            start = self.report(f"{options} -B {ENGINE} --cport 6200", address)["start"]
            self.assertEqual([c["local_port"] for c in start["connected"]], [6200, 6201, 6202])
            self.assertEqual({c["local_host"] for c in start["connected"]}, {ENGINE})
            self.lab.wait_closed()
        self.assertIn("cannot connect from 198.18.0.77", self.client("-n 1M -B 198.18.0.77"))
        self.assertIn("cannot connect from", self.client(f"-n 1M -B {harness.ENGINE6}"))

    def test_the_family_is_checked(self):
        self.assertIn("not of that family", self.client("-n 1M -6"))
        self.assertIn("not of that family", self.client("-n 1M -4", HOST6))

    def test_a_server_that_is_not_there(self):
        self.lab.nft("table ip t {\nchain c {\ntype filter hook prerouting priority 0\n"
                     "tcp dport 5998 drop\n}\n}\n")
        self.addCleanup(self.lab.run, "nft", "delete", "table", "ip", "t")
        begun = time.monotonic()
        out = self.client("-p 5998 --connect-timeout 300")
        self.assertLess(time.monotonic() - begun, 15)
        self.assertIn("unable to connect to server: Connection timed out", out)

    def test_members_are_in_order(self):
        self.assertEqual(list(self.report("-n 1M"))[:3], ["start", "intervals", "end"])

    def test_nobody_listens(self):
        process = self.lab.start(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-p",
                                 5999, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)
        self.assertIn("Connection refused", err)
        self.assertIn("Connection refused", json.loads(self.client("-p 5999 -J"))["error"])

    def start_and_signal(self, options, number, port=5201, traffic=True):
        """Output, error output and exit code of a test that a signal meets."""

        def octets():
            totals = self.lab.totals()
            return totals["rx_bytes"] + totals["tx_bytes"]

        before = octets()
        process = self.lab.start(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-p",
                                 port, "-t", 30, *options.split(), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        wait_until(lambda: self.lab.totals()["connections_open"] >= 1, what="the connection")
        if traffic:
            wait_until(lambda: octets() - before > 200_000, what="traffic")
        time.sleep(0.7)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        wait_until(lambda: self.lab.totals()["connections_open"] == 0, what="its connections' end")
        return out, err, process.returncode

    def test_a_client_that_is_gone_ends_its_test(self):
        self.start_and_signal("", signal.SIGKILL)
        self.report("-n 1M")  # and the server is free again

    def test_an_interrupted_client_tells_what_it_has_measured(self):
        for options, number in (("", signal.SIGINT), ("-R -P 2", signal.SIGTERM)):
            with self.subTest(options=options):
                out, err, code = self.start_and_signal(options, number)
                self.assertEqual(code, 0)
                self.assertEqual(err, "iperf3: interrupt - the client has terminated\n")
                end = "receiver" if "-R" in options else "sender"
                sums = [line for line in out.splitlines() if line.endswith(end)]
                self.assertTrue(sums, out)
                self.assertIn("MBytes" if " MB" in sums[-1] else "GBytes", sums[-1])
                self.assertNotIn("iperf Done.", out)
                self.report("-n 1M")

    def test_an_interrupted_clients_json_is_whole(self):
        for options in ("-J", "-J --bidir -u -b 5M"):
            with self.subTest(options=options):
                out, err, code = self.start_and_signal(options, signal.SIGINT)
                report = json.loads(out)
                self.assertEqual((code, err), (0, ""))
                self.assertEqual(report["error"], "interrupt - the client has terminated")
                self.assertEqual(list(report)[:3], ["start", "intervals", "end"])
                measured = report["end"]["sum" if "-u" in options else "sum_sent"]
                told = sum(i["sum"]["bytes"] for i in report["intervals"])
                self.assertGreater(told, 0, out)
                self.assertGreaterEqual(measured["bytes"], told)
                self.assertGreater(measured["seconds"], 0.4)
                self.report("-n 1M")

    def test_interrupted_before_the_server_answers(self):
        with self.lab.inside(lambda: socket.create_server((HOST, 0))) as silent:
            def body():
                s, _ = silent.accept()
                with s:
                    harness.read_all(s)

            threading.Thread(target=body, daemon=True).start()
            out, _, code = self.start_and_signal("-J", signal.SIGINT, silent.getsockname()[1],
                                                 traffic=False)
        report = json.loads(out)
        self.assertEqual(code, 0)
        self.assertEqual(report["error"], "interrupt - the client has terminated")
        self.assertEqual((report["start"]["connected"], report["intervals"], report["end"]),
                         ([], [], {}))

    def test_a_second_signal_does_not_wait(self):
        with self.lab.inside(lambda: socket.create_server((HOST, 0))) as silent:
            process = self.lab.start(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST,
                                     "-p", silent.getsockname()[1], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
            wait_until(lambda: self.lab.totals()["connections_open"] == 1, what="the connection")
            os.kill(self.lab.pid, signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
                self.assertIsNone(process.poll())
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=20)
            finally:
                os.kill(self.lab.pid, signal.SIGCONT)
        self.assertEqual((process.returncode, err), (0, "iperf3: interrupt - interrupted twice\n"))
        wait_until(lambda: self.lab.totals()["connections_open"] == 0, what="its connection's end")

    def test_a_server_that_ends_leaves_what_was_measured(self):
        server = self.lab.start("iperf3", "-s", "-p", 5209, stdout=subprocess.DEVNULL)
        wait_until(lambda: ":5209" in self.lab.run("ss", "-Hltn"), what="iperf3 -s")
        process = self.lab.start(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-p",
                                 5209, "-t", 30, "-J", stdout=subprocess.PIPE, text=True)
        wait_until(lambda: self.lab.totals()["connections_open"] >= 2, what="the test's begin")
        time.sleep(0.5)
        server.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        report = json.loads(out)
        self.assertEqual(process.returncode, 1)
        self.assertEqual(report["error"], "error - the server has terminated")
        self.assertGreater(report["end"]["sum_sent"]["bytes"], 0)

    def test_bad_options(self):
        for options in ("-t x", "-n 5X", "-P 0", "-P 129", "-R --bidir", "-S 256", "--nonsense",
                        "-C nonesuch", "-f x", "-b 1M/0", "-M 20", "-4 -6", "--dscp zz",
                        "-S 1 --dscp 1", "-w x", "-B nobody", "--cport 0", "--cport 65536",
                        "--cport 65500 -P 64"):
            process = self.lab.start(BINARY, "iperf3", "-c", HOST, *options.split(),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            _, err = process.communicate(timeout=20)
            self.assertEqual(process.returncode, 2, options)
            self.assertTrue(err, options)


class Dedicated(ToTheKernel):
    settings = {"engine.workers": 2, "engine.rx": "dedicated"}
    cells = ["-n 4M", "-n 4M -R", "-t 1 --bidir -P 2", "-u -t 1 -b 20M --bidir"]


class Plain(ToTheKernel):
    settings = {"engine.workers": 1, "tun.offload": False}
    cells = Dedicated.cells


class BadServers(LabCase):
    """Servers that lie: one clear error each, and nothing left behind."""

    services = []
    answers = {
        "denied": (b"\xff", "busy"),
        "error": (b"\xfe" + struct.pack(">ii", 7, 0), "block size"),
        "unknown error": (b"\xfe" + struct.pack(">ii", 4711, 0), "4711"),
        "terminate": (b"\x0b", "terminated"),
        "closes": (b"", "closed unexpectedly"),
        "nonsense": (b"\x63", "unknown control message"),
        "running without streams": (b"\x09\x01\x02", "without all streams"),
        "streams without end": (b"\x09" + b"\x0a" * 1000, "unknown control message"),
        "streams without parameters": (b"\x0a", "unknown control message"),
        "parameters without end": (b"\x09" * 1000, "unknown control message"),
        "results without a test": (b"\x0e", "unknown control message"),
    }

    def serve(self, answer):
        listener = self.lab.socket()
        listener.bind((HOST, 0))
        listener.listen()

        def body():
            s, _ = listener.accept()
            with s:
                s.recv(37, socket.MSG_WAITALL)
                s.sendall(answer)
                s.settimeout(5)
                try:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except OSError:
                    pass
            listener.close()

        threading.Thread(target=body, daemon=True).start()
        return listener.getsockname()[1]

    def test_a_stream_that_the_server_resets(self):
        listener = self.lab.socket()
        listener.bind((HOST, 0))
        listener.listen()

        def body():
            control, _ = listener.accept()
            with control, listener:
                control.recv(37, socket.MSG_WAITALL)
                control.sendall(b"\x09")
                size = struct.unpack(">I", control.recv(4, socket.MSG_WAITALL))[0]
                control.recv(size, socket.MSG_WAITALL)
                control.sendall(b"\x0a")
                stream, _ = listener.accept()
                stream.recv(37, socket.MSG_WAITALL)
                control.sendall(b"\x01\x02")
                stream.recv(1000)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.close()
                control.recv(1)

        port = listener.getsockname()[1]
        threading.Thread(target=body, daemon=True).start()
        out = self.lab.run(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-p", port,
                           "-J", "-n", "1G", check=False)
        report = json.loads(out)
        self.assertIn("stream has closed", report["error"])
        # What was acknowledged fits the receiver's buffer; what was queued would be another 6 MiB.
        self.assertLess(report["end"]["sum_sent"]["bytes"], 7 << 20)
        self.lab.wait_closed()

    def test_each(self):
        for name, (answer, words) in self.answers.items():
            port = self.serve(answer)
            out = self.lab.run(BINARY, "iperf3", "--control", self.lab.control, "-c", HOST, "-p",
                               port, "-J", check=False)
            with self.subTest(server=name):
                self.assertIn(words, json.loads(out)["error"])
        self.lab.wait_closed()


if __name__ == "__main__":
    unittest.main()
