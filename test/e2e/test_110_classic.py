# SPDX-License-Identifier: Apache-2.0
"""The original chat backend: publishing, polling, cursors, escaping."""

import html
import json
import re
import statistics
import time

import pytest

from http_client import Poller, gather, quote
from httpd_env import SLOW, sqlite, wait_until

SERVER = {"classics": 130, "conf": """
  CometPollTimeout 20s
  <Location "/chat/backend.php">
    CometPollTimeout 1s
  </Location>
  CometClassic /raw/backend.php raw
  <Location "/raw/backend.php">
    CometEscape off
  </Location>
  CometClassic /three/backend.php three
  <Location "/three/backend.php">
    CometReplay 3
  </Location>
  CometClassic /none/backend.php none
  <Location "/none/backend.php">
    CometReplay 0
    CometPollTimeout 1s
  </Location>
  CometClassic /off/backend.php off
  <Location "/off/backend.php">
    CometPublish off
    CometPollTimeout 1s
  </Location>
"""}

XHR = {"X-Requested-With": "XMLHttpRequest"}


@pytest.fixture
def chat(server):
    """Return the server, and the URL and channel of a backend that no test has
    used."""
    url, channel = server.next_classic()
    return server, url, channel


def poll(server, url, cursor=0, **kwargs):
    """Poll once and check the answer; return (msg, timestamp)."""
    query = "" if cursor is None else "?timestamp=%s" % cursor
    answer = server.get(url + query, **kwargs)
    assert answer.status == 200, answer
    data = answer.json()
    assert list(data) == ["msg", "timestamp"]
    return data["msg"], data["timestamp"]


def drain(server, url, count, cursor=0):
    """Read `count` messages with as many polls."""
    texts, stamps = [], []
    for _ in range(count):
        text, cursor = poll(server, url, cursor)
        texts.append(text)
        stamps.append(cursor)
    assert stamps == sorted(set(stamps))
    return texts


# -- publishing -------------------------------------------------------------

@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_110_01_publish(chat, method):
    """GET, POST and PUT store msg. The answer is 200 with an empty body and
    Content-Length 0."""
    server, url, channel = chat
    answer = server.request(method, url + "?msg=hello+there", None, XHR)
    assert answer.status == 200
    assert answer.body == b""
    assert answer.header("content-length") == "0"
    assert answer.header("content-type").replace(" ", "").lower() \
        == "text/html;charset=utf-8"
    assert server.rows(channel) == ["hello there"]


@pytest.mark.parametrize("query, text", [
    ("msg=a+b%20c%2Bd", "a b c+d"),
    ("msg=0", "0"),
    ("msg=+", " "),
    ("msg=first&msg=last", "last"),
    ("msg=a;b=c", "a;b=c"),
    ("msg=50%&x=1", "50%"),
    ("msg=%zz%4", "%zz%4"),
    ("MSG=upper&msg=lower", "lower"),
    ("msg=both&timestamp=999", "both"),
    ("timestamp=12&msg=both", "both"),
    ("x=1&&msg=second&=&", "second"),
    ("%6dsg=named", "named"),
    ("msg=a=b", "a=b"),
    ("msg=%E4%B8%AD%E6%96%87%F0%9F%98%80", "中文😀"),
    ("msg=tab%09nl%0D%0Aend%7f%1b", "tab\tnl\r\nend\x7f\x1b"),
])
def test_110_02_query(chat, query, text):
    """The query is decoded as PHP would decode it."""
    server, url, channel = chat
    answer = server.get(url + "?" + query, XHR)
    assert answer.status == 200 and answer.body == b"", answer
    got, _ = poll(server, url)
    assert html.unescape(got) == text
    assert [m["body"] for m in server.history(channel)] == [text]


def test_110_03_raw_utf8(chat):
    """Raw UTF-8 bytes in the request line are stored unchanged."""
    server, url, channel = chat
    with server.raw() as conn:
        conn.request("GET", url + "?msg=中文", XHR)
        answer = conn.answer()
    assert answer.status == 200, answer
    assert server.rows(channel) == ["中文"]


def test_110_04_form_body_ignored(chat):
    """A form body publishes nothing, and does not disturb the next request."""
    server, url, channel = chat
    server.publish("from the query", url)
    with server.raw() as conn:
        for _ in range(2):
            conn.request("POST", url + "?timestamp=0",
                         {"Content-Type":
                          "application/x-www-form-urlencoded"},
                         b"msg=from+the+body&timestamp=5")
            answer = conn.answer()
            if answer.status == 200:
                assert answer.json()["msg"] == "from the query"
            else:
                assert answer.status == 405
    assert server.rows(channel) == ["from the query"]


