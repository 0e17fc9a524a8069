# proxy_preconnect: connecting to the backend that a user had last while the auth server still thinks. Nothing
# is sent before it has answered; if it names another backend, the connection is dropped.

cdef enum:
    LAST_BACKENDS = 4096        # places of one server block in one worker; a newer user takes an older one's

cdef struct LastBackend:
    uint64_t user               # a hash of the login; two users that share one only guess wrong
    Endpoint backend            # family 0: the place is free


cdef LastBackend *last_backends_new() noexcept nogil:
    return <LastBackend *> calloc(LAST_BACKENDS, sizeof(LastBackend))


cdef void session_preconnect(Core *core, Session *s) noexcept nogil:
    """The auth server has been asked. Whatever goes wrong here is not worth a line: it is a guess."""
    cdef Login *l = s.login
    cdef LastBackend *last
    l.last_backend = 0
    if s.server.last_backends == NULL or l.login.end == l.login.start:
        return
    l.last_backend = id_hash(<const unsigned char *> l.login.data + l.login.start, buffer_used(&l.login))
    last = &s.server.last_backends[l.last_backend % LAST_BACKENDS]
    if not last.backend.family or last.user != l.last_backend or not connections_left(core):
        return
    address_of(&l.upstream_address, &last.backend)
    if session_open_backend(core, s, True):
        l.preconnected = last.backend


cdef bint session_is_preconnected(Session *s) noexcept nogil:
    """Whether the connection there is leads to the backend that the auth server has named, and stands."""
    cdef Endpoint named
    if s.backend.fd < 0 or s.backend.hangup or not s.login.preconnected.family:
        return False
    endpoint_of(&named, &s.login.upstream_address.addr)
    return memcmp(&named, &s.login.preconnected, sizeof(Endpoint)) == 0


cdef bint session_guess_failed(Core *core, Session *s) noexcept nogil:
    """The backend has ended or broken a connection that was a guess before it said a word on it. It may have
    been tired of waiting: connect to it anew. False: it was no guess."""
    if not s.login.preconnected.family or s.login.upstream or s.login.reply.end:
        return False
    s.login.preconnected.family = 0
    session_leave_backend(core, s)
    session_connect(core, s)
    return True


cdef void session_remember_backend(Session *s) noexcept nogil:
    """The user has logged in there. A unix socket, whose path has no room here, is forgotten."""
    cdef LastBackend *last
    cdef Endpoint backend
    if s.login.last_backend == 0:
        return
    last = &s.server.last_backends[s.login.last_backend % LAST_BACKENDS]
    endpoint_of(&backend, &s.login.upstream_address.addr)
    if is_internet(&backend):
        last.user = s.login.last_backend
        last.backend = backend
    elif last.user == s.login.last_backend:
        last.backend.family = 0
