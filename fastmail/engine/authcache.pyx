# Answers of the auth server that are kept for a while (auth_http_cache): looked for before it is asked,
# whoever would carry the request. Sans-I/O.
#
# An answer is kept under an HMAC of the whole request that it was given to, with a secret that each server
# block draws for itself when the configuration is read. So it serves nobody who would have asked anything
# else, or in another place (CVE-2025-30189), and no password can be read from the memory.

cdef enum CacheUse:
    CACHE_OFF = 0               # nothing is kept of this login
    CACHE_MISSED                # what the auth server says will be kept
    CACHE_HIT                   # the answer was a kept one


cdef inline bint auth_cache_may(const Login *l) noexcept nogil:
    """The auth server always sees attempts after the first, so that it can count guesses; and digests, whose
    challenge is another each time."""
    return l.server.auth_cache != NULL and l.attempt == 1 \
        and l.method != METHOD_APOP and l.method != METHOD_CRAM_MD5


cdef bint auth_cache_key(Login *l) noexcept nogil:
    """Into l.cache_key, what the answer is kept under. False: it cannot be made."""
    cdef Buffer request
    cdef unsigned int size = 0
    cdef uint16_t port = 0
    cdef bint made
    memset(&request, 0, sizeof(request))
    if l.proxy != NULL:         # Proxy-Protocol-Port is another with each connection of the same client
        port = l.proxy.source_port
        l.proxy.source_port = 0
    made = put_auth_request(l, &request) \
        and HMAC(EVP_sha256(), l.server.cache_secret, sizeof(l.server.cache_secret),
                 <unsigned char *> request.data, request.end, l.cache_key, &size) != NULL
    if l.proxy != NULL:
        l.proxy.source_port = port
    buffer_free(&request)
    if not made:
        ERR_clear_error()
    return made


cdef bint auth_cache_find(Login *l, uint64_t now, bint draining) noexcept nogil:
    """Whether the answer to what the login would ask is known: it is in l.answer then, which was empty.
    ``draining``: a reload has ended what was kept, also for sessions that have begun before."""
    cdef unsigned char data[SHARED_RECORD_MAX]
    cdef size_t size
    l.cached = CACHE_OFF
    if draining or not auth_cache_may(l) or not auth_cache_key(l):
        return False
    l.cached = CACHE_MISSED
    size = store_get(l.server.auth_cache, l.cache_key, sizeof(l.cache_key), data, <int64_t> now)
    if size == 0:
        return False
    if not put(&l.answer.data, <char *> data, size) or answer_feed(&l.answer) != ANSWER_DONE:
        answer_reset(&l.answer)
        return False
    l.cached = CACHE_HIT
    return True


cdef void auth_cache_keep(Login *l, Outcome outcome, uint64_t now) noexcept nogil:
    """Keep what the auth server has said, if it is final and holds no password."""
    cdef Answer *a = &l.answer
    cdef uint64_t time = 0
    cdef Buffer data
    if l.cached != CACHE_MISSED or answer_is_server_error(a):
        return
    if outcome == OUTCOME_PROXY and not a.password.seen:
        time = l.server.cache_valid
    elif outcome == OUTCOME_REJECTED and not answer_is_temporary(a):
        time = l.server.cache_invalid
    if time == 0:
        return
    memset(&data, 0, sizeof(data))
    put_answer(a, &data)
    if not data.failed:
        store_put(l.server.auth_cache, l.cache_key, sizeof(l.cache_key), <unsigned char *> data.data,
                  data.end, <int64_t> (now + time))
    buffer_free(&data)


cdef void auth_cache_forget(Login *l) noexcept nogil:
    """The login has failed at the backend: the next one asks the auth server, which may know better."""
    if l.cached != CACHE_OFF:
        store_remove(l.server.auth_cache, l.cache_key, sizeof(l.cache_key))


cdef bint answer_is_server_error(const Answer *a) noexcept nogil:
    """5xx: whatever its headers say, the auth server was not itself."""
    return a.data.end > 9 and memcmp(a.data.data, b"HTTP/", 5) == 0 and a.data.data[9] == 53


cdef bint answer_is_temporary(const Answer *a) noexcept nogil:
    """A refusal that may soon be another: SMTP's 4yz (RFC 5321 section 4.2.1), and response codes of IMAP
    (RFC 5530) and POP3 (RFC 2449, 3206) but those for wrong credentials."""
    cdef Span code = field(a, &a.error_code)
    cdef Span status = field(a, &a.status)
    if code.size and code.data[0] == 52:
        return True
    return status.size and status.data[0] == 91 and not span_begins(status, b"[AUTHENTICATIONFAILED]") \
        and not span_begins(status, b"[AUTH]")


cdef inline bint span_begins(Span s, const char *word) noexcept nogil:
    cdef size_t n = strlen(word)
    return s.size >= n and strncasecmp(s.data, word, n) == 0


cdef void put_answer(const Answer *a, Buffer *out) noexcept nogil:
    """The answer again, for the parser of answers, without what is not needed."""
    puts(out, b"Auth-Status: ")
    put_span(out, field(a, &a.status) if a.rejected else span(b"OK"))
    put_answer_field(a, &a.server, b"\r\nAuth-Server: ", out)
    put_answer_field(a, &a.port, b"\r\nAuth-Port: ", out)
    put_answer_field(a, &a.user, b"\r\nAuth-User: ", out)
    put_answer_field(a, &a.error_code, b"\r\nAuth-Error-Code: ", out)
    puts(out, b"\r\nAuth-Wait: ")
    put_number(out, a.wait // 1000)
    puts(out, b"\r\n\r\n")


cdef inline void put_answer_field(const Answer *a, const Field *f, const char *name,
                                  Buffer *out) noexcept nogil:
    if f.seen:
        puts(out, name)
        put_span(out, field(a, f))
