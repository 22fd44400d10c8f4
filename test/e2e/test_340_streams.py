# SPDX-License-Identifier: Apache-2.0
"""What event streams, iframes, polls and history promise."""

import gzip
import json
import re
import socket
import time

import pytest

from event_stream import EventStream    # in test/tools
from h2_client import H2
from http_client import quote
from httpd_env import SLOW, sqlite, wait_until
from stream_client import EVENTS, Stream, post

pytestmark = pytest.mark.both_paths

SERVER = {"conf": """
CometPollTimeout 1s
AddOutputFilterByType DEFLATE application/json text/event-stream text/html
<Location "/comet/beat">
  CometHeartbeat 1s
</Location>
<Location "/comet/short">
  CometMaxLifetime 1s
</Location>
<Location "/clock/backend.php">
  CometMaxLifetime 2s
</Location>
<Location "/comet/polls">
  CometTransports poll
</Location>
<Location "/comet/streams">
  CometTransports events iframe
</Location>
<Location "/comet/named">
  CometCallback $app.news_1.take
</Location>
<Location "/comet/two">
  CometReplay 2
</Location>
<Location "/comet/none">
  CometReplay 0
</Location>
CometEndpoint /team team/
"""}

# A small send buffer, so that a client that does not read is soon noticed.
SMALL = "SendBufferSize 8192\n"


def bodies(answer):
    assert answer.status == 200, answer
    return [m["body"] for m in answer.json()["messages"]]


def error_of(answer, status=400):
    assert answer.status == status, answer
    assert answer.header("content-type").startswith("application/json")
    return answer.json()["error"]


# -- event streams -------------------------------------------------------------

def test_340_01_opening(server):
    """A stream begins with its headers, then an id without an event: the
    client's cursor."""
    last = post(server, "opening", "x")
    for target, headers in (("/comet/opening", EVENTS),
                            ("/comet/opening?transport=events",
                             {"Accept": "*/*"}),
                            ("/comet/opening?transport=events", {}),
                            ("/comet/opening",
                             {"Accept": "text/html, text/event-stream;q=1"})):
        with server.raw() as conn:
            conn.request("GET", target, dict(
                headers, **{"Last-Event-ID": str(last),
                            "Accept-Encoding": "gzip, deflate, br"}))
            assert conn.head() == 200
            assert conn.headers["content-type"] == "text/event-stream"
            assert conn.headers["cache-control"] == "no-store, no-transform"
            assert conn.headers["x-accel-buffering"] == "no"
            assert conn.headers["x-content-type-options"] == "nosniff"
            assert conn.headers["cross-origin-resource-policy"] \
                == "same-origin"
            assert set(re.split(", *", conn.headers["vary"])) \
                >= {"Accept", "Origin"}
            for name in ("content-encoding", "content-length", "etag",
                         "access-control-allow-origin"):
                assert name not in conn.headers, conn.headers
            want = b"retry: 1000\nid: %d\n\n" % last
            got = b""
            while len(got) < len(want):
                got += conn.chunk()
            assert got == want
            assert conn.silent(0.1)


BODIES = [
    "</script>", "<!-- --><script>", "\u2028\u2029", "a\nb", "a\rb",
    "a\r\nb", "\n", "\r\n\r\n", "\nid: 9\n\ndata: forged\n\n", "\t\ttabs\t",
    " leading and trailing ", ":comment", "data: x", "retry: 5",
    "\u0645\u0631\u062d\u0628\u0627 \U0001F600\U0001F468\u200d\U0001F469",
    "\ufeffbom", "x" * 65536, "\n" * 3000, '{"json": "\\"}', "\x01\x1f\x7f"]


def lines_normalised(text):
    return text.replace("\r\n", "\n").replace("\r", "\n")


def test_340_02_bodies(server):
    """Bodies arrive unchanged, except that in the text format each line end is
    a line feed. No part of a body is taken for a field of the stream."""
    stamps = [post(server, "bodies", body) for body in BODIES]
    with Stream(server, "/comet/bodies?since=0") as stream:
        assert stream.until(len(BODIES)) \
            == [lines_normalised(b) for b in BODIES]
        assert [e["id"] for e in stream.events] == [str(s) for s in stamps]
        assert {e["type"] for e in stream.events} == {"message"}
    with Stream(server, "/comet/bodies?since=0&format=json") as stream:
        stream.until(len(BODIES))
        for event, body, stamp in zip(stream.events, BODIES, stamps):
            assert event["id"] == str(stamp) and event["type"] == "message"
            assert json.loads(event["data"]) == {
                "timestamp": stamp, "channel": "bodies", "type": "message",
                "author": None, "body": body}
    # Live messages are the same.
    with Stream(server, "/comet/bodies?since=%d" % stamps[-1]) as live:
        for i, body in enumerate(BODIES):
            post(server, "bodies", body)
            assert live.until(i + 1)[i] == lines_normalised(body)


