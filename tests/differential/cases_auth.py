"""Answers of the auth server, good and odd (reference section 6), seen from IMAP."""

from case import ACCEPT, BACKEND_PORT, DEAD_PORT, REJECT, REJECT_WAIT, Case
from support.authserver import answer
from support.listener import CLOSE, RESET, Moves, Trickle
from support.script import CLOSED, VANISH

LOGIN = "a LOGIN user pass"
IN = "a OK logged in"
BACKEND = ("* OK hi", IN)
NO = "a NO Invalid login or password"
FAILED = "a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error"
STILL_THERE = ("z NOOP", "z OK completed")


def good(name: str, reply: Moves, server: str = "imap") -> Case:
    """This answer logs the client in."""
    return Case(name, [(LOGIN, IN)], [reply], BACKEND, server=server)


def bad(name: str, reply: Moves, server: str = "imap") -> Case:
    """This answer is an internal error."""
    return Case(name, [(LOGIN, (FAILED, CLOSED))], [reply], server=server)


def no(name: str, reply: Moves, text: str) -> Case:
    """This answer rejects the login with a text, and the session ends."""
    return Case(name, [(LOGIN, (f"a NO {text}", CLOSED))], [reply])


def head(*lines: str, first: str = "HTTP/1.0 200 OK") -> bytes:
    """An answer of exactly these lines, the status line and the empty line."""
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


SERVER = "Auth-Server: 127.0.0.1"
PORT = f"Auth-Port: {BACKEND_PORT}"
OK = "Auth-Status: OK"


def padded(size: int) -> bytes:
    """An acceptance whose header is ``size`` bytes long."""
    bare = head(OK, SERVER, PORT, "X-Pad: ")
    return head(OK, SERVER, PORT, "X-Pad: " + "x" * (size - len(bare)))


ACCEPTED = [
    good("status line with an error", head(OK, SERVER, PORT, first="HTTP/1.1 404 Not Found")),
    good("no status line", "\r\n".join([OK, SERVER, PORT, "", ""]).encode()),
    good("empty status line", head(OK, SERVER, PORT, first="HTTP/")),
    good("bare line feeds", head(OK, SERVER, PORT).replace(b"\r", b"")),
    good("names in any case", head("AUTH-STATUS: OK", "auth-server: 127.0.0.1", f"aUTH-pORT: {BACKEND_PORT}")),
    good("no space after the colon", head("Auth-Status:OK", "Auth-Server:127.0.0.1", f"Auth-Port:{BACKEND_PORT}")),
    good("spaces around values", head("Auth-Status:   OK  ", "Auth-Server:  127.0.0.1 ", f"Auth-Port:  {BACKEND_PORT} ")),
    good("no status header", head(SERVER, PORT)),
    good("unknown headers", head("X: y", "Set-Cookie: a=b; c", OK, "Content-Length: 0", SERVER, PORT)),
    good("underscore in a name", head(OK, "X_Y: z", SERVER, PORT)),
    good("name starting with a hyphen", head(OK, "-X: z", SERVER, PORT)),
    good("header without colon", head("X-Flag", OK, SERVER, PORT)),
    good("headers repeated", head(OK, "Auth-Server: 127.0.0.9", "Auth-Port: 1", SERVER, PORT)),
    good("a body follows", (ACCEPT + b"some body",)),
    good("in pieces", (ACCEPT[:7], 0.05, ACCEPT[7:30], 0.05, ACCEPT[30:])),
    good("byte by byte", Trickle(ACCEPT)),
    good("closed right after", (ACCEPT, 0.05, CLOSE)),
    good("user replaced", answer("OK", "Auth-User: other user", port=BACKEND_PORT)),
    good("password replaced", answer("OK", 'Auth-Pass: other "pass\\', port=BACKEND_PORT)),
    good("both replaced with 8-bit", answer("OK", "Auth-User: us\xe9r", "Auth-Pass: p%41ss", port=BACKEND_PORT)),
    good("user replaced by nothing", answer("OK", "Auth-User:", port=BACKEND_PORT)),
    good("an accepted login with a wait", answer("OK", "Auth-Wait: 5", port=BACKEND_PORT)),
    good("port with leading zeros", answer("OK", port=f"00{BACKEND_PORT}")),
    good("1024 bytes", padded(1024)),
    good("more than 1024 bytes", padded(1025), server="imap-quick"),
    good("4096 bytes", padded(4096), server="imap-quick"),
    good("configured headers and uri", ACCEPT, server="imap-header"),
    good("no uri", ACCEPT, server="imap-bare-uri"),
    good("uri of a query only", ACCEPT, server="imap-query"),
    good("over a unix socket", ACCEPT, server="imap-unix"),
    Case("commands pipelined behind the login", [(f"{LOGIN}\r\nb SELECT inbox\r\nc NOOP", (IN, "b OK", "c OK"))],
         [ACCEPT], (*BACKEND, "b OK", "c OK")),
]  # fmt: skip

