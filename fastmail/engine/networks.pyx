# Address ranges of the configuration (set_real_ip_from, debug_connection).

cdef struct Network:
    int family                  # AF_INET, AF_INET6, or AF_UNIX: all unix sockets
    int bits                    # of the prefix
    uint8_t address[16]


cdef Network *networks_new(networks) except? NULL:
    """From ``(family, packed address, prefix length)``; NULL if there are none."""
    cdef Network *made = NULL
    cdef bytes packed
    cdef int i
    if not networks:
        return NULL
    made = <Network *> calloc(len(networks), sizeof(Network))
    if made == NULL:
        raise MemoryError
    for i, (family, packed, bits) in enumerate(networks):
        made[i].family = family
        made[i].bits = bits
        memcpy(made[i].address, <const char *> packed, min(<size_t> len(packed), <size_t> 16))
    return made


cdef bint networks_hold(const Network *networks, uint32_t count, int family,
                        const uint8_t *address) noexcept nogil:
    """Whether the address is in one of them. An IPv4-mapped one counts as IPv4."""
    cdef const uint8_t *mapped = <const uint8_t *> b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
    cdef uint32_t i
    if family == AF_INET6 and memcmp(address, mapped, 12) == 0:
        family = AF_INET
        address += 12
    for i in range(count):
        if networks[i].family == family \
                and (family == AF_UNIX or same_prefix(networks[i].address, address, networks[i].bits)):
            return True
    return False


cdef bint same_prefix(const uint8_t *a, const uint8_t *b, int bits) noexcept nogil:
    cdef int whole = bits // 8
    cdef int left = bits % 8
    if memcmp(a, b, <size_t> whole) != 0:
        return False
    return left == 0 or (a[whole] ^ b[whole]) >> (8 - left) == 0
