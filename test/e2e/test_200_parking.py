# SPDX-License-Identifier: Apache-2.0
"""Waiting without a thread on the event MPM, also with unusual and slow
clients."""

import json
import os
import socket
import statistics
import time

import pytest

from comet_load import Load
from http_client import Poller, Raw
from httpd_env import (SLOW, alive, fd_count, sqlite, thread_count,
                       wait_until)

pytestmark = [pytest.mark.event, pytest.mark.both_paths]

TEXT = {"Content-Type": "text/plain"}


def held_poll(server, url="/chat/backend.php", cursor=0, **kwargs):
    """Open a classic poll; return its connection once the headers have
    arrived."""
    conn = server.raw(**kwargs)
    conn.request("GET", "%s?timestamp=%d" % (url, cursor))
    assert conn.head() == 200
    return conn


def median_static(server, count=20):
    took = []
    for _ in range(count):
        begin = time.monotonic()
        assert server.get("/static.txt").status == 200
        took.append(time.monotonic() - begin)
    return statistics.median(took)


def test_200_01_no_thread_per_client(make_server):
    """300 polls and 100 clocks wait on a child with 8 threads. The child starts
    no further thread and still serves a file, and one message reaches all
    polls."""
    server = make_server(threads=8)
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    child = server.children()[0]
    median_static(server, 10)
    before = thread_count(child)
    with Load(server.port) as load:
        polls = load.hold(300, "/chat/backend.php?timestamp=%d" % cursor)
        clocks = load.hold(100, "/clock/backend.php", keep_body=False)
        server.wait_waiting(400, timeout=10)
        assert thread_count(child) == before
        assert median_static(server) < 0.05 * SLOW
        begin = time.monotonic()
        server.publish("to all")
        load.wait(lambda: all(p.end_at for p in polls), 10 * SLOW,
                  "the publish to reach all")
        assert max(p.end_at for p in polls) - begin < 1.0 * SLOW
        assert all(json.loads(p.body)["msg"] == "to all" for p in polls)
        have = [len(c.pieces) for c in clocks]
        load.wait(lambda: all(len(c.pieces) >= n + 2
                              for c, n in zip(clocks, have)),
                  6 * SLOW, "two more ticks on all clocks")
        assert not any(c.lost_at for c in clocks)
        assert thread_count(child) == before
    server.wait_waiting(0, timeout=5)


def test_200_02_keepalive_polls(make_server):
    """1,000 held polls, one after the other on one connection, are all
    answered."""
    server = make_server()
    lags, cursor = [], 0
    with server.raw() as page, server.raw() as writer:
        for i in range(1000):
            page.request("GET", "/chat/backend.php?timestamp=%d" % cursor)
            assert page.head() == 200
            begin = time.monotonic()
            writer.request("GET", "/chat/backend.php?msg=m%d" % i)
            data = json.loads(page.body())
            lags.append(page.stamp - begin)
            assert writer.answer().status == 200
            assert data["msg"] == "m%d" % i
            cursor = data["timestamp"]
    assert statistics.median(lags) < 0.02 * SLOW, statistics.median(lags)
    assert max(lags) < 1.0 * SLOW
    wait_until(lambda: len(server.access_lines("timestamp=")) == 1000, 5,
               "a line in the log for each")


@pytest.mark.parametrize("early", [False, True], ids=["after", "with"])
def test_200_03_pipelined(make_server, early):
    """A request pipelined behind a poll ends the poll without news. Both are
    answered in order on the same connection."""
    server = make_server()
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    with server.raw() as conn:
        poll = conn.format("GET", "/chat/backend.php?timestamp=%d" % cursor)
        file = conn.format("GET", "/static.txt")
        again = conn.format("GET", "/chat/backend.php?timestamp=0")
        if early:
            conn.send(poll + file + again)
            assert conn.head() == 200
        else:
            conn.send(poll)
            assert conn.head() == 200
            server.wait_waiting(1, "classic")
            conn.send(file + again)
        assert json.loads(conn.body()) == {"msg": "", "timestamp": cursor}
        assert conn.answer().body == b"a static file\n"
        assert conn.answer().json()["msg"] == "x"
        # Poll again on this connection, and let a message end the poll.
        conn.request("GET", "/chat/backend.php?timestamp=%d" % cursor)
        assert conn.head() == 200
        server.wait_waiting(1, "classic")
        server.publish("y")
        assert json.loads(conn.body())["msg"] == "y"


