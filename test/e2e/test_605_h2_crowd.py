# SPDX-License-Identifier: Apache-2.0
"""A crowd of HTTP/2 connections for some seconds; `make torture` runs it for
longer."""

import pytest

from h2_crowd import crowd


@pytest.mark.event
def test_605_01_crowd(make_server, figure):
    """Five kinds of clients use streams, polls, files and uploads during
    reloads."""
    figure(crowd(make_server, 4, 5, reload_every=2.5))
