/* SPDX-License-Identifier: Apache-2.0 */
/* Find out, without a system call, whether any process has committed.  The
 * tally is the header of the WAL-index in the -shm file (SQLite's file format,
 * "The WAL-Index File Format"). */
#include <string.h>

#include "store/sqlite/sqlite.h"

/* SQLite maps the WAL-index in pieces of this size.  The first piece begins
 * with the header, which a commit writes before it returns. */
#define PIECE (32 * 1024)

/* Find the connection's own mapping of the WAL-index.  The connection's first
 * read creates the mapping, which lasts until the connection is closed. */
static const volatile apr_uint32_t *find_index(comet_sqlite_t *store)
{
    sqlite3_file *file = NULL;
    void volatile *index = NULL;

    if (!store->wal.ino
        || sqlite3_file_control(store->db, "main", SQLITE_FCNTL_FILE_POINTER,
                                &file)
               != SQLITE_OK
        || !file || !file->pMethods || file->pMethods->iVersion < 2
        || !file->pMethods->xShmMap
        || file->pMethods->xShmMap(file, 0, PIECE, 0, &index) != SQLITE_OK) {
        return NULL;
    }
    return index;
}

int comet_sqlite_tally(comet_sqlite_t *store, comet_tally_t *tally)
{
    int i;

    if (!store->tally) {
        store->tally = find_index(store);
    }
    for (i = 0; store->tally && i < COMET_TALLY_WORDS; i++) {
        tally->words[i] = store->tally[i];
    }
    return store->tally != NULL;
}
