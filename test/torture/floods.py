# SPDX-License-Identifier: Apache-2.0
"""Floods beyond every limit: of channels, messages, connections and waiting
clients."""

import time

from background import Background
from comet_load import Load, quantile
from crowd import EVENTS, WRITE_PATHS, Crowd, Footprint, head, read_head
from http_client import gather
from httpd_env import SANITIZER, SLOW, wait_until

CLASSIC = "/chat/backend.php?timestamp=1"


class Pages(Background):
    """A visitor of the site, who requests one page after the other."""

    def __init__(self, server):
        super().__init__()
        self.server, self.took, self.failures = server, [], []

    def run(self):
        while not self.done.wait(0.01):
            begin = time.monotonic()
            try:
                assert self.server.get("/static.txt").status == 200
            except (OSError, ValueError, AssertionError) as err:
                self.failures.append(repr(err))
            self.took.append(time.monotonic() - begin)

    def judge(self):
        """Check that every page was served, 99 % of them soon; return a
        sentence. (Of few pages, 99 % are all, and other tests may be running
        on this machine.)"""
        have = len(self.took)
        wait_until(lambda: len(self.took) >= have + 10, 20, "more pages")
        self.stop()
        assert not self.failures, self.failures[:3]
        assert quantile(self.took, 0.99) \
            < (1.0 if len(self.took) >= 500 else 2.0) * SLOW, self.took
        return "%d pages beside, p50 %.1f, p99 %.1f ms" % (
            len(self.took), quantile(self.took, 0.5) * 1000,
            quantile(self.took, 0.99) * 1000)


def bounded(before, most_kib):
    """Check that memory has grown by at most `most_kib`; return the growth in
    KiB."""
    grown = before.grown()[0]
    assert SANITIZER != "none" or grown <= most_kib, grown
    return grown


def check_held(socks):
    """Check that each of these clients has a place: the answer's status is
    200."""
    for sock in socks:
        answer = read_head(sock)
        assert answer.status == 200, (answer, sock.recv(1000))


def read_until(sock, mark):
    """Read a stream until it contains `mark`."""
    data = b""
    while mark not in data:
        more = sock.recv(65536)
        assert more, "ended after %r" % data[-200:]
        data += more


# -- channels -------------------------------------------------------------------

def publish_to(server, names):
    """Publish one message to each channel, on one connection."""
    with server.raw(timeout=30) as conn:
        for i in range(0, len(names), 50):
            some = names[i:i + 50]
            conn.send(b"".join(
                head("POST", "/comet/" + name, {
                    "Content-Type": "text/plain", "Content-Length": "2"})
                + b"hi" for name in some))
            for name in some:
                answer = conn.answer()
                assert answer.status == 201, (name, answer)


