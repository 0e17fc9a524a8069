# IMAP: the client's dialogue (reference 5.4) and the login at the backend (reference 7.2).

cdef enum Imap:                 # parser states
    IMAP_TAG = 0
    IMAP_VERB_SPACE
    IMAP_VERB
    IMAP_SPACE                  # before an argument
    IMAP_ATOM
    IMAP_QUOTED
    IMAP_QUOTED_ESCAPE
    IMAP_LITERAL_SIZE
    IMAP_LITERAL_PLUS
    IMAP_LITERAL_CLOSED         # after "}"
    IMAP_LITERAL_CR
    IMAP_LITERAL
    IMAP_LITERAL_END            # only a space or the line's end may follow the last byte
    IMAP_CR
    # Of a command whose bytes are skipped:
    IMAP_SKIP
    IMAP_SKIP_SIZE              # after "{", which announces a literal if it ends its line
    IMAP_SKIP_PLUS
    IMAP_SKIP_CLOSED
    IMAP_SKIP_CR
    IMAP_SKIP_LITERAL

cdef enum:                      # Login.skipping
    SKIP_NOTHING = 0
    SKIP_BAD                    # a syntax error: what is left of the command
    SKIP_PARAMETERS             # ID's

cdef enum ImapParameters:       # of ID: what has come of "NIL" or of a list
    ID_START = 0
    ID_N
    ID_NI
    ID_NIL
    ID_LIST
    ID_LIST_CLOSED              # the last byte was ")", if only of a string's
    ID_BAD

cdef enum ImapVerb:
    IMAP_NONE = 0
    IMAP_CAPABILITY
    IMAP_NOOP
    IMAP_LOGOUT
    IMAP_LOGIN
    IMAP_AUTHENTICATE
    IMAP_STARTTLS
    IMAP_ID

cdef enum:
    IMAP_ARGUMENTS = 3
    IMAP_SKIP_MAX = 64 * 1024   # bytes of ID's parameters, and of skipped literals; RFC 2971 allows 32 kB
    IMAP_LINE_MAX = 1000        # a longer LOGIN goes out in literals: RFC 2683 section 3.2.1.5
    IMAP_LINE_FIXED = 13        # bytes of it besides the tag and the two values


cdef tuple imap_capability(bytes server_name, list capabilities, uint32_t auth, StartTls starttls):
    mechanisms = [b"AUTH=" + name for bit, name in ADVERTISED if auth & <uint32_t> bit]
    words = capabilities + ([] if starttls == STARTTLS_ONLY else mechanisms)
    if starttls:
        words.append(b"STARTTLS")
    if starttls == STARTTLS_ONLY:
        words.append(b"LOGINDISABLED")
    return b"* CAPABILITY" + b"".join(b" " + word for word in words) + b"\r\n", b""


cdef void imap_greeting(Login *l) noexcept nogil:
    puts(&l.output, b"* OK IMAP4 ready\r\n")


cdef void imap_reply(Login *l, const char *status) noexcept nogil:
    if l.tag_size:
        put(&l.output, l.tag, l.tag_size)
    else:
        puts(&l.output, b"* ")
    puts(&l.output, status)
    puts(&l.output, b"\r\n")


cdef void imap_invalid(Login *l) noexcept nogil:
    imap_reply(l, b"BAD invalid command")


cdef void imap_rejected(Login *l, Span text, Span code) noexcept nogil:
    put(&l.output, l.tag, l.tag_size)
    puts(&l.output, b"NO ")
    put_span(&l.output, text)
    puts(&l.output, b"\r\n")
    l.tag_size = 0              # that command has had its answer


cdef void imap_mechanism_refused(Login *l) noexcept nogil:
    imap_reply(l, b"NO Unsupported authentication mechanism")


cdef void imap_tls_required(Login *l) noexcept nogil:
    """PRIVACYREQUIRED: RFC 5530. BAD, as nginx says: NO is what a wrong password gets, and clients ask their
    users for another."""
    imap_reply(l, b"BAD [PRIVACYREQUIRED] Must issue a STARTTLS command first")


cdef void imap_internal_error(Login *l) noexcept nogil:
    """Tagged with the command that it ends: an untagged BAD (nginx) leaves that one unanswered. UNAVAILABLE
    (RFC 5530) says that the credentials are not at fault."""
    if l.tag_size:
        put(&l.output, l.tag, l.tag_size)
        puts(&l.output, b"NO [UNAVAILABLE] internal server error\r\n")
    imap_goodbye(l, NULL, b"[UNAVAILABLE] internal server error")


