/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: publishers that do not wait are called back once, and their
 * messages are stored once, or certainly not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "writer_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faulty_vfs.h"

#define GROUPS 1000 /* how many submitted groups may wait */
#define MEGABYTE ((size_t)1 << 20)

/* A submitted message. */
typedef struct submitted_t {
    comet_writer_job_t *job; /* NULL: it was refused */
    atomic_int calls; /* how often the writer has called back */
} submitted_t;

static atomic_int rounds; /* how often on_answered was called */

static void count_call(void *baton)
{
    atomic_fetch_add(&((submitted_t *)baton)->calls, 1);
}

static void count_round(void *baton)
{
    atomic_fetch_add(&rounds, 1);
}

/* Submit a message without letting the writer begin, and release everything of
 * it that the caller owns. */
static int submit_later(submitted_t *one, const char *body, size_t length)
{
    char *copy = malloc(length + 1);
    char channel[] = "chat";
    comet_message_t *message;
    comet_store_group_t group = { .messages = &message, .count = 1 };

    memcpy(copy, body, length);
    message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = { copy, length } });
    group.key.channel = comet_text(channel);
    atomic_init(&one->calls, 0);
    one->job = comet_writer_submit(writer, &group, count_call, one);
    memset(channel, 'x', sizeof(channel));
    memset(copy, 'x', length);
    free(copy);
    comet_message_unref(message);
    return one->job != NULL;
}

static int submit_body(submitted_t *one, const char *body, size_t length)
{
    int submitted = submit_later(one, body, length);

    comet_writer_begin(writer);
    return submitted;
}

static int submit(submitted_t *one)
{
    return submit_body(one, "x", 1);
}

static int is_answered(const submitted_t *one, int expected)
{
    int stored = -1, answered = comet_writer_is_answered(one->job, &stored);

    assert_int_equal(stored, answered ? expected : 0);
    return answered;
}

static apr_status_t finish(submitted_t *one, apr_interval_time_t timeout)
{
    comet_timestamp_t timestamp = 0;
    apr_status_t status =
        comet_writer_finish(writer, one->job, timeout, &timestamp);

    assert_int_equal(timestamp > 0,
                     status == APR_SUCCESS || status == COMET_EREPEATED);
    return status;
}

/* Submit a message whose commit hangs on the disk. */
static void submit_hanging(submitted_t *one)
{
    assert_int_equal(writer_publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_HANG);
    assert_true(submit(one));
    wait_until(atomic_load(&faulty_hanging) == 1);
}

static int count_rows(void)
{
    return (int)kit_number("SELECT count(*) FROM message");
}

static void test_stored(void **state)
{
    submitted_t many[20];
    int i;

    writer_start();
    for (i = 0; i < 20; i++) {
        char body[12];

        snprintf(body, sizeof(body), "%d", i);
        assert_true(submit_body(&many[i], body, strlen(body)));
    }
    for (i = 0; i < 20; i++) {
        wait_until(is_answered(&many[i], 1));
        assert_int_equal(finish(&many[i], 0), APR_SUCCESS);
        assert_int_equal(atomic_load(&many[i].calls), 1);
    }
    writer_stop();
    assert_int_equal(count_rows(), 20);
    assert_int_equal(kit_number("SELECT count(*) FROM message a, message b"
                                " WHERE a.timestamp < b.timestamp"
                                " AND CAST(a.body AS INT)"
                                " > CAST(b.body AS INT)"),
                     0);
    for (i = 0; i < 20; i++) {
        assert_int_equal(atomic_load(&many[i].calls), 1);
    }
}

/* All messages that are submitted before the writer begins share a commit, and
 * on_answered is called once for them. */
static void test_one_round(void **state)
{
    submitted_t hanging, many[20];
    int i;

    atomic_store(&rounds, 0);
    writer_config.on_answered = count_round;
    writer_start();
    submit_hanging(&hanging);
    for (i = 0; i < 20; i++) {
        assert_true(submit(&many[i]));
    }
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(finish(&hanging, LONG), APR_SUCCESS);
    for (i = 0; i < 20; i++) {
        assert_int_equal(finish(&many[i], LONG), APR_SUCCESS);
    }
    writer_stop();
    /* finish() may have come before the callback */
    assert_in_range(atomic_load(&rounds), 0, 2);
    assert_int_equal(count_rows(), 22);
}

/* Nobody waits for the callback: the outcome is asked for at once. */
static void test_finish_waits(void **state)
{
    submitted_t one;
    sqlite3 *db;

    writer_start();
    assert_true(submit(&one));
    assert_int_equal(finish(&one, LONG), APR_SUCCESS);
    db = kit_outsider();
    kit_must_run(db, "BEGIN IMMEDIATE");
    assert_true(submit(&one));
    assert_int_equal(is_answered(&one, 0), 0);
    /* the lock is still held: the job is taken back */
    assert_int_equal(finish(&one, 50 * MS), COMET_ELOCKED);
    assert_true(submit(&one));
    kit_must_run(db, "COMMIT");
    assert_int_equal(finish(&one, LONG), APR_SUCCESS);
    sqlite3_close(db);
    writer_stop();
    assert_int_equal(count_rows(), 2);
    assert_true(atomic_load(&one.calls) <= 1);
}

