/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that hold across all children, in a table of shared memory.
 *
 * The tickets are the truth, and the counts in the entries follow from them.
 * After a child's death, inside or outside the lock, the counts are computed
 * again from the tickets of the living children.
 *
 * Invariants while the lock is free:
 * 1. an entry's `waiting` is the number of tickets that name it;
 * 2. an entry is free when no request waits under its key and everything
 *    published under it is due;
 * 3. an entry lies at most WINDOW places after the place its key hashes to;
 * 4. a child's `life` is locked for as long as the child lives.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shared/quota.h"

#include <apr_general.h>
#include <apr_siphash.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/rate.h"
#include "shared/memory.h"

/** How many places are searched for a key. */
#define WINDOW 16
#define NOBODY 0
#define NO_TICKET UINT32_MAX

typedef struct entry_t {
    apr_uint64_t key; /* [lock] */
    apr_time_t due; /* [lock] monotonic: when everything published so far is due
                     * (GCRA) */
    apr_int64_t waiting; /* [lock] */
} entry_t;

typedef struct ticket_t {
    apr_uint32_t owner; /* [lock] 1 + the child's number, or NOBODY */
    apr_uint32_t at; /* [lock] the index of the ticket's entry; if the ticket is
                      * free, of the next free ticket */
    atomic_int left; /* [atomic] the ticket was given back without the lock,
                      * which could not be taken */
} ticket_t;

typedef struct child_t {
    pthread_mutex_t life; /* robust; the child holds it until it ends */
    apr_uint32_t tickets; /* [lock] how many of its tickets are in use */
    int alive; /* [lock] used by recount_locked() only */
} child_t;

struct comet_quota_t {
    pthread_mutex_t lock; /* robust */
    unsigned char secret[APR_SIPHASH_KSIZE];
    apr_uint32_t entry_count; /* a power of two */
    apr_uint32_t ticket_count;
    apr_uint32_t used; /* [lock] tickets below this number were issued at least
                        * once */
    apr_uint32_t free; /* [lock] the first free ticket below `used`, or
                        * NO_TICKET */
    int child_count;
    atomic_int any_left; /* [atomic] a ticket might have `left` set */
    entry_t *entries;
    ticket_t *tickets;
    child_t children[];
};

static atomic_int own = -1; /* [atomic] this process's number */
static _Atomic apr_time_t stopped_until; /* [atomic] until when the lock's
                                          * holder counts as stopped */

/* --- making -------------------------------------------------------------- */

static int init_mutexes(comet_quota_t *quota)
{
    int i, failed = comet_memory_init_mutex(&quota->lock);

    for (i = 0; i < quota->child_count && !failed; i++) {
        failed = comet_memory_init_mutex(&quota->children[i].life);
    }
    return failed;
}

apr_size_t comet_quota_layout(void)
{
    return sizeof(comet_quota_t) + sizeof(entry_t) + sizeof(ticket_t)
           + sizeof(child_t);
}

apr_status_t comet_quota_create(comet_quota_t **quota, int children,
                                apr_uint32_t entries)
{
    /* Unused parts cost no memory: pages are allocated when they are
     * touched. */
    apr_size_t head =
        (sizeof(**quota) + (apr_size_t)children * sizeof(child_t) + 63) / 64
        * 64;
    apr_size_t size = head + entries * sizeof(entry_t)
                      + 2 * (apr_size_t)entries * sizeof(ticket_t);
    void *memory;
    apr_status_t status = comet_memory_map(&memory, size);

    *quota = memory;
    if (status != APR_SUCCESS) {
        return status;
    }
    (*quota)->entry_count = entries;
    (*quota)->ticket_count = 2 * entries;
    (*quota)->free = NO_TICKET;
    (*quota)->child_count = children;
    (*quota)->entries = (entry_t *)(void *)((char *)memory + head);
    (*quota)->tickets = (ticket_t *)(void *)((*quota)->entries + entries);
    status = init_mutexes(*quota);
    if (status == APR_SUCCESS) {
        status = apr_generate_random_bytes((*quota)->secret,
                                           sizeof((*quota)->secret));
    }
    if (status != APR_SUCCESS) {
        comet_memory_unmap(memory, size);
        *quota = NULL;
    }
    return status;
}

/* --- the living and the dead --------------------------------------------- */

static int is_alive_locked(child_t *child)
{
    if (comet_memory_is_locked(comet_memory_trylock(&child->life))) {
        pthread_mutex_unlock(&child->life);
        return 0;
    }
    return 1;
}

/* Recompute all counts from the tickets of living children, and free all other
 * tickets. */
static void recount_locked(comet_quota_t *quota)
{
    apr_uint32_t t;
    int i;

    for (t = 0; t < quota->entry_count; t++) {
        if (quota->entries[t].waiting) {
            quota->entries[t].waiting = 0;
        }
    }
    for (i = 0; i < quota->child_count; i++) {
        quota->children[i].alive = is_alive_locked(&quota->children[i]);
        quota->children[i].tickets = 0;
    }
    quota->free = NO_TICKET;
    for (t = 0; t < quota->used; t++) {
        ticket_t *ticket = &quota->tickets[t];

        if (ticket->owner != NOBODY && !atomic_load(&ticket->left)
            && quota->children[ticket->owner - 1].alive) {
            quota->children[ticket->owner - 1].tickets++;
            quota->entries[ticket->at].waiting++;
        }
        else {
            ticket->owner = NOBODY;
            atomic_store(&ticket->left, 0);
            ticket->at = quota->free;
            quota->free = t;
        }
    }
}

