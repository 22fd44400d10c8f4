/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/online.h
 * Who is here, as the store keeps it: a row for each child, channel and member
 * (sql/presence.sql).  store/presence.h decides what is written.
 *
 * Errors are those of store/store.h.  For the functions that write, the caller
 * holds the write lock; each call is a transaction of its own.
 */
#ifndef COMET_ONLINE_H
#define COMET_ONLINE_H

#include "store/store.h"

/** What is appended to a channel's name: the sibling channel that tells of its
 * members. */
#define COMET_ONLINE_SUFFIX "/@online"
/** The longest name of a channel that has room for COMET_ONLINE_SUFFIX. */
#define COMET_ONLINE_CHANNEL_MAX_BYTES \
    (COMET_CHANNEL_MAX_BYTES - (int)sizeof(COMET_ONLINE_SUFFIX) + 1)
/** The longest JSON about a member. */
#define COMET_ONLINE_INFO_MAX_BYTES 2048

/** A child, which holds rows as long as its beat changes. */
typedef struct comet_holder_t {
    apr_int64_t id; /* random, above 0 */
    const char *host;
    int pid;
    apr_int64_t beat;
    apr_interval_time_t patience; /* the child counts as gone when its beat is
                                   * as old as this */
} comet_holder_t;

/** What changes in one channel of one holder. */
typedef struct comet_online_change_t {
    comet_text_t channel;
    apr_int64_t most; /* up to how many members each join and each leave is
                       * published (CometPresence's MAX); above it only their
                       * number */
    comet_text_t member; /* length 0: clients without a name */
    comet_text_t info; /* JSON about the member; data NULL: none */
    apr_time_t since; /* when the member came */
    /** How many clients without a name there are; or whether (1, 0) the member
     * is here. */
    apr_int64_t clients;
    comet_timestamp_t read_at; /* up to where the member has read; 0: it has
                                * not said so */
} comet_online_change_t;

/** Called with a holder.  @return 0 to stop */
typedef int comet_online_holder_cb(void *baton, const comet_holder_t *holder);

/** A member of a channel; the texts are valid during a call. */
typedef struct comet_online_member_t {
    comet_text_t channel;
    comet_text_t member;
    apr_time_t since;
    comet_text_t info; /* data NULL: none */
} comet_online_member_t;

/** Called with a member.  @return 0 to stop */
typedef int comet_online_member_cb(void *baton,
                                   const comet_online_member_t *member);

/** How many are in a channel. */
typedef struct comet_online_totals_t {
    apr_int64_t members; /* different ones */
    apr_int64_t most; /* as in comet_online_change_t */
    apr_int64_t anonymous; /* clients without a name */
} comet_online_totals_t;

/** The most rows or channels that one transaction handles.  Clients choose how
 * many there are, and publishers wait while it runs. */
#define COMET_ONLINE_SLICE 500
/** For how many channels the store remembers that a member was there, besides
 * those where the member is now. */
#define COMET_ONLINE_SEEN_MOST 10000

/** What an engine does for the functions below. */
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
 * @param is_new  whether the store gets it now
 * @return APR_NOTFOUND: the store does not have the holder, which another child
 *         took for dead, and nothing was changed
 */
apr_status_t comet_online_write(comet_store_t *store,
                                const comet_holder_t *holder, int is_new,
                                const comet_online_change_t *changes,
                                apr_size_t count);

/**
 * Remove some rows of a holder that has gone; the last call removes the holder,
 * too.  A member that no other child has a row for thereby leaves the channel.
 * @param more  set to whether there are more
 */
apr_status_t comet_online_sweep(comet_store_t *store, apr_int64_t holder,
                                int *more);

/** Publish the number of members of each channel where that number has changed.
 * @param count  set to how many channels there were; COMET_ONLINE_SLICE: there
 *               may be more */
apr_status_t comet_online_publish(comet_store_t *store, int *count);

/** List all holders. */
apr_status_t comet_online_holders(comet_store_t *store,
                                  comet_online_holder_cb *callback,
                                  void *baton);

/** List the members that a holder has rows of.  Their ->info is not set.
 * @return APR_NOTFOUND: the store does not have the holder */
apr_status_t comet_online_rows(comet_store_t *store, apr_int64_t holder,
                               comet_online_member_cb *callback, void *baton);

/**
 * List the members of a channel, in the order of their names' bytes.  Call it
 * within a view (comet_store_begin()).
 * @param after   only names after this one
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
 * @param limit  the count stops at this number
 * @param read_at  OUT: how far the member has read; 0: it has set no mark
 * @param count    OUT
 * @return as above
 */
apr_status_t comet_online_unread(comet_store_t *store, comet_text_t channel,
                                 comet_text_t member, apr_size_t limit,
                                 comet_timestamp_t *read_at,
                                 apr_int64_t *count);

#endif /* COMET_ONLINE_H */
