# SPDX-License-Identifier: Apache-2.0
"""Databases that were restored, or made by hand, and whether the module accepts
them."""

import os
import re
import subprocess

import pytest

from httpd_env import REPO, give, sqlite, wait_until

TEXT = {"Content-Type": "text/plain"}


def try_post(server, text="x"):
    return server.request("POST", "/comet/chat", text, TEXT)


def make_database(server):
    """Let httpd make a database and close it."""
    server.start()
    server.post("chat", "first")
    server.stop()


def hand_over(server):
    for end in ("", "-wal", "-shm"):
        if os.path.exists(server.db + end):
            give(server.db + end)
            os.chmod(server.db + end, 0o660)


def test_477_01_schema_by_hand(make_server):
    """httpd accepts a database that sqlite3 has made from
    sql/001_initial.sql: httpd migrates it, and retention shrinks it."""
    server = make_server(start=False, conf="CometRetain count=10\n")
    with open(os.path.join(REPO, "sql", "001_initial.sql"),
              encoding="utf-8") as text:
        sqlite(server.db, text.read())
    assert sqlite(server.db, "PRAGMA application_id; PRAGMA user_version;"
                  "PRAGMA auto_vacuum;") == [["1129270612"], ["1"], ["2"]]
    sqlite(server.db,
           "INSERT INTO message(channel, body) VALUES('chat', 'by hand');"
           "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n"
           " WHERE i < 1500) INSERT INTO message(channel, body)"
           " SELECT 'bulk', printf('%.4000c', 'x') FROM n;")
    hand_over(server)
    server.start()
    server.post("chat", "x")
    assert server.rows("chat") == ["by hand", "x"]
    assert sqlite(server.db, "PRAGMA user_version;") == [[str(max(
        int(name[:3]) for name in os.listdir(os.path.join(REPO, "sql"))
        if re.match(r"\d{3}_", name)))]]
    wait_until(lambda: int(sqlite(server.db, "PRAGMA page_count;")[0][0]) < 600,
               20, "the file to shrink")


def dump(server, path):
    with open(path, "w", encoding="utf-8") as out:
        subprocess.run(["sqlite3", server.db, ".dump"], stdout=out,
                       check=True, timeout=60)


@pytest.mark.parametrize("lost", [
    "", "PRAGMA application_id = 1129270612;", "PRAGMA user_version = 3;"])
@pytest.mark.parametrize("search", ["off", "on"])
def test_477_02_restored_dump(make_server, lost, search):
    """A .dump does not contain the mark that identifies the module's databases.
    The log names the two PRAGMAs that restore the mark, and they work."""
    server = make_server(start=False, conf="CometSearch %s\n" % search)
    make_database(server)
    text = os.path.join(server.root, "dump.sql")
    dump(server, text)
    os.unlink(server.db)
    with open(text, encoding="utf-8") as lines:
        sqlite(server.db, lines.read() + lost)
    hand_over(server)
    server.start()
    wait_until(lambda: "PRAGMA" in server.error_log(), 5, "the advice")
    assert try_post(server).status == 503
    found = re.search(r"PRAGMA application_id = \d+; PRAGMA user_version = "
                      r"\d+;?", server.error_log())
    assert found, server.tail()
    sqlite(server.db, found.group())
    wait_until(lambda: try_post(server, "again").status == 201, 10,
               "the store to work")
    assert server.rows("chat") == ["first", "again"]


def test_477_03_another_programs_database(make_server):
    """No PRAGMA is proposed for the database of another program."""
    server = make_server(start=False)
    sqlite(server.db, "CREATE TABLE message_log(x);")
    hand_over(server)
    server.start()
    assert try_post(server).status == 503
    assert "belongs to another program" in server.error_log()
    assert "PRAGMA" not in server.error_log()
