"""The live page in headless Chromium, with traffic beside it; screenshots go to build/live."""

import json
import struct
import threading
import time
import zlib

from browser import Browser
from harness import (CHARGEN, DISCARD, ECHO, ENGINE, HTTP, ROOT, LabCase, wait_until)

URL = f"http://{ENGINE}/"
PICTURES = ROOT / "build" / "live"
WORKERS = 2


# How many pixels of a worker's plot have the colour of one of its lines.
DRAWN = """(() => {
  const c = document.querySelectorAll('#workers canvas')[%d];
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  const lines = ['--in', '--out'].map((n) => parseInt(colour(n).slice(1), 16));
  let n = 0;
  for (let i = 0; i < d.length; i += 4) {
    const near = (l) => Math.abs(d[i] - (l >> 16)) + Math.abs(d[i + 1] - (l >> 8 & 255))
      + Math.abs(d[i + 2] - (l & 255)) < 40;
    if (d[i + 3] > 200 && lines.some(near)) ++n;
  }
  return n;
})()"""


def colours(path):
    """How many different pixels a PNG of 8 bits per channel has, and its size."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8 and kind in (2, 6), (depth, kind)
    packed, at = b"", 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        if name == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += size + 12
    lines = zlib.decompress(packed)
    octets = {2: 3, 6: 4}[kind]
    stride = width * octets + 1
    # Filtered lines differ where pixels do: enough to tell a page from a blank one.
    pixels = {lines[y * stride + 1 + x * octets:y * stride + 1 + (x + 1) * octets]
              for y in range(0, height, 3) for x in range(0, width, 3)}
    return len(pixels), width, height


class Traffic:
    """Bulk both ways and small round trips, until closed."""

    def __init__(self, lab):
        self.over = threading.Event()
        self.sockets = [lab.connect(port) for port in (CHARGEN, DISCARD) for _ in range(3)]
        self.echoes = [lab.connect(ECHO) for _ in range(8)]
        bodies = [(self.read, s) for s in self.sockets[:3]] + [(self.write, s)
                                                              for s in self.sockets[3:]]
        self.threads = [threading.Thread(target=body, args=(s,), daemon=True) for body, s in bodies]
        self.threads.append(threading.Thread(target=self.ask, daemon=True))
        for thread in self.threads:
            thread.start()

    def read(self, s):
        while not self.over.is_set() and s.recv(1 << 16):
            time.sleep(0.002)

    def write(self, s):
        while not self.over.is_set():
            s.sendall(b"x" * 65536)
            time.sleep(0.002)

    def ask(self):
        while not self.over.is_set():
            for s in self.echoes:
                s.sendall(b"hello")
                s.recv(5)
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(10)
        for s in self.sockets + self.echoes:
            s.close()


class Events(LabCase):
    settings = {"engine.workers": WORKERS}

    def test_counters_of_all_workers(self):
        with self.lab.connect(HTTP) as s:
            s.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            text = b""
            while text.count(b"data: ") < 3:
                text += s.recv(1 << 16)
        head, body = text.split(b"\r\n\r\n", 1)
        self.assertIn(b"Content-Type: text/event-stream", head)
        events = [json.loads(e.removeprefix(b"data: ")) for e in body.split(b"\n\n")[:2]]
        self.assertEqual([len(e["workers"]) for e in events], [WORKERS] * 2)
        self.assertGreater(events[1]["t_ms"], events[0]["t_ms"])
        self.assertGreater(sum(w["rx_packets"] for w in events[1]["workers"]), 0)
        self.assertEqual(sum(w["connections_open"] for w in events[1]["workers"]), 1)


class Page(LabCase):
    settings = {"engine.workers": WORKERS}

    def number(self, browser, name):
        return float(browser.evaluate(f"document.getElementById('{name}').textContent").split()[0])

    def sent_in_a_second(self):
        before = self.lab.totals()["tx_bytes"]
        time.sleep(1)
        return self.lab.totals()["tx_bytes"] - before

    def test_numbers_and_plots_move(self):
        with Traffic(self.lab), Browser(self.lab, URL) as browser:
            browser.wait("document.getElementById('state').className === 'live'")
            browser.wait("document.getElementById('rtt').textContent !== '–'")
            browser.wait("page.throughput.series[0].values.length > 16")
            for name in ("in", "out", "in-packets", "out-packets", "connections", "rtt"):
                self.assertGreater(self.number(browser, name), 0, name)
            self.assertGreaterEqual(self.number(browser, "connections"), 14)
            self.assertEqual(browser.evaluate(
                "document.querySelectorAll('#workers figure[data-worker] canvas').length"), WORKERS)
            for worker in range(WORKERS):
                self.assertGreater(browser.evaluate(DRAWN % worker), 20, f"worker {worker}")
            text = browser.evaluate("document.body.innerText")
            self.assertIn("bit/s", text)
            self.assertNotIn("NaN", text)
            self.assertNotIn("undefined", text)
            for name, size in (("desk", (1280, 800, False)), ("dark", (1280, 800, True)),
                               ("phone", (390, 844, False))):
                browser.emulate(*size)
                browser.wait(f"innerWidth === {size[0]}")
                self.assertLessEqual(browser.evaluate("document.documentElement.scrollWidth"),
                                     size[0], name)
                path = PICTURES / f"{name}.png"
                browser.screenshot(path)
                different, width, _ = colours(path)
                self.assertEqual(width, size[0])
                self.assertGreater(different, 50, name)
            self.assertEqual(browser.errors, [])

    def test_reconnects_by_itself(self):
        with Browser(self.lab, URL) as browser:
            browser.wait("document.getElementById('state').className === 'live'")
            self.lab.stop()
            browser.wait("document.getElementById('state').className === 'lost'")
            self.lab.start_daemon()
            browser.wait("document.getElementById('state').className === 'live'")
            browser.evaluate("page.throughput.series[0].values.length = 0")
            browser.wait("page.throughput.series[0].values.length > 4")

    def test_nothing_comes_from_elsewhere(self):
        with Browser(self.lab, URL) as browser:
            browser.wait("document.getElementById('state').className === 'live'")
            names = browser.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
            self.assertTrue(names)
            self.assertEqual([n for n in names if not n.startswith(URL)], [])

    def test_a_hidden_page_asks_for_nothing(self):
        with Browser(self.lab, URL) as browser:
            browser.wait("document.getElementById('state').className === 'live'")
            wait_until(lambda: self.sent_in_a_second() > 0, what="a stream")
            browser.evaluate("""(() => {
              Object.defineProperty(document, 'hidden', {value: true, configurable: true});
              document.dispatchEvent(new Event('visibilitychange'));
            })()""")
            self.assertEqual(browser.evaluate("document.getElementById('state').textContent"),
                             "paused")
            wait_until(lambda: self.sent_in_a_second() == 0, what="the end of the stream")
            browser.evaluate("""(() => {
              Object.defineProperty(document, 'hidden', {value: false, configurable: true});
              document.dispatchEvent(new Event('visibilitychange'));
            })()""")
            browser.wait("document.getElementById('state').className === 'live'")
