# The engine as Python sees it.

cdef enum:
    LISTEN_PROXY_PROTOCOL_ = 1
    LISTEN_SSL_ = 2
    WORKER_CONNECTIONS_MAX = 1 << 24    # the rings have room for every one


LISTEN_PROXY_PROTOCOL = LISTEN_PROXY_PROTOCOL_
LISTEN_SSL = LISTEN_SSL_


cdef class Engine:
    """Accepts, logs in and relays the sessions of one worker; see the type stub."""

    cdef Core *core
    cdef list servers           # keeps their ServerConfs alive
    cdef list texts
    cdef object counter         # the shared buffer that core.counter points into
    cdef Py_buffer counter_view
    cdef bint counter_held
    cdef bint told_not_accepting
    cdef bint told_drained

    def __init__(self, listeners, *, uint32_t worker_connections=512, bint multi_accept=False,
                 bint exclusive=True, connection_counter=None, places=None, log=(), syslog=None,
                 memory=None, debug_connection=(),
                 uint64_t accept_pause=500):
        cdef Core *core
        if self.core != NULL:
            raise RuntimeError("already initialised")
        if worker_connections > WORKER_CONNECTIONS_MAX:
            raise OverflowError(f"worker_connections must not be above {WORKER_CONNECTIONS_MAX}")
        self.servers = []
        self.texts = []
        self.core = core = <Core *> calloc(1, sizeof(Core))
        if core == NULL:
            raise MemoryError
        core.epoll = epoll_create1(EPOLL_CLOEXEC)
        if core.epoll < 0:
            raise OSError(fm_errno(), "epoll_create1() failed")
        core.clock.pid = getpid()
        clock_update(&core.clock)
        wheel_init(&core.wheel, core.clock.now)
        core.multi_accept = multi_accept
        core.exclusive = exclusive
        core.worker_connections = worker_connections
        core.accept_pause = accept_pause
        core.debug = networks_new(debug_connection)
        core.debug_count = <uint32_t> len(debug_connection)
        core.counter = &core.own_counter
        core.shared = <char *> pages_take(SHARED_SIZE)
        if core.shared == NULL:
            raise MemoryError
        if connection_counter is not None:
            self.share_counter(connection_counter)
        if places is not None:
            self.share_places(places)
        ring_open(&core.events, worker_connections * 2)
        ring_open(&core.orders, worker_connections * 2)
        self.add_listeners(listeners)
        self.open_sinks(log, syslog or {}, memory or {})
        self.watch()

    cdef int share_counter(self, buffer) except -1:
        PyObject_GetBuffer(buffer, &self.counter_view, PyBUF_WRITABLE)
        self.counter_held = True
        if self.counter_view.len < 8:
            raise ValueError("connection_counter must have 8 bytes")
        self.core.counter = <uint64_t *> self.counter_view.buf
        return 0

    cdef int share_places(self, tuple said) except -1:
        cdef Core *core = self.core
        cdef size_t place
        buffer, place, core.bell = said
        view = memoryview(buffer)
        if view.readonly or place >= <size_t> view.nbytes:
            raise ValueError("no such place")
        self.texts.append(view)
        core.places = <uint8_t *> PyMemoryView_GET_BUFFER(view).buf
        core.place_count = <size_t> view.nbytes
        core.place = place
        return 0

    cdef int add_listeners(self, listeners) except -1:
        cdef Core *core = self.core
        cdef Server server
        cdef bytes text
        cdef int i = 0
        cdef list alternates = []
        core.listeners = <Listener *> calloc(max(len(listeners), 1), sizeof(Listener))
        if core.listeners == NULL:
            raise MemoryError
        for fd, text, server, *flags in listeners:
            if server.conf.core != NULL and server.conf.core != core:
                raise ValueError("a Server belongs to one Engine")
            if server not in self.servers:
                server.conf.core = core
                server.conf.index = <uint32_t> len(self.servers)
                self.servers.append(server)
            self.texts.append(text)
            core.listeners[i].fd = fd
            listener_sends_at_once(fd)
            core.listeners[i].server = &server.conf
            core.listeners[i].proxy_protocol = bool(flags) and bool(flags[0] & LISTEN_PROXY_PROTOCOL_)
            core.listeners[i].tls = bool(flags) and bool(flags[0] & LISTEN_SSL_)
            if core.listeners[i].tls and server.conf.tls == NULL:
                raise ValueError("a listener with TLS needs a server with a certificate")
            if len(flags) > 1:
                alternates.append((i, flags[1]))
            core.listeners[i].text = span_of(text, len(text))
            listener_find_address(&core.listeners[i])
            i += 1
        core.listener_count = i
        core.connections = <uint32_t> i + 1     # nginx counts its listeners and its channel
        for i, _ in alternates:
            core.listeners[i].shared = True
        for i, address in alternates:
            self.add_alternate(&core.listeners[i], address)
        return 0

    cdef int add_alternate(self, Listener *listener, address) except -1:
        """``address`` is served from a wildcard's socket: find the wildcard's entry."""
        cdef Address a
        cdef Listener *other
        cdef int i
        set_address(&a, address)
        listener_set_address(listener, &a)
        for i in range(self.core.listener_count):
            other = &self.core.listeners[i]
            if other.fd == listener.fd and not other.shared:
                listener.alternate = other.alternate
                other.alternate = listener
                return 0
        raise ValueError("no listener for the socket of an alternate address")

    cdef int open_sinks(self, log, syslog, memory) except -1:
        """One sink per descriptor, however many logs name it."""
        cdef Core *core = self.core
        cdef LogSink *sink
        cdef Server server
        log_set(&core.log, log)
        descriptors = {fd for fd, _ in log}
        for server in self.servers:
            for i in range(server.conf.log.count):
                descriptors.add(server.conf.log.targets[i].fd)
        core.sinks = <LogSink *> calloc(max(len(descriptors), 1), sizeof(LogSink))
        if core.sinks == NULL:
            raise MemoryError
        for fd in sorted(descriptors):
            sink = &core.sinks[core.sink_count]
            sink.fd = fd
            sink.kind = sink_kind(fd)
            core.sink_count += 1
            if fd in syslog:
                addresses, facility, header = syslog[fd]
                self.set_syslog_servers(sink, addresses)
                sink.facility = facility * 8
                self.texts.append(header)
                sink.header = span_of(<bytes> header, len(header))
            elif fd in memory:
                sink.memory_size = self.hold_memory(memory[fd], &sink.memory)
        self.bind_log(&core.log)
        for server in self.servers:
            self.bind_log(&server.conf.log)
            server.conf.debug_log = server.conf.log
            log_everything(&server.conf.debug_log)
        return 0

    cdef int set_syslog_servers(self, LogSink *sink, addresses) except -1:
        if not 0 < len(addresses) <= SYSLOG_ADDRESSES_MAX:
            raise ValueError("a syslog server has too many addresses, or none")
        for i, address in enumerate(addresses):
            set_address(&sink.servers[i].address, address)
            text = address_text(address)
            self.texts.append(text)
            sink.servers[i].text = span_of(<bytes> text, len(text))
        sink.server_count = <int> len(addresses)
        return 0

    cdef uint64_t hold_memory(self, buffer, char **data) except 0:
        """Keep a memory log's mapping; returns the length of its ring."""
        view = memoryview(buffer)
        self.texts.append(view)
        if view.nbytes < LOG_LINE_MAX + 8:
            raise ValueError("too small a memory log")
        data[0] = <char *> PyMemoryView_GET_BUFFER(view).buf
        return <uint64_t> view.nbytes - 8

    cdef void bind_log(self, Log *log):
        cdef int i, j
        for i in range(log.count):
            for j in range(self.core.sink_count):
                if self.core.sinks[j].fd == log.targets[i].fd:
                    log.targets[i].sink = &self.core.sinks[j]

    cdef int watch(self) except -1:
        cdef Core *core = self.core
        cdef epoll_event event
        cdef int i
        event.events = EPOLLIN
        event.data.u64 = TAG_ORDERS
        if epoll_ctl(core.epoll, EPOLL_CTL_ADD, core.orders.eventfd, &event) < 0:
            raise OSError(fm_errno(), "epoll_ctl() failed")
        for i in range(core.listener_count):
            if not core.listeners[i].shared and not listener_watch(core, &core.listeners[i]):
                raise OSError(fm_errno(), "epoll_ctl() failed")
        if core.places != NULL:
            event.events = EPOLLIN | EPOLLET    # nobody reads it: each ring is an edge
            event.data.u64 = TAG_BELL
            if epoll_ctl(core.epoll, EPOLL_CTL_ADD, core.bell, &event) < 0:
                raise OSError(fm_errno(), "epoll_ctl() failed")
            place_mark(core, ROOM_ENOUGH)
        return 0

    cdef Core *open_core(self) except NULL:
        if self.core == NULL:
            raise ValueError("the engine is closed")
        return self.core

    def run(self):
        cdef Core *core = self.open_core()
        with nogil:
            while turn(core, True):
                pass
            tell(core, &core.drained)

    def turn(self):
        cdef Core *core = self.open_core()
        cdef bint going
        with nogil:
            going = turn(core, False)
            if not going:
                tell(core, &core.drained)
        return going

    def fileno(self):
        return self.open_core().epoll

    def event_fileno(self):
        return self.open_core().events.eventfd

    def events(self):
        cdef Core *core = self.open_core()
        cdef Message m
        cdef list taken = []
        ring_clear_wakeups(&core.events)
        while ring_take(&core.events, &m):
            payload = (m.extra, take_bytes(&m.data)) if m.kind in (EVENT_AUTH_, EVENT_NAME_) else None
            taken.append((m.kind, m.handle, payload))
        if fm_load_acquire(&core.not_accepting) and not self.told_not_accepting:
            self.told_not_accepting = True
            taken.append((EVENT_NOT_ACCEPTING_, 0, None))
        if fm_load_acquire(&core.drained) and not self.told_drained:
            self.told_drained = True
            taken.append((EVENT_DRAINED_, 0, None))
        return taken

    cdef int order(self, Kind kind, uint64_t handle, uint32_t extra, bytes data) except -1:
        cdef Core *core = self.open_core()
        cdef Message m
        memset(&m, 0, sizeof(m))
        m.kind = kind
        m.handle = handle
        m.extra = extra
        if not put(&m.data, data, len(data)):
            raise MemoryError
        if not ring_put(&core.orders, &m):
            buffer_free(&m.data)
            raise BufferError("the engine does not take orders")
        return 0

    def auth_answered(self, uint64_t handle, bytes header not None):
        self.order(ORDER_ANSWER, handle, 0, header)

    def auth_failed(self, uint64_t handle, uint32_t reason, bytes message not None=b""):
        self.order(ORDER_FAILED, handle, reason, message)

    def renew_certificates(self, Server server not None, TLSContext fresh not None):
        if server.conf.tls == NULL:
            raise ValueError("the server has no certificate")
        self.order(ORDER_RENEW, <uint64_t> &server.conf, 0, (<char *> &fresh.names)[:sizeof(TLSNames)])
        memset(&fresh.names, 0, sizeof(TLSNames))
        SSL_CTX_set_cert_cb(fresh.ctx, NULL, NULL)

    def name_found(self, uint64_t handle, uint32_t outcome, bytes text not None, *, bint forward=False):
        self.order(ORDER_NAME, handle, outcome | (NAME_FORWARD if forward else 0), text)

    def shutdown(self):
        cdef Core *core = self.open_core()
        fm_store_release(&core.shutdown_ordered, 1)
        ring_wake(&core.orders)

    def cut_relays(self):
        cdef Core *core = self.open_core()
        fm_store_release(&core.cut_ordered, 1)
        ring_wake(&core.orders)

    def stop(self):
        cdef Core *core = self.open_core()
        fm_store_release(&core.stop_ordered, 1)
        ring_wake(&core.orders)

    def stats(self):
        cdef Core *core = self.open_core()
        return {
            "sessions": core.sessions, "relaying": core.relaying, "accepted": core.accepted,
            "backend_handshakes": core.backend_handshakes, "backend_resumed": core.backend_resumed,
            "logins": core.logins, "auth_requests": core.auth_requests,
            "auth_connections": core.auth_connections, "connections": core.connections,
            "pipes": core.pipe_count, "pipes_lent": core.pipes_lent,
            "timers": core.wheel.armed - (core.pipe_timer.next != NULL) - (core.idle_timer.next != NULL)
            - (core.trim_timer.next != NULL),
        }

    def close(self):
        cdef Core *core = self.core
        cdef Server server
        cdef uint32_t slot
        cdef int i
        if core == NULL:
            return
        self.core = NULL
        place_mark(core, ROOM_GONE)
        for slot in range(core.table_size):
            if core.table[slot] != NULL:
                ends(&core.table[slot].end, REASON_SHUTTING_DOWN, HOW_FAILED)
                session_close(core, core.table[slot])
        for server in self.servers:
            while server.conf.idle != NULL:
                auth_close(core, server.conf.idle)
            server.conf.core = NULL
            server.conf.idle_count = 0
        run_leftovers(core)
        while core.handshakes != NULL:
            run_handshakes(core)
        free_dead(core)
        pipes_empty_pool(core)
        for i in range(core.sink_count):
            core.sinks[i].retry = 0
            sink_flush(&core.sinks[i], &core.clock)
            buffer_free(&core.sinks[i].pending)
        ring_close(&core.events)
        ring_close(&core.orders)
        if core.epoll >= 0:
            close(core.epoll)
        free(core.listeners)
        free(core.debug)
        free(core.sinks)
        free(core.table)
        free(core.free_slots)
        if core.shared != NULL:
            explicit_bzero(core.shared, SHARED_SIZE)
            pages_give(core.shared, SHARED_SIZE)
        free(core.spare)
        free(core)
        if self.counter_held:
            self.counter_held = False
            PyBuffer_Release(&self.counter_view)

    def __dealloc__(self):
        if self.core != NULL:
            self.close()
