/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/warning.h
 * Warnings about lines of the configuration.  Parent only.
 */
#ifndef MOD_COMET_WARNING_H
#define MOD_COMET_WARNING_H

#include <apr_hash.h>

#include "server/mod_comet.h"

/** The warnings of one check of the configuration. */
typedef struct mod_comet_warnings_t {
    const server_rec *main; /* the server whose log gets the warnings */
    apr_hash_t *said; /* the texts logged so far: servers share many lines */
    apr_pool_t *pool;
} mod_comet_warnings_t;

/** Log a warning, unless it was logged before.
 * @param id      the id that the text begins with, from tables/log.def
 * @param line    the line, whose file and number follow the id
 * @param format  what is wrong, and what to write instead */
void mod_comet_warning_say(mod_comet_warnings_t *warnings, const char *id,
                           const ap_directive_t *line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif /* MOD_COMET_WARNING_H */
