/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/engine.h
 * The interface of a storage engine.
 *
 * store/store.h is what callers see.  Each of its functions calls the function
 * of the same name of the connection's engine, and its docstring holds for the
 * engine's function too.  mod_comet.so has one engine of its own; others come
 * in modules that register theirs with ap_register_provider(COMET_ENGINE_GROUP,
 * NAME, COMET_ENGINE_VERSION).
 *
 * Which thread calls what:
 *
 *   parent, at configuration   parse, locate, check, advise, confine, version
 *   worker                     open(READ), all calls that read, close
 *   writer (child, store)      open(WRITE), all calls that write, close
 *   hub (child)                open(READ_AT_ONCE), begin, read, tally, close,
 *                              and the watch
 *
 * The calls of a remote engine can take as long as a network does.  So the hub
 * never makes them.  Instead, each child has two threads per store that make
 * them: the scout, which follows the log and has the watch, and the fetcher,
 * which reads what memory no longer has.  Each call of a remote engine must end
 * by a deadline of its own, and soon after *stopping is set.
 */
#ifndef COMET_ENGINE_H
#define COMET_ENGINE_H

#include <apr_tables.h>

#include "store/online.h"
#include "store/site.h"
#include "store/store.h"
#include "store/watch.h"

/** The group of httpd's providers that the engines register in
 * (ap_provider.h). */
#define COMET_ENGINE_GROUP "comet-engine"
/** The version of this interface. */
#define COMET_ENGINE_VERSION "13"

/**
 * Receives a warning for the administrator.
 * @param fatal  whether nothing can be published until this is corrected
 * @param error  the system's error that caused the warning; 0: none
 */
typedef void comet_advice_cb(void *baton, int fatal, apr_status_t error,
                             const char *text);

struct comet_engine_t {
    const char *name; /* what CometStore's argument begins with */
    const char *usage; /* how to write CometStore's whole argument */

    /** The store is reached over a network (see above).  Then the store itself
     * makes writers take turns, and they do not take the bus's lock. */
    int is_remote;
    /** The most connections that the workers of a child hold at a time; 0: as
     * many as threads may read. */
    apr_size_t reader_limit;

    /* --- Places; all results are allocated in the pool ------------------ */

    /**
     * Read what follows the engine's name and the colon in CometStore.
     * @param place  the engine fills place->name, ->key and ->own.  If the text
     *               is invalid and may contain a secret, the engine sets
     *               place->name to a text that the error message shows instead
     * @param root   the folder that relative names are relative to
     * @return NULL, or what is expected instead
     */
    const char *(*parse)(comet_place_t *place, const char *text,
                         const char *root, apr_pool_t *p);

    /**
     * Resolve a parsed place, so that two names of the same store get the same
     * key.  The call opens nothing and connects to nothing.
     * @param place  its ->name, ->key and ->own may change
     * @return NULL, or a sentence that says why the place cannot be used
     */
    const char *(*locate)(comet_place_t *place, apr_pool_t *p);

    /**
     * Check that a place is safe.  The call opens nothing and connects to
     * nothing.  NULL: every place is safe.
     * @return NULL, or a sentence that says why the server must not start
     */
    const char *(*check)(const comet_place_t *place, const comet_site_t *site,
                         apr_pool_t *p);

    /** Name a place as the children see it, whose "/" is site->jail.  The last
     * call in the parent; check() has found the place to be in the jail.  NULL:
     * the engine has no files. */
    void (*confine)(comet_place_t *place, const char *jail);

    /** Warn of problems that will prevent the children from using a place, or
     * that make its use risky.  NULL: the engine has no such check. */
    void (*advise)(const comet_place_t *place, const comet_site_t *site,
                   comet_advice_cb *say, void *baton, apr_pool_t *p);

    /** The name and the version of the engine's library, for the log. */
    const char *(*version)(void);

    /** @return NULL, or a sentence that says why CometSearch cannot be switched
     *         on */
    const char *(*cannot_search)(void);

    /* --- Connections ---------------------------------------------------- */

    /** Open a connection, which begins with a comet_store_t that names the
     * engine. */
    apr_status_t (*open)(comet_store_t **store,
                         const comet_store_config_t *config,
                         comet_store_mode_e mode, const atomic_int *stopping);
    void (*keep_log)(comet_store_t *store); /* NULL: there is no log */
    void (*close)(comet_store_t *store);
    /** @param store  NULL: the last open() that failed in this thread */
    const char *(*error)(const comet_store_t *store);
    int (*is_usable)(comet_store_t *store, apr_interval_time_t within);
    int (*may_idle)(const comet_store_t *store); /* NULL: it always may */
    void (*limit)(comet_store_t *store, const comet_budget_t *budget);

    /* --- Reading ---------------------------------------------------------- */

