/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hooks/prometheus.h
 * The counters in Prometheus' text format (exposition format 0.0.4).
 */
#ifndef MOD_COMET_PROMETHEUS_H
#define MOD_COMET_PROMETHEUS_H

#include "base/buffer.h"
#include "shared/metrics.h"

/** Write all metrics.  Names, units and labels follow Prometheus' conventions,
 * so that `promtool check metrics` reports nothing.  Called by a request's
 * thread. */
void mod_comet_prometheus_add(comet_buffer_t *out,
                              const comet_metrics_total_t *total);

#endif /* MOD_COMET_PROMETHEUS_H */
