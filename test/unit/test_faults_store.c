/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, call of SQLite and access to a file fails in turn: the store
 * says so, keeps what it had, and works again. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <apr_general.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comet_feed.h"
#include "comet_readers.h"

#define ALL (FAULTS_MEMORY | FAULTS_CALL | FAULTS_DISK)

static apr_pool_t *pool;

/* --- A store ---------------------------------------------------------- */

static comet_store_t *store;
static sqlite3 *outside;
static comet_store_mode_e mode;

static void close_kept(void)
{
    comet_store_close(store);
    store = NULL;
}

static int store_setup(void **state)
{
    kit_setup(state);
    kit_config.sync_full = 0;
    mode = COMET_STORE_WRITE;
    store = kit_open_store(mode);
    outside = kit_outsider();
    return 0;
}

static int store_teardown(void **state)
{
    close_kept();
    sqlite3_close(outside);
    outside = NULL;
    kit_assert_healthy();
    return kit_teardown(state);
}

/* As the writer and the readers do: after most failures, another one. */
static apr_status_t ensure_open(void)
{
    return store ? APR_SUCCESS
                 : comet_store_open(&store, &kit_config, mode, NULL);
}

static void judge(apr_status_t status)
{
    if (status != APR_SUCCESS) {
        faults_must(*comet_store_error(store));
    }
    if (status != APR_SUCCESS && status != APR_ENOMEM && status != APR_ENOSPC
        && status != COMET_ELOCKED) {
        close_kept();
    }
}

static apr_status_t open_and_close(void)
{
    comet_store_t *opened = NULL;
    comet_store_state_t now;
    apr_status_t status = comet_store_open(&opened, &kit_config, mode, NULL);

    faults_must((status == APR_SUCCESS) == (opened != NULL));
    if (status != APR_SUCCESS) {
        faults_must(*comet_store_error(NULL));
        return status;
    }
    status = comet_store_state(opened, &now);
    comet_store_close(opened);
    return status;
}

static void test_open(void **state)
{
    kit_append_many(store, "a", 3);
    faults_run(&(faults_scenario_t){
        .name = "open to write",
        .kinds = ALL,
        .act = open_and_close,
    });
    mode = COMET_STORE_READ;
    faults_run(&(faults_scenario_t){
        .name = "open to read",
        .kinds = ALL,
        .act = open_and_close,
    });
    faults_must(kit_number_in(outside, "SELECT count(*) FROM message") == 3);
}

static void remove_database(void)
{
    scratch_clear();
}

static void check_schema(apr_status_t status)
{
    if (status == APR_SUCCESS) {
        faults_must(
            kit_number("SELECT count(*) FROM comet_clock WHERE last = 0") == 1);
    }
}

static void test_create(void **state)
{
    close_kept();
    faults_run(&(faults_scenario_t){
        .name = "create",
        .kinds = ALL,
        .prepare = remove_database,
        .act = open_and_close,
        .check = check_schema,
    });
}

/* --- Appending -------------------------------------------------------- */

static struct {
    int round;
    sqlite3_int64 before; /* messages there */
    comet_message_t *messages[3];
    apr_status_t results[2];
} append;

/* Two messages under a key on a new channel, and one that joins them. */
static apr_status_t append_groups(void)
{
    char name[32], key[32];
    comet_store_group_t keyed = { .messages = append.messages, .count = 2 };
    comet_store_group_t plain = { .messages = append.messages + 2, .count = 1 };
    comet_store_group_t *groups[] = { &keyed, &plain };
    apr_status_t status;
    int i;

    faults_spare(1);
    append.before = kit_number_in(outside, "SELECT count(*) FROM message_log");
    snprintf(name, sizeof(name), "new/%d", append.round);
    snprintf(key, sizeof(key), "key-%d", append.round++);
    for (i = 0; i < 3; i++) {
        comet_message_unref(append.messages[i]);
        append.messages[i] = kit_make(i < 2 ? name : "old", "body");
    }
    keyed.key = (comet_store_key_t){ .text = comet_text(key),
                                     .channel = comet_text(name),
                                     .author = { NULL, 0 } };
    comet_store_hash(&keyed);
    faults_spare(0);
    status = ensure_open();
    if (status == APR_SUCCESS) {
        status = comet_store_append(store, groups, 2);
        judge(status);
    }
    append.results[0] = keyed.result;
    append.results[1] = plain.result;
    return status;
}

