#!/usr/bin/env python3
"""Prints what each step of CI took, and fails if all of them took more than the budget.

Usage: budget.py BUDGET.toml STEPS.tsv, whose lines are: step, wall seconds, CPU seconds, path of the step's output.
Tests and crates are counted in the output: what cargo-nextest and libtest say at their end, and cargo's lines.
"""

import pathlib
import re
import sys
import tomllib

NEXTEST = re.compile(r"Summary \[.*?(\d+) tests? run")
LIBTEST = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.MULTILINE)
CRATE = re.compile(r"^ *(?:Compiling|Checking) \S+ v", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def counted(output: str) -> tuple[int, int]:
    """The tests that ran and the crates that were compiled or checked."""
    output = COLOUR.sub("", output)
    tests = sum(int(count) for count in NEXTEST.findall(output))
    tests += sum(int(passed) + int(failed) for passed, failed in LIBTEST.findall(output))
    return tests, len(CRATE.findall(output))


def main(budget_file: str, steps_file: str) -> int:
    budget = tomllib.loads(pathlib.Path(budget_file).read_text())
    rows = []
    for line in pathlib.Path(steps_file).read_text().splitlines():
        step, wall, cpu, output = line.split("\t")
        rows.append((step, float(wall), float(cpu), *counted(pathlib.Path(output).read_text(errors="replace"))))
    total = ("all", *(sum(row[column] for row in rows) for column in range(1, 5)))
    print(f"\n{'step':<14} {'wall s':>8} {'CPU s':>8} {'tests':>6} {'crates':>7}")
    for step, wall, cpu, tests, crates in [*rows, total]:
        print(f"{step:<14} {wall:>8.0f} {cpu:>8.0f} {tests:>6} {crates:>7}")
    over = [
        f"{spent:.0f} {what}, and the budget is {budget[what]}"
        for what, spent in (("minutes", total[1] / 60), ("crates", total[4]))
        if spent > budget[what]
    ]
    for what in over:
        print(f"ci: too much: {what} ({budget_file})", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
