/* SPDX-License-Identifier: Apache-2.0 */
/* Find what a subscriber of the Mercure protocol asks for, and where it
 * continues. */
#include "dialect/mercure.h"

#include <apr_strings.h>

#include "output/answer.h"
#include "request/limits.h"
#include "wire/event_id.h"
#include "dialect/reading.h"
#include "dialect/select.h"

/* How many topics one request may name. */
#define TOPICS_MAX 1000
/* How much the templates and URL patterns of one request may cost in total.
 * Each message is compared with all of them. */
#define COST_MAX 100
/* How many updates with one id are looked at, the newest first. */
#define SAME_ID_MAX 100

/* --- topics ---------------------------------------------------------------------- */

/** The topics that a request asks for. */
typedef struct asked_t {
    mod_comet_mercure_t *mercure;
    apr_array_header_t *names; /* comet_text_t, of channels */
    apr_array_header_t *patterns; /* comet_pattern_t */
    apr_size_t count;
    apr_size_t cost;
    int has_topic; /* of 0.x */
} asked_t;

/* The parameters of Mercure 1.0, whose drafts spell them in two ways. */
static const struct {
    const char *name;
    comet_pattern_kind_e kind;
} matchers[] = {
    { "match", COMET_PATTERN_EXACT },
    { "matchExact", COMET_PATTERN_EXACT },
    { "match_exact", COMET_PATTERN_EXACT },
    { "matchURLPattern", COMET_PATTERN_URL },
    { "match_urlpattern", COMET_PATTERN_URL },
};

/* Whether the name of a parameter is reserved: it begins with "match", in upper
 * or lower case. */
static int is_reserved(comet_text_t name)
{
    return name.length >= 5 && strncasecmp(name.data, "match", 5) == 0;
}

/* @return NULL, or what is wrong */
static const char *add_pattern(asked_t *asked, comet_pattern_t pattern)
{
    comet_text_t name;
    const char *wrong;

    if (++asked->count > TOPICS_MAX) {
        return "at most " APR_STRINGIFY(TOPICS_MAX) " topics may be asked for";
    }
    if (pattern.kind == COMET_PATTERN_EXACT) {
        wrong = mod_comet_mercure_name(asked->mercure, pattern.text, &name);
        if (!wrong) {
            APR_ARRAY_PUSH(asked->names, comet_text_t) = name;
        }
        return wrong;
    }
    wrong = comet_params_check_topic(pattern.text);
    if (wrong) {
        return wrong;
    }
    asked->cost += comet_pattern_cost(&pattern);
    if (asked->cost > COST_MAX) {
        return "the templates have more than " APR_STRINGIFY(
            COST_MAX) " variables: use fewer of them";
    }
    APR_ARRAY_PUSH(asked->patterns, comet_pattern_t) = pattern;
    return NULL;
}

/* @return NULL, or what is wrong */
static const char *add_matcher(asked_t *asked, const comet_param_t *param)
{
    comet_pattern_t pattern;
    const char *wrong;
    apr_size_t i = 0;

    while (i < sizeof(matchers) / sizeof(*matchers)
           && !comet_text_equal(comet_text(matchers[i].name), param->name)) {
        i++;
    }
    asked->mercure->is_v1 = 1;
    if (i == sizeof(matchers) / sizeof(*matchers)) {
        return "names of parameters that begin with match are reserved: "
               "expected match, matchExact or matchURLPattern";
    }
    wrong = comet_pattern_make(&pattern, matchers[i].kind, param->value);
    return wrong ? wrong : add_pattern(asked, pattern);
}

/* @return NULL, or what is wrong */
static const char *add_parameters(asked_t *asked)
{
    const comet_params_t *query = &asked->mercure->request->query;
    const char *wrong = NULL;
    apr_size_t i;

    for (i = 0; i < query->count && !wrong; i++) {
        const comet_param_t *param = &query->list[i];

        if (is_reserved(param->name)) {
            wrong = add_matcher(asked, param);
        }
        else if (comet_text_equal(param->name, comet_text("topic"))) {
            asked->has_topic = 1;
            wrong = add_pattern(asked, comet_pattern_read(param->value));
        }
    }
    if (!wrong && asked->has_topic && asked->mercure->is_v1) {
        wrong = "either topic (Mercure 0.x) or match (1.0) may be used, not "
                "both";
    }
    return !wrong && !asked->count ? "Missing \"topic\" parameter." : wrong;
}

