# SPDX-License-Identifier: Apache-2.0
"""Several channels on one connection, by lists and wildcards.  Neither leads to
a channel that the client may not read."""

import base64
import json
import os
import re
import subprocess
import sys

import pytest

from http_client import quote
from httpd_env import SLOW, sql_text, sqlite, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tools"))
from event_stream import EventStream  # noqa: E402  (the path is set above)

pytestmark = pytest.mark.both_paths

SECRET = "for anna's eyes only"
OPEN = "for everybody"


def basic(user, password="secret"):
    token = base64.b64encode(("%s:%s" % (user, password)).encode())
    return {"Authorization": "Basic " + token.decode()}


# -- how a channel can be protected ------------------------------------------
# Each rule has its own endpoint {e}, where it protects /secret but not /open.
# In a list of channels it must protect the channel `secret`, too.

BASIC = """
  AuthType Basic
  AuthName "x"
  AuthUserFile "{root}/conf/users"
"""
RULES = {
    "location": """
      <Location "{e}/secret">
        Require all denied
      </Location>""",
    "match": """
      <LocationMatch "^{e}/s">
        Require all denied
      </LocationMatch>""",
    "match-end": """
      <LocationMatch "^{e}/secret$">
        Require all denied
      </LocationMatch>""",
    "expr": """
      <Location "{e}">
        Require expr "%{{REQUEST_URI}} !~ m#/secret#"
      </Location>""",
    "expr-user": """
      <Location "{e}">""" + BASIC + """
        <RequireAny>
          Require user anna
          Require expr "%{{REQUEST_URI}} !~ m#/secret#"
        </RequireAny>
      </Location>""",
    "filename": """
      <Location "{e}">
        Require expr "%{{REQUEST_FILENAME}} !~ m#/secret#"
      </Location>""",
    "request-line": """
      <Location "{e}">
        Require expr "%{{THE_REQUEST}} !~ m#{e}/secret[ ?]#"
      </Location>""",
    "not-env": """
      SetEnvIf Request_URI "^{e}/secret" hidden
      <Location "{e}">
        <RequireAll>
          Require all granted
          Require not env hidden
        </RequireAll>
      </Location>""",
    "protocol": """
      <Location "{e}/secret">
        Require expr "%{{SERVER_PROTOCOL}} !~ /^HTTP/"
      </Location>""",
    "protocol-env": """
      <Location "{e}/secret">
        SetEnvIf Request_Protocol "^HTTP/" hidden3
        <RequireAll>
          Require all granted
          Require not env hidden3
        </RequireAll>
      </Location>""",
    "query": """
      <Location "{e}/secret">
        Require expr "%{{QUERY_STRING}} !~ /since=0/"
      </Location>""",
    "env": """
      SetEnvIf Request_URI "^{e}(/open|/?$)" shown
      <Location "{e}">
        Require env shown
      </Location>""",
    "env-inside": """
      <Location "{e}">
        SetEnvIf Request_URI "^{e}/secret" hidden2
        <RequireAll>
          Require all granted
          Require not env hidden2
        </RequireAll>
      </Location>""",
    "env-set": """
      <LocationMatch "^{e}(/open|/?$)">
        SetEnv shown2 yes
      </LocationMatch>
      <Location "{e}/secret">
        Require env shown2
      </Location>""",
    "if": """
      <If "%{{REQUEST_URI}} =~ m#^{e}/secret#">
        Require all denied
      </If>""",
    "if-inside": """
      <Location "{e}">
        <If "%{{REQUEST_URI}} =~ m#/secret#">
          Require all denied
        </If>
      </Location>""",
    "merging-and": """
      <Location "{e}">
        Require all granted
      </Location>
      <Location "{e}/secret">
        AuthMerging And
        Require method OPTIONS
      </Location>""",
    "merging-or": """
      <Location "{e}">
        Require method OPTIONS
      </Location>
      <Location "{e}/secret">
        AuthMerging Or
        Require host nowhere.invalid
      </Location>
      <LocationMatch "^{e}(/open|/?$)">
        Require all granted
      </LocationMatch>""",
    "compat": """
      <Location "{e}/secret">
        Order deny,allow
        Deny from all
      </Location>""",
    "satisfy-any": """
      <Location "{e}/secret">""" + BASIC + """
        Order deny,allow
        Deny from all
        Require user anna
        Satisfy Any
      </Location>""",
    "satisfy-all": """
      <Location "{e}/secret">""" + BASIC + """
        Order deny,allow
        Allow from all
        Require user anna
        Satisfy All
      </Location>""",
    "basic": """
      <Location "{e}/secret">""" + BASIC + """
        Require user anna
      </Location>""",
    "limit": """
      <Location "{e}/secret">
        <Limit GET>
          Require all denied
        </Limit>
      </Location>""",
    "limit-except": """
      <Location "{e}/secret">
        <LimitExcept POST>
          Require all denied
        </LimitExcept>
      </Location>""",
    "method": """
      <Location "{e}/secret">
        Require method POST
      </Location>""",
    "channel": """
      <Location "{e}">
        <RequireAny>
          Require comet-channel open
          Require expr "%{{REQUEST_URI}} =~ m#^{e}/?$#"
        </RequireAny>
      </Location>""",
    "redirect": """
      <Location "{e}/secret">
        Redirect 403
      </Location>""",
}


