/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/pg/pg.h
 * PostgreSQL as an engine (store/engine.h): declarations for this folder only.
 * store/store.h and sql/postgresql/ describe the functions.
 *
 * dial.c     begins a connection to a host
 * connect.c  opens and closes connections
 * call.c     calls a function of the schema, by a deadline
 * failure.c  translates PostgreSQL's errors
 * question.c asks for messages
 * read.c     reads the log
 * page.c     reads pages, and searches
 * append.c   appends messages that the web server publishes
 * inbox.c    publishes what other programs have left in the inbox
 * upkeep.c   retention, keys, the index of words
 * online.c   presence
 * rules.c    the retention of single channels
 * listen.c   hints between the web servers
 * place.c    reads and checks CometStore's argument
 *
 * No call waits for the server longer than until its deadline.  Each write is
 * one statement, so no transaction stays open while this process does something
 * else.  A connection that missed a deadline counts as lost, because its
 * statement may still be running on the server.
 */
#ifndef COMET_PG_H
#define COMET_PG_H

#include <libpq-fe.h>

#include "base/buffer.h"
#include "store/engine.h"

/** The oldest version of the schema in sql/postgresql/ with which this module
 * works. */
#define COMET_PG_SCHEMA 5
/** How long to wait for a connection, and for an answer. */
#define COMET_PG_CONNECT_USEC APR_INT64_C(3000000)
#define COMET_PG_ANSWER_USEC APR_INT64_C(2500000)

/** How many statements a connection prepares at most. */
#define COMET_PG_PREPARED 16

/** place->own of this engine. */
typedef struct comet_pg_place_t {
    const char *conninfo; /* from CometStore: keywords or a URI */
    int has_options; /* whether `conninfo` has the keyword `options` */
    /** [atomic] A pooler between this module and the server refuses the
     * parameter `options`. */
    atomic_int refuses_options;
    /** [atomic] A session had lost a prepared statement, or had one of another
     * client: a pooler shares the sessions, and nothing is prepared any
     * more. */
    atomic_int shares_sessions;
    /** [atomic] The host to try first: the last one that worked.  Hosts are
     * counted from 0.  The number may exceed the number of hosts, and is then
     * taken modulo that number. */
    atomic_uint good_host;
    /** [the thread that looks into the inbox] A random number that stands for
     * this web server in the table comet.server; 0: not chosen yet. */
    apr_int64_t server;
} comet_pg_place_t;

#define COMET_PG_NAME_BYTES 24

/** A prepared statement. */
typedef struct comet_pg_prepared_t {
    const char *sql;
    char name[COMET_PG_NAME_BYTES];
} comet_pg_prepared_t;

/** A connection. */
typedef struct comet_pg_t {
    comet_store_t base;
    const comet_store_config_t *config;
    comet_store_mode_e mode;
    const atomic_int *stopping; /* or NULL */
    PGconn *connection;
    int is_direct; /* no pooler is between this module and the server */
    comet_pg_prepared_t prepared[COMET_PG_PREPARED];
    int prepared_count;
    int draining; /* a statement's result has not been read yet */
    int lost; /* the connection cannot be used any more */
    int warned; /* since the last call began, the server has warned that a
                 * commit may not have reached its standby */
    comet_budget_t budget; /* the budget of reading (comet_store_limit()) */
    apr_time_t reading_until; /* when reading must end, by comet_monotonic(); 0:
                               * no limit */
    /* retention */
    int pruning; /* a round is under way */
    comet_timestamp_t since; /* the timestamp at which the round's next step
                              * begins; 0: the round covers all channels, and
                              * continues with `name` */
    comet_timestamp_t until; /* the timestamp at which the round ends */
    apr_int64_t rule_changes; /* how often channel_retention had been changed
                               * when the last round began */
    char name[COMET_CHANNEL_MAX_BYTES + 2];
    /* the inbox */
    char low[24]; /* the transaction number from which comet.move() reads the
                   * inbox; "": read all of it */
    apr_time_t look_all_at;
    apr_time_t turn; /* when any one of this web server's turns at the inbox
                      * began or will begin, by comet_monotonic() */
    apr_interval_time_t round; /* the time from one of these turns to the next;
                                * 0: not known yet */
    apr_time_t forget_at; /* when to check next for members to forget */
    char forget_after[COMET_CHANNEL_MAX_BYTES + 2]; /* the member after which
                                                     * that check begins */
    char error[400];
} comet_pg_t;

