/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of HTTP/2 that wait without a thread. */
#include "wait/ghost.h"

#include <stdlib.h>

#include "output/answer.h"
#include "output/chain.h"
#include "output/log.h"
#include "output/news.h"
#include "output/outbox.h"
#include "output/slice.h"
#include "request/limits.h"
#include "server/config.h"
#include "server/mpm.h"
#include "wait/h2_priv.h"
#include "wait/verdicts.h"

/* The most ghosts of a connection.  mod_http2 does not count ghosts, so its
 * SETTINGS_MAX_CONCURRENT_STREAMS does not limit them.  This is the default of
 * H2MaxSessionStreams. */
#define GHOSTS_MOST 100
/* The obstacle if a request's client or connection is about to go.  The request
 * cannot be a ghost then, but no reason is logged. */
#define GONE ""
/* Filler is sent in pieces of at most this size. */
#define FILLER_BYTES 4096

/* A ghost.  The request's thread makes it; the hub owns it once it has
 * joined. */
typedef struct ghost_t {
    comet_subscriber_t subscriber; /* first, because serve() casts its address
                                    * to this struct */
    comet_h2_ghost_t stream; /* [h2->lock] */
    mod_comet_h2_t *h2; /* a reference */
    mod_comet_child_t *child;
    mod_comet_ask_t ask; /* a copy, without pointers into the request's pool */
    apr_interval_time_t heartbeat;
    apr_time_t ends_at; /* from mod_comet_ask_end() */
    apr_time_t stops_at; /* when all bytes must be sent, once the child ends;
                          * 0: it does not end */
    int over; /* the session has the ghost's last bytes */
    int silent; /* how many timers have fired since a byte was last sent */
    int aborted; /* the client is gone */
    mod_comet_slice_t slice; /* how much is sent of a message that is too long
                              * to be sent at once */
    apr_size_t pending; /* how many bytes were not yet sent when the ghost was
                         * last served */
    apr_size_t counted; /* how many unsent bytes the gauge counts for it */
    apr_off_t body_bytes; /* for the log */
    mod_comet_place_t place;
    mod_comet_log_t *log;
    mod_comet_story_t story;
} ghost_t;

/* --- served by the hub ---------------------------------------------------- */

/* Add bytes for the client.
 * @param last  whether the stream ends after them */
static void say_locked(ghost_t *ghost, const comet_buffer_t *bytes, int last)
{
    comet_buffer_t *out = &ghost->stream.bytes;

    ghost->body_bytes += (apr_off_t)bytes->length;
    comet_buffer_add(out, bytes->data, bytes->length);
    out->failed |= bytes->failed;
    ghost->stream.ends |= last;
    ghost->over |= last;
    ghost->subscriber.stalled = 1;
    mod_comet_h2_wake_locked(ghost->h2);
}

/* Whether the child stops, and the client of a poll may take the rest of its
 * answer as long as it takes something now and then (wait/parked_limit.h). */
static int may_finish(const ghost_t *ghost)
{
    return ghost->stops_at && !ghost->ask.transport->streams
           && !mod_comet_child_must_end();
}

static apr_time_t next_look(const ghost_t *ghost)
{
    apr_time_t beat;

    if (may_finish(ghost)) { /* soon enough to extend the limit */
        return mod_comet_news_due(ghost->stops_at, MOD_COMET_CLOSING_LIMIT / 2);
    }
    if (ghost->stops_at) {
        return ghost->stops_at;
    }
    if (!ghost->ask.transport->streams && !ghost->over) {
        return ghost->subscriber.timeout_at;
    }
    beat = mod_comet_h2_next_beat(ghost->h2, ghost->heartbeat);
    return ghost->ends_at && ghost->ends_at < beat ? ghost->ends_at : beat;
}

static comet_outcome_e lose(ghost_t *ghost, comet_metric_e counter)
{
    ghost->aborted = 1;
    if (counter == COMET_METRIC_dropped) {
        mod_comet_story_end(&ghost->story, MOD_COMET_END_lost);
    }
    comet_metrics_add(counter, 1);
    return COMET_LEAVE;
}

/* Serve a ghost whose earlier bytes are not all sent: the client has granted no
 * window, or reads nothing. */
static comet_outcome_e serve_stalled(ghost_t *ghost, unsigned reasons,
                                     apr_size_t pending)
{
    if (pending != ghost->pending) {
        ghost->silent = 0;
        if (may_finish(ghost)) {
            ghost->stops_at = mod_comet_h2_extend(ghost->h2);
        }
    }
    ghost->pending = pending;
    ghost->silent += (reasons & COMET_TIMEOUT) != 0;
    if (ghost->silent > 2
        || (ghost->stops_at && comet_monotonic() >= ghost->stops_at)) {
        return lose(ghost, COMET_METRIC_dropped);
    }
    ghost->subscriber.timeout_at = next_look(ghost);
    return COMET_WAIT;
}

