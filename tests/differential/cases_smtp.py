"""SMTP: commands, SASL, mail without authentication, the login at the backend (reference 5.3, 5.6 and 7.4)."""

from base64 import b64encode
from collections.abc import Sequence

from case import ACCEPT, PASSWORD, REJECT, REJECT_WAIT, SALT, Case
from support.authserver import answer
from support.listener import CLOSE, RESET, Moves, Trickle
from support.script import CLOSED, SHUT, VANISH, Expect, Talk

OK = "250 2.0.0 OK"
BAD = "500 5.5.1 Invalid command"
ARGUMENT = "501 5.5.4 Invalid argument"
SEQUENCE = "503 5.5.1 Bad sequence of commands"
REQUIRED = "530 5.7.1 Authentication required"
IN = "235 2.0.0 OK"
FAILED = "451 4.3.2 Internal server error"
NO = "535 5.7.0 Invalid login or password"
STILL_THERE = ("NOOP", OK)
HELO = ("HELO cli", "250 mail.example.com")
NAME = "250-mail.example.com"
EHLO_PLAIN = ("EHLO cli", (NAME, "250 AUTH PLAIN LOGIN"))
EHLO = ("EHLO cli", (NAME, "250 AUTH PLAIN LOGIN CRAM-MD5 EXTERNAL"))
USERNAME = "334 VXNlcm5hbWU6"
ASK_PASSWORD = "334 UGFzc3dvcmQ6"
CHALLENGE = f"334 BASE64({SALT})"
DIGEST = "0123456789abcdef0123456789abcdef"
XCLIENT = ("220 hi", "250 ehlo", "220 xclient", "250 ehlo")
"""The backend's replies to a client that has said EHLO or HELO, with xclient on."""
MAIL = ("MAIL FROM:<a@b>", OK)
RCPT = "RCPT TO:<c@d>"


def b64(value: str) -> str:
    return b64encode(value.encode("latin-1")).decode()


GOOD = b64("\0user\0pass")
AUTH = f"AUTH PLAIN {GOOD}"


def refused(name: str, line: bytes | str, reply: str = BAD, server: str = "smtp") -> Case:
    """The line gets this reply, and the session goes on."""
    return Case(name, [(line, reply), STILL_THERE], server=server)


def unknown(name: str, line: str, server: str = "smtp") -> Case:
    """An AUTH whose mechanism is not offered."""
    return refused(name, line, "504 5.5.4 Unsupported authentication mechanism", server)


def response(name: str, command: str, prompt: str, reply: str) -> Case:
    """A response that is refused; the session goes on."""
    return Case(name, [(command, prompt), (reply, BAD), STILL_THERE], server="smtp")


def auth(name: str, reply: Moves, *expects: Expect, server: str = "smtp") -> Case:
    """An answer of the auth server to AUTH PLAIN."""
    return Case(name, [(AUTH, expects)], [reply], server=server)


def backend(name: str, *replies: Moves, expect: Expect | tuple[Expect, ...] = (FAILED, CLOSED),
            server: str = "smtp") -> Case:  # fmt: skip
    """The backend's replies to a login after EHLO."""
    greeting = {"smtp": EHLO, "smtp-auth": EHLO, "smtp-quick": EHLO}.get(server, EHLO_PLAIN)
    return Case(name, [greeting, (AUTH, expect)], [ACCEPT], replies, server=server)


def mail(name: str, talk: Talk, replies: Sequence[Moves] = (), auth: Sequence[Moves] = (ACCEPT,),
         server: str = "smtp-none") -> Case:  # fmt: skip
    """Mail without authentication."""
    return Case(name, talk, auth, replies, server=server)


