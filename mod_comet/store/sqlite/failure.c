/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translate SQLite's error codes to the status codes of store/store.h.  For
 * each failure also save a copy of SQLite's message, because the next call of
 * SQLite replaces that message.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <stdio.h>

static _Thread_local char open_error[256];

int comet_sqlite_is_full(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

int comet_sqlite_has_no_descriptor(int error)
{
    return error == EMFILE || error == ENFILE;
}

static apr_status_t status_of(int code, int error)
{
    switch (code & 0xff) {
    case SQLITE_OK:
        return APR_SUCCESS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return COMET_ELOCKED;
    case SQLITE_FULL:
        return APR_ENOSPC;
    case SQLITE_READONLY:
        return code == SQLITE_READONLY_DBMOVED ? COMET_EMOVED : COMET_EREADONLY;
    case SQLITE_SCHEMA: /* the schema was changed while this connection was
                         * reading it */
        return COMET_EMOVED;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return COMET_EREADONLY;
    case SQLITE_CANTOPEN:
        return comet_sqlite_has_no_descriptor(error) ? error : COMET_EREADONLY;
    case SQLITE_NOTADB:
        return COMET_ENOTDB;
    case SQLITE_NOMEM:
        return APR_ENOMEM;
    case SQLITE_CONSTRAINT:
        return COMET_EINVALID;
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_NOMEM) {
            return APR_ENOMEM;
        }
        return comet_sqlite_is_full(error) ? APR_ENOSPC : APR_EGENERAL;
    default:
        return APR_EGENERAL;
    }
}

apr_status_t comet_sqlite_fail_with(comet_sqlite_t *store, int code, int error)
{
    int primary = code & 0xff;
    char text[128];

    if (code == SQLITE_IOERR_GETTEMPPATH) {
        snprintf(store->error, sizeof(store->error),
                 "SQLite needs a temporary file, but can write to none of "
                 "SQLITE_TMPDIR, TMPDIR, /var/tmp, /usr/tmp and /tmp "
                 "(SQLite %d)",
                 code);
    }
    else if (error && (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN)) {
        snprintf(store->error, sizeof(store->error), "%s (SQLite %d): %s",
                 store->db ? sqlite3_errmsg(store->db) : "", code,
                 apr_strerror(error, text, sizeof(text)));
    }
    else {
        snprintf(store->error, sizeof(store->error), "%s (SQLite %d)",
                 store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(code),
                 code);
    }
    return primary == SQLITE_INTERRUPT ? store->spending.ended
                                       : status_of(code, error);
}

apr_status_t comet_sqlite_fail(comet_sqlite_t *store, int code)
{
    return comet_sqlite_fail_with(
        store, code, store->db ? sqlite3_system_errno(store->db) : 0);
}

apr_status_t comet_sqlite_fail_text(comet_sqlite_t *store, apr_status_t status,
                                    const char *text)
{
    snprintf(store->error, sizeof(store->error), "%s", text);
    return status;
}

apr_status_t comet_sqlite_fail_errno(comet_sqlite_t *store, const char *what,
                                     int error)
{
    char text[128];

    snprintf(store->error, sizeof(store->error), "%s: %s", what,
             apr_strerror(error, text, sizeof(text)));
    if (comet_sqlite_is_full(error)) {
        return APR_ENOSPC;
    }
    if (comet_sqlite_has_no_descriptor(error)) {
        return error;
    }
    return error == ENOMEM ? APR_ENOMEM : COMET_EREADONLY;
}

void comet_sqlite_keep_error(const comet_sqlite_t *store)
{
    snprintf(open_error, sizeof(open_error), "%s",
             store ? store->error : "out of memory");
}

const char *comet_sqlite_error(const comet_sqlite_t *store)
{
    return store ? store->error : open_error;
}
