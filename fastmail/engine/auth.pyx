# The exchange with the auth server (reference 6): the request, and what its answer means. Sans-I/O; the
# connection is authconn.pyx's, or aiohttp's.

cdef enum Outcome:
    OUTCOME_PROXY               # upstream_address and the credentials are set: log in there
    OUTCOME_REJECTED            # the reply is in output; l.wait says how long to hold it back
    OUTCOME_AGAIN               # ask again after l.wait
    OUTCOME_ERROR               # logged; the client gets the internal error

cdef enum:
    AGAIN_MIN = 1000            # milliseconds: an answer WAIT without a time must not become a storm
    REFUSED_WAIT = 1000         # milliseconds before the first refusal of several, doubled for each after it
    REFUSED_DOUBLED = 4         # at most so often


cdef const char *method_name(Method method) noexcept nogil:
    if method == METHOD_PLAIN:
        return b"plain"
    if method == METHOD_CRAM_MD5:
        return b"cram-md5"
    if method == METHOD_APOP:
        return b"apop"
    return b"external" if method == METHOD_EXTERNAL else b"none"


cdef bint put_auth_request(Login *l, Buffer *out) noexcept nogil:
    """The request, header lines in nginx's order. False: no memory."""
    cdef ServerConf *server = l.server
    put_span(out, server.auth_request_line)
    puts(out, b"Auth-Method: ")
    puts(out, method_name(l.method))
    puts(out, b"\r\nAuth-User: ")
    put_http_escaped(out, buffer_span(&l.login))
    puts(out, b"\r\nAuth-Pass: ")
    if l.method != METHOD_EXTERNAL and l.method != METHOD_NONE:
        put_http_escaped(out, buffer_span(&l.password))
    puts(out, b"\r\n")
    if l.method == METHOD_CRAM_MD5 or l.method == METHOD_APOP:
        puts(out, b"Auth-Salt: ")
        put_span(out, buffer_span(&l.salt))
        puts(out, b"\r\n")
    puts(out, b"Auth-Protocol: ")
    puts(out, server.protocol.name)
    puts(out, b"\r\nAuth-Login-Attempt: ")
    put_number(out, l.attempt)
    puts(out, b"\r\nClient-IP: ")
    puts(out, l.client)
    puts(out, b"\r\n")
    if server.protocol.client_host:
        puts(out, b"Client-Host: ")
        put_client_host(out, l)
        puts(out, b"\r\n")
    if l.proxy != NULL and l.proxy.known:
        put_proxy_headers(out, l.proxy)
    if l.method == METHOD_NONE:
        puts(out, b"Auth-SMTP-Helo: ")
        put_span(out, buffer_span(&l.helo))
        puts(out, b"\r\nAuth-SMTP-From: ")
        put_span(out, buffer_span(&l.mail_from))
        puts(out, b"\r\nAuth-SMTP-To: ")
        put_span(out, buffer_span(&l.rcpt_to))
        puts(out, b"\r\n")
    if l.ssl != NULL:
        put_tls_headers(out, l.ssl, server.verify, server.pass_client_cert)
    put_span(out, server.auth_headers)
    puts(out, b"\r\n")
    return not out.failed


cdef inline Span auth_text(const Login *l) noexcept nogil:
    """The address of the auth server that is asked, for the log."""
    return l.server.auth_addresses[l.auth_address].text


cdef void note_server(Login *l, const char *what, Span quoted) noexcept nogil:
    """``auth http server X WHAT[:"QUOTED"][ (HTTP status N)]``, which ends the session. nginx ignores the
    status, and so do we; but it may say why there is no usable answer."""
    cdef Buffer text
    cdef Buffer tail
    cdef int code = answer_code(&l.answer)
    memset(&text, 0, sizeof(text))
    memset(&tail, 0, sizeof(tail))
    puts(&text, b"auth http server ")
    put_span(&text, auth_text(l))
    puts(&text, b" ")
    puts(&text, what)
    put(&text, b"\0", 1)
    put(&tail, b" (HTTP status ", 14)
    put_number(&tail, <uint64_t> code)
    put(&tail, b")\0", 2)
    if not text.failed and not tail.failed:
        l.note(l.owner, LOG_ERR, 0, text.data, quoted, tail.data if code and code != 200 else NULL)
    buffer_free(&text)
    buffer_free(&tail)
    ends_told(l.end, REASON_AUTH_SERVER_FAILED, HOW_FAILED, LOG_ERR)


cdef inline Outcome auth_error(Login *l, const char *what) noexcept nogil:
    note_server(l, what, span_of(NULL, 0))
    return OUTCOME_ERROR


