/* SPDX-License-Identifier: Apache-2.0 */
/* Limit what one address, one user and one request may ask for. */
#include "request/limits.h"

#include <apr_lib.h>
#include <apr_strings.h>

#include "shared/metrics.h"
#include "server/retained.h"

/* How many addresses and users fit into the table (1.5 MB when it is full). */
#define ENTRIES 65536

static comet_quota_t *limits; /* the parent makes the table, and children
                               * inherit it */

/* --- the table ----------------------------------------------------------- */

static apr_status_t create(void **thing, void *children)
{
    comet_quota_t *quota;
    apr_status_t status = comet_quota_create(&quota, *(int *)children, ENTRIES);

    *thing = quota;
    return status;
}

apr_status_t mod_comet_limits_create(int children, apr_pool_t *ptemp)
{
    void *thing;
    apr_status_t status = mod_comet_retained_get(
        &thing, "limits", comet_quota_layout(), create, &children, ptemp);

    limits = thing;
    return status;
}

void mod_comet_limits_attach(void)
{
    comet_quota_attach(limits);
}

/* --- which limits apply -------------------------------------------------- */

typedef mod_comet_limits_claims_t claims_t;

static void add_claim(claims_t *claims, const mod_comet_limit_rule_t *rule,
                      const comet_quota_limit_t *limit, const char *name,
                      char kind, comet_text_t client)
{
    if (limit->amount && client.data) {
        comet_quota_limit_t *claim = &claims->list[claims->count];

        *claim = *limit;
        claim->key = comet_quota_key(limits, rule->scope, kind, client);
        claims->who[claims->count++] = name;
    }
}

/* @param what  what is counted: 'w' for waiting, 'p' for publishing, 'm' for
 *              setting marks */
static void make_claims(claims_t *claims, const request_rec *r,
                        const mod_comet_limit_rule_t *rule, char what)
{
    unsigned char address[8];

    claims->count = 0;
    if (!rule || !limits) {
        return;
    }
    add_claim(claims, rule, &rule->user, "user", what, comet_text(r->user));
    if (r->useragent_ip) {
        add_claim(claims, rule, &rule->address, "address",
                  (char)apr_toupper(what),
                  comet_quota_address(r->useragent_ip, address));
    }
}

static void note_full_table(apr_status_t status)
{
    if (status == APR_ENOSPC) {
        comet_metrics_add(COMET_METRIC_limits_full, 1);
    }
}

/* --- waiting ------------------------------------------------------------- */

/* In a process that a child has forked, this does nothing: the place still
 * belongs to the child. */
void mod_comet_limits_leave(comet_quota_place_t *place)
{
    if (!comet_process_is_fork()) {
        comet_quota_leave(limits, place);
    }
}

static apr_status_t leave(void *place)
{
    mod_comet_limits_leave(place);
    return APR_SUCCESS;
}

const char *mod_comet_limits_wait(request_rec *r)
{
    comet_quota_place_t *place = &mod_comet_request(r)->place.tickets;
    apr_size_t reached = 0;
    apr_status_t status;
    claims_t claims;

    make_claims(&claims, r, mod_comet_config_subscriber_limit(r), 'w');
    if (!claims.count) {
        return NULL;
    }
    status = comet_quota_enter(limits, claims.list, claims.count,
                               comet_monotonic(), place, &reached);
    note_full_table(status);
    if (status != APR_EAGAIN) {
        apr_pool_cleanup_register(r->pool, place, leave, apr_pool_cleanup_null);
        return NULL;
    }
    comet_metrics_add(COMET_METRIC_limited_subscribers, 1);
    return apr_psprintf(r->pool,
                        "too many clients of this %s are waiting: at most "
                        "%" APR_INT64_T_FMT
                        " may wait at a time (CometLimitSubscribers)",
                        claims.who[reached], claims.list[reached].amount);
}

/* --- publishing ---------------------------------------------------------- */

void mod_comet_limits_note(const request_rec *r,
                           mod_comet_limits_claims_t *claims)
{
    make_claims(claims, r, mod_comet_config_publish_limit(r), 'p');
    claims->what = "messages";
}

const char *mod_comet_limits_spend(const mod_comet_limits_claims_t *claims,
                                   apr_size_t messages, long *retry_sec,
                                   apr_pool_t *pool)
{
    apr_interval_time_t wait;
    apr_size_t reached = 0;
    apr_status_t status;

    if (!claims->count) {
        return NULL;
    }
    status = comet_quota_spend(limits, claims->list, claims->count, messages,
                               comet_monotonic(), &wait, &reached);
    note_full_table(status);
    if (status != APR_EAGAIN) {
        return NULL;
    }
    comet_metrics_add(COMET_METRIC_limited_publishes, 1);
    *retry_sec = (long)(apr_time_sec(wait - 1) + 1);
    return apr_psprintf(
        pool,
        "too many %s from this %s: at most %" APR_INT64_T_FMT
        " a %s are allowed (CometLimitPublish)",
        claims->what, claims->who[reached], claims->list[reached].amount,
        claims->list[reached].per == apr_time_from_sec(1) ? "second"
                                                          : "minute");
}

static const char *spend(request_rec *r, const claims_t *claims,
                         apr_size_t messages)
{
    long retry_sec;
    const char *wrong =
        mod_comet_limits_spend(claims, messages, &retry_sec, r->pool);

    if (wrong) {
        apr_table_setn(r->headers_out, "Retry-After",
                       apr_ltoa(r->pool, retry_sec));
    }
    return wrong;
}

const char *mod_comet_limits_publish(request_rec *r, apr_size_t messages)
{
    claims_t claims;

    mod_comet_limits_note(r, &claims);
    return spend(r, &claims, messages);
}

const char *mod_comet_limits_mark(request_rec *r)
{
    claims_t claims;

    make_claims(&claims, r, mod_comet_config_publish_limit(r), 'm');
    claims.what = "read marks";
    return spend(r, &claims, 1);
}

/* --- channels ------------------------------------------------------------ */

const char *mod_comet_limits_channels(const request_rec *r, apr_size_t channels,
                                      apr_pool_t *pool)
{
    if (channels <= (apr_size_t)mod_comet_config_channel_limit(r)) {
        return NULL;
    }
    comet_metrics_add(COMET_METRIC_limited_channels, 1);
    return apr_psprintf(pool,
                        "too many channels: at most %" APR_INT64_T_FMT
                        " may be named by one request (CometLimitChannels)",
                        mod_comet_config_channel_limit(r));
}
