"""Types of the compiled engine (``fastmail/_speedups.pyx``).

Times are milliseconds, sizes are bytes, log levels are nginx's numbers
(0 stderr, 1 emerg, 2 alert, 3 crit, 4 error, 5 warn, 6 notice, 7 info, 8 debug).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# What Engine.events() reports: (kind, handle, payload).
EVENT_AUTH: int
"""An auth request for aiohttp: payload is ``(server_index, request_bytes)``; answer by handle. The index
counts the distinct Servers in the order of the listeners."""
EVENT_NAME: int
"""The host name of a client is wanted: payload is ``(server_index, numeric address)``; answer by handle."""
EVENT_NAME_DROPPED: int
"""The session of an EVENT_NAME has ended: nobody waits for its answer any more. Payload None."""
EVENT_NOT_ACCEPTING: int
"""After shutdown(): the listeners are out of the epoll set and may be closed. Payload None."""
EVENT_DRAINED: int
"""run() is about to return: after stop(), or with the last session after shutdown(). Payload None."""

# Engine.name_found() outcomes.
NAME_UNAVAILABLE: int
NAME_TEMPORARILY_UNAVAILABLE: int
NAME_FOUND: int

# Engine.auth_failed() reasons.
AUTH_TIMED_OUT: int
AUTH_CLOSED: int

# What a listener does before anything else; Engine()'s listeners may name it as their fourth item.
LISTEN_PROXY_PROTOCOL: int
"""A PROXY header comes first."""
LISTEN_SSL: int
"""TLS from the first byte on."""

Address = tuple[int, Any]
"""``(socket.AF_INET, (host, port))``, ``(AF_INET6, (host, port))`` or ``(AF_UNIX, path)``; numeric."""

LogTarget = tuple[int, int]
"""``(descriptor, level)``: lines of this level and of more severe ones are written to it.

Reopen a log with dup2() onto the same descriptor: the engine need not be told.
"""

Network = tuple[int, bytes, int]
"""``(AF_INET or AF_INET6, packed address, prefix length)``; ``(AF_UNIX, b"", 0)`` is every unix socket."""

OPENSSL_COMPILED: str
"""The OpenSSL that the engine was compiled with: ``OpenSSL 3.0.19 27 Jan 2026``."""
OPENSSL_RUNNING: str
"""The one it uses."""
OPENSSL_STATIC: bool
"""That is part of the engine, not a library of the system (see setup.py)."""
CHECKED: bool
"""Built for debugging, with sanitizers or to count lines."""

class TLSError(Exception):
    """A TLS context cannot be made of what was given. str() is nginx's message, with OpenSSL's own."""

class TLSContext:
    """An SSL_CTX with nginx's settings; each method is a directive's, and raises TLSError.

    Files are named by their absolute paths. Everything is read at once: workers need not see the files.
    """

    def __init__(self) -> None: ...
    def protocols(self, names: Sequence[str]) -> None:
        """``ssl_protocols``; those not named are off."""
    def ciphers(self, text: bytes, *, prefer_server: bool = False) -> None: ...
    def certificate(self, certificate: bytes, key: bytes, passwords: list[bytes] | None = None) -> None:
        """A path or ``data:`` each; a key may also be ``engine:ID:KEY`` or ``store:URI``.

        Without ``passwords`` OpenSSL asks for them on the terminal.
        """
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """Certificates with their chains, and keys, as PEM. Raises TLSError for a key that cannot be read."""
    def renew(self, fresh: TLSContext) -> None:
        """Take the certificates of ``fresh``, which has none afterwards; not while an engine serves."""
    def select_by_name(self) -> None:
        """After all certificates: let SNI choose among several of one key type (RFC 6066 section 3)."""
    def compress_certificates(self) -> bool:
        """RFC 8879. False: this OpenSSL cannot."""
    def verify_client(self, mode: str, depth: int) -> None: ...
    def verify_server(self, depth: int) -> None:
        """``proxy_ssl_verify``: the server's chain is checked, and the session tells what came of it."""
    def client_certificate(self, path: bytes) -> None: ...
    def trusted_certificate(self, path: bytes) -> None: ...
    def crl(self, path: bytes) -> None: ...
    def dhparam(self, path: bytes) -> None: ...
    def curves(self, text: bytes) -> None: ...
    def conf_commands(
        self, pairs: Sequence[tuple[bytes, bytes]], full_name: Callable[[bytes], bytes]
    ) -> None: ...
    def session_cache(self, mode: str, *, size: int = 0) -> None:
        """``off``, ``none``, ``builtin`` (of ``size`` sessions; 0: OpenSSL's number) or ``shared``."""
    def share_sessions(self, cache: TLSSessionCache) -> None: ...
    def ticket_keys(self, keys: Sequence[bytes]) -> None:
        """48 or 80 bytes each, as files of nginx have them: the first encrypts, all decrypt.

        Without any, those of the shared cache, which change by themselves; without one, OpenSSL's own.
        """
    def session_timeout(self, seconds: int) -> None: ...
    def session_tickets(self, on: bool) -> None: ...
    def alpn(self, protocol: bytes) -> None:
        """The protocol to agree on with clients that offer any (RFC 7301)."""
    def session_id_context(self, extra: bytes = b"") -> None:
        """After certificates and CAs. ``extra`` is what else keeps sessions apart."""

