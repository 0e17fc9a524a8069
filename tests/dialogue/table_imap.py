"""IMAP clients (reference 5.2 to 5.4): what they say, what they are told."""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode
from collections.abc import Sequence

from dialogue.exchange import SALT, Line, Talk, answer, request

ALL = {
    "auth": ("external", "cram-md5", "login", "plain"),
    "capabilities": (b"IMAP4", b"IMAP4rev1", b"UIDPLUS"),
}
DONE = "a OK completed"
BAD = "a BAD invalid command"
NO_SUCH = "a NO Unsupported authentication mechanism"
IDENTIFIED = "* ID NIL\na OK completed"
STAR = "* BAD invalid command"
TOO_MANY = "info: client sent too many invalid commands"
USERNAME, PASSWORD = "+ VXNlcm5hbWU6", "+ UGFzc3dvcmQ6"
CHALLENGE = "+ " + b64encode(SALT).decode()
DIGEST = "0123456789abcdef0123456789abcdef"
INTERNAL = "a NO [UNAVAILABLE] internal server error\n* BYE [UNAVAILABLE] internal server error"


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def login(
    name: str, *says: Line, user: bytes = b"user", password: bytes = b"pass", rest: bytes = b""
) -> Talk:
    """LOGIN in these pieces; each but the last is a literal's announcement, which is told to go on."""
    told: list[Line] = ["+ OK"] * (len(says) - 1) + [b""]
    return Talk(
        name, list(zip(says, told, strict=True)), "auth", credentials=("plain", user, password), leftover=rest
    )


def refused(name: str, said: Line, told: Line = BAD, *log: str) -> Talk:
    """The session goes on after it, with a tag of its own."""
    return Talk(name, [(said, told), ("z NOOP", "z OK completed")], log=log)


COMMANDS = [
    Talk("noop", [("a NOOP", DONE)]),
    Talk("case does not count", [("a nOoP", DONE)]),
    Talk("capability", [("a CAPABILITY", "* CAPABILITY AUTH=PLAIN\na OK completed")]),
    Talk("capability, all mechanisms in nginx's order",
         [("a CAPABILITY", "* CAPABILITY IMAP4 IMAP4rev1 UIDPLUS AUTH=PLAIN AUTH=LOGIN AUTH=CRAM-MD5 AUTH=EXTERNAL\n"
                           "a OK completed")], options=ALL),
    Talk("capability, no mechanism", [("a CAPABILITY", "* CAPABILITY X\na OK completed")],
         options={"auth": (), "capabilities": (b"X",)}),
    Talk("logout", [("a LOGOUT", "* BYE\na OK completed")], "close"),
    Talk("logout leaves what follows", [("a LOGOUT\nb NOOP", "* BYE\na OK completed")], "close"),
    Talk("three arguments are ignored", [("a NOOP 1 2 3", DONE), ("b CAPABILITY x", "* CAPABILITY AUTH=PLAIN\n"
                                         "b OK completed"), ("c LOGOUT now", "* BYE\nc OK completed")], "close"),
    Talk("a command may come without its line feed for a while", [(b"a NOOP", b""), (b"\r", b""), (b"\n", DONE)]),
    Talk("bare line feeds", [(b"a NOOP\n", DONE), (b"b NOOP \n", "b OK completed")]),
    Talk("spaces before the verb and at the end", [("a    NOOP   ", DONE)]),
    Talk("pipelined", [("a NOOP\nb FOO\nc NOOP", "a OK completed\nb BAD invalid command\nc OK completed")]),
    Talk("a burst larger than the buffer", [("a NOOP\n" * 20 + "b NOOP", "a OK completed\n" * 20 + "b OK completed")],
         options={"client_buffer": 16}),
    Talk("a burst that ends where the buffer does", [("a NOOP\n" * 7 + "a NOOP", "a OK completed\n" * 7 + DONE)],
         options={"client_buffer": 16}),
    refused("starttls", "a STARTTLS"),
]  # fmt: skip

