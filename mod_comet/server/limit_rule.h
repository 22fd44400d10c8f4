/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/limit_rule.h
 * The rules that CometLimitSubscribers and CometLimitPublish set.
 */
#ifndef MOD_COMET_LIMIT_RULE_H
#define MOD_COMET_LIMIT_RULE_H

#include "shared/quota.h"
#include "server/mod_comet.h"

/** The rule that one directive sets; in the configuration's pool. */
typedef struct mod_comet_limit_rule_t {
    /** Where the directive stands: clients to which the same directive applies
     * are counted together. */
    apr_uint64_t scope;
    comet_quota_limit_t address; /* amount 0: no limit; the key is not set */
    comet_quota_limit_t user;
} mod_comet_limit_rule_t;

/**
 * Read one word of a directive: address=N or user=N; for rates, address=N/s or
 * address=N/min.
 * @param word  one of the directive's arguments
 * @param is_rate  whether the directive takes rates
 * @return NULL; or the arguments that are allowed, for the error text
 */
const char *mod_comet_limit_rule_set(cmd_parms *cmd,
                                     mod_comet_limit_rule_t *rule,
                                     const char *word, int is_rate);

/** A number that stands for a directive's place in the configuration. */
apr_uint64_t mod_comet_limit_rule_scope(const cmd_parms *cmd);

#endif /* MOD_COMET_LIMIT_RULE_H */
