# A client's login, from its greeting to the first relayed byte: all state that a session needs before
# the relay and gives back when the relay starts. Sans-I/O: input is filled and output is sent by the
# session in production and by Dialogue in the tests; the code in between is the same.

cdef enum:
    ARGUMENTS_MAX = 11          # of an SMTP command; IMAP and POP3 have 3
    TAG_MAX = 128               # of an IMAP tag, without its space
    OUTPUT_HIGH = 16 * 1024     # replies gathered before they must be sent

cdef enum Method:               # as Auth-Method names it
    METHOD_PLAIN
    METHOD_APOP
    METHOD_CRAM_MD5
    METHOD_EXTERNAL
    METHOD_NONE

cdef struct Argument:
    uint32_t start              # from the first byte of the command
    uint32_t size
    bint escaped                # a quoted string in which backslashes are still to be taken out

cdef const char *COMMANDS = (   # each with a space behind it
    b"CAPABILITY NOOP LOGOUT STARTTLS AUTHENTICATE LOGIN ID ENABLE SELECT EXAMINE CREATE DELETE RENAME "
    b"SUBSCRIBE UNSUBSCRIBE LIST LSUB XLIST NAMESPACE STATUS APPEND IDLE CHECK CLOSE UNSELECT EXPUNGE SEARCH "
    b"SORT THREAD FETCH STORE COPY MOVE UID COMPRESS NOTIFY UNAUTHENTICATE GETACL SETACL DELETEACL MYRIGHTS "
    b"LISTRIGHTS GETQUOTA GETQUOTAROOT SETQUOTA GETMETADATA SETMETADATA "
    b"USER PASS APOP AUTH CAPA STLS STAT RETR DELE RSET QUIT TOP UIDL UTF8 LANG "
    b"HELO EHLO LHLO MAIL RCPT DATA BDAT BURL VRFY EXPN HELP ETRN TURN SEND SAML SOML XCLIENT XFORWARD "
    b"GET HEAD POST PUT OPTIONS CONNECT ")

ctypedef void (*Note)(void *owner, int level, int err, const char *text, Span quoted,
                      const char *tail) noexcept nogil

