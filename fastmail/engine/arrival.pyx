# From accept to the greeting: PROXY header, TLS, the client's host name, the pause before the greeting.
# Steps, each of which calls the next: whoever has to wait sets a phase and a deadline of its own.

cdef void session_begin(Core *core, Session *s) noexcept nogil:
    """A new connection."""
    log_connected(core, s)
    if s.listener.proxy_protocol:
        s.phase = PHASE_PROXY
        s.login.action = b"reading PROXY protocol"
        session_deadline(core, s, s.server.timeout)
    else:
        session_identified(core, s)
    if s.phase != PHASE_DEAD and not channel_watch(core, &s.client, s, TAG_CLIENT, s.client.blocked):
        session_close(core, s)


cdef void session_proxy_header(Core *core, Session *s) noexcept nogil:
    """Take the header, once it is whole, and not a byte of what follows: that may be TLS."""
    cdef Login *l = s.login
    cdef ProxyParsed parsed
    cdef ssize_t n
    s.client.readable = False       # the next byte brings an edge
    n = recv(s.client.fd, core.shared, PROXY_HEADER_MAX, MSG_PEEK)
    if n <= 0:
        if n < 0 and (fm_errno() == EAGAIN or fm_errno() == EINTR):
            return
        if n < 0:
            session_failed(core, s, b"recv() failed", fm_errno(), True)
        else:
            client_left(s, HOW_CLOSED, 0)
            session_close(core, s)
        return
    if l.proxy == NULL:
        l.proxy = <ProxyHeader *> calloc(1, sizeof(ProxyHeader))
        if l.proxy == NULL:
            session_close(core, s)
            return
    parsed = proxy_parse(l.proxy, core.shared, <size_t> n)
    if parsed == PROXY_MORE and not s.client.hangup:
        return
    if parsed != PROXY_DONE:
        session_header_failed(s, parsed, span_of(core.shared, <size_t> n))
        session_close(core, s)
        return
    recv(s.client.fd, core.shared, l.proxy.size, 0)
    s.client.readable = True
    session_real_ip(s)
    session_identified(core, s)
    session_later(core, s)          # to read what has come behind it


cdef void session_header_failed(Session *s, ProxyParsed parsed, Span seen) noexcept nogil:
    cdef Line text
    cdef Span shown
    cdef const char *tail = NULL
    if parsed == PROXY_MORE:
        client_left(s, HOW_CLOSED, 0)
        return
    ends_told(&s.end, REASON_PROXY_PROTOCOL, HOW_REFUSED, 0 if parsed == PROXY_SHORT else LOG_ERR)
    if parsed == PROXY_VERSION:
        text.size = 0
        line_puts(&text, b"unknown PROXY protocol version: ")
        line_number(&text, s.login.proxy.version, 0)
        text.text[text.size] = 0
        session_say(s, LOG_ERR, 0, text.text)
    elif parsed == PROXY_TOO_LARGE:
        session_say(s, LOG_ERR, 0, b"header is too large")
    elif parsed == PROXY_BROKEN:
        seen = first_line(seen)
        shown = broken_shown(seen, s.server.protocol.words_logged)
        if shown.size < seen.size:
            tail = b" (rest not shown)"
        session_log(s, LOG_ERR, 0, b"broken header: ", shown, tail, s.login.action)


cdef void session_real_ip(Session *s) noexcept nogil:
    """``set_real_ip_from``: a trusted peer's word for who the client is."""
    cdef Address a
    cdef Endpoint e
    if not s.login.proxy.known \
            or not networks_hold(s.server.real_ip_from, s.server.real_ip_count, s.family, s.address):
        return
    memset(&a, 0, sizeof(a))
    if not numeric_address(buffer_span(&s.login.proxy.source), &a):
        return
    endpoint_of(&e, &a.addr)
    s.family = <uint8_t> e.family
    s.port = s.login.proxy.source_port
    memcpy(s.address, e.address, 16)
    session_address(s, s.login.client)


cdef void session_identified(Core *core, Session *s) noexcept nogil:
    """The client's address is known."""
    if s.listener.tls:
        s.phase = PHASE_HANDSHAKE
        s.login.action = b"SSL handshaking"
        session_deadline(core, s, s.server.timeout)
    else:
        session_secured(core, s)


cdef void session_secured(Core *core, Session *s) noexcept nogil:
    """What is between us and the client is as the listener wants it. Who it is, an SMTP server may ask its
    resolver."""
    if s.server.resolver_timeout == 0 or not s.server.protocol.client_host:
        session_named(core, s)
    elif s.family == AF_UNIX:
        s.login.host_temporary = True
        session_named(core, s)
    else:
        session_ask_name(core, s)


cdef void session_ask_name(Core *core, Session *s) noexcept nogil:
    cdef Message m
    memset(&m, 0, sizeof(m))
    m.kind = EVENT_NAME_
    m.extra = s.server.index
    m.handle = session_handle(s)
    s.login.action = b"in resolving client address"
    s.phase = PHASE_NAME
    # Python gives up after twice resolver_timeout; this is for when it does not get to it.
    session_deadline(core, s, 2 * s.server.resolver_timeout + NAME_GRACE)
    if puts(&m.data, s.login.client) and ring_put(&core.events, &m):
        return
    buffer_free(&m.data)
    s.login.host_temporary = True
    session_named(core, s)


cdef void session_drop_name(Core *core, Session *s) noexcept nogil:
    """The session ends before its name is known. If the ring is full, the lookup just lasts."""
    cdef Message m
    memset(&m, 0, sizeof(m))
    m.kind = EVENT_NAME_DROPPED_
    m.handle = session_handle(s)
    ring_put(&core.events, &m)


cdef void session_name_found(Core *core, Session *s, Message *m) noexcept nogil:
    """The resolver's last word. A name has been checked there: letters, digits, dots and hyphens."""
    cdef Login *l = s.login
    cdef uint32_t outcome = m.extra & ~<uint32_t> NAME_FORWARD
    l.host_temporary = outcome == NAME_TEMPORARILY_UNAVAILABLE_
    if outcome == NAME_FOUND_:
        l.host = m.data
        memset(&m.data, 0, sizeof(Buffer))
    elif m.data.end:
        if m.extra & NAME_FORWARD:
            l.action = b"in resolving client hostname"
        if put(&m.data, b"\0", 1):
            session_say(s, LOG_ERR, 0, m.data.data + m.data.start)
    session_named(core, s)
    session_later(core, s)


cdef void session_named(Core *core, Session *s) noexcept nogil:
    """The client's host name is as known as it will be: greet, or hold the greeting back."""
    s.login.action = b"sending client greeting line"
    if s.server.greeting_delay and s.server.protocol.early_talker != NULL:
        s.phase = PHASE_DELAY
        s.login.action = b"in delay pipelining state"
        session_deadline(core, s, s.server.greeting_delay)
    else:
        session_greet(core, s)


cdef void session_greet(Core *core, Session *s) noexcept nogil:
    s.phase = PHASE_COMMANDS
    session_deadline(core, s, s.server.timeout)
    s.server.protocol.greeting(s.login)
    if session_flush(core, s):
        s.login.action = b"in auth state"


cdef void session_early_talker(Core *core, Session *s) noexcept nogil:
    """Input before the delayed greeting (smtp_greeting_delay)."""
    if not s.client.readable or not session_read_client(core, s):
        return
    s.server.protocol.early_talker(s.login)
    ends_told(&s.end, REASON_EARLY_TALKER, HOW_REFUSED, LOG_INFO)
    session_finish(core, s)
