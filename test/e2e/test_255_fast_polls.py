# SPDX-License-Identifier: Apache-2.0
"""Polls that the hub itself answers (CometFastPoll).  The hub's answers look
exactly like httpd's.  A poll that differs from the previous one goes to
httpd."""

import contextlib
import json
import os
import socket
import sqlite3
import threading
import time

import pytest

from http_client import but_date
from httpd_env import COMET_MODULE, SLOW, fd_count, flag, sqlite, wait_until

pytestmark = pytest.mark.event

FAST = "CometFastPoll on\n"


class Fast:
    """A client that polls a channel on one connection."""

    def __init__(self, server, channel="fast", headers=None, query=""):
        self.server, self.channel, self.headers = server, channel, headers
        self.query = query
        self.cursor = server.post(channel, "first")
        self.conn = server.raw()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def target(self):
        return "/comet/%s?since=%s%s" % (self.channel, self.cursor, self.query)

    def bytes(self, headers=None):
        return self.conn.format("GET", self.target(),
                                self.headers if headers is None else headers)

    def ask(self, headers=None):
        self.conn.send(self.bytes(headers))

    def take(self):
        """Read the next answer; return the bodies of its messages."""
        answer = self.conn.answer()
        assert answer.status == 200, answer
        data = answer.json()
        assert not data["gap"]
        self.cursor = data["timestamp"]
        return [message["body"] for message in data["messages"]]

    def poll(self, text):
        """Let a poll wait, publish a message, and check that the answer is this
        message."""
        self.ask()
        self.server.wait_waiting(1, "poll")
        self.server.post(self.channel, text)
        assert self.take() == [text]

    def learn(self):
        """Poll until the hub answers."""
        before = fast_polls(self.server)
        # The hub takes up to 4 s to learn the headers that mod_headers adds.
        end = time.monotonic() + 4 * SLOW
        number = 0
        while number < 8 or time.monotonic() < end:
            self.poll("learn %d" % number)
            number += 1
            if fast_polls(self.server) > before:
                return self
        raise AssertionError("the hub does not answer")


def fast_polls(server):
    return server.status()["fast_polls"]


@pytest.fixture
def server(make_server):
    return make_server(conf=FAST)


# -- what the hub answers ------------------------------------------------------


def test_255_01_exact_sequence(server):
    """A client sends many polls, some waiting and some behind the newest
    message. It gets each message once and in order, and the hub answers nearly
    all polls."""
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        got = []
        for number in range(40):
            for part in range(number % 3):  # sometimes the client falls behind
                server.post("fast", "%d.%d" % (number, part))
            client.ask()
            if number % 3 == 0:
                server.wait_waiting(1, "poll")
                server.post("fast", "%d.0" % number)
            while True:
                got += client.take()
                if len(got) == sum(max(n % 3, 1) for n in range(number + 1)):
                    break
                client.ask()
        assert got == ["%d.%d" % (n, p) for n in range(40)
                       for p in range(max(n % 3, 1))]
        assert fast_polls(server) >= before + 40


def test_255_02_like_httpds(make_server):
    """The hub sends the same heads as httpd, except for the date.  It sends the
    answer to the first poll of a connection, too, with the head that httpd has
    made."""
    server = make_server(conf=FAST + '<Location "/comet/slow">\n'
                         "CometFastPoll off\n</Location>")
    with Fast(server) as client, Fast(server, "slow") as other:
        other.poll("size")
        httpds = other.conn.raw_head
        heads = []
        for text in ("same", "size", "each", "time"):
            client.poll(text)
            heads.append(client.conn.raw_head)
        assert fast_polls(server) > 0

    for head in heads:
        assert but_date(head) == but_date(httpds)
        assert head.count(b"Date: ") == 1


def test_255_03_date_goes_on(server):
    with Fast(server) as client:
        client.learn()
        client.poll("one")
        first = client.conn.headers["date"]
        time.sleep(1.1)  # wait until the date, in whole seconds, has changed
        client.poll("two")
        assert client.conn.headers["date"] != first


@pytest.mark.parametrize("headers", [
    {}, {"Connection": "keep-alive"}, {"Origin": "http://127.0.0.1"},
    {"Cookie": "a=b", "User-Agent": "x" * 900, "Accept-Encoding": "gzip"}])
