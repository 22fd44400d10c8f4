# SPDX-License-Identifier: Apache-2.0
"""WebSockets during reloads, kills and lack of room, on each MPM."""

import os
import signal

import pytest

from http_client import Closed
from httpd_env import SLOW, wait_until
from socket_client import TEXT, Socket, frame
from stream_client import post

import json

CONF = "CometTransports all websocket\n"


def said(i):
    return frame(TEXT, json.dumps({"publish": {"body": "m%d" % i}, "ref": i}))


def test_521_01_ways(make_server, mpm):
    """Over plain HTTP a WebSocket is adopted on each MPM.  Over TLS, or with
    CometAdopt off, it is parked or holds a thread."""
    server = make_server(mpm=mpm, tls=True, conf=CONF + """
<Location "/comet/kept">
  CometAdopt off
</Location>
""")
    thread = 0 if mpm == "event" else 1
    for target, tls, adopted, blocked in (("/comet/x", False, 1, 0),
                                          ("/comet/x", True, 0, thread),
                                          ("/comet/kept/x", False, 0, thread)):
        with Socket(server, target, tls=tls) as socket:
            socket.opened()
            server.wait_waiting(1, "websocket")
            wait_until(lambda: (server.status()["adopted"],
                                server.status()["blocked"])
                       == (adopted, blocked), what="%s %s" % (target, tls))
            socket.stored("hello")
        server.wait_waiting(0)
    lines = wait_until(lambda: server.access_lines("GET /comet/x "))
    assert " 101 " in lines[0]


def test_521_02_reload(make_server, mpm):
    """A graceful reload closes each WebSocket with 1001 and a time to return. A
    client that returns with its cursor gets all messages once."""
    server = make_server(mpm=mpm, tls=True, conf=CONF)
    sockets = [Socket(server, "/comet/r", tls=tls) for tls in (False, True) * 5]
    cursors = [socket.opened() for socket in sockets]
    server.wait_waiting(len(sockets), "websocket")
    first = post(server, "r", "before")
    for socket in sockets:
        assert socket.hear()["timestamp"] == first
    server.graceful()
    for socket in sockets:
        code, _seen = socket.until_close()
        assert code == 1001 and socket.reason.startswith("retry="), code
        socket.conn.close()
    second = post(server, "r", "after")
    with Socket(server, "/comet/r?since=%d" % cursors[0]) as socket:
        assert socket.opened() == cursors[0]
        assert [socket.hear()["timestamp"] for _ in range(2)] == [first, second]


def test_521_03_reload_of_publishers(make_server):
    """If clients publish during reloads, no acknowledged message is lost or
    stored twice."""
    server = make_server(conf=CONF, children=2)
    stored, sent = {}, 0
    for turn in range(3):
        with Socket(server, "/comet/p") as socket:
            socket.opened()
            if turn:
                server.graceful()
            try:
                for _ in range(40):
                    socket.send(b"".join(said(sent + i) for i in range(50)))
                    sent += 50
                    got = socket.hear()
                    while got.get("ref") != sent - 1:
                        if "stored" in got:
                            stored[got["ref"]] = got["stored"]
                        got = socket.hear()
                    stored[got["ref"]] = got["stored"]
            except (Closed, ConnectionError):
                pass
    rows = server.rows("p")
    assert len(rows) == len(set(rows))
    assert {"m%d" % i for i in stored} <= set(rows) and len(stored) >= 1000


def test_521_04_kill(make_server):
    """If children are killed, every acknowledged message is stored, and a
    client continues from its cursor."""
    server = make_server(conf=CONF, children=2)
    with Socket(server, "/comet/k") as socket:
        cursor = socket.opened()
        socket.send(b"".join(said(i) for i in range(500)))
        answered = set()
        while len(answered) < 100:
            got = socket.hear()
            if "stored" in got:
                answered.add("m%d" % got["ref"])
        for pid in server.children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises((Closed, ConnectionError)):
            while True:
                got = socket.hear()
                if "stored" in got:
                    answered.add("m%d" % got["ref"])
    server.allow_log.append("AH00052")          # a killed child
    wait_until(server.answers, 10, "new children")
    rows = server.rows("k")
    assert answered <= set(rows) and len(rows) == len(set(rows))
    with Socket(server, "/comet/k?since=%d" % cursor) as socket:
        assert socket.opened() == cursor
        assert [socket.hear()["body"] for _ in rows] == rows


@pytest.mark.parametrize("tls", [False, True])
def test_521_05_no_room(make_server, tls):
    """If all places are taken, a WebSocket gets what it has missed, and then
    a Close with 1013 and a time to return.  (Browsers would hide an HTTP
    error.)"""
    server = make_server(conf=CONF + "CometMaxSubscribers 1\n", tls=True)
    stamp = post(server, "x", "missed")
    with Socket(server, "/comet/y", tls=tls) as first:
        first.opened()
        server.wait_waiting(1)
        with Socket(server, "/comet/x?since=%d" % (stamp - 1), tls=tls) as socket:
            assert socket.status == 101
            socket.opened()
            assert socket.hear()["body"] == "missed"
            code, _seen = socket.until_close()
            assert code == 1013 and "CometMaxSubscribers" in socket.reason
            assert 1000 <= int(socket.reason[len("retry="):].split()[0]) <= 4000
    assert server.status()["soft_landings"] == 1


def test_521_06_slow_store(make_server):
    """While another program locks the database, each publish gets 503 in time.
    Afterwards publishing works again."""
    server = make_server(conf=CONF + "CometPublishTimeout 300ms\n")
    import sqlite3
    with Socket(server, "/comet/l") as socket:
        socket.opened()
        socket.stored("first")
        held = sqlite3.connect(server.db, isolation_level=None)
        held.execute("BEGIN IMMEDIATE")
        try:
            socket.send(said(1) + said(2))
            for ref in (1, 2):
                got = socket.hear()
                assert got["ref"] == ref and got["status"] == 503, got
        finally:
            held.execute("ROLLBACK")
            held.close()
        socket.stored("last")
    assert server.rows("l") == ["first", "last"]
