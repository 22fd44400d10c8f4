/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: as the module uses it, and as other programs do. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "faulty_vfs.h"
#include "store_kit.h"

/* --- Helpers ---------------------------------------------------------- */

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

/* --- A store as it should be ------------------------------------------ */

static void test_round_trip(void **state)
{
    static const comet_message_fields_t in[] = {
        { 0, { "chat", 4 }, { "", 0 }, { NULL, 0 }, { "hello", 5 } },
        { 0,
          { "r\xc3\xa4um/42", 8 },
          { "topic", 5 },
          { "anna", 4 },
          { "\xe4\xb8\xad\xf0\x9f\x98\x80 \"<b>'\r\n", 15 } },
        { 0, { "chat", 4 }, { "message", 7 }, { "bob", 3 }, { "\x7f", 1 } },
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_message_t *messages[3];
    apr_status_t results[3] = { -1, -1, -1 };
    apr_time_t before = apr_time_now();
    size_t i;

    for (i = 0; i < 3; i++) {
        messages[i] = comet_message_create(&in[i]);
    }
    assert_int_equal(scratch_append(store, messages, results, 3), 0);
    assert_int_equal(comet_store_tail(reader, 0, 10, kit_collect, &kit_list),
                     0);
    assert_int_equal(kit_list.count, 3);
    for (i = 0; i < 3; i++) {
        const comet_message_t *got = kit_list.messages[i];

        assert_int_equal(results[i], APR_SUCCESS);
        assert_int_equal(got->timestamp, messages[i]->timestamp);
        assert_true(comet_text_equal(got->channel, in[i].channel));
        assert_true(comet_text_equal(got->type, messages[i]->type));
        assert_true(comet_text_equal(got->author, in[i].author));
        assert_int_equal(!got->author.data, !in[i].author.data);
        assert_true(comet_text_equal(got->body, in[i].body));
        comet_message_unref(messages[i]);
    }
    assert_true(kit_list.messages[0]->timestamp >= before);
    assert_true(kit_list.messages[0]->timestamp
                < kit_list.messages[1]->timestamp);
    assert_true(kit_list.messages[1]->timestamp
                < kit_list.messages[2]->timestamp);
    assert_int_equal(kit_last_of(reader), kit_list.messages[2]->timestamp);
    comet_store_close(reader);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
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
    assert_int_equal(kit_number("PRAGMA user_version"), 2);
    assert_int_equal(kit_number("PRAGMA auto_vacuum"), 2);
    assert_int_equal(kit_number("PRAGMA page_size"), 4096);
    assert_int_equal(kit_number("SELECT count(*) FROM pragma_journal_mode"
                                " WHERE journal_mode = 'wal'"),
                     1);
    assert_int_equal(kit_number("SELECT last + erased FROM comet_clock"), 0);
    comet_store_close(store);
    /* nothing is left but the one file */
    assert_int_not_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    assert_true(*comet_store_version() == '3');
}

/* Eight processes begin with nothing, without a bus. */
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
    kit_config.path = path;
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

/* --- Reading ---------------------------------------------------------- */

static void test_read(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t third;

    kit_append_many(store, "a", 2);
    kit_append_many(store, "b", 1);
    assert_int_equal(kit_append(store, "a", "2", &third), 0);
    kit_append_many(store, "a/b", 1);
    assert_string_equal(kit_bodies(store, "a", 0, 10), "0,1,2");
    assert_string_equal(kit_bodies(store, "a", 0, 2), "0,1");
    assert_string_equal(kit_bodies(store, "a", 0, 0), "");
    assert_string_equal(kit_bodies(store, "a", third - 1, 10), "2");
    assert_string_equal(kit_bodies(store, "a", third, 10), "");
    assert_string_equal(kit_bodies(store, "a", COMET_TIMESTAMP_MAX, 10), "");
    assert_string_equal(kit_bodies(store, "A", 0, 10), "");
    assert_string_equal(kit_bodies(store, "", 0, 10), "");
    kit_empty_list();
    kit_list.limit = 1; /* the callback stops it */
    assert_int_equal(comet_store_read(store, scratch_select(comet_text("a")), 0,
                                      9, kit_collect, &kit_list),
                     0);
    assert_int_equal(kit_list.count, 1);
    kit_empty_list();
    assert_int_equal(comet_store_tail(store, third, 9, kit_collect, &kit_list),
                     0);
    assert_int_equal(kit_list.count, 1);
    assert_string_equal(kit_list.messages[0]->channel.data, "a/b");
    comet_store_close(store);
}

static void test_replay(void **state)
{
    static const struct {
        apr_int64_t count;
        const char *replayed;
    } cases[] = { { -1, "" },          { 0, "" },      { 1, "2" },
                  { 2, "1,2" },        { 3, "0,1,2" }, { 4, "0,1,2" },
                  { 1000000, "0,1,2" } };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t cursor = 7;
    size_t i;
    int any = 7;

    assert_int_equal(comet_store_replay(store,
                                        scratch_select(comet_text("chat")), 5,
                                        &cursor, &any),
                     0);
    assert_int_equal(cursor, 0);
    assert_int_equal(any, 0);
    kit_append_many(store, "chat", 3);
    kit_append_many(store, "other", 3);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(comet_store_replay(store,
                                            scratch_select(comet_text("chat")),
                                            cases[i].count, &cursor, &any),
                         0);
        assert_int_equal(any, 1);
        assert_string_equal(kit_bodies(store, "chat", cursor, 10),
                            cases[i].replayed);
        assert_true((cursor == 0) == (cases[i].count >= 3));
    }
    comet_store_close(store);
}

