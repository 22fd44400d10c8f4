/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/store.h
 * The message log.  Only the log is authoritative: everything else caches it,
 * or is a hint.
 *
 * A connection belongs to one thread at a time and is opened after fork.
 * Readers never wait for writers, and hold no transaction while anything is
 * sent to a client.  The callers serialise the writers (comet_bus_lock()).
 *
 * Every call that fails returns one of: COMET_ENOTDB, COMET_EMOVED,
 * COMET_EALIASED (only calls that write), COMET_EUNSURE, COMET_ELOCKED,
 * COMET_EREADONLY, APR_ENOSPC, APR_ENOMEM, EMFILE or ENFILE (no descriptor is
 * left for now), APR_TIMEUP (no answer in time), APR_EACCES (the database
 * server refuses this user), or APR_EGENERAL for anything else.
 * comet_store_error() returns the engine's own error text.
 */
#ifndef COMET_STORE_H
#define COMET_STORE_H

#include <stddef.h> /* must precede APR, which looks for offsetof */

#include <apr_pools.h>

#include "base/allowance.h"
#include "base/selection.h"

typedef struct comet_engine_t comet_engine_t; /* store/engine.h */

/** Where a store is. */
typedef struct comet_place_t {
    const comet_engine_t *engine;
    const char *name; /* for logs, errors and the status page; contains no
                       * secrets */
    const char *key; /* equal for two places of the same store */
    const void *own; /* the engine's data of this place */
    const char *named; /* the path that CometStore gives, with its symbolic
                        * links; NULL: the engine has no files */
} comet_place_t;

typedef struct comet_store_config_t {
    comet_place_t place;
    int sync_full; /* CometSync full: fdatasync before a commit is
                    * acknowledged */
    apr_interval_time_t busy_timeout; /* how long a writer waits while another
                                       * program holds the lock */
    apr_int64_t retain_count; /* messages kept per channel; 0: all */
    apr_interval_time_t retain_age; /* messages up to this age are kept; 0:
                                     * all */
    int search; /* CometSearch: an index of words is kept */
    int deletions; /* CometDeletions: clients are told when a message is
                    * deleted */
    /** CometPresenceGrace; 0: CometPresence is not used. */
    apr_interval_time_t presence_grace;
    /** CometPresenceMemory: how long a member is remembered after leaving. */
    apr_interval_time_t presence_memory;
} comet_store_config_t;

typedef struct comet_store_t comet_store_t; /* one connection */

typedef enum {
    COMET_STORE_READ,
    COMET_STORE_READ_AT_ONCE, /* for the hub's thread: waits for a lock for at
                               * most 5 ms */
    COMET_STORE_WRITE
} comet_store_mode_e;

/** The state of the log: at least one value changes whenever the log does. */
typedef struct comet_store_state_t {
    comet_timestamp_t last; /* the highest timestamp that was ever assigned */
    apr_int64_t erased; /* grows with every message removed */
} comet_store_state_t;

/**
 * Called for each message read, oldest first.
 * @param message  the callee owns the reference
 * @return 0 to stop reading
 */
typedef int comet_store_cb(void *baton, comet_message_t *message);

/**
 * Open a connection.  WRITE creates the store if it does not exist, and brings
 * its schema up to date; for READ, a writer must have done so before.  A file
 * that belongs to another program is never changed.  For WRITE the caller holds
 * the write lock.
 * @param store    set to the connection, owned by the caller; NULL on failure
 *                 (then comet_store_error(NULL) returns the error text)
 * @param config   must outlive the connection
 * @param stopping [atomic] when non-zero, waiting for a lock ends at once;
 *                 may be NULL
 * @return a status as above; for READ also APR_ENOENT: no writer has created
 *         the store yet
 */
apr_status_t comet_store_open(comet_store_t **store,
                              const comet_store_config_t *config,
                              comet_store_mode_e mode,
                              const atomic_int *stopping);

/**
 * Whether a status is a failure of the store.  A fault of the request is not a
 * failure of the store, nor is a store that does not exist yet.  Any thread.
 */
int comet_store_is_at_fault(apr_status_t status);

/**
 * Let comet_store_close() leave the log as it is.  Otherwise the last connection
 * to a store copies the log into the file, and that waits for the disk.  The
 * next program that opens the store continues with the log.
 */
