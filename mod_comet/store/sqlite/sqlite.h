/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/sqlite.h
 * The message log in SQLite, through SQLite's C API: the declarations that the
 * files of this folder share.  The schema is in sql/.
 *
 * Invariants:
 * 1. a statement is reset before its function returns, so that no read
 *    transaction outlives a call, except that of comet_sqlite_begin();
 * 2. a file is written to only after it is known to be mod_comet's;
 * 3. only SQLite opens and closes descriptors of the database file: any other
 *    close(2) would drop all POSIX locks that this process has on the file;
 * 4. before a connection writes, it checks, while it holds the write lock of
 *    the bus, that the file at the path is still the one that it has open.
 */
#ifndef COMET_SQLITE_H
#define COMET_SQLITE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/engine.h"

#include <sqlite3.h>
#include <sys/types.h>

#define PRUNE_CHANNELS 256
/* Programs outside httpd checkpoint at 1,000 pages.  The writer does so at
 * fewer pages, so that these programs need not. */
#define CHECKPOINT_PAGES 500

typedef enum {
    SQL_BEGIN,
    SQL_BEGIN_WRITE,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_STATE,
    SQL_CHANNEL,
    SQL_REPLAY,
    SQL_FLOOR,
    SQL_READ,
    SQL_READ_BACK,
    SQL_TAIL,
    SQL_TAIL_BACK,
    SQL_MESSAGE,
    SQL_NEXT,
    SQL_PREVIOUS,
    SQL_NEXT_PUBLIC,
    SQL_PREVIOUS_PUBLIC,
    SQL_NEXT_TOPIC,
    SQL_PREVIOUS_TOPIC,
    SQL_UNDER,
    SQL_UNDER_TOPIC,
    SQL_EVENT,
    SQL_ALTERNATE_ADD,
    SQL_RECENT,
    SQL_HAS,
    SQL_CHANNEL_ADD,
    SQL_CHANNEL_DROP,
    SQL_INSERT,
    SQL_ADDED,
    SQL_CLOCK_SET,
    SQL_GROUP,
    SQL_GROUP_END,
    SQL_GROUP_UNDO,
    SQL_KEY,
    SQL_KEY_ADD,
    SQL_KEYS_DUE,
    SQL_KEYS_PRUNE,
    SQL_KEYS_RECALL,
    SQL_CHANNELS,
    SQL_CHANNELS_SINCE,
    SQL_RULES,
    SQL_RULE,
    SQL_NEWEST,
    SQL_NEWEST_PUBLIC,
    SQL_OVER_COUNT,
    SQL_PRUNE_UPTO,
    SQL_PRUNE_FLOOR,
    SQL_PRUNE,
    SQL_PASSING_DUE,
    SQL_PASSING_PRUNE,
    SQL_BODIES,
    SQL_PAGES,
    SQL_SIZES,
    SQL_COUNT
} sql_e;

extern const char *const comet_sqlite_text[SQL_COUNT];

/** The identity of a file; ->ino is 0 while the identity is unknown. */
typedef struct file_id_t {
    apr_uint32_t dev_major, dev_minor;
    apr_uint64_t ino;
    apr_int64_t born; /* when the file was made, in ns since 1970; 0 if the file
                       * system does not say */
} file_id_t;

/** The state of retention: the current round, which is done in steps, and the
 * last one. */
typedef struct prune_t {
    int running; /* a round has begun and has not ended */
    apr_time_t now; /* the time of this step */
    int all_seen; /* a first round over all channels is complete */
    int has_rules; /* whether channel_retention has rules */
    apr_int64_t rule_changes; /* how often channel_retention had been changed
                               * when the last round began */
    comet_timestamp_t seen; /* the store's last timestamp when the last complete
                             * round began */
    comet_timestamp_t end; /* the store's last timestamp when this round
                            * began */
    apr_int64_t cursor; /* the last channel or message that the listing has
                         * passed */
    int listed; /* all channels of this round have been listed */
    apr_size_t count, next; /* next <= count <= PRUNE_CHANNELS */
    apr_int64_t channels[PRUNE_CHANNELS];
    /* in channels[next], in this round: */
    comet_timestamp_t tried; /* all messages up to this one were removed, or
                              * kept by a foreign trigger; 0: none */
    apr_int64_t removed; /* how many messages were removed */
} prune_t;

