"""What fastmail does otherwise than nginx's mail proxy, and for which configurations that can matter.

``docs/differences.md`` is written from here: ``python -m fastmail.migrate.differences [FILE]``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastmail.config import Configuration, ServerConfiguration

Matters = Callable[[Configuration], bool]


@dataclass(frozen=True)
class Difference:
    """``text`` is Markdown; ``matters`` is whether a configuration that nginx runs can show it."""

    text: str
    matters: Matters


def always(configuration: Configuration) -> bool:
    return True


def never(configuration: Configuration) -> bool:
    """Additions, and what does not depend on a configuration or cannot be in one that nginx runs."""
    return False


def servers(test: Callable[[ServerConfiguration], bool]) -> Matters:
    """It matters if it does for one of the servers."""
    return lambda configuration: any(map(test, configuration.servers))


def protocol(name: str) -> Matters:
    return servers(lambda server: server.protocol == name)


def mechanisms(server: ServerConfiguration) -> set[str]:
    return set(server[f"{server.protocol}_auth"])


tls = servers(lambda server: server.tls is not None)
syslog = servers(lambda server: any(log.syslog for log in server.error_log))
client_names = servers(lambda server: server.protocol == "smtp" and server["resolver"] is not None)

INTRODUCTION = (
    "# Differences from nginx\n\nWhat fastmail is meant to do otherwise than nginx's mail proxy, and why. The nginx it is\n"
    "tested against is Debian's: 1.22 in Debian 12, 1.26 in Debian 13.\n"
)
SECTIONS: dict[str, tuple[str, tuple[Difference, ...]]] = {
    "What clients notice": (
        "`tests/differential/differences.py` has the bytes.",
        (
            Difference(
                """\
**Bursts of commands** longer than the buffer (POP3: 128 bytes) are answered in full. nginx ends the session where a
command lies over the buffer's end. One command longer than the buffer ends the session here as well.
""",
                always,
            ),
            Difference(
                """\
**IMAP**: `{0}` is an empty string, which nginx cannot read. A quoted string that its line does not end leaves no trace
in the next command. A reply to a line without a tag begins with `*`, never with bytes of an earlier line; a SASL
response that cannot be decoded is answered with the command's tag.
""",
                protocol("imap"),
            ),
            Difference(
                """\
**An internal error** reaches IMAP clients as `TAG NO [UNAVAILABLE] internal server error` (RFC 5530), followed by
`* BYE`; nginx sends an untagged `* BAD`, which leaves the command unanswered. POP3 clients get
`-ERR [SYS/TEMP] internal server error` (RFC 3206) where `pop3_capabilities` lists `RESP-CODES`.
""",
                servers(lambda server: server.protocol != "smtp"),
            ),
            Difference(
                """\
**The end of a session** is announced, in the same write as the last reply: `* BYE …` to IMAP clients, `421 …` to SMTP
clients, after a refused login, too many errors or commands, and a command that is too long. nginx closes without a word.
POP3 has no reply for it. `max_auth_attempts` lets clients try again instead.
""",
                servers(lambda server: server.protocol != "pop3"),
            ),
            Difference(
                """\
**A mechanism that is not offered** is refused with `TAG NO`, `-ERR Unsupported authentication mechanism` or `504`; to nginx
it is an invalid command. POP3 clients may send AUTH and its responses in lines of 4096 bytes (RFC 5034; nginx: 128).
""",
                always,
            ),
            Difference(
                """\
**IMAP tags** may have every character of RFC 9051, and 128 of them; nginx takes 32 letters, digits, `-`, `.` and `_`.
""",
                protocol("imap"),
            ),
            Difference(
                """\
**ID before login** is answered with `* ID NIL` (`imap_id off`: it is an invalid command, as to nginx).
""",
                protocol("imap"),
            ),
            Difference(
                """\
**Literals of bad IMAP commands** are skipped, up to 64 kB in a command, wherever they stand; nginx closes the session
after one that does not wait (`{5+}`), or reads its bytes as commands.
""",
                protocol("imap"),
            ),
            Difference(
                """\
