# SPDX-License-Identifier: Apache-2.0
"""The error log says why a request was refused, with an id to look up."""

import re

import pytest

from httpd_env import wait_until
from socket_client import Socket
from stream_client import Stream

SERVER = {"conf": """
<Location "/comet/quiet">
  CometPublish off
</Location>
<Location "/comet/few">
  CometLimitSubscribers address=1
</Location>
<Location "/comet/rate">
  CometTransports websocket
  CometMulti on
  CometLimitPublish address=10/min
</Location>
CometTransports poll events
"""}

LINE = re.compile(r"\[comet:(\w+)\].*(COMET\d{4}): (.*)")


def lines(server, ident):
    """Return the level and the text of each log line with this id."""
    return [(m[1], m[3]) for m in map(LINE.search,
                                      server.error_log().splitlines())
            if m and m[2] == ident]


@pytest.mark.parametrize("ident, status, method, target, headers, said", [
    ("COMET0001", 400, "GET", "/comet/x?since=abc", {}, "since must be"),
    ("COMET0001", 400, "POST", "/comet/x?type=gap", {}, "the type gap is reserved"),
    ("COMET0003", 403, "POST", "/comet/quiet", {}, "CometPublish"),
    ("COMET0003", 403, "POST", "/comet/x",
     {"Origin": "https://evil.example"}, "another site"),
    ("COMET0003", 403, "GET", "/comet/x?channel=y", {}, "CometMulti"),
    ("COMET0004", 405, "PATCH", "/comet/x", {}, "PATCH"),
    ("COMET0005", 406, "GET", "/comet/x?transport=iframe", {}, "iframe"),
    ("COMET0006", 413, "POST", "/comet/x", {"body": "x" * 65537}, "65536"),
    ("COMET0007", 415, "POST", "/comet/x", {"Content-Type": "image/png"},
     "Content-Type"),
    ("COMET0007", 415, "POST", "/comet/x", {"Content-Encoding": "br"}, "br")])
def test_484_01_each_refusal(server, ident, status, method, target, headers,
                             said):
    """A refusal that the client has caused is logged as one line at level
    info."""
    headers = dict(headers)
    body = headers.pop("body", "x").encode() if method == "POST" else None
    if body:
        headers.setdefault("Content-Type", "text/plain")
    before = len(lines(server, ident))
    answer = server.request(method, target, body, headers)
    assert answer.status == status, answer
    wait_until(lambda: len(lines(server, ident)) > before, 5, "the line")
    (level, text), = lines(server, ident)[before:]
    assert level == "info" and said in text, text
    assert target.split("?")[0] in text and answer.json()["error"] in text


def test_484_04_on_a_websocket(make_server):
    """A refused command on a WebSocket is logged like a refused request."""
    server = make_server(conf=SERVER["conf"])
    with Socket(server, "/comet/rate?transport=websocket&live=1") as socket:
        socket.opened()
        for ident, said, level, wanted in (
                ("COMET0001", {"publish": {"body": "x", "type": "gap"}},
                 "info", "the type gap is reserved"),
                ("COMET0003", {"publish": {"body": "x", "channel": "y"}},
                 "info", "publishing to it is not allowed"),
                ("COMET0001", {"subscribe": [".."]}, "info", "segment"),
                ("COMET0010", {"publish": {"body": "x"}}, "warn",
                 "CometLimitPublish")):
            before = len(lines(server, ident))
            for _ in range(30 if level == "warn" else 1):
                socket.say(said)
            while "error" not in socket.hear():
                pass
            wait_until(lambda i=ident, n=before: len(lines(server, i)) > n, 5,
                       "the line")
            found = lines(server, ident)[before:]
            assert [f[0] for f in found] == [level], found
            assert wanted in found[0][1], found
            assert "127.0.0.1" in server.error_log()


def test_484_02_lack_of_room(server):
    """A lack of room is logged as one line at level warn, however many clients
    are refused in a minute."""
    with Stream(server, "/comet/few"):
        server.wait_waiting(1, "events")
        for _ in range(5):
            assert server.get("/comet/few?since=0").status == 429
        soft = server.get("/comet/few", {"Accept": "text/event-stream",
                                         "Sec-Fetch-Mode": "cors"})
        assert soft.status in (200, 429)
    (level, text), = lines(server, "COMET0010")
    assert level == "warn" and "CometLimitSubscribers" in text, text
    assert "more since" not in text, text


def test_484_03_nothing_for_what_is_served(server):
    """A request that is served is not logged."""
    before = server.error_log().count("COMET0")
    assert server.get("/comet/served?since=0&wait=0").status == 200
    server.post("served", "x")
    assert server.request("OPTIONS", "/comet/served").status == 200
    assert server.error_log().count("COMET0") == before
