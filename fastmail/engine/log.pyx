# Log lines, in nginx's format: formatted here, gathered per descriptor, and written once per turn
# of the loop. Reopening is dup2() onto the same descriptor, so that nothing here has to know of it.
#
# A log never blocks the engine, unless a disk does. Paths are opened with O_NONBLOCK (logs.py), and sockets
# are written to with MSG_DONTWAIT. A descriptor that was inherited is never made non-blocking, since others
# have it too: see shared_write(). What a log has no room for is kept, up to a limit; what is lost is counted,
# and reported when the log takes lines again.

cdef enum:
    LOG_ALERT = 2
    LOG_CRIT = 3
    LOG_ERR = 4
    LOG_WARN = 5
    LOG_NOTICE = 6
    LOG_INFO = 7
    LOG_DEBUG = 8

cdef enum:
    LOG_LINE_MAX = 2048         # bytes with the newline; nginx cuts there too
    LOG_TARGETS_MAX = 8         # of one level
    LOG_PENDING_MAX = 64 * 1024
    LOG_WRITE_MAX = 4096        # at once to a pipe or a terminal: more (PIPE_BUF) may be torn
    SYSLOG_ADDRESSES_MAX = 8    # of one server's name
    LOG_RETRY = 100             # milliseconds until a log that is full is tried again

cdef enum:                      # what a LogSink's descriptor is
    SINK_FILE                   # a regular file
    SINK_STREAM                 # a pipe or a device, open without blocking
    SINK_SOCKET
    SINK_SHARED                 # a pipe or a device that would block

cdef struct SyslogServer:       # one of its addresses
    Address address
    Span text
    int refusal                 # an errno that is to be told
    bint told                   # one has been, which is enough

cdef struct LogSink:            # one per descriptor
    int fd
    int kind
    Buffer pending
    uint64_t retry              # when a full one may be tried again
    uint64_t lost               # lines
    int error                   # why the last of them were
    char *memory                # ``memory:``: a ring of bytes, shared by the processes
    uint64_t memory_size        # its length; behind it stands how much was ever written
    SyslogServer servers[SYSLOG_ADDRESSES_MAX]  # ``syslog:``: where datagrams go
    int server_count
    bint refused                # some address has a refusal to be told
    int facility                # times 8
    Span header                 # "HOST TAG: "

cdef struct LogTarget:
    int fd
    int level
    LogSink *sink

cdef struct Log:
    int level                   # the most talkative target's
    int count
    LogTarget targets[LOG_TARGETS_MAX]

cdef struct Line:
    Clock *clock
    uint32_t size
    char text[LOG_LINE_MAX]

cdef const char **LEVELS = [
    b"", b"emerg", b"alert", b"crit", b"error", b"warn", b"notice", b"info", b"debug"]


cdef int log_set(Log *log, targets) except -1:
    log.count = 0
    log.level = -1
    for fd, level in targets:
        if log.count == LOG_TARGETS_MAX:
            raise ValueError(f'more than {LOG_TARGETS_MAX} "error_log" directives')
        log.targets[log.count].fd = fd
        log.targets[log.count].level = level
        log.targets[log.count].sink = NULL
        log.level = max(log.level, level)
        log.count += 1
    return 0


cdef void log_everything(Log *log) noexcept nogil:
    """Raise every target to the most talkative level (debug_connection)."""
    cdef int i
    log.level = LOG_DEBUG
    for i in range(log.count):
        log.targets[i].level = LOG_DEBUG


cdef void line_put(Line *line, const char *data, size_t n) noexcept nogil:
    """Append, cut at the limit; one byte stays free for the newline."""
    cdef size_t room = LOG_LINE_MAX - 1 - line.size
    if n > room:
        n = room
    if n:
        memcpy(line.text + line.size, data, n)
        line.size += <uint32_t> n


cdef inline void line_puts(Line *line, const char *text) noexcept nogil:
    line_put(line, text, strlen(text))


cdef void line_number(Line *line, uint64_t n, int width) noexcept nogil:
    cdef char digits[20]
    cdef int i = 20
    while True:
        i -= 1
        width -= 1
        digits[i] = <char> (48 + n % 10)
        n //= 10
        if n == 0 and width <= 0:
            break
    line_put(line, digits + i, 20 - i)