static void test_recent(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t cursor = 7;
    size_t count;

    assert_int_equal(comet_store_recent(store, 4, &cursor), 0);
    assert_int_equal(cursor, 0);
    kit_append_many(store, "a", 3);
    kit_append_many(store, "b", 3);
    for (count = 0; count < 9; count++) {
        kit_empty_list();
        assert_int_equal(comet_store_recent(store, count, &cursor), 0);
        assert_int_equal(
            comet_store_tail(store, cursor, 99, kit_collect, &kit_list), 0);
        assert_int_equal(kit_list.count, count < 6 ? count : 6);
    }
    comet_store_close(store);
}

static void test_view_is_consistent(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_state_t before, within;

    kit_append_many(store, "chat", 1);
    assert_int_equal(comet_store_begin(reader, &before), 0);
    kit_append_many(store, "chat", 1);
    assert_int_equal(comet_store_state(reader, &within), 0);
    assert_int_equal(within.last, before.last);
    assert_string_equal(kit_bodies(reader, "chat", 0, 10), "0");
    /* one view at a time; the failure leaves the first as it was */
    assert_int_not_equal(comet_store_begin(reader, &within), 0);
    comet_store_end(reader);
    assert_string_equal(kit_bodies(reader, "chat", 0, 10), "0,0");
    assert_true(kit_last_of(reader) > before.last);
    comet_store_close(reader);
    comet_store_close(store);
}

/* Programs that turn the checks off can store anything: keep the lengths. */
static void test_any_bytes_out(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    kit_run_outside("PRAGMA ignore_check_constraints = ON;"
                    "INSERT INTO message(channel, type, author, body) VALUES("
                    "CAST(x'63ff' AS TEXT), CAST(x'74000a' AS TEXT),"
                    "CAST(x'00' AS TEXT), CAST(x'61ff0062' AS TEXT));"
                    "INSERT INTO message(channel, body) VALUES('b', x'6100');"
                    "INSERT INTO message(channel, body) VALUES('b', '')");
    assert_int_equal(comet_store_tail(store, 0, 9, kit_collect, &kit_list), 0);
    assert_int_equal(kit_list.count, 3);
    assert_int_equal(kit_list.messages[0]->channel.length, 2);
    assert_int_equal(kit_list.messages[0]->type.length, 3);
    assert_int_equal(kit_list.messages[0]->author.length, 1);
    assert_int_equal(kit_list.messages[0]->body.length, 4);
    assert_memory_equal(kit_list.messages[0]->body.data, "a\xff\0b", 5);
    assert_int_equal(kit_list.messages[1]->body.length, 2);
    assert_int_equal(kit_list.messages[2]->body.length, 0);
    assert_non_null(kit_list.messages[2]->body.data);
    comet_store_close(store);
}

/* --- What is refused -------------------------------------------------- */

#define FIFTY "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmn"
#define TEXT(literal) \
    { \
        literal, sizeof(literal) - 1 \
    }

/* By the module and by the view alike. */
static const struct refusal_t {
    comet_text_t channel, type, author, body;
    int valid;
} refusals[] = {
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("room/42"), TEXT(""), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("\xe4\xb8\xad/\xc3\xa4 \xf0\x9f\x98\x80"),
      TEXT(""),
      { NULL, 0 },
      TEXT("x"),
      1 },
    { TEXT(".../..a/.b"), TEXT(""), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("[a-z]*?-]"), TEXT(""), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("\xc2\xa0"), TEXT(""), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT(FIFTY FIFTY FIFTY FIFTY FIFTY "12345"),
      TEXT(""),
      { NULL, 0 },
      TEXT("x"),
      1 },
    { TEXT(FIFTY FIFTY FIFTY FIFTY FIFTY "123456"),
      TEXT(""),
      { NULL, 0 },
      TEXT("x"),
      0 },
    { TEXT(""), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("/"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("/a"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a/"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a//b"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("."), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a/./b"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT(".."), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a/.."), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a\nb"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("\x01"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("\x1f"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a\0b"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("a\0"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("\x7f"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("\xc2\x80"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("\xc2\x9f"), TEXT(""), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("chat"), TEXT("topic"), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("chat"), TEXT("to pic\xc3\xa4"), { NULL, 0 }, TEXT("x"), 1 },
    { TEXT("chat"), TEXT("a\nb"), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("chat"), TEXT("a\0b"), { NULL, 0 }, TEXT("x"), 0 },
    { TEXT("chat"),
      TEXT(FIFTY FIFTY FIFTY FIFTY FIFTY "123456"),
      { NULL, 0 },
      TEXT("x"),
      0 },
    { TEXT("chat"), TEXT(""), TEXT("anna"), TEXT("x"), 1 },
    { TEXT("chat"), TEXT(""), TEXT("a\0b"), TEXT("x"), 0 },
    { TEXT("chat"), TEXT(""), TEXT(FIFTY FIFTY FIFTY FIFTY FIFTY "123456"),
      TEXT("x"), 0 },
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT(""), 0 },
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT(" "), 1 },
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT("a\0b"), 0 },
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT("\0"), 0 },
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT("\x01\t\r\n\x7f"), 1 },
};

