/* SPDX-License-Identifier: Apache-2.0 */
/* Group commit: every publisher gets one answer, in time, and a true one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comet_writer.h"
#include "faulty_vfs.h"

#define THREADS 64
#define EACH 25
#define MS APR_INT64_C(1000)
#define SECOND APR_INT64_C(1000000)
#define LONG (60 * SECOND)

/** What children report, before they are killed. */
typedef struct board_t {
    atomic_int count;
    atomic_int stop;
    _Atomic apr_int64_t acknowledged[100000];
} board_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static board_t *board;
static comet_store_config_t store_config;
static comet_writer_config_t config;
static comet_writer_t *writer;
static char database[800];

/** What the writer has reported. */
static atomic_int reports;
static atomic_int last_report;

/* --- Helpers ---------------------------------------------------------- */

static void on_error(void *baton, apr_status_t status, const char *detail)
{
    atomic_store(&last_report, status);
    atomic_fetch_add(&reports, 1);
}

static void start(void)
{
    assert_int_equal(comet_writer_create(&writer, &config, pool), 0);
}

static void stop(void)
{
    assert_int_equal(comet_writer_stop(writer, 30 * SECOND), 1);
}

static int setup(void **state)
{
    scratch_clear();
    apr_pool_create(&pool, NULL);
    snprintf(database, sizeof(database), "%s", scratch_path("comet.db"));
    store_config = (comet_store_config_t){
        .path = database,
        .sync_full = 1,
        .busy_timeout = 2 * SECOND,
    };
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    config = (comet_writer_config_t){
        .store = &store_config,
        .bus = bus,
        .places = THREADS,
        .on_error = on_error,
    };
    atomic_store(&faulty_now, FAULTY_NOTHING);
    atomic_store(&reports, 0);
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return 0;
}

static int teardown(void **state)
{
    munmap(board, sizeof(*board));
    apr_pool_destroy(pool);
    return 0;
}

static comet_message_t *make(const char *channel)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text("x") });
}

static apr_status_t publish_one(comet_writer_t *by, comet_message_t *message,
                                apr_interval_time_t timeout)
{
    comet_store_group_t group = { .messages = &message, .count = 1 };

    return comet_writer_publish(by, &group, timeout);
}

static apr_status_t publish_at(const char *channel, apr_interval_time_t timeout,
                               comet_timestamp_t *timestamp)
{
    comet_message_t *message = make(channel);
    apr_status_t status = publish_one(writer, message, timeout);

    if (status == APR_SUCCESS) {
        assert_true(message->timestamp > 0);
        if (timestamp) {
            *timestamp = message->timestamp;
        }
    }
    comet_message_unref(message);
    return status;
}

static apr_status_t publish(apr_interval_time_t timeout)
{
    return publish_at("chat", timeout, NULL);
}

static sqlite3 *outsider(void)
{
    sqlite3 *db;

    assert_int_equal(
        sqlite3_open_v2(database, &db, SQLITE_OPEN_READWRITE, "unix"),
        SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

static void must_run(sqlite3 *db, const char *sql)
{
    char *error = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fail_msg("%s: %s", sql, error);
    }
}

static sqlite3_int64 number(const char *sql)
{
    sqlite3 *db = outsider();
    sqlite3_stmt *statement;
    sqlite3_int64 result;

    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), 0);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    result = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return result;
}

/** A publisher in a thread of its own. */
typedef struct publisher_t {
    pthread_t thread;
    apr_interval_time_t timeout;
    comet_message_t *message;
    atomic_int done;
    apr_status_t status;
} publisher_t;

static void *publish_once(void *baton)
{
    publisher_t *publisher = baton;

    publisher->status =
        publish_one(writer, publisher->message, publisher->timeout);
    atomic_store(&publisher->done, 1);
    return NULL;
}

static void begin(publisher_t *publisher, apr_interval_time_t timeout)
{
    publisher->timeout = timeout;
    publisher->message = make("chat");
    atomic_init(&publisher->done, 0);
    pthread_create(&publisher->thread, NULL, publish_once, publisher);
}

static apr_status_t finish(publisher_t *publisher)
{
    pthread_join(publisher->thread, NULL);
    if (publisher->status != COMET_EUNSURE) {
        assert_int_equal(atomic_load(&publisher->message->refs), 1);
        comet_message_unref(publisher->message);
    }
    return publisher->status;
}

