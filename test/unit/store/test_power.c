/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power fails at random moments, again and again: during a commit, during a
 * checkpoint, while a database is made, and while upkeep handles retention,
 * keys and the index.
 *
 * COMET_CUTS is how many times the power fails.  Each database goes through
 * several power failures.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "power_kit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faulty_vfs.h"

#define KEPT 30
#define CUTS 24

/** The kind of disk, and how the store uses it. */
typedef struct world_t {
    const char *name;
    int sync_full;
    int lies; /* whether syncs do nothing */
    int links; /* how many power failures each database goes through */
} world_t;

/** Totals over all power failures. */
typedef struct verdict_t {
    int cuts, unopened, corrupt; /* numbers of databases */
    long acknowledged, lost, holes; /* numbers of messages */
    int halved, keys, clocks, reused, strange, overpruned, index;
} verdict_t;

static unsigned link_first; /* the number of the first group since the last
                             * power failure */
static comet_timestamp_t highest; /* the newest timestamp known before that
                                   * group */

static verdict_t outcome;

/* --- What is left ----------------------------------------------------- */

/* Find which of a group's messages are in the file, and their timestamps. */
static void take_rows(sqlite3 *db)
{
    sqlite3_stmt *rows;
    unsigned number, index;

    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT m.id, c.name, m.body FROM message_log m"
                           " JOIN channel c ON c.id = m.channel_id",
                           -1, &rows, NULL),
        SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        comet_timestamp_t id = sqlite3_column_int64(rows, 0);
        const char *body = (const char *)sqlite3_column_text(rows, 2);
        power_group_t *group;

        if (sscanf(body, "%u %u ", &number, &index) != 2
            || number >= power_sent_count
            || index >= power_sent[number].count) {
            outcome.strange++;
            continue;
        }
        group = &power_sent[number];
        if (group->present & (1u << index) || strlen(body) != group->length
            || strcmp((const char *)sqlite3_column_text(rows, 1),
                      power_channels[group->channel])
                   != 0
            || (group->known
                && id != group->last - (group->count - 1 - index))) {
            outcome.strange++;
        }
        group->present |= 1u << index;
        group->last = id + (group->count - 1 - index);
    }
    sqlite3_finalize(rows);
}

static void take_keys(sqlite3 *db)
{
    sqlite3_stmt *rows;

    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT key, timestamp, count"
                                        " FROM idempotency_key",
                                        -1, &rows, NULL),
                     SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        int number = sqlite3_column_int(rows, 0);
        power_group_t *group = &power_sent[number];

        group->has_key = sqlite3_column_int(rows, 2) == (int)group->count;
        if ((group->known || group->present)
            && sqlite3_column_int64(rows, 1) != group->last) {
            outcome.keys++;
        }
    }
    sqlite3_finalize(rows);
}

/* Judge a group.  It must be complete, except for messages at its beginning
 * that retention has removed.  An acknowledged group must be in the file.
 * @param newest  the newest timestamp in the file */
static void judge_group(power_group_t *group, comet_timestamp_t floor,
                        comet_timestamp_t newest)
{
    unsigned i, missing = 0;

    if (!group->known && !group->present) {
        return;
    }
    for (i = 0; i < group->count; i++) {
        comet_timestamp_t id = group->last - (group->count - 1 - i);

        if (!(group->present & (1u << i)) && id > floor) {
            missing++;
            outcome.holes += group->known && id < newest;
        }
    }
    outcome.lost += group->known ? missing : 0;
    outcome.halved += group->present && missing;
    if (group->keyed && !missing) {
        outcome.keys += !group->has_key;
    }
}

/* @return the number that a statement selects; -1: the statement fails */
static sqlite3_int64 ask(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    sqlite3_int64 number = -1;

    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK
        && sqlite3_step(statement) == SQLITE_ROW) {
        number = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return number;
}