def test_255_04_any_headers(server, headers):
    with Fast(server, headers=headers) as client:
        client.learn()
        client.poll("x")


def test_255_05_no_news(make_server):
    """A poll without news ends, and its cursor does not change."""
    server = make_server(conf=FAST + "CometPollTimeout 500ms")
    with Fast(server) as client:
        client.learn()
        before, cursor = fast_polls(server), client.cursor
        begin = time.monotonic()
        client.ask()
        assert client.take() == []
        assert client.cursor == cursor
        assert 0.4 < time.monotonic() - begin < 3 * SLOW
        assert fast_polls(server) == before + 1
        client.poll("later")
    server.wait_waiting(0)


@pytest.mark.parametrize("deaf", [False, True])
def test_255_06_outside_writers(make_server, deaf):
    """If another program has inserted or deleted a message before a poll, the
    hub notices this even without a hint."""
    server = make_server(conf=FAST,
                         env={"COMET_TEST_NO_HINTS": "0"} if deaf else {})
    with Fast(server) as client:
        client.learn()
        for number in range(30):
            cursor = client.cursor
            sqlite(server.db, "INSERT INTO message(channel, body) VALUES('fast', 'o%d')"
                       % number)
            client.ask()
            assert client.take() == ["o%d" % number]
            if number % 5 == 0:
                sqlite(server.db, "DELETE FROM message WHERE body = 'o%d'" % number)
                client.cursor, newest = cursor, client.cursor
                server.post("fast", "n%d" % number)
                client.ask()
                assert client.take() == ["n%d" % number]
                assert client.cursor > newest


def test_255_06b_one_who_never_stops(server):
    """The hub still answers polls if a program writes without a pause: it
    checks the store once more before it passes a poll on to httpd."""
    over = threading.Event()

    def write():
        with contextlib.closing(sqlite3.connect(
                server.db, isolation_level=None, timeout=5)) as db:
            db.execute("PRAGMA synchronous = OFF")
            while not over.wait(0.001):
                db.execute("INSERT INTO message(channel, body) "
                           "VALUES('fast', 'on')")
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(500):
                client.ask()
                assert client.take()
        finally:
            over.set()
            writer.join()
        assert fast_polls(server) - before > 450


def test_255_07_large_answers(server):
    """An answer that is too long for one piece arrives completely."""
    with Fast(server) as client:
        client.learn()
        text = "y" * 60000
        client.poll(text)
        client.poll("x")
        server.post("fast", text)
        server.post("fast", text)
        client.ask()
        assert client.take() == [text, text]
        client.learn()


def test_255_08_slow_reader(make_server):
    """A client that reads nothing for a while still gets everything, and other
    clients are not delayed."""
    server = make_server(conf=FAST + "SendBufferSize 4608\n")
    with Fast(server) as client:
        client.conn.close()
        client.conn = server.raw(rcvbuf=2048)
        client.learn()
        texts = ["%d" % number * 7000 for number in range(4)]
        for text in texts:
            server.post("fast", text)
        client.ask()
        with Fast(server, "other") as other:
            other.learn()
        assert client.take() == texts
        client.poll("x")


def test_255_09_many(server):
    """Many clients of one channel each get all messages."""
    clients = [Fast(server, "many") for _ in range(30)]
    cursor = clients[-1].cursor
    for client in clients:
        client.cursor = cursor
    for number in range(20):
        for client in clients:
            client.ask()
        server.wait_waiting(len(clients), "poll")
        server.post("many", str(number))
        for client in clients:
            assert client.take() == [str(number)]
    assert fast_polls(server) >= 15 * len(clients)
    for client in clients:
        client.conn.close()
    server.wait_waiting(0)


@pytest.mark.parametrize("start", ["a cursor", "no cursor"])
def test_255_10_from_the_second_on(make_server, start):
    """If no other module adds a header, httpd answers only the first poll of a
    connection, even if that poll has no cursor yet."""
    server = make_server(conf=FAST + "CometReplay 0\n")
    with Fast(server) as client:    # CometFastPoll is noticed with the first
        client.poll("x")            # poll that it allows
    server.wait_waiting(0)
    with Fast(server) as client:
        if start == "no cursor":
            client.cursor = ""
        for number in range(5):
            client.poll(str(number))
    assert fast_polls(server) == 4
    assert len(server.access_lines("/comet/fast?")) == 2


