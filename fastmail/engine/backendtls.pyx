# TLS towards the backend (proxy_ssl, proxy_ssl_starttls): the handshake, and whether it is the right one.

cdef enum:
    BACKEND_SESSIONS = 64       # kept for resumption, by the backend's address, in each server

cdef struct BackendSession:
    Address address
    SSL_SESSION *session


cdef void backend_name(const Session *s, char *name, size_t room) noexcept nogil:
    """proxy_ssl_name, or the address that the auth server has given, without its port."""
    cdef Span text = s.server.proxy_ssl_name
    if text.size == 0 and s.login.upstream_address.addr.ss_family == AF_UNIX:
        text = span_of(<char *> b"localhost", 9)
    if text.size == 0:
        address_numeric(&s.login.upstream_address, name)
        return
    if text.size >= room:
        text.size = room - 1
    memcpy(name, text.data, text.size)
    name[text.size] = 0


cdef void address_numeric(const Address *a, char *text) noexcept nogil:
    """Without port and brackets; ``text`` has INET6_ADDRSTRLEN bytes at least."""
    text[0] = 0
    if a.addr.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<sockaddr_in *> &a.addr).sin_addr, text, INET6_ADDRSTRLEN)
    elif a.addr.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &(<sockaddr_in6 *> &a.addr).sin6_addr, text, INET6_ADDRSTRLEN)


cdef bint is_numeric(const char *name) noexcept nogil:
    cdef unsigned char packed[16]
    return inet_pton(AF_INET, name, packed) == 1 or inet_pton(AF_INET6, name, packed) == 1


cdef BackendSession *backend_session(const Session *s) noexcept nogil:
    """The place of the backend's TLS session."""
    cdef const Address *a = &s.login.upstream_address
    cdef uint64_t hash = id_hash(<const unsigned char *> &a.addr, <size_t> a.size)
    return &s.server.backend_sessions[hash % BACKEND_SESSIONS]


cdef int keep_backend_session(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """OpenSSL has a session that can be resumed. 1: it is ours now."""
    cdef Session *s = <Session *> SSL_get_ex_data(ssl, 0)
    cdef BackendSession *place
    tls_count_message(ssl)
    if s == NULL or s.login == NULL or s.server.backend_sessions == NULL:
        return 0
    place = backend_session(s)
    SSL_SESSION_free(place.session)
    place.address = s.login.upstream_address
    place.session = session
    return 1


cdef void forget_backend_session(const Session *s) noexcept nogil:
    """It carries what was said of the certificate then, however good the next one is."""
    cdef BackendSession *place
    if s.server.backend_sessions != NULL:
        place = backend_session(s)
        SSL_SESSION_free(place.session)
        place.session = NULL


cdef BackendSession *backend_sessions_new(SSL_CTX *ctx) noexcept nogil:
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE)
    SSL_CTX_sess_set_new_cb(ctx, keep_backend_session)
    return <BackendSession *> calloc(BACKEND_SESSIONS, sizeof(BackendSession))


cdef void backend_sessions_free(BackendSession *sessions) noexcept nogil:
    cdef int i
    if sessions == NULL:
        return
    for i in range(BACKEND_SESSIONS):
        SSL_SESSION_free(sessions[i].session)
    free(sessions)


cdef bint session_begin_backend_tls(Core *core, Session *s) noexcept nogil:
    cdef char name[256]
    cdef BackendSession *place
    cdef Login *l = s.login
    l.action = b"SSL handshaking to upstream"
    if not tls_begin(core, &s.backend, s.server.proxy_tls, False, NULL):
        return False
    SSL_set_ex_data(s.backend.ssl, 0, s)
    l.refused = 0
    backend_name(s, name, sizeof(name))
    if s.server.proxy_ssl_server_name and not is_numeric(name):
        SSL_set_tlsext_host_name(s.backend.ssl, name)
    if s.server.backend_sessions != NULL:
        place = backend_session(s)
        if place.session != NULL and place.address.size == l.upstream_address.size \
                and memcmp(&place.address.addr, &l.upstream_address.addr, <size_t> place.address.size) == 0:
            SSL_set_session(s.backend.ssl, place.session)
    return True


