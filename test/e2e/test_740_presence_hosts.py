# SPDX-License-Identifier: Apache-2.0
"""Presence over two web servers with one PostgreSQL database: both show the
same members."""

import contextlib
import time

import pytest

from httpd_env import Httpd, wait_until
from members import (MODULES, NAMES, await_online, enter, named, online,
                     snapshot, told)
from pg_env import Cluster, Database

pytestmark = pytest.mark.long
GRACE = 2


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()    # not the shared cluster, because it is paused
    yield made
    made.close()


def start(cluster, children=2):
    host = Httpd(conf=NAMES.replace("Grace 2s", "Grace %ds" % GRACE),
                 modules=MODULES, children=children,
                 database=Database(cluster, "site")).start()
    wait_until(lambda: host.get("/comet/any?wait=0", named("x")).status == 200,
               15, "the database")
    return host


@pytest.fixture(scope="module")
def hosts(cluster):
    made = [start(cluster) for _ in range(2)]
    yield made
    problems = [problem for host in made for problem in host.close()]
    assert not problems, problems


def names(host, channel):
    return [m["member"] for m in snapshot(host, channel)["members"]]


def test_740_01_one_list(hosts):
    """A user who is connected to both servers joins once, and leaves when the
    last connection ends.  Both servers show the same list."""
    here, there = hosts
    with enter(there, "room", "bob"):
        await_online(here, "room", "bob")
        with enter(here, "room", "ann"):
            await_online(here, "room", "ann", "bob")
            with enter(there, "room", "ann"):
                wait_until(lambda: there.sql(
                    "SELECT count(*) FROM presence_row WHERE member = 'ann'")
                    == [["2"]], 8, "both rows")
                assert names(here, "room") == names(there, "room") \
                    == ["ann", "bob"]
        await_online(there, "room", "bob")
    await_online(here, "room")
    assert told(here, "room") == ["join bob", "join ann", "leave ann",
                                  "leave bob"]


def test_740_02_thrown_out_everywhere(cluster, hosts):
    """A committed DELETE FROM online ends the member's streams at both
    servers."""
    here, there = hosts
    app = cluster.session()
    with enter(here, "hall", "dan") as one, enter(there, "hall", "dan") as two:
        wait_until(lambda: here.sql("SELECT count(*) FROM presence_row"
                                    " WHERE member = 'dan'") == [["2"]], 8)
        app.run("BEGIN")
        app.run("DELETE FROM comet.online WHERE member = 'dan'")
        with enter(there, "hall", "eve"):   # nobody waits for the transaction
            await_online(there, "hall", "dan", "eve")
            app.run("COMMIT")
            one.until_end()
            two.until_end()
    app.close()
    await_online(here, "hall")
    assert told(here, "hall") == ["join dan", "join eve", "leave dan",
                                  "leave eve"]


def test_740_03_what_each_role_may_do(cluster, hosts):
    """Only a moderator may remove members and set retention.  The roles for
    publishing and reading may not, nor may the web server's role by SQL."""
    here, _ = hosts
    roles = ("insert", "select", "moderate")
    for role in roles:
        cluster.psql("CREATE ROLE app_%s LOGIN IN ROLE comet_%s"
                     % (role, role))
    allowed = {
        "DELETE FROM comet.online WHERE member = 'gus'": {"moderate"},
        "INSERT INTO comet.online(channel, member) VALUES('r', 'by phone')":
            {"insert"},
        "SELECT 1 FROM comet.online, comet.member, comet.channel_info":
            {"select", "moderate"},
        "INSERT INTO comet.channel_retention VALUES('r/*', 1, 1)":
            {"moderate"},
        "DELETE FROM comet.presence_row": set(),
        "SELECT comet.remove_member('r', 'gus', 1, true)": set(),
        "SELECT comet.configure(true)": set()}
    with enter(here, "r", "gus") as stream:
        await_online(here, "r", "gus")
        for sql, who in allowed.items():
            done = {role for role in roles if cluster.psql(
                sql, "app_" + role, check=False)[0] == 0}
            assert done == who, sql
        stream.until_end()
    for sql in ("DELETE FROM comet.online", "DELETE FROM comet.log",
                "SELECT comet.is_told('a', 1)", "LOCK TABLE comet.turn"):
        assert cluster.psql(sql, "comet_httpd", check=False)[0] != 0, sql
    here.sql("DELETE FROM online WHERE channel = 'r'")
    here.sql("DELETE FROM channel_retention")


def test_740_04_the_database_hangs_for_longer_than_a_lease(cluster, hosts):
    """While the database hangs and no lease can be renewed, no member
    leaves."""
    here, there = hosts
    with contextlib.ExitStack() as streams:
        # (each server stores its own members' joins in its own time)
        streams.enter_context(enter(here, "long", "ann"))
        await_online(here, "long", "ann")
        streams.enter_context(enter(there, "long", "bob"))
        await_online(here, "long", "ann", "bob")
        holders = here.sql("SELECT id FROM presence_holder ORDER BY id")
        cluster.pause()
        time.sleep(3 * GRACE)   # a lease lasts for two grace periods
        cluster.resume()
        beats = "SELECT sum(beat) FROM presence_holder"
        before = int(here.sql(beats)[0][0])
        wait_until(lambda: int(here.sql(beats)[0][0])
                   >= before + 2 * len(holders), 20, "renewals")
        assert online(here, "long") == ["ann", "bob"]
        assert told(here, "long") == ["join ann", "join bob"]
        assert here.sql("SELECT id FROM presence_holder ORDER BY id") \
            == holders


def test_740_05_a_server_dies(cluster, hosts, figure):
    """After a kill -9 of a whole server its members leave once, when its leases
    have expired.  A member who is also at the other server stays."""
    _, there = hosts
    lost = start(cluster)
    members = ["m%d" % i for i in range(12)]
    streams = [enter(lost, "die", name) for name in members] \
        + [enter(there, "die", name) for name in ("m0", "stays")]
    await_online(there, "die", *members, "stays")
    lost.kill()
    begun = time.monotonic()
    await_online(there, "die", "m0", "stays", timeout=30)
    took = time.monotonic() - begun
    figure("a server with 12 members killed: the last ghost left after %.1f s "
           "(lease %d s)" % (took, 2 * GRACE))
    assert sorted(told(there, "die")) == sorted(
        ["join " + name for name in members] + ["join stays"]
        + ["leave " + name for name in members[1:]])
    for stream in streams:
        stream.conn.close()
    lost.proc = None
    lost.close()
