"""Where fastmail's verdict on a configuration is meant to differ from Debian's nginx (1.22 and 1.26), and why.

"Older nginx" means that nginx does as fastmail does from ``until`` on; with such an nginx the row does not count. A row that nginx's verdict already fulfils, or that
names no case, fails the run.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from configuration import Verdict
from reference import NO_VERSION, Version, version

ACCEPTED = (
    "nginx: the configuration file DIR/n.conf syntax is ok\n"
    "nginx: configuration file DIR/n.conf test is successful\n"
)


NO_SYSLOG = "connect() failed (2: No such file or directory) while logging to syslog, server: unix:/tmp/x"


def accepted(*warnings: str, alert: str = "") -> Verdict:
    """Warnings come while the file is read, an alert when it is put in force."""
    syntax, test = ACCEPTED.splitlines(keepends=True)
    lines = [*(f"nginx: [warn] {warning}\n" for warning in warnings), syntax]
    if alert:
        lines.append(f"nginx: [alert] {alert}\n")
    return Verdict(0, "".join([*lines, test]))


def refused(message: str, *, file: str = "n.conf", parsed: bool = False) -> Verdict:
    first = ACCEPTED.splitlines(keepends=True)[0] if parsed else ""
    return Verdict(1, f"{first}nginx: [emerg] {message}\nnginx: configuration file DIR/{file} test failed\n")


def ignored(block: str, line: int = 3) -> str:
    return f'"{block}" block has no use in a mail proxy, ignored in DIR/n.conf:{line}'


@dataclass(frozen=True)
class Difference:
    """``verdicts``: fastmail's, by the case's name."""

    reason: str
    verdicts: dict[str, Verdict]
    until: Version = NO_VERSION


def everywhere(seen: Verdict) -> Verdict:
    """Older nginx: the text about a parameter of ``listen`` that is unknown."""
    return replace(
        seen, output=re.sub(r'the invalid "(.*)" parameter in', r'invalid parameter "\1" in', seen.output)
    )


NO_FILE = (
    "(SSL: error:80000002:system library::No such file or directory:calling fopen(DIR/nowhere, r) "
    "error:10000080:BIO routines::no such file)"
)
NO_PEM = "(SSL: error:0480006C:PEM routines::no start line:Expecting: {})"
NO_END = "(SSL: error:04800066:PEM routines::bad end line)"


def bad_certificate(name: str, reason: str) -> Verdict:
    call = "BIO_new_file()" if reason == NO_FILE else "PEM_read_bio_X509_AUX()"
    reason = reason.format("TRUSTED CERTIFICATE")
    return refused(f'cannot load certificate "DIR/{name}": {call} failed {reason}')


def bad_crl(name: str, reason: str) -> Verdict:
    call = "BIO_new_file()" if reason == NO_FILE else "PEM_read_bio_X509_CRL()"
    return refused(f'cannot load CRL "DIR/{name}": {call} failed {reason.format("X509 CRL")}')


def bad_key(name: str, reason: str) -> Verdict:
    return refused(f'cannot load certificate key "{name}": {reason}')


VERIFY = "secure: ssl_verify_client"
TRUST = f"{VERIFY} on; ssl_client_certificate tls/ca.pem; ssl_trusted_certificate"
CRL = f"{VERIFY} on; ssl_client_certificate tls/ca.pem; ssl_crl"
KEY = "tls: ssl_certificate tls/server.crt; ssl_certificate_key"
NO_CA = refused("no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client")

MODULE_MISSING = "Debian's nginx is without this module"
DIFFERENCES = [
    Difference(
        "a directive that nginx has removed: what replaces it is named",
        {
            "main: imap { }": refused(
                'unknown directive "imap", use the "mail" directive instead in DIR/n.conf:3'
            ),
            "mail: so_keepalive on;": refused(
                'unknown directive "so_keepalive", use the "so_keepalive" parameter of the "listen" directive '
                "instead in DIR/n.conf:4"
            ),
            "main: worker_threads 4;": refused(
                'unknown directive "worker_threads", it has no use here and can be removed in DIR/n.conf:3'
            ),
        },
    ),
    Difference(
        'older nginx: "proxy_protocol" is a flag, without v2',
        {
            "mail: proxy_protocol foo;": refused('invalid value "foo" in DIR/n.conf:4'),
            "mail: proxy_protocol '';": refused('invalid value "" in DIR/n.conf:4'),
        },
        until=(1, 31, 4),
    ),
    Difference(
        "no module is loaded, so none is loaded already",
        {
            "main alone: load_module /usr/lib/nginx/modules/ngx_mail_module.so;": refused(
                'no "events" section in configuration', parsed=True
            ),
        },
    ),
    Difference(
        f"{MODULE_MISSING}; the block is read over with a warning",
        {
            "main: stream {}": accepted(ignored("stream")),
            "main: mgmt {}": accepted(ignored("mgmt")),
            "main: rtmp {}": accepted(ignored("rtmp")),
            "main: stream;": refused('directive "stream" has no opening "{" in DIR/n.conf:3'),
            "mail: stream {}": refused('"stream" directive is not allowed here in DIR/n.conf:4'),
        },
    ),
    Difference(MODULE_MISSING, {"main: google_perftools_profiles x;": accepted()}),
    Difference(
        "a syslog server that cannot be reached is named before there is anything to log",
        {
            "main: error_log syslog:server=unix:/tmp/x;": accepted(alert=NO_SYSLOG),
            "server: error_log syslog:server=unix:/tmp/x,tag=mx;": accepted(alert=NO_SYSLOG),
        },
    ),
    Difference(
        "older nginx: ssl_trusted_certificate does not do for ssl_verify_client",
        {
            f"{VERIFY} on;": NO_CA,
            f"{VERIFY} optional;": NO_CA,
            f"{VERIFY} on; ssl_client_certificate '';": NO_CA,
            f"{VERIFY} on; ssl_trusted_certificate nowhere;": bad_certificate("nowhere", NO_FILE),
            f"{VERIFY} on; ssl_trusted_certificate tls/ca.pem;": accepted(),
        },
        until=(1, 27, 2),
    ),
    Difference(
        "older nginx: CAs and CRLs are loaded by another function, which says less and takes certificates for CRLs",
        {
            **{
                f"{VERIFY} on; ssl_client_certificate {name};": bad_certificate(name, reason)
                for name, reason in {
                    "nowhere": NO_FILE,
                    "tls": NO_PEM,
                    "tls/empty": NO_PEM,
                    "tls/words": NO_PEM,
                    "tls/server.key": NO_PEM,
                    "tls/cut.crt": NO_END,
                }.items()
            },
            **{
                f"{TRUST} {name};": bad_certificate(name, reason)
                for name, reason in {"nowhere": NO_FILE, "tls/words": NO_PEM}.items()
            },
            f"{VERIFY} optional_no_ca; ssl_client_certificate nowhere;": bad_certificate("nowhere", NO_FILE),
            **{
                f"{CRL} {name};": bad_crl(name, reason)
                for name, reason in {
                    "nowhere": NO_FILE,
                    "tls": NO_PEM,
                    "tls/empty": NO_PEM,
                    "tls/words": NO_PEM,
                    "tls/cut.crl": NO_END,
                    "tls/ca.pem": NO_PEM,
                }.items()
            },
            f"{VERIFY} optional_no_ca; ssl_crl nowhere;": bad_crl("nowhere", NO_FILE),
        },
        until=(1, 27, 2),
    ),
    Difference(
        "the name of a key is shown whole",
        {
            f"{KEY} engine::bar;": bad_key(
                "engine::bar",
                "ENGINE_by_id() failed (SSL: error:13000074:engine routines::no such engine:id=)",
            ),
        },
    ),
    Difference(
        "an engine is made ready when a key is loaded; with nginx, OpenSSL's own configuration has to",
        {
            f"{KEY} engine:dynamic:bar;": bad_key("engine:dynamic:bar", "ENGINE_init() failed"),
            f"{KEY} engine:dynamic:;": bad_key("engine:dynamic:", "ENGINE_init() failed"),
        },
    ),
    Difference(
        "a directory is named as what is wrong, not its size",
        {
            "secure: ssl_session_ticket_key tls/.;": refused(
                'open() "DIR/tls/." failed (21: Is a directory) in DIR/n.conf:9'
            ),
        },
    ),
    Difference(
        "nginx writes a counter of its own at level debug",
        {"main: error_log stderr debug;": accepted()},
    ),
    Difference(
        "the mail module is part of fastmail, not loaded by the file: its directives are always known",
        {
            "-p DIR -e boot.log -t -c directory/one.inc": refused(
                '"timeout" directive is not allowed here in DIR/directory/one.inc:1', file="directory/one.inc"
            ),
            "-p DIR -e boot.log -t -c mail.conf -g timeout 1s;": refused(
                '"timeout" directive is not allowed here in command line', file="mail.conf"
            ),
        },
    ),
]


REMOVED: dict[str, Version] = {"ssl": (1, 25, 1)}
"""Directives of older nginx that fastmail has; newer nginx does not know them."""


def removed(seen: Verdict) -> str:
    """The directive that this nginx has no more, and complains about."""
    words = (name for name, since in REMOVED.items() if version() >= since)
    return next((word for word in words if f'unknown directive "{word}"' in seen.output), "")


def in_force() -> list[Difference]:
    """Those that count with this nginx."""
    return [row for row in DIFFERENCES if version() < row.until]


def intended(name: str) -> Verdict | None:
    """fastmail's verdict on the case if it is not to be nginx's."""
    return next((row.verdicts[name] for row in in_force() if name in row.verdicts), None)


def names() -> Iterable[str]:
    return [name for row in in_force() for name in row.verdicts]
