# SPDX-License-Identifier: Apache-2.0
"""kill -9 of children, and of whole servers, under load."""

import os
import random
import signal
import time

from comet_load import Load
from followers import CROWD, Followers, limit
from httpd_env import alive, wait_until
from ledger import (acknowledged, holders, is_sound, longest_wait, settle,
                    wait_more)


# Search and retention, so that a kill can interrupt any work of a writer.
CONF = CROWD + "CometSearch on\nCometRetain count=500\n"
CHANNELS = ["room%d" % i for i in range(5)]


def crowd(count):
    """`count` followers, most of them streams, divided among the channels."""
    groups = []
    for channel in CHANNELS:
        part = count // len(CHANNELS) // 10
        groups += [("events", 3 * part, channel, "/parked/" + channel),
                   ("iframe", 2 * part, channel, "/comet/" + channel),
                   ("poll", part, channel, "/comet/" + channel),
                   ("poll", part, channel, "/fast/" + channel),
                   ("events", count // len(CHANNELS) - 7 * part, channel,
                    "/comet/" + channel)]
    return groups


def publishers(load, rate, each=4):
    """Start publishers. Together they send `rate` messages a second to all
    channels, if each is acknowledged at once."""
    return {channel: load.publish(each, "/comet/" + channel, "p",
                                  pause=each * len(CHANNELS) / rate)
            for channel in CHANNELS}


def figures(said, pubs):
    """The figures that both scenarios report, as text."""
    return ("%d messages acknowledged, %d of unknown outcome (%d stored); "
            "%d deliveries, 0 lost, 0 doubled"
            % (acknowledged(pubs), sum(len(p.unsure) for p in pubs),
               said["stored_untold"], said["messages"]))


def children_killed(make_server, kills, subscribers=500, rate=500):
    """Children are killed at random, each after the last one was replaced. No
    acknowledged message is lost or delivered twice. Each client that has sent
    a request gets the stored messages within a second."""
    server = make_server(mpm="event", children=3, threads=32, conf=CONF)
    server.allow_log += ["exit signal Killed"]
    rng = random.Random(1)
    with Followers(server, crowd(subscribers)) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        by_channel = publishers(load, rate)
        pubs = sum(by_channel.values(), [])
        wait_more(pubs, rate // 4)
        for _ in range(kills):
            victim = rng.choice(server.children())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not alive(v), 5, "the end")
            wait_until(lambda: len(server.children()) >= 3, 15, "its heir")
            wait_more(pubs, rng.randrange(1, rate // 4))
        followers.wait_open()
        said = settle(server, load, followers, by_channel, retained=True)
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    assert is_sound(server)
    stall = max(said["stall_us"], said["catch_up_us"]) / 1e6
    text = ("%d kills under %d/s and %d subscribers; %s; longest stall "
            "%.0f ms, of a publisher %.0f ms"
            % (kills, rate, subscribers, figures(said, pubs), stall * 1000,
               longest_wait(pubs) * 1000))
    assert stall < limit(1), text
    assert longest_wait(pubs) < limit(1), text
    assert said["cut"] >= kills, text       # otherwise a kill hit nothing
    return text


def servers_killed(make_server, kills, subscribers=500, rate=500):
    """The parent and all children are killed and started again.  No
    acknowledged message is lost or delivered twice, and no process is left
    that holds the database."""
    server = make_server(mpm="event", children=2, threads=32, conf=CONF)
    server.keep_port = True
    back = []
    with Followers(server, crowd(subscribers)) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        by_channel = publishers(load, rate)
        pubs = sum(by_channel.values(), [])
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
        said = settle(server, load, followers, by_channel, retained=True)
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    assert is_sound(server)
    text = ("%d kills under %d/s and %d subscribers; %s; all back %.1f s "
            "after a start"
            % (kills, rate, subscribers, figures(said, pubs), max(back)))
    assert said["cut"] >= kills, text
    return text
