/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite as a comet_engine_t: maps the calls of store/store.h to the functions
 * of this folder. */
#include "store/sqlite/engine.h"

#include <stdio.h>

#include "store/sqlite/inotify.h"
#include "store/sqlite/online.h"
#include "store/sqlite/place.h"
#include "store/sqlite/rights.h"
#include "store/sqlite/sqlite.h"

/* --- The library ---------------------------------------------------------- */

static const char *version(void)
{
    static char text[40];

    snprintf(text, sizeof(text), "SQLite %s", sqlite3_libversion());
    return text;
}

static const char *cannot_search(void)
{
    static char text[80];
    sqlite3 *db = NULL;
    int can = sqlite3_open(":memory:", &db) == SQLITE_OK
              && sqlite3_exec(db,
                              "CREATE VIRTUAL TABLE t USING fts5(body,"
                              " tokenize = \"unicode61 remove_diacritics 2\")",
                              NULL, NULL, NULL)
                     == SQLITE_OK;

    sqlite3_close(db);
    snprintf(text, sizeof(text), "this machine's %s was built without FTS5",
             version());
    return can ? NULL : text;
}

/* --- The calls, with this engine's type ----------------------------------- */

/* Cast a store of this engine to its own type, which begins with a
 * comet_store_t. */
static comet_sqlite_t *own(comet_store_t *store)
{
    return (comet_sqlite_t *)store;
}

static apr_status_t open_store(comet_store_t **store,
                               const comet_store_config_t *config,
                               comet_store_mode_e mode,
                               const atomic_int *stopping)
{
    comet_sqlite_t *made;
    apr_status_t status = comet_sqlite_open(&made, config, mode, stopping);

    *store = NULL;
    if (made) {
        made->base.engine = &comet_engine_sqlite;
        *store = &made->base;
    }
    return status;
}

static void keep_log(comet_store_t *store)
{
    comet_sqlite_keep_log(own(store));
}

static void close_store(comet_store_t *store)
{
    comet_sqlite_close(own(store));
}

static const char *error_of(const comet_store_t *store)
{
    return comet_sqlite_error((const comet_sqlite_t *)store);
}

static int is_usable(comet_store_t *store, apr_interval_time_t within)
{
    return !comet_sqlite_moved(own(store), within);
}

static int may_idle(const comet_store_t *store)
{
    return !comet_sqlite_is_read_only((const comet_sqlite_t *)store);
}

static void limit_reading(comet_store_t *store, const comet_budget_t *budget)
{
    comet_sqlite_limit(own(store), budget);
}

static apr_status_t begin_view(comet_store_t *store, comet_store_state_t *state)
{
    return comet_sqlite_begin(own(store), state);
}

static void end_view(comet_store_t *store)
{
    comet_sqlite_end(own(store));
}

static apr_status_t read_state(comet_store_t *store, comet_store_state_t *state)
{
    return comet_sqlite_state(own(store), state);
}

static apr_status_t find_sizes(comet_store_t *store, comet_store_sizes_t *sizes)
{
    return comet_sqlite_sizes(own(store), sizes);
}

static apr_status_t find_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any)
{
    return comet_sqlite_replay(own(store), selection, count, cursor, any);
}

static apr_status_t find_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor)
{
    return comet_sqlite_floor(own(store), selection, floor);
}

static apr_status_t read_messages(comet_store_t *store,
                                  const comet_selection_t *selection,
                                  comet_timestamp_t after, apr_size_t limit,
                                  comet_store_cb *callback, void *baton)
{
    return comet_sqlite_read(own(store), selection, after, limit, callback,
                             baton);
}

static apr_status_t read_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton)
{
    return comet_sqlite_page(own(store), selection, after, before, limit,
                             callback, baton);
}

static apr_status_t search(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_text_t words, comet_timestamp_t after,
                           comet_timestamp_t before, apr_size_t limit,
                           comet_store_cb *callback, void *baton,
                           comet_timestamp_t *rest)
{
    return comet_sqlite_search(own(store), selection, words, after, before,
                               limit, callback, baton, rest);
}

static apr_status_t list_channels(comet_store_t *store, comet_text_t prefix,
                                  apr_size_t limit,
                                  comet_store_channel_cb *callback, void *baton)
{
    return comet_sqlite_channels(own(store), prefix, limit, callback, baton);
}

static apr_status_t list_rules(comet_store_t *store, comet_text_t prefix,
                               comet_text_t after, apr_size_t limit,
                               comet_store_rule_cb *callback, void *baton)
{
    return comet_sqlite_rules(own(store), prefix, after, limit, callback,
                              baton);
}

static apr_status_t find_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor)
{
    return comet_sqlite_recent(own(store), count, cursor);
}

static apr_status_t has_message(comet_store_t *store,
                                comet_timestamp_t timestamp, apr_int64_t *has)
{
    return comet_sqlite_has(own(store), timestamp, has);
}

static apr_status_t find_event(comet_store_t *store, comet_text_t event,
                               comet_timestamp_t before,
                               comet_timestamp_t *timestamp)
{
    return comet_sqlite_find_event(own(store), event, before, timestamp);
}

static apr_status_t reserve(comet_store_t *store, apr_interval_time_t wait)
{
    return comet_sqlite_reserve(own(store), wait);
}

static apr_status_t append(comet_store_t *store,
                           comet_store_group_t *const *groups, apr_size_t count)
{
    return comet_sqlite_append(own(store), groups, count);
}

static apr_status_t prune(comet_store_t *store, apr_time_t now, int *more)
{
    return comet_sqlite_prune(own(store), now, more);
}

static apr_status_t tidy(comet_store_t *store, int *more)
{
    return comet_sqlite_tidy(own(store), more);
}

static int has_guests(const comet_store_t *store)
{
    return comet_sqlite_has_guests((const comet_sqlite_t *)store);
}

static int checkpoint_due(const comet_store_t *store)
{
    return comet_sqlite_checkpoint_due((const comet_sqlite_t *)store);
}

static apr_status_t checkpoint(comet_store_t *store)
{
    return comet_sqlite_checkpoint(own(store));
}

static apr_status_t copy(comet_store_t *store, int *pages)
{
    return comet_sqlite_copy(own(store), pages);
}

static int read_tally(comet_store_t *store, comet_tally_t *tally)
{
    return comet_sqlite_tally(own(store), tally);
}

const comet_engine_t comet_engine_sqlite = {
    .name = "sqlite",
    .usage = "sqlite:PATH",
    .parse = comet_place_parse,
    .locate = comet_place_locate,
    .check = comet_place_check,
    .confine = comet_place_confine,
    .advise = comet_rights_advise,
    .version = version,
    .cannot_search = cannot_search,
    .open = open_store,
    .keep_log = keep_log,
    .close = close_store,
    .error = error_of,
    .is_usable = is_usable,
    .may_idle = may_idle,
    .limit = limit_reading,
    .begin = begin_view,
    .end = end_view,
    .state = read_state,
    .replay = find_replay,
    .floor = find_floor,
    .read = read_messages,
    .page = read_page,
    .search = search,
    .channels = list_channels,
    .sizes = find_sizes,
    .recent = find_recent,
    .has = has_message,
    .rules = list_rules,
    .find_event = find_event,
    .reserve = reserve,
    .append = append,
    .prune = prune,
    .tidy = tidy,
    .checkpoint_due = checkpoint_due,
    .checkpoint = checkpoint,
    .copy = copy,
    .online = &comet_online_sqlite,
    .tally = read_tally,
    .has_guests = has_guests,
    .watch = &comet_inotify_engine,
};
