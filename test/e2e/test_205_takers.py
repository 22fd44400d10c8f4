# SPDX-License-Identifier: Apache-2.0
"""A parked client that takes bytes only now and then.  `shim` refuses them on its
behalf, so the moments at which it takes something do not depend on the load of
the machine."""

import contextlib
import ctypes
import json
import socket
import struct

import pytest

from h2_client import PING, H2, H2Tls
from httpd_env import wait_until
from shim import Shim
from test_230_regressions import cursor_of

pytestmark = pytest.mark.event

BIG = "<" * 60000
NEXT = b"GET /static.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
ATTEMPTS = [2, 3, 4, 5, 6]
NEVER = 10 ** 9
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


class Takers:
    """A server and its clients."""

    def __init__(self, make_server):
        self.server = make_server(start=False)
        self.shim = Shim(self.server)
        self.server.start()
        self.server.publish("x")
        self.cursor = cursor_of(self.server)

    @contextlib.contextmanager
    def client(self, attempt):
        """A client that takes bytes at every `attempt`-th attempt to send."""
        with self.server.raw() as conn:
            self.shim.set_takes_at(conn, attempt)
            yield conn


@pytest.fixture
def takers(make_server):
    return Takers(make_server)


def test_205_01_pipelined_polls(takers):
    """Pipelined polls are answered completely and in order, each is logged, and
    none waits for ever."""
    server = takers.server
    target = "/chat/backend.php?timestamp=%d" % takers.cursor
    for attempt in ATTEMPTS:
        logged = len(server.access_lines("timestamp="))
        with takers.client(attempt) as conn:
            conn.send(conn.format("GET", target) * 30
                      + conn.format("GET", "/static.txt"))
            for _ in range(30):
                assert conn.answer().json() == {
                    "msg": "", "timestamp": takers.cursor}, attempt
            assert conn.answer().body == b"a static file\n", attempt
        wait_until(lambda n=logged: len(server.access_lines("timestamp="))
                   == n + 30, 5, "a line in the log for each")


def test_205_02_the_next_request_ends_a_poll(takers):
    """The first byte of the next request ends a poll. Both are answered
    completely."""
    for attempt in ATTEMPTS * 2:
        with takers.client(attempt) as conn:
            conn.request("GET", "/chat/backend.php?timestamp=%d"
                         % takers.cursor)
            takers.server.wait_waiting(1)
            conn.send(NEXT[:1])
            assert conn.answer().json()["msg"] == "", attempt
            conn.send(NEXT[1:])
            assert conn.answer().body == b"a static file\n", attempt


@pytest.mark.parametrize("bytes_first", [1, 2, len(NEXT)])
def test_205_03_the_next_request_behind_a_long_answer(takers, bytes_first):
    """A client sends its next request, or its first bytes one by one, before it
    takes anything of a long answer. No thread waits for the client, and it gets
    both answers completely."""
    server = takers.server
    pieces = [NEXT[:1], NEXT[1:2]][:bytes_first] if bytes_first < 3 else [NEXT]
    for attempt in ATTEMPTS * 2:
        with takers.client(NEVER) as conn:
            conn.request("GET", "/comet/big?since=%d" % cursor_of(server))
            server.wait_waiting(1)
            server.post("big", BIG)
            wait_until(lambda: server.status()["buffered_bytes"], 5,
                       "the answer")
            for piece in pieces:
                conn.send(piece)
                assert server.get("/static.txt").status == 200
            takers.shim.set_takes_at(conn, attempt)
            got = conn.answer().json()["messages"]
            assert [m["body"] for m in got] == [BIG], attempt
            conn.send(NEXT[bytes_first:])
            assert conn.answer().body == b"a static file\n", attempt


def test_205_04_the_connection_breaks(takers):
    """The connection of a client that takes nothing breaks, whoever sends at
    that moment. The request ends, and the log has one line for it."""
    server = takers.server
    target = "/chat/backend.php?timestamp=%d" % takers.cursor
    for attempt in range(1, 11):
        with server.raw() as conn:
            takers.shim.set_breaks_at(conn, attempt)
            conn.send(conn.format("GET", target) * 2)
            server.wait_waiting(0)
            wait_until(lambda n=attempt: len(server.access_lines(target)) == n,
                       5, "a line in the log")
            assert conn.at_eof(5), attempt
    server.post("chat", "y")
    assert len(server.access_lines(target)) == 10


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_205_05_more_bytes_behind_the_last_answer(make_server, tls):
    """A client sends something behind its last request (Connection: close, or
    MaxKeepAliveRequests) before it reads the long answer. It gets the whole
    answer, although the server has closed the connection meanwhile."""
    server = make_server(tls=tls, max_keepalive=1)
    for headers in ({"Connection": "close"}, {}):
        cursor = server.post("big", "x")
        with server.raw(tls=tls) as conn:
            if not headers:
                conn.request("GET", "/static.txt")
                assert conn.answer().status == 200
            conn.request("GET", "/comet/big?since=%d" % cursor, headers)
            server.wait_waiting(1)
            server.post("big", BIG)
            wait_until(lambda: not server.status()["sending"]
                       and not server.waiting(), 5, "the kernel to have it")
            conn.send(NEXT)
            got = conn.answer()
            assert got.header("connection") == "close"
            assert [m["body"] for m in got.json()["messages"]] == [BIG]


