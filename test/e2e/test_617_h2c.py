# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 in clear text (h2c), which proxies use.  Requests wait without a
thread if the client begins with HTTP/2.  Some tests of 601 and 603, which also
run here, show what clients see.  The tests of this file show how mod_comet
recognises such clients."""

import contextlib
import json
import socket
import subprocess

import pytest

import test_601_h2_ghosts
import test_603_h2_abuse
from h2_client import H2
from http_client import Closed
from httpd_env import SLOW, wait_until
from test_601_h2_ghosts import (  # noqa: F401  (collected here once more)
    EVENTS, ON, numbers, open_streams, wait_ghosts,
    test_601_03_a_client_that_grants_nothing, test_601_06_graceful)
from test_603_h2_abuse import (  # noqa: F401
    fixture_site, test_603_02_rules_that_end_a_stream,
    test_603_05_frames_in_bytes, test_603_06_a_header_block_in_parts,
    test_603_07_a_farewell, test_603_08_floods)

pytestmark = pytest.mark.event

# Only the second host of this address has URLs of the module.
HOSTS = """
<VirtualHost *:{port}>
  ServerName first.example
  %s
</VirtualHost>
<VirtualHost *:{port}>
  ServerName second.example
  CometStore sqlite:{data}/comet.db
  CometEndpoint /comet
  CometReplay 0
</VirtualHost>
"""
SERVER = {"h2": True, "threads": 16, "conf": ON}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Plain(socket.socket):
    """A socket whose methods a test may replace, as it may those of a TLS
    socket."""


class Clear(H2):
    """A client without TLS that takes the arguments of H2Tls."""

    def __init__(self, port, window=1 << 20, wider=1 << 24, timeout=15.0):
        super().__init__(port, timeout, window=window, wider=wider)
        self.sock = Plain(fileno=self.sock.detach())


@pytest.fixture(autouse=True)
def in_clear_text(shared_server, monkeypatch):
    """Make the tests of the other files connect without TLS."""
    for module in (test_601_h2_ghosts, test_603_h2_abuse):
        monkeypatch.setattr(module, "H2Tls", Clear)
    monkeypatch.setattr(shared_server, "tls_port", shared_server.port)


@pytest.mark.parametrize("window,wider", [(65535, 0), (1 << 20, 1 << 24)])
def test_617_01_everything_on_one_connection(server, window, wider):
    """A stream and a poll wait without a thread.  Meanwhile POSTs, a long
    message and a file pass."""
    with Clear(server.port, window, wider) as conn:
        stream, = open_streams(conn, 1)
        poll = conn.request("GET", "/comet/other?transport=poll")
        wait_ghosts(server, 2)
        assert server.status()["blocked"] == 0
        server.post("other", "polled")
        conn.finish(poll, 5 * SLOW)
        assert json.loads(poll.body())["messages"][0]["body"] == "polled"
        for number in range(20):
            assert conn.finish(conn.request(
                "POST", "/comet/news", {"content-type": "text/plain"},
                b"%d" % number), 5 * SLOW).status == 201
            server.post("news", "x" * 5000)
        assert conn.finish(conn.request("GET", "/static.txt"),
                           5 * SLOW).body() == b"a static file\n"
        assert conn.pump(lambda: numbers(stream) == list(range(20)), 5 * SLOW)
    wait_ghosts(server, 0)


def test_617_02_after_an_upgrade(server):
    """A request that has upgraded its connection waits in a thread and gets its
    message. The log says why it holds a thread."""
    since = server.post("room", "first")
    with subprocess.Popen(
            ["curl", "-sS", "--http2", "-m", "20", "-w", "%{http_version}",
             "http://127.0.0.1:%d/comet/room?since=%d" % (server.port, since)],
            stdout=subprocess.PIPE) as curl:
        server.wait_waiting(1)
        status = server.status()
        assert (status["ghosts"], status["blocked"]) == (0, 1)
        server.post("room", "second")
        answer, version = curl.communicate(timeout=20)[0][:-1], "2"
    assert json.loads(answer)["messages"][0]["body"] == "second", version
    assert "only over TLS or with prior knowledge" in server.error_log()


def test_617_03_what_does_not_begin_with_http2(server):
    """HTTP/1.1 clients on the same port are served as usual, even if one sends
    single bytes, or a part of the bytes with which HTTP/2 begins."""
    with server.raw() as conn:
        for byte in conn.format("GET", "/static.txt"):
            conn.send(bytes([byte]))
        assert conn.answer().status == 200
        stream = conn.request("GET", EVENTS)
        assert stream.head() == 200
        server.wait_waiting(1)
        assert server.status()["ghosts"] == 0
    for part in (PREFACE[:10], PREFACE[:-1], b"PRI * HTTP/1.1\r\n\r\n"):
        with server.raw() as conn, contextlib.suppress(ConnectionError):
            conn.send(part)
            conn.sock.shutdown(1)
            while conn.fill():
                pass
            assert not conn.buffer or conn.buffer.startswith(b"HTTP/1.1 400")


def test_617_04_which_host_decides(make_server):
    """The first host of an address decides whether requests wait without a
    thread, even for its other hosts.  The first host needs no URL of the
    module."""
    server = make_server(h2=True, threads=16, comet="status",
                         conf=HOSTS % "")
    for line, ghosts in (("", 1), ("CometParkHTTP2 off", 0)):
        if line:
            server.conf = HOSTS % line
            server.conf_path(server.config_text())
            server.graceful()
        with Clear(server.port) as conn:
            conn.authority = "second.example"
            open_streams(conn, 1)
            server.wait_waiting(1)
            assert server.status()["ghosts"] == ghosts
        server.wait_waiting(0)


def test_617_05_where_http2_does_not_begin(make_server):
    """If mod_http2 does not look for HTTP/2 (H2Direct off), clients that begin
    with HTTP/2 get the same answer with and without CometParkHTTP2."""
    answers = []
    server = make_server(h2=True, conf="H2Direct off\n")
    for way in ("on", "off"):
        if way == "off":
            server.conf += "CometParkHTTP2 off\n"
            server.conf_path(server.config_text())
            server.graceful()
        with server.raw() as conn:
            conn.send(PREFACE + H2.frame(4, 0, 0, b""))
            with contextlib.suppress(Closed):
                answers.append(conn.head())
    assert len(set(answers)) == 1, answers
