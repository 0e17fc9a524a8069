"""TLS with clients (reference 5.8 and 9): what is said before, in and instead of it."""

import ssl

from case import ACCEPT, GREETING, PASSWORD, REJECT, REJECT_WAIT, Case
from cases_imap import BACKEND, IN
from servers import PKI
from support.pki import Files
from support.script import CLOSED, REFUSED, TLS, Expect, Send, Talk

NO = "a NO Invalid login or password"
REPLIES = {
    "imap": ("a STARTTLS", "a OK completed"),
    "pop3": ("STLS", "+OK"),
    "smtp": ("STARTTLS", "220 2.0.0 Start TLS"),
}


def context(
    version: ssl.TLSVersion | None = None, files: Files | None = None, alpn: str | None = None
) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=PKI.ca.path)
    if alpn is not None:
        made.set_alpn_protocols(alpn.split())
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if files is not None:
        made.load_cert_chain(files.certificate, files.key)
    return made


def other_ciphers() -> ssl.SSLContext:
    made = context(ssl.TLSVersion.TLSv1_2)
    made.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    return made


V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
CLIENT = TLS(context())


def implicit(
    name: str, server: str, tls: TLS, *rest: tuple[Send | tuple[Send, ...], Expect], **more: object
) -> Case:
    """TLS from the first byte; the greeting comes in it."""
    talk: Talk = [(tls, GREETING[server.partition("-")[0]]), *rest]
    return Case(f"TLS: {name}", talk, server=server, greeting=False, **more)  # type: ignore[arg-type]


def instead(name: str, server: str, tls: TLS, reply: str) -> Case:
    """A line instead of the greeting."""
    return Case(f"TLS: {name}", [(tls, (reply, CLOSED))], server=server, greeting=False)


def refused(name: str, server: str, tls: TLS) -> Case:
    return Case(f"TLS: {name}", [(tls, REFUSED)], server=server, greeting=False)


LOGIN: dict[str, tuple[str, str]] = {
    "imap": ("a LOGIN user pass", NO),
    "pop3": ("AUTH PLAIN AHVzZXIAcGFzcw==", "-ERR Invalid login or password"),
    "smtp": ("AUTH PLAIN AHVzZXIAcGFzcw==", "535 5.7.0 Invalid login or password"),
}
BAD = {
    "imap": ("* BYE SSL certificate error", "* BYE No required SSL certificate"),
    "pop3": ("-ERR SSL certificate error", "-ERR No required SSL certificate"),
    "smtp": ("421 4.7.1 SSL certificate error", "421 4.7.1 No required SSL certificate"),
}

