# SPDX-License-Identifier: Apache-2.0
"""What the documents promise: durations, an uninstall, and recipes for other
programs, which must work while messages are published."""

import glob
import os
import re
import sqlite3
import subprocess
import threading

import pytest

from httpd_env import REPO, SLOW, sqlite, wait_until
from test_390_manual import fragment, fragments, local, run, run_shell


@pytest.mark.parametrize("value, wrong", [
    ("30d", None), ("2w", None), ("720h", None), ("1d", None),
    ("1y", "1y"), ("d", "d"), ("99999999999999d", "9999d"), ("1.5d", "1.5d"),
    ("3dd", "3dd"), ("-1d", "-1d")])
def test_485_01_days_and_weeks(make_server, value, wrong):
    """A duration may be in days or weeks, and a number that is too large is
    refused."""
    server = make_server(start=False)
    code, text = server.configtest('CometStore "sqlite:%s"\n'
                                   "CometRetain age=%s\n"
                                   % (server.db, value))
    assert (code == 0) == (wrong is None), text
    assert wrong is None or wrong in text


def test_485_02_days_are_the_hours(make_server):
    """A bound is the same in each unit: a lifetime may be 168h, 7d or 1w, but
    not 8d."""
    server = make_server(start=False)
    for value, fits in (("168h", True), ("7d", True), ("1w", True),
                        ("8d", False), ("2w", False)):
        code, text = server.configtest("CometMaxLifetime %s\n" % value)
        assert (code == 0) == fits, (value, text)


# file: (its contents, whether httpd would not start without the module)
LEFT = {
    "sites-available/mine.conf":
        ("<VirtualHost *>\n  CometEndpoint /c\n</VirtualHost>\n", True),
    "sites-available/lower.conf": ("cometendpoint /c\n", True),
    "conf-enabled/access.conf":
        ("<Location /c>\nRequire not comet-publish local\n</Location>\n", True),
    "vhosts.d/load.conf":
        ("LoadModule comet_module /srv/mod_comet.so\n", True),
    "apache2.conf": ("Timeout 60\n<IfModule comet_module>\nCometMulti on\n"
                     "</IfModule>\nCometStore sqlite:/x\n", True),
    "sites-available/comment.conf": ("# CometEndpoint /c\n", False),
    "sites-available/within.conf":
        ("<IfModule comet_module>\n<IfModule ssl_module>\nCometMulti on\n"
         "</IfModule>\nCometEndpoint /c\n</IfModule>\n", False),
    "mods-available/comet.conf": ("CometStore sqlite:/mine\n", False),
}


def test_485_03_uninstall_names_files(tmp_path):
    """make uninstall names the files that would keep httpd from starting,
    wherever they are, and no others."""
    root = tmp_path / "root"
    for name, (text, _) in LEFT.items():
        path = root / "etc/apache2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "linked.conf").write_text("CometEndpoint /c\n")
    os.symlink(tmp_path / "linked.conf",
               root / "etc/apache2/sites-available/elsewhere.conf")
    done = subprocess.run(
        ["make", "-s", "uninstall", "DESTDIR=%s" % root], cwd=REPO,
        stdout=subprocess.PIPE, text=True, check=True, timeout=60 * SLOW)
    named = done.stdout.partition("before httpd restarts:\n")[2].split()
    assert "IfModule" in done.stdout
    assert sorted(named) == sorted(
        [str(root / "etc/apache2" / name) for name, (_, left) in LEFT.items()
         if left] + [str(tmp_path / "linked.conf")])


def test_485_04_lines_without_the_module(make_server):
    """README's configuration does no harm if the module is not loaded."""
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as text:
        lines = re.findall(r"^<IfModule comet_module>\n.*?^</IfModule>\n",
                           text.read(), re.M | re.S)
    assert len(lines) == 1
    server = make_server(start=False)
    code, text = server.configtest(lines[0], comet="")
    assert code == 0, text


