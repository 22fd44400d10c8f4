/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learn what a poll's request and its answer look like, and whether the hub may
 * answer such polls without httpd.  The thread that owns the connection calls
 * these functions; only mod_comet_fast_make_answer() is called by the hub's
 * thread while it serves, and with it the filter.
 */
#include "wait/fast_priv.h"

#include <http_request.h>
#include <sys/socket.h>

#include "server/child.h"
#include "output/answer.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/peek.h"
#include "wait/connection.h"
#include "wait/wait_priv.h"

/* Whether the request names its cursor exactly once, where the hub looks for
 * it. */
static int has_one_cursor(const request_rec *r, const comet_head_t *head)
{
    const comet_params_t *query = &mod_comet_request(r)->query;
    int found = 0;
    apr_size_t i, k;

    for (i = 0; i < query->count; i++) {
        for (k = 0; mod_comet_ask_cursors[k]; k++) {
            found += comet_text_equal(query->list[i].name,
                                      comet_text(mod_comet_ask_cursors[k]));
        }
    }
    return found == 1 && head->text
           && !apr_table_get(r->headers_in, "Last-Event-ID");
}

/* Whether the request has a body or announces one. */
static int has_body(const request_rec *r)
{
    static const char *const headers[] = { "Content-Length",
                                           "Transfer-Encoding", "Expect" };
    apr_size_t i = 0;

    while (i < sizeof(headers) / sizeof(*headers)
           && !apr_table_get(r->headers_in, headers[i])) {
        i++;
    }
    return i < sizeof(headers) / sizeof(*headers);
}

/* Whether the hub may answer requests that differ from this one only in the
 * cursor.  Their answers must not depend on a user, a body, a filter or a
 * limit. */
static int is_allowed(request_rec *r, const mod_comet_ask_t *ask)
{
    return mod_comet_config_fast_poll(r) && ask->transport->whole
           && !ask->history && ask->hold && r->method_number == M_GET
           && !r->header_only && r->proto_num == HTTP_VERSION(1, 1)
           && !has_body(r) && !r->user && !ask->authenticated
           && !ap_some_authn_required(r)
           && !mod_comet_config_subscriber_limit(r)
           && mod_comet_chain_is_plain(r, 0);
}

void mod_comet_fast_consider(mod_comet_fast_t **fast, request_rec *r,
                             const mod_comet_ask_t *ask, int fd)
{
    mod_comet_fast_t *known = *fast;
    int allowed = is_allowed(r, ask);

    if (!known && allowed) {
        known = *fast = mod_comet_fast_make(r->connection, fd);
    }
    if (!known) {
        return;
    }
    known->allowed = allowed;
    mod_comet_place_stand_up(&known->seat);
    if (allowed) {
        known->seat = mod_comet_request(r)->place.seat;
        mod_comet_request(r)->place.seat = NULL;
    }
    if (mod_comet_sample_is_known(&known->answer)
        && comet_monotonic() + ask->hold >= known->until) {
        known->answer.seen = known->answer.enough - 1; /* the head of httpd's
                                                        * next answer is learnt
                                                        * again */
    }
    if (!has_one_cursor(r, &known->head)) {
        mod_comet_fast_forget(known);
    }
    mod_comet_fast_note_connection(known, r);
    known->transport = ask->transport;
    known->format = ask->format;
    known->hold = ask->hold;
    known->until = comet_monotonic() + mod_comet_fast_lasts(r);
    known->cap = mod_comet_config_max_subscribers(r->server);
    known->fresh = allowed;
}

/* Look at the bytes of a connection's first request, in case it is a poll.
 * They are still in the socket. */
static void look_first(conn_rec *c, char *room)
{
    const mod_comet_child_t *child = mod_comet_child();
    ssize_t length;

    if (!c->keepalives && child && atomic_load(&child->waiting->has_fast)) {
        length = recv(mod_comet_filters_fd(c), room, COMET_HEAD_MAX,
                      MSG_PEEK | MSG_DONTWAIT);
        if (length > 0) {
            mod_comet_connection(c)->beginning =
                (comet_text_t){ room, (apr_size_t)length };
        }
    }
}

void mod_comet_fast_look_away(mod_comet_fast_t *fast, conn_rec *c)
{
    mod_comet_connection(c)->beginning = (comet_text_t){ .data = NULL };
    if (fast) {
        mod_comet_fast_drop_publish(fast);
    }
}

