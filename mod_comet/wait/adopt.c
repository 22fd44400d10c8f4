/* SPDX-License-Identifier: Apache-2.0 */
/* Event streams on sockets that the hub owns. */
#include "wait/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <http_connection.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/encoder.h"
#include "base/pulse.h"
#include "hub/channel.h"
#include "hub/subscriber.h"
#include "server/child.h"
#include "server/mpm.h"
#include "request/limits.h"
#include "output/log.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "output/slice.h"
#include "output/peek.h"
#include "wait/verdicts.h"
#include "wait/wait_priv.h"

/* A stream.  The request's thread makes it; the hub owns it from join on. */
typedef struct stream_t {
    comet_subscriber_t subscriber; /* first: serve() gets its address */
    const mod_comet_child_t *child;
    const comet_transport_t *transport;
    comet_format_t format;
    apr_interval_time_t heartbeat;
    comet_pulse_t pulse;
    apr_time_t ends_at; /* of mod_comet_ask_end() */
    apr_uint64_t identity[2]; /* as in mod_comet_ask_t, like the next two */
    apr_interval_time_t judging;
    int authenticated;
    int chunked; /* HTTP/1.1 */
    apr_time_t stops_at; /* the child ends: the limit for sending the rest;
                          * 0: it does not end */
    int over; /* the stream ends once the outbox is sent */
    int aborted; /* the client is gone */
    mod_comet_outbox_t outbox; /* bytes that the socket has not taken yet */
    mod_comet_slice_t slice; /* of a message that is too long for it */
    apr_off_t body_bytes, sent_bytes; /* for the log */
    apr_off_t counted_bytes; /* of the body, which httpd has counted */
    comet_quota_place_t place;
    mod_comet_log_t *log;
} stream_t;

/* --- writing (the hub's thread) --------------------------------------- */

static int is_sent(const stream_t *stream)
{
    return mod_comet_outbox_is_empty(&stream->outbox);
}

/* @param sent  result of mod_comet_outbox_write() or mod_comet_outbox_flush()
 * @return 0: the client is lost */
static int count_sent(stream_t *stream, apr_ssize_t sent)
{
    if (sent > 0) {
        stream->sent_bytes += sent;
    }
    return sent >= 0;
}

static int send_bytes(stream_t *stream, comet_text_t bytes)
{
    return count_sent(stream,
                      mod_comet_outbox_write(&stream->outbox,
                                             stream->subscriber.own_fd, bytes));
}

static int send_rest(stream_t *stream)
{
    return count_sent(stream, mod_comet_outbox_flush(
                                  &stream->outbox, stream->subscriber.own_fd));
}

/* @param encoding  of which the text is the whole body, or a part */
static int send_part(stream_t *stream, const comet_encoding_t *encoding,
                     comet_text_t text)
{
    comet_buffer_t framed = { .data = NULL };
    int sent;

    stream->body_bytes += (apr_off_t)text.length;
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
    comet_metrics_add(COMET_METRIC_delivered, stream->slice.of == 0);
    return 1;
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
    if (encoding->body.length > mod_comet_outbox_share()) {
        return send_slices(stream, batch);
    }
    comet_metrics_add(COMET_METRIC_delivered, (apr_int64_t)batch->count);
    return send_part(stream, encoding, encoding->body);
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
    stream->body_bytes += (apr_off_t)text.length;
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
    return send_words(stream, &words, 1);
}

/* --- served by the hub ------------------------------------------------ */

/* The client cannot be written to any more, or no longer reads. */
static comet_outcome_e lose(stream_t *stream)
{
    stream->aborted = 1;
    comet_metrics_add(COMET_METRIC_dropped, 1);
    return COMET_LEAVE;
}

/* Whether the client has left, or has sent another request behind a stream that
 * never ends.  @return 0: neither */
static int is_done_listening(stream_t *stream)
{
    char byte;
    ssize_t got =
        recv(stream->subscriber.own_fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);

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
        send_closing(stream, 0); /* ends the body; the result is of no use */
    }
    return COMET_LEAVE;
}

