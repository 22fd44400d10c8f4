# SPDX-License-Identifier: Apache-2.0
"""Limits for waiting clients and for messages, by address and by user."""

import base64
import os
import re
import signal
import subprocess
import time

import pytest

from http_client import gather
from httpd_env import MPMS, SLOW, wait_until

pytestmark = pytest.mark.both_paths

PROXY = """
RemoteIPHeader X-Forwarded-For
RemoteIPInternalProxy 127.0.0.1
"""

WAITING = PROXY + """
CometPollTimeout 20s
CometLimitSubscribers address=3
<Location "/comet/small">
  CometLimitSubscribers address=1
</Location>
<Location "/comet/off">
  CometLimitSubscribers off
</Location>
<Location "/comet/users">
  CometLimitSubscribers user=2
  AuthType Basic
  AuthName "users"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
<Location "/comet/both">
  CometLimitSubscribers address=3 user=2
  AuthType Basic
  AuthName "users"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""

TEXT = {"Content-Type": "text/plain"}


def via(address, **more):
    """Return the header in which a trusted proxy names the client's address."""
    return dict({"X-Forwarded-For": address}, **more)


def user(name):
    token = base64.b64encode((name + ":secret").encode())
    return {"Authorization": "Basic " + token.decode()}


def write_users(server):
    path = os.path.join(server.root, "conf", "users")
    for option, name in (("-cbs", "anna"), ("-bs", "bert")):
        subprocess.run(["htpasswd", option, path, name, "secret"], check=True,
                       timeout=30, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    os.chmod(path, 0o644)


@pytest.fixture
def limited(make_server):
    """Return a function that starts a server with a configuration of limits."""
    def make(conf=WAITING, **kwargs):
        server = make_server(start=False, conf=conf, modules=("remoteip",),
                             classics=2, **kwargs)
        write_users(server)
        return server.start()
    return make


class Crowd:
    """Clients that wait, each on its own connection."""

    def __init__(self, server):
        self.server, self.conns = server, []

    def wait(self, target, headers=None, count=1):
        """Let `count` more clients wait."""
        before = self.server.waiting()
        for _ in range(count):
            conn = self.server.raw(timeout=30)
            conn.request("GET", target, headers or {})
            self.conns.append(conn)
        self.server.wait_waiting(before + count)
        return self

    def leave(self, count=None):
        """Close the first `count` connections, or all."""
        before = self.server.waiting()
        gone = self.conns[:count]
        self.conns = self.conns[len(gone):]
        for conn in gone:
            conn.close()
        self.server.wait_waiting(before - len(gone))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for conn in self.conns:
            conn.close()


def check_refused(answer, what, amount):
    assert answer.status == 429, answer
    assert answer.header("content-type").startswith("application/json")
    assert answer.header("cache-control") == "no-store"
    assert int(answer.header("retry-after")) >= 1
    error = answer.json()["error"]
    assert "this %s" % what in error and "%d " % amount in error, error


# -- waiting ------------------------------------------------------------------

def test_335_01_address(limited, mpm):
    """A client over the limit of its address gets 429, but a client of another
    address waits.  When a client leaves, its place is free again."""
    server = limited(mpm=mpm)
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", via("192.0.2.1"), 3)
        for _ in range(2):
            answer = server.get("/comet/x", via("192.0.2.1"), timeout=5)
            check_refused(answer, "address", 3)
            assert "CometLimitSubscribers" in answer.json()["error"]
        assert server.status()["limited_subscribers"] == 2
        # A request that does not wait is not limited.
        assert server.get("/comet/x?wait=0", via("192.0.2.1")).status == 200
        crowd.wait("/comet/x", via("192.0.2.2"))
        crowd.leave(1)
        crowd.wait("/comet/y", via("192.0.2.1"))
        check_refused(server.get("/comet/x", via("192.0.2.1")), "address", 3)
        crowd.leave()
    assert server.status()["limits_full"] == 0


def test_335_02_places_are_freed(limited, mpm):
    """When a wait ends, its place is free again: after an answer, after the
    poll's timeout, or after the client has left, with keep-alive or without."""
    server = limited(mpm=mpm)
    me = via("192.0.2.1")
    for number in range(4):
        channel = "news%d" % number
        with Crowd(server) as crowd:
            crowd.wait("/comet/" + channel, me, 3)
            check_refused(server.get("/comet/quiet", me), "address", 3)
            server.post(channel, "hello")
            for conn in crowd.conns:
                assert conn.answer().status == 200
            # The next polls use the same connections, which are still open.
            for conn in crowd.conns:
                conn.request("GET", "/comet/quiet", me)
            server.wait_waiting(3)
            check_refused(server.get("/comet/quiet", me), "address", 3)
            crowd.leave()
    for _ in range(2):
        jobs = [lambda: server.get("/comet/quiet?wait=1", me, timeout=10)] * 3
        assert [a.status for a in gather(jobs)] == [200] * 3
    with Crowd(server) as crowd:
        crowd.wait("/clock/backend.php", me, 3)
        check_refused(server.get("/clock/backend.php", me), "address", 3)
        crowd.leave()
        crowd.wait("/comet/x", me, 3)
        crowd.leave()


def test_335_03_who_is_one(limited):
    """All addresses of an IPv6 /64 count as one, and so do all spellings of an
    IPv4 address."""
    server = limited()
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", via("2001:db8:0:1::1"))
        crowd.wait("/comet/x", via("2001:db8:0:1::2"))
        crowd.wait("/comet/x", via("2001:db8:0:1:ffff::"))
        check_refused(server.get("/comet/x", via("2001:db8:0:1::3")),
                      "address", 3)
        crowd.wait("/comet/x", via("2001:db8:0:2::1"))
        crowd.wait("/comet/x", via("192.0.2.1"), 2)
        crowd.wait("/comet/x", via("::ffff:192.0.2.1"))
        for address in ("192.0.2.1", "::ffff:192.0.2.1"):
            check_refused(server.get("/comet/x", via(address)), "address", 3)
        # These are clients of 127.0.0.1, without the proxy's header.
        crowd.wait("/comet/x", {}, 3)
        check_refused(server.get("/comet/x"), "address", 3)
        crowd.leave()


def test_335_04_users(limited, mpm):
    """A user's clients count together at all addresses.  A location may limit
    both the user and the address."""
    server = limited(mpm=mpm)
    anna, bert = user("anna"), user("bert")
    with Crowd(server) as crowd:
        crowd.wait("/comet/users/x", via("192.0.2.1", **anna))
        crowd.wait("/comet/users/x", via("192.0.2.2", **anna))
        check_refused(server.get("/comet/users/y", via("192.0.2.3", **anna)),
                      "user", 2)
        crowd.wait("/comet/users/x", via("192.0.2.1", **bert), 2)
        crowd.leave()
        crowd.wait("/comet/both", via("192.0.2.1", **anna), 2)
        check_refused(server.get("/comet/both", via("192.0.2.1", **anna)),
                      "user", 2)
        # A client refused by its user's limit does not count for its address.
        crowd.wait("/comet/both", via("192.0.2.1", **bert))
        check_refused(server.get("/comet/both", via("192.0.2.1", **bert)),
                      "address", 3)
        crowd.wait("/comet/both", via("192.0.2.2", **bert))
        crowd.leave()


def test_335_05_locations(limited):
    """A location's own limit replaces the outer one, and counts only the
    location's clients."""
    server = limited()
    me = via("192.0.2.1")
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", me, 3)
        crowd.wait("/comet/small/x", me)
        check_refused(server.get("/comet/small/y", me), "address", 1)
        crowd.wait("/comet/off/x", me, 5)
        crowd.leave()


def test_335_06_killed_child(limited, mpm):
    """When a child is killed, the places of its clients are free again."""
    server = limited(mpm=mpm)
    me = via("192.0.2.1")
    for _ in range(3):
        with Crowd(server) as crowd:
            crowd.wait("/comet/x", me, 3)
            check_refused(server.get("/comet/x", me), "address", 3)
            children = server.children()
            server.allow_log.append("exit signal Killed")
            for pid in children:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: server.answers()
                       and not set(children) & set(server.children()), 10,
                       "new children")
            server.wait_waiting(0)
        with Crowd(server) as crowd:
            crowd.wait("/comet/x", me, 3)
            crowd.leave()


