# SPDX-License-Identifier: Apache-2.0
"""mod_comet beside other modules that sites commonly load.

One httpd for each row of MODULES does all main jobs.  The test compares how
the clients wait with the row.  The guard `manual_lists_neighbours` compares the
manual's table with the same rows.
"""

import contextlib
import os

import pytest

from beside import MODULES, SITES
from httpd_env import MODULES as FOLDER, MPMS, SANITIZER, wait_until
from socket_client import Socket
from stream_client import EVENTS, Stream

KINDS = ("events", "iframe", "poll", "classic")
NEVER = "c0"    # the channel to which nothing is published


def config(row):
    """Return the row's configuration.  Its modules must be installed."""
    lines = ["LoadFile %s" % row["lib"]] if "lib" in row else []
    for name in row.get("load", ()):
        path = name if name.startswith("/") else \
            os.path.join(FOLDER, row.get("file", {}).get(name,
                                                         "mod_%s.so" % name))
        assert os.path.exists(path), "%s: see conf/setup" % path
        lines.append('LoadModule %s_module "%s"' % (name, path))
    return "\n".join(lines + [row.get("conf", "")])


def gauges(server):
    status = server.status()
    return status["adopted"], status["blocked"]


def how(before, after):
    """Return how a client waits, from the gauges before and after it came."""
    if after[0] > before[0]:
        return "adopted"
    return "thread" if after[1] > before[1] else "parked"


class Client:
    """A waiting client of one kind; news() reads what it gets."""

    TARGETS = {"events": "/comet/{c}?since=0", "poll": "/comet/{c}?since=0",
               "iframe": "/comet/{c}?since=0&transport=iframe",
               "classic": "/{c}/backend.php?timestamp=0"}

    def __init__(self, server, kind, channel):
        self.conn, self.kind = server.raw(), kind
        headers = {"Accept": "text/event-stream"} if kind == "events" else {}
        self.conn.request("GET", self.TARGETS[kind].format(c=channel), headers)
        self.refused = None
        if kind in ("events", "iframe"):
            self.status = self.conn.head()
            if self.status != 200:
                self.refused = self.conn.body()

    def news(self, text):
        if self.kind in ("events", "iframe"):
            got = b""
            while text not in got:
                piece = self.conn.chunk()
                assert piece, "ended after %r" % got
                got += piece
        else:
            answer = self.conn.answer()
            assert answer.status == 200 and text in answer.body, answer

    def ends(self):
        while self.conn.chunk():
            pass


def open_all(server, expected):
    """Open a client of each kind; return the clients, and how each kind
    waits."""
    clients, ways = [], {}
    for number, kind in enumerate(KINDS):
        before = gauges(server)
        client = Client(server, kind, "c%d" % (number + 1))
        if client.refused is not None:
            ways[kind] = "refused %d" % client.status
            assert b"output filter" in client.refused, client.refused
            client.conn.close()
            continue
        clients.append(client)
        server.wait_waiting(1, kind)
        # (a client may be parked first)
        with contextlib.suppress(AssertionError):
            wait_until(lambda k=kind, b=before:
                       how(b, gauges(server)) == expected[k], 5)
        ways[kind] = how(before, gauges(server))
    return clients, ways


def expected_ways(row, mpm):
    """Return how each kind of client should wait. Only the event MPM parks
    clients."""
    ways = dict(dict(events="adopted", iframe="adopted", poll="parked",
                     classic="parked"), **row.get("ways", {}))
    if mpm != "event":
        ways = {kind: "thread" if way == "parked" else way
                for kind, way in ways.items()}
    return ways


def do_jobs(server, row):
    quiet = server.raw()
    quiet.request("GET", "/comet/quiet?since=0&wait=1")
    server.wait_waiting(1, "poll")
    assert quiet.answer().json()["messages"] == []
    quiet.close()
    expected = expected_ways(row, server.mpm)
    clients, ways = open_all(server, expected)
    assert ways == expected
    for number, kind in enumerate(KINDS):
        server.post("c%d" % (number + 1), "news for ä %s" % kind)
    for client in clients:
        client.news("ä".encode() if client.kind != "classic"
                    else b"news for")
    for number, kind in enumerate(KINDS):
        assert [m["body"] for m in server.history("c%d" % (number + 1))] \
            == ["news for ä %s" % kind]
    server.graceful()
    for client in clients:
        if client.kind in ("events", "iframe"):
            client.ends()
        client.conn.close()
    assert len(server.history("c1")) == 1
    last = Client(server, "events", "last")
    if last.refused is None:
        server.wait_waiting(1, "events")
    server.stop()
    if ways["events"] in ("adopted", "parked"):
        last.ends()
    last.conn.close()


