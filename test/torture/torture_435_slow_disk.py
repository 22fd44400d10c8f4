# SPDX-License-Identifier: Apache-2.0
"""A slow disk."""

import pytest

from httpd_env import MPMS
from scale import scaled
from slow_disk import ends_before_the_disk, slow_syncs


@pytest.mark.bound(400)
def test_435_01_slow_syncs(make_server, figure):
    """fdatasync takes 300 ms, 100 publishers, INSERTs with sqlite3"""
    figure(slow_syncs(make_server, publishers=100, inserts=scaled(100, 5)))


@pytest.mark.parametrize("mpm", MPMS)
def test_435_02_ends_before_the_disk_answers(make_server, mpm, figure):
    """A child ends while its writer waits for the disk"""
    figure(ends_before_the_disk(make_server, mpm,
                                3 if mpm == "prefork" else 8))
