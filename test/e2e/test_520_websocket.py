# SPDX-License-Identifier: Apache-2.0
"""Handshakes and frames of a WebSocket (RFC 6455), for each way in which a
WebSocket can wait. The tests' own small client can send invalid frames."""

import json
import os
import ssl
import struct
import time

import pytest

from httpd_env import SLOW, wait_until
from socket_client import (BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT,
                           Socket, close_frame, frame, handshake)
from stream_client import Stream, post

CONF = """
CometTransports all websocket
CometPollTimeout 1s
<Location "/comet/plain">
  CometTransports all
</Location>
<Location "/comet/silent">
  CometHeartbeat 1s
</Location>
<Location "/comet/short">
  CometMaxLifetime 1s
</Location>
<Location "/comet/friend">
  CometAllowOrigin https://friend.example
</Location>
<Location "/comet/any">
  CometAllowOrigin *
</Location>
<Location "/comet/mute">
  CometPublish off
</Location>
<Location "/comet/staff">
  Require comet-publish ip 192.0.2.1
</Location>
<Location "/comet/limited">
  CometLimitPublish address=10/min
</Location>
<Location "/comet/many">
  CometMulti on
</Location>
<Location "/comet/members">
  AuthType Basic
  AuthName members
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""
SERVER = {"conf": CONF, "tls": True}
ANNA = {"Authorization": "Basic YW5uYTphZG1pbg=="}


@pytest.fixture(params=["adopted", "parked", "blocked"])
def way(request):
    """Return, for each way of waiting, a server and the arguments of Socket
    that lead to it."""
    if request.param == "blocked":
        return request.getfixturevalue("thread_server"), {"tls": True}
    return (request.getfixturevalue("shared_server"),
            {"tls": request.param == "parked"})


def text(value, **how):
    return frame(TEXT, json.dumps(value), **how)


def said(body, ref="r", **how):
    return text({"publish": {"body": body}, "ref": ref}, **how)


def ping(payload=b""):
    return (PONG, payload)


# -- handshakes ----------------------------------------------------------------

REFUSED = (
    ("version 8", {"Sec_WebSocket_Version": "8"}, 426, "expected 13"),
    ("no version", {"Sec_WebSocket_Version": None}, 426, "expected 13"),
    ("versions", {"Sec_WebSocket_Version": "13, 8"}, 426, "expected 13"),
    ("no key", {"Sec_WebSocket_Key": None}, 400, "Sec-WebSocket-Key"),
    ("short key", {"Sec_WebSocket_Key": "dGhlIA=="}, 400, "16 bytes"),
    ("long key", {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQAA=="}, 400,
     "16 bytes"),
    ("no base64", {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25j!Q=="}, 400,
     "16 bytes"),
    ("no Connection", {"Connection": None}, 400, "Connection: expected"),
    ("keep-alive", {"Connection": "keep-alive"}, 400, "Connection: expected"),
    ("a body", {"Content_Length": "3"}, 400, "has no body"),
    ("another site", {"Origin": "https://evil.example"}, 403, "another site"),
    ("no origin", {"Origin": "null"}, 403, "another site"),
    ("another port", {"Origin": "http://localhost:1"}, 403, "another site"),
    ("cross-site", {"Sec_Fetch_Site": "cross-site"}, 403, "another site"),
    ("same-site", {"Sec_Fetch_Site": "same-site"}, 403, "another site"),
)


def test_520_01_refused_handshakes(server):
    """Each invalid handshake is refused with the reason, and not upgraded."""
    for name, changes, status, part in REFUSED:
        headers = handshake(**changes)
        answer = server.request(
            "GET", "/comet/x", b"abc" if "Content-Length" in headers else None,
            headers)
        assert answer.status == status, (name, answer)
        assert part in answer.json()["error"], (name, answer)
        assert status != 426 or answer.header("sec-websocket-version") == "13"
    with server.raw() as conn:                          # over HTTP/1.0
        conn.request("GET", "/comet/x", handshake(), version="1.0")
        assert conn.head() == 426
    answer = server.get("/comet/x?transport=websocket")
    assert answer.status == 426 and answer.header("upgrade") == "websocket"
    answer = server.get("/comet/plain", handshake())
    assert answer.status == 406 and "CometTransports" in answer.json()["error"]
    answer = server.get("/comet", handshake())
    assert answer.status == 400 and "channel" in answer.json()["error"]
    answer = server.get("/comet/members", handshake())
    assert answer.status == 401


ACCEPTED = (
    {}, {"Connection": "keep-alive, Upgrade"}, {"Upgrade": "WebSocket"},
    {"Upgrade": "h2c, websocket"}, {"Connection": "upgrade"},
    {"Origin": "http://{host}"}, {"Origin": "https://{host}"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.example"},
    {"Sec-WebSocket-Extensions": "permessage-deflate"},
)


def test_520_02_accepted_handshakes(server):
    """The server accepts what RFC 6455 allows.  It selects no extension, and no
    unknown subprotocol."""
    for headers in ACCEPTED:
        headers = {name: value.replace("{host}", "localhost:%d" % server.port)
                   for name, value in headers.items()}
        with Socket(server, "/comet/x", headers) as socket:
            assert socket.status == 101, headers
            assert "sec-websocket-extensions" not in socket.headers
            assert "sec-websocket-protocol" not in socket.headers
            socket.opened()
    for offered, chosen in (("comet", "comet"), ("a, comet", "comet"),
                            ("a", None)):
        with Socket(server, "/comet/x",
                    {"Sec-WebSocket-Protocol": offered}) as socket:
            assert socket.headers.get("sec-websocket-protocol") == chosen
    with Socket(server, "/comet/friend/x",
                {"Origin": "https://friend.example"}) as socket:
        assert socket.status == 101
    any_site = {"Origin": "https://any.example"}
    with Socket(server, "/comet/any/x", any_site) as socket:
        assert socket.status == 101
    with Socket(server, "/comet/any/x", dict(any_site, Cookie="a=b")) as socket:
        assert socket.status == 403


# -- frames --------------------------------------------------------------------

LONG = "x" * 60000
EUROS = json.dumps({"publish": {"body": "\u20ac" * 40}},
                   ensure_ascii=False).encode()
# (name, bytes, the answers: frames, a number for a Close with this code, …)
FRAMES = [
    ("%s %d %s" % (name, size, form),
     frame(opcode, b"x" * size, form=form), [(PONG, b"x" * size)])
    for opcode, name in ((PING, "ping"),)
    for size, form in ((0, None), (1, None), (124, None), (125, None))
] + [
    ("ping %d" % size, frame(PING, b"x" * size), [1002])
    for size in (126, 127, 65536)
] + [
    ("ping in fragments", frame(PING, b"a", fin=False), [1002]),
    ("close in fragments", close_frame(1000, fin=False), [1002]),
    ("pong in fragments", frame(PONG, b"a", fin=False), [1002]),
    ("pong unasked", frame(PONG, b"a") + frame(PING, b"b"), [ping(b"b")]),
    ("ten pings", b"".join(frame(PING, b"%d" % i) for i in range(10)),
     [ping(b"%d" % i) for i in range(10)]),
    ("binary ping", frame(PING, b"\0\xff\xfe"), [ping(b"\0\xff\xfe")]),
    ("mask of zeros", frame(PING, b"abc", mask=b"\0\0\0\0"), [ping(b"abc")]),
    ("mask of ones", frame(PING, b"abc", mask=b"\xff" * 4), [ping(b"abc")]),
    ("ping not masked", frame(PING, b"a", mask=None), [1002]),
    ("text not masked", frame(TEXT, b"{}", mask=None), [1002]),
    ("close not masked", close_frame(1000, mask=None), [1002]),
    ("binary", frame(BINARY, b"{}"), [1003]),
    ("binary in fragments", frame(BINARY, b"{", fin=False), [1003]),
    ("continues nothing", frame(CONTINUATION, b"a"), [1002]),
    ("continues nothing, more", frame(CONTINUATION, b"a", fin=False), [1002]),
    ("continues what has ended",
     said("a") + frame(CONTINUATION, b"a"), ["stored", 1002]),
    ("a text within a text",
     frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), [1002]),
    ("a binary within a text",
     frame(TEXT, b"{", fin=False) + frame(BINARY, b"}"), [1002]),
] + [
    ("reserved bits %d of %d" % (rsv, opcode), frame(opcode, b"", rsv=rsv),
     [1002])
    for rsv in (1, 2, 4, 7) for opcode in (TEXT, PING, CLOSE)
] + [
    ("reserved opcode %d" % opcode, frame(opcode, b"x"), [1002])
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
] + [
    ("reserved opcode %d within a text" % opcode,
     frame(TEXT, b"{", fin=False) + frame(opcode, b"x"), [1002])
    for opcode in (3, 7, 11, 15)
] + [
    ("length %d in %d bytes" % (size, form),
     frame(TEXT, b" " * size, form=form), [1002])
    for size, form in ((1, 2), (125, 2), (1, 8), (125, 8), (126, 8),
                       (65535, 8))
] + [
    ("length of 2^63", frame(TEXT, b"x", length=1 << 63), [1002]),
    ("length of 2^62", frame(TEXT, b"x", length=1 << 62), [1009]),
    ("length of 2^24", frame(TEXT, b"x", length=1 << 24), [1009]),
    ("length of 2^24 in fragments",
     frame(TEXT, b"x", fin=False)
     + frame(CONTINUATION, b"x", length=1 << 24), [1009]),
] + [
    ("close %s" % code, close_frame(code), [code])
    for code in (None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011,
                 3000, 3999, 4000, 4999)
] + [
    ("close %d" % code, close_frame(code), [1002])
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000,
                 65535)
] + [
    ("close with a reason", close_frame(1000, b"x" * 123), [1000]),
    ("close with a long reason", close_frame(1000, b"x" * 124), [1002]),
    ("close with half a code", frame(CLOSE, b"\x03"), [1002]),
    ("close with no UTF-8", close_frame(1000, b"\xff"), [1007]),
    ("close with half a character", close_frame(1000, b"\xe2\x82"), [1007]),
    ("close within a text",
     frame(TEXT, b"{", fin=False) + close_frame(1000), [1000]),
    ("a ping after close", close_frame(1000) + frame(PING, b"a"), [1000]),
    ("a text after close", close_frame(1000) + said("late"), [1000]),
    ("two closes", close_frame(1000) + close_frame(1001), [1000]),
] + [
    ("no UTF-8 %r" % wrong, frame(TEXT, wrong), [1007])
    for wrong in (b"\xff", b"\xfe", b"\x80", b"\xc0\xaf", b"\xe0\x80\xaf",
                  b"\xf0\x80\x80\xaf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98",
                  b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80",
                  b"\xf5\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80")
] + [
    ("no UTF-8 in the second fragment",
     frame(TEXT, b"{\"a", fin=False) + frame(CONTINUATION, b"\xff", fin=False),
     [1007]),
    ("half a character at the end",
     frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"\x82"), [1007]),
    ("said in one frame", said("a"), ["stored"]),
    ("said twice", said("a") + said("b"), ["stored", "stored"]),
    ("said in UTF-8", said("\u20ac\U0001f600"), ["stored"]),
    ("long", said(LONG), ["stored"]),
    ("no object", frame(TEXT, b""), [400]),
    ("no JSON", frame(TEXT, b"\0"), [400]),
    ("too long a body", said("x" * 70000), [413]),
    ("not understood", text({"hello": 1}), [400]),
] + [
    ("said in fragments of %d" % size,
     b"".join(frame(TEXT if not at else CONTINUATION, EUROS[at:at + size],
                    fin=at + size >= len(EUROS))
              + frame(PING, b"%d" % at)
              for at in range(0, len(EUROS), size)),
     [ping(b"%d" % at) for at in range(0, len(EUROS), size)] + ["stored"])
    for size in (1, 2, 3, 7, 100)
] + [
    ("empty fragments",
     frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False)
     + frame(CONTINUATION, json.dumps({"publish": {"body": "a"}}), fin=False)
     + frame(CONTINUATION, b""), ["stored"]),
]

def is_expected(opcode, payload, wanted):
    if isinstance(wanted, tuple):
        return (opcode, payload) == wanted
    if opcode == CLOSE:
        code = struct.unpack(">H", payload[:2])[0] if payload else None
        return wanted == code
    value = json.loads(payload)
    return opcode == TEXT and (value.get("status") == wanted
                               or (wanted == "stored" and "stored" in value))


def is_message(opcode, payload):
    """Return whether a frame is a message of the channel.  A client also gets
    the messages that it publishes."""
    return opcode == TEXT and "timestamp" in json.loads(payload)


def check_frames(socket, name, expected):
    """Check the answers; return whether a Close was among them.  Answers to
    texts come from another thread, so other answers can overtake them."""
    left = list(expected)
    while left:
        opcode, payload = socket.frame()
        if is_message(opcode, payload):
            continue
        match = [wanted for wanted in left
                 if is_expected(opcode, payload, wanted)]
        assert match, (name, opcode, payload[:100], left[:3])
        left.remove(match[0])
        if opcode == CLOSE:
            # Messages before a protocol error may stay unanswered.
            assert [w for w in left if w != "stored"] == [], (name, left)
            return True
    return False


@pytest.mark.parametrize("apart", [
    False, pytest.param(True, marks=pytest.mark.long)])
def test_520_10_frames(way, apart):
    """Each frame is answered as RFC 6455 says (sections 5 to 7), whether it
    comes at once or byte by byte."""
    server, how = way
    assert len(FRAMES) >= 100
    for name, data, expected in FRAMES:
        if apart and len(data) > 400:
            continue
        with Socket(server, "/comet/f", **how) as socket:
            socket.opened()
            if apart:
                for at in range(len(data)):
                    socket.send(data[at:at + 1])
            else:
                socket.send(data)
            if check_frames(socket, name, expected):
                socket.conn.sock.settimeout(5 * SLOW)
                assert not socket.conn.buffer, name
                assert not socket.conn.sock.recv(1), name
            else:
                socket.send(frame(PING, b"well?"))
                while socket.frame() != (PONG, b"well?"):
                    pass
    server.wait_waiting(0)


# -- messages ------------------------------------------------------------------

def test_520_20_messages(way):
    """Messages come in order with their cursors, and a client resumes with
    `since`.  A publisher gets its own messages, too."""
    server, how = way
    channel = "m%d%s" % (server.port, how.get("tls"))
    with Socket(server, "/comet/" + channel, **how) as socket:
        begin = socket.opened()
        stamps = [post(server, channel, "one"),
                  post(server, channel, "tw\u00f6", type="note")]
        first, second = socket.hear(), socket.hear()
        assert first == {"timestamp": stamps[0], "channel": channel,
                         "type": "message", "author": None, "body": "one"}
        assert (second["type"], second["body"]) == ("note", "tw\u00f6")
        answer, message = socket.stored("three", type="note")
        assert answer == {"stored": message["timestamp"], "ref": "three"}
        assert message["body"] == "three" and message["type"] == "note"
    for since, bodies in ((begin, ["one", "tw\u00f6", "three"]),
                          (stamps[1], ["three"])):
        with Socket(server, "/comet/%s?since=%d" % (channel, since),
                    **how) as socket:
            assert socket.opened() == since
            assert [socket.hear()["body"] for _ in bodies] == bodies
    with Socket(server, "/comet/%s?since=nonsense" % channel, **how) as socket:
        first, gap = socket.hear(), socket.hear()
        assert "open" in first and gap["gap"]["since"] is None


def test_520_21_publishing(way):
    """Each publish is answered, in order.  With a key, a repeated message is
    stored once.  A refusal has the same status as for a POST."""
    server, how = way
    channel = "p%d%s" % (server.port, how.get("tls"))
    with Socket(server, "/comet/" + channel, **how) as socket:
        socket.opened()
        count = 3000
        socket.send(b"".join(said("m%d" % i, ref=i) for i in range(count)))
        stored, bodies = [], []
        while len(stored) < count or len(bodies) < count:
            got = socket.hear()
            if "body" in got:
                bodies.append(got["body"])
            else:
                assert got["ref"] == len(stored), got
                stored.append(got["stored"])
        assert bodies == ["m%d" % i for i in range(count)]
        assert stored == sorted(set(stored))
        for body, answer in (("k", {}), ("k", {"repeated": True}),
                             ("other", {"status": 422})):
            socket.publish(body, ref=1, key="K")
            while True:
                got = socket.hear()
                if "ref" in got:
                    break
            assert all(got.get(k) == v for k, v in answer.items()), got
        for value, status in (
                ({"publish": {"body": "a", "channel": "else"}}, 403),
                ({"publish": {"body": "a\0"}}, 400),
                ({"publish": {"body": "a", "type": ""}}, 400),
                ({"publish": {}}, 400), ({"publish": 1}, 400), ([], 400)):
            socket.say(value)
            got = socket.hear()
            if "body" in got:       # the message k
                got = socket.hear()
            assert got["status"] == status and got["error"], (value, got)
    assert server.rows(channel) == ["m%d" % i for i in range(count)] + ["k"]


def test_520_22_who_may_publish(server):
    """A WebSocket may publish only where a POST would be allowed, and within
    the same limits."""
    for target in ("/comet/mute/x", "/comet/staff/x"):
        with Socket(server, target) as socket:
            assert socket.status == 101
            socket.opened()
            socket.publish("no", ref=1)
            got = socket.hear()
            assert (got["status"], got["ref"]) == (403, 1), target
    with Socket(server, "/comet/limited/x") as socket:
        socket.opened()
        socket.send(b"".join(said("x", ref=i) for i in range(12)))
        statuses = []
        while len(statuses) < 12:
            got = socket.hear()
            if "ref" in got:
                statuses.append(got.get("status", 201))
                assert ("retry" in got) == (statuses[-1] == 429)
        assert statuses == [201] * 10 + [429] * 2


def test_520_23_users(server):
    """The author of a WebSocket's messages is its authenticated user."""
    with open(os.path.join(server.root, "conf", "users"), "w",
              encoding="ascii") as users:
        users.write("anna:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n")  # "admin"
    with Socket(server, "/comet/members/x", ANNA) as socket:
        socket.opened()
        assert socket.stored("hello")[1]["author"] == "anna"


