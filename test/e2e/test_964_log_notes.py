# SPDX-License-Identifier: Apache-2.0
"""The notes that an access log can show about a request, for each way of
waiting, each kind of request and each end.  The log format is the manual's
example."""

import html
import os
import re
import signal

import pytest

from h2_client import H2, H2Tls
from httpd_env import wait_until
from socket_client import Socket
from stream_client import Stream, post
from test_390_manual import REFERENCE

NAMES = ("channel", "transport", "way", "messages", "cursor", "end")


def manuals_format():
    """Return the log format of the manual's example, for the private httpd."""
    with open(REFERENCE, encoding="utf-8") as page:
        text = re.search(r'<code id="log-notes-format">(.*?)</code>',
                         page.read(), re.S).group(1)
    return html.unescape(text).replace("${APACHE_LOG_DIR}", "logs")


CONF = manuals_format() + """
CometParkHTTP2 on
CometReplay 0
CometTransports all websocket
CometModerate on
<Location "/comet">
  CometMulti on
</Location>
<Location "/comet/brief">
  CometMaxLifetime 1s
</Location>
<Location "/comet/closed">
  Require all denied
</Location>
<Location "/comet/filtered">
  CometAdopt off
</Location>
"""
SERVER = {"tls": True, "h2": True, "threads": 16, "conf": CONF}
POLL = "?transport=poll"
IFRAME = "?transport=iframe"


def notes(server, target):
    """Return the notes of a request by name, from its only line in the log. "-"
    stands for a note that is not set."""
    path = os.path.join(server.root, "logs", "comet.log")

    def find():
        with open(path, encoding="utf-8") as log:
            return [line for line in log if " %s " % target in line]

    wait_until(find, what="the line of " + target)
    assert len(find()) == 1, find()
    fields = re.findall(r'"[^"]*"|\S+', find()[0])[-len(NAMES):]
    return dict(zip(NAMES, (field.strip('"') for field in fields)))


def check(server, target, **wanted):
    found = notes(server, target)
    wanted = {name: str(value) for name, value in wanted.items()}
    assert {name: found[name] for name in wanted} == wanted, found


def read(server, target, texts):
    """Read these texts from a stream as they are published, and leave it.
    Return the last timestamp."""
    channel = re.match(r"/comet/([^?]*)", target).group(1)
    with Stream(server, target) as stream:
        server.wait_waiting(1)
        for text in texts:
            last = post(server, channel, text)
            stream.until_bytes(text.encode())
    return last


def test_964_01_an_adopted_stream(server):
    last = read(server, "/comet/news?v=1", ["one", "two", "three"])
    check(server, "/comet/news?v=1", channel="news", transport="events",
          way="adopted", messages=3, cursor=last, end="left")


def test_964_02_a_parked_stream(server):
    last = read(server, "/comet/filtered?v=2", ["one", "two"])
    check(server, "/comet/filtered?v=2", channel="filtered",
          transport="events", way="parked", messages=2, cursor=last,
          end="left")


def test_964_03_a_thread(thread_server):
    last = read(thread_server, "/comet/filtered?v=3", ["one", "two"])
    check(thread_server, "/comet/filtered?v=3", transport="events",
          way="blocked", messages=2, cursor=last, end="left")
    with thread_server.raw() as conn:
        conn.request("GET", "/comet/news" + POLL + "&v=3")
        thread_server.wait_waiting(1)
        last = post(thread_server, "news", "hello")
        assert conn.answer().json()["timestamp"] == last
    check(thread_server, "/comet/news" + POLL + "&v=3", transport="poll",
          way="blocked", messages=1, cursor=last, end="answered")


