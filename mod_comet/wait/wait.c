/* SPDX-License-Identifier: Apache-2.0 */
/* Let a request wait: decide whether it may, and in which way. */
#include "wait/wait_priv.h"

#include <sys/resource.h>

#include <apr_strings.h>

#include "server/config.h"
#include "request/dialect.h"
#include "request/limits.h"
#include "request/presence.h"
#include "output/chain.h"
#include "request/reasons.h"
#include "wait/adopt.h"
#include "wait/block.h"
#include "wait/ghost.h"
#include "wait/h2.h"
#include "wait/incoming.h"
#include "wait/live.h"
#include "wait/park.h"
#include "wait/places.h"
#include "wait/talk.h"
#include "wait/verdicts.h"
#include "wait/wait.h"

/* When CometMaxSubscribers is reached, a classic poll that the MPM can hold
 * gets its "no news" answer after this time instead of an error: after an error
 * its page would pause for 5 s. */
#define OVERFLOW_HOLD apr_time_from_sec(1)

/* Sockets are lent only while half of the process's descriptors are free:
 * lending takes a second descriptor for each connection, and new clients need
 * descriptors, too. */
static int find_descriptors_max(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= 1 << 30) {
        return 1 << 30;
    }
    return (int)limit.rlim_cur / 2;
}

void mod_comet_wait_start(mod_comet_child_t *child)
{
    mod_comet_waiting_t *waiting = apr_pcalloc(child->pool, sizeof(*waiting));

    waiting->incoming = mod_comet_incoming_create(child->pool);
    waiting->familiars = mod_comet_familiars_create(child->pool);
    waiting->descriptors_max = find_descriptors_max();
    pthread_mutex_init(&waiting->lock, NULL);
    pthread_mutex_init(&waiting->answered_lock, NULL);
    TAILQ_INIT(&waiting->answered);
    APR_RING_INIT(&waiting->blocked, mod_comet_blocked_t, link);
    child->waiting = waiting;
    child->verdicts = mod_comet_verdicts_create(child->pool);
}

void mod_comet_wait_end(mod_comet_child_t *child)
{
    comet_encoder_clear(&child->waiting->streams);
    comet_encoder_clear(&child->waiting->polls);
    mod_comet_familiars_clear(child->waiting->familiars);
    comet_buffer_free(&child->waiting->answer);
    mod_comet_verdicts_clear(child->verdicts);
}

/* This child has no place for the client.  Let httpd close the connection after
 * the answer, and wait only 2 s for the client to close its side.  (A
 * connection of HTTP/2 holds six descriptors.) */
static void give_up(conn_rec *c)
{
    c->keepalive = AP_CONN_CLOSE;
    apr_table_setn(c->notes, "short-lingering-close", "1");
    mod_comet_h2_leave(c);
}

/*
 * Count the client as waiting if it may wait.
 * @param holds  whether the client may wait for a second if CometMaxSubscribers
 *               is reached; it then counts against CometLimitSubscribers as
 *               well
 * @return whether the client may not wait
 */
static int is_refused(request_rec *r, mod_comet_ask_t *ask, int adopted,
                      int holds, mod_comet_refusal_t *refusal)
{
    apr_int64_t most = mod_comet_config_max_subscribers(r->server);
    mod_comet_place_t *place = &mod_comet_request(r)->place;
    const char *limit;
    int full;

    if (!mod_comet_places_find(adopted)) {
        give_up(r->connection);
        mod_comet_places_refuse(refusal,
                                "too many clients are waiting: this server "
                                "cannot hold more now; try again later");
        return 1;
    }
    full = !mod_comet_place_take(place, ask->transport->gauge, most);
    if (full) {
        mod_comet_places_refuse(
            refusal,
            apr_psprintf(r->pool,
                         "too many clients are waiting: at most "
                         "%" APR_INT64_T_FMT
                         " may wait at a time (CometMaxSubscribers); try "
                         "again later",
                         most));
    }
    if (full && !holds) {
        return 1;
    }
    limit = mod_comet_limits_wait(r);
    if (limit) {
        *refusal = (mod_comet_refusal_t){ HTTP_TOO_MANY_REQUESTS, limit };
    }
    else if (full) {
        mod_comet_reasons_log(r, refusal->status, refusal->reason);
        mod_comet_place_count(place, ask->transport->gauge);
        ask->hold = ask->hold < OVERFLOW_HOLD ? ask->hold : OVERFLOW_HOLD;
    }
    return limit != NULL;
}

static apr_status_t unref_talk(void *talk)
{
    mod_comet_talk_unref(talk);
    return APR_SUCCESS;
}

/* @return 0: no memory is left */
static int begin_talk(request_rec *r, mod_comet_ask_t *ask)
{
    ask->talk = mod_comet_talk_create(r, ask);
    if (ask->talk) {
        apr_pool_cleanup_register(r->pool, ask->talk, unref_talk,
                                  apr_pool_cleanup_null);
    }
    return ask->talk && (!ask->is_live || mod_comet_live_begin(r, ask));
}

static apr_status_t leave_place(void *place)
{
    mod_comet_place_leave(place);
    return APR_SUCCESS;
}

/* @return as mod_comet_wait() */
static int try_to_wait(request_rec *r, mod_comet_ask_t *ask,
                       mod_comet_refusal_t *refusal)
{
    apr_int64_t adopting = mod_comet_adopt_begin(r, ask);
    int holds = mod_comet_request(r)->mapping->dialect->holds_when_full
                && mod_comet_park_can_suspend(r);

    if (is_refused(r, ask, adopting >= 0, holds, refusal)) {
        return DECLINED;
    }
    mod_comet_presence_enter(r, ask);
    if (ask->transport->upgrades && !begin_talk(r, ask)) {
        mod_comet_places_refuse(refusal, "the server is out of memory");
        return DECLINED;
    }
    /* a filter that may block keeps only a stream from being parked: the hub
     * writes a stream, but a worker can send a poll's answer */
    if (mod_comet_park_can_suspend(r)
        && (!ask->transport->streams || mod_comet_chain_is_direct(r))) {
        return mod_comet_park_begin(r, ask, adopting);
    }
    if (mod_comet_ghost_wait(r, ask) == OK) {
        return OK;
    }
    return mod_comet_block(r, ask, adopting, refusal);
}

int mod_comet_wait(request_rec *r, mod_comet_ask_t *ask,
                   mod_comet_refusal_t *refusal)
{
    mod_comet_place_t *place = &mod_comet_request(r)->place;
    int rv;

    apr_pool_cleanup_register(r->pool, place, leave_place,
                              apr_pool_cleanup_null);
    rv = try_to_wait(r, ask, refusal);
    if (rv == DECLINED) {
        mod_comet_place_leave(place);
    }
    return rv;
}
