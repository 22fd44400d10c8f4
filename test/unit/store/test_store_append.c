/* SPDX-License-Identifier: Apache-2.0 */
/* The message log: what is stored comes back unchanged, and invalid messages
 * are refused. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdatomic.h>
#include <string.h>

#include "faulty_vfs.h"

static void test_round_trip(void **state)
{
    static const comet_message_fields_t in[] = {
        { .channel = { "chat", 4 }, .body = { "hello", 5 } },
        { .channel = { "r\xc3\xa4um/42", 8 },
          .type = { "topic", 5 },
          .author = { "anna", 4 },
          .body = { "\xe4\xb8\xad\xf0\x9f\x98\x80 \"<b>'\r\n", 15 } },
        { .channel = { "chat", 4 },
          .type = { "message", 7 },
          .author = { "bob", 3 },
          .body = { "\x7f", 1 } },
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

#define FIFTY "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmn"
#define TEXT(literal) \
    { \
        literal, sizeof(literal) - 1 \
    }

/* Messages that are valid or not; the module and the view must agree. */
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
    { TEXT("chat"), TEXT(""), { NULL, 0 }, TEXT(""), 1 },
    { TEXT("chat"), TEXT("gap"), { NULL, 0 }, TEXT("x"), 0 },
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
        comet_message_fields_t fields = { .channel = row->channel,
                                          .type = row->type,
                                          .author = row->author,
                                          .body = row->body };
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
    /* the refused message left no channel behind */
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

/* One bad message does not affect the others of its batch. */
static void test_refused_in_a_batch(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_message_t *messages[] = {
        kit_make("a", "1"),   kit_make_refused("new"),
        kit_make("new", "2"), kit_make("a/../b", "x"),
        kit_make("a", "3"),   kit_make_refused("gone")
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
    /* if all messages of a batch are refused, nothing is synced */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_round_trip),
        KIT_TEST(test_refusals),
        KIT_TEST(test_body_sizes),
        KIT_TEST(test_refused_in_a_batch),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
