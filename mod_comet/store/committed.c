/* SPDX-License-Identifier: Apache-2.0 */
/* Pass messages that a child's writer has committed to the hub of the same
 * child. */
#include "store/committed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store/engine.h"

/* Limits of what is kept for the hub.  If the hub is further behind, it reads
 * the store. */
#define MOST_BYTES (1024 * 1024)
#define MOST_TRANSACTIONS 64

struct comet_committed_t {
    pthread_mutex_t lock; /* a leaf */
    comet_transaction_t *first, *last; /* [lock] */
    apr_size_t bytes, count; /* [lock] */
};

void comet_committed_free(comet_transaction_t *transaction)
{
    apr_size_t i;

    for (i = 0; i < transaction->count; i++) {
        comet_message_unref(transaction->messages[i]);
    }
    free(transaction);
}

/* @return NULL: there is none */
static comet_transaction_t *pop_locked(comet_committed_t *committed)
{
    comet_transaction_t *first = committed->first;

    if (first) {
        committed->first = first->next;
        committed->bytes -= first->bytes;
        committed->count--;
    }
    return first;
}

static void drop_locked(comet_committed_t *committed)
{
    comet_transaction_t *transaction;

    while ((transaction = pop_locked(committed)) != NULL) {
        comet_committed_free(transaction);
    }
}

static apr_status_t drop(void *committed)
{
    drop_locked(committed); /* the writer's and the hub's threads have ended */
    return APR_SUCCESS;
}

comet_committed_t *comet_committed_create(apr_pool_t *pool)
{
    comet_committed_t *committed = apr_pcalloc(pool, sizeof(*committed));

    pthread_mutex_init(&committed->lock, NULL);
    apr_pool_cleanup_register(pool, committed, drop, apr_pool_cleanup_null);
    return committed;
}

/* Whether a message read from the store would equal this message in memory. */
static int is_plain(const comet_message_t *message)
{
    return !message->keep_sec && !message->update.is_private
           && !message->update.alternates.length
           && !message->update.event.length && !message->update.retry_msec;
}

/* Add a group's messages and the lengths of their bodies to the totals.
 * @return 0: the group cannot be passed on, or the total length is too high */
static int measure(const comet_store_group_t *group, apr_size_t *messages,
                   apr_size_t *bytes)
{
    apr_size_t i;

    if (group->removal.channel.data || group->rule.pattern.data) {
        return 0;
    }
    for (i = 0; i < group->count && group->result == APR_SUCCESS; i++) {
        *bytes += group->messages[i]->body.length;
        if (!is_plain(group->messages[i])) {
            return 0;
        }
        ++*messages;
    }
    return *bytes <= MOST_BYTES;
}

/* Make a transaction from the groups of a commit.
 * @return NULL: the groups have no message or cannot be passed on, or there is
 *         no memory */
static comet_transaction_t *make(const comet_store_t *store,
                                 comet_store_group_t *const *groups,
                                 apr_size_t count)
{
    comet_transaction_t *made;
    apr_size_t messages = 0, bytes = 0, i, k;

    for (i = 0; i < count; i++) {
        if (!measure(groups[i], &messages, &bytes)) {
            return NULL;
        }
    }
    if (messages != store->appended.count) { /* triggers have added messages */
        return NULL;
    }
    made =
        messages ? malloc(sizeof(*made) + messages * sizeof(groups[0])) : NULL;
    if (!made) {
        return NULL;
    }
    *made = (comet_transaction_t){
        .before = store->appended.before,
        .after = store->appended.after,
        .bytes = bytes,
    };
    for (i = 0; i < count; i++) {
        for (k = 0; k < groups[i]->count && groups[i]->result == APR_SUCCESS;
             k++) {
            made->messages[made->count++] =
                comet_message_ref(groups[i]->messages[k]);
        }
    }
    return made;
}

void comet_committed_add(comet_committed_t *committed,
                         const comet_store_t *store,
                         comet_store_group_t *const *groups, apr_size_t count)
{
    comet_transaction_t *made =
        store->appended.is_known ? make(store, groups, count) : NULL;

    if (!made) {
        return;
    }
    pthread_mutex_lock(&committed->lock);
    if (committed->count >= MOST_TRANSACTIONS
        || committed->bytes + made->bytes > MOST_BYTES) {
        drop_locked(committed);
    }
    if (committed->first) {
        committed->last->next = made;
    }
    else {
        committed->first = made;
    }
    committed->last = made;
    committed->bytes += made->bytes;
    committed->count++;
    pthread_mutex_unlock(&committed->lock);
}

comet_transaction_t *comet_committed_take(comet_committed_t *committed,
                                          const comet_tally_t *tally)
{
    comet_transaction_t *found;

    if (!committed) {
        return NULL;
    }
    pthread_mutex_lock(&committed->lock);
    while ((found = pop_locked(committed)) != NULL
           && memcmp(&found->before, tally, sizeof(*tally)) != 0) {
        comet_committed_free(found);
    }
    pthread_mutex_unlock(&committed->lock);
    return found;
}