cdef void line_quoted(Line *line, const char *text, Span value) noexcept nogil:
    """A peer's words. Control characters are shown as ``\\xHH``: a line end would let a client write log
    lines of its own, and have others banned by what reads the log."""
    cdef char escaped[4]
    cdef size_t i, plain = 0
    cdef uint8_t c
    line_puts(line, text)
    line_put(line, b'"', 1)
    for i in range(value.size):
        c = <uint8_t> value.data[i]
        if c < 32 or c == 127:
            line_put(line, value.data + plain, i - plain)
            escaped[0] = 92
            escaped[1] = 120
            escaped[2] = HEX[c >> 4]
            escaped[3] = HEX[c & 15]
            line_put(line, escaped, 4)
            plain = i + 1
    line_put(line, value.data + plain, value.size - plain)
    line_put(line, b'"', 1)


cdef void line_error(Line *line, int err) noexcept nogil:
    """`` (111: Connection refused)``"""
    cdef char text[128]
    if err == 0:
        return
    line_puts(line, b" (")
    line_number(line, <uint64_t> err, 0)
    line_puts(line, b": ")
    line_puts(line, strerror_r(err, text, sizeof(text)))
    line_puts(line, b")")


cdef void line_begin(Line *line, Clock *clock, int level, uint64_t number) noexcept nogil:
    """``DATE [LEVEL] PID#0: *NUMBER ``"""
    line.clock = clock
    line.size = 0
    line_put(line, clock_text(clock), 19)
    line_puts(line, b" [")
    line_puts(line, LEVELS[level])
    line_puts(line, b"] ")
    line_number(line, <uint64_t> clock.pid, 0)
    line_puts(line, b"#0: ")
    if number:
        line_put(line, b"*", 1)
        line_number(line, number, 0)
        line_put(line, b" ", 1)


cdef void line_write(Line *line, const Log *log, int level) noexcept nogil:
    """Hand the finished line to every target that wants its level."""
    cdef int i
    line.text[line.size] = 10
    line.size += 1
    line_hand(line, log, level)
    for i in range(log.count):
        if log.targets[i].sink != NULL and log.targets[i].sink.refused:
            line_of_refusals(log, log.targets[i].sink, line.clock)


cdef void line_of_refusals(const Log *log, LogSink *sink, Clock *clock) noexcept nogil:
    """Name the addresses of a syslog server that have been passed over. What these lines bring to light
    themselves is told after the next line."""
    cdef int i
    cdef Line note
    cdef SyslogServer *server
    sink.refused = False
    for i in range(sink.server_count):
        server = &sink.servers[i]
        if server.refusal == 0:
            continue
        line_begin(&note, clock, LOG_ERR, 0)
        line_puts(&note, b"send() failed")
        line_error(&note, server.refusal)
        line_puts(&note, b" while logging to syslog, server: ")
        line_put(&note, server.text.data, server.text.size)
        line_puts(&note, b", trying next address")
        note.text[note.size] = 10
        note.size += 1
        server.refusal = 0
        line_hand(&note, log, LOG_ERR)


cdef void line_hand(Line *line, const Log *log, int level) noexcept nogil:
    cdef int i
    cdef LogSink *sink
    for i in range(log.count):
        sink = log.targets[i].sink
        if sink == NULL or log.targets[i].level < level:
            continue
        if sink.memory != NULL:
            memory_append(sink.memory, sink.memory_size, line.text, line.size)
            continue
        if sink.server_count:
            line_datagram(line, sink, level)
            continue
        if buffer_used(&sink.pending) + line.size > LOG_PENDING_MAX:
            sink_flush(sink, line.clock)
        if buffer_used(&sink.pending) + line.size > LOG_PENDING_MAX:
            sink.lost += 1
        elif not put(&sink.pending, line.text, line.size):
            sink.pending.failed = False
            sink_lose(sink, 1, ENOMEM)


