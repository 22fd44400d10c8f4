/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/store.h
 * The message log: the truth that everything else only caches or hints at.
 *
 * A connection belongs to one thread at a time and is opened after fork.
 * Readers never wait for writers, and they hold no transaction while anything
 * is sent.  The caller serialises the writers (comet_bus_lock()).
 *
 * Every call that fails returns one of: COMET_ENOTDB, COMET_EMOVED,
 * COMET_EALIASED (to write only), COMET_EUNSURE, COMET_ELOCKED,
 * COMET_EREADONLY, APR_ENOSPC, APR_ENOMEM,
 * EMFILE or ENFILE (no descriptor is left, for a while), APR_TIMEUP (no answer
 * in time), APR_EACCES (the server refuses this user), or APR_EGENERAL for
 * anything else; comet_store_error() has the engine's words.
 */
#ifndef COMET_STORE_H
#define COMET_STORE_H

#include <stddef.h> /* before APR looks for offsetof */

#include <apr_pools.h>

#include "base/allowance.h"
#include "base/selection.h"

typedef struct comet_engine_t comet_engine_t; /* store/engine.h */

/** Where a store is. */
typedef struct comet_place_t {
    const comet_engine_t *engine;
    const char *name; /* for logs, errors and the status page: no secrets */
    const char *key; /* equal for places that are the same store */
    const void *own; /* the engine's data of this place */
} comet_place_t;

typedef struct comet_store_config_t {
    comet_place_t place;
    int sync_full; /* CometSync: fdatasync before a commit is acknowledged */
    apr_interval_time_t busy_timeout; /* how long a writer waits for other
                                       * programs */
    apr_int64_t retain_count; /* messages kept per channel; 0: all */
    apr_interval_time_t retain_age; /* messages up to this age are kept; 0:
                                     * all */
    int search; /* CometSearch: an index of words is kept */
    int deletions; /* CometDeletions: clients are told of deleted messages */
    /** CometPresenceGrace, where CometPresence is used; 0: it is not. */
    apr_interval_time_t presence_grace;
    /** CometPresenceMemory: how long after leaving a member is forgotten. */
    apr_interval_time_t presence_memory;
} comet_store_config_t;

typedef struct comet_store_t comet_store_t; /* one connection */

typedef enum {
    COMET_STORE_READ,
    COMET_STORE_READ_AT_ONCE, /* to read in the hub's thread, which waits for
                               * locks for 5 ms at most */
    COMET_STORE_WRITE
} comet_store_mode_e;

