# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL runs the web servers' statements without scanning the whole log
and without JIT compilation, however long the log is."""

import re

import pytest

from httpd_env import Httpd, wait_until
from members import MODULES, NAMES, await_online, enter, named
from pg_env import Cluster, Database
from stream_client import Stream

pytestmark = [pytest.mark.long, pytest.mark.event, pytest.mark.bound(120)]
SETTINGS = ["session_preload_libraries=auto_explain",
            "auto_explain.log_min_duration=0",
            "auto_explain.log_nested_statements=on",
            "jit=on", "jit_above_cost=0", "log_line_prefix=%u|"]
BIG = ("log", "idempotency_key", "last_seen")


def plans(cluster):
    """Return the plans of the web servers' statements, each with its text."""
    entries = re.split(r"(?m)^(?=\w*\|)", cluster.log())
    return [entry for entry in entries if entry.startswith("comet_httpd|LOG")
            and "Query Text:" in entry]


@pytest.mark.parametrize("analyze", ["ANALYZE", "SELECT"],
                         ids=["analyzed", "unknown"])
def test_689_01_no_walks(analyze, figure):
    """No statement of readers, publishers and upkeep scans a log of 200,000
    messages, whether or not the database knows how long the log is."""
    cluster = Cluster(settings=SETTINGS)
    cluster.lay("search.sql")
    try:
        cluster.psql(
            "INSERT INTO comet.log(id, channel, body) SELECT g, 'c' || g % 1000,"
            " 'word' || g FROM generate_series(1, 200000) g;"
            "INSERT INTO comet.last_seen(channel, member, left_at)"
            " SELECT 'c' || g, 'm' || g % 5000, g FROM generate_series(1,"
            " 50000) g;"
            "INSERT INTO comet.idempotency_key SELECT g, 1, 'c', '', g::text,"
            " '\\x0102030405060708090a0b0c0d0e0f1011121314'"
            " FROM generate_series(1, 50000) g; " + analyze)
        host = Httpd(conf=NAMES + "CometSearch on\nCometRetain count=100\n"
                     "CometDeletions on\n", modules=MODULES,
                     database=Database(cluster, "site"))
        host.start()
        try:
            use(host, cluster)
        finally:
            assert not host.close()
        found = plans(cluster)
        assert len(found) > 100
        bad = [entry for entry in found if "JIT:" in entry
               or re.search(r"Seq Scan on (%s)\b" % "|".join(BIG), entry)]
        assert not bad, "\n".join(bad)
        figure("%d plans: no JIT, no walk through %s"
               % (len(found), ", ".join(BIG)))
    finally:
        cluster.close()


def use(host, cluster):
    """Make the web server run each of its statements."""
    text = named("ann", **{"Content-Type": "text/plain"})
    ann = named("ann")

    def get(query, status=200):
        assert host.get("/comet" + query, ann).status == status, query

    wait_until(lambda: host.get("/comet/c1?wait=0", ann).status == 200, 15,
               "the database")
    for channel, more in (("c1", ""), ("c2", "?keep=1h")):
        for key in ({}, {"Idempotency-Key": "k" + channel}):
            assert host.request("POST", "/comet/" + channel + more, b"hello",
                                dict(text, **key)).status == 201
    for query in ("/c1?since=0&wait=0", "/c1?since=199000&wait=0",
                  "/c1?before=100000&limit=10", "/c1?before=100000&limit=1000",
                  "?channel=c*&since=0&wait=0&limit=10",
                  "?channel=c1&channel=c2&since=0&wait=0",
                  "?channel=c1*&before=150000&limit=100", "?channels=c1*",
                  "/c1?q=hello"):
        get(query)
    with enter(host, "c1", "bob"), Stream(host, "/comet/c3", ann):
        await_online(host, "c1", "bob")
        cluster.psql("INSERT INTO comet.message(channel, body)"
                     " VALUES('c3', 'outside')")
        get("/c1/@online?wait=0")
    # Wait until retention and the check of last_seen have run.
    wait_until(lambda: int(cluster.psql(
        "SELECT count(*) FROM comet.log WHERE channel = 'c1'")) <= 102, 60,
        "retention")
    wait_until(lambda: "comet.online_forget" in cluster.log(), 30,
               "the look through the members", 1)   # the log is long
