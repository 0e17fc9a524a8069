# The auth server's answer (reference 6.2): read byte by byte as it comes, judged by auth.pyx. The same
# parser reads what aiohttp has fetched, so that both transports judge alike.

cdef enum:
    ANSWER_MAX = 4096           # bytes, status line to empty line; nginx stops at 1024
    WAIT_MAX = 86400            # seconds of Auth-Wait: more would only outlive the worker

cdef const char *EMPTY_BODY = b"0\r\n\r\n"  # a chunked one: PHP's behind nginx, and often Node's
cdef enum:
    EMPTY_BODY_SIZE = 5

cdef enum AnswerState:
    ANSWER_START = 0            # is it a status line?
    ANSWER_STATUS
    ANSWER_STATUS_CR
    ANSWER_NAME_START
    ANSWER_NAME
    ANSWER_VALUE
    ANSWER_VALUE_CR
    ANSWER_END_CR

cdef enum AnswerResult:
    ANSWER_MORE
    ANSWER_DONE
    ANSWER_BAD_STATUS           # "sent invalid response"
    ANSWER_BAD_HEADER           # "sent invalid header in response"
    ANSWER_TOO_LONG

cdef struct Field:
    uint32_t start              # in data
    uint32_t size
    bint seen

cdef struct Answer:
    Buffer data
    uint32_t scan
    uint8_t state
    Field name
    Field value
    Field last                  # the name of the last whole header
    # what it says
    bint rejected               # a failing Auth-Status was seen; a later OK does not clear it
    bint again                  # Auth-Status: WAIT
    Field status                # the failing one's text
    Field server
    Field port
    Field user
    Field password
    Field error_code
    uint64_t wait               # milliseconds
    # may the connection be used again?
    bint persistent
    bint spent                  # it cannot, whatever else is said
    bint chunked
    int64_t body                # bytes that follow; -1: up to the connection's end; chunked: if it is empty


cdef inline Span field(const Answer *a, const Field *f) noexcept nogil:
    return span_of(a.data.data + f.start, f.size)


cdef void answer_reset(Answer *a) noexcept nogil:
    """Wiped: an answer may hold a password."""
    buffer_free(&a.data)
    memset(a, 0, sizeof(Answer))
    a.body = -1


cdef inline bint header_name_byte(char c) noexcept nogil:
    """A token's (RFC 9110 section 5.6.2); nginx takes letters, digits and hyphens only."""
    return 97 <= c <= 122 or 65 <= c <= 90 or 48 <= c <= 57 or c == 45 \
        or (c > 32 and memchr(<const char *> b"!#$%&'*+.^_`|~", c, 14) != NULL)


cdef int answer_code(const Answer *a) noexcept nogil:
    """The status line's code; 0: there is none."""
    cdef int64_t code
    if a.data.end < 12 or memcmp(a.data.data, b"HTTP/", 5) != 0:
        return 0
    code = parse_number(span_of(a.data.data + 9, 3), 999)
    return <int> code if code > 0 else 0


cdef Span answer_bad_name(const Answer *a, bint *after) noexcept nogil:
    """The name of the header that was refused, or (``after``) of the one before it: a line that isn't a
    header may continue a value, and Auth-Pass has a password."""
    cdef Span last = field(a, &a.last)
    after[0] = False
    if a.state == ANSWER_VALUE_CR:
        return field(a, &a.name)
    if a.state == ANSWER_VALUE and not span_is_word(last, b"Auth-Pass"):    # of a name that isn't one
        return field(a, &a.name)
    after[0] = True
    return last


cdef AnswerResult answer_feed(Answer *a) noexcept nogil:
    """Look at what has been appended to ``data``."""
    cdef AnswerResult result
    cdef uint32_t end = a.data.end if a.data.end < ANSWER_MAX else ANSWER_MAX
    cdef char c
    while a.scan < a.data.end:
        if a.scan >= ANSWER_MAX:
            return ANSWER_TOO_LONG
        c = a.data.data[a.scan]
        if a.state == ANSWER_VALUE or a.state == ANSWER_STATUS:     # most bytes: nothing in them counts
            while c != 13 and c != 10 and a.scan + 1 < end:
                a.scan += 1
                c = a.data.data[a.scan]
        result = answer_byte(a, c)
        if result != ANSWER_MORE:
            return result
        a.scan += 1
    return ANSWER_MORE


cdef AnswerResult answer_byte(Answer *a, char c) noexcept nogil:
    cdef const char *magic = b"HTTP/"
    if a.state == ANSWER_START:
        if c == magic[a.scan]:
            if a.scan == 4:
                a.state = ANSWER_STATUS
            return ANSWER_MORE
        # No status line: what has been seen is the beginning of a header.
        a.state = ANSWER_NAME_START
        return answer_again(a)
    if a.state == ANSWER_STATUS:
        if c == 13:
            a.state = ANSWER_STATUS_CR
        elif c == 10:
            answer_status(a)
        return ANSWER_MORE
    if a.state == ANSWER_STATUS_CR:
        if c != 10:
            return ANSWER_BAD_STATUS
        answer_status(a)
        return ANSWER_MORE
    if a.state == ANSWER_END_CR:
        if c != 10:
            return ANSWER_BAD_HEADER
        a.scan += 1
        return ANSWER_DONE
    return answer_header_byte(a, c)