def many_channels(make_server, path, channels, each=1000):
    """One client publishes to very many channels, then waits for all of them.
    Memory grows a little with each channel, and shrinks again when the client
    has left. A request with too many channels gets an error."""
    server = make_server(threads=16, conf=WRITE_PATHS[path] + (
        "CometMulti on\nCometReplay 0\nCometLimitChannels %d\n" % each))
    names = ["g%d/c%d" % (i // each, i) for i in range(channels)]
    groups = channels // each
    publish_to(server, names[:50])
    before = Footprint(server)
    with Pages(server) as pages:
        gather([lambda i=i: publish_to(server, names[i::4])
                for i in range(4)], 600)
        stored = bounded(before, 24576)
        with Crowd(server) as crowd:
            for i in range(groups):
                crowd.ask(1, "/comet?channel=g%d/*" % i, EVENTS)
                check_held(crowd.socks[-1:])
            server.wait_waiting(groups)
            held = bounded(before, 32768 + channels)
            server.post(names[-1], "to the last")
            read_until(crowd.socks[-1], b"to the last")
        server.wait_waiting(0)
        too_many = server.get("/comet?wait=0&channel=g0/*&channel=g1/*")
        assert too_many.status == 429, too_many
        assert "CometLimitChannels" in too_many.json()["error"]
        said = pages.judge()
    return ("%d channels: %d KiB after publishing, %d while waiting for all, "
            "%d after; %s" % (channels, stored, held, before.grown()[0],
                              said))


# -- messages -----------------------------------------------------------------------

def flood_of_publishes(make_server, path, publishers, messages):
    """Far more clients than threads publish as fast as they can, and the rate
    of another client is limited. A message that is not stored is refused at
    once with a retry time. The site is served."""
    server = make_server(threads=16, conf=WRITE_PATHS[path] + """
<Location "/comet/limited">
  CometLimitPublish address=20/s
</Location>
""")
    server.post("flood", "first")
    before = Footprint(server)
    with Load(server.port) as load, Pages(server) as pages:
        pubs = load.publish(publishers, "/comet/flood", "p",
                            each=messages // publishers)
        limited = load.publish(8, "/comet/limited", "l")
        begin = time.monotonic()
        load.wait(lambda: all(p.stopped for p in pubs),
                  60 + messages / 200, "all to be published")
        took = time.monotonic() - begin
        load.finish(limited)
        said = pages.judge()
        grown = bounded(before, 32768)
    acked = sorted(a for p in pubs for a in p.acked)
    assert not any(p.errors for p in pubs), [p.errors[:1] for p in pubs]
    assert server.rows("flood")[1:] == [text for _, text in acked]
    passed = sum(len(p.acked) for p in limited)
    errors = [e for p in limited for e in p.errors]
    assert all("429" in e and "CometLimitPublish" in e for e in errors)
    assert errors and passed <= 20 * (took + 2) + 20, (passed, took)
    return ("%d stored in %.1f s, %d x 503; limited: %d stored, %d x 429; "
            "%d KiB more; %s"
            % (len(acked), took, sum(p.refused for p in pubs), passed,
               len(errors), grown, said))


# -- connections -----------------------------------------------------------------------

WAYS = (("/comet/x?since=0", None), ("/comet/x?since=0", EVENTS),
        ("/comet/x?since=0&transport=iframe", None),
        ("/clock/backend.php", None), (CLASSIC, None))
WAITING = {
    "cap": ("CometMaxSubscribers %d\n", 503),
    "limit": ("CometLimitSubscribers address=%d\n", 429),
}


def refusals(server, connects, status, at_once):
    """Ask for places in all ways when none is free; return how many requests
    were refused. A classic poll gets "no news" instead, after a second if it
    can be held that long."""
    told = 0
    for _ in range(0, connects, at_once):
        with Crowd(server) as crowd:
            for i in range(at_once):
                crowd.ask(1, *WAYS[i % len(WAYS)])
            for i, sock in enumerate(crowd.socks):
                answer = read_head(sock)
                if WAYS[i % len(WAYS)][0] == CLASSIC:
                    assert answer.status in (200, status, 503), answer
                elif WAYS[i % len(WAYS)][1] is EVENTS:
                    assert answer.status == 200, answer     # the stream ends at
                                                            # once, too
                    assert int(answer.header("content-length"))
                else:
                    assert answer.status == status, answer
                    assert int(answer.header("retry-after")) >= 1
                told += 1
    return told


def beyond(make_server, path, what, places, connects, at_once=100):
    """There are far more clients than places. Each client without a place is
    refused, each client with a place keeps it, and the site is served."""
    directive, status = WAITING[what]
    server = make_server(threads=16, conf=WRITE_PATHS[path]
                         + directive % places)
    with Crowd(server) as crowd:
        for _ in range(5):      # many at once, to see that no place is
                                # counted twice
            crowd.leave()
            server.wait_waiting(0)
            held = crowd.ask(places, "/comet/held", EVENTS)
            check_held(held)
        server.wait_waiting(places)
        refusals(server, at_once, status, at_once)
        before = Footprint(server)
        with Pages(server) as pages:
            begin = time.monotonic()
            told = refusals(server, connects, status, at_once)
            took = time.monotonic() - begin
            said = pages.judge()
        server.wait_waiting(places)
        grown = bounded(before, 16384)
        wait_until(lambda: before.grown()[1] <= 34, 10, "the descriptors")
        server.post("held", "for those who wait")
        for sock in held:
            read_until(sock, b"for those who wait")
    server.wait_waiting(0)
    return ("%d held, %d refused in %.1f s; %d KiB more; %s"
            % (places, told, took, grown, said))


SMALL_MPM = """ServerLimit 1
StartServers 1
ThreadsPerChild 4
ThreadLimit 4
MaxRequestWorkers 4
MinSpareThreads 4
MaxSpareThreads 4
AsyncRequestWorkerFactor 20
"""


def overflow(make_server, path, clients, at_once=100):
    """More clients poll than a small MPM has connections for. The refusal of a
    classic poll can take a second. The connections that are reserved for
    the site stay free."""
    server = make_server(mpm_conf=SMALL_MPM, conf=WRITE_PATHS[path])
    server.publish("x")
    cursor = server.get("/chat/backend.php").json()["timestamp"]
    refused = 0
    with Pages(server) as pages, Crowd(server) as crowd:
        for _ in range(0, clients, at_once):
            for sock in crowd.ask(at_once, "/chat/backend.php?timestamp=%d"
                                  % cursor):
                answer = read_head(sock)
                if answer.status != 200:
                    assert answer.status == 503, answer
                    assert int(answer.header("retry-after")) >= 1
                    refused += 1
        waiting = server.waiting()
        assert 0 < waiting < 64 and refused >= clients - 64
        said = pages.judge()
    server.wait_waiting(0)
    return "%d waited, %d refused; %s" % (waiting, refused, said)
