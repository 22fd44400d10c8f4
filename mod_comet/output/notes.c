/* SPDX-License-Identifier: Apache-2.0 */
/* The notes of a request that a LogFormat can show. */
#include "output/notes.h"

#include <apr_strings.h>

#include "request/dialect.h"

/* A note is cut at this length: a request may name a thousand channels. */
#define CHANNELS_MOST_BYTES 1000

/* Whether a parameter with this name holds a channel or a topic. */
static int names_channel(comet_text_t name)
{
    return comet_text_equal(name, comet_text("channel"))
           || comet_text_equal(name, comet_text("topic"))
           || (name.length >= 5 && memcmp(name.data, "match", 5) == 0);
}

/* List the channels that the parameters of a request name, as the client wrote
 * them.  @return NULL: there are none */
static const char *list_channels(const comet_params_t *query, apr_pool_t *p)
{
    char *list = NULL;
    apr_size_t i, length = 0;

    for (i = 0; i < query->count && length < CHANNELS_MOST_BYTES; i++) {
        const comet_param_t *param = &query->list[i];

        if (names_channel(param->name) && param->value.length) {
            list = apr_pstrcat(
                p, list ? list : "", list ? "," : "",
                apr_pstrmemdup(p, param->value.data, param->value.length),
                NULL);
            length = strlen(list);
        }
    }
    if (length > CHANNELS_MOST_BYTES) {
        list[CHANNELS_MOST_BYTES] = '\0';
    }
    return list;
}

/* Find the channel that the URL names, or else those that the parameters
 * name. */
static const char *find_channels(request_rec *r,
                                 const mod_comet_request_t *request)
{
    const mod_comet_mapping_t *mapping = request->mapping;
    comet_text_t channel;

    if (mapping->dialect->find_channel(r, mapping, &channel) == NULL
        && channel.data) {
        return apr_pstrmemdup(r->pool, channel.data, channel.length);
    }
    return list_channels(&request->query, r->pool);
}

static const char *find_transport(request_rec *r,
                                  const mod_comet_request_t *request)
{
    const comet_transport_t *transport;

    if (request->publishes) {
        return "publish";
    }
    if (r->method_number != M_GET && !request->story.way) {
        return NULL;
    }
    transport = request->mapping->dialect->find_transport(r, request);
    return transport ? comet_transport_label(transport) : NULL;
}

static void set(request_rec *target, const char *name, const char *value)
{
    if (value) {
        apr_table_setn(target->notes, name, value);
    }
}

void mod_comet_notes_begin(request_rec *r, const mod_comet_request_t *request,
                           request_rec *target)
{
    set(target, "comet-channel", find_channels(r, request));
    set(target, "comet-transport", find_transport(r, request));
    set(target, "comet-way", request->story.way);
}

/* Guess why a request ended if no reason was noted.  A wait that ended without
 * a reason was ended by the client. */
static mod_comet_end_e guess(int status, const mod_comet_story_t *story,
                             int aborted)
{
    if (status >= HTTP_BAD_REQUEST) {
        return MOD_COMET_END_refused;
    }
    return aborted || story->way ? MOD_COMET_END_left : MOD_COMET_END_answered;
}

void mod_comet_notes_end(request_rec *target, const mod_comet_story_t *story,
                         int aborted)
{
    mod_comet_end_e end = story->end;

    if (end == MOD_COMET_END_UNTOLD) {
        end = guess(target->status, story, aborted);
    }
    set(target, "comet-messages",
        apr_psprintf(target->pool, "%" APR_INT64_T_FMT, story->messages));
    if (story->cursor) {
        set(target, "comet-cursor",
            apr_psprintf(target->pool, "%" APR_INT64_T_FMT, story->cursor));
    }
    set(target, "comet-end", mod_comet_story_end_text(end));
}
