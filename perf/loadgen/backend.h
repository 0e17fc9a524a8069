/* Dummy IMAP, POP3 and SMTP servers that accept every login, and the commands of dialect.h. */

#ifndef LOADGEN_BACKEND_H
#define LOADGEN_BACKEND_H

#include <stdint.h>

#include "dialect.h"

/* Connections of the measured part, errors since the program began. */
struct backend_counts {
    uint64_t connections;
    uint64_t errors; /* commands not understood, and connections that broke */
    char first_error[256];
};
extern struct backend_counts backend_counts;

/* Serves the protocol on 127.0.0.1. */
void backend_listen(enum protocol protocol, unsigned port);

#endif
