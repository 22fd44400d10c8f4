# SPDX-License-Identifier: Apache-2.0
"""The database is an interface: other processes publish and delete through
it."""

import contextlib
import html
import json
import os
import re
import statistics
import subprocess
import threading
import time

import pytest

from descriptors import many_hosts
from http_client import Poller, Raw, quote
from httpd_env import REPO, SLOW, connect, sqlite, wait_until
from stream_client import Stream

SERVER = {"classics": 20, "conf": "CometPollTimeout 20s"}


def insert(channel, body):
    return "INSERT INTO message(channel, body) VALUES('%s', '%s');" \
        % (channel, body)


def test_130_01_documented_commands(make_server):
    """The README's sqlite3 commands publish, query and delete. The manual has
    the same commands."""
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as file:
        text = file.read().partition("## The database is an interface")[2]
    commands = re.findall(r"^sqlite3 .*(?:\n +.*)*", text.split("```")[1], re.M)
    with open(os.path.join(REPO, "htdocs", "manual", "index.html"),
              encoding="utf-8") as file:
        manual = html.unescape(file.read())
    assert len(commands) == 3 and all(part in manual for part in commands)
    query, publish, delete = commands
    server = make_server()

    def run(command):
        return subprocess.run(["sh", "-c", command], cwd=server.data, text=True,
                              check=True, timeout=20,
                              stdout=subprocess.PIPE).stdout

    server.publish("by the page")
    with Stream(server, "/comet/chat?since=0") as stream:
        assert run(publish) == ""
        assert stream.until(2) == ["by the page", "deploy finished"]
    rows = [row.split("|") for row in run(query).splitlines()]
    assert [row[1:] for row in rows] == [["", "deploy finished"],
                                         ["", "by the page"]]
    assert all(abs(time.mktime(time.strptime(row[0], "%Y-%m-%d %H:%M:%S"))
                   - time.time()) < 60 * SLOW for row in rows), rows
    sqlite(server.db, "INSERT INTO message(channel, author, body) "
           "VALUES('chat', 'spammer', 'buy');")
    assert run(delete) == ""
    assert [m["body"] for m in server.history("chat")] \
        == ["by the page", "deploy finished"]


def test_130_02_insert_reaches_waiters(server):
    """A message that another process inserts arrives within 50 ms of its
    commit."""
    url, channel = server.next_classic()
    lags = []
    with Poller(server.port, url) as page:
        for i in range(12):
            server.wait_waiting(1, "classic")
            sqlite(server.db, insert(channel, "m%d" % i))
            ended = time.monotonic()       # at the commit or just after it
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - ended)
        assert not page.failures
    assert statistics.median(lags) < 0.05 * SLOW, lags
    assert sorted(lags)[-2] < 0.05 * SLOW, lags     # one hiccup is allowed
    assert max(lags) < 0.5 * SLOW, lags


def test_130_03_commit_to_page(server):
    """Over one open connection, the median time from COMMIT to the page is
    under 20 ms."""
    url, channel = server.next_classic()
    lags = []
    db = connect(server.db)
    with Poller(server.port, url) as page:
        for i in range(20):
            server.wait_waiting(1, "classic")
            db.execute(insert(channel, "m%d" % i))
            ended = time.monotonic()
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - ended)
    db.close()
    assert statistics.median(lags) < 0.02 * SLOW, lags
    assert sorted(lags)[-2] < 0.05 * SLOW, lags


@pytest.mark.parametrize("pause", [0.3, 1.5, 3.0])
def test_130_04_slow_transaction(server, pause):
    """If a transaction stays open for long, its messages arrive soon after its
    COMMIT."""
    url, channel = server.next_classic()
    db = connect(server.db)
    with Poller(server.port, url) as page:
        server.wait_waiting(1, "classic")
        db.execute("BEGIN IMMEDIATE")
        db.execute(insert(channel, "one"))
        db.execute(insert(channel, "two"))
        time.sleep(pause)                  # the transaction stays open
        assert page.texts() == []
        db.execute("COMMIT")
        ended = time.monotonic()
        assert page.wait_for(2, 5 * SLOW) == ["one", "two"]
        lag = page.messages[0][2] - ended
        # After 2 s the module no longer checks the store every few
        # milliseconds. Then inotify reports the commit, or else the safety poll
        # finds it.
        assert lag < (0.1 if pause < 2 else 0.7) * SLOW, lag
    db.close()


