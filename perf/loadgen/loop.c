#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512 };

static int epoll_fd = -1;

void die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void loop_open(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1: %s", strerror(errno));
}

static void control(int operation, struct peer *peer, uint32_t interest)
{
    struct epoll_event event = {.events = interest, .data.ptr = peer};

    if (epoll_ctl(epoll_fd, operation, peer->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
    peer->interest = interest;
}

void loop_watch(struct peer *peer, uint32_t interest)
{
    control(EPOLL_CTL_ADD, peer, interest);
}

void loop_interest(struct peer *peer, uint32_t interest)
{
    if (peer->interest != interest)
        control(EPOLL_CTL_MOD, peer, interest);
}

void loop_close(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

void loop_forget(struct peer *peer)
{
    control(EPOLL_CTL_DEL, peer, 0);
}

void loop_turn(int timeout_ms)
{
    struct epoll_event events[BATCH];
    int ready = epoll_wait(epoll_fd, events, BATCH, timeout_ms);

    if (ready < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < ready; i++) {
        struct peer *peer = events[i].data.ptr;
        peer->ready(peer, events[i].events);
    }
}

static struct sockaddr_in loopback(unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        die("socket: %s", strerror(errno));
    return fd;
}

int loop_listen(unsigned port)
{
    struct sockaddr_in address = loopback(port);
    int fd = tcp_socket(), on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what is accepted */
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind to 127.0.0.1:%u: %s", port, strerror(errno));
    if (listen(fd, 4096) < 0)
        die("listen on 127.0.0.1:%u: %s", port, strerror(errno));
    return fd;
}

int loop_connect(unsigned port)
{
    struct sockaddr_in address = loopback(port);
    int fd = tcp_socket();

    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        die("connect to 127.0.0.1:%u: %s", port, strerror(errno));
    return fd;
}

int loop_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED)
        die("accept: %s", strerror(errno));
    return fd;
}
