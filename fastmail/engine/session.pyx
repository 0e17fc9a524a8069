# A session: a client, later its backend, and between them first a Login and then the relay. A plain
# struct; what is needed before the relay only is in Login and given back when the relay starts.

cdef enum Phase:
    PHASE_DELAY = 0             # SMTP: the greeting is held back
    PHASE_NAME                  # the client's host name is looked for
    PHASE_PROXY                 # a PROXY header is due
    PHASE_HANDSHAKE             # TLS, from the first byte on or after STARTTLS
    PHASE_COMMANDS              # before credentials
    PHASE_AUTH                  # the auth server has been asked
    PHASE_PAUSE                 # Auth-Wait before a rejection is sent
    PHASE_AGAIN                 # Auth-Wait before asking again
    PHASE_LOGIN                 # connecting to the backend and logging in there
    PHASE_RELAY
    PHASE_CLOSING               # what is in output goes out, then the session ends
    PHASE_GOODBYE               # all has been sent, the client's close_notify is due
    PHASE_DEAD                  # closed; the struct is freed after this batch of events

cdef enum:
    READS_PER_TURN = 16         # of one session, before the others get their turn
    NAME_GRACE = 5000           # milliseconds
    GOODBYE = 3000              # milliseconds for the client's close_notify

cdef struct Session:
    Timer timer                 # first: a fired Timer * is its Session *
    uint64_t deadline           # milliseconds on the engine's clock; 0: none
    Session *next               # on the run list or on the dead list
    ServerConf *server
    Listener *listener
    Log *log                    # the server's, or its debug_log
    Login *login                # NULL once the relay has started
    AuthConnection *auth
    char *identity              # login and upstream, for the log, once login is NULL
    uint32_t identity_login     # bytes of it that are the login
    uint32_t identity_upstream
    uint64_t number
    uint32_t slot
    uint32_t generation
    Channel client
    Channel backend
    Flow up                     # client to backend
    Flow down
    End end                     # why, once that is decided
    uint8_t phase
    uint8_t queued              # is on the run list, or on that of handshakes
    uint8_t starttls            # TLS was asked for by command
    uint8_t family              # the client's address
    uint16_t port
    uint8_t address[16]


# --- log -----------------------------------------------------------------------------------------

cdef void session_address(const Session *s, char *text) noexcept nogil:
    """The client's numeric address; ``text`` has INET6_ADDRSTRLEN bytes."""
    if s.family == AF_UNIX:
        memcpy(text, <const char *> b"unix:", 6)
    elif inet_ntop(s.family, s.address, text, INET6_ADDRSTRLEN) == NULL:
        text[0] = 0


cdef void session_log(Session *s, int level, int err, const char *text, Span quoted, const char *tail,
                      const char *action) noexcept nogil:
    """One line in the session's name (reference 12.1)."""
    cdef Line line
    cdef char address[INET6_ADDRSTRLEN]
    cdef Login *l = s.login
    if level > s.log.level:
        ERR_clear_error()           # or the next session's line would tell of them
        return
    line_begin(&line, &s.server.core.clock, level, s.number)
    if quoted.data != NULL:
        line_quoted(&line, text, quoted)
    else:
        line_puts(&line, text)
    if tail != NULL:
        line_puts(&line, tail)
    line_tls_errors(&line)
    line_error(&line, err)
    if action != NULL:
        line_puts(&line, b" while ")
        line_puts(&line, action)
    session_address(s, address)
    line_puts(&line, b", client: ")
    line_puts(&line, address)
    if s.starttls:
        line_puts(&line, b" using starttls")
    line_puts(&line, b", server: ")
    line_put(&line, s.listener.text.data, s.listener.text.size)
    if l == NULL:
        session_log_identity(&line, span_of(s.identity, s.identity_login),
                             span_of(s.identity + s.identity_login, s.identity_upstream))
    else:
        session_log_identity(&line, buffer_span(&l.login),
                             buffer_span(&l.upstream_text) if l.upstream_known else span_of(NULL, 0))
    line_write(&line, s.log, level)


