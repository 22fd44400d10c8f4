/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the message log by selections: names and prefixes, in one walk. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_kit.h"

#include <stdio.h>
#include <string.h>

#include "store/sqlite/sqlite.h"

/* --- Helpers ---------------------------------------------------------- */

/** Append a message to each of these channels in turn. "a b a" appends "0", "1"
 * and "2". */
static void append_to(comet_store_t *store, const char *channels)
{
    char copy[512], body[16], *rest = NULL, *name;
    int i = 0;

    snprintf(copy, sizeof(copy), "%s", channels);
    for (name = strtok_r(copy, " ", &rest); name;
         name = strtok_r(NULL, " ", &rest)) {
        snprintf(body, sizeof(body), "%d", i++);
        assert_int_equal(kit_append(store, name, body, NULL), 0);
    }
}

static const char *read_some(comet_store_t *store, const char *words,
                             comet_timestamp_t after, size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    kit_empty_list();
    assert_int_equal(comet_store_read(store, selection, after, limit,
                                      kit_collect, &kit_list),
                     0);
    comet_selection_unref(selection);
    return kit_joined(",");
}

static const char *page(comet_store_t *store, const char *words,
                        comet_timestamp_t after, comet_timestamp_t before,
                        size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    kit_empty_list();
    assert_int_equal(comet_store_page(store, selection, after, before, limit,
                                      kit_collect, &kit_list),
                     0);
    comet_selection_unref(selection);
    return kit_joined(",");
}

/** The cursor from which a replay of this many messages begins. */
static comet_timestamp_t replay(comet_store_t *store, const char *words,
                                apr_int64_t count, int *any)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t cursor = 7;

    *any = 7;
    assert_int_equal(comet_store_replay(store, selection, count, &cursor, any),
                     0);
    comet_selection_unref(selection);
    return cursor;
}

/* --- Reading ---------------------------------------------------------- */

static void test_names(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    append_to(store, "a b c a b c a/b A");
    assert_string_equal(read_some(store, "a b", 0, 9), "0,1,3,4");
    assert_string_equal(kit_list.messages[1]->channel.data, "b");
    assert_string_equal(read_some(store, "b a none", 0, 3), "0,1,3");
    assert_string_equal(
        read_some(store, "a c", kit_list.messages[1]->timestamp, 9), "2,3,5");
    assert_string_equal(read_some(store, "none nowhere", 0, 9), "");
    assert_string_equal(read_some(store, "a b", 0, 0), "");
    assert_string_equal(read_some(store, "a b", kit_last_of(store), 9), "");
    assert_string_equal(read_some(store, "", 0, 9), "");
    comet_store_close(store);
}

static void test_prefixes(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);

    append_to(store, "room/1 room roomy/1 room/2 ROOM/1 room0 a_/1 ab/1 a%/1"
                     " r*/1 \xff/1 a_/2");
    assert_string_equal(read_some(store, "room/*", 0, 9), "0,3");
    assert_string_equal(read_some(store, "room/* room", 0, 9), "0,1,3");
    assert_string_equal(read_some(store, "room/* room/2 room/*", 0, 9), "0,3");
    assert_string_equal(read_some(store, "a_/*", 0, 9), "6,11");
    assert_string_equal(read_some(store, "a%/*", 0, 9), "8");
    assert_string_equal(read_some(store, "r*/*", 0, 9), "9");
    assert_string_equal(read_some(store, "*", 0, 3), "0,1,2");
    assert_string_equal(read_some(store, "* room", 0, 99),
                        "0,1,2,3,4,5,6,7,8,9,10,11");
    assert_string_equal(read_some(store, "room/1/*", 0, 9), "");
    comet_store_close(store);
}