CASES = [
    implicit("login", "imap-tls", CLIENT, ("a LOGIN user pass", IN), auth=[ACCEPT], backend=BACKEND),
    *(
        implicit(f"login refused, {protocol} {version.name}", f"{protocol}-tls", TLS(context(version)),
                 LOGIN[protocol], auth=[REJECT])
        for protocol in ("imap", "pop3", "smtp") for version in (V2, V3)
    ),
    implicit("no STARTTLS in TLS", "imap-tls", CLIENT, ("a STARTTLS", "a BAD invalid command")),
    implicit("logout", "imap-tls", CLIENT, ("a LOGOUT", "* BYE"), (None, "a OK completed"), (None, CLOSED)),
    Case("TLS: plain text", [("a LOGIN user pass", CLOSED)], server="imap-tls", greeting=False),
    Case("TLS: HTTP", [(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", CLOSED)], server="imap-tls", greeting=False),
    refused("version", "imap-tls-ciphers", TLS(context(V3))),
    *(
        implicit(f"ALPN {names}, {protocol}", f"{protocol}-tls", TLS(context(alpn=names)), LOGIN[protocol], auth=[REJECT])
        for protocol in ("imap", "pop3", "smtp") for names in (protocol, f"h2 {protocol}")
    ),
    *(
        refused(f"ALPN {names}", "imap-tls", TLS(context(alpn=names)))
        for names in ("h2", "h2 http/1.1", "pop3", "IMAP", "imaps")
    ),
    refused("no cipher in common", "imap-tls-ciphers", TLS(other_ciphers())),
    *(
        implicit(f"certificate, {server} {which}", f"imap-{server}", TLS(context(files=getattr(PKI, which))),
                 LOGIN["imap"], auth=[REJECT])
        for server, which in (
            ("tls-verify", "client"), ("tls-optional", "client"), ("tls-no-ca", "client"),
            ("tls-no-ca", "client_other"),
        )
    ),
    *(
        implicit(f"no certificate, {server}", f"imap-{server}", CLIENT, LOGIN["imap"], auth=[REJECT])
        for server in ("tls-optional", "tls-no-ca")
    ),
    *(
        instead(f"{which}, {protocol}", f"{protocol}-tls-verify", TLS(context(files=getattr(PKI, which))),
                BAD[protocol][0])
        for protocol in ("imap", "pop3", "smtp")
        for which in ("client_expired", "client_early", "client_revoked", "client_other")
    ),
    *(
        instead(f"no certificate, {protocol}", f"{protocol}-tls-verify", CLIENT, BAD[protocol][1])
        for protocol in ("imap", "pop3", "smtp")
    ),
    instead("expired, optional", "imap-tls-optional", TLS(context(files=PKI.client_expired)), BAD["imap"][0]),
    instead("expired, no CA", "imap-tls-no-ca", TLS(context(files=PKI.client_expired)), BAD["imap"][0]),
    instead("chain too long", "imap-tls-depth", TLS(context(files=PKI.client_deep)), BAD["imap"][0]),
    implicit("external", "imap-tls-verify", TLS(context(files=PKI.client)),
             ("a AUTHENTICATE EXTERNAL", "+ VXNlcm5hbWU6"), ("dXNlcg==", IN), auth=[PASSWORD], backend=BACKEND),
    *(
        Case(
            f"STARTTLS: {protocol} {mode}",
            [
                *([(LOGIN[protocol][0], refusal)] if mode == "starttls-only" else []),
                REPLIES[protocol],
                (CLIENT, None),
                LOGIN[protocol],
            ],
            auth=[REJECT],
            server=f"{protocol}-{mode}",
        )
        for protocol, refusal in (
            ("imap", "a BAD [PRIVACYREQUIRED] Must issue a STARTTLS command first"),
            ("pop3", "-ERR Must issue a STLS command first"),
            ("smtp", "530 5.7.0 Must issue a STARTTLS command first"),
        )
        for mode in ("starttls", "starttls-only")
    ),
    *(
        Case(
            f"STARTTLS: pipelined behind it, {protocol}",
            [(f"{REPLIES[protocol][0]}\r\n{LOGIN[protocol][0]}\r\n".encode(), REPLIES[protocol][1]),
             (CLIENT, None), LOGIN[protocol]],
            auth=[REJECT],
            server=f"{protocol}-starttls",
        )
        for protocol in ("imap", "pop3", "smtp")
    ),
    *(
        Case(
            f"STARTTLS: errors before it count, {protocol}",
            [*[(bad, reply)] * 3, REPLIES[protocol], (CLIENT, None), (bad, reply), (bad, (reply, CLOSED))],
            server=f"{protocol}-starttls",
        )
        for protocol, bad, reply in (
            ("imap", "a FOO", "a BAD invalid command"), ("pop3", "FOO", "-ERR invalid command"),
            ("smtp", "FOO", "500 5.5.1 Invalid command"),
        )
    ),
    Case(
        "STARTTLS: the salt stays",
        [REPLIES["pop3"], (CLIENT, None), ("APOP user 0123456789abcdef0123456789abcdef", LOGIN["pop3"][1])],
        auth=[REJECT],
        server="pop3-starttls",
    ),
    Case(
        "STARTTLS: SMTP begins anew",
        [("HELO before", "250 mail.example.com"), REPLIES["smtp"], (CLIENT, None), LOGIN["smtp"],
         ("HELO after", "250 mail.example.com"), LOGIN["smtp"]],
        auth=[REJECT_WAIT, REJECT],
        server="smtp-starttls",
    ),
    Case("STARTTLS: twice", [REPLIES["imap"], (CLIENT, None), ("a STARTTLS", "a BAD invalid command")],
         server="imap-starttls"),
    Case("STARTTLS: then clear text", [REPLIES["imap"], ("a LOGIN user pass", CLOSED)], server="imap-starttls"),
    Case("STARTTLS: no certificate", [REPLIES["imap"], (CLIENT, (BAD["imap"][1], CLOSED))],
         server="imap-starttls-verify"),
]  # fmt: skip
