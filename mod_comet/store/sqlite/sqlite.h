/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/sqlite/sqlite.h
 * The message log in SQLite, through its C API: what the comet_store_*.c share.
 * The schema is in sql/.
 *
 * Invariants:
 * 1. a statement is reset before its function returns, so that no read
 *    transaction outlives a call (but comet_store_begin()'s);
 * 2. a file is written to only once it is known to be ours;
 * 3. no descriptor of the database is opened or closed beside SQLite's:
 *    close(2) would drop all its POSIX locks in this process;
 * 4. whoever writes has checked, inside the write lock of the bus, that the
 *    file is still the one at the path.
 */
#ifndef COMET_SQLITE_H
#define COMET_SQLITE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store/store.h"

#include <sqlite3.h>
#include <sys/types.h>

#define PRUNE_CHANNELS 256
/* Outside programs checkpoint at 1,000 pages unless we have done it before. */
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
    SQL_UNDER,
    SQL_RECENT,
    SQL_HAS,
    SQL_CHANNEL_ADD,
    SQL_CHANNEL_DROP,
    SQL_INSERT,
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
    SQL_NEWEST,
    SQL_OVER_COUNT,
    SQL_PRUNE_UPTO,
    SQL_PRUNE_FLOOR,
    SQL_PRUNE,
    SQL_BODIES,
    SQL_PAGES,
    SQL_COUNT
} sql_e;

extern const char *const comet_sqlite_text[SQL_COUNT];

/** Which file it is; ino is 0 while unknown. */
typedef struct file_id_t {
    dev_t dev;
    ino_t ino;
} file_id_t;

/** A round of retention, which goes in steps. */
typedef struct prune_t {
    int running; /* between the first step of a round and its last */
    apr_time_t now; /* of this step */
    int all_seen; /* a first round over all channels is complete */
    comet_timestamp_t seen; /* clock at the start of the last whole round */
    comet_timestamp_t end; /* clock at the start of this round */
    apr_int64_t cursor; /* channel or message up to which it was listed */
    int listed; /* nothing is left beyond the cursor */
    apr_size_t count, next; /* next <= count <= PRUNE_CHANNELS */
    apr_int64_t channels[PRUNE_CHANNELS];
} prune_t;

/** What a reading has spent of its budget (comet_store_limit()). */
typedef struct comet_sqlite_spending_t {
    comet_budget_t budget;
    apr_time_t spent_at; /* by comet_thread_time(); 0: never */
    apr_time_t ends_at; /* by comet_monotonic(); 0: never */
    apr_time_t view_ends; /* the same, of one statement */
    apr_time_t look_at; /* when the client is looked for */
    apr_status_t ended; /* why it was ended; APR_SUCCESS: it was not */
} comet_sqlite_spending_t;

struct comet_store_t {
    const comet_store_config_t *config;
    const atomic_int *stopping; /* [atomic] */
    comet_store_mode_e mode;
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    char *wal_path, *shm_path;
    file_id_t file, wal, shm;
    int moved; /* found by a writer */
    int entered; /* see enter() */
    int read_only; /* as well */
    int reserved; /* BEGIN IMMEDIATE is done, for append */
    apr_interval_time_t patience; /* for the busy handler */
    apr_int64_t busy_since;
    int wal_pages, checkpoint_at;
    prune_t prune;
    const volatile apr_uint32_t *tally; /* NULL: not looked for, or none */
    int indexing; /* the index is not what it is to be; a writer's */
    sqlite3_stmt *search; /* NULL until it is needed; a reader's */
    comet_sqlite_spending_t spending; /* a reader's */
    char error[256];
};

/* Failures: SQLite's codes end here.  Each keeps SQLite's words, which the
 * next call of it replaces, for comet_store_error(). */

/** Whether an errno says that there is no room. */
int comet_sqlite_is_full(int error);

/** Whether an errno says that there is no descriptor left, for a while. */
int comet_sqlite_has_no_descriptor(int error);

/** @param error  errno at the time; 0: unknown */
apr_status_t comet_sqlite_fail_with(comet_store_t *store, int code, int error);
apr_status_t comet_sqlite_fail(comet_store_t *store, int code);
/** @return @a status */
apr_status_t comet_sqlite_fail_text(comet_store_t *store, apr_status_t status,
                                    const char *text);

/** The busy handler: waits as long as store->patience. */
int comet_sqlite_on_busy(void *baton, int tries);

/* Statements */

/** Prepare all of them, and set how the connection is used. */
apr_status_t comet_sqlite_prepare(comet_store_t *store);

void comet_sqlite_reset(comet_store_t *store, sql_e which);
int comet_sqlite_step(comet_store_t *store, sql_e which);
/** Run a statement without rows. @return SQLITE_OK or SQLite's code */
int comet_sqlite_run(comet_store_t *store, sql_e which);
apr_status_t comet_sqlite_run_or_fail(comet_store_t *store, sql_e which);
void comet_sqlite_bind_int(comet_store_t *store, sql_e which, int index,
                           apr_int64_t value);
/** The text must live until the statement is reset. */
void comet_sqlite_bind_text(comet_store_t *store, sql_e which, int index,
                            comet_text_t text);
/** Run a query for one row of up to two integers.  No row, or NULL: they stay
 * as they are. */
apr_status_t comet_sqlite_query(comet_store_t *store, sql_e which,
                                apr_int64_t *first, apr_int64_t *second);
