/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/store.h
 * The message log: the truth that everything else only caches or hints at.
 *
 * A connection belongs to one thread at a time and is opened after fork.
 * Readers never wait for writers; they do not hold a transaction while
 * anything is sent.  Writers are serialised by the caller (comet_bus_lock).
 *
 * Every call that fails returns one of: COMET_ENOTDB, COMET_EMOVED,
 * COMET_EALIASED (to write only: comet_place.h), COMET_EUNSURE, COMET_ELOCKED,
 * COMET_EREADONLY, APR_ENOSPC, APR_ENOMEM,
 * EMFILE or ENFILE (no descriptor is left, for a while), or APR_EGENERAL for
 * anything else; comet_store_error() has SQLite's words.
 */
#ifndef COMET_STORE_H
#define COMET_STORE_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "base/selection.h"

typedef struct comet_store_config_t {
    const char *path; /* absolute, real */
    int sync_full; /* CometSync: fdatasync before a commit is acknowledged */
    apr_interval_time_t busy_timeout; /* how long a writer waits for others */
    apr_int64_t retain_count; /* messages kept per channel; 0: all */
    apr_interval_time_t retain_age; /* age kept per channel; 0: all */
    int search; /* CometSearch: an index of words is kept */
} comet_store_config_t;

typedef struct comet_store_t comet_store_t; /* one connection */

typedef enum {
    COMET_STORE_READ,
    COMET_STORE_READ_AT_ONCE, /* by a thread that others wait for */
    COMET_STORE_WRITE
} comet_store_mode_e;

/** What changes whenever the log does. */
typedef struct comet_store_state_t {
    comet_timestamp_t last; /* the highest timestamp ever given */
    apr_int64_t erased; /* grows with every message removed */
} comet_store_state_t;

/**
 * Called for each message read, oldest first.
 * @param message  the callee owns the reference
 * @return 0 to stop reading
 */
typedef int comet_store_cb(void *baton, comet_message_t *message);

/**
 * Open a connection.  WRITE creates the file (mode 0660) and its folder's
 * -wal and -shm, and migrates the schema; READ expects that done.
 * A file that is not ours is never changed.
 * For WRITE the caller holds the write lock.
 * @param store    set to the connection, owned by the caller; NULL on failure
 *                 (comet_store_error(NULL) then has SQLite's words)
 * @param config   must outlive the connection
 * @param stopping [atomic] when non-zero, waiting for a lock ends at once;
 *                 may be NULL
 * @return as above, and for READ APR_ENOENT: no writer has made it yet
 */
apr_status_t comet_store_open(comet_store_t **store,
                              const comet_store_config_t *config,
                              comet_store_mode_e mode,
                              const atomic_int *stopping);

/** Close; NULL is ignored.  For WRITE the caller holds the write lock. */
void comet_store_close(comet_store_t *store);

/**
 * SQLite's words for the last failure; valid until the next call.
 * @param store  NULL: the last comet_store_open() that failed in this thread
 */
const char *comet_store_error(const comet_store_t *store);

/**
 * Whether the file at the path (or its write-ahead log, or the memory that the
 * log is shared by) is no longer the one that is open: SQLite itself does not notice, and what it writes is lost.
 * Or the file could only be read when it was opened, and can be written now.
 */
int comet_store_moved(comet_store_t *store);

/** What the shared memory beside the log says of the last commit: the head of
 * the log's index (SQLite's file format, "The WAL-Index File Format"). */
#define COMET_TALLY_WORDS 12
typedef struct comet_tally_t {
    apr_uint32_t words[COMET_TALLY_WORDS];
} comet_tally_t;

/**
 * Look whether anybody has committed, without a system call: whoever's commit
 * has returned, in whichever process, has changed the tally.
 * @param tally  OUT
 * @return 0: it cannot be told; read the store
 */
int comet_store_tally(comet_store_t *store, comet_tally_t *tally);