cdef Outcome auth_judge(Login *l) noexcept nogil:
    """What a complete answer means (reference 6.3), in nginx's order."""
    cdef Answer *a = &l.answer
    cdef bint bad_port
    l.wait = a.wait
    if a.user.seen and not (a.again and not a.rejected):
        buffer_free(&l.login)       # for the log too, whatever comes of it
        put_span(&l.login, field(a, &a.user))
    if a.rejected and (a.status.size or not l.server.protocol.empty_status_is_ok):
        note_quoted(l, LOG_INFO, b"client login failed: ", field(a, &a.status))
        l.tried = REASON_AUTH_TEMP_FAILED if answer_is_temporary(a) else REASON_AUTH_FAILED
        l.server.protocol.rejected(l, field(a, &a.status), field(a, &a.error_code))
        credentials_wipe(l)
        if l.wait == 0:
            auth_refused(l)
        return OUTCOME_REJECTED
    if a.again:
        if l.wait == 0:
            l.wait = AGAIN_MIN
        return OUTCOME_AGAIN
    if not a.server.size or (not a.port.size and not is_unix(field(a, &a.server))):
        return auth_error(l, b"did not send server or port")
    if a.password.seen:
        credentials_wipe(l)
        put_span(&l.password, field(a, &a.password))
        l.password_known = True
    elif l.method != METHOD_PLAIN:
        credentials_wipe(l)         # a digest is no password
    if l.login.failed or l.password.failed:
        return OUTCOME_ERROR
    if l.server.protocol.needs_password and not l.password_known:
        return auth_error(l, b"did not send password")
    if not set_upstream(l, field(a, &a.server), field(a, &a.port), &bad_port):
        if bad_port:
            note_server(l, b"sent invalid server port:", field(a, &a.port))
        else:
            note_server(l, b"sent invalid server address:", field(a, &a.server))
        return OUTCOME_ERROR
    return OUTCOME_PROXY


cdef void auth_refused(Login *l) noexcept nogil:
    """Without Auth-Wait: hold the refusal back and go on (max_auth_attempts), or say that we close."""
    if l.attempt < l.server.max_auth_attempts:
        l.wait = <uint64_t> REFUSED_WAIT << min(l.attempt - 1, <uint32_t> REFUSED_DOUBLED)
    else:
        say_goodbye(l, b"4.7.0", b"closing connection")


cdef inline bint is_unix(Span s) noexcept nogil:
    return s.size > 5 and memcmp(s.data, b"unix:", 5) == 0


cdef bint set_upstream(Login *l, Span host, Span port, bint *bad_port) noexcept nogil:
    """The backend's address from Auth-Server and Auth-Port: numeric, or ``unix:PATH`` (which needs no
    port)."""
    cdef int64_t number
    cdef sockaddr_un *local = <sockaddr_un *> &l.upstream_address.addr
    bad_port[0] = False
    memset(&l.upstream_address, 0, sizeof(Address))
    buffer_free(&l.upstream_text)
    put_span(&l.upstream_text, host)
    if is_unix(host):
        if host.size - 5 >= sizeof(local.sun_path) or memchr(host.data, 0, host.size) != NULL:
            return False
        local.sun_family = AF_UNIX
        memcpy(local.sun_path, host.data + 5, host.size - 5)
        l.upstream_address.size = <socklen_t> (offsetof_sun_path() + host.size - 5 + 1)
        return True
    if not numeric_address(host, &l.upstream_address):
        return False
    number = parse_number(port, 65535)
    if number < 1:
        bad_port[0] = True
        return False
    puts(&l.upstream_text, b":")
    put_span(&l.upstream_text, port)
    # sin_port and sin6_port are at the same place.
    (<sockaddr_in *> &l.upstream_address.addr).sin_port = htons(<uint16_t> number)
    return not l.upstream_text.failed


cdef bint numeric_address(Span s, Address *a) noexcept nogil:
    """IPv4 as nginx reads it (leading zeros allowed, an empty octet is 0), or IPv6."""
    cdef sockaddr_in *v4 = <sockaddr_in *> &a.addr
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *> &a.addr
    cdef uint8_t *octets = <uint8_t *> &v4.sin_addr.s_addr
    cdef char text[INET6_ADDRSTRLEN]
    cdef size_t i
    cdef int n = 0
    cdef unsigned int octet = 0
    if s.size == 0 or s.size >= sizeof(text):
        return False
    if memchr(s.data, 58, s.size) != NULL:
        memcpy(text, s.data, s.size)
        text[s.size] = 0
        v6.sin6_family = AF_INET6
        a.size = sizeof(sockaddr_in6)
        return memchr(s.data, 0, s.size) == NULL and inet_pton(AF_INET6, text, &v6.sin6_addr) == 1
    for i in range(s.size):
        if 48 <= s.data[i] <= 57:
            octet = octet * 10 + <unsigned int> (s.data[i] - 48)
            if octet > 255:
                return False
        elif s.data[i] == 46 and n < 3:
            octets[n] = <uint8_t> octet
            octet = 0
            n += 1
        else:
            return False
    if n != 3:
        return False
    octets[3] = <uint8_t> octet
    if v4.sin_addr.s_addr == INADDR_NONE:   # 255.255.255.255, which is nobody's
        return False
    v4.sin_family = AF_INET
    a.size = sizeof(sockaddr_in)
    return True
