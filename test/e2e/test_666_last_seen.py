# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL keeps only a limited number of rows about a member who appears in
more and more channels.  (test_store_rules shows this for SQLite.)"""

import pytest

from httpd_env import wait_until
from members import MODULES, NAMES

STORES = (pytest.param("postgresql", marks=pytest.mark.long),)
SERVER = {"modules": MODULES, "conf": NAMES}


def number(server, sql):
    return int(server.sql(sql)[0][0])


def test_666_01_the_newest_are_kept(server):
    """The oldest rows beyond the limit are removed, in slices.  Rows of
    channels where the member is present stay, and so do rows of other
    members."""
    server.sql("INSERT INTO comet.last_seen(channel, member, left_at) SELECT"
               " 'c' || i, 'ann', i FROM generate_series(1, 60) i")
    server.sql("INSERT INTO comet.last_seen(channel, member, left_at)"
               " VALUES('c1', 'bob', 1)")
    server.sql("INSERT INTO online(channel, member) VALUES('c2', 'ann')")
    wait_until(lambda: number(server, "SELECT count(*) FROM online") == 1, 10,
               "ann")
    removed = [number(server, "SELECT removed FROM"
                      " comet.online_forget(0, 15, 20, '')") for _ in range(4)]
    assert removed == [15, 15, 9, 0]
    kept = {row[0] for row in server.sql(
        "SELECT channel FROM comet.last_seen WHERE member = 'ann'")}
    assert kept == {"c2"} | {"c%d" % i for i in range(41, 61)}
    assert number(server, "SELECT count(*) FROM comet.last_seen"
                  " WHERE member = 'bob'") == 1


def test_666_02_slice_by_slice(server):
    """One call checks a slice of the members, and returns where the next slice
    begins. Together the calls check all members."""
    server.sql("INSERT INTO comet.last_seen(channel, member, left_at) SELECT"
               " 'far', 'm' || to_char(i, 'FM000'), i"
               " FROM generate_series(1, 100) i")
    removed, calls, after = 0, 0, "l"
    while after:
        count, after = server.sql(
            "SELECT removed, next_after FROM"
            " comet.online_forget(51, 15, 20, '%s')" % after)[0]
        assert int(count) <= 15
        removed, calls = removed + int(count), calls + 1
    assert removed == 50 and calls >= 7
    assert number(server, "SELECT count(*) FROM comet.last_seen"
                  " WHERE channel = 'far'") == 50
