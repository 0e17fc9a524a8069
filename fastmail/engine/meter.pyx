# What a TLS peer makes us do: libssl works through all that it is given, and records or messages without data
# have no end. So it is given them a few a turn, and what came without data is counted.

cdef enum:
    RECORDS_PER_TURN = 32       # given to libssl; data earns more
    DATA_PER_RECORD = 32        # bytes that earn one
    EMPTY_MAX = 64              # records without data in a row, before login; messages that we answer, always
    HANDSHAKE_PER_TURN = 32 * 1024  # bytes
    HANDSHAKE_MAX = 256 * 1024  # bytes; libssl takes 100 kB of certificates, and as much of names of CAs

cdef struct Meter:
    Buffer rest                 # received, and not given to libssl yet
    uint64_t turn               # in which what follows was filled up
    uint32_t records            # that may still be given in this turn
    uint32_t share              # bytes of a handshake that may still be given in this turn
    uint32_t handshake          # bytes that the handshake may still take; 0 once it is done
    uint32_t empty              # records since there was data
    uint32_t answered           # messages since there was data that we had to answer, or to keep
    uint16_t body               # bytes of the current record still to come
    uint8_t head_size
    unsigned char head[5]       # of the current record, as far as it has come
    bint shaken                 # the handshake is done
    bint reading                # what is written now is an answer to what has been read
    bint patient                # it has logged in: records without data are not counted


cdef inline void meter_turn(Meter *m, uint64_t turn) noexcept nogil:
    if m.turn != turn:
        m.turn = turn
        m.records = RECORDS_PER_TURN
        m.share = HANDSHAKE_PER_TURN


cdef inline bint meter_is_spent(const Meter *m) noexcept nogil:
    """libssl gets no more in this turn."""
    if m.shaken:
        return m.records == 0 and m.body == 0 and m.head_size == 0
    return m.records == 0 or m.share == 0 or m.handshake == 0


cdef inline bint meter_is_exceeded(const Meter *m) noexcept nogil:
    return m.answered > EMPTY_MAX or (m.empty > EMPTY_MAX and not m.patient)


cdef inline void meter_shaken(Meter *m) noexcept nogil:
    m.shaken = True
    m.empty = 0


cdef inline void meter_data(Meter *m, uint32_t n) noexcept nogil:
    m.empty = m.answered = 0
    m.records += n // DATA_PER_RECORD
    if m.records > RECORDS_PER_TURN:
        m.records = RECORDS_PER_TURN


cdef inline bint meter_answers(Meter *m) noexcept nogil:
    """Count an answer. True: too many."""
    m.answered += 1
    return m.answered > EMPTY_MAX


cdef uint32_t meter_records(Meter *m, const char *data, uint32_t n) noexcept nogil:
    """Count the records that begin in these bytes. Returns how many of the bytes may be given to libssl."""
    cdef uint32_t at = 0, part
    if not m.shaken:
        n = min(n, m.share, m.handshake)
    while at < n:
        if m.body:
            part = min(<uint32_t> m.body, n - at)
            m.body -= <uint16_t> part
            at += part
            continue
        if m.head_size == 0:
            if m.records == 0:
                break
            m.records -= 1
            m.empty += 1
        m.head[m.head_size] = <unsigned char> data[at]
        m.head_size += 1
        at += 1
        if m.head_size == sizeof(m.head):
            m.head_size = 0
            m.body = <uint16_t> (m.head[3] << 8 | m.head[4])
    if not m.shaken:
        m.share -= at
        m.handshake -= at
    return at


cdef ssize_t meter_take(Meter *m, const char *data, uint32_t n) noexcept nogil:
    """Of what has been received into libssl's own buffer: how much it gets now; the rest is kept. -1: no
    memory."""
    cdef uint32_t given = meter_records(m, data, n)
    if given < n and not put(&m.rest, data + given, n - given):
        return -1
    return given


cdef int meter_give(Meter *m, char *buf, uint32_t n) noexcept nogil:
    """Of the rest; meter_is_spent() is false."""
    cdef Buffer *rest = &m.rest
    cdef uint32_t given = meter_records(m, rest.data + rest.start, min(n, buffer_used(rest)))
    memcpy(buf, rest.data + rest.start, given)
    rest.start += given
    if rest.start == rest.end:
        buffer_free(rest)
    return <int> given
