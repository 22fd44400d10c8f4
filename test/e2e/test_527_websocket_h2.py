# SPDX-License-Identifier: Apache-2.0
"""WebSockets over HTTP/2 (RFC 8441), if mod_http2 supports them."""

import json
import os

import pytest

from h2_client import H2Tls
from httpd_env import COMET_MODULE, MODULES, SLOW, wait_until
from socket_client import CLOSE, PING, PONG, TEXT, close_frame, frame
from stream_client import post

# makes mod_http2 as strict as that of httpd 2.4.58
STRICT = 'LoadModule comet_strict_module "%s"\n' % os.path.join(
    os.path.dirname(COMET_MODULE), "tools", "mod_strict.so")
CONF = """
CometTransports all websocket
CometMulti on
<Location "/comet/streams">
  CometTransports all
</Location>
"""


def can_connect():
    """Return whether this mod_http2 has H2WebSockets (since 2.0.18, httpd
    2.4.58)."""
    with open(os.path.join(MODULES, "mod_http2.so"), "rb") as file:
        return b"H2WebSockets" in file.read()


pytestmark = pytest.mark.skipif(not can_connect(),
                                reason="this mod_http2 has no H2WebSockets")


class H2Socket:
    """A WebSocket on a stream of HTTP/2."""

    def __init__(self, conn, path, **headers):
        self.conn = conn
        self.stream = conn.connect(
            path, dict({"sec-websocket-version": "13"}, **headers))
        assert conn.pump(lambda: self.stream.status, 10 * SLOW)
        self.status, self.at = self.stream.status, 0

    def send(self, data):
        self.conn.send(self.stream, data)

    def frame(self):
        def whole():
            data = self.stream.body()[self.at:]
            head = 2 if len(data) < 2 or data[1] < 126 else 4
            if len(data) < head:
                return None
            size = data[1] if head == 2 else int.from_bytes(data[2:4], "big")
            return None if len(data) < head + size else (head, size, data)
        assert self.conn.pump(whole, 10 * SLOW), self.stream.body()
        head, size, data = whole()
        self.at += head + size
        return data[0] & 15, data[head:head + size]

    def hear(self):
        opcode, payload = self.frame()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)


@pytest.fixture(scope="module")
def site(request):
    from conftest import LIVE, shut
    from httpd_env import Httpd
    server = Httpd(conf=CONF + "H2WebSockets on\n", tls=True, h2=True,
                   threads=16, before=STRICT)
    LIVE.append(server)
    try:
        yield server.start()
    finally:
        shut(server)


def test_527_01_reads_and_publishes(site):
    """A WebSocket opens, reads, publishes, subscribes, is pinged and is closed,
    while its connection serves another request."""
    with H2Tls(site.tls_port) as conn:
        socket = H2Socket(conn, "/comet/h2?live=1")
        assert socket.status == 200
        assert list(socket.hear()) == ["open"]
        post(site, "h2", "from elsewhere")
        assert socket.hear()["body"] == "from elsewhere"
        socket.send(frame(TEXT, '{"publish": {"body": "mine"}, "ref": 1}'))
        got = [socket.hear(), socket.hear()]
        assert sorted("ref" in g for g in got) == [False, True]
        assert {g.get("stored", g.get("timestamp")) for g in got} == {
            got[0].get("stored", got[0].get("timestamp"))}
        answer = conn.finish(conn.request("GET", "/comet/h2?wait=0"), 10 * SLOW)
        assert answer.status == 200 and b"mine" in answer.body()
        socket.send(frame(TEXT, '{"subscribe": ["two"], "ref": 2}'))
        assert socket.hear()["ref"] == 2
        post(site, "two", "second")
        assert socket.hear()["channel"] == "two"
        socket.send(frame(PING, b"x"))
        assert socket.frame() == (PONG, b"x")
        socket.send(close_frame(1000))
        assert socket.frame() == (CLOSE, b"\x03\xe8")
        assert conn.pump(lambda: socket.stream.ended, 10 * SLOW)
        assert not socket.stream.reset      # no RST_STREAM with an error
    site.wait_waiting(0)


def test_527_02_leaving(site):
    """The server notices a client that resets its stream, and one that ends its
    connection."""
    with H2Tls(site.tls_port) as conn:
        socket = H2Socket(conn, "/comet/h2")
        socket.hear()
        conn.cancel(socket.stream)
        site.wait_waiting(0)
        H2Socket(conn, "/comet/h2").hear()
        site.wait_waiting(1)
    site.wait_waiting(0)


def test_527_03_refusals(site):
    """A handshake over HTTP/2 is refused with the same status as over HTTP/1.1.
    A request without a handshake is told that it needs one."""
    with H2Tls(site.tls_port) as conn:
        assert H2Socket(conn, "/comet/streams").status == 406
        assert H2Socket(conn, "/comet/x",
                        origin="https://evil.example").status == 403
        answer = conn.finish(conn.request(
            "GET", "/comet/x?transport=websocket"), 10 * SLOW)
        assert answer.status == 426 and b"handshake" in answer.body()


def test_527_04_reload(site):
    """A graceful reload closes a WebSocket over HTTP/2 with a time to
    return."""
    with H2Tls(site.tls_port) as conn:
        socket = H2Socket(conn, "/comet/quiet")
        socket.hear()
        site.graceful()
        opcode, payload = socket.frame()
        assert opcode == CLOSE and payload[2:].startswith(b"retry=")
    wait_until(lambda: site.status()["waiting"]["websocket"] == 0)