static void test_stops_at_unknown(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_selection_t *selection = scratch_choose("room/1 room/*");
    comet_message_t *room[9];
    comet_batch_t batch = { .messages = room, .size = 9 };
    comet_reading_t reading = { .selection = selection, .batch = &batch };

    append_to(store, "room/1 x room/1 room/2 room/1");
    assert_int_equal(comet_store_read(store, selection, 0, 9,
                                      comet_selection_take, &reading),
                     0);
    assert_int_equal(batch.count, 2);
    assert_true(reading.recheck);
    comet_batch_clear(&batch);
    reading.recheck = 0;
    assert_int_equal(comet_store_page(store, selection, 0, COMET_TIMESTAMP_MAX,
                                      9, comet_selection_take, &reading),
                     0);
    assert_int_equal(batch.count, 2);
    assert_true(reading.recheck);
    comet_batch_clear(&batch);
    comet_selection_unref(selection);
    comet_store_close(store);
}

static void test_replay(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_timestamp_t cursor;
    int any;

    assert_int_equal(replay(store, "a b", 5, &any), 0);
    assert_int_equal(any, 0);
    append_to(store, "a b c a/1 a/2 b");
    cursor = replay(store, "a b", 2, &any);
    assert_int_equal(any, 1);
    assert_string_equal(read_some(store, "a b", cursor, 9), "1,5");
    assert_int_equal(replay(store, "a b", 3, &any), 0);
    assert_int_equal(replay(store, "a b", 2000000, &any), 0);
    assert_int_equal(replay(store, "a b", 0, &any), kit_last_of(store));
    assert_int_equal(replay(store, "a b", -1, &any), kit_last_of(store));
    cursor = replay(store, "a a/*", 1, &any);
    assert_string_equal(read_some(store, "a a/*", cursor, 9), "4");
    assert_int_equal(replay(store, "none nor", 3, &any), 0);
    assert_int_equal(any, 0);
    comet_store_close(store);
}

static comet_timestamp_t floor_of(comet_store_t *store, const char *words)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t floor = 7;

    assert_int_equal(comet_store_floor(store, selection, &floor), 0);
    comet_selection_unref(selection);
    return floor;
}

static void test_floor(void **state)
{
    static const char *const pairs[] = { "a b", "a c", "a d", "a e", "b c",
                                         "b d", "b e", "c d", "c e", "d e" };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    size_t i;
    int more = 1;

    append_to(store, "one a a b b c c d d e e f/1 f/1 e d c b a");
    kit_config.retain_count = 1;
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    assert_int_equal(floor_of(store, "e"),
                     kit_number("SELECT max(floor) FROM channel"
                                " WHERE name = 'e'"));
    for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char first[] = { pairs[i][0], '\0' };
        char second[] = { pairs[i][2], '\0' };
        comet_timestamp_t one = floor_of(store, first);
        comet_timestamp_t other = floor_of(store, second);

        /* the higher floor counts, whichever channel is looked at first */
        assert_true(one > 0 && other > 0 && one != other);
        assert_int_equal(floor_of(store, pairs[i]), one > other ? one : other);
    }
    assert_int_equal(floor_of(store, "one none"), 0);
    assert_int_equal(floor_of(store, "one f/*"), 0);
    assert_int_equal(floor_of(store, "*"), 0);
    comet_store_close(store);
}

/* --- Pages ------------------------------------------------------------ */

static void test_page(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    const char *words[] = { "a", "a none", "a no/*" };
    size_t i;

    assert_string_equal(page(store, "a", 0, COMET_TIMESTAMP_MAX, 9), "");
    append_to(store, "a b a c a b a c a");
    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        comet_timestamp_t six;

        assert_string_equal(page(store, words[i], 0, COMET_TIMESTAMP_MAX, 3),
                            "4,6,8");
        six = kit_list.messages[1]->timestamp;
        assert_string_equal(page(store, words[i], 0, six, 2), "2,4");
        assert_string_equal(page(store, words[i], 0, six + 1, 2), "4,6");
        assert_string_equal(page(store, words[i],
                                 kit_list.messages[0]->timestamp,
                                 COMET_TIMESTAMP_MAX, 9),
                            "6,8");
        assert_string_equal(page(store, words[i], six, six, 9), "");
        assert_string_equal(page(store, words[i], 0, 0, 9), "");
        assert_string_equal(page(store, words[i], 0, six, 0), "");
    }
    assert_string_equal(page(store, "*", 0, COMET_TIMESTAMP_MAX, 3), "6,7,8");
    comet_store_close(store);
}