/** A reader's budget (comet_store_limit()), and the times at which it runs
 * out. */
typedef struct comet_sqlite_spending_t {
    comet_budget_t budget;
    apr_time_t ends_at; /* when reading must end, by comet_monotonic(); 0:
                         * never */
    apr_time_t view_ends; /* when the current view must end, by
                           * comet_monotonic(); 0: never */
    apr_time_t look_at; /* when to ask next whether the client is gone */
    apr_status_t ended; /* why the reading was ended; APR_SUCCESS: it was not */
} comet_sqlite_spending_t;

typedef struct comet_sqlite_t {
    comet_store_t base; /* first, so that a comet_store_t of this engine can be
                         * cast to this type */
    const comet_store_config_t *config;
    const char *path; /* of the database file */
    const atomic_int *stopping; /* [atomic] */
    comet_store_mode_e mode;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    char *wal_path, *shm_path;
    file_id_t file, wal, shm;
    apr_time_t in_place_at; /* when the files were last found at their paths,
                             * by comet_monotonic(); 0: not found, or not
                             * looked for */
    int watched; /* SQLite calls the progress handler (budget.c) */
    int moved; /* a writer has found that the file was moved */
    int entered; /* comet_sqlite_enter() has counted this connection */
    int read_only; /* set by comet_sqlite_enter() */
    int reserved; /* comet_sqlite_reserve() has begun the transaction of the
                   * next append */
    int careful; /* a foreign trigger has refused or published messages
                  * (append.c) */
    apr_interval_time_t patience; /* how long the busy handler waits */
    apr_int64_t busy_since;
    int wal_pages, checkpoint_at;
    int copied; /* how many pages of the log were in the file after the last
                 * comet_sqlite_copy() */
    prune_t prune;
    apr_time_t forget_passed_at; /* when to remove passing messages at the
                                  * earliest, by comet_monotonic() */
    apr_time_t forget_at; /* when to check next for members to forget, by
                           * comet_monotonic() */
    sqlite3_value *forget_after; /* the last member that the current check has
                                  * passed; NULL: none yet */
    const volatile apr_uint32_t *tally; /* the start of the WAL-index; NULL: it
                                         * is not mapped yet, or cannot be
                                         * mapped */
    int indexing; /* writers only: the index of words has to be filled or
                   * removed */
    sqlite3_stmt *search; /* readers only: the statement of a search; NULL until
                           * it is needed */
    comet_sqlite_spending_t spending; /* readers only */
    char error[256];
} comet_sqlite_t;

/* Failures: these functions translate SQLite's error codes to those of
 * store/store.h.  Each saves a copy of SQLite's message for
 * comet_store_error(), because the next call of SQLite replaces that
 * message. */

/** Whether an errno says that no room is left for a file. */
int comet_sqlite_is_full(int error);

/** Whether an errno says that no descriptor is left at the moment. */
int comet_sqlite_has_no_descriptor(int error);

/** Save the error of a failed SQLite call for comet_store_error().
 * @param error  errno after the failed call; 0: unknown */
apr_status_t comet_sqlite_fail_with(comet_sqlite_t *store, int code, int error);
apr_status_t comet_sqlite_fail(comet_sqlite_t *store, int code);
/** Save the text of a failure that this folder's code has found itself.
 * @return @a status */
apr_status_t comet_sqlite_fail_text(comet_sqlite_t *store, apr_status_t status,
                                    const char *text);