void comet_store_keep_log(comet_store_t *store);

/** Close; NULL is ignored.  For WRITE the caller holds the write lock, unless
 * it has called comet_store_keep_log() and the store is still usable. */
void comet_store_close(comet_store_t *store);

/**
 * Get the engine's error text for the last failure, valid until the next call.
 * @param store  NULL: the text is about the last comet_store_open() that failed
 *               in this thread
 */
const char *comet_store_error(const comet_store_t *store);

/** The `within` of comet_store_is_usable() for a connection that is in constant
 * use. */
#define COMET_STORE_LATELY APR_INT64_C(5000)

/**
 * Whether the connection is still the right one for the store at its place.  If
 * the store was moved or replaced, or was read-only on opening and is writable
 * now, the answer is no: close the connection and open another.
 * @param within  microseconds; an earlier answer that is at most this old is
 *                returned again, without a system call.  0: check now
 */
int comet_store_is_usable(comet_store_t *store, apr_interval_time_t within);

/** Whether a connection may stay open while nobody uses it.  A connection to a
 * store that was read-only on opening may not: while it is open, this process
 * cannot open a connection that can write. */
int comet_store_may_idle(const comet_store_t *store);

/** A fingerprint of the log's latest commit.  Only the engine knows what the
 * words mean. */
#define COMET_TALLY_WORDS 12
typedef struct comet_tally_t {
    apr_uint32_t words[COMET_TALLY_WORDS];
} comet_tally_t;

/**
 * Get the current tally, without a system call.  A commit, in any process,
 * changes the tally before it returns.
 * @param tally  OUT
 * @return 0: the tally is not known; read the store instead
 */
int comet_store_tally(comet_store_t *store, comet_tally_t *tally);

/** What reading may cost. */
typedef struct comet_budget_t {
    /** The CPU time; several readings may share one allowance.  The allowance
     * must live until the next call of comet_store_limit().  Because the disk
     * or the machine may be busy, a reading may take five times as much real
     * time.  NULL: no limit. */
    comet_allowance_t *cpu;
    /** Says whether the client is gone; NULL: the client is assumed to be
     * there. */
    int (*is_gone)(void *baton);
    void *baton;
    apr_interval_time_t look_every; /* how often is_gone() is asked */
    /** How long one comet_store_read() may take.  After that the read ends
     * early, without an error.  0: no such limit. */
    apr_interval_time_t part;
    /** Set by a comet_store_read() that ends early, to the timestamp up to
     * which it has read everything.  Otherwise unchanged. */
    comet_timestamp_t *until;
} comet_budget_t;

/**
 * Limit the cost of all reading from now on.  A read that exceeds the limit
 * fails with COMET_ECOSTLY; if the client is gone, it fails with COMET_EGONE.
 * The messages that it has already handed over are correct.  Call this function
 * on the connection's thread, which also calls is_gone().
 * @param budget  copied; its baton must live until the next call of this
 *                function.  NULL: no limit
 */
void comet_store_limit(comet_store_t *store, const comet_budget_t *budget);

/**
 * Get the state of the log without a view, and without a system call.
 * @param state  OUT, unless the function returns 0
 * @return whether @a state was set.  0: somebody has committed since this
 *         connection's last view, or the engine cannot tell
 */
int comet_store_glance(comet_store_t *store, comet_store_state_t *state);

/**
 * Begin a consistent view of the log.  End it before anything is sent to a
 * client.  After a failure no view is open.
 */
apr_status_t comet_store_begin(comet_store_t *store,
                               comet_store_state_t *state);
void comet_store_end(comet_store_t *store);

/** Read the state of the log, without a view. */
apr_status_t comet_store_state(comet_store_t *store,
                               comet_store_state_t *state);

/**
 * Find where a replay of @a count messages starts.
 * @param cursor  set to the timestamp just before the first of them; 0 if the
 *                selection has no more than @a count messages
 * @param any     set to whether the selection has any messages
 */
apr_status_t comet_store_replay(comet_store_t *store,
                                const comet_selection_t *selection,
                                apr_int64_t count, comet_timestamp_t *cursor,
                                int *any);

/**
 * Find the floor of a selection: the highest timestamp among the messages that
 * retention has removed from the selection's channels.
 * @param floor  OUT; 0: retention has removed nothing
 */
