# SPDX-License-Identifier: Apache-2.0
"""Who knows what: the publishers, the database, and those who follow."""

import glob
import os

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


def settle(server, load, followers, pubs, timeout=60):
    """End the publishers (by channel), wait until all followers have all, and
    compare what everybody knows: what is acknowledged is stored under its
    timestamp, what is stored was sent, once, and each follower had just that,
    in order.  What the followers report."""
    for channel in pubs:
        load.finish(pubs[channel])
    untold = 0
    rows = stored(server, pubs)
    for channel, senders in pubs.items():
        assert not any(p.errors for p in senders), [p.errors for p in senders]
        acked = {a for p in senders for a in p.acked}
        unsure = {text for p in senders for text in p.unsure}
        there = set(rows[channel])
        lost = acked - there
        assert not lost, "acknowledged and lost: %r" % sorted(lost)[:5]
        assert {text for _, text in there - acked} <= unsure
        untold += len(there - acked)
        assert len({text for _, text in there}) == len(rows[channel])
    followers.wait_all({channel: len(rows[channel]) for channel in rows},
                       timeout)
    said = followers.judged()
    seen = followers.log()
    for channel, messages in rows.items():
        assert seen.get(channel, []) == messages, channel
    return {**said, "stored_untold": untold}


def longest_wait(pubs):
    """Seconds that the slowest acknowledgement took."""
    return max(w for p in pubs for w in p.waits)


def holders(path):
    """The processes that have a file open, or one beside it (-wal, -shm)."""
    found = set()
    for fd in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(fd).startswith(path):
                found.add(int(fd.split("/")[2]))
        except OSError:
            pass
    return found
