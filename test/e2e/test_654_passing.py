# SPDX-License-Identifier: Apache-2.0
"""Passing messages (keep=), published in every way.  Nobody can read one after
it has expired."""

import json

from httpd_env import wait_until
from socket_client import Socket
from stream_client import Stream, post

SERVER = {"conf": """
CometSearch on
<Location "/comet">
  CometMulti on
  CometReplay 2
  CometTransports poll events websocket
</Location>
"""}

STORES = ("sqlite", "postgresql")

LONG = 60       # seconds: longer than a test


def send(server, target, body, media):
    return server.request("POST", target, body.encode(),
                          {"Content-Type": media})


def read(server, channel, query):
    answer = server.get("/comet/%s?%s" % (channel, query))
    assert answer.status == 200, answer
    return answer.json()


def bodies(server, channel, query="since=0&wait=0"):
    return [m["body"] for m in read(server, channel, query)["messages"]]


def test_654_01_every_way_to_publish(server):
    """A passing message is pushed in its order among the others, and says how
    long it is kept, in whichever way it was published."""
    with Stream(server, "/comet/ways?since=0&format=json") as stream, \
            Socket(server, "/comet/ways?since=0&transport=websocket") as ws:
        ws.opened()
        post(server, "ways", "first")
        post(server, "ways", "query", type="typing", keep="60s")
        assert send(server, "/comet/ways", "msg=form&keep=1min",
                    "application/x-www-form-urlencoded").status == 201
        lines = '{"body": "line", "keep": 61}\n{"body": "other line"}'
        assert send(server, "/comet/ways?keep=1h", lines,
                    "application/x-ndjson").status == 201
        ws.publish("frame", ref=1, keep="2min", type="typing")
        wait_until(lambda: "frame" in bodies(server, "ways"))
        server.sql("INSERT INTO message(channel, body, keep)"
                   " VALUES('ways', 'row', 62)")
        wait_until(lambda: "row" in bodies(server, "ways"))
        post(server, "ways", "last")
        messages = [json.loads(data) for data in stream.until(8)]
        assert [(m["body"], m.get("keep")) for m in messages] == [
            ("first", None), ("query", 60), ("form", 60), ("line", 61),
            ("other line", 3600), ("frame", 120), ("row", 62), ("last", None)]
        heard = []
        while not heard or heard[-1]["body"] != "last":
            got = ws.hear()
            if "ref" not in got:
                heard.append(got)
        assert heard == messages
    assert read(server, "ways", "since=0&wait=0")["messages"] == messages
    # CometReplay does not count passing messages.
    assert bodies(server, "ways", "wait=0") == [
        "first", "query", "form", "line", "other line", "frame", "row", "last"]
    assert bodies(server, "ways", "q=row") == []


def test_654_02_over(server):
    """A message that has expired is in no answer, neither from memory nor from
    the file, and nobody is told of a gap."""
    start = post(server, "over", "before")
    end = post(server, "over", "passes", keep="1")
    after = post(server, "over", "after")
    post(server, "over", "stays", keep=str(LONG))
    for query in ("since=%d&wait=0" % (start - 1), "since=0&wait=0",
                  "before=%d" % (after + 10), "wait=0",
                  "channel=none&since=%d&wait=0" % (start - 1)):
        wait_until(lambda query=query: "passes" not in
                   bodies(server, "over", query), 8, query)
    # One cursor is just before the message, the other is the message's own.
    for since in (end - 1, end):
        answer = read(server, "over", "since=%d&wait=5" % since)
        assert [m["body"] for m in answer["messages"]] == ["after", "stays"]
        assert answer["gap"] is False
    with Stream(server, "/comet/over?since=%d" % start) as stream:
        assert stream.until(2) == ["after", "stays"]
        assert b"event: gap" not in stream.bytes
    assert server.sql("SELECT body FROM message WHERE channel = 'over'"
                      " AND body <> 'stays' ORDER BY timestamp") \
        == [["before"], ["after"]]


def test_654_03_a_channel_of_its_own(server):
    """A new channel may have only a passing message.  The stream of a wildcard
    that matches it ends, and its client returns to be authorised for the
    channel.  The new stream stays open for the channel's further messages."""
    start = post(server, "some/room", "x")
    with Stream(server, "/comet?channel=some/*&since=%d" % start) as stream:
        post(server, "some/new", "typing", keep=str(LONG))
        stream.until_end()      # the client must be authorised again
    with Stream(server, "/comet?channel=some/*&since=%d" % start) as stream:
        stream.until(1)
        post(server, "some/new", "typed")
        assert [json.loads(d)["body"] for d in stream.until(2)] \
            == ["typing", "typed"]


# For each engine: SQL that makes a message expire, SQL that counts erased
# messages, and SQL that finds the message's row.
OVER = {
    False: ("""BEGIN; DROP TRIGGER message_log_update;
        UPDATE message_log SET expires = 1
        WHERE channel_id = (SELECT id FROM channel WHERE name = 'gone');
        UPDATE message_passing SET expires = 1 WHERE message =
        (SELECT id FROM message_log WHERE expires = 1); COMMIT""",
            "SELECT erased FROM comet_clock",
            "SELECT 1 FROM channel WHERE name = 'gone'"),
    True: ("""BEGIN; ALTER TABLE log DISABLE TRIGGER message_log_update;
        UPDATE log SET expires = 1 WHERE channel = 'gone';
        ALTER TABLE log ENABLE TRIGGER message_log_update; COMMIT""",
           "SELECT erased FROM clock",
           "SELECT 1 FROM log WHERE channel = 'gone'")}


def test_654_04_upkeep_removes_it(server):
    """A message that has expired leaves no row behind.  Its removal does not
    count as an erasure, which would make each child read the log again."""
    make, erased, row = OVER[server.database is not None]
    last = post(server, "gone", "x", keep=str(LONG))
    before = server.sql(erased)
    server.sql(make)
    wait_until(lambda: not server.sql(row), 20, "upkeep")
    assert server.sql(erased) == before
    assert post(server, "gone", "y") > last


def test_654_05_wrong(server):
    """An invalid `keep` is refused in each way of publishing."""
    for keep in ("", "0", "25h", "5x", "-1"):
        answer = send(server, "/comet/wrong?keep=" + keep, "x", "text/plain")
        assert answer.status == 400
        assert answer.json()["error"] == \
            "keep: expected a time from 1s to 24h, such as 5s or 10min"
    assert send(server, "/comet/wrong", "msg=x&keep=no",
                "application/x-www-form-urlencoded").status == 400
    answer = send(server, "/comet/wrong", '{"body": "x", "keep": 0}',
                  "application/x-ndjson")
    assert answer.status == 400 and "keep: expected" in answer.json()["error"]
    with Socket(server, "/comet/wrong?transport=websocket") as ws:
        ws.opened()
        ws.publish("x", ref=1, keep=90000)
        assert ws.hear()["status"] == 400
    assert bodies(server, "wrong") == []
