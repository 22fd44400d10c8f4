# SPDX-License-Identifier: Apache-2.0
"""Every transport returns any text unchanged.  A channel name is refused, or it
names a channel of its own."""

import html
import html.parser
import json
import os
import re

import pytest

from event_stream import EventStream
from http_client import quote
from httpd_env import sqlite, wait_until
from test_300_pages import Browser

BODIES = {
    "script-end": "</script><script>parent.pwned = 1</script>",
    "script-case": "</ScRiPt  ><img src=x onerror=parent.pwned=1>",
    "comment": "<!-- <script> --> <!--",
    "cdata": "]]> <![CDATA[ ]]>",
    "separators": "one\u2028two\u2029three",
    "quotes": "\"double\" 'single' `back` \\n \\u0041 \\",
    "call": "\");parent.pwned=1;(\"",
    "cr": "one\rtwo\r\rthree",
    "lf": "one\ntwo\n\nthree",
    "crlf": "one\r\ntwo\r\n\r\nthree",
    "mixed-ends": "a\n\rb\r\n\nc\r\r\nd",
    "leading-lf": "\none",
    "trailing-lf": "one\n",
    "trailing-lfs": "one\n\n\n",
    "trailing-cr": "one\r",
    "trailing-crlf": "one\r\n",
    "only-lf": "\n",
    "only-cr": "\r",
    "fields": "x\nid: 9\nevent: evil\nretry: 1\ndata: y\n\ndata: z",
    "cr-fields": "x\rid: 9\revent: evil\r\rdata: z",
    "comments": ": not a comment\n:\n::",
    "spaces": "  two before, two after  ",
    "only-space": " ",
    "tabs": "\tone\t\ttwo\t",
    "controls": "bell \x07, escape \x1b[31m, delete \x7f, unit \x1f, \x85",
    "bom": "\ufeffbyte order mark \ufeff",
    "noncharacters": "\ufffe \uffff \U0010ffff \ufffd",
    "rtl": "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd"
           " \u202eabc\u202c \u200f",
    "emoji": "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467"
             " \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "combining": "e\u0301 \u00e9 a\u0308\u0323",
    "html": "<b>bold</b> &amp; &lt; &#60; &nbsp;",
    "json": "{\"body\": [1, \"\\u003c\", null]}",
    "percent": "100% %00 %0a + %zz",
    "64k": "\u00e4\n" * 21845 + "x",
    "64k-lines": "\n" * 65536,
}

ODD = "odd </script><!-- \u2028 'q' \"d\" &amp; %25 \\"     # a channel's name
COUNT = len(BODIES)
SERVER = {
    "classics": COUNT,
    "conf": "".join("CometClassic /raw%d/backend.php c%d\n" % (i, i)
                    for i in range(COUNT))
            + '<LocationMatch "^/raw">\nCometEscape off\n</LocationMatch>\n'}

END = "the end"


def lines_joined(text):
    """Return the text as an event stream carries it, with LF for each line
    end."""
    return re.sub("\r\n?", "\n", text)


@pytest.fixture(scope="module")
def published(shared_server):
    """Store each text, followed by END, on a channel of its own."""
    for number, text in enumerate(BODIES.values()):
        shared_server.post("c%d" % number, text)
        shared_server.post("c%d" % number, END)


@pytest.fixture(params=list(BODIES))
def stored(request, server, published):
    """Return the server, the number of a channel, and the text that is stored
    there."""
    return server, list(BODIES).index(request.param), BODIES[request.param]


def test_350_01_classic(stored):
    """The classic poll returns each text as HTML or, with CometEscape off,
    unchanged."""
    server, number, text = stored
    for kind, undo in (("raw", str), ("c", html.unescape)):
        url = "/%s%d/backend.php?timestamp=" % (kind, number)
        first = server.get(url + "0").json()
        assert undo(first["msg"]) == text
        assert server.get(url + str(first["timestamp"])).json()["msg"] == END
        if kind == "c":
            assert not re.search("[<>\"']", first["msg"])


def test_350_02_poll(stored):
    """The JSON poll returns each text unchanged, and contains nothing that HTML
    would interpret."""
    server, number, text = stored
    answer = server.get("/comet/c%d?since=0&wait=0" % number)
    assert [m["body"] for m in answer.json()["messages"]] == [text, END]
    assert not re.search(rb"[<>&]", answer.body), answer
    assert "\u2028" not in answer.body.decode()


def read_stream(server, target, done):
    """Read a stream until `done(text)` is true; return the text."""
    with server.raw() as conn:
        conn.request("GET", target)
        assert conn.head() == 200
        got = b""
        while not done(got):
            piece = conn.chunk()
            assert piece, "ended after %r" % got[-100:]
            got += piece
    return got


