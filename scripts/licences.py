"""Writes THIRD_PARTY.md: the crates that are linked into the shipped programs, by licence. --check only compares."""

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
the images come with the libraries of Debian that they load.
"""


def linked_packages() -> list[dict]:
    """Packages of registries that a shipped program reaches over normal dependencies."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    command += ["--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=FILE.parent).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo = [id for id, package in packages.items() if package["source"] is None and package["name"] in PROGRAMS]
    if len(todo) != len(PROGRAMS):
        sys.exit(f"licences: {PROGRAMS} are not all packages of the workspace")
    reached: set[str] = set()
    while todo:
        id = todo.pop()
        if id in reached:
            continue
        reached.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                todo.append(dependency["pkg"])
    return [packages[id] for id in reached if packages[id]["source"] is not None]


def document() -> str:
    by_licence: dict[str, list[str]] = defaultdict(list)
    for package in linked_packages():
        licence = " ".join((package["license"] or "see its files").replace("/", " OR ").split())
        by_licence[licence].append(f"{package['name']} {package['version']}")
    sections = [f"## {licence}\n\n{', '.join(sorted(names))}\n" for licence, names in sorted(by_licence.items())]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    made = document()
    if "--check" not in sys.argv:
        FILE.write_text(made, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != made:
        sys.exit("licences: THIRD_PARTY.md is not what Cargo.lock says: run python3 scripts/licences.py")
