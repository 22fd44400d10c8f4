# SPDX-License-Identifier: Apache-2.0
"""A slow disk under many publishers; `make torture` has more of them."""

from slow_disk import slow_syncs


def test_435_01_slow_syncs(make_server, figure):
    """Each sync takes 300 ms: nobody but publishers notices."""
    figure(slow_syncs(make_server, publishers=100, inserts=4))
