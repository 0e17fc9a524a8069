/* The command line. */

#ifndef LOADGEN_OPTIONS_H
#define LOADGEN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "dialect.h"

struct options {
    const char *scenario;
    enum protocol protocol;
    unsigned proxy;               /* port on 127.0.0.1 */
    unsigned backends[PROTOCOLS]; /* ports; 0: not served */
    unsigned auth;                /* port; 0: somebody else's */
    unsigned concurrency;         /* logins under way at once */
    unsigned sessions;            /* held logged in */
    uint64_t count;               /* logins or exchanges at most */
    uint64_t bytes;               /* of one transfer */
    uint64_t total;               /* transferred at most, in bytes */
    double seconds;               /* the measured part at most */
    double grace;                 /* for what is then under way, and for setting up */
    double rate;                  /* exchanges begun in a second; 0: each session as fast as it can */
    double think;                 /* milliseconds from a batch's arrival to the servers' answer */
    bool envelope;
    bool upload;
    bool sync;
    const char *tls;              /* version; NULL: in clear */
    bool resume;
};

/* Exits with status 2 and words on stderr when it is wrong. */
struct options options_parse(int count, char **arguments);

#endif
