/* SPDX-License-Identifier: Apache-2.0 */
/* Faults in the threads that serve and write, and a lack of descriptors.  Every
 * client gets every message once, and every publisher gets a true answer. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "faults.h"

#include <apr_general.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/hub.h"
#include "store/writer.h"

#define LONG_AGO 1 /* a cursor before all messages */

/** A simulated client.  While it is joined, the hub's thread owns it. */
typedef struct client_t {
    comet_subscriber_t subscriber; /* first member: serve() takes its address */
    comet_timestamp_t cursor;
    atomic_int count; /* how many messages it got */
    atomic_int served;
    atomic_int wrong; /* set if a message came twice or out of order */
} client_t;

static apr_pool_t *pool;
static comet_bus_t *bus;
static comet_hub_t *hub;
static sqlite3 *outside;
static client_t client;
static comet_selection_t *reads;
static long live_before;

/* --- Around each test ------------------------------------------------- */

static int setup(void **state)
{
    kit_setup(state);
    kit_config.sync_full = 0;
    apr_pool_create(&pool, NULL);
    assert_int_equal(comet_bus_create(&bus, pool), 0);
    comet_store_close(kit_open_store(COMET_STORE_WRITE));
    outside = kit_outsider();
    live_before = faults_live();
    return 0;
}

static int teardown(void **state)
{
    sqlite3_close(outside);
    close(comet_bus_fd(bus));
    apr_pool_destroy(pool);
    kit_assert_healthy();
    return kit_teardown(state);
}

static apr_status_t start_hub(void)
{
    const comet_store_config_t *stores[] = { &kit_config };
    comet_bus_t *buses[] = { bus };

    return comet_hub_create(
        &hub,
        &(comet_hub_config_t){ .stores = stores, .buses = buses, .count = 1 },
        pool);
}

/* Whether the hub has seen the whole log. */
static int in_step(void)
{
    comet_store_state_t state = {
        .last = kit_number_in(outside, "SELECT last FROM comet_clock"),
        .erased = kit_number_in(outside, "SELECT erased FROM comet_clock")
    };
    comet_batch_t none = { .count = 0 };
    comet_reading_t reading = { .selection = reads, .batch = &none };

    return comet_hub_recall(hub, 0, &state, state.last, 0, &reading);
}

static void stop_hub(void)
{
    faults_must(comet_hub_stop(hub, 30 * SECOND));
    comet_hub_free(hub);
    hub = NULL;
}

/* Wait for a condition for at most `usec`.  @return whether it came true */
#define happens(usec, condition) \
    ({ \
        int64_t happens_end = scratch_usec() + (usec); \
        while (!(condition) && scratch_usec() < happens_end) { \
            nanosleep(&(struct timespec){ 0, MS * 200 }, NULL); \
        } \
        (condition); \
    })

static void get_in_step(void)
{
    comet_bus_notify(bus);
    faults_must(happens(20 * SECOND, in_step()));
}

/* --- The client ------------------------------------------------------- */

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    client_t *served = (client_t *)subscriber;
    apr_size_t i;

    for (i = 0; i < delivery->batch->count; i++) {
        comet_timestamp_t timestamp = delivery->batch->messages[i]->timestamp;

        if (timestamp <= served->cursor) {
            atomic_fetch_add(&served->wrong, 1);
        }
        served->cursor = timestamp;
        atomic_fetch_add(&served->count, 1);
    }
    atomic_fetch_add(&served->served, 1);
    subscriber->blocked_fd = -1;
    return COMET_WAIT;
}

static void make_client(comet_timestamp_t seen)
{
    memset(&client, 0, sizeof(client));
    client.subscriber.serve = serve;
    client.subscriber.seen = client.cursor = seen;
    client.subscriber.limit = COMET_LIMIT_MAX;
    client.subscriber.blocked_fd = -1;
}

static apr_status_t join(void)
{
    return comet_hub_join(hub, &client.subscriber, 0, reads);
}

static void leave(void)
{
    comet_hub_leave(hub, &client.subscriber);
    faults_must(comet_hub_members(hub, NULL) == 0);
    faults_must(atomic_load(&client.wrong) == 0);
}

static sqlite3_int64 last(void)
{
    return kit_number_in(outside, "SELECT last FROM comet_clock");
}

/* --- Joining ---------------------------------------------------------- */

static void prepare_to_join(void)
{
    make_client(last());
}

static void check_members(apr_status_t status)
{
    faults_must(comet_hub_members(hub, NULL) == (status == APR_SUCCESS));
    if (status != APR_SUCCESS) { /* otherwise the hub owns the client */
        faults_must(client.subscriber.state == COMET_SUBSCRIBER_OUT);
    }
}

static apr_status_t join_clock(void)
{
    static apr_interval_time_t period = SECOND;

    return comet_hub_join_clock(hub, &client.subscriber, period++);
}

