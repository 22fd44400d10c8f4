# SPDX-License-Identifier: Apache-2.0
"""The tests that do not run with COMET_STORE=postgresql. They are about
SQLite's files, locks, programs or limits, or break the store in a way that only
SQLite knows."""

FILES = {
    "test_170_faults": "faults of the database's file and of its disk",
    "test_220_durability": "syncs of the database's file",
    "test_420_db_faults": "faults of the database's file and of its disk",
    "test_435_slow_disk": "syncs of the database's file",
    "test_436_starts": "making the database's file",
    "test_475_places": "where the file may be, and who may write it",
    "test_476_temporary": "SQLite's temporary files",
    "test_477_identity": "how a file is recognised",
    "test_502_outsiders": "other programs' locks of the file",
}

TESTS = {}


def reason(item):
    """Return why a test does not run, or None if it runs."""
    return FILES.get(item.path.stem) or next(
        (why for name, why in TESTS.items()
         if item.originalname.startswith(name)), None)
