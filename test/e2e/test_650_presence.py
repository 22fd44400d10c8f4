# SPDX-License-Identifier: Apache-2.0
"""Presence: the members of a channel, in whichever way they wait."""

import html
import json
import os
import re
import time

import pytest

from h2_client import H2Tls
from httpd_env import SLOW, sqlite, wait_until
from members import (MODULES, NAMES, await_online, enter, named, online,
                     snapshot, told)
from socket_client import Socket
from stream_client import Stream

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))

CONF = NAMES + """
CometPollTimeout 20s
CometClassic /comet/classic classic
<Location "/comet/open">
  Require all granted
</Location>
<Location "/comet/small">
  CometPresence on 2
</Location>
<Location "/comet/counted">
  CometPresence count
</Location>
<Location "/comet/off">
  CometPresence off
</Location>
<Location "/comet/ws">
  CometTransports websocket
</Location>
"""

STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))

SERVER = {"conf": CONF, "modules": MODULES, "children": 2}


def poll(server, target, name, **kwargs):
    """Open a poll that waits.  The caller closes it."""
    conn = server.raw(**kwargs)
    conn.request("GET", target, named(name))
    return conn


def test_650_01_join_and_leave(server):
    """A user joins as soon as the user's stream begins, and leaves once the
    grace period after its end is over."""
    with enter(server, "room/1", "ann"):
        await_online(server, "room/1", "ann")
        with enter(server, "room/1", "bob"):
            await_online(server, "room/1", "ann", "bob")
        assert online(server, "room/1") == ["ann", "bob"]
        await_online(server, "room/1", "ann")
    await_online(server, "room/1")
    assert told(server, "room/1") == ["join ann", "join bob", "leave bob",
                                      "leave ann"]
    seen = sqlite(server.db, "SELECT member FROM last_seen JOIN message"
                  " ON timestamp = left_at AND author = member"
                  " WHERE last_seen.channel = 'room/1' ORDER BY member")
    assert seen == [["ann"], ["bob"]]
    # All other rows are removed.
    wait_until(lambda: sqlite(
        server.db, "SELECT (SELECT count(*) FROM presence_row),"
        " (SELECT count(*) FROM presence_channel)") == [["0", "0"]], 8,
        "no rows")


def test_650_02_many_polls(server):
    """A user who polls many times, on both children, joins once."""
    conns = [server.raw() for _ in range(4)]
    cursor = server.request("POST", "/comet/polls", b"first",
                            named("ann", **{"Content-Type": "text/plain"}))
    since = cursor.json()["timestamp"]
    for i in range(100):
        conn = conns[i % 4]
        conn.request("GET", "/comet/polls?since=%d%s"
                     % (since, "&wait=0" if i % 10 == 9 else ""), named("ann"))
        if i % 10 != 9:
            since = server.request(
                "POST", "/comet/polls", b"x",
                named("bob", **{"Content-Type": "text/plain"})
            ).json()["timestamp"]
        assert conn.answer().status == 200
    assert told(server, "polls") == ["join ann"]
    for conn in conns:
        conn.close()
    await_online(server, "polls")
    assert told(server, "polls") == ["join ann", "leave ann"]


def test_650_03_tabs(server):
    """A user with many tabs, on both children, is one member."""
    tabs = [enter(server, "tabs", "ann") for _ in range(8)]
    await_online(server, "tabs", "ann")
    for tab in tabs[1:]:
        tab.__exit__()
    wait_until(lambda: sqlite(
        server.db, "SELECT count(*) FROM presence_row"
        " WHERE channel = 'tabs'") == [["1"]], 8, "one child's row")
    assert online(server, "tabs") == ["ann"]
    tabs[0].__exit__()
    await_online(server, "tabs")
    assert told(server, "tabs") == ["join ann", "leave ann"]


