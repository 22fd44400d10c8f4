# SPDX-License-Identifier: Apache-2.0
"""The schema in PostgreSQL: how it is made and brought up to date, and which
rows it refuses."""

import contextlib
import os

import pytest

from background import Background
from httpd_env import REPO, wait_until
from pg_env import Cluster, server_conf
from stream_client import Stream

VERSION = "SELECT version FROM comet.schema"
RULES = """SELECT count(*) FROM pg_constraint WHERE contype = 'c'
 AND conrelid IN ('comet.log'::regclass, 'comet.inbox'::regclass)"""


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    yield made
    made.close()


@pytest.fixture
def half(cluster):
    """Run a file of sql/postgresql in a new database, or SQL."""
    cluster.psql("CREATE DATABASE half ENCODING 'UTF8' TEMPLATE template0")

    def run(what, **more):
        if what.endswith(".sql"):
            what = "\\i " + os.path.join(REPO, "sql/postgresql", what)
        return cluster.psql(what, database="half", **more)
    yield run
    cluster.psql("DROP DATABASE half")


def lay_version_5(half):
    for name in ("001_initial.sql", "002_messages.sql", "003_presence.sql",
                 "004_looks.sql", "005_announcements.sql", "grants.sql"):
        half(name)


def test_820_01_files_out_of_order(cluster, half):
    """A file of the schema refuses to run if the file before it was left out,
    if it was run before, or as another role than the schema's owner. schema.sql
    runs those that are missing."""
    cluster.psql("CREATE ROLE other SUPERUSER LOGIN")
    try:
        half("001_initial.sql")
        half("002_messages.sql")
        for name, user, words in (
                ("004_looks.sql", None, "has version 2, and this file needs 3"),
                ("002_messages.sql", None, "this file needs 1"),
                ("003_presence.sql", "other", "as the owner of the schema"),
                ("schema.sql", "other", "as the owner of the schema")):
            status, error = half(name, user=user, check=False)
            assert status != 0 and words in error, (name, error)
            assert half(VERSION) == "2"
        half("schema.sql")
        half("schema.sql")      # does no harm
        assert half(VERSION) == cluster.psql(VERSION)
    finally:
        cluster.psql("DROP ROLE other")


def test_820_02_a_back_up_goes_on(cluster, half):
    """006_checks.sql needs the tables for itself. While another session reads
    them, as pg_dump does, it gives up soon and has changed nothing. The rules
    that the administrator has added stay."""
    lay_version_5(half)
    half("ALTER TABLE comet.log ADD CONSTRAINT own CHECK (channel <> 'never')")
    before = half(RULES)
    with contextlib.closing(cluster.session(database="half")) as session:
        session.run("BEGIN")
        session.run("SELECT count(*) FROM comet.message")
        status, error = half("schema.sql", check=False)
        assert status != 0 and "lock timeout" in error
        assert half(VERSION) == "5" and half(RULES) == before
    half("schema.sql")
    assert half(VERSION) == "6"
    assert int(before) > 20 and half(RULES) == "3"


GOOD = {"channel": "'chat'", "body": "''"}
FAULTS = [
    ("channel", "''", "a channel's name is text of 1 to 255 bytes"),
    ("channel", "repeat('\u00e9', 128)", "of 1 to 255 bytes"),
    ("channel", "E'a\\tb'", "a channel's name has no control characters"),
    ("channel", "E'a\\u0085'", "a channel's name has no control characters"),
    ("channel", "'/a'", "no empty, '.' or '..' path segment"),
    ("channel", "'a/'", "no empty, '.' or '..' path segment"),
    ("channel", "'a//b'", "no empty, '.' or '..' path segment"),
    ("channel", "'.'", "no empty, '.' or '..' path segment"),
    ("channel", "'a/../b'", "no empty, '.' or '..' path segment"),
    ("type", "''", "a type is text of 1 to 255 bytes"),
    ("type", "repeat('t', 256)", "a type is text of 1 to 255 bytes"),
    ("type", "E'a\\nb'", "without control characters"),
    ("type", "'gap'", "the type gap is the server's own word"),
    ("author", "''", "an author is NULL or text of 1 to 255 bytes"),
    ("author", "repeat('a', 256)", "an author is NULL or text of 1 to 255"),
    ("body", "repeat('b', 1048577)", "a body is text of at most 1048576 bytes"),
    ("private", "2", "private is 0 or 1"),
    ("id", "''", "an id is text of 1 to 255 bytes without line ends"),
    ("id", "E'a\\nb'", "an id is text of 1 to 255 bytes without line ends"),
    ("retry", "-1", "retry is a number of milliseconds"),
    ("keep", "0", "keep is a number of seconds, from 1 to 86400"),
    ("keep", "86401", "keep is a number of seconds, from 1 to 86400"),
]


def insert(table, values):
    return "INSERT INTO comet.%s(%s) VALUES(%s)" % (
        table, ", ".join(values), ", ".join(values.values()))