static int insert_by_view(sqlite3 *db, const struct refusal_t *row)
{
    sqlite3_stmt *statement;
    int code;

    assert_int_equal(sqlite3_prepare_v2(db,
                                        "INSERT INTO message(channel, type,"
                                        " author, body) VALUES(?, ?, ?, ?)",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(statement, 1, row->channel.data, (int)row->channel.length,
                      SQLITE_STATIC);
    if (row->type.length) {
        sqlite3_bind_text(statement, 2, row->type.data, (int)row->type.length,
                          SQLITE_STATIC);
    }
    sqlite3_bind_text(statement, 3, row->author.data, (int)row->author.length,
                      SQLITE_STATIC);
    sqlite3_bind_text(statement, 4, row->body.data, (int)row->body.length,
                      SQLITE_STATIC);
    code = sqlite3_step(statement);
    sqlite3_finalize(statement);
    assert_true(code == SQLITE_DONE || code == SQLITE_CONSTRAINT);
    return code == SQLITE_DONE;
}

static void test_refusals(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    size_t i;

    for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        const struct refusal_t *row = &refusals[i];
        comet_message_fields_t fields = { 0, row->channel, row->type,
                                          row->author, row->body };
        comet_message_t *message = comet_message_create(&fields);
        apr_status_t result = -1;

        assert_int_equal(scratch_append(store, &message, &result, 1), 0);
        if (result != (row->valid ? APR_SUCCESS : COMET_EINVALID)
            || insert_by_view(db, row) != row->valid) {
            fail_msg("case %d: %d, %s", (int)i, result,
                     comet_store_error(store));
        }
        comet_message_unref(message);
    }
    /* what was refused left no channel behind */
    assert_int_equal(kit_number("SELECT count(*) FROM channel WHERE id NOT IN"
                                " (SELECT channel_id FROM message_log)"),
                     0);
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_body_sizes(void **state)
{
    static char body[COMET_BODY_MAX_BYTES + 2];
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    memset(body, 'x', sizeof(body) - 1);
    assert_int_equal(kit_append(store, "chat", body, NULL), COMET_EINVALID);
    body[COMET_BODY_MAX_BYTES] = '\0';
    assert_int_equal(kit_append(store, "chat", body, NULL), APR_SUCCESS);
    assert_int_equal(comet_store_tail(store, 0, 9, kit_collect, &kit_list), 0);
    assert_int_equal(kit_list.count, 1);
    assert_int_equal(kit_list.messages[0]->body.length, COMET_BODY_MAX_BYTES);
    comet_store_close(store);
}

/* One bad message does not take the others of its batch with it. */
static void test_refused_in_a_batch(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_message_t *messages[] = {
        kit_make("a", "1"),      kit_make("new", ""), kit_make("new", "2"),
        kit_make("a/../b", "x"), kit_make("a", "3"),  kit_make("gone", "")
    };
    apr_status_t results[6];
    int syncs;
    size_t i;

    assert_int_equal(scratch_append(store, messages, results, 6), 0);
    for (i = 0; i < 6; i++) {
        int bad = i == 1 || i == 3 || i == 5;

        assert_int_equal(results[i], bad ? COMET_EINVALID : APR_SUCCESS);
        assert_int_equal(messages[i]->timestamp == 0, bad);
    }
    assert_string_equal(kit_bodies(store, "a", 0, 9), "1,3");
    assert_string_equal(kit_bodies(store, "new", 0, 9), "2");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 2);
    /* a batch of nothing but refusals costs no sync */
    syncs = atomic_load(&faulty_syncs);
    assert_int_equal(scratch_append(store, messages + 5, results, 1), 0);
    assert_int_equal(scratch_append(store, messages, results, 0), 0);
    assert_int_equal(atomic_load(&faulty_syncs), syncs);
    assert_int_equal(kit_last_of(store), messages[4]->timestamp);
    for (i = 0; i < 6; i++) {
        comet_message_unref(messages[i]);
    }
    comet_store_close(store);
}

/* --- The database as an interface ------------------------------------- */

static void test_outside_insert(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t ours, theirs;
    sqlite3 *db = kit_outsider();

    assert_int_equal(kit_append(store, "chat", "ours", &ours), 0);
    kit_must_run(db, "INSERT INTO message(channel, body) VALUES('chat', 42)");
    theirs = kit_last_of(store);
    assert_true(theirs > ours);
    kit_must_run(db, "INSERT INTO message(channel, type, author, body)"
                     " SELECT 7, 't', 'cron', body FROM message");
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "ours,42");
    assert_string_equal(kit_bodies(store, "7", 0, 9), "ours,42");
    assert_string_equal(kit_list.messages[0]->author.data, "cron");
    assert_string_equal(kit_list.messages[0]->type.data, "t");
    assert_true(kit_list.messages[0]->timestamp > theirs);
    assert_non_null(
        strstr(kit_try_run(db, "INSERT INTO message(timestamp, channel, body)"
                               " VALUES(1, 'chat', 'x')"),
               "leave it out"));
    assert_non_null(strstr(
        kit_try_run(db,
                    "INSERT INTO message(channel, body) VALUES('a//b', 'x')"),
        "empty, '.' or '..'"));
    assert_string_not_equal(
        kit_try_run(db,
                    "INSERT INTO message(channel, body) VALUES('c', x'41')"),
        "");
    assert_string_not_equal(
        kit_try_run(db, "INSERT INTO message(channel) VALUES('c')"), "");
    assert_string_not_equal(
        kit_try_run(db, "INSERT INTO message(body) VALUES('c')"), "");
    /* as the SQL says: the timestamp, in the same transaction */
    kit_must_run(db,
                 "BEGIN; INSERT INTO message(channel, body) VALUES('c', 1)");
    assert_int_equal(kit_number_in(db, "SELECT last FROM comet_clock"),
                     kit_number_in(db, "SELECT timestamp FROM message"
                                       " WHERE channel = 'c'"));
    kit_must_run(db, "COMMIT");
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_outside_delete(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_state_t before, after;

    kit_append_many(store, "chat", 5);
    kit_append_many(store, "spam", 2);
    assert_int_equal(comet_store_state(store, &before), 0);
    kit_run_outside("DELETE FROM message WHERE body IN ('1', '3')"
                    " AND channel = 'chat'");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 2);
    assert_int_equal(after.last, before.last);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,2,4");
    /* through the table too; an empty channel leaves no trace */
    kit_run_outside("DELETE FROM message_log WHERE channel_id ="
                    " (SELECT id FROM channel WHERE name = 'spam')");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 4);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 1);
    kit_run_outside("DELETE FROM message");
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 7);
    assert_int_equal(after.last, before.last);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 0);
    /* an emptied log goes on where it was */
    kit_append_many(store, "chat", 1);
    assert_true(kit_last_of(store) > before.last);
    comet_store_close(store);
}

