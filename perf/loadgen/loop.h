/* One flat epoll, level-triggered: every descriptor of the load generator is a peer in it. */

#ifndef LOADGEN_LOOP_H
#define LOADGEN_LOOP_H

#include <stddef.h>
#include <stdint.h>

struct peer {
    int fd;
    uint32_t interest;
    void (*ready)(struct peer *peer, uint32_t events);
};

/* Nanoseconds of the monotonic clock. */
int64_t now_ns(void);

void loop_open(void);

/* Watches peer->fd. The handler may free or reuse its own peer, and no other: an event of this turn
 * may still name it. */
void loop_watch(struct peer *peer, uint32_t interest);
void loop_interest(struct peer *peer, uint32_t interest);

/* Closes the descriptor; epoll forgets it by itself. */
void loop_close(struct peer *peer);

/* Stops watching a descriptor that stays open. */
void loop_forget(struct peer *peer);

/* Waits for at most timeout_ms and calls the handlers of what is ready. */
void loop_turn(int timeout_ms);

/* A listening socket on 127.0.0.1, and a non-blocking connection to it that may still be under way.
 * Both end the program when the kernel refuses: no measurement could follow. */
int loop_listen(unsigned port);
int loop_connect(unsigned port);

/* Takes one waiting connection, -1 when there is none. */
int loop_accept(int listener);

/* Says why on stderr and exits with status 2. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
