/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/metrics.h
 * Counters of all children of a server, in shared memory.  Each child writes to
 * a slot of its own, so counting needs no lock.  A new child continues the
 * counters in the slot of a dead one.
 */
#ifndef COMET_METRICS_H
#define COMET_METRICS_H

#include "base/comet.h"

typedef enum {
#define METRIC(kind, name, help) COMET_METRIC_##name,
#include "tables/metrics.def"
#undef METRIC
    COMET_METRIC_COUNT
} comet_metric_e;

typedef enum {
    COMET_METRIC_KIND_COUNTER,
    COMET_METRIC_KIND_GAUGE
} comet_metric_kind_e;

typedef struct comet_metric_info_t {
    const char *name;
    const char *help;
    comet_metric_kind_e kind;
} comet_metric_info_t;

/** The contents of tables/metrics.def, in the order of the enum. */
extern const comet_metric_info_t comet_metric_info[COMET_METRIC_COUNT];

typedef struct comet_metrics_t comet_metrics_t;

/** The sums over all children. */
typedef struct comet_metrics_total_t {
    apr_int64_t values[COMET_METRIC_COUNT];
    int children;
} comet_metrics_total_t;

/**
 * Map the shared memory.  Called in the parent, before children are forked.
 * The memory is never unmapped: when the process ends, the module and its
 * clean-up functions have been unloaded already.
 * @param slots  the largest number of children that can live at once, including
 *               those of old generations.  A child without a slot counts
 *               nothing
 */
apr_status_t comet_metrics_create(comet_metrics_t **metrics, int slots);

/** Get the sum of the sizes of the structs in that memory. */
apr_size_t comet_metrics_layout(void);

/**
 * Take a slot for this process.  Called in child_init.
 * @return the slot's number, or -1 if none was free
 */
int comet_metrics_attach(comet_metrics_t *metrics);

/** Give the slot back.  Its counters keep their values.  Safe in a signal
 * handler. */
void comet_metrics_detach(void);

/** Add to a metric of this process; for a gauge, @a amount may be negative.
 * Any thread.  A process without a slot counts nothing. */
void comet_metrics_add(comet_metric_e metric, apr_int64_t amount);

/**
 * Add 1 to a gauge, unless the sum of some gauges over all children has reached
 * a cap.  The check and the addition are one step: if several processes and
 * threads call this at once, no more succeed than there is room for.  Below the
 * cap the call is cheap; only at the cap does it check which children are still
 * alive.  While the process that holds the lock is stopped (SIGSTOP), callers
 * go on without the lock, so a few may be refused although there is room.
 * @param gauge  one of @a gauges
 * @return whether there is room, so that 1 was added.  A process without a slot
 *         adds nothing.  Any thread.
 */
int comet_metrics_take(comet_metrics_t *metrics, comet_metric_e gauge,
                       const comet_metric_e *gauges, apr_size_t count,
                       apr_int64_t cap);

/** Sum up the metrics of all children.  Any thread. */
void comet_metrics_sum(const comet_metrics_t *metrics,
                       comet_metrics_total_t *total);

#endif /* COMET_METRICS_H */
