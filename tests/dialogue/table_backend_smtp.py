"""SMTP backends (reference 7.4): what they say, what they are told, what the client gets."""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode

from dialogue.exchange import Login, answer

INTERNAL = "451 4.3.2 Internal server error"
SENT = "upstream sent invalid response: "
DONE = "235 2.0.0 OK"
AUTH = "AUTH PLAIN AHVzZXIAcGFzcw=="
ME = "mail.example.com"
XCLIENT = "XCLIENT ADDR=127.0.0.1 LOGIN=user NAME=[UNAVAILABLE]"
NOBODY = "XCLIENT ADDR=127.0.0.1 NAME=[UNAVAILABLE]"
NO_XCLIENT = {"xclient": False}
TOLD_ON = {"proxy_smtp_auth": True}
NONE = {"auth": ("none",)}
MAIL, RCPT = "MAIL FROM:<a@b> SIZE=3", "RCPT TO:<c@d>"
ENVELOPE = f"EHLO cli\n{MAIL}\n{RCPT}"

Says = list[tuple[str | bytes, str | bytes]]


def smtp(name: str, says: Says, ending: str = "accepted", reply: str = DONE, log: tuple[str, ...] = (),
         **more: object) -> Login:  # fmt: skip
    settings = {"client": AUTH, "protocol": "smtp"} | more
    return Login(name, says, ending, reply, log, **settings)  # type: ignore[arg-type]


def refused(name: str, says: Says, *, ours: bool = False, **more: object) -> list[Login]:
    """The last of ``says`` is a refusal: our own error for the client, or the reply as it is. ``ours``: of what
    only the proxy has said, which is an error either way."""
    said = str(says[-1][0])
    shown = said.replace("\n", "\r\n")
    options: dict[str, object] = more.pop("options", {})  # type: ignore[assignment]
    passed = options | {"proxy_pass_error_message": True}
    # Dialogue.log parts a message at its line ends.
    error, info = (tuple(f'{level}: {SENT}"{shown}"'.split("\r\n")) for level in ("error", "info"))
    return [
        smtp(name, says, "rejected", INTERNAL, error, options=options, **more),
        smtp(f"{name}, passed on", says, "rejected", said, error if ours else info, options=passed, **more),
    ]


XTEXT = b64encode(b"\0us er+=\xe9%\0pass").decode()
HELLO: Says = [("220 hi", f"EHLO {ME}")]
NO_HELLO: Says = [*HELLO, ("250 me", XCLIENT)]
TO_MAIL: Says = [*HELLO, ("250 me", NOBODY), ("220 x", "EHLO cli"), ("250 e", MAIL)]

# What the backend sees, by xclient, what the client has said, and proxy_smtp_auth (the reference's table).
ORDER = [
    smtp("xclient, ehlo", [*NO_HELLO, ("220 x", "EHLO x"), ("250 e", b"")], client=f"EHLO x\n{AUTH}"),
    smtp("xclient, helo", [*NO_HELLO, ("220 x", "HELO x"), ("250 e", b"")], client=f"HELO x\n{AUTH}"),
    smtp("xclient, nothing", [*NO_HELLO, ("220 x", b"")]),
    smtp("xclient, ehlo, auth", [*HELLO, ("250 me", NOBODY), ("220 x", "EHLO x"), ("250 e", AUTH), ("235 in", b"")],
         client=f"EHLO x\n{AUTH}", options=TOLD_ON),
    smtp("xclient, nothing, auth", [*HELLO, ("250 me", NOBODY), ("250 x", AUTH), ("235 in", b"")], options=TOLD_ON),
    smtp("no xclient, ehlo", [*HELLO, ("250 me", b"")], client=f"EHLO x\n{AUTH}", options=NO_XCLIENT),
    smtp("no xclient, helo", [("220 hi", f"HELO {ME}"), ("250 me", b"")], client=f"HELO x\n{AUTH}", options=NO_XCLIENT),
    smtp("no xclient, nothing", [("220 hi", f"HELO {ME}"), ("250 me", b"")], options=NO_XCLIENT),
    smtp("no xclient, ehlo, auth", [*HELLO, ("250 me", AUTH), ("235 in", b"")], client=f"EHLO x\n{AUTH}",
         options=NO_XCLIENT | TOLD_ON),
    smtp("helo after ehlo is still esmtp", [*NO_HELLO, ("220 x", "EHLO y"), ("250 e", b"")],
         client=f"EHLO x\nHELO y\n{AUTH}"),
    smtp("the envelope", [*TO_MAIL, ("250 s", RCPT), ("250 r", b"")], reply="250 r", client=ENVELOPE, options=NONE),
    smtp("the envelope, no xclient", [*HELLO, ("250 me", MAIL), ("250 s", RCPT), ("250 r", b"")], reply="250 r",
         client=ENVELOPE, options=NONE | NO_XCLIENT),
    smtp("a refused recipient is the client's business", [*TO_MAIL, ("250 s", RCPT), ("550-who\n550 is that", b"")],
         reply="550-who\n550 is that", client=ENVELOPE, options=NONE),
]  # fmt: skip

