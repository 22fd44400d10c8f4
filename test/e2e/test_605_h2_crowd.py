# SPDX-License-Identifier: Apache-2.0
"""A crowd of HTTP/2 connections for a moment; `make torture` has it for long."""

import pytest

from h2_crowd import crowd


@pytest.mark.event
def test_605_01_crowd(make_server, figure):
    """Streams, polls, files and uploads of five kinds of clients, with a
    reload."""
    figure(crowd(make_server, 4, 5, reload_every=2.5))
