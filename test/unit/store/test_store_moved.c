/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: its files are deleted or replaced while it is in use. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "scratch.h"

/* Check that open connections notice that another file has replaced theirs. */
static void check_moved(comet_store_t *store, comet_store_t *reader)
{
    assert_false(comet_store_is_usable(store, 0));
    assert_false(comet_store_is_usable(reader, 0));
    assert_int_equal(kit_append(store, "chat", "lost", NULL), COMET_EMOVED);
    comet_store_close(reader);
    comet_store_close(store);
}

static void test_deleted(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_t *other = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 3);
    assert_int_equal(kit_last_of(other), kit_last_of(store));
    assert_true(comet_store_is_usable(store, 0));
    assert_true(comet_store_is_usable(reader, 0));
    unlink(kit_database); /* the file's log stays */
    check_moved(store, reader);
    /* another reader still has the old log open; it must not interfere */
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    reader = kit_open_store(COMET_STORE_READ);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "new");
    assert_false(comet_store_is_usable(other, 0));
    comet_store_close(other);
    comet_store_close(reader);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    kit_assert_healthy();
}

/* Once a connection has noticed that the database is gone, no other connection
 * of the process relies on an earlier look of its own. */
static void test_noticed_by_another(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    assert_true(comet_store_is_usable(reader, 0));
    unlink(kit_database);
    assert_true(comet_store_is_usable(reader, apr_time_from_sec(60)));
    assert_false(comet_store_is_usable(store, 0));
    assert_false(comet_store_is_usable(reader, apr_time_from_sec(60)));
    comet_store_close(reader);
    comet_store_close(store);
}

/* A new database is made while a reader still uses the old one's log, with the
 * shared memory of that log. */
static void test_deleted_while_read(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 30);
    assert_int_equal(kit_last_of(reader), kit_last_of(store));
    comet_store_close(store);
    unlink(kit_database);
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 3);
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "0,1,2");
    kit_bodies(reader, "chat", 0, 99);
    assert_int_equal(kit_list.count, 30);
    assert_false(comet_store_is_usable(reader, 0));
    comet_store_close(reader);
    reader = kit_open_store(COMET_STORE_READ);
    assert_string_equal(kit_bodies(reader, "chat", 0, 99), "0,1,2");
    comet_store_close(reader);
    comet_store_close(store);
    kit_assert_healthy();
}

static void test_replaced(void **state)
{
    char saved[800], fresh[800];
    comet_store_t *store, *reader;

    snprintf(saved, sizeof(saved), "%s", scratch_path("saved.db"));
    snprintf(fresh, sizeof(fresh), "%s", scratch_path("fresh.db"));
    kit_config.place = scratch_place(fresh);
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 2);
    comet_store_close(store);
    kit_config.place = scratch_place(kit_database);
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    kit_append_many(store, "chat", 3);
    assert_int_equal(rename(kit_database, saved), 0);
    assert_int_equal(rename(fresh, kit_database), 0);
    /* until a writer has removed the old file's log, no new connection may read
     * the file */
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0,1,2");
    check_moved(store, reader);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,new");
    comet_store_close(store);
    /* the file that was moved away is complete */
    kit_config.place = scratch_place(saved);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,2");
    comet_store_close(store);
}

static void test_log_deleted(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 3);
    unlink(scratch_path("comet.db-wal"));
    check_moved(store, reader);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,2,new");
    comet_store_close(store);
}

/* Check that another message can be stored, and that the file then has this
 * number of messages. */
static void check_goes_on(int count)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), count);
    kit_assert_healthy();
}

/* The log is deleted.  Another program opens the file before the writer
 * notices, and makes an empty log.  What was only in the old log is not
 * lost. */
static void test_log_deleted_and_made_anew(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 30);
    assert_int_equal(kit_last_of(reader), kit_last_of(store));
    unlink(scratch_path("comet.db-wal"));
    kit_open_status(COMET_STORE_READ);
    assert_int_equal(kit_append(store, "chat", "lost", NULL), COMET_EMOVED);
    comet_store_close(store);
    kit_open_status(COMET_STORE_WRITE);
    comet_store_close(reader); /* the last connection to the old log */
    check_goes_on(31);
}

