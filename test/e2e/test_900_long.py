# SPDX-License-Identifier: Apache-2.0
"""Tests with large numbers, which only `make check-long` runs."""

import os
import re
import statistics
import threading
import time

import pytest

from comet_load import Load, quantile
from followers import Followers
from httpd_env import (MPMS, SANITIZER, SLOW, fd_count, pss_kb, sqlite,
                       thread_count, wait_until)
from ledger import acknowledged, settle, wait_more
from reloads import reload_once

pytestmark = pytest.mark.long

# A small version of conf/tuned.conf: one child of MPM event with 25 threads. Of
# its 25 + 24 * 250 connections 80 % may wait, which is 4,820.
TUNED = """ServerLimit 1
StartServers 1
ThreadLimit 25
ThreadsPerChild 25
MaxRequestWorkers 25
MinSpareThreads 25
MaxSpareThreads 25
AsyncRequestWorkerFactor 250
MaxConnectionsPerChild 0
"""


@pytest.mark.event
@pytest.mark.bound(240)
def test_900_01_four_thousand(make_server, figure):
    """A single child with 25 threads holds 2,000 polls and 2,000 clocks."""
    server = make_server(mpm="event", mpm_conf=TUNED,
                         conf="CometMaxSubscribers 4500\n"
                              "CometPollTimeout 45s\nListenBacklog 2000\n")
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    child = server.children()[0]
    for _ in range(20):
        server.get("/static.txt")
    before = thread_count(child)
    memory = pss_kb(child)
    with Load(server.port) as load:
        begin = time.monotonic()
        clocks = load.hold(2000, "/clock/backend.php", keep_body=False,
                           timeout=60 * SLOW)
        polls = load.hold(2000, "/chat/backend.php?timestamp=%d" % cursor,
                          timeout=60 * SLOW)
        server.wait_waiting(4000, timeout=15)
        opened = time.monotonic() - begin
        assert thread_count(child) == before
        took, over = [], threading.Event()

        def files():
            while len(took) < 20 or not over.is_set():
                begin = time.monotonic()
                server.get("/static.txt")
                took.append(time.monotonic() - begin)

        # the burst: a message to all 2,000 while files are requested
        thread = threading.Thread(target=files, daemon=True)
        thread.start()
        begin = time.monotonic()
        server.publish("to all 2,000")
        load.wait(lambda: all(p.end_at for p in polls), 20 * SLOW,
                  "the publish to reach all 2,000")
        over.set()
        thread.join(30)
        reach = [p.end_at - begin for p in polls]
        assert all(b"to all 2,000" in p.body for p in polls)
        have = [len(c.pieces) for c in clocks]
        load.wait(lambda: all(len(c.pieces) >= n + 3
                              for c, n in zip(clocks, have)), 15 * SLOW,
                  "three more ticks on all clocks")
        assert not any(c.lost_at for c in clocks)
        assert thread_count(child) == before
        median = statistics.median(took)
        figure("4,000 open in %.1f s; %d threads before and "
               "after; file median %.1f ms; a publish reached 2,000 in "
               "p50 %.0f ms, max %.0f ms; %d KiB PSS for 4,000"
               % (opened, before, median * 1000,
                  quantile(reach, 0.5) * 1000, max(reach) * 1000,
                  pss_kb(child) - memory))
        assert median < 0.05 * SLOW, took
    server.wait_waiting(0, timeout=10)


@pytest.mark.bound(120)
@pytest.mark.parametrize("other", ["worker", "prefork"])
def test_900_03_reload_other_mpms(make_server, other, figure):
    """With the MPMs worker and prefork, a reload loses no message that is
    published meanwhile."""
    if other not in MPMS:
        pytest.skip(other + " not chosen")
    server = make_server(mpm=other, children=2, threads=32)
    with Followers(server, [("poll", 6, "chat", "/comet/chat")]) as pages, \
            Load(server.port) as load:
        server.wait_waiting(6)
        pubs = load.publish(2, "/comet/chat", "p", pause=0.02)
        wait_more(pubs, 100)
        took = reload_once(server)
        wait_more(pubs, 100)
        settle(server, load, pages, {"chat": pubs})
        server.wait_waiting(6)
        said = pages.tell("leave")
    server.wait_waiting(0)
    server.stop()
    assert said["cut"] == 0
    assert len(server.access_lines("GET /comet/chat?")) \
        == said["requests"] - said["unanswered"]
    figure("old children gone in %.2f s" % took)
    assert took < 3 * SLOW


