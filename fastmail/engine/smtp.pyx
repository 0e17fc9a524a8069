# SMTP: the client's dialogue (reference 5.6) and the login at the backend (reference 7.4).

cdef enum SmtpVerb:
    SMTP_NONE = 0
    SMTP_HELO
    SMTP_EHLO
    SMTP_AUTH
    SMTP_QUIT
    SMTP_NOOP
    SMTP_MAIL
    SMTP_RCPT
    SMTP_RSET
    SMTP_STARTTLS
    SMTP_REFUSED                # VRFY, EXPN, HELP: known, not served, not an error


cdef tuple smtp_capability(bytes server_name, list capabilities, uint32_t auth, StartTls starttls):
    mechanisms = [name for bit, name in ADVERTISED if auth & <uint32_t> bit]
    lines = [server_name, *capabilities]
    if mechanisms and starttls != STARTTLS_ONLY:
        lines.append(b" ".join([b"AUTH", *mechanisms]))
    if starttls:
        lines.append(b"STARTTLS")
    last = lines.pop()
    return b"".join(b"250-" + line + b"\r\n" for line in lines) + b"250 " + last + b"\r\n", b""


cdef void smtp_greeting(Login *l) noexcept nogil:
    puts(&l.output, b"220 ")
    put_span(&l.output, l.server.server_name)
    puts(&l.output, b" ESMTP ready\r\n")


cdef void smtp_invalid(Login *l) noexcept nogil:
    puts(&l.output, b"500 5.5.1 Invalid command\r\n")


cdef void smtp_rejected(Login *l, Span text, Span code) noexcept nogil:
    if code.size:
        put_span(&l.output, code)
    else:
        puts(&l.output, b"535 5.7.0")
    puts(&l.output, b" ")
    put_span(&l.output, text)
    puts(&l.output, b"\r\n")


cdef void smtp_mechanism_refused(Login *l) noexcept nogil:
    puts(&l.output, b"504 5.5.4 Unsupported authentication mechanism\r\n")


cdef void smtp_tls_required(Login *l) noexcept nogil:
    puts(&l.output, b"530 5.7.0 Must issue a STARTTLS command first\r\n")     # RFC 3207 section 4


cdef void smtp_internal_error(Login *l) noexcept nogil:
    puts(&l.output, b"451 4.3.2 Internal server error\r\n")


cdef void smtp_goodbye(Login *l, const char *code, const char *why) noexcept nogil:
    """RFC 5321 section 3.8: a server that closes unasked says 421; the client's next command finds it."""
    puts(&l.output, b"421 ")
    puts(&l.output, code)
    puts(&l.output, b" ")
    put_span(&l.output, l.server.server_name)
    puts(&l.output, b" ")
    puts(&l.output, why)
    puts(&l.output, b"\r\n")


cdef int smtp_verb(Span s) noexcept nogil:
    if span_is_word(s, b"EHLO"):
        return SMTP_EHLO
    if span_is_word(s, b"AUTH"):
        return SMTP_AUTH
    if span_is_word(s, b"MAIL"):
        return SMTP_MAIL
    if span_is_word(s, b"RCPT"):
        return SMTP_RCPT
    if span_is_word(s, b"QUIT"):
        return SMTP_QUIT
    if span_is_word(s, b"HELO"):
        return SMTP_HELO
    if span_is_word(s, b"RSET"):
        return SMTP_RSET
    if span_is_word(s, b"NOOP"):
        return SMTP_NOOP
    if span_is_word(s, b"STARTTLS"):
        return SMTP_STARTTLS
    if span_is_word(s, b"VRFY") or span_is_word(s, b"EXPN") or span_is_word(s, b"HELP"):
        return SMTP_REFUSED
    return SMTP_NONE


cdef Parsed smtp_parse(Login *l) noexcept nogil:
    cdef uint32_t size = 0, at
    cdef Parsed parsed = take_line(l, &size)
    if parsed != PARSE_COMMAND:
        return parsed
    at = verb_size(l, size)
    l.verb = <uint8_t> smtp_verb(span_of(l.input.data + l.input.start, at))
    return PARSE_INVALID if l.verb == SMTP_NONE else parse_words(l, at, size, ARGUMENTS_MAX)


