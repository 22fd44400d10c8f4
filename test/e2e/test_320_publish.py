# SPDX-License-Identifier: Apache-2.0
"""Reliable publishing: Idempotency-Key, and batches (NDJSON)."""

import base64
import json
import os
import signal
import sqlite3

import pytest

from http_client import Closed, gather
from httpd_env import SANITIZER, SLOW, sqlite, wait_until

LINES = "application/x-ndjson"

SERVER = {"children": 2, "conf": """
  CometEndpoint /a shared/
  <Location "/comet/multi">
    CometMulti on
  </Location>
  <Location "/a/multi">
    CometMulti on
  </Location>
  <Location "/comet/quiet">
    CometPublish off
  </Location>
  <LocationMatch "^/(comet|a)/secret">
    AuthType Basic
    AuthName "test"
    AuthUserFile "{root}/conf/passwd"
    Require user anna
  </LocationMatch>
  <Location "/comet/named">
    AuthType Basic
    AuthName "test"
    AuthUserFile "{root}/conf/passwd"
    Require valid-user
  </Location>
  <Location "/comet/judged">
    Require comet-publish all denied
  </Location>
"""}


@pytest.fixture(scope="module", autouse=True)
def passwords(shared_server):
    """Write the passwords anna:secret and bert:secret (SHA1, like htpasswd
    -s)."""
    with open(shared_server.root + "/conf/passwd", "w") as out:
        for name in ("anna", "bert"):
            out.write(name + ":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n")


def auth(name):
    token = base64.b64encode((name + ":secret").encode()).decode()
    return {"Authorization": "Basic " + token}


def post(server, target, body=b"x", key=None, ctype="text/plain",
         headers=None):
    given = {"Content-Type": ctype, **(headers or {})}
    if key is not None:
        given["Idempotency-Key"] = key
    return server.request("POST", target, body, given)


def lines(*objects):
    return b"".join(json.dumps(o).encode() + b"\n" for o in objects)


def batch(server, target, body, key=None, headers=None):
    return post(server, target, body, key, LINES, headers)


def check_error(answer, status, *words):
    assert answer.status == status, answer
    error = answer.json()["error"]
    for word in words:
        assert word in error, error


def number(server, sql):
    return int(sqlite(server.db, sql)[0][0])


def count(server, channel):
    return number(server, "SELECT count(*) FROM message"
                          " WHERE channel = '%s'" % channel)


def stamps_of(server, *channels):
    return [int(row[0]) for row in sqlite(
        server.db, "SELECT timestamp FROM message WHERE channel IN ('%s')"
        " ORDER BY timestamp" % "', '".join(channels))]


# -- Idempotency-Key -----------------------------------------------------------

def test_320_01_repeat(server):
    """A repeat gets 200 with the timestamp of the first publish, and stores
    nothing."""
    first = post(server, "/comet/once", b"hello", "k1")
    assert first.status == 201, first
    for _ in range(3):
        again = post(server, "/comet/once", b"hello", "k1")
        assert again.status == 200, again
        assert again.json() == first.json()
    assert server.rows("once") == ["hello"]
    form = "application/x-www-form-urlencoded"
    assert post(server, "/comet/once", b"msg=hello", "k1", form).status == 200
    assert post(server, "/comet/once", b"hello").status == 201
    assert count(server, "once") == 2


def test_320_02_mismatch(server):
    """A different body or type with the same key is refused with 422, and is
    not stored."""
    assert post(server, "/comet/mis", b"one", "k").status == 201
    check_error(post(server, "/comet/mis", b"two", "k"), 422,
                "Idempotency-Key")
    check_error(post(server, "/comet/mis?type=t", b"one", "k"), 422)
    check_error(batch(server, "/comet/mis", lines({"body": "one"},
                                                  {"body": "one"}), "k"), 422)
    assert server.rows("mis") == ["one"]


def test_320_03_whose(server):
    """A key belongs to one channel and one author."""
    assert post(server, "/comet/named/a", b"x", "k",
                headers=auth("anna")).status == 201
    assert post(server, "/comet/named/a", b"y", "k",
                headers=auth("bert")).status == 201
    assert post(server, "/comet/named/b", b"z", "k",
                headers=auth("anna")).status == 201
    assert post(server, "/comet/named/a", b"x", "k",
                headers=auth("anna")).status == 200
    assert post(server, "/a/named", b"x", "k").status == 201
    assert count(server, "named/a") == 2


@pytest.mark.parametrize("key", [
    "", "a b", "x" * 256, "k\u00e9", "tab\tin", "\x7f"],
    ids=["empty", "space", "long", "other", "tab", "delete"])
