/* SPDX-License-Identifier: Apache-2.0 */
/* A hub of the Mercure protocol (https://mercure.rocks/spec), 0.x and 1.0: GET
 * and QUERY subscribe, POST publishes. */
#include "dialect/mercure.h"

#include <apr_strings.h>

#include "dialect/catch_up.h"
#include "dialect/dialects.h"
#include "dialect/post.h"

/* --- who asks ------------------------------------------------------------------ */

/* Find the token of a request.  A token for channels of an endpoint does not
 * count: its client may read these channels only, and the hub would show it all
 * that is public.
 * @return DECLINED: the token is valid, or there is none */
static int enter(mod_comet_mercure_t *mercure)
{
    request_rec *r = mercure->r;
    const mod_comet_token_t *token = mod_comet_token_find(r);

    switch (token->state) {
    case MOD_COMET_TOKEN_ABSENT:
        return DECLINED;
    case MOD_COMET_TOKEN_MALFORMED:
        mod_comet_token_challenge(r, "invalid_request", token->wrong, NULL);
        return mod_comet_mercure_refuse(r, HTTP_BAD_REQUEST, token->wrong);
    case MOD_COMET_TOKEN_INVALID:
        mod_comet_mercure_challenge(r, "invalid_token", token->wrong);
        return mod_comet_mercure_refuse(
            r, HTTP_UNAUTHORIZED,
            apr_pstrcat(r->pool, "Unauthorized: ", token->wrong, NULL));
    default:
        break;
    }
    if (token->claims.mercure.is_for_channels) {
        return DECLINED;
    }
    mercure->token = token;
    if (token->claims.user && !r->user) {
        r->user = apr_pstrdup(r->pool, token->claims.user);
    }
    mod_comet_request_grant(mod_comet_request(r), token->until);
    return DECLINED;
}

/* --- the dialect ----------------------------------------------------------------- */

static const char *map(mod_comet_mapping_t *mapping, const char *argument,
                       apr_pool_t *pool)
{
    return mod_comet_dialect_endpoint.map(mapping, argument, pool);
}

/* The parameters of the URL name the channels; its path names none. */
static const char *find_channel(const request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel)
{
    *channel = (comet_text_t){ .data = NULL };
    return NULL;
}

static int publishes(const request_rec *r, const mod_comet_request_t *request)
{
    return r->method_number == M_POST;
}

static const comet_transport_t *find_transport(
    const request_rec *r, const mod_comet_request_t *request)
{
    return &comet_transport_mercure;
}

static int subscribe(mod_comet_mercure_t *mercure)
{
    request_rec *r = mercure->r;
    mod_comet_ask_t *ask = mercure->ask;
    int rv = DECLINED;

    if (!mercure->token && !mod_comet_config_mercure_anonymous(r)) {
        return mod_comet_mercure_refuse_anonymous(
            r, "subscribers need a token here (CometMercureAnonymous)");
    }
    if (mod_comet_mercure_is_query(r)) {
        rv = mod_comet_mercure_read_query(mercure);
    }
    if (rv == DECLINED) {
        rv = mod_comet_mercure_select(mercure);
    }
    if (rv == DECLINED) {
        rv = mod_comet_mercure_find_cursor(mercure);
    }
    if (rv != DECLINED) {
        return rv;
    }
    ask->limit = ask->transport->limit;
    ask->heartbeat = mod_comet_config_heartbeat(r);
    ask->from_now = 1;
    mod_comet_ask_limit_time(ask, r);
    return r->header_only ? mod_comet_catch_up_head(r, ask)
                          : mod_comet_catch_up_answer(r, ask);
}

static int handle(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    mod_comet_mercure_t mercure = { .r = r, .request = request, .ask = ask };
    int rv = enter(&mercure);

    if (rv != DECLINED) {
        return rv;
    }
    return request->publishes ? mod_comet_mercure_publish(&mercure)
                              : subscribe(&mercure);
}

const mod_comet_dialect_t mod_comet_dialect_mercure = {
    .usage = "URL [PREFIX/] [optional]",
    .takes = MOD_COMET_OPTIONAL_ARGUMENT,
    .methods = "GET, HEAD, QUERY, POST, OPTIONS",
    .accepts = MOD_COMET_POST_FORM,
    .token_cookie = "mercureAuthorization",
    .token_parameter = "authorization",
    .by_mercure = 1,
    .errors_are_plain = 1,
    .map = map,
    .find_channel = find_channel,
    .publishes = publishes,
    .find_transport = find_transport,
    .handle = handle,
};
