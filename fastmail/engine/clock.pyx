# One reading of the clocks per turn of the loop, and the date as log lines show it.

cdef struct Clock:
    uint64_t now                # milliseconds, monotonic
    time_t second               # wall clock
    time_t shown                # the second that text shows
    int pid
    char text[32]
    time_t syslog_shown
    char syslog_text[32]


cdef void clock_update(Clock *c) noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t)
    c.now = <uint64_t> t.tv_sec * 1000 + <uint64_t> t.tv_nsec // 1000000
    clock_gettime(CLOCK_REALTIME_COARSE, &t)
    c.second = t.tv_sec


cdef inline void two_digits(char *at, int n) noexcept nogil:
    at[0] = <char> (48 + n // 10)
    at[1] = <char> (48 + n % 10)


cdef const char *clock_text(Clock *c) noexcept nogil:
    """``YYYY/MM/DD HH:MM:SS`` in local time, made once a second."""
    cdef tm t
    cdef int year
    if c.shown == c.second and c.text[0]:
        return c.text
    if localtime_r(&c.second, &t) == NULL:
        memset(&t, 0, sizeof(t))
    year = t.tm_year + 1900
    two_digits(c.text, (year // 100) % 100)
    two_digits(c.text + 2, year % 100)
    c.text[4] = 47
    two_digits(c.text + 5, t.tm_mon + 1)
    c.text[7] = 47
    two_digits(c.text + 8, t.tm_mday)
    c.text[10] = 32
    two_digits(c.text + 11, t.tm_hour)
    c.text[13] = 58
    two_digits(c.text + 14, t.tm_min)
    c.text[16] = 58
    two_digits(c.text + 17, t.tm_sec)
    c.shown = c.second
    return c.text


cdef const char *clock_syslog_text(Clock *c) noexcept nogil:
    """``Mmm dd HH:MM:SS`` (RFC 3164 section 4.1.2), 15 bytes."""
    cdef tm t
    cdef const char *months = b"JanFebMarAprMayJunJulAugSepOctNovDec"
    cdef char *at = c.syslog_text
    if c.syslog_shown == c.second and at[0]:
        return at
    if localtime_r(&c.second, &t) == NULL:
        memset(&t, 0, sizeof(t))
    memcpy(at, months + 3 * (t.tm_mon % 12), 3)
    at[3] = 32
    two_digits(at + 4, t.tm_mday)
    if at[4] == 48:
        at[4] = 32
    at[6] = 32
    two_digits(at + 7, t.tm_hour)
    at[9] = 58
    two_digits(at + 10, t.tm_min)
    at[12] = 58
    two_digits(at + 13, t.tm_sec)
    c.syslog_shown = c.second
    return at
