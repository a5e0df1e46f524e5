"""Headless Chromium in a namespace, driven over its debugging pipe: no port, no other network."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

import harness


class Browser:
    """One page. `url` is opened at once; use as a context manager."""

    def __init__(self, netns, url, width=1280, height=800, dark=False):
        self.profile = tempfile.mkdtemp(prefix="pollux-browser-")
        self.number = 0
        self.buffer = b""
        self.errors = []  # what the page's scripts threw or wrote to the console as errors
        harness.own(self)
        low_read, self.writer = os.pipe()
        self.reader, low_write = os.pipe()
        # Chromium reads commands from descriptor 3 and writes answers to 4: ours are moved out of
        # the way of these two.
        read_end, write_end = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (low_read, low_write))
        os.close(low_read)
        os.close(low_write)
        words = ["bash", "-c", f'exec "$@" 3<&{read_end} 4>&{write_end}', "bash", "chromium",
                 "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--disable-background-networking", "--no-first-run", "--hide-scrollbars",
                 f"--user-data-dir={self.profile}", "--remote-debugging-pipe",
                 f"--window-size={width},{height}", "about:blank"]
        self.process = netns.start(*words, pass_fds=(read_end, write_end),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        os.close(read_end)
        os.close(write_end)
        try:
            self.attach()
            self.emulate(width, height, dark)
            self.command("Page.navigate", url=url)
        except BaseException:
            self.destroy()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()

    def attach(self):
        self.session = None
        pages = [t for t in self.command("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        target = pages[0]["targetId"] if pages else self.command(
            "Target.createTarget", url="about:blank")["targetId"]
        self.session = self.command("Target.attachToTarget", targetId=target,
                                    flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def command(self, method, timeout=60, **parameters):
        """Sends one command and waits for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self.message(end, method)
            if answer.get("id") != self.number:
                self.note(answer)
                continue
            if "error" in answer:
                raise AssertionError(f"{method}: {answer['error']}")
            return answer["result"]

    def message(self, end, what):
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.reader], [], [], left)[0]:
                raise AssertionError(f"the browser did not answer {what}")
            piece = os.read(self.reader, 1 << 20)
            if not piece:
                raise AssertionError(f"the browser ended during {what}")
            self.buffer += piece
        line, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(line)

    def note(self, event):
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(event["params"]["exceptionDetails"])
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"])

    def emulate(self, width, height, dark=False):
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=False)
        self.command("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def evaluate(self, expression):
        """The value of a JavaScript expression; what it throws fails the test."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True,
                              awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression, timeout=30):
        """Until the expression is true, and does not throw any more; returns its value."""
        guarded = f"(() => {{ try {{ return {expression}; }} catch (e) {{ return false; }} }})()"
        return harness.wait_until(lambda: self.evaluate(guarded), timeout, expression)

    def screenshot(self, path):
        """Of the whole page, as PNG."""
        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data["data"]))

    def destroy(self):
        harness.disown(self)
        if self.process.poll() is None:
            try:
                self.command("Browser.close", timeout=5)
            except (AssertionError, OSError):
                pass
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, 9)  # its own session: it and its children
                self.process.wait()
        os.close(self.writer)
        os.close(self.reader)
        shutil.rmtree(self.profile, ignore_errors=True)