/** Save the error of a system call.  The saved text begins with @a what. */
apr_status_t comet_sqlite_fail_errno(comet_sqlite_t *store, const char *what,
                                     int error);

/** Save the error of a connection that could not be opened and will now be
 * freed.
 * @param store  NULL: there was no memory for the connection */
void comet_sqlite_keep_error(const comet_sqlite_t *store);
const char *comet_sqlite_error(const comet_sqlite_t *store);

/* Statements */

/** Prepare all statements, and set the pragmas that the connection needs. */
apr_status_t comet_sqlite_prepare(comet_sqlite_t *store);

void comet_sqlite_reset(comet_sqlite_t *store, sql_e which);
int comet_sqlite_step(comet_sqlite_t *store, sql_e which);
/** Run a statement that returns no rows.
 * @return SQLITE_OK or SQLite's code */
int comet_sqlite_run(comet_sqlite_t *store, sql_e which);
apr_status_t comet_sqlite_run_or_fail(comet_sqlite_t *store, sql_e which);
void comet_sqlite_bind_int(comet_sqlite_t *store, sql_e which, int index,
                           apr_int64_t value);
/** The text must live until the statement is reset. */
void comet_sqlite_bind_text(comet_sqlite_t *store, sql_e which, int index,
                            comet_text_t text);
/** Run a query for one row of up to two integers.  If there is no row, both
 * keep their values; if the first column is NULL, @a first keeps its value. */
apr_status_t comet_sqlite_query(comet_sqlite_t *store, sql_e which,
                                apr_int64_t *first, apr_int64_t *second);
/** Run SQL that is not among the prepared statements. */
apr_status_t comet_sqlite_execute(comet_sqlite_t *store, const char *sql);
void comet_sqlite_roll_back(comet_sqlite_t *store);

/* Budgets */

/** Limit the time of the statements that are run from now on.
 * @param time  0: only the budget limits the statements */
void comet_sqlite_limit_view(comet_sqlite_t *store, apr_interval_time_t time);

/** Check between statements whether the budget is spent or the client is gone.
 * @return APR_SUCCESS, COMET_ECOSTLY or COMET_EGONE */
apr_status_t comet_sqlite_look(comet_sqlite_t *store);

/* The words of a search */

/* Room for the most words, and for one more phrase of that many words, which
 * may turn out to repeat an earlier phrase. */
#define COMET_SQLITE_TOKENS (2 * COMET_WORDS_MAX)

typedef struct comet_sqlite_token_t {
    comet_text_t text;
    int prefix; /* longer words that begin with this text match, too */
} comet_sqlite_token_t;

/** The words of a search.  In its bit sets, bit i stands for token i. */
typedef struct comet_sqlite_words_t {
    fts5_tokenizer methods;
    Fts5Tokenizer *tokenizer;
    comet_sqlite_token_t tokens[COMET_SQLITE_TOKENS];
    unsigned count; /* 0: the text has no letter and no digit */
    apr_uint32_t starts, ends; /* bit sets: the first and the last tokens of the
                                * phrases */
    char *query; /* the search in the syntax of FTS5 */
    apr_size_t query_length;
    /* used only while the words are made: */
    char *bytes;
    apr_size_t room;
    int any, too_many;
} comet_sqlite_words_t;

/**
 * Split the text of a search into words.
 * @param text   the words, separated by spaces
 * @param words  OUT; on success to be freed by comet_sqlite_words_free()
 * @return COMET_EINVALID: the text is empty, or has more than COMET_WORDS_MAX
 *         words
 */
apr_status_t comet_sqlite_words_make(comet_sqlite_t *store, comet_text_t text,
                                     comet_sqlite_words_t *words);
void comet_sqlite_words_free(comet_sqlite_words_t *words);

/** Whether a body has all the words, by the index's own rules. */
int comet_sqlite_words_match(const comet_sqlite_words_t *words,
                             comet_text_t body);

/* Walks over a selection's messages, by timestamp */

