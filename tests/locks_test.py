#!/usr/bin/python3
"""Nothing on the packet path is locked, and locks.py sees what is."""

import sys
import unittest

import locks
import report

HEAD = "{unit}.cc.o:     file format elf64-x86-64\n\n0000000000000000 <{function}>:\n"


def findings(line, layer="workers", unit="shard", function="pollux::Shard::on_packet()"):
    text = HEAD.format(unit=unit, function=function) + line + "\n"
    return list(locks.locked(layer, text))


@unittest.skipUnless(locks.supported(), "knows x86-64 only")
class Tree(unittest.TestCase):
    def test_has_no_lock_on_the_packet_path(self):
        self.assertEqual([], locks.tree_mistakes())


class Listing(unittest.TestCase):
    def test_what_locks_is_seen(self):
        for line in ["  1f:\tlock xadd %rax,0x10(%rdi)", "  1f:\tlock orq $0x0,(%rsp)",
                     "  1f:\txchg   %al,0x80(%rdi)", "  1f:\tmfence",
                     "\t\t\t3: R_X86_64_PLT32\tpthread_mutex_lock-0x4",
                     "\t\t\t3: R_X86_64_PLT32\t__cxa_guard_acquire-0x4"]:
            with self.subTest(line=line):
                self.assertEqual(1, len(findings(line)))

    def test_what_does_not_is_not(self):
        for line in ["  1f:\tmov    %rax,0x10(%rdi)", "  1f:\txchg   %ax,%ax",
                     "  1f:\txchg   %rax,%rdx", "  1f:\tpause",
                     "\t\t\t3: R_X86_64_PLT32\tmemcpy-0x4"]:
            with self.subTest(line=line):
                self.assertEqual([], findings(line))

    def test_of_the_engine_only_the_packet_path_counts(self):
        line = "  1f:\tmfence"
        self.assertEqual([], findings(line, "engine", "control", "pollux::Control::run()"))
        self.assertEqual([], findings(line, "engine", "runtime", "pollux::Runtime::post()"))
        self.assertTrue(findings(line, "engine", "runtime", "pollux::Runtime::run_rx()"))
        self.assertTrue(findings(line, "engine", "tun", "pollux::TunQueue::transmit()"))

    def test_places_are_allowed_by_name(self):
        mistakes, used = locks.judge([("pollux::EventSleeper::wake()", "mfence")])
        self.assertEqual(([], {0}), (mistakes, used))
        mistakes, used = locks.judge([("pollux::Shard::on_packet()", "mfence")])
        self.assertEqual((1, set()), (len(mistakes), used))


if __name__ == "__main__":
    sys.exit(report.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
