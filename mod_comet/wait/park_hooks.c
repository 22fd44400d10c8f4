/* SPDX-License-Identifier: Apache-2.0 */
/* The hooks that the MPM calls when it parks a connection and gives it back. */
#include "wait/park_hooks.h"

#include <apr_strings.h>
#include <http_connection.h>
#include <mpm_common.h>
#include <sys/socket.h>

#include "wait/connection.h"
#include "wait/h2.h"
#include "wait/handover.h"
#include "wait/live.h"
#include "server/child.h"
#include "server/mpm.h"
#include "wait/park.h"
#include "wait/park_mpm.h"
#include "wait/park_talk.h"
#include "wait/parked.h"
#include "wait/places.h"
#include "output/answer.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/peek.h"

static apr_status_t join(mod_comet_parked_t *park)
{
    comet_hub_t *hub = mod_comet_child()->hub;
    comet_selection_t *rests_on = park->rests_on, *selection;
    apr_status_t status;

    if (park->ask && park->ask->tick) {
        return comet_hub_join_clock(hub, &park->subscriber, park->ask->tick);
    }
    ap_assert(park->ask || rests_on); /* the client waits, or is being
                                       * answered */
    selection = rests_on ? rests_on : mod_comet_live_selection(park->ask);
    park->rests_on = NULL;
    if (mod_comet_outbox_is_empty(&park->outbox) && !park->ack.armed
        && (!park->ask || park->ask->transport->whole)) {
        mod_comet_fast_lend(park->fast, park->c, &park->subscriber,
                            park->ask != NULL);
    }
    mod_comet_parked_lend(park);
    if (park->ask && park->ask->talk) {
        mod_comet_talk_attach(park->ask->talk, hub, &park->subscriber);
    }
    status = comet_hub_join(hub, &park->subscriber, (apr_size_t)park->store,
                            selection);
    comet_selection_unref(rests_on);
    return status;
}

/* End a request whose client was lost, if the MPM closes the connection without
 * having called process_connection.  Before httpd 2.4.63 the MPM does so if the
 * hub has found the client lost, or if the MPM itself does when it sends what the
 * filters hold. */
static void end_lost(mod_comet_parked_t *park)
{
    mod_comet_story_end(park->ask->story, MOD_COMET_END_lost);
    mod_comet_parked_end(park, 0, 1);
    park->state = MOD_COMET_PARKED_EMPTY;
}

/* From here on the hub may serve the connection. */
void mod_comet_park_hooks_suspend(conn_rec *c, request_rec *r)
{
    mod_comet_parked_t *park = mod_comet_parked_find(c);
    apr_status_t status;

    HAND_ON();
    if (!c->cs || c->cs->state != mod_comet_park_mpm_state()) {
        if (park && park->r) {
            end_lost(park);
        }
        return; /* the connection is being closed, or waits for a request */
    }
    mod_comet_h2_suspend(c);
    if (!park || park->state != MOD_COMET_PARKED_PREPARED) {
        return; /* no request waits */
    }
    park->state = MOD_COMET_PARKED_JOINED;
    status = join(park);
    if (status != APR_SUCCESS) {
        ap_log_cerror(APLOG_MARK, APLOG_ERR, status, c,
                      "COMET0134: the hub cannot take this client; its "
                      "connection is closed");
        mod_comet_fast_restore(park->fast, c, &park->subscriber);
        mod_comet_parked_take_back(park);
        mod_comet_parked_make_mpm_close(park);
    }
}

/* The MPM's Timeout is over: the client acknowledged nothing for that long. */
static void time_out(mod_comet_parked_t *park)
{
    comet_metrics_add(COMET_METRIC_dropped, 1);
    mod_comet_story_end(park->ask->story, MOD_COMET_END_lost);
    if (park->c->data_in_output_filters) {
        mod_comet_parked_end(park, 0, 1);
    }
    else {
        mod_comet_parked_dismiss(park, 1);
    }
}