def ways(server):
    """For each way of waiting, yield a channel and a function that opens a
    client on it."""
    yield "way/events", lambda: Stream(server, "/comet/way/events",
                                       named("ann"))
    yield "way/iframe", lambda: poll(
        server, "/comet/way/iframe?transport=iframe", "ann")
    yield "way/poll", lambda: poll(server, "/comet/way/poll?since=0", "ann")
    yield "way/old", lambda: Stream(server, "/comet/way/old", named("ann"),
                                    version="1.0")
    yield "classic", lambda: poll(
        server, "/comet/classic?timestamp=9999999999", "ann")
    yield "ws/1", lambda: Socket(server, "/comet/ws/1", headers=named("ann"))


def test_650_04_every_way_counts(server):
    """A client counts as present, and can be removed, in whichever way it
    waits."""
    for channel, begin in ways(server):
        client = begin()
        await_online(server, channel, "ann")
        begun = time.monotonic()
        sqlite(server.db, "DELETE FROM online WHERE member = 'ann'")
        conn = getattr(client, "conn", client)
        try:
            if hasattr(client, "until_end"):
                client.until_end()
            elif channel in ("way/poll", "classic"):
                assert conn.answer().status == 200
            else:
                while conn.sock.recv(65536):
                    pass
        finally:
            conn.close()
        # a removal takes 1 s, and longer on a loaded machine
        assert time.monotonic() - begun < 5, channel
        assert online(server, channel) == []
        assert told(server, channel) == ["join ann", "leave ann"], channel
    rows = sqlite(server.db, "SELECT body FROM message WHERE type = 'leave'"
                  " AND channel = 'way/events/@online'")
    assert json.loads(rows[0][0]) == {"removed": True}


def test_650_05_thrown_out_and_back(server):
    """A member who was removed but may still read joins again.  The others
    stay."""
    with enter(server, "kick", "bob") as other, \
            enter(server, "kick", "ann") as first:
        await_online(server, "kick", "ann", "bob")
        sqlite(server.db, "DELETE FROM online WHERE member = 'ann'"
               " AND channel = 'kick'")
        first.until_end()
        assert b"retry:" in first.bytes
        with enter(server, "kick", "ann"):
            await_online(server, "kick", "ann", "bob")
            assert told(server, "kick")[2:] == ["leave ann", "join ann"]
            sqlite(server.db, "INSERT INTO message(channel, body)"
                   " VALUES('kick', 'still here')")
            assert other.until(1) == ["still here"]


def test_650_06_snapshot_and_stream(server):
    """A stream that begins at the timestamp of the list of members has all
    later joins and leaves."""
    with enter(server, "snap", "ann"):
        await_online(server, "snap", "ann")
        shot = snapshot(server, "snap")
        assert [m["member"] for m in shot["members"]] == ["ann"]
        assert shot["count"] == 1 and shot["anonymous"] == 0
        assert abs(shot["members"][0]["since"] / 1e6 - time.time()) < 60
        with Stream(server, "/comet/snap/@online?format=json&since=%d"
                    % shot["timestamp"], named("reader")) as stream:
            with enter(server, "snap", "bob"):
                event = json.loads(stream.until(1)[0])
                assert (event["type"], event["author"]) == ("join", "bob")
            event = json.loads(stream.until(2)[1])
            assert (event["type"], event["author"]) == ("leave", "bob")
    page = snapshot(server, "nobody")
    assert page["members"] == [] and page["count"] == 0
    for target, status in (("/comet/snap?members", 400),
                           ("/comet/off/@online?members", 403),
                           ("/comet/snap/@online?members&limit=0", 400)):
        assert server.get(target, named("ann")).status == status, target


def test_650_07_more_than_max(server):
    """If a channel has more than MAX members, only their number is published.
    The list can still be read."""
    streams = [enter(server, "small", name) for name in "abcd"]
    await_online(server, "small", *"abcd")
    wait_until(lambda: told(server, "small")[-1:] == [
        'count {"count": 4, "most": 2, "anonymous": 0}'], 8, "the number")
    assert [t for t in told(server, "small") if t[:5] == "join "] \
        == ["join " + n for n in told_names(server, "small")]
    shot = snapshot(server, "small", query="&limit=3")
    assert [m["member"] for m in shot["members"]] == ["a", "b", "c"]
    assert (shot["count"], shot["most"]) == (4, 2)
    shot = snapshot(server, "small", query="&after=c")
    assert [m["member"] for m in shot["members"]] == ["d"]
    sqlite(server.db, "DELETE FROM online WHERE member = 'd'")
    streams[3].until_end()
    for stream in streams:
        stream.__exit__()
    await_online(server, "small")
    assert len([t for t in told(server, "small") if t[:6] == "leave "]) == 2