def test_520_24_many_channels(server):
    """A client may publish to the channels that its URL names, and to no
    others."""
    with Socket(server, "/comet/many/a?channel=many/b&channel=many/c") as socket:
        socket.opened()
        for name in ("many/a", "many/b", "many/c", None):
            _answer, message = socket.stored(
                "x", **({"channel": name} if name else {}))
            assert message["channel"] == (name or "many/a")
        socket.publish("x", ref=2, channel="many/d")
        assert socket.hear()["status"] == 403


# -- the end -------------------------------------------------------------------

def test_520_30_lifetime_and_heartbeat(way):
    """A silent WebSocket gets pings.  At the end of its lifetime it is closed
    with 1001 and a time to return."""
    server, how = way
    with Socket(server, "/comet/silent/x", **how) as socket:
        socket.opened()
        assert socket.frame()[0] == PING
    with Socket(server, "/comet/short/x", **how) as socket:
        socket.opened()
        code, _seen = socket.until_close()
        assert code == 1001 and socket.reason.startswith("retry=")
    server.wait_waiting(0)


def test_520_31_clients_that_leave(way):
    """The server notices a client that leaves without a Close frame."""
    server, how = way
    departed = server.status()["departed"]
    with Socket(server, "/comet/x", **how) as socket:
        socket.opened()
        server.wait_waiting(1, "websocket")
    server.wait_waiting(0)
    wait_until(lambda: server.status()["departed"] == departed + 1)


