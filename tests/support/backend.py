"""A scripted mail backend (IMAP, POP3 or SMTP) that keeps every byte it is sent."""

import re
from collections.abc import Iterator, Sequence

from support.listener import Connection, Listener, Moves

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")

GO_AHEAD = "+ OK"


class Backend(Listener):
    """Says the first reply as greeting, one more after each command, then only listens.

    An IMAP command is complete when its last literal is: each ``{N}`` on the way is answered from
    ``go_aheads``, then with ``+ OK``. So one script serves a LOGIN in one line and one in literals.
    """

    def __init__(self) -> None:
        self._replies: Sequence[Moves] = ()
        self._go_aheads: Sequence[Moves] = ()
        super().__init__()

    def script(self, replies: Sequence[Moves], go_aheads: Sequence[Moves] = ()) -> None:
        """What the next connections are told; earlier records are dropped."""
        self.forget()
        self._replies = replies
        self._go_aheads = go_aheads

    def serve(self, connection: Connection) -> None:
        go_aheads = iter(self._go_aheads)
        for number, reply in enumerate(self._replies):
            if number:
                read_command(connection, go_aheads)
            connection.perform(reply)
        connection.drain()


def read_command(connection: Connection, go_aheads: Iterator[Moves] | None = None) -> bytes:
    """One line, and for IMAP whatever its synchronising literals (RFC 3501 section 4.3) bring along."""
    command = connection.read_until(b"\n")
    while literal := _LITERAL.search(command):
        connection.perform(next(go_aheads or iter(()), GO_AHEAD))
        command += connection.read(int(literal[1])) + connection.read_until(b"\n")
    return command
