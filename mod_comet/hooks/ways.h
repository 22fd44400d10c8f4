/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/ways.h
 * The ways in which clients wait: how many clients may wait in each, how many
 * do, and on which hosts.
 */
#ifndef MOD_COMET_WAYS_H
#define MOD_COMET_WAYS_H

#include "shared/metrics.h"
#include "server/mod_comet.h"

typedef enum {
#define WAY(name, help) MOD_COMET_WAY_##name,
#include "tables/ways.def"
#undef WAY
    MOD_COMET_WAY_COUNT
} mod_comet_ways_e;

typedef struct mod_comet_way_t {
    const char *name;
    const char *help; /* which clients wait in this way */
    apr_int64_t capacity; /* how many clients may wait in this way at a time, in
                           * all children */
} mod_comet_way_t;

/**
 * Find the capacities and log them, in one line for each way.  Called in
 * post_config, after mod_comet_mpm_query().
 * @param can_log_later  whether the access logs let a stream outlive its
 *                       request
 * @param p  for temporary data
 */
void mod_comet_ways_begin(server_rec *main, int can_log_later, apr_pool_t *p);

/** Get a way, with the capacity that mod_comet_ways_begin() has found for it.
 * Any thread. */
const mod_comet_way_t *mod_comet_ways_get(mod_comet_ways_e way);

/** Count the clients that wait in this way.  Any thread. */
apr_int64_t mod_comet_ways_count(mod_comet_ways_e way,
                                 const comet_metrics_total_t *total);

#endif /* MOD_COMET_WAYS_H */
