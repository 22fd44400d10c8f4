/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/advice.h
 * Warnings about a configuration that httpd accepts but that does not do what
 * was meant.  Each warning says what is wrong, and what to write instead.
 */
#ifndef MOD_COMET_ADVICE_H
#define MOD_COMET_ADVICE_H

#include "server/mod_comet.h"

/**
 * Check the whole configuration, and log the warnings.  Parent only: at a
 * configtest in the check_config hook, at a start in post_config.
 * @param main  the main server, whose log gets the warnings
 * @param p     for temporary data
 */
void mod_comet_advice_give(server_rec *main, apr_pool_t *p);

#endif /* MOD_COMET_ADVICE_H */
