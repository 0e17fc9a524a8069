"""IMAP's login at the backend and the relay (reference 7.1, 7.2, 7.5 and 7.6)."""

from collections.abc import Sequence

from case import ACCEPT, Case
from support.authserver import answer
from support.listener import CLOSE, RESET, UNHEARD, Moves
from support.script import CLOSED, VANISH, Expect

LOGIN = "a LOGIN user pass"
EIGHT_BIT = "a LOGIN us\xe9r p\xe4ss"
"""Goes to the backend in literals, whatever the proxy."""
IN = "a OK logged in"
HI = "* OK hi"
FAILED = "a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error"


def good(name: str, *backend: Moves, reply: Expect | tuple[Expect, ...] = IN, server: str = "imap") -> Case:
    """The backend's replies let the client in."""
    return Case(name, [(LOGIN, reply)], [ACCEPT], backend, server=server)


def bad(name: str, *backend: Moves, server: str = "imap") -> Case:
    """The backend's replies are an internal error."""
    return Case(name, [(LOGIN, (FAILED, CLOSED))], [ACCEPT], backend, server=server)


def passed(name: str, text: str | bytes, *before: Moves) -> Case:
    """With proxy_pass_error_message on, the backend's last reply reaches the client."""
    return Case(name, [(LOGIN, (text, CLOSED))], [ACCEPT], (*before, text), server="imap-pass")


def literal(name: str, go_aheads: Sequence[Moves], reply: Expect = FAILED, server: str = "imap") -> Case:
    """The backend answers the literals of a login so."""
    return Case(name, [(EIGHT_BIT, (reply, CLOSED))], [ACCEPT], (HI, IN), go_aheads=go_aheads, server=server)


ACCEPTED = [
    good("greeting with capabilities", "* OK [CAPABILITY IMAP4rev1 SASL-IR] ready", IN),
    good("greeting of OK only", "* OK", IN),
    good("greeting without a space", "* OKAY", IN),
    good("greeting in pieces", (b"* ", 0.05, b"OK hi\r", 0.05, b"\n"), IN),
    good("greeting of two lines", b"* OK hi\r\n* CAPABILITY X\r\n", IN, reply=("* CAPABILITY X", IN)),
    good("reply in pieces", HI, (b"a O", 0.05, b"K logged", 0.05, b" in\r\n")),
    good("reply of OK only", HI, "a OK", reply="a OK"),
    good("reply with a code", HI, "a OK [CAPABILITY X] in", reply="a OK [CAPABILITY X] in"),
    good("untagged line before the reply", HI, b"* CAPABILITY X\r\na OK in\r\n", reply=("* CAPABILITY X", "a OK in")),
    good("untagged line, then the reply", HI, ("* CAPABILITY X", 0.1, "a OK in"), reply=("* CAPABILITY X", "a OK in")),
    good("several untagged lines before the reply", HI, b"* CAPABILITY X\r\n* FLAGS ()\r\n* 1 EXISTS\r\na OK in\r\n",
         reply=("* CAPABILITY X", "* FLAGS ()", "* 1 EXISTS", "a OK in")),
    good("untagged lines after the reply", HI, b"a OK in\r\n* BYE later\r\n", reply=("a OK in", "* BYE later")),
    Case("login in literals", [(EIGHT_BIT, IN)], [ACCEPT], (HI, IN)),
    Case("go-ahead without text", [(EIGHT_BIT, IN)], [ACCEPT], (HI, IN), go_aheads=["+ ", "+ "]),
    Case("go-ahead of other words", [(EIGHT_BIT, IN)], [ACCEPT], (HI, IN), go_aheads=["+ go on", "+ more please"]),
    Case("login with a line end", [("a LOGIN {6}", "+ OK"), (b"us\r\ner {4}\r\n", "+ OK"), ("pass", IN)],
         [ACCEPT], (HI, IN)),
    Case("login with NUL", [("a AUTHENTICATE PLAIN AHUAcABx", IN)], [ACCEPT], (HI, IN)),
    Case("very long values", [(f"a LOGIN {'u' * 1500} {'p' * 1500}", IN)], [ACCEPT], (HI, IN)),
    Case("user with quotes and backslashes", [(r'a LOGIN "\"\\" "\\\""', IN)], [ACCEPT], (HI, IN)),
    Case("the values of the auth server", [(LOGIN, IN)],
         [answer("OK", "Auth-User: real", "Auth-Pass: with space", port="99999")], (HI, IN)),
]  # fmt: skip

