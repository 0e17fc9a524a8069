# The loop: epoll dispatch, accept, limits, the orders from Python.

cdef enum:
    EVENTS_MAX = 512            # of one epoll_wait()
    HANDSHAKES_MAX = 2          # steps of TLS handshakes in one turn
    ACCEPTS_MAX = 64            # of one turn, with multi_accept


# --- limits --------------------------------------------------------------------------------------

cdef inline bint connections_left(const Core *core) noexcept nogil:
    return core.connections < core.worker_connections


cdef void line_connections(Core *core, Line *line) noexcept nogil:
    line_number(line, core.worker_connections, 0)
    line_puts(line, b" worker_connections are not enough")


cdef void log_connections(Core *core) noexcept nogil:
    """At most once a second: a flood must not fill the disk."""
    cdef Line line
    if core.alerted == core.clock.second or core.log.level < LOG_ALERT:
        return
    core.alerted = core.clock.second
    line_begin(&line, &core.clock, LOG_ALERT, 0)
    line_connections(core, &line)
    line_write(&line, &core.log, LOG_ALERT)


cdef void session_log_connections(Core *core, Session *s) noexcept nogil:
    """This too at most once a second."""
    cdef Line line
    ends(&s.end, REASON_PROCESS_FULL, HOW_FAILED)
    if core.alerted_session == core.clock.second:
        return
    core.alerted_session = core.clock.second
    line.size = 0
    line_connections(core, &line)
    line.text[line.size] = 0
    session_say(s, LOG_ALERT, 0, line.text)


# --- accept --------------------------------------------------------------------------------------

cdef bint listener_watch(Core *core, Listener *listener) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | (<uint32_t> EPOLLEXCLUSIVE if core.exclusive else 0)
    event.data.u64 = <uint64_t> listener | TAG_LISTENER
    listener.watched = epoll_ctl(core.epoll, EPOLL_CTL_ADD, listener.fd, &event) == 0
    return listener.watched


cdef void listeners_unwatch(Core *core) noexcept nogil:
    """Others hold these descriptors too: closing ours would leave them in our epoll set."""
    cdef epoll_event event
    cdef int i
    for i in range(core.listener_count):
        if core.listeners[i].watched:
            epoll_ctl(core.epoll, EPOLL_CTL_DEL, core.listeners[i].fd, &event)
            core.listeners[i].watched = False


cdef void listeners_resume(Core *core) noexcept nogil:
    cdef int i
    for i in range(core.listener_count):
        if not core.listeners[i].watched and not core.listeners[i].shared and not core.draining \
                and not listener_watch(core, &core.listeners[i]):
            accept_pause(core)


cdef void accept_pause(Core *core) noexcept nogil:
    core.accept_paused = True
    timer_start(&core.wheel, &core.accept_timer, core.clock.now + core.accept_pause)


cdef void accept_failed(Core *core, int err) noexcept nogil:
    cdef Line line
    cdef int level = LOG_CRIT if err == EMFILE or err == ENFILE else LOG_ALERT
    if core.log.level >= level and core.accept_alerted != core.clock.second:
        core.accept_alerted = core.clock.second
        line_begin(&line, &core.clock, level, 0)
        line_puts(&line, b"accept4() failed")
        line_error(&line, err)
        line_write(&line, &core.log, level)
    listeners_unwatch(core)
    accept_pause(core)


cdef Listener *listener_of(Listener *listener, int fd) noexcept nogil:
    """On a wildcard's socket that serves other addresses of its port as well: who listens on the one that the
    client has connected to (reference 4.3)."""
    cdef sockaddr_storage local
    cdef socklen_t size = sizeof(local)
    cdef Listener *alternate = listener.alternate
    cdef Endpoint e
    if alternate == NULL:
        return listener
    memset(&local, 0, sizeof(local))
    if getsockname(fd, <sockaddr *> &local, &size) < 0:
        return listener
    endpoint_of(&e, &local)
    while alternate != NULL:
        if alternate.family == e.family and memcmp(alternate.address, e.address, 16) == 0:
            return alternate
        alternate = alternate.alternate
    return listener


