# SPDX-License-Identifier: Apache-2.0
"""A private update reaches only clients with a grant, whatever others try."""

import json

import pytest

import tokens
from http_client import gather, quote
from httpd_env import sqlite, wait_until
from members import MODULES, NAMES, named
from mercure import ALL, HUB, Subscriber, publish, token, url
from socket_client import Socket
from stream_client import Stream
from tokens import bearer

STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))

SERVER = {"conf": """
CometMercure /.well-known/mercure
CometEndpoint /second
CometEndpoint /room room/
CometClassic /classic.php room/secret
CometSearch on
CometMulti on
CometReplay 1000
CometTransports all websocket
<Location "/.well-known/mercure">
  CometTokenKey HS256 KEYS/secret
  CometMercureAnonymous on
</Location>
<Location "/comet/hidden">
  Require all denied
</Location>
""".replace("KEYS", tokens.FOLDER)}

TOPIC = "room/secret"
HIDDEN = "VERYPRIVATE"


def header_of(server, known, **headers):
    """Return the Last-Event-ID in the answer to a client with this cursor."""
    with Subscriber(server, "end", lastEventID=known, **headers) as stream:
        return stream.header("last-event-id")


@pytest.fixture(scope="module", autouse=True)
def before(shared_server):
    """Store a public message and two private ones; return the public one's
    timestamp."""
    server = shared_server
    publish(server, TOPIC, "public words")
    start = server.history(TOPIC)[-1]["timestamp"]
    publish(server, [TOPIC, "other/topic"], HIDDEN + " words", private="on",
            id="id-of-" + HIDDEN)
    publish(server, "alone/here", HIDDEN + " words", private="")
    return start


@pytest.mark.parametrize("subscribe, gets", [
    (None, False), ([], False), (["room/other"], False),
    (["room/{x}"], True), ([ALL], True), (["other/{+x}"], True),
    (["alone/here"], False), (["{broken"], False)])
def test_711_01_grants(server, subscribe, gets):
    """A client gets a private update if its token grants any of the update's
    topics."""
    headers = bearer(token(subscribe=subscribe))
    with Subscriber(server, TOPIC, "end", headers=headers,
                    lastEventID="earliest") as stream:
        publish(server, [TOPIC, "other/topic"], HIDDEN + " live",
                private="on")
        publish(server, "end", "end")
        while "end" not in stream.data():
            assert stream.step()
        seen = [data for data in stream.data() if HIDDEN in data]
        assert bool(seen) == gets
        if gets:
            assert [seen[0], seen[-1]] == [HIDDEN + " words",
                                           HIDDEN + " live"]


def test_711_02_asking_is_no_grant(server):
    """A subscriber without a grant gets no private update, neither by a star, a
    template or an alternate topic, nor by the update's own id."""
    for topics in (["*"], ["room/{x}"], ["other/topic"], [TOPIC],
                   ["{+all}"], ["alone/{x}"]):
        for query in ({"lastEventID": "earliest"},
                      {"lastEventID": "id-of-" + HIDDEN}, {}):
            end = "end/%s" % quote(topics[0])
            with Subscriber(server, *topics, end, **query) as stream:
                publish(server, TOPIC, HIDDEN, private="1")
                publish(server, end, "the end")
                while "the end" not in stream.data():
                    assert stream.step()
                assert HIDDEN not in stream.bytes.decode()


HISTORY = "wait=0&limit=1000"
ENDPOINTS = ["/comet/" + TOPIC, "/second/" + TOPIC, "/room/secret"]
WAYS = ["%s?since=0&" + HISTORY, "%s?" + HISTORY,
        "%s?before=9007199254740991&" + HISTORY,
        "%s?q=words&" + HISTORY, "%s?q=" + HIDDEN.lower() + "*&" + HISTORY,
        "%s?channel=alone/here&since=0&" + HISTORY]
