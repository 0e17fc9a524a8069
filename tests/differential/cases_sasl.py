"""IMAP AUTHENTICATE: mechanisms, initial responses, base64 (reference 5.3 and 5.4)."""

from base64 import b64encode

from case import ACCEPT, PASSWORD, REJECT_WAIT, SALT, Case
from support.authserver import answer
from support.script import CLOSED, SHUT

BAD = "a BAD invalid command"
IN = "a OK logged in"
BACKEND = ("* OK hi", IN)
STILL_THERE = ("z NOOP", "z OK completed")
USERNAME = "+ VXNlcm5hbWU6"
ASK_PASSWORD = "+ UGFzc3dvcmQ6"
CHALLENGE = f"+ BASE64({SALT})"
DIGEST = "0123456789abcdef0123456789abcdef"


def b64(value: str) -> str:
    return b64encode(value.encode("latin-1")).decode()


def plain(name: str, response: str) -> Case:
    """A PLAIN response, prompted for, that is accepted."""
    return Case(name, [("a AUTHENTICATE PLAIN", "+ "), (response, IN)], [ACCEPT], BACKEND)


def bad_plain(name: str, response: str) -> Case:
    """A PLAIN response, prompted for, that is refused; the session goes on."""
    return Case(name, [("a AUTHENTICATE PLAIN", "+ "), (response, BAD), STILL_THERE])


def refused(name: str, command: str, server: str = "imap", reply: str = BAD) -> Case:
    """An AUTHENTICATE that is refused at once; the session goes on."""
    return Case(name, [(command, reply), STILL_THERE], server=server)


def unknown(name: str, command: str, server: str = "imap") -> Case:
    """Its mechanism is not offered."""
    return refused(name, command, server, "a NO Unsupported authentication mechanism")


GOOD = b64("\0user\0pass")

PLAIN = [
    plain("plain", GOOD),
    plain("plain with authzid", b64("admin\0user\0pass")),
    plain("plain with empty password", b64("\0user\0")),
    plain("plain without padding", GOOD.rstrip("=")),
    plain("plain with garbage after the padding", GOOD + "zzz!!"),
    plain("plain with more words", f"{GOOD} and more"),
    plain("plain with spaces behind", f"{GOOD}  "),
    plain("plain with NUL in the password", b64("\0user\0pa\0ss")),
    plain("plain with 8-bit", b64("\0us\xe9r\0p\xe4ss\xff")),
    plain("plain with line ends", b64("\0us\r\ner\0pass\n")),
    plain("plain with everything to escape", b64("\0u %\x01\x1f\x7f+=\0% \t")),
    Case("plain with initial response", [(f"a AUTHENTICATE PLAIN {GOOD}", IN)], [ACCEPT], BACKEND),
    Case("plain in lower case", [(f"a authenticate plain {GOOD}", IN)], [ACCEPT], BACKEND),
    Case("plain in quotes", [(f'a AUTHENTICATE "PLAIN" "{GOOD}"', IN)], [ACCEPT], BACKEND),
    Case("plain in literals", [("a AUTHENTICATE {5}", "+ OK"), (f"PLAIN {GOOD}", IN)], [ACCEPT], BACKEND),
    Case("plain pipelined", [(f"a AUTHENTICATE PLAIN\r\n{GOOD}", ("+ ", IN))], [ACCEPT], BACKEND),
    Case("plain with bare line feeds", [(b"a AUTHENTICATE PLAIN\n", "+ "), (GOOD.encode() + b"\n", IN)], [ACCEPT],
         BACKEND),
    Case("plain when not listed", [(f"a AUTHENTICATE PLAIN {GOOD}", IN)], [ACCEPT], BACKEND,
         server="imap-capabilities"),
    Case("plain with empty user",
         [("a AUTHENTICATE PLAIN", "+ "), (b64("\0\0pass"), IN)], [ACCEPT], BACKEND),
    bad_plain("plain without NUL", b64("user")),
    bad_plain("plain with nothing after the first NUL", b64("user\0")),
    bad_plain("plain with one NUL", b64("\0user")),
    bad_plain("plain that is empty", ""),
    bad_plain("plain with a space before", f" {GOOD}"),
    bad_plain("plain that is cancelled", "*"),
    bad_plain("plain with a wrong character", "AHVzZX*AcGFzcw=="),
    bad_plain("plain with url-safe base64", "AHVzZX-_cGFzcw=="),
    bad_plain("plain of a wrong length", GOOD[:9]),
    bad_plain("plain of padding only", "===="),
    refused("plain with empty initial response", "a AUTHENTICATE PLAIN ="),
    refused("plain with two responses", f"a AUTHENTICATE PLAIN {GOOD} {GOOD}"),
    Case("plain ended by half-close", [("a AUTHENTICATE PLAIN", "+ "), ((b"AHVz", 0.05, SHUT), CLOSED)]),
    Case("timeout within plain", [("a AUTHENTICATE PLAIN", "+ "), (None, CLOSED)], server="imap-quick"),
    Case("response longer than the buffer",
         [("a AUTHENTICATE PLAIN", "+ "), (b"A" * 256, (BAD, CLOSED))], server="imap-small"),
    Case("wrong responses do not count",
         [("a AUTHENTICATE PLAIN", "+ "), ("*", BAD), ("a AUTHENTICATE PLAIN", "+ "), ("*", BAD),
          ("a AUTHENTICATE PLAIN", "+ "), ("*", BAD), STILL_THERE], server="imap-errors"),
    Case("a response that looks like a command",
         [("a AUTHENTICATE PLAIN", "+ "), ("b LOGOUT", BAD), STILL_THERE]),
]  # fmt: skip

