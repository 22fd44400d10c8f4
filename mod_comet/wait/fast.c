/* SPDX-License-Identifier: Apache-2.0 */
/* Polls that the hub answers by itself, on sockets it has borrowed. */
#include "wait/fast.h"

#include <apr_date.h>
#include <errno.h>
#include <fcntl.h>
#include <http_request.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/encoder.h"
#include "wire/head.h"
#include "server/child.h"
#include "output/log.h"
#include "output/filters.h"
#include "output/news.h"
#include "output/outbox.h"
#include "wait/places.h"
#include "output/peek.h"

/* httpd decides anew after so long at the latest. */
#define DECISION_LASTS apr_time_from_sec(60)
/* A header made of the time, in whole seconds, differs after so long. */
#define SECOND_PASSES apr_time_from_msec(1500)
/* How often in a row a poll waits for a look at the store, before httpd has
 * it. */
#define LOOKS_MAX 8
typedef enum { HOME, HELD, RESTING, WAITING, RETURNING } state_e;

/* Of one connection, in its pool; owned as the park is. */
struct mod_comet_fast_t {
    state_e state;
    int fd; /* the connection's; while lent, an eventfd of that number */
    int real; /* while lent, the socket */

    /* what was learnt */
    comet_head_t head; /* of the request that httpd reads or has read */
    int same; /* it is like the one before */
    comet_timestamp_t asked; /* its cursor; -1: none was found */
    comet_head_answer_t answer; /* of the last answer to a request like it */
    int answers; /* so many were equal: 2 are enough */
    comet_timestamp_t counted; /* the cursor of the last one that counted */
    apr_time_t counted_at;
    int computed; /* another module computes headers for each answer */

    /* what httpd has decided; for requests like the last one */
    int allowed;
    int fresh; /* and the socket was not lent for it yet */
    apr_size_t store;
    comet_format_t format;
    apr_interval_time_t hold;
    apr_interval_time_t keep_alive;
    apr_time_t until; /* by then httpd decides anew */
    apr_int64_t cap; /* CometMaxSubscribers */
    int keep_alive_max;

    /* while lent: the hub's */
    comet_timestamp_t cursor; /* of the poll that waits */
    apr_size_t pending; /* bytes of its request, in the socket */
    int looks;
    apr_time_t rest_until;
    mod_comet_outbox_t outbox; /* of an answer that the socket did not take */
};

static comet_encoder_t encoder; /* [hub thread] */
static comet_buffer_t out; /* [hub thread] */
static int descriptors_max; /* set in child_init */

void mod_comet_fast_init(void)
{
    struct rlimit limit;

    descriptors_max =
        getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1 << 30
            ? (int)limit.rlim_cur / 2 /* the rest is for new clients */
            : 1 << 30;
}

void mod_comet_fast_end(void)
{
    comet_encoder_clear(&encoder);
    comet_buffer_free(&out);
}

/* --- learning (the thread that owns the connection) --------------------------------- */

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
    mod_comet_outbox_clear(&fast->outbox);
    return APR_SUCCESS;
}

static mod_comet_fast_t *make(const conn_rec *c, int fd)
{
    mod_comet_fast_t *fast = apr_pcalloc(c->pool, sizeof(*fast));

    fast->fd = fd;
    fast->real = -1;
    apr_pool_cleanup_register(c->pool, fast, clean_up, apr_pool_cleanup_null);
    return fast;
}

/* The cursor is where the hub looks for it, and nowhere else. */
static int has_one_cursor(const request_rec *r, const comet_head_t *head)
{
    static const char *const names[] = { "since", "last_event_id",
                                         "lastEventId" };
    const comet_params_t *query = &mod_comet_request(r)->query;
    comet_timestamp_t cursor;
    int found = 0;
    apr_size_t i, k;

    for (i = 0; i < query->count; i++) {
        for (k = 0; k < sizeof(names) / sizeof(*names); k++) {
            found +=
                comet_text_equal(query->list[i].name, comet_text(names[k]));
        }
    }
    return found == 1 && !apr_table_get(r->headers_in, "Last-Event-ID")
           && comet_head_match(head, (comet_text_t){ head->text, head->length },
                               &cursor);
}

