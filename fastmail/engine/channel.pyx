# A descriptor in the epoll set, edge-triggered: what has been seen of it and not been used up yet.
# The only place that reads, writes and watches sessions' sockets.

cdef enum:                      # what kind of pointer an epoll event carries, in its low bits
    TAG_LISTENER = 0
    TAG_CLIENT = 1
    TAG_BACKEND = 2
    TAG_AUTH = 3
    TAG_ORDERS = 4
    TAG_BELL = 5
    TAG_MASK = 7

cdef enum:                      # what channel_recv() and channel_send() return besides a count
    IO_CLOSED = 0
    IO_AGAIN = -1               # if the channel is still readable, it has had its share of this turn
    IO_ERROR = -2               # errno tells

cdef enum:
    HANGUP_ENDED = 1            # the peer has sent its last byte
    HANGUP_BROKEN = 2

cdef struct Channel:
    SSL *ssl                    # NULL: in clear
    int fd                      # -1: none
    uint8_t readable            # there may be something to read
    uint8_t hangup              # HANGUP_*: read on until it shows
    uint8_t failed              # the connection broke: an error is pending
    uint8_t blocked             # the last send found no room
    uint8_t watched             # EPOLLOUT is in the interest set
    uint8_t cuts                # reads may stop before the end: a unix socket, or TCP urgent data
    uint8_t urgent              # TCP urgent data has come: splice() stops at it, recv() leaves it out
    # With TLS "readable" is of what libssl has to give, the descriptor has its own:
    uint8_t raw                 # there may be something to receive
    uint8_t ended               # and there never will be again
    uint8_t quiet               # TLS has failed: no close_notify
    uint8_t excess              # it was ended for what the peer has sent without data


cdef bint channel_watch(Core *core, Channel *c, void *owner, int tag, bint out) noexcept nogil:
    """Add to the epoll set. EPOLLOUT only when asked for: a socket that can be written would be
    reported at once, and most never block."""
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | (EPOLLOUT if out else 0)
    event.data.u64 = <uint64_t> owner | <uint64_t> tag
    c.watched = out
    return epoll_ctl(core.epoll, EPOLL_CTL_ADD, c.fd, &event) == 0


cdef void channel_watch_out(Core *core, Channel *c, void *owner, int tag) noexcept nogil:
    """After a send that found no room: be told when there is. Once set it stays: edges only come
    after a send that blocked."""
    cdef epoll_event event
    if c.watched:
        return
    event.events = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET | EPOLLOUT
    event.data.u64 = <uint64_t> owner | <uint64_t> tag
    if epoll_ctl(core.epoll, EPOLL_CTL_MOD, c.fd, &event) == 0:
        c.watched = True


cdef inline void channel_event(Channel *c, uint32_t events) noexcept nogil:
    if events & ~<uint32_t> (EPOLLOUT | EPOLLPRI):
        c.raw = True
    elif c.ssl != NULL and events & EPOLLOUT:
        c.readable = True       # libssl may have had to send before it could read on
    if events & EPOLLERR:
        c.failed = True
    if events & (EPOLLHUP | EPOLLERR):
        c.hangup = HANGUP_BROKEN
        c.readable = True
    elif events & EPOLLRDHUP:
        c.hangup = HANGUP_ENDED
        c.readable = True
    elif events & EPOLLIN:
        c.readable = True
    if events & EPOLLPRI:
        c.cuts = c.urgent = True
    if events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        c.blocked = False
        if c.ssl != NULL and tls_holds(c):
            tls_release(c)


cdef ssize_t channel_recv(Channel *c, char *buf, size_t n) noexcept nogil:
    """A short read means that the socket is empty: the next byte brings an edge. Not so where reads may
    stop early, or after a hangup: then we read on to the end."""
    cdef ssize_t got
    if c.ssl != NULL:
        return tls_recv(c, buf, n)
    while True:
        got = recv(c.fd, buf, n, 0)
        if got > 0:
            if <size_t> got < n and not c.hangup and not c.cuts:
                c.readable = False
            return got
        if got == 0:
            c.readable = False
            return IO_CLOSED
        if fm_errno() == EAGAIN:
            c.readable = False
            return IO_AGAIN
        if fm_errno() != EINTR:
            c.readable = False
            return IO_ERROR


cdef ssize_t channel_put(Channel *c, const char *buf, size_t n, bint more) noexcept nogil:
    """Onto the descriptor itself; ``more`` follows at once. A count below ``n`` means that it is full."""
    cdef ssize_t sent
    while True:
        sent = send(c.fd, buf, n, MSG_NOSIGNAL | (MSG_MORE if more else 0))
        if sent >= 0:
            if <size_t> sent < n:
                c.blocked = True
            return sent
        if fm_errno() == EAGAIN:
            c.blocked = True
            return IO_AGAIN
        if fm_errno() != EINTR:
            return IO_ERROR


