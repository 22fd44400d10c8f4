/* SPDX-License-Identifier: Apache-2.0 */
/* The original chat backend: ?msg= stores, ?timestamp= waits. */
#include "dialect/dialects.h"

#include <apr_strings.h>

#include "output/answer.h"
#include "dialect/catch_up.h"
#include "dialect/publish.h"
#include "dialect/select.h"

/* Read what a poll asks for.  The original page starts with the timestamp 0,
 * which counts as none. */
static const char *read_ask(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask)
{
    const char *wrong;

    ask->cursor = -1;
    wrong = mod_comet_ask_parse_cursor(r, request, "timestamp", &ask->cursor);
    if (ask->cursor == 0) {
        ask->cursor = -1;
    }
    ask->format.escape = mod_comet_config_escape(r) != 0;
    ask->limit = ask->transport->limit;
    ask->hold = mod_comet_ask_longest_hold(r);
    return wrong;
}

/* Store the message that ?msg= holds. */
static int publish(request_rec *r, const mod_comet_request_t *request,
                   comet_text_t channel)
{
    comet_message_fields_t fields = { .channel = channel };
    comet_store_group_t group = { .count = 0 };
    comet_buffer_t nothing = { .data = NULL };
    const char *wrong = mod_comet_publish_objection(r);
    int again, answered;

    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_FORBIDDEN, wrong);
    }
    wrong = mod_comet_publish_find_author(r, &fields.author);
    if (wrong) {
        return mod_comet_publish_refuse(r, HTTP_BAD_REQUEST, wrong);
    }
    comet_params_get(&request->query, "msg", &fields.body);
    if (mod_comet_publish_store_one(r, &fields, &group, &again, &answered)
        != OK) {
        return answered;
    }
    return mod_comet_answer_body(r, HTTP_OK, "text/html; charset=UTF-8",
                                 &nothing);
}

static const char *map(mod_comet_mapping_t *mapping, const char *argument,
                       apr_pool_t *pool)
{
    const char *wrong = comet_params_check_channel(comet_text(argument));

    mapping->channel = argument;
    return wrong ? apr_psprintf(pool, "the name of a channel (%s)", wrong)
                 : NULL;
}

static const char *find_channel(const request_rec *r,
                                const mod_comet_mapping_t *mapping,
                                comet_text_t *channel)
{
    *channel = comet_text(mapping->channel);
    return NULL;
}

/* A request with a message publishes, whatever its method (except OPTIONS). */
static int publishes(const request_rec *r, const mod_comet_request_t *request)
{
    comet_text_t text;

    return r->method_number != M_OPTIONS
           && comet_params_get(&request->query, "msg", &text)
           && text.length > 0;
}

static const comet_transport_t *find_transport(
    const request_rec *r, const mod_comet_request_t *request)
{
    return &comet_transport_classic;
}

static int handle(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask)
{
    const char *wrong;
    int rv;

    if (request->publishes) {
        return r->header_only
                   ? mod_comet_answer_not_allowed(r, "GET, POST, PUT, OPTIONS")
                   : publish(r, request, ask->channel);
    }
    wrong = read_ask(r, request, ask);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    if (r->header_only) {
        return mod_comet_catch_up_head(r, ask);
    }
    mod_comet_ask_limit_time(ask, r);
    rv = mod_comet_select_one(r, ask);
    return rv == DECLINED ? mod_comet_catch_up_answer(r, ask) : rv;
}

const mod_comet_dialect_t mod_comet_dialect_classic = {
    .usage = "URL CHANNEL [optional]",
    .takes = MOD_COMET_ARGUMENT,
    .methods = "GET, HEAD, POST, PUT, OPTIONS",
    .holds_when_full = 1, /* the classic page pauses for 5 s after any error */
    .map = map,
    .find_channel = find_channel,
    .publishes = publishes,
    .find_transport = find_transport,
    .handle = handle,
};
