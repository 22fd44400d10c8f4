# SPDX-License-Identifier: Apache-2.0
"""CometMaxSubscribers is never exceeded, even if many clients of all kinds come
at the same moment."""

import contextlib

import pytest

from h2_client import H2
from httpd_env import wait_until
from socket_client import handshake

CAP = 4
CONF = """
CometMaxSubscribers %d
CometTransports poll events iframe websocket
CometPollTimeout 20s
CometParkHTTP2 on
""" % CAP

# a request of each kind; all are sent at once
KINDS = (
    ("GET", "/comet/a?since=0", {}),
    ("GET", "/comet/a", {"Accept": "text/event-stream"}),
    ("GET", "/comet/a?transport=iframe", {}),
    ("GET", "/comet/a", handshake()),
)


def came(server, before):
    """Return how many clients have been refused, and how many wait."""
    now = server.status()
    return (now["turned_away"] - before["turned_away"], server.waiting())


def burst(server, clients, tls):
    """Send all requests at the same moment.  CAP clients must wait, and all
    others must be refused."""
    before = server.status()
    for conn in clients:
        conn.send(conn.request_bytes)
    count = len(clients) + len(tls)
    for conn in tls:
        conn.request("GET", "/comet/a", {"accept": "text/event-stream"})
    wait_until(lambda: came(server, before) == (count - CAP, CAP), 10,
               "%d of %d clients wait: %r" % (CAP, count,
                                              came(server, before)))


def test_665_01_at_the_same_moment(make_server, mpm):
    """In ten rounds twelve or more clients of all kinds come at once, and CAP
    of them wait."""
    over_h2 = mpm == "event"
    server = make_server(mpm=mpm, threads=32, children=2, conf=CONF,
                         tls=over_h2, h2=over_h2)
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.raw()) for _ in range(12)]
            for number, conn in enumerate(clients):
                method, target, headers = KINDS[number % len(KINDS)]
                conn.request_bytes = conn.format(method, target, headers)
            tls = [stack.enter_context(H2(server.tls_port, tls=True))
                   for _ in range(4 if over_h2 else 0)]
            burst(server, clients, tls)
        server.wait_waiting(0)
