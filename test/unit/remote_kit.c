/* SPDX-License-Identifier: Apache-2.0 */
/* A remote engine for tests of the hub. */
#include "remote_kit.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store/engines.h"

/* A connection of this engine, which wraps a real one. */
typedef struct remote_t {
    comet_store_t base;
    comet_store_t *real;
    comet_store_config_t *config; /* owned, from malloc */
    const atomic_int *stopping;
    int reads; /* whether it is a fetcher's connection */
} remote_t;

static atomic_int closed, broken, holding, hanging, held, reads, looks, views,
    awaited;

void remote_close_gate(void)
{
    atomic_store(&closed, 1);
}

void remote_open_gate(void)
{
    atomic_store(&closed, 0);
}

void remote_break(int is_broken)
{
    atomic_store(&broken, is_broken);
}

void remote_hold_reads(int hold)
{
    atomic_store(&holding, hold);
}

int remote_held(void)
{
    return atomic_load(&held);
}

int remote_hanging(void)
{
    return atomic_load(&hanging);
}

int remote_looks(void)
{
    return atomic_load(&looks);
}

int remote_views(void)
{
    return atomic_load(&views);
}

int remote_reads(void)
{
    return atomic_load(&reads);
}

/* Wait while the gate is closed.  @return 0: the thread must stop */
static int pass(const remote_t *remote)
{
    int stops = 0;

    atomic_fetch_add(&hanging, 1);
    while (atomic_load(&closed) && !stops) {
        stops = remote->stopping && atomic_load(remote->stopping);
        poll(NULL, 0, 1);
    }
    atomic_fetch_sub(&hanging, 1);
    return !stops;
}

static comet_store_t *real_of(comet_store_t *store)
{
    return ((remote_t *)store)->real;
}

static apr_status_t open_remote(comet_store_t **store,
                                const comet_store_config_t *config,
                                comet_store_mode_e mode,
                                const atomic_int *stopping)
{
    comet_store_config_t *inner = malloc(sizeof(*inner));
    remote_t *remote = calloc(1, sizeof(*remote));
    apr_status_t status;

    *store = NULL;
    *inner = *config;
    inner->place.engine = comet_engines_own();
    remote->stopping = stopping;
    remote->reads = mode == COMET_STORE_READ;
    remote->base.engine = remote_engine();
    remote->config = inner;
    status = comet_store_open(&remote->real, inner, mode, stopping);
    if (status != APR_SUCCESS) {
        free(remote);
        free(inner);
        return status;
    }
    *store = &remote->base;
    return APR_SUCCESS;
}

static void close_remote(comet_store_t *store)
{
    remote_t *remote = (remote_t *)store;

    comet_store_close(remote->real);
    free(remote->config);
    free(remote);
}

static const char *error_of(const comet_store_t *store)
{
    return comet_store_error(store ? ((const remote_t *)store)->real : NULL);
}

static int is_usable(comet_store_t *store, apr_interval_time_t within)
{
    return comet_store_is_usable(real_of(store), within);
}

static void limit(comet_store_t *store, const comet_budget_t *budget)
{
    comet_store_limit(real_of(store), budget);
}

static apr_status_t begin_look(comet_store_t *store, comet_store_state_t *state)
{
    atomic_fetch_add(&looks, !((remote_t *)store)->reads);
    if (atomic_load(&broken)) {
        return ECONNRESET;
    }
    return pass((remote_t *)store) ? comet_store_begin(real_of(store), state)
                                   : APR_TIMEUP;
}

static apr_status_t begin(comet_store_t *store, comet_store_state_t *state)
{
    atomic_fetch_add(&views, !((remote_t *)store)->reads);
    return begin_look(store, state);
}

static void end(comet_store_t *store)
{
    comet_store_end(real_of(store));
}

/* Only tests call this, so neither the gate nor a fault affects it. */
static apr_status_t state_of(comet_store_t *store, comet_store_state_t *state)
{
    return comet_store_state(real_of(store), state);
}