cdef void line_datagram(Line *line, LogSink *sink, int level) noexcept nogil:
    """RFC 3164's form, the line without its newline. Nobody waits for a syslog server: what it does not take
    is lost, and it may come and go."""
    cdef Line note
    if not datagram_send(line, sink, level):
        sink_lose(sink, 1, fm_errno())
    elif sink.lost:
        line_of_lost(&note, sink, line.clock)
        if datagram_send(&note, sink, LOG_ALERT):
            sink.lost = 0


cdef bint datagram_send(Line *line, LogSink *sink, int level) noexcept nogil:
    cdef Buffer out
    cdef bint sent = False
    memset(&out, 0, sizeof(out))
    puts(&out, b"<")
    put_number(&out, <uint64_t> (sink.facility + level - 1))
    puts(&out, b">")
    put(&out, clock_syslog_text(line.clock), 15)
    puts(&out, b" ")
    put_span(&out, sink.header)
    put(&out, line.text, line.size - 1)
    if out.failed:
        fm_set_errno(ENOMEM)
    elif sink.server_count > 1:
        sent = datagram_to_any(sink, out.data, out.end)
    else:
        sent = sendto(sink.fd, out.data, out.end, MSG_DONTWAIT | MSG_NOSIGNAL,
                      <const sockaddr *> &sink.servers[0].address.addr, sink.servers[0].address.size) >= 0
    buffer_free(&out)
    return sent


cdef bint datagram_to_any(LogSink *sink, const char *data, size_t size) noexcept nogil:
    """Send to the address that the descriptor is connected to, else to the first of the others that takes it,
    which the descriptor is connected to from then on. logs.py does the same, and starts over at a reopen."""
    cdef int i, at, current
    cdef int err = datagram_try(sink.fd, data, size)
    if err == 0 or datagram_is_ours(err):
        fm_set_errno(err)
        return err == 0
    current = syslog_current(sink)
    if current >= 0:
        syslog_refuse(sink, current, err)
    for i in range(1, sink.server_count + 1):
        if err == 0 or datagram_is_ours(err):
            break
        at = (current + i) % sink.server_count
        err = syslog_connect(sink.fd, &sink.servers[at].address)
        if err == 0:
            err = datagram_try(sink.fd, data, size)
        if err and not datagram_is_ours(err):
            syslog_refuse(sink, at, err)
    fm_set_errno(err)
    return err == 0


cdef inline bint datagram_is_ours(int err) noexcept nogil:
    """Why a datagram does not go out, whoever it is for."""
    return err == EAGAIN or err == ENOBUFS or err == ENOMEM or err == EMSGSIZE


cdef int datagram_try(int fd, const char *data, size_t size) noexcept nogil:
    """0, or an errno. On this machine a refusal is there as soon as the line has been sent; from elsewhere it
    comes later, and the next line gets it."""
    cdef int err = 0
    cdef socklen_t n = sizeof(err)
    if send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0:
        return fm_errno()
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n)
    return err


cdef int syslog_current(const LogSink *sink) noexcept nogil:
    """Which of the addresses the descriptor is connected to; -1: none."""
    cdef sockaddr_storage peer
    cdef socklen_t n = sizeof(peer)
    cdef Endpoint connected, server
    cdef int i
    memset(&peer, 0, sizeof(peer))
    if getpeername(sink.fd, <sockaddr *> &peer, &n) < 0:
        return -1
    endpoint_of(&connected, &peer)
    for i in range(sink.server_count):
        endpoint_of(&server, &sink.servers[i].address.addr)
        if memcmp(&server, &connected, sizeof(Endpoint)) == 0:
            return i
    return -1


