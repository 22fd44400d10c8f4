/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: every publisher gets its answer in time, wherever it waits. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <string.h>

#include "faulty_vfs.h"

static apr_status_t publish_keyed(const char *body, apr_interval_time_t timeout,
                                  comet_timestamp_t *timestamp)
{
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("chat"), .body = comet_text(body) });
    /* these strings are overwritten after the call, so the writer must have
     * copied them */
    char key[] = "key", channel[] = "chat";
    comet_store_group_t group = {
        .messages = &message,
        .count = 1,
        .key = { .text = comet_text(key), .channel = comet_text(channel) },
    };
    apr_status_t status;

    comet_store_hash(&group);
    status = comet_writer_publish(writer, &group, timeout);
    memset(key, 'x', sizeof(key));
    memset(channel, 'x', sizeof(channel));
    if (status == APR_SUCCESS || status == COMET_EREPEATED) {
        *timestamp = message->timestamp;
        assert_true(*timestamp > 0);
    }
    comet_message_unref(message);
    return status;
}

/* A publisher that gave up repeats its message, and learns whether it was
 * stored. */
static void test_said_again(void **state)
{
    comet_timestamp_t first = 0, again = 0;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_HANG);
    assert_int_equal(publish_keyed("x", SECOND / 5, &first), COMET_EUNSURE);
    assert_int_equal(atomic_load(&faulty_hanging), 1);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publish_keyed("x", LONG, &first), COMET_EREPEATED);
    assert_int_equal(publish_keyed("x", LONG, &again), COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish_keyed("y", LONG, &again), COMET_EMISMATCH);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
    assert_int_equal(kit_number("SELECT count(*) FROM idempotency_key"
                                " WHERE key = 'key' AND channel = 'chat'"),
                     1);
}

/* A writer removes old keys even without retention. */
static void test_forgets_keys(void **state)
{
    comet_timestamp_t timestamp;
    sqlite3 *db;

    writer_start();
    assert_int_equal(publish_keyed("x", LONG, &timestamp), 0);
    db = kit_outsider();
    kit_must_run(db, "UPDATE idempotency_key SET expires = 1");
    wait_until(kit_number("SELECT count(*) FROM idempotency_key") == 0);
    sqlite3_close(db);
    writer_stop();
}

static void test_places(void **state)
{
    publisher_t publishers[2];
    apr_int64_t began;

    writer_config.places = 2;
    writer_start();
    publisher_hang(&publishers[0], LONG);
    publisher_begin(&publishers[1], LONG);
    /* wait until both places are taken.  If the second publisher was refused
     * because the probe below had the place, it tries again */
    do {
        if (atomic_load(&publishers[1].done)) {
            assert_int_equal(publisher_finish(&publishers[1]), COMET_EBUSY);
            publisher_begin(&publishers[1], LONG);
        }
        began = scratch_usec();
    } while (writer_publish(1) == COMET_ELOCKED);
    /* a publisher waits for a place only until the disk has been silent for 50
     * ms */
    assert_int_equal(writer_publish(LONG), COMET_EBUSY);
    assert_int_equal(writer_publish(LONG), COMET_EBUSY);
    assert_true(scratch_usec() - began < 20 * SECOND);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publisher_finish(&publishers[0]), 0);
    assert_int_equal(publisher_finish(&publishers[1]), 0);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 4);
}

/* If a publisher's time is up while its message is still in the queue, the
 * message is certainly not stored. */
static void test_timeout_in_the_queue(void **state)
{
    publisher_t publisher;
    apr_int64_t began;

    writer_start();
    publisher_hang(&publisher, LONG);
    began = scratch_usec();
    assert_int_equal(writer_publish(100 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 100 * MS);
    assert_int_equal(writer_publish(0), COMET_ELOCKED);
    assert_int_equal(writer_publish(-5), COMET_ELOCKED);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publisher_finish(&publisher), 0);
    writer_stop();
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
}

/* If a publisher's time is up while its message is being saved, the publisher
 * does not learn the result.  Here the message is stored. */
static void test_timeout_in_flight(void **state)
{
    publisher_t publisher;

    writer_start();
    /* long enough for the writer to take the message on a busy machine */
    publisher_hang(&publisher, 500 * MS);
    assert_int_equal(publisher_finish(&publisher), COMET_EUNSURE);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(atomic_load(&publisher.message->refs), 1);
    comet_message_unref(publisher.message);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 3);
    assert_int_equal(atomic_load(&writer_reports), 0);
}

static void test_locked(void **state)
{
    sqlite3 *db;
    apr_int64_t began;

    kit_config.busy_timeout = 50 * MS;
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    began = scratch_usec();
    assert_int_equal(writer_publish(300 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 300 * MS);
    assert_true(scratch_usec() - began < 20 * SECOND);
    assert_int_equal(atomic_load(&writer_reports), 1);
    assert_int_equal(atomic_load(&writer_last_report), COMET_ELOCKED);
    kit_must_run(db, "COMMIT");
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(atomic_load(&writer_reports), 2);
    assert_int_equal(atomic_load(&writer_last_report), APR_SUCCESS);
    sqlite3_close(db);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
}

/* A lock that is released in time is not reported. */
static void test_locked_for_a_while(void **state)
{
    publisher_t publisher;
    sqlite3 *db;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    publisher_begin(&publisher, LONG);
    assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    assert_int_equal(atomic_load(&publisher.done), 0);
    kit_must_run(db, "COMMIT");
    assert_int_equal(publisher_finish(&publisher), 0);
    assert_int_equal(atomic_load(&writer_reports), 0);
    writer_stop();
    sqlite3_close(db);
}

/* While another program locks the whole file, the writer cannot open it. */
static void test_locked_at_start(void **state)
{
    publisher_t publisher;
    sqlite3 *db;
    apr_int64_t began;

    writer_start();
    writer_stop();
    db = kit_outsider();
    kit_must_run(db, "PRAGMA locking_mode = EXCLUSIVE;"
                     "INSERT INTO message(channel, body) VALUES('chat', 'x')");
    writer_start();
    publisher_begin(&publisher, LONG);
    began = scratch_usec();
    assert_int_equal(writer_publish(300 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 300 * MS);
    assert_int_equal(atomic_load(&writer_last_report), COMET_ELOCKED);
    sqlite3_close(db);
    assert_int_equal(publisher_finish(&publisher), 0);
    writer_stop();
    assert_int_equal(atomic_load(&writer_last_report), APR_SUCCESS);
    assert_int_equal(kit_number("SELECT count(*) FROM message"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_said_again),
        WRITER_TEST(test_forgets_keys),
        WRITER_TEST(test_places),
        WRITER_TEST(test_timeout_in_the_queue),
        WRITER_TEST(test_timeout_in_flight),
        WRITER_TEST(test_locked),
        WRITER_TEST(test_locked_for_a_while),
        WRITER_TEST(test_locked_at_start),
    };

    return cmocka_run_group_tests(tests, writer_begin, writer_end);
}
