# SPDX-License-Identifier: Apache-2.0
"""A client's requests leave nothing in memory while it stays connected."""

import pytest

from h2_client import H2Tls
from httpd_env import SANITIZER, pss_kb
from socket_client import Socket, handshake
from stream_client import post
from test_491_cheap import fill

pytestmark = [pytest.mark.event, pytest.mark.long]

# The request of each kind of client, without its channels and its cursor.
WAITS = {
    "socket": ("/comet?%s&since=%d&transport=websocket", handshake()),
    "tls": ("/comet?%s&since=%d", {"Accept": "text/event-stream"}),
}


def measure_each(server, kind, more):
    """Open 40 clients; return how many KB each of the last 30 takes."""
    pid = server.children()[0]
    target, headers = WAITS[kind]
    target %= more, post(server, "x", "now")
    conns, last = [], 0
    try:
        for count in (10, 40):
            while len(conns) < count:
                conn = server.raw(timeout=20, tls=kind == "tls")
                conn.request("GET", target, headers)
                conns.append(conn)
                server.wait_waiting(len(conns))
            first, last = last, pss_kb(pid)
    finally:
        for conn in conns:
            conn.close()
    server.wait_waiting(0)
    return (last - first) / 30


@pytest.mark.parametrize("kind", WAITS)
def test_493_01_judging_leaves_nothing(make_server, figure, kind):
    """Like test_491_07, for clients other than polls, and for many names."""
    server = make_server(mpm="event", children=1, tls=kind == "tls",
                         conf="CometMulti on\n"
                         "CometTransports all websocket\n")
    fill(server, [("r/%03d" % i + "n" * 200, "x") for i in range(900)])
    each = {"a wildcard": measure_each(server, kind, "channel=r/*"),
            "30 names": measure_each(server, kind, "&".join(
                "channel=s/%03d" % i + "n" * 200 for i in range(30)))}
    figure("KB for a client that waits (%s): %s" % (kind, ", ".join(
        "%s %.0f" % both for both in each.items())))
    if SANITIZER == "none":     # sanitizers keep what was freed
        assert max(each.values()) < 200, each


def talk_much(socket, count):
    """Publish, subscribe and unsubscribe again and again."""
    for number in range(count):
        socket.publish("x", ref=1)
        socket.say({"subscribe": ["r/%d" % (number % 7)], "ref": 2})
        socket.say({"unsubscribe": ["r/%d" % (number % 7)], "ref": 3})
        refs = set()
        while refs != {1, 2, 3}:
            refs |= {socket.hear().get("ref")} - {None}


def poll_much(conn, count):
    for _ in range(count):
        conn.request("GET", "/comet?channel=r/*&channel=long&since=0&limit=1")
        assert conn.answer().status == 200


def poll_much_h2(conn, count):
    for _ in range(count):
        answer = conn.finish(conn.request(
            "GET", "/comet?channel=r/*&channel=long&since=0&limit=1"), 10)
        assert answer.status == 200


# kind: (how to open a connection, what to do on it)
LONG = {
    "socket": (lambda server: Socket(
        server, "/comet/long?transport=websocket"), talk_much),
    "polls": (lambda server: server.raw(), poll_much),
    "h2": (lambda server: H2Tls(server.tls_port), poll_much_h2),
}


@pytest.mark.parametrize("kind", LONG)
def test_493_02_long_connections_keep_nothing(make_server, figure, kind):
    """However long a connection lasts, its requests leave no memory behind.
    This is tested with WebSockets whose clients publish and change their
    channels, and with polls on one connection of HTTP/1.1 or HTTP/2."""
    begin, work = LONG[kind]
    server = make_server(mpm="event", children=1, tls=kind == "h2",
                         h2=kind == "h2", conf="CometMulti on\n"
                         "CometTransports all websocket\n")
    fill(server, [("r/%03d" % i + "n" * 200, "x") for i in range(100)])
    pid, sizes = server.children()[0], []
    clients = [begin(server) for _ in range(10)]
    try:
        for count in (20, 100, 100):
            for client in clients:
                work(client, count)
            sizes.append(pss_kb(pid))
        figure("KB of the child: %s" % sizes)
        # 100 rounds of each of 10 clients: less than 1 KB for each round
        assert sizes[2] - sizes[1] < 1000, sizes
    finally:
        for client in clients:
            getattr(client, "conn", client).close()
