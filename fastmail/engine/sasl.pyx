# SASL on the client's side (reference 5.3): shared by IMAP AUTHENTICATE and by POP3 and SMTP AUTH.

cdef enum Sasl:                 # the response that we are waiting for
    SASL_NONE = 0
    SASL_PLAIN
    SASL_LOGIN_USER
    SASL_LOGIN_PASSWORD
    SASL_CRAM_MD5
    SASL_EXTERNAL


cdef void salt_make(Login *l) noexcept nogil:
    """``<RANDOM.TIME@SERVER_NAME>``, once per session: POP3's timestamp (RFC 1939 section 7) and the
    CRAM-MD5 challenge (RFC 2195)."""
    cdef uint32_t random = 0
    cdef timespec now
    if l.salt.end:
        return
    fm_ignore(getrandom(&random, sizeof(random), 0))
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    puts(&l.salt, b"<")
    put_number(&l.salt, random & 0x7FFFFFFF)
    puts(&l.salt, b".")
    put_number(&l.salt, <uint64_t> now.tv_sec)
    puts(&l.salt, b"@")
    put_span(&l.salt, l.server.server_name)
    puts(&l.salt, b">")


cdef Action challenge(Login *l, Sasl wanted, const char *text) noexcept nogil:
    puts(&l.output, l.server.protocol.challenge)
    puts(&l.output, text)
    puts(&l.output, b"\r\n")
    l.sasl = wanted
    return ACT_NEXT


cdef Action sasl_start(Login *l, int n) noexcept nogil:
    """The ``n`` arguments of AUTH or AUTHENTICATE: a mechanism, and perhaps an initial response.

    PLAIN and LOGIN work whether they are listed or not, as with nginx; CRAM-MD5 and EXTERNAL only
    if they are, with and without an initial response. Any other name is refused, not a syntax error: the
    client may choose another.
    """
    cdef Span mechanism
    if n < 1 or n > 2:
        return ACT_INVALID
    mechanism = argument(l, 0)
    credentials_wipe(l)
    if span_is_word(mechanism, b"PLAIN"):
        return challenge(l, SASL_PLAIN, b"") if n == 1 else sasl_plain(l, argument(l, 1))
    if span_is_word(mechanism, b"LOGIN"):
        return challenge(l, SASL_LOGIN_USER, b"VXNlcm5hbWU6") if n == 1 else \
            sasl_login_user(l, argument(l, 1))
    if span_is_word(mechanism, b"EXTERNAL") and l.server.auth & MECH_EXTERNAL:
        return challenge(l, SASL_EXTERNAL, b"VXNlcm5hbWU6") if n == 1 else \
            sasl_external(l, argument(l, 1))
    if span_is_word(mechanism, b"CRAM-MD5") and l.server.auth & MECH_CRAM_MD5 and n == 1:
        salt_make(l)
        puts(&l.output, l.server.protocol.challenge)
        put_base64(&l.output, buffer_span(&l.salt))
        puts(&l.output, b"\r\n")
        l.sasl = SASL_CRAM_MD5
        return ACT_NEXT
    if mechanism.size == 0 or span_is_word(mechanism, b"CRAM-MD5") and l.server.auth & MECH_CRAM_MD5:
        return refused(l, REASON_INVALID_MECH)
    l.tried = REASON_INVALID_MECH
    l.server.protocol.mechanism_refused(l)
    return ACT_NEXT


cdef Action sasl_response(Login *l, Span word) noexcept nogil:
    """The response that the last challenge asked for. On failure the exchange is over."""
    cdef int wanted = l.sasl
    l.sasl = SASL_NONE
    if wanted == SASL_PLAIN:
        return sasl_plain(l, word)
    if wanted == SASL_LOGIN_USER:
        return sasl_login_user(l, word)
    if wanted == SASL_LOGIN_PASSWORD:
        return sasl_login_password(l, word)
    if wanted == SASL_CRAM_MD5:
        return sasl_cram_md5(l, word)
    return sasl_external(l, word)


cdef Action sasl_failed(Login *l, const char *why) noexcept nogil:
    note(l, LOG_INFO, why)
    credentials_wipe(l)
    buffer_free(&l.login)
    return refused(l, REASON_AUTH_FAILED)


cdef Action sasl_undecodable(Login *l, const char *why) noexcept nogil:
    sasl_failed(l, why)
    return refused(l, REASON_INVALID_BASE64)


cdef bint decode_into(Login *l, Span word, Buffer *into) noexcept nogil:
    buffer_free(into)
    return put_base64_decoded(into, word)


cdef Action sasl_plain(Login *l, Span word) noexcept nogil:
    """authzid NUL login NUL password (RFC 4616); the authzid is ignored, the rest may be empty."""
    cdef Buffer *text = &l.password     # decoded here, so that it is wiped whatever happens
    cdef char *login
    cdef char *password
    cdef uint32_t left
    if not decode_into(l, word, text):
        return sasl_undecodable(l, b"client sent invalid base64 encoding in AUTH PLAIN command")
    login = <char *> memchr(text.data, 0, text.end) if text.end else NULL
    if login == NULL or login + 1 == text.data + text.end:
        return sasl_failed(l, b"client sent invalid login in AUTH PLAIN command")
    login += 1
    left = <uint32_t> (text.data + text.end - login)
    password = <char *> memchr(login, 0, left)
    if password == NULL:
        return sasl_failed(l, b"client sent invalid password in AUTH PLAIN command")
    buffer_free(&l.login)
    put(&l.login, login, <size_t> (password - login))
    text.start = <uint32_t> (password + 1 - text.data)
    l.password_known = True
    return attempt(l, METHOD_PLAIN)


cdef Action sasl_login_user(Login *l, Span word) noexcept nogil:
    if not decode_into(l, word, &l.login):
        return sasl_undecodable(l, b"client sent invalid base64 encoding in AUTH LOGIN command")
    return challenge(l, SASL_LOGIN_PASSWORD, b"UGFzc3dvcmQ6")


cdef Action sasl_login_password(Login *l, Span word) noexcept nogil:
    if not decode_into(l, word, &l.password):
        return sasl_undecodable(l, b"client sent invalid base64 encoding in AUTH LOGIN command")
    l.password_known = True
    return attempt(l, METHOD_PLAIN)


cdef Action sasl_cram_md5(Login *l, Span word) noexcept nogil:
    """login SP digest (RFC 2195), split at the first space; the digest has 32 characters."""
    cdef Buffer *text = &l.password
    cdef char *space
    if not decode_into(l, word, text):
        return sasl_undecodable(l, b"client sent invalid base64 encoding in AUTH CRAM-MD5 command")
    space = <char *> memchr(text.data, 32, text.end) if text.end else NULL
    if space == NULL or text.data + text.end - space != 33:
        return sasl_failed(l, b"client sent invalid CRAM-MD5 hash in AUTH CRAM-MD5 command")
    buffer_free(&l.login)
    put(&l.login, text.data, <size_t> (space - text.data))
    text.start = <uint32_t> (space + 1 - text.data)
    return attempt(l, METHOD_CRAM_MD5)


cdef Action sasl_external(Login *l, Span word) noexcept nogil:
    if not decode_into(l, word, &l.login):
        return sasl_undecodable(l, b"client sent invalid base64 encoding in AUTH EXTERNAL command")
    credentials_wipe(l)
    return attempt(l, METHOD_EXTERNAL)
