# SPDX-License-Identifier: Apache-2.0
"""Half an hour of mixed load: does anything grow?"""

import os
import statistics
import time

from comet_load import Load
from followers import CROWD, Followers
from httpd_env import fd_count, pss_kb, wait_until
from ledger import acknowledged, settle
from reloads import CRASH, crashes, every_transport, publishers, reload_once

KEPT = 2000             # how many messages a channel keeps
WAL_BYTES = 8 << 20      # checkpoints begin at 2 MB
THREADS = 64


def slope(values):
    """How much values rise from the first to the last, along the line that fits
    them best."""
    if len(values) < 2:
        return 0
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    rise = sum((i - middle) * (v - mean) for i, v in enumerate(values)) \
        / sum((i - middle) ** 2 for i in range(len(values)))
    return rise * (len(values) - 1)


def descriptors(pid):
    """Count a process's descriptors by kind: sockets, eventfds (one stands in
    for each socket that httpd has lent), and others."""
    folder = "/proc/%d/fd" % pid
    counts = [0, 0, 0]
    for name in os.listdir(folder):
        try:
            link = os.readlink(os.path.join(folder, name))
        except FileNotFoundError:
            continue                # it was just closed
        counts[0 if link.startswith("socket:") else
               1 if link == "anon_inode:[eventfd]" else 2] += 1
    return counts


def memory(server):
    """The memory of the children in KiB."""
    return sum(map(pss_kb, server.children()))


def sample(server, earlier):
    """What the server holds now. `earlier` is how many KiB its children used
    half a period ago."""
    kids = server.children()
    held, stand_ins, others = map(sum, zip(*map(descriptors, kids)))
    now = memory(server)
    return {"memory": now, "aged": now - earlier,
            "parent": pss_kb(server.pid),
            "parent fds": fd_count(server.pid),
            "sockets": held, "stand-ins": stand_ins, "other fds": others,
            "wal": size_of(server.db, "-wal"), "file": size_of(server.db)}


def size_of(db, suffix=""):
    """The size of a database's file; 0 if another server keeps the database."""
    return os.path.getsize(db + suffix) if isinstance(db, str) else 0


def check_growth(samples, clients):
    """Check that nothing grows with time; return the figures as text."""
    def column(name):
        return [s[name] for s in samples]

    total, parent = column("memory"), column("parent")
    mean, aged = sum(total) / len(total), statistics.median(column("aged"))
    text = ("memory %d KiB, rising %d, in half a period %d; parent's %d, rising %d; parent's fds "
            "%d to %d, children's but sockets %d to %d; sockets at most %d, "
            "of them lent %d; "
            "WAL at most %d KiB, file %d to %d KiB"
            % (mean, slope(total), aged,
               sum(parent) / len(parent), slope(parent),
               column("parent fds")[0], column("parent fds")[-1],
               column("other fds")[0], column("other fds")[-1],
               max(column("sockets")), max(column("stand-ins")),
               max(column("wal")) >> 10,
               column("file")[0] >> 10, column("file")[-1] >> 10))
    if len(samples) >= 10:      # with fewer, growth can be due to chance
        assert slope(total) < 0.05 * mean + 1024, (text, total)
        assert aged < 0.1 * mean + 1024, (text, column("aged"))
        assert slope(parent) < 512, (text, parent)
    assert max(column("parent fds")) == min(column("parent fds")), text
    # a thread may keep a connection to the store, with two descriptors
    assert max(column("other fds")) <= 200 + 4 * THREADS, \
        (text, column("other fds"))
    assert max(column("sockets")) < 1.1 * clients + 100, text
    assert max(column("stand-ins")) < clients, text
    assert max(column("wal")) < WAL_BYTES, text
    return text


def counted(server, followers):
    """How many messages were delivered, as the server counts them and as the
    clients do, at a moment when neither number changes."""
    for _ in range(100):
        before, said = server.status(), followers.report()
        if server.status()["delivered"] == before["delivered"]:
            return before["delivered"], said["messages"] + said["ticks"]
    raise AssertionError("it never rests")


def check_counters(server, said, everybody, followers, groups):
    """Check that comet-status counts what the clients have received."""
    status = server.status()
    assert status["published"] \
        == acknowledged(everybody) + said["stored_untold"], status
    for name in ("resynced", "turned_away", "store_errors", "repeated"):
        assert status[name] == 0, (name, status)
    followers.tell("stay")
    followers.wait_open()
    here = {}
    for kind, count, _, _ in groups:
        here[kind] = here.get(kind, 0) + count
    wait_until(lambda: {transport: count for transport, count
                        in server.status()["waiting"].items() if count} == here,
               10, repr(here))
    delivered, received = counted(server, followers)
    last = {channel: [server.post(channel, "last%d" % i)
                      for i in range(10)][-1] for channel in ("chat", "c0")}
    followers.wait_all(last)
    more = counted(server, followers)
    assert more[0] - delivered == more[1] - received, (more, received)
    return ("%d published, %d deliveries, %d connections left"
            % (status["published"], more[1], said["left"]))


def pass_time(seconds):
    """Let time pass while clients come and go."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, 2 * seconds, "time", 0.1)


def soak(make_server, seconds, period, clients=2000, rate=24, life=30):
    """Clients of every transport come and go while messages are published, with
    a reload in each period. Memory, descriptors and files do not grow, and the
    counters agree with the clients."""
    server = make_server(mpm="event", children=2, threads=THREADS, classics=1,
                         conf=CROWD + "CometRetain count=%d\n" % KEPT)
    server.allow_log += [CRASH.pattern]
    samples, groups = [], every_transport(clients)
    with Followers(server, groups, life=life) as followers, \
            Load(server.port) as load:
        followers.wait_open()
        end = time.monotonic() + seconds
        pubs = publishers(load, rate)
        while time.monotonic() < end:
            pass_time(period / 2)
            earlier = memory(server)
            pass_time(period / 2)
            samples.append(sample(server, earlier))
            reload_once(server)
            followers.judged()
        said = settle(server, load, followers, pubs, retained=True)
        counters = check_counters(server, said, pubs["chat"] + pubs["c0"],
                                  followers, groups)
        followers.tell("leave")
        server.wait_waiting(0, timeout=20)
    text = ("%d s with %d clients and %d reloads: %s; %s; %d cut off, %d "
            "children lost to httpd's own fault"
            % (seconds, clients, len(samples), counters,
               check_growth(samples, clients), said["cut"], crashes(server)))
    assert crashes(server) <= 1, text
    assert crashes(server) or said["cut"] == 0, text
    return text
