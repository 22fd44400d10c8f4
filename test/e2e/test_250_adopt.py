# SPDX-License-Identifier: Apache-2.0
"""Adopted streams: which streams the hub takes over from httpd, and that they
behave like others."""

import contextlib
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

from httpd_env import SLOW, alive, thread_count, wait_until
from stream_client import EVENTS, Stream, post

# Fields of Debian's "combined" format (%h %u %>s …), and others.
LOG = """
LogFormat "%h %u %>s %B %O %D %X %k %p %{c}a %v %U%q %{Referer}i|%{User-Agent}i|\
%{Host}i|%{Cookie}i|%{Content-Type}o|%{SEEN}e|%{local}p|%H|%m|%R" full
CustomLog "logs/full.log" full
CustomLog "logs/seen.log" "%U" env=SEEN
SetEnvIf X-Seen . SEEN=yes
"""
AUTH = """
<Location "/comet/members">
  AuthType Basic
  AuthName members
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
<Location "/comet/members/for-ever">
  CometMaxLifetime off
</Location>
"""


def adopted(server):
    return server.status()["adopted"]


def wait_adopted(server, count):
    wait_until(lambda: adopted(server) == count, 6,
               "%d adopted streams" % count)


def lines(server, name):
    with open(os.path.join(server.root, "logs", name),
              encoding="utf-8") as log:
        return log.read().splitlines()


def wait_line(server, name, part):
    """Wait for the only log line that contains `part`; return it."""
    wait_until(lambda: any(part in line for line in lines(server, name)),
               what="a line with %s in %s" % (part, name))
    found = [line for line in lines(server, name) if part in line]
    assert len(found) == 1, found
    return found[0]


def end_of(conn):
    """Read a stream to its end, and check that it ends properly; return the
    body."""
    body = conn.body()
    assert conn.framing == "none", "no last chunk"
    assert conn.at_eof(2 * SLOW), "it is not closed"
    return body


# -- which streams are adopted -------------------------------------------------

def test_250_01_which(make_server):
    """The hub adopts plain streams of the endpoint, and nothing else."""
    server = make_server(conf=AUTH + """
CometPollTimeout 20s
CometMaxLifetime off
<Location "/comet/members/an-hour">
  CometMaxLifetime 1h
</Location>
<Location "/comet/kept">
  CometAdopt off
</Location>
<Location "/comet/filtered">
  SetOutputFilter SUBSTITUTE
</Location>
<Location "/comet/slow">
  SetOutputFilter RATE_LIMIT
</Location>
""", modules=("substitute", "ratelimit"), tls=True)
    with open(os.path.join(server.root, "conf", "users"), "w",
              encoding="ascii") as users:
        users.write("anna:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n")  # "admin"
    anna = {"Authorization": "Basic YW5uYTphZG1pbg=="}
    cases = (("/comet/a", EVENTS, 1), ("/comet/a?transport=iframe", {}, 1),
             ("/comet/a?transport=poll&since=0&wait=20", {}, 0),
             ("/comet/kept", EVENTS, 0), ("/comet/filtered", EVENTS, 0),
             ("/comet/slow", EVENTS, 0), ("/clock/backend.php", {}, 0),
             ("/comet/members/an-hour", dict(EVENTS, **anna), 1),
             ("/comet/members/for-ever", dict(EVENTS, **anna), 0))
    for target, headers, expected in cases:
        with server.raw() as conn:
            conn.request("GET", target, headers)
            server.wait_waiting(1)
            wait_adopted(server, expected)
        server.wait_waiting(0)
    with server.raw(tls=True) as conn:
        conn.request("GET", "/comet/a", EVENTS)
        assert conn.head() == 200
        server.wait_waiting(1)
        assert adopted(server) == 0


def test_250_02_a_stranger_in_the_log(make_server):
    """If another module hooks into the end of each request, no stream is
    adopted."""
    server = make_server(modules=("log_debug",))
    assert "CometAdopt: off, since mod_log_debug.c" in server.error_log()
    with Stream(server, "/comet/a"):
        server.wait_waiting(1)
        assert adopted(server) == 0