def test_200_04_pipelined_polls(make_server):
    """Twenty pipelined polls are answered in order, and only the last one
    waits."""
    server = make_server()
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    with server.raw() as conn:
        conn.send(conn.format("GET", "/chat/backend.php?timestamp=%d"
                              % cursor) * 20)
        for _ in range(19):
            assert conn.answer().json() == {"msg": "", "timestamp": cursor}
        assert conn.head() == 200
        server.wait_waiting(1, "classic")
        assert conn.silent(0.3)
        server.publish("y")
        assert json.loads(conn.body())["msg"] == "y"


def test_200_04b_pipelined_polls_to_one_who_does_not_read(make_server):
    """Clients send many pipelined polls and read the answers late.  Each poll
    is answered completely, in order, and logged; none waits for ever."""
    server = make_server(conf="CometMaxSubscribers 5\nSendBufferSize 4608\n")
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    target = "/chat/backend.php?timestamp=%d" % cursor
    conns = [server.raw(rcvbuf=2048) for _ in range(6)]
    for conn in conns:
        conn.send(conn.format("GET", target) * 98
                  + conn.format("GET", "/static.txt"))
    logged, before = 0, -1
    while logged != before:             # until no client gets further answers
        before, logged = logged, len(server.access_lines("timestamp="))
        time.sleep(0.5)
    assert logged < 6 * 98
    for conn in conns:
        for _ in range(98):
            assert conn.answer().json() == {"msg": "", "timestamp": cursor}
        assert conn.answer().body == b"a static file\n"
        conn.close()
    server.wait_waiting(0)
    assert len(server.access_lines("timestamp=")) == 6 * 98


def test_200_05_half_request_behind_a_poll(make_server):
    """The first bytes of the next request end a poll, even if the rest of the
    request comes late."""
    server = make_server()
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    with held_poll(server, cursor=cursor) as conn:
        server.wait_waiting(1, "classic")
        conn.send(b"GET /static.txt HT")
        assert json.loads(conn.body())["msg"] == ""
        server.wait_waiting(0)
        conn.send(b"TP/1.1\r\nHost: localhost\r\n\r\n")
        assert conn.answer().body == b"a static file\n"


def test_200_06_poll_with_a_body(make_server):
    """The body of a held poll is not taken for the next request (smuggling)."""
    server = make_server()
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    inner = b"GET /chat/backend.php?msg=smuggled HTTP/1.1\r\n" \
            b"Host: localhost\r\n\r\n"
    with server.raw() as conn:
        conn.send(conn.format("POST", "/chat/backend.php?timestamp=%d"
                              % cursor, TEXT, inner))
        assert conn.head() == 200
        server.wait_waiting(1, "classic")
        server.publish("y")
        assert json.loads(conn.body())["msg"] == "y"
        conn.request("GET", "/static.txt")
        assert conn.answer().body == b"a static file\n"
    with server.raw() as conn:
        head = conn.format("GET", "/comet/chat?since=%d&wait=1"
                           % (cursor + 10 ** 5),
                           {"Content-Length": str(len(inner))})
        conn.send(head + inner)
        assert conn.answer().status in (200, 400)
    assert server.rows("chat") == ["x", "y"]


def test_200_07_half_close(make_server):
    """The server notices within 5 s that clients have shut down their sending
    side."""
    server = make_server()
    conns = [held_poll(server) for _ in range(5)]
    clock = server.raw()
    clock.request("GET", "/clock/backend.php")
    clock.head()
    server.wait_waiting(6)
    for conn in conns + [clock]:
        conn.sock.shutdown(socket.SHUT_WR)
    server.wait_waiting(0, timeout=5)
    for conn in conns + [clock]:
        wait_until(lambda c=conn: c.at_eof(1) or c.buffer, 5, "the close")
        conn.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_200_08_gone(make_server, how):
    """The server notices within 5 s that clients of every kind have closed
    their connections, and leaks no descriptor."""
    server = make_server(threads=8)
    child = server.children()[0]
    left = []
    for _ in range(2):                  # the first round also opens the store
        conns = []
        for target in ("/chat/backend.php", "/comet/x",
                       "/clock/backend.php"):
            for _ in range(20):
                conn = server.raw()
                conn.request("GET", target)
                conns.append(conn)
        server.wait_waiting(60)
        assert fd_count(child) >= 60
        for conn in conns:
            getattr(conn, how)()
        server.wait_waiting(0, timeout=5)
        # Each of the 8 threads may keep a connection to the store open.
        most = left[0] + 2 * 8 + 2 if left else 44
        wait_until(lambda m=most: fd_count(child) <= m, 5, "the fds to close")
        left.append(fd_count(child))