/** Values of which one changes whenever the log does. */
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
 * Open a connection.  WRITE creates the store where there is none and brings
 * its schema up to date; READ expects that to be done.  A store that belongs
 * to another program is never changed.
 * For WRITE the caller holds the write lock.
 * @param store    set to the connection, owned by the caller; NULL on failure
 *                 (comet_store_error(NULL) then has the engine's words)
 * @param config   must outlive the connection
 * @param stopping [atomic] when non-zero, waiting for a lock ends at once;
 *                 may be NULL
 * @return as above, and for READ APR_ENOENT: no writer has made it yet
 */
apr_status_t comet_store_open(comet_store_t **store,
                              const comet_store_config_t *config,
                              comet_store_mode_e mode,
                              const atomic_int *stopping);

/**
 * Whether a status is the store's own failure, rather than the request's, and
 * not merely a store that does not exist yet.  Any thread.
 */
int comet_store_is_at_fault(apr_status_t status);

/** Close; NULL is ignored.  For WRITE the caller holds the write lock. */
void comet_store_close(comet_store_t *store);

/**
 * The engine's words for the last failure; valid until the next call.
 * @param store  NULL: the last comet_store_open() that failed in this thread
 */
const char *comet_store_error(const comet_store_t *store);

/** How old an answer of comet_store_is_usable() may be for a connection that is
 * used all the time, in microseconds. */
#define COMET_STORE_LATELY APR_INT64_C(5000)

/**
 * Whether the connection still leads to the store at its place.  It does not
 * when the store was moved or replaced meanwhile, or when it could only be read
 * on opening and can be written now: close the connection and open another.
 * @param within  microseconds; an answer that is not older is good enough, and
 *                costs no system call.  0: ask now
 */
int comet_store_is_usable(comet_store_t *store, apr_interval_time_t within);

/** Whether a connection may stay open while nobody uses it.  One that found the
 * store read-only may not: it keeps this process from opening any that can
 * write. */
int comet_store_may_idle(const comet_store_t *store);

/** A fingerprint of the log's latest commit.  Only the engine knows what its
 * words mean. */
#define COMET_TALLY_WORDS 12
typedef struct comet_tally_t {
    apr_uint32_t words[COMET_TALLY_WORDS];
} comet_tally_t;

/**
 * Find out, without a system call, whether any process has committed.  A commit
 * in any process has changed the tally by the time it returns.
 * @param tally  OUT
 * @return 0: it cannot be told; read the store
 */
int comet_store_tally(comet_store_t *store, comet_tally_t *tally);

/** What reading may cost. */
typedef struct comet_budget_t {
    /** CPU time; several readings may share one allowance.  It must live until
     * the next call of comet_store_limit().  One reading may take five times as
     * much real time, since the thread may wait for the disk or for a busy
     * machine.  NULL: no limit. */
    comet_allowance_t *cpu;
    /** Whether the client has gone; NULL: the client is assumed to be there. */
    int (*is_gone)(void *baton);
    void *baton;
    apr_interval_time_t look_every; /* how often is_gone() is asked */
    /** How long one comet_store_read() may take.  Then it ends early, without an
     * error.  0: it reads to its end. */
    apr_interval_time_t part;
    /** Set by a comet_store_read() that ends early: it has read everything up to
     * this timestamp.  Otherwise it stays as it is. */
    comet_timestamp_t *until;
} comet_budget_t;

/**
 * Limit the cost of all reading from now on.  A call that exceeds the limit
 * fails with COMET_ECOSTLY, or with COMET_EGONE if is_gone() says so; the
 * messages it has handed over before are correct.  Call it on the connection's
 * thread, which also runs is_gone().
 * @param budget  copied; its baton must live until the next call of this
 *                function.  NULL: no limit
 */
void comet_store_limit(comet_store_t *store, const comet_budget_t *budget);

/**
 * Find the state of the log without a view, and without a system call.
 * @param state  OUT, if it is known
 * @return 0: somebody has committed since this connection's last view, or the
 *         engine cannot tell
 */
int comet_store_glance(comet_store_t *store, comet_store_state_t *state);

/**
 * Begin a consistent view of the log; end it before anything is sent.
 * On failure no view is open.
 */
apr_status_t comet_store_begin(comet_store_t *store,
                               comet_store_state_t *state);
void comet_store_end(comet_store_t *store);

/** Read (last, erased) alone, which takes 3 microseconds. */
apr_status_t comet_store_state(comet_store_t *store,
                               comet_store_state_t *state);

/**
 * Find where a replay of @a count messages starts.
 * @param cursor  set to the timestamp just before the first of them; 0 when the
 *                selection has no more than @a count messages
 * @param any     set to whether the selection has any message
 */
apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any);

/**
 * Find the highest timestamp that retention has removed from any channel that
 * the selection names.
 * @param floor  set to it; 0: retention has removed nothing
 */
apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor);

/** Read at most @a limit of a selection's messages after a cursor, in order of
 * timestamp.  Channels that the selection's prefixes cover are included. */
apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton);

/**
 * Read a page: the newest of a selection's messages with
 * after < timestamp < before.  A page has at most @a limit and COMET_LIMIT_MAX
 * messages.  Their bodies take less than COMET_BATCH_BYTES, so that they fit
 * into a batch; but a page has at least one message, however long that is.
 * Only an empty page is the end of the history: a short one need not be.
 * @param before    COMET_TIMESTAMP_MAX: start with the newest message
 * @param callback  gets the oldest message of the page first
 */
apr_status_t comet_store_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton);

/** How many words a search may have, as the index counts them: "foo-bar" is two
 * words, and a repeated word counts once. */
#define COMET_WORDS_MAX 16