@pytest.mark.event
def test_964_04_http2(server):
    """The notes of HTTP/2 requests that wait without a thread, and of one that
    holds a thread."""
    target = "/comet/news?transport=events&v="
    with H2Tls(server.tls_port, 65535, 1 << 20) as conn:
        stream = conn.request("GET", target + "4")
        poll = conn.request("GET", "/comet/news" + POLL + "&v=4")
        assert conn.pump(lambda: server.status()["ghosts"] == 2, 10)
        last = post(server, "news", "hello")
        conn.finish(poll, 10)
        assert conn.pump(lambda: b"hello" in stream.body(), 10)
        conn.cancel(stream)
        assert conn.pump(lambda: server.status()["ghosts"] == 0, 10)
    check(server, target + "4", channel="news", transport="events",
          way="ghosts", messages=1, cursor=last, end="left")
    check(server, "/comet/news" + POLL + "&v=4", transport="poll",
          way="ghosts", messages=1, cursor=last, end="answered")
    with H2(server.port) as conn:
        conn.request("GET", target + "5", body=b"a body")
        assert conn.pump(server.waiting, 10)
    check(server, target + "5", way="blocked", messages=0, end="left")


def test_964_05_websockets(server):
    """A WebSocket is adopted, but parked if its channels can be changed.  The
    note counts the messages that its client receives, not those that it
    publishes."""
    for number, way in ((0, "adopted"), (1, "parked")):
        target = "/comet/ws?live=%d" % number
        with Socket(server, target) as ws:
            ws.opened()
            answer, message = ws.stored("hello %d" % number)
            assert message["timestamp"] == answer["stored"]
        check(server, target, channel="ws", transport="websocket", way=way,
              messages=1, cursor=answer["stored"], end="left")


def test_964_06_polls(server):
    """The notes of a poll that waits for a message, of one that ends without
    news, and of one whose message is already stored."""
    target = "/comet/polled" + POLL
    with server.raw() as conn:
        conn.request("GET", target + "&v=1")
        server.wait_waiting(1)
        first = post(server, "polled", "hello")
        conn.answer()
        conn.request("GET", target + "&wait=1&since=%d" % first)
        assert conn.answer().json()["messages"] == []
        last = post(server, "polled", "again")
        conn.request("GET", target + "&v=3&since=%d" % first)
        conn.answer()
    check(server, target + "&v=1", channel="polled", transport="poll",
          way="parked", messages=1, cursor=first, end="answered")
    check(server, target + "&wait=1&since=%d" % first, way="parked",
          messages=0, cursor=first, end="no-news")
    check(server, target + "&v=3&since=%d" % first, way="-", messages=1,
          cursor=last, end="answered")


def test_964_07_requests_that_do_not_wait(server):
    """The notes of publishing, of history, of requests that mod_comet or httpd
    refuses, and of a static file."""
    lines = {"Content-Type": "application/x-ndjson"}
    key = {"Idempotency-Key": "one", "Content-Type": "text/plain"}
    answers = [server.request("POST", "/comet/posted?v=1", '{"body":"a"}\n'
                              '{"body":"b"}\n', lines)]
    answers += [server.request("POST", "/comet/posted?v=%d" % number, "text",
                               key) for number in (2, 3)]
    assert [answer.status for answer in answers] == [201, 201, 200]
    stamps = [answers[0].json()["timestamps"][1],
              answers[1].json()["timestamp"]]
    for number, stamp, count, end in ((1, stamps[0], 2, "published"),
                                      (2, stamps[1], 1, "published"),
                                      (3, stamps[1], 0, "repeated")):
        check(server, "/comet/posted?v=%d" % number, channel="posted",
              transport="publish", way="-", messages=count, cursor=stamp,
              end=end)
    server.get("/comet/posted?since=0&wait=0")
    check(server, "/comet/posted?since=0&wait=0", transport="poll", way="-",
          messages=3, cursor=stamps[1], end="answered")
    server.get("/comet/posted?since=wrong")
    check(server, "/comet/posted?since=wrong", end="refused", messages=0)
    server.get("/comet/closed?v=1")
    check(server, "/comet/closed?v=1", channel="closed", end="refused")
    server.get("/comet?channel=a&channel=b/*&wait=0")
    check(server, "/comet?channel=a&channel=b/*&wait=0", channel="a,b/*",
          end="answered")
    server.get("/static.txt?v=1")
    check(server, "/static.txt?v=1", **dict.fromkeys(NAMES, "-"))