/**
 * Called for each message.
 * @param row  timestamp, channel, type, author, body, private, alternates,
 *             event, retry, keep, expires; NULL if the walk is ->ids_only
 * @return APR_SUCCESS; APR_EOF: end the walk; any other status makes the walk
 *         fail
 */
typedef apr_status_t comet_sqlite_visit_cb(void *baton, comet_timestamp_t id,
                                           sqlite3_stmt *row);

typedef struct comet_sqlite_walk_t {
    const comet_selection_t *selection;
    comet_timestamp_t after, before; /* the bounds of the timestamps; the walk
                                      * moves one bound as it proceeds */
    int backwards; /* newest first */
    int ids_only; /* the callback needs no rows */
    /** Messages that are over at this time are left out; COMET_TIMESTAMP_MAX
     * leaves out all passing messages. */
    apr_time_t now;
    apr_size_t left; /* how many to visit at most */
    apr_time_t part_ends; /* when this part of the walk ends, by
                           * comet_monotonic(); 0: the walk is not done in
                           * parts.  Only for a walk forwards */
    apr_size_t passed; /* how many messages the walk has visited or passed
                        * over */
    int is_part; /* OUT: the walk has ended early and continues at ->after */
    comet_sqlite_visit_cb *visit;
    void *baton;
} comet_sqlite_walk_t;

/** Visit a selection's messages, including those of channels under its
 * prefixes. */
apr_status_t comet_sqlite_walk(comet_sqlite_t *store,
                               comet_sqlite_walk_t *walk);

/**
 * Bind the lower and the upper bound of the names that begin with a prefix.
 * @param room  memory for the upper bound, as long as the longest name; must
 *              live until the statement is reset
 */
void comet_sqlite_bind_prefix(comet_sqlite_t *store, sql_e which,
                              comet_text_t prefix, char *room);

/** Get the text of a column.  It may contain any byte, even NUL: an outside
 * program can store such a text with the checks turned off. */
comet_text_t comet_sqlite_column(sqlite3_stmt *row, int index);

/** Whether a selection contains the message of a row. */
int comet_sqlite_is_of(const comet_selection_t *selection, sqlite3_stmt *row);

/** Whether a row's message is a passing message whose time is over. */
int comet_sqlite_is_over(sqlite3_stmt *row, apr_time_t now);

/** Create the message of a row.
 * @return NULL: no memory */
comet_message_t *comet_sqlite_message(sqlite3_stmt *row);

/* The index of words */

/** How much text one step adds to the index, or removes from it.  A step takes
 * 2 to 12 ms, depending on whether FTS5 merges. */
#define INDEX_STEP_BYTES (32 * 1024)

/** Call this when a writer opens the database: create the index, or stop
 * maintaining it.  The slow part is left to comet_sqlite_index_step(). */
apr_status_t comet_sqlite_index_open(comet_sqlite_t *store);

/** Do one step of filling or removing the index, in its own transaction.
 * @param more  set to 1 if another step is due */
apr_status_t comet_sqlite_index_step(comet_sqlite_t *store, int *more);

/* Moderation */

/** Call this when a writer opens the database: create the trigger that reports
 * deleted messages, or drop it. */
apr_status_t comet_sqlite_deletions_open(comet_sqlite_t *store);

/**
 * Carry out a moderator's removal of a message or a member, in the caller's
 * transaction.
 * @param removed  set to how many rows were removed
 * @return SQLITE_OK or SQLite's code
 */
int comet_sqlite_remove(comet_sqlite_t *store, const comet_removal_t *removal,
                        int *removed);

/**
 * Set or remove a rule of channel_retention, in the caller's transaction.
 * @param changes  set to how many rows were changed
 * @return SQLITE_OK or SQLite's code
 */
int comet_sqlite_set_rule(comet_sqlite_t *store, const comet_rule_t *rule,
                          int *changes);

