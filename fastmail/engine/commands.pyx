# A session's commands, and the question to the auth server that they lead to.

cdef void session_commands(Core *core, Session *s) noexcept nogil:
    """Read and answer commands until there is nothing to read, or credentials are complete."""
    cdef Login *l = s.login
    cdef Action action
    cdef int reads = 0
    while True:
        if not session_flush(core, s):
            return
        l.action = b"in auth state"
        action = login_run(l)
        if action == ACT_FLUSH:
            continue
        if action == ACT_CLOSE:
            session_finish(core, s)
            return
        if action == ACT_TLS:
            session_start_tls(core, s)
            return
        if not session_flush(core, s):
            if s.phase != PHASE_DEAD and action == ACT_AUTH:
                session_ask(core, s)
            return
        if action == ACT_AUTH:
            session_ask(core, s)
            return
        if not s.client.readable:
            login_rest(l)
            if reads and buffer_used(&l.input):
                channel_acknowledge(&s.client)  # of a command that has not come whole
            return
        if reads == READS_PER_TURN:
            session_later(core, s)
            return
        reads += 1
        if not session_read_client(core, s):
            return


cdef bint session_read_client(Core *core, Session *s) noexcept nogil:
    """Fill the command buffer. False: nothing came, or the session is over."""
    cdef Login *l = s.login
    cdef uint32_t room = login_room(l)
    cdef ssize_t n
    if room == 0:
        session_internal_error(core, s)
        return False
    n = channel_recv(&s.client, l.input.data + l.input.end, room)
    if n > 0:
        buffer_filled(&l.input, <uint32_t> n)
        return True
    if n == IO_AGAIN:
        login_rest(l)
        if s.client.readable:
            session_later(core, s)
    elif n == IO_CLOSED:
        client_left(s, HOW_CLOSED, 0)
        session_close(core, s)
    else:
        session_failed(core, s, channel_recv_failed(&s.client), fm_errno(), True)
    return False


cdef void session_ask(Core *core, Session *s) noexcept nogil:
    """Hand the credentials to the auth server."""
    s.phase = PHASE_AUTH
    s.login.action = b"in http auth state"
    answer_reset(&s.login.answer)
    if auth_cache_find(s.login, core.clock.now, core.draining):
        session_answered(core, s)
        return
    core.auth_requests += 1
    session_deadline(core, s, s.server.auth_timeout)
    if s.server.aiohttp:
        session_ask_python(core, s)
    else:
        auth_begin(core, s)
    if s.phase == PHASE_AUTH:
        session_preconnect(core, s)


cdef void session_ask_python(Core *core, Session *s) noexcept nogil:
    cdef Message m
    # Python gives up by itself, and may ask each address; this is for when it does not get to it.
    session_deadline(core, s, s.server.auth_timeout * s.server.auth_address_count)
    memset(&m, 0, sizeof(m))
    m.kind = EVENT_AUTH_
    m.extra = s.server.index
    m.handle = session_handle(s)
    if put_auth_request(s.login, &m.data) and ring_put(&core.events, &m):
        return
    buffer_free(&m.data)
    session_say(s, LOG_ALERT, 0, b"no room for an auth request")
    ends_told(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ALERT)
    session_internal_error(core, s)


cdef void session_answered(Core *core, Session *s) noexcept nogil:
    """The auth server's answer, of now or a kept one, is complete in login.answer."""
    cdef Login *l = s.login
    cdef Outcome outcome = auth_judge(l)
    auth_cache_keep(l, outcome, core.clock.now)
    answer_reset(&l.answer)
    if outcome == OUTCOME_PROXY:
        session_connect(core, s)
        return
    session_leave_backend(core, s)
    if outcome == OUTCOME_ERROR:
        session_internal_error(core, s)
    elif outcome == OUTCOME_AGAIN:
        s.phase = PHASE_AGAIN
        session_deadline(core, s, l.wait)
    elif l.wait:
        s.phase = PHASE_PAUSE
        session_deadline(core, s, l.wait)
    else:
        ends_told(&s.end, l.tried, HOW_REFUSED, LOG_INFO)
        session_finish(core, s)
