/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 connections whose streams wait without a thread. */
#include "wait/h2_priv.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_connection.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "server/config.h"
#include "server/mpm.h"
#include "wait/connection.h"
#include "wait/park_mpm.h"
#include "wait/parked_limit.h"
#include "wait/wait_priv.h"

/* Connections that begin within this time send their heartbeats at the same
 * moment, so that the hub wakes up once for all of them. */
#define BEATS_TOGETHER apr_time_from_msec(250)
/* How many bytes the kernel takes that it cannot send yet.  By default it takes
 * megabytes, which a download fills. */
#define UNSENT_BYTES (64 * 1024)
/* How many descriptors a connection needs besides its socket: the stand-in takes
 * two, and the pollset of mod_http2 takes three. */
#define MORE_DESCRIPTORS 5

mod_comet_h2_t *mod_comet_h2_find(const conn_rec *c)
{
    mod_comet_connection_t *connection = mod_comet_connection(c);

    return connection ? connection->h2 : NULL;
}

void mod_comet_h2_unref(mod_comet_h2_t *h2)
{
    if (atomic_fetch_sub(&h2->references, 1) == 1) {
        comet_h2_session_free(&h2->session);
        comet_selection_unref(h2->selection);
        pthread_mutex_destroy(&h2->lock);
        free(h2);
    }
}

void mod_comet_h2_wake_locked(mod_comet_h2_t *h2)
{
    apr_uint64_t one = 1;

    if (h2->place == MOD_COMET_H2_PARKED) {
        comet_hub_poke(h2->child->hub, &h2->carrier, COMET_POKED);
    }
    else if (h2->place == MOD_COMET_H2_HELD
             && write(h2->event, &one, sizeof(one)) < 0) {
        /* the counter is at its maximum, so the worker wakes up anyway */
    }
}

void mod_comet_h2_tell(void *baton, comet_h2_ghost_t *ghost)
{
    const mod_comet_h2_t *h2 = baton;
    int has_bytes = ghost->bytes.length > 0;

    if (ghost->state == COMET_H2_OVER || ghost->state == COMET_H2_LOST
        || (ghost->state == COMET_H2_OURS && !has_bytes)) {
        comet_hub_poke(h2->child->hub, ghost->owner,
                       has_bytes || ghost->ends ? COMET_POKED : COMET_WRITABLE);
    }
}

apr_time_t mod_comet_h2_next_beat(const mod_comet_h2_t *h2,
                                  apr_interval_time_t every)
{
    apr_interval_time_t age = comet_monotonic() - h2->born;

    return h2->born + (age / every + 1) * every;
}

