# SPDX-License-Identifier: Apache-2.0
"""Unusual requests over HTTP/2, and unusual ends of connections.  Clients get
the same answer whether their streams wait without a thread or with one."""

import contextlib
import socket
import struct
import time

import pytest

from h2_client import DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW, \
    H2, H2Tls
from http_client import Closed
from httpd_env import SLOW, wait_until
from test_601_h2_ghosts import EVENTS, ON, numbers, open_streams, wait_ghosts

pytestmark = pytest.mark.event

OFF = ON.replace("HTTP2 on", "HTTP2 off")
SERVER = {"tls": True, "h2": True, "threads": 32, "conf": ON}
POLL = "/comet/news?transport=poll"
PRIORITY_UPDATE, ALTSVC, ORIGIN = 16, 10, 12
INTERNAL_ERROR = 2


@pytest.fixture(name="alone", scope="module")
def fixture_alone(request):
    """Yield a server without CometParkHTTP2, where each stream that waits holds
    a thread."""
    from conftest import run_for_file
    yield from run_for_file(request, conf=OFF)


class Client(H2Tls):
    def head(self, fields, flags=END_HEADERS | END_STREAM, more=b""):
        """Send a request's header block, and more bytes in the same write;
        return its Stream."""
        sent, self.sock.sendall = [], lambda data: sent.append(data)
        stream = self.request(fields.pop(":method", "GET"),
                              fields.pop(":path", EVENTS), fields)
        del self.sock.sendall
        block = sent[0][9:]
        self.sock.sendall(self.frame(HEADERS, flags, self.next_id - 2, block)
                          + more)
        return stream

    def more(self, kind, flags, payload=b"", ident=None):
        self.sock.sendall(self.frame(
            kind, flags, self.next_id - 2 if ident is None else ident,
            payload))

    def last(self, ident):
        """Return the frame with a request's trailers."""
        return self.frame(HEADERS, END_HEADERS | END_STREAM, ident,
                          self.literal("x-sum", "1"))


# mod_http2 resets a stream whose trailers come after the answer has begun
# (h2_stream_add_header()).  If trailers came a moment after their request, a
# reset would be a matter of chance, so here both are in one write.
def trailers(conn, path):
    return conn.head({":path": path, "te": "trailers"}, END_HEADERS,
                     conn.last(conn.next_id))


def late_trailers(conn, path):
    stream = conn.head({":path": path, "te": "trailers"}, END_HEADERS)
    if path == EVENTS:
        conn.pump(lambda: stream.status, 5 * SLOW)
    conn.sock.sendall(conn.last(conn.next_id - 2))
    if path == EVENTS:
        conn.pump(lambda: stream.ended, 5 * SLOW)
    return stream


def empty_data(conn, path):
    stream = conn.head({":path": path}, END_HEADERS)
    conn.more(DATA, END_STREAM)
    return stream


def body(conn, path):
    stream = conn.head({":path": path, "content-length": "4"}, END_HEADERS)
    conn.more(DATA, 0, b"ab")
    conn.more(DATA, 0)
    conn.more(DATA, END_STREAM, b"cd")
    return stream


def expects(conn, path):
    stream = conn.head({":path": path, "expect": "100-continue",
                        "content-length": "4"}, END_HEADERS)
    conn.more(DATA, END_STREAM, b"abcd")
    return stream


def shrinks(conn, path):
    stream = conn.head({":path": path})
    conn.more(SETTINGS, 0, struct.pack(">HI", 4, 0), ident=0)
    conn.window, conn.credit[conn.next_id - 2] = 0, 0
    conn.more(SETTINGS, 0, struct.pack(">HI", 4, 70000), ident=0)
    conn.window = conn.credit[conn.next_id - 2] = 70000
    return stream


def frames(*sent):
    """Return a case that sends a request, and then frames of the connection."""
    def case(conn, path):
        stream = conn.head({":path": path})
        for kind, payload in sent:
            conn.more(kind, 0, payload, 0)
        return stream
    return case


def fields(**given):
    def case(conn, path):
        return conn.head({":path": path, **given})
    return case


def setting(name, value):
    return SETTINGS, struct.pack(">HI", name, value)


REQUESTS = {
    "HEAD": fields(**{":method": "HEAD"}),
    "trailers": trailers,
    "late trailers": late_trailers,
    "an empty DATA": empty_data,
    "a body": body,
    "Expect": expects,
    "a length of 0": fields(**{"content-length": "0"}),
    "a priority": fields(priority="u=0, i"),
    "a priority update": frames((PRIORITY_UPDATE, b"\0\0\0\1u=7")),
    "a priority update of no stream": frames((PRIORITY_UPDATE, b"\0\0\0\0u=7")),
    "ALTSVC and ORIGIN": frames((ALTSVC, b"\0\1ah3"), (ORIGIN, b"\0\1a")),
    "push on": frames(setting(2, 1)),
    "push off": frames(setting(2, 0)),
    "push in between": frames(setting(2, 2)),
    "no streams of the server": frames(setting(3, 0)),
    "no table": frames(setting(1, 0)),
    "the largest frames": frames(setting(5, (1 << 24) - 1)),
    "no old priorities": frames(setting(9, 1)),
    "another host": fields(host="elsewhere.test"),
    "windows that shrink below what is sent": shrinks,
}