def told_names(server, channel):
    return [t[5:] for t in told(server, channel) if t[:5] == "join "][:2]


def test_650_08_clients_without_a_name(server):
    """Clients without a name are only counted."""
    streams = [Stream(server, "/comet/open") for _ in range(3)]
    wait_until(lambda: snapshot(server, "open")["anonymous"] == 3, 8, "three")
    assert snapshot(server, "open")["count"] == 0
    wait_until(lambda: told(server, "open")[-1:] == [
        'count {"count": 0, "most": 100, "anonymous": 3}'], 8, "the number")
    for stream in streams:
        stream.__exit__()
    wait_until(lambda: snapshot(server, "open")["anonymous"] == 0, 8, "none")
    assert not [t for t in told(server, "open") if t[:5] != "count"]


def test_650_09_count_only(server):
    """With CometPresence count no names are published."""
    with enter(server, "counted", "ann"):
        await_online(server, "counted", "ann")
        shot = snapshot(server, "counted")
        assert shot["count"] == 1 and "members" not in shot
        wait_until(lambda: told(server, "counted"), 8, "the number")
        sqlite(server.db, "DELETE FROM online WHERE channel = 'counted'")
    await_online(server, "counted")
    assert not [t for t in told(server, "counted") if t[:5] != "count"]


def test_650_10_siblings_are_the_servers(server):
    """Only SQL can publish to a channel with a segment that begins with @.
    Wildcards do not match such channels."""
    text = named("ann", **{"Content-Type": "text/plain"})
    lines = named("ann", **{"Content-Type": "application/x-ndjson"})
    for channel in ("r/@online", "@all", "r/@x/y"):
        answer = server.request("POST", "/comet/" + channel, b"x", text)
        assert answer.status == 403 and b"@" in answer.body, answer
    answer = server.request(
        "POST", "/comet/r", b'{"channel": "r/@online", "body": "x"}\n', lines)
    assert answer.status == 403, answer
    assert server.request("POST", "/comet/r/a@b", b"x", text).status == 201
    sqlite(server.db, "INSERT INTO message(channel, body)"
           " VALUES('r/1/@online', 'by SQL'), ('r/1', 'said')")
    page = server.get("/comet/?channel=r/*&since=0&wait=0", named("ann"))
    assert {m["channel"] for m in page.json()["messages"]} == {"r/a@b", "r/1"}
    page = server.get("/comet/?channel=r/*&channel=r/1/@online&since=0&wait=0",
                      named("ann"))
    assert "r/1/@online" in {m["channel"] for m in page.json()["messages"]}


def test_650_11_rooms_of_one_stream(server):
    """A user is present in each channel that the stream's URL names, but not in
    channels that only a wildcard matches."""
    sqlite(server.db, "INSERT INTO message(channel, body)"
           " VALUES('m/1', 'x'), ('m/2', 'x'), ('w/1', 'x')")
    target = "/comet/m/1?channel=m/2&channel=w/*&channel=off/1"
    with Stream(server, target, named("ann")):
        await_online(server, "m/1", "ann")
        await_online(server, "m/2", "ann")
        assert sqlite(server.db, "SELECT count(*) FROM online"
                      " WHERE member = 'ann'") == [["2"]]
    await_online(server, "m/1")


