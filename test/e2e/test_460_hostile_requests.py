# SPDX-License-Identifier: Apache-2.0
"""Requests with hostile targets, hosts, headers and parameters.  They try to
reach a protected channel, another file, another header or the database
itself."""

import base64
import json
import os
import re
import sqlite3

import pytest

from event_stream import EventStream
from http_client import quote
from httpd_env import REPO, sql_text, sqlite

SECRET = "the open secret"
ANONYMOUS = """
  AuthType Basic
  AuthName "any name"
  AuthBasicProvider anon
  Anonymous *
  Anonymous_NoUserId off
  Anonymous_VerifyEmail off
  Require valid-user
"""

SERVER = {
    "classics": 1, "modules": ("authn_anon",),
    "conf": """
CometPollTimeout 1s
CometMaxLifetime 1s
CometSearch on
CometAllowOrigin https://app.example
<Location "/comet/secret">
  Require all denied
</Location>
<Location "/comet/members">
%s</Location>
<VirtualHost *:{port}>
  ServerName first.example
  MergeSlashes Off
  AllowEncodedSlashes NoDecode
</VirtualHost>
<VirtualHost *:{port}>
  ServerName second.example
  AllowEncodedSlashes On
  <Location "/comet">
    CometMulti on
  </Location>
</VirtualHost>
<VirtualHost *:{port}>
  ServerName closed.example
  <Location "/comet">
    Require all denied
  </Location>
</VirtualHost>
""" % ANONYMOUS}

HOSTS = ("first.example", "second.example")
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module", autouse=True)
def seeded(shared_server):
    for channel, body in (("secret", SECRET), ("secret/deep", SECRET),
                          ("open", "open")):
        sqlite(shared_server.db, "INSERT INTO message(channel, body) "
               "VALUES(%s, %s);" % (sql_text(channel), sql_text(body)))
    shared_server.post("counted", "x")
    shared_server.publish("x")


def drain(conn):
    """Read until the server closes; return everything."""
    try:
        while conn.fill():
            pass
    except ConnectionResetError:
        pass
    conn.close()
    return conn.buffer


def exchange(server, data):
    """Send bytes unchanged; return everything that the server sends."""
    conn = server.raw()
    conn.send(data if isinstance(data, bytes) else as_bytes(data))
    return drain(conn)


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape")


def written(method, target, host="first.example", body=None, head=""):
    """Return the bytes of a request with an unencoded target.  It asks the
    server to close the connection."""
    lines = "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s" \
        % (method, target, host, head)
    if body is not None:
        lines += "Content-Type: text/plain\r\nContent-Length: %d\r\n" \
            % len(body)
    return as_bytes(lines) + b"\r\n" + (body or b"")


def ask(server, *args, **kwargs):
    return exchange(server, written(*args, **kwargs))


def ask_all(server, requests):
    """Send many requests at once, because some may wait.  Send searches one
    after the other, because a child refuses too many at once.  Return pairs of
    request and answer."""
    conns, answers = [], {}
    for number, request in enumerate(requests):
        conn = server.raw()
        conn.send(request)
        if b"?q=" in request:
            answers[number] = drain(conn)
        else:
            conns.append((number, conn))
    answers.update((number, drain(conn)) for number, conn in conns)
    return [(request, answers[number])
            for number, request in enumerate(requests)]


def status_of(text):
    match = re.match(rb"HTTP/1\.[01] (\d{3}) ", text)
    return int(match.group(1)) if match else None


# -- a protected channel by every spelling of its URL -------------------------