def test_340_03_types(server):
    """The type is the event's name or, with format=json, a member of the
    data."""
    types = ["tick", "message", "gap-like", "\u4e2d", " x", "a:b", "error"]
    for name in types:
        post(server, "types", name, type=name)
    with Stream(server, "/comet/types?since=0&format=text") as stream:
        assert stream.until(len(types)) == types
        assert [e["type"] for e in stream.events] == types
    with Stream(server, "/comet/types?since=0&format=json") as stream:
        stream.until(len(types))
        assert {e["type"] for e in stream.events} == {"message"}
        assert [json.loads(d)["type"] for d in stream.data()] == types


def test_340_04_invalid_utf8(server):
    """Invalid UTF-8 that another program has stored is replaced."""
    sqlite(server.db, "INSERT INTO message(channel, type, body) VALUES("
           "'wrong', CAST(x'74ff' AS TEXT), CAST(x'61ff62e4b80a63' AS TEXT));")
    with Stream(server, "/comet/wrong?since=0") as stream:
        stream.until(1)
        assert stream.events[0]["type"] == "t\ufffd"
        assert stream.events[0]["data"] == "a\ufffdb\ufffd\nc"
        stream.bytes.decode("utf-8")


@pytest.mark.parametrize("how", ["Last-Event-ID", "last_event_id",
                                 "lastEventId", "since"])
def test_340_05_cursors(server, how):
    """The cursor has several spellings. If a request has more than one, the
    first in `order` counts."""
    order = ["Last-Event-ID", "last_event_id", "lastEventId", "lastEventID",
             "since"]
    stamps = [post(server, "cursors", str(i)) for i in range(4)]

    def ask(values, transport="events"):
        headers = {k: v for k, v in values.items() if k == order[0]}
        query = "&".join("%s=%s" % (k, v) for k, v in values.items()
                         if k != order[0])
        return ("/comet/cursors?wait=0&transport=%s&%s" % (transport, query),
                headers)

    target, headers = ask({how: stamps[1]})
    with Stream(server, target, headers) as stream:
        assert stream.until(2) == ["2", "3"]
        assert stream.bytes.startswith(
            b"retry: 1000\nid: %d\n\n" % stamps[1])
    target, headers = ask({how: stamps[1]}, "poll")
    assert bodies(server.get(target, headers)) == ["2", "3"]
    # Spellings later in the list are ignored.
    values = {name: stamps[3] for name in order[order.index(how):]}
    values[how] = stamps[2]
    target, headers = ask(values, "poll")
    assert bodies(server.get(target, headers)) == ["3"]
    # An empty cursor counts as absent.
    values = {name: "" for name in order[:order.index(how)]}
    values[how] = stamps[2]
    target, headers = ask(values, "poll")
    assert bodies(server.get(target, headers)) == ["3"]
    target, headers = ask({how: "0" + str(stamps[2])}, "poll")
    assert bodies(server.get(target, headers)) == ["3"]
    for bad in ("-1", "1e9", "0x10", "1.5", "NaN", "abc", "9007199254740992",
                "99999999999999999999", "1 2", "+1", "1,2"):
        value = bad if how == order[0] else quote(bad)
        for transport in ("poll", "iframe"):
            target, headers = ask({how: value}, transport)
            assert how in error_of(server.get(target, headers))
        target, headers = ask({how: value})
        with Stream(server, target, headers) as stream:  # the stream gets a gap
            stream.until_bytes(b"event: gap\ndata: {\"since\":null,")


def test_340_06_where_a_stream_begins(server):
    """A stream without a cursor, or with one ahead of the store, begins with
    the last CometReplay messages."""
    for channel, want in (("two/x", ["3", "4"]), ("none/x", []),
                          ("all/x", ["0", "1", "2", "3", "4"])):
        for i in range(5):
            last = post(server, channel, str(i))
        for query in ("", "?since=", "?since=9007199254740991"):
            with Stream(server, "/comet/%s%s" % (channel, query)) as stream:
                post(server, channel, "live")
                got = stream.until(len(want) + 1)
                assert got == want + ["live"], (channel, query)
            sqlite(server.db, "DELETE FROM message WHERE body='live';")
        with Stream(server, "/comet/%s?since=%d" % (channel, last)) as stream:
            post(server, channel, "live")
            assert stream.until(1) == ["live"]
        sqlite(server.db, "DELETE FROM message WHERE body='live';")
        with Stream(server, "/comet/%s?since=0" % channel) as stream:
            assert stream.until(5) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("query, word", [
    ("transport=sse", "transport"), ("transport=", "transport"),
    ("transport=EVENTS", "transport"), ("format=xml", "format"),
    ("format=JSON&transport=events", "format"), ("limit=0", "limit"),
    ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=-1", "limit"),
    ("wait=-1", "wait"), ("wait=1.5", "wait"), ("wait=99999999999", "wait"),
    ("before=x", "before"), ("before=-1", "before"), ("before=1e3", "before"),
    ("before=9007199254740992", "before"), ("before=0", "before"),
    ("before=5&transport=events", "before"),
    ("before=5&transport=iframe", "before")])
