# SPDX-License-Identifier: Apache-2.0
"""Two web servers on one PostgreSQL database: what one server stores, the other
delivers."""

import threading
import time

import pytest

from httpd_env import SLOW, Httpd, wait_until
from pg_env import Cluster, Pooler, server_conf
from stream_client import Stream

JSON = {"Content-Type": "text/plain; charset=utf-8"}


@pytest.fixture(scope="module", params=[
    "direct", pytest.param("pooled", marks=pytest.mark.long)])
def cluster(request):
    """Yield a cluster that the web servers reach directly or through
    PgBouncer."""
    made = Cluster()
    made.lay("search.sql")
    pooler = Pooler(made) if request.param == "pooled" else None
    yield made
    if pooler:
        pooler.close()
    made.close()


@pytest.fixture(scope="module")
def hosts(cluster):
    made = [Httpd(**server_conf(cluster)) for _ in range(2)]
    for host in made:
        host.start()
    wait_until(lambda: all(works(host) for host in made), 15,
               "both servers to reach the database")
    yield made
    problems = [problem for host in made for problem in host.close()]
    assert not problems, problems


def works(host):
    return host.get("/comet/any?wait=0").status == 200


def bodies(host, channel, query="since=0&limit=1000&wait=0"):
    return [m["body"] for m in host.history(channel, query)]


def test_800_01_published_here_read_there(hosts):
    """A message from either server reaches the stream and the history of the
    other server, in the same order."""
    here, there = hosts
    with Stream(there, "/comet/first?since=0") as stream:
        times = [(here if i % 2 else there).post("first", "m%d" % i)
                 for i in range(20)]
        assert times == sorted(times) and len(set(times)) == 20
        stream.until(20)
        assert [int(e["id"]) for e in stream.events] == times
        assert bodies(here, "first") == bodies(there, "first") \
            == ["m%d" % i for i in range(20)]
        answer = there.get("/comet/first?since=%d&wait=0" % times[17]).json()
        assert [m["timestamp"] for m in answer["messages"]] == times[18:]
        assert answer["gap"] is False
        answer = there.get("/comet/first?before=%d&limit=2" % times[5]).json()
        assert [m["body"] for m in answer["messages"]] == ["m3", "m4"]


def test_800_02_a_poll_waits_for_another_servers_message(hosts):
    """A waiting poll is answered when the other server publishes."""
    here, there = hosts
    since = here.post("poll", "old")
    got = []
    thread = threading.Thread(target=lambda: got.append(
        there.get("/comet/poll?since=%d&wait=20" % since).json()))
    thread.start()
    there.wait_waiting(1)
    stored = here.post("poll", "news")
    thread.join(10 * SLOW)
    assert [m["timestamp"] for m in got[0]["messages"]] == [stored]


def test_800_03_an_applications_transaction_stalls_nobody(cluster, hosts):
    """Publishing continues while an application's transaction is open.  When it
    commits, its messages are published in order; after a rollback, none is."""
    here, there = hosts
    with Stream(there, "/comet/app?since=0") as stream:
        app, other = cluster.session(), cluster.session()
        app.run("BEGIN")
        other.run("BEGIN")
        for i in range(3):
            app.run("INSERT INTO comet.message(channel, author, body)"
                    " VALUES('app', 'php', 'row %d')" % i)
        other.run("INSERT INTO comet.message(channel, body)"
                  " VALUES('app', 'undone')")
        other.run("DELETE FROM comet.message WHERE channel = 'first'")
        for i in range(5):
            begin = time.monotonic()
            here.post("app", "web %d" % i)
            assert time.monotonic() - begin < 1.0 * SLOW
        assert stream.until(5) == ["web %d" % i for i in range(5)]
        app.run("COMMIT")
        begin = time.monotonic()
        assert stream.until(8)[5:] == ["row 0", "row 1", "row 2"]
        assert time.monotonic() - begin < 1.0 * SLOW
        other.run("ROLLBACK")
        here.post("app", "end")
        assert stream.until(9)[8:] == ["end"]
        app.close()
        other.close()
    assert here.history("app")[6]["author"] == "php"
    assert cluster.psql("SELECT count(*) FROM comet.message"
                        " WHERE timestamp IS NULL") == "0"


def test_800_04_what_psql_deletes_is_gone_from_memory(cluster, hosts):
    """Neither server replays a deleted message, nor reports it as a gap."""
    for host in hosts:
        host.post("moderated", "good")
    spam = hosts[0].post("moderated", "spam")
    for host in hosts:      # from now on each server has it in memory
        assert "spam" in bodies(host, "moderated")
    cluster.psql("DELETE FROM comet.message WHERE body = 'spam'")
    for host in hosts:
        for _ in range(4):
            answer = host.get("/comet/moderated?since=0&wait=0").json()
            assert [m["body"] for m in answer["messages"]] == ["good", "good"]
            assert answer["gap"] is False
    assert hosts[1].post("moderated", "later") > spam


def test_800_05_a_stream_goes_on_at_the_other_server(hosts):
    """A stream resumes exactly after Last-Event-ID at the other server."""
    here, there = hosts
    with Stream(here, "/comet/resume?since=0") as stream:
        for i in range(5):
            here.post("resume", str(i))
        stream.until(3)
        last = stream.events[2]["id"]
    with Stream(there, "/comet/resume",
                {"Last-Event-ID": last}) as stream:
        here.post("resume", "5")
        assert stream.until(3) == ["3", "4", "5"]


