/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/online.h
 * Presence in SQLite: the tables of sql/presence.sql.
 */
#ifndef COMET_SQLITE_ONLINE_H
#define COMET_SQLITE_ONLINE_H

#include "store/sqlite/sqlite.h"

/** The functions that store/online.h calls. */
extern const comet_online_engine_t comet_online_sqlite;

/** Call this when a writer opens the database.  If presence is on, create the
 * tables; if it is off, remove the rows that children have left in them. */
apr_status_t comet_online_open(comet_sqlite_t *store);

#endif /* COMET_SQLITE_ONLINE_H */
