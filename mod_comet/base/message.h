/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file base/message.h
 * A message: one block of memory, counted by reference, immutable once
 * committed.
 */
#ifndef COMET_MESSAGE_H
#define COMET_MESSAGE_H

#include <apr_hash.h>
#include <stdatomic.h>

#include "base/text.h"

/** The properties that only updates of the Mercure protocol have; zero in other
 * messages. */
typedef struct comet_update_t {
    /** Only subscribers whose tokens grant one of the message's topics get the
     * message. */
    int is_private;
    int retry_msec; /* how long the message's readers wait before they
                     * reconnect; 0: not given */
    comet_text_t event; /* the id that the publisher gave; data NULL: none */
    /** Further channels through which Mercure readers get the message,
     * separated by newlines; data NULL: none. */
    comet_text_t alternates;
} comet_update_t;

typedef struct comet_message_t {
    atomic_uint refs; /* [atomic] */
    apr_uint32_t channel_hash; /* comet_message_hash(channel) */
    /** 0 until the writer has numbered the message; constant once it is
     * committed. */
    comet_timestamp_t timestamp;
    /* These texts follow the struct in the same block.  A NUL follows each. */
    comet_text_t channel;
    comet_text_t type;
    comet_text_t author; /* data is NULL if there is no author */
    comet_text_t body;
    comet_update_t update;
    /** How long a passing message may be read; 0: this message lasts.  A
     * passing message is not replayed, searched or counted. */
    int keep_sec;
    apr_time_t expires; /* when a passing message expires, by the system clock;
                         * 0 until it is stored */
} comet_message_t;

/** The values that a message is made from.  All texts are copied. */
typedef struct comet_message_fields_t {
    comet_timestamp_t timestamp;
    comet_text_t channel;
    comet_text_t type; /* if it is empty, the type is "message" */
    comet_text_t author; /* data is NULL if there is no author */
    comet_text_t body;
    comet_update_t update;
    int keep_sec;
    apr_time_t expires;
} comet_message_fields_t;

/**
 * Make a message with one reference, which the caller owns.
 * @return NULL if no memory is left.  Any thread.
 */
comet_message_t *comet_message_create(const comet_message_fields_t *fields);

/**
 * Whether a passing message has expired.  It also counts as expired if the
 * system clock was set back so far that more than twice @a keep_sec is left.
 * @param keep_sec  0: the message lasts
 * @param now       by the system clock
 */
int comet_message_time_is_over(int keep_sec, apr_time_t expires,
                               apr_time_t now);

/** Whether a message has expired by now.  Any thread. */
int comet_message_is_over(const comet_message_t *message);

/** Take one more reference.  @return @a message.  Any thread. */
comet_message_t *comet_message_ref(comet_message_t *message);

/** Release a reference; releasing the last one frees the message.  NULL is
 * ignored.  Any thread. */
void comet_message_unref(comet_message_t *message);

/**
 * Take the next name from a list of names that newlines separate.
 * @param rest  IN and OUT: what is left of the list
 * @param name  OUT
 * @return whether there was a name.  Any thread.
 */
int comet_message_next_name(comet_text_t *rest, comet_text_t *name);

/**
 * Hash a channel's name.  Channels are compared by this hash first, and by name
 * only if the hashes are equal.  The hash is SipHash-2-4 with a random key of
 * this process, so that a client cannot choose names that share a hash.  The
 * hash differs from process to process: never store it.  Any thread.
 */
apr_uint32_t comet_message_hash(comet_text_t channel);

/** comet_message_hash() as an apr_hashfunc_t, for apr_hash_make_custom().  Use
 * it for every table whose keys a client chooses.  Any thread. */
unsigned int comet_message_hash_key(const char *key, apr_ssize_t *length);

#endif /* COMET_MESSAGE_H */
