/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publish in the hub what comes in POSTs that httpd has accepted before
 * (CometFastPublish), on sockets that were lent to it.
 *
 * The hub leaves a request in its socket until the message is stored.  If
 * anything but success comes of it, the connection goes back to httpd together
 * with the job: httpd reads the request, and its handler waits for the job
 * instead of publishing once more.
 */
#include "wait/fast_priv.h"

#include "wait/wait_priv.h"

/* How long the hub waits for the rest of a request. */
#define REMAINDER_USEC apr_time_from_sec(1)

static void forget_familiar(mod_comet_fast_t *fast)
{
    mod_comet_familiar_unref(fast->familiar);
    fast->familiar = NULL;
}

static mod_comet_familiar_t *find_familiar(const mod_comet_fast_t *fast,
                                           const comet_head_post_t *post)
{
    mod_comet_familiars_t *table = fast->child->waiting->familiars;
    mod_comet_familiar_t *found =
        mod_comet_familiars_find(table, fast->peer, post);

    return found ? found
                 : mod_comet_familiars_find(table, fast->own_peer, post);
}

/* The writer has answered.  The hub is woken once for all answers of a
 * commit. */
static void on_answered(void *baton)
{
    mod_comet_fast_t *fast = baton;
    mod_comet_waiting_t *waiting = fast->child->waiting;

    pthread_mutex_lock(&waiting->answered_lock);
    TAILQ_INSERT_TAIL(&waiting->answered, fast, link);
    fast->is_answered = 1;
    pthread_mutex_unlock(&waiting->answered_lock);
}

static void unlist_locked(mod_comet_fast_t *fast)
{
    TAILQ_REMOVE(&fast->child->waiting->answered, fast, link);
    fast->is_answered = 0;
}

void mod_comet_fast_take_answers(const mod_comet_child_t *child)
{
    mod_comet_waiting_t *waiting = child->waiting;
    mod_comet_fast_t *fast;

    pthread_mutex_lock(&waiting->answered_lock);
    while ((fast = TAILQ_FIRST(&waiting->answered)) != NULL) {
        unlist_locked(fast);
        comet_hub_poke(child->hub, fast->publisher, COMET_POKED);
    }
    pthread_mutex_unlock(&waiting->answered_lock);
}

void mod_comet_fast_mute(mod_comet_fast_t *fast)
{
    mod_comet_waiting_t *waiting = fast->child->waiting;

    if (fast->job) {
        comet_writer_mute(fast->writer, fast->job);
        pthread_mutex_lock(&waiting->answered_lock);
        if (fast->is_answered) {
            unlist_locked(fast);
        }
        pthread_mutex_unlock(&waiting->answered_lock);
    }
}

/* Submit the message of a request that is complete.
 * @return 0: httpd must answer the request */
static int submit(mod_comet_fast_t *fast, comet_text_t body)
{
    const mod_comet_familiar_t *familiar = fast->familiar;
    comet_message_fields_t fields = { .channel = familiar->channel,
                                      .type = familiar->type,
                                      .body = body,
                                      .keep_sec = familiar->keep_sec };
    comet_message_t *message =
        body.length <= familiar->most_bytes && !comet_params_check_body(body)
            ? comet_message_create(&fields)
            : NULL;
    comet_store_group_t group = {
        .messages = &message,
        .count = 1,
        .key = { .channel = familiar->channel },
    };

    if (message) {
        fast->writer = familiar->writer;
        fast->job =
            comet_writer_submit(familiar->writer, &group, on_answered, fast);
        comet_message_unref(message);
    }
    return fast->job != NULL;
}

comet_outcome_e mod_comet_fast_hear_publish(mod_comet_fast_t *fast, conn_rec *c,
                                            comet_subscriber_t *subscriber,
                                            comet_text_t bytes)
{
    apr_time_t now = comet_monotonic();
    comet_head_post_t post;
    comet_text_t body;
    apr_size_t whole;

    if (!fast->peer.data || !comet_head_split_post(bytes, &post)) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    body = (comet_text_t){ post.after.data + post.after.length, post.length };
    whole = (apr_size_t)(body.data - bytes.data) + body.length;
    /* if the request filled the buffer, more bytes might follow it unseen */
    if (whole >= sizeof(fast->child->waiting->request) || bytes.length > whole
        || now >= fast->until || mod_comet_fast_left(fast, c) <= 0) {
        return mod_comet_fast_give_back(fast, subscriber);
    }
    forget_familiar(fast);
    fast->familiar = find_familiar(fast, &post);
    if (fast->familiar && bytes.length < whole) {
        forget_familiar(fast);
        return mod_comet_fast_await_remainder(fast, subscriber,
                                              now + REMAINDER_USEC);
    }
    fast->publisher = subscriber;
    if (!fast->familiar || !submit(fast, body)) {
        forget_familiar(fast);
        return mod_comet_fast_give_back(fast, subscriber);
    }
    fast->pending = whole;
    fast->heard = fast->leaves = 0;
    fast->publish_until = now + fast->familiar->timeout;
    fast->state = PUBLISHING;
    subscriber->timeout_at = mod_comet_fast_publish_end(fast);
    return COMET_REST;
}

apr_time_t mod_comet_fast_publish_end(const mod_comet_fast_t *fast)
{
    return fast->publish_until < fast->lent_until ? fast->publish_until
                                                  : fast->lent_until;
}

/* Answer 201 with the head of httpd's last answer. */
static comet_outcome_e respond(mod_comet_fast_t *fast, conn_rec *c,
                               comet_subscriber_t *subscriber,
                               comet_timestamp_t timestamp)
{
    mod_comet_familiar_t *familiar = fast->familiar;
    comet_buffer_t body = { .data = NULL };
    comet_outcome_e outcome;

    fast->familiar = NULL;
    comet_metrics_add(COMET_METRIC_published, 1);
    comet_metrics_add(COMET_METRIC_fast_publishes, 1);
    comet_encode_stored(&body, timestamp, familiar->shown);
    outcome = mod_comet_fast_respond(fast, c, subscriber, &familiar->answer,
                                     (comet_text_t){ body.data, body.length });
    comet_buffer_free(&body);
    mod_comet_familiar_unref(familiar);
    return outcome;
}

/* A subscriber that must leave the hub, or whose message is not stored, goes back
 * to httpd as soon as the writer has answered. */
comet_outcome_e mod_comet_fast_serve_publish(mod_comet_fast_t *fast,
                                             conn_rec *c,
                                             comet_subscriber_t *subscriber,
                                             unsigned reasons)
{
    comet_timestamp_t timestamp;
    int stored, answered = comet_writer_is_answered(fast->job, &stored);

    fast->heard |= (reasons & COMET_READABLE) != 0;
    fast->leaves |= (reasons & (COMET_STOPPING | COMET_YIELD)) != 0;
    if (stored && !fast->leaves) {
        mod_comet_fast_mute(fast); /* the hub may not know of the answer yet */
        comet_writer_finish(fast->writer, fast->job, 0, &timestamp);
        fast->job = NULL;
        return respond(fast, c, subscriber, timestamp);
    }
    /* before that, httpd's thread would have to wait for the store */
    if (answered || comet_monotonic() >= fast->publish_until) {
        forget_familiar(fast);
        return mod_comet_fast_give_back(fast, subscriber);
    }
    return reasons & COMET_TIMEOUT ? mod_comet_fast_give_back(fast, subscriber)
                                   : COMET_REST;
}