/* A body, or its announcement. */
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

/* Where nothing but the request could decide, and nobody's rights do. */
static int is_allowed(request_rec *r, const mod_comet_ask_t *ask)
{
    return mod_comet_config_fast_poll(r) && ask->transport->whole
           && !ask->history && ask->hold && r->method_number == M_GET
           && !r->header_only && r->proto_num == HTTP_VERSION(1, 1)
           && !has_body(r) && !r->user && !ask->authenticated
           && !ap_some_authn_required(r)
           && !mod_comet_config_subscriber_limit(r)
           && mod_comet_filters_is_plain(r);
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
    if (known->answers > 1 && comet_monotonic() + ask->hold >= known->until) {
        known->answers = 1; /* the headers, too, are httpd's to decide anew */
    }
    if (lasts <= 0 || lasts > DECISION_LASTS) {
        lasts = DECISION_LASTS;
    }
    if (lasts > timeout / 10 * 9) { /* the MPM's, which runs meanwhile */
        lasts = timeout / 10 * 9;
    }
    known->store = (apr_size_t)mod_comet_config_server(r->server)->store;
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

    fast->fresh = fast->same = 0;
    fast->asked = -1;
    if (!fast->allowed) { /* what comes next is not what was learnt last */
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
        fast->computed = mod_comet_filters_compute_headers(r);
        ap_add_output_filter("COMET_FAST", fast, r, r->connection);
    }
}

/* Whether an answer tells more than the last one that counted: a header may
 * depend on the cursor, and one that mod_headers computes on the time. */
static int is_another(const mod_comet_fast_t *fast, apr_time_t now)
{
    return fast->asked != fast->counted
           && (!fast->computed || now - fast->counted_at >= SECOND_PASSES);
}

/* An answer like the one before it shows what changes, and that nothing else
 * does. */
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

    /* httpd makes a head in one piece */
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

/* --- lending the socket (the thread that owns the connection) ------------------------- */

int mod_comet_fast_is_lent(const mod_comet_fast_t *fast)
{
    return fast && fast->state != HOME;
}

/* @return 0: without descriptors it stays at home */
static int swap(mod_comet_fast_t *fast)
{
    int stand_in = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int real = fcntl(fast->fd, F_DUPFD_CLOEXEC, 0);

    if (stand_in >= 0 && real >= 0 && real < descriptors_max
        && dup3(stand_in, fast->fd, O_CLOEXEC) == fast->fd) {
        fast->real = real;
    }
    else if (real >= 0) {
        close(real);
    }
    if (stand_in >= 0) {
        close(stand_in);
    }
    return fast->real >= 0;
}

/* How many requests it still takes (MaxKeepAliveRequests). */
static int connection_left(const mod_comet_fast_t *fast, const conn_rec *c)
{
    return fast->keep_alive_max ? fast->keep_alive_max - c->keepalives : 1;
}

void mod_comet_fast_lend(mod_comet_fast_t *fast, conn_rec *c,
                         comet_subscriber_t *subscriber, int holds)
{
    /* the answer that was just sent may have been another one than before */
    if (!fast || !fast->fresh || fast->answers < 2 || c->aborted
        || c->data_in_output_filters || connection_left(fast, c) <= 0
        || comet_hub_is_stopping(mod_comet_child()->hub)) {
        return;
    }
    fast->fresh = 0;
    if (!swap(fast)) {
        return;
    }
    fast->state = holds ? HELD : RESTING;
    fast->looks = 0;
    fast->rest_until = subscriber->timeout_at;
    subscriber->own_fd = fast->real;
    subscriber->listens = 1;
}

static void leave_waiting(mod_comet_fast_t *fast)
{
    if (fast->state == WAITING) {
        comet_metrics_add(COMET_METRIC_waiting_poll, -1);
    }
}

