# SPDX-License-Identifier: Apache-2.0
"""A thousand clients that vanish, never read or send slowly."""

import pytest

from crowd import WRITE_PATHS
from far import far                                     # noqa: F401
from network import slowly, stuck, vanished
from scale import scaled

# On prefork and worker each waiting client holds a process or a thread. At most
# half of these may be held.
MOST = {"event": scaled(1000, 20), "worker": scaled(100, 10),
        "prefork": scaled(30, 10)}

by_path = pytest.mark.parametrize("path", WRITE_PATHS)


@by_path
@pytest.mark.bound(180)
def test_440_01_vanished(make_server, mpm, path, figure):
    """Clients vanish without a FIN"""
    figure(vanished(make_server, mpm, path, MOST[mpm], threads=210,
                    samples=500))


@by_path
@pytest.mark.event
@pytest.mark.bound(180)
def test_440_02_vanished_beyond_a_router(far, make_server, path,  # noqa: F811
                                         figure):
    """Clients vanish behind a router that loses all packets"""
    figure(vanished(make_server, "event", path, MOST["event"], far,
                    samples=500))


@by_path
@pytest.mark.bound(180)
def test_440_03_never_read(make_server, mpm, path, figure):
    """Clients never read"""
    figure(stuck(make_server, mpm, path, min(100, MOST[mpm]), threads=210))


@by_path
@pytest.mark.bound(400)
def test_440_04_slowly(make_server, mpm, path, figure):
    """Clients send their requests byte by byte"""
    figure(slowly(make_server, mpm, path, scaled(1000, 60), threads=64,
                  samples=500))
