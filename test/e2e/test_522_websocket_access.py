# SPDX-License-Identifier: Apache-2.0
"""Tokens decide who may read and publish on a WebSocket, and for how long."""

import tokens
from httpd_env import sqlite
from socket_client import Socket
from tokens import bearer, claims, sign

tokens.write("secret", tokens.SECRET)
tokens.write("publishers", tokens.NEW_SECRET)

SERVER = {"conf": """
CometTransports all websocket
CometMulti on
<Location "/comet">
  CometTokenKey HS256 %s
  Require comet-token
</Location>
<Location "/comet/two">
  CometTokenKey HS256 %s for=read
  CometTokenKey HS256 %s for=publish
</Location>
""" % (tokens.path("secret"), tokens.path("secret"),
       tokens.path("publishers"))}


def statuses(socket, names):
    """Publish to each channel; return the statuses of the answers."""
    got = {}
    for name in names:
        socket.publish("x", ref=name, channel=name)
    while len(got) < len(names):
        answer = socket.hear()
        if "ref" in answer:
            got[answer["ref"]] = answer.get("status", 201)
    return [got[name] for name in names]


def test_522_01_a_grant_to_read_is_none_to_publish(server):
    """A WebSocket may publish only to channels that its token grants for
    writing, even if it may read others.  It does not matter whether the URL or
    channel= names a channel."""
    token = bearer(sign(claims(read=["*"], write=["b", "c/1"])))
    for target, names, expected in (
            ("/comet/a", ["a", "b"], [403, 403]),
            ("/comet/b", ["a", "b"], [403, 201]),
            ("/comet?channel=a&channel=b&channel=c/1&channel=c/2",
             ["a", "b", "c/1", "c/2"], [403, 201, 201, 403]),
            ("/comet/b?channel=c/*", ["b", "c/1", "c/2"], [201, 403, 403])):
        with Socket(server, target, token) as socket:
            assert socket.status == 101, target
            socket.hear()
            assert statuses(socket, names) == expected, target
    assert not server.rows("a") and not server.rows("c/2")
    author = sqlite(server.db, "SELECT DISTINCT author FROM message")
    assert author == [["anna"]]


def test_522_02_keys_of_readers(server):
    """A token whose key is only for reading cannot publish."""
    token = bearer(sign(claims(read=["*"], write=["*"])))
    with Socket(server, "/comet/two/x", token) as socket:
        assert socket.status == 101
        socket.hear()
        assert statuses(socket, ["two/x"]) == [403]
    assert not server.rows("two/x")


def test_522_03_without_a_grant(server):
    """No WebSocket opens without a token that grants reading."""
    for headers, status in (({}, 401),
                            (bearer(sign(claims(read=["b"]))), 403),
                            (bearer(sign(claims(write=["a"]))), 403)):
        with Socket(server, "/comet/a", headers) as socket:
            assert socket.status == status, headers


def test_522_04_a_token_ends(server):
    """When a WebSocket's token expires, the WebSocket is closed with 1001."""
    token = bearer(sign(claims(read=["e"], write=["e"], seconds=3)))
    with Socket(server, "/comet/e", token) as socket:
        socket.opened()
        socket.stored("in time")
        code, _seen = socket.until_close()
        assert code == 1001 and socket.reason.startswith("retry=")
    with Socket(server, "/comet/e", token) as socket:
        assert socket.status == 401
    server.wait_waiting(0)
