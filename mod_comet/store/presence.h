/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/presence.h
 * Presence: the clients that wait in this child, counted by channel and member.
 * The store has one row for each child, channel and member (store/online.h).
 * So the store is written to when a member joins or leaves, and not for each
 * connection or poll.
 *
 * Rules:
 * 1. the first client of a member adds the child's row.  When the last client
 *    has left, the row stays for the grace period, so that a member stays
 *    online while a client polls or reconnects.  If a client reconnects to
 *    another child, that child adds its row before this child deletes its own,
 *    so nobody sees the member leave;
 * 2. a child that ends deletes no row.  Its lease runs out, as if the child had
 *    been killed.  Other children notice, by their own monotonic clocks, that
 *    its beat no longer changes, and remove its rows;
 * 3. each write also checks that the child still has its lease.  A child that
 *    was declared dead takes a new lease, and writes its members again;
 * 4. if somebody else has deleted a row, its member was thrown out: the seats
 *    of the member's clients are revoked;
 * 5. by rule 1, a client that keeps reconnecting to the same channels causes no
 *    writes.  A client that keeps naming new channels may enter
 *    COMET_PRESENCE_BURST of them at once and then COMET_PRESENCE_RATE a
 *    second, in each child.  In further channels it does not count as online.
 *
 * Only the writer's thread reads and writes the store (store/writer.h).  The
 * presence's lock is a leaf, and is held only briefly.
 */
#ifndef COMET_PRESENCE_H
#define COMET_PRESENCE_H

#include <stdatomic.h>

#include "shared/bus.h"
#include "store/online.h"

typedef struct comet_presence_t comet_presence_t;

/** A channel that a client is in. */
typedef struct comet_room_t {
    comet_text_t channel;
    apr_int64_t most; /* with up to this many members, each join and each leave
                       * is published */
} comet_room_t;

/** How many new channels one client may enter at once, and how many a second
 * after that. */
#define COMET_PRESENCE_BURST 1000
#define COMET_PRESENCE_RATE 10

/** Who a client is. */
typedef struct comet_visitor_t {
    comet_text_t member; /* its user.  A name that is empty, is longer than
                          * COMET_AUTHOR_MAX_BYTES or contains a NUL counts as
                          * no name */
    comet_text_t info; /* JSON about the user; data NULL: none.  It is left out
                        * if it is too long or contains a NUL */
    comet_text_t address; /* for rule 5: identifies a client without a name */
} comet_visitor_t;

/** Records that a client is online.  A seat lives until
 * comet_presence_leave(). */
typedef struct comet_seat_t comet_seat_t;

typedef struct comet_presence_config_t {
    const comet_store_config_t *store; /* this and the bus outlive the
                                        * presence */
    comet_bus_t *bus;
    const atomic_int *stopping; /* [atomic] the child is ending */
    /** Called when there is something to write soon; wakes the writer's thread.
     * Any thread. */
    void (*wake)(void *baton);
    /** Called when a client may not enter a channel (rule 5); or NULL.  Any
     * thread; the callback must not take a lock. */
    void (*on_limit)(void *baton);
    void *baton;
} comet_presence_config_t;

/** @return NULL: there is no memory */
comet_presence_t *comet_presence_create(const comet_presence_config_t *config);

/** Free a presence.  Nobody may be using it any more.  NULL is ignored. */
void comet_presence_free(comet_presence_t *presence);

/**
 * Note that a client waits for messages.
 * @param rooms  copied.  Rooms whose names are too long, and rooms beyond the
 *               client's allowance (rule 5), are left out
 * @return NULL: there is no memory, or no room was entered
 * Any thread.
 */
comet_seat_t *comet_presence_enter(comet_presence_t *presence,
                                   const comet_room_t *rooms, apr_size_t count,
                                   const comet_visitor_t *visitor);

/** Note that the client no longer waits.  NULL is ignored.  Any thread.  While
 * the child ends, the call does nothing, so that a signal handler may make
 * it. */
void comet_presence_leave(comet_seat_t *seat);

/**
 * Note how far a member has read a channel.  The mark is written to the store
 * within a second, and published.  A mark that is older than the last one
 * changes nothing.
 * @param visitor  all fields must be set, since the member may begin to wait
 *                 before the mark is written
 * @return COMET_EINVALID: the member or the channel cannot be stored;
 *         COMET_EBUSY: the member has entered or marked too many channels (rule
 *         5); APR_ENOMEM.  Any thread.
 */
apr_status_t comet_presence_mark(comet_presence_t *presence,
                                 const comet_room_t *room,
                                 const comet_visitor_t *visitor,
                                 comet_timestamp_t read_at);

/** Get the flag that becomes non-zero when the client's member is thrown out.
 * The flag lives as long as the seat.
 * @return [atomic]; NULL if @a seat is NULL */
const atomic_int *comet_presence_revoked(const comet_seat_t *seat);

/** Whether a message says that a member was thrown out.  Any thread. */
int comet_presence_is_notice(const comet_message_t *message);

/** Make the writer's thread check soon whether members of this child were
 * thrown out.  Any thread; takes no lock. */
void comet_presence_notice(comet_presence_t *presence);

/* What follows is for the writer's thread. */

/** When to call comet_presence_step() next, by comet_monotonic(). */
apr_time_t comet_presence_due(comet_presence_t *presence);

/**
 * Write what has changed, renew the lease, and remove rows of other children
 * whose leases have run out.  The caller holds the write lock.
 * @param removed  set to whether members may have been thrown out; if so,
 *                 earlier decisions about what they may read no longer hold
 * @param changed  set to whether the store has changed
 */
apr_status_t comet_presence_step(comet_presence_t *presence,
                                 comet_store_t *store, int *removed,
                                 int *changed);

/** Call this when the child ends.  The child's rows stay for as long as its
 * clients need to reconnect.  The caller holds the write lock. */
apr_status_t comet_presence_end(comet_presence_t *presence,
                                comet_store_t *store);

#endif /* COMET_PRESENCE_H */
