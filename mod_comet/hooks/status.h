/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/status.h
 * The counters of all children: SetHandler comet-status, and a section of
 * mod_status.
 */
#ifndef MOD_COMET_STATUS_H
#define MOD_COMET_STATUS_H

#include "server/mod_comet.h"

/** handler hook for comet-status: JSON, or Prometheus text
 * (?format=prometheus, or Accept: text/plain). */
int mod_comet_status_handler(request_rec *r);

/** Register the section of mod_status (HTML and ?auto), if mod_status is
 * loaded. */
void mod_comet_status_register(apr_pool_t *p);

#endif /* MOD_COMET_STATUS_H */
