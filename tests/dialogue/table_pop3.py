"""POP3 clients (reference 5.2, 5.3 and 5.5): what they say, what they are told."""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from dialogue.exchange import SALT, Line, Talk, answer, request

ALL = {"auth": ("plain", "apop", "cram-md5", "external"), "capabilities": (b"TOP", b"USER", b"UIDL")}
OK = "+OK"
BAD = "-ERR invalid command"
NO_SUCH = "-ERR Unsupported authentication mechanism"
LONG = "w" * 3000
NUL = "\0"
TOO_MANY = "info: client sent too many invalid commands"
DIGEST = "0123456789abcdef0123456789abcdef"
CHALLENGE = "+ " + b64encode(SALT).decode()
USERNAME, PASSWORD = "+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6"
STILL_THERE: list[tuple[Line, Line]] = [("NOOP", OK)]


def pop3(name: str, says: Sequence[tuple[Line, Line]], *args: Any, **more: Any) -> Talk:
    return Talk(name, says, *args, **({"protocol": "pop3"} | more))


def login(name: str, user_line: Line, pass_line: Line, user: bytes = b"user", password: bytes = b"pass",
          leftover: bytes = b"") -> Talk:  # fmt: skip
    return pop3(name, [(user_line, OK), (pass_line, b"")], "auth", credentials=("plain", user, password),
                leftover=leftover)  # fmt: skip


def sasl(name: str, says: list[tuple[Line, Line]], method: str = "plain", user: bytes = b"user",
         password: bytes = b"pass") -> Talk:  # fmt: skip
    return pop3(name, says, "auth", credentials=(method, user, password), options=ALL)


def b64(data: bytes) -> str:
    return b64encode(data).decode()


COMMANDS = [
    pop3("noop and quit", [("NOOP", OK), ("QUIT", OK)], "close"),
    pop3("case does not count", [("nOoP", OK)]),
    pop3("arguments are ignored", [("NOOP 1 2 3", OK), ("QUIT 1", OK)], "close"),
    pop3("spaces at the end", [("NOOP   ", OK)]),
    pop3("bare line feeds", [(b"NOOP\n", OK)]),
    pop3("pipelined", [("NOOP\nSTAT\nNOOP", "+OK\n-ERR invalid command\n+OK")]),
    pop3("quit leaves what follows", [("QUIT\nNOOP", OK)], "close"),
    pop3("quit after user", [("USER u", OK), ("QUIT", OK)], "close"),
    pop3("stls", [("STLS", BAD), *STILL_THERE], options={"max_errors": 1}),
    pop3("capa", [("CAPA", "+OK Capability list follows\nTOP\nUSER\nUIDL\nSASL PLAIN LOGIN\n.")],
         options={"capabilities": (b"TOP", b"USER", b"UIDL")}),
    pop3("capa, all mechanisms", [("CAPA", "+OK Capability list follows\nTOP\nUSER\nUIDL\n"
                                           "SASL PLAIN LOGIN CRAM-MD5 EXTERNAL\n.")], options=ALL),
    pop3("capa, apop only", [("CAPA", "+OK Capability list follows\nSASL\n.")], options={"auth": ("apop",)}),
    pop3("capa after user keeps the user", [("USER user", OK), ("CAPA", "+OK Capability list follows\nSASL PLAIN LOGIN\n."),
                                            ("NOOP", OK), ("PASS pass", b"")], "auth",
         credentials=("plain", b"user", b"pass")),
    pop3("auth without argument", [("AUTH", "+OK methods supported:\nPLAIN\nLOGIN\nCRAM-MD5\nEXTERNAL\n.")], options=ALL),
    pop3("auth without argument, apop only", [("AUTH", "+OK methods supported:\n.")], options={"auth": ("apop",)}),
]  # fmt: skip

