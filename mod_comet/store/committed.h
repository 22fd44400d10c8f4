/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file store/committed.h
 * Pass messages that a child's writer has committed to the hub of the same
 * child.  While nobody else commits, the hub then need not read these messages
 * from the database file.
 *
 * This is an optimisation: any message that is not passed on, the hub reads
 * from the store.
 */
#ifndef COMET_COMMITTED_H
#define COMET_COMMITTED_H

#include "store/store.h"

typedef struct comet_committed_t comet_committed_t;

/** One transaction: all that happened between two tallies of the store. */
typedef struct comet_transaction_t comet_transaction_t;
struct comet_transaction_t {
    comet_transaction_t *next;
    comet_tally_t before, after;
    apr_size_t bytes; /* the sum of the bodies */
    apr_size_t count;
    comet_message_t *messages[]; /* references, oldest first */
};

/** Create the list of transactions.  Transactions that nobody takes are freed
 * with the pool. */
comet_committed_t *comet_committed_create(apr_pool_t *pool);

/**
 * Pass on the messages that comet_store_append() has just stored.  Nothing is
 * passed on if somebody else may have committed just before or after, or if the
 * transaction has anything but plain messages.  If the hub is far behind, older
 * transactions are dropped.  Called by the writer's thread.
 * @param store  the connection that has appended
 * @param groups  the appended groups, whose ->result is set
 */
void comet_committed_add(comet_committed_t *committed,
                         const comet_store_t *store,
                         comet_store_group_t *const *groups, apr_size_t count);

/**
 * Take the transaction whose ->before equals a tally, and drop the earlier
 * ones.  Called by the hub's thread.
 * @param committed  NULL: the answer is always NULL
 * @return to be freed by comet_committed_free(); NULL: there is none
 */
comet_transaction_t *comet_committed_take(comet_committed_t *committed,
                                          const comet_tally_t *tally);

void comet_committed_free(comet_transaction_t *transaction);

#endif /* COMET_COMMITTED_H */
