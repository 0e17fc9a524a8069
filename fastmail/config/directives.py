"""The table of directives: everything that is known about each, in one place.

The parser's checks, the values that load() returns, ``docs/directives.md`` and the test that nothing
is missing are made from it. Times are milliseconds unless the kind says seconds; sizes are bytes.
"""

import resource
from collections.abc import Callable, Iterable

from . import auth_cache, auth_http, error_log, listen, proxy_bind, resolver, session_cache, tls, user, worker
from .defaults import FASTMAIL
from .directive import Arguments, Computed, Directive, Merge, State
from .kinds import (
    FLAG,
    MSEC,
    NUMBER,
    OFFSET,
    PAIRS,
    SEC,
    SIZE,
    STRING,
    STRINGS,
    Kind,
    bitmask,
    enum,
)
from .statement import Context, Environment, Statement

_1, _2 = Arguments(1, 1), Arguments(2, 2)
_1_2, _2_3, _SOME = Arguments(1, 2), Arguments(2, 3), Arguments(1, None)
_BRACES = Arguments(0, 0, block=True)
_MAIN: tuple[Context, ...] = ("main",)
_EVENTS: tuple[Context, ...] = ("events",)
_MAIL: tuple[Context, ...] = ("mail", "server")
_SERVER: tuple[Context, ...] = ("server",)
_ANYWHERE: tuple[Context, ...] = ("main", "events", "mail", "server")
_ONE, _VALUE, _LIST = Merge.NONE, Merge.VALUE, Merge.LIST
_NO_FUNCTION = State.NO_FUNCTION


def _nothing(statement: Statement, previous: object) -> None:
    """The parser itself does what the directive asks for."""


def _pid(environment: Environment) -> str:
    return environment.prefix_path(environment.defaults.pid)


def _lock_file(environment: Environment) -> str:
    return environment.prefix_path(environment.defaults.lock_file)


def _path(statement: Statement, default: Callable[[Environment], str]) -> str:
    """A file relative to the prefix; an empty name is the default's (nginx)."""
    environment = statement.environment
    return environment.prefix_path(statement.words[1]) if statement.words[1] else default(environment)


