/* SPDX-License-Identifier: Apache-2.0 */
/* The hub: faults of the store, and lost notifications. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hub_kit.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Make another database: one message on a rare channel, followed by more
 * messages on another channel than a ring holds. */
static comet_timestamp_t make_elsewhere(const char *path)
{
    comet_store_config_t config = { .place = scratch_place(path),
                                    .busy_timeout = SECOND };
    comet_timestamp_t rare;
    comet_store_t *store;
    int i;

    assert_int_equal(comet_store_open(&store, &config, COMET_STORE_WRITE, NULL),
                     0);
    rare = hub_append_to(store, "rare");
    for (i = 0; i < 1100; i++) {
        hub_append_to(store, "other");
    }
    comet_store_close(store);
    return rare;
}

/* A client joins before there is a store; it is served once there is. */
static void test_no_store_yet(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;

    hub_start();
    client = client_joined("rare", 0);
    wait_until(atomic_load(&hub_last_error) == APR_ENOENT);
    sent[0] = make_elsewhere(scratch_path("other.db"));
    rename(scratch_path("other.db"), hub_paths[0]);
    wait_until(atomic_load(&hub_last_error) == APR_SUCCESS);
    wait_at_most(5 * SECOND, client_got(client) == 1);
    hub_open_writer(0);
    sent[1] = hub_publish("rare");
    wait_until(atomic_load(&client->newest) == sent[1]);
    client_leave(client);
    client_check(client, sent, 2);
    /* two reports: the failure and its end */
    assert_int_equal(atomic_load(&hub_errors), 2);
    client_free(client);
}

/* Rename the log's table: the hub can still look at the store, but not read
 * messages. */
static void rename_log(const char *from, const char *to)
{
    char sql[200];
    sqlite3 *db;

    snprintf(sql, sizeof(sql),
             "PRAGMA legacy_alter_table = ON; ALTER TABLE %s RENAME TO %s",
             from, to);
    assert_int_equal(sqlite3_open(hub_paths[0], &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* A client's missed messages cannot be read at first.  The client gets them
 * later, before new ones. */
static void test_read_fails(void **state)
{
    comet_timestamp_t sent[2];
    client_t *client;
    int i;

    sent[0] = hub_append("rare");
    for (i = 0; i < 1100; i++) {
        hub_append("other");
    }
    comet_bus_notify(hub_buses[0]);
    wait_until(hub_in_step());
    for (i = 0; i < 2; i++) {
        rename_log("message_log", "elsewhere");
        client = client_joined("rare", 0);
        wait_until(atomic_load(&client->served));
        assert_int_equal(client_got(client), 0);
        rename_log("elsewhere", "message_log");
        if (i) {
            sent[1] = hub_publish("rare");
        }
        wait_at_most(5 * SECOND, client_got(client) == i + 1);
        client_leave(client);
        client_check(client, sent, i + 1);
        client_free(client);
    }
}

/* The file is replaced by one that has more messages than the ring can hold. */
static void test_replaced(void **state)
{
    client_t *client = client_joined("rare", hub_last());
    client_t *other = client_joined("other", hub_last());
    comet_timestamp_t sent[2];

    hub_publish("chat");
    wait_until(hub_in_step());
    sent[0] = make_elsewhere(scratch_path("other.db"));
    comet_store_close(hub_writers[0]);
    unlink(scratch_path("comet.db-wal"));
    unlink(scratch_path("comet.db-shm"));
    rename(scratch_path("other.db"), hub_paths[0]);
    hub_open_writer(0);
    wait_until(hub_in_step());
    sent[1] = hub_publish("rare");
    wait_until(atomic_load(&client->newest) == sent[1]);
    wait_until(client_got(other) == 1100);
    client_leave(client);
    client_check(client, sent, 2);
    client_free(client);
    client_leave_and_free(other);
}

static void test_errors_are_told(void **state)
{
    FILE *file;
    client_t *client = client_joined("chat", 0);

    assert_int_equal(atomic_load(&hub_errors), 0);
    comet_store_close(hub_writers[0]);
    hub_writers[0] = NULL;
    file = fopen(scratch_path("diary"), "w");
    fputs("Dear diary, this is not a database at all.\n", file);
    fclose(file);
    unlink(scratch_path("comet.db-wal"));
    unlink(scratch_path("comet.db-shm"));
    rename(scratch_path("diary"), hub_paths[0]);
    wait_until(atomic_load(&hub_last_error) != APR_SUCCESS);
    unlink(hub_paths[0]);
    hub_open_writer(0);
    hub_publish("chat");
    wait_until(client_got(client) == 1);
    wait_until(atomic_load(&hub_last_error) == APR_SUCCESS);
    client_leave_and_free(client);
}

/* No notification reaches the hub, but it looks at the log now and then. */
static void test_deaf(void **state)
{
    apr_int64_t took[3];
    client_t *client;
    int i;

    hub_stop();
    hub_config.no_hints = 1;
    hub_start();
    client = client_joined("chat", hub_last());
    for (i = 0; i < 3; i++) {
        took[i] = comet_monotonic();
        hub_publish("chat");
        wait_until(client_got(client) == i + 1);
        took[i] = comet_monotonic() - took[i];
        assert_true(took[i] < 5 * SECOND); /* the machine may be loaded */
    }
    qsort(took, 3, sizeof(*took), scratch_ascending);
    assert_true(took[1] < SECOND);
    assert_true(took[2] > 50 * MS);
    client_leave_and_free(client);
    assert_int_equal(comet_bus_claim_watch(hub_buses[0]),
                     1); /* the watching role was free, so the hub did not watch
                          * the file, either */
    comet_bus_release_watch(hub_buses[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HUB_TEST_BARE(test_no_store_yet),
        HUB_TEST(test_read_fails),
        HUB_TEST(test_replaced),
        HUB_TEST(test_errors_are_told),
        HUB_TEST(test_deaf),
    };

    return cmocka_run_group_tests(tests, hub_begin, hub_end);
}
