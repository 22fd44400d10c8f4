# SPDX-License-Identifier: Apache-2.0
"""A flood of publishes while the disk syncs slowly, or answers too late for a
child that ends."""

import itertools
import os
import signal
import subprocess
import time

from comet_load import Load, quantile
from http_client import Poller, one_request
from httpd_env import SLOW, alive, wait_until
from listeners import Asker, Listener, Reader, static_files
from shim import Shim

TEXT = {"Content-Type": "text/plain"}


def outsiders(server, shim, count):
    """INSERT with sqlite3 on the same disk, one message after the other; return
    how long each took."""
    took = []
    for i in range(count):
        begin = time.monotonic()
        done = subprocess.run(
            ["sqlite3", "-cmd", ".timeout 5000", server.db,
             "INSERT INTO message(channel, body) VALUES('chat', 'cli %d')"
             % i], stderr=subprocess.PIPE, timeout=60, env=shim.env)
        took.append(time.monotonic() - begin)
        assert done.returncode == 0, done.stderr.decode()
    return took


def check_calm(server, stream, clock, files, begin):
    """Check that the fault affected neither subscribers nor static files."""
    assert clock.silence(begin) < 2.5 * SLOW, clock.silence(begin)
    assert files.statuses() == {200}, files.statuses()
    took = [t for _, t, _ in files.answers]
    assert quantile(took, 0.99) < 0.25 * SLOW, quantile(took, 0.99)
    assert max(took) < SLOW, max(took)
    assert stream.connects == 1 and not stream.refusals
    server.wait_waiting(3)
    return "files p99 %.0f ms, max %.0f ms" % (quantile(took, 0.99) * 1000,
                                               max(took) * 1000)


def check_kept(server, stream, page, acked):
    """Check that every acknowledged message is stored, and that every stored
    message arrived once, in order. (A publisher that gets 503 sends its message
    again, although the server may have stored it. With an Idempotency-Key it is
    stored only once.)"""
    rows = server.rows("chat")
    assert set(acked) <= set(rows)
    assert len(acked) == len(set(acked))
    stream.wait_for(rows[-1], 10 * SLOW)
    assert stream.bodies() == rows
    assert page.wait_for(len(rows), 30 * SLOW) == rows
    assert not page.failures
    return rows


def slow_syncs(make_server, publishers, inserts, delay=0.3):
    """Each sync is slow, and many clients publish at once. Files, streams and
    polls are as fast as before, publishers are answered in time, and INSERTs
    with sqlite3 succeed."""
    server = make_server(start=False, children=2)
    shim = Shim(server)
    server.start()
    port = server.port
    number = itertools.count()
    post = Asker(lambda: one_request(
        port, "POST", "/comet/chat", "asked %d" % next(number), TEXT,
        timeout=30), pause=0.1)
    with Listener(port) as stream, Poller(port) as page, \
            Reader(port, "/clock/backend.php") as clock, Load(port) as load:
        server.wait_waiting(3)
        shim.set_sync(delay)
        begin = time.monotonic()
        with static_files(port) as files, post:
            pubs = load.publish(publishers, "/comet/chat", "p", pause=0.01)
            took = outsiders(server, shim, inserts)
            load.finish(pubs)
        shim.set_sync(0)
        assert not any(p.errors for p in pubs), [p.errors for p in pubs]
        calm = check_calm(server, stream, clock, files, begin)
        acked = [t for p in pubs for _, t in p.acked]
        asked = [status for _, _, status in post.answers]
        assert set(asked) <= {201, 503} and post.slowest() < 3 * SLOW
        rows = check_kept(server, stream, page, acked)
        assert len([r for r in rows if r.startswith("asked")]) \
            >= asked.count(201)
        assert [r for r in rows if r.startswith("cli")] \
            == ["cli %d" % i for i in range(inserts)]
    return ("%d stored, %d refused, slowest answer %.1f s; %d INSERTs, "
            "slowest %.1f s; %s"
            % (len(acked), sum(p.refused for p in pubs), post.slowest(),
               inserts, max(took), calm))


def ends_before_the_disk(make_server, mpm, sync):
    """A child ends while its writer waits for the disk, for longer than the
    child waits for the writer. The disk answers while the process is torn down;
    what the writer still uses must not be gone by then."""
    server = make_server(mpm=mpm, start=False, children=1,
                         conf="CometPublishTimeout 1\n")
    shim = Shim(server)
    server.start()
    server.post("chat", "stored")
    children = server.children()
    shim.set_sync(sync)
    shim.set_exit(sync + 1)
    assert server.request("POST", "/comet/chat", b"too slow",
                          TEXT).status == 503
    shim.set_sync(0)                    # only for later syncs: the writer still
                                        # waits for the slow one
    os.kill(server.pid, signal.SIGUSR1)
    begin = time.monotonic()
    wait_until(lambda: not any(map(alive, children)), 30, "their end")
    took = time.monotonic() - begin
    shim.set_exit(0)
    assert "exit signal" not in server.error_log()
    wait_until(lambda: set(server.children()) - set(children), 5, "another")
    server.post("chat", "after")
    rows = server.rows("chat")
    assert (rows[0], rows[-1]) == ("stored", "after") and len(rows) < 4
    return "gone after %.1f s" % took


def ends_before_the_fold(make_server, mpm, sync):
    """At a restart the last child leaves the log to the new children, and so
    does not need the disk. At a stop the last child folds the log into the
    file. If the disk takes too long for that, the child logs this and ends
    without folding."""
    server = make_server(mpm=mpm, start=False, children=1)
    shim = Shim(server)
    server.start()
    server.post("chat", "before")
    shim.set_sync(sync)
    children = server.graceful(sign=signal.SIGHUP)
    wait_until(lambda: not any(map(alive, children)), 30, "their end")
    assert "COMET0110" not in server.error_log()
    shim.set_sync(0)
    server.post("chat", "between")
    shim.set_sync(sync)
    took = server.stop()
    shim.set_sync(0)
    log = server.error_log()
    assert "%s: its disk is slow" % server.db in log, log
    assert "did not end in time" not in log
    server.start()
    server.post("chat", "after")
    assert server.rows("chat") == ["before", "between", "after"]
    return "gone after %.1f s" % took
