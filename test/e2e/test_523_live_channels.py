# SPDX-License-Identifier: Apache-2.0
"""WebSockets whose clients add and remove channels, for each way in which such
a WebSocket waits."""

import random

import pytest

from http_client import Closed
from httpd_env import sqlite, sql_text, wait_until
from members import MODULES, NAMES, await_online, named
from socket_client import TEXT, Socket, frame
from stream_client import post

CONF = """
CometTransports all websocket
CometMulti on
CometReplay 3
CometAdopt on
<Location "/comet/one">
  CometMulti off
</Location>
<Location "/comet/closed">
  Require all denied
</Location>
<Location "/comet/mute">
  CometPublish off
</Location>
<Location "/comet/few">
  CometLimitChannels 3
</Location>
<Location "/comet/short">
  CometMaxLifetime 1s
</Location>
""" + NAMES.replace('"/comet"', '"/comet/here"')
SERVER = {"conf": CONF, "tls": True, "modules": MODULES}


@pytest.fixture(params=["parked", "parked-tls", "blocked"])
def way(request):
    """Return, for each way of waiting, a server and the arguments of Socket
    that lead to it."""
    if request.param == "blocked":
        return request.getfixturevalue("thread_server"), {}
    return (request.getfixturevalue("shared_server"),
            {"tls": request.param == "parked-tls"})


class Live(Socket):
    """A WebSocket with live=1, which collects its messages."""

    def __init__(self, server, target, headers=None, **raw):
        target += ("&" if "?" in target else "?") + "live=1"
        super().__init__(server, target, headers, **raw)
        self.messages = []

    def answer(self, ref):
        """Read until the answer with this ref. Collect the messages before
        it."""
        while True:
            got = self.hear()
            if "ref" in got:
                assert got["ref"] == ref, (got, ref)
                return got
            self.messages.append(got)

    def change(self, ref="r", **members):
        self.say(dict(members, ref=ref))
        return self.answer(ref)

    def until(self, body):
        """Read until a message has this body."""
        while not self.messages or self.messages[-1]["body"] != body:
            got = self.hear()
            assert "ref" not in got, got
            self.messages.append(got)

    def bodies(self):
        return [message["body"] for message in self.messages]


def names(*numbers):
    return ["b%d" % n for n in numbers]


def test_523_01_subscribe_and_unsubscribe(way):
    """After a subscribe, the new channel's messages since `since` come before
    the answer. Then both channels are read in order.  After an unsubscribe no
    messages of that channel come."""
    server, how = way
    base = "s%d%s" % (server.port, how.get("tls"))
    one, two = base + "/1", base + "/2"
    stamps = [post(server, (two, one)[n % 2], "b%d" % n) for n in range(10)]
    with Live(server, "/comet/%s?since=%d" % (one, stamps[9]), **how) as s:
        assert s.opened() == stamps[9]
        # If `since` is before the stream's cursor, the missed messages come
        # first.
        assert s.change(subscribe=[two], since=stamps[2]) == {
            "subscribed": stamps[9], "ref": "r"}
        assert s.bodies() == names(4, 6, 8)
        post(server, two, "x")
        post(server, one, "y")
        s.until("y")
        assert s.bodies()[3:] == ["x", "y"]
        # The stream already reads `two`, so no message comes twice.
        assert list(s.change(subscribe=[two, one], since=0)) == [
            "subscribed", "ref"]
        assert s.change(unsubscribe=[one])["ref"] == "r"
        post(server, one, "silent")
        post(server, two, "z")
        s.until("z")
        assert s.bodies()[5:] == ["z"]
        # Without `since` the last CometReplay messages of the channel come.
        s.change(subscribe=[one])
        assert s.bodies()[6:] == ["b9", "y", "silent"]
    # If `since` is after the stream's cursor, the stream catches up first.
    with Live(server, "/comet/%s/0?since=%d" % (base, stamps[0]), **how) as s:
        assert s.opened() == stamps[0]
        assert s.change(subscribe=[two], since=stamps[6])["subscribed"] \
            == stamps[6]
        s.until("z")
        assert s.bodies() == ["b8", "x", "z"]