cdef int syslog_connect(int fd, const Address *to) noexcept nogil:
    """Put a socket for this address behind the descriptor; 0, or an errno. It never waits: no packet is
    sent."""
    cdef int err = 0
    cdef int fresh = socket(to.addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fresh < 0:
        return fm_errno()
    if connect(fresh, <const sockaddr *> &to.addr, to.size) < 0 or dup3(fresh, fd, O_CLOEXEC) < 0:
        err = fm_errno()
    close(fresh)
    return err


cdef void syslog_refuse(LogSink *sink, int at, int err) noexcept nogil:
    cdef SyslogServer *server = &sink.servers[at]
    if not server.told:
        server.told = True
        server.refusal = err
        sink.refused = True


cdef void memory_append(char *memory, uint64_t size, const char *data, size_t n) noexcept nogil:
    """Behind what was written last, over the oldest; several processes may do so at once."""
    cdef uint64_t at = fm_fetch_add(<uint64_t *> (memory + size), n) % size
    cdef size_t first = n if n <= size - at else <size_t> (size - at)
    memcpy(memory + at, data, first)
    memcpy(memory, data + first, n - first)


def memory_log(memory, bytes line not None):
    cdef Py_buffer view
    PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
    try:
        if <size_t> view.len < LOG_LINE_MAX + 8 or len(line) > LOG_LINE_MAX:
            raise ValueError("not a memory log's line")
        memory_append(<char *> view.buf, <uint64_t> view.len - 8, line, len(line))
    finally:
        PyBuffer_Release(&view)


cdef int sink_kind(int fd) noexcept nogil:
    cdef stat_t status
    if fstat(fd, &status) < 0 or S_ISREG(status.st_mode):
        return SINK_FILE
    if S_ISSOCK(status.st_mode):
        return SINK_SOCKET
    return SINK_STREAM if fcntl(fd, F_GETFL) & O_NONBLOCK else SINK_SHARED


cdef void sink_lose(LogSink *sink, uint64_t lines, int error) noexcept nogil:
    sink.lost += lines
    sink.error = error


cdef void line_of_lost(Line *line, const LogSink *sink, Clock *clock) noexcept nogil:
    line_begin(line, clock, LOG_ALERT, 0)
    line_number(line, sink.lost, 0)
    line_puts(line, b" log lines lost")
    line_error(line, sink.error)
    line.text[line.size] = 10
    line.size += 1


cdef void sink_flush(LogSink *sink, Clock *clock) noexcept nogil:
    """Write what is pending. What there is no room for waits; what is refused otherwise is lost."""
    cdef ssize_t n
    cdef size_t i
    cdef Line note
    cdef Buffer *b = &sink.pending
    if clock.now < sink.retry:
        return
    sink.retry = 0
    while b.end > b.start:
        n = sink_write(sink, b.data + b.start, b.end - b.start)
        if n > 0:
            b.start += <uint32_t> n
            continue
        sink.error = fm_errno()
        if sink.error == EAGAIN:
            sink.kind = sink_kind(sink.fd)      # another file may have been put there
            sink.retry = clock.now + LOG_RETRY
            return
        for i in range(b.start, b.end):
            sink.lost += b.data[i] == 10
        b.start = b.end = 0
        return
    b.start = b.end = 0
    if sink.lost:
        line_of_lost(&note, sink, clock)
        if sink_write(sink, note.text, note.size) == note.size:
            sink.lost = 0


cdef ssize_t sink_write(LogSink *sink, const char *data, size_t size) noexcept nogil:
    """As write(); as many whole lines as go out at once."""
    cdef ssize_t n
    if sink.kind != SINK_FILE and size > LOG_WRITE_MAX:
        size = LOG_WRITE_MAX
        while size and data[size - 1] != 10:
            size -= 1
    while True:
        if sink.kind == SINK_SOCKET:
            n = send(sink.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        elif sink.kind == SINK_SHARED:
            n = shared_write(sink.fd, data, size)
        else:
            n = write(sink.fd, data, size)
        if n >= 0 or fm_errno() != EINTR:
            return n


cdef ssize_t shared_write(int fd, const char *data, size_t size) noexcept nogil:
    """RWF_NOWAIT is for this write alone; Linux has it for pipes from 6.4 on. Otherwise the descriptor is
    asked first, and another writer that comes between can make us wait."""
    cdef iovec part
    cdef pollfd asked
    cdef ssize_t n
    part.iov_base = <void *> data
    part.iov_len = size
    n = pwritev2(fd, &part, 1, -1, RWF_NOWAIT)
    if n >= 0 or (fm_errno() != EOPNOTSUPP and fm_errno() != ENOSYS and fm_errno() != EINVAL):
        return n
    asked.fd = fd
    asked.events = POLLOUT
    if poll(&asked, 1, 0) == 0:
        fm_set_errno(EAGAIN)
        return -1
    return write(fd, data, size)