**A login in plain text under `starttls only`** is answered with `TAG BAD [PRIVACYREQUIRED] …` (RFC 5530),
`-ERR Must issue a STLS command first` or `530 5.7.0 Must issue a STARTTLS command first` (RFC 3207), MAIL as well, and
counts for `max_errors`; nginx says "invalid command", uncounted.
""",
                servers(lambda server: server["starttls"] == "only"),
            ),
            Difference(
                """\
**A client that is silent for `timeout`** gets `* BYE` or `421 4.4.2` before the session ends; nginx closes without a word,
as RFC 1939 wants it for POP3.
""",
                servers(lambda server: server.protocol != "pop3"),
            ),
            Difference(
                """\
**EXTERNAL** with an initial response is refused, as without one, where `*_auth` does not list it.
""",
                servers(lambda server: "external" not in mechanisms(server)),
            ),
            Difference(
                """\
**SMTP**: commands pipelined behind a MAIL that is refused with 530 are executed whatever the log level.
""",
                servers(lambda server: server.protocol == "smtp" and "none" not in mechanisms(server)),
            ),
            Difference(
                """\
**max_commands** (1000 by default, also in freenginx and Angie) ends sessions that send commands without end.
""",
                always,
            ),
            Difference(
                """\
**A client that resets the connection** during `Auth-Wait` ends the pause; nginx waits for nobody.
""",
                always,
            ),
            Difference(
                """\
**A PROXY header** may come in pieces.
""",
                servers(lambda server: any(listen.proxy_protocol for listen in server.listens)),
            ),
        ),
    ),
    "What auth servers notice": (
        "",
        (
            Difference(
                """\
**The password of an earlier attempt** is not sent with EXTERNAL. A repeated request after `Auth-Status: WAIT` carries
the digest again, where nginx sends an empty one.
""",
                servers(lambda server: bool(mechanisms(server) & {"external", "apop", "cram-md5"})),
            ),
            Difference(
                """\
**`Auth-Status: WAIT`**: each answer stands for itself, and a missing or zero `Auth-Wait` is one second; nginx
would ask in an endless loop.
""",
                always,
            ),
            Difference(
                """\
**`Auth-Wait`** is at most a day.
""",
                always,
            ),
            Difference(
                """\
**Answers** of up to 4096 bytes are read (nginx: 1024); one that is longer is logged as `sent too long header in
response`, where nginx leaves its operator guessing.
""",
                always,
            ),
            Difference(
                """\
**A backend that is the proxy itself**, the listener that the client has connected to, ends the login with `upstream is
this proxy itself` in the log; nginx logs in to itself over and over until no connections are left. Another listener of
the proxy may be a backend; each worker warns of it once.
""",
                always,
            ),
            Difference(
                """\
**`auth_http` with a name** that has several addresses (`localhost` often has `::1` and `127.0.0.1`): if one cannot be
connected to, the next is asked; nginx asks the first alone.
""",
                servers(lambda server: len(server.auth_http.addresses) > 1),
            ),
            Difference(
                """\
**Header names** may have every character that HTTP allows, `_` too, which nginx takes for an invalid header.
""",
                always,
            ),
            Difference(
                """\
**`Auth-Server: unix:PATH`** is an addition, and needs no `Auth-Port`.
""",
                never,
            ),
            Difference(
                """\
**`auth_http_keepalive`**, `auth_http_transport`, `https://` and `auth_http_ssl_*` are additions. Without them the request is nginx's to
the byte.
""",
                never,
            ),
            Difference(
                """\
**`auth_http_cache`** is an addition: while an answer is kept, the same login does not reach the auth server.
""",
                never,
            ),
        ),
    ),
    "What backends notice": (
        "",
        (
            Difference(
                """\
**IMAP logins** come in one line, `LOGIN "user" "password"`, if both are ASCII without quotes and backslashes and the
line is short enough; otherwise in literals, as nginx sends them, which need no go-ahead if the backend's greeting
offers LITERAL+ (`proxy_pipelining off` waits for it). It saves two round trips.
""",
                protocol("imap"),
            ),
            Difference(
                """\