def events_of(server, target):
    """Return all events up to END as WHATWG's rules define them.  Check that
    they do not depend on how the stream is cut into pieces."""
    got = []
    stream = EventStream(got.append)
    text = read_stream(server, target, lambda got: END.encode() in got
                       and got.endswith(b"\n\n"))
    stream.feed(text)
    bitwise = []
    stream = EventStream(bitwise.append)
    for i in range(0, len(text), 7):
        stream.feed(text[i:i + 7])
    assert bitwise == got
    assert stream.retry >= 0.1, "the body has set the time to retry"
    return got


def test_350_03_events(stored):
    """An event stream has each text in one event, with LF for each line end. No
    part of a text becomes a field of the stream."""
    server, number, text = stored
    got = events_of(server,
                    "/comet/c%d?transport=events&since=0" % number)
    stamps = [str(m["timestamp"]) for m in server.history("c%d" % number)]
    assert [(e["id"], e["type"], e["data"]) for e in got] == [
        (stamps[0], "message", lines_joined(text)),
        (stamps[1], "message", END)]


def test_350_04_events_as_json(stored):
    """With format=json an event stream has each text unchanged, on one line."""
    server, number, text = stored
    got = events_of(server, "/comet/c%d?transport=events&since=0&"
                    "format=json" % number)
    assert [e["type"] for e in got] == ["message"] * 2
    assert not any("\n" in e["data"] for e in got)
    messages = [json.loads(e["data"]) for e in got]
    assert messages == server.history("c%d" % number)
    assert [m["body"] for m in messages] == [text, END]


class Scripts(html.parser.HTMLParser):
    """Collects the texts of a page's script elements, and the names of its
    other elements."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.others, self.inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, _attrs):
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")
        else:
            self.others.append(tag)

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def test_350_05_iframe(stored):
    """An iframe has one script element for each message, with the message's
    text unchanged, and no other elements."""
    server, number, text = stored
    page = Scripts(read_stream(
        server, "/comet/c%d?transport=iframe&since=0" % number,
        lambda got: END.encode() in got and got.endswith(b"</script>\n")
    ).decode())
    assert page.others == ["html", "head", "meta", "title", "body"]
    bodies = []
    for script in page.scripts[1:]:
        call = re.fullmatch(r"comet\((\{.*\})\);", script)
        assert call, script[:200]
        assert not re.search("[<>\u2028\u2029]", script), script[:200]
        bodies.append(json.loads(call.group(1))["body"])
    assert bodies == [text, END]


def test_350_06_the_file(stored):
    """The database has each text unchanged."""
    server, number, text = stored
    assert sqlite(server.db, "SELECT hex(body) FROM message WHERE "
                  "channel='c%d' ORDER BY timestamp LIMIT 1;" % number) \
        == [[text.encode().hex().upper()]]


def test_350_06b_ways_in(server):
    """A form and the classic chat's query store a text unchanged."""
    for text in BODIES.values():
        answer = server.request(
            "POST", "/comet/ways", b"msg=" + quote(text).encode(),
            {"Content-Type": "application/x-www-form-urlencoded"})
        assert answer.status == 201, answer
    short = [text for text in BODIES.values() if len(quote(text)) < 6000]
    for text in short:
        server.publish(text, "/raw%d/backend.php" % (COUNT - 1))
    bodies = [m["body"] for m in server.history("ways")]
    assert bodies == list(BODIES.values())
    assert [m["body"] for m in server.history("c%d" % (COUNT - 1))][
        -len(short):] == short


@pytest.mark.parametrize("body", [b"\0", b"a\0b", b"a\0", b"\xff", b"\xc0\x80",
                                  b"\xed\xa0\x80", b"\xf4\x90\x80\x80"],
                         ids=lambda b: b.hex())