int mod_comet_fast_restore(mod_comet_fast_t *fast, conn_rec *c,
                           comet_subscriber_t *subscriber)
{
    if (!mod_comet_fast_is_lent(fast)) {
        return 0;
    }
    leave_waiting(fast);
    ap_assert(fast->real >= 0);
    if (dup3(fast->real, fast->fd, O_CLOEXEC) != fast->fd) {
        c->aborted = 1; /* an eventfd is closed as well as a socket */
    }
    close(fast->real);
    fast->real = -1;
    fast->state = HOME;
    subscriber->listens = 0;
    return 1;
}

apr_status_t mod_comet_fast_send_rest(mod_comet_fast_t *fast, conn_rec *c,
                                      apr_bucket_brigade *brigade)
{
    const mod_comet_outbox_t *outbox = &fast->outbox;
    comet_text_t rest = { outbox->bytes.data + outbox->sent,
                          outbox->bytes.length - outbox->sent };
    apr_status_t status;

    if (!rest.length) {
        return APR_SUCCESS;
    }
    APR_BRIGADE_INSERT_TAIL(
        brigade,
        apr_bucket_heap_create(rest.data, rest.length, NULL, c->bucket_alloc));
    status = mod_comet_filters_pass(c, brigade);
    mod_comet_outbox_clear(&fast->outbox);
    return status;
}

/* --- served by the hub ------------------------------------------------------------------ */

/* The MPM has it again, as soon as one of its threads takes it. */
static comet_outcome_e give_back(mod_comet_fast_t *fast,
                                 comet_subscriber_t *subscriber)
{
    apr_uint64_t one = 1;

    leave_waiting(fast);
    fast->state = RETURNING;
    subscriber->timeout_at = 0;
    subscriber->blocked_fd = -1;
    if (write(fast->fd, &one, sizeof(one)) < 0) {
        /* it is readable already */
    }
    return COMET_REST;
}

/* Its keep-alive time is over, or the child's: httpd sees the end. */
static comet_outcome_e end(mod_comet_fast_t *fast,
                           comet_subscriber_t *subscriber)
{
    shutdown(fast->real, SHUT_RD);
    return give_back(fast, subscriber);
}

static comet_outcome_e lose(mod_comet_fast_t *fast, conn_rec *c,
                            comet_subscriber_t *subscriber)
{
    c->aborted = 1;
    comet_metrics_add(COMET_METRIC_dropped, 1);
    return give_back(fast, subscriber);
}

/* The client has its answer, or is taking it. */
static comet_outcome_e rest(mod_comet_fast_t *fast,
                            comet_subscriber_t *subscriber)
{
    int blocked = !mod_comet_outbox_is_empty(&fast->outbox);

    fast->state = RESTING;
    subscriber->blocked_fd = blocked ? fast->real : -1;
    subscriber->timeout_at = blocked || fast->until < fast->rest_until
                                 ? fast->until
                                 : fast->rest_until;
    return COMET_REST;
}

/* Only seconds are in it. */
static const char *date_now(void)
{
    static char date[APR_RFC822_DATE_LEN]; /* [hub thread] */
    static apr_time_t second;
    apr_time_t now = apr_time_sec(apr_time_now());

    if (now != second) {
        second = now;
        apr_rfc822_date(date, apr_time_from_sec(now));
    }
    return date;
}

/* Take the request that was only looked at. */
static int take_request(mod_comet_fast_t *fast)
{
    return recv(fast->real, NULL, fast->pending, MSG_TRUNC | MSG_DONTWAIT)
           == (ssize_t)fast->pending;
}

/* One head, one body, one send(). */
static comet_outcome_e respond(mod_comet_fast_t *fast, conn_rec *c,
                               comet_subscriber_t *subscriber,
                               comet_text_t body)
{
    comet_buffer_clear(&out);
    comet_head_answer_write(&fast->answer, &out, date_now(), body.length,
                            connection_left(fast, c));
    comet_buffer_add(&out, body.data, body.length);
    if (out.failed || (fast->state == WAITING && !take_request(fast))) {
        return lose(fast, c, subscriber);
    }
    comet_metrics_add(COMET_METRIC_fast_polls, fast->state == WAITING);
    leave_waiting(fast);
    c->keepalive = AP_CONN_KEEPALIVE;
    c->keepalives++;
    if (mod_comet_outbox_write(&fast->outbox, fast->real,
                               (comet_text_t){ out.data, out.length })
        < 0) {
        fast->state = RESTING;
        return lose(fast, c, subscriber);
    }
    fast->rest_until = comet_monotonic() + fast->keep_alive;
    return rest(fast, subscriber);
}