/* Get the patterns of a list, which may be NULL. */
static const comet_pattern_t *elements(const apr_array_header_t *list)
{
    return list ? (const comet_pattern_t *)list->elts : NULL;
}

/* Begin a selection by topics.  It has no topics yet, only the grants that say
 * which topics the client may see. */
static comet_topics_t begin_topics(const mod_comet_mercure_t *mercure)
{
    const apr_array_header_t *grants =
        mercure->token ? mercure->token->claims.mercure.subscribe : NULL;

    return (comet_topics_t){
        .grants = elements(grants),
        .grant_count = grants ? (apr_size_t)grants->nelts : 0,
        .root = comet_text(mercure->request->mapping->channel),
    };
}

static int make(const asked_t *asked)
{
    const mod_comet_mercure_t *mercure = asked->mercure;
    comet_topics_t topics = begin_topics(mercure);

    topics.names = (const comet_text_t *)asked->names->elts;
    topics.name_count = (apr_size_t)asked->names->nelts;
    topics.patterns = elements(asked->patterns);
    topics.pattern_count = (apr_size_t)asked->patterns->nelts;
    return mod_comet_select_keep(mercure->r, mercure->ask,
                                 comet_selection_by_topics(&topics));
}

int mod_comet_mercure_select(mod_comet_mercure_t *mercure)
{
    apr_pool_t *pool = mercure->r->pool;
    asked_t asked = {
        .mercure = mercure,
        .names = apr_array_make(pool, 4, sizeof(comet_text_t)),
        .patterns = apr_array_make(pool, 4, sizeof(comet_pattern_t)),
    };
    const char *wrong = add_parameters(&asked);

    if (wrong) {
        return mod_comet_mercure_refuse(mercure->r, HTTP_BAD_REQUEST, wrong);
    }
    wrong =
        mod_comet_limits_channels(mercure->r, asked.count, mercure->r->pool);
    return wrong ? mod_comet_answer_error(mercure->r, HTTP_TOO_MANY_REQUESTS,
                                          "%s", wrong)
                 : make(&asked);
}

/* --- the cursor ------------------------------------------------------------------ */

/* Find the id of the last update that the client has seen.
 * @return data NULL: the client has seen none */
static comet_text_t find_last_id(const mod_comet_mercure_t *mercure)
{
    comet_text_t id =
        comet_text(apr_table_get(mercure->r->headers_in, "Last-Event-ID"));
    apr_size_t i;

    for (i = 0; mod_comet_ask_cursors[i] && !id.length; i++) {
        comet_params_get(&mercure->request->query, mod_comet_ask_cursors[i],
                         &id);
    }
    return id.length ? id : (comet_text_t){ .data = NULL };
}

/** Whether a client asks for a message, and whether it may see it. */
typedef struct sight_t {
    const comet_selection_t *asked; /* all that it asks for and may see */
    comet_selection_t *all; /* everything that it may see */
    comet_timestamp_t timestamp; /* of the message */
    int is_asked;
    int is_seen;
} sight_t;

static int look_at(void *baton, comet_message_t *message)
{
    sight_t *sight = baton;
    int is_it = message->timestamp == sight->timestamp;

    sight->is_asked = is_it
                      && comet_selection_judge_message(sight->asked, message)
                             != COMET_SELECTION_NONE;
    sight->is_seen = is_it
                     && comet_selection_judge_message(sight->all, message)
                            != COMET_SELECTION_NONE;
    comet_message_unref(message);
    return 0;
}

/* Find the newest update with an id that the client asks for.  Publishers may
 * give several updates one id, such as the number of a topic's revision, and the
 * client has got the id with an update that it asks for.  If there is none, its
 * page may have got the id with another update: find the newest one that the
 * client may see.  If too many others have the id, it is unknown which one the
 * client means: *found is 0. */