apr_status_t comet_store_floor(comet_store_t *store,
                               const comet_selection_t *selection,
                               comet_timestamp_t *floor);

/** Read at most @a limit of a selection's messages after a cursor, in the order
 * of their timestamps.  A prefix stands for all channels whose names begin with
 * it. */
apr_status_t comet_store_read(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, apr_size_t limit,
                              comet_store_cb *callback, void *baton);

/**
 * Read a page: the newest of a selection's messages whose timestamps lie
 * between @a after and @a before, both exclusive.  A page has at most @a limit
 * messages, and at most COMET_LIMIT_MAX.  Their bodies take less than
 * COMET_BATCH_BYTES, so that they fit into a batch; but if there are messages,
 * the page has at least one, however long its body is.  Only an empty page
 * means the end of the history; a short page does not.
 * @param before    COMET_TIMESTAMP_MAX: start with the newest message
 * @param callback  called with the oldest message of the page first
 */
apr_status_t comet_store_page(comet_store_t *store,
                              const comet_selection_t *selection,
                              comet_timestamp_t after, comet_timestamp_t before,
                              apr_size_t limit, comet_store_cb *callback,
                              void *baton);

/** How many words a search may have.  They are counted as the index counts
 * them: "foo-bar" is two words, and a repeated word counts once. */
#define COMET_WORDS_MAX 16

/**
 * Read a page, as comet_store_page() does, of the messages that contain all the
 * words.  Case, order and diacritics do not matter.
 *
 * If the budget (comet_store_limit()) runs out, a search does not fail: it
 * hands over what it has found and says where the next search continues.  A
 * search reads the newest messages of the selection first, so it makes progress
 * however frequent the words are.  It keeps no view of the log open for longer
 * than half of the budget's CPU time.  A log that has grown long can shrink
 * only when readers close their views; then a search keeps each view open only
 * for a moment.  The caller must have no view open.
 * @param words  separated by spaces and matched literally; a trailing star
 *               matches any word with that prefix ("deplo*")
 * @param rest   set to where the next search continues: this search may not have
 *               looked at messages before it.  It is the timestamp of one of the
 *               selection's messages; if the search has come to none of them, it
 *               is a round time behind the messages that it has passed.  0: the
 *               page is complete
 * @return COMET_ENOSEARCH: the store keeps no index; APR_ENOENT: the index does
 *         not exist yet; COMET_EINVALID: there is no word, or there are more
 *         than COMET_WORDS_MAX; COMET_ECOSTLY: the budget ran out before the
 *         search had passed any message; COMET_EGONE
 */
apr_status_t comet_store_search(comet_store_t *store,
                                const comet_selection_t *selection,
                                comet_text_t words, comet_timestamp_t after,
                                comet_timestamp_t before, apr_size_t limit,
                                comet_store_cb *callback, void *baton,
                                comet_timestamp_t *rest);

/**
 * Called for each channel.  The name is valid during the call.
 * @return 0 to stop
 */
typedef int comet_store_channel_cb(void *baton, comet_text_t name);

/**
 * List the channels that have messages and whose names begin with a prefix, in
 * the order of the names' bytes.  Sibling channels (base/name.h) are left out.
 * @param prefix  "" for all
 */
apr_status_t comet_store_channels(comet_store_t *store, comet_text_t prefix,
                                  apr_size_t limit,
                                  comet_store_channel_cb *callback,
                                  void *baton);

/** A rule: how much the channels that match a pattern keep, instead of what
 * CometRetain says (the table channel_retention). */
typedef struct comet_rule_t {
    /** A channel's name, or a prefix and a star; data NULL: no rule. */
    comet_text_t pattern;
    apr_int64_t keep_count; /* the messages kept in each channel; 0: no limit */
    apr_int64_t keep_age_sec; /* messages up to this age are kept, in seconds;
                               * 0: no limit */
    int is_removed; /* remove the rule of this pattern, instead of setting it */
} comet_rule_t;

/** The highest number of messages that a rule keeps. */
#define COMET_RULE_COUNT_MAX APR_INT32_MAX

/** The most rules that moderators may set.  There is a limit because upkeep
 * compares each channel with all rules. */
#define COMET_RULES_MOST 1000