cdef void session_log_identity(Line *line, Span login, Span upstream) noexcept nogil:
    if login.size:
        line_quoted(line, b", login: ", login)
    if upstream.size:
        line_puts(line, b", upstream: ")
        line_put(line, upstream.data, upstream.size)


cdef void session_note(void *owner, int level, int err, const char *text, Span quoted,
                       const char *tail) noexcept nogil:
    """Login.note: what the dialogues have to say, with what is being done."""
    cdef Session *s = <Session *> owner
    session_log(s, level, err, text, quoted, tail, s.login.action)


cdef inline void session_say(Session *s, int level, int err, const char *text) noexcept nogil:
    session_log(s, level, err, text, span_of(NULL, 0), NULL, s.login.action if s.login != NULL else NULL)


cdef void session_log_end(Session *s) noexcept nogil:
    """Say why a session has ended before its relay, unless another line has."""
    cdef Line text
    cdef int level
    ends(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED)
    level = REASON_TABLE[s.end.reason].level
    if level > s.log.level or end_is_told(&s.end):
        return
    text.size = 0
    line_end(&text, &s.end, s.server.auth_addresses[0].text if s.login == NULL else auth_text(s.login))
    text.text[text.size] = 0
    ERR_clear_error()           # of another call than the one that ended it
    session_say(s, level, 0, text.text)


cdef void client_left(Session *s, How how, int told) noexcept nogil:
    """The client ends the session, by leaving or by staying silent. ``told``: as in ends_told(), or 0."""
    cdef Login *l = s.login
    cdef Reason reason = client_reason(l)
    if s.phase == PHASE_HANDSHAKE:
        reason = REASON_TLS_HANDSHAKE
    elif s.phase == PHASE_PROXY and l.proxy != NULL:
        reason = REASON_PROXY_PROTOCOL      # it has sent a part of one
    ends_told(&s.end, reason, how, told)


cdef void upstream_failed(Session *s, How how, int told) noexcept nogil:
    """The backend ends the session, before it has let the client in. ``told``: as in ends_told(), or 0."""
    cdef Login *l = s.login
    cdef Reason reason = REASON_DEST_PROTOCOL_FAILURE
    if l.tls_due and s.backend.ssl != NULL:
        reason = REASON_DEST_TLS_FAILED
    elif not l.upstream and not l.reply.end:
        reason = REASON_DEST_CONNECT_FAILED
    ends_told(&s.end, reason, how, told)


cdef void log_connected(Core *core, Session *s) noexcept nogil:
    cdef Line line
    cdef char address[INET6_ADDRSTRLEN]
    if s.log.level < LOG_INFO:
        return
    line_begin(&line, &core.clock, LOG_INFO, s.number)
    line_puts(&line, b"client ")
    session_address(s, address)
    if s.family == AF_INET6:
        line_puts(&line, b"[")
    line_puts(&line, address)
    if s.family == AF_INET6:
        line_puts(&line, b"]")
    if s.family != AF_UNIX:
        line_puts(&line, b":")
        line_number(&line, s.port, 0)
    line_puts(&line, b" connected to ")
    line_put(&line, s.listener.text.data, s.listener.text.size)
    line_write(&line, s.log, LOG_INFO)


# --- life ----------------------------------------------------------------------------------------

cdef bint slot_take(Core *core, Session *s) noexcept nogil:
    """A place in the table, so that Python can name the session by a handle."""
    cdef uint32_t size, i
    cdef Session **table
    cdef uint32_t *slots
    if core.free_count == 0:
        size = core.table_size * 2 if core.table_size else 256
        table = <Session **> realloc(core.table, size * sizeof(Session *))
        if table == NULL:
            return False
        core.table = table
        slots = <uint32_t *> realloc(core.free_slots, size * sizeof(uint32_t))
        if slots == NULL:
            return False
        core.free_slots = slots
        for i in range(core.table_size, size):
            core.table[i] = NULL
            core.free_slots[core.free_count] = i
            core.free_count += 1
        core.table_size = size
    core.free_count -= 1
    s.slot = core.free_slots[core.free_count]
    core.table[s.slot] = s
    core.generation += 1
    s.generation = core.generation
    return True


