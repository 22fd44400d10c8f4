/* SPDX-License-Identifier: Apache-2.0 */
/* The feed: whatever happens to the log, the ring agrees with the log. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "hub/feed.h"
#include "shared/memory.h"

#define MANY 4096

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_store_config_t config;
static char database[800];
static comet_feed_t feed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static comet_store_t *writer;
static int events; /* an epoll that gets its notifications */
static apr_time_t now; /* the test's own clock */

/** The messages appended so far, oldest first. */
static comet_timestamp_t appended[MANY];
static size_t appended_count;

/** What the feed announced during the last look. */
static struct {
    size_t count;
    size_t continuous; /* of these */
    comet_timestamp_t timestamps[MANY];
} told;

/* --- Helpers ------------------------------------------------------------- */

static void open_writer(void)
{
    assert_int_equal(
        comet_store_open(&writer, &config, COMET_STORE_WRITE, NULL), 0);
}

static void close_writer(void)
{
    comet_store_close(writer);
    writer = NULL;
}

static void listen_to_bus(void)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    events = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(
        epoll_ctl(events, EPOLL_CTL_ADD, comet_bus_fd(bus), &event), 0);
}

static int was_notified(void)
{
    struct epoll_event event;

    return epoll_wait(events, &event, 1, 0);
}

static int setup(void **state)
{
    scratch_clear();
    apr_pool_create(&pool, NULL);
    snprintf(database, sizeof(database), "%s", scratch_path("comet.db"));
    config = (comet_store_config_t){ .place = scratch_place(database),
                                     .busy_timeout = 5 * SECOND };
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    listen_to_bus();
    open_writer();
    memset(&feed, 0, sizeof(feed));
    comet_feed_init(&feed, &config, bus);
    appended_count = 0;
    now = 1000 * SECOND;
    return 0;
}

static int teardown(void **state)
{
    comet_feed_close(&feed);
    assert_null(feed.store);
    comet_ring_reset(&feed.ring, 0);
    close_writer();
    close(events);
    close(comet_bus_fd(bus));
    apr_pool_destroy(pool);
    return 0;
}

/* Append messages in one transaction, alternating between two channels. */
static void append(size_t count)
{
    static comet_message_t *messages[MANY];
    static apr_status_t results[MANY];
    size_t i;

    for (i = 0; i < count; i++) {
        messages[i] = comet_message_create(&(comet_message_fields_t){
            .channel = comet_text(i % 2 ? "odd" : "even"),
            .body = comet_text("x") });
    }
    assert_int_equal(scratch_append(writer, messages, results, count), 0);
    for (i = 0; i < count; i++) {
        assert_int_equal(results[i], 0);
        appended[appended_count++] = messages[i]->timestamp;
        comet_message_unref(messages[i]);
    }
}

static void on_message(void *baton, comet_feed_t *from,
                       const comet_message_t *message, int continuous)
{
    assert_ptr_equal(baton, &told);
    assert_ptr_equal(from, &feed);
    assert_int_equal(pthread_mutex_trylock(&lock), EBUSY); /* it is held */
    assert_true(told.count < MANY);
    assert_int_equal(feed.ring.state.last, message->timestamp);
    told.timestamps[told.count++] = message->timestamp;
    told.continuous += continuous != 0;
}

static apr_status_t look_status(int notified)
{
    apr_status_t status;

    told.count = told.continuous = 0;
    status = comet_feed_refresh(&feed, &lock, notified, now, on_message, &told);
    assert_int_equal(feed.status, status);
    assert_int_equal(pthread_mutex_trylock(&lock), 0); /* it was given back */
    pthread_mutex_unlock(&lock);
    return status;
}

static void look(void)
{
    assert_int_equal(look_status(1), APR_SUCCESS);
}

/* Check that exactly the messages appended last were announced. */
static void check_told(size_t count, int continuous)
{
    assert_int_equal(told.count, count);
    assert_int_equal(told.continuous, continuous ? count : 0);
    assert_memory_equal(told.timestamps, appended + appended_count - count,
                        count * sizeof(*appended));
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

/* The ring holds exactly the messages of the log after ring.from, and is in
 * step. */
static void check_ring(void)
{
    comet_store_state_t state;
    size_t count = 0;

    assert_int_equal(comet_store_state(writer, &state), 0);
    assert_int_equal(feed.ring.state.last, state.last);
    assert_int_equal(feed.ring.state.erased, state.erased);
    assert_int_equal(
        comet_store_tail(writer, feed.ring.from, MANY, compare, &count), 0);
    assert_int_equal(feed.ring.count, count);
}

static void must_run(const char *sql)
{
    sqlite3 *db;
    char *error = NULL;

    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", sql, error);
    }
    sqlite3_close(db);
}

