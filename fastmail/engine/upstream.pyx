# The login at the backend, whatever the protocol: frames its replies, has them judged one by one, and
# ends in "accepted" (the relay starts) or "rejected". The dialogues are in imap.pyx and its siblings.
#
# Replies are taken line by line, so that the outcome does not depend on how they were cut into
# packets; nginx judges whatever has arrived when it ends in CR LF.


cdef void upstream_start(Login *l) noexcept nogil:
    buffer_free(&l.reply)
    buffer_free(&l.order)
    l.upstream = 0
    l.own_reply = NULL
    l.reply_passed = False
    l.line = l.reply_scan = 0
    l.tls_due = l.server.proxy_ssl
    l.upstream_tls = l.starttls_offered = l.literal_plus_offered = l.pipelining_offered = False


cdef inline bint upstream_starts_tls(const Login *l) noexcept nogil:
    """``proxy_ssl_starttls``, and it has not been done yet."""
    return l.server.proxy_ssl_starttls and not l.upstream_tls


cdef UpstreamStep upstream_without_tls(Login *l) noexcept nogil:
    """Never a fall-back to plain text: somebody in between may have taken the offer away."""
    note(l, LOG_ERR, b"upstream does not offer STARTTLS")
    ends_told(l.end, REASON_DEST_TLS_FAILED, HOW_FAILED, LOG_ERR)
    return UP_ERROR


cdef bint has_word(Span s, const char *word) noexcept nogil:
    """Whether it is among the words between spaces and brackets, whatever its case."""
    cdef size_t n = strlen(word), start = 0, i
    for i in range(s.size + 1):
        if i == s.size or s.data[i] == 32 or s.data[i] == 91 or s.data[i] == 93:
            if i - start == n and strncasecmp(s.data + start, word, n) == 0:
                return True
            start = i + 1
    return False


cdef bint upstream_secured(Login *l) noexcept nogil:
    """The handshake with the backend is done. After STARTTLS it waits for us to speak. False: we cannot."""
    if l.server.proxy_ssl_starttls \
            and (l.server.protocol.upstream(l, span_of(NULL, 0)) == UP_ERROR or l.order.failed):
        l.server.protocol.internal_error(l)
        return False
    return True


cdef uint32_t upstream_room(Login *l) noexcept nogil:
    """Bytes that may be written at reply.end; 0: no memory."""
    if not buffer_open(&l.reply, l.server.proxy_buffer):
        return 0
    buffer_compact(&l.reply)
    return l.server.proxy_buffer - l.reply.end


cdef bint upstream_line(Login *l, Span *line) noexcept nogil:
    """The next complete line from reply.start + l.line, without its CR LF."""
    cdef char *p = l.reply.data + l.reply.start
    cdef uint32_t n = buffer_used(&l.reply)
    cdef char *lf
    while l.reply_scan < n:
        lf = <char *> memchr(p + l.reply_scan, 10, n - l.reply_scan)
        if lf == NULL:
            l.reply_scan = n
            return False
        l.reply_scan = <uint32_t> (lf - p) + 1
        if l.reply_scan >= l.line + 2 and (lf - 1)[0] == 13:
            line[0] = span_of(p + l.line, l.reply_scan - l.line - 2)
            return True
    return False


cdef UpstreamStep upstream_run(Login *l) noexcept nogil:
    """Deal with what the backend has sent. UP_MORE: send what is in order, read on. UP_ACCEPTED: the
    client's reply, and whatever else the backend has said, is in l.reply. UP_REJECTED and UP_ERROR:
    the client's reply is in l.output."""
    cdef Span line
    cdef UpstreamStep result
    while upstream_line(l, &line):
        result = l.server.protocol.upstream(l, line)
        if l.order.failed:
            result = UP_ERROR
        if result == UP_SKIP:
            l.line = l.reply_scan
        elif result == UP_NEXT:
            buffer_consume(&l.reply, l.reply_scan)
            l.line = l.reply_scan = 0
        elif result == UP_ACCEPTED:
            return UP_ACCEPTED
        elif result == UP_TLS:
            # Whatever came behind the reply came in clear, from whoever: it is not the backend's word.
            if buffer_used(&l.reply) > l.reply_scan:
                note(l, LOG_ERR, b"upstream sent data in clear behind its reply to STARTTLS")
                ends_told(l.end, REASON_DEST_TLS_FAILED, HOW_FAILED, LOG_ERR)
                l.server.protocol.internal_error(l)
                return UP_ERROR
            buffer_free(&l.reply)
            l.line = l.reply_scan = 0
            l.tls_due = True
            return UP_TLS
        elif result == UP_REJECTED:
            upstream_rejected(l, line)
            return UP_REJECTED
        else:
            l.server.protocol.internal_error(l)
            return UP_ERROR
    if buffer_used(&l.reply) >= l.server.proxy_buffer:
        note_quoted(l, LOG_ERR, b"upstream sent too long response line: ", buffer_span(&l.reply))
        ends_told(l.end, REASON_DEST_PROTOCOL_FAILURE, HOW_FAILED, LOG_ERR)
        l.server.protocol.internal_error(l)
        return UP_ERROR
    return UP_MORE


cdef void upstream_rejected(Login *l, Span line) noexcept nogil:
    """proxy_pass_error_message hands the complete reply on; otherwise it is our error, also where TLS is
    still due: what came in clear may be anybody's. The log shows the complete reply; of IMAP's to LOGIN, as
    nginx does, the tagged line without its tag. An IMAP client also gets a BYE as the tagged reply to its
    command: without one it would not know what became of its login. A refusal is an error unless the client
    caused it and learns of it."""
    cdef Span reply = span_of(l.reply.data + l.reply.start, l.reply_scan)
    cdef Span shown = span_of(reply.data, reply.size - 2)
    cdef bint passed = (l.server.proxy_pass_error_message or l.reply_passed) and not upstream_starts_tls(l)
    cdef bint clients = l.reply_passed or l.server.protocol.client_said(l.upstream)
    cdef int level = LOG_INFO if passed and clients else LOG_ERR
    if l.tag_size and l.upstream == IMAP_UP_LOGIN:
        shown = line
        if line.size > l.tag_size and memcmp(line.data, l.tag, l.tag_size) == 0:
            shown = span_of(line.data + l.tag_size, line.size - l.tag_size)
    note_quoted(l, level, b"upstream sent invalid response: ", shown)
    ends_told(l.end, REASON_DEST_AUTH_FAILED if clients else REASON_DEST_PROTOCOL_FAILURE, HOW_REFUSED, level)
    if not passed:
        l.server.protocol.internal_error(l)
        return
    if l.tag_size and imap_bye(line):
        imap_rejected(l, imap_bye_text(line), span_of(NULL, 0))
    put_span(&l.output, reply)
    say_goodbye(l, b"4.7.0", b"closing connection")


cdef void upstream_accepted(Login *l) noexcept nogil:
    """Put what the client gets into output: the backend's own last reply (SMTP: our 235 instead), and
    what the backend has said after it."""
    cdef uint32_t at = l.reply.start
    if l.own_reply != NULL:
        puts(&l.output, l.own_reply)
        at += l.reply_scan
    put(&l.output, l.reply.data + at, l.reply.end - at)
    buffer_free(&l.reply)
