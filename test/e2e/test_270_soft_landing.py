# SPDX-License-Identifier: Apache-2.0
"""A soft landing: a stream says that it is refused for a while, and ends at
once. A browser's EventSource needs this, because after any HTTP error it gives
up for good. Other clients get 503 or 429 with Retry-After."""

import contextlib
import os
import re

import pytest

import tokens
from event_stream import EventStream    # in test/tools
from h2_client import H2
from httpd_env import SLOW, give, sqlite, wait_until
from mercure import FORM, PUBLISHER
from stream_client import EVENTS, Stream, post
from test_527_websocket_h2 import can_connect

# The configuration of the tests that change no limits.
SERVER = {"conf": """
<Location "/comet/closed">
  Require all denied
</Location>
<Location "/comet/polls">
  CometTransports poll
</Location>
"""}

LEAST, MOST = 1000, 4000        # ms, as in output/answer.c
PIECE = 32 * 1024               # MOD_COMET_PIECE_BYTES


class Landing:
    """What a refused stream contains."""

    def __init__(self, body):
        self.text = body.decode()
        self.events = []
        parser = EventStream(self.events.append)
        parser.feed(body)
        self.data = [e["data"] for e in self.events if e["type"] != "gap"]
        self.gaps = [e["data"] for e in self.events if e["type"] == "gap"]
        self.last_id = parser.last_id
        self.retry = int(re.findall(r"^retry: (\d+)$", self.text, re.M)[-1])
        comments = re.findall(r"^: (.+)$", self.text, re.M)
        assert len(comments) == 1, self.text
        self.reason = comments[0]
        assert self.text.endswith("\nretry: %d\n\n" % self.retry), self.text
        assert LEAST <= self.retry <= MOST


def landing(server, target, headers=None):
    answer = server.get(target, dict(EVENTS, **(headers or {})), timeout=10)
    assert answer.status == 200, answer
    assert answer.header("content-type") == "text/event-stream"
    assert answer.header("cache-control") == "no-store, no-transform"
    assert not answer.header("retry-after")
    return Landing(answer.body)


def refused(answer, status, reason):
    """Check the error that a client gets if it is not an EventSource."""
    assert answer.status == status, answer
    assert int(answer.header("retry-after")) >= 1
    assert reason in answer.json()["error"], answer.json()
    return answer


@contextlib.contextmanager
def waiting(server, count, target="/comet/full"):
    """Open `count` streams that wait."""
    streams = [Stream(server, target) for _ in range(count)]
    server.wait_waiting(count)
    yield streams
    for stream in streams:
        stream.conn.close()
    server.wait_waiting(0)


def check_cap(server, held, status, reason, headers=None):
    """Check that each kind of client is refused in its own way while `held`
    streams wait, and that a refused stream still gets the stored messages. Once
    there is room, a stream waits again."""
    first = post(server, "news", "one")
    with waiting(server, held):
        post(server, "news", "two")
        was = server.status()
        told = landing(server, "/comet/news",
                       dict(headers or {}, **{"Last-Event-ID": str(first)}))
        assert told.data == ["two"] and reason in told.reason
        again = landing(server, "/comet/news", {"Last-Event-ID": told.last_id})
        assert again.data == [] and again.last_id == told.last_id
        for plain, query in (({}, ""), ({"Accept": "*/*"}, "&transport=events"),
                             ({"Accept": "text/html"}, "&transport=iframe")):
            refused(server.get("/comet/news?since=%s%s" % (told.last_id, query),
                               plain, timeout=10), status, reason)
        now = server.status()
        assert now["soft_landings"] - was["soft_landings"] == 2
        assert now["delivered"] - was["delivered"] == 1
        counter = "turned_away" if status == 503 else "limited_subscribers"
        assert now[counter] - was[counter] == 5
    post(server, "news", "three")
    with Stream(server, "/comet/news",
                {"Last-Event-ID": told.last_id}) as stream:
        assert stream.until(1) == ["three"]
        server.wait_waiting(1)


# -- caps and limits -----------------------------------------------------------

def test_270_01_max_subscribers(make_server, mpm):
    server = make_server(mpm=mpm, threads=32, conf="CometMaxSubscribers 2\n")
    check_cap(server, 2, 503, "at most 2 may wait at a time (CometMaxSubscribers)")


