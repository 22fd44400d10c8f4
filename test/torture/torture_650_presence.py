# SPDX-License-Identifier: Apache-2.0
"""Presence: ten thousand random steps, power failures, and presence.py with
large numbers."""

import os
import subprocess

import pytest

from httpd_env import COMET_MODULE, REPO, SANITIZER
from presence import flood, joins, overhead, stopped, typing, vanished
from scale import scaled

PROGRAMS = os.path.join(os.path.dirname(COMET_MODULE), "unit", "store")


def run(program, **more):
    """Run a unit program; return its output."""
    done = subprocess.run(
        [os.path.join(PROGRAMS, program)], cwd=REPO, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=880,
        env={**os.environ, **more})
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, text
    return text


@pytest.mark.bound(900)
def test_650_90_random_steps(figure):
    """Random steps: clients connect and drop, members are thrown out by SQL,
    children stall and die"""
    steps = scaled(10000, 600)
    run("test_presence_random", PRESENCE_STEPS=str(steps))
    figure("%d random steps: joins and leaves always add up to the store"
           % steps)


@pytest.mark.bound(900)
def test_650_91_power_cuts(figure):
    """The power fails while members come and go"""
    text = run("test_power_presence", COMET_CUTS=str(scaled(200, 6)))
    figure(*[line[2:] for line in text.splitlines() if "cuts of" in line])


@pytest.mark.event
@pytest.mark.bound(400)
def test_650_92_stopped(make_server, figure):
    """A child is stopped for a minute"""
    figure(stopped(make_server, scaled(200, 20), 60))


@pytest.mark.bound(200)
def test_650_93_vanished(make_server, mpm, figure):
    """Members vanish: their packets are lost"""
    figure(vanished(make_server, mpm, scaled(100, 5) if mpm == "event" else 5))


@pytest.mark.event
@pytest.mark.bound(400)
def test_650_94_typing(make_server, figure):
    """200 users type for a minute"""
    figure(typing(make_server, 200, scaled(60, 6)))


@pytest.mark.event
@pytest.mark.bound(400)
def test_650_95_joins(make_server, figure):
    """10,000 members join"""
    figure(joins(make_server, scaled(10000, 500)))


@pytest.mark.event
@pytest.mark.bound(600)
def test_650_96_overhead(make_server, figure):
    """What presence adds to the fan-out of streams: at most 3 %"""
    share, _, text = overhead(make_server, 300, 50, scaled(40, 6))
    figure(text)
    assert share <= 3 or SANITIZER != "none", text


@pytest.mark.event
@pytest.mark.bound(200)
@pytest.mark.parametrize("name", ["ann", ""])
def test_650_97_flood(make_server, name, figure):
    """One client enters ever more channels"""
    figure(flood(make_server, name, scaled(20, 5)))
