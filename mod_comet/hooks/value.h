/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/value.h
 * Numbers and durations in the configuration.  Main process only, while httpd
 * reads the configuration.
 */
#ifndef MOD_COMET_VALUE_H
#define MOD_COMET_VALUE_H

#include "server/mod_comet.h"

/**
 * Make the error text for a value that a directive does not allow.
 * @param allowed  what the directive expects instead
 * @return in cmd->pool
 */
const char *mod_comet_value_wrong(cmd_parms *cmd, const char *value,
                                  const char *allowed);

/**
 * Read a whole number.
 * @param field  OUT: unchanged if the value is wrong
 * @return NULL, or the error text
 */
const char *mod_comet_value_number(cmd_parms *cmd, const char *value,
                                   apr_int64_t least, apr_int64_t most,
                                   apr_int64_t *field);

/** Read a duration, as all directives of this module do.
 * @param duration  OUT: microseconds
 * @return whether the value is a duration */
int mod_comet_value_read_duration(const char *value,
                                  apr_interval_time_t *duration);

/**
 * Read a duration: a number with the unit ms, s, min, h, d or w, or a number of
 * seconds.
 * @param least, most  microseconds
 * @param allowed      for the error text, see mod_comet_value_wrong()
 * @param field        OUT: microseconds; unchanged if the value is wrong
 * @return NULL, or the error text
 */
const char *mod_comet_value_duration(cmd_parms *cmd, const char *value,
                                     apr_interval_time_t least,
                                     apr_interval_time_t most,
                                     const char *allowed, apr_int64_t *field);

/** Write a duration as an administrator would: 100ms, 60s, 1h.
 * @return in @a p */
const char *mod_comet_value_show_duration(apr_interval_time_t duration,
                                          apr_pool_t *p);

#endif /* MOD_COMET_VALUE_H */