/* The request that httpd has parked. */
static comet_outcome_e answer_held(mod_comet_fast_t *fast, conn_rec *c,
                                   comet_subscriber_t *subscriber,
                                   const mod_comet_ask_t *ask,
                                   const comet_batch_t *batch,
                                   apr_off_t *answered)
{
    comet_buffer_t body = { .data = NULL };
    comet_outcome_e outcome;

    mod_comet_news_encode(ask, batch, &body);
    if (body.failed || body.length > MOD_COMET_PIECE_BYTES) {
        subscriber->seen = ask->seen;
        outcome = give_back(fast, subscriber);
    }
    else {
        *answered = (apr_off_t)body.length;
        outcome = respond(fast, c, subscriber,
                          (comet_text_t){ body.data, body.length });
        mod_comet_log_count(c, (apr_off_t)out.length);
    }
    comet_buffer_free(&body);
    return outcome;
}

static comet_outcome_e answer_empty(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber)
{
    comet_answer_t answer = { .format = &fast->format, .cursor = fast->cursor };
    comet_buffer_t body = { .data = NULL };
    comet_outcome_e outcome;

    comet_transport_poll.encode(&body, &answer);
    comet_metrics_add(COMET_METRIC_unanswered, 1);
    outcome =
        respond(fast, c, subscriber, (comet_text_t){ body.data, body.length });
    comet_buffer_free(&body);
    return outcome;
}

static comet_outcome_e answer_news(mod_comet_fast_t *fast, conn_rec *c,
                                   comet_subscriber_t *subscriber,
                                   const comet_batch_t *batch)
{
    const comet_encoding_t *encoding = comet_encoder_encode(
        &encoder, &comet_transport_poll, &fast->format, batch);

    if (!encoding || encoding->body.length > MOD_COMET_PIECE_BYTES) {
        return give_back(fast, subscriber);
    }
    comet_metrics_add(COMET_METRIC_delivered, (apr_int64_t)batch->count);
    return respond(fast, c, subscriber, encoding->body);
}

