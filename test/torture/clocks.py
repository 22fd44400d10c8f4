# SPDX-License-Identifier: Apache-2.0
"""The system clock jumps: a day back, a year ahead, and back."""

import subprocess
import time

from http_client import Poller, one_request
from httpd_env import SLOW, sqlite, wait_until
from listeners import Asker, Listener, Reader, static_files
from shim import Shim

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
JUMPS = (("at the right time", 0), ("a day back", -DAY),
         ("a year ahead", YEAR), ("right again", 0))


def outside(server, shim, text):
    """Publish with sqlite3, whose clock jumps, too."""
    subprocess.run(["sqlite3", "-cmd", ".timeout 5000", server.db,
                    "INSERT INTO message(channel, body) VALUES('chat', '%s')"
                    % text], check=True, timeout=30, env=shim.env)


def publish_for(server, shim, seconds, prefix):
    """Publish over HTTP and with sqlite3 in turn; return the texts, and how
    long the slowest publish took."""
    texts, longest = [], 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(texts) < 6:
        text = "%s %d" % (prefix, len(texts))
        begin = time.monotonic()
        if len(texts) % 3 == 2:
            outside(server, shim, text)
        else:
            server.post("chat", text)
        longest = max(longest, time.monotonic() - begin)
        texts.append(text)
    return texts, longest


def let_go(server, target="/comet/nothing?wait=20"):
    """Check that the server notices when a client leaves."""
    before = server.waiting("poll")
    with server.raw() as conn:
        conn.request("GET", target)
        server.wait_waiting(before + 1, "poll")
    server.wait_waiting(before, "poll", timeout=3)


def clock_jumps(make_server, mpm, stay):
    """The clock jumps while clients publish and listen. Timestamps strictly
    increase, nothing waits for ever, static files are served, and the server
    stops in time."""
    server = make_server(start=False, mpm=mpm,
                         conf="CometRetain age=1h\nCometPollTimeout 10s\n")
    shim = Shim(server)
    server.start()
    port, texts, slowest = server.port, [], 0.0
    polls = Asker(lambda: one_request(port, "GET",
                                      "/comet/silent?wait=1", timeout=30))
    with Listener(port) as stream, Poller(port) as page, polls, \
            Reader(port, "/clock/backend.php") as clock, \
            static_files(port) as files:
        for name, offset in JUMPS:
            shim.set_clock(offset)
            jumped = time.monotonic()
            more, took = publish_for(server, shim, stay, name)
            texts += more
            slowest = max(slowest, took)
            stream.wait_for(texts[-1], 5 * SLOW)
            page.wait_for(len(texts), 5 * SLOW)
            wait_until(lambda j=jumped: clock.silence(j) <
                       time.monotonic() - j, 5, "the clock to tick")
            assert clock.silence(jumped) < 3 * SLOW, clock.silence(jumped)
    let_go(server)
    assert slowest < 2 * SLOW, slowest
    assert polls.statuses() <= {200, 0}, polls.statuses()
    assert polls.slowest() < 3 * SLOW, polls.slowest()
    assert files.statuses() == {200} and files.slowest() < SLOW
    assert stream.bodies() == texts == page.texts()
    stamps = [int(row[0]) for row in sqlite(
        server.db, "SELECT timestamp FROM message WHERE channel='chat' "
        "ORDER BY timestamp;")]
    assert server.rows("chat") == texts
    assert [m[0] for m in stream.messages] == stamps
    return ("%s: %d messages; %d connections of a stream; slowest publish "
            "%.0f ms; poll of 1 s at most %.1f s"
            % (mpm, len(texts), stream.connects, slowest * 1000,
               polls.slowest()))


def clock_back_while_waiting(make_server, mpm):
    """The clock goes back a day while a client waits. The client gets its
    message, the server notices when the client leaves, and the server stops in
    time."""
    server = make_server(start=False, mpm=mpm)
    shim = Shim(server)
    server.start()
    with server.raw() as waits:
        waits.request("GET", "/comet/later?wait=50&since=0")
        server.wait_waiting(1)
        with server.raw() as leaves:
            leaves.request("GET", "/comet/nothing?wait=50&since=0")
            server.wait_waiting(2)
            shim.set_clock(-DAY)
        server.wait_waiting(1, timeout=3)
        server.post("later", "news")
        assert [m["body"] for m in waits.answer().json()["messages"]] \
            == ["news"]
    server.wait_waiting(0)
    with server.raw() as waits:
        waits.request("GET", "/comet/nothing?wait=50&since=0")
        server.wait_waiting(1)
        shim.set_clock(YEAR)
        took = server.stop()
    assert took < 5 * SLOW, took
    server.start()
    server.post("later", "after it")
    return "%s: stopped in %.2f s" % (mpm, took)


# -- how long things are kept ----------------------------------------------------

def publish_with_key(server, key):
    return server.request("POST", "/comet/keys", b"said once",
                          {"Content-Type": "text/plain",
                           "Idempotency-Key": key})


def delete_key_message(server, shim, stamp):
    subprocess.run(["sqlite3", "-cmd", ".timeout 5000", server.db,
                    "DELETE FROM message WHERE timestamp = %d" % stamp],
                   check=True, timeout=30, env=shim.env)


def upkeep_is_done(server, wait=12):
    """Wait for a round of upkeep that began after this call. Rounds start at
    least every 5 s; this one removes an expired key."""
    sqlite(server.db, "INSERT INTO idempotency_key(timestamp, count, channel,"
           " author, key, hash, expires) VALUES(1, 1, 'x', '', 'mark',"
           " zeroblob(20), 1);")
    wait_until(lambda: not sqlite(
        server.db, "SELECT 1 FROM idempotency_key WHERE timestamp = 1;"),
        wait, "a round of upkeep", 0.05)


def history_survives(make_server, days=False):
    """The clock goes a year ahead and back. Retention by age deletes nothing
    that the right clock would have kept. Keys of stored messages stay valid.
    Keys of deleted messages are kept for a day; with `days`, this is checked,
    too."""
    server = make_server(start=False, conf="CometRetain age=1h")
    shim = Shim(server)
    server.start()
    for channel in ("quiet", "busy"):
        for i in range(5):
            server.post(channel, "%d" % i)
    kept = publish_with_key(server, "kept").json()["timestamp"]
    shim.set_clock(YEAR)
    server.post("busy", "from the future")
    gone = publish_with_key(server, "gone").json()["timestamp"]
    delete_key_message(server, shim, gone)
    upkeep_is_done(server)
    shim.set_clock(0)
    server.post("quiet", "after it")
    server.post("busy", "after it")
    upkeep_is_done(server)
    assert server.rows("quiet") == ["0", "1", "2", "3", "4", "after it"]
    assert server.rows("busy") == ["0", "1", "2", "3", "4",
                                   "from the future", "after it"]
    answer = publish_with_key(server, "kept")
    assert (answer.status, answer.json()["timestamp"]) == (200, kept)
    answer = publish_with_key(server, "gone")
    assert (answer.status, answer.json()["timestamp"]) == (200, gone)
    left = int(sqlite(server.db, "SELECT max(expires) FROM idempotency_key;")
               [0][0]) / 10 ** 6 - time.time()
    assert DAY - 60 < left <= DAY, left
    if days:
        shim.set_clock(DAY + HOUR)
        upkeep_is_done(server)
        assert publish_with_key(server, "gone").status == 201
        answer = publish_with_key(server, "kept")
        assert (answer.status, answer.json()["timestamp"]) == (200, kept)
    return "12 messages kept; a key of the future is kept for %.0f h" \
        % (left / HOUR)