def test_964_08_the_original_demos(server):
    """The note of the transport also names those of the original chat and
    clock, which no client can choose."""
    server.request("GET", "/chat/backend.php?msg=hello",
                   headers={"X-Requested-With": "XMLHttpRequest"})
    check(server, "/chat/backend.php?msg=hello", channel="chat",
          transport="publish", messages=1, end="published")
    server.get("/chat/backend.php?timestamp=1")
    check(server, "/chat/backend.php?timestamp=1", transport="classic",
          messages=1, end="answered")
    with server.raw() as conn:
        conn.request("GET", "/clock/backend.php?v=8")
        conn.head()
        while b"printServerTime" not in conn.chunk():
            pass
    check(server, "/clock/backend.php?v=8", transport="clock", way="parked",
          end="left")


def test_964_09_ends(make_server):
    """A note says why the server ended a wait: its time was over, a new channel
    had to be authorised, or the child stopped."""
    server = make_server(**SERVER)
    with Stream(server, "/comet/brief?v=1") as stream:
        stream.until_end()
    check(server, "/comet/brief?v=1", way="adopted", end="expired")
    for number, rest in ((1, ""), (2, IFRAME[1:] + "&")):
        target = "/comet?%schannel=room%d/*" % (rest, number)
        with Stream(server, target) as stream:
            server.wait_waiting(1)
            post(server, "room%d/new" % number, "hello")
            stream.until_end()
        check(server, target, channel="room%d/*" % number, end="recheck")
    with Stream(server, "/comet/news?v=2") as stream, \
            Stream(server, "/comet/filtered?v=2") as parked, \
            server.raw() as poll:
        poll.request("GET", "/comet/news" + POLL + "&v=2")
        server.wait_waiting(3)
        os.kill(server.pid, signal.SIGUSR1)
        stream.until_end()
        parked.until_end()
        assert poll.answer().json()["messages"] == []
    for target in ("/comet/news?v=2", "/comet/filtered?v=2",
                   "/comet/news" + POLL + "&v=2"):
        check(server, target, end="stopping")


def test_964_10_a_long_message_counts_once(server):
    """A long message, which is sent in pieces, counts as one message."""
    for target, channel in (("/comet/long?v=10", "long"),
                            ("/comet/filtered?v=10", "filtered")):
        last = read(server, target, ["x" * 60000 + "end", "short"])
        check(server, target, messages=2, cursor=last)


def test_964_11_told_to_come_back(make_server):
    """A stream that is told to return later still receives the messages that it
    missed."""
    server = make_server(**{**SERVER, "conf": CONF + "CometMaxSubscribers 1\n"})
    last = post(server, "news", "hello")
    with Stream(server, "/comet/other?v=11"):
        server.wait_waiting(1)
        with Stream(server, "/comet/news?since=1&v=11") as stream:
            assert stream.until_end() == ["hello"]
        answer = server.get("/comet/news" + POLL + "&v=11")
        assert answer.status == 503, answer
    check(server, "/comet/news?since=1&v=11", way="-", messages=1,
          cursor=last, end="later")
    check(server, "/comet/news" + POLL + "&v=11", end="refused")


def test_964_12_a_condition(make_server):
    """A log may select its lines by a note that no log format contains."""
    server = make_server(conf='CustomLog "logs/left.log" "%U" '
                         "\"expr=%{note:comet-end} == 'left'\"\n")
    with Stream(server, "/comet/news"):
        server.wait_waiting(1)
        server.post("news", "hello")
    path = os.path.join(server.root, "logs", "left.log")
    wait_until(lambda: os.path.getsize(path), what="a line")
    with open(path, encoding="utf-8") as log:
        assert log.read() == "/comet/news\n"