WIDE = ["%s?channel=*&since=0&", "%s?channel=alone/*&since=0&",
        "%s?channel=*&q=words&", "%s?channel=other/topic&since=0&",
        "%s?channel=*&before=9007199254740991&"]


def test_711_03_history_and_search(server):
    """No endpoint of the store shows private updates in a history, a page or a
    search, for one channel, several channels or a wildcard.  Each shows the
    public updates."""
    for base in ENDPOINTS:
        for way in WAYS:
            answer = server.get(way % base)
            assert answer.status == 200, (base, way, answer)
            assert HIDDEN not in answer.body.decode(), (base, way)
            if HIDDEN.lower() not in way:
                assert "public words" in answer.body.decode(), (base, way)
    for base in ("/comet", "/second", "/room"):
        for way in WIDE:
            answer = server.get(way % base + HISTORY)
            assert answer.status == 200, (base, way, answer)
            assert HIDDEN not in answer.body.decode(), (base, way)


def test_711_04_waiting(server):
    """No waiting client gets a private update, by a stream, an iframe or a
    WebSocket, whether it reads the update's channel, a wildcard or all
    channels."""
    targets = ["/comet/" + TOPIC, "/second?channel=*", "/room/secret",
               "/comet?channel=room/*"]
    streams = [Stream(server, target) for target in targets]
    streams.append(Stream(server, targets[0] + "?transport=iframe",
                          {"Accept": "text/html"}))
    with Socket(server, "/comet/" + TOPIC) as socket:
        publish(server, TOPIC, HIDDEN + " live", private="on")
        publish(server, TOPIC, "public end")
        for stream in streams:
            with stream:
                stream.until_bytes(b"public end")
                assert HIDDEN.encode() not in stream.bytes
        while True:
            said = json.dumps(socket.hear())
            assert HIDDEN not in said
            if "public end" in said:
                break


def test_711_05_polls_sleep_on(server):
    """A private update does not even wake a poll of its channel.  A channel
    with only private updates looks like one that was never used."""
    now = server.history(TOPIC)[-1]["timestamp"]

    def wait(target):
        return server.get(target)

    def hide():
        publish(server, TOPIC, HIDDEN, private="on")
        publish(server, "alone/here", HIDDEN, private="on")

    polls = ["/comet/%s?since=%d&wait=1" % (TOPIC, now),
             "/classic.php?timestamp=%d" % now]
    answers = gather([lambda: wait(polls[0]), hide])
    body = answers[0].json()
    assert body["messages"] == [] and answers[0].took >= 0.9, answers[0]
    nothing = server.get("/comet/never/used?" + HISTORY).json()
    alone = server.get("/comet/alone/here?" + HISTORY).json()
    for answer in (nothing, alone):
        answer.pop("timestamp")
    assert alone == nothing


def test_711_06_wildcards_do_not_tell_of_it(server):
    """A wildcard matches only channels with public messages.  Otherwise a
    refusal would reveal the other channels."""
    publish(server, "hidden/one", HIDDEN, private="on")
    assert server.get("/comet?channel=*&" + HISTORY).status == 200
    publish(server, "hidden/one", "public")
    assert server.get("/comet?channel=*&" + HISTORY).status == 403
    sqlite(server.db, "DELETE FROM message WHERE channel = 'hidden/one';")


def test_711_07_pages_and_logs(server):
    """No counter, error or log reveals anything about a private update."""
    for target in ("/comet-status", "/comet-status?format=prometheus",
                   "/comet/hidden/x", "/comet?channel=hidden/x",
                   HUB, url("a", "a" * 300), HUB + "?topic=", "/second/" + TOPIC + "?before=x"):
        assert HIDDEN not in server.get(target).body.decode(), target
    logs = server.error_log() + server.access_log()
    assert HIDDEN not in logs.replace("lastEventID=id-of-" + HIDDEN, "")


