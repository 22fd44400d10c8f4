# SPDX-License-Identifier: Apache-2.0
"""Which messages are accepted.  An empty message is accepted.  A message that
is still encoded, or has one of the server's own types, is refused.  A refusal
says what to send instead."""

import gzip
import os
import zlib

import pytest

from httpd_env import REPO, sqlite, wait_until
from stream_client import Stream

FORM = "application/x-www-form-urlencoded"

SERVER = {"conf": """
<Location "/comet/inflate">
  SetInputFilter DEFLATE
</Location>
CometSearch on
"""}


def post(server, channel, body, ctype="text/plain", **headers):
    return server.request("POST", "/comet/" + channel, body, dict(
        {"Content-Type": ctype}, **headers))


def message_of(answer, status):
    assert answer.status == status, answer
    return answer.json()["error"]


# --- an empty message -------------------------------------------------------


@pytest.mark.parametrize("body, ctype", [
    (b"", "text/plain"), (b"", None), (b"msg=", FORM), (b"msg", FORM),
    (b"", FORM), (b"", "text/plain; charset=utf8"),
    (b'{"body": ""}\n', "application/x-ndjson")])
def test_482_01_empty(server, body, ctype):
    """An empty message is stored, is in the history and is pushed, like any
    other."""
    headers = {"Content-Type": ctype} if ctype else {}
    with Stream(server, "/comet/empty?since=0") as stream:
        server.wait_waiting(1, "events")
        before = len(server.rows("empty"))
        answer = server.request("POST", "/comet/empty?type=ping", body, headers)
        assert answer.status == 201, answer
        assert stream.until(before + 1)[-1] == ""
        assert stream.events[-1]["type"] == "ping"
    got = server.history("empty")[-1]
    assert (got["type"], got["body"]) == ("ping", "")
    assert server.rows("empty")[-1] == ""


def test_482_02_empty_by_sql(server):
    """Another program may store an empty message, even with a search index."""
    sqlite(server.db, "INSERT INTO message(channel, body) VALUES('sql', '')")
    assert server.history("sql")[0]["body"] == ""
    sqlite(server.db, "DELETE FROM message WHERE channel = 'sql'")
    assert server.history("sql") == []


# --- a body that is still encoded -------------------------------------------


@pytest.mark.parametrize("coding", [
    "gzip", "x-gzip", "br", "deflate", "zstd", "aws-chunked", "identity, br",
    "GZIP"])
@pytest.mark.parametrize("ctype", ["text/plain", FORM, "application/x-ndjson"])
def test_482_03_encoded(server, coding, ctype):
    """A body that is still encoded is refused, and is not stored as text."""
    answer = post(server, "encoded", b"msg=x", ctype,
                  **{"Content-Encoding": coding})
    assert coding in message_of(answer, 415)
    assert answer.header("accept-encoding") == "identity"
    assert server.rows("encoded") == []


def test_482_04_identity(server):
    """Content-Encoding: identity is accepted."""
    assert post(server, "identity", b"x", **{
        "Content-Encoding": "identity"}).status == 201


def test_482_05_decoded(server):
    """A body that mod_deflate decodes is stored decoded.  If mod_deflate cannot
    decode it, the body is refused."""
    text = b"hello " * 100
    assert post(server, "inflate", gzip.compress(text), **{
        "Content-Encoding": "gzip"}).status == 201
    assert server.rows("inflate") == [text.decode()]
    answer = post(server, "inflate", zlib.compress(text), **{
        "Content-Encoding": "deflate"})
    assert "deflate" in message_of(answer, 415)
    assert len(server.rows("inflate")) == 1


# --- what to send instead ---------------------------------------------------


@pytest.mark.parametrize("body, ctype, status, words", [
    (b"x", "multipart/form-data; boundary=x", 415, ("multipart", FORM)),
    (b"x", "multipart/mixed; boundary=x", 415, ("multipart", "text/plain")),
    (b'{"a":1}', FORM, 400, ("msg", "application/json")),
    (b' [1, "a=b"]', FORM, 400, ("msg", "application/json")),
    (b"text=x", FORM, 400, ("msg=", "text/plain")),
    (b"x", "text/plain; charset=latin1", 415, ("charset", "UTF-8")),
    (b"x", "image/png", 415, ("text/*", "application/json"))])
def test_482_06_told_what_to_send(server, body, ctype, status, words):
    """A refusal names what was sent, or what would be accepted."""
    said = message_of(post(server, "told", body, ctype), status)
    assert all(word in said for word in words), said


# --- the server's own type --------------------------------------------------


def test_482_07_type_by_sql(server):
    """The database refuses the types that HTTP refuses, both in its view and in
    its table."""
    for sql in ("INSERT INTO message(channel, type, body) "
                "VALUES('c', 'gap', 'x')",
                "INSERT INTO channel(name) VALUES('c'); "
                "INSERT INTO message_log(id, channel_id, type, body) "
                "SELECT 1, id, 'gap', 'x' FROM channel WHERE name = 'c'"):
        code, said = sqlite(server.db, sql, check=False)
        assert code != 0 and "the server's own word" in said, (code, said)
    assert server.rows("c") == []
    assert "the type gap is reserved" in message_of(
        post(server, "c?type=gap", b"x"), 400)


def test_482_08_old_database(make_server):
    """A migrated database of each older version accepts and refuses the same
    messages."""
    files = sorted(name for name in os.listdir(os.path.join(REPO, "sql"))
                   if name[0].isdigit())
    for last in files[:-1]:
        server = make_server(start=False)
        for name in files:
            if name <= last:
                with open(os.path.join(REPO, "sql", name),
                          encoding="utf-8") as text:
                    sqlite(server.db, text.read())
        sqlite(server.db,
               "INSERT INTO message(channel, body) VALUES('chat', 'old')")
        for end in ("", "-wal", "-shm"):
            if os.path.exists(server.db + end):
                os.chmod(server.db + end, 0o666)
        server.start()
        wait_until(lambda: sqlite(server.db, "PRAGMA user_version")
                   == [[str(len(files))]], 5, "the migration")
        assert post(server, "chat", b"").status == 201
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('chat', '')")
        assert server.rows("chat") == ["old", "", ""]
        assert sqlite(server.db, "INSERT INTO message(channel, type, body) "
                      "VALUES('chat', 'gap', '')", check=False)[0] != 0
        assert sqlite(server.db, "PRAGMA integrity_check") == [["ok"]]