SPELLINGS = [
    "/comet/secret", "/comet/%73ecret", "/%63omet/secret", "/comet%2fsecret",
    "/comet/%73%65%63%72%65%74", "//comet/secret", "/comet//secret",
    "///comet///secret", "/comet/./secret", "/comet/%2e/secret",
    "/./comet/secret", "/comet/x/../secret", "/comet/x/%2e%2e/secret",
    "/comet/x/.%2e/secret", "/comet/x/%2e./secret", "/comet/../comet/secret",
    "/comet/open/../secret", "/comet/%2e%2e/comet/secret",
    "/comet/x%2f..%2fsecret", "/comet/x%2f%2e%2e%2fsecret",
    "/comet/x/..%2fsecret", "/comet/secret/", "/comet/secret//",
    "/comet/secret%2f", "/comet/secret/.", "/comet/secret/%2e",
    "/comet/secret/deep", "/comet/secret%2fdeep", "/comet/secret//deep",
    "/comet/secret;x", "/comet;x/secret", "/comet/;/secret",
    "/comet/secret;jsessionid=1", "/comet/secret%3b", "/comet/secret%00",
    "/comet/secret%00/x", "/comet/%00secret", "/comet/secret%20",
    "/comet/secret%09", "/comet/secret%0a", "/comet/secret%0d%0a",
    "/comet/secret.", "/comet/secret..", "/comet/secret%2e", "/comet/SECRET",
    "/COMET/secret", "/Comet/Secret", "/comet/secret?", "/comet/secret#x",
    "/comet/open#/../secret", "/comet/open?/../secret", "/comet/secret%23",
    "/comet/secret%3f", "/comet\\secret", "/comet/x\\..\\secret",
    "/comet/x%5c..%5csecret", "/comet/x/..\\secret", "/comet/..\\comet/secret",
    "/comet/%c0%ae%c0%ae/comet/secret", "/comet/x/%c0%ae%c0%ae/secret",
    "/comet/x%c0%af..%c0%afsecret", "/comet/%e0%80%aesecret",
    "/comet/%f3ecret", "/comet/s%u0065cret", "/comet/%2573ecret",
    "/comet/%25%37%33ecret", "/comet/sec\u00adret", "/comet/s\u0435cret",
    "/comet/secre\uff54", "/comet/secret%e2%80%8b", "/comet/%ef%bb%bfsecret",
    "/comet/secret%ff", "/comet/%", "/comet/%7", "/comet/%zzsecret",
    "/comet/secret%", "/comet/secret*", "/comet/*", "/comet/secret/*",
    "/comet", "/comet/", "/comet?", "/comet/?", "comet/secret", "secret", "",
    "?", "*", "/", "/comet/secret HTTP/1.1 /x", "/comet/secret\tx",
    "\t/comet/secret", "/comet/secret\r", "/comet/\u2028secret",
    "http://first.example/comet/secret", "http://x/comet/secret",
    "http://x:1/comet/secret", "http://u:p@x/comet/secret",
    "HTTP://X/comet/secret", "https://x/comet/secret", "ftp://x/comet/secret",
    "file:///comet/secret", "http:/comet/secret", "http:comet/secret",
    "http:///comet/secret", "http://x//comet//secret", "http://x",
    "http://x?/comet/secret", "http://x#/comet/secret", "http://[::1/secret",
    "http://[::1]/comet/secret", "//x/comet/secret", "javascript:/comet/secret",
    "x:/comet/secret", "127.0.0.1:80", "x:80/comet/secret",
    "/chat/../comet/secret", "/chat/backend.php/../../comet/secret",
    "/c0/backend.php/secret", "/c0/backend.php;/../comet/secret",
    "/static.txt/../comet/secret", "/comet-status/../comet/secret",
]
READING = ("?since=0&wait=0", "?since=0&transport=events",
           "?since=0&transport=iframe", "?before=9007199254740991",
           "?q=open&since=0", "?channel=open&since=0&wait=0")


def check(request, text):
    """Check that an answer neither contains the secret nor is a server
    error."""
    assert SECRET.encode() not in text, (request, text)
    assert (status_of(text) or 400) < 500, (request, text)