REPLIES = [
    smtp("replies of several lines", [("220-hi\n220 there", f"EHLO {ME}"), ("250-me\n250-A\n250 B", XCLIENT),
                                      ("250-x\n250 y", b"")]),
    smtp("no texts", [("220", f"EHLO {ME}"), ("250", XCLIENT), ("220", b"")]),
    smtp("only the first line's code counts", [("220-hi\n554 no", f"EHLO {ME}"), ("250", XCLIENT), ("220", b"")]),
    smtp("the last line has not come", [*HELLO, ("250-me\n250-A", b"")], "read"),
    smtp("what the backend says at once is passed on", [*NO_HELLO, ("220 x\n421 bye", b"")], reply=f"{DONE}\n421 bye"),
    smtp("the name is sent as xtext", [*HELLO, ("250 me", "XCLIENT ADDR=127.0.0.1 LOGIN=us+20er+2B+3D+E9% "
                                                          "NAME=[UNAVAILABLE]"), ("220 x", b"")],
         client=f"AUTH PLAIN {XTEXT}"),
    smtp("the auth server's name and password", [*HELLO, ("250 me", NOBODY),
                                                 ("220 x", "AUTH PLAIN " + b64encode(b"\0other\0secret").decode()), ("235", b"")],
         auth=answer("OK", "Auth-User: other", "Auth-Pass: secret"), options=TOLD_ON),
    smtp("a name from the auth server for an envelope",
         [*HELLO, ("250 me", "XCLIENT ADDR=127.0.0.1 LOGIN=relay NAME=[UNAVAILABLE]"), ("220 x", "EHLO cli"), ("250 e", MAIL),
          ("250 s", RCPT), ("250 r", b"")], reply="250 r", client=ENVELOPE, auth=answer("OK", "Auth-User: relay"),
         options=NONE),
    smtp("no password for the backend", [*HELLO, ("250 me", NOBODY), ("220 x", b"")], "rejected", INTERNAL,
         ("error: no password available",), client="AUTH EXTERNAL dXNlcg==",
         options=TOLD_ON | {"auth": ("external",)}),
    smtp("longer than proxy_buffer", [(b"220-" + b"x" * 12, b"")], "rejected", INTERNAL,
         (f'error: upstream sent too long response line: "220-{"x" * 12}"',), options={"proxy_buffer": 16}),
]  # fmt: skip

REFUSED = [
    *refused("greeting", [("554 no", b"")], ours=True),
    *refused("another code of two hundred", [("250 hi", b"")], ours=True),
    *refused("a short line", [("22", b"")], ours=True),
    *refused("our hello", [*HELLO, ("251 me", b"")], ours=True),
    *refused("xclient", [*NO_HELLO, ("550-no\n550 xclient", b"")], ours=True),
    *refused(
        "the client's hello", [*NO_HELLO, ("220 x", "EHLO x"), ("501 what", b"")], client=f"EHLO x\n{AUTH}"
    ),
    *refused(
        "auth",
        [*HELLO, ("250 me", AUTH), ("535 no", b"")],
        client=f"EHLO x\n{AUTH}",
        options=NO_XCLIENT | TOLD_ON,
    ),
    *refused("mail", [*TO_MAIL, ("451 later", b"")], client=ENVELOPE, options=NONE),
    *refused("greeting, for now", [("421-busy\n421 later", b"")], ours=True),
    *refused("our hello, for now", [*HELLO, ("421 later", b"")], ours=True),
    *refused("xclient, for now", [*NO_HELLO, ("421 later", b"")], ours=True),
    *[
        smtp(
            f"recipient, for now, {'passed on' if passed else 'always passed on'}",
            [*TO_MAIL, ("250 s", RCPT), ("421 later", b"")],
            "rejected",
            "421 later",
            (f'info: {SENT}"421 later"',),
            client=ENVELOPE,
            options=NONE | {"proxy_pass_error_message": passed},
        )
        for passed in (True, False)
    ],
]

