# SPDX-License-Identifier: Apache-2.0
"""Presence in large numbers: children that are stopped, clients that vanish,
and what joins and presence itself cost."""

import glob
import os
import selectors
import signal
import struct
import threading
import time
from statistics import median

from crowd import EVENTS, Crowd, deafen, read_head
from httpd_env import SLOW, sqlite, wait_until
from members import MODULES, NAMES, named, online, told
from stream_client import Stream

HEARTBEAT = 2


def conf(grace, more=""):
    return NAMES.replace("Grace 2s", "Grace %ds" % grace) \
        .replace("CometPresence on", "CometPresence on 100000") + """
CometHeartbeat %ds
CometMaxSubscribers 4000
ListenBacklog 1024
<Location "/comet/off">
  CometPresence off
</Location>
""" % HEARTBEAT + more


def streams(crowd, channel, names):
    """Open a stream for each name, and read the heads of the answers."""
    socks = [crowd.ask(1, "/comet/" + channel, dict(EVENTS, **named(name)))[0]
             for name in names]
    assert {read_head(sock).status for sock in socks} == {200}
    return socks


def await_count(server, channel, count, timeout):
    wait_until(lambda: len(online(server, channel) or ()) == count, timeout,
               "%d in %s" % (count, channel))


def stopped(make_server, count, seconds):
    """One of two children is stopped for this long. Its members leave once and
    join once more, those of the other child stay, and no stream ends."""
    server = make_server(conf=conf(15), modules=MODULES, children=2)
    names = ["m%d" % i for i in range(count)]
    with Crowd(server) as crowd:
        socks = streams(crowd, "room", names)
        await_count(server, "room", count, 30)
        pid = int(sqlite(server.db, "SELECT pid FROM presence_holder AS h JOIN"
                         " presence_row AS r ON r.holder = h.id GROUP BY h.id"
                         " ORDER BY count(*) DESC LIMIT 1")[0][0])
        theirs = {row[0] for row in sqlite(
            server.db, "SELECT member FROM presence_row JOIN presence_holder"
            " ON holder = id WHERE pid = %d" % pid)}
        os.kill(pid, signal.SIGSTOP)
        begun = time.monotonic()
        try:
            await_count(server, "room", count - len(theirs), 60 * SLOW)
            gone = time.monotonic() - begun
            # the child is stopped for a fixed time: there is no condition to
            # wait for
            time.sleep(max(0, seconds - gone))
        finally:
            os.kill(pid, signal.SIGCONT)
        begun = time.monotonic()
        await_count(server, "room", count, 30 * SLOW)
        back = time.monotonic() - begun
        texts = told(server, "room")
        for name in names:
            assert texts.count("join " + name) == 1 + (name in theirs), name
            assert texts.count("leave " + name) == int(name in theirs), name
        sqlite(server.db, "INSERT INTO message(channel, body)"
               " VALUES('room', 'still here')")
        for sock in socks:
            data = b""
            while b"still here" not in data:
                piece = sock.recv(65536)
                assert piece, "a stream has ended"
                data += piece
    return "%d of %d members in a child that was stopped for %d s: away after" \
        " %.1f s, back %.1f s after it went on, each with one leave and one" \
        " join" % (len(theirs), count, seconds, gone, back)


def vanished(make_server, mpm, count, grace=2):
    """Clients whose packets are all lost leave within two heartbeats and the
    grace period; the others stay."""
    server = make_server(mpm=mpm, conf=conf(grace), modules=MODULES,
                         threads=4 * count)
    names = ["m%d" % i for i in range(count)]
    with Crowd(server) as crowd, Crowd(server) as others:
        socks = streams(crowd, "room", names)
        streams(others, "room", ["ann", "bob"])
        await_count(server, "room", count + 2, 30)
        for sock in socks:
            deafen(sock)
        begun = time.monotonic()
        wait_until(lambda: online(server, "room") == ["ann", "bob"], 60,
                   "those who are here")
        took = time.monotonic() - begun
        texts = told(server, "room")
        assert all(texts.count("leave " + name) == 1 for name in names)
        assert texts.count("leave ann") == 0
    # plus a commit, and this loop's delay, on a loaded machine
    assert took < 2 * HEARTBEAT + grace + 4 * SLOW, took
    return "%s: %d members whose packets are lost have left after %.1f s" \
        " (heartbeat %d s, grace %d s)" % (mpm, count, took, HEARTBEAT, grace)


