/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine interface, tried with a toy engine.  The toy keeps its log in
 * memory and has no search, no tally and no watch.  The parts above the store
 * (writer, readers, feed) work with it unchanged.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <apr_general.h>
#include <apr_strings.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub/feed.h"
#include "store/engines.h"
#include "store/readers.h"
#include "store/writer.h"

#define ROOM 256

/* --- The toy ---------------------------------------------------------------- */

/** The toy's log, shared by all connections. */
static struct {
    pthread_mutex_t lock;
    int made; /* [lock] whether a writer has opened it */
    comet_store_state_t state; /* [lock] */
    size_t count; /* [lock] */
    comet_message_t *messages[ROOM]; /* [lock] in order of their timestamps */
} toy = { .lock = PTHREAD_MUTEX_INITIALIZER };

static atomic_int toy_open; /* how many connections are open */

static const char *toy_parse(comet_place_t *place, const char *text,
                             const char *root, apr_pool_t *p)
{
    if (strchr(text, '/')) {
        return "memory:NAME without a slash";
    }
    place->name = place->key = place->own = apr_pstrdup(p, text);
    return NULL;
}

static const char *toy_locate(comet_place_t *place, apr_pool_t *p)
{
    return NULL;
}

static const char *toy_version(void)
{
    return "memory 1";
}

static const char *toy_cannot_search(void)
{
    return "memory has no index";
}

static const comet_engine_t toy_engine;

static apr_status_t toy_open_store(comet_store_t **store,
                                   const comet_store_config_t *config,
                                   comet_store_mode_e mode,
                                   const atomic_int *stopping)
{
    int made;

    pthread_mutex_lock(&toy.lock);
    toy.made |= mode == COMET_STORE_WRITE;
    made = toy.made;
    pthread_mutex_unlock(&toy.lock);
    *store = made ? calloc(1, sizeof(**store)) : NULL;
    if (!*store) {
        return APR_ENOENT;
    }
    (*store)->engine = &toy_engine;
    atomic_fetch_add(&toy_open, 1);
    return APR_SUCCESS;
}

static void toy_close(comet_store_t *store)
{
    atomic_fetch_sub(&toy_open, 1);
    free(store);
}

static const char *toy_error(const comet_store_t *store)
{
    return store ? "memory is well" : "memory was not made yet";
}

static int toy_is_usable(comet_store_t *store, apr_interval_time_t within)
{
    return 1;
}

static void toy_limit(comet_store_t *store, const comet_budget_t *budget)
{
}

