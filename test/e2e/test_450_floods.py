# SPDX-License-Identifier: Apache-2.0
"""Small floods of channels, messages and clients, beyond every limit; `make
torture` has large ones."""

import pytest

from crowd import WRITE_PATHS
from floods import WAITING, beyond, flood_of_publishes, many_channels, \
    overflow

pytestmark = [pytest.mark.event, pytest.mark.heavy]
by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
def test_450_01_many_channels(make_server, path, figure):
    """One client may use thousands of channels."""
    figure(many_channels(make_server, path, 2000, each=500))


@by_path
def test_450_02_flood_of_publishes(make_server, path, figure):
    """If clients publish faster than messages can be stored, the excess is
    refused at once."""
    figure(flood_of_publishes(make_server, path, 64, 3000))


@by_path
@pytest.mark.parametrize("what", WAITING)
def test_450_03_beyond(make_server, path, what, figure):
    """If there are more clients than places, each further client is refused."""
    figure(beyond(make_server, path, what, 50, 300))


@by_path
def test_450_04_overflow(make_server, path, figure):
    """If more classic polls wait than a small MPM has connections, some
    connections stay free for the site."""
    figure(overflow(make_server, path, 200))