def test_255_11_behind(server):
    """The first poll may find its messages at once; the hub answers the second
    one all the same."""
    with Fast(server) as client:
        client.poll("x")
    server.wait_waiting(0)
    with Fast(server) as client:
        for number in range(5):
            server.post("fast", str(number))
            client.ask()
            assert client.take() == [str(number)]
    assert fast_polls(server) == 4


@pytest.mark.parametrize("first", [False, True])
def test_255_12_slow_from_the_start(make_server, first):
    """A client that does not read the answer to its first poll gets all of it,
    and delays nobody."""
    server = make_server(conf=FAST + "SendBufferSize 4608\n")
    text = "z" * 25000
    with Fast(server, "other") as other, Fast(server) as client:
        if not first:
            other.learn()
        client.conn.close()
        client.conn = server.raw(rcvbuf=2048)
        client.ask()
        server.wait_waiting(1, "poll")
        server.post("fast", text)
        for number in range(3):
            other.poll(str(number))
        assert client.take() == [text]
        client.poll("x")


def test_255_13_not_kept(server):
    """A connection ends after the answer to its first poll if the client wants
    it so."""
    with Fast(server, headers={"Connection": "close"}) as client:
        client.poll("x")
        assert client.conn.headers["connection"].lower() == "close"
        assert client.conn.at_eof(5 * SLOW)
    server.wait_waiting(0)
    assert len(server.access_lines("/comet/fast?")) == 1


# -- what goes to httpd --------------------------------------------------------


def test_255_20_changed_header(server):
    """A poll whose headers differ from the previous poll's goes to httpd."""
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        client.ask({"X-Other": "1"})
        server.wait_waiting(1, "poll")
        server.post("fast", "x")
        assert client.take() == ["x"]
        assert fast_polls(server) == before
        client.conn.request("GET", "/static.txt")
        assert client.conn.answer().status == 200
        client.conn.request("POST", "/comet/fast", {
            "Content-Type": "text/plain"}, b"posted")
        assert client.conn.answer().status == 201
        client.ask()
        assert client.take() == ["posted"]
        client.learn()


@pytest.mark.parametrize("cursor, status", [
    ("-1", 400), ("1x", 400), ("99999999999999999", 400), ("", 200),
    ("9007199254740991", 200), ("%31", 200), ("1&since=0", 200)])
def test_255_21_cursor(server, cursor, status):
    """A poll goes to httpd unless its cursor is a plain number."""
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        client.conn.send(client.bytes().replace(
            b"since=%d" % client.cursor, b"since=" + cursor.encode()))
        assert client.conn.answer().status == status
        assert fast_polls(server) == before


def test_255_22_pipelined(server):
    """A request that is sent together with a poll is answered after the
    poll."""
    with Fast(server) as client:
        client.learn()
        server.post("fast", "x")
        client.conn.send(client.bytes()
                         + client.conn.format("GET", "/static.txt"))
        assert client.take() == ["x"]
        answer = client.conn.answer()
        assert answer.status == 200 and b"messages" not in answer.body
        client.learn()


def test_255_23_pipelined_while_waiting(server):
    """A request pipelined behind a waiting poll ends the poll, and is
    answered."""
    with Fast(server) as client:
        client.learn()
        client.ask()
        server.wait_waiting(1, "poll")
        client.conn.send(client.conn.format("GET", "/static.txt"))
        assert client.take() == []
        assert client.conn.answer().status == 200
    server.wait_waiting(0)


@pytest.mark.parametrize("cut", [1, 10, 30, -4, -3, -1])
def test_255_24_in_two_packets(server, cut):
    with Fast(server) as client:
        client.learn()
        head = client.bytes()
        client.conn.send(head[:cut])
        time.sleep(0.1)  # so that the two parts are separate packets
        client.conn.send(head[cut:])
        server.wait_waiting(1, "poll")
        server.post("fast", "x")
        assert client.take() == ["x"]
        client.learn()


