# SPDX-License-Identifier: Apache-2.0
"""How a web server behaves while its PostgreSQL hangs, stops or is not
ready."""

import os
import threading
import time

import pytest

from httpd_env import SLOW, give, is_root, wait_until
from pg_env import Cluster, server_conf
from stream_client import Stream
from test_475_places import as_user, configtest_by


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    yield made
    made.close()


def start(make_server, cluster, **more):
    host = make_server(**server_conf(cluster, **more))
    wait_until(lambda: host.get("/comet/any?wait=0").status == 200, 15,
               "the database")
    return host


def slowest(host, target, seconds):
    """Repeat a GET for some seconds; return the longest time that one took."""
    end, worst = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        begin = time.monotonic()
        assert host.get(target).status == 200
        worst = max(worst, time.monotonic() - begin)
        time.sleep(0.02)
    return worst


class Beats(threading.Thread):
    """A thread that reads a stream of which only heartbeats are expected."""

    def __init__(self, stream, count):
        super().__init__()
        self.stream, self.count, self.at = stream, count, [time.monotonic()]
        self.start()

    def run(self):
        for _ in range(self.count):
            assert self.stream.step()
            self.at.append(time.monotonic())

    def longest(self):
        """Return the longest time between two heartbeats."""
        self.join(self.count * 4 * SLOW)
        assert len(self.at) == self.count + 1, self.at
        return max(b - a for a, b in zip(self.at, self.at[1:]))


def try_post(host, channel, text):
    return host.request("POST", "/comet/" + channel, text,
                        {"Content-Type": "text/plain"}).status


@pytest.mark.bound(90)
def test_810_01_a_server_that_hangs(make_server, cluster, figure):
    """While the database server hangs, static files and heartbeats go on, and
    publishers and readers get 503.  Afterwards everything works again without
    help."""
    host = start(make_server, cluster, extra="CometHeartbeat 1s\n")
    host.post("chat", "before")
    with Stream(host, "/comet/chat?since=0") as stream:
        stream.until(1)
        cluster.pause()
        try:
            answers, threads = [], []
            for _ in range(4):
                threads.append(threading.Thread(target=lambda: answers.append(
                    try_post(host, "chat", b"meanwhile"))))
                threads.append(threading.Thread(target=lambda: answers.append(
                    host.get("/comet/chat?since=0&wait=0").status)))
            for thread in threads:
                thread.start()
            beats = Beats(stream, 5)
            static = slowest(host, "/static.txt", 3)
            late = beats.longest()
            for thread in threads:
                thread.join(20 * SLOW)
            assert answers and set(answers) <= {503}, answers
        finally:
            cluster.resume()
        assert static < 0.5 * SLOW, static
        assert late < 2.5 * SLOW, late
        wait_until(lambda: try_post(host, "chat", b"after") == 201, 10,
                   "publishing to work again")
        stream.until_bytes(b"data: after")
    # unacknowledged messages may be in the history, too
    assert [m["body"] for m in host.history("chat")][0] == "before"
    figure("database stopped: a static file took at most %.0f ms, and of five "
           "heartbeats, one a second, two were at most %.1f s apart"
           % (static * 1000, late))


def test_810_02_a_server_that_hangs_does_not_keep_httpd_from_ending(
        make_server, cluster, figure):
    """httpd reloads and stops in time while the database hangs."""
    host = start(make_server, cluster, may_leak=True)
    with Stream(host, "/comet/chat") as stream:
        cluster.pause()
        try:
            begin = time.monotonic()
            host.graceful()
            stream.until_end()
            reload = time.monotonic() - begin
            assert host.get("/static.txt").status == 200
            took = host.stop()
        finally:
            cluster.resume()
    assert took < 5 * SLOW, took
    figure("database stopped: httpd reloaded in %.1f s and stopped in %.1f s"
           % (reload, took))


def test_810_03_a_server_that_is_killed_and_started(make_server, cluster):
    """When PostgreSQL is killed and started again, no acknowledged message is
    lost, streams stay open, and the log reports the recovery."""
    host = start(make_server, cluster)
    stored = []
    with Stream(host, "/comet/crash?since=0") as stream:
        stored += [host.post("crash", str(i)) for i in range(5)]
        stream.until(5)
        cluster.crash()
        assert try_post(host, "crash", b"lost") == 503
        assert host.get("/comet/crash?since=0&wait=0").status == 503
        cluster.start()
        begin = time.monotonic()
        wait_until(lambda: try_post(host, "crash", b"again") == 201, 10,
                   "publishing to work again", 0.05)
        assert time.monotonic() - begin < 3 * SLOW
        stream.until(6)
        assert [int(e["id"]) for e in stream.events[:5]] == stored
    messages = host.history("crash")
    assert [m["timestamp"] for m in messages[:5]] == stored
    assert "works again" in host.error_log()


