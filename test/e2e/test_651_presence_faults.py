# SPDX-License-Identifier: Apache-2.0
"""Presence when children are killed, stopped or replaced.  Nobody who is gone
stays a member, and nobody who is still present is reported to leave."""

import contextlib
import os
import signal
import threading
import time

import pytest

from httpd_env import SLOW, sqlite, wait_until
from members import MODULES, NAMES, enter, named, online, told
from stream_client import Stream

pytestmark = pytest.mark.event
STORES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.long))


def conf(grace):
    return NAMES.replace("Grace 2s", "Grace %ds" % grace) \
        .replace("CometPresence on", "CometPresence on 100000")


class Member(threading.Thread):
    """A client that reconnects when its stream ends, as EventSource does, after
    the time in the stream's retry field."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.server, self.name_ = server, name
        self.stream, self.over = None, False
        self.start()

    def run(self):
        while not self.over:
            retry = 0.2
            try:
                self.stream = Stream(self.server, "/comet/room",
                                     named(self.name_))
                while self.stream.step():
                    pass
                lines = [line for line in self.stream.bytes.split(b"\n")
                         if line.startswith(b"retry: ")]
                retry = int(lines[-1][7:]) / 1000 if lines else retry
            except Exception:           # pylint: disable=broad-except
                pass                    # the child was killed, or httpd is down
            if self.stream:
                self.stream.conn.close()
            time.sleep(0 if self.over else retry)

    def leave(self):
        self.over = True
        if self.stream:
            with contextlib.suppress(OSError):  # it may have ended
                self.stream.conn.sock.shutdown(2)


def crowd(server, count):
    members = [Member(server, "m%d" % i) for i in range(count)]
    wait_until(lambda: len(online(server, "room") or ()) == count, 30,
               "all members")
    return members


def part(members):
    for member in members:
        member.leave()
    for member in members:
        member.join(10)


def one_of_four_killed(server, count):
    """Kill a child with its members, a quarter of whom do not return.  Return
    how long this quarter stays in the list."""
    members = crowd(server, count)
    assert len(told(server, "room")) == count
    gone = members[::4]
    for member in gone:
        member.over = True      # it will not reconnect
    os.kill(server.children()[0], signal.SIGKILL)
    part(gone)
    stay = count - len(gone)
    begun = time.monotonic()
    wait_until(lambda: len(online(server, "room")) == stay, 60,
               "those who are here")
    took = time.monotonic() - begun
    texts = told(server, "room")
    for member in members:
        assert texts.count("join " + member.name_) == 1, member.name_
        assert texts.count("leave " + member.name_) == int(member in gone)
    part(members)
    return took


def test_651_01_a_child_is_killed(any_server, figure):
    """After a child is killed, each of its members returns before it is
    reported to leave, or is reported to leave once."""
    server = any_server(conf=conf(2), modules=MODULES, children=4)
    took = one_of_four_killed(server, 40)
    figure("40 members, 1 of 4 children killed: the last ghost left after "
           "%.1f s" % took)


def reloads(server, count, times):
    members = crowd(server, count)
    for _ in range(times):
        server.graceful()
        server.wait_waiting(count, timeout=20)
    # Wait until the leases of the old children have expired.
    wait_until(lambda: sqlite(
        server.db, "SELECT count(*) <= %d FROM presence_holder"
        % server.children_count) == [["1"]], 60, "no old lease")
    assert len(told(server, "room")) == count
    part(members)


def test_651_02_reloads(any_server):
    """During graceful reloads nobody is reported to leave or join."""
    reloads(any_server(conf=conf(int(4 * SLOW)), modules=MODULES, children=2),
            30, 2)


def test_651_03_start_after_a_crash(any_server):
    """After a crash of the whole server and a new start, its old members
    leave."""
    server = any_server(conf=conf(1), modules=MODULES)
    with enter(server, "room", "ann"):
        wait_until(lambda: online(server, "room") == ["ann"], 8, "ann")
        server.kill()
    assert online(server, "room") == ["ann"]
    server.start()
    wait_until(lambda: online(server, "room") == [], 20, "nobody")
    assert told(server, "room") == ["join ann", "leave ann"]


def test_651_04_turned_off(any_server):
    """After a start with CometPresence off there are no members."""
    server = any_server(conf=conf(1), modules=MODULES)
    with enter(server, "room", "ann"):
        wait_until(lambda: online(server, "room") == ["ann"], 8, "ann")
    server.stop()
    server.conf = conf(1).replace("CometPresence on 100000", "")
    server.start()
    with enter(server, "room", "bob"):
        server.wait_waiting(1)
        wait_until(lambda: online(server, "room") == [], 8, "nobody")


@pytest.mark.long
def test_651_05_stopped_for_long(any_server):
    """A child that is stopped for a long time counts as dead.  When it
    continues, it adds its members again, and nobody's stream ends."""
    server = any_server(conf=conf(2), modules=MODULES, children=2)
    with enter(server, "room", "ann") as stream:
        wait_until(lambda: online(server, "room") == ["ann"], 8, "ann")
        rows = sqlite(server.db, "SELECT pid FROM presence_holder")
        os.kill(int(rows[0][0]), signal.SIGSTOP)
        try:
            wait_until(lambda: online(server, "room") == [], 60, "nobody")
        finally:
            os.kill(int(rows[0][0]), signal.SIGCONT)
        wait_until(lambda: online(server, "room") == ["ann"], 20, "ann")
        assert told(server, "room") == ["join ann", "leave ann", "join ann"]
        sqlite(server.db, "INSERT INTO message(channel, body)"
               " VALUES('room', 'still here')")
        assert stream.until(1) == ["still here"]


@pytest.mark.long
@pytest.mark.bound(300)
def test_651_06_a_thousand(any_server, figure):
    """One of four children with 1,000 members is killed.  Members who do not
    return leave in time."""
    server = any_server(conf=conf(15), modules=MODULES, children=4,
                         threads=64)
    took = one_of_four_killed(server, 1000)
    figure("1,000 members, 1 of 4 children killed: the last ghost left after "
           "%.1f s" % took)
    assert took < 50 * SLOW


@pytest.mark.long
@pytest.mark.bound(600)
def test_651_07_twenty_reloads(any_server):
    """During 20 graceful reloads none of 1,000 members is reported to leave or
    join."""
    reloads(any_server(conf=conf(15), modules=MODULES, children=4,
                        threads=64), 1000, 20)