def test_250_05_buffered_logs(make_server, mpm):
    """Prefork has no lock for threads that write a buffered log, so no stream
    is adopted there. On other MPMs the log has the stream's line after a
    stop."""
    server = make_server(mpm=mpm, conf="BufferedLogs on\n")
    with Stream(server, "/comet/a"):
        server.wait_waiting(1)
        wait_adopted(server, 0 if mpm == "prefork" else 1)
    assert ("CometAdopt: off, since BufferedLogs" in server.error_log()) \
        == (mpm == "prefork")
    server.wait_waiting(0)
    server.stop()
    assert len(server.access_lines("GET /comet/a ")) == 1


def test_250_03_every_mpm(make_server, mpm):
    """On every MPM adopted streams take no thread: there can be more streams
    than threads."""
    server = make_server(mpm=mpm, threads=3, mpm_conf=(
        "StartServers 2\nServerLimit 2\nMaxRequestWorkers 2\n"
        "MinSpareServers 1\nMaxSpareServers 3\n" if mpm == "prefork" else None))
    streams = [Stream(server, "/comet/a") for _ in range(40)]
    server.wait_waiting(40)
    wait_adopted(server, 40)
    assert server.status()["blocked"] == 0
    assert server.get("/static.txt", timeout=2).status == 200
    for number in range(20):
        post(server, "a", "m%d" % number)
    for stream in streams:
        assert stream.until(20) == ["m%d" % i for i in range(20)]
        stream.conn.close()
    wait_adopted(server, 0)


def test_250_04_no_connection_of_httpds(make_server):
    """Adopted streams do not count as connections of the MPM.  A child with
    four threads and at most seven connections holds 200 streams."""
    server = make_server(threads=4, mpm_conf=(
        "ServerLimit 1\nStartServers 1\nThreadsPerChild 4\n"
        "MaxRequestWorkers 4\nMinSpareThreads 1\nMaxSpareThreads 4\n"
        "AsyncRequestWorkerFactor 1\n"))
    child = server.children()[0]
    before = thread_count(child)
    streams = [Stream(server, "/comet/a") for _ in range(200)]
    wait_adopted(server, 200)
    assert thread_count(child) == before
    assert server.get("/static.txt", timeout=2).status == 200
    post(server, "a", "x")
    for stream in streams:
        assert stream.until(1) == ["x"]
        stream.conn.close()


# -- the log -------------------------------------------------------------------

def logged_stream(server):
    """Open a stream as the second request of its connection, and send 30
    messages to it. Return the stream's body, the bounds of its duration, and
    the fields of its log line."""
    headers = {"Referer": "http://here/", "User-Agent": "tester",
               "Cookie": "a=b", "X-Seen": "1", "Host": "localhost:1234"}
    begin = time.monotonic()
    with server.raw() as conn:
        conn.request("GET", "/comet/other?wait=0&since=0")
        conn.answer()
        conn.request("GET", "/comet/log?transport=events", headers)
        conn.head()
        open_at = time.monotonic()
        server.wait_waiting(1)
        for number in range(30):
            post(server, "log", "message %d" % number)
        body = b""
        while not re.search(rb"message 29\nid: \d+\n\n", body):
            body += conn.chunk()
        assert not any("/comet/log?" in line
                       for line in lines(server, "full.log"))
        lived = time.monotonic() - open_at
        # A further request of the client ends the stream properly.
        conn.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        body += conn.body()
    took = time.monotonic() - begin
    line = wait_line(server, "full.log", "/comet/log?transport=events")
    assert lines(server, "seen.log") == ["/comet/log"]
    return body, (lived, took), line.replace(str(server.port),
                                             "PORT").split(" ")


def test_250_10_access_log(make_server):
    """An adopted stream is logged once, when it really ends. Its line has the
    same fields as the line of a stream that httpd keeps."""
    body, (lived, took), mine = logged_stream(make_server(conf=LOG))
    _, _, httpds = logged_stream(make_server(conf=LOG + "CometAdopt off\n"))
    assert int(mine[3]) == len(body)
    assert int(mine[4]) > len(body)
    assert lived * 1e6 <= int(mine[5]) <= took * 1e6
    assert mine[1:3] == ["-", "200"]
    for name in (3, 4, 5):          # bytes and durations differ
        mine[name] = httpds[name] = ""
    assert "|a=b|" in httpds[-1]
    assert mine == httpds


