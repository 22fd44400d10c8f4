# SPDX-License-Identifier: Apache-2.0
"""Children are replaced while the store cannot be used."""

import pytest

from httpd_env import MPMS
from scale import scaled
from starts import site_lives_on


@pytest.mark.bound(1800)
@pytest.mark.parametrize("mpm", MPMS)
def test_436_01_site_lives_on(make_server, mpm, figure):
    """Reload, restart, kill -9: a static file is at most 50 ms later"""
    figure(site_lives_on(make_server, mpm, rounds=scaled(20, 3)))
