# SPDX-License-Identifier: Apache-2.0
"""A slow disk."""

import pytest

from scale import scaled
from slow_disk import slow_syncs


@pytest.mark.bound(400)
def test_435_01_slow_syncs(make_server, figure):
    """fdatasync takes 300 ms, 100 publishers, INSERTs by sqlite3"""
    figure(slow_syncs(make_server, publishers=100, inserts=scaled(100, 5)))