cdef void imap_goodbye(Login *l, const char *code, const char *why) noexcept nogil:
    """RFC 9051 section 3.4: a server says BYE before it closes. Its text must not be empty."""
    puts(&l.output, b"* BYE ")
    puts(&l.output, why)
    puts(&l.output, b"\r\n")


cdef int imap_verb(Span s) noexcept nogil:
    if span_is_word(s, b"LOGIN"):
        return IMAP_LOGIN
    if span_is_word(s, b"CAPABILITY"):
        return IMAP_CAPABILITY
    if span_is_word(s, b"AUTHENTICATE"):
        return IMAP_AUTHENTICATE
    if span_is_word(s, b"NOOP"):
        return IMAP_NOOP
    if span_is_word(s, b"LOGOUT"):
        return IMAP_LOGOUT
    if span_is_word(s, b"STARTTLS"):
        return IMAP_STARTTLS
    if span_is_word(s, b"ID"):
        return IMAP_ID
    return IMAP_NONE


cdef inline bint imap_tag_byte(char c) noexcept nogil:
    """RFC 9051 section 9: any ASTRING-CHAR but "+". nginx takes letters, digits, "-", "." and "_"."""
    return 33 <= c <= 126 and memchr(b'(){%*"\\+', c, 8) == NULL


cdef Parsed imap_error(Login *l) noexcept nogil:
    """The byte before l.scan is wrong: skip the command's rest (it may be its line's end). A literal's
    announcement is looked at again, as it may be one all the same."""
    l.scan = l.mark if IMAP_LITERAL_SIZE <= l.parse <= IMAP_LITERAL_CR else l.scan - 1
    return imap_begin_skip(l, SKIP_BAD)


cdef Parsed imap_begin_skip(Login *l, uint8_t what) noexcept nogil:
    """From l.scan on the command's bytes are looked at and dropped."""
    put_span(&l.shown, command_shown(span_of(l.input.data + l.input.start, l.scan), 2))
    l.skipping = what
    l.skipped = l.scan
    l.literals = 0
    l.parameters = ID_START
    l.parse = IMAP_SKIP
    return imap_skip(l)


cdef Parsed imap_skip(Login *l) noexcept nogil:
    """Up to the command's end, literals in whatever place included: their bytes are none of ours to read as
    commands. Nothing is kept, so that the buffer need not hold the command."""
    cdef char *p = l.input.data + l.input.start
    cdef uint32_t n = buffer_used(&l.input)
    cdef uint32_t limit = l.server.client_buffer if l.skipping == SKIP_BAD else <uint32_t> IMAP_SKIP_MAX
    cdef uint64_t here
    cdef Parsed parsed
    while l.scan < n:
        if l.parse == IMAP_SKIP_LITERAL:
            here = min(<uint64_t> (n - l.scan), l.literal)
            l.scan += <uint32_t> here
            l.literal -= here
            if l.literal == 0:
                l.parse = IMAP_SKIP
            continue
        l.scan += 1
        l.skipped += 1
        parsed = imap_skip_byte(l, p[l.scan - 1])
        if parsed != PARSE_MORE:
            return parsed
        if l.skipped >= limit:
            return PARSE_TOO_LONG
    buffer_consume(&l.input, l.scan)
    l.scan = 0
    return PARSE_MORE


cdef Parsed imap_skip_byte(Login *l, char c) noexcept nogil:
    """A byte outside literals."""
    if c == 10 and (l.parse == IMAP_SKIP_CLOSED or l.parse == IMAP_SKIP_CR):
        return imap_skip_literal(l)
    if c == 10:
        return PARSE_COMMAND if l.skipping == SKIP_PARAMETERS and (
            l.parameters == ID_NIL or l.parameters == ID_LIST_CLOSED) else PARSE_INVALID
    if l.skipping == SKIP_PARAMETERS:
        l.parameters = <uint8_t> imap_parameters(<ImapParameters> l.parameters, c)
    if c == 123:
        l.literal = 0
        l.literal_plus = False
        l.parse = IMAP_SKIP_SIZE
    elif l.parse == IMAP_SKIP_SIZE and 48 <= c <= 57:
        if l.literal <= IMAP_SKIP_MAX:          # a larger one is too large, how large it ever is
            l.literal = l.literal * 10 + <uint64_t> (c - 48)
    elif l.parse == IMAP_SKIP_SIZE and c == 43:
        l.literal_plus = True
        l.parse = IMAP_SKIP_PLUS
    elif (l.parse == IMAP_SKIP_SIZE or l.parse == IMAP_SKIP_PLUS) and c == 125:
        l.parse = IMAP_SKIP_CLOSED
    elif l.parse == IMAP_SKIP_CLOSED and c == 13:
        l.parse = IMAP_SKIP_CR
    else:
        l.parse = IMAP_SKIP
    return PARSE_MORE


