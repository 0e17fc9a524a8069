/* An auth_http server that lets everybody in: HTTP/1.0 with a close, HTTP/1.1 kept alive. */

#ifndef LOADGEN_AUTH_H
#define LOADGEN_AUTH_H

#include "dialect.h"

/* Serves on 127.0.0.1 and sends each protocol to the backend port given for it. */
void auth_listen(unsigned port, const unsigned backend_ports[PROTOCOLS]);

#endif
