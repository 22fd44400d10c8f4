/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/quota.h
 * How many clients of one address or user wait, and how much they publish,
 * over all children of a server: a table of fixed size in memory they share.
 *
 * A waiting client holds a ticket for each limit it counts against.  Tickets
 * name the child that gave them, so those of a killed child are taken back.
 * Publishing is measured by one time per key (GCRA, ITU-T I.371): when all
 * that was published would have been due at the allowed rate.
 *
 * Where the table is full nobody is refused: a limit must not become an
 * outage.  All calls hold one lock, for less than a microsecond as a rule.
 * While its holder is stopped (SIGSTOP, a debugger) nobody is counted, and a
 * call waits for the lock for 100 ms, once in a second.
 */
#ifndef COMET_QUOTA_H
#define COMET_QUOTA_H

#include <stddef.h> /* before APR looks for offsetof */

#include "base/message.h"

typedef struct comet_quota_t comet_quota_t;

/** The most limits that one request is up against. */
#define COMET_QUOTA_MOST 2
/** What may be published at once by who was silent: this or the rate. */
#define COMET_QUOTA_BURST 10

/** One limit, for one client. */
typedef struct comet_quota_limit_t {
    apr_uint64_t key; /* of comet_quota_key() */
    apr_int64_t amount; /* clients at a time; or messages … */
    apr_interval_time_t per; /* … in this time */
} comet_quota_limit_t;

/** What a waiting client holds. */
typedef struct comet_quota_place_t {
    apr_uint32_t tickets[COMET_QUOTA_MOST];
    apr_size_t count;
} comet_quota_place_t;

/**
 * Make the shared memory; called in the parent.  Like the counters' it is
 * never unmapped, and outlives graceful restarts.
 * @param children  the most that can live at once, old generations included
 * @param entries  how many keys fit; a power of two; twice as many tickets
 */
apr_status_t comet_quota_create(comet_quota_t **quota, int children,
                                apr_uint32_t entries);

/**
 * Take part.  Called in child_init, by the thread that lives as long as the
 * process: its death is what the others see.
 * @return the child's number, or -1: all are taken, its clients are uncounted
 */
int comet_quota_attach(comet_quota_t *quota);

/**
 * What identifies one client of one limit.  Keyed by a secret of the table,
 * so nobody can choose an address or a name that shares another's.
 * @param scope  which limit: comet_quota_scope() of where it is configured
 * @param kind  what is limited and by what, for instance 'a'
 */
apr_uint64_t comet_quota_key(const comet_quota_t *quota, apr_uint64_t scope,
                             char kind, comet_text_t client);

/** A number for a text, the same in every process. */
apr_uint64_t comet_quota_scope(comet_text_t text);

/**
 * The part of an address that is one client's: an IPv4 address (also where it
 * is written as an IPv6 one), the first 64 bits of an IPv6 address.
 * @param buffer  where the result may be kept
 * @return the bytes; of what is no address, the text itself
 */
comet_text_t comet_quota_address(const char *address, unsigned char buffer[8]);

/**
 * Begin to wait, if no limit is reached.
 * @param claims  at most COMET_QUOTA_MOST
 * @param now  of comet_monotonic()
 * @param place  to be given to comet_quota_leave(), whatever is returned
 * @param reached  which claim refused; may be NULL
 * @return APR_SUCCESS; APR_EAGAIN: a limit is reached; APR_ENOSPC: let in,
 *         but not counted everywhere
 */
apr_status_t comet_quota_enter(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_time_t now,
                               comet_quota_place_t *place, apr_size_t *reached);

/** The end of waiting.  A place that was left is empty.  Any thread; also in
 * a signal handler that has interrupted one of these functions. */
void comet_quota_leave(comet_quota_t *quota, comet_quota_place_t *place);

/**
 * Publish, if no rate is exceeded.  Many at once count as many, and are let
 * in when one would be.
 * @param messages  how many
 * @param now  of comet_monotonic()
 * @param wait  on APR_EAGAIN: after what time it would be let in
 * @return as comet_quota_enter()
 */
apr_status_t comet_quota_spend(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_size_t messages,
                               apr_time_t now, apr_interval_time_t *wait,
                               apr_size_t *reached);

/** How many wait under a key.  For tests. */
apr_int64_t comet_quota_waiting(comet_quota_t *quota, apr_uint64_t key);

#endif /* COMET_QUOTA_H */
