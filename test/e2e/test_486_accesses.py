# SPDX-License-Identifier: Apache-2.0
"""mod_status counts each request that has waited exactly once, whichever thread
ends it."""

import re

import pytest

from h2_client import H2Tls
from httpd_env import MPMS, sqlite, wait_until
from socket_client import Socket, close_frame
from test_255_fast_polls import Fast

EVENTS = {"Accept": "text/event-stream"}
STATUS = """ExtendedStatus On
<Location /server-status>
    SetHandler server-status
</Location>
"""
MANY = 10


class Accesses:
    """The counters of mod_status, compared with those at the beginning."""

    def __init__(self, server):
        self.server = server
        self.before = wait_until(self.settle, 5, "all earlier ones")

    def settle(self):
        """Return the counters once all earlier requests are counted: httpd counts
        a request only after its client has the answer, and its worker is busy
        until then.  From then on each reading adds only one request: the previous
        reading."""
        text = self.read_text()
        busy = re.findall("[WL]", re.search(r"Scoreboard: (\S+)", text).group(1))
        return self.counters(text) if len(busy) == 1 else None  # (this one)

    def read_text(self):
        return self.server.get("/server-status?auto").body.decode()

    @staticmethod
    def counters(text):
        return [int(re.search(name + r": (\d+)", text).group(1))
                for name in ("Total Accesses", "Total kBytes")]

    def read(self):
        return self.counters(self.read_text())

    def wait_for(self, count):
        """Wait until `count` more requests are counted, and check that there
        are no more. Return how many kB more were counted."""
        looks = [0]

        def grown():
            looks[0] += 1   # (reading the counters is a request, too)
            return self.read()[0] - self.before[0] - looks[0]

        wait_until(lambda: grown() == count, 5, "%d accesses" % count)
        assert max(grown() for _ in range(3)) <= count
        return self.read()[1] - self.before[1]


@pytest.mark.parametrize("mpm, log", [
    # (a shell would end at once if it loaded ThreadSanitizer's library)
    ("event", ""), ("event", 'CustomLog "|/usr/bin/env -u LD_PRELOAD dd '
                    'of=/dev/null status=none" e2e\n'),
    ("worker", "")])
def test_486_01_polls(make_server, mpm, log):
    """mod_status counts a poll once, whether the hub ends it, a worker ends it
    for the hub, or it blocks a thread."""
    if mpm not in MPMS:
        pytest.skip("not chosen")
    server = make_server(mpm=mpm, conf=STATUS + log, modules=("status",))
    conns = [server.raw() for _ in range(MANY)]
    stamp = server.post("counted", "first")
    accesses = Accesses(server)
    for conn in conns:
        conn.request("GET", "/comet/counted?since=%d" % stamp)
    asked = [0]

    def all_wait():
        asked[0] += 1
        return server.waiting() == MANY

    wait_until(all_wait, 5, "all to wait")
    server.post("counted", "x" * 4000)
    for conn in conns:
        assert conn.answer().status == 200
    kbytes = accesses.wait_for(MANY + 1 + asked[0])
    assert kbytes >= MANY * 4000 // 1024
    for conn in conns:
        conn.close()


@pytest.mark.event
def test_486_02_polls_answered_by_the_hub(make_server):
    """Polls that only the hub sees (CometFastPoll) are counted, too."""
    server = make_server(conf=STATUS + "CometFastPoll on\n",
                         modules=("status",))
    with Fast(server).learn() as client:
        accesses = Accesses(server)
        fast = server.status()["fast_polls"]
        for number in range(5):
            client.ask()
            wait_until(lambda: server.get("/static.txt").status == 200)
            server.post("fast", "again %d" % number)
            assert client.take() == ["again %d" % number]
        counted = server.status()["fast_polls"] - fast
        assert counted > 0
        # Two requests for comet-status, and for each poll a static file, a
        # message and the poll itself.
        accesses.wait_for(2 + 5 * 3)


@pytest.mark.parametrize("adopt", ["on", "off"])
def test_486_03_streams(make_server, mpm, adopt):
    """A stream is counted once, with its size in bytes, when it has ended."""
    server = make_server(mpm=mpm, modules=("status",),
                         conf=STATUS + "CometAdopt %s\n" % adopt)
    conn = server.raw()
    server.post("counted", "first")
    accesses = Accesses(server)
    conn.request("GET", "/comet/counted?since=0", EVENTS)
    assert conn.head() == 200
    # (The answer to a POST might be counted with the stream's bytes.)
    sqlite(server.db, "INSERT INTO message(channel, body) "
           "VALUES('counted', '%s')" % ("y" * 60000))
    while b"yyyy\n" not in conn.chunk():
        pass
    conn.close()
    wait_until(lambda: server.access_lines("/comet/counted?since"), 5, "its end")
    kbytes = accesses.wait_for(1)
    assert kbytes >= 60000 // 1024


class Gauges:
    """Waits for values in comet-status, and counts the requests that it sends
    for them."""

    def __init__(self, server):
        self.server, self.looks = server, 0

    def wait(self, name, value):
        def reached():
            self.looks += 1
            return self.server.status()[name] == value
        wait_until(reached, 5, "%s: %d" % (name, value))


@pytest.fixture(name="site")
def fixture_site(make_server):
    return make_server(
        tls=True, h2=True, modules=("status",),
        conf=STATUS + "CometTransports all websocket\nCometAdoptTLS on\n")


@pytest.mark.event
def test_486_04_websocket(site):
    """A WebSocket is counted once."""
    accesses = Accesses(site)
    with Socket(site, "/comet/counted?transport=websocket") as socket:
        socket.opened()
        socket.send(close_frame(1000))
        socket.until_close()
    accesses.wait_for(1)


@pytest.mark.event
def test_486_05_adopted_tls(site):
    """An adopted stream over TLS is counted once."""
    accesses, gauges = Accesses(site), Gauges(site)
    with site.raw(tls=True) as conn:
        conn.request("GET", "/comet/counted", EVENTS)
        assert conn.head() == 200
        gauges.wait("adopted", 1)
    gauges.wait("adopted", 0)
    accesses.wait_for(1 + gauges.looks)


@pytest.mark.event
def test_486_06_ghosts(site):
    """Polls and streams over HTTP/2 that wait without a thread are counted once
    each."""
    stamp = site.post("counted", "first")
    with H2Tls(site.tls_port) as conn:
        accesses, gauges = Accesses(site), Gauges(site)
        poll = conn.request("GET", "/comet/counted?since=%d" % stamp)
        gauges.wait("ghosts", 1)
        site.post("counted", "second")
        assert conn.finish(poll, 5).status == 200
        accesses.wait_for(1 + 1 + gauges.looks)
        accesses, gauges = Accesses(site), Gauges(site)
        events = conn.request("GET", "/comet/counted?transport=events")
        gauges.wait("ghosts", 1)
        conn.cancel(events)
        gauges.wait("ghosts", 0)
        accesses.wait_for(1 + gauges.looks)
