# SPDX-License-Identifier: Apache-2.0
"""Cookies and sessions that other modules prepare before a wait must not reach
the client after it.  Other headers of these modules do."""

import contextlib
import os
import re
import subprocess
import time

import pytest

from httpd_env import lock, sqlite, wait_until

# Three modules set cookies: mod_usertrack before the wait, mod_headers after it
# (in both header tables), and mod_session in its output filter.
MAKERS = """
CometPollTimeout 1s
CookieTracking on
CookieName track
Header add Set-Cookie "node=1"
Header always add Set-Cookie "route=%{REQUEST_STATUS}e"
Header add Set-Cookie2 "old=1"
Header set Strict-Transport-Security "max-age=600"
Header always set X-Policy "always"
Header set X-Query "expr=%{QUERY_STRING}"
CometAllowOrigin https://app.example.com
<Location "/">
  Session On
  SessionMaxAge 600
  SessionCookieName seen path=/
  SessionEnv on
</Location>
"""
MODULES = ("usertrack", "session", "session_cookie")
OURS = {"Origin": "https://app.example.com",
        "Cookie": "seen=expiry=%d&a=b" % (4102444800 * 10 ** 6)}
COOKIE = re.compile(rb"^set-cookie2?:.*", re.I | re.M)


def cookies(head):
    return COOKIE.findall(head)


def check_kept(head):
    """Check that a head has the headers that the site sets and those that
    mod_comet adds."""
    for line in (b"strict-transport-security: max-age=600",
                 b"x-policy: always", b"x-query: since=",
                 b"access-control-allow-origin: https://app.example.com",
                 b"x-content-type-options: nosniff"):
        assert line in head.lower(), (line, head)
    controls = re.findall(rb"^cache-control: (.*?)\r?$", head, re.I | re.M)
    assert any(b"no-store" in control for control in controls), head


def wait(server, conn, channel, since, extra=""):
    conn.request("GET", "/comet/%s?since=%d%s" % (channel, since, extra), OURS)


def test_265_01_no_cookie_after_a_wait(make_server, mpm):
    """Polls that wait, or that would wait if there were no news, set no cookie.
    Requests that never wait do."""
    server = make_server(mpm=mpm, conf=MAKERS, modules=MODULES)
    first = server.post("x", "first")
    with server.raw() as conn:
        wait(server, conn, "x", first)
        assert conn.answer().json()["messages"] == []
        heads = [conn.raw_head]
        wait(server, conn, "x", first, "&wait=20")
        server.wait_waiting(1, "poll")
        if mpm == "event":  # not even the session's filter holds a thread
            assert server.status()["blocked"] == 0
        server.post("x", "second")
        assert len(conn.answer().json()["messages"]) == 1
        heads.append(conn.raw_head)
        wait(server, conn, "x", first)
        assert len(conn.answer().json()["messages"]) == 1
        heads.append(conn.raw_head)
        for head in heads:
            assert cookies(head) == [], head
            check_kept(head)
        wait(server, conn, "x", first, "&wait=0")
        conn.answer()
        found = b"\n".join(cookies(conn.raw_head))
        for name in (b"track=", b"node=1", b"route=", b"seen=", b"old=1"):
            assert name in found, conn.raw_head
    with server.raw() as conn:
        wait(server, conn, "x", first + 10 ** 6 * 3600, "&wait=20")
        conn.answer()               # the cursor is ahead: the poll starts over
        wait(server, conn, "y", first, "&wait=20")
        server.wait_waiting(1, "poll")
        server.graceful()
        assert conn.answer().json()["messages"] == []
        assert cookies(conn.raw_head) == [], conn.raw_head
        check_kept(conn.raw_head)


def test_265_02_streams_and_classic(make_server, mpm):
    """A stream sends its headers before it waits, with the cookies of that
    moment. The stream does not prolong a session."""
    server = make_server(mpm=mpm, conf=MAKERS, modules=MODULES)
    for target, kind in (("/comet/x?transport=events", "events"),
                         ("/comet/x?transport=iframe", "iframe"),
                         ("/chat/backend.php?timestamp=", "classic"),
                         ("/clock/backend.php", "clock")):
        with server.raw() as conn:
            conn.request("GET", target, OURS)
            conn.head()
            found = b"\n".join(cookies(conn.raw_head))
            assert b"node=1" in found and b"track=" in found, conn.raw_head
            assert b"seen=" not in found, (kind, conn.raw_head)
        server.wait_waiting(0)


