/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file server/token_key.h
 * The keys that CometTokenKey sets, and the names of the cookie and the
 * parameter that may hold a token.
 */
#ifndef MOD_COMET_TOKEN_KEY_H
#define MOD_COMET_TOKEN_KEY_H

#include <apr_tables.h>

#include "token/key.h"
#include "server/mod_comet.h"

/**
 * Read the words of one directive, and the file that they name.
 * @param keys  IN OUT: an array of comet_key_t; NULL: no key was set before
 * @param words  ALGORITHM FILE [kid=…] [issuer=…] [audience=…] [for=…]
 * @return NULL, or what is wrong.  Called in the parent while it reads its
 *         configuration.
 */
const char *mod_comet_token_key_add(cmd_parms *cmd,
                                    const apr_array_header_t **keys, int count,
                                    char *const words[]);

/**
 * Read the name of the cookie or the parameter that may hold a token.
 * @param field  OUT: "" for off
 * @return as mod_comet_token_key_add()
 */
const char *mod_comet_token_key_name(const cmd_parms *cmd, const char *value,
                                     const char **field);

#endif /* MOD_COMET_TOKEN_KEY_H */
