# SPDX-License-Identifier: Apache-2.0
"""The endpoint: POST, 201, the since/wait poll, channels, bad input."""

import base64
import json
import threading
import time

import pytest

from http_client import gather, quote
from httpd_env import SLOW, sqlite, wait_until

SERVER = {"conf": """
  CometEndpoint /a shared/
  CometEndpoint /b shared/
  <Location "/comet/quiet">
    CometPublish off
  </Location>
  <Location "/comet/private">
    AuthType Basic
    AuthName "test"
    AuthUserFile "{root}/conf/passwd"
    Require valid-user
  </Location>
  <Location "/comet/judged">
    AuthType Basic
    AuthName "test"
    AuthUserFile "{root}/conf/passwd"
    Require comet-publish user anna
  </Location>
  <Location "/comet/nobody">
    Require comet-publish all denied
  </Location>
  <Location "/comet/two">
    CometReplay 2
    CometPollTimeout 1s
  </Location>
"""}


@pytest.fixture(scope="module", autouse=True)
def passwords(shared_server):
    """Write the passwords anna:secret and bert:secret (SHA1, like htpasswd
    -s)."""
    with open(shared_server.root + "/conf/passwd", "w") as out:
        for name in ("anna", "bert"):
            out.write(name + ":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")


def auth(name, password="secret"):
    token = base64.b64encode(("%s:%s" % (name, password)).encode())
    return {"Authorization": "Basic " + token.decode()}


def post(server, target, body=b"x", ctype="text/plain", headers=None):
    given = {"Content-Type": ctype} if ctype else {}
    given.update(headers or {})
    return server.request("POST", target, body, given)


def check_common(answer):
    """Check the headers that all answers of the endpoint must have."""
    assert answer.header("x-content-type-options") == "nosniff", answer
    kept = answer.header("etag") is not None   # only history answers have one
    assert answer.header("cache-control") \
        == ("private, no-cache" if kept else "no-store"), answer
    vary = answer.header("vary", "").lower()
    assert "accept" in vary and "origin" in vary, answer
    assert answer.header("cross-origin-resource-policy") \
        == "same-origin", answer


def check_error(answer, status, word=None):
    assert answer.status == status, answer
    assert answer.header("content-type").startswith("application/json")
    error = answer.json()["error"]
    assert isinstance(error, str) and error
    if word:
        assert word in error, error


# -- publishing -------------------------------------------------------------

@pytest.mark.parametrize("ctype", [
    "text/plain", "text/plain; charset=utf-8", "text/markdown", "text/html",
    "TEXT/Plain;charset=UTF-8", "application/json"])
def test_120_01_post_body(server, ctype):
    """A body with a text type is stored unchanged as the message."""
    channel = "body-" + quote(ctype).replace("/", "-")
    text = '{"a": "<b>中文😀</b>"}\r\n'
    answer = post(server, "/comet/" + quote(channel), text.encode(), ctype)
    assert answer.status == 201, answer
    check_common(answer)
    assert answer.header("content-type").startswith("application/json")
    data = answer.json()
    assert set(data) == {"timestamp", "channel"}
    assert data["channel"] == channel
    assert abs(data["timestamp"] / 1e6 - time.time()) < 60
    assert sqlite(server.db, "SELECT timestamp, type, author IS NULL, "
                  "hex(body) FROM message WHERE channel='%s';" % channel) \
        == [[str(data["timestamp"]), "message", "1",
             text.encode().hex().upper()]]


@pytest.mark.parametrize("body, text, kind", [
    ("msg=hello+w%C3%B6rld%2B", "hello wörld+", "message"),
    ("msg=x&type=alarm", "x", "alarm"),
    ("type=alarm&msg=x&author=eve", "x", "alarm"),
    ("msg=a%26b%3Dc", "a&b=c", "message")])
def test_120_02_post_form(server, body, text, kind):
    """A form with msg= (and type=) publishes, but it cannot set the author."""
    stamp = post(server, "/comet/form", body.encode(),
                 "application/x-www-form-urlencoded").json()["timestamp"]
    assert sqlite(server.db, "SELECT type, author IS NULL, body FROM message"
                  " WHERE timestamp=%d;" % stamp) == [[kind, "1", text]]


