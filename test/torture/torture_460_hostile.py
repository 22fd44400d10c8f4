# SPDX-License-Identifier: Apache-2.0
"""Hostile requests, many of them."""

import pytest

from parsing import COMPARED, CONF
from pipelining import (polls_that_the_hub_answers,
                        posts_that_the_hub_publishes, while_the_hub_answers)
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
    """Requests that arrive while the poll before them is answered"""
    rounds = scaled(20000, 100)
    while_the_hub_answers(make_server(mpm=mpm), rounds)
    figure("%d polls, each with a request behind it" % rounds)


@pytest.mark.event
@pytest.mark.bound(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_460_03_fast_polls(make_server, figure, seed):
    """All kinds of requests between polls that the hub answers"""
    server = make_server(conf='<Location "/comet/fast">\nCometFastPoll on\n'
                              "CometPollTimeout 10s\n</Location>\n")
    rounds = scaled(3000, 60)
    figure("%d rounds, %d polls answered by the hub"
           % (rounds, polls_that_the_hub_answers(server, rounds, seed)))


@pytest.mark.event
@pytest.mark.bound(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_460_04_fast_posts(make_server, figure, seed):
    """All kinds of requests between POSTs whose messages the hub publishes"""
    server = make_server(conf="CometMaxMessageSize 4000\n"
                              '<Location "/comet/lane">\nCometFastPublish on\n'
                              "</Location>\n")
    rounds = scaled(3000, 60)
    figure("%d rounds, %d messages published by the hub"
           % (rounds, posts_that_the_hub_publishes(server, rounds, seed)))
