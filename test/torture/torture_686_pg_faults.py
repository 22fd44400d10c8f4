# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server that hangs or cannot be reached, for half a minute."""

import pytest

import pg_faults
from far import far                                     # noqa: F401
from scale import scaled

pytestmark = [pytest.mark.event, pytest.mark.bound(200)]


def test_686_01_hanging(make_server, figure):
    """The database server is stopped (SIGSTOP)"""
    figure(pg_faults.hanging(make_server, scaled(30, 3)))


def test_686_02_unresolved(make_server, figure):
    """The name server does not answer"""
    figure(pg_faults.unresolved(make_server, scaled(30, 3)))


def test_686_03_cut_off(far, make_server, figure):      # noqa: F811
    """A host is cut off from the database while it has the turn"""
    figure(pg_faults.cut_off(far, make_server, scaled(30, 8)))