/** Called for each rule.  The rule's text is valid during the call.
 * @return 0 to stop */
typedef int comet_store_rule_cb(void *baton, const comet_rule_t *rule);

/**
 * List the rules of single channels (comet_rule_t) whose patterns begin with a
 * prefix, in the order of the patterns' bytes.
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
 * Find the cursor after which all channels together have at most @a count
 * messages.  A ring of recent messages is filled from there.
 */
apr_status_t comet_store_recent(comet_store_t *store, apr_size_t count,
                                comet_timestamp_t *cursor);

/**
 * Find the newest message before a timestamp to which its publisher gave this
 * id (comet_update_t.event).
 * @param timestamp  set to its timestamp; 0: there is none
 */
apr_status_t comet_store_find_event(comet_store_t *store, comet_text_t event,
                                    comet_timestamp_t before,
                                    comet_timestamp_t *timestamp);

/** Find out whether there is a message with this timestamp.
 * @param has  OUT: 1 or 0 */
apr_status_t comet_store_has(comet_store_t *store, comet_timestamp_t timestamp,
                             apr_int64_t *has);

/**
 * Find out, with one query, which messages the log of a remote store has that
 * memory does not have.
 * @param known    the state of the log as memory knows it
 * @param newest   the timestamp of a message that memory has and that does not
 *                 expire, by which a replaced log is recognised; 0: there is
 *                 none
 * @param limit    how many messages to read at most
 * @param awaits_commit  if there is no such message, first wait a few
 *                 milliseconds for the end of a commit that is under way
 * @param state    OUT: the state of the log.  If @a callback stopped the
 *                 reading, or was called @a limit times, there may be further
 *                 messages up to this state
 * @param goes_on  OUT: whether the log has only grown since @a known.  If not,
 *                 no message was read
 */
apr_status_t comet_store_news(comet_store_t *store,
                              const comet_store_state_t *known,
                              comet_timestamp_t newest, apr_size_t limit,
                              int awaits_commit, comet_store_cb *callback,
                              void *baton, comet_store_state_t *state,
                              int *goes_on);

/** The sizes of a store.  A field is -1 if the engine cannot tell. */
typedef struct comet_store_sizes_t {
    apr_int64_t database_bytes; /* including the free space that deleted
                                 * messages have left */
    apr_int64_t log_bytes; /* commits that are not yet moved into the
                            * database */
    apr_int64_t channels; /* how many channels have messages, or had some */
} comet_store_sizes_t;

/** Find the sizes of a store. */
apr_status_t comet_store_sizes(comet_store_t *store,
                               comet_store_sizes_t *sizes);

/**
 * Wait for the engine's own write lock, which another program may be holding.
 * Call this before choosing which groups to append: a group that was not chosen
 * is certainly not stored.  comet_store_append() releases the lock.  The caller
 * holds the write lock of the bus.
 * @param wait  how long to wait; then COMET_ELOCKED is returned
 */
apr_status_t comet_store_reserve(comet_store_t *store,
                                 apr_interval_time_t wait);

/** The length of the hash of a group (SHA-1), in bytes. */
#define COMET_HASH_BYTES 20

/** The Idempotency-Key of a group, and what it applies to.  A publisher that
 * does not know the outcome repeats the request with the same key, and the
 * messages are stored once. */
typedef struct comet_store_key_t {
    comet_text_t text; /* the header's value; data NULL: none */
    comet_text_t channel; /* the channel published to */
    comet_text_t author; /* data NULL: anonymous */
    unsigned char hash[COMET_HASH_BYTES]; /* comet_store_hash() */
} comet_store_key_t;

/** What a moderator removes from a channel: a message, or a member. */
typedef struct comet_removal_t {
    comet_text_t channel; /* data NULL: nothing is removed */
    comet_timestamp_t timestamp; /* of the message to remove; the messages that
                                  * edited it are removed, too */
    comet_text_t member; /* the member to throw out; data NULL: a message is
                          * removed */
} comet_removal_t;