@pytest.mark.parametrize("host", HOSTS)
def test_460_10_no_spelling_reads(server, host):
    """Whatever the spelling of its URL and the transport, the protected channel
    cannot be read.  The same kinds of spellings do read a channel that is not
    protected."""
    targets = [t + query for query in READING for t in SPELLINGS
               if "?" not in t and "#" not in t]
    targets += [t for t in SPELLINGS if "?" in t or "#" in t]
    controls = [t + query for query in READING
                for t in ("/comet/x/../open", "/comet/%6fpen")]
    got = ask_all(server, [written("GET", t, host)
                           for t in targets + controls])
    for pair in got[:len(targets)]:
        check(*pair)
    for request, text in got[len(targets):]:
        if b"channel=" in request and host != "second.example":
            assert status_of(text) == 403, text     # CometMulti is off there
        else:
            assert b'open' in text.partition(b"\r\n\r\n")[2], (request, text)


@pytest.mark.parametrize("host", HOSTS)
def test_460_11_no_spelling_publishes(server, host):
    """No spelling of its URL, with any method, publishes to the protected
    channel. A HEAD reveals nothing about it by an ETag."""
    before = server.rows("secret") + server.rows("secret/deep")
    requests = [written("GET", t + "?msg=forged&since=0&wait=0", host)
                for t in SPELLINGS]
    for pair in ask_all(server, requests):
        check(*pair)
    for target in SPELLINGS:
        for method in ("POST", "PUT"):
            check((method, target), ask(server, method, target, host,
                                        b"forged"))
    own = ask(server, "HEAD", "/comet/open?since=0&wait=0", host)
    tag = ask(server, "HEAD", "/comet/secret?since=0&wait=0", host)
    assert b"ETag" in own and b"ETag" not in tag and status_of(tag) == 403
    assert server.rows("secret") + server.rows("secret/deep") == before
    found = {row[0] for row in sqlite(
        server.db, "SELECT DISTINCT channel FROM message;")}
    # A request may reach a channel with a similar name, but no channel that the
    # rule protects.
    assert not {name for name in found if name.startswith("secret/")
                and name != "secret/deep"}, found
    for name in found:
        assert not re.search(r"[\x00-\x1f\x7f]", name), name


METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS",
           "CONNECT", "TRACE", "PROPFIND", "COPY", "MOVE", "get", "G\0ET")


@pytest.mark.parametrize("target", [
    "/comet/secret", "*", "127.0.0.1:80", "first.example:443",
    "http://first.example/comet/secret", "/comet", ""])
def test_460_12_methods_and_forms(server, target):
    """Each method with each form of a target (RFC 9112, section 3.2) gets no
    secret, no echo of the request and no server error."""
    requests = [written(method, target, head="X-Echo: echoed\r\n")
                for method in METHODS]
    for request, text in ask_all(server, requests):
        assert SECRET.encode() not in text, text
        assert status_of(text) not in (500, 502, 503), text
        if b"/comet" in request and b"TRACE" not in request:
            assert b"X-Echo: echoed" not in text, text
    # Request lines of HTTP/0.9, which had no hosts, and lines that are not
    # HTTP.
    for line in ("GET /comet/secret", "GET /comet/secret?since=0&wait=0",
                 "GET  /comet/secret  HTTP/1.1", "GET /comet/secret HTTP/9.9",
                 "GET /comet/secret HTTP/2.0", "GET /comet/secret http/1.1",
                 "/comet/secret GET HTTP/1.1", "\r\n\r\nGET /comet/secret",
                 "PRI * HTTP/2.0"):
        text = exchange(server, line + "\r\nHost: x\r\n"
                        "Connection: close\r\n\r\n")
        assert SECRET.encode() not in text, text