def test_205_06_another_client_needs_the_place(make_server):
    """An answered client gives up its place to another one, but only when it has
    its whole answer."""
    server = make_server(threads=4, conf="AsyncRequestWorkerFactor 1\n")
    cursor = server.post("big", "x")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server.raw())
        first.request("GET", "/comet/big?since=%d" % cursor)
        server.wait_waiting(1)
        server.post("big", BIG)
        wait_until(lambda: not server.status()["sending"]
                   and not server.waiting(), 5, "the kernel to have it")
        for others in range(1, 6):      # 4 threads: 5 places
            conn = stack.enter_context(server.raw())
            conn.request("GET", "/comet/news")
            server.wait_waiting(others)
        first.send(NEXT)
        got = first.answer()
        assert [m["body"] for m in got.json()["messages"]] == [BIG]


@contextlib.contextmanager
def deaf(sock):
    """Lose all packets that are sent to this socket."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("HL", 1, ctypes.addressof(code)))
    yield
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


@pytest.mark.parametrize("tls, conf", [(False, ""), (True, ""),
                                       (False, "CometFastPoll on\n")],
                         ids=["plain", "tls", "fast"])
def test_205_07_a_lost_packet(make_server, tls, conf):
    """The last answer of a connection is lost on the way, and the client sends
    something more.  The answer is sent again."""
    server = make_server(tls=tls, conf=conf)
    cursor = server.post("lost", "x")
    with server.raw(tls=tls) as conn:
        conn.request("GET", "/comet/lost?since=%d" % cursor,
                     {"Connection": "close"})
        server.wait_waiting(1)
        with deaf(conn.sock):
            server.post("lost", "y")
            server.wait_waiting(0)
        conn.send(NEXT)
        got = conn.answer()
        assert [m["body"] for m in got.json()["messages"]] == ["y"]
        assert conn.at_eof(5)


def test_205_08_a_lost_packet_and_another_client(make_server):
    """The same, when the hub has given the answer and another client needs the
    place."""
    server = make_server(threads=4, conf="AsyncRequestWorkerFactor 1\n"
                                         "CometFastPoll on\n")
    cursor = server.post("lost", "x")
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(server.raw())

        def poll():
            first.request("GET", "/comet/lost?since=%d" % cursor)
            server.wait_waiting(1)

        for _ in range(4):
            poll()
            cursor = server.post("lost", "x")
            first.answer()
        assert server.status()["fast_polls"] > 0
        poll()
        with deaf(first.sock):
            server.post("lost", "y")
            for others in range(1, 6):      # 4 threads: 5 places
                server.wait_waiting(others - 1)
                conn = stack.enter_context(server.raw())
                conn.request("GET", "/comet/news")
            server.wait_waiting(5)
        first.send(NEXT)
        got = first.answer()
        assert [m["body"] for m in got.json()["messages"]] == ["y"]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_205_09_a_lost_packet_over_http2(make_server, tls):
    """The same over HTTP/2: a poll is answered since the server is reloaded, and
    this answer is lost on the way."""
    server = make_server(h2=True, tls=tls)
    cursor = server.post("lost", "x")
    with H2Tls(server.tls_port) if tls else H2(server.port) as conn:
        poll = conn.request("GET", "/comet/lost?since=%d" % cursor)
        wait_until(lambda: server.status()["ghosts"] == 1, 5, "the ghost")
        with deaf(conn.sock):
            server.graceful()
            wait_until(lambda: not server.status()["ghosts"], 5, "its end")
        conn.sock.sendall(conn.frame(PING, 0, 0, b"anything"))
        conn.finish(poll, 5)
        assert json.loads(poll.body())["messages"] == []


def test_205_10_a_lost_refusal_over_http2(make_server):
    """A connection without a place is closed behind the refusal.  This refusal
    is lost on the way, and the client sends something more."""
    server = make_server(threads=4, h2=True,
                         conf="AsyncRequestWorkerFactor 1\n")
    with contextlib.ExitStack() as stack:
        for others in range(1, 6):      # 4 threads: 5 places
            other = stack.enter_context(server.raw())
            other.request("GET", "/comet/news")
            server.wait_waiting(others)
        conn = stack.enter_context(H2(server.port))
        with deaf(conn.sock):
            poll = conn.request("GET", "/comet/news")
            wait_until(lambda: server.status()["turned_away"], 5, "the refusal")
        conn.sock.sendall(conn.frame(PING, 0, 0, b"anything"))
        conn.finish(poll, 5)
        assert poll.status == 503
