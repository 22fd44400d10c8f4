/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of the message log: each calls the engine of its connection. */
#include "store/engine.h"

#include <apr_sha1.h>
#include <stdio.h>
#include <string.h>

/* The engine whose open() failed last in this thread.  comet_store_error(NULL)
 * asks it for its error. */
static _Thread_local const comet_engine_t *failed_engine;

/* --- Connections -------------------------------------------------------- */

apr_status_t comet_store_open(comet_store_t **store,
                              const comet_store_config_t *config,
                              comet_store_mode_e mode,
                              const atomic_int *stopping)
{
    apr_status_t status =
        config->place.engine->open(store, config, mode, stopping);

    if (status == APR_SUCCESS) {
        (*store)->make = comet_message_create;
        (*store)->judge = comet_selection_judge_message;
        (*store)->reads = comet_selection_reads;
        (*store)->viewed.is_known = 0;
        (*store)->appended.is_known = 0;
    }
    else {
        failed_engine = config->place.engine;
    }
    return status;
}

int comet_store_is_at_fault(apr_status_t status)
{
    switch (status) {
    case APR_SUCCESS:
    case APR_ENOENT:
    case COMET_EINVALID:
    case COMET_ENOSEARCH:
    case COMET_ECOSTLY:
    case COMET_EGONE:
    case COMET_ESTOPPING:
        return 0;
    default:
        return 1;
    }
}

void comet_store_keep_log(comet_store_t *store)
{
    if (store->engine->keep_log) {
        store->engine->keep_log(store);
    }
}

void comet_store_close(comet_store_t *store)
{
    if (store) {
        store->engine->close(store);
    }
}

const char *comet_store_error(const comet_store_t *store)
{
    if (store) {
        return store->engine->error(store);
    }
    return failed_engine ? failed_engine->error(NULL) : "";
}

int comet_store_is_usable(comet_store_t *store, apr_interval_time_t within)
{
    return store->engine->is_usable(store, within);
}

int comet_store_may_idle(const comet_store_t *store)
{
    return !store->engine->may_idle || store->engine->may_idle(store);
}

int comet_store_tally(comet_store_t *store, comet_tally_t *tally)
{
    return store->engine->tally && store->engine->tally(store, tally);
}

void comet_store_limit(comet_store_t *store, const comet_budget_t *budget)
{
    store->engine->limit(store, budget);
}

/* --- Reading -------------------------------------------------------------- */

apr_status_t comet_store_begin(comet_store_t *store, comet_store_state_t *state)
{
    int tallied = comet_store_tally(store, &store->viewed.tally);
    apr_status_t status = store->engine->begin(store, state);

    store->viewed.is_known = tallied && status == APR_SUCCESS;
    if (store->viewed.is_known) {
        store->viewed.state = *state;
    }
    return status;
}

int comet_store_glance(comet_store_t *store, comet_store_state_t *state)
{
    comet_tally_t now;

    if (!store->viewed.is_known || !comet_store_tally(store, &now)
        || memcmp(&now, &store->viewed.tally, sizeof(now)) != 0) {
        return 0;
    }
    *state = store->viewed.state;
    return 1;
}

void comet_store_end(comet_store_t *store)
{
    store->engine->end(store);
}

apr_status_t comet_store_state(comet_store_t *store, comet_store_state_t *state)
{
    return store->engine->state(store, state);
}

apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any)
{
    return store->engine->replay(store, selection, count, cursor, any);
}

apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor)
{
    return store->engine->floor(store, selection, floor);
}

apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton)
{
    return store->engine->read(store, selection, after, limit, callback, baton);
}

apr_status_t comet_store_tail(comet_store_t *store, comet_timestamp_t after,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    static const comet_selected_t all = { { "", 0 }, 0 };
    const comet_selection_t selection = { .prefix_count = 1,
                                          .prefixes = &all,
                                          .everything = 1 };

    return comet_store_read(store, &selection, after, limit, callback, baton);
}

apr_status_t comet_store_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    return store->engine->page(store, selection, after, before, limit, callback,
                               baton);
}

apr_status_t comet_store_search(comet_store_t *store,
                                const comet_selection_t *selection,
                                comet_text_t words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit,
                                comet_store_cb *callback, void *baton,
                                comet_timestamp_t *rest)
{
    *rest = 0;
    return store->engine->search
               ? store->engine->search(store, selection, words, after, before,
                                       limit, callback, baton, rest)
               : COMET_ENOSEARCH;
}

apr_status_t comet_store_channels(comet_store_t *store, comet_text_t prefix,
                                  apr_size_t limit,
                                  comet_store_channel_cb *callback, void *baton)
{
    return store->engine->channels(store, prefix, limit, callback, baton);
}

