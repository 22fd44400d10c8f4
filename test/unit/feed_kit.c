/* SPDX-License-Identifier: Apache-2.0 */
/* A feed, and a writer of the log that the feed follows. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "feed_kit.h"

#include <apr_general.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

comet_feed_t feed;
pthread_mutex_t feed_lock = PTHREAD_MUTEX_INITIALIZER;
comet_store_config_t feed_config;
char feed_database[800];
comet_bus_t *feed_bus;
comet_store_t *feed_writer;
apr_time_t feed_now;
feed_told_t feed_told;

comet_timestamp_t feed_appended[FEED_MANY];
size_t feed_appended_count;

static apr_pool_t *pool;
static int events; /* an epoll instance that receives the bus's notifications */

int feed_begin(void **state)
{
    apr_initialize();
    scratch_make();
    return 0;
}

int feed_end(void **state)
{
    apr_terminate();
    return 0;
}

void feed_open_writer(void)
{
    assert_int_equal(
        comet_store_open(&feed_writer, &feed_config, COMET_STORE_WRITE, NULL),
        0);
}

void feed_close_writer(void)
{
    comet_store_close(feed_writer);
    feed_writer = NULL;
}

static void listen_to_bus(void)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    events = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(
        epoll_ctl(events, EPOLL_CTL_ADD, comet_bus_fd(feed_bus), &event), 0);
}

int feed_was_notified(void)
{
    struct epoll_event event;

    return epoll_wait(events, &event, 1, 0);
}

int feed_setup(void **state)
{
    scratch_clear();
    apr_pool_create(&pool, NULL);
    snprintf(feed_database, sizeof(feed_database), "%s",
             scratch_path("comet.db"));
    feed_config = (comet_store_config_t){ .place = scratch_place(feed_database),
                                          .busy_timeout = 5 * SECOND };
    assert_int_equal(comet_bus_create(&feed_bus, pool), 0);
    listen_to_bus();
    feed_open_writer();
    memset(&feed, 0, sizeof(feed));
    comet_feed_init(&feed, &feed_config, feed_bus);
    feed_appended_count = 0;
    feed_now = 1000 * SECOND;
    return 0;
}

int feed_teardown(void **state)
{
    comet_feed_close(&feed);
    assert_null(feed.store);
    comet_ring_reset(&feed.ring, 0);
    feed_close_writer();
    close(events);
    close(comet_bus_fd(feed_bus));
    apr_pool_destroy(pool);
    return 0;
}

void feed_append(size_t count)
{
    static comet_message_t *messages[FEED_MANY];
    static apr_status_t results[FEED_MANY];
    size_t i;

    for (i = 0; i < count; i++) {
        messages[i] = comet_message_create(&(comet_message_fields_t){
            .channel = comet_text(i % 2 ? "odd" : "even"),
            .body = comet_text("x") });
    }
    assert_int_equal(scratch_append(feed_writer, messages, results, count), 0);
    for (i = 0; i < count; i++) {
        assert_int_equal(results[i], 0);
        feed_appended[feed_appended_count++] = messages[i]->timestamp;
        comet_message_unref(messages[i]);
    }
}

void feed_on_message(void *baton, comet_feed_t *from,
                     const comet_message_t *message, int continuous)
{
    assert_ptr_equal(baton, &feed_told);
    assert_ptr_equal(from, &feed);
    assert_int_equal(pthread_mutex_trylock(&feed_lock), EBUSY); /* the feed
                                                                 * holds the
                                                                 * lock */
    assert_true(feed_told.count < FEED_MANY);
    assert_int_equal(feed.ring.state.last, message->timestamp);
    feed_told.timestamps[feed_told.count++] = message->timestamp;
    feed_told.continuous += continuous != 0;
}

apr_status_t feed_look_status(int notified)
{
    apr_status_t status;

    feed_told.count = feed_told.continuous = 0;
    status = comet_feed_refresh(&feed, &feed_lock, notified, feed_now,
                                feed_on_message, &feed_told);
    assert_int_equal(feed.status, status);
    assert_int_equal(pthread_mutex_trylock(&feed_lock),
                     0); /* the feed has released the lock */
    pthread_mutex_unlock(&feed_lock);
    return status;
}

void feed_look(void)
{
    assert_int_equal(feed_look_status(1), APR_SUCCESS);
}

void feed_check_told(size_t count, int continuous)
{
    assert_int_equal(feed_told.count, count);
    assert_int_equal(feed_told.continuous, continuous ? count : 0);
    assert_memory_equal(feed_told.timestamps,
                        feed_appended + feed_appended_count - count,
                        count * sizeof(*feed_appended));
}

static int compare(void *baton, comet_message_t *message)
{
    size_t *i = baton;
    size_t at = (feed.ring.first + *i) % COMET_RING_MESSAGES;

    assert_true(*i < feed.ring.count);
    assert_int_equal(feed.ring.entries[at].timestamp, message->timestamp);
    assert_true(comet_text_equal(feed.ring.entries[at].message->channel,
                                 message->channel));
    comet_message_unref(message);
    ++*i;
    return 1;
}

void feed_check_ring(void)
{
    comet_store_state_t state;
    size_t count = 0;

    assert_int_equal(comet_store_state(feed_writer, &state), 0);
    assert_int_equal(feed.ring.state.last, state.last);
    assert_int_equal(feed.ring.state.erased, state.erased);
    assert_int_equal(comet_store_tail(feed_writer, feed.ring.from, FEED_MANY,
                                      compare, &count),
                     0);
    assert_int_equal(feed.ring.count, count);
}

void feed_run_outside(const char *sql)
{
    sqlite3 *db;
    char *error = NULL;

    assert_int_equal(sqlite3_open(feed_database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", sql, error);
    }
    sqlite3_close(db);
}
