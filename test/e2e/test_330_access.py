# SPDX-License-Identifier: Apache-2.0
"""Permissions: pages of other sites (CORS), users and channels."""

import base64
import glob
import grp
import html
import http.client
import os
import re
import ssl
import subprocess

import pytest

from conftest import LIVE, shut
from httpd_env import Httpd, self_signed, sql_text, sqlite, wait_until

APP = "https://app.example.com"
LOCAL = "http://localhost:3000"
EVIL = "https://evil.example.com"

USERS = """
<Location "/comet/members">
  AuthType Basic
  AuthName "members"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""

SERVER = {
    "classics": 20,
    "conf": """
CometPollTimeout 1s
CometAllowOrigin https://APP.example.com:443 http://localhost:3000
<Location "/comet">
  CometMulti on
</Location>
<Location "/comet/own">
  CometAllowOrigin none
</Location>
<Location "/comet/quiet">
  CometPublish off
</Location>
<Location "/comet/any">
  CometAllowOrigin *
</Location>
<Location "/comet/other">
  CometAllowOrigin https://other.example.com http://[::1]:8000
</Location>
<Location "/comet/denied">
  Require all denied
</Location>
<Location "/comet/documents">
  Require all denied
  ErrorDocument 403 /static.txt
</Location>
<Location "/comet/any-members">
  CometAllowOrigin *
  AuthType Basic
  AuthName "members"
  AuthUserFile "{root}/conf/users"
  Require comet-publish valid-user
</Location>
RewriteEngine on
RewriteRule "^/short/(.*)" "/comet/own/$1" [PT]
""" + USERS}

PREFLIGHT = {"Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "content-type,idempotency-key"}


def basic(user, password="secret"):
    token = base64.b64encode(("%s:%s" % (user, password)).encode())
    return {"Authorization": "Basic " + token.decode()}


def write_users(server, *names):
    """Write a password file with these users, all with the password `secret`.
    Return its path."""
    path = os.path.join(server.root, "conf", "users")
    for number, name in enumerate(names or ("anna", "bert")):
        subprocess.run(["htpasswd", "-bs"] + ["-c"] * (number == 0)
                       + [path, name, "secret"], check=True, timeout=30,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.chmod(path, 0o644)
    return path


@pytest.fixture(scope="module", autouse=True)
def users(shared_server):
    write_users(shared_server)


def post(server, target, text="x", headers=None):
    return server.request("POST", target, text.encode("utf-8"),
                          dict({"Content-Type": "text/plain"},
                               **(headers or {})))


def from_page(origin, **more):
    """Return the headers that a browser adds when a page of another site calls
    fetch()."""
    return dict({"Origin": origin, "Sec-Fetch-Site": "cross-site",
                 "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty",
                 "Accept-Language": "de"}, **more)


def check_allowed(answer, origin, credentials=True):
    assert answer.header("access-control-allow-origin") == origin, answer
    assert answer.header("access-control-allow-credentials") \
        == ("true" if credentials else None), answer
    assert answer.header("access-control-expose-headers") \
        == "ETag, Last-Event-ID, Mercure-Last-Event-ID, Retry-After", answer
    assert answer.header("cross-origin-resource-policy") == "cross-origin"
    assert set(re.split(r", *", answer.header("vary"))) \
        == {"Accept", "Origin"}, answer


def check_refused(answer):
    found = [h for h in answer.headers if h.startswith("access-control-")]
    assert not found, answer
    assert answer.header("cross-origin-resource-policy") == "same-origin"
    assert set(re.split(r", *", answer.header("vary"))) \
        == {"Accept", "Origin"}, answer


# -- pages of other sites: preflights -----------------------------------------

@pytest.mark.parametrize("target", [
    "/comet/preflight", "/comet/members/x", "/comet/denied/x", "/c0/backend.php",
    "/clock/backend.php"])
@pytest.mark.parametrize("origin", [APP, LOCAL])
def test_330_01_preflight(server, target, origin):
    """The preflight of an allowed origin needs no password, since browsers send
    none with a preflight."""
    answer = server.request("OPTIONS", target, None,
                            dict(PREFLIGHT, Origin=origin))
    assert answer.status == 204 and answer.body == b"", answer
    check_allowed(answer, origin)
    methods = answer.header("access-control-allow-methods").split(", ")
    assert {"GET", "HEAD", "OPTIONS"} <= set(methods)
    assert ("POST" in methods) == (target != "/clock/backend.php")
    assert answer.header("access-control-allow-headers") == (
        "Content-Type, Idempotency-Key, Last-Event-ID, Cache-Control, "
        "X-Requested-With, Authorization")
    assert answer.header("access-control-max-age") == "600"
    assert answer.header("x-content-type-options") == "nosniff"
    wait_until(lambda: server.access_lines("OPTIONS " + target + " "), 5,
               "the line in the access log")
    assert {line.split()[2] for line in server.access_lines(
        "OPTIONS " + target + " ")} == {"204"}


@pytest.mark.parametrize("target, origin, status", [
    ("/comet/news", EVIL, 200), ("/comet/news", "null", 200),
    ("/comet/news", APP + "x", 200), ("/comet/news", APP + ":444", 200),
    ("/comet/news", "http://app.example.com", 200),
    ("/comet/news", "https://app.example.com.evil.example", 200),
    ("/comet/news", APP + ", " + LOCAL, 200),
    ("/comet/own", APP, 200), ("/comet/other", APP, 200),
    ("/short/x", APP, 200),
    ("/comet/members", EVIL, 401), ("/comet/denied", EVIL, 403)])
def test_330_02_preflight_of_others(server, target, origin, status):
    """The preflight of another origin gets no permission, only the headers that
    every answer has."""
    answer = server.request("OPTIONS", target, None,
                            dict(PREFLIGHT, Origin=origin))
    assert answer.status == status, answer
    check_refused(answer)


def test_330_03_plain_options(server):
    """An OPTIONS request that is not a preflight works as usual."""
    for headers in ({}, {"Origin": APP},
                    {"Access-Control-Request-Method": "POST"}):
        answer = server.request("OPTIONS", "/comet/news", None, headers)
        assert answer.status == 200, answer
        assert answer.header("allow") == "GET, HEAD, POST, OPTIONS"
        assert answer.header("access-control-allow-methods") is None
        assert server.request("OPTIONS", "/comet/members", None,
                              headers).status == 401


def test_330_04_preflight_elsewhere(server):
    """Only mapped URLs answer preflights."""
    for target in ("/static.txt", "/comet-status", "/nothing"):
        answer = server.request("OPTIONS", target, None,
                                dict(PREFLIGHT, Origin=APP))
        assert answer.status != 204, answer
        assert answer.header("access-control-allow-methods") is None


def test_330_05_preflight_then_keepalive(server):
    """After a preflight the same connection serves the request itself."""
    with server.raw() as conn:
        for _ in range(3):
            conn.request("OPTIONS", "/comet/members",
                         dict(PREFLIGHT, Origin=APP))
            assert conn.answer().status == 204
            conn.request("POST", "/comet/members", dict(
                from_page(APP), **{"Content-Type": "text/plain"},
                **basic("anna")), b"after a preflight")
            answer = conn.answer()
            assert answer.status == 201, answer
            check_allowed(answer, APP)


# -- pages of other sites: reading --------------------------------------------

def test_330_10_reading(server):
    """The CORS headers are in an immediate answer, in the answer of a poll that
    waited, and in a stream."""
    url, _ = server.next_classic()
    server.post("read", "x")
    server.publish("x", url)
    for origin in (APP, LOCAL):
        for target in ("/comet/read?wait=0&since=0", "/comet/read?wait=1",
                       url + "?timestamp=0"):
            answer = server.get(target, from_page(origin), timeout=5)
            assert answer.status == 200, answer
            check_allowed(answer, origin)
        answer = server.request("HEAD", "/clock/backend.php", None,
                                from_page(origin))
        assert answer.status == 200, answer
        check_allowed(answer, origin)
    for headers in (from_page(EVIL), {}, {"Origin": "null"}):
        check_refused(server.get("/comet/read?wait=0", headers))
    check_refused(server.get("/comet/own?wait=0", from_page(APP)))
    check_refused(server.get("/short/x?wait=0", from_page(APP)))


def test_330_11_locations(server):
    """A location's list replaces the outer list."""
    other = "https://other.example.com"
    check_allowed(server.get("/comet/other/x?wait=0", from_page(other)), other)
    check_allowed(server.get("/comet/other/x?wait=0",
                             from_page("http://[::1]:8000")),
                  "http://[::1]:8000")
    check_refused(server.get("/comet/other/x?wait=0", from_page(APP)))
    check_refused(server.get("/comet/x?wait=0", from_page(other)))


