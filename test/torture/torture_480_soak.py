# SPDX-License-Identifier: Apache-2.0
"""The soak test; SCALE sets how long it takes."""

import pytest

from scale import SCALE
from soak import soak


@pytest.mark.event
@pytest.mark.bound(2400)
def test_480_01_soak(make_server, figure):
    """2,000 clients come and go for half an hour, with a reload every minute"""
    seconds = 1800 * SCALE
    figure(soak(make_server, seconds, period=max(5, min(60, seconds / 9))))
