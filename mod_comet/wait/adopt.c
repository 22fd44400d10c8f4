/* SPDX-License-Identifier: Apache-2.0 */
/* Let the hub adopt event streams: it then owns their sockets. */
#include "wait/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <http_connection.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hub/hub.h"
#include "server/child.h"
#include "output/log.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/peek.h"
#include "wait/connection.h"
#include "wait/hear.h"
#include "wait/stream.h"
#include "wait/wait_priv.h"

typedef mod_comet_stream_t stream_t;

/* A stream over TLS that will join the hub when mod_ssl has released the SSL
 * object. */
typedef struct mod_comet_move_t {
    stream_t *stream;
    comet_selection_t *selection; /* a reference */
    int store;
} move_t;

/* How many bytes were written to the connection's socket so far, sent or
 * not. */
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

int mod_comet_adopt_may(request_rec *r, const mod_comet_ask_t *ask)
{
    int is_user = r->user || ask->authenticated;

    /* A clock is not adopted: its ticks go through the filters.  The stream of
     * an authenticated user must end at some time, so that the user is checked
     * again. */
    return mod_comet_log_can_write(mod_comet_child()->log)
           && mod_comet_config_adopt(r) && ask->transport->streams && !ask->tick
           && !ask->is_live && (!is_user || mod_comet_ask_end(ask)) && !r->prev
           && !r->main && !r->connection->master
           && r->proto_num >= HTTP_VERSION(1, 0);
}

/* @return mod_ssl's object if a stream over TLS may be adopted; NULL: it may
 *         not, or there is no TLS */
static mod_comet_tls_t *find_tls(const request_rec *r,
                                 const mod_comet_ask_t *ask)
{
    const mod_comet_connection_t *connection =
        mod_comet_connection(r->connection);

    return connection && connection->tls && !ask->talk
                   && !ask->transport->upgrades && mod_comet_config_adopt_tls(r)
                   && mod_comet_tls_is_there()
               ? connection->tls
               : NULL;
}

int mod_comet_adopt_is_plain(const request_rec *r, const mod_comet_ask_t *ask)
{
    return mod_comet_chain_is_plain(r, find_tls(r, ask) != NULL);
}

apr_int64_t mod_comet_adopt_begin(request_rec *r, const mod_comet_ask_t *ask)
{
    return mod_comet_adopt_may(r, ask)
                   && mod_comet_chain_ends_plain(r, find_tls(r, ask) != NULL)
               ? given_bytes(mod_comet_filters_fd(r->connection))
               : -1;
}

/* Make an empty stream, with a copy of @a judged unless that is all zeros.
 * @return NULL: no memory */
static stream_t *allocate(const mod_comet_judged_t *judged)
{
    static const mod_comet_judged_t nothing = { .took = 0 };
    int any = memcmp(judged, &nothing, sizeof(nothing)) != 0;
    stream_t *stream = calloc(1, sizeof(*stream) + (any ? sizeof(*judged) : 0));

    if (stream && any) {
        stream->has_judged = 1;
        stream->judged[0] = *judged;
    }
    return stream;
}

/* Set what the stream takes over from its request. */
static void take_request(stream_t *stream, request_rec *r,
                         const mod_comet_ask_t *ask)
{
    apr_interval_time_t third =
        mod_comet_request_timeout_server(r)->timeout / 3;

    stream->child = mod_comet_child();
    stream->transport = ask->transport;
    stream->format = ask->format;
    stream->heartbeat = ask->heartbeat < third ? ask->heartbeat : third;
    stream->ends_at = mod_comet_ask_end(ask);
    stream->authenticated = ask->authenticated != 0;
    stream->chunked = r->chunked != 0;
    stream->story = *ask->story;
    stream->story.way = "adopted";
    stream->body_bytes = stream->counted_bytes = r->bytes_sent;
}

static stream_t *make_stream(request_rec *r, const mod_comet_ask_t *ask,
                             apr_int64_t before)
{
    stream_t *stream = allocate(&ask->judged);
    int fd = mod_comet_filters_fd(r->connection), on = 1;

    if (!stream) {
        return NULL;
    }
    take_request(stream, r, ask);
    stream->sent_bytes = given_bytes(fd) - before;
    stream->subscriber = (comet_subscriber_t){
        .serve = mod_comet_stream_serve,
        .left = mod_comet_stream_left,
        .own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
        .seen = ask->seen,
        .floor = ask->pruned,
        .limit = (apr_uint32_t)ask->limit,
        .piece = MOD_COMET_STREAM_BYTES,
        .blocked_fd = -1,
        .timeout_at = mod_comet_news_due(stream->ends_at, stream->heartbeat),
    };
    stream->log = mod_comet_log_keep(r, stream->story.way);
    if (stream->log && stream->subscriber.own_fd < 0) {
        mod_comet_log_drop(r, stream->log);
    }
    if (!stream->log || stream->subscriber.own_fd < 0) {
        mod_comet_stream_free(stream);
        return NULL;
    }
    stream->talk = ask->talk ? mod_comet_talk_ref(ask->talk) : NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    comet_pulse_begin(&stream->pulse, fd, stream->heartbeat);
    return stream;
}

