# SPDX-License-Identifier: Apache-2.0
"""Ten thousand and more waiting clients, a million messages, and 100,000
connections.  Each client gets every message, and memory does not grow with
time."""

import json
import statistics
import time
from contextlib import ExitStack

import pytest

from followers import Followers
from httpd_env import SANITIZER, fd_count, pss_kb, thread_count, wait_until
from stream_client import EVENTS, Stream

pytestmark = [pytest.mark.long, pytest.mark.event,
              pytest.mark.skipif(SANITIZER != "none",
                                 reason="about memory and thousands")]

# as in conf/tuned.conf, for one or two children
TUNED = """ServerLimit {children}
StartServers {children}
ThreadLimit 64
ThreadsPerChild 64
MaxRequestWorkers {workers}
MinSpareThreads {workers}
MaxSpareThreads {workers}
AsyncRequestWorkerFactor 250
MaxConnectionsPerChild 0
ListenBacklog 4096
"""


def tuned(children):
    return TUNED.format(children=children, workers=64 * children)


def pss(server):
    return sum(pss_kb(pid) for pid in server.children())


def publish_batch(server, channel, first, count):
    """Publish `count` numbered messages in one request, and return their
    timestamps."""
    body = "".join(json.dumps({"body": "m%08d" % n}) + "\n"
                   for n in range(first, first + count))
    answer = server.request("POST", "/comet/" + channel, body.encode(),
                            {"Content-Type": "application/x-ndjson"})
    assert answer.status == 201, answer
    return answer.json()["timestamps"]


@pytest.mark.bound(300)
@pytest.mark.parametrize("children", [1, 2])
def test_920_01_streams(make_server, figure, children):
    """Each child holds 10,000 adopted streams without an additional thread, and
    every message reaches each of them."""
    clients = 10000 * children
    server = make_server(mpm="event", mpm_conf=tuned(children))
    group = ("events", 10000, "crowd", "/comet/crowd")
    with Followers(server, [("events", 300) + group[2:]]) as few:
        few.wait_open()             # each thread allocates some memory once
    server.wait_waiting(0)
    before = pss(server)
    threads = [thread_count(pid) for pid in server.children()]
    with ExitStack() as stack:
        # one process has descriptors for little more than 10,000 clients
        crowds = [stack.enter_context(Followers(server, [group]))
                  for _ in range(children)]
        for crowd in crowds:
            crowd.wait_open(120)
        server.wait_waiting(clients, "events", 30)
        assert server.status()["adopted"] == clients
        assert [thread_count(p) for p in server.children()] == threads
        each = (pss(server) - before) / clients
        for number in range(20):
            begin = time.monotonic()
            last = publish_batch(server, "crowd", number * 5, 5)[-1]
            assert server.get("/static.txt", timeout=5).status == 200
            for crowd in crowds:
                crowd.wait_all({"crowd": last}, 60)
            took = time.monotonic() - begin
        for crowd in crowds:
            crowd.judged()
            assert [text for _, text in crowd.log()["crowd"]] \
                == ["m%08d" % n for n in range(100)]
        figure("%d streams on %d: %.2f KiB PSS each; five messages reached "
               "all in %.2f s" % (clients, children, each, took))
    server.wait_waiting(0, timeout=30)


@pytest.mark.bound(300)
def test_920_02_polls(make_server, figure):
    """One child with 64 threads holds 10,000 parked polls, and every message
    reaches each of them."""
    server = make_server(mpm="event", mpm_conf=tuned(1),
                         conf="CometPollTimeout 45s\n")
    with Followers(server, [("poll", 10000, "crowd", "/comet/crowd")]) as crowd:
        crowd.wait_open(120)
        server.wait_waiting(10000, "poll", 30)
        for number in range(5):
            last = publish_batch(server, "crowd", number, 1)[-1]
            assert server.get("/static.txt", timeout=5).status == 200
            crowd.wait_all({"crowd": last}, 60)
        crowd.judged()
        figure("10,000 polls: %d KiB PSS in all" % pss(server))
    server.wait_waiting(0, timeout=30)


@pytest.mark.bound(400)
def test_920_03_a_million_messages(make_server, figure):
    """A stream delivers 1,000,000 messages, and memory does not grow."""
    server = make_server(mpm="event", mpm_conf=tuned(1),
                         conf="CometRetain count=20000\n")
    sizes = []
    sent = seen = 0
    with Stream(server, "/comet/flood") as stream:
        while sent < 1000000:
            publish_batch(server, "flood", sent, 1000)
            sent += 1000
            while seen < sent:
                stream.parser.feed(stream.conn.chunk())
                for event in stream.events:
                    assert event["data"] == "m%08d" % seen
                    seen += 1
                stream.events.clear()
            if sent % 50000 == 0:
                sizes.append(pss(server))
    early, late = statistics.median(sizes[3:7]), statistics.median(sizes[-4:])
    figure("PSS after 200,000 and after 1,000,000: %d, %d KiB" % (early, late))
    assert late - early < 1024, sizes


@pytest.mark.bound(400)
def test_920_04_hundred_thousand_connects(make_server, figure):
    """100,000 streams come and go, and leave no memory or descriptor behind."""
    server = make_server(mpm="event", mpm_conf=tuned(1))
    child = server.children()[0]
    figures = []
    for number in range(100):
        with Followers(server, [("events", 1000, "crowd",
                                 "/comet/crowd")]) as crowd:
            crowd.wait_open()
        wait_until(lambda: server.status()["adopted"] == 0, 10,
                   "all to have left")
        if number % 5 == 4:
            figures.append((pss(server), fd_count(child)))
    early, late = figures[3:7], figures[-4:]
    figure("PSS and descriptors after 20,000 connects: %r, after 100,000: %r"
           % (early[0], late[-1]))
    assert statistics.median(f[0] for f in late) \
        - statistics.median(f[0] for f in early) < 1024, figures
    assert late[-1][1] <= early[0][1] + 8, figures
    with server.raw() as conn:
        conn.request("GET", "/comet/crowd", EVENTS)
        assert conn.head() == 200