/** Whether it can only be read.  As long as such a connection is open, this
 * process can open none to write. */
int comet_store_is_read_only(const comet_store_t *store);

/** What reading may cost. */
typedef struct comet_budget_t {
    /** CPU time; five times as much may pass, waiting for the disk or for a
     * turn on a busy machine.  0: whatever it takes. */
    apr_interval_time_t time;
    /** Whether nobody waits for the answer any more; NULL: somebody does. */
    int (*is_gone)(void *baton);
    void *baton;
    apr_interval_time_t look_every; /* how often is_gone() is asked */
} comet_budget_t;

/**
 * Limit what all reading from now on may take together.  A call that takes
 * longer fails with COMET_ECOSTLY, or with COMET_EGONE when is_gone() says so;
 * what it has handed over before that is right.
 * @param budget  copied; its baton must live until the next call.  NULL: no
 *                limit.  For the connection's thread, which is_gone() runs on.
 */
void comet_store_limit(comet_store_t *store, const comet_budget_t *budget);

/**
 * Begin a consistent view of the log; end it before anything is sent.
 * On failure no view is open.
 */
apr_status_t comet_store_begin(comet_store_t *store,
                               comet_store_state_t *state);
void comet_store_end(comet_store_t *store);

/** Read (last, erased) alone: 3 microseconds. */
apr_status_t comet_store_state(comet_store_t *store,
                               comet_store_state_t *state);

/**
 * Find where a replay of @a count messages starts.
 * @param cursor  set to the timestamp after which they stand; 0 when the
 *                selection has no more than @a count of them (or none)
 * @param any     set to whether the selection has any message
 */
apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any);

/**
 * The highest timestamp that retention has removed from a channel that the
 * selection names; 0: none.
 */
apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor);

/** Read a selection's messages after a cursor, at most @a limit of them, in
 * order of timestamp: those of channels under its prefixes too. */
apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton);

/**
 * Read the newest of a selection's messages with after < timestamp < before:
 * at most @a limit (and COMET_LIMIT_MAX) of them, and fewer than a batch
 * holds (COMET_BATCH_BYTES) but at least one, so that the callback has room.
 * An empty page is the end of the history; a short one need not be.
 * @param before    COMET_TIMESTAMP_MAX: whatever is the newest
 * @param callback  gets the oldest of them first
 */
apr_status_t comet_store_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton);

/** How many words one may look for at a time, as the index counts them:
 * "foo-bar" is two, and the same one twice is one. */
#define COMET_WORDS_MAX 16

/**
 * As comet_store_page(), of those messages that have all the words in them,
 * in whatever case and order, with or without diacritics.
 *
 * A search within a budget (comet_store_limit()) that ends before it has seen
 * everything is no failure: it hands over what it has found, and says where
 * the next one goes on.  The newest messages of the selection are looked
 * through first, so that each search gets on, however frequent the words are.
 * No view of the log is open meanwhile for longer than half of the budget's
 * time, or than a moment where the log has grown and waits to begin anew.  The
 * caller has no view open.
 * @param words  separated by spaces and matched literally; a trailing star
 *               matches any word with that prefix ("deplo*")
 * @param rest   set to the timestamp before which nothing was looked at; 0:
 *               the page is whole
 * @return COMET_ENOSEARCH: the store is not indexed; APR_ENOENT: not yet;
 *         COMET_EINVALID: there is no word, or more than COMET_WORDS_MAX;
 *         COMET_ECOSTLY: not one message could be looked at; COMET_EGONE
 */
apr_status_t comet_store_search(comet_store_t *store,
                                const comet_selection_t *selection,
                                comet_text_t words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit,
                                comet_store_cb *callback, void *baton,
                                comet_timestamp_t *rest);

/**
 * Called with the name of a channel, which is valid during the call.
 * @return 0 to stop
 */
typedef int comet_store_channel_cb(void *baton, comet_text_t name);

