# SPDX-License-Identifier: Apache-2.0
"""Several web servers on one PostgreSQL database, at full size."""

import pytest

import host_kills
from hosts import shared_log
from scale import scaled

pytestmark = pytest.mark.event


@pytest.mark.bound(1500)
def test_685_01_one_log(make_server, figure):
    """A million messages, in the same order on four web servers, with late
    commits, rollbacks and prepared transactions"""
    _, text = shared_log(make_server, scaled(1_000_000, 2000), timeout=1200)
    figure(text)


@pytest.mark.bound(1800)
def test_685_02_children(make_server, figure):
    """kill -9 of children of two web servers"""
    figure(host_kills.children_killed(make_server, scaled(200, 3)))


@pytest.mark.bound(900)
def test_685_03_servers(make_server, figure):
    """kill -9 of one of two web servers, and restart"""
    figure(host_kills.servers_killed(make_server, scaled(50, 2)))


@pytest.mark.bound(900)
def test_685_04_database(make_server, figure):
    """kill -9 of the PostgreSQL server, and restart in the same folder"""
    figure(host_kills.database_killed(make_server, scaled(50, 2)))


@pytest.mark.bound(900)
def test_685_05_primaries(make_server, figure):
    """kill -9 of the primary, and promotion of its synchronous standby"""
    figure(host_kills.primaries_killed(make_server, scaled(20, 1)))
