# SPDX-License-Identifier: Apache-2.0
"""The clock: the bytes that the original page needs, tick by tick."""

import re
import time

import pytest

from httpd_env import SLOW, wait_until

SERVER = {"conf": """
  CometClock /slow/backend.php
  <Location "/slow/backend.php">
    CometTick 2s
  </Location>
  CometClock /fast/backend.php
  <Location "/fast/backend.php">
    CometTick 250ms
  </Location>
  AddOutputFilterByType DEFLATE text/html
"""}

URL = "/clock/backend.php"
TICK = re.compile(rb'<script type="text/javascript">'
                  rb"comet\.printServerTime\((\d+)\);</script>")


def open_clock(server, url=URL, headers=None, version="1.1"):
    conn = server.raw()
    conn.request("GET", url, headers, version=version)
    assert conn.head() == 200
    return conn


def next_tick(conn, heartbeats=False):
    """Read the next chunk, which must be exactly one tick. Return its time and
    when it arrived (monotonic and wall clock)."""
    data = conn.chunk()
    while heartbeats and data == b"\n":
        data = conn.chunk()
    match = TICK.fullmatch(data)
    assert match, "not one tick: %r" % data
    assert conn.buffer == b"", "more than one tick at once"
    return int(match.group(1)), conn.stamp, conn.wall


def test_100_01_head(server):
    """Status, type, caching and framing are those of the original."""
    with open_clock(server) as conn:
        assert conn.headers["content-type"].replace(" ", "").lower() \
            == "text/html;charset=utf-8"
        caching = conn.headers["cache-control"]
        for word in ("no-cache", "must-revalidate", "no-transform"):
            assert word in caching
        assert conn.headers["expires"] == "Mon, 26 Jul 1997 05:00:00 GMT"
        assert conn.framing == "chunked"
        assert "content-length" not in conn.headers


def test_100_02_opening(server):
    """The first chunk has the head of the page and the first tick. The head is
    not sent again."""
    begin = time.monotonic()
    with open_clock(server) as conn:
        opening = conn.chunk()
        assert conn.stamp - begin < 0.5 * SLOW
        assert opening.lstrip().startswith(b"<!DOCTYPE")
        assert b"<body>" in opening
        assert opening.count(b"var comet = window.parent.comet;") == 1
        assert b"prototype.js" in opening
        ticks = TICK.findall(opening)
        assert len(ticks) == 1
        assert abs(int(ticks[0]) - time.time()) <= 1.5
        assert opening.index(b"var comet") < opening.index(b"printServer")
        more = [next_tick(conn)[0] for _ in range(2)]
        assert more[1] == more[0] + 1


@pytest.mark.serial
def test_100_03_rhythm(server):
    """The clock ticks once a second, on the whole second. Each tick has its own
    chunk."""
    with open_clock(server) as conn:
        conn.chunk()
        last = conn.stamp
        values, lags = [], []
        for _ in range(4):
            value, stamp, wall = next_tick(conn)
            assert 0.45 <= stamp - last <= 1.8 * SLOW, "rhythm"
            last = stamp
            values.append(value)
            lags.append(wall - value)
        assert values == list(range(values[0], values[0] + 4))
        assert all(-0.01 <= lag < 0.2 * SLOW for lag in lags), lags


@pytest.mark.serial
def test_100_04_all_together(server):
    """All streams tick at the same moment, no matter when they were opened."""
    conns = []
    try:
        for _ in range(4):
            conn = open_clock(server)
            conn.chunk()
            conns.append(conn)
            time.sleep(0.13)            # streams of different ages
        arrived = {}
        for _ in range(3):
            for conn in conns:
                value = int(TICK.fullmatch(conn.chunk()).group(1))
                arrived.setdefault(value, []).append(conn.wall)
        common = [w for w in arrived.values() if len(w) == len(conns)]
        assert len(common) >= 2, arrived
        for walls in common:
            assert max(walls) - min(walls) < 0.1 * SLOW, arrived
    finally:
        for conn in conns:
            conn.close()


def test_100_05_young_stream_skips(server):
    """The second tick of a stream comes at least half a second after its
    first."""
    for part in (0.6, 0.75, 0.9):
        start = int(time.time()) + part
        if start < time.time():
            start += 1
        time.sleep(start - time.time())     # wait for this part of the second
        with open_clock(server) as conn:
            conn.chunk()
            opened = conn.stamp
            _, stamp, _ = next_tick(conn)
            assert stamp - opened >= 0.45, "a tick after %.2f s" \
                % (stamp - opened)


