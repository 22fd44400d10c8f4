# SPDX-License-Identifier: Apache-2.0
"""What HTTP/2 connections with waiting streams cost, at full size."""

import pytest

from h2_many import beside, idle_cost, many
from scale import scaled

pytestmark = [pytest.mark.event, pytest.mark.bound(600)]


def test_608_01_idle_connections(make_server, figure):
    """1,000 HTTP/2 connections on which nothing waits"""
    figure("%.1f KiB PSS each" % idle_cost(make_server, scaled(1000)))


def test_608_02_a_thousand(make_server, figure):
    """1,000 HTTP/2 connections with a waiting stream each: at rest, and when
    messages go to all of them"""
    figure(many(make_server, scaled(1000), 1, rest=60, most_kib=120))


def test_608_03_three_thousand(make_server, figure):
    """3,000 HTTP/2 connections with a waiting stream each"""
    figure(many(make_server, scaled(3000), 1, most_kib=120))


def test_608_04_ten_streams(make_server, figure):
    """100 HTTP/2 connections with 10 waiting streams each"""
    figure(many(make_server, scaled(100), 10, most_kib=30))


def test_608_05_beside(make_server, figure):
    """How late messages are on an HTTP/2 connection that also has a request of
    5 s, or a download"""
    figure(beside(make_server))