def test_350_07_refused(server, body):
    """NUL and invalid UTF-8 get 400, and nothing is stored."""
    for ctype in ("text/plain", "application/json", "text/html"):
        answer = server.request("POST", "/comet/refused", body,
                                {"Content-Type": ctype})
        assert answer.status == 400, answer
        assert answer.json()["error"]
    answer = server.request(
        "POST", "/comet/refused", b"msg=" + quote(body).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 400, answer
    answer = server.get("/c0/backend.php?msg=" + quote(body),
                        {"X-Requested-With": "XMLHttpRequest"})
    assert answer.status == 400, answer
    assert server.history("refused") == []


def test_350_08_type_and_channel_as_well(server):
    """Types and channel names cannot break out of their fields, either."""
    kinds = ["</script>", "a'b\"c", "\u2028", "<!--", "data: x"]
    channel = ODD
    for kind in kinds:
        answer = server.request(
            "POST", "/comet/%s?type=%s" % (quote(channel, "/"), quote(kind)),
            b"x", {"Content-Type": "text/plain"})
        assert answer.status in (201, 400), answer
    server.post(channel, END)
    messages = server.history(channel)
    assert {m["channel"] for m in messages} == {channel}
    assert {m["type"] for m in messages[:-1]} <= set(kinds)
    base = "/comet/%s?since=0&transport=" % quote(channel, "/")
    got = events_of(server, base + "events&format=json")
    assert [json.loads(e["data"]) for e in got] == messages
    got = events_of(server, base + "events")
    assert [e["type"] for e in got] == [m["type"] for m in messages]
    page = Scripts(read_stream(
        server, base + "iframe", lambda got: END.encode() in got
        and got.endswith(b"</script>\n")).decode())
    assert page.others == ["html", "head", "meta", "title", "body"]
    assert [json.loads(s[len("comet("):-len(");")])
            for s in page.scripts[1:]] == messages


# -- in a browser -----------------------------------------------------------

PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>bodies</title>
<script>
window.framed = []; window.streamed = []; window.json = [];
window.comet = {receive: (message) => framed.push(message.body)};
const url = '/comet/browser?since=0&transport=';
new EventSource(url + 'events').onmessage = (e) => streamed.push(e.data);
new EventSource(url + 'events&format=json').onmessage =
  (e) => json.push(JSON.parse(e.data).body);
</script>
<iframe src="/comet/browser?since=0&amp;transport=iframe"></iframe>
"""


@pytest.mark.browser
@pytest.mark.bound(90)
def test_350_09_in_chromium(make_server):
    """In a browser an iframe and event streams deliver every body unchanged,
    and no script in a body runs."""
    server = make_server()
    texts = list(BODIES.values()) + [END]
    for text in texts:
        server.post("browser", text)
    server.write("bodies.html", PAGE)
    browser = Browser(server.port)
    try:
        tab = browser.open("/bodies.html")
        for name, want in (("framed", texts), ("json", texts),
                           ("streamed", list(map(lines_joined, texts)))):
            wait_until(lambda n=name: tab.js("return %s.length" % n)
                       >= len(texts), 15, "all of " + name)
            assert tab.js("return " + name) == want
        assert tab.js("return window.pwned === undefined")
        assert tab.js("return frames[0].document.querySelectorAll("
                      "'img, b').length") == 0
    finally:
        browser.close()


# -- names of channels ------------------------------------------------------

# path below the endpoint: its channel, or None if the path must be refused
NAMES = {
    "plain": "plain", "plain2": "plain2", "Plain": "Plain",
    "a_b": "a_b", "a+b": "a+b", "a%20b": "a b", "aXb": "aXb",
    "a%25b": "a%b", "a%2525b": "a%25b", "a*b": "a*b", "*": "*",
    "room": "room", "room/1": "room/1", "room/*": "room/*",
    "room/1/2": "room/1/2", "room1": "room1", "room%5f1": "room_1",
    "'": "'", "%22": '"', "a'b": "a'b", "a''b": "a''b",
    "';%20DROP%20TABLE%20message_log;--": "'; DROP TABLE message_log;--",
    "a%5cb": "a\\b", "a%26b": "a&b", "a%3db": "a=b", "a;b": "a;b",
    "%F0%9F%98%80": "\U0001f600", "e%CC%81": "e\u0301", "%C3%A9": "\u00e9",
    "%EF%BB%BFbom": "\ufeffbom", "%E2%80%AErtl": "\u202ertl",
    "...": "...", "a...": "a...", ".a": ".a", "%20": " ", "~": "~",
    "x" * 255: "x" * 255, "%E4%B8%AD" * 85: "\u4e2d" * 85,
    "": None, "/": None, "//": None, "x" * 256: None, "x" * 4000: None,
    "%E4%B8%AD" * 85 + "x": None, "a%00b": None, "%00": None, "a%00": None,
    "a%0ab": None, "a%0db": None, "a%0d%0aSet-Cookie:%20x=1": None,
    "%09": None, "a%7f": None, "a%1f": None, "%ff": None, "a%c0%afb": None,
    "a/": None, "room/1/": None, "a//b": None, "a/./b": None, "./a": None,
    "%2e": None, "%2e%2e/static.txt": None, "a/%2e%2e/b": None, "a/..": None,
    "../comet": None, "a%2fb": None, "a%2Fb": None, "%2e%2e%2fx": None,
    "..%5cx": "..\\x",
}
# httpd resolves these paths first, as RFC 3986 requires. They reach the channel
# of the shorter URL, under the access rules of that URL.
RESOLVED = {"a//b": "a/b", "/": None, "//": None, "a/./b": "a/b",
            "./a": "a", "a/%2e%2e/b": "b", "a/..": None}


@pytest.fixture(scope="module")
def named(shared_server):
    """Publish to every path a message whose body is the path. Return the server
    and the answers."""
    outcome = {}
    for path in NAMES:
        outcome[path] = shared_server.request(
            "POST", "/comet/" + path, path.encode() or b"empty",
            {"Content-Type": "text/plain"})
    return shared_server, outcome


@pytest.mark.parametrize("path", list(NAMES),
                         ids=lambda p: "%s(%d)" % (p[:24], len(p)))
def test_350_20_name_refused_or_apart(named, path):
    """Over every transport, each path is refused or reads its own channel, and
    never another."""
    server, outcome = named
    answer, name = outcome[path], NAMES[path]
    if name is None and RESOLVED.get(path) and answer.status == 201:
        assert answer.json()["channel"] == RESOLVED[path]
        return
    if name is None:
        if path.endswith("static.txt"):
            # not a URL of the endpoint
            assert answer.body == b"a static file\n"
            return
        assert answer.status in (400, 404, 405), answer
        assert b"Set-Cookie" not in repr(answer.headers).encode()
        for query in ("?wait=0", "?transport=events", "?transport=iframe"):
            answer = server.get("/comet/" + path + query)
            assert answer.status in (400, 404, 406), answer
        return
    assert answer.status == 201, answer
    assert answer.json()["channel"] == name
    target = "/comet/%s?since=0" % path
    answer = server.get(target + "&wait=0")
    # Other paths that httpd resolves to this channel also publish here.
    mine = {path} | {p for p, n in RESOLVED.items() if n == name}
    assert {m["channel"] for m in answer.json()["messages"]} == {name}
    assert {m["body"] for m in answer.json()["messages"]} <= mine
    text = read_stream(server, target + "&transport=events",
                       lambda got: b"data: " in got
                       and got.endswith(b"\n\n"))
    got = []
    EventStream(got.append).feed(text)
    assert {e["data"] for e in got} <= mine


def test_350_21_no_other_channel_was_made(named):
    """The database has only channels that the tests have named."""
    server, _ = named
    names = {name for name in NAMES.values() if name} \
        | {name for name in RESOLVED.values() if name}
    found = {row[0] for row in sqlite(
        server.db, "SELECT DISTINCT channel FROM message;")}
    # Earlier tests of this file may have made these channels.
    names |= {"c%d" % number for number in range(COUNT)} | {"ways", ODD}
    assert found <= names, found - names
    assert not isinstance(server.db, str) \
        or not os.path.exists(server.db + "-journal")


@pytest.mark.parametrize("how", ["On", "NoDecode"])
def test_350_22_encoded_slashes(make_server, how):
    """Whatever AllowEncodedSlashes is, a path with `%2f` never publishes to a
    channel that a <Location> protects."""
    server = make_server(conf="""
      AllowEncodedSlashes %s
      <Location "/comet/secret">
        Require all denied
      </Location>""" % how)
    for path in ("secret/x", "secret%2fx", "secret%2Fx", "a%2f..%2fsecret/x",
                 "a/..%2fsecret%2fx", "%2e%2e%2fcomet%2fsecret%2fx",
                 "secret%252fx", "./secret/x", "%73ecret/x", "secret/./x"):
        for method, body in (("POST", b"x"), ("GET", None)):
            answer = server.request(method, "/comet/" + path
                                    + "?wait=0&since=0", body,
                                    {"Content-Type": "text/plain"})
            assert answer.status in (201, 200, 400, 403, 404), (path, answer)
    found = {row[0] for row in sqlite(
        server.db, "SELECT DISTINCT channel FROM message;")}
    assert not {n for n in found if n.split("/")[0] == "secret"}, found


def test_350_23_a_prefix_is_a_prefix(make_server):
    """room/* matches channels that begin with room/ and no others, although _ %
    * ? [ have a meaning in SQL's LIKE and GLOB."""
    server = make_server(conf='<Location "/comet">\nCometMulti on\n'
                              "</Location>")
    names = ["room/1", "room/2/3", "room", "rooms/1", "Room/1", "r_om/1",
             "room%/1", "roo*/1", "r[o]om/1", "room/*", "ro?m/1", "room//1"]
    stored = [name for name in names if server.request(
        "POST", "/comet/" + quote(name, "/"), name.encode(),
        {"Content-Type": "text/plain"}).status == 201]
    # (httpd reads room//1 as room/1)
    assert sorted(stored) == sorted(names)
    for prefix in ("room/", "r_om/", "room%/", "roo*/", "r[o]om/", "ro?m/"):
        got = server.get("/comet?since=0&wait=0&channel="
                         + quote(prefix + "*"))
        assert got.status == 200, got
        assert {m["channel"] for m in got.json()["messages"]} == {
            n for n in names if n.startswith(prefix) and n != "room//1"}
    exact = server.get("/comet/room?since=0&wait=0").json()["messages"]
    assert [m["body"] for m in exact] == ["room"]
