#include "answer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct held {
    struct held *next;
    int64_t due;
    struct answerer *answerer;
    size_t length;
    char text[];
};

static int64_t think_ns;

/* All wait equally long, so the first to come is the first to go. */
static struct held *first, **last = &first;

static struct peer timer;

static void set_timer(void)
{
    struct itimerspec when = {.it_value = {first->due / 1000000000, first->due % 1000000000}};

    if (timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
        die("timerfd_settime: %s", strerror(errno));
}

static bool say(struct answerer *answerer, const char *text, size_t length)
{
    return send(answerer->peer.fd, text, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void end_if_done(struct answerer *answerer)
{
    if (answerer->thinking || !(answerer->leaving || answerer->peer.fd < 0))
        return;
    loop_close(&answerer->peer);
    free(answerer);
}

static void timer_ready(struct peer *peer, uint32_t events)
{
    uint64_t expirations;

    (void)events;
    if (read(peer->fd, &expirations, sizeof expirations) < 0)
        return;
    for (int64_t now = now_ns(); first && first->due <= now;) {
        struct held *held = first;
        struct answerer *answerer = held->answerer;

        first = held->next;
        if (!first)
            last = &first;
        answerer->thinking--;
        /* Its own event frees it: one of this turn may name it already. */
        if (answerer->peer.fd >= 0 && !say(answerer, held->text, held->length))
            shutdown(answerer->peer.fd, SHUT_RDWR);
        end_if_done(answerer);
        free(held);
    }
    if (first)
        set_timer();
}

void answers_think(double ms)
{
    think_ns = (int64_t)(ms * 1e6);
    if (!think_ns)
        return;
    timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer.fd < 0)
        die("timerfd_create: %s", strerror(errno));
    timer.ready = timer_ready;
    loop_watch(&timer, EPOLLIN);
}

bool answer_send(struct answerer *answerer, const char *text, size_t length)
{
    if (!think_ns)
        return say(answerer, text, length);
    struct held *held = malloc(sizeof *held + length);
    if (!held)
        die("out of memory");
    *held = (struct held){.due = now_ns() + think_ns, .answerer = answerer, .length = length};
    memcpy(held->text, text, length);
    answerer->thinking++;
    *last = held;
    last = &held->next;
    if (first == held)
        set_timer();
    return true;
}

void answer_finish(struct answerer *answerer)
{
    answerer->leaving = true;
    if (answerer->thinking)
        loop_forget(&answerer->peer);
    end_if_done(answerer);
}

void answer_drop(struct answerer *answerer)
{
    loop_close(&answerer->peer);
    end_if_done(answerer);
}