static void test_immutable(void **state)
{
    static const char *const refused[] = {
        "UPDATE message SET body = 'x'",
        "UPDATE message_log SET body = 'x'",
        "UPDATE comet_clock SET last = last - 1",
        "UPDATE comet_clock SET erased = erased - 1",
        "UPDATE comet_clock SET last = 9007199254740992",
        "UPDATE comet_clock SET last = 'x'",
        "DELETE FROM comet_clock",
        "INSERT INTO comet_clock(one) VALUES(2)",
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    size_t i;

    kit_append_many(store, "chat", 1);
    kit_must_run(db, "DELETE FROM message WHERE body = 'none';"
                     "UPDATE comet_clock SET erased = 5");
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (!*kit_try_run(db, refused[i])) {
            fail_msg("not refused: %s", refused[i]);
        }
    }
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0");
    sqlite3_close(db);
    comet_store_close(store);
}

/* The system clock was a day ahead, and is right again. */
static void test_clock_set_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t ahead = apr_time_now() + 86400 * APR_USEC_PER_SEC;
    comet_timestamp_t timestamp;
    char sql[96];
    int i;

    snprintf(sql, sizeof(sql), "UPDATE comet_clock SET last = %lld",
             (long long)ahead);
    kit_run_outside(sql);
    for (i = 1; i <= 5; i++) {
        assert_int_equal(kit_append(store, "chat", "x", &timestamp), 0);
        assert_int_equal(timestamp, ahead + 2 * i - 1);
        kit_run_outside("INSERT INTO message(channel, body) VALUES('chat', 1)");
        assert_int_equal(kit_last_of(store), ahead + 2 * i);
    }
    /* as late as a timestamp can be */
    kit_run_outside("UPDATE comet_clock SET last = 9007199254740991");
    assert_int_equal(kit_append(store, "chat", "x", NULL), COMET_EINVALID);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 10);
    comet_store_close(store);
}

static void test_survives_schema_changes(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 100);
    assert_int_equal(kit_last_of(reader), kit_last_of(store));
    kit_run_outside("CREATE INDEX by_author ON message_log(author)");
    kit_append_many(store, "chat", 1);
    kit_run_outside("ANALYZE");
    kit_append_many(store, "chat", 1);
    kit_run_outside("DROP INDEX by_author; VACUUM");
    kit_append_many(store, "chat", 1);
    kit_empty_list();
    assert_int_equal(comet_store_tail(reader, 0, 999, kit_collect, &kit_list),
                     0);
    assert_int_equal(kit_list.count, 103);
    comet_store_close(reader);
    comet_store_close(store);
}

/* --- Faults ----------------------------------------------------------- */

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

