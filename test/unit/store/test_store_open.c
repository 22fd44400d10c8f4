/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: writers, readers and other programs open it, even at the
 * same time.  Files of other programs are left alone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include "store/engine.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faulty_vfs.h"

static void write_file(const char *path, const void *content, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0660);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, length), length);
    close(fd);
}

static size_t read_file(const char *path, char *content, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t length;

    assert_true(fd >= 0);
    length = read(fd, content, size);
    close(fd);
    assert_true(length >= 0);
    return (size_t)length;
}

static void test_created(void **state)
{
    mode_t before = umask(077);
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    struct stat info;

    umask(before);
    assert_int_equal(stat(kit_database, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    assert_int_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    assert_int_equal(kit_number("PRAGMA application_id"), 0x434f4d54);
    assert_int_equal(kit_number("PRAGMA user_version"), 6);
    assert_int_equal(kit_number("PRAGMA auto_vacuum"), 2);
    assert_int_equal(kit_number("PRAGMA page_size"), 4096);
    assert_int_equal(kit_number("SELECT count(*) FROM pragma_journal_mode"
                                " WHERE journal_mode = 'wal'"),
                     1);
    assert_int_equal(kit_number("SELECT last + erased FROM comet_clock"), 0);
    comet_store_close(store);
    /* only the database file is left, without a log */
    assert_int_not_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    assert_int_equal(
        strncmp(kit_config.place.engine->version(), "SQLite 3.", 9), 0);
}

/* Run in eight processes that start without a database and without a bus. */
static int open_and_append(void *baton)
{
    comet_store_t *store;
    apr_status_t status;
    int tries = 0;

    do {
        status = comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL);
    } while (status == COMET_ELOCKED && ++tries < 100);
    if (status != APR_SUCCESS) {
        fprintf(stderr, "open: %d %s\n", status, comet_store_error(NULL));
        return 1;
    }
    status = kit_append(store, "chat", "x", NULL);
    comet_store_close(store);
    return status != APR_SUCCESS;
}

static void test_created_by_many(void **state)
{
    int pids[8];
    size_t round, i;

    for (round = 0; round < 5; round++) {
        scratch_clear();
        for (i = 0; i < 8; i++) {
            pids[i] = scratch_fork(open_and_append, NULL);
        }
        for (i = 0; i < 8; i++) {
            assert_int_equal(scratch_reap(pids[i]), 0);
        }
        assert_int_equal(kit_number("SELECT count(*) FROM message"), 8);
        assert_int_equal(kit_number("PRAGMA auto_vacuum"), 2);
    }
}

static void test_reader_needs_a_writer(void **state)
{
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    write_file(kit_database, "", 0);
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_SUCCESS);
}

static void test_no_folder(void **state)
{
    char path[900];

    snprintf(path, sizeof(path), "%s/none/comet.db", scratch_path(""));
    kit_config.place = scratch_place(path);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_EREADONLY);
    assert_non_null(strstr(comet_store_error(NULL), "No such file"));
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
}

static void test_reader_cannot_write(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    assert_int_equal(kit_append(reader, "chat", "x", NULL), COMET_EREADONLY);
    comet_store_close(reader);
    comet_store_close(store);
}

static void test_not_ours(void **state)
{
    static const char text[] = "Dear diary,\n";
    static char content[16384], now[16384];
    size_t length;
    int i;

    memset(content, '#', sizeof(content));
    for (i = 0; i < 4; i++) {
        scratch_clear();
        if (i == 0) {
            length = sizeof(text) - 1;
            memcpy(content, text, length);
            write_file(kit_database, content, length);
        }
        else if (i == 1) {
            length = sizeof(content);
            write_file(kit_database, content, length);
        }
        else {
            sqlite3 *db;

            assert_int_equal(sqlite3_open(kit_database, &db), SQLITE_OK);
            kit_must_run(db, i == 2 ? "CREATE TABLE t(x)"
                                    : "PRAGMA application_id = 5;"
                                      "PRAGMA journal_mode = WAL");
            sqlite3_close(db);
            length = read_file(kit_database, content, sizeof(content));
        }
        assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_ENOTDB);
        assert_int_equal(kit_open_status(COMET_STORE_READ), COMET_ENOTDB);
        assert_int_equal(read_file(kit_database, now, sizeof(now)), length);
        assert_memory_equal(now, content, length);
    }
}