@pytest.mark.parametrize("target, method, headers, status", [
    ("/comet/x?since=-1", "GET", {}, 400),
    ("/comet/x", "DELETE", {}, 405),
    ("/comet/members", "GET", {}, 401),
    ("/comet/members", "GET", basic("anna", "wrong"), 401),
    ("/comet/members", "POST", {}, 401),
    ("/comet/denied", "GET", {}, 403),
    ("/comet/x", "POST", {"Content-Type": "image/png"}, 415),
    ("/comet/x?type=gap", "POST", {"Content-Type": "text/plain"}, 400),
    ("/comet/", "GET", {}, 400)])
def test_330_12_errors(server, target, method, headers, status):
    """A page of an allowed origin can read errors, even those that httpd
    makes."""
    answer = server.request(method, target, b"" if method == "POST" else None,
                            dict(from_page(APP), **headers))
    assert answer.status == status, answer
    check_allowed(answer, APP)
    answer = server.request(method, target, b"" if method == "POST" else None,
                            dict(from_page(EVIL), **headers))
    assert answer.status in (status, 403), answer
    check_refused(answer)


def test_330_13_error_documents(server):
    """An administrator's ErrorDocument has the CORS headers, too."""
    answer = server.get("/comet/documents", from_page(APP))
    assert answer.status == 403 and answer.body == b"a static file\n", answer
    check_allowed(answer, APP)
    check_refused(server.get("/comet/documents", from_page(EVIL)))


def test_330_14_any(server):
    """With * any origin may read, but without cookies or passwords."""
    for origin in (EVIL, APP, "null"):
        answer = server.get("/comet/any?wait=0", from_page(origin))
        check_allowed(answer, "*", credentials=False)
        answer = server.request("OPTIONS", "/comet/any", None,
                                dict(PREFLIGHT, Origin=origin))
        assert answer.status == 204
        check_allowed(answer, "*", credentials=False)
    check_refused(server.get("/comet/any?wait=0"))