def test_460_13_hosts(server):
    """If a request names two hosts, the host in its target decides which access
    rules apply.  Malformed hosts are refused."""
    own = ask(server, "GET", "/comet/open?since=0&wait=0", "closed.example")
    assert status_of(own) == 403
    for target, host in (("http://closed.example", "first.example"),
                         ("http://CLOSED.example.:%d" % server.port, "x"),
                         ("http://user@closed.example", "first.example"),
                         ("", "CLOSED.EXAMPLE"), ("", "closed.example.:1")):
        text = ask(server, "GET", target + "/comet/open?since=0&wait=0", host)
        assert status_of(text) in (400, 403), (target, host, text)
        assert b'"open"' not in text, (target, host, text)
    for head in ("", "Host: first.example\r\nHost: closed.example\r\n",
                 "Host: a b\r\n", "Host: a/b\r\n", "Host: first.example\r\n "
                 "folded\r\n", "Host: \x01\r\n", "Host: x:port\r\n"):
        text = exchange(server, "GET /comet/open?since=0&wait=0 HTTP/1.1\r\n"
                        + head + "Connection: close\r\n\r\n")
        assert status_of(text) == 400, (head, text)


# -- headers of answers, and fields of streams ---------------------------------

# Line ends with a forged header after them, in every encoding that a URL, an
# HTML form or a request header can contain.
LINE_ENDS = ["%0d%0aX-Injected:%20yes", "%0aX-Injected:%20yes",
             "%0dX-Injected:%20yes", "%00X-Injected:%20yes",
             "%c4%8d%c4%8aX-Injected:%20yes", "%e2%80%a8X-Injected:%20yes",
             "%c2%85X-Injected:%20yes", "%ef%bb%bfX-Injected:%20yes",
             "%0d%0a%0d%0a<script>X-Injected:</script>", "%ff%0aX-Injected:",
             "%250d%250aX-Injected:%20yes", "%5cr%5cnX-Injected:%20yes"]
PARAMETERS = ["since", "before", "limit", "wait", "transport", "format", "q",
              "channel", "type", "last_event_id", "lastEventId", "msg",
              "timestamp", "callback", "jsonp"]


def check_head(text, what):
    """Check that each line of an answer's head is a valid header, and that none
    was injected."""
    head = text.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    assert re.fullmatch(rb"HTTP/1\.1 \d{3} [\x20-\x7e]*", lines[0]), (what,
                                                                     text)
    for line in lines[1:]:
        assert re.fullmatch(rb"[A-Za-z-]+: [\x20-\x7e]*", line), (what, line)
        assert b"X-Injected" not in line, (what, line)
    assert b"\nX-Injected" not in text.partition(b"\r\n\r\n")[0], (what, text)


@pytest.mark.parametrize("end", LINE_ENDS)
def test_460_20_no_header_from_a_url(server, end):
    """No part of a path or parameter gets into the head of an answer, whether
    the answer is news, an error, a history with an ETag, an OPTIONS or a
    401."""
    for path in ("/comet/a", "/comet/secret/", "/comet/members/",
                 "/chat/backend.php", "/clock/backend.php/", "/static.txt"):
        for method in ("HEAD", "OPTIONS", "DELETE", "POST"):
            text = ask(server, method, path + end, body=b"x")
            check_head(text, (method, path))
    for name in PARAMETERS:
        for base in ("/comet/counted?wait=0&since=0", "/comet?wait=0",
                     "/chat/backend.php?timestamp=0"):
            text = ask(server, "GET", "%s&%s=%s" % (base, name, end))
            check_head(text, name)
            if b"<script" in text:
                assert b"Content-Type: application/json" in text, text


HEADERS = ["Last-Event-ID", "Idempotency-Key", "Content-Type", "Origin",
           "Accept", "If-None-Match", "Authorization", "Cookie", "Referer",
           "Access-Control-Request-Method", "Access-Control-Request-Headers",
           "X-Requested-With", "Sec-Fetch-Site", "Range", "Accept-Encoding",
           "X-Forwarded-For", "X-Forwarded-Host", "X-HTTP-Method-Override",
           "X-Original-URL", "X-Rewrite-URL", "Forwarded"]
