# Connections to the auth server. With auth_http_keepalive 0 each carries one request, as nginx's do;
# otherwise idle ones are kept, the most recently used first.
#
# A kept connection takes a process from servers that have one for each connection (Apache's prefork), whether
# it is used or not, and other workers, or other clients of that server, may be waiting for it. So it is
# closed auth_http_keepalive_time after it was opened, and none is kept while a request on a new connection
# has waited for AUTH_PATIENCE. Where new connections wait for that much longer than kept ones, none is kept
# for AUTH_CROWDED.

cdef enum:
    AUTH_PATIENCE = 50          # milliseconds
    AUTH_CROWDED = 10_000
    BODY_MAX = 128 * 1024       # bytes of an answer's body that are read for the sake of the connection

cdef struct AuthConnection:
    AuthConnection *next        # idle list or dead list
    ServerConf *server
    uint32_t address            # which of the auth server's it leads to
    Session *session            # NULL: on the server's idle list
    Buffer request              # what is still to be sent
    int64_t body                # bytes of the last answer's body still to come; nobody reads them
    bint chunked                # they have to be the end of EMPTY_BODY
    Channel channel
    AuthConnection *older       # on the server's list of new ones without a byte of an answer
    AuthConnection *newer
    uint64_t opened             # milliseconds
    uint64_t asked
    uint64_t deadline           # while it is idle: when it is closed
    uint64_t idle_turn          # in which it became idle
    bint reused                 # has answered before
    bint answered               # a byte of this answer has come
    bint dead


cdef void auth_begin(Core *core, Session *s) noexcept nogil:
    """Send the session's request over an idle connection, or a new one."""
    cdef AuthConnection *a = auth_idle(core, s.server)
    if a != NULL:
        auth_take_idle(a)
        a.reused = True
        auth_ask(core, s, a)
    else:
        auth_begin_at(core, s, 0)


cdef void auth_begin_at(Core *core, Session *s, uint32_t address) noexcept nogil:
    """Over a new connection to that address of the server, or to the next that can be connected to."""
    cdef AuthConnection *a = NULL
    while a == NULL and address < s.server.auth_address_count and connections_left(core):
        a = auth_open(core, s, address)
        address += 1
    if a != NULL:
        auth_ask(core, s, a)
        return
    if not connections_left(core):
        session_log_connections(core, s)
    else:
        ends_told(&s.end, REASON_AUTH_SERVER_FAILED, HOW_BROKEN, LOG_ERR)
    session_internal_error(core, s)


cdef bint auth_next(Core *core, AuthConnection *a) noexcept nogil:
    """If there is another address to ask, do: nobody has got a byte of the request by this connection, which
    could not be made. The session's line about that names the address. False: there is none."""
    cdef Session *s = a.session
    cdef uint32_t following = a.address + 1
    if following >= s.server.auth_address_count or not auth_unsent(a):
        return False
    auth_close(core, a)
    session_deadline(core, s, s.server.auth_timeout)
    auth_begin_at(core, s, following)
    return True


cdef inline bint auth_unsent(const AuthConnection *a) noexcept nogil:
    return not a.reused and not a.answered and a.request.start == 0 and a.request.end > 0


cdef void auth_ask(Core *core, Session *s, AuthConnection *a) noexcept nogil:
    a.session = s
    a.asked = core.clock.now
    a.answered = False
    s.auth = a
    s.login.auth_address = a.address
    if not put_auth_request(s.login, &a.request):
        session_internal_error(core, s)
        return
    auth_send(core, a, not a.reused)
    if not a.dead and not a.reused \
            and not channel_watch(core, &a.channel, a, TAG_AUTH, a.channel.blocked):
        auth_failed(core, a, b"epoll_ctl() failed", fm_errno())


cdef AuthConnection *auth_open(Core *core, Session *s, uint32_t address) noexcept nogil:
    """NULL: it failed and has been logged."""
    cdef AuthAddress *to = &s.server.auth_addresses[address]
    cdef AuthConnection *a
    cdef Connecting failed
    a = <AuthConnection *> calloc(1, sizeof(AuthConnection))
    if a == NULL:
        return NULL
    a.server = s.server
    a.address = address
    a.channel.fd = connect_to(core, &to.address, NULL, &failed)
    if a.channel.fd < 0:
        log_connect_failed(s, failed, to.text, fm_errno())
        free(a)
        return NULL
    core.auth_connections += 1
    a.opened = core.clock.now
    a.older = s.server.newest
    if a.older != NULL:
        a.older.newer = a
    else:
        s.server.oldest = a
    s.server.newest = a
    return a


