# SPDX-License-Identifier: Apache-2.0
"""Some kills of children and servers; `make torture` kills many."""

import pytest

from kills import children_killed, servers_killed

pytestmark = [pytest.mark.event, pytest.mark.heavy]


def test_400_01_children(make_server, figure):
    """When children are killed, no message is lost or repeated."""
    figure(children_killed(make_server, 3, subscribers=100, rate=100))


def test_400_02_servers(make_server, figure):
    """When a server is killed and started again, no message is lost or
    repeated."""
    figure(servers_killed(make_server, 2, subscribers=100, rate=100))
