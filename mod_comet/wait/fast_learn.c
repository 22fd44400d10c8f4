/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learn what a poll's request and its answer look like, and whether the hub may
 * answer such polls without httpd.  The thread that owns the connection calls
 * these functions.  While the child ends, the hub's thread calls
 * mod_comet_fast_forget().
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

/* How long the hub answers by itself before httpd must decide again. */
#define DECISION_LASTS apr_time_from_sec(60)

/* A header that shows the time in whole seconds changes within this time. */
#define SECOND_PASSES apr_time_from_msec(1500)

void mod_comet_fast_forget(mod_comet_fast_t *fast)
{
    if (fast) {
        comet_head_free(&fast->head);
        comet_head_answer_free(&fast->answer);
        fast->answers = 0;
    }
}

int mod_comet_fast_knows_answer(const mod_comet_fast_t *fast)
{
    return fast->answers && fast->answers >= fast->enough;
}

static apr_status_t clean_up(void *data)
{
    mod_comet_fast_t *fast = data;

    mod_comet_fast_forget(fast);
    mod_comet_place_stand_up(&fast->seat);
    mod_comet_outlet_clear(&fast->outlet);
    return APR_SUCCESS;
}

static mod_comet_fast_t *make(conn_rec *c, int fd)
{
    mod_comet_fast_t *fast = apr_pcalloc(c->pool, sizeof(*fast));

    fast->child = mod_comet_child();
    fast->brigade = apr_brigade_create(c->pool, c->bucket_alloc);
    fast->fd = fd;
    fast->real = -1;
    if (!c->keepalives && mod_comet_connection(c)->beginning.data) {
        comet_head_learn(&fast->head, mod_comet_connection(c)->beginning);
    }
    atomic_store(&fast->child->waiting->has_fast, 1);
    apr_pool_cleanup_register(c->pool, fast, clean_up, apr_pool_cleanup_null);
    return fast;
}

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
    apr_interval_time_t timeout = mod_comet_request_timeout_server(r)->timeout;
    apr_interval_time_t lasts = mod_comet_config_max_lifetime(r);
    mod_comet_fast_t *known = *fast;
    int allowed = is_allowed(r, ask);

    if (!known && allowed) {
        known = *fast = make(r->connection, fd);
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
    if (mod_comet_fast_knows_answer(known)
        && comet_monotonic() + ask->hold >= known->until) {
        known->answers = known->enough - 1; /* the head of httpd's next answer
                                             * is learnt again */
    }
    if (!has_one_cursor(r, &known->head)) {
        mod_comet_fast_forget(known);
    }
    if (lasts <= 0 || lasts > DECISION_LASTS) {
        lasts = DECISION_LASTS;
    }
    if (lasts > timeout / 10 * 9) { /* less than the MPM's Timeout */
        lasts = timeout / 10 * 9;
    }
    known->store = (apr_size_t)mod_comet_config_server(r->server)->store;
    known->transport = ask->transport;
    known->format = ask->format;
    known->hold = ask->hold;
    known->keep_alive = mod_comet_request_timeout_server(r)->keep_alive_timeout;
    known->until = comet_monotonic() + lasts;
    known->cap = mod_comet_config_max_subscribers(r->server);
    known->keep_alive_max = r->server->keep_alive_max;
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

void mod_comet_fast_look_away(conn_rec *c)
{
    mod_comet_connection(c)->beginning = (comet_text_t){ .data = NULL };
}

void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c, char *room)
{
    comet_text_t bytes = { room, 0 };

    if (!fast) {
        look_first(c, room);
        return;
    }
    mod_comet_place_stand_up(&fast->seat); /* the client no longer rests */
    fast->fresh = 0;
    fast->asked = -1;
    if (!fast->allowed) { /* what was learnt can no longer be used */
        mod_comet_fast_forget(fast);
        return;
    }
    bytes.length = mod_comet_peek_bytes(c, fast->brigade, room, COMET_HEAD_MAX);
    if (!comet_head_match(&fast->head, bytes, &fast->asked)) {
        comet_head_learn(&fast->head, bytes);
        comet_head_match(&fast->head, bytes, &fast->asked);
        comet_head_answer_free(&fast->answer);
        fast->answers = 0;
    }
}

static void watch(mod_comet_fast_t *fast, request_rec *r)
{
    fast->computed = mod_comet_chain_has_computed(r);
    fast->enough =
        fast->computed || !mod_comet_answer_is_ours(r, fast->transport) ? 2 : 1;
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

/* Whether an answer counts in addition to the last one that was counted.  A
 * header can depend on the cursor, so the cursor must differ.  A header that
 * mod_headers computes can depend on the time, so a second must have passed. */
static int is_another(const mod_comet_fast_t *fast, apr_time_t now)
{
    return fast->asked != fast->counted
           && (!fast->computed || now - fast->counted_at >= SECOND_PASSES);
}

/* Compare an answer's head with the previous one.  Equal heads show that
 * answers differ only in what the hub can write itself.  A head to which no
 * other module has added a field needs no such comparison. */
static void learn_answer(mod_comet_fast_t *fast, comet_text_t bytes)
{
    comet_head_answer_t head = { .text = NULL };
    apr_time_t now = comet_monotonic();
    int equal;

    comet_head_answer_learn(&head, bytes);
    equal = comet_head_answer_equal(&fast->answer, &head);
    if (!equal || fast->enough == 1 || is_another(fast, now)) {
        fast->answers = equal ? fast->answers + 1 : head.text != NULL;
        fast->counted = fast->asked;
        fast->counted_at = now;
    }
    comet_head_answer_free(&fast->answer);
    fast->answer = head;
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
            learn_answer(fast,
                         head_of((comet_text_t){ kept->data, kept->length }));
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
    learn_answer(fast, head_of(bytes));
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}
