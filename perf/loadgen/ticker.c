#include "ticker.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "loop.h"

static struct peer timer = {.fd = -1};
static int64_t next_due, interval;
static bool (*call)(int64_t due);

static void timer_ready(struct peer *peer, uint32_t events)
{
    uint64_t expirations;

    (void)events;
    if (read(peer->fd, &expirations, sizeof expirations) < 0)
        return;
    while (next_due <= now_ns() && call(next_due))
        next_due += interval;
}

void ticker_start(double per_second, bool (*tick)(int64_t due))
{
    call = tick;
    interval = (int64_t)(1e9 / per_second);
    next_due = now_ns() + interval;

    struct timespec every = {interval / 1000000000, interval % 1000000000};
    struct itimerspec when = {every, every};

    timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer.fd < 0 || timerfd_settime(timer.fd, 0, &when, NULL) < 0)
        die("timerfd: %s", strerror(errno));
    timer.ready = timer_ready;
    loop_watch(&timer, EPOLLIN);
}

void ticker_stop(void)
{
    loop_close(&timer);
}
