"""Where fastmail is meant to differ from Debian's nginx (1.22 and 1.26), and why.

A difference turns what nginx did into what fastmail is expected to do. One that changes nothing, or that
fastmail no longer shows, fails the run. "Older nginx" means that nginx does as fastmail does from ``until``
on; with such an nginx the row does not count.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from case import Case
from observation import Observation
from reference import NO_VERSION, Version, version

LINE_MAX = 1024
"""User and password that are longer together go to an IMAP backend in literals."""

Rewrite = Callable[[Case, Observation], Observation]


@dataclass(frozen=True)
class Difference:
    """``cases`` are the names it must show in; if ``everywhere``, it may show in any other case too."""

    reason: str
    rewrite: Rewrite
    cases: frozenset[str]
    everywhere: bool = False
    until: Version = NO_VERSION


def instead(
    *,
    auth: tuple[str, ...] | None = None,
    backend: tuple[str, ...] | None = None,
    log: tuple[str, ...] | None = None,
) -> Rewrite:
    """The client sees what its table says; the other parts are as given, or as with nginx."""

    def rewrite(case: Case, seen: Observation) -> Observation:
        return Observation(
            client=case.client,
            auth=seen.auth if auth is None else auth,
            backend=seen.backend if backend is None else backend,
            log=seen.log if log is None else (*seen.log[:1], *log),
        )

    return rewrite


def reworded(part: str, pattern: str, replacement: str) -> Rewrite:
    """One part's texts ("auth", "backend" or "log") reworded; everything else as with nginx."""
    expression = re.compile(pattern, re.DOTALL)

    def rewrite(case: Case, seen: Observation) -> Observation:
        texts = tuple(expression.sub(replacement, text) for text in getattr(seen, part))
        changed: dict[str, Any] = {part: texts}
        return replace(seen, **changed)

    return rewrite


def both(*rewrites: Rewrite) -> Rewrite:
    """One after the other."""

    def rewrite(case: Case, seen: Observation) -> Observation:
        for each in rewrites:
            seen = each(case, seen)
        return seen

    return rewrite


def xtext_login(case: Case, seen: Observation) -> Observation:
    """XCLIENT's LOGIN in xtext (RFC 3461 section 4)."""

    def encoded(login: re.Match[str]) -> str:
        special = re.compile("[^!-*,-<>-~]")
        return special.sub(lambda char: f"+{ord(char[0]):02X}", login[0])

    return replace(
        seen, backend=tuple(re.sub("(?<= LOGIN=).*(?= NAME=)", encoded, text) for text in seen.backend)
    )


def named_header(case: Case, seen: Observation) -> Observation:
    """Which header it was; or the one before it, if the line has no name."""
    named = {
        "folded line": ' after "X"',
        "name starting with a colon": ' after "Auth-Status"',
        "8-bit in a name": ': "X"',
        "space before the colon": ': "X"',
        "carriage return in a value": ': "X"',
    }
    if case.name not in named:
        return seen
    return reworded("log", "(?<=sent invalid header in response)", named[case.name])(case, seen)


def controls_shown(case: Case, seen: Observation) -> Observation:
    """Control characters in the log as ``\\xHH``."""

    def escaped(char: re.Match[str]) -> str:
        return f"\\x{ord(char[0]):02X}"

    return replace(seen, log=tuple(re.sub(r"[\x00-\x1f\x7f]", escaped, line) for line in seen.log))


def internal_error_tagged(case: Case, seen: Observation) -> Observation:
    """The reply to the client's command, then BYE; all cases that end so have the tag ``a``."""
    error = "a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error\r\n"
    return replace(seen, client=seen.client.replace("* BAD internal server error\r\n", error))


GOODBYE = {"imap": "* BYE ", "smtp": "421 {} mail.example.com "}
SILENT = "timeout, closing connection"
REASONS = {
    "client sent too many invalid commands": "too many invalid commands, closing connection",
    "client sent too long command": "command too long, closing connection",
    "client login failed": "closing connection",
    "client timed out (110: Connection timed out) while in auth state": SILENT,
    "upstream sent invalid response": "closing connection",
}


def said_goodbye(case: Case, seen: Observation) -> Observation:
    """The end that nginx does not tell the client of; ``REASONS`` are by what is logged last."""
    logged = seen.log[-1] if seen.log else ""
    waits = bool(case.auth) and "client login failed" in logged and "Auth-Wait: 1" in repr(case.auth[-1])
    reason = next((said for began, said in REASONS.items() if began in logged), None)
    last = seen.client.removesuffix("\r\n").rpartition("\n")[2]
    if waits or reason is None or case.protocol not in GOODBYE or last.startswith(("* BYE", "421")):
        return seen
    if "nternal server error" in last:
        return seen
    told = GOODBYE[case.protocol].format("4.4.2" if reason == SILENT else "4.7.0")
    return replace(seen, client=f"{seen.client}{told}{reason}\r\n")


