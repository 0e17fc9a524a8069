"""What is being measured, and how much is left, on one line of a terminal or one line for each scenario."""

import sys
import time


class Progress:
    """Of work whose parts are expected to take so many seconds; corrected by what the done ones took."""

    def __init__(self, expected: float) -> None:
        self._expected = max(expected, 1e-9)
        self._done = 0.0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def left(self) -> float:
        """Seconds, about."""
        pace = self.seconds / self._done if self._done > self._expected / 50 else 1.0
        return (self._expected - self._done) * pace

    def begin(self, title: str) -> None:
        """A scenario; where there is no terminal, the only line it gets."""
        if not self._terminal:
            print(self._line(title), file=sys.stderr, flush=True)

    def show(self, words: str) -> None:
        """On a terminal, until the next call."""
        if self._terminal:
            print(f"\r\033[K{self._line(words)}", end="", file=sys.stderr, flush=True)

    def add(self, expected: float) -> None:
        """A part that was expected to take so long is done."""
        self._done += expected

    def end(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        print(f"measured in {self.seconds / 60:.1f} min", file=sys.stderr)

    def _line(self, words: str) -> str:
        left = self.left()
        rest = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        return f"[{min(self._done / self._expected, 1):4.0%}, about {rest} left] {words}"