static void judge_groups(sqlite3 *db)
{
    comet_timestamp_t floors[POWER_CHANNELS];
    comet_timestamp_t newest =
        ask(db, "SELECT ifnull(max(id), 0) FROM message_log");
    char sql[200];
    unsigned i;

    for (i = 0; i < POWER_CHANNELS; i++) {
        snprintf(sql, sizeof(sql),
                 "SELECT ifnull(max(floor), 0) FROM channel WHERE name = '%s'",
                 power_channels[i]);
        floors[i] = ask(db, sql);
    }
    for (i = 0; i < power_sent_count; i++) {
        judge_group(&power_sent[i], floors[power_sent[i].channel], newest);
    }
}

static void judge_retention(sqlite3 *db)
{
    char sql[200];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM channel WHERE floor > 0 AND %d > (SELECT"
             " count(*) FROM message_log WHERE channel_id = channel.id)",
             KEPT);
    outcome.overpruned += ask(db, sql) != 0;
}

static int is_sound(sqlite3 *db)
{
    return ask(db, "SELECT count(*) FROM pragma_integrity_check"
                   " WHERE integrity_check = 'ok'")
               == 1
           && ask(db, "SELECT count(*) FROM pragma_foreign_key_check") == 0;
}

static int has_sound_index(sqlite3 *db)
{
    return ask(db, "SELECT count(*) FROM sqlite_master"
                   " WHERE name = 'message_search'")
               == 0
           || ask(db, "SELECT indexed_from FROM search_progress") > 0
           || sqlite3_exec(db,
                           "INSERT INTO message_search(message_search, rank)"
                           " VALUES('integrity-check', 1)",
                           NULL, NULL, NULL)
                  == SQLITE_OK;
}

/* Examine the file as another program would, without changing its log.
 * @return whether it can still be used */
static int judge_file(void)
{
    sqlite3 *db = kit_outsider();
    int sound;

    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sound = is_sound(db);
    outcome.corrupt += !sound;
    if (sound && ask(db, "PRAGMA user_version") > 0) {
        take_rows(db);
        take_keys(db);
        judge_groups(db);
        judge_retention(db);
        outcome.index += !has_sound_index(db);
        outcome.clocks += ask(db, "SELECT last >= (SELECT ifnull(max(id), 0)"
                                  " FROM message_log) FROM comet_clock")
                          != 1;
    }
    else if (sound) { /* the database was not complete yet, so nothing was
                       * acknowledged */
        judge_groups(db);
    }
    sqlite3_close(db);
    return sound;
}

/* Begin the time until the next power failure.  A group that is neither in the
 * file nor acknowledged is forgotten. */
static void begin_link(void)
{
    unsigned i;

    for (i = 0; i < power_sent_count; i++) {
        power_group_t *group = &power_sent[i];

        if (i >= link_first && group->known) {
            outcome.acknowledged += group->count;
            outcome.reused += group->last - (group->count - 1) <= highest;
        }
    }
    for (i = 0; i < power_sent_count; i++) {
        power_group_t *group = &power_sent[i];

        if (!group->known && !group->present) {
            group->last = 0;
        }
        if (group->last > highest) {
            highest = group->last;
        }
        group->present = 0;
        group->has_key = 0;
    }
    link_first = power_sent_count;
}

/* Repeat some acknowledged groups: their publishers must get the same
 * answer. */
static void repeat_some(void)
{
    comet_store_t *store = kit_open_store(COMET_STORE_WRITE);
    unsigned i, left = 20;

    for (i = power_sent_count; i > 0 && left > 0; i--) {
        comet_timestamp_t last = power_sent[i - 1].last;

        if (power_sent[i - 1].keyed && last) {
            left--;
            outcome.keys += power_publish(i - 1, store) != COMET_EREPEATED;
        }
    }
    comet_store_close(store);
}

