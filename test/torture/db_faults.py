# SPDX-License-Identifier: Apache-2.0
"""Faults of the database under load.  Publishers get correct answers,
subscribers keep their connections, and everything works again within a
second."""

import contextlib
import os
import sqlite3
import subprocess
import threading
import time

import pytest

from http_client import Poller, one_request
from httpd_env import ORDINARY, SLOW, give, is_root, sqlite, wait_until
from listeners import Asker, Listener, Reader, static_files

TEXT = {"Content-Type": "text/plain"}
ENDS = ("", "-wal", "-shm")
RECOVERY = 1.0          # seconds within which everything works again


class Publisher(threading.Thread):
    """Publishes its own texts, one after the other, until it is stopped.

    said: (begin, end, status, text, timestamp or None) of each publish.
    """

    def __init__(self, port, name, pause, size):
        super().__init__(daemon=True)
        self.port, self.name_, self.pause = port, name, pause
        self.filler = "." * size
        self.said = []
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            text = "%s-%d%s" % (self.name_, len(self.said), self.filler)
            begin = time.monotonic()
            answer = one_request(self.port, "POST", "/comet/chat", text, TEXT,
                                 timeout=60)
            body = answer.json()
            assert answer.status == 201 or body["error"], answer
            self.said.append((begin, time.monotonic(), answer.status, text,
                              body.get("timestamp")))
            self.done.wait(self.pause)


class Site:
    """A server, its publishers, and clients of all kinds, which must notice
    nothing."""

    def __init__(self, server, publishers=3, pause=0.02, size=20):
        self.server = server
        port = server.port
        self.pubs = [Publisher(port, "p%d" % i, pause, size)
                     for i in range(publishers)]
        self.stream = Listener(port)
        self.page = Poller(port)
        self.clock = Reader(port, "/clock/backend.php")
        self.files = static_files(port)
        self.history = Asker(lambda: one_request(
            port, "GET", "/comet/chat?wait=0", timeout=30), pause=0.05)
        self.listeners = [self.stream, self.page, self.clock, self.files,
                          self.history]

    def __enter__(self):
        for pub in self.pubs:
            pub.start()
        for who in self.listeners:
            who.__enter__()
        self.wait_stored(6)
        return self

    def __exit__(self, *_):
        for pub in self.pubs:
            pub.done.set()
        for pub in self.pubs:
            pub.join(60)
        for who in reversed(self.listeners):
            who.__exit__()

    def said(self, begin=0.0, end=None):
        """The answers to all publishes that began and ended in this time."""
        end = end or time.monotonic()
        return [s for p in self.pubs for s in list(p.said)
                if begin <= s[0] and s[1] <= end]

    def acked(self, begin=0.0):
        return [text for _, _, status, text, _ in self.said(begin)
                if status == 201]

    def wait_stored(self, count, timeout=15):
        have = len(self.acked())
        wait_until(lambda: len(self.acked()) >= have + count, timeout,
                   "%d more messages to be stored" % count)

    def recovery(self, healed):
        """How many seconds after `healed` the first new publish was
        acknowledged; check that later ones succeed, too."""
        def first():
            return min((s[1] for s in self.said(healed) if s[2] == 201),
                       default=None)
        took = wait_until(first, 10, "the first message after it") - healed
        wait_until(lambda: {s[2] for s in self.said(healed + took)[-5:]}
                   == {201} and len(self.said(healed + took)) > 5, 5,
                   "all to be stored")
        assert took < RECOVERY * SLOW, "recovered after %.2f s" % took
        return took

    def stop_publishing(self):
        for pub in self.pubs:
            pub.done.set()
        for pub in self.pubs:
            pub.join(60)
            assert not pub.is_alive(), "a publisher hangs"

    def calm(self, begin):
        """Check that the clock ticked, files were served, and every publisher
        was answered in time."""
        assert self.clock.silence(begin) < 2.5 * SLOW
        assert self.clock.connects == 1
        assert self.files.statuses() == {200}
        assert self.files.slowest() < SLOW, self.files.slowest()
        slowest = max(s[1] - s[0] for s in self.said(begin))
        assert slowest < 3.5 * SLOW, "answered after %.1f s" % slowest

    def all_arrive(self, wanted=None):
        """Check that every stored message arrived once, in order."""
        rows = self.server.rows("chat")
        wanted = self.acked() if wanted is None else wanted
        assert set(wanted) <= set(rows), set(wanted) - set(rows)
        assert len(rows) == len(set(rows)), "something is stored twice"
        self.stream.wait_for(rows[-1], 10 * SLOW)
        bodies = self.stream.bodies()
        assert bodies[-len(wanted):] == rows[-len(wanted):]
        wait_until(lambda: self.page.texts()[-1:] == rows[-1:], 20,
                   "the classic page to follow")
        return rows


