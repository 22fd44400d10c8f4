/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/quota.h
 * Limits per client across all children of a server: how many requests of one
 * address or user may wait, and how fast that client may publish.  The state is
 * a table of fixed size in shared memory.
 *
 * A waiting request holds a ticket for each limit that it counts against.  A
 * ticket names the child that issued it, so the tickets of a killed child can
 * be taken back.  A publishing rate needs a single time for each key
 * (base/rate.h).
 *
 * If the table is full, nobody is refused: a limit must not cause an outage.
 * All calls take one lock, usually for less than a microsecond.  While the
 * lock's holder is stopped (SIGSTOP, a debugger), requests are not counted, and
 * about once a second a call waits 100 ms for the lock.
 */
#ifndef COMET_QUOTA_H
#define COMET_QUOTA_H

#include <stddef.h> /* must precede APR, which uses its offsetof */

#include "base/message.h"

typedef struct comet_quota_t comet_quota_t;

/** The most limits that apply to one request. */
#define COMET_QUOTA_MOST 2
/** The smallest burst: a silent client may publish this many messages at once,
 * or `amount` messages if that is more. */
#define COMET_QUOTA_BURST 10

/** One limit, for one client. */
typedef struct comet_quota_limit_t {
    apr_uint64_t key; /* from comet_quota_key() */
    apr_int64_t amount; /* the most requests that may wait, or the most messages
                         * in the time `per` */
    apr_interval_time_t per; /* used only for publishing */
} comet_quota_limit_t;

/** The tickets that one waiting request holds. */
typedef struct comet_quota_place_t {
    apr_uint32_t tickets[COMET_QUOTA_MOST];
    apr_size_t count;
} comet_quota_place_t;

/**
 * Map the shared memory.  Called in the parent.  Like the memory of the
 * metrics, it outlives graceful restarts and is never unmapped.
 * @param children  the largest number of children that can live at once,
 *                  including those of old generations
 * @param entries  how many keys fit; a power of two.  There are twice as many
 *                 tickets
 */
apr_status_t comet_quota_create(comet_quota_t **quota, int children,
                                apr_uint32_t entries);

/** Get the sum of the sizes of the structs in that memory. */
apr_size_t comet_quota_layout(void);

/**
 * Register this child.  Called in child_init by the thread that lives as long
 * as the process: its death tells the other children that the child has ended.
 * @return the child's number; -1: all numbers are taken, and this child's
 *         clients are not counted
 */
int comet_quota_attach(comet_quota_t *quota);

/**
 * The key of one client under one limit.  Keys depend on a secret of the table,
 * so nobody can choose an address or a name that shares another client's key.
 * @param scope  comet_quota_scope() of the place in the configuration that sets
 *               the limit
 * @param kind  a letter for what is limited (waiting or publishing) and by what
 *              (address or user)
 */
apr_uint64_t comet_quota_key(const comet_quota_t *quota, apr_uint64_t scope,
                             char kind, comet_text_t client);

/** Hash a text.  The result is the same in every process. */
apr_uint64_t comet_quota_scope(comet_text_t text);

/**
 * The part of an address that identifies a client: a whole IPv4 address (also
 * one written as an IPv6 address), or the first 64 bits of an IPv6 address.
 * @param buffer  room for the result
 * @return the bytes; the text itself if it is not an address
 */
comet_text_t comet_quota_address(const char *address, unsigned char buffer[8]);

/**
 * Let a request wait if no limit is reached.
 * @param claims  the limits that apply; at most COMET_QUOTA_MOST
 * @param now  by comet_monotonic()
 * @param place  to be given to comet_quota_leave(), whatever is returned
 * @param reached  set to the index of the limit that is reached; may be NULL
 * @return APR_SUCCESS; APR_EAGAIN: a limit is reached; APR_ENOSPC: the request
 *         may wait, but does not count against every limit
 */
apr_status_t comet_quota_enter(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_time_t now,
                               comet_quota_place_t *place, apr_size_t *reached);

/** End the wait of a request, and empty its place.  Any thread.  The call is
 * also allowed in a signal handler that has interrupted one of these
 * functions. */
void comet_quota_leave(comet_quota_t *quota, comet_quota_place_t *place);

/**
 * Let a client publish if no rate is exceeded.  A batch is accepted if a single
 * message would be, and then all of its messages count.
 * @param messages  how many messages the client publishes
 * @param now  by comet_monotonic()
 * @param wait  on APR_EAGAIN: how long until the client may try again
 * @return as comet_quota_enter()
 */
apr_status_t comet_quota_spend(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_size_t messages,
                               apr_time_t now, apr_interval_time_t *wait,
                               apr_size_t *reached);

/** How many requests wait under a key.  For tests. */
apr_int64_t comet_quota_waiting(comet_quota_t *quota, apr_uint64_t key);

#endif /* COMET_QUOTA_H */
