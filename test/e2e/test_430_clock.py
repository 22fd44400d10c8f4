# SPDX-License-Identifier: Apache-2.0
"""Jumps of the system clock; `make torture` waits longer after each jump."""

from clocks import clock_back_while_waiting, clock_jumps, history_survives


def test_430_01_jumps(make_server, mpm, figure):
    """Timestamps strictly increase while the clock jumps a day back, a year
    ahead and back again."""
    figure(clock_jumps(make_server, mpm, stay=0.3))


def test_430_02_back_while_waiting(make_server, mpm, figure):
    """After the clock has jumped a day back, a waiting client still gets
    messages, its departure is noticed, and the server stops in time."""
    figure(clock_back_while_waiting(make_server, mpm))


def test_430_03_history(make_server, figure):
    """After the clock was a year ahead for a while, retention by age has
    deleted no message, and idempotency keys are still valid."""
    figure(history_survives(make_server))
