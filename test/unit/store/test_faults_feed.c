/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation, call of SQLite and access to a file fails in turn while the
 * workers' readers and the hub's feed use the log.  Afterwards both work
 * again. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults_store.h"

#include <apr_general.h>
#include <pthread.h>
#include <stdio.h>

#include "hub/feed.h"
#include "store/readers.h"

static apr_pool_t *pool;

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
    assert_int_equal(comet_readers_create(&readers, &kit_config, 2, 8, pool),
                     0);
    faults_run(&(faults_scenario_t){
        .name = "readers",
        .kinds = FAULTS_ALL,
        .act = take_and_return,
        .finish = close_readers,
    });
}

static comet_feed_t feed;
static comet_bus_t *bus;
static pthread_mutex_t feed_lock = PTHREAD_MUTEX_INITIALIZER;
static comet_timestamp_t told; /* the newest announced message */

/* A message may be announced twice, but none is left out. */
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
            faults_must(kit_number_in(faults_store_outside, sql)
                        == message->timestamp);
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
    kit_must_run(faults_store_outside,
                 "INSERT INTO message(channel, body) VALUES('a', '1');"
                 "INSERT INTO message(channel, body) VALUES('b', '2')");
}

static comet_timestamp_t ring_timestamp(apr_size_t i)
{
    return feed.ring.entries[(feed.ring.first + i) % COMET_RING_MESSAGES]
        .timestamp;
}

/* After ring.from, the ring has the same messages as the log. */
static void check_ring(apr_status_t status)
{
    comet_timestamp_t last =
        kit_number_in(faults_store_outside, "SELECT last FROM comet_clock");
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
        faults_must(kit_number_in(faults_store_outside, sql)
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
    kit_must_run(faults_store_outside, "DELETE FROM message WHERE timestamp ="
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
    kit_must_run(faults_store_outside,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                 " SELECT i + 1 FROM n LIMIT 300)"
                 " INSERT INTO message(channel, body)"
                 " SELECT 'a', i FROM n");
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    faults_run(&(faults_scenario_t){
        .name = "a feed begins",
        .kinds = FAULTS_ALL,
        .prepare = begin_feed,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
    faults_run(&(faults_scenario_t){
        .name = "a feed goes on",
        .kinds = FAULTS_ALL,
        .prepare = begin_feed_and_append,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
    faults_run(&(faults_scenario_t){
        .name = "a feed after DELETE",
        .kinds = FAULTS_ALL,
        .prepare = begin_feed_and_erase,
        .act = refresh,
        .check = check_ring,
        .finish = end_feed,
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULTS_STORE_TEST(test_readers),
        FAULTS_STORE_TEST(test_feed),
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
