#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Say how much of the core the unit tests have run.

usage: test/tools/coverage.py BUILD [--missing] [FILE...]

Runs gcov on the data that the instrumented core left in BUILD, and prints a
table: lines and branches of each file, and the sum. With --missing it also
prints the numbers of the lines that never ran, and of the lines with a
branch that was never taken. A header's inline functions count once, however
many files include it. The exit status is 1 if the sum is below the goal: 95 %
of the lines, 85 % of the branches.
"""

import argparse
import collections
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
CORE = tuple("mod_comet/%s/" % folder for folder in
             ("base", "shared", "wire", "transport", "token", "store",
              "hub"))
GOAL_LINES, GOAL_BRANCHES = 95.0, 85.0


class File:
    """How often each line and each branch of a file ran."""

    def __init__(self):
        self.lines = collections.Counter()
        self.branches = collections.Counter()

    def add(self, line):
        number = line["line_number"]
        self.lines[number] += line["count"]
        for index, branch in enumerate(line["branches"]):
            self.branches[number, index] += branch["count"]

    def counts(self):
        """How many lines ran, how many lines there are, how many branches were
        taken, and how many branches there are."""
        return (sum(map(bool, self.lines.values())), len(self.lines),
                sum(map(bool, self.branches.values())), len(self.branches))


def read(build):
    """Read the coverage data; return a File for each file of the core, by
    name."""
    notes = sorted(glob.glob(os.path.join(TOP, build, "obj/mod_comet/**/*.gcda"),
                             recursive=True))
    found = collections.defaultdict(File)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities"]
                       + notes, cwd=folder, stdout=subprocess.DEVNULL,
                       check=True)
        for path in glob.glob(os.path.join(folder, "*.gcov.json.gz")):
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for entry in json.load(file)["files"]:
                    if entry["file"].startswith(CORE):
                        for line in entry["lines"]:
                            found[entry["file"]].add(line)
    return found


def percent(some, of):
    return 100.0 * some / of if of else 100.0


def row(name, counts):
    ran, lines, taken, branches = counts
    print("%-36s %6d %7.1f %% %9d %7.1f %%"
          % (name, lines, percent(ran, lines), branches,
             percent(taken, branches)))


def print_missing(name, file):
    never = {number for number, count in file.lines.items() if not count}
    partly = {number for (number, _), count in file.branches.items()
              if not count} - never
    for what, numbers in (("never ran", never),
                          ("a branch never taken", partly)):
        for number in sorted(numbers):
            print("%s:%d: %s" % (name, number, what))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    found = read(options.build)
    # A source file that no test has run leaves no counters. That is an error.
    sources = {os.path.relpath(path, TOP)
               for folder in CORE
               for path in glob.glob(os.path.join(TOP, folder, "**/*.c"),
                                     recursive=True)}
    unseen = sorted(sources - set(found))
    if unseen:
        sys.exit("coverage: nothing of %s has run" % ", ".join(unseen))
    print("%-36s %6s %9s %9s %9s"
          % ("", "lines", "ran", "branches", "taken"))
    total = [0, 0, 0, 0]
    for name, file in sorted(found.items()):
        row(name, file.counts())
        total = [sum(pair) for pair in zip(total, file.counts())]
    row("all of the core", total)
    if options.missing:
        for name, file in sorted(found.items()):
            if not options.files or name in options.files:
                print_missing(name, file)
    lines, branches = percent(*total[:2]), percent(*total[2:])
    print("coverage: %.1f %% of the lines (goal %.0f), %.1f %% of the branches"
          " (goal %.0f)" % (lines, GOAL_LINES, branches, GOAL_BRANCHES))
    return int(lines < GOAL_LINES or branches < GOAL_BRANCHES)


if __name__ == "__main__":
    sys.exit(main())
