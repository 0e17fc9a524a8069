# TLS handshakes of clients, from the first byte on or after STARTTLS, and what is asked of their
# certificates.

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
        if not session_flush(core, s):
            return
        if not tls_begin(core, &s.client, s.server.tls, True):
            session_say(s, LOG_ALERT, 0, b"SSL_new() failed")
            ends_told(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ALERT)
            session_close(core, s)
            return
        session_deadline(core, s, s.server.timeout)
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
        return
    session_handshake_failed(core, s)


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
    if ERR_peek_error() == 0:
        client_left(s, HOW_CLOSED, level)
        session_say(s, level, 0, b"peer closed connection in SSL handshake")
    else:
        if not tls_peer_is_to_blame():
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
