"""Directives that some release of nginx's core or mail module had, and that fastmail does not take.

Each is an error, as in current nginx; REMOVED has what the error adds to ``unknown directive "NAME"``.
``ssl``, which nginx removed last, is taken (directives.py).
"""

REPLACED = {
    "imap": "mail",
    "auth": "pop3_auth",
    "so_keepalive": 'so_keepalive" parameter of the "listen',
    "connections": "worker_connections",
}
"""Renamed, or moved to another directive; the texts are those of nginx's warnings of the time."""

_THREADS = "worker_threads", "thread_stack_size"
_EVENT_METHODS = {
    "rtsig": ("rtsig_signo", "rtsig_overflow_events", "rtsig_overflow_test", "rtsig_overflow_threshold"),
    "kqueue": ("kqueue_changes", "kqueue_events"),
    "/dev/poll": ("devpoll_changes", "devpoll_events"),
    "eventport": ("eventport_events",),
    "iocp": ("iocp_threads", "post_acceptex", "acceptex_read"),
}
UNNEEDED = (
    "worker_rlimit_sigpending",
    *_THREADS,
    *(name for names in _EVENT_METHODS.values() for name in names),
)
"""For threads and event methods that nginx has dropped, or has on other systems: without a replacement."""

REMOVED = {
    **{name: f', use the "{other}" directive instead' for name, other in REPLACED.items()},
    **dict.fromkeys(UNNEEDED, ", it has no use here and can be removed"),
}