def test_650_12_inserted_by_sql(server):
    """Another program can add members who are not connected to this server."""
    sqlite(server.db, "INSERT INTO online(channel, member, info)"
           " VALUES('phone', 'ann', '{\"by\": \"phone\"}')")
    await_online(server, "phone", "ann")
    shot = snapshot(server, "phone")
    assert shot["members"][0]["info"] == '{"by": "phone"}'
    with enter(server, "phone", "ann"):
        wait_until(lambda: sqlite(
            server.db, "SELECT count(*) FROM presence_row"
            " WHERE channel = 'phone'") == [["2"]], 8, "both rows")
    wait_until(lambda: sqlite(
        server.db, "SELECT count(*) FROM presence_row"
        " WHERE channel = 'phone'") == [["1"]], 8, "one row")
    assert told(server, "phone") == ["join ann"]
    sqlite(server.db, "DELETE FROM online WHERE channel = 'phone'")
    await_online(server, "phone")
    assert told(server, "phone") == ["join ann", "leave ann"]


def test_650_13_every_mpm(make_server, mpm):
    """Presence works on each MPM and over HTTP/2."""
    h2 = mpm != "prefork"
    # The default grace is long, so a removal must not wait for the next
    # renewal.
    server = make_server(conf=CONF.replace("CometPresenceGrace 2s", "")
                         + "CometParkHTTP2 on\n" * h2,
                         modules=MODULES, mpm=mpm, children=2, tls=h2, h2=h2)
    with enter(server, "room", "ann") as stream:
        await_online(server, "room", "ann")
        begun = time.monotonic()
        sqlite(server.db, "DELETE FROM online")
        stream.until_end()
        assert time.monotonic() - begun < 4 * SLOW
    if h2:
        with H2Tls(server.tls_port) as client:
            stream = client.request("GET", "/comet/h2?transport=events",
                                    named("bob"))
            await_online(server, "h2", "bob")
            begun = time.monotonic()
            sqlite(server.db, "DELETE FROM online")
            client.finish(stream, 8)
            assert time.monotonic() - begun < 4 * SLOW
        assert told(server, "h2") == ["join bob", "leave bob"]
    assert told(server, "room") == ["join ann", "leave ann"]


def test_650_14_off_costs_nothing(make_server):
    """Without CometPresence no tables are made."""
    server = make_server(conf=NAMES.replace("CometPresence on", ""),
                         modules=MODULES)
    with enter(server, "room", "ann"):
        server.wait_waiting(1)
        assert sqlite(server.db, "SELECT count(*) FROM sqlite_master"
                      " WHERE name LIKE 'presence%' OR name = 'online'") \
            == [["0"]]
        answer = server.get("/comet/room/@online?members", named("ann"))
        assert answer.status == 403 and b"CometPresence" in answer.body


WRONG = [
    ("CometPresence yes", "expected on, count or off"),
    ("CometPresence count 5", "only on takes MAX"),
    ("CometPresence on 0", "from 1 to 100000"),
    ("CometPresence on many", "from 1 to 100000"),
    ("CometPresenceGrace 10ms", "a duration from 1s to"),
]


@pytest.mark.parametrize("line,why", WRONG)
def test_650_15_errors(shared_server, line, why):
    code, text = shared_server.configtest(line)
    assert code != 0 and why in text, text


def test_650_16_the_manual(server):
    """The manual's SQL about presence works exactly as it is printed."""
    if server.database:
        pytest.skip("its functions of time are SQLite's")
    page = os.path.join(TOP, "htdocs", "manual", "index.html")
    with open(page, encoding="utf-8") as text:
        sql = re.search(r'<code id="presence-sql">(.*?)</code>', text.read(),
                        re.S).group(1)
    lines = html.unescape(sql).split("\n")
    assert len(lines) == 4, lines
    with enter(server, "room/42", "mallory") as stream:
        await_online(server, "room/42", "mallory")
        assert sqlite(server.db, lines[0])[0][0] == "mallory"
        sqlite(server.db, lines[1])
        stream.until_end()
    sqlite(server.db, lines[2])
    assert online(server, "room/42") == ["ann"]
    left = dict(sqlite(server.db, lines[3]))
    assert left["mallory"] and not left["ann"], left
    sqlite(server.db, "DELETE FROM online WHERE channel = 'room/42'")
