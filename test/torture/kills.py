# SPDX-License-Identifier: Apache-2.0
"""kill -9 of children, and of whole servers, under publishing."""

import os
import random
import signal

from comet_load import Load
from httpd_env import alive, sqlite, wait_until
from ledger import acknowledged, finished, wait_more, wait_pages


def children_killed(make_server, kills, pages, between=80):
    """kill -9 of children at random while many publish and many listen:
    nothing acknowledged is lost, every page has the exact sequence."""
    server = make_server(mpm="event", children=3)
    server.allow_log += ["AH00052", "exit signal Killed"]
    rng = random.Random(1)
    with Load(server.port) as load:
        readers = load.follow(pages, "endpoint", "/comet/chat")
        server.wait_waiting(pages, timeout=15)
        pubs = load.publish(8, "/comet/chat", "p", pause=0.04)
        for _ in range(kills):
            wait_more(pubs, between)
            victim = rng.choice(server.children())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not alive(v), 5, "the end")
        wait_until(lambda: len(server.children()) >= 3, 15, "new children")
        wait_more(pubs, between)
        rows, unsure = finished(server, load, pubs)
        assert not any(p.errors for p in pubs), [p.errors for p in pubs]
        wait_pages(load, readers, rows, 60)
        for page in readers:
            cut = [e for e in page.errors if "cut in the middle" not in e]
            assert not cut, cut
        load.drop(readers)
    server.wait_waiting(0, timeout=20)
    return ("%d messages, %d of unknown outcome, %d kills"
            % (len(rows), len(unsure), kills))


def servers_killed(make_server, kills, pages, between=100):
    """kill -9 of the whole server, again and again, under publishing."""
    server = make_server(children=2)
    server.keep_port = True
    with Load(server.port) as load:
        readers = load.follow(pages, "endpoint", "/comet/chat")
        server.wait_waiting(pages, timeout=15)
        pubs = load.publish(8, "/comet/chat", "p", pause=0.005)
        for _ in range(kills):
            wait_more(pubs, between)
            server.kill()
            server.start()
        rows, _ = finished(server, load, pubs)
        wait_pages(load, readers, rows, 60)
        load.drop(readers)
    assert sqlite(server.db, "PRAGMA integrity_check;") == [["ok"]]
    return ("%d messages, %d acknowledged, %d kills, 0 lost"
            % (len(rows), acknowledged(pubs), kills))
