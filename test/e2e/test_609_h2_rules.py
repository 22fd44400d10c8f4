# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 clients that break rules get the same answer, whether mod_comet lets
their streams wait without a thread or mod_http2 alone gives each a thread."""

import struct

import pytest

from h2_client import END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST, \
    SETTINGS, WINDOW, H2Tls
from http_client import Closed
from httpd_env import SLOW, wait_until
from test_601_h2_ghosts import EVENTS, ON, open_streams

pytestmark = [pytest.mark.event, pytest.mark.long]

SERVER = {"tls": True, "h2": True, "threads": 32, "conf": ON}
DATA, PRIORITY, PUSH, CONTINUATION, UNKNOWN = 0, 2, 5, 9, 77
MOST = 0x7fffffff


def number(value):
    return struct.pack(">I", value)


def setting(name, value):
    return struct.pack(">HI", name, value)


frame = H2Tls.frame
# Frames that break a rule.  They are sent on a connection on which streams 1
# and 3 wait.
CASES = {
    "credit beyond the maximum": frame(WINDOW, 0, 0, number(MOST)),
    "no credit": frame(WINDOW, 0, 0, number(0)),
    "credit of three bytes": frame(WINDOW, 0, 0, b"abc"),
    "a stream's credit beyond the maximum": frame(WINDOW, 0, 1, number(MOST)),
    "a stream's credit of nothing": frame(WINDOW, 0, 1, number(0)),
    "a stream's credit of three bytes": frame(WINDOW, 0, 1, b"abc"),
    "credit for a stream that is not open": frame(WINDOW, 0, 99, number(1)),
    "windows beyond the maximum": frame(SETTINGS, 0, 0, setting(4, MOST + 1)),
    "windows beyond the maximum with what was granted":
        frame(WINDOW, 0, 1, number(MOST - (1 << 20)))
        + frame(SETTINGS, 0, 0, setting(4, (1 << 20) + 1)),
    "frames that are too small": frame(SETTINGS, 0, 0, setting(5, 1)),
    "settings of three bytes": frame(SETTINGS, 0, 0, b"abc"),
    "settings of a stream": frame(SETTINGS, 0, 1, b""),
    "settings acknowledged with a payload": frame(SETTINGS, 1, 0,
                                                  setting(4, 1)),
    "unknown settings": frame(SETTINGS, 0, 0, setting(999, 1)),
    "a reset of three bytes": frame(RST, 0, 1, b"abc"),
    "a reset of a stream that is not open": frame(RST, 0, 99, number(8)),
    "a reset of the connection": frame(RST, 0, 0, number(8)),
    "a reset": frame(RST, 0, 1, number(8)),
    "two resets": 2 * frame(RST, 0, 1, number(8)),
    "a continuation of nothing": frame(CONTINUATION, 4, 1, b"x"),
    "a header block with another frame inside":
        frame(HEADERS, END_STREAM, 5, b"\x82") + frame(PING, 0, 0, b"12345678"),
    "a header block that is continued on another stream":
        frame(HEADERS, END_STREAM, 5, b"\x82")
        + frame(CONTINUATION, END_HEADERS, 7, b"\x87"),
    "a header block that is no HPACK":
        frame(HEADERS, END_STREAM | END_HEADERS, 5, b"\xff\xff\xff\xff"),
    "a request of the server": frame(HEADERS, 5, 2, b"\x82"),
    "a request with a lower number": frame(HEADERS, 5, 0, b"\x82"),
    "a request that a client promises": frame(PUSH, 4, 1, number(2) + b"\x82"),
    "a ping of three bytes": frame(PING, 0, 0, b"abc"),
    "a ping of a stream": frame(PING, 0, 1, b"12345678"),
    "a priority of three bytes": frame(PRIORITY, 0, 1, b"abc"),
    "a priority": frame(PRIORITY, 0, 1, number(0) + b"\1"),
    "a priority of a stream that depends on itself":
        frame(PRIORITY, 0, 1, number(1) + b"\1"),
    "an unknown frame": frame(UNKNOWN, 255, 1, b"x" * 100),
    "a frame larger than allowed": frame(UNKNOWN, 0, 1, b"x" * 16385),
    "data of the connection": frame(DATA, 0, 0, b"data"),
    "data of a request that is complete": frame(DATA, 0, 1, b"data"),
    "the end of a request that is complete": frame(DATA, END_STREAM, 1, b""),
    "headers of a request that is complete": frame(HEADERS, 5, 1, b"\x82"),
    "a farewell": frame(GOAWAY, 0, 0, number(0) + number(0)),
    "a farewell for an error": frame(GOAWAY, 0, 0, number(0) + number(2)),
    "a farewell of three bytes": frame(GOAWAY, 0, 0, b"abc"),
}
# In these cases RFC 9113 (section 5.1, "half-closed (remote)") demands a stream
# error, and mod_comet sends one.  mod_http2 alone ends the connection.
ONLY_THE_STREAM = {"data of a request that is complete",
                   "the end of a request that is complete",
                   "headers of a request that is complete"}
STREAM_CLOSED = 5


@pytest.fixture(name="alone", scope="module")
def fixture_alone(request):
    """Yield a server without CometParkHTTP2, where each stream that waits holds
    a thread."""
    from conftest import run_for_file
    yield from run_for_file(request, conf=ON.replace(" on", " off"))


class Client(H2Tls):
    """A client that counts the answers to its pings."""

    def __init__(self, port):
        self.answered = 0
        super().__init__(port)

    def take(self):
        if len(self.buffer) >= 9 and self.buffer[3] == PING:
            self.answered += self.buffer[4] & 1
        return super().take()

    def send_and_ping(self, frames, timeout):
        """Send frames and a ping.  The answer to the ping shows that the server
        has read the frames, because mod_http2 answers in order."""
        count = self.answered
        self.sock.sendall(frames + self.frame(PING, 0, 0, b"the last"))
        assert self.pump(lambda: self.answered > count, timeout)


def answer_to(server, frames):
    """Return what a client learns: the error of the connection, the errors of
    the streams, and whether the connection has ended."""
    with Client(server.tls_port) as conn:
        streams = open_streams(conn, 2)
        server.wait_waiting(2)
        try:
            conn.send_and_ping(frames, 10 * SLOW)
            # the first answer may come just before the connection ends
            conn.send_and_ping(b"", 10 * SLOW)
            ended = False
        except (Closed, OSError):
            ended = True
        return conn.error, [stream.reset for stream in streams], ended


@pytest.mark.parametrize("case", list(CASES))
def test_609_01_the_same_answer(server, alone, case):
    mine, other = (answer_to(which, CASES[case]) for which in (server, alone))
    if case in ONLY_THE_STREAM:
        assert mine == (None, [STREAM_CLOSED, None], False)
        assert other == (STREAM_CLOSED, [None, None], True)
    else:
        assert mine == other
    wait_until(lambda: server.waiting() == alone.waiting() == 0, 10 * SLOW,
               "nothing to wait")
