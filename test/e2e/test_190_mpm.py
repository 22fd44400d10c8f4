# SPDX-License-Identifier: Apache-2.0
"""What must work in the same way on every MPM and over HTTP/2."""

import json
import os
import re
import signal
import statistics
import time

import pytest

from crowd import deafen
from h2_client import H2
from http_client import Poller, gather
from httpd_env import SANITIZER, SLOW, alive, sqlite, wait_until


@pytest.fixture
def site(make_server, mpm):
    """Return a server of this test's own, on each MPM in turn."""
    return make_server(mpm=mpm, children=2, threads=32, classics=4,
                       conf='<Location "/c0/backend.php">\n'
                            "CometPollTimeout 1s\n</Location>\n")


def test_190_01_chat(site):
    """On every MPM messages wake the pages, arrive in order and are escaped,
    and a poll without news ends."""
    lags = []
    with Poller(site.port) as one, Poller(site.port) as two:
        site.wait_waiting(2, "classic")
        for i in range(10):
            begin = time.monotonic()
            site.publish("m%d" % i)
            one.wait_for(i + 1, 5 * SLOW)
            two.wait_for(i + 1, 5 * SLOW)
            lags.append(max(one.messages[-1][2], two.messages[-1][2])
                        - begin)
        assert not one.failures + two.failures
    assert statistics.median(lags) < 0.1 * SLOW, lags
    assert max(lags) < 1.0 * SLOW, lags
    begin = time.monotonic()
    assert site.get("/c0/backend.php").json()["msg"] == ""
    assert 0.8 < time.monotonic() - begin < 2.5 * SLOW
    site.publish("<b>", "/c1/backend.php")
    assert site.get("/c1/backend.php").json()["msg"] == "&lt;b&gt;"


def test_190_02_burst_and_parallel(site):
    """10 messages at once, 40 in parallel, and 10 while the client is
    disconnected: all arrive once and in order."""
    with Poller(site.port) as page:
        for i in range(10):
            site.publish("b%d" % i)
        assert page.wait_for(10, 5 * SLOW) == ["b%d" % i for i in range(10)]
        gather([lambda i=i: site.publish_again("p%d" % i) for i in range(40)])
        got = page.wait_for(50, 10 * SLOW)
        assert sorted(got[10:]) == sorted("p%d" % i for i in range(40))
        cursor = page.cursor
    for i in range(10):
        site.publish("a%d" % i)
    with Poller(site.port, cursor=cursor) as page:
        assert page.wait_for(10, 5 * SLOW) == ["a%d" % i for i in range(10)]
    assert site.rows("chat")[:50] == got


def test_190_03_clock(site):
    """On every MPM each tick comes in its own chunk, on the second."""
    with site.raw() as conn:
        conn.request("GET", "/clock/backend.php")
        assert conn.head() == 200
        assert b"printServerTime" in conn.chunk()
        values = []
        for _ in range(3):
            data = conn.chunk()
            assert conn.buffer == b""
            match = re.fullmatch(rb'<script type="text/javascript">comet\.'
                                 rb"printServerTime\((\d+)\);</script>",
                                 data)
            values.append(int(match.group(1)))
            assert -0.02 < conn.wall - values[-1] < 0.3 * SLOW
        assert values == list(range(values[0], values[0] + 3))


def test_190_04_outside(site):
    """An INSERT by another process reaches waiting clients within 50 ms."""
    lags = []
    with Poller(site.port) as page:
        for i in range(8):
            site.wait_waiting(1, "classic")
            sqlite(site.db, "INSERT INTO message(channel, body) "
                   "VALUES('chat', 'o%d');" % i)
            ended = time.monotonic()
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - ended)
    assert statistics.median(lags) < 0.05 * SLOW, lags
    sqlite(site.db, "DELETE FROM message WHERE body='o3';")
    assert [m["body"] for m in site.history("chat")] \
        == ["o%d" % i for i in range(8) if i != 3]


