/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file token/mercure_priv.h
 * Reading the claims of the Mercure protocol, for the files of this folder.
 */
#ifndef COMET_MERCURE_PRIV_H
#define COMET_MERCURE_PRIV_H

#include <jansson.h>

#include "token/mercure.h"

/**
 * Read the claims.
 * @param mercure  OUT
 * @return NULL, or what is wrong with them, in a text that contains nothing of
 *         the token.  Any thread.
 */
const char *comet_mercure_read(comet_mercure_t *mercure, const json_t *claims,
                               apr_pool_t *pool);

#endif /* COMET_MERCURE_PRIV_H */
