# POP3: the client's dialogue (reference 5.5) and the login at the backend (reference 7.3).

cdef enum Pop3State:
    POP3_START = 0
    POP3_USER_GIVEN             # USER was accepted: PASS is due

cdef enum Pop3Verb:
    POP3_NONE = 0
    POP3_USER
    POP3_PASS
    POP3_APOP
    POP3_AUTH
    POP3_CAPA
    POP3_NOOP
    POP3_QUIT
    POP3_STLS

cdef enum:
    POP3_ARGUMENTS = 3
    POP3_SASL_MAX = 4096        # bytes of AUTH and of responses (RFC 5034), as long as IMAP's and SMTP's


cdef tuple pop3_capability(bytes server_name, list capabilities, uint32_t auth, StartTls starttls):
    if auth & MECH_PLAIN:       # pop3_auth cannot name LOGIN: PLAIN stands for both
        auth |= MECH_LOGIN
    mechanisms = [name for bit, name in ADVERTISED if auth & <uint32_t> bit]
    sasl = b" ".join([b"SASL", *mechanisms])
    if starttls == STARTTLS_ONLY:
        capabilities = [*(word for word in capabilities if word.upper() != b"USER"), b"STLS"]
    elif starttls == STARTTLS_ON:
        capabilities = [*capabilities, sasl, b"STLS"]
    else:
        capabilities = [*capabilities, sasl]
    capa = [b"+OK Capability list follows", *capabilities, b"."]
    methods = [b"+OK methods supported:", *mechanisms, b"."]
    return b"\r\n".join(capa) + b"\r\n", b"\r\n".join(methods) + b"\r\n"


cdef void pop3_greeting(Login *l) noexcept nogil:
    puts(&l.output, b"+OK POP3 ready")
    if l.server.auth & (MECH_APOP | MECH_CRAM_MD5):
        salt_make(l)
        puts(&l.output, b" ")
        put_span(&l.output, buffer_span(&l.salt))
    puts(&l.output, b"\r\n")


cdef void pop3_invalid(Login *l) noexcept nogil:
    l.state = POP3_START
    puts(&l.output, b"-ERR invalid command\r\n")


cdef void pop3_rejected(Login *l, Span text, Span code) noexcept nogil:
    puts(&l.output, b"-ERR ")
    put_span(&l.output, text)
    puts(&l.output, b"\r\n")


cdef void pop3_mechanism_refused(Login *l) noexcept nogil:
    puts(&l.output, b"-ERR Unsupported authentication mechanism\r\n")


cdef void pop3_tls_required(Login *l) noexcept nogil:
    puts(&l.output, b"-ERR Must issue a STLS command first\r\n")


cdef void pop3_internal_error(Login *l) noexcept nogil:
    """SYS/TEMP (RFC 3206) says that the credentials are not at fault; it takes RESP-CODES (RFC 2449)."""
    puts(&l.output, b"-ERR [SYS/TEMP] internal server error\r\n" if l.server.response_codes
         else b"-ERR internal server error\r\n")


cdef void pop3_goodbye(Login *l, const char *code, const char *why) noexcept nogil:
    """Nothing: each reply of POP3 answers a command, so that another -ERR would be read as the next one's.
    RFC 1939 section 3 wants no response when the autologout timer ends a session."""


cdef int pop3_verb(Span s) noexcept nogil:
    if span_is_word(s, b"USER"):
        return POP3_USER
    if span_is_word(s, b"PASS"):
        return POP3_PASS
    if span_is_word(s, b"APOP"):
        return POP3_APOP
    if span_is_word(s, b"AUTH"):
        return POP3_AUTH
    if span_is_word(s, b"CAPA"):
        return POP3_CAPA
    if span_is_word(s, b"NOOP"):
        return POP3_NOOP
    if span_is_word(s, b"QUIT"):
        return POP3_QUIT
    return POP3_STLS if span_is_word(s, b"STLS") else POP3_NONE


cdef Parsed pop3_parse(Login *l) noexcept nogil:
    cdef char *p = l.input.data + l.input.start
    cdef uint32_t size = 0, at
    cdef Parsed parsed = take_line(l, &size)
    if parsed != PARSE_COMMAND:
        return parsed
    at = verb_size(l, size)
    l.verb = <uint8_t> pop3_verb(span_of(p, at))
    if l.verb == POP3_NONE:
        return PARSE_INVALID
    if l.verb != POP3_USER and l.verb != POP3_PASS:
        return parse_words(l, at, size, POP3_ARGUMENTS)
    # A name or a password may contain spaces: all that follows is one argument.
    while at < size and p[at] == 32:
        at += 1
    l.arguments = 0
    if at < size:
        l.argument[0].escaped = False
        l.mark = at
        argument_end(l, size)
    return PARSE_COMMAND


cdef Action pop3_ok(Login *l) noexcept nogil:
    puts(&l.output, b"+OK\r\n")
    return ACT_NEXT