VALUES = ["a\rX-Injected: yes", "a\nX-Injected: yes", "a\0b", "\u2028",
          "\udcff\udcfe", "a\x0bb", "x" * 4000, "\"", "*", "https://app.example"
          "\tX-Injected: yes", "https://app.example, https://evil.example",
          "https://app.example.evil.example", "null", "", "POST", "GET",
          "/comet/secret", "Basic " + base64.b64encode(
              b"a\r\nX-Injected: yes:x").decode()]


@pytest.mark.parametrize("name", HEADERS)
def test_460_21_no_header_from_a_header(server, name):
    """No part of a request's headers gets into the head of an answer. Headers
    that name another URL, method or address to some servers have no effect."""
    before = server.rows("header")
    for value in VALUES:
        for method, target in (("GET", "/comet/counted?wait=0&since=0"),
                               ("GET", "/comet/members/x?wait=0"),
                               ("OPTIONS", "/comet/counted"),
                               ("POST", "/comet/secret"),
                               ("GET", "/comet/secret?since=0&wait=0")):
            text = ask(server, method, target, body=b"" if method == "POST"
                       else None, head="%s: %s\r\n" % (name, value))
            check_head(text, (name, value))
            assert SECRET.encode() not in text, text
            allowed = re.search(rb"Access-Control-Allow-Origin: (.*)\r", text)
            assert not allowed or allowed.group(1) == b"https://app.example"
    assert server.rows("header") == before


NAMES = ["a\r\nid: 9\r\ndata: forged\r\n\r\n", "a\n\ndata: forged\n\n", "\ufeff",
         "a\u2028b", "</script><script>alert(1)</script>", "\u202eanna",
         "\x01\x7f", "a\u0085b", "'; DROP TABLE message_log; --", "x" * 250]


def events(server, target, count):
    """Return the events of a stream, and the stream's text."""
    got, text = [], b""
    stream = EventStream(got.append)
    with server.raw() as conn:
        conn.request("GET", target)
        assert conn.head() == 200
        while len(got) < count:
            piece = conn.chunk()
            assert piece, text
            text += piece
            stream.feed(piece)
    return got, text


def test_460_22_authors(server):
    """A user's name that looks like a line of a stream or like a script is
    stored unchanged, and is plain text wherever it appears."""
    stored = []
    for name in NAMES:
        answer = server.request("POST", "/comet/members/a", b"x", dict(
            TEXT, Authorization="Basic " + base64.b64encode(
                (name.replace(":", ";") + ":x").encode()).decode()))
        assert answer.status in (201, 400, 401), answer
        if answer.status == 201:
            stored.append(name.replace(":", ";"))
    assert len(stored) >= 6, "no name was tried"
    me = {"Authorization": "Basic " + base64.b64encode(b"me:x").decode()}
    answer = server.get("/comet/members/a?since=0&wait=0", me)
    assert [m["author"] for m in answer.json()["messages"]] == stored
    assert not re.search(rb"[\x00-\x1f<>]|\xe2\x80\xa8", answer.body)
    # A client that has not authenticated cannot set an author.
    answer = server.request("POST", "/comet/nobody", b"x", dict(
        TEXT, **{"Authorization": me["Authorization"], "From": "me",
                 "X-Remote-User": "me", "Remote-User": "me"}))
    assert answer.status == 201
    assert server.history("nobody")[0]["author"] is None


# Texts that look like fields of a stream, as another program might store them.
FORGED = ["a\nid: 9\ndata: forged\n\n", "a\r\rdata: forged\r\r", "\ufeffa",
          "a\n\nevent: forged\ndata: forged\n\n", ":a", "a\u2028b\u2029",
          "retry: 1", "</script><script>comet(1)</script>", "<!--", "a\0b"]


