# SPDX-License-Identifier: Apache-2.0
"""A child reaches the limit of its descriptors."""

import pytest

from crowd import WRITE_PATHS
from descriptors import at_start, none_left, used_up
from httpd_env import MPMS

by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
@pytest.mark.parametrize("mpm", [m for m in MPMS if m != "prefork"])
def test_455_01_none_left(make_server, mpm, path, figure):
    """Children cannot open any file."""
    figure(none_left(make_server, mpm, path, 2))


@by_path
@pytest.mark.event
def test_455_02_used_up(make_server, path, figure):
    """Clients use up all descriptors of a child."""
    figure(used_up(make_server, path))


@pytest.mark.skipif("prefork" not in MPMS, reason="prefork not chosen")
def test_455_03_at_start(make_server, figure):
    """Children start without descriptors, and get some later."""
    figure(at_start(make_server, 2))