def test_335_07_reload(limited, mpm):
    """After a graceful reload the places of old clients are free, and the limit
    still holds."""
    server = limited(mpm=mpm)
    me = via("192.0.2.1")
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", me, 3)
        server.graceful()
        for conn in crowd.conns:
            assert conn.answer().status == 200
    server.wait_waiting(0)
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", me, 3)
        check_refused(server.get("/comet/x", me), "address", 3)
        crowd.leave()


def test_335_08_over_children(limited):
    """A limit applies to the whole server, not to each child."""
    server = limited(mpm="prefork" if "prefork" in MPMS else None, children=4)
    me = via("192.0.2.1")

    def knock():
        conn = server.raw(timeout=30)
        conn.request("GET", "/comet/x", me)
        return conn

    conns = [knock() for _ in range(12)]
    try:
        wait_until(lambda: server.status()["limited_subscribers"] == 9, 5,
                   "nine refusals")
        server.wait_waiting(3)
    finally:
        for conn in conns:
            conn.close()


@pytest.mark.event
def test_335_09_classic(limited):
    """A classic page over the limit gets 429 at once. The server does not hold
    the page's request, since that would take a place."""
    server = limited(mpm="event")
    me = via("192.0.2.1")
    server.publish("first", "/c0/backend.php")
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", me, 3)
        begin = time.monotonic()
        check_refused(server.get("/c1/backend.php?timestamp=1", me, timeout=10),
                      "address", 3)
        assert time.monotonic() - begin < 0.9 * SLOW
        # The page still gets messages that it has missed.
        answer = server.get("/c0/backend.php?timestamp=0", me)
        assert answer.json()["msg"] == "first"
        assert server.status()["limited_subscribers"] == 1
        crowd.leave()


