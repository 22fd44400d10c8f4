# SPDX-License-Identifier: Apache-2.0
"""Streams that resume, and streams of clients that are slow or gone."""

import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from event_stream import EventStream    # in test/tools
from httpd_env import SLOW, sqlite, wait_until
from stream_client import EVENTS, Stream, post
from test_340_streams import SMALL

pytestmark = pytest.mark.both_paths


# -- resuming ------------------------------------------------------------------

class Listener(threading.Thread):
    """A thread that follows a stream as EventSource does: it reconnects with
    its last id."""

    def __init__(self, server, target):
        super().__init__(daemon=True)
        self.server, self.target = server, target
        self.got, self.connects, self.retries = [], 0, set()
        self.parser = EventStream(self.got.append)
        self.parser.last_id = "0"
        self.done = threading.Event()
        self.conn = None

    def run(self):
        while not self.done.is_set():
            try:
                with self.server.raw(timeout=20) as self.conn:
                    self.parser.begin()
                    self.conn.request("GET", self.target, dict(
                        EVENTS, **{"Last-Event-ID": self.parser.last_id}))
                    if self.conn.head() == 200:
                        self.connects += 1
                        self.follow()
            except (OSError, ValueError):
                self.done.wait(0.02)

    def follow(self):
        piece = self.conn.chunk()
        while piece and not self.done.is_set():
            self.parser.feed(piece)
            self.retries.add(self.parser.retry)
            piece = self.conn.chunk()

    def stop(self):
        self.done.set()
        try:
            self.conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.join(10)
        assert not self.is_alive(), "the listener hangs"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


def publish_till_stored(server, channel, text):
    """Publish a message. If the server is down it is unknown whether the
    message was stored, so look for the message before repeating it."""
    def stored():
        try:
            post(server, channel, text)
            return True
        except (OSError, ValueError, AssertionError):
            return text in server.rows(channel)
    wait_until(stored, 20, "%s to be stored" % text, 0.05)


def test_341_42_gap_while_it_listens(make_server, mpm):
    """Retention removes messages that a very slow client has not read yet. The
    client's stream ends before the hole. When the client reconnects with its
    cursor, it is told of the gap."""
    server = make_server(mpm=mpm, conf="CometRetain count=5\n"
                         "SendBufferSize 8192\n")
    with Stream(server, "/comet/g?since=0", rcvbuf=4096) as slow:
        server.wait_waiting(1)
        stamps = [post(server, "g", "%d " % i + "x" * 20000)
                  for i in range(60)]
        wait_until(lambda: len(server.rows("g")) == 5, 10 * SLOW,
                   "the retention")
        got = slow.until_end()
        assert 0 < len(got) < 55
        assert [t.split()[0] for t in got] == [str(i) for i in range(len(got))]
        assert re.search(rb"\nretry: (\d{1,2}|100)\n", slow.bytes)
        cursor = slow.events[-1]["id"]
    assert int(cursor) == stamps[len(got) - 1]
    with Stream(server, "/comet/g", {"Last-Event-ID": cursor}) as again:
        again.until(6)
        assert again.events[0]["type"] == "gap"
        assert [e["id"] for e in again.events[1:]] \
            == [str(stamp) for stamp in stamps[55:]]
        post(server, "g", "and on")
        assert again.until(7)[-1] == "and on"


@pytest.mark.bound(120)
@pytest.mark.parametrize("fault", ["reload", "restart", "kill"])
def test_341_50_resume(make_server, mpm, fault):
    """No message is lost or repeated, whatever happens to the server."""
    server = make_server(mpm=mpm, children=2, threads=8)
    server.allow_log += ["exit signal Killed", "AH00052", "AH00051"]
    with Listener(server, "/comet/r") as one, \
            Listener(server, "/comet/r") as two:
        number = 0
        for _ in range(3):
            for _ in range(12):
                publish_till_stored(server, "r", str(number))
                number += 1
            connects = one.connects, two.connects
            if fault == "reload":
                server.graceful()
            elif fault == "restart":
                server.stop()
                server.start()
            else:
                for pid in server.children():
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                wait_until(lambda: one.connects > connects[0]
                           and two.connects > connects[1], 15,
                           "the listeners to come back")
        for _ in range(12):
            publish_till_stored(server, "r", str(number))
            number += 1
        stored = server.rows("r")
        for listener in (one, two):
            wait_until(lambda: len(listener.got) >= len(stored), 20,
                       "all the messages")
            assert [e["data"] for e in listener.got] == stored
            assert listener.connects > 1
    assert sorted(set(stored), key=int) == [str(i) for i in range(number)]


