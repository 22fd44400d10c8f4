/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/command.h
 * What a client says on a WebSocket: one JSON object in each text message,
 * {"publish": {"body": "…", "type"?, "channel"?, "key"?}, "ref"?: …}.
 */
#ifndef COMET_COMMAND_H
#define COMET_COMMAND_H

#include "wire/params.h"

/** The longest "ref", written as JSON. */
#define COMET_COMMAND_REF_BYTES 300

typedef struct comet_command_t {
    comet_text_t body;
    comet_text_t type; /* data is NULL if it was not given */
    comet_text_t channel; /* likewise */
    comet_text_t key; /* as an Idempotency-Key; data is NULL if it was not
                       * given */
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

#endif /* COMET_COMMAND_H */