static apr_status_t find_among(comet_store_t *store, comet_text_t id,
                               sight_t *sight, comet_timestamp_t *found)
{
    comet_timestamp_t before = COMET_TIMESTAMP_MAX + 1;
    apr_status_t status;
    int i;

    *found = 0;
    for (i = 0; i < SAME_ID_MAX; i++) {
        status = comet_store_find_event(store, id, before, &sight->timestamp);
        if (status != APR_SUCCESS || !sight->timestamp) {
            return status;
        }
        before = sight->timestamp;
        sight->is_asked = sight->is_seen = 0;
        status = comet_store_tail(store, before - 1, 1, look_at, sight);
        if (status != APR_SUCCESS) {
            return status;
        }
        if (sight->is_asked || (sight->is_seen && !*found)) {
            *found = before;
        }
        if (sight->is_asked) {
            return APR_SUCCESS;
        }
    }
    *found = 0;
    return APR_SUCCESS;
}

/* Find the update that has an id.  An update that the client may not see counts
 * as unknown.  Otherwise the answer would reveal that it exists, and when it
 * was published.
 * @param found  OUT: the update's timestamp; 0: the id is unknown */
static apr_status_t find_event(comet_store_t *store, comet_text_t id,
                               const mod_comet_mercure_t *mercure,
                               comet_timestamp_t *found)
{
    const comet_pattern_t star = comet_pattern_read(comet_text("*"));
    comet_topics_t topics = begin_topics(mercure);
    sight_t sight = { .asked = mercure->ask->selection };
    apr_status_t status = APR_ENOMEM;

    topics.patterns = &star;
    topics.pattern_count = 1;
    sight.all = comet_selection_by_topics(&topics);
    if (sight.all) {
        status = find_among(store, id, &sight, found);
    }
    comet_selection_unref(sight.all);
    return status;
}

/* Find the timestamp of the update that has an id, in one view of the store.
 * @param cursor  OUT: -1: the id is unknown
 * @param is_whole  OUT: whether the store still has all messages after that
 *                  update */
static apr_status_t look_up(comet_store_t *store, comet_text_t id,
                            const mod_comet_mercure_t *mercure,
                            comet_timestamp_t *cursor, int *is_whole)
{
    comet_timestamp_t found = 0, floor = 0;
    comet_store_state_t state;
    apr_status_t status = comet_store_begin(store, &state);

    *cursor = -1;
    *is_whole = 0;
    if (status != APR_SUCCESS) {
        return status;
    }
    if (comet_params_is_text(id)) { /* else no update has it */
        status = find_event(store, id, mercure, &found);
    }
    if (status == APR_SUCCESS && !found) {
        comet_event_id_read(id, &found);
    }
    if (status == APR_SUCCESS && found && found <= state.last) {
        status = comet_store_floor(store, mercure->ask->selection, &floor);
        *cursor = found;
        *is_whole = found >= floor;
    }
    comet_store_end(store);
    return status;
}

static void tell(const mod_comet_mercure_t *mercure, comet_text_t id)
{
    request_rec *r = mercure->r;
    const char *value = apr_pstrmemdup(r->pool, id.data, id.length);

    apr_table_setn(r->headers_out, "Last-Event-ID", value);
    if (mercure->is_v1) { /* the header's name in some drafts of 1.0 */
        apr_table_setn(r->headers_out, "Mercure-Last-Event-ID", value);
    }
}

int mod_comet_mercure_find_cursor(const mod_comet_mercure_t *mercure)
{
    mod_comet_ask_t *ask = mercure->ask;
    comet_text_t id = find_last_id(mercure), earliest = comet_text("earliest");
    comet_store_t *store;
    apr_status_t status;
    int is_whole = 0;

    ask->cursor = -1;
    if (!id.data) {
        return DECLINED;
    }
    if (comet_text_equal(id, earliest)) {
        ask->cursor = 0;
        tell(mercure, earliest);
        return DECLINED;
    }
    status = mod_comet_reading_take(mercure->r, ask, &store);
    if (status == APR_SUCCESS) {
        status = look_up(store, id, mercure, &ask->cursor, &is_whole);
    }
    mod_comet_reading_return(mercure->r, store, status);
    if (status != APR_SUCCESS) {
        return mod_comet_reading_refuse(mercure->r, ask, status,
                                        "the messages");
    }
    /* another program may have stored an id that is not allowed in a header */
    tell(mercure, is_whole && comet_event_id_is_valid(id) ? id : earliest);
    return DECLINED;
}