@pytest.mark.parametrize("query", [
    "msg=%ff", "msg=ok%c3", "msg=%ed%a0%80", "msg=%c0%80", "msg=%00",
    "msg=a%00b", "msg=%f4%90%80%80"])
def test_110_05_bad_bytes(chat, query):
    """A msg with invalid UTF-8 or NUL is refused with 400 and a JSON error, and
    is not stored."""
    server, url, channel = chat
    answer = server.get(url + "?" + query, XHR)
    assert answer.status == 400, answer
    assert re.search("msg|message", answer.json()["error"])
    assert answer.header("content-type").startswith("application/json")
    assert server.rows(channel) == []


def test_110_06_sizes(chat):
    """Messages of 4096 and 8000 bytes are stored. A URL of 12 kB, longer than
    httpd's LimitRequestLine, is refused, and nothing of it is stored."""
    server, url, channel = chat
    server.publish("x" * 4096, url)
    server.publish("y" * 8000, url)
    answer = server.get(url + "?msg=" + quote("中" * 1365), XHR)
    assert answer.status == 414, answer
    want = ["x" * 4096, "y" * 8000]
    assert server.rows(channel) == want
    assert drain(server, url, len(want)) == want


def test_110_07_over_the_limit(make_server):
    """A message over CometMaxMessageSize is refused with 413 and a JSON error.
    A message of exactly that size is stored."""
    server = make_server(conf="CometMaxMessageSize 100")
    answer = server.get("/chat/backend.php?msg=" + "x" * 101, XHR)
    assert answer.status == 413, answer
    assert "error" in answer.json()
    server.publish("x" * 100)
    server.publish("中" * 33)
    answer = server.get("/chat/backend.php?msg=" + quote("中" * 34), XHR)
    assert answer.status == 413
    assert server.rows("chat") == ["x" * 100, "中" * 33]


def test_110_08_head_never_publishes(chat):
    """A HEAD request with msg is refused with 405 and an Allow header, and
    nothing is stored."""
    server, url, channel = chat
    answer = server.request("HEAD", url + "?msg=x", None, XHR)
    assert answer.status == 405, answer
    assert "GET" in answer.header("allow")
    assert server.rows(channel) == []


@pytest.mark.parametrize("query", ["", "?msg=x", "?timestamp=0"])
@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PROPFIND"])
def test_110_09_methods(chat, method, query):
    """Other methods are refused with 405 and an Allow header, and nothing is
    stored."""
    server, url, channel = chat
    answer = server.request(method, url + query, None, XHR)
    assert answer.status == 405, answer
    assert "GET" in answer.header("allow")
    assert server.rows(channel) == []


def test_110_10_options(chat):
    """OPTIONS lists the allowed methods."""
    server, url, _ = chat
    answer = server.request("OPTIONS", url)
    assert answer.status in (200, 204)
    assert "GET" in answer.header("allow")


def test_110_11_publish_off(server):
    """With CometPublish off, a publish is refused with 403 and nothing is
    stored. Polls still work."""
    answer = server.get("/off/backend.php?msg=x", XHR)
    assert answer.status == 403, answer
    assert "error" in answer.json()
    assert server.rows("off") == []
    assert poll(server, "/off/backend.php")[0] == ""


# -- polling ----------------------------------------------------------------

def test_110_20_answer(chat):
    """A poll's answer has the right type, headers and keys."""
    server, url, _ = chat
    server.publish("hi", url)
    answer = server.get(url + "?timestamp=0")
    assert answer.status == 200
    assert answer.header("content-type").replace(" ", "").lower() \
        == "application/json;charset=utf-8"
    assert "no-store" in answer.header("cache-control")
    assert answer.header("x-content-type-options") == "nosniff"
    data = answer.json()
    assert list(data) == ["msg", "timestamp"]
    assert data["msg"] == "hi"
    assert isinstance(data["timestamp"], int)
    assert abs(data["timestamp"] / 1e6 - time.time()) < 60
    assert data["timestamp"] < 2 ** 53


def test_110_21_next_message(chat):
    """Each poll returns the next message after its cursor."""
    server, url, _ = chat
    want = ["m%d" % i for i in range(10)]
    for text in want:
        server.publish(text, url)
    assert drain(server, url, 10) == want
    first = poll(server, url, 0)
    assert poll(server, url, first[1])[0] == "m1"


@pytest.mark.parametrize("query", ["", "?timestamp=", "?timestamp=0",
                                   "?timestamp=00", "?msg=",
                                   "?msg=&timestamp=0", "?Timestamp=5",
                                   "?timestamp=7&timestamp=0"])
