# Deadlines: a hierarchical wheel of intrusive lists. Arming and disarming touch a few pointers; an
# idle session costs the three words of its Timer.
#
# A timer may fire early, never late: who is called looks at his own deadline and arms again. So
# a deadline that moves on (proxy_timeout, with every command) is only stored, not moved in the wheel.

cdef enum:
    TICK = 16                   # milliseconds
    WHEEL_BITS = 6
    WHEEL_SLOTS = 64
    WHEEL_LEVELS = 4            # 64^4 ticks = 3.1 days; a longer deadline is armed again then

cdef struct Timer:
    Timer *next                 # NULL: not armed
    Timer *previous
    uint64_t due                # tick

cdef struct Wheel:
    uint64_t tick               # the last one dealt with
    uint64_t armed              # timers in the wheel
    uint64_t occupied[WHEEL_LEVELS]     # a bit per slot that may hold timers
    Timer slots[WHEEL_LEVELS * WHEEL_SLOTS]

ctypedef void (*Expired)(void *context, Timer *t) noexcept nogil


cdef void wheel_init(Wheel *w, uint64_t now) noexcept nogil:
    cdef int i
    memset(w, 0, sizeof(Wheel))
    w.tick = now // TICK
    for i in range(WHEEL_LEVELS * WHEEL_SLOTS):
        w.slots[i].next = w.slots[i].previous = &w.slots[i]


cdef void wheel_place(Wheel *w, Timer *t) noexcept nogil:
    cdef uint64_t away = t.due - w.tick if t.due > w.tick else 1
    cdef uint64_t at = w.tick + away
    cdef int level = 0
    cdef int slot
    cdef Timer *head
    while level < WHEEL_LEVELS - 1 and away >= <uint64_t> 1 << (WHEEL_BITS * (level + 1)):
        level += 1
    if away >= <uint64_t> 1 << (WHEEL_BITS * WHEEL_LEVELS):
        at = w.tick + ((<uint64_t> 1 << (WHEEL_BITS * WHEEL_LEVELS)) - 1)
    slot = <int> ((at >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1))
    head = &w.slots[level * WHEEL_SLOTS + slot]
    t.next = head
    t.previous = head.previous
    head.previous.next = t
    head.previous = t
    w.occupied[level] |= <uint64_t> 1 << slot


cdef void timer_stop(Wheel *w, Timer *t) noexcept nogil:
    if t.next == NULL:
        return
    t.next.previous = t.previous
    t.previous.next = t.next
    t.next = t.previous = NULL
    w.armed -= 1


cdef void timer_start(Wheel *w, Timer *t, uint64_t deadline) noexcept nogil:
    """Fire at ``deadline`` (milliseconds on the wheel's clock) or up to a tick later. A timer that is
    armed for an earlier time is left there."""
    cdef uint64_t due = (deadline + TICK - 1) // TICK
    if t.next != NULL:
        if t.due <= due:
            return
        timer_stop(w, t)
    t.due = due
    w.armed += 1
    wheel_place(w, t)


cdef void wheel_empty_slot(Wheel *w, int level, int slot, Timer *into) noexcept nogil:
    """Move a slot's timers to the list ``into``: what fires may arm timers in the same slot."""
    cdef Timer *head = &w.slots[level * WHEEL_SLOTS + slot]
    w.occupied[level] &= ~(<uint64_t> 1 << slot)
    if head.next == head:
        into.next = into.previous = into
        return
    into.next = head.next
    into.previous = head.previous
    into.next.previous = into
    into.previous.next = into
    head.next = head.previous = head


cdef void wheel_cascade(Wheel *w, int level) noexcept nogil:
    cdef Timer moved
    cdef Timer *t
    wheel_empty_slot(w, level, <int> ((w.tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1)), &moved)
    while moved.next != &moved:
        t = moved.next
        moved.next = t.next
        t.next.previous = &moved
        if t.due <= w.tick:     # due now: this tick's slot is emptied next
            t.due = w.tick
            wheel_place_now(w, t)
        else:
            wheel_place(w, t)