def test_250_11_bytes(make_server):
    """%O counts exactly the bytes of this stream. This is also true if the
    stream is the second request of its connection, and over HTTP/1.0."""
    server = make_server(conf=LOG + "CometHeartbeat 1s\n")
    for version in ("1.1", "1.0"):
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.settimeout(10 * SLOW)
            if version == "1.1":
                sock.sendall(b"GET /static.txt HTTP/1.1\r\nHost: x\r\n\r\n")
                got = b""
                while b"a static file\n" not in got:
                    got += sock.recv(4096)
            sock.sendall(b"GET /comet/wire?v=%s HTTP/%s\r\nHost: x\r\n"
                         b"Accept: text/event-stream\r\n\r\n"
                         % (version.encode(), version.encode()))
            got = b""
            while b"id: " not in got:
                got += sock.recv(4096)
            wait_adopted(server, 1)
            post(server, "wire", "hello")
            while b"\n:\n" not in got:              # until a heartbeat
                got += sock.recv(4096)
            assert b"hello" in got
            assert (b"chunked" in got) == (version == "1.1")
            sock.shutdown(socket.SHUT_WR)
            more = sock.recv(4096)
            while more:
                got += more
                more = sock.recv(4096)
        line = wait_line(server, "full.log", "/comet/wire?v=" + version)
        assert int(line.split(" ")[4]) == len(got), (line, got)


def test_250_12_user_and_abort(make_server):
    """The log line of an adopted stream names its user, and has an X if the
    client left."""
    server = make_server(conf=AUTH + LOG)
    with open(os.path.join(server.root, "conf", "users"), "w",
              encoding="ascii") as users:
        users.write("anna:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n")
    with Stream(server, "/comet/members",
                {"Authorization": "Basic YW5uYTphZG1pbg=="}):
        wait_adopted(server, 1)
    fields = wait_line(server, "full.log", "/comet/members").split(" ")
    assert (fields[1], fields[6]) == ("anna", "X")


def test_250_14_any_format(make_server):
    """An adopted stream gets its log lines, whatever the log's format and
    condition ask for: each field has its value, or is empty. No child
    crashes."""
    server = make_server(tls=True, modules=("unique_id", "ident"), conf=LOG + """
LogLevel trace8
ErrorLogFormat "[%l] [%m] [%{c}L %L] %a %A %{Referer}i %{FOO}e %{x}n %V %v %M"
CustomLog "logs/modules.log" "%{UNIQUE_ID}e %U %{SSL_PROTOCOL}x %{HTTPS}x \
%{DOCUMENT_ROOT}x %{HTTP:Accept}x %{version}c %l %f %R %V %{c}h %{a}C %^ti %{x}o" \
    "expr=%{HTTPS} == 'off' && %{SSL_PROTOCOL} == '' && %{SSL:HTTPS} != 'on' && \
    %{HTTP2} != 'on' && %{REQUEST_SCHEME} == 'http' && -R '127.0.0.0/8'"
CustomLog "logs/root.log" "%U" "expr=%{DOCUMENT_ROOT} != '/no' && \
    %{CONTEXT_PREFIX} == '' && %{REQUEST_URI} =~ m#comet# && \
    %{CONTEXT_DOCUMENT_ROOT} != '/no' && %{SERVER_NAME} != '/no'"
""")
    children = server.children()
    with Stream(server, "/comet/any"):
        wait_adopted(server, 1)
    wait_line(server, "root.log", "/comet/any")
    ident, fields = wait_line(server, "modules.log",
                              "/comet/any").split(" ", 1)
    assert re.fullmatch(r"[\w@-]{20,40}", ident), ident
    assert fields == ("/comet/any - off %s text/event-stream - - "
                      "comet:/comet/any comet localhost 127.0.0.1 - - -"
                      % server.docroot)
    assert server.children() == children


# Formats and conditions that need a live request, which no longer exists when
# an adopted stream is logged. Each entry is (what the error log says, the
# condition or format).
DEMANDING = {
    "url": ('"-U" in CustomLog', "expr=-U '/index.html'"),
    "file": ('"-F" in CustomLog', "expr=-F '{docroot}/index.html'"),
    "access": ('"-A" in CustomLog', "expr=-A '/index.html'"),
    "disk": ('"-f" in CustomLog', "expr=-f '{docroot}/index.html'"),
    "ident": ('"%{REMOTE_IDENT}" in CustomLog', "expr=%{REMOTE_IDENT} != 'x'"),
    "first-byte": ('"%^FB" in LogFormat', "expr=%{REQUEST_STATUS} == 200"),
}


