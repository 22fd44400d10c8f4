/* SPDX-License-Identifier: Apache-2.0 */
/* What the hub's fast ways keep for a connection. */
#include "wait/fast_priv.h"

#include "wait/connection.h"
#include "wait/wait_priv.h"

/* How long the hub answers by itself before httpd must decide again. */
#define DECISION_LASTS apr_time_from_sec(60)

void mod_comet_fast_forget(mod_comet_fast_t *fast)
{
    if (fast) {
        comet_head_free(&fast->head);
        mod_comet_sample_forget(&fast->answer);
        mod_comet_familiar_unref(fast->familiar);
        fast->familiar = NULL;
    }
}

void mod_comet_fast_drop_publish(mod_comet_fast_t *fast)
{
    mod_comet_familiar_unref(fast->lesson);
    fast->lesson = NULL;
    mod_comet_fast_mute(fast);
    if (fast->job) {
        comet_writer_abandon(fast->writer, fast->job);
        fast->job = NULL;
    }
}

static apr_status_t clean_up(void *data)
{
    mod_comet_fast_t *fast = data;

    mod_comet_fast_forget(fast);
    mod_comet_fast_drop_publish(fast);
    mod_comet_place_stand_up(&fast->seat);
    mod_comet_outlet_clear(&fast->outlet);
    return APR_SUCCESS;
}

mod_comet_fast_t *mod_comet_fast_make(conn_rec *c, int fd)
{
    mod_comet_fast_t *fast = apr_pcalloc(c->pool, sizeof(*fast));

    fast->child = mod_comet_child();
    fast->brigade = apr_brigade_create(c->pool, c->bucket_alloc);
    fast->fd = fd;
    fast->real = -1;
    fast->asked = -1;
    if (!c->keepalives && mod_comet_connection(c)->beginning.data) {
        comet_head_learn(&fast->head, mod_comet_connection(c)->beginning);
        comet_head_match(&fast->head, mod_comet_connection(c)->beginning,
                         &fast->asked);
    }
    atomic_store(&fast->child->waiting->has_fast, 1);
    apr_pool_cleanup_register(c->pool, fast, clean_up, apr_pool_cleanup_null);
    return fast;
}

static apr_interval_time_t find_lendable(const request_rec *r)
{
    return mod_comet_request_timeout_server(r)->timeout / 10 * 9;
}

apr_interval_time_t mod_comet_fast_lasts(const request_rec *r)
{
    apr_interval_time_t lendable = find_lendable(r);
    apr_interval_time_t lasts = mod_comet_config_max_lifetime(r);

    if (lasts <= 0 || lasts > DECISION_LASTS) {
        lasts = DECISION_LASTS;
    }
    return lasts < lendable ? lasts : lendable;
}

void mod_comet_fast_note_connection(mod_comet_fast_t *fast,
                                    const request_rec *r)
{
    fast->store = (apr_size_t)mod_comet_config_server(r->server)->store;
    fast->keep_alive = mod_comet_request_timeout_server(r)->keep_alive_timeout;
    fast->keep_alive_max = r->server->keep_alive_max;
    fast->lendable = find_lendable(r);
}