cdef void wheel_place_now(Wheel *w, Timer *t) noexcept nogil:
    cdef int slot = <int> (w.tick & (WHEEL_SLOTS - 1))
    cdef Timer *head = &w.slots[slot]
    t.next = head
    t.previous = head.previous
    head.previous.next = t
    head.previous = t
    w.occupied[0] |= <uint64_t> 1 << slot


cdef void wheel_advance(Wheel *w, uint64_t now, void *context, Expired expired) noexcept nogil:
    """Fire what is due at ``now`` (milliseconds)."""
    cdef uint64_t upto = now // TICK
    cdef Timer due
    cdef Timer *t
    cdef int level
    if w.armed == 0 and upto > w.tick:
        w.tick = upto
        return
    while w.tick < upto:
        w.tick += 1
        for level in range(WHEEL_LEVELS - 1, 0, -1):
            if w.tick & ((<uint64_t> 1 << (WHEEL_BITS * level)) - 1) == 0:
                wheel_cascade(w, level)
        wheel_empty_slot(w, 0, <int> (w.tick & (WHEEL_SLOTS - 1)), &due)
        while due.next != &due:
            t = due.next
            due.next = t.next
            t.next.previous = &due
            t.next = t.previous = NULL
            w.armed -= 1
            expired(context, t)


cdef int wheel_wait(const Wheel *w, uint64_t now) noexcept nogil:
    """Milliseconds until the wheel has to be advanced; -1: nothing is armed."""
    cdef uint64_t best = 0, at, shift, ahead, from_slot
    cdef uint64_t bits
    cdef int level
    if w.armed == 0:
        return -1
    for level in range(WHEEL_LEVELS):
        bits = w.occupied[level]
        if bits == 0:
            continue
        shift = <uint64_t> (WHEEL_BITS * level)
        from_slot = ((w.tick >> shift) + 1) & (WHEEL_SLOTS - 1)
        if from_slot:
            bits = (bits >> from_slot) | (bits << (WHEEL_SLOTS - from_slot))
        ahead = <uint64_t> fm_lowest_bit(bits) + 1
        at = ((w.tick >> shift) + ahead) << shift
        if best == 0 or at < best:
            best = at
    if best == 0:
        return 60_000
    if best * TICK <= now:
        return 0
    return <int> (best * TICK - now)


# --- for the tests -------------------------------------------------------------------------------

cdef struct Alarm:
    Timer timer                 # first: a fired Timer * is its Alarm *
    int number


cdef void alarm_fired(void *context, Timer *t) noexcept nogil:
    put(<Buffer *> context, <const char *> &(<Alarm *> t).number, sizeof(int))


cdef class TimerWheel:
    """The wheel with a clock of the caller's; see the type stub."""

    cdef Wheel wheel
    cdef Alarm *alarms
    cdef int count

    def __cinit__(self, int count, uint64_t now):
        self.alarms = <Alarm *> calloc(<size_t> count, sizeof(Alarm))
        if self.alarms == NULL:
            raise MemoryError
        self.count = count
        wheel_init(&self.wheel, now)

    def __dealloc__(self):
        free(self.alarms)

    cdef Alarm *alarm(self, int number) except NULL:
        if not 0 <= number < self.count:
            raise IndexError(number)
        self.alarms[number].number = number
        return &self.alarms[number]

    def start(self, int number, uint64_t deadline):
        timer_start(&self.wheel, &self.alarm(number).timer, deadline)

    def stop(self, int number):
        timer_stop(&self.wheel, &self.alarm(number).timer)

    def wait(self, uint64_t now):
        return wheel_wait(&self.wheel, now)

    def advance(self, uint64_t now):
        cdef Buffer fired
        cdef bytes numbers
        memset(&fired, 0, sizeof(fired))
        wheel_advance(&self.wheel, now, &fired, alarm_fired)
        numbers = take_bytes(&fired)
        return [int.from_bytes(numbers[i:i + 4], "little") for i in range(0, len(numbers), 4)]
