# SPDX-License-Identifier: Apache-2.0
"""Hostile requests, many of them."""

import pytest

from parsing import COMPARED, CONF
from pipelining import while_the_hub_answers
from scale import scaled

SEEDS = (1, 2, 3)


@pytest.mark.bound(600)
@pytest.mark.parametrize("compare", COMPARED, ids=lambda c: c.__name__)
def test_460_01_parsing(make_server, figure, compare):
    """Random requests against a reference"""
    count = scaled(30000, 100)
    for seed in SEEDS:
        compare(make_server(conf=CONF), count, seed)
    figure("%s: %d agree" % (compare.__name__, count * len(SEEDS)))


@pytest.mark.bound(300)
def test_460_02_pipelining(make_server, mpm, figure):
    """Requests behind a poll while it is answered"""
    rounds = scaled(20000, 100)
    while_the_hub_answers(make_server(mpm=mpm), rounds)
    figure("%d polls, each with a request behind it" % rounds)