/* As after a crash: a part of it is in its log only. */
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

/* An empty database of SQLite's is as good as no file. */
static void test_empty_database(void **state)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(kit_database, &db), SQLITE_OK);
    kit_must_run(db, "CREATE TABLE t(x); DROP TABLE t");
    sqlite3_close(db);
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), APR_SUCCESS);
    assert_int_equal(kit_number("PRAGMA user_version"), 2);
}

static void test_locked(void **state)
{
    comet_store_t *store, *reader;
    sqlite3 *db;
    int64_t start;

    kit_config.busy_timeout = 100000;
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    kit_append_many(store, "chat", 1);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE;"
                     "INSERT INTO message(channel, body) VALUES('chat', 'x')");
    start = scratch_usec();
    assert_int_equal(kit_append(store, "chat", "y", NULL), COMET_ELOCKED);
    assert_true(scratch_usec() - start >= 100000);
    assert_true(*comet_store_error(store));
    kit_config.busy_timeout = 3600 * APR_USEC_PER_SEC; /* is not waited for */
    assert_int_equal(comet_store_reserve(store, 0), COMET_ELOCKED);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0");
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    assert_int_equal(kit_open_status(COMET_STORE_READ), 0);
    kit_must_run(db, "COMMIT");
    assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0,x,y");
    sqlite3_close(db);
    comet_store_close(reader);
    comet_store_close(store);
}

static void test_stopping_ends_waiting(void **state)
{
    atomic_int stopping;
    comet_store_t *store;
    sqlite3 *db;

    atomic_init(&stopping, 0);
    kit_config.busy_timeout = 3600 * APR_USEC_PER_SEC;
    assert_int_equal(
        comet_store_open(&store, &kit_config, COMET_STORE_WRITE, &stopping), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    atomic_store(&stopping, 1);
    assert_int_equal(kit_append(store, "chat", "y", NULL), COMET_ELOCKED);
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_reserve(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();

    sqlite3_busy_timeout(db, 0);
    assert_int_equal(comet_store_reserve(store, 0), 0);
    assert_string_not_equal(kit_try_run(db, "BEGIN IMMEDIATE"), "");
    assert_int_equal(kit_append(store, "chat", "x", NULL), 0);
    kit_must_run(db, "BEGIN IMMEDIATE; ROLLBACK");
    /* nothing to append ends it as well */
    assert_int_equal(comet_store_reserve(store, 0), 0);
    assert_int_equal(scratch_append(store, NULL, NULL, 0), 0);
    kit_must_run(db, "BEGIN IMMEDIATE; ROLLBACK");
    sqlite3_close(db);
    comet_store_close(store);
}

/* The file, and whoever has it open, when its place is taken. */
static void check_moved(comet_store_t *store, comet_store_t *reader)
{
    assert_int_equal(comet_store_moved(store), 1);
    assert_int_equal(comet_store_moved(reader), 1);
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
    assert_int_equal(comet_store_moved(store), 0);
    assert_int_equal(comet_store_moved(reader), 0);
    unlink(kit_database); /* its log stays */
    check_moved(store, reader);
    /* a reader still has the old one open: it must not get in between */
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    reader = kit_open_store(COMET_STORE_READ);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "new");
    assert_int_equal(comet_store_moved(other), 1);
    comet_store_close(other);
    comet_store_close(reader);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    kit_assert_healthy();
}

/* The log of the old one, and the memory that goes with it, are still in use
 * when the new one is made. */
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
    assert_int_equal(comet_store_moved(reader), 1);
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
    kit_config.path = fresh;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 2);
    comet_store_close(store);
    kit_config.path = kit_database;
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    kit_append_many(store, "chat", 3);
    assert_int_equal(rename(kit_database, saved), 0);
    assert_int_equal(rename(fresh, kit_database), 0);
    /* until a writer has removed the old one's log nobody may read it */
    assert_int_equal(kit_open_status(COMET_STORE_READ), APR_ENOENT);
    assert_string_equal(kit_bodies(reader, "chat", 0, 9), "0,1,2");
    check_moved(store, reader);
    store = kit_open_store(COMET_STORE_WRITE);
    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,new");
    comet_store_close(store);
    /* the one moved away is whole */
    kit_config.path = saved;
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

/* One more can be stored, and then there are so many, and nothing else. */
static void check_goes_on(int count)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    assert_int_equal(kit_append(store, "chat", "new", NULL), 0);
    comet_store_close(store);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), count);
    kit_assert_healthy();
}

/* Somebody opens the path, and makes an empty log there, before the writer
 * has noticed: what is only in the old one is not lost. */
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
    comet_store_close(reader); /* the last who knew the old one */
    check_goes_on(31);
}

/* A reader's view is older than what the deleted log ends with: half of that
 * in the file would be worse than nothing. */
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

/* A writer who has nothing to write does not notice, and is the last to
 * close: it must not take the new log for its own. */
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

/* Without the memory that the log is shared by, two writers would not know of
 * each other: nobody goes on before all have begun anew. */
