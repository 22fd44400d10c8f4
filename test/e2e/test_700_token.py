# SPDX-License-Identifier: Apache-2.0
"""Tokens that a site's application signs (CometTokenKey, Require
comet-token)."""

import os
import re

import pytest

import tokens
from event_stream import EventStream
from http_client import quote
from httpd_env import SANITIZER, sqlite, wait_until
from stream_client import Stream
from tokens import bearer, claims, encode, grant, sign

tokens.write("secret", tokens.SECRET + "\n")
tokens.write("new", tokens.NEW_SECRET + "\n")
tokens.write("read", tokens.SECRET)
tokens.make_pair("rsa", "-algorithm", "RSA", "-pkeyopt",
                 "rsa_keygen_bits:2048")

USERS = """
  AuthType Basic
  AuthName "x"
  AuthUserFile "{root}/conf/users"
"""

SERVER = {"modules": ("status",), "conf": ("""
ExtendedStatus on
CometPollTimeout 1s
CometTokenCookie comet_token
CometTokenParameter token
<Location "/comet">
  CometTokenKey HS256 KEYS/secret
  CometTokenKey RS256 KEYS/rsa.pem kid=rsa
  CometMulti on
  Require comet-token
</Location>
<Location "/comet/bare">
  CometTokenCookie off
  CometTokenParameter off
</Location>
<Location "/comet/skewed">
  CometTokenSkew 30s
</Location>
<Location "/comet/beside">""" + USERS + """
  AuthzSendForbiddenOnFailure on
  <RequireAny>
    Require user bert
    Require comet-token
  </RequireAny>
</Location>
<Location "/comet/own">
  Require comet-channel own/%{REMOTE_USER}
</Location>
<Location "/comet/limited">
  CometLimitSubscribers user=1
</Location>
<Location "/comet/keyless">
  CometTokenKey HS256 KEYS/new
  Require valid-user
</Location>
<Location "/comet/documents">
  ErrorDocument 403 /static.txt
  ErrorDocument 401 /static.txt
</Location>
CometEndpoint /parted
<Location "/parted">
  CometTokenKey HS256 KEYS/read for=read
  CometTokenKey HS256 KEYS/new for=publish
  Require comet-token
</Location>
CometEndpoint /named
<Location "/named">
  CometTokenKey HS256 KEYS/secret issuer=shop audience=http://here/named
  Require comet-token
</Location>
<Location "/chat">
  CometTokenKey HS256 KEYS/secret
  Require comet-token
</Location>
<Location "/status">
  SetHandler server-status
</Location>
""").replace("KEYS", tokens.FOLDER)}


@pytest.fixture(scope="module", autouse=True)
def users(shared_server):
    # bert's password is "secret"
    with open(os.path.join(shared_server.root, "conf", "users"), "w",
              encoding="ascii") as out:
        out.write("bert:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")


@pytest.fixture(autouse=True)
def hidden(server):
    """Check after each test that no log has a token."""
    yield
    tokens.assert_hidden(server)


def last_refusal(server, mark):
    wait_until(lambda: mark in server.error_log(), 5, mark)
    return re.findall(r"\[comet:(\w+)\].* (COMET\d+): (.*)",
                      server.error_log())[-1]


def post(server, target, headers, text=b"x"):
    return server.request("POST", target, text,
                          dict({"Content-Type": "text/plain"}, **headers))


# -- where a token may be ------------------------------------------------------

def test_700_01_header_cookie_parameter(server):
    """A token may be in the header, the cookie or the parameter."""
    token = sign(claims(read=["room"]))
    for headers, query in ((bearer(token), ""),
                           ({"Authorization": "bEARER   " + token}, ""),
                           ({"Cookie": "comet_token=" + token}, ""),
                           ({"Cookie": "a=b; comet_token=%s; c=d" % token}, ""),
                           ({}, "&token=" + token),
                           ({"Cookie": "comet_token="}, "&token=" + token),
                           ({"Authorization": "Bearer "}, "&token=" + token)):
        answer = server.get("/comet/room?wait=0" + query, headers)
        assert answer.status == 200, (headers, answer)
    for cookie in ("comet_token2=", "xcomet_token=", "Comet_Token="):
        assert server.get("/comet/room?wait=0",
                          {"Cookie": cookie + token}).status == 401


def test_700_02_cookie_and_parameter_are_off_by_default(server):
    token = sign(claims(read=["bare"]))
    assert server.get("/comet/bare?wait=0", bearer(token)).status == 200
    assert server.get("/comet/bare?wait=0",
                      {"Cookie": "comet_token=" + token}).status == 401
    # (the URL takes no token from a parameter, so logs show the whole query)
    tokens.ISSUED.remove(token)
    assert server.get("/comet/bare?wait=0&token=" + token).status == 401


