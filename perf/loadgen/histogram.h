/* Durations in log-linear buckets: 64 to each doubling, so a percentile is right to 1.6 %. */

#ifndef LOADGEN_HISTOGRAM_H
#define LOADGEN_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 64 * 40 };

struct histogram {
    uint64_t count;
    int64_t largest;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, int64_t ns);

/* The duration, in ns, that the fraction (0 to 1) of all that was added did not exceed; 0 when empty. */
int64_t histogram_at(const struct histogram *histogram, double fraction);

#endif
