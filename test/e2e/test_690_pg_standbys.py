# SPDX-License-Identifier: Apache-2.0
"""A standby that lags behind is promoted, and a standby for which commits wait
is missing."""

import threading
import time

import pytest

from httpd_env import wait_until
from pg_env import Cluster, server_conf
from stream_client import Stream

pytestmark = [pytest.mark.long, pytest.mark.event, pytest.mark.bound(120)]
TEXT = {"Content-Type": "text/plain"}


def start(make_server, cluster, conninfo):
    conf = server_conf(cluster)
    conf["conf"] = conf["conf"].replace(cluster.conninfo, conninfo) \
        .replace("CometSearch on", "")
    host = make_server(**conf)
    wait_until(lambda: host.get("/comet/any?wait=0").status == 200, 15,
               "the database")
    return host


def start_with_both(make_server, primary, standby):
    """Start a web server that uses whichever of two servers accepts writes."""
    return start(make_server, primary, primary.conninfo.replace(
        primary.folder, primary.folder + "," + standby.folder)
        + " target_session_attrs=read-write")


def cut_off(standby, count):
    """Wait until a standby has `count` messages. From then on it receives
    nothing."""
    wait_until(lambda: standby.psql("SELECT count(*) FROM comet.log")
               == str(count), 20, "the standby")
    standby.psql("ALTER SYSTEM SET primary_conninfo = ''")
    standby.psql("SELECT pg_reload_conf()")
    wait_until(lambda: standby.psql("SELECT count(*) FROM pg_stat_wal_receiver")
               == "0", 20, "the cut")


def bodies(host, query="since=0&limit=1000&wait=0"):
    return [m["body"] for m in host.history("chat", query)]


def test_690_01_an_asynchronous_standby_is_promoted(make_server, figure):
    """The last messages are lost with the primary.  Clients that have seen them
    continue, no client has to start over, and no replay contains the lost
    messages."""
    primary = Cluster()
    standby = primary.standby(synchronous=False)
    try:
        host = start_with_both(make_server, primary, standby)
        with Stream(host, "/comet/chat?since=0") as stream:
            kept = [host.post("chat", "kept %d" % i) for i in range(50)]
            cut_off(standby, 50)
            ghosts = [host.post("chat", "ghost %d" % i) for i in range(50)]
            stream.until(100)
            before = host.status()["resynced"]
            primary.crash()
            standby.promote()
            begin = time.monotonic()
            wait_until(lambda: bodies_or_none(host) == ["kept %d" % i
                                                        for i in range(50)],
                       15, "the replays without ghosts", 0.02)
            took = time.monotonic() - begin
            # A client that has seen a lost message polls before anything is
            # published.
            answer = host.get("/comet/chat?since=%d&wait=0" % ghosts[-1]).json()
            assert answer["messages"] == [] and answer["gap"] is False
            wait_until(lambda: host.request("POST", "/comet/chat", b"new",
                                            TEXT).status == 201, 10,
                       "publishing")
            assert stream.until(101)[100] == "new"
            assert int(stream.events[100]["id"]) > ghosts[-1] > kept[-1]
            assert bodies(host) == ["kept %d" % i for i in range(50)] + ["new"]
            assert bodies(host, "since=%d&wait=0" % ghosts[20]) == ["new"]
            assert host.status()["resynced"] == before
        figure("an asynchronous standby promoted: 50 of 100 messages lost, "
               "none of them in any replay after %.2f s, no client started "
               "over" % took)
    finally:
        primary.close()
        standby.close()


def bodies_or_none(host):
    answer = host.get("/comet/chat?since=0&limit=1000&wait=0", timeout=30)
    return answer.status == 200 and [m["body"]
                                     for m in answer.json()["messages"]]


def test_690_02_a_wait_that_is_cancelled_is_no_success(make_server):
    """A commit waits for a standby that is missing, and an administrator
    cancels the wait.  The publisher is told that the outcome is not known.
    When it repeats its request, it learns that the message is stored."""
    cluster = Cluster()
    try:
        host = start(make_server, cluster, cluster.conninfo)
        host.post("chat", "before")
        cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        cluster.psql("SELECT pg_reload_conf()")
        wait_until(lambda: cluster.psql("SHOW synchronous_standby_names")
                   == "nobody", 10, "the setting")
        key = dict(TEXT, **{"Idempotency-Key": "k"})
        answers = []
        thread = threading.Thread(target=lambda: answers.append(host.request(
            "POST", "/comet/chat", b"waited for", key, 30)))
        thread.start()
        waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'" \
            " AND usename = 'comet_httpd'"
        wait_until(lambda: int(cluster.psql("SELECT count(*) " + waits)) >= 1,
                   10, "the wait for the standby", 0.01)
        cluster.psql("SELECT pg_cancel_backend(pid) " + waits)
        thread.join(30)
        assert answers[0].status == 503, answers
        assert b"not known" in answers[0].body
        cluster.psql("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.psql("SELECT pg_reload_conf()")
        wait_until(lambda: host.request("POST", "/comet/chat", b"waited for",
                                        key, 30).status == 200, 15,
                   "the repetition")
        assert bodies(host) == ["before", "waited for"]
    finally:
        cluster.close()


def test_690_03_a_fast_clock(make_server):
    """The clock of the lost primary was an hour fast.  A client that has seen a
    lost message gets the first message of the new primary all the same."""
    primary = Cluster()
    standby = primary.standby(synchronous=False)
    try:
        host = start_with_both(make_server, primary, standby)
        primary.psql("INSERT INTO comet.log(id, channel, body) VALUES("
                     "comet.now_us() + 3600000000, 'chat', 'kept')")
        cut_off(standby, 1)
        ghost = host.post("chat", "ghost")
        primary.crash()
        standby.promote()
        wait_until(lambda: host.request("POST", "/comet/chat", b"new",
                                        TEXT).status == 201, 15, "publishing")
        assert bodies(host, "since=%d&wait=0" % ghost) == ["new"]
        assert bodies(host) == ["kept", "new"]
    finally:
        primary.close()
        standby.close()