static void test_join(void **state)
{
    reads = scratch_choose("a b c/d e room/* x/*");
    assert_int_equal(start_hub(), 0);
    faults_run(&(faults_scenario_t){
        .name = "join",
        .kinds = FAULTS_MEMORY,
        .prepare = prepare_to_join,
        .act = join,
        .check = check_members,
        .finish = leave,
        .concurrent = 1,
    });
    faults_run(&(faults_scenario_t){
        .name = "join the clock",
        .kinds = FAULTS_MEMORY,
        .prepare = prepare_to_join,
        .act = join_clock,
        .check = check_members,
        .finish = leave,
        .concurrent = 1,
    });
    stop_hub();
    comet_selection_unref(reads);
    assert_int_equal(faults_live(), live_before);
}

/* --- Being served ----------------------------------------------------- */

static int published;

static void publish(void)
{
    faults_spare(1);
    kit_must_run(outside,
                 "INSERT INTO message(channel, body) VALUES('a', 'x')");
    published++;
    faults_spare(0);
    comet_bus_notify(bus);
}

/* Publish a message, and wait until the client gets it.  While a fault can
 * occur, wait only briefly: the message might come later. */
static apr_status_t serve_news(void)
{
    publish();
    return happens(faults_are_armed() ? 30 * MS : 20 * SECOND,
                   atomic_load(&client.count) == published)
               ? APR_SUCCESS
               : APR_EGENERAL;
}

static void prepare_to_wait(void)
{
    published = 0;
    get_in_step();
    make_client(last());
    faults_must(join() == APR_SUCCESS);
}

static void test_news(void **state)
{
    reads = scratch_choose("a b");
    assert_int_equal(start_hub(), 0);
    faults_run(&(faults_scenario_t){
        .name = "news",
        .kinds = FAULTS_ALL,
        .prepare = prepare_to_wait,
        .act = serve_news,
        .finish = leave,
        .concurrent = 1,
        .most = 12,
    });
    stop_hub();
    comet_selection_unref(reads);
    assert_int_equal(faults_live(), live_before);
}

#define HISTORY 1100 /* more than the ring can hold */

static apr_status_t catch_up(void)
{
    if (comet_hub_members(hub, NULL) == 0) {
        make_client(LONG_AGO);
        if (join() != APR_SUCCESS) {
            return APR_ENOMEM;
        }
    }
    return happens(faults_are_armed() ? 50 * MS : 20 * SECOND,
                   atomic_load(&client.count) == HISTORY)
               ? APR_SUCCESS
               : APR_EGENERAL;
}

static void test_catch_up(void **state)
{
    char sql[200];

    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
             " SELECT i + 1 FROM n LIMIT %d)"
             " INSERT INTO message(channel, body) SELECT 'a', i FROM n",
             HISTORY);
    kit_must_run(outside, sql);
    reads = scratch_choose("a b");
    make_client(LONG_AGO);
    assert_int_equal(start_hub(), 0);
    faults_run(&(faults_scenario_t){
        .name = "catch up",
        .kinds = FAULTS_ALL,
        .prepare = get_in_step,
        .act = catch_up,
        .finish = leave,
        .concurrent = 1,
        .most = 1,
    });
    stop_hub();
    comet_selection_unref(reads);
    assert_int_equal(faults_live(), live_before);
}

/* --- A full socket -------------------------------------------------------- */

static int sockets[2];

static void prepare_to_block(void)
{
    faults_must(start_hub() == APR_SUCCESS);
    get_in_step();
    make_client(last());
    client.subscriber.blocked_fd = sockets[0];
}

/* Join a client whose socket soon becomes writable; nothing else wakes it. */
static apr_status_t join_blocked(void)
{
    apr_status_t status = join();

    faults_disarm();
    if (status == APR_SUCCESS) {
        faults_must(happens(20 * SECOND, atomic_load(&client.served)));
    }
    return status;
}

static void stop_blocked(void)
{
    leave();
    stop_hub();
}

static void test_blocked(void **state)
{
    reads = scratch_choose("a");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    faults_run(&(faults_scenario_t){
        .name = "a blocked client",
        .kinds = FAULTS_MEMORY,
        .prepare = prepare_to_block,
        .act = join_blocked,
        .finish = stop_blocked,
        .concurrent = 1,
        .most = 6,
    });
    close(sockets[0]);
    close(sockets[1]);
    comet_selection_unref(reads);
    assert_int_equal(faults_live(), live_before);
}

/* --- Publishing ------------------------------------------------------- */

static comet_writer_t *writer;
static sqlite3_int64 stored_before;
static comet_message_t *message;

static sqlite3_int64 stored(void)
{
    return kit_number_in(outside, "SELECT count(*) FROM message_log");
}