@pytest.mark.parametrize("mpm, what", [
    ("event", what) for what in sorted(DEMANDING)] + [("prefork", "url")])
def test_250_16_logs_that_need_the_request(make_server, mpm, what):
    """A stream stays with httpd if its log needs a live request. The stream
    gets its log line, no child crashes, and the error log says why httpd kept
    the stream."""
    reason, condition = DEMANDING[what]
    server = make_server(mpm=mpm, conf="""
LogFormat "%%U %s" used
LogFormat "%%^FB" unused
<VirtualHost _default_:*>
  LogIOTrackTTFB on
  CustomLog "logs/demanding.log" used "%s"
</VirtualHost>
""" % ("%^FB" if what == "first-byte" else "", condition))
    children = server.children()
    with Stream(server, "/comet/any"):
        server.wait_waiting(1)
        with_the_hub = adopted(server)
    wait_line(server, "demanding.log", "/comet/any")
    assert set(children) <= set(server.children())
    assert with_the_hub == 0
    assert "CometAdopt: off, since " + reason in server.error_log()


def test_250_17_logs_that_depend_on_the_response(make_server):
    """For an adopted stream a log's condition sees all header fields of the
    request and of the response, as for any other request."""
    server = make_server(conf="""
Header always set X-Always here
CustomLog "logs/type.log" "%U" "expr=resp('Content-Type') =~ m#event-stream#"
CustomLog "logs/always.log" "%U" "expr=%{RESP:X-Always} == 'here'"
CustomLog "logs/accept.log" "%U %{Cache-Control}o" "expr=%{HTTP_ACCEPT} =~ /s/"
CustomLog "logs/name.log" "%f" "expr=%{REQUEST_FILENAME} =~ /any/"
CustomLog "logs/not.log" "%U" "expr=resp('Content-Type') !~ m#event-stream#"
""")
    with Stream(server, "/comet/any"):
        wait_adopted(server, 1)
    for name in ("type", "always"):
        wait_line(server, name + ".log", "/comet/any")
    assert wait_line(server, "accept.log", "/comet/any") \
        == "/comet/any no-store, no-transform"
    wait_line(server, "name.log", "comet:/comet/any")
    assert not any("/comet/any" in line for line in lines(server, "not.log"))


def test_250_15_written_while_others_are_served(make_server):
    """Lines of adopted streams are written while httpd serves requests. On
    prefork a second thread writes them, in a process that otherwise has only
    one."""
    server = make_server(mpm="prefork", mpm_conf=(
        "StartServers 1\nMinSpareServers 1\nMaxSpareServers 1\n"
        "MaxRequestWorkers 1\n"), conf="LimitRequestLine 100000\n"
        "LimitRequestFieldSize 8190\n")
    children = server.children()
    over = threading.Event()

    def files():
        while not over.is_set():
            with contextlib.suppress(OSError), server.raw() as conn:
                conn.request("GET", "/static.txt?" + "b" * 60000, version="1.0")
                conn.answer()
    visitor = threading.Thread(target=files)
    visitor.start()
    try:
        for _ in range(20):
            streams = [Stream(server, "/comet/x?u=" + "a" * 60000)
                       for _ in range(50)]
            for stream in streams:
                stream.conn.close()
    finally:
        over.set()
        visitor.join()
    assert server.children() == children, "it has died"
    wait_until(lambda: len(server.access_lines("GET /comet/x?u=")) == 1000, 10,
               "the lines")


def test_250_13_as_many_lines_as_requests(make_server, mpm):
    """No log line is lost or written twice, even during a reload."""
    server = make_server(mpm=mpm, conf=LOG)
    streams = [Stream(server, "/comet/a?n=%d." % n) for n in range(30)]
    wait_adopted(server, 30)
    for stream in streams[:10]:
        stream.conn.close()
    wait_adopted(server, 20)
    server.graceful()
    for stream in streams[10:]:
        stream.until_end()
    for number in range(30):
        wait_line(server, "full.log", "/comet/a?n=%d. " % number)


# -- how a stream ends ---------------------------------------------------------

