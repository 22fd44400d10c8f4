/* SPDX-License-Identifier: Apache-2.0 */
/* Let moderators list and change the retention of single channels. */
#include "dialect/retention.h"

#include <apr_strings.h>

#include "base/buffer.h"
#include "wire/encode.h"
#include "request/reasons.h"
#include "output/answer.h"
#include "dialect/gather.h"
#include "dialect/judge.h"
#include "dialect/members.h"
#include "dialect/moderate.h"
#include "dialect/publish.h"
#include "dialect/reading.h"

typedef mod_comet_gathering_t gathering_t;

/* --- who may --------------------------------------------------------------- */

/* @return DECLINED: go on */
static int judge(gathering_t *gathering, comet_text_t name)
{
    comet_text_t channel = name;
    int status;

    /* a channel's moderators also set the rules of its sibling channels */
    mod_comet_members_channel(name, &channel);
    status = mod_comet_judge_moderating(gathering->r,
                                        gathering->request->mapping, channel);
    if (status == OK) {
        return DECLINED;
    }
    return mod_comet_gather_refuse(
        gathering, status, "%s",
        status == HTTP_SERVICE_UNAVAILABLE
            ? "the server cannot find out now what this client may moderate; "
              "try again later"
            : "retention: the pattern matches a channel that you may not "
              "moderate");
}

static int keep_name(void *baton, comet_text_t name)
{
    apr_array_header_t *list = baton;

    *(comet_text_t *)apr_array_push(list) =
        (comet_text_t){ apr_pstrmemdup(list->pool, name.data, name.length),
                        name.length };
    return 1;
}

/* Check that the client may moderate each existing channel that a wildcard
 * matches.
 * @return DECLINED: go on */
static int judge_below(gathering_t *gathering, comet_text_t prefix)
{
    apr_size_t hidden = strlen(gathering->request->mapping->channel);
    apr_array_header_t *found =
        apr_array_make(gathering->pool, 16, sizeof(comet_text_t));
    comet_store_t *store;
    apr_status_t status =
        mod_comet_reading_take(gathering->r, gathering->ask, &store);
    int rv, i;

    if (status == APR_SUCCESS) {
        status = comet_store_channels(
            store, mod_comet_gather_stored_name(gathering, prefix),
            (apr_size_t)mod_comet_config_channel_limit(gathering->r) + 1,
            keep_name, found);
    }
    mod_comet_reading_return(gathering->r, store, status);
    if (status != APR_SUCCESS) {
        return mod_comet_gather_refuse_reading(gathering, status,
                                               "the channels");
    }
    rv = mod_comet_gather_check_count(gathering, (apr_size_t)found->nelts);
    for (i = 0; i < found->nelts && rv == DECLINED; i++) {
        comet_text_t name = APR_ARRAY_IDX(found, i, comet_text_t);

        name.data += hidden;
        name.length -= hidden;
        rv = judge(gathering, name);
    }
    return rv;
}

/* Read the pattern, and find out whether the client may moderate all channels
 * that it matches.
 * @param pattern  OUT: with the endpoint's prefix
 * @return DECLINED: go on */
static int find_pattern(gathering_t *gathering, comet_text_t *pattern)
{
    comet_text_t name = { NULL, 0 };
    const char *wrong;
    int wildcard, rv;

    comet_params_get(&gathering->request->query, "retention", &name);
    wildcard = mod_comet_gather_is_wildcard(name);
    wrong = gathering->ask->channel.data
                ? "use the endpoint's own URL"
                : mod_comet_gather_check_name(gathering, name, wildcard);
    if (!wrong && !wildcard && name.data[name.length - 1] == '*') {
        wrong = "a star must follow a slash, as in room/*, or be alone";
    }
    if (wrong) {
        return mod_comet_gather_refuse(gathering, HTTP_BAD_REQUEST,
                                       "retention: %s", wrong);
    }
    *pattern = mod_comet_gather_stored_name(gathering, name);
    name.length -= wildcard ? 1 : 0; /* the star */
    rv = judge(gathering, name);
    return rv == DECLINED && wildcard ? judge_below(gathering, name) : rv;
}

/* @return DECLINED: go on; or what the handler returns: the request was
 *         refused */
static int choose(request_rec *r, const mod_comet_request_t *request,
                  mod_comet_ask_t *ask, comet_text_t *pattern)
{
    gathering_t gathering = mod_comet_gather_begin(r, request, ask, r->pool);
    int rv;

    if (!mod_comet_config_moderate(r)) {
        return mod_comet_answer_error(r, HTTP_FORBIDDEN,
                                      "moderating is off here (CometModerate)");
    }
    rv = find_pattern(&gathering, pattern);
    return rv == DECLINED ? rv
                          : mod_comet_answer_error(r, gathering.status, "%s",
                                                   gathering.reason);
}

/* --- listing --------------------------------------------------------------- */

typedef struct list_t {
    comet_buffer_t body;
    apr_size_t hidden_bytes; /* the endpoint's prefix */
    int count;
} list_t;