/* Run one database, from its creation to its last power failure. */
static void live(const world_t *world, unsigned seed, int *cuts)
{
    const int odd = seed % 2;
    int i, sound = 1;

    kit_setup(NULL);
    kit_config.sync_full = world->sync_full;
    kit_config.retain_count = KEPT;
    kit_config.search = seed % 3 == 0;
    atomic_store(&faulty_lies, world->lies);
    atomic_store(&faulty_tears, odd);
    power_sent_count = link_first = 0;
    highest = 0;
    for (i = 0; i<world->links && * cuts> 0 && sound; i++, (*cuts)--) {
        /* often the power fails while the database is still being made */
        power_run_until_cut(&seed, i == 0 && odd ? 100 : 6000);
        power_restart();
        sound = judge_file();
        begin_link();
        outcome.cuts++;
        if (i == 1 && odd && sound
            && kit_number("PRAGMA user_version") > 0) { /* as if the clock had
                                                         * been ahead */
            kit_run_outside("UPDATE comet_clock SET last = last + 86400000000");
        }
    }
    if (sound && kit_open_status(COMET_STORE_WRITE) != APR_SUCCESS) {
        outcome.unopened++;
    }
    else if (sound && world->sync_full && !world->lies) {
        repeat_some();
    }
    atomic_store(&faulty_lies, 0);
    atomic_store(&faulty_tears, 0);
    kit_teardown(NULL);
}

static void live_through(const world_t *world, int cuts)
{
    unsigned seed = 1;

    outcome = (verdict_t){ .cuts = 0 };
    memset(power_sent, 0, sizeof(power_sent));
    while (cuts > 0) {
        live(world, seed++, &cuts);
    }
    printf("# %s: %d cuts, %ld messages acknowledged: %ld lost, %ld holes;"
           " %d files corrupt, %d not opened; %d groups halved, %d keys wrong,"
           " %d clocks behind, %d timestamps reused, %d strange rows,"
           " %d overpruned, %d indexes wrong\n",
           world->name, outcome.cuts, outcome.acknowledged, outcome.lost,
           outcome.holes, outcome.corrupt, outcome.unopened, outcome.halved,
           outcome.keys, outcome.clocks, outcome.reused, outcome.strange,
           outcome.overpruned, outcome.index);
}

static int wanted_cuts(void)
{
    const char *said = getenv("COMET_CUTS");

    return said ? atoi(said) : CUTS;
}

/* --- Tests ------------------------------------------------------------ */

static void assert_whole(void)
{
    assert_int_equal(outcome.corrupt, 0);
    assert_int_equal(outcome.unopened, 0);
    assert_int_equal(outcome.holes, 0);
    assert_int_equal(outcome.halved, 0);
    assert_int_equal(outcome.keys, 0);
    assert_int_equal(outcome.clocks, 0);
    assert_int_equal(outcome.strange, 0);
    assert_int_equal(outcome.overpruned, 0);
    assert_int_equal(outcome.index, 0);
    assert_true(outcome.acknowledged > 0);
}

/* No acknowledged message is lost, and no timestamp is used twice. */
static void test_full(void **state)
{
    static const world_t world = { "sync full", 1, 0, 8 };

    live_through(&world, wanted_cuts());
    assert_whole();
    assert_int_equal(outcome.lost, 0);
    assert_int_equal(outcome.reused, 0);
}

/* With CometSync normal, only the newest messages may be lost. */
static void test_normal(void **state)
{
    static const world_t world = { "sync normal", 0, 0, 1 };

    live_through(&world, wanted_cuts() / 3);
    assert_whole();
    assert_true(outcome.lost > 0);
}

/* If a disk only pretends to sync, as with PRAGMA synchronous = OFF, these
 * tests do find losses. */
static void test_can_fail(void **state)
{
    static const world_t world = { "a disk that lies", 1, 1, 1 };

    live_through(&world, 8);
    assert_true(outcome.lost + outcome.corrupt > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_can_fail),
    };

    return cmocka_run_group_tests(tests, power_begin, NULL);
}