cdef inline uint64_t session_handle(const Session *s) noexcept nogil:
    return <uint64_t> s.generation << 32 | s.slot


cdef Session *session_find(Core *core, uint64_t handle) noexcept nogil:
    """NULL: that session has ended."""
    cdef uint32_t slot = <uint32_t> handle
    cdef Session *s = core.table[slot] if slot < core.table_size else NULL
    return s if s != NULL and s.generation == handle >> 32 else NULL


cdef Session *session_new(Core *core, Listener *listener, int fd,
                          const sockaddr_storage *peer) noexcept nogil:
    """NULL: no memory; the descriptor is still the caller's."""
    cdef Session *s = <Session *> calloc(1, sizeof(Session))
    cdef bint debug
    if s == NULL:
        return NULL
    s.login = login_new(listener.server, s, session_note, &s.end)
    if s.login == NULL or not slot_take(core, s):
        login_free(s.login)
        free(s)
        return NULL
    answer_reset(&s.login.answer)
    s.listener = listener
    s.server = listener.server
    s.client.fd = fd
    s.backend.fd = -1
    s.number = fm_fetch_add(core.counter, 1) + 1
    s.family = <uint8_t> peer.ss_family
    if peer.ss_family == AF_INET:
        memcpy(s.address, &(<sockaddr_in *> peer).sin_addr, 4)
        s.port = ntohs((<sockaddr_in *> peer).sin_port)
    elif peer.ss_family == AF_INET6:
        memcpy(s.address, &(<sockaddr_in6 *> peer).sin6_addr, 16)
        s.port = ntohs((<sockaddr_in6 *> peer).sin6_port)
    else:
        s.family = AF_UNIX
        s.client.cuts = True
    debug = core.debug_count and networks_hold(core.debug, core.debug_count, s.family, s.address)
    s.log = &s.server.debug_log if debug else &s.server.log
    session_address(s, s.login.client)
    core.sessions += 1
    memory_session_begun(core)
    core.connections += 1
    core.accepted += 1
    return s


cdef void session_close(Core *core, Session *s) noexcept nogil:
    """Give everything back. May be called twice; the struct itself goes after the batch."""
    if s.phase == PHASE_DEAD:
        return
    if s.phase == PHASE_RELAY:
        core.relaying -= 1
    elif s.phase == PHASE_NAME:
        session_drop_name(core, s)
    if s.login != NULL:
        session_log_end(s)
    s.phase = PHASE_DEAD
    timer_stop(&core.wheel, &s.timer)
    channel_close(core, &s.client)
    channel_close(core, &s.backend)
    if s.auth != NULL:
        auth_drop(core, s.auth)
    flow_free(core, &s.up)
    flow_free(core, &s.down)
    login_free(s.login)
    s.login = NULL
    free(s.identity)
    s.identity = NULL
    core.table[s.slot] = NULL
    core.free_slots[core.free_count] = s.slot
    core.free_count += 1
    core.sessions -= 1
    memory_session_ended(core)
    if not s.queued:
        s.next = core.dead
        core.dead = s


cdef void session_later(Core *core, Session *s) noexcept nogil:
    """Serve it again in the next turn."""
    if s.queued or s.phase == PHASE_DEAD:
        return
    s.queued = True
    s.next = NULL
    if core.run == NULL:
        core.run = s
    else:
        core.run_last.next = s
    core.run_last = s


cdef inline void session_deadline(Core *core, Session *s, uint64_t milliseconds) noexcept nogil:
    s.deadline = core.clock.now + milliseconds
    timer_start(&core.wheel, &s.timer, s.deadline)


# --- what it sends, and its end ------------------------------------------------------------------

