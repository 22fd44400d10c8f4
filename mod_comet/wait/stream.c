/* SPDX-License-Identifier: Apache-2.0 */
/* Streams and WebSockets on sockets that the hub owns. */
#include "wait/stream.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/encoder.h"
#include "hub/channel.h"
#include "hub/hub.h"
#include "server/mpm.h"
#include "output/news.h"
#include "wait/hear.h"
#include "wait/verdicts.h"
#include "wait/wait_priv.h"

/* How long a client may take to close its WebSocket when the child ends. */
#define STOPPING_LINGER apr_time_from_msec(200)

typedef mod_comet_stream_t stream_t;

/* A field for a feature costs memory in each of ten thousand streams, even if
 * the feature is off. */
_Static_assert(sizeof(stream_t) <= 376, "keep elsewhere what few streams need");

/* --- writing (the hub's thread) --------------------------------------- */

static int is_sent(const stream_t *stream)
{
    return mod_comet_outlet_is_empty(&stream->outlet);
}

/* @param sent  result of mod_comet_outlet_write() or mod_comet_outlet_flush()
 * @return 0: the client is lost */
static int count_sent(stream_t *stream, apr_ssize_t sent)
{
    if (sent > 0 && !stream->outlet.tls) {
        stream->sent_bytes += sent;
    }
    return sent >= 0;
}

static void count_body(stream_t *stream, apr_size_t bytes)
{
    stream->body_bytes += (apr_off_t)bytes;
}

static int send_bytes(stream_t *stream, comet_text_t bytes)
{
    return count_sent(stream,
                      mod_comet_outlet_write(&stream->outlet,
                                             stream->subscriber.own_fd, bytes));
}

static int send_rest(stream_t *stream)
{
    return count_sent(stream, mod_comet_outlet_flush(
                                  &stream->outlet, stream->subscriber.own_fd));
}

/* @param encoding  the encoding whose body is, or contains, @a text */
static int send_part(stream_t *stream, const comet_encoding_t *encoding,
                     comet_text_t text)
{
    comet_buffer_t framed = { .data = NULL };
    int sent;

    count_body(stream, text.length);
    if (!stream->chunked) {
        return send_bytes(stream, text);
    }
    if (text.length == encoding->body.length) {
        return send_bytes(stream, encoding->chunk);
    }
    comet_encoder_add_chunk(&framed, text);
    sent = !framed.failed
           && send_bytes(stream, (comet_text_t){ framed.data, framed.length });
    comet_buffer_free(&framed);
    return sent;
}

/* Send the first message, which is long, as far as the socket takes it. */
static int send_slices(stream_t *stream, const comet_batch_t *batch)
{
    comet_batch_t first = { .messages = batch->messages,
                            .size = 1,
                            .count = 1 };
    const comet_encoding_t *encoding =
        comet_encoder_encode(&stream->child->waiting->streams,
                             stream->transport, &stream->format, &first);
    comet_text_t piece;

    do {
        if (!encoding) {
            return 0;
        }
        piece = mod_comet_slice_cut(&stream->slice, first.messages[0],
                                    encoding->body, &stream->subscriber.seen);
        if (!send_part(stream, encoding, piece)) {
            return 0;
        }
    } while (stream->slice.of && is_sent(stream));
    if (!stream->slice.of) {
        mod_comet_story_deliver(&stream->story, 1,
                                first.messages[0]->timestamp);
    }
    return 1;
}

/* The most bytes of an encoded batch that are sent to the stream at once. */
static apr_size_t find_share(const stream_t *stream)
{
    apr_size_t share = mod_comet_outbox_share();

    return share < MOD_COMET_PIECE_BYTES
               ? share
               : share * stream->subscriber.piece / MOD_COMET_STREAM_BYTES;
}

/* Choose how large the client's next piece of history may be: twice as large if
 * the client has taken all of this full batch at once. */
static void choose_piece(stream_t *stream, const comet_batch_t *batch)
{
    apr_uint32_t piece = 2 * stream->subscriber.piece;

    if (!is_sent(stream) || !comet_batch_is_full(batch)) {
        piece = MOD_COMET_STREAM_BYTES;
    }
    stream->subscriber.piece = piece < MOD_COMET_STREAM_BYTES_MOST
                                   ? piece
                                   : MOD_COMET_STREAM_BYTES_MOST;
}

