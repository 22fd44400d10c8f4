# SPDX-License-Identifier: Apache-2.0
"""One address floods a server that has limits for each address. The tests
measure how late the messages of other clients are, and how much memory the
flood takes. D2 to D12 are the names of the floods in the figures."""

import base64
import contextlib
import itertools
import os
import socket
import subprocess
import sys

from background import Background
from comet_load import quantile
from crowd import EVENTS, Crowd, Footprint, Others, head
from httpd_env import sqlite
from scale import scaled

LIMITS = "CometLimitSubscribers address=64\nCometLimitPublish address=10000/s\n"
# The flood's connections must leave room for those of other clients.
MPM = """
  ServerLimit 1
  StartServers 1
  ThreadLimit 32
  ThreadsPerChild 32
  MaxRequestWorkers 32
  MinSpareThreads 1
  MaxSpareThreads 32
  AsyncRequestWorkerFactor 64
"""
AGAIN = 0.25                # seconds between two rounds of the flood
LATER, TIMES = 0.02, 2      # how many seconds, or how many times as long as
                            # before, the messages of others may take

# A program that reads many event streams as fast as it can.
GREEDY = r"""
import selectors, socket, sys
port, count, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
chosen = selectors.DefaultSelector()
for _ in range(count):
    sock = socket.create_connection(("127.0.0.1", port),
                                    source_address=("127.0.0.2", 0))
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n"
                 b"Accept: text/event-stream\r\n\r\n" % target.encode())
    chosen.register(sock, selectors.EVENT_READ)
print("all are open", flush=True)
while True:
    for key, _ in chosen.select():
        if not key.fileobj.recv(1 << 20):
            chosen.unregister(key.fileobj)
"""

PASSWORDS = """
CometMulti on
<Location "/comet/room">
  AuthType Basic
  AuthName "users"
  AuthUserFile "{root}/conf/users"
  Require valid-user
</Location>
"""


class Flood(Background):
    """Calls `act` every AGAIN seconds."""

    def __init__(self, act):
        super().__init__()
        self.act, self.rounds = act, 0

    def run(self):
        while not self.done.wait(AGAIN):
            self.act()
            self.rounds += 1


def fill(server, channel, body, count):
    """Insert `count` messages. `channel` and `body` are SQL expressions, which
    may contain the message's number, i."""
    sqlite(server.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                      " FROM n WHERE i < %d) INSERT INTO message(channel, body)"
                      " SELECT %s, %s FROM n" % (count, channel, body),
           timeout_ms=60000)


@contextlib.contextmanager
def searches(server, crowd):
    """D2: expensive searches whose answers the client does not await."""
    fill(server, "'old'", "'the of the alpha ' || i", 20000)
    targets = itertools.cycle(
        "/comet/%s?since=0&wait=0&q=%s" % (channel, words)
        for channel in ("old", "*", "none")
        for words in ("the." * 900 + "the", "+".join(["a*"] * 32)))

    def act():
        for _ in range(40):
            crowd.ask(1, next(targets))
        crowd.leave()
    yield act


@contextlib.contextmanager
def unread_answers(server, crowd):
    """D5: long answers that are never read, and polls that are sent again."""
    fill(server, "'long'", "replace(hex(zeroblob(25000)), '0', char(1))", 5)
    fill(server, "'short'", "'x'", 1)
    crowd.ask(252, "/comet/long?since=0&wait=0", rcvbuf=4096)
    asking = crowd.connect(260)

    def act():
        for sock in asking:
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.sendall(head("GET", "/comet/short?since=0"))
                sock.recv(65536)    # the previous answer
    yield act


@contextlib.contextmanager
def slow_readers(server, crowd):
    """D6: streams of messages that consist of line feeds. Each client reads
    120 bytes a second."""
    fill(server, "'lines'", "replace(hex(zeroblob(30000)), '0', char(10))", 20)
    crowd.ask(400, "/comet/lines?since=0", EVENTS, rcvbuf=2048)

    def act():
        for sock in crowd.socks:
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.recv(30)
    yield act


