# The relay: bytes both ways, unchanged, with back-pressure in each direction.
#
# Small exchanges, which most of a session is, go through one buffer that all sessions share: one
# recv(), one send(). What the receiver has no room for is kept in a block of its own, and nothing more
# is read until it is gone. A read that fills the whole shared buffer marks bulk: from then on a pipe
# from the pool is lent and splice() moves the bytes without copying them, until the sender pauses.

cdef enum FlowResult:
    FLOW_WAIT                   # nothing more can be moved now
    FLOW_MORE                   # there is more, but others have their turn first
    FLOW_END                    # the sender has closed and everything has been passed on
    FLOW_ERROR                  # the receiver is gone

cdef enum:
    MOVES_PER_TURN = 16         # of one direction, before others get their turn
    PIPES_MAX = 64              # of one worker: an unprivileged uid has a budget for all its pipes
    PIPE_SIZE = 256 * 1024      # asked for; the kernel may grant less
    PIPE_IDLE = 2000            # milliseconds that the pool is kept: other workers share the budget


# --- pipes ---------------------------------------------------------------------------------------

cdef Pipe *pipe_borrow(Core *core) noexcept nogil:
    """An empty pipe, or NULL: copy instead."""
    cdef Pipe *p = core.pipes
    cdef int size
    if p != NULL:
        core.pipes = p.next
        core.pipes_lent += 1
        return p
    if core.pipe_count == PIPES_MAX:
        return NULL
    p = <Pipe *> calloc(1, sizeof(Pipe))
    if p == NULL:
        return NULL
    if pipe2(p.fds, O_NONBLOCK | O_CLOEXEC) < 0:
        free(p)
        return NULL
    fcntl(p.fds[1], F_SETPIPE_SZ, <int> PIPE_SIZE)
    size = fcntl(p.fds[1], F_GETPIPE_SZ)
    p.size = <uint32_t> size if size > 0 else 0
    core.pipe_count += 1
    core.pipes_lent += 1
    if p.size < SHARED_SIZE:    # the budget is used up: a small pipe is slower than copying
        pipe_discard(core, p)
        return NULL
    return p


cdef void pipe_discard(Core *core, Pipe *p) noexcept nogil:
    close(p.fds[0])
    close(p.fds[1])
    free(p)
    core.pipe_count -= 1
    core.pipes_lent -= 1


cdef void pipes_empty_pool(Core *core) noexcept nogil:
    cdef Pipe *p
    while core.pipes != NULL:
        p = core.pipes
        core.pipes = p.next
        core.pipes_lent += 1    # as if borrowed
        pipe_discard(core, p)


cdef void flow_return_pipe(Core *core, Flow *f) noexcept nogil:
    """Back into the pool if it is empty; with bytes in it, it cannot be lent again."""
    if f.pipe == NULL:
        return
    if f.piped:
        pipe_discard(core, f.pipe)
    else:
        f.pipe.next = core.pipes
        core.pipes = f.pipe
        core.pipes_lent -= 1
        timer_start(&core.wheel, &core.pipe_timer, core.clock.now + PIPE_IDLE)
    f.pipe = NULL
    f.piped = 0
    f.bulk = False


cdef void flow_free(Core *core, Flow *f) noexcept nogil:
    flow_return_pipe(core, f)
    if f.pending != NULL:
        buffer_free(f.pending)
        free(f.pending)
        f.pending = NULL


cdef bint flow_keep(Flow *f, const char *data, size_t n) noexcept nogil:
    """Bytes that must go out before anything else does. False: no memory."""
    if n == 0:
        return True
    if f.pending == NULL:
        f.pending = <Buffer *> calloc(1, sizeof(Buffer))
        if f.pending == NULL:
            return False
    return put(f.pending, data, n)


# --- one direction -------------------------------------------------------------------------------