REJECTED = [
    no("rejected", REJECT, "Invalid login or password"),
    no("rejected with a port", answer("no way", port=BACKEND_PORT), "no way"),
    no("rejected with an empty text", head("Auth-Status:"), ""),
    no("status in lower case", head("Auth-Status: ok", SERVER, PORT), "ok"),
    no("status with more words", head("Auth-Status: OK then", SERVER, PORT), "OK then"),
    no("tab before the status", head("Auth-Status: \tOK", SERVER, PORT), "\tOK"),
    no("text with 8-bit and quotes", answer('caf\xe9 "x" \\'), 'caf\xe9 "x" \\'),
    no("a failure is not cleared by a later OK", head("Auth-Status: no", OK, SERVER, PORT), "no"),
    no("a later failure counts", head(OK, SERVER, PORT, "Auth-Status: no"), "no"),
    no("a wait that is no number", answer("no", "Auth-Wait: soon"), "no"),
    no("a wait of nothing", answer("no", "Auth-Wait: 0"), "no"),
    no("error code is for smtp", answer("no", "Auth-Error-Code: 550 5.1.1"), "no"),
    no("user is replaced in the log", answer("no", "Auth-User: other"), "no"),
    Case("rejected with a wait", [(LOGIN, NO), STILL_THERE], [REJECT_WAIT]),
    Case("a second attempt", [(LOGIN, NO), ("b LOGIN other word", "b OK in")], [REJECT_WAIT, ACCEPT],
         ("* OK hi", "b OK in")),
    Case("a second rejection", [(LOGIN, NO), ("b LOGIN other word", ("b NO Invalid login or password", CLOSED))],
         [REJECT_WAIT, REJECT]),
    Case("commands pipelined behind a rejected login",
         [(f"{LOGIN}\r\nb NOOP\r\nc LOGIN user pass", (NO, "b OK completed", "c OK in"))], [REJECT_WAIT, ACCEPT],
         ("* OK hi", "c OK in")),
    Case("commands sent during the wait", [((LOGIN, 0.3, "b NOOP"), (NO, "b OK completed"))], [REJECT_WAIT]),
    Case("a bad line after a rejected login", [(LOGIN, NO), ("*", "* BAD invalid command")], [REJECT_WAIT]),
    Case("the timeout starts anew after a wait", [(1.0, None), (LOGIN, NO), (1.2, None), STILL_THERE, (None, CLOSED)],
         [REJECT_WAIT], server="imap-quick"),
    Case("the client leaves during the wait", [((LOGIN, 0.3, VANISH), None)], [REJECT_WAIT]),
    Case("wait and ask again", [(LOGIN, IN)], [answer("WAIT", "Auth-Wait: 1"), ACCEPT], BACKEND),
    Case("wait and ask again twice", [(LOGIN, (NO, CLOSED))],
         [answer("WAIT", "Auth-Wait: 1"), answer("WAIT", "Auth-Wait: 1"), REJECT]),
    Case("ask again at once", [(LOGIN, IN)], [answer("WAIT"), ACCEPT], BACKEND),
    Case("wait and ask again, in literals", [("a LOGIN {4}", "+ OK"), (b"us%r {4}\r\n", "+ OK"), ("pass", IN)],
         [answer("WAIT", "Auth-Wait: 1"), ACCEPT], BACKEND),
]  # fmt: skip