def test_270_02_limit_subscribers(make_server, mpm):
    server = make_server(mpm=mpm, threads=32,
                         conf="CometLimitSubscribers address=2\n")
    check_cap(server, 2, 429, "too many clients of this address are waiting: "
              "at most 2 may wait at a time (CometLimitSubscribers)")


@pytest.mark.parametrize("mpm", ["worker", "prefork"])
def test_270_03_threads(make_server, mpm):
    """Each stream waits in a thread, and only half of all threads may wait."""
    server = make_server(
        mpm=mpm, threads=8, conf="CometAdopt off\n",
        mpm_conf="StartServers 8\nMaxRequestWorkers 8\nServerLimit 8\n"
        if mpm == "prefork" else None)
    check_cap(server, 4, 503,
              "occupy a thread each: at most 4 may wait at a time")


def test_270_04_http2(make_server):
    """On an HTTP/2 connection only two requests may wait. A third one is
    refused with this reason. Another connection is served."""
    server = make_server(h2=True, threads=32, conf="CometParkHTTP2 off\n")
    first = post(server, "news", "one")
    with H2(server.port) as tab:
        streams = [tab.request("GET", "/comet/news",
                               {"accept": "text/event-stream",
                                "last-event-id": str(first)})
                   for _ in range(2)]
        assert tab.pump(lambda: all(s.pieces for s in streams), 5 * SLOW)
        server.wait_waiting(2)
        post(server, "news", "two")
        assert tab.pump(lambda: all(b"two" in s.body() for s in streams),
                        5 * SLOW)
        third = tab.finish(tab.request("GET", "/comet/news",
                                       {"accept": "text/event-stream",
                                        "last-event-id": str(first)}),
                           5 * SLOW)
        told = Landing(third.body())
        assert third.status == 200 and told.data == ["two"]
        assert "of this HTTP/2 connection" in told.reason
        poll = tab.finish(tab.request("GET", "/comet/news?since=%s"
                                      % told.last_id), 5 * SLOW)
        assert poll.status == 503
        assert b"of this HTTP/2 connection" in poll.body()
        with H2(server.port) as other:
            free = other.request("GET", "/comet/news?since=%d" % first,
                                 {"accept": "text/event-stream"})
            assert other.pump(lambda: b"two" in free.body(), 5 * SLOW)
            assert not free.ended


def test_270_05_gap_while_full(make_server):
    """A refused stream learns of a gap, as a waiting stream does."""
    server = make_server(conf="CometMaxSubscribers 1\nCometRetain count=2\n")
    first = post(server, "news", "0")
    for i in range(1, 5):
        post(server, "news", "%d" % i)
    wait_until(lambda: server.rows("news") == ["3", "4"], 20 * SLOW,
               "retention")
    with waiting(server, 1):
        told = landing(server, "/comet/news", {"Last-Event-ID": str(first)})
        assert told.data == ["3", "4"] and len(told.gaps) == 1
        assert '"since":%d' % first in told.gaps[0]


def test_270_06_channels(make_server):
    """A request for more channels than CometLimitChannels gets a soft landing
    if it is a stream, and otherwise 429."""
    server = make_server(conf="CometMulti on\nCometLimitChannels 2\n")
    for name in ("m/a", "m/b", "m/c"):
        post(server, name, "x")
    assert "CometLimitChannels" in landing(server, "/comet?channel=m/*").reason
    refused(server.get("/comet?channel=m/*"), 429, "CometLimitChannels")


def test_270_07_long_history(make_server):
    """A refused stream gets at least one of the stored messages, and as many as
    fit into one piece.  It gets the next ones when it comes back."""
    server = make_server(conf="CometMaxSubscribers 1\n")
    bodies = ["%d %s" % (i, "x" * 10000) for i in range(8)]
    bodies[5] = "5" + "\n" * 30000      # each line gets a `data:`
    sqlite(server.db, "BEGIN;" + "".join(
        "INSERT INTO message(channel, body) VALUES('news', '%s');" % body
        for body in bodies) + "COMMIT;")
    with waiting(server, 1):
        parts, last = [], "0"
        for _ in range(5):
            told = landing(server, "/comet/news", {"Last-Event-ID": last})
            assert len(told.text) < PIECE + 500 or len(told.data) == 1
            parts.append(told.data)
            last = told.last_id
    assert parts == [bodies[:3], bodies[3:5], bodies[5:6], bodies[6:], []]


# -- the store -----------------------------------------------------------------

