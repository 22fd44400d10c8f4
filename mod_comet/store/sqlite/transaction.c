/* SPDX-License-Identifier: Apache-2.0 */
/* Write transactions: take SQLite's write lock, commit, and save the log's
 * contents if the database was moved or the log was deleted. */
#include "store/sqlite/sqlite.h"

#include <errno.h>

/* How long to wait for a reader that still uses a deleted log. */
#define RESCUE_USEC 20000

/*
 * Whether it is safe to copy this connection's log into the file.  It is unsafe
 * if another program has meanwhile committed to the file through another log.
 * No program can have done so if there is no other log and the -shm file is
 * still the one that is open.  But if the -shm file was deleted, too, a program
 * may have opened the database, committed, copied its own log into the file,
 * and closed the database.
 */
static int is_rescue(const comet_sqlite_t *store)
{
    return !comet_sqlite_same_file(store->file,
                                   comet_sqlite_file_id(store->path))
           || (!comet_sqlite_has_content(store->wal_path)
               && comet_sqlite_same_file(
                   store->shm, comet_sqlite_file_id(store->shm_path)));
}

/* Copy everything committed so far from the log into the file.  Then the file
 * has all commits, whether it was moved or only its log was deleted.  A partial
 * copy is worthless: while a reader's snapshot blocks a full copy, nothing is
 * copied, and the caller tries again. */
apr_status_t comet_sqlite_leave_behind(comet_sqlite_t *store)
{
    if (is_rescue(store)) {
        int pages = 0, copied = 0, code;

        store->patience = RESCUE_USEC;
        code = sqlite3_wal_checkpoint_v2(
            store->db, "main", SQLITE_CHECKPOINT_FULL, &pages, &copied);
        store->patience = store->config->busy_timeout;
        if ((code & 0xff) == SQLITE_BUSY || copied < pages) {
            return comet_sqlite_fail_text(
                store, COMET_ELOCKED,
                "the log was deleted, but a reader still uses it");
        }
    }
    store->moved = 1;
    return comet_sqlite_fail_text(store, COMET_EMOVED,
                                  "the database was removed or replaced");
}

/* Check the file before waiting for its lock.  comet_sqlite_reserve() checks it
 * once more when it has the lock. */
static apr_status_t check_file(comet_sqlite_t *store)
{
    return comet_sqlite_moved(store, COMET_STORE_LATELY)
               ? comet_sqlite_leave_behind(store)
               : comet_sqlite_check_alias(store, 0);
}

apr_status_t comet_sqlite_reserve(comet_sqlite_t *store,
                                  apr_interval_time_t wait)
{
    apr_status_t status = check_file(store);

    if (status != APR_SUCCESS) {
        return status;
    }
    store->patience = wait;
    status = comet_sqlite_run_or_fail(store, SQL_BEGIN_WRITE);
    store->patience = store->config->busy_timeout;
    store->reserved = status == APR_SUCCESS;
    /* the file may have been moved before the lock was taken */
    if (store->reserved && comet_sqlite_moved(store, 0)) {
        comet_sqlite_roll_back(store);
        return comet_sqlite_leave_behind(store);
    }
    return status;
}

/*
 * When the disk fails during a commit, the content of the disk is unknown: a
 * later recovery may or may not find the transaction.  But if there was no room
 * for the end of the transaction, a recovery certainly does not find it.
 */
apr_status_t comet_sqlite_commit(comet_sqlite_t *store)
{
    apr_status_t status;
    int code, error;

    errno = 0; /* sqlite3_system_errno() does not report a commit's errors */
    code = comet_sqlite_run(store, SQL_COMMIT);
    error = errno;
    store->reserved = 0;
    if (code == SQLITE_OK) {
        return APR_SUCCESS;
    }
    status = comet_sqlite_fail_with(store, code, error);
    if ((code & 0xff) == SQLITE_IOERR && code != SQLITE_IOERR_NOMEM
        && !(code == SQLITE_IOERR_WRITE && comet_sqlite_is_full(error))) {
        status = COMET_EUNSURE;
    }
    comet_sqlite_roll_back(store);
    return status;
}

/* --- What an append has stored --------------------------------------------- */

/* The word of a tally that counts commits ("iChange" of SQLite's WAL-index). */
#define TALLY_COMMITS 2

/* The count is taken from the log, since foreign triggers may have published or
 * deleted messages, too. */
apr_status_t comet_sqlite_count_append(comet_sqlite_t *store,
                                       const comet_store_state_t *before,
                                       comet_timestamp_t *clock)
{
    apr_int64_t added = 0;
    apr_status_t status;

    comet_sqlite_bind_int(store, SQL_ADDED, 1, before->last);
    comet_sqlite_bind_int(store, SQL_ADDED, 2, before->erased);
    status = comet_sqlite_query(store, SQL_ADDED, clock, &added);
    store->base.appended.count = (apr_size_t)added;
    return status;
}

apr_status_t comet_sqlite_commit_append(comet_sqlite_t *store)
{
    comet_tally_t before, after;
    int tallied = comet_sqlite_tally(store, &before);
    apr_status_t status = comet_sqlite_commit(store);

    store->base.appended.is_known =
        tallied && status == APR_SUCCESS && comet_sqlite_tally(store, &after)
        && after.words[TALLY_COMMITS] == before.words[TALLY_COMMITS] + 1;
    if (store->base.appended.is_known) {
        store->base.appended.before = before;
        store->base.appended.after = after;
    }
    return status;
}
