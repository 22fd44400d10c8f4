# SPDX-License-Identifier: Apache-2.0
"""Clients that vanish, never read, or send slowly."""

import time

from comet_load import quantile
from crowd import EVENTS, Crowd, Footprint, Others, WRITE_PATHS, deafen, \
    head, noise, read_head
from far import SERVER
from httpd_env import SANITIZER, SLOW, sqlite

HEARTBEAT = 2
BASE = """
CometHeartbeat %ds
SendBufferSize 16384
ListenBacklog 1024
CometMaxSubscribers 4000
""" % HEARTBEAT

# How a stream of each kind is requested. The server holds all of them in the
# same way.
STREAMS = (("/comet/lot?since=0", EVENTS),
           ("/comet/lot?since=0&transport=iframe", None),
           ("/clock/backend.php", None))


def streams(crowd, count, kinds=STREAMS, rcvbuf=None):
    """Let `count` clients request streams of all kinds in turn."""
    return [crowd.ask(1, *kinds[i % len(kinds)], rcvbuf=rcvbuf)[0]
            for i in range(count)]


def freed(server, before, clients, least):
    """Check that the server keeps nothing of the clients that have left, except
    what it uses again: a few pages for each connection, and for each thread
    that has used the store, a connection to the store with two descriptors."""
    pss, fds = before.grown()
    if server.mpm == "event":
        assert fds <= 2 * server.threads + 4, fds
        if SANITIZER == "none":
            assert pss <= 8192 + clients * 8 + server.threads * 384, pss
    return "%s, then %d KiB and %d descriptors more than before" \
        % (least, pss, fds)


def vanished(make_server, mpm, path, clients, far=None, threads=25,
             samples=100):
    """Clients vanish without a FIN. Within two heartbeats their places and
    memory are free. No other client is affected."""
    conf = BASE + WRITE_PATHS[path]
    if far:
        conf += "Listen %s:{port}\n" % SERVER
    server = make_server(mpm=mpm, conf=conf, threads=threads)
    with Others(server) as others, \
            Crowd(server, far.client.socket, SERVER) if far \
            else Crowd(server) as crowd:
        others.remember(samples)
        before = Footprint(server)
        socks = streams(crowd, clients)
        assert {read_head(sock).status for sock in socks} == {200}
        server.wait_waiting(clients + 1, timeout=20)
        held = before.grown()[0]
        begin = time.monotonic()
        if far:
            far.forward(False)
        else:
            for sock in socks:
                deafen(sock)
        server.wait_waiting(1, timeout=2 * HEARTBEAT + 1)
        took = time.monotonic() - begin
        said = freed(server, before, clients, "%d KiB held" % held)
        return "%d vanished, free after %.1f s; %s; %s" % (
            clients, took, said, others.judge(samples))


def flood(server, count, size=60000):
    """Publish large messages in one transaction."""
    sqlite(server.db, "BEGIN IMMEDIATE;" + "".join(
        "INSERT INTO message(channel, body) VALUES('lot', "
        "hex(zeroblob(%d)));" % (size // 2) for _ in range(count))
        + "COMMIT;")


def stuck(make_server, mpm, path, clients, threads=25, samples=100):
    """Clients never read. What the server keeps for each is limited, however
    much is published. The clients are dropped within two heartbeats, or
    within Timeout if each has a thread that writes to it."""
    hub_writes = mpm == "event" or path == "adopted"
    server = make_server(mpm=mpm, conf=BASE + WRITE_PATHS[path],
                         threads=threads, timeout=4 * HEARTBEAT)
    with Others(server) as others, Crowd(server) as crowd:
        others.remember(samples)
        before = Footprint(server)
        streams(crowd, clients, STREAMS[:2], rcvbuf=2048)
        server.wait_waiting(clients + 1, timeout=20)
        begin = time.monotonic()
        flood(server, 40)
        first = before.grown()[0]
        said = others.judge(samples // 3)
        flood(server, 40)
        second = before.grown()[0]
        if mpm == "event" and SANITIZER == "none":
            assert max(first, second) <= 16384 + clients * 512
        server.wait_waiting(1, timeout=1 + HEARTBEAT
                            * (2 if hub_writes else 4))
        took = time.monotonic() - begin
        said = freed(server, before, clients * 50,
                     "%d, then %d KiB; %s" % (first, second, said))
        return "%d never read, free after %.1f s; %s" % (clients, took, said)


class Slow:
    """Clients that send their requests one byte at a time."""

    def __init__(self, crowd, count):
        self.left = {}          # the bytes that each client has not sent yet
        self.ended = 0
        for number, sock in enumerate(crowd.connect(count)):
            data, first = self.text(number)
            sock.setblocking(False)
            sock.send(data[:first])
            self.left[sock] = data[first:]

    @staticmethod
    def text(number):
        """A request whose head or body is so long that the server gives up
        before it is complete; and how many of its bytes are sent at first."""
        if number % 2:
            return head("GET", "/comet/slow?since=0",
                        {"X-%d" % i: "x" * 5000 for i in range(10)}), 1
        start = head("POST", "/comet/slow", {"Content-Type": "text/plain",
                                             "Content-Length": "50000"})
        return start + b"x" * 50000, len(start)

    def sweep(self):
        """Let each client whose connection is still open send one byte."""
        for sock, data in list(self.left.items()):
            try:
                sock.send(data[:1])
                self.left[sock] = data[1:]
                over = not sock.recv(1000)
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over:
                del self.left[sock]
                self.ended += 1


def slowly(make_server, mpm, path, clients, threads=25, limit=4,
           samples=100):
    """Clients send heads and bodies byte by byte. They hold httpd's threads
    until mod_reqtimeout cuts them off, as they would without this module.
    Clients that already wait are not affected. In the end everything is as
    before."""
    conf = BASE + WRITE_PATHS[path] \
        + "RequestReadTimeout header=%d body=%d\n" % (limit, limit)
    server = make_server(mpm=mpm, conf=conf, threads=threads)
    with Others(server) as others, Crowd(server) as crowd:
        others.remember(samples)
        quiet = [others.arrival() for _ in range(samples)]
        before = Footprint(server)
        slow, most, felt = Slow(crowd, clients), 0, []
        begin = time.monotonic()
        rounds = -(-clients // (threads - 1))
        while slow.left:
            slow.sweep()
            felt.append(others.arrival())
            most = max(most, before.grown()[0])
            took = time.monotonic() - begin
            assert took < rounds * (limit + 4) * SLOW, slow.ended
        said = freed(server, before, clients, "%d KiB at most" % most)
        p99 = quantile(quiet, 0.99), quantile(felt, 0.99)
        if SANITIZER == "none":
            assert p99[1] <= max(2 * p99[0], noise(len(felt))), p99
            assert mpm != "event" \
                or most <= 8192 + threads * 384 + clients * 16, most
        return ("%d slow, ended after %.1f s; %s; p99 from INSERT to stream "
                "%.1f -> %.1f ms; after it, %s"
                % (clients, took, said, p99[0] * 1000, p99[1] * 1000,
                   others.judge(samples)))
