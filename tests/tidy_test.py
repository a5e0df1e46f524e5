#!/usr/bin/python3
"""The tree is tidy, and tidy.py sees what is not."""

import pathlib
import sys
import unittest

import report
import tidy


class Tree(unittest.TestCase):
    def test_is_tidy(self):
        root = pathlib.Path(__file__).resolve().parent.parent
        self.assertTrue(list(tidy.sources(root)), "no sources found")
        self.assertEqual([], tidy.tree_mistakes(root))


class Includes(unittest.TestCase):
    def caught(self, path, line):
        return bool(list(tidy.mistakes(path, line + "\n")))

    def test_against_the_arrows_are_caught(self):
        for path, line in [
            ("proto/tcp/conn.h", '#include "workers/ring.h"'),
            ("proto/tcp/conn.h", '#include "engine/log.h"'),
            ("proto/tcp/conn.h", "#include <linux/tcp.h>"),
            ("proto/tcp/conn.h", "#include <spdlog/spdlog.h>"),
            ("proto/tcp/conn.h", "#include <unistd.h>"),
            ("proto/tcp/conn.h", '#  include  "workers/ring.h"'),
            ("workers/loop.cc", '#include "engine/tun.h"'),
            ("workers/loop.cc", "#include <boost/lockfree/spsc_queue.hpp>"),
            ("workers/loop.cc", "#include <sys/epoll.h>"),
            ("engine/tun.cc", '#include "tun.h"'),
        ]:
            with self.subTest(path=path, line=line):
                self.assertTrue(self.caught(path, line))

    def test_along_the_arrows_are_not(self):
        for path, line in [
            ("proto/tcp/conn.h", "#include <cstdint>"),
            ("proto/wire/checksum.cc", "#include <immintrin.h>"),
            ("proto/tcp/conn.h", '#include "proto/base/seq.h"'),
            ("workers/ring.h", "#include <boost/lockfree/spsc_queue.hpp>"),
            ("workers/mailbox.h", "#include <tbb/concurrent_queue.h>"),
            ("workers/loop.cc", '#include "proto/tcp/conn.h"'),
            ("engine/tun.cc", "#include <linux/if_tun.h>"),
            ("engine/tun.cc", '#include "workers/port.h"'),
        ]:
            with self.subTest(path=path, line=line):
                self.assertFalse(self.caught(path, line))

    def test_a_clock_in_proto_is_caught(self):
        self.assertTrue(self.caught("proto/tcp/rtt.cc", "auto t = Clock::now();"))
        self.assertFalse(self.caught("proto/tcp/rtt.cc", "void on_ack(Instant now);"))
        self.assertFalse(self.caught("workers/loop.cc", "auto t = clock.now();"))

    def test_length_is_caught(self):
        self.assertTrue(self.caught("engine/a.cc", "//" + "x" * 99))
        self.assertFalse(self.caught("engine/a.cc", "//" + "x" * 98))
        self.assertTrue(self.caught("engine/a.cc", "\n" * 901))


if __name__ == "__main__":
    sys.exit(report.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
