# Two single-producer, single-consumer rings of plain structs join the engine to Python. No Python
# object is reachable from the engine, no session pointer from Python: only handles, which carry a
# generation, so that an answer to a session that has ended is recognised.

cdef enum Kind:
    EVENT_AUTH_ = 1             # data: the request; extra: the server's index
    EVENT_NOT_ACCEPTING_
    EVENT_DRAINED_
    ORDER_ANSWER
    ORDER_FAILED                # data: a message to log; extra: the reason
    EVENT_NAME_                 # data: a client's address, whose host name is wanted; extra as EVENT_AUTH_
    ORDER_RENEW                 # handle: a ServerConf; data: TLSNames to take the place of its own
    EVENT_NAME_DROPPED_         # the session has ended meanwhile
    ORDER_NAME                  # extra: what came of it; data: the name, or what is to be logged

cdef enum:
    AUTH_TIMED_OUT_ = 1
    AUTH_CLOSED_ = 2

cdef enum:
    NAME_UNAVAILABLE_ = 0
    NAME_TEMPORARILY_UNAVAILABLE_ = 1
    NAME_FOUND_ = 2
    NAME_FORWARD = 4            # it was the name's addresses that were looked for

EVENT_AUTH = EVENT_AUTH_
EVENT_NAME = EVENT_NAME_
EVENT_NAME_DROPPED = EVENT_NAME_DROPPED_
NAME_UNAVAILABLE = NAME_UNAVAILABLE_
NAME_TEMPORARILY_UNAVAILABLE = NAME_TEMPORARILY_UNAVAILABLE_
NAME_FOUND = NAME_FOUND_
EVENT_NOT_ACCEPTING = EVENT_NOT_ACCEPTING_
EVENT_DRAINED = EVENT_DRAINED_
AUTH_TIMED_OUT = AUTH_TIMED_OUT_
AUTH_CLOSED = AUTH_CLOSED_

cdef struct Message:
    uint32_t kind
    uint32_t extra
    uint64_t handle
    Buffer data                 # the consumer frees it

cdef struct Ring:
    Message *slots
    uint32_t mask
    uint32_t head               # next to be taken; written by the consumer only
    uint32_t tail               # next to be filled; written by the producer only
    int eventfd                 # wakes the consumer


cdef int ring_open(Ring *r, uint32_t capacity) except -1:
    cdef uint32_t size = 64
    while size < capacity:
        size *= 2
    r.slots = <Message *> calloc(size, sizeof(Message))
    if r.slots == NULL:
        raise MemoryError
    r.mask = size - 1
    r.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if r.eventfd < 0:
        raise OSError(fm_errno(), "eventfd() failed")
    return 0


cdef void ring_close(Ring *r) noexcept nogil:
    cdef Message m
    if r.slots == NULL:
        return                      # never opened
    while ring_take(r, &m):
        if m.kind == ORDER_RENEW:
            names_free(<TLSNames *> (m.data.data + m.data.start))
        buffer_free(&m.data)
    free(r.slots)
    r.slots = NULL
    if r.eventfd >= 0:
        close(r.eventfd)


cdef bint ring_put(Ring *r, const Message *m) noexcept nogil:
    """False: the ring is full, and the message is still the caller's."""
    if r.tail - fm_load_acquire(&r.head) > r.mask:
        return False
    r.slots[r.tail & r.mask] = m[0]
    fm_store_release(&r.tail, r.tail + 1)
    ring_wake(r)
    return True


cdef void ring_wake(Ring *r) noexcept nogil:
    cdef uint64_t one = 1
    fm_ignore(write(r.eventfd, &one, sizeof(one)))


cdef bint ring_take(Ring *r, Message *m) noexcept nogil:
    if r.head == fm_load_acquire(&r.tail):
        return False
    m[0] = r.slots[r.head & r.mask]
    memset(&r.slots[r.head & r.mask].data, 0, sizeof(Buffer))
    fm_store_release(&r.head, r.head + 1)
    return True


cdef void ring_clear_wakeups(Ring *r) noexcept nogil:
    cdef uint64_t count
    fm_ignore(read(r.eventfd, &count, sizeof(count)))