static int join(const request_rec *r, const mod_comet_ask_t *ask,
                stream_t *stream)
{
    int store = mod_comet_config_server(r->server)->store;

    comet_metrics_add(COMET_METRIC_adopted, 1);
    if (stream->talk) {
        mod_comet_talk_attach(stream->talk, stream->child->hub,
                              &stream->subscriber);
    }
    if (comet_hub_join(stream->child->hub, &stream->subscriber,
                       (apr_size_t)store, ask->selection)
        == APR_SUCCESS) {
        return 1;
    }
    if (stream->talk) {
        mod_comet_talk_detach(stream->talk);
    }
    comet_metrics_add(COMET_METRIC_adopted, -1);
    return 0;
}

/* --- over TLS ------------------------------------------------------------- */

int mod_comet_adopt_pre_handshake(conn_rec *c, mod_comet_tls_t *tls,
                                  int is_proxy)
{
    mod_comet_connection_t *connection = mod_comet_connection(c);

    if (connection && !is_proxy) {
        connection->tls = tls;
    }
    return DECLINED;
}

/* A clean-up of the connection's pool, which runs after those of mod_ssl. */
static apr_status_t take_over(void *baton)
{
    const conn_rec *c = baton;
    mod_comet_connection_t *connection = mod_comet_connection(c);
    move_t *move = connection ? connection->move : NULL;
    stream_t *stream = move ? move->stream : NULL;

    if (!move) {
        return APR_SUCCESS;
    }
    connection->move = NULL;
    if (!mod_comet_tls_begin(stream->outlet.tls, stream->subscriber.own_fd)
        || comet_hub_join(stream->child->hub, &stream->subscriber,
                          (apr_size_t)move->store, move->selection)
               != APR_SUCCESS) {
        stream->aborted = 1;
        mod_comet_stream_left(&stream->subscriber);
    }
    comet_selection_unref(move->selection);
    return APR_SUCCESS;
}

int mod_comet_adopt_watch(conn_rec *c, void *socket)
{
    if (!c->master) {
        apr_pool_cleanup_register(c->pool, c, take_over, apr_pool_cleanup_null);
    }
    return OK;
}

/* Let the stream join the hub when the connection has ended. */
static void move_later(const request_rec *r, const mod_comet_ask_t *ask,
                       stream_t *stream, mod_comet_tls_t *tls)
{
    move_t *move = apr_palloc(r->connection->pool, sizeof(*move));

    mod_comet_tls_keep(tls);
    stream->outlet.tls = tls;
    comet_metrics_add(COMET_METRIC_adopted, 1);
    *move = (move_t){
        .stream = stream,
        .selection = comet_selection_ref(ask->selection),
        .store = mod_comet_config_server(r->server)->store,
    };
    mod_comet_connection(r->connection)->move = move;
}

/* --- handing over --------------------------------------------------------- */

/* Whether httpd holds no input from the client.  If the client has a WebSocket,
 * its input is taken first. */
static int is_silent(conn_rec *c, apr_bucket_brigade *brigade,
                     const mod_comet_ask_t *ask)
{
    return ask->talk ? mod_comet_hear_filters(mod_comet_child(), c, brigade,
                                              ask->talk)
                           == MOD_COMET_HEAR_NOTHING
                     : mod_comet_peek(c, brigade) == MOD_COMET_PEEK_NOTHING;
}

int mod_comet_adopt(request_rec *r, const mod_comet_ask_t *ask,
                    apr_int64_t before)
{
    mod_comet_request_t *request = mod_comet_request(r);
    conn_rec *c = r->connection;
    mod_comet_tls_t *tls = find_tls(r, ask);
    apr_bucket_brigade *look;
    stream_t *stream;

    if (c->aborted || c->data_in_output_filters
        || !mod_comet_adopt_is_plain(r, ask)) {
        return 0;
    }
    look = apr_brigade_create(r->pool, c->bucket_alloc);
    if (!is_silent(c, look, ask)) {
        return 0;
    }
    stream = make_stream(r, ask, before);
    if (!stream) {
        return 0;
    }
    /* the hub owns the stream once it has joined, and may free it before join()
     * returns */
    stream->place = request->place;
    stream->subscriber.revoked = comet_presence_revoked(stream->place.seat);
    if (tls) {
        move_later(r, ask, stream, tls);
    }
    else if (!join(r, ask, stream)) {
        mod_comet_log_drop(r, stream->log);
        mod_comet_stream_free(stream);
        return 0;
    }
    request->place = (mod_comet_place_t){ .seat = NULL };
    /* these settings make httpd end the request without sending anything, and
     * close its descriptor without shutting the connection down */
    r->eos_sent = 1;
    c->keepalive = AP_CONN_CLOSE;
    c->aborted = 1;
    return 1;
}
