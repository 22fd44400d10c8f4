# SPDX-License-Identifier: Apache-2.0
"""Mercure 0.x: subscribing, publishing, ids and errors."""

import json
import os
import re
import time

import pytest

import tokens
from httpd_env import sqlite, wait_until
from mercure import (ALL, BOOK, FORM, HUB, PUBLISHER, Subscriber, post,
                     publish, token, url)
from stream_client import Stream
from tokens import bearer, sign

BASE = """
CometMercure /.well-known/mercure
CometMercure /other/hub tenants/7/
<Location "/.well-known/mercure">
  CometTokenKey HS256 KEYS/secret
  CometMercureAnonymous on
</Location>
<Location "/other/hub">
  CometTokenKey HS256 KEYS/secret
</Location>
""".replace("KEYS", tokens.FOLDER)

SERVER = {"conf": BASE}
STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))
pytestmark = pytest.mark.both_paths

UUID = re.compile("urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-"
                  "[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def test_710_01_update(server):
    """An update reaches its subscribers with its text, type, id and retry."""
    with Subscriber(server, BOOK) as stream:
        given = publish(server, BOOK, "line1\nline2 ü", type="book",
                        id="urn:x:1", retry="3000")
        assert given == "urn:x:1"
        assert stream.until(1) == ["line1\nline2 ü"]
        assert stream.events[0]["type"] == "book"
        assert stream.ids() == ["urn:x:1"]
        stream.until_bytes(b"retry: 3000\n")
        assert stream.header("content-type") == "text/event-stream"
        assert "no-store" in stream.header("cache-control")
        assert stream.header("last-event-id") is None
        made = publish(server, BOOK)
        assert UUID.match(made), made
        assert stream.until(2)[1] == "" and stream.ids()[1] == made


def test_710_02_ids_come_back_byte_for_byte(server):
    ids = ['["a,b"]', "ü/é 日本", " x ", "a" * 255, "1", "urn:uuid:x"]
    with Subscriber(server, "ids") as stream:
        for name in ids:
            assert publish(server, "ids", "x", id=name) == name
        stream.until(len(ids))
        assert stream.ids() == ids
    for i, name in enumerate(ids[:-1]):
        header = {"Last-Event-ID": name}
        for said in ({"lastEventID": name}, {"headers": header}):
            if name == name.strip() or "headers" not in said:
                with Subscriber(server, "ids", **said) as stream:
                    stream.until(1)
                    assert stream.ids()[0] == ids[i + 1]
                    told = stream.header("last-event-id")
                    assert told.encode("latin-1").strip() \
                        == name.strip().encode()


TEMPLATES = [
    ("https://example.com/books/{id}", "https://example.com/books/1", True),
    ("https://example.com/books/{id}", "https://example.com/books/", True),
    ("https://example.com/books/{id}", "https://example.com/books/1/2", False),
    ("https://example.com/books/{id}", "https://example.com/book/1", False),
    ("https://example.com/{+path}", "https://example.com/a/b?c=d", True),
    ("https://example.com/books{/id}", "https://example.com/books", True),
    ("https://example.com/books{?q}", "https://example.com/books?q=1", True),
    ("{+all}", "a b", False),
    ("*", "anything at all", True),
    ("a{unclosed", "a{unclosed", True),
    ("a{unclosed", "ab", False),
    ("/books/{id}.jsonld", "/books/%41.jsonld", True),
    ("/books//{id}", "/books//1", True),
    ("100%/{id}", "100%/1", False),     # not a valid template
]


def test_710_03_templates(server):
    """A subscriber to a template gets the topics that match, live and from
    history. A text that is not a template is a topic."""
    for i, (template, topic, matches) in enumerate(TEMPLATES):
        with Subscriber(server, template, "end") as stream:
            publish(server, topic, "%d" % i)
            publish(server, "end", "end")
            wanted = ["%d" % i, "end"] if matches else ["end"]
            assert stream.until(len(wanted)) == wanted, (template, topic)
            opened = stream.parser.last_id
        with Subscriber(server, template, "end", lastEventID=opened):
            pass
    for i, (template, topic, matches) in enumerate(TEMPLATES):
        with Subscriber(server, template, lastEventID="earliest") as stream:
            publish(server, topic if matches else template, "last")
            while "last" not in stream.data():
                assert stream.step()
            assert (str(i) in stream.data()) == matches, (template, topic)


def test_710_04_alternates_come_once(server):
    """A subscriber to several topics of an update gets it once, live and from
    history. So does a subscriber to one of them."""
    before = publish(server, "mark", "mark")
    topics = ["/a/1", "/b/1", "/c/1"]
    with Subscriber(server, *topics) as all_of_them, \
            Subscriber(server, "/b/1") as second, \
            Subscriber(server, "/c/{id}", "/a/{id}") as templates:
        publish(server, topics, "once")
        publish(server, topics, "end")
        for stream in (all_of_them, second, templates):
            assert stream.until(2) == ["once", "end"]
    for wanted in (topics, ["/b/1"], ["/c/{id}", "/a/{id}"]):
        with Subscriber(server, *wanted, lastEventID=before) as stream:
            assert stream.until(2) == ["once", "end"]
            assert stream.header("last-event-id") == before


def test_710_05_alternates_are_found_in_a_long_history(server):
    """The index finds a rare alternate topic behind many other messages.  When
    the message is deleted, none of its rows is left."""
    before = publish(server, "mark", "mark")
    publish(server, ["/rare/1", "/rare/alternate"], "old", id="rare-id")
    sqlite(server.db, """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
                                 WHERE i < 1500)
        INSERT INTO message(channel, body)
        SELECT 'noise/' || i % 7, CAST(i AS text) FROM n;
        """)
    for topic in ("/rare/alternate", "/rare/{x}", "/{a}/alternate"):
        with Subscriber(server, topic, lastEventID=before) as stream:
            assert stream.until(1) == ["old"], topic
    sqlite(server.db, "DELETE FROM message WHERE id = 'rare-id';")
    assert sqlite(server.db, "SELECT count(*) FROM alternate"
                  " WHERE message NOT IN (SELECT id FROM log)"
                  if server.database else """
        SELECT (SELECT count(*) FROM message_alternate
                 WHERE message NOT IN (SELECT id FROM message_log))
        + (SELECT count(*) FROM message_event WHERE event = 'rare-id')
        + (SELECT count(*) FROM channel WHERE name LIKE '%rare%')
        """) == [["0"]]


def test_710_06_last_event_id(server):
    """With the last id `earliest` a subscriber gets all updates, and with a
    known id all later updates.  With an unknown id it gets none, and the answer
    says so.  If header and parameter differ, the header counts."""
    topic = "/history"
    ids = [publish(server, topic, "%d" % i) for i in range(3)]
    for query, data, told in (
            ({"lastEventID": "earliest"}, ["0", "1", "2"], "earliest"),
            ({"last_event_id": ids[0]}, ["1", "2"], ids[0]),
            ({"Last-Event-ID": ids[1]}, ["2"], ids[1]),
            ({"lastEventID": "no such id"}, [], "earliest"),
            ({"lastEventID": ids[0][:-1] + "0"}, [], "earliest"),
            ({}, [], None)):
        end = publish(server, topic + "/end", "end")
        with Subscriber(server, topic, end, **query) as stream:
            publish(server, end, "end")
            assert stream.until(len(data) + 1)[:-1] == data, query
            assert stream.header("last-event-id") == told
    with Subscriber(server, topic, lastEventID="earliest",
                    headers={"Last-Event-ID": ids[1]}) as stream:
        assert stream.until(1) == ["2"]


def test_710_07_a_row_is_an_update(server):
    """A row that another program inserts reaches Mercure's subscribers.  An
    update that Mercure's publishers send is a row with its topic as the
    channel."""
    with Subscriber(server, BOOK, "/books/{id}", "plain") as stream:
        sqlite(server.db, """
            INSERT INTO message(channel, body) VALUES('plain', 'one');
            INSERT INTO message(channel, body, id, type)
              VALUES('%/books/7', 'two', 'id-2', 'tale');
            INSERT INTO message(channel, body)
              VALUES('https:/%/example.com/books/1', 'three');
            """)
        assert stream.until(3) == ["one", "two", "three"]
        assert stream.ids()[1] == "id-2"
        assert stream.events[1]["type"] == "tale"
        server.post("plain", "four")
        assert stream.until(4)[3] == "four"
    publish(server, BOOK, "five")
    assert server.history("https:/%/example.com/books/1")[-1]["body"] \
        == "five"


def test_710_08_a_prefix_keeps_hubs_apart(server):
    """A hub with a prefix serves only the topics below the prefix."""
    reader = {"headers": bearer(token(subscribe=[ALL]))}
    with Subscriber(server, "*", hub="/other/hub", **reader) as other:
        publish(server, "outside", "no")
        publish(server, "inside", "yes", hub="/other/hub")
        assert other.until(1) == ["yes"]
    assert server.history("tenants/7/inside")[-1]["body"] == "yes"
    with Subscriber(server, "inside", "tenants/7/inside") as stream:
        publish(server, "inside", "again", hub="/other/hub")
        assert stream.until(1) == ["again"]     # (only by its full name)


def expect(answer, status, words):
    assert answer.status == status, answer
    assert words in answer.body.decode(), answer
    assert answer.header("content-type").startswith("text/plain")


def test_710_09_errors_of_publishing(server):
    """A hub refuses the same requests as the Mercure project's own hub, and
    checks them in the same order."""
    nobody = bearer(token(subscribe=[ALL]))
    other = bearer(token(publish=["/books/{id}"]))
    topic = [("topic", "/films/1")]
    expect(post(server, topic, headers={}), 401, "Unauthorized")
    expect(post(server, [], headers=nobody), 401, "Unauthorized")
    expect(post(server, [("data", "x")], headers=other), 400,
           'Missing "topic" parameter.')
    expect(post(server, topic + [("retry", "1s")], headers=other), 400,
           "retry")
    expect(post(server, topic, headers=other), 401, "Unauthorized")
    assert post(server, [("topic", "/books/1")],
                headers=other).status == 200
    expect(post(server, [("topic", "/books/1")] + topic, headers=other), 401,
           "Unauthorized")
    for name in ("/.well-known/mercure/x",
                 "https://example.com/.well-known/mercure"):
        expect(post(server, [("topic", name)]), 403, "/.well-known/mercure")
    for field, value in (("id", "a\nb"), ("id", "a\0b"), ("id", "#1"),
                         ("id", "earliest"), ("id", "x" * 256),
                         ("type", "a\nb"), ("type", "gap"),
                         ("data", "a\0b"), ("topic", ""), ("topic", "a\nb"),
                         ("topic", "x" * 256), ("retry", "-1"),
                         ("retry", "9" * 20)):
        assert post(server, topic + [(field, value)]).status == 400, field
    assert post(server, [("topic", "t")] * 1000).status == 200
    assert post(server, [("topic", "t")] * 1001).status == 400
    answer = server.request("POST", HUB, b'{"topic": "x"}', {
        "Content-Type": "application/json", **PUBLISHER})
    expect(answer, 400, "Content-Type")
    expect(server.request("PUT", HUB, b"", PUBLISHER), 405, "PUT")
    expect(post(server, topic + [("data", "x" * 70000)]), 413, "65536")
    expect(post(server, topic + [("data", "a\0b")]), 400, "NUL")


def test_710_10_errors_of_subscribing(server):
    expect(server.get(HUB), 400, 'Missing "topic" parameter.')
    assert server.get(HUB + "?" + "topic=t&" * 800 + "topic=").status == 400
    expect(server.get(url(*["%d{x}" % i for i in range(101)])), 400, "100")
    expect(server.get(url("")), 400, "empty")
    expect(server.get(url("a"), bearer("nonsense")), 401, "Unauthorized")
    answer = server.get(url("a"), bearer(token(subscribe="*") + "x"))
    expect(answer, 401, "Unauthorized")
    assert 'error="invalid_token"' in answer.header("www-authenticate")
    answer = server.get("/other/hub?topic=a")
    expect(answer, 401, "Unauthorized")
    assert answer.header("www-authenticate") == "Bearer"
    assert server.get("/other/hub/below").status == 404
    two = {"Authorization": "Bearer a, Bearer b"}
    expect(server.get(url("a"), two), 400, "single field")


def test_710_11_where_a_token_may_be(server):
    """A token may be in the header, in the cookie mercureAuthorization, or in
    the parameter authorization, which is hidden from logs."""
    reader = token(subscribe=[ALL])
    ways = (({"headers": bearer(reader)}, {}),
            ({"headers": {"Cookie": "a=b; mercureAuthorization=" + reader}},
             {}),
            ({}, {"authorization": reader}))
    for kwargs, query in ways:
        with Subscriber(server, "secret", **kwargs, **query) as stream:
            publish(server, "secret", "told", private="on")
            assert stream.until(1) == ["told"]
    wait_until(lambda: "authorization=-" in server.access_log(),
               what="the stream's line")
    tokens.assert_hidden(server)


def test_710_12_claims(server):
    """The claim `mercure` may have its long name.  A token is refused if the
    claim is malformed, or if the token has expired or is not signed."""
    long = bearer(sign({"https://mercure.rocks/": {"publish": [ALL]}}))
    assert post(server, [("topic", "x")], headers=long).status == 200
    for claim in (5, [], {"publish": "*"}, {"publish": [5]},
                  {"publish": ["x"] * 1001}, {"subscribe": {}}):
        said = bearer(sign({"mercure": claim}))
        answer = post(server, [("topic", "x")], headers=said)
        expect(answer, 401, "mercure")
    expired = bearer(token(publish=[ALL], exp=1))
    expect(post(server, [("topic", "x")], headers=expired), 401, "exp")
    none = tokens.encode({"alg": "none"}) + "." \
        + tokens.encode({"mercure": {"publish": ["*"]}}) + "."
    assert post(server, [("topic", "x")], headers=bearer(none)).status == 401
    comet = bearer(sign({"comet": {"write": ["*"]}}))
    assert post(server, [("topic", "x")], headers=comet).status == 401


def test_710_13_the_author_is_the_token_s(server):
    publish_as = bearer(token(publish=[ALL], sub="anna"))
    assert post(server, [("topic", "by")], headers=publish_as).status == 200
    assert server.history("by")[-1]["author"] == "anna"


def test_710_14_a_token_s_end_ends_its_stream(server):
    reader = bearer(token(subscribe=[ALL], exp=time.time() + 1.5))
    with Subscriber(server, "x", headers=reader) as stream:
        stream.until_end()
        assert b"retry: " in stream.bytes


def test_710_15_head_and_options(server):
    answer = server.request("HEAD", url("a"))
    assert answer.status == 200
    assert answer.header("content-type") == "text/event-stream"
    answer = server.request("OPTIONS", HUB)
    assert answer.header("allow") == "GET, HEAD, QUERY, POST, OPTIONS"
    assert answer.header("accept-post") == FORM["Content-Type"]


def test_710_16_configtest(server):
    """configtest refuses wrong arguments of Mercure's directives."""
    for line, words in (
            ("CometMercure", "takes"),
            ("CometMercure /hub prefix", "ends with a slash"),
            ("CometMercure hub", "/"),
            ("CometMercureAnonymous perhaps", "On or Off")):
        failed, text = server.configtest(line + "\n", comet="demo")
        assert failed and words in text, (line, text)


def test_710_17_json_survives(server):
    """The JSON of API Platform arrives as it was sent."""
    data = json.dumps({"@id": "/books/1", "title": "«Ü»", "n": [1, {}]})
    with Subscriber(server, "https://example.com/{+path}") as stream:
        publish(server, BOOK, data)
        assert json.loads(stream.until(1)[0]) == json.loads(data)


EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..",
                        "conf", "examples")


