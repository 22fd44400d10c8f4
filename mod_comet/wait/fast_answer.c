/* SPDX-License-Identifier: Apache-2.0 */
/* Answer the client of a lent socket, and let it rest, or give it back to
 * httpd. */
#include "wait/fast_priv.h"

#include <sys/socket.h>

#include "base/pulse.h"
#include "server/mpm.h"
#include "wait/lend.h"
#include "wait/wait_priv.h"

int mod_comet_fast_left(const mod_comet_fast_t *fast, const conn_rec *c)
{
    return fast->keep_alive_max ? fast->keep_alive_max - c->keepalives : 1;
}

void mod_comet_fast_leave(const mod_comet_fast_t *fast)
{
    if (fast->state == WAITING) {
        comet_metrics_add(fast->transport->gauge, -1);
    }
}

comet_outcome_e mod_comet_fast_give_back(mod_comet_fast_t *fast,
                                         comet_subscriber_t *subscriber)
{
    mod_comet_fast_leave(fast);
    fast->state = RETURNING;
    subscriber->timeout_at = 0;
    subscriber->blocked_fd = -1;
    mod_comet_lend_wake(fast->fd);
    return COMET_REST;
}

comet_outcome_e mod_comet_fast_end(mod_comet_fast_t *fast,
                                   comet_subscriber_t *subscriber)
{
    if (!comet_pulse_is_behind(fast->real)) {
        shutdown(fast->real, SHUT_RD);
    }
    return mod_comet_fast_give_back(fast, subscriber);
}

comet_outcome_e mod_comet_fast_lose(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber)
{
    c->aborted = 1;
    comet_metrics_add(COMET_METRIC_dropped, 1);
    return mod_comet_fast_give_back(fast, subscriber);
}

comet_outcome_e mod_comet_fast_rest(mod_comet_fast_t *fast,
                                    comet_subscriber_t *subscriber)
{
    int blocked = !mod_comet_outlet_is_empty(&fast->outlet);

    fast->state = RESTING;
    subscriber->blocked_fd = blocked ? fast->real : -1;
    subscriber->timeout_at = blocked || fast->until < fast->rest_until
                                 ? fast->until
                                 : fast->rest_until;
    return COMET_REST;
}

comet_outcome_e mod_comet_fast_await_remainder(mod_comet_fast_t *fast,
                                               comet_subscriber_t *subscriber,
                                               apr_time_t until)
{
    if (fast->rest_until != APR_INT64_MAX) { /* the first part has come */
        fast->rest_until = APR_INT64_MAX;
        subscriber->timeout_at = until;
    }
    return COMET_REST;
}

/* The Date header.  It is made once a second, because it shows whole
 * seconds. */
static const char *date_now(mod_comet_waiting_t *waiting)
{
    apr_time_t now = apr_time_sec(apr_time_now());

    if (now != waiting->second) {
        waiting->second = now;
        apr_rfc822_date(waiting->date, apr_time_from_sec(now));
    }
    return waiting->date;
}

/* Remove the request from the socket.  Until now, the hub has only looked at
 * it. */
static int take_request(mod_comet_fast_t *fast)
{
    return recv(fast->real, NULL, fast->pending, MSG_TRUNC | MSG_DONTWAIT)
           == (ssize_t)fast->pending;
}

comet_outcome_e mod_comet_fast_send(mod_comet_fast_t *fast, conn_rec *c,
                                    comet_subscriber_t *subscriber)
{
    const comet_buffer_t *out = &fast->child->waiting->answer;

    if (mod_comet_outlet_write(&fast->outlet, fast->real,
                               (comet_text_t){ out->data, out->length })
        < 0) {
        fast->state = RESTING;
        return mod_comet_fast_lose(fast, c, subscriber);
    }
    fast->rest_until = comet_monotonic() + fast->keep_alive;
    return mod_comet_fast_rest(fast, subscriber);
}

comet_outcome_e mod_comet_fast_respond(mod_comet_fast_t *fast, conn_rec *c,
                                       comet_subscriber_t *subscriber,
                                       const mod_comet_sample_t *sample,
                                       comet_text_t body)
{
    mod_comet_waiting_t *waiting = fast->child->waiting;
    comet_buffer_t *out = &waiting->answer;
    int is_unread = fast->state == WAITING || fast->state == PUBLISHING;

    comet_buffer_clear(out);
    comet_head_answer_write(&sample->head, out, date_now(waiting), body.length,
                            mod_comet_fast_left(fast, c));
    comet_buffer_add(out, body.data, body.length);
    if (out->failed || (is_unread && !take_request(fast))) {
        return mod_comet_fast_lose(fast, c, subscriber);
    }
    comet_metrics_add(COMET_METRIC_fast_polls, fast->state == WAITING);
    mod_comet_fast_leave(fast);
    if (is_unread) { /* httpd does not see this request */
        mod_comet_mpm_count(1, (apr_off_t)body.length);
    }
    c->keepalive = AP_CONN_KEEPALIVE;
    c->keepalives++;
    return mod_comet_fast_send(fast, c, subscriber);
}