cdef Parsed imap_skip_literal(Login *l) noexcept nogil:
    """One is announced. Of a bad command, a synchronizing one is refused before it is sent (RFC 9051 section
    4.3); any other comes whatever we say."""
    cdef bint large = l.literal > <uint64_t> (IMAP_SKIP_MAX - l.literals)
    if not l.literal_plus and (large or l.skipping == SKIP_BAD):
        return PARSE_INVALID
    if large:
        return PARSE_TOO_LONG
    l.literals += <uint32_t> l.literal
    l.parse = IMAP_SKIP_LITERAL if l.literal else IMAP_SKIP
    return PARSE_MORE if l.literal_plus else PARSE_LITERAL


cdef ImapParameters imap_parameters(ImapParameters state, char c) noexcept nogil:
    """The outer form of what ID has: NIL, or a list, whose strings are nobody's business here."""
    if state == ID_LIST or state == ID_LIST_CLOSED:
        if c == 32 or c == 13:
            return state
        return ID_LIST_CLOSED if c == 41 else ID_LIST
    if c == 13 or c == 32:
        return state if state == ID_START or state == ID_NIL else ID_BAD
    if state == ID_START and c == 40:
        return ID_LIST
    if state == ID_START and (c == 78 or c == 110):
        return ID_N
    if state == ID_N and (c == 73 or c == 105):
        return ID_NI
    return ID_NIL if state == ID_NI and (c == 76 or c == 108) else ID_BAD


cdef bint imap_announces(Login *l) noexcept nogil:
    """Whether the atom from l.mark to the line's end, which is being looked at, ends as a literal's
    announcement does: a list may have begun with it."""
    cdef char *p = l.input.data + l.input.start
    cdef uint32_t at = l.scan - 2
    if p[at] != 125:
        return False
    if at > l.mark and p[at - 1] == 43:
        at -= 1
    while at > l.mark and 48 <= p[at - 1] <= 57:
        at -= 1
    return at > l.mark and p[at - 1] == 123


cdef Parsed imap_parse(Login *l) noexcept nogil:
    """Tokenise up to the command's end, or to a literal that waits for its go-ahead."""
    cdef char *p = l.input.data + l.input.start
    cdef uint32_t n = buffer_used(&l.input)
    cdef Parsed parsed
    if l.skipping:
        return imap_skip(l)
    if l.scan == 0:
        l.tag_size = 0
        l.parse = IMAP_TAG
    while l.scan < n:
        if l.parse <= IMAP_VERB:
            parsed = imap_parse_verb(l, p, p[l.scan])
        elif l.parse == IMAP_LITERAL:
            parsed = imap_take_literal(l, n)
            if parsed == PARSE_MORE:
                continue
        elif l.parse >= IMAP_LITERAL_SIZE:
            parsed = imap_parse_literal(l, p[l.scan])
        else:
            parsed = imap_parse_argument(l, p[l.scan])
        if parsed != PARSE_MORE:
            return parsed
        if l.skipping:
            return PARSE_MORE
    return PARSE_MORE


