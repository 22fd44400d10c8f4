/* SPDX-License-Identifier: Apache-2.0 */
/* A log-linear histogram: 256 buckets for each power of two. */
#include "load_histogram.h"

#include <stddef.h>

#define LINEAR (1u << LOAD_HISTOGRAM_BITS)

static size_t bucket_of(uint64_t value)
{
    unsigned int exponent;

    if (value < LINEAR) {
        return (size_t)value;
    }
    exponent = 63u - (unsigned int)__builtin_clzll(value);
    return ((size_t)(exponent - LOAD_HISTOGRAM_BITS + 1) << LOAD_HISTOGRAM_BITS)
           + (size_t)((value >> (exponent - LOAD_HISTOGRAM_BITS))
                      & (LINEAR - 1));
}

/* The middle of a bucket. */
static uint64_t value_of(size_t bucket)
{
    unsigned int exponent;
    uint64_t low;

    if (bucket < LINEAR) {
        return bucket;
    }
    exponent =
        (unsigned int)(bucket >> LOAD_HISTOGRAM_BITS) + LOAD_HISTOGRAM_BITS - 1;
    low = (UINT64_C(1) << exponent)
          | ((uint64_t)(bucket & (LINEAR - 1))
             << (exponent - LOAD_HISTOGRAM_BITS));
    return low + (UINT64_C(1) << (exponent - LOAD_HISTOGRAM_BITS)) / 2;
}

void load_histogram_add(load_histogram_t *histogram, int64_t value)
{
    uint64_t positive = value > 0 ? (uint64_t)value : 0;
    size_t bucket = bucket_of(positive);

    if (bucket >= LOAD_HISTOGRAM_BUCKETS) {
        bucket = LOAD_HISTOGRAM_BUCKETS - 1;
    }
    histogram->buckets[bucket]++;
    histogram->count++;
    if (positive > histogram->max) {
        histogram->max = positive;
    }
}

double load_histogram_at(const load_histogram_t *histogram, double share)
{
    double wanted = share * (double)histogram->count;
    uint64_t seen = 0, value;
    size_t i;

    for (i = 0; i < LOAD_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > 0 && (double)seen >= wanted) {
            value = value_of(i);
            return (double)(value < histogram->max ? value : histogram->max);
        }
    }
    return (double)histogram->max;
}