apr_status_t comet_store_rules(comet_store_t *store, comet_text_t prefix,
                               comet_text_t after, apr_size_t limit,
                               comet_store_rule_cb *callback, void *baton)
{
    return store->engine->rules(store, prefix, after, limit, callback, baton);
}

apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor)
{
    return store->engine->recent(store, count, cursor);
}

apr_status_t comet_store_has(comet_store_t *store, comet_timestamp_t timestamp,
                             apr_int64_t *has)
{
    return store->engine->has(store, timestamp, has);
}

apr_status_t comet_store_news(comet_store_t *store,
                              const comet_store_state_t *known,
                              comet_timestamp_t newest, apr_size_t limit,
                              int awaits_commit, comet_store_cb *callback,
                              void *baton, comet_store_state_t *state,
                              int *goes_on)
{
    return store->engine->news(store, known, newest, limit, awaits_commit,
                               callback, baton, state, goes_on);
}

apr_status_t comet_store_sizes(comet_store_t *store, comet_store_sizes_t *sizes)
{
    *sizes = (comet_store_sizes_t){ -1, -1, -1 };
    return store->engine->sizes ? store->engine->sizes(store, sizes)
                                : APR_SUCCESS;
}

apr_status_t comet_store_find_event(comet_store_t *store, comet_text_t event,
                                    comet_timestamp_t before,
                                    comet_timestamp_t *timestamp)
{
    return store->engine->find_event(store, event, before, timestamp);
}

/* --- Writing -------------------------------------------------------------- */

apr_status_t comet_store_reserve(comet_store_t *store, apr_interval_time_t wait)
{
    return store->engine->reserve(store, wait);
}

apr_status_t comet_store_append(comet_store_t *store,
                                comet_store_group_t *const *groups,
                                apr_size_t count)
{
    apr_status_t status = store->engine->append(store, groups, count);
    apr_size_t i;

    for (i = 0; i < count; i++) {
        /* setting a rule changes a row; if it did not, there are too many
         * rules */
        if (groups[i]->rule.pattern.data && !groups[i]->rule.is_removed
            && groups[i]->result == APR_NOTFOUND) {
            groups[i]->result = COMET_EFULL;
        }
    }
    return status;
}

apr_status_t comet_store_prune(comet_store_t *store, apr_time_t now, int *more)
{
    return store->engine->prune(store, now, more);
}

apr_status_t comet_store_tidy(comet_store_t *store, int *more)
{
    *more = 0;
    return store->engine->tidy ? store->engine->tidy(store, more) : APR_SUCCESS;
}

int comet_store_is_remote(const comet_store_t *store)
{
    return store->engine->is_remote;
}

int comet_store_has_inbox(const comet_store_t *store)
{
    return store->engine->take_in != NULL;
}

apr_status_t comet_store_take_in(comet_store_t *store, apr_size_t *count,
                                 apr_interval_time_t *rest)
{
    return store->engine->take_in(store, count, rest);
}

int comet_store_has_guests(const comet_store_t *store)
{
    return !store->engine->has_guests || store->engine->has_guests(store);
}

int comet_store_checkpoint_due(const comet_store_t *store)
{
    return store->engine->checkpoint_due ? store->engine->checkpoint_due(store)
                                         : 0;
}

apr_status_t comet_store_checkpoint(comet_store_t *store)
{
    return store->engine->checkpoint_due ? store->engine->checkpoint(store)
                                         : APR_SUCCESS;
}

apr_status_t comet_store_copy(comet_store_t *store, int *pages)
{
    *pages = 0;
    return store->engine->copy ? store->engine->copy(store, pages)
                               : APR_SUCCESS;
}

/* --- Keys ----------------------------------------------------------------- */

static void add_to_hash(apr_sha1_ctx_t *sha1, comet_text_t text)
{
    char length[24];

    /* hash each text's length first, since otherwise different lists of texts
     * could yield the same bytes */
    snprintf(length, sizeof(length), "%lu:", (unsigned long)text.length);
    apr_sha1_update(sha1, length, (unsigned)strlen(length));
    if (text.length) {
        apr_sha1_update(sha1, text.data, (unsigned)text.length);
    }
}

void comet_store_hash(comet_store_group_t *group)
{
    apr_sha1_ctx_t sha1;
    apr_size_t i;

    apr_sha1_init(&sha1);
    for (i = 0; i < group->count; i++) {
        add_to_hash(&sha1, group->messages[i]->channel);
        add_to_hash(&sha1, group->messages[i]->type);
        add_to_hash(&sha1, group->messages[i]->body);
    }
    apr_sha1_final(group->key.hash, &sha1);
}
