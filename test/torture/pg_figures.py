# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL costs as the store: delays, throughput, statements, and CPU
time at rest."""

import contextlib
import json
import os
import subprocess
import tempfile
import time

from background import Background
from comet_load import Load, quantile
from followers import Followers
from hosts import start_hosts
from http_client import one_request
from httpd_env import COMET_MODULE, wait_until
from listeners import Asker, Listener
from pg_env import Cluster

GENERATOR = os.path.join(os.path.dirname(COMET_MODULE), "bench", "load")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = 8192
# With these settings the server syncs to the disk, unlike pg_cluster's own.
CAREFUL = ["fsync=on", "synchronous_commit=on", "autovacuum=on"]


def milliseconds(times):
    return "p50 %.1f, p99 %.1f, max %.1f ms" % tuple(
        1000 * t for t in (quantile(times, 0.5), quantile(times, 0.99),
                           max(times)))


def arrivals(stream, sent):
    """How long each message took to arrive. `sent` maps the text of each
    message to the time when it was sent."""
    at = {body: when for _, body, when in stream.messages}
    return [at[body] - when for body, when in sent.items()]


def publish_at(host, stream, count, pause, prefix="m"):
    """Publish one message after the other. Return how long each took to
    reach the stream, and to be acknowledged."""
    sent, answered = {}, []
    conn = host.raw()
    with contextlib.closing(conn):
        for i in range(count):
            body = "%s%d" % (prefix, i)
            sent[body] = time.monotonic()
            conn.request("POST", "/comet/chat", {"Content-Type": "text/plain"},
                         body.encode())
            assert conn.head() == 201
            conn.body()
            answered.append(time.monotonic() - sent[body])
            time.sleep(pause)       # so that the servers are at rest again
    stream.wait_for("%s%d" % (prefix, count - 1), 20)
    return arrivals(stream, sent), answered


def sync_time(parent, count, pause):
    """How long the disk below `parent` takes to sync a page of PostgreSQL's
    log, at this pace: the median."""
    took = []
    with tempfile.TemporaryFile(dir=parent) as file:
        file.write(bytes(count * PAGE))
        file.flush()
        os.fsync(file.fileno())
        for i in range(count):
            time.sleep(pause)
            begin = time.monotonic()
            os.pwrite(file.fileno(), b"x" * PAGE, i * PAGE)
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - begin)
    return quantile(took, 0.5)


def far_publishing(make_server, count, pause=0.03, askers=0):
    """Publish at one web server and read a stream of another one, at rest, or
    while `askers` clients ask the first one for its history."""
    cluster = Cluster(settings=CAREFUL, parent="/var/tmp")
    try:
        here, there = start_hosts(make_server, cluster, 2, children=2,
                                  extra="CometFastPublish on\n")
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(Listener(there.port))
            for _ in range(askers):
                stack.enter_context(Asker(lambda: one_request(
                    here.port, "GET", "/comet/chat?since=0&limit=1&wait=0",
                    timeout=30), pause=0))
            took, answered = publish_at(here, stream, count, pause)
        return took, (
            "%d messages, %g ms after each answer, publisher at one server, "
            "stream at the other%s: %s; acknowledged: %s"
            % (count, 1000 * pause,
               ", %d clients ask" % askers if askers else "",
               milliseconds(took), milliseconds(answered)))
    finally:
        cluster.close()


def inserting(make_server, count):
    """INSERT with psql, and read streams of two web servers."""
    cluster = Cluster(settings=CAREFUL, parent="/var/tmp")
    try:
        here, there = start_hosts(make_server, cluster, 2, children=2)
        session, sent = cluster.session(), {}
        with Listener(there.port) as stream, Listener(here.port) as other:
            for i in range(count):
                session.run("INSERT INTO comet.message(channel, body)"
                            " VALUES('chat', 'm%d')" % i)
                sent["m%d" % i] = time.monotonic()
                time.sleep(0.03)    # so that the servers are at rest again
            stream.wait_for("m%d" % (count - 1), 20)
            other.wait_for("m%d" % (count - 1), 20)
            took = arrivals(stream, sent) + arrivals(other, sent)
        session.close()
        return took, ("%d INSERTs by psql, streams at two servers: %s after "
                      "the commit" % (count, milliseconds(took)))
    finally:
        cluster.close()


# ---- An application's transaction that stays open ------------------------------

BEGINNINGS = {
    "INSERT": "INSERT INTO comet.message(channel, body) VALUES('chat', 'late')",
    "DELETE": "DELETE FROM comet.message WHERE channel = 'old'",
    "SET CONSTRAINTS": "SET CONSTRAINTS ALL IMMEDIATE;"
                       "INSERT INTO comet.message(channel, body)"
                       " VALUES('chat', 'late')",
    "a moderator": "DELETE FROM comet.message WHERE author = 'spammer';"
                   "INSERT INTO comet.channel_retention(pattern, keep_count)"
                   " VALUES('log/*', 10)",
}


def open_transactions(make_server, seconds):
    """Publish while transactions of applications are open."""
    cluster = Cluster()
    try:
        host, = start_hosts(make_server, cluster, 1)
        cluster.psql("INSERT INTO comet.message(channel, author, body) SELECT"
                     " 'old', 'spammer', g::text FROM generate_series(1, 100) g")
        said, worst = [], 0.0
        with Listener(host.port) as stream:
            _, free = publish_at(host, stream, 50, 0.01)
            for name, sql in BEGINNINGS.items():
                session = cluster.session()
                session.run("BEGIN")
                for statement in sql.split(";"):
                    session.run(statement)
                end, took = time.monotonic() + seconds, []
                while time.monotonic() < end:
                    begin = time.monotonic()
                    host.post("chat", name)
                    took.append(time.monotonic() - begin)
                    time.sleep(0.01)    # at most 100 messages a second
                session.run("COMMIT")
                session.close()
                worst = max(worst, max(took))
                said.append("%s: %s" % (name, milliseconds(took)))
        return worst, "without: %s; while a transaction is open for %g s: %s" \
            % (milliseconds(free), seconds, "; ".join(said))
    finally:
        cluster.close()


def old_snapshot(make_server, seconds, rate=500):
    """A snapshot stays open, like that of pg_dump, while applications insert
    `rate` messages a second."""
    cluster = Cluster(settings=["autovacuum=on"], parent="/var/tmp")
    try:
        host, = start_hosts(make_server, cluster, 1,
                            extra="CometRetain count=1000\n")
        with Inserter(cluster, rate) as inserter, Listener(host.port) as stream:
            _, before = publish_at(host, stream, 300, 0.01)
            session = cluster.session()
            session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
            session.run("SELECT count(*) FROM comet.log")
            inserter.done.wait(seconds)
            _, after = publish_at(host, stream, 300, 0.01, "n")
            session.run("COMMIT")
            session.close()
            total = inserter.count
        ratio = quantile(after, 0.5) / quantile(before, 0.5)
        return ratio, ("a snapshot open for %.0f s beside %d INSERTs: "
                       "acknowledged before it %s, at its end %s"
                       % (seconds, total, milliseconds(before),
                          milliseconds(after)))
    finally:
        cluster.close()


class Inserter(Background):
    """Inserts `rate` messages a second, in the transactions of an
    application."""

    def __init__(self, cluster, rate):
        super().__init__()
        self.session, self.rate = cluster.session(), rate
        self.count = 0

    def run(self):
        while not self.done.wait(0.02):
            part = self.rate // 50
            self.session.run(
                "INSERT INTO comet.message(channel, body) SELECT 'bulk',"
                " g::text FROM generate_series(1, %d) g" % part)
            self.count += part

    def __exit__(self, *_):
        self.stop()
        self.session.close()


# ---- Throughput -----------------------------------------------------------------

def durable(make_server, seconds, batch, each):
    """Publish at two web servers, with this many publishers at each. Each has
    one child, as the manual advises. A sync of the database's disk takes
    1 ms."""
    cluster = Cluster(settings=CAREFUL + ["max_wal_size=1GB"],
                      env=slow_disk(), parent="/dev/shm")
    try:
        hosts = start_hosts(make_server, cluster, 2, children=1, threads=64,
                            extra="CometFastPublish on\n")
        url = "http://127.0.0.1:%d/comet/{channel}"
        loads = [subprocess.Popen(
            [GENERATOR, "publish", "--publish=" + url % host.port,
             "--publishers=%d" % each, "--channels=%d" % each,
             "--seconds=%g" % seconds, "--server=%d" % host.pid]
            + (["--batch=%d" % batch, "--type=application/x-ndjson"]
               if batch else []),
            stdout=subprocess.PIPE, text=True) for host in hosts]
        said = [json.loads(load.communicate(timeout=300)[0]) for load in loads]
        for one in said:
            assert one["acknowledged"] == one["sent"], one
        rate = sum(one["published_per_second"] for one in said)
        stored = int(cluster.psql("SELECT count(*) FROM comet.log"))
        assert stored == sum(one["acknowledged"] for one in said)
        return rate, ("%d publishers at each of 2 servers%s, a sync takes 1 ms:"
                      " %.0f durable messages a second"
                      % (each, ", batches of %d" % batch if batch else "", rate))
    finally:
        cluster.close()


def slow_disk():
    """The environment of a server whose syncs take 1 ms longer (shim.c)."""
    path = "/var/tmp/comet-shim-%d" % os.getpid()
    with open(path, "wb") as out:
        out.write((0).to_bytes(8, "little") + (1000).to_bytes(8, "little")
                  + bytes(24))
    os.chmod(path, 0o644)
    return {"COMET_SHIM": path, "LD_PRELOAD": os.path.join(
        os.path.dirname(COMET_MODULE), "tools", "shim.so")}


# ---- Statements
# -------------------------------------------------------------------

# The condition for statements that look into the inbox.
INBOX = "query LIKE '%comet.inbox_low%'"


class Questions:
    """Counts the statements that web servers send."""

    SETTINGS = ["shared_preload_libraries=pg_stat_statements"]

    def __init__(self, cluster):
        self.cluster = cluster
        cluster.psql("CREATE EXTENSION pg_stat_statements")

    def count(self, wanted="true"):
        """How many statements there were; with `wanted`, only those that meet
        the condition `wanted`."""
        return int(self.cluster.psql(
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements s JOIN"
            " pg_roles r ON r.oid = s.userid WHERE rolname = 'comet_httpd'"
            " AND toplevel AND " + wanted))


def polls(make_server, clients, rounds):
    """All polls of two web servers are answered at once, and are sent again
    within a second."""
    cluster = Cluster(settings=Questions.SETTINGS)
    try:
        questions = Questions(cluster)
        hosts = start_hosts(make_server, cluster, 2, children=2, threads=32,
                            extra="CometMaxSubscribers %d\n" % (2 * clients))
        each, counts, took = clients // 2, [], []
        with contextlib.ExitStack() as stack:
            crowds = [stack.enter_context(Followers(
                host, [("poll", each, "chat", "/comet/chat")], pause=500,
                connects=200)) for host in hosts]
            for crowd in crowds:
                crowd.wait_open(60)
            for i in range(rounds):
                answered = [crowd.report()["answers"] for crowd in crowds]
                before, begin = questions.count(), time.monotonic()
                stamp = hosts[i % 2].post("chat", "news %d" % i)
                for crowd, had in zip(crowds, answered):
                    crowd.wait(lambda said, had=had:
                               said["answers"] >= had + each
                               and said["open"] == each
                               and said["channels"]["chat"]["last"] >= stamp,
                               "all polls to ask again", 60)
                took.append(time.monotonic() - begin)
                counts.append(questions.count() - before)
            for crowd in crowds:
                crowd.judged()
                crowd.tell("leave")
        for host in hosts:
            # (httpd may crash if it is stopped while many connections end)
            host.wait_waiting(0, timeout=60)
            host.stop()
        return max(counts), (
            "%d polls at 2 servers are answered, and ask again within %.1f to "
            "%.1f s: %d to %d questions to the database"
            % (clients, min(took), max(took), min(counts), max(counts)))
    finally:
        cluster.close()


# ---- Following -------------------------------------------------------------------

def following(make_server, rate, seconds, shapes=((1, 1), (1, 4), (4, 4))):
    """What following the log costs the database. Each of `shapes` is a number
    of web servers, and how many children each of these has."""
    said = []
    for hosts, children in shapes:
        used = follow(make_server, hosts, children, rate, seconds)
        said.append("%d children %.1f %%" % (hosts * children, used))
    return ("the database's CPU (of a core) with %d messages a second, and: %s"
            % (rate, ", ".join(said)))


def follow(make_server, hosts, children, rate, seconds):
    cluster = Cluster(settings=["max_connections=200"])
    try:
        made = start_hosts(make_server, cluster, hosts, children=children)
        wait_until(lambda: all(len(host.children()) == children
                               for host in made), 20, "all children")
        with contextlib.ExitStack() as stack:
            load = stack.enter_context(Load(made[0].port))
            load.publish(20, "/comet/chat", "p", pause=20 / rate)
            time.sleep(2)       # until connections are made and plans cached
            database = cluster.pids()
            before, begin = cpu(database), time.monotonic()
            rows = int(cluster.psql("SELECT count(*) FROM comet.log"))
            time.sleep(seconds)
            used = (cpu(database) - before) / (time.monotonic() - begin)
            rows = int(cluster.psql("SELECT count(*) FROM comet.log")) - rows
            assert rows > 0.7 * rate * seconds, rows
        for host in made:
            host.stop()
        return 100 * used
    finally:
        cluster.close()


# ---- At rest -----------------------------------------------------------------------

def cpu(pids):
    """The CPU time that processes have used, in seconds."""
    total = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def at_rest(make_server, seconds, hosts=4, children=4):
    """What the servers cost if nobody publishes and nobody reads."""
    cluster = Cluster(settings=["max_connections=200"] + Questions.SETTINGS)
    try:
        questions = Questions(cluster)
        made = start_hosts(make_server, cluster, hosts, children=children)
        wait_until(lambda: all(len(host.children()) == children
                               for host in made), 20, "all children")
        time.sleep(11)      # until all children have counted the web servers
        web = [pid for host in made for pid in [host.pid, *host.children()]]
        database = cluster.pids()
        before, begin = (cpu(database), cpu(web)), time.monotonic()
        asked = questions.count(), questions.count(INBOX)
        time.sleep(seconds)
        took = time.monotonic() - begin
        asked = [(questions.count() - asked[0]) / took,
                 (questions.count(INBOX) - asked[1]) / took]
        used = [100 * (cpu(pids) - b) / took
                for pids, b in zip((database, web), before)]
        return used[0], asked[1], (
            "%d servers of %d children at rest: the database uses %.2f %% of a "
            "core, the web servers %.2f %%; %.0f questions a second, %.0f of "
            "them to the inbox" % (hosts, children, *used, *asked))
    finally:
        cluster.close()
