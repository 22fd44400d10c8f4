/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the message log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include "faulty_vfs.h"

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
    kit_list.limit = 1; /* the callback stops the reading */
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
    /* a connection has one snapshot at a time; a refused second one leaves the
     * first unchanged */
    assert_int_not_equal(comet_store_begin(reader, &within), 0);
    comet_store_end(reader);
    assert_string_equal(kit_bodies(reader, "chat", 0, 10), "0,0");
    assert_true(kit_last_of(reader) > before.last);
    comet_store_close(reader);
    comet_store_close(store);
}

/* A program that disables the checks can store anything.  Reading still limits
 * the lengths. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_read),          KIT_TEST(test_replay),
        KIT_TEST(test_recent),        KIT_TEST(test_view_is_consistent),
        KIT_TEST(test_any_bytes_out),
    };

    scratch_make();
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