def spoil(server):
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(server.db + end)
    with open(server.db, "w", encoding="utf-8") as out:
        out.write("no database")
    give(server.db)


@pytest.mark.parametrize("target", ["/comet/news", "/comet?channel=*"])
def test_270_10_unreadable(make_server, mpm, target):
    """If the store cannot be read, a refused stream has no id, so that its
    client keeps its cursor."""
    server = make_server(mpm=mpm, threads=32, conf="CometMulti on\n")
    server.allow_log.append("CometStore: ")
    post(server, "news", "one")
    spoil(server)
    wait_until(lambda: server.get(target + "?wait=0" if "?" not in target
                                  else target + "&wait=0").status == 503,
               5 * SLOW, "a refusal to read")
    told = landing(server, target, {"Last-Event-ID": "5"})
    assert told.reason.startswith("the messages cannot be read: ")
    assert "id:" not in told.text and not told.events
    refused(server.get(target), 503, told.reason)
    os.unlink(server.db)
    wait_until(lambda: server.request(
        "POST", "/comet/news", b"new",
        {"Content-Type": "text/plain"}).status == 201, 5 * SLOW, "a new store")
    with Stream(server, "/comet/news?since=0") as stream:
        assert stream.until(1) == ["new"]
        server.wait_waiting(1)


# -- lasting errors ------------------------------------------------------------

@pytest.mark.parametrize("target, status", [
    ("/comet/a%01b", 400), ("/comet/x?format=xml", 400),
    ("/comet/x?transport=pigeon", 400), ("/comet/x?before=5", 400),
    ("/comet/x?channel=y", 403), ("/comet/closed", 403),
    ("/comet/polls", 406), ("/nowhere", 404)])
def test_270_20_for_good(server, target, status):
    assert server.get(target, EVENTS).status == status
    assert server.status()["soft_landings"] == 0


# -- a cursor of another system ------------------------------------------------

FOREIGN = ["urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb", "12:0", "-1",
           "0x10", "99999999999999999999", "null", "1e3"]


def test_270_30_foreign_cursor(make_server):
    """A stream whose cursor belongs to another system starts over with a gap,
    even in an empty store.  A poll gets an error."""
    server = make_server()
    for wanted, cursors in (([], FOREIGN[:1]), (["one"], FOREIGN)):
        if wanted:
            post(server, "x", "one")
        for cursor in cursors:
            check_foreign(server, cursor, wanted)
    assert server.status()["resynced"] == 3 * (1 + len(FOREIGN))


def check_foreign(server, cursor, wanted):
    header = {"Last-Event-ID": cursor}
    for headers, query in ((header, ""), ({}, "?since=%s" % cursor),
                           ({}, "?transport=events&since=%s" % cursor)):
        with Stream(server, "/comet/x" + query, headers) as stream:
            stream.until_bytes(b"event: gap\ndata: {\"since\":null,")
            assert stream.until(1 + len(wanted))[1:] == wanted
    assert server.get("/comet/x", header).status == 400


@pytest.mark.parametrize("name", ["lastEventID", "Last-Event-ID",
                                  "lastEventId", "last_event_id", "since"])
def test_270_31_spellings(server, name):
    """Polls and streams accept all spellings of the cursor's name."""
    first = post(server, "x", "one")
    post(server, "x", "two")
    target = "/comet/x?%s=%d" % (name, first)
    assert [m["body"] for m in server.get(target).json()["messages"]] == ["two"]
    with Stream(server, target) as stream:
        assert stream.until(1) == ["two"]
    assert server.get("/comet/x?%s=x" % name).status == 400


# -- Accept --------------------------------------------------------------------

@pytest.mark.parametrize("accept, is_stream", [
    ("text/event-stream", True), ("text/event-stream, */*", True),
    ("application/json, text/event-stream", True),
    ("text/event-stream;charset=\"UTF-8\"", True), ("text/*", True),
    ("text/event-stream;q=0, application/json", False),
    ("application/json;q=1, text/event-stream;q=0.1", False),
    ("application/x-text/event-streamish", False), ("*/*", False),
    ("text/html, application/xhtml+xml, */*;q=0.8", False)])
def test_270_40_accept(server, accept, is_stream):
    first = post(server, "x", "one")
    with server.raw() as conn:
        conn.request("GET", "/comet/x?since=%d" % (first - 1),
                     {"Accept": accept})
        assert conn.head() == 200
        kind = conn.headers.get("content-type")
        assert kind.startswith("text/event-stream") == is_stream, kind


