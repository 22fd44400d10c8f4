# SPDX-License-Identifier: Apache-2.0
"""Graceful reloads and a stop under a crowd."""

import pytest

from reloads import graceful_reloads, stop_with_streams
from scale import scaled


@pytest.mark.event
@pytest.mark.bound(600)
def test_410_01_reloads(make_server, figure):
    """Graceful reloads with 1,000 clients of every transport"""
    figure(graceful_reloads(make_server, scaled(20, 2)))


@pytest.mark.event
@pytest.mark.bound(120)
def test_410_02_stop(make_server, figure):
    """A stop with 1,000 streams"""
    figure(stop_with_streams(make_server, 1000, times=scaled(10, 2)))