def test_255_25_half_a_head(make_server):
    """If a client sends only half a request head, mod_reqtimeout ends the
    connection."""
    server = make_server(conf=FAST + "RequestReadTimeout header=1\n",
                         modules=("reqtimeout",))
    with Fast(server) as client:
        client.learn()
        client.conn.send(client.bytes()[:-2])
        begin = time.monotonic()
        answer = client.conn.answer()
        assert answer.status == 408
        assert time.monotonic() - begin < 5 * SLOW
    server.wait_waiting(0)


def test_255_26_oversized(server):
    with Fast(server) as client:
        client.learn()
        client.ask({"X-Long": "y" * 5000})
        server.wait_waiting(1, "poll")
        server.post("fast", "x")
        assert client.take() == ["x"]
        client.ask({"X-Long": "y" * 9000})
        assert client.conn.answer().status == 400


def test_255_27_body(server):
    """A GET with a body goes to httpd, together with the body."""
    with Fast(server) as client:
        client.learn()
        for _ in range(4):
            client.conn.send(client.conn.format("GET", client.target(), {},
                                                b"GET /secret HTTP/1.1\r\n\r\n"))
            server.wait_waiting(1, "poll")
            before = fast_polls(server)
            server.post("fast", "x")
            assert client.take() == ["x"]
            assert fast_polls(server) == before


def test_255_28_bare_line_feeds(server):
    """Neither the hub nor httpd takes a bare LF for the end of a request
    head."""
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        client.conn.send(client.bytes().replace(b"\r\n\r\n", b"\n\n", 1))
        client.conn.head()
        assert client.conn.status == 400
        assert fast_polls(server) == before


@pytest.mark.parametrize("conf", [
    "CometLimitSubscribers address=100\n",
    "Header set X-Unique %{UNIQUE_ID}e\n",
    "Header set X-Time %t\n",
    "Header set Age 1\n",
    "KeepAlive off\n",
])
def test_255_29_not_where(make_server, conf):
    """The hub answers no poll where a header can differ from one answer to the
    next, where clients are counted, or where connections are not kept."""
    server = make_server(conf=FAST + conf, modules=("headers", "unique_id"))
    with Fast(server) as client:
        for number in range(6):
            client.poll(str(number))
            if "Header" in conf and number == 0:
                time.sleep(1.6)     # so that a header with the time differs
            if "KeepAlive" in conf:
                client.conn.close()
                client.conn = server.raw()
    assert fast_polls(server) == 0


def test_255_30_constant_headers(make_server):
    """The hub's answers have the headers that mod_headers adds to each answer,
    but never a cookie."""
    server = make_server(conf=FAST + "Header set X-Site here\n"
                         "Header add Set-Cookie a=b\n",
                         modules=("headers",))
    with Fast(server) as client:
        client.learn()
        assert "set-cookie" not in client.conn.headers
        assert client.conn.headers["x-site"] == "here"