def test_340_07_bad_parameters(server, query, word):
    answer = server.get("/comet/bad?" + query)
    assert word in error_of(answer), answer
    answer = server.request("HEAD", "/comet/bad?" + query)
    assert answer.status == 400 and answer.body == b"", answer


def test_340_08_transports_off(server):
    """A transport that CometTransports does not list is refused, whether the
    query or Accept asks for it."""
    for target, headers, status in (
            ("/comet/polls/x?wait=0", {}, 200),
            ("/comet/polls/x?transport=poll&wait=0", {}, 200),
            ("/comet/polls/x?transport=events", {}, 406),
            ("/comet/polls/x?transport=iframe", {}, 406),
            ("/comet/polls/x", EVENTS, 406),
            ("/comet/streams/x", {}, 406),
            ("/comet/streams/x?wait=0", {}, 200),
            ("/comet/streams/x?transport=poll", EVENTS, 406)):
        answer = server.get(target, headers)
        assert answer.status == status, (target, answer)
        if status == 406:
            assert "CometTransports" in answer.json()["error"], answer
    for target in ("/comet/streams/x?transport=events",
                   "/comet/streams/x?transport=iframe"):
        assert server.request("HEAD", target).status == 200
    assert server.request("HEAD", "/comet/polls/x",
                          headers=EVENTS).status == 406
    answer = server.request("POST", "/comet/streams/x", b"x",
                            {"Content-Type": "text/plain"})
    assert answer.status == 201, answer


def test_340_09_head_and_options(server):
    """The answer to HEAD has the headers of a GET, and ends at once. OPTIONS
    lists the methods. Afterwards the connection can still be used."""
    post(server, "head", "x")

    def meant(headers):
        """Return the headers that do not depend on the moment or the body.
        mod_deflate adds to Vary only if there is a body."""
        return {name: value.replace(",Accept-Encoding", "")
                for name, value in headers.items()
                if name not in ("date", "transfer-encoding", "content-length")}
    with server.raw() as conn:
        for target, ctype in (
                ("/comet/head?transport=events", "text/event-stream"),
                ("/comet/head?transport=iframe", "text/html; charset=utf-8"),
                ("/comet/head", "application/json; charset=utf-8"),
                ("/comet/head?wait=0", "application/json; charset=utf-8")):
            conn.request("HEAD", target)
            answer = conn.answer()
            assert answer.status == 200, answer
            assert answer.header("content-type") == ctype
            assert answer.took < 0.9 * SLOW
            with server.raw() as other:
                other.request("GET", target).head()
                assert meant(answer.headers) == meant(other.headers)
            conn.request("OPTIONS", target)
            answer = conn.answer()
            assert answer.status in (200, 204), answer
            assert answer.header("allow") == "GET, HEAD, POST, OPTIONS"
        for method in ("PUT", "DELETE", "PATCH"):
            conn.request(method, "/comet/head?transport=events")
            answer = conn.answer()
            assert answer.status == 405, answer
            assert answer.header("allow") == "GET, HEAD, POST, OPTIONS"
    server.wait_waiting(0)


def test_340_10_heartbeat(server):
    """A stream without messages sends heartbeats, which the page's script does
    not see."""
    with Stream(server, "/comet/beat/x?since=0") as stream, \
            server.raw() as frame:
        begin = time.monotonic()
        frame.request("GET", "/comet/beat/x?since=0&transport=iframe")
        assert frame.head() == 200
        stream.until_bytes(b":\n\n")
        assert 0.9 < time.monotonic() - begin < 3 * SLOW
        stream.until_bytes(b":\n\n:\n\n")
        assert stream.parser.comments == 2 and stream.events == []
        post(server, "beat/x", "x")
        assert stream.until(1) == ["x"]
        opening = b""
        while b"x" not in opening.partition(b"</script>")[2]:
            opening += frame.chunk()
        page = opening.partition(b"</script>\n")[2]
        assert re.fullmatch(rb"[ \n]*\n<script>comet\([^<]*\);</script>\n",
                            page), page


