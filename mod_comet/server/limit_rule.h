/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/limit_rule.h
 * What CometLimitSubscribers and CometLimitPublish say, as rules.
 */
#ifndef MOD_COMET_LIMIT_RULE_H
#define MOD_COMET_LIMIT_RULE_H

#include "shared/quota.h"
#include "server/mod_comet.h"

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

#endif /* MOD_COMET_LIMIT_RULE_H */