cdef Action pop3_command(Login *l) noexcept nogil:
    if l.verb == POP3_CAPA:
        put_span(&l.output, l.server.capability_tls if l.state == POP3_USER_GIVEN else capability(l))
        return ACT_NEXT
    if l.verb == POP3_NOOP:
        return pop3_ok(l)
    if l.verb == POP3_QUIT:
        pop3_ok(l)
        return quit(l)
    if l.state == POP3_USER_GIVEN:
        if l.verb != POP3_PASS or l.arguments != 1:
            return ACT_INVALID
        l.state = POP3_START
        keep_argument(l, 0, &l.password)
        l.password_known = True
        return attempt(l, METHOD_PLAIN)
    if l.verb == POP3_STLS:
        if not may_start_tls(l):
            return ACT_INVALID
        pop3_ok(l)
        return ACT_TLS
    if must_start_tls(l):
        return needs_tls(l)
    if l.verb == POP3_USER and l.arguments == 1:
        credentials_wipe(l)
        keep_argument(l, 0, &l.login)
        l.state = POP3_USER_GIVEN
        return pop3_ok(l)
    if l.verb == POP3_APOP and l.arguments == 2 and l.server.auth & MECH_APOP:
        credentials_wipe(l)
        keep_argument(l, 0, &l.login)
        keep_argument(l, 1, &l.password)
        return attempt(l, METHOD_APOP)
    if l.verb == POP3_AUTH:
        if l.arguments == 0:
            put_span(&l.output, l.server.methods)
            return ACT_NEXT
        return sasl_start(l, l.arguments)
    return ACT_INVALID


# --- the backend ---------------------------------------------------------------------------------

cdef enum Pop3Upstream:
    POP3_UP_GREETING = 0
    POP3_UP_USER
    POP3_UP_PASS
    POP3_UP_CAPA                # is STLS offered?
    POP3_UP_STLS
    POP3_UP_SECURED


cdef bint pop3_client_said(int upstream) noexcept nogil:
    return upstream == POP3_UP_USER or upstream == POP3_UP_PASS


cdef bint one_line(Span s) noexcept nogil:
    """No CR, LF or NUL: in a command line it would begin another command."""
    return s.size == 0 or (memchr(s.data, 13, s.size) == NULL and memchr(s.data, 10, s.size) == NULL
                           and memchr(s.data, 0, s.size) == NULL)


cdef UpstreamStep pop3_send(Login *l, Pop3Upstream state, const char *command,
                            const char *action) noexcept nogil:
    puts(&l.order, command)
    l.upstream = state
    l.action = action
    return UP_NEXT


cdef UpstreamStep pop3_capabilities(Login *l, Span line) noexcept nogil:
    """The reply to CAPA (RFC 2449): +OK, one capability on each line, and a dot."""
    if l.line == 0 and (line.size < 3 or memcmp(line.data, b"+OK", 3) != 0):
        if line.size > 6 and memcmp(line.data, b"-ERR [", 6) == 0:
            return UP_REJECTED  # a response code: the server is unavailable, not without CAPA
        return upstream_without_tls(l)
    if line.size != 1 or line.data[0] != 46:
        l.starttls_offered |= l.line > 0 and line.size == 4 and strncasecmp(line.data, b"STLS", 4) == 0
        return UP_SKIP
    if not l.starttls_offered:
        return upstream_without_tls(l)
    return pop3_send(l, POP3_UP_STLS, b"STLS\r\n", b"sending STLS to upstream")


cdef UpstreamStep pop3_upstream(Login *l, Span line) noexcept nogil:
    if l.upstream == POP3_UP_CAPA:
        return pop3_capabilities(l, line)
    if l.upstream == POP3_UP_SECURED:
        l.upstream = POP3_UP_GREETING
    elif line.size < 3 or memcmp(line.data, b"+OK", 3) != 0:
        return UP_REJECTED
    if l.upstream == POP3_UP_STLS:
        l.upstream = POP3_UP_SECURED
        return UP_TLS
    if l.upstream == POP3_UP_GREETING:
        if upstream_starts_tls(l):
            return pop3_send(l, POP3_UP_CAPA, b"CAPA\r\n", b"sending CAPA to upstream")
        if not one_line(buffer_span(&l.login)) or not one_line(buffer_span(&l.password)):
            note(l, LOG_ERR, b"login or password contains CR, LF or NUL and cannot be sent")
            ends_told(l.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ERR)
            return UP_ERROR
        l.action = b"sending user name to upstream"
        pop3_put(l, b"USER ", &l.login)
        if l.server.proxy_pipelining:
            pop3_put(l, b"PASS ", &l.password)
            credentials_wipe(l)
        l.upstream = POP3_UP_USER
        return UP_NEXT
    if l.upstream == POP3_UP_USER:
        l.action = b"sending password to upstream"
        if not l.server.proxy_pipelining:
            pop3_put(l, b"PASS ", &l.password)
            credentials_wipe(l)
        l.upstream = POP3_UP_PASS
        return UP_NEXT
    return UP_ACCEPTED


cdef void pop3_put(Login *l, const char *command, Buffer *value) noexcept nogil:
    puts(&l.order, command)
    put_span(&l.order, buffer_span(value))
    puts(&l.order, b"\r\n")
