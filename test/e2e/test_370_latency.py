# SPDX-License-Identifier: Apache-2.0
"""A new client gets the stored messages soon, and reading a long history does
not hold back the checkpoints of the log."""

import json
import os
import statistics
import time

import pytest

from comet_load import Load
from httpd_env import SLOW, give, sqlite

JOINS = 50
STORED = 1000
MANY = 100000
# The writer makes a checkpoint every 500 pages of 4 KiB.  From 2,000 pages on
# it waits for readers, so that the log can restart from its beginning.  While a
# reader keeps its snapshot, each message published here makes the log 6.5 KB
# longer.
PUBLISHED = 5000
WAL_BYTES = 12 << 20
REST_BYTES = 9 << 20


def fill(server, channel, count, size):
    """Store messages in one transaction.  Each text begins with the message's
    number, and is `size` bytes long."""
    sqlite(server.db, """
      WITH RECURSIVE number(i) AS
        (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < %d)
      INSERT INTO message(channel, body)
        SELECT '%s', substr(CAST(10000000 + i AS TEXT), 2) || ' %s'
        FROM number;""" % (count, channel, "x" * (size - 8)), timeout_ms=60000)


def join(server, channel, last):
    """Return the seconds from a stream's request to the arrival of its last
    stored message, and the stream's text."""
    with server.raw() as conn:
        request = conn.format("GET", "/comet/%s?since=0&transport=events"
                              % channel)
        begin = time.monotonic()
        conn.send(request)
        conn.head()
        text = conn.chunk()
        while last not in text[-400:]:
            text += conn.chunk()
        return conn.stamp - begin, text


def joins(server, figure):
    """Return the median time in which a new stream gets STORED messages."""
    fill(server, "join", STORED, 100)
    last = b"\ndata: %07d " % STORED
    took = []
    for _ in range(JOINS):
        seconds, text = join(server, "join", last)
        assert text.count(b"\ndata: ") == STORED
        took.append(seconds)
    server.wait_waiting(0)
    median = statistics.median(took)
    figure("%d stored messages of 100 bytes reach a new event stream in "
           "%.1f ms (median of %d; best %.1f, worst %.1f)"
           % (STORED, median * 1000, JOINS, min(took) * 1000,
              max(took) * 1000))
    return median


@pytest.mark.serial
def test_370_01_join(make_server, figure):
    """50 new clients each get all 1,000 stored messages."""
    joins(make_server(), figure)


@pytest.mark.long
def test_370_02_join_in_time(make_server, figure):
    """A new stream gets the stored messages in less than 50 ms; the goal is 5
    ms on an idle server."""
    assert joins(make_server(), figure) < 0.05 * SLOW


@pytest.fixture
def large(make_server):
    """Return a server that starts with MANY messages in its database."""
    server = make_server(conf="CometPublishTimeout 10s")
    server.post("many", "first")
    server.stop()
    fill(server, "many", MANY, 100)
    for end in ("", "-wal", "-shm"):
        if os.path.exists(server.db + end):
            give(server.db + end)
    return server.start()


class Wal:
    """Notes the largest size of the log."""

    def __init__(self, server):
        self.path, self.largest = server.db + "-wal", 0

    def look(self):
        self.largest = max(self.largest, os.path.getsize(self.path))


def page_through(server, wal):
    """Read all messages page by page on one connection; return how many there
    are."""
    cursor, count = 0, 0
    with server.raw() as conn:
        while True:
            conn.request("GET", "/comet/many?since=%d&limit=1000&wait=0"
                         % cursor)
            data = json.loads(conn.answer().body)
            wal.look()
            if not data["messages"]:
                return count
            stamps = [m["timestamp"] for m in data["messages"]]
            assert stamps[0] > cursor and stamps == sorted(set(stamps))
            cursor, count = data["timestamp"], count + len(stamps)


def stream_through(server, wal):
    """Read all messages by one event stream; return how many there are."""
    count, rest, end = 0, b"", b"\ndata: %07d " % MANY
    with server.raw() as conn:
        conn.request("GET", "/comet/many?since=0&transport=events")
        assert conn.head() == 200
        while True:
            text = rest + conn.chunk()
            wal.look()
            count += text.count(b"\ndata: ")
            if end in text:
                return count
            rest = text[-200:]
            count -= rest.count(b"\ndata: ")


@pytest.mark.heavy
@pytest.mark.bound(120)
@pytest.mark.parametrize("read", [page_through, stream_through],
                         ids=["pages", "stream"])
def test_370_03_readers_and_checkpoint(large, figure, read):
    """While 100,000 messages are read, others are published. The log stays
    small, which shows that no reader has held back the log's checkpoints."""
    wal = Wal(large)
    with Load(large.port) as load:
        pubs = load.publish(8, "/comet/busy", "p", suffix="x" * 500)
        begin = time.monotonic()
        rounds = 0
        while sum(len(p.acked) for p in pubs) < PUBLISHED or not rounds:
            assert read(large, wal) == MANY + 1
            rounds += 1
        took = (time.monotonic() - begin) / rounds
        load.finish(pubs)
        acked = sum(len(p.acked) for p in pubs)
        assert not any(p.errors for p in pubs)
    figure("%d messages read in %.1f s beside %.0f publishes/s; the log "
           "was %d KiB at most"
           % (MANY, took, acked / took / rounds, wal.largest >> 10))
    assert wal.largest < WAL_BYTES
    # Without readers the next checkpoint, after 500 pages, restarts the log.
    for number in range(1000):
        large.post("rest", "m%d" % number)
        if os.path.getsize(wal.path) < REST_BYTES:
            break
    assert os.path.getsize(wal.path) < REST_BYTES
    assert len(large.rows("busy")) == acked
