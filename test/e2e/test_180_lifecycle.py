# SPDX-License-Identifier: Apache-2.0
"""Reloads, stops and replaced children while clients wait."""

import json
import signal
import threading
import time

import pytest

from http_client import Closed, Poller, quote
from httpd_env import MPMS, SLOW, alive, fd_count, thread_count, wait_until


def hold_clocks(server, count):
    conns = []
    for _ in range(count):
        conn = server.raw(timeout=20)
        conn.request("GET", "/clock/backend.php")
        assert conn.head() == 200
        conn.chunk()
        conns.append(conn)
    return conns


def many(mpm, event, other):
    """Choose how many clients wait: the event MPM can hold more than the other
    MPMs."""
    return event if mpm == "event" else other


def read_to_end(conn):
    """Read a stream up to its last chunk; return whether the connection then
    closes."""
    while conn.chunk():
        pass
    return conn.at_eof(5)


@pytest.mark.parametrize("children", [1, 2])
def test_180_01_graceful(make_server, mpm, children):
    """A reload ends every wait: polls get the no-news answer, and streams end
    cleanly. No client loses a message. The old children are gone within a few
    seconds."""
    server = make_server(mpm=mpm, children=children, threads=32)
    count = many(mpm, 30, 4)
    pages = [Poller(server.port, timeout=30) for _ in range(count)]
    clocks = hold_clocks(server, many(mpm, 10, 2))
    try:
        for page in pages:
            page.start()
        server.wait_waiting(count, "classic")
        server.publish("before")
        for page in pages:
            page.wait_for(1, 5 * SLOW)
        server.wait_waiting(count, "classic")
        cursor = pages[0].cursor
        begin = time.monotonic()
        old = server.graceful()
        wait_until(lambda: not any(alive(p) for p in old), 5,
                   "the old children to be gone")
        assert time.monotonic() - begin < 5 * SLOW
        for conn in clocks:
            assert read_to_end(conn), "a stream without a clean end"
        for page in pages:
            wait_until(lambda p=page: p.quiet, 3, "the no-news answer")
            assert page.quiet[0] == cursor
        server.wait_waiting(count, "classic")
        server.publish("after")
        for page in pages:
            assert page.wait_for(2, 5 * SLOW) == ["before", "after"]
            assert not page.failures
    finally:
        for conn in clocks:
            conn.close()
        for page in pages:
            page.done.set()
        for page in pages:
            page.stop()


def test_180_02_stop(make_server, mpm):
    """A stop takes only a few seconds although clients wait.  On the event MPM
    polls get their complete no-news answer.  Worker and prefork cut the
    sockets, but never in the middle of a poll's body."""
    server = make_server(mpm=mpm, threads=32)
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    held = []
    for _ in range(many(mpm, 20, 4)):
        conn = server.raw(timeout=20)
        conn.request("GET", "/chat/backend.php?timestamp=%d" % cursor)
        assert conn.head() == 200
        held.append(conn)
    conn = server.raw(timeout=20)
    conn.request("GET", "/comet/chat?since=%d" % cursor)
    clocks = hold_clocks(server, many(mpm, 10, 2))
    server.wait_waiting(len(held) + 1 + len(clocks))
    took = server.stop()
    assert took < 5 * SLOW, took
    for poll in held:
        try:
            assert json.loads(poll.body()) == {"msg": "",
                                               "timestamp": cursor}
            assert poll.at_eof(3)
        except ConnectionError:
            assert mpm != "event" and poll.buffer == b""
        poll.close()
    try:
        answer = conn.answer()
        assert answer.json()["messages"] == []
        assert answer.json()["timestamp"] == cursor
    except ConnectionError:
        assert mpm != "event"
    conn.close()
    for clock in clocks:
        try:
            read_to_end(clock)
        except (Closed, ConnectionError):
            pass                    # a stop may cut a clock
        clock.close()


def test_180_03_graceful_stop(make_server, mpm):
    """A graceful stop (SIGWINCH) ends although clients wait."""
    server = make_server(mpm=mpm, threads=32)
    held = []
    for _ in range(many(mpm, 20, 3)):
        conn = server.raw(timeout=20)
        conn.request("GET", "/chat/backend.php")
        assert conn.head() == 200
        held.append(conn)
    server.wait_waiting(len(held))
    begin = time.monotonic()
    kids = server.children()
    server.proc.send_signal(signal.SIGWINCH)
    server.proc.wait(15 * SLOW)
    assert time.monotonic() - begin < 6 * SLOW
    wait_until(lambda: not any(alive(p) for p in kids), 3, "the children")
    server.proc = None
    for conn in held:
        assert json.loads(conn.body())["msg"] == ""
        conn.close()


