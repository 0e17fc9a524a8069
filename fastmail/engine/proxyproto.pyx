# The PROXY protocol, versions 1 and 2: what a proxy in front says of the client (reference 8), and what
# we say of the client to a backend (reference 7.7). Sans-I/O.

cdef enum:
    PROXY_HEADER_MAX = 4096     # bytes; a v2 header may carry much that does not interest us
    WORD_SHOWN_MAX = 64         # of a header that is none
    PROXY_V2_START = 16         # signature, command, family, length

cdef enum ProxyParsed:
    PROXY_MORE
    PROXY_DONE
    PROXY_BROKEN                # it is shown in the log up to its line's end
    PROXY_VERSION               # of version 2's signature, and another version
    PROXY_TOO_LARGE
    PROXY_SHORT                 # its addresses do not fit into it: nginx closes without a word

cdef struct ProxyHeader:
    uint32_t size               # bytes of the header
    uint8_t version             # that of a header with PROXY_VERSION
    bint known                  # it has addresses
    Buffer source               # their text: version 1's as it was sent
    Buffer destination
    uint16_t source_port
    uint16_t destination_port

cdef const char *PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"


cdef void proxy_header_free(ProxyHeader *h) noexcept nogil:
    if h != NULL:
        buffer_free(&h.source)
        buffer_free(&h.destination)
        free(h)


cdef ProxyParsed proxy_parse(ProxyHeader *h, const char *data, size_t n) noexcept nogil:
    """Read a header at the beginning of ``data``, which may hold more or less than that."""
    if memcmp(data, PROXY_V2, min(n, <size_t> 12)) == 0:
        return proxy_parse_v2(h, data, n) if n >= PROXY_V2_START else PROXY_MORE
    if memcmp(data, b"PROXY ", min(n, <size_t> 6)) == 0:
        return proxy_parse_v1(h, data, n)
    return PROXY_BROKEN


cdef Span first_line(Span s) noexcept nogil:
    cdef size_t i
    for i in range(s.size):
        if s.data[i] == 13 or s.data[i] == 10:
            return span_of(s.data, i)
    return s


cdef Span word_at(Span s, size_t at) noexcept nogil:
    """Up to the next space."""
    cdef size_t end = at
    while end < s.size and s.data[end] != 32:
        end += 1
    return span_of(s.data + at, end - at)


cdef Span broken_shown(Span line, int words) noexcept nogil:
    """What may be logged of a broken header, which may be a client's first command, password and all, or have
    one after it. Of a header, the words that stand where they should; of a command, what command_shown()
    says; of anything else, the first word."""
    cdef Span shown = command_shown(line, words)
    cdef Span word = word_at(line, 0)
    cdef size_t at = 0
    cdef int n
    if shown.size:
        return shown
    if not span_is(word, b"PROXY"):
        word.size = min(word.size, <size_t> WORD_SHOWN_MAX)
        return word
    for n in range(6):          # PROXY TCP4 source destination port port
        if n >= 1 and not broken_word_shown(n, word):
            break
        shown = span_of(line.data, at + word.size)
        at += word.size + 1
        if at > line.size:
            break
        word = word_at(line, at)
    return shown


cdef bint broken_word_shown(int n, Span word) noexcept nogil:
    if n == 1:
        return span_is_word(word, b"UNKNOWN") or (word.size == 4 and strncasecmp(word.data, b"TCP", 3) == 0)
    if n >= 4:
        return parse_number(word, 999999) >= 0
    return word.size <= WORD_SHOWN_MAX


cdef bint proxy_address(const char **at, const char *end, Span *address) noexcept nogil:
    """Up to a space; of what the bytes say nothing is asked."""
    cdef const char *start = at[0]
    cdef char c
    while at[0] < end:
        c = at[0][0]
        at[0] += 1
        if c == 32:
            address[0] = span_of(start, <size_t> (at[0] - 1 - start))
            return True
        if not (48 <= c <= 58 or c == 46 or 97 <= c <= 102 or 65 <= c <= 70):
            return False
    return False


cdef bint proxy_port(const char **at, const char *end, char after, uint16_t *port) noexcept nogil:
    cdef const char *start = at[0]
    cdef int64_t number
    while at[0] < end and 48 <= at[0][0] <= 57:
        at[0] += 1
    number = parse_number(span_of(start, <size_t> (at[0] - start)), 65535)
    if at[0] == start or number < 0 or at[0] == end or at[0][0] != after:
        return False
    port[0] = <uint16_t> number
    at[0] += 1
    return True