cdef void auth_waits_no_more(AuthConnection *a) noexcept nogil:
    """Take it from the list of new ones, if it is there."""
    cdef ServerConf *server = a.server
    if a.older != NULL:
        a.older.newer = a.newer
    elif server.oldest == a:
        server.oldest = a.newer
    if a.newer != NULL:
        a.newer.older = a.older
    elif server.newest == a:
        server.newest = a.older
    a.older = a.newer = NULL


cdef void auth_learn(const AuthConnection *a, uint64_t now) noexcept nogil:
    """A first byte has come: whether new connections have to wait for a process, which kept ones have."""
    cdef ServerConf *server = a.server
    cdef uint64_t took = now - a.asked
    if a.reused:
        server.kept_took = took
        server.kept_answered = True
    elif server.kept_answered and took >= AUTH_PATIENCE + 2 * server.kept_took:
        server.crowded_until = now + AUTH_CROWDED


cdef inline bint auth_is_crowded(Core *core, const ServerConf *server) noexcept nogil:
    """Whether the server may have no process left for a new connection."""
    return core.clock.now < server.crowded_until \
        or (server.oldest != NULL and core.clock.now - server.oldest.opened >= AUTH_PATIENCE)


cdef AuthConnection *auth_idle(Core *core, ServerConf *server) noexcept nogil:
    """An idle connection whose last answer is complete and behind which nothing has come: that would be
    taken for the answer to this login. A turn deals with the events of these connections before all others:
    one that has been idle since before this turn, and is still there, was silent. At the others we look."""
    cdef AuthConnection *a = server.idle
    cdef AuthConnection *following
    while a != NULL:
        if a.body == 0 and a.idle_turn != core.turn and not core.batch_full:
            return a
        a = a.next
    a = server.idle
    while a != NULL and not a.dead:
        following = a.next
        if a.body == 0:
            a.channel.readable = True
            auth_read_body(core, a)
            if not a.dead:
                return a
        a = following
    return NULL


cdef void auth_take_idle(AuthConnection *a) noexcept nogil:
    cdef AuthConnection **at = &a.server.idle
    while at[0] != a:
        at = &at[0].next
    at[0] = a.next
    a.next = NULL
    a.server.idle_count -= 1


cdef void auth_close(Core *core, AuthConnection *a) noexcept nogil:
    """May be called twice; the struct goes after the batch of events."""
    if a.dead:
        return
    a.dead = True
    auth_waits_no_more(a)
    if a.session == NULL:
        auth_take_idle(a)
    else:
        a.session.auth = NULL
        a.session = NULL
    buffer_free(&a.request)
    channel_close(core, &a.channel)
    core.auth_connections -= 1
    a.next = core.dead_auth
    core.dead_auth = a


cdef inline void auth_drop(Core *core, AuthConnection *a) noexcept nogil:
    """The session has no use for an answer any more."""
    auth_close(core, a)


cdef void auth_send(Core *core, AuthConnection *a, bint fresh) noexcept nogil:
    """Send what is left of the request. The answer has its own auth_http_timeout."""
    cdef Session *s = a.session
    if not channel_flush(&a.channel, &a.request):
        # A refusal shows here only because we did not wait for the connection: it is one all the
        # same, and nginx finds it while reading.
        auth_lost(core, a, b"recv() failed" if fresh else b"send() failed", fm_errno())
        return
    if a.request.end > a.request.start:
        if not fresh:
            channel_watch_out(core, &a.channel, a, TAG_AUTH)
    else:
        session_deadline(core, s, s.server.auth_timeout)


cdef void auth_lost(Core *core, AuthConnection *a, const char *what, int err) noexcept nogil:
    """The connection broke, or (err 0) the server closed it. A kept one may have been closed just as
    we sent: if no byte has come back, the request is sent once more, on a new connection."""
    cdef Session *s = a.session
    if a.reused and not a.answered:
        auth_close(core, a)
        auth_retry(core, s)
    elif err and auth_unsent(a) and a.address + 1 < s.server.auth_address_count:
        log_connect_failed(s, CONNECTING_CONNECT, s.server.auth_addresses[a.address].text, err)
        auth_next(core, a)
    elif err:
        auth_failed(core, a, what, err)
    else:
        ends(&s.end, REASON_AUTH_SERVER_FAILED, HOW_CLOSED)
        session_internal_error(core, s)


