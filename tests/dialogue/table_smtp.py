"""SMTP clients (reference 5.2, 5.3 and 5.6): what they say, what they are told."""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from dialogue.exchange import SALT, Line, Talk, answer, request

ALL = {"auth": ("plain", "login", "cram-md5", "external")}
NONE = {"auth": ("plain", "none")}
OK = "250 2.0.0 OK"
BAD = "500 5.5.1 Invalid command"
NO_SUCH = "504 5.5.4 Unsupported authentication mechanism"
ARGUMENT = "501 5.5.4 Invalid argument"
SEQUENCE = "503 5.5.1 Bad sequence of commands"
REQUIRED = "530 5.7.1 Authentication required"
TOO_MANY = "info: client sent too many invalid commands"
DIGEST = "0123456789abcdef0123456789abcdef"
CHALLENGE = "334 " + b64encode(SALT).decode()
USERNAME, PASSWORD = "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"
HELO, EHLO = "250 mail.example.com", "250-mail.example.com\n250 AUTH PLAIN"
HOST = "Client-Host: [UNAVAILABLE]"


def smtp(name: str, says: Sequence[tuple[Line, Line]], *args: Any, **more: Any) -> Talk:
    return Talk(name, says, *args, **({"protocol": "smtp"} | more))


def sasl(name: str, says: list[tuple[Line, Line]], method: str = "plain", user: bytes = b"user",
         password: bytes = b"pass") -> Talk:  # fmt: skip
    return smtp(name, says, "auth", credentials=(method, user, password), options=ALL)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def envelope(helo: str, mail: str, rcpt: str, attempt: int = 1) -> bytes:
    return request("", "", HOST, f"Auth-SMTP-Helo: {helo}", f"Auth-SMTP-From: {mail}", f"Auth-SMTP-To: {rcpt}",
                   method="none", attempt=attempt, protocol="smtp")  # fmt: skip


COMMANDS = [
    smtp("helo", [("HELO c", HELO)]),
    smtp("ehlo", [("EHLO c", EHLO)]),
    smtp("ehlo, all mechanisms and capabilities",
         [("EHLO c", "250-mail.example.com\n250-PIPELINING\n250-SIZE 10000\n250 AUTH PLAIN LOGIN CRAM-MD5 EXTERNAL")],
         options=ALL | {"capabilities": (b"PIPELINING", b"SIZE 10000")}),
    smtp("ehlo, no mechanism", [("EHLO c", "250-mail.example.com\n250 SIZE")],
         options={"auth": ("none",), "capabilities": (b"SIZE",)}),
    smtp("ehlo, nothing at all", [("EHLO c", HELO)], options={"auth": ()}),
    smtp("case does not count", [("eHLo c", EHLO), ("nOoP", OK)]),
    smtp("hello with an address literal", [("EHLO [192.0.2.1]", EHLO)]),
    smtp("hello without one argument", [("HELO", ARGUMENT), ("EHLO", ARGUMENT), ("HELO a b", ARGUMENT), ("EHLO  ", ARGUMENT),
                                        ("NOOP", OK)], options={"max_errors": 1}),
    smtp("noop, rset, quit", [("NOOP x y", OK), ("RSET z", OK), ("QUIT now", "221 2.0.0 Bye")], "close"),
    smtp("quit leaves what follows", [("QUIT\nNOOP", "221 2.0.0 Bye")], "close"),
    smtp("bare line feeds and spaces behind", [(b"NOOP  \nRSET\n", "250 2.0.0 OK\n250 2.0.0 OK")]),
    smtp("pipelined", [("EHLO c\nNOOP\nDATA\nRSET", f"{EHLO}\n{OK}\n{BAD}\n{OK}")]),
    smtp("refused without being errors",
         [("VRFY x", BAD), ("EXPN x", BAD), ("HELP", BAD), ("STARTTLS", BAD), ("NOOP", OK)], options={"max_errors": 1}),
    smtp("eleven arguments", [("NOOP 1 2 3 4 5 6 7 8 9 10 11", OK)]),
]  # fmt: skip