def test_130_05_thousand_in_one_transaction(server):
    """1,000 rows of one transaction all arrive, in order."""
    db = connect(server.db)
    with Raw(server.port, timeout=20 * SLOW) as conn:
        conn.request("GET", "/comet/bulk?since=0&limit=1000")
        server.wait_waiting(1, "poll")
        db.execute("BEGIN IMMEDIATE")
        for i in range(1000):
            db.execute(insert("bulk", "m%d" % i))
        db.execute("COMMIT")
        got, cursor = [], 0
        while True:
            data = conn.answer().json()
            got += [m["body"] for m in data["messages"]]
            cursor = data["timestamp"]
            if len(got) >= 1000 or not data["messages"]:
                break
            conn.request("GET", "/comet/bulk?since=%d&limit=1000" % cursor)
    db.close()
    assert got == ["m%d" % i for i in range(1000)]


def test_130_06_rollback(server):
    """Rows that are rolled back are never delivered."""
    url, channel = server.next_classic()
    db = connect(server.db)
    with Poller(server.port, url) as page:
        server.wait_waiting(1, "classic")
        db.execute("BEGIN IMMEDIATE")
        db.execute(insert(channel, "never"))
        db.execute("ROLLBACK")
        db.execute(insert(channel, "after"))
        assert page.wait_for(1, 5 * SLOW) == ["after"]
    db.close()


def test_130_07_delete(server):
    """No later replay contains a deleted message, even if the module still had
    it in memory."""
    url, channel = server.next_classic()
    for i in range(6):
        server.publish("m%d" % i, url)
    assert len(server.history(channel)) == 6
    sqlite(server.db, "DELETE FROM message WHERE channel='%s' AND body IN "
           "('m0', 'm3', 'm5');" % channel)
    assert [m["body"] for m in server.history(channel)] == ["m1", "m2", "m4"]
    assert server.get(url + "?timestamp=0").json()["msg"] == "m1"
    server.publish("m6", url)
    got = server.history(channel, "wait=0")
    assert [m["body"] for m in got] == ["m1", "m2", "m4", "m6"]


def test_130_08_delete_all_is_no_resync(server):
    """When a channel is emptied, no client starts over: each waits for the next
    message."""
    url, channel = server.next_classic()
    server.publish("a", url)
    server.publish("b", url)
    with Poller(server.port, url) as page:
        page.wait_for(2, 5 * SLOW)
        server.wait_waiting(1, "classic")
        sqlite(server.db, "DELETE FROM message;")
        server.publish("c", url)
        assert page.wait_for(3, 5 * SLOW) == ["a", "b", "c"]
        server.wait_waiting(1, "classic")
    assert [m["body"] for m in server.history(channel)] == ["c"]


def test_130_09_numbers_increase(server):
    """All writers share one strictly increasing sequence of timestamps."""
    url, channel = server.next_classic()
    db = connect(server.db)
    for i in range(30):
        if i % 3 == 0:
            server.publish("m%d" % i, url)
        elif i % 3 == 1:
            db.execute(insert(channel, "m%d" % i))
        else:
            server.post(channel, "m%d" % i)
    db.close()
    assert server.rows(channel) == ["m%d" % i for i in range(30)]
    stamps = [m["timestamp"] for m in server.history(channel)]
    assert stamps == sorted(set(stamps)) and len(stamps) == 30


def test_130_10_clock_ahead(make_server):
    """A store whose last timestamp is ahead of the clock keeps working."""
    server = make_server()
    first = server.post("chat", "now")
    ahead = first + 86400 * 10 ** 6
    sqlite(server.db, "UPDATE comet_clock SET last=%d;" % ahead)
    stamp = server.post("chat", "tomorrow")
    assert stamp > ahead
    sqlite(server.db, insert("chat", "tomorrow too"))
    assert [m["body"] for m in server.history("chat")] \
        == ["now", "tomorrow", "tomorrow too"]
    data = server.get("/comet/chat?since=%d&wait=0" % first).json()
    assert len(data["messages"]) == 2