def test_523_02_no_message_is_lost_doubled_or_reordered(way):
    """Channels are added and removed at random, even several at once, while
    others publish.  Between two answers a client gets exactly the messages
    between their cursors."""
    server, how = way
    dice = random.Random(523)
    base = "r%d%s/" % (server.port, how.get("tls"))
    channels = [base + name for name in "abcdef"]
    stamps = [0]
    # for each channel: the cursors from which and up to which it is read
    since, ends = {channels[0]: 0}, {}
    got, expected = [], []
    with Live(server, "/comet/%s?since=0" % channels[0], **how) as s:
        s.opened()
        for turn in range(30):
            for _ in range(dice.randrange(8)):
                stamps.append(post(server, dice.choice(channels),
                                   "x" * dice.choice((1, 10, 40000))))
            wishes = []
            for name in dice.sample(channels[1:], dice.randrange(1, 4)):
                ref = len(wishes)
                if name in since:
                    s.say({"unsubscribe": [name], "ref": ref})
                    wishes.append((name, None))
                    ends[name] = since.pop(name)
                else:
                    cursor = dice.choice(stamps[-12:])
                    s.say({"subscribe": [name], "since": cursor, "ref": ref})
                    wishes.append((name, cursor))
                    since[name] = cursor
            for ref, (name, cursor) in enumerate(wishes):
                answer = s.answer(ref)
                if cursor is None:
                    expected.append((name, ends[name], answer["unsubscribed"]))
                else:
                    assert answer["subscribed"] >= cursor, turn
        last = post(server, channels[0], "last")
        s.until("last")
        got = [(m["channel"], m["timestamp"]) for m in s.messages]
    expected += [(name, cursor, last) for name, cursor in since.items()]
    rows = []
    for name, first, end in expected:
        rows += [(name, int(row[0])) for row in sqlite(
            server.db, "SELECT timestamp FROM message WHERE channel=%s AND "
            "timestamp>%d AND timestamp<=%d" % (sql_text(name), first, end))]
    assert sorted(got) == sorted(rows)


def test_523_03_order_after_the_answer(way):
    """Missed messages come before the answer.  After the answer all messages
    come in the order of their timestamps."""
    server, how = way
    base = "o%d%s/" % (server.port, how.get("tls"))
    sqlite(server.db, "".join(
        "INSERT INTO message(channel, body) VALUES(%s, '%d');"
        % (sql_text(base + "ab"[n % 2]), n) for n in range(300)))
    with Live(server, "/comet/%sa?since=0" % base, **how) as s:
        s.opened()
        cursor = s.change(subscribe=[base + "b"], since=0)["subscribed"]
        before = len(s.messages)
        post(server, base + "b", "end")
        s.until("end")
        stamps = [m["timestamp"] for m in s.messages]
        assert max(stamps[:before] + [0]) <= cursor < min(stamps[before:])
        assert stamps[before:] == sorted(stamps[before:])
        assert sorted(s.bodies(), key=lambda b: int(b) if b != "end" else 300) \
            == ["%d" % n for n in range(300)] + ["end"]


REFUSED = (
    ({"subscribe": ["closed/x"]}, 403, "\"closed/x\" may not be read"),
    ({"subscribe": ["q/free", "closed/x"]}, 403, "may not be read"),
    ({"subscribe": ["a//b"]}, 400, "channel:"),
    ({"subscribe": []}, 400, "expected a list"),
    ({"subscribe": "q"}, 400, "expected a list"),
    ({"subscribe": [1]}, 400, "expected a text"),
    ({"subscribe": ["q"], "since": "-1"}, 400, "since must"),
    ({"subscribe": ["q"], "since": 1.5}, 400, "since:"),
    ({"subscribe": ["q"], "x": 1}, 400, "unknown member"),
    ({"subscribe": ["q"], "unsubscribe": ["q"]}, 400, "more than one of"),
    ({"unsubscribe": ["q/own"]}, 400, "at least one channel"),
    ({"unsubscribe": ["q"], "since": 1}, 400, "unknown member"),
)


def test_523_04_channels_are_judged(way):
    """A channel that is added needs the same permission as in a URL, and so
    does each channel that a wildcard matches.  A refusal changes nothing."""
    server, how = way
    post(server, "q/free", "old")
    with Live(server, "/comet/q/own", **how) as s:
        s.hear()
        for command, status, part in REFUSED:
            answer = s.change(**command)
            assert answer["status"] == status, (command, answer)
            assert part in answer["error"], (command, answer)
        s.change(subscribe=["mute/x"])
        s.change(subscribe=["q/new"])
        for name, status in (("q/own", None), ("q/new", None), ("mute/x", 403),
                             ("q/free", 403)):
            s.say({"publish": {"body": "p", "channel": name}, "ref": name})
            assert s.answer(name).get("status") == status, name
        s.change(unsubscribe=["q/new"])
        s.say({"publish": {"body": "p", "channel": "q/new"}, "ref": 1})
        assert s.answer(1)["status"] == 403
    with Live(server, "/comet/few/1?channel=few/2", **how) as s:
        s.hear()
        assert s.change(subscribe=["few/3", "few/2"]).get("status") is None
        assert s.change(subscribe=["few/4"])["status"] == 429
    with Live(server, "/comet/one/x", **how) as s:
        s.hear()
        answer = s.change(subscribe=["one/y"])
        assert answer["status"] == 403 and "CometMulti" in answer["error"]