def test_255_31_users(make_server):
    """If users must authenticate, httpd answers each poll."""
    server = make_server(conf=FAST + """
        <Location "/comet/private">
          AuthType Basic
          AuthName "test"
          AuthUserFile "{root}/conf/passwd"
          Require valid-user
        </Location>""")
    with open(server.root + "/conf/passwd", "w") as out:
        out.write("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    anna = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}
    with server.raw() as conn:
        for _ in range(6):
            conn.request("GET", "/comet/private?since=0&wait=1", anna)
            assert conn.answer().status == 200
    assert fast_polls(server) == 0


@pytest.mark.parametrize("require, refused", [
    ("Require expr true", True), ("Require env X", True),
    ("Require not expr false\nRequire all granted", True),
    ("<RequireAny>\nRequire ip 127.0.0.1\nRequire expr true\n</RequireAny>",
     True),
    ("Require ip 127.0.0.1", False), ("Require all granted", False)])
def test_255_32_configtest(make_server, require, refused):
    """configtest refuses CometFastPoll with rules whose decision may change
    from one request to the next."""
    server = make_server()
    status, said = server.configtest(
        '<Location "/comet">\nCometFastPoll on\n%s\n</Location>' % require)
    assert (status != 0) == refused, said
    assert not refused or "CometFastPoll" in said, said


def test_255_33_max_keepalive(make_server):
    """The hub's answers count for MaxKeepAliveRequests, and max= in their
    Keep-Alive header shows it."""
    server = make_server(conf=FAST, max_keepalive=12)
    with Fast(server, headers={"Connection": "keep-alive"}) as client:
        for number in range(13):
            client.poll(str(number))
            told = client.conn.headers.get("keep-alive", "")
            if client.conn.headers["connection"].lower() == "close":
                break
            assert "max=%d" % (12 - number) in told
        else:
            raise AssertionError("the connection stays open")
        assert number == 12
        assert client.conn.at_eof(3 * SLOW)
    assert fast_polls(server) > 5


def test_255_34_cap(make_server):
    """CometMaxSubscribers also limits the polls that the hub would answer."""
    server = make_server(conf=FAST + "CometMaxSubscribers 2\n")
    with Fast(server) as client:
        client.learn()
        held = [server.raw() for _ in range(2)]
        for conn in held:
            conn.request("GET", "/comet/other?since=0")
        server.wait_waiting(2)
        client.ask()
        assert client.conn.answer().status == 503
        for conn in held:
            conn.close()
    server.wait_waiting(0)


def test_255_35_gap(make_server):
    """If retention has removed messages after a poll's cursor, the poll goes to
    httpd and learns of the gap."""
    server = make_server(conf=FAST + "CometRetain count=5\n")
    with Fast(server) as client:
        client.learn()
        old = client.cursor
        for number in range(20):
            server.post("fast", str(number))
        wait_until(lambda: len(server.history("fast")) == 5, 10, "retention")
        before = fast_polls(server)
        client.ask()
        answer = client.conn.answer().json()
        assert answer["gap"] and old < answer["messages"][0]["timestamp"]
        assert fast_polls(server) == before


# -- which decision holds, and for how long ------------------------------------


def test_255_38_not_allowed_once(make_server):
    """The hub does not use what it learned from one poll to answer a different
    one, even if httpd refused a poll between them."""
    server = make_server(conf=FAST + """
<If "-f '{root}/conf/flag' && %{REQUEST_URI} =~ m#room#">
  AuthType Basic
  AuthName flag
  AuthUserFile "{root}/conf/users"
  Require valid-user
</If>
""")
    with open(os.path.join(server.root, "conf", "users"), "w",
              encoding="ascii") as users:
        users.write("anna:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n")  # "admin"
    anna = {"Authorization": "Basic YW5uYTphZG1pbg=="}
    with Fast(server, "room", anna) as client, \
            Fast(server, "secret", anna) as other:
        client.learn()
        before = fast_polls(server)
        with flag(server):
            client.ask(dict(anna, Other="1"))
            server.wait_waiting(1, "poll")
        server.post("room", "not allowed")
        assert client.take() == ["not allowed"]
        other.conn.close()
        other.conn = client.conn
        other.poll("a secret")
        assert fast_polls(server) == before
        client.poll("of the room")


def test_255_39_another_head_once(make_server):
    """If one answer of httpd has an unusual header, no other answer repeats
    this header, neither httpd's nor the hub's."""
    server = make_server(conf=FAST + """
Header set X-Once yes "expr=-f '{root}/conf/flag'"
""")
    with Fast(server) as client:
        cursors = [client.cursor, server.post("fast", "second")]
        server.post("fast", "third")

        def behind():
            client.cursor = cursors[0]
            cursors.reverse()
            client.ask()
            assert client.take()[-1] == "third"
            return "x-once" in client.conn.headers
        assert not behind()
        time.sleep(1.6)         # so that a header with the time would differ
        assert not behind()
        with flag(server):
            assert behind()
        assert [behind() for _ in range(6)] == [False] * 6
        assert fast_polls(server) == 0
        client.learn()


def test_255_40_decided_anew(make_server):
    """After CometMaxLifetime, httpd checks a client's access again.  If it
    refuses, later polls are refused, too; until then the hub answers most of
    them."""
    server = make_server(conf=FAST + """
CometMaxLifetime 2s
CometPollTimeout 300ms
<If "-f '{root}/conf/flag' && %{REQUEST_URI} =~ m#fast#">
  Require all denied
</If>
""")
    with Fast(server) as client:
        client.learn()
        requests = len(server.access_lines("/comet/fast"))
        end = time.monotonic() + 4
        while time.monotonic() < end:
            client.ask()
            client.take()
        asked = len(server.access_lines("/comet/fast")) - requests
        assert 2 <= asked <= 12
        assert fast_polls(server) > asked / 2

        def status():
            client.ask()
            return client.conn.answer().status
        with flag(server):
            wait_until(lambda: status() == 403, 2.5, "httpd's decision")
            before = fast_polls(server)
            assert [status() for _ in range(5)] == [403] * 5
            assert fast_polls(server) == before


def test_255_41_outlives_timeout(make_server):
    """A connection that is in use may last longer than Timeout."""
    server = make_server(timeout=3, conf=FAST + "CometPollTimeout 400ms\n"
                         "KeepAliveTimeout 2\n")
    with Fast(server) as client:
        client.learn()
        end = time.monotonic() + 8
        while time.monotonic() < end:
            client.ask()
            assert client.take() == []
            time.sleep(0.05)                    # an idle moment
        assert fast_polls(server) > 5
    server.wait_waiting(0)


def test_255_42_rest(make_server):
    """KeepAliveTimeout ends an idle connection."""
    server = make_server(conf=FAST + "KeepAliveTimeout 1\n")
    with Fast(server) as client:
        client.learn()
        begin = time.monotonic()
        assert client.conn.at_eof(5 * SLOW)
        assert 0.5 < time.monotonic() - begin < 4 * SLOW


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_255_43_gone(server, waits, how):
    """The server notices a client that leaves, and closes its descriptors.  (How
    many files of the store are open depends on how many threads have read at the
    same time.)"""
    kinds = ("socket:", "anon_inode:[eventfd]")
    Fast(server).learn().conn.close()
    server.wait_waiting(0)
    before = fd_count(server.children()[0], kinds)
    for _ in range(8):
        client = Fast(server).learn()
        if waits:
            client.ask()
            server.wait_waiting(1, "poll")
        if how == "reset":
            client.conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                        b"\1\0\0\0\0\0\0\0")
        client.conn.close()
        server.wait_waiting(0)
    wait_until(lambda: fd_count(server.children()[0], kinds) <= before, 10,
               "descriptors to be closed")


