# SPDX-License-Identifier: Apache-2.0
"""A system clock that jumps."""

import pytest

from clocks import clock_back_while_waiting, clock_jumps, history_survives
from scale import scaled


@pytest.mark.bound(180)
def test_430_01_jumps(make_server, mpm, figure):
    """Clock back a day, forward a year and back"""
    figure(clock_jumps(make_server, mpm, stay=scaled(12, 1)))


@pytest.mark.bound(120)
def test_430_02_back_while_waiting(make_server, mpm, figure):
    """Clock back a day while clients wait, and a stop"""
    for _ in range(scaled(5, 1)):
        figure(clock_back_while_waiting(make_server, mpm))


def test_430_03_history(make_server, figure):
    """Retention by age and keys while the clock is wrong"""
    figure(history_survives(make_server, days=True))
