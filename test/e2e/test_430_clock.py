# SPDX-License-Identifier: Apache-2.0
"""The system clock jumps; `make torture` waits longer after each jump."""

from clocks import clock_back_while_waiting, clock_jumps, history_survives


def test_430_01_jumps(make_server, mpm, figure):
    """A day back, a year ahead and back: timestamps strictly increase."""
    figure(clock_jumps(make_server, mpm, stay=0.3))


def test_430_02_back_while_waiting(make_server, mpm, figure):
    """A day back: waiting clients get messages, a client that leaves is
    noticed, and a stop works."""
    figure(clock_back_while_waiting(make_server, mpm))


def test_430_03_history(make_server, figure):
    """Retention by age and keys: a wrong clock deletes nothing."""
    figure(history_survives(make_server))