/* --- As it should be -------------------------------------------------- */

static void test_one(void **state)
{
    struct epoll_event bell = { .events = EPOLLIN | EPOLLET };
    comet_timestamp_t first, second;
    int epoll = epoll_create1(0);

    epoll_ctl(epoll, EPOLL_CTL_ADD, comet_bus_fd(bus), &bell);
    start();
    assert_int_equal(publish_at("chat", LONG, &first), 0);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 1);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 0);
    assert_int_equal(publish_at("chat", LONG, &second), 0);
    assert_int_equal(epoll_wait(epoll, &bell, 1, 0), 1); /* rung before */
    close(epoll);
    assert_true(second > first);
    assert_int_equal(number("SELECT max(timestamp) FROM message"), second);
    assert_int_equal(publish_at("a/../b", LONG, NULL), COMET_EINVALID);
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
    assert_int_equal(atomic_load(&reports), 0);
}

static void *publish_each(void *baton)
{
    int i;

    for (i = 0; i < EACH; i++) {
        comet_timestamp_t timestamp = 0;
        apr_status_t status = publish_at("chat", LONG, &timestamp);

        if (status != APR_SUCCESS) {
            fprintf(stderr, "publish: %d\n", status);
            return baton;
        }
        atomic_store(&board->acknowledged[atomic_fetch_add(&board->count, 1)],
                     timestamp);
    }
    return NULL;
}

static int publish_by_many(void *baton)
{
    pthread_t threads[THREADS];
    void *failed = NULL;
    int i;

    start();
    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, publish_each, board);
    }
    for (i = 0; i < THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        failed = failed ? failed : result;
    }
    stop();
    return failed != NULL;
}

/* Each acknowledged timestamp is there, and no other. */
static void check_acknowledged(int exactly)
{
    sqlite3 *db = outsider();
    sqlite3_stmt *find;
    int count = atomic_load(&board->count);
    int i;

    sqlite3_prepare_v2(db, "SELECT 1 FROM message_log WHERE id = ?1", -1, &find,
                       NULL);
    for (i = 0; i < count; i++) {
        apr_int64_t id = atomic_load(&board->acknowledged[i]);

        if (id == 0 && !exactly) {
            continue; /* killed between counting and noting */
        }
        sqlite3_bind_int64(find, 1, id);
        if (sqlite3_step(find) != SQLITE_ROW) {
            fail_msg("lost: %lld", (long long)id);
        }
        sqlite3_reset(find);
    }
    sqlite3_finalize(find);
    sqlite3_close(db);
    if (exactly) {
        assert_int_equal(number("SELECT count(*) FROM message"), count);
    }
}

static int ascending(const void *a, const void *b)
{
    apr_int64_t x = *(const apr_int64_t *)a;
    apr_int64_t y = *(const apr_int64_t *)b;

    return x < y ? -1 : x > y;
}

static void check_unique(void)
{
    int count = atomic_load(&board->count);
    apr_int64_t *ids = malloc((size_t)count * sizeof(*ids));
    int i;

    for (i = 0; i < count; i++) {
        ids[i] = atomic_load(&board->acknowledged[i]);
    }
    qsort(ids, (size_t)count, sizeof(*ids), ascending);
    for (i = 1; i < count; i++) {
        assert_true(ids[i] > ids[i - 1]);
    }
    free(ids);
}

static void test_many_threads(void **state)
{
    assert_int_equal(publish_by_many(NULL), 0);
    assert_int_equal(atomic_load(&board->count), THREADS * EACH);
    check_unique();
    check_acknowledged(1);
}

/* Several wait for one place; nobody is forgotten. */
static void test_few_places(void **state)
{
    publisher_t publishers[8];
    int busy = 0;
    int i;

    config.places = 2;
    start();
    for (i = 0; i < 8; i++) {
        begin(&publishers[i], LONG);
    }
    for (i = 0; i < 8; i++) {
        apr_status_t status = finish(&publishers[i]);

        assert_true(status == APR_SUCCESS || status == COMET_EBUSY);
        busy += status == COMET_EBUSY;
    }
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"), 8 - busy);
}

static void test_two_processes(void **state)
{
    int pids[2];
    int i;

    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(publish_by_many, NULL);
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(atomic_load(&board->count), 2 * THREADS * EACH);
    check_unique();
    check_acknowledged(1);
}

