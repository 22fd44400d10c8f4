/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file contract_kit.h
 * What the files of the contract share: the store under test, and its tests.
 */
#ifndef CONTRACT_KIT_H
#define CONTRACT_KIT_H

#include "contract.h"

#define MANY 3000

typedef struct contract_list_t {
    size_t count, limit; /* collecting stops at the limit */
    comet_message_t *messages[MANY];
} contract_list_t;

extern const contract_engine_t *contract_engine;
extern const char *contract_skipped; /* why tests are skipped; NULL: they run */
extern comet_store_config_t contract_config;
extern comet_store_t *contract_store; /* the writer's connection */
/** The messages that the last reading returned. */
extern contract_list_t contract_list;

/** Must be the first statement of each test. */
#define UNLESS_SKIPPED() \
    do { \
        if (contract_skipped) { \
            skip(); \
        } \
    } while (0)

void contract_empty_list(void);
/** A comet_store_cb that adds to contract_list. */
int contract_collect(void *baton, comet_message_t *message);
comet_store_t *contract_open_store(comet_store_mode_e mode);
comet_message_t *contract_make(const char *channel, const char *body);
comet_timestamp_t contract_append(const char *channel, const char *body);
/** Append the messages "0", "1" and so on, in one group.  @return the last
 * timestamp */
comet_timestamp_t contract_append_many(const char *channel, int count);
/** The bodies in the list, joined by commas. */
const char *contract_bodies(void);
/** Read a selection, whose words are those of scratch_choose(), into the list.
 * @return the bodies in the list */
const char *contract_read_words(const char *words, comet_timestamp_t after,
                                apr_size_t limit);
const char *contract_page_words(const char *words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit);
comet_store_state_t contract_state_now(void);
comet_timestamp_t contract_floor_of(const char *words);
/** Run SQL as another program; it must succeed. */
void contract_must_run(const char *sql);
/** Publish the messages that other programs have inserted. */
void contract_take_in(void);
/** Apply retention until nothing more is to be removed. */
void contract_prune_all(comet_timestamp_t now);

void contract_test_order(void **state);
void contract_test_bytes(void **state);
void contract_test_groups(void **state);
void contract_test_keys(void **state);
void contract_test_selections(void **state);
void contract_test_siblings(void **state);
void contract_test_long_bodies(void **state);
void contract_test_replay(void **state);
void contract_test_replay_rare(void **state);
void contract_test_channels(void **state);
void contract_test_views(void **state);
void contract_test_news(void **state);
void contract_test_outside_insert(void **state);
void contract_test_outside_large(void **state);
void contract_test_outside_delete(void **state);
void contract_test_retain_count(void **state);
void contract_test_retain_age(void **state);
void contract_test_search(void **state);
void contract_test_no_gaps(void **state);
void contract_test_sizes(void **state);
void contract_test_passing(void **state);
void contract_test_passing_refused(void **state);
void contract_test_rules(void **state);
void contract_test_deletions(void **state);
void contract_test_removal(void **state);
void contract_test_updates(void **state);

#endif /* CONTRACT_KIT_H */
