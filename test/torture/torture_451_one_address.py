# SPDX-License-Identifier: Apache-2.0
"""One address floods a server that has limits and other clients."""

import pytest

from crowd import WRITE_PATHS
from one_address import FLOODS, flood

pytestmark = pytest.mark.event


@pytest.mark.bound(300)
@pytest.mark.parametrize("path", WRITE_PATHS)
@pytest.mark.parametrize("act", FLOODS, ids=lambda act: act.__name__)
def test_451_01_one_address(make_server, path, act, figure):
    """During a flood by one address, others' messages arrive in time"""
    figure(flood(make_server, WRITE_PATHS[path], act))