cdef FlowResult flow_out(Core *core, Flow *f, Channel *to) noexcept nogil:
    """Send what is kept and what is in the pipe. FLOW_MORE: all gone, the sender may be read."""
    cdef ssize_t n
    if to.ssl != NULL and tls_holds(to):
        tls_release(to)
        if tls_holds(to):
            return FLOW_WAIT if to.blocked else FLOW_ERROR
    if f.pending != NULL:
        if not channel_flush(to, f.pending):
            return FLOW_ERROR
        if to.blocked and f.pending.end > f.pending.start:
            return FLOW_WAIT
        free(f.pending)
        f.pending = NULL
    while f.piped:
        if to.blocked:
            return FLOW_WAIT
        n = splice(f.pipe.fds[0], NULL, to.fd, NULL, f.piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if n > 0:
            f.piped -= <uint32_t> n
        elif n < 0 and fm_errno() == EAGAIN:
            to.blocked = True
        elif n == 0 or fm_errno() != EINTR:
            return FLOW_ERROR
    return FLOW_MORE


cdef ssize_t flow_fill_pipe(Core *core, Flow *f, Channel *source) noexcept nogil:
    """Splice into the (empty) pipe, so that EAGAIN can only mean the socket. Urgent data of which no event
    has told yet looks like the end where the sender has ended (0), else like a pause."""
    cdef ssize_t n
    while True:
        n = splice(source.fd, NULL, f.pipe.fds[1], NULL, f.pipe.size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
        if n > 0:
            f.piped = <uint32_t> n
            return n
        if n == 0:
            return IO_CLOSED
        if fm_errno() == EAGAIN:
            source.readable = False
            return IO_AGAIN
        if fm_errno() != EINTR:
            source.readable = False
            return IO_ERROR


cdef ssize_t flow_copy(Core *core, Flow *f, Channel *source, Channel *to) noexcept nogil:
    """One read and one write through the shared buffer. IO_ERROR is the sender's; the receiver's
    shows when what was kept is sent."""
    cdef ssize_t n = channel_recv(source, core.shared, SHARED_SIZE)
    cdef ssize_t sent = 0
    cdef bint last
    if n <= 0:
        return n
    last = channel_at_end(source, n, SHARED_SIZE)
    if not to.blocked:
        if last:
            sent = channel_send_last(to, core.shared, <size_t> n)
        else:
            sent = channel_send(to, core.shared, <size_t> n)
        if sent == n and last and not tls_holds(to):
            return IO_CLOSED
        if sent < 0:
            sent = 0
    if sent < n and not flow_keep(f, core.shared + sent, <size_t> (n - sent)):
        return IO_ERROR
    if n == SHARED_SIZE and f.pending == NULL and not f.bulk and source.ssl == NULL and to.ssl == NULL \
            and not source.urgent:
        f.pipe = pipe_borrow(core)
        f.bulk = f.pipe != NULL
    return n


cdef FlowResult flow_run(Core *core, Session *s, bint up) noexcept nogil:
    cdef Flow *f = &s.up if up else &s.down
    cdef Channel *source = &s.client if up else &s.backend
    cdef Channel *to = &s.backend if up else &s.client
    cdef FlowResult result
    cdef ssize_t n
    cdef int _
    for _ in range(MOVES_PER_TURN):
        result = flow_out(core, f, to)
        if result == FLOW_ERROR:
            relay_failed(s, channel_send_failed(to), not up,
                         b"proxying and sending to upstream" if up else b"proxying and sending to client")
            return FLOW_ERROR
        if result == FLOW_WAIT:
            channel_watch_out(core, to, s, TAG_BACKEND if up else TAG_CLIENT)
            return relay_client_gone(s) if up and source.failed else FLOW_WAIT
        if not source.readable:
            if f.bulk:
                flow_return_pipe(core, f)
            return FLOW_WAIT
        if f.bulk and source.urgent:
            flow_return_pipe(core, f)
        n = flow_fill_pipe(core, f, source) if f.bulk else flow_copy(core, f, source, to)
        if n == IO_CLOSED and f.bulk:       # recv() knows whether it is
            source.urgent = True
            continue
        if to.blocked and to.ssl != NULL:
            channel_watch_out(core, to, s, TAG_BACKEND if up else TAG_CLIENT)
        if n == IO_AGAIN and source.readable:
            return FLOW_MORE
        if n == IO_CLOSED:
            return FLOW_END
        if n == IO_ERROR:
            relay_failed(s, channel_recv_failed(source), up,
                         b"proxying and reading from client" if up else b"proxying and reading from upstream")
            return FLOW_END
    return FLOW_MORE


cdef FlowResult relay_client_gone(Session *s) noexcept nogil:
    """The client's connection broke, and its backend doesn't take what it has said before: waiting for that
    would hold both descriptors for proxy_timeout. (A client that has just ended its direction is served to
    the end. So is one whose backend is gone: what is kept is for it.)"""
    fm_set_errno(channel_error(&s.client))
    s.client.quiet = True
    relay_failed(s, b"recv() failed", True, b"proxying and reading from client")
    return FLOW_END


cdef void relay_failed(Session *s, const char *what, bint client, const char *action) noexcept nogil:
    cdef int err = fm_errno()
    cdef bint peer = peer_is_to_blame(err)
    ends(&s.end, REASON_CLIENT_ERROR if client else REASON_UPSTREAM_ERROR, HOW_BROKEN)
    session_log(s, LOG_ALERT if not peer else LOG_INFO if client else LOG_ERR, err, what,
                span_of(NULL, 0), NULL, action)


# --- a session -----------------------------------------------------------------------------------

cdef void relay_start(Core *core, Session *s) noexcept nogil:
    """The backend has accepted: the client gets its reply, the backend what the client has pipelined (behind
    what it has not taken yet of the login, if it has accepted without), and all memory of the login is given
    back."""
    cdef Login *l = s.login
    cdef Span login = buffer_span(&l.login)
    cdef Span upstream = buffer_span(&l.upstream_text)
    cdef bint kept
    session_log(s, LOG_INFO, 0, b"client logged in", span_of(NULL, 0), NULL, NULL)
    session_remember_backend(s)
    upstream_accepted(l)
    kept = not l.output.failed \
        and flow_keep(&s.down, l.output.data + l.output.start, buffer_used(&l.output)) \
        and flow_keep(&s.up, l.order.data + l.order.start, buffer_used(&l.order)) \
        and flow_keep(&s.up, l.input.data + l.input.start, buffer_used(&l.input))
    s.identity = <char *> malloc(login.size + upstream.size + 1)
    if not kept or s.identity == NULL:
        session_close(core, s)
        return
    if login.size:
        memcpy(s.identity, login.data, login.size)
    memcpy(s.identity + login.size, upstream.data, upstream.size)
    s.identity_login = <uint32_t> login.size
    s.identity_upstream = <uint32_t> upstream.size
    login_free(l)
    s.login = NULL
    s.phase = PHASE_RELAY
    core.logins += 1
    core.relaying += 1
    tls_relays(&s.client)
    tls_relays(&s.backend)
    session_deadline(core, s, s.server.proxy_timeout)
    relay_serve(core, s)
    if core.cutting and s.phase == PHASE_RELAY:
        relay_cut(core, s)


cdef void relay_cut(Core *core, Session *s) noexcept nogil:
    session_log(s, LOG_INFO, 0, b"shutdown timeout", span_of(NULL, 0), NULL, b"proxying")
    ends(&s.end, REASON_SHUTDOWN, HOW_FAILED)
    session_end(core, s)


cdef void relay_serve(Core *core, Session *s) noexcept nogil:
    """Move what can be moved. There is no half-close: the first side that has closed, once its last
    bytes have been passed on, ends the session (reference 7.6)."""
    cdef FlowResult down = flow_run(core, s, False)
    cdef FlowResult up = FLOW_WAIT
    if down != FLOW_END and down != FLOW_ERROR:
        up = flow_run(core, s, True)
    if down == FLOW_ERROR or up == FLOW_ERROR:
        session_close(core, s)
    elif down == FLOW_END or up == FLOW_END:
        ends(&s.end, REASON_UPSTREAM_CLOSED if down == FLOW_END else REASON_CLIENT_CLOSED, HOW_CLOSED)
        session_log(s, LOG_INFO, 0, b"proxied session done", span_of(NULL, 0), NULL, NULL)
        session_end(core, s)
    elif down == FLOW_MORE or up == FLOW_MORE:
        session_later(core, s)
