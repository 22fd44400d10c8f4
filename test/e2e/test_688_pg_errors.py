# SPDX-License-Identifier: Apache-2.0
"""Faults that keep a web server from using its PostgreSQL.  The log says what
to do, and afterwards everything works again without help."""

import os
import pwd
import shutil
import tempfile
import threading
import time

import pytest

from comet_load import quantile
from httpd_env import PATIENCE, WWW_USER, Httpd, is_root, wait_until
from pg_env import Cluster, server_conf
from stream_client import Stream
from tmpfs import Tmpfs

pytestmark = [pytest.mark.long, pytest.mark.event, pytest.mark.bound(90)]
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def cluster():
    """Yield a cluster to which web servers log in with a password."""
    made = Cluster()
    made.psql("ALTER ROLE comet_httpd PASSWORD 'right'")
    path = made.folder + "/data/pg_hba.conf"
    with open(path) as rules:
        text = rules.read()
    with open(path, "w") as rules:
        rules.write("local all comet_httpd scram-sha-256\n" + text)
    made.psql("SELECT pg_reload_conf()")
    yield made
    made.close()


class Passfile:
    """A password file, owned by the user that the children run as."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "pass")

    def write(self, password):
        with open(self.path, "w") as out:
            out.write("*:*:*:*:%s\n" % password)
        os.chmod(self.path, 0o600)
        if is_root():
            os.chown(self.path, pwd.getpwnam(WWW_USER).pw_uid, -1)


@pytest.fixture(scope="module")
def folder():
    """Yield a folder that every user can enter. Pytest's own folders are closed
    again by each other run of pytest that starts."""
    made = tempfile.mkdtemp(prefix="comet-errors-")
    os.chmod(made, 0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def passfile(folder):
    made = Passfile(folder)
    made.write("right")
    return made


@pytest.fixture(scope="module")
def host(cluster, passfile):
    conf = server_conf(cluster, children=1, extra='<Location "/comet">\n'
                       "  CometModerate on\n</Location>\n"
                       "CometPublishTimeout 15s\n")
    conf["conf"] = conf["conf"].replace(
        cluster.conninfo, cluster.conninfo + " passfile=" + passfile.path) \
        .replace("CometSearch on\n", "")
    server = Httpd(**conf)
    server.start()
    wait_until(lambda: post(server) == 201, 15, "the database")
    yield server
    problems = server.close()
    assert not problems, problems


def post(host, body=b"x", path="chat"):
    return host.request("POST", "/comet/" + path, body, TEXT, 30).status


def end_sessions(cluster):
    cluster.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE usename = 'comet_httpd'")


def fails(host, words, status=503):
    """Check that publishing fails, and that the log says these words."""
    begun = len(host.error_log())
    wait_until(lambda: post(host) == status, 10, "a refusal", 0.05)
    wait_until(lambda: words in host.error_log()[begun:], 10, words, 0.05)


def recovers(host, figure, what):
    """Check that publishing soon works again without help."""
    begin = time.monotonic()
    wait_until(lambda: post(host) == 201, 20, "publishing", 0.02)
    took = time.monotonic() - begin
    figure("%s: publishing again after %.2f s" % (what, took))
    assert took < 3 * PATIENCE, took


def test_688_01_wrong_password(cluster, host, passfile, figure):
    """With a wrong password in the password file publishing fails."""
    passfile.write("wrong")
    end_sessions(cluster)
    fails(host, "check the user and the password in the passfile")
    passfile.write("right")
    recovers(host, figure, "wrong password")
    assert "wrong" not in host.error_log()


def test_688_02_too_many_connections(cluster, host, figure):
    """If the server has too many connections, publishing fails."""
    cluster.psql("ALTER ROLE comet_httpd CONNECTION LIMIT 0")
    end_sessions(cluster)
    fails(host, "raise max_connections, or run fewer children")
    cluster.psql("ALTER ROLE comet_httpd CONNECTION LIMIT -1")
    recovers(host, figure, "too many connections")


def test_688_03_read_only(cluster, host, figure):
    """If the server accepts no writes, like a standby, publishing fails."""
    cluster.psql("ALTER ROLE comet_httpd SET default_transaction_read_only"
                 " = on")
    end_sessions(cluster)
    fails(host, "target_session_attrs=read-write")
    cluster.psql("ALTER ROLE comet_httpd RESET default_transaction_read_only")
    end_sessions(cluster)
    recovers(host, figure, "read-only")


def test_688_04_full_disk(cluster, host, folder, figure):
    """If the table's disk is full, publishers get 507."""
    mounted = os.path.join(folder, "disk")
    os.mkdir(mounted)
    disk = Tmpfs(mounted, "4m")
    try:
        place = os.path.join(mounted, "small")
        os.mkdir(place)
        os.chmod(mounted, 0o755)
        shutil.chown(place, "postgres", "postgres")
        cluster.psql("CREATE TABLESPACE small LOCATION '%s'" % place)
        cluster.psql("ALTER TABLE comet.log SET TABLESPACE small")
        wait_until(lambda: post(host, os.urandom(30000).hex().encode())
                   == 507, 20, "the disk to be full", 0.01)
        wait_until(lambda: "make room on the database server's disk"
                   in host.error_log(), 10, "the log")
        cluster.psql("ALTER TABLE comet.log SET TABLESPACE pg_default")
        recovers(host, figure, "full disk")
        cluster.psql("DROP TABLESPACE small")
    finally:
        disk.close()


