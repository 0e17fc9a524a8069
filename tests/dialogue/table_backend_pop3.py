"""POP3 backends (reference 7.3): what they say, what they are told, what the client gets."""

# ruff: noqa: E501  (tables of what is said on the wire)

from base64 import b64encode

from dialogue.exchange import Login, answer

INTERNAL = "-ERR internal server error"
SENT = "upstream sent invalid response: "
CLIENT = "USER user\nPASS pass"
HARMFUL = "error: login or password contains CR, LF or NUL and cannot be sent"


def pop3(name: str, says: list[tuple[str | bytes, str | bytes]], ending: str = "accepted", reply: str = "",
         log: tuple[str, ...] = (), **more: object) -> Login:  # fmt: skip
    settings = {"client": CLIENT, "protocol": "pop3"} | more
    return Login(name, says, ending, reply, log, **settings)  # type: ignore[arg-type]


def harmful(name: str, user: bytes, password: bytes) -> Login:
    plain = b64encode(b"\0" + user + b"\0" + password)
    return pop3(
        name, [("+OK hi", b"")], "rejected", INTERNAL, (HARMFUL,), client=b"AUTH PLAIN " + plain + b"\r\n"
    )


BAD_GREETING: list[tuple[str | bytes, str | bytes]] = [("-ERR down", b"")]
BAD_USER: list[tuple[str | bytes, str | bytes]] = [("+OK", "USER user"), ("-ERR who", b"")]
BAD_PASS: list[tuple[str | bytes, str | bytes]] = [
    ("+OK", "USER user"),
    ("+OK", "PASS pass"),
    ("-ERR [IN-USE] locked", b""),
]


def at_once(
    name: str, says: list[tuple[str | bytes, str | bytes]], ending: str, reply: str, *log: str, **more: object
) -> Login:
    return pop3(name, says, ending, reply, log, **{"options": {"proxy_pipelining": True}} | more)


PIPELINED = "USER user\nPASS pass"

TABLES = {
    "proxy_pipelining": [
        at_once("user and pass", [("+OK hi", PIPELINED), ("+OK u", b""), ("+OK in", b"")], "accepted", "+OK in"),
        at_once("both replies at once", [("+OK hi", PIPELINED), ("+OK u\n+OK in", b"")], "accepted", "+OK in"),
        at_once("a refused user, RESP-CODES", [("+OK hi", PIPELINED), ("-ERR who\n-ERR what", b"")], "rejected",
                "-ERR [SYS/TEMP] internal server error", f'error: {SENT}"-ERR who"',
                options={"proxy_pipelining": True, "capabilities": (b"TOP", b"resp-codes")}),
        at_once("a refused user", [("+OK hi", PIPELINED), ("-ERR who\n-ERR what", b"")], "rejected", INTERNAL,
                f'error: {SENT}"-ERR who"'),
        at_once("a refused password", [("+OK hi", PIPELINED), ("+OK u\n-ERR no", b"")], "rejected", INTERNAL,
                f'error: {SENT}"-ERR no"'),
        at_once("no greeting, no password", [("-ERR down", b"")], "rejected", INTERNAL, f'error: {SENT}"-ERR down"'),
        at_once("line ends", [("+OK hi", b"")], "rejected", INTERNAL, HARMFUL,
                client=b"AUTH PLAIN " + b64encode(b"\0user\0pa\r\nss") + b"\r\n"),
    ],
    "login": [
        pop3("user and pass", [("+OK hi", "USER user"), ("+OK u", "PASS pass"), ("+OK logged in", b"")],
             reply="+OK logged in"),
        pop3("no texts", [("+OK", "USER user"), ("+OK", "PASS pass"), ("+OK", b"")], reply="+OK"),
        pop3("spaces and 8-bit as they are", [("+OK", b"USER us er \r\n"), ("+OK", b"PASS  \xe9\r\n"), ("+OK", b"")],
             reply="+OK", client=b"AUTH PLAIN " + b64encode(b"\0us er \0 \xe9") + b"\r\n"),
        pop3("apop, with the password of the auth server", [("+OK", "USER user"), ("+OK", "PASS secret"), ("+OK", b"")],
             reply="+OK", client="APOP user 0", auth=answer("OK", "Auth-Pass: secret"), options={"auth": ("apop",)}),
        pop3("what the backend says at once is passed on", [("+OK", "USER user"), ("+OK", "PASS pass"), ("+OK\n+OK x", b"")],
             reply="+OK\n+OK x"),
        pop3("a reply that is not complete", [("+OK", "USER user"), (b"+OK\n", b"")], "read"),
    ],
    "refused": [
        pop3("greeting", BAD_GREETING, "rejected", INTERNAL, (f'error: {SENT}"-ERR down"',)),
        pop3("user", BAD_USER, "rejected", INTERNAL, (f'error: {SENT}"-ERR who"',)),
        pop3("password", BAD_PASS, "rejected", INTERNAL, (f'error: {SENT}"-ERR [IN-USE] locked"',)),
        pop3("passed on", BAD_PASS, "rejected", "-ERR [IN-USE] locked", (f'info: {SENT}"-ERR [IN-USE] locked"',),
             options={"proxy_pass_error_message": True}),
        pop3("in lower case", [("+ok", b"")], "rejected", INTERNAL, (f'error: {SENT}"+ok"',)),
        pop3("another protocol", [("* OK", b"")], "rejected", INTERNAL, (f'error: {SENT}"* OK"',)),
        pop3("longer than proxy_buffer, RESP-CODES", [(b"+OK " + b"x" * 12, b"")], "rejected",
             "-ERR [SYS/TEMP] internal server error",
             ('error: upstream sent too long response line: "+OK xxxxxxxxxxxx"',),
             options={"proxy_buffer": 16, "capabilities": (b"RESP-CODES",)}),
        pop3("longer than proxy_buffer", [(b"+OK " + b"x" * 12, b"")], "rejected", INTERNAL,
             (f'error: upstream sent too long response line: "+OK {"x" * 12}"',), options={"proxy_buffer": 16}),
        harmful("a line end in the user name", b"us\r\nDELE 1", b"pass"),
        harmful("a line feed in the user name", b"us\ner", b"pass"),
        harmful("a line end in the password", b"user", b"pa\r\nDELE 1"),
        harmful("a carriage return in the password", b"user", b"pa\rss"),
        harmful("a NUL in the password", b"user", b"pa\0ss"),
    ],
}  # fmt: skip