/**
 * List the channels that have messages and whose names begin with a prefix,
 * in order of their bytes.
 * @param prefix  "" for all
 */
apr_status_t comet_store_channels(comet_store_t *store, comet_text_t prefix,
                                  apr_size_t limit,
                                  comet_store_channel_cb *callback,
                                  void *baton);

/** Read the messages of all channels after a cursor. */
apr_status_t comet_store_tail(comet_store_t *store, comet_timestamp_t after,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton);

/**
 * The cursor after which at most @a count messages (of all channels) stand:
 * where a ring of recent messages is filled from.
 */
apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor);

/** Whether (1, 0) there is a message with this timestamp. */
apr_status_t comet_store_has(comet_store_t *store, comet_timestamp_t timestamp,
                             apr_int64_t *has);

/**
 * Wait for SQLite's own write lock, which other programs may hold, before
 * choosing what to append: so a publisher whose turn does not come is told
 * for certain that nothing was stored.  comet_store_append() ends it.
 * The caller holds the write lock of the bus.
 * @param wait  how long; then COMET_ELOCKED
 */
apr_status_t comet_store_reserve(comet_store_t *store,
                                 apr_interval_time_t wait);

/** How long the hash of what is published is: SHA-1. */
#define COMET_HASH_BYTES 20

/** What a publisher may say again when it does not know the outcome. */
typedef struct comet_store_key_t {
    comet_text_t text; /* Idempotency-Key; data NULL: none */
    comet_text_t channel; /* that was published to */
    comet_text_t author; /* data NULL: nobody */
    unsigned char hash[COMET_HASH_BYTES]; /* comet_store_hash() */
} comet_store_key_t;

/** What is published at once: stored as a whole or not at all. */
typedef struct comet_store_group_t {
    comet_message_t **messages; /* numbered when they are stored */
    apr_size_t count;
    comet_store_key_t key;
    /** APR_SUCCESS; COMET_EREPEATED: it was stored before under this key,
     * with the timestamps that the messages have now; COMET_EMISMATCH:
     * something else was; COMET_EINVALID: a message was refused. */
    apr_status_t result;
} comet_store_group_t;

/** Set a key's hash: of the messages' channels, types and bodies. */
void comet_store_hash(comet_store_group_t *group);

/**
 * Append in one transaction: number the messages, insert them, commit.
 * Without comet_store_reserve() before it waits as long as busy_timeout.
 * The caller holds the write lock and owns the messages alone until it
 * returns.  When it fails as a whole nothing was stored, except after
 * COMET_EUNSURE, when nobody can know (the connection must be reopened).
 * The messages of a group get timestamps in a row.
 * @param groups  each gets its result
 */
apr_status_t comet_store_append(comet_store_t *store,
                                comet_store_group_t *const *groups,
                                apr_size_t count);

/**
 * One small step of retention (at most 1,000 rows) over the channels that
 * got messages since the last complete round of this connection.
 * The caller holds the write lock.
 * @param now   age counts from the newest message of a channel, but from here
 *              when that one is of the future, where a wrong clock put it
 * @param more  set to whether another step is due now
 */
apr_status_t comet_store_prune(comet_store_t *store, apr_time_t now, int *more);

/**
 * One small step of what else is due: keys are forgotten; the index of words
 * is filled with what was there before it, or removed.
 * The caller holds the write lock.
 * @param more  set to whether another step is due now
 */
apr_status_t comet_store_tidy(comet_store_t *store, int *more);

/** Whether comet_store_checkpoint() would do anything. */
int comet_store_checkpoint_due(const comet_store_t *store);

/**
 * Move what was committed from the write-ahead log to the file, when there
 * is enough of it to be worth it.  The caller holds the write lock.
 */
apr_status_t comet_store_checkpoint(comet_store_t *store);

/** The run-time version of SQLite, for the log. */
const char *comet_store_version(void);

/** Whether this SQLite can index messages. */
int comet_store_can_search(void);

#endif /* COMET_STORE_H */