def test_250_20_graceful(make_server, mpm):
    """A reload ends the stream with a retry field.  No message is lost or
    repeated."""
    server = make_server(mpm=mpm)
    sent, got, cursor = [], [], None
    for rounds in range(3):
        with Stream(server, "/comet/a",
                    {"Last-Event-ID": cursor} if cursor else None) as stream:
            wait_adopted(server, 1)
            for number in range(10):
                sent.append("%d.%d" % (rounds, number))
                post(server, "a", sent[-1])
            stream.until(10)
            server.graceful()
            got += stream.until_end()
            assert re.search(rb"retry: \d+\n\n$", stream.bytes)
            assert stream.conn.framing == "none", "no last chunk"
            cursor = stream.events[-1]["id"]
            sent.append("%d between" % rounds)
            post(server, "a", sent[-1])
    with Stream(server, "/comet/a", {"Last-Event-ID": cursor}) as stream:
        got += stream.until(1)
    assert got == sent


def test_250_21_stop(make_server, mpm):
    """A stop ends streams quickly, with a retry field."""
    server = make_server(mpm=mpm)
    streams = [Stream(server, "/comet/a") for _ in range(50)]
    wait_adopted(server, 50)
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < 5 * SLOW
    for stream in streams:
        stream.until_end()
        assert stream.bytes.count(b"retry: ") == 2


def test_250_22_lifetime(make_server):
    server = make_server(conf="CometMaxLifetime 1s\n")
    with Stream(server, "/comet/a") as stream:
        wait_adopted(server, 1)
        body = end_of(stream.conn)
        assert re.search(rb"retry: \d+\n\n$", body)
    wait_adopted(server, 0)


def test_250_23_iframe(make_server):
    """An iframe ends without a retry field, because its page would ignore
    one."""
    server = make_server(conf="CometMaxLifetime 1s\n")
    with server.raw() as conn:
        conn.request("GET", "/comet/a?transport=iframe")
        conn.head()
        wait_adopted(server, 1)
        post(server, "a", "</script>")
        body = end_of(conn)
    assert body.endswith(b');</script>\n'), body[-200:]
    assert b"\\u003c/script\\u003e" in body


def test_250_24_departed(make_server):
    """The server notices that a client has left, however the client leaves."""
    server = make_server()
    before = server.status()["departed"]
    for leave in ("close", "reset", "shutdown"):
        stream = Stream(server, "/comet/a")
        wait_adopted(server, 1)
        if leave == "shutdown":
            stream.conn.sock.shutdown(socket.SHUT_WR)
            assert stream.conn.fill() is False
        getattr(stream.conn, "reset" if leave == "reset" else "close")()
        wait_adopted(server, 0)
    assert server.status()["departed"] == before + 3


def test_250_25_killed_child(make_server):
    """The counters no longer include the streams of a killed child."""
    server = make_server()
    server.allow_log += ["AH00052", "exit signal Killed"]
    stream = Stream(server, "/comet/a")
    wait_adopted(server, 1)
    os.kill(server.children()[0], signal.SIGKILL)
    assert stream.conn.at_eof(5 * SLOW) or stream.conn.buffer
    stream.conn.close()
    wait_until(lambda: server.safe_status().get("adopted") == 0
               if isinstance(server.safe_status(), dict) else False)


# -- slow clients --------------------------------------------------------------

SMALL = "SendBufferSize 8192\n"


def fill_up(server, channel, count, size=20000):
    """Publish long messages, each with its own number at the start; return
    them."""
    texts = ["%06d" % n + "x" * size for n in range(count)]
    for text in texts:
        post(server, channel, text)
    return texts


def test_250_30_slow(make_server):
    """A slow client gets all messages in order, and delays no other client."""
    server = make_server(conf=SMALL)
    with Stream(server, "/comet/a", rcvbuf=8192) as slow, \
            Stream(server, "/comet/a") as quick:
        wait_adopted(server, 2)
        texts = fill_up(server, "a", 60)
        assert quick.until(60) == texts
        assert slow.until(60) == texts
        post(server, "a", "after")
        assert slow.until(61)[-1] == "after"