class SharedCache:
    """Records in a writable buffer of at least 8192 bytes that processes share.

    A buffer that has been one before goes on as it was. Records have ids of 1 to 32 bytes and at most 4096
    bytes; the oldest give way.
    """

    def __init__(self, buffer: Any) -> None: ...
    def put(self, id: bytes, data: bytes, expires: int) -> bool:
        """Keep a record until then, on whatever clock get() is told. False: it is too large."""
    def get(self, id: bytes, now: int) -> bytes | None: ...
    def remove(self, id: bytes) -> None: ...
    def hold(self, id: bytes) -> None:
        """Never let go of the lock that the record is under: for tests of what a death does."""
    def stats(self) -> dict[str, int]:
        """What all processes have ``stored``, found (``hits``) and not found (``misses``)."""

class TLSSessionCache(SharedCache):
    """``ssl_session_cache shared:…``, with the keys of tickets. Its clock is that of the day, in seconds."""

def certificate_validity(name: bytes) -> list[tuple[bytes, list[bytes], int | None, int | None]]:
    """Return subject, host names, beginning and end of each certificate of a file, or of ``data:``.

    Times are seconds since 1970; None is for what is no time. Raises TLSError.
    """

def use_engine(name: bytes) -> None:
    """``ssl_engine``. Raises TLSError, and NotImplementedError if OpenSSL was built without engines."""

class Server:
    """One ``server {}`` of the mail block, as the engine needs it. Immutable.

    Raises ValueError for an unknown protocol or mechanism, OverflowError for a number out of range.
    """

    def __init__(
        self,
        *,
        protocol: str,  # "imap", "pop3", "smtp"
        server_name: bytes,
        auth_http: Address | list[Address],  # of a list, each if those before cannot be connected to
        auth_http_host: bytes,  # the Host header
        auth_http_uri: bytes,
        auth_http_headers: Sequence[tuple[bytes, bytes]] = (),
        auth_http_timeout: int = 60_000,
        auth_http_keepalive: int = 0,  # idle connections kept to the auth server
        auth_http_keepalive_time: int = 3_600_000,  # milliseconds after its opening that one is kept
        auth_http_transport: str = "engine",  # or "aiohttp"
        auth: Sequence[str] = ("plain",),  # mechanisms listed in imap_auth, pop3_auth or smtp_auth
        capabilities: Sequence[bytes] = (),
        client_buffer: int = 4096,
        timeout: int = 60_000,
        max_errors: int = 5,
        proxy_buffer: int = 4096,
        proxy_timeout: int = 86_400_000,
        proxy_pass_error_message: bool = False,
        xclient: bool = True,
        proxy_smtp_auth: bool = False,
        proxy_pipelining: bool | None = None,
        proxy_preconnect: bool = False,
        proxy_socket_keepalive: bool = False,
        smtp_greeting_delay: int = 0,
        log: Sequence[LogTarget] = (),
        starttls: str = "off",  # "off", "on", "only"
        tls: TLSContext | None = None,
        auth_http_pass_client_cert: bool = False,
        proxy_protocol: int = 0,  # version of the header that backends get; 0: none
        set_real_ip_from: Sequence[Network] = (),
        max_commands: int = 1000,
        max_auth_attempts: int = 1,
        imap_id: bool = True,
        proxy_bind: Sequence[tuple[Address, bytes]] = (),  # local addresses, and what the log calls them
        resolver_timeout: int = 0,  # of one lookup; 0: clients' host names are not looked for
        proxy_tls: TLSContext | None = None,  # towards backends: from the first byte, or after STARTTLS
        proxy_ssl_starttls: bool = False,
        proxy_ssl_verify: bool = False,
        proxy_ssl_name: bytes = b"",  # empty: the backend's address
        proxy_ssl_server_name: bool = False,
        proxy_ssl_session_reuse: bool = True,
        # memory, and how long answers that let in and those that refuse are kept in it; 0: not at all
        auth_http_cache: tuple[SharedCache, int, int] | None = None,
    ) -> None: ...