cdef ssize_t channel_send(Channel *c, const char *buf, size_t n) noexcept nogil:
    """A count below ``n`` means that the socket is full."""
    if c.ssl != NULL:
        return tls_send(c, buf, n)
    return channel_put(c, buf, n, False)


cdef void listener_sends_at_once(int fd) noexcept nogil:
    """Clients' sockets inherit TCP_NODELAY: without it the second of two replies, to commands that came
    together, waits until the client acknowledges the first, 40 ms later. Fails, to no harm, on a unix
    socket."""
    cdef int on = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))


cdef void channel_acknowledge(const Channel *c) noexcept nogil:
    """Acknowledge what has come before we wait for the rest of it: a peer with Nagle's algorithm (RFC 896)
    holds its next write back until then, and our kernel waits 40 ms for something to send. Not needed where
    we send something now. Fails, to no harm, on a unix socket."""
    cdef int on = 1
    if not c.hangup:
        setsockopt(c.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on))


cdef inline bint channel_at_end(const Channel *c, ssize_t got, size_t wanted) noexcept nogil:
    """The read that has just brought ``got`` bytes was the last: the peer's FIN had come before it, and
    it came back short, which it does earlier only where reads may stop early."""
    return c.hangup == HANGUP_ENDED and not c.cuts and c.ssl == NULL and 0 < got and <size_t> got < wanted


cdef ssize_t channel_send_last(Channel *c, const char *buf, size_t n) noexcept nogil:
    """Send, and end our direction in the same segment. Like channel_send(), if not all finds room."""
    cdef ssize_t sent
    if c.ssl != NULL:
        return tls_send_last(c, buf, n)
    sent = send(c.fd, buf, n, MSG_NOSIGNAL | MSG_MORE)
    if sent == <ssize_t> n:
        shutdown(c.fd, SHUT_WR)
        return sent
    return sent if sent > 0 else channel_send(c, buf, n)


cdef inline const char *channel_recv_failed(const Channel *c) noexcept nogil:
    if c.excess:
        return b"peer sent too many TLS messages without data"
    return b"recv() failed" if c.ssl == NULL else b"SSL_read() failed"


cdef inline const char *channel_send_failed(const Channel *c) noexcept nogil:
    return b"send() failed" if c.ssl == NULL else b"SSL_write() failed"


cdef bint channel_flush(Channel *c, Buffer *b) noexcept nogil:
    """Send what is pending. False: an error, errno tells. Afterwards either nothing is pending or the
    channel is blocked."""
    cdef ssize_t sent
    while b.end > b.start and not c.blocked:
        sent = channel_send(c, b.data + b.start, b.end - b.start)
        if sent == IO_ERROR:
            return False
        if sent > 0:
            b.start += <uint32_t> sent
    if b.start == b.end and b.data != NULL:
        buffer_free(b)
    return True


cdef void channel_close(Core *core, Channel *c) noexcept nogil:
    """May be called twice. Closing takes the descriptor out of the epoll set: nobody else holds it."""
    if c.fd < 0:
        return
    tls_free(c)
    close(c.fd)
    c.fd = -1
    core.connections -= 1


cdef int channel_error(const Channel *c) noexcept nogil:
    """The pending error of a connection that has failed; it is taken away."""
    cdef int err = 0
    cdef socklen_t size = sizeof(err)
    getsockopt(c.fd, SOL_SOCKET, SO_ERROR, &err, &size)
    return err


cdef enum Connecting:           # the call that failed
    CONNECTING_SOCKET
    CONNECTING_BIND
    CONNECTING_CONNECT


cdef int connect_to(Core *core, const Address *to, const Address *source,
                    Connecting *failed) noexcept nogil:
    """Begin to connect, from ``source`` unless it is NULL. Returns the descriptor, or -1 with errno."""
    cdef int err, on = 1
    cdef int fd = socket(to.addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    failed[0] = CONNECTING_SOCKET
    if fd < 0:
        return -1
    if source != NULL:
        # Without it bind() takes a port for this address alone, whoever it is to be connected to.
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))
        failed[0] = CONNECTING_BIND
        if bind(fd, <const sockaddr *> &source.addr, source.size) < 0:
            err = fm_errno()
            close(fd)
            fm_set_errno(err)
            return -1
    failed[0] = CONNECTING_CONNECT
    if connect(fd, <const sockaddr *> &to.addr, to.size) == 0 or fm_errno() == EINPROGRESS:
        core.connections += 1
        return fd
    err = fm_errno()
    close(fd)
    fm_set_errno(err)
    return -1


cdef bint is_network_error(int err) noexcept nogil:
    """Errors that a peer or the network causes in the ordinary course of things."""
    return err == ECONNREFUSED or err == ECONNRESET or err == EPIPE or err == ENOTCONN \
        or err == ETIMEDOUT or err == ENETDOWN or err == ENETUNREACH or err == EHOSTDOWN \
        or err == EHOSTUNREACH or err == EAGAIN