cdef bint session_flush(Core *core, Session *s) noexcept nogil:
    """Send what is in output. False: not all went, or the session has been closed."""
    cdef Login *l = s.login
    if l.output.failed:
        session_close(core, s)
        return False
    if l.output.end == l.output.start:
        return True
    if not channel_flush(&s.client, &l.output):
        session_failed(core, s, channel_send_failed(&s.client), fm_errno(), True)
        return False
    if not s.client.blocked:
        return True
    channel_watch_out(core, &s.client, s, TAG_CLIENT)
    return False


cdef void session_failed(Core *core, Session *s, const char *what, int err, bint client) noexcept nogil:
    """An error on the client's socket ends the session; one on the backend's is our internal error."""
    cdef bint peer = peer_is_to_blame(err)
    cdef int level = LOG_ALERT if not peer else LOG_INFO if client else LOG_ERR
    session_say(s, level, err, what)
    if client:
        client_left(s, HOW_BROKEN, level)
        session_close(core, s)
    else:
        upstream_failed(s, HOW_BROKEN, level)
        session_internal_error(core, s)


cdef void session_internal_error(Core *core, Session *s) noexcept nogil:
    s.server.protocol.internal_error(s.login)
    session_finish(core, s)


cdef void session_finish(Core *core, Session *s) noexcept nogil:
    """Send what is in output, then close."""
    if s.phase == PHASE_LOGIN:
        auth_cache_forget(s.login)
    s.phase = PHASE_CLOSING
    session_leave_backend(core, s)
    if s.auth != NULL:
        auth_drop(core, s.auth)
    session_deadline(core, s, s.server.timeout)
    if s.client.ssl != NULL:
        tls_gather(&s.client)
    if session_flush(core, s):
        session_end(core, s)
    session_release(core, s)


cdef void session_leave_backend(Core *core, Session *s) noexcept nogil:
    """Its close_notify is not waited for: nothing that it could still say has a reader."""
    if s.backend.ssl != NULL:
        tls_goodbye(&s.backend)
        ERR_clear_error()
    channel_close(core, &s.backend)
    memset(&s.backend, 0, sizeof(Channel))
    s.backend.fd = -1


cdef void session_end(Core *core, Session *s) noexcept nogil:
    """All that there was to say has been sent. Over TLS the end is announced, and the client's own
    announcement awaited for a while: closing with its bytes unread would cut ours off."""
    cdef bint done = True
    session_leave_backend(core, s)
    if s.client.ssl != NULL:
        tls_gather(&s.client)
        done = tls_goodbye(&s.client)
        tls_release_last(&s.client)
    if done and not tls_holds(&s.client):
        session_close(core, s)
        return
    if s.client.blocked:
        channel_watch_out(core, &s.client, s, TAG_CLIENT)
    if s.phase == PHASE_RELAY:
        core.relaying -= 1
    s.phase = PHASE_GOODBYE
    flow_free(core, &s.up)
    flow_free(core, &s.down)
    session_deadline(core, s, GOODBYE)
    session_goodbye(core, s)


cdef void session_goodbye(Core *core, Session *s) noexcept nogil:
    """Read, unlooked at, what the client still sends."""
    cdef ssize_t n
    cdef int _
    for _ in range(READS_PER_TURN):
        if not s.client.readable:
            return
        n = channel_recv(&s.client, core.shared, SHARED_SIZE)
        if n == IO_AGAIN:
            break
        if n <= 0:
            ERR_clear_error()
            session_close(core, s)
            return
    if s.client.readable:
        session_later(core, s)


# --- events --------------------------------------------------------------------------------------

cdef void session_serve(Core *core, Session *s) noexcept nogil:
    """Something may have changed: do what can be done now."""
    if s.phase == PHASE_RELAY:
        relay_serve(core, s)
    elif s.phase == PHASE_COMMANDS:
        session_commands(core, s)
    elif s.phase == PHASE_LOGIN:
        session_login(core, s)
    elif s.phase == PHASE_CLOSING:
        if session_flush(core, s):
            session_end(core, s)
    elif s.phase == PHASE_HANDSHAKE:
        session_shake_later(core, s)
    elif s.phase == PHASE_PROXY:
        if s.client.readable:
            session_proxy_header(core, s)
    elif s.phase == PHASE_GOODBYE:
        session_goodbye(core, s)
    elif s.phase == PHASE_DELAY:
        session_early_talker(core, s)
    elif s.phase == PHASE_AUTH:
        # A prompt that did not go out whole; commands wait until the auth server has answered.
        session_flush(core, s)