def test_190_05_gone(site):
    """On every MPM the server notices within 5 s that clients have left."""
    conns = []
    for target in ("/chat/backend.php", "/comet/x", "/clock/backend.php"):
        conn = site.raw()
        conn.request("GET", target)
        conns.append(conn)
    site.wait_waiting(3)
    for conn in conns:
        conn.close()
    site.wait_waiting(0, timeout=5)


def test_190_06_endpoint(site):
    """Publishing, polls and errors of the endpoint are the same on every
    MPM."""
    with site.raw() as conn:
        conn.request("GET", "/comet/room/1?since=0")
        site.wait_waiting(1, "poll")
        stamp = site.post("room/1", "x")
        answer = conn.answer()
        assert [m["timestamp"] for m in answer.json()["messages"]] == [stamp]
        # The connection stays usable.
        conn.request("GET", "/comet/room/1?since=0&wait=0")
        assert len(conn.answer().json()["messages"]) == 1
    assert site.get("/comet/room/1?since=-1").status == 400
    assert site.request("POST", "/comet/x", b"\xff", {
        "Content-Type": "text/plain"}).status == 400


def test_190_07_waiting_cap_is_clear(make_server, mpm):
    """When all places for waiting clients are taken, a further poll is refused
    quickly and clearly. Files are still served."""
    server = make_server(mpm=mpm, threads=16, conf="CometPollTimeout 20s")
    held, refused = [], 0
    # The event MPM holds far more clients than threads, so 40 polls reach no
    # limit.
    for _ in range(70 if mpm != "event" else 40):
        conn = server.raw(timeout=10)
        begin = time.monotonic()
        conn.request("GET", "/chat/backend.php")
        try:
            conn.head()
        except TimeoutError:
            raise AssertionError("a poll without any answer: %d held"
                                 % len(held))
        except OSError:
            conn.close()
            continue
        if conn.status == 200:
            held.append(conn)
        else:
            assert conn.status in (429, 503), conn.raw_head
            assert conn.headers.get("retry-after")
            assert json.loads(conn.body())["error"]
            assert time.monotonic() - begin < 3 * SLOW
            refused += 1
            conn.close()
            if refused == 3:
                break
    if mpm != "event":
        assert refused == 3, "no cap: %d held" % len(held)
    assert held
    begin = time.monotonic()
    assert server.get("/static.txt", timeout=5).status == 200
    assert time.monotonic() - begin < 1.0 * SLOW
    server.post("chat", "x")
    for conn in held:
        assert json.loads(conn.body())["msg"] == "x"
        conn.close()


