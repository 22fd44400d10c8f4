# SPDX-License-Identifier: Apache-2.0
"""Rules about what individual channels keep: moderators list and set them."""

import pytest

from http_client import quote
from httpd_env import sqlite, wait_until
from members import MODULES, NAMES, named

SERVER = {"conf": NAMES + """
CometRetain count=50 age=24h
CometEndpoint /moderate
CometEndpoint /team team/
<LocationMatch "^/(moderate|team)">
  AuthType Basic
  AuthName "names"
  AuthBasicProvider anon
  Anonymous "*"
  Anonymous_MustGiveEmail off
  Anonymous_VerifyEmail off
  Require user mod boss
  CometModerate on
</LocationMatch>
<Location "/moderate/room/secret">
  Require user boss
</Location>
<Location "/moderate/off">
  CometModerate off
</Location>
""", "modules": MODULES}


STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))


def say(server, channel, text="x"):
    answer = server.request("POST", "/comet/" + channel, text.encode(),
                            named("ann", **{"Content-Type": "text/plain"}))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def put(server, pattern, what, name="mod", url="/moderate", **headers):
    return server.request(
        "POST", "%s?retention=%s%s" % (url, quote(pattern), what), b"",
        named(name, **headers))


def rules(server, pattern="*", name="mod", url="/moderate", query=""):
    answer = server.get("%s?retention=%s%s" % (url, quote(pattern), query),
                        named(name))
    if answer.status != 200:
        return answer.status
    assert answer.headers["cache-control"] == "no-store"
    return [(r["pattern"], r["count"], r["age"])
            for r in answer.json()["rules"]]


def clear(server):
    sqlite(server.db, "DELETE FROM channel_retention")


def test_659_01_set_list_remove(server):
    """A rule is listed and takes effect.  It can be replaced and removed."""
    for i in range(6):
        say(server, "log/x", str(i))
    assert put(server, "log/*", "&count=2").status == 204
    assert put(server, "log/audit", "&all").status == 204
    assert put(server, "day", "&age=2d").status == 204
    assert put(server, "both/*", "&count=3&age=10min").status == 204
    assert rules(server) == [
        ("both/*", 3, 600), ("day", None, 172800), ("log/*", 2, None),
        ("log/audit", None, None)]
    assert server.get("/moderate?retention=*", named("mod")).json()["default"] \
        == {"count": 50, "age": 86400}
    wait_until(lambda: sqlite(server.db, "SELECT messages FROM channel_info"
                              " WHERE channel = 'log/x'") == [["2"]], 20,
               "retention")
    assert put(server, "log/*", "&count=4").status == 204
    assert rules(server, "log/*") == [("log/*", 4, None),
                                      ("log/audit", None, None)]
    assert rules(server, "log/audit") == [("log/audit", None, None)]
    assert rules(server, "log/x") == []
    assert rules(server, query="&limit=1&after=both/*") \
        == [("day", None, 172800)]
    assert put(server, "log/*", "&default").status == 204
    answer = put(server, "log/*", "&default")
    assert answer.status == 404 and "no such rule" in answer.json()["error"]
    clear(server)


def test_659_05_at_most_a_thousand(server):
    """There can be at most 1,000 rules, so that moderators cannot fill the
    database."""
    clear(server)
    sqlite(server.db, "INSERT INTO channel_retention(pattern, keep_count) VALUES"
           + ", ".join("('r%d', 1)" % i for i in range(1000)))
    answer = put(server, "one/more", "&count=1")
    assert answer.status == 409 and "1000 rules" in answer.json()["error"]
    assert put(server, "r5", "&count=2").status == 204
    assert put(server, "r6", "&default").status == 204
    assert put(server, "one/more", "&count=1").status == 204
    clear(server)


def test_659_02_judged_like_moderation(server):
    """A client may read and set rules only for channels that it may moderate.
    For a wildcard it must be allowed to moderate each existing channel that
    matches."""
    secret = say(server, "room/secret")
    say(server, "room/open")
    say(server, "off/x")
    for pattern, what, status in (
            ("room/*", "mod", 401), ("*", "mod", 403), ("*", "boss", 403),
            ("room/secret", "mod", 401), ("room/secret/@online", "mod", 401),
            ("off/x", "boss", 403), ("off/*", "boss", 403),
            ("room/x/@other", "boss", 403), ("room/*", "boss", 204),
            ("room/secret/@online", "boss", 204), ("room/open", "mod", 204)):
        answer = put(server, pattern, "&count=9", what)
        assert answer.status == status, (pattern, what, answer)
        if status == 204:
            assert pattern in [r[0] for r in rules(server, pattern, what)]
        else:
            assert rules(server, pattern, what) == status
            assert "secret" not in answer.body.decode()
    assert put(server, "a", "&all", url="/comet").status == 403
    assert rules(server, "a", url="/comet") == 403
    assert put(server, "a", "&all", "ann").status == 401
    assert put(server, "a", "&all",
               **{"Sec-Fetch-Site": "cross-site"}).status == 403
    assert rules(server, "room/*", "boss") == [
        ("room/*", 9, None), ("room/open", 9, None),
        ("room/secret/@online", 9, None)]
    sqlite(server.db, "DELETE FROM message WHERE timestamp = %d" % secret)
    sqlite(server.db, "DELETE FROM message WHERE channel = 'off/x'")
    clear(server)


def test_659_03_an_endpoints_prefix(server):
    """The rules of an endpoint name its own channels, without its prefix."""
    assert put(server, "*", "&count=5", url="/team").status == 204
    assert put(server, "plan", "&all", url="/team").status == 204
    assert rules(server, url="/team") == [("*", 5, None), ("plan", None, None)]
    assert rules(server) == [("team/*", 5, None), ("team/plan", None, None)]
    assert rules(server, url="/team", query="&after=*") \
        == [("plan", None, None)]
    clear(server)


def test_659_04_errors(server):
    """An error says what to send instead."""
    for pattern, what, why in (
            ("x", "", "keep: count=NUMBER"), ("x", "&all&default", "or all"),
            ("x", "&count=3&all", "or all"), ("x", "&count=0", "count must"),
            ("x", "&count=2147483648", "count must"),
            ("x", "&age=soon", "age: expected a time from 1s to 36500d"),
            ("x", "&age=36501d", "age: expected"), ("x", "&age=0", "age:"),
            ("", "&all", "1 to 255 bytes"), ("a*", "&all", "a star must follow"),
            ("a//*", "&all", "empty"), ("a/" + 300 * "x", "&all", "bytes")):
        answer = put(server, pattern, what)
        assert answer.status == 400, (pattern, what, answer)
        assert why in answer.json()["error"], answer
    answer = put(server, "*", "&all", url="/moderate/room")
    assert answer.status == 400 and "endpoint's own" in answer.json()["error"]
    assert rules(server, "a*") == 400
    assert sqlite(server.db, "SELECT count(*) FROM channel_retention") \
        == [["0"]]