def statuses(said):
    return {s[2] for s in said}


def stay(seconds):
    """Wait while the publishers and clients work."""
    threading.Event().wait(seconds)


def insert(server, count, what):
    """Publish with sqlite3, one message after the other; return the texts."""
    texts = ["by sqlite3, %s %d" % (what, i) for i in range(count)]
    for text in texts:
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('chat', '%s');" % text)
    return texts


def check_sound(server):
    assert sqlite(server.db, "PRAGMA integrity_check;") == [["ok"]]


# -- locked -------------------------------------------------------------------------

def locked(make_server, seconds, publishers=3):
    """Another process holds the write lock. Publishers get 503 in time; streams
    and reads continue. An INSERT that waits for the lock gets it in spite of a
    flood of publishes."""
    server = make_server(children=2)
    with Site(server, publishers) as site:
        lock = sqlite3.connect(server.db, isolation_level=None)
        lock.execute("PRAGMA busy_timeout = 5000")
        lock.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        cli = subprocess.Popen(
            ["sqlite3", "-cmd", ".timeout %d" % ((seconds + 10) * 1000),
             server.db, "INSERT INTO message(channel, body) "
             "VALUES('chat', 'by sqlite3')"])
        stay(seconds)
        during = site.said(begin)
        healed = time.monotonic()
        lock.execute("ROLLBACK")
        lock.close()
        took = site.recovery(healed)
        assert cli.wait(10) == 0
        inserted = time.monotonic() - healed
        assert statuses(during) == {503}, statuses(during)
        site.stop_publishing()
        site.calm(begin)
        assert site.stream.connects == 1 and not site.page.failures
        assert site.history.statuses() == {200}
        rows = site.all_arrive()
        assert set(rows) == set(site.acked()) | {"by sqlite3"}, \
            "what was answered 503 must not be stored"
    check_sound(server)
    return ("locked %.0f s: %d answers of 503, recovered in %.2f s, "
            "the INSERT within %.2f s" % (seconds, len(during), took,
                                          inserted))


# -- the disk -------------------------------------------------------------------------

def disk_full(small_disk, seconds):
    """The disk is full. Publishers get 507, listeners notice nothing, and
    publishing recovers by itself."""
    server, disk = small_disk
    with Site(server, size=2000) as site:
        begin = time.monotonic()
        filler = disk.fill()
        wait_until(lambda: statuses(site.said(begin)[-3:]) == {507}, 20,
                   "the log to be full")
        full = time.monotonic()
        stay(seconds)
        during = site.said(full)
        healed = time.monotonic()
        os.unlink(filler)
        took = site.recovery(healed)
        site.stop_publishing()
        assert statuses(during) <= {507, 201} and 507 in statuses(during)
        site.calm(begin)
        assert site.stream.connects == 1 and not site.page.failures
        assert site.history.statuses() == {200}
        rows = site.all_arrive()
        assert set(rows) == set(site.acked())
    check_sound(server)
    return ("%d answers of 507, recovered in %.2f s"
            % (len([s for s in during if s[2] == 507]), took))