def test_810_04_a_database_that_is_not_ready(make_server, cluster):
    """If the schema, rights or an upgrade is missing, the log names the command
    that helps.  Once the database is ready, everything works."""
    cluster.psql("ALTER SCHEMA comet RENAME TO elsewhere")
    host = make_server(**server_conf(cluster))
    try:
        assert try_post(host, "chat", b"x") == 503
        wait_until(lambda: "psql -f schema.sql" in host.error_log(), 10,
                   "the log")
    finally:
        cluster.psql("ALTER SCHEMA elsewhere RENAME TO comet")
    wait_until(lambda: try_post(host, "chat", b"x") == 201, 10, "the schema")
    cluster.psql("REVOKE USAGE ON SCHEMA comet FROM comet_httpd")
    try:
        assert try_post(host, "chat", b"x") == 503
        wait_until(lambda: "psql -f grants.sql" in host.error_log(), 10,
                   "the log")
    finally:
        cluster.lay("grants.sql")
    wait_until(lambda: try_post(host, "chat", b"x") == 201, 10, "the rights")
    cluster.psql("UPDATE comet.schema SET version = 1")
    try:
        host.graceful()
        wait_until(lambda: "as its owner run psql -f schema.sql"
                   in host.error_log(), 10, "the log")
    finally:
        cluster.psql("UPDATE comet.schema SET version = 6")
    wait_until(lambda: try_post(host, "chat", b"x") == 201, 10, "the version")
    assert "password" not in host.error_log()


def test_810_07_after_a_short_stop(make_server, cluster):
    """The database server is stopped while it is asked for news, but not for so
    long that the question fails.  Afterwards messages come soon: a pause after
    a question lasts several times as long as the question, but not for ever."""
    host = start(make_server, cluster)
    with Stream(host, "/comet/chat") as stream:
        assert host.post("chat", "before")
        stream.until(1)
        cluster.pause()
        time.sleep(2)       # the time for which it is stopped is the test
        cluster.resume()
        began = time.monotonic()
        cluster.psql("INSERT INTO comet.message(channel, body)"
                     " VALUES('chat', 'after')")
        stream.until_bytes(b"data: after")
        assert time.monotonic() - began < 5 * SLOW


WRONG = {
    "host=h dbname=d password=secret": "allowed: expected no password here",
    "//u:secret@h/d": "allowed: expected no password here",
    "": "allowed: expected sqlite:PATH or postgresql:CONNECTION\n",
    "nonsense": "allowed: expected postgresql: and a connection string",
    "service=comet colour=red": "colour",
}


def test_810_05_what_configtest_says(make_server, cluster):
    """configtest refuses a wrong store, and warns of a risky one."""
    host = make_server(start=False, **server_conf(cluster))
    rest = "CometEndpoint /comet\n"
    for value, expected in WRONG.items():
        code, text = host.configtest(
            'CometStore "postgresql:%s"\n' % value + rest)
        assert code != 0 and expected in text, (value, text)
        assert "secret" not in text
    for value in ("service=comet", "host=/run/postgresql dbname=site",
                  "//comet_httpd@%2Frun%2Fpostgresql/site"):
        code, text = host.configtest(
            'CometStore "postgresql:%s"\n' % value + rest)
        assert code == 0 and "Syntax OK" in text, (value, text)
        assert "sslmode" not in text
    code, text = host.configtest(
        'CometStore "postgresql:host=db.example.org dbname=site"\n' + rest)
    assert code == 0 and "sslmode=verify-full" in text, text
    passfile = os.path.join(host.root, "pass")
    with open(passfile, "w") as file:
        file.write("*:*:*:*:secret\n")
    for httpds, mode, right in ((False, 0o600, not is_root()),
                                (True, 0o644, False), (True, 0o600, True)):
        if httpds:
            give(passfile)
        os.chmod(passfile, mode)
        code, text = host.configtest(
            'CometStore "postgresql:host=/x passfile=%s"\n' % passfile + rest)
        assert code == 0 and ("chmod 600" in text) != right, (mode, text)
    host.comet = "load"
    if is_root():
        hidden = os.path.join(host.root, "hidden")
        os.mkdir(hidden, 0o700)
        code, text = configtest_by(
            host, as_user("nobody"), 'CometStore "postgresql:host=/x '
            'passfile=%s/pass"\n' % hidden + rest)
        assert code == 0 and hidden + "/pass is not checked" in text, text
    host.before = ""
    code, text = host.configtest('CometStore "postgresql:service=x"\n' + rest)
    assert code != 0 and "LoadModule comet_pg_module" in text, text