cdef Parsed imap_parse_verb(Login *l, char *p, char c) noexcept nogil:
    """The tag and the verb. As in all of these: one byte a call, PARSE_MORE to go on."""
    l.scan += 1
    if l.parse == IMAP_TAG:
        if c == 32:
            l.tag_size = <uint8_t> l.scan
            memcpy(l.tag, p, l.scan)
            l.parse = IMAP_VERB_SPACE
        elif l.scan > TAG_MAX or not imap_tag_byte(c):
            return imap_error(l)
        return PARSE_MORE
    if 97 <= c <= 122 or 65 <= c <= 90:
        if l.parse == IMAP_VERB_SPACE:
            l.mark = l.scan - 1
            l.parse = IMAP_VERB
        return PARSE_MORE
    if l.parse == IMAP_VERB_SPACE:
        return PARSE_MORE if c == 32 else imap_error(l)
    if c != 32 and c != 13 and c != 10:
        return imap_error(l)
    l.verb = <uint8_t> imap_verb(span_of(p + l.mark, l.scan - 1 - l.mark))
    if l.verb == IMAP_NONE or l.verb == IMAP_ID and not l.server.imap_id:
        return imap_error(l)
    if l.verb == IMAP_ID and c != 10:
        return imap_begin_skip(l, SKIP_PARAMETERS)
    return imap_separator(l, c) if l.verb != IMAP_ID else imap_error(l)


cdef Parsed imap_separator(Login *l, char c) noexcept nogil:
    """A space or a line's end, after a verb or an argument."""
    if c == 10:
        return PARSE_COMMAND
    l.parse = IMAP_CR if c == 13 else IMAP_SPACE
    return PARSE_MORE


cdef Parsed imap_parse_argument(Login *l, char c) noexcept nogil:
    """Atoms and quoted strings. A quoted string ends at its quote, and also at the line's end."""
    l.scan += 1
    if l.parse == IMAP_QUOTED_ESCAPE and c != 13 and c != 10:
        l.parse = IMAP_QUOTED
        return PARSE_MORE
    if l.parse == IMAP_ATOM:
        if c != 32 and c != 13 and c != 10:
            return PARSE_MORE
        if c != 32 and l.verb != IMAP_LOGIN and l.verb != IMAP_AUTHENTICATE and imap_announces(l):
            l.scan = l.mark
            return imap_begin_skip(l, SKIP_BAD)
        argument_end(l, l.scan - 1)
        return imap_separator(l, c)
    if l.parse == IMAP_QUOTED or l.parse == IMAP_QUOTED_ESCAPE:
        if c == 92:
            l.argument[l.arguments].escaped = True
            l.parse = IMAP_QUOTED_ESCAPE
        elif c == 34:
            argument_end(l, l.scan - 1)
            l.parse = IMAP_SPACE
        elif c == 13 or c == 10:
            argument_end(l, l.scan - 1)
            return imap_separator(l, c)
        return PARSE_MORE
    if c == 32 or c == 13 or c == 10:
        return imap_separator(l, c)
    if l.arguments == IMAP_ARGUMENTS:
        return imap_error(l)
    l.argument[l.arguments].escaped = False
    l.mark = l.scan - 1
    l.parse = IMAP_ATOM
    if c == 34:
        l.mark = l.scan
        l.parse = IMAP_QUOTED
    elif c == 123:
        l.literal = 0
        l.literal_plus = False
        l.parse = IMAP_LITERAL_SIZE
    return PARSE_MORE


cdef Parsed imap_parse_literal(Login *l, char c) noexcept nogil:
    """The announcement ``{N}`` or ``{N+}`` with its line end, and what follows the last byte."""
    l.scan += 1
    if l.parse == IMAP_LITERAL_SIZE and 48 <= c <= 57:
        if l.literal > <uint64_t> 1 << 59:  # ten times that would overflow
            return imap_error(l)
        l.literal = l.literal * 10 + <uint64_t> (c - 48)
        return PARSE_MORE
    if l.parse == IMAP_LITERAL_SIZE and c == 43:
        l.literal_plus = True
        l.parse = IMAP_LITERAL_PLUS
        return PARSE_MORE
    if l.parse <= IMAP_LITERAL_PLUS and c == 125:
        l.parse = IMAP_LITERAL_CLOSED
        return PARSE_MORE
    if l.parse == IMAP_LITERAL_CLOSED and c == 13:
        l.parse = IMAP_LITERAL_CR
        return PARSE_MORE
    if (l.parse == IMAP_LITERAL_CLOSED or l.parse == IMAP_LITERAL_CR) and c == 10:
        l.mark = l.scan
        l.parse = IMAP_LITERAL
        if l.literal == 0:
            argument_end(l, l.scan)
            l.parse = IMAP_LITERAL_END
        return PARSE_MORE if l.literal_plus else PARSE_LITERAL
    if l.parse == IMAP_LITERAL_END and (c == 32 or c == 13 or c == 10):
        return imap_separator(l, c)
    if l.parse == IMAP_CR and c == 10:
        return PARSE_COMMAND
    return imap_error(l)