static void test_memory_deleted(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);

    kit_append_many(store, "chat", 3);
    unlink(scratch_path("comet.db-shm"));
    assert_int_equal(comet_store_moved(reader), 1);
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

#define CANNOT_GET_THERE 77

/* As a user who may read but not write. */
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
    failed |= comet_store_moved(store) ? 8 : 0;
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

static void test_full(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t before;

    kit_append_many(store, "chat", 2);
    before = kit_last_of(store);
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(kit_append(store, "chat", "x", NULL), APR_ENOSPC);
    assert_int_equal(kit_append(store, "chat", "x", NULL), APR_ENOSPC);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1");
    assert_int_equal(kit_last_of(store), before);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
    assert_string_equal(kit_bodies(store, "chat", 0, 9), "0,1,y");
    comet_store_close(store);
}

/* A real limit, the kernel's; the words come with its reason. */
static int hit_the_limit(void *baton)
{
    struct rlimit limit = { 200000, 200000 };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    apr_status_t status = APR_SUCCESS;
    char body[2001];
    int i, stored;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    for (i = 0; i < 200 && status == APR_SUCCESS; i++) {
        status = kit_append(store, "chat", body, NULL);
    }
    if (status != APR_ENOSPC
        || !strstr(comet_store_error(store), "File too large")) {
        fprintf(stderr, "%d: %s\n", status, comet_store_error(store));
        return 1;
    }
    stored = (int)kit_number("SELECT count(*) FROM message");
    comet_store_close(store);
    return stored == i - 1 ? 0 : 2;
}

static void test_full_for_real(void **state)
{
    assert_int_equal(scratch_reap(scratch_fork(hit_the_limit, NULL)), 0);
}

static void test_sync_fails(void **state)
{
    static const faulty_e faults[] = { FAULTY_SYNC, FAULTY_WRITE };
    size_t i;

    for (i = 0; i < 2; i++) {
        comet_store_t *store;
        comet_timestamp_t before;

        kit_setup(NULL);
        store = kit_open_store(COMET_STORE_WRITE);
        kit_append_many(store, "chat", 1);
        before = kit_last_of(store);
        atomic_store(&faulty_now, (int)faults[i]);
        assert_int_equal(kit_append(store, "chat", "x", NULL), COMET_EUNSURE);
        comet_store_close(store);
        atomic_store(&faulty_now, FAULTY_NOTHING);
        store = kit_open_store(COMET_STORE_WRITE);
        assert_int_equal(kit_append(store, "chat", "y", NULL), APR_SUCCESS);
        assert_true(kit_last_of(store) > before);
        kit_bodies(store, "chat", 0, 9);
        assert_string_equal(kit_list.messages[0]->body.data, "0");
        assert_string_equal(kit_list.messages[kit_list.count - 1]->body.data,
                            "y");
        assert_true(kit_list.count == 2 || kit_list.count == 3);
        comet_store_close(store);
    }
}

/* One sync, at least, before a batch is acknowledged. */
static void test_syncs(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int i, before;

    for (i = 0; i < 20; i++) {
        before = atomic_load(&faulty_syncs);
        assert_int_equal(kit_append(store, "chat", "x", NULL), APR_SUCCESS);
        assert_true(atomic_load(&faulty_syncs) > before);
    }
    comet_store_close(store);
}

/* @return how many of the messages acknowledged are lost */
static int cut_the_power(unsigned int seed, int size)
{
    int count = 1 + rand_r(&seed) % 300;
    static char body[8193];
    comet_store_t *store;
    int i, left;

    kit_setup(NULL);
    faulty_follow();
    memset(body, 'x', sizeof(body));
    body[size] = '\0';
    store = kit_open_store(COMET_STORE_WRITE);
    for (i = 0; i < count; i++) {
        assert_int_equal(kit_append(store, i % 2 ? "a" : "b", body, NULL), 0);
        assert_int_equal(comet_store_checkpoint(store), 0);
    }
    faulty_cut(kit_database, scratch_path("cut.db"), seed);
    faulty_cut(scratch_path("comet.db-wal"), scratch_path("cut.db-wal"),
               seed + 1);
    comet_store_close(store);
    faulty_forget();
    snprintf(kit_database, sizeof(kit_database), "%s", scratch_path("cut.db"));
    kit_assert_healthy();
    left = (int)kit_number("SELECT count(*) FROM message");
    assert_int_equal(kit_open_status(COMET_STORE_WRITE), 0);
    return count - left;
}

/* Of one page a message, and with checkpoints in between. */
static void test_power_cut(void **state)
{
    unsigned int seed;

    for (seed = 1; seed <= 12; seed++) {
        assert_int_equal(cut_the_power(seed * 7919, 20), 0);
        assert_int_equal(cut_the_power(seed * 7919, 8192), 0);
    }
}

/* --- Upkeep ----------------------------------------------------------- */

