/* SPDX-License-Identifier: Apache-2.0 */
/* Keep verdicts for clients that come back. */
#include "wait/verdicts.h"

#include <apr_general.h>
#include <apr_siphash.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <pthread.h>

#define PLACES 1024
/* In how many of the places the verdict on one client can be. */
#define WAYS 4
/* How many places are searched for old verdicts when a verdict is added. */
#define TIDIED 8
#define KEPT_USEC apr_time_from_sec(30)
/* If less than this time is left, the verdict is not used: the client would
 * soon have to come back again. */
#define LEFT_USEC apr_time_from_sec(1)

typedef struct verdict_t {
    apr_uint64_t identity[2];
    comet_selection_t *selection; /* a reference; NULL: the place is free */
    int authenticated;
    apr_time_t ends_at; /* when the wait would have ended; 0: never */
    apr_time_t expires_at;
} verdict_t;

struct mod_comet_verdicts_t {
    unsigned char keys[2][APR_SIPHASH_KSIZE];
    pthread_mutex_t lock;
    apr_size_t tidied; /* [lock] the place that was tidied last */
    verdict_t places[PLACES]; /* [lock] */
};

mod_comet_verdicts_t *mod_comet_verdicts_create(apr_pool_t *pool)
{
    mod_comet_verdicts_t *made = apr_pcalloc(pool, sizeof(*made));

    if (apr_generate_random_bytes(&made->keys[0][0], sizeof(made->keys))
        != APR_SUCCESS) {
        return NULL;
    }
    pthread_mutex_init(&made->lock, NULL);
    return made;
}

static void vacate(verdict_t *verdict)
{
    comet_selection_unref(verdict->selection);
    verdict->selection = NULL;
}

void mod_comet_verdicts_clear(mod_comet_verdicts_t *verdicts)
{
    apr_size_t i;

    for (i = 0; verdicts && i < PLACES; i++) {
        vacate(&verdicts->places[i]);
    }
}

void mod_comet_verdicts_forget(mod_comet_verdicts_t *verdicts)
{
    if (verdicts) {
        pthread_mutex_lock(&verdicts->lock);
        mod_comet_verdicts_clear(verdicts);
        pthread_mutex_unlock(&verdicts->lock);
    }
}

/* --- who asks ------------------------------------------------------------ */

/* Append a string and a zero byte, so that different lists of strings give
 * different bytes. */
static void add(comet_buffer_t *text, const char *string)
{
    comet_buffer_add(text, string ? "+" : "-", 1);
    string = string ? string : "";
    comet_buffer_add(text, string, strlen(string) + 1);
}

static int is_cursor(comet_text_t name)
{
    const char *const *cursor = mod_comet_ask_cursors;

    while (*cursor && !comet_text_equal(name, comet_text(*cursor))) {
        cursor++;
    }
    return *cursor != NULL;
}

static void add_parameters(comet_buffer_t *text, const comet_params_t *query)
{
    apr_size_t i;

    for (i = 0; i < query->count; i++) {
        const comet_param_t *param = &query->list[i];

        if (!is_cursor(param->name)) {
            comet_buffer_add(text, param->name.data, param->name.length);
            comet_buffer_add(text, "=", 2);
            comet_buffer_add(text, param->value.data, param->value.length);
            comet_buffer_add(text, "", 1);
        }
    }
}

static void add_headers(comet_buffer_t *text, const apr_table_t *headers)
{
    const apr_array_header_t *rows = apr_table_elts(headers);
    const apr_table_entry_t *row = (const apr_table_entry_t *)rows->elts;
    int i;

    for (i = 0; i < rows->nelts; i++) {
        if (strcasecmp(row[i].key, "Last-Event-ID") != 0) {
            add(text, row[i].key);
            add(text, row[i].val);
        }
    }
}

