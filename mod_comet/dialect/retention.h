/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file dialect/retention.h
 * Let moderators (CometModerate) list and change the retention of single
 * channels: the rules in the table channel_retention.
 */
#ifndef MOD_COMET_RETENTION_H
#define MOD_COMET_RETENTION_H

#include "request/ask.h"

/**
 * Answer GET …?retention=PATTERN with the rules whose patterns the given
 * pattern covers, and with what CometRetain says for all other channels.
 * @param ask  as ->handle of a dialect gets it; the URL names no channel
 * @return what the handler returns
 */
int mod_comet_retention_answer(request_rec *r,
                               const mod_comet_request_t *request,
                               mod_comet_ask_t *ask);

/**
 * Set or remove a rule: POST …?retention=PATTERN with count, age or both; with
 * all; or with default.
 * @return what the handler returns
 */
int mod_comet_retention_set(request_rec *r, const mod_comet_request_t *request,
                            mod_comet_ask_t *ask);

#endif /* MOD_COMET_RETENTION_H */
