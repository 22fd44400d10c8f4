# SPDX-License-Identifier: Apache-2.0
"""Requests over HTTP/2 and TLS that wait without a thread ("ghosts"): what
clients see, and what a ghost costs.  (test_617 runs some of these tests in
clear text.)"""

import json
import os
import re
import time

import pytest

from h2_client import H2Tls
from http_client import Closed
from httpd_env import MODULES, SLOW, alive, thread_count, wait_until
from test_491_cheap import ANNA, fill, groups_server, set_groups

pytestmark = pytest.mark.event

ON = "CometParkHTTP2 on\nCometReplay 0\n"
EVENTS = "/comet/news?transport=events"
# The windows of Chromium, of node and nghttp, of Firefox, and of curl.
WINDOWS = [(6291456, 15663105), (65535, 0), (131072, 12517377), (65535, 1 << 20)]


def numbers(stream):
    return [int(n) for n in re.findall(rb"data: (\d+)\n", stream.body())]


def open_streams(conn, count):
    streams = [conn.request("GET", EVENTS) for _ in range(count)]
    assert conn.pump(lambda: all(s.status == 200 for s in streams),
                     5 * SLOW), "streams that do not open"
    return streams


def wait_ghosts(server, count, timeout=5):
    wait_until(lambda: server.status()["ghosts"] == count, timeout,
               "%d ghosts" % count)


@pytest.fixture
def site(make_server):
    server = make_server(tls=True, h2=True, threads=16,
                         conf=ON + "KeepAliveTimeout 5\n")
    with open(os.path.join(server.docroot, "large.bin"), "wb") as file:
        file.write(os.urandom(3000000))
    return server


@pytest.mark.parametrize("window,wider", WINDOWS)
def test_601_01_streams_polls_and_files_on_one_connection(
        site, window, wider):
    """Streams and a poll wait without a thread.  Meanwhile a file, POSTs and
    long messages pass, and the server never exceeds a window."""
    with open(os.path.join(site.docroot, "large.bin"), "rb") as file:
        large = file.read()
    with H2Tls(site.tls_port, window, wider) as conn:
        streams = open_streams(conn, 3)
        poll = conn.request("GET", "/comet/other?transport=poll")
        wait_ghosts(site, 4)
        assert site.status()["blocked"] == 0
        file = conn.finish(conn.request("GET", "/large.bin"), 20 * SLOW)
        assert file.body() == large
        site.post("other", "polled")
        conn.finish(poll, 5 * SLOW)
        assert json.loads(poll.body())["messages"][0]["body"] == "polled"
        for number in range(40):
            assert conn.finish(conn.request(
                "POST", "/comet/news", {"content-type": "text/plain"},
                b"%d" % number), 5 * SLOW).status == 201
            site.post("news", "x" * 5000)
        assert conn.pump(lambda: all(numbers(s) == list(range(40))
                                     for s in streams), 10 * SLOW), \
            [numbers(s) for s in streams]
        conn.cancel(streams[0])
        wait_ghosts(site, 2)
        site.post("news", "40")
        assert conn.pump(lambda: all(numbers(s)[-1] == 40
                                     for s in streams[1:]), 5 * SLOW)
    wait_ghosts(site, 0)


def test_601_02_no_thread(site):
    """A hundred ghosts of one connection need no additional thread. One more
    stream waits in a thread."""
    with H2Tls(site.tls_port) as conn:
        conn.finish(conn.request("GET", "/static.txt"), 5 * SLOW)
        before = thread_count(site.children()[0])
        streams = []
        for _ in range(20):
            streams += open_streams(conn, 5)
        wait_ghosts(site, 100)
        assert thread_count(site.children()[0]) <= before + 1
        open_streams(conn, 1)
        wait_until(lambda: site.status()["blocked"] == 1, 5, "a thread")
        site.post("news", "1")
        assert conn.pump(lambda: all(numbers(s) == [1] for s in streams),
                         5 * SLOW)
    wait_ghosts(site, 0)


