/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits over all children, in a table of shared memory.
 *
 * Tickets are the truth, the entries' counts follow from them: whenever a
 * child died, inside the lock or out of it, the counts are made anew from the
 * tickets of the living.
 *
 * Invariants, while the lock is free:
 *  1. an entry's `waiting` is the number of tickets that name it;
 *  2. an entry is free when nobody waits and all it published is due;
 *  3. an entry lies within WINDOW places from where its key belongs;
 *  4. a child's `life` is locked as long as the child lives.
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
#include <sys/mman.h>

/** How far from its own place a key may lie. */
#define WINDOW 16
/** How long to wait for the lock: its holder may be stopped … */
#define LOCK_USEC 100000
/** … and is then taken to be so for this long. */
#define STOPPED_USEC 1000000
#define NOBODY 0
#define NO_TICKET UINT32_MAX

typedef struct entry_t {
    apr_uint64_t key; /* [lock] */
    apr_time_t due; /* [lock] monotonic: when what was published is due */
    apr_int64_t waiting; /* [lock] */
} entry_t;

typedef struct ticket_t {
    apr_uint32_t owner; /* [lock] 1 + the child's number, or NOBODY */
    apr_uint32_t at; /* [lock] its entry; of a free one, the next free one */
    atomic_int left; /* [atomic] its holder could not get the lock to say so */
} ticket_t;

typedef struct child_t {
    pthread_mutex_t life; /* robust: held by the child until its end */
    apr_uint32_t tickets; /* [lock] that it has given */
    int alive; /* [lock] scratch of recount_locked() */
} child_t;

struct comet_quota_t {
    pthread_mutex_t lock; /* robust */
    unsigned char secret[APR_SIPHASH_KSIZE];
    apr_uint32_t entry_count; /* a power of two */
    apr_uint32_t ticket_count;
    apr_uint32_t used; /* [lock] tickets below were given once */
    apr_uint32_t free; /* [lock] the first free one below, or NO_TICKET */
    int child_count;
    atomic_int any_left; /* [atomic] one of the tickets may be */
    entry_t *entries;
    ticket_t *tickets;
    child_t children[];
};

static atomic_int own = -1; /* [atomic] this process's number */
static _Atomic apr_time_t stopped_until; /* [atomic] the lock's holder is */

/* --- making ------------------------------------------------------------------ */

/* An error-checking one tells its own thread that it has it already: prefork
 * ends its children in a signal handler. */
static int init_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    int failed = pthread_mutexattr_init(&attributes);

    if (failed) {
        return failed;
    }
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    failed = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return failed;
}

static int init_mutexes(comet_quota_t *limits)
{
    int i, failed = init_mutex(&limits->lock);

    for (i = 0; i < limits->child_count && !failed; i++) {
        failed = init_mutex(&limits->children[i].life);
    }
    return failed;
}

apr_status_t comet_quota_create(comet_quota_t **limits, int children,
                                apr_uint32_t entries)
{
    /* what is not used costs no memory: the pages are made when touched */
    apr_size_t head =
        (sizeof(**limits) + (apr_size_t)children * sizeof(child_t) + 63) / 64
        * 64;
    apr_size_t size = head + entries * sizeof(entry_t)
                      + 2 * (apr_size_t)entries * sizeof(ticket_t);
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    apr_status_t status;

    *limits = NULL;
    if (memory == MAP_FAILED) {
        return errno;
    }
    *limits = (comet_quota_t *)(void *)memory;
    (*limits)->entry_count = entries;
    (*limits)->ticket_count = 2 * entries;
    (*limits)->free = NO_TICKET;
    (*limits)->child_count = children;
    (*limits)->entries = (entry_t *)(void *)(memory + head);
    (*limits)->tickets = (ticket_t *)(void *)((*limits)->entries + entries);
    status = init_mutexes(*limits);
    if (status == APR_SUCCESS) {
        status = apr_generate_random_bytes((*limits)->secret,
                                           sizeof((*limits)->secret));
    }
    if (status != APR_SUCCESS) {
        munmap(memory, size);
        *limits = NULL;
    }
    return status;
}

/* --- the living and the dead ----------------------------------------------------- */

static int is_alive_locked(child_t *child)
{
    int result = pthread_mutex_trylock(&child->life);

    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&child->life);
    }
    if (result == 0 || result == EOWNERDEAD) {
        pthread_mutex_unlock(&child->life);
        return 0;
    }
    return 1;
}