cdef ProxyParsed proxy_parse_v1(ProxyHeader *h, const char *data, size_t n) noexcept nogil:
    cdef const char *end = <const char *> memchr(data, 10, n)
    cdef const char *at = data + 6
    cdef Span source, destination
    if end == NULL:
        return PROXY_MORE if n < PROXY_HEADER_MAX else PROXY_BROKEN
    end += 1
    h.size = <uint32_t> (end - data)
    if end - at >= 9 and memcmp(at, b"UNKNOWN", 7) == 0 and (end - 2)[0] == 13:
        return PROXY_DONE
    if end - at < 5 or memcmp(at, b"TCP", 3) != 0 or (at[3] != 52 and at[3] != 54) or at[4] != 32:
        return PROXY_BROKEN
    at += 5
    if not proxy_address(&at, end, &source) or not proxy_address(&at, end, &destination) \
            or not proxy_port(&at, end, 32, &h.source_port) \
            or not proxy_port(&at, end, 13, &h.destination_port) or at + 1 != end:
        return PROXY_BROKEN
    h.known = put_span(&h.source, source) and put_span(&h.destination, destination)
    return PROXY_DONE


cdef ProxyParsed proxy_parse_v2(ProxyHeader *h, const char *data, size_t n) noexcept nogil:
    cdef const uint8_t *p = <const uint8_t *> data
    cdef uint32_t length = <uint32_t> p[14] << 8 | p[15]
    cdef uint32_t each = 0      # bytes of an address
    h.version = p[12] >> 4
    if h.version != 2:
        return PROXY_VERSION
    h.size = PROXY_V2_START + length
    if h.size > PROXY_HEADER_MAX:
        return PROXY_TOO_LARGE
    if n < h.size:
        return PROXY_MORE
    if p[12] & 15 != 1 or p[13] & 15 != 1:      # LOCAL, or no stream: nothing is said of the client
        return PROXY_DONE
    if p[13] >> 4 == 1:
        each = 4
    elif p[13] >> 4 == 2:
        each = 16
    else:
        return PROXY_DONE
    if length < each * 2 + 4:
        return PROXY_SHORT
    p += PROXY_V2_START
    put_address(&h.source, AF_INET if each == 4 else AF_INET6, p)
    put_address(&h.destination, AF_INET if each == 4 else AF_INET6, p + each)
    p += each * 2
    h.source_port = <uint16_t> (p[0] << 8 | p[1])
    h.destination_port = <uint16_t> (p[2] << 8 | p[3])
    h.known = not h.source.failed and not h.destination.failed
    return PROXY_DONE


cdef void put_address(Buffer *out, int family, const void *address) noexcept nogil:
    cdef char text[INET6_ADDRSTRLEN]
    if inet_ntop(family, address, text, INET6_ADDRSTRLEN) == NULL:
        out.failed = True
    else:
        puts(out, text)


cdef void put_proxy_headers(Buffer *out, const ProxyHeader *h) noexcept nogil:
    """For the auth server (reference 6.1)."""
    puts(out, b"Proxy-Protocol-Addr: ")
    put_span(out, buffer_span(&h.source))
    puts(out, b"\r\nProxy-Protocol-Port: ")
    put_number(out, h.source_port)
    puts(out, b"\r\nProxy-Protocol-Server-Addr: ")
    put_span(out, buffer_span(&h.destination))
    puts(out, b"\r\nProxy-Protocol-Server-Port: ")
    put_number(out, h.destination_port)
    puts(out, b"\r\n")


# --- to backends -----------------------------------------------------------------------------------

cdef void put_proxy_v1(Buffer *out, const Endpoint *source, const Endpoint *to) noexcept nogil:
    """Both addresses in one family: Dovecot, Postfix and HAProxy refuse a header with two. An IPv4 address
    beside one of IPv6 is mapped, as in version 2; two mapped ones stay so, as with nginx."""
    cdef bint four = is_four(source) and is_four(to) and (source.family == AF_INET or to.family == AF_INET)
    if not is_internet(source) or not is_internet(to):
        puts(out, b"PROXY UNKNOWN\r\n")
        return
    puts(out, b"PROXY TCP4 " if four else b"PROXY TCP6 ")
    put_endpoint_text(out, source, four)
    puts(out, b" ")
    put_endpoint_text(out, to, four)
    puts(out, b" ")
    put_number(out, source.port)
    puts(out, b" ")
    put_number(out, to.port)
    puts(out, b"\r\n")