void mod_comet_h2_keep_short(const mod_comet_h2_t *h2)
{
    static const int most = UNSENT_BYTES;

    setsockopt(h2->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
}

/* --- memory --------------------------------------------------------------- */

/* mod_http2 gives a request's pool an allocator, and its session another one,
 * and keeps both for the connection's next requests.  This makes both return
 * their memory to the system.  It is left out under ThreadSanitizer, which does
 * not see that APR returns memory, and would report a race with the memory's
 * next owner. */
void mod_comet_h2_trim(const conn_rec *c2)
{
#ifndef __SANITIZE_THREAD__
    apr_pool_t *end = c2->master->pool;
    apr_pool_t *pool = apr_pool_parent_get(c2->pool);
    int i;

    for (i = 0; i < 2 && pool && pool != end && apr_pool_is_ancestor(end, pool);
         i++) {
        apr_allocator_max_free_set(apr_pool_allocator_get(pool), 1);
        pool = apr_pool_parent_get(pool);
    }
#endif
}

/* --- the carrier (the hub's thread) --------------------------------------- */

/* Nothing more can be sent to the client: let the MPM see the end of the
 * connection. */
static void give_up(mod_comet_h2_t *h2)
{
    h2->carrier.blocked_fd = -1;
    h2->c->aborted = 1;
    shutdown(h2->fd, SHUT_RDWR);
}

/* Send frames until the socket takes no more, or none are left.
 * @return whether the client is still there */
static int send_frames(mod_comet_h2_t *h2)
{
    conn_rec *c = h2->c;
    comet_buffer_t frames = { .data = NULL };
    apr_status_t status = APR_SUCCESS;

    if (c->data_in_output_filters) {
        status = mod_comet_filters_push(c);
    }
    while (status == APR_SUCCESS && !c->data_in_output_filters) {
        pthread_mutex_lock(&h2->lock);
        comet_h2_session_take(&h2->session, MOD_COMET_PIECE_BYTES, &frames);
        pthread_mutex_unlock(&h2->lock);
        if (frames.failed || !frames.length) {
            break;
        }
        mod_comet_ack_arm(&h2->ack, h2->fd, 0);
        APR_BRIGADE_INSERT_TAIL(
            h2->out_bb, apr_bucket_heap_create(frames.data, frames.length, free,
                                               c->bucket_alloc));
        frames = (comet_buffer_t){ .data = NULL };
        status = mod_comet_filters_below(c, h2->out, h2->out_bb);
    }
    status = frames.failed ? APR_ENOMEM : status;
    comet_buffer_free(&frames);
    return status == APR_SUCCESS && !c->aborted;
}

apr_time_t mod_comet_h2_extend(mod_comet_h2_t *h2)
{
    apr_time_t stops_at = comet_monotonic() + MOD_COMET_CLOSING_LIMIT;

    /* the ghosts look at that time whether their client has taken something, and
     * must come before the carrier */
    h2->stops_at = stops_at + MOD_COMET_CLOSING_LIMIT / 4;
    return stops_at;
}

/* When the carrier must be served next.
 * @return 0: the connection ends at once */
static apr_time_t next_look(mod_comet_h2_t *h2, unsigned reasons)
{
    apr_size_t alive;

    pthread_mutex_lock(&h2->lock);
    alive = comet_h2_session_alive(&h2->session);
    pthread_mutex_unlock(&h2->lock);
    if ((reasons & COMET_STOPPING) && !h2->stops_at) {
        mod_comet_h2_extend(h2);
    }
    if (h2->stops_at && (!alive || comet_monotonic() >= h2->stops_at)) {
        return 0;
    }
    if (!alive && (reasons & COMET_TIMEOUT)) {
        return 0; /* the keep-alive time is over */
    }
    if (!alive || h2->stops_at) {
        return mod_comet_news_due(h2->stops_at, h2->keep_alive);
    }
    return mod_comet_h2_next_beat(h2, h2->heartbeat);
}

/* Whether the client has not acknowledged all frames yet, so that the input must
 * not be ended: as for an answered client of HTTP/1 (wait/parked_limit.h), the end
 * would be lost.
 * @return when to look again; 0: the connection may be closed */
static apr_time_t linger(mod_comet_h2_t *h2)
{
    if ((!h2->c->data_in_output_filters && !comet_pulse_is_behind(h2->fd))
        || (mod_comet_child_must_end() && comet_monotonic() >= h2->stops_at)) {
        return 0;
    }
    if (!h2->lingered) { /* from now on it must acknowledge something soon */
        comet_pulse_begin(&h2->pulse, h2->fd, MOD_COMET_CLOSING_LIMIT);
    }
    h2->lingered = mod_comet_parked_limit_step(h2->lingered);
    return comet_monotonic() + h2->lingered;
}

static comet_outcome_e serve_carrier(comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery)
{
    mod_comet_h2_t *h2 = (mod_comet_h2_t *)subscriber;
    apr_time_t due;

    if (!send_frames(h2)
        || comet_pulse_is_lost(&h2->pulse, h2->fd,
                               h2->lingered ? MOD_COMET_CLOSING_LIMIT
                                            : h2->heartbeat)) {
        give_up(h2);
        return COMET_REST;
    }
    subscriber->blocked_fd = h2->c->data_in_output_filters ? h2->fd : -1;
    due = next_look(h2, delivery->reasons | (h2->lingered ? COMET_TIMEOUT : 0));
    if (due) {
        h2->lingered = 0;
    }
    else {
        due = linger(h2);
    }
    if (!due) {
        shutdown(h2->fd, SHUT_RD); /* mod_http2 ends the session */
        due = comet_monotonic() + h2->heartbeat;
    }
    subscriber->timeout_at = due;
    return COMET_REST;
}

/* --- the beginning and the end of a connection ---------------------------- */

/* A clean-up of c1's pool. */
static apr_status_t forget(void *data)
{
    mod_comet_h2_t *h2 = data;

    mod_comet_connection(h2->c)->h2 = NULL; /* clean-ups that run later may look
                                             * for the record */
    comet_hub_leave(h2->child->hub, &h2->carrier);
    pthread_mutex_lock(&h2->lock);
    h2->place = MOD_COMET_H2_LOST;
    comet_h2_session_lose(&h2->session);
    close(h2->event);
    h2->event = -1;
    pthread_mutex_unlock(&h2->lock);
    close(h2->epoll);
    atomic_fetch_sub(&h2->child->waiting->more_descriptors, MORE_DESCRIPTORS);
    mod_comet_h2_unref(h2);
    return APR_SUCCESS;
}

/* Make the descriptor that mod_http2 polls in place of the socket: an epoll of
 * the client's socket and an eventfd. */
static int make_stand_in(mod_comet_h2_t *h2)
{
    struct epoll_event client = { .events = EPOLLIN },
                       wake = { .events = EPOLLIN };
    apr_os_sock_t fd;

    h2->epoll = epoll_create1(EPOLL_CLOEXEC);
    h2->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (h2->epoll < 0 || h2->event < 0
        || epoll_ctl(h2->epoll, EPOLL_CTL_ADD, h2->fd, &client) != 0
        || epoll_ctl(h2->epoll, EPOLL_CTL_ADD, h2->event, &wake) != 0) {
        return 0;
    }
    fd = h2->epoll;
    /* NOLINTNEXTLINE(clang-analyzer-core.*): make() has set h2->c */
    return apr_os_sock_put(&h2->stand_in, &fd, h2->c->pool) == APR_SUCCESS;
}

static mod_comet_h2_t *make(conn_rec *c, mod_comet_child_t *child)
{
    mod_comet_h2_t *h2 = calloc(1, sizeof(*h2));

    if (!h2) {
        return NULL;
    }
    h2->c = c;
    h2->child = child;
    h2->real = ap_get_conn_socket(c);
    h2->fd = mod_comet_filters_fd(c);
    pthread_mutex_init(&h2->lock, NULL);
    comet_h2_session_init(&h2->session, mod_comet_h2_tell, h2);
    atomic_init(&h2->references, 1);
    h2->carrier = (comet_subscriber_t){
        .serve = serve_carrier, .own_fd = -1, .limit = 1, .blocked_fd = -1
    };
    if (!make_stand_in(h2)) {
        close(h2->epoll);
        close(h2->event);
        mod_comet_h2_unref(h2);
        return NULL;
    }
    atomic_fetch_add(&child->waiting->more_descriptors, MORE_DESCRIPTORS);
    return h2;
}

/* Whether a connection that has no record yet may get one. */
static int may_begin(const conn_rec *c, const server_rec *s)
{
    const mod_comet_connection_t *connection = mod_comet_connection(c);

    return !c->master && c->cs && connection && !connection->h2
           && mod_comet_child() && mod_comet_mpm_parks_http2()
           && mod_comet_config_park_http2(s);
}

void mod_comet_h2_begin(conn_rec *c, const server_rec *s)
{
    mod_comet_h2_t *h2 = may_begin(c, s) ? make(c, mod_comet_child()) : NULL;

    if (!h2) {
        return;
    }
    mod_comet_ack_begin(&h2->ack, s->timeout);
    h2->keep_alive = s->keep_alive_timeout;
    h2->heartbeat = h2->ack.every;
    h2->born = comet_monotonic();
    h2->born -= h2->born % BEATS_TOGETHER;
    comet_pulse_begin(&h2->pulse, h2->fd, h2->heartbeat);
    h2->in_bb = apr_brigade_create(c->pool, c->bucket_alloc);
    h2->out_bb = apr_brigade_create(c->pool, c->bucket_alloc);
    apr_socket_opt_set(h2->real, APR_SO_NONBLOCK, 1);
    apr_pool_cleanup_register(c->pool, h2, forget, apr_pool_cleanup_null);
    h2->in = ap_add_input_filter("COMET_H2_IN", h2, NULL, c);
    h2->out = ap_add_output_filter("COMET_H2_OUT", h2, NULL, c);
    mod_comet_connection(c)->h2 = h2;
    ap_set_core_module_config(c->conn_config, h2->stand_in);
}

int mod_comet_h2_switch(conn_rec *c, request_rec *r, server_rec *s,
                        const char *protocol)
{
    /* If a request has upgraded the connection, httpd closes the connection as
     * soon as mod_http2 gives it back, so none of its streams can wait without
     * a thread */
    if (!r && strcmp(protocol, "h2") == 0
        && mod_comet_config_serves(mod_comet_config_server(s))) {
        mod_comet_h2_begin(c, s);
    }
    return DECLINED; /* mod_http2's hook runs next and gets the socket of the
                      * connection */
}

void mod_comet_h2_restore(mod_comet_h2_t *h2)
{
    if (ap_get_conn_socket(h2->c) == h2->stand_in) {
        ap_set_core_module_config(h2->c->conn_config, h2->real);
    }
}

int mod_comet_h2_prepare(conn_rec *c)
{
    mod_comet_h2_t *h2 = c->master ? NULL : mod_comet_h2_find(c);

    if (h2) {
        mod_comet_h2_restore(h2);
    }
    else if (may_begin(c, c->base_server) && !c->keepalives
             && !mod_comet_connection(c)->tls
             && ap_is_allowed_protocol(c, NULL, c->base_server, "h2c")) {
        ap_add_input_filter("COMET_H2_PREFACE", NULL, NULL, c);
    }
    return DECLINED;
}

/* --- parking -------------------------------------------------------------- */

void mod_comet_h2_resume(conn_rec *c)
{
    mod_comet_h2_t *h2 = mod_comet_h2_find(c);

    if (h2) {
        mod_comet_ack_disarm(&h2->ack, h2->fd);
    }
}

int mod_comet_h2_has_window(conn_rec *c, int can_wait)
{
    mod_comet_h2_t *h2 = can_wait && !c->aborted ? mod_comet_h2_find(c) : NULL;
    int has_window;

    if (!h2) {
        return 0;
    }
    pthread_mutex_lock(&h2->lock);
    has_window = comet_h2_session_can_lend(&h2->session);
    pthread_mutex_unlock(&h2->lock);
    return has_window;
}

void mod_comet_h2_leave(const conn_rec *c)
{
    mod_comet_h2_t *h2 = c->master ? mod_comet_h2_find(c->master) : NULL;

    if (h2) {
        atomic_store(&h2->leaves, 1);
    }
}

apr_uint32_t mod_comet_h2_stream(const request_rec *r)
{
    const char *id = apr_table_get(r->subprocess_env, "H2_STREAM_ID");
    apr_int64_t number = id ? apr_atoi64(id) : 0;

    return number > 0 && number <= COMET_H2_31_BITS ? (apr_uint32_t)number : 0;
}

int mod_comet_h2_is_cut(const request_rec *r)
{
    const conn_rec *c = r->connection;
    mod_comet_h2_t *h2 = c->master ? mod_comet_h2_find(c->master) : NULL;
    apr_uint32_t stream = mod_comet_h2_stream(r);
    comet_h2_extent_e extent = COMET_H2_UNKNOWN;

    if (h2 && stream) {
        pthread_mutex_lock(&h2->lock);
        extent = comet_h2_session_extent(&h2->session, stream);
        pthread_mutex_unlock(&h2->lock);
    }
    return extent == COMET_H2_UNKNOWN ? c->master && c->aborted
                                      : extent == COMET_H2_CUT;
}

int mod_comet_h2_is_waiting(conn_rec *c, int can_wait)
{
    mod_comet_h2_t *h2 = mod_comet_h2_find(c);

    if (!h2) {
        return 0;
    }
    pthread_mutex_lock(&h2->lock);
    h2->parking = can_wait && !c->aborted && h2->selection
                  && comet_h2_session_alive(&h2->session) > 0;
    pthread_mutex_unlock(&h2->lock);
    if (can_wait && !h2->parking && atomic_load(&h2->leaves)
        && !c->data_in_output_filters) {
        apr_table_setn(c->notes, "short-lingering-close", "1");
        mod_comet_park_mpm_close(c); /* the client gets all answers, and
                                      * mod_http2 sends GOAWAY */
    }
    return h2->parking;
}

void mod_comet_h2_suspend(conn_rec *c)
{
    mod_comet_h2_t *h2 = mod_comet_h2_find(c);

    if (!h2 || !h2->parking) {
        return;
    }
    h2->parking = 0;
    h2->carrier.resting = 1;
    h2->lingered = 0;
    h2->carrier.blocked_fd = c->data_in_output_filters ? h2->fd : -1;
    h2->carrier.timeout_at = mod_comet_h2_next_beat(h2, h2->heartbeat);
    if (!h2->trimmed) {
        h2->trimmed = 1;
        mod_comet_connection_trim(c);
    }
    pthread_mutex_lock(&h2->lock);
    if (comet_hub_join(h2->child->hub, &h2->carrier, (apr_size_t)h2->store,
                       h2->selection)
        == APR_SUCCESS) {
        h2->place = MOD_COMET_H2_PARKED;
        if (comet_h2_session_has_frames(&h2->session)) {
            mod_comet_h2_wake_locked(h2);
        }
    }
    else {
        shutdown(h2->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&h2->lock);
}

void mod_comet_h2_unpark(conn_rec *c, int closing)
{
    mod_comet_h2_t *h2 = mod_comet_h2_find(c);

    if (!h2) {
        return;
    }
    pthread_mutex_lock(&h2->lock);
    if (h2->place == MOD_COMET_H2_PARKED) {
        h2->place = MOD_COMET_H2_HELD;
    }
    if (closing) {
        h2->place = MOD_COMET_H2_LOST;
        comet_h2_session_lose(&h2->session);
    }
    pthread_mutex_unlock(&h2->lock);
    comet_hub_leave(h2->child->hub, &h2->carrier);
}