def test_335_10_classic_that_cannot_park(limited):
    """On an MPM where each wait holds a thread, a classic page over the limit
    gets 429, too."""
    others = [m for m in MPMS if m != "event"]
    if not others:
        pytest.skip("only event is chosen")
    server = limited(mpm=others[0])
    me = via("192.0.2.1")
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", me, 3)
        check_refused(server.get("/c1/backend.php?timestamp=1", me),
                      "address", 3)
        crowd.leave()


def check_turned_away(answer, what, amount):
    """Check the stream that tells an EventSource about the limit."""
    assert answer.status == 200 and not answer.header("retry-after"), answer
    text = answer.body.decode()
    assert "\n: too many clients of this %s are waiting: at most %d " \
        % (what, amount) in text, text
    assert re.search(r"\nretry: [1-4]\d\d\d\n\n$", text), text


def test_335_11_streams(limited, mpm):
    """Streams and polls count together, and a stream over the limit is
    refused."""
    server = limited(mpm=mpm)
    me = via("192.0.2.1")
    events = dict(me, Accept="text/event-stream")
    with Crowd(server) as crowd:
        crowd.wait("/comet/x", events)
        crowd.wait("/comet/x?transport=iframe", me)
        crowd.wait("/comet/x", me)
        check_turned_away(server.get("/comet/x", events), "address", 3)
        check_refused(server.get("/comet/x?transport=iframe", me),
                      "address", 3)
        crowd.leave(1)
        crowd.wait("/comet/x", events)
        check_turned_away(server.get("/comet/x", events), "address", 3)
        crowd.leave()
        crowd.wait("/comet/x", events, 3)
        crowd.leave()


# -- publishing ----------------------------------------------------------------