@pytest.mark.parametrize("sql", [
    "INSERT INTO message(channel, body) VALUES('', 'x')",
    "INSERT INTO message(channel, body) VALUES(NULL, 'x')",
    "INSERT INTO message(channel, body) VALUES('a//b', 'x')",
    "INSERT INTO message(channel, body) VALUES('a/../b', 'x')",
    "INSERT INTO message(channel, body) VALUES('.', 'x')",
    "INSERT INTO message(channel, body) VALUES('/a', 'x')",
    "INSERT INTO message(channel, body) VALUES('a/', 'x')",
    "INSERT INTO message(channel, body) VALUES('bad', NULL)",
    "INSERT INTO message(channel, body) VALUES(hex(zeroblob(128)),'x')",
    "INSERT INTO message(channel, body) VALUES('bad', x'414243')"])
def test_130_11_bad_rows_are_refused(server, sql):
    """The view refuses, with an error, rows that are not messages."""
    before = sqlite(server.db, "SELECT count(*) FROM message;")
    code, text = sqlite(server.db, sql + ";", check=False)
    assert code != 0, "accepted: " + sql
    assert text.strip()
    assert sqlite(server.db, "SELECT count(*) FROM message;") == before


def test_130_12_columns(server):
    """Another program can set a message's type and author, but not its
    timestamp."""
    sqlite(server.db, "INSERT INTO message(channel, type, author, body) "
           "VALUES('cols', 'alarm', 'cron', 'x');")
    sqlite(server.db, "INSERT INTO message(timestamp, channel, body) "
           "VALUES(5, 'cols', 'y');", check=False)
    got = server.history("cols")
    assert (got[0]["type"], got[0]["author"], got[0]["body"]) \
        == ("alarm", "cron", "x")
    assert all(m["timestamp"] > 10 ** 15 for m in got)


def test_130_13_invalid_utf8_inside(server):
    """Another program can store invalid UTF-8 by a CAST. Sending it to clients
    does no harm."""
    url, channel = server.next_classic()
    with Poller(server.port, url) as page:
        server.wait_waiting(1, "classic")
        sqlite(server.db, "INSERT INTO message(channel, body) VALUES('%s', "
               "CAST(x'41ff42c3' AS TEXT));" % channel, check=False)
        sqlite(server.db, insert(channel, "after"))
        wait_until(lambda: "after" in page.texts(), 5, "the next message")
        assert not page.failures
        assert len(page.texts()) <= 2
    answer = server.get("/comet/%s?since=0&wait=0" % channel)
    answer.body.decode("utf-8")
    assert answer.json()["messages"][-1]["body"] == "after"


def test_130_14_nasty_text(server):
    """Any text that another program stores reaches clients unchanged."""
    url, channel = server.next_classic()
    texts = ["<b>&\"'</script>", "中文😀", "a\r\nb\tc", "\u2028", "x" * 60000]
    db = connect(server.db)
    for text in texts:
        db.execute("INSERT INTO message(channel, body) VALUES(?, ?)",
                   (channel, text))
    db.close()
    assert [m["body"] for m in server.history(channel)] == texts
    cursor = 0
    for text in texts:
        data = server.get(url + "?timestamp=%d" % cursor).json()
        assert html.unescape(data["msg"]) == text
        cursor = data["timestamp"]


