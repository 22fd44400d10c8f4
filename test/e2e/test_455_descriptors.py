# SPDX-License-Identifier: Apache-2.0
"""Children that reach the limit of their file descriptors."""

import pytest

from crowd import EVENTS, WRITE_PATHS
from descriptors import at_start, fully_taken, many_hosts, none_left, \
    serving, used_up
from h2_client import H2Tls
from httpd_env import MPMS

by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
@pytest.mark.parametrize("mpm", [m for m in MPMS if m != "prefork"])
def test_455_01_none_left(make_server, mpm, path, figure):
    """If a child cannot open any file, each request is served or gets 503, and
    no message is lost."""
    figure(none_left(make_server, mpm, path, 2))


@by_path
@pytest.mark.event
def test_455_02_used_up(make_server, path, figure):
    """If clients use up all descriptors of a child, each request is answered or
    refused."""
    figure(used_up(make_server, path))


@pytest.mark.skipif("prefork" not in MPMS, reason="prefork not chosen")
def test_455_03_at_start(make_server, figure):
    """Children that start with too few descriptors serve requests as soon as
    they have more."""
    figure(at_start(make_server, 2))


@pytest.mark.event
@pytest.mark.parametrize("limit, hosts, stores, log, target, headers", [
    (500, 20, 20, "", "/comet/x?since=0", EVENTS),
    (500, 110, 0, "", "/comet/x?since=0", EVENTS),
    # (a shell would end at once if it loaded ThreadSanitizer's library)
    (1024, 0, 0, 'CustomLog "|/usr/bin/env -u LD_PRELOAD dd of=/dev/null '
     'status=none" e2e\n', "/comet/x?since=0", {}),
    ], ids=["stores", "logs", "two each"])
def test_455_04_none_left_over(make_server, limit, hosts, stores, log, target,
                               headers, figure):
    """A child counts exactly the descriptors that stores, logs and waiting
    clients need."""
    server = make_server(start=False, mpm="event", threads=16,
                         wrapper=("prlimit", "--nofile=%d:%d" % (limit, limit)))
    server.conf = log + many_hosts(server, hosts, stores)
    server.start()
    figure(fully_taken(server, target, headers))


@pytest.mark.event
def test_455_05_http2_connections(make_server, figure):
    """A connection of HTTP/2 needs six descriptors.  Clients for which too few
    are left are told to come back, and their connections end.  No waiting
    client is cut off, and visitors are served."""
    server = make_server(mpm="event", threads=16, tls=True, h2=True,
                         wrapper=("prlimit", "--nofile=400:400"))
    (child,), clients = serving(server), []
    try:
        for _ in range(90):
            client = H2Tls(server.tls_port)
            stream = client.request("GET", "/comet/x?since=0", EVENTS)
            assert client.pump(lambda: stream.status == 200, 10)
            clients.append((client, stream))
        server.post("x", "for all")
        for client, stream in clients:
            assert client.pump(lambda: stream.ended
                               or b"for all" in stream.body(), 10)
        waiting = sum(not stream.ended for _, stream in clients)
        figure("%d of 90 wait" % waiting)
        assert 10 < waiting < 60
        assert server.waiting() == waiting
        assert server.get("/static.txt").status == 200
    finally:
        for client, _ in clients:
            client.close()
    assert "Too many open files" not in server.error_log()
    assert serving(server) == [child], "it has ended"
