#!/usr/bin/python3
"""The table of requirements holds, and rfc.py sees each way in which it could lie."""

import pathlib
import sys
import unittest

import report
import rfc

CODE = """
// gone() { was here once
int Conn::check(int a, F(b)) const {
  if (called(a)) { return other(a); }
}
struct Seam { virtual void on_close() {} void later(); };
inline constexpr int kLimit = 3;
"""
TESTS = {"Suite.plain", "module.Class.test_it", "Suite.rfc9293_must_07_lengths"}


def table(**changed):
    """A small table without a mistake, but for the rows in `changed` (with _ for -)."""
    lines = {label: f"| {label} | what | `a.cc` `check` | `Suite.plain` |" for label in rfc.LABELS}
    lines["MUST-7"] = "| MUST-7 | what | `a.cc` `check` | `Suite.rfc9293_must_07_lengths` |"
    lines |= {k.replace("_", "-"): v for k, v in changed.items() if not k.startswith("RFC")}
    text = "# Title\n\n## RFC 9293\n\n| label | requirement | where | test |\n|---|---|---|---|\n"
    text += "\n".join(lines.values()) + "\n"
    for number in rfc.COMPANIONS:
        row = changed.get(f"RFC_{number}", "| 2.1 | what | `a.cc` `check` | `Suite.plain` |")
        text += f"\n## RFC {number}: it\n\n| section | requirement | where | test |\n|---|---|---|---|\n{row}\n"
    return text


def found(text, tests=frozenset(TESTS)):
    return list(rfc.mistakes(text, lambda file: CODE if file == "a.cc" else None, set(tests)))


class Tree(unittest.TestCase):
    def test_table_holds(self):
        root = pathlib.Path(__file__).resolve().parent.parent
        self.assertEqual([], rfc.tree_mistakes(root))

    def test_tests_of_both_kinds_are_found(self):
        tests = rfc.tests_of(pathlib.Path(__file__).resolve().parent.parent)
        self.assertIn("ConnClose.peer_first", tests)
        self.assertIn("walkthrough.Blind.test_spoofed_rst_and_syn", tests)


class Lies(unittest.TestCase):
    def lie(self, what, **changed):
        mistakes = found(table(**changed))
        self.assertEqual(1, len(mistakes), mistakes)
        self.assertIn(what, mistakes[0])


class Labels(Lies):
    def test_there_are_119(self):
        self.assertEqual(119, len(set(rfc.LABELS)))

    def test_a_table_without_a_mistake(self):
        self.assertEqual([], found(table()))

    def test_a_missing_label(self):
        self.lie("MUST-12 is there 0 times", MUST_12="")

    def test_a_label_twice(self):
        row = "| MUST-12 | what | `a.cc` `check` | `Suite.plain` |"
        self.lie("MUST-12 is there 2 times", MUST_12=f"{row}\n{row}")

    def test_a_label_that_does_not_exist(self):
        row = "| MUST-12 | what | `a.cc` `check` | `Suite.plain` |"
        self.lie("no such label", MUST_12=f"{row}\n{row.replace('12', '70')}")

    def test_no_requirement_and_a_missing_cell(self):
        self.lie("no requirement", MUST_12="| MUST-12 | | `a.cc` `check` | `Suite.plain` |")
        self.assertTrue(found(table(MUST_12="| MUST-12 | what | `Suite.plain` |")))

    def test_a_companion_without_rows_or_section(self):
        self.lie("nothing about RFC 5961", RFC_5961="")
        self.lie("no section", RFC_5961="| somewhere | what | `a.cc` `check` | `Suite.plain` |")


class Where(Lies):
    def cell(self, where, what):
        self.lie(what, MUST_12=f"| MUST-12 | what | {where} | `Suite.plain` |")

    def test_a_file_that_is_not_there(self):
        self.cell("`b.cc` `check`", "no file b.cc")

    def test_what_is_not_defined_there(self):
        for name in ("missing", "gone", "called", "other", "later", "kMissing", "Missing"):
            with self.subTest(name):
                self.cell(f"`a.cc` `{name}`", f"does not define {name}")

    def test_what_is(self):
        for name in ("check", "on_close", "kLimit", "Seam"):
            with self.subTest(name):
                row = f"| MUST-12 | what | `a.cc` `{name}` | `Suite.plain` |"
                self.assertEqual([], found(table(MUST_12=row)))

    def test_nothing_or_prose(self):
        self.cell("", "where must be")
        self.cell("somewhere", "where must be")
        self.cell("`a.cc` `check` and more", "where must be")


class Tests(Lies):
    def cell(self, test, what, label="MUST-12"):
        row = f"| {label} | what | `a.cc` `check` | {test} |"
        self.lie(what, **{label.replace("-", "_"): row})

    def test_one_that_is_not_there(self):
        self.cell("`Suite.missing`", "no test Suite.missing")
        self.cell("`Suite.plain`, `module.Class.test_other`", "no test module.Class.test_other")

    def test_none_or_prose(self):
        self.cell("", "tests must be")
        self.cell("by hand", "tests must be")

    def test_one_of_another_label(self):
        self.cell("`Suite.rfc9293_must_07_lengths`", "is a test of RFC 9293 MUST-7")
        self.lie("is a test of RFC 9293 MUST-7",
                 RFC_6298="| 7 | what | `a.cc` `check` | `Suite.rfc9293_must_07_lengths` |")

    def test_one_with_a_label_that_no_row_names(self):
        self.lie("bears a label and is in no row",
                 MUST_7="| MUST-7 | what | `a.cc` `check` | `Suite.plain` |")

    def test_an_exception_without_a_reason(self):
        for cell in ("exception", "exception: no", "exception:", "exception: `Suite.plain`"):
            with self.subTest(cell):
                self.cell(cell, "needs a reason", "SHLD-3")
        self.assertEqual([], found(table(SHLD_3="| SHLD-3 | what | | exception: no such call here |")))

    def test_an_exception_whose_test_is_not_there(self):
        self.cell("exception: dropped as all do, `Suite.missing`", "no test Suite.missing", "MUST-51")

    def test_a_must_that_may_not_be_an_exception(self):
        self.cell("exception: we did not want to", "a MUST without a test")
        row = "| MUST-51 | what | | exception: dropped as RFC 7126 says |"
        self.assertEqual([], found(table(MUST_51=row)))


class Sources(unittest.TestCase):
    def test_gtest_names(self):
        text = ("TEST(A, one) {}\n  TEST_F(B,two) {\nTEST_P(\n  C, three) {}\n// TEST(D, four)\n"
                "TEST(E, DISABLED_five) {}\n/* TEST(F, six)\n*/TEST(DISABLED_G, seven)")
        self.assertEqual({"A.one", "B.two", "C.three"}, rfc.gtests([text]))

    def test_e2e_names(self):
        text = ("class Base:\n def test_a(self): pass\n def helper(self): pass\n"
                "class Child(Base):\n def test_b(self): pass\n# def test_c(self): pass\n"
                "def test_d(): pass\n")
        self.assertEqual({"m.Base.test_a", "m.Child.test_a", "m.Child.test_b"},
                         rfc.e2e_tests({"m": text}))


if __name__ == "__main__":
    sys.exit(report.run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])))