static void check_appended(apr_status_t status)
{
    sqlite3_int64 stored =
        kit_number_in(outside, "SELECT count(*) FROM message_log")
        - append.before;
    sqlite3_int64 last = kit_number_in(outside, "SELECT max(id)"
                                                " FROM message_log");
    int i;

    for (i = 0; i < 3; i++) {
        faults_must((append.messages[i]->timestamp != 0)
                    == (status == APR_SUCCESS));
    }
    if (status == APR_SUCCESS) {
        faults_must(append.results[0] == APR_SUCCESS
                    && append.results[1] == APR_SUCCESS);
        faults_must(stored == 3 && append.messages[2]->timestamp == last);
        faults_must(kit_number_in(outside, "SELECT last FROM comet_clock")
                    == last);
    }
    else if (status == COMET_EUNSURE) {
        faults_must(stored == 0 || stored == 3);
    }
    else {
        faults_must(stored == 0);
    }
    /* all or nothing of a key, a channel and their messages */
    faults_must(kit_number_in(outside, "SELECT count(*) FROM idempotency_key")
                    * 3
                == kit_number_in(outside, "SELECT count(*) FROM message_log"));
    faults_must(kit_number_in(outside, "SELECT count(*) FROM channel WHERE id"
                                       " NOT IN (SELECT channel_id"
                                       " FROM message_log)")
                == 0);
}

static void free_appended(void)
{
    int i;

    for (i = 0; i < 3; i++) {
        comet_message_unref(append.messages[i]);
        append.messages[i] = NULL;
    }
    close_kept();
}

static void open_kept(void)
{
    faults_must(ensure_open() == APR_SUCCESS);
}

static void test_append(void **state)
{
    close_kept();
    faults_run(&(faults_scenario_t){
        .name = "append",
        .kinds = ALL,
        .prepare = open_kept,
        .act = append_groups,
        .check = check_appended,
        .finish = free_appended,
    });
    kit_config.sync_full = 1;
    faults_run(&(faults_scenario_t){
        .name = "append, synced",
        .kinds = FAULTS_DISK,
        .prepare = open_kept,
        .act = append_groups,
        .check = check_appended,
        .finish = free_appended,
    });
}

/* --- Reading ---------------------------------------------------------- */

static apr_status_t (*read_some)(void);
static char got[40000], expected[40000];

static void note(const char *text, apr_size_t length)
{
    size_t at = strlen(got);

    faults_must(at + length + 2 < sizeof(got));
    memcpy(got + at, text, length);
    memcpy(got + at + length, ";", 2);
}

static void note_number(apr_int64_t number)
{
    char text[32];

    note(text, (apr_size_t)snprintf(text, sizeof(text), "%ld", (long)number));
}

static int note_message(void *baton, comet_message_t *message)
{
    note_number(message->timestamp);
    note(message->channel.data, message->channel.length);
    note(message->author.data ? message->author.data : "nobody",
         message->author.data ? message->author.length : 6);
    note_number((apr_int64_t)message->body.length);
    comet_message_unref(message);
    return 1;
}

static int note_name(void *baton, comet_text_t name)
{
    note(name.data, name.length);
    return 1;
}

static comet_selection_t *atom, *several, *wild, *rare;

static apr_status_t read_atom(void)
{
    return comet_store_read(store, atom, 0, 100, note_message, NULL);
}

static apr_status_t read_several(void)
{
    return comet_store_read(store, several, 0, 100, note_message, NULL);
}

static apr_status_t read_wild(void)
{
    return comet_store_read(store, wild, 0, 100, note_message, NULL);
}

static apr_status_t read_rare(void)
{
    return comet_store_read(store, rare, 0, 100, note_message, NULL);
}

static apr_status_t read_tail(void)
{
    return comet_store_tail(store, 0, 100, note_message, NULL);
}

static apr_status_t read_page(void)
{
    return comet_store_page(store, several, 0, COMET_TIMESTAMP_MAX, 5,
                            note_message, NULL);
}

static apr_status_t read_rare_page(void)
{
    return comet_store_page(store, rare, 0, COMET_TIMESTAMP_MAX, 5,
                            note_message, NULL);
}

static apr_status_t read_names(void)
{
    return comet_store_channels(store, (comet_text_t){ "b/", 2 }, 100,
                                note_name, NULL);
}