/* From here on this thread owns the connection. */
void mod_comet_park_hooks_resume(conn_rec *c, request_rec *r)
{
    mod_comet_child_t *child = mod_comet_child();
    mod_comet_parked_t *park;

    TAKE_OVER();
    mod_comet_h2_unpark(c,
                        c->sbh && c->cs && c->cs->state == CONN_STATE_LINGER);
    park = mod_comet_parked_find(c);
    if (!park || park->state == MOD_COMET_PARKED_EMPTY || !child) {
        return;
    }
    if (park->state == MOD_COMET_PARKED_JOINED) {
        comet_hub_leave(child->hub, &park->subscriber);
        if (park->r && park->ask->talk) {
            mod_comet_talk_detach(park->ask->talk);
        }
        park->given_back =
            mod_comet_fast_restore(park->fast, c, &park->subscriber);
        mod_comet_parked_take_back(park);
        park->state = MOD_COMET_PARKED_RESUMED;
    }
    /* c->sbh is NULL while the connection's pool is being destroyed */
    if (c->sbh && c->cs->state == CONN_STATE_LINGER) {
        if (park->r && park->over) {
            mod_comet_parked_end(park, 0, 1);
        }
        else if (park->r) {
            time_out(park);
        }
        mod_comet_park_mpm_close(c);
    }
}

/* Send the rest of an answer to a client that has already sent its next
 * request.  If the MPM could wait only for that request, this thread sends the
 * rest and may block.
 * @return whether the filters have all of the answer now, or the client is
 *         lost */
static int send_rest(mod_comet_parked_t *park)
{
    mod_comet_outbox_t *outbox = &park->outbox;
    apr_size_t length = outbox->bytes.length - outbox->sent;

    if (mod_comet_park_mpm_can_await_output(park->c)) {
        return 0;
    }
    if (ap_rwrite(outbox->bytes.data + outbox->sent, (int)length, park->r) < 0
        || ap_rflush(park->r) < 0) {
        park->c->aborted = 1;
    }
    mod_comet_outbox_clear(outbox);
    return 1;
}

/* End the client's wait without news.
 * @return whether the connection is parked again, because the client has not
 *         taken all of the answer */
static int dismiss(mod_comet_parked_t *park, int close)
{
    if (mod_comet_parked_dismiss(park, close) != APR_SUCCESS) {
        park->c->aborted = 1;
    }
    if (park->r && send_rest(park)) {
        mod_comet_parked_end(park, !park->c->aborted, close);
    }
    else if (park->r) {
        mod_comet_park_mpm_wait(park);
    }
    return park->r != NULL;
}

/*
 * Send more of an answer that the client has not taken completely.
 * @param data  whether the client has sent its next request: a stream ends
 *              then; a poll's answer is finished first
 * @return whether the connection is parked again
 */
static int send_on(mod_comet_parked_t *park, int data)
{
    conn_rec *c = park->c;
    int streams = park->ask->transport->streams;
    apr_status_t status = mod_comet_filters_push(c);

    if (status == APR_SUCCESS) {
        status = mod_comet_outbox_send(&park->outbox, park->r, park->brigade);
    }
    mod_comet_parked_note_blocked(park);
    if (status == APR_SUCCESS && !mod_comet_outbox_is_empty(&park->outbox)
        && !(data && send_rest(park))) {
        mod_comet_park_mpm_wait(park);
        return 1;
    }
    if (status == APR_SUCCESS && streams && !data && !park->retry_msec) {
        mod_comet_parked_set_timer(park);
        mod_comet_park_mpm_wait(park);
        return 1;
    }
    c->aborted |= status != APR_SUCCESS;
    mod_comet_parked_end(park, !c->aborted, streams);
    return 0;
}

/* Let the MPM wait for the client's next request, while the client rests in the
 * hub. */
static void rest_in_mpm(mod_comet_parked_t *park)
{
    park->subscriber.resting = 1;
    park->subscriber.timeout_at = comet_monotonic() + park->keep_alive;
    mod_comet_park_mpm_wait(park);
}

/* If a message of the client is still being stored, park the connection again:
 * the MPM's Timeout begins anew.  If the message is stored before the subscriber
 * joins the hub, the hub forgets that it was told so (comet_hub_poke()).  Nothing
 * is lost, because the POST is still in the lent socket: the socket is readable,
 * so the hub serves the subscriber.
 * @return whether it is parked */
static int store_on(mod_comet_parked_t *park)
{
    if (!park->given_back || park->r || park->c->aborted
        || comet_hub_is_stopping(mod_comet_child()->hub)
        || !(park->rests_on = mod_comet_fast_unstored(park->fast))) {
        return 0;
    }
    park->given_back = 0;
    rest_in_mpm(park);
    return 1;
}