static void add_limit(comet_buffer_t *body, const char *name, apr_int64_t limit)
{
    comet_buffer_puts(body, name);
    if (limit) {
        comet_buffer_add_int(body, limit);
    }
    else {
        comet_buffer_puts(body, "null");
    }
}

static int add_rule(void *baton, const comet_rule_t *rule)
{
    list_t *list = baton;
    comet_text_t shown = rule->pattern;

    shown.data += list->hidden_bytes;
    shown.length -= list->hidden_bytes;
    comet_buffer_puts(&list->body, list->count++ ? ",\n  {\"pattern\": "
                                                 : "\n  {\"pattern\": ");
    comet_encode_json(&list->body, shown);
    add_limit(&list->body, ", \"count\": ", rule->keep_count);
    add_limit(&list->body, ", \"age\": ", rule->keep_age_sec);
    comet_buffer_puts(&list->body, "}");
    return 1;
}

/* @param after  list only the patterns that follow this one, which includes the
 *               endpoint's prefix */
static apr_status_t look_up(request_rec *r, mod_comet_ask_t *ask,
                            comet_text_t pattern, comet_text_t after,
                            apr_size_t limit, list_t *list)
{
    int wildcard = mod_comet_gather_is_wildcard(pattern);
    comet_store_t *store;
    apr_status_t status = mod_comet_reading_take(r, ask, &store);

    pattern.length -= wildcard ? 1 : 0;
    if (status == APR_SUCCESS) {
        status = comet_store_rules(store, pattern, after, wildcard ? limit : 1,
                                   add_rule, list);
    }
    mod_comet_reading_return(r, store, status);
    return status;
}

int mod_comet_retention_answer(request_rec *r,
                               const mod_comet_request_t *request,
                               mod_comet_ask_t *ask)
{
    gathering_t naming = { .pool = r->pool, .request = request };
    list_t list = { .hidden_bytes = strlen(request->mapping->channel) };
    apr_int64_t limit = COMET_LIMIT_MAX;
    comet_text_t pattern = { NULL, 0 }, after = { NULL, 0 };
    const char *wrong = mod_comet_ask_parse_int(r, request, "limit", 1,
                                                COMET_LIMIT_MAX, &limit);
    apr_status_t status;
    char buffer[200];
    int rv;

    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    rv = choose(r, request, ask, &pattern);
    if (rv != DECLINED) {
        return rv;
    }
    if (comet_params_get(&request->query, "after", &after)) {
        after = mod_comet_gather_stored_name(&naming, after);
    }
    comet_buffer_puts(&list.body, "{\"rules\": [");
    status = look_up(r, ask, pattern, after, (apr_size_t)limit, &list);
    if (status != APR_SUCCESS) {
        rv = mod_comet_answer_error(
            r, mod_comet_reasons_store_code(status),
            "the rules cannot be read: %s",
            comet_strerror(status, buffer, sizeof(buffer)));
    }
    else {
        add_limit(&list.body, "],\n \"default\": {\"count\": ",
                  mod_comet_config_retain_count(r->server));
        add_limit(&list.body, ", \"age\": ",
                  apr_time_sec(mod_comet_config_retain_age(r->server)));
        comet_buffer_puts(&list.body, "}}\n");
        rv = mod_comet_answer_reader(r, "application/json; charset=utf-8",
                                     &list.body);
    }
    comet_buffer_free(&list.body);
    return rv;
}

/* --- changing -------------------------------------------------------------- */

/* @return NULL, or what is wrong (400) */
static const char *read_rule(const request_rec *r,
                             const mod_comet_request_t *request,
                             comet_rule_t *rule)
{
    const comet_params_t *query = &request->query;
    comet_text_t age, any;
    int all = comet_params_get(query, "all", &any);
    const char *wrong = mod_comet_ask_parse_int(
        r, request, "count", 1, COMET_RULE_COUNT_MAX, &rule->keep_count);

    rule->is_removed = comet_params_get(query, "default", &any);
    if (!wrong && comet_params_get(query, "age", &age)) {
        wrong = comet_params_age(age, &rule->keep_age_sec);
        if (wrong) {
            return apr_pstrcat(r->pool, "age: ", wrong, NULL);
        }
    }
    return wrong ? wrong
           : all + rule->is_removed + (rule->keep_count || rule->keep_age_sec)
                   != 1
               ? "retention: say what to keep: count=NUMBER, age=DURATION or "
                 "both; or all; or default for what CometRetain says"
               : NULL;
}

int mod_comet_retention_set(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask)
{
    comet_store_group_t group = { .count = 0 };
    const char *wrong = mod_comet_publish_objection(r);
    int rv;

    if (wrong) {
        return mod_comet_answer_error(r, HTTP_FORBIDDEN, "%s", wrong);
    }
    rv = ap_discard_request_body(r);
    if (rv == OK) {
        rv = choose(r, request, ask, &group.rule.pattern);
    }
    if (rv != DECLINED) {
        return rv;
    }
    wrong = read_rule(r, request, &group.rule);
    if (wrong) {
        return mod_comet_answer_error(r, HTTP_BAD_REQUEST, "%s", wrong);
    }
    return mod_comet_moderate_change(r, &group,
                                     "retention: there is no such rule");
}