def test_320_04_bad_keys(server, key):
    with server.raw() as conn:
        conn.send(b"POST /comet/badkey HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\nContent-Length: 1\r\n"
                  b"Idempotency-Key: " + key.encode() + b"\r\n\r\nx")
        answer = conn.answer()
    assert answer.status == 400, answer
    if answer.header("content-type", "").startswith("application/json"):
        assert "Idempotency-Key" in answer.json()["error"]
    assert count(server, "badkey") == 0


def test_320_05_two_keys(server):
    """A request with two Idempotency-Key headers is refused with 400. A key of
    the maximum length is accepted."""
    with server.raw() as conn:
        conn.send(b"POST /comet/twokeys HTTP/1.1\r\nHost: localhost\r\n"
                  b"Content-Type: text/plain\r\nContent-Length: 1\r\n"
                  b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\nx")
        check_error(conn.answer(), 400, "Idempotency-Key")
    key = "".join(chr(33 + i % 94) for i in range(255))
    assert post(server, "/comet/twokeys", b"x", key).status == 201
    assert post(server, "/comet/twokeys", b"x", key).status == 200
    assert count(server, "twokeys") == 1


def test_320_06_at_once(server):
    """If many clients publish with the same key at once, in two children, only
    one message is stored."""
    for turn in range(10):
        key = "turn%d" % turn
        answers = gather([lambda: post(server, "/comet/rush", b"r", key)] * 12)
        assert sorted(a.status for a in answers) == [200] * 11 + [201]
        assert len({a.json()["timestamp"] for a in answers}) == 1
        assert count(server, "rush") == turn + 1


def test_320_07_lasts(make_server):
    """A key outlives its message, a reload, a restart, and kill -9 of the
    server."""
    server = make_server(conf="CometRetain count=1\n")
    first = post(server, "/comet/last", b"x", "k").json()

    def same():
        answer = post(server, "/comet/last", b"x", "k")
        return answer.status == 200 and answer.json() == first

    assert same()
    sqlite(server.db, "DELETE FROM message WHERE channel = 'last'")
    assert same()
    for i in range(3):
        assert post(server, "/comet/last", b"%d" % i).status == 201
    server.graceful()
    assert same()
    server.stop()
    server.start()
    assert same()
    server.kill()
    server.start()
    assert same()


def test_320_08_killed_before_the_answer(make_server):
    """The child is killed between the commit and the answer. A client that
    repeats its request gets the stored message's timestamp, and only one
    message is stored."""
    if SANITIZER != "none":
        pytest.skip("a sanitizer reports its own death")
    server = make_server(
        modules=("ext_filter", "setenvif", "env"),
        conf='''
  SetEnvIf X-Hold "." hold
  ExtFilterDefine held mode=output enableenv=hold \\
      cmd="/bin/sh -c 'sleep 60; cat'"
  <Location "/comet/held">
    SetOutputFilter held
  </Location>
''')
    server.allow_log += ["ext_filter", "AH01464", "Killed", "signal",
                         "AH00052", "Interrupted"]
    for turn in range(3):
        channel = "held/%d" % turn
        for kind in ("one", "batch"):
            key = "%s%d" % (kind, turn)
            ctype = LINES if kind == "batch" else "text/plain"
            body = lines({"body": "a"}, {"body": "b"}) \
                if kind == "batch" else b"c"
            before = set(server.children())
            with server.raw() as conn:
                conn.request("POST", "/comet/" + channel,
                             {"Content-Type": ctype, "X-Hold": "yes",
                              "Idempotency-Key": key}, body)
                wait_until(lambda: number(
                    server, "SELECT count(*) FROM idempotency_key"
                    " WHERE key = '%s'" % key) == 1, 10 * SLOW, "the commit")
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
                with pytest.raises((Closed, ConnectionError)):
                    conn.answer()
            wait_until(lambda: server.safe_status() is not None, 15 * SLOW,
                       "another child")
            again = post(server, "/comet/" + channel, body, key, ctype)
            assert again.status == 200, again
            rows = stamps_of(server, channel)
            if kind == "one":
                assert [again.json()["timestamp"]] == rows
            else:
                assert again.json()["timestamps"] == rows[1:]
                assert len(rows) == 3


def test_320_09_locked(server):
    """A 503 does not use up the key: the retry stores the message once."""
    other = sqlite3.connect(server.db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        answer = post(server, "/comet/locked", b"x", "k")
        assert answer.status == 503, answer
        assert answer.header("retry-after")
    finally:
        other.execute("ROLLBACK")
        other.close()
    first = post(server, "/comet/locked", b"x", "k")
    assert first.status == 201
    assert post(server, "/comet/locked", b"x", "k").json() == first.json()
    assert count(server, "locked") == 1


def test_320_10_storm(make_server):
    """Children are killed while many clients publish.  Each client repeats a
    message until it is answered, and every message is stored exactly once."""
    if SANITIZER != "none":
        pytest.skip("a sanitizer reports its own death")
    server = make_server(children=2)
    server.allow_log += ["Killed", "signal", "AH00052"]
    done = []

    def publish(name):
        answers = {}
        for i in range(30):
            body, key, tries = "%s-%d" % (name, i), "%s.%d" % (name, i), 0
            while body not in answers:
                tries += 1
                assert tries < 200, body
                try:
                    answer = post(server, "/comet/storm", body.encode(), key)
                except (Closed, OSError):
                    continue
                if answer.status in (200, 201):
                    answers[body] = answer.json()["timestamp"]
                else:
                    assert answer.status == 503, answer
        done.append(name)
        return answers

    def kill():
        for turn in range(8):
            before = count(server, "storm")
            wait_until(lambda: count(server, "storm") > before
                       or len(done) == 6, 30 * SLOW, "somebody to publish")
            children = sorted(server.children())
            if children:
                try:
                    os.kill(children[turn % len(children)], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        return {}

    told = {}
    for answers in gather([lambda n=n: publish("p%d" % n) for n in range(6)]
                          + [kill], 120 * SLOW):
        told.update(answers)
    stored = sqlite(server.db, "SELECT body, timestamp FROM message"
                               " WHERE channel = 'storm'")
    assert len(stored) == 180
    assert {body: int(stamp) for body, stamp in stored} == told


# -- batches -------------------------------------------------------------------

def test_320_20_batch(server):
    """Each line is a message, and the answer has all timestamps."""
    bodies = ["first", "</script>\r\n\u2028", "\U0001f600 \u05e9", "x" * 60000,
              "\tlast"]
    answer = batch(server, "/comet/lines", lines(
        {"body": bodies[0]}, {"body": bodies[1], "type": "topic"},
        {"type": "t\u00fc", "body": bodies[2]}, {"body": bodies[3]})
        + b"\n \t\r\n" + json.dumps({"body": bodies[4]}).encode())
    assert answer.status == 201, answer
    stamps = answer.json()["timestamps"]
    assert answer.json()["channel"] == "lines"
    assert len(stamps) == 5 and stamps == sorted(set(stamps))
    got = server.history("lines")
    assert [m["body"] for m in got] == bodies
    assert [m["timestamp"] for m in got] == stamps
    assert [m["type"] for m in got] \
        == ["message", "topic", "t\u00fc", "message", "message"]


def test_320_28_type_of_the_url(server):
    """?type= is the type of lines that have no type."""
    answer = batch(server, "/comet/typed?type=u", lines(
        {"body": "1"}, {"body": "2", "type": "own"}))
    assert answer.status == 201
    assert [m["type"] for m in server.history("typed")] == ["u", "own"]
    check_error(batch(server, "/comet/typed?type=%0A", lines({"body": "3"})),
                400, "type")


def test_320_21_a_thousand(server):
    """A batch may have 1,000 lines; 1,001 are too many."""
    body = lines(*({"body": str(i)} for i in range(1000)))
    answer = batch(server, "/comet/thousand", body)
    assert answer.status == 201
    assert len(answer.json()["timestamps"]) == 1000
    assert server.rows("thousand") == [str(i) for i in range(1000)]
    check_error(batch(server, "/comet/thousand", body + lines({"body": "x"})),
                413, "line 1001", "1000")
    assert count(server, "thousand") == 1000


GOOD = '{"body": "good"}'

WRONG = [
    ("{", "line 2"), ("5", "line 2"), ('"text"', "line 2"), ("null", "line 2"),
    ("[]", "JSON object"), ('["body"]', "JSON object"), ("{}", "body"),
    ('{"body": 5}', "body"), ('{"body": null}', "body"),
    ('{"body": ["x"]}', "body"), ('{"body": true}', "body"),
    ('{"body": "x"} {"body": "y"}', "line 2"),
    ('{"body": "x"}x', "line 2"), ('{"body": "x", "body": "y"}', "duplicate"),
    ('{"body": "x", "bodY": "y"}', "bodY"), ('{"msg": "x"}', "msg"),
    ('{"body": "x", "author": "root"}', "author"),
    ('{"body": "x", "timestamp": 1}', "timestamp"),
    ('{"body": "a\\u0000b"}', "line 2"), ('{"body": "\\ud800"}', "line 2"),
    ('{"body": "\\udc00\\ud800"}', "line 2"), ('{"body": "a\tb"}', "line 2"),
    ('{"body": "x", "type": ""}', "type"),
    ('{"body": "x", "type": "a\\nb"}', "type"),
    ('{"body": "x", "type": 1}', "type"),
    ('{"body": "x", "type": "%s"}' % ("t" * 256), "type"),
    ('{"body": "x", "channel": "multi/a//b"}', "channel"),
    ('{"body": "x", "channel": "../secret"}', "channel"),
    ('{"body": "x", "channel": ""}', "channel"),
    ("{'body': 'x'}", "line 2"), ('{"body": "x",}', "line 2"),
    ("\ufeff" + GOOD, "line 2"), ("[" * 5000, "line 2"),
]


@pytest.mark.parametrize("wrong,word", WRONG, ids=range(len(WRONG)))
def test_320_22_all_or_nothing(server, wrong, word):
    """If a line is bad, the answer names it, and nothing of the batch is
    stored."""
    body = "\n".join([GOOD, wrong, GOOD]).encode()
    answer = batch(server, "/comet/multi/wrong", body)
    check_error(answer, 400, "line 2: ", word)
    assert len(answer.body) < 1000
    assert count(server, "multi/wrong") == 0


@pytest.mark.parametrize("text", [b'{"body": "\xff"}', b'{"body": "\xc0\x80"}',
                                  b'{"body": "\xed\xa0\x80"}',
                                  b'{"bo\x00dy": "x"}', b'\x00', b'\xfe\xff'],
                         ids=range(6))
def test_320_23_bytes(server, text):
    check_error(batch(server, "/comet/bytes",
                      GOOD.encode() + b"\n" + text), 400, "line 2: ")
    assert count(server, "bytes") == 0


def test_320_24_empty(server):
    for body in (b"", b"\n", b" \r\n\n"):
        check_error(batch(server, "/comet/empty", body), 400, "line 1")


def test_320_25_too_long(server):
    """A line over CometMaxMessageSize is refused, and so is a batch over 1
    MiB."""
    check_error(batch(server, "/comet/long", lines(
        {"body": "x"}, {"body": "x" * 65537})), 413, "line 2",
        "CometMaxMessageSize")
    assert batch(server, "/comet/long",
                 lines({"body": "x" * 65536})).status == 201
    check_error(batch(server, "/comet/long", lines(
        *[{"body": "x" * 60000}] * 18)), 413, "1048576")
    assert count(server, "long") == 1


def test_320_26_batch_with_a_key(server):
    """A key belongs to the whole batch."""
    body = lines({"body": "a"}, {"body": "b", "type": "t"})
    first = batch(server, "/comet/keyed", body, "k")
    assert first.status == 201
    again = batch(server, "/comet/keyed", body, "k")
    assert (again.status, again.json()) == (200, first.json())
    for other in (lines({"body": "a"}, {"body": "b"}),
                  lines({"body": "a"}),
                  lines({"body": "b", "type": "t"}, {"body": "a"}),
                  lines({"body": "a"}, {"body": "b", "type": "t"},
                        {"body": "c"})):
        check_error(batch(server, "/comet/keyed", other, "k"), 422)
    assert server.rows("keyed") == ["a", "b"]


def test_320_27_one_commit(server):
    """No reader sees a part of a batch: all messages of a batch appear
    together."""
    seen = []
    done = []
    db = sqlite3.connect(server.db)

    def look():
        while not done:
            seen.append(db.execute("SELECT count(*) FROM message WHERE"
                                   " channel = 'whole'").fetchone()[0])

    def send():
        for _ in range(5):
            assert batch(server, "/comet/whole",
                         lines(*[{"body": "x"}] * 300)).status == 201
        done.append(1)

    db.close()
    db = sqlite3.connect(server.db, check_same_thread=False)
    gather([look, send])
    db.close()
    assert all(n % 300 == 0 for n in seen), sorted(set(seen))


# -- other channels ------------------------------------------------------------

def test_320_30_channels(server):
    """With CometMulti each line may name its channel.  The default is the
    channel of the URL."""
    answer = batch(server, "/comet/multi", lines(
        {"body": "1"}, {"body": "2", "channel": "multi/b"},
        {"body": "3", "channel": "c-320"}, {"body": "4", "channel": "multi"}))
    assert answer.status == 201, answer
    assert answer.json()["channel"] == "multi"
    assert server.rows("multi") == ["1", "4"]
    assert server.rows("multi/b") == ["2"]
    assert server.rows("c-320") == ["3"]
    assert answer.json()["timestamps"] \
        == stamps_of(server, "multi", "multi/b", "c-320")


def test_320_31_without_multi(server):
    check_error(batch(server, "/comet/single", lines(
        {"body": "1"}, {"body": "2", "channel": "other"})),
        403, "line 2", "CometMulti")
    assert count(server, "single") == count(server, "other") == 0
    assert batch(server, "/comet/single", lines(
        {"body": "1", "channel": "single"})).status == 201


@pytest.mark.parametrize("name,status", [
    ("secret", 401), ("secret/deep", 401), ("quiet", 403), ("judged", 403),
    ("judged/a b", 403)])
def test_320_32_each_is_authorised(server, name, status):
    """Each line needs the permission that its channel's own URL asks for. If
    one line is refused, so is the whole batch."""
    before = number(server, "SELECT count(*) FROM message")
    for target in ("/comet/multi", "/comet/multi/x"):
        answer = batch(server, target, lines(
            {"body": "1"}, {"body": "2", "channel": "multi/ok"},
            {"body": "3", "channel": name}))
        check_error(answer, status, "line 3", name)
        if status == 401:
            assert "Basic" in answer.header("www-authenticate")
    assert number(server, "SELECT count(*) FROM message") == before


def test_320_33_authorised(server):
    """A batch can publish to a protected channel if the batch's URL
    authenticates a user who may publish there."""
    body = lines({"body": "for anna", "channel": "secret"})
    assert batch(server, "/comet/secret", body,
                 headers=auth("anna")).status == 201
    check_error(batch(server, "/comet/multi", body, headers=auth("anna")),
                403, "line 1", "different user")
    assert batch(server, "/comet/multi", body,
                 headers=auth("bert")).status in (401, 403)
    assert server.rows("secret") == ["for anna"]


def test_320_34_prefix(server):
    """Lines name channels without the endpoint's prefix, which clients never
    see."""
    answer = batch(server, "/a/multi", lines(
        {"body": "1"}, {"body": "2", "channel": "multi/b"}))
    assert answer.status == 201, answer
    assert answer.json()["channel"] == "multi"
    assert post(server, "/a/plain").json()["channel"] == "plain"
    assert server.rows("shared/multi/b") == ["2"]
    check_error(batch(server, "/a/multi", lines(
        {"body": "1", "channel": "secret"})), 401, "line 1")
    check_error(batch(server, "/a/multi", lines(
        {"body": "1", "channel": "x" * 250})), 400, "line 1", "channel")
    assert count(server, "shared/secret") == 0


# -- headers -------------------------------------------------------------------

def test_320_40_accept_post(server):
    """OPTIONS and 415 answers list the content types that may be posted."""
    answer = server.request("OPTIONS", "/comet/chat")
    assert LINES in answer.header("accept-post"), answer
    answer = post(server, "/comet/chat", b"x", ctype="image/png")
    check_error(answer, 415, LINES)
    assert "text/*" in answer.header("accept-post")
    check_error(post(server, "/comet/chat", GOOD.encode(),
                     ctype=LINES + "; charset=latin1"), 415)
    assert post(server, "/comet/chat", GOOD.encode(),
                ctype="Application/X-NDJSON; charset=UTF-8").status == 201


def test_320_41_cross_site(server):
    for headers in ({"Sec-Fetch-Site": "cross-site"},
                    {"Origin": "http://evil.example"}):
        check_error(batch(server, "/comet/cross", GOOD.encode(),
                          headers=headers), 403)
    assert count(server, "cross") == 0


def test_320_42_counted(server):
    """Stored messages and repeated requests have separate counters."""
    before = server.status()
    body = lines(*[{"body": "x"}] * 7)
    assert batch(server, "/comet/counted", body, "k").status == 201
    assert batch(server, "/comet/counted", body, "k").status == 200
    after = server.status()
    assert after["published"] == before["published"] + 7
    assert after["repeated"] == before["repeated"] + 1


def test_320_50_too_many_fields(server):
    """A form or query with more than 1,000 fields is refused, because it would
    take many times its size in memory."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.request("POST", "/comet/many", "msg=x&" + "a&" * 30000, form)
    assert answer.status == 400, answer
    assert "too many fields: at most 1000" in answer.json()["error"]
    answer = server.request("POST", "/comet/many", "msg=x&" + "a&" * 999, form)
    assert answer.status == 201, answer
    for target in ("/comet/many?wait=0&", "/chat/backend.php?msg=x&"):
        answer = server.get(target + "a&" * 1000)
        assert answer.status == 400, answer
        assert "too many parameters: at most 1000" in answer.json()["error"]