def test_340_11_longer_than_timeout(make_server, mpm):
    """A stream outlives Timeout, on the event MPM even with CometHeartbeat
    1h."""
    server = make_server(mpm=mpm, timeout=2, conf="CometHeartbeat 1h\n"
                         if mpm == "event" else "CometHeartbeat 1s\n")
    with Stream(server, "/comet/x?since=0") as stream:
        begin = time.monotonic()
        while time.monotonic() - begin < 5:
            assert stream.step(), "cut off"
        post(server, "x", "still there")
        assert stream.until(1) == ["still there"]


def test_340_12_lifetime(server):
    """CometMaxLifetime ends a stream properly, and the stream says when to
    reconnect.  Polls and other locations are not affected."""
    cursor = post(server, "short/x", "before")
    with Stream(server, "/comet/short/x?since=0") as stream, \
            server.raw() as frame, server.raw() as clock:
        begin = time.monotonic()
        frame.request("GET", "/comet/short/x?since=0&transport=iframe")
        clock.request("GET", "/clock/backend.php")
        assert frame.head() == clock.head() == 200
        assert stream.until_end() == ["before"]
        assert 0.8 < time.monotonic() - begin < 5 * SLOW
        assert re.fullmatch(rb"retry: \d{3,4}\n\n",
                            stream.bytes.rpartition(b"id: %d\n\n" % cursor)[2])
        assert 0.1 <= stream.parser.retry <= 2.0
        assert frame.body().endswith(b"</script>\n")
        assert clock.body().endswith(b"</script>")
        assert time.monotonic() - begin < 8 * SLOW
    answer = server.get("/comet/short/x?since=%d&wait=2" % cursor)
    assert bodies(answer) == []
    with Stream(server, "/comet/long/x?since=0") as stream:
        end = time.monotonic() + 2
        try:
            while time.monotonic() < end:
                assert stream.step(), "ended"
                stream.conn.timeout = max(0.01, end - time.monotonic())
        except (TimeoutError, socket.timeout):
            pass


def test_340_13_http10(server):
    """Over HTTP/1.0 a stream is not chunked, and ends when the connection
    ends."""
    post(server, "short/old", "x")
    with Stream(server, "/comet/short/old?since=0", version="1.0") as stream:
        assert stream.conn.framing == "close"
        assert stream.until_end() == ["x"]
        assert stream.parser.retry != 1.0
    with server.raw() as conn:
        conn.request("GET", "/comet/short/old?since=0&wait=0", version="1.0")
        assert bodies(conn.answer()) == ["x"]


def test_340_14_client_that_speaks(server):
    """A client that sends data ends its stream, and the data is not taken for a
    request."""
    for more in (b"x", b"\r\n", b"GET /static.txt HTTP/1.1\r\nHost: x\r\n\r\n"):
        with Stream(server, "/comet/speaks?since=0") as stream:
            server.wait_waiting(1, "events")
            stream.conn.send(more)
            assert stream.until_end() == []
            assert b"static" not in stream.conn.buffer
        server.wait_waiting(0)


def test_340_15_pipelined_behind_a_stream(server):
    """A request may arrive together with a stream's request. The stream
    continues or ends properly, and the other request is not answered within the
    stream."""
    with server.raw() as conn:
        conn.send(conn.format("GET", "/comet/piped?since=0", EVENTS)
                  + conn.format("GET", "/static.txt"))
        assert conn.head() == 200
        post(server, "piped", "x")
        got = b""
        while b"data: x\n" not in got:
            piece = conn.chunk()
            if not piece:
                break
            got += piece
        assert got.startswith(b"retry: 1000\nid: ")
        assert b"static file" not in got
    server.wait_waiting(0)


def test_340_16_deleted_before_it_begins(server):
    """A message that sqlite3 has deleted is in no stream that begins afterwards,
    even if the server has not noticed the deletion yet."""
    for number in range(60):
        post(server, "del", "kept %d" % number)
        post(server, "del", "gone")
        sqlite(server.db, "DELETE FROM message WHERE body='gone';")
        with Stream(server, "/comet/del?since=0") as stream:
            assert stream.until(number + 1) \
                == ["kept %d" % i for i in range(number + 1)]


# -- forever-iframes -----------------------------------------------------------

