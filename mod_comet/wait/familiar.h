/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wait/familiar.h
 * The POSTs that this child knows (CometFastPublish): heads of requests that
 * httpd has accepted, and what it has decided for requests with the same head.
 *
 * A head is known for one client address, one address of the server and one
 * virtual host, because httpd's decisions may depend on these.  Only
 * Content-Length may differ.  If another module adds fields to the answer, the
 * head is known for one connection.
 */
#ifndef MOD_COMET_FAMILIAR_H
#define MOD_COMET_FAMILIAR_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "base/message.h"
#include "store/writer.h"
#include "wait/sample.h"

/** A known head.  One block of memory, counted by reference; immutable once it
 * was learnt. */
typedef struct mod_comet_familiar_t {
    TAILQ_ENTRY(mod_comet_familiar_t) link; /* [the table's lock] */
    atomic_uint refs; /* [atomic] */
    apr_size_t size; /* of the block */
    comet_text_t key; /* where the client is, and the head without the digits of
                       * Content-Length */
    comet_text_t channel; /* under its name in the store */
    comet_text_t shown; /* the channel's name as clients know it */
    comet_text_t type; /* data NULL: the default */
    int keep_sec; /* 0: messages last */
    comet_writer_t *writer; /* of the channel's store */
    apr_size_t most_bytes; /* the longest body */
    apr_interval_time_t timeout; /* how long a message may wait to be stored */
    apr_time_t until; /* when httpd decides again, by comet_monotonic() */
    apr_size_t length; /* of the body that came with it when it was learnt */
    mod_comet_sample_t answer;
} mod_comet_familiar_t;

typedef struct mod_comet_familiars_t mod_comet_familiars_t;

/** Make an empty table, in child_init. */
mod_comet_familiars_t *mod_comet_familiars_create(apr_pool_t *pool);

/**
 * Begin to learn a head.
 * @param peer  where the client is, as a text
 * @param post  the head; copied
 * @param fields  the channel, the type and ->keep_sec of the message that was
 *                published; copied
 * @param hidden  how many bytes of the channel's name clients do not see
 * @return one reference; its other fields are zero, and set by the caller;
 *         NULL: no memory is left.  Any thread.
 */
mod_comet_familiar_t *mod_comet_familiar_create(
    comet_text_t peer, const comet_head_post_t *post,
    const comet_message_fields_t *fields, apr_size_t hidden);

/** Release a reference; NULL is ignored.  Any thread. */
void mod_comet_familiar_unref(mod_comet_familiar_t *familiar);

/**
 * Learn the head of the answer, and put the head of the request into the table.
 * The oldest heads leave the table if there is no room.
 * @param lesson  the table takes a reference of its own
 * @param head  the answer's head
 * @return whether the hub may answer such requests now.  Any thread.
 */
int mod_comet_familiars_learn(mod_comet_familiars_t *table,
                              mod_comet_familiar_t *lesson, comet_text_t head);

/**
 * Find a head whose requests the hub may answer.
 * @return a reference; NULL: httpd must decide.  Any thread.
 */
mod_comet_familiar_t *mod_comet_familiars_find(mod_comet_familiars_t *table,
                                               comet_text_t peer,
                                               const comet_head_post_t *post);

/** Forget all heads.  Called when the child ends.  Any thread. */
void mod_comet_familiars_clear(mod_comet_familiars_t *table);

#endif /* MOD_COMET_FAMILIAR_H */