/* What a handler asks, in one view. */
static apr_status_t read_cursors(void)
{
    comet_store_state_t now;
    comet_timestamp_t replay = 0, rare_replay = 0, floor = 0, recent = 0;
    int any = 0;
    apr_status_t status = comet_store_begin(store, &now);

    if (status != APR_SUCCESS) {
        return status;
    }
    status = comet_store_replay(store, atom, 3, &replay, &any);
    if (status == APR_SUCCESS) {
        status = comet_store_replay(store, rare, 1, &rare_replay, &any);
    }
    if (status == APR_SUCCESS) {
        status = comet_store_floor(store, several, &floor);
    }
    if (status == APR_SUCCESS) {
        status = comet_store_recent(store, 7, &recent);
    }
    comet_store_end(store);
    if (status == APR_SUCCESS) {
        note_number(now.last);
        note_number(replay);
        note_number(rare_replay);
        note_number(floor);
        note_number(recent);
    }
    return status;
}

static apr_status_t read_again(void)
{
    apr_status_t status;

    got[0] = '\0';
    status = ensure_open();
    if (status == APR_SUCCESS) {
        status = read_some();
        judge(status);
    }
    return status;
}

/* All of it; or, when it says that it failed, the beginning. */
static void check_read(apr_status_t status)
{
    faults_must(strncmp(got, expected, strlen(got)) == 0);
    faults_must(status != APR_SUCCESS || strcmp(got, expected) == 0);
}

static void fill(void)
{
    static char large[6000];
    char body[16];
    int i;

    memset(large, 'x', sizeof(large) - 1);
    kit_must_run(outside, "BEGIN");
    for (i = 0; i < 300; i++) {
        sqlite3_stmt *insert;

        snprintf(body, sizeof(body), "%d", i);
        assert_int_equal(
            sqlite3_prepare_v2(outside,
                               "INSERT INTO message(channel, author, body)"
                               " VALUES(?1, ?2, ?3)",
                               -1, &insert, NULL),
            0);
        sqlite3_bind_text(insert, 1,
                          i >= 8       ? "noise"
                          : i % 4 == 0 ? "a"
                          : i % 4 == 1 ? "b/1"
                          : i % 4 == 2 ? "b/2"
                                       : "c",
                          -1, SQLITE_STATIC);
        if (i % 2) {
            sqlite3_bind_text(insert, 2, "anna", -1, SQLITE_STATIC);
        }
        sqlite3_bind_text(insert, 3, i < 8 ? large : body, -1, SQLITE_STATIC);
        assert_int_equal(sqlite3_step(insert), SQLITE_DONE);
        sqlite3_finalize(insert);
    }
    kit_must_run(outside, "COMMIT");
}

static void test_read(void **state)
{
    static const struct {
        const char *name;
        apr_status_t (*read)(void);
    } reads[] = {
        { "read a channel", read_atom },
        { "read several", read_several },
        { "read a wildcard", read_wild },
        { "read rare ones", read_rare },
        { "read the tail", read_tail },
        { "read a page", read_page },
        { "read rare ones' page", read_rare_page },
        { "list channels", read_names },
        { "find cursors", read_cursors },
    };
    size_t i;

    fill();
    atom = scratch_choose("a");
    several = scratch_choose("a c noise");
    wild = scratch_choose("a b/*");
    rare = scratch_choose("a c d");
    close_kept();
    mode = COMET_STORE_READ;
    for (i = 0; i < sizeof(reads) / sizeof(*reads); i++) {
        read_some = reads[i].read;
        assert_int_equal(read_again(), APR_SUCCESS);
        memcpy(expected, got, sizeof(expected));
        assert_true(strlen(expected) > 5);
        close_kept();
        faults_run(&(faults_scenario_t){
            .name = reads[i].name,
            .kinds = ALL,
            .prepare = open_kept,
            .act = read_again,
            .check = check_read,
            .finish = close_kept,
        });
        close_kept();
    }
    comet_selection_unref(atom);
    comet_selection_unref(several);
    comet_selection_unref(wild);
    comet_selection_unref(rare);
}

/* --- Searching -------------------------------------------------------- */

static apr_status_t find_words(void)
{
    return comet_store_search(store, several, comet_text("needle"), 0,
                              COMET_TIMESTAMP_MAX, 5, note_message, NULL);
}

static apr_status_t tidy_up(void)
{
    apr_status_t status = ensure_open();
    int more = 1, steps;

    for (steps = 0; status == APR_SUCCESS && more; steps++) {
        faults_must(steps < 100);
        status = comet_store_tidy(store, &more);
    }
    if (status != APR_SUCCESS) {
        judge(status);
    }
    return status;
}

static void remove_index(void)
{
    close_kept();
    kit_config.search = 0;
    faults_must(tidy_up() == APR_SUCCESS);
    faults_must(kit_number_in(outside, "SELECT count(*) FROM sqlite_master"
                                       " WHERE name LIKE 'message_search%'")
                == 0);
    close_kept();
    kit_config.search = 1;
}

