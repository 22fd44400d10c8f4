/* SPDX-License-Identifier: Apache-2.0 */
/* What store/store.h promises for every engine: the tests and their kit. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "contract_kit.h"

#include <apr_general.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const contract_engine_t *contract_engine;
const char *contract_skipped; /* why tests are skipped; NULL: they run */
comet_store_config_t contract_config;
comet_store_t *contract_store; /* the writer's connection */

/* --- Helpers -------------------------------------------------------------- */


contract_list_t contract_list;

void contract_empty_list(void)
{
    while (contract_list.count) {
        comet_message_unref(contract_list.messages[--contract_list.count]);
    }
    contract_list.limit = MANY;
}

int contract_collect(void *baton, comet_message_t *message)
{
    assert_true(contract_list.count < MANY);
    contract_list.messages[contract_list.count++] = message;
    return contract_list.count < contract_list.limit;
}

comet_store_t *contract_open_store(comet_store_mode_e mode)
{
    comet_store_t *opened;
    apr_status_t status =
        comet_store_open(&opened, &contract_config, mode, NULL);

    if (status != APR_SUCCESS) {
        fail_msg("%d: %s", status, comet_store_error(NULL));
    }
    return opened;
}

static int setup(void **state)
{
    if (contract_skipped) {
        print_message("# SKIP %s\n", contract_skipped);
        return 0;
    }
    contract_config = (comet_store_config_t){ .place = contract_engine->make(),
                                              .busy_timeout = 2 * SECOND };
    contract_store = contract_open_store(COMET_STORE_WRITE);
    contract_empty_list();
    return 0;
}

static int teardown(void **state)
{
    contract_empty_list();
    if (!contract_skipped) {
        comet_store_close(contract_store);
        contract_store = NULL;
    }
    return 0;
}

comet_message_t *contract_make(const char *channel, const char *body)
{
    return comet_message_create(&(comet_message_fields_t){
        .channel = comet_text(channel), .body = comet_text(body) });
}

comet_timestamp_t contract_append(const char *channel, const char *body)
{
    comet_message_t *message = contract_make(channel, body);
    apr_status_t result;
    comet_timestamp_t timestamp;

    assert_int_equal(scratch_append(contract_store, &message, &result, 1), 0);
    assert_int_equal(result, 0);
    timestamp = message->timestamp;
    comet_message_unref(message);
    return timestamp;
}

/* Append the messages "0", "1" … in one group. */
comet_timestamp_t contract_append_many(const char *channel, int count)
{
    comet_message_t **messages = calloc((size_t)count, sizeof(*messages));
    comet_store_group_t group = { .messages = messages,
                                  .count = (apr_size_t)count };
    comet_store_group_t *groups[] = { &group };
    comet_timestamp_t last;
    char body[12];
    int i;

    for (i = 0; i < count; i++) {
        snprintf(body, sizeof(body), "%d", i);
        messages[i] = contract_make(channel, body);
    }
    assert_int_equal(comet_store_append(contract_store, groups, 1), 0);
    assert_int_equal(group.result, 0);
    last = messages[count - 1]->timestamp;
    assert_int_equal(last - messages[0]->timestamp, count - 1);
    while (count--) {
        comet_message_unref(messages[count]);
    }
    free(messages);
    return last;
}

/* The bodies in the list, joined by commas. */
const char *contract_bodies(void)
{
    static char text[4000];
    size_t i, length = 0;

    text[0] = '\0';
    for (i = 0; i < contract_list.count && length + 300 < sizeof(text); i++) {
        length += (size_t)snprintf(text + length, 300, "%s%.*s", i ? "," : "",
                                   (int)contract_list.messages[i]->body.length,
                                   contract_list.messages[i]->body.data);
    }
    return text;
}

const char *contract_read_words(const char *words, comet_timestamp_t after,
                                apr_size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    contract_empty_list();
    assert_int_equal(comet_store_read(contract_store, selection, after, limit,
                                      contract_collect, NULL),
                     0);
    comet_selection_unref(selection);
    return contract_bodies();
}

const char *contract_page_words(const char *words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit)
{
    comet_selection_t *selection = scratch_choose(words);

    contract_empty_list();
    assert_int_equal(comet_store_page(contract_store, selection, after, before,
                                      limit, contract_collect, NULL),
                     0);
    comet_selection_unref(selection);
    return contract_bodies();
}

comet_store_state_t contract_state_now(void)
{
    comet_store_state_t now;

    assert_int_equal(comet_store_state(contract_store, &now), 0);
    return now;
}

comet_timestamp_t contract_floor_of(const char *words)
{
    comet_selection_t *selection = scratch_choose(words);
    comet_timestamp_t floor;

    assert_int_equal(comet_store_floor(contract_store, selection, &floor), 0);
    comet_selection_unref(selection);
    return floor;
}

void contract_must_run(const char *sql)
{
    const char *refused = contract_engine->run(sql);

    if (*refused) {
        fail_msg("%s: %s", sql, refused);
    }
}

/* Publish the messages that other programs have inserted. */
void contract_take_in(void)
{
    apr_interval_time_t rest = !comet_store_has_inbox(contract_store);
    apr_size_t count;

    while (!rest) {
        assert_int_equal(comet_store_take_in(contract_store, &count, &rest), 0);
    }
}

void contract_prune_all(comet_timestamp_t now)
{
    int more = 1, steps = 0;

    while (more) {
        assert_int_equal(comet_store_prune(contract_store, now, &more), 0);
        assert_true(++steps < 1000);
    }
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(contract_##name, setup, teardown)

int contract_run(const contract_engine_t *which)
{
    const struct CMUnitTest tests[] = {
        TEST(test_order),         TEST(test_bytes),
        TEST(test_groups),        TEST(test_keys),
        TEST(test_selections),    TEST(test_siblings),
        TEST(test_long_bodies),   TEST(test_replay),
        TEST(test_replay_rare),   TEST(test_channels),
        TEST(test_views),         TEST(test_outside_insert),
        TEST(test_outside_large), TEST(test_outside_delete),
        TEST(test_retain_count),  TEST(test_retain_age),
        TEST(test_search),        TEST(test_no_gaps),
        TEST(test_sizes),         TEST(test_passing),
        TEST(test_rules),         TEST(test_passing_refused),
        TEST(test_deletions),     TEST(test_removal),
        TEST(test_updates),       TEST(test_news),
    };
    int failed;

    apr_initialize();
    scratch_make();
    contract_engine = which;
    contract_skipped = contract_engine->begin();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (!contract_skipped) {
        contract_engine->end();
    }
    apr_terminate();
    return failed;
}
