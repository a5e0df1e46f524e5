"""The verbs of run.sh that run a daemon: what they start, they end, and nothing stays."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import ECHO, ENGINE, ROOT, SERVICES, Netns, config_text, sh, wait_until

RUN_SH = str(ROOT / "run.sh")


def namespaces():
    return sh("ip", "netns", "list").split()


def is_left_over(namespace):
    """A test's whose process is gone: others may be at work beside us."""
    found = re.match(r"pollux-t-(\d+)-", namespace)
    return found is not None and not os.path.exists(f"/proc/{found[1]}")


class Up(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pollux-t-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.config = self.dir / "pollux.toml"
        control = {"control": {"socket": str(self.dir / "control.sock")}}
        self.config.write_text(config_text(control, SERVICES))
        self.log = self.dir / "log"
        self.name = f"pollux-t-{os.getpid()}-up"

    def start(self, name):
        """`up` in a session of its own, as a terminal would have it; waits until it serves."""
        with open(self.log, "wb") as log:
            process = subprocess.Popen([RUN_SH, "up", str(self.config), "--netns", name],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
        self.addCleanup(self.end, process)
        wait_until(lambda: b" ready" in self.log.read_bytes() or process.poll() is not None, 300,
                   "run.sh up")
        self.assertIsNone(process.poll(), self.log.read_text())
        return process

    def end(self, process):
        if process.poll() is None:
            process.terminate()
            process.wait(30)

    def daemon_of(self, process):
        return int(sh("pgrep", "-P", process.pid, "-x", "pollux"))

    def echo(self, name):
        out = sh("ip", "netns", "exec", name, "nc", "-N", "-w", 10, ENGINE, ECHO, input="hello")
        self.assertEqual("hello", out)

    def test_signals_end_it_cleanly_and_remove_the_namespace(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal=number.name):
                process = self.start(self.name)
                daemon = self.daemon_of(process)
                self.echo(self.name)
                process.send_signal(number)
                self.assertEqual(0, process.wait(30), self.log.read_text())
                self.assertNotIn(self.name, namespaces())
                self.assertFalse(pathlib.Path(f"/proc/{daemon}").exists())

    def test_ctrl_c_reaches_the_daemon_once(self):
        """A terminal signals the whole foreground group; twice would cut the drain short."""
        process = self.start(self.name)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(0, process.wait(30), self.log.read_text())
        self.assertNotIn(self.name, namespaces())

    def test_a_namespace_that_was_there_stays(self):
        mine = Netns()
        self.addCleanup(mine.destroy)
        process = self.start(mine.name)
        self.echo(mine.name)
        process.terminate()
        self.assertEqual(0, process.wait(30), self.log.read_text())
        self.assertIn(mine.name, namespaces())
        self.assertNotIn("pollux0", mine.run("ip", "-br", "link"))

    def test_a_daemon_that_dies_is_a_failure_and_leaves_nothing(self):
        process = self.start(self.name)
        os.kill(self.daemon_of(process), signal.SIGKILL)
        self.assertEqual(128 + signal.SIGKILL, process.wait(30), self.log.read_text())
        self.assertNotIn(self.name, namespaces())
        self.echo_after_restart()

    def echo_after_restart(self):
        process = self.start(self.name)
        self.echo(self.name)
        process.terminate()
        self.assertEqual(0, process.wait(30))

    def test_bad_configuration_is_its_exit_code(self):
        self.config.write_text("[nonsense]\n")
        done = subprocess.run([RUN_SH, "up", str(self.config), "--netns", self.name],
                              capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual(2, done.returncode, done.stdout + done.stderr)
        self.assertNotIn(self.name, namespaces())


class Words(unittest.TestCase):
    def run_sh(self, *words):
        return subprocess.run([RUN_SH, *words], capture_output=True, text=True, check=False,
                              timeout=300)

    def test_help(self):
        done = self.run_sh("help")
        self.assertEqual(0, done.returncode)
        for verb in ("setup", "build", "up", "demo", "test", "bench"):
            self.assertIn(verb, done.stdout)

    def test_mistakes_are_2(self):
        for words in (("bogus",), ("test", "bogus"), ("build", "bogus"), ("up", "--bogus")):
            with self.subTest(words=words):
                self.assertEqual(2, self.run_sh(*words).returncode)

    def test_setup_has_nothing_to_do(self):
        done = self.run_sh("setup")
        self.assertEqual(0, done.returncode)
        self.assertIn("are installed", done.stdout)

    def test_demo(self):
        before = namespaces()
        done = self.run_sh("demo")
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        for row in ("ping", "curl", "bulk in", "bulk out", "round trip"):
            self.assertIn(f"\n{row}", done.stdout)
        self.assertEqual([], [n for n in namespaces() if n not in before and is_left_over(n)])
