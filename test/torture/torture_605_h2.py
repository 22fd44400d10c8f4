# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 clients that wait without a thread; SCALE sets how long
the tests take."""

import pytest

from h2_crowd import crowd
from httpd_env import SLOW
from scale import SCALE


@pytest.mark.event
@pytest.mark.bound(3000)
def test_605_01_crowd(make_server, figure):
    """HTTP/2 connections of five kinds follow a channel, load files and
    upload, reset streams, break and get stuck, with reloads"""
    figure(crowd(make_server, 1800 * SCALE, 12, reload_every=30 * SLOW))


@pytest.mark.event
@pytest.mark.bound(900)
def test_605_02_clear_text(make_server, figure):
    """The same connections without TLS, as behind a proxy"""
    figure(crowd(make_server, 300 * SCALE, 12, reload_every=30 * SLOW,
                 tls=False))
