# SPDX-License-Identifier: Apache-2.0
"""Tests for faults that a hostile review found. They show that the faults do
not return."""

import base64
import json
import os
import re
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from http_client import Poller, Raw, gather, one_request
from httpd_env import (SANITIZER, SLOW, Httpd, alive, fd_count, sqlite,
                       wait_until)

pytestmark = pytest.mark.both_paths

TEXT = {"Content-Type": "text/plain"}
COMMON = {"x-content-type-options": "nosniff", "cache-control": "no-store",
          "vary": "Accept,Origin",
          "cross-origin-resource-policy": "same-origin"}


def common_of(headers):
    """Return the headers that all answers have. Only history answers, which
    have an ETag, may be cached."""
    return dict(COMMON, **({"cache-control": "private,no-cache"}
                           if "etag" in headers else {}))


SERVER = {
    "classics": 12,
    "before": """
ErrorDocument 404 /error/backend.php
RewriteEngine On
RewriteRule ^/short(/.*)?$ /comet/pt$1 [PT]
RewriteRule ^/look(/.*)?$ /comet/ro$1 [PT]
<AuthzProviderAlias ip near 127.0.0.1>
</AuthzProviderAlias>
<AuthzProviderAlias ip far 192.0.2.1>
</AuthzProviderAlias>
<Location "/comet/near">
  Require comet-publish near
</Location>
<Location "/comet/far">
  Require comet-publish far
</Location>
<Location "/comet/closed">
  Require all denied
</Location>
<Location "/comet/ro">
  CometPublish off
</Location>
<Location "/comet/quick">
  CometPollTimeout 300ms
</Location>
<Location "/comet/user">
  AuthType Basic
  AuthName x
  AuthUserFile "{root}/conf/users"
  Require comet-publish valid-user
</Location>
""",
    "conf": "CometPollTimeout 20s\nCometClassic /error/backend.php error"}


def cursor_of(server):
    """Return the store's newest timestamp."""
    return server.status()["stores"][0]["cursor"]


def static_took(server):
    """Return how long a request for a static file takes."""
    begin = time.monotonic()
    assert server.get("/static.txt", timeout=30).status == 200
    return time.monotonic() - begin


def lag(server, page, url, text):
    """Return how long a message takes to reach `page`, which polls `url`."""
    have = len(page.messages)
    begin = time.monotonic()
    server.publish(text, url)
    page.wait_for(have + 1, 5 * SLOW)
    return page.messages[-1][2] - begin


def stuck_polls(server, count, channel, rcvbuf=2048):
    """Open polls whose clients read nothing."""
    conns = []
    for _ in range(count):
        conn = Raw(server.port, timeout=20 * SLOW, rcvbuf=rcvbuf)
        conn.request("GET", "/comet/%s?since=0" % channel)
        conns.append(conn)
    return conns


def begun(conns):
    """Wait until each client has received the beginning of its answer's
    body."""
    for conn in conns:
        assert conn.head() == 200
        while not conn.buffer:
            assert conn.fill()


# -- internal redirects ---------------------------------------------------

REDIRECTS = {"htaccess": "/poll", "passed": "/passed", "error": "/nowhere"}


@pytest.mark.parametrize("how", list(REDIRECTS))
def test_230_01_internal_redirect(server, how):
    """A poll that .htaccess or ErrorDocument leads to gets exactly one answer,
    and one line in the access log."""
    url, _ = server.next_classic()
    server.write(".htaccess", "RewriteEngine On\n"
                 "RewriteRule ^poll$ %s [L]\n"
                 "RewriteRule ^passed$ %s [PT]\n" % (url, url))
    if how == "error":
        url = "/error/backend.php"
    child = server.children()
    mark = "?timestamp=0&test=" + how
    with server.raw() as conn:
        conn.request("GET", REDIRECTS[how] + mark)
        assert conn.head() == (404 if how == "error" else 200)
        server.wait_waiting(1, "classic")
        server.publish("first", url)
        assert json.loads(conn.body())["msg"] == "first"
        server.wait_waiting(0)
        for i in range(3):
            server.publish("later%d" % i, url)
        assert conn.silent(0.2), conn.buffer
        conn.request("GET", "/static.txt")
        assert conn.answer().body == b"a static file\n"
    wait_until(lambda: server.access_lines("/static.txt"), 3, "the log")
    assert len(server.access_lines(REDIRECTS[how] + mark)) == 1
    assert set(child) <= set(server.children())


