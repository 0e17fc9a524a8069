"""POP3: commands and states, SASL, the login at the backend (reference 5.3, 5.5 and 7.3)."""

from base64 import b64encode

from case import ACCEPT, PASSWORD, REJECT, REJECT_WAIT, SALT, Case
from support.authserver import answer
from support.listener import CLOSE, RESET, Moves, Trickle
from support.script import CLOSED, SHUT, VANISH, Expect

OK = "+OK"
BAD = "-ERR invalid command"
IN = "+OK logged in"
BACKEND = ("+OK hi", "+OK u", IN)
FAILED = "-ERR internal server error"
NO = "-ERR Invalid login or password"
STILL_THERE = ("NOOP", OK)
CAPABILITIES = ("+OK Capability list follows", "TOP", "USER", "UIDL")
USERNAME = "+ VXNlcm5hbWU6"
ASK_PASSWORD = "+ UGFzc3dvcmQ6"
CHALLENGE = f"+ BASE64({SALT})"
DIGEST = "0123456789abcdef0123456789abcdef"


def b64(value: str) -> str:
    return b64encode(value.encode("latin-1")).decode()


GOOD = b64("\0user\0pass")


def login(name: str, user: bytes | str, password: bytes | str) -> Case:
    """USER and PASS lines that log in."""
    return Case(name, [(user, OK), (password, IN)], [ACCEPT], BACKEND, server="pop3")


def refused(name: str, *lines: bytes | str, server: str = "pop3") -> Case:
    """Each line gets -ERR, and the session goes on."""
    return Case(name, [*((line, BAD) for line in lines), STILL_THERE], server=server)


def unknown(name: str, line: str, server: str = "pop3") -> Case:
    """An AUTH whose mechanism is not offered."""
    return Case(name, [(line, "-ERR Unsupported authentication mechanism"), STILL_THERE], server=server)


def response(name: str, command: str, prompt: str, reply: str, server: str = "pop3") -> Case:
    """A response that is refused; the session goes on."""
    return Case(name, [(command, prompt), (reply, BAD), STILL_THERE], server=server)


def auth(name: str, reply: Moves, *expects: Expect, server: str = "pop3") -> Case:
    """An answer of the auth server to USER and PASS."""
    return Case(name, [("USER user", OK), ("PASS pass", expects)], [reply], server=server)


def backend(name: str, *replies: Moves, expect: Expect | tuple[Expect, ...] = (FAILED, CLOSED),
            server: str = "pop3") -> Case:  # fmt: skip
    """The backend's replies to a login."""
    return Case(name, [("USER user", OK), ("PASS pass", expect)], [ACCEPT], replies, server=server)


COMMANDS = [
    Case("pop3 greeting without salt", [STILL_THERE], server="pop3-plain"),
    Case("pop3 quit", [("QUIT", (OK, CLOSED))], server="pop3"),
    Case("pop3 in any case", [("nOOp", OK), ("qUIT", (OK, CLOSED))], server="pop3"),
    Case("capa", [("CAPA", (*CAPABILITIES, "SASL PLAIN LOGIN CRAM-MD5 EXTERNAL", "."))], server="pop3"),
    Case("capa by default", [("CAPA", (*CAPABILITIES, "SASL PLAIN LOGIN", "."))], server="pop3-plain"),
    Case("capa as configured",
         [(None, f"+OK POP3 ready {SALT}"), ("CAPA", ("+OK Capability list follows", "TOP", "LAST", "SASL", "."))],
         server="pop3-apop", greeting=False),
    Case("capa after USER",
         [("USER user", OK), ("CAPA", (*CAPABILITIES, "SASL PLAIN LOGIN CRAM-MD5 EXTERNAL", ".")), ("PASS pass", IN)],
         [ACCEPT], BACKEND, server="pop3"),
    Case("auth lists the methods",
         [("AUTH", ("+OK methods supported:", "PLAIN", "LOGIN", "CRAM-MD5", "EXTERNAL", "."))], server="pop3"),
    Case("noop after USER", [("USER user", OK), STILL_THERE, ("PASS pass", IN)], [ACCEPT], BACKEND, server="pop3"),
    Case("quit after USER", [("USER user", OK), ("QUIT", (OK, CLOSED))], server="pop3"),
    Case("noop with arguments", [("NOOP 1 2 3", OK)], server="pop3"),
    Case("pop3 bare line feeds", [(b"NOOP\nNOOP\n", (OK, OK))], server="pop3"),
    Case("pop3 pipelined", [("NOOP\r\nFOO\r\nNOOP", (OK, BAD, OK))], server="pop3"),
    Case("pop3 in pieces", [((b"NO", 0.02, b"OP\r", 0.02, b"\n"), OK)], server="pop3"),
    refused("stls when off", "STLS"),
    refused("stat before the login", "STAT"),
    refused("unknown verb of four letters", "FOOO"),
    refused("verb of five letters", "NOOPS"),
    refused("verb of three letters", "NOO"),
    refused("pop3 empty line", ""),
    refused("pop3 four arguments", "NOOP 1 2 3 4"),
    refused("pop3 carriage return without line feed", b"NOOP\rX\r\n"),
    refused("pop3 space before the verb", " NOOP"),
    refused("pop3 8-bit", "N\xd6OP"),
    Case("pop3 five errors", [*[("FOO", BAD)] * 4, ("FOO", (BAD, CLOSED))], server="pop3"),
    Case("pop3 max_errors 2", [("FOO", BAD), STILL_THERE, ("FOO", (BAD, CLOSED))], server="pop3-errors"),
    Case("pop3 semantic errors do not count",
         [("PASS x", BAD), ("STLS", BAD), ("APOP x", BAD), ("AUTH FOO", "-ERR Unsupported authentication mechanism"), ("USER", BAD), STILL_THERE],
         server="pop3-errors"),
    Case("pop3 line longer than the buffer", [(b"NOOP " + b"x" * 123, (BAD, CLOSED))], server="pop3"),
    Case("pop3 half-close", [(("NOOP", 0.05, SHUT), (OK, CLOSED))], server="pop3"),
    Case("pop3 reset", [((b"USER us", 0.05, VANISH), None)], server="pop3"),
    Case("pop3 timeout", [(0.3, None), STILL_THERE, (None, CLOSED)], server="pop3-quick"),
]  # fmt: skip

