# SPDX-License-Identifier: Apache-2.0
"""A child runs out of descriptors at each step that opens one."""

import pytest

from crowd import WRITE_PATHS
from descriptors import at_start, none_left, used_up
from httpd_env import MPMS
from scale import scaled

by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
@pytest.mark.bound(300)
@pytest.mark.parametrize("mpm", [m for m in MPMS if m != "prefork"])
def test_455_01_none_left(make_server, mpm, path, figure):
    """A child that can open no descriptors, or only a few"""
    figure(none_left(make_server, mpm, path, scaled(12, 2)))


@by_path
@pytest.mark.event
@pytest.mark.bound(120)
def test_455_02_used_up(make_server, path, figure):
    """Clients use up all descriptors that a child has"""
    figure(used_up(make_server, path))


@pytest.mark.bound(120)
@pytest.mark.skipif("prefork" not in MPMS, reason="prefork not chosen")
@pytest.mark.parametrize("left", range(1, 8))
def test_455_03_at_start(make_server, left, figure):
    """Children start with too few descriptors, and get more later"""
    figure(at_start(make_server, left))
