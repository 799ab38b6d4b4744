"""`python3 -m unittest discover ci`: that cargo-deny is given every advisory that the file has."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import advisories


class Database(unittest.TestCase):
    def test_has_each_advisory_as_the_file_has_it(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            with contextlib.redirect_stdout(io.StringIO()):
                advisories.make_database(folder)
            made = sorted("\t".join(advisories.row(path.read_text())) for path in folder.glob("crates/*/*.md"))
            status = advisories.git(folder, "status", "--porcelain")
        self.assertEqual(made, advisories.FILE.read_text().splitlines()[2:])
        self.assertGreater(len(made), 1000)
        self.assertEqual(status, "")

    def test_leaves_out_what_was_withdrawn(self) -> None:
        text = '```toml\n[advisory]\nid = "1"\nwithdrawn = "2026-01-02"\n[versions]\n```'
        self.assertIsNone(advisories.row(text))


if __name__ == "__main__":
    unittest.main()
