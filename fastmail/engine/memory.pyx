# Memory of sessions that have ended: malloc() keeps it, and after a burst of handshakes that is hundreds of
# megabytes that the rest of the machine has no use of.

cdef extern from * nogil:
    """
    #include <malloc.h>
    static inline void fm_trim(void)
    {
    #ifdef __GLIBC__
        malloc_trim(0);
    #endif
    }
    """
    void fm_trim() noexcept

cdef enum:
    TRIM_MIN = 512              # sessions at once that are worth the walk through what is free
    TRIM_PAUSE = 1000           # milliseconds after half of them have ended


cdef inline void memory_session_begun(Core *core) noexcept nogil:
    if core.sessions > core.sessions_peak:
        core.sessions_peak = core.sessions


cdef inline void memory_session_ended(Core *core) noexcept nogil:
    if core.sessions_peak >= TRIM_MIN and core.sessions < core.sessions_peak // 2 \
            and core.trim_timer.next == NULL:
        timer_start(&core.wheel, &core.trim_timer, core.clock.now + TRIM_PAUSE)


cdef void memory_trim(Core *core) noexcept nogil:
    """Give back to the system whatever whole pages are free."""
    fm_trim()
    core.sessions_peak = core.sessions