def test_200_09_gone_at_the_same_moment(make_server):
    """A client that leaves while it is being answered harms no other client
    (100 rounds)."""
    server = make_server()
    with Poller(server.port) as page:
        for i in range(100):
            conns = [held_poll(server, cursor=page.cursor)
                     for _ in range(3)]
            conns[0].close()
            server.publish("m%d" % i)
            conns[1].reset()
            conns[2].close()
            page.wait_for(i + 1, 5 * SLOW)
        assert not page.failures
    server.wait_waiting(0)


def test_200_10_never_reads(make_server):
    """100 clients that never read do not delay other clients."""
    server = make_server(threads=16, conf="CometPollTimeout 40s")
    big = "x" * 60000

    def lag(page):
        lags = []
        for _ in range(10):
            begin = time.monotonic()
            have = len(page.messages)
            server.post("chat", big)
            page.wait_for(have + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - begin)
        return lags

    stuck = []
    with Poller(server.port) as page:
        server.wait_waiting(1)
        before = lag(page)
        cursor = page.cursor
        for i in range(100):
            conn = Raw(server.port, rcvbuf=2048)
            if i % 2:
                conn.request("GET", "/comet/chat?since=%d" % cursor)
            else:
                conn.request("GET", "/chat/backend.php?timestamp=%d"
                             % cursor)
            stuck.append(conn)
        server.wait_waiting(101, timeout=10)
        after = lag(page)
        assert not page.failures
        assert median_static(server) < 0.05 * SLOW
        for conn in stuck:
            conn.close()
    allowed = (2 * statistics.median(before) + 0.05) * SLOW
    assert statistics.median(after) < allowed, (before, after)
    assert max(after) < 1.0 * SLOW, after
    server.wait_waiting(0, timeout=5)


def test_200_10b_never_reads_a_bulk(make_server):
    """50 clients never read, and one transaction stores 40 messages of 60 kB
    for these clients. Other clients are not delayed."""
    server = make_server(threads=16, conf="CometPollTimeout 40s")
    stuck = []
    for _ in range(50):
        conn = Raw(server.port, rcvbuf=2048)
        conn.request("GET", "/comet/bulk?since=0&limit=1000")
        stuck.append(conn)
    server.wait_waiting(50, timeout=10)
    with Poller(server.port) as page:
        server.wait_waiting(51)
        sqlite(server.db, "BEGIN IMMEDIATE;" + "".join(
            "INSERT INTO message(channel, body) VALUES('bulk', "
            "hex(zeroblob(30000)));" for _ in range(40)) + "COMMIT;")
        lags = []
        for i in range(10):
            begin = time.monotonic()
            server.publish("m%d" % i)
            page.wait_for(i + 1, 5 * SLOW)
            lags.append(page.messages[-1][2] - begin)
        assert statistics.median(lags) < 0.1 * SLOW, lags
        assert max(lags) < 1.0 * SLOW, lags
        assert median_static(server) < 0.05 * SLOW
        assert not page.failures
    with server.raw() as good:
        good.request("GET", "/comet/bulk?since=0&limit=1000&wait=0")
        got, data = [], good.answer().json()
        while data["messages"]:
            got += data["messages"]
            good.request("GET", "/comet/bulk?since=%d&limit=1000&wait=0"
                         % data["timestamp"])
            data = good.answer().json()
        assert len(got) == 40
    for conn in stuck:
        conn.close()
    server.wait_waiting(0, timeout=5)


def test_200_11_never_reads_a_clock(make_server):
    """Clocks that nobody reads do not delay a clock that is read."""
    server = make_server(conf="CometTick 100ms")
    stuck = []
    for _ in range(50):
        conn = Raw(server.port, rcvbuf=2048)
        conn.request("GET", "/clock/backend.php")
        stuck.append(conn)
    with server.raw() as good:
        good.request("GET", "/clock/backend.php")
        good.head()
        good.chunk()
        server.wait_waiting(51, "clock", timeout=10)
        stamps = []
        end = time.monotonic() + 4
        while time.monotonic() < end:
            good.chunk()
            stamps.append(good.stamp)
        gaps = [b - a for a, b in zip(stamps, stamps[1:])]
        assert len(stamps) >= 35, len(stamps)
        assert max(gaps) < 0.5 * SLOW, max(gaps)
    assert median_static(server) < 0.05 * SLOW
    for conn in stuck:
        conn.close()
    server.wait_waiting(0, timeout=5)


