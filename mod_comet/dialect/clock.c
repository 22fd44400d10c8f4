/* SPDX-License-Identifier: Apache-2.0 */
/* The original streaming clock. */
#include "dialect/dialects.h"

#include "output/cookies.h"
#include "dialect/catch_up.h"

/* A clock stream that is younger than this skips the next tick, since a tick
 * was just sent on it. */
#define YOUNG_USEC apr_time_from_msec(500)

static const char *map(mod_comet_mapping_t *mapping, const char *argument,
                       apr_pool_t *pool)
{
    mapping->channel = "";
    return NULL;
}

static const char *find_channel(const request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel)
{
    *channel = comet_text(mapping->channel);
    return NULL;
}

static int publishes(const request_rec *r, const mod_comet_request_t *request)
{
    return 0;
}

static const comet_transport_t *find_transport(
    const request_rec *r, const mod_comet_request_t *request)
{
    return &comet_transport_clock;
}

static int handle(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    ask->limit = 1;
    ask->tick = mod_comet_config_tick(r);
    ask->cursor = apr_time_now();
    ask->seen = comet_monotonic() + YOUNG_USEC;
    ask->heartbeat = mod_comet_config_heartbeat(r);
    mod_comet_ask_limit_time(ask, r);
    mod_comet_cookies_withhold(r, ask);
    return r->header_only ? mod_comet_catch_up_head(r, ask)
                          : mod_comet_catch_up_wait(r, ask);
}

const mod_comet_dialect_t mod_comet_dialect_clock = {
    .usage = "URL [optional]",
    .takes = MOD_COMET_NO_ARGUMENT,
    .methods = "GET, HEAD, OPTIONS",
    .map = map,
    .find_channel = find_channel,
    .publishes = publishes,
    .find_transport = find_transport,
    .handle = handle,
};
