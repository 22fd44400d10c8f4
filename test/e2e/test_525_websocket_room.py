# SPDX-License-Identifier: Apache-2.0
"""Clients that begin long messages and do not finish them.  A child keeps only
a limited number of bytes for them, and other clients are served."""

import json
import time

import pytest

from http_client import Closed
from httpd_env import SLOW, wait_until
from socket_client import CONTINUATION, TEXT, Socket, frame

SERVER = {"conf": """
CometTransports all websocket
CometMaxMessageSize 524288
""", "tls": True, "children": 1}
MOST = 16 << 20
WHOLE = 6 * 524288 + 4096       # a message in fragments reserves this much
PLACES = MOST // WHOLE

BEGUN = frame(TEXT, b'{"publish": {"body": "' + b"x" * 3000, fin=False)
# so long that the server does not read all of this before there is room
MORE = frame(CONTINUATION, b"x" * 40000, fin=False)
END = frame(CONTINUATION, b'"}, "ref": "long"}')


@pytest.fixture(params=["adopted", "parked", "blocked"])
def way(request):
    """Return, for each way of waiting, a server and the arguments of Socket
    that lead to it."""
    if request.param == "blocked":
        return request.getfixturevalue("thread_server"), {"tls": True}
    return (request.getfixturevalue("shared_server"),
            {"tls": request.param == "parked"})


def reserved(server):
    return server.status()["incoming_bytes"]


def fill(server, how, sockets):
    """Reserve all the room for long messages, by clients that begin a message
    and do not finish it."""
    for _ in range(PLACES):
        socket = Socket(server, "/comet/room", **how)
        sockets.append(socket)
        socket.opened()
        socket.send(BEGUN)
    wait_until(lambda: reserved(server) == PLACES * WHOLE)


def test_525_01_unfinished_messages(way):
    """A client that finds no room is closed with 1013 after a while.  Short
    messages of others are stored meanwhile.  When a client finishes its message
    or leaves, its room is free again."""
    server, how = way
    sockets = []
    try:
        fill(server, how, sockets)
        assert reserved(server) <= MOST
        with Socket(server, "/comet/room", **how) as late, \
                Socket(server, "/comet/calm", **how) as calm:
            late.opened()
            late.send(BEGUN)
            calm.opened()
            calm.publish("x" * 1000, ref=1)
            while calm.hear().get("ref") != 1:
                pass
            code, _seen = late.until_close()
            assert code == 1013 and late.reason.startswith("retry="), late.reason
            assert reserved(server) == PLACES * WHOLE
            # When a client finishes its message, another client gets the room.
            sockets[0].send(END)
            while sockets[0].hear().get("ref") != "long":
                pass
            wait_until(lambda: reserved(server) == (PLACES - 1) * WHOLE)
            calm.send(BEGUN)
            wait_until(lambda: reserved(server) == PLACES * WHOLE)
            # When a client leaves, a client that waits gets the room.
            with Socket(server, "/comet/room", **how) as next_one:
                next_one.opened()
                next_one.send(BEGUN + MORE)
                sockets[1].conn.close()
                next_one.send(END)
                while next_one.hear().get("ref") != "long":
                    pass
    finally:
        for socket in sockets:
            socket.conn.close()
    wait_until(lambda: reserved(server) == 0)
    server.wait_waiting(0)


def test_525_02_long_messages_pass(way):
    """Many long messages at the same time, each in one frame that arrives in
    pieces, reserve what they need, and are all stored."""
    server, how = way
    body = "y" * 60000
    data = frame(TEXT, json.dumps({"publish": {"body": body}, "ref": "long"}))
    sockets = [Socket(server, "/comet/long", **how) for _ in range(6)]
    for at in range(0, len(data), 7000):
        for socket in sockets:
            socket.send(data[at:at + 7000])
        if at == 28000:
            wait_until(lambda: reserved(server) >= 6 * len(body))
    for socket in sockets:
        while socket.hear().get("ref") != "long":
            pass
        socket.conn.close()
    wait_until(lambda: reserved(server) == 0)


@pytest.mark.long
def test_525_03_a_holder_is_closed_when_others_wait(server):
    """A client that holds its room for more than 10 seconds is closed when
    another client needs room.  The other client reconnects until it finds
    room."""
    sockets = []
    fill(server, {}, sockets)
    began, stored = time.monotonic(), False
    while not stored:
        assert time.monotonic() < began + 30 * SLOW
        with Socket(server, "/comet/room") as late:
            late.opened()
            late.send(BEGUN + MORE + END)
            try:
                while not stored:
                    stored = late.hear().get("ref") == "long"
            except Closed:
                assert late.code == 1013
    assert time.monotonic() >= began + 10
    assert sockets[0].until_close()[0] == 1013
    for socket in sockets:
        socket.conn.close()
    wait_until(lambda: reserved(server) == 0)
