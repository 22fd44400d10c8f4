/* SPDX-License-Identifier: Apache-2.0 */
/* What a token grants by the claims of the Mercure protocol. */
#include "token/mercure_priv.h"

#include <apr_strings.h>
#include <string.h>

int comet_mercure_covers(const apr_array_header_t *patterns, comet_text_t topic)
{
    int i;

    for (i = 0; patterns && i < patterns->nelts; i++) {
        if (comet_pattern_matches(&APR_ARRAY_IDX(patterns, i, comet_pattern_t),
                                  topic)) {
            return 1;
        }
    }
    return 0;
}

static comet_text_t keep(const char *text, apr_pool_t *pool)
{
    return comet_text(apr_pstrdup(pool, text));
}

/* --- 0.x ------------------------------------------------------------------ */

/* @param patterns  OUT: NULL when the claim is absent */
static const char *read_selectors(const json_t *claim, const char *name,
                                  const apr_array_header_t **patterns,
                                  apr_pool_t *pool)
{
    const json_t *list = json_object_get(claim, name);
    apr_array_header_t *found;
    apr_size_t i;

    *patterns = NULL;
    if (!list || json_is_null(list)) {
        return NULL;
    }
    if (!json_is_array(list)
        || json_array_size(list) > COMET_MERCURE_MAX_PATTERNS) {
        return apr_psprintf(pool,
                            "mercure.%s: expected a list of at most %d "
                            "topics",
                            name, COMET_MERCURE_MAX_PATTERNS);
    }
    found = apr_array_make(pool, (int)json_array_size(list) + 1,
                           sizeof(comet_pattern_t));
    for (i = 0; i < json_array_size(list); i++) {
        const char *selector = json_string_value(json_array_get(list, i));

        if (!selector) {
            return apr_psprintf(pool, "mercure.%s[%d]: expected a text", name,
                                (int)i);
        }
        APR_ARRAY_PUSH(found, comet_pattern_t) =
            comet_pattern_read(keep(selector, pool));
    }
    *patterns = found;
    return NULL;
}

static const char *read_v0(comet_mercure_t *mercure, const json_t *claims,
                           apr_pool_t *pool)
{
    const json_t *claim = json_object_get(claims, "mercure");
    const char *wrong;

    if (!claim) {
        claim = json_object_get(claims, "https://mercure.rocks/");
    }
    if (!claim) {
        mercure->is_for_channels = json_object_get(claims, "comet") != NULL;
        return NULL;
    }
    if (!json_is_object(claim)) {
        return "mercure: expected an object";
    }
    wrong = read_selectors(claim, "publish", &mercure->publish, pool);
    return wrong
               ? wrong
               : read_selectors(claim, "subscribe", &mercure->subscribe, pool);
}

/* --- 1.0 ------------------------------------------------------------------ */

/* @return NULL: the claim has none of the known words */
static const comet_pattern_kind_e *find_type(const json_t *type)
{
    static const struct {
        const char *name;
        comet_pattern_kind_e kind;
    } types[] = {
        { "exact", COMET_PATTERN_EXACT },
        { "urlpattern", COMET_PATTERN_URL },
    };
    const char *name = type ? json_string_value(type) : "exact";
    apr_size_t i;

    for (i = 0; name && i < sizeof(types) / sizeof(*types); i++) {
        if (strcasecmp(types[i].name, name) == 0) {
            return &types[i].kind;
        }
    }
    return NULL;
}

/* The drafts of 1.0 spell this member in two ways. */
static const json_t *type_of(const json_t *matcher)
{
    const json_t *type = json_object_get(matcher, "match_type");

    return type ? type : json_object_get(matcher, "matchType");
}

static const char *read_matcher(const json_t *matcher, comet_pattern_t *pattern,
                                apr_pool_t *pool)
{
    const char *text = json_string_value(json_object_get(matcher, "match"));
    const comet_pattern_kind_e *kind = find_type(type_of(matcher));

    if (!json_is_object(matcher) || !text || !kind) {
        return "authorization_details: expected topics such as "
               "{\"match\": TEXT, \"match_type\": \"exact\"}";
    }
    return comet_pattern_make(pattern, *kind, keep(text, pool));
}

static int has_action(const json_t *detail, const char *action)
{
    const json_t *actions = json_object_get(detail, "actions");
    apr_size_t i;

    for (i = 0; i < json_array_size(actions); i++) {
        const char *name = json_string_value(json_array_get(actions, i));

        if (name && strcmp(name, action) == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *read_detail(const json_t *detail,
                               apr_array_header_t *publish,
                               apr_array_header_t *subscribe, apr_pool_t *pool)
{
    const json_t *topics = json_object_get(detail, "topics");
    apr_size_t i;

    if (!json_is_array(topics)
        || !json_is_array(json_object_get(detail, "actions"))) {
        return "authorization_details: expected two lists, \"actions\" and "
               "\"topics\"";
    }
    for (i = 0; i < json_array_size(topics); i++) {
        comet_pattern_t pattern;
        const char *wrong =
            read_matcher(json_array_get(topics, i), &pattern, pool);

        if (wrong) {
            return wrong;
        }
        if (has_action(detail, "publish")) {
            APR_ARRAY_PUSH(publish, comet_pattern_t) = pattern;
        }
        if (has_action(detail, "subscribe")) {
            APR_ARRAY_PUSH(subscribe, comet_pattern_t) = pattern;
        }
    }
    return publish->nelts > COMET_MERCURE_MAX_PATTERNS
                   || subscribe->nelts > COMET_MERCURE_MAX_PATTERNS
               ? "authorization_details: there are too many topics"
               : NULL;
}

/* Whether a detail is meant for a Mercure hub; other details are for other
 * servers.  The drafts of 1.0 have two names for this type. */
static int is_ours(const json_t *detail)
{
    const char *type = json_string_value(json_object_get(detail, "type"));

    return type
           && (strcmp(type, "https://mercure.rocks/authorization-detail") == 0
               || strcmp(type, "mercure") == 0);
}

static const char *read_v1(comet_mercure_t *mercure, const json_t *details,
                           apr_pool_t *pool)
{
    apr_array_header_t *publish =
        apr_array_make(pool, 2, sizeof(comet_pattern_t));
    apr_array_header_t *subscribe =
        apr_array_make(pool, 2, sizeof(comet_pattern_t));
    const char *wrong = NULL;
    apr_size_t i;

    mercure->is_v1 = 1;
    if (!json_is_array(details)) {
        return "authorization_details: expected a list";
    }
    for (i = 0; i < json_array_size(details) && !wrong; i++) {
        const json_t *detail = json_array_get(details, i);

        if (!json_is_object(detail)
            || !json_is_string(json_object_get(detail, "type"))) {
            return "authorization_details: expected objects with a \"type\"";
        }
        wrong = is_ours(detail) ? read_detail(detail, publish, subscribe, pool)
                                : NULL;
    }
    mercure->publish = publish->nelts ? publish : NULL;
    mercure->subscribe = subscribe->nelts ? subscribe : NULL;
    return wrong;
}

const char *comet_mercure_read(comet_mercure_t *mercure, const json_t *claims,
                               apr_pool_t *pool)
{
    const json_t *details = json_object_get(claims, "authorization_details");

    *mercure = (comet_mercure_t){ .is_v1 = 0 };
    return details ? read_v1(mercure, details, pool)
                   : read_v0(mercure, claims, pool);
}
