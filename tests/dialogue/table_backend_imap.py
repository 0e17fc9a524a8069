"""IMAP backends (reference 7.1 and 7.2): what they say, what they are told, what the client gets.

Meant to differ from nginx: one line instead of literals where the values allow it, and any number of
untagged lines before the tagged reply.
"""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode

from dialogue.exchange import Line, Login, answer

INTERNAL = "a NO [UNAVAILABLE] internal server error\n* BYE [UNAVAILABLE] internal server error"
LINE = 'a LOGIN "user" "pass"'
PASS_ON = {"proxy_pass_error_message": True}
LONG = "error: upstream sent too long response line: "


def with_values(name: str, user: bytes, password: bytes, *orders: bytes) -> Login:
    """The values in SASL PLAIN, so that they may be anything; each order is answered with a go-ahead."""
    plain = b64encode(b"\0" + user + b"\0" + password)
    ready = [b"* OK hi\r\n", *[b"+ go\r\n"] * (len(orders) - 1)]
    says = [*zip(ready, orders, strict=True), (b"a OK in\r\n", b"")]
    return Login(name, says, reply="a OK in", client=b"a AUTHENTICATE PLAIN " + plain + b"\r\n")


def refused(
    name: str, said: str, shown: str, *, passed: str | None = None, greeting: bool = False
) -> list[Login]:
    """Both ways: our own error for the client, or the backend's reply as it is (of a BYE: and tagged). That the
    greeting is none is never the client's doing."""
    says: list[tuple[Line, Line]] = [(said, b"")]
    if not greeting:
        says.insert(0, ("* OK hi", LINE))
    text = f'upstream sent invalid response: "{shown}"'
    level = "error" if greeting else "info"
    return [
        Login(name, says, "rejected", INTERNAL, [f"error: {text}"]),
        Login(f"{name}, passed on", says, "rejected", passed or said, [f"{level}: {text}"], options=PASS_ON),
    ]


ACCEPTED = [
    Login("one line", [("* OK hi", LINE), ("a OK logged in", b"")], reply="a OK logged in"),
    Login("no text", [("* OK", LINE), ("a OK", b"")], reply="a OK"),
    Login("an untagged line before the reply", [("* OK hi", LINE), ("* CAPABILITY X\na OK in", b"")],
          reply="* CAPABILITY X\na OK in"),
    Login("many untagged lines", [("* OK hi", LINE), ("* A\n* B\n* OK C\na OK in", b"")], reply="* A\n* B\n* OK C\na OK in"),
    Login("the client's tag", [("* OK hi", 'x.9 LOGIN "user" "pass"'), ("x.9 OK in", b"")], reply="x.9 OK in",
          client="x.9 LOGIN user pass"),
    Login("a refusal of the client's command", [("* OK hi", 'x.9 LOGIN "user" "pass"'), ("x.9 NO no", b"")], "rejected",
          INTERNAL.replace("a NO", "x.9 NO"), ['error: upstream sent invalid response: "NO no"'],
          client="w NOOP\nx.9 AUTHENTICATE PLAIN\nAHVzZXIAcGFzcw=="),
    Login("an empty tag", [("* OK hi", ' LOGIN "user" "pass"'), (" OK in", b"")], reply=" OK in",
          client=" LOGIN user pass"),
    Login("what the backend says at once is passed on", [("* OK hi", LINE), ("a OK in\n* BYE", b"")],
          reply="a OK in\n* BYE"),
    Login("user name and password from the auth server", [("* OK hi", 'a LOGIN "other" "secret word"'), ("a OK", b"")],
          reply="a OK", auth=answer("OK", "Auth-User: other", "Auth-Pass: secret word")),
    Login("an empty user name from the auth server", [("* OK hi", 'a LOGIN "" "pass"'), ("a OK", b"")], reply="a OK",
          auth=answer("OK", "Auth-User:")),
    Login("bytes of a reply that is not complete", [("* OK hi", LINE), (b"a OK in\r", b"")], "read"),
    Login("a bare line feed does not end a reply", [("* OK hi", LINE), (b"a OK in\n", b"")], "read"),
    Login("nothing yet", [(b"", b"")], "read"),
]  # fmt: skip

