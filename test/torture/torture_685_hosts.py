# SPDX-License-Identifier: Apache-2.0
"""Several web servers on one PostgreSQL database, in full size."""

import pytest

from hosts import shared_log
from scale import scaled

pytestmark = pytest.mark.event


@pytest.mark.bound(1500)
def test_685_01_one_log(make_server, figure):
    """Four web servers, late commits, rollbacks and prepared transactions: a
    million messages in one order"""
    _, text = shared_log(make_server, scaled(1_000_000, 2000), timeout=1200)
    figure(text)