OFFER = "250-e\n250-SIZE\n250 PIPELINING"
GROUP = f"{MAIL}\n{RCPT}"
TO_GROUP: Says = [*TO_MAIL[:-1], (OFFER, GROUP)]


def envelope(
    name: str, says: Says, ending: str = "accepted", reply: str = "250 r", *log: str, **options: object
) -> Login:
    return smtp(name, says, ending, reply, log, client=ENVELOPE, options=NONE | options)


# The sender and the recipient in one group, where the last EHLO offers it (RFC 2920).
PIPELINING = [
    envelope("offered", [*TO_GROUP, ("250 s", b""), ("250 r", b"")]),
    envelope("both replies at once", [*TO_GROUP, ("250 s\n250 r", b"")]),
    envelope("turned off", [*TO_MAIL[:-1], (OFFER, MAIL), ("250 s", RCPT), ("250 r", b"")], proxy_pipelining=False),
    envelope("a refused recipient", [*TO_GROUP, ("250 s\n550-who\n550 is that", b"")], reply="550-who\n550 is that"),
    envelope("a refused sender", [*TO_GROUP, ("451 later\n503 first", b"")], "rejected", INTERNAL,
             f'error: {SENT}"451 later"'),
    envelope("no xclient", [*HELLO, ("250-me\n250 pipelining", GROUP), ("250 s", b""), ("250 r", b"")], xclient=False),
    envelope("only the last EHLO counts", [*HELLO, ("250-me\n250 PIPELINING", NOBODY), ("220 x", "EHLO cli"),
                                           ("250 e", MAIL), ("250 s", RCPT), ("250 r", b"")]),
    envelope("not behind XCLIENT", [*HELLO, ("250-me\n250-XCLIENT ADDR\n250 PIPELINING", NOBODY), ("220 x", "EHLO cli"),
                                    (OFFER, GROUP), ("250 s", b""), ("250 r", b"")]),
    envelope("the first line is a name", [*TO_MAIL[:-1], ("250 PIPELINING", MAIL), ("250 s", RCPT), ("250 r", b"")]),
    envelope("another word", [*TO_MAIL[:-1], ("250-e\n250 XPIPELINING", MAIL), ("250 s", RCPT), ("250 r", b"")]),
    smtp("nothing of a login is pipelined", [*NO_HELLO, ("220 x", "EHLO x"), (OFFER, b"")], client=f"EHLO x\n{AUTH}"),
]  # fmt: skip

LITERAL = f"EHLO [192.0.2.1]\n{MAIL}\n{RCPT}"
ANNOUNCED: Says = [*HELLO, ("250 me", NOBODY), ("220 x", "EHLO [192.0.2.1]")]
NOT_TAKEN = "info: upstream refused client HELO/EHLO, sending server name: "


def for_good(name: str, says: Says, **options: object) -> list[Login]:
    """The backend refuses the sender for good, and the sender hears it, proxy_pass_error_message or not."""
    said = str(says[-1][0])
    log = tuple(f'info: {SENT}"{said}"'.replace("\n", "\r\n").split("\r\n"))
    return [
        smtp(f"{name}{', passed on' * passed}", says, "rejected", said, log, client=ENVELOPE,
             options=NONE | {"proxy_pass_error_message": passed} | options)
        for passed in (False, True)
    ]  # fmt: skip


