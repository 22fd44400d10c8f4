# SPDX-License-Identifier: Apache-2.0
"""Compares the messages that publishers, the database and subscribers know."""

import glob
import os
import sqlite3

from httpd_env import sqlite, wait_until


def acknowledged(pubs):
    """How many messages the publishers know to be stored."""
    return sum(len(p.acked) for p in pubs)


def wait_more(pubs, count, timeout=30):
    """Wait until `count` more messages are acknowledged."""
    have = acknowledged(pubs)
    wait_until(lambda: acknowledged(pubs) >= have + count, timeout,
               "%d more messages" % count)


def stored(server, channels):
    """The (timestamp, body) of each message of the channels, in order."""
    found = {channel: [] for channel in channels}
    for channel, stamp, body in sqlite(
            server.db, "SELECT channel, timestamp, body FROM message "
            "ORDER BY timestamp;"):
        if channel in found:
            found[channel].append((int(stamp), body))
    return found


def settle(server, load, followers, pubs, timeout=60, retained=False):
    """Stop the publishers (by channel), wait until all followers have
    everything, and compare. Each acknowledged message was delivered to each
    follower under its timestamp. Each delivered message was sent, and was
    delivered once. The database contains exactly the delivered messages, in
    order; with `retained`, only the last of them.

    Return the followers' report. Its "stored_untold" is the number of messages
    that were stored although their publishers got no answer.
    """
    for channel in pubs:
        load.finish(pubs[channel])
    untold = 0
    rows = stored(server, pubs)
    followers.wait_all({channel: found[-1][0] if found else 0
                        for channel, found in rows.items()}, timeout)
    said = followers.judged()
    log = followers.log()
    for channel, senders in pubs.items():
        assert not any(p.errors for p in senders), [p.errors for p in senders]
        seen = log.get(channel, [])
        assert rows[channel] == (seen[-len(rows[channel]):] if retained
                                 else seen), channel
        acked = {a for p in senders for a in p.acked}
        lost = acked - set(seen)
        assert not lost, "acknowledged and lost: %r" % sorted(lost)[:5]
        alone = {text for _, text in seen} - {text for _, text in acked}
        assert alone <= {text for p in senders for text in p.unsure}
        assert len(seen) == len(acked) + len(alone), "stored twice"
        untold += len(alone)
    return {**said, "stored_untold": untold}


def longest_wait(pubs):
    """How many seconds the slowest acknowledgement took."""
    return max(w for p in pubs for w in p.waits)


def holders(path):
    """The processes that have this file, or its -wal or -shm, open."""
    found = set()
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(fd).startswith(path):
                found.add(int(fd.split("/")[2]))
        except OSError:
            pass
    return found


def is_sound(server):
    """Whether SQLite finds the database, and FTS5 its index of words, sound."""
    if not isinstance(server.db, str):
        return True
    db = sqlite3.connect(server.db, timeout=10)
    try:
        ok = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if db.execute("SELECT count(*) FROM sqlite_master"
                      " WHERE name = 'message_search'").fetchone()[0]:
            db.execute("INSERT INTO message_search(message_search, rank)"
                       " VALUES('integrity-check', 1)")     # raises an error if
                                                            # the index is wrong
        db.rollback()
        return ok
    finally:
        db.close()