/* Send a poll's answer that is in the outbox, and let its client rest. */
static void answer_and_rest(mod_comet_parked_t *park)
{
    conn_rec *c = park->c;
    comet_selection_t *selection = comet_selection_ref(park->ask->selection);
    comet_buffer_t bytes = park->outbox.bytes;
    mod_comet_peek_e found;

    park->outbox.bytes = (comet_buffer_t){ .data = NULL };
    park->at_once = 0;
    c->aborted |= mod_comet_parked_write_whole(park, &bytes) != APR_SUCCESS;
    park->state = MOD_COMET_PARKED_EMPTY;
    if (mod_comet_park_mpm_is_left(park)) {
        comet_selection_unref(selection);
    }
    else if ((found = mod_comet_peek(c, park->brigade))
             != MOD_COMET_PEEK_NOTHING) {
        comet_selection_unref(selection);
        mod_comet_park_mpm_hand_on(c, found);
    }
    else {
        park->rests_on = selection;
        rest_in_mpm(park);
    }
}

/* Let the client of a POST rest, if the hub knows such POSTs now.  Otherwise the
 * MPM goes on as usual.  httpd has looked for another request at the end of this
 * one (data_in_input_filters).  What has come since then is in the socket, where
 * the hub finds it. */
static void rest_published(mod_comet_parked_t *park)
{
    conn_rec *c = park->c;

    if (park->state != MOD_COMET_PARKED_EMPTY || c->aborted
        || c->keepalive != AP_CONN_KEEPALIVE
        || c->cs->state != CONN_STATE_WRITE_COMPLETION
        || c->data_in_input_filters
        || !(park->rests_on = mod_comet_fast_channel(park->fast))) {
        return;
    }
    if (mod_comet_filters_push(c) == APR_SUCCESS && !c->data_in_output_filters
        && !mod_comet_places_are_full(0)) {
        rest_in_mpm(park);
        return;
    }
    comet_selection_unref(park->rests_on);
    park->rests_on = NULL;
}

/* Send an answer that the hub has made and left to a worker.
 * @return whether the hook is done with the connection */
static int answer_for_hub(mod_comet_parked_t *park)
{
    if (park->ask->transport->whole
        && park->outbox.bytes.length <= MOD_COMET_PIECE_BYTES) {
        answer_and_rest(park);
        return 1;
    }
    park->at_once = 0;
    return send_on(park, 0);
}

/* Serve a WebSocket whose client might have said something.
 * @return whether the WebSocket goes on */
static int go_on_talking(mod_comet_parked_t *park)
{
    int goes_on = mod_comet_park_talk_go_on(park);

    if (goes_on) {
        mod_comet_parked_set_timer(park);
        mod_comet_park_mpm_wait(park);
    }
    else if (park->r) {
        mod_comet_parked_end(park, !park->c->aborted && !park->over, 1);
    }
    return goes_on;
}

/* Serve a waiting client whose connection the MPM has woken.
 * @return whether the client goes on waiting */
static int go_on_waiting(mod_comet_parked_t *park)
{
    conn_rec *c = park->c;
    int stopping = comet_hub_is_stopping(mod_comet_child()->hub);
    int sending = !mod_comet_outbox_is_empty(&park->outbox);
    mod_comet_peek_e found;

    mod_comet_ack_disarm(&park->ack, park->fd);
    if (park->over) {
        mod_comet_parked_end(park, 0, 1);
        return 0;
    }
    if (park->at_once && !c->aborted) {
        return answer_for_hub(park);
    }
    if (park->ask->talk && !c->aborted) {
        return go_on_talking(park);
    }
    found = c->aborted ? MOD_COMET_PEEK_GONE
                       : mod_comet_peek(park->c, park->brigade);
    if (sending && found != MOD_COMET_PEEK_GONE) {
        return send_on(park, found == MOD_COMET_PEEK_DATA);
    }
    if (found == MOD_COMET_PEEK_NOTHING) {
        mod_comet_park_mpm_wait(park);
        return 1;
    }
    /* the input may have ended because the hub shut it down for a stop */
    if (found == MOD_COMET_PEEK_DATA || (stopping && !sending && !c->aborted)) {
        return dismiss(park, stopping);
    }
    comet_metrics_add(COMET_METRIC_departed, !c->aborted);
    c->aborted = 1;
    mod_comet_parked_end(park, 0, 1);
    return 0;
}

/* The client has already sent its next request.  Answer the poll, or end the
 * stream, and let the MPM read that request. */
static void answer_pipelined(mod_comet_parked_t *park)
{
    if (!dismiss(park, 0)) {
        park->state = MOD_COMET_PARKED_EMPTY;
        mod_comet_park_mpm_hand_on(park->c, MOD_COMET_PEEK_DATA);
    }
}

/* Whether the MPM has woken the connection only for an ACK or because the
 * socket is writable.  Then there is nothing to read, and the MPM waits for the
 * next request.  A part of a TLS record counts as input: httpd reads the rest
 * of it, under the deadlines of mod_reqtimeout. */