cdef void session_event(Core *core, Session *s, bint client, uint32_t events) noexcept nogil:
    if s.phase == PHASE_DEAD:
        return
    if client:
        channel_event(&s.client, events)
        if s.phase == PHASE_RELAY:
            # nginx renews proxy_timeout on the client's events only (reference 7.6).
            s.deadline = core.clock.now + s.server.proxy_timeout
        elif s.client.hangup == HANGUP_BROKEN and s.phase in (PHASE_PAUSE, PHASE_AGAIN):
            s.deadline = core.clock.now     # nobody is left to wait for
            session_expired(core, s)
            return
        elif s.phase == PHASE_NAME:
            if s.client.hangup == HANGUP_BROKEN:
                client_left(s, HOW_BROKEN, 0)
                session_close(core, s)
            return
        elif s.phase in (PHASE_AUTH, PHASE_PAUSE, PHASE_AGAIN, PHASE_LOGIN) and not events & EPOLLOUT:
            return              # the client is not read now
    elif s.backend.fd < 0 or (s.login != NULL and s.login.backend_turn == core.turn):
        return                  # of a connection that proxy_preconnect has given up meanwhile
    else:
        channel_event(&s.backend, events)
    session_serve(core, s)


cdef void session_give_up(Core *core, Session *s) noexcept nogil:
    """The client has been silent for too long. It is told, if it has taken all that was said before, and
    waited for no longer: neither to read it nor for its close_notify."""
    cdef Login *l = s.login
    if s.phase == PHASE_COMMANDS and not s.client.blocked and l.output.end == l.output.start:
        if s.client.ssl != NULL:
            tls_gather(&s.client)
        say_goodbye(l, b"4.4.2", b"timeout, closing connection")
        if not l.output.failed and channel_flush(&s.client, &l.output) and s.client.ssl != NULL:
            tls_goodbye(&s.client)
            tls_release_last(&s.client)
        ERR_clear_error()
    session_close(core, s)


cdef void session_expired(Core *core, Session *s) noexcept nogil:
    cdef const char *action = b"proxying"
    if s.deadline > core.clock.now:
        timer_start(&core.wheel, &s.timer, s.deadline)
        return
    if s.phase == PHASE_DELAY:
        session_greet(core, s)
        if s.phase == PHASE_COMMANDS:
            session_commands(core, s)
    elif s.phase == PHASE_NAME:
        s.login.host_temporary = True
        session_named(core, s)
        session_later(core, s)
    elif s.phase == PHASE_AUTH:
        auth_timed_out(core, s)
    elif s.phase == PHASE_PAUSE:
        s.phase = PHASE_COMMANDS
        s.login.action = b"in auth state"
        session_deadline(core, s, s.server.timeout)
        session_commands(core, s)
    elif s.phase == PHASE_AGAIN:
        session_ask(core, s)
    elif s.phase == PHASE_LOGIN:
        session_say(s, LOG_INFO, ETIMEDOUT, b"upstream timed out")
        upstream_failed(s, HOW_TIMED_OUT, LOG_INFO)
        session_internal_error(core, s)
    elif s.phase == PHASE_GOODBYE:
        session_close(core, s)          # as silently as nginx
    elif s.phase == PHASE_HANDSHAKE:
        client_left(s, HOW_TIMED_OUT, 0)
        session_close(core, s)
    else:
        if s.login != NULL:
            action = s.login.action
        session_log(s, LOG_INFO, ETIMEDOUT, b"client timed out", span_of(NULL, 0), NULL, action)
        if s.login != NULL:
            client_left(s, HOW_TIMED_OUT, LOG_INFO)
        else:
            ends(&s.end, REASON_PROXY_TIMEOUT, HOW_TIMED_OUT)
        session_give_up(core, s)
