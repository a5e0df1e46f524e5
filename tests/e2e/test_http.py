"""The http service against curl and raw sockets: what is measured with, framing, and clients that mean no
good beside one that does."""

import os
import re
import socket
import time

from harness import ENGINE, HTTP, SERVICES, Lab, LabCase, read_all, send_in_background

URL = f"http://{ENGINE}"


def raw(lab, request, timeout=20):
    """All that comes back for `request` until the peer's FIN."""
    with lab.connect(HTTP, timeout=timeout) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        return read_all(s)


class Http(LabCase):
    settings = {"engine.workers": 2}

    def curl(self, *words, **kw):
        return self.lab.run("curl", "-sS", "-m", 60, *words, **kw)

    def file(self, name, size):
        path = self.lab.dir / name
        path.write_bytes(os.urandom(size))
        return path

    def test_echo_of_a_file_of_known_length(self):
        sent, back = self.file("a", 20_000_000), self.lab.dir / "b"
        out = self.curl("-T", sent, "-o", back, "-H", "Content-Type: image/x-test", "-w",
                        "%{http_code} %{content_type} %{size_upload}", f"{URL}/echo")
        self.assertEqual(out, "200 image/x-test 20000000")
        self.assertEqual(sent.read_bytes(), back.read_bytes())

    def test_echo_of_chunks(self):
        sent, back = self.file("a", 5_000_000), self.lab.dir / "b"
        with open(sent, "rb") as stdin:
            head = self.curl("-T", "-", "-o", back, "-D", "-", f"{URL}/echo", stdin=stdin)
        self.assertIn("Transfer-Encoding: chunked", head)
        self.assertEqual(sent.read_bytes(), back.read_bytes())

    def test_expect_100(self):
        body = self.file("a", 2_000_000)
        out = self.curl("-v", "-T", body, "-H", "Expect: 100-continue", "-o", "/dev/null",
                        f"{URL}/echo")
        self.assertIn("< HTTP/1.1 100 Continue", out)
        self.assertLess(out.index("100 Continue"), out.index("200 OK"))

    def test_echo_refuses_get(self):
        out = self.curl("-i", f"{URL}/echo")
        self.assertIn("405 Method Not Allowed", out)
        self.assertIn("Allow: POST, PUT", out)

    def test_drip_takes_its_time(self):
        out = self.curl("-o", "/dev/null", "-w", "%{size_download} %{time_starttransfer} %{time_total}",
                        f"{URL}/drip?bytes=50&seconds=1.5&delay=0.5").split()
        self.assertEqual(out[0], "50")
        self.assertGreaterEqual(float(out[1]), 0.5)
        self.assertGreaterEqual(float(out[2]), 2.0)

    def test_ranges(self):
        def get(*words):
            return self.curl(*words, f"{URL}/bytes/5000", text=False)

        whole = get()
        self.assertEqual(len(whole), 5000)
        for wanted, part in (("0-99", whole[:100]), ("4900-", whole[4900:]), ("-1", whole[-1:])):
            self.assertEqual(get("-r", wanted), part)
        self.assertEqual(get("-r", "0-1,5-6"), whole)
        self.assertEqual(get("-r", "5000-", "-o", "/dev/null", "-w", "%{http_code}"), b"416")

    def test_pipelining(self):
        request = b"GET /bytes/7 HTTP/1.1\r\nHost: x\r\n\r\n"
        echo = b"PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        back = raw(self.lab, (request + echo) * 200)
        self.assertEqual(back.count(b"HTTP/1.1 200 OK"), 400)
        self.assertEqual(back.count(b"\r\n\r\nhello"), 200)

    def test_broken_requests_are_refused_and_end(self):
        post = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
        for request, status in (
                (b"GET / HTTP/1.1\r\n\r\n", b"400"),
                (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
                (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", b"505"),
                (b"GET /" + b"a" * 5000, b"414"),
                (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200, b"431"),
                (post + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
                (post + b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
                (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400")):
            back = raw(self.lab, request)
            self.assertTrue(back.startswith(b"HTTP/1.1 " + status), (request[:60], back[:80]))
            self.assertEqual(back.count(b"HTTP/1.1"), 1)
        back = raw(self.lab, post + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n")
        self.assertIn(b"2\r\nhi", back)
        self.assertNotIn(b"\r\n0\r\n\r\n", back)  # the client sees that the end is missing

    def test_wrk(self):
        out = self.lab.run("wrk", "-t1", "-c16", "-d1s", f"{URL}/bytes/100")
        self.assertNotIn("Non-2xx", out)
        self.assertGreater(int(re.search(r"(\d+) requests in", out)[1]), 100)


class Folder(LabCase):
    """Directories, and ways out of them."""

    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(start=False)
        cls.root = cls.lab.dir / "www"
        (cls.root / "sub").mkdir(parents=True)
        (cls.root / "sub" / "<b>&.txt").write_text("inside")
        (cls.lab.dir / "secret").write_text("not to be served")
        cls.lab.configure([{**s, "root": str(cls.root), "listing": True, "live": True}
                           if s["kind"] == "http" else s for s in SERVICES])
        cls.lab.start_daemon()

    def test_listing(self):
        page = self.lab.run("curl", "-sS", f"{URL}/sub/")
        self.assertIn('<a href="./%3Cb%3E%26.txt">&lt;b&gt;&amp;.txt</a> 6', page)
        self.assertEqual("inside", self.lab.run("curl", "-sS", f"{URL}/sub/%3Cb%3E%26.txt"))
        self.assertIn('<a href="./sub/">', self.lab.run("curl", "-sS", f"{URL}/"))

    def test_live_page_is_reserved(self):
        self.assertIn("<title>pollux, live", self.lab.run("curl", "-sSL", f"{URL}/.pollux"))

    def test_no_way_out(self):
        for target in ("/../secret", "/sub/../../secret", "/%2e%2e/secret", "/..%2fsecret",
                       "/sub/%2e%2e/%2e%2e/secret", "//../secret", "/.%00./secret", "/\\..\\secret",
                       "/%252e%252e/secret", "http://x/../secret", "/sub/.../secret",
                       f"/{self.lab.dir}/secret", "/proc/self/environ", "/.pollux/../../secret"):
            back = raw(self.lab, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            self.assertRegex(back[:12], rb"HTTP/1.1 40[04]", target)
            self.assertNotIn(b"not to be served", back)


class Limits(LabCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(start=False)
        cls.lab.configure([{**s, "max_connections": 5} if s["kind"] == "http" else s
                           for s in SERVICES])
        cls.lab.start_daemon()

    def test_past_the_most_is_reset(self):
        held = [self.lab.connect(HTTP) for _ in range(5)]
        with self.assertRaises(ConnectionResetError), self.lab.connect(HTTP) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            read_all(s)
        held.pop().close()
        self.lab.wait_for_connections(4)
        self.assertIn("<title>", self.lab.run("curl", "-sS", f"{URL}/"))
        for s in held:
            s.close()


class Hostile(LabCase):
    """Clients that hold what they can, beside a transfer that must not notice."""

    settings = {"engine.workers": 2}

    def transfer(self, size):
        """An echo of `size` octets that is exact."""
        path, back = self.lab.dir / "sent", self.lab.dir / "back"
        path.write_bytes(os.urandom(size))
        self.lab.run("curl", "-sS", "-m", 60, "-T", path, "-o", back, f"{URL}/echo", timeout=70)
        self.assertEqual(path.read_bytes(), back.read_bytes())

    def test_slow_loris(self):
        """Two hundred heads that come by an octet: they end, while others are served."""
        begin = self.lab.rss_kib()
        slow = [self.lab.connect(HTTP, timeout=60) for _ in range(200)]
        start = time.monotonic()
        for s in slow:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        transfers = 0
        alive = slow
        while alive and time.monotonic() < start + 60:
            alive = [s for s in alive if self.trickle(s)]
            if transfers < 3:
                self.transfer(3_000_000)
                transfers += 1
            time.sleep(0.5)
        self.assertEqual(alive, [])
        self.assertEqual(transfers, 3)
        self.assertLess(self.lab.rss_kib() - begin, 64 * 1024)
        for s in slow:
            s.close()

    @staticmethod
    def trickle(s):
        """Sends an octet of a head; False when the server has ended the connection."""
        try:
            s.sendall(b"x")
            s.setblocking(False)
            try:
                return not s.recv(4096).startswith(b"HTTP/1.1 408")
            finally:
                s.setblocking(True)
        except BlockingIOError:
            return True
        except OSError:
            return False

    def test_clients_that_never_read(self):
        """Forty that ask for a terabyte and read nothing cost what their send buffers hold."""
        self.transfer(1_000_000)
        begin = self.lab.totals()["memory_bytes"]
        rss = self.lab.rss_kib()
        held = [self.lab.connect(HTTP) for _ in range(40)]
        for i, s in enumerate(held):
            what = (b"GET /bytes/1000000000000 HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500)[i % 3]
            s.sendall(what)
        writer = self.lab.connect(HTTP, timeout=5)
        writer.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
        send_in_background(writer, b"x" * 50_000_000, shut=False)
        for _ in range(3):
            self.transfer(5_000_000)
        self.assertLess(self.lab.totals()["memory_bytes"] - begin, 41 * 6 << 20)
        self.assertLess(self.lab.rss_kib() - rss, 300 * 1024)
        for s in (*held, writer):
            s.close()
