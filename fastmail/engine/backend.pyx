# A session's way to its backend: connecting, from an address of our choice, and logging in.

cdef void session_connect(Core *core, Session *s) noexcept nogil:
    """Connect to the backend that the auth server has named."""
    cdef Login *l = s.login
    l.action = b"connecting to upstream"
    l.upstream_known = True
    s.phase = PHASE_LOGIN
    upstream_start(l)
    session_deadline(core, s, s.server.timeout)
    if session_meets_itself(core, s):
        ends_told(&s.end, REASON_DEST_CONNECT_FAILED, HOW_REFUSED, LOG_ERR)
        session_internal_error(core, s)
        return
    if not session_is_preconnected(s):
        session_leave_backend(core, s)
        l.preconnected.family = 0
        if not connections_left(core):
            session_log_connections(core, s)
            session_internal_error(core, s)
            return
        if not session_open_backend(core, s, False):
            ends_told(&s.end, REASON_DEST_CONNECT_FAILED, HOW_BROKEN, LOG_ERR)
            session_internal_error(core, s)
            return
    if s.server.proxy_protocol:
        session_put_proxy_header(s)
    session_login(core, s)


cdef bint session_open_backend(Core *core, Session *s, bint quiet) noexcept nogil:
    """Begin to connect to upstream_address. False: it failed and, unless ``quiet``, has been logged."""
    cdef int on = 1
    s.backend.fd = session_connect_from(core, s, quiet)
    if s.backend.fd < 0:
        return False
    s.login.backend_turn = core.turn
    if s.server.proxy_keepalive and setsockopt(s.backend.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 \
            and not quiet:
        session_say(s, LOG_ALERT, fm_errno(), b"setsockopt(SO_KEEPALIVE) failed, ignored")
    s.backend.cuts = s.login.upstream_address.addr.ss_family == AF_UNIX
    if s.server.proxy_protocol or s.server.proxy_ssl:
        s.backend.blocked = True    # until the connection stands: we speak first
    if channel_watch(core, &s.backend, s, TAG_BACKEND, s.backend.blocked):
        return True
    if not quiet:
        session_say(s, LOG_ALERT, fm_errno(), b"epoll_ctl() failed")
    channel_close(core, &s.backend)
    return False


cdef void session_put_proxy_header(Session *s) noexcept nogil:
    """Tell the backend who the client is, as soon as the connection stands."""
    cdef Login *l = s.login
    cdef sockaddr_storage local
    cdef socklen_t size = sizeof(local)
    cdef Address named
    cdef Endpoint source, to
    memset(&local, 0, sizeof(local))
    getsockname(s.client.fd, <sockaddr *> &local, &size)
    endpoint_of(&to, &local)
    if not is_internet(&to) and l.proxy != NULL and l.proxy.known:
        # A proxy in front on a unix socket, believed: it says where the client has connected to.
        memset(&named, 0, sizeof(named))
        if numeric_address(buffer_span(&l.proxy.destination), &named):
            endpoint_of(&to, &named.addr)
            to.port = l.proxy.destination_port
    source.family = s.family
    source.port = s.port
    memcpy(source.address, s.address, 16)
    if s.server.proxy_protocol == 1:
        put_proxy_v1(&l.order, &source, &to)
    else:
        put_proxy_v2(&l.order, &source, &to, s.client.ssl)
    l.action = b"sending PROXY protocol header to upstream"
    l.proxy_header_due = True


cdef int session_connect_from(Core *core, Session *s, bint quiet) noexcept nogil:
    """Connect to the backend from the addresses of proxy_bind in turn: what one cannot do (no such address,
    no port left) the next may. -1: it failed and, unless ``quiet``, has been logged."""
    cdef Login *l = s.login
    cdef ServerConf *server = s.server
    cdef Connecting failed
    cdef BindAddress *source
    cdef uint32_t i
    cdef uint32_t first = server.bind_next
    cdef bint tried = False
    cdef int fd, err
    for i in range(server.bind_count):
        source = &server.binds[(first + i) % server.bind_count]
        if source.address.addr.ss_family != l.upstream_address.addr.ss_family:
            continue
        tried = True
        server.bind_next = (first + i + 1) % server.bind_count
        fd = connect_to(core, &l.upstream_address, &source.address, &failed)
        if fd >= 0:
            return fd
        err = fm_errno()
        if not quiet:
            log_connect_failed(s, failed, source.text if failed == CONNECTING_BIND
                               else buffer_span(&l.upstream_text), err)
        if failed == CONNECTING_SOCKET or (failed == CONNECTING_CONNECT and err != EADDRNOTAVAIL):
            return -1
    if tried:
        return -1
    fd = connect_to(core, &l.upstream_address, NULL, &failed)
    if fd < 0 and not quiet:
        log_connect_failed(s, failed, buffer_span(&l.upstream_text), fm_errno())
    return fd


cdef void log_connect_failed(Session *s, Connecting what, Span where, int err) noexcept nogil:
    """``connect() to X failed``: error for what a network does, crit for the rest; ``bind(X) failed`` is crit
    and ``socket() failed`` alert, as in nginx."""
    cdef Buffer text
    memset(&text, 0, sizeof(text))
    if what == CONNECTING_SOCKET:
        session_say(s, LOG_ALERT, err, b"socket() failed")
        return
    puts(&text, b"bind(" if what == CONNECTING_BIND else b"connect() to ")
    put_span(&text, where)
    puts(&text, b") failed" if what == CONNECTING_BIND else b" failed")
    put(&text, b"\0", 1)
    if not text.failed:
        session_say(s, LOG_ERR if is_network_error(err) else LOG_CRIT, err, text.data)
    buffer_free(&text)


cdef void session_login(Core *core, Session *s) noexcept nogil:
    """Carry on the login at the backend with whatever has come."""
    cdef Login *l = s.login
    cdef uint32_t room
    cdef ssize_t n
    cdef UpstreamStep step
    cdef bint unanswered = False    # something has come, and nothing gone since
    if s.backend.hangup and s.backend.ssl == NULL and session_guess_failed(core, s):
        return                      # whatever it may have said before: it did not wait for us
    while True:
        unanswered = unanswered and l.order.end == l.order.start
        if not session_send_order(core, s):
            return
        if l.tls_due:
            if not session_secure_backend(core, s):
                return
            if not upstream_secured(l):
                session_finish(core, s)
                return
            continue
        if not s.backend.readable:
            if unanswered:
                channel_acknowledge(&s.backend)
            return
        l.action = b"reading response from upstream"
        room = upstream_room(l)
        n = channel_recv(&s.backend, l.reply.data + l.reply.end, room) if room else <ssize_t> IO_CLOSED
        if n == IO_AGAIN:
            if s.backend.readable:
                session_later(core, s)
            return
        if (n == IO_ERROR or n == IO_CLOSED) and session_guess_failed(core, s):
            return
        if n == IO_ERROR:
            session_failed(core, s, channel_recv_failed(&s.backend), fm_errno(), False)
            return
        if n == IO_CLOSED:
            if room:
                upstream_failed(s, HOW_CLOSED, 0)
            session_internal_error(core, s)
            return
        buffer_filled(&l.reply, <uint32_t> n)
        unanswered = True
        step = upstream_run(l)
        if step == UP_ACCEPTED:
            relay_start(core, s)
            return
        if step != UP_MORE and step != UP_TLS:
            session_finish(core, s)
            return


cdef bint session_send_order(Core *core, Session *s) noexcept nogil:
    """What the backend login has to say. False: the session is over."""
    cdef Login *l = s.login
    if l.order.end == l.order.start:
        return True
    if not channel_flush(&s.backend, &l.order):
        if session_guess_failed(core, s):
            return False
        session_failed(core, s, channel_send_failed(&s.backend), fm_errno(), False)
        return False
    if l.proxy_header_due and not s.backend.blocked:
        l.proxy_header_due = False
    if s.backend.blocked:
        if l.proxy_header_due and l.order.start:
            session_say(s, LOG_ERR, 0, b"could not send PROXY protocol header at once")
            ends_told(&s.end, REASON_DEST_PROTOCOL_FAILURE, HOW_FAILED, LOG_ERR)
            session_internal_error(core, s)
            return False
        channel_watch_out(core, &s.backend, s, TAG_BACKEND)
    return True