/* Count anew what the living have given; all else is free. */
static void recount_locked(comet_quota_t *limits)
{
    apr_uint32_t t;
    int i;

    for (t = 0; t < limits->entry_count; t++) {
        if (limits->entries[t].waiting) {
            limits->entries[t].waiting = 0;
        }
    }
    for (i = 0; i < limits->child_count; i++) {
        limits->children[i].alive = is_alive_locked(&limits->children[i]);
        limits->children[i].tickets = 0;
    }
    limits->free = NO_TICKET;
    for (t = 0; t < limits->used; t++) {
        ticket_t *ticket = &limits->tickets[t];

        if (ticket->owner != NOBODY && !atomic_load(&ticket->left)
            && limits->children[ticket->owner - 1].alive) {
            limits->children[ticket->owner - 1].tickets++;
            limits->entries[ticket->at].waiting++;
        }
        else {
            ticket->owner = NOBODY;
            atomic_store(&ticket->left, 0);
            ticket->at = limits->free;
            limits->free = t;
        }
    }
}

/* Take back what the dead have given. @return whether there was any */
static int reap_locked(comet_quota_t *limits)
{
    int i;

    for (i = 0; i < limits->child_count; i++) {
        if (limits->children[i].tickets
            && !is_alive_locked(&limits->children[i])) {
            recount_locked(limits);
            return 1;
        }
    }
    return 0;
}

/* Once the lock's holder was found to be stopped, nobody waits for it again
 * for a while, unless it goes on. */
static int try_to_lock(comet_quota_t *limits)
{
    int result = pthread_mutex_trylock(&limits->lock);

    if (result == EBUSY && comet_monotonic() >= atomic_load(&stopped_until)) {
        result = comet_mutex_lock_within(&limits->lock, LOCK_USEC);
        if (result == ETIMEDOUT) {
            atomic_store(&stopped_until, comet_monotonic() + STOPPED_USEC);
        }
    }
    if ((result == 0 || result == EOWNERDEAD) && atomic_load(&stopped_until)) {
        atomic_store(&stopped_until, 0);
    }
    return result;
}

/* @return whether it is locked; not, when this thread has it already, or its
 *         holder is stopped */
static int lock(comet_quota_t *limits)
{
    int result = try_to_lock(limits);

    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&limits->lock);
        recount_locked(limits);
    }
    else if (result == 0 && atomic_exchange(&limits->any_left, 0)) {
        recount_locked(limits);
    }
    return result == 0 || result == EOWNERDEAD;
}

static void unlock(comet_quota_t *limits)
{
    pthread_mutex_unlock(&limits->lock);
}

/* Take the place of a child that has ended.  What a dead one has given must
 * have been taken back: it would count as the new one's. */
static int take_place(child_t *child)
{
    int result = pthread_mutex_trylock(&child->life);

    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&child->life);
        result = 0;
    }
    if (result == 0 && child->tickets) {
        pthread_mutex_unlock(&child->life);
        result = EBUSY;
    }
    return result == 0;
}

int comet_quota_attach(comet_quota_t *limits)
{
    int i, found = -1, locked = lock(limits);

    if (locked) {
        reap_locked(limits);
    }
    for (i = 0; i < limits->child_count && found < 0; i++) {
        if (take_place(&limits->children[i])) {
            found = i;
        }
    }
    if (locked) {
        unlock(limits);
    }
    atomic_store(&own, found);
    return found;
}

/* --- keys ---------------------------------------------------------------------------- */