def test_250_31_stuck(make_server):
    """A client that reads nothing is dropped after Timeout."""
    server = make_server(conf=SMALL, timeout=2)
    with Stream(server, "/comet/a", rcvbuf=4096) as stuck, \
            Stream(server, "/comet/a") as quick:
        wait_adopted(server, 2)
        before = server.status()["dropped"]
        texts = fill_up(server, "a", 60)
        assert quick.until(60) == texts
        wait_adopted(server, 1)
        assert server.status()["dropped"] == before + 1
        assert stuck.events == []


def test_250_32_slow_at_the_end(make_server):
    """At a reload a slow client still receives the data that is already on its
    way, and then the retry field."""
    server = make_server(conf=SMALL)
    with Stream(server, "/comet/a", rcvbuf=8192) as slow:
        wait_adopted(server, 1)
        texts = fill_up(server, "a", 8)
        os.kill(server.pid, signal.SIGUSR1)
        got = slow.until_end()
        assert got == texts[:len(got)]
        assert re.search(rb"retry: \d+\n\n$", slow.bytes)
        assert slow.conn.framing == "none", "no last chunk"
        cursor = slow.events[-1]["id"] if slow.events else "0"
    with Stream(server, "/comet/a", {"Last-Event-ID": cursor}) as again:
        assert again.until(8 - len(got)) == texts[len(got):]


@pytest.mark.both_paths
def test_250_34_slow_for_ever_at_the_end(make_server):
    """At a reload a client that reads its last data too slowly does not keep
    the old child alive. The stream's log line is written."""
    server = make_server(conf=SMALL)
    for _ in range(20):
        post(server, "a", "\1" * 60000)
    children = server.children()
    with server.raw(rcvbuf=8192) as conn:
        conn.request("GET", "/comet/a?since=0&format=json", EVENTS)
        server.wait_waiting(1)
        conn.fill()
        os.kill(server.pid, signal.SIGUSR1)
        begin = time.monotonic()
        wait_until(lambda: conn.sock.recv(4000) is None
                   or not any(map(alive, children)), 8 * SLOW,
                   "the old children to be gone", 0.05)
        assert time.monotonic() - begin < 4 * SLOW
    assert "did not end in time" not in server.error_log()
    assert len(server.access_lines("GET /comet/a?since=0")) == 1


def test_250_33_past_timeout(make_server):
    """Heartbeats keep a stream open for longer than Timeout, and its client
    misses no message."""
    server = make_server(timeout=2)
    with Stream(server, "/comet/a") as stream:
        wait_adopted(server, 1)
        begin = time.monotonic()
        while time.monotonic() - begin < 5:
            stream.step()
        assert stream.bytes.count(b":\n\n") >= 5
        assert adopted(server) == 1
        post(server, "a", "x")
        assert stream.until(1) == ["x"]


# -- limits --------------------------------------------------------------------

def turned_away(server, status):
    """Check that a poll is refused, and that an EventSource gets the same
    reason in a stream. Return how many streams have been refused so far."""
    refusal = server.get("/comet/a")
    assert refusal.status == status
    reason = json.loads(refusal.body)["error"]
    answer = server.get("/comet/a", EVENTS)
    assert answer.status == 200 and reason.startswith("too many")
    assert "\n: %s\nretry: " % reason in answer.body.decode()
    return server.status()["soft_landings"]


def test_250_40_limits(make_server):
    """A stream counts as waiting for as long as it lasts, and no longer."""
    server = make_server(conf="CometLimitSubscribers address=2\n")
    streams = [Stream(server, "/comet/a") for _ in range(2)]
    wait_adopted(server, 2)
    assert turned_away(server, 429) == 1
    streams[0].conn.close()
    wait_adopted(server, 1)
    with Stream(server, "/comet/a"):
        wait_adopted(server, 2)
        assert turned_away(server, 429) == 2
    streams[1].conn.close()
    wait_adopted(server, 0)


def test_250_41_max_subscribers(make_server):
    server = make_server(conf="CometMaxSubscribers 2\n")
    streams = [Stream(server, "/comet/a") for _ in range(2)]
    wait_adopted(server, 2)
    assert turned_away(server, 503) == 1
    for stream in streams:
        stream.conn.close()


@pytest.mark.parametrize("value", ["maybe", ""])
def test_250_50_directive(make_server, value):
    server = make_server(start=False)
    code, text = server.configtest("CometAdopt %s\n" % value)
    assert code != 0
    assert "CometAdopt" in text