VALUES = [
    with_values("quotes and backslashes", b'u"s\\er', b'\\"', b"a LOGIN {6}\r\n", b'u"s\\er {2}\r\n', b'\\"\r\n'),
    with_values("a backslash in the password", b"user", b"p\\w", b"a LOGIN {4}\r\n", b"user {3}\r\n", b"p\\w\r\n"),
    with_values("a quote in the user name", b'us"er', b"pass", b"a LOGIN {5}\r\n", b'us"er {4}\r\n', b"pass\r\n"),
    with_values("empty password", b"user", b"", b'a LOGIN "user" ""\r\n'),
    with_values("a tab and DEL may be quoted", b"u\t\x7f", b"\x01", b'a LOGIN "u\t\x7f" "\x01"\r\n'),
    with_values("8-bit", b"us\xe9r", b"pass", b"a LOGIN {4}\r\n", b"us\xe9r {4}\r\n", b"pass\r\n"),
    with_values("line ends", b"us\r\nb LOGOUT", b"pass", b"a LOGIN {12}\r\n", b"us\r\nb LOGOUT {4}\r\n", b"pass\r\n"),
    with_values("a bare line feed", b"user", b"p\nq", b"a LOGIN {4}\r\n", b"user {3}\r\n", b"p\nq\r\n"),
    with_values("NUL", b"user", b"p\0q", b"a LOGIN {4}\r\n", b"user {3}\r\n", b"p\0q\r\n"),
    with_values("empty values beside one that takes a literal", b"", b"\xe9", b"a LOGIN {0}\r\n", b" {1}\r\n",
                b"\xe9\r\n"),
    with_values("a line of 1000 bytes", b"user", b"p" * 979, b'a LOGIN "user" "' + b"p" * 979 + b'"\r\n'),
    with_values("of 1001", b"user", b"p" * 983, b"a LOGIN {4}\r\n", b"user {983}\r\n", b"p" * 983 + b"\r\n"),
]  # fmt: skip

PLUS = b"* OK [CAPABILITY IMAP4rev1 LITERAL+ IDLE] hi\r\n"
EIGHT_BIT = b"a AUTHENTICATE PLAIN " + b64encode(b"\0us\xe9r\0pa\nss") + b"\r\n"


def greeted(name: str, greeting: bytes, *orders: bytes) -> Login:
    """A login that takes literals, behind this greeting."""
    said = [greeting, *[b"+ go\r\n"] * (len(orders) - 1), b"a OK in\r\n"]
    return Login(name, list(zip(said, [*orders, b""], strict=True)), reply="a OK in", client=EIGHT_BIT)


IN_THREE = (b"a LOGIN {4}\r\n", b"us\xe9r {5}\r\n", b"pa\nss\r\n")
LITERAL_PLUS = [
    greeted("offered", PLUS, b"a LOGIN {4+}\r\nus\xe9r {5+}\r\npa\nss\r\n"),
    greeted("offered in lower case, last", PLUS.replace(b"LITERAL+ IDLE", b"idle literal+"),
            b"a LOGIN {4+}\r\nus\xe9r {5+}\r\npa\nss\r\n"),
    greeted("LITERAL- is for short ones", PLUS.replace(b"LITERAL+", b"LITERAL-"), *IN_THREE),
    greeted("named outside of the code", b"* OK [CAPABILITY IMAP4rev1] LITERAL+ \r\n", *IN_THREE),
    greeted("another code", b"* OK [ALERT LITERAL+ ] hi\r\n", *IN_THREE),
    greeted("a code without an end", b"* OK [CAPABILITY LITERAL+ hi\r\n", *IN_THREE),
    Login("a quote", [(PLUS, b'a LOGIN {4+}\r\nuser {2+}\r\np"\r\n'), ("a OK in", b"")], reply="a OK in",
          client=b"a AUTHENTICATE PLAIN " + b64encode(b'\0user\0p"') + b"\r\n"),
    Login("proxy_pipelining off", [(PLUS, b"a LOGIN {4}\r\n"), ("+", b"us\xe9r {5}\r\n"), ("+", b"pa\nss\r\n"),
                                   ("a OK in", b"")], reply="a OK in", client=EIGHT_BIT,
          options={"proxy_pipelining": False}),
    Login("values that fit a line go in one", [(PLUS, LINE), ("a OK in", b"")], reply="a OK in"),
    Login("a refusal", [(PLUS, b"a LOGIN {4+}\r\nus\xe9r {5+}\r\npa\nss\r\n"), ("a NO no", b"")], "rejected", INTERNAL,
          ['error: upstream sent invalid response: "NO no"'], client=EIGHT_BIT),
]  # fmt: skip

