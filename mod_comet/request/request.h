/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/request.h
 * What mod_comet knows about a request: its mapping, and what it would do.  A
 * request that has a mapping is a request *to mod_comet*.
 */
#ifndef MOD_COMET_REQUEST_H
#define MOD_COMET_REQUEST_H

#include "wire/params.h"
#include "server/config.h"
#include "request/place.h"
#include "request/story.h"

/** The state for judging channels by the token alone (request/shortcut). */
typedef struct mod_comet_shortcut_t mod_comet_shortcut_t;

/** What mod_comet notes about a request, in r->request_config.  The members of
 * request/subrequest are used before the hook translate_name, all others after
 * it. */
typedef struct mod_comet_request_t {
    const mod_comet_mapping_t *mapping; /* NULL until translate_name */
    comet_params_t query;
    int publishes; /* whether the request would store a message */
    /** The transport of a client that gives up for good after an HTTP error
     * (EventSource).  Such a client is sent the transport's own closing words
     * instead of 503 and 429.  NULL: the client is sent the error. */
    const struct comet_transport_t *softly;
    const apr_table_t *env; /* the request's environment when it was authorised;
                             * or NULL */
    mod_comet_place_t place; /* what the request holds while it waits */
    int is_personal; /* a token, or the site's application, has authorised the
                      * request */
    apr_time_t granted_until; /* when this permission ends, by
                               * comet_monotonic(); 0: never */
    int logged_later; /* the access-log line is written later, because the
                       * stream outlives the request */
    mod_comet_story_t story; /* what became of the request, for its access-log
                              * line */

    /* of request/token: */
    const struct mod_comet_token_t *token; /* NULL: not looked for yet */
    int is_told; /* the log already says that the token grants too little */
    const mod_comet_shortcut_t *shortcut; /* NULL: not made yet */
    int is_by_token_alone; /* `Require comet-token` has granted the request, and
                            * stands alone in its section */

    /* of request/inquiry: */
    const struct mod_comet_inquiry_t *inquiry; /* the last inquiry; or NULL */
    int is_asking; /* the sub-request to the application is running */
    int is_refused; /* the log already says that the application refuses */
    const char *obstacle; /* why the request could not be judged, and is
                           * answered with 503; or NULL */

    /* of request/authenticate: the authenticated user, and the configuration
     * that authenticated it; NULL: nobody */
    char *authenticated_as;
    const ap_conf_vector_t *authenticated_in;
    int is_like_model; /* this sub-request has taken over its model's user */
    request_rec *model; /* while a sub-request is being made: its model */
    request_rec *newest_model; /* the newest sub-request that is a model;
                                * NULL: none */
    request_rec *older_model; /* if this sub-request is a model: the next older
                               * model */

    /* of request/subrequest: */
    const apr_table_t *env_before; /* a copy of the environment while rules
                                    * change it; else NULL */
    apr_array_header_t *env_changes; /* what rules have changed in the
                                      * environment; NULL: nothing */
    int has_own_env; /* this is a sub-request, and SetEnvIf is applied to its
                      * own URL */
    request_rec *outer; /* the main request, while it is hidden from the site's
                         * rules; else NULL */
} mod_comet_request_t;

/** The record of a request to mod_comet; NULL for any other request.  Called by
 * the thread that owns the request. */
mod_comet_request_t *mod_comet_request(const request_rec *r);

/** The record of any request; it is created if there is none.  Called by the
 * thread that owns the request. */
mod_comet_request_t *mod_comet_request_record(request_rec *r);

/**
 * Find the channel that a URL names, without the endpoint's prefix, as the
 * URL's percent-decoded bytes.  A URL that ends in a slash stands for all
 * channels below it.
 * @return NULL: the URL is the endpoint's own and names no channel.  Called by
 *         the request's thread.
 */
const char *mod_comet_request_channel(const request_rec *r);

/**
 * Note that a token, or the site's application, has authorised a request.
 * @param until  when the permission ends, by comet_monotonic(); 0: never.  Of
 *               several such times, the earliest one counts.  Called by the
 *               request's thread.
 */
void mod_comet_request_grant(mod_comet_request_t *request, apr_time_t until);

/** A filename for a request to mod_comet, for modules that need r->filename.
 * No file has such a name.  In r->pool; the request's thread. */
char *mod_comet_request_filename(const request_rec *r);

/** The server whose Timeout and KeepAliveTimeout the MPM applies to the
 * request's connection. */
const server_rec *mod_comet_request_timeout_server(const request_rec *r);

/** The client's certificate in PEM, in r->pool; NULL or "": it has none.  Called by
 * the request's thread. */
const char *mod_comet_request_certificate(request_rec *r);

/** Find the mapping that a path belongs to; NULL: there is none.  Any
 * thread. */
const mod_comet_mapping_t *mod_comet_request_find_mapping(
    const mod_comet_server_config_t *config, const char *path);

#endif /* MOD_COMET_REQUEST_H */
