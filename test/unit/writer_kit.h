/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file writer_kit.h
 * A writer to test with, on store_kit's store, and publishers.
 */
#ifndef WRITER_KIT_H
#define WRITER_KIT_H

#include "store_kit.h"

#include <pthread.h>
#include <stdatomic.h>

#include "store/writer.h"

#define WRITER_THREADS 64
#define LONG (60 * SECOND)

extern apr_pool_t *writer_pool;
extern comet_bus_t *writer_bus;
extern comet_writer_config_t writer_config; /* for writer_start() */
extern comet_writer_t *writer;

/** How many times the writer has reported, and the last status that it
 * reported. */
extern atomic_int writer_reports, writer_last_report;

/** A publisher in a thread of its own. */
typedef struct publisher_t {
    pthread_t thread;
    apr_interval_time_t timeout;
    comet_message_t *message;
    atomic_int done;
    apr_status_t status;
} publisher_t;

/** writer_begin() and writer_end() are called before and after all tests of a
 * program, the others before and after each test. */
int writer_begin(void **state);
int writer_end(void **state);
int writer_setup(void **state);
int writer_teardown(void **state);

#define WRITER_TEST(name) \
    cmocka_unit_test_setup_teardown(name, writer_setup, writer_teardown)

/** Start and stop the writer. */
void writer_start(void);
void writer_stop(void);

/** A message for publishing; the caller owns it. */
comet_message_t *writer_message(const char *channel);

/**
 * Publish a message through the given writer.
 * @return comet_writer_publish()'s status
 */
apr_status_t writer_publish_by(comet_writer_t *by, comet_message_t *message,
                               apr_interval_time_t timeout);

/** Publish one message. @param timestamp  may be NULL */
apr_status_t writer_publish_at(const char *channel, apr_interval_time_t timeout,
                               comet_timestamp_t *timestamp);

/** Publish one message to "chat". */
apr_status_t writer_publish(apr_interval_time_t timeout);

/** Publish one message to "chat" in a thread of its own. */
void publisher_begin(publisher_t *publisher, apr_interval_time_t timeout);

/**
 * Like publisher_begin(), but return when the publisher's commit hangs on the
 * disk (faulty_now is FAULTY_HANG).
 */
void publisher_hang(publisher_t *publisher, apr_interval_time_t timeout);

/** Wait for the publisher's thread.  @return the publisher's answer */
apr_status_t publisher_finish(publisher_t *publisher);

#endif /* WRITER_KIT_H */