def test_460_23_fields_from_outside(server):
    """Another program may store any text as type, author and body.  Each row
    becomes one event with its own id, and one script in an iframe."""
    with sqlite3.connect(server.db, timeout=10) as db:
        db.execute("PRAGMA ignore_check_constraints=ON")
        for text in FORGED:
            db.execute("INSERT INTO message(channel, type, author, body)"
                       " VALUES('forged', ?, ?, ?)", (text, text, text))
        db.execute("INSERT INTO message(channel, type, body)"
                   " VALUES('forged', x'61ff0a62', x'ff0a00fe')")
        db.execute("INSERT INTO message(channel, body)"
                   " VALUES('forged', 'end')")
    stamps = [row[0] for row in sqlite(
        server.db, "SELECT timestamp FROM message WHERE channel='forged'"
        " ORDER BY timestamp;")]
    got, text = events(server, "/comet/forged?transport=events&since=0",
                       len(stamps))
    assert [e["id"] for e in got] == stamps
    assert got[-1] == {"id": stamps[-1], "type": "message", "data": "end"}
    for event, forged in zip(got, FORGED):
        assert event["data"] == re.sub("\r\n|\r", "\n", forged)
    assert b"\nretry: 1\n" not in text and b"\nid: 9\n" not in text
    plain, _ = events(server, "/comet/forged?transport=events&since=0&"
                      "format=json", len(stamps))
    assert [json.loads(e["data"])["body"] for e in plain][:len(FORGED)] \
        == FORGED
    with server.raw() as conn:
        conn.request("GET", "/comet/forged?transport=iframe&since=0")
        assert conn.head() == 200
        page = b""
        while b'"end"' not in page:
            page += conn.chunk()
    assert page.count(b"<script>") == page.count(b"<script") \
        == len(stamps) + 1
    assert b"<!--" not in page


# -- SQL -----------------------------------------------------------------------

INJECTIONS = [
    "'", "\"", "'; DROP TABLE message_log; --", "' OR '1'='1", "1 OR 1=1",
    "0 UNION SELECT body FROM message_log WHERE channel='secret'", "x' --",
    "') UNION SELECT 1,2,3,4,body FROM message_log --", "1; SELECT 1", "\\'",
    "'||(SELECT body FROM message)||'", "%' OR channel LIKE '%", "_____", "?1",
    ":channel", "@x", "$x", "NULL", "0x0", "1e3", "1.0", "-0", "+1", " 1",
    "1 ", "1/**/", "load_extension('x')", "*/ DELETE FROM message; /*",
    "secret\" OR \"\"=\"", "body:secret", "channel:secret", "\"secret\"*",
    "NEAR(\"the\" \"secret\")", "{body channel}: secret", "^secret",
    "secret* OR x", "(", ")", "a NOT b", "-- ", "rank MATCH 'x'"]


def table_of(server):
    return sqlite(server.db, "SELECT * FROM message_log ORDER BY 1;")


@pytest.mark.parametrize("name", PARAMETERS)
def test_460_30_sql_in_parameters(server, name):
    """No parameter becomes part of an SQL statement.  Its text is treated like
    any other text, reveals no messages of another channel, and changes
    nothing."""
    before, schema = table_of(server), sqlite(
        server.db, "SELECT sql FROM sqlite_master;")
    for text in INJECTIONS:
        for base in ("/comet/open?wait=0&since=0",
                     "/chat/backend.php?timestamp=0"):
            if name == "msg" and base.startswith("/chat"):
                continue        # this would publish the text
            answer = ask(server, "GET", "%s&%s=%s"
                         % (base, name, quote(text)))
            assert status_of(answer) in (200, 400, 403), (text, answer)
            assert SECRET.encode() not in answer, (text, answer)
            assert b"SQL" not in answer and b"syntax" not in answer, answer
    assert table_of(server) == before
    assert sqlite(server.db, "SELECT sql FROM sqlite_master;") == schema