FAULTS = [
    bad("no server", head(OK, PORT)),
    bad("no port", head(OK, SERVER)),
    bad("status only", head(OK)),
    bad("no server, with a status that says why", head(first="HTTP/1.1 429 Too Many Requests")),
    bad("empty header", head()),
    bad("server is a name", head(OK, "Auth-Server: localhost", PORT)),
    bad("server is empty", head(OK, "Auth-Server:", PORT)),
    bad("server has a port", head(OK, "Auth-Server: 127.0.0.1:143", PORT)),
    bad("server is no address", head(OK, "Auth-Server: 127.0.0.256", PORT)),
    bad("port 0", head(OK, SERVER, "Auth-Port: 0")),
    bad("port 65536", head(OK, SERVER, "Auth-Port: 65536")),
    bad("port is empty", head(OK, SERVER, "Auth-Port:")),
    bad("port is negative", head(OK, SERVER, "Auth-Port: -1")),
    bad("port is a word", head(OK, SERVER, "Auth-Port: imap")),
    bad("folded line", head(OK, "X: y", " z", SERVER, PORT)),
    bad("name starting with a colon", head(OK, ": z", SERVER, PORT)),
    bad("8-bit in a name", head(OK, "X\xe9: z", SERVER, PORT)),
    bad("space before the colon", head(OK, "X : z", SERVER, PORT)),
    bad("carriage return in a value", head(OK, "X: y\rz", SERVER, PORT)),
    bad("carriage return in the status line", head(OK, SERVER, PORT, first="HTTP/1.0 200\rOK")),
    bad("NUL in a value", head(OK, "Auth-Server: 127.0.0.1\0", PORT)),
    bad("garbage", b"\x16\x03\x01\x00\xff\r\n\r\n"),
    bad("html", b"<html>\r\n<body>no</body></html>\r\n\r\n"),
    bad("closed without a byte", CLOSE),
    bad("closed after a half", (ACCEPT[:40], 0.05, CLOSE)),
    bad("closed before the empty line", (ACCEPT[:-2], 0.05, CLOSE)),
    bad("reset without a byte", RESET),
    bad("silent", (), server="imap-quick"),
    bad("silent after a half", ACCEPT[:40], server="imap-quick"),
    bad("a flood of headers", (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 1000,), server="imap-quick"),
    bad("an endless line", (b"HTTP/1.0 200 OK" + b"x" * 6000,), server="imap-quick"),
    Case("connection refused", [(LOGIN, (FAILED, CLOSED))], server="imap-refused"),
    Case("no such socket", [(LOGIN, (FAILED, CLOSED))], server="imap-no-socket"),
    Case("backend refuses the connection", [(LOGIN, (FAILED, CLOSED))], [answer("OK", port=DEAD_PORT)]),
    Case("backend is at the broadcast address", [(LOGIN, (FAILED, CLOSED))],
         [answer("OK", server="255.255.255.255", port=BACKEND_PORT)]),
    Case("backend's network cannot be reached", [(LOGIN, (FAILED, CLOSED))],
         [answer("OK", server="224.0.0.1", port=BACKEND_PORT)]),
    Case("backend on IPv6 refuses", [(LOGIN, (FAILED, CLOSED))], [answer("OK", server="::1", port=DEAD_PORT)]),
    Case("backend address in brackets", [(LOGIN, (FAILED, CLOSED))], [answer("OK", server="[::1]", port=DEAD_PORT)]),
    Case("the client leaves while the auth server thinks", [((LOGIN, 0.1, VANISH), None)], [(1.0, ACCEPT)], BACKEND),
]  # fmt: skip

CASES = [*ACCEPTED, *REJECTED, *FAULTS]