LOGINS = [
    login("user and pass", "USER user", "PASS pass"),
    login("user and pass in lower case", "user user", "pass pass"),
    login("spaces belong to the password", "USER user", "PASS  pa ss "),
    login("spaces belong to the user name", "USER  us er ", "PASS pass"),
    login("8-bit in user and password", "USER us\xe9r", "PASS p\xe4ss"),
    login("control characters and percent", b"USER u\x01%\r\n", b"PASS \tp%20\x7f\r\n"),
    login("bare line feeds in the login", b"USER user\n", b"PASS pass\n"),
    login("byte by byte in the login", (b"USER user\r\n"), b"PASS pass\r\n"),
    refused("user without a name", "USER"),
    refused("user with only a space", "USER "),
    refused("pass before user", "PASS pass"),
    Case("pass without a password", [("USER user", OK), ("PASS", BAD), ("PASS pass", BAD), STILL_THERE],
         server="pop3"),
    Case("a wrong command after USER starts over",
         [("USER user", OK), ("APOP x y", BAD), ("PASS pass", BAD), ("USER user", OK), ("PASS pass", IN)],
         [ACCEPT], BACKEND, server="pop3"),
    Case("a syntax error after USER starts over",
         [("USER user", OK), ("FOO", BAD), ("PASS pass", BAD), STILL_THERE], server="pop3"),
    Case("USER after USER starts over", [("USER user", OK), ("USER other", BAD), ("PASS pass", BAD), STILL_THERE],
         server="pop3"),
    Case("login pipelined with commands", [("USER user\r\nPASS pass\r\nSTAT\r\nLIST", (OK, IN, "+OK 0 0", "+OK"))],
         [ACCEPT], (*BACKEND, "+OK 0 0", "+OK"), server="pop3"),
    Case("apop", [(f"APOP user {DIGEST}", IN)], [PASSWORD], BACKEND, server="pop3"),
    Case("apop with a digest of any kind", [("APOP us%er x%y", IN)], [PASSWORD], BACKEND, server="pop3"),
    Case("apop without a password from the auth server", [(f"APOP user {DIGEST}", (FAILED, CLOSED))], [ACCEPT],
         server="pop3"),
    refused("apop with one argument", "APOP user"),
    refused("apop with three arguments", "APOP user x y"),
    refused("apop when not listed", "APOP user x", server="pop3-plain"),
    Case("apop asked again", [(f"APOP user {DIGEST}", IN)], [answer("WAIT", "Auth-Wait: 1"), PASSWORD], BACKEND,
         server="pop3"),
]  # fmt: skip

