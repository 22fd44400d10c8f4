# SPDX-License-Identifier: Apache-2.0
"""Who may do what: pages of other sites (CORS), users, channels."""

import base64
import os
import re
import subprocess

import pytest

from http_client import gather
from httpd_env import SLOW, wait_until

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
<Location "/comet/own">
  CometAllowOrigin none
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
    """A password file with these users; each one's password is `secret`."""
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
    """What a browser adds to a fetch() of a page of another site."""
    return dict({"Origin": origin, "Sec-Fetch-Site": "cross-site",
                 "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty",
                 "Accept-Language": "de"}, **more)


def check_allowed(answer, origin, credentials=True):
    assert answer.header("access-control-allow-origin") == origin, answer
    assert answer.header("access-control-allow-credentials") \
        == ("true" if credentials else None), answer
    assert answer.header("access-control-expose-headers") \
        == "ETag, Retry-After", answer
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
    """An allowed origin's preflight is answered before anybody is asked for a
    password (browsers send none with it)."""
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
    """Any other gets no permission, and what everybody gets."""
    answer = server.request("OPTIONS", target, None,
                            dict(PREFLIGHT, Origin=origin))
    assert answer.status == status, answer
    check_refused(answer)


def test_330_03_plain_options(server):
    """OPTIONS that is no preflight stays what it was."""
    for headers in ({}, {"Origin": APP},
                    {"Access-Control-Request-Method": "POST"}):
        answer = server.request("OPTIONS", "/comet/news", None, headers)
        assert answer.status == 200, answer
        assert answer.header("allow") == "GET, HEAD, POST, OPTIONS"
        assert answer.header("access-control-allow-methods") is None
        assert server.request("OPTIONS", "/comet/members", None,
                              headers).status == 401


def test_330_04_preflight_elsewhere(server):
    """Nothing but what is mapped answers preflights."""
    for target in ("/static.txt", "/comet-status", "/nothing"):
        answer = server.request("OPTIONS", target, None,
                                dict(PREFLIGHT, Origin=APP))
        assert answer.status != 204, answer
        assert answer.header("access-control-allow-methods") is None


def test_330_05_preflight_then_keepalive(server):
    """The connection of a preflight serves what was asked permission for."""
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
    """An answer, a poll that waited and a stream carry the headers."""
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
    """A location's list replaces the outer one."""
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
    ("/comet/x", "POST", {"Content-Type": "text/plain"}, 400),
    ("/comet/", "GET", {}, 400)])
def test_330_12_errors(server, target, method, headers, status):
    """A page can read what is wrong, also when httpd says it."""
    answer = server.request(method, target, b"" if method == "POST" else None,
                            dict(from_page(APP), **headers))
    assert answer.status == status, answer
    check_allowed(answer, APP)
    answer = server.request(method, target, b"" if method == "POST" else None,
                            dict(from_page(EVIL), **headers))
    assert answer.status in (status, 403), answer
    check_refused(answer)


def test_330_13_any(server):
    """*: any origin reads, but not with what identifies the user."""
    for origin in (EVIL, APP, "null"):
        answer = server.get("/comet/any?wait=0", from_page(origin))
        check_allowed(answer, "*", credentials=False)
        answer = server.request("OPTIONS", "/comet/any", None,
                                dict(PREFLIGHT, Origin=origin))
        assert answer.status == 204
        check_allowed(answer, "*", credentials=False)
    check_refused(server.get("/comet/any?wait=0"))


# -- pages of other sites: publishing -----------------------------------------

PUBLISH = [
    # where, from whom, what else, status
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
    """A page of an allowed origin publishes, all others do not."""
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
    """Classic: of another site only a script, which was asked in advance
    because of its header."""
    url, channel = server.next_classic()
    xhr = {"X-Requested-With": "XMLHttpRequest"}
    for headers in (from_page(APP),              # also <img crossorigin>
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
