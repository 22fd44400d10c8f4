# SPDX-License-Identifier: Apache-2.0
"""Who knows what: the publishers, the database, and those who follow."""

from httpd_env import SLOW, wait_until


def acknowledged(pubs):
    """How many messages the publishers know to be stored."""
    return sum(len(p.acked) for p in pubs)


def wait_more(pubs, count, timeout=30):
    """Wait until `count` more messages are acknowledged."""
    have = acknowledged(pubs)
    wait_until(lambda: acknowledged(pubs) >= have + count, timeout,
               "%d more messages" % count)


def finished(server, load, pubs):
    """End the publishers: the stored bodies, checked against what they
    know, and the texts of unknown outcome."""
    load.finish(pubs)
    rows = server.rows("chat")
    acked = {t for p in pubs for _, t in p.acked}
    unsure = {t for p in pubs for t in p.unsure}
    assert acked <= set(rows) <= acked | unsure
    assert len(rows) == len(set(rows))
    return rows, unsure


def wait_pages(load, pages, rows, timeout):
    """Wait until every page has every message, in order, once."""
    load.wait(lambda: all(len(p.bodies) >= len(rows) for p in pages),
              timeout * SLOW, "every page to have every message")
    for page in pages:
        assert page.bodies == rows
