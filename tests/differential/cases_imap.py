"""IMAP: commands, tags, arguments and literals before the login (reference 5.2 and 5.4)."""

from case import ACCEPT, REJECT, Case
from support.script import CLOSED, SHUT, VANISH

BAD = "a BAD invalid command"
UNTAGGED_BAD = "* BAD invalid command"
DONE = "a OK completed"
IN = "a OK logged in"
BACKEND = ("* OK hi", IN)
STILL_THERE = ("z NOOP", "z OK completed")


def login(name: str, *sends: bytes | str, server: str = "imap", prompts: int = 0) -> Case:
    """The client logs in with tag ``a``; each of the first ``prompts`` sends is answered ``+ OK``."""
    talk = [(send, "+ OK" if number < prompts else None) for number, send in enumerate(sends)]
    talk[-1] = (talk[-1][0], IN)
    return Case(name, talk, [ACCEPT], BACKEND, server=server)


def refused(name: str, *sends: bytes | str, reply: str = BAD) -> Case:
    """The client's line gets BAD, and the session goes on."""
    return Case(name, [(sends, reply), STILL_THERE])


COMMANDS = [
    Case("greeting only", []),
    Case("capability", [("a CAPABILITY", ("* CAPABILITY IMAP4 IMAP4rev1 UIDPLUS AUTH=PLAIN AUTH=LOGIN "
                                          "AUTH=CRAM-MD5 AUTH=EXTERNAL", DONE))]),
    Case("capability by default", [("a CAPABILITY", ("* CAPABILITY IMAP4 IMAP4rev1 UIDPLUS AUTH=PLAIN", DONE))],
         server="imap-plain"),
    Case("capability as configured",
         [("a CAPABILITY", ("* CAPABILITY IMAP4rev1 IDLE X Y AUTH=CRAM-MD5", DONE))], server="imap-capabilities"),
    Case("commands in any case", [("a nOOp", DONE), ("b LoGoUt", ("* BYE", "b OK completed", CLOSED))]),
    Case("arguments of noop are ignored", [("a NOOP 1 2 3", DONE)]),
    Case("arguments of capability are ignored",
         [("a CAPABILITY x", ("* CAPABILITY IMAP4 IMAP4rev1 UIDPLUS AUTH=PLAIN", DONE))], server="imap-plain"),
    Case("logout", [("a LOGOUT", ("* BYE", DONE, CLOSED))]),
    Case("logout with arguments", [("a LOGOUT now", ("* BYE", DONE, CLOSED))]),
    Case("logout leaves the rest", [("a LOGOUT\r\nb NOOP", ("* BYE", DONE, CLOSED))]),
    Case("commands with bare line feeds", [(b"a NOOP\nb NOOP\n", (DONE, "b OK completed"))]),
    Case("spaces before the verb", [("a    NOOP", DONE)]),
    Case("spaces after the verb", [("a NOOP   ", DONE)]),
    refused("starttls when off", "a STARTTLS"),
    refused("unknown verb", "a SELECT inbox"),
    refused("commands of a later state", "a ENABLE X"),
    Case("ID", [("a ID NIL", ("* ID NIL", DONE)), STILL_THERE]),
    Case("ID with a literal, and LOGIN in one write",
         [('a ID ("name" {4+}\r\nabcd)\r\na LOGIN user pass', ("* ID NIL", DONE, "a OK logged in"))], [ACCEPT],
         ("* OK hi", "a OK logged in")),
    refused("verb with a digit", "a NOOP1"),
    refused("verb with 8-bit", "a NO\xd6P"),
    refused("verb that is a prefix", "a NOO"),
    refused("verb that is longer", "a NOOPX"),
    refused("tag without verb", "a "),
    refused("four arguments", "a NOOP 1 2 3 4"),
    refused("carriage return without line feed", b"a NOOP\rb\r\n"),
    refused("NUL in the verb", b"a NO\0P\r\n"),
    Case("pipelined", [("a NOOP\r\nb NOOP\r\nc FOO\r\nd NOOP",
                        (DONE, "b OK completed", "c BAD invalid command", "d OK completed"))]),
    Case("a command in pieces", [((b"a N", 0.02, b"OO", 0.02, b"P\r", 0.02, b"\n"), DONE)]),
    Case("half-close after a command", [(("a NOOP", 0.05, SHUT), (DONE, CLOSED))]),
    Case("reset before a command", [(VANISH, None)]),
    Case("reset in the middle of a command", [((b"a LOGIN us", 0.05, VANISH), None)]),
]  # fmt: skip