def one_line_login(case: Case, seen: Observation) -> Observation:
    """``TAG LOGIN {4}`` and so on as ``TAG LOGIN "user" "pass"``, if a quoted string can hold both values."""
    return replace(seen, backend=tuple(map(_one_line, seen.backend)))


def _one_line(dialogue: str) -> str:
    tag, found, rest = dialogue.partition(" LOGIN {")
    values = []
    while found:
        length, _, rest = rest.partition("}\r\n")
        if not length.isdigit() or len(rest) <= int(length):
            return dialogue
        values.append(rest[: int(length)])
        separator, rest = rest[int(length) :].split("\n", 1)[0][:2], rest[int(length) + 2 :]
        if separator != " {":
            break
    if len(values) != 2 or not all(map(_quotable, values)) or sum(map(len, values)) >= LINE_MAX:
        return dialogue
    quoted = " ".join(f'"{value}"' for value in values)
    return f"{tag} LOGIN {quoted}\r\n{rest}"


def _quotable(value: str) -> bool:
    return all(char not in '\0\r\n"\\' and ord(char) < 0x80 for char in value)


def request(login: str, password: str, method: str = "plain", attempt: int = 1) -> str:
    """What the auth server is asked."""
    return (
        f"GET /auth HTTP/1.0\r\nHost: 127.0.0.1\r\nAuth-Method: {method}\r\nAuth-User: {login}\r\n"
        f"Auth-Pass: {password}\r\nAuth-Protocol: imap\r\nAuth-Login-Attempt: {attempt}\r\n"
        "Client-IP: 127.0.0.1\r\n\r\n"
    )


def logged_in(server: str = "imap", login: str = "user") -> tuple[str, str]:
    """The log of a session that was relayed."""
    suffix = f', client: 127.0.0.1, server: 127.0.0.1:{server}, login: "{login}", upstream: 127.0.0.1:BACKEND'
    return f"[info] client logged in{suffix}", f"[info] proxied session done{suffix}"


def literal_refused(case: Case, seen: Observation) -> Observation:
    """nginx ends with the literal."""
    rest = "EHLO mail.example.com\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    upstream = ", client: 127.0.0.1, server: 127.0.0.1:smtp-none, upstream: 127.0.0.1:BACKEND"
    log = (
        '[info] upstream refused client HELO/EHLO, sending server name: "501 bad literal" '
        f"while reading response from upstream{upstream}",
        f"[info] client logged in{upstream}",
        f"[info] proxied session done{upstream}",
    )
    return instead(backend=(seen.backend[0] + rest,), log=log)(case, seen)


ONE_LINE = 'a LOGIN "user" "pass"\r\n'

TOO_LONG_LOGIN = (
    '[info] client sent too long command "a LOGIN" (arguments not shown) '
    "while in auth state, client: 127.0.0.1, server: 127.0.0.1:imap"
)