Listener = (
    tuple[int, bytes, Server] | tuple[int, bytes, Server, int] | tuple[int, bytes, Server, int, Address]
)
"""Descriptor, printed address and server; LISTEN_*; and the address, if it is served from the socket of a
wildcard, which has an entry of its own."""

class Engine:
    """Accepts, logs in and relays the sessions of one worker. Make it after the fork.

    ``listeners`` are ``(descriptor, printed address, server)``; the descriptors stay the caller's, and
    must not block.
    ``connection_counter`` is a writable buffer of 8 bytes that all workers share: it numbers
    sessions in the logs (``*N``).
    ``places`` is what workers share to leave clients to each other: a writable buffer with a byte for each
    worker, 0 where there is none; the number of this one's byte; an eventfd that tells of changes.
    ``syslog`` has the log descriptors that are datagram sockets: the server's addresses, facility and
    ``HOST TAG: ``;
    ``memory`` those that stand for a memory log, see memory_log().
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        *,
        worker_connections: int = 512,
        multi_accept: bool = False,
        exclusive: bool = True,  # EPOLLEXCLUSIVE; off when nested in another epoll
        connection_counter: Any = None,
        places: tuple[Any, int, int] | None = None,
        log: Sequence[LogTarget] = (),
        syslog: Mapping[int, tuple[Sequence[Address], int, bytes]] | None = None,
        memory: Mapping[int, Any] | None = None,
        debug_connection: Sequence[Network] = (),  # clients whose sessions are logged at all levels
        accept_pause: int = 500,  # when descriptors have run out
    ) -> None: ...
    def run(self) -> None:
        """Serve until stop(), or until drained after shutdown(). Holds no GIL: call it on a thread."""
    def turn(self) -> bool:
        """Serve what is ready without waiting (for nesting in another loop). False: finished."""
    def fileno(self) -> int:
        """The epoll descriptor: readable when turn() has something to do."""
    def event_fileno(self) -> int:
        """An eventfd: readable when events() has something. The caller need not read it."""
    def events(self) -> list[tuple[int, int, Any]]:
        """Take what the engine has posted since the last call, and clear the eventfd."""
    def auth_answered(self, handle: int, header: bytes) -> None:
        """The auth server's raw answer, status line to empty line. A stale handle is ignored."""
    def auth_failed(self, handle: int, reason: int, message: bytes = b"") -> None:
        """There is no answer. AUTH_CLOSED: ``message``, if any, is logged at level error in the session's
        line. AUTH_TIMED_OUT has its own line."""
    def renew_certificates(self, server: Server, fresh: TLSContext) -> None:
        """New handshakes get the certificates of ``fresh``, which has none afterwards; sessions go on.

        Raises BufferError if the engine does not take orders.
        """
    def name_found(self, handle: int, outcome: int, text: bytes, *, forward: bool = False) -> None:
        """What came of an EVENT_NAME. ``text`` is the name for NAME_FOUND (letters, digits, ``.`` and ``-``),
        else what is logged at level error, if anything. ``forward``: it was the name's addresses that
        were looked for. A stale handle is ignored."""
    def shutdown(self) -> None:
        """Close the listeners, let sessions run to their end, then finish (nginx's QUIT)."""
    def cut_relays(self) -> None:
        """End the relays, also those yet to begin (nginx's worker_shutdown_timeout, after shutdown())."""
    def stop(self) -> None:
        """Finish at once: sessions are cut (nginx's TERM)."""
    def stats(self) -> dict[str, int]:
        """Counters and gauges: sessions, relaying, accepted, logins, descriptors, buffers, pipes …"""
    def close(self) -> None:
        """Free everything. run() must have returned. May be called twice."""

