/* SPDX-License-Identifier: Apache-2.0 */
/* Park a request in the event MPM. */
#include "wait/park.h"

#include "shared/metrics.h"
#include "server/child.h"
#include "server/mpm.h"
#include "output/answer.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/log.h"
#include "output/news.h"
#include "output/peek.h"
#include "wait/adopt.h"
#include "wait/connection.h"
#include "wait/held.h"
#include "wait/parked.h"
#include "wait/places.h"

static mod_comet_parked_t *make_park(conn_rec *c)
{
    mod_comet_parked_t *park = mod_comet_parked_find(c);

    if (!park) {
        park = apr_pcalloc(c->pool, sizeof(*park));
        park->c = c;
        park->brigade = apr_brigade_create(c->pool, c->bucket_alloc);
        park->real = -1;
        mod_comet_connection(c)->park = park;
    }
    park->fd = mod_comet_filters_fd(c);
    return park;
}

/* Set what does not depend on what the client waits for. */
static void begin(mod_comet_parked_t *park, const request_rec *r)
{
    park->store = mod_comet_config_server(r->server)->store;
    park->keep_alive = mod_comet_request_timeout_server(r)->keep_alive_timeout;
    mod_comet_ack_begin(&park->ack,
                        mod_comet_request_timeout_server(r)->timeout);
    park->retry_msec = 0;
    park->end_msec = 0;
    park->lingered = 0;
    park->at_once = 0;
    park->over = 0;
    park->said_all = 0;
    park->subscriber.serve = mod_comet_parked_serve;
    park->subscriber.yields = 1;
    park->subscriber.blocked_fd = -1;
    park->subscriber.until = 0;
}

/* Prepare a request for its wait.
 * @param gauge  counts the request while it waits or its answer is sent */
static void prepare(mod_comet_parked_t *park, request_rec *r,
                    const mod_comet_ask_t *ask, comet_metric_e gauge)
{
    begin(park, r);
    park->r = r;
    park->ask = ask;
    park->heartbeat =
        ask->heartbeat < park->ack.every ? ask->heartbeat : park->ack.every;
    park->ends_at = mod_comet_ask_end(ask);
    park->by_worker =
        mod_comet_log_waits() != NULL || !mod_comet_chain_is_direct(r);
    park->subscriber.seen = ask->seen;
    park->subscriber.floor = ask->pruned;
    park->subscriber.limit = (apr_uint32_t)ask->limit;
    park->subscriber.piece =
        ask->transport->streams ? MOD_COMET_STREAM_BYTES : 0;
    park->slice = (mod_comet_slice_t){ .of = 0 };
    park->subscriber.timeout_at = mod_comet_news_due(park->ends_at, ask->hold);
    park->pulse.look_at = 0;
    if (ask->transport->streams) {
        mod_comet_parked_set_timer(park);
        comet_pulse_begin(&park->pulse, park->fd, park->heartbeat);
    }
    if (ask->transport->whole && !park->by_worker) {
        mod_comet_fast_consider(&park->fast, r, ask, park->fd);
    }
    park->subscriber.revoked =
        comet_presence_revoked(mod_comet_request(r)->place.seat);
    mod_comet_place_count(&mod_comet_request(r)->place, gauge);
    /* look up the client's host name now, since the access log may need it and
     * the hub must not wait for a name server */
    ap_get_useragent_host(r, REMOTE_NAME, NULL);
    apr_pool_cleanup_register(r->pool, r, mod_comet_parked_on_destroyed,
                              apr_pool_cleanup_null);
    park->state = MOD_COMET_PARKED_PREPARED;
}

/* Set the headers.  Those of a stream are sent, together with its opening. */
static apr_status_t open_answer(mod_comet_parked_t *park)
{
    comet_buffer_t bytes = { .data = NULL };
    apr_status_t status;

    mod_comet_answer_prepare(park->r, park->ask->transport);
    if (park->ask->transport->whole) {
        mod_comet_parked_note_blocked(park);
        return APR_SUCCESS;
    }
    mod_comet_news_encode_opening(park->ask, &bytes);
    if (bytes.length || bytes.failed) {
        mod_comet_ack_arm(&park->ack, park->fd, bytes.length);
        return mod_comet_parked_write(park, &bytes);
    }
    status = mod_comet_filters_open(park->r, park->brigade);
    mod_comet_parked_note_blocked(park);
    return status;
}

int mod_comet_park_can_hold(const conn_rec *c)
{
    return mod_comet_mpm_capacity()->parks && !c->master && c->cs
           && mod_comet_connection(c);
}

int mod_comet_park_can_suspend(const request_rec *r)
{
    return mod_comet_park_can_hold(r->connection) && !r->prev && !r->main;
}