cdef Action smtp_reply(Login *l, const char *line) noexcept nogil:
    puts(&l.output, line)
    return ACT_NEXT


cdef bint keep_command(Login *l, Buffer *into) noexcept nogil:
    """The raw command, from its verb to the end of its last argument."""
    cdef Argument *last = &l.argument[l.arguments - 1]
    buffer_free(into)
    return put(into, l.input.data + l.input.start, last.start + last.size)


cdef Action smtp_command(Login *l) noexcept nogil:
    if l.verb == SMTP_EHLO or l.verb == SMTP_HELO:
        return smtp_hello(l)
    if l.verb == SMTP_AUTH:
        if must_start_tls(l):
            return needs_tls(l)
        if l.arguments == 0:
            return smtp_reply(l, b"501 5.5.4 Invalid argument\r\n")
        return sasl_start(l, l.arguments)
    if l.verb == SMTP_MAIL:
        return smtp_mail(l)
    if l.verb == SMTP_RCPT:
        return smtp_rcpt(l)
    if l.verb == SMTP_QUIT:
        smtp_reply(l, b"221 2.0.0 Bye\r\n")
        return quit(l)
    if l.verb == SMTP_STARTTLS:
        return smtp_starttls(l)
    if l.verb == SMTP_REFUSED:
        return ACT_INVALID
    if l.verb == SMTP_RSET:
        buffer_free(&l.mail_from)
        buffer_free(&l.rcpt_to)
    return smtp_reply(l, b"250 2.0.0 OK\r\n")


cdef Action smtp_starttls(Login *l) noexcept nogil:
    """What the client has said in clear is forgotten (RFC 3207 section 4.2)."""
    if not may_start_tls(l):
        return ACT_INVALID
    buffer_free(&l.helo)
    buffer_free(&l.mail_from)
    buffer_free(&l.rcpt_to)
    puts(&l.output, b"220 2.0.0 Start TLS\r\n")
    return ACT_TLS


cdef Action smtp_hello(Login *l) noexcept nogil:
    """HELO and EHLO forget sender and recipient. Who has said EHLO once is taken for ESMTP for good."""
    if l.arguments != 1:
        return smtp_reply(l, b"501 5.5.4 Invalid argument\r\n")
    keep_argument(l, 0, &l.helo)
    buffer_free(&l.mail_from)
    buffer_free(&l.rcpt_to)
    if l.verb == SMTP_EHLO:
        l.esmtp = True
        put_span(&l.output, capability(l))
        return ACT_NEXT
    puts(&l.output, b"250 ")
    put_span(&l.output, l.server.server_name)
    return smtp_reply(l, b"\r\n")


cdef Action smtp_mail(Login *l) noexcept nogil:
    if not l.server.auth & MECH_NONE:
        note_rejected(l, b"client was rejected: ", span_of(l.input.data + l.input.start, l.scan))
        if must_start_tls(l):
            smtp_tls_required(l)
            return ACT_NEXT
        return smtp_reply(l, b"530 5.7.1 Authentication required\r\n")
    if l.mail_from.end:
        return smtp_reply(l, b"503 5.5.1 Bad sequence of commands\r\n")
    if l.arguments == 0:
        return smtp_reply(l, b"501 5.5.4 Invalid argument\r\n")
    credentials_wipe(l)
    buffer_free(&l.login)
    keep_command(l, &l.mail_from)
    return smtp_reply(l, b"250 2.0.0 OK\r\n")


cdef Action smtp_rcpt(Login *l) noexcept nogil:
    """Without authentication it is the recipient that the auth server is asked about."""
    if not l.mail_from.end:
        return smtp_reply(l, b"503 5.5.1 Bad sequence of commands\r\n")
    if l.arguments == 0:
        return smtp_reply(l, b"501 5.5.4 Invalid argument\r\n")
    credentials_wipe(l)
    buffer_free(&l.login)
    keep_command(l, &l.rcpt_to)
    return attempt(l, METHOD_NONE)