def test_340_20_iframe(server):
    """transport=iframe returns a page that calls a function of its parent. No
    body can break out of the page's script."""
    for body in BODIES:
        post(server, "named/x", body)
    with server.raw() as conn:
        conn.request("GET", "/comet/named/x?transport=iframe&since=0",
                     {"Accept-Encoding": "gzip"})
        assert conn.head() == 200
        assert conn.headers["content-type"] == "text/html; charset=utf-8"
        assert conn.headers["content-security-policy"] \
            == "default-src 'none'; script-src 'unsafe-inline'; " \
            "frame-ancestors 'self'"
        assert conn.headers["x-frame-options"] == "SAMEORIGIN"
        assert "content-encoding" not in conn.headers
        page = b""
        while page.count(b"<script>comet(") < len(BODIES):
            page += conn.chunk()
        while not page.endswith(b"</script>\n"):
            page += conn.chunk()
    text = page.decode("utf-8")
    head, _, rest = text.partition("</script>\n")
    assert '"$app.news_1.take".split(".")' in head
    assert "<!--" not in rest and "\u2028" not in rest
    calls = re.findall(r"<script>comet\(([^<>\n]*)\);</script>\n", rest)
    assert [json.loads(c)["body"] for c in calls] == BODIES
    assert rest.strip() == "".join("<script>comet(%s);</script>\n" % c
                                   for c in calls).strip()
    # The client cannot choose the function.
    answer = server.request("HEAD", "/comet/x?transport=iframe&callback=evil")
    assert answer.status == 200
    with server.raw() as conn:
        conn.request("GET", "/comet/x?transport=iframe&callback=evil")
        conn.head()
        page = b""
        while b"</script>" not in page:
            page += conn.chunk()
        assert b"evil" not in page and b'"comet.receive"' in page


# -- polls and history ---------------------------------------------------------

def test_340_30_history_etag(server):
    """History answers have an ETag. A request with this ETag gets 304 if
    nothing has changed."""
    post(server, "etag", "1")
    target = "/comet/etag?since=0&wait=0"
    first = server.get(target)
    assert bodies(first) == ["1"]
    tag = first.header("etag")
    assert re.fullmatch(r'"[0-9a-f]{16}"', tag)
    assert first.header("cache-control") == "private, no-cache"
    for match in (tag, "W/" + tag, '"x", %s' % tag, "*"):
        answer = server.get(target, {"If-None-Match": match})
        assert answer.status == 304 and answer.body == b"", answer
        assert answer.header("etag") == tag
        assert answer.header("cache-control") == "private, no-cache"
        assert "Origin" in answer.header("vary"), answer
    for match, status in ((tag, 200), ("*", 200), ('"x"', 412)):
        answer = server.get(target, {"If-Match": match})
        assert answer.status == status, (match, answer)
    head = server.request("HEAD", target)
    assert head.status == 200 and head.header("etag") == tag, head
    assert head.header("content-length") == str(len(first.body))
    answer = server.request("HEAD", target, None, {"If-None-Match": tag})
    assert answer.status == 304, answer
    post(server, "etag", "2")
    second = server.get(target, {"If-None-Match": tag})
    assert bodies(second) == ["1", "2"]
    assert second.header("etag") != tag
    # A request that may wait is not history, even if it finds messages.  A
    # request with before= never waits.
    for other in ("/comet/etag?since=0", "/comet/etag?since=0&wait=1"):
        answer = server.get(other, {"If-None-Match": "*"})
        assert answer.status == 200 and answer.header("etag") is None
        assert answer.header("cache-control") == "no-store"
    assert server.get("/comet/etag?before=9007199254740991").header("etag")


def test_340_37_etag_is_of_the_content(server):
    """The ETag depends on nothing but the page.  Every child makes the same
    one, and messages of other channels do not change it.  It changes when
    another program deletes a message in the middle, or puts another one in its
    place."""
    target = "/comet/content?since=0&wait=0"
    for text in ("a", "b", "c"):
        post(server, "content", text)
    tags = [server.get(target).header("etag")]
    post(server, "other", "d")
    server.graceful()
    assert server.get(target, {"If-None-Match": tags[0]}).status == 304
    row = server.sql("SELECT timestamp FROM message WHERE channel='content'"
                     " AND body='b'")[0][0]
    for change, left in (
            ("DELETE FROM message WHERE timestamp=%s" % row, ["a", "c"]),
            ("DELETE FROM message WHERE channel='content' AND body='a'",
             ["c"]),
            ("INSERT INTO message (channel, body) VALUES ('content', 'b')",
             ["c", "b"])):
        server.sql(change)
        answer = server.get(target, {"If-None-Match": ", ".join(tags)})
        assert bodies(answer) == left
        tags.append(answer.header("etag"))
        assert server.get(target, {"If-None-Match": tags[-1]}).status == 304
    assert len(set(tags)) == 4


