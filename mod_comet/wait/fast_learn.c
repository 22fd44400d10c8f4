/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learn what a poll's request and its answer look like, and whether the hub may
 * answer such polls without httpd.  The thread that owns the connection calls
 * these functions.  While the child ends, the hub's thread calls
 * mod_comet_fast_forget().
 */
#include "wait/fast_priv.h"

#include <http_request.h>

#include "server/child.h"
#include "output/chain.h"
#include "output/filters.h"
#include "output/peek.h"

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

static apr_status_t clean_up(void *data)
{
    mod_comet_fast_t *fast = data;

    mod_comet_fast_forget(fast);
    mod_comet_place_stand_up(&fast->seat);
    mod_comet_outlet_clear(&fast->outlet);
    return APR_SUCCESS;
}

static mod_comet_fast_t *make(const conn_rec *c, int fd)
{
    mod_comet_fast_t *fast = apr_pcalloc(c->pool, sizeof(*fast));

    fast->child = mod_comet_child();
    fast->fd = fd;
    fast->real = -1;
    apr_pool_cleanup_register(c->pool, fast, clean_up, apr_pool_cleanup_null);
    return fast;
}

/* Whether the request names its cursor exactly once, where the hub looks for
 * it. */
static int has_one_cursor(const request_rec *r, const comet_head_t *head)
{
    const comet_params_t *query = &mod_comet_request(r)->query;
    comet_timestamp_t cursor;
    int found = 0;
    apr_size_t i, k;

    for (i = 0; i < query->count; i++) {
        for (k = 0; mod_comet_ask_cursors[k]; k++) {
            found += comet_text_equal(query->list[i].name,
                                      comet_text(mod_comet_ask_cursors[k]));
        }
    }
    return found == 1 && !apr_table_get(r->headers_in, "Last-Event-ID")
           && comet_head_match(head, (comet_text_t){ head->text, head->length },
                               &cursor);
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
    if (known->answers > 1 && comet_monotonic() + ask->hold >= known->until) {
        known->answers = 1; /* httpd answers again, so that the head of its
                             * answer is learnt again */
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
    known->fresh = allowed && known->same && known->answers >= 2
                   && has_one_cursor(r, &known->head);
}

void mod_comet_fast_look(mod_comet_fast_t *fast, conn_rec *c,
                         apr_bucket_brigade *brigade)
{
    char room[COMET_HEAD_MAX];
    comet_text_t bytes = { room, 0 };

    mod_comet_place_stand_up(&fast->seat); /* the client no longer rests */
    fast->fresh = fast->same = 0;
    fast->asked = -1;
    if (!fast->allowed) { /* what was learnt can no longer be used */
        mod_comet_fast_forget(fast);
        return;
    }
    bytes.length = mod_comet_peek_bytes(c, brigade, room, sizeof(room));
    fast->same = comet_head_match(&fast->head, bytes, &fast->asked);
    if (!fast->same) {
        comet_head_learn(&fast->head, bytes);
        comet_head_match(&fast->head, bytes, &fast->asked);
        comet_head_answer_free(&fast->answer);
        fast->answers = 0;
    }
}

void mod_comet_fast_watch_answer(mod_comet_fast_t *fast, request_rec *r)
{
    if (fast && fast->allowed && fast->head.text) {
        fast->computed = mod_comet_chain_has_computed(r);
        ap_add_output_filter("COMET_FAST", fast, r, r->connection);
    }
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
 * answers differ only in what the hub can write itself. */
static void learn_answer(mod_comet_fast_t *fast, comet_text_t bytes)
{
    comet_head_answer_t head = { .text = NULL };
    apr_time_t now = comet_monotonic();
    int equal;

    comet_head_answer_learn(&head, bytes);
    equal = comet_head_answer_equal(&fast->answer, &head);
    if (!equal || is_another(fast, now)) {
        fast->answers = equal ? fast->answers + 1 : head.text != NULL;
        fast->counted = fast->asked;
        fast->counted_at = now;
    }
    comet_head_answer_free(&fast->answer);
    fast->answer = head;
}

apr_status_t mod_comet_fast_filter(ap_filter_t *filter,
                                   apr_bucket_brigade *brigade)
{
    apr_bucket *bucket = APR_BRIGADE_FIRST(brigade);
    comet_text_t bytes = { .data = NULL };
    const char *end = NULL;

    /* httpd writes a head in one piece */
    if (bucket != APR_BRIGADE_SENTINEL(brigade)
        && !APR_BUCKET_IS_METADATA(bucket)
        && apr_bucket_read(bucket, &bytes.data, &bytes.length, APR_BLOCK_READ)
               == APR_SUCCESS) {
        end = memmem(bytes.data, bytes.length, "\r\n\r\n", 4);
    }
    bytes.length = end ? (apr_size_t)(end + 4 - bytes.data) : 0;
    learn_answer(filter->ctx, bytes);
    ap_remove_output_filter(filter);
    return ap_pass_brigade(filter->next, brigade);
}
