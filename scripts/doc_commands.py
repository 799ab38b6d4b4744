#!/usr/bin/env python3
"""Runs the commands of a document as its reader would: the `$` lines of its console blocks, in one shell, in order.

Usage: doc_commands.py DOCUMENT [PATTERN]. Leaves out the commands that begin with PATTERN, a regular expression. Ends
with 1 at the first command that fails. What a block shows besides is not compared.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(document: str) -> list[str]:
    """A line with a `$`, and the lines after it as long as each ends with a backslash."""
    found = []
    for block in BLOCK.findall(document):
        continued = False
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            elif continued:
                found[-1] += "\n" + line
            continued = line.endswith("\\")
    return found


def script(all_commands: list[str]) -> str:
    """Says each command before it runs, and which one failed."""
    lines = ["set -o pipefail"]
    for command in all_commands:
        quoted = "'" + command.replace("'", "'\\''") + "'"
        failed = f"{{ printf 'FAILED: %s\\n' {quoted} >&2; exit 1; }}"
        lines += [f"printf '$ %s\\n' {quoted}", command, f"[ $? -eq 0 ] || {failed}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    wanted = commands(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    if len(sys.argv) > 2:
        wanted = [command for command in wanted if not re.match(sys.argv[2], command)]
    if not wanted:
        sys.exit(f"doc_commands: {sys.argv[1]} has no command")
    # A file, as a document's `pkill -f` would find its own text on the command line of `bash -c`, and kill the shell.
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".sh") as file:
        file.write(script(wanted))
        file.flush()
        status = subprocess.run(["bash", file.name], check=False).returncode
    sys.exit(status if status >= 0 else 128 - status)