static comet_outcome_e serve_idle(ghost_t *ghost,
                                  const comet_delivery_t *delivery)
{
    static const comet_batch_t no_news = { .count = 0 };
    const comet_batch_t *batch =
        mod_comet_news_is_over(ghost->ends_at) ? &no_news : delivery->batch;
    int streams = ghost->ask.transport->streams;
    int retry_msec = mod_comet_news_retry(
        &ghost->story,
        delivery->reasons | (ghost->stops_at ? COMET_STOPPING : 0),
        ghost->ends_at, ghost->ask.judged.took);
    int timeout = (delivery->reasons & COMET_TIMEOUT) != 0;
    comet_buffer_t bytes = { .data = NULL };

    ghost->silent = 0;
    if (!streams && !batch->count && !retry_msec && !timeout) {
        return COMET_WAIT;
    }
    if (!streams) {
        mod_comet_news_encode(&ghost->ask, batch, &bytes);
    }
    else if (mod_comet_slice_encode_next(&ghost->slice, &ghost->ask, batch,
                                         retry_msec, timeout,
                                         &ghost->subscriber.seen, &bytes)
             != APR_SUCCESS) {
        return lose(ghost, COMET_METRIC_dropped);
    }
    if (bytes.length || bytes.failed || retry_msec) {
        pthread_mutex_lock(&ghost->h2->lock);
        say_locked(ghost, &bytes, !streams || retry_msec);
        pthread_mutex_unlock(&ghost->h2->lock);
    }
    ghost->pending = bytes.length;
    mod_comet_outbox_count(&ghost->counted, bytes.length);
    comet_buffer_free(&bytes);
    ghost->subscriber.timeout_at = next_look(ghost);
    return COMET_WAIT;
}

/* Keep the verdicts for a client that will come back, until its wait would have
 * ended.  A poll would have waited until its timer fires. */
static void keep_verdicts(const ghost_t *ghost)
{
    const mod_comet_ask_t *ask = &ghost->ask;

    mod_comet_verdicts_keep(
        ghost->child->verdicts, ask->judged.identity,
        ghost->subscriber.channel->selection, ask->authenticated,
        ask->transport->streams ? ghost->ends_at
                                : ghost->subscriber.timeout_at);
}

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    ghost_t *ghost = (ghost_t *)subscriber;
    comet_h2_ghost_state_e state;
    apr_size_t pending;
    int failed, ends;

    pthread_mutex_lock(&ghost->h2->lock);
    state = ghost->stream.state;
    pending = ghost->stream.bytes.length - ghost->stream.taken;
    ends = ghost->stream.ends;
    failed = ghost->stream.bytes.failed;
    pthread_mutex_unlock(&ghost->h2->lock);
    mod_comet_outbox_count(&ghost->counted, pending);
    if ((delivery->reasons & COMET_STOPPING) && !ghost->stops_at) {
        ghost->stops_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;
    }
    if (state == COMET_H2_OVER) {
        return COMET_LEAVE;
    }
    if (state == COMET_H2_LOST || failed) {
        return lose(ghost,
                    failed ? COMET_METRIC_dropped : COMET_METRIC_departed);
    }
    if (pending || ends) {
        return serve_stalled(ghost, delivery->reasons, pending);
    }
    if (subscriber->stalled) {
        /* The hub has not looked for messages: it took the ghost from its queue
         * before it learnt that the ghost's bytes were sent. */
        subscriber->stalled = 0;
        subscriber->timeout_at =
            ghost->stops_at ? comet_monotonic() : next_look(ghost);
        return COMET_WAIT;
    }
    if ((delivery->reasons & COMET_RECHECK)
        && !(delivery->reasons & COMET_REVOKED)) {
        keep_verdicts(ghost);
    }
    return serve_idle(ghost, delivery);
}

static void free_ghost(ghost_t *ghost)
{
    mod_comet_h2_unref(ghost->h2);
    free(ghost);
}

/* Remove the ghost from its session.  The connection may end after that. */
static void unlink_stream(ghost_t *ghost)
{
    pthread_mutex_lock(&ghost->h2->lock);
    ghost->body_bytes -=
        (apr_off_t)(ghost->stream.bytes.length - ghost->stream.taken);
    comet_h2_session_drop(&ghost->h2->session, &ghost->stream);
    mod_comet_h2_wake_locked(ghost->h2);
    pthread_mutex_unlock(&ghost->h2->lock);
}