**SMTP envelopes** without a login: MAIL and RCPT come together if the backend's last EHLO reply offers PIPELINING;
`proxy_pipelining off` sends them one after the other.
""",
                servers(lambda server: server.protocol == "smtp" and "none" in mechanisms(server)),
            ),
            Difference(
                """\
**`proxy_pipelining on`** in POP3 (USER and PASS together), **`proxy_preconnect`** (connecting before the auth server
has answered) and **`proxy_socket_keepalive`** are additions, and off.
""",
                never,
            ),
            Difference(
                """\
**Replies** are taken line by line, so that the outcome does not depend on packets. Any number of untagged lines may
stand before IMAP's tagged one. What a backend sends behind its last login reply reaches the client.
""",
                always,
            ),
            Difference(
                """\
**After a refusal** with `proxy_pass_error_message on` the client gets the reply that was judged, not what
may follow it. A `* BYE` from an IMAP backend ends the login at once, and its text also becomes the tagged `NO` to the
client's command.
""",
                servers(lambda server: bool(server["proxy_pass_error_message"])),
            ),
            Difference(
                """\
**CR, LF and NUL** in a login or password are not sent to POP3 backends, nor NUL in AUTH PLAIN to SMTP backends: they
would begin another command, or another field. The client gets the internal error.
""",
                servers(lambda server: server.protocol == "pop3" or server["proxy_smtp_auth"]),
            ),
            Difference(
                """\
**SMTP senders without a login** hear a permanent refusal (5yz) of their MAIL, of their HELO or EHLO, or of their
address (554 to XCLIENT) from the backend, `proxy_pass_error_message` or not. nginx answers 451, and they try again for
days.
""",
                servers(lambda server: server.protocol == "smtp" and "none" in mechanisms(server)),
            ),
            Difference(
                """\
**HELO or EHLO with an address literal** that the backend refuses for good is sent again with `server_name`; nginx
ends the session with 451.
""",
                servers(lambda server: server.protocol == "smtp" and bool(server["xclient"])),
            ),
            Difference(
                """\
**PROXY headers of version 1** name one family: where the client and the address that it connected to have different
ones, the IPv4 address is sent mapped (`::ffff:192.0.2.1`), as in version 2. nginx sends both as they are, which
Dovecot, Postfix and HAProxy refuse. If a proxy in front came over a unix socket, the header names the destination
that it gave; nginx sends UNKNOWN.
""",
                servers(lambda server: server["proxy_protocol"] != "off"),
            ),
            Difference(
                """\
**LOGIN in XCLIENT** is xtext (as with nginx from 1.29.2 on).
""",
                servers(lambda server: server.protocol == "smtp" and bool(server["xclient"])),
            ),
            Difference(
                """\
**`proxy_bind`** in `mail` and `server` is an addition.
""",
                never,
            ),
            Difference(
                """\
**`proxy_ssl`** and what belongs to it, spelled as in nginx's `stream`, and `proxy_ssl_starttls` are additions. Where
`proxy_ssl_name` is not set, certificates must name the address that the auth server gave; nginx cannot check one.
What a backend says in clear where TLS is due is never handed on, `proxy_pass_error_message` or not.
""",
                never,
            ),
        ),
    ),
    "TLS with clients": (
        "",
        (
            Difference(
                """\
**Several certificates of one key type** are chosen by the name that the client asks for (SNI); nginx has no use for
it in mail. Who names nothing, or nobody, gets the last one, as with nginx.
""",
                servers(lambda server: len(server["ssl_certificate"]) > 1),
            ),
            Difference(
                """\
**Renewed certificates** are taken without a reload (`ssl_certificate_reload`, an addition that is on).
""",
                tls,
            ),
            Difference(
                """\
**Sessions** are not resumed where the rules for client certificates are others, be they as alike as two files of CAs
that are not named to clients.
""",
                servers(lambda server: server["ssl_verify_client"] != "off"),
            ),
            Difference(
                """\
**One ticket** is sent in TLS 1.3, where nginx sends two. It may be used for several connections, as nginx's may.
""",
                tls,
            ),
            Difference(
                """\
