# SPDX-License-Identifier: Apache-2.0
"""Faults of the database under load; `make torture` lets them last longer."""

import pytest

import db_faults

pytestmark = pytest.mark.heavy

PARTS = {"all": db_faults.ENDS, "database": ("",), "log": ("-wal",),
         "memory": ("-shm",), "side": ("-wal", "-shm")}


def test_420_01_locked(make_server, figure):
    """While another process holds the lock, publishers get 503, and reading
    works."""
    figure(db_faults.locked(make_server, seconds=2.5))


def test_420_02_disk_full(small_disk, figure):
    """While the disk is full, publishers get 507, and reading works."""
    figure(db_faults.disk_full(small_disk, seconds=1))


def test_420_03_read_only(small_disk, figure):
    """Publishing works again when a read-only file system becomes writable."""
    figure(db_faults.read_only_at_start(small_disk))


@pytest.mark.parametrize("what", PARTS)
def test_420_04_deleted(make_server, figure, what):
    """Publishing works again soon after the database's files were deleted."""
    figure(db_faults.deleted(make_server, PARTS[what]))


def test_420_05_replaced(make_server, figure):
    """When another database replaces the file, clients continue with that
    database."""
    figure(db_faults.replaced(make_server, seconds=0.3))


def test_420_06_not_a_database(make_server, figure):
    """While a text file replaces the database, publishers get 503."""
    figure(db_faults.not_a_database(make_server, seconds=1))


def test_420_07_damaged(make_server, figure):
    """When pages of the file are overwritten, no unstored message is
    acknowledged."""
    figure(db_faults.damaged_page(make_server, seconds=1))


def test_420_08_owned_by_root(make_server, figure):
    """When the file belongs to root, the log shows the command that repairs
    it."""
    figure(db_faults.owned_by_root(make_server))