static void test_most_groups(void **state)
{
    submitted_t *many = calloc(GROUPS, sizeof(*many)), hanging, more;
    int i;

    writer_start();
    submit_hanging(&hanging);
    for (i = 0; i < GROUPS - 1; i++) {
        assert_true(submit(&many[i]));
    }
    assert_false(submit(&more));
    /* one that is taken back makes room for another one */
    assert_int_equal(finish(&many[0], 0), COMET_ELOCKED);
    assert_true(submit(&many[0]));
    comet_writer_abandon(writer, many[0].job);
    assert_true(submit(&many[0]));
    assert_false(submit(&more));
    /* the places of those who wait are others */
    assert_int_equal(writer_publish(50 * MS), COMET_ELOCKED);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    for (i = 0; i < GROUPS - 1; i++) {
        assert_int_equal(finish(&many[i], LONG), APR_SUCCESS);
    }
    assert_int_equal(finish(&hanging, LONG), APR_SUCCESS);
    for (i = 0; i < GROUPS; i++) { /* all of the room is free again */
        assert_true(submit(&many[i]));
    }
    for (i = 0; i < GROUPS; i++) {
        assert_int_equal(finish(&many[i], LONG), APR_SUCCESS);
    }
    writer_stop();
    assert_int_equal(count_rows(), 2 * GROUPS + 1);
    free(many);
}

static void test_most_bytes(void **state)
{
    submitted_t many[7], hanging, more;
    char *body = calloc(1, MEGABYTE + 1);
    int i;

    memset(body, 'y', MEGABYTE);
    writer_start();
    submit_hanging(&hanging); /* its byte counts */
    for (i = 0; i < 7; i++) {
        assert_true(submit_body(&many[i], body, MEGABYTE));
    }
    assert_false(submit_body(&more, body, MEGABYTE));
    assert_true(submit_body(&more, body, MEGABYTE - 1));
    assert_int_equal(finish(&more, 0), COMET_ELOCKED);
    assert_true(submit_body(&more, body, MEGABYTE - 1));
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(finish(&more, LONG), APR_SUCCESS);
    assert_int_equal(finish(&hanging, LONG), APR_SUCCESS);
    for (i = 0; i < 7; i++) {
        assert_int_equal(finish(&many[i], LONG), APR_SUCCESS);
    }
    writer_stop();
    assert_int_equal(count_rows(), 10);
    free(body);
}

/* The time is up during the commit: the outcome is unknown, and nobody is
 * called back.  Here the message is stored. */
static void test_finish_in_flight(void **state)
{
    submitted_t one;

    writer_start();
    submit_hanging(&one);
    assert_int_equal(finish(&one, 50 * MS), COMET_EUNSURE);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(atomic_load(&one.calls), 0);
    assert_int_equal(count_rows(), 3);
}

static void test_abandon(void **state)
{
    submitted_t flying, queued, answered;

    writer_start();
    assert_true(submit(&answered));
    wait_until(is_answered(&answered, 1));
    comet_writer_abandon(writer, answered.job);
    submit_hanging(&flying);
    assert_true(submit(&queued));
    comet_writer_abandon(writer, queued.job);
    comet_writer_abandon(writer, flying.job);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(writer_publish(LONG), 0);
    writer_stop();
    assert_int_equal(atomic_load(&answered.calls), 1);
    assert_int_equal(atomic_load(&queued.calls), 0);
    assert_int_equal(atomic_load(&flying.calls), 0);
    assert_int_equal(count_rows(), 4); /* all but the queued one */
}

static void test_mute(void **state)
{
    submitted_t flying, queued, late;

    writer_start();
    submit_hanging(&flying);
    assert_true(submit(&queued));
    comet_writer_mute(writer, flying.job);
    comet_writer_mute(writer, queued.job);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(finish(&queued, LONG), APR_SUCCESS);
    wait_until(is_answered(&flying, 1));
    comet_writer_mute(writer, flying.job); /* too late, and harmless */
    assert_int_equal(finish(&flying, 0), APR_SUCCESS);
    assert_true(submit(&late));
    wait_until(is_answered(&late, 1));
    comet_writer_mute(writer, late.job);
    comet_writer_abandon(writer, late.job);
    writer_stop();
    assert_int_equal(atomic_load(&flying.calls), 0);
    assert_int_equal(atomic_load(&queued.calls), 0);
    assert_int_equal(count_rows(), 4);
}

