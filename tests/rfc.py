#!/usr/bin/python3
"""Checks proto/tcp/RFC.md: every requirement once, code that is there, tests that are there."""

import ast
import dataclasses
import pathlib
import re
import sys

TABLE = "proto/tcp/RFC.md"
# Appendix B of RFC 9293.
LABELS = ([f"MUST-{n}" for n in range(1, 70)] + [f"SHLD-{n}" for n in range(1, 32)] +
          [f"MAY-{n}" for n in range(1, 19)] + ["REC-1"])
# IPv4 source routes (RFC 7126): no other MUST of RFC 9293 may be an exception.
EXCEPTED_MUSTS = {"MUST-51", "MUST-52", "MUST-53"}
COMPANIONS = (2018, 2883, 5681, 5961, 6298, 6528, 6675, 6937, 7323, 8985, 9438)

GTEST = re.compile(r"^\s*TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
WHERE = re.compile(r"`([\w/.]+)` `(\w+)`")
LABELLED = re.compile(r"rfc(\d+)_(must|shld|may|rec)_(\d+)(?:_|$)")
SECTION = re.compile(r"\d+(\.\d+)*( \(\d+(\.\d+)*\))?$")
REASON_WORDS = 3  # fewer are no reason


@dataclasses.dataclass(frozen=True)
class Row:
    line: int
    rfc: int
    label: str
    requirement: str
    where: str
    test: str

    def __str__(self):
        return f"{TABLE}:{self.line}: RFC {self.rfc} {self.label}"


def rows(text):
    """The rows of all tables, each with the RFC of the heading that it stands under."""
    rfc = 0
    for number, line in enumerate(text.splitlines(), 1):
        heading = re.match(r"## RFC (\d+)\b", line)
        if heading:
            rfc = int(heading.group(1))
        elif line.startswith("## "):
            rfc = 0
        elif rfc and line.startswith("|"):
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if cells[0] in ("label", "section") or set(cells[0]) <= set("-:"):
                continue
            if len(cells) != 4:
                cells = [cells[0], "", "", f"{len(cells)} cells"]
            yield Row(number, rfc, *cells)


def defines(text, name):
    """True when `name` is defined in C++ source `text`: a function with a body, or a constant."""
    text = COMMENT.sub("", text)
    if re.match(r"k[A-Z]", name):
        return re.search(rf"\b{name}\s*(=|\{{)", text) is not None
    if name[0].isupper():
        return re.search(rf"\b(class|struct|enum class)\s+{name}\b[^;(]*\{{", text) is not None
    for call in re.finditer(rf"\b{name}\(", text):
        depth, end = 1, call.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        if re.match(r"\s*(const\b|noexcept\b|override\b|final\b|\s)*\{", text[end:]):
            return True
    return False


def gtests(sources):
    """`Suite.name` of every GoogleTest test in the texts; what is disabled is none."""
    found = set()
    for text in sources:
        for suite, name in GTEST.findall(COMMENT.sub("", text)):
            if not suite.startswith("DISABLED_") and not name.startswith("DISABLED_"):
                found.add(f"{suite}.{name}")
    return found


def e2e_tests(sources):
    """`module.Class.test` of {module: text}, with what a class inherits within its module."""
    found = set()
    for module, text in sources.items():
        classes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}

        def names(cls):
            own = {n.name for n in cls.body if isinstance(n, ast.FunctionDef)}
            for base in cls.bases:
                if isinstance(base, ast.Name) and base.id in classes:
                    own |= names(classes[base.id])
            return own

        for cls in classes.values():
            found |= {f"{module}.{cls.name}.{n}" for n in names(cls) if n.startswith("test_")}
    return found


def label_of(test):
    """(RFC, label) that the name of a test claims, or None."""
    claim = LABELLED.match(test.rsplit(".", 1)[-1])
    if not claim:
        return None
    return int(claim[1]), f"{claim[2].upper()}-{int(claim[3])}"


def label_mistakes(table):
    seen = [r.label for r in table if r.rfc == 9293]
    for label in LABELS:
        if seen.count(label) != 1:
            yield f"{TABLE}: RFC 9293 {label} is there {seen.count(label)} times"
    for row in table:
        if row.rfc == 9293 and row.label not in LABELS:
            yield f"{row}: no such label"
        if row.rfc != 9293 and not SECTION.match(row.label):
            yield f"{row}: no section"
        if not row.requirement:
            yield f"{row}: no requirement ({row.test})"
    for rfc in COMPANIONS:
        if not any(r.rfc == rfc for r in table):
            yield f"{TABLE}: nothing about RFC {rfc}"


def where_mistakes(row, read):
    places = WHERE.findall(row.where)
    left = WHERE.sub("", row.where).replace(",", "").strip()
    if left or (not places and not row.test.startswith("exception")):
        yield f"{row}: where must be `file` `function`, not '{row.where}'"
    for file, name in places:
        text = read(file)
        if text is None:
            yield f"{row}: no file {file}"
        elif not defines(text, name):
            yield f"{row}: {file} does not define {name}"


def test_mistakes(row, tests):
    if row.test.startswith("exception"):
        reason = row.test.removeprefix("exception").lstrip(": ")
        # A test may show what happens instead; it must be there too.
        words = re.sub(r"`[^`]*`", "", reason).split()
        if not row.test.startswith("exception: ") or len(words) < REASON_WORDS:
            yield f"{row}: an exception needs a reason"
        if row.rfc == 9293 and row.label.startswith("MUST") and row.label not in EXCEPTED_MUSTS:
            yield f"{row}: a MUST without a test"
    elif not re.fullmatch(r"`[\w.]+`(, `[\w.]+`)*", row.test):
        yield f"{row}: tests must be `Suite.name` or `module.Class.test`, not '{row.test}'"
    for name in re.findall(r"`([\w.]+)`", row.test):
        if name not in tests:
            yield f"{row}: no test {name}"
        claim = label_of(name)
        if claim and claim != (row.rfc, row.label):
            yield f"{row}: {name} is a test of RFC {claim[0]} {claim[1]}"


def mistakes(text, read, tests):
    """What is wrong with the table `text`. `read(file)`: its text or None; `tests`: all names."""
    table = list(rows(text))
    yield from label_mistakes(table)
    for row in table:
        yield from where_mistakes(row, read)
        yield from test_mistakes(row, tests)
    named = {name for row in table for name in re.findall(r"`([\w.]+)`", row.test)}
    for name in sorted(tests - named):
        if label_of(name):
            yield f"{TABLE}: {name} bears a label and is in no row"


def reader(root):
    def read(file):
        path = root / file
        return path.read_text(encoding="utf-8") if path.is_file() else None

    return read


def tests_of(root):
    """Every test of the tree, by name."""
    tests = root / "tests"
    cc = [p.read_text(encoding="utf-8") for p in sorted(tests.rglob("*.cc"))]
    e2e = {p.stem.removeprefix("test_"): p.read_text(encoding="utf-8")
           for p in sorted((tests / "e2e").glob("test_*.py"))}
    return gtests(cc) | e2e_tests(e2e)


def tree_mistakes(root):
    read = reader(root)
    text = read(TABLE)
    return [f"no {TABLE}"] if text is None else list(mistakes(text, read, tests_of(root)))


def main() -> int:
    found = tree_mistakes(pathlib.Path(__file__).resolve().parent.parent)
    print("\n".join(found) if found else f"{TABLE} holds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
