# TLS handshakes of clients, from the first byte on or after STARTTLS, and what is asked of their
# certificates.

cdef enum:
    HELLO_MAX = 5 + RECORD_MAX  # bytes of a ClientHello that are waited for

cdef void session_start_tls(Core *core, Session *s) noexcept nogil:
    """STARTTLS was accepted; the handshake begins with the client's first byte, which restarts the time."""
    s.phase = PHASE_HANDSHAKE
    s.starttls = True
    s.login.action = b"in starttls state"
    session_flush(core, s)
    if s.phase != PHASE_DEAD and s.client.readable:
        session_shake_later(core, s)


cdef void session_shake_later(Core *core, Session *s) noexcept nogil:
    """A handshake takes as long as a hundred exchanges of relayed sessions: those have precedence."""
    if s.queued:
        return
    s.queued = True
    s.next = NULL
    if core.handshakes == NULL:
        core.handshakes = s
    else:
        core.handshakes_last.next = s
    core.handshakes_last = s


cdef void session_handshake(Core *core, Session *s) noexcept nogil:
    cdef ssize_t n
    if s.client.ssl == NULL:
        if not session_flush(core, s) or not session_take_hello(core, s):
            return
    tls_gather(&s.client)
    n = tls_handshake(&s.client)
    if n == 1:
        s.login.tls = True
        s.login.ssl = s.client.ssl
        session_certificate(core, s)
        session_release(core, s)
        return
    tls_release(&s.client)
    if n == IO_AGAIN:
        if s.client.blocked:
            channel_watch_out(core, &s.client, s, TAG_CLIENT)
        elif s.client.readable:
            session_shake_later(core, s)    # it has had its share of this turn
        return
    session_handshake_failed(core, s)


cdef bint session_take_hello(Core *core, Session *s) noexcept nogil:
    """Receive the ClientHello. libssl takes 40 kB for a connection, and clients that send a part and wait
    must not have it. True: the handshake can begin."""
    cdef Buffer *hello = &s.login.input
    cdef uint32_t room
    cdef ssize_t got
    if SSL_CTX_get_options(s.server.tls) & SSL_OP_ENABLE_KTLS:
        session_deadline(core, s, s.server.timeout)
        return session_begin_tls(core, s, NULL)     # libssl has the descriptor itself
    while True:
        room = HELLO_MAX - buffer_used(hello)
        got = recv(s.client.fd, core.shared, room, 0)
        if got >= 0 or fm_errno() != EINTR:
            break
    s.client.readable = s.client.raw = False
    if got < 0 and fm_errno() == EAGAIN:
        return False
    if hello.end == 0:
        session_deadline(core, s, s.server.timeout)
    if got <= 0:
        s.client.ended = True
        return session_begin_tls(core, s, hello)
    if not put(hello, core.shared, <size_t> got):
        ends(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED)
        session_close(core, s)
        return False
    if <uint32_t> got == room or s.client.hangup or s.client.cuts:
        s.client.readable = s.client.raw = True
    if <uint32_t> got < room and hello_is_cut(<const unsigned char *> hello.data, hello.end):
        if s.client.readable:
            session_shake_later(core, s)
        return False
    return session_begin_tls(core, s, hello)


cdef bint session_begin_tls(Core *core, Session *s, Buffer *hello) noexcept nogil:
    if tls_begin(core, &s.client, s.server.tls, True, hello):
        return True
    session_say(s, LOG_ALERT, 0, b"SSL_new() failed")
    ends_told(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ALERT)
    session_close(core, s)
    return False


