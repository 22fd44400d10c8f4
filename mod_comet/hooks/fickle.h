/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/fickle.h
 * Rules that can allow one request of a connection and refuse the next.  The
 * hub, which answers later requests (CometFastPoll, CometFastPublish), would
 * not notice.
 */
#ifndef MOD_COMET_FICKLE_H
#define MOD_COMET_FICKLE_H

#include "server/mod_comet.h"

/** Find such a rule.  Parent only, while httpd keeps ap_conftree.
 * @param tree  the first directive of a section
 * @param pool  for temporary memory
 * @return NULL: there is none */
const ap_directive_t *mod_comet_fickle_find(const ap_directive_t *tree,
                                            apr_pool_t *pool);

#endif /* MOD_COMET_FICKLE_H */