cdef struct Login:
    ServerConf *server
    void *owner                 # who made it: what note() is called with
    Note note                   # writes a log line in the session's name
    End *end                    # the session's: see reasons.pyx
    Reason tried                # how the last attempt failed, if it did; NONE: nothing was tried
    const char *action          # what an error was met "while" doing (reference 12.2)
    char client[INET6_ADDRSTRLEN]   # Client-IP
    bint host_temporary         # the resolver could not say whether there is a name
    Buffer host                 # the client's host name, confirmed; empty: none is known
    ProxyHeader *proxy          # what a proxy in front has said; NULL: nothing
    Buffer input                # at most client_buffer bytes; the command begins at input.start
    Buffer output               # replies not sent yet
    # the command being read
    uint8_t parse               # state of the protocol's parser
    uint8_t verb
    uint8_t skipping            # IMAP, SKIP_*: the rest of the command is dropped as it comes
    Buffer shown                # IMAP: of such a command, what may be logged
    uint8_t parameters          # IMAP: the form of ID's
    uint32_t skipped            # IMAP: bytes of such a command without its literals
    uint32_t literals           # IMAP: bytes of those
    uint32_t scan               # bytes of the command looked at
    uint32_t mark               # where the current token began
    uint64_t literal            # bytes of an IMAP literal still to come
    bint literal_plus           # the literal being announced is non-synchronising
    uint8_t arguments
    Argument argument[ARGUMENTS_MAX]
    uint8_t tag_size            # with its space; 0: no usable tag
    char tag[TAG_MAX + 1]
    # the dialogue
    bint tls                    # the client speaks TLS
    const SSL *ssl              # what the auth server is told of it; the session's
    uint8_t state               # the protocol's own
    uint8_t sasl                # which response we are waiting for
    uint32_t errors
    uint32_t commands           # complete ones, SASL responses among them
    # credentials
    Method method
    Buffer login
    Buffer password
    bint password_known         # an empty password is one
    Buffer salt
    uint32_t attempt
    # SMTP
    bint esmtp
    Buffer helo
    Buffer mail_from
    Buffer rcpt_to
    # the auth server's answer
    uint32_t auth_address       # which of its addresses is asked
    Answer answer
    uint64_t wait               # milliseconds before the reply, or before asking again
    uint8_t cached              # CACHE_*
    unsigned char cache_key[SHARED_ID_MAX]  # of the answer, unless CACHE_OFF
    # the login at the backend
    uint8_t upstream
    Address upstream_address
    Buffer upstream_text
    bint upstream_known         # the log names it
    bint tls_due                # the handshake with the backend comes next
    bint upstream_tls           # the backend is spoken to in TLS
    int refused                 # which certificate of the backend's chain: 0 is its own
    bint starttls_offered       # by the backend
    bint literal_plus_offered   # IMAP: literals need not wait for a go-ahead (RFC 7888)
    bint pipelining_offered     # SMTP: RFC 2920
    uint64_t last_backend       # proxy_preconnect: which place is this user's
    Endpoint preconnected       # where the channel to the backend leads, if that was a guess
    uint64_t backend_turn       # in which that was opened: events of that turn are of one before it
    bint proxy_header_due       # order begins with a PROXY header, which must go out whole
    Buffer order                # bytes for the backend
    Buffer reply                # bytes from it; at most proxy_buffer
    uint32_t line               # where the line being judged begins, from reply.start
    uint32_t reply_scan         # bytes from reply.start looked at for a line end
    const char *own_reply       # the client gets this instead of the backend's last reply
    bint reply_passed           # SMTP: a refusal is the client's to hear, proxy_pass_error_message or not


cdef Login *login_new(ServerConf *server, void *owner, Note note, End *end) noexcept nogil:
    """NULL: no memory."""
    cdef Login *l = <Login *> calloc(1, sizeof(Login))
    if l != NULL:
        l.server = server
        l.owner = owner
        l.note = note
        l.end = end
    return l


cdef void login_free(Login *l) noexcept nogil:
    """Wipe and free everything."""
    if l == NULL:
        return
    buffer_free(&l.input)
    buffer_free(&l.output)
    buffer_free(&l.shown)
    buffer_free(&l.host)
    proxy_header_free(l.proxy)
    credentials_wipe(l)
    buffer_free(&l.login)
    buffer_free(&l.salt)
    buffer_free(&l.helo)
    buffer_free(&l.mail_from)
    buffer_free(&l.rcpt_to)
    buffer_free(&l.answer.data)
    buffer_free(&l.upstream_text)
    buffer_free(&l.order)
    buffer_free(&l.reply)
    explicit_bzero(l, sizeof(Login))
    free(l)


cdef void credentials_wipe(Login *l) noexcept nogil:
    """Before a new attempt: nothing of an earlier one may be sent with it (CVE-2025-53859, and the
    stale password before EXTERNAL). The login stays, for the log, until a new one is given."""
    buffer_free(&l.password)
    l.password_known = False


cdef inline Span capability(const Login *l) noexcept nogil:
    """The reply to CAPABILITY, CAPA or EHLO."""
    return l.server.capability_tls if l.tls else l.server.capability


cdef inline bint may_start_tls(const Login *l) noexcept nogil:
    return l.server.starttls and not l.tls


cdef inline bint must_start_tls(const Login *l) noexcept nogil:
    """No credentials before TLS (``starttls only``)."""
    return l.server.starttls == STARTTLS_ONLY and not l.tls


cdef inline void note(Login *l, int level, const char *text) noexcept nogil:
    l.note(l.owner, level, 0, text, span_of(NULL, 0), NULL)


cdef inline void note_quoted(Login *l, int level, const char *text, Span quoted) noexcept nogil:
    l.note(l.owner, level, 0, text, quoted, NULL)