cdef void note_rejected(Login *l, const char *text, Span seen) noexcept nogil:
    """Line ends are shown as ``_``."""
    cdef Buffer shown
    cdef uint32_t i
    memset(&shown, 0, sizeof(shown))
    put_span(&shown, seen)
    for i in range(shown.end):
        if shown.data[i] == 13 or shown.data[i] == 10:
            shown.data[i] = 95
    if not shown.failed:
        note_quoted(l, LOG_INFO, text, buffer_span(&shown))
    buffer_free(&shown)


cdef void smtp_early_talker(Login *l) noexcept nogil:
    """From an AUTH on, wherever it stands, nothing is logged: it may carry a password."""
    cdef Span seen = buffer_span(&l.input)
    cdef size_t i
    for i in range(seen.size):
        if seen.size - i >= 4 and strncasecmp(seen.data + i, b"AUTH", 4) == 0:
            seen.size = i + 4
            break
    note_rejected(l, b"client was rejected before greeting: ", seen)
    puts(&l.output, b"503 5.5.0 Improper use of SMTP command pipelining\r\n")


cdef void put_client_host(Buffer *out, const Login *l) noexcept nogil:
    """Client-Host and XCLIENT's NAME: a name that leads back to the client, or one of Postfix' two words for
    that there is none."""
    if l.host.end:
        put_span(out, buffer_span(&l.host))
    else:
        puts(out, b"[TEMPUNAVAIL]" if l.host_temporary else b"[UNAVAILABLE]")


# --- the backend ---------------------------------------------------------------------------------

cdef enum SmtpUpstream:
    SMTP_UP_GREETING = 0
    SMTP_UP_HELLO               # our own EHLO or HELO
    SMTP_UP_XCLIENT
    SMTP_UP_CLIENT_HELLO        # the client's, once the backend knows that it is his
    SMTP_UP_OWN_HELLO           # ours again: it has refused the client's
    SMTP_UP_MAIL
    SMTP_UP_RCPT
    SMTP_UP_AUTH
    SMTP_UP_OFFERS              # an EHLO of ours: is STARTTLS offered?
    SMTP_UP_STARTTLS
    SMTP_UP_SECURED


cdef bint smtp_client_said(int upstream) noexcept nogil:
    return upstream == SMTP_UP_CLIENT_HELLO or upstream == SMTP_UP_AUTH \
        or upstream == SMTP_UP_MAIL or upstream == SMTP_UP_RCPT


cdef UpstreamStep smtp_send(Login *l, SmtpUpstream state, const char *action) noexcept nogil:
    puts(&l.order, b"\r\n")
    l.upstream = state
    l.action = action
    return UP_NEXT


cdef UpstreamStep smtp_send_hello(Login *l) noexcept nogil:
    l.pipelining_offered = False
    puts(&l.order, b"EHLO " if l.server.xclient or l.esmtp else b"HELO ")
    put_span(&l.order, l.server.server_name)
    return smtp_send(l, SMTP_UP_HELLO, b"sending HELO/EHLO to upstream")


cdef UpstreamStep smtp_send_xclient(Login *l) noexcept nogil:
    """Postfix's XCLIENT: who the client really is. Sent whether it was announced or not, as nginx does.
    Nothing is pipelined behind it: Postfix takes that for a spammer's haste, whatever it has announced."""
    l.pipelining_offered = False    # the dialogue begins anew
    puts(&l.order, b"XCLIENT ADDR=")
    if memchr(l.client, 58, strlen(l.client)) != NULL and memcmp(l.client, b"unix:", 5) != 0:
        puts(&l.order, b"IPV6:")
    puts(&l.order, l.client)
    if l.login.end > l.login.start and not l.server.proxy_smtp_auth:
        puts(&l.order, b" LOGIN=")
        put_xtext(&l.order, buffer_span(&l.login))
    puts(&l.order, b" NAME=")
    put_client_host(&l.order, l)
    return smtp_send(l, SMTP_UP_XCLIENT, b"sending XCLIENT to upstream")