def test_520_32_a_client_that_does_not_read(way):
    """If a client publishes and reads nothing, the server stops reading from
    it. Others are served meanwhile."""
    server, how = way
    channel = "/comet/stuck%d%s" % (server.port, how.get("tls"))
    with Socket(server, channel, rcvbuf=4096, **how) as socket, \
            Stream(server, "/comet/calm") as calm:
        socket.opened()
        socket.conn.sock.settimeout(1.0)
        sent, data = 0, said("x" * 1000) * 50
        with pytest.raises(TimeoutError):
            while sent < 200 << 20:
                sent += socket.conn.sock.send(data)
        post(server, "calm", "still here")
        assert calm.until(1) == ["still here"]
        assert server.status()["buffered_bytes"] < 4 << 20


def test_520_33_a_client_that_never_stops_talking(way):
    """A client that publishes without a pause still gets messages of others,
    and so do other clients."""
    server, how = way
    channel = "busy%d%s" % (server.port, how.get("tls"))
    with Socket(server, "/comet/" + channel, **how) as socket, \
            Stream(server, "/comet/" + channel) as neighbour:
        socket.opened()
        sock, tail, posted = socket.conn.sock, b"", False
        flood = data = said("x" * 1000) * 100
        until = time.monotonic() + 10 * SLOW
        sock.settimeout(0)
        while b'"body":"news"' not in tail:
            assert time.monotonic() < until, "the news have not come"
            for step in (sock.send, sock.recv):
                try:
                    if step == sock.recv:
                        tail = tail[-20:] + sock.recv(1 << 20)
                    else:
                        data = data[sock.send(data):] or flood
                except (BlockingIOError, ssl.SSLWantReadError,
                        ssl.SSLWantWriteError):
                    pass
            if not posted and b"stored" in tail:
                posted = post(server, channel, "news")
        neighbour.until_bytes(b"data: news")