@contextlib.contextmanager
def judged_anew(server, crowd):
    """D7: streams of 900 channels, each of which requires a password with a
    bcrypt hash. New channels appear again and again."""
    fill(server, "'room/' || i", "'x'", 900)
    who = {"Authorization": "Basic "
           + base64.b64encode(b"anna:secret").decode()}
    crowd.ask(20, "/comet?channel=room/*", dict(EVENTS, **who))
    server.wait_waiting(21, timeout=60)
    names = itertools.count()

    def act():
        server.request("POST", "/comet/room/new%d" % next(names), "x", dict(
            who, **{"Content-Type": "text/plain"}), timeout=60)
    yield act


@contextlib.contextmanager
def many_names(server, crowd):
    """D9: 200 connections with 100 channels each. In each round eight of them
    are replaced. (test/unit/hub/test_collisions.c tests names that collide.)"""
    names = itertools.count()

    def ask():
        crowd.ask(1, "/comet?" + "&".join(
            "channel=%d" % next(names) for _ in range(100)), EVENTS)

    for _ in range(200):
        ask()

    def act():
        for sock in crowd.socks[:8]:
            sock.close()
        del crowd.socks[:8]
        for _ in range(8):
            ask()
    yield act


@contextlib.contextmanager
def greedy_readers(server, crowd):
    """D12: 300 streams that catch up on 200 MB at full speed."""
    fill(server, "'old'", "hex(zeroblob(25000))", 4000)
    with subprocess.Popen(
            [sys.executable, "-c", GREEDY, str(server.port), "300",
             "/comet/old?since=0"], stdout=subprocess.PIPE) as greedy:
        greedy.stdout.readline()
        try:
            yield lambda: None
        finally:
            greedy.kill()


ADDRESS, THREADS = 64, 32       # the places of an address, and the server's
                                # threads
# How many KiB a thread keeps after it has made a long answer, and after it has
# turned a stream away. 300 slow readers take as much memory as 64 do.
THREAD, THREAD_REFUSING = 2560, 1280
# How many KiB each flood may take, by the table in test/bench/README.md.
FLOODS = {searches: 40000, judged_anew: 40000, many_names: 40000,
          unread_answers: ADDRESS * 1536 + THREADS * THREAD,
          slow_readers: ADDRESS * 34 + THREADS * THREAD_REFUSING,
          greedy_readers: ADDRESS * 34 + THREADS * THREAD_REFUSING}


def from_other_address():
    """A socket that is bound to the address from which the flood comes."""
    sock = socket.socket()
    sock.bind(("127.0.0.2", 0))
    return sock


def flood(make_server, path, act):
    """During the flood, the median and the p99 of the delay of other clients'
    messages are at most twice as long as before, or at most 20 ms, and memory
    stays bounded. Return a sentence of figures."""
    server = make_server(mpm="event", mpm_conf=MPM, threads=32, start=False,
                         conf=LIMITS + "CometSearch on\n" + PASSWORDS + path)
    users = os.path.join(server.root, "conf", "users")
    subprocess.run(["htpasswd", "-bcB", "-C", "9", users, "anna", "secret"],
                   check=True, timeout=30, stderr=subprocess.DEVNULL)
    os.chmod(users, 0o644)
    server.allow_log.append("COMET0010")
    server.start()
    count, rounds = scaled(300, 40), scaled(20, 4)
    with Others(server) as others:
        others.feel(100)
        before = [others.message() for _ in range(count)]
        held = Footprint(server)
        with Crowd(server, from_other_address) as crowd, \
                act(server, crowd) as again, Flood(again) as flooding:
            during = []
            while len(during) < count or flooding.rounds < rounds:
                during.append(others.message())
            kib = held.grown()[0]
    text = "%s: messages of others" % act.__doc__.split(":")[0]
    late = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        was, now = quantile(before, share), quantile(during, share)
        text += " %s %.1f -> %.1f," % (name, was * 1e3, now * 1e3)
        late += [name] if now > max(TIMES * was, LATER) else []
    text += " most %.1f -> %.1f ms; %d KiB; again %d times" % (
        max(before) * 1e3, max(during) * 1e3, kib, flooding.rounds)
    assert not late and kib < FLOODS[act], text
    return text