def test_110_22_no_cursor(chat, query):
    """If the cursor is empty, absent or 0, the poll returns the oldest of the
    last CometReplay messages."""
    server, url, _ = chat
    for i in range(55):
        server.post(url.split("/")[1], "m%d" % i)
    answer = server.get(url + query)
    assert answer.json()["msg"] == "m5"


def test_110_23_replay(server):
    """With CometReplay N a new client starts with the last N messages. With 0
    it gets only new messages."""
    for i in range(5):
        server.publish("r%d" % i, "/three/backend.php")
        server.publish("n%d" % i, "/none/backend.php")
    assert drain(server, "/three/backend.php", 3) == ["r2", "r3", "r4"]
    text, cursor = poll(server, "/none/backend.php", 0)
    assert text == "" and cursor > 0
    server.publish("n5", "/none/backend.php")
    assert poll(server, "/none/backend.php", cursor)[0] == "n5"


def test_110_24_any_old_cursor(chat):
    """A poll whose cursor is before the first message returns the first
    message."""
    server, url, _ = chat
    server.publish("one", url)
    server.publish("two", url)
    assert poll(server, url, 1)[0] == "one"
    assert poll(server, url, 1795229965)[0] == "one"


def test_110_25_ahead_is_a_resync(chat):
    """A poll whose cursor is ahead of the store starts over; it does not wait
    for ever."""
    server, url, _ = chat
    server.publish("one", url)
    server.publish("two", url)
    for cursor in (2 ** 53 - 1, int((time.time() + 86400) * 1e6)):
        text, stamp = poll(server, url, cursor, timeout=3)
        assert text == "one"
        assert stamp < cursor


def test_110_26_not_ahead(chat):
    """A cursor is not ahead if it equals the newest timestamp of another
    channel: the poll waits."""
    server, url, _ = chat
    server.publish("one", url)
    newest = server.post("elsewhere", "x")
    with server.raw() as conn:
        conn.request("GET", url + "?timestamp=%d" % newest)
        assert conn.head() == 200
        assert conn.silent(0.3)
        server.publish("two", url)
        assert json.loads(conn.body())["msg"] == "two"


@pytest.mark.parametrize("cursor", [
    "-1", "1e9", "0x10", "1.5", "NaN", "abc", "null", "undefined", "1abc",
    "9007199254740992", "1" + "0" * 30, "+1", "%201", "1%20", "%ff%fe",
    "1%00", "0%27+OR+1", "%EF%BC%91", "-0", "Infinity", "1,2", "--",
    "9" * 400], ids=lambda c: c[:40])
def test_110_27_bad_cursors(chat, cursor):
    """A malformed cursor is refused at once with a 400 that names the
    parameter."""
    server, url, _ = chat
    server.publish("one", url)
    answer = server.get(url + "?timestamp=" + cursor, timeout=3)
    assert answer.status == 400, answer
    assert "timestamp" in answer.json()["error"]
    assert answer.header("content-type").startswith("application/json")


def test_110_28_array_key(chat):
    """`timestamp[]` is not taken for the parameter `timestamp`, and causes no
    5xx."""
    server, url, _ = chat
    server.publish("one", url)
    answer = server.get(url + "?timestamp[]=1", timeout=3)
    assert answer.status in (200, 400)


def test_110_29_held(chat):
    """A held poll gets its headers at once, and nothing more until a message is
    published."""
    server, url, _ = chat
    server.publish("old", url)
    _, cursor = poll(server, url)
    with server.raw() as conn:
        begin = time.monotonic()
        conn.request("GET", url + "?timestamp=%d" % cursor)
        assert conn.head() == 200
        assert conn.stamp - begin < 0.5 * SLOW
        assert conn.framing == "chunked"
        assert "no-store" in conn.headers["cache-control"]
        server.wait_waiting(1, "classic")
        assert conn.silent(0.5)
        server.publish("new", url)
        data = json.loads(conn.body())
        assert data["msg"] == "new" and data["timestamp"] > cursor


def test_110_30_held_empty_channel(chat):
    """The first message of a channel reaches a waiting page."""
    server, url, _ = chat
    with server.raw() as conn:
        conn.request("GET", url + "?timestamp=0")
        assert conn.head() == 200
        server.wait_waiting(1, "classic")
        server.publish("first", url)
        assert json.loads(conn.body())["msg"] == "first"


