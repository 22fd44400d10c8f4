/* SPDX-License-Identifier: Apache-2.0 */
/* Appending to the message log. */
#include "comet_store_sqlite.h"

#include <errno.h>
#include <unistd.h>

/* Whoever moved the file away gets all that was committed to it. */
apr_status_t comet_sqlite_leave_behind(comet_store_t *store)
{
    if (!comet_sqlite_same_file(store->file,
                                comet_sqlite_file_id(store->config->path))
        || access(store->wal_path, F_OK) != 0) {
        sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_PASSIVE,
                                  NULL, NULL);
    }
    store->moved = 1;
    return comet_sqlite_fail_text(
        store, COMET_EMOVED, "the file at the path is another one, or none");
}

apr_status_t comet_store_reserve(comet_store_t *store, apr_interval_time_t wait)
{
    apr_status_t status;

    if (comet_store_moved(store)) {
        return comet_sqlite_leave_behind(store);
    }
    store->patience = wait;
    status = comet_sqlite_run_or_fail(store, SQL_BEGIN_WRITE);
    store->patience = store->config->busy_timeout;
    store->reserved = status == APR_SUCCESS;
    return status;
}

/*
 * Commit, or roll back.  When the disk fails here, what it holds is unknown:
 * a later recovery may find the transaction or not.  Only when there was no
 * room to write the end of it, it will not.
 */
apr_status_t comet_sqlite_commit(comet_store_t *store)
{
    apr_status_t status;
    int code, error;

    errno = 0; /* sqlite3_system_errno() is not told of commits */
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

/* The channel of the message before, which the next one mostly shares. */
typedef struct channel_memory_t {
    comet_text_t name;
    apr_int64_t id;
} channel_memory_t;

/* @return SQLITE_OK or SQLite's code */
static int channel_for(comet_store_t *store, comet_text_t name,
                       channel_memory_t *memory, int *added)
{
    apr_int64_t id = 0;
    int code;

    *added = 0;
    if (memory->id && comet_text_equal(memory->name, name)) {
        return SQLITE_OK;
    }
    memory->id = 0;
    memory->name = name;
    comet_sqlite_bind_text(store, SQL_CHANNEL, 1, name);
    code = comet_sqlite_step(store, SQL_CHANNEL);
    if (code == SQLITE_ROW) {
        id = sqlite3_column_int64(store->statements[SQL_CHANNEL], 0);
    }
    comet_sqlite_reset(store, SQL_CHANNEL);
    if (code == SQLITE_DONE) {
        comet_sqlite_bind_text(store, SQL_CHANNEL_ADD, 1, name);
        code = comet_sqlite_run(store, SQL_CHANNEL_ADD);
        id = sqlite3_last_insert_rowid(store->db);
        *added = code == SQLITE_OK;
    }
    if (code == SQLITE_ROW || code == SQLITE_OK) {
        memory->id = id;
        return SQLITE_OK;
    }
    return code;
}

/* @return SQLITE_OK or SQLite's code */
static int insert(comet_store_t *store, const comet_message_t *message,
                  comet_timestamp_t timestamp, channel_memory_t *memory)
{
    int added;
    int code = channel_for(store, message->channel, memory, &added);

    if (code != SQLITE_OK) {
        return code;
    }
    comet_sqlite_bind_int(store, SQL_INSERT, 1, timestamp);
    comet_sqlite_bind_int(store, SQL_INSERT, 2, memory->id);
    comet_sqlite_bind_text(store, SQL_INSERT, 3, message->type);
    if (message->author.length) {
        comet_sqlite_bind_text(store, SQL_INSERT, 4, message->author);
    }
    comet_sqlite_bind_text(store, SQL_INSERT, 5, message->body);
    code = comet_sqlite_run(store, SQL_INSERT);
    if (code != SQLITE_OK && added) {
        /* a channel without messages leaves no trace */
        comet_sqlite_bind_int(store, SQL_CHANNEL_DROP, 1, memory->id);
        comet_sqlite_run(store, SQL_CHANNEL_DROP);
        memory->id = 0;
    }
    return code;
}

static int is_refusal(int code)
{
    int primary = code & 0xff;

    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG
           || primary == SQLITE_MISMATCH;
}

/* @param stored  set to how many were accepted */
static apr_status_t insert_all(comet_store_t *store,
                               comet_message_t *const *messages,
                               apr_status_t *results, apr_size_t count,
                               apr_size_t *stored)
{
    channel_memory_t memory = { { NULL, 0 }, 0 };
    comet_store_state_t state;
    apr_status_t status = comet_store_state(store, &state);
    comet_timestamp_t now = apr_time_now();
    apr_size_t i;

    *stored = 0;
    for (i = 0; status == APR_SUCCESS && i < count; i++) {
        comet_timestamp_t next = state.last < now ? now : state.last + 1;
        int code = insert(store, messages[i], next, &memory);

        results[i] = APR_SUCCESS;
        if (code == SQLITE_OK) {
            messages[i]->timestamp = state.last = next;
            ++*stored;
        }
        else if (is_refusal(code)) {
            comet_sqlite_fail(store, code);
            results[i] = COMET_EINVALID;
        }
        else {
            status = comet_sqlite_fail(store, code);
        }
    }
    if (status == APR_SUCCESS && *stored) {
        comet_sqlite_bind_int(store, SQL_CLOCK_SET, 1, state.last);
        status = comet_sqlite_run_or_fail(store, SQL_CLOCK_SET);
    }
    return status;
}

apr_status_t comet_store_append(comet_store_t *store,
                                comet_message_t *const *messages,
                                apr_status_t *results, apr_size_t count)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t stored = 0;
    apr_size_t i;

    if (!store->reserved) {
        status = comet_store_reserve(store, store->config->busy_timeout);
        if (status != APR_SUCCESS) {
            return status;
        }
    }
    status = insert_all(store, messages, results, count, &stored);
    if (status == APR_SUCCESS && stored) {
        status = comet_sqlite_commit(store);
    }
    else {
        comet_sqlite_roll_back(store);
    }
    if (status != APR_SUCCESS) {
        for (i = 0; i < count; i++) {
            messages[i]->timestamp = 0;
        }
    }
    return status;
}