static void *publish_until_stopped(void *baton)
{
    while (!atomic_load(&board->stop) && atomic_load(&board->count) < 90000) {
        comet_timestamp_t timestamp = 0;

        if (publish_at("chat", LONG, &timestamp) != APR_SUCCESS) {
            return baton;
        }
        atomic_store(&board->acknowledged[atomic_fetch_add(&board->count, 1)],
                     timestamp);
    }
    return NULL;
}

static int publish_for_ever(void *baton)
{
    pthread_t threads[8];
    void *failed = NULL;
    int i;

    start();
    for (i = 0; i < 8; i++) {
        pthread_create(&threads[i], NULL, publish_until_stopped, board);
    }
    for (i = 0; i < 8; i++) {
        void *result;

        pthread_join(threads[i], &result);
        failed = failed ? failed : result;
    }
    stop();
    return failed != NULL;
}

/* kill -9, wherever it hits: the other child goes on, nothing is lost. */
static void test_killed(void **state)
{
    int survivor = scratch_fork(publish_for_ever, NULL);
    int i;

    for (i = 0; i < 8; i++) {
        int before = atomic_load(&board->count);
        int victim = scratch_fork(publish_for_ever, NULL);

        wait_until(atomic_load(&board->count) > before + 300 + 37 * i);
        kill(victim, SIGKILL);
        assert_int_equal(scratch_reap(victim), -SIGKILL);
        before = atomic_load(&board->count);
        wait_until(atomic_load(&board->count) > before + 100);
    }
    atomic_store(&board->stop, 1);
    assert_int_equal(scratch_reap(survivor), 0);
    check_acknowledged(0);
}

/* Busy publishers do not starve another program. */
static void test_outsiders_get_in(void **state)
{
    int pids[2];
    apr_int64_t longest = 0;
    int i, before;

    for (i = 0; i < 2; i++) {
        pids[i] = scratch_fork(publish_for_ever, NULL);
    }
    wait_until(atomic_load(&board->count) > 100);
    for (i = 0; i < 15; i++) {
        apr_int64_t began = scratch_usec();
        sqlite3 *db = outsider();

        must_run(db, "INSERT INTO message(channel, body) VALUES('cli', 'x')");
        sqlite3_close(db);
        began = scratch_usec() - began;
        longest = began > longest ? began : longest;
        before = atomic_load(&board->count);
        wait_until(atomic_load(&board->count) > before + 20);
    }
    atomic_store(&board->stop, 1);
    for (i = 0; i < 2; i++) {
        assert_int_equal(scratch_reap(pids[i]), 0);
    }
    assert_int_equal(
        number("SELECT count(*) FROM message WHERE channel = 'cli'"), 15);
    assert_true(longest < 3 * SECOND); /* a loaded machine, a sanitizer */
}

/* --- Limits ----------------------------------------------------------- */

static void hang_disk(publisher_t *publisher, apr_interval_time_t timeout)
{
    assert_int_equal(publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_HANG);
    begin(publisher, timeout);
    wait_until(atomic_load(&faulty_hanging) == 1);
}

static apr_status_t publish_keyed(const char *body, apr_interval_time_t timeout,
                                  comet_timestamp_t *timestamp)
{
    comet_message_t *message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("chat"), .body = comet_text(body) });
    /* what the job needs of these it must have copied */
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

/* Who gave up waiting says it again, and learns what became of it. */
static void test_said_again(void **state)
{
    comet_timestamp_t first = 0, again = 0;

    start();
    assert_int_equal(publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_HANG);
    assert_int_equal(publish_keyed("x", SECOND / 5, &first), COMET_EUNSURE);
    assert_int_equal(atomic_load(&faulty_hanging), 1);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publish_keyed("x", LONG, &first), COMET_EREPEATED);
    assert_int_equal(publish_keyed("x", LONG, &again), COMET_EREPEATED);
    assert_int_equal(again, first);
    assert_int_equal(publish_keyed("y", LONG, &again), COMET_EMISMATCH);
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
    assert_int_equal(number("SELECT count(*) FROM idempotency_key"
                            " WHERE key = 'key' AND channel = 'chat'"),
                     1);
}

/* A writer with nothing to retain forgets keys, too. */
static void test_forgets_keys(void **state)
{
    comet_timestamp_t timestamp;
    sqlite3 *db;

    start();
    assert_int_equal(publish_keyed("x", LONG, &timestamp), 0);
    db = outsider();
    must_run(db, "UPDATE idempotency_key SET expires = 1");
    wait_until(number("SELECT count(*) FROM idempotency_key") == 0);
    sqlite3_close(db);
    stop();
}

