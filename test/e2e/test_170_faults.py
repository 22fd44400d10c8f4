# SPDX-License-Identifier: Apache-2.0
"""If the store or the machine fails, answers are clear and no message is
lost."""

import os
import re
import shutil
import signal
import sqlite3
import threading
import time

import pytest

from http_client import Poller, gather
from httpd_env import (ORDINARY, SLOW, alive, give, is_root, sqlite,
                       wait_until)

TEXT = {"Content-Type": "text/plain"}
XHR = {"X-Requested-With": "XMLHttpRequest"}


def try_post(server, text, channel="chat"):
    return server.request("POST", "/comet/" + channel, text.encode(), TEXT)


def post_for(server, seconds, until=None, channel="chat", prefix="p"):
    """Post for up to `seconds`, until one message is stored or, if given,
    `until(stored)` is true. Return the texts that were stored, and the statuses
    of the other posts."""
    stored, refused = [], []

    def enough():
        text = "%s%d" % (prefix, len(stored) + len(refused))
        answer = try_post(server, text, channel)
        if answer.status == 201:
            stored.append(text)
            return until is None or until(stored)
        refused.append(answer.status)
        assert answer.status in (503, 507), answer
        assert answer.json()["error"]
        return False

    wait_until(enough, seconds, "publishes to be taken", 0.05)
    return stored, refused


def check_busy(answer):
    """Check that an answer is a 503 with Retry-After and a JSON error."""
    assert answer.status == 503, answer
    assert int(answer.header("retry-after")) >= 1
    assert answer.json()["error"]


# -- a locked store ---------------------------------------------------------

def test_170_01_locked(make_server):
    """If the store is locked, a publish gets 503 after CometPublishTimeout;
    reading still works."""
    server = make_server(conf="CometPublishTimeout 500ms")
    server.publish("before")
    lock = sqlite3.connect(server.db, isolation_level=None)
    with Poller(server.port) as page:
        page.wait_for(1, 5 * SLOW)
        server.wait_waiting(1, "classic")
        lock.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        check_busy(try_post(server, "locked out"))
        check_busy(server.get("/chat/backend.php?msg=locked", XHR))
        assert time.monotonic() - begin < 4 * SLOW
        assert [m["body"] for m in server.history("chat")] == ["before"]
        assert server.get("/chat/backend.php?timestamp=0").json()["msg"] \
            == "before"
        lock.execute("ROLLBACK")
        lock.close()
        stored, _ = post_for(server, 5)
        assert stored
        got = page.wait_for(2, 5 * SLOW)
        assert got == ["before"] + stored
        assert not page.failures
    assert server.rows("chat") == ["before"] + stored, \
        "what was answered 503 must not be stored later"


def test_170_02_locked_leaves_the_site_up(make_server):
    """While the store is locked, 60 publishers do not block the rest of the
    site."""
    server = make_server(conf="CometPublishTimeout 2s\n"
                         "CometMaxSubscribers 40")
    server.publish("before")
    lock = sqlite3.connect(server.db, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    answers, took = [], []
    done = threading.Event()

    def publisher():
        answers.append(try_post(server, "x").status)

    threads = [threading.Thread(target=publisher, daemon=True)
               for _ in range(60)]
    begin = time.monotonic()
    try:
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads) \
                and time.monotonic() - begin < 15 * SLOW:
            start = time.monotonic()
            assert server.get("/static.txt").status == 200
            took.append(time.monotonic() - start)
            done.wait(0.02)
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    for thread in threads:
        thread.join(10)
    assert len(answers) == 60 and set(answers) == {503}, answers
    assert max(took) < 0.5 * SLOW, max(took)
    assert server.rows("chat") == ["before"]


