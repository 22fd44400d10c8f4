# SPDX-License-Identifier: Apache-2.0
"""POSTs that the hub itself publishes (CometFastPublish).  The hub's answers
look exactly like httpd's.  A POST whose head is not known goes to httpd."""

import os
import random
import re
import signal
import socket
import threading
import time

import pytest

import tokens
from http_client import Closed, Raw, but_date, gather
from httpd_env import (MODULES, SLOW, STORE, alive, fd_count, flag, free_port,
                       give_port, lock, wait_until)
from shim import Shim

pytestmark = pytest.mark.event

FAST = "CometFastPublish on\n"
SERVER = {"conf": FAST + "CometMaxMessageSize 50000\nCometEndpoint /app app/\n"
                         "CometPublishTimeout 2s\n"}
TEXT = {"Content-Type": "text/plain"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LINES = {"Content-Type": "application/x-ndjson"}

only_sqlite = pytest.mark.skipif(STORE != "sqlite", reason="SQLite's file")


class Publisher:
    """A client that publishes to a channel on one connection.

    said: the (timestamp, body) of each message that was acknowledged.
    """

    def __init__(self, server, channel="lane", headers=None, target=None,
                 host="127.0.0.1", port=None):
        self.server, self.channel = server, channel
        self.headers = dict(TEXT, **(headers or {}))
        self.target = target or "/comet/" + channel
        self.host, self.said, self.conn = host, [], None
        self.port = port or server.port
        self.connect()

    def connect(self):
        if self.conn:
            self.conn.close()
        self.conn = Raw(self.port, timeout=15 * SLOW, host=self.host)
        self.conn.method = "POST"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.conn.close()

    def bytes(self, text, headers=None):
        text = text.encode() if isinstance(text, str) else text
        return self.conn.format("POST", self.target,
                                dict(self.headers, **(headers or {})), text)

    def say(self, text):
        self.conn.send(self.bytes(text))

    def answer(self, method="POST"):
        self.conn.method = method
        answer = self.conn.answer()
        if answer.header("connection", "").lower() == "close":
            self.connect()
        return answer

    def take(self, text):
        """Read the answer to `text`, which is stored."""
        answer = self.answer()
        assert answer.status == 201, answer
        data = answer.json()
        self.said.append((data["timestamp"], text))
        return answer

    def post(self, text):
        self.say(text)
        return self.take(text)

    def learn_with(self, body):
        """Publish this until the hub publishes."""
        before, number = published(self.server), 0
        while published(self.server) == before:
            self.post(body.decode())
            number += 1
            assert number < 40, "the hub does not publish"

    def learn(self):
        """Publish until the hub publishes."""
        before = published(self.server)
        # The hub takes up to 4 s to learn the headers that mod_headers adds.
        end = time.monotonic() + 4 * SLOW
        number = 0
        while number < 40 or time.monotonic() < end:
            self.post("learn" + "x" * (number % 9))
            number += 1
            if published(self.server) > before:
                return self
        raise AssertionError("the hub does not publish")

    def rows(self):
        return [(int(stamp), body) for stamp, body in self.server.sql(
            "SELECT timestamp, body FROM message WHERE channel = '%s' "
            "ORDER BY timestamp" % self.channel.replace("'", "''"))]

    def check(self):
        """Each acknowledged message is stored once, in order, under the
        timestamp of its answer, and nothing else is."""
        assert self.rows() == self.said


def published(server):
    return server.status()["fast_publishes"]


def by_hub(server, before):
    """How many messages the hub has published since `before`."""
    return published(server) - before


# -- what the hub publishes ----------------------------------------------------


def test_256_01_exact_sequence(server):
    """A client publishes many messages. Each is stored once, in order, under
    the timestamp of its answer, and the hub publishes all."""
    texts = ["", "x", "äöü ☃ 𝄞", "{\"a\": [1]}", "line\r\nline\n", "y" * 30000,
             "msg=form&x=%20", "POST /comet/no HTTP/1.1\r\n\r\n", "\ufeffbom"]
    with Publisher(server) as client:
        client.learn()
        before = server.status()
        for number in range(60):
            client.post(texts[number % len(texts)] + str(number))
        client.post("")
        client.check()
        assert by_hub(server, before["fast_publishes"]) == 61
        assert server.status()["published"] == before["published"] + 61


@pytest.mark.parametrize("target", [
    "/comet/like", "/comet/%22q%5C%C3%A4", "/app/prefixed",
    "/comet/like1?type=news", "/comet/like2?keep=60",
    "/comet/like3?type=n%2Bs&keep=1h"])
def test_256_02_like_httpds(server, target):
    """The hub's answers equal httpd's byte for byte, except for the date and
    the timestamp. Its messages are stored as httpd stores them."""
    Publisher(server, "aware").learn().conn.close()
    answers = []
    with Publisher(server, target=target) as client:
        before = published(server)
        while by_hub(server, before) < 3:
            answer = client.post("text %d" % len(answers))
            assert answers or by_hub(server, before) == 0
            stamp = client.said[-1][0]
            answers.append((but_date(client.conn.raw_head),
                            answer.body.replace(b"%d" % stamp, b"N")))
            assert client.conn.raw_head.count(b"Date: ") == 1
            assert len(str(stamp)) == 16 and len(answers) < 40
    assert answers == answers[:1] * len(answers)
    query = ("&" if "?" in target else "?") + "since=0&wait=0"
    found = server.get(re.sub(r"\?.*", "", target) + "?" + query[1:]).json()
    assert [(m["timestamp"], m["body"]) for m in found["messages"]] \
        == client.said

    def rest(message):
        return {name: value for name, value in message.items()
                if name not in ("timestamp", "body", "expires")}
    assert [rest(m) for m in found["messages"]] \
        == [rest(found["messages"][0])] * len(answers)
    until = [m["expires"] - m["timestamp"] for m in found["messages"]
             if "expires" in m]
    assert all(abs(u - until[0]) < 2 * 10 ** 6 for u in until)


def test_256_03_other_connections(server):
    """What one connection has taught the hub holds for all connections of the
    same client."""
    with Publisher(server, "taught") as client, \
            Publisher(server, "other") as other:
        client.learn()
        other.learn()
        before = published(server)
        other.conn.send(client.bytes("by another"))
        client.said.append((other.answer().json()["timestamp"], "by another"))
        assert by_hub(server, before) == 1
        client.post("by itself")
        client.check()


def test_256_04_many_at_once(server):
    """Several channels, on several connections each, with many threads.  Each
    message is stored once, in the order of its connection."""
    def run(number):
        with Publisher(server, "many%d" % (number % 4)) as client:
            for turn in range(30):
                client.post("%d-%d" % (number, turn))
        return client

    before = published(server)
    clients = gather([lambda n=n: run(n) for n in range(20)], 50 * SLOW)
    for part in range(4):
        said = sorted(one for c in clients[part::4] for one in c.said)
        assert clients[part].rows() == said
    for number, client in enumerate(clients):
        assert client.said == sorted(client.said), number
    assert by_hub(server, before) >= 400


def test_256_05_mixed_with_polls(make_server):
    """A client polls and publishes on one connection, and the hub serves both.
    Each poll gets the messages of its own channel, and of no other."""
    server = make_server(conf=FAST + "CometFastPoll on\nCometPollTimeout 5s\n")
    cursor = server.post("mine", "first")
    chance = random.Random(256)
    want = []
    with Publisher(server, "theirs") as client, \
            Publisher(server, "mine") as other:
        for number in range(60):
            kind = chance.choice(["poll", "poll", "post", "post", "late"])
            if kind == "post":
                client.post("t%d" % number)
                continue
            if kind == "late":
                other.post("late")
                want.append("late")
            client.conn.request("GET", "/comet/mine?since=%d" % cursor)
            if kind == "poll":
                server.wait_waiting(1, "poll")
                server.post("theirs-too", "no")
                other.post("m%d" % number)
                want.append("m%d" % number)
            answer = client.answer("GET").json()
            assert [m["body"] for m in answer["messages"]] == want[-1:]
            cursor = answer["timestamp"]
        client.check()
        said = server.status()
        # (httpd answers the polls of a store that is remote)
        assert said["fast_polls"] > 5 or STORE != "sqlite"
        assert said["fast_publishes"] > 20
        assert [body for _, body in other.rows()] == ["first"] + want


def test_256_06_a_poll_behind_a_post(make_server):
    """A connection rests on the channel of a POST.  A poll of another channel
    that follows gets nothing of it."""
    server = make_server(conf=FAST + "CometFastPoll on\n")
    cursor = server.post("mine", "first")
    with Publisher(server, "secret") as client:
        for number in range(4):
            client.conn.request("GET", "/comet/mine?since=%d" % cursor)
            server.wait_waiting(1, "poll")
            cursor = server.post("mine", "x%d" % number)
            assert client.answer("GET").json()["timestamp"] == cursor
        client.learn()
        client.conn.request("GET", "/comet/mine?since=%d" % cursor)
        server.wait_waiting(1, "poll")
        server.post("secret", "not yours")
        server.post("mine", "yours")
        messages = client.answer("GET").json()["messages"]
        assert [m["body"] for m in messages] == ["yours"]


# -- what goes to httpd --------------------------------------------------------


NEVER, ONCE = "never", "once"
# name: target (None: the usual one), headers, body, status; whether only the
# first such request goes to httpd (the hub then knows its head), or each one
OTHERS = {
    "header": (None, {"X-Other": "1"}, b"other", 201, ONCE),
    "channel": ("/comet/unknown", {}, b"other", 201, ONCE),
    "spaces": (None, {"Content-Length": "    5"}, b"other", 201, ONCE),
    "form": (None, FORM, b"msg=other", 201, NEVER),
    "lines": (None, LINES, b'{"body": "other"}\n', 201, NEVER),
    "key": (None, {"Idempotency-Key": "k"}, b"other", 201, NEVER),
    "chunked": (None, {"Transfer-Encoding": "chunked"},
                b"5\r\nother\r\n0\r\n\r\n", 201, NEVER),
    "expect": (None, {"Expect": "100-continue"}, b"other", 201, NEVER),
    "close": (None, {"Connection": "close"}, b"other", 201, NEVER),
    "old-version": (None, {}, b"other", 201, NEVER),
    "zeros": (None, {"Content-Length": "0000000005"}, b"other", 201, NEVER),
    "long-body": (None, {}, b"o" * 40000, 201, NEVER),
    "long-head": (None, {"X-Long": "h" * 5000}, b"other", 201, NEVER),
    "too-long-a-head": (None, {"X-Long": "h" * 9000}, b"other", 400, NEVER),
    "too-long": (None, {}, b"o" * 50001, 413, NEVER),
    "nul": (None, {}, b"a\0b", 400, NEVER),
    "not-utf-8": (None, {}, b"a\xff", 400, NEVER),
    "media": (None, {"Content-Type": "image/png"}, b"other", 415, NEVER),
    "bad-channel": ("/comet/a%0Ab", {}, b"other", 400, NEVER),
    "two-lengths": (None, {"Content-Length": "5", "content-length": "5"},
                    b"other", 400, NEVER),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_256_10_others(server, name):
    """A request that is not like the last ones goes to httpd and is answered as
    usual.  Afterwards the hub publishes again, on the same connection if httpd
    has kept that."""
    target, headers, body, status, which = OTHERS[name]
    with Publisher(server, "o-" + name) as client:
        client.learn()
        before = published(server)
        for turn in range(1 if which == ONCE else 6):
            client.conn.request("POST", target or client.target,
                                dict(client.headers, **headers), body,
                                "1.0" if name == "old-version" else "1.1")
            answer = client.answer()
            assert by_hub(server, before) == 0
            if name == "key" and turn:
                assert answer.status == 200, answer
                continue
            assert answer.status == status, answer
            if status == 201 and not target:
                data = answer.json()
                client.said.append((data.get("timestamp")
                                    or data["timestamps"][0],
                                    body.decode() if name == "long-body"
                                    else "other"))
        if which == ONCE:
            with Publisher(server, headers=headers,
                           target=target or client.target) as other:
                other.learn_with(body)
                client.said += [] if target else other.said
        client.learn()
        client.check()


def test_256_11_the_end_of_the_buffer(server):
    """The hub looks at 32 KB at a time.  It publishes a request that is almost
    as long, and leaves one of just this length to httpd, together with what
    follows it."""
    with Publisher(server, "buffer") as client:
        client.learn()
        head = len(client.bytes("x" * 10000)) - 10000
        for length in (-1, 0, 1):
            text = "x" * (32768 - head + length)
            before = published(server)
            client.conn.send(client.bytes(text)
                             + client.conn.format("GET", "/static.txt"))
            client.take(text)
            assert client.answer("GET").body == b"a static file\n"
            assert by_hub(server, before) == 0
            client.learn()
            before = published(server)
            client.post(text)
            assert by_hub(server, before) == (length < 0)
        client.check()


@pytest.mark.parametrize("follow", ["POST", "GET", "half", "later"])
def test_256_12_pipelined(server, follow):
    """A request that is sent together with a POST, or while its message is
    being stored, is answered after the POST."""
    with Publisher(server, "pipelined-" + follow) as client:
        client.learn()
        for number in range(10):
            text = "p%d" % number
            if follow == "POST":
                client.conn.send(b"".join(
                    client.bytes("%s.%d" % (text, part)) for part in range(5)))
                for part in range(5):
                    client.take("%s.%d" % (text, part))
            else:
                get = client.conn.format("GET", "/static.txt")
                cut = {"GET": len(get), "half": 5, "later": 0}[follow]
                client.conn.send(client.bytes(text) + get[:cut])
                client.conn.send(get[cut:])
                client.take(text)
                assert client.answer("GET").body == b"a static file\n"
            client.post("after")
        client.learn()
        client.check()


@pytest.mark.parametrize("second", ["POST", "GET", "end", "POST-end"])
def test_256_13_while_it_is_stored(server, second):
    """While a message waits to be stored, the client sends another request or
    closes its side.  It gets its answers in order."""
    with Publisher(server, "stored-" + second) as client:
        client.learn()
        before = published(server)
        locked = lock(server.db)
        try:
            client.say("waits")
            assert client.conn.silent(0.1)
            if "POST" in second:
                client.say("second")
            elif second == "GET":
                client.conn.send(client.conn.format("GET", "/static.txt"))
            if "end" in second:
                client.conn.sock.shutdown(socket.SHUT_WR)
            assert client.conn.silent(0.1)
        finally:
            locked.execute("ROLLBACK")
            locked.close()
        client.take("waits")
        if "POST" in second:
            client.take("second")
        if second == "POST":
            assert by_hub(server, before) == 2
        elif second == "GET":
            assert client.answer("GET").body == b"a static file\n"
            assert by_hub(server, before) == 1
        elif second == "end":
            assert by_hub(server, before) == 1
        if "end" in second:
            assert client.conn.at_eof(5 * SLOW)
            client.connect()
        client.learn()
        client.check()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_256_14_gone(server, how):
    """A client leaves while its message is being stored.  The message is stored
    at most once, and the server closes its descriptors."""
    Publisher(server, "gone").learn().conn.close()
    server.wait_waiting(0)
    children = server.children()
    descriptors = fd_count(children[0])
    texts = ["gone-%s-%d" % (how, number) for number in range(6)]
    for text in texts:
        client = Publisher(server, "gone").learn()
        locked = lock(server.db)
        try:
            client.say(text)
            assert client.conn.silent(0.03)
            getattr(client.conn, how)()
            time.sleep(0.03)
        finally:
            locked.execute("ROLLBACK")
            locked.close()
        with Publisher(server, "gone") as other:
            other.post("next")
    wait_until(lambda: fd_count(children[0]) <= descriptors + 3, 10,
               "descriptors to be closed")
    rows = [body for _, body in client.rows()]
    assert all(rows.count(text) <= 1 for text in texts), rows


def test_256_15_in_parts(server):
    """Head and body arrive in two packets.  The hub waits for the body; if it
    does not come soon, httpd reads it."""
    with Publisher(server, "parts") as client:
        client.learn()
        before = published(server)
        data = client.bytes("two parts")
        client.conn.send(data[:-9])
        time.sleep(0.3)         # so that these are two packets
        client.conn.send(data[-9:])
        client.take("two parts")
        assert by_hub(server, before) == 1
        for cut, hubs in ((1, 0), (20, 0), (-10, 0), (-9, 1), (-1, 1)):
            client.learn()
            before = published(server)
            client.conn.send(data[:cut])
            assert client.conn.silent(0.05)
            client.conn.send(data[cut:])
            client.take("two parts")
            assert by_hub(server, before) == hubs, cut
            client.post("after")
        client.learn()
        client.check()


@pytest.mark.long
def test_256_15b_drips(server):
    """A client sends its body byte by byte.  The hub waits for it for a second,
    and httpd reads the rest."""
    with Publisher(server, "drips") as client:
        client.learn()
        for pause, hubs in ((0.02, 1), (0.15, 0)):
            before = published(server)
            data = client.bytes("0123456789abcdef")
            client.conn.send(data[:-16])
            for i in range(16, 0, -1):
                client.conn.send(data[len(data) - i:len(data) - i + 1])
                time.sleep(pause)
            client.take("0123456789abcdef")
            assert by_hub(server, before) == hubs
            client.learn()
        client.check()


# -- where the hub never publishes ---------------------------------------------


@pytest.mark.parametrize("conf", [
    "CometLimitPublish address=100/s\n",
    "SetInputFilter DEFLATE\n",
    "Header set X-Unique %{UNIQUE_ID}e\n",
    "Header set X-Time %t\n",
    "Header set Age 1\n",
    "Header add Set-Cookie a=b\n",
    "KeepAlive off\n",
    "<Location /comet>\nCometFastPublish off\n</Location>\n"])
def test_256_20_not_where(make_server, conf):
    """The hub publishes nothing where a header can differ from one answer to
    the next, where messages are counted or bodies changed, or where connections
    are not kept."""
    server = make_server(conf=FAST + conf, modules=("headers", "unique_id"))
    with Publisher(server) as client:
        for number in range(6):
            client.post("x" * number)
            if "Header" in conf and number == 0:
                time.sleep(1.6)     # so that a header with the time differs
            assert published(server) == 0
        client.check()


def test_256_21_users(make_server):
    """If a user or a token is needed, httpd decides about each POST, and each
    message has its author."""
    server = make_server(conf=FAST + """
        <Location "/comet/private">
          AuthType Basic
          AuthName "test"
          AuthUserFile "{root}/conf/passwd"
          Require valid-user
        </Location>
        <Location "/comet/token">
          CometTokenKey HS256 %s
          Require comet-token
        </Location>""" % tokens.write("lane.key", tokens.SECRET))
    with open(server.root + "/conf/passwd", "w", encoding="ascii") as out:
        out.write("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")
    anna = {"Authorization": "Basic YW5uYTpzZWNyZXQ="}
    token = tokens.bearer(tokens.sign(tokens.claims(None, write=["token"])))
    for channel, headers, author in (("private", anna, "anna"),
                                     ("token", token, "")):
        with Publisher(server, channel, headers) as client:
            for number in range(6):
                client.post(str(number))
                assert published(server) == 0
        found = server.sql("SELECT author FROM message WHERE channel = '%s'"
                           % channel)
        assert found == [[author]] * 6
    assert published(server) == 0


def eventfds(server):
    """Return how many eventfds a child has, or the one that has most of them: one
    stands in for each socket that is lent to the hub (wait/lend)."""
    return max(fd_count(pid, ("anon_inode:[eventfd]",))
               for pid in server.children())


def never_borrows(server, conn):
    """Publish on a connection, and check that the hub borrows it neither at first
    nor later."""
    before = eventfds(server)
    for _ in range(20):
        conn.request("POST", "/comet/lane", TEXT, b"x")
        assert conn.answer().status == 201
        assert eventfds(server) == before
    assert published(server) == 0


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_256_22_tls(make_server, tls):
    """The hub cannot borrow a connection over TLS: it would see only encrypted
    bytes."""
    server = make_server(tls=True, conf=FAST)
    with server.raw(tls=tls) as conn:
        if tls:
            never_borrows(server, conn)
            return
        before = eventfds(server)
        for _ in range(6):
            conn.request("POST", "/comet/lane", TEXT, b"x")
            assert conn.answer().status == 201
        wait_until(lambda: eventfds(server) > before, 5, "the hub to borrow it")


@pytest.mark.parametrize("other", ["worker", "prefork"])
def test_256_22b_other_mpms(make_server, other):
    """On other MPMs the hub cannot borrow connections."""
    server = make_server(conf=FAST, mpm=other)
    with server.raw() as conn:
        never_borrows(server, conn)


@pytest.mark.parametrize("require, refused", [
    ("Require expr true", True), ("Require env X", True),
    ("Require comet-publish expr true", True),
    ("<RequireAll>\nRequire all granted\nRequire  not  env X\n</RequireAll>",
     True),
    ("<RequireAny>\nRequire ip 127.0.0.1\nRequire expr true\n</RequireAny>",
     True),
    ("Require sometimes", True), ("Require always", False),
    ("Allow from env=X", True), ("Deny from 10.1.2.3 env=!X", True),
    ("Allow from 127.0.0.1", False),
    ("Require ip 127.0.0.1", False), ("Require all granted", False)])
def test_256_23_configtest(server, require, refused):
    """configtest refuses CometFastPublish with rules whose decision may change
    from one request to the next."""
    status, said = server.configtest(
        "LoadModule access_compat_module " + MODULES + "/mod_access_compat.so\n"
        '<AuthzProviderAlias expr sometimes "true">\n</AuthzProviderAlias>\n'
        '<AuthzProviderAlias ip always "127.0.0.1">\n</AuthzProviderAlias>\n'
        '<Location "/comet">\nCometFastPublish on\n%s\n</Location>' % require)
    assert (status != 0) == refused, said
    assert not refused or re.search("CometFastPublish: '(Require|allow|deny) ",
                                    said), said


def test_256_24_limit_of_bodies(make_server):
    """LimitRequestBody holds for the hub, too."""
    server = make_server(conf=FAST + "LimitRequestBody 1000\n")
    with Publisher(server) as client:
        client.learn()
        before = published(server)
        client.post("x" * 1000)
        assert by_hub(server, before) == 1
        client.say("x" * 1001)
        assert client.answer().status == 413
        client.connect()
        client.learn()
        client.check()


# -- headers that other modules add --------------------------------------------


def test_256_30_constant_headers(make_server):
    """The hub's answers have the headers that mod_headers adds to each
    answer."""
    server = make_server(conf=FAST + "Header set X-Site here\n")
    with Publisher(server) as client:
        client.learn()
        client.post("x")
        assert client.conn.headers["x-site"] == "here"


@pytest.mark.parametrize("value, right", [
    ("%{HTTP:Content-Length}", lambda conn, text: str(len(text))),
    ("%{TIME_SEC}", lambda conn, text: None)])
def test_256_31_computed_headers(make_server, value, right):
    """A header that mod_headers computes is right in each answer."""
    server = make_server(conf=FAST + 'Header set X-Computed "expr=%s"\n' % value)
    end = time.monotonic() + 2.5
    number = 0
    with Publisher(server) as client:
        while time.monotonic() < end or number < 6:
            number += 1
            text = "x" * (10 if time.monotonic() < end else number)
            client.post(text)
            ours = client.conn.headers["x-computed"]
            want = right(client.conn, text)
            if want is None:
                date = int(client.conn.headers["date"].split(":")[2][:2])
                assert (date - int(ours)) % 60 in (0, 1, 59)
            else:
                assert ours == want
            time.sleep(0.02)
        for number in range(11, 16):
            client.post("x" * number)
            ours = client.conn.headers["x-computed"]
            assert right(client.conn, "x" * number) in (None, ours)
    assert published(server) == 0


def test_256_31b_headers_of_a_connection(make_server):
    """A header that depends on the connection is right on each connection,
    whatever the hub has learnt on others."""
    server = make_server(conf=FAST + '<Location "/comet/port">\n'
                         'Header set X-Port "expr=%{REMOTE_PORT}"\n'
                         "</Location>\n")

    def check(client, size):
        client.conn.request("POST", "/comet/port", TEXT, b"x" * size)
        assert client.answer().status == 201
        port = client.conn.sock.getsockname()[1]
        assert client.conn.headers["x-port"] == str(port)

    with Publisher(server, "port") as client:
        client.learn()          # the header, on this connection
        with Publisher(server) as other:
            for size in range(5):
                other.learn()   # the hub has this connection
                check(other, size)
        check(client, 7)


def test_256_32_not_known_yet(make_server):
    """A connection whose POSTs the hub publishes sends others, whose answers
    all differ.  httpd answers these."""
    server = make_server(conf=FAST + '<Location "/comet/unique">\n'
                         "Header set X-Unique %{UNIQUE_ID}e\n</Location>\n",
                         modules=("headers", "unique_id"))
    seen = set()
    with Publisher(server) as client:
        for number in range(6):
            client.learn()
            before = published(server)
            client.conn.request("POST", "/comet/unique", TEXT, b"x" * number)
            assert client.answer().status == 201
            assert by_hub(server, before) == 0
            seen.add(client.conn.headers["x-unique"])
        client.check()
    assert len(seen) == 6


# -- which decision holds, for whom and for how long ---------------------------


@pytest.mark.parametrize("other", ["127.0.0.2", "::1"])
def test_256_40_other_address(make_server, other):
    """What holds for one client's address does not hold for another one's, even
    if the hub knows other POSTs of that one."""
    server = make_server(start=False, conf=FAST + """
Listen %s:{port}
<Location "/comet/lane">
  Require ip 127.0.0.1
</Location>
""" % ("[::1]" if ":" in other else other))
    server.start()
    with Publisher(server) as client:
        client.learn()
        with socket.socket(socket.AF_INET6 if ":" in other
                           else socket.AF_INET) as sock:
            sock.bind((other, 0))
            sock.settimeout(15 * SLOW)
            sock.connect(("::1" if ":" in other else "127.0.0.1",
                          server.port))
            with Publisher(server) as stranger:
                stranger.conn.sock.close()
                stranger.conn.sock = sock
                for _ in range(4):
                    stranger.target = "/comet/open"
                    stranger.learn()
                    stranger.target = "/comet/lane"
                    before = published(server)
                    stranger.say("no")
                    assert stranger.conn.answer().status == 403
                    assert by_hub(server, before) == 0
                    client.post("yes")
        client.check()


def test_256_40b_other_address_of_the_server(make_server):
    """What holds at one address of the server, at one port and in one virtual
    host holds at no other one, although client and request are the same and
    the hub knows other POSTs there."""
    second = free_port()
    server = make_server(start=False, conf=FAST + """
UseCanonicalPhysicalPort On
Listen 127.0.0.1:%d
Listen 127.0.0.2:{port}
Listen 127.0.0.3:{port}
SetEnvIf Server_Addr ^127\\.0\\.0\\.2$ second
<If "%%{REQUEST_URI} =~ m#lane# && (reqenv('second') == '1' ||\
     %%{SERVER_PORT} == '%d')">
  Require all denied
</If>
<VirtualHost 127.0.0.3:{port}>
  <Location "/comet/lane">
    Require all denied
  </Location>
</VirtualHost>
""" % (second, second))
    give_port(second)
    server.start()
    with Publisher(server) as client:
        client.conn.host = "localhost"
        client.learn()
        for address, port in (("127.0.0.2", server.port),
                              ("127.0.0.3", server.port),
                              ("127.0.0.1", second)):
            with Publisher(server, "open%d%s" % (port, address), host=address,
                           port=port) as there:
                there.conn.host = "localhost"
                there.learn()
                assert there.conn.sock.getsockname()[0] == "127.0.0.1"
                for _ in range(2):
                    before = published(server)
                    there.conn.send(client.bytes("no"))
                    assert there.conn.answer().status == 403, address
                    assert by_hub(server, before) == 0
                    there.learn()
                    there.check()
                client.post("yes")
        client.check()


def test_256_41_decided_anew(make_server):
    """After CometMaxLifetime, httpd checks a client's access again.  If it
    refuses, later POSTs are refused, too; until then the hub publishes most
    messages."""
    server = make_server(conf=FAST + """
CometMaxLifetime 1s
<If "-f '{root}/conf/flag' && %{REQUEST_URI} =~ m#lane#">
  Require all denied
</If>
""")
    with Publisher(server) as client:
        client.learn()
        requests = len(server.access_lines("/comet/lane"))
        end = time.monotonic() + 2.5
        before = published(server)
        while time.monotonic() < end:
            client.post("x")
            time.sleep(0.02)
        asked = len(server.access_lines("/comet/lane")) - requests
        assert 2 <= asked <= 6
        assert by_hub(server, before) > asked

        def status():
            client.say("no")
            answer = client.answer()
            if answer.status == 201:
                client.said.append((answer.json()["timestamp"], "no"))
            return answer.status
        with flag(server), Publisher(server, "other") as other:
            wait_until(lambda: status() == 403, 1.5, "httpd's decision")
            before = published(server)
            assert [status() for _ in range(5)] == [403] * 5
            assert by_hub(server, before) == 0
            # another connection, for which httpd has just decided something
            # else
            for _ in range(5):
                other.learn()
                other.conn.send(client.bytes("no"))
                assert other.answer().status == 403
        client.learn()
        client.check()


def test_256_41b_a_slow_body(make_server):
    """A decision is as old as the POST's head.  It does not hold longer because
    the body comes slowly."""
    server = make_server(conf=FAST + """
CometMaxLifetime 1s
<If "-f '{root}/conf/flag' && %{REQUEST_URI} =~ m#lane#">
  Require all denied
</If>
""")
    Publisher(server, "other").learn().conn.close()
    with Publisher(server) as client:
        data = client.bytes("a slow body")
        client.conn.send(data[:-4])
        assert client.conn.silent(1.1)      # longer than CometMaxLifetime
        with flag(server):
            client.conn.send(data[-4:])
            client.take("a slow body")
            before = published(server)
            client.say("no")
            assert client.answer().status == 403
            assert by_hub(server, before) == 0
        client.check()


def test_256_42_decided_anew_after_a_reload(make_server):
    server = make_server(conf=FAST)
    with Publisher(server) as client:
        client.learn()
        server.conf += '<Location "/comet/lane">\nRequire all denied\n' \
            "</Location>\n"
        server.conf_path(server.config_text())
        server.graceful()
        assert client.conn.at_eof(5 * SLOW)
        client.connect()
        before = published(server)
        for _ in range(4):
            client.say("no")
            assert client.answer().status == 403
        assert by_hub(server, before) == 0
        client.check()


def test_256_43_max_keepalive(make_server):
    """The hub's answers count for MaxKeepAliveRequests, and max= in their
    Keep-Alive header shows it."""
    server = make_server(conf=FAST, max_keepalive=12)
    with Publisher(server, headers={"Connection": "keep-alive"}) as client:
        for _ in range(2):
            for number in range(13):
                client.say("x")
                conn = client.conn
                assert conn.answer().status == 201
                told = conn.headers.get("keep-alive", "")
                if conn.headers["connection"].lower() == "close":
                    break
                assert "max=%d" % (12 - number) in told
            assert number == 12
            assert conn.at_eof(3 * SLOW)
            client.connect()
    assert published(server) > 5


def test_256_44_rest(make_server):
    """KeepAliveTimeout ends an idle connection."""
    server = make_server(conf=FAST + "KeepAliveTimeout 1\n")
    with Publisher(server) as client:
        client.learn()
        begin = time.monotonic()
        assert client.conn.at_eof(5 * SLOW)
        assert 0.5 < time.monotonic() - begin < 4 * SLOW


@pytest.mark.long
def test_256_45_outlives_timeout(make_server):
    """A connection that is in use may last longer than Timeout, and a message
    may take longer than what is left of it."""
    server = make_server(timeout=3, conf=FAST + "KeepAliveTimeout 2\n"
                         "CometPublishTimeout 5s\n")
    with Publisher(server) as client:
        client.learn()
        end = time.monotonic() + 8
        before = published(server)
        while time.monotonic() < end:
            client.post("x")
            time.sleep(0.05)
        assert by_hub(server, before) > 100
        time.sleep(1.5)
        locked = lock(server.db)
        try:
            client.say("slow")
            assert client.conn.silent(3.8)
        finally:
            locked.execute("ROLLBACK")
            locked.close()
        client.take("slow")
        client.check()


def test_256_46_access_log(server):
    """The access log has only the POSTs that httpd answers."""
    with Publisher(server, "logged") as client:
        client.learn()
        lines = len(server.access_lines("/comet/logged"))
        before = published(server)
        for number in range(10):
            client.post(str(number))
        assert by_hub(server, before) == 10
        assert len(server.access_lines("/comet/logged")) == lines


# -- faults of the store -------------------------------------------------------


def test_256_50_locked(make_server):
    """Another program locks the store.  A message waits for that, but no longer
    than CometPublishTimeout; then it is refused and never stored."""
    server = make_server(conf=FAST + "CometPublishTimeout 1s\n")
    with Publisher(server) as client, Publisher(server, "other") as other:
        client.learn()
        other.learn()
        locked = lock(server.db)
        try:
            before = published(server)
            client.say("patient")
            assert client.conn.silent(0.3)
        finally:
            locked.execute("ROLLBACK")
        client.take("patient")
        assert by_hub(server, before) == 1
        locked.execute("BEGIN IMMEDIATE")
        if STORE != "sqlite":
            locked.execute("LOCK TABLE turn IN EXCLUSIVE MODE")
        try:
            client.say("refused")
            begin = time.monotonic()
            answer = client.answer()
            assert time.monotonic() - begin > 0.8
            assert answer.status == 503 and answer.header("retry-after")
            assert "was not stored" in answer.json()["error"] \
                or STORE != "sqlite"
        finally:
            locked.execute("ROLLBACK")
            locked.close()
        client.post("after")
        other.learn()
        other.check()
        if STORE == "sqlite":
            client.check()


@only_sqlite            # elsewhere it is in flight already
def test_256_50b_refused_meanwhile(make_server):
    """The store is locked for so long that the hub gives a message to httpd,
    which now refuses the client.  The message is not stored, and the client's
    next message is not taken for it."""
    server = make_server(conf=FAST + """
CometPublishTimeout 300ms
<If "-f '{root}/conf/flag' && %{REQUEST_URI} =~ m#lane#">
  Require all denied
</If>
""")
    with Publisher(server) as client:
        client.learn()
        locked = lock(server.db)
        try:
            with flag(server):
                client.say("refused")
                assert client.answer().status == 403
        finally:
            locked.execute("ROLLBACK")
            locked.close()
        client.post("next")
        client.learn()
        client.check()


@only_sqlite
def test_256_51_stalled(make_server):
    """The disk stalls during the commit.  The outcome is not known in time; the
    message is stored exactly once."""
    server = make_server(start=False, conf=FAST + "CometSync full\n"
                         "CometPublishTimeout 500ms\n")
    shim = Shim(server)
    server.start()
    with Publisher(server) as client, Publisher(server, "other") as other:
        client.learn()
        other.learn()
        shim.set_sync(1.5)
        other.say("first")              # its commit stalls
        answer = other.answer()
        shim.set_sync(0)
        assert answer.status == 503, answer
        assert "not known" in answer.json()["error"], answer
        wait_until(lambda: [b for _, b in other.rows()].count("first") == 1, 5,
                   "the commit")
        client.learn()
        other.said.append((other.rows()[-1][0], "first"))
        other.learn()
        other.check()
        client.check()


@only_sqlite
@pytest.mark.parametrize("how", ["half", "close", "stay", "Timeout"])
def test_256_54_holds_no_threads(make_server, how):
    """While the store does not answer, more publishers than httpd has threads
    wait or leave, and httpd serves the rest of the site.  They may wait for
    longer than Timeout, and than httpd's decision about them holds."""
    server = make_server(threads=8, timeout=2 if how == "Timeout" else 60,
                         conf=FAST + "CometPublishTimeout 20s\n")
    Publisher(server).learn().conn.close()
    clients = [Publisher(server) for _ in range(24)]
    for client in clients:
        client.learn()
    before = published(server)
    locked = lock(server.db)
    try:
        for number, client in enumerate(clients):
            client.say("waits %d" % number)
        assert clients[-1].conn.silent(0.1)
        for client in clients:
            if how == "half":
                client.conn.sock.shutdown(socket.SHUT_WR)
            elif how == "close":
                client.conn.close()
        assert how != "Timeout" or clients[0].conn.silent(3.8)
        for _ in range(20):
            begin = time.monotonic()
            assert server.get("/static.txt").status == 200
            assert time.monotonic() - begin < 2 * SLOW
    finally:
        locked.execute("ROLLBACK")
        locked.close()
    for number, client in enumerate(clients):
        if how != "close":
            assert client.answer().status == 201
            bodies = [body for _, body in client.rows()]
            assert bodies.count("waits %d" % number) == 1
            client.conn.close()
    assert how == "close" or by_hub(server, before) == len(clients)


@only_sqlite
def test_256_52_full(small_disk):
    """On a full disk the hub's clients get 507, as httpd's do. Once the disk
    has room, the hub publishes again."""
    server, disk = small_disk
    server.conf += FAST
    server.stop()
    server.start()
    with Publisher(server) as client:
        client.learn()
        filler = disk.fill()
        statuses = []
        for number in range(60):
            text = "%d" % number + "x" * 20000
            client.say(text)
            answer = client.answer()
            statuses.append(answer.status)
            if answer.status == 201:
                client.said.append((answer.json()["timestamp"], text))
            else:
                assert answer.status == 507 and answer.json()["error"], answer
                if statuses[-3:] == [507] * 3:
                    break
        assert statuses[-1] == 507, statuses
        os.unlink(filler)

        def again():
            client.say("again")
            answer = client.answer()
            if answer.status == 201:
                client.said.append((answer.json()["timestamp"], "again"))
            return answer.status == 201
        wait_until(again, 10, "room")
        client.learn()
        client.check()


@only_sqlite
@pytest.mark.parametrize("how", ["ABORT, 'no spam'", "IGNORE"])
def test_256_53_refused(make_server, how):
    """If the store refuses a message, the client gets the same answer as
    without CometFastPublish."""
    server = make_server(conf=FAST + '<Location "/comet/slow">\n'
                         "CometFastPublish off\n</Location>\n")
    with Publisher(server) as client, Publisher(server, "slow") as slow:
        client.learn()
        slow.post("x")
        server.sql("CREATE TRIGGER rule BEFORE INSERT ON message_log"
                   " WHEN NEW.body = 'spam' BEGIN SELECT RAISE(%s); END;" % how)
        answers = []
        for one in (client, slow):
            one.say("spam")
            answers.append(one.answer())
        assert answers[0].status == answers[1].status == 400, answers
        assert answers[0].body == answers[1].body
        assert client.conn.raw_head.split(b"\r\n")[0] \
            == slow.conn.raw_head.split(b"\r\n")[0]
        client.learn()
        client.check()


# -- reloads and stops ---------------------------------------------------------


class Steady(threading.Thread):
    """A publisher that goes on through reloads.  It repeats a message only if
    its connection ended before any byte of an answer.

    lost: the messages whose answers did not come.
    """

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.client = Publisher(server, "steady%d" % (number % 2))
        self.number, self.over = number, threading.Event()
        self.lost, self.broken, self.refused = [], [], 0

    def run(self):
        count = 0
        while not self.over.is_set():
            text = "%d-%d" % (self.number, count)
            count += 1
            try:
                self.client.say(text)
                answer = self.client.answer()
                if answer.status == 503:
                    self.refused += 1
                elif answer.status != 201:
                    self.broken.append(repr(answer))
                else:
                    self.client.said.append((answer.json()["timestamp"], text))
            except OSError as err:
                self.lost.append(text)
                if self.client.conn.buffer or (isinstance(err, Closed)
                                               and "b''" not in str(err)):
                    self.broken.append(repr(err))
                self.reconnect()

    def reconnect(self):
        while not self.over.is_set():
            try:
                self.client.connect()
                return
            except OSError:
                self.over.wait(0.01)


def through(server, times, sign, pause):
    """Reload or restart while 8 clients publish; return them. The old children
    end soon, although their clients go on."""
    clients = [Steady(server, number) for number in range(8)]
    for client in clients:
        client.start()
    try:
        for _ in range(times):
            before = published(server)
            wait_until(lambda: by_hub(server, before) > 50, 10,
                       "the hub to publish")
            time.sleep(pause)
            old = server.graceful(sign=sign)
            wait_until(lambda: not any(map(alive, old)), 10,
                       "the old children's end")
    finally:
        for client in clients:
            client.over.set()
        for client in clients:
            client.join(20 * SLOW)
            client.client.conn.close()
    assert not any(client.is_alive() for client in clients)
    assert not any(client.broken for client in clients), \
        [c.broken for c in clients]
    return clients


def judge(clients, may_be_untold):
    """Everything that was acknowledged is stored once, and nothing twice.
    Return how many messages were stored without an answer."""
    untold = 0
    for part in range(2):
        rows = clients[part].client.rows()
        said = {one for c in clients[part::2] for one in c.client.said}
        assert said <= set(rows)
        assert len({body for _, body in rows}) == len(rows), "stored twice"
        alone = {body for _, body in rows} - {body for _, body in said}
        assert alone <= {text for c in clients for text in c.lost}
        untold += len(alone)
    assert may_be_untold or not untold, untold
    return untold


def test_256_60_reload(make_server):
    """At a graceful reload each request gets its answer, or its connection
    ended before httpd has read it: no message is stored without an answer."""
    server = make_server(conf=FAST)
    judge(through(server, 2, signal.SIGUSR1, 0.05), may_be_untold=False)


def test_256_61_restart(make_server):
    """At a restart a message that waits for the store is neither acknowledged
    nor stored, and what was acknowledged before is stored once."""
    server = make_server(conf=FAST + "CometPublishTimeout 5s\n")
    clients = [Publisher(server, "halt%d" % n).learn() for n in range(3)]
    locked = lock(server.db)
    try:
        for client in clients:
            client.say("waits")
        assert clients[0].conn.silent(0.1)
        old = server.graceful(sign=signal.SIGHUP)
        wait_until(lambda: not any(map(alive, old)), 10, "the old child's end")
    finally:
        locked.execute("ROLLBACK")
        locked.close()
    for client in clients:
        assert client.conn.at_eof(5)
        client.connect()
        client.post("after")
        client.check()
        client.conn.close()


@pytest.mark.long
@pytest.mark.bound(120)
@pytest.mark.parametrize("sign", [signal.SIGUSR1, signal.SIGHUP])
def test_256_62_many_reloads(make_server, sign):
    server = make_server(conf=FAST, children=2)
    judge(through(server, 15, sign, 0.1), may_be_untold=sign == signal.SIGHUP)


def test_256_63_stop_while_it_is_stored(make_server):
    """httpd is reloaded while messages wait for the store: their clients get
    their answers.  It is stopped with such messages: it ends in time."""
    server = make_server(conf=FAST + "CometPublishTimeout 5s\n")
    clients = [Publisher(server, "stop%d" % n).learn() for n in range(3)]
    locked = lock(server.db)
    try:
        for client in clients:
            client.say("waits")
        assert clients[0].conn.silent(0.1)
        server.proc.send_signal(signal.SIGUSR1)
        wait_until(lambda: server.generation() == 2, 10, "the reload")
        assert clients[0].conn.silent(0.1)
    finally:
        locked.execute("ROLLBACK")
        locked.close()
    for client in clients:
        answer = client.take("waits")
        assert answer.header("connection") == "close"
        client.check()
        client.conn.close()
    clients = [Publisher(server, "stop%d" % n).learn() for n in range(6)]
    for client in clients[3:]:
        client.connect()
        client.post("learnt")           # by httpd
    locked = lock(server.db)
    try:
        for client in clients[:3]:
            client.say("ends")
        assert clients[0].conn.silent(0.1)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 5 * SLOW
    finally:
        locked.execute("ROLLBACK")
        locked.close()
        for client in clients:
            client.conn.close()
