/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/limits.h
 * CometLimitSubscribers, CometLimitPublish and CometLimitChannels: what one
 * address, one user and one request may ask for.  The first two limit nothing
 * unless they are set.
 */
#ifndef MOD_COMET_LIMITS_H
#define MOD_COMET_LIMITS_H

#include "shared/quota.h"
#include "server/limit_rule.h"
#include "request/request.h"

/** Make the shared memory, or find it again after a restart.  Called in
 * post_config. */
apr_status_t mod_comet_limits_create(int children, apr_pool_t *ptemp);

/** Register this child.  Called in child_init. */
void mod_comet_limits_attach(void);

/**
 * Count a client as waiting until its request's pool is destroyed.  Code that
 * keeps the client beyond its request takes the place out of
 * mod_comet_request(r)->place and gives it back with mod_comet_place_leave().
 * @return NULL, or the reason to refuse it (429)
 */
const char *mod_comet_limits_wait(request_rec *r);

/** Stop counting a client, before or after the end of its request.  Any
 * thread. */
void mod_comet_limits_leave(comet_quota_place_t *place);

/** The limits that apply to a publisher (CometLimitPublish). */
typedef struct mod_comet_limits_claims_t {
    comet_quota_limit_t list[COMET_QUOTA_MOST];
    const char *who[COMET_QUOTA_MOST]; /* what a refusal calls each client: user
                                        * or address */
    apr_size_t count;
    const char *what; /* what a refusal calls the things that are counted */
} mod_comet_limits_claims_t;

/** Note the limits of a client that may still publish after its request has
 * ended.  Called by the request's thread.
 * @param claims  OUT */
void mod_comet_limits_note(const request_rec *r,
                           mod_comet_limits_claims_t *claims);

/**
 * Count messages that are about to be stored.  Any thread.
 * @param claims  from mod_comet_limits_note()
 * @param retry_sec  OUT, if a reason is returned: in how many seconds the
 *                   client may try again
 * @return NULL, or the reason to refuse them (429), in @a pool
 */
const char *mod_comet_limits_spend(const mod_comet_limits_claims_t *claims,
                                   apr_size_t messages, long *retry_sec,
                                   apr_pool_t *pool);

/**
 * Count messages that a request is about to store.
 * @return NULL; or, with Retry-After set, the reason to refuse them (429)
 */
const char *mod_comet_limits_publish(request_rec *r, apr_size_t messages);

/**
 * Count a read mark that is about to be set, since each mark may store a row
 * and a message.  CometLimitPublish allows as many marks as messages.  Marks
 * are counted separately, so that a client that reads much can still publish.
 * @return as mod_comet_limits_publish()
 */
const char *mod_comet_limits_mark(request_rec *r);

/**
 * Whether one request may name this many channels.
 * @return NULL, or the reason to refuse it (429), in @a pool
 */
const char *mod_comet_limits_channels(const request_rec *r, apr_size_t channels,
                                      apr_pool_t *pool);

#endif /* MOD_COMET_LIMITS_H */
