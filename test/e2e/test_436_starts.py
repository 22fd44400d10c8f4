# SPDX-License-Identifier: Apache-2.0
"""httpd's own threads never wait for a disk, a lock or a database.  So the site
is served while children start, end, are killed and are replaced, whatever has
happened to the store."""

import os
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

from comet_load import quantile
from http_client import one_request
from httpd_env import MPMS, SLOW, alive, sqlite, stop_process, wait_until
from listeners import static_files
from shim import Shim
from tmpfs import Tmpfs

pytestmark = pytest.mark.heavy

TEXT = {"Content-Type": "text/plain"}


def children_of_mpm(mpm):
    """Return the settings for two children. (Prefork starts eight anyway.)"""
    return {"mpm": mpm, "children": 2, "threads": 16}


def hang_a_publish(server, body="hangs"):
    """Publish a message that the store cannot save now; check that the answer
    is 503."""
    answer = server.request("POST", "/comet/chat", body, TEXT, timeout=20)
    assert answer.status == 503, answer
    return answer


def check_site(files, figure, label, lost=200):
    """Check that static files were served as fast as ever.

    lost: the status that is noted if a child was killed during a request.
    """
    took = [t for _, t, _ in files.answers]
    figure("%s: %d files, median %.1f ms, p99 %.1f ms, max %.1f ms"
           % (label, len(took), *(1000 * quantile(took, q)
                                  for q in (0.5, 0.99, 1.0))))
    assert files.statuses() <= {200, lost}, files.statuses()
    assert quantile(took, 0.5) < 0.05 * SLOW, quantile(took, 0.5)
    # (After a reload or a kill httpd may need a second to start a child.)
    assert max(took) < 2.5 * SLOW, max(took)


def replace_children(server):
    """Reload and then restart the server, and kill a child after each."""
    for sign in (signal.SIGUSR1, signal.SIGHUP):
        old = server.graceful(sign=sign)
        wait_until(lambda: not any(map(alive, old)), 5, "the old children")
        victim = server.children()[-1]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: not alive(victim), 5, "the end of a killed child")
        took = []
        for _ in range(10):
            answer = server.get("/static.txt", timeout=5)
            assert answer.status == 200, answer
            took.append(answer.took)
        assert quantile(took, 0.8) < 0.05 * SLOW, took


@pytest.mark.bound(90)
def test_436_01_disk_stalls(make_server, mpm, figure):
    """The disk does not answer.  Reloads and killed children still do not
    affect the site, and reads are answered.  When the disk answers, publishing
    works again."""
    server = make_server(start=False, conf="CometPublishTimeout 500ms\n",
                         **children_of_mpm(mpm))
    shim = Shim(server)
    server.start()
    first = server.post("chat", "stored")
    server.allow_log += ["exit signal Killed", "AH00052"]
    shim.set_sync(10)
    hang_a_publish(server)
    with static_files(server.port) as files:
        replace_children(server)
        hang_a_publish(server, "another")
        answer = server.get("/comet/chat?since=0&wait=0")
        assert answer.status == 200 and answer.took < 1.0 * SLOW, answer
        assert answer.json()["messages"][0]["timestamp"] == first
    check_site(files, figure, mpm, lost=0)
    shim.set_sync(0)
    wait_until(lambda: server.request("POST", "/comet/chat", "after",
                                      TEXT).status == 201, 40,
               "publishing to work again")
    rows = server.rows("chat")
    assert rows[0] == "stored" and "after" in rows
    assert not server.verify()
    # (After a kill httpd's event MPM may have one child too many, and a stop
    # does not end this child.)
    server.kill()


def test_436_07_disk_full(make_server, mpm, figure):
    """The disk is full.  Reloads, restarts and killed children still do not
    affect the site, publishers get 507, and reads are answered.  When there is
    room, publishing works again."""
    server = make_server(start=False, **children_of_mpm(mpm))
    disk = Tmpfs(server.data)
    try:
        server.start()
        first = server.post("chat", "stored")
        server.allow_log += ["exit signal Killed", "AH00052"]
        filler = disk.fill()
        with static_files(server.port) as files:
            replace_children(server)
            answer = server.request("POST", "/comet/chat", "x" * 60000, TEXT)
            assert answer.status == 507, answer
            answer = server.get("/comet/chat?since=0&wait=0")
            assert answer.json()["messages"][0]["timestamp"] == first
        check_site(files, figure, mpm, lost=0)
        os.unlink(filler)
        wait_until(lambda: server.request("POST", "/comet/chat", "after",
                                          TEXT).status == 201, 10,
                   "publishing to work again")
        assert server.rows("chat") == ["stored", "after"]
        assert not server.verify()
        server.kill()   # (as in the test above)
    finally:
        disk.close()


