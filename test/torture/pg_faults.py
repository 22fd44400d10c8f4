# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server hangs, hosts vanish, and a name server does not answer.
What do the web servers and their clients notice?"""

import contextlib
import socket
import struct
import threading
import time

from comet_load import quantile
from hosts import start_hosts, works
from http_client import one_request
from httpd_env import PATIENCE, SLOW, free_port, give_port, wait_until
from listeners import Asker, Listener, static_files
from pg_env import Cluster, server_conf
from shim import Shim

TEXT = {"Content-Type": "text/plain"}
HEARTBEAT = "CometHeartbeat 1s\n"
# Static files and heartbeats may take so many seconds longer than before the
# fault.
FILES, BEATS = 0.25 * PATIENCE, 2.5 * PATIENCE


def poster(host, channel="chat"):
    """A client that publishes again and again."""
    return Asker(lambda: one_request(host.port, "POST", "/comet/" + channel,
                                     b"news", TEXT, timeout=60), pause=0.1)


def getter(host):
    """A client that asks for the history again and again."""
    return Asker(lambda: one_request(host.port, "GET",
                                     "/comet/chat?since=0&wait=0", timeout=60),
                 pause=0.1)


def figures_of(files):
    took = [t for _, t, _ in files.answers]
    return quantile(took, 0.99)


def check_calm(files, before, stream, begin):
    """Check that static files and heartbeats are as fast as before the
    fault."""
    late, gap = figures_of(files), stream.silence(begin)
    assert files.statuses() == {200}, files.statuses()
    assert late < figures_of(before) + FILES, (late, figures_of(before))
    assert gap < BEATS, gap
    return ("static files p99 %.0f ms (before: %.0f), longest time between "
            "heartbeats %.1f s"
            % (late * 1000, figures_of(before) * 1000, gap))


def publishes(host):
    return one_request(host.port, "POST", "/comet/chat", b"again", TEXT,
                       timeout=30).status == 201


def hanging(make_server, seconds):
    """All processes of the database server are stopped for a while."""
    cluster = Cluster()
    try:
        host, other = start_hosts(make_server, cluster, 2, extra=HEARTBEAT,
                                  threads=32, children=2, may_leak=True)
        with Listener(host.port) as stream, poster(host) as post, \
                getter(host) as get:
            with static_files(host.port) as before:
                time.sleep(2)           # measure before the fault
            cluster.pause()
            begin = time.monotonic()
            try:
                with static_files(host.port) as files:
                    time.sleep(seconds)
                said = check_calm(files, before, stream, begin)
                took = other.stop()
            finally:
                cluster.resume()
            begin = time.monotonic()
            wait_until(lambda: publishes(host), 10, "publishing", 0.02)
            again = time.monotonic() - begin
        slowest = max(post.slowest(), get.slowest())
        text = ("database stopped for %.0f s: %s; requests for it were "
                "answered within %.1f s; a stop of httpd took %.1f s; "
                "publishing again after %.2f s"
                % (seconds, said, slowest, took, again))
        assert post.statuses() <= {201, 503} and get.statuses() <= {200, 503}
        assert slowest < 9 * SLOW and took < 5 * SLOW and again < 3 * PATIENCE, \
            text
        return text
    finally:
        cluster.close()


def unresolved(make_server, seconds):
    """All connections are lost while the name server does not answer."""
    port = free_port()
    cluster = Cluster(port=port)
    try:
        conninfo = "host=localhost port=%d dbname=site user=comet_httpd" % port
        conf = server_conf(cluster, extra=HEARTBEAT, threads=32)
        conf["conf"] = conf["conf"].replace(cluster.conninfo, conninfo)
        host = make_server(start=False, **conf)
        shim = Shim(host)
        host.start()
        wait_until(lambda: works(host), 15, "the database")
        with Listener(host.port) as stream, poster(host) as post, \
                getter(host) as get:
            with static_files(host.port) as before:
                time.sleep(2)           # measure before the fault
            shim.set_resolve(3600)
            cluster.psql("SELECT pg_terminate_backend(pid) FROM"
                         " pg_stat_activity WHERE usename = 'comet_httpd'")
            begin = time.monotonic()
            with static_files(host.port) as files:
                time.sleep(seconds)
            said = check_calm(files, before, stream, begin)
            late = [a for a in post.answers + get.answers if a[0] > begin + 1]
            took = host.stop()
        slowest = max(t for _, t, _ in late)
        text = ("no answer from the name server for %.0f s: %s; requests for "
                "the database were answered within %.1f s; a stop of httpd "
                "took %.1f s" % (seconds, said, slowest, took))
        assert {status for _, _, status in late} == {503}, text
        assert slowest < 9 * SLOW and took < 5 * SLOW, text
        return text
    finally:
        cluster.close()
        give_port(port)


@contextlib.contextmanager
def silent_port():
    """A port that accepts connections and never sends anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        yield listener.getsockname()[1]