@pytest.mark.bound(90)
def test_180_04_reloads_while_publishing(make_server, mpm):
    """During reloads every client receives all messages in order, and the
    access log has one line for each request."""
    server = make_server(mpm=mpm, children=2, threads=32)
    pages = [Poller(server.port, timeout=30)
             for _ in range(many(mpm, 10, 4))]
    sent, problems, stop = [], [], threading.Event()
    publishes = [0]

    def publisher():
        number = 0
        while not stop.is_set():
            text = "m%d" % number
            try:
                publishes[0] += 1
                answer = server.get("/chat/backend.php?msg=" + quote(text))
            except (OSError, ValueError) as err:
                # it is unknown whether this message was stored
                problems.append(repr(err))
                return
            if answer.status == 200:
                sent.append(text)
                number += 1
            elif answer.status != 503:
                problems.append(repr(answer))
                return
            stop.wait(0.02)

    thread = threading.Thread(target=publisher, daemon=True)
    try:
        for page in pages:
            page.start()
        server.wait_waiting(len(pages), "classic")
        thread.start()
        for _ in range(3 if mpm == "event" else 1):
            have = len(sent)
            wait_until(lambda h=have: len(sent) >= h + 20 or problems, 10,
                       "20 more messages")
            old = server.graceful()
            wait_until(lambda o=old: not any(alive(p) for p in o), 3,
                       "the old children to be gone")
        have = len(sent)
        wait_until(lambda: len(sent) >= have + 20 or problems, 10, "more")
        stop.set()
        thread.join(10)
        assert not problems, problems
        for page in pages:
            assert page.wait_for(len(sent), 15 * SLOW) == sent
            assert not page.failures, page.failures
        server.wait_waiting(len(pages), "classic")
    finally:
        stop.set()
        for page in pages:
            page.done.set()
        for page in pages:
            page.stop()
    server.wait_waiting(0)
    server.stop()
    # Each page sent the polls that were answered, and a last one that it
    # cancelled.
    polls = sum(p.answered + 1 for p in pages)
    lines = [x for x in server.access_lines("timestamp=")]
    assert len(lines) == polls
    assert len(server.access_lines("?msg=")) == publishes[0]


def test_180_05_new_configuration(make_server):
    """A reload applies a changed configuration."""
    server = make_server(conf="CometPollTimeout 10s")
    server.publish("x")
    server.conf = ("CometPollTimeout 500ms\nCometReplay 0\n"
                   "CometClassic /new/backend.php new\n")
    server.conf_path(server.config_text())
    old = server.graceful()
    wait_until(lambda: not any(alive(p) for p in old), 5, "old children")
    begin = time.monotonic()
    assert server.get("/chat/backend.php").json()["msg"] == ""
    assert time.monotonic() - begin < 3 * SLOW
    assert server.get("/new/backend.php?msg=x").status == 200


def test_180_06_reload_and_counters(make_server, mpm):
    """After a reload, once all clients have left, every counter of waiting
    clients is 0."""
    server = make_server(mpm=mpm, children=2, threads=32)
    for _ in range(2):
        conns = hold_clocks(server, 3)
        polls = []
        for _ in range(3):
            conn = server.raw()
            conn.request("GET", "/chat/backend.php")
            conn.head()
            polls.append(conn)
        server.wait_waiting(6)
        old = server.graceful()
        wait_until(lambda o=old: not any(alive(p) for p in o), 5, "old")
        for conn in conns + polls:
            conn.close()
        server.wait_waiting(0)
    # a new process runs for a moment before it is counted
    wait_until(lambda: server.status()["children"] == len(server.children()),
               5, "all children to be counted")