class Traffic:
    """A thread that publishes messages continuously."""

    def __init__(self, server):
        self.server, self.stored = server, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.done.wait(0.002):
            self.server.post("traffic", "x")
            self.stored += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join(30)


COPIES = [part for part in fragments("sh")
          if re.search(r"VACUUM INTO|\.backup|\.dump", part.text)]


def test_485_05_copies_under_load(make_server):
    """The manual's commands that copy the database work while messages are
    published. The copies are complete, and no other user may read them."""
    server = make_server()
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
           " FROM n WHERE i < 1200) INSERT INTO message(channel, body) "
           "SELECT 'bulk', hex(zeroblob(5000)) FROM n")
    with Traffic(server) as traffic:
        for part in COPIES:
            before = traffic.stored
            run(["sh", "-eu", "-c", "umask 0\n" + local(part.text, server)],
                server)
            wait_until(lambda b=before: traffic.stored > b, 20, "a message")
    copies = glob.glob(server.root + "/*.db")
    assert len(copies) >= 1
    for path in copies + glob.glob(server.root + "/*.sql"):
        assert os.stat(path).st_mode & 0o077 == 0, path
    mark = "PRAGMA application_id; PRAGMA user_version"
    for path in copies:
        assert sqlite(path, "PRAGMA quick_check") == [["ok"]]
        assert sqlite(path, mark) == sqlite(server.db, mark)
        assert sqlite(path, "SELECT count(*) FROM message "
                      "WHERE channel='bulk'") == [["1200"]]
    assert len(copies) == len(COPIES) == 3


@pytest.mark.parametrize("begin, safe", [("BEGIN IMMEDIATE", True),
                                         ("BEGIN", False)])
def test_485_06_transactions_under_load(make_server, begin, safe):
    """Another program may read and then write in a transaction under load, but
    only if the transaction begins with BEGIN IMMEDIATE."""
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


# Matches words about a full disk.
FULL = re.compile(r"\bfill|\bfull\b|\buse up\b|\bquota\b", re.I)
BLOCK = re.compile(r"<(p|tr|li)\b.*?</\1>", re.S)


def blocks_about_retention():
    """Yield (document, text) of each paragraph, row or line that mentions
    CometRetain."""
    for name in ("README.md", "conf/comet.conf", "conf/tuned.conf",
                 "htdocs/manual/index.html", "htdocs/manual/recipes.html",
                 "htdocs/manual/security.html", "htdocs/manual/tutorial.html"):
        with open(os.path.join(REPO, name), encoding="utf-8") as file:
            text = file.read()
        blocks = [found.group() for found in BLOCK.finditer(text)] \
            if name.endswith(".html") else text.splitlines()
        yield from ((name, block) for block in blocks
                    if "CometRetain" in block)


def test_485_07_no_document_names_a_wrong_bound():
    """CometRetain bounds each channel, but not the database.  A document that
    recommends it against a full disk says so."""
    found = [(name, block) for name, block in blocks_about_retention()
             if FULL.search(block)]
    for name, block in found:
        assert "each channel" in " ".join(block.split()), (name, block)
    assert len(found) >= 2


def test_485_08_retention_bounds_each_channel(make_server):
    """Retention bounds each channel by itself, and the runbook's command shows
    the largest channels."""
    server = make_server(conf="CometRetain count=1 age=1s\n")
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
           " FROM n WHERE i < 300) INSERT INTO message(channel, body) "
           "SELECT 'c' || i, 'x' FROM n")
    server.post("c1", "y" * 100)
    wait_until(lambda: server.rows("c1") == ["y" * 100], 20, "retention")
    assert sqlite(server.db, "SELECT count(*), count(DISTINCT channel) "
                  "FROM message") == [["300", "300"]]
    shown = run_shell(fragment("run-full-channels"), server).split()
    assert shown[0] == "c1|1|100" and len(shown) == 20, shown