/* --- The first look ------------------------------------------------------ */

static void test_before_the_first_look(void **state)
{
    append(3);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 0);
    assert_int_equal(comet_ring_covers(&feed.ring, appended[2]), 0);
    assert_true(comet_feed_due(&feed) <= now);
}

static void test_first_look_at_nothing(void **state)
{
    look();
    check_told(0, 0);
    check_ring();
    assert_int_equal(feed.ring.state.last, 0);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
}

static void test_first_look(void **state)
{
    append(10);
    look();
    check_told(10, 0);
    check_ring();
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
    look();
    check_told(0, 0);
}

/* Only the end of a long log is read. */
static void test_first_look_at_many(void **state)
{
    append(1500);
    look();
    check_told(COMET_RING_MESSAGES, 0);
    check_ring();
    assert_int_equal(feed.ring.count, COMET_RING_MESSAGES);
    assert_int_equal(feed.ring.from, appended[1500 - 1025]);
}

/* No writer has made the file yet. */
static void test_no_file(void **state)
{
    close_writer();
    scratch_clear();
    assert_int_equal(look_status(1), APR_ENOENT);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(look_status(1), APR_ENOENT);
    open_writer();
    append(2);
    look();
    check_told(2, 0);
    check_ring();
}

/* --- News ---------------------------------------------------------------- */

static void test_increments(void **state)
{
    int i;

    look();
    for (i = 1; i <= 50; i++) {
        append((size_t)(i % 4));
        look();
        check_told((size_t)(i % 4), 1);
        check_ring();
    }
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
}

/* However many messages come at once, all are announced, in order. */
static void test_many_at_once(void **state)
{
    static const size_t counts[] = {
        255, 256, 257, 512, 300, 1024, 1025, 1700
    };
    size_t i;

    for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        comet_store_t *store = writer;

        look();
        appended_count = 0;
        append(counts[i]);
        look();
        check_told(counts[i], 1);
        check_ring();
        assert_ptr_equal(store, writer);
    }
}

static void test_large_messages(void **state)
{
    static char body[COMET_BODY_MAX_BYTES];
    size_t i;

    memset(body, 'x', sizeof(body));
    look();
    for (i = 0; i < 12; i++) {
        comet_message_t *message = comet_message_create(
            &(comet_message_fields_t){ .channel = comet_text("even"),
                                       .body = { body, sizeof(body) } });
        apr_status_t result;

        assert_int_equal(scratch_append(writer, &message, &result, 1), 0);
        appended[appended_count++] = message->timestamp;
        comet_message_unref(message);
    }
    append(3);
    look();
    check_told(15, 1);
    check_ring();
    assert_in_range(feed.ring.count, 8, 11); /* room for all but 3 */
}

/* --- What was removed ---------------------------------------------------- */

static void test_erased(void **state)
{
    append(20);
    look();
    must_run("DELETE FROM message WHERE timestamp IN (SELECT timestamp FROM"
             " message ORDER BY timestamp LIMIT 5 OFFSET 10)");
    look();
    check_told(0, 0);
    check_ring();
    assert_int_equal(feed.ring.count, 15);
    assert_int_equal(feed.ring.state.erased, 5);
    append(2);
    look();
    check_told(2, 1);
    check_ring();
}

/* Messages were erased and added between two looks: every new one is
 * announced. */
static void test_erased_and_new(void **state)
{
    append(20);
    look();
    must_run("DELETE FROM message WHERE channel = 'odd'");
    append(7);
    look();
    check_told(7, 1);
    check_ring();
    must_run("DELETE FROM message WHERE timestamp ="
             " (SELECT max(timestamp) FROM message)");
    append(1500);
    look();
    check_told(1500, 1);
    check_ring();
    assert_int_equal(feed.ring.count, COMET_RING_MESSAGES);
}

/* A worker that joins at any moment. */
static atomic_int watching;

static void *watch_ring(void *nothing)
{
    while (atomic_load(&watching)) {
        comet_timestamp_t last;

        pthread_mutex_lock(&lock);
        last = feed.ring.state.last;
        pthread_mutex_unlock(&lock);
        if (last >= 0 && last < appended[appended_count - 1]) {
            return &watching;
        }
    }
    return NULL;
}

/* The ring is refilled in many batches.  A subscriber that joins meanwhile, and
 * has not seen everything, is not told that there is nothing. */