/* Once it says that nothing is left to do, everything is found. */
static void check_index(apr_status_t status)
{
    if (status == APR_SUCCESS) {
        got[0] = '\0';
        faults_must(
            kit_number_in(outside, "SELECT indexed_from FROM search_progress")
            == 0);
        faults_must(find_words() == APR_SUCCESS);
        faults_must(strcmp(got, expected) == 0);
    }
}

static void test_search(void **state)
{
    fill();
    kit_append_many(store, "a", 2);
    several = scratch_choose("a c noise");
    assert_int_equal(kit_append(store, "a", "a needle", NULL), 0);
    assert_int_equal(kit_append(store, "b", "a needle elsewhere", NULL), 0);
    assert_int_equal(kit_append(store, "c", "needle and thread", NULL), 0);
    close_kept();
    kit_config.search = 1;
    read_some = find_words;
    assert_int_equal(tidy_up(), APR_SUCCESS);
    assert_int_equal(read_again(), APR_SUCCESS);
    memcpy(expected, got, sizeof(expected));
    assert_true(strlen(expected) > 5);
    faults_run(&(faults_scenario_t){
        .name = "index",
        .kinds = ALL,
        .prepare = remove_index,
        .act = tidy_up,
        .check = check_index,
        .finish = close_kept,
        .most = 25,
    });
    mode = COMET_STORE_READ;
    faults_run(&(faults_scenario_t){
        .name = "search",
        .kinds = ALL,
        .prepare = open_kept,
        .act = read_again,
        .check = check_read,
        .finish = close_kept,
    });
    comet_selection_unref(several);
}

/* --- Keeping it small ------------------------------------------------- */

#define KEPT 5

static void add_excess(void)
{
    open_kept();
    kit_append_many(store, "a", 4);
    kit_must_run(outside, "INSERT INTO idempotency_key(channel, author, key,"
                          " timestamp, count, hash) VALUES('a', '', 'k',"
                          " (SELECT max(id) FROM message_log), 1,"
                          " zeroblob(20));"
                          "UPDATE idempotency_key SET expires = 1");
}

static apr_status_t keep_small(void)
{
    apr_status_t status = ensure_open();
    int more = 1, rounds;

    for (rounds = 0; status == APR_SUCCESS && more; rounds++) {
        faults_must(rounds < 100);
        status = comet_store_prune(store, apr_time_now(), &more);
    }
    for (more = 1; status == APR_SUCCESS && more;) {
        status = comet_store_tidy(store, &more);
    }
    judge(status);
    return status;
}

static void check_small(apr_status_t status)
{
    sqlite3_int64 left =
        kit_number_in(outside, "SELECT count(*) FROM message_log");
    sqlite3_int64 keys =
        kit_number_in(outside, "SELECT count(*) FROM idempotency_key");

    faults_must(left >= KEPT && keys <= 1);
    if (status == APR_SUCCESS) {
        faults_must(left == KEPT && keys == 0);
    }
    /* what is gone is below the floor, what is left above it */
    faults_must(kit_number_in(outside, "SELECT count(*) FROM message_log"
                                       " WHERE id <= (SELECT max(floor)"
                                       " FROM channel)")
                == 0);
}

static void test_upkeep(void **state)
{
    kit_config.retain_count = KEPT;
    kit_append_many(store, "a", KEPT);
    faults_run(&(faults_scenario_t){
        .name = "upkeep",
        .kinds = ALL,
        .prepare = add_excess,
        .act = keep_small,
        .check = check_small,
        .finish = close_kept,
    });
}

static void write_much(void)
{
    open_kept();
    kit_append_many(store, "a", 1);
    while (!comet_store_checkpoint_due(store)) {
        static char large[1000000];

        memset(large, 'x', sizeof(large) - 1);
        faults_must(kit_append(store, "a", large, NULL) == APR_SUCCESS);
    }
    kit_must_run(outside, "DELETE FROM message");
}

static apr_status_t move_log(void)
{
    apr_status_t status = ensure_open();

    if (status == APR_SUCCESS) {
        status = comet_store_checkpoint(store);
        judge(status);
    }
    return status;
}

static void test_checkpoint(void **state)
{
    faults_run(&(faults_scenario_t){
        .name = "checkpoint",
        .kinds = FAULTS_CALL,
        .prepare = write_much,
        .act = move_log,
        .finish = close_kept,
    });
}

/* --- Readers and the feed --------------------------------------------- */

static comet_readers_t *readers;

