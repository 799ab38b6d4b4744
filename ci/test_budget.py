"""`python3 -m unittest discover ci`: that the budget counts, and that it fails above."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import budget

OUTPUT = """   Compiling libc v0.2.1
\x1b[1m\x1b[32m    Checking\x1b[0m serde v1.0.1
     Summary [   1.2s] 12 tests run: 11 passed, 1 failed, 3 skipped
test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
"""


class Budget(unittest.TestCase):
    def run_with(self, minutes: int, crates: int) -> tuple[int, str]:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "output").write_text(OUTPUT)
            (folder / "budget.toml").write_text(f"minutes = {minutes}\ncrates = {crates}\n")
            (folder / "steps.tsv").write_text(f"test\t90.5\t170\t{folder / 'output'}\nlint\t40\t60\t/dev/null\n")
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = budget.main(str(folder / "budget.toml"), str(folder / "steps.tsv"))
            return status, said.getvalue()

    def test_counts_tests_and_crates(self):
        self.assertEqual(budget.counted(OUTPUT), (17, 2))

    def test_within(self):
        status, said = self.run_with(minutes=3, crates=2)
        self.assertEqual(status, 0)
        self.assertRegex(said, r"all +130 +230 +17 +2")

    def test_above(self):
        for minutes, crates, what in ((2, 2, "2 minutes"), (3, 1, "2 crates")):
            status, said = self.run_with(minutes, crates)
            self.assertEqual(status, 1)
            self.assertIn(f"too much: {what}", said)


if __name__ == "__main__":
    unittest.main()