def test_120_03_type_in_query(server):
    """?type= sets the event's name."""
    answer = post(server, "/comet/typed?type=alarm", b"fire")
    assert answer.status == 201
    assert server.history("typed")[0]["type"] == "alarm"


@pytest.mark.parametrize("path, channel", [
    ("room/42", "room/42"), ("room%2042", "room 42"),
    ("%E4%B8%AD%E6%96%87", "中文"), ("a.b", "a.b"), ("...", "..."),
    ("x" * 255, "x" * 255), ("a%3Fb%23c", "a?b#c"), ("a;b=c", "a;b=c"),
    ("%25", "%"), ("quote'and\"", "quote'and\"")])
def test_120_04_channel_is_the_path(server, path, channel):
    """The channel is the part of the path below the endpoint, decoded."""
    answer = post(server, "/comet/" + path, b"x")
    assert answer.status == 201, answer
    assert answer.json()["channel"] == channel
    got = server.get("/comet/" + path + "?since=0&wait=0").json()
    assert [m["channel"] for m in got["messages"]] == [channel]


@pytest.mark.parametrize("path", [
    "/comet/", "/comet", "/comet/a%01b", "/comet/%7f", "/comet/%ff",
    "/comet/" + "x" * 256, "/comet/a%0Ab", "/comet/%ed%a0%80",
    "/comet/" + quote("中" * 86), "/comet/a/"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_120_05_bad_channel(server, path, method):
    """A bad or missing channel name is refused with 400 and an error that says
    so. Nothing is stored."""
    before = sqlite(server.db, "SELECT count(*) FROM message;")
    answer = server.request(method, path + ("?wait=0" if method == "GET"
                                            else ""),
                            b"x" if method == "POST" else None,
                            {"Content-Type": "text/plain"})
    assert answer.status == 400, answer
    assert answer.json()["error"].startswith("channel: "), answer
    assert sqlite(server.db, "SELECT count(*) FROM message;") == before


@pytest.mark.parametrize("path", [
    "/comet/a/../b", "/comet/./b", "/comet/a//b", "/comet/%2e%2e/b",
    "/comet/a%2fb", "/comet/a%00b", "/comet/a/..", "/comet/../x"])
def test_120_06_odd_paths(server, path):
    """No URL that httpd normalises or refuses leads to a bad channel name."""
    with server.raw() as conn:
        conn.request("POST", path, {"Content-Type": "text/plain"}, b"x")
        answer = conn.answer()
    assert answer.status in (201, 400, 404, 405), answer
    names = [r[0] for r in sqlite(server.db,
                                  "SELECT DISTINCT channel FROM message;")]
    for name in names:
        assert not {"", ".", ".."} & set(name.split("/")), name


def test_120_07_author(server):
    """The author is the authenticated user."""
    answer = post(server, "/comet/private?author=eve", b"hi",
                  headers=auth("anna"))
    assert answer.status == 201, answer
    got = server.get("/comet/private?since=0&wait=0", auth("bert")).json()
    assert [m["author"] for m in got["messages"]] == ["anna"]
    assert sqlite(server.db, "SELECT author FROM message WHERE "
                  "channel='private';") == [["anna"]]


def test_120_08_require(server):
    """Require restricts both publishing to a channel and reading it."""
    for headers in ({}, auth("anna", "wrong")):
        assert post(server, "/comet/private", headers=headers).status == 401
        assert server.get("/comet/private?wait=0", headers).status == 401


def test_120_09_require_comet_publish(server):
    """Require comet-publish restricts publishing only."""
    assert server.get("/comet/judged?wait=0").status == 200
    assert post(server, "/comet/judged").status == 401
    assert post(server, "/comet/judged",
                headers=auth("bert")).status in (401, 403)
    assert post(server, "/comet/judged",
                headers=auth("anna")).status == 201
    assert server.get("/comet/nobody?wait=0").status == 200
    assert post(server, "/comet/nobody").status in (401, 403)
    assert server.rows("nobody") == []
    assert server.rows("judged") == ["x"]


def test_120_10_publish_off(server):
    """With CometPublish off a POST gets 403; reading still works."""
    check_error(post(server, "/comet/quiet"), 403)
    assert server.get("/comet/quiet?wait=0").status == 200
    assert server.rows("quiet") == []


@pytest.mark.parametrize("body, ctype, status", [
    (b"&", "application/x-www-form-urlencoded", 400),
    (b"text=x", "application/x-www-form-urlencoded", 400),
    (b"msg=%ff", "application/x-www-form-urlencoded", 400),
    (b"msg=a%00", "application/x-www-form-urlencoded", 400),
    (b"a\xffb", "text/plain", 400), (b"a\x00b", "text/plain", 400),
    (b"\xed\xa0\x80", "text/plain", 400),
    (b"x", "image/png", 415), (b"x", "application/octet-stream", 415),
    (b"x", "multipart/form-data; boundary=x", 415),
    (b"x" * 65537, "text/plain", 413)])
def test_120_11_bad_bodies(server, body, ctype, status):
    """A bad body gets the proper status and a JSON error, and nothing is
    stored."""
    answer = post(server, "/comet/bad", body, ctype)
    check_error(answer, status)
    check_common(answer)
    assert server.rows("bad") == []


def test_120_12_at_the_limit(server):
    """A message of 65,536 bytes is stored completely."""
    text = "é" * 32768
    assert post(server, "/comet/big", text.encode()).status == 201
    assert server.history("big")[0]["body"] == text


def test_120_13_without_length(server):
    """A POST without a length stores an empty message, and the connection stays
    usable."""
    with server.raw() as conn:
        conn.request("POST", "/comet/nolen", {"Content-Type": "text/plain"})
        assert conn.answer().status == 201
        if "close" not in conn.headers.get("connection", "").lower():
            conn.request("GET", "/static.txt")
            assert conn.answer().status == 200
    assert server.rows("nolen") == [""]


def test_120_14_chunked(server):
    """A chunked body is accepted, but gets 413 if it is over the limit."""
    with server.raw() as conn:
        conn.send(b"POST /comet/chunked HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n"
                  b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert conn.answer().status == 201
        conn.request("GET", "/comet/chunked?since=0&wait=0")
        assert conn.answer().json()["messages"][0]["body"] == "abcde"
    with server.raw() as conn:
        conn.send(b"POST /comet/chunked HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n")
        piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
        try:
            conn.send(piece * 3 + b"0\r\n\r\n")
        except ConnectionError:
            pass
        check_error(conn.answer(), 413)
    assert server.rows("chunked") == ["abcde"]


def test_120_15_no_content_type(server):
    """A body without a type is stored as text or refused with 415. It never
    causes a 5xx."""
    answer = post(server, "/comet/notype", b"x", None)
    assert answer.status in (201, 415), answer


def test_120_16_expect_continue(server):
    """Expect: 100-continue works (curl sends it for large bodies)."""
    with server.raw() as conn:
        conn.send(b"POST /comet/expect HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\nContent-Length: 5\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        conn.until(b"100 Continue\r\n\r\n")
        conn.send(b"hello")
        assert conn.answer().status == 201


def test_120_17_cut_body(server):
    """A body that does not arrive completely is not stored."""
    with server.raw() as conn:
        conn.send(b"POST /comet/cut HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\nContent-Length: 50\r\n\r\n"
                  b"half a mes")
        conn.sock.shutdown(1)
        try:
            conn.answer()
        except ConnectionError:
            pass
    assert server.rows("cut") == []


def test_120_18_smuggling(server):
    """Bytes after a body are the next request, not part of the message."""
    with server.raw() as conn:
        conn.send(conn.format("POST", "/comet/one", {"Content-Type":
                                                     "text/plain"}, b"abc")
                  + conn.format("POST", "/comet/two-b",
                                {"Content-Type": "text/plain"}, b"def")
                  + conn.format("GET", "/static.txt"))
        assert conn.answer().json()["channel"] == "one"
        assert conn.answer().json()["channel"] == "two-b"
        assert conn.answer().body == b"a static file\n"
    assert server.rows("one") == ["abc"]
    assert server.rows("two-b") == ["def"]


# -- reading ----------------------------------------------------------------

def test_120_20_answer(server):
    """A poll's answer has the right keys, types and headers."""
    one = server.post("read", "first")
    two = server.post("read", "second <b>")
    answer = server.get("/comet/read?since=0&wait=0")
    check_common(answer)
    assert answer.header("content-type").startswith("application/json")
    assert b"<" not in answer.body
    data = answer.json()
    assert set(data) == {"messages", "timestamp", "gap"}
    assert data["timestamp"] == two and data["gap"] is False
    assert data["messages"] == [
        {"timestamp": one, "channel": "read", "type": "message",
         "author": None, "body": "first"},
        {"timestamp": two, "channel": "read", "type": "message",
         "author": None, "body": "second <b>"}]


def test_120_21_since_and_limit(server):
    """Only messages after `since` are returned, at most `limit`, and the cursor
    advances."""
    stamps = [server.post("page", "m%d" % i) for i in range(7)]
    assert stamps == sorted(set(stamps))
    cursor, got = 0, []
    for _ in range(4):
        data = server.get("/comet/page?since=%d&limit=2&wait=0"
                          % cursor).json()
        assert len(data["messages"]) <= 2
        got += [m["body"] for m in data["messages"]]
        cursor = data["timestamp"]
    assert got == ["m%d" % i for i in range(7)]
    assert cursor == stamps[-1]
    data = server.get("/comet/page?since=%d&wait=0" % stamps[3]).json()
    assert [m["body"] for m in data["messages"]] == ["m4", "m5", "m6"]


def test_120_22_default_limit(server):
    """The limit is 100 by default and at most 1000."""
    sqlite(server.db, "".join(
        ["BEGIN IMMEDIATE;"]
        + ["INSERT INTO message(channel, body) VALUES('lim','m%d');" % i
           for i in range(1005)] + ["COMMIT;"]))
    assert len(server.history("lim", "since=0&wait=0")) == 100
    full = server.history("lim", "since=0&wait=0&limit=1000")
    assert [m["body"] for m in full] == ["m%d" % i for i in range(1000)]


def test_120_23_replay(server):
    """If `since` is absent or empty, the answer starts with the last
    CometReplay messages."""
    for i in range(4):
        server.post("two", "m%d" % i)
    for query in ("?wait=0", "?since=&wait=0", "?limit=9&wait=0"):
        assert [m["body"] for m in
                server.get("/comet/two" + query).json()["messages"]] \
            == ["m2", "m3"]
    for query in ("?since=0&wait=0", "?since=1&wait=0"):
        assert len(server.get("/comet/two" + query).json()["messages"]) == 4


def test_120_24_wait(server):
    """With wait=S a poll without news ends with an empty list after S seconds.
    With wait=0 it ends at once."""
    stamp = server.post("wait", "x")
    for wait, low, high in ((0, 0, 0.5), (1, 0.8, 1.8)):
        begin = time.monotonic()
        data = server.get("/comet/wait?since=%d&wait=%d"
                          % (stamp, wait)).json()
        assert low <= time.monotonic() - begin <= high * SLOW
        assert data == {"messages": [], "timestamp": stamp, "gap": False}
    begin = time.monotonic()
    stamp = server.get("/comet/two?since=&wait=0").json()["timestamp"]
    data = server.get("/comet/two?since=%d" % stamp).json()
    assert data["messages"] == []
    assert 0.8 <= time.monotonic() - begin <= 1.8 * SLOW


def test_120_25_wait_is_lowered(make_server):
    """A wait longer than Timeout allows is lowered rather than refused."""
    server = make_server(timeout=2)
    begin = time.monotonic()
    answer = server.get("/comet/x?wait=3600")
    assert answer.status == 200, answer
    assert answer.json()["messages"] == []
    assert time.monotonic() - begin <= 2.0 * SLOW


def test_120_26_wake(server):
    """A message wakes a waiting poll, and the poll's answer contains the
    message."""
    with server.raw() as conn:
        conn.request("GET", "/comet/wake?since=0")
        server.wait_waiting(1, "poll")
        begin = time.monotonic()
        stamp = server.post("wake", "x")
        conn.head()
        data = json.loads(conn.body())
        assert conn.stamp - begin < 1.0 * SLOW
        assert [m["timestamp"] for m in data["messages"]] == [stamp]
        assert data["timestamp"] == stamp


def test_120_27_many_waiters_many_channels(server):
    """A message wakes only the polls of its own channel."""
    conns = []
    for i in range(20):
        conn = server.raw()
        conn.request("GET", "/comet/ch%d?since=0&wait=10" % i)
        conns.append(conn)
    server.wait_waiting(20, "poll")
    server.post("ch7", "x")
    assert conns[7].answer().json()["messages"][0]["body"] == "x"
    server.wait_waiting(19, "poll")
    gather([lambda i=i: server.post("ch%d" % i, "y%d" % i)
            for i in range(0, 7)])
    for i in range(7):
        assert conns[i].answer().json()["messages"][0]["body"] == "y%d" % i
    for conn in conns:
        conn.close()


@pytest.mark.parametrize("query, word", [
    ("since=-1", "since"), ("since=1e9", "since"), ("since=0x10", "since"),
    ("since=1.5", "since"), ("since=NaN", "since"), ("since=abc", "since"),
    ("since=9007199254740992", "since"), ("since=" + "9" * 30, "since"),
    ("limit=0", "limit"), ("limit=-1", "limit"), ("limit=abc", "limit"),
    ("wait=-1", "wait"), ("wait=abc", "wait"), ("wait=1e3", "wait")])
def test_120_28_bad_parameters(server, query, word):
    """A malformed parameter is refused with a 400 that names the parameter."""
    answer = server.get("/comet/params?" + query, timeout=3)
    check_error(answer, 400, word)
    check_common(answer)


def test_120_29_limit_over_1000(server):
    """A limit over 1000 is lowered, or refused with 400."""
    answer = server.get("/comet/lim?since=0&wait=0&limit=1001")
    assert answer.status in (200, 400), answer
    if answer.status == 200:
        assert len(answer.json()["messages"]) <= 1000
    else:
        check_error(answer, 400, "limit")


def test_120_30_ahead(server):
    """A poll whose cursor is ahead of the store starts over; it does not wait
    for ever."""
    server.post("ahead", "x")
    data = server.get("/comet/ahead?since=9007199254740991",
                      timeout=3).json()
    assert [m["body"] for m in data["messages"]] == ["x"]
    assert data["timestamp"] < 2 ** 53 - 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "MOVE"])
def test_120_32_methods(server, method):
    """Any other method gets 405 with Allow."""
    answer = server.request(method, "/comet/x", b"x",
                            {"Content-Type": "text/plain"})
    assert answer.status == 405, answer
    for name in ("GET", "POST"):
        assert name in answer.header("allow")


def test_120_33_options_and_head(server):
    """OPTIONS lists the allowed methods. HEAD is answered at once, without a
    body."""
    answer = server.request("OPTIONS", "/comet/x")
    assert answer.status in (200, 204)
    assert "POST" in answer.header("allow")
    begin = time.monotonic()
    answer = server.request("HEAD", "/comet/x")
    assert answer.status == 200 and answer.body == b""
    assert time.monotonic() - begin < 1.0 * SLOW


def test_120_34_prefix(server):
    """Two endpoints with the same prefix share their channels. Other endpoints
    do not."""
    assert post(server, "/a/room", b"x").json()["channel"] in ("room",
                                                               "shared/room")
    assert server.rows("shared/room") == ["x"]
    assert len(server.get("/b/room?since=0&wait=0").json()["messages"]) == 1
    assert len(server.history("shared/room")) == 1
    assert server.history("room") == []


def test_120_35_classic_and_endpoint(server):
    """The classic chat and the endpoint can share a channel, and its messages
    have one order."""
    server.publish("<one>")
    server.post("chat", "<two>")
    assert [m["body"] for m in server.history("chat")] == ["<one>", "<two>"]
    first = server.get("/chat/backend.php?timestamp=0").json()
    second = server.get("/chat/backend.php?timestamp=%d"
                        % first["timestamp"]).json()
    assert second["msg"] == "&lt;two&gt;"


# -- retention --------------------------------------------------------------

def test_120_40_gap(make_server):
    """A client learns of a gap if retention has removed messages after the
    client's cursor. A DELETE causes no gap."""
    server = make_server(conf="CometRetain count=5")
    stamps = [server.post("kept", "m%d" % i) for i in range(20)]
    wait_until(lambda: len(server.rows("kept")) == 5, 10, "retention")
    for since, gap in ((stamps[3], True), (stamps[13], True), (0, False),
                       (stamps[14], False), (stamps[16], False)):
        data = server.get("/comet/kept?since=%d&wait=0" % since).json()
        assert data["gap"] is gap, (since, data)
    assert [m["body"] for m in server.history("kept")] \
        == ["m%d" % i for i in range(15, 20)]
    first = server.post("other", "a")
    server.post("other", "b")
    server.post("other", "c")
    sqlite(server.db, "DELETE FROM message WHERE body='b';")
    data = server.get("/comet/other?since=%d&wait=0" % first).json()
    assert [m["body"] for m in data["messages"]] == ["c"]
    assert data["gap"] is False


def test_120_41_retention_by_age(make_server):
    """Retention measures a message's age from the channel's newest message."""
    server = make_server(conf="CometRetain age=2s")
    server.post("aged", "old")
    begin = time.monotonic()
    server.post("other", "stays: it is the newest of its channel")

    def pruned():
        server.post("aged", "new")
        return server.rows("aged")[0] != "old"

    wait_until(pruned, 15, "the old message to be pruned", 0.2)
    assert time.monotonic() - begin >= 1.9
    assert len(server.rows("other")) == 1


def test_120_42_retention_keeps_waiters(make_server):
    """A reader that keeps up receives every message, although retention keeps
    only a few."""
    server = make_server(conf="CometRetain count=10")
    got, stop = [], threading.Event()

    def follow():
        cursor = 0
        while len(got) < 200 and not stop.is_set():
            data = server.get("/comet/run?since=%d&wait=5" % cursor).json()
            got.extend(m["body"] for m in data["messages"])
            cursor = data["timestamp"]

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        for i in range(200):
            server.post("run", "m%d" % i)
            if i % 5 == 0:
                wait_until(lambda: len(got) > i - 5, 5, "the follower")
        thread.join(10 * SLOW)
        assert got == ["m%d" % i for i in range(200)]
    finally:
        stop.set()
    wait_until(lambda: len(server.rows("run")) <= 20, 10, "retention")


# -- caps -------------------------------------------------------------------

@pytest.mark.event
def test_120_50_cap(make_server):
    """A client over CometMaxSubscribers gets an immediate, clear answer."""
    server = make_server(conf="CometMaxSubscribers 3\nCometPollTimeout 10s")
    held = []
    for _ in range(3):
        conn = server.raw()
        conn.request("GET", "/comet/cap?since=0")
        held.append(conn)
    server.wait_waiting(3)
    begin = time.monotonic()
    answer = server.get("/comet/cap?since=0", timeout=5)
    assert answer.status in (429, 503), answer
    assert answer.header("retry-after")
    assert "error" in answer.json()
    answer = server.get("/clock/backend.php", timeout=5)
    assert answer.status in (429, 503), answer
    assert answer.header("retry-after")
    assert time.monotonic() - begin < 2.0 * SLOW
    begin = time.monotonic()
    answer = server.get("/chat/backend.php?timestamp=0", timeout=5)
    took = time.monotonic() - begin
    if answer.status == 200:        # the no-news answer, after a second
        assert answer.json()["msg"] == ""
        assert 0.5 <= took <= 2.0 * SLOW
    else:
        assert answer.status in (429, 503), answer
        assert answer.header("retry-after")
    server.post("cap", "for those who wait")
    for conn in held:
        assert len(conn.answer().json()["messages"]) == 1
    assert server.get("/comet/cap?since=0").status == 200


def test_120_51_news_needs_no_place(make_server):
    """Even if all places for waiting clients are taken, a poll that has news is
    answered."""
    server = make_server(conf="CometMaxSubscribers 1\nCometPollTimeout 10s")
    server.post("cap", "x")
    with server.raw() as conn:
        conn.request("GET", "/comet/other?since=0")
        server.wait_waiting(1)
        assert len(server.history("cap", "since=0")) == 1
        server.publish("y")
        assert server.get("/chat/backend.php").json()["msg"] == "y"
