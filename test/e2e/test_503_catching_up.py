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

# A program that reads streams as fast as it can.
GREEDY = r"""
import selectors, socket, sys
port, count, request = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
chosen = selectors.DefaultSelector()
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(request.encode())
    chosen.register(sock, selectors.EVENT_READ)
print("all are open", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.recv(1 << 20)
"""


# The request of each kind of stream that catches up.
ASKS = {
    "events": ("/comet/old?since=0", {"Accept": "text/event-stream"}),
    "wildcard": ("/comet?channel=old/*&channel=old&since=0",
                 {"Accept": "text/event-stream"}),
}


@pytest.mark.event
@pytest.mark.long
@pytest.mark.serial
@pytest.mark.parametrize("kind", ASKS)
def test_503_01_live_beside_many_that_catch_up(make_server, figure, kind):
    """200 streams read 80 MB each at full speed, in their own process.  A
    stream that is up to date still gets each message at once."""
    server = make_server(mpm="event", children=1, conf="CometMulti on\n")
    target, headers = ASKS[kind]
    with server.raw() as conn:
        request = conn.format("GET", target, headers).decode()
    for _ in range(32):
        fill(server, [("old", "y" * 50000)] * 50)
    delays = []
    with Stream(server, "/comet/live") as live, subprocess.Popen(
            [sys.executable, "-c", GREEDY, str(server.port), "200",
             request], stdout=subprocess.PIPE) as greedy:
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
