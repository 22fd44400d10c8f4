# SPDX-License-Identifier: Apache-2.0
"""Some HTTP/2 connections with waiting streams; `make torture` has
thousands."""

import pytest

from h2_many import many


@pytest.mark.event
def test_608_01_some(make_server, figure):
    """Ten connections with ten streams each take no threads, and each stream
    gets every message in order."""
    figure(many(make_server, 10, 10))