/* Look at what the client has sent. @return as recv() */
static ssize_t look(const mod_comet_fast_t *fast, comet_timestamp_t *cursor)
{
    char bytes[COMET_HEAD_MAX];
    ssize_t length =
        recv(fast->real, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

    *cursor = -1;
    if (length > 0) {
        comet_head_match(&fast->head,
                         (comet_text_t){ bytes, (apr_size_t)length }, cursor);
    }
    return length;
}

static int is_nothing(ssize_t length)
{
    return length < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The next request: a poll like the last one, or httpd's. */
static comet_outcome_e hear(mod_comet_fast_t *fast, const conn_rec *c,
                            comet_subscriber_t *subscriber)
{
    apr_time_t now = comet_monotonic();
    comet_timestamp_t cursor;
    ssize_t length = look(fast, &cursor);
    comet_feed_answer_e known;

    if (is_nothing(length)) {
        return rest(fast, subscriber);
    }
    if (length <= 0 || cursor < 0 || now + fast->hold >= fast->until
        || connection_left(fast, c) <= 0
        || mod_comet_places_are_taken(fast->cap)) {
        return give_back(fast, subscriber);
    }
    known = comet_hub_ask(mod_comet_child()->hub, fast->store, cursor);
    if (known == COMET_FEED_IS_BEHIND && fast->looks++ < LOOKS_MAX) {
        return COMET_AGAIN;
    }
    if (known != COMET_FEED_KNOWS) {
        return give_back(fast, subscriber);
    }
    fast->looks = 0;
    fast->cursor = cursor;
    fast->pending = (apr_size_t)length;
    fast->state = WAITING;
    comet_metrics_add(COMET_METRIC_waiting_poll, 1);
    comet_metrics_add(COMET_METRIC_resumed, 1);
    subscriber->seen = cursor;
    subscriber->timeout_at = now + fast->hold;
    return COMET_WAIT;
}

static comet_outcome_e serve_held(mod_comet_fast_t *fast, conn_rec *c,
                                  comet_subscriber_t *subscriber,
                                  const comet_delivery_t *delivery,
                                  const mod_comet_ask_t *ask,
                                  apr_off_t *answered)
{
    comet_timestamp_t cursor;

    if ((delivery->reasons & COMET_READABLE)
        && !is_nothing(look(fast, &cursor))) {
        subscriber->seen = ask->seen;
        return give_back(fast, subscriber);
    }
    return delivery->batch->count || (delivery->reasons & COMET_TIMEOUT)
               ? answer_held(fast, c, subscriber, ask, delivery->batch,
                             answered)
               : COMET_WAIT;
}

static comet_outcome_e serve_waiting(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery)
{
    comet_timestamp_t cursor;

    if ((delivery->reasons & COMET_READABLE)
        && (look(fast, &cursor) != (ssize_t)fast->pending
            || cursor != fast->cursor)) {
        return give_back(fast, subscriber);
    }
    if (delivery->batch->count) {
        return answer_news(fast, c, subscriber, delivery->batch);
    }
    return delivery->reasons & COMET_TIMEOUT ? answer_empty(fast, c, subscriber)
                                             : COMET_WAIT;
}

static comet_outcome_e serve_resting(mod_comet_fast_t *fast, const conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     unsigned reasons)
{
    if (reasons & COMET_READABLE) {
        return hear(fast, c, subscriber);
    }
    if (!(reasons & COMET_TIMEOUT)) {
        return rest(fast, subscriber);
    }
    return comet_monotonic() >= fast->rest_until ? end(fast, subscriber)
                                                 : give_back(fast, subscriber);
}

/* The socket has not taken all of an answer.  What the client asks meanwhile
 * is looked for afterwards. */
static comet_outcome_e serve_blocked(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     unsigned reasons)
{
    if (reasons & (COMET_TIMEOUT | COMET_STOPPING)) {
        return give_back(fast, subscriber);
    }
    if (mod_comet_outbox_flush(&fast->outbox, fast->real) < 0) {
        return lose(fast, c, subscriber);
    }
    rest(fast, subscriber);
    return mod_comet_outbox_is_empty(&fast->outbox) ? hear(fast, c, subscriber)
                                                    : COMET_REST;
}

/* The child ends, the client has closed its side, or what it reads has grown:
 * whatever it asks, httpd answers. */
static comet_outcome_e serve_end(mod_comet_fast_t *fast,
                                 comet_subscriber_t *subscriber,
                                 const mod_comet_ask_t *ask, unsigned reasons)
{
    comet_timestamp_t cursor;

    if (ask) {
        subscriber->seen = ask->seen;
    }
    return fast->state == RESTING && (reasons & COMET_STOPPING)
                   && is_nothing(look(fast, &cursor))
               ? end(fast, subscriber)
               : give_back(fast, subscriber);
}

comet_outcome_e mod_comet_fast_serve(mod_comet_fast_t *fast, conn_rec *c,
                                     comet_subscriber_t *subscriber,
                                     const comet_delivery_t *delivery,
                                     const mod_comet_ask_t *ask,
                                     apr_off_t *answered)
{
    unsigned reasons = delivery->reasons;

    *answered = -1;
    if (fast->state == RETURNING) {
        return COMET_REST;
    }
    if (!mod_comet_outbox_is_empty(&fast->outbox)) {
        return serve_blocked(fast, c, subscriber, reasons);
    }
    if (reasons & (COMET_STOPPING | COMET_RECHECK | COMET_GONE)) {
        return serve_end(fast, subscriber, ask, reasons);
    }
    switch (fast->state) {
    case HELD:
        return serve_held(fast, c, subscriber, delivery, ask, answered);
    case WAITING:
        return serve_waiting(fast, c, subscriber, delivery);
    default:
        return serve_resting(fast, c, subscriber, reasons);
    }
}
