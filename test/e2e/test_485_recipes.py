# SPDX-License-Identifier: Apache-2.0
"""What the documents promise, tried: durations, an uninstall, and the recipes
for other programs while messages come in."""

import os
import re
import sqlite3
import subprocess
import threading

import pytest

from httpd_env import REPO, SLOW, sqlite


@pytest.mark.parametrize("value, wrong", [
    ("30d", None), ("2w", None), ("720h", None), ("1d", None),
    ("1y", "1y"), ("d", "d"), ("99999999999999d", "9999d"), ("1.5d", "1.5d"),
    ("3dd", "3dd"), ("-1d", "-1d")])
def test_485_01_days_and_weeks(make_server, value, wrong):
    """A duration may be in days and weeks; nothing overflows."""
    server = make_server(start=False)
    code, text = server.configtest('CometStore "sqlite:%s"\n'
                                   "CometRetain age=%s\n"
                                   % (server.db, value))
    assert (code == 0) == (wrong is None), text
    assert wrong is None or wrong in text


def test_485_02_days_are_the_hours(make_server):
    """Bounds hold in each unit: a lifetime of 168h is 7d and 1w, not 8d."""
    server = make_server(start=False)
    for value, fits in (("168h", True), ("7d", True), ("1w", True),
                        ("8d", False), ("2w", False)):
        code, text = server.configtest("CometMaxLifetime %s\n" % value)
        assert (code == 0) == fits, (value, text)


def test_485_03_uninstall_names_files(tmp_path):
    """make uninstall says which files would keep httpd from starting."""
    root = tmp_path / "root"
    sites = root / "etc/apache2/sites-available"
    sites.mkdir(parents=True)
    (sites / "mine.conf").write_text("<VirtualHost *>\n  CometEndpoint /c\n"
                                     "</VirtualHost>\n")
    (sites / "other.conf").write_text("# CometEndpoint /c\n")
    (root / "etc/apache2/apache2.conf").write_text("Timeout 60\n")
    done = subprocess.run(
        ["make", "-s", "uninstall", "DESTDIR=%s" % root], cwd=REPO,
        stdout=subprocess.PIPE, text=True, check=True, timeout=60 * SLOW)
    assert "mine.conf" in done.stdout and "IfModule" in done.stdout
    assert "other.conf" not in done.stdout


def test_485_04_lines_without_the_module(make_server):
    """README's lines do no harm where the module is not loaded."""
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as text:
        lines = re.findall(r"^<IfModule comet_module>\n.*?^</IfModule>\n",
                           text.read(), re.M | re.S)
    assert len(lines) == 1
    server = make_server(start=False)
    code, text = server.configtest(lines[0], comet="")
    assert code == 0, text


class Traffic:
    """Messages that come in over HTTP all the time."""

    def __init__(self, server):
        self.server, self.stored = server, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.done.wait(0.01):
            self.server.post("traffic", "x")
            self.stored += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(30)


def test_485_05_backup_under_load(make_server):
    """VACUUM INTO ends while messages come in, and its copy is a database of
    the module's."""
    server = make_server()
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
           " FROM n WHERE i < 2000) INSERT INTO message(channel, body) "
           "SELECT 'bulk', hex(zeroblob(5000)) FROM n")
    copy = os.path.join(server.root, "copy.db")
    with Traffic(server) as traffic:
        before = traffic.stored
        sqlite(server.db, "VACUUM INTO '%s'" % copy)
        assert traffic.stored >= before
    assert sqlite(copy, "PRAGMA quick_check") == [["ok"]]
    assert sqlite(copy, "PRAGMA application_id; PRAGMA user_version") \
        == sqlite(server.db, "PRAGMA application_id; PRAGMA user_version")
    assert sqlite(copy, "SELECT count(*) FROM message WHERE channel='bulk'") \
        == [["2000"]]


@pytest.mark.parametrize("begin, safe", [("BEGIN IMMEDIATE", True),
                                         ("BEGIN", False)])
def test_485_06_transactions_under_load(make_server, begin, safe):
    """SELECT, then INSERT: only BEGIN IMMEDIATE waits its turn."""
    server = make_server()
    db = sqlite3.connect(server.db, timeout=10, isolation_level=None)
    locked = 0
    with Traffic(server) as traffic:
        for _ in range(10):
            try:
                db.execute(begin)
                db.execute("SELECT count(*) FROM message").fetchall()
                seen, limit = traffic.stored, threading.Event()
                while not safe and traffic.stored < seen + 2:
                    limit.wait(0.005)
                db.execute("INSERT INTO message(channel, body) "
                           "VALUES('mine', 'x')")
                db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                assert "locked" in str(error)
                locked += 1
                db.execute("ROLLBACK")
    db.close()
    assert locked == (0 if safe else 10)
    assert len(server.rows("mine")) == (10 if safe else 0)