void mod_comet_verdicts_identify(request_rec *r, mod_comet_ask_t *ask)
{
    const mod_comet_verdicts_t *verdicts = mod_comet_child()->verdicts;
    comet_buffer_t text = { .data = NULL };
    int i;

    if (!verdicts) {
        return;
    }
    add(&text, apr_psprintf(r->pool, "%pp %d", (void *)r->server,
                            r->connection->local_addr->port));
    add(&text, ap_http_scheme(r));
    add(&text, r->uri);
    add(&text, r->user);
    add(&text, r->ap_auth_type);
    add(&text, r->useragent_ip);
    add(&text, r->connection->client_ip);
    add(&text, r->connection->local_ip);
    add(&text, mod_comet_request_certificate(r));
    add_parameters(&text, &mod_comet_request(r)->query);
    add_headers(&text, r->headers_in);
    for (i = 0; i < 2 && !text.failed; i++) {
        ask->judged.identity[i] =
            apr_siphash24(text.data, text.length, verdicts->keys[i]);
    }
    comet_buffer_free(&text);
}

/* --- keeping and finding -------------------------------------------------- */

static verdict_t *place_of(mod_comet_verdicts_t *verdicts,
                           const apr_uint64_t identity[2], int way)
{
    return &verdicts->places[(identity[0] + (apr_uint64_t)way) % PLACES];
}

static int is_of(const verdict_t *verdict, const apr_uint64_t identity[2])
{
    return verdict->selection && verdict->identity[0] == identity[0]
           && verdict->identity[1] == identity[1];
}

/* Choose a place: the one that the client already has; otherwise a free one, or
 * the one that expires first. */
static verdict_t *choose_locked(mod_comet_verdicts_t *verdicts,
                                const apr_uint64_t identity[2])
{
    verdict_t *best = place_of(verdicts, identity, 0);
    int way;

    for (way = 0; way < WAYS; way++) {
        verdict_t *place = place_of(verdicts, identity, way);

        if (is_of(place, identity)) {
            return place;
        }
        if (best->selection
            && (!place->selection || place->expires_at < best->expires_at)) {
            best = place;
        }
    }
    return best;
}

static void tidy_locked(mod_comet_verdicts_t *verdicts, apr_time_t now)
{
    int i;

    for (i = 0; i < TIDIED; i++) {
        verdict_t *place = &verdicts->places[verdicts->tidied++ % PLACES];

        if (place->expires_at < now) {
            vacate(place);
        }
    }
}

void mod_comet_verdicts_keep(mod_comet_verdicts_t *verdicts,
                             const apr_uint64_t identity[2],
                             comet_selection_t *selection, int authenticated,
                             apr_time_t ends_at)
{
    apr_time_t now = comet_monotonic();
    verdict_t *place;

    if (!verdicts || (!identity[0] && !identity[1])) {
        return;
    }
    pthread_mutex_lock(&verdicts->lock);
    tidy_locked(verdicts, now);
    place = choose_locked(verdicts, identity);
    vacate(place);
    *place = (verdict_t){
        .identity = { identity[0], identity[1] },
        .selection = comet_selection_ref(selection),
        .authenticated = authenticated,
        .ends_at = ends_at,
        .expires_at = now + KEPT_USEC,
    };
    pthread_mutex_unlock(&verdicts->lock);
}

/* @return a copy of the verdict, with a reference to its selection; a selection
 *         of NULL: there is no verdict that may be used */
static verdict_t look_up(mod_comet_verdicts_t *verdicts,
                         const apr_uint64_t identity[2], apr_time_t now)
{
    verdict_t found = { .selection = NULL };
    int way;

    pthread_mutex_lock(&verdicts->lock);
    for (way = 0; way < WAYS && !found.selection; way++) {
        const verdict_t *place = place_of(verdicts, identity, way);

        if (is_of(place, identity) && place->expires_at > now
            && (!place->ends_at || place->ends_at > now + LEFT_USEC)) {
            found = *place;
            comet_selection_ref(found.selection);
        }
    }
    pthread_mutex_unlock(&verdicts->lock);
    return found;
}

comet_selection_t *mod_comet_verdicts_find(mod_comet_verdicts_t *verdicts,
                                           mod_comet_ask_t *ask)
{
    verdict_t found;

    if (!verdicts || (!ask->judged.identity[0] && !ask->judged.identity[1])) {
        return NULL;
    }
    found = look_up(verdicts, ask->judged.identity, comet_monotonic());
    if (!found.selection) {
        return NULL;
    }
    ask->authenticated |= found.authenticated;
    if (found.ends_at && (!ask->until || found.ends_at < ask->until)) {
        ask->until = found.ends_at;
    }
    return found.selection;
}
