# SPDX-License-Identifier: Apache-2.0
"""Reloads and stops with some clients; `make torture` uses more clients."""

import pytest

from reloads import graceful_reloads, stop_with_streams

pytestmark = [pytest.mark.event, pytest.mark.heavy]


def test_410_01_reloads(make_server, figure):
    """Clients of every transport get each message once and in order, over
    several reloads."""
    figure(graceful_reloads(make_server, 2, clients=200, rate=50))


def test_410_02_stop(make_server, figure):
    """A stop with many streams is quick, and the streams end properly."""
    figure(stop_with_streams(make_server, 200, times=2))
