/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file wire/ndjson.h
 * A batch of messages as JSON objects, one a line (application/x-ndjson):
 * {"body": "…", "type": "…", "channel": "…"}, the last two optional.
 */
#ifndef COMET_NDJSON_H
#define COMET_NDJSON_H

#include "wire/params.h"

/** A line that is a message. */
typedef struct comet_ndjson_line_t {
    apr_size_t number; /* from 1 */
    comet_text_t body;
    comet_text_t type; /* data NULL: not said */
    comet_text_t channel; /* the same */
} comet_ndjson_line_t;

typedef struct comet_ndjson_t {
    comet_ndjson_line_t *list;
    apr_size_t count;
    int too_long; /* what is wrong is its length, or their number */
    int no_memory; /* what is wrong is nothing of the sender's */
} comet_ndjson_t;

/** Have the JSON library tell of each failed allocation.  Called once, before
 * threads are started. */
void comet_ndjson_init(void);

/**
 * Read and check all lines.  Blank ones are skipped; whatever else is no such
 * object, has an unknown member, the same one twice, or a text that the store
 * does not take, is wrong.
 * @param lines       set on success; ->too_long, ->no_memory on failure
 * @param most_bytes  of a body
 * @param pool        where the texts live; @a text is not needed any more
 * @return NULL, or what is wrong, beginning with "line N: ", in @a pool
 */
const char *comet_ndjson_parse(comet_ndjson_t *lines, comet_text_t text,
                               apr_size_t most_bytes, apr_pool_t *pool);

#endif /* COMET_NDJSON_H */