ERRORS = [
    pop3("five syntax errors end the session", [("STAT", BAD)] * 5, "close", [TOO_MANY]),
    pop3("four do not", [*[("STAT", BAD)] * 4, *STILL_THERE]),
    *[pop3(f"{verb!r} is one", [(verb, BAD)], "close", [TOO_MANY], options={"max_errors": 1})
      for verb in ("STAT", "LIST 1", "", " ", " NOOP", "NOO", "NOOPX", "NO\0P", "N\xd6OP", "NOOP\t", "NOOP 1 2 3 4",
                   "AUTH a b c d", b"NO\rOP\r\n", b"USER a\rb\r\n", b"NOOP\r\r\n", b"\n")],
    pop3("errors of meaning are none",
         [("PASS p", BAD), ("USER", BAD), ("USER   ", BAD), ("APOP u d", BAD), ("AUTH FOO", NO_SUCH), ("AUTH PLAIN x y", BAD),
          ("AUTH CRAM-MD5", NO_SUCH), ("AUTH EXTERNAL", NO_SUCH), ("AUTH EXTERNAL dXNlcg==", NO_SUCH), *STILL_THERE],
         options={"max_errors": 1}),
    pop3("apop needs two arguments", [("APOP u", BAD), ("APOP", BAD), ("APOP u d x", BAD), *STILL_THERE],
         options={"auth": ("apop",), "max_errors": 1}),
    *[pop3(f"after user, {verb} loses it", [("USER u", OK), (verb, BAD), ("PASS p", BAD), ("USER v", OK), ("PASS p", b"")],
           "auth", credentials=("plain", b"v", b"p"), options=ALL)
      for verb in ("USER x", "PASS", "AUTH PLAIN", "APOP u d", "STLS", "STAT", "AUTH")],
    pop3("a command longer than the buffer", [(b"USER " + b"u" * 123, BAD)], "close",
         ['info: client sent too long command "USER" (arguments not shown)'], options={"client_buffer": 128}),
    pop3("a command that fills the buffer", [(b"USER " + b"u" * 122 + b"\n", OK)], options={"client_buffer": 128}),
    pop3("a password longer than the buffer is not logged", [("USER u", OK), (b"PASS " + b"p" * 123, BAD)], "close",
         ['info: client sent too long command "PASS" (arguments not shown)'], options={"client_buffer": 128}),
    pop3("a burst larger than the buffer", [("NOOP  .\n" * 29 + "NOOP  .", "+OK\n" * 29 + OK)],
         options={"client_buffer": 128}),
]  # fmt: skip

