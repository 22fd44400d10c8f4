/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/inquiry.h
 * Ask the site's application whether a client may use a channel.  This makes an
 * internal sub-request to a local URL, with the client's cookies.  The status
 * of the answer decides; its body is discarded.
 */
#ifndef MOD_COMET_INQUIRY_H
#define MOD_COMET_INQUIRY_H

#include "request/request.h"

/** The application that is asked; in the configuration's pool. */
typedef struct mod_comet_inquiry_target_t {
    const char *url; /* local: "/…", perhaps with a query */
    apr_interval_time_t timeout; /* an answer that takes longer does not
                                  * count */
} mod_comet_inquiry_target_t;

/** What the application has answered; in the pool of the request. */
typedef struct mod_comet_inquiry_t {
    const mod_comet_inquiry_target_t *target;
    int status; /* 2xx: the application grants access; 503: the application
                 * could not be asked, or is broken */
    const char *wrong; /* why access is not granted; else NULL */
    const char *user; /* Comet-User; NULL: the answer names nobody */
    const char *challenge; /* the answer's WWW-Authenticate; NULL: it has
                            * none */
    apr_time_t until; /* the end of Comet-Lifetime, by comet_monotonic(); 0: the
                       * answer names none */
} mod_comet_inquiry_t;

/**
 * Ask the site's application about a request.  If the request's last inquiry
 * had the same target, its answer is used again.  Otherwise the call takes as
 * long as the application takes to answer.  Called by the request's thread.
 * @param channel  the value of Comet-Channel: "" for the endpoint's own URL,
 *                 "room/" and a star for all channels below room; no control
 *                 characters
 * @return never NULL; kept in request->inquiry
 */
const mod_comet_inquiry_t *mod_comet_inquiry_make(
    request_rec *r, const mod_comet_inquiry_target_t *target,
    const char *channel);

/** Whether the application made this request while it was answering an inquiry.
 * Asking about this request, too, would never end. */
int mod_comet_inquiry_is_nested(const request_rec *r);

/** check_user_id hook: if the application has answered 401, answer 401, too,
 * unless the location has an AuthType that can name the user. */
int mod_comet_inquiry_authenticate(request_rec *r);

/** Register the filters that discard the answer's body and keep the client's
 * body from the application. */
void mod_comet_inquiry_register(void);

#endif /* MOD_COMET_INQUIRY_H */