def test_700_03_the_header_wins(server):
    """If a request has several tokens, the one in the header counts, or else
    the one in the parameter.  An expired cookie does no harm, and a valid one
    does not help."""
    good = sign(claims(read=["room"]))
    stale = sign(claims(read=["room"], seconds=-5))
    target = "/comet/room?wait=0"
    for answer, status in (
            (server.get(target, {**bearer(good),
                                 "Cookie": "comet_token=" + stale}), 200),
            (server.get(target, {**bearer(stale),
                                 "Cookie": "comet_token=" + good}), 401),
            (server.get(target + "&token=" + good,
                        {"Cookie": "comet_token=" + stale}), 200),
            (server.get(target + "&token=" + stale,
                        {"Cookie": "comet_token=" + good}), 401)):
        assert answer.status == status, answer


TWO = b"GET /comet/room?wait=0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


def test_700_04_two_tokens_of_one_kind(server):
    """A request with two headers, cookies or parameters gets 400, because one
    module might read the first and another module the second."""
    a, b = (sign(claims(read=["room"])) for _ in range(2))
    basic = "Authorization: Basic YmVydDpzZWNyZXQ=\r\n"
    for lines in ("Authorization: Bearer %s\r\nAuthorization: Bearer %s\r\n",
                  "Authorization: Bearer %s, bearer %s\r\n",
                  basic + "Authorization: Bearer %s\r\nX: %s\r\n",
                  "Authorization: Bearer %s\r\nX: %s\r\n" + basic,
                  "Cookie: comet_token=%s; comet_token=%s\r\n"):
        with server.raw() as conn:
            conn.send(TWO + (lines % (a, b)).encode() + b"\r\n")
            answer = conn.answer()
        if lines.endswith(basic):   # "Bearer x, Basic y" is no token
            assert answer.status == 401, (lines, answer)
            continue
        assert answer.status == 400, (lines, answer)
        assert 'error="invalid_request"' in answer.header("www-authenticate")
        assert last_refusal(server, "COMET0001")[:2] == ("info", "COMET0001")
    answer = server.get("/comet/room?wait=0&token=%s&token=%s" % (a, b))
    assert answer.status == 400, answer


# -- how a token is refused ---------------------------------------------------

def test_700_05_words(server):
    """A refusal gives its reason as RFC 6750 (section 3) demands: no error if
    there is no token, invalid_token if it is invalid, and 403 with
    insufficient_scope if it grants too little."""
    answer = server.get("/comet/room?wait=0")
    assert answer.status == 401, answer
    assert answer.header("www-authenticate") == "Bearer"
    assert last_refusal(server, "COMET0002") == (
        "info", "COMET0002",
        "GET /comet/room is refused: token: there is no token")

    answer = server.get("/comet/room?wait=0", grant("room", seconds=-1))
    assert answer.status == 401, answer
    assert answer.header("www-authenticate") == (
        'Bearer error="invalid_token", '
        'error_description="exp: the token has expired"')
    assert last_refusal(server, "has expired")[:2] == ("info", "COMET0002")

    for user in ("anna", None):
        answer = server.get("/comet/room?wait=0", grant("other", user=user))
        assert answer.status == 403, answer
        assert answer.header("www-authenticate") == (
            'Bearer error="insufficient_scope", error_description='
            '"it does not grant reading this channel"')
        assert last_refusal(server, "COMET0003") == (
            "info", "COMET0003", "GET /comet/room is refused: token: it does "
            "not grant reading this channel")

    answer = post(server, "/comet/room", grant("room"))
    assert answer.status == 403, answer
    assert "publishing to this channel" in answer.header("www-authenticate")
    assert post(server, "/comet/room", {}).status == 401


