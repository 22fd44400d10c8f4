/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/ndjson.h
 * Parses a batch of messages: one JSON object per line (application/x-ndjson),
 * {"body": "…", "type": "…", "channel": "…", "keep": …}.  Only the body is
 * required.
 */
#ifndef COMET_NDJSON_H
#define COMET_NDJSON_H

#include "wire/params.h"

/** A line that holds a message. */
typedef struct comet_ndjson_line_t {
    apr_size_t number; /* from 1 */
    comet_text_t body;
    comet_text_t type; /* data is NULL if it was not given */
    comet_text_t channel; /* likewise */
    int keep_sec; /* 0 if it was not given */
} comet_ndjson_line_t;

typedef struct comet_ndjson_t {
    comet_ndjson_line_t *list;
    apr_size_t count;
    int too_long; /* a body is too long, or there are too many messages */
    int no_memory; /* out of memory: not the sender's fault */
} comet_ndjson_t;

/** Let comet_ndjson_lacked_memory() notice failed allocations of the JSON
 * library.  Called once, before threads are started. */
void comet_ndjson_init(void);

/** Forget earlier failed allocations of the JSON library in this thread.  Call
 * this before a call of the library. */
void comet_ndjson_watch_memory(void);

/** Whether an allocation of the JSON library has failed in this thread since
 * comet_ndjson_watch_memory(). */
int comet_ndjson_lacked_memory(void);

struct json_t; /* of the JSON library */

/**
 * Read how long a message is kept: a number of seconds, or a text for
 * comet_params_keep().
 * @return NULL, or what is wrong (a constant)
 */
const char *comet_ndjson_take_keep(const struct json_t *value, int *seconds);

/**
 * Parse and check all lines.  Blank lines are skipped.  A line is invalid if it
 * is not an object as described above, has an unknown or repeated member, or
 * has a text that the store does not accept.
 * @param lines  OUT; on failure only ->too_long and ->no_memory are set
 * @param most_bytes  the largest size of a body
 * @param pool  where the texts live; @a text is not needed afterwards
 * @return NULL, or the error: text in @a pool that begins with "line N: "
 */
const char *comet_ndjson_parse(comet_ndjson_t *lines, comet_text_t text,
                               apr_size_t most_bytes, apr_pool_t *pool);

#endif /* COMET_NDJSON_H */
