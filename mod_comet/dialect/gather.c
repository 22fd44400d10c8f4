/* SPDX-License-Identifier: Apache-2.0 */
/* Gather the channels that a client names.  Each channel is authorised like a
 * request to its own URL. */
#include "dialect/gather.h"

#include <apr_strings.h>
#include <stdarg.h>

#include "request/authenticate.h"
#include "request/limits.h"
#include "dialect/judge.h"
#include "dialect/reading.h"

typedef mod_comet_gathering_t gathering_t;

int mod_comet_gather_refuse(mod_comet_gathering_t *gathering, int status,
                            const char *format, ...)
{
    va_list values;

    va_start(values, format);
    gathering->reason = apr_pvsprintf(gathering->pool, format, values);
    va_end(values);
    gathering->status = status;
    return status;
}

int mod_comet_gather_refuse_reading(mod_comet_gathering_t *gathering,
                                    apr_status_t status, const char *what)
{
    return mod_comet_gather_refuse(
        gathering, HTTP_SERVICE_UNAVAILABLE, "%s",
        mod_comet_reading_reason(gathering->r, gathering->ask, status, what,
                                 gathering->pool));
}

static int refuse(gathering_t *gathering, int status, comet_text_t channel,
                  const char *objection)
{
    const char *name =
        apr_pstrmemdup(gathering->pool, channel.data, channel.length);

    return objection
               ? mod_comet_gather_refuse(
                   gathering, status,
                   "channel: \"%s\" may not be read with others: %s", name,
                   objection)
               : mod_comet_gather_refuse(
                   gathering, status, "channel: \"%s\" may not be read", name);
}

mod_comet_gathering_t mod_comet_gather_begin(request_rec *r,
                                             const mod_comet_request_t *request,
                                             mod_comet_ask_t *ask,
                                             apr_pool_t *pool)
{
    mod_comet_gathering_t gathering = {
        .r = r,
        .pool = pool,
        .request = request,
        .ask = ask,
        .names = apr_array_make(pool, 1, sizeof(comet_text_t)),
        .prefixes = apr_array_make(pool, 1, sizeof(comet_text_t)),
        .named = apr_hash_make_custom(pool, comet_message_hash_key),
    };

    if (ask->channel.data) {
        *(comet_text_t *)apr_array_push(gathering.names) = ask->channel;
    }
    /* a pre-cleanup: a model's pool may be below this one, and must still exist
     * when the model is destroyed */
    apr_pool_pre_cleanup_register(pool, r, mod_comet_authenticate_forget);
    return gathering;
}

comet_text_t mod_comet_gather_stored_name(const gathering_t *gathering,
                                          comet_text_t name)
{
    comet_text_t prefix = comet_text(gathering->request->mapping->channel);
    apr_size_t length = prefix.length + name.length;
    char *stored = apr_palloc(gathering->pool, length + 1);

    memcpy(stored, prefix.data, prefix.length);
    memcpy(stored + prefix.length, name.data, name.length);
    stored[length] = '\0';
    return (comet_text_t){ stored, length };
}

/* Whether the client was allowed to read a channel a moment ago.
 * @param name  with the endpoint's prefix */
static int is_known(const gathering_t *gathering, comet_text_t name)
{
    return gathering->known
           && comet_selection_match(gathering->known, name,
                                    comet_message_hash(name))
                  == COMET_SELECTION_NAMED;
}

/*
 * Authorise a name or a prefix, and add it to a list.
 * @param shown  the name that a refusal shows.  For the channels of a wildcard
 *               it is the wildcard, since the client must not learn their names
 * @return DECLINED: go on
 */
static int take(gathering_t *gathering, comet_text_t name, comet_text_t shown,
                apr_array_header_t *list)
{
    comet_text_t stored = mod_comet_gather_stored_name(gathering, name);
    int is_named = list == gathering->names && comet_text_equal(name, shown);
    const char *objection = NULL;
    int status = OK;

    if (list != gathering->names || !is_known(gathering, stored)
        || (is_named && mod_comet_config_presence_used(gathering->r->server))) {
        status =
            mod_comet_judge_channel(gathering->r, gathering->request->mapping,
                                    name, gathering->ask, is_named, &objection);
    }
    if (status != OK) {
        return refuse(gathering, status, shown, objection);
    }
    *(comet_text_t *)apr_array_push(list) = stored;
    return DECLINED;
}

int mod_comet_gather_check_count(gathering_t *gathering, apr_size_t more)
{
    const char *limit = mod_comet_limits_channels(
        gathering->r, (apr_size_t)gathering->names->nelts + more,
        gathering->pool);

    return limit ? mod_comet_gather_refuse(gathering, HTTP_TOO_MANY_REQUESTS,
                                           "%s", limit)
                 : DECLINED;
}