# The sans-I/O parts, for tests and fuzzers: the same code that the engine runs.

class Dialogue:
    """A client's login dialogue without a socket."""

    def __init__(self, server: Server, *, client: bytes = b"127.0.0.1", salt: bytes = b"") -> None: ...
    def greeting(self) -> bytes: ...
    def feed(self, data: bytes) -> tuple[bytes, str]:
        """Reply bytes, and what is wanted next: "read", "auth", "tls" or "close"."""
    def secured(self) -> None:
        """From now on the client speaks TLS."""
    def auth_request(self) -> bytes:
        """The request for the auth server, once feed() said "auth"."""
    def auth_cached(self, *, now: int = 0) -> tuple[str, bytes, int] | None:
        """What an answer that is kept (``auth_http_cache``) leads to, as auth_answer(). None: ask."""
    def auth_answer(self, header: bytes, *, now: int = 0) -> tuple[str, bytes, int]:
        """(outcome, detail, wait in ms): "proxy" (detail: the upstream's address), "rejected" (detail: the
        reply to the client), "again" or "error"."""
    def resume(self) -> tuple[bytes, str]:
        """Go on after a rejected login with a pause; parses what was pipelined."""
    def upstream(self) -> Upstream: ...
    @property
    def credentials(self) -> tuple[str, bytes, bytes]:
        """(method, login, password) as collected so far."""
    @property
    def log(self) -> list[str]:
        """Messages that would have been logged, without suffix."""
    @property
    def leftover(self) -> bytes:
        """Bytes received but not consumed: they go to the backend when the relay starts."""

class Upstream:
    """The login at the backend without a socket."""

    def feed(self, data: bytes) -> tuple[bytes, str]:
        """Bytes for the backend, and "read", "accepted" or "rejected"."""
    @property
    def reply(self) -> bytes:
        """What the client is sent in the end (backend's reply, or the internal error)."""

def memory_log(memory: Any, line: bytes) -> None:
    """Append to a memory log: a writable buffer whose last 8 bytes count what was ever written, the rest
    being a ring of at least a line. Processes that share it may write at the same time."""

def proxy_header(data: bytes) -> tuple[str, int, tuple[bytes, int, bytes, int] | None]:
    """What a PROXY header at the beginning of ``data`` is: "done", "more", "broken", "version", "large" or
    "short"; its length; and source and destination, if it tells them."""

class AuthAnswer:
    """Parser of the auth server's answer, fed in any pieces."""

    def feed(self, data: bytes) -> str:
        """ "more", "done", or "error"."""
    def fields(self) -> dict[str, Any]:
        """status, server, port, user, password, wait (ms), error_code, as parsed so far."""

class TimerWheel:
    """The engine's timers with a clock of the caller's (milliseconds). ``count`` timers, by number."""

    def __init__(self, count: int, now: int) -> None: ...
    def start(self, number: int, deadline: int) -> None:
        """Arm it, unless it is armed for an earlier time already."""
    def stop(self, number: int) -> None: ...
    def wait(self, now: int) -> int:
        """Milliseconds until advance() has to be called; -1: nothing is armed."""
    def advance(self, now: int) -> list[int]:
        """The numbers of those that fire: due, or in the wheel for as long as it reaches."""

def escape_http(data: bytes) -> bytes:
    """``%HH`` for 0x00-0x20 and ``%``; the rest as it is (nginx's auth_http escaping)."""

def quote_imap(data: bytes) -> bytes | None:
    """An IMAP quoted string (RFC 3501 section 9), or None if it takes a literal."""

def decode_base64(data: bytes) -> bytes | None:
    """nginx's lenient base64: ends at the first ``=``; None if invalid."""

def encode_xtext(data: bytes) -> bytes:
    """xtext (RFC 3461 section 4) as XCLIENT attribute values need it."""