static int prune_all(comet_store_t *store, int limit)
{
    int steps = 0;
    int more = 1;

    while (more) {
        assert_true(steps++ < limit);
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    return steps;
}

static comet_timestamp_t floor_of(comet_store_t *store, const char *channel)
{
    comet_timestamp_t floor = 7;

    assert_int_equal(
        comet_store_floor(store, scratch_select(comet_text(channel)), &floor),
        0);
    return floor;
}

static void test_retain_all(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int more = 7;

    kit_append_many(store, "chat", 20);
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    assert_int_equal(more, 0);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20);
    assert_int_equal(floor_of(store, "chat"), 0);
    assert_int_equal(floor_of(store, "none"), 0);
    comet_store_close(store);
}

static void test_retain_count(void **state)
{
    comet_store_t *store;
    comet_store_state_t before, after;
    comet_timestamp_t removed;

    kit_config.retain_count = 3;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "few", 3);
    kit_append_many(store, "many", 7);
    kit_bodies(store, "many", 0, 99);
    removed = kit_list.messages[3]->timestamp;
    assert_int_equal(comet_store_state(store, &before), 0);
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "many", 0, 99), "4,5,6");
    assert_string_equal(kit_bodies(store, "few", 0, 99), "0,1,2");
    assert_int_equal(floor_of(store, "many"), removed);
    assert_int_equal(floor_of(store, "few"), 0);
    assert_int_equal(comet_store_state(store, &after), 0);
    assert_int_equal(after.erased, before.erased + 4);
    assert_int_equal(after.last, before.last);
    /* later rounds: nothing to do, then the channel that grew */
    prune_all(store, 1);
    kit_append_many(store, "few", 1);
    kit_run_outside("INSERT INTO message(channel, body) VALUES('new', 1)");
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "few", 0, 99), "1,2,0");
    assert_true(floor_of(store, "few") > 0);
    assert_int_equal(floor_of(store, "new"), 0);
    /* moderation is no gap; the floor outlives the last message */
    kit_run_outside("DELETE FROM message WHERE channel IN ('few', 'many')");
    assert_int_equal(floor_of(store, "many"), removed);
    assert_int_equal(kit_number("SELECT count(*) FROM channel"), 3);
    comet_store_close(store);
}

/* Age counts from a channel's newest message: a wrong clock deletes nothing. */
static void test_retain_age(void **state)
{
    comet_store_t *store;
    int more;

    kit_config.retain_age = 10 * APR_USEC_PER_SEC;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 1);
    kit_run_outside("DELETE FROM message;"
                    "INSERT INTO channel VALUES(1, 'old', 0), (2, 'chat', 0);"
                    "INSERT INTO message_log(id, channel_id, body) VALUES"
                    "(1000000, 1, 'a'), (2000000, 1, 'b'),"
                    "(5000000, 2, 'a'), (9999999, 2, 'b'), (10000000, 2, 'c'),"
                    "(20000000, 2, 'd')");
    /* … or from now, when the newest is of a wrong clock's future */
    assert_int_equal(comet_store_prune(store, 15000000, &more), 0);
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "a,b,c,d");
    assert_int_equal(more, 0);
    comet_store_close(store);
    store = kit_open_store(COMET_STORE_WRITE);
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "old", 0, 99), "a,b");
    assert_string_equal(kit_bodies(store, "chat", 0, 99), "c,d");
    assert_int_equal(floor_of(store, "chat"), 9999999);
    assert_int_equal(floor_of(store, "old"), 0);
    comet_store_close(store);
}

static void test_retain_both(void **state)
{
    comet_store_t *store;

    kit_config.retain_age = 10 * APR_USEC_PER_SEC;
    kit_config.retain_count = 2;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 1);
    kit_run_outside("DELETE FROM message;"
                    "INSERT INTO channel VALUES(1, 'a', 0), (2, 'b', 0);"
                    "INSERT INTO message_log(id, channel_id, body) VALUES"
                    "(1, 1, '1'), (2, 1, '2'), (3, 1, '3'),"
                    "(5, 2, '1'), (30000000, 2, '2')");
    prune_all(store, 9);
    assert_string_equal(kit_bodies(store, "a", 0, 99), "2,3");
    assert_string_equal(kit_bodies(store, "b", 0, 99), "2");
    comet_store_close(store);
}

static void fill(int rows, const char *channel, int size)
{
    char sql[400];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
             " WHERE i < %d) INSERT INTO message(channel, body)"
             " SELECT '%s', substr(hex(zeroblob(%d)), 1, %d) FROM n",
             rows, channel, size, size);
    kit_run_outside(sql);
}

/* No step is long, messages get in between, and the file shrinks. */
static void test_prune_in_steps(void **state)
{
    comet_store_t *store, *reader;
    sqlite3_int64 pages, before, after;
    int more = 1;
    int steps = 0;

    kit_config.retain_count = 10;
    store = kit_open_store(COMET_STORE_WRITE);
    reader = kit_open_store(COMET_STORE_READ);
    fill(3500, "big", 2000);
    fill(20, "small", 10);
    pages = kit_number("PRAGMA page_count");
    before = kit_number("SELECT count(*) FROM message");
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
        after = kit_number("SELECT count(*) FROM message");
        assert_true(before - after <= 1000);
        before = after;
        if (steps++ < 3) {
            assert_int_equal(kit_append(store, "small", "x", NULL), 0);
            before++;
        }
        assert_true(steps < 60);
        assert_int_equal(comet_store_checkpoint(store), 0);
    }
    prune_all(store, 3);
    assert_true(steps > 4);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20);
    assert_true(kit_number("PRAGMA page_count") < pages / 2);
    kit_assert_healthy();
    comet_store_close(reader);
    comet_store_close(store);
}