/* --- wildcards ----------------------------------------------------------- */

static int keep_name(void *baton, comet_text_t name)
{
    apr_array_header_t *list = baton;

    *(comet_text_t *)apr_array_push(list) =
        (comet_text_t){ apr_pstrmemdup(list->pool, name.data, name.length),
                        name.length };
    return 1;
}

/* List the channels that exist under a prefix.  The prefix and the listed names
 * include the endpoint's own prefix. */
static apr_status_t list_channels(gathering_t *gathering, comet_text_t prefix,
                                  apr_array_header_t *list)
{
    apr_time_t began = comet_monotonic();
    comet_store_t *store;
    apr_status_t status =
        mod_comet_reading_take(gathering->r, gathering->ask, &store);

    if (status == APR_SUCCESS) {
        status = comet_store_channels(
            store, prefix,
            (apr_size_t)mod_comet_config_channel_limit(gathering->r) + 1,
            keep_name, list);
        if (comet_store_is_remote(store)) {
            gathering->waited += comet_monotonic() - began;
        }
    }
    mod_comet_reading_return(gathering->r, store, status);
    return status;
}

/* Add the existing channels that a wildcard stands for.  Each of them is
 * authorised separately. */
static int expand(gathering_t *gathering, comet_text_t prefix,
                  comet_text_t wildcard)
{
    apr_size_t hidden = gathering->ask->format.hidden_bytes;
    apr_array_header_t *found =
        apr_array_make(gathering->pool, 16, sizeof(comet_text_t));
    apr_status_t status = list_channels(
        gathering, mod_comet_gather_stored_name(gathering, prefix), found);
    int rv, i;

    if (status != APR_SUCCESS) {
        return mod_comet_gather_refuse_reading(gathering, status,
                                               "the messages");
    }
    rv = mod_comet_gather_check_count(gathering, (apr_size_t)found->nelts);
    for (i = 0; i < found->nelts && rv == DECLINED; i++) {
        comet_text_t name = APR_ARRAY_IDX(found, i, comet_text_t);

        name.data += hidden;
        name.length -= hidden;
        rv = take(gathering, name, wildcard, gathering->names);
    }
    return rv;
}

int mod_comet_gather_is_wildcard(comet_text_t name)
{
    return name.length && name.data[name.length - 1] == '*'
           && (name.length == 1 || name.data[name.length - 2] == '/');
}

const char *mod_comet_gather_check_root(const mod_comet_mapping_t *mapping,
                                        comet_text_t name)
{
    return *mapping->channel && name.length && name.data[0] == '@'
               ? "a name that begins with @ would belong to a channel outside "
                 "this endpoint"
               : NULL;
}

const char *mod_comet_gather_check_name(const gathering_t *gathering,
                                        comet_text_t name, int wildcard)
{
    apr_size_t most =
        COMET_CHANNEL_MAX_BYTES - strlen(gathering->request->mapping->channel);
    comet_text_t stem = name;
    const char *wrong;

    if (name.length > most) {
        return apr_psprintf(gathering->pool,
                            "the channel's name must be 1 to %d bytes long",
                            (int)most);
    }
    if (wildcard && name.length == 1) {
        return NULL;
    }
    stem.length -= wildcard ? 2 : 0;
    wrong = mod_comet_gather_check_root(gathering->request->mapping, name);
    return wrong ? wrong : comet_params_check_channel(stem);
}

int mod_comet_gather_add(gathering_t *gathering, comet_text_t name)
{
    comet_text_t said = name;
    int wildcard = mod_comet_gather_is_wildcard(name);
    const char *wrong = mod_comet_gather_check_name(gathering, name, wildcard);
    int rv;

    if (wrong) {
        return mod_comet_gather_refuse(gathering, HTTP_BAD_REQUEST,
                                       "channel: %s", wrong);
    }
    if (!wildcard) {
        return take(gathering, name, said, gathering->names);
    }
    name.length--; /* the star */
    rv = take(gathering, name, said, gathering->prefixes);
    return rv == DECLINED ? expand(gathering, name, said) : rv;
}

/* --- where the client may publish ------------------------------------------- */

int mod_comet_gather_add_writable(gathering_t *gathering, comet_text_t name)
{
    int status = mod_comet_judge_writing(
        gathering->r, gathering->request->mapping, name, gathering->ask);

    if (status == HTTP_SERVICE_UNAVAILABLE) {
        return mod_comet_gather_refuse(gathering, status,
                                       "the server cannot find out now where "
                                       "this client may publish; try again "
                                       "later");
    }
    if (status == OK) {
        *(comet_text_t *)apr_array_push(gathering->names) =
            mod_comet_gather_stored_name(gathering, name);
    }
    return DECLINED;
}