def test_230_02_internal_redirects_at_once(server):
    """Several polls that arrive by an internal redirect are all answered. So
    are the requests pipelined behind some of them."""
    url, _ = server.next_classic()
    server.write(".htaccess", "RewriteEngine On\n"
                 "RewriteRule ^poll$ %s [L]\n" % url)
    child = server.children()
    for i in range(3):
        cursor = cursor_of(server)
        conns = []
        for _ in range(8):
            conn = server.raw()
            conn.request("GET", "/poll?timestamp=%d" % cursor)
            assert conn.head() == 200
            conns.append(conn)
        server.wait_waiting(8, "classic")
        for conn in conns[::2]:
            conn.send(conn.format("GET", "/static.txt"))
        server.publish("m%d" % i, url)
        for j, conn in enumerate(conns):
            message = json.loads(conn.body())["msg"]
            assert message in (("m%d" % i, "") if j % 2 == 0
                               else ("m%d" % i,))
            if j % 2 == 0:
                assert conn.answer().body == b"a static file\n"
            conn.close()
    assert set(child) <= set(server.children())


# -- clients that do not read ---------------------------------------------

@pytest.mark.event
def test_230_03_one_stuck_client(make_server):
    """A client that reads nothing of a long answer delays no other client."""
    server = make_server(classics=2,
                         conf="SendBufferSize 16384\nCometPollTimeout 20s")
    stuck = stuck_polls(server, 1, "big")
    with Poller(server.port, "/c0/backend.php") as page, \
            server.raw() as same:
        same.request("GET", "/comet/big?since=0")
        server.wait_waiting(3)
        begin = time.monotonic()
        server.post("big", "<" * 60000)
        assert same.answer().json()["messages"][0]["body"] == "<" * 60000
        assert same.stamp - begin < 1.0 * SLOW
        for i in range(5):
            assert lag(server, page, "/c0/backend.php", "m%d" % i) \
                < 1.0 * SLOW
        assert not page.failures
    for conn in stuck:
        conn.close()


@pytest.mark.event
@pytest.mark.parametrize("how", ["silent", "pipelining"])
def test_230_04_stuck_clients_time_out_together(make_server, how):
    """40 clients that read nothing reach Timeout at the same moment. The 4
    threads still serve others."""
    server = make_server(threads=4, timeout=4, conf="SendBufferSize 16384")
    child = server.children()[0]
    server.post("big", "x")
    sqlite(server.db, "DELETE FROM message;")
    before = fd_count(child)
    stuck = stuck_polls(server, 40, "big")
    server.wait_waiting(40)
    server.post("big", "<" * 50000)
    if how == "pipelining":
        begun(stuck)
        for conn in stuck:
            conn.send(b"G")
    assert fd_count(child) > before + 35, "nobody is stuck"
    slowest, end = 0, time.monotonic() + 8 * SLOW
    while fd_count(child) > before + 10 and time.monotonic() < end:
        slowest = max(slowest, static_took(server))
        time.sleep(0.02)                    # before the next measurement
    assert slowest < 1.0 * SLOW, slowest
    assert fd_count(child) <= before + 10, "they are still there"
    for conn in stuck:
        conn.close()