/* --- Connections ---------------------------------------------------------- */

apr_status_t comet_pg_open(comet_store_t **store,
                           const comet_store_config_t *config,
                           comet_store_mode_e mode, const atomic_int *stopping);
void comet_pg_close(comet_store_t *store);
const char *comet_pg_error(const comet_store_t *store);
int comet_pg_is_usable(comet_store_t *store, apr_interval_time_t within);

/** Connect again if the connection is lost. */
apr_status_t comet_pg_connect_again(comet_pg_t *pg);

/* --- Beginning a connection ------------------------------------------------ */

/** An attempt to begin a connection. */
typedef struct comet_pg_attempt_t comet_pg_attempt_t;

/** The hosts that CometStore names, directly or through a service file.  In
 * each list, commas separate the items. */
typedef struct comet_pg_hosts_t {
    PQconninfoOption *all; /* owns the lists; NULL: the lists are not known */
    const char *host, *hostaddr, *port; /* or NULL */
    unsigned count;
} comet_pg_hosts_t;

/** Ask libpq for the hosts.  The caller frees the result by
 * comet_pg_free_hosts(). */
comet_pg_hosts_t comet_pg_find_hosts(const comet_pg_place_t *place);
void comet_pg_free_hosts(comet_pg_hosts_t *hosts);

/**
 * Begin to connect to a host, with this module's settings.  The call does not
 * wait for the name server.
 * @param hosts  may be freed after this call
 * @param host  the number of the host, counted from 0; after the last host the
 *              numbers begin again with the first
 * @return the attempt, for comet_pg_attempt_take() or
 *         comet_pg_attempt_abandon(); NULL: there is no memory or no thread, or
 *         too many attempts wait for the name server
 */
comet_pg_attempt_t *comet_pg_attempt_create(const comet_pg_place_t *place,
                                            const comet_pg_hosts_t *hosts,
                                            unsigned host);

/**
 * Take the connection that the attempt has begun.  The caller continues with
 * PQconnectPoll().
 * @param limit  how long to wait for the attempt
 * @param connection  set to the result of PQconnectStartParams(), which is NULL
 *                    if there was no memory
 * @return whether the connection was taken; if so, the attempt is freed
 */
int comet_pg_attempt_take(comet_pg_attempt_t *attempt,
                          apr_interval_time_t limit, PGconn **connection);

/** Abandon an attempt.
 * @param attempt  will be freed, now or later; may be NULL */
void comet_pg_attempt_abandon(comet_pg_attempt_t *attempt);

/* --- Failures ------------------------------------------------------------- */

/** Save a failure's text for comet_pg_error(), and return @a status. */
apr_status_t comet_pg_fail(comet_pg_t *pg, apr_status_t status,
                           const char *text);

/** Translate an error result to a status, and save its text. */
apr_status_t comet_pg_fail_result(comet_pg_t *pg, const PGresult *result);

/** Note that the connection is lost, and save the reason that libpq gives.
 * @return APR_ECONNRESET */
apr_status_t comet_pg_fail_connection(comet_pg_t *pg);

/** After a failure to connect, append advice for the administrator to the saved
 * text.
 * @return APR_EACCES: the server did not let this user in; APR_ECONNREFUSED:
 *         the attempt failed for another reason */
apr_status_t comet_pg_advise_connecting(comet_pg_t *pg);

/** Get the first line of libpq's message about a connection's failure.
 * @param buffer  OUT: a buffer of @a size bytes */
void comet_pg_words(const PGconn *connection, char *buffer, apr_size_t size);

/* --- Calls ---------------------------------------------------------------- */

#define COMET_PG_ARGS 17

/** The arguments of a call, in PostgreSQL's binary form. */
typedef struct comet_pg_args_t {
    int count;
    Oid types[COMET_PG_ARGS];
    int formats[COMET_PG_ARGS];
    apr_size_t offsets[COMET_PG_ARGS]; /* where each argument begins in the
                                        * buffer */
    comet_buffer_t buffer;
} comet_pg_args_t;