def rules_conf():
    parts = ["LoadModule access_compat_module {modules}/mod_access_compat.so"]
    for name, text in RULES.items():
        end = "/x-" + name
        parts.append("CometEndpoint %s %s/" % (end, name))
        parts.append('<Location "%s">\n  CometMulti on\n</Location>' % end)
        parts.append(text.replace("{e}", end).replace("{{", "{")
                     .replace("}}", "}"))
    return "\n".join(parts)


SERVER = {"modules": ("access_compat",),
          "conf": rules_conf().split("\n", 1)[1] + """
<Location "/comet">
  CometMulti on
</Location>
<Location "/comet/single">
  CometMulti off
</Location>
<Location "/comet/few">
  CometLimitChannels 5
</Location>
CometEndpoint /team team/
CometEndpoint /comet/inner inner/
CometEndpoint /all
<Location "/team">
  CometMulti on
</Location>
<Location "/comet/inner">
  CometMulti on
</Location>
CometPollTimeout 1s
"""}


def insert(server, channel, body):
    """Insert a message as another program does; return the store's newest
    timestamp."""
    return int(sqlite(server.db, "INSERT INTO message(channel, body) "
                      "VALUES(%s, %s); SELECT last FROM comet_clock;"
                      % (sql_text(channel), sql_text(body)))[0][0])