# A permanent refusal of what the client has said, and of what only we have said.
PERMANENT = [
    *for_good("a sender", [*TO_MAIL, ("553 5.1.8 no", b"")]),
    *for_good("a sender, in several lines", [*TO_MAIL, ("550-who\n550 are you", b"")]),
    *for_good("a sender, no xclient", [*HELLO, ("250 me", MAIL), ("553 no", b"")], xclient=False),
    *for_good("the client's name", [*TO_MAIL[:-1], ("550 5.7.1 Helo command rejected", b"")]),
    *for_good("the client's address", [*HELLO, ("250 me", NOBODY), ("554 5.7.1 Client host rejected", b"")]),
    envelope("of a group", [*TO_GROUP, ("553 no\n503 first", b"")], "rejected", "553 no", f'info: {SENT}"553 no"'),
    *refused("xclient, an envelope", [*HELLO, ("250 me", NOBODY), ("550 5.7.0 insufficient authorization", b"")],
             client=ENVELOPE, options=NONE, ours=True),
    *refused("our hello, an envelope", [*HELLO, ("550 no", b"")], client=ENVELOPE, options=NONE, ours=True),
    *refused("greeting, an envelope", [("554 no", b"")], client=ENVELOPE, options=NONE, ours=True),
    *refused("the client's name, a login", [*NO_HELLO, ("220 x", "EHLO x"), ("550 no", b"")], client=f"EHLO x\n{AUTH}"),
    *refused("the client's address, a login", [*NO_HELLO, ("554 no", b"")], ours=True),
    *refused("the client's name, for now", [*TO_MAIL[:-1], ("450 later", b"")], client=ENVELOPE, options=NONE),
]  # fmt: skip

# An address literal that the backend does not take.
LITERALS = [
    smtp("a login", [*NO_HELLO, ("220 x", "EHLO [10.0.0.1]"), ("501 5.5.2 bad", f"EHLO {ME}"), ("250 e", b"")],
         client=f"EHLO [10.0.0.1]\n{AUTH}", log=(f'{NOT_TAKEN}"501 5.5.2 bad"',)),
    smtp("HELO", [*NO_HELLO, ("220 x", "HELO [10.0.0.1]"), ("550 no", f"HELO {ME}"), ("250 e", b"")],
         client=f"HELO [10.0.0.1]\n{AUTH}", log=(f'{NOT_TAKEN}"550 no"',)),
    smtp("IPv6", [*NO_HELLO, ("220 x", "EHLO [IPv6:::1]"), ("501-no\n501 no", f"EHLO {ME}"), ("250 e", b"")],
         client=f"EHLO [IPv6:::1]\n{AUTH}", log=(f'{NOT_TAKEN}"501-no', '501 no"')),
    smtp("an envelope", [*ANNOUNCED, ("501 no", f"EHLO {ME}"), ("250-e\n250 PIPELINING", GROUP), ("250 s", b""),
                         ("250 r", b"")], reply="250 r", client=LITERAL, options=NONE, log=(f'{NOT_TAKEN}"501 no"',)),
    smtp("ours as well", [*ANNOUNCED, ("501 no", f"EHLO {ME}"), ("550 nor you", b"")], "rejected", INTERNAL,
         (f'{NOT_TAKEN}"501 no"', f'error: {SENT}"550 nor you"'), client=LITERAL, options=NONE),
    smtp("for now", [*ANNOUNCED, ("450 later", b"")], "rejected", INTERNAL, (f'error: {SENT}"450 later"',),
         client=LITERAL, options=NONE),
    smtp("a proxy that tells the password", [*HELLO, ("250 me", NOBODY), ("220 x", "EHLO [10.0.0.1]"),
                                             ("501 no", f"EHLO {ME}"), ("250 e", AUTH), ("235 in", b"")],
         client=f"EHLO [10.0.0.1]\n{AUTH}", options=TOLD_ON, log=(f'{NOT_TAKEN}"501 no"',)),
]  # fmt: skip

TABLES = {
    "permanent": PERMANENT,
    "literal": LITERALS,
    "pipelining": PIPELINING,
    "order": ORDER,
    "reply": REPLIES,
    "refused": REFUSED,
}