SASL = [
    Case("pop3 plain", [("AUTH PLAIN", "+ "), (GOOD, IN)], [ACCEPT], BACKEND, server="pop3"),
    Case("pop3 plain with initial response", [(f"AUTH PLAIN {GOOD}", IN)], [ACCEPT], BACKEND, server="pop3"),
    Case("pop3 login mechanism",
         [("AUTH LOGIN", USERNAME), (b64("user"), ASK_PASSWORD), (b64("pass"), IN)], [ACCEPT], BACKEND, server="pop3"),
    Case("pop3 login mechanism with initial response",
         [(f"auth login {b64('user')}", ASK_PASSWORD), (b64("pass"), IN)], [ACCEPT], BACKEND, server="pop3-plain"),
    Case("pop3 cram-md5", [("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), IN)], [PASSWORD], BACKEND,
         server="pop3"),
    Case("pop3 external", [("AUTH EXTERNAL", USERNAME), (b64("user"), IN)], [PASSWORD], BACKEND, server="pop3"),
    Case("pop3 external with initial response", [(f"AUTH EXTERNAL {b64('user')}", IN)], [PASSWORD], BACKEND,
         server="pop3"),
    response("pop3 wrong base64 in plain", "AUTH PLAIN", "+ ", "*"),
    response("pop3 plain without NUL", "AUTH PLAIN", "+ ", b64("user")),
    response("pop3 wrong base64 in login", "AUTH LOGIN", USERNAME, "!"),
    response("pop3 wrong base64 in external", "AUTH EXTERNAL", USERNAME, "!"),
    response("pop3 wrong digest", "AUTH CRAM-MD5", CHALLENGE, b64("user x")),
    unknown("pop3 unknown mechanism", "AUTH SCRAM-SHA-1"),
    unknown("pop3 cram-md5 when not listed", "AUTH CRAM-MD5", server="pop3-plain"),
    unknown("pop3 external when not listed", "AUTH EXTERNAL", server="pop3-plain"),
    refused("pop3 plain with two responses", f"AUTH PLAIN {GOOD} {GOOD}"),
]  # fmt: skip

ANSWERS = [
    auth("pop3 rejected", REJECT, NO, CLOSED),
    auth("pop3 rejected with an empty text", b"HTTP/1.0 200 OK\r\nAuth-Status:\r\n\r\n", "-ERR ", CLOSED),
    auth("pop3 auth server closes", CLOSE, FAILED, CLOSED),
    auth("pop3 auth server sends garbage", b"\0\r\n\r\n", FAILED, CLOSED),
    auth("pop3 auth server stalls", (), FAILED, CLOSED, server="pop3-quick"),
    auth("pop3 no port", answer("OK", "Auth-Server: 127.0.0.1"), FAILED, CLOSED),
    Case("pop3 rejected with a wait",
         [("USER user", OK), ("PASS pass", NO), ("PASS pass", BAD), ("USER user", OK), ("PASS pass", IN)],
         [REJECT_WAIT, ACCEPT], BACKEND, server="pop3"),
    Case("pop3 wait and ask again", [("USER user", OK), ("PASS pass", IN)],
         [answer("WAIT", "Auth-Wait: 1"), ACCEPT], BACKEND, server="pop3"),
    Case("pop3 values of the auth server", [("USER user", OK), ("PASS pass", IN)],
         [answer("OK", "Auth-User: real one", "Auth-Pass: other%20", port="99999")], BACKEND, server="pop3"),
]  # fmt: skip

BACKENDS = [
    backend("pop3 replies of +OK only", "+OK", "+OK", "+OK", expect="+OK"),
    backend("pop3 replies byte by byte", Trickle(b"+OK hi\r\n"), Trickle(b"+OK\r\n"), Trickle(b"+OK in\r\n"),
            expect="+OK in"),
    backend("pop3 greeting refused", "-ERR busy"),
    backend("pop3 user refused", "+OK hi", "-ERR who"),
    backend("pop3 password refused", "+OK hi", "+OK", "-ERR [AUTH] wrong"),
    backend("pop3 greeting in lower case", "+ok hi"),
    backend("pop3 greeting is garbage", "* OK IMAP"),
    backend("pop3 backend closes at once", CLOSE),
    backend("pop3 backend closes at the user", "+OK hi", CLOSE),
    backend("pop3 backend closes at the password", "+OK hi", "+OK", CLOSE),
    backend("pop3 backend resets", RESET),
    backend("pop3 backend stalls", (), server="pop3-quick"),
    backend("pop3 backend stalls at the user", "+OK hi", (), server="pop3-quick"),
    backend("pop3 backend stalls at the password", "+OK hi", "+OK", (), server="pop3-quick"),
    backend("pop3 backend without carriage return", b"+OK hi\n", server="pop3-quick"),
    backend("pop3 backend floods", b"+OK " + b"x" * 100000),
    backend("pop3 greeting passed on", "-ERR busy", expect=("-ERR busy", CLOSED), server="pop3-pass"),
    backend("pop3 error passed on", "+OK hi", "+OK", "-ERR [AUTH] wrong", expect=("-ERR [AUTH] wrong", CLOSED),
            server="pop3-pass"),
    backend("pop3 backend ends the session", "+OK hi", "+OK", ("+OK in", CLOSE), expect=("+OK in", CLOSED)),
    Case("pop3 relay both ways", [("USER user", OK), ("PASS pass", IN), ("RETR 1", b"+OK\r\n\0\xff\r\n.\r\n"),
                                  (b"NO" * 400 + b"\r\n", "-ERR")],
         [ACCEPT], (*BACKEND, b"+OK\r\n\0\xff\r\n.\r\n", "-ERR"), server="pop3"),
    Case("pop3 silence in the relay", [("USER user", OK), ("PASS pass", (IN, CLOSED))], [ACCEPT], BACKEND,
         server="pop3-quick"),
    Case("pop3 client resets in the relay",
         [("USER user", OK), ("PASS pass", IN), (("STAT", 0.05, VANISH), None)], [ACCEPT], BACKEND, server="pop3"),
]  # fmt: skip

CASES = [*COMMANDS, *LOGINS, *SASL, *ANSWERS, *BACKENDS]