cdef AnswerResult answer_again(Answer *a) noexcept nogil:
    """Read the first bytes once more, as a header."""
    cdef uint32_t upto = a.scan
    cdef AnswerResult result
    for a.scan in range(upto + 1):
        result = answer_header_byte(a, a.data.data[a.scan])
        if result != ANSWER_MORE:
            return result
    a.scan = upto
    return ANSWER_MORE


cdef void answer_status(Answer *a) noexcept nogil:
    """The status code means nothing (reference 6.2); the version decides whether the connection
    stays open (RFC 9112 section 9.3)."""
    a.persistent = a.scan >= 8 and memcmp(a.data.data + 5, b"1.1", 3) == 0
    if a.scan >= 12 and (memcmp(a.data.data + 9, b"204", 3) == 0 or memcmp(a.data.data + 9, b"304", 3) == 0):
        a.body = 0
    a.state = ANSWER_NAME_START


cdef AnswerResult answer_header_byte(Answer *a, char c) noexcept nogil:
    if a.state == ANSWER_NAME_START:
        if c == 13:
            a.state = ANSWER_END_CR
            return ANSWER_MORE
        if c == 10:
            a.scan += 1
            return ANSWER_DONE
        if not header_name_byte(c):
            return ANSWER_BAD_HEADER
        a.name.start = a.scan
        a.state = ANSWER_NAME
        return ANSWER_MORE
    if a.state == ANSWER_NAME:
        if header_name_byte(c):
            return ANSWER_MORE
        a.name.size = a.scan - a.name.start
        a.value.start = a.scan + 1 if c == 58 else a.scan
        a.state = ANSWER_VALUE
        if c == 58:
            return ANSWER_MORE
        if c != 13 and c != 10:
            return ANSWER_BAD_HEADER
    if a.state == ANSWER_VALUE:
        if c != 13 and c != 10:
            return ANSWER_MORE
        a.value.size = a.scan - a.value.start
        if c == 13:
            a.state = ANSWER_VALUE_CR
            return ANSWER_MORE
    elif c != 10:               # ANSWER_VALUE_CR
        return ANSWER_BAD_HEADER
    answer_header(a)
    a.state = ANSWER_NAME_START
    return ANSWER_MORE


cdef void answer_header(Answer *a) noexcept nogil:
    """A whole line: spaces around the value do not count, a tab is part of it."""
    cdef int64_t length
    cdef Field *v = &a.value
    while v.size and a.data.data[v.start] == 32:
        v.start += 1
        v.size -= 1
    while v.size and a.data.data[v.start + v.size - 1] == 32:
        v.size -= 1
    v.seen = True
    a.last = a.name
    cdef Span name = field(a, &a.name)
    cdef Span value = field(a, v)
    if name.size > 5 and strncasecmp(name.data, b"Auth-", 5) == 0:
        answer_auth_header(a, span_of(name.data + 5, name.size - 5), value)
    elif span_is_word(name, b"Content-Length"):
        length = parse_number(value, <int64_t> 1 << 40)
        if length < 0 or a.chunked or (a.body >= 0 and a.body != length):
            a.spent = True
        a.body = length
    elif span_is_word(name, b"Transfer-Encoding"):
        if a.body >= 0 or not span_is_word(value, b"chunked"):
            a.spent = True
        a.chunked = True
        a.body = EMPTY_BODY_SIZE
    elif span_is_word(name, b"Connection"):
        if span_is_word(value, b"close"):
            a.spent = True
        elif span_is_word(value, b"keep-alive"):
            a.persistent = True


cdef void answer_auth_header(Answer *a, Span name, Span value) noexcept nogil:
    cdef int64_t seconds
    if span_is_word(name, b"Status"):
        if span_is(value, b"OK"):
            a.again = False
        elif span_is(value, b"WAIT"):
            a.again = True
        else:
            a.rejected = True
            a.status = a.value
    elif span_is_word(name, b"Server"):
        a.server = a.value
    elif span_is_word(name, b"Port"):
        a.port = a.value
    elif span_is_word(name, b"User"):
        a.user = a.value
    elif span_is_word(name, b"Pass"):
        a.password = a.value
    elif span_is_word(name, b"Error-Code"):
        a.error_code = a.value
    elif span_is_word(name, b"Wait"):
        seconds = parse_number(value, <int64_t> 1 << 31)
        if seconds > WAIT_MAX:
            seconds = WAIT_MAX
        a.wait = <uint64_t> seconds * 1000 if seconds > 0 else 0


cdef class AuthAnswer:
    """The parser alone, for the tests; see the type stub."""

    cdef Answer answer

    def __cinit__(self):
        answer_reset(&self.answer)

    def __dealloc__(self):
        buffer_free(&self.answer.data)

    def feed(self, bytes data not None):
        if not put(&self.answer.data, data, len(data)):
            raise MemoryError
        cdef AnswerResult result = answer_feed(&self.answer)
        return "more" if result == ANSWER_MORE else "done" if result == ANSWER_DONE else "error"

    cdef object text(self, const Field *f):
        return span_bytes(field(&self.answer, f)) if f.seen else None

    def fields(self):
        cdef Answer *a = &self.answer
        return {
            "rejected": bool(a.rejected), "again": bool(a.again), "status": self.text(&a.status),
            "server": self.text(&a.server), "port": self.text(&a.port), "user": self.text(&a.user),
            "password": self.text(&a.password), "error_code": self.text(&a.error_code),
            "wait": a.wait, "persistent": a.persistent and not a.spent, "body": a.body,
        }