@pytest.mark.event
@pytest.mark.both_paths
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_180_10_asked_of_an_old_child(make_server, accept):
    """The last bytes of a request arrive when its child is already ending. The
    answer is complete, and closes the connection so that the client's next
    request goes to another child."""
    server = make_server(threads=8)
    cursor = server.post("chat", "one")
    with server.raw(timeout=20) as conn:
        conn.send(b"GET /comet/chat?since=%d HTTP/1.1\r\nHost: localhost\r\n"
                  % cursor)
        wait_until(lambda: server.has_read(conn), 5, "a thread that reads it")
        old = server.graceful()
        conn.send(b"Accept: %s\r\n\r\n" % accept.encode())
        assert conn.head() == 200
        assert conn.headers["connection"] == "close"
        if "event" in accept:
            assert conn.framing == "chunked"
            assert b"retry: " in conn.body()
        else:
            assert json.loads(conn.body())["messages"] == []
        assert conn.at_eof(5)
    wait_until(lambda: not any(map(alive, old)), 5, "the old ones' end")


BUSY = [pytest.param(mpm, sign, id="%s-%s" % (mpm, sign.name))
        for mpm in MPMS for sign in (signal.SIGUSR1, signal.SIGWINCH)
        if mpm == "prefork" or sign == signal.SIGUSR1]


@pytest.mark.parametrize("mpm,sign", BUSY)
def test_180_11_streams_of_a_busy_child_end(make_server, mpm, sign):
    """At a graceful reload or stop, streams end although each child is still
    reading another client's request. That request is then served."""
    server = make_server(mpm=mpm, threads=8, timeout=30, mpm_conf=(
        "StartServers 3\nMinSpareServers 1\nMaxSpareServers 3\n"
        "ServerLimit 3\nMaxRequestWorkers 3\n")
        if mpm == "prefork" else None)
    streams = []
    for target in ("/comet/a", "/comet/a?transport=iframe") * 3:
        streams.append(server.raw(timeout=20))
        streams[-1].request("GET", target, {"Accept": "text/event-stream"})
        assert streams[-1].head() == 200
    wait_until(lambda: server.status()["adopted"] == len(streams), 5,
               "adopted streams")
    uploads = [server.raw(timeout=20) for _ in range(3)]
    for upload in uploads:
        upload.send(b"POST /comet/b HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: text/plain\r\nContent-Length: 3\r\n"
                    b"\r\na")
        wait_until(lambda u=upload: server.has_read(u), 5, "a busy thread")
    server.proc.send_signal(sign)
    for stream in streams:
        assert read_to_end(stream), "a stream without a clean end"
        stream.close()
    for upload in uploads:
        upload.send(b"bc")
        assert upload.head() == 201
        upload.close()
    if sign == signal.SIGWINCH:
        server.proc.wait(15 * SLOW)
        server.proc = None


@pytest.mark.bound(90)
def test_180_07_children_recycled(make_server, mpm):
    """MaxConnectionsPerChild replaces children while clients wait. The clients
    miss no message."""
    server = make_server(mpm=mpm, children=2, threads=8, conf=(
        "MaxConnectionsPerChild 25\n"))
    first = set(server.children())
    pages = [Poller(server.port, timeout=30) for _ in range(3)]
    want = []
    try:
        for page in pages:
            page.start()
        for i in range(150):
            server.publish("m%d" % i)
            want.append("m%d" % i)
        for page in pages:
            assert page.wait_for(len(want), 20 * SLOW) == want
            assert not page.failures, page.failures
    finally:
        for page in pages:
            page.done.set()
        for page in pages:
            page.stop()
    assert set(server.children()) != first, "no child was replaced"


def test_180_08_history_at_the_next_start(make_server):
    """After a stop and a start the history is still there, and timestamps
    continue to increase."""
    server = make_server()
    server.publish("one")
    first = server.get("/chat/backend.php").json()["timestamp"]
    server.stop()
    server.start()
    server.publish("two")
    data = server.get("/chat/backend.php?timestamp=%d" % first).json()
    assert data["msg"] == "two" and data["timestamp"] > first
    assert server.rows("chat") == ["one", "two"]


def test_180_09_waiters_over_many_reloads_leave_nothing(make_server):
    """After ten quick reloads with a waiting client, one child is left, and the
    parent has no more open files and threads than before."""
    server = make_server(children=1)
    before = fd_count(server.pid), thread_count(server.pid)
    with Poller(server.port, timeout=30) as page:
        for i in range(10):
            server.graceful()
            server.publish("m%d" % i)
        assert page.wait_for(10, 10 * SLOW) \
            == ["m%d" % i for i in range(10)]
        assert not page.failures
    wait_until(lambda: len(server.children()) == 1, 10, "one child")
    assert (fd_count(server.pid), thread_count(server.pid)) == before
