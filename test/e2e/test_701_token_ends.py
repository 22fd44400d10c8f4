# SPDX-License-Identifier: Apache-2.0
"""When a token expires, the streams and polls that it has authorised end,
however they wait.  Their clients get nothing that is published later."""

import contextlib
import os
import signal
import time

import pytest

import tokens
from h2_client import H2
from httpd_env import SLOW, Httpd, connect, stop_process, wait_until
from stream_client import Stream
from tokens import bearer, claims, grant, sign

pytestmark = pytest.mark.both_paths

tokens.write("secret", tokens.SECRET)

CONF = """
<Location "/">
  CometPollTimeout 20s
  CometHeartbeat 20s
  CometMaxLifetime 1h
</Location>
<Location "/comet">
  CometTokenKey HS256 KEYS/secret
  CometMulti on
  Require expr "%{REQUEST_METHOD} == 'POST'"
  Require comet-token
</Location>
<Location "/comet/brief">
  CometMaxLifetime 1s
</Location>
<Location "/comet/fast">
  CometFastPoll on
</Location>
<Location "/chat">
  CometTokenKey HS256 KEYS/secret
  Require comet-token
</Location>
<Location "/clock">
  CometTokenKey HS256 KEYS/secret
  Require comet-token
</Location>
""".replace("KEYS", tokens.FOLDER)

SERVER = {"conf": CONF}

LATE = 1.0      # seconds that a stream may outlast its token


def post(server, channel, text=b"x"):
    answer = server.request("POST", "/comet/" + channel, text,
                            {"Content-Type": "text/plain"})
    assert answer.status == 201, answer


def short(seconds=1.5, **more):
    """Return the header with a token that soon expires, and its expiry time."""
    said = claims(read=["*"], seconds=seconds, **more)
    return bearer(sign(said)), said["exp"]


def check_end(exp):
    late = time.time() - exp
    assert 0 <= late < LATE * SLOW, "%.2f s after the end" % late