ERRORS = [
    smtp("five syntax errors end the session", [("DATA", BAD)] * 5, "close", [TOO_MANY]),
    *[smtp(f"{verb!r} is one", [(verb, BAD)], "close", [TOO_MANY], options={"max_errors": 1})
      for verb in ("DATA", "BDAT 1", "", "NOO", "NOOPX", "STARTTL", "NO\0P", "N\xd6OP", "NOOP\t", b"NO\rOP\r\n",
                   b"HELO a\rb\r\n", b"NOOP\r\r\n", b"\n", "NOOP 1 2 3 4 5 6 7 8 9 10 11 12")],
    smtp("auth without argument", [("AUTH", ARGUMENT), ("NOOP", OK)], options={"max_errors": 1}),
    smtp("auth with wrong words", [("AUTH FOO", NO_SUCH), ("AUTH PLAIN x y", BAD), ("AUTH CRAM-MD5", NO_SUCH),
                                   ("AUTH EXTERNAL", NO_SUCH), ("AUTH EXTERNAL dXNlcg==", NO_SUCH), ("NOOP", OK)],
         options={"max_errors": 1}),
    smtp("a command longer than the buffer", [(b"NOOP " + b"x" * 27, BAD)], "close",
         ['info: client sent too long command "NOOP" (arguments not shown)'], options={"client_buffer": 32}),
    smtp("mail without login", [("EHLO a", EHLO), ("MAIL FROM:<x>", REQUIRED), ("NOOP", OK)],
         log=['info: client was rejected: "MAIL FROM:<x>__"'], options={"max_errors": 1}),
    smtp("mail without login, with a bare line feed", [(b"MAIL FROM:<x>\n", REQUIRED)],
         log=['info: client was rejected: "MAIL FROM:<x>_"']),
    smtp("what is pipelined behind a rejected mail is executed",
         [("MAIL FROM:<x>\nRCPT TO:<y>\nNOOP", f"{REQUIRED}\n{SEQUENCE}\n{OK}")],
         log=['info: client was rejected: "MAIL FROM:<x>__"']),
    smtp("rcpt without mail", [("RCPT TO:<y>", SEQUENCE), ("NOOP", OK)], options={"max_errors": 1}),
]  # fmt: skip