TAGS = [
    Talk("every tag byte", [("aZ09-._ NOOP", "aZ09-._ OK completed")]),
    Talk("every other byte of RFC 9051's tags", [("!#$&',/:;<=>?@[]^`|}~ NOOP", "!#$&',/:;<=>?@[]^`|}~ OK completed")]),
    Talk("128 bytes", [("t" * 128 + " NOOP", "t" * 128 + " OK completed")]),
    refused("129 bytes", "t" * 129 + " NOOP", STAR),
    Talk("empty", [(" NOOP", " OK completed")]),
    *[refused(f"with {byte!r}", b"a" + byte + b" NOOP\r\n", STAR)
      for byte in (b"+", b"*", b"(", b")", b"{", b"%", b'"', b"\\", b"\0", b"\t", b"\x7f", b"\xe9")],
    refused("alone on its line", "a", STAR),
    refused("no bytes at all", "", STAR),
    refused("a lone line feed", b"\n", STAR),
    refused("a carriage return in it", b"a\rb NOOP\r\n", STAR),
    Talk("that of a failed command is not used again", [("a FOO", BAD), ("*", STAR)]),
]  # fmt: skip

SYNTAX = [
    refused("unknown verb", "a SELECT inbox"),
    refused("verbs of after the login", "a ENABLE X"),
    Talk(
        "ID, switched off",
        [("a ID NIL", BAD)],
        "close",
        [TOO_MANY],
        options={"imap_id": False, "max_errors": 1},
    ),
    refused("a prefix of a verb", "a NOO"),
    refused("longer than a verb", "a NOOPX"),
    refused("a digit in the verb", "a NOOP1"),
    refused("a NUL in the verb", b"a NO\0P\r\n"),
    refused("no verb", "a "),
    refused("four arguments", "a NOOP 1 2 3 4"),
    refused("a carriage return without line feed after the verb", b"a NOOP\rx\r\n"),
    refused("a carriage return without line feed after an atom", b"a LOGIN u p\rx\r\n"),
    refused("a carriage return without line feed after a space", b"a LOGIN u p \rx\r\n"),
    refused("a carriage return without line feed in a quoted string", b'a LOGIN "u\rx" p\r\n'),
    refused("two carriage returns", b"a NOOP\r\r\n"),
    refused("the rest of a bad line is not looked at", b'a FOO {3}\rb \0 "\r\n'),
]

COUNTED = [
    Talk("five syntax errors end the session",
         [(f"{n} FOO", f"{n} BAD invalid command") for n in range(5)], "close", [TOO_MANY]),
    Talk("four do not", [("a FOO", BAD)] * 4 + [("a NOOP", DONE)]),
    Talk("max_errors 1", [("a FOO", BAD)], "close", [TOO_MANY], options={"max_errors": 1}),
    Talk("good commands between do not reset the count", [("a FOO", BAD), ("a NOOP", DONE)] * 2 + [("a FOO", BAD)],
         "close", [TOO_MANY], options={"max_errors": 3}),
    Talk("what is pipelined behind the last one is not answered", [("a FOO\nb FOO\nc NOOP", BAD + "\nb" + BAD[1:])],
         "close", [TOO_MANY], options={"max_errors": 2}),
    Talk("errors of meaning do not count",
         [("a LOGIN u", BAD), ("a LOGIN u p x", BAD), ('a LOGIN "" p', BAD), ("a STARTTLS", BAD), ("a AUTHENTICATE", BAD),
          ("a AUTHENTICATE FOO", NO_SUCH), ("a AUTHENTICATE PLAIN x y", BAD), ("a AUTHENTICATE CRAM-MD5", NO_SUCH),
          ("a LOGIN", BAD), ("a NOOP", DONE)], options={"max_errors": 1}),
    Talk("nor do bad SASL responses", [("a AUTHENTICATE PLAIN", "+ "), ("*", BAD), ("a NOOP", DONE)],
         log=["info: client sent invalid base64 encoding in AUTH PLAIN command"], options={"max_errors": 1}),
    refused("bytes that wait for a go-ahead do not end it", "a FOO {3}"),
]  # fmt: skip