cdef Parsed imap_take_literal(Login *l, uint32_t n) noexcept nogil:
    """Take what has come of the literal's bytes."""
    cdef uint64_t here = n - l.scan
    if here > l.literal:
        here = l.literal
    l.scan += <uint32_t> here
    l.literal -= here
    if l.literal == 0:
        argument_end(l, l.scan)
        l.parse = IMAP_LITERAL_END
    return PARSE_MORE


cdef Action imap_command(Login *l) noexcept nogil:
    if (l.verb == IMAP_LOGIN or l.verb == IMAP_AUTHENTICATE) and must_start_tls(l):
        return needs_tls(l)
    if l.verb == IMAP_LOGIN:
        if l.arguments != 2 or l.argument[0].size == 0:
            return ACT_INVALID
        credentials_wipe(l)
        keep_argument(l, 0, &l.login)
        keep_argument(l, 1, &l.password)
        l.password_known = True
        return attempt(l, METHOD_PLAIN)
    if l.verb == IMAP_AUTHENTICATE:
        return sasl_start(l, l.arguments)
    if l.verb == IMAP_CAPABILITY:
        put_span(&l.output, capability(l))
    elif l.verb == IMAP_STARTTLS and not may_start_tls(l):
        return ACT_INVALID
    elif l.verb == IMAP_LOGOUT:
        puts(&l.output, b"* BYE\r\n")
    elif l.verb == IMAP_ID:
        puts(&l.output, b"* ID NIL\r\n")
    imap_reply(l, b"OK completed")
    if l.verb == IMAP_STARTTLS:
        return ACT_TLS
    return quit(l) if l.verb == IMAP_LOGOUT else ACT_NEXT


# --- the backend ---------------------------------------------------------------------------------

cdef enum ImapUpstream:
    IMAP_UP_GREETING = 0
    IMAP_UP_USER                # LOGIN with a literal was sent, a "+" is due
    IMAP_UP_PASSWORD
    IMAP_UP_LOGIN               # the tagged reply is due
    IMAP_UP_CAPABILITY          # is STARTTLS offered?
    IMAP_UP_STARTTLS
    IMAP_UP_SECURED


cdef bint imap_client_said(int upstream) noexcept nogil:
    return upstream == IMAP_UP_USER or upstream == IMAP_UP_PASSWORD or upstream == IMAP_UP_LOGIN


cdef void put_literal(Buffer *out, Buffer *what, bint waits) noexcept nogil:
    """Announce one; ``waits``: for the backend's go-ahead."""
    puts(out, b"{")
    put_number(out, buffer_used(what))
    puts(out, b"}\r\n" if waits else b"+}\r\n")


cdef bint imap_literal_plus(Span greeting) noexcept nogil:
    """``* OK [CAPABILITY … LITERAL+ …] …``: what stands outside the brackets does not count."""
    cdef const char *code = b"* OK [CAPABILITY "
    cdef char *end
    if greeting.size < 17 or memcmp(greeting.data, code, 17) != 0:
        return False
    end = <char *> memchr(greeting.data, 93, greeting.size)
    return end != NULL and has_word(span_of(greeting.data, <size_t> (end - greeting.data)), b"LITERAL+")


cdef UpstreamStep imap_send_login(Login *l) noexcept nogil:
    """In one line whenever the values and the line length allow it: it saves two round trips. So do
    literals that need no go-ahead, where the greeting offers them. Synchronising ones otherwise, which every
    server takes (RFC 3501 section 6.2.3)."""
    cdef Span login = buffer_span(&l.login)
    cdef Span password = buffer_span(&l.password)
    l.action = b"sending LOGIN command to upstream"
    put(&l.order, l.tag, l.tag_size)
    puts(&l.order, b"LOGIN ")
    if l.tag_size + login.size + password.size + IMAP_LINE_FIXED <= IMAP_LINE_MAX \
            and imap_quotable(login) and imap_quotable(password):
        put_imap_quoted(&l.order, login)
        puts(&l.order, b" ")
        put_imap_quoted(&l.order, password)
        puts(&l.order, b"\r\n")
        credentials_wipe(l)
        l.upstream = IMAP_UP_LOGIN
        return UP_NEXT
    put_literal(&l.order, &l.login, not l.literal_plus_offered)
    l.upstream = IMAP_UP_USER
    if l.literal_plus_offered:
        imap_send_user(l)
        imap_send_password(l)
    return UP_NEXT