cdef UpstreamStep smtp_send_client_hello(Login *l) noexcept nogil:
    puts(&l.order, b"EHLO " if l.esmtp else b"HELO ")
    put_span(&l.order, buffer_span(&l.helo))
    return smtp_send(l, SMTP_UP_CLIENT_HELLO, b"sending client HELO/EHLO to upstream")


cdef bint smtp_literal_refused(Login *l) noexcept nogil:
    """The backend will not have the address literal that the client has introduced itself with."""
    return l.upstream == SMTP_UP_CLIENT_HELLO and l.helo.data[l.helo.start] == 91 and smtp_permanent(l)


cdef UpstreamStep smtp_send_own_hello(Login *l) noexcept nogil:
    """It says nothing of the client that the backend has not from XCLIENT, and often names a network behind
    NAT: ours does as well."""
    note_quoted(l, LOG_INFO, b"upstream refused client HELO/EHLO, sending server name: ",
                span_of(l.reply.data + l.reply.start, l.reply_scan - 2))
    puts(&l.order, b"EHLO " if l.esmtp else b"HELO ")
    put_span(&l.order, l.server.server_name)
    return smtp_send(l, SMTP_UP_OWN_HELLO, b"sending HELO/EHLO to upstream")


cdef inline bint holds_nul(Span s) noexcept nogil:
    """NUL separates the fields of PLAIN (RFC 4616): in a login it would begin the password."""
    return s.size > 0 and memchr(s.data, 0, s.size) != NULL


cdef UpstreamStep smtp_send_auth(Login *l) noexcept nogil:
    cdef Buffer plain
    l.action = b"sending AUTH to upstream"
    if not l.password_known:
        note(l, LOG_ERR, b"no password available")
        ends_told(l.end, REASON_AUTH_SERVER_FAILED, HOW_FAILED, LOG_ERR)
        return UP_ERROR
    if holds_nul(buffer_span(&l.login)) or holds_nul(buffer_span(&l.password)):
        note(l, LOG_ERR, b"login or password contains NUL and cannot be sent")
        ends_told(l.end, REASON_INTERNAL_FAILURE, HOW_FAILED, LOG_ERR)
        return UP_ERROR
    memset(&plain, 0, sizeof(plain))
    put(&plain, b"\0", 1)
    put_span(&plain, buffer_span(&l.login))
    put(&plain, b"\0", 1)
    put_span(&plain, buffer_span(&l.password))
    puts(&l.order, b"AUTH PLAIN ")
    put_base64(&l.order, buffer_span(&plain))
    if plain.failed:
        l.order.failed = True
    buffer_free(&plain)
    credentials_wipe(l)
    return smtp_send(l, SMTP_UP_AUTH, b"sending AUTH to upstream")


cdef UpstreamStep smtp_introduced(Login *l) noexcept nogil:
    """The backend knows who speaks: now the login itself, or the envelope so far, in one group if the backend
    takes that (RFC 2920 section 3.1)."""
    if l.method == METHOD_NONE:
        put_span(&l.order, buffer_span(&l.mail_from))
        if l.pipelining_offered:
            puts(&l.order, b"\r\n")
            put_span(&l.order, buffer_span(&l.rcpt_to))
        return smtp_send(l, SMTP_UP_MAIL, b"sending MAIL FROM to upstream")
    if l.server.proxy_smtp_auth:
        return smtp_send_auth(l)
    return smtp_logged_in(l)


cdef UpstreamStep smtp_logged_in(Login *l) noexcept nogil:
    l.own_reply = b"235 2.0.0 OK\r\n"
    return UP_ACCEPTED


cdef bint smtp_code(Login *l, const char *code) noexcept nogil:
    """Of a reply of several lines the first one's code counts."""
    return l.reply_scan >= 3 and memcmp(l.reply.data + l.reply.start, code, 3) == 0


cdef inline bint smtp_permanent(const Login *l) noexcept nogil:
    return l.reply.data[l.reply.start] == 53    # 5yz


