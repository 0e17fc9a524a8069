#include "histogram.h"

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift = ns < 64 ? 0 : 57 - (unsigned)__builtin_clzll(ns);
    unsigned bucket = shift * 64 + (unsigned)(ns >> shift);

    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static int64_t upper_end(unsigned bucket)
{
    unsigned shift = bucket < 128 ? 0 : bucket / 64 - 1;

    return ((int64_t)(bucket - shift * 64) + 1) << shift;
}

void histogram_add(struct histogram *histogram, int64_t ns)
{
    histogram->count++;
    histogram->buckets[bucket_of((uint64_t)ns)]++;
    if (ns > histogram->largest)
        histogram->largest = ns;
}

int64_t histogram_at(const struct histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * (double)histogram->count), seen = 0;

    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > wanted || (seen && seen == histogram->count))
            return upper_end(bucket) < histogram->largest ? upper_end(bucket) : histogram->largest;
    }
    return 0;
}