def read(name):
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        return file.read()


def test_710_18_example(make_server):
    """With mercure.conf everybody reads public updates, and a token is needed
    for private ones."""
    text = read("mercure.conf").replace("/etc/apache2/mercure.key",
                                        tokens.path("secret"))
    server = make_server(comet="status", conf="""
        CometStore "sqlite:{data}/comet.db"
        """ + text)
    reader = bearer(token(subscribe=[BOOK]))
    with Subscriber(server, BOOK) as anybody, \
            Subscriber(server, BOOK, headers=reader) as one:
        publish(server, BOOK, "for one", private="on")
        publish(server, BOOK, "for all")
        assert anybody.until(1) == ["for all"]
        assert one.until(2) == ["for one", "for all"]
    assert post(server, [("topic", "x")], headers={}).status == 401


def test_710_19_ids_that_are_used_again(server):
    """If several updates have the same id, such as the number of a revision, a
    client continues after the newest of them that it asks for and may see, and
    not after an update of another topic, of another hub's readers or a private
    one.  A client that asks for none of them continues after the newest one that
    it may see."""
    for topic in ("again/a", "again/b", "again/c"):
        publish(server, topic, topic + " 1", id="revision 1")
        publish(server, topic, topic + " 2", id="revision 2")
    publish(server, "again/private", "p", id="revision 1", private="on")
    reader = bearer(token(subscribe=["again/private"]))
    for i, (topics, headers, gets) in enumerate((
            (["again/a"], None, ["again/a 2"]),
            (["again/b"], None, ["again/b 2"]),
            (["again/b", "again/a"], None, ["again/b 2"]),
            (["again/{x}"], None, ["again/c 2"]),
            (["again/{x}"], reader, []),
            (["again/private", "again/a"], reader, []),
            (["again/other"], None, []),
            (["again/other", "again/c"], reader, ["again/c 2"]))):
        end = "again/end/%d" % i
        with Subscriber(server, *topics, end, headers=headers,
                        lastEventID="revision 1") as stream:
            assert stream.header("last-event-id") == "revision 1", topics
            publish(server, end, "end")
            assert stream.until(len(gets) + 1) == gets + ["end"], topics


def test_710_21_an_id_of_very_many_updates(server):
    """If very many updates of other topics have the same id later, it counts as
    unknown, so that the client knows that it may have missed updates."""
    publish(server, "many/mine", "one", id="many")
    for i in range(100):
        publish(server, "many/%d" % i, "other", id="many")
    with Subscriber(server, "many/mine", lastEventID="many") as stream:
        assert stream.header("last-event-id") == "earliest"


@pytest.mark.parametrize("wrong", ["%FF", "a%00b", "%C3", "%ED%A0%80"])
def test_710_20_what_is_not_text(server, wrong):
    """An id that is not UTF-8 is unknown in every store. A topic, a template or
    a URL pattern that is not UTF-8 is refused."""
    for query in ("?topic=%s&lastEventID=x" % wrong,
                  "?topic=%s/{x}&lastEventID=x" % wrong,
                  "?match=%s" % wrong, "?matchURLPattern=/%s/:x" % wrong):
        expect(server.get(HUB + query), 400, "topic: must be UTF-8")
    with Stream(server, HUB + "?topic=x&lastEventID=" + wrong) as stream:
        assert stream.conn.headers["last-event-id"] == "earliest"
        publish(server, "x", "one")
        assert stream.until(1) == ["one"]