@contextlib.contextmanager
def full_port():
    """A port that never accepts a connection, because its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            yield port


def dead_hosts_first(make_server, dead):
    """CometStore names two hosts: the first never answers, the second works."""
    port = free_port()
    cluster = Cluster(port=port)
    try:
        with dead() as other:
            conninfo = ("host=127.0.0.1,127.0.0.1 port=%d,%d dbname=site "
                        "user=comet_httpd" % (other, port))
            conf = server_conf(cluster)
            conf["conf"] = conf["conf"].replace(cluster.conninfo, conninfo)
            begin = time.monotonic()
            host = make_server(**conf)
            wait_until(lambda: publishes(host), 15, "publishing", 0.02)
            first = time.monotonic() - begin
            cluster.psql("SELECT pg_terminate_backend(pid) FROM"
                         " pg_stat_activity WHERE usename = 'comet_httpd'")
            begin = time.monotonic()
            wait_until(lambda: publishes(host), 15, "publishing", 0.02)
            again = time.monotonic() - begin
            took = host.stop()
        text = ("the first of two hosts says nothing: publishing %.1f s after "
                "the start, and %.2f s after all connections were lost; a stop "
                "took %.1f s" % (first, again, took))
        assert first < 8 * PATIENCE and again < 2 * PATIENCE, text
        assert took < 5 * SLOW, text
        return text
    finally:
        cluster.close()
        give_port(port)


# ---- A host that is cut off --------------------------------------------------

def packet(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


class TurnHolder:
    """A session that has the turn and never gives it back: its statement has
    run, but the last message of the protocol, Sync, is never sent."""

    # the connection options that the module sets (store/pg/dial.c)
    OPTIONS = (b"-c tcp_keepalives_idle=3 -c tcp_keepalives_interval=1"
               b" -c tcp_keepalives_count=3 -c tcp_user_timeout=5s")
    SQL = (b"SELECT comet.append('{chat}', '{message}', '{NULL}',"
           b" '{never committed}', 500, true)")

    def __init__(self, sock):
        self.sock = sock
        words = (b"user", b"comet_httpd", b"database", b"site", b"options",
                 self.OPTIONS, b"")
        body = struct.pack("!i", 196608) + b"\0".join(words) + b"\0"
        sock.sendall(struct.pack("!i", len(body) + 4) + body)
        self.until(b"Z")
        sock.sendall(packet(b"P", b"\0" + self.SQL + b"\0" + bytes(2))
                     + packet(b"B", bytes(8)) + packet(b"E", bytes(5))
                     + packet(b"H", b""))
        self.until(b"C")

    def take(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            assert piece, "the server has closed the connection"
            data += piece
        return data

    def until(self, wanted):
        while True:
            kind, length = struct.unpack("!ci", self.take(5))
            body = self.take(length - 4)
            assert kind != b"E", body
            if kind == wanted:
                return


def bodies(cluster):
    return cluster.psql("SELECT body FROM comet.log WHERE channel = 'chat'"
                        " ORDER BY id").split("\n")


def cut_off(far, make_server, seconds):
    """One of two web servers runs on another host. That host is cut off from
    the database for a while, and one of its sessions has the turn."""
    cluster = Cluster(settings=["listen_addresses=192.0.2.1"])
    try:
        with open(cluster.folder + "/data/pg_hba.conf", "a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        cluster.psql("SELECT pg_reload_conf()")
        here, = start_hosts(make_server, cluster, 1, threads=32)
        with far.client.entered():
            there, = start_hosts(
                make_server, cluster, 1,
                "host=192.0.2.1 dbname=site user=comet_httpd",
                extra=HEARTBEAT, threads=32)
            with Listener(there.port) as stream, poster(there) as post, \
                    static_files(there.port) as before:
                time.sleep(2)           # measure before the fault
                with far.client.socket() as sock:
                    sock.connect(("192.0.2.1", 5432))
                    holder = TurnHolder(sock)
                    said, waited = cut_for(far, here, there, before, stream,
                                           seconds)
                    begin = time.monotonic()
                    wait_until(lambda: publishes(there), 20, "publishing")
                    again = time.monotonic() - begin
                    rows = bodies(cluster)
                    wait_until(lambda: stream.bodies()[:len(rows)] == rows, 20,
                               "all messages on the host that was cut off")
                    del holder
            took = there.stop()
        assert "never committed" not in bodies(cluster)
        text = ("a host cut off for %.0f s while it had the turn: on it %s; "
                "requests for the database answered within %.1f s there; the "
                "other one publishes again after %.1f s; it comes back within "
                "%.1f s; a stop took %.1f s"
                % (seconds, said, post.slowest(), waited, again, took))
        assert waited < 6 * PATIENCE and post.slowest() < 9 * SLOW, text
        return text
    finally:
        cluster.close()


def cut_for(far, here, there, before, stream, seconds):
    """Cut the connection, and wait until the other host publishes again. Return
    a text about the host that is cut off, and how long the other one waited."""
    done = threading.Event()
    far.forward(False)
    begin = time.monotonic()
    try:
        with static_files(there.port) as files:
            with far.server.entered():
                wait_until(lambda: publishes(here), 30, "the other host", 0.05)
            waited = time.monotonic() - begin
            done.wait(max(0.0, seconds - waited))
        return check_calm(files, before, stream, begin), waited
    finally:
        far.forward(True)
