"""A kernel TCP server for connections that the engine opens or forwards, in the test's process."""

import hashlib
import random
import socket
import struct
import threading
import time

from harness import HOST, SLOWNESS

MIB = 1 << 20
PIECE = 64 * 1024


def octets(seed, size):
    return random.Random(seed).randbytes(size)


def reset(sock):
    """Closes with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Server:
    """Listens in `lab`'s namespace and runs `serve(connection)` in a thread for each client. What
    that raises is in `errors`."""

    def __init__(self, lab, serve, address=HOST, port=0, backlog=600):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.listener = lab.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(backlog)
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.errors = []
        self.accepted = 0
        self.threads = []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.settimeout(60 * SLOWNESS)
            thread = threading.Thread(target=self.run, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def run(self, connection):
        try:
            with connection:
                self.serve(connection)
        except Exception as error:  # for the test to look at
            self.errors.append(error)

    def join(self):
        """Waits for the ends of those that it serves."""
        for thread in self.threads:
            thread.join(60 * SLOWNESS)
            if thread.is_alive():
                raise AssertionError("the server still serves")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def echo(connection):
    while piece := connection.recv(MIB):
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)


class Talk:
    """One end of an exchange: sends `data`, then FIN, and digests what comes until the other's.

    `after_fin`: sends only when the other's FIN has come. `stall_s`: stops reading that long after
    the first piece."""

    def __init__(self, data=b"", after_fin=False, stall_s=0.0):
        self.data, self.after_fin, self.stall_s = data, after_fin, stall_s
        self.received = 0
        self.digest = hashlib.sha256()
        self.fin = threading.Event()
        self.error = None

    def send(self, sock):
        try:
            if self.after_fin and not self.fin.wait(60 * SLOWNESS):
                raise AssertionError("no FIN came")
            sock.sendall(self.data)
            sock.shutdown(socket.SHUT_WR)
        except Exception as error:
            self.error = error

    def __call__(self, sock):
        sender = threading.Thread(target=self.send, args=(sock,))
        sender.start()
        try:
            while piece := sock.recv(PIECE):
                self.digest.update(piece)
                if self.stall_s and self.received == 0:
                    time.sleep(self.stall_s)
                self.received += len(piece)
        finally:
            self.fin.set()
            sender.join()
        if self.error:
            raise self.error

    def check(self, data):
        """That exactly `data` came."""
        got = (self.received, self.digest.hexdigest())
        want = (len(data), hashlib.sha256(data).hexdigest())
        if got != want:
            raise AssertionError(f"{got} came instead of {want}")
