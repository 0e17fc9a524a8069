# Socket addresses, as the configuration names them.

cdef struct Address:
    sockaddr_storage addr
    socklen_t size


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
