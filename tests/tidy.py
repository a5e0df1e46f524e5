#!/usr/bin/python3
"""Fails on what the layers forbid: includes against the arrows, a clock inside proto, overlong files and lines."""

import pathlib
import re
import sys

LINES_MAX = 900
COLUMNS_MAX = 100

# Which of the project's own folders a layer may include: engine -> workers -> proto.
OWN = {"proto": {"proto"}, "workers": {"workers", "proto"}, "engine": {"engine", "workers", "proto"}}
# What else workers/ may include, and where.
BOOST_ONLY_IN = "workers/ring.h"

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# `now()` called or declared with no arguments: a clock. `now` as a parameter is what proto/ uses.
CLOCK = re.compile(r"\bnow\s*\(\s*(?:void)?\s*\)")
STANDARD = re.compile(r"^[a-z0-9_]+$")  # <vector>, <cstdint>: no folder, no .h
COMMENT = re.compile(r"//.*$")
# Intrinsics are the compiler's, not the machine's.
COMPILER = re.compile(r"^[a-z]*mmintrin\.h$")
# Huge pages for the pools: memory, not the packet path.
ALSO = {("workers/pool.cc", "sys/mman.h")}


def include_mistake(path: str, quote: str, target: str) -> str:
    """Why `path` must not include `target`, or an empty string."""
    layer = path.split("/", 1)[0]
    top = target.split("/", 1)[0]
    if quote == '"':
        if "/" not in target or top not in OWN:
            return f'"{target}" is not rooted at proto/, workers/ or engine/'
        return "" if top in OWN[layer] else f"{layer}/ must not see {top}/"
    if layer == "engine" or STANDARD.match(target) or COMPILER.match(target):
        return ""
    if (path, target) in ALSO:
        return ""
    if top in OWN:
        return f"<{target}> belongs in quotes"
    if layer == "workers" and top == "boost":
        return "" if path == BOOST_ONLY_IN else f"Boost is for {BOOST_ONLY_IN} only"
    if layer == "workers" and top in ("tbb", "oneapi"):
        return ""
    return f"{layer}/ must not see <{target}>"


def mistakes(path: str, text: str):
    """Yields `path:line: what` for one source file; `path` is relative to the root."""
    lines = text.splitlines()
    if len(lines) > LINES_MAX:
        yield f"{path}:{len(lines)}: {len(lines)} lines, at most {LINES_MAX}"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{path}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"
        include = INCLUDE.match(line)
        if include and path.split("/", 1)[0] in OWN:
            why = include_mistake(path, *include.groups())
            if why:
                yield f"{path}:{number}: {why}"
        if path.startswith("proto/") and CLOCK.search(COMMENT.sub("", line)):
            yield f"{path}:{number}: proto/ has no clock; take `now` as an argument"


def sources(root: pathlib.Path):
    for folder in ("proto", "workers", "engine", "tests", "bench"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".cpp", ".hpp"):
                yield path


def tree_mistakes(root: pathlib.Path):
    found = []
    for path in sources(root):
        found += mistakes(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    return found


def main() -> int:
    found = tree_mistakes(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(found) if found else "tidy")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