def test_688_05_a_newer_schema(cluster, host):
    """A schema of a later version can be used, because an administrator updates
    the schema first, and then the web servers one by one."""
    cluster.psql("UPDATE comet.schema SET version = version + 1")
    end_sessions(cluster)
    wait_until(lambda: post(host) == 201, 10, "publishing")
    cluster.psql("UPDATE comet.schema SET version = version - 1")


def test_688_06_a_table_that_is_locked(cluster, host, figure):
    """While an administrator has locked the log, readers get 503, and sessions
    do not accumulate at the server."""
    session = cluster.session()
    session.run("BEGIN")
    session.run("LOCK TABLE comet.log IN ACCESS EXCLUSIVE MODE")
    most = 0
    for _ in range(6):
        answer = host.get("/comet/chat?before=9&limit=5", timeout=30)
        assert answer.status == 503, answer
        most = max(most, int(cluster.psql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE usename = 'comet_httpd'")))
    session.run("ROLLBACK")
    session.close()
    wait_until(lambda: host.get("/comet/chat?before=9&limit=5").status == 200,
               10, "reading")
    recovers(host, figure, "a locked table, at most %d sessions" % most)
    assert most <= 8, most      # writer, scout, fetcher, 4 readers, watch


# -- triggers and settings of other people --------------------------------------

TRIGGER = """
CREATE FUNCTION public.others() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  %s
END $$;
CREATE TRIGGER others %s ON comet.log FOR EACH ROW
  EXECUTE FUNCTION public.others();
"""
DROP = "DROP FUNCTION public.others CASCADE"


def test_688_07_a_warning_is_no_failure(cluster, host):
    """A message is acknowledged even if the server gives a warning at its
    commit, as it does before its transaction numbers run out."""
    cluster.psql(TRIGGER % ("RAISE WARNING 'vacuum this'; RETURN NEW;",
                            "BEFORE INSERT"))
    try:
        for _ in range(3):
            assert post(host) == 201
    finally:
        cluster.psql(DROP)


@pytest.mark.parametrize("keyed", [False, True])
def test_688_08_a_dropped_message_is_not_acknowledged(cluster, host, keyed):
    """If a trigger silently drops a message, its publisher gets an error.
    Other messages are stored."""
    cluster.psql(TRIGGER % ("IF NEW.body = 'spam' THEN RETURN NULL; END IF;"
                            " RETURN NEW;", "BEFORE INSERT"))
    query = "?keep=1h" if keyed else ""
    try:
        for body, refused in ((b"spam", True), (b"ham", False)):
            answer = host.request("POST", "/comet/spam" + query, body, TEXT)
            assert (answer.status >= 400) == refused, answer
        assert [m["body"] for m in host.history("spam")][-1] == "ham"
    finally:
        cluster.psql(DROP)


def test_688_09_a_refused_row_keeps_nobody_waiting(cluster, host):
    """If a trigger refuses a message that an application has inserted, the
    message is dropped, and the server's log has a warning.  Messages before and
    after it are published."""
    cluster.psql(TRIGGER % ("IF NEW.body = 'spam' THEN RAISE EXCEPTION"
                            " 'no spam'; END IF; RETURN NEW;",
                            "BEFORE INSERT"))
    try:
        with Stream(host, "/comet/refused?since=0") as stream:
            cluster.psql("INSERT INTO comet.message(channel, body) VALUES"
                         "('refused', 'a'), ('refused', 'spam'),"
                         " ('refused', 'b')")
            assert stream.until(2) == ["a", "b"]
            answer = host.request("POST", "/comet/refused", b"spam", TEXT)
            assert 400 <= answer.status < 500, answer
            assert host.post("refused", "c")
            assert stream.until(3) == ["a", "b", "c"]
        assert cluster.psql("SELECT count(*) FROM comet.inbox") == "0"
        assert "channel refused was refused: no spam" in cluster.log()
    finally:
        cluster.psql(DROP)


def test_688_10_a_cancelled_append_is_tried_again(cluster, host):
    """If an administrator cancels an append that waits for its turn, the
    message is still stored, once."""
    session = cluster.session()
    session.run("BEGIN")
    session.run("LOCK TABLE comet.turn IN EXCLUSIVE MODE")
    answers = []
    thread = threading.Thread(target=lambda: answers.append(host.request(
        "POST", "/comet/cancel", b"once", TEXT, 30)))
    thread.start()
    waiting = "FROM pg_stat_activity WHERE usename = 'comet_httpd'" \
        " AND wait_event_type = 'Lock' AND query LIKE '%comet.append%'"
    wait_until(lambda: cluster.psql("SELECT count(*) " + waiting) == "1", 10,
               "the append to wait", 0.01)
    cluster.psql("SELECT pg_cancel_backend(pid) " + waiting)
    session.run("ROLLBACK")
    session.close()
    thread.join(30)
    assert answers[0].status == 201, answers
    assert [m["body"] for m in host.history("cancel")] == ["once"]


def test_688_11_what_waits_for_an_application_lets_publishers_pass(cluster,
                                                                   host):
    """An application's open transaction has deleted a message.  A moderator who
    deletes another message has to wait for that transaction, but publishers do
    not."""
    host.post("moderated", "one")
    two = host.post("moderated", "two")
    session = cluster.session()
    session.run("BEGIN")
    session.run("DELETE FROM comet.message WHERE body = 'one'")
    answers, over = [], threading.Event()

    def moderate():
        while not over.is_set():
            answers.append(host.request(
                "POST", "/comet/moderated?delete=%d" % two, b"", TEXT,
                30).status)

    thread = threading.Thread(target=moderate)
    thread.start()
    took = []
    try:
        for _ in range(40):
            begin = time.monotonic()
            assert host.post("chat", "x")
            took.append(time.monotonic() - begin)
    finally:
        over.set()
        session.run("COMMIT")
        session.close()
        thread.join(30)
    assert 503 in answers or 200 not in answers[:-1], answers
    assert quantile(took, 0.9) < 0.3 * PATIENCE, sorted(took)[-5:]


def test_688_12_row_level_security(cluster, host):
    """If row-level security would hide the messages, the log says so, and
    readers get 503.  When it is off, they get what was stored meanwhile."""
    with Stream(host, "/comet/policy?since=0") as stream:
        begun = len(host.error_log())
        cluster.psql("ALTER TABLE comet.log ENABLE ROW LEVEL SECURITY")
        try:
            assert post(host, path="policy") == 201
            wait_until(lambda: "DISABLE ROW LEVEL SECURITY"
                       in host.error_log()[begun:], 10, "the log", 0.05)
            answer = host.get("/comet/policy?before=9&limit=5", timeout=30)
            assert answer.status == 503, answer
        finally:
            cluster.psql("ALTER TABLE comet.log DISABLE ROW LEVEL SECURITY")
        assert stream.until(1) == ["x"]


def test_688_13_a_broken_trigger(cluster, host):
    """If somebody's trigger needs a table that does not exist, the log says so,
    and does not ask for the schema, even if the table's name begins with comet.
    When the trigger works again, the messages in the inbox are published."""
    begun = len(host.error_log())
    cluster.psql(TRIGGER % ("PERFORM FROM comet_nosuch; RETURN NEW;",
                            "BEFORE INSERT"))
    try:
        cluster.psql("INSERT INTO comet.message(channel, body)"
                     " VALUES('broken', 'waits')")
        assert post(host) >= 500
        wait_until(lambda: '"comet_nosuch"' in host.error_log()[begun:], 10,
                   "the log", 0.05)
    finally:
        cluster.psql(DROP)
    wait_until(lambda: host.history("broken") != [], 10, "the message")
    assert "create the schema" not in host.error_log()[begun:]