cdef Span argument(Login *l, int i) noexcept nogil:
    """The i-th argument as it stands in the command, escapes and all."""
    return span_of(l.input.data + l.input.start + l.argument[i].start, l.argument[i].size)


cdef bint keep_argument(Login *l, int i, Buffer *into) noexcept nogil:
    """Copy the i-th argument, escapes taken out."""
    cdef Span s = argument(l, i)
    cdef size_t at = 0, run = 0
    buffer_free(into)
    if not l.argument[i].escaped:
        return put_span(into, s)
    while at < s.size:
        if s.data[at] == 92 and at + 1 < s.size:
            put(into, s.data + run, at - run)
            run = at + 1
            at += 1
        at += 1
    return put(into, s.data + run, s.size - run)


cdef Reason client_reason(const Login *l) noexcept nogil:
    """Why a client that leaves now has not logged in."""
    if l.sasl != SASL_NONE or (l.server.protocol.command == pop3_command and l.state):
        return REASON_AUTH_WAITING_CLIENT
    if l.parse == IMAP_LITERAL and l.verb == IMAP_LOGIN:
        return REASON_AUTH_WAITING_CLIENT
    return l.tried if l.tried != REASON_NONE else REASON_NO_AUTH_ATTEMPTS


cdef inline Action quit(Login *l) noexcept nogil:
    """The client has said that it leaves."""
    ends(l.end, client_reason(l), HOW_QUIT)
    return ACT_CLOSE


cdef inline Action refused(Login *l, Reason reason) noexcept nogil:
    """An attempt that the auth server isn't asked about; the client may make another."""
    l.tried = reason
    return ACT_INVALID


cdef Action attempt(Login *l, Method method) noexcept nogil:
    """Credentials are complete. False memory is no login: an incomplete copy ends the session."""
    if l.login.failed or l.password.failed:
        l.server.protocol.internal_error(l)
        return ACT_CLOSE
    l.method = method
    l.attempt += 1
    return ACT_AUTH


cdef void command_done(Login *l) noexcept nogil:
    """Drop the command that has been dealt with and be ready for the next."""
    buffer_consume(&l.input, l.scan)
    l.scan = l.mark = 0
    l.parse = 0
    l.arguments = 0
    l.skipping = 0
    buffer_free(&l.shown)
    l.literal_plus = False


cdef Parsed whole_line(Login *l) noexcept nogil:
    """PARSE_COMMAND when the line's end has come, and l.scan is after it."""
    cdef char *p = l.input.data + l.input.start
    cdef uint32_t n = buffer_used(&l.input)
    cdef char *found = <char *> memchr(p + l.scan, 10, n - l.scan) if l.scan < n else NULL
    if found == NULL:
        l.scan = n
        return PARSE_MORE
    l.scan = <uint32_t> (found - p) + 1
    return PARSE_COMMAND


cdef Parsed take_line(Login *l, uint32_t *size) noexcept nogil:
    """A whole line, ``size`` without its line end, which is CR LF or LF. A CR elsewhere is a syntax
    error."""
    cdef char *p = l.input.data + l.input.start
    cdef Parsed parsed = whole_line(l)
    if parsed == PARSE_MORE:
        return PARSE_MORE
    size[0] = l.scan - 1
    if size[0] and p[size[0] - 1] == 13:
        size[0] -= 1
    return PARSE_INVALID if size[0] and memchr(p, 13, size[0]) != NULL else PARSE_COMMAND


cdef Parsed parse_response(Login *l) noexcept nogil:
    """A SASL response line: its first word counts, the rest is ignored, no word is an empty response."""
    cdef uint32_t size = 0
    cdef Parsed parsed = take_line(l, &size)
    cdef char *space
    if parsed != PARSE_COMMAND:
        return parsed
    space = <char *> memchr(l.input.data + l.input.start, 32, size)
    l.argument[0].start = 0
    l.argument[0].size = size if space == NULL else <uint32_t> (space - l.input.data) - l.input.start
    return PARSE_COMMAND


