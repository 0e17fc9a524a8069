/* What the clients do, and what is counted of it. */

#ifndef LOADGEN_SCENARIO_H
#define LOADGEN_SCENARIO_H

#include "histogram.h"
#include "options.h"

struct counts {
    uint64_t logins;
    uint64_t exchanges;
    uint64_t transfers;
    uint64_t bytes;
    int64_t elapsed;            /* ns */
    struct histogram latencies; /* of logins, or of exchanges; ns */
};
extern struct counts counts; /* of the measured part */

struct scenario {
    const char *name;
    bool prepared;         /* the held sessions are opened before the measured part */
    void (*prepare)(void); /* what else comes before it; NULL: nothing */
    void (*run)(void);
};

/* NULL when there is none of that name. */
const struct scenario *scenario_named(const char *name);

/* What must stand before the measured part; false when a session failed. */
bool scenario_prepare(const struct scenario *scenario, const struct options *chosen);

/* The measured part: fills counts. */
void scenario_run(const struct scenario *scenario);

/* Logs the held sessions out. Failures from here on are in session_failures as well. */
void scenario_end(void);

#endif