static void test_places(void **state)
{
    publisher_t publishers[2];
    apr_int64_t began;

    config.places = 2;
    start();
    hang_disk(&publishers[0], LONG);
    begin(&publishers[1], LONG);
    /* both places are taken, or will be in an instant; unless the second
     * publisher came while the probe had its place, and was told to go */
    do {
        if (atomic_load(&publishers[1].done)) {
            assert_int_equal(finish(&publishers[1]), COMET_EBUSY);
            begin(&publishers[1], LONG);
        }
        began = scratch_usec();
    } while (publish(1) == COMET_ELOCKED);
    /* one waits for a place until the disk has been silent for 50 ms */
    assert_int_equal(publish(LONG), COMET_EBUSY);
    assert_int_equal(publish(LONG), COMET_EBUSY);
    assert_true(scratch_usec() - began < 20 * SECOND);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(finish(&publishers[0]), 0);
    assert_int_equal(finish(&publishers[1]), 0);
    assert_int_equal(publish(LONG), 0);
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"), 4);
}

/* Not its turn yet: for certain not stored. */
static void test_timeout_in_the_queue(void **state)
{
    publisher_t publisher;
    apr_int64_t began;

    start();
    hang_disk(&publisher, LONG);
    began = scratch_usec();
    assert_int_equal(publish(100 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 100 * MS);
    assert_int_equal(publish(0), COMET_ELOCKED);
    assert_int_equal(publish(-5), COMET_ELOCKED);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(finish(&publisher), 0);
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
}

/* Being saved already: nobody knows, though here it will be. */
static void test_timeout_in_flight(void **state)
{
    publisher_t publisher;

    start();
    hang_disk(&publisher, 20 * MS);
    assert_int_equal(finish(&publisher), COMET_EUNSURE);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publish(LONG), 0);
    stop();
    assert_int_equal(atomic_load(&publisher.message->refs), 1);
    comet_message_unref(publisher.message);
    assert_int_equal(number("SELECT count(*) FROM message"), 3);
    assert_int_equal(atomic_load(&reports), 0);
}

