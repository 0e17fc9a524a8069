# Byte ranges. A Span looks at bytes that somebody else owns; a Buffer owns a block, and wipes it
# before giving it back, because what passes through one may be a password.

cdef struct Span:
    const char *data
    size_t size

cdef struct Buffer:
    char *data
    uint32_t start          # first byte not consumed yet
    uint32_t end            # one past the last byte
    uint32_t size           # of the block; 0: no block is held
    uint32_t high           # one past the last byte ever written: what has to be wiped
    bint failed             # an append did not fit: the content is incomplete

cdef enum:
    BUFFER_MAX = 4 * 1024 * 1024    # no buffer grows beyond this, whatever a peer or a file asks


cdef inline uint32_t buffer_used(const Buffer *b) noexcept nogil:
    return b.end - b.start


cdef inline Span buffer_span(const Buffer *b) noexcept nogil:
    cdef Span s
    s.data = b.data + b.start if b.data != NULL else NULL
    s.size = b.end - b.start
    return s


cdef bint buffer_open(Buffer *b, uint32_t size) noexcept nogil:
    """Make sure that a block of at least ``size`` bytes is held. False: no memory."""
    if b.size >= size:
        return True
    return buffer_grow(b, size)


cdef bint buffer_grow(Buffer *b, uint32_t size) noexcept nogil:
    """Move the content to the front of a block of ``size`` bytes and wipe the old one."""
    cdef char *block = <char *> pages_take(size)
    cdef uint32_t used = b.end - b.start
    if block == NULL:
        return False
    if used:
        memcpy(block, b.data + b.start, used)
    if b.data != NULL:
        explicit_bzero(b.data, b.high)
        pages_give(b.data, b.size)
    b.data = block
    b.size = size
    b.start = 0
    b.end = b.high = used
    return True


cdef void buffer_free(Buffer *b) noexcept nogil:
    """Wipe and give back the block. May be called twice."""
    if b.data != NULL:
        explicit_bzero(b.data, b.high)
        pages_give(b.data, b.size)
    memset(b, 0, sizeof(Buffer))


cdef void buffer_compact(Buffer *b) noexcept nogil:
    """Move what is pending to the front, so that the whole rest of the block can be filled."""
    cdef uint32_t used = b.end - b.start
    if b.start == 0:
        return
    if used:
        memmove(b.data, b.data + b.start, used)
    b.start = 0
    b.end = used


cdef inline void buffer_consume(Buffer *b, uint32_t n) noexcept nogil:
    """Drop ``n`` bytes from the front, wiped: they may have been a LOGIN command."""
    explicit_bzero(b.data + b.start, n)
    b.start += n
    if b.start == b.end:
        b.start = b.end = 0


cdef inline void buffer_filled(Buffer *b, uint32_t n) noexcept nogil:
    """``n`` bytes have been written behind the end by a read."""
    b.end += n
    if b.end > b.high:
        b.high = b.end


cdef bint put(Buffer *b, const char *data, size_t n) noexcept nogil:
    """Append, growing up to BUFFER_MAX. On failure nothing is appended and ``failed`` is set."""
    cdef uint64_t want
    cdef uint32_t size
    if n == 0:
        return True
    if b.size - b.end < n:
        want = <uint64_t> (b.end - b.start) + n
        if want > BUFFER_MAX:
            b.failed = True
            return False
        size = b.size if b.size else 256
        while size < want:
            size *= 2
        if size <= b.size:
            buffer_compact(b)
        elif not buffer_grow(b, size):
            b.failed = True
            return False
    memcpy(b.data + b.end, data, n)
    buffer_filled(b, <uint32_t> n)
    return True


cdef inline bint puts(Buffer *b, const char *text) noexcept nogil:
    return put(b, text, strlen(text))


cdef inline bint put_span(Buffer *b, Span s) noexcept nogil:
    return put(b, s.data, s.size)


cdef bint put_number(Buffer *b, uint64_t n) noexcept nogil:
    cdef char digits[20]
    cdef int i = 20
    while True:
        i -= 1
        digits[i] = <char> (48 + n % 10)
        n //= 10
        if n == 0:
            return put(b, digits + i, 20 - i)


cdef inline Span span(const char *text) noexcept nogil:
    cdef Span s
    s.data = text
    s.size = strlen(text)
    return s


cdef inline Span span_of(const char *data, size_t size) noexcept nogil:
    cdef Span s
    s.data = data
    s.size = size
    return s


cdef inline bint span_is(Span s, const char *text) noexcept nogil:
    """The very bytes of ``text``."""
    return s.size == strlen(text) and memcmp(s.data, text, s.size) == 0


cdef inline bint span_is_word(Span s, const char *word) noexcept nogil:
    """``word`` in any case of its ASCII letters (verbs, mechanisms, header names)."""
    return s.size == strlen(word) and strncasecmp(s.data, word, s.size) == 0


cdef inline bytes span_bytes(Span s):
    return s.data[:s.size] if s.size else b""
