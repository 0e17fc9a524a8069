# Whether a backend is this proxy itself. A session whose backend is the very listener that it came in on
# would meet its own login there, and so on until there are no connections left. Another listener of ours may
# be meant: one server may well be in front of another.


cdef inline bint is_zero(const Endpoint *e) noexcept nogil:
    cdef int i
    for i in range(16):
        if e.address[i]:
            return False
    return True


cdef void connected_endpoint(Endpoint *e) noexcept nogil:
    """Where one arrives who connects there: a mapped address is one of IPv4, the wildcard this machine."""
    if e.family == AF_INET6 and is_mapped(e):
        e.family = AF_INET
        memmove(e.address, e.address + 12, 4)
        memset(e.address + 4, 0, 12)
    if is_zero(e) and e.family == AF_INET:
        e.address[0] = 127
        e.address[3] = 1
    elif is_zero(e):
        e.address[15] = 1


cdef bint is_local(Core *core, const Endpoint *e) noexcept nogil:
    """Whether an address is this machine's; the kernel is asked once in a while."""
    cdef uint64_t hashed = id_hash(e.address, 16)
    cdef LocalAddress *known = &core.local_addresses[hashed % LOCAL_KNOWN]
    if e.family == AF_INET and e.address[0] == 127:
        return True
    if known.until <= core.clock.now or known.address.family != e.family \
            or memcmp(known.address.address, e.address, 16) != 0:
        known.address = e[0]
        known.until = core.clock.now + LOCAL_TIME
        known.local = is_own_source(e)
    return known.local


cdef bint is_own_source(const Endpoint *e) noexcept nogil:
    """The kernel connects to an address of its own from that address. Nothing is sent."""
    cdef Address to
    cdef sockaddr_storage source
    cdef socklen_t size = sizeof(source)
    cdef Endpoint found
    cdef bint own = False
    cdef int fd = socket(e.family, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    if fd < 0:
        return False
    address_of(&to, e)
    memset(&source, 0, sizeof(source))
    if connect(fd, <const sockaddr *> &to.addr, to.size) == 0 \
            and getsockname(fd, <sockaddr *> &source, &size) == 0:
        endpoint_of(&found, &source)
        own = memcmp(found.address, e.address, 16) == 0
    close(fd)
    return own


cdef void listener_set_address(Listener *listener, const Address *a) noexcept nogil:
    cdef Endpoint e
    endpoint_of(&e, &a.addr)
    listener.local = a[0]
    listener.family = e.family
    listener.port = e.port
    memcpy(listener.address, e.address, 16)
    listener.wildcard = is_internet(&e) and is_zero(&e)


cdef void listener_find_address(Listener *listener) noexcept nogil:
    """Of a socket that is one address's alone."""
    cdef Address a
    cdef int only = 1
    cdef socklen_t size = sizeof(only)
    memset(&a, 0, sizeof(a))
    a.size = sizeof(a.addr)
    if getsockname(listener.fd, <sockaddr *> &a.addr, &a.size) == 0:
        listener_set_address(listener, &a)
    if listener.family == AF_INET6 and listener.wildcard:
        getsockopt(listener.fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size)
        listener.both = not only


cdef Listener *listener_at(Core *core, const Address *to) noexcept nogil:
    """Which of our listeners one meets who connects there; NULL: none."""
    cdef Endpoint e
    cdef Listener *listener
    cdef Listener *wildcard = NULL
    cdef int i
    endpoint_of(&e, &to.addr)
    if is_internet(&e):
        connected_endpoint(&e)
    for i in range(core.listener_count):
        listener = &core.listeners[i]
        if listener.local.addr.ss_family == AF_UNIX:
            if e.family == AF_UNIX and is_same_path(&listener.local, to):
                return listener
        elif listener.port == e.port and listener.family == e.family \
                and memcmp(listener.address, e.address, 16) == 0:
            return listener
        elif listener.wildcard and listener.port == e.port \
                and (listener.family == e.family or (listener.both and e.family == AF_INET)):
            wildcard = listener
    return wildcard if wildcard != NULL and is_local(core, &e) else NULL


cdef bint is_same_path(const Address *a, const Address *b) noexcept nogil:
    return strcmp((<const sockaddr_un *> &a.addr).sun_path, (<const sockaddr_un *> &b.addr).sun_path) == 0


cdef bint session_meets_itself(Core *core, Session *s) noexcept nogil:
    """Whether the session's backend is the listener that it came in on, which is logged."""
    cdef Listener *own = listener_at(core, &s.login.upstream_address)
    if own == NULL:
        return False
    if own == s.listener:
        session_say(s, LOG_ERR, 0, b"upstream is this proxy itself")
        return True
    if not own.chained:
        own.chained = True      # once in each worker
        session_say(s, LOG_WARN, 0, b"upstream is another listener of this proxy")
    return False
