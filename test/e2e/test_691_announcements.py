# SPDX-License-Identifier: Apache-2.0
"""Commits that web servers announce before they are made, and prepared
statements, with PostgreSQL as the store."""

import os
import re
import threading
import time

import pytest

from httpd_env import REPO, wait_until
from pg_env import Cluster, Pooler, server_conf
from stream_client import Stream

pytestmark = [pytest.mark.event, pytest.mark.bound(60)]
LOCK = "(1668246885, 116)"
SCHEMA_5 = os.path.join(REPO, "sql/postgresql/005_announcements.sql")
APPEND = ("SELECT pg_try_advisory_xact_lock" + LOCK + ", comet.append("
          "ARRAY['chat'], ARRAY['message'], ARRAY[NULL]::text[], ARRAY['%s'],"
          " 1500, true)")
NEXT = ("SELECT string_agg(n.body, ',') FROM comet.state() s CROSS JOIN LATERAL"
        " comet.next_news(s.last, s.erased, 0, 256, 1000000) n")


def start(make_server, cluster):
    """Start a web server of one child, and wait until it can publish."""
    host = make_server(**server_conf(cluster, children=1))
    await_publishing(host)
    return host


def await_publishing(host):
    wait_until(lambda: host.request("POST", "/comet/other", b"x", {
        "Content-Type": "text/plain"}).status == 201, 20, "the database")


class Asker(threading.Thread):
    """A session that asks for the next news."""

    def __init__(self, cluster, question=NEXT):
        super().__init__(daemon=True)
        self.session, self.answer = cluster.session(), None
        self.question = question
        self.start()

    def run(self):
        self.answer = self.session.run(self.question)

    def take(self):
        self.join(30)
        assert not self.is_alive(), "the question hangs"
        self.session.close()
        return self.answer


def test_691_01_waiting_for_a_commit():
    """A reader that waits gets the message as soon as the commit ends. It waits
    only for an announced commit, and not for long; nobody waits for it."""
    cluster = Cluster()
    waiting = ("SELECT count(*) FROM pg_stat_activity"
               " WHERE wait_event = 'advisory'")
    try:
        writer, reader = cluster.session(), cluster.session()
        assert cluster.psql(NEXT) == ""
        writer.run("BEGIN")
        writer.run(APPEND % "slow")
        assert cluster.psql(NEXT) == ""     # gives up after 5 ms
        # another session has a table to itself: no reason to give up
        writer.run("COMMIT")
        writer.run("BEGIN; LOCK TABLE comet.log")
        asker = Asker(cluster, "SELECT count(*) FROM"
                               " comet.next_news(1, 0, 0, 256, 1000000)")
        wait_until(lambda: cluster.psql(
            "SELECT max(now() - query_start) > interval '100 ms'"
            " FROM pg_stat_activity WHERE wait_event = 'relation'") == "t",
            10, "the wait for the table")
        writer.run("COMMIT")
        assert asker.take() == "1"
        writer.run("BEGIN")
        writer.run(APPEND % "slower")
        cluster.psql("ALTER FUNCTION comet.await_commit"
                     " SET lock_timeout = '30s'")
        asker = Asker(cluster)
        wait_until(lambda: cluster.psql(waiting) == "1", 10, "the question")
        writer.run("COMMIT")
        assert asker.take() == "slower"
        # an application has the lock; then a reader
        writer.run("SELECT pg_advisory_lock" + LOCK)
        asker = Asker(cluster)
        wait_until(lambda: cluster.psql(waiting) == "1", 10, "the question")
        cluster.psql(APPEND % "quick")
        writer.run("SELECT pg_advisory_unlock" + LOCK)
        assert asker.take() == "quick"
        reader.run("SELECT pg_advisory_lock_shared" + LOCK)
        cluster.psql(APPEND % "third")
        writer.close()
        reader.close()
    finally:
        cluster.close()


