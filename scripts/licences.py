"""Writes THIRD_PARTY.md: the crates that are linked into the shipped programs, by licence. --check only compares.
--texts FILE writes what programs must come with: the licences and copyright lines themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

PROGRAMS = ["fetcher", "relay", "stream-processor", "cassandra-sink", "pipeline", "randomuser-sim", "spark-module"]
FILE = Path(__file__).resolve().parent.parent / "THIRD_PARTY.md"
HEAD = """# Licences of others

Made by `python3 scripts/licences.py` from `Cargo.lock`: the crates that are linked into this project's programs on
Linux, by licence. Servers, their images, and what Spark and Airflow need of Python come from their own sources and are
not part of this project. The programs of a release's archive also contain OpenSSL (Apache-2.0) and musl (MIT), those of
the images come with the libraries of Debian that they load. `python3 scripts/licences.py --texts FILE` writes the
licences themselves, as a release's archive has them.
"""
TEXTS_HEAD = """Licences of what is linked into these programs, as its authors wrote them.

The programs also contain Rust's standard library (MIT or Apache-2.0, by The Rust Project Developers), OpenSSL
(Apache-2.0, by The OpenSSL Project Authors) and musl (MIT, Copyright 2005-2020 Rich Felker, et al.); LICENSE is the
text of Apache-2.0, and that of the MIT licence is:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice and
this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS PROVIDED
"AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
# Of files that are named after a licence and have none.
CODE = {".c", ".h", ".html", ".json", ".py", ".rs"}


def linked_packages() -> list[dict]:
    """Packages of registries that a shipped program reaches over normal dependencies, by name and version."""
    command = ["cargo", "tree", "--locked", "--edges", "normal", "--target", "x86_64-unknown-linux-gnu"]
    command += ["--prefix", "none", "--format", "{p}"]
    for program in PROGRAMS:
        command += ["--package", program]
    # `cargo metadata` alone also has what no feature that is on needs.
    reached = {tuple(line.split()[:2]) for line in output_of(command) if line.strip()}
    metadata = json.loads("".join(output_of(["cargo", "metadata", "--format-version", "1", "--locked"])))
    packages = {(package["name"], f"v{package['version']}"): package for package in metadata["packages"]}
    linked = [packages[name_and_version] for name_and_version in reached]
    return sorted((package for package in linked if package["source"] is not None), key=shown)


def output_of(command: list[str]) -> list[str]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=FILE.parent, text=True)
    return done.stdout.splitlines()


def shown(package: dict) -> str:
    return f"{package['name']} {package['version']}"


def texts() -> str:
    """The licences, copyright lines and notices that the packages come with, each once."""
    owners: dict[str, list[str]] = defaultdict(list)
    kept: dict[str, str] = {}
    for package in linked_packages():
        folder = Path(package["manifest_path"]).parent
        files = [file for file in sorted(folder.rglob("*")) if is_text(file)]
        found = [file.read_text(encoding="utf-8", errors="replace").strip() for file in files]
        if not found:
            authors = ", ".join(package["authors"]) or "its contributors"
            found = [f"{package['license']}, by {authors}: {package['repository']}"]
        for text in found:
            words = " ".join(text.split())
            kept.setdefault(words, text)
            owners[words].append(shown(package))
    rule = "=" * 100
    blocks = [f"{rule}\n{', '.join(dict.fromkeys(owners[words]))}\n{rule}\n\n{text}\n" for words, text in kept.items()]
    return "\n".join([TEXTS_HEAD, *blocks])


def is_text(file: Path) -> bool:
    name = file.name.lower()
    names = ("licence", "license", "copying", "copyright", "notice", "unlicense")
    return name.startswith(names) and file.suffix not in CODE and file.is_file()


def document() -> str:
    by_licence: dict[str, list[str]] = defaultdict(list)
    for package in linked_packages():
        licence = " ".join((package["license"] or "see its files").replace("/", " OR ").split())
        by_licence[licence].append(shown(package))
    sections = [f"## {licence}\n\n{', '.join(sorted(names))}\n" for licence, names in sorted(by_licence.items())]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--texts", file]:
            Path(file).write_text(texts(), encoding="utf-8")
        case ["--check"]:
            if not FILE.exists() or FILE.read_text(encoding="utf-8") != document():
                sys.exit("licences: THIRD_PARTY.md is not what Cargo.lock says: run python3 scripts/licences.py")
        case []:
            FILE.write_text(document(), encoding="utf-8")
        case _:
            sys.exit("usage: licences.py [--check | --texts FILE]")