def run(make_server, row, mpm="event"):
    mpm = row.get("mpm", mpm)
    if mpm not in MPMS:
        pytest.skip("%s not chosen" % mpm)
    if SANITIZER in ("asan", "tsan") and "php" in row["load"]:
        pytest.skip("PHP opens opcache with RTLD_DEEPBIND, which ends httpd")
    server = make_server(before=config(row), classics=5, mpm=mpm,
                         modules=row.get("needs", ()), may_leak=True)
    do_jobs(server, row)
    log = server.error_log()
    for text in row.get("log", ()):
        most = 4 if mpm == "event" else 40
        # If all streams hold threads, one log line at the start says so.
        least = mpm == "event" or "CometAdopt: off" not in log \
            or "holds back" in text
        assert least <= log.count(text) <= most, log
    if not row.get("log"):
        assert "output filter" not in log, log


def cases(rows):
    return [pytest.param(row, id=row["name"], marks=[pytest.mark.long]
                         if row.get("long") else []) for row in rows]


@pytest.mark.parametrize("row", cases(MODULES))
def test_500_01_beside_one_module(make_server, row):
    run(make_server, row)


@pytest.mark.parametrize("row", cases(SITES))
def test_500_02_beside_what_a_site_loads(make_server, row):
    run(make_server, row)


@pytest.mark.long
@pytest.mark.parametrize("mpm", ["worker", "prefork"])
@pytest.mark.parametrize("row", [pytest.param(row, id=row["name"])
                                 for row in MODULES + SITES
                                 if "mpm" not in row])
def test_500_03_under_the_other_mpms(make_server, row, mpm):
    run(make_server, row, mpm)


RECOMMENDED = "/etc/modsecurity/modsecurity.conf-recommended"


@pytest.mark.event
@pytest.mark.skipif(not os.path.exists(RECOMMENDED),
                    reason="no mod_security2 of Debian")
def test_500_04_mod_security2_as_debian_recommends(make_server):
    """Debian's configuration of mod_security2 holds HTML back until the answer
    ends, so HTML that never ends is refused, with the reason.  With the
    manual's recipe such HTML is served. Everything else works as without
    mod_security2."""
    with open(RECOMMENDED, encoding="utf-8") as file:
        text = file.read().replace("DetectionOnly", "On").replace(
            "/var/log/apache2", "{root}/logs").replace(
                "SecUnicodeMapFile ", "SecUnicodeMapFile /etc/modsecurity/")
    server = make_server(
        may_leak=True,
        before=config({"load": ["unique_id", "security2"], "conf": text}),
        conf="CometEndpoint /open/comet\nCometClock /open/clock\n"
        "CometTransports all websocket\nCometMulti on\n"
        "<Location /open>\nSecResponseBodyAccess Off\n</Location>\n")
    server.allow_log.append("COMET0132|ModSecurity")
    frames = {"/comet/x?transport=iframe&since=0": b"news",
              "/clock/backend.php": b"<script"}
    for target in frames:
        answer = server.get(target)
        assert answer.status == 500 and b"output filter" in answer.body, answer
    with contextlib.ExitStack() as stack:
        for target, wanted in frames.items():
            conn = stack.enter_context(server.raw())
            conn.request("GET", "/open" + target.replace("/backend.php", ""))
            assert conn.head() == 200
            server.post("x", "news")
            conn.until(wanted)
    with Socket(server, "/comet/x?transport=websocket&since=0") as socket:
        socket.opened()
        assert socket.hear()["body"] == "news"
    for kind, body in (("text/plain", "a=<b>&c"), ("application/json", "{}"),
                       ("application/x-ndjson", '{"body": "1"}\n'),
                       ("application/x-www-form-urlencoded", "msg=1")):
        answer = server.request("POST", "/comet/y", body,
                                {"Content-Type": kind})
        assert answer.status == 201, (kind, answer)


