/* SPDX-License-Identifier: Apache-2.0 */
/* A parked WebSocket whose client has said something. */
#include "wait/park_talk.h"

#include "server/child.h"
#include "server/mpm.h"
#include "hub/hub.h"
#include "output/filters.h"
#include "output/news.h"
#include "wait/hear.h"
#include "wait/live.h"
#include "wait/parked_stream.h"
#include "wait/speaker.h"

/* How much longer than CometPublishTimeout the speaker may take. */
#define PATIENCE apr_time_from_sec(1)
/* How long the hub may have the connection before its input is read again. */
#define VISIT apr_time_from_msec(50)

static int is_sent(const mod_comet_parked_t *park)
{
    return mod_comet_outbox_is_empty(&park->outbox)
           && !park->c->data_in_output_filters;
}

/* Send what is left of earlier bytes, then the answers for the client. */
static apr_status_t say(mod_comet_parked_t *park)
{
    comet_buffer_t bytes = { .data = NULL };
    apr_status_t status = mod_comet_filters_push(park->c);

    if (status == APR_SUCCESS) {
        status = mod_comet_outbox_send(&park->outbox, park->r, park->brigade);
    }
    if (status == APR_SUCCESS && is_sent(park)) {
        mod_comet_parked_stream_answers(park, &bytes);
        if (bytes.length || bytes.failed) {
            status = mod_comet_parked_write(park, &bytes);
        }
    }
    mod_comet_parked_note_blocked(park);
    return status;
}

/* Wait until there is room for more input, or an answer for the client.
 * @return 0: neither came in time, and the client does not take its earlier
 *         answers, so it is lost */
static int await_room(mod_comet_parked_t *park)
{
    mod_comet_talk_t *talk = park->ask->talk;
    mod_comet_child_t *child = mod_comet_child();
    int waited = 0;

    if (mod_comet_speaker_enter(child)) {
        waited =
            mod_comet_talk_await(talk, mod_comet_talk_timeout(talk) + PATIENCE);
        mod_comet_speaker_leave(child);
    }
    if (!waited) {
        mod_comet_talk_close(
            talk, COMET_WEBSOCKET_TRY_AGAIN,
            mod_comet_talk_is_starved(talk)
                ? MOD_COMET_TALK_STARVED
                : "retry=1000 messages arrive faster than they are stored");
    }
    return waited || is_sent(park);
}

/* Give up on a client that has left, or that is dropped.
 * @return 0 */
static int lose(mod_comet_parked_t *park, comet_metric_e counter)
{
    comet_metrics_add(counter, !park->said_all);
    park->c->aborted = 1;
    return 0;
}

/* Lend the connection to the hub for a moment, so that a client that sends
 * without pause also gets its news.
 * @return 0: the WebSocket has ended meanwhile */
static int visit_hub(mod_comet_parked_t *park)
{
    comet_hub_t *hub = mod_comet_child()->hub;
    mod_comet_talk_t *talk = mod_comet_talk_ref(park->ask->talk);

    mod_comet_talk_attach(talk, hub, &park->subscriber);
    if (comet_hub_join(hub, &park->subscriber, (apr_size_t)park->store,
                       mod_comet_live_selection(park->ask))
        == APR_SUCCESS) {
        comet_hub_leave_served(hub, &park->subscriber, VISIT);
    }
    mod_comet_talk_detach(talk);
    mod_comet_talk_unref(talk);
    return park->r && !park->over && !park->c->aborted;
}

/* Whether a client sends without pause but takes no answers, although its talk
 * is closed.  This happens only under an httpd whose MPM cannot wait for the
 * socket to become writable. */
static int is_flooding(const mod_comet_parked_t *park, mod_comet_hear_e heard)
{
    return heard == MOD_COMET_HEAR_FULL && !is_sent(park)
           && mod_comet_talk_is_closed(park->ask->talk);
}

int mod_comet_park_talk_go_on(mod_comet_parked_t *park)
{
    int can_wait_to_write = mod_comet_mpm_capacity()->has_waitio;
    mod_comet_talk_t *talk = park->ask->talk;
    mod_comet_hear_e heard;

    for (;;) {
        if (say(park) != APR_SUCCESS) {
            return lose(park, COMET_METRIC_dropped);
        }
        if (is_sent(park) && park->said_all) {
            return 0;
        }
        if (!is_sent(park) && can_wait_to_write) {
            return 1; /* nothing is read from the client until it has taken its
                       * answers */
        }
        if (park->end_msec) {
            mod_comet_talk_settle(talk, MOD_COMET_CLOSING_LIMIT);
            return visit_hub(park);
        }
        heard = mod_comet_hear_filters(mod_comet_child(), park->c,
                                       park->brigade, talk);
        if (heard == MOD_COMET_HEAR_GONE) {
            return lose(park, COMET_METRIC_departed);
        }
        mod_comet_live_listen(park->ask, &park->subscriber, !park->slice.of,
                              &park->ends_at);
        if (park->slice.of
            || (heard == MOD_COMET_HEAR_NOTHING
                && !mod_comet_talk_is_starved(talk)
                && (!is_sent(park) || !mod_comet_talk_has_words(talk)))) {
            return 1;
        }
        if ((!mod_comet_talk_room(talk) && !await_room(park))
            || is_flooding(park, heard)) {
            return lose(park, COMET_METRIC_dropped);
        }
        if (heard == MOD_COMET_HEAR_FULL && !visit_hub(park)) {
            return 0;
        }
    }
}