def read_only_at_start(small_disk):
    """The file system is read-only when the server starts. Publishers get 503.
    Publishing recovers without a reload."""
    server, disk = small_disk
    server.post("chat", "before")
    server.kill()
    disk.remount("ro")
    server.start()
    answer = server.request("POST", "/comet/chat", b"x", TEXT)
    assert answer.status == 503 and answer.json()["error"], answer
    with Reader(server.port, "/clock/backend.php") as clock:
        begin = time.monotonic()
        disk.remount("rw")
        took = recovers(server, begin, "after")
        assert clock.connects == 1
    assert server.rows("chat") == ["before", "after"]
    return "recovered in %.2f s" % took


def recovers(server, healed, text):
    """Publish until a message is stored; return the seconds since `healed`."""
    def stored():
        answer = server.request("POST", "/comet/chat", text.encode(), TEXT)
        assert answer.status in (201, 503), answer
        return answer.status == 201
    wait_until(stored, 10, "publishing to work", 0.02)
    took = time.monotonic() - healed
    assert took < RECOVERY * SLOW, "recovered after %.2f s" % took
    wait_until(lambda: server.get("/comet/chat?wait=0").status == 200, 2,
               "reading to work")
    return took


# -- the file ---------------------------------------------------------------------------

def copy_of(server, name="copy.db"):
    """A valid copy of the store, which can replace it."""
    path = os.path.join(server.data, name)
    sqlite(server.db, "VACUUM INTO '%s';" % path)
    sqlite(path, "PRAGMA journal_mode=WAL;")
    for end in ENDS:
        if os.path.exists(path + end):
            os.chmod(path + end, 0o660)
            give(path + end)
    return path


def put_in_place(server, path):
    """Replace the database as an administrator does: first remove the old file
    and its log."""
    for end in ENDS:
        if os.path.exists(server.db + end):
            os.unlink(server.db + end)
    os.rename(path, server.db)


def deleted(make_server, ends=ENDS):
    """The database's file, its log or both are deleted. Publishing works again
    within a second. Every message that is acknowledged from then on can be
    read, even by sqlite3. If only the log or its shared memory is deleted, no
    earlier message is lost, either."""
    server = make_server(children=2)
    with Site(server) as site:
        begin = time.monotonic()
        for end in ends:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(server.db + end)      # a writer may have been faster
        healed = time.monotonic()
        texts = []
        if ends == ("-shm",):       # otherwise there is no database to insert
                                    # into
            texts += insert(server, 10, "at once")
        took = site.recovery(healed)
        texts += insert(server, 10, "later")
        site.stop_publishing()
        assert statuses(site.said(begin)) <= {201, 503}
        site.calm(begin)
        rows = site.all_arrive(site.acked(healed))
        assert set(texts) <= set(rows)
        if ends in (("-wal",), ("-shm",)):
            assert set(site.acked()) <= set(rows), \
                sorted(set(site.acked()) - set(rows))
    check_sound(server)
    return "recovered in %.2f s" % took


def replaced(make_server, seconds):
    """Another store replaces the file. Publishers continue in the new store,
    and waiting clients get its messages."""
    server = make_server(children=2)
    with Site(server) as site:
        path = copy_of(server)
        stay(seconds)
        begin = time.monotonic()
        put_in_place(server, path)
        healed = time.monotonic()
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('chat', 'only in the new one');")
        took = site.recovery(healed)
        site.stream.wait_for("only in the new one", 5 * SLOW)
        site.stop_publishing()
        assert statuses(site.said(begin)) <= {201, 503}
        site.calm(begin)
        site.all_arrive(site.acked(healed))
    check_sound(server)
    return "recovered in %.2f s" % took