def test_110_31_wake_latency(chat):
    """A waiting page gets a message within 50 ms in the median, and always
    within a second."""
    server, url, _ = chat
    lags = []
    with Poller(server.port, url) as page:
        for i in range(15):
            server.wait_waiting(1, "classic")
            begin = time.monotonic()
            server.publish("m%d" % i, url)
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - begin)
        assert not page.failures
    assert statistics.median(lags) < 0.05 * SLOW, lags
    assert max(lags) < 1.0 * SLOW, lags


@pytest.mark.parametrize("cursor", [None, 0, 1, "given", "ahead"])
def test_110_32_no_news(server, cursor):
    """A poll without news gets {"msg":"","timestamp":T} after
    CometPollTimeout."""
    url = "/chat/backend.php"  # CometPollTimeout is 1s; no test publishes here
    server.post("noise", "x")
    sent = {"given": int(time.time() * 1e6) - 5000000,
            "ahead": 2 ** 53 - 1}.get(cursor, cursor)
    if cursor == "given":  # below the store's newest timestamp, so not ahead
        sent = min(sent, server.post("noise", "y"))
    begin = time.monotonic()
    text, stamp = poll(server, url, sent)
    took = time.monotonic() - begin
    assert text == ""
    assert 0.8 <= took <= 1.8 * SLOW
    if cursor in (1, "given"):
        assert stamp == sent
    else:
        assert stamp < 2 ** 53 - 1


def test_110_33_no_news_empty_store(make_server):
    """In an empty store, polls without a cursor get the cursor 0."""
    server = make_server(conf="CometPollTimeout 500ms")
    assert poll(server, "/chat/backend.php", 0) == ("", 0)
    assert poll(server, "/chat/backend.php", None) == ("", 0)
    server.publish("x")
    assert poll(server, "/chat/backend.php", 0)[0] == "x"


def test_110_34_no_news_then_message(chat):
    """A message published between two polls is not lost."""
    server, url, channel = chat
    text, cursor = poll(server, "/chat/backend.php", 0)
    assert text == ""
    server.post("chat", "between")
    assert poll(server, "/chat/backend.php", cursor)[0] == "between"
    assert server.rows("chat") == ["between"]
    sqlite(server.db, "DELETE FROM message WHERE channel='chat';")


def test_110_35_poll_timeout_below_timeout(make_server):
    """A poll is held for at most 4/5 of Timeout, and then gets the no-news
    answer."""
    server = make_server(timeout=2, conf="CometPollTimeout 25s")
    server.publish("x")
    _, cursor = poll(server, "/chat/backend.php")
    begin = time.monotonic()
    assert poll(server, "/chat/backend.php", cursor) == ("", cursor)
    assert 1.2 <= time.monotonic() - begin <= 2.0 * SLOW


def test_110_36_head_poll(chat):
    """A HEAD request for a poll gets the headers at once, with or without
    news."""
    server, url, _ = chat
    for _ in range(2):
        begin = time.monotonic()
        answer = server.request("HEAD", url + "?timestamp=0")
        assert answer.status == 200
        assert time.monotonic() - begin < 1.0 * SLOW
        assert answer.header("content-type").startswith("application/json")
        server.publish("x", url)


def test_110_37_conditional_requests_ignored(chat):
    """If-None-Match and Range do not change the answer."""
    server, url, _ = chat
    server.publish("x", url)
    answer = server.get(url, {"If-None-Match": "*", "Range": "bytes=0-1",
                              "If-Modified-Since":
                              "Mon, 26 Jul 2027 05:00:00 GMT"})
    assert answer.status == 200
    assert answer.json()["msg"] == "x"


def test_110_38_http10_poll(chat):
    """An HTTP/1.0 poll is held and answered without chunks; then its connection
    is closed."""
    server, url, _ = chat
    with server.raw() as conn:
        conn.request("GET", url + "?timestamp=0", version="1.0")
        assert conn.head() == 200
        assert conn.framing in ("close", "length")
        server.publish("x", url)
        assert json.loads(conn.body())["msg"] == "x"
        assert conn.at_eof(3)


def test_110_39_path_below(chat):
    """A URL that only begins with the backend's path is not the backend."""
    server, url, channel = chat
    assert server.get(url + "/x?msg=y", XHR).status == 404
    assert server.get(url + "x?msg=y", XHR).status == 404
    assert server.rows(channel) == []


# -- the text ---------------------------------------------------------------

NASTY = ["<b>bold</b>", "a & b", "\"double\" 'single'", "</script><!--",
         "&lt;already&gt;", "\\ back / slash", "line\r\nbreak\ttab",
         "\u2028\u2029", "中文 العربية עברית", "😀👩‍👩‍👧‍👦", "\x01\x1b\x7f",
         "{}\":[]", "%41+", "a" * 4000, "é" * 500, "\ufeffbom", "\ufffe",
         "javascript:alert(1)", "<img src=x onerror=alert(1)>"]


