/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/online.h
 * Who is here, in SQLite: the tables of sql/presence.sql.
 */
#ifndef COMET_SQLITE_ONLINE_H
#define COMET_SQLITE_ONLINE_H

#include "store/sqlite/sqlite.h"

/** What store/online.h calls. */
extern const comet_online_engine_t comet_online_sqlite;

/** On opening to write: make the tables where presence is on.  Where it is off
 * and there are such tables, nobody is here any more. */
apr_status_t comet_online_open(comet_sqlite_t *store);

#endif /* COMET_SQLITE_ONLINE_H */
