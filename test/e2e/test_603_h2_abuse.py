# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 clients that break rules while streams wait without a thread.  They
get mod_http2's answers, nothing crashes, and nothing is left over."""

import contextlib
import os
import struct

import pytest

from h2_client import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST, \
    SETTINGS, WINDOW, H2Tls
from http_client import Closed
from httpd_env import SLOW, wait_until
from test_601_h2_ghosts import EVENTS, ON, numbers, open_streams, wait_ghosts

pytestmark = pytest.mark.event

SERVER = {"tls": True, "h2": True, "threads": 16, "conf": ON}
CONTINUATION, PRIORITY = 9, 2
FLOW_CONTROL_ERROR, STREAM_CLOSED = 3, 5


def number(value):
    return struct.pack(">I", value)


def setting(name, value):
    return struct.pack(">HI", name, value)


@pytest.fixture(name="site")
def fixture_site(server):
    """Yield the file's server.  After each test it must still serve other
    clients, and nothing may wait."""
    yield server
    wait_ghosts(server, 0, 10)
    with H2Tls(server.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        server.post("news", "7")
        assert conn.pump(lambda: numbers(stream) == [7], 5 * SLOW)
    wait_ghosts(server, 0)


def is_alive(server, conn, stream):
    """Return whether the stream gets the next message."""
    server.post("news", "1")
    return conn.pump(lambda: numbers(stream)[-1:] == [1], 5 * SLOW)


def ends(conn):
    """Return whether the server ends the connection."""
    with pytest.raises((Closed, OSError)):
        conn.pump(lambda: False, 5 * SLOW)
    return True


def reset_many(server, count):
    """Open streams in batches, and reset them before or after they wait."""
    left = count
    while left:
        with H2Tls(server.tls_port) as conn:
            try:
                kept = open_streams(conn, 1)[0]
                while left:
                    batch = [conn.request("GET", EVENTS)
                             for _ in range(min(10, left))]
                    if left % 20:
                        conn.pump(lambda b=batch: all(s.status for s in b),
                                  10 * SLOW)
                    for stream in batch:
                        conn.cancel(stream)
                    left -= len(batch)
                assert is_alive(server, conn, kept)
            except (Closed, OSError):
                pass            # mod_http2 has cut off this client


def descriptors(server):
    """Return how many descriptors the server's child has, without those of the
    database, whose number depends on how many threads happen to read at
    once."""
    folder = "/proc/%d/fd/" % server.children()[0]
    count = 0
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            count += not os.readlink(folder + name).startswith(server.data)
    return count


@pytest.mark.parametrize("count", [
    300, pytest.param(10000, marks=pytest.mark.long)])
def test_603_01_resets(site, count):
    """If a client opens streams and resets them at once, no stream and no
    descriptor is left over."""
    reset_many(site, 100)       # (httpd starts its threads)
    wait_ghosts(site, 0, 10)
    before = descriptors(site)
    reset_many(site, count)
    wait_ghosts(site, 0, 10)
    wait_until(lambda: descriptors(site) <= before + 10, 10, "the descriptors")


@pytest.mark.parametrize("kind, payload, error", [
    (WINDOW, number(0x7fffffff), FLOW_CONTROL_ERROR),
    (DATA, b"data", STREAM_CLOSED), (DATA, b"", STREAM_CLOSED),
    (HEADERS, b"\x82", STREAM_CLOSED)])
def test_603_02_rules_that_end_a_stream(site, kind, payload, error):
    """If a client grants a stream too much window, or sends more for a request
    that is complete, this stream is reset.  Other streams of the connection
    continue."""
    with H2Tls(site.tls_port) as conn:
        stream, other = open_streams(conn, 2)
        wait_ghosts(site, 2)
        conn.sock.sendall(conn.frame(kind, END_HEADERS | END_STREAM
                                     if kind in (HEADERS, DATA) else 0, 1,
                                     payload))
        assert conn.pump(lambda: stream.ended, 5 * SLOW)
        assert stream.reset == error
        assert is_alive(site, conn, other)


@pytest.mark.parametrize("kind, stream, payload", [
    (WINDOW, 0, number(0x7fffffff)), (WINDOW, 0, number(0)),
    (WINDOW, 0, b"abc"), (RST, 1, b"abc"), (RST, 99, number(8)),
    (SETTINGS, 0, setting(4, 0x80000000)), (SETTINGS, 0, b"abc"),
    (SETTINGS, 0, setting(5, 1)), (CONTINUATION, 1, b"x"),
    (HEADERS, 2, b"\x82"), (PING, 0, b"abc"), (WINDOW, 1, number(0))])
def test_603_03_rules_that_end_the_connection(site, kind, stream, payload):
    """If a client's error concerns the whole connection, mod_http2 ends it,
    even if streams wait on it."""
    with H2Tls(site.tls_port) as conn:
        open_streams(conn, 2)
        wait_ghosts(site, 2)
        conn.sock.sendall(conn.frame(kind, END_HEADERS if kind == HEADERS
                                     else 0, stream, payload))
        assert ends(conn)


def test_603_04_windows_that_change(site):
    """A client may reduce its windows to nothing and enlarge them again."""
    with H2Tls(site.tls_port) as conn:
        stream, other = open_streams(conn, 2)
        wait_ghosts(site, 2)
        conn.pump(lambda: False, 0.1)
        conn.grants = False
        for window in (0, 1000, 0, 70000):
            conn.sock.sendall(conn.frame(SETTINGS, 0, 0, setting(4, window)))
            for ident in (1, 3):
                conn.credit[ident] = conn.credit.get(ident, conn.window) \
                    + window - conn.window
            conn.window = window
            site.post("news", "x" * 5000)
            conn.pump(lambda: False, 0.2)   # (H2.spend() checks the windows)
        assert is_alive(site, conn, stream)
        assert conn.pump(lambda: numbers(other)[-1:] == [1], 5 * SLOW)


def test_603_05_frames_in_bytes(site):
    """HTTP/2 frames work if each byte comes in its own TLS record: a request, a
    window update, a reset and others."""
    with H2Tls(site.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        sent, conn.sock.sendall = [], lambda data: sent.append(data)
        other = conn.request("GET", EVENTS)
        del conn.sock.sendall
        sent += [conn.frame(WINDOW, 0, 1, number(10)),
                 conn.frame(PRIORITY, 0, 1, number(0) + b"\1"),
                 conn.frame(77, 0, 1, b"unknown"),
                 conn.frame(RST, 0, 3, number(8))]
        for at, frame in enumerate(sent):
            for byte in frame:
                conn.sock.sendall(bytes([byte]))
            if at == 0:
                assert conn.pump(lambda: other.status == 200, 5 * SLOW)
                wait_ghosts(site, 2)
        wait_ghosts(site, 1)
        assert is_alive(site, conn, stream)


def test_603_06_a_header_block_in_parts(site):
    """Messages arrive while the headers of another request are incomplete."""
    with H2Tls(site.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        sent, conn.sock.sendall = [], lambda data: sent.append(data)
        other = conn.request("GET", EVENTS)
        del conn.sock.sendall
        block = sent[0][9:]
        conn.sock.sendall(conn.frame(HEADERS, END_STREAM, 3, block[:5]))
        assert is_alive(site, conn, stream)
        conn.sock.sendall(conn.frame(CONTINUATION, 0, 3, block[5:6]))
        site.post("news", "2")
        assert conn.pump(lambda: numbers(stream)[-1:] == [2], 5 * SLOW)
        conn.sock.sendall(conn.frame(CONTINUATION, END_HEADERS, 3, block[6:]))
        assert conn.pump(lambda: other.status == 200, 5 * SLOW)


def test_603_07_a_farewell(site):
    """If a client says that it opens no more streams (GOAWAY), its waiting
    streams continue."""
    with H2Tls(site.tls_port) as conn:
        streams = open_streams(conn, 2)
        poll = conn.request("GET", "/comet/other?transport=poll")
        wait_ghosts(site, 3)
        conn.sock.sendall(conn.frame(GOAWAY, 0, 0, number(0) + number(0)))
        for stream in streams:
            assert is_alive(site, conn, stream)
        site.post("other", "polled")
        conn.finish(poll, 5 * SLOW)
        site.graceful()
        for stream in streams:
            conn.finish(stream, 5 * SLOW)
            assert b"retry: " in stream.body()
        assert ends(conn)


def test_603_08_floods(site):
    """Many PINGs, grants of single bytes and unknown frames do not stop
    messages."""
    with H2Tls(site.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        for _ in range(20):
            conn.sock.sendall(
                conn.frame(PING, 0, 0, b"12345678") * 5
                + conn.frame(WINDOW, 0, 0, number(1)) * 100
                + conn.frame(WINDOW, 0, 1, number(1)) * 100
                + conn.frame(200, 0, 1, b"x" * 100) * 5)
        assert is_alive(site, conn, stream)


def post_without_length(conn, body):
    """Send a POST that does not say how long its body is, without its end;
    return its Stream."""
    sent, conn.sock.sendall = [], lambda data: sent.append(data)
    stream = conn.request("POST", "/comet/cut", {"Content-Type": "text/plain"})
    del conn.sock.sendall
    ident = conn.next_id - 2
    conn.sock.sendall(conn.frame(HEADERS, END_HEADERS, ident, sent[0][9:])
                      + conn.frame(DATA, 0, ident, body))
    return stream


def test_603_09_a_body_that_is_cut(site):
    """If a client resets a POST before it has sent the end of the body, nothing
    is stored.  (mod_http2 may report that end to us all the same.)"""
    for _ in range(12):
        with H2Tls(site.tls_port) as conn:
            for _ in range(5):
                conn.cancel(post_without_length(conn, b"a part"))
            stream = post_without_length(conn, b"all")
            conn.sock.sendall(conn.frame(DATA, END_STREAM, conn.next_id - 2,
                                         b" of it"))
            assert b"timestamp" in conn.finish(stream, 10 * SLOW).body()
    assert site.rows("cut") == ["all of it"] * 12