/* Take back the tickets of dead children.  @return whether there were any */
static int reap_locked(comet_quota_t *quota)
{
    int i;

    for (i = 0; i < quota->child_count; i++) {
        if (quota->children[i].tickets
            && !is_alive_locked(&quota->children[i])) {
            recount_locked(quota);
            return 1;
        }
    }
    return 0;
}

/* @return whether the table is locked.  It is not if this thread holds the lock
 * already, or if its holder is stopped */
static int lock(comet_quota_t *quota)
{
    int result = comet_memory_lock_briefly(&quota->lock, &stopped_until);

    if (result == EOWNERDEAD
        || (result == 0 && atomic_exchange(&quota->any_left, 0))) {
        recount_locked(quota);
    }
    return comet_memory_is_locked(result);
}

static void unlock(comet_quota_t *quota)
{
    pthread_mutex_unlock(&quota->lock);
}

/* Take the number of a child that has ended.  That child's tickets must have
 * been taken back first, or they would count as the new child's. */
static int take_place(child_t *child)
{
    int taken = comet_memory_is_locked(comet_memory_trylock(&child->life));

    if (taken && child->tickets) {
        pthread_mutex_unlock(&child->life);
        taken = 0;
    }
    return taken;
}

int comet_quota_attach(comet_quota_t *quota)
{
    int i, found = -1, locked = lock(quota);

    if (locked) {
        reap_locked(quota);
    }
    for (i = 0; i < quota->child_count && found < 0; i++) {
        if (take_place(&quota->children[i])) {
            found = i;
        }
    }
    if (locked) {
        unlock(quota);
    }
    atomic_store(&own, found);
    return found;
}

/* --- keys ---------------------------------------------------------------- */

apr_uint64_t comet_quota_key(const comet_quota_t *quota, apr_uint64_t scope,
                             char kind, comet_text_t client)
{
    struct {
        apr_uint64_t client, scope, kind;
    } whole;
    apr_uint64_t key;

    whole.client = apr_siphash24(client.data, client.length, quota->secret);
    whole.scope = scope;
    whole.kind = (unsigned char)kind;
    key = apr_siphash24(&whole, sizeof(whole), quota->secret);
    return key ? key : 1; /* 0 marks an entry that was never used */
}

apr_uint64_t comet_quota_scope(comet_text_t text)
{
    static const unsigned char no_secret[APR_SIPHASH_KSIZE];

    return apr_siphash24(text.data, text.length, no_secret);
}

comet_text_t comet_quota_address(const char *address, unsigned char buffer[8])
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    /* an IPv6 address may end with a zone such as %eth0 */
    apr_size_t length = strcspn(address, "%");

    if (length < sizeof(text)) {
        memcpy(text, address, length);
        text[length] = '\0';
        if (inet_pton(AF_INET, text, buffer) == 1) {
            return (comet_text_t){ (char *)buffer, 4 };
        }
        if (inet_pton(AF_INET6, text, bytes) == 1) {
            int is_ipv4 = memcmp(bytes, mapped, sizeof(mapped)) == 0;

            memcpy(buffer, is_ipv4 ? bytes + 12 : bytes, is_ipv4 ? 4 : 8);
            return (comet_text_t){ (char *)buffer, is_ipv4 ? 4 : 8 };
        }
    }
    return comet_text(address);
}

/* --- entries ------------------------------------------------------------- */

/*
 * Find the entry of a key.  If the key has none, take a free one.
 * @param except  an entry that must not be taken; may be NULL
 * @return NULL: there is no room
 */
static entry_t *find_locked(comet_quota_t *quota, apr_uint64_t key,
                            apr_time_t now, const entry_t *except)
{
    entry_t *found = NULL;
    apr_uint32_t i;

    for (i = 0; i < WINDOW && i < quota->entry_count; i++) {
        apr_uint64_t place = (key + i) & (quota->entry_count - 1);
        entry_t *entry = &quota->entries[place];

        if (entry->key == key) {
            return entry;
        }
        if (!found && entry != except && !entry->waiting && entry->due <= now) {
            found = entry;
        }
    }
    if (found) {
        found->key = key;
        found->due = 0;
    }
    return found;
}

/* Issue a ticket for an entry.  @return NO_TICKET: there is no room */
static apr_uint32_t give_ticket_locked(comet_quota_t *quota, entry_t *entry)
{
    int giver = atomic_load(&own);
    apr_uint32_t number = quota->free;

    if (giver < 0
        || (number == NO_TICKET && quota->used == quota->ticket_count)) {
        return NO_TICKET;
    }
    if (number != NO_TICKET) {
        quota->free = quota->tickets[number].at;
    }
    else {
        number = quota->used++;
    }
    quota->tickets[number].at = (apr_uint32_t)(entry - quota->entries);
    quota->tickets[number].owner = (apr_uint32_t)giver + 1;
    quota->children[giver].tickets++;
    entry->waiting++;
    return number;
}

