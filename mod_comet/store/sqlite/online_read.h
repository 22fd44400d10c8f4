/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/online_read.h
 * Read the tables of sql/presence.sql.  The contracts are in store/online.h.
 */
#ifndef COMET_SQLITE_ONLINE_READ_H
#define COMET_SQLITE_ONLINE_READ_H

#include "store/sqlite/sqlite.h"

/** Prepare a statement, which the caller finalizes.  Connections do not prepare
 * it on opening, since most databases do not have these tables. */
apr_status_t comet_online_read_compile(comet_sqlite_t *store, const char *sql,
                                       sqlite3_stmt **statement);

/** Bind a text; if its data is NULL, bind SQL's NULL.  The text must live until
 * the statement is reset. */
void comet_online_read_bind(sqlite3_stmt *statement, int index,
                            comet_text_t text);

apr_status_t comet_online_read_holders(comet_store_t *base,
                                       comet_online_holder_cb *callback,
                                       void *baton);
apr_status_t comet_online_read_rows(comet_store_t *base, apr_int64_t holder,
                                    comet_online_member_cb *callback,
                                    void *baton);
apr_status_t comet_online_read_list(comet_store_t *base, comet_text_t channel,
                                    comet_text_t after, apr_size_t limit,
                                    comet_online_member_cb *callback,
                                    void *baton, comet_online_totals_t *totals);
apr_status_t comet_online_read_unread(comet_store_t *base, comet_text_t channel,
                                      comet_text_t member, apr_size_t limit,
                                      comet_timestamp_t *read_at,
                                      apr_int64_t *count);

#endif /* COMET_SQLITE_ONLINE_READ_H */