def test_800_06_a_key_is_used_once_over_all_servers(hosts):
    """If a request is repeated at the other server with its Idempotency-Key,
    its message is stored only once."""
    key = dict(JSON, **{"Idempotency-Key": "order-1"})
    first, again = [host.request("POST", "/comet/keys", b"paid", key)
                    for host in hosts]
    assert (first.status, again.status) == (201, 200)
    assert first.json()["timestamp"] == again.json()["timestamp"]
    other = hosts[1].request("POST", "/comet/keys", b"paid twice", key)
    assert other.status == 422
    assert bodies(hosts[0], "keys") == ["paid"]


def test_800_07_batches_wildcards_and_search(hosts):
    """A wildcard and a search at one server find the NDJSON batches that the
    other server published."""
    here, there = hosts
    for channel, body in (("multi/a", b"Deploy finished"),
                          ("multi/b", b"d\xc3\xa9ploy failed")):
        answer = here.request("POST", "/comet/" + channel,
                              b'{"body":"x"}\n{"body":"%s"}\n' % body,
                              {"Content-Type": "application/x-ndjson"})
        assert answer.status == 201, answer
    every = there.get("/comet?channel=multi/*&since=0&wait=0").json()
    assert [m["channel"] for m in every["messages"]] \
        == ["multi/a"] * 2 + ["multi/b"] * 2
    found = there.get("/comet?channel=multi/*&q=deploy").json()["messages"]
    assert [m["channel"] for m in found] == ["multi/a", "multi/b"]
    assert bodies(there, "multi/a", "q=fin*&since=0") == ["Deploy finished"]
    assert there.history("multi/a", "q=failed&since=0") == []


def test_800_08_a_slow_reader_is_served_from_the_database(hosts):
    """Streams and polls get messages that are no longer in memory from the
    database."""
    here, there = hosts
    lines = b"".join(b'{"body":"%d"}\n' % i for i in range(500))
    for _ in range(4):
        assert here.request("POST", "/comet/long", lines, {
            "Content-Type": "application/x-ndjson"}).status == 201
    with Stream(there, "/comet/long?since=0") as stream:
        assert stream.until(2000) == [str(i) for i in range(500)] * 4
        ids = [int(e["id"]) for e in stream.events]
        assert ids == sorted(set(ids))
        here.post("long", "end")
        assert stream.until(2001)[-1] == "end"
    assert len(there.history("long", "since=0&limit=1000")) == 1000


def test_800_09_a_restart_of_a_server_loses_nothing(hosts):
    """A client gets each message once, although one server restarts during
    publishing."""
    here, there = hosts
    since = here.post("reload", "before")
    with Stream(there, "/comet/reload?since=%d" % since) as stream:
        there.graceful()
        stored = here.post("reload", "meanwhile")
        stream.until_end()
        seen, last = stream.data(), stream.parser.last_id
    answer = there.get("/comet/reload?since=%d&wait=0" % since).json()
    assert [m["timestamp"] for m in answer["messages"]] == [stored]
    with Stream(there, "/comet/reload?since=%s" % (last or since)) as stream:
        here.post("reload", "after")
        assert seen + stream.until(2 - len(seen)) == ["meanwhile", "after"]


def test_800_10_retention_tells_of_the_gap(cluster, make_server):
    """CometRetain removes the oldest messages.  A reader that missed some of
    them is told of a gap."""
    host = make_server(**server_conf(cluster, extra="CometRetain count=3\n"))
    wait_until(lambda: works(host), 15, "the database")
    times = [host.post("kept", str(i)) for i in range(10)]
    wait_until(lambda: bodies(host, "kept") == ["7", "8", "9"], 20,
               "retention")
    answer = host.get("/comet/kept?since=%d&wait=0" % times[0]).json()
    assert answer["gap"] is True
    assert host.get("/comet/kept?since=%d&wait=0" % times[6]).json()["gap"] \
        is False
    with Stream(host, "/comet/kept?since=%d" % times[0]) as stream:
        stream.until(4)
        assert stream.events[0]["type"] == "gap"
        assert stream.data()[1:] == ["7", "8", "9"]


def test_800_11_messages_pass_at_every_server(hosts):
    """The other server pushes a passing message, and both servers forget the
    message when it expires."""
    here, there = hosts
    with Stream(there, "/comet/passing?since=0") as stream:
        for keep, body in (("1s", b"brief"), ("1min", b"stays")):
            assert here.request("POST", "/comet/passing?keep=" + keep, body,
                                JSON).status == 201
        assert stream.until(2) == ["brief", "stays"]
    for host in hosts:
        wait_until(lambda host=host: bodies(host, "passing") == ["stays"], 8,
                   "its end")


def test_800_12_an_old_module_reads_on(cluster, hosts):
    """The functions of the first schema omit messages that a module of that
    version cannot handle.  These functions can still store ordinary
    messages."""
    here, _ = hosts
    for query in ("", "?keep=60"):
        assert here.request("POST", "/comet/old" + query, b"x", JSON).status \
            == 201
    cluster.psql("INSERT INTO comet.message(channel, body, private)"
                 " VALUES('old', 'private', 1)")
    wait_until(lambda: cluster.psql("SELECT count(*) FROM comet.inbox") == "0",
               8, "the inbox")
    for call in ("read_one('old', 0, 9007199254740991, 9, 9999, false)",
                 "read_many('{old}', '{x/}', 0, 9007199254740991, 9, 9999,"
                 " true)"):
        assert cluster.psql("SELECT body FROM comet." + call,
                            user="comet_httpd") == "x"
    assert int(cluster.psql(
        "SELECT comet.append('{old}', '{message}', '{NULL}', '{by the old}',"
        " 500, true)", user="comet_httpd")) > 0
    wait_until(lambda: bodies(here, "old") == ["x", "x", "by the old"], 8)