LOGIN = [
    Case("login mechanism", [("a AUTHENTICATE LOGIN", USERNAME), (b64("user"), ASK_PASSWORD), (b64("pass"), IN)],
         [ACCEPT], BACKEND),
    Case("login mechanism with initial response",
         [(f"a AUTHENTICATE LOGIN {b64('user')}", ASK_PASSWORD), (b64("pass"), IN)], [ACCEPT], BACKEND),
    Case("login mechanism with empty values",
         [("a AUTHENTICATE LOGIN", USERNAME), ("", ASK_PASSWORD), ("", IN)], [ACCEPT], BACKEND),
    Case("login mechanism with 8-bit",
         [("a AUTHENTICATE LOGIN", USERNAME), (b64("us\xe9r"), ASK_PASSWORD), (b64("\0\xff"), IN)], [ACCEPT], BACKEND),
    Case("login mechanism pipelined",
         [(f"a AUTHENTICATE LOGIN\r\n{b64('user')}\r\n{b64('pass')}", (USERNAME, ASK_PASSWORD, IN))],
         [ACCEPT], BACKEND),
    Case("login mechanism when not listed",
         [("a AUTHENTICATE LOGIN", USERNAME), (b64("user"), ASK_PASSWORD), (b64("pass"), IN)], [ACCEPT], BACKEND,
         server="imap-plain"),
    Case("login mechanism with a wrong user name", [("a AUTHENTICATE LOGIN", USERNAME), ("*", BAD), STILL_THERE]),
    Case("login mechanism with a wrong password",
         [("a AUTHENTICATE LOGIN", USERNAME), (b64("user"), ASK_PASSWORD), ("!", BAD), STILL_THERE]),
    Case("login mechanism with a wrong initial response", [("a AUTHENTICATE LOGIN !", BAD), STILL_THERE]),
    refused("login mechanism with two responses", "a AUTHENTICATE LOGIN dXNlcg== cGFzcw=="),
]  # fmt: skip