def test_330_15_detours(server):
    """A request may name channels besides that of its URL. A page may read
    these only if it could also read them by their own URLs."""
    for channel in ("x", "own/x", "other/x", "any/x"):
        server.post(channel, "x")
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('members/x', 'x');")
    other = "https://other.example.com"
    for origin, target, status in (
            (APP, "/comet?channel=x", 200),
            (APP, "/comet?channel=own/x", 403),
            (APP, "/comet/x?channel=own/x", 403),
            (APP, "/comet?channel=own/*", 403),
            (APP, "/comet?channel=x&channel=other/x", 403),
            (APP, "/comet?channel=*", 401),  # this includes channels of members
            (APP, "/comet?channel=any/x", 200),
            (EVIL, "/comet/any?channel=any/x", 200),
            (EVIL, "/comet/any?channel=x", 403),
            (EVIL, "/comet/any?channel=other/x", 403),
            (other, "/comet/any?channel=other/x", 200),
            # the browser hides the answer from the page
            (EVIL, "/comet?channel=own/x", 200)):
        answer = server.get(target + "&since=0&wait=0", from_page(origin))
        assert answer.status == status, (origin, target, answer)
        if origin == EVIL and target.startswith("/comet?"):
            check_refused(answer)
    # The channel's own URL allows any origin (*), but no cookie. A request with
    # a cookie must not reach the channel by another URL, either.
    answer = server.get("/comet?channel=any/x&wait=0",
                        from_page(APP, Cookie="a=b"))
    assert answer.status == 403, answer
    for headers in ({}, {"Sec-Fetch-Site": "same-origin"},
                    {"Origin": "http://127.0.0.1:%d" % server.port}):
        for channel in ("own/x", "other/x", "any/x"):
            assert server.get("/comet?wait=0&channel=" + channel,
                              headers).status == 200


# -- pages of other sites: publishing -----------------------------------------