def test_200_12_never_reads_a_history(make_server):
    """40 clients request megabytes of history and read none of it. The 16
    threads still serve other clients."""
    server = make_server(threads=16)
    for _ in range(60):
        server.post("big", "x" * 60000)
    stuck = []
    for _ in range(40):
        conn = Raw(server.port, rcvbuf=2048)
        conn.request("GET", "/comet/big?since=0&limit=1000&wait=0")
        stuck.append(conn)
    with Poller(server.port) as page:
        server.wait_waiting(1, "classic")
        for i in range(5):
            begin = time.monotonic()
            server.publish("m%d" % i)
            page.wait_for(i + 1, 5 * SLOW)
            assert page.messages[-1][2] - begin < 1.0 * SLOW
    assert median_static(server) < 0.05 * SLOW
    for conn in stuck:
        conn.close()


def test_200_13_slow_reader_gets_all(make_server):
    """A client that reads slowly gets its whole answer, unchanged."""
    server = make_server()
    text = "".join(chr(0x4e00 + i % 5000) for i in range(20000))
    with Raw(server.port, rcvbuf=2048, timeout=30) as conn:
        conn.request("GET", "/comet/slow?since=0")
        server.wait_waiting(1)
        server.post("slow", text)
        conn.head()
        got = b""
        while True:
            time.sleep(0.002)               # to read slowly
            data = conn.sock.recv(1024)
            conn.buffer += data
            if len(conn.buffer) >= conn.left or not data:
                break
        got = conn.body()
        assert json.loads(got)["messages"][0]["body"] == text
        conn.request("GET", "/static.txt")
        assert conn.answer().status == 200


def test_200_14_slow_reader_of_a_late_answer(make_server):
    """The hub answers polls of clients that do not read yet.  The answers are
    complete when the clients finally read them."""
    server = make_server()
    text = "y" * 65000
    conns = []
    for _ in range(8):
        conn = Raw(server.port, rcvbuf=8192, timeout=20)
        conn.request("GET", "/comet/late?since=0")
        conns.append(conn)
    server.wait_waiting(8)
    server.post("late", text)
    with Poller(server.port, "/chat/backend.php") as page:
        server.publish("others go on")
        page.wait_for(1, 5 * SLOW)
    for conn in conns:
        data = conn.answer().json()
        assert [m["body"] for m in data["messages"]] == [text]
        conn.close()


def test_200_15_keepalive_expires(make_server):
    """KeepAliveTimeout applies to a connection after a poll's answer."""
    server = make_server(conf="KeepAliveTimeout 1")
    with held_poll(server) as conn:
        server.publish("x")
        conn.body()
        begin = time.monotonic()
        assert conn.at_eof(5 * SLOW)
        assert 0.5 < time.monotonic() - begin < 4 * SLOW


def test_200_15b_at_once_then_keepalive_expires(make_server):
    """KeepAliveTimeout also applies after a poll that was answered at once."""
    server = make_server(conf="KeepAliveTimeout 1")
    server.post("at-once", "x")
    with server.raw() as conn:
        for _ in range(3):
            conn.request("GET", "/comet/at-once?since=0")
            assert len(conn.answer().json()["messages"]) == 1
        begin = time.monotonic()
        assert conn.at_eof(5 * SLOW)
        assert 0.5 < time.monotonic() - begin < 4 * SLOW
    server.wait_waiting(0)


def test_200_15c_who_falls_behind_is_kept(make_server):
    """Clients that are always behind the newest message keep their connections,
    even if there are more clients than threads."""
    server = make_server(threads=4, conf="AsyncRequestWorkerFactor 40")
    for number in range(30):
        server.post("behind", str(number))
    conns = [server.raw() for _ in range(40)]
    cursors = [0] * len(conns)
    for _ in range(30):
        for conn, cursor in zip(conns, cursors):
            conn.request("GET", "/comet/behind?limit=1&since=%d" % cursor)
        for number, conn in enumerate(conns):
            cursors[number] = conn.answer().json()["timestamp"]
    assert set(cursors) == {server.history("behind")[-1]["timestamp"]}
    for conn in conns:
        conn.close()