cdef UpstreamStep smtp_refused(Login *l) noexcept nogil:
    """A sender without a login hears a permanent refusal of itself: on a 451 of ours it would try again for
    days. XCLIENT is our word, but Postfix answers it with the client's 554."""
    cdef bint clients = smtp_client_said(l.upstream) \
        or (l.upstream == SMTP_UP_XCLIENT and smtp_code(l, b"554"))
    l.reply_passed = clients and l.method == METHOD_NONE and smtp_permanent(l)
    return UP_REJECTED


cdef bint smtp_offers(Span line, const char *keyword) noexcept nogil:
    """Whether a line of an EHLO reply behind the first (RFC 5321 section 4.1.1.1) has this keyword."""
    return line.size > 4 and span_is_word(span_of(line.data + 4, line.size - 4), keyword)


cdef UpstreamStep smtp_start_tls(Login *l) noexcept nogil:
    """RFC 3207. After the handshake it begins anew with EHLO."""
    if l.upstream == SMTP_UP_GREETING:
        puts(&l.order, b"EHLO ")
        put_span(&l.order, l.server.server_name)
        return smtp_send(l, SMTP_UP_OFFERS, b"sending HELO/EHLO to upstream")
    if l.upstream == SMTP_UP_OFFERS:
        if not smtp_code(l, b"250"):
            return UP_REJECTED
        if not l.starttls_offered:
            return upstream_without_tls(l)
        puts(&l.order, b"STARTTLS")
        return smtp_send(l, SMTP_UP_STARTTLS, b"sending STARTTLS to upstream")
    l.upstream = SMTP_UP_SECURED
    return UP_TLS if smtp_code(l, b"220") else UP_REJECTED


cdef UpstreamStep smtp_upstream(Login *l, Span line) noexcept nogil:
    if l.upstream == SMTP_UP_SECURED:
        return smtp_send_hello(l)
    if l.line > 0 and l.upstream == SMTP_UP_OFFERS and smtp_offers(line, b"STARTTLS"):
        l.starttls_offered = True
    if l.line > 0 and l.server.proxy_pipelining and smtp_offers(line, b"PIPELINING") \
            and l.upstream in (SMTP_UP_HELLO, SMTP_UP_CLIENT_HELLO, SMTP_UP_OWN_HELLO):
        l.pipelining_offered = True
    if line.size >= 4 and line.data[3] == 45:
        return UP_SKIP
    if l.upstream == SMTP_UP_RCPT:
        # Whatever it says, the client hears it; after a 421 there is nobody left to relay to.
        l.reply_passed = True
        return UP_REJECTED if smtp_code(l, b"421") else UP_ACCEPTED
    if l.upstream == SMTP_UP_GREETING and not smtp_code(l, b"220"):
        return UP_REJECTED
    if upstream_starts_tls(l):
        return smtp_start_tls(l)
    if l.upstream == SMTP_UP_GREETING:
        return smtp_send_hello(l)
    if l.upstream == SMTP_UP_XCLIENT:
        if not smtp_code(l, b"220") and not smtp_code(l, b"250"):
            return smtp_refused(l)
        return smtp_send_client_hello(l) if l.helo.end else smtp_introduced(l)
    if l.upstream == SMTP_UP_AUTH:
        return smtp_logged_in(l) if smtp_code(l, b"235") else UP_REJECTED
    if not smtp_code(l, b"250"):
        return smtp_send_own_hello(l) if smtp_literal_refused(l) else smtp_refused(l)
    if l.upstream == SMTP_UP_HELLO:
        return smtp_send_xclient(l) if l.server.xclient else smtp_introduced(l)
    if l.upstream == SMTP_UP_CLIENT_HELLO or l.upstream == SMTP_UP_OWN_HELLO:
        return smtp_introduced(l)
    l.upstream = SMTP_UP_RCPT
    l.action = b"sending RCPT TO to upstream"
    if l.pipelining_offered:
        return UP_NEXT          # it has been sent
    put_span(&l.order, buffer_span(&l.rcpt_to))
    return smtp_send(l, SMTP_UP_RCPT, l.action)