/** List rules, as comet_store_rules() does. */
apr_status_t comet_sqlite_rules(comet_sqlite_t *store, comet_text_t prefix,
                                comet_text_t after, apr_size_t limit,
                                comet_store_rule_cb *callback, void *baton);

/* Files */

file_id_t comet_sqlite_file_id(const char *path);
int comet_sqlite_same_file(file_id_t a, file_id_t b);
int comet_sqlite_has_content(const char *path);

/** Create the database file if there is none.  If it is created, also remove
 * the log that an earlier database has left at this path. */
apr_status_t comet_sqlite_create_file(comet_sqlite_t *store);

/**
 * Register a connection before it is opened.
 *
 * All connections of a process to a file share one mapping of the -shm file,
 * which exists while any of them is open.  If SQLite may not write the -shm
 * file, the mapping is read-only for all of them.  If the -shm file is deleted,
 * they continue to use the mapping, while other programs create a new -shm
 * file; then both sides write to the log as if they were alone.  In both cases
 * all connections must be closed before one that can write is opened.
 * @return COMET_EMOVED: the other connections must be closed first; or
 *         APR_ENOMEM
 */
apr_status_t comet_sqlite_enter(comet_sqlite_t *store);
/** Unregister a connection that was closed. */
void comet_sqlite_leave(const comet_sqlite_t *store);

/** Remember which files the connection has open.
 * @return COMET_EMOVED: as comet_sqlite_enter() */
apr_status_t comet_sqlite_make_known(comet_sqlite_t *store);

/** Whether the log at the path is known to belong to an earlier database
 * file. */
int comet_sqlite_has_orphaned_log(const comet_sqlite_t *store);

/** Remove the log of a database that is no longer at its path, since SQLite
 * would take it for the log of the next database there.
 * comet_sqlite_leave_behind() has already saved the log's contents. */
void comet_sqlite_remove_orphaned_log(const comet_sqlite_t *store);

/** Whether other programs may be committing to a log other than the one that
 * this connection uses. */
int comet_sqlite_has_other_log(const comet_sqlite_t *store);

/** Whether this connection must be closed: the database file, the -wal file or
 * the -shm file at the path is no longer the one that is open, or the database
 * was read-only on opening and is writable now.  SQLite itself does not notice
 * that a file was replaced, and what it then writes is lost.
 * @param within  as for comet_store_is_usable() */
int comet_sqlite_moved(comet_sqlite_t *store, apr_interval_time_t within);
int comet_sqlite_is_read_only(const comet_sqlite_t *store);

/* The schema */

/** The version of the schema that this module creates. */
int comet_sqlite_latest_version(void);

/**
 * Find out whether the file is mod_comet's database.
 * @param version  set to the schema's version; 0: an empty database
 * @return COMET_ENOTDB: the file is not mod_comet's, or its schema is too new
 */
apr_status_t comet_sqlite_identify(comet_sqlite_t *store, int *version);

/** Bring the schema up to date: run each file of sql/ that is newer than the
 * database's version. */
apr_status_t comet_sqlite_migrate(comet_sqlite_t *store);

/* Transactions */

/**
 * Refuse to write to a file that has a second name, or could have a second log.
 * @param and_log  as for comet_alias_check()
 * @return COMET_EALIASED
 */
apr_status_t comet_sqlite_check_alias(comet_sqlite_t *store, int and_log);
/** Save the commits of a database file that was moved away, or whose log was
 * deleted: copy everything committed so far from the log into the file.
 * @return COMET_EMOVED; COMET_ELOCKED: a reader is in the way, try again */
apr_status_t comet_sqlite_leave_behind(comet_sqlite_t *store);
/** Commit; if that fails, roll back.
 * @return COMET_EUNSURE: it is unknown whether the transaction was committed */
apr_status_t comet_sqlite_commit(comet_sqlite_t *store);
/** Count the messages that this transaction has added, for
 * comet_store_t.appended.
 * @param before  the state when the transaction began
 * @param clock   OUT: the time in comet_clock; unchanged on an error */