/**
 * Read a page as comet_store_page() does, of those messages that contain all
 * the words.  Case, order and diacritics do not matter.
 *
 * A search whose budget (comet_store_limit()) runs out does not fail: it hands
 * over what it has found and says where the next search continues.  It looks
 * through the newest messages of the selection first, so that each search makes
 * progress, however frequent the words are.  It keeps no view of the log open
 * for longer than half of the budget's CPU time, and only for a moment where the
 * log has grown long and waits for its readers.  The caller has no view open.
 * @param words  separated by spaces and matched literally; a trailing star
 *               matches any word with that prefix ("deplo*")
 * @param rest   set to where the next search continues: nothing before this
 *               timestamp was looked at.  0: the page is complete
 * @return COMET_ENOSEARCH: the store keeps no index; APR_ENOENT: the index is
 *         not there yet; COMET_EINVALID: there is no word, or there are more
 *         than COMET_WORDS_MAX; COMET_ECOSTLY: the budget ran out before the
 *         first message; COMET_EGONE
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
 * in order of their bytes, without sibling channels (base/name.h).
 * @param prefix  "" for all
 */
apr_status_t comet_store_channels(comet_store_t *store, comet_text_t prefix,
                                  apr_size_t limit,
                                  comet_store_channel_cb *callback,
                                  void *baton);

/** What the channels of a pattern keep, in place of what CometRetain says (the
 * table channel_retention). */
typedef struct comet_rule_t {
    comet_text_t
        pattern; /* a channel's name, or a prefix and a star; data NULL:
                           * no rule */
    apr_int64_t keep_count; /* messages of each channel; 0: no limit */
    apr_int64_t keep_age_sec; /* seconds; 0: no limit */
    int is_removed; /* the rule for this pattern is removed */
} comet_rule_t;

/** The highest number of messages that a rule keeps. */
#define COMET_RULE_COUNT_MAX APR_INT32_MAX

/** The most rules that groups may set. Upkeep compares each channel with all of
 * them. */
#define COMET_RULES_MOST 1000

/** Called with a rule, whose text is valid during the call.
 * @return 0 to stop */
typedef int comet_store_rule_cb(void *baton, const comet_rule_t *rule);

/**
 * List the rules of single channels (comet_rule_t) whose patterns begin with a
 * prefix, in order of their bytes.
 * @param prefix  "" for all
 * @param after   only patterns after this one; "" for all
 */
apr_status_t comet_store_rules(comet_store_t *store, comet_text_t prefix,
                               comet_text_t after, apr_size_t limit,
                               comet_store_rule_cb *callback, void *baton);

/** Read the messages of all channels after a cursor. */
apr_status_t comet_store_tail(comet_store_t *store, comet_timestamp_t after,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton);

/**
 * Find the cursor with at most @a count messages of all channels after it: a
 * ring of recent messages is filled from there.
 */
apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor);

/**
 * Find the newest message that was published with an id of its own
 * (comet_update_t).
 * @param timestamp  set to its timestamp; 0: there is none
 */
apr_status_t comet_store_find_event(comet_store_t *store, comet_text_t event,
                                    comet_timestamp_t *timestamp);

/** Find out whether there is a message with this timestamp: @a has becomes 1 or
 * 0. */
apr_status_t comet_store_has(comet_store_t *store, comet_timestamp_t timestamp,
                             apr_int64_t *has);

/** How much a store keeps.  A member is -1 if the engine cannot tell. */
typedef struct comet_store_sizes_t {
    apr_int64_t database_bytes; /* including the space that deleted messages
                                 * have left */
    apr_int64_t log_bytes; /* the part of the log that is not yet in the
                            * database */
    apr_int64_t channels; /* that have messages, or had some */
} comet_store_sizes_t;

/** Find out how much a store keeps. */
apr_status_t comet_store_sizes(comet_store_t *store,
                               comet_store_sizes_t *sizes);

/**
 * Wait for the engine's own write lock, which other programs may hold, before
 * choosing what to append.  So if a publisher's turn does not come, it is
 * certain that nothing of it was stored.  comet_store_append() gives the lock
 * back.  The caller holds the write lock of the bus.
 * @param wait  how long; then COMET_ELOCKED
 */
apr_status_t comet_store_reserve(comet_store_t *store,
                                 apr_interval_time_t wait);

/** The length of the hash of what is published (SHA-1), in bytes. */
#define COMET_HASH_BYTES 20

