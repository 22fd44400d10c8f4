# SPDX-License-Identifier: Apache-2.0
"""Several web servers on one PostgreSQL database. Applications commit late,
roll back, and prepare transactions. Everybody sees the same order."""

import contextlib
import itertools
import json
import random
import threading
import time

from comet_load import Load, Publisher
from followers import Followers
from httpd_env import PATIENCE, wait_until
from pg_env import Cluster, server_conf

ROOMS = ["room%d" % i for i in range(4)]
CHANNELS = ROOMS + ["app"]
CONF = "ListenBacklog 2000\nCometMaxSubscribers 4000\n"


def works(host):
    return host.get("/comet/any?wait=0").status == 200


def start_hosts(make_server, cluster, count, conninfo=None, extra="", **more):
    """Start web servers on a cluster, and wait until all of them reach it."""
    conf = server_conf(cluster, extra=CONF + extra, **more)
    if conninfo:
        conf["conf"] = conf["conf"].replace(cluster.conninfo, conninfo)
    hosts = [make_server(**conf) for _ in range(count)]
    for host in hosts:
        host.keep_port = True
    wait_until(lambda: all(works(host) for host in hosts), 20,
               "all servers to reach the database")
    return hosts


class Batches(Publisher):
    """Publishes batches of `size` messages. Each batch has an Idempotency-Key,
    and is sent again until the server says that it is stored.

    acked: the (timestamp, body) of each message.
    """

    size = 1

    def texts(self):
        return ["%s-%d" % (self.text(), i) for i in range(self.size)]

    def post(self):
        self.timer = None
        if self.lost or (self.stopped and not self.open_request):
            return
        if self.count is not None and self.number >= self.count:
            self.stopped = True
            self.transport.close()
            return
        body = "".join(json.dumps({"body": text}) + "\n"
                       for text in self.texts()).encode()
        if not self.open_request:
            self.asked = time.monotonic()
        self.open_request = True
        self.transport.write(
            b"POST " + self.target.encode() + b" HTTP/1.1\r\n"
            b"Host: localhost\r\nContent-Type: application/x-ndjson\r\n"
            b"Idempotency-Key: " + self.text().encode() + b"\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def on_end(self):
        if self.status in (200, 201):
            self.waits.append(time.monotonic() - self.asked)
            self.acked += zip(json.loads(self.body)["timestamps"],
                              self.texts())
            self.number += 1
            self.open_request = False
        elif self.status == 503:
            self.refused += 1
        else:
            self.errors.append("status %d: %r"
                               % (self.status, bytes(self.body[:200])))
            self.number += 1
            self.open_request = False
        pause = max(self.pause, 0.02 if self.open_request else 0)
        if b"connection: close" in self.head:
            self.transport.close()
        elif pause:
            self.timer = self.load.loop.call_later(pause, self.post)
        else:
            self.post()

    def on_lost(self, exc):
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if not self.stopped or self.open_request:
            self.load.again(self)


def publish(load, room, prefix, size, pause=0.0, count=None):
    """Start a publisher of batches."""
    def make():
        made = Batches(load, "/comet/" + room, prefix, pause, count)
        made.size = size
        return made

    return load.run(load.open_all([make]))[0]


class Application(threading.Thread):
    """Inserts messages in transactions that stay open for up to `late` seconds.
    One in eight is rolled back, and one in eight is prepared first.

    committed:    the bodies of each transaction, in the order of the commits.
    committed_at: when the transaction of a message was committed, by body.
    """

    def __init__(self, cluster, name, late):
        super().__init__(daemon=True)
        self.session, self.name_, self.late = cluster.session(), name, late
        self.rng = random.Random(name)
        self.committed, self.committed_at, self.undone = [], {}, set()
        self.over, self.failure = threading.Event(), None
        self.start()

    def run(self):
        try:
            for number in itertools.count():
                if self.over.is_set():
                    break
                self.transaction(number)
        except (AssertionError, OSError) as err:
            self.failure = err
        finally:
            self.session.close()

    def transaction(self, number):
        rng, name = self.rng, "%s-%d" % (self.name_, number)
        bodies = ["%s-%d" % (name, i) for i in range(rng.randint(1, 5))]
        self.session.run("BEGIN")
        for body in bodies:
            self.session.run("INSERT INTO comet.message(channel, body)"
                             " VALUES('app', '%s')" % body)
        self.over.wait(rng.uniform(0, self.late))
        end = rng.choice(["ROLLBACK", "PREPARE"] + 6 * ["COMMIT"])
        if end == "PREPARE":
            self.session.run("PREPARE TRANSACTION '%s'" % name)
            self.over.wait(rng.uniform(0, self.late))
            end = rng.choice(["COMMIT", "ROLLBACK"]) + " PREPARED '%s'" % name
        self.session.run(end)
        if end.startswith("COMMIT"):
            self.committed.append(bodies)
            for body in bodies:
                self.committed_at[body] = time.time()
        else:
            self.undone.update(bodies)

    def finish(self):
        self.over.set()
        self.join(30 * PATIENCE)
        assert not self.failure and not self.is_alive(), self.failure


def crowd(streams):
    """The groups of followers of a host: streams and polls of all channels."""
    return [group for channel in CHANNELS
            for group in (("events", streams, channel, "/comet/" + channel),
                          ("poll", 1, channel, "/comet/" + channel))]


def stored(cluster):
    """The (timestamp, body) of each message, in order, by channel."""
    rows = {channel: [] for channel in CHANNELS}
    text = cluster.psql("SELECT channel, id, body FROM comet.log ORDER BY id")
    for line in text.split("\n") if text else []:
        channel, stamp, body = line.split("|")
        rows[channel].append((int(stamp), body))
    return rows


def settle(cluster, loads, pubs, apps, followers, timeout):
    """Stop everybody, and compare: the rows in the database, what publishers
    and applications know to be stored, and what each follower of each host got.
    Return how late the slowest message of an application was: the seconds from
    its commit to its timestamp."""
    for load, mine in zip(loads, pubs):
        load.finish(mine, timeout)
    for app in apps:
        app.finish()
    errors = [err for mine in pubs for p in mine for err in p.errors]
    assert not errors, errors[:3]
    wait_until(lambda: cluster.psql("SELECT count(*) FROM comet.inbox") == "0",
               20, "the inbox to be empty")
    rows = stored(cluster)
    for group in followers:
        group.wait_all({channel: found[-1][0]
                        for channel, found in rows.items() if found}, timeout)
        group.judged()
        log = group.log()
        for channel in CHANNELS:
            assert log.get(channel, []) == rows[channel], channel
    acked = sorted(item for mine in pubs for p in mine for item in p.acked)
    assert acked == sorted(item for room in ROOMS for item in rows[room]), \
        "what is stored is not what was acknowledged"
    judge_apps(rows["app"], apps)
    at = {body: stamp / 1e6 for stamp, body in rows["app"]}
    return max((at[body] - when for app in apps
                for body, when in app.committed_at.items()), default=0.0)


def judge_apps(rows, apps):
    """Check that each application's messages are stored once, in the order
    of its transactions, and that none of a rolled-back one is stored."""
    bodies = [body for _, body in rows]
    assert len(bodies) == len(set(bodies))
    for app in apps:
        mine = [b for b in bodies if b.startswith(app.name_ + "-")]
        assert mine == [b for part in app.committed for b in part], app.name_
        assert not app.undone & set(bodies)


def shared_log(make_server, messages, hosts=4, batch=50, late=3.0,
               applications=3, change="", conninfo=None, timeout=120,
               pause=0.0):
    """`messages` messages are published to several web servers while
    applications insert others. Streams and polls of every server follow.

    change: SQL that breaks the schema, so that the test must fail.
    pause:  a publisher's pause between two batches.
    """
    cluster = Cluster(settings=["max_prepared_transactions=20"])
    try:
        if change:
            cluster.psql(change)
        conninfo = cluster.conninfo + (" " + conninfo if conninfo else "")
        made = start_hosts(make_server, cluster, hosts, conninfo, children=2,
                           threads=32)
        begin = time.monotonic()
        with contextlib.ExitStack() as stack:
            followers = [stack.enter_context(Followers(host, crowd(1)))
                         for host in made]
            for group in followers:
                group.wait_open()
            loads = [stack.enter_context(Load(host.port)) for host in made]
            apps = [Application(cluster, "app%d" % i, late)
                    for i in range(applications)]
            each = max(1, messages // (2 * hosts * batch))
            pubs = [[publish(load, ROOMS[(i + k) % len(ROOMS)],
                             "h%dp%d-" % (i, k), batch, pause, each)
                     for k in range(2)] for i, load in enumerate(loads)]
            wait_until(lambda: all(p.number >= each or p.errors
                                   for mine in pubs for p in mine),
                       timeout, "all messages to be published", 0.1)
            took = time.monotonic() - begin
            latest = settle(cluster, loads, pubs, apps, followers, timeout)
            seen = sum(group.report()["messages"] for group in followers)
            for group in followers:
                group.tell("leave")
        total = int(cluster.psql("SELECT count(*) FROM comet.log"))
        late_ones = sum(len(app.committed) for app in apps)
        return latest, (
            "%d hosts, %d messages in %.0f s, of them %d transactions of "
            "applications (open for up to %.0f s); %d deliveries: 0 missed, "
            "0 repeated, 0 out of order; the slowest insert was numbered "
            "%.0f ms after its commit"
            % (hosts, total, took, late_ones, late, seen, latest * 1000))
    finally:
        cluster.close()