QUICK = ("trailers", "Expect", "windows that shrink below what is sent")


def outcome(server, ask, path):
    """Return what a client gets: how its stream was answered, or the error with
    which the connection ended."""
    with Client(server.tls_port) as conn:
        conn.finish(conn.request("GET", "/static.txt"), 5 * SLOW)
        stream = ask(conn, path)

        def waits():
            conn.pump(lambda: stream.ended, 0.05)
            return stream.ended or server.waiting()

        try:
            for number in range(2):
                wait_until(waits, 5, "it to wait")
                if not stream.ended:
                    server.post("news", str(number))
                    conn.pump(lambda n=number: stream.ended
                              or n in numbers(stream), 5 * SLOW)
            static = conn.finish(conn.request("GET", "/static.txt"), 5 * SLOW)
            after = static.status
        except (Closed, OSError):
            after = None
        if conn.error is not None:
            return conn.error       # it may come before or after the answers
        return (stream.status, stream.reset, stream.ended, after,
                numbers(stream) if path == EVENTS else len(stream.body()) > 0)


@pytest.mark.parametrize("path", [EVENTS, POLL], ids=["stream", "poll"])
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.long)
    for name in REQUESTS])
def test_614_01_the_same_answer(server, alone, name, path):
    mine, other = [outcome(which, REQUESTS[name], path)
                   for which in (server, alone)]
    assert mine == other
    if "trailers" in name:
        _, reset, *_ = other
        assert reset == (INTERNAL_ERROR if name == "late trailers"
                         and path == EVENTS else None)
    wait_until(lambda: server.waiting() == alone.waiting() == 0, 10 * SLOW,
               "nothing to wait")


def leave(how, conn):
    """End the connection in one of the ways that clients use."""
    plain = conn.sock
    if how == "a reset":
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
    elif how == "close_notify":
        plain.settimeout(1)
        with contextlib.suppress(OSError):
            plain.unwrap()      # (the server may still be sending)
    elif how == "the end of its side":
        plain.shutdown(socket.SHUT_WR)
        with contextlib.suppress(Closed, OSError):
            conn.pump(lambda: False, 5 * SLOW)
    elif how == "half a frame":
        plain.sendall(b"\0\0\4")
    plain.close()


@pytest.mark.parametrize("how", ["a reset", "close_notify", "half a frame",
                                 "the end of its side", "no farewell"])
def test_614_02_ends(server, how):
    """In whichever way a client leaves, its streams soon end."""
    conn = H2Tls(server.tls_port)
    open_streams(conn, 2)
    wait_ghosts(server, 2)
    begin = time.monotonic()
    leave(how, conn)
    wait_ghosts(server, 0)
    assert time.monotonic() - begin < 4 * SLOW


def test_614_03_a_stop_while_nothing_may_be_sent(make_server):
    """A client that grants no window does not delay a reload.  It loses its
    connection."""
    server = make_server(tls=True, h2=True, conf=ON)
    with H2Tls(server.tls_port, 65535, 1 << 20) as conn:
        conn.grants = False
        stream, = open_streams(conn, 1)
        for _ in range(30):
            server.post("news", "x" * 5000)
        conn.pump(lambda: conn.credit.get(1, 65535) == 0, 5 * SLOW)
        old = server.children()
        server.graceful()
        wait_until(lambda: not set(old) & set(server.children()), 20,
                   "the old child's end")
        with pytest.raises((Closed, OSError)):
            conn.pump(lambda: stream.ended and False, 5 * SLOW)
    assert server.status()["ghosts"] == 0


def test_614_05_granted_while_it_sleeps(server):
    """If a client grants window to a waiting stream that needs none, all
    messages still arrive."""
    with H2Tls(server.tls_port, 65535, 0) as conn:
        stream, = open_streams(conn, 1)
        wait_ghosts(server, 1)
        for number in range(20):
            conn.sock.sendall(conn.frame(WINDOW, 0, 1, b"\0\0\0\7"))
            conn.credit[1] = conn.credit.get(1, conn.window) + 7
            server.post("news", str(number))
            assert conn.pump(lambda n=number: numbers(stream)[-1:] == [n],
                             5 * SLOW)
    wait_ghosts(server, 0)
