# SPDX-License-Identifier: Apache-2.0
"""Prometheus: promtool's checks, the alert rules and the dashboard."""

import glob
import json
import os
import re
import subprocess

import pytest

from httpd_env import REPO, SLOW

EXAMPLES = os.path.join(REPO, "conf", "examples")
RULES = os.path.join(EXAMPLES, "comet-alerts.yml")
BOARD = os.path.join(EXAMPLES, "comet-board.json")


def exposed(server):
    """Return the status page as Prometheus gets it."""
    answer = server.get("/comet-status?format=prometheus")
    assert answer.status == 200
    return answer.body.decode()


def names(text):
    """Return the names of the metrics in a text."""
    return set(re.findall(r"\bcomet_[a-z0-9_]+", text))


def test_962_01_examples_name_what_there_is(server):
    """Every metric that the alert rules and the dashboard use exists, with its
    labels."""
    text = exposed(server)
    there = {name: set(re.findall(r'(\w+)="', labels)) for name, labels in
             re.findall(r"^(comet_\w+)(?:\{(.*)\})? ", text, re.M)}
    with open(RULES, encoding="utf-8") as file:
        rules = re.findall(r"expr: (.*)", file.read())
    with open(BOARD, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    queries = [(t["expr"], t["legendFormat"]) for p in panels
               for t in p["targets"]]
    assert len(rules) >= 5 and len(queries) >= 10
    for expression in rules + [query for query, _ in queries]:
        assert names(expression)
        assert names(expression) <= set(there), expression
    for expression, legend in queries:
        labels = set().union({"instance"}, *(there[n]
                                             for n in names(expression)))
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, legend


def test_962_02_labels_are_quoted(make_server):
    """Quotes and backslashes in a database's path are escaped in the label."""
    server = make_server(
        comet="status", conf="CometStore 'sqlite:{data}/a\"b\\\\c.db'\n"
        "CometEndpoint /comet\n")
    server.post("one", "x")
    path = server.status()["stores"][0]["path"]
    assert '"' in path and "\\" in path
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    assert 'comet_store_channels{store="%s"} 1\n' % quoted in exposed(server)


@pytest.fixture(scope="module")
def promtool():
    """Return the path of promtool, Prometheus' own checker.  It is unpacked
    from Debian's package, so that nothing has to be installed."""
    folder = os.path.join(REPO, "build", "promtool")
    path = os.path.join(folder, "usr", "bin", "promtool")
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        done = subprocess.run(["apt-get", "download", "prometheus"],
                              cwd=folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=300,
                              check=False)
        packages = glob.glob(os.path.join(folder, "*.deb"))
        if done.returncode or not packages:
            pytest.skip("no package prometheus: "
                        + done.stdout.decode("utf-8", "replace")[-200:])
        subprocess.run("dpkg-deb --fsys-tarfile %s | tar -x ./usr/bin/promtool"
                       % os.path.basename(packages[0]), shell=True, check=True,
                       cwd=folder, timeout=120)
    return path


@pytest.mark.long
def test_962_03_promtool(promtool, server):
    """promtool accepts the metrics and the rules."""
    server.post("one", "x")
    done = subprocess.run([promtool, "check", "metrics"],
                          input=exposed(server).encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == 0 and done.stdout.strip() == b"", done.stdout
    done = subprocess.run([promtool, "check", "rules", RULES],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60 * SLOW, check=False)
    assert done.returncode == 0 and b"7 rules" in done.stdout, done.stdout