def test_341_51_reload_and_stop_say_retry(make_server, mpm):
    """At a reload streams end with a retry field. The values differ, so that
    the clients do not all reconnect at once."""
    server = make_server(mpm=mpm, threads=25)
    streams = [Stream(server, "/comet/x?since=0") for _ in range(6)]
    try:
        server.wait_waiting(6, "events")
        server.graceful()
        retries = []
        for stream in streams:
            assert stream.until_end() == []
            assert re.search(rb"\n\n(:\n\n)*retry: \d+\n\n$", stream.bytes), \
                stream.bytes
            retries.append(stream.parser.retry)
        assert all(0.1 <= r <= 2.0 for r in retries), retries
        assert len(set(retries)) > 1, retries
    finally:
        for stream in streams:
            stream.conn.close()
    if mpm == "event":  # other MPMs end streams without a retry field (README)
        streams = [Stream(server, "/comet/x?since=0") for _ in range(3)]
        server.wait_waiting(3, "events")
        server.stop()
        for stream in streams:
            assert stream.until_end() == []
            assert stream.bytes.endswith(b"\n\n"), stream.bytes
            assert stream.parser.retry != 1.0, stream.bytes
            stream.conn.close()


def test_341_52_slow_reader(make_server, mpm):
    """A slow reader gets 5,000 messages, and delays no other client."""
    server = make_server(mpm=mpm, conf=SMALL)
    sqlite(server.db, "BEGIN;" + "".join(
        "INSERT INTO message(channel, body) VALUES('slow', '%d %s');"
        % (i, "x" * 100) for i in range(5000)) + "COMMIT;")
    with Stream(server, "/comet/slow?since=0", rcvbuf=4096) as slow:
        wait_until(lambda: server.waiting("events") == 1, 5, "the stream")
        with Stream(server, "/comet/other?since=0") as other:
            begin = time.monotonic()
            post(server, "other", "quick")
            assert other.until(1) == ["quick"]
            assert time.monotonic() - begin < 2 * SLOW
        post(server, "slow", "live 1")
        while len(slow.events) < 2500:
            assert slow.step()
        post(server, "slow", "live 2")
        got = slow.until(5002)
    assert [int(d.split()[0]) for d in got[:5000]] == list(range(5000))
    assert got[5000:] == ["live 1", "live 2"]
    server.wait_waiting(0)


def test_341_53_burst_while_it_writes(make_server, mpm):
    """Messages that arrive while another message is being written are not lost,
    even if a waiting thread leaves the hub in order to write."""
    server = make_server(mpm=mpm)
    with Stream(server, "/comet/burst?since=0") as stream:
        for i in range(30):
            sqlite(server.db, "".join(
                "INSERT INTO message(channel, body) VALUES('burst', '%d');"
                % (i * 10 + k) for k in range(10)))
        assert stream.until(300) == [str(i) for i in range(300)]
        stamps = [int(e["id"]) for e in stream.events]
        assert stamps == sorted(set(stamps))


def test_341_54_stuck_reader(make_server):
    """A client that reads nothing is dropped after Timeout. With its cursor it
    later gets the messages that it missed."""
    server = make_server(timeout=2, conf=SMALL)
    text = "x" * 60000
    with Stream(server, "/comet/stuck?since=0", rcvbuf=4096) as stuck, \
            Stream(server, "/comet/stuck?since=0") as good:
        for i in range(80):
            post(server, "stuck", "%d %s" % (i, text))
            assert len(good.until(i + 1)) == i + 1
        server.wait_waiting(1, "events", timeout=15)
        try:
            stuck.until_end()
        except (OSError, ValueError):
            pass
        last = stuck.parser.last_id
    with Stream(server, "/comet/stuck",
                {"Last-Event-ID": last}) as again:
        left = 80 - len(stuck.events)
        assert left > 0
        assert [int(d.split()[0]) for d in again.until(left)] \
            == list(range(80 - left, 80))


