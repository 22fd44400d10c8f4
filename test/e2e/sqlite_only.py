# SPDX-License-Identifier: Apache-2.0
"""What the suite does not run with COMET_STORE=postgresql, since it is about
SQLite: its files, locks, programs, limits, or the ways to break them."""

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
    """Why a test does not run; None: it does."""
    return FILES.get(item.path.stem) or next(
        (why for name, why in TESTS.items()
         if item.originalname.startswith(name)), None)