def test_691_02_two_servers(make_server):
    """At rest, the other server waits for the end of the commit. Forged
    announcements, and an application that holds the lock, change nothing but
    the time."""
    cluster = Cluster(settings=["log_min_duration_statement=0"])
    try:
        here, there = (start(make_server, cluster) for _ in range(2))
        with Stream(there, "/comet/chat") as stream:
            sent = []

            def publish():
                sent.append("m%d" % len(sent))
                assert here.post("chat", sent[-1])
                time.sleep(0.03)    # so that the servers rest

            while "FROM comet.next_news($1" not in cluster.log():
                assert len(sent) < 300, "nobody waits for a commit"
                publish()
            session = cluster.session()
            session.run("SELECT pg_advisory_lock" + LOCK)
            for _ in range(20):
                session.run("NOTIFY comet_soon")
                publish()
            session.close()
            assert stream.until(len(sent)) == sent
        assert re.search(r"execute comet_\w+: SELECT", cluster.log())
    finally:
        cluster.close()


def test_691_03_no_statements_through_a_pooler(make_server):
    """Through a pooler no statement is prepared, since each transaction may
    have another session."""
    cluster = Cluster(settings=["log_min_duration_statement=0"])
    try:
        pooler = Pooler(cluster)
        try:
            host = start(make_server, cluster)
            for number in range(5):
                assert host.post("chat", "m%d" % number)
            assert "execute <unnamed>: SELECT pg_try_advisory_xact_lock" \
                + LOCK + ", comet.append" in cluster.log()
            assert not re.search(r"execute comet_\w+:", cluster.log())
        finally:
            pooler.close()
    finally:
        cluster.close()


def test_691_04_without_the_grants():
    """Web servers may ask for the next news even if 005_announcements.sql was
    run without grants.sql."""
    cluster = Cluster()
    try:
        cluster.psql("DROP FUNCTION comet.next_news, comet.await_commit;"
                     " UPDATE comet.schema SET version = 4;"
                     " \\i " + SCHEMA_5)
        assert cluster.psql(NEXT, user="comet_httpd") == ""
    finally:
        cluster.close()


def test_691_05_statements_of_another_client(make_server):
    """Some poolers give a session to the next client as the last one left it. A
    server that finds its statements there prepares none, and publishes."""
    cluster = Cluster(settings=["log_min_duration_statement=0"])
    try:
        host = start(make_server, cluster)
        assert host.post("chat", "alone")
        names = set(re.findall(r"execute (comet_\w+):", cluster.log()))
        assert names
        # each new session of a writer seems to have been used before
        cluster.psql("""
            ALTER FUNCTION comet.configure RENAME TO configure_;
            CREATE FUNCTION comet.configure(deletions boolean) RETURNS void
            LANGUAGE plpgsql AS $f$
            DECLARE
              name_ text;
            BEGIN
              PERFORM comet.configure_(deletions);
              FOREACH name_ IN ARRAY '{%s}'::text[] LOOP
                IF NOT EXISTS (SELECT FROM pg_prepared_statements
                                WHERE name = name_) THEN
                  EXECUTE format('PREPARE %%I AS SELECT 1', name_);
                END IF;
              END LOOP;
            END $f$;
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE usename = 'comet_httpd';""" % ",".join(names))
        await_publishing(host)
        assert "already exists" in cluster.log()
        for number in range(3):
            assert host.post("chat", "m%d" % number)
    finally:
        cluster.close()


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "k"}],
                         ids=["plain", "keyed"])
def test_691_06_every_append_can_be_awaited(make_server, key):
    """An append has its advisory lock while it still waits for its turn."""
    cluster = Cluster()
    try:
        host, session = start(make_server, cluster), cluster.session()
        session.run("BEGIN; LOCK TABLE comet.turn IN EXCLUSIVE MODE")
        status = []
        publisher = threading.Thread(target=lambda: status.append(
            host.request("POST", "/comet/chat", b"x",
                         {"Content-Type": "text/plain", **key}).status))
        publisher.start()
        wait_until(lambda: cluster.psql(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND"
            " granted AND (classid, objid) = " + LOCK) == "1", 10, "the lock")
        session.run("COMMIT")
        session.close()
        publisher.join(30)
        assert status == [201]
    finally:
        cluster.close()