PUBLISHING = PROXY + """
CometLimitPublish address=2/min user=1/min
<Location "/comet/quick">
  CometLimitPublish address=1000/s
</Location>
<Location "/comet/off">
  CometLimitPublish off
</Location>
<Location "/comet/users">
  CometLimitPublish user=1/min
  AuthType Basic
  AuthName "users"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""


def post(server, target, headers=None, body=b"x"):
    return server.request("POST", target, body,
                          dict(TEXT, **(headers or {})))


def test_335_20_publishing(limited, mpm):
    """An address may publish ten messages at once, to all children together,
    and then at its rate."""
    server = limited(PUBLISHING, mpm=mpm, children=2)
    me = via("192.0.2.1")
    answers = []
    while len(answers) < 30:    # five at a time, in case the disk is slow
        answers += gather([lambda: post(server, "/comet/x", me)] * 5)
    assert sorted(a.status for a in answers) == [201] * 10 + [429] * 20
    assert len(server.rows("x")) == 10
    for answer in answers:
        if answer.status == 429:
            check_refused(answer, "address", 2)
            assert 20 <= int(answer.header("retry-after")) <= 30
            assert "minute" in answer.json()["error"]
    assert post(server, "/comet/y", me).status == 429
    assert post(server, "/comet/x", via("192.0.2.2")).status == 201
    status = server.status()
    assert status["limited_publishes"] == 21
    assert status["publish_refused"] == 21
    # The address may still read.
    assert server.get("/comet/x?wait=0&since=0", me).status == 200


def test_335_21_all_ways_in(limited):
    """Messages from a form, the classic chat and a plain body count
    together."""
    server = limited(PUBLISHING)
    me = via("192.0.2.1")
    form = dict(me, **{"Content-Type": "application/x-www-form-urlencoded"})
    for _ in range(4):
        assert post(server, "/comet/x", me).status == 201
        assert server.request("POST", "/comet/x", b"msg=x",
                              form).status == 201
    for _ in range(2):
        assert server.get("/c0/backend.php?msg=x", me).status == 200
    check_refused(post(server, "/comet/x", me), "address", 2)
    check_refused(server.request("POST", "/comet/x", b"msg=x", form),
                  "address", 2)
    check_refused(server.get("/c0/backend.php?msg=x", me), "address", 2)
    assert len(server.rows("x")) == 8 and len(server.rows("c0")) == 2


def test_335_26_batches(limited):
    """A batch is accepted as if it were one message, but then counts as many
    messages as it has lines."""
    server = limited(PUBLISHING)
    me = via("192.0.2.1", **{"Content-Type": "application/x-ndjson"})
    lines = b'{"body": "x"}\n' * 30
    assert server.request("POST", "/comet/x", lines, me).status == 201
    answer = server.request("POST", "/comet/x", lines, me)
    check_refused(answer, "address", 2)
    assert 600 < int(answer.header("retry-after")) <= 900
    check_refused(post(server, "/comet/x", via("192.0.2.1")), "address", 2)
    assert len(server.rows("x")) == 30


def test_335_22_refused_is_not_counted(limited):
    """A request that is refused for another reason does not count."""
    server = limited(PUBLISHING)
    me = via("192.0.2.1")
    for _ in range(12):
        assert post(server, "/comet/x", me, b"\0").status == 400
        assert post(server, "/comet/x", me, b"\xff").status == 400
        assert post(server, "/comet/x",
                    dict(me, Origin="http://evil.example")).status == 403
    for _ in range(10):
        assert post(server, "/comet/x", me).status == 201


def test_335_23_users(limited):
    """A user's rate applies at all addresses together."""
    server = limited(PUBLISHING)
    for number in range(10):
        assert post(server, "/comet/users/x",
                    via("192.0.2.%d" % number, **user("anna"))).status == 201
    answer = post(server, "/comet/users/y", via("192.0.2.99", **user("anna")))
    check_refused(answer, "user", 1)
    assert 50 <= int(answer.header("retry-after")) <= 60
    assert post(server, "/comet/users/x",
                via("192.0.2.99", **user("bert"))).status == 201


def test_335_24_locations_and_reload(limited):
    """A location may have its own rate, or none.  Messages before a reload
    still count after it."""
    server = limited(PUBLISHING)
    me = via("192.0.2.1")
    for _ in range(15):
        assert post(server, "/comet/quick/x", me).status == 201
        assert post(server, "/comet/off/x", me).status == 201
    for _ in range(10):
        assert post(server, "/comet/x", me).status == 201
    server.graceful()
    check_refused(post(server, "/comet/x", me), "address", 2)
    assert post(server, "/comet/off/x", me).status == 201


def test_335_25_retry_after_is_right(limited):
    """A client that is refused may publish again soon after Retry-After."""
    server = limited("CometLimitPublish address=1/s\n")
    statuses = [post(server, "/comet/x").status for _ in range(11)]
    assert statuses == [201] * 10 + [429]
    answer = post(server, "/comet/x")
    assert answer.header("retry-after") == "1", answer
    wait_until(lambda: post(server, "/comet/x").status == 201, 3,
               "the next message to be allowed", step=0.1)
