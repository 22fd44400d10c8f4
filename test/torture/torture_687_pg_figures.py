# SPDX-License-Identifier: Apache-2.0
"""Figures of PostgreSQL as the store, at full size. The tests judge delays and
rates, so nothing else should run at the same time."""

import pytest

import pg_figures
from scale import SCALE, scaled

pytestmark = pytest.mark.event


@pytest.mark.bound(120)
def test_687_01_far_publishing(make_server, figure):
    """Publish at one web server, read at another. The bound of the median is for
    100 messages a second; after a longer rest it also takes the time that the
    machine and its disk need to wake up."""
    for pause in (0.03, 0.01):
        sync = pg_figures.sync_time("/var/tmp", 100, pause)
        took, text = pg_figures.far_publishing(make_server, scaled(1000, 20),
                                               pause)
        text += "; a sync of this disk: %.2f ms" % (1000 * sync)
        figure(text)
        assert pg_figures.quantile(took, 0.99) <= 0.010, text
    assert pg_figures.quantile(took, 0.5) <= 0.0015, text


@pytest.mark.bound(120)
def test_687_02_inserting(make_server, figure):
    """INSERT with psql, and read at two web servers"""
    took, text = pg_figures.inserting(make_server, scaled(1000, 20))
    figure(text)
    assert max(took) <= 0.050, text


@pytest.mark.bound(120)
def test_687_03_open_transactions(make_server, figure):
    """Publish while an application's transaction is open"""
    worst, text = pg_figures.open_transactions(make_server, 10 * SCALE)
    figure(text)
    assert worst <= 0.100, text     # 50 ms, and the time of a commit


@pytest.mark.bound(900)
def test_687_04_old_snapshot(make_server, figure):
    """Publish while a snapshot is open, with 500 INSERTs a second"""
    ratio, text = pg_figures.old_snapshot(make_server, 600 * SCALE)
    figure(text)
    assert ratio <= 1.1, text


@pytest.mark.bound(120)
def test_687_05_durable(make_server, figure):
    """Publishers at two web servers that wait for each answer. A batch holds
    its turn through the flush. So the servers write about 770 batches a second
    to this disk, and a batch has at most half of the publishers that wait at
    both servers."""
    figure(pg_figures.durable(make_server, max(1, 5 * SCALE), 0, 16)[1])
    rate, text = pg_figures.durable(make_server, max(1, 5 * SCALE), 0, 32)
    figure(text)
    assert rate >= 15000, text


@pytest.mark.bound(120)
def test_687_06_durable_batches(make_server, figure):
    """Publishers at two web servers, in batches of 32"""
    rate, text = pg_figures.durable(make_server, max(1, 5 * SCALE), 32, 16)
    figure(text)
    assert rate >= 40000, text


@pytest.mark.bound(300)
def test_687_07_polls(make_server, figure):
    """10,000 polls are answered, and sent again within a second"""
    most, text = pg_figures.polls(make_server, scaled(10000, 100), 3)
    figure(text)
    assert most <= scaled(1000, 60), text


@pytest.mark.bound(120)
def test_687_08_at_rest(make_server, figure):
    """Four web servers of four children at rest"""
    share, looks, text = pg_figures.at_rest(make_server, max(5, 20 * SCALE))
    figure(text)
    assert share <= 3 and 50 < looks < 150, text


@pytest.mark.bound(120)
def test_687_09_twelve_at_rest(make_server, figure):
    """Twelve web servers at rest look into the inbox no more often than four"""
    _, looks, text = pg_figures.at_rest(make_server, max(5, 20 * SCALE),
                                        hosts=12, children=1)
    figure(text)
    assert 50 < looks < 150, text


@pytest.mark.bound(300)
def test_687_10_following(make_server, figure):
    """The database's CPU time for each child that follows the log"""
    for rate in (100, 500):
        figure(pg_figures.following(make_server, rate, max(3, 10 * SCALE)))
