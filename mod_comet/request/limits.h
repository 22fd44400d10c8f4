/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file request/limits.h
 * CometLimitSubscribers, CometLimitPublish and CometLimitChannels: what one
 * address, one user and one request may ask for; off where nothing is said.
 */
#ifndef MOD_COMET_LIMITS_H
#define MOD_COMET_LIMITS_H

#include "shared/quota.h"
#include "request/request.h"

/** What one directive says; in the configuration's pool. */
typedef struct mod_comet_limit_rule_t {
    apr_uint64_t scope; /* who is counted together: where it stands */
    comet_quota_limit_t address; /* amount 0: no limit; the key is not set */
    comet_quota_limit_t user;
} mod_comet_limit_rule_t;

/**
 * Read one word of a directive: address=N or user=N, with rates address=N/s
 * or address=N/min.
 * @return NULL, or what is allowed
 */
const char *mod_comet_limit_rule_set(cmd_parms *cmd,
                                     mod_comet_limit_rule_t *rule,
                                     const char *word, int is_rate);

/** Where a directive stands, as a number. */
apr_uint64_t mod_comet_limit_rule_scope(const cmd_parms *cmd);

/** In post_config: the shared memory, kept over graceful restarts. */
apr_status_t mod_comet_limits_create(int children);

/** In child_init. */
void mod_comet_limits_attach(void);

/**
 * Count a client among those that wait, from now until its request's pool is
 * destroyed, whatever ends the waiting; or until the place is left that was
 * taken out of mod_comet_request(r)->place.
 * @return NULL, or the reason to refuse it (429)
 */
const char *mod_comet_limits_wait(request_rec *r);

/** End the counting of one before its request's end, or after it.  Any
 * thread. */
void mod_comet_limits_leave(comet_quota_place_t *place);

/**
 * Count messages that are about to be stored.
 * @return NULL; or, with Retry-After set, the reason to refuse them (429)
 */
const char *mod_comet_limits_publish(request_rec *r, apr_size_t messages);

/**
 * Whether one request may name so many channels.
 * @return NULL, or the reason to refuse it (429)
 */
const char *mod_comet_limits_channels(request_rec *r, apr_size_t channels);

#endif /* MOD_COMET_LIMITS_H */
