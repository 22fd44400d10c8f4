# SPDX-License-Identifier: Apache-2.0
"""kill -9 of children, and of whole servers, under load."""

import os
import random
import signal
import time

from comet_load import Load
from followers import CROWD, Followers, limit
from httpd_env import alive, sqlite, wait_until
from ledger import acknowledged, holders, longest_wait, settle, wait_more


def crowd(count):
    """So many followers of the channel chat, most of them streams."""
    part = count // 10
    return [("events", 3 * part, "chat", "/parked/chat"),
            ("iframe", 2 * part, "chat", "/comet/chat"),
            ("poll", part, "chat", "/comet/chat"),
            ("events", count - 6 * part, "chat", "/comet/chat")]


def publishers(load, rate, count=20):
    """So many messages a second, if they are acknowledged at once."""
    return load.publish(count, "/comet/chat", "p", pause=count / rate)


def figures(said, pubs):
    """What both scenarios tell."""
    return ("%d messages acknowledged, %d of unknown outcome (%d stored); "
            "%d deliveries, 0 lost, 0 doubled"
            % (acknowledged(pubs), sum(len(p.unsure) for p in pubs),
               said["stored_untold"], said["messages"]))


def children_killed(make_server, kills, subscribers=500, rate=500):
    """Children are killed at random, the next one as soon as the last is
    replaced: nothing acknowledged is lost, nobody is given anything twice,
    and whoever has asked gets what there is within a second."""
    server = make_server(mpm="event", children=3, threads=32, conf=CROWD)
    server.allow_log += ["exit signal Killed"]
    rng = random.Random(1)
    with Followers(server, crowd(subscribers)) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        pubs = publishers(load, rate)
        wait_more(pubs, rate // 4)
        for _ in range(kills):
            victim = rng.choice(server.children())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not alive(v), 5, "the end")
            wait_until(lambda: len(server.children()) >= 3, 15, "its heir")
            wait_more(pubs, rng.randrange(1, rate // 4))
        followers.wait_open()
        said = settle(server, load, followers, {"chat": pubs})
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    stall = max(said["stall_us"], said["catch_up_us"]) / 1e6
    text = ("%d kills under %d/s and %d subscribers; %s; longest stall "
            "%.0f ms, of a publisher %.0f ms"
            % (kills, rate, subscribers, figures(said, pubs), stall * 1000,
               longest_wait(pubs) * 1000))
    assert stall < limit(1), text
    assert longest_wait(pubs) < limit(1), text
    assert said["cut"] >= kills, text       # or nobody was hit
    return text


def servers_killed(make_server, kills, subscribers=500, rate=500):
    """The parent and all children are killed and started again: nothing
    acknowledged is lost, nobody gets anything twice, no process that is left
    holds the database."""
    server = make_server(mpm="event", children=2, threads=32, conf=CROWD)
    server.keep_port = True
    back = []
    with Followers(server, crowd(subscribers)) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        pubs = publishers(load, rate)
        for _ in range(kills):
            wait_more(pubs, rate // 4)
            assert holders(server.db)
            server.kill()
            assert not holders(server.db), holders(server.db)
            begin = time.monotonic()
            server.start()
            followers.wait_open()
            back.append(time.monotonic() - begin)
        wait_more(pubs, rate // 4)
        said = settle(server, load, followers, {"chat": pubs})
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    assert sqlite(server.db, "PRAGMA integrity_check;") == [["ok"]]
    text = ("%d kills under %d/s and %d subscribers; %s; all back %.1f s "
            "after a start"
            % (kills, rate, subscribers, figures(said, pubs), max(back)))
    assert said["cut"] >= kills, text
    return text