COMMANDS = [
    Case("smtp quit", [("QUIT", ("221 2.0.0 Bye", CLOSED))], server="smtp"),
    Case("helo", [HELO], server="smtp"),
    Case("ehlo", [EHLO], server="smtp"),
    Case("ehlo by default", [EHLO_PLAIN], server="smtp-plain"),
    Case("ehlo as configured",
         [("EHLO cli", (NAME, "250-8BITMIME", "250-SIZE 1000", "250 AUTH CRAM-MD5"))], server="smtp-capabilities"),
    Case("ehlo without mechanisms", [("EHLO cli", "250 mail.example.com")], server="smtp-only-none"),
    Case("smtp in any case", [("eHLO cli", (NAME, "250 AUTH PLAIN LOGIN")), ("nOOp", OK)], server="smtp-plain"),
    Case("helo without argument", [("HELO", ARGUMENT), ("EHLO ", ARGUMENT), STILL_THERE], server="smtp"),
    Case("helo with two arguments", [("HELO a b", ARGUMENT), ("EHLO a b", ARGUMENT)], server="smtp"),
    Case("rset and noop with arguments", [("RSET now", OK), ("NOOP x y", OK), ("QUIT x", ("221 2.0.0 Bye", CLOSED))],
         server="smtp"),
    Case("smtp bare line feeds", [(b"NOOP\nNOOP\n", (OK, OK))], server="smtp"),
    Case("smtp pipelined", [("NOOP\r\nFOO\r\nRSET", (OK, BAD, OK))], server="smtp"),
    Case("smtp in pieces", [((b"NO", 0.02, b"OP\r", 0.02, b"\n"), OK)], server="smtp"),
    Case("smtp eleven arguments", [("NOOP 1 2 3 4 5 6 7 8 9 10 11", OK)], server="smtp"),
    refused("smtp twelve arguments", "NOOP 1 2 3 4 5 6 7 8 9 10 11 12"),
    refused("starttls of smtp when off", "STARTTLS"),
    refused("vrfy", "VRFY user"),
    refused("expn", "EXPN list"),
    refused("help", "HELP"),
    refused("data", "DATA"),
    refused("smtp unknown verb", "FOOO"),
    refused("smtp verb of five letters", "NOOPS"),
    refused("smtp empty line", ""),
    refused("smtp carriage return without line feed", b"NOOP\rX\r\n"),
    refused("smtp 8-bit verb", "N\xd6OP"),
    refused("auth without argument", "AUTH", ARGUMENT),
    refused("mail without authentication", "MAIL FROM:<a@b>", REQUIRED),
    refused("rcpt without authentication", "RCPT TO:<a@b>", SEQUENCE),
    Case("smtp five errors", [*[("FOO", BAD)] * 4, ("FOO", (BAD, CLOSED))], server="smtp"),
    Case("smtp max_errors 2", [("FOO", BAD), STILL_THERE, ("FOO", (BAD, CLOSED))], server="smtp-errors"),
    Case("smtp semantic errors do not count",
         [("HELO", ARGUMENT), ("VRFY x", BAD), ("HELP", BAD), ("RCPT TO:<x>", SEQUENCE), ("AUTH FOO", "504 5.5.4 Unsupported authentication mechanism"),
          ("STARTTLS", BAD), ("AUTH PLAIN !", BAD), STILL_THERE], server="smtp-errors"),
    Case("smtp line longer than the buffer", [(b"NOOP " + b"x" * 251, (BAD, CLOSED))], server="smtp-small"),
    Case("smtp half-close", [(("NOOP", 0.05, SHUT), (OK, CLOSED))], server="smtp"),
    Case("smtp reset", [((b"EHLO cl", 0.05, VANISH), None)], server="smtp"),
    Case("smtp timeout", [(0.3, None), STILL_THERE, (None, CLOSED)], server="smtp-quick"),
    Case("greeting delay", [(None, "220 mail.example.com ESMTP ready"), STILL_THERE], server="smtp-delay",
         greeting=False),
    Case("talking before the greeting",
         [(b"EHLO x\r\nMAIL\r\n", ("503 5.5.0 Improper use of SMTP command pipelining", CLOSED))],
         server="smtp-delay", greeting=False),
    Case("commands after a rejected mail", [("EHLO cli\r\nMAIL FROM:<x>", (NAME, "250 AUTH PLAIN LOGIN", REQUIRED)),
                                            STILL_THERE], server="smtp-plain"),
    Case("commands pipelined behind a rejected mail", [("MAIL FROM:<x>\r\nNOOP", (REQUIRED, OK)), STILL_THERE],
         server="smtp-plain"),
]  # fmt: skip

