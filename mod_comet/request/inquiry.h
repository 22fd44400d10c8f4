/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/inquiry.h
 * Asking the site's application whether a client may use a channel: an internal
 * sub-request to a local URL, with the client's cookies.  Its status decides;
 * its body reaches nobody.
 */
#ifndef MOD_COMET_INQUIRY_H
#define MOD_COMET_INQUIRY_H

#include "request/request.h"

/** Whom to ask; in the configuration's pool. */
typedef struct mod_comet_inquiry_target_t {
    const char *url; /* local: "/…", perhaps with a query */
    apr_interval_time_t timeout; /* an answer after this is none */
} mod_comet_inquiry_target_t;

/** What it has answered; in the pool of the request. */
typedef struct mod_comet_inquiry_t {
    const mod_comet_inquiry_target_t *target;
    int status; /* HTTP's: 2xx grants; 503: it could not be asked, or is
                 * broken */
    const char *wrong; /* unless it grants: why not */
    const char *user; /* Comet-User; NULL: it names nobody */
    const char *challenge; /* its WWW-Authenticate; NULL: none */
    apr_time_t until; /* Comet-Lifetime, by comet_monotonic(); 0: it names
                       * none */
} mod_comet_inquiry_t;

/**
 * Ask about a request that is ours, once a request and target.  Takes as long
 * as the application does.  The request's thread.
 * @param channel  for Comet-Channel: "" for the endpoint's own URL, "room/"
 *                 and a star for all channels below room; no control
 *                 characters
 * @return never NULL; kept in request->inquiry
 */
const mod_comet_inquiry_t *mod_comet_inquiry_make(
    request_rec *r, const mod_comet_inquiry_target_t *target,
    const char *channel);

/** Whether a request was made on behalf of one that is being asked about: to
 * ask again would never end. */
int mod_comet_inquiry_is_nested(const request_rec *r);

/** check_user_id hook: where the application has answered 401, so do we, unless
 * an AuthType may tell the user instead. */
int mod_comet_inquiry_authenticate(request_rec *r);

/** Register the filters that keep bodies away. */
void mod_comet_inquiry_register(void);

#endif /* MOD_COMET_INQUIRY_H */
