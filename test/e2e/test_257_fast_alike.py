# SPDX-License-Identifier: Apache-2.0
"""Random connections to two servers, of which only one has CometFastPublish:
both answer and store the same."""

import random
import re
import socket
import time

import pytest

from httpd_env import SLOW
from test_256_fast_publish import FAST, Publisher, by_hub, published

pytestmark = [pytest.mark.event, pytest.mark.long, pytest.mark.bound(240)]

LINES = ["Host: h", "Content-Type: text/plain", "Content-Length: %d"]
# Each of these takes a line's place, or stands between two lines.
ODD_LINES = [
    "Transfer-Encoding: chunked", "transfer-encoding:chunked",
    "Transfer-Encoding : chunked", "Transfer-Encoding: identity",
    "Content-Length: 5", "Content-Length:5", "Content-Length:\t5",
    "Content-Length: 5 ", "Content-Length: +5", "Content-Length: 5, 5",
    "Content-Length: 00005", "Content-Length: 0x5", "Content-Length: -1",
    "Content-Length: 99999999999999999999", " folded", "\tfolded", "X", ": x",
    "X : y", "X: a\rb", "X: a\0b", "X:\x01", "Expect: 100-continue",
    "Expect: x", "Connection: close", "Connection: keep-alive",
    "Connection: upgrade", "Upgrade: h2c", "Upgrade: websocket", "Trailer: X",
    "TE: trailers", "Content-Encoding: identity", "Content-Encoding: gzip",
    "Content-Type: application/x-www-form-urlencoded", "Idempotency-Key: k",
    "Host: other", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site",
    "Range: bytes=0-1", "If-Match: x", "If-None-Match: *", "Cookie: a=b",
    "X-HTTP-Method-Override: GET", "Content-Range: bytes 0-4/5",
    "Authorization: Basic YTpi", "X-Long: " + "y" * 3000,
    "X-Long: " + "y" * 9000]
ODD_REQUESTS = [
    "POST %s HTTP/1.0", "post %s HTTP/1.1", "POST  %s HTTP/1.1",
    "POST %s  HTTP/1.1", "POST %s HTTP/1.1 ", "POST http://h%s HTTP/1.1",
    "POST %s", "PUT %s HTTP/1.1", "HEAD %s HTTP/1.1", "POST %s HTTP/2.0",
    "POST %s HTTP/1.2", "POST %s?keep=60 HTTP/1.1", "POST %s?type=x HTTP/1.1",
    "POST %s#f HTTP/1.1", "DELETE %s HTTP/1.1", "POST /%s HTTP/1.1",
    "POST %s/ HTTP/1.1", "POST\t%s HTTP/1.1", "POST %s%%00 HTTP/1.1",
    "\r\nPOST %s HTTP/1.1", " POST %s HTTP/1.1"]
BODIES = [b"", b"x", b"hello", b"a\r\n\r\nPOST /comet/lane HTTP/1.1\r\n\r\n",
          b"\xff\xfe", b"nul\0nul", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n",
          b"y" * 8000, b"y" * 32500, b"y" * 33000]
LAST = b"GET /static.txt HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def request(chance, body, usual):
    """A POST; unless it is a usual one, something in its head is odd."""
    first, lines, end, length = "POST %s HTTP/1.1", list(LINES), "\r\n", len(body)
    kind = 9 if usual else chance.randrange(9)
    if kind < 2:
        first = chance.choice(ODD_REQUESTS)
    elif kind < 6:
        lines.insert(chance.randrange(4), chance.choice(ODD_LINES))
    elif kind == 6:
        lines[chance.randrange(3)] = chance.choice(ODD_LINES)
    elif kind == 7:
        end = chance.choice(["\n", "\r\r\n", "\r"])
    elif kind == 8:
        length = max(0, length + chance.choice([-3, -1, 1, 10]))
    target = chance.choice(["/comet/other", "/comet/", "/comet/@x"]
                           if kind == 0 else ["/comet/lane"])
    head = end.join([first % target] + lines).replace("%d", str(length))
    return (head + end + end).encode("latin-1") + body


def make_script(chance, mark):
    """What a client sends, in pieces, after the hub has its connection; None: it
    closes its side."""
    script = []
    for _ in range(chance.randrange(1, 5)):
        data = b"".join(
            request(chance, chance.choice([b"", mark]) + chance.choice(BODIES),
                    chance.random() < 0.6)
            for _ in range(chance.choice([1, 1, 1, 2])))
        cuts = [chance.randrange(len(data))
                for _ in range(chance.choice([0, 0, 0, 1, 3]))]
        for begin, end in zip([0] + sorted(cuts), sorted(cuts) + [len(data)]):
            script.append(data[begin:end])
    if chance.random() < 0.3:
        script.append(LAST)
    return script + [None]


def play(server, script, pauses):
    """Return what the server answers, and how the connection ends."""
    got = b""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(10 * SLOW)
        try:
            sock.sendall(request(random, b"first", True))
            while not got.endswith(b"}\n"):
                got += sock.recv(65536)
            for part, pause in zip(script, pauses):
                if part is None:
                    sock.shutdown(socket.SHUT_WR)
                else:
                    sock.sendall(part)
                if pause:
                    time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while True:
                data = sock.recv(65536)
                if not data:
                    return got, "closed"
                got += data
        except ConnectionResetError:
            return got, "reset"
        except TimeoutError:
            return got, "left open"


def alike(said):
    """The answers without what differs from server to server."""
    said = re.sub(rb"\b\d{16}\b", b"N", said)
    said = re.sub(rb"(?i)(port )\d+", b"", said)
    return re.sub(rb"(Date|ETag|Last-Modified|Allow|Content-Length): [^\r]*",
                  b"", said)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_257_01_answers_and_stores_alike(make_server, seed):
    both = [make_server(conf=conf + "CometFastPoll on\n") for conf in (FAST, "")]
    Publisher(both[0]).learn().conn.close()
    before, begin = published(both[0]), [0, 0]

    def stored(number):
        rows = both[number].sql("SELECT timestamp, channel, body FROM message "
                                "WHERE timestamp > %d" % begin[number])
        begin[number] = max([begin[number]] + [int(row[0]) for row in rows])
        return [row[1:] for row in rows]

    stored(0)
    for number in range(300):
        chance = random.Random(seed * 1000 + number)
        script = make_script(chance, b"<%d>" % number)
        pauses = [chance.choice([0, 0, 0, 0.01]) for _ in script]
        said = [play(server, script, pauses) for server in both]
        where = "script %d: %r" % (number, script)
        ends = [end for _, end in said]
        assert "left open" not in ends, where
        ours, theirs = [alike(text) for text, _ in said]
        if "reset" in ends:   # which removes bytes that the client has not read
            assert ours.startswith(theirs) or theirs.startswith(ours), where
        else:
            assert ours == theirs, where
        assert stored(0) == stored(1), where
    assert by_hub(both[0], before) > 20
