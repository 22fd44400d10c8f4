# SPDX-License-Identifier: Apache-2.0
"""Faults of the database under load, for the longest durations."""

import pytest

import db_faults
from scale import scaled


@pytest.mark.bound(120)
def test_420_01_locked(make_server, figure):
    """Database locked by another process, 40 publishers"""
    figure(db_faults.locked(make_server, seconds=scaled(30, 3),
                            publishers=40))


@pytest.mark.bound(120)
def test_420_02_disk_full(small_disk, figure):
    """Disk full"""
    figure(db_faults.disk_full(small_disk, seconds=scaled(20, 2)))


def test_420_03_read_only(small_disk, figure):
    """Read-only file system that becomes writable"""
    figure(db_faults.read_only_at_start(small_disk))


@pytest.mark.bound(240)
def test_420_04_deleted(make_server, figure):
    """Database deleted, again and again"""
    for _ in range(scaled(10, 1)):
        figure(db_faults.deleted(make_server))


@pytest.mark.bound(240)
def test_420_05_replaced(make_server, figure):
    """Database replaced while streams wait, again and again"""
    for _ in range(scaled(10, 1)):
        figure(db_faults.replaced(make_server, seconds=1))


@pytest.mark.bound(120)
def test_420_06_not_a_database(make_server, figure):
    """Not a database"""
    figure(db_faults.not_a_database(make_server, seconds=scaled(20, 2)))


@pytest.mark.bound(240)
def test_420_07_damaged(make_server, figure):
    """Damaged pages: every third, seventh, twentieth"""
    for every in (3, 7, 20):
        figure(db_faults.damaged_page(make_server, seconds=scaled(10, 1),
                                      every=every))


def test_420_08_owned_by_root(make_server, figure):
    """Database owned by root"""
    figure(db_faults.owned_by_root(make_server))
