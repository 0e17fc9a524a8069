/* A call at a steady rate, however late its turn comes. */

#ifndef LOADGEN_TICKER_H
#define LOADGEN_TICKER_H

#include <stdbool.h>
#include <stdint.h>

/* Calls tick with the time, in ns, that it was due at; one that returns false is tried again, with the same. */
void ticker_start(double per_second, bool (*tick)(int64_t due));
void ticker_stop(void);

#endif