/* The store refuses a message, and stores the other one of the commit. */
static void test_refused(void **state)
{
    submitted_t good, bad;
    sqlite3 *db;

    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    db = kit_outsider();
    kit_must_run(db, "CREATE TRIGGER rule BEFORE INSERT ON message_log"
                     " WHEN NEW.body = 'bad' BEGIN"
                     " SELECT RAISE(ABORT, 'not this one'); END");
    sqlite3_close(db);
    assert_true(submit_body(&good, "good", 4));
    assert_true(submit_body(&bad, "bad", 3));
    wait_until(is_answered(&bad, 0));
    wait_until(is_answered(&good, 1));
    assert_int_equal(finish(&bad, 0), COMET_EINVALID);
    assert_int_equal(finish(&good, 0), APR_SUCCESS);
    writer_stop();
    assert_int_equal(count_rows(), 2);
    assert_int_equal(atomic_load(&bad.calls), 1);
}

/* A writer that stops calls back those whose messages it does not store. */
static void test_stop(void **state)
{
    submitted_t flying, queued[3], late;
    int i;

    writer_start();
    submit_hanging(&flying);
    for (i = 0; i < 3; i++) {
        assert_true(submit(&queued[i]));
    }
    assert_int_equal(comet_writer_stop(writer, 50 * MS), 0);
    assert_false(submit(&late));
    atomic_store(&faulty_now, FAULTY_NOTHING);
    writer_stop();
    for (i = 0; i < 3; i++) {
        assert_true(is_answered(&queued[i], 0));
        assert_int_equal(atomic_load(&queued[i].calls), 1);
    }
    assert_int_equal(finish(&queued[0], LONG), COMET_ESTOPPING);
    assert_int_equal(finish(&queued[1], 0), COMET_ESTOPPING);
    comet_writer_abandon(writer, queued[2].job);
    assert_int_equal(finish(&flying, 0), APR_SUCCESS);
    assert_false(submit(&late));
    assert_int_equal(count_rows(), 2);
}

/* Nobody may wait any more, although the disk does not answer. */
static void test_dismiss(void **state)
{
    submitted_t flying, queued, late;

    writer_start();
    submit_hanging(&flying);
    assert_true(submit(&queued));
    comet_writer_dismiss(writer);
    assert_false(submit(&late));
    assert_int_equal(finish(&flying, LONG), COMET_EUNSURE);
    assert_int_equal(finish(&queued, LONG), COMET_ESTOPPING);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    writer_stop();
    assert_int_equal(count_rows(), 2);
}

/* --- all at once ---------------------------------------------------------- */

#define RACERS 4
#define TURNS 300

static atomic_int known, unknown; /* messages that are stored; that may be */

static void count_outcome(apr_status_t status)
{
    atomic_fetch_add(&known, status == APR_SUCCESS);
    atomic_fetch_add(&unknown, status == COMET_EUNSURE);
    assert_true(status == APR_SUCCESS || status == COMET_EUNSURE
                || status == COMET_ELOCKED);
}

/* Submit messages, and leave each one at another moment. */
static void *race(void *baton)
{
    unsigned seed = (unsigned)(uintptr_t)baton;
    int turn, i;

    for (turn = 0; turn < TURNS; turn++) {
        submitted_t one;
        unsigned kind = (unsigned)rand_r(&seed) % 6;

        assert_true(submit(&one));
        for (i = rand_r(&seed) % 2000; i > 0; i--) {
            atomic_load(&one.calls);
        }
        if (kind % 2) {
            comet_writer_mute(writer, one.job);
        }
        if (kind < 2) {
            comet_writer_abandon(writer, one.job);
            atomic_fetch_add(&unknown, 1);
        }
        else {
            count_outcome(finish(&one, kind < 4 ? 0 : LONG));
        }
        assert_true(atomic_load(&one.calls) <= 1);
    }
    return NULL;
}

static void test_race(void **state)
{
    pthread_t racers[RACERS];
    uintptr_t i;
    int rows;

    atomic_store(&known, 0);
    atomic_store(&unknown, 0);
    writer_start();
    assert_int_equal(writer_publish(LONG), 0);
    for (i = 0; i < RACERS; i++) {
        pthread_create(&racers[i], NULL, race, (void *)i);
    }
    for (i = 0; i < RACERS; i++) {
        pthread_join(racers[i], NULL);
    }
    writer_stop();
    rows = count_rows() - 1;
    assert_true(rows >= atomic_load(&known));
    assert_true(rows <= atomic_load(&known) + atomic_load(&unknown));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_stored),       WRITER_TEST(test_one_round),
        WRITER_TEST(test_finish_waits), WRITER_TEST(test_most_groups),
        WRITER_TEST(test_most_bytes),   WRITER_TEST(test_finish_in_flight),
        WRITER_TEST(test_abandon),      WRITER_TEST(test_mute),
        WRITER_TEST(test_refused),      WRITER_TEST(test_stop),
        WRITER_TEST(test_dismiss),      WRITER_TEST(test_race),
    };

    return cmocka_run_group_tests(tests, writer_begin, writer_end);
}
