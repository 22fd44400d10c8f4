# SPDX-License-Identifier: Apache-2.0
"""Floods by one address, with limits set, beside clients of others."""

import pytest

from crowd import WRITE_PATHS
from one_address import FLOODS, flood

pytestmark = pytest.mark.event


@pytest.mark.bound(300)
@pytest.mark.parametrize("path", WRITE_PATHS)
@pytest.mark.parametrize("act", FLOODS, ids=lambda act: act.__name__)
def test_451_01_one_address(make_server, path, act, figure):
    """One address floods: messages of others come in time"""
    figure(flood(make_server, WRITE_PATHS[path], act))