static void test_locked(void **state)
{
    sqlite3 *db;
    apr_int64_t began;

    store_config.busy_timeout = 50 * MS;
    start();
    assert_int_equal(publish(LONG), 0);
    db = outsider();
    must_run(db, "BEGIN IMMEDIATE");
    began = scratch_usec();
    assert_int_equal(publish(300 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 300 * MS);
    assert_true(scratch_usec() - began < 20 * SECOND);
    assert_int_equal(atomic_load(&reports), 1);
    assert_int_equal(atomic_load(&last_report), COMET_ELOCKED);
    must_run(db, "COMMIT");
    assert_int_equal(publish(LONG), 0);
    stop();
    assert_int_equal(atomic_load(&reports), 2);
    assert_int_equal(atomic_load(&last_report), APR_SUCCESS);
    sqlite3_close(db);
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
}

/* A lock that goes away in time is not noticed. */
static void test_locked_for_a_while(void **state)
{
    publisher_t publisher;
    sqlite3 *db;

    start();
    assert_int_equal(publish(LONG), 0);
    db = outsider();
    must_run(db, "BEGIN IMMEDIATE");
    begin(&publisher, LONG);
    assert_int_equal(publish(50 * MS), COMET_ELOCKED);
    assert_int_equal(atomic_load(&publisher.done), 0);
    must_run(db, "COMMIT");
    assert_int_equal(finish(&publisher), 0);
    assert_int_equal(atomic_load(&reports), 0);
    stop();
    sqlite3_close(db);
}

/* As long as another program keeps the file to itself it cannot be opened. */
static void test_locked_at_start(void **state)
{
    publisher_t publisher;
    sqlite3 *db;
    apr_int64_t began;

    start();
    stop();
    db = outsider();
    must_run(db, "PRAGMA locking_mode = EXCLUSIVE;"
                 "INSERT INTO message(channel, body) VALUES('chat', 'x')");
    start();
    begin(&publisher, LONG);
    began = scratch_usec();
    assert_int_equal(publish(300 * MS), COMET_ELOCKED);
    assert_true(scratch_usec() - began >= 300 * MS);
    assert_int_equal(atomic_load(&last_report), COMET_ELOCKED);
    sqlite3_close(db);
    assert_int_equal(finish(&publisher), 0);
    stop();
    assert_int_equal(atomic_load(&last_report), APR_SUCCESS);
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
}

/* --- Stopping --------------------------------------------------------- */

static void test_stop_while_locked(void **state)
{
    publisher_t publishers[3];
    sqlite3 *db;
    apr_int64_t began;
    int i;

    start();
    assert_int_equal(publish(LONG), 0);
    db = outsider();
    must_run(db, "BEGIN IMMEDIATE");
    for (i = 0; i < 3; i++) {
        begin(&publishers[i], LONG);
    }
    assert_int_equal(publish(50 * MS), COMET_ELOCKED);
    began = scratch_usec();
    stop();
    for (i = 0; i < 3; i++) {
        assert_int_equal(finish(&publishers[i]), COMET_ESTOPPING);
    }
    assert_true(scratch_usec() - began < 10 * SECOND);
    assert_int_equal(publish(LONG), COMET_ESTOPPING);
    stop(); /* again */
    must_run(db, "COMMIT");
    sqlite3_close(db);
    assert_int_equal(number("SELECT count(*) FROM message"), 1);
}

static void test_stop_while_hanging(void **state)
{
    publisher_t saved, queued;

    start();
    hang_disk(&saved, LONG);
    begin(&queued, LONG);
    assert_int_equal(comet_writer_stop(writer, 100 * MS), 0);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    stop();
    /* what was being saved is finished */
    assert_int_equal(finish(&saved), APR_SUCCESS);
    assert_int_equal(finish(&queued), COMET_ESTOPPING);
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
}

static void test_stop_while_idle(void **state)
{
    int i;

    for (i = 0; i < 20; i++) {
        start();
        stop();
    }
    store_config.path = "/nowhere/comet.db";
    start();
    stop();
}

static void stop_in_handler(int signal)
{
    comet_writer_stop(writer, 20 * SECOND);
}

static atomic_int signals;

static void count_signal(int signal)
{
    atomic_fetch_add(&signals, 1);
}

/* Signals of the process are httpd's, not the thread's. */
static void test_takes_no_signals(void **state)
{
    sigset_t set, pending;

    signal(SIGUSR2, count_signal);
    start();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    kill(getpid(), SIGUSR2);
    assert_int_equal(publish(LONG), 0);
    assert_int_equal(atomic_load(&signals), 0);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGUSR2));
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    assert_int_equal(atomic_load(&signals), 1);
    signal(SIGUSR2, SIG_DFL);
    stop();
}

/* As httpd's prefork does it. */
static void test_stop_in_a_signal_handler(void **state)
{
    publisher_t publisher;
    sqlite3 *db;

    start();
    assert_int_equal(publish(LONG), 0);
    db = outsider();
    must_run(db, "BEGIN IMMEDIATE");
    begin(&publisher, LONG);
    assert_int_equal(publish(50 * MS), COMET_ELOCKED);
    signal(SIGUSR1, stop_in_handler);
    pthread_kill(publisher.thread, SIGUSR1); /* it waits in publish */
    assert_int_equal(finish(&publisher), COMET_ESTOPPING);
    signal(SIGUSR1, SIG_DFL);
    stop();
    sqlite3_close(db);
}

/* --- Faults ----------------------------------------------------------- */

static void test_unusable_then_repaired(void **state)
{
    FILE *file = fopen(database, "w");
    apr_int64_t began;

    fputs("Dear diary,\n", file);
    fclose(file);
    start();
    wait_until(atomic_load(&reports) == 1);
    assert_int_equal(atomic_load(&last_report), COMET_ENOTDB);
    began = scratch_usec();
    assert_int_equal(publish(LONG), COMET_ENOTDB);
    assert_int_equal(publish(LONG), COMET_ENOTDB);
    assert_true(scratch_usec() - began < 20 * SECOND); /* at once */
    assert_int_equal(atomic_load(&reports), 1);
    unlink(database);
    wait_until(publish(LONG) == APR_SUCCESS);
    stop();
    assert_int_equal(atomic_load(&reports), 2);
    assert_int_equal(atomic_load(&last_report), APR_SUCCESS);
    assert_int_equal(number("SELECT count(*) FROM message"), 1);
}

