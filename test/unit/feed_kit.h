/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file feed_kit.h
 * A feed, a writer of the log that the feed follows, and what the feed has
 * announced.
 */
#ifndef FEED_KIT_H
#define FEED_KIT_H

#include "scratch.h"

#include <pthread.h>

#include "hub/feed.h"

#define FEED_MANY 4096

/** What the feed announced during the last look. */
typedef struct feed_told_t {
    size_t count;
    size_t continuous; /* how many were announced as continuous */
    comet_timestamp_t timestamps[FEED_MANY];
} feed_told_t;

extern comet_feed_t feed;
extern pthread_mutex_t feed_lock; /* the lock of the feed's ring */
extern comet_store_config_t feed_config;
extern char feed_database[800]; /* the path of the log's file */
extern comet_bus_t *feed_bus;
extern comet_store_t *feed_writer;
extern apr_time_t feed_now; /* the test's own clock */
extern feed_told_t feed_told;

/** The messages appended so far, oldest first. */
extern comet_timestamp_t feed_appended[FEED_MANY];
extern size_t feed_appended_count;

/** Called before and after all tests of a program. */
int feed_begin(void **state);
int feed_end(void **state);
/** Called before and after each test. */
int feed_setup(void **state);
int feed_teardown(void **state);

#define FEED_TEST(name) \
    cmocka_unit_test_setup_teardown(name, feed_setup, feed_teardown)

void feed_open_writer(void);
void feed_close_writer(void);
/** Append messages in one transaction, alternating between two channels. */
void feed_append(size_t count);
/** Run SQL on the database as another program. */
void feed_run_outside(const char *sql);

/** Let the feed read what is new.
 * @param notified  whether another child has notified the bus */
apr_status_t feed_look_status(int notified);
/** Call feed_look_status(1), which must succeed. */
void feed_look(void);
/** What comet_feed_refresh() calls for each message.
 * @param baton  &feed_told */
void feed_on_message(void *baton, comet_feed_t *from,
                     const comet_message_t *message, int continuous);

/** Check that exactly the last `count` appended messages were announced. */
void feed_check_told(size_t count, int continuous);
/** Check that the ring is in step: it holds exactly the log's messages after
 * ring.from. */
void feed_check_ring(void);
/** Whether the bus was notified since the last call. */
int feed_was_notified(void);

#endif /* FEED_KIT_H */