static apr_status_t take_and_return(void)
{
    comet_store_t *taken;
    comet_store_state_t now;
    apr_status_t status = comet_readers_take(readers, &taken);

    faults_must((status == APR_SUCCESS) == (taken != NULL));
    if (status == APR_SUCCESS) {
        status = comet_store_begin(taken, &now);
        if (status == APR_SUCCESS) {
            comet_store_end(taken);
        }
        comet_readers_return(readers, taken, status);
    }
    return status;
}

static void close_readers(void)
{
    comet_readers_close(readers);
}

static void test_readers(void **state)
{
    assert_int_equal(comet_readers_create(&readers, &kit_config, 2, pool), 0);
    faults_run(&(faults_scenario_t){
        .name = "readers",
        .kinds = ALL,
        .act = take_and_return,
        .finish = close_readers,
    });
}

static comet_feed_t feed;
static comet_bus_t *bus;
static pthread_mutex_t feed_lock = PTHREAD_MUTEX_INITIALIZER;
static comet_timestamp_t told; /* the last one */

/* What is told may be told again, but nothing is left out. */
static void hear(void *baton, comet_feed_t *from,
                 const comet_message_t *message, int continuous)
{
    faults_spare(1);
    if (message->timestamp > told) {
        char sql[120];

        if (told) {
            snprintf(sql, sizeof(sql),
                     "SELECT min(id) FROM message_log WHERE id > %ld",
                     (long)told);
            faults_must(kit_number_in(outside, sql) == message->timestamp);
        }
        told = message->timestamp;
    }
    faults_spare(0);
}

static apr_status_t refresh(void)
{
    return comet_feed_refresh(&feed, &feed_lock, 0, comet_monotonic(), hear,
                              NULL);
}

static void append_news(void)
{
    kit_must_run(outside,
                 "INSERT INTO message(channel, body) VALUES('a', '1');"
                 "INSERT INTO message(channel, body) VALUES('b', '2')");
}

static comet_timestamp_t ring_timestamp(apr_size_t i)
{
    return feed.ring.entries[(feed.ring.first + i) % COMET_RING_MESSAGES]
        .timestamp;
}

/* The ring has the same as the log, from where it says on. */
static void check_ring(apr_status_t status)
{
    comet_timestamp_t last =
        kit_number_in(outside, "SELECT last FROM comet_clock");
    char sql[120];
    apr_size_t i;

    for (i = 1; i < feed.ring.count; i++) {
        faults_must(ring_timestamp(i - 1) < ring_timestamp(i));
    }
    if (status == APR_SUCCESS) {
        snprintf(sql, sizeof(sql),
                 "SELECT count(*) FROM message_log WHERE id > %ld",
                 (long)feed.ring.from);
        faults_must(feed.ring.state.last == last && told == last);
        faults_must(kit_number_in(outside, sql)
                    == (sqlite3_int64)feed.ring.count);
    }
}

static void begin_feed(void)
{
    comet_feed_init(&feed, &kit_config, bus);
    told = 0;
}

static void begin_feed_and_append(void)
{
    begin_feed();
    faults_must(refresh() == APR_SUCCESS);
    append_news();
}

static void begin_feed_and_erase(void)
{
    begin_feed_and_append();
    faults_must(refresh() == APR_SUCCESS);
    kit_must_run(outside, "DELETE FROM message WHERE timestamp ="
                          " (SELECT max(timestamp) FROM message)");
    append_news();
}

static void end_feed(void)
{
    comet_feed_close(&feed);
    comet_ring_reset(&feed.ring, 0);
}

static void test_feed(void **state)
{
    kit_must_run(outside, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                          " SELECT i + 1 FROM n LIMIT 300)"
                          " INSERT INTO message(channel, body)"
                          " SELECT 'a', i FROM n");
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    faults_run(&(faults_scenario_t){
        .name = "a feed begins",
        .kinds = ALL,
        .prepare = begin_feed,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
    faults_run(&(faults_scenario_t){
        .name = "a feed goes on",
        .kinds = ALL,
        .prepare = begin_feed_and_append,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
    faults_run(&(faults_scenario_t){
        .name = "a feed after DELETE",
        .kinds = ALL,
        .prepare = begin_feed_and_erase,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(test_create, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_append, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_read, store_setup, store_teardown),
        cmocka_unit_test_setup_teardown(test_search, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_upkeep, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_readers, store_setup,
                                        store_teardown),
        cmocka_unit_test_setup_teardown(test_feed, store_setup, store_teardown),
    };
    int failed;

    faults_install();
    apr_initialize();
    apr_pool_create(&pool, NULL);
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