@pytest.mark.parametrize("waits", [True, False])
def test_255_44_reload(server, waits):
    """A graceful reload answers waiting polls, also a first one, and closes
    idle connections."""
    with Fast(server) as client, Fast(server, "other") as other:
        client.learn()
        other.ask()
        server.wait_waiting(1, "poll")
        if waits:
            client.ask()
            server.wait_waiting(2, "poll")
        server.graceful()
        assert other.take() == []
        assert other.conn.at_eof(5 * SLOW)
        if waits:
            assert client.take() == []
        assert client.conn.at_eof(5 * SLOW)


def test_255_45_stop(server):
    clients = [Fast(server, "c%d" % n).learn() for n in range(3)]
    clients[0].ask()
    clients[1].ask()
    server.wait_waiting(2, "poll")
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 5 * SLOW
    for client in clients:
        client.conn.close()


def test_255_46_access_log(server):
    """The access log has only the polls that httpd answers.  A counter counts
    those that the hub answers."""
    with Fast(server) as client:
        client.learn()
        before = fast_polls(server)
        lines = len(server.access_lines("/comet/fast?"))
        for number in range(10):
            client.poll(str(number))
        assert fast_polls(server) == before + 10
        assert len(server.access_lines("/comet/fast?")) == lines
        for line in server.access_lines("/comet/fast?"):
            assert " 200 " in line


