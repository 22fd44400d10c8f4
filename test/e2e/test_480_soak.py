# SPDX-License-Identifier: Apache-2.0
"""A short soak; `make torture` has the long one."""

import pytest

from soak import soak


@pytest.mark.event
@pytest.mark.serial         # it judges figures
def test_480_01_soak(make_server, figure):
    """Clients of every transport come and go, and leave nothing behind."""
    figure(soak(make_server, 4, period=2, clients=100, life=2))