def write_users(server, *names):
    path = os.path.join(server.root, "conf", "users")
    for number, name in enumerate(names):
        subprocess.run(["htpasswd", "-bs"] + ["-c"] * (number == 0)
                       + [path, name, "secret"], check=True, timeout=30,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(path, 0o644)


@pytest.fixture(scope="module", autouse=True)
def seeded(shared_server):
    write_users(shared_server, "anna", "bert")
    for name in RULES:
        insert(shared_server, name + "/secret", SECRET)
        insert(shared_server, name + "/open", OPEN)


def bodies(answer):
    assert answer.status == 200, answer
    return [m["body"] for m in answer.json()["messages"]]


def names(answer):
    assert answer.status == 200, answer
    return [m["channel"] for m in answer.json()["messages"]]


def channels(*which):
    return "&".join("channel=" + quote(name) for name in which)


# Requests that name the secret channel.  Each must be refused.
REFUSED = [
    "?channel=secret", "/?channel=secret", "/open?channel=secret",
    "?channel=open&channel=secret", "?channel=secret&channel=open",
    "?channel=%73ecret", "?channel=secret&channel=secret", "?channel=*",
    "/open?channel=*", "?channel=*&channel=open",
    "?channel=secret&transport=iframe", "?channel=secret&transport=events",
    "?channel=*&transport=events", "?channel=secret&before=9007199254740991",
    "?channel=secret&since=0&wait=1", "?channel=*&since=0",
    "?ch%61nnel=secret",
]
# Requests that only seem to name the secret channel.  Each is refused, is an
# error, or reads another channel, which is empty.
INERT = [
    "?channel=secret/", "?channel=/secret", "?channel=./secret",
    "?channel=open/../secret", "?channel=..%2Fopen/../secret",
    "?channel=open%2F..%2Fsecret", "?channel=%2e%2e/secret",
    "?channel=open/%252e%252e/secret", "?channel=secret%00",
    "?channel=secret%0a", "?channel=%0asecret", "?channel=%09",
    "?channel=%0aopen%0asecret",
    "?channel=SECRET", "?channel=secret*", "?channel=sec*", "?channel=s*",
    "?channel=secret/*", "?channel=*/secret", "?channel=**", "?channel=*/*",
    "?channel=%2573ecret", "?channel=secret%3Fx", "?channel=secret?x=y",
    "?channel=secret%23", "?channel=secret;x", "?channel=secret%20",
    "?channel=+secret", "?channel=secret%5c", "?channel=open%5c..%5csecret",
    "?channel=&channel=open", "?Channel=secret", "?channel[]=secret",
    "?channel=//secret", "?channel=open,secret", "?channel=open%2csecret",
    "/open/../secret?", "/open/%2e%2e/secret?", "/secret;x?", "//secret?",
    "/open%2f..%2fsecret?", "/%2e/secret?", "/secret/?", "/secret%2f?",
    "/open?since=0&channel=open%26channel=secret",
]
# httpd applies these rules to the path as the client sent it. Before httpd
# normalises it, /open/../secret is not /secret, neither for files nor for a
# channel's own URL.
BEFORE_NORMALISATION = ("env", "not-env", "request-line")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_345_01_no_detour(server, rule):
    """A rule that protects a channel's URL also protects the channel from
    requests that name the channel differently."""
    end = "/x-" + rule
    refusals = (401,) if "user" in rule or rule in (
        "basic", "satisfy-any", "satisfy-all") else (403,)
    own = server.get(end + "/secret?wait=0&since=0")
    assert own.status in refusals, own
    assert bodies(server.get(end + "/open?wait=0&since=0")) == [OPEN]
    assert bodies(server.get(end + "?channel=open&wait=0&since=0")) == [OPEN]
    for detour in REFUSED:
        target = end + detour
        target += "" if "since=" in detour else "&wait=0&since=0"
        for method in ("GET", "HEAD"):
            answer = server.request(method, target)
            assert answer.status in refusals, (method, target, answer)
            assert SECRET.encode() not in answer.body
            assert (answer.header("www-authenticate") is not None) \
                == (answer.status == 401), answer
    for detour in INERT:
        if detour[0] == "/" and rule in BEFORE_NORMALISATION:
            continue
        target = end + detour + "&wait=0&since=0"
        answer = server.get(target.replace("?&", "?"))
        assert answer.status in (200, 400, 401, 403, 404), (target, answer)
        assert SECRET.encode() not in answer.body, (target, answer)


def test_345_40_rewritten(make_server):
    """SetEnvIf sets a variable for a URL, which mod_rewrite then maps to a
    channel. The variable has no effect on another channel."""
    server = make_server(conf="""
      CometPollTimeout 1s
      SetEnvIf Request_URI "^/nick$" nicked
      RewriteEngine On
      RewriteRule "^/nick$" "/comet/open" [PT]
      <Location "/comet">
        CometMulti on
      </Location>
      <Location "/comet/secret">
        Require env nicked
      </Location>
      """)
    insert(server, "open", OPEN)
    insert(server, "secret", SECRET)
    assert bodies(server.get("/nick?since=0&wait=0")) == [OPEN]
    for target in ("/comet/secret?", "/nick?channel=secret&"):
        assert server.get(target + "since=0&wait=0").status == 403, target


def test_345_41_environment_of_the_request_alone(make_server):
    """A module sets variables only when it sees the client's request itself.
    These variables are valid for all channels of the request."""
    server = make_server(modules=("lua",), start=False, conf="""
      CometPollTimeout 1s
      <Location "/comet">
        CometMulti on
        LuaHookAccessChecker "{root}/conf/country.lua" country
      </Location>
      <Location "/comet/secret">
        <RequireAll>
          Require all granted
          Require not env country
        </RequireAll>
      </Location>
      """)
    with open(os.path.join(server.root, "conf", "country.lua"), "w") as out:
        out.write("function country(r)\n"
                  "  if r.is_initial_req then\n"
                  "    r.subprocess_env['country'] = 'X'\n"
                  "  end\n"
                  "  return apache2.DECLINED\n"
                  "end\n")
    server.start()
    insert(server, "open", OPEN)
    insert(server, "secret", SECRET)
    assert bodies(server.get("/comet/open?since=0&wait=0")) == [OPEN]
    for target in ("/comet/secret?", "/comet/open?channel=secret&"):
        assert server.get(target + "since=0&wait=0").status == 403, target


# Expressions that read parts of a request which only httpd sets up. Each of the
# last two makes a sub-request that evaluates the other.
EXPRESSIONS = ("%{DOCUMENT_ROOT} =~ /e2e/", "%{CONTEXT_PREFIX} == ''",
               "%{CONTEXT_DOCUMENT_ROOT} =~ /e2e/", "-U '/index.html'",
               "-U '/comet/left'", "-U '/comet/right'")
# outside sections this expression makes httpd itself crash
IN_SECTIONS = ("-F '{docroot}/index.html'",)


@pytest.mark.parametrize("place", ["server", "section"])
def test_345_43_expressions_of_setenvif(make_server, mpm, place):
    """SetEnvIfExpr sees a complete request everywhere, even for the channels of
    a list and of a batch."""
    expressions = EXPRESSIONS
    if place == "section":
        expressions += IN_SECTIONS
    rules = "\n".join('SetEnvIfExpr "%s" seen%d' % (expression, number)
                      for number, expression in enumerate(expressions))
    server = make_server(mpm=mpm, conf="""
      CometPollTimeout 1s
      <Location "/comet">
        CometMulti on
        <RequireAll>
          Require env seen0
          Require env seen1
          Require env seen2
          Require env seen3
        </RequireAll>
        %s
      </Location>
      %s
      """ % ((rules, "") if place == "section" else ("", rules)))
    children = server.children()
    assert server.get("/comet/a?wait=0&since=0").status == 200
    answer = server.get("/comet?channel=a&channel=b&wait=0&since=0")
    assert answer.status == 200, answer
    answer = server.request(
        "POST", "/comet/a", b'{"body":"1"}\n{"channel":"b","body":"2"}\n',
        {"Content-Type": "application/x-ndjson"})
    assert answer.status == 201, answer
    assert set(children) <= set(server.children())


def test_345_44_setenvif_is_taken_back_alone(make_server):
    """For each channel, SetEnvIf is applied to the channel's URL instead of the
    request's. First, SetEnvIf's variables get back the values that they had
    before it ran. Variables that mod_rewrite has set later stay."""
    server = make_server(conf="""
      CometPollTimeout 1s
      SetEnvIf X-Kind "(.+)" kind=$1
      SetEnvIf Request_URI "^/nick$" kind=nick !plain
      RewriteEngine On
      RewriteRule "^/(nick|mark)$" "/comet/open" [PT,E=marked:1]
      <Location "/comet">
        CometMulti on
      </Location>
      <Location "/comet/secret">
        Require expr "reqenv('kind') == 'nick'"
      </Location>
      <Location "/comet/kind">
        Require expr "reqenv('kind') == 'sort'"
      </Location>
      <Location "/comet/marked">
        Require env marked
      </Location>
      """)
    sort = {"X-Kind": "sort"}
    for target, headers, status in (
            ("/nick?channel=secret", {}, 403),
            ("/nick?channel=secret", sort, 403),
            ("/nick?channel=kind", {}, 403),
            ("/nick?channel=kind", sort, 200),
            ("/nick?channel=marked", {}, 200),
            ("/comet/open?channel=kind", sort, 200),
            ("/comet/open?channel=marked", {}, 403)):
        answer = server.get(target + "&since=0&wait=0", headers)
        assert answer.status == status, (target, headers, answer)


@pytest.mark.parametrize("rule", ["basic", "satisfy-any", "satisfy-all",
                                  "expr-user"])
def test_345_02_the_right_user(server, rule):
    """A user who may read a channel's URL may also read the channel in a
    list."""
    end = "/x-" + rule
    for detour in ("?channel=secret&channel=open", "?channel=*",
                   "/open?channel=secret"):
        target = end + detour + "&wait=0&since=0"
        assert bodies(server.get(target, basic("anna"))) == [SECRET, OPEN]
        for who in ({}, basic("bert"), basic("anna", "wrong")):
            answer = server.get(target, who)
            assert answer.status == 401, answer
            assert answer.header("www-authenticate") == 'Basic realm="x"'
            assert answer.json()["error"].startswith("channel: "), answer


def test_345_03_wildcard_hides_names(server):
    """If a wildcard is refused, the answer does not name the channel that
    caused the refusal."""
    answer = server.get("/x-location?channel=*&wait=0")
    assert answer.status == 403 and b"secret" not in answer.body, answer
    answer = server.get("/x-location?channel=secret&wait=0")
    assert answer.json() == {
        "error": 'channel: "secret" may not be read'}, answer


def test_345_04_publishing_is_not_reading(server):
    """A client that may only publish cannot read by any request."""
    for rule in ("limit-except", "method", "limit"):
        answer = server.request("POST", "/x-%s/secret" % rule, b"posted",
                                {"Content-Type": "text/plain"})
        assert answer.status == 201, answer
        answer = server.get("/x-%s?channel=secret&wait=0" % rule)
        assert answer.status == 403, answer
    # A POST never reads, and its channel is always that of the path.
    answer = server.request("POST", "/x-location/open?channel=secret", b"x",
                            {"Content-Type": "text/plain"})
    assert answer.status in (201, 400, 403), answer
    assert SECRET.encode() not in answer.body
    answer = server.request("POST", "/x-location?channel=secret", b"x",
                            {"Content-Type": "text/plain"})
    assert answer.status in (400, 403), answer
    assert server.rows("location/secret") == [SECRET]


# -- endpoints beside each other -----------------------------------------------

def test_345_10_prefixed_endpoint(server):
    """An endpoint with a prefix has only the channels below the prefix, and
    omits the prefix from the channels' names."""
    insert(server, "outside", SECRET)
    insert(server, "team/red", "r")
    insert(server, "team/blue/1", "b")
    insert(server, "teams", SECRET)
    every = server.get("/team?channel=*&wait=0&since=0")
    assert names(every) == ["red", "blue/1"], every
    assert names(server.get("/team?channel=blue/*&wait=0&since=0")) \
        == ["blue/1"]
    for name in ("outside", "../outside", "/outside", "team/red",
                 "../team/red", "..", "s"):
        answer = server.get("/team?wait=0&since=0&channel=" + quote(name))
        assert answer.status in (200, 400, 403), answer
        assert SECRET.encode() not in answer.body
        assert b'"r"' not in answer.body
    # A live stream uses the same names.
    with server.raw() as conn:
        conn.request("GET", "/team?channel=*&transport=events&since="
                     + str(every.json()["timestamp"]))
        assert conn.head() == 200
        server.post("team/red", "live")
        events = []
        stream = EventStream(events.append)
        while not events:
            stream.feed(conn.chunk())
        message = json.loads(events[0]["data"])
        assert (message["channel"], message["body"]) == ("red", "live")


def test_345_11_nested_endpoint(server):
    """The outer endpoint does not serve channels of an inner endpoint, whatever
    name is used."""
    server.request("POST", "/comet/inner/x", b"by the inner one",
                   {"Content-Type": "text/plain"})
    insert(server, "inner/y", "for the inner one")
    # The outer endpoint's channel inner/x has no URL, because that URL belongs
    # to the inner endpoint.
    for detour in ("/comet?channel=inner/x", "/comet?channel=inner/*",
                   "/comet/other?channel=inner/y"):
        answer = server.get(detour + "&wait=0&since=0")
        assert answer.status == 403, (detour, answer)
    assert names(server.get("/comet/inner?channel=*&wait=0&since=0")) \
        == ["x", "y"]
    assert server.get("/comet/inner/x?wait=0&since=0").json()["messages"][0][
        "channel"] == "x"


def test_345_12_endpoint_without_multi(server):
    """Without CometMulti a request that names channels by a parameter is
    refused."""
    for target in ("/all?channel=x", "/all/x?channel=y", "/all?channel=*",
                   "/comet/single?channel=x", "/comet/single/x?channel=y",
                   "/all/x?channel=x", "/all/x?channel="):
        answer = server.get(target + "&wait=0")
        assert answer.status == 403, answer
        assert "CometMulti" in answer.json()["error"], answer
    assert server.get("/comet/single?wait=0").status == 200
    assert server.get("/comet?channel=single&wait=0").status == 200


def test_345_13_encoded_slashes(make_server):
    """A channel is protected by the rules of its own URL, whatever
    AllowEncodedSlashes is."""
    for how in ("On", "NoDecode"):
        server = make_server(conf="""
          AllowEncodedSlashes %s
          <Location "/comet">
            CometMulti on
          </Location>
          <Location "/comet/a/secret">
            Require all denied
          </Location>
          <Location "/comet/a%%2Fsecret">
            Require all denied
          </Location>""" % how)
        insert(server, "a/secret", SECRET)
        insert(server, "a%2Fsecret", SECRET)
        insert(server, "a/open", OPEN)
        for target in ("/comet/a%2Fsecret?", "/comet/a%2fsecret?",
                       "/comet/a/secret?", "/comet?channel=a/secret&",
                       "/comet?channel=a%2Fsecret&",
                       "/comet?channel=a%252Fsecret&",
                       "/comet?channel=a%2F*&", "/comet?channel=*&",
                       "/comet/a%2Fopen?channel=a/secret&",
                       "/comet/a%2F..%2Fa%2Fsecret?"):
            answer = server.get(target + "wait=0&since=0")
            assert SECRET.encode() not in answer.body, (how, target, answer)
            assert answer.status in (403, 404, 400, 200), answer


# -- what lists and wildcards mean ---------------------------------------------

def test_345_20_union(server):
    """A request reads the channels of its path and of its parameters together.
    Each message comes once, in one order and with one cursor, and names its
    channel."""
    for name in ("u/1", "u/2", "u/3", "u/1", "u/4/5"):
        server.post(name, "in " + name)
    query = "&wait=0&since=0"
    assert names(server.get("/comet?" + channels("u/1", "u/3") + query)) \
        == ["u/1", "u/3", "u/1"]
    assert names(server.get("/comet/u/2?" + channels("u/3") + query)) \
        == ["u/2", "u/3"]
    assert names(server.get("/comet/u/2?" + channels("u/2", "u/2") + query)) \
        == ["u/2"]
    answer = server.get("/comet?channel=u/*" + query)
    assert names(answer) == ["u/1", "u/2", "u/3", "u/1", "u/4/5"]
    assert answer.json()["timestamp"] \
        == answer.json()["messages"][-1]["timestamp"]
    assert names(server.get("/comet?" + channels("u/*", "u/1", "u/4/*")
                            + query)) == names(answer)
    assert names(server.get("/comet?channel=u/4/*" + query)) == ["u/4/5"]
    assert names(server.get("/comet?channel=u/4/5/*" + query)) == []
    assert names(server.get("/comet?" + channels("u/1", "nothing") + query)) \
        == ["u/1", "u/1"]
    # Pages and limits apply to all channels together.
    first = server.get("/comet?channel=u/*&since=0&wait=0&limit=2").json()
    rest = server.get("/comet?channel=u/*&wait=0&since=%d"
                      % first["timestamp"])
    assert names(rest) == ["u/3", "u/1", "u/4/5"]
    back = server.get("/comet?channel=u/*&limit=2&before=%d"
                      % rest.json()["timestamp"])
    assert names(back) == ["u/3", "u/1"]
    # A request without a cursor begins with the last CometReplay messages of
    # all channels together.
    assert names(server.get("/comet?channel=u/*&wait=0")) == names(answer)


def test_345_21_wildcards_are_whole_segments(server):
    """room/* matches all channels below room/. Neither a * after other
    characters nor % or _ is a wildcard, and a path has none."""
    for name in ("w", "w/1", "wx", "wx/1", "W/1", "w/*", "w%", "w_1"):
        insert(server, name, name)
    query = "&wait=0&since=0"
    assert names(server.get("/comet?channel=w/*" + query)) == ["w/1", "w/*"]
    assert names(server.get("/comet?channel=w*" + query)) == []
    assert names(server.get("/comet?channel=w%25" + query)) == ["w%"]
    assert names(server.get("/comet?channel=w_1" + query)) == ["w_1"]
    assert names(server.get("/comet/w/*?wait=0&since=0")) == ["w/*"]


@pytest.mark.parametrize("bad", ["", "/", "a/", "/a", "a//b", ".", "..",
                                 "a/..", "a%00", "a%0d", "a%0a", "%ff",
                                 "%c2%80", "a" * 256, "//*", "a//*", "../*",
                                 "/*", "a" * 254 + "/*"])
def test_345_22_bad_names(server, bad):
    answer = server.get("/comet?wait=0&channel=" + bad)
    assert answer.status == 400, answer
    assert answer.json()["error"].startswith("channel: "), answer
    assert len(answer.json()["error"]) > len("channel: too long"), answer


def test_345_23_odd_names(server):
    """A valid channel name works both in the path and in a list."""
    for name in ('a"b', "a'b", "a b", "a&b=c", "a#b", "a?b", "ä/中", "a+b",
                 "a_b", "%41", "<b>", "\u2028", "a\\b", "a" * 255, "a:b",
                 "\U0001F600", "...", "a/.b"):
        server.post("odd/" + name if len(name) < 200 else name, name)
        full = "odd/" + name if len(name) < 200 else name
        for target in ("/comet/%s?" % quote(full, "/"),
                       "/comet?channel=%s&" % quote(full)):
            answer = server.get(target + "wait=0&since=0")
            assert bodies(answer) == [name], answer
            assert names(answer) == [full], answer
    assert len(bodies(server.get("/comet?channel=odd/*&wait=0&since=0"))) == 17


def test_345_24_limits(make_server):
    """A request may have 100 `channel` parameters, and read 1,000 channels.
    CometLimitChannels may lower the number of channels."""
    server = make_server(conf="""
      <Location "/comet">
        CometMulti on
      </Location>
      <Location "/comet/few">
        CometLimitChannels 5
      </Location>""")
    sqlite(server.db, "BEGIN;" + "".join(
        "INSERT INTO message(channel, body) VALUES('m/%d', '%d');" % (i, i)
        for i in range(1000)) + "COMMIT;")
    many = channels(*["m/%d" % i for i in range(100)])
    assert len(bodies(server.get("/comet?wait=0&since=0&" + many))) == 100
    answer = server.get("/comet?wait=0&since=0&channel=x&" + many)
    assert answer.status == 400 and "100" in answer.json()["error"], answer
    assert len(bodies(server.get(
        "/comet?channel=m/*&wait=0&since=0&limit=1000"))) == 1000
    last = server.get("/comet?channel=m/*&wait=0").json()["timestamp"]
    with server.raw() as conn:      # a stream of 1,000 channels
        conn.request("GET", "/comet?channel=m/*&transport=events&since=%d"
                     % last)
        assert conn.head() == 200
        server.wait_waiting(1, "events")
        server.post("m/777", "live")
        events = []
        stream = EventStream(events.append)
        while not events:
            stream.feed(conn.chunk())
        assert json.loads(events[0]["data"])["channel"] == "m/777"
    server.wait_waiting(0)
    for target in ("/comet/x?channel=m/*", "/comet?channel=m/*&channel=x"):
        answer = server.get(target + "&wait=0")
        assert answer.status == 429, answer
        assert "1000" in answer.json()["error"], answer
    insert(server, "m/more", "x")
    assert server.get("/comet?channel=m/*&wait=0").status == 429
    assert server.get("/comet?channel=*&wait=0").status == 429
    four = channels("a", "b", "c", "d")
    assert server.get("/comet/few?wait=0&" + four).status == 200
    assert server.get("/comet/few?wait=0&channel=e&" + four).status == 429
    assert server.get("/comet/few?wait=0&channel=m/*").status == 429


# -- a channel that is created later -------------------------------------------

LATER = """
<Location "/comet">
  CometMulti on
</Location>
<LocationMatch "^/comet/.*secret">
  Require all denied
</LocationMatch>
"""


@pytest.mark.parametrize("star", ["*", "room/*"])
def test_345_30_later_channel_ends_the_stream(make_server, mpm, star):
    """If a stream's wildcard matches a new channel, the stream ends just before
    the first message of that channel. The client reconnects and needs
    permission for the channel."""
    server = make_server(mpm=mpm, conf=LATER)
    server.post("room/1", "1")
    events = []
    stream = EventStream(events.append)
    target = "/comet?transport=events&since=0&channel=" + star
    with server.raw() as conn:
        conn.request("GET", target)
        assert conn.head() == 200
        while len(events) < 1:
            stream.feed(conn.chunk())
        server.post("room/1", "2")
        while len(events) < 2:
            stream.feed(conn.chunk())
        server.post("room/new", "3")
        stream.feed(conn.body())        # the stream ends
    assert [json.loads(e["data"])["body"] for e in events] == ["1", "2"]
    assert 0 < stream.retry <= 0.1      # so that the client soon reconnects
    with server.raw() as conn:
        stream.begin()
        conn.request("GET", target, {"Last-Event-ID": stream.last_id})
        assert conn.head() == 200
        while len(events) < 3:
            stream.feed(conn.chunk())
        insert(server, "room/secret", SECRET)
        server.post("room/1", "4")
        rest = conn.body()
        assert SECRET.encode() not in rest
        stream.feed(rest)
    assert [json.loads(e["data"])["body"] for e in events] == ["1", "2", "3"]
    answer = server.get(target, {"Last-Event-ID": stream.last_id})
    assert answer.status == 403, answer
    sqlite(server.db, "DELETE FROM message WHERE channel='room/secret';")

    def go_on():
        """Return whether the stream delivers message 4. It does so once each
        child has noticed that no message of the refused channel is left. A
        child looks at the store twice a second."""
        with server.raw() as conn:
            stream.begin()
            conn.request("GET", target, {"Last-Event-ID": stream.last_id})
            piece = conn.head() == 200
            while piece and len(events) < 4:
                piece = conn.chunk()
                stream.feed(piece)
        return len(events) >= 4

    wait_until(go_on, 3, "the stream to go on")
    assert json.loads(events[3]["data"])["body"] == "4"


def test_345_31_later_channel_answers_the_poll(make_server, mpm):
    """If a poll's wildcard matches a new channel, the poll gets its no-news
    answer. The next poll needs permission for the channel."""
    server = make_server(mpm=mpm, conf=LATER + "CometPollTimeout 20s\n")
    cursor = server.post("room/1", "1")
    poll = "/comet?channel=room/*&since=%d"
    with server.raw() as conn:
        for name, status in (("room/2", 200), ("room/secret", 403)):
            conn.request("GET", poll % cursor)
            server.wait_waiting(1, "poll")
            insert(server, name, name)
            answer = conn.answer()
            assert bodies(answer) == [], answer
            assert answer.json()["timestamp"] == cursor
            assert answer.took < 10 * SLOW, answer
            conn.request("GET", poll % cursor)
            answer = conn.answer()
            assert answer.status == status, answer
            if status == 200:
                assert names(answer) == ["room/2"]
                cursor = answer.json()["timestamp"]


def test_345_32_nothing_under_the_star_yet(make_server):
    """A request for a wildcard that matches no channel yet waits, if the
    wildcard's own URL permits it."""
    server = make_server(conf=LATER)
    for star, first in (("*", "x"), ("room/*", "room/1")):
        with server.raw() as conn:
            conn.request("GET", "/comet?transport=events&channel=" + star)
            assert conn.head() == 200
            server.wait_waiting(1, "events")
            server.post(first, "x")
            events = []
            EventStream(events.append).feed(conn.body())
            assert events == []
    assert server.get("/comet?channel=secret/*").status == 403
    assert server.get("/comet?channel=room/secret/*&wait=0").status == 403


def test_345_33_first_message_while_judging(make_server):
    """A channel is created after the client got its permission and before the
    hub knows the client. The hub finds the channel, and the channel's message
    is not lost."""
    server = make_server(conf=LATER)
    cursor = server.post("room/1", "1")
    for i in range(20):
        with server.raw() as conn:
            conn.request("GET", "/comet?transport=events&channel=room/*"
                         "&since=%d" % cursor)
            server.post("room/n%d" % i, "new")
            server.post("room/1", "old")
            events = []
            stream = EventStream(events.append)
            assert conn.head() == 200
            while len(events) < 2 and not stream.retry < 1:
                piece = conn.chunk()
                if not piece:
                    break
                stream.feed(piece)
            got = [json.loads(e["data"])["body"] for e in events]
            assert got in ([], ["new"], ["new", "old"]), got
        answer = server.get("/comet?channel=room/*&wait=0&since=%d" % cursor)
        assert bodies(answer) == ["new", "old"]
        cursor = answer.json()["timestamp"]


def test_345_34_only_those_concerned_are_woken(make_server):
    """Each client follows a shared channel and a channel of its own. The client
    gets only the messages of these two channels."""
    server = make_server(conf=LATER)
    conns, streams = [], []
    try:
        for i in range(40):
            conn = server.raw()
            conns.append(conn)
            conn.request("GET", "/comet?transport=events&since=0&"
                         + channels("news", "user/%d" % i))
            assert conn.head() == 200
            streams.append([])
        server.wait_waiting(40, "events")
        server.post("news", "n1")
        for i in range(0, 40, 2):
            server.post("user/%d" % i, "own %d" % i)
        server.post("news", "n2")
        for i, conn in enumerate(conns):
            stream = EventStream(streams[i].append)
            want = ["n1", "own %d" % i, "n2"] if i % 2 == 0 else ["n1", "n2"]
            while len(streams[i]) < len(want):
                stream.feed(conn.chunk())
            assert [json.loads(e["data"])["body"] for e in streams[i]] == want
    finally:
        for conn in conns:
            conn.close()
    server.wait_waiting(0)


def test_345_35_lifetime_where_a_channel_asks_for_a_user(make_server):
    """If a listed channel requires a user, the stream's lifetime is limited,
    even if the URL itself requires none."""
    server = make_server(start=False, conf="""
      <Location "/comet">
        CometMulti on
        CometMaxLifetime 1s
      </Location>
      <Location "/comet/secret">""" + BASIC + """
        Require user anna
      </Location>""")
    write_users(server, "anna")
    server.start()
    with server.raw() as conn:
        conn.request("GET", "/comet?transport=events&channel=secret",
                     basic("anna"))
        assert conn.head() == 200
        stream = EventStream(lambda event: None)
        stream.feed(conn.body())
        assert stream.retry != 1.0


def two_users(make_server, conf):
    """Start a server with the users anna and bob, where only anna may use
    /comet/board."""
    server = make_server(start=False, conf="""
      <Location "/comet">
        CometMulti on
      </Location>
      <Location "/comet/board">""" + BASIC + """
        Require user anna
      </Location>""" + conf)
    write_users(server, "anna", "bob")
    return server.start()


def batch(server, channel, lines, headers=None):
    return server.request(
        "POST", "/comet/" + channel,
        "".join(json.dumps(line) + "\n" for line in lines),
        {"Content-Type": "application/x-ndjson", **(headers or {})})


def test_345_36_a_batch_has_one_author(make_server):
    """A line's channel may require a user.  This user must then be the author
    of the whole batch, or the batch is refused: no line gets another author or
    none."""
    server = two_users(make_server, """
      <Location "/comet/club">""" + BASIC + """
        Require valid-user
      </Location>
      <Location "/comet/forum">
        AuthType Basic
        AuthName "another"
        AuthUserFile "{root}/conf/others"
        Require valid-user
      </Location>""")
    write_users(server, "anna", "bob")
    line = [{"channel": "board", "body": "x"}]
    for outer, headers, status in (
            ("lobby", basic("anna"), 403), ("lobby", {}, 401),
            ("club", basic("anna"), 201), ("club", basic("bob"), 401),
            ("board", basic("anna"), 201)):
        answer = batch(server, outer, line, headers)
        assert answer.status == status, (outer, headers, answer)
        if status == 403:
            assert "different user" in answer.json()["error"]
    assert {m["author"] for m in server.get(
        "/comet/board?since=0&wait=0", basic("anna")).json()["messages"]} \
        == {"anna"}
    assert len(server.rows("board")) == 2


def test_345_37_limits_of_its_own(make_server):
    """A channel with its own limits can only be used by its own URL, because
    otherwise its limits would not count the client."""
    server = make_server(conf="""
      <Location "/comet">
        CometMulti on
        CometLimitPublish address=100/s
      </Location>
      <Location "/comet/lim">
        CometLimitPublish address=1/min
        CometLimitSubscribers address=1
      </Location>""")
    answer = batch(server, "lobby", [{"channel": "lim", "body": "x"}])
    assert answer.status == 403 and "CometLimitPublish" in answer.json()["error"]
    assert batch(server, "lobby", [{"channel": "other", "body": "x"}]).status \
        == 201
    assert server.rows("lim") == []
    answer = server.get("/comet?channel=lim&wait=1")
    assert answer.status == 403
    assert "CometLimitSubscribers" in answer.json()["error"]
    assert server.get("/comet?channel=lim&wait=0").status == 200
    assert server.get("/comet/lim?wait=0").status == 200


def test_345_38_lifetime_and_transports_of_its_own(make_server):
    """For a request of several channels the shortest CometMaxLifetime applies,
    and each channel must allow the transport."""
    server = two_users(make_server, """
      <Location "/comet">
        CometMaxLifetime off
      </Location>
      <Location "/comet/board">
        CometMaxLifetime 1s
      </Location>
      <Location "/comet/polled">
        CometTransports poll
      </Location>""")
    with server.raw() as conn:
        conn.request("GET", "/comet?transport=events&channel=open"
                     "&channel=board&channel=other", basic("anna"))
        assert conn.head() == 200
        conn.body()                     # the stream ends
    with server.raw() as conn:
        conn.request("GET", "/comet?transport=events&channel=polled")
        assert conn.head() == 403
        assert b"CometTransports" in conn.body()
    assert server.get("/comet?channel=polled&wait=0").status == 200
    assert server.get("/comet?channel=polled&wait=1").status == 200


def test_345_39_internal_redirect(make_server):
    """The target of an internal redirect needs its own permission, even within
    the same section."""
    server = make_server(conf="""
      <Location "/comet/e">
        Require expr "%{{REQUEST_URI}} == '/comet/e/open'"
        ErrorDocument 403 /comet/e/x
      </Location>
""".replace("{{", "{").replace("}}", "}"))
    server.post("e/open", "x")
    assert server.get("/comet/e/y", timeout=5).status == 403
    assert server.waiting() == 0


def test_345_50_repeated_parameters_cost_once(make_server):
    """A channel or wildcard that is named many times counts once."""
    server = make_server(conf="""
      CometLimitChannels 3
      <Location "/comet">
        CometMulti on
      </Location>""")
    for name in ("room/1", "room/2", "other"):
        server.post(name, name)
    answer = server.get("/comet?wait=0&since=0"
                        + 50 * "&channel=room/*" + 49 * "&channel=other")
    assert answer.status == 200, answer
    assert [m["body"] for m in answer.json()["messages"]] \
        == ["room/1", "room/2", "other"]
    assert server.get("/comet?wait=0&channel=*&channel=room/*").status == 429