def test_255_46b_sizes_in_the_log(make_server):
    """If httpd parks a poll and the hub answers the poll, the access log has
    the right number of bytes."""
    server = make_server(conf=FAST + 'LogFormat "%m%U %b %O" sizes\n'
                         'CustomLog "logs/sizes.log" sizes\n')
    said = set()
    with Fast(server, "sized") as client:
        for number in range(8):
            client.poll("x" * (10 + number))
            body = int(client.conn.headers["content-length"])
            said.add("%d %d" % (body, len(client.conn.raw_head) + 4 + body))
        assert fast_polls(server) > 2
    with open(os.path.join(server.root, "logs", "sizes.log"),
              encoding="ascii") as log:
        lines = [line.split(" ", 1)[1].strip() for line in log
                 if line.startswith("GET/comet/sized ")]
    assert len(lines) == 8 - fast_polls(server)
    assert set(lines) <= said, (lines, said)


def test_255_47_store_replaced(server):
    """After a DELETE of all messages the hub's first answer is the next
    message."""
    with Fast(server) as client:
        client.learn()
        sqlite(server.db, "DELETE FROM message")
        server.post("fast", "after")
        client.ask()
        assert client.take() == ["after"]


# -- where the hub cannot answer -----------------------------------------------


def test_255_50_tls(make_server):
    server = make_server(tls=True, conf=FAST)
    cursor = server.post("fast", "x")
    with server.raw(tls=True) as conn:
        for number in range(6):
            conn.request("GET", "/comet/fast?since=%d" % cursor)
            server.wait_waiting(1, "poll")
            server.post("fast", "y")
            cursor = json.loads(conn.answer().body)["timestamp"]
    assert fast_polls(server) == 0


# -- headers that another module computes --------------------------------------

def test_255_80_a_header_of_the_query(make_server):
    """A header that is computed from the query is right in each answer, with or
    without news."""
    server = make_server(conf=FAST + "CometPollTimeout 1s\n"
                         'Header set X-Query "expr=%{QUERY_STRING}"\n')
    Fast(server).poll("x")      # a later connection is known from its first poll
    with Fast(server) as client:
        for text in (None, None, None, None, "a", None, "b", "c", "d"):
            query = "since=%d" % client.cursor
            client.ask()
            if text:
                server.wait_waiting(1, "poll")
                server.post("fast", text)
            assert client.take() == ([text] if text else [])
            assert client.conn.headers["x-query"] == query
    assert fast_polls(server) == 0


def test_255_80b_a_header_without_mod_headers(make_server):
    """Another module makes a header from the query.  The header is right in
    each answer."""
    server = make_server(
        conf=FAST, before='LoadModule comet_query_module "%s"\n'
        % os.path.join(os.path.dirname(COMET_MODULE), "tools", "mod_query.so"))
    with Fast(server) as client:
        for number in range(5):
            query = "since=%d" % client.cursor
            client.poll(str(number))
            assert client.conn.headers["x-query"] == query
    assert fast_polls(server) == 0


def test_255_81_a_header_of_the_time(make_server):
    """The hub does not learn a header that contains the time, although all
    answers within a second have the same value."""
    server = make_server(
        conf=FAST + 'Header set X-Second "expr=%{TIME_SEC}"\n')
    end = time.monotonic() + 3
    with Fast(server) as client:
        while time.monotonic() < end:
            client.poll("x")
            date = int(client.conn.headers["date"].split(":")[2][:2])
            ours = int(client.conn.headers["x-second"])
            assert (date - ours) % 60 in (0, 1, 59)
    assert fast_polls(server) == 0


def test_255_82_headers_are_decided_anew(make_server):
    """Headers are computed again after CometMaxLifetime.  Until then the hub
    repeats them."""
    server = make_server(start=False, conf=FAST + """
CometMaxLifetime 3s
CometPollTimeout 1s
Header set X-File "expr=%{file:{root}/conf/word}"
""")

    def say(word):
        with open(os.path.join(server.root, "conf", "word"), "w",
                  encoding="utf-8") as out:
            out.write(word)
    say("old")
    server.start()
    with Fast(server) as client:
        def learnt():
            client.poll("x")
            assert client.conn.headers["x-file"] == "old"
            return fast_polls(server) > 0
        wait_until(learnt, 10, "the hub's answer")
        say("new")

        def is_new():
            client.poll("y")
            return client.conn.headers["x-file"] == "new"
        wait_until(is_new, 10, "the new header")
