"""The stubs of the benchmarks against the kernel's TCP: nothing lost, nothing made up, no stall."""

import contextlib
import json
import os
import signal
import subprocess
import unittest

from harness import ECHO, PRESET, ROOT, Netns, disown, own, read_all, send_in_background

SIZE = 64 << 20


class Stub:
    """A running stub; `report` holds its figures afterwards."""

    def __init__(self, netns, kind, *options):
        self._process = netns.start(ROOT / "build" / PRESET / "bench" / f"pollux_stub_{kind}",
                                    *options, stdout=subprocess.PIPE, text=True)
        own(self)
        self.report = None
        line = self._process.stdout.readline()
        assert line == "ready\n", line

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        self.report = json.loads(self._process.communicate(timeout=10)[0])
        disown(self)

    def destroy(self):
        disown(self)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Stubs(unittest.TestCase):
    def setUp(self):
        self.netns = Netns()
        self.addCleanup(self.netns.destroy)

    @contextlib.contextmanager
    def running(self, kind, *options):
        stub = Stub(self.netns, kind, *options)
        try:
            yield stub
            stub.stop()
        finally:
            stub.destroy()
        self.assertEqual(0, stub.report["refused"])

    def test_the_sink_takes_every_octet_once(self):
        for options in ([], ["--ack-batches"], ["--no-offload", "--idle", "block"]):
            with self.subTest(options=options), self.running("sink", *options) as stub:
                with self.netns.connect(ECHO) as s:
                    send_in_background(s, bytes(SIZE)).join()
                    self.assertEqual(b"", s.recv(1))  # its FIN, after ours
            self.assertEqual(SIZE, stub.report["octets"])

    def test_the_echo_gives_everything_back(self):
        for options in ([], ["--no-offload"]):
            with self.subTest(options=options), self.running("echo", *options):
                data = os.urandom(1000)
                with self.netns.connect(ECHO) as s:
                    for size in (1, 64, 1000):
                        s.sendall(data[:size])
                        self.assertEqual(data[:size], read_all(s, size))

    def test_the_source_goes_on_as_the_window_opens(self):
        for options in ([], ["--no-offload"]):
            with self.subTest(options=options), self.running("source", *options) as stub:
                with self.netns.connect(ECHO) as s:
                    self.assertEqual(b"x" * 1000, read_all(s, 1000)[:1000])
                    # Until here it could run ahead, from here on it follows the reader.
                    got = read_all(s, SIZE)
                    self.assertEqual(len(got), got.count(b"x"))
            self.assertGreaterEqual(stub.report["octets"], SIZE)
