# SPDX-License-Identifier: Apache-2.0
"""How open pages learn of deleted messages, and what moderators may do."""

import json

from httpd_env import wait_until
from members import (MODULES, NAMES, await_online, enter, named, told)
from socket_client import Socket
from stream_client import Stream

SERVER = {"conf": NAMES + """
CometDeletions on
CometRetain count=5
CometEndpoint /moderate
<Location "/comet">
  CometTransports poll events websocket
</Location>
<Location "/moderate">
  AuthType Basic
  AuthName "names"
  AuthBasicProvider anon
  Anonymous "*"
  Anonymous_MustGiveEmail off
  Anonymous_VerifyEmail off
  Require user mod
  CometModerate on
</Location>
""", "modules": MODULES}

STORES = ("sqlite", "postgresql")

TEXT = {"Content-Type": "text/plain"}


def say(server, channel, text, name="ann", query=""):
    answer = server.request("POST", "/comet/%s%s" % (channel, query),
                            text.encode(), named(name, **TEXT))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def moderate(server, target, name="mod", **headers):
    return server.request("POST", target, b"", named(name, **headers))


def until_notice(stream):
    """Read up to the next notice; return the deleted message's timestamp."""
    while True:
        for event in stream.events:
            if event["type"] == "@deleted":
                return int(event["data"])
        assert stream.step()


def history(server, channel):
    answer = server.get("/comet/%s?since=0&wait=0" % channel, named("ann"))
    return [(m["type"], m["body"]) for m in answer.json()["messages"]]


def test_655_01_open_pages_are_told(server):
    """If another program deletes a message, open pages and pages that return
    are told of it in order.  A new page does not see the message."""
    first, second = [say(server, "room", text) for text in ("1", "2")]
    with Stream(server, "/comet/room?since=%d" % first, named("bob")) as stream:
        stream.until(1)
        server.sql("DELETE FROM message WHERE timestamp = %d" % second)
        assert until_notice(stream) == second
        say(server, "room", "3")
        assert stream.until(3)[2] == "3"
    answer = server.get("/comet/room?since=%d" % second, named("bob")).json()
    assert [(m["type"], m["body"], m["author"]) for m in answer["messages"]] \
        == [("@deleted", str(second), None), ("message", "3", "ann")]
    assert answer["gap"] is False
    assert history(server, "room") == [
        ("message", "1"), ("@deleted", str(second)), ("message", "3")]


def test_655_02_retention_tells_nobody(server):
    """Clients are not told when retention removes a message, or when a passing
    message or a message about members is deleted."""
    for i in range(9):
        say(server, "much", str(i))
    say(server, "much", "", query="?type=typing&keep=60")
    server.sql("DELETE FROM message WHERE keep > 0 AND channel = 'much'")
    with enter(server, "much", "cy"):
        await_online(server, "much", "cy")
    server.sql("DELETE FROM message WHERE channel = 'much/@online'")
    wait_until(lambda: history(server, "much")[0][1] == "4", 20, "retention")
    assert [kind for kind, _ in history(server, "much")] == ["message"] * 5
    assert not any("@deleted" in row for row in told(server, "much"))


def test_655_03_moderators_delete(server):
    """If a moderator deletes a message, its edits are deleted, too.  All other
    messages stay."""
    target = say(server, "talk", "rude")
    other = say(server, "talk", "kind")
    for of in (target, other, target):
        say(server, "talk", json.dumps({"of": of, "body": "edited"}),
            query="?type=edit")
    say(server, "talk", "no JSON", query="?type=edit")
    with Stream(server, "/comet/talk", named("bob")) as stream:
        stream.until(6)
        answer = moderate(server, "/moderate/talk?delete=%d" % target)
        assert answer.status == 204 and not answer.body
        stream.until(9)
        assert int(stream.events[6]["data"]) == target
    kept = [(kind, body) for kind, body in history(server, "talk")
            if kind != "@deleted"]
    assert kept == [("message", "kind"),
                    ("edit", json.dumps({"of": other, "body": "edited"})),
                    ("edit", "no JSON")]
    assert moderate(server, "/moderate/talk?delete=%d" % target).status == 404
    # A moderator deletes only in the channel of the URL.
    assert moderate(server, "/moderate/room?delete=%d" % other).status == 404


def test_655_04_moderators_throw_out(server):
    with enter(server, "hall", "dan") as stream:
        await_online(server, "hall", "dan")
        assert moderate(server, "/moderate/hall/@online?remove=dan").status \
            == 204
        stream.until_end()
        wait_until(lambda: "leave dan" in told(server, "hall"), 8, "the leave")
    assert moderate(server, "/moderate/hall/@online?remove=nobody").status \
        == 404
    assert moderate(server, "/moderate/hall?remove=dan").status == 400


def test_655_05_nobody_else(server):
    """A deletion is refused if moderation is off, if the client may not publish
    to the channel, if another site sends it, or without a valid timestamp."""
    target = say(server, "safe", "x")
    query = "?delete=%d" % target
    assert moderate(server, "/comet/safe" + query).status == 403
    assert moderate(server, "/moderate/safe" + query, "ann").status == 401
    assert moderate(server, "/moderate/safe" + query,
                    **{"Sec-Fetch-Site": "cross-site"}).status == 403
    for wrong in ("", "0", "-1", "x"):
        assert moderate(server, "/moderate/safe?delete=" + wrong).status == 400
    assert moderate(server, "/moderate" + query).status == 400
    assert history(server, "safe") == [("message", "x")]


def test_655_06_notices_cannot_be_forged(server):
    for target, body, media in (
            ("/comet/safe?type=@deleted", "1", "text/plain"),
            ("/comet/safe", "msg=1&type=@deleted",
             "application/x-www-form-urlencoded"),
            ("/comet/safe", '{"body": "1", "type": "@deleted"}',
             "application/x-ndjson")):
        answer = server.request("POST", target, body.encode(),
                                named("ann", **{"Content-Type": media}))
        assert answer.status == 400
        assert "must not begin with @" in answer.json()["error"]
    with Socket(server, "/comet/safe?transport=websocket",
                named("ann")) as ws:
        ws.publish("1", ref=1, type="@deleted")
        while "ref" not in (got := ws.hear()):
            pass
        assert got["status"] == 400