/* A page has the newest messages that fit into a batch. */
static void test_page_of_large_bodies(void **state)
{
    static const size_t bytes[] = { 300000, 100, 250000, 255 * 1024, 100,
                                    7000,   100, 250000, 10 };
    static char body[300001];
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_selection_t *selection = scratch_select(comet_text("a"));
    comet_message_t *room[COMET_LIMIT_MAX];
    comet_batch_t batch = { .messages = room, .size = COMET_LIMIT_MAX };
    comet_timestamp_t before = COMET_TIMESTAMP_MAX;
    size_t left = sizeof(bytes) / sizeof(bytes[0]), i;

    memset(body, 'x', sizeof(body) - 1);
    for (i = 0; i < left; i++) {
        comet_message_t *message =
            comet_message_create(&(comet_message_fields_t){
                .channel = comet_text("a"), .body = { body, bytes[i] } });
        apr_status_t result;

        assert_int_equal(scratch_append(store, &message, &result, 1), 0);
        comet_message_unref(message);
    }
    while (left) {
        assert_int_equal(comet_store_page(store, selection, 0, before,
                                          COMET_LIMIT_MAX, comet_batch_add,
                                          &batch),
                         0);
        assert_in_range(batch.count, 1, left);
        assert_true(batch.count == 1 || batch.bytes < COMET_BATCH_BYTES);
        before = batch.messages[0]->timestamp;
        for (i = batch.count; i-- > 0;) {
            assert_int_equal(batch.messages[i]->body.length, bytes[--left]);
        }
        comet_batch_clear(&batch);
    }
    comet_store_close(store);
}

/* --- Channels --------------------------------------------------------- */

static int note(void *baton, comet_text_t name)
{
    char *text = baton;
    size_t length = strlen(text);

    snprintf(text + length, 512 - length, "%.*s ", (int)name.length, name.data);
    return !comet_text_equal(name, comet_text("stop"));
}

static const char *channels(comet_store_t *store, comet_text_t prefix,
                            size_t limit)
{
    static char text[512];

    text[0] = '\0';
    assert_int_equal(comet_store_channels(store, prefix, limit, note, text), 0);
    return text;
}

static void test_channels(void **state)
{
    char long_name[300];
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    int more = 1;

    assert_string_equal(channels(store, comet_text(""), 9), "");
    append_to(store,
              "room/b room/a room roomy room0 room/a/x r\xc3\xbcm a_b a%b"
              " \xf4\x8f\xbf\xbf");
    assert_string_equal(channels(store, comet_text("room/"), 9),
                        "room/a room/a/x room/b ");
    assert_string_equal(channels(store, comet_text("room/"), 2),
                        "room/a room/a/x ");
    assert_string_equal(channels(store, comet_text("room/"), 0), "");
    assert_string_equal(channels(store, comet_text("a_"), 9), "a_b ");
    assert_string_equal(channels(store, comet_text("%"), 9), "");
    assert_string_equal(channels(store, comet_text("ROOM/"), 9), "");
    assert_string_equal(channels(store, comet_text("\xf4\x8f\xbf\xbf"), 9),
                        "\xf4\x8f\xbf\xbf ");
    assert_string_equal(channels(store, comet_text("\xff\xff"), 9), "");
    assert_string_equal(channels(store, comet_text("r"), 99),
                        "room room/a room/a/x room/b room0 roomy r\xc3\xbcm ");
    assert_string_equal(channels(store, comet_text(""), 2), "a%b a_b ");
    memset(long_name, 'x', 299);
    long_name[299] = '\0';
    assert_string_equal(channels(store, comet_text(long_name), 9), "");
    /* if retention has removed messages of an empty channel, the channel keeps
     * its floor, and is not listed */
    append_to(store, "gone gone stop z");
    kit_config.retain_count = 1;
    while (more) {
        assert_int_equal(comet_store_prune(store, apr_time_now(), &more), 0);
    }
    kit_run_outside("DELETE FROM message WHERE channel = 'gone'");
    assert_int_equal(kit_number("SELECT count(*) FROM channel"
                                " WHERE name = 'gone'"),
                     1);
    assert_string_equal(channels(store, comet_text("gon"), 9), "");
    assert_string_equal(channels(store, comet_text("s"), 9), "stop ");
    comet_store_close(store);
}

