# SPDX-License-Identifier: Apache-2.0
"""A few kill -9 of children and servers; `make torture` does it often."""

import pytest

from kills import children_killed, servers_killed

pytestmark = [pytest.mark.event, pytest.mark.heavy]


def test_400_01_children(make_server, figure):
    """Children are killed: nothing is lost or repeated."""
    figure(children_killed(make_server, 3, subscribers=100, rate=100))


def test_400_02_servers(make_server, figure):
    """Servers are killed and started again: nothing is lost."""
    figure(servers_killed(make_server, 2, subscribers=100, rate=100))