# channel: (the lines of its section, what becomes of its streams)
FILTERS = {
    "styles": ("AddOutputFilterByType Sed text/css\n"
               "AddOutputFilterByType DATA image/png\n"
               "OutputSed s/foo/bar/", "adopted"),
    "chain": ("FilterDeclare EDIT\n"
              "FilterProvider EDIT Sed \"%{CONTENT_TYPE} == 'text/css'\"\n"
              "FilterChain EDIT", "adopted"),
    "charset": ("CharsetSourceEnc ISO-8859-1\nCharsetDefault UTF-16\n"
                "CharsetOptions TranslateAllMimeTypes", "adopted"),
    "xlate": ("CharsetSourceEnc ISO-8859-1\nCharsetDefault UTF-8\n"
              "CharsetOptions NoImplicitAdd TranslateAllMimeTypes\n"
              "SetOutputFilter XLATEOUT\nSetInputFilter XLATEIN", "adopted"),
    "xml": ("AddOutputFilterByType xml2enc text/html text/event-stream",
            "adopted"),
    "by-type": ("AddOutputFilterByType Sed text/event-stream\n"
                "OutputSed s/foo/bar/", "refused"),
    "hidden": ("FilterDeclare HOLD\n"
               "FilterProvider HOLD Sed \"%{CONTENT_TYPE} =~ m#^text/#\"\n"
               "FilterChain HOLD\nOutputSed s/foo/bar/", "refused"),
}


@pytest.mark.event
def test_500_05_filters_of_other_types(make_server):
    """Only a filter's effect on a stream counts, not its name or how it was
    added.  A filter for other types changes nothing.  One that translates
    character sets is removed.  For one that holds bytes back, the stream is
    refused at once, with the reason."""
    server = make_server(
        before=config({"load": ["sed", "data", "charset_lite", "xml2enc"]}),
        conf="".join("<Location /comet/%s>\n%s\n</Location>\n" % (name, text)
                     for name, (text, _) in FILTERS.items()))
    for name, (_, wanted) in FILTERS.items():
        target = "/comet/%s?since=0" % name
        if wanted == "refused":
            answer = server.get(target, EVENTS)
            assert answer.status == 500, name
            assert b"output filter" in answer.body, name
            continue
        with Stream(server, target) as stream:
            server.wait_waiting(1, "events")
            server.post(name, "news for ä")
            assert stream.until(1) == ["news for ä"], name
            assert server.status()["adopted"] == 1, name
            assert server.history(name)[0]["body"] == "news for ä"
        server.wait_waiting(0)
    assert server.error_log().count("COMET0132") == 2
    assert "COMET0131" not in server.error_log()


# Ways in which mod_include may get to see an answer.
INCLUDES = {
    "set": "SetOutputFilter INCLUDES",
    "by-type": "AddOutputFilterByType INCLUDES text/html text/event-stream "
               "application/json",
    "hidden": "FilterDeclare SSI\n"
              "FilterProvider SSI INCLUDES \"%{CONTENT_TYPE} =~ m#^text/#\"\n"
              "FilterChain SSI",
}


@pytest.mark.event
def test_500_06_no_message_is_executed(make_server):
    """mod_include executes the site's own pages, but never a message, which
    anybody may have published."""
    server = make_server(
        before=config({"load": ["include"]}), conf="".join(
            "<LocationMatch ^/(comet/|page-)%s>\nOptions +Includes\n%s\n"
            "</LocationMatch>\n" % item for item in INCLUDES.items()))
    command = '<!--#echo var="DOCUMENT_NAME" -->'
    for name in INCLUDES:
        server.write("page-%s.html" % name, command)
        assert server.get("/page-%s.html" % name).body.startswith(b"page-")
        text = command + '<!--#exec cmd="id" -->'
        with Stream(server, "/comet/%s?since=0" % name) as stream:
            server.wait_waiting(1, "events")
            server.post(name, text)
            assert stream.until(1) == [text], name
            assert server.status()["adopted"] == 1, name
        server.wait_waiting(0)
        assert server.history(name)[0]["body"] == text
        with server.raw() as conn:
            conn.request("GET", "/comet/%s?since=0&transport=iframe" % name)
            conn.until(b"DOCUMENT_NAME")
        server.wait_waiting(0)
