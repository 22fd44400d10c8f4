# SPDX-License-Identifier: Apache-2.0
"""The fixtures of test/e2e, and the table of scenarios that is printed at the
end.

A scenario is a function in a module of this folder (kills.py and others). It
takes its numbers as arguments, and returns a sentence of figures. A file
torture_*.py calls it with large numbers, multiplied by SCALE. The file of the
same number in test/e2e calls it with small ones.
"""

import datetime
import importlib.util
import os
import platform
import sys

import pytest

TORTURE = os.path.dirname(os.path.abspath(__file__))
E2E = os.path.join(os.path.dirname(TORTURE), "e2e")

sys.path[:0] = [E2E, TORTURE]
SPEC = importlib.util.spec_from_file_location(
    "e2e_conftest", os.path.join(E2E, "conftest.py"))
e2e_conftest = sys.modules["e2e_conftest"] = \
    importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(e2e_conftest)

from e2e_conftest import *      # noqa: E402,F401,F403  (its hooks, fixtures)
from httpd_env import COMET_MODULE      # noqa: E402
from scale import SCALE         # noqa: E402

SUMMARY = os.path.join(os.path.dirname(COMET_MODULE), "torture", "summary.md")
ROWS = []


def pytest_itemcollected(item):
    """Mark every test here as `long`, which gives it the long deadline."""
    item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def scenario(request, record_property):
    """Use the test's docstring as its name in the table."""
    text = " ".join((request.function.__doc__ or request.node.name).split())
    record_property("scenario", text.rstrip("."))


def pytest_runtest_logreport(report):
    """Add a row for a test: its name, its figures and its result."""
    said = dict(report.user_properties)
    if report.when == "call" or report.skipped:
        ROWS.append([said.get("scenario", report.nodeid.split("::")[-1]),
                     "; ".join(value for name, value in report.user_properties
                               if name == "figure"),
                     report.outcome, report.duration])
    elif report.failed:         # in the set-up, or in the checks after it
        if report.when == "setup":
            ROWS.append([said.get("scenario", report.nodeid), "", "", 0])
        if ROWS[-1][2] != "failed":
            ROWS[-1][2] = "failed in its " + report.when


def table():
    """The rows as Markdown."""
    lines = ["# Torture", "",
             "%s, %s, %d cores, scale %g." % (
                 datetime.date.today(), platform.machine(),
                 os.cpu_count() or 0, SCALE), "",
             "| scenario | figures | seconds | result |",
             "|---|---|---:|---|"]
    for title, figures, result, seconds in ROWS:
        lines.append("| %s | %s | %.0f | %s |"
                     % (title.replace("|", "\\|"),
                        figures.replace("|", "\\|"), seconds, result))
    return "\n".join(lines) + "\n"


def pytest_terminal_summary(terminalreporter):
    """Print the table, and keep it in a file."""
    os.makedirs(os.path.dirname(SUMMARY), exist_ok=True)
    with open(SUMMARY, "w", encoding="utf-8") as out:
        out.write(table())
    terminalreporter.section("torture: " + SUMMARY)
    terminalreporter.write(table())