**The last records of a handshake** go out with the greeting, and close_notify with the last reply, in one segment.
nginx sends each for itself, and the second waits for the client's delayed acknowledgement.
""",
                tls,
            ),
        ),
    ),
    "What readers of logs notice": (
        "",
        (
            Difference(
                """\
**Certificates that have expired**, or are not valid yet, are loaded with a warning, also in a chain and where backends
and auth servers are shown one; nginx says nothing.
""",
                never,
            ),
            Difference(
                """\
**TLS peers that make work** and send no data are cut off, with a line: more than 64 messages in a row before the login, or
more session tickets or requests to renegotiate after it, or 256 kB of a handshake. nginx goes on.
""",
                never,
            ),
            Difference(
                """\
**`data:`** certificates and keys are not shown in error messages.
""",
                servers(lambda server: any(key.startswith("data:") for key in server["ssl_certificate_key"])),
            ),
            Difference(
                """\
**`session ended: …`** says who ended a session before its relay, how and why, where nginx is silent, or where its line
lacks the server or the level. `docs/operations.md` lists the reasons.
""",
                always,
            ),
            Difference(
                """\
**Refusals by a backend** of what the client has not said (its greeting, a PROXY header, EHLO, XCLIENT) are errors with
`proxy_pass_error_message on` too.
""",
                servers(lambda server: bool(server["proxy_pass_error_message"])),
            ),
            Difference(
                """\
**Answers of the auth server** that cannot be used are logged with their HTTP status, unless that is 200, and with the
name of the header that is invalid.
""",
                always,
            ),
            Difference(
                """\
**Control characters** in quoted values appear as `\\xHH`. nginx writes them as they are, and a login with a line end
in it forges lines that have others banned.
""",
                always,
            ),
            Difference(
                """\
**Arguments that may be passwords** are left out of "client sent too long command", of the 530 line, of the line about
early talkers and of "broken header".
""",
                always,
            ),
            Difference(
                """\
**Alerts** about connections, descriptors and `worker_connections` come once a second at most.
""",
                always,
            ),
            Difference(
                """\
**TLS**: a handshake that fails through what the client sent is level info, whatever the reason; nginx lists reasons and
logs others as crit.
""",
                tls,
            ),
            Difference(
                """\
**Connection numbers** count clients only: `*1`, `*2`, `*3`.
""",
                always,
            ),
            Difference(
                """\
**`debug_connection`**: an IPv4-mapped client is in IPv4 networks.
""",
                lambda configuration: bool(configuration.events["debug_connection"]),
            ),
        ),
    ),
    "The resolver": (
        "",
        (
            Difference(
                """\
A question goes out from a port of its own with an id of its own, without a cache in c-ares.
""",
                client_names,
            ),
            Difference(
                """\
A server that refuses a question's packet (ICMP) is left at once for the next one; after all have, a pause.
""",
                client_names,
            ),
            Difference(
                """\
A worker looks for the names of 1024 addresses at a time, of 64 in one network (IPv4 /24, IPv6 /48); clients from
others are `[TEMPUNAVAIL]` at once. All clients of one address wait for one lookup, which ends when none is left.
""",
                client_names,
            ),
            Difference(
                """\
FORMERR ends a lookup at once; nginx runs into its timeout.
""",
                client_names,
            ),
            Difference(
                """\
Names in log lines are written as c-ares writes them, unprintable bytes as `\\DDD`.
""",
                client_names,
            ),
            Difference(
                """\
A host name is checked before anything is done with it (as with nginx from 1.29.7 on).
""",
                client_names,
            ),
        ),
    ),
    "Configuration and command line": (
        "`tests/differential/configurations_differences.py` has the messages.",
        (
            Difference(
                """\
**Blocks of other modules** (`http`, `stream`, `rtmp`, `mgmt`) are read over with a warning: fastmail is a mail
proxy, and a shared `nginx.conf` should load.
""",
                lambda configuration: any(ignored.block for ignored in configuration.ignored),
            ),
            Difference(
                """\