def test_820_03_rows_that_cannot_be_messages(cluster):
    """Whatever an application inserts that cannot be a message is refused with
    the reason, and so is a row that the owner writes into the log itself.
    Values at the limits are stored."""
    log = {"channel": "channel", "type": "type", "author": "author",
           "body": "body", "private": "private", "id": "event",
           "retry": "retry", "keep": "keep"}
    for column, value, words in FAULTS:
        good = dict(GOOD)
        good[column] = value
        status, error = cluster.psql(insert("message", good), check=False)
        assert status != 0 and words in error, (column, value, error)
        row = {log[name]: text for name, text in good.items()}
        row["id"] = "1"
        if "keep" in good:
            row["expires"] = "1"
        status, error = cluster.psql(insert("log", row), check=False)
        assert status != 0 and words in error, (column, value, error)
    for row, words in (({"id": "0"}, "a timestamp is a number from 1"),
                       ({"id": "9007199254740992"}, "a timestamp is a number"),
                       ({"id": "1", "keep": "1"}, "has an end"),
                       ({"id": "1", "expires": "1"}, "has an end")):
        status, error = cluster.psql(insert("log", {**GOOD, **row}),
                                     check=False)
        assert status != 0 and words in error, (row, error)
    assert cluster.psql("SELECT count(*) FROM comet.message") == "0"
    full = {"channel": "repeat('c', 255)", "type": "repeat('t', 255)",
            "author": "repeat('a', 255)", "body": "repeat('b', 1048576)",
            "private": "1", "id": "repeat('i', 255)", "retry": "0",
            "keep": "86400"}
    cluster.psql(insert("message", full))
    cluster.psql(insert("message", {"channel": "'...'", "body": "''"}))
    assert cluster.psql("SELECT count(*) FROM comet.message") == "2"
    assert cluster.psql("SELECT moved FROM comet.move('0', 9, 100, false)") \
        == "2"
    assert cluster.psql("SELECT count(*) FROM comet.log") == "2"


class Publisher(Background):
    """Publishes one message after the other."""

    def __init__(self, host, prefix):
        super().__init__()
        self.host, self.prefix, self.count = host, prefix, 0

    def run(self):
        while not self.done.is_set():
            assert self.host.post("chat", "%s%d" % (self.prefix, self.count))
            self.count += 1


def test_820_04_an_upgrade_under_way(cluster, half, make_server):
    """This module works with the schema of version 5. The schema is brought up
    to date while servers publish: each message arrives once and in order, and
    no publisher is refused."""
    lay_version_5(half)
    conf = server_conf(cluster)
    conf["conf"] = conf["conf"].replace("dbname=site", "dbname=half")
    hosts = [make_server(**dict(conf)) for _ in range(2)]
    for host in hosts:
        wait_until(lambda: host.get("/comet/any?wait=0").status == 200, 15,
                   "the database")
    with Stream(hosts[0], "/comet/chat") as stream:
        with Publisher(hosts[0], "a") as here, Publisher(hosts[1], "b") as there:
            wait_until(lambda: min(here.count, there.count) > 20, 20, "messages")
            half("schema.sql")
            reached = here.count + 20, there.count + 20
            wait_until(lambda: here.count > reached[0]
                       and there.count > reached[1], 20, "messages")
        seen = stream.until(here.count + there.count)
    for publisher in (here, there):
        assert [text for text in seen if text[0] == publisher.prefix] \
            == ["%s%d" % (publisher.prefix, i) for i in range(publisher.count)]
    assert half(VERSION) == "6"
    for host in hosts:
        host.stop()


def test_820_05_rights_between_two_files(half):
    """Between 002_messages.sql and grants.sql, a web server with a module of
    the first version goes on reading."""
    half("001_initial.sql")
    half("GRANT USAGE ON SCHEMA comet TO comet_httpd;"
         " GRANT SELECT ON ALL TABLES IN SCHEMA comet TO comet_httpd;"
         " GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA comet TO comet_httpd")
    half("SELECT comet.append('{a}', '{message}', '{NULL}', '{old}', 9, true)",
         user="comet_httpd")
    half("002_messages.sql")
    assert half("SELECT body FROM comet.read_one('a', 0, 9007199254740991, 9,"
                " 9, true)", user="comet_httpd") == "old"


def test_820_06_the_first_version_and_a_back_up(cluster, half):
    """002_messages.sql gives up soon, too, while another session reads the
    messages."""
    half("001_initial.sql")
    with contextlib.closing(cluster.session(database="half")) as session:
        session.run("BEGIN")
        session.run("SELECT count(*) FROM comet.message")
        status, error = half("SET statement_timeout = '20s';\n\\i %s\n"
                             % os.path.join(REPO, "sql/postgresql/schema.sql"),
                             check=False)
        assert status != 0 and "lock timeout" in error
        assert half(VERSION) == "1"
    half("schema.sql")
    assert half(VERSION) == "6"


