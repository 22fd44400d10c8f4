/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/online.h
 * Presence in the store: a row for each child, channel and member
 * (sql/presence.sql).  store/presence.h says which rows are written, and when.
 *
 * Errors are those of store/store.h.  The caller of a function that writes
 * holds the write lock.  Each such call is a transaction of its own.
 */
#ifndef COMET_ONLINE_H
#define COMET_ONLINE_H

#include "store/store.h"

/** Appended to a channel's name, this gives the name of the sibling channel to
 * which joins and leaves are published. */
#define COMET_ONLINE_SUFFIX "/@online"
/** The longest name of a channel to which COMET_ONLINE_SUFFIX can be
 * appended. */
#define COMET_ONLINE_CHANNEL_MAX_BYTES \
    (COMET_CHANNEL_MAX_BYTES - (int)sizeof(COMET_ONLINE_SUFFIX) + 1)
/** The longest JSON about a member. */
#define COMET_ONLINE_INFO_MAX_BYTES 2048

/** A child that has rows in the store.  Its rows are kept as long as its beat
 * changes. */
typedef struct comet_holder_t {
    apr_int64_t id; /* random, above 0 */
    const char *host;
    int pid;
    apr_int64_t beat;
    apr_interval_time_t patience; /* the child counts as gone if its beat has
                                   * not changed for this long */
} comet_holder_t;

/** A change of one row of a holder. */
typedef struct comet_online_change_t {
    comet_text_t channel;
    apr_int64_t most; /* CometPresence's MAX: with up to this many members, each
                       * join and each leave is published; with more, only the
                       * number of members is */
    comet_text_t member; /* length 0: the clients without a name */
    comet_text_t info; /* JSON about the member; data NULL: none */
    apr_time_t since; /* when the member joined */
    /** For clients without a name: how many there are.  For a member: 1 if it
     * is online, otherwise 0. */
    apr_int64_t clients;
    comet_timestamp_t read_at; /* how far the member has read; 0: unknown */
} comet_online_change_t;

/** Called for each holder.  @return 0 to stop */
typedef int comet_online_holder_cb(void *baton, const comet_holder_t *holder);

/** A member of a channel.  The texts are valid during the callback. */
typedef struct comet_online_member_t {
    comet_text_t channel;
    comet_text_t member;
    apr_time_t since;
    comet_text_t info; /* data NULL: none */
} comet_online_member_t;

/** Called for each member.  @return 0 to stop */
typedef int comet_online_member_cb(void *baton,
                                   const comet_online_member_t *member);

/** How many members and other clients are in a channel. */
typedef struct comet_online_totals_t {
    apr_int64_t members; /* each member counts once */
    apr_int64_t most; /* as in comet_online_change_t */
    apr_int64_t anonymous; /* clients without a name */
} comet_online_totals_t;

/** The most rows or channels that one transaction handles.  There must be a
 * limit, because publishers wait meanwhile and clients determine the number of
 * rows. */
#define COMET_ONLINE_SLICE 500
/** For how many channels the store remembers when a member left. */
#define COMET_ONLINE_SEEN_MOST 10000

/** An engine's implementation of the functions below. */
typedef struct comet_online_engine_t {
    apr_status_t (*write)(comet_store_t *store, const comet_holder_t *holder,
                          int is_new, const comet_online_change_t *changes,
                          apr_size_t count);
    apr_status_t (*sweep)(comet_store_t *store, apr_int64_t holder, int *more);
    apr_status_t (*publish)(comet_store_t *store, int *count);
    apr_status_t (*holders)(comet_store_t *store,
                            comet_online_holder_cb *callback, void *baton);
    apr_status_t (*rows)(comet_store_t *store, apr_int64_t holder,
                         comet_online_member_cb *callback, void *baton);
    apr_status_t (*list)(comet_store_t *store, comet_text_t channel,
                         comet_text_t after, apr_size_t limit,
                         comet_online_member_cb *callback, void *baton,
                         comet_online_totals_t *totals);
    apr_status_t (*unread)(comet_store_t *store, comet_text_t channel,
                           comet_text_t member, apr_size_t limit,
                           comet_timestamp_t *read_at, apr_int64_t *count);
} comet_online_engine_t;

/**
 * Raise a holder's beat, and make changes.  Joins and leaves are published.
 * @param holder  its ->beat is not used
 * @param is_new  whether this call adds the holder to the store
 * @return APR_NOTFOUND: nothing was changed, since the store does not have the
 *         holder any more: another child has declared this one dead
 */
apr_status_t comet_online_write(comet_store_t *store,
                                const comet_holder_t *holder, int is_new,
                                const comet_online_change_t *changes,
                                apr_size_t count);

/**
 * Remove some rows of a holder that is gone; the call that removes the last
 * rows removes the holder, too.  A member leaves the channel if no other child
 * has a row for it.
 * @param more  set to whether rows are left
 */
apr_status_t comet_online_sweep(comet_store_t *store, apr_int64_t holder,
                                int *more);

/** Publish the numbers of members and of other clients, for each channel in
 * which a number has changed.
 * @param count  set to the number of channels published to; COMET_ONLINE_SLICE:
 *               more channels may be left */
apr_status_t comet_online_publish(comet_store_t *store, int *count);

/** List all holders. */
apr_status_t comet_online_holders(comet_store_t *store,
                                  comet_online_holder_cb *callback,
                                  void *baton);

/** List the members for which a holder has rows.  ->info is not set.
 * @return APR_NOTFOUND: the store does not have the holder */
apr_status_t comet_online_rows(comet_store_t *store, apr_int64_t holder,
                               comet_online_member_cb *callback, void *baton);

/**
 * List the members of a channel, in the order of their names' bytes.  Call it
 * within a view (comet_store_begin()).
 * @param after   list only names after this one; length 0: all
 * @param totals  OUT
 * @return APR_ENOENT: the store is not ready yet
 */
apr_status_t comet_online_list(comet_store_t *store, comet_text_t channel,
                               comet_text_t after, apr_size_t limit,
                               comet_online_member_cb *callback, void *baton,
                               comet_online_totals_t *totals);

/**
 * Count the messages of a channel that a member has not read.  Call it within a
 * view.
 * @param limit    the count stops at this number
 * @param read_at  OUT: how far the member has read; 0: unknown
 * @param count    OUT
 * @return APR_ENOENT: the store is not ready yet
 */
apr_status_t comet_online_unread(comet_store_t *store, comet_text_t channel,
                                 comet_text_t member, apr_size_t limit,
                                 comet_timestamp_t *read_at,
                                 apr_int64_t *count);

#endif /* COMET_ONLINE_H */
