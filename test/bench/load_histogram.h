/* SPDX-License-Identifier: Apache-2.0 */
/* A log-linear histogram of durations: quantiles within 0.4 %. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

#define LOAD_HISTOGRAM_BITS 8
#define LOAD_HISTOGRAM_BUCKETS (56 << LOAD_HISTOGRAM_BITS)

typedef struct load_histogram_t {
    uint64_t count, max;
    uint32_t buckets[LOAD_HISTOGRAM_BUCKETS];
} load_histogram_t;

void load_histogram_add(load_histogram_t *histogram, int64_t value);

/* The value below which a share (0 to 1) of the values lies; 0 if there are
 * none. */
double load_histogram_at(const load_histogram_t *histogram, double share);

#endif
