# SPDX-License-Identifier: Apache-2.0
"""mod_comet together with modules that are drawn at random."""

import collections
import random
import traceback

from beside import MODULES
from httpd_env import MPMS, Httpd, wait_until
from test_500_beside import (KINDS, Client, config, expected_ways, gauges,
                             open_all)

# The ways in which a client can wait, the worst first. If several modules are
# loaded, the worst of their ways applies.
WORST = ("refused 500", "thread", "parked", "adopted")


def draw(rng):
    """Draw modules. @return an MPM, and up to eight rows that run with it. Of
    several rows for the same modules the last one counts, as with directives of
    httpd."""
    mpm = rng.choice(MPMS)
    rows = [row for row in MODULES if row.get("mpm", mpm) == mpm]
    drawn = rng.sample(rows, rng.randint(2, 8))
    return mpm, list({tuple(row["load"]): row for row in drawn}.values())


def join(rows):
    """Make one row from several."""
    joined = {"name": " + ".join(row["name"] for row in rows), "file": {},
              "load": list(dict.fromkeys(name for row in rows
                                         for name in row["load"])),
              "needs": tuple(dict.fromkeys(name for row in rows
                                           for name in row.get("needs", ()))),
              "conf": "\n".join(dict.fromkeys(row["conf"] for row in rows)),
              "ways": {}}
    for row in rows:
        joined["file"].update(row.get("file", {}))
        joined.update({key: row[key] for key in ("lib",) if key in row})
    for kind in KINDS:
        found = [row["ways"][kind] for row in rows
                 if kind in row.get("ways", {})]
        if found:
            joined["ways"][kind] = min(found, key=WORST.index)
    return joined


def check_ways(server, row, ways):
    """Check that a client is refused, or holds a thread, only if the row says
    so, and that the log then names the filter, or the line that sets it."""
    expected = expected_ways(row, server.mpm)
    log = server.error_log()
    told = "output filter" in log or "SetOutputFilter: " in log
    for kind, way in ways.items():
        assert WORST.index(way) >= WORST.index(expected[kind]), (kind, ways)
        assert way == "adopted" or way == "parked" or told \
            or expected[kind] == "thread" and server.mpm != "event", \
            (kind, way, "unsaid")


def do_jobs(server, row):
    """Wait, publish, replay, reload, stop. @return how clients waited"""
    clients, ways = open_all(server, expected_ways(row, server.mpm))
    check_ways(server, row, ways)
    for number, kind in enumerate(KINDS):
        server.post("c%d" % (number + 1), "news for %s" % kind)
    for client in clients:
        client.news(b"news for " + client.kind.encode())
        if client.kind in ("poll", "classic"):
            # The worker MPM keeps the old child for KeepAliveTimeout if the
            # connection stays open, and may have no room for a new child.
            client.conn.close()
    server.graceful()
    for client in clients:
        if client.kind in ("events", "iframe"):
            client.ends()
            client.conn.close()
    for number, kind in enumerate(KINDS):
        server.post("c%d" % (number + 1), "again")
        assert [m["body"] for m in server.history("c%d" % (number + 1))] \
            == ["news for " + kind, "again"]
    last = Client(server, "events", "c1")
    if last.refused is None:
        last.news(b"again")
    last.conn.close()
    server.wait_waiting(0, timeout=15)
    wait_until(lambda: gauges(server) == (0, 0), 15, "nobody to wait")
    server.stop()
    return ways


def try_set(number):
    """Try one set of modules. @return how its clients waited"""
    mpm, rows = draw(random.Random(number))
    row = join(rows)
    name = "set %d (%s): %s" % (number, mpm, row["name"])
    server = Httpd(before=config(row), classics=5, mpm=mpm,
                   modules=row["needs"])
    try:
        server.start()
        ways = do_jobs(server, row)
        assert not server.verify(), server.verify()
    except Exception as error:      # pylint: disable=broad-except
        if server.proc is not None:
            server.kill()
        raise AssertionError("%s\n%s\n%s" % (
            name, "".join(traceback.format_exception(error)[-3:]),
            server.tail())) from error
    finally:
        server.close()
    return ways


def random_sets(first, count):
    """Try `count` sets. A set's number is the seed that draws it."""
    seen, broken = collections.Counter(), []
    for number in range(first, first + count):
        try:
            seen.update(try_set(number).values())
        except AssertionError as error:
            broken.append(str(error))
    text = "%d sets from number %d; %s" % (count, first, ", ".join(
        "%d clients %s" % (n, way) for way, n in seen.most_common()))
    assert not broken, "\n\n".join([text, "%d broken" % len(broken)]
                                   + broken[:10])
    return text