def test_523_05_where_a_websocket_is_adopted(server, thread_server):
    """On a WebSocket that the hub has adopted, a subscribe is refused.  The
    answer says how channels can be changed."""
    for httpd, query in ((server, "?live=0"), (thread_server, "")):
        with Socket(httpd, "/comet/a" + query) as s:
            s.hear()
            wait_until(lambda: httpd.status()["adopted"] == 1)
            s.say({"subscribe": ["b"], "ref": 1})
            answer = s.hear()
            assert answer["status"] == 403 and "live=1" in answer["error"]
    answer = server.get("/comet/a?live=2")
    assert answer.status == 400 and "live must" in answer.json()["error"]


def test_523_06_wildcards(way):
    """A wildcard matches the channels that exist.  If it matches a new channel
    later, the WebSocket is closed, and the client must return.  If the wildcard
    is removed, a channel that was also added by name stays."""
    server, how = way
    base = "w%d%s/" % (server.port, how.get("tls"))
    for name in "abc":
        post(server, base + name, name)
    with Live(server, "/comet/" + base + "x", **how) as s:
        s.opened()
        s.change(subscribe=[base + "a"], since=0)
        s.change(subscribe=[base + "*"], since=0)
        assert sorted(s.bodies()) == ["a", "b", "c"]
        s.change(unsubscribe=[base + "*"])
        for name in "bca":
            post(server, base + name, name * 2)
        s.until("aa")
        assert s.bodies()[3:] == ["aa"]
        s.change(subscribe=[base + "*"], since=s.messages[-1]["timestamp"])
        post(server, base + "new", "?")
        with pytest.raises(Closed):
            s.until("?")
        assert s.code == 1001 and s.reason.startswith("retry=")


def test_523_07_gaps(way):
    """The answer to a subscribe reports a gap if retention has removed messages
    after `since`."""
    server, how = way
    channel = "g%d%s" % (server.port, how.get("tls"))
    first = post(server, channel, "1")
    floor = post(server, channel, "2")
    post(server, channel, "3")
    sqlite(server.db, "DELETE FROM message WHERE timestamp<=%d AND channel=%s;"
           "UPDATE channel SET floor=%d WHERE name=%s"
           % (floor, sql_text(channel), floor, sql_text(channel)))
    with Live(server, "/comet/gap/x", **how) as s:
        s.opened()
        answer = s.change(subscribe=[channel], since=first)
        assert answer["gap"] == {"since": first, "floor": floor}
        assert s.bodies() == ["3"]


def test_523_08_presence_and_lifetime(server):
    """A client that adds a channel is present in it.  The shortest lifetime of
    all its channels applies."""
    base = "here/x"
    with Live(server, "/comet/here/own", named("ann")) as s:
        s.hear()
        s.change(subscribe=[base + "1"])
        s.change(subscribe=[base + "2"])
        for name in (base + "1", base + "2", "here/own"):
            await_online(server, name, "ann")
        s.change(unsubscribe=[base + "1"])
        await_online(server, base + "1")
        await_online(server, base + "2", "ann")
        s.change(subscribe=["short/x"])
        while s.code is None:
            s.frame()
        assert s.code == 1001
    await_online(server, base + "2")
    await_online(server, "here/own")


def test_523_09_many_changes_at_once(way):
    """If changes come faster than they can be made, each is made in order, or
    refused with a time to return."""
    server, how = way
    base = "m%d%s/" % (server.port, how.get("tls"))
    with Live(server, "/comet/%s0" % base, **how) as s:
        s.opened()
        s.send(b"".join(
            frame(TEXT, '{"subscribe": ["%s%d"], "ref": %d}'
                  % (base, n % 5, n)) for n in range(200)))
        made, refs = [], set()
        while len(refs) < 200:
            answer = s.hear()
            refs.add(answer["ref"])
            if "subscribed" in answer:
                made.append(answer["ref"])
            else:
                assert (answer["status"], answer["retry"]) == (429, 1), answer
        assert refs == set(range(200))
        assert made == sorted(made) and made[0] == 0
        assert s.change(subscribe=[base + "*"])["ref"] == "r"
