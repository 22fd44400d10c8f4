# SPDX-License-Identifier: Apache-2.0
"""Floods of channels, messages and clients beyond every limit."""

import pytest

from crowd import WRITE_PATHS
from floods import WAITING, beyond, flood_of_publishes, many_channels, \
    overflow
from scale import scaled

pytestmark = pytest.mark.event
by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
@pytest.mark.bound(600)
def test_450_01_many_channels(make_server, path, figure):
    """One client publishes to and waits for very many channels"""
    figure(many_channels(make_server, path, scaled(100, 2) * 1000))


@by_path
@pytest.mark.bound(300)
def test_450_02_flood_of_publishes(make_server, path, figure):
    """More messages are published than can be stored, or than are allowed"""
    figure(flood_of_publishes(make_server, path, 256, scaled(100000, 5000)))


@by_path
@pytest.mark.bound(300)
@pytest.mark.parametrize("what", WAITING)
def test_450_03_beyond(make_server, path, what, figure):
    """More clients than places"""
    figure(beyond(make_server, path, what, 200, scaled(10000, 400), 200))


@by_path
@pytest.mark.bound(300)
def test_450_04_overflow(make_server, path, figure):
    """More classic polls than the MPM has connections"""
    figure(overflow(make_server, path, scaled(5000, 200)))
