/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of all children, in slots of shared memory. */
#include "shared/metrics.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "shared/memory.h"

typedef struct slot_t {
    atomic_int pid; /* [atomic] 0: free */
    _Atomic apr_int64_t values[COMET_METRIC_COUNT]; /* [atomic] */
} slot_t;

struct comet_metrics_t {
    pthread_mutex_t lock; /* robust; held while a gauge is compared with a cap
                           * and raised */
    int count;
    slot_t slots[];
};

const comet_metric_info_t comet_metric_info[COMET_METRIC_COUNT] = {
#define METRIC(kind, name, help) { #name, help, COMET_METRIC_KIND_##kind },
#include "tables/metrics.def"
#undef METRIC
};

static _Atomic(slot_t *) own; /* [atomic] this process's slot */
static _Atomic apr_time_t stopped_until; /* [atomic] until when the lock's
                                          * holder counts as stopped */

apr_size_t comet_metrics_layout(void)
{
    return sizeof(comet_metrics_t) + sizeof(slot_t);
}

apr_status_t comet_metrics_create(comet_metrics_t **metrics, int slots)
{
    apr_size_t size = sizeof(**metrics) + (apr_size_t)slots * sizeof(slot_t);
    void *memory;
    apr_status_t status = comet_memory_map(&memory, size);

    *metrics = memory; /* zeroed memory: all slots are free */
    if (status != APR_SUCCESS) {
        return status;
    }
    (*metrics)->count = slots;
    status = comet_memory_init_mutex(&(*metrics)->lock);
    if (status != APR_SUCCESS) {
        comet_memory_unmap(memory, size);
        *metrics = NULL;
    }
    return status;
}

/* A gauge describes a state that ends with its child, so it becomes 0.
 * Counters keep their values. */
static void end_gauges(slot_t *slot)
{
    int i;

    for (i = 0; i < COMET_METRIC_COUNT; i++) {
        if (comet_metric_info[i].kind == COMET_METRIC_KIND_GAUGE) {
            atomic_store(&slot->values[i], 0);
        }
    }
}

/* Whether a slot's child was killed before it could give the slot back. */
static int is_dead(int pid)
{
    return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

int comet_metrics_attach(comet_metrics_t *metrics)
{
    int i;

    for (i = 0; i < metrics->count; i++) {
        slot_t *slot = &metrics->slots[i];
        int pid = atomic_load(&slot->pid);

        if ((pid == 0 || is_dead(pid))
            && atomic_compare_exchange_strong(&slot->pid, &pid,
                                              (int)getpid())) {
            end_gauges(slot);
            atomic_store(&own, slot);
            return i;
        }
    }
    return -1;
}

/* A fork of a child inherits `own`, but the slot still belongs to its
 * parent. */
void comet_metrics_detach(void)
{
    slot_t *slot = atomic_exchange(&own, NULL);

    if (slot && !comet_process_is_fork()) {
        end_gauges(slot);
        atomic_store(&slot->pid, 0);
    }
}

void comet_metrics_add(comet_metric_e metric, apr_int64_t amount)
{
    slot_t *slot = atomic_load_explicit(&own, memory_order_relaxed);

    if (slot && !comet_process_is_fork()) {
        atomic_fetch_add_explicit(&slot->values[metric], amount,
                                  memory_order_relaxed);
    }
}

static apr_int64_t sum_gauges(const comet_metrics_t *metrics,
                              const comet_metric_e *gauges, apr_size_t count,
                              int exactly)
{
    apr_int64_t sum = 0;
    apr_size_t k;
    int i;

    for (i = 0; i < metrics->count; i++) {
        const slot_t *slot = &metrics->slots[i];
        int pid = atomic_load_explicit(&slot->pid, memory_order_relaxed);

        if (pid == 0 || (exactly && is_dead(pid))) {
            continue;
        }
        for (k = 0; k < count; k++) {
            sum += atomic_load_explicit(&slot->values[gauges[k]],
                                        memory_order_relaxed);
        }
    }
    return sum;
}

static int is_within(const comet_metrics_t *metrics,
                     const comet_metric_e *gauges, apr_size_t count,
                     apr_int64_t most)
{
    return sum_gauges(metrics, gauges, count, 0) <= most
           || sum_gauges(metrics, gauges, count, 1) <= most;
}

int comet_metrics_take(comet_metrics_t *metrics, comet_metric_e gauge,
                       const comet_metric_e *gauges, apr_size_t count,
                       apr_int64_t cap)
{
    int is_locked = comet_memory_is_locked(
        comet_memory_lock_briefly(&metrics->lock, &stopped_until));
    /* a process without a slot counts nothing */
    apr_int64_t most = atomic_load(&own) ? cap : cap - 1;
    int taken;

    /* Count first: if the lock could not be taken, a few callers may be refused
     * although there is room, but no more succeed than there is room for. */
    comet_metrics_add(gauge, 1);
    taken = is_within(metrics, gauges, count, most);
    if (!taken) {
        comet_metrics_add(gauge, -1);
    }
    if (is_locked) {
        pthread_mutex_unlock(&metrics->lock);
    }
    return taken;
}

void comet_metrics_sum(const comet_metrics_t *metrics,
                       comet_metrics_total_t *total)
{
    int i, n;

    *total = (comet_metrics_total_t){ .children = 0 };
    for (n = 0; n < metrics->count; n++) {
        const slot_t *slot = &metrics->slots[n];
        int pid = atomic_load(&slot->pid);
        int alive = pid != 0 && !is_dead(pid);

        total->children += alive;
        for (i = 0; i < COMET_METRIC_COUNT; i++) {
            if (alive
                || comet_metric_info[i].kind == COMET_METRIC_KIND_COUNTER) {
                total->values[i] += atomic_load(&slot->values[i]);
            }
        }
    }
}