TOO_LONG = [
    Talk("a command longer than the buffer", [(b"a LOGIN user " + b"p" * 20, BAD)], "close",
         ['info: client sent too long command "a LOGIN" (arguments not shown)'], options={"client_buffer": 32}),
    Talk("a tag that never ends", [(b"a" * 16, STAR)], "close",
         ['info: client sent too long command ""'], options={"client_buffer": 16}),
    Talk("a command that fills it exactly", [(b"a NOOP 12345678\n", DONE)], options={"client_buffer": 16}),
    Talk("one byte more", [(b"a NOOP 123456789\n", BAD)], "close",
         ['info: client sent too long command "a NOOP" (arguments not shown)'], options={"client_buffer": 16}),
    Talk("a literal larger than the buffer is begun all the same",
         [("a LOGIN {300}", "+ OK"), (b"u" * 300, BAD)], "close",
         ['info: client sent too long command "a LOGIN" (arguments not shown)'], options={"client_buffer": 256}),
    Talk("a command that isn't served", [(b"a SELECT " + b"x" * 16, BAD)], "close",
         ['info: client sent too long command "a SELECT" (arguments not shown)'], options={"client_buffer": 16}),
    Talk("two spaces before the command", [(b"a  LOGIN u pass" + b"x" * 16, BAD)], "close",
         ['info: client sent too long command "a  LOGIN" (arguments not shown)'], options={"client_buffer": 16}),
    Talk("a literal sent in vain", [(b"correct horse battery staple", "correct BAD invalid command")], "close",
         ['info: client sent too long command ""'], options={"client_buffer": 16}),
    Talk("a bad line that never ends", [(b"a FOO " + b"x" * 16, BAD)], "close",
         ['info: client sent too long command ""'], options={"client_buffer": 16}),
    Talk("a SASL response longer than the buffer", [("a AUTHENTICATE PLAIN", "+ "), (b"A" * 32, BAD)], "close",
         ['info: client sent too long command "AUTHENTICATE" (response not shown)'], options={"client_buffer": 32}),
    Talk("commands before it are answered", [(b"a NOOP\r\nb LOGIN u pppppp\r\n", "a OK completed\nb BAD invalid command")],
         "close", ['info: client sent too long command "b LOGIN" (arguments not shown)'],
         options={"client_buffer": 16}),
]  # fmt: skip

LOGINS = [
    login("atoms", "a LOGIN user pass"),
    login("quoted", 'a LOGIN "user" "pass"'),
    login("a verb in any case", "a login user pass"),
    login("more than one space", "a LOGIN   user    pass  "),
    login("bare line feed", b"a LOGIN user pass\n"),
    login("pipelined commands stay for the backend", b"a LOGIN user pass\r\nb SELECT x\r\nc", rest=b"b SELECT x\r\nc"),
    login("quotes and backslashes within atoms are ordinary", rb"a LOGIN us"b'"'rb"er\ pa\ss"b"\r\n",
          user=b'us"er\\', password=b"pa\\ss"),
    login("escapes within quotes", rb'a LOGIN "us\"er\\" "p\a\\\"ss"' b"\r\n", user=b'us"er\\', password=b'pa\\"ss'),
    login("spaces within quotes", 'a LOGIN " us er " " "', user=b" us er ", password=b" "),
    login("empty password, quoted", 'a LOGIN user ""', password=b""),
    login("text right after a quoted string is the next argument", 'a LOGIN "user"pass'),
    login("a quoted string right after another", 'a LOGIN "user""pass"'),
    login("an open quote ends with its line", 'a LOGIN user "pass'),
    login("an open quote, a backslash last", b'a LOGIN user "pass\\\r\n', password=b"pass\\"),
    login("8-bit and control bytes", b'a LOGIN \xff\x00\x01 "\xe9\x00\t"\r\n', user=b"\xff\0\1", password=b"\xe9\0\t"),
    login("braces that do not begin an argument", "a LOGIN us{3} p{2+}", user=b"us{3}", password=b"p{2+}"),
    login("a literal and an atom", "a LOGIN {4}", "user pass"),
    login("two literals", "a LOGIN {4}", "user {4}", "pass"),
    login("an announcement with a bare line feed", b"a LOGIN {4}\n", b"user {4}\n", b"pass\n"),
    login("literals that do not wait", "a LOGIN {4+}\nuser {4+}\npass"),
    login("one that waits, one that does not", "a LOGIN {4}", "user {4+}\npass"),
    login("anything within a literal", "a LOGIN {8}", b"u\r\n\0\"\\ {" + b' "pass"\r\n', user=b"u\r\n\0\"\\ {"),
    login("a command line within a literal", "a LOGIN user {15}", b"x\r\nb LOGOUT\r\n\r\n\r\n",
          password=b"x\r\nb LOGOUT\r\n\r\n"),
    login("a literal with leading zeros", "a LOGIN {004}", "user pass"),
    login("an empty literal", "a LOGIN user {0}", "", password=b""),
    login("an empty literal, its size left out", "a LOGIN user {}", "", password=b""),
    login("an empty literal that does not wait", "a LOGIN user {0+}\n", password=b""),
    login("spaces behind a literal", "a LOGIN {4}", "user   pass"),
]  # fmt: skip