cdef void imap_send_user(Login *l) noexcept nogil:
    l.action = b"sending user name to upstream"
    put_span(&l.order, buffer_span(&l.login))
    puts(&l.order, b" ")
    put_literal(&l.order, &l.password, not l.literal_plus_offered)
    l.upstream = IMAP_UP_PASSWORD


cdef void imap_send_password(Login *l) noexcept nogil:
    l.action = b"sending password to upstream"
    put_span(&l.order, buffer_span(&l.password))
    puts(&l.order, b"\r\n")
    credentials_wipe(l)
    l.upstream = IMAP_UP_LOGIN


cdef UpstreamStep imap_send(Login *l, ImapUpstream state, const char *command,
                            const char *action) noexcept nogil:
    puts(&l.order, b"a ")
    puts(&l.order, command)
    l.upstream = state
    l.action = action
    return UP_NEXT


cdef bint imap_ok(Span line, const char *tag, size_t n) noexcept nogil:
    return line.size >= n + 2 and memcmp(line.data, tag, n) == 0 and memcmp(line.data + n, b"OK", 2) == 0


cdef bint imap_bye(Span line) noexcept nogil:
    """``* BYE …``: the backend is about to close, and no tagged reply follows (RFC 9051 section 7.1.5)."""
    return line.size >= 5 and strncasecmp(line.data, b"* BYE", 5) == 0 \
        and (line.size == 5 or line.data[5] == 32)


cdef Span imap_bye_text(Span line) noexcept nogil:
    """A tagged reply has one (RFC 9051 section 9: resp-text)."""
    cdef const char *none = b"closing connection"
    return span_of(line.data + 6, line.size - 6) if line.size > 6 else span_of(none, strlen(none))


cdef UpstreamStep imap_start_tls(Login *l, Span line) noexcept nogil:
    """RFC 3501 section 6.2.1: with a tag of our own, as the client's belongs to its login."""
    if imap_bye(line):
        return UP_REJECTED
    if l.upstream == IMAP_UP_CAPABILITY:
        if line.size >= 2 and memcmp(line.data, b"* ", 2) == 0:
            l.starttls_offered |= has_word(line, b"STARTTLS")
            return UP_SKIP
        if not imap_ok(line, b"a ", 2):
            return UP_REJECTED
        if not l.starttls_offered:
            return upstream_without_tls(l)
        return imap_send(l, IMAP_UP_STARTTLS, b"STARTTLS\r\n", b"sending STARTTLS to upstream")
    return UP_TLS if imap_ok(line, b"a ", 2) else UP_REJECTED


cdef UpstreamStep imap_upstream(Login *l, Span line) noexcept nogil:
    if l.upstream == IMAP_UP_GREETING:
        if line.size < 4 or memcmp(line.data, b"* OK", 4) != 0:
            return UP_REJECTED
        if upstream_starts_tls(l):
            return imap_send(l, IMAP_UP_CAPABILITY, b"CAPABILITY\r\n", b"sending CAPABILITY to upstream")
        l.literal_plus_offered = l.server.proxy_pipelining and imap_literal_plus(line)
        return imap_send_login(l)
    if l.upstream == IMAP_UP_CAPABILITY:
        return imap_start_tls(l, line)
    if l.upstream == IMAP_UP_STARTTLS:
        l.upstream = IMAP_UP_SECURED
        return imap_start_tls(l, line)
    if l.upstream == IMAP_UP_SECURED:
        return imap_send_login(l)
    if imap_bye(line):
        return UP_REJECTED
    if l.upstream == IMAP_UP_LOGIN:
        if line.size >= 2 and memcmp(line.data, b"* ", 2) == 0:
            return UP_SKIP
        return UP_ACCEPTED if imap_ok(line, l.tag, l.tag_size) else UP_REJECTED
    if line.size < 1 or line.data[0] != 43:
        return UP_REJECTED
    if l.upstream == IMAP_UP_USER:
        imap_send_user(l)
    else:
        imap_send_password(l)
    return UP_NEXT