def not_a_database(make_server, seconds):
    """A text file replaces the database. Publishers get 503, and no byte of the
    text file changes. Once a database is in its place, everything works."""
    server = make_server(children=2)
    server.allow_log.append("comet")
    notes = b"These are my notes, not a database.\n" * 200
    with Site(server) as site:
        path = copy_of(server)
        with open(path + ".notes", "wb") as out:
            out.write(notes)
        give(path + ".notes")
        begin = time.monotonic()
        put_in_place(server, path + ".notes")
        put = time.monotonic()
        wait_until(lambda: statuses(site.said(put)[-3:]) == {503}, 5,
                   "publishers to be refused")
        stay(seconds)
        during = site.said(put)
        with open(server.db, "rb") as again:
            assert again.read() == notes
        healed = time.monotonic()
        put_in_place(server, path)
        took = site.recovery(healed)
        site.stop_publishing()
        assert statuses(during) == {503}, statuses(during)
        site.calm(begin)
        assert site.history.statuses() <= {200, 503}
        site.all_arrive(site.acked(healed))
    check_sound(server)
    return ("%d answers of 503, recovered in %.2f s"
            % (len(during), took))


def damaged_page(make_server, seconds, every=3):
    """Pages of the file are overwritten. Every acknowledged message is stored,
    and no child crashes. With a valid file in its place, everything
    works again."""
    server = make_server(children=2)
    lines = "".join('{"body": "%d %s"}\n' % (i, "x" * 1500)
                    for i in range(400))
    answer = server.request("POST", "/comet/old", lines,
                            {"Content-Type": "application/x-ndjson"})
    assert answer.status == 201, answer
    with Site(server) as site:
        path = copy_of(server)
        sqlite(server.db, "PRAGMA wal_checkpoint(PASSIVE);")
        begin = time.monotonic()
        # Keep the schema: without it not even the intact pages could be read.
        pages = sqlite(server.db, "SELECT pageno FROM dbstat WHERE pageno > 8"
                       " AND name <> 'sqlite_schema';")
        with open(server.db, "r+b") as out:
            for page, in pages[::every]:
                out.seek((int(page) - 1) * 4096)
                out.write(b"\xa5" * 4096)
        old = Asker(lambda: one_request(
            server.port, "GET", "/comet/old?before=%d&limit=1000" % (2 ** 53 - 1),
            timeout=30))
        with old:
            stay(seconds)
        during = site.said(begin)
        for _, _, status, text, stamp in during[-20:]:
            if status == 201:
                found = sqlite(server.db, "SELECT body FROM message_log "
                               "WHERE id = %d;" % stamp)
                assert found == [[text]]
        healed = time.monotonic()
        put_in_place(server, path)
        took = site.recovery(healed)
        site.stop_publishing()
        assert statuses(during) <= {201, 503}, statuses(during)
        assert old.statuses() <= {200, 503} and 503 in old.statuses()
        site.calm(begin)
        site.all_arrive(site.acked(healed))
    assert "malformed" in server.error_log()
    check_sound(server)
    return ("%d publishes stored and %d refused, %d of %d reads refused, "
            "recovered in %.2f s"
            % (len([s for s in during if s[2] == 201]),
               len([s for s in during if s[2] == 503]),
               len([a for a in old.answers if a[2] == 503]),
               len(old.answers), took))


def owned_by_root(make_server):
    """The file's owner becomes root. Children that have the file open
    continue. After a restart the answer is 503, and the log shows the command
    that repairs this. The repair takes effect without a reload."""
    if not is_root():
        pytest.skip("needs root to give files away")
    server = make_server(parent=ORDINARY)
    server.post("chat", "before")
    for end in ENDS:
        os.chown(server.db + end, 0, 0)
        os.chmod(server.db + end, 0o640)
    server.post("chat", "while it is open")
    server.stop()
    server.start()
    answer = server.request("POST", "/comet/chat", b"x", TEXT)
    assert answer.status == 503 and answer.json()["error"], answer
    log = server.error_log()
    assert "chown" in log and server.db in log
    healed = time.monotonic()
    for end in ENDS:
        if os.path.exists(server.db + end):
            give(server.db + end)
    took = recovers(server, healed, "after")
    assert server.rows("chat") == ["before", "while it is open", "after"]
    return "recovered in %.2f s" % took