@contextlib.contextmanager
def stopped(server):
    """Stop the server's children while the context is open."""
    pids = server.children()
    for pid in pids:
        stop_process(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


STREAMS = ["/comet/room", "/comet/room?transport=iframe",
           "/comet?channel=room&channel=other", "/comet?channel=room/*",
           "/comet?channel=*", "/clock/backend.php"]


def test_701_01_streams_end(server):
    """Streams of each kind end within a second after their token expires.
    Event streams say when to reconnect."""
    headers, exp = short()
    accepts = {"Accept": "text/event-stream", **headers}
    streams = [(target, Stream(server, target, headers
                               if "transport" in target else accepts))
               for target in STREAMS]
    for target, stream in streams:
        with stream:
            stream.until_end()
            check_end(exp)
            if "clock" not in target and "iframe" not in target:
                assert b"retry: " in stream.bytes.split(b"\n\n")[-2]
    wait_until(lambda: server.waiting() == 0, 5, "nobody waits")


def test_701_02_a_poll_ends(server):
    """When its token expires, a poll gets its no-news answer.  The next poll of
    its connection is refused."""
    for target, news in (("/comet/room?since=0", b'"messages":[]'),
                         ("/comet?channel=room&since=0", b'"messages":[]'),
                         ("/chat/backend.php?timestamp=5", b'"msg":""')):
        headers, exp = short(1.1)
        with server.raw() as conn:
            conn.request("GET", target, headers)
            answer = conn.answer()
            check_end(exp)
            assert answer.status == 200 and news in answer.body, answer
            answer = conn.request("GET", target, headers).answer()
            assert answer.status == 401, answer


def test_701_03_the_first_end_holds(server):
    """A stream ends with its token or after CometMaxLifetime, whichever comes
    first."""
    headers, exp = short(1.2, nbf=1)
    longer, later = short(20)
    with Stream(server, "/comet/room", headers) as stream, \
            Stream(server, "/comet/brief", longer) as brief:
        post(server, "room", b"in time")
        stream.until(1)
        stream.until_end()
        check_end(exp)
        brief.until_end()
        assert time.time() < later


def test_701_04_without_an_end(server):
    """A stream is possible with a token that never expires."""
    token = sign(claims(read=["*"], seconds=None))
    with Stream(server, "/comet/endless", bearer(token)) as stream:
        post(server, "endless")
        assert stream.until(1) == ["x"]


def fill(server, channel):
    """Publish until the client of a stream takes no more, so that a message is
    waiting."""
    before = server.status()["delivered"]
    with server.raw() as conn:
        for number in range(1, 1000):
            conn.request("POST", "/comet/" + channel, {
                "Content-Type": "text/plain"}, b"a" * 20000)
            assert conn.answer().status == 201
            try:
                wait_until(lambda number=number: server.status()["delivered"]
                           == before + number, 0.2, "the client")
            except AssertionError:
                return
    raise AssertionError("the client takes everything")


def test_701_05_nothing_comes_late(server):
    """A slow client reads the rest of its stream after its token has expired.
    It gets only what was sent before."""
    before = server.status()["delivered"]
    headers, exp = short(9)
    with Stream(server, "/comet/slow", headers, rcvbuf=2048) as stream:
        fill(server, "slow")
        assert time.time() < exp
        wait_until(lambda: time.time() > exp + 0.1, 10, "the token's end")
        sent = server.status()["delivered"] - before
        post(server, "slow", b"too late")
        stream.until_end()
        assert len(stream.events) == sent
        assert b"retry: " in stream.bytes[-40:]


def test_701_06_fast_polls(server):
    """With CometFastPoll the hub answers no poll that a token has authorised,
    so none is answered after the token has expired."""
    for user in ("anna", None):
        headers, exp = short(1.5, user=user)
        before = server.status()["fast_polls"]
        with server.raw() as conn:
            cursor = 0
            for number in range(6):
                post(server, "fast", b"%d" % number)
                conn.request("GET", "/comet/fast?since=%d" % cursor, headers)
                cursor = conn.answer().json()["timestamp"]
            conn.request("GET", "/comet/fast?since=%d" % cursor, headers)
            assert conn.answer().json()["messages"] == []
            check_end(exp)
            post(server, "fast", b"late")
            conn.request("GET", "/comet/fast?since=%d" % cursor, headers)
            assert conn.answer().status == 401
        assert server.status()["fast_polls"] == before


def test_701_07_a_new_channel(server):
    """When a client of a wildcard returns because of a new channel, the token
    that it then sends decides."""
    headers, exp = short(2, user="anna")
    headers["Accept"] = "text/event-stream"
    with Stream(server, "/comet?channel=fresh/*", headers) as stream:
        post(server, "fresh/%d" % (exp * 1e6))
        stream.until_end()          # the channel is new
        assert time.time() < exp
        assert stream.data() == []
    wait_until(lambda: time.time() >= exp, 5, "the token's end")
    assert server.get("/comet?channel=fresh/*&wait=0", headers).status == 401


@pytest.mark.parametrize("mpm", ["worker", "prefork"])
def test_701_08_other_mpms(make_server, mpm):
    """Streams and polls end with their token even if each waits in a thread."""
    server = make_server(mpm=mpm, conf="CometAdopt off\n" + CONF)
    headers, exp = short(1.2)
    poll = server.raw()
    with Stream(server, "/comet/room", headers) as stream, poll:
        poll.request("GET", "/comet/room?since=0", headers)
        stream.until_end()
        check_end(exp)
        assert poll.answer().json()["messages"] == []
        check_end(exp)


def test_701_09_http2(make_server):
    """A stream over HTTP/2 ends with its token, too."""
    server = make_server(conf=CONF, h2=True)
    headers, exp = short(1.2)
    with H2(server.port) as conn:
        stream = conn.request("GET", "/comet/room", {
            "accept": "text/event-stream",
            "authorization": headers["Authorization"]})
        conn.finish(stream, 10)
        check_end(exp)


def test_701_10_nothing_comes_late_after_a_pause(server):
    """A child is stopped while tokens expire.  When it continues, it finds a
    new message and the tokens' end at the same time.  Its streams and polls do
    not get the message."""
    start = server.request("POST", "/comet/room", b"in time", {
        "Content-Type": "text/plain"}).json()["timestamp"]
    headers, exp = short(2.5 * SLOW)
    accepts = {"Accept": "text/event-stream", **headers}
    streams = [Stream(server, target, headers if "transport" in target
                      else accepts) for target in STREAMS[:3] + STREAMS[4:5]]
    polls = [server.raw() for _ in range(2)]
    for poll, target in zip(polls, ("/comet/room?", "/comet?channel=room&")):
        poll.request("GET", "%ssince=%d" % (target, start), headers)
    for stream in streams:
        stream.until_bytes(b"in time")
    server.wait_waiting(len(streams) + len(polls))
    assert time.time() < exp
    other = connect(server.db)
    with stopped(server):
        other.execute("INSERT INTO message(channel, body)"
                      " VALUES('room', 'after the end')")
        wait_until(lambda: time.time() > exp + 0.2, 10, "the token's end")
    other.close()
    for stream in streams:
        with stream:
            stream.until_end()
            assert b"after the end" not in stream.bytes
    for poll in polls:
        with poll:
            assert b"after the end" not in poll.answer().body