void comet_pg_add_int(comet_pg_args_t *args, apr_int64_t value);
void comet_pg_add_int4(comet_pg_args_t *args, apr_int32_t value);
void comet_pg_add_bool(comet_pg_args_t *args, int value);
void comet_pg_add_text(comet_pg_args_t *args, comet_text_t value);
/** Add a transaction's number, given in decimal. */
void comet_pg_add_xid(comet_pg_args_t *args, const char *value);
/** Begin an array of @a count elements, which follow. */
void comet_pg_add_texts(comet_pg_args_t *args, apr_size_t count);
void comet_pg_add_blobs(comet_pg_args_t *args, apr_size_t count);
void comet_pg_add_ints(comet_pg_args_t *args, apr_size_t count);
/** Add an element of an array.
 * @param value  data NULL stands for SQL's NULL */
void comet_pg_add_element(comet_pg_args_t *args, comet_text_t value);
void comet_pg_add_int_element(comet_pg_args_t *args, apr_int64_t value);

/** Wait until the socket is ready (POLLIN, POLLOUT).
 * @return 0: the deadline has passed, the thread has had to stop for some time,
 *         or the client is gone */
int comet_pg_await(const comet_pg_t *pg, short events, apr_time_t deadline);

/** Whether to stop waiting: the thread must stop, or the client is gone. */
int comet_pg_must_end(const comet_pg_t *pg);

/** Whether a result is of a kind that this module never asks for, such as
 * COPY's.  libpq would return such a result again and again. */
int comet_pg_is_strange(const PGresult *result);

/**
 * Run a statement and wait for its answer.
 * @param sql     the same text at each call; the pointer identifies it
 * @param args    freed; NULL: none
 * @param limit   how long the answer may take
 * @param result  set to the rows, in binary form, which the caller clears; set
 *                to NULL after a failure.  If @a result is NULL, the rows are
 *                discarded
 */
apr_status_t comet_pg_call(comet_pg_t *pg, const char *sql,
                           comet_pg_args_t *args, apr_interval_time_t limit,
                           PGresult **result);

/** Like comet_pg_call(), but for a read: keep within the budget of reading. */
apr_status_t comet_pg_ask(comet_pg_t *pg, const char *sql,
                          comet_pg_args_t *args, PGresult **result);

/** Get an integer of any size from a result.  SQL's NULL is returned as 0. */
apr_int64_t comet_pg_int(const PGresult *result, int row, int column);
/** Get a text from a result.  SQL's NULL is returned as a text whose data is
 * NULL. */
comet_text_t comet_pg_text(const PGresult *result, int row, int column);

/* --- Questions ------------------------------------------------------------ */

/** What a read asks the log for. */
typedef struct comet_pg_question_t {
    const comet_selection_t *selection; /* NULL: every message */
    comet_text_t words; /* data NULL: no search */
    comet_timestamp_t after, before;
    apr_int64_t most;
    int backwards;
} comet_pg_question_t;

/** Add an array of channels or prefixes. */
void comet_pg_add_selected(comet_pg_args_t *args, const comet_selected_t *list,
                           apr_size_t count);

/** Add a selection's names, then its prefixes.  For a selection by topics, the
 * prefixes are those of its patterns (comet_selection_stem()). */
void comet_pg_add_selection(comet_pg_args_t *args,
                            const comet_selection_t *selection);

/** Ask a function that returns one number. */
apr_status_t comet_pg_ask_number(comet_store_t *store, const char *sql,
                                 comet_pg_args_t *args, apr_int64_t *number);

/** Ask for at most question->most messages.  The server returns fewer, even if
 * the log has more, when their bodies fill a batch. */
apr_status_t comet_pg_ask_messages(comet_pg_t *pg,
                                   const comet_pg_question_t *question,
                                   PGresult **result);

/** Make the message of a row.
 * @param message  set to NULL if the selection does not contain the message.
 *                 For example, the name of a sibling channel begins with the
 *                 prefix, but the prefix does not cover the channel
 * @param length   set to the length of the message's body */
apr_status_t comet_pg_make(comet_pg_t *pg, const comet_pg_question_t *question,
                           const PGresult *result, int row,
                           comet_message_t **message, apr_size_t *length);

/** After an answer, change the question so that it asks for the messages that
 * are left.
 * @param bytes  the length of all bodies in the answer
 * @return 0: no messages are left; the question is unchanged */
int comet_pg_ask_on(comet_pg_question_t *question, const PGresult *result,
                    apr_size_t bytes);

/** How many rows to ask for in order to obtain @a limit messages.  The number
 * is higher than that if some rows may belong to channels that the selection
 * does not cover. */