SASL = [
    Case("smtp plain", [EHLO, ("AUTH PLAIN", "334 "), (GOOD, IN)], [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp plain with initial response", [EHLO, (AUTH, IN)], [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp plain without helo", [(AUTH, IN)], [ACCEPT], XCLIENT[:3], server="smtp"),
    Case("smtp plain after helo", [HELO, (AUTH, IN)], [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp login mechanism", [EHLO, ("AUTH LOGIN", USERNAME), (b64("user"), ASK_PASSWORD), (b64("pass"), IN)],
         [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp login mechanism with initial response",
         [EHLO, (f"AUTH LOGIN {b64('user')}", ASK_PASSWORD), (b64("pass"), IN)], [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp cram-md5", [EHLO, ("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), IN)], [ACCEPT], XCLIENT,
         server="smtp"),
    Case("smtp external", [EHLO, ("AUTH EXTERNAL", USERNAME), (b64("user"), IN)], [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp plain pipelined", [("EHLO cli\r\nAUTH PLAIN\r\n" + GOOD, (*EHLO[1], "334 ", IN))], [ACCEPT], XCLIENT,
         server="smtp"),
    Case("smtp login with 8-bit and controls", [EHLO, ("AUTH PLAIN", "334 "), (b64("\0us er+=\xe9%\x01\0p\xe4 %"), IN)],
         [ACCEPT], XCLIENT, server="smtp"),
    Case("smtp login with an empty user", [EHLO, (f"AUTH PLAIN {b64(chr(0) * 2 + 'pass')}", IN)], [ACCEPT], XCLIENT,
         server="smtp"),
    response("smtp wrong base64 in plain", "AUTH PLAIN", "334 ", "*"),
    response("smtp plain without NUL", "AUTH PLAIN", "334 ", b64("user")),
    response("smtp wrong base64 in login", "AUTH LOGIN", USERNAME, "!"),
    response("smtp wrong digest", "AUTH CRAM-MD5", CHALLENGE, b64("user x")),
    response("smtp wrong base64 in external", "AUTH EXTERNAL", USERNAME, "!"),
    unknown("smtp unknown mechanism", "AUTH SCRAM-SHA-1"),
    unknown("smtp cram-md5 when not listed", "AUTH CRAM-MD5", server="smtp-plain"),
    unknown("smtp external when not listed", "AUTH EXTERNAL", server="smtp-plain"),
]  # fmt: skip

ANSWERS = [
    auth("smtp rejected", REJECT, NO, CLOSED),
    auth("smtp rejected with a code", answer("no way", "Auth-Error-Code: 550 5.1.1"), "550 5.1.1 no way", CLOSED),
    auth("smtp rejected temporarily", answer("later", "Auth-Error-Code: 451 4.3.0"), "451 4.3.0 later", CLOSED),
    auth("smtp auth server closes", CLOSE, FAILED, CLOSED),
    auth("smtp auth server stalls", (), FAILED, CLOSED, server="smtp-quick"),
    auth("smtp no server", answer("OK"), FAILED, CLOSED),
    Case("smtp empty status is no failure", [(AUTH, IN)],
         [b"HTTP/1.0 200 OK\r\nAuth-Status:\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: 99999\r\n\r\n"], XCLIENT[:3],
         server="smtp"),
    Case("smtp rejected with a wait", [EHLO, (AUTH, NO), STILL_THERE, (AUTH, IN)], [REJECT_WAIT, ACCEPT], XCLIENT,
         server="smtp"),
    Case("smtp commands sent during the wait", [((AUTH, 0.3, "NOOP"), (NO, OK))], [REJECT_WAIT], server="smtp"),
    Case("smtp wait and ask again", [(AUTH, IN)], [answer("WAIT", "Auth-Wait: 1"), ACCEPT], XCLIENT[:3],
         server="smtp"),
    Case("smtp user of the auth server", [EHLO, (AUTH, IN)], [answer("OK", "Auth-User: real+user=\xe9", port="99999")],
         XCLIENT, server="smtp"),
]  # fmt: skip

BACKENDS = [
    backend("smtp replies of several lines", b"220-a\r\n220 hi\r\n", b"250-a\r\n250-b\r\n250 c\r\n",
            b"220-x\r\n220 y\r\n", b"250-a\r\n250 b\r\n", expect=IN),
    backend("smtp replies byte by byte", *(Trickle(reply.encode() + b"\r\n") for reply in XCLIENT), expect=IN),
    backend("smtp 250 to xclient", "220 hi", "250 ok", "250 ok", "250 ok", expect=IN),
    backend("smtp greeting refused", "554 no"),
    backend("smtp greeting of 250", "250 hi"),
    backend("smtp ehlo refused", "220 hi", "502 no"),
    backend("smtp xclient refused", "220 hi", "250 ok", "550 no"),
    backend("smtp second ehlo refused", "220 hi", "250 ok", "220 ok", "502 no"),
    backend("smtp greeting of several lines refused", b"554-no\r\n554 no\r\n"),
    backend("smtp backend closes", CLOSE),
    backend("smtp backend closes at xclient", "220 hi", "250 ok", CLOSE),
    backend("smtp backend resets", RESET),
    backend("smtp backend stalls", (), server="smtp-quick"),
    backend("smtp backend stalls at xclient", "220 hi", "250 ok", (), server="smtp-quick"),
    backend("smtp backend never ends its lines", b"220-hi\r\n", server="smtp-quick"),
    backend("smtp backend floods", b"220 " + b"x" * 100000),
    backend("smtp greeting passed on", "554 no", expect=("554 no", CLOSED), server="smtp-pass"),
    backend("smtp error of several lines passed on", "220 hi", b"502-no\r\n502 never\r\n",
            expect=("502-no", "502 never", CLOSED), server="smtp-pass"),
    Case("without xclient, after ehlo", [EHLO_PLAIN, (AUTH, IN)], [ACCEPT], XCLIENT[:2], server="smtp-no-xclient"),
    Case("without xclient, after helo", [HELO, (AUTH, IN)], [ACCEPT], XCLIENT[:2], server="smtp-no-xclient"),
    Case("without xclient or helo", [(AUTH, IN)], [ACCEPT], XCLIENT[:2], server="smtp-no-xclient"),
    Case("ehlo, then helo", [EHLO_PLAIN, HELO, (AUTH, IN)], [ACCEPT], XCLIENT[:2], server="smtp-no-xclient"),
    Case("ehlo, then helo, with xclient", [EHLO, ("HELO other", "250 mail.example.com"), (AUTH, IN)], [ACCEPT],
         XCLIENT, server="smtp"),
    Case("proxy_smtp_auth", [EHLO, (AUTH, IN)], [ACCEPT], (*XCLIENT, "235 in"), server="smtp-auth"),
    Case("proxy_smtp_auth without xclient", [EHLO_PLAIN, (AUTH, IN)], [ACCEPT], ("220 hi", "250 ok", "235 in"),
         server="smtp-auth-no-xclient"),
    Case("proxy_smtp_auth refused", [EHLO, (AUTH, (FAILED, CLOSED))], [ACCEPT], (*XCLIENT, "535 no"),
         server="smtp-auth"),
    Case("proxy_smtp_auth with values of the auth server", [EHLO, (AUTH, IN)],
         [answer("OK", "Auth-User: real", "Auth-Pass: p\xe4ss word", port="99999")], (*XCLIENT, "235 in"),
         server="smtp-auth"),
    Case("proxy_smtp_auth without a password", [EHLO, (f"AUTH EXTERNAL {b64('user')}", (FAILED, CLOSED))], [ACCEPT],
         XCLIENT, server="smtp-auth"),
    Case("proxy_smtp_auth after cram-md5", [EHLO, ("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), IN)],
         [PASSWORD], (*XCLIENT, "235 in"), server="smtp-auth"),
    Case("smtp relay both ways",
         [EHLO, (AUTH, IN), ("MAIL FROM:<>", "250 m"), ("DATA", "354 go"), (b"\0\xff\n.x\r\n.\r\n", "250 done")],
         [ACCEPT], (*XCLIENT, "250 m", "354 go", (), (), "250 done"), server="smtp"),
    Case("smtp commands pipelined behind the login",
         [EHLO, (f"{AUTH}\r\nMAIL FROM:<x>\r\nRCPT TO:<y>", (IN, "250 m", "250 r"))], [ACCEPT],
         (*XCLIENT, "250 m", "250 r"), server="smtp"),
    Case("smtp silence in the relay", [EHLO, (AUTH, (IN, CLOSED))], [ACCEPT], XCLIENT, server="smtp-quick"),
]  # fmt: skip

MAILS = [
    mail("mail without login", [EHLO_PLAIN, MAIL, (RCPT, "250 r"), ("DATA", "354 go")],
         (*XCLIENT, "250 m", "250 r", "354 go")),
    mail("mail without helo", [MAIL, (RCPT, "250 r")], (*XCLIENT[:3], "250 m", "250 r")),
    mail("mail after helo", [HELO, MAIL, (RCPT, "250 r")], (*XCLIENT, "250 m", "250 r")),
    mail("mail without xclient", [("EHLO cli", "250 mail.example.com"), MAIL, (RCPT, "250 r")],
         ("220 hi", "250 ok", "250 m", "250 r"), server="smtp-only-none"),
    mail("mail with parameters and spaces",
         [EHLO_PLAIN, ("mail  FROM:<a@b>  SIZE=1  ", OK), ("rcpt  TO:<c d>  NOTIFY=NEVER ", "250 r")],
         (*XCLIENT, "250 m", "250 r")),
    mail("mail with 8-bit and percent", [EHLO_PLAIN, ("MAIL FROM:<\xe9%20@b>", OK), ("RCPT TO:<\xe4@d>", "250 r")],
         (*XCLIENT, "250 m", "250 r")),
    mail("recipient refused by the backend", [EHLO_PLAIN, MAIL, (RCPT, "550 no such user"), (RCPT, "250 r")],
         (*XCLIENT, "250 m", "550 no such user", "250 r")),
    mail("sender refused by the backend", [EHLO_PLAIN, MAIL, (RCPT, ("550 bad sender", CLOSED))],
         (*XCLIENT, "550 bad sender")),
    mail("sender refused by the backend for now", [EHLO_PLAIN, MAIL, (RCPT, (FAILED, CLOSED))], (*XCLIENT, "450 later")),
    mail("helo refused by the backend", [EHLO_PLAIN, MAIL, (RCPT, ("550 bad name", CLOSED))],
         (*XCLIENT[:3], "550 bad name")),
    mail("client refused by the backend", [EHLO_PLAIN, MAIL, (RCPT, ("554 bad address", CLOSED))],
         (*XCLIENT[:2], "554 bad address")),
    mail("xclient refused by the backend", [EHLO_PLAIN, MAIL, (RCPT, (FAILED, CLOSED))],
         (*XCLIENT[:2], "550 5.7.0 Error: insufficient authorization")),
    mail("address literal refused by the backend",
         [("EHLO [127.0.0.1]", EHLO_PLAIN[1]), MAIL, (RCPT, ("250 r"))],
         (*XCLIENT[:3], "501 bad literal", "250 ehlo", "250 m", "250 r")),
    mail("sender refused by the backend, passed on", [EHLO_PLAIN, MAIL, (RCPT, ("550 bad sender", CLOSED))],
         (*XCLIENT, "550 bad sender"), server="smtp-pass"),
    mail("recipient rejected", [EHLO_PLAIN, MAIL, (RCPT, (NO, CLOSED))], auth=[REJECT]),
    mail("recipient rejected with a code", [EHLO_PLAIN, MAIL, (RCPT, ("550 5.1.1 none", CLOSED))],
         auth=[answer("none", "Auth-Error-Code: 550 5.1.1")]),
    mail("recipient rejected with a wait",
         [EHLO_PLAIN, MAIL, (RCPT, NO), ("MAIL FROM:<e>", SEQUENCE), ("RCPT TO:<other>", "250 r")],
         (*XCLIENT, "250 m", "250 r"), [REJECT_WAIT, ACCEPT]),
    mail("mail twice", [EHLO_PLAIN, MAIL, ("MAIL FROM:<e>", SEQUENCE), ("RSET", OK), MAIL], auth=[]),
    mail("rcpt before mail", [EHLO_PLAIN, (RCPT, SEQUENCE), STILL_THERE], auth=[]),
    mail("rcpt after rset", [EHLO_PLAIN, MAIL, ("RSET", OK), (RCPT, SEQUENCE)], auth=[]),
    mail("rcpt after another helo", [EHLO_PLAIN, MAIL, HELO, (RCPT, SEQUENCE)], auth=[]),
    mail("mail and rcpt without arguments", [("MAIL", ARGUMENT), MAIL, ("RCPT", ARGUMENT), STILL_THERE], auth=[]),
    mail("login although none is listed", [EHLO_PLAIN, (AUTH, IN)], XCLIENT),
    mail("mail after a failed login", [EHLO_PLAIN, (AUTH, NO), MAIL, (RCPT, "250 r")], (*XCLIENT, "250 m", "250 r"),
         [REJECT_WAIT, ACCEPT]),
    mail("mail pipelined", [("EHLO cli\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e>\r\nDATA",
                             (NAME, "250 AUTH PLAIN LOGIN", OK, "250 r", "250 r2", "354 go"))],
         (*XCLIENT, "250 m", "250 r", "250 r2", "354 go")),
    mail("mail asked again", [EHLO_PLAIN, MAIL, (RCPT, "250 r")], (*XCLIENT, "250 m", "250 r"),
         [answer("WAIT", "Auth-Wait: 1"), ACCEPT]),
]  # fmt: skip

CASES = [*COMMANDS, *SASL, *ANSWERS, *BACKENDS, *MAILS]