static void take_ticket_locked(comet_quota_t *quota, apr_uint32_t number)
{
    ticket_t *ticket = &quota->tickets[number];

    quota->entries[ticket->at].waiting--;
    quota->children[ticket->owner - 1].tickets--;
    ticket->owner = NOBODY;
    ticket->at = quota->free;
    quota->free = number;
}

static void leave_locked(comet_quota_t *quota, comet_quota_place_t *place)
{
    while (place->count) {
        take_ticket_locked(quota, place->tickets[--place->count]);
    }
}

/* --- waiting ------------------------------------------------------------- */

static int is_reached_locked(comet_quota_t *quota, const entry_t *entry,
                             apr_int64_t amount)
{
    return entry->waiting >= amount
           && (!reap_locked(quota) || entry->waiting >= amount);
}

apr_status_t comet_quota_enter(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_time_t now,
                               comet_quota_place_t *place, apr_size_t *reached)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    place->count = 0;
    if (!lock(quota)) {
        return APR_ENOSPC;
    }
    for (i = 0; i < count; i++) {
        entry_t *entry = find_locked(quota, claims[i].key, now, NULL);
        apr_uint32_t ticket = NO_TICKET;

        if (entry && is_reached_locked(quota, entry, claims[i].amount)) {
            leave_locked(quota, place);
            if (reached) {
                *reached = i;
            }
            status = APR_EAGAIN;
            break;
        }
        if (entry) {
            ticket = give_ticket_locked(quota, entry);
        }
        if (ticket == NO_TICKET) {
            status = APR_ENOSPC;
        }
        else {
            place->tickets[place->count++] = ticket;
        }
    }
    unlock(quota);
    return status;
}

void comet_quota_leave(comet_quota_t *quota, comet_quota_place_t *place)
{
    if (place->count && lock(quota)) {
        leave_locked(quota, place);
        unlock(quota);
    }
    if (place->count) { /* the lock's next holder takes these tickets back */
        while (place->count) {
            atomic_store(&quota->tickets[place->tickets[--place->count]].left,
                         1);
        }
        atomic_store(&quota->any_left, 1);
    }
}

apr_int64_t comet_quota_waiting(comet_quota_t *quota, apr_uint64_t key)
{
    apr_int64_t waiting = 0;
    apr_uint32_t i;

    if (!lock(quota)) {
        return 0;
    }
    for (i = 0; i < quota->entry_count; i++) {
        if (quota->entries[i].key == key) {
            waiting += quota->entries[i].waiting;
        }
    }
    unlock(quota);
    return waiting;
}

/* --- publishing ---------------------------------------------------------- */

static comet_rate_t rate_of(const comet_quota_limit_t *claim)
{
    return (comet_rate_t){
        .each = claim->per / claim->amount,
        .burst = claim->amount > COMET_QUOTA_BURST ? claim->amount
                                                   : COMET_QUOTA_BURST,
    };
}

/* How long until one more message is allowed; 0: it is allowed now. */
static apr_interval_time_t time_left(entry_t *entry,
                                     const comet_quota_limit_t *claim,
                                     apr_time_t now)
{
    const comet_rate_t rate = rate_of(claim);
    apr_time_t latest = now + rate.each * (rate.burst + COMET_LIMIT_MAX);

    if (entry->due > latest) {
        entry->due = latest; /* it was computed with a slower rate, before a
                              * reload */
    }
    return comet_rate_wait(&rate, entry->due, now);
}

static void pay(entry_t *entry, const comet_quota_limit_t *claim,
                apr_size_t messages, apr_time_t now)
{
    const comet_rate_t rate = rate_of(claim);

    comet_rate_spend(&rate, &entry->due, (apr_int64_t)messages, now);
}

apr_status_t comet_quota_spend(comet_quota_t *quota,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_size_t messages,
                               apr_time_t now, apr_interval_time_t *wait,
                               apr_size_t *reached)
{
    entry_t *entries[COMET_QUOTA_MOST] = { NULL };
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    *wait = 0;
    if (!lock(quota)) {
        return APR_ENOSPC;
    }
    for (i = 0; i < count; i++) {
        apr_interval_time_t left = 0;

        entries[i] =
            find_locked(quota, claims[i].key, now, i ? entries[0] : NULL);
        if (entries[i]) {
            left = time_left(entries[i], &claims[i], now);
        }
        if (left > *wait) {
            *wait = left;
            if (reached) {
                *reached = i;
            }
        }
    }
    for (i = 0; i < count; i++) {
        if (*wait > 0) {
            status = APR_EAGAIN;
        }
        else if (entries[i]) {
            pay(entries[i], &claims[i], messages, now);
        }
        else {
            status = APR_ENOSPC;
        }
    }
    unlock(quota);
    return status;
}