/* Another program's database after a crash: some of its content is only in its
 * log. */
static void test_not_ours_with_a_log(void **state)
{
    static const char *const names[] = { "comet.db", "comet.db-wal" };
    static char before[2][65536], after[65536];
    size_t lengths[2];
    char other[800];
    sqlite3 *db;
    int i;

    snprintf(other, sizeof(other), "%s", scratch_path("other.db"));
    assert_int_equal(sqlite3_open(other, &db), SQLITE_OK);
    kit_must_run(db, "PRAGMA journal_mode = WAL; CREATE TABLE t(x);"
                     "INSERT INTO t VALUES(1)");
    for (i = 0; i < 2; i++) {
        lengths[i] = read_file(i ? scratch_path("other.db-wal") : other,
                               before[i], sizeof(before[i]));
        assert_true(lengths[i] > 0);
        write_file(scratch_path(names[i]), before[i], lengths[i]);
    }
    sqlite3_close(db);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_ENOTDB);
    assert_int_equal(kit_open_status(COMET_STORE_READ), COMET_ENOTDB);
    for (i = 0; i < 2; i++) {
        assert_int_equal(
            read_file(scratch_path(names[i]), after, sizeof(after)),
            lengths[i]);
        assert_memory_equal(before[i], after, lengths[i]);
    }
}

static void test_newer_version(void **state)
{
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    kit_run_outside("PRAGMA user_version = 1000");
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_ENOTDB);
    assert_non_null(strstr(comet_store_error(NULL), "newer"));
    assert_int_equal(kit_open_status(COMET_STORE_READ), COMET_ENOTDB);
    assert_int_equal(kit_number("PRAGMA user_version"), 1000);
}

/* An empty SQLite database is treated like a missing file. */
static void test_empty_database(void **state)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(kit_database, &db), SQLITE_OK);
    kit_must_run(db, "CREATE TABLE t(x); DROP TABLE t");
    sqlite3_close(db);
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), APR_SUCCESS);
    assert_int_equal(kit_number("PRAGMA user_version"), 6);
}

#define CANNOT_GET_THERE 77

/* Try to open the store as a user who may read but not write. */
static int try_read_only(void *baton)
{
    comet_store_t *store = NULL;
    int failed = 0;

    if (getuid() == 0
        && (setgroups(0, NULL) != 0 || setgid(65534) != 0
            || setuid(65534) != 0)) {
        return 99;
    }
    if (access(kit_database, R_OK) != 0) {
        return CANNOT_GET_THERE;
    }
    failed |= kit_open_status(COMET_STORE_WRITE) != COMET_EREADONLY ? 1 : 0;
    if (comet_store_open(&store, &kit_config, COMET_STORE_READ, NULL)) {
        return failed | 2;
    }
    failed |= strcmp(kit_bodies(store, "chat", 0, 9), "0,1,2") ? 4 : 0;
    failed |= !comet_store_is_usable(store, 0) ? 8 : 0;
    comet_store_close(store);
    return failed;
}

static void test_read_only(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int result;

    kit_append_many(store, "chat", 3);
    assert_int_equal(chmod(scratch_path("."), 0555), 0);
    chmod(kit_database, 0444);
    chmod(scratch_path("comet.db-wal"), 0444);
    chmod(scratch_path("comet.db-shm"), 0444);
    result = scratch_reap(scratch_fork(try_read_only, NULL));
    assert_int_equal(chmod(scratch_path("."), 0700), 0);
    comet_store_close(store);
    if (result == CANNOT_GET_THERE) {
        print_message("skipped: nobody cannot enter TMPDIR\n");
        skip();
    }
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_created),
        KIT_TEST(test_created_by_many),
        KIT_TEST(test_reader_needs_a_writer),
        KIT_TEST(test_no_folder),
        KIT_TEST(test_reader_cannot_write),
        KIT_TEST(test_not_ours),
        KIT_TEST(test_not_ours_with_a_log),
        KIT_TEST(test_newer_version),
        KIT_TEST(test_empty_database),
        KIT_TEST(test_read_only),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