def test_711_08_a_reload_and_the_file(server):
    """After a reload, when updates are read from the file, private ones are
    still hidden."""
    server.graceful()
    for base in ENDPOINTS:
        text = server.get(base + "?since=0&" + HISTORY).body.decode()
        assert HIDDEN not in text and "public words" in text
    with Subscriber(server, TOPIC, "end2", lastEventID="earliest") as stream:
        publish(server, "end2", "end2")
        while "end2" not in stream.data():
            assert stream.step()
        assert HIDDEN not in stream.bytes.decode()


def test_711_09_rows(server):
    """A private row that another program inserts is hidden, too."""
    sqlite(server.db, "INSERT INTO message(channel, body, private)"
           " VALUES('%s', '%s row', 1);" % (TOPIC, HIDDEN))
    text = server.get(ENDPOINTS[0] + "?since=0&" + HISTORY).body.decode()
    assert HIDDEN not in text
    reader = bearer(token(subscribe=[TOPIC]))
    with Subscriber(server, TOPIC, headers=reader,
                    lastEventID="earliest") as stream:
        while HIDDEN + " row" not in stream.data():
            assert stream.step()
    for wrong in ("2", "'x'"):
        code, text = sqlite(
            server.db, "INSERT INTO message(channel, body, private)"
            " VALUES('a', 'b', %s);" % wrong, check=False)
        assert code != 0
        assert "private is 0 or 1" in text or "smallint" in text


def test_711_10_a_replay_counts_what_is_public(server):
    """CometReplay and `limit` count only public messages.  The cursor does not
    show that a newer private message exists."""
    rows = "INSERT INTO message(channel, body, private) VALUES" + ", ".join(
        "('mixed', '%d', %d)" % (i, i % 2) for i in range(40))
    sqlite(server.db, rows + ";")
    answer = server.get("/comet/mixed?" + HISTORY).json()
    messages = answer["messages"]
    assert answer["timestamp"] == messages[-1]["timestamp"]
    assert [m["body"] for m in messages] == [str(i) for i in range(0, 40, 2)]
    found = server.get("/comet?channel=mixed&channel=m2&before=9007199254740991"
                       "&limit=5&wait=0").json()["messages"]
    assert [m["body"] for m in found] == ["30", "32", "34", "36", "38"]
    assert json.dumps(found).count("mixed") == 5


def test_711_11_unread_counts(make_server):
    """The number of unread messages does not include private ones."""
    server = make_server(conf=NAMES, modules=MODULES)
    sqlite(server.db, "INSERT INTO message(channel, body, private) VALUES"
           "('room', 'public', 0), ('room', '%s', 1), ('room', '%s', 1);"
           % (HIDDEN, HIDDEN))

    def unread():
        answer = server.get("/comet/room?unread", named("bob"))
        assert answer.status == 200, answer
        return answer.json()["unread"]

    wait_until(lambda: unread() == 1, what="the public one")
    # (upkeep would forget a very old mark, see CometPresenceMemory)
    before = int(sqlite(server.db, "SELECT min(timestamp) FROM message")[0][0]) - 1
    assert server.request("POST", "/comet/room?read=%d" % before, b"",
                          named("bob")).status == 204
    wait_until(lambda: sqlite(server.db, "SELECT unread FROM member")
               == [["1"]], 8, "the mark")


def test_711_12_an_id_tells_nothing(server):
    """For clients that may not see a private update, its id is like an id that
    was never used, whatever else these clients may see."""
    secret, public = "id-of-" + HIDDEN, "id-of-nothing-hidden"
    publish(server, TOPIC, "public", id=public)
    granted = bearer(token(subscribe=[TOPIC]))
    other = bearer(token(subscribe=["room/other"]))
    for headers, told in (({}, "earliest"), ({"headers": other}, "earliest"),
                          ({"headers": granted}, secret)):
        assert header_of(server, secret, **headers) == told
        assert header_of(server, public, **headers) == public
        assert header_of(server, "never-used", **headers) == "earliest"
