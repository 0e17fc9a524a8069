"""What is closed at the end of its ``with`` block."""

from typing import Self


class Closing:
    """A subclass says in close() what that means."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