# --- passing messages
# ----------------------------------------------------------

def pages_used(server):
    """How many pages of the database are in use."""
    row = sqlite(server.db, "SELECT page_count - freelist_count FROM"
                 " pragma_page_count, pragma_freelist_count")
    return int(row[0][0])


def erased(server):
    """The counter `erased`. When it grows, the children refill their rings."""
    return int(sqlite(server.db, "SELECT erased FROM comet_clock")[0][0])


def type_for(server, users, seconds, sent):
    """Publish every three seconds, for each of these users, that the user is
    typing."""
    until = time.monotonic() + seconds
    with server.raw() as conn:
        for turn in range(int(seconds / 3)):
            for user in users:
                conn.request("POST", "/comet/room?type=typing&keep=5", named(
                    user, **{"Content-Type": "text/plain"}), b"%d" % turn)
                assert conn.answer().status == 201
                sent.append(user)
            pause = until - seconds + 3 * (turn + 1) - time.monotonic()
            time.sleep(max(0, pause))   # this rate is what the test is about


def typing(make_server, users, seconds):
    """This many users type for this long. A client that is connected gets all
    their messages, no client gets them later, none is told of a gap, and
    nothing stays in the database."""
    server = make_server(conf=conf(15), modules=MODULES, children=2)
    first = server.request("POST", "/comet/room", b"first", named(
        "ann", **{"Content-Type": "text/plain"})).json()["timestamp"]
    wait_until(lambda: online(server, "room") is not None, 10, "the tables")
    before, removed = pages_used(server), erased(server)
    sent = []
    with Stream(server, "/comet/room?format=json&since=%d" % first,
                named("ann")) as stream:
        parts = [["u%d" % i for i in range(k, users, 4)] for k in range(4)]
        total = users * int(seconds / 3)
        threads = [threading.Thread(target=type_for, args=(
            server, part, seconds, sent)) for part in parts]
        threads.append(threading.Thread(target=stream.until, args=(total,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(stream.events) == len(sent) == total
        assert not [e for e in stream.events if e["type"] == "gap"]
        most = pages_used(server)
        wait_until(lambda: sqlite(
            server.db, "SELECT count(*) FROM message_log WHERE keep") == [["0"]],
            120, "upkeep")
    answer = server.get("/comet/room?wait=0&since=%d" % first,
                        named("bob")).json()
    assert answer["messages"] == [] and answer["gap"] is False
    assert erased(server) == removed
    after = pages_used(server)
    assert after <= before + 4, (before, most, after)
    return "%d users type for %d s: %d messages, all delivered to who was" \
        " there, none replayed, no gap, rings not refilled; pages used: %d" \
        " before, %d at the end, %d after upkeep" % (
            users, seconds, len(sent), before, most, after)


# --- what it costs -------------------------------------------------------------

def cpu(server):
    """The CPU time of the threads of the server's children, in seconds. The
    tests compare such times, so no thread must end between them."""
    total = 0
    for pid in server.children():
        for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
            with open(path, encoding="ascii") as stat:
                total += int(stat.read().split()[0])
    return total / 1e9


def commits(server):
    """How often the database was changed, by SQLite's counter in the index of
    the log."""
    with open(server.db + "-shm", "rb") as shm:
        return struct.unpack_from("=I", shm.read(16), 8)[0]


def poll_as(server, channel, count):
    """Send a poll, which is answered at once, for each of `count` users."""
    with server.raw() as conn:
        for i in range(count):
            conn.request("GET", "/comet/%s?since=0" % channel,
                         named("m%d" % i))
            assert conn.answer().status == 200


def joins(make_server, count):
    """Let `count` members join. Report the numbers of messages and of commits,
    and the CPU time that presence adds to these requests."""
    server = make_server(conf=conf(600), modules=MODULES, children=2)
    for channel in ("room", "off/room"):
        sqlite(server.db, "INSERT INTO message(channel, body)"
               " VALUES('%s', 'x')" % channel)
    wait_until(lambda: online(server, "room") is not None, 10, "the tables")
    poll_as(server, "off/room", 200)        # warm up
    spent = []
    for channel in ("off/room", "room"):
        begun, written = cpu(server), commits(server)
        poll_as(server, channel, count)
        if channel == "room":
            await_count(server, "room", count, 60)
        spent.append(cpu(server) - begun)
    written = commits(server) - written
    texts = told(server, "room")
    assert texts.count("join m0") == 1 and len(texts) == count
    return "%d joins: %d messages in %d commits; %.3f ms of CPU each, beyond" \
        " the %.3f ms of its poll" % (
            count, len(texts), written, 1000 * (spent[1] - spent[0]) / count,
            1000 * spent[0] / count)


class Drain(threading.Thread):
    """Reads whatever arrives on streams, and counts the messages."""

    def __init__(self, socks):
        super().__init__(daemon=True)
        self.over, self.count = False, 0
        self.selector = selectors.EpollSelector()
        for sock in socks:
            self.selector.register(sock, selectors.EVENT_READ)
        self.start()

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(0.2):
                self.count += key.fileobj.recv(1 << 18).count(b"id: ")


def fan_out(server, drain, channel, readers, count):
    """The CPU time for `count` messages to `readers` streams, in seconds. Each
    message has arrived before the next one is published; otherwise the
    machine's load would decide how many of them share a write."""
    begun = cpu(server)
    with server.raw() as conn:
        for _ in range(count):
            wanted = drain.count + readers
            conn.request("POST", "/comet/" + channel, named(
                "ann", **{"Content-Type": "text/plain"}), b"x" * 100)
            assert conn.answer().status == 201
            wait_until(lambda: drain.count >= wanted, 10, "it everywhere",
                       0.001)
    return cpu(server) - begun


def overhead(make_server, readers, count, rounds):
    """How much CPU time presence adds to the fan-out of streams. The same
    messages are sent to equally many streams with presence, without it, and
    once more without it. The order alternates. Other load affects only a
    few turns, since the times that a turn compares are measured in succession.
    The result is the median of all turns.

    @return in percent, what presence adds, and how much the two without it
    differ; and the figures as text"""
    server = make_server(conf=conf(15), modules=MODULES)
    used = {"room": [], "off/room": [], "off/other": []}
    with Crowd(server) as crowd:
        socks = [sock for channel in used for sock in streams(
            crowd, channel, ["m%d" % i for i in range(readers)])]
        await_count(server, "room", readers, 30)
        drain = Drain(socks)
        for turn in range(rounds + 1):
            for channel in sorted(used, reverse=turn % 2 == 1):
                used[channel].append(
                    fan_out(server, drain, channel, readers, count))
        drain.over = True
        drain.join()
    # the first turn warms up
    turns = list(zip(*(used[channel][1:] for channel in
                       ("room", "off/room", "off/other"))))
    share = 100 * median(2 * on / (one + two) - 1 for on, one, two in turns)
    noise = 100 * median(one / two - 1 for _, one, two in turns)
    each = [1e6 * median(column) / (readers * count) for column in zip(*turns)]
    return share, noise, "%d messages to %d streams, %d times: %.2f us of CPU" \
        " each with presence, %.2f and %.2f without: %+.1f %%; two without" \
        " differ by %+.1f %%" % (count, readers, rounds, *each, share, noise)


# --- one client that enters ever more channels
# ---------------------------------

def flood(make_server, name, seconds):
    """For this long, a client begins to read a hundred new channels and leaves,
    again and again. What the server stores because of it is bounded."""
    server = make_server(conf=conf(1, """
<Location "/comet/open">
  Require all granted
</Location>
<Location "/comet/named">
  Require valid-user
</Location>
"""), modules=MODULES)
    root = "named" if name else "open"
    until = time.monotonic() + seconds
    asked = 0
    while time.monotonic() < until:
        channels = "".join("&channel=%s/%d" % (root, asked + i)
                           for i in range(100))
        with Crowd(server) as crowd:
            sock = crowd.ask(1, "/comet/%s?since=0%s" % (root, channels),
                             dict(EVENTS, **(named(name) if name else {})))[0]
            assert read_head(sock).status == 200
        asked += 100
    wait_until(lambda: sqlite(
        server.db, "SELECT (SELECT count(*) FROM presence_row) + (SELECT"
        " count(*) FROM presence_anonymous)") == [["0"]], 60, "nobody")
    stored = int(sqlite(server.db, "SELECT count(*) FROM message")[0][0])
    text = "%s client named %d channels in %d s: %d messages stored, %d" \
        " channels not entered" % ("a" if name else "a nameless", asked,
                                   seconds, stored,
                                   server.status()["limited_joins"])
    assert stored <= 4 * (1000 + 10 * (seconds + 20)), text
    return text
