#!/usr/bin/python3
"""Fails on locked instructions on the packet path: disassembles the release libraries and looks for
what makes CPUs wait for each other, but for the places that are named here with their reason."""

import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIBRARIES = [f"build/release/{layer}/libpollux_{layer}.a" for layer in ("proto", "workers", "engine")]

# What of engine/ sees packets; of proto/ and workers/ everything counts. The rest of the runtime is
# the control thread's.
ENGINE_OBJECTS = {"rx_stage", "tun", "event_sleeper", "chargen", "discard", "echo",
                  "http", "http_content", "http_conversation", "http_files", "http_listing",
                  "http_pages", "http_parser",
                  "frame_echo", "iperf2", "iperf2_flows", "iperf2_senders", "iperf2_wire", "pingpong"}
ENGINE_FUNCTIONS = re.compile(r"^pollux::Runtime::run_rx\(")

# (function, why it may).
ALLOWED = [
    (r"^(non-virtual thunk to )?pollux::EventSleeper::wake\(",
     "the wake protocol: one fence for a batch published; an exchange only if the worker sleeps"),
    (r"^pollux::EventSleeper::(prepare|done)\(", "a thread that goes to sleep, or wakes"),
    (r"^pollux::Worker::run\(|^pollux::Runtime::run_rx\(",
     "idle on a machine with fewer CPUs than threads: lets another thread run (inlined)"),
    (r"^pollux::Runtime::run_rx\(", "the RX thread goes to sleep, or wakes (inlined)"),
    (r"^pollux::Mailbox::run\(|^tbb::detail::|^pollux::Worker::Worker\(",
     "errands of the control thread, and their queue; a turn without one reads a flag"),
    (r"^pollux::wire::checksum_fold\(|^pollux::\(anonymous namespace\)::block\(|"
     r"^boost::(system|beast)::",
     "what is made at the first call, once in a process; later ones read a byte"),
    (r"^pollux::Shard::(hand_over|~Shard)\(|^std::_Function_handler<.*pollux::Shard::hand_over\(|"
     r"^std::_Sp_counted_ptr_inplace<pollux::(\(anonymous namespace\)::)?HandOver",
     "a packet that came in fragments and belongs to another worker"),
    (r"^std::_Sp_counted_base<|"
     r"^pollux::(HttpFiles?|HttpCommon|HttpContent|HttpConversation|HttpService)::|"
     r"^pollux::make_http_services\(|^std::_Sp_counted_ptr_inplace<pollux::HttpCommon|"
     r"^pollux::\(anonymous namespace\)::open_beneath\(|"
     r"^pollux::\(anonymous namespace\)::WindowRecycler::|"
     r"^std::__cxx11::_List_base<pollux::HttpFiles::Entry",
     "http: the count of a file's owners, once a request and once a window of the file; all of them "
     "are on one worker, so nobody waits"),
]

SECTION = re.compile(r"^(\S+)\.cc\.o:\s+file format")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\t(.*)$")
LOCKED = re.compile(r"^(lock |xchg\s.*\(|[mls]fence\b)")
CALL = re.compile(r"^\s+[0-9a-f]+: R_X86_64_\w+\t(.*)$")
WAITING = re.compile(r"^(pthread_|sem_|futex|syscall\b|sched_yield|__cxa_guard_acquire|"
                     r"std::(mutex|condition_variable)|tbb::)")


def on_path(layer: str, unit: str, function: str) -> bool:
    if layer != "engine" or unit in ENGINE_OBJECTS:
        return True
    return bool(ENGINE_FUNCTIONS.match(function))


def locked(layer: str, listing: str):
    """Yields (function, what) for the output of `objdump -dr` of one library."""
    unit = function = ""
    for line in listing.splitlines():
        if found := SECTION.match(line):
            unit = found[1]
        elif found := FUNCTION.match(line):
            function = found[1].removesuffix(" [clone .cold]")
        elif not on_path(layer, unit, function):
            continue
        elif (found := INSTRUCTION.match(line)) and LOCKED.match(found[1]):
            yield function, " ".join(found[1].split())
        elif (found := CALL.match(line)) and WAITING.match(found[1]):
            yield function, "calls " + found[1]


def judge(findings):
    """(mistakes, indices of ALLOWED that were needed)."""
    mistakes, used = [], set()
    for function, what in findings:
        places = [i for i, (where, _) in enumerate(ALLOWED) if re.match(where, function)]
        used.update(places)
        if not places:
            mistakes.append(f"{function}: {what}")
    return mistakes, used


def tree_mistakes():
    """What is wrong with the release build; a place that is allowed for nothing is wrong too."""
    findings = []
    for library in LIBRARIES:
        listing = subprocess.run(["objdump", "-drC", "--no-show-raw-insn", ROOT / library],
                                 check=True, capture_output=True, text=True).stdout
        findings += locked(library.split("/")[2], listing)
    mistakes, used = judge(findings)
    stale = [f"nothing is locked in {where}: take it off the list"
             for i, (where, _) in enumerate(ALLOWED) if i not in used]
    return mistakes + stale


def supported() -> bool:
    return platform.machine() == "x86_64"


def main() -> int:
    found = tree_mistakes() if supported() else []
    print("\n".join(found) if found else "no lock on the packet path")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