LITERALS = [
    refused("text right behind a literal", b"a LOGIN {4+}\r\nuserx pass\r\n"),
    refused("a quote right behind a literal", b'a LOGIN {4+}\r\nuser"pass"\r\n'),
    refused("a literal right behind a literal", b"a LOGIN {4+}\r\nuser{4}\r\n"),
    refused("no digits at all", "a LOGIN {x}"),
    refused("negative", "a LOGIN {-1}"),
    refused("a space in it", "a LOGIN { 4}"),
    refused("digits behind the plus", "a LOGIN {4+4}"),
    refused("text behind the brace", "a LOGIN {4}x"),
    refused("a space behind the brace", "a LOGIN {4} pass"),
    refused("never closed", "a LOGIN {4"),
    refused("a carriage return without line feed", b"a LOGIN {4}\rx\r\n"),
    refused("beyond 64 bits", "a LOGIN {18446744073709551616}"),
    refused("far beyond 64 bits", "a LOGIN {" + "9" * 60 + "}"),
    Talk("an empty user name", [("a LOGIN {0}", "+ OK"), (" pass", BAD), ("a NOOP", DONE)], options={"max_errors": 1}),
    Talk("a fourth argument", [("a LOGIN u p x {3}", BAD)], "close", [TOO_MANY], options={"max_errors": 1}),
    Talk("an open quote does not spoil the next command", [('a LOGIN "u', BAD), ("b LOGIN user pass", b"")], "auth",
         credentials=("plain", b"user", b"pass")),
    Talk("a bad literal does not spoil the next command",
         [("a LOGIN {4", BAD), ("b LOGIN {4}", "+ OK"), ("user pass", b"")], "auth",
         credentials=("plain", b"user", b"pass")),
]  # fmt: skip

SKIPPED = [
    Talk(name, [(said, BAD), ("b LOGIN user pass", b"")], "auth", credentials=("plain", b"user", b"pass"))
    for name, said in [
        ("an unknown command's", b"a FOO {12+}\r\nx LOGIN a b\n\r\n"),
        ("with a bare line feed", b"a FOO {3+}\na\r\n\r\n"),
        ("one after another", b"a FOO {3+}\r\nabc {0+}\r\n \"x\" {5+}\r\nb BYE\r\n"),
        ("within a list", b"a FOO (BAR ({3+}\r\n\r\n\n))\r\n"),
        ("a binary one", b"a FOO ~{3+}\r\n\0\r\n\r\n"),
        ("a list's of a command that takes none", b"a NOOP ({11+}\r\nx LOGOUT\r\n  x)\r\n"),
        ("at the end of an argument", b"a CAPABILITY x{11+}\r\nx LOGOUT\r\n \r\n"),
        ("of a fourth argument", b"a LOGIN u p x {11+}\r\nx LOGOUT\r\n \r\n"),
        ("behind text that follows one", b"a LOGIN {1+}\r\nux {11+}\r\nx LOGOUT\r\n \r\n"),
        ("larger than the buffer", b"a FOO {60000+}\r\n" + b"x LOGOUT\r\n" * 6000 + b"\r\n"),
        ("one that waits is refused before it is sent", b"a FOO {12}\r\n"),
        ("one that waits, however large", b"a FOO {99999999999999999999}\r\n"),
        ("one that waits after one that does not", b"a FOO {3+}\r\nabc {3}\r\n"),
        ("braces that announce nothing", b"a FOO {x+} {3+}x {3+} {+3}\r\n"),
        ("not closed", b"a FOO {3+\r\n"),
        ("no line end behind it", b"a FOO {3+}\rx\r\n"),
    ]
] + [
    Talk(f"{name} ends the session", [(said, BAD)], "close", [f"info: client sent too long command {shown}"])
    for name, said, shown in [
        ("one too large", b"a FOO {65537+}\r\n", '""'),
        ("one beyond 64 bits", b"a LOGIN {18446744073709551616+}\r\n", '"a LOGIN" (arguments not shown)'),
        ("several, too large together", b"a FOO {65000+}\r\n" + b"x" * 65000 + b" {600+}\r\n", '""'),
        ("a bad line behind one", b"a SELECT {3+}\r\nabc" + b"x" * 5000, '"a SELECT" (arguments not shown)'),
    ]
]  # fmt: skip