@pytest.mark.bound(90)
@pytest.mark.skipif("event" not in MPMS, reason="event MPM not chosen")
def test_436_02_holder_is_stopped(make_server, figure):
    """The child that holds the write lock is stopped (SIGSTOP).  The site is
    served during reloads, the log says why nothing can be published, and a
    child that waits for the lock still ends."""
    server = make_server(start=False, mpm="event", children=1, threads=16,
                         conf="CometPublishTimeout 500ms\n")
    shim = Shim(server)
    server.start()
    server.post("chat", "stored")
    shim.set_sync(2)
    hang_a_publish(server)
    holder, = server.children()
    stop_process(holder)
    shim.set_sync(0)
    try:
        with static_files(server.port) as files:
            server.graceful()
            hang_a_publish(server, "another")
            wait_until(lambda: "holds the write lock" in server.error_log(), 10,
                       "the reason in the log")
            waiting = set(server.children()) - {holder}
            server.graceful()
            begin = time.monotonic()
            wait_until(lambda: not any(map(alive, waiting)), 10,
                       "the end of a child that waits for the lock")
            took = time.monotonic() - begin
        figure("a child that waits for the lock ends after %.2f s" % took)
        assert took < 3 * SLOW, took
        check_site(files, figure, "event")
    finally:
        os.kill(holder, signal.SIGCONT)
    wait_until(lambda: server.request("POST", "/comet/chat", "after",
                                      TEXT).status == 201, 30,
               "publishing to work again")
    wait_until(lambda: not alive(holder), 20, "the end of the stopped child")