    apr_status_t (*begin)(comet_store_t *store, comet_store_state_t *state);
    void (*end)(comet_store_t *store);
    apr_status_t (*state)(comet_store_t *store, comet_store_state_t *state);
    apr_status_t (*replay)(comet_store_t *store,
                           const comet_selection_t *selection,
                           apr_int64_t count, comet_timestamp_t *cursor,
                           int *any);
    apr_status_t (*floor)(comet_store_t *store,
                          const comet_selection_t *selection,
                          comet_timestamp_t *floor);
    apr_status_t (*read)(comet_store_t *store,
                         const comet_selection_t *selection,
                         comet_timestamp_t after, apr_size_t limit,
                         comet_store_cb *callback, void *baton);
    apr_status_t (*page)(comet_store_t *store,
                         const comet_selection_t *selection,
                         comet_timestamp_t after, comet_timestamp_t before,
                         apr_size_t limit, comet_store_cb *callback,
                         void *baton);
    /** NULL: the engine has no search; then cannot_search() returns a
     * sentence. */
    apr_status_t (*search)(comet_store_t *store,
                           const comet_selection_t *selection,
                           comet_text_t words, comet_timestamp_t after,
                           comet_timestamp_t before, apr_size_t limit,
                           comet_store_cb *callback, void *baton,
                           comet_timestamp_t *rest);
    apr_status_t (*channels)(comet_store_t *store, comet_text_t prefix,
                             apr_size_t limit, comet_store_channel_cb *callback,
                             void *baton);
    apr_status_t (*recent)(comet_store_t *store, apr_size_t count,
                           comet_timestamp_t *cursor);
    apr_status_t (*has)(comet_store_t *store, comet_timestamp_t timestamp,
                        apr_int64_t *has);
    apr_status_t (*rules)(comet_store_t *store, comet_text_t prefix,
                          comet_text_t after, apr_size_t limit,
                          comet_store_rule_cb *callback, void *baton);
    apr_status_t (*find_event)(comet_store_t *store, comet_text_t event,
                               comet_timestamp_t before,
                               comet_timestamp_t *timestamp);

    /** NULL: the engine is not remote. */
    apr_status_t (*news)(comet_store_t *store, const comet_store_state_t *known,
                         comet_timestamp_t newest, apr_size_t limit,
                         int awaits_commit, comet_store_cb *callback,
                         void *baton, comet_store_state_t *state, int *goes_on);

    /** NULL: the engine does not know the sizes.  Fields that it does not set
     * stay -1. */
    apr_status_t (*sizes)(comet_store_t *store, comet_store_sizes_t *sizes);

    /* --- Writing ---------------------------------------------------------- */

    apr_status_t (*reserve)(comet_store_t *store, apr_interval_time_t wait);
    apr_status_t (*append)(comet_store_t *store,
                           comet_store_group_t *const *groups,
                           apr_size_t count);
    apr_status_t (*prune)(comet_store_t *store, apr_time_t now, int *more);
    apr_status_t (*tidy)(comet_store_t *store, int *more); /* or NULL */
    /** NULL: there is no inbox; outside programs number their own messages. */
    apr_status_t (*take_in)(comet_store_t *store, apr_size_t *count,
                            apr_interval_time_t *rest);
    int (*checkpoint_due)(const comet_store_t *store); /* NULL: never due */
    apr_status_t (*checkpoint)(comet_store_t *store);
    /** NULL: the engine has no log that must be copied. */
    apr_status_t (*copy)(comet_store_t *store, int *pages);

    const comet_online_engine_t *online;

    /* --- Hints; NULL where the engine has none --------------------------- */

    int (*tally)(comet_store_t *store, comet_tally_t *tally);
    int (*has_guests)(const comet_store_t *store);
    const comet_watch_engine_t *watch;
};

/** The struct that every engine's connection begins with. */
struct comet_store_t {
    const comet_engine_t *engine;
    /** comet_message_create(), with which the engine makes the messages that it
     * hands over.  Set on opening.  An engine in another module must not call
     * its own copy of that function: the hash of a channel depends on a secret,
     * and each copy of the code makes its own secret. */
    comet_message_t *(*make)(const comet_message_fields_t *fields);
    /** comet_selection_judge_message() and comet_selection_reads(), for the
     * same reason: they compare hashes. */
    comet_selection_match_e (*judge)(const comet_selection_t *selection,
                                     const comet_message_t *message);
    int (*reads)(const comet_selection_t *selection, comet_text_t channel);
    /** For comet_store_glance(): the state of the log in the last view, and the
     * tally just before that view. */
    struct {
        int is_known;
        comet_tally_t tally;
        comet_store_state_t state;
    } viewed;
    /** Set by an engine that has a tally: the tallies just before and after the
     * last append, if nobody else has committed in between. */
    struct {
        int is_known;
        apr_size_t count; /* how many messages the transaction has added */
        comet_tally_t before, after;
    } appended;
};

#endif /* COMET_ENGINE_H */