static apr_status_t toy_state(comet_store_t *store, comet_store_state_t *state)
{
    pthread_mutex_lock(&toy.lock);
    *state = toy.state;
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

/* The toy has no snapshots and needs none: its log only grows. */
static void toy_end(comet_store_t *store)
{
}

static int toy_matches(const comet_selection_t *selection, size_t i)
{
    return comet_selection_match(selection, toy.messages[i]->channel,
                                 toy.messages[i]->channel_hash)
           != COMET_SELECTION_NONE;
}

/* @param forwards  whether to return the first `limit` messages between the
 *                  bounds; 0: the last */
static apr_status_t toy_range(const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              size_t limit, int forwards,
                              comet_store_cb *callback, void *baton)
{
    comet_message_t *found[ROOM];
    size_t count = 0, first, i;

    pthread_mutex_lock(&toy.lock);
    for (i = 0; i < toy.count; i++) {
        if (toy.messages[i]->timestamp > after
            && toy.messages[i]->timestamp < before
            && toy_matches(selection, i)) {
            found[count++] = toy.messages[i];
        }
    }
    pthread_mutex_unlock(&toy.lock);
    first = forwards || count < limit ? 0 : count - limit;
    count = count - first < limit ? count : first + limit;
    for (i = first; i < count; i++) {
        if (!callback(baton, comet_message_ref(found[i]))) {
            break;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t toy_read(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_timestamp_t after, apr_size_t limit,
                             comet_store_cb *callback, void *baton)
{
    return toy_range(selection, after, COMET_TIMESTAMP_MAX, limit, 1, callback,
                     baton);
}

static apr_status_t toy_page(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_timestamp_t after, comet_timestamp_t before,
                             apr_size_t limit, comet_store_cb *callback,
                             void *baton)
{
    return toy_range(selection, after, before, limit, 0, callback, baton);
}

static apr_status_t toy_replay(comet_store_t *store,
                               const comet_selection_t *selection,
                               apr_int64_t count, comet_timestamp_t *cursor,
                               int *any)
{
    size_t i;

    *cursor = 0;
    *any = 0;
    pthread_mutex_lock(&toy.lock);
    for (i = toy.count; i-- > 0 && !*cursor;) {
        if (toy_matches(selection, i)) {
            *any = 1;
            if (count-- <= 0) {
                *cursor = toy.messages[i]->timestamp;
            }
        }
    }
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

static apr_status_t toy_floor(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t *floor)
{
    *floor = 0;
    return APR_SUCCESS;
}

/* The toy lists one channel, and compares only the first byte of its name. */
static apr_status_t toy_channels(comet_store_t *store, comet_text_t prefix,
                                 apr_size_t limit,
                                 comet_store_channel_cb *callback, void *baton)
{
    pthread_mutex_lock(&toy.lock);
    if (toy.count && limit
        && toy.messages[0]->channel.data[0] == prefix.data[0]) {
        callback(baton, toy.messages[0]->channel);
    }
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

static apr_status_t toy_recent(comet_store_t *store, apr_size_t count,
                               comet_timestamp_t *cursor)
{
    pthread_mutex_lock(&toy.lock);
    *cursor =
        toy.count > count ? toy.messages[toy.count - count - 1]->timestamp : 0;
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

static apr_status_t toy_has(comet_store_t *store, comet_timestamp_t timestamp,
                            apr_int64_t *has)
{
    size_t i;

    *has = 0;
    pthread_mutex_lock(&toy.lock);
    for (i = 0; i < toy.count; i++) {
        *has |= toy.messages[i]->timestamp == timestamp;
    }
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

static apr_status_t toy_reserve(comet_store_t *store, apr_interval_time_t wait)
{
    return APR_SUCCESS;
}

static apr_status_t toy_append(comet_store_t *store,
                               comet_store_group_t *const *groups,
                               apr_size_t count)
{
    size_t i, j;

    pthread_mutex_lock(&toy.lock);
    for (i = 0; i < count; i++) {
        groups[i]->result = APR_SUCCESS;
        for (j = 0; j < groups[i]->count; j++) {
            groups[i]->messages[j]->timestamp = ++toy.state.last;
            assert_true(toy.count < ROOM);
            toy.messages[toy.count++] =
                comet_message_ref(groups[i]->messages[j]);
        }
    }
    pthread_mutex_unlock(&toy.lock);
    return APR_SUCCESS;
}

static apr_status_t toy_prune(comet_store_t *store, apr_time_t now, int *more)
{
    *more = 0;
    return APR_SUCCESS;
}

static const comet_engine_t toy_engine = {
    .name = "memory",
    .usage = "memory:NAME",
    .parse = toy_parse,
    .locate = toy_locate,
    .version = toy_version,
    .cannot_search = toy_cannot_search,
    .open = toy_open_store,
    .close = toy_close,
    .error = toy_error,
    .is_usable = toy_is_usable,
    .limit = toy_limit,
    .begin = toy_state,
    .end = toy_end,
    .state = toy_state,
    .replay = toy_replay,
    .floor = toy_floor,
    .read = toy_read,
    .page = toy_page,
    .channels = toy_channels,
    .recent = toy_recent,
    .has = toy_has,
    .reserve = toy_reserve,
    .append = toy_append,
    .prune = toy_prune,
};

/* --- Helpers ---------------------------------------------------------------- */

static apr_pool_t *pool;
static comet_store_config_t config;

static int setup(void **state)
{
    apr_pool_create(&pool, NULL);
    config = (comet_store_config_t){
        .place = { .engine = &toy_engine, .name = "toy" },
        .busy_timeout = SECOND,
    };
    return 0;
}

static int teardown(void **state)
{
    while (toy.count) {
        comet_message_unref(toy.messages[--toy.count]);
    }
    toy.made = 0;
    toy.state = (comet_store_state_t){ 0 };
    apr_pool_destroy(pool);
    return 0;
}

static comet_store_t *open_toy(comet_store_mode_e mode)
{
    comet_store_t *store;

    assert_int_equal(comet_store_open(&store, &config, mode, NULL), 0);
    return store;
}

static comet_message_t *make(const char *channel)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text("x") });
}

static void append(comet_store_t *store, const char *channel, int count)
{
    for (; count > 0; count--) {
        comet_message_t *message = make(channel);
        apr_status_t result;

        assert_int_equal(scratch_append(store, &message, &result, 1), 0);
        assert_int_equal(result, 0);
        comet_message_unref(message);
    }
}

typedef struct seen_t {
    size_t count;
    comet_timestamp_t first, last;
} seen_t;

static int see(void *baton, comet_message_t *message)
{
    seen_t *seen = baton;

    if (seen->count++ == 0) {
        seen->first = message->timestamp;
    }
    assert_true(message->timestamp > seen->last);
    seen->last = message->timestamp;
    comet_message_unref(message);
    return 1;
}

static int see_channel(void *baton, comet_text_t name)
{
    assert_true(comet_text_equal(name, comet_text("chat")));
    ++*(int *)baton;
    return 1;
}

/* --- Tests ------------------------------------------------------------------- */

static const char *parse(comet_place_t *place, const char *value)
{
    apr_array_header_t *engines =
        apr_array_make(pool, 2, sizeof(const comet_engine_t *));

    APR_ARRAY_PUSH(engines, const comet_engine_t *) = comet_engines_own();
    APR_ARRAY_PUSH(engines, const comet_engine_t *) = &toy_engine;
    return comet_engines_parse(place, value, engines, "/root", pool);
}

/* An engine is found by its name, and is passed the text after the colon. */
static void test_found_by_name(void **state)
{
    static const char *const wrong[] = {
        "", "memory", "memory:", "sqlite:", "memo:toy", "memoryx:toy", "/path"
    };
    comet_place_t place;
    size_t i;

    assert_null(parse(&place, "memory:toy"));
    assert_ptr_equal(place.engine, &toy_engine);
    assert_string_equal(place.name, "toy");
    assert_string_equal(parse(&place, "memory:a/b"),
                        "memory:NAME without a slash");
    assert_null(parse(&place, "sqlite:comet.db"));
    assert_ptr_equal(place.engine, comet_engines_own());
    assert_string_equal(place.name, "/root/comet.db");
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_string_equal(parse(&place, wrong[i]),
                            "sqlite:PATH or memory:NAME");
    }
}

/* Each call reaches the connection's engine.  If the engine lacks a function,
 * the store fails as documented or does nothing. */
static void test_calls(void **state)
{
    comet_store_t *store = open_toy(COMET_STORE_WRITE);
    const comet_selection_t *chat = scratch_select(comet_text("chat"));
    comet_store_state_t now;
    comet_timestamp_t cursor;
    comet_tally_t tally;
    seen_t seen = { 0 };
    apr_int64_t has;
    int any, more = 1;

    append(store, "chat", 5);
    append(store, "news", 1);
    assert_int_equal(comet_store_begin(store, &now), 0);
    assert_int_equal(now.last, 6);
    assert_int_equal(comet_store_read(store, chat, 1, 3, see, &seen), 0);
    comet_store_end(store);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.first, 2);
    seen = (seen_t){ 0 };
    assert_int_equal(comet_store_tail(store, 3, 100, see, &seen), 0);
    assert_int_equal(seen.count, 3); /* messages of all channels */
    seen = (seen_t){ 0 };
    assert_int_equal(comet_store_page(store, chat, 0, 5, 2, see, &seen), 0);
    assert_int_equal(seen.first, 3);
    assert_int_equal(seen.last, 4);
    assert_int_equal(comet_store_replay(store, chat, 2, &cursor, &any), 0);
    assert_int_equal(cursor, 3);
    assert_int_equal(any, 1);
    assert_int_equal(comet_store_floor(store, chat, &cursor), 0);
    assert_int_equal(comet_store_recent(store, 1, &cursor), 0);
    assert_int_equal(cursor, 5);
    assert_int_equal(comet_store_has(store, 6, &has), 0);
    assert_int_equal(has, 1);
    any = 0;
    assert_int_equal(
        comet_store_channels(store, comet_text("c"), 9, see_channel, &any), 0);
    assert_int_equal(any, 1);
    assert_int_equal(comet_store_search(store, chat, comet_text("x"), 0, 9, 9,
                                        see, &seen, &cursor),
                     COMET_ENOSEARCH);
    assert_int_equal(cursor, 0);
    assert_int_equal(comet_store_tally(store, &tally), 0);
    assert_int_equal(comet_store_may_idle(store), 1);
    assert_int_equal(comet_store_is_usable(store, 0), 1);
    assert_int_equal(comet_store_checkpoint_due(store), 0);
    assert_int_equal(comet_store_checkpoint(store), 0);
    assert_int_equal(comet_store_tidy(store, &more), 0);
    assert_int_equal(more, 0);
    assert_null(comet_watch_open(&config.place, 1));
    comet_store_close(store);
    assert_int_equal(atomic_load(&toy_open), 0);
}

/* When a store cannot be opened, the engine supplies the error text. */
static void test_error_of_open(void **state)
{
    comet_store_config_t other = { .place =
                                       scratch_place("/nowhere/comet.db") };
    comet_store_t *store;

    assert_int_equal(comet_store_open(&store, &config, COMET_STORE_READ, NULL),
                     APR_ENOENT);
    assert_null(store);
    assert_string_equal(comet_store_error(NULL), "memory was not made yet");
    assert_int_equal(comet_store_open(&store, &other, COMET_STORE_READ, NULL),
                     APR_ENOENT);
    assert_null(store);
    assert_string_equal(comet_store_error(NULL), "there is no database yet");
}

static void be_told(void *baton, comet_feed_t *feed,
                    const comet_message_t *message, int continuous)
{
    ++*(int *)baton;
}

/* Publishing, reading and following need nothing but the engine interface. */
static void test_on_top(void **state)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    comet_message_t *message = make("chat");
    comet_store_group_t group = { .messages = &message, .count = 1 };
    comet_writer_config_t writer_config = { .store = &config, .places = 1 };
    comet_readers_t *readers;
    comet_writer_t *writer;
    comet_store_t *store;
    comet_feed_t feed = { 0 };
    seen_t seen = { 0 };
    int told = 0;

    assert_int_equal(comet_bus_create(&writer_config.bus, pool), 0);
    assert_int_equal(comet_writer_create(&writer, &writer_config, pool), 0);
    assert_int_equal(comet_writer_publish(writer, &group, 10 * SECOND), 0);
    assert_int_equal(message->timestamp, 1);

    assert_int_equal(comet_readers_create(&readers, &config, 1, 1, pool), 0);
    assert_int_equal(comet_readers_take(readers, &store), 0);
    assert_int_equal(comet_store_tail(store, 0, 9, see, &seen), 0);
    assert_int_equal(seen.count, 1);
    comet_readers_return(readers, store, APR_SUCCESS);

    comet_feed_init(&feed, &config, writer_config.bus);
    assert_int_equal(comet_feed_refresh(&feed, &lock, 0, 1, be_told, &told), 0);
    append(feed.store, "chat", 2);
    told = 0;
    assert_int_equal(comet_feed_refresh(&feed, &lock, 1, 2, be_told, &told), 0);
    assert_int_equal(told, 2);
    assert_int_equal(feed.ring.count, 3);
    assert_int_equal(comet_feed_coverage(&feed, 3), COMET_FEED_CANNOT_TELL);
    comet_ring_reset(&feed.ring, 0);
    comet_feed_close(&feed);

    comet_readers_close(readers);
    assert_int_equal(comet_writer_stop(writer, 10 * SECOND), 1);
    assert_int_equal(atomic_load(&toy_open), 0);
    close(comet_bus_fd(writer_config.bus));
    comet_message_unref(message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_found_by_name),
        TEST(test_calls),
        TEST(test_error_of_open),
        TEST(test_on_top),
    };
    int failed;

    apr_initialize();
    scratch_make();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_terminate();
    return failed;
}
