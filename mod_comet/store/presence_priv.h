/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/presence_priv.h
 * Inside presence: its table of members.  presence.c changes the table when
 * clients come and go; lease.c, in the writer's thread, writes it to the store.
 *
 * An entry is `dirty` while the store may differ from the entry's wanted
 * values.  An entry is freed when it is not dirty, not stored, and has no
 * client.
 */
#ifndef COMET_PRESENCE_PRIV_H
#define COMET_PRESENCE_PRIV_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/wheel.h"
#include "store/presence.h"

/** How many changes one transaction makes. */
#define COMET_PRESENCE_CHANGES 500

/** How many allowances there are for entering channels.  Clients whose hashes
 * collide share one. */
#define COMET_PRESENCE_CLIENTS 16384

typedef struct comet_sitting_t comet_sitting_t;

/** A member in a channel, or all of the channel's clients without a name. */
typedef struct comet_entry_t comet_entry_t;
struct comet_entry_t {
    comet_entry_t *next; /* in its bucket */
    TAILQ_ENTRY(comet_entry_t) link; /* in the list of dirty entries */
    LIST_HEAD(, comet_sitting_t) sitting;
    comet_timer_t grace; /* runs after clients have left; until it fires,
                          * ->wanted is not lowered */
    apr_int64_t clients; /* how many clients wait now */
    apr_int64_t wanted; /* what the store should have: for a member 1 or 0; for
                         * clients without a name, how many they are */
    apr_int64_t stored; /* what the store has */
    comet_timestamp_t read_at; /* how far the member has read; 0: unknown */
    comet_timestamp_t read_stored;
    int dirty;
    int in_flight; /* the writer's thread is writing the entry */
    unsigned seen; /* the number of the last comparison in which the store had
                    * the entry's row */
    apr_int64_t most;
    apr_time_t since;
    apr_uint32_t hash;
    comet_text_t channel, member, info; /* in the entry's block of memory */
};

/** A client in one of its rooms. */
struct comet_sitting_t {
    LIST_ENTRY(comet_sitting_t) link;
    comet_entry_t *entry; /* NULL: its member was thrown out */
    comet_seat_t *seat;
};

struct comet_seat_t {
    atomic_int revoked; /* [atomic] */
    comet_presence_t *presence;
    apr_size_t count;
    comet_sitting_t sitting[];
};

/** Another child's lease, as this child has seen it. */
typedef struct comet_lease_t {
    apr_int64_t holder;
    apr_int64_t beat;
    apr_interval_time_t patience;
    apr_time_t since; /* when its beat was last seen to change */
    unsigned seen; /* the number of the last look that found the lease */
} comet_lease_t;

struct comet_presence_t {
    comet_presence_config_t config;
    apr_interval_time_t grace;
    pthread_mutex_t lock;
    comet_entry_t **buckets; /* [lock] */
    apr_size_t size, count; /* [lock] the numbers of buckets and of entries */
    TAILQ_HEAD(, comet_entry_t) dirty; /* [lock] */
    comet_wheel_t wheel; /* [lock] the timers of grace periods */
    apr_time_t *due; /* [lock] the allowances for entering channels
                      * (base/rate.h), by the hash of the client; by
                      * comet_monotonic() */
    int hurried; /* [lock] a member is dirty, and the writer's thread was woken
                  * for that reason */
    atomic_int noticed; /* [atomic] members may have been thrown out: compare
                         * the rows soon */
    /* the rest: [writer's thread] */
    comet_holder_t holder; /* ->id 0: this child has no lease */
    int is_new; /* the store does not have the holder yet */
    char host[256];
    apr_time_t write_at; /* changes are not written before this time */
    apr_time_t numbers_at; /* the same for the numbers of clients without a
                            * name, and for marks */
    apr_time_t renew_at, look_at, compare_at, publish_at;
    apr_time_t looked_at; /* when the leases were last read; 0: never */
    int publishing; /* the last publication left some numbers, which must be
                     * published at once */
    apr_time_t notice_at; /* a notice makes the thread compare the rows, but not
                           * before this time */
    apr_time_t step_at; /* after a failure: no step before this time */
    comet_lease_t *leases;
    apr_size_t lease_count, lease_room;
    unsigned round;
    comet_entry_t *flight[COMET_PRESENCE_CHANGES];
    comet_online_change_t changes[COMET_PRESENCE_CHANGES];
};

/* The caller of the functions below holds the lock. */

/** Find an entry.
 * @param make  whether to make the entry if there is none
 * @return NULL: there is none, or no memory */
comet_entry_t *comet_presence_find_locked(comet_presence_t *presence,
                                          comet_text_t channel,
                                          comet_text_t member,
                                          comet_text_t info, int make);

/** Note whether an entry differs from the store, and free it if it is no longer
 * needed. */
void comet_presence_touch_locked(comet_presence_t *presence,
                                 comet_entry_t *entry);

/** Remove an entry and revoke the seats of its clients. */
void comet_presence_throw_out_locked(comet_presence_t *presence,
                                     comet_entry_t *entry);

#endif /* COMET_PRESENCE_PRIV_H */
