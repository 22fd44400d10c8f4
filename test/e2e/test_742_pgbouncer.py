# SPDX-License-Identifier: Apache-2.0
"""PgBouncer in transaction mode between the web servers and PostgreSQL."""

import time

import pytest

from comet_load import quantile
from httpd_env import PATIENCE, Httpd, wait_until
from members import (MODULES, NAMES, await_online, enter, named, snapshot,
                     told)
from pg_env import Cluster, Database, Pooler
from stream_client import Stream

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def pooled():
    """Yield a cluster that the web servers reach through PgBouncer."""
    cluster = Cluster()
    cluster.lay("search.sql")
    pooler = Pooler(cluster)
    yield cluster
    pooler.close()
    cluster.close()


@pytest.fixture(scope="module")
def hosts(pooled):
    made = [Httpd(conf=NAMES + "CometSearch on\n", modules=MODULES, children=2,
                  database=Database(pooled, "site")).start()
            for _ in range(2)]
    wait_until(lambda: all(host.get("/comet/any?wait=0", named("x")).status
                           == 200 for host in made), 20, "the database")
    yield made
    problems = [problem for host in made for problem in host.close()]
    assert not problems, problems


def test_742_01_everything_works(hosts):
    """Two servers behind PgBouncer share streams, history, search and presence,
    and psql can publish to them.  They omit the connection options that
    PgBouncer refuses."""
    here, there = hosts
    text = named("ann", **{"Content-Type": "text/plain"})
    with Stream(there, "/comet/pool?since=0", named("bob")) as stream:
        for i in range(30):
            assert here.request("POST", "/comet/pool", b"m%d" % i,
                                text).status == 201
        here.sql("INSERT INTO message(channel, body) VALUES('pool', 'row')")
        assert stream.until(31) == ["m%d" % i for i in range(30)] + ["row"]
        await_online(here, "pool", "bob")
        assert [m["member"] for m in snapshot(here, "pool")["members"]] \
            == ["bob"]
    with enter(here, "pool", "cy"):
        await_online(there, "pool", "cy")
    await_online(there, "pool")
    assert sorted(told(there, "pool")) == ["join bob", "join cy", "leave bob",
                                           "leave cy"]
    found = there.get("/comet/pool?q=m7", named("ann")).json()["messages"]
    assert [m["body"] for m in found] == ["m7"]


def test_742_02_hints(hosts, figure):
    """PgBouncer does not forward notifications.  The servers detect this and
    query the database every 20 ms instead of every 500 ms."""
    here, there = hosts
    text = named("ann", **{"Content-Type": "text/plain"})
    took = []
    with Stream(there, "/comet/hints?since=0", named("bob")) as stream:
        for i in range(40):
            assert here.request("POST", "/comet/hints", b"m%d" % i,
                                text).status == 201
            begin = time.monotonic()
            stream.until(i + 1)
            took.append(time.monotonic() - begin)
    figure("through PgBouncer a message comes p50 %.0f, max %.0f ms after the "
           "publisher's answer" % (quantile(took, 0.5) * 1000,
                                   max(took) * 1000))
    assert quantile(took, 0.5) < 0.06 * PATIENCE, took
