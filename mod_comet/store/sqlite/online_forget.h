/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/online_forget.h
 * Limit the table last_seen, which remembers members: by age
 * (CometPresenceMemory) and by the number of rows for each member
 * (COMET_ONLINE_SEEN_MOST).
 */
#ifndef COMET_SQLITE_ONLINE_FORGET_H
#define COMET_SQLITE_ONLINE_FORGET_H

#include "store/sqlite/sqlite.h"

/**
 * Check last_seen once an hour, one slice in each call.  A slice takes some
 * milliseconds, during which nobody can publish.
 * @param more  set to 1 if more slices are left
 * @return APR_SUCCESS, or why the store could not be written.  The writer's
 *         thread.
 */
apr_status_t comet_online_forget(comet_sqlite_t *store, int *more);

#endif /* COMET_SQLITE_ONLINE_FORGET_H */