cdef bint hello_is_cut(const unsigned char *data, uint32_t n) noexcept nogil:
    """More must come before libssl can answer: this is the beginning of a ClientHello, in one record or
    several (RFC 8446 sections 4 and 5.1). Anything else is for libssl to refuse."""
    cdef unsigned char head[4]
    cdef uint32_t at = 0, had = 0, size, record, here, i
    while True:
        if (at < n and data[at] != 22) or (at + 1 < n and data[at + 1] != 3):
            return False
        if n - at < 5:
            return True
        record = <uint32_t> data[at + 3] << 8 | data[at + 4]
        if record == 0 or record > RECORD_MAX:
            return False
        here = min(record, n - at - 5)
        for i in range(min(here, 4 - min(had, 4))):
            head[had + i] = data[at + 5 + i]
        had += here
        if had and head[0] != 1:
            return False
        if had >= 4:
            size = <uint32_t> head[1] << 16 | <uint32_t> head[2] << 8 | head[3]
            if size + 4 > HELLO_MAX or had >= size + 4:
                return False
        if here < record:
            return True
        at += 5 + record


cdef void session_release(Core *core, Session *s) noexcept nogil:
    """Send what has been gathered for the client. Call it last: the session may have ended meanwhile."""
    if s.phase == PHASE_DEAD or s.client.ssl == NULL:
        return
    tls_release(&s.client)
    if s.client.blocked:
        channel_watch_out(core, &s.client, s, TAG_CLIENT)


cdef void session_handshake_failed(Core *core, Session *s) noexcept nogil:
    """What a client has caused is level info, as with nginx."""
    cdef int level = LOG_INFO
    if s.client.excess:
        client_left(s, HOW_FAILED, level)
        session_say(s, level, 0, tls_handshake_excess)
    elif ERR_peek_error() == 0:
        client_left(s, HOW_CLOSED, level)
        session_say(s, level, 0, b"peer closed connection in SSL handshake")
    else:
        if not peer_is_to_blame(0):
            level = LOG_CRIT
        client_left(s, HOW_FAILED, level)
        session_say(s, level, 0, b"SSL_do_handshake() failed")
    session_close(core, s)


cdef void session_certificate(Core *core, Session *s) noexcept nogil:
    """``ssl_verify_client``: the handshake itself takes any certificate; who is not let in gets a line that
    says so (reference 9.3). The session is not to be resumed."""
    cdef long result
    cdef X509 *certificate
    cdef Line text
    if s.server.verify:
        result = SSL_get_verify_result(s.client.ssl)
        certificate = SSL_get0_peer_certificate(s.client.ssl)
        if result != X509_V_OK \
                and not (s.server.verify == VERIFY_OPTIONAL_NO_CA and unknown_authority(result)):
            text.size = 0
            line_puts(&text, b"client SSL certificate verify error: (")
            line_number(&text, <uint64_t> result, 0)
            line_puts(&text, b":")
            line_puts(&text, X509_verify_cert_error_string(result))
            line_puts(&text, b")")
            text.text[text.size] = 0
            ends_told(&s.end, REASON_CLIENT_CERT_UNTRUSTED, HOW_REFUSED, LOG_INFO)
            session_refuse_certificate(core, s, text.text, s.server.protocol.certificate_bad)
            return
        if s.server.verify == VERIFY_ON and certificate == NULL:
            ends_told(&s.end, REASON_CLIENT_CERT_MISSING, HOW_REFUSED, LOG_INFO)
            session_refuse_certificate(core, s, b"client sent no required SSL certificate",
                                       s.server.protocol.certificate_missing)
            return
    if not s.starttls:
        session_secured(core, s)
        session_later(core, s)      # what has come behind the handshake brings no further event
        return
    s.phase = PHASE_COMMANDS
    s.login.action = b"in auth state"
    session_deadline(core, s, s.server.timeout)
    session_commands(core, s)


cdef bint unknown_authority(long result) noexcept nogil:
    return result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT \
        or result == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN \
        or result == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY \
        or result == X509_V_ERR_CERT_UNTRUSTED \
        or result == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE


cdef void session_refuse_certificate(Core *core, Session *s, const char *why,
                                     const char *reply) noexcept nogil:
    session_say(s, LOG_INFO, 0, why)
    SSL_CTX_remove_session(SSL_get_SSL_CTX(s.client.ssl), SSL_get0_session(s.client.ssl))
    puts(&s.login.output, reply)
    session_finish(core, s)