REFUSED = [
    bad("greeting BYE", "* BYE overloaded"),
    bad("greeting PREAUTH", "* PREAUTH welcome"),
    bad("greeting NO", "* NO go away"),
    bad("greeting in lower case", "* ok hi"),
    bad("greeting of another protocol", "+OK POP3 ready"),
    bad("greeting is garbage", b"\x80\x00\xff\x01garbage\r\n"),
    bad("login NO", HI, "a NO [AUTHENTICATIONFAILED] bad"),
    bad("login BAD", HI, "a BAD what"),
    bad("login with another tag", HI, "b OK logged in"),
    bad("login with a longer tag", HI, "ab OK logged in"),
    bad("login with ok in lower case", HI, "a ok logged in"),
    bad("login answered with a go-ahead", HI, "+ what more"),
    bad("untagged line, then NO", HI, b"* CAPABILITY X\r\na NO bad\r\n"),
    bad("bare tag", HI, "a", server="imap-quick"),
    bad("empty line and another", HI, b"\r\n\r\n"),
    bad("closed before the greeting", CLOSE),
    bad("closed within the greeting", (b"* O", 0.05, CLOSE)),
    bad("closed after the greeting", (HI, UNHEARD)),
    bad("closed at the login", HI, CLOSE),
    bad("closed within the reply", HI, (b"a OK", 0.05, CLOSE)),
    bad("reset before the greeting", RESET),
    bad("reset at the login", HI, RESET),
    bad("silent from the start", (), server="imap-quick"),
    bad("silent at the login", HI, (), server="imap-quick"),
    bad("greeting without carriage return", b"* OK hi\n", server="imap-quick"),
    bad("reply without carriage return", HI, b"a OK in\n", server="imap-quick"),
    bad("greeting longer than the buffer", b"* OK " + b"x" * 300 + b"\r\n", server="imap-small"),
    bad("reply longer than the buffer", HI, b"a OK " + b"x" * 300 + b"\r\n", server="imap-small"),
    bad("endless greeting", b"* OK " + b"x" * 100000),
    literal("go-ahead refused", ["a NO no literals"]),
    literal("second go-ahead refused", ["+ OK", "a BAD too much"]),
    literal("go-ahead refused, passed on", ["a NO no literals"], "a NO no literals", server="imap-pass"),
    literal("closed at the literal", [CLOSE]),
    literal("silent at the literal", [()], server="imap-quick"),
    passed("error passed on", "a NO [AUTH] bad password", HI),
    Case("greeting passed on", [(LOGIN, ("a NO overloaded", "* BYE overloaded", CLOSED))], [ACCEPT],
         ("* BYE overloaded",), server="imap-pass"),
    Case("BYE passed on", [(LOGIN, ("a NO [UNAVAILABLE] down", "* BYE [UNAVAILABLE] down", CLOSED))], [ACCEPT],
         (HI, (b"* BYE [UNAVAILABLE] down\r\n", CLOSE)), server="imap-pass"),
    Case("BYE instead of a reply", [(LOGIN, (FAILED, CLOSED))], [ACCEPT],
         (HI, (b"* BYE [UNAVAILABLE] down\r\n", CLOSE))),
    Case("several lines passed on", [(LOGIN, ("a NO one", "* BYE one", CLOSED))], [ACCEPT], (b"* BYE one\r\n* BYE two\r\n",),
         server="imap-pass"),
    passed("untagged line and error passed on", b"* CAPABILITY X\r\na NO bad\r\n", HI),
    passed("8-bit passed on", b"a NO \xe9\x00\x01 bad\r\n", HI),
    Case("internal errors are not passed on", [(LOGIN, (FAILED, CLOSED))], [ACCEPT], [CLOSE], server="imap-pass"),
]  # fmt: skip

RELAY = [
    Case("bytes both ways", [(LOGIN, IN), (b"b \0\xff\r\n", b"* \0\x80\xff\r\n"), ("c LOGOUT", "c OK bye")],
         [ACCEPT], (HI, IN, b"* \0\x80\xff\r\n", "c OK bye")),
    Case("bytes that are no lines", [(LOGIN, IN), ((b"half", 0.05, b" line\r\n"), b"no line end")],
         [ACCEPT], (HI, IN, b"no line end")),
    Case("the backend ends the session", [(LOGIN, IN), ("b LOGOUT", ("* BYE", "b OK", CLOSED))], [ACCEPT],
         (HI, IN, (b"* BYE\r\nb OK\r\n", CLOSE))),
    Case("the backend ends the session at once", [(LOGIN, (IN, CLOSED))], [ACCEPT], (HI, (IN, CLOSE))),
    Case("the client resets the session", [(LOGIN, IN), (("b NOOP", 0.05, VANISH), None)], [ACCEPT], (HI, IN)),
    Case("the backend resets the session", [(LOGIN, IN), ("b NOOP", CLOSED)], [ACCEPT], (HI, IN, RESET)),
    Case("silence in the relay", [(LOGIN, IN), (None, CLOSED)], [ACCEPT], (HI, IN), server="imap-quick"),
    Case("much data", [(LOGIN, IN), ("b FETCH", b"x" * 200000)], [ACCEPT], (HI, IN, b"x" * 200000)),
    Case("the client half-closes", [(LOGIN, IN), ("b NOOP", "b OK")], [ACCEPT], (HI, IN, "b OK")),
    Case("a login in the relay is the backend's", [(LOGIN, IN), ("b LOGIN x y", "b BAD already")], [ACCEPT],
         (HI, IN, "b BAD already")),
    Case("a pipelined burst", [((LOGIN + "\r\n").encode() + b"b NOOP\r\n" * 300, (IN, "b OK"))], [ACCEPT],
         (HI, IN, "b OK")),
]  # fmt: skip

CASES = [*ACCEPTED, *REFUSED, *RELAY]