static void test_moved(void **state)
{
    apr_status_t status;

    start();
    assert_int_equal(publish(LONG), 0);
    rename(database, scratch_path("saved.db"));
    status = publish(LONG); /* unless it has looked in this very instant */
    assert_true(status == COMET_EMOVED || status == APR_SUCCESS);
    assert_int_equal(publish(LONG), 0);
    stop();
    assert_int_equal(number("SELECT count(*) FROM message"),
                     status == APR_SUCCESS ? 2 : 1);
    snprintf(database, sizeof(database), "%s", scratch_path("saved.db"));
    assert_int_equal(number("SELECT count(*) FROM message"), 1);
    assert_int_equal(atomic_load(&reports), 2);
}

/* Nobody publishes, but readers need the file. */
static void test_moved_while_idle(void **state)
{
    start();
    assert_int_equal(publish(LONG), 0);
    rename(database, scratch_path("saved.db"));
    wait_until(access(database, F_OK) == 0);
    wait_until(atomic_load(&reports) == 2);
    assert_int_equal(atomic_load(&last_report), APR_SUCCESS);
    assert_int_equal(publish(LONG), 0);
    stop();
}

static void test_full(void **state)
{
    start();
    assert_int_equal(publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_FULL);
    assert_int_equal(publish(LONG), APR_ENOSPC);
    assert_int_equal(publish(LONG), APR_ENOSPC);
    assert_int_equal(atomic_load(&reports), 1);
    assert_int_equal(atomic_load(&last_report), APR_ENOSPC);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    assert_int_equal(publish(LONG), 0);
    stop();
    assert_int_equal(atomic_load(&reports), 2);
    assert_int_equal(number("SELECT count(*) FROM message"), 2);
}

static void test_sync_fails(void **state)
{
    start();
    assert_int_equal(publish(LONG), 0);
    atomic_store(&faulty_now, FAULTY_SYNC);
    assert_int_equal(publish(LONG), COMET_EUNSURE);
    atomic_store(&faulty_now, FAULTY_NOTHING);
    wait_until(publish(LONG) == APR_SUCCESS);
    stop();
    assert_int_equal(atomic_load(&last_report), APR_SUCCESS);
    assert_in_range(number("SELECT count(*) FROM message"), 2, 3);
}

/* --- Upkeep ----------------------------------------------------------- */

/* Nobody publishes here: another program does. */
static void test_retention(void **state)
{
    sqlite3 *db;

    store_config.retain_count = 10;
    start();
    assert_int_equal(publish(LONG), 0);
    db = outsider();
    must_run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                 " FROM n WHERE i < 3000) INSERT INTO message(channel, body)"
                 " SELECT 'chat', i FROM n");
    wait_until(number("SELECT count(*) FROM message") == 10);
    sqlite3_close(db);
    stop();
    assert_int_equal(number("SELECT erased FROM comet_clock"), 2991);
}

static void test_checkpoints(void **state)
{
    static char body[60001];
    comet_message_t *message;
    struct stat info;
    int i;

    memset(body, 'x', sizeof(body) - 1);
    message = comet_message_create(&(comet_message_fields_t){
        .channel = comet_text("chat"), .body = comet_text(body) });
    start();
    for (i = 0; i < 300; i++) {
        assert_int_equal(publish_one(writer, message, LONG), 0);
    }
    assert_int_equal(stat(scratch_path("comet.db-wal"), &info), 0);
    assert_true(info.st_size < 700 * 4200);
    stop();
    comet_message_unref(message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one),
        TEST(test_many_threads),
        TEST(test_few_places),
        TEST(test_two_processes),
        TEST(test_killed),
        TEST(test_outsiders_get_in),
        TEST(test_said_again),
        TEST(test_forgets_keys),
        TEST(test_places),
        TEST(test_timeout_in_the_queue),
        TEST(test_timeout_in_flight),
        TEST(test_locked),
        TEST(test_locked_for_a_while),
        TEST(test_locked_at_start),
        TEST(test_stop_while_locked),
        TEST(test_stop_while_hanging),
        TEST(test_stop_while_idle),
        TEST(test_takes_no_signals),
        TEST(test_stop_in_a_signal_handler),
        TEST(test_unusable_then_repaired),
        TEST(test_moved),
        TEST(test_moved_while_idle),
        TEST(test_full),
        TEST(test_sync_fails),
        TEST(test_retention),
        TEST(test_checkpoints),
    };
    int failed;

    apr_initialize();
    scratch_make();
    faulty_install();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