def test_170_03_long_reader(make_server):
    """Another process that holds a read transaction blocks neither publishers
    nor readers."""
    server = make_server()
    server.publish("a")
    reader = sqlite3.connect(server.db, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM message").fetchall()
    for i in range(300):
        server.post("chat", "m%d" % i)
    assert reader.execute("SELECT count(*) FROM message").fetchall() \
        == [(1,)]
    reader.execute("COMMIT")
    assert len(server.history("chat")) == 301
    reader.close()


# -- the file replaced or deleted -------------------------------------------

def other_store(server, name, rows):
    """Make a second valid store with the module's own schema; return its
    path."""
    path = os.path.join(server.data, name)
    sqlite(server.db, "VACUUM INTO '%s';" % path)
    sqlite(path, "DELETE FROM message;" + "".join(
        "INSERT INTO message(channel, body) VALUES('chat','%s');" % r
        for r in rows) + "PRAGMA journal_mode=WAL;")
    for end in ("", "-wal", "-shm"):
        if os.path.exists(path + end):
            give(path + end)
            os.chmod(path + end, 0o660)
    return path


def move_over(source, target):
    for end in ("-wal", "-shm"):
        for path in (target + end,):
            if os.path.exists(path):
                os.unlink(path)
    os.rename(source, target)


def test_170_10_replaced(make_server):
    """Another file replaces the database.  A publish gets 503 or is stored in
    the new file, and no acknowledged message is lost."""
    server = make_server()
    server.publish("in the old file")
    path = other_store(server, "new.db", ["in the new file"])
    with Poller(server.port) as page:
        page.wait_for(1, 5 * SLOW)
        server.wait_waiting(1)
        move_over(path, server.db)
        stored, refused = post_for(server, 10,
                                   lambda s: len(s) >= 5)
        assert len(stored) >= 5, refused
        assert server.rows("chat") == ["in the new file"] + stored
        wait_until(lambda: page.texts()[-1:] == stored[-1:], 10,
                   "the page to follow")
        assert all("200" not in f for f in page.failures)
    assert [m["body"] for m in server.history("chat")] \
        == ["in the new file"] + stored


def test_170_11_deleted(make_server):
    """The database file is deleted.  A publish gets 503 or makes a new file,
    and no acknowledged message is lost."""
    server = make_server()
    server.publish("gone with the file")
    for end in ("", "-wal", "-shm"):
        if os.path.exists(server.db + end):
            os.unlink(server.db + end)
    stored, refused = post_for(server, 10, lambda s: len(s) >= 5)
    assert len(stored) >= 5, refused
    assert server.rows("chat") == stored
    assert [m["body"] for m in server.history("chat")] == stored


def test_170_12_deleted_and_ahead(make_server):
    """A page whose cursor is ahead of the store, as after the loss of a
    database, starts over."""
    server = make_server(conf="CometPollTimeout 2s")
    server.publish("a")
    stamp = server.get("/chat/backend.php").json()["timestamp"]
    # a lost store may have had later timestamps than the new one
    ahead = stamp + 3600 * 10 ** 6
    with Poller(server.port, cursor=ahead) as page:
        page.wait_for(1, 5 * SLOW)          # the page starts over: a replay
        server.publish("b")
        assert page.wait_for(2, 5 * SLOW) == ["a", "b"]
        assert not page.failures


def test_170_13_not_a_database(make_server):
    """If the file is not a database, requests get 503, and no byte of the file
    changes."""
    server = make_server(start=False)
    text = b"These are my notes, not a database.\n" * 200
    with open(server.db, "wb") as out:
        out.write(text)
    os.chmod(server.db, 0o660)
    give(server.db)
    server.start()
    server.allow_log.append("comet")
    for _ in range(3):
        check_busy(try_post(server, "x"))
        answer = server.get("/comet/chat?since=0&wait=0")
        assert answer.status == 503, answer
        answer = server.get("/chat/backend.php?timestamp=0")
        assert answer.status == 503, answer
    with server.raw() as conn:          # the clock does not use the store
        conn.request("GET", "/clock/backend.php")
        assert conn.head() == 200 and conn.chunk()
    with open(server.db, "rb") as again:
        assert again.read() == text
    assert "comet.db" in server.error_log()


def test_170_14_another_applications_database(make_server):
    """If the database belongs to another application, the module does not
    change a byte of it."""
    server = make_server(start=False)
    sqlite(server.db, "CREATE TABLE books(title); PRAGMA application_id=77;"
           "PRAGMA user_version=99; INSERT INTO books VALUES('x');")
    os.chmod(server.db, 0o660)
    give(server.db)
    with open(server.db, "rb") as file:
        before = file.read()
    server.start()
    answer = try_post(server, "x")
    assert answer.status == 503, answer
    with open(server.db, "rb") as file:
        assert file.read() == before
    assert os.listdir(server.data) == ["comet.db"]


def test_170_15_newer_schema(make_server):
    """If a newer version made the store, publishing is refused with 503, the
    error log says why, and the store stays as it is."""
    server = make_server()
    server.publish("x")
    server.stop()
    version = int(sqlite(server.db, "PRAGMA user_version;")[0][0])
    sqlite(server.db, "PRAGMA user_version=%d;" % (version + 1000))
    server.start()
    assert try_post(server, "y").status == 503
    wait_until(lambda: re.search("COMET0121: .*made by a newer mod_comet",
                                 server.error_log()), 5, "the log")
    assert sqlite(server.db, "PRAGMA user_version; SELECT body FROM message;") \
        == [[str(version + 1000)], ["x"]]


# -- not writable -----------------------------------------------------------

@pytest.mark.skipif(not is_root(), reason="needs root to own the file")
def test_170_20_read_only_file(make_server):
    """If the children cannot write to the database, publishing is refused with
    503; reading works."""
    server = make_server()
    server.publish("before")
    server.stop()
    os.chown(server.db, 0, 0)
    os.chmod(server.db, 0o444)
    server.start()
    for _ in range(2):
        check_busy(try_post(server, "x"))
        check_busy(server.get("/chat/backend.php?msg=x", XHR))
    answer = server.get("/comet/chat?since=0&wait=0")
    assert answer.status == 200, answer
    assert [m["body"] for m in answer.json()["messages"]] == ["before"]
    for end in ("", "-wal", "-shm"):
        if os.path.exists(server.db + end):
            give(server.db + end)
            os.chmod(server.db + end, 0o660)
    server.graceful()
    stored, refused = post_for(server, 10)
    assert stored, refused
    assert server.rows("chat") == ["before"] + stored


@pytest.mark.skipif(not is_root(), reason="needs root to own the folder")
def test_170_21_root_owned_folder(make_server):
    """If the children cannot write to the folder, the error log gives the chown
    command that helps."""
    server = make_server(start=False, parent=ORDINARY)
    os.chown(server.data, 0, 0)
    os.chmod(server.data, 0o755)
    server.start()
    check_busy(try_post(server, "x"))
    answer = server.get("/chat/backend.php?timestamp=0")
    assert answer.status == 503, answer
    wait_until(lambda: "chown" in server.error_log()
               and server.data in server.error_log(), 3, "the chown line")
    give(server.data)
    os.chmod(server.data, 0o770)
    server.graceful()
    stored, _ = post_for(server, 10)
    assert server.rows("chat") == stored and stored


def test_170_22_no_such_folder(make_server):
    """If the folder is missing, configtest says so, or requests get 503."""
    server = make_server(start=False, comet="load")
    conf = ('CometStore "sqlite:{root}/nowhere/comet.db"\n'
            "CometEndpoint /comet\n")
    code, text = server.configtest(conf)
    if code == 0:
        server.conf = conf
        server.start()
        check_busy(try_post(server, "x"))
    else:
        assert "nowhere" in text


@pytest.mark.bound(90)
def test_170_23_disk_full(small_disk):
    """On a full disk publishing is refused with 507, and waiting clients stay
    connected. Once the disk has room, publishing works again."""
    server, disk = small_disk
    server.publish("before")
    with Poller(server.port) as page, server.raw() as clock:
        page.wait_for(1, 5 * SLOW)
        clock.request("GET", "/clock/backend.php")
        clock.head()
        clock.chunk()
        server.wait_waiting(2)
        filler = disk.fill()
        stored, statuses = ["before"], []
        for i in range(60):
            text = "full%d " % i + "x" * 20000
            answer = try_post(server, text)
            statuses.append(answer.status)
            if answer.status == 201:
                stored.append(text)
            else:
                assert answer.status == 507, answer
                assert answer.json()["error"]
                if statuses[-3:] == [507, 507, 507]:
                    break
        assert statuses[-1] == 507, statuses
        answer = server.get("/chat/backend.php?msg=" + "y" * 6000, XHR)
        if answer.status == 200:
            stored.append("y" * 6000)
        else:
            assert answer.status == 507, answer
        assert clock.chunk() and clock.chunk()      # the stream continues
        os.unlink(filler)
        more, refused = post_for(server, 10, prefix="after")
        assert more, refused
        stored += more
        texts = page.wait_for(len(stored), 10 * SLOW)
        assert texts == stored
        assert not page.failures
    assert server.rows("chat") == stored
    assert sqlite(server.db, "PRAGMA quick_check;") == [["ok"]]


def test_170_24_read_only_file_system(small_disk):
    """On a read-only file system publishing is refused with 503. After the file
    system has become writable and httpd has reloaded, publishing works
    again."""
    server, disk = small_disk
    server.publish("before")
    server.kill()  # kill() leaves -wal and -shm, as a crash does
    disk.remount("ro")
    server.start()
    check_busy(try_post(server, "x"))
    answer = server.get("/comet/chat?since=0&wait=0")
    assert answer.status in (200, 503), answer
    if answer.status == 200:
        assert [m["body"] for m in answer.json()["messages"]] == ["before"]
    with server.raw() as clock:
        clock.request("GET", "/clock/backend.php")
        assert clock.head() == 200
    disk.remount("rw")
    server.graceful()
    stored, refused = post_for(server, 10)
    assert stored, refused
    assert server.rows("chat") == ["before"] + stored


# -- killed processes -------------------------------------------------------

@pytest.mark.bound(90)
def test_170_30_kill_9_between_messages(make_server):
    """If the whole server is killed, no acknowledged message is lost."""
    server = make_server()
    server.keep_port = True
    want = []
    with Poller(server.port, timeout=30) as page:
        for round_ in range(3):
            for i in range(5):
                want.append("r%d-%d" % (round_, i))
                server.publish(want[-1])
            page.wait_for(len(want), 10 * SLOW)
            server.kill()
            server.start()
        want.append("last")
        server.publish("last")
        assert page.wait_for(len(want), 10 * SLOW) == want
    assert server.rows("chat") == want


@pytest.mark.bound(90)
def test_170_31_kill_9_while_publishing(make_server):
    """If the server is killed under load, every message that was answered with
    201 is stored once, in order."""
    server = make_server()
    server.keep_port = True
    acked, lock = [], threading.Lock()
    stop = threading.Event()

    def publisher(me):
        number = 0
        while not stop.is_set():
            text = "p%d-%d" % (me, number)
            number += 1
            try:
                answer = try_post(server, text)
            except (OSError, ValueError):
                continue
            if answer.status == 201:
                with lock:
                    acked.append((answer.json()["timestamp"], text))

    threads = [threading.Thread(target=publisher, args=(i,), daemon=True)
               for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            have = len(acked)
            wait_until(lambda h=have: len(acked) >= h + 60, 15, "60 more")
            server.kill()
            server.start()
        have = len(acked)
        wait_until(lambda: len(acked) >= have + 20, 15, "20 more")
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    rows = sqlite(server.db, "SELECT timestamp, body FROM message "
                  "ORDER BY timestamp;")
    stored = {text: int(stamp) for stamp, text in rows}
    assert len(stored) == len(rows), "doubled"
    for stamp, text in acked:
        assert stored.get(text) == stamp, "lost: " + text
    for me in range(4):
        numbers = [int(t.split("-")[1]) for s, t in rows
                   if t.startswith("p%d-" % me)]
        assert numbers == sorted(numbers)
    assert sqlite(server.db, "PRAGMA quick_check;") == [["ok"]]


@pytest.mark.bound(90)
def test_170_32_child_killed(make_server):
    """One of two children is killed.  The other continues, no message is lost,
    and the counters return to 0."""
    server = make_server(children=2)
    server.allow_log += ["AH00052", "exit signal Killed"]

    def stored(text):
        try:
            return try_post(server, text).status == 201
        except (OSError, ValueError):
            return False

    with Poller(server.port, timeout=30) as page:
        want = []
        for round_ in range(3):
            for i in range(4):
                want.append("k%d-%d" % (round_, i))
                wait_until(lambda: stored(want[-1]), 10,
                           "a publish to be taken", 0.05)
            victim = server.children()[round_ % 2]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not alive(v), 5, "the end")
            wait_until(lambda v=victim: len(
                [c for c in server.children() if c != v]) >= 2, 10,
                "a new child")
        want.append("last")
        try_post(server, "last")
        texts = page.wait_for(len(want), 15 * SLOW)
    # A publish that the kill interrupted may have been stored. The test then
    # publishes the message again.
    assert sorted(set(texts)) == sorted(set(want))
    server.wait_waiting(0, timeout=15)


def test_170_33_never_2xx_for_lost(make_server):
    """After a normal stop every acknowledged message is in the store."""
    server = make_server()
    texts = ["m%d" % i for i in range(60)]

    gather([lambda t=t: server.publish_again(t) for t in texts])
    server.stop()
    assert sorted(server.rows("chat")) == sorted(texts)
    leftovers = [n for n in os.listdir(server.data)
                 if not n.startswith("comet.db")]
    assert not leftovers, leftovers
    copy = os.path.join(server.root, "copy.db")
    shutil.copy(server.db, copy)
    if not os.path.exists(server.db + "-wal"):
        assert len(sqlite(copy, "SELECT body FROM message;")) == 60


@pytest.mark.skipif(not is_root(), reason="only root starts as another user")
def test_170_34_file_mode(make_server):
    """The module creates the file with mode 0660, and the children's user owns
    it."""
    server = make_server()
    server.publish("x")
    info = os.stat(server.db)
    assert info.st_mode & 0o777 == 0o660, oct(info.st_mode)
    assert info.st_uid == os.stat(server.data).st_uid
    sqlite(server.db, "INSERT INTO message(channel,body) "
           "VALUES('chat','root was here');")
    server.publish("still works")
    assert server.rows("chat") == ["x", "root was here", "still works"]