cdef void auth_retry(Core *core, Session *s) noexcept nogil:
    while s.server.idle != NULL:    # those are as old: start afresh
        auth_close(core, s.server.idle)
    auth_begin(core, s)


cdef void auth_failed(Core *core, AuthConnection *a, const char *what, int err) noexcept nogil:
    cdef Session *s = a.session
    session_say(s, LOG_ERR if is_network_error(err) else LOG_ALERT, err, what)
    ends(&s.end, REASON_AUTH_SERVER_FAILED, HOW_BROKEN)     # which auth server, that line does not say
    session_internal_error(core, s)


cdef void auth_timed_out(Core *core, Session *s) noexcept nogil:
    note_auth_timeout(s)
    if s.auth == NULL or not auth_next(core, s.auth):
        ends_told(&s.end, REASON_AUTH_SERVER_TIMEOUT, HOW_TIMED_OUT, LOG_ERR)
        session_internal_error(core, s)


cdef void note_auth_timeout(Session *s) noexcept nogil:
    cdef Buffer text
    memset(&text, 0, sizeof(text))
    puts(&text, b"auth http server ")
    put_span(&text, auth_text(s.login))
    puts(&text, b" timed out")
    put(&text, b"\0", 1)
    if not text.failed:
        session_say(s, LOG_ERR, ETIMEDOUT, text.data)
    buffer_free(&text)


cdef void auth_event(Core *core, AuthConnection *a, uint32_t events) noexcept nogil:
    if a.dead:
        return
    channel_event(&a.channel, events)
    if a.session == NULL:
        auth_read_body(core, a)
        return
    if a.channel.readable:
        auth_read(core, a)
    if not a.dead and a.session != NULL and a.request.end > a.request.start and not a.channel.blocked:
        auth_send(core, a, False)


cdef void auth_read(Core *core, AuthConnection *a) noexcept nogil:
    """Read the answer; at its empty line the session goes on."""
    cdef Session *s = a.session
    cdef Answer *answer = &s.login.answer
    cdef AnswerResult result
    cdef ssize_t n
    while a.channel.readable:
        if not buffer_open(&answer.data, ANSWER_MAX + 1):
            session_internal_error(core, s)
            return
        n = channel_recv(&a.channel, answer.data.data + answer.data.end, answer.data.size - answer.data.end)
        if n == IO_AGAIN:
            return
        if n <= 0:
            auth_lost(core, a, b"recv() failed", fm_errno() if n == IO_ERROR else 0)
            return
        if not a.answered:
            a.answered = True
            auth_waits_no_more(a)
            auth_learn(a, core.clock.now)
        buffer_filled(&answer.data, <uint32_t> n)
        result = answer_feed(answer)
        if result == ANSWER_MORE:
            if not a.channel.readable:
                channel_acknowledge(&a.channel)
            continue
        if result == ANSWER_DONE and a.reused and auth_answer_is_none(core, a, answer):
            auth_close(core, a)
            answer_reset(answer)
            auth_retry(core, s)
            return
        if result == ANSWER_DONE:
            auth_detach(core, a, answer)
            session_answered(core, s)
            return
        session_answer_failed(core, s, result)
        return


cdef bint auth_answer_is_none(Core *core, const AuthConnection *a, const Answer *answer) noexcept nogil:
    """What has come on a kept connection answers nothing: the server had given up waiting; or more has come
    than an answer and its body, of which the first may be the last login's, sent twice."""
    if is_timeout(answer.data.data, answer.data.end):
        return True
    if answer.body < 0 or <int64_t> answer.data.end - answer.scan <= answer.body \
            or not auth_body_is_good(
                answer.chunked, answer.data.data + answer.scan, answer.body, answer.body):
        return False
    auth_spoke_unasked(core, a)
    return True


cdef void session_answer_failed(Core *core, Session *s, AnswerResult result) noexcept nogil:
    """Reference 6.2: what makes an answer unusable. nginx logs nothing for one that is too long, which
    leaves its operator guessing."""
    cdef bint after = False
    cdef Span name
    if result == ANSWER_BAD_STATUS:
        auth_error(s.login, b"sent invalid response")
    elif result == ANSWER_BAD_HEADER:
        name = answer_bad_name(&s.login.answer, &after)
        if name.size:
            note_server(s.login, b"sent invalid header in response after " if after
                        else b"sent invalid header in response: ", name)
        else:
            auth_error(s.login, b"sent invalid header in response")
    elif result == ANSWER_TOO_LONG:
        auth_error(s.login, b"sent too long header in response")
    session_internal_error(core, s)