static int send_batch(stream_t *stream, const comet_batch_t *batch,
                      const comet_encoding_t *encoding)
{
    int sent = send_part(stream, encoding, encoding->body);

    mod_comet_story_deliver(&stream->story, batch->count,
                            batch->messages[batch->count - 1]->timestamp);
    choose_piece(stream, batch);
    return sent;
}

static int send_news(stream_t *stream, const comet_batch_t *batch)
{
    const comet_encoding_t *encoding;

    if (stream->slice.of) {
        return send_slices(stream, batch);
    }
    encoding = comet_encoder_encode(&stream->child->waiting->streams,
                                    stream->transport, &stream->format, batch);
    if (!encoding) {
        return 0;
    }
    if (encoding->body.length <= find_share(stream)) {
        return send_batch(stream, batch, encoding);
    }
    if (stream->subscriber.piece > MOD_COMET_STREAM_BYTES) {
        /* take these messages again, in smaller batches */
        stream->subscriber.piece = MOD_COMET_STREAM_BYTES;
        stream->subscriber.seen = batch->messages[0]->timestamp - 1;
        return 1;
    }
    return send_slices(stream, batch);
}

/* Send a heartbeat or the closing words.  They are short and rare, so they are
 * framed for each stream separately.
 * @param last  whether the body ends with them */
static int send_words(stream_t *stream, comet_buffer_t *words, int last)
{
    comet_buffer_t bytes = { .data = NULL };
    comet_text_t text = { words->data, words->length };
    int sent;

    if (stream->chunked) {
        comet_encoder_add_chunk(&bytes, text);
        comet_buffer_puts(&bytes, last ? COMET_LAST_CHUNK : "");
    }
    else {
        comet_buffer_add(&bytes, text.data, text.length);
    }
    count_body(stream, text.length);
    sent =
        !words->failed && !bytes.failed
        && (!bytes.length
            || send_bytes(stream, (comet_text_t){ bytes.data, bytes.length }));
    comet_buffer_free(words);
    comet_buffer_free(&bytes);
    return sent;
}

static int send_heartbeat(stream_t *stream)
{
    comet_buffer_t words = { .data = NULL };

    comet_buffer_puts(&words, stream->transport->heartbeat);
    return send_words(stream, &words, 0);
}

static int send_closing(stream_t *stream, int retry_msec)
{
    comet_buffer_t words = { .data = NULL };

    mod_comet_news_encode_closing(stream->transport, retry_msec, &words);
    stream->over = 1;
    if (stream->talk) {
        mod_comet_talk_end(stream->talk);
    }
    return send_words(stream, &words, 1);
}

/* Send the answers for the client of a WebSocket. */
static int send_answers(stream_t *stream)
{
    comet_buffer_t words = { .data = NULL };
    int sent;

    if (!stream->talk || stream->slice.of || stream->over) {
        return 1;
    }
    stream->over = mod_comet_talk_take(stream->talk, &words) != 0;
    count_body(stream, words.length);
    sent =
        !words.failed
        && (!words.length
            || send_bytes(stream, (comet_text_t){ words.data, words.length }));
    comet_buffer_free(&words);
    return sent;
}

/* --- served by the hub ------------------------------------------------ */

/* Give up on a client to which nothing more can be sent, or which no longer
 * reads. */
static comet_outcome_e lose(stream_t *stream)
{
    stream->aborted = 1;
    mod_comet_story_end(&stream->story, MOD_COMET_END_lost);
    comet_metrics_add(COMET_METRIC_dropped, 1);
    return COMET_LEAVE;
}

/* Whether the client has left, or has sent another request while its stream is
 * open.
 * @return 0: neither */