static void left(comet_subscriber_t *subscriber)
{
    ghost_t *ghost = (ghost_t *)subscriber;
    mod_comet_log_end_t end;

    unlink_stream(ghost);
    mod_comet_outbox_count(&ghost->counted, 0);
    comet_metrics_add(COMET_METRIC_ghosts, -1);
    mod_comet_mpm_count(0, ghost->body_bytes);
    mod_comet_place_leave(&ghost->place);
    end = (mod_comet_log_end_t){
        .body_bytes = ghost->body_bytes,
        .sent_bytes = ghost->body_bytes,
        .aborted = ghost->aborted,
        .story = ghost->story,
    };
    mod_comet_log_write(ghost->child->log, ghost->log, &end);
    free_ghost(ghost);
}

/* --- whether a request may be a ghost (the request's thread) -------------- */

/* Find out why a request cannot wait as a ghost, as far as this is known
 * without the connection's lock.
 * @return NULL: no reason was found */
static const char *find_obstacle(request_rec *r, const mod_comet_ask_t *ask)
{
    int is_user = r->user || ask->authenticated;
    const mod_comet_h2_t *h2 = mod_comet_h2_find(r->connection->master);

    if (!h2 || !mod_comet_h2_stream(r)) {
        return "only the event MPM and mod_http2 2 can let HTTP/2 wait without "
               "a thread, and only over TLS or with prior knowledge (not after "
               "Upgrade: h2c)";
    }
    if (!mod_comet_log_can_write(h2->child->log)) {
        return "an access log can write its line only while the request exists";
    }
    if (ask->tick) {
        return "it is a clock";
    }
    if (ask->talk) {
        return "it is a WebSocket";
    }
    if (r->prev || r->main) {
        return "it is an internal redirect";
    }
    if (is_user && ask->transport->streams && !mod_comet_ask_end(ask)) {
        return "its user is never checked again (CometMaxLifetime off)";
    }
    return mod_comet_chain_is_direct(r)
               ? NULL
               : "an output filter may hold back bytes (see the manual, "
                 "\"Other modules\")";
}

/* Count a request that keeps its thread while it waits, and log the reason.
 * Each reason is logged once in each child. */
static void fall_back(const request_rec *r, const char *reason)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static const char *told[16]; /* [lock] */
    const apr_size_t size = sizeof(told) / sizeof(*told);
    apr_size_t i = 0;
    int is_new;

    comet_metrics_add(COMET_METRIC_http2_threads, 1);
    pthread_mutex_lock(&lock);
    while (i < size && told[i] && told[i] != reason) {
        i++;
    }
    is_new = i < size && !told[i];
    if (is_new) {
        told[i] = reason;
    }
    pthread_mutex_unlock(&lock);
    if (is_new) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "COMET0130: an HTTP/2 request occupies two threads while "
                      "it waits at %s: %s; others with this reason are not "
                      "logged",
                      r->uri, reason);
    }
}

/* --- beginning (the request's thread) ------------------------------------- */

static ghost_t *make_ghost(request_rec *r, const mod_comet_ask_t *ask)
{
    ghost_t *ghost = calloc(1, sizeof(*ghost));
    mod_comet_h2_t *h2 = mod_comet_h2_find(r->connection->master);
    int streams = ask->transport->streams;

    if (!ghost) {
        return NULL;
    }
    atomic_fetch_add(&h2->references, 1);
    ghost->h2 = h2;
    ghost->child = h2->child;
    ghost->ask = *ask;
    ghost->ask.story = &ghost->story;
    ghost->story = *ask->story;
    ghost->story.way = "ghosts";
    ghost->ask.selection = NULL;
    ghost->ask.words = (comet_text_t){ NULL, 0 };
    ghost->ask.channel = (comet_text_t){ NULL, 0 };
    ghost->heartbeat =
        ask->heartbeat < h2->ack.every ? ask->heartbeat : h2->ack.every;
    ghost->ends_at = mod_comet_ask_end(ask);
    ghost->stream.stream = mod_comet_h2_stream(r);
    ghost->stream.owner = &ghost->subscriber;
    ghost->subscriber = (comet_subscriber_t){
        .serve = serve,
        .left = left,
        .own_fd = -1,
        .seen = ask->seen,
        .floor = ask->pruned,
        .limit = (apr_uint32_t)ask->limit,
        .piece = streams ? MOD_COMET_STREAM_BYTES : 0,
        .blocked_fd = -1,
        .timeout_at = mod_comet_news_due(ghost->ends_at, ask->hold),
    };
    if (streams) {
        ghost->subscriber.timeout_at = next_look(ghost);
    }
    return ghost;
}

/* Claim the ghost's stream in the session of its connection.
 * @param filler  OUT: how many bytes of filler must be sent
 * @return NULL, or why the stream cannot be claimed */