static void test_erased_while_somebody_joins(void **state)
{
    pthread_t thread;
    void *fault;
    int i;

    append(COMET_RING_MESSAGES + 100);
    look();
    atomic_store(&watching, 1);
    assert_int_equal(pthread_create(&thread, NULL, watch_ring, NULL), 0);
    for (i = 0; i < 50; i++) {
        must_run("DELETE FROM message WHERE timestamp ="
                 " (SELECT min(timestamp) FROM message)");
        assert_int_equal(
            comet_feed_refresh(&feed, &lock, 1, now, on_message, &told), 0);
    }
    atomic_store(&watching, 0);
    pthread_join(thread, &fault);
    check_ring();
    assert_null(fault);
}

static void test_all_erased(void **state)
{
    append(20);
    look();
    must_run("DELETE FROM message");
    look();
    check_told(0, 0);
    check_ring();
    assert_int_equal(feed.ring.count, 0);
    assert_int_equal(feed.ring.state.last, appended[19]);
    assert_int_equal(comet_ring_covers(&feed.ring, 0), 1);
    append(1);
    look();
    check_told(1, 1);
    check_ring();
}

/* --- Faults -------------------------------------------------------------- */

/* Another file at the path is noticed now and then, not at every look. */
static void test_replaced(void **state)
{
    append(10);
    look();
    close_writer();
    rename(database, scratch_path("old.db"));
    open_writer();
    appended_count = 0;
    append(4);
    assert_true(comet_feed_due(&feed) > now);
    assert_true(comet_feed_due(&feed) <= now + SECOND);
    now = comet_feed_due(&feed);
    look();
    check_told(4, 0);
    check_ring();
    assert_int_equal(feed.ring.count, 4);
    append(1);
    look();
    check_told(1, 1);
}