**`ssl on`** is taken with the warning of nginx 1.25.0 and older; newer ones refuse it. For directives that nginx
removed long ago, the error names what replaces them.
""",
                servers(lambda server: bool(server["ssl"])),
            ),
            Difference(
                """\
**`load_module`** loads nothing: the mail module is part of fastmail. Its directives are known without it, and a
module that does not exist or is named twice is no error. `google_perftools_profiles` and `quic_bpf` are accepted
whichever way nginx was built.
""",
                lambda configuration: any(
                    ignored.words[0] == "load_module" for ignored in configuration.ignored
                ),
            ),
            Difference(
                """\
**A syslog server** that cannot be reached is named when the configuration is read, by `-t` as well, and then no more;
nginx says so when it logs.
""",
                syslog,
            ),
            Difference(
                """\
**A log that nobody reads** (a pipe, a FIFO, a terminal, a syslog socket) stops nginx, and nothing here: lines that it
has no room for are lost, and their number is logged later (`12 log lines lost`). So is the number of those that a full
disk has refused.
""",
                always,
            ),
            Difference(
                """\
**Symbolic links** that belong to another user than root are not followed when root opens a log or the pid file, and
reopening gives the workers' user no file that belongs to anybody else or has a second name. nginx follows any link and
gives away what it leads to.
""",
                never,
            ),
            Difference(
                """\
**`imap_client_buffer`, `smtp_client_buffer` and `proxy_buffer`** have at most 4 MB, and a level at most eight
`error_log`; nginx has no such bounds.
""",
                never,
            ),
            Difference(
                """\
**`--help`, `--version`, `--pid`, `--error-log`**, `fastmail demo` and `fastmail migrate` are additions.
""",
                never,
            ),
            Difference(
                """\
**`-V`** says whether OpenSSL is linked statically, and names Python's as well, which is towards `https://` auth
servers ([openssl.md](openssl.md)).
""",
                never,
            ),
            Difference(
                """\
**`start-stop-daemon --exec`** compares the running program's file, which is the Python interpreter: it does not notice
that fastmail already runs. A second start then fails because its addresses are in use. `--pidfile`
and `--name` work, and with them Debian's init script and systemd unit.
""",
                never,
            ),
            Difference(
                """\
**The thread's number** in a log line (`123#0:`) is always 0, as with an nginx without threads; Debian's repeats the
process id (`123#123:`).
""",
                always,
            ),
        ),
    ),
    "Sockets": (
        "",
        (
            Difference(
                """\
**`bind` beside a wildcard** of the same port works, each on a socket of its own; nginx fails with "Address already in
use" when it starts.
""",
                never,
            ),
        ),
    ),
    "Processes": (
        "",
        (
            Difference(
                """\
**USR2 with `daemon off`** changes the binary as with `daemon on`; nginx refuses for as long as the process that
started it lives. What refuses here is a master whose own predecessor still runs, and one whose successor does.
""",
                lambda configuration: not configuration.main["daemon"],
            ),
            Difference(
                """\
**systemd** is told how the service is (`NOTIFY_SOCKET`, sd_notify(3)); `daemon on` is then ignored. Listening sockets
are taken from it (`LISTEN_FDS`, sd_listen_fds(3)).
""",
                never,
            ),
            Difference(
                """\
**A reload** waits until the new workers serve before it tells the old ones to go; nginx waits for 100 ms.
""",
                never,
            ),
            Difference(
                """\
**Variables `PYTHON*` and `FASTMAIL_*`** are passed to a new binary without `env`: the interpreter finds its modules
by them. Workers keep only what `env` lists.
""",
                never,
            ),
        ),
    ),
}


def render() -> str:
    """The page's text."""
    parts = [INTRODUCTION]
    for title, (introduction, differences) in SECTIONS.items():
        entries = [f"- {_indented(difference.text)}" for difference in differences]
        lead = [introduction, "\n\n"] if introduction else []
        parts += [f"\n## {title}\n\n", *lead, *entries]
    return "".join(parts)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ").removesuffix("  ")


def main() -> None:
    default = Path(__file__).parents[2] / "docs" / "differences.md"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    target.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