cdef Parsed parse_words(Login *l, uint32_t at, uint32_t size, int most) noexcept nogil:
    """Split a line's rest at its spaces. More than ``most`` arguments are a syntax error."""
    cdef char *p = l.input.data + l.input.start
    l.arguments = 0
    while True:
        while at < size and p[at] == 32:
            at += 1
        if at == size:
            return PARSE_COMMAND
        if l.arguments == most:
            return PARSE_INVALID
        l.mark = at
        while at < size and p[at] != 32:
            at += 1
        l.argument[l.arguments].escaped = False
        argument_end(l, at)


cdef void argument_end(Login *l, uint32_t end) noexcept nogil:
    """The argument that began at l.mark is complete."""
    l.argument[l.arguments].start = l.mark
    l.argument[l.arguments].size = end - l.mark
    l.arguments += 1


cdef uint32_t verb_size(Login *l, uint32_t size) noexcept nogil:
    """Bytes of the line before its first space."""
    cdef char *p = l.input.data + l.input.start
    cdef char *space = <char *> memchr(p, 32, size)
    return size if space == NULL else <uint32_t> (space - p)


cdef Span command_shown(Span seen, int words) noexcept nogil:
    """What may be logged of a line: as many words as stand before a command's arguments, if the last one is a
    command. Nothing of any other line: a literal or a response that was sent in vain may be a password."""
    cdef size_t i = 0, word = 0
    while words:
        while i < seen.size and seen.data[i] == 32:
            i += 1
        word = i
        while i < seen.size and 32 < seen.data[i] < 127:
            i += 1
        words -= 1
    return span_of(seen.data, i if i > word and is_command(span_of(seen.data + word, i - word)) else 0)


cdef bint is_command(Span word) noexcept nogil:
    """Of IMAP (RFC 9051 and its extensions), POP3, SMTP or HTTP, whether we serve it or not."""
    cdef const char *known = COMMANDS
    cdef const char *end
    while known[0]:
        end = known
        while end[0] != 32:
            end += 1
        if <size_t> (end - known) == word.size and strncasecmp(known, word.data, word.size) == 0:
            return True
        known = end + 1
    return False


cdef void say_goodbye(Login *l, const char *code, const char *why) noexcept nogil:
    """Tell the client that we close, unless the last line for it has done so."""
    cdef const char *bye = l.server.protocol.bye
    cdef uint32_t at = l.output.end
    if bye == NULL:
        return
    if at > l.output.start:     # from its own line end back to the one before
        at -= 1
        while at > l.output.start and l.output.data[at - 1] != 10:
            at -= 1
        if l.output.end - at > strlen(bye) and strncasecmp(l.output.data + at, bye, strlen(bye)) == 0:
            return
    l.server.protocol.goodbye(l, code, why)


cdef Action too_long(Login *l) noexcept nogil:
    """nginx logs the whole buffer, passwords and all."""
    cdef Span seen = command_shown(buffer_span(&l.input), l.server.protocol.words_logged)
    cdef const char *tail = NULL
    if l.skipping:
        seen = buffer_span(&l.shown) if l.shown.end else span(b"")
    if seen.size:
        tail = b" (arguments not shown)"
    if l.sasl:
        seen = span(l.server.protocol.sasl_command)
        tail = b" (response not shown)"
    l.note(l.owner, LOG_INFO, 0, b"client sent too long command ", seen, tail)
    ends_told(l.end, REASON_TOO_LONG_COMMAND, HOW_REFUSED, LOG_INFO)
    l.server.protocol.invalid(l)
    say_goodbye(l, b"4.7.0", b"command too long, closing connection")
    return ACT_CLOSE


cdef Action count_error(Login *l) noexcept nogil:
    """Answer a syntax error; the one that reaches max_errors is answered like any other."""
    l.server.protocol.invalid(l)
    return error_counted(l)