DIFFERENCES = [
    Difference(
        "older nginx: of a PROXY header that is none more than its first line is logged",
        reworded("log", r'(broken header: "[^"\r\n]*)[\r\n][^"]*" while', r'\1" while'),
        frozenset(
            {
                "PROXY: port too high",
                "PROXY: port missing",
                "PROXY: a name",
            }
        ),
        until=(1, 26),
    ),
    Difference(
        "a PROXY header names one family: Dovecot, Postfix and HAProxy refuse one with two",
        reworded("backend", r"TCP6 2001:db8::1 127\.0\.0\.1", "TCP6 2001:db8::1 ::ffff:127.0.0.1"),
        frozenset({"PROXY: to the backend, families mixed"}),
    ),
    Difference(
        "older nginx: the upstream is logged although there is no login",
        reworded(
            "log",
            r"((client logged in|proxied session done|while reading response from upstream)"
            r", client: [0-9.]+, server: [^,]+)$",
            r"\1, upstream: 127.0.0.1:BACKEND",
        ),
        frozenset({"plain with empty user", "mail without login"}),
        everywhere=True,
        until=(1, 29, 1),
    ),
    Difference(
        "two round trips less: the backend is logged in to with one line where the values allow it",
        one_line_login,
        frozenset({"login with atoms", "two literals", "plain", "cram-md5"}),
        everywhere=True,
    ),
    Difference(
        "an internal error answers the IMAP command that it ends, and the client is told of the close",
        internal_error_tagged,
        frozenset({"greeting is garbage"}),
        everywhere=True,
    ),
    Difference(
        "a mechanism that is not offered is refused, so that the client may choose another",
        instead(),
        frozenset(
            {
                *("cram-md5 when not listed", "external when not listed", "unknown mechanism"),
                *("prefix of a mechanism", "apop is not for imap", "semantic errors do not count"),
                *("pop3 unknown mechanism", "pop3 cram-md5 when not listed", "pop3 external when not listed"),
                *("pop3 semantic errors do not count", "smtp semantic errors do not count"),
                *("smtp unknown mechanism", "smtp cram-md5 when not listed", "smtp external when not listed"),
            }
        ),
    ),
    Difference(
        "tags are as long as RFC 9051 lets clients make them, within reason",
        instead(),
        frozenset({"tag of 33 characters"}),
    ),
    Difference(
        "ID is answered before login",
        instead(),
        frozenset({"ID"}),
    ),
    Difference(
        "ID is answered before login, its literals are read",
        instead(auth=(request("user", "pass"),), backend=('a LOGIN "user" "pass"\r\n',), log=logged_in()),
        frozenset({"ID with a literal, and LOGIN in one write"}),
    ),
    Difference(
        "a literal that does not wait is skipped, and the session goes on",
        instead(),
        frozenset({"non-synchronising literal after a syntax error"}),
    ),
    Difference(
        "credentials before STARTTLS are answered with what to do (RFC 5530, 3207)",
        instead(),
        frozenset({f"STARTTLS: {protocol} starttls-only" for protocol in ("imap", "pop3", "smtp")}),
    ),
    Difference(
        "older nginx: a literal must be followed by a space or the line end",
        instead(auth=(), log=()),
        frozenset({"text directly after a literal", "quote directly after a literal"}),
        until=(1, 29, 6),
    ),
    Difference(
        "older nginx: the length of a literal is checked for overflow",
        instead(),
        frozenset({"length beyond 64 bits", "length of just 64 bits"}),
        until=(1, 29, 6),
    ),
    Difference(
        "older nginx: an untagged line may precede the reply to LOGIN",
        instead(log=logged_in()),
        frozenset({"untagged line before the reply", "untagged line, then the reply"}),
        until=(1, 27, 3),
    ),
    Difference(
        "backends send any number of untagged lines before the reply to LOGIN",
        instead(log=logged_in()),
        frozenset({"several untagged lines before the reply"}),
    ),
    Difference(
        "a quote left open must not spoil the next command",
        instead(auth=(request("user", "pass"),), backend=(ONE_LINE,), log=logged_in()),
        frozenset({"an unterminated quote does not leak"}),
    ),
    Difference(
        "commands that end just where the buffer ends do not stall",
        instead(),
        frozenset({"burst of commands that fills the buffer"}),
    ),
    Difference(
        "{0} is an empty string and takes no byte",
        instead(auth=(request("user", ""),), backend=('a LOGIN "user" ""\r\n',), log=logged_in()),
        frozenset({"empty literal before a bare line feed"}),
    ),
    Difference(
        "{0} is an empty string, and a user name must not be empty",
        instead(auth=(), log=()),
        frozenset({"empty user as literal"}),
    ),
    Difference(
        "{0} is an empty string and takes no byte",
        instead(auth=(request("user", ""),), backend=('a LOGIN "user" ""\r\n',)),
        frozenset(
            {
                "empty password as literal",
                "empty password as non-synchronising literal",
                "empty braces are an empty literal",
            }
        ),
    ),
    Difference(
        "a too long command may hold a password, which has no place in a log",
        reworded("log", r'(too long command "(\w )?[A-Z]+) .*(?= while)', r'\1" (arguments not shown)'),
        frozenset(
            {
                "line longer than the buffer",
                "literal beyond the buffer",
                "pop3 line longer than the buffer",
                "smtp line longer than the buffer",
            }
        ),
    ),
    Difference(
        "a too long command may hold a password, which has no place in a log",
        instead(log=(TOO_LONG_LOGIN,)),
        frozenset({"line longer than the default buffer"}),
    ),
    Difference(
        "what is no command may be a password, which has no place in a log",
        reworded("log", r'(too long command ").*(?=" while)', r"\1"),
        frozenset({"invalid line longer than the buffer", "endless tag"}),
    ),
    Difference(
        "a response may be a password, which has no place in a log",
        reworded("log", r'(too long command ").*" while', r'\1AUTHENTICATE" (response not shown) while'),
        frozenset({"response longer than the buffer"}),
    ),
    Difference(
        "a refusal that the client has not caused is an error, whoever learns of it",
        reworded("log", r"\[info\] (?=upstream sent invalid response)", "[error] "),
        frozenset(
            {
                "greeting passed on",
                "several lines passed on",
                "pop3 greeting passed on",
                "smtp greeting passed on",
                "smtp error of several lines passed on",
            }
        ),
    ),
    Difference(
        "a header that cannot be used is named",
        named_header,
        frozenset(
            {
                "folded line",
                "name starting with a colon",
                "8-bit in a name",
                "space before the colon",
                "carriage return in a value",
            }
        ),
    ),
    Difference(
        "the status of an answer that cannot be used is named",
        reworded("log", "(?<=did not send server or port)", " (HTTP status 429)"),
        frozenset({"no server, with a status that says why"}),
    ),
    Difference(
        "all names of headers that are legal are taken",
        instead(backend=(ONE_LINE,), log=logged_in()),
        frozenset({"underscore in a name", "name starting with a hyphen"}),
    ),
    Difference(
        "what is no PROXY header may be a command with a password, which has no place in a log",
        reworded(
            "log",
            r'(broken header: "(a LOGIN|PROXIED|PROXY(?= 192)))[^"]*" while',
            r'\1" (rest not shown) while',
        ),
        frozenset({"PROXY: none", "PROXY: another word", "PROXY: no family"}),
    ),
    Difference(
        "of a PROXY header what stands where it should is logged",
        reworded(
            "log", r'(broken header: "PROXY TCP4[^"\r\n]*) [\r\n]*" while', r'\1" (rest not shown) while'
        ),
        frozenset({"PROXY: a space behind it"}),
    ),
    Difference(
        "commands that straddle the end of the buffer do not end the session",
        instead(log=()),
        frozenset({"burst of commands that straddles the buffer"}),
    ),
    Difference(
        "older nginx: a response that cannot be decoded leaves no login behind",
        reworded("log", r', login: "us(er)?"$', ""),
        frozenset(
            {
                "cram-md5 with a short digest",
                "cram-md5 with a long digest",
                "cram-md5 without digest",
                "cram-md5 with a space in the user name",
                "pop3 wrong digest",
                "smtp wrong digest",
            }
        ),
        until=(1, 29, 1),
    ),
    Difference(
        "the digest goes along when the auth server is asked again",
        reworded("auth", "Auth-Pass: (?=\r)", "Auth-Pass: 0123456789abcdef0123456789abcdef"),
        frozenset({"cram-md5 asked again", "apop asked again"}),
    ),
    Difference(
        "a password is not sent once more with a mechanism that has none",
        reworded("auth", "(?<=external\r\nAuth-User: user\r\nAuth-Pass: )pass", ""),
        frozenset({"external after plain does not send the password again"}),
    ),
    Difference(
        "an answer that does not fit is given up at once and said to be too long, not waited out",
        instead(
            log=(
                "[error] auth http server 127.0.0.1:AUTH sent too long header in response while in http auth "
                'state, client: 127.0.0.1, server: 127.0.0.1:imap-quick, login: "user"',
            )
        ),
        frozenset({"a flood of headers", "an endless line"}),
    ),
    Difference(
        "the backend's lines are judged one by one: what follows its greeting belongs to the next reply",
        instead(),
        frozenset({"greeting of two lines"}),
    ),
    Difference(
        "a NUL in the backend's reply does not cut the log line",
        reworded("log", '"\\x80"', '"\x80\\\\x00\xff\\\\x01garbage"'),
        frozenset({"greeting is garbage"}),
    ),
    Difference(
        "older nginx: the log shows the line that was judged, not the untagged one before it",
        reworded("log", r'"\* CAPABILITY X\r\na NO bad"', '"NO bad"'),
        frozenset({"untagged line, then NO", "untagged line and error passed on"}),
        until=(1, 27, 3),
    ),
    Difference(
        "a line of less than four bytes is complete when it ends",
        reworded(
            "log",
            r"\[info\] upstream timed out \(110: Connection timed out\)",
            '[error] upstream sent invalid response: "a"',
        ),
        frozenset({"bare tag"}),
    ),
    Difference(
        "the backend's lines are judged one by one",
        reworded("log", r'"\r\n"', '""'),
        frozenset({"empty line and another"}),
    ),
    Difference(
        "the line that is judged is passed on, not what happened to come in the same packet",
        both(instead(), reworded("log", r"(?<=BYE one)\r\n\* BYE two", "")),
        frozenset({"several lines passed on"}),
    ),
    Difference(
        "a BYE is passed on as the reply to the client's command as well, which would stay unanswered",
        instead(),
        frozenset({"greeting passed on", "BYE passed on"}),
    ),
    Difference(
        "a too long line is logged with its last byte",
        reworded("log", 'x"', 'xx"'),
        frozenset({"greeting longer than the buffer", "reply longer than the buffer"}),
    ),
    Difference(
        "a wrong user name in the LOGIN mechanism gets a tagged reply",
        instead(),
        frozenset({"login mechanism with a wrong user name"}),
    ),
    Difference(
        "a mechanism that is not listed is refused, initial response or not",
        instead(auth=(), log=()),
        frozenset({"external with initial response when not listed"}),
    ),
    Difference(
        "a line without a tag is answered with *, not with its own first bytes",
        instead(),
        frozenset({"a bad line after a rejected login"}),
    ),
    Difference(
        "the header of the auth server's answer may have up to 4096 bytes",
        instead(backend=(ONE_LINE,), log=logged_in("imap-quick")),
        frozenset({"more than 1024 bytes", "4096 bytes"}),
    ),
    Difference(
        "older nginx: the salt goes to the auth server only where a digest was made of it",
        reworded("auth", r"Auth-Salt: [^\r]*\r\n", ""),
        frozenset({"pop3 external", "pop3 external with initial response"}),
        until=(1, 29, 1),
    ),
    Difference(
        "older nginx: XCLIENT's LOGIN is xtext",
        xtext_login,
        frozenset({"smtp login with 8-bit and controls", "smtp user of the auth server"}),
        until=(1, 29, 2),
    ),
    Difference(
        "older nginx: MAIL without login forgets an earlier login",
        both(
            reworded("auth", "(?<=none\r\nAuth-User: )user\r\nAuth-Pass: pass", "\r\nAuth-Pass: "),
            reworded("backend", " LOGIN=user", ""),
            reworded("log", '((client logged in|proxied session done).*), login: "user"', r"\1"),
        ),
        frozenset({"mail after a failed login"}),
        until=(1, 29, 1),
    ),
    Difference(
        "a sender without a login hears that it is refused for good; on a 451 it would try again for days",
        both(instead(), reworded("log", r"^\[error\] (?=upstream sent)", "[info] ")),
        frozenset(
            {"sender refused by the backend", "helo refused by the backend", "client refused by the backend"}
        ),
    ),
    Difference(
        "a backend that does not take the client's address literal is told our name",
        literal_refused,
        frozenset({"address literal refused by the backend"}),
    ),
    Difference(
        "what was pipelined before a rejected MAIL may hold a password, which has no place in a log",
        reworded("log", "EHLO cli__(?=MAIL)", ""),
        frozenset({"commands after a rejected mail"}),
    ),
    Difference(
        "a login in one line times out in the LOGIN command",
        reworded("log", "sending password", "sending LOGIN command"),
        frozenset({"silent at the login"}),
    ),
    Difference(
        "commands behind a rejected MAIL are not part of it",
        reworded("log", "__NOOP", ""),
        frozenset({"commands pipelined behind a rejected mail"}),
    ),
    Difference(
        "commands behind a rejected MAIL are executed, at any log level",
        instead(),
        frozenset({"commands pipelined behind a rejected mail"}),
    ),
    Difference(
        "each WAIT is judged on its own",
        instead(auth=(request("user", "pass"),) * 2, backend=(ONE_LINE,), log=logged_in()),
        frozenset({"ask again at once"}),
    ),
    Difference(
        "nobody writes log lines of his own by sending line ends",
        controls_shown,
        frozenset(
            {
                "8-bit passed on",
                "NUL in a quoted string",
                "NUL in a value",
                "control characters",
                "control characters and percent",
                "every byte in literals",
                "literal with NUL and 8-bit",
                "literal with line end inside",
                "login with a line end",
                "plain with everything to escape",
                "plain with line ends",
                "smtp error of several lines passed on",
                "smtp greeting of several lines refused",
                "smtp login with 8-bit and controls",
                "tab before the status",
            }
        ),
    ),
]

FAREWELL = Difference(
    "a client learns that we close: its next mechanism would meet a closed socket",
    said_goodbye,
    frozenset(),
    everywhere=True,
)
"""The tables leave it out."""
DIFFERENCES.append(FAREWELL)


def intended(case: Case) -> list[Difference]:
    """The differences that may apply to the case."""
    return [
        difference
        for difference in DIFFERENCES
        if version() < difference.until and (difference.everywhere or case.name in difference.cases)
    ]


def rewritten(case: Case, seen: Observation, differences: list[Difference]) -> Observation:
    """What fastmail is expected to do in the case, given what nginx did."""
    for difference in differences:
        seen = difference.rewrite(case, seen)
    return seen
