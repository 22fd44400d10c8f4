# SPDX-License-Identifier: Apache-2.0
"""The tests that do not run with COMET_STORE=postgresql. They are about
SQLite's files, locks, programs or limits, or break the store in a way that is
possible only with SQLite."""

FILES = {
    "test_170_faults": "faults of the database's file and of its disk",
    "test_220_durability": "syncs of the database's file",
    "test_420_db_faults": "faults of the database's file and of its disk",
    "test_435_slow_disk": "syncs of the database's file",
    "test_255_fast_polls": "CometFastPoll: httpd answers the polls of a store"
                           " that is remote",
    "test_430_clock": "the clock that counts is the database server's",
    "test_436_starts": "making the database's file",
    "test_475_places": "where the file may be, and who may write it",
    "test_476_temporary": "SQLite's temporary files",
    "test_477_identity": "how a file is recognised",
    "test_502_outsiders": "other programs' locks of the file",
    "test_658_presence_clock": "the clock that counts is the database"
                               " server's",
}

# The beginnings of tests' names, and the reasons why these tests do not run.
TESTS = {
    "test_130_01": "the commands of sqlite3",
    "test_130_09": "an inserted message is numbered a moment after its commit",
    "test_130_11_bad_rows_are_refused[INSERT INTO message(channel, body)"
    " VALUES('bad', x'": "x'' is a text in PostgreSQL",
    "test_130_15": "the file's settings",
    "test_190_10": "one thread looks into the inbox 67 times a second",
    "test_205_08": "CometFastPoll",
    "test_256_61": "a message under way at a restart may be stored later",
    "test_270_10": "a file that cannot be read",
    "test_271_02": "a file that cannot be read",
    "test_320_09": "a publisher that gave up may be stored later",
    "test_320_27": "what SQLite says of a commit",
    "test_325_08": "the table of FTS5",
    "test_325_09": "the table of FTS5",
    "test_325_10": "the table of FTS5",
    "test_325_12": "the table of FTS5",
    "test_325_14": "what a search may cost SQLite",
    "test_325_15": "what a search may cost SQLite",
    "test_325_16": "what a search may cost SQLite",
    "test_325_17": "what a search may cost SQLite",
    "test_340_04": "PostgreSQL stores no invalid UTF-8",
    "test_370_03": "the file's log",
    "test_400_02": "who has the file open",
    "test_455_01": "descriptors that the file needs",
    "test_460_23": "PostgreSQL's constraints cannot be switched off",
    "test_462_08": "CometFastPoll",
    "test_466_54": "PostgreSQL's constraints cannot be switched off",
    "test_470_01": "the modes of the files",
    "test_470_03": "the folder of the file",
    "test_470_10": "faults of the database's file",
    "test_482_07": "the table channel",
    "test_482_08": "files of older versions",
    "test_485_05": "copies of the file",
    "test_485_06": "SQLite's transactions",
    "test_485_08": "the commands of sqlite3",
    "test_486_02": "CometFastPoll",
    "test_521_06": "a publisher that gave up may be stored later",
    "test_650_14": "the file's tables",
    "test_961_04": "PostgreSQL does not count its channels",
    "test_962_01": "the file's log",
    "test_963_01": "a lock of the file",
    "test_963_02": "copies of the file",
    "test_969_05_commands[sqlite3": "the commands of sqlite3",
    "test_969_07": "SQLite's functions",
}


def reason(item):
    """Return why a test does not run, or None if it runs."""
    return FILES.get(item.path.stem) or next(
        (why for name, why in TESTS.items() if item.name.startswith(name)),
        None)