PUBLISH = [
    # name, location, headers, status
    ("listed", "/comet/CH", from_page(APP), 201),
    ("listed-local", "/comet/CH", from_page(LOCAL), 201),
    ("listed-same-site", "/comet/CH",
     from_page(APP, **{"Sec-Fetch-Site": "same-site"}), 201),
    ("listed-old-browser", "/comet/CH", {"Origin": APP}, 201),
    ("listed-cookie", "/comet/CH", from_page(APP, Cookie="a=b"), 201),
    ("other", "/comet/CH", from_page(EVIL), 403),
    ("other-old-browser", "/comet/CH", {"Origin": EVIL}, 403),
    ("no-origin", "/comet/CH", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("null", "/comet/CH", from_page("null"), 403),
    ("two", "/comet/CH", from_page(APP + ", " + EVIL), 403),
    ("none", "/comet/own/CH", from_page(APP), 403),
    ("replaced", "/comet/other/CH", from_page(APP), 403),
    ("any", "/comet/any/CH", from_page(EVIL), 201),
    ("any-null", "/comet/any/CH", from_page("null"), 201),
    ("any-cookie", "/comet/any/CH", from_page(EVIL, Cookie="sid=1"), 403),
    ("any-password", "/comet/any/CH", dict(from_page(EVIL), **basic("anna")),
     403),
    ("any-no-origin", "/comet/any/CH", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("any-members", "/comet/any-members/CH",
     dict(from_page(EVIL), **basic("anna")), 403),
    ("members", "/comet/members/CH", dict(from_page(APP), **basic("anna")),
     201),
    ("members-other", "/comet/members/CH",
     dict(from_page(EVIL), **basic("anna")), 403),
]


@pytest.mark.parametrize("form", [False, True], ids=["text", "form"])
@pytest.mark.parametrize("name, target, headers, status", PUBLISH,
                         ids=[p[0] for p in PUBLISH])
def test_330_20_publishing(server, name, target, headers, status, form):
    """A page of an allowed origin may publish.  A page of any other origin may
    not."""
    target = target.replace("CH", "%s-%d" % (name, form))
    answer = server.request(
        "POST", target, b"msg=x" if form else b"x",
        dict(headers, **{"Content-Type": "application/x-www-form-urlencoded"
                         if form else "text/plain"}))
    assert answer.status == status, answer
    channel = target[len("/comet/"):]
    assert server.rows(channel) == (["x"] if status == 201 else [])
    if status == 403:
        assert "another site" in answer.json()["error"]


def test_330_21_publishing_by_get(server):
    """From another site only a script can publish to the classic chat, because
    the header that the script sets causes a preflight."""
    url, channel = server.next_classic()
    xhr = {"X-Requested-With": "XMLHttpRequest"}
    for headers in (from_page(APP),  # <img crossorigin> sends these, too
                    from_page(EVIL, **xhr),
                    {"Sec-Fetch-Site": "cross-site", **xhr},
                    from_page(APP, **{"Sec-Fetch-Mode": "navigate"})):
        answer = server.get(url + "?msg=x", headers)
        assert answer.status == 403, answer
    assert server.rows(channel) == []
    answer = server.get(url + "?msg=x", from_page(APP, **xhr))
    assert answer.status == 200, answer
    check_allowed(answer, APP)
    assert server.rows(channel) == ["x"]


def test_330_22_certificates(make_server):
    """With * a request with a client certificate is refused, like one with a
    cookie, because the certificate identifies the user."""
    server = make_server(tls=True, conf="""
      CometAllowOrigin *
      SSLVerifyClient optional_no_ca""")
    key, cert = self_signed(os.path.join(server.root, "conf"))
    for certificate, status in ((None, 201), (cert, 403)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate:
            context.load_cert_chain(certificate, key)
        conn = http.client.HTTPSConnection("127.0.0.1", server.tls_port,
                                           timeout=15, context=context)
        try:
            conn.request("POST", "/comet/x", b"x", dict(
                from_page(EVIL), **{"Content-Type": "text/plain"}))
            assert conn.getresponse().status == status
        finally:
            conn.close()
    assert server.rows("x") == ["x"]


def batch(server, target, channels, headers):
    lines = "".join('{"channel": "%s", "body": "x"}\n' % c if c else
                    '{"body": "x"}\n' for c in channels)
    return server.request("POST", target, lines.encode("utf-8"),
                          dict({"Content-Type": "application/x-ndjson"},
                               **headers))


def test_330_23_batches(server):
    """A page of an allowed origin may publish a batch, but only to channels
    that allow this origin and publishing."""
    me = from_page(APP)
    assert batch(server, "/comet/b1", [None, "b2", "b3/x"], me).status == 201
    assert batch(server, "/comet/b1", [None], from_page(EVIL)).status == 403
    for channels in (["own/b4"], ["b4", "other/b4"], ["b4", "quiet/b4"],
                     ["b4", "denied/b4"]):
        answer = batch(server, "/comet/b0", channels, me)
        assert answer.status == 403, (channels, answer)
        assert channels[-1] in answer.json()["error"]
        check_allowed(answer, APP)
    assert batch(server, "/comet/b0", ["b4", "members/b4"], me).status == 401
    assert batch(server, "/comet/b0", ["b5", "own/b5", "any/b5"], {}).status \
        == 201
    assert batch(server, "/comet/any", ["any/b6"],
                 from_page(EVIL, Cookie="a=b")).status == 403
    assert batch(server, "/comet/any", ["any/b6"],
                 from_page(EVIL)).status == 201
    assert batch(server, "/comet/any", ["b7"], from_page(EVIL)).status == 403
    for channel, count in (("b1", 1), ("b2", 1), ("b3/x", 1), ("b4", 0),
                           ("own/b4", 0), ("own/b5", 1), ("any/b6", 1),
                           ("b7", 0)):
        assert len(server.rows(channel)) == count, channel


# -- Require comet-channel -----------------------------------------------------

CHANNELS = [
    # pattern, user, channel, whether the user may read it
    ("news", None, "news", True),
    ("news", None, "news/x", False),
    ("news", None, "new", False),
    ("news", None, "newsx", False),
    ("news", None, "News", False),
    ("news other", None, "other", True),
    ("a/b", None, "a/b", True),
    ("a/b", None, "a", False),
    ("a/b", None, "a/b/c", False),
    ("room/*", None, "room/1", True),
    ("room/*", None, "room/1/2", True),
    ("room/*", None, "room/", True),  # allowed, but no channel name: 400
    ("room/*", None, "room", False),
    ("room/*", None, "rooms/1", False),
    ("*", None, "anything/at/all", True),
    ("*", None, "", True),
    ("news", None, "", False),
    ("\"with space\"", None, "with%20space", True),
    ("with%20space", None, "with%20space", False),
    ("user/%{REMOTE_USER}", "anna", "user/anna", True),
    ("user/%{REMOTE_USER}", "anna", "user/bert", False),
    ("user/%{REMOTE_USER}", "anna", "user/anna/x", False),
    ("user/%{REMOTE_USER}", "anna", "user/", False),
    ("user/%{REMOTE_USER}", None, "user/", False),
    ("user/%{REMOTE_USER}", None, "user/anna", False),
    ("user/%{REMOTE_USER}/*", "anna", "user/anna/x", True),
    ("user/%{REMOTE_USER}/*", "anna", "user/anna/", True),
    ("user/%{REMOTE_USER}/*", "anna", "user/annax/x", False),
    ("user/%{REMOTE_USER}/*", "anna", "user/ann/a", False),
    ("user/%{REMOTE_USER}/*", "anna", "user/anna", False),
    ("user/%{REMOTE_USER}/*", None, "user//x", False),
    # Special characters in the names of users have no meaning.
    ("user/%{REMOTE_USER}", ".*", "user/bert", False),
    ("user/%{REMOTE_USER}", ".*", "user/.*", True),
    ("user/%{REMOTE_USER}", "*", "user/bert", False),
    ("user/%{REMOTE_USER}/*", "*", "user/bert/x", False),
    ("user/%{REMOTE_USER}/*", "anna/x", "user/anna/x/y", False),
    ("user/%{REMOTE_USER}", "anna/x", "user/anna/x", False),
    ("user/%{REMOTE_USER}/*", "..", "x/y", False),
    ("user/a-%{REMOTE_USER}", "anna", "user/a-anna", True),
    ("news user/%{REMOTE_USER}", None, "news", True),
    ("news user/%{REMOTE_USER}", "anna", "user/anna", True),
]


@pytest.fixture(scope="module")
def channel_server(request):
    """Yield a server with an endpoint for each pattern."""
    patterns = sorted({c[0] for c in CHANNELS})
    conf = ""
    for number, pattern in enumerate(patterns):
        auth = ('AuthType Basic\nAuthName "x"\n'
                'AuthUserFile "{root}/conf/users"\n'
                if "REMOTE_USER" in pattern else "")
        conf += ('CometEndpoint /p%d p%d/\n<Location "/p%d">\n%s'
                 "Require comet-channel %s\n</Location>\n"
                 % (number, number, number, auth, pattern))
    server = Httpd(conf=conf)
    LIVE.append(server)
    try:
        write_users(server, *sorted({c[1] for c in CHANNELS if c[1]}))
        server.start()
        server.number_of = {p: n for n, p in enumerate(patterns)}
        yield server
    finally:
        shut(server)


@pytest.mark.parametrize("pattern, who, channel, granted", CHANNELS,
                         ids=["%s-%s-%s" % c[:3] for c in CHANNELS])
def test_330_30_channel(channel_server, pattern, who, channel, granted):
    """A pattern of comet-channel allows exactly its channels, whatever the
    users' names are."""
    url = "/p%d/%s" % (channel_server.number_of[pattern], channel)
    answer = channel_server.get(url + "?wait=0", basic(who) if who else {})
    if granted:
        expected = 400 if channel.endswith("/") or not channel else 200
    else:
        expected = 401 if "REMOTE_USER" in pattern else 403
    assert answer.status == expected, answer
    assert (answer.header("www-authenticate") is not None) \
        == (expected == 401), answer


def test_330_31_endpoints_own_url(channel_server):
    """The endpoint's own URL names no channel. The rule lets a request for this
    URL pass, so that the handler can answer, but the rule may require a
    user."""
    number = channel_server.number_of
    assert channel_server.get("/p%d" % number["news"]).status == 400
    user = "/p%d" % number["user/%{REMOTE_USER}"]
    assert channel_server.get(user).status == 401
    assert channel_server.get(user, basic("anna")).status == 400


def test_330_32_channel_elsewhere(make_server):
    """For comet-channel, a classic location has one channel, and an unmapped
    URL has none."""
    server = make_server(classics=2, conf="""
      <LocationMatch "^/(c0|c1|clock|static)">
        Require comet-channel c0
      </LocationMatch>
      <Location "/comet">
        Require comet-publish comet-channel open/*
      </Location>""")
    assert server.get("/c0/backend.php?msg=x").status == 200
    assert server.get("/c1/backend.php?msg=x").status == 403
    assert server.get("/clock/backend.php").status == 403
    assert server.get("/static.txt").status == 403
    assert post(server, "/comet/open/x").status == 201
    assert post(server, "/comet/closed").status == 403
    assert server.get("/comet/closed?wait=0").status == 200


# -- many channels by one request ----------------------------------------------

MULTI = """
<Location "/comet">
  CometMulti on
  CometPollTimeout 10s
  AuthType Basic
  AuthName "x"
  AuthUserFile "{root}/conf/users"
  Require comet-channel public/* user/%{REMOTE_USER} user/%{REMOTE_USER}/*
</Location>
CometEndpoint /open
<Location "/open">
  CometMulti on
  Require expr %{REQUEST_URI} != '/open/secret'
</Location>
"""

ASKED = [
    # a request of anna, and whether it is allowed
    ("/comet?channel=public/a&channel=user/anna", True),
    ("/comet?channel=public/*", True),
    ("/comet?channel=user/anna/*&channel=user/anna", True),
    ("/comet/public/a?channel=user/anna", True),
    ("/comet?channel=user%2Fanna", True),
    ("/comet?channel=user/anna/@online", True),
    ("/comet?channel=public/a/@online", True),
    ("/comet?channel=public/@online", False),
    ("/comet?channel=user/bert", False),
    ("/comet?channel=user/anna&channel=user/bert", False),
    ("/comet/public/a?channel=user/bert", False),
    ("/comet/user/anna?channel=user/bert", False),
    ("/comet?channel=user%2Fbert", False),
    ("/comet?channel=user/*", False),
    ("/comet?channel=user/bert/*", False),
    ("/comet?channel=*", False),
    ("/comet/?channel=public/a", False),  # this URL stands for all channels
    ("/comet/user/bert?channel=user/anna", False),
]


@pytest.fixture(scope="module")
def multi_server(request):
    server = Httpd(conf=MULTI)
    LIVE.append(server)
    try:
        write_users(server)
        server.start()
        sqlite_rows = [("public/a", "a"), ("user/anna", "b"),
                       ("user/anna/x", "c"), ("user/bert", "d"),
                       ("user/bert/x", "e"), ("secret", "f"),
                       ("user/anna/@online", "c"), ("public/a/@online", "c"),
                       ("public/@online", "g")]
        for channel, body in sqlite_rows:
            sqlite(server.db, "INSERT INTO message(channel, body) VALUES(%s, "
                   "%s);" % (sql_text(channel), sql_text(body)))
        yield server
    finally:
        shut(server)


@pytest.mark.parametrize("stream", [False, True], ids=["poll", "events"])
@pytest.mark.parametrize("target, granted", ASKED,
                         ids=[a[0] for a in ASKED])
def test_330_35_many_channels(multi_server, target, granted, stream):
    """Each channel needs the permission of its own URL, even if one section
    covers all of them."""
    server = multi_server
    headers = dict(basic("anna"), **(
        {"Accept": "text/event-stream"} if stream else {}))
    path, _, query = target.partition("?")
    if stream and granted:
        with server.raw() as conn:
            conn.request("GET", "%s?%s&since=0" % (path, query), headers)
            assert conn.head() == 200
            assert b"retry:" in conn.chunk()
            conn.close()
        server.wait_waiting(0)
        return
    answer = server.get("%s?%s&since=0&wait=0" % (path, query), headers)
    assert answer.status == (200 if granted else 401), answer
    if granted:
        bodies = {m["body"] for m in answer.json()["messages"]}
        assert bodies and bodies <= {"a", "b", "c"}, bodies
    # Without a user such a request is refused.
    assert server.get(target).status == 401


def test_330_36_expression_over_the_path(multi_server):
    """A channel that only an expression protects is protected in every request
    that names it."""
    server = multi_server
    assert server.get("/open/secret?wait=0").status == 403
    assert server.get("/open/public/a?wait=0&since=0").status == 200
    for detour in ("/open?channel=secret", "/open?channel=*",
                   "/open/public/a?channel=secret", "/open/?channel=*",
                   "/open?channel=public/a&channel=secret"):
        answer = server.get(detour + "&wait=0&since=0")
        assert answer.status == 403, (detour, answer)
    answer = server.get("/open?channel=public/a&wait=0&since=0")
    assert [m["body"] for m in answer.json()["messages"]] == ["a"]


# -- CometMaxLifetime ----------------------------------------------------------

def read_stream(conn):
    """Read a stream until the server ends it; return its text."""
    text = b""
    while True:
        piece = conn.chunk()
        if not piece:
            return text.decode("utf-8")
        text += piece


@pytest.mark.parametrize("accept", ["text/event-stream", "iframe"])
def test_330_38_judged_anew(make_server, mpm, accept):
    """A stream ends after CometMaxLifetime. If the user has been removed
    meanwhile, no new stream is allowed."""
    server = make_server(start=False, mpm=mpm, conf=USERS + """
      CometMaxLifetime 1s""")
    users = write_users(server, "anna", "bert")
    server.start()
    target = "/comet/members/x?since=0" + (
        "&transport=iframe" if accept == "iframe" else "")
    headers = dict(basic("anna"), **(
        {} if accept == "iframe" else {"Accept": accept}))
    for _ in range(2):
        with server.raw(timeout=10) as conn:
            conn.request("GET", target, headers)
            assert conn.head() == 200
            server.wait_waiting(1)
            text = read_stream(conn)
            server.wait_waiting(0)
        assert ("retry:" in text) == (accept != "iframe"), text
    os.remove(users)
    write_users(server, "bert")
    answer = server.get(target, headers)
    assert answer.status == 401, answer


# -- the examples --------------------------------------------------------------

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..",
                        "conf", "examples")
EXAMPLE_MODULES = ("remoteip", "authz_groupfile", "request", "session",
                   "session_cookie", "session_crypto", "auth_form")


@pytest.fixture
def example(make_server):
    """Return a function that starts a server with one of the example files."""
    def make(name, comet_conf="", change=(), mpm=None):
        with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
            text = file.read()
        for old, new in change:
            assert old in text
            text = text.replace(old, new)
        server = make_server(
            start=False, comet="status", modules=EXAMPLE_MODULES, mpm=mpm,
            conf='CometStore "sqlite:{data}/comet.db"\n' + comet_conf
            + text.replace("/etc/apache2/", "{root}/conf/"))
        os.rename(write_users(server, "anna", "bert", "desk-carl"),
                  os.path.join(server.root, "conf", "comet.htpasswd"))
        for file, lines in (("comet.groups", "sales: anna bert\nit: bert\n"),
                            ("comet.secret", "0123456789abcdef\n")):
            with open(os.path.join(server.root, "conf", file), "w",
                      encoding="utf-8") as out:
                out.write(lines)
        server.write("login.html", "<title>login</title>")
        return server.start()
    return make


def authors(server, channel):
    """Return the authors of a channel's messages, in order."""
    return [row[0] for row in sqlite(
        server.db, "SELECT coalesce(author, 'NULL') FROM message WHERE "
        "channel=%s ORDER BY timestamp;" % sql_text(channel))]


def read(server, target, headers=None):
    return server.get(target + "?wait=0&since=0", headers)


def test_330_40_every_example_is_tested():
    """Each file of conf/examples is loaded by a test here or in test_703 to
    test_716."""
    tested = set()
    for name in ("test_330_access.py", "test_703_php_recipes.py",
                 "test_710_mercure.py", "test_715_laravel.py",
                 "test_716_wordpress.py"):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)),
                               name), encoding="utf-8") as file:
            tested |= set(re.findall(
                r'(?:example|site|read)\("([\w-]+\.conf)"', file.read()))
    there = {name for name in os.listdir(EXAMPLES) if name.endswith(".conf")}
    assert tested == there and len(there) >= 7


