"""Many connections at once, many in sequence: none fails, none is left, memory stays flat."""

import os
import selectors
import socket
import unittest

from harness import ECHO, ENGINE, SLOWNESS, Lab, LabCase, wait_until

LONG = os.environ.get("POLLUX_LONG") == "1"
AT_ONCE = 1000 if SLOWNESS == 1 else 200
IN_SEQUENCE = (20_000 if LONG else 2000) // SLOWNESS


class AtOnce(LabCase):
    def open_all(self, count):
        def body():
            out = []
            for _ in range(count):
                s = socket.socket()
                s.settimeout(20 * SLOWNESS)
                s.connect((ENGINE, ECHO))
                out.append(s)
            return out

        return self.lab.inside(body)

    def test_echo_on_all(self):
        clients = self.open_all(AT_ONCE)
        try:
            self.assertEqual(AT_ONCE, self.lab.totals()["connections_open"])
            self.assertEqual(AT_ONCE, len(self.lab.show("connections")))
            for turn in range(3):
                words = [f"{turn} {i} ".encode() * (i % 50 + 1) for i in range(AT_ONCE)]
                for client, word in zip(clients, words):
                    client.sendall(word)
                for client, word in zip(clients, words):
                    self.assertEqual(word, client.recv(len(word), socket.MSG_WAITALL))
        finally:
            for client in clients:
                client.close()
        self.lab.wait_closed(30)

    def test_bulk_on_100(self):
        """Every connection moves, none starves, nothing is mixed up."""
        size = 500_000
        clients = self.open_all(100)
        selector = selectors.DefaultSelector()
        state = {}
        for i, client in enumerate(clients):
            client.setblocking(False)
            state[client] = [os.urandom(1000) * (size // 1000), 0, bytearray()]
            selector.register(client, selectors.EVENT_READ | selectors.EVENT_WRITE)
        left = len(clients)
        while left:
            ready = selector.select(20 * SLOWNESS)
            self.assertTrue(ready, "nothing moves")
            for key, events in ready:
                data, sent, back = entry = state[key.fileobj]
                if events & selectors.EVENT_WRITE:
                    entry[1] = sent = sent + key.fileobj.send(data[sent:sent + 65_536])
                    if sent == size:
                        selector.modify(key.fileobj, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    piece = key.fileobj.recv(1 << 18)
                    self.assertTrue(piece, "closed by the engine")
                    back += piece
                    if len(back) == size:
                        self.assertEqual(data, bytes(back))
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                        left -= 1
        self.lab.wait_closed(30)


class InSequence(unittest.TestCase):
    def churn(self, lab, count):
        """Connects, echoes one word, closes; every other time the engine hears of the end first by RST."""

        def body():
            for i in range(count):
                with socket.socket() as s:
                    s.settimeout(20 * SLOWNESS)
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.connect((ENGINE, ECHO))
                    s.sendall(b"hello")
                    if s.recv(5, socket.MSG_WAITALL) != b"hello":
                        raise AssertionError(f"connection {i}: no echo")
                    if i % 2:
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        lab.inside(body)

    def test_no_failure_no_leak(self):
        with Lab() as lab:
            self.churn(lab, 500)
            lab.wait_closed()
            before, opened = lab.rss_kib(), lab.totals()["connections_opened"]
            self.churn(lab, IN_SEQUENCE)
            lab.wait_closed(30)
            totals = lab.totals()
            self.assertEqual(IN_SEQUENCE, totals["connections_opened"] - opened)
            self.assertEqual(totals["connections_opened"], totals["connections_closed"])
            self.assertEqual([], lab.show("connections"))
            if SLOWNESS == 1:  # a sanitizer's quarantine grows on purpose
                self.assertLess(lab.rss_kib() - before, 4096, "resident memory grew (KiB)")
            self.assertLess(totals["memory_bytes"], 1 << 20, totals)

    def test_memory_returns_after_bulk(self):
        with Lab() as lab:
            def body():
                for _ in range(20):
                    with socket.socket() as s:
                        s.connect((ENGINE, ECHO))
                        s.setblocking(False)
                        try:
                            while s.send(b"x" * 65_536):
                                pass
                        except BlockingIOError:
                            pass
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

            lab.inside(body)
            lab.wait_closed()
            wait_until(lambda: lab.totals()["memory_bytes"] < 1 << 20, what="memory given back")