/* Do what SQLite's .restore does: copy a database into the same file. */
static void restore(const char *copy)
{
    sqlite3 *from, *to;
    sqlite3_backup *backup;

    assert_int_equal(sqlite3_open(copy, &from), SQLITE_OK);
    assert_int_equal(sqlite3_open(database, &to), SQLITE_OK);
    backup = sqlite3_backup_init(to, "main", from, "main");
    assert_non_null(backup);
    assert_int_equal(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    assert_int_equal(sqlite3_backup_finish(backup), SQLITE_OK);
    sqlite3_close(from);
    sqlite3_close(to);
}

/* An older copy is restored in place, and gets newer messages before the next
 * look.  Messages that the copy lacks are gone from the ring. */
static void test_restored(void **state)
{
    const char *copy = scratch_path("copy.db");
    char sql[300];

    append(5);
    look();
    snprintf(sql, sizeof(sql), "VACUUM INTO '%s'", copy);
    must_run(sql);
    append(3);
    look();
    check_told(3, 1);
    restore(copy);
    appended_count -= 3;
    append(2);
    look();
    check_told(2, 1);
    check_ring();
    assert_int_equal(feed.ring.count, 7);
    assert_int_equal(feed.erased_until, appended[6]);
    append(1);
    look();
    check_told(1, 1);
    check_ring();
}

static void test_deleted(void **state)
{
    append(10);
    look();
    close_writer();
    scratch_clear();
    now = comet_feed_due(&feed);
    assert_int_equal(look_status(0), APR_ENOENT);
    assert_int_equal(feed.ring.state.last, -1);
    assert_int_equal(feed.ring.count, 0);
    assert_int_equal(comet_ring_covers(&feed.ring, appended[9]), 0);
    open_writer();
    appended_count = 0;
    append(2);
    look(); /* at every look, because it is not open */
    check_told(2, 0);
    check_ring();
}

/* A store fails; when it works again, it is another file. */
static void test_replaced_while_failing(void **state)
{
    append(10);
    look();
    must_run("DROP TABLE comet_clock");
    assert_int_equal(look_status(1), APR_EGENERAL);
    assert_null(feed.store);
    close_writer();
    scratch_clear();
    open_writer();
    appended_count = 0;
    append(4);
    look();
    check_told(4, 0);
    check_ring();
    assert_int_equal(feed.ring.count, 4);
}

static void test_not_a_database(void **state)
{
    FILE *file;

    close_writer();
    scratch_clear();
    file = fopen(database, "w");
    fputs("Dear diary, this is not a database at all.\n", file);
    fclose(file);
    assert_int_equal(look_status(1), COMET_ENOTDB);
    assert_null(feed.store);
    assert_int_equal(feed.ring.state.last, -1);
    assert_true(comet_feed_due(&feed) > now); /* there is no busy loop */
    unlink(database);
    open_writer();
    append(1);
    look();
    check_told(1, 0);
}

/* Another program locks the whole file before the feed opens it. */
typedef struct board_t {
    atomic_int locked;
    atomic_int go;
} board_t;

static int hold_it_all(void *baton)
{
    board_t *board = baton;
    sqlite3 *db;

    if (sqlite3_open(database, &db) != SQLITE_OK
        || sqlite3_exec(db,
                        "PRAGMA locking_mode = EXCLUSIVE;"
                        "INSERT INTO message(channel, body)"
                        " VALUES('even', 'x')",
                        NULL, NULL, NULL)
               != SQLITE_OK) {
        return 1;
    }
    atomic_store(&board->locked, 1);
    while (!atomic_load(&board->go)) {
        usleep(500);
    }
    return sqlite3_close(db);
}

static void test_locked(void **state)
{
    board_t *board = scratch_shared(sizeof(*board));
    int64_t began;
    int pid;

    append(3);
    close_writer();
    pid = scratch_fork(hold_it_all, board);
    wait_until(atomic_load(&board->locked));
    began = scratch_usec();
    assert_int_equal(look_status(1), COMET_ELOCKED);
    /* opening gives up soon */
    assert_true(scratch_usec() - began < 10 * SECOND);
    assert_int_equal(feed.ring.state.last, -1);
    atomic_store(&board->go, 1);
    assert_int_equal(scratch_reap(pid), 0);
    comet_memory_unmap(board, sizeof(*board));
    open_writer();
    look();
    assert_int_equal(told.count, 4);
    check_ring();
}

/* A writer's lock does not affect readers. */
static void test_locked_for_writing(void **state)
{
    append(2);
    look();
    append(3);
    assert_int_equal(comet_store_reserve(writer, SECOND), 0);
    look();
    check_told(3, 1);
    append(1); /* ends it */
    look();
    check_told(1, 1);
}

/* --- The office of the watcher ------------------------------------------- */

static void test_notifies_others(void **state)
{
    append(1);
    look_status(0);
    was_notified();
    append(1);
    look_status(0);
    assert_int_equal(was_notified(), 0); /* this feed does not watch */
    assert_int_equal(comet_bus_claim_watch(bus), 1);
    feed.watch = comet_watch_open(&config.place, now);
    assert_non_null(feed.watch);
    assert_true(comet_feed_due(&feed) <= now);
    append(1);
    look_status(1);
    check_told(1, 1);
    assert_int_equal(was_notified(), 0); /* the others know already */
    look_status(0);
    assert_int_equal(was_notified(), 0); /* nothing is new */
    append(1);
    look_status(0);
    check_told(1, 1);
    assert_int_equal(was_notified(), 1);
    must_run("DELETE FROM message WHERE channel = 'even'");
    look_status(0);
    assert_int_equal(was_notified(), 1); /* a removal is a change, too */
    comet_feed_close(&feed);
    /* the watching role is free */
    assert_int_equal(comet_bus_claim_watch(bus), 1);
    comet_bus_release_watch(bus);
}

static apr_time_t watch_due;

static apr_time_t due_of(const comet_watch_t *watch)
{
    return watch_due;
}

/* Looks without a notification, and those that the watch asks for in
 * between. */
static void test_due(void **state)
{
    static const comet_watch_engine_t engine = { .due = due_of };
    static comet_watch_t watch = { &engine };
    apr_time_t due;

    look();
    due = comet_feed_due(&feed);
    assert_in_range(due - now, 1, SECOND);
    now += 1000;
    look();
    /* A notification does not postpone the next look. */
    assert_int_equal(comet_feed_due(&feed), due);
    feed.watch = &watch;
    watch_due = now + 500;
    assert_int_equal(comet_feed_due(&feed), now + 500);
    watch_due = due + 1;
    assert_int_equal(comet_feed_due(&feed), due);
    feed.watch = NULL;
    now = due;
    look();
    assert_in_range(comet_feed_due(&feed) - now, 1, SECOND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_before_the_first_look),
        TEST(test_first_look_at_nothing),
        TEST(test_first_look),
        TEST(test_first_look_at_many),
        TEST(test_no_file),
        TEST(test_increments),
        TEST(test_many_at_once),
        TEST(test_large_messages),
        TEST(test_erased),
        TEST(test_erased_and_new),
        TEST(test_erased_while_somebody_joins),
        TEST(test_all_erased),
        TEST(test_replaced),
        TEST(test_restored),
        TEST(test_deleted),
        TEST(test_replaced_while_failing),
        TEST(test_not_a_database),
        TEST(test_locked),
        TEST(test_locked_for_writing),
        TEST(test_notifies_others),
        TEST(test_due),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