LOGINS = [
    login("user and pass", "USER user", "PASS pass"),
    login("case does not count", "user user", "pass pass"),
    login("spaces before", "USER   user", "PASS   pass"),
    login("spaces within and behind", "USER us er ", "PASS  pa  ss  ", b"us er ", b"pa  ss  "),
    login("quotes and backslashes are ordinary", 'USER "u\\"', "PASS \\p", b'"u\\"', b"\\p"),
    login("8-bit, control bytes, NUL", b"USER \xff\0\1\r\n", b"PASS \xe9\t\r\n", b"\xff\0\1", b"\xe9\t"),
    login("pipelined", b"USER joe\r\n", b"PASS se\r\nSTAT\r\nLIST\r\n", b"joe", b"se", b"STAT\r\nLIST\r\n"),
    pop3("apop", [(f"APOP user {DIGEST}", b"")], "auth", credentials=("apop", b"user", DIGEST.encode()),
         requests=[request("user", DIGEST, method="apop", protocol="pop3")], options=ALL),
    pop3("a digest of any length", [("APOP user x", b"")], "auth", credentials=("apop", b"user", b"x"), options=ALL),
    sasl("auth plain", [("AUTH PLAIN", "+ "), (b64(b"\0user\0pass"), b"")]),
    sasl("auth plain at once", [(f"auth plain {b64(b'z' + bytes(1) + b'user' + bytes(1) + b'pass')}", b"")]),
    sasl("auth login", [("AUTH LOGIN", USERNAME), ("dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("auth login, half at once", [("AUTH LOGIN dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("auth external", [("AUTH EXTERNAL", USERNAME), ("dXNlcg==", b"")], "external", password=b""),
    sasl("auth cram-md5", [("AUTH CRAM-MD5", CHALLENGE), (b64(f"user {DIGEST}".encode()), b"")], "cram-md5",
         password=DIGEST.encode()),
    pop3("bad responses", [("AUTH PLAIN", "+ "), ("*", BAD), ("AUTH LOGIN", USERNAME), ("dXNlcg==", PASSWORD), ("!", BAD),
                           ("AUTH CRAM-MD5", CHALLENGE), ("", BAD), *STILL_THERE], "read",
         ["info: client sent invalid base64 encoding in AUTH PLAIN command",
          "info: client sent invalid base64 encoding in AUTH LOGIN command",
          "info: client sent invalid CRAM-MD5 hash in AUTH CRAM-MD5 command"], options=ALL | {"max_errors": 1}),
    pop3("responses longer than commands", [("AUTH PLAIN", "+ "), (b64(f"\0user\0{LONG}".encode()), b"")], "auth",
         credentials=("plain", b"user", LONG.encode())),
    pop3("initial responses longer than commands", [(f"auth PLAIN {b64(f'{NUL}user{NUL}{LONG}'.encode())}", b"")], "auth",
         credentials=("plain", b"user", LONG.encode())),
    pop3("a command behind a long response", [("AUTH LOGIN", USERNAME), ("!" * 3000 + "\nNOOP", f"{BAD}\n{OK}")],
         log=["info: client sent invalid base64 encoding in AUTH LOGIN command"], options={"client_buffer": 128}),
    pop3("responses have an end", [("AUTH PLAIN", "+ "), (b"A" * 4096, BAD)], "close",
         ['info: client sent too long command "AUTH" (response not shown)'], options={"client_buffer": 128}),
    pop3("initial responses have an end", [(b"AUTH PLAIN " + b"A" * 4085, BAD)], "close",
         ['info: client sent too long command "AUTH" (arguments not shown)'], options={"client_buffer": 128}),
    pop3("other commands end where they did", [(b"AUTHX" + b"A" * 123, BAD)], "close",
         ['info: client sent too long command ""'], options={"client_buffer": 128}),
    pop3("a password of before is not sent with EXTERNAL",
         [("USER u", OK), ("PASS p", "-ERR no way"), ("AUTH EXTERNAL", USERNAME), ("", b"")], "auth",
         ['info: client login failed: "no way"'], [answer("no way", "Auth-Wait: 1")],
         [request("u", "p", protocol="pop3"), request("", "", method="external", attempt=2, protocol="pop3")],
         waits=[1000], options=ALL),
]  # fmt: skip

AUTH = [
    pop3("rejected", [("USER u", OK), ("PASS p", "-ERR no way")], "rejected", ['info: client login failed: "no way"'],
         [answer("no way")]),
    pop3("rejected without text", [("USER u", OK), ("PASS p", "-ERR ")], "rejected", ['info: client login failed: ""'],
         [answer("")]),
    pop3("max_auth_attempts",
         [("USER u", OK), ("PASS bad", "-ERR no way"), ("AUTH PLAIN AHUAYmFk", "-ERR no way"), ("USER u", OK), ("PASS p", b"")],
         "auth", ['info: client login failed: "no way"'] * 2, [answer("no way")] * 2, waits=[1000, 2000],
         options={"max_auth_attempts": 3}),
    pop3("after a rejection the user is due again",
         [("USER u", OK), ("PASS p\nPASS p\nUSER v\nPASS q", "-ERR no way\n-ERR invalid command\n+OK")], "proxy",
         ['info: client login failed: "no way"'], [answer("no way", "Auth-Wait: 1"), answer()],
         [request("u", "p", protocol="pop3"), request("v", "q", attempt=2, protocol="pop3")], waits=[1000]),
    pop3("apop without a password from the auth server", [("APOP u d", b"")], "error",
         ["error: auth http server 127.0.0.1:8080 did not send password"], [answer()], options=ALL),
    pop3("a blank in the password", [("USER u", OK), ("PASS a b%", b"")], "proxy", (), [answer()],
         [request("u", "a%20b%25", protocol="pop3")]),
]  # fmt: skip

TABLES = {"command": COMMANDS, "error": ERRORS, "login": LOGINS, "auth": AUTH}