def test_820_07_a_search_in_the_locale_C(cluster, half):
    """Where the database's locale lets no search ignore the case of all
    letters, search.sql says so, and how to make a database that does. In the
    locale that the manual names, it says nothing."""
    half("schema.sql")
    assert half("search.sql", check=False) == (0, "")
    half("SELECT 1 / (comet.words_of(E'\u042f') @@ comet.query_of(E'\u044f'))"
         "::integer")
    cluster.psql("CREATE DATABASE ascii ENCODING 'UTF8' TEMPLATE template0"
                 " LOCALE 'C'")
    try:
        for name in ("schema.sql", "search.sql"):
            status, said = cluster.psql(
                "\\i " + os.path.join(REPO, "sql/postgresql", name),
                database="ascii", check=False)
            assert status == 0, said
        assert "LC_CTYPE of this database is C:" in said
        assert "createdb -E UTF8 -T template0 -l C.UTF-8" in said
    finally:
        cluster.psql("DROP DATABASE ascii")


def test_820_08_backslashes(half):
    """The schema and the search are the same where a database sets
    standard_conforming_strings off, as old applications want it."""
    query = "SELECT comet.query_of(E'vv\\\\x \\'\\tb*')"
    half("ALTER DATABASE half SET standard_conforming_strings = off;"
         " ALTER DATABASE half SET escape_string_warning = off")
    half("schema.sql")
    half("search.sql")
    assert half(query) == "'vv' <-> 'x' & 'b':*"
    for column, value, words in FAULTS:
        status, error = half(insert("message", {**GOOD, column: value}),
                             check=False)
        assert status != 0 and words in error, (column, value, error)
    half(insert("message", {**GOOD, "id": "'nru'", "channel": "'u0001'"}))


KEEPER = """CREATE FUNCTION public.keeper() RETURNS trigger LANGUAGE plpgsql AS
 $$ BEGIN RAISE EXCEPTION 'kept for ever'; END $$;
 CREATE TRIGGER keeper BEFORE DELETE ON comet.log FOR EACH ROW
 WHEN (OLD.channel IN ('m', 'passing')) EXECUTE FUNCTION public.keeper()"""
OVER = """BEGIN; ALTER TABLE comet.log DISABLE TRIGGER message_log_update;
 UPDATE comet.log SET expires = 1 WHERE channel = 'passing';
 ALTER TABLE comet.log ENABLE TRIGGER message_log_update; COMMIT"""


def keeping_server(cluster, half, make_server, extra=""):
    """Start a server whose upkeep a trigger of the site does not allow to remove
    the messages of two channels, one of which has a message that is over."""
    half(KEEPER)
    conf = server_conf(cluster, extra=extra)
    conf["conf"] = conf["conf"].replace("dbname=site", "dbname=half")
    host = make_server(**conf)
    wait_until(lambda: host.get("/comet/any?wait=0").status == 200, 15,
               "the database")
    answer = host.request("POST", "/comet/passing?keep=1h", b"x",
                          {"Content-Type": "text/plain"})
    assert answer.status == 201, answer
    half(OVER)
    return host


def bodies(half, channel):
    return half("SELECT string_agg(body, ',' ORDER BY id) FROM comet.log"
                " WHERE channel = '%s'" % channel)


def test_820_09_a_trigger_that_keeps_messages(half, cluster, make_server):
    """If a trigger refuses the removal of some messages, these stay. Retention
    goes on in the other channels, old Idempotency-Keys are removed, and the log
    has the trigger's words."""
    half("schema.sql")
    host = keeping_server(cluster, half, make_server, "CometRetain count=2\n")
    for i in range(5):
        for channel in ("a", "m", "z"):
            assert host.post(channel, str(i))
    half("INSERT INTO comet.idempotency_key(timestamp, count, channel, author,"
         " key, hash, expires) VALUES(1, 1, 'a', '', 'k',"
         " decode(repeat('00', 20), 'hex'), 1)")
    for channel in ("a", "z"):
        wait_until(lambda: bodies(half, channel) == "3,4", 20, channel)
    wait_until(lambda: half("SELECT count(*) FROM comet.idempotency_key")
               == "0", 20, "the key's end")
    assert bodies(half, "m") == "0,1,2,3,4"
    assert bodies(half, "passing") == "x"
    words = "COMET0124", "refused a change: kept for ever (SQLSTATE P0001)"
    wait_until(lambda: all(w in host.error_log() for w in words), 10, words)
    assert "COMET0121" not in host.error_log()
    host.stop()


def test_820_10_a_refusal_and_the_search(half, cluster, make_server):
    """With the schema of version 5, too, older messages become searchable while
    a trigger refuses the removal of messages that are over."""
    lay_version_5(half)
    host = keeping_server(cluster, half, make_server)
    assert host.post("a", "needle")
    wait_until(lambda: "COMET0124" in host.error_log(), 20, "a refusal")
    half("search.sql")
    half("grants.sql")
    wait_until(lambda: b"needle" in host.get("/comet/a?q=needle").body, 20,
               "the search")
    assert bodies(half, "passing") == "x"
    host.stop()
