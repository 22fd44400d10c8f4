/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Learn what a POST and its answer look like, and whether the hub may publish
 * what comes in such POSTs (CometFastPublish).  The thread that owns the
 * connection calls these functions.
 */
#include "wait/fast_priv.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>

#include "output/answer.h"
#include "output/chain.h"
#include "wait/connection.h"
#include "wait/wait_priv.h"

apr_time_t mod_comet_fast_may_publish(const request_rec *r)
{
    static const char *const unfit[] = { "Transfer-Encoding", "Expect",
                                         "Idempotency-Key" };
    apr_size_t i;

    if (!mod_comet_config_fast_publish(r)) {
        return 0;
    }
    for (i = 0; i < sizeof(unfit) / sizeof(*unfit); i++) {
        if (apr_table_get(r->headers_in, unfit[i])) {
            return 0;
        }
    }
    return r->proto_num == HTTP_VERSION(1, 1) && !r->user
                   && !ap_some_authn_required((request_rec *)r)
                   && !mod_comet_request(r)->is_personal
                   && !mod_comet_config_publish_limit(r)
                   && mod_comet_chain_is_plain(r, 0)
                   && mod_comet_chain_reads_plain(r)
               ? comet_monotonic() + mod_comet_fast_lasts(r)
               : 0;
}

/* The longest body that the hub takes.  httpd refuses longer ones. */
static apr_size_t find_most_bytes(const request_rec *r)
{
    apr_off_t most = ap_get_limit_req_body(r);
    apr_off_t ours = mod_comet_config_max_message_bytes(r->server);

    return (apr_size_t)(most > 0 && most < ours ? most : ours);
}

/* Find out where the client is, as far as httpd's decisions may depend on it. */
static void find_peer(mod_comet_fast_t *fast, const conn_rec *c)
{
    static atomic_ulong connections;
    const char *peer =
        apr_psprintf(c->pool, "%s %s:%d %pp", c->client_ip, c->local_ip,
                     (int)c->local_addr->port, (void *)c->base_server);

    fast->peer = comet_text(apr_pstrcat(c->pool, peer, "\n", NULL));
    fast->own_peer = comet_text(apr_psprintf(
        c->pool, "%s %lu\n", peer, atomic_fetch_add(&connections, 1)));
}

void mod_comet_fast_learn_publish(mod_comet_fast_t **fast, request_rec *r,
                                  const comet_message_fields_t *fields,
                                  apr_time_t until, int fd)
{
    conn_rec *c = r->connection;
    mod_comet_fast_t *known = *fast;
    int computed = mod_comet_chain_has_computed(r);
    int is_ours = mod_comet_answer_is_ours(r, NULL);
    mod_comet_familiar_t *lesson;
    comet_head_post_t post;

    if (!known) {
        known = *fast = mod_comet_fast_make(c, fd);
    }
    if (!known->peer.data) {
        find_peer(known, c);
    }
    lesson =
        comet_head_split_post(mod_comet_connection(c)->beginning, &post)
                && post.length == fields->body.length
            ? mod_comet_familiar_create(
                is_ours && !computed ? known->peer : known->own_peer, &post,
                fields, strlen(mod_comet_request(r)->mapping->channel))
            : NULL;
    if (!lesson) {
        return;
    }
    lesson->writer = mod_comet_child_store(r)->writer;
    lesson->most_bytes = find_most_bytes(r);
    lesson->timeout = mod_comet_config_publish_timeout(r->server);
    lesson->until = until;
    mod_comet_sample_begin(&lesson->answer, is_ours, computed);
    mod_comet_familiar_unref(known->lesson);
    known->lesson = lesson;
    mod_comet_fast_note_connection(known, r);
    if (!mod_comet_sample_is_known(&known->answer)
        || known->until <= comet_monotonic()) {
        mod_comet_sample_forget(&known->answer);
        known->until = lesson->until;
    }
    ap_add_output_filter("COMET_FAST", known, r, c);
}

void mod_comet_fast_end_lesson(mod_comet_fast_t *fast, comet_text_t head)
{
    mod_comet_familiar_t *lesson = fast->lesson;

    fast->lesson = NULL;
    mod_comet_familiar_unref(fast->familiar);
    fast->familiar = lesson;
    fast->publishes = mod_comet_familiars_learn(fast->child->waiting->familiars,
                                                lesson, head);
    fast->fresh |= fast->publishes;
}

comet_selection_t *mod_comet_fast_channel(const mod_comet_fast_t *fast)
{
    return fast && fast->publishes
               ? comet_selection_create(&fast->familiar->channel, 1, NULL, 0)
               : NULL;
}

comet_selection_t *mod_comet_fast_unstored(const mod_comet_fast_t *fast)
{
    int stored;

    return fast && fast->job && fast->familiar
                   && !comet_writer_is_answered(fast->job, &stored)
               ? comet_selection_create(&fast->familiar->channel, 1, NULL, 0)
               : NULL;
}

int mod_comet_fast_finish_publish(mod_comet_fast_t *fast, apr_status_t *status,
                                  comet_timestamp_t *timestamp)
{
    comet_writer_job_t *job = fast ? fast->job : NULL;

    if (!job) {
        return 0;
    }
    mod_comet_fast_mute(fast);
    fast->job = NULL;
    *status = comet_writer_finish(
        fast->writer, job, fast->publish_until - comet_monotonic(), timestamp);
    return 1;
}
