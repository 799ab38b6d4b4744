#!/usr/bin/env python3
"""Checks that every relative link and picture of the project's Markdown files is there, and so is the heading it names.

Usage: links.py. Prints what leads nowhere, a line each, and ends with 1 if there is anything.
"""

import pathlib
import re
import subprocess
import sys

# Those of Markdown, and of HTML that stands in it.
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:href|src|srcset)="([^"\s]+)"')
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The headings as the addresses that they get."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def problems(file: pathlib.Path) -> list[str]:
    found = []
    for match in LINK.finditer(FENCE.sub("", file.read_text(encoding="utf-8"))):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = file.parent / path if path else file
        if not aim.exists():
            found.append(f"{file}: {target} is not there")
        elif anchor and aim.suffix == ".md" and anchor not in anchors(aim.read_text(encoding="utf-8")):
            found.append(f"{file}: {path or file.name} has no heading #{anchor}")
    return found


if __name__ == "__main__":
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    wrong = [line for name in listed.stdout.split() for line in problems(pathlib.Path(name))]
    print("\n".join(wrong), file=sys.stderr)
    sys.exit(1 if wrong else 0)
