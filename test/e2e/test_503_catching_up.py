# SPDX-License-Identifier: Apache-2.0
"""Many streams catch up on a long history while another stream is up to
date."""

import subprocess
import sys
import time

import pytest

from httpd_env import SLOW
from stream_client import Stream, post
from test_491_cheap import fill

# A program that reads event streams as fast as it can.
GREEDY = r"""
import selectors, socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
chosen = selectors.DefaultSelector()
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(b"GET /comet/old?since=0 HTTP/1.1\r\nHost: x\r\n"
                 b"Accept: text/event-stream\r\n\r\n")
    chosen.register(sock, selectors.EVENT_READ)
print("all are open", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.recv(1 << 20)
"""


@pytest.mark.event
@pytest.mark.long
@pytest.mark.serial
def test_503_01_live_beside_many_that_catch_up(make_server, figure):
    """200 streams read 80 MB each at full speed, in their own process.  A
    stream that is up to date still gets each message at once."""
    server = make_server(mpm="event", children=1)
    for _ in range(32):
        fill(server, [("old", "y" * 50000)] * 50)
    delays = []
    with Stream(server, "/comet/live") as live, subprocess.Popen(
            [sys.executable, "-c", GREEDY, str(server.port), "200"],
            stdout=subprocess.PIPE) as greedy:
        try:
            greedy.stdout.readline()
            for number in range(40):
                begin = time.monotonic()
                post(server, "live", str(number))
                live.until(number + 1)
                delays.append(time.monotonic() - begin)
        finally:
            greedy.kill()
    delays.sort()
    figure("beside 200 that catch up: median %.0f ms, most %.0f ms"
           % (delays[20] * 1e3, delays[-1] * 1e3))
    assert delays[20] < 0.06 * SLOW, delays
