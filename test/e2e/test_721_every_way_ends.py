# SPDX-License-Identifier: Apache-2.0
"""When a token expires, each kind of client that waits with this token ends
within seconds, over HTTP/1.1 and HTTP/2."""

import contextlib
import time

import tokens
from h2_client import H2Tls
from httpd_env import SLOW, wait_until
from mercure import HUB, url
from socket_client import CLOSE, Socket
from stream_client import Stream
from test_527_websocket_h2 import H2Socket, can_connect
from test_701_token_ends import post
from tokens import bearer, claims, sign

tokens.write("secret", tokens.SECRET)

CONF = """
CometTransports all websocket
CometPollTimeout 20s
CometHeartbeat 20s
CometMaxLifetime 1h
CometMercure %s
CometReplay 0
<LocationMatch "^/(comet|.well-known)(/|$)">
  CometTokenKey HS256 KEYS/secret
  CometTokenParameter token
  CometMulti on
  CometPresence on
</LocationMatch>
<Location "/comet">
  Require expr "%%{REQUEST_METHOD} == 'POST'"
  Require comet-token
</Location>
<Location "/comet/filtered">
  SetOutputFilter DEFLATE
</Location>
""".replace("KEYS", tokens.FOLDER) % HUB


LATE = 3.0      # seconds; on an idle machine it takes less than one


def token_for(seconds):
    """Return headers with a token for everything in both protocols, and the
    time when the token expires."""
    said = claims("anna", read=["*"], seconds=seconds,
                  mercure={"subscribe": ["*"]})
    return bearer(sign(said)), said["exp"]


def socket_end(socket):
    code, _seen = socket.until_close()
    assert code == 1001 and socket.reason.startswith("retry=")


def poll_end(conn):
    assert conn.answer().json()["messages"] == []


def live(socket):
    """Change the channels of an open WebSocket."""
    socket.opened()
    socket.say({"subscribe": ["more"], "ref": 1})
    while "ref" not in socket.hear():
        pass


def open_plain(stack, server, headers):
    """Open a client for each way of waiting over HTTP/1.1.  Return a list of
    functions, one for each client: it reads until the client is told of the
    end."""
    ends = []
    for target in ("/comet/a", "/comet?channel=a&live=1", "/comet?channel=a/*"):
        socket = stack.enter_context(Socket(server, target, headers))
        if "live" in target:
            live(socket)
        else:
            socket.opened()
        ends.append(lambda socket=socket: socket_end(socket))
    for target in ("/comet/a?since=0", "/comet/filtered?since=0",
                   "/comet/a?since=0&token=" + headers["Authorization"][7:]):
        conn = stack.enter_context(server.raw())
        conn.request("GET", target, {
            **({} if "token=" in target else headers),
            "Accept-Encoding": "gzip" if "filtered" in target else "identity"})
        ends.append(conn.answer if "filtered" in target
                    else lambda conn=conn: poll_end(conn))
    for target in ("/comet/filtered", url("a")):
        stream = stack.enter_context(Stream(server, target, {
            "Accept": "text/event-stream", **headers}))
        ends.append(stream.until_end)
    return ends


def open_h2(stack, server, headers):
    """Open clients for each way of waiting over HTTP/2: in a thread, without a
    thread, and by a WebSocket.  Return functions as open_plain() does."""
    lower = {"authorization": headers["Authorization"]}
    conn = stack.enter_context(H2Tls(server.tls_port))
    streams = [conn.request("GET", target, {**lower, **more})
               for target, more in (
                   ("/comet/a", {"accept": "text/event-stream"}),
                   ("/comet/a?since=0", {}),
                   (url("a"), {"accept": "text/event-stream"}))]
    other = stack.enter_context(H2Tls(server.tls_port))
    held = [other.request("GET", "/comet/filtered", {
        **lower, **more}) for more in ({"accept": "text/event-stream"},
                                       {"accept-encoding": "gzip"})]
    ends = [lambda stream=stream: conn.finish(stream, 10)
            for stream in streams]
    ends += [lambda stream=stream: other.finish(stream, 10)
             for stream in held]
    if can_connect():
        third = stack.enter_context(H2Tls(server.tls_port))
        socket = H2Socket(third, "/comet/a", **lower)
        assert "open" in socket.hear()
        ends.append(lambda: socket.frame()[0] == CLOSE)
    return ends


def test_721_01_every_way(make_server, mpm, figure):
    """Clients of every kind wait until their common token expires, and no
    longer."""
    event = mpm == "event"
    server = make_server(mpm=mpm, threads=40, conf=CONF + (
        "CometParkHTTP2 on\nH2WebSockets on\n"
        if event and can_connect() else ""), tls=event, h2=event,
        modules=("deflate", "filter"))
    headers, exp = token_for(2.5 * SLOW)
    with contextlib.ExitStack() as stack:
        ends = open_plain(stack, server, headers)
        if event:
            ends += open_h2(stack, server, headers)
        server.wait_waiting(len(ends))
        for end in ends:
            end()
        late = time.time() - exp
        assert 0 <= late < LATE * SLOW, "%.2f s after the end" % late
        figure("%d clients are told of their token's end within %.2f s"
               % (len(ends), late))
        wait_until(lambda: server.waiting() == 0, 5, "nobody waits")
    assert server.get("/comet/a?wait=0", headers).status == 401
    post(server, "a")
