/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, call of SQLite and access to a file fails in turn while the
 * log is opened, written and pruned.  The store reports the failure, keeps its
 * contents, and works again. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults_store.h"

#include <apr_general.h>
#include <stdio.h>
#include <string.h>

static apr_status_t open_and_close(void)
{
    comet_store_t *opened = NULL;
    comet_store_state_t now;
    apr_status_t status =
        comet_store_open(&opened, &kit_config, faults_store_mode, NULL);

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
    kit_append_many(faults_store, "a", 3);
    faults_run(&(faults_scenario_t){
        .name = "open to write",
        .kinds = FAULTS_ALL,
        .act = open_and_close,
    });
    faults_store_mode = COMET_STORE_READ;
    faults_run(&(faults_scenario_t){
        .name = "open to read",
        .kinds = FAULTS_ALL,
        .act = open_and_close,
    });
    faults_must(
        kit_number_in(faults_store_outside, "SELECT count(*) FROM message")
        == 3);
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
    faults_store_close();
    faults_run(&(faults_scenario_t){
        .name = "create",
        .kinds = FAULTS_ALL,
        .prepare = remove_database,
        .act = open_and_close,
        .check = check_schema,
    });
}

/* --- Appending -------------------------------------------------------- */

static struct {
    int round;
    sqlite3_int64 before; /* how many messages the log had */
    comet_message_t *messages[3];
    apr_status_t results[2];
} append;

/* Append two messages under a key on a new channel, and in the same commit a
 * message of another group. */
static apr_status_t append_groups(void)
{
    char name[32], key[32];
    comet_store_group_t keyed = { .messages = append.messages, .count = 2 };
    comet_store_group_t plain = { .messages = append.messages + 2, .count = 1 };
    comet_store_group_t *groups[] = { &keyed, &plain };
    apr_status_t status;
    int i;

    faults_spare(1);
    append.before =
        kit_number_in(faults_store_outside, "SELECT count(*) FROM message_log");
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
    status = faults_store_ensure();
    if (status == APR_SUCCESS) {
        status = comet_store_append(faults_store, groups, 2);
        faults_store_judge(status);
    }
    append.results[0] = keyed.result;
    append.results[1] = plain.result;
    return status;
}

static void check_appended(apr_status_t status)
{
    sqlite3_int64 stored =
        kit_number_in(faults_store_outside, "SELECT count(*) FROM message_log")
        - append.before;
    sqlite3_int64 last =
        kit_number_in(faults_store_outside, "SELECT max(id)"
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
        faults_must(
            kit_number_in(faults_store_outside, "SELECT last FROM comet_clock")
            == last);
    }
    else if (status == COMET_EUNSURE) {
        faults_must(stored == 0 || stored == 3);
    }
    else {
        faults_must(stored == 0);
    }
    /* a key, a channel and their messages are all stored, or none of them */
    faults_must(kit_number_in(faults_store_outside,
                              "SELECT count(*) FROM idempotency_key")
                    * 3
                == kit_number_in(faults_store_outside,
                                 "SELECT count(*) FROM message_log"));
    faults_must(kit_number_in(faults_store_outside,
                              "SELECT count(*) FROM channel WHERE id"
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
    faults_store_close();
}

static void test_append(void **state)
{
    faults_store_close();
    faults_run(&(faults_scenario_t){
        .name = "append",
        .kinds = FAULTS_ALL,
        .prepare = faults_store_open,
        .act = append_groups,
        .check = check_appended,
        .finish = free_appended,
    });
    kit_config.sync_full = 1;
    faults_run(&(faults_scenario_t){
        .name = "append, synced",
        .kinds = FAULTS_DISK,
        .prepare = faults_store_open,
        .act = append_groups,
        .check = check_appended,
        .finish = free_appended,
    });
}

/* --- Upkeep --------------------------------------------------------------- */

#define KEPT 5

static void add_excess(void)
{
    faults_store_open();
    kit_append_many(faults_store, "a", 4);
    kit_must_run(faults_store_outside,
                 "INSERT INTO idempotency_key(channel, author, key,"
                 " timestamp, count, hash) VALUES('a', '', 'k',"
                 " (SELECT max(id) FROM message_log), 1,"
                 " zeroblob(20));"
                 "UPDATE idempotency_key SET expires = 1");
}

static apr_status_t keep_small(void)
{
    apr_status_t status = faults_store_ensure();
    int more = 1, rounds;

    for (rounds = 0; status == APR_SUCCESS && more; rounds++) {
        faults_must(rounds < 100);
        status = comet_store_prune(faults_store, apr_time_now(), &more);
    }
    for (more = 1; status == APR_SUCCESS && more;) {
        status = comet_store_tidy(faults_store, &more);
    }
    faults_store_judge(status);
    return status;
}

static void check_small(apr_status_t status)
{
    sqlite3_int64 left =
        kit_number_in(faults_store_outside, "SELECT count(*) FROM message_log");
    sqlite3_int64 keys = kit_number_in(faults_store_outside,
                                       "SELECT count(*) FROM idempotency_key");

    faults_must(left >= KEPT && keys <= 1);
    if (status == APR_SUCCESS) {
        faults_must(left == KEPT && keys == 0);
    }
    /* removed messages are at or below the floor, the remaining ones above
     * it */
    faults_must(kit_number_in(faults_store_outside,
                              "SELECT count(*) FROM message_log"
                              " WHERE id <= (SELECT max(floor)"
                              " FROM channel)")
                == 0);
}

static void test_upkeep(void **state)
{
    kit_config.retain_count = KEPT;
    kit_append_many(faults_store, "a", KEPT);
    faults_run(&(faults_scenario_t){
        .name = "upkeep",
        .kinds = FAULTS_ALL,
        .prepare = add_excess,
        .act = keep_small,
        .check = check_small,
        .finish = faults_store_close,
    });
}

static void write_much(void)
{
    faults_store_open();
    kit_append_many(faults_store, "a", 1);
    while (!comet_store_checkpoint_due(faults_store)) {
        static char large[1000000];

        memset(large, 'x', sizeof(large) - 1);
        faults_must(kit_append(faults_store, "a", large, NULL) == APR_SUCCESS);
    }
    kit_must_run(faults_store_outside, "DELETE FROM message");
}

static apr_status_t move_log(void)
{
    apr_status_t status = faults_store_ensure();

    if (status == APR_SUCCESS) {
        status = comet_store_checkpoint(faults_store);
        faults_store_judge(status);
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
        .finish = faults_store_close,
    });
}

static apr_status_t copy_log(void)
{
    apr_status_t status = faults_store_ensure();
    int pages;

    if (status == APR_SUCCESS) {
        status = comet_store_copy(faults_store, &pages);
        faults_store_judge(status);
    }
    return status;
}

static void test_copy(void **state)
{
    faults_run(&(faults_scenario_t){
        .name = "copy",
        .kinds = FAULTS_CALL,
        .prepare = write_much,
        .act = copy_log,
        .finish = faults_store_close,
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULTS_STORE_TEST(test_open),       FAULTS_STORE_TEST(test_create),
        FAULTS_STORE_TEST(test_append),     FAULTS_STORE_TEST(test_upkeep),
        FAULTS_STORE_TEST(test_checkpoint), FAULTS_STORE_TEST(test_copy),
    };
    int failed;

    faults_install();
    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