cdef bint session_secure_backend(Core *core, Session *s) noexcept nogil:
    """Carry the handshake on. True: the backend is who it should be, and the login can go on in TLS."""
    cdef Login *l = s.login
    cdef ssize_t n
    if s.backend.ssl == NULL and s.backend.hangup == HANGUP_BROKEN:
        # Nothing read in clear is ever taken for the backend's word: this only tells why.
        n = channel_recv(&s.backend, core.shared, SHARED_SIZE)
        if n == IO_ERROR:
            session_failed(core, s, b"recv() failed", fm_errno(), False)
        else:
            upstream_failed(s, HOW_CLOSED, 0)
            session_internal_error(core, s)
        return False
    if s.backend.ssl == NULL and s.backend.blocked:
        return False                # the connection does not stand yet
    if s.backend.ssl == NULL and not session_begin_backend_tls(core, s):
        session_say(s, LOG_ALERT, 0, b"SSL_new() failed")
        ends_told(&s.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ALERT)
        session_internal_error(core, s)
        return False
    n = tls_handshake(&s.backend)
    if n == IO_AGAIN:
        if s.backend.blocked:
            channel_watch_out(core, &s.backend, s, TAG_BACKEND)
        elif s.backend.readable:
            session_later(core, s)      # it has had its share of this turn
        return False
    if n != 1:
        if s.backend.excess:
            session_say(s, LOG_ERR, 0, tls_handshake_excess)
            upstream_failed(s, HOW_FAILED, LOG_ERR)
            session_internal_error(core, s)
            return False
        if ERR_peek_error() == 0 and session_guess_failed(core, s):
            return False
        if n == IO_CLOSED and ERR_peek_error() == 0:
            session_say(s, LOG_ERR, 0, b"peer closed connection in SSL handshake")
        else:
            session_say(s, LOG_ERR if peer_is_to_blame(fm_errno()) else LOG_CRIT,
                        fm_errno() if ERR_peek_error() == 0 else 0, b"SSL_do_handshake() failed")
        upstream_failed(s, HOW_CLOSED if n == IO_CLOSED else HOW_FAILED, LOG_ERR)
        session_internal_error(core, s)
        return False
    core.backend_handshakes += 1
    core.backend_resumed += <uint64_t> SSL_session_reused(s.backend.ssl)
    if s.server.proxy_ssl_verify and not session_verify_backend(s):
        forget_backend_session(s)
        ends_told(&s.end, REASON_DEST_TLS_FAILED, HOW_FAILED, LOG_ERR)
        session_internal_error(core, s)
        return False
    l.tls_due = False
    l.upstream_tls = True
    return True


cdef int backend_verified_later(int ok, X509_STORE_CTX *store) noexcept nogil:
    """verified_later(), and remember which certificate of the chain is bad."""
    cdef SSL *ssl = <SSL *> X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    cdef Session *s = <Session *> SSL_get_ex_data(ssl, 0)
    if not ok and s != NULL and s.login != NULL:
        s.login.refused = X509_STORE_CTX_get_error_depth(store)
    return 1


cdef void line_subject(Line *line, const char *before, const X509 *certificate) noexcept nogil:
    cdef char *subject = NULL
    if certificate != NULL:
        subject = X509_NAME_oneline(X509_get_subject_name(certificate), NULL, 0)
    if subject != NULL:
        line_puts(line, before)
        line_puts(line, b"\"")
        line_puts(line, subject)
        line_puts(line, b"\"")
        OPENSSL_free(subject)


cdef bint session_verify_backend(Session *s) noexcept nogil:
    """proxy_ssl_verify. What is wrong is logged with the name that was wanted, the certificate's own, and
    that of the authority in its chain if the fault is there."""
    cdef char name[256]
    cdef Line text
    cdef X509 *certificate = SSL_get0_peer_certificate(s.backend.ssl)
    cdef long result = SSL_get_verify_result(s.backend.ssl)
    cdef bint matches
    text.size = 0
    backend_name(s, name, sizeof(name))
    if certificate == NULL:
        line_puts(&text, b"upstream sent no SSL certificate for \"")
    elif result != X509_V_OK:
        line_puts(&text, b"upstream SSL certificate verify error: (")
        line_number(&text, <uint64_t> result, 0)
        line_puts(&text, b":")
        line_puts(&text, X509_verify_cert_error_string(result))
        line_puts(&text, b") for \"")
    else:
        if is_numeric(name):
            matches = X509_check_ip_asc(certificate, name, 0) == 1
        else:
            matches = X509_check_host(certificate, name, 0, 0, NULL) == 1
        if matches:
            return True
        line_puts(&text, b"upstream SSL certificate does not match \"")
    line_puts(&text, name)
    line_puts(&text, b"\"")
    line_subject(&text, b", it is of ", certificate)
    if result != X509_V_OK and s.login.refused:
        line_subject(&text, b", the fault is in that of ",
                     sk_X509_value(SSL_get0_verified_chain(s.backend.ssl), s.login.refused))
    ERR_clear_error()
    text.text[text.size] = 0
    session_say(s, LOG_ERR, 0, text.text)
    return False