apr_uint64_t comet_quota_key(const comet_quota_t *limits, apr_uint64_t scope,
                             char kind, comet_text_t client)
{
    struct {
        apr_uint64_t client, scope, kind;
    } whole;
    apr_uint64_t key;

    whole.client = apr_siphash24(client.data, client.length, limits->secret);
    whole.scope = scope;
    whole.kind = (unsigned char)kind;
    key = apr_siphash24(&whole, sizeof(whole), limits->secret);
    return key ? key : 1; /* 0 is that of an entry never used */
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
    apr_size_t length = strcspn(address, "%"); /* an interface may follow */

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

/* --- entries --------------------------------------------------------------------------- */

/*
 * The entry of a key, made if need be.
 * @param except  not to be taken for a free one; may be NULL
 * @return NULL: there is no room
 */
static entry_t *find_locked(comet_quota_t *limits, apr_uint64_t key,
                            apr_time_t now, const entry_t *except)
{
    entry_t *found = NULL;
    apr_uint32_t i;

    for (i = 0; i < WINDOW && i < limits->entry_count; i++) {
        apr_uint64_t place = (key + i) & (limits->entry_count - 1);
        entry_t *entry = &limits->entries[place];

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

/* @return NO_TICKET: there is no room */
static apr_uint32_t give_ticket_locked(comet_quota_t *limits, entry_t *entry)
{
    int giver = atomic_load(&own);
    apr_uint32_t number = limits->free;

    if (giver < 0
        || (number == NO_TICKET && limits->used == limits->ticket_count)) {
        return NO_TICKET;
    }
    if (number != NO_TICKET) {
        limits->free = limits->tickets[number].at;
    }
    else {
        number = limits->used++;
    }
    limits->tickets[number].at = (apr_uint32_t)(entry - limits->entries);
    limits->tickets[number].owner = (apr_uint32_t)giver + 1;
    limits->children[giver].tickets++;
    entry->waiting++;
    return number;
}

static void take_ticket_locked(comet_quota_t *limits, apr_uint32_t number)
{
    ticket_t *ticket = &limits->tickets[number];

    limits->entries[ticket->at].waiting--;
    limits->children[ticket->owner - 1].tickets--;
    ticket->owner = NOBODY;
    ticket->at = limits->free;
    limits->free = number;
}

static void leave_locked(comet_quota_t *limits, comet_quota_place_t *place)
{
    while (place->count) {
        take_ticket_locked(limits, place->tickets[--place->count]);
    }
}

/* --- waiting ----------------------------------------------------------------------------- */

static int is_reached_locked(comet_quota_t *limits, const entry_t *entry,
                             apr_int64_t amount)
{
    return entry->waiting >= amount
           && (!reap_locked(limits) || entry->waiting >= amount);
}

apr_status_t comet_quota_enter(comet_quota_t *limits,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_time_t now,
                               comet_quota_place_t *place, apr_size_t *reached)
{
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    place->count = 0;
    if (!lock(limits)) {
        return APR_ENOSPC;
    }
    for (i = 0; i < count; i++) {
        entry_t *entry = find_locked(limits, claims[i].key, now, NULL);
        apr_uint32_t ticket = NO_TICKET;

        if (entry && is_reached_locked(limits, entry, claims[i].amount)) {
            leave_locked(limits, place);
            if (reached) {
                *reached = i;
            }
            status = APR_EAGAIN;
            break;
        }
        if (entry) {
            ticket = give_ticket_locked(limits, entry);
        }
        if (ticket == NO_TICKET) {
            status = APR_ENOSPC;
        }
        else {
            place->tickets[place->count++] = ticket;
        }
    }
    unlock(limits);
    return status;
}

void comet_quota_leave(comet_quota_t *limits, comet_quota_place_t *place)
{
    if (place->count && lock(limits)) {
        leave_locked(limits, place);
        unlock(limits);
    }
    if (place->count) { /* the next to get the lock takes them */
        while (place->count) {
            atomic_store(&limits->tickets[place->tickets[--place->count]].left,
                         1);
        }
        atomic_store(&limits->any_left, 1);
    }
}

apr_int64_t comet_quota_waiting(comet_quota_t *limits, apr_uint64_t key)
{
    apr_int64_t waiting = 0;
    apr_uint32_t i;

    if (!lock(limits)) {
        return 0;
    }
    for (i = 0; i < limits->entry_count; i++) {
        if (limits->entries[i].key == key) {
            waiting += limits->entries[i].waiting;
        }
    }
    unlock(limits);
    return waiting;
}

/* --- publishing ------------------------------------------------------------------------------ */

/* How long until one message more is allowed; 0 or less: it is now. */
static apr_interval_time_t time_left(entry_t *entry,
                                     const comet_quota_limit_t *claim,
                                     apr_time_t now)
{
    apr_interval_time_t each = claim->per / claim->amount;
    apr_int64_t burst =
        claim->amount > COMET_QUOTA_BURST ? claim->amount : COMET_QUOTA_BURST;
    apr_time_t latest = now + each * (burst + COMET_LIMIT_MAX);

    if (entry->due > latest) {
        entry->due = latest; /* of a slower rate, before a reload */
    }
    return entry->due - now - each * (burst - 1);
}

static void pay(entry_t *entry, const comet_quota_limit_t *claim,
                apr_size_t messages, apr_time_t now)
{
    if (entry->due < now) {
        entry->due = now;
    }
    entry->due += claim->per / claim->amount * (apr_int64_t)messages;
}

apr_status_t comet_quota_spend(comet_quota_t *limits,
                               const comet_quota_limit_t *claims,
                               apr_size_t count, apr_size_t messages,
                               apr_time_t now, apr_interval_time_t *wait,
                               apr_size_t *reached)
{
    entry_t *entries[COMET_QUOTA_MOST] = { NULL };
    apr_status_t status = APR_SUCCESS;
    apr_size_t i;

    *wait = 0;
    if (!lock(limits)) {
        return APR_ENOSPC;
    }
    for (i = 0; i < count; i++) {
        apr_interval_time_t left = 0;

        entries[i] =
            find_locked(limits, claims[i].key, now, i ? entries[0] : NULL);
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
    unlock(limits);
    return status;
}
