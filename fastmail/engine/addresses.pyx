# Socket addresses, as the configuration names them.

cdef struct Address:
    sockaddr_storage addr
    socklen_t size


cdef struct Endpoint:           # an address with its port, as plain numbers
    int family
    uint16_t port
    uint8_t address[16]


cdef void endpoint_of(Endpoint *e, const sockaddr_storage *a) noexcept nogil:
    memset(e, 0, sizeof(Endpoint))
    e.family = a.ss_family
    if e.family == AF_INET:
        memcpy(e.address, &(<sockaddr_in *> a).sin_addr, 4)
        e.port = ntohs((<sockaddr_in *> a).sin_port)
    elif e.family == AF_INET6:
        memcpy(e.address, &(<sockaddr_in6 *> a).sin6_addr, 16)
        e.port = ntohs((<sockaddr_in6 *> a).sin6_port)


cdef inline bint is_internet(const Endpoint *e) noexcept nogil:
    return e.family == AF_INET or e.family == AF_INET6


cdef void address_of(Address *a, const Endpoint *e) noexcept nogil:
    """The other way round, for addresses of the internet."""
    memset(a, 0, sizeof(Address))
    a.addr.ss_family = <sa_family_t> e.family
    if e.family == AF_INET:
        memcpy(&(<sockaddr_in *> &a.addr).sin_addr, e.address, 4)
        a.size = sizeof(sockaddr_in)
    else:
        memcpy(&(<sockaddr_in6 *> &a.addr).sin6_addr, e.address, 16)
        a.size = sizeof(sockaddr_in6)
    (<sockaddr_in *> &a.addr).sin_port = htons(e.port)  # sin6_port is at the same place


cdef int set_address(Address *a, object family_and_address) except -1:
    """From ``(family, address)``. ValueError names the address that is not numeric."""
    family, address = family_and_address
    cdef sockaddr_in *v4 = <sockaddr_in *> &a.addr
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *> &a.addr
    cdef sockaddr_un *local = <sockaddr_un *> &a.addr
    cdef bytes text
    memset(a, 0, sizeof(Address))
    if family == AF_UNIX:
        text = address if isinstance(address, bytes) else address.encode("utf-8", "surrogateescape")
        if <size_t> len(text) >= sizeof(local.sun_path):
            raise ValueError(f"too long path in the unix domain socket {text!r}")
        local.sun_family = AF_UNIX
        memcpy(local.sun_path, <char *> text, len(text))
        a.size = <socklen_t> (offsetof_sun_path() + len(text) + 1)
        return 0
    text = address[0].encode("ascii")
    if family == AF_INET and inet_pton(AF_INET, text, &v4.sin_addr) == 1:
        v4.sin_family = AF_INET
        v4.sin_port = htons(address[1])
        a.size = sizeof(sockaddr_in)
    elif family == AF_INET6 and inet_pton(AF_INET6, text, &v6.sin6_addr) == 1:
        v6.sin6_family = AF_INET6
        v6.sin6_port = htons(address[1])
        a.size = sizeof(sockaddr_in6)
    else:
        raise ValueError(f"not a numeric address: {address!r}")
    return 0


cdef inline size_t offsetof_sun_path() noexcept nogil:
    return sizeof(sockaddr_un) - 108


cdef bytes address_text(object family_and_address):
    family, address = family_and_address
    if family == AF_UNIX:
        text = address if isinstance(address, bytes) else address.encode("utf-8", "surrogateescape")
        return b"unix:" + text
    host = f"[{address[0]}]" if family == AF_INET6 else address[0]
    return f"{host}:{address[1]}".encode("ascii")
