# SPDX-License-Identifier: Apache-2.0
"""Faults of the database under load; in `make torture` they last longer."""

import pytest

import db_faults

pytestmark = pytest.mark.heavy

PARTS = {"all": db_faults.ENDS, "database": ("",), "log": ("-wal",),
         "memory": ("-shm",), "side": ("-wal", "-shm")}


def test_420_01_locked(make_server, figure):
    """Another process has the lock."""
    figure(db_faults.locked(make_server, seconds=2.5))


def test_420_02_disk_full(small_disk, figure):
    """The disk is full."""
    figure(db_faults.disk_full(small_disk, seconds=1))


def test_420_03_read_only(small_disk, figure):
    """A read-only file system becomes writable."""
    figure(db_faults.read_only_at_start(small_disk))


@pytest.mark.parametrize("what", PARTS)
def test_420_04_deleted(make_server, figure, what):
    """The database file is deleted, or a file beside it."""
    figure(db_faults.deleted(make_server, PARTS[what]))


def test_420_05_replaced(make_server, figure):
    """Another store is put in its place."""
    figure(db_faults.replaced(make_server, seconds=0.3))


def test_420_06_not_a_database(make_server, figure):
    """A file that is no database is put in its place."""
    figure(db_faults.not_a_database(make_server, seconds=1))


def test_420_07_damaged(make_server, figure):
    """Pages of the file are overwritten."""
    figure(db_faults.damaged_page(make_server, seconds=1))


def test_420_08_owned_by_root(make_server, figure):
    """The file belongs to root."""
    figure(db_faults.owned_by_root(make_server))
