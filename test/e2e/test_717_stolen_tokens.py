# SPDX-License-Identifier: Apache-2.0
"""What the security page says about stolen tokens: which requests they open and
for how long, and that no log contains one."""

import pytest

import tokens
from h2_client import H2Tls
from httpd_env import wait_until
from socket_client import Socket
from stream_client import Stream
from test_701_token_ends import check_end, short
from tokens import bearer, claims, sign

tokens.write("secret", tokens.SECRET)
tokens.write("other", tokens.NEW_SECRET)

# Two endpoints that share a store but have different keys, and a location that
# another module protects.
CONF = """
CometPollTimeout 20s
CometTransports all websocket
CometEndpoint /other
CometMercure /hub
<Location "/hub">
  CometTokenKey HS256 KEYS/secret
  CometTokenCookie session
</Location>
<Location "/comet">
  CometTokenKey HS256 KEYS/secret
  CometTokenParameter token
  CometTokenCookie session
  CometMulti on
  CometPresence on
  Require comet-token
</Location>
<Location "/other">
  CometTokenKey HS256 KEYS/other
  Require comet-token
</Location>
<Location "/static.txt">
  AuthType Basic
  AuthName "site"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
""".replace("KEYS", tokens.FOLDER)

SERVER = {"conf": CONF, "modules": ("auth_basic", "authn_file", "authz_user")}
TEXT = {"Content-Type": "text/plain"}


def test_717_01_it_opens_what_it_grants(server):
    """A stolen token opens the channels that it grants, and nothing else of its
    user: no other channel, endpoint or location, and no publishing."""
    token = sign(claims("anna", read=["user/7", "room/*"]))
    for headers in (bearer(token), {"Cookie": "session=" + token}):
        for target, status in (
                ("/comet/user/7", 200), ("/comet/user/7/x", 403),
                ("/comet/user/7/@online", 403), ("/comet/user/8", 403),
                ("/comet/user", 403), ("/comet/room/1", 200),
                ("/comet/room", 403), ("/comet?channel=user/7", 200),
                ("/comet?channel=room/*", 200), ("/comet?channel=*", 403),
                ("/comet?channel=user/7/*", 403),
                ("/comet?channel=user/*", 403), ("/comet?channel=user/8", 403),
                ("/other/user/7", 401), ("/static.txt", 401),
                ("/hub?topic=user/7", 401), ("/hub?topic=*", 401),
                ("/comet-status", 200)):        # not protected
            mark = "&" if "?" in target else "?"
            answer = server.get(target + mark + "wait=0", headers)
            assert answer.status == status, (target, answer)
        for method, target in (("POST", "/comet/user/7"),
                               ("POST", "/comet/user/7/@online"),
                               ("DELETE", "/comet/user/7")):
            answer = server.request(method, target, b"x",
                                    {**TEXT, **headers})
            assert answer.status in (403, 405), (method, target, answer)
        answer = server.request("POST", "/hub", b"topic=x&data=y", {
            "Content-Type": "application/x-www-form-urlencoded", **headers})
        assert answer.status == 401, answer


@pytest.mark.parametrize("kid", [None, "kept"])
def test_717_02_a_withdrawn_key(make_server, kid):
    """If a key is removed and httpd reloaded, its tokens open nothing more.
    The streams, polls and WebSockets that they opened end."""
    key = "CometTokenKey HS256 %s%s\n"
    section = '<Location "/comet">\n%sRequire comet-token\n</Location>'
    kept = key % (tokens.path("other"), " kid=" + kid if kid else "")
    section = "CometTransports all websocket\n" + section
    server = make_server(conf=section % (
        key % (tokens.path("secret"), " kid=stolen" if kid else "") + kept))
    stolen = bearer(sign(claims(read=["x"], write=["x"]), header={
        "alg": "HS256", **({"kid": "stolen"} if kid else {})}))
    poll = server.raw()
    with Stream(server, "/comet/x", stolen) as stream, poll, \
            Socket(server, "/comet/x", stolen) as socket:
        socket.opened()
        poll.request("GET", "/comet/x?since=0", stolen)
        server.wait_waiting(3)
        server.conf = section % kept
        server.conf_path(server.config_text())
        server.graceful()
        stream.until_end()
        assert poll.answer().json()["messages"] == []
        assert socket.until_close()[0] == 1001
    assert server.get("/comet/x?wait=0", stolen).status == 401
    answer = server.request("POST", "/comet/x", b"x", {**TEXT, **stolen})
    assert answer.status == 401


@pytest.mark.event
def test_717_03_a_ghost_ends(make_server):
    """An HTTP/2 stream that waits without a thread ends with its token."""
    server = make_server(tls=True, h2=True, conf="CometParkHTTP2 on\n" + CONF,
                         modules=SERVER["modules"])
    headers, exp = short(1.5)
    with H2Tls(server.tls_port) as conn:
        stream = conn.request("GET", "/comet/x?transport=events", {
            "authorization": headers["Authorization"]})
        assert conn.pump(lambda: stream.status == 200, 5)
        wait_until(lambda: server.status()["ghosts"] == 1, 5, "a ghost")
        conn.finish(stream, 10)
        check_end(exp)
        assert b"retry: " in stream.body()


def test_717_04_no_log_has_it(server):
    """The access log has a dash in place of the token parameter, whichever way
    the client waits.  The error log has no token either."""
    wrong = sign(claims(read=["x"], seconds=-1))
    target = "/comet/x?token=" + sign(claims(read=["x"]))
    poll = server.raw()
    with Stream(server, target), poll, Socket(server, target) as socket:
        socket.opened()
        poll.request("GET", target + "&since=0",
                     {"Accept": "application/json"})
        server.wait_waiting(3)
        answer = server.request("POST", "/comet/x", b"end", {
            **TEXT, **bearer(sign(claims(write=["x"])))})
        assert answer.status == 201
        poll.answer()
    wait_until(lambda: server.waiting() == 0, 5, "nobody waits")
    wait_until(lambda: len(server.access_lines("GET /comet/x?token=-")) == 3, 5,
               "three lines")
    for headers in ({}, bearer(wrong), {"Cookie": "session=" + wrong}):
        assert server.get("/comet/x?token=" + wrong, headers).status == 401
    wait_until(lambda: len(server.access_lines("GET /comet/x?token=-")) == 6, 5,
               "six lines")
    tokens.assert_hidden(server)
