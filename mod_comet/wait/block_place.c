/* SPDX-License-Identifier: Apache-2.0 */
/* Give places to threads that wait. */
#include "wait/block_place.h"

#include <apr_strings.h>

#include "server/child.h"
#include "server/mpm.h"
#include "wait/connection.h"

/* How many streams of an HTTP/2 connection may hold a thread while they wait.
 * Such a connection has few threads. */
#define STREAMS_PER_CONNECTION 2

/* Count one more waiting stream of an HTTP/2 connection.
 * @return 0: no place of the connection is left */
static int enter_connection(const conn_rec *master)
{
    mod_comet_connection_t *connection =
        master ? mod_comet_connection(master) : NULL;

    if (!connection
        || atomic_fetch_add(&connection->blocked_streams, 1)
               < STREAMS_PER_CONNECTION) {
        return 1;
    }
    atomic_fetch_sub(&connection->blocked_streams, 1);
    return 0;
}

static void leave_connection(const conn_rec *master)
{
    mod_comet_connection_t *connection =
        master ? mod_comet_connection(master) : NULL;

    if (connection) {
        atomic_fetch_sub(&connection->blocked_streams, 1);
    }
}

const char *mod_comet_block_place_take(mod_comet_blocked_t *block,
                                       apr_pool_t *p)
{
    static const comet_metric_e blocked = COMET_METRIC_blocked;
    mod_comet_waiting_t *waiting = block->child->waiting;
    const int most = mod_comet_mpm_capacity()->blocked;
    int is_free;

    if (!enter_connection(block->master)) {
        return apr_psprintf(
            p,
            "too many requests of this HTTP/2 connection are "
            "waiting: at most %d may wait at a time; close one, "
            "or use HTTP/1.1",
            STREAMS_PER_CONNECTION);
    }
    pthread_mutex_lock(&waiting->lock);
    is_free = comet_metrics_take(mod_comet_child_metrics(), blocked, &blocked,
                                 1, most);
    if (is_free) {
        APR_RING_INSERT_TAIL(&waiting->blocked, block, mod_comet_blocked_t,
                             link);
    }
    pthread_mutex_unlock(&waiting->lock);
    if (is_free) {
        return NULL;
    }
    leave_connection(block->master);
    return apr_psprintf(p,
                        "too many waiting clients occupy a thread each: at "
                        "most %d may wait at a time; try again later",
                        most);
}

void mod_comet_block_place_give(mod_comet_blocked_t *block)
{
    mod_comet_waiting_t *waiting = block->child->waiting;

    pthread_mutex_lock(&waiting->lock);
    APR_RING_REMOVE(block, link);
    comet_metrics_add(COMET_METRIC_blocked, -1);
    pthread_mutex_unlock(&waiting->lock);
    leave_connection(block->master);
}