SASL = [
    sasl("plain", [("AUTH PLAIN", "334 "), (b64(b"\0user\0pass"), b"")]),
    sasl("plain at once", [("AUTH PLAIN AHVzZXIAcGFzcw==", b"")]),
    sasl("login", [("AUTH LOGIN", USERNAME), ("dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("login, half at once", [("AUTH LOGIN dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("external", [("AUTH EXTERNAL", USERNAME), ("dXNlcg==", b"")], "external", password=b""),
    sasl("cram-md5", [("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}".encode()), b"")], "cram-md5",
         password=DIGEST.encode()),
    smtp("bad responses", [("AUTH PLAIN", "334 "), ("*", BAD), ("AUTH LOGIN !", BAD), ("AUTH CRAM-MD5", CHALLENGE),
                           ("dXNlcg==", BAD), ("AUTH EXTERNAL", USERNAME), ("!", BAD), ("NOOP", OK)], "read",
         ["info: client sent invalid base64 encoding in AUTH PLAIN command",
          "info: client sent invalid base64 encoding in AUTH LOGIN command",
          "info: client sent invalid CRAM-MD5 hash in AUTH CRAM-MD5 command",
          "info: client sent invalid base64 encoding in AUTH EXTERNAL command"], options=ALL | {"max_errors": 1}),
    smtp("the request", [("EHLO c", EHLO), ("AUTH PLAIN AHVzZXIAcGFzcw==", b"")], "auth",
         requests=[request("user", "pass", HOST, protocol="smtp")]),
]  # fmt: skip

MAIL = "MAIL FROM:<a@b> SIZE=3"
RCPT = "RCPT TO:<c@d>"
NO_WAIT = answer("no way", "Auth-Wait: 1")
NO = "535 5.7.0 no way"
LOG = 'info: client login failed: "no way"'

ENVELOPES = [
    smtp("helo, mail, rcpt", [("HELO cli", HELO), (MAIL, OK), (RCPT, b"")], "auth", requests=[envelope("cli", MAIL, RCPT)],
         credentials=("none", b"", b""), options=NONE),
    smtp("no helo", [(MAIL, OK), (RCPT, b"")], "auth", requests=[envelope("", MAIL, RCPT)], options=NONE),
    smtp("the text is kept as it stands", [("mAIL   FROM:<a@b>  SIZE=3  ", OK), ("RCPT  to:x   ", b"")], "auth",
         requests=[envelope("", "mAIL   FROM:<a@b>  SIZE=3", "RCPT  to:x")], options=NONE),
    smtp("it is not escaped", [(b"MAIL FROM:<%\xff\t>\r\n", OK), (RCPT, b"")], "auth",
         requests=[envelope("", "MAIL FROM:<%\xff\t>", RCPT)], options=NONE),
    smtp("what is pipelined stays for the backend", [("MAIL a\nRCPT b\nDATA\nX", OK)], "auth", leftover=b"DATA\r\nX\r\n",
         options=NONE),
    smtp("mail without argument", [("MAIL", ARGUMENT), ("RCPT", SEQUENCE), ("NOOP", OK)], options=NONE | {"max_errors": 1}),
    smtp("rcpt without argument", [(MAIL, OK), ("RCPT", ARGUMENT), (RCPT, b"")], "auth", options=NONE),
    smtp("mail twice", [(MAIL, OK), ("MAIL x", SEQUENCE), (RCPT, b"")], "auth", requests=[envelope("", MAIL, RCPT)],
         options=NONE),
    *[smtp(f"{verb} forgets the sender", [(MAIL, OK), (verb, told), (RCPT, SEQUENCE), ("MAIL x", OK)], options=NONE)
      for verb, told in (("RSET", OK), ("HELO c", HELO), ("EHLO c", EHLO))],
    smtp("noop does not", [(MAIL, OK), ("NOOP", OK), ("FOO", BAD), (RCPT, b"")], "auth", options=NONE),
    smtp("the helo name survives rset", [("HELO c", HELO), ("RSET", OK), (MAIL, OK), (RCPT, b"")], "auth",
         requests=[envelope("c", MAIL, RCPT)], options=NONE),
    smtp("no credentials of before", [("AUTH PLAIN AHVzZXIAcGFzcw==", NO), (MAIL, OK), (RCPT, b"")], "auth", [LOG],
         [NO_WAIT], [request("user", "pass", HOST, protocol="smtp"), envelope("", MAIL, RCPT, 2)], waits=[1000],
         options=NONE),
    smtp("after a rejected recipient the sender is kept",
         [(MAIL, OK), (RCPT, NO), (MAIL, SEQUENCE), ("RCPT TO:<e>", b"")], "auth", [LOG], [NO_WAIT],
         [envelope("", MAIL, RCPT), envelope("", MAIL, "RCPT TO:<e>", 2)], waits=[1000], options=NONE),
]  # fmt: skip

AUTH = [
    smtp("rejected", [("AUTH PLAIN AHVzZXIAcGFzcw==", NO)], "rejected", [LOG], [answer("no way")]),
    smtp("rejected with a code", [("AUTH PLAIN AHVzZXIAcGFzcw==", "454 4.7.0 no way")], "rejected", [LOG],
         [answer("no way", "Auth-Error-Code: 454 4.7.0")]),
    smtp("rejected with an empty code", [("AUTH PLAIN AHVzZXIAcGFzcw==", NO)], "rejected", [LOG],
         [answer("no way", "Auth-Error-Code:")]),
    smtp("rejected with the code that announces a close",
         [("AUTH PLAIN AHVzZXIAcGFzcw==", "421 4.7.0 no way")], "rejected", [LOG],
         [answer("no way", "Auth-Error-Code: 421 4.7.0")]),
    smtp("max_auth_attempts",
         [("AUTH PLAIN AHVzZXIAYmFk", NO), ("AUTH PLAIN AHVzZXIAcGFzcw==", b"")], "auth", [LOG], [answer("no way")],
         waits=[1000], options={"max_auth_attempts": 2}),
    smtp("an empty status is no rejection", [("AUTH PLAIN AHVzZXIAcGFzcw==", b"")], "proxy", (), [answer("")]),
    smtp("input during the pause (reference 5.7)", [("AUTH PLAIN", "334 "), ("AHVzZXIAcGFzcw==\nNOOP", f"{NO}\n{OK}")],
         log=[LOG], auth=[NO_WAIT], waits=[1000]),
    smtp("no password is needed for cram-md5",
         [("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}".encode()), b"")], "proxy", (), [answer()],
         [request("user", DIGEST, HOST, method="cram-md5", protocol="smtp")], options=ALL),
]  # fmt: skip

TABLES = {"command": COMMANDS, "error": ERRORS, "sasl": SASL, "envelope": ENVELOPES, "auth": AUTH}