static comet_outcome_e go_on(stream_t *stream)
{
    if (comet_pulse_is_lost(&stream->pulse, stream->subscriber.own_fd)) {
        return lose(stream);
    }
    if (is_sent(stream)) {
        stream->subscriber.blocked_fd = -1;
        stream->subscriber.timeout_at =
            mod_comet_news_due(stream->ends_at, stream->heartbeat);
        return stream->over ? COMET_LEAVE : COMET_WAIT;
    }
    stream->subscriber.blocked_fd = stream->subscriber.own_fd;
    stream->subscriber.timeout_at =
        mod_comet_news_due(stream->stops_at, stream->heartbeat);
    return COMET_WAIT;
}

/* The socket has not taken all bytes yet. */
static comet_outcome_e serve_blocked(stream_t *stream, unsigned reasons)
{
    if (stream->stops_at && comet_monotonic() >= stream->stops_at) {
        return lose(stream);
    }
    if ((reasons & COMET_WRITABLE) && !send_rest(stream)) {
        return lose(stream);
    }
    if (is_sent(stream) && stream->stops_at && !stream->over
        && !stream->slice.of
        && !send_closing(
            stream, mod_comet_news_retry(COMET_STOPPING, 0, stream->judging))) {
        return lose(stream);
    }
    return reasons & (COMET_WRITABLE | COMET_STOPPING | COMET_TIMEOUT)
               ? go_on(stream)
               : COMET_WAIT;
}

static comet_outcome_e serve(comet_subscriber_t *subscriber,
                             const comet_delivery_t *delivery)
{
    stream_t *stream = (stream_t *)subscriber;
    unsigned reasons = delivery->reasons;
    int retry_msec =
        mod_comet_news_retry(reasons, stream->ends_at, stream->judging);
    int sent = 1;

    if ((reasons & COMET_STOPPING) && !stream->stops_at) {
        stream->stops_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;
    }
    if ((reasons & COMET_READABLE) && is_done_listening(stream)) {
        return end(stream);
    }
    if (subscriber->blocked_fd >= 0) {
        return serve_blocked(stream, reasons);
    }
    if (!mod_comet_slice_fits(&stream->slice, delivery->batch)
        || (stream->slice.of && retry_msec)) {
        return lose(stream); /* no words may follow half a message */
    }
    if (reasons & COMET_RECHECK) {
        mod_comet_verdicts_keep(stream->child->verdicts, stream->identity,
                                subscriber->channel->selection,
                                stream->authenticated, stream->ends_at);
    }
    if (delivery->batch->count && !mod_comet_news_is_over(stream->ends_at)) {
        sent = send_news(stream, delivery->batch);
    }
    else if ((reasons & COMET_TIMEOUT) && !retry_msec) {
        sent = send_heartbeat(stream);
    }
    if (sent && retry_msec) {
        sent = send_closing(stream, retry_msec);
    }
    return sent ? go_on(stream) : lose(stream);
}

static void free_stream(stream_t *stream)
{
    if (stream->subscriber.own_fd >= 0) {
        close(stream->subscriber.own_fd);
    }
    mod_comet_outbox_clear(&stream->outbox);
    free(stream);
}

static void left(comet_subscriber_t *subscriber)
{
    stream_t *stream = (stream_t *)subscriber;

    mod_comet_mpm_count(0, stream->body_bytes - stream->counted_bytes);
    comet_metrics_add(stream->transport->gauge, -1);
    comet_metrics_add(COMET_METRIC_adopted, -1);
    mod_comet_limits_leave(&stream->place);
    mod_comet_log_write(stream->child->log, stream->log,
                        &(mod_comet_log_end_t){
                            .body_bytes = stream->body_bytes,
                            .sent_bytes = stream->sent_bytes,
                            .aborted = stream->aborted,
                        });
    free_stream(stream);
}

/* --- adopting (the request's thread) ---------------------------------- */

/* How many bytes the connection's socket was given so far, sent or not. */
static apr_int64_t given_bytes(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
        return -1; /* not a TCP socket: not adopted */
    }
    return (apr_int64_t)(info.tcpi_bytes_sent - info.tcpi_bytes_retrans)
           + info.tcpi_notsent_bytes;
}