@pytest.mark.event
@pytest.mark.bound(400)
def test_900_04_twenty_thousand_connects(make_server, figure):
    """20,000 connections of four kinds leave no descriptor, memory or thread
    behind."""
    threads = 4
    server = make_server(mpm="event",
                         mpm_conf=re.sub(r"\b25\b", str(threads), TUNED))
    child = server.children()[0]
    targets = ["/chat/backend.php", "/comet/x?since=0",
               "/clock/backend.php", "/static.txt"]

    def round_trip(load, number):
        conns = []
        for target in targets:
            conns += load.hold(100, target, timeout=30 * SLOW)
        if number % 10 == 3:
            server.publish("news %d" % number)
        load.drop(conns)
        if number % 10 == 3:
            sqlite(server.db, "DELETE FROM message;")
        server.wait_waiting(0, timeout=10)
        return fd_count(child), pss_kb(child), thread_count(child)

    with Load(server.port, connects_at_once=64) as load:
        # Warm up: each thread may keep one connection to the store, which takes
        # two descriptors and 256 KiB.
        warm = [round_trip(load, i) for i in range(10)]
        while max(f[0] for f in warm[-10:]) \
                > max(f[0] for f in warm[:-10] or [(0,)]) + 1:
            assert len(warm) < 100, "fds grow on: %r" % warm
            warm.append(round_trip(load, len(warm)))
        figures = [round_trip(load, i) for i in range(50)]
    early, late = figures[:5], figures[-5:]
    figure("20,000 connects: fds %d -> %d, PSS %d -> %d KiB, "
           "threads %d -> %d (after %d to warm up)"
           % (early[0][0], late[-1][0], early[0][1], late[-1][1],
              early[0][2], late[-1][2], 400 * len(warm)))
    assert late[-1][2] == early[0][2]
    assert late[-1][0] <= early[0][0] + 6 + 2 * threads, figures
    if SANITIZER == "none":
        assert statistics.median(f[1] for f in late) \
            - statistics.median(f[1] for f in early) \
            < 1024 + 256 * threads, figures


@pytest.mark.bound(240)
def test_900_05_outsiders_against_64(make_server, figure):
    """100 plain INSERTs take less than 500 ms each while 64 clients publish."""
    server = make_server(children=2, threads=64)
    took = []
    with Load(server.port) as load:
        pubs = load.publish(64, "/comet/busy", "p")
        wait_more(pubs, 500)
        start, have = time.monotonic(), acknowledged(pubs)
        for i in range(100):
            begin = time.monotonic()
            sqlite(server.db, "INSERT INTO message(channel, body) "
                   "VALUES('calm', 'm%d');" % i)
            took.append(time.monotonic() - begin)
        rate = (acknowledged(pubs) - have) / (time.monotonic() - start)
        load.finish(pubs)
        assert not any(p.errors for p in pubs)
        acked = sorted(a for p in pubs for a in p.acked)
        waits = [w for p in pubs for w in p.waits]
        refused = sum(p.refused for p in pubs)
    figure("%.0f messages/s beside; INSERT p50 %.0f ms, max "
           "%.0f ms; POST p99 %.0f ms, max %.0f ms; %d refused"
           % (rate, quantile(took, 0.5) * 1000, max(took) * 1000,
              quantile(waits, 0.99) * 1000, max(waits) * 1000, refused))
    assert max(took) < 0.5 * SLOW, sorted(took)[-5:]
    assert server.rows("calm") == ["m%d" % i for i in range(100)]
    assert server.rows("busy") == [text for _, text in acked]


@pytest.mark.event
@pytest.mark.bound(120)
def test_900_08_streams_outlive_timeout(make_server):
    """With Timeout 4, 500 clocks all last for 12 s."""
    server = make_server(mpm="event", mpm_conf=TUNED, timeout=4,
                         conf="CometTick 3s")
    with Load(server.port) as load:
        clocks = load.hold(500, "/clock/backend.php", keep_body=False)
        server.wait_waiting(500, timeout=10)
        load.wait(lambda: all(len(c.pieces) >= 5 or c.lost_at
                              for c in clocks), 30 * SLOW, "five ticks")
        assert not any(c.lost_at for c in clocks)


@pytest.mark.bound(240)
def test_900_09_retention_under_load(make_server):
    """Retention works during publishing and keeps the file small."""
    server = make_server(conf="CometRetain count=500")
    with Load(server.port) as load:
        pages = load.follow(5, "endpoint", "/comet/chat")
        pubs = load.publish(4, "/comet/chat", "p", each=1500)
        load.wait(lambda: all(p.stopped for p in pubs), 120 * SLOW,
                  "6,000 messages")
        load.wait(lambda: all(len(p.bodies) >= 6000 for p in pages),
                  60 * SLOW, "the pages")
        for page in pages:
            assert not page.errors
            assert len(set(page.bodies)) == 6000
        load.drop(pages)
    wait_until(lambda: len(server.rows("chat")) == 500, 15, "retention")
    assert os.path.getsize(server.db) < 4 << 20


@pytest.mark.event
@pytest.mark.bound(240)
def test_900_10_bursts_of_leaving(make_server):
    """After 100 clients leave at once, the child accepts immediately, 300
    times in a row.  (Without the module's help, httpd's listener may stop
    accepting.)"""
    server = make_server(mpm="event", mpm_conf=TUNED)
    slowest = 0.0
    with Load(server.port, connects_at_once=64) as load:
        for _ in range(300):
            load.drop(load.hold(100, "/clock/backend.php",
                                timeout=20 * SLOW))
            begin = time.monotonic()
            assert server.get("/static.txt", timeout=20).status == 200
            slowest = max(slowest, time.monotonic() - begin)
    assert slowest < 2.0 * SLOW, slowest
