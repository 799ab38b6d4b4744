#!/usr/bin/env python3
"""RustSec's advisories as ci/advisories.tsv keeps them, so that lint needs no network and judges the same each day.

Usage: advisories.py FOLDER makes a database of them that cargo-deny reads. advisories.py --write CLONE writes the file
anew from a clone of https://github.com/rustsec/advisory-db.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

FILE = Path(__file__).resolve().parent / "advisories.tsv"
COLUMNS = ["id", "package", "date", "informational", "patched", "unaffected"]
ADVISORY = """```toml
[advisory]
id = "{id}"
package = "{package}"
date = "{date}"
{kind}
[versions]
patched = {patched}
unaffected = {unaffected}
```

# Advisory {id}

<https://rustsec.org/advisories/{id}>
"""


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


def row(text: str) -> list[str] | None:
    """The columns of an advisory; none if it was withdrawn."""
    data = tomllib.loads(text.split("```toml", 1)[1].split("```", 1)[0])
    advisory, versions = data["advisory"], data["versions"]
    if "withdrawn" in advisory:
        return None
    ranges = ["; ".join(versions.get(column, [])) for column in COLUMNS[4:]]
    return [*(str(advisory.get(column, "")) for column in COLUMNS[:4]), *ranges]


def write(clone: Path) -> None:
    paths = git(clone, "ls-tree", "-r", "--name-only", "HEAD", "crates").splitlines()
    rows = [row(git(clone, "show", f"HEAD:{path}")) for path in paths if "RUSTSEC-0000" not in path]
    as_of = git(clone, "log", "-1", "--format=%cs").strip()
    lines = [f"# RustSec's advisories of {as_of}, public domain (CC0-1.0): made by ci/advisories.py"]
    lines.append("\t".join(COLUMNS))
    lines += sorted("\t".join(columns) for columns in rows if columns)
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_database(folder: Path) -> str:
    """The first line of the file, which has its date."""
    head, _, *lines = FILE.read_text(encoding="utf-8").splitlines()
    for line in lines:
        columns = dict(zip(COLUMNS, line.split("\t"), strict=True))
        columns["kind"] = f'informational = "{columns["informational"]}"\n' if columns["informational"] else ""
        for column in COLUMNS[4:]:
            columns[column] = json.dumps([text for text in columns[column].split("; ") if text])
        path = folder / "crates" / columns["package"] / f"{columns['id']}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ADVISORY.format(**columns), encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=lint", "-c", "user.email=lint@localhost", "commit", "--quiet", "--message", head)
    return head


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--write", clone]:
            write(Path(clone))
        case [folder]:
            print(make_database(Path(folder)))
        case _:
            sys.exit("usage: advisories.py FOLDER | advisories.py --write CLONE")
