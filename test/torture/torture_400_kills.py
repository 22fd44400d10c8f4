# SPDX-License-Identifier: Apache-2.0
"""kill -9, often."""

import pytest

from kills import children_killed, servers_killed
from scale import scaled


@pytest.mark.event
@pytest.mark.bound(900)
def test_400_01_children(make_server, figure):
    """kill -9 of a child, again and again"""
    figure(children_killed(make_server, kills=scaled(200, 3)))


@pytest.mark.event
@pytest.mark.bound(600)
def test_400_02_servers(make_server, figure):
    """kill -9 of the parent and all children, and restart"""
    figure(servers_killed(make_server, kills=scaled(50, 2)))
