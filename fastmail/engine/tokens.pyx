# The encodings that credentials cross: base64 (SASL), %HH (auth_http), quoted strings (IMAP), xtext
# (XCLIENT). Each stands here once; each has a Python name at the end of the file, for the tests.

cdef const char *HEX = b"0123456789ABCDEF"
cdef const char *BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


cdef inline int base64_value(uint8_t c) noexcept nogil:
    if 65 <= c <= 90:
        return c - 65
    if 97 <= c <= 122:
        return c - 71
    if 48 <= c <= 57:
        return c + 4
    if c == 43:
        return 62
    if c == 47:
        return 63
    return -1


cdef bint put_base64_decoded(Buffer *out, Span text) noexcept nogil:
    """Decode as nginx does: the value ends at the first ``=``, whatever follows; padding may be
    missing. False if a byte is outside the alphabet or one digit is left over."""
    cdef size_t i
    cdef uint32_t bits = 0
    cdef int value, have = 0
    cdef char byte
    cdef size_t digits = 0
    for i in range(text.size):
        if text.data[i] == 61:
            break
        value = base64_value(<uint8_t> text.data[i])
        if value < 0:
            return False
        bits = (bits << 6) | <uint32_t> value
        have += 6
        digits += 1
        if have >= 8:
            have -= 8
            byte = <char> (bits >> have)
            bits &= (<uint32_t> 1 << have) - 1
            if not put(out, &byte, 1):
                return False
    return digits % 4 != 1


cdef bint put_base64(Buffer *out, Span data) noexcept nogil:
    """RFC 4648 section 4, with padding."""
    cdef size_t i = 0
    cdef uint32_t bits
    cdef size_t left
    cdef char quad[4]
    while i < data.size:
        left = data.size - i
        bits = <uint32_t> (<uint8_t> data.data[i]) << 16
        if left > 1:
            bits |= <uint32_t> (<uint8_t> data.data[i + 1]) << 8
        if left > 2:
            bits |= <uint8_t> data.data[i + 2]
        quad[0] = BASE64[bits >> 18]
        quad[1] = BASE64[(bits >> 12) & 63]
        quad[2] = BASE64[(bits >> 6) & 63] if left > 1 else 61
        quad[3] = BASE64[bits & 63] if left > 2 else 61
        if not put(out, quad, 4):
            return False
        i += 3
    return True


cdef bint put_hex(Buffer *out, char mark, uint8_t c) noexcept nogil:
    cdef char text[3]
    text[0] = mark
    text[1] = HEX[c >> 4]
    text[2] = HEX[c & 15]
    return put(out, text, 3)


cdef bint put_http_escaped(Buffer *out, Span s) noexcept nogil:
    """auth_http's escaping: 0x00-0x20 and ``%`` as %HH, all else as it is."""
    cdef size_t i, plain = 0
    cdef uint8_t c
    for i in range(s.size):
        c = <uint8_t> s.data[i]
        if c <= 32 or c == 37:
            put(out, s.data + plain, i - plain)
            put_hex(out, 37, c)
            plain = i + 1
    return put(out, s.data + plain, s.size - plain)


cdef bint put_xtext(Buffer *out, Span s) noexcept nogil:
    """xtext (RFC 3461 section 4) for XCLIENT: all but 0x21-0x7E, and ``+`` and ``=``, as +HH."""
    cdef size_t i, plain = 0
    cdef uint8_t c
    for i in range(s.size):
        c = <uint8_t> s.data[i]
        if c <= 32 or c >= 127 or c == 43 or c == 61:
            put(out, s.data + plain, i - plain)
            put_hex(out, 43, c)
            plain = i + 1
    return put(out, s.data + plain, s.size - plain)


cdef bint imap_quotable(Span s) noexcept nogil:
    """Can be sent as a quoted string without escapes (RFC 3501 section 9: any 7-bit character but CR, LF,
    NUL, quote and backslash). Not every backend removes escapes."""
    cdef size_t i
    cdef uint8_t c
    for i in range(s.size):
        c = <uint8_t> s.data[i]
        if c == 0 or c == 10 or c == 13 or c == 34 or c == 92 or c >= 128:
            return False
    return True


cdef bint put_imap_quoted(Buffer *out, Span s) noexcept nogil:
    put(out, b'"', 1)
    put_span(out, s)
    return put(out, b'"', 1)


cdef int64_t parse_number(Span s, int64_t limit) noexcept nogil:
    """Decimal digits only. -1: empty, not a number, or above ``limit``."""
    cdef size_t i
    cdef int64_t n = 0
    if s.size == 0:
        return -1
    for i in range(s.size):
        if s.data[i] < 48 or s.data[i] > 57:
            return -1
        n = n * 10 + (s.data[i] - 48)
        if n > limit:
            return -1
    return n


# --- for the tests -------------------------------------------------------------------------------

cdef bytes take_bytes(Buffer *b):
    """The content as bytes; the buffer is wiped and freed. MemoryError if an append failed."""
    cdef bint failed = b.failed
    result = b.data[b.start:b.end] if b.end > b.start else b""
    buffer_free(b)
    if failed:
        raise MemoryError
    return result


def escape_http(bytes data not None):
    cdef Buffer out
    memset(&out, 0, sizeof(out))
    put_http_escaped(&out, span_of(data, len(data)))
    return take_bytes(&out)


def encode_xtext(bytes data not None):
    cdef Buffer out
    memset(&out, 0, sizeof(out))
    put_xtext(&out, span_of(data, len(data)))
    return take_bytes(&out)


def quote_imap(bytes data not None):
    cdef Buffer out
    memset(&out, 0, sizeof(out))
    if not imap_quotable(span_of(data, len(data))):
        return None
    put_imap_quoted(&out, span_of(data, len(data)))
    return take_bytes(&out)


def decode_base64(bytes data not None):
    cdef Buffer out
    cdef bint valid
    memset(&out, 0, sizeof(out))
    valid = put_base64_decoded(&out, span_of(data, len(data)))
    result = take_bytes(&out)
    return result if valid else None