/* --- Rare channels -------------------------------------------------------- */

/* A walk of several statements reads one snapshot, its own or one that the
 * caller has begun. */
static void test_rare_in_a_view(void **state)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    comet_store_t *reader = kit_open_store(COMET_STORE_READ);
    comet_store_state_t now;

    append_to(store, "a");
    kit_append_noise(store, "noise", 2000);
    append_to(store, "b c a");
    assert_int_equal(comet_store_begin(reader, &now), 0);
    assert_string_equal(read_some(reader, "a b", 0, 9), "0,0,2");
    append_to(store, "a");
    assert_string_equal(read_some(reader, "a b", 0, 9), "0,0,2");
    comet_store_end(reader);
    assert_string_equal(read_some(reader, "a b", 0, 9), "0,0,2,0");
    kit_list.limit = 2;
    assert_int_equal(kit_list.count, 4);
    /* no snapshot is left open */
    kit_run_outside("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2005);
    comet_store_close(reader);
    comet_store_close(store);
}

/* --- SQLite's query plans ------------------------------------------------- */

/** The query plan of a statement, its lines joined by '|'. */
static const char *plan(sqlite3 *db, sql_e which)
{
    static char text[1024];
    char sql[1024];
    sqlite3_stmt *row;

    snprintf(sql, sizeof(sql), "EXPLAIN QUERY PLAN %s",
             comet_sqlite_text[which]);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
    text[0] = '\0';
    while (sqlite3_step(row) == SQLITE_ROW) {
        size_t length = strlen(text);

        snprintf(text + length, sizeof(text) - length, "%s%s",
                 length ? "|" : "", (const char *)sqlite3_column_text(row, 3));
    }
    sqlite3_finalize(row);
    return text;
}

static void test_plans(void **state)
{
    static const struct {
        sql_e which;
        const char *plan;
    } plans[] = {
        { SQL_READ, "SEARCH message_log USING INDEX message_by_channel"
                    " (channel_id=? AND id>? AND id<?)" },
        { SQL_READ_BACK, "SEARCH message_log USING INDEX message_by_channel"
                         " (channel_id=? AND id>? AND id<?)" },
        { SQL_TAIL, "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)|"
                    "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)" },
        { SQL_TAIL_BACK,
          "SEARCH m USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)|"
          "SEARCH c USING INTEGER PRIMARY KEY (rowid=?)" },
        { SQL_NEXT, "SEARCH message_log USING COVERING INDEX message_by_channel"
                    " (channel_id=? AND id>? AND id<?)" },
        { SQL_PREVIOUS,
          "SEARCH message_log USING COVERING INDEX message_by_channel"
          " (channel_id=? AND id>? AND id<?)" },
        { SQL_UNDER, "SEARCH channel USING COVERING INDEX"
                     " sqlite_autoindex_channel_1 (name>? AND name<?)" },
    };
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    sqlite3 *db = kit_outsider();
    size_t i;
    int which;

    for (i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        const char *found = plan(db, plans[i].which);

        if (strncmp(found, plans[i].plan, strlen(plans[i].plan)) != 0) {
            fail_msg("%s\nis done by %s", comet_sqlite_text[plans[i].which],
                     found);
        }
    }
    for (which = 0; which < SQL_COUNT; which++) { /* no statement sorts its
                                                   * rows */
        const char *found = plan(db, (sql_e)which);

        if (strstr(found, "TEMP B-TREE")
            || strstr(found, "SCAN message_log USING INTEGER")) {
            fail_msg("%s\nis done by %s", comet_sqlite_text[which], found);
        }
    }
    sqlite3_close(db);
    comet_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(test_names),
        KIT_TEST(test_prefixes),
        KIT_TEST(test_stops_at_unknown),
        KIT_TEST(test_replay),
        KIT_TEST(test_floor),
        KIT_TEST(test_page),
        KIT_TEST(test_page_of_large_bodies),
        KIT_TEST(test_channels),
        KIT_TEST(test_rare_in_a_view),
        KIT_TEST(test_plans),
    };

    scratch_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