def test_330_41_users(example):
    """users.conf asks for a password, and a message's author is the user who
    published it."""
    server = example("users.conf")
    for headers, status in (({}, 401), (basic("anna", "wrong"), 401),
                            (basic("nobody"), 401), (basic("anna"), 200)):
        assert read(server, "/comet/x", headers).status == status
    assert post(server, "/comet/x").status == 401
    assert post(server, "/comet/x", "hello", basic("anna")).status == 201
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.request(
        "POST", "/comet/x", b"msg=form&author=mallory&user=mallory",
        dict(form, **basic("bert"))).status == 201
    assert authors(server, "x") == ["anna", "bert"]
    messages = read(server, "/comet/x", basic("bert")).json()["messages"]
    assert [(m["author"], m["body"]) for m in messages] \
        == [("anna", "hello"), ("bert", "form")]


def test_330_42_readers_and_writers(example):
    """readers-and-writers.conf lets everybody read and users publish. It shows
    this once with comet-publish and once with LimitExcept."""
    server = example("readers-and-writers.conf")
    for base in ("/comet/x", "/news/x"):
        assert read(server, base).status == 200
        assert server.request("HEAD", base + "?wait=0").status == 200
        assert server.request("OPTIONS", base).status == 200
        assert post(server, base).status == 401
        assert post(server, base, "x", basic("anna", "wrong")).status == 401
        assert post(server, base, "x", basic("anna")).status == 201
        assert [m["author"] for m in read(server, base).json()["messages"]] \
            == ["anna"]
    assert authors(server, "x") == authors(server, "news/x") == ["anna"]