cdef void auth_detach(Core *core, AuthConnection *a, const Answer *answer) noexcept nogil:
    """The answer's header is complete: keep the connection if it can be used again."""
    cdef int64_t extra = <int64_t> answer.data.end - answer.scan
    if a.server.idle_count >= a.server.keepalive or a.server.auth_talks or core.draining \
            or not answer.persistent or answer.spent or answer.body < extra or answer.body > BODY_MAX \
            or not auth_body_is_good(answer.chunked, answer.data.data + answer.scan, extra, answer.body) \
            or a.request.end > a.request.start or a.channel.hangup \
            or core.clock.now - a.opened >= a.server.keepalive_time or auth_is_crowded(core, a.server):
        auth_close(core, a)
        return
    a.session.auth = NULL
    a.session = NULL
    a.body = answer.body - extra
    a.chunked = answer.chunked
    a.idle_turn = core.turn
    a.next = a.server.idle
    a.server.idle = a
    a.server.idle_count += 1
    auth_read_body(core, a)
    if a.dead:
        return
    a.deadline = a.opened + a.server.keepalive_time
    if a.body:  # it holds the place of one that could be used
        channel_acknowledge(&a.channel)
        a.deadline = min(a.deadline, core.clock.now + a.server.auth_timeout)
    timer_start(&core.wheel, &core.idle_timer, a.deadline)


cdef void auth_idle_expired(Core *core) noexcept nogil:
    """Close the idle connections whose time is up."""
    cdef AuthConnection *a
    cdef AuthConnection *following
    cdef uint64_t first = 0
    cdef int i
    for i in range(core.listener_count):
        a = core.listeners[i].server.idle
        while a != NULL:
            following = a.next
            if a.deadline <= core.clock.now:
                auth_close(core, a)
            elif first == 0 or a.deadline < first:
                first = a.deadline
            a = following
    if first:
        timer_start(&core.wheel, &core.idle_timer, first)


cdef inline bint auth_body_is_good(bint chunked, const char *data, int64_t size, int64_t left) noexcept nogil:
    """Whether these are the next bytes of a body of which ``left`` are missing. Of chunked bodies only the
    empty one is read."""
    return not chunked or memcmp(EMPTY_BODY + EMPTY_BODY_SIZE - left, data, <size_t> size) == 0


cdef void auth_read_body(Core *core, AuthConnection *a) noexcept nogil:
    """On an idle connection only the rest of the last answer's body may come: read, unlooked at. All
    else is out of place, the connection's end included."""
    cdef char waste[1024]
    cdef ssize_t n
    while a.channel.readable:
        n = channel_recv(&a.channel, waste, sizeof(waste))
        if n == IO_AGAIN:
            break
        if n > 0 and not auth_body_is_good(a.chunked, waste, min(<int64_t> n, a.body), a.body):
            auth_close(core, a)
            return
        if n <= 0 or n > a.body:
            auth_close(core, a)
            if n > 0 and not is_timeout(waste + a.body, <size_t> (n - a.body)):
                auth_spoke_unasked(core, a)
            return
        a.body -= n


cdef void auth_spoke_unasked(Core *core, const AuthConnection *a) noexcept nogil:
    """The auth server has sent what was not asked for: had it come a moment later, it would have been taken
    for the next login's answer. HTTP ties an answer to its request by nothing but their order (RFC 9112
    section 9.3.2), which cannot be relied upon here: each request has a connection of its own from now on."""
    cdef Line line
    cdef Span said = a.server.auth_addresses[a.address].text
    while a.server.idle != NULL:
        auth_close(core, a.server.idle)
    if a.server.auth_talks:
        return
    a.server.auth_talks = True
    if a.server.log.level < LOG_ERR:
        return
    line_begin(&line, &core.clock, LOG_ERR, 0)
    line_puts(&line, b"auth http server ")
    line_put(&line, said.data, said.size)
    line_puts(&line, b" sent data that was not asked for: no connection is kept any more")
    line_write(&line, &a.server.log, LOG_ERR)


cdef bint is_timeout(const char *data, size_t size) noexcept nogil:
    """408: some servers say so before they close an idle connection, which may meet the next request
    (RFC 9110 section 15.5.9)."""
    return size >= 12 and memcmp(data, b"HTTP/1.", 7) == 0 and memcmp(data + 8, b" 408", 4) == 0
