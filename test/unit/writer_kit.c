/* SPDX-License-Identifier: Apache-2.0 */
/* A writer to test with, and publishers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <apr_general.h>

#include "faulty_vfs.h"

apr_pool_t *writer_pool;
comet_bus_t *writer_bus;
comet_writer_config_t writer_config;
comet_writer_t *writer;
atomic_int writer_reports;
atomic_int writer_last_report;

static void on_error(void *baton, apr_status_t status, const char *detail)
{
    atomic_store(&writer_last_report, status);
    atomic_fetch_add(&writer_reports, 1);
}

void writer_start(void)
{
    assert_int_equal(comet_writer_create(&writer, &writer_config, writer_pool),
                     0);
}

void writer_stop(void)
{
    assert_int_equal(comet_writer_stop(writer, 30 * SECOND), 1);
}

int writer_setup(void **state)
{
    kit_setup(state);
    kit_config.busy_timeout = 2 * SECOND;
    apr_pool_create(&writer_pool, NULL);
    assert_int_equal(comet_bus_create(&writer_bus, writer_pool), 0);
    writer_config = (comet_writer_config_t){
        .store = &kit_config,
        .bus = writer_bus,
        .places = WRITER_THREADS,
        .on_error = on_error,
    };
    atomic_store(&writer_reports, 0);
    return 0;
}

int writer_teardown(void **state)
{
    apr_pool_destroy(writer_pool);
    return kit_teardown(state);
}

comet_message_t *writer_message(const char *channel)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text("x") });
}

apr_status_t writer_publish_by(comet_writer_t *by, comet_message_t *message,
                               apr_interval_time_t timeout)
{
    comet_store_group_t group = { .messages = &message, .count = 1 };

    return comet_writer_publish(by, &group, timeout);
}

apr_status_t writer_publish_at(const char *channel, apr_interval_time_t timeout,
                               comet_timestamp_t *timestamp)
{
    comet_message_t *message = writer_message(channel);
    apr_status_t status = writer_publish_by(writer, message, timeout);

    if (status == APR_SUCCESS) {
        assert_true(message->timestamp > 0);
        if (timestamp) {
            *timestamp = message->timestamp;
        }
    }
    comet_message_unref(message);
    return status;
}

apr_status_t writer_publish(apr_interval_time_t timeout)
{
    return writer_publish_at("chat", timeout, NULL);
}

static void *publish_once(void *baton)
{
    publisher_t *publisher = baton;

    publisher->status =
        writer_publish_by(writer, publisher->message, publisher->timeout);
    atomic_store(&publisher->done, 1);
    return NULL;
}

void publisher_begin(publisher_t *publisher, apr_interval_time_t timeout)
{
    publisher->timeout = timeout;
    publisher->message = writer_message("chat");
    atomic_init(&publisher->done, 0);
    pthread_create(&publisher->thread, NULL, publish_once, publisher);
}

void publisher_hang(publisher_t *publisher, apr_interval_time_t timeout)
{
    assert_int_equal(writer_publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_HANG);
    publisher_begin(publisher, timeout);
    wait_until(atomic_load(&faulty_hanging) == 1);
}

apr_status_t publisher_finish(publisher_t *publisher)
{
    pthread_join(publisher->thread, NULL);
    if (publisher->status != COMET_EUNSURE) {
        assert_int_equal(atomic_load(&publisher->message->refs), 1);
        comet_message_unref(publisher->message);
    }
    return publisher->status;
}

int writer_begin(void **state)
{
    apr_initialize();
    scratch_make();
    faulty_install();
    return 0;
}

int writer_end(void **state)
{
    apr_terminate();
    return 0;
}