def test_340_31_history_without_a_date(server):
    """History has no modification date, so conditions on dates have no
    effect."""
    post(server, "dates", "1")
    now = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    for name in ("If-Modified-Since", "If-Unmodified-Since"):
        for date in (now, "Sat, 01 Jan 2000 00:00:00 GMT"):
            answer = server.get("/comet/dates?since=0&wait=0", {name: date})
            assert bodies(answer) == ["1"], (name, date, answer)
            assert answer.header("last-modified") is None
    answer = server.get("/comet/dates?since=0&wait=0",
                        {"Range": "bytes=0-3", "If-Range": '"x"'})
    assert answer.status == 200, answer


def test_340_32_compressed_history(server):
    """History is compressed. A request with the ETag of the compressed answer
    gets 304."""
    for size in (100, 50000):
        text = "compressible " * (size // 13)
        channel = "gz%d" % size
        post(server, channel, text)
        target = "/comet/%s?since=0&wait=0" % channel
        plain = server.get(target)
        packed = server.get(target, {"Accept-Encoding": "gzip"})
        assert packed.header("content-encoding") == "gzip", packed
        assert gzip.decompress(packed.body) == plain.body
        assert "Accept-Encoding" in packed.header("vary")
        tag = packed.header("etag")
        assert tag == plain.header("etag")[:-1] + '-gzip"'
        for headers in ({"Accept-Encoding": "gzip"}, {}):
            answer = server.get(target, dict(headers, **{
                "If-None-Match": tag}))
            assert answer.status == 304, answer
        post(server, channel, "more")
        answer = server.get(target, {"If-None-Match": tag,
                                     "Accept-Encoding": "gzip"})
        assert answer.status == 200
        assert len(json.loads(gzip.decompress(answer.body))["messages"]) == 2


def test_340_33_large_history(server):
    """A long history is sent in pieces, and still has all headers."""
    text = "x" * 60000
    for _ in range(4):
        post(server, "large", text)
    target = "/comet/large?since=0&wait=0"
    with server.raw(rcvbuf=4096) as conn:
        for _ in range(3):
            conn.request("GET", target)
            answer = conn.answer()
            assert bodies(answer) == [text] * 4
            assert answer.header("cache-control") == "private, no-cache"
            assert answer.header("etag")
            assert answer.header("content-length") == str(len(answer.body))
        conn.request("GET", target, {"If-None-Match": answer.header("etag")})
        assert conn.answer().status == 304
        conn.request("GET", "/static.txt")
        assert conn.answer().status == 200
    # The same is true of a connection that is to be closed.
    with server.raw(rcvbuf=4096) as conn:
        conn.request("GET", target, {"Connection": "close"})
        assert bodies(conn.answer()) == [text] * 4


def test_340_34_paging_backwards(server):
    """before= returns the newest `limit` messages before a timestamp, oldest
    first."""
    stamps = [post(server, "pages", str(i)) for i in range(10)]
    post(server, "pages-not", "x")
    page, seen = server.get("/comet/pages?before=9007199254740991&limit=4"), []
    while bodies(page):
        seen = bodies(page) + seen
        assert page.json()["timestamp"] \
            == page.json()["messages"][-1]["timestamp"]
        page = server.get("/comet/pages?limit=4&before=%d"
                          % page.json()["messages"][0]["timestamp"])
    assert seen == [str(i) for i in range(10)]
    assert page.json() == {"messages": [], "timestamp": stamps[0],
                           "gap": False}
    answer = server.get("/comet/pages?before=%d&since=%d"
                        % (stamps[8], stamps[5]))
    assert bodies(answer) == ["6", "7"]
    assert bodies(server.get("/comet/pages?before=%d" % stamps[0])) == []
    assert bodies(server.get("/comet/pages?before=1")) == []
    begin = time.monotonic()
    assert bodies(server.get("/comet/nothing?before=5&wait=1")) == []
    assert time.monotonic() - begin < 0.9 * SLOW    # the request did not wait


def test_340_35_poll(server):
    """A poll without news waits for the next message.  A poll that is behind
    gets up to `limit` messages."""
    cursor = post(server, "poll", "old")
    with server.raw() as conn:
        conn.request("GET", "/comet/poll?since=%d&wait=30" % cursor)
        server.wait_waiting(1, "poll")
        new = post(server, "poll", "new")
        answer = conn.answer()
        assert bodies(answer) == ["new"]
        assert answer.json()["timestamp"] == new
        assert answer.json()["gap"] is False
        assert answer.header("cache-control") == "no-store"
        conn.request("GET", "/comet/poll?since=%d" % new)
        answer = conn.answer()
        assert answer.json() == {"messages": [], "timestamp": new,
                                 "gap": False}
    for i in range(5):
        post(server, "poll", str(i))
    answer = server.get("/comet/poll?since=%d&limit=3" % new)
    assert bodies(answer) == ["0", "1", "2"]


def test_340_36_prefix_is_never_shown(server):
    """Answers name channels without the endpoint's prefix."""
    answer = server.request("POST", "/team/red", b"x",
                            {"Content-Type": "text/plain"})
    assert answer.json()["channel"] == "red", answer
    assert server.rows("team/red") == ["x"]
    for target in ("/team/red?since=0&wait=0", "/comet/team/red?since=0"):
        message = server.get(target).json()["messages"][0]
        assert message["channel"] == target[1:].split("?")[0].split(
            "/", 1)[1], message
    with Stream(server, "/team/red?since=0&format=json") as stream:
        assert json.loads(stream.until(1)[0])["channel"] == "red"


# -- gaps ----------------------------------------------------------------------

def test_340_40_gap(make_server):
    """Each transport reports a gap where retention deleted messages: a stream
    by an event, a poll in its JSON, an iframe by a call.  A moderator's DELETE
    causes no gap."""
    server = make_server(conf="CometRetain count=5\nCometPollTimeout 1s\n")
    stamps = [post(server, "g", str(i)) for i in range(40)]
    wait_until(lambda: len(server.rows("g")) == 5, 10, "the retention")
    floor = int(sqlite(server.db, "SELECT floor FROM channel "
                       "WHERE name='g';")[0][0])
    assert floor == stamps[34]
    with Stream(server, "/comet/g?since=%d" % stamps[3]) as stream:
        stream.until(6)
        gap = stream.events[0]
        assert gap["type"] == "gap" and gap["id"] == str(stamps[3])
        assert json.loads(gap["data"]) == {"since": stamps[3],
                                           "floor": floor}
        assert stream.data()[1:] == ["35", "36", "37", "38", "39"]
    with server.raw() as conn:
        conn.request("GET", "/comet/g?transport=iframe&since=%d" % stamps[3])
        assert conn.head() == 200
        page = b""
        while page.count(b"<script>comet(") < 6:
            page += conn.chunk()
        assert b'comet({"type":"gap","since":%d,"floor":%d});' \
            % (stamps[3], floor) in page
    for since, gap in ((stamps[3], True), (stamps[33], True), (floor, False),
                       (stamps[39], False), (0, False)):
        answer = server.get("/comet/g?wait=0&since=%d" % since)
        assert answer.json()["gap"] is gap, (since, answer)
        with Stream(server, "/comet/g?since=%d" % since) as stream:
            post(server, "other", "x")
            stream.until_bytes(b"id: %d\n\n" % since)
            if gap:
                stream.until(1)
            assert (b"event: gap" in stream.bytes) is gap
    sqlite(server.db, "DELETE FROM message WHERE timestamp=%d;" % stamps[37])
    answer = server.get("/comet/g?wait=0&since=%d" % stamps[36])
    assert answer.json()["gap"] is False
    assert bodies(answer) == ["38", "39"]
    assert server.get("/comet/other?wait=0&since=%d"
                      % stamps[3]).json()["gap"] is False


def test_340_41_no_gap_without_a_cursor(make_server):
    """A client without a cursor is told of no gap, though retention has removed
    messages from one of its channels that are newer than the first message of
    its replay.  Otherwise a page that reloads after a gap would reload for
    ever."""
    server = make_server(conf="CometMulti on\nCometPollTimeout 1s\n"
                         "CometReplay 2\n")
    post(server, "long", "not replayed")
    first = post(server, "long", "replayed")
    for i in range(5):
        post(server, "short", str(i))
    server.sql("INSERT INTO channel_retention VALUES('short', 1, NULL)")
    wait_until(lambda: len(server.history("short")) == 1, 15, "the retention")
    target = "/comet?channel=long&channel=short"
    for cursor, gap in (("", False), ("&since=%d" % first, True)):
        answer = server.get(target + "&wait=0" + cursor)
        assert answer.json()["gap"] is gap, answer
        with Stream(server, target + cursor) as stream:
            stream.until(2)
            assert (b"event: gap" in stream.bytes) is gap


def test_340_56_history_that_grows_by_encoding(server):
    """A client that reads fast gets ever longer pieces of the history.  If the
    text of a piece grows too much when it is encoded (each line gets a
    `data:`), the client gets the same messages in smaller pieces, each once."""
    texts = (["%d " % i + "x" * 100 for i in range(900)]
             + ["%d" % i + "\n" * 120 for i in range(900, 1800)])
    sqlite(server.db, "BEGIN;" + "".join(
        "INSERT INTO message(channel, body) VALUES('grows', '%s');" % text
        for text in texts) + "COMMIT;")
    with Stream(server, "/comet/grows?since=0") as stream:
        assert stream.until(len(texts)) == texts


# -- HTTP/2 --------------------------------------------------------------------

def test_340_60_http2(make_server):
    """A stream over HTTP/2 begins at once, continues, and ends when it is
    cancelled."""
    server = make_server(h2=True, conf="CometHeartbeat 1s\n"
                         "<Location \"/comet/short\">\n"
                         "  CometMaxLifetime 1s\n</Location>\n")
    with H2(server.port) as conn:
        events = []
        parser = EventStream(events.append)
        stream = conn.request("GET", "/comet/h?since=0", EVENTS)
        assert conn.pump(lambda: b"id: 0\n\n" in stream.body(), 5 * SLOW)
        assert stream.status == 200
        for i in range(5):
            post(server, "h", str(i))
            assert conn.pump(lambda: b"data: %d\n" % i in stream.body(),
                             5 * SLOW), stream.body()
        assert conn.pump(lambda: b":\n\n" in stream.body(), 5 * SLOW)
        parser.feed(stream.body())
        assert [e["data"] for e in events] == ["0", "1", "2", "3", "4"]
        conn.cancel(stream)
        server.wait_waiting(0)
        short = conn.request("GET", "/comet/short/h?since=0", EVENTS)
        conn.finish(short, 8 * SLOW)
        assert re.search(rb"retry: \d+\n\n$", short.body()), short.body()
        history = conn.request("GET", "/comet/h?since=0&wait=0")
        conn.finish(history, 5 * SLOW)
        assert len(json.loads(history.body())["messages"]) == 5


def test_340_61_http2_reload(make_server):
    """A reload also ends a stream over HTTP/2 with a retry field."""
    server = make_server(h2=True)
    with H2(server.port) as conn:
        stream = conn.request("GET", "/comet/h?since=0", EVENTS)
        assert conn.pump(lambda: b"id: 0\n\n" in stream.body(), 5 * SLOW)
        server.graceful()
        conn.finish(stream, 10 * SLOW)
        assert re.search(rb"retry: \d+\n\n$", stream.body()), stream.body()


# -- directives ----------------------------------------------------------------

@pytest.mark.parametrize("line, word", [
    ("CometTransports", "CometTransports"), ("CometTransports sse", "sse"),
    ("CometHeartbeat 0", "0"), ("CometHeartbeat 999ms", "999ms"),
    ("CometHeartbeat 2h", "2h"), ("CometMaxLifetime 0", "0"),
    ("CometMaxLifetime never", "never"), ("CometMaxLifetime 169h", "169h"),
    ("CometCallback alert(1)", "alert(1)"), ("CometCallback a..b", "a..b"),
    ("CometCallback 1a", "1a"), ("CometCallback a.", "a."),
    ("CometCallback \"</script>\"", "</script>"), ("CometCallback \"\"", ""),
    ("CometMulti maybe", "CometMulti"), ("CometMulti", "CometMulti")])
def test_340_70_wrong_directives(shared_server, line, word):
    """For a wrong value httpd -t names the directive and the value."""
    status, text = shared_server.configtest(
        'CometStore sqlite:{data}/comet.db\nCometEndpoint /comet\n' + line)
    assert status != 0, text
    assert line.split()[0] in text and word in text, text
    status, text = shared_server.configtest(
        'CometStore sqlite:{data}/comet.db\nCometEndpoint /comet\n'
        '<Directory "{docroot}">\n%s\n</Directory>\n'
        % re.sub(r" .*|$", " on" if "Multi" in line else " poll"
                 if "Transports" in line else " 5s", line, count=1))
    assert status != 0 and line.split()[0] in text, text


def test_340_71_right_directives(shared_server):
    for line in ("CometTransports all", "CometTransports EVENTS Poll",
                 "CometHeartbeat 1s", "CometHeartbeat 1h", "CometMulti on",
                 "CometMaxLifetime OFF", "CometMaxLifetime 168h",
                 "CometCallback $", "CometCallback _a.$b.c9"):
        status, text = shared_server.configtest(
            'CometStore sqlite:{data}/comet.db\nCometEndpoint /comet\n'
            '%s\n<Location "/comet/x">\n%s\n</Location>\n' % (line, line))
        assert status == 0, text


# -- other origins -------------------------------------------------------------

def test_340_83_cors_of_a_304(make_server):
    """A page of an allowed origin may read a 304."""
    server = make_server(conf="CometAllowOrigin https://app.example\n")
    post(server, "x", "x")
    origin = {"Origin": "https://app.example"}
    first = server.get("/comet/x?since=0&wait=0", origin)
    answer = server.get("/comet/x?since=0&wait=0", dict(
        origin, **{"If-None-Match": first.header("etag")}))
    assert answer.status == 304
    assert answer.header("access-control-allow-origin") \
        == "https://app.example", answer
    assert "ETag" in answer.header("access-control-expose-headers")