/* The real engine is not remote: read its log in one view. */
static apr_status_t news(comet_store_t *store, const comet_store_state_t *known,
                         comet_timestamp_t newest, apr_size_t most,
                         int awaits_commit, comet_store_cb *callback,
                         void *baton, comet_store_state_t *state, int *goes_on)
{
    apr_int64_t has = 1;
    apr_status_t status = begin_look(store, state);

    atomic_fetch_add(&awaited, awaits_commit);
    if (status != APR_SUCCESS) {
        return status;
    }
    if (newest && state->last != known->last) {
        status = comet_store_has(real_of(store), newest, &has);
    }
    *goes_on =
        has && state->last >= known->last && state->erased == known->erased;
    if (status == APR_SUCCESS && *goes_on) {
        status = comet_store_tail(real_of(store), known->last, most, callback,
                                  baton);
    }
    end(store);
    return status;
}

static apr_status_t floor_of(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_timestamp_t *floor)
{
    return comet_store_floor(real_of(store), selection, floor);
}

static apr_status_t read_messages(comet_store_t *store,
                                  const comet_selection_t *selection,
                                  comet_timestamp_t after, apr_size_t most,
                                  comet_store_cb *callback, void *baton)
{
    if (((remote_t *)store)->reads) {
        atomic_fetch_add(&held, 1);
        while (atomic_load(&holding)) {
            poll(NULL, 0, 1);
        }
        atomic_fetch_sub(&held, 1);
        atomic_fetch_add(&reads, 1);
    }
    return comet_store_read(real_of(store), selection, after, most, callback,
                            baton);
}

static apr_status_t find_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor)
{
    return comet_store_recent(real_of(store), count, cursor);
}

static apr_status_t has(comet_store_t *store, comet_timestamp_t timestamp,
                        apr_int64_t *found)
{
    return comet_store_has(real_of(store), timestamp, found);
}

static apr_status_t append(comet_store_t *store,
                           comet_store_group_t *const *groups, apr_size_t count)
{
    return comet_store_append(real_of(store), groups, count);
}

/* --- The watch ------------------------------------------------------------ */

static atomic_int told, hinted, announced, has_announcement;
static int hint_fd = -1;

void remote_hint(void)
{
    atomic_store(&hinted, 1);
    eventfd_write(hint_fd, 1);
}

int remote_told(void)
{
    return atomic_load(&told);
}

void remote_announce(void)
{
    atomic_store(&has_announcement, 1);
    eventfd_write(hint_fd, 1);
}

int remote_announced(void)
{
    return atomic_load(&announced);
}

int remote_awaited(void)
{
    return atomic_load(&awaited);
}

static comet_watch_t *open_watch(const comet_place_t *place, apr_time_t now)
{
    comet_watch_t *watch = calloc(1, sizeof(*watch));

    watch->engine = place->engine->watch;
    hint_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return watch;
}

static void close_watch(comet_watch_t *watch)
{
    close(hint_fd);
    hint_fd = -1;
    free(watch);
}

static int watch_fd(const comet_watch_t *watch)
{
    return hint_fd;
}

static apr_time_t never_due(const comet_watch_t *watch)
{
    return 0;
}

static void note_nothing(comet_watch_t *watch, apr_time_t now)
{
}

static void note_look(comet_watch_t *watch, int changed, apr_time_t now)
{
}

static void count_told(comet_watch_t *watch, apr_time_t now)
{
    atomic_fetch_add(&told, 1);
}

static int take_hint(comet_watch_t *watch)
{
    return atomic_exchange(&hinted, 0);
}

static void count_announced(comet_watch_t *watch, apr_time_t now)
{
    atomic_fetch_add(&announced, 1);
}

static int take_announcement(comet_watch_t *watch)
{
    return atomic_exchange(&has_announcement, 0);
}

static const comet_watch_engine_t remote_watch = {
    .open = open_watch,
    .close = close_watch,
    .fd = watch_fd,
    .event = note_nothing,
    .due = never_due,
    .look = note_nothing,
    .looked = note_look,
    .pause = note_nothing,
    .tell = count_told,
    .announce = count_announced,
    .take_hint = take_hint,
    .take_announcement = take_announcement,
};

const comet_engine_t *remote_engine(void)
{
    static const comet_engine_t engine = {
        .name = "remote",
        .usage = "remote:PATH",
        .is_remote = 1,
        .open = open_remote,
        .close = close_remote,
        .error = error_of,
        .is_usable = is_usable,
        .limit = limit,
        .begin = begin,
        .end = end,
        .state = state_of,
        .floor = floor_of,
        .read = read_messages,
        .recent = find_recent,
        .has = has,
        .news = news,
        .append = append,
        .watch = &remote_watch,
    };

    return &engine;
}