/* Undo parking, because the client was lost meanwhile. */
static int unpark(mod_comet_parked_t *park)
{
    mod_comet_parked_forget(park);
    park->state = MOD_COMET_PARKED_EMPTY;
    park->c->aborted = 1;
    return OK;
}

/* Let the hub adopt the stream.
 * @return whether the hub has it */
static int give_away(mod_comet_parked_t *park, apr_int64_t adopting)
{
    if (!mod_comet_adopt(park->r, park->ask, adopting)) {
        return 0;
    }
    park->r = NULL;
    mod_comet_parked_forget(park);
    park->state = MOD_COMET_PARKED_EMPTY;
    return 1;
}

apr_time_t mod_comet_park_may_publish(const request_rec *r)
{
    return mod_comet_park_can_suspend(r) ? mod_comet_fast_may_publish(r) : 0;
}

void mod_comet_park_learn_publish(request_rec *r,
                                  const comet_message_fields_t *fields,
                                  apr_time_t until)
{
    mod_comet_parked_t *park = make_park(r->connection);

    if (park->state != MOD_COMET_PARKED_EMPTY) {
        return;
    }
    begin(park, r);
    park->by_worker = 0;
    park->subscriber.limit = 1;
    park->subscriber.revoked = NULL;
    mod_comet_fast_learn_publish(&park->fast, r, fields, until, park->fd);
}

int mod_comet_park_finish_publish(const request_rec *r,
                                  const comet_store_group_t *group,
                                  apr_status_t *status)
{
    const mod_comet_parked_t *park =
        r->main || r->prev ? NULL : mod_comet_parked_find(r->connection);
    comet_timestamp_t timestamp;

    if (!park
        || !mod_comet_fast_finish_publish(park->fast, status, &timestamp)) {
        return 0;
    }
    if (*status == APR_SUCCESS) {
        group->messages[0]->timestamp = timestamp;
    }
    return 1;
}

int mod_comet_park_body(request_rec *r, const mod_comet_ask_t *ask,
                        comet_buffer_t *body)
{
    mod_comet_parked_t *park;

    if (!mod_comet_park_can_suspend(r) || !mod_comet_chain_is_direct(r)
        || !mod_comet_places_find(0)) {
        return DECLINED;
    }
    park = make_park(r->connection);
    if (mod_comet_peek(park->c, park->brigade) == MOD_COMET_PEEK_DATA) {
        return DECLINED; /* the MPM would not notice the next request */
    }
    mod_comet_answer_prepare(r, ask->transport);
    ap_set_content_length(r, (apr_off_t)body->length);
    prepare(park, r, ask, COMET_METRIC_sending);
    park->subscriber.timeout_at = 0; /* the MPM's Timeout is the limit */
    if (mod_comet_parked_write(park, body) != APR_SUCCESS) {
        return unpark(park);
    }
    if (mod_comet_outbox_is_empty(&park->outbox)) {
        mod_comet_parked_forget(park);
        park->state = MOD_COMET_PARKED_EMPTY;
        return OK; /* the client took all of it */
    }
    return SUSPENDED;
}

int mod_comet_park_answer(request_rec *r, const mod_comet_ask_t *ask,
                          comet_buffer_t *body)
{
    mod_comet_parked_t *park;

    if (!mod_comet_park_can_suspend(r) || !mod_comet_places_find(0)) {
        return DECLINED;
    }
    park = make_park(r->connection);
    mod_comet_answer_prepare(r, ask->transport);
    ap_set_content_length(r, (apr_off_t)body->length);
    prepare(park, r, ask, COMET_METRIC_sending);
    park->outbox.bytes = *body;
    *body = (comet_buffer_t){ .data = NULL };
    park->at_once = 1;
    return SUSPENDED;
}

int mod_comet_park_opened(request_rec *r, mod_comet_ask_t *ask)
{
    mod_comet_parked_t *park;

    if (!mod_comet_park_can_suspend(r) || !mod_comet_chain_is_direct(r)
        || !mod_comet_places_find(0)) {
        return 0;
    }
    park = make_park(r->connection);
    prepare(park, r, ask, ask->transport->gauge);
    ask->story->way = "parked";
    mod_comet_parked_note_blocked(park);
    mod_comet_held_tell(r);
    return 1;
}

int mod_comet_park_begin(request_rec *r, mod_comet_ask_t *ask,
                         apr_int64_t adopting)
{
    mod_comet_parked_t *park = make_park(r->connection);

    prepare(park, r, ask, ask->transport->gauge);
    ask->story->way = "parked";
    if (open_answer(park) != APR_SUCCESS) {
        return unpark(park);
    }
    if (adopting >= 0 && mod_comet_outbox_is_empty(&park->outbox)
        && give_away(park, adopting)) {
        return DONE;
    }
    mod_comet_held_tell(r);
    return SUSPENDED;
}
