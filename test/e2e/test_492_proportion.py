# SPDX-License-Identifier: Apache-2.0
"""What one client can cost is limited, whatever it asks for: patterns, read
marks, or messages that are rare among many others."""

import pytest

import tokens
from httpd_env import sqlite
from members import MODULES, NAMES, named
from mercure import Subscriber, url
from stream_client import Stream, post

SERVER = {"conf": NAMES + """
CometMercure /.well-known/mercure
<Location "/.well-known/mercure">
  CometTokenKey HS256 %s
  CometMercureAnonymous on
</Location>
<Location "/comet/limited">
  CometLimitPublish user=1/min
</Location>
<Location "/comet/open">
  Require all granted
  CometPresence off
</Location>
""" % tokens.path("secret"), "modules": MODULES}


def test_492_01_marks_are_limited(server):
    """Read marks are limited, because each may store a row and a message.  The
    limit is the same as for messages, but the marks are counted separately."""
    def mark(channel, name="ann"):
        return server.request("POST", "/comet/%s?read=0" % channel, b"",
                              named(name))

    for i in range(10):         # as many as the limit allows at once
        assert mark("limited/%d" % i).status == 204
    refused = mark("limited/new")
    assert refused.status == 429
    assert "read marks" in refused.json()["error"]
    assert int(refused.header("retry-after")) > 0
    assert mark("limited/new", "bob").status == 204
    assert mark("free").status == 204
    answer = server.request("POST", "/comet/limited/1", b"x",
                            named("ann", **{"Content-Type": "text/plain"}))
    assert answer.status == 201


@pytest.mark.parametrize("topics", [
    ["{+%s}" % ",".join(["a"] * 101)],
    ["{+%s}x" % ",".join(["a"] * 51), "{/%s}y" % ",".join(["b:3"] * 50)],
    ["{a}%d" % i for i in range(101)],
])
def test_492_02_each_variable_counts(server, topics):
    """The templates of a request may have at most 100 variables, in whatever
    form they are written."""
    refused = server.get(url(*topics))
    assert refused.status == 400 and b"100 variables" in refused.body
    fewer = [topics[0].replace("a,", "", 1)] + topics[2:]
    with Subscriber(server, *fewer):
        pass


ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO message(channel, body, private) SELECT %s, 'x', %d FROM n
"""


def test_492_03_what_is_passed_over(server):
    """Readers of rare messages get each of them once and in order, however many
    messages of other channels, or private ones, lie in between."""
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('open/a', 'first'), ('open/b', '1')")
    sqlite(server.db, ROWS % ("'noise/' || i || '/start'", 0))
    sqlite(server.db, ROWS % ("'open/a'", 1))
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('noise/7/end', '2'), ('open/a', 'last')")
    with Subscriber(server, "noise/{n}/end", "open/b",
                    lastEventID="earliest") as pattern, \
            Stream(server, "/comet/open/a?since=0") as channel, \
            Stream(server, "/comet/open?channel=open/a&channel=open/b&since=0",
                   named("ann")) as both:
        assert pattern.until(2) == ["1", "2"]
        assert channel.until(2) == ["first", "last"]
        assert len(both.until(3)) == 3
        post(server, "open/a", "now")
        assert channel.until(3)[2] == "now"
        assert "now" in both.until(4)[3]
        sqlite(server.db, "INSERT INTO message(channel, body) "
               "VALUES('noise/8/end', '3')")
        assert pattern.until(3)[2] == "3"