/* A reader's snapshot is older than the end of the deleted log.  The writer
 * must not copy only a part of that log into the file: this would be worse than
 * copying nothing. */
static void test_log_deleted_while_read(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_state_t view;

    kit_append_many(store, "chat", 50);
    assert_int_equal(comet_store_begin(reader, &view), 0);
    kit_append_many(store, "chat", 50);
    unlink(scratch_path("comet.db-wal"));
    assert_int_equal(kit_append(store, "chat", "later", NULL), COMET_ELOCKED);
    comet_store_end(reader);
    check_moved(store, reader);
    check_goes_on(101);
}

/* An idle writer does not notice that the log was deleted, and is the last to
 * close.  It must not take the new log for its own. */
static void test_log_deleted_unnoticed(void **state)
{
    comet_store_t *idle = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    kit_append_many(store, "chat", 50);
    kit_append_many(idle, "chat", 50);
    unlink(scratch_path("comet.db-wal"));
    assert_int_equal(kit_append(store, "chat", "lost", NULL), COMET_EMOVED);
    comet_store_close(store);
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 20);
    comet_store_close(store);
    comet_store_close(idle);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 120);
    kit_assert_healthy();
}

/* If the log's shared memory is deleted, two writers would not know of each
 * other.  So no connection continues until all have been closed. */
static void test_memory_deleted(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 3);
    unlink(scratch_path("comet.db-shm"));
    assert_false(comet_store_is_usable(reader, 0));
    assert_int_equal(kit_append(store, "chat", "lost", NULL), COMET_EMOVED);
    kit_run_outside("INSERT INTO message(channel, body) VALUES('chat', 'out')");
    comet_store_close(store);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), COMET_EMOVED);
    assert_int_equal(kit_open_status(COMET_STORE_READ), COMET_EMOVED);
    comet_store_close(reader);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,2,out,new");
    comet_store_close(store);
    kit_assert_healthy();
}

static void copy(const char *from, const char *to)
{
    static char content[1 << 20];
    FILE *file = fopen(from, "rb");
    size_t length;

    assert_non_null(file);
    length = fread(content, 1, sizeof(content), file);
    assert_true(length > 0 && length < sizeof(content));
    fclose(file);
    file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(content, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static ino_t number_of(const char *path)
{
    struct stat info;

    assert_int_equal(stat(path, &info), 0);
    return info.st_ino;
}

/* A backup of the file and its log is put back.  By chance the restored log
 * gets the inode number of the former one.  The two logs must not be mistaken
 * for each other. */
static void test_restored_with_a_log(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    char name[32], log[800], backup[800], backup_log[800];
    ino_t number;
    int i;

    snprintf(log, sizeof(log), "%s", scratch_path("comet.db-wal"));
    snprintf(backup, sizeof(backup), "%s", scratch_path("backup.db"));
    snprintf(backup_log, sizeof(backup_log), "%s",
             scratch_path("backup.db-wal"));
    kit_append_many(store, "chat", 3);
    number = number_of(log);
    copy(kit_database, backup);
    copy(log, backup_log);
    comet_store_close(store);
    unlink(kit_database);
    for (i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "held%d", i);
        copy(backup_log, scratch_path(name));
        if (number_of(scratch_path(name)) == number) {
            break;
        }
    }
    if (i == 1000) { /* tmpfs never reuses an inode's number */
        skip();
    }
    assert_int_equal(rename(scratch_path(name), log), 0);
    copy(backup, kit_database);
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_SUCCESS);
    store = kit_open_store(COMET_STORE_WRITE);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
    kit_assert_healthy();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_deleted),
        KIT_TEST(test_noticed_by_another),
        KIT_TEST(test_deleted_while_read),
        KIT_TEST(test_replaced),
        KIT_TEST(test_log_deleted),
        KIT_TEST(test_log_deleted_and_made_anew),
        KIT_TEST(test_log_deleted_while_read),
        KIT_TEST(test_log_deleted_unnoticed),
        KIT_TEST(test_memory_deleted),
        KIT_TEST(test_restored_with_a_log),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