def test_200_15d_pipelined_behind_an_answer_at_once(make_server):
    """If requests arrive together and the first is answered at once, the others
    are answered at once, too."""
    server = make_server()
    server.post("both", "x")
    with server.raw() as conn:
        one = conn.format("GET", "/comet/both?since=0")
        conn.send(one + one + conn.format("GET", "/static.txt"))
        for _ in range(2):
            assert len(conn.answer().json()["messages"]) == 1
        assert conn.answer().status == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_200_15e_one_piece(make_server, version):
    """The head and the body of a poll's answer arrive in one piece, and the
    head gives the length. So even an HTTP/1.0 connection can be kept."""
    server = make_server()
    with server.raw() as conn:
        for number in range(2):
            since = server.post("one", "x")
            conn.request("GET", "/comet/one?since=%d" % since,
                         {"Connection": "keep-alive"}, version=version)
            server.wait_waiting(1, "poll")
            assert conn.silent(0.2)
            server.post("one", "y%d" % number)
            assert conn.fill()
            head, _, body = conn.buffer.partition(b"\r\n\r\n")
            assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
            assert b"Transfer-Encoding" not in head
            assert conn.answer().json()["messages"][0]["body"] == "y%d" % number


def test_200_16_keepalive_shorter_than_poll(make_server):
    """KeepAliveTimeout and RequestReadTimeout do not end a held poll."""
    server = make_server(conf="KeepAliveTimeout 1\n"
                         "RequestReadTimeout header=1 body=1\n")
    with held_poll(server) as conn:
        assert conn.silent(3.0)
        server.publish("x")
        assert json.loads(conn.body())["msg"] == "x"


@pytest.mark.parametrize("how", ["header", "KeepAlive off", "http10"])
def test_200_17_without_keepalive(make_server, how):
    """Without keep-alive the connection ends after a poll's answer."""
    server = make_server(
        keepalive="off" if how == "KeepAlive off" else "on")
    with server.raw() as conn:
        conn.request("GET", "/chat/backend.php", {
            "Connection": "close"} if how == "header" else {},
            version="1.0" if how == "http10" else "1.1")
        assert conn.head() == 200
        server.wait_waiting(1)
        server.publish("x")
        assert json.loads(conn.body())["msg"] == "x"
        assert conn.at_eof(3 * SLOW)
    server.wait_waiting(0)


def test_200_18_max_keepalive_requests(make_server):
    """MaxKeepAliveRequests counts polls as requests."""
    server = make_server(max_keepalive=3)
    with server.raw() as conn:
        cursor = 0
        for i in range(4):          # httpd keeps the connection 3 times
            conn.request("GET", "/chat/backend.php?timestamp=%d" % cursor)
            assert conn.head() == 200
            server.wait_waiting(1)
            server.publish("m%d" % i)
            cursor = json.loads(conn.body())["timestamp"]
            assert ("close" in conn.headers.get("connection", "")) \
                == (i == 3)
        assert "close" in conn.headers.get("connection", "")
        assert conn.at_eof(3 * SLOW)


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_200_19_idle_costs_nothing(make_server):
    """100 clients that wait without news use almost no CPU."""
    server = make_server()
    conns = [held_poll(server) for _ in range(100)]
    server.wait_waiting(100)
    child = server.children()[0]
    before = cpu_seconds(child)
    time.sleep(2.0)  # the CPU time of this idle period is measured
    used = cpu_seconds(child) - before
    for conn in conns:
        conn.close()
    assert used < 0.1 * SLOW, used


def test_200_20_outlives_timeout_by_polling(make_server):
    """A page polls again and again for longer than Timeout (2 s), and sees no
    error."""
    server = make_server(timeout=2, conf="KeepAliveTimeout 1")
    with Poller(server.port) as page:
        wait_until(lambda: len(page.quiet) >= 3, 10, "three no-news answers")
        server.publish("x")
        page.wait_for(1, 5 * SLOW)
        assert not page.failures
        assert page.connects == 1, "the connection was not kept"


def test_200_21_access_log(make_server):
    """Each poll and each stream has one line in the access log."""
    server = make_server()
    for i in range(5):
        with held_poll(server, cursor=0) as conn:
            server.wait_waiting(1)
            if i % 2:
                server.publish("x")
                conn.body()
                server.get("/comet-status")
                # The next poll must wait again.
                sqlite(server.db, "DELETE FROM message;")
        server.wait_waiting(0)
    clock = server.raw()
    clock.request("GET", "/clock/backend.php")
    clock.head()
    clock.chunk()
    clock.close()
    server.wait_waiting(0)
    wait_until(lambda: len(server.access_lines("timestamp=")) == 5, 5,
               "5 lines")
    wait_until(lambda: len(server.access_lines("/clock/")) == 1, 5,
               "a line for the clock")
    for line in server.access_lines("timestamp=") \
            + server.access_lines("/clock/"):
        assert line.split()[2] == "200", line