def test_100_06_http10(server):
    """Over HTTP/1.0 the answer is not chunked, and ends when the connection
    ends."""
    with open_clock(server, version="1.0") as conn:
        assert conn.framing == "close"
        assert "close" in conn.headers.get("connection", "close").lower()
        data = b""
        end = time.monotonic() + 6 * SLOW
        while len(TICK.findall(data)) < 3 and time.monotonic() < end:
            data += conn.chunk()
        assert len(TICK.findall(data)) == 3


def test_100_07_head_method(server):
    """HEAD is answered at once (the original never answered it)."""
    begin = time.monotonic()
    answer = server.request("HEAD", URL)
    assert answer.status == 200
    assert time.monotonic() - begin < 1.0 * SLOW
    assert answer.body == b""
    assert "text/html" in answer.header("content-type")


def test_100_08_methods(server):
    """OPTIONS lists the allowed methods; any other method gets 405 with
    Allow."""
    answer = server.request("OPTIONS", URL)
    assert answer.status in (200, 204)
    assert "GET" in answer.header("allow")
    for method in ("PUT", "DELETE", "PATCH"):
        answer = server.request(method, URL)
        assert answer.status == 405, answer
        assert "GET" in answer.header("allow")


def test_100_09_no_transformation(server):
    """A mod_deflate filter for text/html leaves the stream unchanged."""
    with open_clock(server, headers={"Accept-Encoding": "gzip, br"}) as conn:
        assert "content-encoding" not in conn.headers
        assert b"printServerTime" in conn.chunk()
        next_tick(conn)


@pytest.mark.serial
def test_100_10_tick(server):
    """CometTick sets the interval between ticks for its location."""
    with open_clock(server, "/slow/backend.php") as conn:
        conn.chunk()
        _, one, _ = next_tick(conn)
        _, two, _ = next_tick(conn)
        assert 1.8 <= two - one <= 2.2 * SLOW
    with open_clock(server, "/fast/backend.php") as conn:
        conn.chunk()
        next_tick(conn)
        begin = conn.stamp
        for _ in range(8):
            next_tick(conn)
        assert 1.6 <= conn.stamp - begin <= 2.6 * SLOW


def test_100_11_leave(server):
    """The server notices within 5 s that clients have left, and no longer
    counts them."""
    conns = [open_clock(server) for _ in range(10)]
    server.wait_waiting(10, "clock")
    for conn in conns:
        conn.close()
    server.wait_waiting(0, "clock", timeout=5.0)


def test_100_12_longer_than_timeout(make_server):
    """A stream outlives the server's Timeout and KeepAliveTimeout."""
    server = make_server(timeout=2, conf="KeepAliveTimeout 1")
    with open_clock(server) as conn:
        conn.chunk()
        values = [next_tick(conn, True)[0] for _ in range(7)]
        assert values == list(range(values[0], values[0] + 7))


@pytest.mark.event
def test_100_13_rare_ticks_longer_than_timeout(make_server):
    """A stream also survives if the time between two ticks is longer than
    Timeout."""
    server = make_server(timeout=2, conf="CometTick 5s")
    with open_clock(server) as conn:
        conn.chunk()
        one, _, _ = next_tick(conn, True)
        assert next_tick(conn, True)[0] == one + 5
        assert next_tick(conn, True)[0] == one + 10
        wait_until(lambda: server.waiting("clock") == 1, 2, "still there")


def test_100_14_query_and_path(server):
    """The clock ignores query strings, and does not answer URLs below its
    path."""
    with open_clock(server, URL + "?x=1&timestamp=abc") as conn:
        assert TICK.search(conn.chunk())
    answer = server.get(URL + "/below")
    assert answer.status == 404


def test_100_15_first_tick_is_current(server):
    """A request with a cache validator, as a browser's reload sends it, gets
    the current time."""
    for _ in range(3):
        with open_clock(server, headers={
                "If-Modified-Since": "Mon, 26 Jul 2027 05:00:00 GMT",
                "If-None-Match": "*"}) as conn:
            value = int(TICK.search(conn.chunk()).group(1))
            assert abs(value - time.time()) <= 1.5