static apr_status_t publish_once(void)
{
    comet_store_group_t group = { .messages = &message, .count = 1 };

    faults_spare(1);
    comet_message_unref(message);
    message = kit_make("a", "text");
    stored_before = stored();
    faults_spare(0);
    return comet_writer_publish(writer, &group, 2 * SECOND);
}

/* Publish.  If no fault can occur, try again until it succeeds. */
static apr_status_t publish_to_writer(void)
{
    int64_t end = scratch_usec() + 20 * SECOND;
    apr_status_t status;

    if (faults_are_armed()) {
        return publish_once();
    }
    do {
        status = publish_once();
        faults_must(status == APR_SUCCESS || stored() == stored_before);
    } while (status != APR_SUCCESS && scratch_usec() < end);
    return status;
}

static void check_answer(apr_status_t status)
{
    sqlite3_int64 more = stored() - stored_before;

    if (status == APR_SUCCESS) {
        faults_must(more == 1 && message->timestamp == last());
    }
    else if (status == COMET_EUNSURE) {
        faults_must(more == 0 || more == 1);
    }
    else {
        faults_must(more == 0);
    }
}

static void test_writer(void **state)
{
    comet_writer_config_t config = { .store = &kit_config,
                                     .bus = bus,
                                     .places = 4 };

    kit_config.busy_timeout = 2 * SECOND;
    assert_int_equal(comet_writer_create(&writer, &config, pool), 0);
    assert_int_equal(publish_to_writer(), APR_SUCCESS); /* opens the store */
    faults_run(&(faults_scenario_t){
        .name = "publish",
        .kinds = FAULTS_ALL,
        .act = publish_to_writer,
        .check = check_answer,
        .concurrent = 1,
        .most = 5,
    });
    assert_true(comet_writer_stop(writer, 30 * SECOND));
    comet_message_unref(message);
    message = NULL;
    assert_int_equal(faults_live(), live_before);
}

/* --- Descriptors ------------------------------------------------------ */

static int count_descriptors(void)
{
    DIR *list = opendir("/proc/self/fd");
    int count = 0;

    while (list && readdir(list)) {
        count++;
    }
    closedir(list);
    return count;
}

static apr_status_t try_hub(void)
{
    apr_status_t status = start_hub();

    faults_must((status == APR_SUCCESS) == (hub != NULL));
    if (status == APR_SUCCESS) {
        stop_hub();
    }
    return status;
}

static apr_status_t try_bus(void)
{
    comet_bus_t *made;
    apr_status_t status = comet_bus_create(&made, pool);

    if (status == APR_SUCCESS) {
        close(comet_bus_fd(made));
    }
    return status;
}

static apr_status_t try_writer(void)
{
    comet_writer_config_t config = { .store = &kit_config,
                                     .bus = bus,
                                     .places = 1 };
    apr_pool_t *sub;
    apr_status_t status;

    apr_pool_create(&sub, pool);
    status = comet_writer_create(&writer, &config, sub);
    if (status == APR_SUCCESS) {
        faults_must(comet_writer_stop(writer, 30 * SECOND));
    }
    apr_pool_destroy(sub);
    return status;
}

static apr_status_t try_store(void)
{
    comet_store_t *store;
    apr_status_t status =
        comet_store_open(&store, &kit_config, COMET_STORE_WRITE, NULL);

    if (status == APR_SUCCESS) {
        status = kit_append(store, "a", "x", NULL);
    }
    comet_store_close(store);
    return status;
}

/* Try an action with no descriptor left, with one, with two … until it
 * succeeds.
 * @return how many descriptors it needed */
static int spend_descriptors(apr_status_t (*act)(void))
{
    struct rlimit before, few;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC), left;
    int open_before = count_descriptors();
    apr_status_t status = APR_EGENERAL;

    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    for (left = 0; status != APR_SUCCESS; left++) {
        faults_must(left < 20);
        few.rlim_cur = (rlim_t)(lowest + 1 + left);
        faults_must(setrlimit(RLIMIT_NOFILE, &few) == 0);
        status = act();
        setrlimit(RLIMIT_NOFILE, &before);
        faults_must(count_descriptors() == open_before);
    }
    close(lowest);
    return left - 1;
}

static void test_descriptors(void **state)
{
    assert_true(spend_descriptors(try_bus) >= 1);
    assert_true(spend_descriptors(try_hub) >= 2);
    /* a writer needs a descriptor only when it opens its store */
    assert_int_equal(spend_descriptors(try_writer), 0);
    sqlite3_close(outside); /* otherwise SQLite would keep descriptors for this
                             * connection */
    assert_true(spend_descriptors(try_store) >= 1);
    outside = kit_outsider();
    assert_int_equal(faults_live(), live_before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_join, setup, teardown),
        cmocka_unit_test_setup_teardown(test_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_catch_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
    };
    int failed;

    faults_install();
    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
