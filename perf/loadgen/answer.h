/* What servers say: at once, or after they have thought for a while about what arrived together. */

#ifndef LOADGEN_ANSWER_H
#define LOADGEN_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "loop.h"

/* A server's side of a connection: the first member of a block from calloc(), which is freed when the
 * connection has ended and nothing more is to be said. */
struct answerer {
    struct peer peer;
    unsigned thinking; /* answers that wait for their time */
    bool leaving;      /* the last command has been heard */
};

/* From now on an answer leaves this time after what it answers has arrived. */
void answers_think(double ms);

/* Answers what has arrived just now. False when the connection is broken; one that breaks while the server
 * thinks has an event of its own. */
bool answer_send(struct answerer *answerer, const char *text, size_t length);

/* Closes when everything is said, and reads nothing any more. */
void answer_finish(struct answerer *answerer);

/* Closes now; what was still to be said is dropped. */
void answer_drop(struct answerer *answerer);

#endif