ID = [
    Talk(name, [(said, IDENTIFIED), ("b LOGIN user pass", b"")], "auth", credentials=("plain", b"user", b"pass"))
    for name, said in [
        ("NIL", b"a ID NIL\r\n"),
        ("in odd case", b"a iD  nIl \r\n"),
        ("an empty list", b"a ID ()\r\n"),
        ("strings", b'a ID ("name" "Thunderbird" "version" NIL) \r\n'),
        ("a bare line feed", b'a ID ("name" "x")\n'),
        ("Outlook's", b'a ID ("name" {24+}\r\nMicrosoft Outlook\r\n)\r\n\r\n "x" {0+}\r\n)\r\n'),
        ("an announcement within quotes", b'a ID ("name" "{23+}")\r\n'),
        ("a parenthesis within quotes", b'a ID ("na)me" "x")\r\n'),
        ("longer than the buffer", b"a ID (" + b'"k" "' + b"v" * 27000 + b'")\r\n'),
    ]
] + [
    Talk("literals that wait", [('a ID ("name" {4}', "+ OK"), ('x\r\n) {3}', "+ OK"), ("abc)", IDENTIFIED)]),
    Talk("several times", [("a ID NIL", IDENTIFIED), ("a NOOP", DONE), ('a ID ("x" NIL)', IDENTIFIED)]),
    Talk("and LOGIN in one write", [('A1 ID ("name" {23+}\n' + "x" * 23 + ")\nA2 LOGIN user pass", "* ID NIL\nA1 OK completed")],
         "auth", credentials=("plain", b"user", b"pass")),
    *[Talk(f"not {said}", [(said, BAD)], "close", [TOO_MANY], options={"max_errors": 1})
      for said in ("a ID", "a ID ", "a ID N", "a ID N IL", "a ID NILX", "a ID NIL NIL", "a ID x", 'a ID ("x" "y"', 'a ID ("x") y',
                   "a ID (x {65537}")],
    *[Talk(f"{name} ends the session", [(said, BAD)], "close",
           ['info: client sent too long command "a ID" (arguments not shown)'])
      for name, said in (("an endless one", b"a ID (" + b"x" * 66000), ("a literal too large", b"a ID (x {65537+}\r\n"))],
]  # fmt: skip

PLAIN = b64(b"authz\0user\0pass")


def plain(name: str, response: Line, user: bytes = b"user", password: bytes = b"pass") -> Talk:
    return Talk(
        name, [("a AUTHENTICATE PLAIN", "+ "), (response, b"")], "auth", credentials=("plain", user, password)
    )


def sasl(name: str, says: list[tuple[Line, Line]], method: str = "plain", user: bytes = b"user",
         password: bytes = b"pass", log: Sequence[str] = ()) -> Talk:  # fmt: skip
    return Talk(name, says, "auth", log, credentials=(method, user, password), options=ALL)


def failed(name: str, says: list[tuple[Line, Line]], why: str) -> Talk:
    """The last of ``says`` is bad: the exchange is over, and what follows is a command again."""
    return Talk(
        name,
        [*says, ("z NOOP", "z OK completed")],
        log=[f"info: client sent invalid {why} command"],
        options=ALL,
    )


LOGIN_ASKS: list[tuple[Line, Line]] = [("a AUTHENTICATE LOGIN", USERNAME)]
CRAM_ASKS: list[tuple[Line, Line]] = [("a AUTHENTICATE CRAM-MD5", CHALLENGE)]