def test_130_15_schema(server):
    """The file is in WAL mode, and has our application ID and a version. Its
    schema uses nothing that older versions of SQLite cannot read, such as
    STRICT."""
    assert sqlite(server.db, "PRAGMA journal_mode;") == [["wal"]]
    assert sqlite(server.db, "PRAGMA page_size;") == [["4096"]]
    assert sqlite(server.db, "PRAGMA auto_vacuum;") == [["2"]]
    assert int(sqlite(server.db, "PRAGMA user_version;")[0][0]) >= 1
    assert int(sqlite(server.db, "PRAGMA application_id;")[0][0]) != 0
    assert sqlite(server.db, "PRAGMA quick_check;") == [["ok"]]
    schema = " ".join(r[0] for r in sqlite(
        server.db, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL;"))
    assert not re.search(r"\bSTRICT\b", schema)
    kinds = dict(sqlite(server.db, "SELECT name, type FROM sqlite_master;"))
    assert kinds["message"] == "view"


@pytest.mark.heavy
def test_130_16_outsiders_are_not_starved(server):
    """Other programs' INSERTs succeed while publishers keep the store busy."""
    stop = threading.Event()
    sent = [0] * 6

    def busy(me):
        with Raw(server.port) as conn:
            while not stop.is_set():
                conn.request("POST", "/comet/busy",
                             {"Content-Type": "text/plain"}, b"x" * 200)
                if conn.answer().status == 201:
                    sent[me] += 1

    threads = [threading.Thread(target=busy, args=(i,), daemon=True)
               for i in range(6)]
    for thread in threads:
        thread.start()
    took = []
    try:
        wait_until(lambda: sum(sent) > 50, 5, "publishers to be busy")
        with contextlib.closing(connect(server.db)) as other:
            for i in range(15):
                begin = time.monotonic()
                other.execute(insert("calm", "m%d" % i))
                took.append(time.monotonic() - begin)
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
    assert max(took) < 0.5 * SLOW, took
    assert [m["body"] for m in server.history("calm")] \
        == ["m%d" % i for i in range(15)]
    assert len(server.rows("busy")) == sum(sent)


# -- two children -----------------------------------------------------------

def child_of(server, conn, token):
    """Return the pid of the child that serves this kept-alive connection. The
    access log names the pid."""
    conn.request("GET", "/static.txt?" + token)
    assert conn.answer().status == 200
    line = wait_until(lambda: server.access_lines("?%s " % token), 3,
                      "the access log line")[0]
    return int(line.split()[0])


STATUS = '<Location "/server-status">\nSetHandler server-status\n</Location>\n'


def started_threads(server):
    """Return how many threads of all children serve a request or could."""
    board = server.get("/server-status?auto").body.decode().partition(
        "Scoreboard: ")[2].split()[0]
    return len(board) - board.count(".") - board.count("S")


def two_children(make_server, conf="", env=None):
    """Start a server with two children, and wait for all their threads: until
    then a child closes kept-alive connections instead of letting them wait."""
    server = make_server(children=2, modules=("status",), env=env,
                         conf=conf + "\n" + STATUS)
    wait_until(lambda: len(server.children()) == 2
               and started_threads(server) == 2 * server.threads, 10,
               "all threads")
    return server


def connections_by_child(server, each):
    """Return {pid: [conn…]} with `each` kept-alive connections to every child, or
    more.  (Closing the others at once would keep all threads busy for a moment;
    then a child closes the kept-alive connections, too.)"""
    found = {pid: [] for pid in server.children()}
    for i in range(200):
        conn = Raw(server.port, timeout=20 * SLOW)
        found[child_of(server, conn, "who%d-%d" % (id(found), i))].append(conn)
        if all(len(conns) >= each for conns in found.values()):
            return found
    raise AssertionError(found)


@pytest.mark.event
@pytest.mark.parametrize("deaf", ["", "0", "1"])
def test_130_20_two_children(make_server, deaf):
    """Clients publish and poll in different children, with hints in both
    children or only in one. No message is lost or repeated, and no cursor is
    reset. With hints a message arrives at once."""
    server = two_children(make_server, conf="CometPollTimeout 20s",
                          env={"COMET_TEST_NO_HINTS": deaf} if deaf else {})
    conns = connections_by_child(server, 3)
    pids = sorted(conns)
    # Put a first message into the store.
    server.publish("zero")
    pages = {pid: [Poller(server.port, conn=conns[pid].pop())
                   for _ in range(2)] for pid in pids}
    everyone = [p for ps in pages.values() for p in ps]
    for page in everyone:
        page.start()
    want = ["zero"]
    lags = {pid: [] for pid in pids}
    try:
        for page in everyone:
            page.wait_for(1, 5 * SLOW)
        for i in range(12):
            server.wait_waiting(4, "classic")
            begin = time.monotonic()
            text = "m%d" % i
            if i % 3 == 2:
                sqlite(server.db, insert("chat", text))
                begin = time.monotonic()
            else:
                publisher = conns[pids[i % 3]][0]
                publisher.request("GET", "/chat/backend.php?msg=" + text)
                answer = publisher.answer()
                assert answer.status == 200, answer
            want.append(text)
            for page in everyone:
                assert page.wait_for(len(want), 5 * SLOW) == want
            for pid in pids:
                lags[pid].append(max(p.messages[-1][2] for p in pages[pid])
                                 - begin)
        # Now publish without a pause, from both children in turn.
        for i in range(40):
            publisher = conns[pids[i % 2]][0]
            publisher.request("GET", "/chat/backend.php?msg=f%d" % i)
            assert publisher.answer().status == 200
            want.append("f%d" % i)
        for page in everyone:
            assert page.wait_for(len(want), 20 * SLOW) == want
            assert not page.failures
            assert not page.quiet
            # the page kept its connection, so the same child served it
            assert page.connects == 0
    finally:
        for page in everyone:
            page.done.set()
        for page in everyone:
            page.stop()
        for rest in conns.values():
            for conn in rest:
                conn.close()
    slow = [pid for pid in pids if statistics.median(lags[pid]) > 0.06]
    if deaf and SLOW == 1:
        assert len(slow) <= 1, lags
        # A child can learn of its own messages without a hint. So compare each
        # child's slowest message.
        assert any(max(lags[pid]) > 0.06 for pid in pids), \
            "no child was deaf: the test shows nothing"
        assert all(max(lags[pid]) < 1.5 for pid in pids), lags
    elif SLOW == 1:
        assert not slow, lags
    status = server.status()
    assert status["children"] == 2
    server.wait_waiting(0)


@pytest.mark.event
@pytest.mark.parametrize("deaf", ["", "0", "1"])
def test_130_21_read_your_write_elsewhere(make_server, deaf):
    """A cursor that one child has just returned is known to the other child,
    too. The client does not start over there."""
    server = two_children(make_server, conf="CometPollTimeout 2s",
                          env={"COMET_TEST_NO_HINTS": deaf} if deaf else {})
    conns = connections_by_child(server, 1)
    one, two = [c[0] for c in conns.values()]
    for a, b in ((one, two), (two, one)) * 10:
        a.request("POST", "/comet/chat", {"Content-Type": "text/plain"},
                  b"x")
        stamp = a.answer().json()["timestamp"]
        b.request("GET", "/comet/chat?since=%d&wait=0" % stamp)
        data = b.answer().json()
        assert data == {"messages": [], "timestamp": stamp, "gap": False}
        b.request("GET", "/comet/chat?since=%d&wait=0" % (stamp - 1))
        assert [m["timestamp"] for m in b.answer().json()["messages"]] \
            == [stamp]
    one.close()
    two.close()


@pytest.mark.event
def test_130_22_delete_in_every_child(make_server):
    """No child answers with a deleted message from its memory, even if it gets
    no hints."""
    server = two_children(make_server, env={"COMET_TEST_NO_HINTS": "1"})
    conns = connections_by_child(server, 1)
    for i in range(4):
        server.post("chat", "m%d" % i)
    for conn in (c[0] for c in conns.values()):
        conn.request("GET", "/comet/chat?since=0&wait=0")
        assert len(conn.answer().json()["messages"]) == 4
    sqlite(server.db, "DELETE FROM message WHERE body='m1';")
    for conn in (c[0] for c in conns.values()):
        conn.request("GET", "/comet/chat?since=0&wait=0")
        bodies = [m["body"] for m in conn.answer().json()["messages"]]
        assert bodies == ["m0", "m2", "m3"]
        conn.request("GET", "/chat/backend.php?timestamp=0")
        assert json.loads(conn.answer().body)["msg"] == "m0"
        conn.close()


def test_130_23_quote_helper():
    """quote() encodes a URL's parameter exactly as the page's script does."""
    assert quote("a b+c中") == "a%20b%2Bc%E4%B8%AD"


def test_130_24_many_stores_in_a_folder(make_server):
    """One inotify instance serves all stores of a child, because a user may
    have only 128 instances. What another program writes into any of these
    stores reaches the clients."""
    server = make_server(start=False, children=1)
    server.conf = many_hosts(server, 12, 12)
    server.start()
    (child,) = server.children()
    for n in (0, 5, 11):
        with server.raw() as conn:
            conn.request("GET", "/comet/x?since=0", {"Host": "h%d" % n})
            server.wait_waiting(1, "poll")
            sqlite("%s/s%d.db" % (server.data, n), insert("x", "to %d" % n))
            assert "to %d" % n in conn.answer().body.decode()
    links = []
    for fd in os.listdir("/proc/%d/fd" % child):
        # the descriptor may have been closed meanwhile
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink("/proc/%d/fd/%s" % (child, fd)))
    assert sum("inotify" in link for link in links) == 1