def test_330_43_channel_per_user(example):
    """channel-per-user.conf lets each user read their own channels, and lets
    only programs publish."""
    server = example("channel-per-user.conf",
                     "RemoteIPHeader X-Forwarded-For\n"
                     "RemoteIPInternalProxy 127.0.0.1\n")
    far = {"X-Forwarded-For": "192.0.2.1"}
    for channel in ("public/x", "user/anna", "user/anna/parcels",
                    "user/bert/parcels", "other"):
        # These messages come from this machine.
        assert post(server, "/comet/" + channel).status == 201
    for channel, who, status in (
            ("public/x", None, 200), ("public/x", "anna", 200),
            ("user/anna", None, 401), ("user/anna", "anna", 200),
            ("user/anna/parcels", "anna", 200),
            ("user/bert/parcels", "anna", 401), ("user/bert", "anna", 401),
            ("user/bert/parcels", "bert", 200), ("other", "anna", 401),
            ("user/anna%2Fparcels", "bert", 404),
            ("user/bert/../anna/parcels", "bert", 401),
            ("user//anna", "bert", 401)):
        answer = read(server, "/comet/" + channel,
                      dict(far, **(basic(who) if who else {})))
        assert answer.status == status, (channel, who, answer)
        if status == 200:
            assert len(answer.json()["messages"]) == 1
    for who in ({}, basic("anna")):
        for channel in ("public/x", "user/anna"):
            assert post(server, "/comet/" + channel, "x",
                        dict(far, **who)).status in (401, 403)