cdef Action needs_tls(Login *l) noexcept nogil:
    """Credentials in plain text under ``starttls only``: count each like an error, as they are exposed."""
    l.tried = REASON_CLEARTEXT_AUTH_DISABLED
    l.server.protocol.tls_required(l)
    return error_counted(l)


cdef Action error_counted(Login *l) noexcept nogil:
    """It has been answered."""
    l.errors += 1
    if l.errors >= l.server.max_errors:
        note(l, LOG_INFO, b"client sent too many invalid commands")
        ends_told(l.end, REASON_TOO_MANY_ERRORS, HOW_REFUSED, LOG_INFO)
        say_goodbye(l, b"4.7.0", b"too many invalid commands, closing connection")
        return ACT_CLOSE
    return ACT_NEXT


cdef Action login_command(Login *l) noexcept nogil:
    """One command or SASL response, if it is complete."""
    cdef Parsed parsed
    cdef Action action
    if l.input.end == l.input.start:
        return ACT_READ
    if l.sasl:
        parsed = parse_response(l)
    else:
        parsed = l.server.protocol.parse(l)
    if parsed == PARSE_LITERAL:
        puts(&l.output, b"+ OK\r\n")
        return ACT_NEXT
    if parsed == PARSE_TOO_LONG:
        return too_long(l)
    if parsed == PARSE_MORE:
        if buffer_used(&l.input) >= command_limit(l):
            return too_long(l)
        return ACT_READ
    if parsed == PARSE_COMMAND:
        l.commands += 1
        if l.commands > l.server.max_commands:
            l.sasl = SASL_NONE
            l.server.protocol.invalid(l)
            say_goodbye(l, b"4.7.0", b"too many commands, closing connection")
            note(l, LOG_INFO, b"client sent too many commands")
            ends_told(l.end, REASON_TOO_MANY_COMMANDS, HOW_REFUSED, LOG_INFO)
            action = ACT_CLOSE
        elif l.sasl:
            action = sasl_response(l, argument(l, 0))
        else:
            action = l.server.protocol.command(l)
        if action == ACT_INVALID:
            l.server.protocol.invalid(l)
            action = ACT_NEXT
    else:
        l.sasl = SASL_NONE
        action = count_error(l)
    command_done(l)
    if action != ACT_AUTH and not l.sasl:
        l.tag_size = 0          # that command has had its answer
    if action == ACT_TLS:       # what was pipelined behind it came in clear (CVE-2011-0411, CVE-2021-33515)
        buffer_free(&l.input)
    return action


cdef Action login_run(Login *l) noexcept nogil:
    """Deal with all that has arrived: a loop, so that pipelining costs no stack."""
    cdef Action action
    while True:
        if buffer_used(&l.output) > OUTPUT_HIGH:
            return ACT_FLUSH
        action = login_command(l)
        if l.output.failed:
            return ACT_CLOSE
        if action != ACT_NEXT:
            return action


cdef uint32_t command_limit(const Login *l) noexcept nogil:
    """Bytes that the command, or the response, that begins at input.start may have."""
    if l.sasl or (buffer_used(&l.input) >= 5 and strncasecmp(l.input.data + l.input.start, b"AUTH ", 5) == 0):
        return l.server.sasl_buffer
    return l.server.client_buffer


cdef uint32_t login_room(Login *l) noexcept nogil:
    """Bytes that may be written at input.end; 0: no memory, or no room before a command has been taken. The
    block is taken on first use."""
    cdef uint32_t limit = command_limit(l)
    if not buffer_open(&l.input, limit):
        return 0
    buffer_compact(&l.input)
    return limit - l.input.end if l.input.end < limit else 0


cdef void login_rest(Login *l) noexcept nogil:
    """Nothing is pending: an idle client holds no block."""
    if l.input.data != NULL and l.input.start == l.input.end:
        buffer_free(&l.input)