def test_601_03_a_client_that_grants_nothing(site):
    """If a client grants no more window, its messages wait until it grants
    some.  Other requests on its connection are served meanwhile."""
    with H2Tls(site.tls_port, 65535, 1 << 24) as conn:
        conn.grants = False
        stream, other = open_streams(conn, 2)
        for _ in range(30):
            site.post("news", "x" * 5000)
        site.post("news", "1")
        conn.pump(lambda: False, 0.5)
        assert numbers(stream) == []
        assert conn.finish(conn.request("GET", "/static.txt"),
                           5 * SLOW).status == 200
        conn.grants = True
        for ident in (0, 1, 3):
            conn.grant(ident)
        assert conn.pump(lambda: numbers(stream) == numbers(other) == [1],
                         10 * SLOW)


def test_601_04_beside_a_long_request(make_server):
    """A request that keeps the connection's thread busy does not delay
    messages."""
    server = make_server(tls=True, h2=True, threads=16, conf=ON)
    with H2Tls(server.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        conn.request("GET", "/clock/backend.php")
        wait_until(lambda: server.status()["blocked"] == 1, 5, "a thread")
        for number in range(5):
            begin = time.monotonic()
            server.post("news", str(number))
            assert conn.pump(lambda n=number: numbers(stream)[-1:] == [n],
                             5 * SLOW)
            assert time.monotonic() - begin < 0.2 * SLOW


def test_601_05_past_timeout_and_keep_alive(make_server):
    """Messages keep a connection open for longer than Timeout.  Without streams
    it ends after KeepAliveTimeout."""
    server = make_server(tls=True, h2=True, timeout=4,
                         conf=ON + "KeepAliveTimeout 1\n")
    with H2Tls(server.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        for number in range(5):
            server.post("news", str(number))
            assert conn.pump(lambda n=number: numbers(stream)[-1:] == [n],
                             5 * SLOW), "cut off"
            time.sleep(1)
        conn.cancel(stream)
        wait_ghosts(server, 0)
        begin = time.monotonic()
        with pytest.raises(Closed):
            conn.pump(lambda: False, 10 * SLOW)
        assert time.monotonic() - begin < 3.5 * SLOW, "not before Timeout"


def test_601_06_graceful(site):
    """At a reload each stream ends properly with a retry field, and each poll
    is answered."""
    with H2Tls(site.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        poll = conn.request("GET", "/comet/other?transport=poll")
        wait_ghosts(site, 2)
        site.graceful()
        conn.finish(stream, 5 * SLOW)
        conn.finish(poll, 5 * SLOW)
        assert b"retry: " in stream.body()
        assert json.loads(poll.body())["messages"] == []


def test_601_06b_slow_reader_over_a_reload(site):
    """After a graceful reload a client goes on reading a long answer, however
    long that takes.  One that grants no more window holds the old child for a
    short time only."""
    text = "x" * 60000
    with H2Tls(site.tls_port, window=8192) as conn, \
            H2Tls(site.tls_port, window=8192) as stuck:
        polls = [c.request("GET", "/comet/other?transport=poll")
                 for c in (conn, stuck)]
        wait_ghosts(site, 2)
        conn.grants = stuck.grants = False
        site.post("other", text)
        assert conn.pump(lambda: len(polls[0].body()) == 8192, 5 * SLOW)
        old = site.graceful()
        end = time.monotonic() + 2.5    # the limit for streams is 2 s
        while time.monotonic() < end:
            assert conn.pump(lambda: not conn.credit[1], 5 * SLOW)
            conn.used[1] = 1024         # to read slowly
            conn.grant(1)
            assert not conn.pump(lambda: polls[0].ended, 0.1)
        assert any(map(alive, old))     # it sends the rest
        conn.credit[1], conn.grants = 0, True
        conn.used[1] = 1 << 20
        conn.grant(1)
        conn.finish(polls[0], 5 * SLOW)
        message, = json.loads(polls[0].body())["messages"]
        assert message["body"] == text
        conn.close()
        wait_until(lambda: not any(map(alive, old)), 10, "the old child's end")


def test_601_07_access_log(site):
    """A stream has one line in the access log, written at its end, with its
    size in bytes."""
    with H2Tls(site.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        site.post("news", "1")
        assert conn.pump(lambda: numbers(stream) == [1], 5 * SLOW)
        assert not site.access_lines("GET " + EVENTS)
        conn.cancel(stream)
        wait_until(lambda: site.access_lines("GET " + EVENTS), 5, "the line")
        lines = site.access_lines("GET " + EVENTS)
        assert len(lines) == 1 and " 200 %d " % len(stream.body()) in lines[0]


def test_601_08_their_time_is_over(make_server):
    """A stream ends properly after CometMaxLifetime, and gets no later
    message."""
    server = make_server(tls=True, h2=True,
                         conf=ON + "CometMaxLifetime 1s\n")
    with H2Tls(server.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        poll = conn.request("GET", "/comet/other?transport=poll")
        wait_ghosts(server, 2)
        conn.finish(stream, 5 * SLOW)
        server.post("news", "1")
        assert b"retry: " in stream.body() and numbers(stream) == []
        assert not poll.ended       # (a poll has no such limit)
    wait_ghosts(server, 0)


@pytest.mark.parametrize("what, conf, method, path, reason", [
    ("the clock", "", "GET", "/clock/backend.php", "it is a clock"),
    ("a log", 'CustomLog logs/more.log "%U" "expr=-U \'/\'"\n', "GET", EVENTS,
     "an access log can write its line only while the request exists"),
    ("a filter", "LoadModule ratelimit_module {modules}/mod_ratelimit.so\n"
     "<Location /comet>\nSetOutputFilter RATE_LIMIT\n</Location>\n",
     "GET", EVENTS, "an output filter may hold back bytes")])
def test_601_09_why_with_a_thread(make_server, what, conf, method, path,
                                  reason):
    """Requests that cannot wait without a thread are counted, and the log says
    once why."""
    server = make_server(tls=True, h2=True,
                         conf=ON + conf.replace("{modules}", MODULES))
    with H2Tls(server.tls_port) as conn:
        for _ in range(2):
            conn.request(method, path)
        wait_until(lambda: server.status()["blocked"] == 2, 5 * SLOW, what)
        status = server.status()
        assert status["ghosts"] == 0 and status["http2_threads"] == 2
        lines = [line for line in server.error_log().splitlines()
                 if reason in line]
        assert len(lines) == 1, lines


def test_601_10_only_the_new_channel_is_judged(make_server):
    """A stream ends when its wildcard matches a new channel.  When the client
    returns, only this channel is authorised, and the client may still read the
    others."""
    server = groups_server(make_server, tls=True, h2=True, conf=ON)
    path = "/comet?transport=events&channel=r/*&since=0"
    with H2Tls(server.tls_port) as conn:
        first = conn.request("GET", path, ANNA)
        wait_ghosts(server, 1)
        assert conn.pump(lambda: b"first" in first.body(), 5 * SLOW)
        set_groups(server, "old: bert\n")
        fill(server, [("r/new", "second")])
        conn.finish(first, 5 * SLOW)
        last = re.findall(rb"id: (\d+)", first.body())[-1].decode()
        again = conn.request("GET", path, dict(ANNA, **{"Last-Event-ID": last}))
        assert conn.pump(lambda: b"second" in again.body(), 5 * SLOW), \
            (again.status, again.body())
        other = conn.finish(conn.request(
            "GET", path + "&limit=5", ANNA), 5 * SLOW)
        assert other.status in (-1, 401, 403) or b"retry: " in other.body()


def test_601_11_fields_of_the_answer_in_a_log(make_server):
    """A log that shows a header of the answer shows the header's true value."""
    server = make_server(tls=True, h2=True, conf=ON
                         + 'CustomLog logs/more.log "%U %{Content-Type}o"\n')
    with H2Tls(server.tls_port) as conn:
        stream = open_streams(conn, 1)[0]
        wait_ghosts(server, 1)
        conn.cancel(stream)
        wait_ghosts(server, 0)

    def line():
        with open(os.path.join(server.root, "logs", "more.log")) as log:
            return [l for l in log if l.startswith("/comet/news")]
    wait_until(line, 5, "the line")
    assert line() == ["/comet/news text/event-stream\n"]