def test_341_55_other_children(make_server, mpm):
    """All streams, in whichever child they are, get what any child or program
    publishes, in the same order."""
    server = make_server(mpm=mpm, children=3, threads=8)
    streams = [Stream(server, "/comet/all?since=0") for _ in range(9)]
    try:
        for i in range(20):
            if i % 4:
                post(server, "all", str(i))
            else:
                sqlite(server.db, "INSERT INTO message(channel, body) "
                       "VALUES('all', '%d');" % i)
        for stream in streams:
            assert stream.until(20) == [str(i) for i in range(20)]
        assert len({tuple(e["id"] for e in s.events) for s in streams}) == 1
    finally:
        for stream in streams:
            stream.conn.close()


# -- clients that misbehave ----------------------------------------------------

@pytest.mark.parametrize("mpm_name", ["event", "worker"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_341_80_departed(make_server, mpm_name, tls):
    """The server soon notices that a client has left, whatever the client sent
    before, even a close_notify of TLS."""
    server = make_server(mpm=mpm_name, tls=tls, threads=8)
    for words in (b"", b"\r\n", b"junk"):
        conns = []
        for _ in range(3):
            conn = server.raw(tls=tls)
            conn.request("GET", "/comet/gone?since=0", EVENTS)
            assert conn.head() == 200
            conns.append(conn)
        for conn in conns:
            if words:
                conn.send(words)
            if tls:
                conn.sock.settimeout(0.05)
                try:
                    conn.sock.unwrap()
                except (OSError, ValueError):
                    pass        # the server's data was on its way
            conn.close()
        server.wait_waiting(0, timeout=3)


def test_341_81_tls_slow_reader(make_server):
    """A client that reads slowly over TLS gets all messages, although its
    stream ends again and again."""
    server = make_server(tls=True, timeout=3, conf=SMALL + "<Location /comet/short>\n"
                         "CometMaxLifetime 1s\n</Location>\n")
    sqlite(server.db, "BEGIN;" + "".join(
        "INSERT INTO message(channel, body) VALUES('short/slow', '%d %s');"
        % (i, "x" * 300) for i in range(3000)) + "COMMIT;")
    got, last = [], "0"
    for _ in range(50):
        with server.raw(tls=True, rcvbuf=4096) as conn:
            parser = EventStream(got.append)
            parser.last_id = last
            conn.request("GET", "/comet/short/slow", dict(
                EVENTS, **{"Last-Event-ID": last}))
            assert conn.head() == 200
            for piece in iter(conn.chunk, b""):
                parser.feed(piece)
            last = parser.last_id
        assert parser.retry != 1.0
        if len(got) == 3000:
            break
    assert [int(e["data"].split()[0]) for e in got] == list(range(3000))
    server.wait_waiting(0)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_341_82_more_bytes_behind_a_large_answer(make_server, connection):
    """A client that sends further bytes while it receives an answer still gets
    the whole answer. (Old clients send an extra line end after a request.)"""
    server = make_server(conf=SMALL)
    for _ in range(4):
        post(server, "large", "x" * 60000)
    for when in range(6):
        with server.raw(rcvbuf=4096) as conn:
            conn.request("GET", "/comet/large?since=0&wait=0",
                         {"Connection": connection})
            assert conn.head() == 200
            for _ in range(when):
                conn.exactly(9000)
                conn.left -= 9000
            conn.send(b"\r\n")
            time.sleep(0.05)        # so that the server sees the bytes
            size = int(conn.headers["content-length"])
            assert len(conn.body()) == size - when * 9000


@pytest.mark.parametrize("transport", ["poll", "events"])
def test_341_84_slower_than_timeout(make_server, mpm, transport):
    """A client that keeps reading gets its whole answer, even if this takes
    longer than Timeout."""
    server = make_server(mpm=mpm, timeout=2, conf=SMALL)
    for _ in range(4):
        post(server, "large", "x" * 60000)
    with server.raw(rcvbuf=4096) as conn:
        conn.request("GET", "/comet/large?since=0&wait=0&transport="
                     + transport)
        assert conn.head() == 200
        begin, got = time.monotonic(), b""
        while len(got) < 240000:
            piece = conn.chunk()
            assert piece, "cut off at %d" % len(got)
            got += piece
            time.sleep(max(0.0, begin + len(got) / 50000 - time.monotonic()))
        assert time.monotonic() - begin > 4
        if transport == "poll":     # the connection can still be used
            got += conn.body()
            assert len(json.loads(got)["messages"]) == 4
            time.sleep(0.2)
            conn.request("GET", "/static.txt")
            assert conn.answer().status == 200