def test_330_44_groups(example):
    """groups.conf admits users to the rooms of their groups, by expressions."""
    server = example("groups.conf")
    for channel, who, status in (
            ("room/sales", "anna", 201), ("room/sales", "bert", 201),
            ("room/sales", "desk-carl", 401), ("room/it", "anna", 401),
            ("room/it", "bert", 201), ("room/none", "anna", 401),
            ("room/sales", None, 401), ("room/sales/x", "anna", 403),
            ("other", "anna", 403), ("desk", "desk-carl", 201)):
        headers = basic(who) if who else {}
        answer = post(server, "/comet/" + channel, "x", headers)
        assert answer.status == status, (channel, who, answer)
        assert read(server, "/comet/" + channel, headers).status \
            == (200 if status == 201 else status)
    assert authors(server, "room/sales") == ["anna", "bert"]


def log_in(server, name, password):
    """Send the login form; return the answer and the cookie."""
    answer = server.request(
        "POST", "/login", b"httpd_username=%s&httpd_password=%s"
        % (name.encode(), password.encode()),
        {"Content-Type": "application/x-www-form-urlencoded"})
    cookie = answer.header("set-cookie", "")
    return answer, cookie


def test_330_45_login_form(example):
    """login-form.conf replaces the password with a cookie. With the cookie, a
    user can poll and publish."""
    server = example("login-form.conf")
    answer = read(server, "/comet/x")
    assert answer.status == 401, answer
    answer, _ = log_in(server, "anna", "wrong")
    assert answer.status == 302, answer
    assert answer.header("location").endswith("/login.html?failed"), answer
    answer, cookie = log_in(server, "anna", "secret")
    assert answer.status == 302 and answer.header("location").endswith("/"), \
        answer
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie, cookie
    assert "secret" not in cookie and "anna" not in cookie, cookie
    mine = {"Cookie": cookie.split(";")[0]}
    with server.raw() as conn:
        conn.request("GET", "/comet/x", mine)
        server.wait_waiting(1)
        host = "http://127.0.0.1:%d" % server.port
        answer = post(server, "/comet/x", "by cookie", dict(
            mine, Origin=host, Host=host[7:],
            **{"Sec-Fetch-Site": "same-origin"}))
        assert answer.status == 201, answer
        answer = conn.answer()
    assert answer.status == 200, answer
    message = answer.json()["messages"][0]
    assert (message["author"], message["body"]) == ("anna", "by cookie")
    for header in ("no-store",):
        assert header in answer.header("cache-control"), answer
    # A browser also sends the cookie for a page of another site. This request
    # is refused.
    answer = post(server, "/comet/x", "forged", dict(
        mine, Origin="https://evil.example",
        **{"Sec-Fetch-Site": "cross-site"}))
    assert answer.status == 403, answer
    for forged in ("comet=" + "A" * 60, "comet=", mine["Cookie"][:-6]):
        assert read(server, "/comet/x", {"Cookie": forged}).status == 401
    assert authors(server, "x") == ["anna"]
    answer = server.get("/logout", mine)
    assert answer.header("location").endswith("/login.html"), answer
    assert server.get("/login.html").status == 200


def test_330_46_other_sites(example):
    """other-sites.conf opens one channel to listed origins, and another to any
    origin without a user. It reserves a third for this site."""
    server = example("other-sites.conf")
    check_allowed(read(server, "/comet/x", from_page(APP)), APP)
    check_refused(read(server, "/comet/x", from_page(EVIL)))
    check_allowed(read(server, "/comet/public", from_page(EVIL)), "*", False)
    check_refused(read(server, "/comet/internal", from_page(APP)))
    assert post(server, "/comet/x", "x", from_page(APP)).status == 201
    assert post(server, "/comet/internal", "x", from_page(APP)).status == 403


def test_330_47_limits(example):
    """limits.conf allows an address ten messages at once, and then makes the
    address wait."""
    server = example("limits.conf")
    statuses = [post(server, "/comet/suggestions").status for _ in range(11)]
    assert statuses == [201] * 10 + [429]
    assert post(server, "/comet/x").status == 201


class Browser:
    """The session cookie that all tabs of one browser share."""

    def __init__(self, server, name):
        self.server, self.cookie = server, None
        answer, _ = log_in(server, name, "secret")
        self.hear(answer)
        assert self.cookie, answer

    def hear(self, answer):
        """Keep the cookie that an answer sets."""
        for name, value in answer.headers.items():
            if name.lower() == "set-cookie":
                self.cookie = value.split(";")[0]
        return answer

    def headers(self):
        return {"Cookie": self.cookie}

    def get(self, target):
        return self.hear(self.server.get(target, self.headers()))


def test_330_48_logout_while_a_poll_waits(example, mpm):
    """With login-form.conf, polls wait while another tab logs out.  Their
    answers do not log the user in again."""
    server = example("login-form.conf", mpm=mpm)
    anna, bert = Browser(server, "anna"), Browser(server, "bert")
    with server.raw() as idle, server.raw() as busy:
        idle.request("GET", "/comet/idle?wait=2", anna.headers())
        busy.request("GET", "/comet/busy?wait=20", anna.headers())
        server.wait_waiting(2, "poll")
        old = anna.cookie
        assert anna.get("/logout").status in (302, 307)
        assert anna.cookie != old and read(
            server, "/comet/x", anna.headers()).status == 401
        assert post(server, "/comet/busy", "x", bert.headers()).status == 201
        for conn in (busy, idle):
            answer = anna.hear(conn.answer())
            assert answer.status == 200, answer
            assert len(answer.json()["messages"]) == (conn is busy)
            assert answer.header("set-cookie") is None, answer
    assert anna.get("/comet/x?wait=0").status == 401


