"""What the demo prints: the commands to type, which stay in sight, and below a line for all that is said."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

_COLORS = {"client": "36", "fastmail": "32", "auth": "33", "backend": "35", "log": "2"}
_COLUMN = 36  # where the text of an event begins
_ROOM = 6  # rows that must be left below the header for it to stay
_KEPT = 500  # events that are drawn again when the window changes its size


class CannotPrint(Exception):
    """Standard output does not take what is written; the text is for the user."""


@dataclass(frozen=True)
class Event:
    protocol: str  # empty: unknown
    source: str  # client, fastmail, auth, backend, or log
    target: str
    text: str


class Screen:
    """Standard output. In a terminal the header stays above what scrolls; elsewhere it comes first."""

    def __init__(self) -> None:
        self._terminal = os.isatty(1) and os.environ.get("TERM", "dumb") != "dumb"
        self._colors = self._terminal and not os.environ.get("NO_COLOR")
        self._header: Sequence[str] = ()
        self._events: deque[str] = deque(maxlen=_KEPT)
        self._fixed = False

    def begin(self, header: Sequence[str]) -> None:
        """Show the header. Raises CannotPrint, as everything here."""
        self._header = header
        if self._terminal:
            self.redraw()
        else:
            for line in header:
                self._write(line + "\n")

    def redraw(self) -> None:
        """Draw everything again: the window has another size, or shows it for the first time."""
        if not self._terminal:
            return
        columns, rows = shutil.get_terminal_size()
        height = sum(max(1, -(-len(line) // columns)) for line in self._header)
        self._fixed = height + _ROOM <= rows
        title, *rest = self._header
        self._write("\x1b[r\x1b[2J\x1b[H" + "\r\n".join([self._paint("1", title), *rest]) + "\r\n")
        if self._fixed:
            self._write(f"\x1b[{height + 1};{rows}r\x1b[{height + 1};1H")
        for text in list(self._events)[-(rows if self._fixed else _KEPT) :]:
            self._write(text)

    def show(self, event: Event) -> None:
        head = event.source if event.source == "log" else f"{event.source} -> {event.target}"
        head = f"{time.strftime('%H:%M:%S')} {event.protocol.upper():5}{head}"
        text = event.text
        if self._terminal:
            columns = max(shutil.get_terminal_size().columns, _COLUMN + 20)
            text = "\n".join(textwrap.wrap(text, columns - _COLUMN)) or text
        text = text.replace("\n", "\n" + " " * _COLUMN)
        self.line(self._paint(_COLORS.get(event.source, "0"), f"{head:{_COLUMN - 1}}") + " " + text)

    def line(self, text: str) -> None:
        """A line that is no event."""
        text = text.replace("\n", "\r\n") + "\r\n" if self._terminal else text + "\n"
        self._events.append(text)
        self._write(text)

    def end(self) -> None:
        """Give the terminal back as it was."""
        if self._fixed:
            self._fixed = False
            rows = shutil.get_terminal_size().lines
            self._write(f"\x1b[r\x1b[{rows};1H\r\n")

    def _paint(self, color: str, text: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._colors else text

    @staticmethod
    def _write(text: str) -> None:
        try:
            os.write(1, text.encode(sys.stdout.encoding or "utf-8", "replace"))
        except OSError as error:
            raise CannotPrint(f"cannot write to standard output: {error.strerror}") from None