TAGS = [
    Case("tag of all allowed characters", [("aZ09-._ NOOP", "aZ09-._ OK completed")]),
    Case("tag of 32 characters", [("t" * 32 + " NOOP", "t" * 32 + " OK completed")]),
    Case("tag of 33 characters", [("t" * 33 + " NOOP", "t" * 33 + " OK completed"), STILL_THERE]),
    refused("tag with plus", "a+ NOOP", reply=UNTAGGED_BAD),
    refused("tag star", "* NOOP", reply=UNTAGGED_BAD),
    refused("tag with 8-bit", "\xe9 NOOP", reply=UNTAGGED_BAD),
    refused("line without a space", "NOOP", reply=UNTAGGED_BAD),
    refused("empty line", "", reply=UNTAGGED_BAD),
    refused("lone line feed", b"\n", reply=UNTAGGED_BAD),
    Case("empty tag", [(" NOOP", " OK completed")]),
    Case("the tag of the failed command before is not used again",
         [("first FOO", "first BAD invalid command"), ("*", UNTAGGED_BAD)]),
]  # fmt: skip

ERRORS = [
    Case("five errors end the session",
         [(f"{number} FOO", f"{number} BAD invalid command") for number in range(4)]
         + [("4 FOO", ("4 BAD invalid command", CLOSED))]),
    Case("max_errors 2", [("a FOO", BAD), ("b FOO", ("b BAD invalid command", CLOSED))], server="imap-errors"),
    Case("max_errors 0 ends at the first", [("a FOO", (BAD, CLOSED))], server="imap-no-errors"),
    Case("max_errors among pipelined commands",
         [("a FOO\r\nb NOOP\r\nc FOO\r\nd NOOP", (BAD, "b OK completed", "c BAD invalid command", CLOSED))],
         server="imap-errors"),
    Case("semantic errors do not count",
         [("a LOGIN", BAD), ("a STARTTLS", BAD), ("a AUTHENTICATE FOO", "a NO Unsupported authentication mechanism"),
          ("a LOGIN x", BAD),
          ("a AUTHENTICATE PLAIN =", BAD), STILL_THERE], server="imap-errors"),
    Case("errors count across good commands",
         [("a FOO", BAD), STILL_THERE, ("*", (UNTAGGED_BAD, CLOSED))], server="imap-errors"),
    Case("line longer than the buffer", [(b"a NOOP " + b"x" * 249, (BAD, CLOSED))], server="imap-small"),
    Case("line longer than the default buffer", [(b"a LOGIN " + b"x" * 4088, (BAD, CLOSED))]),
    Case("invalid line longer than the buffer", [(b"a FOO " + b"x" * 250, (BAD, CLOSED))], server="imap-small"),
    Case("endless tag", [(b"x" * 256, (UNTAGGED_BAD, CLOSED))], server="imap-small"),
    Case("line of just the buffer", [(b"a NOOP " + b"x" * 247 + b"\r\n", DONE), STILL_THERE], server="imap-small"),
    Case("burst of commands that fills the buffer", [(b"a NOOP\r\n" * 33, (DONE,) * 33 + (CLOSED,))],
         server="imap-small-quick"),
    Case("burst of commands that straddles the buffer",
         [(b"aa NOOP\r\n" * 28 + b"aa N", ("aa OK completed",) * 28), (b"OOP\r\n", "aa OK completed"), STILL_THERE],
         server="imap-small"),
    Case("timeout before the login", [(0.3, None), STILL_THERE, (None, CLOSED)], server="imap-quick"),
    Case("timeout in the middle of a command", [(b"a LOG", CLOSED)], server="imap-quick"),
]  # fmt: skip

LOGINS = [
    login("login with atoms", "a LOGIN user pass"),
    login("login in lower case", "a login user pass"),
    login("login with more spaces", "a  LOGIN   user   pass  "),
    login("login with quoted strings", 'a LOGIN "user" "pass"'),
    login("quoted strings with spaces", 'a LOGIN "us er" "pa ss"'),
    login("quoted strings with escapes", r'a LOGIN "us\"er\\x" "pa\ss"'),
    login("quotes and backslashes in atoms", 'a LOGIN us"er\\ pa"ss'),
    login("braces in atoms", "a LOGIN us{4} pass}"),
    login("atoms with 8-bit", "a LOGIN us\xe9r p\xe4ss"),
    login("quoted strings with 8-bit", 'a LOGIN "us\xe9r" "p\xe4ss"'),
    login("percent, plus and equals", "a LOGIN us%er p+a=s%s"),
    login("control characters", b"a LOGIN us\x01er\x7f p\tass\r\n"),
    login("NUL in a quoted string", b'a LOGIN "us\0er" "pa\0ss"\r\n'),
    login("empty password", 'a LOGIN user ""'),
    login("quoted strings without a space between", 'a LOGIN "user""pass"'),
    login("quoted string followed by an atom", 'a LOGIN "user"pass'),
    login("login with bare line feed", b"a LOGIN user pass\n"),
    login("login byte by byte", *[bytes([byte]) for byte in b'a LOGIN "us\\"er" pass\r\n']),
    refused("login without arguments", "a LOGIN"),
    refused("login with one argument", "a LOGIN user"),
    refused("login with three arguments", "a LOGIN user pass more"),
    refused("login with four arguments", "a LOGIN user pass and more"),
    refused("empty user", 'a LOGIN "" pass'),
    refused("unterminated quote", 'a LOGIN "user'),
    refused("line feed in quotes", b'a LOGIN "us\n'),
    refused("carriage return in quotes", b'a LOGIN "us\rer" pass\r\n'),
    Case("an unterminated quote does not leak",
         [('a LOGIN "u', BAD), ("a LOGIN user pass", IN)], [ACCEPT], BACKEND),
    Case("wrong verb before the login", [("a FOO", BAD), ("a LOGIN user pass", IN)], [ACCEPT], BACKEND),
    Case("a long tag in the login", [("abcdefghijklmnopqrstuvwxyz-._012 LOGIN user pass",
                                      "abcdefghijklmnopqrstuvwxyz-._012 OK in")],
         [ACCEPT], ("* OK hi", "abcdefghijklmnopqrstuvwxyz-._012 OK in")),
    Case("empty tag in the login", [(" LOGIN user pass", " OK in")], [ACCEPT], ("* OK hi", " OK in")),
]  # fmt: skip