apr_status_t comet_sqlite_count_append(comet_sqlite_t *store,
                                       const comet_store_state_t *before,
                                       comet_timestamp_t *clock);
/** Like comet_sqlite_commit(), but also note the tallies for
 * comet_store_t.appended. */
apr_status_t comet_sqlite_commit_append(comet_sqlite_t *store);

/* The functions of comet_engine_t, as store/store.h describes them. */

apr_status_t comet_sqlite_open(comet_sqlite_t **store,
                               const comet_store_config_t *config,
                               comet_store_mode_e mode,
                               const atomic_int *stopping);
void comet_sqlite_keep_log(comet_sqlite_t *store);
void comet_sqlite_close(comet_sqlite_t *store);
void comet_sqlite_limit(comet_sqlite_t *store, const comet_budget_t *budget);
apr_status_t comet_sqlite_begin(comet_sqlite_t *store,
                                comet_store_state_t *state);
void comet_sqlite_end(comet_sqlite_t *store);
apr_status_t comet_sqlite_state(comet_sqlite_t *store,
                                comet_store_state_t *state);
apr_status_t comet_sqlite_sizes(comet_sqlite_t *store,
                                comet_store_sizes_t *sizes);
apr_status_t comet_sqlite_replay(comet_sqlite_t *store,
                                 const comet_selection_t *selection,
                                 apr_int64_t count, comet_timestamp_t *cursor,
                                 int *any);
apr_status_t comet_sqlite_floor(comet_sqlite_t *store,
                                const comet_selection_t *selection,
                                comet_timestamp_t *floor);
apr_status_t comet_sqlite_read(comet_sqlite_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t after, apr_size_t limit,
                               comet_store_cb *callback, void *baton);
apr_status_t comet_sqlite_page(comet_sqlite_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t after,
                               comet_timestamp_t before, apr_size_t limit,
                               comet_store_cb *callback, void *baton);
apr_status_t comet_sqlite_search(comet_sqlite_t *store,
                                 const comet_selection_t *selection,
                                 comet_text_t words, comet_timestamp_t after,
                                 comet_timestamp_t before, apr_size_t limit,
                                 comet_store_cb *callback, void *baton,
                                 comet_timestamp_t *rest);
apr_status_t comet_sqlite_channels(comet_sqlite_t *store, comet_text_t prefix,
                                   apr_size_t limit,
                                   comet_store_channel_cb *callback,
                                   void *baton);
apr_status_t comet_sqlite_recent(comet_sqlite_t *store, apr_size_t count,
                                 comet_timestamp_t *cursor);
apr_status_t comet_sqlite_has(comet_sqlite_t *store,
                              comet_timestamp_t timestamp, apr_int64_t *has);
apr_status_t comet_sqlite_find_event(comet_sqlite_t *store, comet_text_t event,
                                     comet_timestamp_t before,
                                     comet_timestamp_t *timestamp);
apr_status_t comet_sqlite_reserve(comet_sqlite_t *store,
                                  apr_interval_time_t wait);
apr_status_t comet_sqlite_append(comet_sqlite_t *store,
                                 comet_store_group_t *const *groups,
                                 apr_size_t count);
apr_status_t comet_sqlite_prune(comet_sqlite_t *store, apr_time_t now,
                                int *more);
apr_status_t comet_sqlite_tidy(comet_sqlite_t *store, int *more);
int comet_sqlite_checkpoint_due(const comet_sqlite_t *store);
apr_status_t comet_sqlite_checkpoint(comet_sqlite_t *store);
apr_status_t comet_sqlite_copy(comet_sqlite_t *store, int *pages);
int comet_sqlite_tally(comet_sqlite_t *store, comet_tally_t *tally);
int comet_sqlite_has_guests(const comet_sqlite_t *store);

#endif /* COMET_SQLITE_H */
