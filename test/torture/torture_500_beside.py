# SPDX-License-Identifier: Apache-2.0
"""mod_comet together with random sets of modules."""

import os

import pytest

from scale import scaled
from sets import random_sets


@pytest.mark.bound(20000)
def test_500_01_random_sets(figure):
    """Sets of modules, drawn at random (FIRST_SET=N begins with number N)"""
    figure(random_sets(int(os.environ.get("FIRST_SET", "1")),
                       scaled(1000, 5)))