apr_int64_t comet_pg_rows_for(const comet_selection_t *selection,
                              apr_size_t limit);

/* --- The engine's functions ------------------------------------------------ */

void comet_pg_limit(comet_store_t *store, const comet_budget_t *budget);
apr_status_t comet_pg_begin(comet_store_t *store, comet_store_state_t *state);
void comet_pg_end(comet_store_t *store);
apr_status_t comet_pg_sizes(comet_store_t *store, comet_store_sizes_t *sizes);
apr_status_t comet_pg_state(comet_store_t *store, comet_store_state_t *state);
apr_status_t comet_pg_replay(comet_store_t *store,
                             const comet_selection_t *selection,
                             apr_int64_t count, comet_timestamp_t *cursor,
                             int *any);
apr_status_t comet_pg_floor(comet_store_t *store,
                            const comet_selection_t *selection,
                            comet_timestamp_t *floor);
apr_status_t comet_pg_read(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, apr_size_t limit,
                           comet_store_cb *callback, void *baton);
apr_status_t comet_pg_page(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_timestamp_t after, comet_timestamp_t before,
                           apr_size_t limit, comet_store_cb *callback,
                           void *baton);
apr_status_t comet_pg_search(comet_store_t *store,
                             const comet_selection_t *selection,
                             comet_text_t words, comet_timestamp_t after,
                             comet_timestamp_t before, apr_size_t limit,
                             comet_store_cb *callback, void *baton,
                             comet_timestamp_t *rest);
apr_status_t comet_pg_channels(comet_store_t *store, comet_text_t prefix,
                               apr_size_t limit,
                               comet_store_channel_cb *callback, void *baton);
apr_status_t comet_pg_recent(comet_store_t *store, apr_size_t count,
                             comet_timestamp_t *cursor);
apr_status_t comet_pg_has(comet_store_t *store, comet_timestamp_t timestamp,
                          apr_int64_t *has);
apr_status_t comet_pg_news(comet_store_t *store,
                           const comet_store_state_t *known,
                           comet_timestamp_t newest, apr_size_t limit,
                           int awaits_commit, comet_store_cb *callback,
                           void *baton, comet_store_state_t *state,
                           int *goes_on);
apr_status_t comet_pg_find_event(comet_store_t *store, comet_text_t event,
                                 comet_timestamp_t before,
                                 comet_timestamp_t *timestamp);
apr_status_t comet_pg_reserve(comet_store_t *store, apr_interval_time_t wait);
apr_status_t comet_pg_append(comet_store_t *store,
                             comet_store_group_t *const *groups,
                             apr_size_t count);
apr_status_t comet_pg_take_in(comet_store_t *store, apr_size_t *count,
                              apr_interval_time_t *rest);
apr_status_t comet_pg_prune(comet_store_t *store, apr_time_t now, int *more);
apr_status_t comet_pg_tidy(comet_store_t *store, int *more);

const char *comet_pg_parse(comet_place_t *place, const char *text,
                           const char *root, apr_pool_t *p);
const char *comet_pg_locate(comet_place_t *place, apr_pool_t *p);
void comet_pg_advise(const comet_place_t *place, const comet_site_t *site,
                     comet_advice_cb *say, void *baton, apr_pool_t *p);

/** Set or remove a rule.
 * @param changes  OUT: how many rules were set or removed */
apr_status_t comet_pg_set_rule(comet_pg_t *pg, const comet_rule_t *rule,
                               apr_int64_t *changes);
apr_status_t comet_pg_rules(comet_store_t *store, comet_text_t prefix,
                            comet_text_t after, apr_size_t limit,
                            comet_store_rule_cb *callback, void *baton);

/** Throw out a member, for a moderator.
 * @param removed  OUT: how many rows of the member were removed */
apr_status_t comet_pg_remove_member(comet_store_t *store,
                                    const comet_removal_t *removal,
                                    apr_int64_t *removed);

/** Forget members who left long ago; on a server without presence, remove the
 * rows that other servers have left behind.
 * @param more  set to 1 if there is more to do; otherwise unchanged */
apr_status_t comet_pg_tidy_online(comet_pg_t *pg, int *more);

extern const comet_online_engine_t comet_pg_online;
extern const comet_watch_engine_t comet_pg_listen;

#endif /* COMET_PG_H */