void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c, char *room)
{
    comet_text_t bytes = { room, 0 };

    if (!fast) {
        look_first(c, room);
        return;
    }
    mod_comet_place_stand_up(&fast->seat); /* the client no longer rests */
    fast->fresh = fast->publishes = 0;
    fast->asked = -1;
    bytes.length = mod_comet_peek_bytes(c, fast->brigade, room, COMET_HEAD_MAX);
    mod_comet_connection(c)->beginning = bytes;
    if (!fast->allowed) { /* what was learnt can no longer be used */
        mod_comet_fast_forget(fast);
        return;
    }
    if (!comet_head_match(&fast->head, bytes, &fast->asked)) {
        comet_head_learn(&fast->head, bytes);
        comet_head_match(&fast->head, bytes, &fast->asked);
        mod_comet_sample_forget(&fast->answer);
    }
}

static void watch(mod_comet_fast_t *fast, request_rec *r)
{
    mod_comet_sample_begin(&fast->answer,
                           mod_comet_answer_is_ours(r, fast->transport),
                           mod_comet_chain_has_computed(r));
    ap_add_output_filter("COMET_FAST", fast, r, r->connection);
}

void mod_comet_fast_watch_answer(mod_comet_fast_t *fast, request_rec *r)
{
    if (fast && fast->allowed && fast->head.text) {
        watch(fast, r);
    }
}

apr_status_t mod_comet_fast_make_answer(mod_comet_fast_t *fast,
                                        const mod_comet_fast_held_t *held,
                                        comet_text_t body,
                                        comet_buffer_t *answer)
{
    request_rec *r = held->r;
    apr_status_t status;

    ap_set_content_length(r, (apr_off_t)body.length);
    APR_BRIGADE_INSERT_TAIL(fast->brigade, apr_bucket_transient_create(
                                               body.data, body.length,
                                               r->connection->bucket_alloc));
    fast->kept = answer;
    watch(fast, r);
    status = mod_comet_filters_finish(r, fast->brigade);
    fast->kept = NULL;
    return status == APR_SUCCESS && answer->failed ? APR_ENOMEM : status;
}

/* The part of an answer up to the end of its head. */
static comet_text_t head_of(comet_text_t answer)
{
    const char *end = answer.length
                          ? memmem(answer.data, answer.length, "\r\n\r\n", 4)
                          : NULL;

    answer.length = end ? (apr_size_t)(end + 4 - answer.data) : 0;
    return answer;
}

/* Keep the bytes of an answer.  Its end ends the filter's work. */
static apr_status_t keep(mod_comet_fast_t *fast, ap_filter_t *filter,
                         apr_bucket_brigade *brigade)
{
    comet_buffer_t *kept = fast->kept;
    apr_status_t status = APR_SUCCESS;
    apr_bucket *bucket;

    for (bucket = APR_BRIGADE_FIRST(brigade);
         bucket != APR_BRIGADE_SENTINEL(brigade) && status == APR_SUCCESS;
         bucket = APR_BUCKET_NEXT(bucket)) {
        const char *data;
        apr_size_t length;

        if (APR_BUCKET_IS_EOS(bucket)) {
            mod_comet_sample_learn(
                &fast->answer,
                head_of((comet_text_t){ kept->data, kept->length }),
                fast->asked);
            ap_remove_output_filter(filter);
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            continue;
        }
        status = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
        if (status == APR_SUCCESS) {
            comet_buffer_add(kept, data, length);
        }
    }
    apr_brigade_cleanup(brigade);
    return status;
}

apr_status_t mod_comet_fast_filter(ap_filter_t *filter,
                                   apr_bucket_brigade *brigade)
{
    mod_comet_fast_t *fast = filter->ctx;
    apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);
    comet_text_t bytes = { .data = NULL };

    if (fast->kept) {
        return keep(fast, filter, brigade);
    }
    /* httpd writes a head in one piece */
    if (bucket == APR_BRIGADE_SENTINEL(brigade)
        || APR_BUCKET_IS_METADATA(bucket)
        || apr_bucket_read(bucket, &bytes.data, &bytes.length, APR_BLOCK_READ)
               != APR_SUCCESS) {
        bytes.length = 0;
    }
    if (fast->lesson) {
        mod_comet_fast_end_lesson(fast, head_of(bytes));
    }
    else {
        mod_comet_sample_learn(&fast->answer, head_of(bytes), fast->asked);
    }
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}