static const char *claim(ghost_t *ghost, apr_int64_t *filler)
{
    mod_comet_h2_t *h2 = ghost->h2;
    int is_full, is_parked, is_first;

    pthread_mutex_lock(&h2->lock);
    is_full = h2->session.count >= GHOSTS_MOST;
    is_parked = h2->place == MOD_COMET_H2_PARKED;
    *filler = COMET_H2_ENDED;
    if (!is_full && h2->place == MOD_COMET_H2_HELD) {
        *filler = comet_h2_session_claim(&h2->session, &ghost->stream);
    }
    is_first = *filler >= 0 && h2->session.count == 1;
    pthread_mutex_unlock(&h2->lock);
    if (is_first) {
        mod_comet_h2_keep_short(h2);
    }
    if (is_full) {
        return "a hundred other requests of its connection wait already";
    }
    if (*filler == COMET_H2_NO_WINDOW || is_parked) {
        return "its client allows too little to be sent (flow control)";
    }
    if (*filler == COMET_H2_HAS_BODY) {
        return "it has a body";
    }
    return *filler < 0 ? GONE : NULL;
}

/* Let the ghost join the hub, which then owns it.
 * @return whether it has joined */
static int join(const request_rec *r, ghost_t *ghost,
                comet_selection_t *selection)
{
    mod_comet_h2_t *h2 = ghost->h2;
    comet_buffer_t opening = { .data = NULL };
    apr_status_t status;

    if (!ghost->ask.transport->whole) {
        mod_comet_news_encode_opening(&ghost->ask, &opening);
    }
    comet_metrics_add(COMET_METRIC_ghosts, 1);
    pthread_mutex_lock(&h2->lock);
    comet_selection_unref(h2->selection);
    h2->selection = comet_selection_ref(selection);
    h2->store = mod_comet_config_server(r->server)->store;
    if (opening.length || opening.failed) {
        say_locked(ghost, &opening, 0);
    }
    status = comet_hub_join(ghost->child->hub, &ghost->subscriber,
                            (apr_size_t)h2->store, selection);
    if (status == APR_SUCCESS) {
        /* the client may have reset the stream meanwhile */
        mod_comet_h2_tell(h2, &ghost->stream);
    }
    pthread_mutex_unlock(&h2->lock);
    comet_buffer_free(&opening);
    if (status != APR_SUCCESS) {
        comet_metrics_add(COMET_METRIC_ghosts, -1);
    }
    return status == APR_SUCCESS;
}

/* Send filler, which never reaches the client.  If it cannot be sent, mod_http2
 * resets the stream. */
static void send_filler(request_rec *r, apr_int64_t length)
{
    static const char block[FILLER_BYTES];
    int sent = 1;

    r->bytes_sent -= length; /* sending the filler adds the same number again */
    while (sent && length > 0) {
        int piece = length < FILLER_BYTES ? (int)length : FILLER_BYTES;

        sent = ap_rwrite(block, piece, r) >= 0;
        length -= piece;
    }
}

/* Send the headers, without Content-Length, and give the stream to the hub.
 * mod_http2 may end it after that. */
static void begin(request_rec *r, const mod_comet_ask_t *ask, ghost_t *ghost,
                  apr_int64_t filler)
{
    mod_comet_request_t *request = mod_comet_request(r);

    mod_comet_answer_prepare(r, ask->transport);
    ghost->place = request->place;
    ghost->subscriber.revoked = comet_presence_revoked(ghost->place.seat);
    mod_comet_h2_trim(r->connection);
    if (ap_rflush(r) >= 0) {
        /* this follows the flush, so that all header fields of the response are
         * set */
        ghost->log = mod_comet_log_keep(r, ghost->story.way);
    }
    if (ghost->log && join(r, ghost, ask->selection)) {
        request->place = (mod_comet_place_t){ .seat = NULL };
        send_filler(r, filler);
        return;
    }
    r->connection->aborted = 1; /* mod_http2 resets the stream, so the client
                                 * learns of the end */
    unlink_stream(ghost);
    if (ghost->log) {
        mod_comet_log_drop(r, ghost->log);
    }
    free_ghost(ghost);
}

int mod_comet_ghost_wait(request_rec *r, const mod_comet_ask_t *ask)
{
    const char *obstacle;
    ghost_t *ghost = NULL;
    apr_int64_t filler = COMET_H2_ENDED;

    if (!r->connection->master || !mod_comet_config_park_http2(r->server)) {
        return DECLINED;
    }
    obstacle = find_obstacle(r, ask);
    if (!obstacle) {
        ghost = make_ghost(r, ask);
        obstacle = ghost ? claim(ghost, &filler) : "no memory is left";
    }
    if (!obstacle) {
        begin(r, ask, ghost, filler);
        return OK;
    }
    if (ghost) {
        free_ghost(ghost);
    }
    if (*obstacle) {
        fall_back(r, obstacle);
    }
    return DECLINED;
}