def test_460_31_sql_in_what_is_stored(server):
    """SQL in bodies, types, channels and keys is stored unchanged, and each
    message is found only in its own channel."""
    for number, text in enumerate(INJECTIONS):
        key = re.sub("[^!-~]", "_", text)[:200]
        channel = "sql " + text.replace("/", "_")
        headers = dict(TEXT, **{"Idempotency-Key": key})
        # (types that begin with @ are reserved)
        kind = text.replace("@", "a")
        target = "/comet/%s?type=%s" % (quote(channel), quote(kind))
        answer = server.request("POST", target, text.encode(), headers)
        assert answer.status == 201, (text, answer)
        assert answer.json()["channel"] == channel
        again = server.request("POST", target, text.encode(), headers)
        assert again.status == 200, "the key %r was not found" % key
        assert [(m["body"], m["type"]) for m in server.history(channel)] \
            == [(text, kind)], number
        server.publish(text, "/c0/backend.php")
    assert server.rows("c0") == INJECTIONS
    assert len(server.rows("secret")) == 1


# -- JSON that is not a script -------------------------------------------------

def test_460_40_no_jsonp(server):
    """Parameters that select JSONP on other servers have no effect.  Every
    answer is JSON, is not a script, and forbids sniffing."""
    for target in ("/comet/open?since=0&wait=0", "/comet/open?since=never",
                   "/c0/backend.php?timestamp=0", "/comet/open?transport=<b>",
                   "/comet?channel=<script>alert(1)</script>",
                   "/comet-status?format=json"):
        for name in ("callback", "jsonp", "cb", "jsoncallback", "format"):
            if name == "format" and "format=" in target:
                continue
            for accept in ("*/*", "text/javascript", "text/html"):
                text = ask(server, "GET", "%s&%s=leak" % (target, name),
                           "localhost", head="Accept: %s\r\n" % accept)
                assert status_of(text) in (200, 400, 403), (target, text)
                assert b"leak(" not in text, (target, text)
                assert b"application/json" in text, (target, text)
                assert b"X-Content-Type-Options: nosniff" in text, text
                assert b"<script" not in text, text


# -- DNS rebinding -------------------------------------------------------------

def rebound_block():
    """Return what conf/demo.conf.in configures against DNS rebinding."""
    with open(os.path.join(REPO, "conf", "demo.conf.in")) as file:
        found = re.search(r"^StrictHostCheck On\n<VirtualHost .*?"
                          r"</VirtualHost>\n", file.read(), re.M | re.S)
    return found.group(0).replace("@PORT@", "{port}")


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lax"])
def test_460_45_rebinding(make_server, strict):
    """A page points its own host name at this machine (DNS rebinding), so that
    page and server have one origin.  The configuration of `make run` refuses
    the page's requests.  Without it they are answered, as the manual warns."""
    server = make_server(conf=rebound_block() if strict else "")
    server.post("x", "known")
    own = "rebound.example:%d" % server.port
    marks = "".join("%s\r\n" % line for line in (
        "Origin: http://" + own, "Referer: http://%s/" % own,
        "X-Requested-With: XMLHttpRequest", "Accept-Language: en"))
    requests = [("GET", "/comet/x?since=0&wait=0", None),
                ("POST", "/comet/x", b"forged"),
                ("GET", "/chat/backend.php?msg=forged", None),
                ("GET", "/chat/backend.php?timestamp=0", None),
                ("HEAD", "/clock/backend.php", None),
                ("GET", "/comet-status", None), ("OPTIONS", "/comet/x", None)]
    for method, target, body in requests:
        text = ask(server, method, target, own, body, marks)
        assert (status_of(text) == 400) == strict, (method, target, text)
        assert not strict or (b"known" not in text and b"waiting" not in text)
    assert ("forged" in server.rows("x") + server.rows("chat")) != strict
    for host in ("127.0.0.1", "localhost", "LOCALHOST"):
        text = ask(server, *requests[0][:2], "%s:%d" % (host, server.port))
        assert b"known" in text, text