BLOCK = Kind("block", _nothing)
_PAGE = Computed("page size", lambda environment: resource.getpagesize())
_HOST_NAME = Computed("host name", lambda environment: environment.host_name)
_PIPELINING = Computed("`off` in POP3, `on` in IMAP and SMTP", lambda environment: None)
_NO_LOGS = Computed(f"`{FASTMAIL.error_log} error`", lambda environment: ())
_LOG = Kind("log", error_log.parse, repeats=True)
_NETWORKS = Kind("network", resolver.parse_network, repeats=True)
_TLS_VERSIONS = bitmask("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_MECHANISMS = "plain", "login", "cram-md5", "external"
_ANYHOW = (
    "PLAIN and LOGIN are taken even where they are not offered, as by nginx; the auth server can refuse them."
)


def _foreign(name: str, arguments: Arguments, text: str, kind: Kind = STRINGS) -> Directive:
    return Directive(name, _MAIN, arguments, kind, None, _ONE, text, _NO_FUNCTION)


# fmt: off
MAIN = (
    Directive("user", _MAIN, _1_2, Kind("USER [GROUP]", user.parse),
              Computed("`nobody`, with the group `nobody` or `nogroup`", user.default), _ONE,
              "User and group of the workers; the group defaults to the one named like the user."),
    Directive("worker_processes", _MAIN, _1, Kind("number or auto", worker.parse_processes), 1, _ONE,
              "Workers; `auto` is one per processor online."),
    Directive("worker_cpu_affinity", _MAIN, _SOME, Kind("masks or auto", worker.parse_affinity), (), _ONE,
              "Processors that each worker may run on: a mask for each, or `auto` for one each in turn."),
    Directive("worker_priority", _MAIN, _1, Kind("[+-]number", worker.parse_priority), 0, _ONE,
              "Nice value of the workers."),
    Directive("worker_rlimit_nofile", _MAIN, _1, NUMBER, None, _ONE,
              "Limit of open files, set in each worker."),
    Directive("worker_rlimit_core", _MAIN, _1, OFFSET, None, _ONE,
              "Limit of a core file's size, set in each worker."),
    Directive("worker_shutdown_timeout", _MAIN, _1, MSEC, 0, _ONE,
              "How long relayed sessions may outlive a graceful shutdown; 0: without limit."),
    Directive("working_directory", _MAIN, _1, STRING, None, _ONE,
              "Current directory of the workers."),
    Directive("env", _MAIN, _1, STRINGS, (), _ONE,
              "A variable of the environment that workers and a new binary keep (`TZ` always is), "
              "or its value."),
    Directive("pid", _MAIN, _1, Kind("file", lambda statement, _: _path(statement, _pid)),
              Computed(f"`{FASTMAIL.pid}`", _pid),
              _ONE, "File with the master's process id."),
    Directive("lock_file", _MAIN, _1, Kind("file", lambda statement, _: _path(statement, _lock_file)),
              Computed(f"`{FASTMAIL.lock_file}`", _lock_file),
              _ONE, "Not used on Linux.", _NO_FUNCTION),
    Directive("daemon", _MAIN, _1, FLAG, True, _ONE, "Run in the background."),
    Directive("master_process", _MAIN, _1, FLAG, True, _ONE,
              "Start workers; off: one process does everything, as the user who started it."),
    Directive("error_log", ("main", *_MAIL), _SOME, _LOG, _NO_LOGS, _LIST,
              "File, `stderr`, `syslog:PARAMETERS` or `memory:SIZE`, and the least severe level written to "
              "it: `debug`, `info`, `notice`, `warn`, `error`, `crit`, `alert` or `emerg`; without one, "
              "`error`. Parameters, separated by commas: `server=ADDRESS[:PORT]` or `server=unix:PATH`, "
              "`facility=` (`local7`), `tag=` (`fastmail`), `nohostname`. Where the main context names "
              "neither a file nor `stderr`, the default file is written as well. A level has at most eight. "
              "A memory log is read from `/proc/PID/fd`, where it is called `error_log`."),
    Directive("include", _ANYWHERE, _1, Kind("file or pattern", _nothing, repeats=True), None, _ONE,
              "Read a file, or all that match a pattern, in place."),
    _foreign("load_module", _1, "Modules of nginx are not loaded."),
    Directive("debug_points", _MAIN, _1, enum("stop", "abort"), None, _ONE,
              "A debugging aid of nginx.", _NO_FUNCTION),
    Directive("timer_resolution", _MAIN, _1, MSEC, 0, _ONE, "A coarser clock is not needed.", _NO_FUNCTION),
    _foreign("pcre_jit", _1, "There are no regular expressions in a mail proxy.", FLAG),
    _foreign("thread_pool", _2_3, "Relaying needs no thread pool.",
             Kind("name, threads", worker.parse_thread_pool, repeats=True)),
    Directive("ssl_engine", _MAIN, _1, Kind("engine", tls.parse_engine), None, _ONE,
              "An OpenSSL engine that does all it can do."),
    Directive("ssl_object_cache_inheritable", _MAIN, _1, FLAG, True, _ONE,
              "A reload reads all certificates again.", _NO_FUNCTION),
    _foreign("google_perftools_profiles", _1, "nginx's profiler."),
    _foreign("quic_bpf", _1, "For HTTP/3.", FLAG),
    Directive("events", _MAIN, _BRACES, BLOCK, None, _ONE, "How connections are handled; required."),
    Directive("mail", _MAIN, _BRACES, BLOCK, None, _ONE, "The mail proxy."),
    *(
        Directive(name, _MAIN, _BRACES, BLOCK, None, _ONE,
                  "Read over with a warning: this is a mail proxy.", _NO_FUNCTION, warns=True)
        for name in ("http", "stream", "rtmp", "mgmt")
    ),
)

EVENTS = (
    Directive("worker_connections", _EVENTS, _1, Kind("number", worker.parse_connections), 512, _ONE,
              "Connections of one worker: listening sockets, clients, auth servers and backends together."),
    Directive("use", _EVENTS, _1, Kind("epoll", worker.parse_event_method), "epoll", _ONE,
              "Event method; there is only `epoll`."),
    Directive("multi_accept", _EVENTS, _1, FLAG, False, _ONE, "Accept all waiting connections at once."),
    Directive("accept_mutex", _EVENTS, _1, FLAG, False, _ONE, "The kernel wakes one worker.", _NO_FUNCTION),
    Directive("accept_mutex_delay", _EVENTS, _1, MSEC, 500, _ONE,
              "Pause before accepting again when descriptors have run out."),
    Directive("debug_connection", _EVENTS, _1, _NETWORKS, (), _ONE,
              "Clients (address, `ADDRESS/BITS`, name or `unix:`) whose sessions are logged at every level, "
              "whatever `error_log` says."),
    Directive("epoll_events", _EVENTS, _1, NUMBER, 512, _ONE, "The engine chooses.", _NO_FUNCTION),
    Directive("worker_aio_requests", _EVENTS, _1, NUMBER, 32, _ONE, "For files.", _NO_FUNCTION),
)

CORE = (
    Directive("server", ("mail",), _BRACES, BLOCK, None, _ONE, "A proxy of one protocol; repeatable."),
    Directive("listen", _SERVER, _SOME, Kind("address, parameters", listen.parse, repeats=True), (), _ONE,
              "An address to accept on: `PORT` (IPv4 only), `ADDRESS:PORT`, `[IPV6]:PORT`, `NAME:PORT` or "
              "`unix:PATH`. Parameters: `bind`, `backlog=N` (511), `rcvbuf=SIZE`, `sndbuf=SIZE`, "
              "`ipv6only=on|off` (`on`), `so_keepalive=on|off|[idle]:[intvl]:[cnt]`, `multipath` and "
              "`proxy_protocol`, and `ssl`: TLS from the first byte."),
    Directive("protocol", _SERVER, _1,
              Kind("imap, pop3 or smtp", worker.parse_protocol, repeats=True),
              Computed("by port", lambda environment: None), _ONE,
              "The protocol; ports 143, 993, 110, 995, 25, 465 and 587 suggest theirs."),
    Directive("server_name", _MAIL, _1, STRING, _HOST_NAME, _VALUE,
              "Our name in greetings, in challenges and towards SMTP backends; empty: the host name."),
    Directive("timeout", _MAIL, _1, MSEC, 60_000, _VALUE,
              "How long a login may take in all, from the greeting on; and again for the backend's part."),
    Directive("max_errors", _MAIL, _1, NUMBER, 5, _VALUE,
              "Syntax errors after which a session is closed."),
    Directive("max_commands", _MAIL, _1, NUMBER, 1000, _VALUE,
              "Commands, SASL responses among them, that a session may send before its login succeeds; one "
              "more closes it. An addition of fastmail that freenginx and Angie have too."),
    Directive("max_auth_attempts", _MAIL, _1, NUMBER, 1, _VALUE,
              "Ends a session at its Nth login, if that is refused without `Auth-Wait`. Refusals before it "
              "are held back for 1, 2, 4, 8 and then 16 seconds; then the client may try again, within a new "
              "`timeout`. A refusal with `Auth-Wait` never ends a session. Not in nginx."),
    Directive("resolver", _MAIL, _SOME, Kind("servers or off", resolver.parse_resolver), None, _VALUE,
              "Name servers (`ADDRESS[:PORT]`) for the host names of SMTP clients, which are told to auth "
              "server and backend. `valid=TIME` is how long an answer holds, whatever it says itself; "
              "`ipv4=off` and `ipv6=off` leave out the addresses of one kind."),
    Directive("resolver_timeout", _MAIL, _1, MSEC, 30_000, _VALUE,
              "How long one lookup may take; a client's name takes two."),
)

AUTH_HTTP = (
    Directive("auth_http", _MAIL, _1, Kind("URL", auth_http.parse, repeats=True), None, _VALUE,
              "The HTTP server that is asked; required: `[http://]HOST[:PORT][/URI]`, `unix:PATH[:/URI]`, or "
              "`https://HOST[:PORT][/URI]`, which is an addition of fastmail. A name is looked up when the "
              "configuration is read, and its first address taken."),
    Directive("auth_http_timeout", _MAIL, _1, MSEC, 60_000, _VALUE,
              "How long its answer may take."),
    Directive("auth_http_header", _MAIL, _2, PAIRS, (), _LIST, "A header to add to requests."),
    Directive("auth_http_pass_client_cert", _MAIL, _1, FLAG, False, _VALUE,
              "Send the client's certificate along, in `Auth-SSL-Cert`."),
    Directive("auth_http_keepalive", _MAIL, _1, NUMBER, 0, _VALUE,
              "Idle connections that each worker keeps to the server, with HTTP/1.1; 0: HTTP/1.0 and a "
              "connection for each request, as nginx does. 4 suits most servers; see "
              "[auth.md](auth.md#keeping-connections). Not in nginx."),
    Directive("auth_http_keepalive_time", _MAIL, _1, MSEC, 250, _VALUE,
              "How long a connection is kept after it was opened. This bounds how long it occupies a process "
              "of a server that has one for each connection. With other servers, a longer time saves round "
              "trips when logins are rare. Not in nginx."),
    Directive("auth_http_cache", _MAIL, _SOME, Kind("zone, times or off", auth_cache.parse),
              Computed("off", lambda environment: None), _VALUE,
              "`zone=NAME:SIZE [valid=TIME] [invalid=TIME]`: keep answers in memory that workers share. Who "
              "logs in again in the same way is let in for `valid` (1m) or refused for `invalid` (10s) "
              "without asking the server; 0 keeps none. A reload forgets them. An addition of fastmail; see "
              "[kept answers](security.md#kept-answers)."),
    Directive("auth_http_ssl_verify", _MAIL, _1, FLAG, True, _VALUE,
              "Check the certificate of an `https://` server. An addition of fastmail, as the next four."),
    Directive("auth_http_ssl_trusted_certificate", _MAIL, _1, STRING, None, _VALUE,
              "File of CAs for it; without, the system's."),
    Directive("auth_http_ssl_certificate", _MAIL, _1, STRING, None, _VALUE,
              "File with our certificate, if it asks for one."),
    Directive("auth_http_ssl_certificate_key", _MAIL, _1, STRING, None, _VALUE, "Its key, not encrypted."),
    Directive("auth_http_ssl_name", _MAIL, _1, STRING, None, _VALUE,
              "The name that its certificate must have, and that is sent (SNI); without, the URL's host."),
    Directive("auth_http_transport", _MAIL, _1, enum("engine", "aiohttp"), "engine", _VALUE,
              "Who carries `http://` requests; `https://` is always aiohttp's. An addition of fastmail."),
)

IMAP = (
    Directive("imap_auth", _MAIL, _SOME, bitmask(*_MECHANISMS), ("plain",), _LIST,
              f"Mechanisms offered. {_ANYHOW}"),
    Directive("imap_capabilities", _MAIL, _SOME, STRINGS, ("IMAP4", "IMAP4rev1", "UIDPLUS"), _LIST,
              "Capabilities offered, besides those of mechanisms and TLS."),
    Directive("imap_id", _MAIL, _1, FLAG, True, _VALUE,
              "Answers ID (RFC 2971) before login with `* ID NIL`, whatever the client says; off: it "
              "is an invalid command, as in nginx. Not in nginx."),
    Directive("imap_client_buffer", _MAIL, _1, SIZE, _PAGE, _VALUE, "Longest command; at most 4m."),
)

POP3 = (
    Directive("pop3_auth", _MAIL, _SOME, bitmask("plain", "apop", "cram-md5", "external"), ("plain",), _LIST,
              f"Mechanisms offered; `plain` is USER/PASS, AUTH PLAIN and AUTH LOGIN. {_ANYHOW}"),
    Directive("pop3_capabilities", _MAIL, _SOME, STRINGS, ("TOP", "USER", "UIDL"), _LIST,
              "Capabilities offered, besides those of mechanisms and TLS."),
)

SMTP = (
    Directive("smtp_auth", _MAIL, _SOME, bitmask(*_MECHANISMS, "none"), ("plain", "login"), _LIST,
              "Mechanisms offered; `none` lets mail in without authentication, even before the STARTTLS of "
              f"`starttls only`. {_ANYHOW}"),
    Directive("smtp_capabilities", _MAIL, _SOME, STRINGS, (), _LIST,
              "Extensions offered, besides those of mechanisms and TLS."),
    Directive("smtp_client_buffer", _MAIL, _1, SIZE, _PAGE, _VALUE, "Longest command; at most 4m."),
    Directive("smtp_greeting_delay", _MAIL, _1, MSEC, 0, _VALUE,
              "Pause before the greeting; who speaks during it is rejected."),
)

PROXY = (
    Directive("proxy_buffer", _MAIL, _1, SIZE, _PAGE, _VALUE,
              "Buffer from backend to client, and longest reply of the backend's login; at most 4m."),
    Directive("proxy_timeout", _MAIL, _1, MSEC, 86_400_000, _VALUE,
              "How long a client may be silent once it is logged in."),
    Directive("proxy_pass_error_message", _MAIL, _1, FLAG, False, _VALUE,
              "Let the client see why the backend refused the login."),
    Directive("proxy_protocol", _MAIL, _1, enum("off", "on", "v2"), "off", _VALUE,
              "PROXY header towards the backend: version 1 (`on`) or 2."),
    Directive("proxy_smtp_auth", _MAIL, _1, FLAG, False, _VALUE,
              "Log in at the SMTP backend with AUTH PLAIN."),
    Directive("proxy_preconnect", _MAIL, _1, FLAG, False, _VALUE,
              "Connect to the backend that this user had last while the auth server is still being asked, "
              "and drop the connection, unused, if it names another. Who tries passwords then makes "
              "connections to backends. Each worker remembers 4096 users per server. An addition of "
              "fastmail."),
    Directive("proxy_pipelining", _MAIL, _1, FLAG, _PIPELINING, _VALUE,
              "Sends a backend several commands at once instead of waiting for each reply: USER with PASS to "
              "POP3 backends, which must all have PIPELINING (RFC 2449); MAIL with RCPT to SMTP backends "
              "that offer PIPELINING, and LOGIN with its literals to IMAP backends that offer LITERAL+. An "
              "addition of fastmail."),
    Directive("proxy_socket_keepalive", _MAIL, _1, FLAG, False, _VALUE,
              "Enables TCP keepalive (`SO_KEEPALIVE`) on connections to backends, as in nginx's `http` and "
              "`stream`. The intervals are the system's (`net.ipv4.tcp_keepalive_time`). An addition of "
              "fastmail."),
    Directive("xclient", _MAIL, _1, FLAG, True, _VALUE, "Tell the SMTP backend about the client (XCLIENT)."),
    Directive("proxy_bind", _MAIL, _SOME, Kind("addresses or off", proxy_bind.parse), (), _VALUE,
              "Local addresses, with or without a port, to connect to backends from: those of the backend's "
              "family in turn; one that is not local or has no port left is passed over. An addition of "
              "fastmail."),
    Directive("proxy", _MAIL, _1, FLAG, False, _VALUE, "Has no effect in nginx either.", _NO_FUNCTION),
)

PROXY_SSL = (
    Directive("proxy_ssl", _MAIL, _1, FLAG, False, _VALUE,
              "Speak TLS to backends from the first byte. An addition of fastmail, as all that follow here; "
              "they are spelled as in nginx's `stream`."),
    Directive("proxy_ssl_starttls", _MAIL, _1, FLAG, False, _VALUE,
              "Speak TLS to backends after STARTTLS (POP3: STLS); one that does not offer it is an error. "
              "nginx has it nowhere."),
    Directive("proxy_ssl_verify", _MAIL, _1, FLAG, False, _VALUE, "Check their certificates."),
    Directive("proxy_ssl_verify_depth", _MAIL, _1, NUMBER, 1, _VALUE, "Longest chain of their certificates."),
    Directive("proxy_ssl_name", _MAIL, _1, STRING, None, _VALUE,
              "The name that certificates must have; without it, the address that the auth server gave."),
    Directive("proxy_ssl_server_name", _MAIL, _1, FLAG, False, _VALUE, "Send the name along (SNI)."),
    Directive("proxy_ssl_trusted_certificate", _MAIL, _1, STRING, None, _VALUE,
              "File of CAs for backends; required to check certificates."),
    Directive("proxy_ssl_crl", _MAIL, _1, STRING, None, _VALUE, "File of revoked certificates."),
    Directive("proxy_ssl_certificate", _MAIL, _1, STRING, None, _VALUE,
              "Our certificate for backends that ask: a file or `data:`."),
    Directive("proxy_ssl_certificate_key", _MAIL, _1, STRING, None, _VALUE,
              "Its key: a file, `data:`, `engine:ID:KEY` or `store:URI`."),
    Directive("proxy_ssl_password_file", _MAIL, _1, Kind("file", tls.parse_password_file), None, _VALUE,
              "Passphrases of the key, one per line, tried in turn."),
    Directive("proxy_ssl_protocols", _MAIL, _SOME, _TLS_VERSIONS, ("TLSv1.2", "TLSv1.3"), _LIST,
              "Versions of TLS."),
    Directive("proxy_ssl_ciphers", _MAIL, _1, STRING, "DEFAULT", _VALUE, "Ciphers of TLS 1.2 and older."),
    Directive("proxy_ssl_conf_command", _MAIL, _2, PAIRS, (), _LIST,
              "A command of OpenSSL's SSL_CONF_cmd()."),
    Directive("proxy_ssl_session_reuse", _MAIL, _1, FLAG, True, _VALUE,
              "Resume TLS sessions with backends; each worker keeps those of 64 addresses per server."),
)

REALIP = (
    Directive("set_real_ip_from", _MAIL, _1, _NETWORKS, (), _LIST,
              "Peers (address, `ADDRESS/BITS`, name or `unix:`) whose PROXY header (`listen … "
              "proxy_protocol`) is believed: its address is then the client's."),
)


def _ssl(name: str, arguments: Arguments, kind: Kind, default: object, text: str) -> Directive:
    merge = _LIST if kind.repeats and name != "ssl_session_cache" else _VALUE  # of which the last one counts
    return Directive(name, _MAIL, arguments, kind, default, merge, text)


SSL = (
    _ssl("ssl", _1, Kind("flag", tls.parse_ssl), False,
         "Speaks TLS from the first byte on every address of the server. Deprecated, with a warning: use the "
         "`ssl` parameter of `listen`. nginx 1.25.1 removed it."),
    _ssl("starttls", _1, Kind("enum", tls.parse_starttls, choices=tls.STARTTLS.choices), "off",
         "STARTTLS (POP3: STLS): offered, or required before a login."),
    _ssl("ssl_certificate", _1, STRINGS, (),
         "Certificate and chain: a file, or `data:` and PEM. Of several, each client gets one of a type it "
         "can use; of several of one type, the one whose names match its SNI, else the last."),
    _ssl("ssl_certificate_key", _1, STRINGS, (),
         "Its key: a file, `data:` and PEM, `engine:ID:KEY` or `store:URI`."),
    _ssl("ssl_certificate_reload", _1, Kind("on, off or time", tls.parse_reload),
         Computed("on", lambda environment: tls.RELOAD),
         "How often certificate and key files are looked at: changed ones are taken without a reload, once "
         "they have stayed the same for as long again; `on` is 10s. An addition of fastmail."),
    _ssl("ssl_password_file", _1, Kind("file", tls.parse_password_file), None,
         "Passphrases of keys, one per line, tried in turn."),
    _ssl("ssl_certificate_compression", _1, FLAG, False,
         "Send certificates compressed (RFC 8879); needs OpenSSL 3.2."),
    _ssl("ssl_dhparam", _1, STRING, None, "Parameters for DHE ciphers, which are not used without."),
    _ssl("ssl_ecdh_curve", _1, STRING, "auto", "Groups for the key exchange, separated by `:`; or `auto`."),
    _ssl("ssl_protocols", _SOME, _TLS_VERSIONS, ("TLSv1.2", "TLSv1.3"), "Versions of TLS."),
    _ssl("ssl_ciphers", _1, STRING, "HIGH:!aNULL:!MD5", "Ciphers of TLS 1.2 and older."),
    _ssl("ssl_prefer_server_ciphers", _1, FLAG, False, "Our order of ciphers counts, not the client's."),
    _ssl("ssl_session_cache", _1_2, Kind("store", session_cache.parse, repeats=True),
         Computed("none", lambda environment: session_cache.SessionCache(mode="none")),
         "Where sessions are kept for resumption: `off`, `none`, `builtin[:SESSIONS]` (of each worker), "
         "`shared:NAME:SIZE` (of all, and over a reload)."),
    _ssl("ssl_session_tickets", _1, FLAG, True, "Resumption by tickets, which clients keep (RFC 5077)."),
    _ssl("ssl_session_ticket_key", _1, STRINGS, (),
         "File of 48 or 80 bytes: the first encrypts tickets, all decrypt them."),
    _ssl("ssl_session_timeout", _1, SEC, 300, "How long a session can be resumed."),
    _ssl("ssl_verify_client", _1, enum("off", "on", "optional", "optional_no_ca"), "off",
         "Ask clients for a certificate: required and good; good if there is one; or of any authority."),
    _ssl("ssl_verify_depth", _1, NUMBER, 1, "Longest chain of a client's certificate."),
    _ssl("ssl_client_certificate", _1, STRING, None, "File of CAs for clients, named to them."),
    _ssl("ssl_trusted_certificate", _1, STRING, None, "File of CAs for clients, not named to them."),
    _ssl("ssl_crl", _1, STRING, None, "File of revoked client certificates."),
    _ssl("ssl_conf_command", _2, PAIRS, (), "A command of OpenSSL's SSL_CONF_cmd(), as `Options KTLS`."),
)

SECTIONS: dict[str, tuple[Directive, ...]] = {
    "Main": MAIN,
    "Events": EVENTS,
    "Mail: core": CORE,
    "Mail: auth_http": AUTH_HTTP,
    "Mail: IMAP": IMAP,
    "Mail: POP3": POP3,
    "Mail: SMTP": SMTP,
    "Mail: proxy": PROXY,
    "Mail: proxy, TLS": PROXY_SSL,
    "Mail: client addresses": REALIP,
    "Mail: TLS": SSL,
}


def _all() -> Iterable[Directive]:
    for section in SECTIONS.values():
        yield from section


TABLE: dict[str, Directive] = {directive.name: directive for directive in _all()}
