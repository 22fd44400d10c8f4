# SPDX-License-Identifier: Apache-2.0
"""A slow disk with many publishers; `make torture` uses more publishers."""

import pytest

from httpd_env import MPMS
from slow_disk import (ends_before_the_disk, ends_before_the_fold,
                       slow_syncs)

pytestmark = pytest.mark.heavy


def test_435_01_slow_syncs(make_server, figure):
    """If each sync takes 300 ms, only publishers become slower."""
    figure(slow_syncs(make_server, publishers=100, inserts=4))


@pytest.mark.skipif("prefork" not in MPMS, reason="prefork not chosen")
def test_435_02_ends_before_the_disk_answers(make_server, figure):
    """A child can end while its writer still waits for the disk."""
    figure(ends_before_the_disk(make_server, "prefork", sync=3))


@pytest.mark.event
def test_435_03_ends_before_the_fold(make_server, figure):
    """A restart leaves the write-ahead log to the new children.  At a stop a
    child ends in time although its writer is still moving the log into the
    database."""
    figure(ends_before_the_fold(make_server, "event", sync=2))