def test_436_03_first_start_while_locked(make_server, mpm, figure):
    """A child starts while another program locks the whole file.  The site is
    served at once, and the module's requests are refused in time.  They work as
    soon as the file is unlocked."""
    server = make_server(start=False, conf="CometPublishTimeout 500ms\n",
                         **children_of_mpm(mpm))
    server.start()
    server.post("chat", "stored")
    server.stop()
    lock = sqlite3.connect(server.db, isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN IMMEDIATE")
    server.start()
    with static_files(server.port) as files:
        hang_a_publish(server)
        answer = server.get("/comet/chat?wait=0", timeout=10)
        assert answer.status == 503 and answer.took < 3 * SLOW, answer
        server.graceful()
        lock.execute("ROLLBACK")
        lock.close()
        wait_until(lambda: server.request("POST", "/comet/chat", "after",
                                          TEXT).status == 201, 10,
                   "publishing to work")
    check_site(files, figure, mpm)
    assert server.rows("chat") == ["stored", "after"]


@pytest.mark.skipif("event" not in MPMS, reason="event MPM not chosen")
def test_436_04_readers_leave_threads(make_server, figure):
    """If the database makes all readers wait, they leave threads of the child
    free: further readers are refused at once, and files are served."""
    server = make_server(start=False, mpm="event", children=1, threads=16)
    server.start()
    server.post("chat", "stored")
    server.stop()
    lock = sqlite3.connect(server.db, isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN IMMEDIATE")
    server.start()
    answers, stop = [], threading.Event()

    def read_on():
        while not stop.is_set():
            answers.append(one_request(server.port, "GET",
                                       "/comet/chat?wait=0", timeout=30))
            stop.wait(0.02)

    readers = [threading.Thread(target=read_on, daemon=True)
               for _ in range(40)]
    for reader in readers:
        reader.start()
    with static_files(server.port) as files:
        wait_until(lambda: len(answers) > 100, 20, "answers")
    stop.set()
    for reader in readers:
        reader.join(30)
    lock.execute("ROLLBACK")
    lock.close()
    check_site(files, figure, "40 readers")
    assert {a.status for a in answers} == {503}
    assert "it hangs" in server.error_log()
    wait_until(lambda: server.get("/comet/chat?since=0&wait=0").status == 200,
               5, "reading to work again")


def crash_with_a_long_log(server, megabytes):
    """Leave a long write-ahead log, as a crash does; return its length."""
    sql = ("PRAGMA wal_autocheckpoint = 0;\n"
           "INSERT INTO message(channel, body) WITH RECURSIVE n(i) AS"
           " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
           " SELECT 'old', hex(randomblob(500000)) FROM n;\n" % megabytes)
    program = subprocess.Popen(["sqlite3", server.db], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    program.stdin.write((sql + "SELECT 'done';\n").encode())
    program.stdin.flush()
    while program.stdout.readline() != b"done\n":
        pass                    # (the PRAGMA prints a line, too)
    program.kill()
    program.wait(10)
    program.stdin.close()
    program.stdout.close()
    return os.path.getsize(server.db + "-wal")


@pytest.mark.bound(90)
@pytest.mark.skipif("event" not in MPMS, reason="event MPM not chosen")
def test_436_05_long_log_left_over(make_server, figure):
    """After a crash with a long log, files are served while the log is read,
    and no committed message is missing."""
    server = make_server(mpm="event", children=2, threads=16)
    server.post("chat", "stored")
    server.kill()
    length = crash_with_a_long_log(server, 120)
    begin = time.monotonic()
    server.start()
    ready = time.monotonic() - begin
    with static_files(server.port) as files:
        wait_until(lambda: server.request("POST", "/comet/chat", "after",
                                          TEXT).status == 201, 30,
                   "publishing to work")
        served = time.monotonic() - begin
    check_site(files, figure, "%d MB" % (length >> 20))
    figure("the site is up after %.2f s, the store after %.2f s"
           % (ready, served))
    assert server.rows("chat") == ["stored", "after"]
    assert sqlite(server.db, "SELECT count(*) FROM message "
                  "WHERE channel = 'old'") == [["120"]]


@pytest.mark.skipif("event" not in MPMS, reason="event MPM not chosen")
def test_436_06_many_stores_end_together(make_server, figure):
    """If the writers of several stores wait for the disk, a child that ends
    waits for all of them at the same time."""
    count = 5
    server = make_server(start=False, mpm="event", children=1, threads=32,
                         conf="CometPublishTimeout 300ms\n" + "".join(
                             '<VirtualHost *:{port}>\nServerName s%d\n'
                             'CometStore "sqlite:{data}/s%d.db"\n'
                             "</VirtualHost>\n" % (i, i)
                             for i in range(count)))
    shim = Shim(server)
    server.start()

    def post(host):
        return one_request(server.port, "POST", "/comet/x", "x",
                           {"Host": "s%d" % host, **TEXT}, timeout=15)

    for i in range(count):
        wait_until(lambda i=i: post(i).status == 201, 5, "a store")
    shim.set_sync(20)
    assert {post(i).status for i in range(count)} == {503}
    old = server.graceful()
    begin = time.monotonic()
    wait_until(lambda: not any(map(alive, old)), 15, "the old child's end")
    took = time.monotonic() - begin
    shim.set_sync(0)
    figure("%d stalled stores: the child ends after %.1f s" % (count, took))
    assert took < 5 * SLOW, took


@pytest.mark.event
def test_436_08_restart_while_publishers_wait(make_server, figure):
    """At a restart no child waits for publishers that wait for the disk."""
    server = make_server(start=False, mpm="event", children=1, threads=16,
                         conf="CometPublishTimeout 8\n")
    shim = Shim(server)
    server.start()
    server.post("chat", "stored")
    shim.set_sync(25)
    publishers = [server.raw(timeout=20) for _ in range(3)]
    for publisher in publishers:
        publisher.request("POST", "/comet/chat", TEXT, b"hangs")
    wait_until(lambda: all(map(server.has_read, publishers)), 5,
               "the publishers to wait")
    took = server.time_restart()
    figure("a restart takes %.1f s" % took)
    assert took < 4 * SLOW, took
    for publisher in publishers:
        publisher.close()
    shim.set_sync(0)
    server.post("chat", "after")
    rows = server.rows("chat")
    assert (rows[0], rows[-1]) == ("stored", "after") and len(rows) <= 5, rows