apr_int64_t mod_comet_adopt_begin(request_rec *r, const mod_comet_ask_t *ask)
{
    int is_user = r->user || ask->authenticated;

    /* a clock's ticks go through the filters; a stream of an authenticated
     * user must end before long, so that the user is checked again */
    if (!mod_comet_log_can_write(mod_comet_child()->log)
        || !mod_comet_config_adopt(r) || !ask->transport->streams || ask->tick
        || (is_user && !mod_comet_ask_end(ask)) || r->prev || r->main
        || r->connection->master || r->proto_num < HTTP_VERSION(1, 0)
        || !mod_comet_chain_ends_plain(r)) {
        return -1;
    }
    return given_bytes(mod_comet_filters_fd(r->connection));
}

static stream_t *make_stream(request_rec *r, const mod_comet_ask_t *ask,
                             apr_int64_t before)
{
    stream_t *stream = calloc(1, sizeof(*stream));
    apr_interval_time_t third =
        mod_comet_request_timeout_server(r)->timeout / 3;
    int fd = mod_comet_filters_fd(r->connection), on = 1;

    if (!stream) {
        return NULL;
    }
    stream->child = mod_comet_child();
    stream->transport = ask->transport;
    stream->format = ask->format;
    stream->heartbeat = ask->heartbeat < third ? ask->heartbeat : third;
    stream->ends_at = mod_comet_ask_end(ask);
    memcpy(stream->identity, ask->identity, sizeof(ask->identity));
    stream->judging = ask->judging;
    stream->authenticated = ask->authenticated;
    stream->chunked = r->chunked;
    stream->body_bytes = stream->counted_bytes = r->bytes_sent;
    stream->sent_bytes = given_bytes(fd) - before;
    stream->subscriber = (comet_subscriber_t){
        .serve = serve,
        .left = left,
        .own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
        .seen = ask->seen,
        .floor = ask->pruned,
        .limit = ask->limit,
        .piece = MOD_COMET_STREAM_BYTES,
        .blocked_fd = -1,
    };
    go_on(stream); /* sets its timer */
    stream->log = mod_comet_log_keep(r);
    if (stream->log && stream->subscriber.own_fd < 0) {
        mod_comet_log_drop(r, stream->log);
    }
    if (!stream->log || stream->subscriber.own_fd < 0) {
        free_stream(stream);
        return NULL;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    comet_pulse_begin(&stream->pulse, fd, stream->heartbeat);
    return stream;
}

static int join(const request_rec *r, const mod_comet_ask_t *ask,
                stream_t *stream)
{
    int store = mod_comet_config_server(r->server)->store;

    comet_metrics_add(stream->transport->gauge, 1);
    comet_metrics_add(COMET_METRIC_adopted, 1);
    if (comet_hub_join(stream->child->hub, &stream->subscriber,
                       (apr_size_t)store, ask->selection)
        == APR_SUCCESS) {
        return 1;
    }
    comet_metrics_add(stream->transport->gauge, -1);
    comet_metrics_add(COMET_METRIC_adopted, -1);
    return 0;
}

int mod_comet_adopt(request_rec *r, const mod_comet_ask_t *ask,
                    apr_int64_t before)
{
    mod_comet_request_t *request = mod_comet_request(r);
    conn_rec *c = r->connection;
    apr_bucket_brigade *look;
    stream_t *stream;

    if (c->aborted || c->data_in_output_filters
        || !mod_comet_chain_is_plain(r)) {
        return 0;
    }
    look = apr_brigade_create(r->pool, c->bucket_alloc);
    if (mod_comet_peek(c, look) != MOD_COMET_PEEK_NOTHING) {
        return 0;
    }
    stream = make_stream(r, ask, before);
    if (!stream) {
        return 0;
    }
    /* the hub owns the stream from join on and may free it before join
     * returns */
    stream->place = request->place;
    if (!join(r, ask, stream)) {
        mod_comet_log_drop(r, stream->log);
        free_stream(stream);
        return 0;
    }
    request->place.count = 0;
    /* makes httpd end the request without sending anything, and close its
     * descriptor without shutting the connection down */
    r->eos_sent = 1;
    c->keepalive = AP_CONN_CLOSE;
    c->aborted = 1;
    return 1;
}