WRONG = {
    "alg none": encode({"alg": "none"}) + "." + encode(claims(read=["*"]))
    + ".",
    "alg none, signed": sign(claims(read=["*"]), header={"alg": "none"}),
    "RS256 as HS256": sign(claims(read=["*"]), open(
        tokens.path("rsa.pem"), encoding="ascii").read(),
        {"alg": "HS256", "kid": "rsa"}),
    "trailing dot": sign(claims(read=["*"])) + ".",
    "padding": sign(claims(read=["*"])) + "=",
    "another secret": sign(claims(read=["*"]), tokens.NEW_SECRET),
    "unknown kid": sign(claims(read=["*"]), key="rsa",
                        header={"alg": "RS256", "kid": "other"}),
    "crit": sign(claims(read=["*"]), header={"alg": "HS256", "crit": ["b64"],
                                             "b64": False}),
    "exp is a text": sign({**claims(read=["*"]), "exp": "1900000000"}),
    "exp in milliseconds": sign({**claims(read=["*"]), "exp": 1.9e12}),
    "nbf": sign(claims(read=["*"], nbf=4e9)),
    "another audience": sign(claims(read=["*"], aud="http://there")),
    "star in a word": sign(claims(read=["ro*"])),
    "7 KB, cut": sign(claims(read=["*"], x="y" * 5000))[:-1],
    "not ASCII": "\u00e4.\u00e4.\u00e4",
}


@pytest.mark.parametrize("how", sorted(WRONG))
def test_700_06_traps(server, how):
    """An invalid token gets 401, whether it is in the header, the cookie or the
    parameter."""
    token = WRONG[how]
    for headers, query in ((bearer(token), ""),
                           ({"Cookie": "comet_token=" + token}, ""),
                           ({}, "&token=" + quote(token))):
        answer = server.get("/comet/room?wait=0" + query, headers)
        assert answer.status == 401, answer
        assert 'error="invalid_token"' in answer.header("www-authenticate")


def test_700_07_long_tokens(server):
    """A token of almost 8,000 bytes is accepted.  A longer one is refused by
    the module, and an even longer one by httpd."""
    token = sign(claims(read=["*"], x="y" * 5800))
    assert 7900 < len(token) < 8000
    assert server.get("/comet/room?wait=0", bearer(token)).status == 200
    token = sign(claims(read=["*"], x="y" * 5950))
    assert 8000 < len(token) < 8192
    assert server.get("/comet/room?wait=0", bearer(token)).status == 401
    token = sign(claims(read=["*"], x="y" * 6200))
    assert len(token) > 8192
    assert server.get("/comet/room?wait=0", bearer(token)).status == 400


def test_700_08_signed_by_a_pair(server):
    for header in ({"alg": "RS256", "kid": "rsa"}, {"alg": "RS256"}):
        token = sign(claims(read=["room"]), key="rsa", header=header)
        assert server.get("/comet/room?wait=0", bearer(token)).status == 200


def test_700_09_clock_skew(server):
    """CometTokenSkew extends a token's time at both ends."""
    for more, status in (({"seconds": -20}, 200), ({"seconds": -40}, 401),
                         ({"nbf": claims(seconds=20)["exp"]}, 200),
                         ({"nbf": claims(seconds=40)["exp"]}, 401)):
        answer = server.get("/comet/skewed?wait=0", grant("skewed", **more))
        assert answer.status == status, (more, answer)


def test_700_10_issuer_and_audience(server):
    good = claims(read=["x"], iss="shop", aud=["a", "http://here/named"])
    assert server.get("/named/x?wait=0", bearer(sign(good))).status == 200
    for name, value in (("iss", "other"), ("aud", "http://here"),
                        ("aud", None), ("iss", None)):
        bad = {k: v for k, v in {**good, name: value}.items() if v}
        assert server.get("/named/x?wait=0", bearer(sign(bad))).status == 401


def test_700_11_keys_of_one_use(server):
    """With for=, a key for reading does not grant publishing, and a key for
    publishing does not grant reading."""
    both = claims(read=["x"], write=["x"])
    for secret, read, write in ((tokens.SECRET, 200, 401),
                                (tokens.NEW_SECRET, 401, 201)):
        headers = bearer(sign(both, secret))
        assert server.get("/parted/x?wait=0", headers).status == read
        assert post(server, "/parted/x", headers).status == write


# -- what is granted -----------------------------------------------------------

def test_700_20_channels(server):
    headers = grant("room/*", "news", write=["news"])
    for channel, status in (("news", 200), ("room/1", 200), ("room/1/a", 200),
                            ("room", 403), ("rooms/1", 403), ("news/1", 403),
                            ("NEWS", 403), ("news/", 403), ("%6eews", 200)):
        answer = server.get("/comet/%s?wait=0" % channel, headers)
        assert answer.status == status, (channel, answer)
    assert post(server, "/comet/news", headers).status == 201
    assert post(server, "/comet/room/1", headers).status == 403