/** The Idempotency-Key of a group.  A publisher that does not know the outcome
 * repeats the request with the same key, and the messages are stored once. */
typedef struct comet_store_key_t {
    comet_text_t text; /* Idempotency-Key; data NULL: none */
    comet_text_t channel; /* the channel published to */
    comet_text_t author; /* data NULL: anonymous */
    unsigned char hash[COMET_HASH_BYTES]; /* comet_store_hash() */
} comet_store_key_t;

/** What a moderator removes from a channel. */
typedef struct comet_removal_t {
    comet_text_t channel; /* data NULL: nothing is removed */
    comet_timestamp_t timestamp; /* a message, and what has edited it */
    comet_text_t member; /* instead of a message: the member to throw out */
} comet_removal_t;

/** Messages that are published together: all of them are stored, or none. */
typedef struct comet_store_group_t {
    comet_message_t **messages; /* numbered when they are stored */
    apr_size_t count;
    comet_store_key_t key;
    comet_removal_t removal; /* of a group without messages */
    comet_rule_t rule; /* the same: to set or to remove */
    /** APR_SUCCESS.  APR_NOTFOUND: what the group removes is not there.
     * COMET_EFULL: there are COMET_RULES_MOST other rules.
     * COMET_EREPEATED: the group was stored before under this
     * key, and the messages have the timestamps that they got then.
     * COMET_EMISMATCH: another group was stored under this key.
     * COMET_EINVALID: a message was refused. */
    apr_status_t result;
} comet_store_group_t;

/** Set the hash of a group's key, from the messages' channels, types and
 * bodies. */
void comet_store_hash(comet_store_group_t *group);

/**
 * Append in one transaction: number the messages, insert them, commit.  Without
 * comet_store_reserve() before, the call waits as long as busy_timeout.  The
 * caller holds the write lock, and nobody else uses the messages until the call
 * returns.  A failure means that nothing was stored, and after COMET_ELOCKED
 * the same groups may be appended again.  COMET_EUNSURE is the exception: the
 * outcome is unknown, and the connection must be reopened.  The messages of a
 * group get consecutive timestamps.
 * @param groups  the result of each is set
 */
apr_status_t comet_store_append(comet_store_t *store,
                                comet_store_group_t *const *groups,
                                apr_size_t count);

/**
 * One small step of retention, by CometRetain and by the rules that the store
 * has for single channels (at most 1,000 rows) over the channels that
 * got messages since the last complete round of this connection.
 * The caller holds the write lock.
 * @param now   age counts from the newest message of a channel; or from now, if
 *              a wrong clock has dated that message into the future
 * @param more  set to whether another step is due now
 * @return COMET_EINVALID: a trigger that others have made kept the messages of a
 *         channel; this step has dealt with the other channels
 */
apr_status_t comet_store_prune(comet_store_t *store, apr_time_t now, int *more);

/**
 * One small step of the upkeep besides retention: old keys are removed, and the
 * index of words is filled with older messages, or removed.
 * The caller holds the write lock.
 * @param more  set to whether another step is due now
 */
apr_status_t comet_store_tidy(comet_store_t *store, int *more);

/** Whether programs outside the server leave their messages to be numbered by
 * comet_store_take_in(). */
int comet_store_has_inbox(const comet_store_t *store);

/**
 * Number and publish messages that programs outside the server have left in the
 * store's inbox.  One child of a server does so, again and again.
 * @param count  set to how many were published
 * @param more   set to whether there are more
 */
apr_status_t comet_store_take_in(comet_store_t *store, apr_size_t *count,
                                 int *more);

/**
 * Whether programs outside this server have the store open, which may wait to
 * write.  Where that cannot be told, it is assumed.  The call takes about 0.1
 * ms.  The caller holds the write lock of the bus.
 */
int comet_store_has_guests(const comet_store_t *store);

/** Whether comet_store_checkpoint() would do anything. */
int comet_store_checkpoint_due(const comet_store_t *store);

/**
 * Move commits from where the engine appends them to where it keeps them, if
 * there are enough to be worth it.  The caller holds the write lock.
 */
apr_status_t comet_store_checkpoint(comet_store_t *store);

#endif /* COMET_STORE_H */