@pytest.mark.event
def test_230_05_half_an_answer_and_the_next_request(make_server):
    """Clients that have read half an answer send a byte of their next request.
    No thread waits for these clients. When they read on, each gets both
    answers."""
    server = make_server(threads=8, conf="SendBufferSize 16384")
    conns = stuck_polls(server, 16, "big")
    server.wait_waiting(16)
    server.post("big", "<" * 60000)
    begun(conns)
    for conn in conns:
        conn.send(b"G")
    for _ in range(5):
        assert static_took(server) < 1.0 * SLOW
    for conn in conns:
        conn.send(b"ET /static.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert static_took(server) < 1.0 * SLOW
    for conn in conns:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def read_on(conn):
        data = json.loads(conn.body())
        assert [m["body"] for m in data["messages"]] == ["<" * 60000]
        assert conn.answer().body == b"a static file\n"
        conn.close()

    gather([lambda c=conn: read_on(c) for conn in conns], 20 * SLOW)


@pytest.mark.event
def test_230_05b_half_an_answer_at_a_reload(make_server):
    """At a reload, clients that have read half an answer have a short time to
    read the rest. Then the old child ends, long before their Timeout."""
    server = make_server(threads=8, conf="SendBufferSize 16384")
    conns = stuck_polls(server, 8, "big")
    server.wait_waiting(8)
    server.post("big", "<" * 60000)
    begun(conns)
    for conn in conns[::2]:
        conn.send(b"G")
    static_took(server)
    begin = time.monotonic()
    old = server.graceful()
    for conn in conns[:2]:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        data = json.loads(conn.body())
        assert [m["body"] for m in data["messages"]] == ["<" * 60000]
    wait_until(lambda: not any(alive(pid) for pid in old), 8,
               "the old child's end")
    assert time.monotonic() - begin < 6 * SLOW
    for conn in conns:
        conn.close()


# -- TLS and mod_reqtimeout -----------------------------------------------

@pytest.mark.event
def test_230_06_tls_outlives_reqtimeout(make_server):
    """Over TLS a clock outlives the time that RequestReadTimeout allows for a
    request body. A request pipelined behind an equally old poll is answered."""
    server = make_server(tls=True, timeout=2, keepalive="on", conf="""
        RequestReadTimeout header=20 body=1,minrate=500
        CometTick 200ms
        <Location "/chat">
          CometPollTimeout 1500ms
        </Location>""")
    ticks, end = 0, time.monotonic() + 3.2
    with server.raw(tls=True) as clock, server.raw(tls=True) as page:
        clock.request("GET", "/clock/backend.php")
        page.request("GET", "/chat/backend.php")
        assert clock.head() == 200 and page.head() == 200
        server.wait_waiting(2)
        sent = False
        while time.monotonic() < end:
            assert clock.chunk()
            ticks += 1
            if not sent and time.monotonic() > end - 1.9:
                page.send(page.format("GET", "/static.txt"))
                sent = True
        assert json.loads(page.body())["msg"] == ""
        assert page.answer().body == b"a static file\n"
    assert ticks >= 12 / SLOW, ticks


# -- filters --------------------------------------------------------------

@pytest.mark.event
def test_230_07_filter_that_keeps(make_server):
    """Polls behind a SUBSTITUTE filter are answered, and the filter works."""
    server = make_server(modules=("substitute",), classics=1, conf="""
        <Location "/c0">
          SetOutputFilter SUBSTITUTE
          Substitute s/apple/orange/
        </Location>""")
    with Poller(server.port, "/c0/backend.php") as page, \
            Poller(server.port) as other:
        for i in range(3):
            server.wait_waiting(2)
            assert lag(server, page, "/c0/backend.php", "apple") < 1.0 * SLOW
            assert lag(server, other, "/chat/backend.php", "x") < 1.0 * SLOW
        assert page.texts() == ["orange"] * 3
        assert not page.failures and not other.failures


@pytest.mark.event
def test_230_08_filter_on_a_clock(make_server):
    """A clock behind a filter that can hold back output occupies a thread. If
    the filter lets ticks pass, the clock still ticks, and no other client is
    delayed. A clock behind Substitute is refused: its ticks have no line end,
    so none would pass."""
    server = make_server(modules=("substitute", "include"), threads=8, conf="""
        CometTick 200ms
        CometClock /lines/backend.php
        <Location "/clock">
          SetOutputFilter INCLUDES
        </Location>
        <Location "/lines">
          SetOutputFilter SUBSTITUTE
          Substitute s/aa/bb/
        </Location>""")
    server.allow_log.append("COMET0132")
    with server.raw() as clock, Poller(server.port) as page:
        assert server.get("/lines/backend.php").status == 500
        assert "substitute" in server.error_log().split("COMET0132")[1]
        clock.request("GET", "/clock/backend.php")
        assert clock.head() == 200
        server.wait_waiting(2)
        seen = b""
        for i in range(4):
            assert lag(server, page, "/chat/backend.php", "m%d" % i) \
                < 0.5 * SLOW
            while seen.count(b"printServerTime(1") < i + 1:
                data = clock.chunk()
                assert data
                seen += data
        assert static_took(server) < 0.5 * SLOW
    server.wait_waiting(0)


@pytest.mark.event
def test_230_09_filter_that_sleeps(make_server):
    """A channel behind the RATE_LIMIT filter delays no client of other
    channels."""
    server = make_server(modules=("ratelimit",), conf="""
        <Location "/comet/slow">
          SetOutputFilter RATE_LIMIT
          SetEnv rate-limit 1
        </Location>""")
    slow = []
    for _ in range(3):
        conn = server.raw()
        conn.request("GET", "/comet/slow?since=0")
        slow.append(conn)
    with Poller(server.port) as page:
        server.wait_waiting(4)
        server.post("slow", "y" * 1000)
        for i in range(5):
            assert lag(server, page, "/chat/backend.php", "m%d" % i) \
                < 0.5 * SLOW
        for conn in slow:
            assert conn.answer().json()["messages"][0]["body"] == "y" * 1000
            conn.close()


# -- memory ---------------------------------------------------------------

def test_230_10_many_long_answers(make_server):
    """8 requests for answers of 90 MB each use only a bounded amount of memory.
    A client that asks page by page gets all messages."""
    server = make_server()
    server.post("x", "x")
    sqlite(server.db, "BEGIN IMMEDIATE;" + "".join(
        "INSERT INTO message(channel, body) VALUES('big', "
        "'%05d' || replace(hex(zeroblob(30000)), '0', '<'));" % i for i in range(250)) + "COMMIT;")
    conns = []
    for _ in range(8):
        conn = Raw(server.port, timeout=15 * SLOW, rcvbuf=2048)
        conn.request("GET", "/comet/big?since=0&limit=1000&wait=0")
        conns.append(conn)
    for conn in conns:
        assert conn.head() == 200
    peak = 0
    for child in server.children():
        with open("/proc/%d/status" % child) as status:
            peak = max(peak, int(re.search(r"VmHWM:\s+(\d+)",
                                           status.read()).group(1)))
    for conn in conns:
        conn.close()
    if SANITIZER == "none":
        assert peak < 200 * 1024, "%d MB" % (peak // 1024)
    got, cursor = [], 0
    with server.raw() as conn:
        for _ in range(251):
            conn.request("GET", "/comet/big?since=%d&limit=1000&wait=0"
                         % cursor)
            data = conn.answer().json()
            if not data["messages"]:
                break
            assert data["timestamp"] == data["messages"][-1]["timestamp"]
            got += [int(m["body"][:5]) for m in data["messages"]]
            cursor = data["timestamp"]
    assert got == list(range(250))


# -- virtual hosts --------------------------------------------------------

@pytest.mark.event
def test_230_11_different_timeouts(make_server):
    """Virtual hosts of one address have different Timeouts. A poll of a host
    with a long Timeout is answered, although another host's Timeout is
    short."""
    server = make_server(timeout=2, conf="""
        CometPollTimeout 3s
        <VirtualHost *:{port}>
          ServerName localhost
        </VirtualHost>
        <VirtualHost *:{port}>
          ServerName long
          Timeout 60
        </VirtualHost>
        <VirtualHost *:{port}>
          ServerName longer
          Timeout 60
          KeepAliveTimeout 5
        </VirtualHost>""")

    def poll(host):
        with server.raw() as conn:
            conn.request("GET", "/chat/backend.php", {"Host": host})
            assert conn.answer().json()["msg"] == ""
            conn.request("GET", "/static.txt", {"Host": host})
            assert conn.answer().status == 200

    gather([lambda h=host: poll(h) for host in
            ("localhost", "long", "longer")], 10 * SLOW)
    assert server.status()["dropped"] == 0


@pytest.fixture(scope="module")
def tester():
    """Return a server that is never started."""
    server = Httpd(comet="load")
    yield server
    problems = server.close()
    assert not problems, problems


STORE = 'CometStore "sqlite:{data}/comet.db"\n'


def vhost(lines, name="v"):
    return "<VirtualHost *:1>\nServerName %s\n%s\n</VirtualHost>\n" \
        % (name, lines)


def test_230_12_many_virtual_hosts(tester):
    """The module hardly slows down a configtest of 600 virtual hosts."""
    hosts = "".join(vhost('DocumentRoot "{docroot}"', "h%d" % i)
                    for i in range(600))
    took = {}
    for name, head in (("without", ""),
                       ("with", STORE + "CometEndpoint /comet\n")):
        begin = time.monotonic()
        code, text = tester.configtest(head + hosts)
        took[name] = time.monotonic() - begin
        assert code == 0, text
    assert took["with"] < 3 * took["without"] + 1.0 * SLOW, took


@pytest.mark.parametrize("base, inner", [
    ("CometEndpoint /comet", "CometSync full"),
    ("CometEndpoint /comet", "CometRetain all"),
    ("CometEndpoint /comet\nCometSync full\nCometRetain all", STORE),
    ("", "CometEndpoint /comet\nCometRetain count=5"),
    ("", "CometEndpoint /comet\nCometSync normal\nCometRetain age=1h"),
], ids=["sync", "retain", "store", "only-vhost-maps", "only-vhost-maps-2"])
def test_230_13_what_holds_is_compared(tester, base, inner):
    """Servers may share a store if they configure it identically."""
    code, text = tester.configtest(STORE + base + "\n" + vhost(inner))
    assert code == 0, text


@pytest.mark.parametrize("inner", ["CometSync normal", "CometRetain count=5",
                                   "CometRetain age=1h"])
def test_230_14_what_differs_is_refused(tester, inner):
    """Servers that share a store but configure it differently are refused."""
    code, text = tester.configtest(STORE + "CometEndpoint /comet\n"
                                   + vhost(inner))
    assert code != 0
    assert "comet.db" in text and inner.split()[0] in text, text


def section(kind, line):
    return "<%s>\n%s\n</%s>" % (kind, line, kind.split()[0])


DEAD = [section(kind, line)
        for line in ("CometPublish off", "CometEscape off", "CometReplay 5",
                     "CometPollTimeout 5s", "CometTick 1s")
        for kind in ('Directory "{docroot}"', 'Files "x"')] + [
    section('DirectoryMatch "^/x"', "CometPublish off"),
    section('FilesMatch "x"', "CometPublish off"),
    "CometEndpoint /a/../b", "CometEndpoint /a/./b", "CometEndpoint /a/..",
    "CometEndpoint /a//b", "CometClassic /a/../b chat", "CometClock /./b",
    "CometEndpoint /z " + "p" * 255 + "/",
    "CometClassic /chat/ chat", "CometClock /clock/",
    "CometRetain all count=5", "CometRetain count=5 all",
    "CometRetain all all",
]


@pytest.mark.parametrize("line", DEAD, ids=[
    re.sub(r"[^!-~]+", "_", d)[:45] for d in DEAD])
def test_230_15_what_would_do_nothing(tester, line):
    """httpd -t refuses a directive that could have no effect."""
    code, text = tester.configtest(STORE + line + "\n")
    assert code != 0, "accepted: " + line
    assert re.search(r"Comet[A-Z]\w+", line).group(0) in text, text


@pytest.mark.parametrize("line", [
    section('Location "/comet"', "CometPublish off"),
    section('LocationMatch "^/comet"', "CometPublish off"),
    vhost(section('Location "/comet"', "CometReplay 5")),
    "CometEndpoint /a/b/", "CometEndpoint /z " + "p" * 253 + "/",
    "CometRetain count=5 age=1h", "CometRetain all",
], ids=lambda d: re.sub(r"[^!-~]+", "_", d)[:45])
def test_230_16_what_does_something(tester, line):
    """httpd -t accepts directives that only look as if they had no effect."""
    code, text = tester.configtest(STORE + line + "\n")
    assert code == 0, text


# -- stores that are locked -----------------------------------------------

@pytest.mark.event
def test_230_17_several_locked_stores(make_server):
    """Another process locks 6 stores. At most a quarter of the child's threads
    wait for these stores, and the others keep serving."""
    count = 6
    server = make_server(threads=16, conf="CometPublishTimeout 1500ms\n"
                         + "".join(
                             '<VirtualHost *:{port}>\nServerName s%d\n'
                             'CometStore "sqlite:{data}/s%d.db"\n'
                             "</VirtualHost>\n" % (i, i)
                             for i in range(count)) + """
        <VirtualHost *:{port}>
          ServerName free
        </VirtualHost>""")

    def post(host):
        return one_request(server.port, "POST", "/comet/x", "x",
                           {"Host": host, **TEXT}, timeout=15 * SLOW)

    for i in range(count):
        assert post("s%d" % i).status == 201
    locks = []
    for i in range(count):
        lock = sqlite3.connect(os.path.join(server.data, "s%d.db" % i),
                               isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        locks.append(lock)
    answers = []
    jobs = [threading.Thread(target=lambda h="s%d" % (i % count):
                             answers.append(post(h)), daemon=True)
            for i in range(24)]
    for job in jobs:
        job.start()
    wait_until(lambda: len(answers) >= 16, 5, "most to be refused at once")
    assert any(job.is_alive() for job in jobs), "nobody waits"
    for _ in range(3):
        assert static_took(server) < 1.0 * SLOW
    free = post("free")
    assert free.took < 1.0 * SLOW and free.status in (201, 503), free
    for job in jobs:
        job.join(10 * SLOW)
    assert [a.status for a in answers] == [503] * 24
    assert all(a.header("retry-after") for a in answers)
    waited = [a.took for a in answers if a.took > 1.0]
    if SLOW == 1.0:
        assert 1 <= len(waited) <= 4, sorted(a.took for a in answers)
    for lock in locks:
        lock.execute("ROLLBACK")
        lock.close()
    for host in ["s%d" % i for i in range(count)] + ["free"]:
        assert post(host).status == 201


# -- who may publish ------------------------------------------------------

def test_230_18_provider_alias(server):
    """An AuthzProviderAlias can be used in Require comet-publish."""
    for channel, status in (("near", 201), ("far", 403)):
        answer = server.request("POST", "/comet/" + channel, "x", TEXT)
        assert answer.status == status, answer
        assert server.get("/comet/%s?wait=0" % channel).status == 200
    assert "AH02305" not in server.error_log()


@pytest.mark.parametrize("headers, status", [
    ({"Sec-Fetch-Site": "same-origin"}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}, 403),
    ({"Sec-Fetch-Mode": "cors"}, 403),
    ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200)])
def test_230_19_fetch_mode(server, headers, status):
    """A browser's GET publishes only from the same origin, with a
    Sec-Fetch-Mode other than navigate."""
    answer = server.get("/chat/backend.php?msg=x", headers)
    assert answer.status == status, answer


@pytest.mark.parametrize("origin, host, status", [
    ("http://h", "h:80", 201), ("http://h:80", "h", 201),
    ("https://h", "h:443", 201), ("https://h:443", "h", 201),
    ("http://h:8080", "h:8080", 201), ("http://[::1]:80", "[::1]", 201),
    ("http://h", "h:443", 403), ("https://h", "h:80", 403),
    ("http://h:8080", "h", 403), ("http://h", "h:8080", 403),
    ("http://hh", "h:80", 403), ("http://[::1]", "[::2]", 403),
    ("null", "h", 403)])
def test_230_20_default_ports(server, origin, host, status):
    """An Origin without a port means the default port of its scheme."""
    answer = server.request("POST", "/comet/x", "x",
                            {"Origin": origin, "Host": host, **TEXT})
    assert answer.status == status, answer


@pytest.mark.parametrize("user, status", [
    (b"anna", 201), ("\u00e9ric".encode(), 201),
    (b"\xe9ric", 400), (b"A" * 256, 400)],
    ids=["ascii", "utf-8", "latin-1", "long"])
def test_230_21_names_of_users(server, user, status):
    """If a user's name cannot be stored, the publish is refused with the
    reason."""
    path = os.path.join(server.root, "conf", "users")
    coded = subprocess.run(["openssl", "passwd", "-apr1", "pw"], check=True,
                           stdout=subprocess.PIPE,
                           timeout=30).stdout.strip()
    with open(path, "wb") as out:
        out.write(user + b":" + coded + b"\n")
    os.chmod(path, 0o644)
    token = base64.b64encode(user + b":pw").decode()
    answer = server.request("POST", "/comet/user", "x",
                            {"Authorization": "Basic " + token, **TEXT})
    assert answer.status == status, answer
    if status == 201:
        assert server.history("user")[-1]["author"] == user.decode()
    else:
        assert "author" in answer.json()["error"], answer
    assert server.request("POST", "/comet/user", "x", TEXT).status == 401


# -- other parameters and headers -----------------------------------------

def test_230_22_wait_is_lowered(server):
    """A `wait` that is too long is lowered, not refused."""
    for wait in ("4000", "2147483647"):
        answer = server.get("/comet/quick?wait=" + wait)
        assert answer.status == 200, answer
        assert answer.json()["messages"] == []
        assert 0.2 < answer.took < 2 * SLOW
    assert server.get("/comet/quick?wait=-1").status == 400


@pytest.mark.parametrize("charset, status", [
    ("utf-8", 201), ('"UTF-8"', 201), ("us-ascii", 201),
    ("utf-8859", 415), ("utf-80", 415), ("utf", 415), ("iso-8859-1", 415),
    ('"latin1"', 415), ("utf-16", 415)])
def test_230_23_charsets(server, charset, status):
    """UTF-8 and its subset ASCII are the only charsets that are accepted."""
    answer = server.request(
        "POST", "/comet/x", "x",
        {"Content-Type": "text/plain; charset=" + charset})
    assert answer.status == status, answer


@pytest.mark.parametrize("method, target, headers, body, status", [
    ("POST", "/comet/user", TEXT, b"x", 401),
    ("POST", "/comet/far", TEXT, b"x", 403),
    ("GET", "/comet/closed?wait=0", {}, None, 403),
    ("POST", "/comet/x", {"Transfer-Encoding": "chunked", **TEXT},
     b"zz\r\n", 400),
    ("GET", "/comet/a//b?wait=0", {}, None, None),
    ("GET", "/comet/x?wait=0", {}, None, 200),
    ("GET", "/comet/quick?since=9007199254740991", {}, None, 200),
    ("POST", "/comet/x", TEXT, b"x", 201),
    ("PATCH", "/comet/x", TEXT, b"x", 405),
    ("OPTIONS", "/comet/x", {}, None, (200, 204)),
    ("GET", "/chat/backend.php?timestamp=x", {}, None, 400)])
def test_230_24_every_answer(server, method, target, headers, body, status):
    """Every answer has each common header once, no matter which module made the
    answer."""
    with server.raw() as conn:
        conn.request(method, target, headers, body)
        conn.head()
        assert status is None or conn.status == status \
            or (isinstance(status, tuple) and conn.status in status)
        for name, value in common_of(conn.headers).items():
            got = conn.headers.get(name, "").replace(", ", ",")
            assert got == value, (name, conn.headers)


def test_230_25_rewritten_by_the_server(server):
    """A RewriteRule with [PT] in the server's configuration can lead to a
    mapping. The <Location> of the new URL then applies."""
    answer = server.request("POST", "/short", "one", TEXT)
    assert answer.status == 201, answer
    assert answer.json()["channel"] == "pt"
    answer = server.request("POST", "/short/deep", "two", TEXT)
    assert answer.json()["channel"] == "pt/deep"
    assert server.rows("pt") == ["one"] and server.rows("pt/deep") == ["two"]
    with server.raw() as conn:
        conn.request("GET", "/short?since=%d" % cursor_of(server))
        server.wait_waiting(1, "poll")
        server.post("pt", "three")
        assert conn.answer().json()["messages"][0]["body"] == "three"
        conn.request("GET", "/static.txt")
        assert conn.answer().status == 200
    assert server.request("POST", "/look/x", "x", TEXT).status == 403
    assert server.get("/look/x?wait=0").status == 200


def test_230_26_ranges(server):
    """Range is ignored: no answer is partial."""
    url, channel = server.next_classic()
    server.post(channel, "z" * 60000)
    server.post("small", "z")
    for target in (url, "/comet/small?since=0", "/comet/%s?since=0" % channel,
                   "/comet/none?wait=0"):
        for value in ("bytes=0-3", "bytes=2-", "bytes=-5", "bytes=0-0,2-3",
                      "bytes=9999999-"):
            answer = server.get(target, {"Range": value})
            assert answer.status == 200, (target, value, answer)
            assert answer.header("content-range") is None
            answer.json()
    with server.raw() as conn:
        conn.request("GET", "/comet/later?since=0", {"Range": "bytes=0-3"})
        server.wait_waiting(1, "poll")
        server.post("later", "whole")
        answer = conn.answer()
        assert answer.status == 200
        assert answer.json()["messages"][0]["body"] == "whole"


@pytest.mark.parametrize("mpm", ["event", "worker"])
def test_230_27_large_answer_has_its_headers_once(make_server, mpm):
    """A long answer has each header once: a doubled value ("same-origin,
    same-origin") would protect nothing."""
    server = make_server(mpm=mpm)
    server.post("big", "<" * 40000)
    answer = server.get("/comet/big?since=0&wait=0")
    assert len(answer.json()["messages"]) == 1
    for name, value in common_of(answer.headers).items():
        assert answer.header(name).replace(" ", "") == value.replace(" ", "")