/** Run SQL that is no statement of ours. */
apr_status_t comet_sqlite_execute(comet_store_t *store, const char *sql);
void comet_sqlite_roll_back(comet_store_t *store);

/* Budgets */

/** Let the statements that follow take so long; 0: as long as the budget. */
void comet_sqlite_limit_view(comet_store_t *store, apr_interval_time_t time);

/** Look, between statements, whether the budget is spent or the client gone.
 * @return APR_SUCCESS, COMET_ECOSTLY or COMET_EGONE */
apr_status_t comet_sqlite_look(comet_store_t *store);

/* Words that are looked for */

/* Room for as many as there may be, and for one more phrase, which may be a
 * repeated one. */
#define COMET_SQLITE_TOKENS (2 * COMET_WORDS_MAX)

typedef struct comet_sqlite_token_t {
    comet_text_t text;
    int prefix; /* so do all words that begin so */
} comet_sqlite_token_t;

/** The words of a search; bit i of a set stands for token i. */
typedef struct comet_sqlite_words_t {
    fts5_tokenizer methods;
    Fts5Tokenizer *tokenizer;
    comet_sqlite_token_t tokens[COMET_SQLITE_TOKENS];
    unsigned count; /* 0: what was written has no letter and no digit */
    apr_uint32_t starts, ends; /* the first and last tokens of phrases */
    char *query; /* for FTS5 */
    apr_size_t query_length;
    /* while they are made: */
    char *bytes;
    apr_size_t room;
    int any, too_many;
} comet_sqlite_words_t;

/**
 * Take apart what is looked for.
 * @param text   must live as long as @a words
 * @param words  OUT; on success to be freed by comet_sqlite_words_free()
 * @return COMET_EINVALID: nothing was written, or more than COMET_WORDS_MAX
 *         words
 */
apr_status_t comet_sqlite_words_make(comet_store_t *store, comet_text_t text,
                                     comet_sqlite_words_t *words);
void comet_sqlite_words_free(comet_sqlite_words_t *words);

/** Whether a body has all of the words, as the index would say. */
int comet_sqlite_words_match(const comet_sqlite_words_t *words,
                             comet_text_t body);

/* Walks over a selection's messages, by timestamp */

/**
 * Called for each message.
 * @param row  timestamp, channel, type, author, body; NULL: not wanted
 * @return APR_SUCCESS; APR_EOF ends the walk; else it fails
 */
typedef apr_status_t comet_sqlite_visit_cb(void *baton, comet_timestamp_t id,
                                           sqlite3_stmt *row);

typedef struct comet_sqlite_walk_t {
    const comet_selection_t *selection;
    comet_timestamp_t after, before; /* what lies between; moved by the walk */
    int backwards; /* newest first */
    int ids_only; /* no rows are wanted */
    apr_size_t left; /* how many to visit at most */
    comet_sqlite_visit_cb *visit;
    void *baton;
} comet_sqlite_walk_t;

/** Visit a selection's messages, those of channels under its prefixes too. */
apr_status_t comet_sqlite_walk(comet_store_t *store, comet_sqlite_walk_t *walk);

/**
 * Bind the bounds of the names that begin with a prefix.
 * @param room  for the upper bound: as long as the longest name; must live
 *              until the statement is reset
 */
void comet_sqlite_bind_prefix(comet_store_t *store, sql_e which,
                              comet_text_t prefix, char *room);

/** The text of a column, by length: a program that turns the checks off can
 * store any byte. */
comet_text_t comet_sqlite_column(sqlite3_stmt *row, int index);

/** Whether a row's message is of a selection. */
int comet_sqlite_is_of(const comet_selection_t *selection, sqlite3_stmt *row);

/** The message in a row. @return NULL: no memory */
comet_message_t *comet_sqlite_message(sqlite3_stmt *row);

/* The index of words */

/** How much text is indexed, or taken out of it, in one step: with the merging
 * that FTS5 does at times it takes 2 to 12 ms. */
#define INDEX_STEP_BYTES (32 * 1024)

/** On opening to write: begin with an index, or stop keeping it.  What takes
 * long is left to comet_sqlite_index_step(). */
apr_status_t comet_sqlite_index_open(comet_store_t *store);

/** One step, in a transaction of its own.
 * @param more  set when another is due */
apr_status_t comet_sqlite_index_step(comet_store_t *store, int *more);

/* Files and transactions */

file_id_t comet_sqlite_file_id(const char *path);
int comet_sqlite_same_file(file_id_t a, file_id_t b);
int comet_sqlite_has_content(const char *path);
/** The version of the schema that this module makes. */
int comet_sqlite_latest_version(void);

/**
 * See whose database it is.
 * @param version  set to the schema's version; 0: an empty database
 * @return COMET_ENOTDB when it is not ours
 */
apr_status_t comet_sqlite_identify(comet_store_t *store, int *version);

/**
 * Refuse to write to a file that has a second name.
 * @return COMET_EALIASED
 */
apr_status_t comet_sqlite_check_place(comet_store_t *store);
/** The file was moved away, or its log deleted: give it all that was committed
 * to it.
 * @return COMET_EMOVED; COMET_ELOCKED: a reader is in the way, ask again */
apr_status_t comet_sqlite_leave_behind(comet_store_t *store);
/** Commit, or roll back.  COMET_EUNSURE: nobody can know which. */
apr_status_t comet_sqlite_commit(comet_store_t *store);

#endif /* COMET_SQLITE_H */
