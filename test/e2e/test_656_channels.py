# SPDX-License-Identifier: Apache-2.0
"""The list of channels, and what individual channels keep."""

from httpd_env import wait_until
from members import named

SERVER = {"conf": """
CometEndpoint /team shared/
<Location "/comet">
  AuthType Basic
  AuthName "names"
  AuthBasicProvider anon
  Anonymous "*"
  Anonymous_MustGiveEmail off
  Anonymous_VerifyEmail off
  Require valid-user
  CometMulti on
</Location>
<Location "/comet/room/secret">
  Require user boss
</Location>
<Location "/team">
  CometMulti on
</Location>
""", "modules": ("authn_anon",)}

STORES = ("sqlite", "postgresql")


def say(server, target, body="x", name="ann"):
    answer = server.request("POST", target, body.encode(),
                            named(name, **{"Content-Type": "text/plain"}))
    assert answer.status == 201, answer
    return answer.json()["timestamp"]


def listed(server, query, name="ann", url="/comet"):
    answer = server.get("%s?channels=%s" % (url, query), named(name))
    if answer.status != 200:
        return answer.status
    return [(c["channel"], c["last"]) for c in answer.json()["channels"]]


def test_656_01_as_a_wildcard_is_judged(server):
    """The list has the channels that a wildcard matches, sorted, each with its
    newest timestamp.  If one of them is refused, so is the list."""
    say(server, "/comet/room/b")
    b = say(server, "/comet/room/b")
    a = say(server, "/comet/room/a")
    say(server, "/comet/room/a?keep=60&type=typing")
    say(server, "/comet/room/passing?keep=60")
    other = say(server, "/comet/other")
    assert listed(server, "room/*") == [("room/a", a), ("room/b", b)]
    assert listed(server, "*") == [("other", other), ("room/a", a),
                                   ("room/b", b)]
    assert listed(server, "none/*") == []
    secret = say(server, "/comet/room/secret", name="boss")
    assert listed(server, "room/*") == 401
    assert listed(server, "room/*", "boss")[2] == ("room/secret", secret)
    assert listed(server, "room/*", "boss", "/comet/room/a") == 400
    for wrong in ("", "room", "room/a", "a//*"):
        assert listed(server, wrong) == 400
    answer = server.get("/comet?channels=*", named("boss"))
    assert answer.json()["timestamp"] >= secret
    assert answer.headers["cache-control"] == "no-store"


def test_656_02_prefix_of_an_endpoint(server):
    """An endpoint lists its own channels without its prefix."""
    time = say(server, "/team/plan")
    assert listed(server, "*", url="/team") == [("plan", time)]
    assert ("shared/plan", time) in listed(server, "*", "boss")


def test_656_03_rules_of_channels(server):
    """A rule in channel_retention soon takes effect, even if nobody publishes
    to the channel. A client is told of the gap."""
    times = [say(server, "/comet/log/x", str(i)) for i in range(6)]
    server.sql("INSERT INTO channel_retention(pattern, keep_count)"
               " VALUES('log/*', 2)")
    wait_until(lambda: server.sql("SELECT messages FROM channel_info"
                                  " WHERE channel = 'log/x'") == [["2"]], 20,
               "retention")
    answer = server.get("/comet/log/x?wait=0&since=%d" % times[0],
                        named("ann")).json()
    assert [m["body"] for m in answer["messages"]] == ["4", "5"]
    assert answer["gap"] is True