static int is_done_listening(stream_t *stream)
{
    char byte;
    ssize_t got;

    if (stream->outlet.tls) {
        mod_comet_tls_e said = mod_comet_tls_listen(stream->outlet.tls);

        stream->aborted |= said == MOD_COMET_TLS_GONE;
        return said != MOD_COMET_TLS_SILENT;
    }
    got = recv(stream->subscriber.own_fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    stream->aborted = got <= 0;
    return 1;
}

static comet_outcome_e end(stream_t *stream)
{
    if (stream->aborted) {
        comet_metrics_add(COMET_METRIC_departed, 1);
    }
    else if (is_sent(stream) && !stream->slice.of) {
        send_closing(stream, 0); /* the empty chunk ends the body; it does not
                                  * matter whether the socket takes it */
    }
    return COMET_LEAVE;
}

/*
 * Read what the client of a WebSocket says.  The kernel reports input only
 * once, so `readable` notes that there may be more.  Nothing is read while the
 * client does not take its answers, or while its WebSocket has to end but its
 * Close was not sent yet.
 * @return 0: the client has left
 */
static int listen_to(stream_t *stream)
{
    mod_comet_talk_t *talk = stream->talk;
    mod_comet_hear_e heard;

    if (!talk->readable || stream->subscriber.blocked_fd >= 0
        || (talk->retry_msec && !stream->over)) {
        return 1;
    }
    heard =
        mod_comet_hear_socket(stream->child, stream->subscriber.own_fd, talk);
    talk->readable = heard == MOD_COMET_HEAR_FULL;
    return heard != MOD_COMET_HEAR_GONE;
}

/* Whether the client has ended the stream. */
static int is_ended(stream_t *stream, unsigned reasons)
{
    if (!stream->talk) {
        return (reasons & COMET_READABLE) && is_done_listening(stream);
    }
    stream->talk->readable |= (reasons & COMET_READABLE) != 0;
    if (listen_to(stream)) {
        return 0;
    }
    stream->aborted = !stream->over;
    return 1;
}

/* After the end of a WebSocket was sent, wait for its client to close first.
 * If the hub closed the socket while input arrives, the kernel would drop the
 * bytes that are on their way to the client. */
static comet_outcome_e linger(stream_t *stream)
{
    mod_comet_talk_t *talk = stream->talk;
    apr_time_t now = comet_monotonic();
    apr_time_t most =
        now
        + (comet_hub_is_stopping(stream->child->hub) ? STOPPING_LINGER
                                                     : MOD_COMET_CLOSING_LIMIT);

    if (!talk || (talk->lingers_until && now >= talk->lingers_until)) {
        return COMET_LEAVE;
    }
    if (!talk->lingers_until) {
        shutdown(stream->subscriber.own_fd, SHUT_WR);
    }
    if (!talk->lingers_until || most < talk->lingers_until) {
        talk->lingers_until = most;
    }
    stream->subscriber.timeout_at = talk->lingers_until;
    return COMET_REST;
}

/* Let the hub serve a WebSocket once more if input of its client can be read,
 * or if there are answers for the client. */
static void go_on_talking(stream_t *stream)
{
    mod_comet_talk_t *talk = stream->talk;

    if (talk && !stream->slice.of && !stream->over
        && (mod_comet_talk_has_words(talk)
            || (mod_comet_talk_room(talk) && talk->readable
                && !talk->retry_msec))) {
        comet_hub_call(stream->child->hub, &stream->subscriber);
    }
}

static comet_outcome_e go_on(stream_t *stream)
{
    if (comet_pulse_is_lost(&stream->pulse, stream->subscriber.own_fd,
                            stream->heartbeat)) {
        return lose(stream);
    }
    if (is_sent(stream)) {
        stream->subscriber.blocked_fd = -1;
        go_on_talking(stream);
        stream->subscriber.timeout_at = mod_comet_talk_due(
            stream->talk, mod_comet_news_due(stream->stops_at ? stream->stops_at
                                                              : stream->ends_at,
                                             stream->heartbeat));
        return stream->over ? linger(stream) : COMET_WAIT;
    }
    stream->subscriber.blocked_fd = stream->subscriber.own_fd;
    stream->subscriber.timeout_at =
        mod_comet_news_due(stream->stops_at, stream->heartbeat);
    return COMET_WAIT;
}

/* Whether the end of a WebSocket is put off, because its client waits for an
 * answer that might come in time. */
static int is_put_off(const stream_t *stream)
{
    return stream->talk && mod_comet_talk_is_unanswered(stream->talk)
           && comet_monotonic() < stream->stops_at;
}

/* Call mod_comet_news_retry() for a stream. */
static int find_retry(stream_t *stream, unsigned reasons, apr_time_t ends_at)
{
    return mod_comet_news_retry(&stream->story, reasons, ends_at,
                                stream->has_judged ? stream->judged->took : 0);
}

/* Find out whether the stream ends now.
 * @return within how many milliseconds the client is told to come back; 0: the
 *         stream does not end */
static int find_end(stream_t *stream, unsigned reasons)
{
    mod_comet_talk_t *talk = stream->talk;
    int retry_msec = find_retry(stream, reasons, stream->ends_at);

    if (((reasons & COMET_STOPPING) || (talk && retry_msec))
        && !stream->stops_at) {
        stream->stops_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;
    }
    if (!talk) {
        return retry_msec;
    }
    if (!talk->retry_msec) {
        talk->retry_msec = retry_msec;
    }
    return is_put_off(stream) ? 0 : talk->retry_msec;
}

/* Serve a stream whose socket has not taken all bytes. */
static comet_outcome_e serve_blocked(stream_t *stream, unsigned reasons)
{
    if (stream->stops_at && comet_monotonic() >= stream->stops_at) {
        return lose(stream);
    }
    if ((reasons & COMET_WRITABLE) && !send_rest(stream)) {
        return lose(stream);
    }
    if (is_sent(stream) && stream->stops_at && !stream->over
        && !stream->slice.of && !is_put_off(stream)
        && !send_closing(stream, find_retry(stream, COMET_STOPPING, 0))) {
        return lose(stream);
    }
    return reasons & (COMET_WRITABLE | COMET_STOPPING | COMET_TIMEOUT)
               ? go_on(stream)
               : COMET_WAIT;
}

static int send_next(stream_t *stream, const comet_delivery_t *delivery,
                     int retry_msec)
{
    int sent = send_answers(stream);

    if (!sent || stream->over) {
        return sent;
    }
    if (delivery->batch->count && !mod_comet_news_is_over(stream->ends_at)) {
        sent = send_news(stream, delivery->batch);
    }
    else if ((delivery->reasons & COMET_TIMEOUT) && !retry_msec) {
        sent = send_heartbeat(stream);
    }
    if (sent && retry_msec) {
        sent = send_closing(stream, retry_msec);
    }
    return sent;
}

comet_outcome_e mod_comet_stream_serve(comet_subscriber_t *subscriber,
                                       const comet_delivery_t *delivery)
{
    stream_t *stream = (stream_t *)subscriber;
    unsigned reasons = delivery->reasons;
    int retry_msec = find_end(stream, reasons);

    if (is_ended(stream, reasons)) {
        return end(stream);
    }
    if (stream->talk && stream->talk->lingers_until) {
        return linger(stream);
    }
    if (subscriber->blocked_fd >= 0) {
        return serve_blocked(stream, reasons);
    }
    if (stream->slice.of && delivery->is_unread && !delivery->batch->count
        && !retry_msec) {
        return go_on(stream); /* the rest of the message is read later */
    }
    if (!mod_comet_slice_fits(&stream->slice, delivery->batch)
        || (stream->slice.of && retry_msec)) {
        return lose(stream); /* nothing may follow an incomplete message */
    }
    if ((reasons & COMET_RECHECK) && !(reasons & COMET_REVOKED)
        && stream->has_judged) {
        mod_comet_verdicts_keep(stream->child->verdicts,
                                stream->judged->identity,
                                subscriber->channel->selection,
                                stream->authenticated, stream->ends_at);
    }
    return send_next(stream, delivery, retry_msec) ? go_on(stream)
                                                   : lose(stream);
}

void mod_comet_stream_free(stream_t *stream)
{
    if (stream->outlet.tls) {
        mod_comet_tls_end(stream->outlet.tls, !stream->aborted);
    }
    if (stream->subscriber.own_fd >= 0) {
        close(stream->subscriber.own_fd);
    }
    mod_comet_outlet_clear(&stream->outlet);
    mod_comet_talk_unref(stream->talk);
    free(stream);
}

static void write_log(const stream_t *stream)
{
    const mod_comet_log_end_t end = {
        .story = stream->story,
        .body_bytes = stream->body_bytes,
        .sent_bytes =
            stream->sent_bytes
            + (stream->outlet.tls ? mod_comet_tls_written(stream->outlet.tls)
                                  : 0),
        .aborted = stream->aborted,
    };

    mod_comet_log_write(stream->child->log, stream->log, &end);
}

void mod_comet_stream_left(comet_subscriber_t *subscriber)
{
    stream_t *stream = (stream_t *)subscriber;

    if (stream->talk) {
        mod_comet_talk_detach(stream->talk);
    }
    mod_comet_mpm_count(0, stream->body_bytes - stream->counted_bytes);
    comet_metrics_add(COMET_METRIC_adopted, -1);
    mod_comet_place_leave(&stream->place);
    write_log(stream);
    mod_comet_stream_free(stream);
}