def test_110_50_escape(chat):
    """msg is HTML-escaped, and the JSON contains no byte that is dangerous in
    HTML or in a script."""
    server, url, _ = chat
    for text in NASTY:
        server.publish(text, url)
    cursor = 0
    for text in NASTY:
        answer = server.get(url + "?timestamp=%d" % cursor)
        for byte in b"<>&":
            assert bytes([byte]) not in answer.body, answer
        assert "\u2028".encode() not in answer.body
        assert "\u2029".encode() not in answer.body
        assert not any(byte < 32 for byte in answer.body.strip()), answer
        msg = answer.json()["msg"]
        assert html.unescape(msg) == html.unescape(html.escape(text)) \
            or msg == html.escape(text)
        for char in "<>\"'":
            assert char not in msg
        cursor = answer.json()["timestamp"]


def test_110_51_escape_off(server):
    """With CometEscape off, msg is the text itself, and the JSON is still
    safe."""
    for text in NASTY:
        server.publish(text, "/raw/backend.php")
    cursor = 0
    for text in NASTY:
        answer = server.get("/raw/backend.php?timestamp=%d" % cursor)
        for byte in b"<>&":
            assert bytes([byte]) not in answer.body, answer
        assert answer.json()["msg"] == text
        cursor = answer.json()["timestamp"]


def test_110_52_utf8_is_raw(chat):
    """Text outside ASCII is sent as UTF-8."""
    server, url, _ = chat
    server.publish("中😀", url)
    assert "中😀".encode() in server.get(url).body


# -- many messages ----------------------------------------------------------

def test_110_60_burst(chat):
    """10 messages that are published within a second all arrive, once and in
    order."""
    server, url, _ = chat
    want = ["b%d" % i for i in range(10)]
    with Poller(server.port, url) as one, Poller(server.port, url) as two:
        server.wait_waiting(2, "classic")
        begin = time.monotonic()
        for text in want:
            server.publish(text, url)
        assert time.monotonic() - begin < 1.0 * SLOW
        assert one.wait_for(10, 5 * SLOW) == want
        assert two.wait_for(10, 5 * SLOW) == want
        assert not one.failures + two.failures


def test_110_61_parallel(chat):
    """40 messages are posted in parallel.  Each arrives once, and all pages get
    the same order."""
    server, url, channel = chat
    want = {"p%d" % i for i in range(40)}
    with Poller(server.port, url) as one, Poller(server.port, url) as two:
        server.wait_waiting(2, "classic")
        gather([lambda t=t: server.publish_again(t, url) for t in want])
        got = one.wait_for(40, 10 * SLOW)
        assert two.wait_for(40, 10 * SLOW) == got
    assert sorted(got) == sorted(want)
    assert server.rows(channel) == got


def test_110_62_away(chat):
    """10 messages that are published while the page is closed all arrive when
    the page returns."""
    server, url, _ = chat
    with Poller(server.port, url) as page:
        server.publish("before", url)
        page.wait_for(1, 5 * SLOW)
        cursor = page.cursor
    server.wait_waiting(0)
    want = ["away%d" % i for i in range(10)]
    for text in want:
        server.publish(text, url)
    with Poller(server.port, url, cursor=cursor) as page:
        assert page.wait_for(10, 5 * SLOW) == want


def test_110_63_counters(chat):
    """The counters of waiting clients, of published and of delivered messages
    are right."""
    server, url, _ = chat
    before = server.status()
    with Poller(server.port, url) as page:
        server.wait_waiting(1, "classic")
        waiting = server.status()["waiting"]
        assert (waiting["classic"], waiting["poll"], waiting["clock"]) \
            == (1, 0, 0)
        for i in range(5):
            server.publish("m%d" % i, url)
        page.wait_for(5, 5 * SLOW)
    after = server.status()
    assert after["published"] - before["published"] == 5
    wait_until(lambda: server.status()["delivered"]
               - before["delivered"] == 5, 3, "delivered to be 5")
    assert after["store_errors"] == before["store_errors"]


def test_110_64_channels_apart(server):
    """A poll returns messages of its own channel only."""
    (one, _), (two, _) = server.next_classic(), server.next_classic()
    for i in range(5):
        server.publish("one%d" % i, one)
        server.publish("two%d" % i, two)
    assert drain(server, one, 5) == ["one%d" % i for i in range(5)]
    assert drain(server, two, 5) == ["two%d" % i for i in range(5)]