def wake_ups(pid):
    """Return how often the threads of a process have slept and been woken."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as status:
            total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)",
                                   status.read(), re.M).group(1))
    return total


def blocked_polls(server, channel, count):
    """Open polls that each wait in a thread; return their connections."""
    conns = [server.raw(timeout=20) for _ in range(count)]
    for conn in conns:
        conn.request("GET", "/comet/%s?since=0" % channel)
    server.wait_waiting(count, timeout=20)
    assert server.status()["blocked"] == count
    return conns


def test_190_10_waiting_threads_sleep(make_server):
    """A waiting thread sleeps until its client leaves, news arrives, or httpd
    reloads or stops."""
    count = 100
    server = make_server(mpm="worker", threads=2 * count + 20,
                         conf="CometPollTimeout 60s\nCometAdopt off")
    server.allow_log.append("AH00287: server is within MinSpareThreads")
    conns = blocked_polls(server, "told", count)
    child, = server.children()
    before, begin = wake_ups(child), time.monotonic()
    time.sleep(2)                       # the time in which wake-ups are counted
    rate = (wake_ups(child) - before) / (time.monotonic() - begin)
    assert rate < count, "%.0f wake-ups a second" % rate
    conns.pop().close()
    wait_until(lambda: server.status()["blocked"] == count - 1, 1, "one gone")
    server.post("told", "x")
    for conn in conns:
        assert conn.answer().json()["messages"][0]["body"] == "x"
        conn.close()
    conns = blocked_polls(server, "quiet", 10)
    begin = time.monotonic()
    server.graceful()
    for conn in conns:
        assert conn.answer().json()["messages"] == []
        conn.close()
    assert time.monotonic() - begin < 5 * SLOW
    conns = blocked_polls(server, "quiet", 10)
    assert server.stop() < 5 * SLOW
    for conn in conns:                  # the MPM has closed these connections
        conn.close()


def test_190_08_counters_over_all_children(site):
    """The status has the sums over all children, whichever child answers."""
    conns = []
    for _ in range(6):
        conn = site.raw()
        conn.request("GET", "/chat/backend.php")
        conn.head()
        conns.append(conn)
    for _ in range(10):
        assert site.waiting("classic") == 6
    for i in range(5):
        site.publish("m%d" % i)
    assert site.status()["published"] == 5
    for conn in conns:
        conn.body()
        conn.close()
    wait_until(lambda: site.status()["delivered"] == 6, 3, "delivered")


# -- HTTP/2 -----------------------------------------------------------------

@pytest.mark.skipif(SANITIZER in ("asan", "memcheck"), reason="what lives as "
                    "long as the process is a leak once the module is "
                    "unloaded; another user cannot remove valgrind's pipes")
def test_190_09_one_process(make_server, mpm):
    """httpd -X, which a debugger uses, serves requests and ends properly."""
    server = make_server(mpm=mpm, start=False)
    server.mode = "-X"
    server.start()
    server.post("chat", "one")
    assert [m["body"] for m in server.history("chat")] == ["one"]
    server.settle()
    server.proc.send_signal(signal.SIGTERM)
    assert server.proc.wait(20 * SLOW) == 0, server.tail()
    server.proc = None


@pytest.fixture
def h2_site(make_server):
    return make_server(h2=True, threads=32,
                       conf="CometParkHTTP2 off\nCometPollTimeout 2s\nH2MaxWorkers 32\n")


def test_190_20_h2_chat(h2_site):
    """Publishing and polling over HTTP/2 give the same answers as over
    HTTP/1.1."""
    with H2(h2_site.port) as conn:
        done = conn.finish(conn.request("GET", "/chat/backend.php?msg=x"),
                           5 * SLOW)
        assert (done.status, done.body()) == (200, b"")
        done = conn.finish(conn.request("GET", "/chat/backend.php"),
                           5 * SLOW)
        data = json.loads(done.body())
        assert data["msg"] == "x"
        held = conn.request("GET", "/chat/backend.php?timestamp=%d"
                            % data["timestamp"])
        assert not conn.pump(lambda: held.ended, 0.3)
        h2_site.publish("y")
        assert json.loads(conn.finish(held, 3 * SLOW).body())["msg"] == "y"
        done = conn.finish(conn.request(
            "POST", "/comet/h2", {"content-type": "text/plain"}, b"z"),
            5 * SLOW)
        assert done.status == 201
        done = conn.finish(conn.request(
            "GET", "/chat/backend.php?timestamp=-1"), 5 * SLOW)
        assert done.status == 400


def test_190_21_h2_no_news(h2_site):
    """A poll over HTTP/2 without news gets a complete answer after
    CometPollTimeout."""
    h2_site.publish("x")
    cursor = h2_site.get("/chat/backend.php").json()["timestamp"]
    with H2(h2_site.port) as conn:
        begin = time.monotonic()
        done = conn.finish(conn.request(
            "GET", "/chat/backend.php?timestamp=%d" % cursor), 6 * SLOW)
        assert json.loads(done.body()) == {"msg": "", "timestamp": cursor}
        assert 1.7 < time.monotonic() - begin < 4 * SLOW


def test_190_22_h2_clock(h2_site):
    """The clock ticks over HTTP/2."""
    with H2(h2_site.port) as conn:
        clock = conn.request("GET", "/clock/backend.php")
        assert conn.pump(lambda: len(clock.pieces) >= 4, 8 * SLOW)
        assert clock.status == 200
        gaps = [b[0] - a[0] for a, b in zip(clock.pieces, clock.pieces[1:])]
        assert all(0.4 < gap < 1.8 * SLOW for gap in gaps), gaps
        conn.cancel(clock)
        h2_site.wait_waiting(0, timeout=5)


def test_190_23_h2_waiters_do_not_starve(h2_site):
    """Many waiting polls on one HTTP/2 connection do not delay a file on the
    same connection."""
    with H2(h2_site.port) as conn:
        conn.finish(conn.request("GET", "/static.txt"), 5 * SLOW)
        polls = [conn.request("GET", "/comet/h2-%d?since=0" % i)
                 for i in range(12)]
        begin = time.monotonic()
        done = conn.finish(conn.request("GET", "/static.txt"), 10 * SLOW)
        assert done.body() == b"a static file\n"
        assert time.monotonic() - begin < 1.0 * SLOW
        assert conn.pump(lambda: all(p.ended for p in polls), 10 * SLOW)
        for poll in polls:
            assert poll.reset is None
            assert poll.status in (200, 429, 503), poll.status
        assert sum(1 for p in polls if p.status == 200) >= 1


def test_190_27_h2_places_come_back(make_server):
    """A connection has two places for waiting streams.  Each stream that ends
    frees its place."""
    server = make_server(h2=True, threads=32,
                         conf="CometParkHTTP2 off\nCometPollTimeout 60s\n"
                         "H2MaxWorkers 32\n")

    def ask(conn, number):
        return conn.request("GET", "/comet/h2-%d?since=0" % number,
                            {"accept": "application/json"})

    with H2(server.port) as conn:
        held = [ask(conn, 0), ask(conn, 1)]
        server.wait_waiting(2)
        for number in range(3):
            assert conn.finish(ask(conn, 9), 5 * SLOW).status == 503
            server.post("h2-%d" % number, "x")
            assert conn.finish(held.pop(0), 5 * SLOW).status == 200
            server.wait_waiting(1)
            held.append(ask(conn, number + 2))
            server.wait_waiting(2)
        assert not any(stream.ended for stream in held)
        with H2(server.port) as other:  # another connection has places, too
            ask(other, 9)
            server.wait_waiting(3)
    server.wait_waiting(0)


def test_190_24_h2_gone(h2_site):
    """The server notices within 5 s that an HTTP/2 connection was closed or a
    stream cancelled."""
    conn = H2(h2_site.port)
    one = conn.request("GET", "/clock/backend.php")
    assert conn.pump(lambda: one.pieces, 5 * SLOW)
    two = conn.request("GET", "/clock/backend.php")
    assert conn.pump(lambda: two.pieces or two.ended, 5 * SLOW)
    conn.cancel(one)
    h2_site.wait_waiting(1 if not two.ended else 0, timeout=5)
    conn.close()
    h2_site.wait_waiting(0, timeout=5)


def test_190_26_h2_vanished(make_server):
    """The server notices within two heartbeats if clients vanish without
    closing their connections."""
    server = make_server(mpm="event", h2=True, threads=16,
                         conf="CometParkHTTP2 off\nCometHeartbeat 1s\n"
                         "H2MaxWorkers 32\n")
    conns = [H2(server.port) for _ in range(4)]
    for conn in conns:
        stream = conn.request("GET", "/comet/h?since=0",
                              {"accept": "text/event-stream"})
        assert conn.pump(lambda: b"id: 0" in stream.body(), 5 * SLOW)
    server.wait_waiting(4, "events")
    for conn in conns:
        deafen(conn.sock)
    server.wait_waiting(0, timeout=8)
    assert server.status()["dropped"] == 4
    for conn in conns:
        conn.close()


def test_190_25_h2_reload_and_stop(h2_site):
    """A reload and a stop also end waits over HTTP/2."""
    h2_site.publish("x")
    with H2(h2_site.port) as conn:
        clock = conn.request("GET", "/clock/backend.php")
        assert conn.pump(lambda: clock.pieces, 5 * SLOW)
        old = h2_site.graceful()
        wait_until(lambda: not any(alive(p) for p in old), 5, "old children")
    with H2(h2_site.port) as conn:
        clock = conn.request("GET", "/clock/backend.php")
        assert conn.pump(lambda: clock.pieces, 5 * SLOW)
        assert h2_site.stop() < 6 * SLOW
