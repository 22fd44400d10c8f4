# SPDX-License-Identifier: Apache-2.0
"""Read marks, the numbers of unread messages, and what a token says about a
member."""

import html
import json
import os
import re

import tokens
import pytest

from httpd_env import sqlite, wait_until
from members import (MODULES, NAMES, await_online, enter, named, snapshot,
                     told)
from stream_client import Stream

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

tokens.write("presence", tokens.SECRET)

STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))

SERVER = {"conf": NAMES + """
<Location "/comet/token">
  CometTokenKey HS256 %s
  Require comet-token
</Location>
<Location "/comet/readers">
  <RequireAll>
    Require valid-user
    Require comet-publish user ann
  </RequireAll>
</Location>
<Location "/comet/off">
  CometPresence off
</Location>
<Location "/comet/open">
  Require all granted
</Location>
<Location "/comet/counted">
  CometPresence count
</Location>
""" % tokens.path("presence"), "modules": MODULES}

TEXT = {"Content-Type": "text/plain"}


def say(server, channel, text="x", name="ann"):
    answer = server.request("POST", "/comet/" + channel, text.encode(),
                            named(name, **TEXT))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def mark(server, channel, name, timestamp, **headers):
    return server.request("POST", "/comet/%s?read=%s" % (channel, timestamp),
                          b"", named(name, **headers)).status


def unread(server, channel, name):
    answer = server.get("/comet/%s?unread" % channel, named(name))
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()["unread"]


def test_652_01_read_and_unread(server):
    """A read mark only moves forwards, and the messages after it are unread."""
    times = [say(server, "room") for _ in range(5)]
    assert unread(server, "room", "bob") == 5
    assert mark(server, "room", "bob", times[2]) == 204
    wait_until(lambda: unread(server, "room", "bob") == 2, 8, "the mark")
    assert mark(server, "room", "bob", times[0]) == 204
    assert mark(server, "room", "cy", times[0]) == 204
    wait_until(lambda: unread(server, "room", "cy") == 4, 8, "the other mark")
    assert unread(server, "room", "bob") == 2
    sqlite(server.db, "DELETE FROM message WHERE timestamp = %d" % times[4])
    assert unread(server, "room", "bob") == 1
    assert sqlite(server.db, "SELECT member, online, read_at, unread FROM member"
                  " WHERE channel = 'room' ORDER BY member") == [
        ["bob", "0", str(times[2]), "1"], ["cy", "0", str(times[0]), "3"]]
    for _ in range(130):
        say(server, "many")
    assert unread(server, "many", "bob") == 100     # (it counts up to 100)


def test_652_02_marks_are_published(server):
    """The members who are present are told once how far a member has read."""
    with enter(server, "told", "ann"), enter(server, "told", "bob"):
        await_online(server, "told", "ann", "bob")
        time = say(server, "told")
        for _ in range(5):
            assert mark(server, "told", "bob", time) == 204
        wait_until(lambda: told(server, "told")[-1:] == ["read bob"], 8,
                   "the mark")
        body = sqlite(server.db, "SELECT body FROM message WHERE type = 'read'"
                      " AND channel = 'told/@online'")
        assert [json.loads(row[0]) for row in body] == [{"read": time}]
        assert sqlite(server.db, "SELECT online FROM member WHERE"
                      " channel = 'told' AND member = 'bob'") == [["1"]]
    with enter(server, "counted", "bob"):
        await_online(server, "counted", "bob")
        assert mark(server, "counted", "bob", say(server, "counted")) == 204
        wait_until(lambda: unread(server, "counted", "bob") == 0, 8, "a mark")
    assert not [t for t in told(server, "counted") if t[:4] == "read"]


