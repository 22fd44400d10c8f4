/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file shared/metrics.h
 * Counters of all children of a server, in memory they share.  Each child
 * writes to its own slot, so counting needs no lock; the next child goes on
 * in the slot of a dead one.
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

/** The table behind comet_metrics.def, in the order of the enum. */
extern const comet_metric_info_t comet_metric_info[COMET_METRIC_COUNT];

typedef struct comet_metrics_t comet_metrics_t;

/** All children's sums. */
typedef struct comet_metrics_total_t {
    apr_int64_t values[COMET_METRIC_COUNT];
    int children;
} comet_metrics_total_t;

/**
 * Make the shared memory.  Called in the parent, before children are forked.
 * It is never unmapped: by the time the process ends, the module (and any
 * clean-up function in it) has been unloaded.
 * @param slots  the most children that can live at once, old generations
 *               included; what one more than that counts is lost
 */
apr_status_t comet_metrics_create(comet_metrics_t **metrics, int slots);

/**
 * Take a slot for this process.  Called in child_init.
 * @return its number, or -1 when none was free
 */
int comet_metrics_attach(comet_metrics_t *metrics);

/** Give the slot back, keeping what it counted.  Safe in a signal handler. */
void comet_metrics_detach(void);

/** Add to a metric of this process (gauges also down).  Any thread; a
 * process without a slot counts nothing. */
void comet_metrics_add(comet_metric_e metric, apr_int64_t amount);

/**
 * Whether some gauges together have reached a cap, over all children.  Quick
 * while they have not: only at the cap are the dead told from the living.
 * Any thread.
 */
int comet_metrics_reach(const comet_metrics_t *metrics,
                        const comet_metric_e *gauges, apr_size_t count,
                        apr_int64_t cap);

/** Sum up.  Any thread. */
void comet_metrics_sum(const comet_metrics_t *metrics,
                       comet_metrics_total_t *total);

#endif /* COMET_METRICS_H */