/** Messages that are published together: all of them are stored, or none. */
typedef struct comet_store_group_t {
    comet_message_t **messages; /* their timestamps are set when they are
                                 * stored */
    apr_size_t count;
    comet_store_key_t key;
    comet_removal_t removal; /* only in a group without messages */
    comet_rule_t rule; /* to set or to remove; only in a group without
                        * messages */
    /** APR_SUCCESS.  APR_NOTFOUND: what the group removes does not exist.
     * COMET_EFULL: there are COMET_RULES_MOST other rules.  COMET_EREPEATED:
     * the group was stored before under this key, and the messages have the
     * timestamps that they were given then.  COMET_EMISMATCH: another group was
     * stored under this key.  COMET_EINVALID: a message was refused. */
    apr_status_t result;
} comet_store_group_t;

/** Set the hash of a group's key, from the messages' channels, types and
 * bodies. */
void comet_store_hash(comet_store_group_t *group);

/**
 * Append in one transaction: number the messages, insert them, commit.  If
 * comet_store_reserve() was not called before, this call waits for the engine's
 * lock, for at most busy_timeout.  The caller holds the write lock, and nobody
 * else uses the messages until the call returns.  After a failure nothing was
 * stored; after COMET_ELOCKED the same groups may be appended again.
 * COMET_EUNSURE is the exception: the outcome is unknown, and the connection
 * must be reopened.  The messages of a group are given consecutive timestamps.
 * @param groups  the result of each is set
 */
apr_status_t comet_store_append(comet_store_t *store,
                                comet_store_group_t *const *groups,
                                apr_size_t count);

/**
 * Do one small step of retention: remove at most 1,000 messages that
 * CometRetain or the store's rules for single channels no longer keep.  A round
 * of steps covers the channels that received messages since the last complete
 * round of this connection.  The caller holds the write lock.
 * @param now   age counts back from the newest message of a channel, or from
 *              now if a wrong clock has dated that message in the future
 * @param more  set to whether another step is due now
 * @return COMET_EINVALID: a foreign trigger has prevented the removal of a
 *         channel's messages (all of them, with RAISE(IGNORE)); the step has
 *         processed the other channels
 */
apr_status_t comet_store_prune(comet_store_t *store, apr_time_t now, int *more);

/**
 * Do one small step of the other upkeep: remove old Idempotency-Keys, and
 * either add older messages to the index of words or remove that index.  The
 * caller holds the write lock.
 * @param more  set to whether another step is due now
 * @return COMET_EINVALID: a foreign trigger has prevented a removal; the step
 *         has done everything else
 */
apr_status_t comet_store_tidy(comet_store_t *store, int *more);

/** Whether the store is reached over a network, so that its work costs another
 * machine's CPU time. */
int comet_store_is_remote(const comet_store_t *store);

/** Whether the store has an inbox, from which comet_store_take_in()
 * publishes. */
int comet_store_has_inbox(const comet_store_t *store);

/**
 * Number and publish messages that programs outside the server have left in the
 * store's inbox.  One child of a server calls this repeatedly.
 * @param count  set to how many were published
 * @param rest   set to how long to wait before the next call; 0: the inbox may
 *               have more
 */
apr_status_t comet_store_take_in(comet_store_t *store, apr_size_t *count,
                                 apr_interval_time_t *rest);

/**
 * Whether programs outside this server have the store open, and so may be
 * waiting to write.  If the engine cannot tell, the answer is yes.  The call
 * may take 15 ms, so it should be rare.  The caller holds the write lock of the
 * bus.
 */
int comet_store_has_guests(const comet_store_t *store);

/** Whether comet_store_checkpoint() would do anything.
 * @return 0: no; 1: yes; 2: yes, and the checkpoint should not be put off,
 *         since there is much to move */
int comet_store_checkpoint_due(const comet_store_t *store);

/**
 * Move commits from the log, to which the engine appends them, into the
 * database, if there are enough of them.  The caller holds the write lock.
 */
apr_status_t comet_store_checkpoint(comet_store_t *store);

/**
 * Do most of the work of the next comet_store_checkpoint(), including the wait
 * for the disk: copy what is committed so far, while others read and commit.
 * Any connection may call this; no lock is needed.
 * @param pages  OUT: how many pages were copied since the connection's last
 *               call
 * @return APR_SUCCESS, also if another process copies at the moment;
 *         COMET_EMOVED; or why it failed
 */
apr_status_t comet_store_copy(comet_store_t *store, int *pages);

#endif /* COMET_STORE_H */
