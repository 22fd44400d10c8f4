# SPDX-License-Identifier: Apache-2.0
"""kill -9 of web servers, their children and their PostgreSQL server, again and
again under load. Nothing that was acknowledged is lost."""

import contextlib
import os
import random
import signal
import time

from comet_load import Load
from followers import Followers
from hosts import ROOMS, crowd, publish, settle, start_hosts
from httpd_env import PATIENCE, alive, wait_until
from pg_env import Cluster


def wait_more(pubs, count=20, timeout=30):
    """Wait until `count` more messages of every publisher are acknowledged."""
    have = [len(p.acked) for p in pubs]
    wait_until(lambda: all(len(p.acked) >= before + count
                           for p, before in zip(pubs, have)), timeout,
               "every publisher to go on", 0.02)


class Site:
    """Two web servers on a cluster, with followers and publishers on both."""

    def __init__(self, make_server, cluster, conninfo=None):
        self.cluster = cluster
        self.hosts = start_hosts(make_server, cluster, 2, conninfo,
                                 children=2, threads=32)
        for host in self.hosts:
            host.allow_log += ["exit signal Killed"]
        self.stack = contextlib.ExitStack()
        self.followers = [self.stack.enter_context(Followers(host, crowd(4)))
                          for host in self.hosts]
        for group in self.followers:
            group.wait_open()
        self.loads = [self.stack.enter_context(Load(host.port))
                      for host in self.hosts]
        self.pubs = [[publish(load, room, "h%d%s-" % (i, room), 2, 0.02)
                      for room in ROOMS[:2]]
                     for i, load in enumerate(self.loads)]

    def all_pubs(self):
        return sum(self.pubs, [])

    def finish(self, cluster=None):
        """Compare what was published, stored and received; return a sentence of
        figures."""
        settle(cluster or self.cluster, self.loads, self.pubs, [],
               self.followers, 60)
        said = [group.report() for group in self.followers]
        for group in self.followers:
            group.tell("leave")
        self.stack.close()
        return ("%d messages acknowledged: 0 lost, 0 repeated; %d deliveries; "
                "%d streams and polls were cut"
                % (sum(len(p.acked) for p in self.all_pubs()),
                   sum(s["messages"] for s in said),
                   sum(s["cut"] for s in said)))


def children_killed(make_server, kills):
    """Children of two web servers are killed at random."""
    cluster = Cluster()
    rng = random.Random(1)
    try:
        site = Site(make_server, cluster)
        for _ in range(kills):
            host = rng.choice(site.hosts)
            victim = rng.choice(host.children())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not alive(v), 5, "the end")
            wait_until(lambda h=host: len(h.children()) >= 2, 15, "its heir")
            wait_more(site.all_pubs(), 4)
        return "%d kills; %s" % (kills, site.finish())
    finally:
        cluster.close()


def servers_killed(make_server, kills):
    """One of two web servers is killed with all its children, and then started
    again."""
    cluster = Cluster()
    rng = random.Random(1)
    try:
        site = Site(make_server, cluster)
        for _ in range(kills):
            host = rng.choice(site.hosts)
            host.kill()
            host.start()
            wait_more(site.all_pubs(), 4)
        return "%d kills; %s" % (kills, site.finish())
    finally:
        cluster.close()


def first_after(pubs, begin):
    """The time of the first answer to a publisher after `begin`."""
    wait_until(lambda: any(p.answered_at > begin for p in pubs), 30,
               "a publisher to be answered", 0.005)
    return min(p.answered_at for p in pubs if p.answered_at > begin)


def watch_answers(pubs):
    """Let each publisher note when it was last told that its messages are
    stored."""
    for one in pubs:
        one.answered_at = 0.0
        before = one.on_end

        def on_end(one=one, before=before):
            if one.status in (200, 201):
                one.answered_at = time.monotonic()
            before()

        one.on_end = on_end


def database_killed(make_server, kills):
    """The PostgreSQL server is killed, and started again in the same folder."""
    cluster = Cluster()
    try:
        site = Site(make_server, cluster)
        watch_answers(site.all_pubs())
        again = []
        for _ in range(kills):
            wait_more(site.all_pubs(), 4)
            cluster.crash()
            cluster.start()
            begin = time.monotonic()
            again.append(first_after(site.all_pubs(), begin) - begin)
        text = ("%d kills; %s; publishing again at most %.2f s after the "
                "start" % (kills, site.finish(), max(again)))
        assert max(again) < 3 * PATIENCE, text
        return text
    finally:
        cluster.close()


def primaries_killed(make_server, kills):
    """The primary is killed, and its synchronous standby is promoted. The
    killed server becomes the standby of the new primary. This is repeated."""
    primary = Cluster()
    standby = primary.standby()
    first = primary
    try:
        conninfo = primary.conninfo.replace(
            primary.folder, primary.folder + "," + standby.folder) \
            + " target_session_attrs=read-write"
        site = Site(make_server, primary, conninfo)
        watch_answers(site.all_pubs())
        again = []
        for _ in range(kills):
            wait_more(site.all_pubs(), 4)
            primary.crash()
            standby.promote()
            begin = time.monotonic()
            again.append(first_after(site.all_pubs(), begin) - begin)
            wait_more(site.all_pubs(), 4)
            primary, standby = standby, primary
            standby.follow(primary)
        text = ("%d promotions of a synchronous standby; %s; publishing again "
                "at most %.2f s after a promotion, %.2f s in the mean"
                % (kills, site.finish(primary), max(again),
                   sum(again) / len(again)))
        assert max(again) < 3 * PATIENCE, text
        return text
    finally:
        for cluster in {first, primary, standby}:
            cluster.close()