cdef inline bint is_mapped(const Endpoint *e) noexcept nogil:
    return e.family == AF_INET6 and memcmp(e.address, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0


cdef inline bint is_four(const Endpoint *e) noexcept nogil:
    return e.family == AF_INET or is_mapped(e)


cdef void put_endpoint_text(Buffer *out, const Endpoint *e, bint four) noexcept nogil:
    if four:
        put_address(out, AF_INET, e.address + (12 if e.family == AF_INET6 else 0))
        return
    if e.family == AF_INET:
        puts(out, b"::ffff:")
    put_address(out, e.family, e.address)


cdef void put_endpoint_address(Buffer *out, const Endpoint *e, bint four) noexcept nogil:
    if four:
        put(out, <const char *> e.address + (12 if e.family == AF_INET6 else 0), 4)
    elif e.family == AF_INET:
        put(out, b"\0\0\0\0\0\0\0\0\0\0\xff\xff", 12)
        put(out, <const char *> e.address, 4)
    else:
        put(out, <const char *> e.address, 16)


cdef void put_16(Buffer *out, uint16_t n) noexcept nogil:
    cdef char both[2]
    both[0] = <char> (n >> 8)
    both[1] = <char> (n & 255)
    put(out, both, 2)


cdef void put_proxy_v2(Buffer *out, const Endpoint *source, const Endpoint *to,
                       const SSL *ssl) noexcept nogil:
    """Addresses of both families as IPv6, two IPv4-mapped ones as IPv4; the checksum is over the header with
    its own four bytes 0. ``ssl`` is the client's, NULL: in clear."""
    cdef uint32_t at = buffer_used(out)
    cdef bint known = is_internet(source) and is_internet(to)
    cdef bint four = (source.family == AF_INET and to.family == AF_INET) \
        or (is_mapped(source) and is_mapped(to))
    cdef uint32_t crc, i, length
    cdef char *sum
    put(out, PROXY_V2, 12)
    put(out, b"\x20\0" if not known else b"\x21\x11" if four else b"\x21\x21", 2)
    put_16(out, 0)              # the length, once it is known
    if known:
        put_endpoint_address(out, source, four)
        put_endpoint_address(out, to, four)
        put_16(out, source.port)
        put_16(out, to.port)
    if ssl != NULL:
        put_tls_tlvs(out, ssl)
    put(out, b"\x03\0\x04\0\0\0\0", 7)      # PP2_TYPE_CRC32C
    if out.failed:
        return
    length = buffer_used(out) - at - 16
    out.data[out.start + at + 14] = <char> (length >> 8)
    out.data[out.start + at + 15] = <char> (length & 255)
    crc = crc32c(out.data + out.start + at, buffer_used(out) - at)
    sum = out.data + out.end - 4
    for i in range(4):
        sum[i] = <char> (crc >> (24 - 8 * i) & 255)


cdef uint32_t crc32c(const char *data, size_t n) noexcept nogil:
    """Castagnoli's (RFC 3720 appendix B.4), bit by bit: it is for a hundred bytes per login."""
    cdef uint32_t polynomial = 0x82F63B78
    cdef uint32_t crc = 0xFFFFFFFF
    cdef size_t i
    cdef int _
    for i in range(n):
        crc ^= <uint8_t> data[i]
        for _ in range(8):
            crc = crc >> 1 ^ (polynomial if crc & 1 else <uint32_t> 0)
    return ~crc


def proxy_header(bytes data not None):
    cdef ProxyHeader *h = <ProxyHeader *> calloc(1, sizeof(ProxyHeader))
    cdef ProxyParsed parsed
    if h == NULL:
        raise MemoryError
    try:
        parsed = proxy_parse(h, data, len(data))
        addresses = None
        if h.known:
            addresses = (span_bytes(buffer_span(&h.source)), h.source_port,
                         span_bytes(buffer_span(&h.destination)), h.destination_port)
        return ("more", "done", "broken", "version", "large", "short")[<int> parsed], h.size, addresses
    finally:
        proxy_header_free(h)
