/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/command.h
 * A client's commands on a WebSocket: one JSON object in each text message,
 * {"publish": {"body": "…", "type"?, "channel"?, "key"?, "keep"?}, "ref"?: …},
 * {"subscribe": ["CHANNEL", …], "since"?: …, "ref"?: …} or
 * {"unsubscribe": ["CHANNEL", …], "ref"?: …}.
 */
#ifndef COMET_COMMAND_H
#define COMET_COMMAND_H

#include "base/buffer.h"
#include "wire/params.h"

/** The longest "ref", written as JSON. */
#define COMET_COMMAND_REF_BYTES 300

/** How many channels one command may name. */
#define COMET_COMMAND_CHANNELS 100

typedef enum {
    COMET_COMMAND_PUBLISH,
    COMET_COMMAND_SUBSCRIBE,
    COMET_COMMAND_UNSUBSCRIBE
} comet_command_e;

typedef struct comet_command_t {
    comet_command_e kind;
    /* of publish: */
    comet_text_t body;
    comet_text_t type; /* data is NULL if it was not given */
    comet_text_t channel; /* likewise */
    comet_text_t key; /* like an Idempotency-Key; data is NULL if it was not
                       * given */
    int keep_sec; /* 0 if it was not given */
    /* of subscribe and unsubscribe: */
    comet_text_t *channels; /* not empty; the names are not checked yet */
    apr_size_t channel_count;
    comet_timestamp_t since; /* of subscribe; -1: it was not given */
    /* of all: */
    const char *ref; /* as JSON, to be sent back; NULL: it was not given */
    int too_long; /* the body is too long */
    int no_memory; /* out of memory: not the sender's fault */
} comet_command_t;

/**
 * Parse and check a command.
 * @param command  OUT; on failure only ->ref, ->too_long and ->no_memory are
 *                 set
 * @param most_bytes  the largest size of a body
 * @param pool  where the texts live; @a text is not needed afterwards
 * @return NULL, or the error, in @a pool.  Any thread.
 */
const char *comet_command_parse(comet_command_t *command, comet_text_t text,
                                apr_size_t most_bytes, apr_pool_t *pool);

/** Whether a text is a subscribe or unsubscribe command, which might still be
 * invalid.  A command that spells its verb with escapes is not recognised.  Any
 * thread. */
int comet_command_is_live(comet_text_t text);

/**
 * Append the answer to a command that was refused, as JSON:
 * {"error": …, "status": …, "retry"?: …, "ref"?: …}.
 * @param status  an HTTP status
 * @param retry_sec  after how many seconds to try again; 0: not given
 * @param ref  as in comet_command_t
 */
void comet_command_add_error(comet_buffer_t *out, const char *error, int status,
                             long retry_sec, const char *ref);

/** Append the end of an answer: ,"ref": … and the closing brace. */
void comet_command_add_end(comet_buffer_t *out, const char *ref);

#endif /* COMET_COMMAND_H */