SASL = [
    plain("plain", PLAIN),
    plain("padding may be missing", PLAIN.rstrip("=")),
    plain("what follows the padding does not count", b64(b"\0u\0p") + "=!! zzz", b"u", b"p"),
    plain("what follows a space does not count", PLAIN + " x y"),
    plain("bare line feed", PLAIN.encode() + b"\n"),
    plain("empty login and password", b64(b"\0\0"), b"", b""),
    plain("empty password", b64(b"\0user\0"), password=b""),
    plain("a NUL in the password", b64(b"\0user\0p\0q"), password=b"p\0q"),
    plain("line ends in the values", b64(b"\0us\r\ner\0p\r\nq"), b"us\r\ner", b"p\r\nq"),
    sasl("plain with an initial response", [(f"a AUTHENTICATE PLAIN {PLAIN}", b"")]),
    sasl("in any case", [(f"a authenticate plain {PLAIN}", b"")]),
    sasl("quoted", [(f'a AUTHENTICATE "PLAIN" "{PLAIN}"', b"")]),
    sasl("as literals", [(f"a AUTHENTICATE {{5+}}\nPLAIN {{{len(PLAIN)}+}}\n{PLAIN}", b"")]),
    sasl("login", [*LOGIN_ASKS, ("dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("login with an initial response", [("a AUTHENTICATE LOGIN dXNlcg==", PASSWORD), ("cGFzcw==", b"")]),
    sasl("login, both empty", [*LOGIN_ASKS, ("", PASSWORD), ("", b"")], user=b"", password=b""),
    sasl("external", [("a AUTHENTICATE EXTERNAL", USERNAME), ("dXNlcg==", b"")], "external", password=b""),
    sasl("external, empty", [("a AUTHENTICATE EXTERNAL", USERNAME), ("", b"")], "external", b"", b""),
    sasl("external with an initial response", [("a AUTHENTICATE EXTERNAL dXNlcg==", b"")], "external", password=b""),
    sasl("cram-md5", [*CRAM_ASKS, (b64(f"user {DIGEST}".encode()), b"")], "cram-md5", password=DIGEST.encode()),
    sasl("cram-md5, the digest is not looked into", [*CRAM_ASKS, (b64(b"user " + b"z" * 32), b"")], "cram-md5",
         password=b"z" * 32),
    sasl("cram-md5, an empty login", [*CRAM_ASKS, (b64(f" {DIGEST}".encode()), b"")], "cram-md5", b"", DIGEST.encode()),
    sasl("the challenge is the session's", [*CRAM_ASKS, ("!", BAD), *CRAM_ASKS,
                                            (b64(f"user {DIGEST}".encode()), b"")], "cram-md5", password=DIGEST.encode(),
         log=["info: client sent invalid base64 encoding in AUTH CRAM-MD5 command"]),
    Talk("plain and login work without being listed", [("a AUTHENTICATE LOGIN", USERNAME), ("!", BAD),
                                                       ("a AUTHENTICATE PLAIN", "+ "), (PLAIN, b"")], "auth",
         log=["info: client sent invalid base64 encoding in AUTH LOGIN command"], options={"auth": ()}),
    Talk("the others do not", [("a AUTHENTICATE CRAM-MD5", NO_SUCH), ("a AUTHENTICATE EXTERNAL", NO_SUCH),
                               ("a AUTHENTICATE EXTERNAL dXNlcg==", NO_SUCH)]),
    Talk("wrong words", [("a AUTHENTICATE", BAD), ("a AUTHENTICATE FOO", NO_SUCH), ("a AUTHENTICATE PLAINX", NO_SUCH),
                         ("a AUTHENTICATE PLAIN x y", BAD), ("a AUTHENTICATE CRAM-MD5 x", BAD),
                         ('a AUTHENTICATE ""', BAD), ("a NOOP", DONE)], options=ALL),
]  # fmt: skip

SASL_ERRORS = [
    failed("plain, not base64", [("a AUTHENTICATE PLAIN", "+ "), ("AHUA!", BAD)], "base64 encoding in AUTH PLAIN"),
    failed("plain, one digit left over", [("a AUTHENTICATE PLAIN", "+ "), ("AHUAc", BAD)],
           "base64 encoding in AUTH PLAIN"),
    failed("plain, cancelled", [("a AUTHENTICATE PLAIN", "+ "), ("*", BAD)], "base64 encoding in AUTH PLAIN"),
    failed("plain, not base64 at once", [("a AUTHENTICATE PLAIN !", BAD)], "base64 encoding in AUTH PLAIN"),
    failed("plain, empty", [("a AUTHENTICATE PLAIN", "+ "), ("", BAD)], "login in AUTH PLAIN"),
    failed("plain, no NUL", [("a AUTHENTICATE PLAIN", "+ "), (b64(b"user"), BAD)], "login in AUTH PLAIN"),
    failed("plain, nothing behind the first NUL", [("a AUTHENTICATE PLAIN", "+ "), (b64(b"z\0"), BAD)],
           "login in AUTH PLAIN"),
    failed("plain, one NUL", [("a AUTHENTICATE PLAIN", "+ "), (b64(b"\0user"), BAD)], "password in AUTH PLAIN"),
    failed("login, bad user name", [*LOGIN_ASKS, ("!", BAD)], "base64 encoding in AUTH LOGIN"),
    failed("login, bad user name at once", [("a AUTHENTICATE LOGIN !", BAD)], "base64 encoding in AUTH LOGIN"),
    failed("login, bad password", [*LOGIN_ASKS, ("dXNlcg==", PASSWORD), ("*", BAD)], "base64 encoding in AUTH LOGIN"),
    failed("cram-md5, not base64", [*CRAM_ASKS, ("!", BAD)], "base64 encoding in AUTH CRAM-MD5"),
    failed("cram-md5, empty", [*CRAM_ASKS, ("", BAD)], "CRAM-MD5 hash in AUTH CRAM-MD5"),
    failed("cram-md5, no space", [*CRAM_ASKS, (b64(b"user"), BAD)], "CRAM-MD5 hash in AUTH CRAM-MD5"),
    failed("cram-md5, 31 characters", [*CRAM_ASKS, (b64(b"user " + b"0" * 31), BAD)], "CRAM-MD5 hash in AUTH CRAM-MD5"),
    failed("cram-md5, 33 characters", [*CRAM_ASKS, (b64(b"user " + b"0" * 33), BAD)], "CRAM-MD5 hash in AUTH CRAM-MD5"),
    failed("cram-md5, split at the first space", [*CRAM_ASKS, (b64(f"us er {DIGEST}".encode()), BAD)],
           "CRAM-MD5 hash in AUTH CRAM-MD5"),
    failed("external, not base64", [("a AUTHENTICATE EXTERNAL", USERNAME), ("!", BAD)], "base64 encoding in AUTH EXTERNAL"),
    failed("external, not base64 at once", [("a AUTHENTICATE EXTERNAL !", BAD)], "base64 encoding in AUTH EXTERNAL"),
    Talk("a carriage return in a response is a counted error", [("a AUTHENTICATE PLAIN", "+ "), (b"AH\rUA\r\n", BAD)],
         "close", [TOO_MANY], options={"max_errors": 1}),
    Talk("a failed PLAIN leaves nothing for EXTERNAL",
         [("a AUTHENTICATE PLAIN", "+ "), (b64(b"\0user"), BAD), ("b AUTHENTICATE EXTERNAL", USERNAME), ("", b"")],
         "auth", ["info: client sent invalid password in AUTH PLAIN command"], options=ALL, requests=[
             request("", "", method="external")]),
]  # fmt: skip

NO = answer("no way", "Auth-Wait: 1")
FAILED = 'info: client login failed: "no way"'

AUTH = [
    Talk("rejected", [("a LOGIN user pass", "a NO no way")], "rejected", [FAILED], [answer("no way")],
         [request("user", "pass")]),
    Talk("rejected, without text", [("a LOGIN user pass", "a NO ")], "rejected", ['info: client login failed: ""'],
         [answer("")]),
    *[Talk(f"max_auth_attempts {most}",
           [("a LOGIN user bad", "a NO no way"), ("b AUTHENTICATE PLAIN", "+ "), (PLAIN, "b NO no way"),
            ("c NOOP", "c OK completed"), ("d LOGIN user pass", b"")], "auth",
           [FAILED] * 2, [answer("no way")] * 2, waits=[1000, 2000], options={"max_auth_attempts": most}) for most in (3, 9)],
    Talk("the last of max_auth_attempts", [("a LOGIN user bad", "a NO no way"), ("b LOGIN user bad", "b NO no way")],
         "rejected", [FAILED] * 2, [answer("no way")] * 2, waits=[1000], options={"max_auth_attempts": 2}),
    Talk("the delay ends growing", [(f"{n} LOGIN user bad", f"{n} NO no way") for n in range(7)], "rejected",
         [FAILED] * 7, [answer("no way")] * 7, waits=[1000, 2000, 4000, 8000, 16000, 16000],
         options={"max_auth_attempts": 7}),
    Talk("max_auth_attempts 0 is 1", [("a LOGIN user bad", "a NO no way")], "rejected", [FAILED], [answer("no way")],
         options={"max_auth_attempts": 0}),
    Talk("Auth-Wait counts as an attempt and never ends the session",
         [("a LOGIN user bad", "a NO no way"), ("b LOGIN user bad", "b NO no way"), ("c LOGIN user bad", "c NO no way")],
         "rejected", [FAILED] * 3, [NO, NO, answer("no way")], waits=[1000, 1000], options={"max_auth_attempts": 2}),
    Talk("rejected without a tag", [(" LOGIN user pass", " NO no way")], "rejected", [FAILED], [answer("no way")]),
    Talk("rejected for a time, then accepted",
         [("a LOGIN user bad\nb NOOP", "a NO no way\nb OK completed"), ("c LOGIN user pass\nd X", b"")], "proxy", [FAILED],
         [NO, answer()], [request("user", "bad"), request("user", "pass", attempt=2)], leftover=b"d X\r\n", waits=[1000]),
    Talk("a bad line after a rejection has no tag", [("a LOGIN user bad", "a NO no way"), ("*", STAR)], log=[FAILED],
         auth=[NO], waits=[1000]),
    Talk("after a rejected AUTHENTICATE commands are read again",
         [("a AUTHENTICATE PLAIN", "+ "), (PLAIN, "a NO no way"), ("b NOOP", "b OK completed")], log=[FAILED],
         auth=[NO], waits=[1000]),
    Talk("errors count on after a rejection", [("a FOO", BAD), ("a LOGIN u p", "a NO no way"), ("a FOO", BAD)], "close",
         [FAILED, TOO_MANY], [NO], waits=[1000], options={"max_errors": 2}),
    Talk("a failed PLAIN leaves no password for EXTERNAL",
         [("a AUTHENTICATE PLAIN", "+ "), (PLAIN, "a NO no way"), ("b AUTHENTICATE EXTERNAL dXNlcg==", b"")], "auth",
         [FAILED], [NO], [request("user", "pass"), request("user", "", method="external", attempt=2)], waits=[1000],
         options=ALL),
    Talk("asked to wait, then accepted", [("a LOGIN user pass", b"")], "proxy", [], [answer("WAIT", "Auth-Wait: 2"), answer()],
         [request("user", "pass")] * 2, waits=[2000]),
    Talk("asked to wait without a time: not at once", [("a LOGIN user pass", b"")], "proxy", [],
         [answer("WAIT"), answer()], [request("user", "pass")] * 2, waits=[1000]),
    Talk("asked to wait, then rejected", [("a LOGIN user pass", "a NO no way")], "rejected", [FAILED],
         [answer("WAIT", "Auth-Wait: 2"), answer("no way")], waits=[2000]),
    Talk("a digest is sent again after a wait", [*CRAM_ASKS, (b64(f"user {DIGEST}".encode()), b"")], "proxy", [],
         [answer("WAIT", "Auth-Wait: 1"), answer("OK", "Auth-Pass: pass")],
         [request("user", DIGEST, method="cram-md5")] * 2, waits=[1000], options=ALL),
]  # fmt: skip

TABLES = {
    "command": COMMANDS, "tag": TAGS, "syntax": SYNTAX, "counted": COUNTED, "too long": TOO_LONG, "login": LOGINS,
    "literal": LITERALS, "skipped literal": SKIPPED, "id": ID, "sasl": SASL, "sasl error": SASL_ERRORS, "auth": AUTH,
}  # fmt: skip