LITERALS = [
    login("two literals", "a LOGIN {4}", b"user {4}\r\n", "pass", prompts=2),
    login("literal and atom", "a LOGIN {4}", "user pass", prompts=1),
    login("quoted string and literal", 'a LOGIN "user" {4}', "pass", prompts=1),
    login("non-synchronising literals", b"a LOGIN {4+}\r\nuser {4+}\r\npass\r\n"),
    login("non-synchronising literal and atom", b"a LOGIN {4+}\r\nuser pass\r\n"),
    login("both kinds of literals", b"a LOGIN {4+}\r\nuser {4}\r\n", "pass", prompts=1),
    login("literal with line end inside", "a LOGIN {7}", b"us\r\ner1 {4}\r\n", "pass", prompts=2),
    login("literal with NUL and 8-bit", "a LOGIN {5}", b"u\0s\xe9r {3}\r\n", b"\x80\xff\x00\r\n", prompts=2),
    login(
        "every byte in literals",
        "a LOGIN {256}",
        bytes(range(256)) + b" {256}\r\n",
        bytes(range(256))[::-1] + b"\r\n",
        prompts=2,
    ),
    login("literal with quote, space and percent", "a LOGIN {6}", b'u"s r% {2}\r\n', b'\\"\r\n', prompts=2),
    login("literal with leading zeros", "a LOGIN {004}", "user pass", prompts=1),
    login("literal ended by a line feed", b"a LOGIN {4}\n", b"user pass\n", prompts=1),
    Case("literal sent without waiting", [(b"a LOGIN {4}\r\nuser pass\r\n", ("+ OK", IN))], [ACCEPT], BACKEND),
    login("empty password as literal", "a LOGIN user {0}", "", prompts=1),
    login("empty password as non-synchronising literal", b"a LOGIN user {0+}\r\n\r\n"),
    login("empty literal before a bare line feed", b"a LOGIN user {0+}\n\n"),
    refused("empty user as literal", b"a LOGIN {0+}\r\n pass\r\n"),
    login("empty braces are an empty literal", "a LOGIN user {}", "", prompts=1),
    refused("literal of a user with nothing after", "a LOGIN {4}\r\nuser", reply="+ OK\r\na BAD invalid command"),
    refused("letters in the braces", "a LOGIN {4x}"),
    refused("minus in the braces", "a LOGIN {-4}"),
    refused("open brace", "a LOGIN {4"),
    refused("text after the braces", "a LOGIN {4}x"),
    refused("length beyond 64 bits", "a LOGIN {99999999999999999999}"),
    refused("length of just 64 bits", "a LOGIN {18446744073709551615}"),
    Case("text directly after a literal", [("a LOGIN {4}", "+ OK"), ("userx pass", BAD), STILL_THERE]),
    Case("quote directly after a literal", [("a LOGIN {4}", "+ OK"), ('user"pass"', BAD), STILL_THERE]),
    Case("literal beyond the buffer", [("a LOGIN {300}", "+ OK"), (b"x" * 241, (BAD, CLOSED))], server="imap-small"),
    Case("non-synchronising literal after a syntax error", [("a FOO {4+}\r\nb\r\nc", BAD), STILL_THERE]),
    Case("synchronising literal after a syntax error", [("a FOO {4}", BAD), STILL_THERE]),
    Case("literals as arguments of noop", [("a NOOP {2}", "+ OK"), ("xy", DONE)]),
    Case("half-close within a literal", [("a LOGIN {4}", "+ OK"), ((b"us", 0.05, SHUT), CLOSED)]),
    Case("timeout within a literal", [("a LOGIN {4}", "+ OK"), (b"us", CLOSED)], server="imap-quick"),
    Case("reset within a literal", [("a LOGIN {4}", "+ OK"), ((b"us", 0.05, VANISH), None)]),
    Case("a rejected login in literals",
         [("a LOGIN {4}", "+ OK"), ("user pass", ("a NO Invalid login or password", CLOSED))], [REJECT]),
]  # fmt: skip

CASES = [*COMMANDS, *TAGS, *ERRORS, *LOGINS, *LITERALS]