/* A round looks at what is new since the last one only. */
static void test_prune_looks_at_news(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 20000;
    store = kit_open_store(COMET_STORE_WRITE);
    fill(10000, "chat", 10);
    prune_all(store, 9);
    prune_all(store, 1);
    fill(10000, "chat", 10);
    assert_true(prune_all(store, 9) > 1);
    prune_all(store, 1);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 20000);
    comet_store_close(store);
}

/* A round that begins with more channels than a step looks at. */
static void test_prune_many_channels(void **state)
{
    comet_store_t *store;

    kit_config.retain_count = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 2100) INSERT INTO message(channel, body)"
                    " SELECT i % 700, i FROM n");
    prune_all(store, 999);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 700);
    kit_run_outside("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < 2100) INSERT INTO message(channel, body)"
                    " SELECT i % 900, i FROM n");
    prune_all(store, 999);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 900);
    assert_int_equal(kit_number("SELECT count(*) FROM channel WHERE floor >= "
                                "(SELECT min(timestamp) FROM message"
                                " WHERE channel = name)"),
                     0);
    comet_store_close(store);
}

static void test_prune_locked(void **state)
{
    comet_store_t *store;
    sqlite3 *db;
    int more;

    kit_config.retain_count = 1;
    store = kit_open_store(COMET_STORE_WRITE);
    kit_append_many(store, "chat", 3);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more),
                     COMET_ELOCKED);
    assert_int_equal(more, 0);
    kit_must_run(db, "COMMIT");
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(comet_store_prune(store, apr_time_now(), &more),
                     APR_ENOSPC);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    prune_all(store, 3);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 1);
    sqlite3_close(db);
    comet_store_close(store);
}

static void test_checkpoint(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    char body[8001];
    struct stat info;
    int i, due = 0;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    assert_int_equal(comet_store_checkpoint(store), 0);
    for (i = 0; i < 2000; i++) {
        assert_int_equal(kit_append(store, "chat", body, NULL), 0);
        if (comet_store_checkpoint_due(store)) {
            due++;
            assert_int_equal(comet_store_checkpoint(store), 0);
            assert_int_equal(comet_store_checkpoint_due(store), 0);
        }
    }
    assert_true(due > 5 && due < 50);
    assert_int_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_true(info.st_size < 600 * 4200);
    comet_store_close(store);
}

/* A reader that does not let go: the log grows, checkpoints stay rare. */
static void test_checkpoint_held_back(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_state_t view;
    char body[8001];
    int i, due = 0;

    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = '\0';
    assert_int_equal(comet_store_begin(reader, &view), 0);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(kit_append(store, "chat", body, NULL), 0);
        if (comet_store_checkpoint_due(store)) {
            due++;
            assert_int_equal(comet_store_checkpoint(store), 0);
        }
    }
    comet_store_end(reader);
    assert_true(due > 2 && due < 20);
    comet_store_close(reader);
    comet_store_close(store);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, kit_setup, kit_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_created),
        TEST(test_created_by_many),
        TEST(test_reader_needs_a_writer),
        TEST(test_no_folder),
        TEST(test_reader_cannot_write),
        TEST(test_read),
        TEST(test_replay),
        TEST(test_recent),
        TEST(test_view_is_consistent),
        TEST(test_any_bytes_out),
        TEST(test_refusals),
        TEST(test_body_sizes),
        TEST(test_refused_in_a_batch),
        TEST(test_outside_insert),
        TEST(test_outside_delete),
        TEST(test_immutable),
        TEST(test_clock_set_back),
        TEST(test_survives_schema_changes),
        TEST(test_not_ours),
        TEST(test_not_ours_with_a_log),
        TEST(test_newer_version),
        TEST(test_empty_database),
        TEST(test_locked),
        TEST(test_stopping_ends_waiting),
        TEST(test_reserve),
        TEST(test_deleted),
        TEST(test_deleted_while_read),
        TEST(test_replaced),
        TEST(test_log_deleted),
        TEST(test_log_deleted_and_made_anew),
        TEST(test_log_deleted_while_read),
        TEST(test_log_deleted_unnoticed),
        TEST(test_memory_deleted),
        TEST(test_read_only),
        TEST(test_full),
        TEST(test_full_for_real),
        TEST(test_sync_fails),
        TEST(test_syncs),
        TEST(test_power_cut),
        TEST(test_retain_all),
        TEST(test_retain_count),
        TEST(test_retain_age),
        TEST(test_retain_both),
        TEST(test_prune_in_steps),
        TEST(test_prune_looks_at_news),
        TEST(test_prune_many_channels),
        TEST(test_prune_locked),
        TEST(test_checkpoint),
        TEST(test_checkpoint_held_back),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
