"""`pollux top` in a terminal of its own: frames, keys, sizes, and the terminal as it was afterwards."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from harness import BINARY, CHARGEN, ECHO, LabCase, wait_until

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A pseudo terminal with a program in it; `text` is all that it wrote."""

    def __init__(self, lab, *words, rows=24, columns=100, locale="C.UTF-8"):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.text = b""
        self.process = lab.start(*words, stdin=self.slave, stdout=self.slave,
                                 stderr=subprocess.STDOUT, start_new_session=True,
                                 env={**os.environ, "LC_ALL": locale, "TERM": "xterm"})

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 1 << 16)
        return self.text

    def wait(self, what):
        """Until `what` is in what was written since the last wait(); returns that."""
        wait_until(lambda: what in self.read(), what=f"{what} in the terminal")
        seen, self.text = self.text, b""
        return seen

    def key(self, key):
        os.write(self.master, key)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(LabCase):
    settings = {"engine.workers": 2}

    def terminal(self, *more, **kw):
        return Terminal(self.lab, BINARY, "top", "--interval", "0.2", "--control",
                        self.lab.control, *more, **kw)

    def restored(self, terminal, code=0):
        self.assertEqual(terminal.process.wait(10), code)
        self.assertTrue(terminal.read().endswith(LEAVE), terminal.text[-200:])
        self.assertIn(b"\x1b[?25h", terminal.text)
        self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)

    def test_frames_show_the_connections(self):
        with self.lab.connect(CHARGEN) as bulk, self.lab.connect(ECHO) as echo, \
                self.terminal() as terminal:
            terminal.wait(ENTER)
            self.assertFalse(termios.tcgetattr(terminal.slave)[3] & termios.ECHO)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                bulk.recv(1 << 20)
                echo.sendall(b"x")
                echo.recv(1)
            terminal.text = b""
            frame = terminal.wait(b"q quit").decode()
            terminal.key(b"q")
            self.restored(terminal)
        name = "%s:%d" % bulk.getsockname() if bulk.fileno() >= 0 else ""
        self.assertIn("chargen", frame)
        self.assertIn("sorted by rate", frame)
        self.assertRegex(frame, r"out [0-9.]+[kMG]bit/s")
        self.assertTrue(any(c in frame for c in "▁▂▃▄▅▆▇█"), name)

    def test_keys_sort(self):
        with self.terminal() as terminal:
            for key, name in ((b"i", b"in"), (b"o", b"out"), (b"t", b"rtt"),
                              (b"x", b"retransmits"), (b"r", b"rate")):
                terminal.key(key)
                terminal.wait(b"sorted by " + name)
            terminal.key(b"q")
            self.restored(terminal)

    def test_a_new_size_is_taken(self):
        with self.terminal() as terminal:
            terminal.wait(b"x retransmits")
            terminal.resize(24, 20)
            terminal.process.send_signal(signal.SIGWINCH)
            frame = terminal.wait(b"q quit   sort by: r \x1b[J")
            last = frame.rsplit(b"\x1b[H", 1)[1]
            for line in last.split(b"\r\n"):
                self.assertLessEqual(
                    len(line.replace(b"\x1b[K", b"").replace(b"\x1b[J", b"").decode()), 20, line)
            terminal.key(b"q")
            self.restored(terminal)

    def test_signals_restore_the_terminal(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.terminal() as terminal:
                terminal.wait(ENTER)
                terminal.process.send_signal(number)
                self.restored(terminal)

    def test_stops_and_goes_on(self):
        with self.terminal() as terminal:
            terminal.wait(b"q quit")
            terminal.process.send_signal(signal.SIGTSTP)
            terminal.wait(LEAVE)
            wait_until(lambda: os.waitid(os.P_PID, terminal.process.pid,
                                         os.WSTOPPED | os.WNOHANG | os.WNOWAIT), what="the stop")
            self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
            terminal.process.send_signal(signal.SIGCONT)
            terminal.wait(ENTER)
            terminal.key(b"q")
            self.restored(terminal)

    def test_ascii_where_the_locale_is(self):
        with self.terminal(locale="C") as terminal:
            terminal.wait(b"q quit")
            frame = terminal.wait(b"q quit")
            self.assertTrue(frame.isascii())
            terminal.key(b"q")
            self.restored(terminal)

    def test_a_daemon_that_is_gone(self):
        with self.terminal() as terminal:
            terminal.wait(b"q quit")
            self.lab.stop()
            self.assertEqual(terminal.process.wait(20), 1)
            text = terminal.read()
            self.assertIn(b"no daemon answers", text[text.rindex(LEAVE):])
            self.assertEqual(termios.tcgetattr(terminal.slave), terminal.before)
        self.lab.start_daemon()

    def test_once(self):
        out = self.lab.run(BINARY, "top", "--once", "--interval", "0.3", "--control",
                           self.lab.control)
        self.assertNotIn("\x1b", out)
        self.assertRegex(out, r"in [0-9.]+k?bit/s")
        self.assertIn("\nworker", out)
        self.assertIn("pollux", self.lab.run(BINARY, "top", "--control", self.lab.control))