# -- a protocol that the virtual host does not speak ---------------------------

VHOSTS = """
CometTransports all websocket
CometMercure /.well-known/mercure
<Location "/comet">
  CometMulti on
</Location>
<Location "/.well-known/mercure">
  CometTokenKey HS256 %s
  CometMercureAnonymous on
</Location>
<VirtualHost 127.0.0.1:{port}>
  ServerName www.example.test
</VirtualHost>
<VirtualHost 127.0.0.1:{port}>
  ServerName push.example.test
  Protocols http/1.1
</VirtualHost>
<VirtualHost 127.0.0.1:{port}>
  ServerName only-h2.example.test
  Protocols h2c
</VirtualHost>
""" % tokens.path("secret")

READS = ["/comet/x?since=0&wait=0", "/comet/x", "/comet?channel=x&channel=y",
         "/chat/backend.php", "/clock/backend.php"]
# Other requests, as (method, URL, body).
WRITES = [("OPTIONS", "/comet/x", None), ("POST", "/comet/x", b"lost"),
          ("GET", "/.well-known/mercure?topic=x", None),
          ("POST", "/.well-known/mercure", b"topic=x&data=lost")]


def ask_host(conn, name, method, target, body=None):
    """Ask one of the hosts over HTTP/2."""
    conn.authority = name + ".example.test"
    headers = dict(PUBLISHER, accept="text/event-stream",
                   **{"content-type": FORM["Content-Type"]}) \
        if "mercure" in target else {"accept": "text/event-stream",
                                     "content-type": "text/plain"}
    return conn.finish(conn.request(method, target, headers, body), 5 * SLOW)


def test_270_45_misdirected(make_server):
    """Over HTTP/2 a virtual host that allows only HTTP/1.1 answers every
    request with 421 and stores nothing.  Other hosts do not."""
    more = "H2WebSockets on\n" if can_connect() else ""
    server = make_server(h2=True, conf=more + VHOSTS)
    with H2(server.port) as conn:
        for target in READS:
            for name, status in (("push", 421), ("www", 200),
                                 ("only-h2", 200)):
                assert ask_host(conn, name, "HEAD", target).status == status, \
                    (name, target)
        for method, target, body in [("GET", read, None) for read in READS] \
                + WRITES:
            answer = ask_host(conn, "push", method, target, body)
            assert answer.status == 421, (method, target)
            assert b"does not speak h2c (Protocols)" in answer.body()
        for name, status in (("push", 421), ("www", 200)):
            conn.authority = name + ".example.test"
            stream = conn.connect("/comet/x", {"sec-websocket-version": "13"}) \
                if more else None
            assert not more or (conn.pump(lambda: stream.status, 5 * SLOW)
                                and stream.status == status), stream.status
    assert server.history("x") == []
    # The same requests succeed over HTTP/1.1, which httpd always speaks.
    for name in ("push", "www", "only-h2"):
        for target in READS:
            with server.raw() as conn:
                conn.host = name + ".example.test"
                conn.request("HEAD", target, EVENTS)
                assert conn.head() == 200, (name, target)


# -- WebSocket -----------------------------------------------------------------

HANDSHAKE = {"Connection": "Upgrade", "Sec-WebSocket-Version": "13",
             "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}


@pytest.mark.parametrize("target, status, part", [
    ("/comet/x", 406, "websocket is off here (CometTransports)"),
    ("/comet?channel=x", 406, "websocket is off here (CometTransports)"),
    ("/chat/backend.php", 400, "there is no WebSocket here"),
    ("/clock/backend.php", 400, "there is no WebSocket here")])
@pytest.mark.parametrize("upgrade", ["websocket", "h2c, WebSocket"])
def test_270_50_websocket(server, target, status, part, upgrade):
    """Where WebSockets are off, a handshake is refused at once."""
    answer = server.get(target, dict(HANDSHAKE, Upgrade=upgrade), timeout=5)
    assert answer.status == status and answer.took < 2 * SLOW
    assert part in answer.json()["error"]


def test_270_51_other_upgrades(server):
    """An Upgrade to anything else is ignored (RFC 9110, section 7.8)."""
    first = post(server, "x", "one")
    answer = server.get("/comet/x?since=%d" % (first - 1),
                        {"Connection": "Upgrade", "Upgrade": "h2c"})
    assert len(answer.json()["messages"]) == 1
