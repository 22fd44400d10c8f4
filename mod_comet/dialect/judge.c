/* SPDX-License-Identifier: Apache-2.0 */
/* Decide whether a request may use a channel that its URL does not name. */
#include "dialect/judge.h"

#include <apr_escape.h>
#include <apr_strings.h>

#include "base/name.h"
#include "server/child.h"
#include "request/access.h"
#include "request/authenticate.h"
#include "request/presence.h"
#include "request/shortcut.h"
#include "output/answer.h"

/* What a client wants to do with a channel. */
typedef enum { USE_READ, USE_PUBLISH, USE_MODERATE } use_e;

static int is_allowed(const request_rec *sub,
                      const mod_comet_mapping_t *mapping, use_e use)
{
    const mod_comet_request_t *request = mod_comet_request(sub);

    /* with another mapping, or with none, another endpoint or an alias serves
     * that URL */
    return sub->status == HTTP_OK && request && request->mapping == mapping
           && mod_comet_access_permits(sub)
           && (use != USE_MODERATE || mod_comet_config_moderate(sub));
}

/* Find out why this request may not use a channel that its client may use
 * through the channel's own URL: the user, the limits or the transports of the
 * two URLs differ.
 * @return NULL: the request may use the channel */
static const char *find_objection(const request_rec *sub, const request_rec *r,
                                  const mod_comet_ask_t *ask)
{
    const void *limit = ask ? mod_comet_config_subscriber_limit(sub)
                            : mod_comet_config_publish_limit(sub);
    const void *counted = ask ? mod_comet_config_subscriber_limit(r)
                              : mod_comet_config_publish_limit(r);

    if (!ask && sub->user && (!r->user || strcmp(sub->user, r->user) != 0)) {
        return "its own URL authenticates a different user than this URL; "
               "publish to its own URL";
    }
    if (limit && limit != counted && !(ask && ask->history)) {
        return ask ? "it has a limit of its own (CometLimitSubscribers)"
                   : "it has a limit of its own (CometLimitPublish)";
    }
    return ask && !mod_comet_ask_is_transport_allowed(sub, ask)
               ? "this transport is off there (CometTransports)"
               : NULL;
}

/* Make a sub-request to a channel's own URL.  The caller releases it. */
static request_rec *look_up(request_rec *r, const mod_comet_mapping_t *mapping,
                            comet_text_t channel, const char *method)
{
    apr_pool_t *scratch;
    const char *path;
    request_rec *sub;

    apr_pool_create(&scratch, r->pool);
    apr_pool_tag(scratch, "comet_select_url");
    path = apr_pstrcat(scratch, mapping->url, "/",
                       apr_pstrmemdup(scratch, channel.data, channel.length),
                       NULL);
    sub = mod_comet_authenticate_look_up(r, method, path,
                                         ap_os_escape_path(scratch, path, 1));
    apr_pool_destroy(scratch);
    return sub;
}

/* Whether the request's own token grants a channel, so that no sub-request is
 * needed. */
static int is_granted_here(request_rec *r, const mod_comet_mapping_t *mapping,
                           comet_text_t channel, mod_comet_ask_t *ask)
{
    if (!mod_comet_shortcut_grants(r, mapping, channel)) {
        return 0;
    }
    if (ask) {
        mod_comet_ask_limit_time(ask, r);
    }
    return 1;
}

/* Note a channel that the client names: the client is present in it. */
static void note_room(const request_rec *url, request_rec *r,
                      const mod_comet_mapping_t *mapping, comet_text_t channel,
                      mod_comet_ask_t *ask)
{
    apr_pool_t *pool = ask->rooms_pool ? ask->rooms_pool : r->pool;

    if (mod_comet_config_presence(url) != MOD_COMET_PRESENCE_OFF) {
        mod_comet_presence_note(
            url, r, ask,
            comet_text(apr_pstrcat(
                pool, mapping->channel,
                apr_pstrmemdup(pool, channel.data, channel.length), NULL)));
    }
}

/* Judge a channel by a sub-request to the channel's own URL.  To judge many
 * channels can take long, for example if each has a password of its own, so a
 * child that must end judges no more.
 * @param ask  OUT: the limits of the permission; or NULL */
static int ask_url(request_rec *r, const mod_comet_mapping_t *mapping,
                   comet_text_t channel, mod_comet_ask_t *ask, use_e use,
                   int is_named, const char **objection)
{
    request_rec *sub;
    const char *challenge;
    int status;

    if (mod_comet_child_must_end()) {
        *objection = "this server is stopping";
        return HTTP_SERVICE_UNAVAILABLE;
    }
    sub = look_up(r, mapping, channel, use == USE_READ ? "GET" : "POST");
    if (mod_comet_answer_is_for_now(sub->status)) {
        status = HTTP_SERVICE_UNAVAILABLE; /* a rule of the site, or a limit */
    }
    else if (!is_allowed(sub, mapping, use)) {
        status = HTTP_FORBIDDEN;
    }
    else {
        status =
            mod_comet_request(sub)->obstacle ? HTTP_SERVICE_UNAVAILABLE : OK;
    }
    challenge = apr_table_get(sub->err_headers_out, "WWW-Authenticate");
    *objection = status == OK && use != USE_MODERATE
                     ? find_objection(sub, r, use == USE_READ ? ask : NULL)
                     : NULL;
    if (*objection) {
        status = HTTP_FORBIDDEN;
    }
    else if (status != OK && sub->status == HTTP_UNAUTHORIZED && challenge) {
        status = HTTP_UNAUTHORIZED;
        if (!r->sent_bodyct) { /* the answer's headers were not sent yet */
            apr_table_set(r->err_headers_out, "WWW-Authenticate", challenge);
        }
    }
    else if (status == OK && ask) {
        ask->authenticated |= sub->user != NULL;
        mod_comet_ask_limit_time(ask, sub);
        if (is_named) {
            note_room(sub, r, mapping, channel, ask);
        }
    }
    mod_comet_authenticate_release(sub);
    return status;
}

int mod_comet_judge_channel(request_rec *r, const mod_comet_mapping_t *mapping,
                            comet_text_t channel, mod_comet_ask_t *ask,
                            int is_named, const char **objection)
{
    *objection = NULL;
    if (!is_granted_here(r, mapping, channel, ask)) {
        return ask_url(r, mapping, channel, ask, ask ? USE_READ : USE_PUBLISH,
                       is_named, objection);
    }
    if (ask && is_named) { /* the same configuration sections apply to the
                            * channel's own URL */
        note_room(r, r, mapping, channel, ask);
    }
    return OK;
}

int mod_comet_judge_writing(request_rec *r, const mod_comet_mapping_t *mapping,
                            comet_text_t channel, mod_comet_ask_t *ask)
{
    const char *objection;

    return comet_name_is_reserved(channel)
               ? HTTP_FORBIDDEN
               : ask_url(r, mapping, channel, ask, USE_PUBLISH, 0, &objection);
}

int mod_comet_judge_moderating(request_rec *r,
                               const mod_comet_mapping_t *mapping,
                               comet_text_t channel)
{
    const char *objection;

    return comet_name_is_reserved(channel)
               ? HTTP_FORBIDDEN
               : ask_url(r, mapping, channel, NULL, USE_MODERATE, 0,
                         &objection);
}