def test_700_21_several_channels(server):
    """channel= grants nothing that a channel's own URL would not grant."""
    headers = grant("room/*", "news", write=["news"])
    for query, status in (
            ("channel=news&channel=room/1", 200), ("channel=room/*", 200),
            ("channel=news&channel=other", 403), ("channel=*", 403),
            ("channel=other/*", 403), ("channel=room", 403)):
        answer = server.get("/comet?wait=0&" + query, headers)
        assert answer.status == status, (query, answer)
        assert server.get("/comet?wait=0&" + query).status == 401
        answer = server.get("/comet/news?wait=0&" + query, headers)
        assert answer.status == status, (query, answer)
    assert server.get("/comet?channel=*&wait=0", grant("*")).status == 200
    batch = b'{"channel": "news", "body": "a"}\n{"channel": "%s", "body": "b"}'
    for other, status in ((b"news", 201), (b"room/1", 403)):
        answer = server.request("POST", "/comet/news", batch % other,
                                {"Content-Type": "application/x-ndjson",
                                 **headers})
        assert answer.status == status, answer


def test_700_22_the_user(server):
    """The claim `sub` names the author of messages, and the user for limits and
    for other `Require` lines."""
    token = sign(claims("anna \u00e4", read=["*"], write=["*"]))
    assert post(server, "/comet/room", bearer(token)).status == 201
    assert sqlite(server.db, "SELECT author FROM message ORDER BY timestamp "
                  "DESC LIMIT 1") == [["anna \u00e4"]]
    for user, target, status in (
            ("anna", "/comet/own/anna", 200), ("anna", "/comet/own/bert", 403)):
        answer = server.get(target + "?wait=0", grant(user=user))
        assert answer.status == status, answer
    with Stream(server, "/comet/limited", grant("*", user="one")):
        answer = server.get("/comet/limited?wait=1", grant("*", user="one"))
        assert answer.status == 429, answer
        answer = server.get("/comet/limited?wait=1", grant("*", user="two"))
        assert answer.status == 200, answer


def test_700_23_nobody(server):
    """A token without `sub` grants channels, but names no user."""
    headers = grant("news", user=None, write=["news"])
    assert server.get("/comet/news?wait=0", headers).status == 200
    assert post(server, "/comet/news", headers).status == 201
    assert sqlite(server.db, "SELECT author IS NULL FROM message ORDER BY "
                  "timestamp DESC LIMIT 1") == [["1"]]
    token = sign(claims(user=None), tokens.NEW_SECRET)
    assert server.get("/comet/keyless?wait=0", bearer(token)).status == 401


def test_700_24_keys_of_a_section(server):
    """A section's own keys replace the outer keys.  In this section, tokens of
    its own keys name users."""
    token = sign(claims("anna"), tokens.NEW_SECRET)
    assert server.get("/comet/keyless?wait=0", bearer(token)).status == 200
    assert server.get("/comet/keyless?wait=0", grant("*")).status == 401


def test_700_25_beside_a_password(server):
    """If AuthType is also set, a client without a token may use a password."""
    basic = {"Authorization": "Basic YmVydDpzZWNyZXQ="}
    target = "/comet/beside?wait=0"
    assert server.get(target, basic).status == 200
    assert server.get(target, grant("beside")).status == 200
    answer = server.get(target)
    assert answer.status == 401
    assert answer.header("www-authenticate").startswith("Basic ")
    answer = server.get(target, grant("beside", seconds=-1))
    assert answer.status == 401
    assert answer.header("www-authenticate").startswith("Bearer ")
    assert server.get(target, grant("other")).status == 403


def test_700_26_a_classic_page(server):
    """A token grants the channel of a classic backend, too."""
    target = "/chat/backend.php?timestamp=0"
    token = sign(claims(read=["chat"], write=["chat"]))
    cookie = {"Cookie": "comet_token=" + token,
              "X-Requested-With": "XMLHttpRequest"}
    assert server.get(target + "&msg=x", cookie).status == 200
    assert server.get(target, cookie).json()["msg"] == "x"
    assert server.get(target, grant("other")).status == 403
    assert server.get(target + "&msg=x", {
        "X-Requested-With": "x", **grant("chat")}).status == 403


def test_700_27_error_documents(server):
    """A site's own error documents keep the challenge."""
    answer = server.get("/comet/documents?wait=0")
    assert answer.status == 401 and answer.body == b"a static file\n", answer
    assert answer.header("www-authenticate") == "Bearer"
    answer = server.get("/comet/documents?wait=0", grant("other"))
    assert answer.status == 403 and answer.body == b"a static file\n", answer
    assert "insufficient_scope" in answer.header("www-authenticate")


# -- logs ----------------------------------------------------------------------

