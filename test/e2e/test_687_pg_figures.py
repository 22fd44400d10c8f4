# SPDX-License-Identifier: Apache-2.0
"""Some figures of PostgreSQL as the store; `make torture` measures more of
them."""

import pytest

import pg_figures

pytestmark = [pytest.mark.event, pytest.mark.long, pytest.mark.bound(120)]


def test_687_01_delays(make_server, figure):
    """A message that one server publishes, or psql inserts, is read at another
    server within a second, even if applications keep transactions open."""
    for run in (pg_figures.far_publishing, pg_figures.inserting):
        took, text = run(make_server, 50)
        figure(text)
        assert max(took) < 1, text
    worst, text = pg_figures.open_transactions(make_server, 1)
    figure(text)
    assert worst < 1, text


def test_687_02_polls_share_questions(make_server, figure):
    """Polls that return at the same time share their queries to the
    database."""
    most, text = pg_figures.polls(make_server, 1000, 2)
    figure(text)
    assert most < 500, text


def test_687_03_looks_into_the_inbox(make_server, figure):
    """However many web servers there are, one of them looks into the inbox every
    15 ms."""
    _, looks, text = pg_figures.at_rest(make_server, 5, hosts=6, children=1)
    figure(text)
    assert 50 < looks < 150, text


def test_687_04_hints_beside_questions(make_server, figure):
    """Clients that read a server's history do not delay its hints to other
    servers: hardly any message waits for the look every 500 ms."""
    took, text = pg_figures.far_publishing(make_server, 200, askers=4)
    figure(text)
    assert pg_figures.quantile(took, 0.98) < 0.3, text