static int is_silent(mod_comet_parked_t *park)
{
    int heard = mod_comet_peek_socket(park->fd);

    if (mod_comet_peek(park->c, park->brigade) != MOD_COMET_PEEK_NOTHING
        || heard) {
        return 0;
    }
    mod_comet_ack_disarm(&park->ack, park->fd);
    mod_comet_park_mpm_hand_on(park->c, MOD_COMET_PEEK_NOTHING);
    return 1;
}

/* The handler has suspended the request: begin to wait. */
static void begin_waiting(mod_comet_parked_t *park)
{
    if (park->ask->transport->streams) {
        mod_comet_connection_trim(park->c);
    }
    if (park->at_once) {
        answer_and_rest(park);
    }
    else if (park->ask->talk) {
        if (!go_on_talking(park)) {
            park->state = MOD_COMET_PARKED_EMPTY;
            mod_comet_park_mpm_is_left(park);
        }
    }
    else if (mod_comet_outbox_is_empty(&park->outbox)
             && mod_comet_peek(park->c, park->brigade) == MOD_COMET_PEEK_DATA) {
        answer_pipelined(park);
    }
    else {
        mod_comet_park_mpm_wait(park);
    }
}

/* Whether the hub has given the connection back and httpd has nothing to read,
 * nor to close.
 * The MPM then sends the rest and waits for the client's next request. */
static int is_only_given_back(mod_comet_parked_t *park)
{
    conn_rec *c = park->c;
    mod_comet_peek_e found;

    if (!park->given_back || park->r || c->aborted) {
        return 0;
    }
    park->given_back = 0;
    if (mod_comet_fast_send_rest(park->fast, c) != APR_SUCCESS) {
        c->aborted = 1;
        return 0;
    }
    found = mod_comet_peek(c, park->brigade);
    if (!c->data_in_output_filters
        && (found != MOD_COMET_PEEK_NOTHING || c->keepalive == AP_CONN_CLOSE)) {
        return 0;
    }
    park->state = MOD_COMET_PARKED_EMPTY;
    mod_comet_park_mpm_hand_on(c, found);
    return 1;
}

static __thread int inside; /* this hook runs the other hooks itself */

static int run_others(conn_rec *c)
{
    int rv;

    inside = 1;
    rv = ap_run_process_connection(c);
    inside = 0;
    return rv;
}

int mod_comet_park_hooks_process_connection(conn_rec *c)
{
    char room[COMET_HEAD_MAX];
    mod_comet_parked_t *park;
    int rv;

    TAKE_OVER();
    HAND_ON_MEMORY(c);
    park = mod_comet_parked_find(c);
    if (inside || (!mod_comet_park_can_hold(c) && !IS_HANDED_ON(c))) {
        return DECLINED;
    }
    if (IS_HANDED_ON(c)) {
        rv = run_others(c);
        HAND_ON();
        return rv == DECLINED ? DONE : rv;
    }
    mod_comet_h2_resume(c);
    if (park || c->clogging_input_filters) {
        mod_comet_park_mpm_unclog(c);
    }
    if (park && (store_on(park) || is_only_given_back(park))) {
        return OK;
    }
    if (park && park->state != MOD_COMET_PARKED_EMPTY) {
        if (park->r && go_on_waiting(park)) {
            return OK;
        }
        park->state = MOD_COMET_PARKED_EMPTY;
        if (mod_comet_park_mpm_is_left(park)) {
            return OK;
        }
    }
    if (park && is_silent(park)) {
        return OK;
    }
    mod_comet_fast_look(park ? park->fast : NULL, c, room);
    rv = run_others(c);
    park = mod_comet_parked_find(c);
    mod_comet_fast_look_away(park ? park->fast : NULL, c);
    if (mod_comet_h2_has_window(c, mod_comet_park_mpm_may_wait(c, rv))) {
        rv = run_others(c);
    }
    if (mod_comet_h2_is_waiting(c, mod_comet_park_mpm_may_wait(c, rv))) {
        mod_comet_park_mpm_await_input(c);
        return OK;
    }
    if (park && park->state == MOD_COMET_PARKED_PREPARED
        && c->cs->state == CONN_STATE_SUSPENDED) {
        begin_waiting(park);
    }
    else if (park && park->state == MOD_COMET_PARKED_PREPARED) {
        park->state = MOD_COMET_PARKED_EMPTY; /* httpd has ended the request */
    }
    else if (park && rv == OK) {
        rest_published(park);
    }
    return rv == DECLINED ? DONE : rv;
}