def test_200_22_fan_out_in_order(make_server):
    """200 pages each receive 20 messages in order."""
    server = make_server(threads=16)
    with Load(server.port) as load:
        pages = load.follow(200, "classic", "/chat/backend.php")
        server.wait_waiting(200, "classic", timeout=10)
        want = ["m%d" % i for i in range(20)]
        for text in want:
            server.publish(text)
        load.wait(lambda: all(len(p.bodies) >= 20 for p in pages),
                  20 * SLOW, "all messages on all pages")
        for page in pages:
            assert page.bodies == want
            assert not page.errors
    server.wait_waiting(0)
    assert server.status()["delivered"] == 200 * 20


def test_200_23_register_then_replay(make_server):
    """Polls that arrive while messages are being committed miss no message."""
    server = make_server()
    with Load(server.port) as load:
        pages = load.follow(20, "endpoint", "/comet/race")
        sent = []
        with server.raw() as writer:
            for i in range(500):
                writer.request("POST", "/comet/race", TEXT, b"m%d" % i)
                assert writer.answer().status == 201
                sent.append("m%d" % i)
        load.wait(lambda: all(len(p.bodies) >= 500 for p in pages),
                  20 * SLOW, "500 messages on 20 pages")
        for page in pages:
            assert page.bodies == sent
            assert not page.errors


def read_slowly(conn):
    """Read an answer piece by piece; return its body."""
    while b"\r\n\r\n" not in conn.buffer:
        conn.buffer += conn.sock.recv(4096)
    assert conn.head() == 200
    while len(conn.buffer) < conn.left:
        conn.buffer += conn.sock.recv(2048)
    return conn.body()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize("late", [False, True], ids=["stored", "late"])
def test_200_24_slow_readers_hold_no_thread(make_server, late, tls):
    """Clients that read a long answer slowly and then fall silent hold no
    thread. Their connections end at KeepAliveTimeout."""
    server = make_server(threads=4, tls=tls, conf="SendBufferSize 16384\n"
                         "KeepAliveTimeout 2\n")
    fill = "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL" \
        " SELECT i + 1 FROM n WHERE i < 230)" \
        " INSERT INTO message(channel, body)" \
        " SELECT 'big', hex(zeroblob(500)) FROM n; COMMIT"
    if not late:
        sqlite(server.db, fill)
    port = server.tls_port if tls else server.port
    conns = []
    for _ in range(6):
        conns.append(Raw(port, tls=tls, rcvbuf=2048, timeout=20))
        conns[-1].request("GET", "/comet/big?since=0&limit=1000"
                          + ("" if late else "&wait=0"))
    if late:
        server.wait_waiting(6)
        sqlite(server.db, fill)
    for conn in conns:
        assert len(json.loads(read_slowly(conn))["messages"]) == 230
    begin = time.monotonic()
    assert server.get("/static.txt").status == 200
    assert time.monotonic() - begin < 1 * SLOW
    for conn in conns:
        assert conn.at_eof(5 * SLOW)
        conn.close()
    assert time.monotonic() - begin < 6 * SLOW


def test_200_25_slow_readers_over_a_reload(make_server):
    """After a graceful reload a client can go on reading a long answer for as
    long as Timeout allows, like somebody who downloads a file.  Then the old
    child ends."""
    server = make_server(tls=True, conf="SendBufferSize 16384\n")
    text = '"' * 300_000
    fill = "INSERT INTO message(channel, body) VALUES('%s', '" + text + "')"
    sqlite(server.db, fill % "stored")
    conns = []
    for tls in (False, True):
        for target in ("stored?since=0&wait=0", "late?since=0") * 2:
            conns.append(server.raw(tls=tls, rcvbuf=2048, timeout=20))
            conns[-1].request("GET", "/comet/" + target)
    server.wait_waiting(4)
    sqlite(server.db, fill % "late")
    for conn in conns:
        assert conn.head() == 200
    old = server.graceful()
    gone = time.monotonic() + 2.5   # the limit for streams is 2 s
    while time.monotonic() < gone:
        for conn in conns:
            conn.buffer += conn.sock.recv(2048)
        time.sleep(0.02)            # to read slowly
    assert any(map(alive, old))     # it sends the rest
    for conn in conns:
        message, = json.loads(conn.body())["messages"]
        assert message["body"] == text
        assert conn.at_eof(5 * SLOW)
    wait_until(lambda: not any(map(alive, old)), 10, "the old child's end")