cdef void accept_from(Core *core, Listener *listener) noexcept nogil:
    """One connection a turn (or a batch, with multi_accept): what waits shows again at once."""
    cdef sockaddr_storage peer
    cdef socklen_t size
    cdef int fd, _
    cdef Session *s
    for _ in range(ACCEPTS_MAX if core.multi_accept else 1):
        if not listener.watched:
            return
        if place_hand_over(core):
            return
        size = sizeof(peer)
        memset(&peer, 0, sizeof(peer))
        fd = accept4(listener.fd, <sockaddr *> &peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if fm_errno() == EAGAIN:
                return
            if fm_errno() != ECONNABORTED and fm_errno() != EINTR:
                accept_failed(core, fm_errno())
                return
            continue
        if not connections_left(core):
            log_connections(core)
            close(fd)
            continue
        s = session_new(core, listener_of(listener, fd), fd, &peer)
        if s == NULL:
            close(fd)
            continue
        session_begin(core, s)
        listener_queue_again(core, listener)


# --- orders from Python --------------------------------------------------------------------------

cdef void take_orders(Core *core) noexcept nogil:
    cdef Message m
    cdef ServerConf *server
    cdef Session *s
    ring_clear_wakeups(&core.orders)
    while ring_take(&core.orders, &m):
        if m.kind == ORDER_RENEW:
            server = <ServerConf *> m.handle
            context_renew(server.tls, server.tls_names, <TLSNames *> (m.data.data + m.data.start))
            buffer_free(&m.data)
            continue
        s = session_find(core, m.handle)
        if s != NULL and m.kind == ORDER_NAME:
            if s.phase == PHASE_NAME:
                session_name_found(core, s, &m)
        elif s != NULL and s.phase == PHASE_AUTH and s.server.aiohttp:
            if m.kind == ORDER_ANSWER:
                order_answer(core, s, &m)
            else:
                order_failed(core, s, &m)
        buffer_free(&m.data)


cdef void order_answer(Core *core, Session *s, Message *m) noexcept nogil:
    """An answer that aiohttp has fetched: read by the same parser, judged by the same rules."""
    cdef Answer *a = &s.login.answer
    cdef AnswerResult result
    a.data = m.data
    memset(&m.data, 0, sizeof(Buffer))
    result = answer_feed(a)
    if result == ANSWER_DONE:
        session_answered(core, s)
    else:
        session_answer_failed(core, s, result)


cdef void order_failed(Core *core, Session *s, Message *m) noexcept nogil:
    if m.extra == AUTH_TIMED_OUT_:
        note_auth_timeout(s)
        ends_told(&s.end, REASON_AUTH_SERVER_TIMEOUT, HOW_TIMED_OUT, LOG_ERR)
    elif m.data.end > m.data.start:
        put(&m.data, b"\0", 1)
        if not m.data.failed:
            session_say(s, LOG_ERR, 0, m.data.data + m.data.start)
            # nginx's line of a broken connection does not name the auth server.
            ends_told(&s.end, REASON_AUTH_SERVER_FAILED, HOW_BROKEN,
                      0 if span_begins(buffer_span(&m.data), b"recv()") else LOG_ERR)
    else:
        ends(&s.end, REASON_AUTH_SERVER_FAILED, HOW_CLOSED)
    session_internal_error(core, s)


# --- a turn --------------------------------------------------------------------------------------

cdef void dispatch(Core *core, const epoll_event *event) noexcept nogil:
    cdef uint64_t tag = event.data.u64 & TAG_MASK
    cdef void *owner = <void *> (event.data.u64 & ~<uint64_t> TAG_MASK)
    if tag == TAG_CLIENT:
        session_event(core, <Session *> owner, True, event.events)
    elif tag == TAG_BACKEND:
        session_event(core, <Session *> owner, False, event.events)
    elif tag == TAG_LISTENER:
        accept_from(core, <Listener *> owner)
    elif tag == TAG_ORDERS:
        take_orders(core)
    elif tag == TAG_BELL:
        core.look_due = True


cdef void timer_fired(void *context, Timer *t) noexcept nogil:
    cdef Core *core = <Core *> context
    if t == &core.accept_timer:
        core.accept_paused = False
        if core.places == NULL:
            listeners_resume(core)
        core.look_due = True
    elif t == &core.pipe_timer:
        pipes_empty_pool(core)
    elif t == &core.trim_timer:
        memory_trim(core)
    elif t == &core.idle_timer:
        auth_idle_expired(core)
    else:
        session_expired(core, <Session *> t)


cdef void run_leftovers(Core *core) noexcept nogil:
    """Each session on the run list once; what is put there meanwhile waits for the next turn."""
    cdef Session *s = core.run
    cdef Session *following
    core.run = core.run_last = NULL
    while s != NULL:
        following = s.next
        s.queued = False
        if s.phase == PHASE_DEAD:
            s.next = core.dead
            core.dead = s
        else:
            session_serve(core, s)
        s = following


cdef void run_handshakes(Core *core) noexcept nogil:
    """A few: a storm of them must not keep relayed sessions waiting."""
    cdef Session *s
    cdef int left = HANDSHAKES_MAX
    while core.handshakes != NULL and left:
        s = core.handshakes
        core.handshakes = s.next
        s.queued = False
        if s.phase == PHASE_DEAD:
            s.next = core.dead
            core.dead = s
        elif s.phase == PHASE_HANDSHAKE:
            session_handshake(core, s)
            left -= 1


cdef void free_dead(Core *core) noexcept nogil:
    """After the batch: no event of it can name them any more."""
    cdef Session *s
    cdef AuthConnection *a
    while core.dead != NULL:
        s = core.dead
        core.dead = s.next
        free(s)
    while core.dead_auth != NULL:
        a = core.dead_auth
        core.dead_auth = a.next
        free(a)


cdef bint turn(Core *core, bint wait) noexcept nogil:
    """Wait for events (or only look), deal with them. False: finished."""
    cdef epoll_event[EVENTS_MAX] events
    cdef int n, i, timeout = 0
    if wait and core.run == NULL and core.handshakes == NULL:
        timeout = wheel_wait(&core.wheel, core.clock.now)
        if core.logs_wait and (timeout < 0 or timeout > LOG_RETRY):
            timeout = LOG_RETRY
    n = epoll_wait(core.epoll, events, EVENTS_MAX, timeout)
    core.turn += 1
    core.batch_full = n == EVENTS_MAX
    clock_update(&core.clock)
    if fm_load_acquire(&core.stop_ordered):
        core.finished = True
        place_mark(core, ROOM_GONE)
        return False
    for i in range(n):          # these first: see auth_idle()
        if events[i].data.u64 & TAG_MASK == TAG_AUTH:
            auth_event(core, <AuthConnection *> (events[i].data.u64 & ~<uint64_t> TAG_MASK), events[i].events)
    for i in range(n):
        dispatch(core, &events[i])
    if core.run != NULL:
        run_leftovers(core)
    if core.handshakes != NULL:
        run_handshakes(core)
    wheel_advance(&core.wheel, core.clock.now, core, timer_fired)
    free_dead(core)
    if fm_load_acquire(&core.shutdown_ordered) and not core.draining:
        begin_draining(core)
    if fm_load_acquire(&core.cut_ordered) and not core.cutting:
        begin_cutting(core)
    place_update(core)
    core.logs_wait = False
    for i in range(core.sink_count):
        if core.sinks[i].pending.end:
            sink_flush(&core.sinks[i], &core.clock)
            core.logs_wait |= core.sinks[i].pending.end > 0
    if core.draining and core.sessions == 0:
        core.finished = True
    return not core.finished


cdef void begin_draining(Core *core) noexcept nogil:
    """Sessions go on in every phase; nobody new comes in (reference 11.4)."""
    core.draining = True
    listeners_unwatch(core)
    place_mark(core, ROOM_GONE)
    tell(core, &core.not_accepting)


cdef void begin_cutting(Core *core) noexcept nogil:
    """worker_shutdown_timeout: relays end; sessions before theirs run to their own timeouts."""
    cdef uint32_t i
    core.cutting = True
    for i in range(core.table_size):
        if core.table[i] != NULL and core.table[i].phase == PHASE_RELAY:
            relay_cut(core, core.table[i])
    run_leftovers(core)
    free_dead(core)


cdef void tell(Core *core, uint32_t *what) noexcept nogil:
    """Python must learn of this even if nobody has taken what is in the ring."""
    fm_store_release(what, 1)
    ring_wake(&core.events)
