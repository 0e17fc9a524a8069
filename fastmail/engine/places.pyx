# Sharing the listening sockets among workers. A byte for each worker, in memory that all of them have, says
# how much room it has for other clients; one eventfd, the bell, tells all of them that a byte has changed.
#
# The kernel wakes the first worker in a listening socket's queue (EPOLLEXCLUSIVE). A worker moves to the end
# of it now and then, as nginx's do, and leaves it while another has more room. What was in the queue then has
# woken nobody else: the bell makes the others look again.

cdef enum:
    ACCEPTS_IN_A_ROW = 8        # of one listening socket, until others are first in its queue


cdef inline uint32_t connections_free(const Core *core) noexcept nogil:
    return core.worker_connections - core.connections if connections_left(core) else 0


cdef Room room_left(const Core *core) noexcept nogil:
    """Each session before the relay will need one more connection. A worker that had too few waits for a few
    more, so as not to change its mind with every session."""
    cdef uint64_t left = connections_free(core)
    cdef uint64_t due = core.sessions - core.relaying
    cdef uint64_t more = core.worker_connections / 16
    if core.accept_paused or left <= (more if core.room == ROOM_NONE else 0):
        return ROOM_NONE
    if left <= due + (more if core.room != ROOM_ENOUGH else 0):
        return ROOM_SCARCE
    return ROOM_ENOUGH


cdef inline bint another_has(const Core *core, Room room) noexcept nogil:
    cdef size_t after = core.place + 1
    return memchr(core.places, room, core.place) != NULL \
        or memchr(core.places + after, room, core.place_count - after) != NULL


cdef bint another_has_more(const Core *core, Room room) noexcept nogil:
    """Whether another worker has more room than that."""
    if core.places == NULL or room == ROOM_ENOUGH:
        return False
    fm_fence()
    return another_has(core, ROOM_ENOUGH) or (room == ROOM_NONE and another_has(core, ROOM_SCARCE))


cdef void bell_ring(const Core *core) noexcept nogil:
    cdef uint64_t one = 1
    fm_ignore(write(core.bell, &one, sizeof(one)))


cdef void place_mark(Core *core, Room room) noexcept nogil:
    """Tell the others how much room there is."""
    core.room = room
    if core.places != NULL and core.places[core.place] != room:
        core.places[core.place] = room
        fm_fence()
        bell_ring(core)


cdef bint place_hand_over(Core *core) noexcept nogil:
    """A client waits: whether another worker is to take it, which is told to."""
    if not another_has_more(core, room_left(core)):
        return False
    core.look_due = True
    bell_ring(core)
    return True


cdef void place_update(Core *core) noexcept nogil:
    """At the end of a turn: say how much room there is, and watch the listeners, or leave them to others."""
    cdef Room room
    if core.places == NULL or core.draining:
        return
    room = room_left(core)
    if room != core.room:
        core.look_due = True
        place_mark(core, room)
    if core.look_due and not core.accept_paused:
        core.look_due = False
        listeners_unwatch(core)
        if not another_has_more(core, room):
            listeners_resume(core)


cdef void listener_queue_again(Core *core, Listener *listener) noexcept nogil:
    """After an accept: let others be first in the listener's queue. nginx does so after each 16th, and after
    each one of a worker that has less than an eighth of its connections left."""
    cdef epoll_event event
    cdef bint due = listener.accepts % ACCEPTS_IN_A_ROW == 0 \
        or connections_free(core) < core.worker_connections / 8
    listener.accepts += 1
    if not due or not core.exclusive or not listener.watched or core.places == NULL:
        return
    if another_has(core, ROOM_ENOUGH) or another_has(core, ROOM_SCARCE):
        epoll_ctl(core.epoll, EPOLL_CTL_DEL, listener.fd, &event)
        if not listener_watch(core, listener):
            accept_pause(core)