REFUSED = [
    *refused("a negative greeting", "* BYE full", "* BYE full", passed="a NO full\n* BYE full", greeting=True),
    *refused("a negative greeting with a code", "* BYE [UNAVAILABLE] full", "* BYE [UNAVAILABLE] full",
             passed="a NO [UNAVAILABLE] full\n* BYE [UNAVAILABLE] full", greeting=True),
    *refused("BYE without a text", "* BYE", "* BYE", passed="a NO closing connection\n* BYE"),
    *refused("BYE in lower case", "* bye full", "* bye full", passed="a NO full\n* bye full"),
    *refused("BYE instead of a reply", "* BYE [UNAVAILABLE] down", "* BYE [UNAVAILABLE] down",
             passed="a NO [UNAVAILABLE] down\n* BYE [UNAVAILABLE] down"),
    *refused("BYE after an untagged line", "* OK wait\n* BYE down", "* BYE down",
             passed="a NO down\n* OK wait\n* BYE down"),
    *refused("a line behind BYE", "* BYE down\na NO down", "* BYE down", passed="a NO down\n* BYE down"),
    Login("a word that begins like BYE", [("* OK hi", LINE), ("* BYEBYE\na OK in", b"")], reply="* BYEBYE\na OK in"),
    Login("BYE instead of a go-ahead", [("* OK hi", "a LOGIN {5}"), ("* BYE [UNAVAILABLE] down", b"")], "rejected",
          "a NO [UNAVAILABLE] down\n* BYE [UNAVAILABLE] down",
          ['info: upstream sent invalid response: "* BYE [UNAVAILABLE] down"'], client=b"a LOGIN {5+}\r\nus\0er pass\r\n",
          options=PASS_ON),
    *refused("PREAUTH", "* PREAUTH hi", "* PREAUTH hi", greeting=True),
    *refused("a greeting in lower case", "* ok hi", "* ok hi", greeting=True),
    *refused("a greeting of another protocol", "+OK hi", "+OK hi", greeting=True),
    *refused("a short greeting", "*", "*", greeting=True),
    *refused("an empty greeting", "", "", greeting=True),
    *refused("NO", "a NO [AUTHENTICATIONFAILED] bad", "NO [AUTHENTICATIONFAILED] bad"),
    *refused("BAD", "a BAD what", "BAD what"),
    *refused("NO after an untagged line", "* X\na NO bad", "NO bad"),
    *refused("OK in lower case", "a ok in", "ok in"),
    *refused("another tag", "b OK in", "b OK in"),
    *refused("the tag in the other case", "A OK in", "A OK in"),
    *refused("no status", "a ", "a "),
    *refused("a go-ahead that was not asked for", "+ go", "+ go"),
    *refused("only the complete reply", "a NO bad\n* X", "NO bad", passed="a NO bad"),
    Login("no go-ahead for the user name", [("* OK hi", "a LOGIN {5}"), ("a NO no literals", b"")], "rejected", INTERNAL,
          ['error: upstream sent invalid response: "a NO no literals"'], client=b"a LOGIN {5+}\r\nus\0er pass\r\n"),
    Login("no go-ahead for the password", [("* OK hi", "a LOGIN {5}"), ("+", b"us\0er {4}\r\n"), ("a BAD", b"")],
          "rejected", "a BAD", ['info: upstream sent invalid response: "a BAD"'], client=b"a LOGIN {5+}\r\nus\0er pass\r\n",
          options=PASS_ON),
    Login("a greeting longer than proxy_buffer", [(b"* OK " + b"x" * 27, b"")], "rejected", INTERNAL,
          [LONG + '"* OK ' + "x" * 27 + '"'], options={"proxy_buffer": 32}),
    Login("untagged lines beyond proxy_buffer", [("* OK hi", LINE), (b"* A\r\n* B\r\n* CCCCCC", b"")], "rejected", INTERNAL,
          [LONG + '"* A', '* B', '* CCCCCC"'], options={"proxy_buffer": 18}),
    Login("a reply that fills proxy_buffer exactly", [("* OK hi", LINE), (b"a OK 1234567\r\n", b"")], reply="a OK 1234567",
          options={"proxy_buffer": 14}),
]  # fmt: skip

TABLES = {"accepted": ACCEPTED, "values": VALUES, "literal+": LITERAL_PLUS, "refused": REFUSED}