CRAM = [
    Case("cram-md5", [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), IN)], [PASSWORD], BACKEND),
    Case("cram-md5 in lower case", [("a authenticate cram-md5", CHALLENGE), (b64(f"user {DIGEST}"), IN)], [PASSWORD],
         BACKEND),
    Case("cram-md5 with a digest that is not hex",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64("user " + "x %" * 10 + "xy"), IN)], [PASSWORD], BACKEND),
    Case("cram-md5 without a password from the auth server",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE),
          (b64(f"user {DIGEST}"), ("a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error", CLOSED))], [ACCEPT]),
    Case("cram-md5 with a short digest",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST[1:]}"), BAD), STILL_THERE]),
    Case("cram-md5 with a long digest",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}0"), BAD), STILL_THERE]),
    Case("cram-md5 without digest", [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64("user"), BAD), STILL_THERE]),
    Case("cram-md5 with a space in the user name",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"us er {DIGEST}"), BAD), STILL_THERE]),
    Case("cram-md5 without user", [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f" {DIGEST}"), IN)], [PASSWORD],
         BACKEND),
    Case("cram-md5 that is cancelled", [("a AUTHENTICATE CRAM-MD5", CHALLENGE), ("*", BAD), STILL_THERE]),
    refused("cram-md5 with initial response", "a AUTHENTICATE CRAM-MD5 dXNlcg=="),
    unknown("cram-md5 when not listed", "a AUTHENTICATE CRAM-MD5", server="imap-plain"),
    Case("cram-md5 asked again", [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), IN)],
         [answer("WAIT", "Auth-Wait: 1"), PASSWORD], BACKEND),
    Case("cram-md5 twice",
         [("a AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), "a NO Invalid login or password"),
          ("b AUTHENTICATE CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}"), "b OK in")],
         [REJECT_WAIT, PASSWORD], ("* OK hi", "b OK in")),
]  # fmt: skip

EXTERNAL = [
    Case("external", [("a AUTHENTICATE EXTERNAL", USERNAME), (b64("user"), IN)], [PASSWORD], BACKEND),
    Case("external with initial response", [(f"a AUTHENTICATE EXTERNAL {b64('user')}", IN)], [PASSWORD], BACKEND),
    Case("external without a user name", [("a AUTHENTICATE EXTERNAL", USERNAME), ("", IN)], [PASSWORD], BACKEND),
    Case("external with wrong base64", [("a AUTHENTICATE EXTERNAL", USERNAME), ("*", BAD), STILL_THERE]),
    Case("external without a password from the auth server",
         [(f"a AUTHENTICATE EXTERNAL {b64('user')}", ("a NO [UNAVAILABLE] internal server error\r\n* BYE [UNAVAILABLE] internal server error", CLOSED))], [ACCEPT]),
    unknown("external when not listed", "a AUTHENTICATE EXTERNAL", server="imap-plain"),
    unknown("external with initial response when not listed", "a AUTHENTICATE EXTERNAL dXNlcg==", server="imap-plain"),
    Case("external after plain does not send the password again",
         [(f"a AUTHENTICATE PLAIN {GOOD}", "a NO Invalid login or password"),
          (f"b AUTHENTICATE EXTERNAL {b64('user')}", "b OK in")], [REJECT_WAIT, PASSWORD], ("* OK hi", "b OK in")),
]  # fmt: skip

OTHERS = [
    refused("no mechanism", "a AUTHENTICATE"),
    unknown("unknown mechanism", "a AUTHENTICATE SCRAM-SHA-256"),
    unknown("prefix of a mechanism", "a AUTHENTICATE PLAI"),
    unknown("apop is not for imap", "a AUTHENTICATE APOP"),
    Case("another mechanism after a failure",
         [("a AUTHENTICATE LOGIN", USERNAME), (b64("other"), ASK_PASSWORD), ("*", BAD),
          (f"a AUTHENTICATE PLAIN {GOOD}", IN)], [ACCEPT], BACKEND),
]  # fmt: skip

CASES = [*PLAIN, *LOGIN, *CRAM, *EXTERNAL, *OTHERS]