def test_652_03_who_may(server):
    """A user who may read, but not publish, may set read marks.  A client that
    may not read may not set any."""
    time = say(server, "readers/1")
    assert server.request("POST", "/comet/readers/1", b"x",
                          named("bob", **TEXT)).status in (401, 403)
    assert mark(server, "readers/1", "bob", time) == 204
    for target, status in (
            ("readers/1?read=", 400), ("readers/1?read=x", 400),
            ("readers/1?read=9007199254740991", 400),
            ("readers/1/@online?read=1", 400), ("?read=1", 400),
            ("off?read=1", 403)):
        assert server.request("POST", "/comet/" + target, b"",
                              named("bob")).status == status, target
    assert server.request("POST", "/comet/open?read=1", b"").status == 403
    assert server.request("POST", "/comet/room?read=1", b"").status == 401
    assert mark(server, "room", "bob", 1,
                **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert server.get("/comet/off?unread", named("bob")).status == 403
    assert server.get("/comet/open?unread").status == 403
    wait_until(lambda: unread(server, "readers/1", "bob") == 0, 8, "the mark")


def test_652_04_last_seen(server):
    """The database shows when each member was last present, and how many
    messages the member has not read."""
    with enter(server, "seen", "ann"):
        await_online(server, "seen", "ann")
        before = say(server, "seen", name="bob")
    await_online(server, "seen")
    say(server, "seen", name="bob")
    rows = sqlite(server.db, "SELECT member, online, unread, left_at > %d,"
                  " (SELECT count(*) FROM message WHERE channel = 'seen'"
                  "  AND timestamp > left_at) FROM member"
                  " WHERE channel = 'seen'" % before)
    assert rows == [["ann", "0", "2", "1", "1"]]
    page = os.path.join(TOP, "htdocs", "manual", "index.html")
    with open(page, encoding="utf-8") as text:
        asked = re.search(r'<code id="marks-sql">(.*?)</code>', text.read())
    query = html.unescape(asked.group(1)).replace("room/42", "seen")
    assert sqlite(server.db, query) == [["ann", "2"]]


def test_652_05_info_of_a_token(server):
    """Other members are shown what a user's token says about the user
    (`info`)."""
    said = tokens.claims("ann", read=["*"])
    said["comet"]["info"] = {"colour": "blue", "n": [1, "\u00e4"]}
    bearer = tokens.bearer(tokens.sign(said))
    with Stream(server, "/comet/token/1", bearer):
        await_online(server, "token/1", "ann")
        answer = server.get("/comet/token/1/@online?members", bearer).json()
        assert json.loads(answer["members"][0]["info"]) \
            == said["comet"]["info"]
        body = sqlite(server.db, "SELECT body FROM message WHERE type = 'join'"
                      " AND channel = 'token/1/@online'")
        assert json.loads(body[0][0]) == said["comet"]["info"]
    said["comet"]["info"] = "x" * 2048
    assert server.get("/comet/token/1?wait=0", tokens.bearer(
        tokens.sign(said))).status == 401
    del said["comet"]["info"]
    assert server.get("/comet/token/1?wait=0", tokens.bearer(
        tokens.sign(said))).status == 200
    assert snapshot(server, "room")["count"] == 0


def test_652_06_names_that_cannot_be_stored(server):
    """A user whose name is too long for the database counts as one without a
    name: the user is told so, and not to try again."""
    long = "u" * 256
    answer = server.request("POST", "/comet/room?read=0", b"", named(long))
    assert answer.status == 403 and b"255 bytes" in answer.body, answer
    with enter(server, "long", long), enter(server, "long", "u" * 255):
        await_online(server, "long", "u" * 255)
        wait_until(lambda: snapshot(server, "long")["anonymous"] == 1)


def test_652_07_names_that_no_store_has(server):
    """A list of members after a name that is not text gets the same answer from
    every store."""
    for name in ("%FF", "a%00b", "%ED%A0%80"):
        answer = server.get("/comet/room/@online?members&after=" + name,
                            named("ann"))
        assert answer.status == 400 and b"after" in answer.body, answer
    assert server.get("/comet/room/@online?members&after=%C3%A4",
                      named("ann")).status == 200