@pytest.mark.parametrize("target", [
    "/comet/x?since=0", "/comet/quiet?wait=1", "/comet/x?transport=events"])
def test_330_49_an_idle_page_is_logged_out(example, target):
    """With login-form.conf, a page that only reads does not prolong its
    session, neither by polls nor by streams."""
    server = example("login-form.conf", "CometMaxLifetime 1s\n",
                     change=[("SessionMaxAge 86400", "SessionMaxAge 3")])
    anna = Browser(server, "anna")
    assert post(server, "/comet/x", "x", anna.headers()).status == 201
    statuses = []

    def is_logged_out():
        statuses.append(anna.get(target).status)
        return statuses[-1] == 401
    wait_until(is_logged_out, 12, "the session's end", 0.1)
    assert statuses[0] == 200 and set(statuses) == {200, 401}, statuses


SOURCE = os.path.join(EXAMPLES, "..", "..")
MAKES_SECRET = re.compile(
    # openssl req is not here: only the owner can read the key that it makes
    r"htpasswd +-\w*c|openssl +(rand|gen\w+|ec\w+)|"
    r"\s>>? *[\w/.-]*(secret|passwd|\.key|\.pem)")


@pytest.mark.skipif(os.geteuid() != 0, reason="its files are root's")
@pytest.mark.parametrize("name", sorted(
    name for name in os.listdir(EXAMPLES) if name.endswith(".conf")))
def test_330_51_secrets_are_not_for_everybody(name, tmp_path):
    """The commands in the head of each example make files for passwords and
    secrets. Only root can write these files, and only httpd's group can read
    them."""
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        text = file.read().replace("/etc/apache2/", str(tmp_path) + "/")
    secrets = set(re.findall(
        r"^\s*(?:AuthUserFile|SessionCryptoPassphraseFile|CometTokenKey HS256)"
        r" (\S+)", text, re.M))
    commands = [line for line in re.findall(r"^#     (\S.*)$", text, re.M)
                if str(tmp_path) in line]
    assert bool(commands) == bool(secrets)
    # Without a terminal, htpasswd reads a new password twice from standard
    # input.
    subprocess.run(["sh", "-ec", "umask 0\n" + "\n".join(commands)], check=True,
                   input=b"secret\nsecret\n", start_new_session=True,
                   timeout=30, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    for path in secrets:
        stat = os.stat(path)
        assert (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid,
                stat.st_size > 9) \
            == (0o640, 0, grp.getgrnam("www-data").gr_gid, True), path


def test_330_52_no_other_command_makes_secrets():
    """If a document shows how to make a file of secrets, the file gets its
    owner and mode before it is filled."""
    seen = 0
    for folder in (".", "conf", "conf/examples", "conf/packaging", "htdocs",
                   "htdocs/comet", "htdocs/manual", "mod_comet"):
        folder = os.path.join(SOURCE, folder)
        for name in os.listdir(folder):
            if not name.endswith((".md", ".conf", ".html", ".in")):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = html.unescape(file.read().replace(
                    "<code>htpasswd -c</code>", ""))
            for line in text.splitlines():
                if MAKES_SECRET.search(line):
                    seen += 1
                    path = line.rstrip(") ").split(">")[-1]
                    before = text[:text.index(line)]
                    assert "umask 077" in line and re.search(
                        "install -m 640 -o root -g www-data /dev/null "
                        + re.escape(path), before), (name, line)
    assert seen >= 1


def test_330_53_no_message_makes_secrets():
    """If a message shows how to make a file of secrets, nobody else can ever
    read the file."""
    seen = 0
    for path in glob.glob(os.path.join(SOURCE, "mod_comet", "**", "*.c"),
                          recursive=True):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r'"\s*\n\s*"', "", file.read())
        for found in MAKES_SECRET.finditer(text):
            seen += 1
            assert text[:found.start()].endswith("umask 077; "), path
    assert seen >= 3


# -- authors -------------------------------------------------------------------

def test_330_50_author_is_the_user(make_server, mpm):
    """The author is the user that httpd knows, however a message is published.
    The client cannot choose the author."""
    server = make_server(start=False, mpm=mpm, conf="""
      <LocationMatch "^/(comet|chat)/">
        AuthType Basic
        AuthName "x"
        AuthUserFile "{root}/conf/users"
        <RequireAny>
          Require valid-user
          Require expr %{HTTP:X-Open} == 'yes'
        </RequireAny>
      </LocationMatch>""")
    write_users(server, "anna", "Jürgen Groß")
    server.start()
    for name in ("anna", "Jürgen Groß"):
        assert post(server, "/comet/chat?author=x", "text",
                    basic(name)).status == 201
        assert server.request(
            "POST", "/comet/chat", b"author=x&msg=form", dict(
                {"Content-Type": "application/x-www-form-urlencoded"},
                **basic(name))).status == 201
        assert server.get("/chat/backend.php?msg=classic&author=x",
                          basic(name)).status == 200
        answer = server.request(
            "POST", "/comet/chat", b'{"body": "l1"}\n{"body": "l2"}\n',
            dict({"Content-Type": "application/x-ndjson"}, **basic(name)))
        assert answer.status == 201, answer
    nobody = {"X-Open": "yes"}
    assert post(server, "/comet/chat", "text", nobody).status == 201
    assert post(server, "/comet/chat").status == 401
    assert authors(server, "chat") \
        == ["anna"] * 5 + ["Jürgen Groß"] * 5 + ["NULL"]