@pytest.mark.parametrize("tls", [False, True], ids=["thread", "ghost"])
def test_265_03_over_http2(make_server, tls):
    """A poll over HTTP/2 sets no cookie, whether it holds a thread or not."""
    server = make_server(
        conf=MAKERS + "CometParkHTTP2 %s\n" % ("on" if tls else "off"),
        modules=MODULES, h2=True, tls=tls)
    since = server.post("x", "first")
    url = "https://127.0.0.1:%d" % server.tls_port if tls \
        else "http://127.0.0.1:%d" % server.port
    answer = subprocess.run(
        ["curl", "-sSk", "-i", "--http2" if tls else "--http2-prior-knowledge",
         "-m", "20", "-H", "Origin: https://app.example.com", "-H",
         "Cookie: " + OURS["Cookie"], url + "/comet/x?since=%d" % since],
        check=True, timeout=30, capture_output=True).stdout
    head = answer.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/2 200"), answer
    assert cookies(head) == [], head
    check_kept(head)


def test_265_05_late_answers(make_server):
    """A request that waits for the store or for its own body sets no cookie,
    like a poll: the session may have ended meanwhile.  Its other headers
    stay."""
    server = make_server(conf=MAKERS + "CometPublishTimeout 2s\n",
                         modules=MODULES)
    text = dict(OURS, **{"Content-Type": "text/plain", "Content-Length": "4"})
    begun = time.monotonic()
    with server.raw() as conn:
        conn.request("POST", "/comet/x", text)
        wait_until(lambda: time.monotonic() - begun > 1.2)
        conn.send(b"late")
        assert conn.answer().status == 201
        assert cookies(conn.raw_head) == [], conn.raw_head
        with contextlib.closing(lock(server.db)):
            conn.request("POST", "/comet/x", text)
            conn.send(b"lost")
            assert conn.answer().status == 503
        assert cookies(conn.raw_head) == [], conn.raw_head
        assert b"X-Policy: always" in conn.raw_head


def test_265_06_told_to_come_back(make_server):
    """A reader that is told to come back does not prolong the session.  It comes
    back by itself, so nobody may be there."""
    server = make_server(
        conf=MAKERS + "Redirect 503 /comet/closed\nRedirect 500 /broken\n"
        "<Location /comet/asked>\nRequire comet-request /broken\n</Location>",
        modules=MODULES)
    for channel, accept, status in (
            ("closed", "text/event-stream", 200),
            ("asked", "text/event-stream", 200), ("asked", "*/*", 503)):
        with server.raw() as conn:
            conn.request("GET", "/comet/%s?since=0&wait=0" % channel,
                         dict(OURS, Accept=accept))
            assert conn.answer().status == status, conn.raw_head
            assert b"seen=" not in conn.raw_head, conn.raw_head


# -- sessions in a database ----------------------------------------------------

DBD = """
DBDriver sqlite3
DBDParams "{data}/sessions.db"
DBDPrepareSQL "delete from session where key = %s" deletesession
DBDPrepareSQL "update session set value = %s, expiry = %lld, key = %s where key = %s" updatesession
DBDPrepareSQL "insert into session (value, expiry, key) values (%s, %lld, %s)" insertsession
DBDPrepareSQL "select value from session where key = %s and (expiry = 0 or expiry > %lld)" selectsession
DBDPrepareSQL "delete from session where expiry != 0 and expiry < %lld" cleansession
<Location "/">
  Session On
  SessionMaxAge 600
  SessionDBDCookieName sid path=/
</Location>
"""


def test_265_04_no_session_saved_after_a_wait(make_server, mpm):
    """With mod_session_dbd a poll that waits neither undoes a change that
    another request made to the session (a basket, a logout), nor prolongs the
    session."""
    server = make_server(start=False, mpm=mpm, conf=DBD,
                         modules=("dbd", "session", "session_dbd"))
    db = os.path.join(server.data, "sessions.db")
    sqlite(db, "CREATE TABLE session(key TEXT, value TEXT, expiry INTEGER);")
    os.chmod(db, 0o666)
    server.start()
    key = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    mine = {"Cookie": "sid=" + key}

    def session():
        return sqlite(db, "SELECT value, expiry FROM session WHERE "
                      "key = '%s';" % key)

    def begin():
        sqlite(db, "DELETE FROM session; INSERT INTO session VALUES('%s', "
               "'basket=old', 4102444800000000);" % key)
    since = server.post("x", "first")
    begin()
    assert server.get("/static.txt", mine).status == 200
    # Requests that do not wait prolong the session.
    assert session()[0][1] != "4102444800000000"
    for change, after in (
            ("UPDATE session SET value = 'basket=new';", "basket=new"),
            ("DELETE FROM session;", None)):
        begin()
        with server.raw() as conn:
            conn.request("GET", "/comet/x?since=%d&wait=20" % since, mine)
            server.wait_waiting(1, "poll")
            sqlite(db, change)
            since = server.post("x", "news")
            assert len(conn.answer().json()["messages"]) == 1
            head = conn.raw_head
        assert session() == ([[after, "4102444800000000"]] if after else [])
        assert cookies(head) == [], head
    wait_until(lambda: server.waiting() == 0)
