/* SPDX-License-Identifier: Apache-2.0 */
/* Limit how many bytes a child keeps of incomplete WebSocket messages. */
#include "wait/incoming.h"

#include "shared/metrics.h"
#include "server/child.h"
#include "wait/wait_priv.h"

/* How many bytes may be reserved in a child. */
#define BYTES_MOST (16 * 1024 * 1024)
/* How long a client waits for room.  Meanwhile the child keeps one piece that
 * it has read from the client. */
#define PATIENCE apr_time_from_sec(5)
/* How many clients may wait for room. */
#define WAITING_MOST 64
/* How long a client may take to complete its message while others wait. */
#define HOLD_MOST apr_time_from_sec(10)

struct mod_comet_incoming_t {
    pthread_mutex_t lock; /* no other lock is taken under it */
    TAILQ_HEAD(, mod_comet_talk_t) holders; /* [lock] the oldest first */
    apr_size_t bytes; /* [lock] */
    int waiting; /* [lock] */
};

typedef mod_comet_incoming_t incoming_t;

mod_comet_incoming_t *mod_comet_incoming_create(apr_pool_t *pool)
{
    incoming_t *incoming = apr_pcalloc(pool, sizeof(*incoming));

    pthread_mutex_init(&incoming->lock, NULL);
    TAILQ_INIT(&incoming->holders);
    return incoming;
}

static incoming_t *find(void)
{
    return mod_comet_child()->waiting->incoming;
}

static void release_locked(incoming_t *incoming, mod_comet_talk_t *talk)
{
    if (talk->reserved) {
        TAILQ_REMOVE(&incoming->holders, talk, holder_link);
        incoming->bytes -= talk->reserved;
        comet_metrics_add(COMET_METRIC_incoming_bytes,
                          -(apr_int64_t)talk->reserved);
        talk->reserved = 0;
    }
}

static void stop_waiting_locked(incoming_t *incoming, mod_comet_talk_t *talk)
{
    incoming->waiting -= talk->starved_since != 0;
    talk->starved_since = 0;
}

int mod_comet_incoming_reserve(mod_comet_talk_t *talk, apr_size_t bytes)
{
    incoming_t *incoming = find();
    apr_time_t now = comet_monotonic();
    int reserved;

    pthread_mutex_lock(&incoming->lock);
    reserved = bytes <= talk->reserved
               || incoming->bytes - talk->reserved + bytes <= BYTES_MOST;
    if (reserved && bytes > talk->reserved) {
        apr_time_t since = talk->reserved ? talk->reserved_at : now;

        release_locked(incoming, talk);
        talk->reserved = bytes;
        talk->reserved_at = since;
        incoming->bytes += bytes;
        comet_metrics_add(COMET_METRIC_incoming_bytes, (apr_int64_t)bytes);
        TAILQ_INSERT_TAIL(&incoming->holders, talk, holder_link);
    }
    if (reserved) {
        stop_waiting_locked(incoming, talk);
    }
    else if (!talk->starved_since) {
        talk->starved_since = now;
        incoming->waiting++;
    }
    pthread_mutex_unlock(&incoming->lock);
    return reserved;
}

void mod_comet_incoming_release(mod_comet_talk_t *talk)
{
    incoming_t *incoming;

    if ((!talk->reserved && !talk->starved_since) || !mod_comet_child()) {
        return; /* nothing is reserved, or this is a fork of the child, which
                 * has none of the child's clients */
    }
    incoming = find();
    pthread_mutex_lock(&incoming->lock);
    release_locked(incoming, talk);
    stop_waiting_locked(incoming, talk);
    pthread_mutex_unlock(&incoming->lock);
}

mod_comet_talk_t *mod_comet_incoming_find_late(void)
{
    incoming_t *incoming = find();
    apr_time_t now = comet_monotonic();
    mod_comet_talk_t *talk;

    pthread_mutex_lock(&incoming->lock);
    talk = TAILQ_FIRST(&incoming->holders);
    if (talk && now - talk->reserved_at >= HOLD_MOST && !talk->is_late) {
        talk->is_late = 1;
        atomic_fetch_add(&talk->refs, 1);
    }
    else {
        talk = NULL;
    }
    pthread_mutex_unlock(&incoming->lock);
    return talk;
}

int mod_comet_incoming_is_hopeless(const mod_comet_talk_t *talk)
{
    incoming_t *incoming = find();
    int hopeless;

    pthread_mutex_lock(&incoming->lock);
    hopeless = talk->starved_since
               && (incoming->waiting > WAITING_MOST
                   || comet_monotonic() - talk->starved_since >= PATIENCE);
    pthread_mutex_unlock(&incoming->lock);
    return hopeless;
}
