"""What goes wrong with a configuration, and how bad it is."""

from fastmail.logs import describe

_LONGEST = 1024


class ConfigError(Exception):
    """The configuration cannot be used. ``str()`` is nginx's message, its place in the file included.

    Bytes of the file that are not UTF-8 stand in the message as surrogates (``surrogateescape``).
    """

    def __init__(self, message: str, level: str = "emerg") -> None:
        super().__init__(message)
        self.level = level
        self.warnings: tuple[tuple[str, str], ...] = ()
        """Level and text of what nginx says before it, while the file is read."""


def located(message: str, place: str) -> str:
    """``MESSAGE in PLACE``; like nginx, no more than 1024 bytes of the message."""
    data = message.encode("utf-8", "surrogateescape")[:_LONGEST]
    return f"{data.decode('utf-8', 'surrogateescape')} in {place}"


def failed(call: str, error: OSError) -> str:
    """``open() "x"`` becomes ``open() "x" failed (2: No such file or directory)``."""
    return f"{call} failed {describe(error)}"
