# SPDX-License-Identifier: Apache-2.0
"""Waiting over TLS, where the MPM and mod_ssl both handle the connection."""

import json
import re
import statistics
import time

import pytest

from http_client import Poller, Raw
from httpd_env import SLOW, wait_until

SERVER = {"tls": True, "classics": 20, "conf": "CometPollTimeout 20s"}


def test_210_01_chat(server):
    """A message published over TLS reaches polls over TLS and over plain
    HTTP."""
    url, channel = server.next_classic()
    answer = server.request("GET", url + "?msg=x", tls=True)
    assert answer.status == 200 and answer.body == b""
    assert server.request("GET", url, tls=True).json()["msg"] == "x"
    assert server.get(url).json()["msg"] == "x"
    assert server.rows(channel) == ["x"]


def test_210_02_held(server):
    """A held poll over TLS gets its headers at once, and a message within 50 ms
    in the median."""
    url, _ = server.next_classic()
    with server.raw(tls=True) as conn:
        conn.request("GET", url + "?timestamp=0")
        assert conn.head() == 200       # although there is no message yet
        server.publish("first", url)
        assert json.loads(conn.body())["msg"] == "first"
    url, _ = server.next_classic()
    lags = []
    with Poller(server.tls_port, url, tls=True) as page:
        for i in range(15):
            server.wait_waiting(1, "classic")
            begin = time.monotonic()
            server.publish("m%d" % i, url)
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - begin)
        assert not page.failures and page.connects == 1
    assert statistics.median(lags) < 0.05 * SLOW, lags


def test_210_03_keepalive(server):
    """200 held polls, one after the other on one TLS connection, are all
    answered."""
    url, _ = server.next_classic()
    cursor = 0
    with server.raw(tls=True) as page, server.raw(tls=True) as writer:
        for i in range(200):
            page.request("GET", "%s?timestamp=%d" % (url, cursor))
            assert page.head() == 200
            writer.request("GET", url + "?msg=m%d" % i)
            data = json.loads(page.body())
            assert writer.answer().status == 200
            assert data["msg"] == "m%d" % i
            cursor = data["timestamp"]


def test_210_04_clock(server):
    """Over TLS each tick comes in its own chunk, too."""
    with server.raw(tls=True) as conn:
        conn.request("GET", "/clock/backend.php")
        assert conn.head() == 200
        assert b"printServerTime" in conn.chunk()
        for _ in range(3):
            data = conn.chunk()
            assert conn.buffer == b""
            value = int(re.search(rb"\((\d+)\)", data).group(1))
            assert len(data) == 74
            assert -0.02 < conn.wall - value < 0.3 * SLOW


@pytest.mark.parametrize("early", [False, True])
def test_210_05_pipelined(server, early):
    """Over TLS a request pipelined behind a poll ends the poll without news,
    and is answered."""
    url, _ = server.next_classic()
    server.publish("x", url)
    cursor = server.get(url).json()["timestamp"]
    with server.raw(tls=True) as conn:
        poll = conn.format("GET", "%s?timestamp=%d" % (url, cursor))
        file = conn.format("GET", "/static.txt")
        if early:
            conn.send(poll + file)
            assert conn.head() == 200
        else:
            conn.send(poll)
            assert conn.head() == 200
            server.wait_waiting(1, "classic")
            conn.send(file)
        assert json.loads(conn.body()) == {"msg": "", "timestamp": cursor}
        assert conn.answer().body == b"a static file\n"


@pytest.mark.parametrize("how", ["close", "reset", "unwrap"])
def test_210_06_gone(server, how):
    """The server notices that TLS clients have left, with or without
    close_notify."""
    conns = []
    for target in ("/c19/backend.php", "/clock/backend.php"):
        for _ in range(5):
            conn = server.raw(tls=True)
            conn.request("GET", target)
            conn.head()
            conns.append(conn)
    server.wait_waiting(10)
    for conn in conns:
        if how == "unwrap":
            conn.sock.settimeout(0.2)
            try:
                conn.sock.unwrap()
            except OSError:
                pass
            conn.sock.close()
        else:
            getattr(conn, how)()
    server.wait_waiting(0, timeout=5)


def test_210_07_never_reads(server):
    """TLS clients that never read do not delay other clients."""
    url, channel = server.next_classic()
    stuck = []
    for _ in range(20):
        conn = Raw(server.tls_port, tls=True, rcvbuf=2048)
        conn.request("GET", "/comet/%s?since=0" % channel)
        stuck.append(conn)
    with Poller(server.tls_port, url, tls=True) as page:
        server.wait_waiting(21)
        for i in range(5):
            begin = time.monotonic()
            server.post(channel, "z" * 60000)
            page.wait_for(i + 1, 5 * SLOW)
            assert page.messages[-1][2] - begin < 0.5 * SLOW
        assert not page.failures
    for conn in stuck:
        conn.close()


def test_210_08_reload_and_stop(make_server, mpm):
    """On every MPM a reload and a stop end the waits of TLS clients."""
    server = make_server(tls=True, mpm=mpm, threads=32)
    server.publish("x")
    with Poller(server.tls_port, tls=True, timeout=20) as page:
        page.wait_for(1, 5 * SLOW)
        server.wait_waiting(1)
        server.graceful()
        wait_until(lambda: page.quiet, 3, "the no-news answer")
        server.publish("y")
        assert page.wait_for(2, 5 * SLOW) == ["x", "y"]
        assert not page.failures
    with server.raw(tls=True) as conn:
        conn.request("GET", "/chat/backend.php?timestamp=%d" % page.cursor)
        assert conn.head() == 200
        assert server.stop() < 5 * SLOW
        try:
            assert json.loads(conn.body())["msg"] == ""
        except ConnectionError:     # a stop of other MPMs cuts connections
            assert mpm != "event" and conn.buffer == b""
