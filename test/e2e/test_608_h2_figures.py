# SPDX-License-Identifier: Apache-2.0
"""Some HTTP/2 connections with waiting streams; `make torture` has
thousands."""

import os
import socket

import pytest

from h2_client import H2Tls
from h2_many import CHROMIUM, many
from httpd_env import SLOW
from test_601_h2_ghosts import ON, numbers, open_streams

pytestmark = pytest.mark.event


def test_608_01_some(make_server, figure):
    """Ten connections with ten streams each take no threads, and each stream
    gets every message in order."""
    figure(many(make_server, 10, 10))


# The size of the client's socket buffer, and how many bytes of a download may
# arrive before a message.
KEPT_BYTES, AHEAD_BYTES = 64 << 10, 250 << 10


def test_608_02_between_two_frames(make_server, figure):
    """A message overtakes the bytes of a download that mod_http2 has written,
    except those that the kernel already has."""
    server = make_server(tls=True, h2=True, threads=16, conf=ON)
    with open(os.path.join(server.docroot, "big.bin"), "wb") as out:
        out.truncate(40 << 20)
    with H2Tls(server.tls_port, *CHROMIUM) as conn, \
            H2Tls(server.tls_port) as witness:
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT_BYTES)
        stream, = open_streams(conn, 1)
        other, = open_streams(witness, 1)
        file, ahead = conn.request("GET", "/big.bin"), []
        for number in range(20):
            assert conn.pump(lambda: len(file.body()) > 1 << 20, 5 * SLOW)
            file.pieces = []        # from here on nothing is read …
            server.post("news", str(number))
            assert witness.pump(lambda n=number: numbers(other)[-1:] == [n],
                                5 * SLOW)
            assert conn.pump(lambda n=number: numbers(stream)[-1:] == [n],
                             5 * SLOW)          # … to here
            ahead.append(len(file.body()))
        assert not file.ended
    figure("at most %d KB come before a message" % (max(ahead) >> 10))
    assert max(ahead) <= AHEAD_BYTES