def test_700_30_the_parameter_is_hidden(server):
    """A token in the parameter is hidden from logs, from mod_status and, in the
    Referer, from other sites, whether it is valid or not and however the
    parameter is spelt."""
    bad = sign(claims(read=["hidden"], seconds=-1))
    for token, name, status in ((sign(claims(read=["hidden"])), "token", 200),
                                (sign(claims(read=["hidden"])), "t%6Fken",
                                 200), (bad, "token", 401)):
        answer = server.get("/comet/hidden?wait=0&%s=%s&since=0"
                            % (name, token))
        assert answer.status == status, answer
        assert answer.header("referrer-policy") == "no-referrer"
        wait_until(lambda name=name: server.access_lines(
            "GET /comet/hidden?wait=0&%s=-&since=0 HTTP/1.1" % name), 5,
            "the line")
        tokens.assert_hidden(server)
    with Stream(server, "/comet/hidden?token="
                + sign(claims(read=["hidden"]))):
        shown = server.get("/status").body.decode()
        assert "/comet/hidden?token=-" in shown or "GET /status" in shown
        for token in tokens.ISSUED:
            assert token.split(".")[2] not in shown
    assert server.get("/comet/hidden?wait=0").header("referrer-policy") is None


# -- configuration -------------------------------------------------------------

def key_errors():
    write = tokens.write
    return {
        "": "an algorithm and a file", "HS256": "an algorithm and a file",
        "HS256 KEYS/secret kid=": "kid=NAME",
        "HS256 KEYS/secret for=writing": "for=read or for=publish",
        "none KEYS/secret": "no algorithm: expected HS256",
        "HS256 KEYS/absent": "cannot be read: No such file",
        "HS256 " + write("short", "secret"): "has 6 bytes",
        "HS256 " + write("open", tokens.SECRET, 0o644): "chmod o-r",
        "ES256 KEYS/rsa.pem": "elliptic curve P-256",
        "RS256 " + tokens.make_pair("small", "-algorithm", "RSA", "-pkeyopt",
                                    "rsa_keygen_bits:1024"): "has 1024 bits",
    }


def test_700_40_configtest(make_server):
    """`httpd -t` refuses every wrong line, and its error says what is
    allowed."""
    server = make_server(start=False)
    lines = {"CometTokenKey " + words: said
             for words, said in key_errors().items()}
    lines.update({
        "CometTokenCookie a=b": "off, or a name",
        "CometTokenParameter a&b": "off, or a name",
        "CometTokenSkew 1h": "from 0s to 300s",
        "<Location /comet>\nRequire comet-token room\n</Location>":
            "takes no arguments",
    })
    for line, said in lines.items():
        code, text = server.configtest(line.replace("KEYS", tokens.FOLDER))
        assert code != 0 and said in text, (line, text)
        assert tokens.SECRET not in text
    code, text = server.configtest(
        '<Directory "/tmp">\nCometTokenKey HS256 %s\n</Directory>'
        % tokens.path("secret"))
    assert code != 0 and "cannot occur within <Directory>" in text, text


def test_700_41_rotation(make_server):
    """A key can be replaced by two reloads: the first adds the new key, the
    second removes the old one.  Tokens of both are valid in between."""
    server = make_server(start=False)
    for name, secret in (("old", tokens.SECRET), ("next", tokens.NEW_SECRET)):
        tokens.write(name, secret)
    keys = "CometTokenKey HS256 KEYS/old kid=old\n" \
        .replace("KEYS", tokens.FOLDER)
    section = '<Location "/comet">\n%sRequire comet-token\n</Location>'
    server.conf = section % keys
    server.start()
    old, new = (bearer(sign(claims(read=["x"]), secret,
                            {"alg": "HS256", "kid": kid}))
                for secret, kid in ((tokens.SECRET, "old"),
                                    (tokens.NEW_SECRET, "next")))

    def statuses():
        return [server.get("/comet/x?wait=0", h).status for h in (old, new)]

    assert statuses() == [200, 401]
    both = keys + keys.replace("old", "next")
    for lines, expected in ((both, [200, 200]),
                            (keys.replace("old", "next"), [401, 200])):
        server.conf = section % lines
        server.conf_path(server.config_text())
        server.graceful()
        assert statuses() == expected


def test_700_42_no_key(make_server):
    """Require comet-token without any key refuses everybody, and the log says
    so."""
    server = make_server(conf="<Location /comet>\n  Require comet-token\n"
                         "</Location>")
    assert server.get("/comet/x", grant("*")).status == 403
    assert "no CometTokenKey applies to /comet/x" in server.error_log()
