# SPDX-License-Identifier: Apache-2.0
"""Some clients that vanish, never read or send slowly; `make torture` has a
thousand."""

import time

import pytest

from crowd import EVENTS, WRITE_PATHS
from far import far                                     # noqa: F401
from network import flood, slowly, stuck, vanished

pytestmark = pytest.mark.heavy

# On prefork and worker each waiting client takes a process or a thread, and
# waiting clients may take at most half of these.
SOME = {"event": 60, "worker": 10, "prefork": 20}

by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
def test_440_01_vanished(make_server, mpm, path, figure):
    """When clients vanish without a FIN, the server soon frees their places."""
    figure(vanished(make_server, mpm, path, SOME[mpm]))


@by_path
@pytest.mark.event
def test_440_02_vanished_beyond_a_router(far, make_server, path,  # noqa: F811
                                         figure):
    """When clients vanish behind a router that loses all packets, the server
    soon frees their places."""
    figure(vanished(make_server, "event", path, SOME["event"], far))


@by_path
def test_440_03_never_read(make_server, mpm, path, figure):
    """Clients that never read are dropped, and the server keeps little memory
    for them."""
    figure(stuck(make_server, mpm, path, SOME[mpm]))


@by_path
@pytest.mark.event
def test_440_04_slowly(make_server, path, figure):
    """Clients that send their requests byte by byte do not affect clients that
    wait."""
    figure(slowly(make_server, "event", path, 30, threads=16, limit=2))


@by_path
def test_440_05_slow_but_alive(make_server, mpm, path):
    """A client that reads a little now and then is not dropped, even if its
    whole answer takes much longer than the server waits for a silent client."""
    server = make_server(mpm=mpm, conf=WRITE_PATHS[path]
                         + "CometHeartbeat 1s\nSendBufferSize 8192\n")
    flood(server, 8, size=20000)
    with server.raw(rcvbuf=4096) as conn:
        conn.request("GET", "/comet/lot?since=0", EVENTS)
        assert conn.head() == 200
        conn.buffer = b""
        for _ in range(6):
            time.sleep(1.2)         # the pace of this client
            while len(conn.buffer) < 15000:
                assert conn.fill(), "cut off"
            conn.buffer = b""
